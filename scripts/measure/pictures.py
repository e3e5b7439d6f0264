"""How often scripts/predict.py's reading of pictures is right, by kind of picture: a table.

    python scripts/measure/pictures.py runs/checkpoint.npz --data-dir DIR

Photographs are imitated from test digits of MNIST that the network itself reads: the digit is
drawn large in ink on a page, then light falls on it, lines are printed on it, and so on. Seeds are
fixed, so that two runs print the same table.
"""

from __future__ import annotations

if __name__ == "__main__":
    import fnnet_scripts.quiet  # noqa: F401

import argparse
import io
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from fnnet_scripts.options import Parser, at_least, counted, exit_code
from PIL import Image, ImageDraw

import fnnet
from fnnet.pictures import FORMS, Reading, read_picture

Page: TypeAlias = npt.NDArray[np.float64]
Digit: TypeAlias = npt.NDArray[np.uint8]
Rng: TypeAlias = np.random.Generator
Maker: TypeAlias = Callable[[Digit, Rng], Page]

HEIGHT, WIDTH, SIZE, TOP, LEFT = 600, 800, 300, 150, 250
PAPER, INK = 235.0, 40.0


def coverage(digit: Digit, size: int, middle: float = 0.5, blur: float = 0.3) -> Page:
    """How much of each point is ink where a digit is drawn large: smooth, with a sharp edge.

    A middle above one half makes a thinner pen, one below it a thicker pen.
    """
    large = Image.fromarray(digit).resize((size, size), Image.Resampling.BICUBIC)
    return np.clip((np.asarray(large, float) / 255 - middle) / blur + 0.5, 0.0, 1.0)


def page(
    digit: Digit,
    *,
    shape: tuple[int, int] = (HEIGHT, WIDTH),
    size: int = SIZE,
    corner: tuple[int, int] = (TOP, LEFT),
    paper: float | tuple[float, ...] = PAPER,
    ink: float | tuple[float, ...] = INK,
    middle: float = 0.5,
) -> Page:
    """A digit on a page: (H, W), or (H, W, 3) where paper and ink are colours."""
    channels = np.shape(paper)
    cover = np.zeros(shape + (1,) * len(channels))
    drawn = coverage(digit, size, middle).reshape((size, size) + (1,) * len(channels))
    cover[corner[0] : corner[0] + size, corner[1] : corner[1] + size] = drawn
    return np.asarray(paper) * (1 - cover) + np.asarray(ink) * cover


def light(fall: float) -> Page:
    return np.linspace(1, fall, WIDTH)[None] * np.ones((HEIGHT, 1))


def hard_shadow(rng: Rng) -> Page:
    """The page is darker on one side of a straight edge."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    side = (x - WIDTH / 2) * np.cos(angle) + (y - HEIGHT / 2) * np.sin(angle)
    return np.where(side < rng.uniform(-100, 100), 0.55, 1.0)


def turned_on_a_desk(digit: Digit, rng: Rng) -> Page:
    """A page that lies askew on a darker desk, which is seen on all sides."""
    angle, desk = rng.uniform(-15, 15), rng.uniform(30, 140)
    sheet = np.zeros((HEIGHT, WIDTH))
    sheet[60:540, 80:720] = 1
    written, seen = (
        np.asarray(Image.fromarray(each).rotate(angle, Image.Resampling.BICUBIC, fillcolor=fill))
        for each, fill in ((page(digit), PAPER), (sheet, 0.0))
    )
    return noisy(written * seen + desk * (1 - seen), 4, rng)


def round_shadow(rng: Rng) -> Page:
    """The shadow of a round thing that is narrower than the page."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    middle, radii = (rng.uniform(low, high, 2) for low, high in ((0.1, 0.9), (0.1, 0.35)))
    down, across = (
        (at - share * n) / (radius * n)
        for at, share, radius, n in zip((y, x), middle, radii, (HEIGHT, WIDTH), strict=True)
    )
    return np.where(down**2 + across**2 < 1, 0.6, 1.0)


def blurred(digit: Digit, rng: Rng) -> Page:
    from scipy import ndimage

    return noisy(np.asarray(ndimage.gaussian_filter(page(digit), 10)), 3, rng)


def noisy(pixels: Page, sigma: float, rng: Rng) -> Page:
    return np.asarray(pixels + rng.normal(0, sigma, pixels.shape))


def speck(digit: Digit, rng: Rng) -> Page:
    pixels = page(digit)
    pixels[5, 5] = INK
    return pixels


def many_specks(digit: Digit, rng: Rng) -> Page:
    pixels = page(digit)
    for _ in range(25):
        y, x = rng.integers(0, HEIGHT - 6), rng.integers(0, WIDTH - 6)
        side = rng.integers(1, 6)
        pixels[y : y + side, x : x + side] = rng.choice([INK, 255.0])
    return pixels


def white_pixel(digit: Digit, rng: Rng) -> Page:
    pixels = page(digit, paper=130.0, ink=60.0)
    pixels[tuple(rng.integers(0, (HEIGHT, WIDTH)))] = 255
    return pixels


def table(digit: Digit, rng: Rng) -> Page:
    pixels = page(digit)
    width, side = int(rng.integers(20, 100)), int(rng.integers(0, 4))
    turned = np.rot90(pixels, side)
    turned[:width] = rng.uniform(30, 140) + rng.normal(0, 4, turned[:width].shape)
    return pixels


def ruled(digit: Digit, rng: Rng) -> Page:
    pixels, first = page(digit), rng.integers(0, 60)
    pixels[first::60] = np.minimum(pixels[first::60], 150)
    return pixels


def grid(digit: Digit, rng: Rng) -> Page:
    pixels, first = page(digit), rng.integers(0, 40, 2)
    for i in range(2):
        pixels[first[0] + i :: 40] = np.minimum(pixels[first[0] + i :: 40], 120)
        pixels[:, first[1] + i :: 40] = np.minimum(pixels[:, first[1] + i :: 40], 120)
    return pixels


def ruled_tilted(digit: Digit, rng: Rng) -> Page:
    pixels = page(digit)
    sheet = Image.fromarray(np.full((HEIGHT, WIDTH), 255, np.uint8))
    pen, slope = ImageDraw.Draw(sheet), np.tan(np.deg2rad(rng.uniform(-5, 5)))
    for y in range(-200, HEIGHT + 200, 60):
        pen.line([(0, y), (WIDTH, y + slope * WIDTH)], fill=140, width=2)
    lined: Page = np.minimum(pixels, np.asarray(sheet, float))
    return lined


def grey_28(digit: Digit, rng: Rng) -> Page:
    return 40.0 + digit.astype(np.float64) * (215 / 255)


def small_28(digit: Digit, rng: Rng) -> Page:
    pixels = np.zeros((28, 28))
    top, left = rng.integers(0, 13, 2)
    small = Image.fromarray(digit[3:25, 3:25]).resize((14, 14), Image.Resampling.BOX)
    pixels[top : top + 14, left : left + 14] = np.asarray(small)
    return pixels


def red_on_green(digit: Digit, rng: Rng) -> Page:
    return page(
        digit, shape=(400, 500), corner=(50, 100), paper=(0.0, 102.0, 0.0), ink=(200.0, 0.0, 0.0)
    )


def blue_on_yellow(digit: Digit, rng: Rng) -> Page:
    pixels = page(digit, paper=(230.0, 215.0, 120.0), ink=(40.0, 60.0, 150.0))
    return noisy(pixels * hard_shadow(rng)[..., None], 6, rng)


def pencil(digit: Digit, rng: Rng) -> Page:
    return noisy(page(digit, paper=225.0, ink=185.0), 6, rng)


def chalk(digit: Digit, rng: Rng) -> Page:
    cover = page(digit, paper=0.0, ink=1.0)
    cover *= 1 - 0.6 * (rng.random(cover.shape) < 0.3)
    return noisy(45 + 150 * cover, 8, rng) * light(0.7)


def jpeg(digit: Digit, rng: Rng) -> Page:
    file = io.BytesIO()
    pixels = noisy(page(digit), 5, rng).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).convert("RGB").save(file, "jpeg", quality=15)
    return np.asarray(Image.open(file), float)


def large_page(digit: Digit, rng: Rng) -> Page:
    size = int(rng.integers(120, 240))
    corner = (int(rng.integers(10, 2000 - size)), int(rng.integers(10, 2700 - size)))
    pixels = page(digit, shape=(2000, 2700), size=size, corner=corner)
    return noisy(pixels, 5, rng)


def middle_page(digit: Digit, rng: Rng) -> Page:
    size = int(rng.integers(60, 100))
    corner = (int(rng.integers(4, HEIGHT - size)), int(rng.integers(4, WIDTH - size)))
    return noisy(page(digit, size=size, corner=corner), 5, rng)


def very_thin(digit: Digit, rng: Rng) -> Page:
    """The ridge of the strokes, four pixels wide."""
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(page(digit, paper=0.0, ink=1.0) > 0.5)
    ridge = (depth > 3) & (depth >= ndimage.maximum_filter(depth, 3))
    line = ndimage.binary_closing(ndimage.binary_dilation(ridge, iterations=2), iterations=5)
    return np.where(line, INK, PAPER)


def mixture(digit: Digit, rng: Rng) -> Page:
    """Ruled paper in colour under a hard shadow, with noise, specks and a strip of table."""
    pixels = ruled(digit, rng)
    pixels[:, : int(rng.integers(10, 60))] = 70
    for y, x in rng.integers(0, (HEIGHT - 5, WIDTH - 5), (6, 2)):
        pixels[y : y + 3, x : x + 3] = INK
    colour = pixels[..., None] * np.array([1.0, 0.95, 0.85]) * hard_shadow(rng)[..., None]
    return noisy(colour, 12, rng)


KINDS: dict[str, Maker] = {
    "plain": lambda d, rng: page(d),
    "inverted": lambda d, rng: 255 - page(d),
    "one dark speck": speck,
    "25 specks, dark and light": many_specks,
    "one white pixel, grey paper": white_pixel,
    "light falls to 75 %": lambda d, rng: noisy(page(d) * light(0.75), 5, rng),
    "light falls to 60 %": lambda d, rng: noisy(page(d) * light(0.6), 5, rng),
    "light falls to 50 %": lambda d, rng: noisy(page(d) * light(0.5), 5, rng),
    "light falls to 30 %": lambda d, rng: noisy(page(d) * light(0.3), 5, rng),
    "hard shadow": lambda d, rng: noisy(page(d) * hard_shadow(rng), 5, rng),
    "two hard shadows that cross": lambda d, rng: noisy(
        page(d) * hard_shadow(rng) * hard_shadow(rng), 5, rng
    ),
    "page turned on a desk": turned_on_a_desk,
    "round shadow": lambda d, rng: noisy(page(d) * round_shadow(rng), 5, rng),
    "strip of table": table,
    "ruled paper": ruled,
    "ruled paper, tilted": ruled_tilted,
    "strong grid, 2 px": grid,
    "light on grey, 28 x 28": grey_28,
    "the same, 29 x 29": lambda d, rng: np.pad(grey_28(d, rng), ((0, 1), (0, 1)), mode="edge"),
    "small on black, 28 x 28": small_28,
    "red on green": red_on_green,
    "blue on yellow, hard shadow": blue_on_yellow,
    "pale pencil": pencil,
    "chalk on a board": chalk,
    "JPEG 15": jpeg,
    "120 to 240 of 2000 x 2700": large_page,
    "60 to 100 of 600 x 800": middle_page,
    "blurred, sigma 10": blurred,
    "noise, sigma 40": lambda d, rng: noisy(page(d), 40, rng),
    "very thin pen": very_thin,
    "thin pen": lambda d, rng: page(d, middle=0.8),
    "thick pen": lambda d, rng: page(d, middle=0.2),
    "mixture": mixture,
}


def filled(kind: str, rng: Rng) -> Page:
    """A shape or a checkerboard of one size or another, somewhere on a page."""
    sheet = Image.new("L", (WIDTH, HEIGHT), int(PAPER))
    pen, size = ImageDraw.Draw(sheet), int(rng.integers(60, 250))
    left, top = (int(rng.integers(30, n - 30 - size)) for n in (WIDTH, HEIGHT))
    if kind == "discs":
        pen.ellipse((left, top, left + size, top + size), fill=int(INK))
    elif kind == "squares":
        pen.rectangle((left, top, left + size, top + size), fill=int(INK))
    elif kind == "triangles":
        x, y = rng.uniform(0, size, 2)
        pen.polygon([(left + x, top), (left, top + y), (left + size, top + size)], fill=int(INK))
    else:
        cells = int(rng.integers(3, 9))
        side = size / cells
        for i, j in np.argwhere(np.indices((cells, cells)).sum(axis=0) % 2 == 0):
            corner = (left + i * side, top + j * side)
            pen.rectangle((*corner, corner[0] + side - 1, corner[1] + side - 1), fill=int(INK))
    return np.asarray(sheet, float)


def crop(kind: str, rng: Rng) -> Page:
    """A square of the photograph that comes with Matplotlib."""
    from matplotlib import get_data_path

    with Image.open(Path(get_data_path()) / "sample_data" / "grace_hopper.jpg") as file:
        photograph = np.asarray(file.convert("RGB"), float)
    side = int(rng.integers(40, 300))
    top, left = (int(rng.integers(0, n - side)) for n in photograph.shape[:2])
    return photograph[top : top + side, left : left + side]


OTHERS = {
    "discs": filled,
    "squares": filled,
    "triangles": filled,
    "checkerboards": filled,
    "crops of a photograph": crop,
}


def side_by_side(a: Digit, b: Digit, rng: Rng) -> Page:
    """Two digits on a picture of the network's own size, as small as they then are."""
    halves = [Image.fromarray(each).resize((14, 14), Image.Resampling.BOX) for each in (a, b)]
    return np.pad(
        np.concatenate([np.asarray(half, float) for half in halves], axis=1), ((7, 7), (0, 0))
    )


def pencil_beside_ink(a: Digit, b: Digit, rng: Rng) -> Page:
    top, size = (rng.integers(low, high, 2).tolist() for low, high in ((20, 300), (180, 280)))
    dark = page(a, size=size[0], corner=(top[0], 60))
    return noisy(np.minimum(dark, page(b, size=size[1], corner=(top[1], 450), ink=150.0)), 4, rng)


def cut(a: Digit, b: Digit, rng: Rng) -> Page:
    """A digit under a hard shadow of which the top is not on the picture."""
    return noisy((page(a) * hard_shadow(rng))[TOP + int(rng.uniform(0.3, 0.5) * SIZE) :], 4, rng)


def soft_shadow(a: Digit, b: Digit, rng: Rng) -> Page:
    from scipy import ndimage

    return noisy(PAPER * np.asarray(ndimage.gaussian_filter(round_shadow(rng), 15)), 5, rng)


NO_SINGLE_DIGIT: dict[str, Callable[[Digit, Digit, Rng], Page]] = {
    "two digits on 28 x 28": side_by_side,
    "two digits on 28 x 56": lambda a, b, rng: np.concatenate([a, b], axis=1).astype(float),
    "pencil beside ink": pencil_beside_ink,
    "cut at the top, hard shadow": cut,
    "round shadow alone": lambda a, b, rng: noisy(PAPER * round_shadow(rng), 5, rng),
    "soft round shadow alone": soft_shadow,
}


def sure(params: fnnet.Params, kind: str, digits: Digit) -> tuple[float, float]:
    """Of pictures that show no single digit, the shares refused and answered above 90 %."""
    refused, certain, n = 0, 0, len(digits)
    for i in range(n):
        rng = np.random.default_rng(i)
        if kind in OTHERS:
            made = OTHERS[kind](kind, rng)
        else:
            made = NO_SINGLE_DIGIT[kind](digits[i], digits[(i + 1) % n], rng)
        reading = read_picture(as_pixels(made), FORMS["mnist"])
        if reading.refusal:
            refused += 1
        else:
            x = fnnet.as_inputs(reading.found[0].image[None])
            certain += int(fnnet.softmax(fnnet.forward(params, x)).max() > 0.9)
    return refused / n, certain / n


def right_ones(
    params: fnnet.Params, directory: Path | None, n: int
) -> tuple[Digit, npt.NDArray[np.uint8]]:
    """The first test digits that the network itself reads."""
    test = fnnet.load_mnist(directory, download=False).test
    right = fnnet.predict(params, fnnet.as_inputs(test.x[: 2 * n])) == test.y[: 2 * n]
    good = np.flatnonzero(right)[:n]
    return test.x[good].astype(np.uint8), test.y[good].astype(np.uint8)


def as_pixels(made: Page) -> npt.NDArray[np.uint8]:
    return made.round().clip(0, 255).astype(np.uint8)


def row(
    params: fnnet.Params, digits: Digit, y: npt.NDArray[np.uint8], make: Maker
) -> tuple[float, float, float, float]:
    """Shares of right, wrong and refused readings, and the median milliseconds of one."""
    answers, times = [], []
    for i, digit in enumerate(digits):
        pixels = as_pixels(make(digit, np.random.default_rng(i)))
        start = time.perf_counter()
        reading = read_picture(pixels, FORMS["mnist"])
        times.append(1e3 * (time.perf_counter() - start))
        answers.append(answer(params, reading))
    got = np.array(answers)
    refused = got < 0
    right = got == y
    return right.mean(), (~right & ~refused).mean(), refused.mean(), float(np.median(times))


def answer(params: fnnet.Params, reading: Reading) -> int:
    """The class, or -1 where the reading refuses."""
    if reading.refusal:
        return -1
    images = np.stack([found.image for found in reading.found])
    return int(fnnet.predict(params, fnnet.as_inputs(images))[0])


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("checkpoint", type=Path, help="a network of MNIST, what scripts/train.py wrote")
    add("--data-dir", type=Path, default=os.environ.get("FNNET_DATA"), metavar="DIR")
    add("--pictures", type=at_least(1), default=200, metavar="N", help="of each kind")
    add("--kinds", nargs="+", metavar="WORD", help="only kinds whose names have one of these words")
    return parser.parse_args(argv)


def run(settings: argparse.Namespace) -> None:
    params = fnnet.load_checkpoint(settings.checkpoint, None).state.params
    digits, y = right_ones(params, settings.data_dir, settings.pictures)
    words = settings.kinds or [""]
    kinds = [name for name in KINDS if any(word in name for word in words)]
    found = [row(params, digits, y, KINDS[name]) for name in counted(kinds, len(kinds), "kind")]
    names = [*OTHERS, *NO_SINGLE_DIGIT]
    others = [sure(params, name, digits) for name in counted(names, len(names), "kind")]
    print(f"{len(y)} pictures of each kind\n\n| kind | right | wrong | refused | ms |")
    print("|-|-|-|-|-|")
    for name, (right, wrong, refused, ms) in zip(kinds, found, strict=True):
        print(f"| {name} | {right:.1%} | {wrong:.1%} | {refused:.1%} | {ms:.0f} |")
    print("\n| no single digit | refused | above 90 % |\n|-|-|-|")
    for name, (refused, certain) in zip(names, others, strict=True):
        print(f"| {name} | {refused:.1%} | {certain:.1%} |")


def main(argv: Sequence[str] | None = None) -> int:
    settings = parse(argv)
    return exit_code("pictures.py", lambda: run(settings))


if __name__ == "__main__":
    sys.exit(main())
