"""Shadows narrower than the page: areas wider than strokes, darker than paper and not black."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fnnet.pictures.scaling import Plane
from fnnet.pictures.windows import highest, opened

WIDE = 0.12  # of the shorter side: no stroke is as wide
DIM = 0.8  # of the paper's brightness: a lighter shadow does no harm
SAME = 0.9  # of the picture's usual brightness: what has more is no shadow
BLACK = 0.25  # of the paper's brightness: what is darker is no shadow


@dataclass(frozen=True, slots=True)
class Shade:
    """Shadows: what the picture's values are multiplied by, and their contrast with the paper."""

    gains: Plane
    contrast: float


def shade_of(bright: Plane, paper: Plane) -> Shade | None:
    """The shadows of a picture, by its brightness and that of its paper; None where there are none.

    All of a shadow is lit alike, what is written on it too; nothing becomes lighter than paper.
    """
    from scipy import ndimage

    share = bright / np.maximum(paper, 1)
    size = max(3, round(WIDE * min(bright.shape)))
    labels, _ = ndimage.label(opened(share < DIM, size))
    usual = SAME * float(np.median(bright[::2, ::2]))
    gains, contrast = np.ones(share.shape, np.float32), 0.0
    for i, box in enumerate(ndimage.find_objects(labels), 1):
        box = tuple(slice(max(s.start - size, 0), s.stop + size) for s in box)
        inside = labels[box] == i
        dim = float(np.median(share[box][inside]))
        # Dark paper between light strokes is as bright as the rest.
        if dim > BLACK and float(np.median(bright[box][inside])) < usual:
            # The opening has cut round corners off.
            area = highest(inside, size | 1) & (share[box] < (1 + dim) / 2)
            gains[box][area] = 1 / np.maximum(share[box][area], dim)
            contrast = max(contrast, float(np.median((paper - bright)[box][inside])))
    return Shade(gains, contrast) if contrast else None
