"""The scripts of recipes and optimizers, as their users meet them, on the digits."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fnnet

SCRIPTS = Path(__file__).parents[1] / "scripts"
QUICK = ("--dataset", "digits", "--epochs", "1", "--seeds", "0")


def script(name: str) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        return importlib.import_module(name)


reproduce, compare = script("reproduce"), script("compare_optimizers")


def cells(table: str) -> dict[str, str]:
    header, _, row = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()
    )
    return dict(zip(header, row, strict=True))


@pytest.mark.parametrize("name", ["original", "keras", "simard", "simard-distorted"])
def test_every_recipe_prints_its_row(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce.main([name, *QUICK]) == 0
    row = cells(capsys.readouterr().out)
    assert row["recipe"] == name
    widths = "-".join(map(str, reproduce.RECIPES[name].hidden))
    assert row["network"] == f"64-{widths}-10"
    assert row["published, %"] == reproduce.RECIPES[name].published
    assert 0 < float(row["test error, %"]) < 100
    assert float(row["images/s"].replace(",", "")) > 0


def test_runs_differ_by_seed_and_repeat(capsys: pytest.CaptureFixture[str]) -> None:
    tables = []
    for _ in range(2):
        assert reproduce.main(["keras", *QUICK, "--seeds", "0", "1"]) == 0
        tables.append(cells(capsys.readouterr().out)["test error, %"])
    assert tables[0] == tables[1]
    assert float(tables[0].split("±")[1]) > 0


def test_runs_side_by_side_are_those_one_after_another() -> None:
    command = [
        sys.executable,
        str(SCRIPTS / "reproduce.py"),
        "keras",
        *QUICK,
        "--seeds",
        "0",
        "1",
        "2",
    ]
    errors = []
    for jobs in ("1", "2"):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*command, "--jobs", jobs], capture_output=True, text=True, env=environment, check=True
        )
        assert sorted(line[:7] for line in done.stderr.splitlines()) == [
            "seed 0:",
            "seed 1:",
            "seed 2:",
        ]
        errors.append(cells(done.stdout)["test error, %"])
    assert errors[0] == errors[1]


def test_validation_shows_another_split_and_leaves_the_test_set_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = fnnet.load_digits()
    broken = replace(digits, test=fnnet.Split(np.zeros((1, 3)), np.zeros(1, int)))
    monkeypatch.setattr(fnnet, "load_dataset", lambda *_: broken)
    assert reproduce.main(["keras", *QUICK, "--validation", "300"]) == 0
    assert "validation error, %" in cells(capsys.readouterr().out)


def test_an_ensemble_averages_probabilities() -> None:
    digits = fnnet.load_digits()
    members = [fnnet.init_params(seed, (64, 10)) for seed in range(3)]
    x = fnnet.as_inputs(digits.test.x)
    mean = np.mean([fnnet.softmax(fnnet.forward(params, x)) for params in members], axis=0)
    expected = 100 * np.mean(mean.argmax(1) != digits.test.y)
    assert reproduce.error(members, digits.test) == pytest.approx(expected)


def test_members_of_an_ensemble_are_all_trained(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(reproduce.RECIPES["ensemble"], hidden=(9,), members=3)
    monkeypatch.setitem(reproduce.RECIPES, "ensemble", small)
    assert reproduce.main(["ensemble", *QUICK]) == 0
    assert cells(capsys.readouterr().out)["network"] == "3 × 64-9-10"


def test_a_falling_rate_ends_at_zero_and_others_stay() -> None:
    falling = reproduce.learning_rates(reproduce.RECIPES["simard-distorted"], 10_000)
    rates = [falling(step) for step in range(10_001)]
    assert rates[0] < rates[499] == max(rates)
    assert rates[-1] == pytest.approx(0, abs=1e-12)
    still = reproduce.learning_rates(reproduce.RECIPES["keras"], 10_000)
    assert {still(step) for step in range(0, 10_000, 100)} == {1e-3}


def test_distortions_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    figure = tmp_path / "new" / "figure.png"
    assert reproduce.main(["simard-distorted", "--dataset", "digits", "--figure", str(figure)]) == 0
    assert figure.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cireşan"], "invalid choice: 'cireşan'"),
        (["keras", "--seeds", "-1"], "--seeds: must be a whole number >= 0, got '-1'"),
        (["keras", "--epochs", "0"], "--epochs: must be a whole number >= 1, got '0'"),
    ],
)
def test_options_that_cannot_be_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        reproduce.main(arguments)
    assert message in capsys.readouterr().err


def test_errors_are_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPTS / "reproduce.py", "keras", *QUICK, "--validation", "9999"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("reproduce.py: n must be below the ")
    assert len(done.stderr.splitlines()) == 1


def test_optimizers_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    figure = tmp_path / "figure.png"
    arguments = ["--hidden", "5", "--epochs", "2", "--seeds", "2", "--batch-size", "256"]
    assert compare.main([*arguments, "--figure", str(figure)]) == 0
    assert figure.read_bytes().startswith(b"\x89PNG")
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [row.split("  ")[0] for row in rows] == list(compare.OPTIMIZERS)


def test_the_best_rate_has_the_least_loss_that_is_finite() -> None:
    curve = np.array(
        [[[9.0, 9.0], [9.0, 9.0], [9.0, 9.0]], [[np.nan, 0.1], [2.0, 1.0], [3.0, 3.0]]]
    )
    assert compare.best_rate(curve) == 1
