"""From pixels to the objects on them, each as an image that a network takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TypeAlias

import numpy as np

from fnnet.checks import flag, instance_of
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
    fainter,
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
from fnnet.pictures.objects import is_cut, objects_of
from fnnet.pictures.scaling import Image, Pixels, Plane
from fnnet.pictures.trained import has_its_size, is_trained_on

Region: TypeAlias = tuple[slice, slice]
Objects: TypeAlias = tuple[strokes.Labels, list[strokes.Piece]]

SIDE = 230.0  # pixels: the side of a square with as many as are analysed
AGAIN = 2.5  # times as large: what is analysed where nothing was found
SMALL = 0.02  # of the picture's longer side: what is no larger is a speck, where there is no ink
BLURRED = 4.0  # pixels that an edge is wide: it is blurred
SHARP = 2.5  # pixels that an edge is wide at the size at which a blurred picture is read
PALE = 0.3  # of all contrast in a blurred picture: a shadow's edge has less
DARKER = 1.15  # times the contrast of shadows: what ink has at least
FEW = 8  # objects: no more are looked at closely where they are only counted
LIKE = 0.35  # of the size of what was found: that of fainter writing, at least
BROKEN = 0.2  # of their height: columns between objects where lines or thin strokes are broken
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
        their images are seen from afar, and none is doubted, which takes a tenth of the time;
        what is faint beside many others, as pencil is beside ink, is then not counted

    Returns
    -------
    Reading
        What was found, from left to right, and in `refusal` why it is not one piece of writing:
        None where it is.

    Raises
    ------
    TypeError
        If `form` is no `Form`, or `every` is neither True nor False.
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
    instance_of(Form, "form", form, 'FORMS["mnist"], or form_of(dataset, side)')
    every = flag("every", every)
    if is_trained_on(pixels, form):
        image = pixels.astype(np.uint8)
        plane = image.astype(np.float32)
        whole = Found((0.0, 0.0, float(form.side), float(form.side)), image, None)
        return Reading((whole,), None, Steps(plane, plane, plane > 0, 1.0))
    if find_spec("scipy") is None:
        raise ImportError("pictures need SciPy: pip install scipy")
    reading, sides = _read(pixels, form, every)
    blur = blur_of(sides) if reading.refusal else 0.0
    if blur > BLURRED:
        return _from_afar(pixels, form, every, blur) or reading
    if reading.found or side_of(pixels) <= 1.5 * SIDE:
        return reading
    hints = _hints(reading.steps)  # what is too small to be seen at first
    return reading if hints is None else _read(pixels, form, every, hints)[0]


def _from_afar(pixels: Pixels, form: Form, every: bool, blur: float) -> Reading | None:
    """What a blurred picture shows where it is made so small that it is sharp; None if nothing."""
    small, scale = to_working_size(pixels, SIDE * SHARP / blur)
    reading, _ = _read(small.clip(0, 255), form, every, blurred=True)
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


@dataclass(frozen=True, slots=True)
class View:
    """What is seen at one size: the picture's ink, how it was looked at, what is too small.

    Where `ink` is the stronger of two inks, `both` are those.
    """

    pixels: Pixels
    form: Form
    small: Plane
    scale: float
    look: Look
    ink: Ink
    least: float
    blurred: bool
    gains: Plane | None = None
    both: Ink | None = None

    def objects(self) -> Objects:
        """The objects; parts of what may be broken are no objects of their own."""
        broken = self.look.ruled or strokes.are_thin(self.ink.mask)
        apart = max(self.form.apart, BROKEN) if broken else self.form.apart
        return objects_of(self.ink, self.least, apart)

    def part(self, labels: strokes.Labels, piece: strokes.Piece) -> Part:
        return part_of(self.pixels, piece, labels, int(self.scale), self.look, self.gains)


def _read(
    pixels: Pixels,
    form: Form,
    every: bool,
    region: Region | None = None,
    blurred: bool = False,
) -> tuple[Reading, Sides]:
    """What is seen on the whole of a picture, or from closer in a region of it; and its sides."""
    least, side = SMALL * max(pixels.shape[:2]), SIDE
    if region is not None:
        whole = side_of(pixels)
        pixels, least = pixels[region], least / AGAIN
        side = AGAIN * SIDE * side_of(pixels) / whole
    small, scale = to_working_size(pixels, side)
    closer = max(1.0, side / SIDE)
    look, sides, ink = first_look(small, closer, form.writing)
    view = View(pixels, form, small, scale, look, ink, least / scale, blurred)
    reading = _lit(view, sides, every, closer) or _of_view(view, sides, every)
    return reading if region is None else _moved(reading, region), sides


def _lit(view: View, sides: Sides, every: bool, closer: float) -> Reading | None:
    """What is seen where shadows are made as light as the paper; None where that shows no more."""
    shade = shade_on(sides) if view.form.writing else None
    if shade is None:
        return None
    small = brighter(view.small, shade.gains)
    look, sides, ink = first_look(small, closer, view.form.writing)
    if ink.high < max(ink.floor, DARKER * shade.contrast):
        return None
    view = replace(view, small=small, look=look, ink=ink, gains=shade.gains)
    return _of_view(view, sides, every)


def _moved(reading: Reading, region: Region) -> Reading:
    """A reading of a region, in the picture's own rows and columns."""
    corner = region[0].start, region[1].start
    steps = replace(reading.steps, corner=corner)
    return replace(reading, found=_placed(reading.found, 1.0, corner), steps=steps)


def _of_view(view: View, sides: Sides, every: bool) -> Reading:
    """The reading of a view: of its ink, or else of the stronger of two."""
    objects = view.objects()
    part = None
    closely = every or len(objects[1]) == 1 or strokes.are_thin(view.ink.mask)
    if objects[1] and closely and _is_small(objects[1][0], view.scale):
        part = view.part(objects[0], objects[1][0])
        dark = is_dark(part)
        if dark != view.look.dark:  # strokes were too thin to be told from what they enclose
            look = replace(view.look, dark=dark)
            view, part = replace(view, look=look, ink=ink_of(sides, dark)), None
            objects = view.objects()
    reading = _report(view, every, *objects, part)
    beside = len(reading.found) > len(objects[1])  # both inks are writing
    if reading.refusal and reading.found and view.form.writing and not beside:
        weak, ink = stronger(view.ink)
        if ink.high >= ink.floor:
            look = replace(view.look, weak=weak)
            view = replace(view, look=look, ink=ink, both=view.ink)
            above = _report(view, every, *view.objects())
            return above if above.refusal is None else reading
    return reading


def _report(
    view: View,
    every: bool,
    labels: strokes.Labels,
    objects: list[strokes.Piece],
    part: Part | None = None,
) -> Reading:
    """The objects of a view; `part` shows the first of them closer where that is known."""
    ink, form = view.ink, view.form
    steps = Steps(view.small, ink.plane, ink.mask, view.scale)
    if ink.high < ink.floor:
        return Reading((), "blank: nothing stands out from the paper", steps)
    if not objects:
        return Reading((), "blank: nothing but borders, lines and specks", steps)
    closely = every or len(objects) == 1
    found = []
    for piece in objects:
        near = _near(view, labels, piece, part) if closely else ink.around(piece, labels)
        doubt = _doubt(view, near) if closely else None
        found.append(_found(view, labels, piece, near, doubt))
        part = None
    few = every or len(objects) <= FEW
    if form.writing and few and not any(each.doubt for each in found):
        found = sorted(found + _fainter(view, objects, every), key=lambda each: each.box[1])
        if len(found) == 1:
            lost = _lost(ink, np.isin(labels, objects[0].labels))
            found = [replace(found[0], doubt=lost)]
    refusal = f"several objects: {len(found)}" if len(found) > 1 else found[0].doubt
    return Reading(tuple(found), refusal, steps)


def _found(
    view: View, labels: strokes.Labels, piece: strokes.Piece, near: Ink, doubt: str | None
) -> Found:
    """An object of a view, by its ink."""
    scale = view.scale
    box = (piece.top * scale, piece.left * scale, piece.bottom * scale, piece.right * scale)
    cut = is_cut(view.ink, labels, piece)
    if cut and not has_its_size(box, view.pixels, view.form):
        doubt = "ink runs off the edge of the picture"
    return Found(box, image_of(near, view.form), doubt)


def _near(
    view: View, labels: strokes.Labels, piece: strokes.Piece, part: Part | None = None
) -> Ink:
    """The ink of an object, from as close as it is needed."""
    if _is_small(piece, view.scale):
        return closer_look(part or view.part(labels, piece), view.look)
    return view.ink.around(piece, labels)


def _fainter(view: View, found: list[strokes.Piece], every: bool) -> list[Found]:
    """Writing that is faint beside what was found, as pencil is beside ink."""
    both = view.both or view.ink
    look = replace(view.look, weak=0.0)
    view = replace(view, look=look, ink=fainter(both, found))
    labels, objects = view.objects()
    least = LIKE * max(piece.size for piece in found)
    objects = sorted(objects, key=lambda piece: -piece.size)
    beside = []
    for piece in objects[: None if every else FEW]:
        near = _near(view, labels, piece) if piece.size > least else None
        if near is not None and writing.is_clear(near, both.high):
            beside.append(_found(view, labels, piece, near, None))
    return [each for each in beside if each.doubt is None]


def _is_small(piece: strokes.Piece, scale: float) -> bool:
    """Whether the picture has more pixels of an object than were looked at, and they are needed."""
    return piece.size < FINE and scale > 1


def _doubt(view: View, near: Ink) -> str | None:
    """Why an object is no writing, if its form is one of writing."""
    if not near.mask.any():
        return "too faint to be read"
    if not view.form.writing:
        return None
    traits = writing.traits_of(near)
    faint = near.high < PALE * float(np.ptp(view.ink.values))
    if view.blurred and (faint or writing.may_be_shadow(traits)):
        return "no clear strokes on paper"
    return writing.doubt(traits)


def _lost(ink: Ink, mask: strokes.Mask) -> str | None:
    """Why an object is not all that the picture shows."""
    stands_out = float(ink.plane[ink.plane > 0.3 * ink.high].sum())
    if float(ink.plane[mask].sum()) < (1 - REST) * stands_out:
        return "no clear strokes on paper: much else stands out"
    return None
