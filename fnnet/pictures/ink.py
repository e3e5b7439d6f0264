"""Ink on paper: at the size at which a picture is analysed, then closer where it is small."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from fnnet.pictures import paper, strokes
from fnnet.pictures.forms import Form
from fnnet.pictures.lines import without_lines
from fnnet.pictures.scaling import Image, Pixels, Plane, enlarge, fit, reduce
from fnnet.pictures.windows import highest, opened

SMALLEST = 100  # pixels: a picture with fewer than the square of this is enlarged
FINE = 80  # pixels of an object's longer side from which its strokes are told well
FAINTEST = 12.0  # of 255: the least contrast between ink and paper
NOISE = 6.0  # times the noise of bare paper: what stands out so far is no noise
THRESHOLD = 0.45  # of the ink's contrast: where ink begins
THINNEST = 0.09  # of an object's size: thinner strokes are made as wide as those of data sets


@dataclass(frozen=True, slots=True)
class Look:
    """How a picture is looked at: the axis of colours, the window, whether ink is dark.

    What has no more contrast than `weak` is no ink.
    """

    axis: Plane | None
    window: int
    dark: bool
    weak: float = 0.0


@dataclass(frozen=True, slots=True)
class Ink:
    """Ink of one polarity on a plane.

    `values` are the smoothed values of the picture, `plane` their contrast with the paper, `high`
    that of the ink, `floor` the least that is no noise, and `mask` says where ink is.
    """

    values: Plane
    plane: Plane
    mask: strokes.Mask
    high: float
    floor: float

    def only(self, mask: strokes.Mask) -> Ink:
        """The same with other ink left out."""
        return replace(self, mask=self.mask & mask)


def to_working_size(pixels: Pixels, side: float) -> tuple[Plane, float]:
    """Pixels at the size that is analysed, and how many of the picture's one of them is.

    `side` is that of a square with as many pixels as are analysed.
    """
    whole = side_of(pixels)
    factor = max(1, int(whole / side))
    small = reduce(pixels, factor)
    larger = 1 if whole >= SMALLEST * 2 / 3 else math.ceil(SMALLEST / whole)
    return enlarge(small, larger), factor / larger


def side_of(pixels: Pixels) -> float:
    """The side of a square with as many pixels."""
    return math.sqrt(pixels.shape[0] * pixels.shape[1])


def first_look(small: Plane, closer: float, dark: bool | None = None) -> tuple[Look, Ink]:
    """How to look at a picture, decided on the whole of it, and the ink that is seen so.

    `dark` says whether ink is dark where that is known; ink is thinner where it is seen `closer`.
    """
    window = max(5, int(paper.WINDOW / closer * min(small.shape[:2]))) | 1
    axis = paper.colour_axis(small, window)
    seen = paper.surface(small, window, axis)
    seen, *planes = unruled(seen)
    known = dark is not None
    if dark is None:
        dark = strokes.polarity(seen.values, *planes)
    ink = _ink(seen, planes[0 if dark else 1], dark)
    if ink.high < ink.floor and not known:
        other = _ink(seen, planes[1 if dark else 0], not dark)
        if other.plane.max() > ink.plane.max():
            dark, ink = not dark, other
    return Look(axis, window, dark), ink


def unruled(seen: paper.Surface) -> tuple[paper.Surface, Plane, Plane]:
    """A surface without printed lines, dark or light, and its contrasts of both polarities."""
    planes = [paper.contrast(seen, dark) for dark in (True, False)]
    plain = [without_lines(plane) for plane in planes]
    if plain[0] is planes[0] and plain[1] is planes[1]:
        return seen, planes[0], planes[1]
    values = seen.values + (planes[0] - plain[0]) - (planes[1] - plain[1])
    grey = seen.bright is seen.values
    seen = replace(seen, values=values, bright=values if grey else seen.bright)
    return seen, paper.contrast(seen, True), paper.contrast(seen, False)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a picture around a small object, closer: its contrasts, and where the object is."""

    seen: paper.Surface
    dark: Plane
    light: Plane
    gate: strokes.Mask


def part_of(
    pixels: Pixels, piece: strokes.Piece, mask: strokes.Mask, scale: int, look: Look
) -> Part:
    """A small object from as many pixels as the picture has of it."""
    margin = piece.size // 2 + 2
    top, left = max(piece.top - margin, 0), max(piece.left - margin, 0)
    gate = highest(mask[top : piece.bottom + margin, left : piece.right + margin], 5)
    rows = slice(top * scale, (top + gate.shape[0]) * scale)
    columns = slice(left * scale, (left + gate.shape[1]) * scale)
    factor = max(1, round(piece.size * scale / (1.25 * FINE)))
    small = reduce(pixels[rows, columns], factor)
    places = (np.arange(small.shape[axis]) * factor // scale for axis in (0, 1))
    window = min(*small.shape[:2], round(look.window * scale / factor)) | 1
    seen, dark, light = unruled(paper.surface(small, window, look.axis))
    return Part(seen, dark, light, gate[np.ix_(*places)])


def is_dark(part: Part) -> bool:
    """Whether ink is dark, by a part of a picture that shows it closer."""
    return strokes.polarity(part.seen.values, part.dark, part.light)


def closer_look(part: Part, look: Look) -> Ink:
    """The ink of a small object."""
    plane = part.dark if look.dark else part.light
    plane, noise = paper.evenly_lit(part.seen, plane, look.dark)
    return _from(part.seen, _above(plane, look.weak), noise, part.gate).only(part.gate)


def stronger(ink: Ink) -> tuple[float, Ink]:
    """The stronger of two inks, as writing on a shadow is, and the contrast of the weaker.

    The two are parted where their variances are least (N. Otsu, IEEE Transactions on Systems, Man,
    and Cybernetics 9, 62 (1979)). The stronger has no ink where they are not two.
    """
    values = np.sort(ink.plane[ink.mask].astype(np.float64))
    sums, n = values.cumsum()[:-1], np.arange(1, len(values))
    below, above = sums / n, (values.sum() - sums) / n[::-1]
    split = int((n * n[::-1] * (above - below) ** 2).argmax()) + 1 if n.size else 0
    weak = 1.1 * float(np.median(values[:split])) if split else np.inf
    plane = _above(ink.plane, weak)
    high = level(plane)
    if high < 0.5 * weak:
        high = 0.0
    return weak, replace(ink, plane=plane, mask=plane > max(THRESHOLD * high, ink.floor), high=high)


def _above(plane: Plane, weak: float) -> Plane:
    """Contrast beyond that of weak ink."""
    return np.maximum(plane - np.float32(weak), 0) if weak else plane


def _ink(seen: paper.Surface, plane: Plane, dark: bool) -> Ink:
    """Ink by its contrast."""
    return _from(seen, *paper.evenly_lit(seen, plane, dark))


def _from(seen: paper.Surface, plane: Plane, noise: float, near: strokes.Mask | None = None) -> Ink:
    """Ink by its even contrast; how strong it is, is taken from what lies near a mask."""
    floor = max(FAINTEST, NOISE * noise)
    high = level(np.where(plane > floor if near is None else near, plane, 0))
    # Ink fainter than the floor is none: its contrast is no measure for anything.
    least = max(THRESHOLD * high, floor) if high >= floor else np.inf
    return Ink(seen.values, plane, plane > least, high, floor)


def level(plane: Plane) -> float:
    """Contrast of the ink: of what stands out by areas, not by points."""
    return strokes.weighted_quantile(opened(plane, 2), 0.6)


def image_of(ink: Ink, form: Form) -> Image:
    """The image of an object: its ink and the soft edge around it."""
    if not ink.mask.any():
        return np.zeros((form.side, form.side), np.uint8)
    near = highest(ink.mask, 5)
    shown = np.where(near, np.clip(ink.plane / ink.high, 0, 1), 0).astype(np.float32)
    rows, columns = (np.flatnonzero(ink.mask.any(axis=1 - axis)) for axis in (0, 1))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    shown = shown[box]
    if form.writing:
        shown = _wide_enough(shown, ink.mask[box])
    return fit(shown, form)


def _wide_enough(shown: Plane, mask: strokes.Mask) -> Plane:
    """Strokes of a thin pen, made wider."""
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    width = 4 * float(depth[mask].mean()) - 1  # depths in a stroke are from 1 to half its width
    more = round(THINNEST * max(mask.shape) - width)
    if more < 1:
        return shown
    return highest(np.pad(shown, more // 2 + 1), more + 1)
