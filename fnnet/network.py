"""The network: parameters, forward pass, loss and its exact gradient.

The numbers at the ends of lines are those of the README's equations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fnnet.checks import Seed, float_dtype, generator, instance_of, whole_number
from fnnet.trees import (
    FloatArray,
    Tree,
    as_array,
    empty,
    flat,
    freeze,
    is_frozen,
    may_change,
    read_only,
    tree_leaves,
    tree_map,
)

Labels: TypeAlias = npt.NDArray[np.integer[Any]] | npt.NDArray[np.floating[Any]]
Masks: TypeAlias = Sequence[FloatArray | None]
Classes: TypeAlias = npt.NDArray[np.intp]

ROW_SUM_TOLERANCE = 1e-3  # how far from 1 a row of probabilities in half precision may add up


@dataclass(frozen=True, slots=True, eq=False)
class Layer(Tree):
    """One affine layer.

    Attributes
    ----------
    w : (inputs, outputs) float array, the weights
    b : (outputs,) float array, the biases

    Both are read-only: a NumPy array that could be written to is copied on the way in.
    """

    w: FloatArray
    b: FloatArray

    def __post_init__(self) -> None:
        for name in ("w", "b"):
            array = getattr(self, name)
            plain = as_array(name, array) if isinstance(array, np.ndarray) else array
            if isinstance(plain, np.ndarray) and (plain is not array or may_change(plain)):
                object.__setattr__(self, name, read_only(np.array(plain))[...])


@dataclass(frozen=True, slots=True, eq=False)
class Params(Tree):
    """The parameters of a network: hidden layers first, the layer of the logits last.

    Gradients, mean squares and averages of parameters have this type, too. Parameters whose arrays
    all have a leading axis (E, ...) are an ensemble: E networks of one shape, computed together.
    Stack them with ``tree_map(lambda *leaves: np.stack(leaves), *members)``, and take member e out
    with ``tree_map(lambda leaf: leaf[e], params)``.
    """

    layers: tuple[Layer, ...]


def init_params(
    rng: Seed,
    sizes: Sequence[int],
    dtype: npt.DTypeLike = np.float32,
) -> Params:
    """Random parameters: weights normal with variance 2 / inputs, biases zero.

    The initialisation of He, Zhang, Ren and Sun (2015), which keeps the scale of the activations
    through layers of rectified linear units.

    Parameters
    ----------
    rng : generator, which advances, or a seed
    sizes : widths of inputs, hidden layers and logits, for example (784, 128, 10)
    dtype : float32 or float64

    Raises
    ------
    ValueError
        If there are fewer than two sizes or one is below 1, or `dtype` is another.

    Examples
    --------
    >>> params = init_params(0, (784, 128, 10))
    >>> [layer.w.shape for layer in params.layers]
    [(784, 128), (128, 10)]
    """
    kind, rng = float_dtype(dtype), generator(rng)
    try:
        widths = [whole_number("sizes", size, 1) for size in sizes]
    except (TypeError, ValueError):
        widths = []
    if len(widths) < 2:
        got = tuple(sizes) if isinstance(sizes, Sequence) else sizes
        raise ValueError(f"sizes must be two or more whole numbers >= 1, got {got}")
    shape = Params(
        tuple(
            Layer(_shaped(kind, inputs, outputs), _shaped(kind, outputs))
            for inputs, outputs in pairwise(widths)
        )
    )
    return tree_map(lambda leaf: _he(rng, leaf), shape)


def relu(z: FloatArray) -> FloatArray:
    """max(z, 0), element by element; its derivative at 0 is taken as 0."""
    positive: FloatArray = z.clip(0, np.inf)  # three times as fast as np.maximum with a scalar
    return positive


def forward(params: Params, x: FloatArray) -> FloatArray:
    """Logits of the network, equations (1) and (2).

    Parameters
    ----------
    params : the network, or an ensemble of E
    x : (..., N, d) or (d,) float array of inputs; cast to the parameters' dtype. For an ensemble
        (N, d), shared by all, or (E, N, d)

    Returns
    -------
    logits : (..., N, K) or (K,) array of the parameters' dtype; of an ensemble (E, N, K) or (E, K)

    Raises
    ------
    TypeError
        If x is not an array of floats.
    ValueError
        If the last axis of x, or the layers among each other, do not fit.
    """
    x = _inputs(params, x)
    if x.ndim == 1:
        return _activations(params, x[None])[-1][..., 0, :]
    return _activations(params, x)[-1]


def softmax(logits: FloatArray) -> FloatArray:
    """Class probabilities, equation (3): exp(z) / sum(exp(z)) over the last axis.

    Each row's maximum is subtracted first, which changes nothing but keeps exp from overflowing.

    Parameters
    ----------
    logits : (..., K) float array
    """
    return _softmax(_logits(logits))[0]


def log_softmax(logits: FloatArray) -> FloatArray:
    """Logarithm of `softmax`, finite wherever the logits and their differences are.

    Parameters
    ----------
    logits : (..., K) float array
    """
    return _softmax(_logits(logits))[1]


def cross_entropy(logits: FloatArray, y: Labels) -> float:
    """Mean cross-entropy of softmax(logits) against the labels, equation (4), in nats.

    Parameters
    ----------
    logits : (N, K) float array; (E, N, K) for an ensemble
    y : (N,) int array of classes in [0, K), or (N, K) float array whose rows are distributions;
        for an ensemble the same, shared by all, or with a leading axis of E

    Returns
    -------
    loss : a float; for an ensemble an (E,) array (which the annotation leaves out)

    Raises
    ------
    TypeError, ValueError
        As `loss`.
    """
    logits = _floats("logits", logits)
    if logits.ndim < 2 or 0 in logits.shape:
        raise ValueError(f"logits must have shape (N, K) with N, K >= 1, got {logits.shape}")
    y = one_hot(y, logits)
    log_p = np.where(y > 0, log_softmax(logits), 0)  # 0 log 0 is 0
    return _cross_entropy(log_p, y)


def loss(params: Params, x: FloatArray, y: Labels) -> float:
    """Mean cross-entropy of the network on a batch, equations (1) to (4), in nats.

    Parameters
    ----------
    params : the network, or an ensemble of E
    x : (N, d) float array; for an ensemble (N, d), shared by all, or (E, N, d)
    y : (N,) int array of classes in [0, K), or (N, K) float array whose rows are distributions;
        for an ensemble the same, shared by all, or with a leading axis of E

    Returns
    -------
    loss : a float; for an ensemble an (E,) array (which the annotation leaves out)

    Raises
    ------
    TypeError
        If x is not an array of floats, or y not an array of ints or floats.
    ValueError
        If shapes disagree, the batch is empty, a class lies outside [0, K) or a row of y is not a
        distribution.
    """
    return cross_entropy(forward(params, _batch(params, x)), y)


def grads(params: Params, x: FloatArray, y: Labels) -> Params:
    """The exact gradient of `loss` with respect to the parameters, equations (5) to (10).

    Parameters, errors: as `loss`. The result has the parameters' shapes and dtype.
    """
    return loss_and_grads(params, x, y)[1]


def loss_and_grads(
    params: Params, x: FloatArray, y: Labels, masks: Masks | None = None
) -> tuple[float, Params]:
    """`loss` and `grads` from one forward pass.

    Parameters
    ----------
    params, x, y : as `loss`, as are the errors
    masks : factors of each layer's inputs, as `dropout_masks` draws them; None for layers without.
        Loss and gradient are then those of the network so masked
    """
    x = _batch(params, x)
    masks = (None,) * len(params.layers) if masks is None else masks
    *inputs, z = _activations(params, x, masks)
    y = one_hot(y, z)
    p, log_p = _softmax(z)
    n = z.shape[-2]
    dz = (p - y) / n  # (5)
    ones = np.ones_like(dz, shape=(n,))
    w, layout = flat(params)
    gradient = empty(layout.size, w)
    dw_db = layout.leaves(gradient)
    for layer, h, mask in zip(params.layers[::-1], inputs[::-1], masks[::-1], strict=True):
        db, dw = dw_db.pop(), dw_db.pop()
        np.matmul(h.swapaxes(-1, -2), dz, out=dw)  # (6) (9)
        np.matmul(ones, dz, out=db)  # (7) (10)
        if dw_db:
            # Where a unit is on, a mask may have made h negative.
            dz = (dz @ layer.w.swapaxes(-1, -2)) * (h != 0)  # (8)
            dz = dz if mask is None else dz * mask
    return _cross_entropy(log_p, y), freeze(gradient, layout)


def predict(params: Params, x: FloatArray) -> Classes:
    """The most probable class of each input.

    Parameters
    ----------
    params : the network
    x : (..., N, d) or (d,) float array

    Returns
    -------
    classes : (..., N) int array, or a 0-d one for a single input
    """
    return as_array("classes", forward(params, x).argmax(axis=-1))


def predict_proba(params: Params, x: FloatArray) -> FloatArray:
    """The probability of each class, softmax(forward(params, x)).

    Parameters
    ----------
    params : the network
    x : (..., N, d) or (d,) float array

    Returns
    -------
    probabilities : (..., N, K) or (K,) array whose last axis adds up to 1
    """
    return softmax(forward(params, x))


def one_hot(y: Labels, logits: FloatArray) -> FloatArray:
    """Labels as rows of probabilities, of the logits' dtype and kind.

    Parameters
    ----------
    y : (N,) int array of classes in [0, K), or (N, K) float array whose rows are distributions,
        and are scaled to add up to 1; each may have the leading axes of the logits
    logits : (..., N, K) float array

    Raises
    ------
    TypeError, ValueError
        As `loss`.
    """
    y = check_labels(y, logits.shape)
    if y.dtype.kind == "f":
        distributions: FloatArray = y.astype(logits.dtype, copy=False)
        distributions = distributions / distributions.sum(axis=-1, keepdims=True)
        return distributions
    columns = np.arange(logits.shape[-1], like=y)[:, None] == y[..., None, :]
    rows: FloatArray = columns.astype(logits.dtype).swapaxes(-1, -2)
    return rows


def check_labels(y: Labels, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """The labels as an array, if they can be those of logits of this shape.

    Raises
    ------
    TypeError, ValueError
        As `loss`.
    """
    y = as_array("y", y)
    n, k = shape[-2:]
    if y.dtype.kind in "ui":
        if y.shape not in ((n,), shape[:-1]):
            raise ValueError(f"y must hold {n} classes, shape ({n},), got shape {y.shape}")
        if y.max() >= k or (y.dtype.kind == "i" and y.min() < 0):
            raise ValueError(
                f"y must hold classes in [0, {k}), got values from {y.min()} to {y.max()}"
            )
        return y
    if y.dtype.kind != "f":
        raise TypeError(f"y must be an array of ints or floats, got dtype {y.dtype}")
    if y.shape not in ((n, k), shape):
        raise ValueError(f"y as distributions must have shape ({n}, {k}), got {y.shape}")
    excess = np.abs(y.sum(axis=-1) - 1)
    if not (np.all(y >= 0) and np.all(excess <= ROW_SUM_TOLERANCE)):
        raise ValueError("each row of y must be a distribution: no negatives, a sum of 1")
    return y


def _activations(params: Params, x: FloatArray, masks: Masks | None = None) -> list[FloatArray]:
    """Inputs of each layer, then the logits."""
    masks = (None,) * len(params.layers) if masks is None else masks
    if len(masks) != len(params.layers):
        raise ValueError(
            f"masks must be one for each of {len(params.layers)} layers, got {len(masks)}"
        )
    h = [_masked(x, masks[0])]
    for layer, mask in zip(params.layers[:-1], masks[1:], strict=True):
        h.append(_masked(relu(_affine(h[-1], layer)), mask))  # (1)
    h.append(_affine(h[-1], params.layers[-1]))  # (2)
    return h


def _masked(h: FloatArray, mask: FloatArray | None) -> FloatArray:
    if mask is None:
        return h
    mask = as_array("masks", mask)
    if mask.shape[-h.ndim :] != h.shape:
        raise ValueError(
            f"masks must have the shapes of the inputs, got {mask.shape} for {h.shape}"
        )
    return h * mask.astype(h.dtype, copy=False)


def _affine(h: FloatArray, layer: Layer) -> FloatArray:
    z: FloatArray = h @ layer.w
    z += layer.b[..., None, :]
    return z


def _softmax(z: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Probabilities and their logarithms.

    The classes are laid out first in memory, so that sums and maxima over them are vector
    operations along the samples: at ten classes several times faster than row by row.
    """
    z = z.copy() if z.ndim < 2 else z.swapaxes(-1, -2).copy().swapaxes(-1, -2)
    z -= z.max(axis=-1, keepdims=True)
    e = np.exp(z)
    total = e.sum(axis=-1, keepdims=True)
    return e / total, z - np.log(total)  # (3)


def _cross_entropy(log_p: FloatArray, y: FloatArray) -> float:
    loss = -(y * log_p).sum(axis=(-2, -1)) / y.shape[-2]  # (4)
    return float(loss) if log_p.ndim == 2 else loss


def _shaped(dtype: np.dtype[Any], *shape: int) -> FloatArray:
    """Zeros of this shape that take no memory."""
    return np.broadcast_to(np.zeros((), dtype), shape)


def _he(rng: np.random.Generator, zeros: FloatArray) -> FloatArray:
    if zeros.ndim == 1:
        return zeros
    scale = np.sqrt(2 / zeros.shape[0])
    weights: FloatArray = (rng.standard_normal(zeros.shape) * scale).astype(zeros.dtype)
    return weights


def _floats(name: str, value: FloatArray) -> FloatArray:
    array = as_array(name, value)
    if array.dtype.kind != "f":
        hint = "; as_inputs makes floats of images" if array.dtype == np.uint8 else ""
        raise TypeError(f"{name} must be an array of floats, got dtype {array.dtype}{hint}")
    return array


def _logits(logits: FloatArray) -> FloatArray:
    logits = _floats("logits", logits)
    if logits.ndim == 0 or logits.shape[-1] == 0:
        raise ValueError(f"logits must have one class or more, got shape {logits.shape}")
    return logits


def _batch(params: Params, x: FloatArray) -> FloatArray:
    x = _inputs(params, x)
    ensemble = params.layers[0].w.shape[:-2]
    if x.ndim < 2 or x.shape[:-2] not in ((), ensemble) or x.shape[-2] == 0:
        raise ValueError(
            f"x must be a batch of shape {(*ensemble, 'N', 'd')} with N >= 1, got {x.shape}"
        )
    return x


def _inputs(params: Params, x: FloatArray) -> FloatArray:
    """x as floats of the parameters' dtype, once its width fits."""
    check_layers_once(params)
    x = _floats("x", x)
    w = params.layers[0].w
    if x.ndim > 2 and w.ndim > 2 and x.shape[:-2] != w.shape[:-2]:
        raise ValueError(
            f"x must be one batch, or one for each member of the ensemble of shape "
            f"{w.shape[:-2]}, got shape {x.shape}"
        )
    if x.ndim == 0 or x.shape[-1] != w.shape[-2]:
        raise ValueError(
            f"x must have {w.shape[-2]} features on its last axis, as the first layer, "
            f"got shape {x.shape}"
        )
    return x.astype(w.dtype, copy=False)


def check_params(params: Params) -> None:
    """Raise as `check_layers`, and where a value is not finite."""
    check_layers(params)
    for i, leaf in enumerate(tree_leaves(params)):
        if not np.all(np.isfinite(leaf)):
            raise ValueError(f"params must be finite, leaf {i} of shape {leaf.shape} is not")


def check_layers_once(params: Params) -> None:
    """`check_layers`, skipped for trees of a layout that has passed it."""
    passed = flat(params)[1].passed if is_frozen(params) else set()
    if check_layers not in passed:
        check_layers(params)
        passed.add(check_layers)


def check_layers(params: Params) -> None:
    """Raise where parameters are not of one float dtype, or layers do not fit each other.

    Raises
    ------
    TypeError, ValueError
        Naming the layer, what it has and what was expected.
    """
    instance_of(Params, "params", params)
    if not params.layers:
        raise ValueError("params must have at least one layer, got none")
    dtypes = {str(leaf.dtype) for leaf in tree_leaves(params)}
    if len(dtypes) > 1 or tree_leaves(params)[0].dtype.kind != "f":
        raise TypeError(f"params must be arrays of one float dtype, got {sorted(dtypes)}")
    ensemble = params.layers[0].w.shape[:-2]
    for i, layer in enumerate(params.layers):
        w, b = layer.w, layer.b
        if w.ndim < 2 or b.shape != (*w.shape[:-2], w.shape[-1]):
            raise ValueError(f"layer {i}: b must fit w of shape {w.shape}, got b of {b.shape}")
        if w.shape[:-2] != ensemble:
            raise ValueError(
                f"layer {i}: w must have the leading axes {ensemble} of layer 0, got {w.shape}"
            )
        if i and w.shape[-2] != params.layers[i - 1].w.shape[-1]:
            raise ValueError(
                f"layer {i}: w must have {params.layers[i - 1].w.shape[-1]} inputs, "
                f"the width of layer {i - 1}, got shape {w.shape}"
            )
