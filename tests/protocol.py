"""An array that speaks NumPy's protocols as CuPy's arrays do, and tells on whoever leaves them.

It is no subclass of `numpy.ndarray`, cannot be converted to one, and mixes with scalars alone: what
works on it works without touching NumPy's memory, as on a device.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

CALLS: list[str] = []  # names of the functions that came through the protocols
LEFT: list[str] = []  # attempts to leave them, those included whose error was caught


class DeviceArray(np.lib.mixins.NDArrayOperatorsMixin):
    """A NumPy array behind glass."""

    def __init__(self, host: Any) -> None:
        self._host = np.asarray(host)

    # The protocols

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        LEFT.append("__array__")
        raise TypeError("converted to NumPy behind its back")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        CALLS.append(ufunc.__name__)
        out = kwargs.pop("out", None)
        if out is not None:
            kwargs["out"] = tuple(_host(array) for array in out)
        result = getattr(ufunc, method)(*map(_host, inputs), **kwargs)
        return _device(result) if out is None else out[0]

    def __array_function__(
        self, function: Callable[..., Any], types: Iterable[type], args: Any, kwargs: Any
    ) -> Any:
        CALLS.append(function.__name__)
        if any(not issubclass(kind, DeviceArray) for kind in types):
            LEFT.append(function.__name__)
            return NotImplemented
        if function is np.asarray and type(args[0]) is np.ndarray:  # sent to the device: like=...
            return DeviceArray(args[0].copy())
        out = kwargs.get("out")
        result = function(*_unwrap(args), **_unwrap(kwargs))
        return out if out is not None else _device(result)

    # What CuPy's arrays have

    dtype = property(operator.attrgetter("_host.dtype"))
    shape = property(operator.attrgetter("_host.shape"))
    ndim = property(operator.attrgetter("_host.ndim"))
    size = property(operator.attrgetter("_host.size"))
    itemsize = property(operator.attrgetter("_host.itemsize"))

    @property
    def T(self) -> DeviceArray:
        return DeviceArray(self._host.T)

    @property
    def mT(self) -> DeviceArray:
        return DeviceArray(np.swapaxes(self._host, -1, -2))

    def __len__(self) -> int:
        return len(self._host)

    def __float__(self) -> float:
        return float(self._host)

    def __bool__(self) -> bool:
        return bool(self._host)

    def __getitem__(self, key: Any) -> DeviceArray:
        return DeviceArray(self._host[_unwrap(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        self._host[_unwrap(key)] = _host(value)

    def get(self) -> Any:
        """The only way back to NumPy, as in CuPy."""
        return self._host.copy()


def _method(name: str) -> Callable[..., Any]:
    def call(self: DeviceArray, *args: Any, **kwargs: Any) -> Any:
        CALLS.append(name)
        return _device(getattr(self._host, name)(*_unwrap(args), **_unwrap(kwargs)))

    return call


for _name in (
    *("argmax", "astype", "clip", "copy", "max", "min", "ravel", "repeat", "reshape", "sum"),
    *("swapaxes", "take", "transpose", "view"),
):
    setattr(DeviceArray, _name, _method(_name))


def _device(value: Any) -> Any:
    return DeviceArray(value) if isinstance(value, np.ndarray | np.generic) else value


def _host(value: Any) -> Any:
    if isinstance(value, DeviceArray):
        return value._host
    if isinstance(value, np.ndarray) and value.ndim:
        LEFT.append("mixed")
        raise TypeError("a device's array mixed with NumPy's")
    return value


def _unwrap(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return type(value)(_unwrap(item) for item in value)
    if isinstance(value, dict):
        return {key: _unwrap(item) for key, item in value.items()}
    return _host(value)
