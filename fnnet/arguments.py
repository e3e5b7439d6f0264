"""Checks and converts the arguments of public functions, and words their errors.

Each public function of the network calls this module in its first line. After that call, arrays
have the right type and shape, and the equations need no checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt

from fnnet.activations import Activation, activation_of
from fnnet.checks import FloatArray, array_of, as_array, instance_of, is_array, not_traced
from fnnet.labels import label_rows
from fnnet.outputs import output_of
from fnnet.params import Layer, Params
from fnnet.trees import Layout, layout_of, tree_leaves

Masks: TypeAlias = Sequence[FloatArray | None]
Weights: TypeAlias = FloatArray | npt.NDArray[np.integer[Any]]

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


class Sizes(NamedTuple):
    """What a network's arrays have in common.

    Attributes
    ----------
    ensemble : leading axes
    inputs, logits : their numbers
    dtype : of all of them
    """

    ensemble: tuple[int, ...]
    inputs: int
    logits: int
    dtype: np.dtype[Any]


def check_network(params: Params) -> Sizes:
    """The sizes of a network; raises where parameters are not those of one.

    Raises
    ------
    TypeError, ValueError
        Naming the layer, what it has and what was expected.
    """
    if not isinstance(params, Params):
        hint = ": write state.params" if hasattr(params, "params") else ""
        raise TypeError(f"params must be of type Params, got {type(params).__name__}{hint}")
    _some_layers("params", params)
    known = getattr(params, "_flat", None)
    dtype = known[0].dtype if known else _one_dtype(params)
    layout = known[1] if known else layout_of(params)
    try:
        return _sizes(layout, dtype, params.activation, params.output)
    except TypeError:  # of what cannot be hashed: the check itself names it
        return _sizes.__wrapped__(layout, dtype, params.activation, params.output)


def check_tree(name: str, tree: Params) -> None:
    """Raise where a value is no tree of layers; it may hold any arrays."""
    instance_of(Params, name, tree)
    _some_layers(name, tree)
    try:
        tree_leaves(tree)
    except TypeError as error:
        raise TypeError(f"{name} must have layers of arrays: {error}") from None


def _some_layers(name: str, tree: Params) -> None:
    if not isinstance(tree.layers, tuple) or not tree.layers:
        raise ValueError(f"{name} must have a tuple of at least one layer, got {tree.layers!r:.99}")


def finite_network(params: Params) -> None:
    """Raise as `check_network`, and where a value is not finite."""
    check_network(params)
    for i, leaf in enumerate(tree_leaves(params)):
        if leaf.size == 0:
            raise ValueError(f"params must not be empty, leaf {i} has the shape {leaf.shape}")
        if not np.all(np.isfinite(leaf)):
            raise ValueError(f"params must be finite, leaf {i} of shape {leaf.shape} is not")


def inputs(params: Params, x: npt.ArrayLike) -> FloatArray:
    """A sample (d,) or samples (..., N, d) as samples, of the parameters' dtype."""
    return _samples(check_network(params), x)


def _samples(sizes: Sizes, x: npt.ArrayLike) -> FloatArray:
    array = array_of("x", x)
    samples = array if array.dtype == sizes.dtype else _converted(array, sizes.dtype)
    shape, ensemble = samples.shape, sizes.ensemble
    if len(shape) > 2 and ensemble and shape[:-2] != ensemble:
        raise ValueError(
            f"x must be one batch, or one for each member of the ensemble of shape "
            f"{ensemble}, got shape {shape}"
        )
    if not shape or shape[-1] != sizes.inputs:
        raise ValueError(
            f"x must have {sizes.inputs} features on its last axis, as the first layer has, "
            f"got shape {shape}"
        )
    return samples[None] if len(shape) == 1 else samples


def _converted(x: npt.NDArray[Any], dtype: np.dtype[Any]) -> FloatArray:
    """Samples of another dtype, unless uint8 leaves open whether they are to be divided by 255."""
    if x.dtype == np.uint8:
        raise TypeError(
            "x must be floats, got uint8: write as_inputs(x) for images of shape (N, height, "
            f"width), x / 255 for their rows, x.astype({dtype.name!r}) for plain numbers"
        )
    return _floats("x", x, dtype)


def masked_inputs(
    params: Params, x: npt.ArrayLike, masks: Masks | None
) -> tuple[FloatArray, Sequence[FloatArray | None]]:
    """As `inputs`, and one mask, or None, for each layer."""
    samples = inputs(params, x)
    return samples, _masks(params, samples, masks)


def _masks(params: Params, samples: FloatArray, masks: Masks | None) -> Masks:
    layers = params.layers
    if masks is None:
        return (None,) * len(layers)
    if not isinstance(masks, Sequence) or len(masks) != len(layers):
        got = f"{len(masks)}" if isinstance(masks, Sequence) else type(masks).__name__
        raise ValueError(f"masks must be one for each of {len(layers)} layers, got {got}")
    first = samples.shape[:-1]
    rest = (*layers[0].w.shape[:-2], samples.shape[-2]) if layers[0].w.ndim > 2 else first
    shapes = [(*(rest if i else first), lay.w.shape[-2]) for i, lay in enumerate(layers)]
    return [
        mask if mask is None else _mask(mask, shape, samples.dtype)
        for mask, shape in zip(masks, shapes, strict=True)
    ]


class Batch(NamedTuple):
    """A batch as the equations want it.

    Attributes
    ----------
    x : (..., N, d) inputs
    y : (..., N, K) labels as rows
    s : weights of the samples as a column (N, 1), None where all count alike
    total : sum of the weights
    masks : of the inputs of each layer, None where there is none
    """

    x: FloatArray
    y: FloatArray
    s: FloatArray | None
    total: float
    masks: Sequence[FloatArray | None]


def batch(
    params: Params,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    weights: npt.ArrayLike | None,
    masks: Masks | None = None,
) -> Batch:
    """Everything that `loss` takes, for the network or an ensemble."""
    sizes = check_network(params)
    samples = x if _ready(x, sizes) else _several(sizes, x)
    like = params.layers[-1].b
    rows = label_rows(params.output, y, (*sizes.ensemble, samples.shape[-2], sizes.logits), like)
    s, total = sample_weights(weights, samples.shape[-2], like)
    return Batch(samples, rows, s, total, _masks(params, samples, masks))


def _ready(x: npt.ArrayLike, sizes: Sizes) -> TypeGuard[FloatArray]:
    """Whether x is a batch as `_several` returns it: a short way for what comes most often."""
    return (
        type(x) is np.ndarray
        and x.dtype == sizes.dtype
        and x.ndim == 2
        and x.shape[1] == sizes.inputs
        and x.shape[0] > 0
    )


def _several(sizes: Sizes, x: npt.ArrayLike) -> FloatArray:
    """Samples of one batch, or of one for each member of an ensemble."""
    samples = _samples(sizes, at_least_two_axes(x))
    if samples.shape[:-2] not in ((), sizes.ensemble) or samples.shape[-2] == 0:
        raise ValueError(
            f"x must be a batch of shape ({''.join(f'{size}, ' for size in sizes.ensemble)}N, d) "
            f"with N >= 1, got shape {samples.shape}"
        )
    return samples


def derivative(dz: npt.ArrayLike, logits: FloatArray) -> FloatArray:
    """dL/dZ as an array of the logits' shape and dtype."""
    floats = _floats("dz", dz, logits.dtype)
    if floats.shape != logits.shape:
        raise ValueError(
            f"dz must have the shape of the logits, {logits.shape}, got {floats.shape}"
        )
    return floats


def logits(z: FloatArray) -> FloatArray:
    """Logits (..., K) as floats."""
    z = as_array("logits", z)
    if z.dtype.kind != "f":  # whole numbers are mostly classes, in the place of logits
        hint = ": write logits.astype(float) if they are logits" if z.dtype.kind in "iu" else ""
        raise TypeError(f"logits must be an array of floats, got dtype {z.dtype}{hint}")
    if z.ndim == 0 or z.shape[-1] == 0:
        raise ValueError(f"logits must have one class or more, got shape {z.shape}")
    return z


def logits_and_labels(z: FloatArray, y: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Logits (..., N, K) and labels as rows of distributions."""
    z = as_array("logits", z)
    if z.dtype.kind == "f" and (z.ndim < 2 or 0 in z.shape):
        raise ValueError(f"logits must have shape (N, K) with N, K >= 1, got {z.shape}")
    z = logits(z)
    return z, label_rows("softmax", y, z.shape, z)


def sample_weights(
    weights: npt.ArrayLike | None, n: int, like: FloatArray
) -> tuple[FloatArray | None, float]:
    """Weights of samples as a column of `like`'s dtype, and their sum; n without weights."""
    if weights is None:
        return None, n
    s = array_of("weights", weights)
    if s.dtype.kind not in "fiub" or s.shape != (n,):
        raise ValueError(f"weights must be ({n},) numbers >= 0, got {s.dtype} {s.shape}")
    if not bool(np.all(np.isfinite(s) & (s >= 0))):
        raise ValueError("weights must be finite and >= 0, got some that are not")
    with np.errstate(over="ignore"):
        column = s.astype(like.dtype)[:, None]
        total = float(column.sum())
    if not np.isfinite(total):
        raise ValueError(f"weights must have a finite sum in {like.dtype}, got larger ones")
    return column, total or 1.0  # all zero: loss and gradient are zero


def _mask(mask: FloatArray, shape: tuple[int, ...], dtype: npt.DTypeLike) -> FloatArray:
    mask = as_array("masks", mask)
    if mask.dtype.kind not in "fiub":
        raise TypeError(f"masks must be arrays of numbers, got dtype {mask.dtype}")
    if mask.shape[-len(shape) :] != shape:
        raise ValueError(f"masks must have the shapes of the inputs, got {mask.shape} for {shape}")
    return mask.astype(dtype, copy=False)


def _floats(name: str, value: Any, dtype: np.dtype[Any]) -> FloatArray:
    """A value as an array of this dtype."""
    array = array_of(name, value)
    if array.dtype == dtype:
        return array
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be an array of numbers, got dtype {array.dtype}")
    return array.astype(dtype)


def at_least_two_axes(x: npt.ArrayLike) -> npt.NDArray[Any]:
    """x as an array; an error if it is a single sample."""
    array = array_of("x", x)
    if array.ndim < 2:
        raise ValueError(f"x must be a batch of shape (N, d) with N >= 1, got shape {array.shape}")
    return array


def _one_dtype(params: Params) -> np.dtype[Any]:
    for i, layer in enumerate(params.layers):
        instance_of(Layer, f"layer {i} of params", layer)
        for leaf in (layer.w, layer.b):
            if not (is_array(leaf) or hasattr(leaf, "__array__")):
                kind = type(leaf).__name__
                raise TypeError(f"layer {i} of params must hold arrays, got {kind}")
            not_traced("params", leaf)
            if hasattr(leaf, "__array__") and not is_array(leaf):
                raise TypeError(
                    f"params must hold NumPy's arrays, got {type(leaf).__name__}: "
                    "write jax.tree.map(np.asarray, params)"
                )
    dtypes = {leaf.dtype for leaf in tree_leaves(params)}
    if len(dtypes) != 1:
        raise TypeError(f"params must be arrays of one float dtype, got {sorted(map(str, dtypes))}")
    return dtypes.pop()


@lru_cache(maxsize=256)
def _sizes(
    layout: Layout[Params], dtype: np.dtype[Any], activation: str | Activation, output: str
) -> Sizes:
    """Sizes, where layers fit each other.

    Trees that one training makes share one layout, so the result is cached: with two layers the
    check costs 3 µs of the 35 that a step of a tiny network takes.
    """
    if dtype not in DTYPES and dtype.newbyteorder("=") not in DTYPES:
        raise TypeError(
            f"params must be arrays of float32 or float64, got {dtype}: "
            "write tree_map(lambda leaf: leaf.astype(np.float32), params)"
        )
    activation_of(activation)
    output_of(output)
    shapes = [shape for _, _, shape in layout.parts]
    ensemble, width = shapes[0][:-2], None
    for i, (w, b) in enumerate(zip(shapes[::2], shapes[1::2], strict=True)):
        if len(w) < 2 or b != (*w[:-2], w[-1]):
            raise ValueError(f"layer {i}: b must fit w of shape {w}, got b of {b}")
        if w[:-2] != ensemble:
            raise ValueError(
                f"layer {i}: w must have the leading axes {ensemble} of layer 0, got {w}"
            )
        if width not in (None, w[-2]):
            raise ValueError(
                f"layer {i}: w must have {width} inputs, the width of layer {i - 1}, got shape {w}"
            )
        width = w[-1]
    return Sizes(ensemble, shapes[0][-2], shapes[-1][-1], dtype)
