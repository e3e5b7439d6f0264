"""IDX files: what is written comes back, and what is damaged is refused in a sentence."""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import os
import struct
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from fnnet.data.idx import IDXError, contents_digest, is_packed, map_idx, read_idx, write_idx

CODES = {
    "uint8": 0x08,
    "int8": 0x09,
    "int16": 0x0B,
    "int32": 0x0C,
    "float32": 0x0D,
    "float64": 0x0E,
}


def idx(code: int, shape: tuple[int, ...], data: bytes) -> bytes:
    """The format, written out."""
    sizes = b"".join(n.to_bytes(4, "big") for n in shape)
    return bytes([0, 0, code, len(shape)]) + sizes + data


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.idx"


@contextmanager
def memory_below(limit: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("dtype", "layout"), [*zip(CODES, "Bbhifd", strict=True)])
def test_every_element_type_is_read_as_the_format_defines_it(
    path: Path, dtype: str, layout: str
) -> None:
    values = [1, 2, 3, 100, 5, 6]
    path.write_bytes(idx(CODES[dtype], (2, 3), struct.pack(f">6{layout}", *values)))
    array = read_idx(path)
    assert array.dtype == np.dtype(dtype)
    assert array.dtype.isnative
    assert array.tolist() == [[1, 2, 3], [100, 5, 6]]
    assert not array.flags.writeable


@pytest.mark.parametrize("dtype", CODES)
def test_every_element_type_is_written_as_the_format_defines_it(path: Path, dtype: str) -> None:
    array = np.array([[1, 2, 3], [100, 5, 6]], dtype)
    write_idx(path, array)
    data = array.astype(array.dtype.newbyteorder(">")).tobytes()
    assert path.read_bytes() == idx(CODES[dtype], (2, 3), data)


@pytest.mark.parametrize("dtype", CODES)
def test_a_mapped_file_has_what_read_idx_reads(path: Path, dtype: str) -> None:
    write_idx(path, np.array([[1, 2, 3], [100, 5, 6]], dtype))
    array = map_idx(path)
    assert isinstance(array, np.memmap)
    assert not array.flags.writeable
    np.testing.assert_array_equal(array, read_idx(path))
    assert array.dtype == np.dtype(dtype).newbyteorder(">")


@pytest.mark.parametrize("shape", [(), (0,), (0, 28, 28), (3, 0), (1,) * 64])
def test_any_shape_is_mapped(path: Path, shape: tuple[int, ...]) -> None:
    write_idx(path, np.full(shape, 7, np.int16))
    assert map_idx(path).shape == shape
    assert map_idx(str(path)).tolist() == read_idx(path).tolist()


def test_mapping_reads_no_elements(path: Path) -> None:
    with open(path, "wb") as file:
        file.write(idx(8, (2**26,), b""))
        file.truncate(8 + 2**26)
    with memory_below(1_000_000):
        assert map_idx(path).shape == (2**26,)
    with pytest.raises(IDXError, match="expected at most"):
        read_idx(path, limit=2**25)


elements = st.sampled_from([*CODES, ">i2", "<i2", ">i4", "<i4", ">f4", "<f4", ">f8", "<f8"])
shapes = array_shapes(min_dims=0, max_dims=6, min_side=0, max_side=4)


@given(array=arrays(elements.map(np.dtype), shapes), suffix=st.sampled_from([".idx", ".idx.gz"]))
@settings(max_examples=150)
def test_a_round_trip_is_exact(array: NDArray[np.generic], suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        write_idx(path, array)
        back = read_idx(path)
    native = array.astype(array.dtype.newbyteorder("="))
    assert back.dtype == native.dtype
    assert back.shape == native.shape
    assert back.tobytes() == native.tobytes()  # NaNs, their payloads and zeros' signs too


@pytest.mark.parametrize("rank", [0, 1, 32, 64])
def test_any_rank_that_numpy_has_makes_the_round_trip(path: Path, rank: int) -> None:
    array = np.full((1,) * rank, 7, np.int16)
    write_idx(path, array)
    assert read_idx(path).shape == array.shape
    assert read_idx(path).item() == 7


def test_views_that_are_not_contiguous_are_written_in_their_own_order(path: Path) -> None:
    array = np.arange(24, dtype=np.int32).reshape(4, 6)[::-2, 1::2].T
    write_idx(path, array)
    np.testing.assert_array_equal(read_idx(path), array)


def test_gzip_is_detected_by_content_and_not_by_name(path: Path) -> None:
    path.write_bytes(gzip.compress(idx(8, (3,), b"abc")))
    assert read_idx(path).tobytes() == b"abc"
    other = path.with_suffix(".gz")
    other.write_bytes(idx(8, (3,), b"abc"))
    assert read_idx(str(other)).tobytes() == b"abc"


@pytest.mark.parametrize("cut", [2, 9])
def test_concatenated_gzip_members_are_one_file(path: Path, cut: int) -> None:
    whole = idx(8, (3,), b"abc")
    path.write_bytes(gzip.compress(whole[:cut]) + gzip.compress(b"") + gzip.compress(whole[cut:]))
    assert read_idx(path).tobytes() == b"abc"


def test_gzip_output_does_not_depend_on_time_or_name(tmp_path: Path) -> None:
    array = np.arange(1000, dtype=np.int32)
    one, two = tmp_path / "one.gz", tmp_path / "two.gz"
    write_idx(one, array)
    write_idx(two, array)
    assert one.read_bytes() == two.read_bytes()
    assert one.read_bytes()[4:8] == bytes(4)
    assert gzip.decompress(one.read_bytes())[:4] == bytes([0, 0, 0x0C, 1])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "ends after 0 bytes of header, expected 4"),
        (b"\0\0\x08", "ends after 3 bytes of header, expected 4"),
        (b"\0\0\x08\x02\0\0\0\x01\0\0", "ends after 6 bytes of header, expected 8"),
        (b"<!DOCTYPE html>", "starts with 3c 21 44 4f, expected 00 00"),
        (b"\0\x01\x08\x01", "starts with 00 01 08 01"),
        (b"\0\0\x0a\x01\0\0\0\x01a", "element type 0x0a, expected one of 0x08 uint8, 0x09"),
        (b"\0\0\x08\x41" + bytes(65 * 4), "rank 65, expected at most 64"),
        (idx(8, (2, 2), b"abc"), "ends after 3 bytes of data, expected 4"),
        (idx(8, (2, 2), b"abcde"), "more than the 4 bytes of data that its header declares"),
        (idx(8, (0,), b"a"), "more than the 0 bytes"),
        (idx(0x0E, (2**32 - 1, 2**32 - 1), b""), "more than an array can address"),
        (idx(8, (0, 2**32 - 1, 2**32 - 1), b""), "more than an array can address"),
        (idx(0x0C, (2**29 + 1,), b""), "2147483652 bytes, expected at most 2147483648"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_malformed_file_is_refused_with_its_path_and_what_is_wrong(
    path: Path, content: bytes, problem: str, packed: bool
) -> None:
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(IDXError) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "ends after 0 bytes of header, expected 4"),
        (b"\0\0\x08\x02\0\0\0\x01\0\0", "ends after 6 bytes of header, expected 8"),
        (b"\x93NUMPY\x01\0", "starts with 93 4e 55 4d, expected 00 00"),
        (idx(8, (2, 2), b"abc"), "has 3 bytes of data, expected 4 as its header declares"),
        (idx(8, (2, 2), b"abcde"), "has 5 bytes of data, expected 4"),
        (idx(0x0E, (2**32 - 1, 2**32 - 1), b""), "more than an array can address"),
        (gzip.compress(b"", mtime=0), "gzipped, which cannot be mapped: unpack it"),
    ],
)
def test_a_file_that_cannot_be_mapped_is_refused_with_its_path_and_what_is_wrong(
    path: Path, content: bytes, problem: str
) -> None:
    path.write_bytes(content)
    with pytest.raises(IDXError) as caught:
        map_idx(path)
    assert str(path) in str(caught.value)
    assert problem in str(caught.value)


@pytest.mark.parametrize("damage", ["cut", "crc", "body", "tail", "magic only", "empty member"])
def test_damaged_gzip_is_an_idx_error(path: Path, damage: str) -> None:
    good = bytearray(gzip.compress(idx(8, (1000,), bytes(range(250)) * 4)))
    if damage == "cut":
        good = good[:-9]
    elif damage == "crc":
        good[-5] ^= 1
    elif damage == "body":
        good[30:200] = bytes(170)
    elif damage == "tail":
        good += b"junk"
    elif damage == "magic only":
        good = good[:2]
    else:
        good = bytearray(gzip.compress(b""))
    path.write_bytes(good)
    with pytest.raises(IDXError, match=r"a\.idx: "):
        read_idx(path)


def test_the_limit_counts_bytes_of_elements(path: Path) -> None:
    write_idx(path, np.zeros(10, np.int32))
    assert read_idx(path, limit=40).shape == (10,)
    with pytest.raises(IDXError, match="40 bytes, expected at most 39"):
        read_idx(path, limit=39)


@pytest.mark.parametrize("packed", [False, True])
def test_a_tiny_file_that_claims_two_gigabytes_allocates_next_to_nothing(
    path: Path, packed: bool
) -> None:
    content = idx(8, (2**31,), b"only this")
    path.write_bytes(gzip.compress(content) if packed else content)
    with memory_below(4_000_000), pytest.raises(IDXError, match="ends after 9 bytes"):
        read_idx(path)


def test_a_gzip_bomb_is_not_unpacked_beyond_the_declared_end(path: Path) -> None:
    with gzip.open(path, "wb") as file:
        file.write(idx(8, (10,), b""))
        for _ in range(64):
            file.write(bytes(1 << 20))
    with memory_below(2_000_000), pytest.raises(IDXError, match="more than the 10 bytes"):
        read_idx(path)


WHOLE = gzip.compress(idx(8, (3,), b"abc"), mtime=0)


@pytest.mark.parametrize(
    "content",
    [WHOLE + bytes(1 << 20), WHOLE + bytes(100_000) + gzip.compress(b""), WHOLE + bytes(8192)],
    ids=["a MiB", "between two", "8 KiB"],
)
def test_padding_after_gzip_data_is_read_over(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert read_idx(path).tobytes() == b"abc"


@pytest.mark.parametrize(
    ("tail", "problem"),
    [
        (bytes((1 << 20) + 1), "more than 1048576 zeros after its members"),
        (bytes(64 << 20), "more than 1048576 zeros after its members"),
        (bytes(64 << 20) + WHOLE, "more than 1048576 zeros after its members"),
        ((bytes(1 << 18) + gzip.compress(b"")) * 400, "more than 1048576 zeros after its members"),
        (gzip.compress(b"") * 100_000, "more than 1000 members of fewer than 100 bytes"),
        (gzip.compress(b"1") * 100_000, "more than 1000 members of fewer than 100 bytes|more than"),
        (bytes(100) + b"junk", "incorrect header check"),
    ],
    ids=["one too many", "64 MiB", "between two", "between many", "empty", "of a byte", "junk"],
)
def test_what_has_no_end_after_gzip_data_is_refused_at_once(
    path: Path, tail: bytes, problem: str
) -> None:
    path.write_bytes(WHOLE + tail)
    read = 0

    class Counted(io.FileIO):
        def readinto(self, buffer: Any) -> int:
            nonlocal read
            count = super().readinto(buffer)
            read += count or 0
            return count or 0

    def open_counted(name: Any) -> io.BufferedReader:
        return io.BufferedReader(Counted(name))

    with pytest.MonkeyPatch.context() as patch, memory_below(2_000_000):
        patch.setattr("fnnet.data.idx.open_regular", open_counted)
        with pytest.raises(IDXError, match=rf"damaged gzip data \({problem}\)|{problem}"):
            read_idx(path)
    assert read < 1_200_000


def test_gzip_with_all_that_its_header_may_hold_is_read(path: Path) -> None:
    plain = gzip.compress(idx(8, (3,), b"abc"))
    # Flags: extra field, name, comment.
    header = plain[:3] + b"\x1c" + plain[4:10] + b"\x02\x00ab" + b"name\0" + b"comment\0"
    path.write_bytes(header + plain[10:])
    assert read_idx(path).tobytes() == b"abc"


def test_the_digest_of_contents_is_that_of_the_unpacked_file(path: Path) -> None:
    grid = np.arange(12).reshape(3, 4)
    for array in (grid.astype(np.uint8), grid.astype(np.float64)[:, ::2], grid.astype(">i2").T):
        write_idx(path, array)
        assert contents_digest(array) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_packed_is_told_by_content(path: Path) -> None:
    path.write_bytes(WHOLE)
    assert is_packed(path)
    path.write_bytes(gzip.decompress(WHOLE))
    assert not is_packed(path)
    path.write_bytes(b"")
    assert not is_packed(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX's")
def test_a_pipe_is_refused_and_not_waited_for(path: Path) -> None:
    if sys.platform != "win32":
        os.mkfifo(path)
    for function in (read_idx, map_idx):
        with pytest.raises(OSError, match="it is a pipe or a device, expected a regular file"):
            function(path)


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    write_idx("~/a.idx", np.array([7], np.uint8))
    assert read_idx("~/a.idx").tolist() == read_idx(tmp_path / "a.idx").tolist() == [7]
    assert map_idx("~/a.idx").tolist() == [7]


def test_a_missing_file_is_the_usual_error(path: Path) -> None:
    for function in (read_idx, map_idx):
        with pytest.raises(FileNotFoundError):
            function(path)


@pytest.mark.parametrize("dtype", ["bool", "int64", "uint16", "float16", "complex64", "O", "U3"])
def test_types_that_idx_lacks_are_refused_rather_than_converted(path: Path, dtype: str) -> None:
    with pytest.raises(TypeError, match="expected one that IDX has: uint8, int8"):
        write_idx(path, np.zeros(3, dtype))
    assert not path.exists()


def test_a_size_beyond_32_bits_is_refused(path: Path) -> None:
    huge = np.broadcast_to(np.uint8(0), (1, 2**32))
    with pytest.raises(IDXError, match=r"expected sizes below 2\*\*32"):
        write_idx(path, huge)
    assert not path.exists()


def test_reading_and_writing_leave_the_array_as_it_was(path: Path) -> None:
    array = np.arange(6, dtype=">i2").reshape(2, 3)
    array.flags.writeable = False
    before = array.tobytes()
    write_idx(path, array)
    assert array.tobytes() == before
    assert array.dtype == np.dtype(">i2")


@st.composite
def mutated_files(draw: st.DrawFn) -> bytes:
    dtype = np.dtype(draw(st.sampled_from([*CODES])))
    shape = draw(st.sampled_from([(), (3,), (2, 3), (5, 1, 2)]))
    content = idx(CODES[dtype.name], shape, b"Z" * math.prod(shape) * dtype.itemsize)
    raw = bytearray(gzip.compress(content, mtime=0) if draw(st.booleans()) else content)
    for _ in range(draw(st.integers(0, 3))):
        raw[draw(st.integers(0, len(raw) - 1))] = draw(st.integers(0, 255))
    return bytes(raw[: draw(st.integers(0, len(raw)))]) + draw(st.binary(max_size=3))


@given(content=mutated_files())
@settings(max_examples=300)
def test_a_mutated_file_reads_or_is_refused_within_bounded_memory(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.idx"
        path.write_bytes(content)
        with memory_below(4_000_000), suppress(IDXError):
            array = read_idx(path)
            unpacked = gzip.decompress(content) if content[0] else content
            assert array.nbytes + 4 + 4 * array.ndim == len(unpacked)
