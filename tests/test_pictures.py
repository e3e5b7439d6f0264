"""fnnet.pictures: the same writing is seen in any light, and what is no writing is refused."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

import fnnet

pytest.importorskip("scipy")
Image = pytest.importorskip("PIL.Image")

from fnnet.pictures import (  # noqa: E402
    FORMS,
    Form,
    Reading,
    form_of,
    open_picture,
    plot_readings,
    read_picture,
    windows,
)
from fnnet.pictures.lines import without_lines  # noqa: E402
from fnnet.pictures.scaling import fit, reduce, resize  # noqa: E402

Page: TypeAlias = npt.NDArray[np.float64]
MNIST = FORMS["mnist"]
HEIGHT, WIDTH = 300, 400
PAPER, INK = 235.0, 40.0


def cover(digit: int, size: int = 160, at: tuple[int, int] = (70, 120)) -> Page:
    """How much of each point of a page is ink: an embedded digit, drawn large and sharp."""
    small = Image.fromarray(np.pad(fnnet.load_digits().test.x[digit], 2))
    large = np.asarray(small.resize((size, size), Image.Resampling.BICUBIC), float)
    page = np.zeros((HEIGHT, WIDTH))
    drawn = np.clip((large / 255 - 0.5) / 0.3 + 0.5, 0, 1)
    page[at[0] : at[0] + size, at[1] : at[1] + size] = drawn
    return page


def drawn(digit: int, paper: float = PAPER, ink: float = INK, **place: Any) -> Page:
    ink_at = cover(digit, **place)
    return paper * (1 - ink_at) + ink * ink_at


def pixels(page: Page) -> npt.NDArray[np.uint8]:
    return page.round().clip(0, 255).astype(np.uint8)


def noise(sigma: float, shape: tuple[int, ...] = (HEIGHT, WIDTH)) -> Page:
    return np.random.default_rng(0).normal(0, sigma, shape)


def fall(low: float) -> Page:
    return np.linspace(1, low, WIDTH)[None].repeat(HEIGHT, axis=0)


def shadow() -> Page:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.where(x + 0.4 * y < 240, 0.55, 1.0)


def with_speck(page: Page) -> Page:
    page[4:6, 4:6] = INK
    return page


def with_white_pixel(digit: int) -> Page:
    page = drawn(digit, 130.0, 60.0)
    page[10, 390] = 255
    return page


def with_table(page: Page) -> Page:
    page[:, :40] = 70
    return page


def ruled(page: Page, value: float = 150.0, every: int = 30) -> Page:
    page[5::every] = np.minimum(page[5::every], value)
    return page


def squared(page: Page) -> Page:
    for i in range(2):
        page[7 + i :: 25] = np.minimum(page[7 + i :: 25], 120)
        page[:, 9 + i :: 25] = np.minimum(page[:, 9 + i :: 25], 120)
    return page


def boxed(page: Page) -> Page:
    """A digit in a box that a thin pen drew around it."""
    page[52:54, 100:300] = page[248:250, 100:300] = 60
    page[52:250, 100:102] = page[52:250, 298:300] = 60
    return page


def grained(page: Page) -> Page:
    """A strip of wood beside the page."""
    y, x = np.mgrid[:HEIGHT, :40]
    page[:, :40] = 100 + 40 * np.sin(y / 5) + 20 * np.sin(x / 2)
    return page


def round_shadow() -> Page:
    """The shadow of a thing that is narrower than the page."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.where(((y - 230) / 60) ** 2 + ((x - 330) / 50) ** 2 < 1, 0.6, 1.0)


def wide_round_shadow() -> Page:
    """A round shadow as wide as the window in which paper is looked for, beside the writing."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.where(((y - 60) / 130) ** 2 + ((x - 40) / 120) ** 2 < 1, 0.6, 1.0)


def on_a_desk(page: Page, angle: float, desk: float) -> Page:
    """A page whose edges lie askew on a darker desk."""
    sheet = np.zeros((HEIGHT, WIDTH))
    sheet[30:-30, 40:-40] = 1
    seen = np.asarray(Image.fromarray(sheet).rotate(angle, Image.Resampling.BICUBIC))
    return np.asarray(page * seen + desk * (1 - seen))


def coloured(digit: int) -> Page:
    ink_at = cover(digit)[..., None]
    return np.array([0.0, 102.0, 0.0]) * (1 - ink_at) + np.array([200.0, 0.0, 0.0]) * ink_at


def chalk(digit: int) -> Page:
    grains = 1 - 0.6 * (np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.3)
    return 45 + 150 * cover(digit) * grains + noise(8)


def compressed(page: Page) -> Page:
    file = io.BytesIO()
    Image.fromarray(pixels(page + noise(5))).convert("RGB").save(file, "jpeg", quality=15)
    return np.asarray(Image.open(file), float)


KINDS: dict[str, Callable[[int], Page]] = {
    "inverted": lambda i: 255 - drawn(i),
    "floats": lambda i: drawn(i) * 0.999,
    "a dark speck": lambda i: with_speck(drawn(i)),
    "a white pixel": with_white_pixel,
    "light falls to 50 %": lambda i: drawn(i) * fall(0.5),
    "light falls to 30 %": lambda i: drawn(i) * fall(0.3),
    "hard shadow": lambda i: drawn(i) * shadow(),
    "wide round shadow": lambda i: drawn(i) * wide_round_shadow(),
    "page askew on a desk": lambda i: on_a_desk(drawn(i), 10, 80) + noise(4),
    "page askew on a dark desk": lambda i: on_a_desk(drawn(i), 10, 30),
    "table": lambda i: with_table(drawn(i)),
    "ruled": lambda i: ruled(drawn(i)),
    "squared": lambda i: squared(drawn(i)),
    "ruled as dark as ink": lambda i: ruled(drawn(i), INK),
    "in a drawn box": lambda i: boxed(drawn(i)),
    "beside wood": lambda i: grained(drawn(i)),
    "long picture": lambda i: np.pad(drawn(i), ((0, 0), (0, 1400)), mode="edge"),
    "red on green": coloured,
    "pencil": lambda i: drawn(i, 225.0, 185.0) + noise(6),
    "chalk": chalk,
    "JPEG 15": lambda i: compressed(drawn(i)),
    "noise": lambda i: drawn(i) + noise(40),
    "ruled, shadow, table, noise": lambda i: with_table(ruled(drawn(i))) * shadow() + noise(10),
}


def alike(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8], least: float = 0.9) -> bool:
    return bool(np.corrcoef(a.ravel().astype(float), b.ravel().astype(float))[0, 1] > least)


@cache
def read_plainly(digit: int) -> Reading:
    """A digit on a page with nothing else, which many tests compare with."""
    return read_picture(pixels(drawn(digit)), MNIST)


# Embedded digits have few pixels: drawn large, the fattest are no strokes of a pen.
SLIM = (2, 3, 4, 5, 6, 7, 8, 10, 12, 13)


@pytest.mark.parametrize("kind", KINDS)
def test_writing_is_seen_the_same_in_any_light(kind: str) -> None:
    same = []
    for digit in SLIM[::2]:
        plain = read_plainly(digit)
        page = KINDS[kind](digit)
        other = read_picture(page.clip(0, 255) if kind == "floats" else pixels(page), MNIST)
        assert plain.refusal is None
        same.append(not other.refusal and alike(plain.found[0].image, other.found[0].image))
    assert sum(same) >= 4


def test_small_writing_anywhere_on_a_large_page_is_seen_from_close() -> None:
    same = []
    for digit in SLIM:
        plain = read_plainly(digit)
        rng = np.random.default_rng(digit)
        page = np.full((1500, 2000), PAPER)
        top, left = int(rng.integers(0, 1200)), int(rng.integers(0, 1600))
        page[top : top + 300, left : left + 400] = drawn(digit, size=110)
        reading = read_picture(pixels(page + noise(5, page.shape)), MNIST)
        box = reading.found[0].box
        assert top + 60 < box[0] < box[2] < top + 200
        assert left + 110 < box[1] < box[3] < left + 250
        same.append(
            not reading.refusal and alike(plain.found[0].image, reading.found[0].image, 0.8)
        )
    assert sum(same) >= 9


def test_an_image_of_the_data_set_is_taken_as_it_is_and_none_other() -> None:
    image = read_picture(pixels(drawn(0)), MNIST).found[0].image
    np.testing.assert_array_equal(read_picture(image, MNIST).found[0].image, image)
    grey = pixels(40.0 + image.astype(np.float64) * (200 / 255))
    seen = read_picture(grey, MNIST)
    assert seen.refusal is None
    assert seen.found[0].image[0].max() < 20
    assert np.corrcoef(seen.found[0].image.ravel(), image.ravel())[0, 1] > 0.95
    moved = np.asarray(np.roll(image, -3, axis=1))
    assert np.corrcoef(read_picture(moved, MNIST).found[0].image.ravel(), image.ravel())[0, 1] > 0.9


def test_ink_has_the_box_and_the_centre_of_the_data_set() -> None:
    for digit in range(5):
        page = pixels(drawn(digit))
        image = read_picture(page, MNIST).found[0].image
        rows, columns = np.nonzero(image > 20)
        assert 19 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 20
        for axis in (0, 1):
            mass = image.sum(axis=1 - axis, dtype=float)
            assert abs(mass @ np.arange(28) / mass.sum() - 14) <= 0.5
        filled = read_picture(page, FORMS["fashion-mnist"]).found[0].image
        rows, columns = np.nonzero(filled > 20)
        assert max(np.ptp(rows), np.ptp(columns)) + 1 == 28
        tiny = read_picture(page, FORMS["digits"]).found[0].image
        assert tiny.shape == (8, 8)
        assert tiny.any(axis=1).all()
        assert np.count_nonzero(tiny.any(axis=0)) <= 6


def test_pictures_of_embedded_digits_are_read_by_a_network_of_them() -> None:
    data = fnnet.load_digits()
    state = fnnet.rmsprop_init(fnnet.init_params(0, (64, 32, 10)))
    *_, last = fnnet.train(state, data.train, rng=0, epochs=15)
    images = []
    for digit in range(50):
        reading = read_picture(pixels(drawn(digit) * fall(0.5) + noise(5)), FORMS["digits"])
        images.append(reading.found[0].image if reading.found else np.zeros((8, 8), np.uint8))
    seen = fnnet.Split(np.stack(images), data.test.y[:50])
    assert fnnet.evaluate(last.state.params, seen).accuracy > 0.8


def test_tiny_writing_is_found_where_there_is_no_other() -> None:
    inside = []
    for digit in SLIM:
        page = np.full((1500, 2000), PAPER)
        page[1000:1300, 300:700] = drawn(digit, size=60)
        found = read_picture(pixels(page + noise(4, page.shape)), MNIST).found
        inside.append(len(found) == 1 and 1060 < found[0].box[0] < found[0].box[2] < 1140)
    assert sum(inside) >= 9


def test_a_shadow_beside_the_writing_is_no_ink() -> None:
    for digit in SLIM[:5]:
        plain = read_plainly(digit)
        shaded = read_picture(pixels(drawn(digit) * round_shadow()), MNIST)
        assert shaded.refusal is None
        assert alike(plain.found[0].image, shaded.found[0].image, 0.85)


def test_writing_partly_on_a_narrow_shadow_is_seen_as_without_it() -> None:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    shadow = np.where(((y - 90) / 60) ** 2 + ((x - 240) / 70) ** 2 < 1, 0.6, 1.0)
    same = []
    for digit in SLIM:
        plain = read_picture(pixels(drawn(digit)), MNIST)
        shaded = read_picture(pixels(drawn(digit) * shadow), MNIST)
        same.append(not shaded.refusal and alike(plain.found[0].image, shaded.found[0].image, 0.85))
    assert sum(same) >= 9


def test_blurred_writing_is_read_where_it_is_small_enough_to_be_sharp() -> None:
    from scipy import ndimage

    same = []
    for digit in SLIM:
        plain = read_picture(pixels(drawn(digit)), MNIST)
        blurred = read_picture(pixels(ndimage.gaussian_filter(drawn(digit), 6)), MNIST)
        same.append(
            not blurred.refusal and alike(plain.found[0].image, blurred.found[0].image, 0.8)
        )
        if not blurred.refusal:
            np.testing.assert_allclose(blurred.found[0].box, plain.found[0].box, atol=12)
    assert sum(same) >= 9


def test_a_piece_of_a_larger_dark_area_is_no_writing() -> None:
    page = np.full((HEIGHT, WIDTH), PAPER)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    page[((y - 150) / 110) ** 2 + ((x - 200) / 130) ** 2 < 1] = INK
    assert read_picture(pixels(page), MNIST).refusal is not None


def test_several_objects_are_looked_at_closely_only_where_that_is_asked_for() -> None:
    page = np.full((900, 1500), PAPER)
    for digit, left in ((2, 100), (3, 900)):
        page[100:400, left : left + 400] = drawn(digit)
    afar, close = (read_picture(pixels(page), MNIST, every) for every in (False, True))
    assert afar.refusal == close.refusal == "several objects: 2"
    for a, b in zip(afar.found, close.found, strict=True):
        assert a.box == b.box
        assert alike(a.image, b.image)
    disc = page.copy()
    y, x = np.mgrid[:900, :1500]
    disc[(y - 650) ** 2 + (x - 700) ** 2 < 120**2] = INK
    doubts = [found.doubt for found in read_picture(pixels(disc), MNIST, every=True).found]
    assert doubts[0] is doubts[2] is None
    assert doubts[1] == "a filled area, no strokes of a pen"


def test_strokes_that_hang_apart_are_one_object() -> None:
    page = np.full((300, 300), PAPER)
    page[60:75, 100:200] = INK  # the bar of a 5
    page[90:160, 100:115] = INK
    page[145:160, 100:190] = INK
    page[160:240, 175:190] = INK
    page[225:240, 100:190] = INK
    reading = read_picture(pixels(page), MNIST)
    assert reading.refusal is None
    top, left, bottom, right = reading.found[0].box
    np.testing.assert_allclose((top, left, bottom, right), (60, 100, 240, 200), atol=4)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_several_objects_are_counted_from_left_to_right(n: int) -> None:
    page = np.full((200, 170 * n + 20), PAPER)
    order = np.random.default_rng(n).permutation(n)
    for digit in order:
        at = drawn(int(digit), size=140)[60:220, 110:270]
        page[20:180, 170 * digit + 10 : 170 * digit + 170] = at
    reading = read_picture(pixels(page), MNIST)
    assert reading.refusal == f"several objects: {n}"
    lefts = [found.box[1] for found in reading.found]
    assert lefts == sorted(lefts)
    for digit, found in enumerate(reading.found):
        alone = read_picture(pixels(drawn(digit, size=140)), MNIST).found[0].image
        assert np.corrcoef(found.image.ravel(), alone.ravel())[0, 1] > 0.9


def pair(a: int, b: int, shape: tuple[int, int], ink: tuple[float, float] = (INK, INK)) -> Page:
    """Two digits side by side on a small picture."""
    halves = [
        drawn(digit, ink=value)[70:230, 120:280] for digit, value in zip((a, b), ink, strict=True)
    ]
    page = np.pad(np.concatenate(halves, axis=1), 6, constant_values=PAPER)
    small = Image.fromarray(pixels(page)).resize((shape[1], shape[0] // 2), Image.Resampling.BOX)
    around = shape[0] // 4, shape[0] - shape[0] // 2 - shape[0] // 4
    return np.pad(np.asarray(small, float), (around, (0, 0)), constant_values=PAPER)


@pytest.mark.parametrize("shape", [(28, 28), (36, 40), (60, 72), (100, 100)])
@pytest.mark.parametrize("light", ["dark on light", "light on black", "light on grey"])
def test_two_digits_on_a_small_picture_are_two(shape: tuple[int, int], light: str) -> None:
    shown: dict[str, Callable[[Page], Page]] = {
        "dark on light": lambda page: page,
        "light on black": lambda page: (PAPER - page) / (PAPER - INK) * 255,
        "light on grey": lambda page: 60 + (PAPER - page) * 0.8,
    }
    told = [
        read_picture(pixels(shown[light](pair(a, b, shape))), MNIST).refusal
        for a, b in pairwise(SLIM)
    ]
    assert told.count("several objects: 2") >= 8


def test_an_image_of_two_digits_is_none_of_the_data_set() -> None:
    image = np.zeros((28, 28), np.uint8)
    image[9:19, 4:7] = image[9:19, 21:24] = 255  # 20 columns, their centre in the middle
    assert read_picture(image, MNIST).refusal == "several objects: 2"
    image[9:19, 4:7] = 0
    image[9:12, 4:7] = 255  # as a stroke of a digit hangs apart
    image[9:19, 15:24] = 255
    moved = np.roll(image, -3, axis=1)
    np.testing.assert_array_equal(read_picture(moved, MNIST).found[0].image, moved)


def test_pencil_beside_ink_is_a_second_object() -> None:
    light: dict[str, Page] = {"even": fall(1), "falling": fall(0.6), "shadow": shadow()}
    for kind, lit in light.items():
        told = []
        for a, b in pairwise(SLIM):
            left = drawn(a, size=140, at=(80, 20))
            page = np.minimum(left, drawn(b, ink=170.0, size=140, at=(70, 230)))
            reading = read_picture(pixels(page * lit + noise(3)), MNIST)
            told.append(reading.refusal)
            if len(reading.found) == 2:
                assert reading.found[0].box[3] < 200 < reading.found[1].box[1]
                pale = read_picture(pixels(drawn(b, size=140)), MNIST).found[0].image
                assert alike(reading.found[1].image, pale, 0.8)
        assert told.count("several objects: 2") >= 8, kind


def test_a_soft_shadow_beside_ink_is_no_second_object() -> None:
    from scipy import ndimage

    for sigma in (4, 8, 12):
        soft = ndimage.gaussian_filter(round_shadow(), sigma)
        told = [read_picture(pixels(drawn(i) * soft + noise(3)), MNIST).refusal for i in SLIM]
        assert told.count(None) >= 9, sigma


def test_a_stroke_joins_the_nearest_of_two_digits() -> None:
    page = np.full((300, 400), PAPER)
    page[60:75, 70:165] = INK  # the bar of a 5, which ends beside the 7
    page[90:240, 60:75] = page[145:160, 60:140] = page[225:240, 60:140] = INK
    page[145:240, 125:140] = INK
    page[60:75, 190:290] = page[60:240, 275:290] = INK
    reading = read_picture(pixels(page), MNIST)
    assert reading.refusal == "several objects: 2"
    np.testing.assert_allclose(reading.found[0].box, (60, 60, 240, 165), atol=4)
    np.testing.assert_allclose(reading.found[1].box, (60, 190, 240, 290), atol=4)


def test_how_near_strokes_of_one_object_are_depends_on_the_form() -> None:
    page = np.full((200, 200), PAPER)
    page[50:150, 60:75] = page[50:150, 85:100] = INK
    assert read_picture(pixels(page), MNIST).refusal == "several objects: 2"
    assert len(read_picture(pixels(page), FORMS["kmnist"]).found) == 1


NOTHING: dict[str, Page] = {
    "paper": np.full((HEIGHT, WIDTH), PAPER),
    "one pixel": np.zeros((1, 1)),
    "noise": 128 + noise(30),
    "slope": 235 * fall(0.3),
    "shadow": 235 * shadow(),
    "ruled": ruled(np.full((HEIGHT, WIDTH), PAPER)),
    "squared": squared(np.full((HEIGHT, WIDTH), PAPER)),
    "specks": with_speck(np.full((HEIGHT, WIDTH), PAPER)),
}


@pytest.mark.parametrize("kind", NOTHING)
def test_a_page_that_shows_nothing_is_blank(kind: str) -> None:
    reading = read_picture(pixels(NOTHING[kind]), MNIST)
    assert reading.refusal is not None
    assert reading.refusal.startswith("blank")
    assert reading.found == ()


def shape(kind: str, seed: int) -> npt.NDArray[np.uint8]:
    from PIL import ImageDraw

    rng = np.random.default_rng(seed)
    sheet = Image.new("L", (WIDTH, HEIGHT), int(PAPER))
    pen, size = ImageDraw.Draw(sheet), int(rng.integers(40, 110))
    left, top = (int(rng.integers(30, n - 30 - size)) for n in (WIDTH, HEIGHT))
    box = (left, top, left + size, top + size)
    if kind == "disc":
        pen.ellipse(box, fill=int(INK))
    elif kind == "square":
        pen.rectangle(box, fill=int(INK))
    elif kind == "triangle":
        pen.polygon([(left, top + size), (left + size, top + size), (left + size // 2, top)], 40)
    else:
        cell = size / 6
        for i, j in np.argwhere(np.indices((6, 6)).sum(axis=0) % 2 == 0):
            corner = (left + i * cell, top + j * cell)
            pen.rectangle((*corner, corner[0] + cell - 1, corner[1] + cell - 1), fill=int(INK))
    return np.asarray(sheet)


@pytest.mark.parametrize("kind", ["disc", "square", "triangle", "checkerboard"])
def test_areas_and_patterns_are_no_writing_but_may_be_garments(kind: str) -> None:
    pages = [shape(kind, seed) for seed in range(10)]
    assert all(read_picture(page, MNIST).refusal for page in pages)
    if kind != "checkerboard":
        garments = [read_picture(page, FORMS["fashion-mnist"]).refusal for page in pages]
        assert garments == [None] * 10


def test_a_garment_that_covers_a_quarter_of_its_picture_fills_the_image() -> None:
    page = np.full((400, 400), PAPER)
    page[60:340, 120:280] = INK
    (found,) = read_picture(pixels(page), FORMS["fashion-mnist"]).found
    assert found.image[0].any()
    assert found.image[-1].any()


def test_triangles_of_any_shape_are_no_writing() -> None:
    from PIL import ImageDraw

    answered = 0
    for seed in range(30):
        sheet = Image.new("L", (WIDTH, HEIGHT), int(PAPER))
        corners = np.random.default_rng(seed).uniform(60, 240, (3, 2))
        ImageDraw.Draw(sheet).polygon([tuple(corner) for corner in corners], fill=int(INK))
        answered += read_picture(np.asarray(sheet), MNIST).refusal is None
    assert answered <= 2  # the thinnest may be strokes


def test_ink_that_runs_off_the_edge_is_refused() -> None:
    page = pixels(drawn(0))
    cut = read_picture(page[:, 200:], MNIST)
    assert cut.refusal == "ink runs off the edge of the picture"


def test_ink_that_is_cut_along_a_stroke_is_refused() -> None:
    told = []
    for digit in SLIM:
        for side in range(4):
            page = np.rot90(drawn(digit, size=200, at=(50, 100)), side)
            rows = np.flatnonzero((page < 100).any(axis=1))
            for share in (0.1, 0.25):
                cut = page[rows[0] + int(share * len(rows)) :]
                for lit in (1.0, np.linspace(1, 0.6, cut.shape[1])):
                    turned = np.rot90(cut * lit + noise(3, cut.shape), -side)
                    told.append(read_picture(pixels(turned), MNIST).refusal)
    assert told.count(None) <= 0.04 * len(told)


def test_writing_beside_a_border_is_not_cut() -> None:
    for digit in SLIM:
        page = drawn(digit, at=(2, 30))
        page[:, :8] = page[:, -6:] = page[:5] = INK
        assert read_picture(pixels(page), MNIST).refusal is None


def ellipse(seed: int) -> Page:
    """A page with nothing but a shadow."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    rng = np.random.default_rng(seed)
    middle, radii = rng.uniform(0.1, 0.9, 2), rng.uniform(0.1, 0.35, 2)
    down, across = (
        (at / n - share) / radius
        for at, n, share, radius in zip((y, x), (HEIGHT, WIDTH), middle, radii, strict=True)
    )
    return PAPER * np.where(down**2 + across**2 < 1, 0.6, 1.0)


@pytest.mark.parametrize("sigma", [0, 3, 8, 13])
def test_a_shadow_on_an_empty_page_is_no_writing(sigma: float) -> None:
    from scipy import ndimage

    pages = [ndimage.gaussian_filter(ellipse(seed), sigma) for seed in range(15)]
    told = [read_picture(pixels(page + noise(3)), MNIST).refusal for page in pages]
    assert told.count(None) <= 1


def test_pixels_are_left_as_they_are() -> None:
    page = pixels(drawn(1))
    page.flags.writeable = False
    before = page.copy()
    for form in FORMS.values():
        first, second = read_picture(page, form), read_picture(page, form)
        np.testing.assert_array_equal(first.found[0].image, second.found[0].image)
    np.testing.assert_array_equal(page, before)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((0, 5)),
        np.zeros(5),
        np.zeros((5, 5, 4)),
        np.full((5, 5), "a"),
        np.zeros((5, 5), complex),
        np.zeros((5, 5), bool),
        np.full((5, 5), np.nan),
        np.full((5, 5), 256),
        np.full((5, 5), -1.0),
    ],
    ids=["empty", "flat", "alpha", "text", "complex", "bool", "nan", "256", "negative"],
)
def test_what_are_no_pixels_is_refused_in_one_sentence(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"^pixels must be"):
        read_picture(wrong, MNIST)


@pytest.mark.parametrize("size", [(1, 1), (1, 75), (75, 1), (2, 2), (3, 401), (28, 28), (29, 5)])
@pytest.mark.parametrize("colours", [(), (3,)], ids=["grey", "colour"])
def test_no_size_or_content_ends_in_a_warning_or_an_error(
    size: tuple[int, int], colours: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(0)
    for values in (
        rng.integers(0, 256, (*size, *colours), dtype=np.uint8),
        np.where(rng.random((*size, *colours)) < 0.3, 255, 0).astype(np.float16),
        np.linspace(0, 255, int(np.prod((*size, *colours)))).reshape(*size, *colours),
    ):
        for form in FORMS.values():
            for found in read_picture(values, form).found:
                assert found.image.shape == (form.side, form.side)
                assert found.image.dtype == np.uint8


def test_forms_are_those_of_the_data_sets_and_of_sizes() -> None:
    assert form_of("fashion-mnist", 28) is FORMS["fashion-mnist"]
    assert form_of(None, 28) is form_of("unheard", 28) is MNIST
    assert form_of("mnist", 8) is FORMS["digits"]
    assert form_of(None, 32) == Form(32, 32, 32, centre="box", writing=False)


def test_lines_go_and_a_stroke_that_crosses_them_stays() -> None:
    plane = np.zeros((120, 200), np.float32)
    plane[20:100, 80:90] = 100
    expected = plane.copy()
    for row in (30, 60, 90):
        plane[row] = 100
    np.testing.assert_allclose(without_lines(plane), expected, atol=1)
    for start, stop in ((60, 120), (20, 180)):
        lone = np.zeros((120, 200), np.float32)
        lone[60, start:stop] = 100  # as thin as a line, but it ends
        assert without_lines(lone) is lone
    lone[60:62, :180] = 100
    assert not without_lines(lone).any()
    lone = np.zeros((120, 200), np.float32)
    lone[20:100:20, 20:180] = 100  # as on a page with a table around it
    assert not without_lines(lone).any()


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 77, (1, 6), (9, 1), (12, 5)])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 3), (40, 31)])
def test_extremes_in_windows_are_scipys(
    shape: tuple[int, int], size: int | tuple[int, int]
) -> None:
    from scipy import ndimage

    plane = np.random.default_rng(0).random(shape, np.float32)
    window = (size, size) if isinstance(size, int) else size
    for ours, theirs in (
        (windows.highest, ndimage.maximum_filter),
        (windows.lowest, ndimage.minimum_filter),
        (windows.opened, ndimage.grey_opening),
        (windows.closed, ndimage.grey_closing),
    ):
        np.testing.assert_array_equal(ours(plane, size), theirs(plane, window, mode="nearest"))
    if isinstance(size, int) and size % 2:
        beyond = ndimage.grey_closing(np.pad(plane, 2 * size, mode="edge"), window)
        inner = slice(2 * size, -2 * size)
        np.testing.assert_array_equal(windows.filled(plane, size), beyond[inner, inner])


def test_sizes_change_by_means() -> None:
    plane = np.arange(24, dtype=np.float32).reshape(4, 6)
    blocks = plane.reshape(2, 2, 3, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(resize(plane, (2, 3)), blocks, rtol=1e-6)
    np.testing.assert_allclose(reduce(plane.astype(np.uint8), 2), blocks)
    np.testing.assert_allclose(resize(plane, (3, 4)).mean(), plane.mean(), rtol=1e-6)
    colours = np.random.default_rng(0).integers(0, 255, (61, 41, 3), dtype=np.uint8)
    apart = np.stack([reduce(colours[..., i], 4) for i in range(3)], axis=-1)
    np.testing.assert_array_equal(reduce(colours, 4), apart)


def test_wide_ink_is_squeezed_into_its_columns_where_the_form_says_so() -> None:
    ink = np.ones((10, 40), np.float32)
    image = fit(ink, Form(8, 8, 6, centre="box", stretch=True))
    np.testing.assert_array_equal(image.any(axis=0), [False, *[True] * 6, False])
    assert image.any(axis=1).all()


def test_the_steps_are_drawn_for_each_picture() -> None:
    pytest.importorskip("matplotlib")
    readings = [read_picture(pixels(page), MNIST) for page in (drawn(0), NOTHING["paper"])]
    figure = plot_readings(readings, ["a.png", "$b_{.png"])
    assert len(figure.axes) == 8
    assert figure.axes[4].get_title(loc="left") == f"$b_{{.png: {readings[1].refusal}"
    np.testing.assert_array_equal(figure.axes[2].images[0].get_array(), readings[0].steps.ink)
    figure.savefig(io.BytesIO(), format="png")
    with pytest.raises(ValueError, match="as many"):
        plot_readings(readings, ["a"])
    with pytest.raises(TypeError, match="readings must be a sequence of readings, got Reading"):
        plot_readings(readings[0], ["a"])  # type: ignore[arg-type]  # that is the test
    with pytest.raises(TypeError, match="each of readings must be of type Reading, got str"):
        plot_readings(["a"], ["a"])  # type: ignore[list-item]  # that is the test


# Files


def test_every_form_of_a_file_shows_the_same(tmp_path: Path) -> None:
    page = pixels(drawn(2))
    picture = Image.fromarray(page)
    forms = {
        "rgb": picture.convert("RGB"),
        "palette": picture.convert("P"),
        "cmyk": picture.convert("CMYK"),
        "deep": Image.fromarray(page.astype(np.uint16) * 257),
        "12 bits": Image.fromarray(page.astype(np.uint16) * 16),
    }
    for name, form in forms.items():
        path = tmp_path / f"{name}.tiff"
        form.save(path)
        seen = open_picture(path)
        grey = seen if seen.ndim == 2 else seen.mean(axis=2)
        images = [read_picture(each, MNIST).found[0].image for each in (page, grey)]
        assert np.abs(images[0].astype(int) - images[1]).mean() < 2, name


def test_one_saturated_pixel_of_sixteen_bits_changes_nothing(tmp_path: Path) -> None:
    deep = pixels(drawn(2)).astype(np.uint16) * 16
    Image.fromarray(deep).save(tmp_path / "a.png")
    plain = open_picture(tmp_path / "a.png")
    deep[0, 0] = 65535
    Image.fromarray(deep).save(tmp_path / "b.png")
    np.testing.assert_array_equal(open_picture(tmp_path / "b.png")[1:], plain[1:])
    assert plain.max() > 200


def test_transparency_and_rotation_are_understood(tmp_path: Path) -> None:
    page = pixels(drawn(3))
    expected = read_picture(page, MNIST).found[0].image.astype(int)
    for name, level in (("black", 0), ("white", 255)):
        clear = np.full((*page.shape, 4), level, np.uint8)
        clear[..., 3] = np.where(page < 128, 255, 0)
        Image.fromarray(clear).save(tmp_path / f"{name}.png")
    turned = Image.fromarray(np.rot90(page).copy())
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise when shown
    turned.save(tmp_path / "turned.jpg", exif=exif, quality=100)
    for name in ("black.png", "white.png", "turned.jpg"):
        seen = read_picture(open_picture(tmp_path / name), MNIST).found[0].image
        assert np.corrcoef(seen.ravel(), expected.ravel())[0, 1] > 0.9, name


def test_a_picture_in_the_home_folder_is_found_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    Image.fromarray(pixels(drawn(3))).save(tmp_path / "a.png")
    np.testing.assert_array_equal(open_picture("~/a.png"), open_picture(tmp_path / "a.png"))


def test_a_form_is_one_and_no_name_of_one() -> None:
    with pytest.raises(
        TypeError, match=r'^form must be of type Form, got str: write FORMS\["mnist"\]'
    ):
        read_picture(pixels(drawn(0)), "mnist")  # type: ignore[arg-type]  # that is the test
    with pytest.raises(TypeError, match="every must be True or False, got 1"):
        read_picture(pixels(drawn(0)), MNIST, 1)  # type: ignore[arg-type]  # that is the test


def test_floats_that_are_no_numbers_are_dark(tmp_path: Path) -> None:
    values = drawn(4).astype(np.float32) / 255
    values[0, 0], values[0, 1] = np.nan, np.inf
    Image.fromarray(values).save(tmp_path / "a.tiff")
    seen = open_picture(tmp_path / "a.tiff")
    assert seen[0, 0] == seen[0, 1] == 0
    assert abs(int(seen[5, 5]) - 255) <= 1


def test_a_picture_over_fifty_megapixels_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    Image.new("1", (8000, 6251)).save(tmp_path / "large.png")
    with pytest.raises(ValueError, match="at most 50 megapixels"):
        open_picture(tmp_path / "large.png")
    Image.new("1", (20000, 20000)).save(tmp_path / "bomb.png")
    with pytest.raises(ValueError, match="at most 50 megapixels"):
        open_picture(tmp_path / "bomb.png")


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"%PDF-1.7", "PDF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'>", "SVG"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<svg>", "SVG"),
    ],
)
def test_what_pillow_does_not_read_is_named_with_the_remedy(
    tmp_path: Path, start: bytes, name: str
) -> None:
    path = tmp_path / "a"
    path.write_bytes(start + b" " * 100)
    with pytest.raises(ValueError, match=rf"^a {name} .*save it as PNG or JPEG$"):
        open_picture(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + b"\0" * 50])
def test_damaged_files_are_refused_in_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="neither a whole picture nor an IDX file"):
        open_picture(path)


def test_a_cut_picture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(pixels(drawn(0) + noise(20))).save(path)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(ValueError, match="neither a whole picture"):
        open_picture(path)


def test_folders_and_pipes_are_refused_and_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a file"):
        open_picture(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(ValueError, match="not a file"):
            open_picture(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError):
        open_picture(tmp_path / "absent.png")


def test_what_is_missing_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fnnet.pictures.reading.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pictures need SciPy: pip install scipy"):
        read_picture(pixels(drawn(0)), MNIST)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="pictures need Pillow: pip install pillow"):
        open_picture("a.png")
