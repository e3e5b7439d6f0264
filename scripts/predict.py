"""Classify images with a trained network: pictures of any size, or IDX files.

A picture is brought into the form of MNIST's: light ink on dark paper, cropped to the ink, its
longer side 20 of 28 pixels, the centre of its mass in the middle. A picture that has the network's
size and light ink already is taken as it is.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

import fnnet
from fnnet.datasets import FASHION_MNIST, KMNIST, MNIST
from fnnet.files import atomic_write

if TYPE_CHECKING:
    from PIL import Image

Pixels: TypeAlias = npt.NDArray[np.float64]

INK_BOX = {28: 20}  # longer side of the ink by side of the image; others are filled
FAINT = 0.1  # share of the darkest ink below which a pixel counts as paper


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", help="what scripts/train.py wrote")
    parser.add_argument("images", nargs="+", type=Path, help="PNG, JPEG, ... or IDX files")
    parser.add_argument("--limit", type=int, default=12, metavar="N", help="images of an IDX file")
    parser.add_argument("--out", type=Path, default="runs/predictions.png", help="the figure")
    settings = parser.parse_args(argv)
    if settings.limit < 1:
        parser.error(f"--limit must be >= 1, got {settings.limit}")
    return settings


def run(settings: argparse.Namespace) -> None:
    params = fnnet.load_checkpoint(settings.checkpoint).state.params
    side = math.isqrt(params.layers[0].w.shape[0])
    if side**2 != params.layers[0].w.shape[0]:
        raise ValueError(f"the network takes {params.layers[0].w.shape[0]} numbers, not an image")
    found = [pair for path in settings.images for pair in read(path, side, settings.limit)]
    images = np.stack([image for _, image in found])
    logits = fnnet.forward(params, fnnet.as_inputs(images))
    names = class_names(Path(settings.checkpoint).with_name("run.json"), logits.shape[1])
    for (label, _), p in zip(found, fnnet.softmax(logits), strict=True):
        first, second = np.argsort(-p, kind="stable")[:2]
        print(f"{label}: {names[first]} ({p[first]:.1%}; next {names[second]} {p[second]:.1%})")
    draw(settings.out, images, logits, names)


def read(path: Path, side: int, limit: int) -> Iterator[tuple[str, npt.NDArray[np.uint8]]]:
    """The images of a file, each with what to call it."""
    with open(path, "rb") as file:
        start = file.read(4)
    if start[:2] not in (b"\0\0", b"\x1f\x8b"):  # neither IDX nor gzip
        try:
            yield str(path), prepare(open_picture(path), side)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        return
    array = fnnet.read_idx(path)
    if array.dtype != np.uint8 or array.shape[1:] != (side, side):
        raise ValueError(f"{path}: {array.dtype} {array.shape}, expected uint8 (N, {side}, {side})")
    for i, image in enumerate(array[:limit].astype(np.uint8)):
        yield f"{path}[{i}]", image


def open_picture(path: Path) -> Pixels:
    """Brightness of each pixel from 0 to 255, upright, on white where it is transparent."""
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as error:
        raise ImportError("pictures need Pillow: pip install 'fnnet[scripts]'") from error
    try:
        with Image.open(path) as picture:
            upright = ImageOps.exif_transpose(picture)
            return brightness(upright)
    except (UnidentifiedImageError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError("neither a picture nor an IDX file") from error
    except OSError as error:
        raise OSError(f"{path}: damaged or unreadable ({error})") from error


def brightness(picture: Image.Image) -> Pixels:
    from PIL import Image

    if picture.mode.startswith("I") or picture.mode == "F":
        values = np.asarray(picture, np.float64)
        return 255 * values / max(float(values.max()), 1.0)
    colours = picture.convert("RGBA")
    paper = Image.new("RGBA", colours.size, "white")
    return np.asarray(Image.alpha_composite(paper, colours).convert("L"), np.float64)


def prepare(pixels: Pixels, side: int) -> npt.NDArray[np.uint8]:
    """A picture as the network's training images are."""
    from PIL import Image

    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    paper = float(np.median(border))
    light_ink = paper < 128
    if light_ink and pixels.shape == (side, side):
        return pixels.round().astype(np.uint8)
    ink = np.maximum(pixels - paper if light_ink else paper - pixels, 0)
    if ink.max() < 1:
        raise ValueError("blank: all its pixels are as bright as its border")
    ink *= 255 / ink.max()
    rows, columns = np.nonzero(ink > FAINT * 255)
    ink = ink[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    box = INK_BOX.get(side, side)
    height, width = (max(1, round(n * box / max(ink.shape))) for n in ink.shape)
    small = Image.fromarray(ink.astype(np.uint8)).resize((width, height), Image.Resampling.BOX)
    return centred(np.asarray(small, np.float64), side)


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
    try:
        run(parse(argv))
    except (OSError, ValueError, ImportError) as error:
        print(f"predict.py: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
