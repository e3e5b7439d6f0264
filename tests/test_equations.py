"""The README's equations, the marked lines and a literal transcription are one and the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import fnnet
from fnnet.optimizers.rmsprop import _in_place, equations
from fnnet.optimizers.steps import BLOCK
from tests import oracles

ROOT = Path(__file__).parents[1]


def close(actual: object, expected: object) -> None:
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), rtol=1e-12, atol=1e-15)


def numbers(pattern: str, text: str) -> list[int]:
    return [int(n) for match in re.findall(pattern, text) for n in re.findall(r"\d+", match)]


def test_every_equation_of_the_readme_is_one_marked_line() -> None:
    readme = numbers(r"\\tag\{\d+\}", (ROOT / "README.md").read_text("utf-8"))
    code = "".join(path.read_text("utf-8") for path in sorted((ROOT / "fnnet").rglob("*.py")))
    marks = numbers(r"(?m)# ((?:\(\d+\) ?)+)$", code)
    assert readme == list(range(1, 13))
    assert sorted(mark for mark in marks if mark <= 12) == readme  # the page of curvature goes on


def test_every_line_of_the_other_outputs_is_marked() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    marks = re.findall(r"\((\d+[ab])\)", (ROOT / "fnnet/outputs.py").read_text("utf-8"))
    assert re.findall(r"\((\d+[ab])\)", readme) == sorted(marks, key=lambda mark: mark[::-1])
    assert len(marks) == 4


@pytest.mark.parametrize("output", ["sigmoid", "identity"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_other_outputs_are_their_equations(output: str, weighted: bool) -> None:
    params, x, _ = oracles.problem()
    params = fnnet.Params(params.layers, output=output)
    rng = np.random.default_rng(0)
    s = rng.random(len(x)) if weighted else np.ones(len(x))
    z = np.asarray(fnnet.forward(params, x), np.float64)
    y = rng.random(z.shape)
    if output == "sigmoid":
        p = 1 / (1 + np.exp(-z))  # (3a)
        each = -(y * np.log(p) + (1 - y) * np.log(1 - p)).sum(axis=1)  # (4a)
    else:
        p = z  # (3b)
        each = 0.5 * ((z - y) ** 2).sum(axis=1)  # (4b)
    dz = (s / s.sum())[:, None] * (p - y)  # (5)
    value, gradient = fnnet.loss_and_grads(params, x, y, weights=s if weighted else None)
    close(fnnet.predict_proba(params, x), p)
    close(value, (s / s.sum()) @ each)
    assert fnnet.tree_allclose(gradient, fnnet.vjp(params, x, dz), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("soft", [False, True])
def test_forward_loss_and_grads_are_the_equations(soft: bool) -> None:
    params, x, y = oracles.problem(soft=soft)
    first = params.layers[0]
    rows = np.asarray(y, np.float64) if soft else np.eye(4)[y.astype(int)]
    leaves = [np.asarray(leaf, np.float64) for leaf in fnnet.tree_leaves(params)]
    expected = oracles.equations(x, rows, *leaves)
    gradient = fnnet.grads(params, x, y)
    hidden = fnnet.Params((fnnet.Layer(first.w, first.b),))
    close(np.maximum(fnnet.forward(hidden, x), 0), expected[1])
    close(fnnet.forward(params, x), expected[2])
    close(fnnet.softmax(expected[2]), expected[3])
    close(fnnet.predict_proba(params, x), expected[3])
    close(fnnet.cross_entropy(expected[2], y), expected[4])
    close(fnnet.loss(params, x, y), expected[4])
    close(gradient.layers[1].w, expected[6])
    close(gradient.layers[1].b, expected[7])
    close(gradient.layers[0].w, expected[9])
    close(gradient.layers[0].b, expected[10])
    # (5) and (8) show in the biases of a batch of one, where no sum hides them.
    one = fnnet.grads(params, x[:1], y[:1])
    alone = oracles.equations(x[:1], rows[:1], *leaves)
    close(one.layers[1].b, alone[5][0])
    close(one.layers[0].b, alone[8][0])


def test_rmsprop_update_is_the_equations() -> None:
    params, x, y = oracles.problem()
    state = fnnet.rmsprop_init(params, learning_rate=0.01, decay=0.8, eps=1e-6)
    vector, unravel = fnnet.tree_ravel(params)
    w = np.asarray(vector, np.float64)
    v = np.zeros_like(w)
    for _ in range(20):
        gradient = fnnet.grads(state.params, x, y)
        g = np.asarray(fnnet.tree_ravel(gradient)[0], np.float64)
        w, v = oracles.rmsprop(w, v, g, 0.01, 0.8, 1e-6)
        state = fnnet.rmsprop_update(state, gradient)
    assert fnnet.tree_allclose(state.params, unravel(w), rtol=1e-12, atol=0)
    assert fnnet.tree_allclose(state.mean_squares, unravel(v), rtol=1e-12, atol=0)
    assert state.step == 20


@pytest.mark.parametrize("size", [1, 1000, 2 * BLOCK + 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_fast_update_is_the_marked_one(dtype: type[np.floating[Any]], size: int) -> None:
    rng = np.random.default_rng(0)
    vectors: list[npt.NDArray[np.floating[Any]]] = [
        rng.standard_normal(size).astype(dtype) for _ in range(3)
    ]
    w, v, g = vectors
    state = fnnet.rmsprop_init(fnnet.init_params(0, (2, 2)), 0.01, 0.7, 1e-3)
    fast = np.empty_like(w), np.empty_like(v)
    _in_place(state, g, 0.01, w, v**2, *fast)
    for a, b in zip(equations(state, g, 0.01, w, v**2), fast, strict=True):
        assert a.dtype == b.dtype == dtype
        eps = float(np.finfo(dtype).eps)
        np.testing.assert_allclose(a, b, rtol=4 * eps, atol=eps)
