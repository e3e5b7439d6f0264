"""Pictures that are images of a data set already: what a network was trained on is left alone."""

from __future__ import annotations

import numpy as np

from fnnet.pictures.forms import Form
from fnnet.pictures.scaling import Pixels

GAP = 2  # blank columns between two digits in an image, at least
LIKE = 0.6  # of the height of one of two digits: that of the other, at least
SLIGHT = 0.1  # of all ink: what is no digit beside another


def is_trained_on(pixels: Pixels, form: Form) -> bool:
    """Whether a picture is an image of the data set's form: paper 0, ink in the form's box."""
    if pixels.shape != (form.side, form.side) or np.median(_frame(pixels)) != 0:
        return False
    rows, columns = (np.flatnonzero(pixels.any(axis=1 - axis)) for axis in (0, 1))
    if not rows.size:
        return False
    height, width = int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1
    fills = height == form.rows or (width == form.columns and not form.stretch)
    return fills and height <= form.rows and width <= form.columns and _in_place(pixels, form)


def _in_place(pixels: Pixels, form: Form) -> bool:
    """Whether the ink is one object, whose centre is where the form has it, to a pixel."""
    if form.centre == "box":
        return True  # it fills the image from edge to edge
    if _are_two(pixels):
        return False
    weights = pixels / float(pixels.sum())
    centre = (weights.sum(axis=1 - axis) @ np.arange(form.side) for axis in (0, 1))
    return all(abs(each - form.side / 2) <= 1 for each in centre)


def _frame(pixels: Pixels) -> Pixels:
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])


def has_its_size(box: tuple[float, ...], pixels: Pixels, form: Form) -> bool:
    """Whether ink that touches the edge has the size that it has in the network's own images."""
    size = max(box[2] - box[0], box[3] - box[1])
    return pixels.shape[:2] == (form.side, form.side) and size < max(form.rows, form.columns) + 1.5


def _are_two(pixels: Pixels) -> bool:
    """Whether blank columns part the ink in two of like height, as they part two digits."""
    columns = np.flatnonzero(pixels.any(axis=0))
    gaps = np.diff(columns) - 1
    if gaps.max(initial=0) < GAP:
        return False
    halves = np.split(pixels, [int(columns[gaps.argmax()]) + 1], axis=1)
    heights = [int(np.ptp(np.flatnonzero(half.any(axis=1)))) + 1 for half in halves]
    masses = [float(half.sum()) for half in halves]
    return min(heights) > LIKE * max(heights) and min(masses) > SLIGHT * sum(masses)
