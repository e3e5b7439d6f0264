"""Export a trained network: to ONNX, to a small .npz that nine lines of NumPy read, or to C99.

    python scripts/export.py runs/mnist/checkpoint.npz digits.onnx --bytes
    python scripts/export.py runs/mnist/checkpoint.npz digits.npz --int8
    python scripts/export.py runs/mnist/checkpoint.npz digits.h

The suffix of OUT says which. `pydoc fnnet.exports` has the nine lines, and the functions that do
the work. Afterwards a table compares the file with the checkpoint: bytes, accuracy on the test set
of the data that the network learned, and the time of one image at a time.
"""

from __future__ import annotations

if __name__ == "__main__":
    import fnnet_scripts.quiet  # noqa: F401

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shutil import which
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from fnnet_scripts.options import Parser, counted, exit_code, one_line
from fnnet_scripts.wording import table

import fnnet
from fnnet.activations import activation_of
from fnnet.checks import FloatArray
from fnnet.data.datasets import NAMES
from fnnet.exports import About, export
from fnnet.exports.files import SUFFIXES

Logits: TypeAlias = Callable[[Any], npt.NDArray[Any]]

ROUNDS, LEAST = 5, 0.2  # measurements, and seconds that they take together
MAIN = """\
#include <stdio.h>
#include <time.h>
#include "network.h"
int main(int argc, char **argv)
{{
    static float x[{d}], z[{k}];
    clock_t taken = 0;
    (void)argv;
    while (fread(x, sizeof *x, {d}, stdin) == {d}) {{
        clock_t start = clock();
        for (int i = 0; i < (argc > 1 ? 100 : 1); i++) {name}_logits(x, z);
        taken += clock() - start;
        fwrite(z, sizeof *z, {k}, stdout);
    }}
    fprintf(stderr, "%.9g", (double)taken / CLOCKS_PER_SEC);
    return 0;
}}
"""  # with an argument, a hundred times for each image: clocks are coarse


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table; None where it cannot be told here."""

    name: str
    size: int
    accuracy: float | None
    seconds: float | None


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("checkpoint", type=Path, help="what scripts/train.py wrote")
    add("out", type=Path, help=f"a file that ends in {', '.join(SUFFIXES)}")
    add("--int8", action="store_true", help="weights in int8, for .npz, .h and .c")
    add("--float16", action="store_true", help="numbers in float16, for .npz")
    add("--bytes", action="store_true", help="for .onnx: take uint8 images and scale them inside")
    add("--dataset", choices=NAMES, help="what it learned; default: what the run says")
    add("--data-dir", metavar="DIR", help="folder of the data set's four files")
    settings = parser.parse_args(argv)
    suffix = settings.out.suffix
    if suffix not in SUFFIXES:
        parser.error(f"out must end in one of {', '.join(SUFFIXES)}, got {settings.out}")
    if settings.int8 and settings.float16:
        parser.error("--int8 and --float16 exclude each other")
    for option, suffixes in (("int8", SUFFIXES[1:]), ("float16", (".npz",)), ("bytes", (".onnx",))):
        if getattr(settings, option) and suffix not in suffixes:
            parser.error(f"--{option} is for {', '.join(suffixes)}, got {settings.out}")
    return settings


def run(settings: argparse.Namespace) -> None:
    """Write the network in the format that the file's suffix names, and print the table."""
    out, source = settings.out, settings.checkpoint
    if out.exists() and out.samefile(source):
        raise ValueError(f"{out} is the checkpoint, which would be lost")
    checkpoint = fnnet.load_checkpoint(source)
    params = checkpoint.state.params
    name = settings.dataset or known(checkpoint.extra, source).get("dataset")
    data, why = found(name, settings, params)
    if settings.bytes and data is None:
        raise ValueError(f"--bytes needs the shape of the images: {why}")
    about = About() if data is None else About(data.name, data.classes, data.test.divisor)
    export(
        out,
        params,
        numbers="int8" if settings.int8 else "float16" if settings.float16 else "float32",
        images=data.test.x.shape[1:] if data is not None and settings.bytes else None,
        about=about,
    )
    print(compared(source, out, params, None if data is None else data.test, settings.bytes))
    if data is None:
        print(f"accuracy was not measured: {why}")


def known(extra: Mapping[str, Any], source: Path) -> dict[str, Any]:
    """What the checkpoint says of its run, or the run's settings beside it."""
    if "dataset" in extra:
        return dict(extra)
    try:
        settings = json.loads(source.with_name("run.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return settings if isinstance(settings, dict) else {}


def found(
    name: Any, settings: argparse.Namespace, params: fnnet.Params
) -> tuple[fnnet.Dataset | None, str]:
    """The data that the network learned, or None, and why."""
    if name not in NAMES:
        return None, "the checkpoint does not say what it learned; --dataset does"
    try:
        data = fnnet.load_dataset(name, settings.data_dir, download=False)
    except FileNotFoundError as error:
        return None, str(error)
    d = data.test.x[0].size
    if params.layers[0].w.shape[-2:-1] != (d,):
        raise ValueError(f"{name} has {d} inputs, the network {params.layers[0].w.shape[-2]}")
    return data, ""


def compared(
    source: Path, out: Path, params: fnnet.Params, test: fnnet.Split | None, as_bytes: bool
) -> str:
    """The table of checkpoint and file."""
    d, dtype = params.layers[0].w.shape[0], params.layers[0].w.dtype
    rng = np.random.default_rng(0)
    split = test or fnnet.Split(rng.random((100, d)), np.zeros(100, int))
    x: Any = fnnet.as_inputs(split, dtype)
    taken = split.x if as_bytes else x
    each = (
        partial(measured, source, partial(fnnet.forward, params), x, test),
        partial(of_file, out, taken, params, test),
    )
    rows = [work() for work in counted(each, len(each), "file")]
    body = [
        [
            row.name,
            f"{row.size:,}",
            "–" if row.accuracy is None else f"{row.accuracy:.2%}",
            "–" if row.seconds is None else f"{1e6 * row.seconds:.1f}",
        ]
        for row in rows
    ]
    return table(["file", "bytes", "test accuracy", "µs an image"], body)


def of_file(out: Path, x: Any, params: fnnet.Params, test: fnnet.Split | None) -> Row:
    """A row of what was written."""
    if out.suffix in (".h", ".c"):
        return of_program(out, x, params, test)
    logits = from_npz(out, params) if out.suffix == ".npz" else from_onnx(out)
    if logits is None:
        return Row(out.name, out.stat().st_size, None, None)
    return measured(out, logits, x, test)


def measured(path: Path, logits: Logits, x: Any, test: fnnet.Split | None) -> Row:
    z = np.concatenate([logits(x[i : i + 1000]) for i in range(0, len(x), 1000)])
    rounds = []
    for _ in range(ROUNDS):
        count, began = 0, time.perf_counter()
        while (took := time.perf_counter() - began) < LEAST / ROUNDS:
            logits(x[count % len(x)][None])
            count += 1
        rounds.append(took / count)
    return Row(path.name, path.stat().st_size, score(z, test), statistics.median(rounds))


def score(z: FloatArray, test: fnnet.Split | None) -> float | None:
    """Share of the test set whose class has the largest logit."""
    return None if test is None else float((z.argmax(axis=1) == test.y).mean())


def from_npz(path: Path, params: fnnet.Params) -> Logits:
    """The reader of fnnet.exports, with any activation."""
    activation = activation_of(params.activation).f
    with np.load(path) as file:
        a = {name: np.float32(file[name]) for name in file.files if name != "about"}
    n = len(params.layers)
    w = [a[f"w{i}"] * a.get(f"s{i}", 1) for i in range(1, n + 1)]
    b = [a[f"b{i}"] for i in range(1, n + 1)]

    def logits(x: Any) -> npt.NDArray[Any]:
        for i in range(n - 1):
            x = activation(x.dot(w[i]) + b[i])
        z: npt.NDArray[Any] = x.dot(w[-1]) + b[-1]
        return z

    return logits


def from_onnx(path: Path) -> Logits | None:
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options)

    def logits(x: Any) -> npt.NDArray[Any]:
        z: npt.NDArray[Any] = session.run(["logits"], {"x": x})[0]
        return z

    return logits


def of_program(out: Path, x: FloatArray, params: fnnet.Params, test: fnnet.Split | None) -> Row:
    """A row of what a compiler makes of the file; without a compiler, of its size alone."""
    unknown = Row(out.name, out.stat().st_size, None, None)
    compiler = which("cc") or which("gcc") or which("clang")
    if compiler is None:
        return unknown
    try:
        z, seconds, size = ran(compiler, out, x, params.layers[-1].b.size)
    except subprocess.CalledProcessError as error:
        said = (error.stderr.decode(errors="replace").splitlines() or [str(error)])[0]
        print(f"{out.name} was not measured: {one_line(said)}", file=sys.stderr)
        return unknown
    return Row(f"{out.name}, compiled", size, score(z, test), seconds)


def ran(compiler: str, out: Path, x: FloatArray, k: int) -> tuple[FloatArray, float, int]:
    """Logits of a compiled file, seconds of an image, and bytes of the object."""
    content = np.ascontiguousarray(x, dtype=np.float32).tobytes()
    part = content[: 4 * x.shape[1] * 300]
    with tempfile.TemporaryDirectory() as folder:
        main, program = Path(folder, "main.c"), str(Path(folder, "main.exe"))
        # A copy: some names of folders cannot stand in an #include.
        Path(folder, "network.h").write_bytes(out.read_bytes())
        main.write_text(MAIN.format(d=x.shape[1], k=k, name=out.stem))
        for flags in (["-c", "-o", f"{program}.o"], ["-o", program]):
            command = [compiler, "-std=c99", "-O2", *flags, str(main), "-lm"]
            subprocess.run(command, check=True, capture_output=True)
        size = Path(f"{program}.o").stat().st_size
        once = subprocess.run([program], input=content, capture_output=True, check=True)
        again = subprocess.run([program, "time"], input=part, capture_output=True, check=True)
    z = np.frombuffer(once.stdout, np.float32).reshape(len(x), k)
    return z, float(again.stderr) / 100 / min(300, len(x)), size


def main(argv: Sequence[str] | None = None) -> int:
    settings = parse(argv)
    return exit_code("export.py", lambda: run(settings), extra="onnx")


if __name__ == "__main__":
    sys.exit(main())
