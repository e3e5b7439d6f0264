"""From pixels to the objects on them, each as an image that a network takes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fnnet.pictures import paper, strokes, writing
from fnnet.pictures.forms import Form
from fnnet.pictures.lines import without_lines
from fnnet.pictures.scaling import Image, Pixels, Plane, enlarge, fit, reduce

LONGEST = 320  # pixels: the longer side of what is analysed
SHORTEST = 112  # a smaller picture is enlarged
FINE = 80  # pixels of an object's longer side from which its strokes are told well
FAINTEST = 12.0  # of 255: the least contrast between ink and paper


@dataclass(frozen=True, slots=True)
class Found:
    """An object: its box in the picture's pixels, its image, and why it may be no writing."""

    top: float
    left: float
    bottom: float
    right: float
    image: Image
    doubt: str | None = None


@dataclass(frozen=True, slots=True)
class Steps:
    """What a reading saw on its way, to be looked at."""

    small: Plane
    contrast: Plane
    ink: strokes.Mask


@dataclass(frozen=True, slots=True)
class Reading:
    """What a picture shows: objects from left to right, and why it is no single object."""

    found: tuple[Found, ...]
    refusal: str | None
    steps: Steps


@dataclass(frozen=True, slots=True)
class _Ink:
    """Ink of one polarity on a plane: its contrast and level, the noise, the smoothed values."""

    values: Plane
    plane: Plane
    mask: strokes.Mask
    high: float
    floor: float


def read_picture(pixels: Pixels, form: Form) -> Reading:
    """Find what is written in a picture."""
    reading = _read(pixels, form, LONGEST)
    if not reading.found and max(pixels.shape[:2]) > 1.5 * LONGEST:
        reading = _read(pixels, form, 2.5 * LONGEST)  # what is too small to be seen at first
    return reading


def _read(pixels: Pixels, form: Form, longest: float) -> Reading:
    small, scale = to_working_size(pixels, longest)
    window = window_of(small)
    axis = paper.colour_axis(small, window)
    both = paper.contrast(small, window, axis)
    dark = strokes.polarity(both.values, both.dark, both.light)
    ink = _ink(both, dark)
    steps = Steps(small, ink.plane, ink.mask)
    if ink.high < ink.floor:
        return Reading((), "blank: nothing stands out from the paper", steps)
    labels, objects = objects_of(ink)
    if not objects:
        return Reading((), "blank: nothing but borders, lines and specks", steps)
    found = []
    for piece in objects:
        mask = np.isin(labels, piece.labels)
        part, part_mask = ink, mask
        if piece.size < FINE and scale > 1:
            part, part_mask = finer(pixels, piece, mask, scale, window, axis, dark)
        box = (np.array([piece.top, piece.left, piece.bottom, piece.right]) * scale).tolist()
        doubt = _doubt(ink, mask, part, part_mask, form, len(objects))
        if strokes.off_edge(piece, mask.shape) and not _as_trained(piece, scale, pixels, form):
            doubt = "ink runs off the edge of the picture"
        found.append(Found(*box, picture_of(part, part_mask, form), doubt))
    refusal = f"several objects: {len(found)}" if len(found) > 1 else found[0].doubt
    return Reading(tuple(found), refusal, steps)


def _doubt(
    ink: _Ink, mask: strokes.Mask, part: _Ink, part_mask: strokes.Mask, form: Form, objects: int
) -> str | None:
    """Why an object is no writing, if its form is one of writing."""
    if not part_mask.any():
        return "too faint to be read"
    if not form.writing:
        return None
    traits = writing.traits_of(part.values, part.plane, part_mask, part.high)
    whole = writing.traits_of(ink.values, ink.plane, mask, ink.high)
    rest = whole.rest if objects == 1 else 0.0
    return writing.doubt(replace(traits, rest=rest))


def _as_trained(piece: strokes.Piece, scale: float, pixels: Pixels, form: Form) -> bool:
    """Whether ink that touches the edge has the size that it has in the network's own images."""
    largest = max(form.rows, form.columns)
    return pixels.shape[:2] == (form.side, form.side) and piece.size * scale < largest + 1.5


def _ink(both: paper.Contrast, dark: bool, near: strokes.Mask | None = None) -> _Ink:
    """Ink of one polarity, without printed lines; its level is that of what lies near a mask."""
    plane = without_lines(paper.evenly_lit(both, dark))
    floor = max(FAINTEST, 5 * both.noise)
    high = ink_level(np.where(plane > floor if near is None else near, plane, 0))
    return _Ink(both.values, plane, plane > max(0.45 * high, floor), high, floor)


def objects_of(ink: _Ink) -> tuple[strokes.Labels, list[strokes.Piece]]:
    """The objects that the ink shows, from left to right, and the labels of their pieces."""
    shape = ink.mask.shape
    labels, every = strokes.pieces(ink.mask)
    inner = [piece for piece in every if piece.area >= 6 and not strokes.is_border(labels, piece)]
    inner = [
        piece
        for piece in inner
        if not strokes.off_edge(piece, shape)
        or writing.edge_share(ink.values, labels == piece.labels[0], ink.high) > 0.8
    ]
    top = max((piece.area for piece in inner), default=0)
    objects = strokes.gather([piece for piece in inner if piece.area >= 0.03 * top])
    largest = max((piece.size for piece in objects), default=0)
    least = max(0.35 * largest, 0.02 * max(shape))
    objects = [piece for piece in objects if piece.size > least]
    return labels, sorted(objects, key=lambda piece: piece.left)


def finer(
    pixels: Pixels,
    piece: strokes.Piece,
    mask: strokes.Mask,
    scale: float,
    window: int,
    axis: Plane | None,
    dark: bool,
) -> tuple[_Ink, strokes.Mask]:
    """The ink of a small object from as many pixels as the picture has of it."""
    from scipy import ndimage

    margin = piece.size // 2 + 2
    top, left = max(piece.top - margin, 0), max(piece.left - margin, 0)
    bottom, right = piece.bottom + margin, piece.right + margin
    gate = ndimage.binary_dilation(mask, strokes.EIGHT, iterations=2)[top:bottom, left:right]
    bottom, right = top + gate.shape[0], left + gate.shape[1]
    old = int(scale)
    cut = pixels[top * old : bottom * old, left * old : right * old]
    new = max(1, round(piece.size * old / (1.25 * FINE)))
    small = reduce(cut, new)
    rows = np.minimum(np.arange(small.shape[0]) * new // old, gate.shape[0] - 1)
    columns = np.minimum(np.arange(small.shape[1]) * new // old, gate.shape[1] - 1)
    gate = gate[np.ix_(rows, columns)]
    wide = min(*small.shape[:2], round(window * old / new)) | 1
    ink = _ink(paper.contrast(small, wide, axis), dark, gate)
    return ink, ink.mask & gate


def to_working_size(pixels: Pixels, longest: float) -> tuple[Plane, float]:
    """Pixels at the size that is analysed, and how many of the picture's one of them is."""
    whole = max(pixels.shape[:2])
    factor = max(1, round(whole / longest))
    small = reduce(pixels, factor)
    larger = 1 if whole >= SHORTEST * 2 / 3 else -(-SHORTEST // whole)
    return enlarge(small, larger), factor / larger


def window_of(plane: Plane) -> int:
    return max(5, int(paper.WINDOW * min(plane.shape[:2]))) | 1


def ink_level(plane: Plane) -> float:
    """Contrast of the ink."""
    from scipy import ndimage

    return strokes.weighted_quantile(ndimage.grey_opening(plane, size=(2, 2)), 0.6)


def picture_of(ink: _Ink, mask: strokes.Mask, form: Form) -> Image:
    """The image of an object: its ink and the soft edge around it."""
    from scipy import ndimage

    near = ndimage.binary_dilation(mask, strokes.EIGHT, iterations=2)
    if not mask.any():
        return np.zeros((form.side, form.side), np.uint8)
    shown = np.where(near, np.clip(ink.plane / ink.high, 0, 1), 0).astype(np.float32)
    rows, columns = (np.flatnonzero(mask.any(axis=1 - axis)) for axis in (0, 1))
    return fit(shown[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], form)
