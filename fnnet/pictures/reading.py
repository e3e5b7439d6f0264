"""From pixels to the objects on them, each as an image that a network takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TypeAlias

import numpy as np

from fnnet.pictures import strokes, writing
from fnnet.pictures.forms import Form
from fnnet.pictures.ink import (
    FAINTEST,
    FINE,
    NOISE,
    Ink,
    Look,
    Part,
    Sides,
    blur_of,
    brighter,
    closer_look,
    first_look,
    image_of,
    ink_of,
    is_dark,
    part_of,
    shade_on,
    side_of,
    stronger,
    to_working_size,
)
from fnnet.pictures.scaling import Image, Pixels, Plane

Region: TypeAlias = tuple[slice, slice]

SIDE = 230.0  # pixels: the side of a square with as many as are analysed
AGAIN = 2.5  # times as large: what is analysed where nothing was found
SMALL = 0.02  # of the picture's longer side: what is no larger is a speck, where there is no ink
SPECK = 6  # points: what has fewer is no stroke
BLURRED = 4.0  # pixels that an edge is wide: it is blurred
SHARP = 2.5  # pixels that an edge is wide at the size at which a blurred picture is read
DARKER = 1.15  # times the contrast of shadows: what ink has at least
REST = 0.4  # of all that stands out: the share that may be no writing


@dataclass(frozen=True, slots=True)
class Found:
    """An object: its image, and where it is.

    `box` is its top, left, bottom and right in the picture's pixels, `image` the (side, side) uint8
    image that the network takes, 255 for ink, `doubt` why it may be no writing.
    """

    box: tuple[float, float, float, float]
    image: Image
    doubt: str | None


@dataclass(frozen=True, slots=True)
class Steps:
    """What a reading saw on its way, to be looked at.

    `small` is the picture at the size that was analysed, `contrast` how far each point stands out
    from its paper, printed lines removed, `ink` what stands out far enough; `scale` is how many of
    the picture's pixels one of theirs is, `corner` the row and column of the picture where they
    begin.
    """

    small: Plane
    contrast: Plane
    ink: strokes.Mask
    scale: float
    corner: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a picture shows: objects from left to right, and why it is no single object."""

    found: tuple[Found, ...]
    refusal: str | None
    steps: Steps


def read_picture(pixels: Pixels, form: Form, every: bool = False) -> Reading:
    """Find what is written in a picture, as a person would read it.

    Ink is what stands out from its local paper, in brightness or colour, dark or light, whichever
    surrounds no other ink. Printed lines, borders, shadows and specks are left out; strokes that
    hang apart by less than their size are gathered.

    Parameters
    ----------
    pixels : (H, W) or (H, W, 3) array from 0 to 255, of integers or floats
    form : where the ink lies in the images that the network was trained on
    every : whether each of several objects is looked at closely; without it, several are counted,
        their images are seen from afar, and none is doubted, which takes a tenth of the time

    Returns
    -------
    Reading
        What was found, from left to right, and in `refusal` why it is not one piece of writing:
        None where it is.

    Raises
    ------
    ValueError
        If the pixels have another shape, no pixel, or values beyond 0 and 255.
    ImportError
        If SciPy is not installed.

    Examples
    --------
    >>> from fnnet.pictures import FORMS
    >>> page = np.full((100, 100), 240, np.uint8)
    >>> page[20:80, 50:58] = 30
    >>> reading = read_picture(page, FORMS["mnist"])
    >>> reading.refusal, reading.found[0].image.shape
    (None, (28, 28))
    >>> read_picture(page[:, :40], FORMS["mnist"]).refusal
    'blank: nothing stands out from the paper'
    """
    pixels = _checked(np.asarray(pixels))
    if _is_trained_on(pixels, form):
        image = pixels.astype(np.uint8)
        plane = image.astype(np.float32)
        whole = Found((0.0, 0.0, float(form.side), float(form.side)), image, None)
        return Reading((whole,), None, Steps(plane, plane, plane > 0, 1.0))
    if find_spec("scipy") is None:
        raise ImportError("pictures need SciPy: pip install scipy")
    reading, blur = _read(pixels, form, every)
    if reading.refusal and blur > BLURRED:
        return _from_afar(pixels, form, every, blur) or reading
    if reading.found or side_of(pixels) <= 1.5 * SIDE:
        return reading
    hints = _hints(reading.steps)  # what is too small to be seen at first
    return reading if hints is None else _read(pixels, form, every, hints)[0]


def _from_afar(pixels: Pixels, form: Form, every: bool, blur: float) -> Reading | None:
    """What a blurred picture shows where it is made so small that it is sharp; None if nothing."""
    small, scale = to_working_size(pixels, SIDE * SHARP / blur)
    reading, _ = _read(small.clip(0, 255), form, every)
    if reading.refusal:
        return None
    steps = replace(reading.steps, scale=reading.steps.scale * scale)
    return replace(reading, found=_placed(reading.found, scale, (0, 0)), steps=steps)


def _placed(found: tuple[Found, ...], scale: float, corner: tuple[int, int]) -> tuple[Found, ...]:
    """Objects of a part of a picture, or of a smaller one, in the picture's rows and columns."""
    placed = []
    for each in found:
        top, left, bottom, right = (scale * n for n in each.box)
        down, across = corner
        box = (top + down, left + across, bottom + down, right + across)
        placed.append(replace(each, box=box))
    return tuple(placed)


def _hints(steps: Steps) -> Region | None:
    """Where something stands out, with paper around it: rows and columns of the picture."""
    plane = steps.contrast
    noise = float(np.quantile(plane[::2, ::2], 0.75)) / 0.6745
    points = plane > max(FAINTEST, NOISE * noise)
    if not points.any():
        return None
    region = []
    for axis, n in enumerate(plane.shape):
        found = np.flatnonzero(points.any(axis=1 - axis))
        margin = 10 + int(np.ptp(found))
        start, stop = max(int(found[0]) - margin, 0), min(int(found[-1]) + margin + 1, n)
        last = stop < n  # what blocks of pixels leave over belongs to the last
        region.append(slice(int(start * steps.scale), int(stop * steps.scale) if last else None))
    return region[0], region[1]


def _checked(pixels: Pixels) -> Pixels:
    """The pixels, if they are those of a picture."""
    shaped = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
    if pixels.dtype.kind not in "uif" or not shaped or not pixels.size:
        raise ValueError(
            f"pixels must be numbers (H, W) or (H, W, 3), got {pixels.dtype} {pixels.shape}"
        )
    # All bytes are in range; NaN is in none.
    if pixels.dtype != np.uint8 and not (pixels.min() >= 0 and pixels.max() <= 255):
        raise ValueError(f"pixels must be from 0 to 255, got {pixels.min()} to {pixels.max()}")
    return pixels


def _is_trained_on(pixels: Pixels, form: Form) -> bool:
    """Whether a picture is an image of the data set's form: paper 0, ink in the form's box."""
    if pixels.shape != (form.side, form.side) or np.median(_frame(pixels)) != 0:
        return False
    rows, columns = (np.flatnonzero(pixels.any(axis=1 - axis)) for axis in (0, 1))
    if not rows.size:
        return False
    height, width = int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1
    fills = height == form.rows or (width == form.columns and not form.stretch)
    return fills and height <= form.rows and width <= form.columns and _in_place(pixels, form)


def _in_place(pixels: Pixels, form: Form) -> bool:
    """Whether the centre of the ink is where the form has it, to a pixel."""
    if form.centre == "box":
        return True  # it fills the image from edge to edge
    weights = pixels / float(pixels.sum())
    centre = (weights.sum(axis=1 - axis) @ np.arange(form.side) for axis in (0, 1))
    return all(abs(each - form.side / 2) <= 1 for each in centre)


def _frame(pixels: Pixels) -> Pixels:
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])


@dataclass(frozen=True, slots=True)
class View:
    """What is seen at one size: the picture's ink, how it was looked at, what is too small."""

    pixels: Pixels
    small: Plane
    scale: float
    look: Look
    ink: Ink
    least: float
    gains: Plane | None = None

    def objects(self) -> tuple[strokes.Labels, list[strokes.Piece]]:
        return objects_of(self.ink, self.least)

    def part(self, labels: strokes.Labels, piece: strokes.Piece) -> Part:
        return part_of(self.pixels, piece, labels, int(self.scale), self.look, self.gains)


def _read(
    pixels: Pixels, form: Form, every: bool, region: Region | None = None
) -> tuple[Reading, float]:
    """What is seen on the whole of a picture, or from closer in a region of it; and how blurred."""
    least, side = SMALL * max(pixels.shape[:2]), SIDE
    if region is not None:
        whole = side_of(pixels)
        pixels, least = pixels[region], least / AGAIN
        side = AGAIN * SIDE * side_of(pixels) / whole
    small, scale = to_working_size(pixels, side)
    closer = max(1.0, side / SIDE)
    look, sides, ink = first_look(small, closer)
    view = View(pixels, small, scale, look, ink, least / scale)
    reading = _lit(view, sides, form, every, closer) or _of_view(view, sides, form, every)
    return reading if region is None else _moved(reading, region), blur_of(sides)


def _lit(view: View, sides: Sides, form: Form, every: bool, closer: float) -> Reading | None:
    """What is seen where shadows are made as light as the paper; None where that shows no more."""
    shade = shade_on(sides) if form.writing else None
    if shade is None:
        return None
    small = brighter(view.small, shade.gains)
    look, sides, ink = first_look(small, closer)
    if ink.high < max(ink.floor, DARKER * shade.contrast):
        return None
    view = replace(view, small=small, look=look, ink=ink, gains=shade.gains)
    return _of_view(view, sides, form, every)


def _moved(reading: Reading, region: Region) -> Reading:
    """A reading of a region, in the picture's own rows and columns."""
    corner = region[0].start, region[1].start
    steps = replace(reading.steps, corner=corner)
    return replace(reading, found=_placed(reading.found, 1.0, corner), steps=steps)


def _of_view(view: View, sides: Sides, form: Form, every: bool) -> Reading:
    """The reading of a view: of its ink, or else of the stronger of two."""
    objects = view.objects()
    part = None
    if objects[1] and _is_small(objects[1][0], view.scale):
        part = view.part(objects[0], objects[1][0])
        dark = is_dark(part)
        if dark != view.look.dark:  # strokes were too thin to be told from what they enclose
            look = replace(view.look, dark=dark)
            view, part = replace(view, look=look, ink=ink_of(sides, dark)), None
            objects = view.objects()
    reading = _report(view, form, every, *objects, part)
    if reading.refusal and reading.found and form.writing:
        weak, ink = stronger(view.ink)
        if ink.high >= ink.floor:
            view = replace(view, look=replace(view.look, weak=weak), ink=ink)
            above = _report(view, form, every, *view.objects())
            return above if above.refusal is None else reading
    return reading


def _report(
    view: View,
    form: Form,
    every: bool,
    labels: strokes.Labels,
    objects: list[strokes.Piece],
    part: Part | None = None,
) -> Reading:
    """The objects of a view; `part` shows the first of them closer where that is known."""
    ink, scale = view.ink, view.scale
    steps = Steps(view.small, ink.plane, ink.mask, scale)
    if ink.high < ink.floor:
        return Reading((), "blank: nothing stands out from the paper", steps)
    if not objects:
        return Reading((), "blank: nothing but borders, lines and specks", steps)
    found = []
    for piece in objects:
        near = ink.around(piece, labels)
        box = (piece.top * scale, piece.left * scale, piece.bottom * scale, piece.right * scale)
        doubt = None
        if every or len(objects) == 1:
            if _is_small(piece, scale):
                near, part = closer_look(part or view.part(labels, piece), view.look), None
            doubt = _doubt(near, form)
        if doubt is None and len(objects) == 1:
            doubt = _lost(ink, np.isin(labels, piece.labels), form)
        if strokes.off_edge(piece, ink.mask.shape) and not _as_trained(box, view.pixels, form):
            doubt = "ink runs off the edge of the picture"
        found.append(Found(box, image_of(near, form), doubt))
    refusal = f"several objects: {len(found)}" if len(found) > 1 else found[0].doubt
    return Reading(tuple(found), refusal, steps)


def _is_small(piece: strokes.Piece, scale: float) -> bool:
    """Whether the picture has more pixels of an object than were looked at, and they are needed."""
    return piece.size < FINE and scale > 1


def _doubt(ink: Ink, form: Form) -> str | None:
    """Why an object is no writing, if its form is one of writing."""
    if not ink.mask.any():
        return "too faint to be read"
    return writing.doubt(writing.traits_of(ink)) if form.writing else None


def _lost(ink: Ink, mask: strokes.Mask, form: Form) -> str | None:
    """Why an object is not all that the picture shows, if its form is one of writing."""
    stands_out = float(ink.plane[ink.plane > 0.3 * ink.high].sum())
    if form.writing and float(ink.plane[mask].sum()) < (1 - REST) * stands_out:
        return "no clear strokes on paper: much else stands out"
    return None


def _as_trained(box: tuple[float, ...], pixels: Pixels, form: Form) -> bool:
    """Whether ink that touches the edge has the size that it has in the network's own images."""
    size = max(box[2] - box[0], box[3] - box[1])
    return pixels.shape[:2] == (form.side, form.side) and size < max(form.rows, form.columns) + 1.5


def objects_of(ink: Ink, least: float) -> tuple[strokes.Labels, list[strokes.Piece]]:
    """The objects that the ink shows, from left to right, and the labels of their pieces.

    What is no larger than `least`, in pixels, is none.
    """
    if ink.high < ink.floor:
        return np.zeros(ink.mask.shape, np.int32), []
    shape = ink.mask.shape
    labels, every = strokes.pieces(ink.mask)
    inner = [
        piece
        for piece in every
        if piece.area >= SPECK
        and not strokes.is_border(labels, piece)
        and (not strokes.off_edge(piece, shape) or _is_edged(ink, labels == piece.labels[0]))
    ]
    around = strokes.frames(labels, inner)
    around += strokes.rules([piece for piece in inner if piece not in around])
    inner = [piece for piece in inner if piece not in around]
    top = max((piece.area for piece in inner), default=0)
    objects = strokes.gather([piece for piece in inner if piece.area >= 0.03 * top])
    largest = max((piece.size for piece in objects), default=0)
    least = max(0.35 * largest, least)
    objects = [piece for piece in objects if piece.size > least]
    return labels, sorted(objects, key=lambda piece: piece.left)


def _is_edged(ink: Ink, mask: strokes.Mask) -> bool:
    """Whether a piece is no corner that a shadow cuts off."""
    return writing.edge_share(ink.values, mask, ink.high) > 0.8
