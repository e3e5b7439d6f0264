"""Classify images with a trained network: pictures of any size, or IDX files.

A picture is brought into the form of MNIST's: light ink on dark paper, cropped to the ink, its
longer side 20 of 28 pixels, the centre of its mass in the middle. A picture that has the network's
size and light ink already is taken as it is. What counts as ink is told from the paper by Otsu's
threshold (IEEE Transactions on Systems, Man and Cybernetics 9, 62 (1979)), so that noise and uneven
light matter little.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from fnnet_scripts.options import Parser, at_least, exit_code, png

import fnnet
from fnnet.data.datasets import FASHION_MNIST, KMNIST, MNIST
from fnnet.storage.files import atomic_write

if TYPE_CHECKING:
    from PIL import Image

Pixels: TypeAlias = npt.NDArray[np.float64]

INK_BOX = {28: 20}  # longer side of the ink by side of the image; others are filled
FAINTEST = 16.0  # of 255: the least contrast between ink and paper
DRAWN = 24  # images at most in the figure


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("checkpoint", type=Path, help="what scripts/train.py wrote")
    add("images", nargs="+", type=Path, help="PNG, JPEG, ... or IDX files")
    add(
        "--limit",
        type=at_least(1),
        default=12,
        metavar="N",
        help="images of an IDX file; default: 12",
    )
    drawn = f"the first {DRAWN} images, drawn; default: runs/predictions.png"
    add("--out", type=png, default="runs/predictions.png", metavar="FILE", help=drawn)
    return parser.parse_args(argv)


def run(settings: argparse.Namespace) -> None:
    """Print a line for each image, then draw the first of them."""
    params = fnnet.load_checkpoint(settings.checkpoint, None).state.params
    shape = params.layers[0].w.shape
    side = math.isqrt(shape[0])
    if len(shape) != 2 or side**2 != shape[0]:
        raise ValueError(f"the network's first weights are {shape}, not those of square images")
    found = [pair for path in settings.images for pair in read(path, side, settings.limit)]
    images = np.stack([image for _, image in found])
    logits = fnnet.forward(params, fnnet.as_inputs(images, params.layers[0].w.dtype))
    names = class_names(settings.checkpoint.with_name("run.json"), logits.shape[1])
    for (label, _), p in zip(found, fnnet.softmax(logits), strict=True):
        ranked = [f"{names[i]} {p[i]:.1%}" for i in np.argsort(-p, kind="stable")[:2]]
        print(f"{label}: {', then '.join(ranked)}")
    draw(settings.out, images[:DRAWN], logits[:DRAWN], names)


def read(path: Path, side: int, limit: int) -> Iterator[tuple[str, npt.NDArray[np.uint8]]]:
    """The images of a file, each with what to call it."""
    with open(path, "rb") as file:
        start = file.read(3)
    if start[:2] != b"\x1f\x8b" and (start[:2] != b"\0\0" or start[2:] < b"\x08"):
        try:  # neither gzip nor IDX
            yield str(path), prepare(open_picture(path), side)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        return
    array = fnnet.read_idx(path)
    if array.dtype != np.uint8 or array.shape[1:] != (side, side) or len(array) == 0:
        raise ValueError(f"{path}: {array.dtype} {array.shape}, expected uint8 (N, {side}, {side})")
    for i, image in enumerate(array[:limit].astype(np.uint8)):
        yield f"{path}[{i}]", image


def open_picture(path: Path) -> Pixels:
    """Brightness of each pixel from 0 to 255, as the picture is meant to be turned."""
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ImportError("pictures need Pillow: pip install 'fnnet[scripts]'") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                return brightness(ImageOps.exif_transpose(picture))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(f"too large ({error})") from error
    except Exception as error:
        # The decoders of damaged pictures fail in a dozen ways, all alike to a user.
        raise ValueError(f"neither a whole picture nor an IDX file ({error})") from error


def brightness(picture: Image.Image) -> Pixels:
    from PIL import Image

    if picture.mode.startswith("I") or picture.mode == "F":
        values = np.nan_to_num(np.asarray(picture, np.float64)).clip(0)
        return 255 * values / max(float(values.max()), 1.0)
    colours = picture.convert("RGBA")
    for paper in ("white", "black"):  # black where white ink on nothing would not show
        sheet = Image.alpha_composite(Image.new("RGBA", colours.size, paper), colours)
        pixels = np.asarray(sheet.convert("L"), np.float64)
        if np.ptp(pixels) >= FAINTEST:
            break
    return pixels


def prepare(pixels: Pixels, side: int) -> npt.NDArray[np.uint8]:
    """A picture as the network's training images are."""
    from PIL import Image

    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    paper = float(np.median(border))
    light_ink = pixels.max() - paper > paper - pixels.min()
    if light_ink and pixels.shape == (side, side):
        return pixels.round().astype(np.uint8)
    ink = np.clip(pixels - paper if light_ink else paper - pixels, 0, 255).astype(np.uint8)
    if ink.max() < FAINTEST:
        raise ValueError("blank: nothing stands out from its border")
    faint, full = two_levels(ink)
    rows, columns = np.nonzero(ink > (faint + full) / 2)
    ink = ink[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    ink = (255 * np.clip((ink - faint) / (full - faint), 0, 1)).round().astype(np.uint8)
    box = INK_BOX.get(side, side)
    height, width = (max(1, round(n * box / max(ink.shape))) for n in ink.shape)
    scaled = Image.fromarray(ink).resize((width, height), Image.Resampling.BILINEAR)
    small = np.asarray(scaled, np.float64)
    if not small.any():
        raise ValueError("its ink is too sparse to be seen in so small an image")
    return centred(small, side)


def two_levels(ink: npt.NDArray[np.uint8]) -> tuple[float, float]:
    """Mean values of the two classes of pixels that Otsu's threshold tells apart."""
    levels = np.arange(256)
    counts = np.bincount(ink.ravel(), minlength=256)
    below, mass = counts.cumsum(), (counts * levels).cumsum()
    cuts = levels[(below > 0) & (below < ink.size)]
    above = ink.size - below[cuts]
    low, high = mass[cuts] / below[cuts], (mass[-1] - mass[cuts]) / above
    best = int(np.argmax(below[cuts] * above * (high - low) ** 2))
    return float(low[best]), float(high[best])


def centred(ink: Pixels, side: int) -> npt.NDArray[np.uint8]:
    """The ink on square paper, its centre of mass in the middle as far as the edges allow."""
    image = np.zeros((side, side), np.uint8)
    corner = []
    for axis, length in enumerate(ink.shape):
        mass = ink.sum(axis=1 - axis)
        centre = float(mass @ np.arange(length)) / float(mass.sum())
        corner.append(min(max(round((side - 1) / 2 - centre), 0), side - length))
    top, left = corner
    image[top : top + ink.shape[0], left : left + ink.shape[1]] = ink.round()
    return image


def class_names(run: Path, k: int) -> Sequence[str]:
    """Names of the classes where the checkpoint's run says which data set it learned."""
    try:
        dataset: Any = json.loads(run.read_text("utf-8"))["dataset"]
    except (OSError, ValueError, TypeError, KeyError):
        dataset = None
    known = {source.name: source.classes for source in (MNIST, FASHION_MNIST, KMNIST)}
    names = known.get(dataset, ())
    return names if len(names) == k else [str(i) for i in range(k)]


def draw(
    out: Path, images: npt.NDArray[np.uint8], logits: npt.NDArray[Any], names: Sequence[str]
) -> None:
    from fnnet import plots

    figure = plots.plot_predictions(images, logits, classes=names)
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(out) as file:
        figure.savefig(file, format="png")
    print(f"drawn in {out}")


def main(argv: Sequence[str] | None = None) -> int:
    settings = parse(argv)
    return exit_code("predict.py", lambda: run(settings))


if __name__ == "__main__":
    sys.exit(main())
