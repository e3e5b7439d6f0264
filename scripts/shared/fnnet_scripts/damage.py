"""Damage and forgeries: a valid file in, another out, each by numbers that a generator draws."""

from __future__ import annotations

import gzip
import io
import json
import re
import struct
import zipfile
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

LIMIT = 2**20  # bytes that the readers are told to accept
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


def mutated_members(rng: np.random.Generator, content: bytes) -> bytes:
    """A gzip file with something before, between or after its members, or more of them."""
    plain = gzip.decompress(content)
    cut = int(rng.integers(len(plain) + 1))
    first, last = (gzip.compress(part, 1, mtime=0) for part in (plain[:cut], plain[cut:]))
    named = b"\x1f\x8b\x08\x08" + content[4:10] + b"name\0" + content[10:]
    between = pick(
        rng, [b"", bytes(int(rng.integers(1, 600))), b"PK\3\4", b"\x1f\x8b", first, named]
    )
    files = (first + last, first + between + last, between + content, content + between, named)
    return bytes(pick(rng, files))


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
    return packed_archive(
        members, zipfile.ZIP_DEFLATED if rng.integers(8) == 0 else zipfile.ZIP_STORED
    )


def packed_archive(members: dict[str, bytes], method: int) -> bytes:
    packed = io.BytesIO()
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


def mutated_together(rng: np.random.Generator, content: bytes) -> bytes:
    """A checkpoint whose header and arrays claim the same, which is not so, or which cannot be."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    header = json.loads(members["header.json"])
    place = pick(rng, [name for name in ("sizes", "ensemble") if header[name]])
    i = int(rng.integers(len(header[place])))
    old, new = header[place][i], pick(rng, [-1, 0, 1, 2, 3, 7, 2**31, 2**63, 2**64 - 1])
    header[place][i] = new
    if rng.integers(4) == 0:
        header["ensemble"] = [new]
    members["header.json"] = json.dumps(header).encode()
    shapes = list(shapes_of(header))
    for name, data in members.items():
        match = re.fullmatch(r"\w+\.(\d+)\.npy", name)
        if match and name.partition(".")[0] in header["trees"] and int(match[1]) < len(shapes):
            members[name] = reshaped(data, shapes[int(match[1])], fill=bool(rng.integers(2)))
    return packed_archive(members, zipfile.ZIP_STORED) if old != new else content


def shapes_of(header: dict[str, Any]) -> list[tuple[int, ...]]:
    """Shapes of a tree's arrays, as a header claims them."""
    ensemble, sizes = tuple(header["ensemble"]), header["sizes"]
    return [shape for n, k in pairwise(sizes) for shape in ((*ensemble, n, k), (*ensemble, k))]


def reshaped(content: bytes, shape: tuple[int, ...], fill: bool) -> bytes:
    """An array that claims another shape, with as many bytes as that has, if these are few."""
    size = int.from_bytes(content[8:10], "little")
    header = re.sub(rb"\([^)]*\)", str(shape).encode(), content[10 : 10 + size], count=1)
    header = header.strip().ljust(size - 1)[: size - 1] + b"\n"
    data = content[10 + size :]
    wanted = abs(int(np.prod([float(n) for n in shape]))) * (8 if b"f8" in header else 4)
    if fill and wanted < LIMIT // 8:
        data = (data * (wanted // max(1, len(data)) + 1))[:wanted]
    return content[:10] + header + data
