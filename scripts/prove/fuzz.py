"""Feed damaged and forged files to the readers: nothing but the documented errors may come out.

    TMPDIR=/dev/shm python scripts/prove/fuzz.py idx --count 1000000
    TMPDIR=/dev/shm python scripts/prove/fuzz.py checkpoint --count 1000000

Each file is a valid one after a few random changes: bytes flipped, cut, doubled, moved or set to
extremes, and, in archives, the directory, the JSON and the arrays' headers rewritten. Memory may
grow by ten times the readers' limit at most, and no warning may be given. What is accepted is used.
A file that breaks this is kept, and its name printed.
"""

from __future__ import annotations

if __name__ == "__main__":
    import fnnet_scripts.quiet  # noqa: F401

import argparse
import gzip
import io
import json
import re
import shutil
import struct
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

import fnnet

LIMIT = 2**20  # bytes that the readers are told to accept
WARM_UP = 1000  # files before memory is first looked at
EXTREMES = [0, 1, 0x7F, 0x80, 0xFF]
NUMBERS = [0, 1, -1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, -(2**63), 10**30, 1e308, -0.5]
VALUES: list[Any] = [*NUMBERS, None, True, "", "../../x", [], [[]], {}, "float16", "NaN", [1e9] * 9]
GROWN = {  # JSON that is too much for json.dumps
    b'"deep"': b"[" * 5000 + b"]" * 5000,
    b'"long"': b"9" * 5000,
    b'"wide"': b"[" + b"1," * 20_000 + b"1]",
    b'"many"': b"[" + b"[]," * 20_000 + b"[]]",
}
RECORDS = {  # of an archive: local header, entry of the directory, end of the directory
    b"PK\3\4": "<4sHHHHHLLLHH",
    b"PK\1\2": "<4sHHHHHHLLLHHHHHLL",
    b"PK\5\6": "<4sHHHHLLH",
}
ARRAY_EDITS = [
    (b"<f", b">f"),
    (b"<f4", b"<f8"),
    (b"'<f", b"'|O"),
    (b"'<f4'", b"[('a', '<f4')]"),
    (b"'<f4'", b"'<U999999999'"),
    (b"False", b"True"),
    (b"False", b"9in[]"),
    (b"'shape': (", b"'shape': (-"),
    (b"'shape': (", b"'shape': (99999999999, "),
    (b"'shape': (", b"'shape': (" + b"1, " * 70),
    (b"{", b"{" * 3000),
    (b"NUMPY\1", b"NUMPY\3"),
]
NAMES = ["../../x", "/etc/x", "header.json", "params.0.npy", "", "a" * 300, "params.-1.npy"]

Mutator: TypeAlias = Callable[[np.random.Generator, bytes], bytes]


def pick(rng: np.random.Generator, values: Sequence[Any]) -> Any:
    return values[int(rng.integers(len(values)))]


def mutated_bytes(rng: np.random.Generator, content: bytes) -> bytes:
    """One to four changes of a file that know nothing of its format."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        start, stop = sorted(int(i) for i in rng.integers(0, len(data) + 1, 2))
        stop = min(stop, start + int(rng.integers(1, 64)))
        change = int(rng.integers(6))
        if change == 0 and data:
            data[start % len(data)] ^= 1 << int(rng.integers(8))
        elif change == 1:
            data[start:stop] = bytes([pick(rng, EXTREMES)]) * (stop - start)
        elif change == 2:
            del data[start:stop]
        elif change == 3:
            data[start:start] = data[start:stop]
        elif change == 4:
            data[start:stop] = rng.bytes(stop - start)
        elif int(rng.integers(8)) == 0:
            del data[start:]
    return bytes(data)


def mutated_gzip(rng: np.random.Generator, content: bytes) -> bytes:
    """Damage before the compression, so that the checksum is right."""
    return gzip.compress(mutated_bytes(rng, gzip.decompress(content)), 1, mtime=0)


def mutated_records(rng: np.random.Generator, content: bytes) -> bytes:
    """Numbers in an archive's own records set to others: flags, methods, sizes, offsets, counts."""
    data = bytearray(content)
    matches = re.finditer(b"|".join(RECORDS), content)
    places = [(match.start(), RECORDS[match[0]]) for match in matches]
    for _ in range(int(rng.integers(1, 4))):
        start, layout = pick(rng, places)
        fields = list(struct.unpack_from(layout, data, start))
        i = int(rng.integers(1, len(fields)))
        near = [fields[i] - 1, fields[i] + 1, 1 << int(rng.integers(32)), len(content)]
        fields[i] = pick(rng, [*near, *NUMBERS[:8]]) % (2**16 if layout[i + 2] == "H" else 2**32)
        struct.pack_into(layout, data, start, *fields)
    return bytes(data)


def mutated_array(rng: np.random.Generator, content: bytes) -> bytes:
    """An array with another header, as long as the old one or as long as it must be."""
    old, new = pick(rng, ARRAY_EDITS)
    start, size = 10, int.from_bytes(content[8:10], "little")
    header = content[start : start + size].replace(old, new, 1)
    if rng.integers(2):
        header = header.replace(b" " * (len(header) - size), b"", 1).ljust(size)
    length = min(len(header), 2**16 - 1).to_bytes(2, "little")
    return content[:8].replace(old, new) + length + header + content[start + size :]


def mutated_archive(rng: np.random.Generator, content: bytes) -> bytes:
    """A valid archive with other members: values of the header, arrays, names, compression."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = pick(rng, list(members))
    change = int(rng.integers(6))
    if change == 0:
        members["header.json"] = mutated_header(rng, members["header.json"])
    elif change == 1:
        members[name] = mutated_bytes(rng, members[name])
    elif change == 2:
        members[pick(rng, NAMES)] = members.pop(name)
    elif change == 3:
        members[name] = members[pick(rng, list(members))]
    elif change == 4:
        members[name] = mutated_array(rng, members[name])
    else:
        members[name] = bytes(int(rng.integers(0, 8 * LIMIT // 10)))
    packed = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if rng.integers(8) == 0 else zipfile.ZIP_STORED
    with zipfile.ZipFile(packed, "w", method) as archive:
        for member, data in members.items():
            archive.writestr(member or "x", data)
    return packed.getvalue()


def mutated_header(rng: np.random.Generator, text: bytes) -> bytes:
    """The header with one value, somewhere in it, replaced or left out."""
    header = json.loads(text)
    node, key = header, pick(rng, list(header))
    while isinstance(node[key], dict | list) and node[key] and rng.integers(3):
        node = node[key]
        key = pick(rng, list(node) if isinstance(node, dict) else range(len(node)))
    if rng.integers(6):
        node[key] = pick(rng, [*VALUES, *(name[1:-1].decode() for name in GROWN)])
    else:
        del node[key]
    mutated = json.dumps(header).encode()
    for name, text in GROWN.items():
        mutated = mutated.replace(name, text)
    return mutated


def idx_files(folder: Path) -> list[tuple[bytes, Sequence[Mutator]]]:
    """A valid file of every element type, of several ranks, plain and gzipped."""
    files: list[tuple[bytes, Sequence[Mutator]]] = []
    for i, dtype in enumerate((np.uint8, np.int8, np.int16, np.int32, np.float32, np.float64)):
        array = np.arange(24).astype(dtype).reshape(((24,), (4, 6), (2, 3, 4))[i % 3])
        for name, mutators in (("a", [mutated_bytes]), ("a.gz", [mutated_bytes, mutated_gzip])):
            fnnet.write_idx(folder / name, array)
            files.append(((folder / name).read_bytes(), mutators))
    return files


def checkpoint_files(folder: Path) -> list[tuple[bytes, Sequence[Mutator]]]:
    """Checkpoints of two networks and an ensemble, with three generators."""
    nets = [fnnet.init_params(0, (3, 2)), fnnet.init_params(0, (4, 3, 2), np.float64)]
    nets.append(fnnet.tree_map(lambda *leaves: np.stack(leaves), nets[0], nets[0]))
    kinds = (np.random.PCG64, np.random.MT19937, np.random.Philox)
    rngs = [np.random.Generator(kind(0)) for kind in kinds]
    metrics = fnnet.Metrics(1, 0.5, 0.5, 0.5, 0.5, 1.0)
    files: list[tuple[bytes, Sequence[Mutator]]] = []
    for params, rng in zip(nets, rngs, strict=True):
        checkpoint = fnnet.Checkpoint(fnnet.rmsprop_init(params), rng, 1, (metrics,))
        fnnet.save_checkpoint(folder / "c", checkpoint)
        mutators = [mutated_bytes, mutated_archive, mutated_records]
        files.append(((folder / "c").read_bytes(), mutators))
    return files


def use_idx(path: Path) -> None:
    fnnet.read_idx(path, limit=LIMIT).tobytes()


def use_checkpoint(path: Path) -> None:
    checkpoint = fnnet.load_checkpoint(path, limit=LIMIT)
    checkpoint.rng.generator().permutation(9)
    fnnet.forward(checkpoint.state.params, np.zeros(checkpoint.state.params.layers[0].w.shape[-2]))


def fuzz(reader: str, count: int, seed: int) -> tuple[Counter[str], int]:
    """Outcomes by name, and the bytes by which the process grew.

    Raises
    ------
    RuntimeError
        If a warning or something other than the documented error came out; names the file.
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
                raise RuntimeError(f"file {i}: {error!r} came out; kept as {kept}") from error
    return outcomes, peak_memory() - before if count > WARM_UP else 0


def peak_memory() -> int:
    """The most bytes that this process has had resident so far."""
    try:
        import resource
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reader", choices=("idx", "checkpoint"))
    parser.add_argument("--count", type=int, default=10_000, metavar="N", help="default: 10000")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    settings = parser.parse_args(argv)
    began = time.perf_counter()
    try:
        outcomes, grown = fuzz(settings.reader, settings.count, settings.seed)
    except RuntimeError as error:
        print(f"fuzz.py: {error}", file=sys.stderr)
        return 1
    seconds = time.perf_counter() - began
    counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    print(f"{counts}; {settings.count / seconds:.0f} files/s; grew by {grown / 2**20:.1f} MiB")
    if grown > 10 * LIMIT:
        print(f"fuzz.py: grew by more than {10 * LIMIT >> 20} MiB", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
