"""Ink on paper: at the size at which a picture is analysed, then closer where it is small."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from fnnet.pictures import paper, strokes
from fnnet.pictures.forms import Form
from fnnet.pictures.lines import without_lines
from fnnet.pictures.scaling import Image, Pixels, Plane, enlarge, fit, reduce
from fnnet.pictures.shadows import Shade, shade_of
from fnnet.pictures.windows import highest, opened

SMALLEST = 100  # pixels: a picture with fewer than the square of this is enlarged
FINE = 80  # pixels of an object's longer side from which its strokes are told well
FAINTEST = 12.0  # of 255: the least contrast between ink and paper
NOISE = 6.0  # times the noise of bare paper: what stands out so far is no noise
THRESHOLD = 0.45  # of the ink's contrast: where ink begins
AROUND = 6  # pixels of paper that are kept around an object
THINNEST = 0.09  # of an object's size: thinner strokes are made as wide as those of data sets


@dataclass(frozen=True, slots=True)
class Look:
    """How a picture is looked at: the axis of colours, the window, whether ink is dark.

    `ruled` says whether lines are printed on it, `writing` whether strokes of a pen are expected;
    what has no more contrast than `weak` is no ink.
    """

    axis: Plane | None
    window: int
    dark: bool
    ruled: bool
    writing: bool
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

    def around(self, piece: strokes.Piece, labels: strokes.Labels) -> Ink:
        """A piece and some paper around it."""
        box = _box_around(piece)
        mask = np.isin(labels[box], piece.labels)
        return replace(self, values=self.values[box], plane=self.plane[box], mask=mask)


def _box_around(piece: strokes.Piece) -> tuple[slice, slice]:
    """The rows and columns of a piece and of some paper around it."""
    rows, columns = (
        slice(max(start - AROUND, 0), stop + AROUND)
        for start, stop in ((piece.top, piece.bottom), (piece.left, piece.right))
    )
    return rows, columns


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


@dataclass(frozen=True, slots=True)
class Sides:
    """A surface without printed lines, and its contrasts: of dark ink and of light ink.

    `under` is the brightness of the paper under dark ink.
    """

    seen: paper.Surface
    dark: Plane
    light: Plane
    under: Plane

    def evenly_lit(self, dark: bool) -> tuple[Plane, float]:
        """The contrast of one ink as if the light were the same everywhere, and its noise."""
        if dark:
            return paper.evenly_lit(self.dark, self.under)
        return paper.evenly_lit(self.light, paper.paper_of(self.seen, self.light, dark=False))


def brighter(small: Plane, gains: Plane) -> Plane:
    """Pixels multiplied by gains."""
    return small * (gains if small.ndim == 2 else gains[..., None])


def first_look(small: Plane, closer: float, writing: bool) -> tuple[Look, Sides, Ink]:
    """How to look at a picture, decided on the whole of it, and what is seen so.

    Ink is thinner where it is seen `closer`.
    """
    window = max(5, int(paper.WINDOW / closer * min(small.shape[:2]))) | 1
    axis = paper.colour_axis(small, window)
    seen = paper.surface(small, window, axis, writing)
    sides = unruled(seen)
    dark = strokes.polarity(sides.seen.values, sides.dark, sides.light)
    ink = ink_of(sides, dark)
    if ink.high < ink.floor:
        other = ink_of(sides, not dark)
        if other.plane.max() > ink.plane.max():
            dark, ink = not dark, other
    look = Look(axis, window, dark, ruled=sides.seen is not seen, writing=writing)
    return look, sides, ink


def blur_of(sides: Sides) -> float:
    """Over how many pixels the steepest edges rise."""
    values = sides.seen.values
    steps = [np.abs(np.diff(values, axis=axis)) for axis in (0, 1)]
    steepest = max((float(np.quantile(each, 0.999)) for each in steps if each.size), default=0.0)
    high = max(level(sides.dark), level(sides.light))
    return high / steepest if steepest else 1.0


def shade_on(sides: Sides) -> Shade | None:
    """Shadows that are narrower than the page."""
    return shade_of(sides.seen.bright, sides.under)


def unruled(seen: paper.Surface) -> Sides:
    """Both sides of a surface, printed lines taken out: dark ones, or else light ones."""
    dark, light = paper.contrasts(seen)
    if (plain := without_lines(dark)) is not dark:
        values = seen.values + (dark - plain)
    elif (plain := without_lines(light)) is not light:
        values = seen.values - (light - plain)
    else:
        return _sides(seen, dark, light)
    grey = seen.bright is seen.values
    seen = replace(seen, values=values, bright=values if grey else seen.bright)
    return _sides(seen, *paper.contrasts(seen))


def _sides(seen: paper.Surface, dark: Plane, light: Plane) -> Sides:
    dark, light = paper.followed(seen, dark, light)
    return Sides(seen, dark, light, paper.paper_of(seen, dark, dark=True))


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a picture around a small object, closer, and where the object is."""

    sides: Sides
    gate: strokes.Mask


def part_of(
    pixels: Pixels,
    piece: strokes.Piece,
    labels: strokes.Labels,
    scale: int,
    look: Look,
    gains: Plane | None,
) -> Part:
    """A small object from as many pixels as the picture has of it."""
    margin = piece.size // 2 + 2
    top, left = max(piece.top - margin, 0), max(piece.left - margin, 0)
    box = slice(top, piece.bottom + margin), slice(left, piece.right + margin)
    gate = highest(np.isin(labels[box], piece.labels), 5)
    rows = slice(top * scale, (top + gate.shape[0]) * scale)
    columns = slice(left * scale, (left + gate.shape[1]) * scale)
    factor = max(1, round(piece.size * scale / (1.25 * FINE)))
    small = reduce(pixels[rows, columns], factor)
    places = np.ix_(*(np.arange(small.shape[axis]) * factor // scale for axis in (0, 1)))
    if gains is not None:
        small = brighter(small, gains[box][places])
    window = min(*small.shape[:2], round(look.window * scale / factor)) | 1
    seen = paper.surface(small, window, look.axis, look.writing)
    sides = unruled(seen) if look.ruled else _sides(seen, *paper.contrasts(seen))
    return Part(sides, gate[places])


def is_dark(part: Part) -> bool:
    """Whether ink is dark, by a part of a picture that shows it closer."""
    return strokes.polarity(part.sides.seen.values, part.sides.dark, part.sides.light)


def closer_look(part: Part, look: Look) -> Ink:
    """The ink of a small object."""
    seen = part.sides.seen
    plane, noise = part.sides.evenly_lit(look.dark)
    return _from(seen, _above(plane, look.weak), noise, part.gate).only(part.gate)


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


def fainter(ink: Ink, found: list[strokes.Piece]) -> Ink:
    """What stands out where nothing was found, however much less than what was."""
    plane = ink.plane.copy()
    for piece in found:
        box = _box_around(piece)
        plane[box] = 0
    plane[plane <= ink.floor] = 0
    high = level(plane)
    return replace(ink, plane=plane, mask=plane > max(THRESHOLD * high, ink.floor), high=high)


def _above(plane: Plane, weak: float) -> Plane:
    """Contrast beyond that of weak ink."""
    return np.maximum(plane - np.float32(weak), 0) if weak else plane


def ink_of(sides: Sides, dark: bool) -> Ink:
    """Ink of one polarity, by its contrast."""
    return _from(sides.seen, *sides.evenly_lit(dark))


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
    rows, columns = (np.flatnonzero(ink.mask.any(axis=1 - axis)) for axis in (0, 1))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    mask = ink.mask[box]
    near = highest(mask, 5)
    shown = np.where(near, np.clip(ink.plane[box] / ink.high, 0, 1), 0).astype(np.float32)
    return fit(_wide_enough(shown, mask) if form.writing else shown, form)


def _wide_enough(shown: Plane, mask: strokes.Mask) -> Plane:
    """Strokes of a thin pen, made wider."""
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    width = 4 * float(depth[mask].mean()) - 1  # depths in a stroke are from 1 to half its width
    more = round(THINNEST * max(mask.shape) - width)
    if more < 1:
        return shown
    return highest(np.pad(shown, more // 2 + 1), more + 1)
