"""Checks of plain values: each error names the argument, what came and what was expected."""

from __future__ import annotations

import math
import operator
from collections.abc import Collection
from typing import Any, TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.floating[Any]]

# A decorator: what is too small for a float is zero and no fault, whatever the caller's errstate.
underflow_is_zero: np.errstate = np.errstate(under="ignore")


def whole_number(name: str, value: int, least: int) -> int:
    """The value as an int, if it is one and not below `least`."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least:
        raise ValueError(f"{name} must be a whole number >= {least}, got {value!r:.99}")
    return number


def instance_of(kind: type, name: str, value: object, remedy: str = "") -> None:
    """Raise where a value is not of the expected type; the message ends with what to write."""
    if not isinstance(value, kind):
        hint = f": write {remedy}" if remedy else ""
        raise TypeError(f"{name} must be of type {kind.__name__}, got {type(value).__name__}{hint}")


def is_number(value: Any) -> bool:
    """Whether a value is one finite real number: a scalar, or an array without axes."""
    if type(value) is float:
        return math.isfinite(value)
    kind = getattr(getattr(value, "dtype", None), "kind", None)
    real = isinstance(value, float | int) or (kind in ("f", "i", "u") and value.ndim == 0)
    if isinstance(value, np.ma.MaskedArray):
        return False
    try:
        return real and math.isfinite(value)
    except OverflowError:
        return False


def check_share(name: str, value: float) -> float:
    """The value as a float, if it lies in [0, 1)."""
    if not (is_number(value) and 0 <= value < 1):
        raise ValueError(f"{name} must lie in [0, 1), got {value!r:.99}")
    return float(value)


def check_not_negative(name: str, value: float) -> float:
    """The value as a float, if it is a finite number >= 0."""
    if not (is_number(value) and value >= 0):
        raise ValueError(f"{name} must be a finite number >= 0, got {value!r:.99}")
    return float(value)


def flag(name: str, value: bool) -> bool:
    """The value as a bool, if it is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r:.99}")
    return bool(value)


def one_of(name: str, value: object, known: Collection[str]) -> None:
    """Raise where a value is none of the names that it may be."""
    if not isinstance(value, str) or value not in known:
        names = ", ".join(map(repr, known))
        raise ValueError(f"{name} must be one of {names}, got {value!r:.99}")


def float_dtype(dtype: npt.DTypeLike) -> np.dtype[np.floating[Any]]:
    """float32 or float64, in the machine's byte order."""
    for kind in (np.dtype(np.float32), np.dtype(np.float64)):
        try:
            if dtype is not None and np.dtype(dtype) == kind:
                return kind
        except TypeError:
            pass
    raise ValueError(f"dtype must be float32 or float64, got {dtype!s:.99}")


def is_array(value: object) -> TypeGuard[FloatArray]:
    """Whether a value is a NumPy array or speaks NumPy's protocols (CuPy's arrays, for one)."""
    return type(value) is np.ndarray or (
        hasattr(value, "__array_function__") and hasattr(value, "shape")
    )


def as_array(name: str, value: Any) -> npt.NDArray[Any]:
    """A value as an array; arrays come back as they are, but for `np.matrix`, whose * differs.

    Raises
    ------
    TypeError
        If it is masked: its masked values would be used.
    ValueError
        If it is a list whose rows differ in length.
    """
    if type(value) is np.ndarray:
        return value
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must not be a masked array: fill it, or leave masked rows out")
    if is_array(value) and not isinstance(value, np.matrix):
        return value
    try:
        array = np.asarray(value)
        if array.dtype == object:  # perhaps a table with columns of numbers and of bools
            numbers = np.array(array.tolist())
            array = numbers if numbers.dtype.kind in "fiub" else array
        return array
    except (TypeError, ValueError) as error:
        if "inhomogeneous" in str(error):
            raise ValueError(f"{name} must be an array: its rows differ in length") from None
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name} must be an array: {error!s:.99}") from None


def described(array: object) -> str:
    """An array in a few letters, as in Equinox: ``f32[784,128]``."""
    if not is_array(array):
        return f"{array!r:.60}"
    sizes = ",".join(map(str, array.shape))
    return f"{array.dtype.kind}{8 * array.dtype.itemsize}[{sizes}]"
