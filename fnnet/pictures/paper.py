"""What stands out from the paper: contrast with the local paper, of dark ink or of light ink.

The paper under dark strokes is what a morphological closing leaves: the least of the greatest
values in windows that are wider than a stroke. It keeps the edge of a shadow where it is, since a
shadow is wider than the window, and it keeps what goes off the edge of the picture at full width,
as a table does. Where a shadow or a page becomes narrower than the window, as in a corner, the
paper goes on as far as it is even. Under light strokes, the opening is the same with light and dark
exchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fnnet.pictures.scaling import Plane
from fnnet.pictures.windows import filled, highest, lowest, opened

WINDOW = 0.4  # of the shorter side: the widest stroke that is told from paper
DARKEST = 32.0  # of 255: the least brightness of paper that contrasts are compared with
EVEN = 12.0  # of 255: paper differs less from point to point
ROUGH = 5.0  # times the usual difference of neighbours: what stands out so far is no noise of paper
LARGE = 0.25  # of the picture: an even area that covers more is paper, however narrow its parts are


@dataclass(frozen=True, slots=True)
class Surface:
    """A picture along one axis of colours, smoothed, with its brightness.

    `window` is wider than any stroke. `writing` says that strokes of a pen are expected, which
    cover little: a large even area is paper then, and no garment.
    """

    values: Plane
    bright: Plane
    window: int
    writing: bool


def surface(pixels: Plane, window: int, axis: Plane | None, writing: bool) -> Surface:
    """Pixels, (H, W) or (H, W, 3), along an axis as from `colour_axis`, smoothed."""
    values = smooth(pixels if axis is None else pixels @ axis)
    bright = values if axis is None else pixels @ np.full(3, 1 / 3, np.float32)
    return Surface(values, bright, window, writing)


@dataclass(frozen=True, slots=True)
class Areas:
    """Areas whose points differ little from their neighbours: labels from 1, and how many points.

    `off` is how far each point is from the mean of its area, `apart` what contrast no noise has.
    """

    labels: npt.NDArray[np.int32]
    counts: npt.NDArray[np.intp]
    off: Plane
    apart: float


def contrasts(seen: Surface) -> tuple[Plane, Plane]:
    """How far each point stands out from the closing, or as light ink from the opening."""
    return _contrast(seen.values, seen.window), _contrast(-seen.values, seen.window)


def _contrast(values: Plane, window: int) -> Plane:
    return filled(values, window) - values


def followed(seen: Surface, dark: Plane, light: Plane) -> tuple[Plane, Plane]:
    """Contrasts of writing with paper that goes on where it is narrow but even."""
    areas = _areas(seen.values, seen.writing)
    return _followed(seen.values, dark, areas), _followed(-seen.values, light, areas)


def _areas(values: Plane, writing: bool) -> Areas:
    """Even areas of paper; none where there is no writing, or where blurred paper runs into ink."""
    from scipy import ndimage

    steps = highest(values, 3) - lowest(values, 3)
    apart = max(EVEN, ROUGH * float(np.median(steps[::2, ::2])))
    sharp = steps.max() > np.ptp(values) / 2
    labels, n = ndimage.label((steps < EVEN) & sharp & writing)
    counts = np.bincount(labels.ravel(), minlength=n + 1)
    sums = np.bincount(labels.ravel(), values.ravel(), n + 1)
    means = np.asarray(sums / np.maximum(counts, 1), np.float32)
    return Areas(labels, counts, np.abs(values - means[labels]), apart)


def _followed(values: Plane, plane: Plane, areas: Areas) -> Plane:
    """Contrast of dark ink with paper, which goes on in the areas that the closing leaves in part.

    A soft edge may join paper and ink in one area. Ink then stays ink: it is as far from the mean
    of the area as from its paper.
    """
    kept = np.bincount(areas.labels[plane < EVEN], minlength=len(areas.counts))
    paper = (2 * kept > areas.counts) | (areas.counts > LARGE * values.size)
    paper[0] = False  # edges, and what else is not even
    narrow = (plane >= areas.apart) & paper[areas.labels] & (areas.off < plane / 2)
    narrow = opened(narrow, 3)
    if not narrow.any():
        return plane
    under = lowest(np.where(narrow, values, np.float32(np.inf)), 5)
    return np.asarray(np.minimum(plane, np.maximum(under - values, 0)), np.float32)


def paper_of(seen: Surface, plane: Plane, dark: bool) -> Plane:
    """The brightness of the paper under ink, by the ink's contrast."""
    sign = 1 if dark else -1
    if seen.bright is not seen.values:
        bright = sign * seen.bright
        areas = _areas(seen.bright, seen.writing)
        plane = _followed(bright, _contrast(bright, seen.window), areas)
    return seen.bright + sign * plane


def evenly_lit(plane: Plane, paper: Plane) -> tuple[Plane, float]:
    """Contrast with paper as if the light were the same everywhere, and its noise on bare paper."""
    usual = float(np.median(paper[::2, ::2]))
    # The paper is taken from the greatest values of its noise: bare paper has contrast with it.
    even = plane * ((usual + DARKEST) / (np.maximum(paper, 0) + DARKEST))
    even -= np.median(even[::2, ::2])
    noise = float(np.median(np.abs(even[::2, ::2]))) / 0.6745
    return np.asarray(np.maximum(even, 0), np.float32), noise


def smooth(values: Plane) -> Plane:
    """Values without single pixels that stand out, smoothed as their noise needs.

    The noise is measured as J. Immerkær does (Computer Vision and Image Understanding 64, 300
    (1996)): by a filter that is blind to slopes and edges, here with a median in place of a mean.
    """
    from scipy import ndimage

    noise = noise_of(values)
    if noise < 3:
        return values
    width = min(0.5 + noise / 20, 1.8)
    calm = ndimage.gaussian_filter(_middle(_middle(values).T).T, width, mode="nearest")
    return np.asarray(calm, np.float32)


def _middle(values: Plane) -> Plane:
    """The median of each point and its neighbours in the row."""
    left, right = (
        values[:, [0, *range(values.shape[1] - 1)]],
        values[:, [*range(1, values.shape[1]), -1]],
    )
    return np.maximum(np.minimum(left, right), np.minimum(np.maximum(left, right), values))


def noise_of(values: Plane) -> float:
    """Standard deviation of the noise of a plane."""
    second = values[:, 2:] - 2 * values[:, 1:-1] + values[:, :-2]
    mixed = second[2:] - 2 * second[1:-1] + second[:-2]  # of white noise: 6 times its deviation
    return float(np.median(np.abs(mixed[::2, ::2]))) / 0.6745 / 6 if mixed.size else 0.0


def colour_axis(pixels: Plane, window: int) -> npt.NDArray[np.float32] | None:
    """The direction in colours in which the picture's contrasts are greatest; None if it is grey.

    It is the first principal direction of the differences from the local paper, of the tenth of
    the points that differ most.
    """
    if pixels.ndim == 2:
        return None
    from scipy import ndimage

    small = pixels[::2, ::2]
    size = max(3, window // 2)
    paper = np.stack(
        [ndimage.uniform_filter(small[..., i], size, mode="nearest") for i in range(3)], axis=-1
    )
    apart = (small - paper).reshape(-1, 3)
    far = np.abs(apart).max(axis=1)
    strong = apart[far >= np.quantile(far, 0.9)]
    _, _, directions = np.linalg.svd(strong.T @ strong)
    axis = directions[0]
    # Of unit sum where it is a brightness, so that contrasts mean what they do in grey.
    return np.asarray(axis * np.sign(axis.sum() or 1) / max(np.abs(axis.sum()), 1.0), np.float32)
