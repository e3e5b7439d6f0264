"""From strokes to the image that a network sees: scaled into the box of its data set and centred.

Strokes are lines, not pixels: they are drawn anew at the size of the network's images, each pixel
by its distance from the pen's path. So nothing is lost where a drawing is small, and the pen is
never much thinner or thicker than that of the training images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fnnet.pictures.forms import Form

Points: TypeAlias = npt.NDArray[np.float32]
Plane: TypeAlias = npt.NDArray[np.float32]
Image: TypeAlias = npt.NDArray[np.uint8]

THIN, THICK = 0.08, 0.17  # of the box: the pens that MNIST's digits were written with
DOT = 0.04  # of the canvas: what is smaller is not enlarged to fill the box
NEAR = 0.5  # pixels: points nearer to the last one add nothing
AT_ONCE = 64  # segments whose distances are computed together, within the processor's cache


def image_of(
    strokes: Sequence[Points], width: float, form: Form, base: Image | None = None
) -> Image:
    """What is drawn, as an image in the form of a network's training images.

    Parameters
    ----------
    strokes : (N, 2) arrays, N >= 1: x to the right and y down, in sides of the canvas
    width : of the pen, in sides of the canvas
    form : where the ink lies in the training images
    base : an image that was drawn on; strokes are then neither scaled nor centred

    Returns
    -------
    image : (side, side) array, 0 for paper and 255 for ink
    """
    if not strokes:
        return np.zeros((form.side, form.side), np.uint8) if base is None else base
    low, high = THIN * form.rows, THICK * form.rows
    if base is not None:
        pen = float(np.clip(width * form.side, low, high))
        ink = drawn(
            *segments([stroke * np.float32(form.side) for stroke in strokes]), pen, form.side
        )
        return np.maximum(base, _bytes(ink))
    points = np.concatenate(strokes)
    start = points.min(axis=0)
    extent = np.maximum(points.max(axis=0) - start, 0)
    scale, pen = _scale(extent, width, form)
    starts, ends = segments([(stroke - start) * scale for stroke in strokes])
    middle = form.side / 2
    shift = np.float32(middle) - extent * scale / 2
    if form.centre == "mass":
        ink = drawn(starts + shift, ends + shift, pen, form.side)
        places = np.arange(form.side) + 0.5
        mass = np.array([ink.sum(axis=0) @ places, ink.sum(axis=1) @ places]) / ink.sum()
        shift = shift + (middle + 0.5 - mass)  # MNIST's centres lie half a pixel past the middle
        reach = extent * scale + pen / 2
        shift = np.clip(shift, pen / 2, np.maximum(form.side - reach, pen / 2)).astype(np.float32)
    return _bytes(drawn(starts + shift, ends + shift, pen, form.side))


def _scale(extent: Points, width: float, form: Form) -> tuple[Points, float]:
    """Pixels for each side of the canvas, across and down, and the pen's width in pixels."""
    box = np.array([form.columns, form.rows], np.float32)
    size = np.maximum(extent, DOT)
    across_and_down = box / (size + width)
    pen = float(across_and_down.min()) * width
    pen = float(np.clip(pen, THIN * form.rows, THICK * form.rows))
    scale = (box - pen) / size
    if not form.stretch:
        scale = np.full(2, scale.min(), np.float32)
    return scale.astype(np.float32), pen


def drawn(starts: Points, ends: Points, pen: float, side: int) -> Plane:
    """Ink from 0 to 1 of each pixel: a round pen, its edge one pixel wide.

    Parameters
    ----------
    starts, ends : (N, 2) arrays, x and y in pixels: lines that the pen follows
    pen : its width in pixels
    side : rows and columns
    """
    middle = np.float32(side / 2)
    across, down = (_within(starts[:, i], ends[:, i], pen / 2 + 0.5, side) for i in (0, 1))
    places = np.arange(side, dtype=np.float32) + np.float32(0.5) - middle
    x, y = (each.ravel() for each in np.meshgrid(places[across], places[down]))
    pixels = np.stack([x, y, x * x + y * y, np.ones_like(x)])
    nearest = np.full(x.size, np.inf, np.float32)
    for first in range(0, len(starts), AT_ONCE):
        a, b = starts[first : first + AT_ONCE], ends[first : first + AT_ONCE]
        np.minimum(nearest, _squares(a - middle, b - a, pixels).min(axis=0), out=nearest)
    distance = np.sqrt(np.maximum(nearest, 0))
    ink: Plane = np.zeros((side, side), np.float32)
    reached = (np.float32(pen / 2 + 0.5) - distance).clip(0, 1)
    ink[down, across] = reached.reshape(ink[down, across].shape)
    return ink


def _within(starts: Points, ends: Points, reach: float, side: int) -> slice:
    """Columns, or rows, that ink can reach; the others stay paper."""
    low = min(float(starts.min()), float(ends.min())) - reach
    high = max(float(starts.max()), float(ends.max())) + reach
    return slice(max(0, math.floor(low)), max(0, min(side, math.ceil(high))))


def _squares(a: Points, along: Points, pixels: Plane) -> Plane:
    """Squared distances of pixels, one a column, from the lines a + t along with t in [0, 1].

    With u = (p - a) . along and s = |along|^2 they are |p - a|^2 + s t (t - 2 u / s). Both parts
    that depend on the pixel are products with (x, y, x^2 + y^2, 1).
    """
    s = np.maximum((along**2).sum(axis=1), np.float32(1e-12))
    one = np.ones_like(s)
    from_a = np.stack([-2 * a[:, 0], -2 * a[:, 1], one, (a**2).sum(axis=1)], axis=1) @ pixels
    unit = along / s[:, None]
    u = np.concatenate([unit, 0 * unit], axis=1)
    u[:, 3] = -(a * unit).sum(axis=1)
    wanted: Plane = u @ pixels
    t = wanted.clip(0, 1)
    wanted *= -2
    wanted += t
    wanted *= t
    wanted *= s[:, None]
    wanted += from_a
    return wanted


def segments(strokes: Sequence[Points]) -> tuple[Points, Points]:
    """Where the lines from point to point begin and end; a single point is a line of no length."""
    starts, ends = [], []
    for stroke in strokes:
        path = _thinned(stroke)
        starts.append(path[:-1] if len(path) > 1 else path)
        ends.append(path[1:] if len(path) > 1 else path)
    return np.concatenate(starts), np.concatenate(ends)


def _thinned(stroke: Points) -> Points:
    """The points that lie `NEAR` or farther along the path, its ends among them."""
    steps = np.sqrt((np.diff(stroke, axis=0) ** 2).sum(axis=1))
    places = np.floor(steps.cumsum() / NEAR)
    kept = np.ones(len(stroke), np.bool_)
    kept[1:-1] = np.diff(places, prepend=0)[:-1] > 0
    return stroke[kept]


def _bytes(ink: Plane) -> Image:
    return (255 * ink).round().astype(np.uint8)
