"""What the logits Z mean: predictions P, and the loss of each sample against its labels Y.

Each output is the inverse of the canonical link of its loss, so that for all of them the derivative
of the loss is dL/dZ = (P - Y) / N, equation (5).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fnnet.activations import sigmoid
from fnnet.checks import FloatArray, one_of


@dataclass(frozen=True, slots=True, repr=False)
class Output:
    """One meaning of logits.

    Attributes
    ----------
    name : as `init_params` takes it
    predictions : P from Z
    with_losses : (P, losses) from Z and Y; the losses are a column (..., N, 1)
    """

    name: str
    predictions: Callable[[FloatArray], FloatArray]
    with_losses: Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]

    def __repr__(self) -> str:
        return f"Output({self.name})"


def softmax_of(z: FloatArray) -> FloatArray:
    """Probabilities."""
    _, e, total = _exponentials(z)
    return _classes_last(e / total, z)  # (3)


def log_softmax_of(z: FloatArray) -> FloatArray:
    """Logarithms of the probabilities."""
    shifted, _, total = _exponentials(z)
    return _classes_last(shifted - np.log(total), z)


def softmax_losses(z: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Cross-entropy, -sum(Y log P) over the classes, in nats; 0 log 0 is 0."""
    shifted, e, total = _exponentials(z)
    log_p = shifted - np.log(total)
    y = y.swapaxes(-1, -2)
    losses = 0 - (y * np.where(y > 0, log_p, 0)).sum(axis=-2, keepdims=True)
    return (e / total).swapaxes(-1, -2), losses.swapaxes(-1, -2)


def _exponentials(z: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Z less each row's maximum, its exponentials, and their sum over the classes.

    The classes come first, (..., K, N), so that sums and maxima over them are vector operations
    along the samples: at ten classes several times faster than row by row.
    """
    z = z[:, None].copy() if z.ndim < 2 else z.swapaxes(-1, -2).copy()
    z -= z.max(axis=-2, keepdims=True)
    e = np.exp(z)
    return z, e, e.sum(axis=-2, keepdims=True)


def _classes_last(values: FloatArray, z: FloatArray) -> FloatArray:
    """Values of `_exponentials` in the axes of the logits."""
    return values[:, 0] if z.ndim < 2 else values.swapaxes(-1, -2)


def sigmoid_losses(z: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Binary cross-entropies, -Y log P - (1 - Y) log(1 - P), summed over K; finite for any Z.

    Keras and PyTorch average over K as well.
    """
    losses = z.clip(0, np.inf) - z * y + np.log1p(np.exp(-np.abs(z)))  # (4a)
    return sigmoid(z), losses.sum(axis=-1, keepdims=True)  # (3a)


def identity_losses(z: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Half the squared error, (Z - Y)² / 2, summed over K.

    Keras and PyTorch average over K as well and have no half; scikit-learn's `MLPRegressor` has the
    half and averages over K.
    """
    return z, (0.5 * (z - y) ** 2).sum(axis=-1, keepdims=True)  # (3b) (4b)


OUTPUTS = {
    output.name: output
    for output in (
        Output("softmax", softmax_of, softmax_losses),
        Output("sigmoid", sigmoid, sigmoid_losses),
        Output("identity", lambda z: z, identity_losses),
    )
}


def output_of(name: str) -> Output:
    """The output of a name.

    Raises
    ------
    ValueError
        If there is no such name; the message lists those that there are.
    """
    one_of("output", name, OUTPUTS)
    return OUTPUTS[name]
