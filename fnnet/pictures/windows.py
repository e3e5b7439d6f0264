"""Greatest and least values in windows, openings and closings: morphology of planes and masks.

The greatest value of a window is the greater one of two windows of half its size, so a window costs
as many passes as its size has bits. Windows end where the plane ends.
"""

from __future__ import annotations

from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

AnyPlane = TypeVar("AnyPlane", bound=npt.NDArray[Any])
Size: TypeAlias = int | tuple[int, int]


def highest(plane: AnyPlane, size: Size) -> AnyPlane:
    """The greatest value around each point, in windows of so many rows and columns."""
    return _around(plane, size, np.maximum)


def lowest(plane: AnyPlane, size: Size) -> AnyPlane:
    """The least value around each point, in windows of so many rows and columns."""
    return _around(plane, size, np.minimum)


def opened(plane: AnyPlane, size: Size) -> AnyPlane:
    """What remains when bright things smaller than the window are taken off."""
    return _around(_around(plane, size, np.minimum), size, np.maximum, mirrored=True)


def closed(plane: AnyPlane, size: Size) -> AnyPlane:
    """What remains when dark things smaller than the window are filled."""
    return _around(_around(plane, size, np.maximum, mirrored=True), size, np.minimum)


def filled(plane: AnyPlane, window: int) -> AnyPlane:
    """A closing in square windows of a plane that goes on beyond its edges as it is there.

    What is dark at an edge stays dark, however narrow it is, as if it went on outside.
    """
    half = window // 2
    for axis in (0, 1):
        plane = _slide(_extended(plane, 2 * half, 2 * half, axis), 2 * half + 1, np.maximum, axis)
    for axis in (0, 1):
        plane = _slide(plane, 2 * half + 1, np.minimum, axis)
    return plane


def _around(plane: AnyPlane, size: Size, take: np.ufunc, mirrored: bool = False) -> AnyPlane:
    """Extremes in windows; one of even size has its middle before or, mirrored, after its half."""
    for axis, window in enumerate((size, size) if isinstance(size, int) else size):
        window = min(window, 2 * plane.shape[axis] - 1)
        before = (window - mirrored) // 2
        plane = _slide(_extended(plane, before, window - 1 - before, axis), window, take, axis)
    return plane


def _slide(plane: AnyPlane, window: int, take: np.ufunc, axis: int) -> AnyPlane:
    """Extremes of all whole windows along an axis."""
    best: AnyPlane = plane
    reach = 1  # how many points each extreme is one of
    while reach < window:
        step = min(reach, window - reach)
        best = (
            take(best[:-step], best[step:]) if axis == 0 else take(best[:, :-step], best[:, step:])
        )
        reach += step
    return best


def _extended(plane: AnyPlane, before: int, after: int, axis: int) -> AnyPlane:
    """A plane with its first and last row repeated, or its columns."""
    if before + after == 0:
        return plane
    n = plane.shape[axis]
    shape = list(plane.shape)
    shape[axis] = n + before + after
    whole: AnyPlane = np.empty(shape, plane.dtype)  # type: ignore[assignment] # of the same kind
    along, ends = (whole, plane) if axis == 0 else (whole.T, plane.T)
    along[:before] = ends[:1]
    along[before : before + n] = ends
    along[before + n :] = ends[-1:]
    return whole
