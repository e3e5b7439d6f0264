"""Which of what stands out is ink: printed lines, borders and specks go, strokes are gathered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fnnet.pictures.scaling import Plane
from fnnet.pictures.windows import highest, lowest, opened

Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.int32]

NEAR = 0.3  # of the larger one's size: strokes of one object hang apart no more
INSIDE = 0.3  # of a box's size: writing that it is drawn around
SLIGHT = 0.35  # of the largest piece's size: what is less high is no object beside another
THIN = 0.8  # of the ink: the share that is outline where strokes are two pixels wide
EIGHT = np.ones((3, 3), bool)  # diagonal neighbours are connected


@dataclass(frozen=True, slots=True)
class Piece:
    """Connected ink: its labels, its box in rows and columns, its pixels."""

    labels: tuple[int, ...]
    top: int
    left: int
    bottom: int
    right: int
    area: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def size(self) -> int:
        return max(self.height, self.width)


def polarity(values: Plane, dark: Plane, light: Plane) -> bool:
    """Whether ink is dark.

    The wrong polarity sees what ink encloses: holes, bays, gaps between strokes. Their outlines
    are edges only where they meet the ink, and fade elsewhere. Ink has edges towards free paper,
    which no polarity marks: the ink is what has more of these.
    """
    high = max(_strong(dark), _strong(light))
    area, reach = _region((dark > 0.4 * high) | (light > 0.4 * high))
    values, dark, light = values[area], dark[area], light[area]
    masks = [plane > 0.4 * high for plane in (dark, light)]
    steps = highest(values, reach) - lowest(values, reach)
    edge = steps > 0.4 * high
    free = []
    for mask, other in (masks, masks[::-1]):
        ink = opened(mask, 2)
        outline = highest(ink, 3) & ~ink
        outline &= ~highest(other, 3)
        free.append(np.count_nonzero(outline & edge) - 2 * np.count_nonzero(outline & ~edge))
    return bool(free[0] >= free[1])


def _region(mask: Mask) -> tuple[tuple[slice, slice], int]:
    """Where a mask is, with some paper around, and over how many points an edge may reach.

    Of a large region every second row and column suffices.
    """
    slices = []
    step = 2 if np.count_nonzero(mask) > 4000 else 1
    for axis, n in enumerate(mask.shape):
        found = np.flatnonzero(mask.any(axis=1 - axis))
        first, last = (int(found[0]), int(found[-1])) if found.size else (0, n - 1)
        slices.append(slice(max(0, first - 8), last + 9, step))
    return (slices[0], slices[1]), 3 if step == 2 else 5


def _strong(plane: Plane) -> float:
    """The contrast of the ink: that of most of what stands out, by the square of its contrast."""
    return weighted_quantile(opened(plane, 2), 0.7)


def weighted_quantile(plane: Plane, q: float) -> float:
    """The value below which a share q of the sum of squares lies."""
    highest = float(plane.max())
    if highest <= 0:
        return 0.0
    bins = (plane.clip(0) * (255 / highest)).astype(np.uint8).ravel()
    total = np.bincount(bins, (plane * plane).ravel(), 256).cumsum()
    return float(np.searchsorted(total, q * total[-1]) + 1) * highest / 256


def pieces(mask: Mask) -> tuple[Labels, list[Piece]]:
    """Connected areas of a mask, the largest first."""
    from scipy import ndimage

    labels, n = ndimage.label(mask, EIGHT)
    areas = np.bincount(labels.ravel(), minlength=n + 1)
    found = [
        Piece((i,), rows.start, columns.start, rows.stop, columns.stop, int(areas[i]))
        for i, (rows, columns) in enumerate(ndimage.find_objects(labels), 1)
    ]
    return labels, sorted(found, key=lambda piece: -piece.area)


def are_thin(mask: Mask) -> bool:
    """Whether strokes are about two pixels wide, so that some break: most of them is outline."""
    area = np.count_nonzero(mask)
    return bool(np.count_nonzero(mask & ~lowest(mask, 3)) > THIN * area)


def off_edge(piece: Piece, shape: tuple[int, ...]) -> bool:
    """Whether a piece touches the edge of the picture."""
    height, width = shape
    return piece.top == 0 or piece.left == 0 or piece.bottom == height or piece.right == width


def is_border(labels: Labels, piece: Piece) -> bool:
    """Whether a piece lies along the edge of the picture, as a border or a table does."""
    frame = np.concatenate([labels[0], labels[-1], labels[1:-1, 0], labels[1:-1, -1]])
    contact = np.count_nonzero(np.isin(frame, piece.labels))
    return bool(contact > 0.5 * piece.size)


def frames(labels: Labels, found: list[Piece]) -> list[Piece]:
    """Pieces that are drawn around another of some size, as a box around a digit is."""
    from scipy import ndimage

    around = []
    for a in found:
        inner = [b for b in found if _encloses(a, b) and b.size > INSIDE * a.size]
        if inner:
            box = slice(a.top, a.bottom), slice(a.left, a.right)
            ring = np.isin(labels[box], a.labels)
            inside = ndimage.binary_fill_holes(ring) & ~ring
            if any(np.isin(labels[box][inside], b.labels).any() for b in inner):
                around.append(a)
    return around


def rules(found: list[Piece]) -> list[Piece]:
    """Thin straight pieces as long as the writing and longer, where there is other ink."""
    lines = [each for each in found if min(each.height, each.width) < 0.04 * each.size]
    size = max((each.size for each in found if each not in lines), default=0)
    return [each for each in lines if size and each.size > 0.8 * size]


def _encloses(a: Piece, b: Piece) -> bool:
    """Whether a piece's box lies in another's."""
    rows = a.top < b.top and b.bottom < a.bottom
    return rows and a.left < b.left and b.right < a.right


def gather(found: list[Piece], apart: float) -> list[Piece]:
    """Pieces joined into objects, the nearest first, as long as strokes may belong together.

    Strokes of one object hang apart less than its size. Those that are about as high as each other
    and stand side by side are two objects if so much of their height is free between them, unless
    they are slight, as the pieces of a broken stroke are.
    """
    objects = list(found)
    least = SLIGHT * max((each.size for each in found), default=0)
    while len(objects) > 1:
        boxes = np.array([(a.top, a.left, a.bottom, a.right) for a in objects], np.int32)
        gaps = _gaps(boxes, apart, least)
        nearest = gaps.argmin(axis=1)
        pairs = [
            (i, int(j))
            for i, j in enumerate(nearest)
            if i < j and nearest[j] == i and np.isfinite(gaps[i, j])
        ]
        if not pairs:
            break
        for i, j in pairs:
            objects[i] = _union(objects[i], objects[j])
        gone = {j for _, j in pairs}
        objects = [each for i, each in enumerate(objects) if i not in gone]
    return objects


def _union(a: Piece, b: Piece) -> Piece:
    """Two pieces as one."""
    return Piece(
        a.labels + b.labels,
        min(a.top, b.top),
        min(a.left, b.left),
        max(a.bottom, b.bottom),
        max(a.right, b.right),
        a.area + b.area,
    )


def _gaps(boxes: npt.NDArray[np.int32], apart: float, least: float) -> Plane:
    """How far boxes are from each other, as a share of the larger; infinite for two objects."""
    start, stop = boxes[:, :2].T, boxes[:, 2:].T
    # Rows and columns between two boxes are negative where they overlap.
    down, across = (
        np.maximum.outer(a, a) - np.minimum.outer(b, b) for a, b in zip(start, stop, strict=True)
    )
    heights, widths = stop - start
    sizes = np.maximum(heights, widths)
    larger, smaller = np.maximum.outer(heights, heights), np.minimum.outer(heights, heights)
    gaps = np.maximum(down, across) / np.maximum.outer(sizes, sizes).astype(np.float32)
    like = smaller > np.maximum(0.6 * larger, least)
    beside = like & (across > apart * larger) & (down < -0.3 * smaller)
    gaps[(gaps > NEAR) | beside] = np.inf
    np.fill_diagonal(gaps, np.inf)
    return np.asarray(gaps, np.float32)
