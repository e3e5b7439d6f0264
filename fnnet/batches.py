"""Labelled data and the minibatches of an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fnnet.network import Labels
from fnnet.trees import FloatArray

Images: TypeAlias = npt.NDArray[np.uint8]
Samples: TypeAlias = npt.NDArray[np.uint8] | FloatArray
IntArray: TypeAlias = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Samples and their labels; `len` counts them.

    Attributes
    ----------
    x : (N, ...) uint8 images (0 to 255), or float features
    y : (N,) int classes, or (N, K) float distributions
    """

    x: Samples
    y: Labels

    def __post_init__(self) -> None:
        if self.x.ndim < 2 or self.x.dtype.kind not in "uf" or self.x.dtype.itemsize == 0:
            raise ValueError(
                f"x must be (N, ...) uint8 images or floats, got {self.x.dtype} {self.x.shape}"
            )
        if self.x.dtype.kind == "u" and self.x.dtype != np.uint8:
            raise ValueError(f"images must be uint8, got {self.x.dtype}")
        if self.y.ndim not in (1, 2) or len(self.x) != len(self.y):
            raise ValueError(
                f"y must label each of the {len(self.x)} samples, got shape {self.y.shape}"
            )

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """A named data set in two splits.

    Attributes
    ----------
    name : as `load_dataset` takes it
    train, test : the publisher's splits
    classes : what each class is called, in the order of the labels
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]


def as_inputs(x: Samples, dtype: npt.DTypeLike = np.float32) -> FloatArray:
    """Samples as rows of a network's input: (N, ...) to (N, d); uint8 0..255 to floats in [0, 1].

    Parameters
    ----------
    x : (N, ...) uint8 images or float features
    dtype : float32 or float64

    Examples
    --------
    >>> as_inputs(np.array([[[0, 51], [204, 255]]], np.uint8), np.float64)
    array([[0. , 0.2, 0.8, 1. ]])
    """
    rows = x.reshape(len(x), -1)
    if rows.dtype != np.uint8:
        return rows.astype(dtype, copy=False)
    floats: FloatArray = rows.astype(dtype)
    floats /= 255
    return floats


def batches(
    rng: np.random.Generator | int,
    split: Split,
    batch_size: int,
    dtype: npt.DTypeLike = np.float32,
) -> Iterator[tuple[FloatArray, Labels]]:
    """One epoch of shuffled minibatches; the last one is short where the size does not divide.

    Parameters
    ----------
    rng : generator, which advances by one permutation, or a seed
    split : the data; images stay uint8 and become floats batch by batch
    batch_size : samples in a batch, >= 1
    dtype : of the inputs yielded

    Yields
    ------
    x : (B, d) floats, images scaled to [0, 1]
    y : the labels of these rows, as in the split

    Raises
    ------
    ValueError
        If `batch_size` is below 1 or the split is empty.

    Examples
    --------
    >>> split = Split(np.zeros((5, 2, 2), np.uint8), np.arange(5))
    >>> [len(x) for x, y in batches(0, split, 2)]
    [2, 2, 1]
    """
    check_batches(split, batch_size)
    order = np.random.default_rng(rng).permutation(len(split))
    return _gather(split, order, batch_size, dtype)


def _gather(
    split: Split, order: IntArray, batch_size: int, dtype: npt.DTypeLike
) -> Iterator[tuple[FloatArray, Labels]]:
    x = split.x.reshape(len(split), -1)
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        yield as_inputs(x.take(rows, axis=0), dtype), split.y.take(rows, axis=0)


def check_batches(split: Split, batch_size: int) -> None:
    """Raise where a split cannot be cut into batches of this size."""
    if batch_size != int(batch_size) or batch_size < 1:
        raise ValueError(f"batch_size must be a whole number >= 1, got {batch_size}")
    if len(split) == 0:
        raise ValueError("the split has no samples")


def hold_out(rng: np.random.Generator | int, split: Split, n: int) -> tuple[Split, Split]:
    """Split off n random samples for validation: (the rest, the n held out).

    Raises
    ------
    ValueError
        If n is not in [1, len(split)).
    """
    if not 1 <= n < len(split):
        raise ValueError(f"n must be in [1, {len(split)}), got {n}")
    order = np.random.default_rng(rng).permutation(len(split))
    kept, held = order[n:], order[:n]
    return Split(split.x[kept], split.y[kept]), Split(split.x[held], split.y[held])
