"""scripts/loops/lbfgs.py: the objective, the path and the minimum of scikit-learn's."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fnnet_scripts.options import installing

import fnnet
from tests.scripts.shared import environment, load

pytest.importorskip("scipy", reason="scripts/loops/lbfgs.py needs SciPy")
lbfgs = load("lbfgs")


def digits() -> tuple[Any, Any]:
    split = fnnet.load_digits().train
    return fnnet.as_inputs(split.x, np.float64), split.y


def start(seed: int, *hidden: int) -> fnnet.Params:
    return fnnet.init_params(seed, (64, *hidden, 10), np.float64)


@pytest.mark.parametrize("penalty", [1e-4, 1e-2, 1.0])
def test_without_hidden_layers_it_ends_at_the_minimum_of_scikit_learn(penalty: float) -> None:
    pytest.importorskip("sklearn")
    problem = start(0), *digits(), penalty, 10_000
    params, report = lbfgs.train(*problem)
    assert report.success
    assert np.abs(report.jac).max() < 1e-6
    model = lbfgs.train_sklearn(*problem)
    assert report.fun == pytest.approx(model.loss_, abs=1e-6)
    assert report.fun <= model.loss_  # ours is the minimum, theirs stops short of it
    test = fnnet.as_inputs(fnnet.load_digits().test.x, np.float64)
    assert np.mean(fnnet.predict(params, test) == model.predict(test)) > 0.99


@pytest.mark.parametrize("seed", range(3))
def test_with_a_hidden_layer_it_ends_there_too_where_minima_are_few(seed: int) -> None:
    pytest.importorskip("sklearn")
    problem = start(seed, 16), *digits(), 200.0, 2000
    _, report = lbfgs.train(*problem)
    assert report.success
    assert report.fun == pytest.approx(lbfgs.train_sklearn(*problem).loss_, abs=1e-6)


@pytest.mark.parametrize("penalty", [1.0, 30.0])
def test_where_minima_are_many_its_own_is_one_of_scikit_learn_s(penalty: float) -> None:
    pytest.importorskip("sklearn")
    params, report = lbfgs.train(start(0, 8), *digits(), penalty, 10_000)
    assert report.success
    model = lbfgs.train_sklearn(params, *digits(), penalty, 10_000)
    assert model.loss_ == pytest.approx(report.fun, abs=1e-6)


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_it_takes_the_path_of_scikit_learn(penalty: float) -> None:
    # Where the penalty is weak the minima are many, and rounding decides after some 100 iterations
    # which one is reached: up to there the two are the same.
    pytest.importorskip("sklearn")
    problem = start(0, 32), *digits(), penalty, 40
    params, report = lbfgs.train(*problem)
    model = lbfgs.train_sklearn(*problem)
    assert report.nit == model.n_iter_ == 40
    assert report.fun == pytest.approx(model.loss_, abs=1e-6)
    for layer, w, b in zip(params.layers, model.coefs_, model.intercepts_, strict=True):
        np.testing.assert_allclose(layer.w, w, rtol=0, atol=1e-6)
        np.testing.assert_allclose(layer.b, b, rtol=0, atol=1e-6)


def test_the_penalty_leaves_biases_out() -> None:
    x, y = digits()
    params, report = lbfgs.train(start(0, 8), x, y, 50.0, 30)
    squares = sum(float(np.sum(layer.w**2)) for layer in params.layers)
    assert report.fun == pytest.approx(fnnet.loss(params, x, y) + 25 * squares / len(x), rel=1e-12)


def test_it_prints_the_objective_and_the_accuracy(capsys: pytest.CaptureFixture[str]) -> None:
    assert lbfgs.main(["--hidden", "16", "--iterations", "60"]) == 0
    found = re.search(
        r"objective (\S+), 60 iterations, test accuracy (\S+)%", capsys.readouterr().out
    )
    assert found is not None
    assert float(found[2]) > 90


def test_its_comparison_shows_one_minimum(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    assert lbfgs.main(["--compare"]) == 0
    gaps = re.findall(r"differs by (\S+)", capsys.readouterr().out)
    assert len(gaps) == 2
    assert all(float(gap) < 1e-6 for gap in gaps)


@pytest.mark.parametrize(
    "option",
    [
        ("--penalty", "-1"),
        ("--penalty", "nan"),
        ("--hidden", "0"),
        ("--iterations", "0"),
        ("--seed", "-1"),
    ],
)
def test_bad_usage_is_one_line(option: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        lbfgs.main(option)
    assert stop.value.code == 2
    assert re.fullmatch(rf"\S+: argument {option[0]}: .*\n", capsys.readouterr().err)


def test_a_penalty_without_a_finite_objective_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert lbfgs.main(["--penalty", "1e308"]) == 1
    assert "the objective was nan" in capsys.readouterr().err


def test_a_missing_library_is_named(tmp_path: Path) -> None:
    code = "import sys; sys.modules['scipy'] = None; import lbfgs; sys.exit(lbfgs.main())"
    run = partial(
        subprocess.run, env=environment("lbfgs"), capture_output=True, text=True, timeout=300
    )
    command = [sys.executable, "-c", code]
    result = run(command)
    assert result.returncode == 1
    assert installing("scipy") in result.stderr
    assert "Traceback" not in result.stderr
    usage = run([*command, "--help"])
    assert (usage.returncode, usage.stderr) == (0, "")
