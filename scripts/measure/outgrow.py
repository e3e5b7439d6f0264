"""Measure what training costs on data that outgrow memory: mapped from the disk, or in memory.

    python scripts/measure/outgrow.py --gigabytes 10 --folder /scratch

It writes images like MNIST's into the folder once, then reads batches of 128 and trains a network
784-32-10 on them, in three ways: mapped and shuffled exactly, mapped with a bound of memory, and
from an array of --rows of the same images in memory. Before each way the system is asked to forget
what it has cached of the file. Linux alone tells memory that is the process's own (RssAnon).
"""

from __future__ import annotations

if __name__ == "__main__":
    import fnnet_scripts.quiet  # noqa: F401

import argparse
import itertools
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from fnnet_scripts.options import Parser, at_least, counted, exit_code
from fnnet_scripts.wording import digits, processor, table

import fnnet

BATCH = 128
CHUNK = 10_000  # images written at once


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--gigabytes", type=at_least(1), default=10, metavar="N", help="default: 10")
    add("--memory", type=at_least(1), default=256, metavar="MB", help="the bound; default: 256")
    add("--rows", type=at_least(BATCH), default=200_000, metavar="N", help="timed each way")
    add("--folder", type=Path, default=Path("runs"), metavar="DIR", help="default: runs")
    return parser.parse_args(argv)


def made(settings: argparse.Namespace) -> Path:
    """The file of images, written unless it is there."""
    path: Path = settings.folder / f"outgrow-{settings.gigabytes}.npy"
    if path.exists():
        return path
    settings.folder.mkdir(parents=True, exist_ok=True)
    n = settings.gigabytes * 10**9 // (784 * CHUNK) * CHUNK
    rng = np.random.default_rng(0)
    part = (rng.random((CHUNK, 28, 28)) < 0.2) * rng.integers(0, 256, (CHUNK, 28, 28))
    temporary = path.with_suffix(".part")
    images = np.lib.format.open_memmap(temporary, "w+", np.uint8, (n, 28, 28))
    for start in counted(range(0, n, CHUNK), n // CHUNK, "block"):
        images[start : start + CHUNK] = part
    images.flush()
    os.replace(temporary, path)
    return path


def mapped(path: Path) -> fnnet.Split:
    """The file, mapped anew after the system was asked to drop what it has cached of it."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    images = np.load(path, mmap_mode="r")
    return fnnet.Split(images, (np.arange(len(images)) % 10).astype(np.uint8))


def own_memory() -> int:
    """Bytes that are the process's own."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) << 10
    raise OSError("this system does not tell RssAnon")


def timed(split: fnnet.Split, rows: int, memory: int | None, train: bool) -> tuple[float, int]:
    """Images a second over so many rows, and the most memory of its own above what it had."""
    state = fnnet.rmsprop_init(fnnet.init_params(0, (784, 32, 10)))
    before, most, began = own_memory(), 0, time.perf_counter()
    batches = fnnet.batches(0, split, BATCH, memory=memory)
    done = 0
    for i, (x, y) in enumerate(itertools.islice(batches, rows // BATCH)):
        done += len(x)
        if train:
            state, _ = fnnet.train_step(state, x, y)
        if i % 50 == 0:
            most = max(most, own_memory() - before)
    return done / (time.perf_counter() - began), most


def run(settings: argparse.Namespace) -> None:
    path = made(settings)
    count = len(mapped(path))
    rows = min(settings.rows, count)

    def loaded() -> fnnet.Split:
        part = mapped(path)[:rows]
        return fnnet.Split(np.array(part.x), part.y)

    ways: list[tuple[str, Callable[[], fnnet.Split], int | None]] = [
        ("in memory, exact", loaded, None),
        ("mapped, exact", lambda: mapped(path), None),
        (f"mapped, {settings.memory} MB", lambda: mapped(path), settings.memory * 10**6),
    ]
    body = []
    for name, split, memory in counted(ways, len(ways), "way"):
        read, _ = timed(split(), rows, memory, train=False)
        trained, most = timed(split(), rows, memory, train=True)
        body.append([name, digits(read), digits(trained), digits(most / 1e6)])
    print(f"{path.stat().st_size / 1e9:.1f} GB, {count:,} images, {rows:,} timed")
    print(f"{processor()}, NumPy {np.__version__}, batches of {BATCH}")
    print(table(["", "images/s read", "images/s trained", "own memory, MB"], body))


def main(argv: Sequence[str] | None = None) -> int:
    settings = parse(argv)
    return exit_code("outgrow.py", lambda: run(settings))


if __name__ == "__main__":
    sys.exit(main())
