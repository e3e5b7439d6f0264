"""Sizes of pictures: means of blocks, interpolation, and the image that a network takes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fnnet.pictures.forms import Form

Plane: TypeAlias = npt.NDArray[np.float32]
Pixels: TypeAlias = npt.NDArray[np.number[Any]]
Image: TypeAlias = npt.NDArray[np.uint8]

SAMPLES = 5  # rows and columns of a large block that its mean is taken over at most


def reduce(pixels: Pixels, factor: int) -> Plane:
    """Means of blocks of factor x factor pixels; a rest at the lower and right edges is left out.

    Of a large block some rows and columns stand for all: 9 to 25 points hold what a mean needs.
    """
    if factor == 1:
        return pixels.astype(np.float32)
    height, width = (n // factor for n in pixels.shape[:2])
    cut = pixels[: height * factor, : width * factor]
    step = -(-factor // SAMPLES)
    places = range((factor - 1) % step // 2, factor, step)
    rows: npt.NDArray[Any] = cut[places[0] :: factor].astype(_sums(pixels.dtype))
    for i in places[1:]:
        rows += cut[i::factor]
    total = rows[:, places[0] :: factor].astype(np.float32)
    for i in places[1:]:
        total += rows[:, i::factor]
    return np.asarray(total / len(places) ** 2, np.float32)


def _sums(dtype: np.dtype[Any]) -> type[np.generic]:
    """The type of sums of a few values: bytes stay short, which is faster."""
    return np.uint16 if dtype == np.uint8 else np.float32


def enlarge(plane: Plane, factor: int) -> Plane:
    """Cubic interpolation to `factor` times the size; channels apart."""
    from scipy import ndimage

    if factor == 1:
        return plane
    zoom = (factor, factor) + (1,) * (plane.ndim - 2)
    large = ndimage.zoom(plane, zoom, order=3, mode="nearest", grid_mode=True)
    # Cubic waves beside strokes would be darker than any paper.
    return np.asarray(large.clip(plane.min(), plane.max()), np.float32)


def resize(plane: Plane, shape: tuple[int, int]) -> Plane:
    """Means over the area that each new pixel covers, exact for any ratio of sizes."""
    rows, columns = (_areas(old, new) for old, new in zip(plane.shape, shape, strict=True))
    return np.asarray(rows @ plane @ columns.T, np.float32)


@lru_cache(64)
def _areas(old: int, new: int) -> Plane:
    """(new, old) matrix: what share of a new pixel each old one covers."""
    edges = np.linspace(0, old, new + 1)
    pixel = np.arange(old)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return np.asarray(np.clip(overlap, 0, None) * (new / old), np.float32)


def fit(ink: Plane, form: Form) -> Image:
    """Ink from 0 to 1, cropped, as an image of the form: scaled into its box, then centred."""
    height, width = ink.shape
    down = form.rows / height
    across = min(down, form.columns / width)
    if not form.stretch:
        down = across
    shape = (max(1, round(height * down)), max(1, round(width * across)))
    small = resize(ink, shape)
    image = np.zeros((form.side, form.side), np.uint8)
    top, left = (_corner(small.sum(axis=1 - axis), form) for axis in (0, 1))
    box = image[top : top + shape[0], left : left + shape[1]]
    box[...] = (255 * small).round().clip(0, 255)
    return image


def _corner(mass: Plane, form: Form) -> int:
    """Where along an axis the ink begins, so that its centre lies in the middle."""
    n = len(mass)
    centre = n / 2
    if form.centre == "mass" and mass.any():
        # MNIST's centres of mass lie on pixel 14 of 28, half a pixel past the middle.
        centre = float(mass @ np.arange(n)) / float(mass.sum())
    return min(max(round(form.side / 2 - centre), 0), form.side - n)
