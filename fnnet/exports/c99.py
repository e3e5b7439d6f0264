"""A network as C99: constant arrays and two functions, without malloc."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from fnnet.checks import flag
from fnnet.exports.subject import About, facts, form_of, in_range, quantized
from fnnet.params import Params, widths

IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
LINE = 96  # columns of the lines of constants
SHORT = 2**15 - 1  # the most that an int holds on the smallest machines
CALLS = ("tanhf", "expf", "erfcf")  # what needs math.h

# As `fnnet.activations` has them; a comparison that is false for NaN lets it through.
ACTIVATIONS = {
    "relu": "z < 0.0f ? 0.0f : z",
    "leaky_relu": "z < 0.0f ? 0.01f * z : z",
    "identity": "z",
    "tanh": "tanhf(z)",
    "sigmoid": "1.0f / (1.0f + expf(-z))",
    "silu": "z / (1.0f + expf(-z))",
    "gelu": "0.5f * z * erfcf(-0.70710678f * z)",
}

LAYER = """\
    for (int j = 0; j < {outputs}; j++) {z}[j] = 0.0f;
    for (int i = 0; i < {inputs}; i++) {{
        const {kind} *w = &{name}_w{i}[i * {outputs}{long}];
        const float xi = {x}[i];
        if (xi != 0.0f) /* many are: paper, units at rest */
            for (int j = 0; j < {outputs}; j++) {z}[j] += xi * {weight};
    }}
    for (int j = 0; j < {outputs}; j++) {z}[j] = {result};"""

CLASS = """\
{public}int {name}_class(const float *x)
{{
    float z[{k}];
    int best = 0;
    {name}_logits(x, z);
    for (int j = 1; j < {k}; j++)
        if (z[j] > z[best]) best = j;
    return best;
}}
"""

YES_OR_NO = """\
{public}int {name}_class(const float *x)
{{
    float z[1];
    {name}_logits(x, z);
    return z[0] > 0.0f;
}}
"""

LABELS = """\
{public}void {name}_labels(const float *x, int *labels)
{{
    float z[{k}];
    {name}_logits(x, z);
    for (int j = 0; j < {k}; j++) labels[j] = z[j] > 0.0f;
}}
"""


def as_c(
    params: Params,
    name: str,
    *,
    int8: bool = False,
    header: bool = False,
    about: About | None = None,
) -> str:
    """A network as C99 source, which includes nothing but math.h, and for ReLU not even that.

    ``void NAME_logits(const float *x, float *logits)`` computes the logits of one sample x, which
    is scaled as in training. With it comes, for the output "softmax", and for "sigmoid" with one
    logit, ``int NAME_class(const float *x)``; for "sigmoid" with more, ``void NAME_labels(const
    float *x, int *labels)``, zeros and ones. For "identity" the logits are the numbers.

    It computes in float, calls no allocator, keeps no state, and needs stack for its hidden units.

    Parameters
    ----------
    params : one network, with an activation of fnnet's
    name : what its names begin with: a letter, then letters, digits and underscores
    int8 : whether weights are bytes in [-127, 127] times one scale for each output
    header : whether it is for a header: functions are then ``static inline``, behind a guard
    about : what it was trained on; a comment has it

    Returns
    -------
    source : the text of a file

    Raises
    ------
    TypeError, ValueError
        If params are no finite network, an ensemble, or too large for float32, the activation is
        one of your own, or the name is none.

    Examples
    --------
    >>> from fnnet import init_params
    >>> "int tiny_class(const float *x)" in as_c(init_params(0, (3, 2)), "tiny")
    True
    """
    if not isinstance(name, str) or not IDENTIFIER.fullmatch(name):
        raise ValueError(
            f"name must be a letter, then letters, digits and underscores, got {name!r:.99}"
        )
    known = facts(params, about)
    int8, header = flag("int8", int8), flag("header", header)
    layers = _numbered(params, int8)
    form = form_of(known["activation"], ACTIVATIONS, "C")
    hidden = form if len(layers) > 1 else ""
    places = {
        "name": name,
        "k": widths(params)[-1],
        "static": "static inline " if header else "static ",
        "public": "static inline " if header else "",
    }
    parts = [_comment(params, known, int8)]
    parts += ["#include <math.h>\n"] * any(call in hidden for call in CALLS)
    parts += [_constant(f"{name}_{key}", array) for layer in layers for key, array in layer.items()]
    parts += [f"{places['static']}float {name}_f(float z) {{ return {hidden}; }}\n"] * bool(hidden)
    parts += [_logits(places, widths(params), int8), *_answer(places, params.output)]
    if header:
        guard = f"{name}_H"  # not in capitals: net.h and Net.h are two
        parts = [f"#ifndef {guard}\n#define {guard}\n", *parts, f"#endif /* {guard} */\n"]
    return "\n".join(parts)


def _numbered(params: Params, int8: bool) -> list[dict[str, npt.NDArray[Any]]]:
    """The constants of each layer by their names."""
    layers: list[dict[str, npt.NDArray[Any]]] = []
    for i, layer in enumerate(params.layers, 1):
        if int8:
            q, scale = quantized(f"w{i}", layer.w)
            layers.append({f"w{i}": q, f"s{i}": scale})
        else:
            layers.append({f"w{i}": in_range(f"w{i}", layer.w, np.float32)})
        layers[-1][f"b{i}"] = in_range(f"b{i}", layer.b, np.float32)
    return layers


def _comment(params: Params, known: dict[str, str], int8: bool) -> str:
    # JSON has no line breaks, and an escape for what would end the comment or begin another.
    data, names = json.dumps(known["dataset"]), known["classes"]
    text = f"""\
/* A feed-forward network, made by fnnet.
   layers: {"-".join(map(str, widths(params)))}, {known["activation"]}, {known["output"]}, \
{"int8" if int8 else "float"} weights
   inputs: divided by {float(known["divisor"]):g}
   data: {data}
   classes: {names}"""
    start, body = text[:2], text[2:]
    return f"{start}{body.replace('*', chr(92) + 'u002a')} */\n"


def _constant(name: str, array: npt.NDArray[Any]) -> str:
    kind = "signed char" if array.dtype == np.int8 else "float"
    mark = "" if array.dtype == np.int8 else "f"  # str of a float32 is the shortest that reads back
    words = [str(value) + mark for value in array.ravel()]
    lines = textwrap.fill(", ".join(words), LINE, break_long_words=False, break_on_hyphens=False)
    return f"static const {kind} {name}[{array.size}] = {{\n{lines}\n}};\n"


def _logits(places: dict[str, Any], sizes: Sequence[int], int8: bool) -> str:
    name, last = places["name"], len(sizes) - 1
    lines = [f"    float h{i}[{size}];" for i, size in enumerate(sizes[1:-1], 1)]
    for i, (inputs, outputs) in enumerate(pairwise(sizes), 1):
        z = "logits" if i == last else f"h{i}"
        total = f"{z}[j]{f' * {name}_s{i}[j]' * int8} + {name}_b{i}[j]"
        layer = LAYER.format(
            name=name,
            i=i,
            inputs=inputs,
            outputs=outputs,
            x="x" if i == 1 else f"h{i - 1}",
            z=z,
            kind="signed char" if int8 else "float",
            weight="(float)w[j]" if int8 else "w[j]",
            result=total if i == last else f"{name}_f({total})",
            long="L" * (inputs * outputs > SHORT),
        )
        lines.append(layer)
    head = f"{places['public']}void {name}_logits(const float *x, float *logits)"
    return "\n".join([head, "{", *lines, "}\n"])


def _answer(places: dict[str, Any], output: str) -> list[str]:
    if output == "identity":
        return []
    if output == "sigmoid":
        return [(LABELS if places["k"] > 1 else YES_OR_NO).format(**places)]
    return [CLASS.format(**places)]
