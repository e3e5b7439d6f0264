"""What fnnet is compared with: the README's equations as written, and finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt

import fnnet

Matrix = npt.NDArray[np.float64]


def equations(
    x: Matrix, y: Matrix, w1: Matrix, b1: Matrix, w2: Matrix, b2: Matrix
) -> dict[int, Matrix]:
    """(1) to (10) for one hidden layer, element by element, in float64."""
    n = len(x)
    h = np.array([[max(a, 0.0) for a in row] for row in x @ w1 + b1])
    z = h @ w2 + b2
    p = np.array([[np.exp(a) / sum(np.exp(row)) for a in row] for row in z])
    loss = -sum(y[i, k] * np.log(p[i, k]) for i in range(n) for k in range(z.shape[1])) / n
    dz = (p - y) / n
    dw2 = h.T @ dz
    db2 = np.array([sum(column) for column in dz.T])
    dz1 = np.array(
        [[a if b > 0 else 0.0 for a, b in zip(*rows, strict=True)] for rows in zip(dz @ w2.T, h)]  # noqa: B905
    )
    dw1 = x.T @ dz1
    db1 = np.array([sum(column) for column in dz1.T])
    results = (h, z, p, np.array(loss), dz, dw2, db2, dz1, dw1, db1)
    return dict(enumerate(results, 1))


def rmsprop(
    w: Matrix, v: Matrix, g: Matrix, learning_rate: float, decay: float, eps: float
) -> tuple[Matrix, Matrix]:
    """(11) and (12), one parameter at a time."""
    v = np.array([decay * a + (1 - decay) * b * b for a, b in zip(v, g, strict=True)])
    w = np.array([a - learning_rate * b / (c**0.5 + eps) for a, b, c in zip(w, g, v, strict=True)])
    return w, v


def central_differences(f: Callable[[Matrix], float], at: Matrix, step: float = 1e-6) -> Matrix:
    """Gradient of a scalar function of a vector, to about step**2."""
    result = np.empty_like(at)
    for i in range(at.size):
        up, down = at.copy(), at.copy()
        up[i] += step
        down[i] -= step
        result[i] = (f(up) - f(down)) / (2 * step)
    return result


def soft_labels(rng: np.random.Generator, n: int, k: int) -> Matrix:
    """Rows of random distributions."""
    return rng.dirichlet(np.ones(k), n)


def problem(
    sizes: tuple[int, ...] = (6, 5, 4), n: int = 7, soft: bool = False, seed: int = 0
) -> tuple[fnnet.Params, Matrix, npt.NDArray[np.int64] | Matrix]:
    """A small network with biases, inputs and labels, in float64."""
    rng = np.random.default_rng(seed)
    params = fnnet.tree_map(
        lambda leaf: leaf + 0.1 * rng.standard_normal(leaf.shape),
        fnnet.init_params(rng, sizes, np.float64),
    )
    x = rng.standard_normal((n, sizes[0]))
    if soft:
        return params, x, soft_labels(rng, n, sizes[-1])
    return params, x, rng.integers(0, sizes[-1], n)


def smooth_problem(
    sizes: tuple[int, ...], soft: bool = False
) -> tuple[fnnet.Params, Matrix, npt.NDArray[np.int64] | Matrix]:
    """A `problem` none of whose hidden units is so near 0 that a small step switches it."""
    return next(
        found
        for found in (problem(sizes, soft=soft, seed=seed) for seed in count())
        if distance_from_kinks(*found[:2]) > 1e-3
    )


def distance_from_kinks(params: fnnet.Params, x: Matrix) -> float:
    """The smallest absolute value before any rectifier."""
    distance, h = np.inf, x
    for layer in params.layers[:-1]:
        z = np.asarray(h @ layer.w + layer.b, np.float64)
        distance, h = min(distance, np.min(np.abs(z))), np.where(z > 0, z, 0)
    return float(distance)


def logits(params: fnnet.Params, x: npt.NDArray[Any]) -> Matrix:
    """Row by row and unit by unit, in float64."""
    rows = []
    for row in x:
        h = [float(value) for value in row]
        for i, layer in enumerate(params.layers):
            columns = zip(layer.w.T.tolist(), layer.b.tolist(), strict=True)
            h = [sum(a * b for a, b in zip(h, w, strict=True)) + b for w, b in columns]
            if i < len(params.layers) - 1:
                h = [max(a, 0.0) for a in h]
        rows.append(h)
    return np.array(rows).reshape(len(x), -1)


def cross_entropy(z: Matrix, y: npt.NDArray[Any]) -> float:
    """Minus the mean log-likelihood, with log-sum-exp shifted by hand, in float64."""
    rows = np.eye(z.shape[1])[y] if y.dtype.kind in "ui" else np.asarray(y)
    total = 0.0
    for row, labels in zip(z.tolist(), rows.tolist(), strict=True):
        top = max(row)
        normaliser = top + math.log(math.fsum(math.exp(a - top) for a in row))
        total += math.fsum(label * (normaliser - a) for a, label in zip(row, labels, strict=True))
    return total / len(z)
