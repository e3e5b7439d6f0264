"""Export a trained network: to ONNX, or to a plain .npz that ten lines of NumPy can read.

    python scripts/export_onnx.py runs/mnist/checkpoint.npz network.onnx
    python scripts/export_onnx.py runs/mnist/checkpoint.npz network.npz

The ONNX model takes `x`, float (N, inputs), and gives `logits` and `probabilities`, (N, classes).
The .npz holds w1, b1, w2, b2, ..., layer by layer.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from fnnet_scripts.options import Parser, exit_code

import fnnet
from fnnet.storage.files import atomic_write

if TYPE_CHECKING:
    import onnx

# Old enough for any runtime of the last years, new enough for all that the model needs.
OPSET, IR_VERSION = 13, 8


def as_onnx(params: fnnet.Params) -> onnx.ModelProto:
    """The network as an ONNX model: for each layer a Gemm, and a Relu between two.

    Parameters
    ----------
    params : one network, not an ensemble
    """
    from onnx import TensorProto, checker, helper, numpy_helper

    leaf = params.layers[0].w
    kind = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}[leaf.dtype.name]
    inputs, classes = leaf.shape[0], params.layers[-1].w.shape[1]
    nodes, constants, previous = [], [], "x"
    for i, layer in enumerate(params.layers, 1):
        last = i == len(params.layers)
        z = "logits" if last else f"z{i}"
        constants += [
            numpy_helper.from_array(np.ascontiguousarray(array), f"{name}{i}")
            for name, array in (("w", layer.w), ("b", layer.b))
        ]
        nodes.append(helper.make_node("Gemm", [previous, f"w{i}", f"b{i}"], [z]))
        previous = z if last else f"h{i}"
        nodes.append(
            helper.make_node("Softmax", [z], ["probabilities"], axis=-1)
            if last
            else helper.make_node("Relu", [z], [previous])
        )
    graph = helper.make_graph(
        nodes,
        "fnnet",
        [helper.make_tensor_value_info("x", kind, ["N", inputs])],
        [
            helper.make_tensor_value_info(name, kind, ["N", classes])
            for name in ("logits", "probabilities")
        ],
        constants,
    )
    model = helper.make_model(
        graph,
        producer_name="fnnet",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    checker.check_model(model, full_check=True)
    return model


def export(checkpoint: Path, out: Path) -> None:
    """Write the network in the format that the file's suffix names."""
    if out.exists() and out.samefile(checkpoint):
        raise ValueError(f"{out} is the checkpoint, which would be lost")
    params = fnnet.load_checkpoint(checkpoint, None).state.params
    if params.layers[0].w.ndim != 2:
        raise ValueError("the checkpoint holds an ensemble, expected one network")
    if out.suffix == ".onnx":
        content = as_onnx(params).SerializeToString()
        with atomic_write(out) as file:
            file.write(content)
        return
    arrays: dict[str, Any] = {
        f"{name}{i}": array
        for i, layer in enumerate(params.layers, 1)
        for name, array in (("w", layer.w), ("b", layer.b))
    }
    with atomic_write(out) as file:
        np.savez(file, **arrays)


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="what scripts/train.py wrote")
    parser.add_argument("out", type=Path, help="a file that ends in .onnx or .npz")
    settings = parser.parse_args(argv)
    if settings.out.suffix not in (".onnx", ".npz"):
        parser.error(f"out must end in .onnx or .npz, got {settings.out}")
    work = partial(export, settings.checkpoint, settings.out)
    return exit_code("export_onnx.py", work, extra="onnx")


if __name__ == "__main__":
    sys.exit(main())
