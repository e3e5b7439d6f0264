"""Checks of plain values: each error names the argument, what came and what was expected."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Collection
from typing import Any, TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.floating[Any]]

LONGEST_AXIS = 2**48  # of an array that could be made: all that processors can address

# A decorator: what is too small for a float is zero and no fault, whatever the caller's errstate.
underflow_is_zero: np.errstate = np.errstate(under="ignore")


def whole_number(name: str, value: int, least: int, most: float = math.inf) -> int:
    """The value as an int, if it is one, not below `least` and not above `most`."""
    try:
        number = None if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:
        number = None
    if number is None or not least <= number <= most:
        bound = f" and <= {most}" if number is not None and number > most else ""
        raise ValueError(f"{name} must be a whole number >= {least}{bound}, got {value!r:.99}")
    return number


def function(name: str, value: object, remedy: str = "") -> None:
    """Raise where a value cannot be called; the message ends with what to write."""
    if not callable(value):
        hint = f": write {remedy}" if remedy else ""
        raise TypeError(f"{name} must be a function, got {value!r:.99}{hint}")


def items_of(name: str, value: Any, what: str) -> tuple[Any, ...]:
    """The items of a sequence or another iterable, text and files of bytes left out."""
    try:
        if isinstance(value, str | bytes | bytearray | memoryview):
            raise TypeError
        return tuple(value)
    except TypeError:
        raise TypeError(f"{name} must be a sequence of {what}, got {value!r:.99}") from None


def path_text(name: str, value: object) -> str:
    """A path as text, if it is one that a system can have; ``~`` stays as it is."""
    try:
        text = os.fsdecode(value)  # type: ignore[arg-type]  # it raises where it is another type
        os.fsencode(text)
    except TypeError:
        raise TypeError(f"{name} must be a path, a str or path-like, got {value!r:.99}") from None
    except UnicodeError:
        raise ValueError(f"{name} must be what a file can be called, got {value!r:.99}") from None
    if "\0" in text:
        raise ValueError(f"{name} must have no null character, got {value!r:.99}")
    return text


def instance_of(kind: type, name: str, value: object, remedy: str = "") -> None:
    """Raise where a value is not of the expected type; the message ends with what to write."""
    if not isinstance(value, kind):
        hint = f": write {remedy}" if remedy else ""
        raise TypeError(f"{name} must be of type {kind.__name__}, got {type(value).__name__}{hint}")


def is_number(value: Any) -> bool:
    """Whether a value is one finite real number: a scalar, no bool, or an array without axes."""
    if type(value) is float:
        return math.isfinite(value)
    kind = getattr(getattr(value, "dtype", None), "kind", None)
    number = isinstance(value, float | int) and not isinstance(value, bool)
    real = number or (kind in ("f", "i", "u") and value.ndim == 0)
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
            if isinstance(dtype, str | type | np.dtype) and np.dtype(dtype) == kind:
                return kind
        except (TypeError, ValueError):
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
    except MemoryError:
        raise
    except Exception as error:  # what another library's array says may be of any kind
        if "inhomogeneous" in str(error):
            raise ValueError(f"{name} must be an array: its rows differ in length") from None
        kind = ValueError if isinstance(error, ValueError) else TypeError
        raise kind(f"{name} must be an array: {error!s:.99}") from None


def array_of(name: str, value: Any) -> npt.NDArray[Any]:
    """As `as_array`, and an error that says more where JAX traces the value."""
    if type(value) is np.ndarray:
        return value
    not_traced(name, value)
    return as_array(name, value)


def not_traced(name: str, value: Any) -> None:
    """Raise where JAX traces a value."""
    if all(kind.__name__ != "Tracer" for kind in type(value).__mro__):
        return
    raise TypeError(
        f"{name} must not be a tracer of JAX, which cannot follow NumPy: write "
        "fnnet.grads(params, x, y), or fnnet.vjp(params, x, dz) for a loss of your own; with "
        "register_jax(), JAX differentiates what jax.numpy makes of params.layers"
    )


def described(array: object) -> str:
    """An array in a few letters, as in Equinox: ``f32[784,128]``."""
    if not is_array(array):
        return f"{array!r:.60}"
    sizes = ",".join(map(str, array.shape))
    return f"{array.dtype.kind}{8 * array.dtype.itemsize}[{sizes}]"
