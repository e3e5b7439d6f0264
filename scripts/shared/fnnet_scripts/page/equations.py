"""The equations of the README with the numbers of one image in them.

Each is a formula and a line of values. ``_{...}`` is a subscript and ``^{...}`` a superscript,
which the page sets as such.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import fnnet
from fnnet.activations import activation_of
from fnnet.checks import FloatArray
from fnnet_scripts.page.strokes import Image
from fnnet_scripts.page.thinking import Lesson, hidden, inputs


@dataclass(frozen=True, slots=True)
class Place:
    """Where the values come from: the last hidden layer, its most active unit, one class."""

    params: fnnet.Params
    classes: tuple[str, ...]
    below: FloatArray
    h: FloatArray
    unit: int
    z: FloatArray
    p: FloatArray
    k: int

    @property
    def name(self) -> str:
        return f"“{self.classes[self.k]}”"


def place_of(
    params: fnnet.Params, classes: tuple[str, ...], image: Image, label: int | None
) -> Place:
    """The place of an image; the class is the one that was chosen, else the likeliest."""
    x = inputs(image)
    z = fnnet.forward(params, x)[0].astype(np.float64)
    layers = [x, *hidden(params, x)]
    h = layers[-1][0]
    below = layers[-2][0] if len(layers) > 1 else h
    k = int(z.argmax()) if label is None else label
    return Place(params, classes, below, h, int(h.argmax()), z, fnnet.softmax(z), k)


def equation(number: int, at: Place, lesson: Lesson | None) -> dict[str, str]:
    """A formula by its number, and its values.

    Raises
    ------
    ValueError
        If there is no such equation.
    """
    if number not in FORMULAS:
        raise ValueError(f"there is no equation {number}")
    if number in (11, 12):
        values = _step(number, at, lesson)
    elif number in (5, 6, 7, 8, 9, 10):
        values = _backward(number, at)
    else:
        values = _forward(number, at)
    return {"formula": FORMULAS[number], "values": values}


FORMULAS = {
    1: "H = f(X W_{1} + b_{1})",
    2: "Z = H W_{2} + b_{2}",
    3: "P_{k} = e^{Z_{k}} / Σ_{j} e^{Z_{j}}",
    4: "L = −log P_{k}",
    5: "∂L/∂Z = P − Y",
    6: "∂L/∂W_{2} = H^{T} ∂L/∂Z",
    7: "∂L/∂b_{2} = ∂L/∂Z",
    8: "∂L/∂Z_{1} = (∂L/∂Z W_{2}^{T}) ⊙ f′",
    9: "∂L/∂W_{1} = X^{T} ∂L/∂Z_{1}",
    10: "∂L/∂b_{1} = ∂L/∂Z_{1}",
    11: "v ← ρ v + (1 − ρ) g^{2}",
    12: "w ← w − η g / (√v + ε)",
}


def _forward(number: int, at: Place) -> str:
    params, unit, k = at.params, at.unit, at.k
    if number == 1:
        if len(params.layers) == 1:
            return "This network has no hidden layer: H is the image itself."
        layer = params.layers[-2]
        total, bias = float(at.below @ layer.w[:, unit]), float(layer.b[unit])
        f = activation_of(params.activation).name
        return (
            f"Unit {unit}, the most active: {f}({n(total)} {signed(bias)}) = {n(at.h[unit])}, "
            f"where {n(total)} is the sum of {at.below.size} products"
        )
    if number == 2:
        column = params.layers[-1].w[:, k]
        products = at.h * column
        top = np.argsort(-np.abs(products))[:3]
        terms = " + ".join(f"{n(at.h[i])} · {wrapped(column[i])}" for i in top)
        rest = float(products.sum() - products[top].sum())
        bias = float(params.layers[-1].b[k])
        return f"Class {at.name}: {terms} {signed(rest)} (the others) {signed(bias)} = {n(at.z[k])}"
    if number == 3:
        shifted = np.exp(at.z - at.z.max())
        own = n(float(shifted[k]))
        return (
            f"Class {at.name}: {own} / {n(float(shifted.sum()))} = {probability(at.p[k])}, "
            f"with the largest logit, {n(float(at.z.max()))}, taken off each"
        )
    value = float(-fnnet.log_softmax(at.z)[k])
    return f"If it is {at.name}: −log {probability(at.p[k])} = {n(value)}"


def _backward(number: int, at: Place) -> str:
    dz = at.p - (np.arange(at.p.size) == at.k)
    last = at.params.layers[-1]
    if number in (5, 7):
        return f"If it is {at.name}: {probability(at.p[at.k])} − 1 = {n(dz[at.k])}"
    if number == 6:
        return (
            f"From unit {at.unit} to {at.name}: {n(at.h[at.unit])} · {wrapped(dz[at.k])} = "
            f"{n(at.h[at.unit] * dz[at.k])}"
        )
    if len(at.params.layers) == 1:
        return "This network has no hidden layer."
    back = float(dz @ last.w[at.unit])
    activation = activation_of(at.params.activation)
    layer = at.params.layers[-2]
    z = at.below @ layer.w + layer.b
    slope = float(np.asarray(activation.df(z, at.h), np.float64)[at.unit])
    if number == 8:
        return f"Unit {at.unit}: {n(back)} · {n(slope)} = {n(back * slope)}"
    if number == 9:
        i = int(at.below.argmax())
        return (
            f"From input {i}, the largest, to unit {at.unit}: {n(at.below[i])} · "
            f"{wrapped(back * slope)} = {n(at.below[i] * back * slope)}"
        )
    return f"Unit {at.unit}: {n(back * slope)}"


def _step(number: int, at: Place, lesson: Lesson | None) -> str:
    if lesson is None:
        return "Teach the network this picture, and its numbers stand here."
    before, after, k = lesson.before, lesson.after, lesson.label
    h = hidden(before.params, inputs(lesson.image))
    unit = int((h[-1] if h else inputs(lesson.image))[0].argmax())
    g, w, new, old_v, v = (
        float(tree.layers[-1].w[unit, k])
        for tree in (
            lesson.gradient,
            before.params,
            after.params,
            before.mean_squares,
            after.mean_squares,
        )
    )
    what = f"The weight from unit {unit} to “{at.classes[k]}”"
    if number == 11:
        rest = 1 - before.decay
        return f"{what}: {before.decay:g} · {n(old_v)} + {rest:.3g} · {wrapped(g)}^{{2}} = {n(v)}"
    rate = float(before.learning_rate)
    return f"{what}: {n(w)} − {rate:g} · {wrapped(g)} / √{n(v)} = {n(new)}"


def n(value: float) -> str:
    """A number to three digits, with a minus sign."""
    value = float(value)
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e4:
        return f"{value:.3g}".replace("-", "−")
    digits, exponent = f"{value:.1e}".split("e")
    return f"{digits} · 10^{{{int(exponent)}}}".replace("-", "−")


def signed(value: float) -> str:
    return f"+ {n(value)}" if value >= 0 else f"− {n(-value)}"


def wrapped(value: float) -> str:
    """A factor, in brackets where it is negative."""
    return f"({n(value)})" if value < 0 or not 1e-3 <= abs(value) < 1e4 else n(value)


def probability(p: float) -> str:
    return f"{p:.4f}" if 1e-4 <= p <= 0.9999 else n(p) if p < 0.5 else f"1 − {n(1 - p)}"
