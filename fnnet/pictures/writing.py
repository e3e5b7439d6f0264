"""Whether ink is writing: strokes of a pen, not areas, patterns, or pieces of a photograph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fnnet.pictures.ink import Ink
from fnnet.pictures.scaling import Plane
from fnnet.pictures.windows import highest, lowest

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Traits:
    """What tells strokes from other things.

    `length` is that of the ink in widths of its widest stroke, `width` the widest stroke's share of
    the ink's size, `convexity` the ink's share of its convex hull, `evenness` the mean distance to
    the outline, as a share of the greatest one: a half in a bar, two fifths in a long ellipse, a
    third in a disc, a square or any triangle, `runs` how often a row or column enters ink on
    average, `blobs` how many parts of like size are left where the outer part of all strokes is
    taken off, `outline` how much of the outline is an edge in the picture, `spread` how uneven the
    ink's contrast is inside, `soft` how many outlines wide the transition from ink to paper is,
    `going_on` how much of what lies around is like the ink, as where a larger dark area is cut.
    """

    length: float
    width: float
    convexity: float
    evenness: float
    runs: float
    blobs: int
    outline: float
    spread: float
    soft: float
    going_on: float


# Limits are those that the measured kinds of pictures (scripts/measure/pictures.py) keep with room
# to spare; filled shapes, checkerboards and crops of a photograph mostly lie beyond one of them.
def doubt(traits: Traits) -> str | None:
    """Why ink is no writing; None where it may be."""
    convex = traits.convexity > 0.85 and traits.evenness < 0.375
    ellipse = traits.convexity > 0.95 and traits.evenness < 0.415
    if traits.width > 0.5 or traits.length < 1.5 or convex or ellipse:
        return "a filled area, no strokes of a pen"
    if traits.runs > 3.2 or traits.blobs > 4:
        return "a pattern, no strokes of a pen"
    if traits.going_on > 0.3:
        return "a part of a larger area"
    if traits.outline < 0.6 or traits.soft > 6.5 or traits.spread > 0.3:
        return "no clear strokes on paper"
    return None


def may_be_shadow(traits: Traits) -> bool:
    """Whether blurred ink is round, or its paper unknown on one side, as in a soft shadow."""
    return traits.outline < 0.9 or (traits.convexity > 0.87 and traits.evenness < 0.44)


def is_clear(ink: Ink, high: float) -> bool:
    """Whether faint ink beside ink of contrast `high` is writing, no shadow's edge or printed line.

    Pencil has sharp edges all around; the fainter it is, the more even and the longer it must be,
    as a soft shadow is not.
    """
    if not ink.mask.any():
        return False
    traits = traits_of(ink)
    sharp = traits.outline > 0.9 and traits.soft > 0.7 and traits.width > 0.045
    drawn = traits.spread < 0.1 and (traits.length > 4 or traits.convexity < 0.7)
    strong = traits.spread < 0.25 and ink.high > 0.3 * high
    return sharp and (drawn or strong) and doubt(traits) is None


def traits_of(ink: Ink) -> Traits:
    """The traits of ink."""
    from scipy import ndimage

    (top, bottom), (left, right) = (_extent(ink.mask, axis) for axis in (0, 1))
    box = slice(max(top - 4, 0), bottom + 4), slice(max(left - 4, 0), right + 4)
    mask, plane, high = ink.mask[box], ink.plane[box], ink.high
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    area, widest, size = (
        np.count_nonzero(mask),
        2 * float(depth.max()),
        max(bottom - top, right - left),
    )
    inside = ndimage.binary_erosion(mask, border_value=1)
    rim = max(int((mask & ~inside).sum()), 1)
    near = plane[ndimage.binary_dilation(mask, iterations=3)] / high
    inner = plane[inside]
    values = ink.values[box]
    beside = _ring(mask)
    like_ink = np.abs(values[beside] - np.median(values[mask])) < 0.2 * high
    return Traits(
        length=area / widest**2,
        width=widest / size,
        convexity=area / _hull(mask),
        evenness=(float(depth[mask].mean()) - 0.5) / (widest / 2 - 0.5) if widest > 4 else 0.5,
        runs=_runs(mask),
        blobs=_blobs(depth) if widest > 8 else 1,  # thin strokes are uneven by rounding
        outline=edge_share(values, mask, high),
        spread=float(inner.std() / high) if inner.size else 0.0,
        soft=float(np.count_nonzero((near > 0.2) & (near < 0.8)) / rim),
        going_on=float(like_ink.mean()) if like_ink.size else 0.0,
    )


def _ring(mask: Mask) -> Mask:
    """Points that are three pixels away from ink."""
    return highest(mask, 7) & ~highest(mask, 5)


def edge_share(values: Plane, mask: Mask, high: float) -> float:
    """How much of the outline of ink is an edge in the picture.

    Ink has an edge all around. A corner that a shadow cuts off the page has one along the shadow,
    but none where the paper's estimate could not follow into the corner.
    """
    rim = mask & ~lowest(mask, 3)
    steps = highest(values, 5) - lowest(values, 5)
    return float((steps[rim] > 0.4 * high).mean()) if rim.any() else 0.0


def _extent(mask: Mask, axis: int) -> tuple[int, int]:
    """The first row of a mask's ink and the row after the last; columns for axis 1."""
    found = np.flatnonzero(mask.any(axis=1 - axis))
    return int(found[0]), int(found[-1]) + 1


def _hull(mask: Mask) -> float:
    """The area of the convex hull of the mask's points, each a square."""
    from scipy.spatial import ConvexHull

    rows = np.flatnonzero(mask.any(axis=1))
    first = mask[rows].argmax(axis=1)
    last = mask.shape[1] - mask[rows, ::-1].argmax(axis=1)
    ends = [
        (row + down, column) for column in (first, last) for row, down in ((rows, 0), (rows, 1))
    ]
    corners = np.concatenate([np.stack(each, axis=1) for each in ends])
    return float(ConvexHull(corners).volume)


def _runs(mask: Mask) -> float:
    """How often rows enter ink, or columns, whichever do more, averaged over those with ink."""
    averages = []
    for plane in (mask, mask.T):
        entries = np.count_nonzero(np.diff(plane.astype(np.int8), axis=1, prepend=0) == 1, axis=1)
        averages.append(float(entries[entries > 0].mean()))
    return max(averages)


def _blobs(depth: npt.NDArray[np.float64]) -> int:
    """How many parts of like size are left of ink without its outer part."""
    from scipy import ndimage

    labels, _ = ndimage.label(depth > 0.4 * depth.max())
    areas = np.bincount(labels.ravel())[1:]
    return int(np.count_nonzero(areas > 0.3 * areas.max()))
