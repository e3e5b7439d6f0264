"""The parameters of a network: immutable data, and random ones to begin with."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from fnnet.activations import Activation, activation_of
from fnnet.checks import (
    LONGEST_AXIS,
    FloatArray,
    as_array,
    described,
    float_dtype,
    is_array,
    one_of,
    whole_number,
)
from fnnet.outputs import output_of
from fnnet.randomness import Seed, generator
from fnnet.trees import STATIC, Tree, frozen, owned

VARIANCES: dict[str, Callable[[int, int], float]] = {
    "he": lambda inputs, outputs: 2 / inputs,
    "glorot": lambda inputs, outputs: 2 / (inputs + outputs),
    "lecun": lambda inputs, outputs: 1 / inputs,
}
SCHEMES = {"tanh": "glorot", "sigmoid": "glorot", "identity": "lecun"}  # "he" for all others


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Layer(Tree):
    """One affine layer. Both arrays are read-only: one that fnnet did not make is copied.

    Attributes
    ----------
    w : (inputs, outputs) float array, the weights
    b : (outputs,) float array, the biases
    """

    w: FloatArray
    b: FloatArray

    def __post_init__(self) -> None:
        for name in ("w", "b"):
            array = getattr(self, name)
            if isinstance(array, np.ndarray):
                object.__setattr__(self, name, owned(as_array(name, array)))

    def __repr__(self) -> str:
        return f"Layer({described(self.w)}, {described(self.b)})"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Params(Tree):
    """The parameters of a network: hidden layers first, the layer of the logits last.

    Gradients, mean squares and averages of parameters have this type, too. Parameters whose arrays
    all have a leading axis (E, ...) are an ensemble: E networks of one shape, computed together.
    Stack them with ``tree_map(lambda *leaves: np.stack(leaves), *members)``, and take member e out
    with ``tree_map(lambda leaf: leaf[e], params)``.

    Attributes
    ----------
    layers : tuple of `Layer`
    activation : of the hidden units: a name (see `init_params`) or an `Activation` of your own
    output : what the logits mean: "softmax", "sigmoid" or "identity"
    """

    layers: tuple[Layer, ...]
    activation: str | Activation = field(default="relu", metadata=STATIC)
    output: str = field(default="softmax", metadata=STATIC)

    def __repr__(self) -> str:
        try:
            return f"Params({', '.join(self._facts())})"
        except (AttributeError, IndexError, TypeError, ValueError):  # leaves of JAX's
            return f"Params({self.layers!r:.200})"

    def _facts(self) -> list[str]:
        first, leaves = self.layers[0].w, [leaf for lay in self.layers for leaf in (lay.w, lay.b)]
        if not all(map(is_array, leaves)):
            raise TypeError
        members = "".join(f"{size} × " for size in first.shape[:-2])
        sizes = "-".join(map(str, widths(self)))
        name = str(getattr(self.activation, "name", self.activation))
        return [
            members + sizes,
            *([name] if name != "relu" else []),
            *([self.output] if self.output != "softmax" else []),
            str(first.dtype),
            f"{sum(math.prod(leaf.shape) for leaf in leaves):,} parameters",
        ]


def widths(params: Params) -> list[int]:
    """Numbers of inputs, hidden units of each layer, and logits."""
    return [params.layers[0].w.shape[-2], *(layer.w.shape[-1] for layer in params.layers)]


def init_params(
    rng: Seed,
    sizes: Sequence[int],
    dtype: npt.DTypeLike = np.float32,
    *,
    activation: str | Activation = "relu",
    output: str = "softmax",
    scheme: str | None = None,
) -> Params:
    """Random parameters: weights normal about zero, biases zero.

    Parameters
    ----------
    rng : generator, which advances, or a seed
    sizes : widths of inputs, hidden layers and logits, for example (784, 128, 10)
    dtype : float32 or float64
    activation : of the hidden units: "relu", "tanh", "sigmoid", "leaky_relu", "gelu" (exact),
        "silu", "identity", or an `Activation` of your own
    output : what the logits mean: "softmax" (one class of K), "sigmoid" (K labels, each on its own)
        or "identity" (K numbers)
    scheme : variance of the weights: "he", 2 / inputs (He, Zhang, Ren and Sun 2015); "glorot",
        2 / (inputs + outputs) (Glorot and Bengio 2010); "lecun", 1 / inputs (LeCun, Bottou, Orr and
        Müller 1998). Without one it is the activation's: Glorot's for tanh and sigmoid, LeCun's for
        identity, He's for all others

    Returns
    -------
    params : layers of (inputs, outputs) weights and (outputs,) biases, of this dtype

    Raises
    ------
    TypeError
        If `rng` is neither a generator nor a seed.
    ValueError
        If there are fewer than two sizes or one is below 1, or `dtype`, `activation`, `output` or
        `scheme` is none of the above.

    Examples
    --------
    >>> init_params(0, (784, 128, 10))
    Params(784-128-10, float32, 101,770 parameters)
    >>> init_params(0, (8, 16, 1), np.float64, activation="tanh", output="identity")
    Params(8-16-1, tanh, identity, float64, 161 parameters)
    """
    kind, rng = float_dtype(dtype), generator(rng)
    name = activation_of(activation).name
    output_of(output)
    scheme = SCHEMES.get(name, "he") if scheme is None else scheme
    one_of("scheme", scheme, tuple(VARIANCES))
    layers = tuple(_layer(rng, a, b, kind, scheme) for a, b in pairwise(_sizes(sizes)))
    return frozen(Params(layers, activation, output))


def _sizes(sizes: Sequence[int]) -> list[int]:
    try:
        whole = [whole_number("sizes", size, 1, LONGEST_AXIS) for size in sizes]
    except (TypeError, ValueError):
        whole = []
    if len(whole) < 2:
        got = tuple(sizes) if isinstance(sizes, Sequence) else sizes
        raise ValueError(f"sizes must be two or more whole numbers >= 1, got {got!s:.99}")
    return whole


def _layer(
    rng: np.random.Generator, inputs: int, outputs: int, dtype: npt.DTypeLike, scheme: str
) -> Layer:
    scale = np.sqrt(VARIANCES[scheme](inputs, outputs))
    w = (rng.standard_normal((inputs, outputs)) * scale).astype(dtype)
    return Layer(w, np.zeros(outputs, dtype))
