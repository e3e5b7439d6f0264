"""What is exported: one finite network, with what a user must know of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from fnnet import arguments
from fnnet.activations import ACTIVATIONS, Activation
from fnnet.checks import FloatArray, instance_of, is_number
from fnnet.params import Params

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class About:
    """What a network was trained on; every export keeps it.

    Attributes
    ----------
    dataset : name of the data
    classes : what each class is called, in the order of the labels; empty where it has no names
    divisor : what inputs were divided by, 255 for images of bytes

    Examples
    --------
    >>> About("digits", tuple("0123456789"), 255).divisor
    255
    """

    dataset: str = ""
    classes: tuple[str, ...] = ()
    divisor: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.dataset, str):
            raise TypeError(f"dataset must be a str, got {self.dataset!r:.99}")
        if not isinstance(self.classes, tuple) or not all(
            isinstance(name, str) for name in self.classes
        ):
            raise TypeError(f"classes must be a tuple of str, got {self.classes!r:.99}")
        if not (is_number(self.divisor) and self.divisor > 0):
            raise ValueError(f"divisor must be a finite number > 0, got {self.divisor!r:.99}")


def activation_name(params: Params) -> str:
    """The name of the activation, where it is one of fnnet's, after all checks of a network."""
    arguments.finite_network(params)
    if params.layers[0].w.ndim != 2:
        raise ValueError(
            f"params must be one network, got an ensemble of shape {params.layers[0].w.shape[:-2]}"
        )
    activation = params.activation
    if isinstance(activation, Activation):
        if ACTIVATIONS.get(activation.name) is activation:
            return activation.name
        raise ValueError(
            f"activation {activation.name!r:.99} is one of your own, which no other program knows: "
            f"expected one of {', '.join(ACTIVATIONS)}"
        )
    return activation


def form_of(activation: str, forms: Mapping[str, T], language: str) -> T:
    """The form of an activation of fnnet's in another language, from the table of its module."""
    if activation not in forms:
        raise ValueError(
            f"activation {activation!r} has no form in {language} yet: add it to ACTIVATIONS"
        )
    return forms[activation]


def facts(params: Params, about: About | None) -> dict[str, str]:
    """What there is to know, name by name: classes as JSON."""
    activation = activation_name(params)
    about = About() if about is None else about
    instance_of(About, "about", about)
    k = params.layers[-1].w.shape[-1]
    if about.classes and len(about.classes) not in (k, max(k, 2)):
        raise ValueError(f"classes must be as many as the {k} logits, got {len(about.classes)}")
    return {
        "dataset": about.dataset,
        "classes": json.dumps(about.classes),
        "divisor": repr(float(about.divisor)),
        "activation": activation,
        "output": params.output,
    }


def in_range(name: str, array: FloatArray, dtype: npt.DTypeLike) -> FloatArray:
    """The array in another float dtype, which must have room for its numbers."""
    with np.errstate(over="ignore"):
        cast: FloatArray = array.astype(dtype)
    if not np.all(np.isfinite(cast)):
        largest = float(np.abs(array).max())
        raise ValueError(f"{name} must be finite in {np.dtype(dtype)}, got up to {largest:.3g}")
    return cast


def quantized(name: str, w: FloatArray) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Weights (inputs, outputs) as int8, and a scale for each output: w is about q * scale.

    Symmetric: the largest weight of an output, either sign, is 127, and 0 stays 0.
    """
    wide = w.astype(np.float64)
    scale = in_range(f"the scale of {name}", np.abs(wide).max(axis=0) / 127, np.float32)
    scale[scale == 0] = 1
    q = np.rint(wide / scale.astype(np.float64)).clip(-127, 127).astype(np.int8)
    return q, scale.astype(np.float32)
