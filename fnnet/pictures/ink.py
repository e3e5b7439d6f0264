"""Ink on paper: at the size at which a picture is analysed, then closer where it is small."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fnnet.pictures import paper, strokes
from fnnet.pictures.forms import Form
from fnnet.pictures.lines import without_lines
from fnnet.pictures.scaling import Image, Pixels, Plane, enlarge, fit, reduce
from fnnet.pictures.windows import highest, opened

SHORTEST = 112  # pixels: a picture with a shorter longer side is enlarged
FINE = 80  # pixels of an object's longer side from which its strokes are told well
FAINTEST = 12.0  # of 255: the least contrast between ink and paper
NOISE = 6.0  # times the noise of bare paper: what stands out so far is no noise
THRESHOLD = 0.45  # of the ink's contrast: where ink begins
THINNEST = 0.09  # of an object's size: thinner strokes are made as wide as those of data sets


@dataclass(frozen=True, slots=True)
class Look:
    """How a picture is looked at: the axis of colours, the window, whether ink is dark."""

    axis: Plane | None
    window: int
    dark: bool


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


def to_working_size(pixels: Pixels, longest: float) -> tuple[Plane, float]:
    """Pixels at the size that is analysed, and how many of the picture's one of them is."""
    whole = max(pixels.shape[:2])
    factor = max(1, int(whole / longest))
    small = reduce(pixels, factor)
    larger = 1 if whole >= SHORTEST * 2 / 3 else -(-SHORTEST // whole)
    return enlarge(small, larger), factor / larger


def first_look(small: Plane, dark: bool | None = None) -> tuple[Look, Ink]:
    """How to look at a picture, decided on the whole of it, and the ink that is seen so.

    `dark` says whether ink is dark where that is known.
    """
    window = max(5, int(paper.WINDOW * min(small.shape[:2]))) | 1
    axis = paper.colour_axis(small, window)
    seen = paper.surface(small, window, axis)
    seen, *planes = unruled(seen)
    if dark is None:
        dark = strokes.polarity(seen.values, *planes)
    return Look(axis, window, dark), _ink(seen, planes[0 if dark else 1], dark)


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
    """A part of a picture around a small object, closer.

    `plane` is the contrast of the polarity `dark`, `gate` where the object is.
    """

    seen: paper.Surface
    plane: Plane
    dark: bool
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
    seen = paper.surface(small, window, look.axis)
    return Part(seen, paper.contrast(seen, look.dark), look.dark, gate[np.ix_(*places)])


def is_dark(part: Part) -> bool:
    """Whether ink is dark, by a part of a picture that shows it closer."""
    planes = [part.plane, paper.contrast(part.seen, not part.dark)]
    return strokes.polarity(part.seen.values, *(planes if part.dark else planes[::-1]))


def closer_look(part: Part) -> Ink:
    """The ink of a small object."""
    return _ink(part.seen, without_lines(part.plane), part.dark, part.gate).only(part.gate)


def _ink(seen: paper.Surface, plane: Plane, dark: bool, near: strokes.Mask | None = None) -> Ink:
    """Ink by its contrast; how strong it is, is taken from what lies near a mask."""
    plane, noise = paper.evenly_lit(seen, plane, dark)
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
