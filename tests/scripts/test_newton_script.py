"""scripts/loops/newton.py: the minimum of L-BFGS, fewer passes, and the edge of stability."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fnnet
from fnnet.curvature import hessian_vector
from tests.scripts.shared import environment, load

pytest.importorskip("scipy", reason="scripts/loops/newton.py needs SciPy")
newton, lbfgs = load("newton"), load("lbfgs")


def digits() -> tuple[Any, Any]:
    split = fnnet.load_digits().train
    return fnnet.as_inputs(split, np.float64), split.y


def start(*hidden: int, activation: str = "tanh") -> fnnet.Params:
    return fnnet.init_params(0, (64, *hidden, 10), np.float64, activation=activation)


def solved(solver: str, penalty: float, white: bool = False) -> tuple[Any, Any]:
    params = start()
    objective, u = newton.objective_of(params, *digits(), penalty), newton.flat(params)
    if white:
        objective, u = newton.whitened(objective, params)
    w, _ = newton.solve(solver, u, objective, 2000)
    return objective, w


@pytest.mark.parametrize("white", [False, True], ids=["plain", "whitened"])
@pytest.mark.parametrize("solver", ["Newton-CG", "trust-ncg"])
@pytest.mark.parametrize("penalty", [0.01, 1.0])
def test_it_ends_at_the_minimum_of_the_other_script(
    penalty: float, solver: str, white: bool
) -> None:
    _, report = lbfgs.train(start(), *digits(), penalty, 10_000)
    objective, w = solved(solver, penalty, white)
    assert objective.curve[-1][1] == pytest.approx(report.fun, abs=1e-7)
    plain = newton.objective_of(start(), *digits(), penalty)
    assert plain.value_and_gradient(w)[0] == pytest.approx(report.fun, abs=1e-7)


@pytest.mark.parametrize(("penalty", "white"), [(1e-4, True), (0.01, False), (1.0, False)])
def test_newton_s_method_arrives_in_fewer_passes_than_l_bfgs(penalty: float, white: bool) -> None:
    (theirs, _), (ours, _) = solved("L-BFGS-B", penalty), solved("Newton-CG", penalty, white)
    least = min(theirs.curve[-1][1], ours.curve[-1][1])
    arrived = newton.arrival(ours.curve, least)
    assert arrived is not None
    assert arrived < newton.arrival(theirs.curve, least)


@pytest.mark.parametrize("white", [False, True], ids=["plain", "whitened"])
@pytest.mark.parametrize("hidden", [(), (7,)])
def test_gradient_and_product_are_those_of_the_objective(
    hidden: tuple[int, ...], white: bool
) -> None:
    params = start(*hidden)
    objective, u = newton.objective_of(params, *digits(), 3.0), newton.flat(params)
    if white:
        objective, u = newton.whitened(objective, params)
    np.testing.assert_allclose(objective.parameters(u), newton.flat(params), atol=1e-12)
    v, step = np.random.default_rng(0).standard_normal(u.size), 1e-5
    (up, up_gradient), (down, down_gradient) = (
        objective.value_and_gradient(u + sign * step * v) for sign in (1, -1)
    )
    slope = objective.value_and_gradient(u)[1] @ v
    assert (up - down) / (2 * step) == pytest.approx(slope, rel=1e-6)
    bend = (up_gradient - down_gradient) / (2 * step)
    product = objective.hessian_product(u, v)
    assert np.linalg.norm(bend - product) < 1e-5 * np.linalg.norm(product)
    assert objective.passes == 4 + white


def test_the_eigenvalues_are_those_of_the_whole_matrix() -> None:
    x, y = digits()
    x, params = x[:60, 20:26], fnnet.init_params(0, (6, 4, 10), np.float64, activation="tanh")
    vector, unravel = fnnet.tree_ravel(params)
    rows = [
        fnnet.tree_ravel(hessian_vector(params, x, y[:60], unravel(unit)))[0]
        for unit in np.eye(vector.size)
    ]
    expected = np.linalg.eigvalsh(np.array(rows))[::-1]
    values, first = newton.eigenvalues(params, x, y[:60], 3)
    np.testing.assert_allclose(values, expected[:3], rtol=1e-3)
    np.testing.assert_allclose(np.array(rows) @ first, expected[0] * first, atol=1e-3)


def test_gradient_descent_goes_to_the_edge_of_stability_and_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(newton, "EVERY", 100)
    rows = np.array(list(newton.spectra(0.26, 2000, (32, 32), 0)))
    steps, loss, largest = rows[:, 0], rows[:, 1], rows[:, 2]
    edge = 2 / 0.26
    assert largest[(steps > 100) & (steps < 300)].max() < 0.95 * edge  # it begins below
    late = largest[steps >= 1500]
    assert abs(late.mean() / edge - 1) < 0.05
    assert loss[-1] < 0.8 * loss[steps == 1000][0]  # and goes on learning


def test_both_pages_are_printed_and_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    options = ["--penalty", "10", "--iterations", "5", "--figure", str(first)]
    assert newton.main(options) == 0
    names = re.findall(r"(?m)^\| (\S+)(, whitened)? +\| +\d\.\d+ \|", capsys.readouterr().out)
    assert len(names) == 8
    assert {name for name, _ in names} == {*newton.SOLVERS, *newton.STEPS}
    assert newton.main(["--spectrum", "--iterations", "50", "--figure", str(second)]) == 0
    out = capsys.readouterr().out
    assert re.match(r"step 0: loss \d\.\d+, largest eigenvalues (\d+\.\d+(, )?){3}\n", out)
    assert "2 / learning rate is 8.333" in out
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (first, second))


def test_too_large_a_rate_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert newton.main(["--spectrum", "--learning-rate", "9", "--iterations", "2000"]) == 1
    assert re.search(
        r"the loss was \S+ at step \d+: lower --learning-rate", capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "option",
    [
        ("--penalty", "-1"),
        ("--hidden", "0"),
        ("--iterations", "0"),
        ("--learning-rate", "x"),
        ("--figure", "x.pdf"),
        ("--activation", "bent"),
    ],
)
def test_bad_usage_is_one_line(option: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        newton.main(option)
    assert stop.value.code == 2
    assert re.fullmatch(rf"\S+: argument {option[0]}: .*\n", capsys.readouterr().err)


def test_a_missing_library_is_named(tmp_path: Path) -> None:
    code = "import sys; sys.modules['scipy'] = None; import newton; sys.exit(newton.main())"
    command = [sys.executable, "-c", code]
    result = subprocess.run(
        command,
        env=environment("newton"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 1
    assert "pip install scipy" in result.stderr
    assert "Traceback" not in result.stderr


def test_products_are_timed(capsys: pytest.CaptureFixture[str]) -> None:
    assert load("curvature").main(["--rounds", "1", "--batch-sizes", "8"]) == 0
    rows = re.findall(r"(?m)^\| 784-128-10 +\| +relu \| +8 \| +(\S+) \|", capsys.readouterr().out)
    assert len(rows) == 1
    assert float(rows[0]) > 0
