"""The activations of hidden units, each beside its derivatives.

``f(z)`` is the activation, ``df(z, h)`` its derivative and ``ddf(z, h)`` its second one, element by
element, where h = f(z). A new one is one function for each, and one line in `ACTIVATIONS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import numpy as np

from fnnet.checks import FloatArray, flag, function, instance_of, one_of

Function: TypeAlias = Callable[[FloatArray], FloatArray]
Derivative: TypeAlias = Callable[[FloatArray, FloatArray], FloatArray]

SLOPE = 0.01  # of leaky_relu below zero, as in PyTorch
GRID = 64  # points of the table of `normal_cdf` for each unit of z
REACH = 40  # beyond it the normal distribution is 0 or 1, and its density 0, even in float64


@dataclass(frozen=True, slots=True, repr=False)
class Activation:
    """A function of hidden units with its derivatives; one of your own is given in a name's place.

    Attributes
    ----------
    name : what checkpoints and messages call it
    f : h = f(z), element by element; returns a new array of z's shape and dtype
    df : its derivative, called as df(z, h)
    ddf : its second derivative, called as ddf(z, h); None where nobody asks for curvature
    uses_z : whether the derivatives look at z; without it z is not kept, and h stands in its place

    Examples
    --------
    >>> from fnnet import init_params
    >>> softplus = Activation("softplus", lambda z: np.logaddexp(0, z), lambda z, h: -np.expm1(-h))
    >>> init_params(0, (3, 4, 2), activation=softplus)
    Params(3-4-2, softplus, float32, 26 parameters)
    """

    name: str
    f: Function
    df: Derivative
    ddf: Derivative | None = None
    uses_z: bool = True

    def __post_init__(self) -> None:
        instance_of(str, "name", self.name)
        function("f", self.f)
        function("df", self.df)
        if self.ddf is not None:
            function("ddf", self.ddf)
        flag("uses_z", self.uses_z)

    def __repr__(self) -> str:
        return f"Activation({self.name})"


def relu(z: FloatArray) -> FloatArray:
    """max(z, 0); its derivative at 0 is taken as 0."""
    positive: FloatArray = z.clip(0, np.inf)  # three times as fast as np.maximum with a scalar
    return positive


def relu_df(z: FloatArray, h: FloatArray) -> FloatArray:
    """[h > 0]."""
    return h > 0  # type: ignore[return-value]  # bools are zeros and ones, and cheaper


def leaky_relu(z: FloatArray) -> FloatArray:
    """z where it is positive, else 0.01 z."""
    leaking: FloatArray = np.where(z > 0, z, SLOPE * z)
    return leaking


def leaky_relu_df(z: FloatArray, h: FloatArray) -> FloatArray:
    """1 where h is positive, else 0.01."""
    return np.where(h > 0, np.ones_like(h), SLOPE)


def tanh(z: FloatArray) -> FloatArray:
    """Hyperbolic tangent."""
    return np.tanh(z)


def tanh_df(z: FloatArray, h: FloatArray) -> FloatArray:
    """1 - h²."""
    return 1 - h**2


def tanh_ddf(z: FloatArray, h: FloatArray) -> FloatArray:
    """-2 h (1 - h²)."""
    return -2 * h * (1 - h**2)


def sigmoid(z: FloatArray) -> FloatArray:
    """1 / (1 + e^-z), without overflow."""
    e = np.exp(-np.abs(z))
    p: FloatArray = np.where(z >= 0, 1, e) / (1 + e)
    return p


def sigmoid_df(z: FloatArray, h: FloatArray) -> FloatArray:
    """h (1 - h)."""
    return h * (1 - h)


def sigmoid_ddf(z: FloatArray, h: FloatArray) -> FloatArray:
    """h (1 - h) (1 - 2 h)."""
    return h * (1 - h) * (1 - 2 * h)


def silu(z: FloatArray) -> FloatArray:
    """z s, s = sigmoid(z)."""
    return z * sigmoid(z)


def silu_df(z: FloatArray, h: FloatArray) -> FloatArray:
    """s + h (1 - s), s = sigmoid(z)."""
    s = sigmoid(z)
    return s + h * (1 - s)


def silu_ddf(z: FloatArray, h: FloatArray) -> FloatArray:
    """s (1 - s) (2 + z (1 - 2 s)), s = sigmoid(z)."""
    s = sigmoid(z)
    return s * (1 - s) * (2 + z * (1 - 2 * s))


def gelu(z: FloatArray) -> FloatArray:
    """z Φ(z), Φ the standard normal distribution function: the exact form, not tanh's."""
    return z * normal_cdf(z)


def gelu_df(z: FloatArray, h: FloatArray) -> FloatArray:
    """Φ(z) + z φ(z), φ the density of Φ."""
    z = z.clip(-REACH, REACH)  # no square of it overflows
    return normal_cdf(z) + z * normal_density(z)


def gelu_ddf(z: FloatArray, h: FloatArray) -> FloatArray:
    """φ(z) (2 - z²)."""
    z = z.clip(-REACH, REACH)
    return normal_density(z) * (2 - z**2)


def identity(z: FloatArray) -> FloatArray:
    """z itself: a network without nonlinearity."""
    return z.copy()


def identity_df(z: FloatArray, h: FloatArray) -> FloatArray:
    """1."""
    return np.ones_like(h)


def zero(z: FloatArray, h: FloatArray) -> FloatArray:
    """0: the second derivative of what is straight but for a kink."""
    return np.zeros_like(h)


def normal_density(z: FloatArray) -> FloatArray:
    """φ(z) = e^(-z²/2) / √(2π)."""
    return np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)


def normal_cdf(z: FloatArray) -> FloatArray:
    """Φ(z), to rounding: NumPy has no error function.

    A Taylor series about the nearest of points 1/64 apart, where the standard library knows Φ. The
    k-th derivative of the density is (-1)^k He_k times it, He_k the Hermite polynomials.
    """
    z = z.clip(-REACH, REACH)
    points, values = (np.asarray(table, like=z) for table in _table(z.dtype))
    nearest = np.rint(np.nan_to_num(z) * GRID).astype(np.intp) + REACH * GRID  # NaN has no place
    x = points[nearest]
    d = z - x
    total, term, before, hermite = d, d, np.zeros_like(x), np.ones_like(x)
    for k in range(1, 7):
        before, hermite = hermite, x * hermite - (k - 1) * before
        term = -term * d / (k + 1)
        total = total + term * hermite
    return values[nearest] + normal_density(x) * total


@cache
def _table(dtype: np.dtype[np.floating[Any]]) -> tuple[FloatArray, FloatArray]:
    points = np.arange(-REACH * GRID, REACH * GRID + 1) / GRID
    values = np.array([math.erfc(-x / math.sqrt(2)) / 2 for x in points.tolist()])
    return points.astype(dtype), values.astype(dtype)


ACTIVATIONS = {
    activation.name: activation
    for activation in (
        Activation("relu", relu, relu_df, zero, uses_z=False),
        Activation("tanh", tanh, tanh_df, tanh_ddf, uses_z=False),
        Activation("sigmoid", sigmoid, sigmoid_df, sigmoid_ddf, uses_z=False),
        Activation("leaky_relu", leaky_relu, leaky_relu_df, zero, uses_z=False),
        Activation("gelu", gelu, gelu_df, gelu_ddf),
        Activation("silu", silu, silu_df, silu_ddf),
        Activation("identity", identity, identity_df, zero, uses_z=False),
    )
}


def activation_of(value: str | Activation) -> Activation:
    """The activation of a name, or the one given.

    Raises
    ------
    ValueError
        If there is no such name; the message lists those that there are. If the one given has the
        name of another: a checkpoint, which has the name alone, would give that one back.
    """
    if isinstance(value, Activation):
        if ACTIVATIONS.get(value.name, value) != value:
            raise ValueError(f"activation must not be called {value.name!r}, as one of fnnet's is")
        return value
    one_of("activation", value, ACTIVATIONS)
    return ACTIVATIONS[value]
