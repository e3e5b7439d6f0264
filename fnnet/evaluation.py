"""How a network does on a split: loss, accuracy, confusion, coefficient of determination."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fnnet import arguments
from fnnet.checks import FloatArray, underflow_is_zero
from fnnet.data.splits import Split, check_batches, scaled
from fnnet.labels import label_rows, no_nan
from fnnet.network import forward
from fnnet.outputs import output_of
from fnnet.params import Params
from fnnet.records import Evaluation
from fnnet.trees import tree_map

Sums: TypeAlias = tuple[npt.NDArray[Any], ...]

ROWS, NUMBERS = 1024, 2**20  # samples and logits computed at once: bounds memory
MOST_CLASSES = 4096  # that a confusion matrix is made for: it then has 134 MB


@underflow_is_zero
def evaluate(params: Params, split: Split, *, weights: npt.ArrayLike | None = None) -> Evaluation:
    """Loss, accuracy and confusion matrix of a network on a split.

    Parameters
    ----------
    params : the network, or an ensemble, whose members are evaluated one by one
    split : the data. Where labels are distributions, a sample's true class is the likeliest. Logits
        that are not a number are wrong, whatever the label
    weights : (N,) numbers >= 0, not all zero, in the place of the split's own, if it has any

    Returns
    -------
    evaluation : of an ensemble the means over its members, which are there, too, as `members`. One
        whose loss is no finite number has diverged and does not count, unless all have

    Raises
    ------
    TypeError, ValueError
        As `loss`, or if the split is empty.

    Examples
    --------
    >>> from fnnet import init_params, load_digits
    >>> evaluate(init_params(0, (64, 10), np.float64), load_digits().test).confusion.shape
    (10, 10)
    """
    check_split(params, split)
    if weights is not None:
        split = Split(split.x, split.y, weights, split.divisor)
    if not params.layers[0].w.shape[:-2]:
        return _one(params, split)
    each = tuple(_one(member, split) for member in members(params))
    sound = [one for one in each if math.isfinite(one.loss)] or each
    loss, accuracy, r2 = (
        float(np.mean([getattr(one, name) for one in sound])) for name in ("loss", "accuracy", "r2")
    )
    counts = [one.confusion for one in sound if one.confusion is not None]
    confusion = np.sum(counts, axis=0) if counts else None
    return Evaluation(loss, accuracy, confusion, r2, each)


def members(params: Params) -> Iterator[Params]:
    """The networks of an ensemble, one by one; a single network is its only member."""
    shape = params.layers[0].w.shape[:-2]
    if not shape:
        yield params
        return
    for index in np.ndindex(shape):
        yield tree_map(lambda leaf, at=index: leaf[at], params)


def check_split(params: Params, split: Split) -> None:
    """Raise where a network cannot be trained or evaluated on a split: once, not at each batch."""
    arguments.check_network(params)
    check_batches(split, 1)
    b = params.layers[-1].b
    forward(params, scaled(split.x[:1], split.divisor, b.dtype))
    rows = _rows(b.shape[-1])
    for start in range(0, len(split), rows):
        y = split.y[start : start + rows]
        no_nan("y", y, start)
        label_rows(params.output, y, (len(y), b.shape[-1]), b)
    if split.weights is not None and not bool(np.any(split.weights)):
        raise ValueError("the weights of a split must not all be zero")


def _rows(k: int) -> int:
    return max(1, min(ROWS, NUMBERS // k))


def _one(params: Params, split: Split) -> Evaluation:
    sums: list[Any] = []
    shift, rows = split.y[0], _rows(params.layers[-1].b.shape[-1])
    for start in range(0, len(split), rows):
        part = split[start : start + rows]
        z = forward(params, scaled(part.x, part.divisor, params.layers[0].w.dtype))
        y = label_rows(params.output, part.y, z.shape, z)
        column, _ = arguments.sample_weights(part.weights, len(part), z)
        s = np.ones((len(part), 1)) if column is None else np.asarray(column, np.float64)
        losses = output_of(params.output).with_losses(z, y)[1]
        new = (s.sum(), (s * losses).sum(), *_SUMS[params.output](z, y, s, shift))
        sums = [a + b for a, b in zip(sums, new, strict=True)] if sums else [*new]
    total, loss, *rest = sums
    return Evaluation(float(loss / total), *_SCORES[params.output](total, *rest))


def _class_sums(z: FloatArray, y: FloatArray, s: FloatArray, shift: Any) -> Sums:
    k = z.shape[-1]
    numbers = ~np.isnan(z).any(axis=-1)
    truth, guess = y.argmax(axis=-1), z.argmax(axis=-1)
    right = (s[:, 0] * ((truth == guess) & numbers)).sum()
    if k > MOST_CLASSES:
        return right, np.zeros((0, 0), np.intp)
    pairs = np.bincount((k * truth + guess)[numbers], minlength=k * k)
    return right, pairs.reshape(k, k)


def _label_sums(z: FloatArray, y: FloatArray, s: FloatArray, shift: Any) -> Sums:
    numbers = ~np.isnan(z).any(axis=-1)
    truth, guess = y > 0.5, z > 0
    right = (s[:, 0] * ((truth == guess).all(axis=-1) & numbers)).sum()
    counts = [
        [((truth == a) & (guess == b))[numbers].sum(axis=0) for b in (False, True)]
        for a in (False, True)
    ]
    return right, np.moveaxis(np.array(counts, np.intp), -1, 0)


def _number_sums(z: FloatArray, y: FloatArray, s: FloatArray, shift: Any) -> Sums:
    # About the first label: squares of large numbers would hide their differences.
    d = y.astype(np.float64) - shift
    squares = (s * (y - z.astype(np.float64)) ** 2).sum(0)
    return np.array(len(y)), (s * d).sum(0), (s * d**2).sum(0), squares


def _class_scores(total: Any, right: Any, counts: Any) -> tuple[Any, ...]:
    return float(right / total), counts if counts.size else None


def _number_scores(total: Any, n: Any, first: Any, second: Any, residual: Any) -> tuple[Any, ...]:
    if n < 2:  # one number has no spread to explain
        return math.nan, None, math.nan
    spread = second - first**2 / total
    flat = spread <= 1e-12 * np.maximum(second, np.finfo(np.float64).tiny)
    r2 = np.where(flat, np.where(residual == 0, 1.0, 0.0), 1 - residual / np.where(flat, 1, spread))
    return math.nan, None, float(r2.mean())


_SUMS: dict[str, Callable[..., Sums]] = {
    "softmax": _class_sums,
    "sigmoid": _label_sums,
    "identity": _number_sums,
}
_SCORES: dict[str, Callable[..., tuple[Any, ...]]] = {
    "softmax": _class_scores,
    "sigmoid": _class_scores,
    "identity": _number_scores,
}
