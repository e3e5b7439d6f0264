"""The IDX file format of MNIST: arrays of six element types and any rank, plain or gzipped.

An IDX file is two zero bytes, one byte for the element type, one for the rank, the sizes as
big-endian 32-bit integers, then the elements, big-endian and in C order.
"""

from __future__ import annotations

import io
import math
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from fnnet.checks import as_array, whole_number
from fnnet.storage.files import StrPath, atomic_write, open_regular

if TYPE_CHECKING:
    from typing_extensions import Buffer  # comes with the type checkers

_TYPES: dict[int, np.dtype[np.generic]] = {
    0x08: np.dtype(np.uint8),
    0x09: np.dtype(np.int8),
    0x0B: np.dtype(np.int16),
    0x0C: np.dtype(np.int32),
    0x0D: np.dtype(np.float32),
    0x0E: np.dtype(np.float64),
}
_CODES = {dtype: code for code, dtype in _TYPES.items()}
_KINDS = ", ".join(dtype.name for dtype in _CODES)
_MAX_RANK = 64  # NumPy's own
_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
_INPUT = 1 << 13  # bytes that are given to zlib at once
_PIECE = 1 << 16  # and the most that it gives back
_SMALL = 100  # bytes in a gzip member, below which it costs more than it holds
_MAX_SMALL = 1000  # such members: a loop over them would have no end
_MAX_PADDING = 1 << 20  # zeros after all gzip members: tapes are padded, by far less


class IDXError(ValueError):
    """A file is not the IDX file that it claims to be; the message names the path."""


def read_idx(path: StrPath, *, limit: int = 2**31) -> NDArray[np.generic]:
    """Read one IDX file, plain or gzipped (told apart by content, not by name).

    Memory grows with the bytes that really come, not with the sizes that the header claims, and
    a gzip file is never unpacked beyond the end that its header declares.

    Parameters
    ----------
    path : str or path-like
        ``~`` is the home folder.
    limit : int
        The most bytes of elements to accept.

    Returns
    -------
    read-only array, native byte order
        uint8, int8, int16, int32, float32 or float64, of the rank and sizes in the header.

    Raises
    ------
    IDXError
        If the magic number, the element type or the rank is none of the format's, if the data
        are shorter or longer than the header says, if they exceed `limit`, or if the gzip data
        are damaged or padded with more than 1 MiB of zeros.
    OSError
        If the file is absent (FileNotFoundError), cannot be read, or is a pipe or a device.
    TypeError, ValueError
        If `path` is no path, or `limit` no whole number >= 0.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_idx(f"{folder}/labels.gz", np.array([7, 2, 1], np.uint8))
    ...     read_idx(f"{folder}/labels.gz")
    array([7, 2, 1], dtype=uint8)
    """
    whole_number("limit", limit, 0)
    with _opened(path) as file:
        dtype, shape = _header(path, file)
        size = _byte_size(path, dtype, shape, limit)
        data = _body(path, file, size)
    array = np.frombuffer(data, dtype.newbyteorder(">")).astype(dtype, copy=False).reshape(shape)
    array.flags.writeable = False
    return array


def map_idx(path: StrPath) -> NDArray[np.generic]:
    """Map one unpacked IDX file into memory: its elements stay on the disk until they are used.

    A pair of these makes a `fnnet.Split` of data that outgrow memory. `fnnet.train` and
    `fnnet.batches` take it as they take arrays, and their ``memory`` has them read it in an order
    that suits a disk.

    Parameters
    ----------
    path : str or path-like
        ``~`` is the home folder.

    Returns
    -------
    read-only `numpy.memmap`
        Of the rank and sizes in the header. Elements of more than one byte have the file's byte
        order, which is not the machine's on most machines; NumPy computes with them all the same.

    Raises
    ------
    IDXError
        If the file is gzipped, or `read_idx` would refuse it.
    OSError
        If the file is absent (FileNotFoundError), cannot be read, or is a pipe or a device.
    TypeError, ValueError
        If `path` is no path.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_idx(f"{folder}/labels", np.array([7, 2, 1], np.uint8))
    ...     print(type(map_idx(f"{folder}/labels")).__name__, map_idx(f"{folder}/labels").max())
    memmap 7
    """
    with open_regular(path) as file:
        if file.read(2) == _GZIP:
            _fail(path, "gzipped, which cannot be mapped: unpack it with gunzip, or use read_idx")
        file.seek(0)
        dtype, shape = _header(path, file)
        size, start = _byte_size(path, dtype, shape, sys.maxsize), file.tell()
        there = os.fstat(file.fileno()).st_size - start
        if there != size:
            _fail(path, f"has {there} bytes of data, expected {size} as its header declares")
        return np.memmap(file, dtype.newbyteorder(">"), "r", start, shape)


def write_idx(path: StrPath, array: NDArray[np.generic]) -> None:
    """Write an array as an IDX file, gzipped if the name ends in ``.gz``.

    The file takes its place in one step (see `fnnet.storage.files.atomic_write`), and equal arrays
    give equal bytes. Values are never converted: only their byte order is.

    Parameters
    ----------
    path : str or path-like
    array : array of uint8, int8, int16, int32, float32 or float64, any rank and byte order

    Raises
    ------
    TypeError
        If IDX has no such element type, or `path` is no path.
    ValueError
        If `path` is none that a system knows, or rows of the array differ in length.
    IDXError
        If a size does not fit 32 bits.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_idx(f"{folder}/a.gz", np.array([[1, 2], [3, 4]], np.int16))
    ...     read_idx(f"{folder}/a.gz")
    array([[1, 2],
           [3, 4]], dtype=int16)
    """
    array = _storable(array)
    if max(array.shape, default=0) >= 2**32:
        raise IDXError(f"{os.fsdecode(path)}: shape {array.shape}, expected sizes below 2**32")
    header, body = _contents(array)
    with atomic_write(path) as raw, _packed(raw, path) as file:
        file.write(header)
        file.write(body)


def is_packed(path: StrPath) -> bool:
    """Whether a file is gzipped, whatever its name."""
    with open_regular(path) as file:
        return file.read(2) == _GZIP


def contents_digest(array: NDArray[np.generic]) -> str:
    """SHA-256 of the unpacked IDX file that holds an array; it does not depend on any packing."""
    import hashlib

    header, body = _contents(_storable(array))
    digest = hashlib.sha256(header)
    digest.update(body)
    return digest.hexdigest()


def _storable(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """The array, if IDX has its element type."""
    array = np.asarray(as_array("array", array))
    if array.dtype.newbyteorder("=") not in _CODES:
        raise TypeError(f"array: dtype {array.dtype}, expected one that IDX has: {_KINDS}")
    return array


def _contents(array: NDArray[np.generic]) -> tuple[bytes, memoryview]:
    """Header and elements, as they stand in a file."""
    code = _CODES[array.dtype.newbyteorder("=")]
    header = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    return header, np.ascontiguousarray(array, dtype=array.dtype.newbyteorder(">")).data


@contextmanager
def _opened(path: StrPath) -> Iterator[BinaryIO]:
    """Open `path`, unpacking if it is gzip; damage that zlib reports becomes an IDXError."""
    with open_regular(path) as raw:
        packed = raw.read(2) == _GZIP
        raw.seek(0)
        if not packed:
            yield raw
            return
        import zlib

        try:
            yield cast(BinaryIO, io.BufferedReader(_Unpacked(_members(raw))))
        except (zlib.error, EOFError) as error:
            raise IDXError(f"{os.fsdecode(path)}: damaged gzip data ({error})") from error


class _Unpacked(io.RawIOBase):
    """A stream of pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer)
        while not self._piece:
            try:
                self._piece = next(self._pieces)
            except StopIteration:
                return 0
        size = min(len(view), len(self._piece))
        view[:size], self._piece = self._piece[:size], self._piece[size:]
        return size


def _members(raw: BinaryIO) -> Iterator[bytes]:
    """Unpack the members of a gzip file, each checked against its checksum.

    Python's own reader skips zeros after a member one by one, however many there are.
    """
    import zlib

    packed, small, zeros = raw.read(_INPUT), 0, 0
    while packed:
        member, size = zlib.decompressobj(zlib.MAX_WBITS | 16), 0
        while not member.eof:
            if not packed:
                raise EOFError("it ends within a member")
            piece = member.decompress(packed, _PIECE)
            packed = member.unconsumed_tail or (b"" if member.eof else raw.read(_INPUT))
            size += len(piece)
            yield piece
        small += size < _SMALL
        if small > _MAX_SMALL:
            raise EOFError(f"more than {_MAX_SMALL} members of fewer than {_SMALL} bytes")
        packed, zeros = _without_padding(member.unused_data or raw.read(_INPUT), raw, zeros)


def _without_padding(packed: bytes, raw: BinaryIO, zeros: int) -> tuple[bytes, int]:
    """What follows the zeros after a member, empty at the end of the file; and all zeros so far."""
    while packed:
        rest = packed.lstrip(b"\0")
        zeros += len(packed) - len(rest)
        if zeros > _MAX_PADDING:
            raise EOFError(f"more than {_MAX_PADDING} zeros after its members")
        if rest:
            return rest, zeros
        packed = raw.read(_INPUT)
    return b"", zeros


@contextmanager
def _packed(raw: BinaryIO, path: StrPath) -> Iterator[BinaryIO]:
    if not os.fsdecode(path).lower().endswith(".gz"):
        yield raw
        return
    import gzip

    # No name and no time in the gzip header, so that equal arrays give equal files.
    with gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as file:
        yield cast(BinaryIO, file)


def _header(path: StrPath, file: BinaryIO) -> tuple[np.dtype[np.generic], tuple[int, ...]]:
    magic = _exactly(path, file, 4, "header")
    zeros, code, rank = struct.unpack(">HBB", magic)
    if zeros != 0:
        _fail(path, f"starts with {magic.hex(' ')}, expected 00 00, a type and a rank")
    if code not in _TYPES:
        known = ", ".join(f"0x{known:02x} {dtype}" for known, dtype in _TYPES.items())
        _fail(path, f"element type 0x{code:02x}, expected one of {known}")
    if rank > _MAX_RANK:
        _fail(path, f"rank {rank}, expected at most {_MAX_RANK}")
    shape = struct.unpack(f">{rank}I", _exactly(path, file, 4 * rank, "header"))
    return _TYPES[code], shape


def _byte_size(
    path: StrPath, dtype: np.dtype[np.generic], shape: tuple[int, ...], limit: int
) -> int:
    # NumPy refuses shapes whose sizes overflow even where another size is zero.
    if math.prod(max(n, 1) for n in shape) * dtype.itemsize > sys.maxsize:
        _fail(path, f"declares shape {shape} of {dtype}, more than an array can address")
    size = math.prod(shape) * dtype.itemsize
    if size > limit:
        _fail(path, f"declares shape {shape} of {dtype}, {size} bytes, expected at most {limit}")
    return size


def _body(path: StrPath, file: BinaryIO, size: int) -> bytearray:
    data = _exactly(path, file, size, "data")
    if file.read(1):
        _fail(path, f"more than the {size} bytes of data that its header declares")
    return data


def _exactly(path: StrPath, file: BinaryIO, size: int, what: str) -> bytearray:
    data = bytearray()
    while chunk := file.read(min(size - len(data), _CHUNK)):
        data += chunk
    if len(data) < size:
        _fail(path, f"ends after {len(data)} bytes of {what}, expected {size}")
    return data


def _fail(path: StrPath, problem: str) -> NoReturn:
    raise IDXError(f"{os.fsdecode(path)}: {problem}")
