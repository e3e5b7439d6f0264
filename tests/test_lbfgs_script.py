"""scripts/lbfgs.py: the objective, the path and the minimum of scikit-learn's."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fnnet

pytest.importorskip("scipy", reason="scripts/lbfgs.py needs SciPy")
SCRIPT = runpy.run_path(str(Path(__file__).parents[1] / "scripts" / "lbfgs.py"))


def digits() -> tuple[Any, Any]:
    split = fnnet.load_digits().train
    return fnnet.as_inputs(split.x, np.float64), split.y


def start(seed: int, hidden: int) -> fnnet.Params:
    return fnnet.init_params(seed, (64, hidden, 10), np.float64)


@pytest.mark.parametrize("seed", range(3))
def test_it_ends_at_the_minimum_of_scikit_learn(seed: int) -> None:
    pytest.importorskip("sklearn")
    problem = start(seed, 16), *digits(), 200.0, 2000
    _, report = SCRIPT["train"](*problem)
    assert report.success
    assert report.fun == pytest.approx(SCRIPT["train_sklearn"](*problem).loss_, abs=1e-6)


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_it_takes_the_path_of_scikit_learn(penalty: float) -> None:
    # Where the penalty is weak the minima are many, and rounding decides after some 100 iterations
    # which one is reached: up to there the two are the same.
    pytest.importorskip("sklearn")
    problem = start(0, 32), *digits(), penalty, 40
    params, report = SCRIPT["train"](*problem)
    model = SCRIPT["train_sklearn"](*problem)
    assert report.nit == model.n_iter_ == 40
    assert report.fun == pytest.approx(model.loss_, abs=1e-6)
    for layer, w, b in zip(params.layers, model.coefs_, model.intercepts_, strict=True):
        np.testing.assert_allclose(layer.w, w, rtol=0, atol=1e-6)
        np.testing.assert_allclose(layer.b, b, rtol=0, atol=1e-6)


def test_the_penalty_leaves_biases_out() -> None:
    x, y = digits()
    params, report = SCRIPT["train"](start(0, 8), x, y, 50.0, 30)
    squares = sum(float(np.sum(layer.w**2)) for layer in params.layers)
    assert report.fun == pytest.approx(fnnet.loss(params, x, y) + 25 * squares / len(x), rel=1e-12)


def test_it_prints_the_objective_and_the_accuracy(capsys: pytest.CaptureFixture[str]) -> None:
    SCRIPT["main"](["--hidden", "16", "--iterations", "60"])
    found = re.search(
        r"objective (\S+), 60 iterations, test accuracy (\S+)%", capsys.readouterr().out
    )
    assert found is not None
    assert float(found[2]) > 90
