"""Labelled data and the minibatches of an epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from fnnet.arguments import Weights
from fnnet.checks import (
    FloatArray,
    as_array,
    described,
    flag,
    float_dtype,
    instance_of,
    is_array,
    is_number,
    whole_number,
)
from fnnet.labels import ENCODE, Labels
from fnnet.randomness import Seed, generator

Images: TypeAlias = npt.NDArray[np.uint8]
IntArray: TypeAlias = npt.NDArray[np.integer[Any]]
Samples: TypeAlias = IntArray | FloatArray | npt.NDArray[np.bool_]

BYTE = 255.0  # what the bytes of an image are divided by
TABLE = "Split(x, y, divisor=255) for images, Split(x, y, divisor=1) for plain numbers"
BLOCKS = 64  # runs of rows that a buffer is filled with, each read in one go


@dataclass(frozen=True, slots=True, eq=False, repr=False, init=False)
class Split:
    """Samples and their labels; `len` counts them, and ``split[:10]`` is a smaller split.

    Attributes
    ----------
    x : (N, ...) uint8 images, or (N, d) features: floats, ints or bools. Lists and data frames
        become arrays; arrays are kept as they are, memory-mapped ones too
    y : (N,) int classes, (N, K) distributions, (N, K) zeros and ones, or (N,) or (N, K) numbers,
        as the network's output wants them; (N, 1) counts as (N,)
    weights : (N,) numbers >= 0, how much each sample counts; None where all count alike
    divisor : what x is divided by on its way into a network. Without one it is 255 for uint8 images
        (three or four axes) and 1 for all else; a table of bytes, which may be either, needs one
    """

    x: Samples
    y: Labels
    weights: Weights | None
    divisor: float

    def __init__(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        weights: npt.ArrayLike | None = None,
        divisor: float | None = None,
    ) -> None:
        samples, labels = _samples(x), _labels(y)
        if len(samples) != len(labels):
            raise ValueError(
                f"y must label each of the {len(samples)} samples, got shape {labels.shape}"
            )
        s = None if weights is None else _weights(weights, len(samples))
        put = object.__setattr__
        put(self, "x", samples)
        put(self, "y", labels)
        put(self, "weights", s)
        put(self, "divisor", _divisor(samples, divisor, TABLE))

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: slice | IntArray | list[int]) -> Split:
        if isinstance(rows, list):
            rows = np.array(rows, None if rows else np.intp)
        if not isinstance(rows, slice) and not (is_array(rows) and rows.ndim == 1):
            raise TypeError(
                f"a split is indexed by a slice, a list or an array of rows, got {rows!r:.60}: "
                "write split[3:4] for one sample, split[[3, 5]] for several"
            )
        weights = None if self.weights is None else self.weights[rows]
        return _unchecked(self.x[rows], self.y[rows], weights, self.divisor)

    if not TYPE_CHECKING:  # a type checker would take a split for an array

        def __array__(self, dtype=None, copy=None):
            raise TypeError(
                "a Split holds two: write as_inputs(split) for inputs, split.y for labels"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        # Arrays forget in a pickle that they are read-only.
        arrays = (self.x, self.y, self.weights)
        return _restored, (*arrays, self.divisor, [a is None or a.flags.writeable for a in arrays])

    def __repr__(self) -> str:
        weights = "" if self.weights is None else ", weighted"
        parts = f"{described(self.x)}, labels {described(self.y)}{weights}"
        return f"Split({len(self):,} samples, {parts})"


def _restored(
    x: Samples, y: Labels, weights: Weights | None, divisor: float, writeable: list[bool]
) -> Split:
    for array, free in zip((x, y, weights), writeable, strict=True):
        if array is not None and not free:
            array.setflags(write=False)
    return _unchecked(x, y, weights, divisor)


def _unchecked(x: Samples, y: Labels, weights: Weights | None, divisor: float) -> Split:
    """A split of parts that have been checked; the weights of some rows may all be zero."""
    part = object.__new__(Split)
    for name, value in (("x", x), ("y", y), ("weights", weights), ("divisor", divisor)):
        object.__setattr__(part, name, value)
    return part


@dataclass(frozen=True, slots=True, eq=False, repr=False)
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

    def __repr__(self) -> str:
        counts = f"{len(self.train):,} to train, {len(self.test):,} to test"
        return f"Dataset({self.name}, {counts}, {len(self.classes)} classes)"


def as_inputs(x: Split | npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> FloatArray:
    """Samples as rows of a network's input: (N, ...) to (N, d) floats, divided by their divisor.

    Parameters
    ----------
    x : a split, or (N, ...) uint8 images (0..255 become 0..1), or features
    dtype : float32 or float64

    Returns
    -------
    inputs : (N, d) array of this dtype; a view where nothing has to be converted

    Raises
    ------
    TypeError, ValueError
        As `Split`, or if `dtype` is another.

    Examples
    --------
    >>> as_inputs(np.array([[[0, 51], [204, 255]]], np.uint8), np.float64)
    array([[0. , 0.2, 0.8, 1. ]])
    """
    kind = float_dtype(dtype)
    if isinstance(x, Split):
        return scaled(x.x, x.divisor, kind)
    samples = _samples(x)
    remedy = "x[None] for one image, x / 255 for rows of images, x.astype(float) for plain numbers"
    return scaled(samples, _divisor(samples, None, remedy), kind)


def scaled(x: npt.NDArray[Any], divisor: float, dtype: np.dtype[np.floating[Any]]) -> FloatArray:
    """Samples as rows of floats, divided; a view where nothing is to be done."""
    rows = x.reshape(len(x), math.prod(x.shape[1:]))
    floats: FloatArray = rows.astype(dtype, copy=False)
    if divisor == 1:
        return floats
    if floats is rows:
        return floats / divisor
    floats /= divisor
    return floats


def batches(
    rng: Seed,
    split: Split,
    batch_size: int,
    dtype: npt.DTypeLike = np.float32,
    *,
    memory: int | None = None,
) -> Iterator[tuple[FloatArray, Labels]]:
    """One epoch of shuffled minibatches; the last one is short where the size does not divide.

    Parameters
    ----------
    rng : generator, which advances by one permutation, or a seed
    split : the data; images stay uint8 and become floats batch by batch
    batch_size : samples in a batch, >= 1
    dtype : of the inputs yielded
    memory : bytes of samples to hold at once, for memory-mapped data that are larger. Without it an
        epoch is one permutation of all rows, which a disk reads row by row. With it the rows are
        cut into runs, 64 of which fill this memory. The runs come in random order, 64 at a time,
        and the rows of these 64 are shuffled among each other. Each row comes once, but rows of one
        run stay close together: shuffle data that are sorted by class once on the disk. Where all
        rows fit into this memory the shuffle is exact. The generator advances by one permutation of
        the runs, and by one more whenever the memory has been filled

    Yields
    ------
    x : (B, d) floats, divided by the split's divisor
    y : the labels of these rows, as in the split

    Raises
    ------
    TypeError
        If `split` is no `Split`, or `rng` is neither a generator nor a seed.
    ValueError
        If `batch_size` is below 1, the split is empty, or `dtype` or `memory` is out of range.

    Examples
    --------
    >>> split = Split(np.zeros((5, 2, 2), np.uint8), np.arange(5))
    >>> [len(x) for x, y in batches(0, split, 2)]
    [2, 2, 1]
    """
    check_batches(split, batch_size)
    rows = shuffled(generator(rng), split, batch_size, float_dtype(dtype), memory)
    return ((x, y) for x, y, _ in rows)


def weighted_batches(
    rng: Seed,
    split: Split,
    batch_size: int,
    dtype: npt.DTypeLike = np.float32,
    *,
    memory: int | None = None,
) -> Iterator[tuple[FloatArray, Labels, Weights]]:
    """As `batches`, with the weights of the rows: the same batches of the same generator.

    Parameters
    ----------
    rng, split, batch_size, dtype, memory : as `batches`; a split without weights has ones

    Yields
    ------
    x, y : as `batches`
    s : (B,) weights

    Raises
    ------
    TypeError, ValueError
        As `batches`.

    Examples
    --------
    >>> split = Split(np.zeros((3, 2)), np.arange(3), weights=np.array([1.0, 2.0, 2.0]))
    >>> sorted(float(s[0]) for x, y, s in weighted_batches(0, split, 1))
    [1.0, 2.0, 2.0]
    """
    check_batches(split, batch_size)
    kind = float_dtype(dtype)
    rows = shuffled(generator(rng), split, batch_size, kind, memory)
    return ((x, y, np.ones(len(x), kind) if s is None else s) for x, y, s in rows)


def shuffled(
    rng: np.random.Generator,
    split: Split,
    batch_size: int,
    dtype: np.dtype[np.floating[Any]],
    memory: int | None,
) -> Iterator[tuple[FloatArray, Labels, Weights | None]]:
    """An epoch of batches: in one permutation of all rows, or with a bound of memory."""
    if memory is None:
        return gather(split, rng.permutation(len(split)), batch_size, dtype)
    return _buffered(rng, split, batch_size, dtype, whole_number("memory", memory, 1))


def _buffered(
    rng: np.random.Generator,
    split: Split,
    batch_size: int,
    dtype: np.dtype[np.floating[Any]],
    memory: int,
) -> Iterator[tuple[FloatArray, Labels, Weights | None]]:
    arrays = [a for a in (split.x, split.y, split.weights) if a is not None]
    rows = max(1, memory // max(1, sum(a[:1].nbytes for a in arrays)))
    rows = min(rows, BLOCKS * len(split))  # a run is then all there is
    size = max(1, rows // BLOCKS)
    starts, count = rng.permutation(math.ceil(len(split) / size)) * size, max(1, rows // size)
    rest = split[:0]
    for i in range(0, len(starts), count):
        buffer = _joined([rest, *(split[a : a + size] for a in starts[i : i + count].tolist())])
        order = rng.permutation(len(buffer))
        last = i + count >= len(starts)
        whole = len(order) if last else len(order) // batch_size * batch_size
        yield from gather(buffer, order[:whole], batch_size, dtype)
        rest = buffer[order[whole:]]  # a copy: the next batch begins with these
        del buffer  # before the next is filled


def _joined(parts: list[Split]) -> Split:
    """Splits one after another, in memory."""
    weights = [part.weights for part in parts if part.weights is not None]
    return _unchecked(
        np.concatenate([part.x for part in parts]),
        np.concatenate([part.y for part in parts]),
        cast(Weights, np.concatenate(weights)) if weights else None,
        parts[0].divisor,
    )


def gather(
    split: Split, order: IntArray, batch_size: int, dtype: np.dtype[np.floating[Any]]
) -> Iterator[tuple[FloatArray, Labels, Weights | None]]:
    """Batches in this order: inputs, labels, and weights where the split has any."""
    x, y, weights = np.asarray(split.x), split.y, split.weights
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        # `take` is faster, but copies all of an array of another layout than C's.
        picked = x.take(rows, axis=0) if x.flags.c_contiguous else x[rows]
        s = None if weights is None else weights.take(rows)
        yield scaled(picked, split.divisor, dtype), y.take(rows, axis=0), s


def check_batches(split: Split, batch_size: int, name: str = "split") -> None:
    """Raise where a split cannot be cut into batches of this size."""
    _check_type(name, split)
    whole_number("batch_size", batch_size, 1)
    if len(split) == 0:
        raise ValueError("the split has no samples")


def _check_type(name: str, split: object) -> None:
    """Raise where a value is no split."""
    parts = f"data.{name}" if name in ("train", "test") else "data.train or data.test"
    instance_of(Split, name, split, parts if isinstance(split, Dataset) else "Split(x, y)")


def hold_out(rng: Seed, split: Split, n: int, *, stratify: bool = False) -> tuple[Split, Split]:
    """Split off n random samples for validation.

    Parameters
    ----------
    rng : generator, which advances by one permutation, or a seed
    split : the data
    n : samples to hold out, in [1, len(split))
    stratify : whether to hold out each class in proportion (to within one sample); needs (N,) int
        classes

    Returns
    -------
    rest, held_out : two splits, each with copies of its samples

    Raises
    ------
    ValueError
        If n is out of range, the seed below 0, or `stratify` has no classes to go by.
    TypeError
        If `split` is no `Split`, or `rng` is neither a generator nor a seed.

    Examples
    --------
    >>> split = Split(np.zeros((6, 2)), np.array([0, 0, 0, 0, 1, 1]))
    >>> rest, held_out = hold_out(0, split, 3, stratify=True)
    >>> sorted(held_out.y.tolist())
    [0, 0, 1]
    """
    _check_type("split", split)
    if isinstance(n, float) and 0 < n < 1:
        raise ValueError(f"n must be a number of samples, got {n}: write round({n} * len(split))")
    if whole_number("n", n, 1) >= len(split):
        raise ValueError(f"n must be below the {len(split)} samples of the split, got {n}")
    order = generator(rng).permutation(len(split))
    if flag("stratify", stratify):
        order = _by_class(split.y, order, n)
    return split[order[n:]], split[order[:n]]


def _by_class(y: Labels, order: npt.NDArray[np.intp], n: int) -> npt.NDArray[np.intp]:
    """The order, rearranged so that its first n have every class in proportion."""
    if y.ndim != 1 or y.dtype.kind not in "iub":
        raise ValueError(f"stratify needs (N,) int classes, got {y.dtype} {y.shape}")
    shuffled = y[order]
    _, seen, kinds, counts = np.unique(
        shuffled, return_index=True, return_inverse=True, return_counts=True
    )
    take, rest = np.divmod(counts * n, len(y))
    # What is left goes to the largest remainders, to equal ones by chance: as they were drawn.
    take[np.lexsort((seen, -rest))[: n - int(take.sum())]] += 1
    rank = np.empty(len(y), np.intp)
    by_kind = np.argsort(kinds, kind="stable")
    rank[by_kind] = np.arange(len(y)) - np.repeat(np.cumsum(counts) - counts, counts)
    return order[np.argsort(rank >= take[kinds], kind="stable")]


def class_weights(y: npt.ArrayLike, classes: int) -> FloatArray:
    """Weights of samples by which every class counts alike: N / (K n_c) for a class of n_c.

    scikit-learn's ``class_weight="balanced"``; here one weight for each sample, as `Split` and
    `loss` take them.

    Parameters
    ----------
    y : (N,) int classes in [0, K)
    classes : number of classes, K

    Returns
    -------
    weights : (N,) float64 array, whose mean is 1 where no class is absent

    Raises
    ------
    TypeError, ValueError
        If y is not (N,) classes in [0, K).

    Examples
    --------
    >>> class_weights(np.array([0, 0, 0, 1]), 2)
    array([0.66666667, 0.66666667, 0.66666667, 2.        ])
    """
    whole_number("classes", classes, 1)
    labels = _labels(y)
    if labels.ndim != 1 or labels.dtype.kind not in "iub" or labels.size == 0:
        raise ValueError(f"y must be (N,) int classes, got {labels.dtype} {labels.shape}")
    if labels.min() < 0 or labels.max() >= classes:
        got = f"{labels.min()} to {labels.max()}"
        raise ValueError(f"y must hold classes in [0, {classes}), got {got}")
    labels = labels.astype(np.intp)
    weights: FloatArray = len(labels) / classes / np.bincount(labels)[labels]
    return weights


def _samples(x: Any) -> Samples:
    x = as_array("x", x)
    if x.dtype.kind not in "fiub":
        raise TypeError(f"x must hold numbers, got {x.dtype}: encode words as numbers first")
    if x.ndim < 2:
        raise ValueError(f"x must be (N, ...) images or (N, d) features, got shape {x.shape}")
    return cast(Samples, x)


def _labels(y: Any) -> Labels:
    y = as_array("y", y)
    if y.dtype.kind in "OSUT":
        raise TypeError(f"y must hold numbers, got {y.dtype}: {ENCODE}")
    if y.dtype.kind not in "fiub" or y.ndim not in (1, 2):
        raise TypeError(f"y must be (N,) or (N, K) numbers, got {y.dtype} {y.shape}")
    return cast(Labels, y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y)


def _divisor(x: Samples, divisor: float | None, remedy: str) -> float:
    if divisor is None:
        if x.dtype == np.uint8 and x.ndim == 2 and x.size:
            raise ValueError(
                "x must not be a table of bytes, which may be images or plain numbers: "
                f"write {remedy}"
            )
        return BYTE if x.dtype == np.uint8 and x.ndim in (3, 4) else 1.0
    if not (is_number(divisor) and divisor > 0):
        raise ValueError(f"divisor must be a finite number > 0, got {divisor!r:.99}")
    return float(divisor)


def _weights(weights: Any, n: int) -> Weights:
    weights = as_array("weights", weights)
    if weights.dtype.kind not in "fiub" or weights.shape != (n,):
        raise ValueError(
            f"weights must be ({n},) numbers >= 0, got {weights.dtype} {weights.shape}"
        )
    if not bool(np.all(np.isfinite(weights) & (weights >= 0))):
        raise ValueError("weights must be finite and >= 0, got some that are not")
    if n and not bool(np.any(weights)):
        raise ValueError("weights must not all be zero")
    return cast(Weights, weights)
