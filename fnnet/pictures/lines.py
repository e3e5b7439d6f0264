"""Printed lines: thin, straight, across most of the picture. Strokes that cross them stay."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fnnet.pictures.scaling import Plane
from fnnet.pictures.windows import closed, highest, opened

ACROSS = 0.55  # of the picture's width: how much of it a line covers at least
THICKEST = 0.013  # of the side of a square as large as the picture: no line is wider
EDGE = 0.04  # of the picture's width: a line that ends no farther from the edge runs to it
MANY = 3  # lines: so many are printed, though none runs to an edge
SMALL = 160  # pixels: the side of a square as large as a small picture, at most
EIGHT = np.ones((3, 3), bool)
Points: TypeAlias = npt.NDArray[np.intp]
Numbers: TypeAlias = npt.NDArray[np.float64]
Mask: TypeAlias = npt.NDArray[np.bool_]


def without_lines(plane: Plane) -> Plane:
    """Contrast without the lines of ruled or squared paper; where there are none, the plane."""
    plane = _without_rows(plane)
    turned = plane.T
    without = _without_rows(turned)
    return plane if without is turned else without.T


def _without_rows(plane: Plane) -> Plane:
    from scipy import ndimage

    band = _bands(plane)
    if not band.any():
        return plane
    # What is as thin as a line: a flat stroke that lies on a line is thicker, and stays.
    rows = np.count_nonzero(band, axis=0)
    n = ndimage.label(band[:, int(rows.argmax())])[1]
    size = round(rows.max() / max(n, 1)) + 2
    thin = plane - opened(plane, (size, 1))
    return np.where(highest(band, (3, 1)), plane - thin, plane)


def _bands(plane: Plane) -> Mask:
    """Where lines run from left to right, also where strokes cross them."""
    width = plane.shape[1]
    thick = max(3, round(THICKEST * math.sqrt(plane.size))) | 1
    plane = plane.clip(0, 255).astype(np.uint8)  # bytes are enough to find lines, and fast
    thin = plane - opened(plane, (2 * thick - 1, 1))
    joined = closed(thin, (1, 2 * thick - 1))  # where other lines cross
    run = max(9, width // 12)
    level = opened(highest(joined, (3, 1)), (1, run))
    usual, strong = np.quantile(level[::2, ::2], (0.5, 0.99))
    long = level > max(6.0, 0.4 * strong, 3 * usual)
    lines = _lines(long) if np.count_nonzero(long) > ACROSS * width else None
    if lines is None or not _are_printed(lines, plane.shape):
        return np.zeros(plane.shape, bool)
    return _drawn(lines, plane.shape)


@dataclass(frozen=True, slots=True)
class Lines:
    """Straight lines: rows at column 0, slopes, thicknesses, first and last columns."""

    starts: Numbers
    slopes: Numbers
    thicknesses: Numbers
    firsts: Points
    lasts: Points


def _are_printed(lines: Lines, shape: tuple[int, ...]) -> bool:
    """Whether lines are no strokes, which may be as thin on a small picture, and end on it."""
    height, width = shape
    if len(lines.starts) >= MANY or height * width > SMALL**2:
        return True
    edge = EDGE * width
    return bool(((lines.firsts < edge) | (lines.lasts >= width - edge)).any())


def _drawn(lines: Lines, shape: tuple[int, int]) -> Mask:
    """Where lines are, from edge to edge."""
    bands, columns = np.zeros(shape, bool), np.arange(shape[1])
    middles = lines.starts[:, None] + lines.slopes[:, None] * columns
    halves = (lines.thicknesses / 2).astype(int)
    for row in range(-halves.max(initial=-1), halves.max(initial=-1) + 1):
        at = np.round(middles[halves >= abs(row)] + row).astype(int)
        _, column = np.nonzero(inside := (at >= 0) & (at < shape[0]))
        bands[at[inside], column] = True
    return bands


def _lines(mask: Mask) -> Lines:
    """Lines of a mask that cover most of its width, each with all areas that lie on it."""
    from scipy import ndimage

    width = mask.shape[1]
    labels, n = ndimage.label(mask, EIGHT)
    rows, columns = np.nonzero(mask)
    owners = labels[rows, columns] - 1
    areas = _fitted(rows, columns, owners, n)
    thick = areas.counts / np.count_nonzero(_covered(columns, owners, (n, width)), axis=1)
    owners = _on_lines(areas, thick)[owners]
    lines = _fitted(rows, columns, owners, n)
    covered = _covered(columns, owners, (n, width))
    lengths = np.count_nonzero(covered, axis=1)
    long = lengths > ACROSS * width
    covered = covered[long]
    starts = (lines.rows - lines.slopes * lines.columns)[long]
    lasts = width - 1 - covered[:, ::-1].argmax(axis=1)
    thick = lines.counts[long] / lengths[long]
    return Lines(starts, lines.slopes[long], thick, covered.argmax(axis=1), lasts)


@dataclass(frozen=True, slots=True)
class Fit:
    """Areas of points: how many, the middle row and column, the slope of the line of least squares.

    Areas of no points have zeros.
    """

    counts: Points
    rows: Numbers
    columns: Numbers
    slopes: Numbers


def _fitted(rows: Points, columns: Points, owners: Points, n: int) -> Fit:
    """The lines of least squares through the points of n areas."""
    counts = np.bincount(owners, minlength=n)
    some = np.maximum(counts, 1)
    middle_rows, middle_columns = (np.bincount(owners, each, n) / some for each in (rows, columns))
    along = columns - middle_columns[owners]
    spans = np.bincount(owners, along * along, n)
    slopes = np.bincount(owners, along * rows, n) / np.maximum(spans, 1.0)
    return Fit(counts, middle_rows, middle_columns, slopes)


def _covered(columns: Points, owners: Points, shape: tuple[int, int]) -> Mask:
    """Which columns the points of areas lie in."""
    n, width = shape
    return np.bincount(owners * width + columns, minlength=n * width).reshape(shape) > 0


def _on_lines(areas: Fit, thick: Numbers) -> Points:
    """For each area the largest one on whose line it lies: itself, if on no larger one's."""
    line = np.full(len(thick), -1)
    for i in np.argsort(-areas.counts, kind="stable"):
        if line[i] < 0:
            apart = (
                areas.rows - areas.rows[i] - areas.slopes[i] * (areas.columns - areas.columns[i])
            )
            line[(line < 0) & (np.abs(apart) < max(2.0, thick[i]))] = i
            line[i] = i
    return line
