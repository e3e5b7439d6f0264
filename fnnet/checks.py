"""Checks of arguments: each error names the argument, what came and what was expected."""

from __future__ import annotations

import math
import operator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

# A string, because looking up numpy.random would import it.
Seed: TypeAlias = "np.random.Generator | np.random.SeedSequence | int"


def generator(rng: Seed) -> np.random.Generator:
    """The generator itself, or a new one from a seed; never one seeded by the system."""
    if isinstance(rng, np.random.Generator | np.random.SeedSequence):
        return np.random.default_rng(rng)
    try:
        return np.random.default_rng(whole_number("rng", rng, 0))
    except ValueError:
        error = ValueError if isinstance(rng, int) else TypeError
        message = f"rng must be a numpy.random.Generator or a seed >= 0, got {rng!r:.99}"
        raise error(message) from None


def whole_number(name: str, value: int, least: int) -> int:
    """The value as an int, if it is one and not below `least`."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least:
        raise ValueError(f"{name} must be a whole number >= {least}, got {value!r}")
    return number


def instance_of(kind: type, name: str, value: object) -> None:
    """Raise where a value is not of the type that it should be."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be of type {kind.__name__}, got {type(value).__name__}")


def is_number(value: Any) -> bool:
    """Whether a value is one finite real number: a scalar, or an array without axes."""
    if type(value) is float:
        return math.isfinite(value)
    kind = getattr(getattr(value, "dtype", None), "kind", None)
    real = isinstance(value, float | int) or (kind in ("f", "i", "u") and value.ndim == 0)
    try:
        return real and math.isfinite(value)
    except OverflowError:
        return False


def check_share(name: str, value: float) -> None:
    """Raise where a decay or a momentum lies outside [0, 1)."""
    if not (is_number(value) and 0 <= value < 1):
        raise ValueError(f"{name} must lie in [0, 1), got {value!r:.99}")


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


def float_dtype(dtype: npt.DTypeLike) -> np.dtype[np.floating[Any]]:
    """float32 or float64, in the machine's byte order."""
    for kind in (np.dtype(np.float32), np.dtype(np.float64)):
        try:
            if dtype is not None and np.dtype(dtype) == kind:
                return kind
        except TypeError:
            pass
    raise ValueError(f"dtype must be float32 or float64, got {dtype}")
