"""Feed damaged and forged files to the readers: right values or the documented errors come out.

    TMPDIR=/dev/shm python scripts/prove/fuzz.py checkpoint --count 1000000

Each file is a valid one after a few random changes: bytes flipped, cut, doubled, moved or set to
extremes; in gzip also what stands before, between and after members; in archives also the
directory, the JSON and the arrays' headers, one by one or so that their lies agree. Checkpoints are
those of every registered optimizer. What is accepted must have the values that a second reader
finds, which knows the formats and nothing of fnnet, and one step is taken with it. Memory may grow
by ten times the readers' limit at most, and no warning may be given. A file that breaks this is
kept, and its name printed.
"""

from __future__ import annotations

if __name__ == "__main__":
    import fnnet_scripts.quiet  # noqa: F401

import ast
import json
import shutil
import struct
import sys
import tempfile
import time
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fnnet_scripts.damage import (
    LIMIT,
    Mutator,
    mutated_archive,
    mutated_bytes,
    mutated_gzip,
    mutated_members,
    mutated_records,
    mutated_together,
    pick,
    shapes_of,
)
from fnnet_scripts.options import Parser, at_least, exit_code

import fnnet
from fnnet.optimizers.states import OPTIMIZERS

WARM_UP = 1000  # files before memory is first looked at


def idx_files(folder: Path) -> list[tuple[bytes, Sequence[Mutator]]]:
    """A valid file of every element type, of several ranks, plain and gzipped."""
    files: list[tuple[bytes, Sequence[Mutator]]] = []
    for i, dtype in enumerate((np.uint8, np.int8, np.int16, np.int32, np.float32, np.float64)):
        array = np.arange(24).astype(dtype).reshape(((24,), (4, 6), (2, 3, 4))[i % 3])
        for name, mutators in (
            ("a", [mutated_bytes]),
            ("a.gz", [mutated_bytes, mutated_gzip, mutated_members]),
        ):
            fnnet.write_idx(folder / name, array)
            files.append(((folder / name).read_bytes(), mutators))
    return files


def checkpoint_files(folder: Path) -> list[tuple[bytes, Sequence[Mutator]]]:
    """Checkpoints of every optimizer, of networks of each output and an ensemble, in turn."""
    nets = [
        fnnet.init_params(0, (3, 2)),
        fnnet.init_params(0, (4, 3, 2), np.float64, activation="tanh", output="sigmoid"),
        fnnet.init_params(0, (2, 3, 1), output="identity"),
    ]
    nets.append(fnnet.tree_map(lambda *leaves: np.stack(leaves), nets[0], nets[0]))
    kinds = (np.random.PCG64, np.random.MT19937, np.random.Philox)
    metrics = fnnet.Metrics(1, 0.5, 0.5, 0.5, 0.5, 1.0)
    extra = {"seed": 3, "classes": ["a", "b"], "mean": np.arange(3.0)}
    mutators = [mutated_bytes, mutated_archive, mutated_records, mutated_together]
    files: list[tuple[bytes, Sequence[Mutator]]] = []
    for i, optimizer in enumerate(OPTIMIZERS.values()):
        for j, params in enumerate(nets):
            state = optimizer.init(params)
            if j % 2:  # what an optimizer has after a step only
                state = optimizer.update(state, fnnet.tree_map(np.ones_like, params))
            rng = np.random.Generator(kinds[(i + j) % 3](0))
            fnnet.save_checkpoint(
                folder / "c", fnnet.Checkpoint(state, rng, 1, (metrics,) * j, extra)
            )
            files.append(((folder / "c").read_bytes(), mutators))
    return files


def expect(found: object, wanted: object, what: str) -> None:
    if found != wanted:
        raise WrongValueError(f"{what} was {found!r:.99}, expected {wanted!r:.99}")


class WrongValueError(Exception):
    """A reader accepted a file, and gave another value than it holds."""


def use_idx(path: Path) -> None:
    """Read a file; hold its values to those of a reader in ten lines."""
    array = fnnet.read_idx(path, limit=LIMIT)
    content = path.read_bytes()
    plain = gunzipped(content) if content[:2] == b"\x1f\x8b" else content
    kinds = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
    dtype, rank = np.dtype(kinds[plain[2]]), plain[3]
    shape = struct.unpack_from(f">{rank}I", plain, 4)
    wanted = np.frombuffer(plain, dtype, offset=4 + 4 * rank).reshape(shape)
    expect(plain[:2], b"\0\0", "the magic number")
    expect((array.shape, array.dtype.newbyteorder("=")), (shape, dtype.newbyteorder("=")), "shape")
    expect(array.astype(dtype).tobytes(), wanted.tobytes(), "the content")


def gunzipped(content: bytes) -> bytes:
    """What the members of a gzip file hold; zeros between and after them are padding."""
    plain, rest = b"", content
    while rest:
        member = zlib.decompressobj(31)
        plain += member.decompress(rest) + member.flush()
        expect(member.eof, True, "the end of a member")
        rest = member.unused_data.lstrip(b"\0")
    return plain


def use_checkpoint(path: Path) -> None:
    """Load a checkpoint; hold its values to the archive's; take a step with it."""
    checkpoint = fnnet.load_checkpoint(path, limit=LIMIT)
    with zipfile.ZipFile(path) as archive:
        header = json.loads(archive.read("header.json"))
        arrays = {
            name: array_in(archive.read(name))
            for name in archive.namelist()
            if name.endswith(".npy")
        }
    state: Any = checkpoint.state
    expect(type(state).__name__, header["optimizer"], "the optimizer")
    expect(checkpoint.epoch, header["epoch"], "the epoch")
    expect(state.params.activation, header["activation"], "the activation")
    expect(state.params.output, header["output"], "the output")
    expect(len(checkpoint.history), len(arrays["history.npy"]), "the history's length")
    for metrics, rows in zip(checkpoint.history, arrays["history.npy"], strict=True):
        for member, row in zip((metrics, *metrics.members), rows, strict=True):
            found = [getattr(member, name) for name in header["history"]]
            expect(np.array_equal(found, row, equal_nan=True), True, "a row of the history")
    for name, value in header["numbers"].items():
        got = np.asarray(getattr(state, name))  # a whole number may stand for a float in JSON
        expect(got.tolist(), np.asarray(value, got.dtype).tolist(), name)
    rng = json.loads(checkpoint.rng.text)
    expect(rng, json.loads(json.dumps(header["rng"]["state"])), "the generator's state")
    expect(
        tuple(shapes_of(header)), tuple(a.shape for a in fnnet.tree_leaves(state.params)), "sizes"
    )
    trees = {f.name: getattr(state, f.name) for f in fields(state)}
    for name, tree in trees.items():
        if isinstance(tree, fnnet.Params):
            for i, leaf in enumerate(fnnet.tree_leaves(tree)):
                expect(leaf.tobytes(), arrays[f"{name}.{i}.npy"].tobytes(), f"{name}.{i}")
    for name, value in dict(header.get("extra", {})).items():
        expect(checkpoint.extra[name], value, f"extra: {name}")
    for i, (name, *_) in enumerate(header.get("arrays", [])):
        array = np.asarray(checkpoint.extra[name])
        expect(array.tobytes(), arrays[f"extra.{i}.npy"].tobytes(), f"extra: {name}")
    checkpoint.rng.generator().permutation(9)
    take_step(state)


def array_in(content: bytes) -> npt.NDArray[Any]:
    """The array of a member in NumPy's format, version 1."""
    start = 10 + int.from_bytes(content[8:10], "little")
    header = ast.literal_eval(content[10:start].decode("latin1").strip())
    array = np.frombuffer(content, np.dtype(header["descr"]), offset=start)
    return array.reshape(header["shape"], order="F" if header["fortran_order"] else "C")


def take_step(state: Any) -> None:
    """A step of training on zeros; huge numbers may overflow in it, and do no other harm."""
    inputs, outputs = state.params.layers[0].w.shape[-2], state.params.layers[-1].w.shape[-1]
    x = np.zeros((2, inputs))
    y: npt.NDArray[Any] = (
        np.zeros(2, int) if state.params.output == "softmax" else np.zeros((2, outputs))
    )
    with np.errstate(all="ignore"):
        after, _ = fnnet.train_step(state, x, y)
    expect(type(after), type(state), "the state after a step")
    expect(after.step, state.step + 1, "the step")


def fuzz(reader: str, count: int, seed: int) -> tuple[Counter[str], int]:
    """Outcomes by name, and the bytes by which the process grew.

    Raises
    ------
    ValueError
        If a warning, a wrong value or another than the documented error came out; names the file.
    """
    read: Callable[[Path], None] = {"idx": use_idx, "checkpoint": use_checkpoint}[reader]
    documented = {"idx": fnnet.IDXError, "checkpoint": fnnet.CheckpointError}[reader]
    rng, outcomes, before = np.random.default_rng(seed), Counter[str](), 0
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        path = Path(name, "file")
        files = {"idx": idx_files, "checkpoint": checkpoint_files}[reader](Path(name))
        for i in range(count):
            if i == WARM_UP:
                before = peak_memory()
            content, mutators = pick(rng, files)
            path.write_bytes(pick(rng, mutators)(rng, content))
            try:
                try:
                    read(path)
                    outcomes["accepted"] += 1
                except documented:
                    outcomes["refused"] += 1
                if given:
                    raise RuntimeWarning(str(given[0].message))
            except Exception as error:
                kept = Path(tempfile.gettempdir(), f"fnnet-{reader}-{seed}-{i}")
                shutil.copy(path, kept)
                raise ValueError(f"file {i}: {error!r} came out; kept as {kept}") from error
    return outcomes, peak_memory() - before if count > WARM_UP else 0


def peak_memory() -> int:
    """The most bytes that this process has had resident so far."""
    try:
        import resource
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def run(reader: str, count: int, seed: int) -> None:
    began = time.perf_counter()
    outcomes, grown = fuzz(reader, count, seed)
    seconds = time.perf_counter() - began
    counts = ", ".join(f"{number} {outcome}" for outcome, number in sorted(outcomes.items()))
    print(f"{counts}; {count / seconds:.0f} files/s; grew by {grown / 2**20:.1f} MiB")
    if grown > 10 * LIMIT:
        raise ValueError(f"grew by more than {10 * LIMIT >> 20} MiB")


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("reader", choices=("idx", "checkpoint"))
    add("--count", type=at_least(1), default=10_000, metavar="N", help="default: 10000")
    add("--seed", type=at_least(0), default=0, metavar="N", help="default: 0")
    settings = parser.parse_args(argv)
    return exit_code("fuzz.py", lambda: run(settings.reader, settings.count, settings.seed))


if __name__ == "__main__":
    sys.exit(main())
