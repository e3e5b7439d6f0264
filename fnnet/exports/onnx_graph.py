"""A network as an ONNX model: for each layer a Gemm, and the activation between two."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fnnet.activations import SLOPE
from fnnet.checks import items_of, whole_number
from fnnet.exports.subject import About, facts, form_of
from fnnet.params import Params, widths

if TYPE_CHECKING:
    import onnx

# Old enough for any runtime of the last years, new enough for all that the model needs.
OPSET, IR_VERSION = 13, 8
Form: TypeAlias = "Callable[[_Graph, str, str], str]"


def as_onnx(
    params: Params, *, images: Sequence[int] | None = None, about: About | None = None
) -> onnx.ModelProto:
    """A network as an ONNX model of operator set 13.

    It takes ``x``, (N, inputs) in the parameters' dtype, and gives ``logits``, (N, K), and
    ``probabilities``, (N, K), where the output is "softmax" or "sigmoid". Its metadata have the
    data set, the classes (JSON), the divisor, the activation and the output. gelu is exact; of a
    network in float64, its error function alone is computed in float32, as ONNX Runtime has no
    other.

    Parameters
    ----------
    params : one network, with an activation of fnnet's
    images : shape of an image, (28, 28), say: the model then takes ``x`` as uint8 (N, 28, 28), and
        divides it by the divisor itself
    about : what it was trained on

    Returns
    -------
    model : checked by onnx

    Raises
    ------
    ImportError
        If onnx is not installed.
    TypeError, ValueError
        If params are no finite network or an ensemble, the activation is one of your own, or the
        images do not fit the network.

    Examples
    --------
    >>> from fnnet import init_params
    >>> as_onnx(init_params(0, (3, 2))).graph.output[1].name  # doctest: +SKIP
    'probabilities'
    """
    known = facts(params, about)
    try:
        from onnx import checker, helper
    except ImportError as error:
        raise ImportError("as_onnx needs onnx: pip install onnx") from error

    d, *_, k = widths(params)
    dtype = params.layers[0].w.dtype.newbyteorder("=")
    activate = form_of(known["activation"], ACTIVATIONS, "ONNX")
    graph = _Graph(dtype)
    taken = _declared("x", dtype, ["N", d])
    if images is not None:
        taken = _declared("x", np.dtype(np.uint8), ["N", *_image_shape(images, d)])
    h = "x" if images is None else _scaled(graph, float(known["divisor"]))
    for i, layer in enumerate(params.layers, 1):
        w, b = graph.constant(f"w{i}", layer.w), graph.constant(f"b{i}", layer.b)
        last = i == len(params.layers)
        z = graph.node("Gemm", [h, w, b], "logits" if last else f"z{i}")
        h = z if last else activate(graph, z, f"h{i}")
    given = ["logits"]
    if params.output != "identity":
        op, axis = ("Softmax", {"axis": -1}) if params.output == "softmax" else ("Sigmoid", {})
        given.append(graph.node(op, ["logits"], "probabilities", **axis))
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "fnnet",
            [taken],
            [_declared(name, dtype, ["N", k]) for name in given],
            graph.constants,
        ),
        producer_name="fnnet",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    helper.set_model_props(model, known)
    checker.check_model(model, full_check=True)
    return model


class _Graph:
    """Nodes and constants so far; each method adds one, and returns the name of its result."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def node(self, op: str, inputs: Sequence[str], result: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(op, inputs, [result], **attributes))
        return result

    def constant(self, name: str, values: Any) -> str:
        from onnx import numpy_helper

        array = np.ascontiguousarray(np.asarray(values, self.dtype))
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def number(self, name: str, value: float) -> str:
        if all(each.name != name for each in self.constants):
            self.constant(name, [value])
        return name

    def cast(self, value: str, dtype: Any, result: str) -> str:
        from onnx import helper

        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.node("Cast", [value], result, to=kind)


def _declared(name: str, dtype: np.dtype[Any], shape: Sequence[int | str]) -> Any:
    from onnx import helper

    kind = helper.np_dtype_to_tensor_dtype(dtype)
    return helper.make_tensor_value_info(name, kind, shape)


def _image_shape(images: Sequence[int], d: int) -> list[int]:
    shape = [whole_number("images", n, 1) for n in items_of("images", images, "whole numbers")]
    if math.prod(shape) != d:
        raise ValueError(f"images must have the network's {d} inputs, got shape {tuple(shape)}")
    return shape


def _scaled(graph: _Graph, divisor: float) -> str:
    floats = graph.cast(graph.node("Flatten", ["x"], "bytes", axis=1), graph.dtype, "floats")
    return graph.node("Div", [floats, graph.number("divisor", divisor)], "inputs")


def _leaky_relu(graph: _Graph, z: str, h: str) -> str:
    # The attribute of ONNX's LeakyRelu would round the slope to float32.
    small = graph.node("Mul", [z, graph.number("slope", SLOPE)], f"{z}_small")
    return graph.node("Max", [z, small], h)


def _silu(graph: _Graph, z: str, h: str) -> str:
    return graph.node("Mul", [z, graph.node("Sigmoid", [z], f"{z}_sigmoid")], h)


def _gelu(graph: _Graph, z: str, h: str) -> str:
    return graph.node("Mul", [z, _normal_cdf(graph, z)], h)


def _normal_cdf(graph: _Graph, z: str) -> str:
    """(1 + erf(z / √2)) / 2."""
    u = graph.node("Mul", [z, graph.number("root_half", math.sqrt(0.5))], f"{z}_scaled")
    if graph.dtype == np.float64:
        erf = graph.node("Erf", [graph.cast(u, np.float32, f"{z}_single")], f"{z}_erf_single")
        erf = graph.cast(erf, graph.dtype, f"{z}_erf")
    else:
        erf = graph.node("Erf", [u], f"{z}_erf")
    above = graph.node("Add", [erf, graph.number("one", 1)], f"{z}_above")
    return graph.node("Mul", [above, graph.number("half", 0.5)], f"{z}_cdf")


def _operator(name: str) -> Form:
    return lambda graph, z, h: graph.node(name, [z], h)


# Each adds the nodes that make h of z.
ACTIVATIONS: dict[str, Form] = {
    "relu": _operator("Relu"),
    "leaky_relu": _leaky_relu,
    "identity": _operator("Identity"),
    "tanh": _operator("Tanh"),
    "sigmoid": _operator("Sigmoid"),
    "silu": _silu,
    "gelu": _gelu,
}
