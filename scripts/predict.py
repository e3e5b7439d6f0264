"""Classify images with a trained network: pictures of any size, or IDX files.

    python scripts/predict.py runs/mnist/checkpoint.npz picture.jpg

A picture is read as a person reads it (see fnnet.pictures): ink is told from paper in any light,
printed lines, borders and specks are left out, and what is written is brought into the form of the
network's training images. What shows nothing, several objects, cut ink or no writing is refused in
a line that says why. A network of digits knows nothing else: letters look like digits to it.

Without a checkpoint, a network of MNIST's digits that comes with the scripts reads the images.
"""

from __future__ import annotations

if __name__ == "__main__":
    import fnnet_scripts.quiet  # noqa: F401

import argparse
import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fnnet_scripts.embedded import described, load_embedded
from fnnet_scripts.options import Parser, at_least, exit_code, png

import fnnet
from fnnet.data.datasets import FASHION_MNIST, KMNIST, MNIST
from fnnet.outputs import output_of
from fnnet.pictures import Form, Reading, form_of, open_picture, plot_readings, read_picture
from fnnet.storage.files import atomic_write

NETWORK = Path(__file__).with_name("network.npz")
DRAWN = 24  # images at most in the figure
LONGEST_MESSAGE = 400  # characters of an error or a name that are printed
IDX_TYPES = b"\x08\x09\x0b\x0c\x0d\x0e"


@dataclass(frozen=True, slots=True)
class Network:
    """What a checkpoint says of its network."""

    params: fnnet.Params
    form: Form
    names: Sequence[str]


@dataclass(frozen=True, slots=True)
class Seen:
    """What was read: images with their labels, readings of pictures with their names, notes."""

    labels: list[str]
    images: list[npt.NDArray[np.uint8]]
    names: list[str]
    readings: list[Reading]
    notes: list[str]


def user_path(text: str) -> Path:
    """A type of options: a path, ~ for the user's folder."""
    return Path(os.path.expanduser(text))


def figure_path(text: str) -> Path:
    return user_path(str(png(text)))


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("checkpoint", nargs="?", type=user_path, help="what scripts/train.py wrote, if any")
    add("images", nargs="+", type=user_path, help="PNG, JPEG, ... or IDX files")
    add(
        "--limit",
        type=at_least(1),
        default=12,
        metavar="N",
        help="images of an IDX file; default: 12",
    )
    add("--all", action="store_true", help="classify each of several objects, left to right")
    add("--show", action="store_true", help="draw the steps, beside FILE, as FILE-steps.png")
    drawn = f"the first {DRAWN} images, drawn; default: runs/predictions.png"
    add(
        "--out",
        type=figure_path,
        default=Path("runs/predictions.png"),
        metavar="FILE",
        help=drawn,
    )
    settings = parser.parse_intermixed_args(argv)
    if settings.checkpoint is None:
        if is_checkpoint(settings.images[0]):
            parser.error("images: expected one or more after the checkpoint, got none")
    elif not is_checkpoint(settings.checkpoint):
        settings.images.insert(0, settings.checkpoint)
        settings.checkpoint = None
    return settings


def is_checkpoint(path: Path) -> bool:
    """Whether a file is no image but a checkpoint, by its name or by its start."""
    if path.suffix == ".npz":
        return True
    try:
        if not path.is_file():
            return False
        with open(path, "rb") as file:
            return file.read(4) == b"PK\x03\x04"
    except (OSError, ValueError):
        return False  # what reads pictures says why


def run(settings: argparse.Namespace) -> bool:
    """Print a line for each image, then draw the first of them; return whether all were read."""
    network = load_network(settings.checkpoint) if settings.checkpoint else own_network()
    seen = Seen([], [], [], [], [])
    failed = False
    for path in settings.images:
        try:
            for label, image in read(path, network.form, settings, seen):
                seen.labels.append(label)
                seen.images.append(image)
        except (OSError, ValueError, MemoryError) as error:
            failed = True
            print(f"predict.py: {told(path, error)}", file=sys.stderr)
    if seen.images:
        classify(network, seen, settings.out)
    if settings.show and seen.readings:
        steps = settings.out.with_name(f"{settings.out.stem}-steps.png")
        save(plot_readings(seen.readings[:DRAWN], seen.names[:DRAWN]), steps)
    return not failed


def load_network(path: Path) -> Network:
    checkpoint = fnnet.load_checkpoint(path)
    params = checkpoint.state.params
    shape = params.layers[0].w.shape
    side = math.isqrt(shape[-2])
    if len(shape) != 2 or side**2 != shape[0]:
        raise ValueError(f"the network's first weights are {shape}, not those of square images")
    learned = checkpoint.extra if "dataset" in checkpoint.extra else of_run(path)
    dataset = learned.get("dataset")
    dataset = dataset if isinstance(dataset, str) else None
    k = params.layers[-1].w.shape[-1]
    known = {source.name: source.classes for source in (MNIST, FASHION_MNIST, KMNIST)}
    names = learned.get("classes") or known.get(dataset or "", ())
    if len(names) != k:
        names = range(k)
    return Network(params, form_of(dataset, side), [printable(str(name)) for name in names])


def own_network() -> Network:
    """The network that comes with the scripts; says that it is the one."""
    known = load_embedded(NETWORK)
    print(f"the network that comes with the scripts: {described(known)}")
    return Network(known.params, form_of(known.dataset, known.examples.x.shape[-1]), known.classes)


def of_run(checkpoint: Path) -> dict[str, Any]:
    """What run.json beside a checkpoint says, where one is."""
    try:
        saved = json.loads(checkpoint.with_name("run.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return {"dataset": saved.get("dataset")} if isinstance(saved, dict) else {}


def read(
    path: Path, form: Form, settings: argparse.Namespace, seen: Seen
) -> Iterator[tuple[str, npt.NDArray[np.uint8]]]:
    """The images of a file, each with what to call it."""
    if is_idx(path):
        yield from read_images(path, form.side, settings.limit, seen.notes)
        return
    reading = read_picture(open_picture(path), form, every=settings.all)
    label = printable(os.fspath(path))
    seen.names.append(label)
    seen.readings.append(reading)
    if len(reading.found) > 1 and settings.all:
        doubts = [found.doubt for found in reading.found]
        for i, found in enumerate(reading.found):
            if not found.doubt:
                yield f"{label}[{i}]", found.image
        if any(doubts):
            told_of = "; ".join(f"[{i}] {doubt}" for i, doubt in enumerate(doubts) if doubt)
            raise ValueError(f"refused: {told_of}")
    elif reading.refusal:
        advice = " (--all classifies each)" * (len(reading.found) > 1)
        raise ValueError(f"refused{advice}: {reading.refusal}")
    else:
        yield label, reading.found[0].image


def is_idx(path: Path) -> bool:
    """Whether a file is IDX by its start, or gzip; run-length TGA begins alike, but has rank 0."""
    if not path.is_file():
        return False  # what reads pictures says why
    with open(path, "rb") as file:
        start = file.read(4)
    return start[:2] == b"\x1f\x8b" or (
        len(start) == 4 and start[:2] == b"\0\0" and start[2] in IDX_TYPES and start[3] > 0
    )


def read_images(
    path: Path, side: int, limit: int, notes: list[str]
) -> Iterator[tuple[str, npt.NDArray[np.uint8]]]:
    """The first images of an IDX file."""
    array = fnnet.read_idx(path)
    if array.dtype != np.uint8 or array.shape[1:] != (side, side) or len(array) == 0:
        raise ValueError(f"{array.dtype} {array.shape}, expected uint8 (N, {side}, {side})")
    label = printable(os.fspath(path))
    for i, image in enumerate(array[:limit].astype(np.uint8)):
        yield f"{label}[{i}]", image
    if len(array) > limit:
        notes.append(f"{label}: {limit} of {len(array)} images shown (--limit N shows more)")


def classify(network: Network, seen: Seen, out: Path) -> None:
    """Print the two likeliest classes of each image, and draw the first images."""
    images = np.stack(seen.images)
    x = fnnet.as_inputs(images, network.params.layers[0].w.dtype)
    logits = fnnet.forward(network.params, x)
    predicted = output_of(network.params.output).predictions(logits)
    for label, p in zip(seen.labels, predicted, strict=True):
        ranked = [f"{network.names[i]} {p[i]:.1%}" for i in np.argsort(-p, kind="stable")[:2]]
        print(f"{label}: {', then '.join(ranked)}")
    for note in seen.notes:
        print(note)
    from fnnet import plots

    output = network.params.output
    if output != "identity":  # its logits are no probabilities
        first = images[:DRAWN], logits[:DRAWN]
        save(plots.plot_predictions(*first, classes=network.names, output=output), out)


def save(figure: Any, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(out) as file:
        figure.savefig(file, format="png")
    print(f"drawn in {printable(os.fspath(out))}")


def told(path: Path, error: Exception) -> str:
    """An error in one line that names the file once."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
    text = text.removeprefix(f"{path}: ")
    return printable(f"{path}: {text}")


def printable(text: str) -> str:
    """Text as a terminal may show it: what would steer the terminal is written as its code."""
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[: LONGEST_MESSAGE + 1])
    return shown if len(text) <= LONGEST_MESSAGE else f"{shown[:LONGEST_MESSAGE]}..."


def main(argv: Sequence[str] | None = None) -> int:
    settings = parse(argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # class names that the terminal's encoding lacks
            stream.reconfigure(errors="backslashreplace")
    complete: list[bool] = []
    code = exit_code("predict.py", lambda: complete.append(run(settings)))
    return code or int(not all(complete))


if __name__ == "__main__":
    sys.exit(main())
