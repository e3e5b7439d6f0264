"""Labels: classes, probabilities or numbers, as the rows Y that the equations want."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fnnet.checks import FloatArray, array_of

Labels: TypeAlias = npt.NDArray[np.integer[Any]] | npt.NDArray[np.floating[Any]]

ROW_SUM_TOLERANCE = 1e-3  # how far from 1 a row of probabilities in half precision may add up
ENCODE = "write `classes, y = np.unique(y, return_inverse=True)`"


def label_rows(
    output: str, y: npt.ArrayLike, shape: tuple[int, ...], like: FloatArray
) -> FloatArray:
    """Labels as rows (..., N, K) of `like`'s kind and dtype, in the domain of an output.

    Parameters
    ----------
    output : name of the output
    y : as `loss` takes them
    shape : of the logits
    like : an array of the kind and dtype to return

    Raises
    ------
    TypeError, ValueError
        As `loss`.
    """
    values = array_of("y", y)
    if output == "softmax" and values.dtype.kind in "iu" and values.shape == shape[-2:-1]:
        return _one_hot(values, shape, like)
    if values.dtype.kind in "OSUT":
        raise TypeError(f"y must be an array of numbers, got {values.dtype}: {ENCODE}")
    if values.dtype.kind not in "fiub":
        raise TypeError(f"y must be an array of ints or floats, got dtype {values.dtype}")
    if values.shape == (shape[-2], 1) and shape[-1] > 1:
        values = values[:, 0]
    if output != "softmax":
        return _values(output, values, shape).astype(like.dtype, copy=False)
    known = _are_classes(values, shape)
    return _one_hot(values, shape, like) if known else _distributions(values, shape, like)


def _are_classes(y: Labels, shape: tuple[int, ...]) -> bool:
    return y.dtype.kind != "f" and (
        y.ndim < 2 or y.shape == shape[:-1] or y.shape[-1:] != shape[-1:]
    )


def _one_hot(y: Labels, shape: tuple[int, ...], like: FloatArray) -> FloatArray:
    n, k = shape[-2:]
    if y.shape not in ((n,), shape[:-1]):
        raise ValueError(f"y must hold {n} classes, shape ({n},), got shape {y.shape}")
    numbers = _numbers(k) if type(y) is np.ndarray else np.arange(k, like=y)[:, None]
    columns = numbers == (y if y.ndim == 1 else y[..., None, :])
    rows: FloatArray = columns.astype(like.dtype).swapaxes(-1, -2)
    if np.count_nonzero(columns) != y.size:  # a label that no column has
        raise ValueError(f"y must hold classes in [0, {k}), got values from {y.min()} to {y.max()}")
    return rows


@lru_cache(maxsize=16)
def _numbers(k: int) -> npt.NDArray[np.integer[Any]]:
    """Numbers of classes, as a column."""
    numbers = np.arange(k)[:, None]
    numbers.setflags(write=False)
    return numbers


def _distributions(y: Labels, shape: tuple[int, ...], like: FloatArray) -> FloatArray:
    n, k = shape[-2:]
    if y.shape not in ((n, k), shape):
        hint = ": classes are whole numbers, write y.astype(int)" if y.shape == (n,) else ""
        raise ValueError(f"y as distributions must have shape ({n}, {k}), got {y.shape}{hint}")
    total = y.sum(axis=-1, keepdims=True)
    no_nan("y", y)
    if not (np.all(y >= 0) and np.all(np.abs(total - 1) <= ROW_SUM_TOLERANCE)):
        raise ValueError("each row of y must be a distribution: no negatives, a sum of 1")
    rows: FloatArray = y.astype(like.dtype, copy=False)
    rows = rows / rows.sum(axis=-1, keepdims=True)
    return rows


def _values(output: str, y: Labels, shape: tuple[int, ...]) -> Labels:
    n, k = shape[-2:]
    if k == 1 and y.shape in ((n,), shape[:-1]):
        y = y[..., None]
    if y.shape not in ((n, k), shape):
        alone = f" or ({n},)" if k == 1 else ""
        raise ValueError(
            f"y for the output {output!r} must have shape ({n}, {k}){alone}, got {y.shape}"
        )
    no_nan("y", y)
    if output == "sigmoid" and not bool(np.all((y >= 0) & (y <= 1))):
        raise ValueError(
            "y for the output 'sigmoid' must hold 0, 1 or probabilities between them, got values "
            f"from {y.min()} to {y.max()}"
        )
    if output == "identity" and not bool(np.all(np.isfinite(y))):
        raise ValueError("y for the output 'identity' must be finite, got infinite numbers")
    return y


def no_nan(name: str, values: npt.NDArray[Any], first: int = 0) -> None:
    """Raise where a number is missing, naming its place; `first` is added to the row's number."""
    place = _nan_in(values, first)
    if place is not None:
        raise ValueError(f"{name} must hold numbers, got NaN in {place}")


def _nan_in(values: npt.NDArray[Any], first: int = 0) -> str | None:
    if values.dtype.kind != "f" or not bool(np.any(np.isnan(values))):
        return None
    row, *column = (int(places[0]) for places in np.nonzero(np.isnan(values)))
    return f"row {first + row}" + (f", column {column[-1]}" if column else "")


def nan_in_data(x: npt.NDArray[Any], y: npt.NDArray[Any]) -> str | None:
    """Where a data set holds its first NaN, in words; None where there is none."""
    for name, values in (("x", x), ("y", y)):
        for start in range(0, len(values), 2**16):
            place = _nan_in(values[start : start + 2**16], start)
            if place is not None:
                return f"{name} of the data is NaN in {place}"
    return None
