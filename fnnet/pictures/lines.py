"""Printed lines: thin, straight, across most of the picture. Strokes that cross them stay."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fnnet.pictures.scaling import Plane
from fnnet.pictures.windows import closed, highest, opened

ACROSS = 0.55  # of the picture's width: how much of it a line covers at least
THICKEST = 0.013  # of the side of a square as large as the picture: no line is wider
EDGE = 0.04  # of the picture's width: a line that ends no farther from the edge runs to it
MANY = 3  # lines: so many are printed, though none runs to an edge
EIGHT = np.ones((3, 3), bool)
Points: TypeAlias = npt.NDArray[np.intp]
Line: TypeAlias = tuple[Points, Points, float]  # rows and columns of its points, its thickness


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


def _bands(plane: Plane) -> npt.NDArray[np.bool_]:
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
    bands = np.zeros(plane.shape, bool)
    columns = np.arange(width)
    for rows, across, thickness in _printed(_straight(long), width):
        slope, start = _line(rows, across)
        middle = start + slope * columns
        half = thickness / 2
        for row in range(int(-half), int(half) + 1):
            at = np.round(middle + row).astype(int)
            inside = (at >= 0) & (at < plane.shape[0])
            bands[at[inside], columns[inside]] = True
    return bands


def _printed(lines: list[Line], width: int) -> list[Line]:
    """Lines across most of a width; one or two that end before both edges may be strokes."""
    long = [line for line in lines if np.count_nonzero(np.bincount(line[1])) > ACROSS * width]
    if len(long) >= MANY:
        return long
    edge = EDGE * width
    return [line for line in long if line[1].min() < edge or line[1].max() >= width - edge]


def _straight(mask: npt.NDArray[np.bool_]) -> list[Line]:
    """Points of the areas of a mask, those of one line together, and the line's thickness."""
    from scipy import ndimage

    labels = ndimage.label(mask, EIGHT)[0]
    boxes = ndimage.find_objects(labels)
    points = []
    for i, box in enumerate(boxes, 1):
        rows, columns = np.nonzero(labels[box] == i)
        points.append((rows + box[0].start, columns + box[1].start))
    points.sort(key=lambda p: -len(p[0]))
    middles = np.array([(rows.mean(), columns.mean()) for rows, columns in points])
    left = np.ones(len(points), bool)
    lines: list[Line] = []
    for i, (rows, columns) in enumerate(points):
        if left[i]:
            thickness = len(rows) / (int(np.ptp(columns)) + 1)
            slope, start = _line(rows, columns)
            apart = np.abs(middles @ (1.0, -slope) - start)
            same = np.flatnonzero(left & (apart < max(2.0, thickness)))
            left[same] = left[i] = False
            joined = [points[j] for j in {i, *same.tolist()}]
            rows, columns = (np.concatenate(each) for each in zip(*joined, strict=True))
            lines.append((rows, columns, thickness))
    return lines


def _line(rows: Points, columns: Points) -> tuple[float, float]:
    """Slope and start of the line of least squares through points."""
    middle = columns - columns.mean()
    slope = float(middle @ rows) / max(float(middle @ middle), 1.0)
    return slope, float(rows.mean()) - slope * float(columns.mean())
