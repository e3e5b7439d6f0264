"""Weights as images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fnnet.checks import FloatArray, whole_number
from fnnet.plots._drawing import (
    DPI,
    INK,
    WIDTH,
    bare,
    need_matplotlib,
    numbers,
    place,
    sheet,
)

if TYPE_CHECKING:
    from fnnet.plots._figure import Figure

MOST_UNITS = 1200  # more take minutes, and no one looks at them


def plot_weights(w: npt.ArrayLike, shape: tuple[int, int] | None = None, limit: int = 36) -> Figure:
    """Weights of the first layer as images, one for each hidden unit, the largest norms first.

    Blue is positive, red negative, white zero; every image has its own scale.

    Parameters
    ----------
    w : (inputs, outputs) weights, as ``params.layers[0].w`` has them
    shape : (H, W) of the images that the network sees, H * W = inputs; without it they are square
    limit : the most units to draw, from 1 to 1,200

    Returns
    -------
    figure : of Matplotlib; ``figure.savefig(path)`` writes it

    Raises
    ------
    TypeError
        If w is not an array of numbers, the parameters of a network, for example.
    ValueError
        If the shape does not fit the weights, a weight is not finite or the limit is below 1.
    ImportError
        If Matplotlib is not installed.
    """
    need_matplotlib()
    hint = "write params.layers[0].w, of an ensemble params.layers[0].w[0]"
    weights = numbers("w", w, hint, "(inputs, outputs)")
    height, width = _image_shape(shape, len(weights))
    most = whole_number("limit", limit, 1)
    if most > MOST_UNITS:
        raise ValueError(f"limit must be at most {MOST_UNITS}, got {limit!r:.60}")
    order = np.argsort(-np.linalg.norm(weights, axis=0), kind="stable")[:most]
    largest = np.abs(weights[:, order]).max(axis=0)
    units = weights[:, order] / np.where(largest > 0, largest, 1)
    return _weight_sheet(_contact_sheet(units.T.reshape(-1, height, width), columns=12), width)


def _image_shape(shape: object, inputs: int) -> tuple[int, int]:
    """(H, W) of the images, a square where none is given."""
    if shape is None:
        side = math.isqrt(inputs)
        if side * side != inputs:
            raise ValueError(f"shape must be given as (H, W), {inputs} inputs are no square")
        return side, side
    sides: Any = shape
    try:
        height, width = (whole_number("shape", side, 1) for side in sides)
    except (TypeError, ValueError):
        height = width = 0
    if height * width != inputs:
        got = f"{shape!r:.60} for {inputs} inputs"
        raise ValueError(f"shape must be (H, W) with H * W = len(w), got {got}")
    return height, width


def _weight_sheet(units: FloatArray, width: int) -> Figure:
    """Each weight a whole number of pixels: sharp edges, and a small file."""
    zoom = int(WIDTH * DPI) // max(units.shape[1], 12 * width)
    zoom = max(1, min(zoom, 12_000 // len(units)))
    if zoom * max(units.shape) > 2**15:
        raise ValueError(f"w must fit on a figure, got {units.shape} weights: set a lower limit")
    height, breadth = (zoom * n / DPI for n in units.shape)
    margin, key = 4 / DPI, 0.3
    with sheet(max(breadth + 2 * margin, 3.4), height + margin + key) as figure:
        axes = bare(place(figure, margin, margin, breadth, height))
        axes.imshow(units, cmap="RdBu", vmin=-1, vmax=1, interpolation="nearest", aspect="auto")
        scale = bare(place(figure, 0.6, height + margin + 0.12, 1.2, 0.1))
        scale.imshow(np.linspace(-1, 1, 101)[None], cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
        for x, offset, text in ((0, -4, "inhibits"), (1, 4, "excites; each unit on its own scale")):
            scale.annotate(
                text,
                (x, 0.5),
                xycoords="axes fraction",
                xytext=(offset, -0.5),
                textcoords="offset points",
                ha="left" if x else "right",
                va="center",
                fontsize=8,
                color=INK,
            )
    return figure


def _contact_sheet(images: FloatArray, columns: int) -> FloatArray:
    """Images of one shape in rows, NaN between them."""
    n, height, width = images.shape
    columns = min(n, columns)
    rows, gap = math.ceil(n / columns), 1 + width // 14
    paper = np.full((rows, height + gap, columns, width + gap), np.nan)
    for i, image in enumerate(images):
        row, column = divmod(i, columns)
        paper[row, :height, column, :width] = image
    return paper.reshape(rows * (height + gap), columns * (width + gap))[:-gap, :-gap]
