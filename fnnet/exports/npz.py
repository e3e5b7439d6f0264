"""Arrays for NumPy, in float32, float16 or int8. The page of `fnnet.exports` has their reader."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

from fnnet.checks import one_of
from fnnet.exports.subject import About, facts, in_range, quantized
from fnnet.params import Params

NUMBERS = ("float32", "float16", "int8")


def as_npz(
    params: Params, *, numbers: str = "float32", about: About | None = None
) -> dict[str, npt.NDArray[Any]]:
    """A network as named arrays, for `numpy.savez`.

    Parameters
    ----------
    params : one network, with an activation of fnnet's
    numbers : "float32"; "float16", half the bytes; or "int8", a quarter: weights are then whole
        numbers in [-127, 127] times one scale for each output, and biases stay float32
    about : what it was trained on

    Returns
    -------
    arrays : ``w1`` (inputs, outputs), ``b1`` (outputs,), for int8 ``s1`` (outputs,), and so on for
        each layer; ``about``, a text of JSON: data set, classes, divisor, activation, output

    Raises
    ------
    TypeError, ValueError
        If params are no finite network, an ensemble, or too large for the numbers, or the
        activation is one of your own.

    Examples
    --------
    >>> from fnnet import init_params
    >>> sorted(as_npz(init_params(0, (3, 2)), numbers="int8"))
    ['about', 'b1', 's1', 'w1']
    """
    one_of("numbers", numbers, NUMBERS)
    known = facts(params, about)
    text = {**known, "classes": json.loads(known["classes"]), "divisor": float(known["divisor"])}
    arrays: dict[str, npt.NDArray[Any]] = {"about": np.array(json.dumps(text))}
    for i, layer in enumerate(params.layers, 1):
        if numbers == "int8":
            arrays[f"w{i}"], arrays[f"s{i}"] = quantized(f"w{i}", layer.w)
            arrays[f"b{i}"] = in_range(f"b{i}", layer.b, np.float32)
        else:
            arrays[f"w{i}"] = in_range(f"w{i}", layer.w, numbers)
            arrays[f"b{i}"] = in_range(f"b{i}", layer.b, numbers)
    return arrays
