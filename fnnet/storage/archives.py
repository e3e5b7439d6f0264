"""Archives of arrays: zip files whose members are a header and arrays, stored as they are."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Collection, Mapping
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt

from fnnet.storage.files import atomic_write, open_regular

LONGEST_HEADER = 2**20  # bytes
LONGEST_OLD_HEADER = 2**28  # of version 1, which had the history in it
LEAST_HEADER = 2**16  # bytes that a header of version 1 may have whatever the limit
LEAST_MEMBER = 100  # bytes that a member takes, its entry in the directory included
DIRECTORY_ENTRY = b"PK\1\2"
DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip knows: equal contents are equal bytes
NPY_1_0 = b"\x93NUMPY\1\0"
NPY_HEADER = re.compile(  # as NumPy writes it; nothing is evaluated
    rb"\{'descr': '([<>|][biufcmMOSUV]\d*)', 'fortran_order': (True|False), "
    rb"'shape': \(([-\d, ]*)\), \} *\n"
)


class CheckpointError(ValueError):
    """The file is not a whole checkpoint of this version; the message says what is wrong."""


def write_archive(
    path: str | os.PathLike[str], header: str, text: str, arrays: Mapping[str, npt.NDArray[Any]]
) -> None:
    """Write an archive in one step: a header of JSON and arrays by the names of their members.

    Raises
    ------
    ValueError
        If the header is longer than one that is read.
    OSError
        If the file cannot be written; what was there before is still there.
    """
    size = len(text.encode())
    if size > LONGEST_HEADER:
        raise ValueError(
            f"extra takes {size:,} bytes of JSON, the header may have {LONGEST_HEADER:,}: "
            "give long lists as arrays"
        )
    with atomic_write(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(header, DATE), text)
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(name, DATE), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def members_of(path: str | os.PathLike[str], limit: int, header: str) -> dict[str, bytes]:
    """The members of an archive that claims no more than it has.

    Raises
    ------
    CheckpointError
        If it has more bytes than the limit, no header, or a header out of all proportion.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise CheckpointError(f"has {size} bytes, more than the limit of {limit}")
        content = file.read(size)
    # An entry of the directory takes zipfile twenty times its own size of memory.
    if content.count(DIRECTORY_ENTRY) * LEAST_MEMBER > len(content):
        raise CheckpointError(f"more members than fit into {len(content)} bytes")
    with zipfile.ZipFile(BytesIO(content)) as archive:
        infos = archive.infolist()
        if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
            raise CheckpointError("members must be stored without compression, got compressed ones")
        if sum(info.file_size for info in infos) > len(content):
            raise CheckpointError("members claim more bytes than the file has")
        members = {info.filename: archive.read(info) for info in infos}
    if len(members) < len(infos):
        raise CheckpointError("expected members of different names")
    if header not in members:
        raise CheckpointError(f"expected a member {header}, got {sorted(members)[:5]!s:.99}")
    _check_header(members[header], limit)
    return members


def _check_header(text: bytes, limit: int) -> None:
    """Raise where a header is too long to be parsed: a value in JSON takes forty times its size."""
    if len(text) <= LEAST_HEADER:
        return
    old = re.match(rb'\s*\{\s*"format": "[^"]*", "version": 1,', text) is not None
    most = min(limit // 8, LONGEST_OLD_HEADER if old else LONGEST_HEADER)
    if len(text) > most:
        raise CheckpointError(f"its header has {len(text):,} bytes, expected at most {most:,}")
    # A history of numbers has a dictionary in some hundred bytes, and a name in some thirty.
    if old and 30 * (text.count(b"[") + text.count(b"{")) + 5 * text.count(b'"') > len(text):
        raise CheckpointError("its header holds more than numbers of a history")


def array_of(
    name: str, shape: tuple[int, ...] | None, dtype: np.dtype[Any], members: Mapping[str, bytes]
) -> npt.NDArray[Any]:
    """A member as a read-only array, if it has this dtype and shape (None: any).

    Raises
    ------
    CheckpointError
        If the member is missing, or another array.
    """
    if name not in members:
        raise CheckpointError(f"expected a member {name}, which is missing")
    content = members[name]
    start = 10 + int.from_bytes(content[8:10], "little")
    header = NPY_HEADER.fullmatch(content, 10, start)
    if header is None or not content.startswith(NPY_1_0):
        expected = f"{dtype} {shape!s:.99} in version 1.0 of the npy format"
        raise CheckpointError(f"{name}: expected {expected}, got {content[:80]!r:.120}")
    got_dtype, fortran = np.dtype(header[1].decode()), header[2] == b"True"
    got_shape = tuple(int(size) for size in header[3].split(b",") if size)
    if (
        got_dtype != dtype
        or (shape is not None and got_shape != shape)
        or min(got_shape, default=0) < 0
    ):
        got = f"{got_dtype} {got_shape!s:.99}"
        raise CheckpointError(f"{name}: expected {dtype} {shape!s:.99}, got {got}")
    array = np.frombuffer(content, dtype, offset=start)
    return array.reshape(got_shape, order="F" if fortran else "C")


def only_known(what: str, names: Collection[Any], known: Collection[str]) -> None:
    """Raise where a file has names that this version does not know, or one twice."""
    unknown = sorted(set(map(str, names)) - set(known))
    if unknown or len(set(names)) != len(names):
        raise CheckpointError(f"{what} has names that this version does not know: {unknown!s:.99}")
