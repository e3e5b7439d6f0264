"""Data that stay on the disk: four files of a folder, mapped into memory and cut for the ranks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

import fnnet
from fnnet.checks import FloatArray
from fnnet.data.idx import map_idx
from fnnet.labels import Labels

Part: TypeAlias = tuple[FloatArray, Labels, float]

NAME = "mapped"  # of a data set that is a folder of its own
PARTS = (("train",), ("test", "t10k"))


def mapped_array(path: Path) -> npt.NDArray[Any]:
    """The array of a .npy file, or of an unpacked IDX file, which is not read here.

    Raises
    ------
    ValueError
        If the file is neither, or another length than it says.
    """
    if path.suffix != ".npy":
        return map_idx(path)
    array: npt.NDArray[Any] = np.load(path, mmap_mode="r")
    return array


def mapped_splits(folder: Path) -> tuple[fnnet.Split, fnnet.Split]:
    """What is trained on and what is tested on: images and labels of each, mapped.

    Raises
    ------
    FileNotFoundError
        If one of the four files is absent: train-images, train-labels, test-images (or t10k-images,
        as MNIST has it) and test-labels, each with any ending.
    """
    train, test = (
        fnnet.Split(
            mapped_array(_file(folder, stems, "images")),
            mapped_array(_file(folder, stems, "labels")),
        )
        for stems in PARTS
    )
    return train, test


def _file(folder: Path, stems: tuple[str, ...], kind: str) -> Path:
    found = sorted(
        path
        for stem in stems
        for path in folder.glob(f"{stem}-{kind}*")
        if path.suffix not in (".gz", ".part")
    )
    if len(found) != 1:
        got = ", ".join(path.name for path in found) or "none"
        raise FileNotFoundError(
            f"{folder} must have one file {stems[0]}-{kind}.npy, or unpacked IDX, got {got}"
        )
    return found[0]


def own_rows(count: int, batch_size: int, rank: int, ranks: int) -> slice:
    """The rows that a rank alone reads: as many as its part of all batches."""
    first, end = (count * (batch_size * r // ranks) // batch_size for r in (rank, rank + 1))
    return slice(first, end)


def own_parts(
    rng: np.random.Generator,
    split: fnnet.Split,
    batch_size: int,
    rank: int,
    ranks: int,
    dtype: np.dtype[np.floating[Any]],
    *,
    memory: int | None = None,
) -> Iterator[Part]:
    """Of every batch of an epoch, what a rank contributes from the rows that it alone reads.

    Each rank shuffles its rows as `fnnet.batches` does, exactly or with a bound of memory; so a
    batch has as many rows from each rank, in every epoch. The generator, the same on all ranks,
    advances by one integer.

    Yields
    ------
    x, y : rows of the rank, perhaps none, as inputs in this dtype, and their labels
    share : the part of the batch that they are
    """
    own = split[own_rows(len(split), batch_size, rank, ranks)]
    size = batch_size * (rank + 1) // ranks - batch_size * rank // ranks
    seed = np.random.default_rng([int(rng.integers(2**63)), rank])
    found = fnnet.batches(seed, own, size, dtype, memory=memory) if len(own) else iter(())
    none = fnnet.as_inputs(split[:0], dtype), split.y[:0]
    for start in range(0, len(split), batch_size):
        x, y = next(found, none)
        yield x, y, len(x) / min(batch_size, len(split) - start)
