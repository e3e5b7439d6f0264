"""Labelled data and the minibatches of an epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from fnnet.checks import Seed, float_dtype, generator, instance_of, whole_number
from fnnet.network import Labels
from fnnet.trees import FloatArray, as_array, is_array

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
        _check_samples(self.x)
        _check_array("y", self.y)
        if self.y.ndim not in (1, 2) or len(self.x) != len(self.y):
            raise ValueError(
                f"y must label each of the {len(self.x)} samples, got shape {self.y.shape}"
            )
        if (self.y.ndim, self.y.dtype.kind) not in ((1, "i"), (1, "u"), (2, "f")):
            raise TypeError(
                f"y must be (N,) int classes or (N, K) float distributions, "
                f"got {self.y.dtype} {self.y.shape}"
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
    kind = float_dtype(dtype)
    _check_samples(x)
    rows = _rows(x)
    if rows.dtype != np.uint8:
        return rows.astype(kind, copy=False)
    floats: FloatArray = rows.astype(kind)
    floats /= 255
    return floats


def batches(
    rng: Seed,
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
    order = generator(rng).permutation(len(split))
    return _gather(split, order, batch_size, float_dtype(dtype))


def _gather(
    split: Split, order: IntArray, batch_size: int, dtype: npt.DTypeLike
) -> Iterator[tuple[FloatArray, Labels]]:
    # Of another layout, take would copy all of it for each batch.
    x = cast(Samples, np.ascontiguousarray(_rows(split.x)))
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        yield as_inputs(x.take(rows, axis=0), dtype), split.y.take(rows, axis=0)


def check_batches(split: Split, batch_size: int) -> None:
    """Raise where a split cannot be cut into batches of this size."""
    instance_of(Split, "split", split)
    whole_number("batch_size", batch_size, 1)
    if len(split) == 0:
        raise ValueError("the split has no samples")


def hold_out(rng: Seed, split: Split, n: int) -> tuple[Split, Split]:
    """Split off n random samples for validation.

    Parameters
    ----------
    rng : generator, which advances by one permutation, or a seed
    split : the data
    n : samples to hold out, in [1, len(split))

    Returns
    -------
    rest, held_out : two splits, each with copies of its samples

    Raises
    ------
    ValueError
        If n is out of range or the seed below 0.
    TypeError
        If rng is neither a generator nor a seed.
    """
    instance_of(Split, "split", split)
    if whole_number("n", n, 1) >= len(split):
        raise ValueError(f"n must be below the {len(split)} samples of the split, got {n}")
    order = generator(rng).permutation(len(split))
    kept, held = order[n:], order[:n]
    return Split(split.x[kept], split.y[kept]), Split(split.x[held], split.y[held])


def _check_array(name: str, value: object) -> None:
    if not is_array(value):
        raise TypeError(f"{name} must be an array, got {type(value).__name__}")
    as_array(name, value)  # refuses masked ones


def _check_samples(x: Samples) -> None:
    _check_array("x", x)
    if x.dtype.kind == "u" and x.dtype != np.uint8:
        raise ValueError(f"x as images must be uint8, got {x.dtype}")
    if x.ndim < 2 or x.dtype.kind not in "uf":
        raise ValueError(f"x must be (N, ...) uint8 images or floats, got {x.dtype} {x.shape}")


def _rows(x: Samples) -> Samples:
    return x.reshape(len(x), math.prod(x.shape[1:]))
