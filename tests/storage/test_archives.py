"""An archive gives back what was put in, and reads no more than it is sure of."""

from __future__ import annotations

import json
import os
import tracemalloc
import warnings
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fnnet import CheckpointError
from fnnet.storage.archives import LONGEST_HEADER, array_of, members_of, write_archive

Array: TypeAlias = npt.NDArray[Any]

HEADER = "header.json"
LIMIT = 2**24
DTYPES = ("<f4", "<f8", ">f4", "<f2", "|b1", "|i1", "|u1", "<i8", ">u2")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def npy(array: Array, version: tuple[int, int] = (1, 0)) -> bytes:
    file = BytesIO()
    np.lib.format.write_array(file, array, version)
    return file.getvalue()


def put(path: Path, members: list[tuple[str, bytes]], how: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", how) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names that come twice
        for name, content in members:
            archive.writestr(name, content)


def refused(path: Path, cause: str, limit: int = LIMIT) -> None:
    """Reading is an error with this cause, and takes little memory."""
    tracemalloc.start()
    try:
        with pytest.raises((CheckpointError, zipfile.BadZipFile), match=cause):
            members_of(path, limit, HEADER)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000 + 4 * path.stat().st_size


# What is put in comes out


@given(
    shape=st.lists(st.integers(0, 4), max_size=3),
    dtype=st.sampled_from(DTYPES),
    order=st.sampled_from("CF"),
    seed=st.integers(0, 99),
)
@settings(max_examples=60)
def test_an_array_comes_back_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory, shape: list[int], dtype: str, order: Any, seed: int
) -> None:
    path = tmp_path_factory.mktemp("archive") / "a"
    raw = np.random.default_rng(seed).integers(0, 2, shape)
    array = np.asarray(raw.astype(dtype), order=order)
    write_archive(path, HEADER, "{}", {"a.npy": array})
    members = members_of(path, LIMIT, HEADER)
    for expected in (array.shape, None):
        again = array_of("a.npy", expected, array.dtype, members)
        assert (again.dtype, again.shape) == (array.dtype, array.shape)
        assert np.array_equal(again, array)
        with pytest.raises(ValueError, match="WRITEABLE"):
            again.setflags(write=True)


def test_numpy_reads_what_was_written(path: Path) -> None:
    write_archive(path, HEADER, '{"a": 1}', {"w.npy": np.arange(6.0).reshape(2, 3)})
    with np.load(path, allow_pickle=False) as arrays:
        assert arrays["w"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert json.loads(members_of(path, LIMIT, HEADER)[HEADER]) == {"a": 1}


def test_text_in_any_alphabet_comes_back(path: Path) -> None:
    text = json.dumps({"κλάση": "猫"}, ensure_ascii=False)
    write_archive(path, HEADER, text, {})
    assert members_of(path, LIMIT, HEADER)[HEADER].decode() == text


def test_equal_contents_are_equal_bytes_at_any_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = {"a.npy": np.arange(3), "b.npy": np.ones((2, 2))}
    write_archive(tmp_path / "one", HEADER, "{}", arrays)
    monkeypatch.setattr("time.time", lambda: 2e9)
    monkeypatch.setattr("time.localtime", lambda *_: (2033, 5, 18, 3, 33, 20, 2, 138, 0))
    write_archive(tmp_path / "two", HEADER, "{}", {k: v.copy() for k, v in arrays.items()})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_nothing_is_compressed(path: Path) -> None:
    write_archive(path, HEADER, "{}", {"a.npy": np.zeros(1000)})
    with zipfile.ZipFile(path) as archive:
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.testzip() is None


def test_a_write_that_fails_keeps_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_archive(path, HEADER, "{}", {"a.npy": np.zeros(3)})
    before = path.read_bytes()

    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array", fail)
    with pytest.raises(OSError, match="No space left"):
        write_archive(path, HEADER, "{}", {"a.npy": np.ones(3)})
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["archive"]


def test_objects_are_not_written(path: Path) -> None:
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        write_archive(path, HEADER, "{}", {"a.npy": np.array([None])})
    assert os.listdir(path.parent) == []


# Headers


@pytest.mark.parametrize("letter", ["x", "猫"])
def test_a_header_of_one_mebibyte_is_the_longest(path: Path, letter: str) -> None:
    size = len(letter.encode())
    most = letter * (LONGEST_HEADER // size) + "x" * (LONGEST_HEADER % size)
    write_archive(path, HEADER, most, {})
    assert members_of(path, LIMIT, HEADER)[HEADER].decode() == most
    before = path.read_bytes()
    with pytest.raises(
        ValueError, match=r"extra takes 1,048,577 bytes of JSON.* long lists as arr"
    ):
        write_archive(path, HEADER, most + "x", {})
    assert path.read_bytes() == before
    put(path, [(HEADER, (most + "x").encode())])
    refused(path, "its header has 1,048,577 bytes, expected at most 1,048,576")


def test_a_history_in_a_header_of_version_1_may_be_longer(path: Path) -> None:
    text = b'{"format": "fnnet checkpoint", "version": 1, ' + b" " * LONGEST_HEADER
    put(path, [(HEADER, text)])
    assert members_of(path, LIMIT, HEADER)[HEADER] == text
    refused(path, "its header has .* bytes, expected at most 262,144", limit=2**21)
    for other in (
        b'{"version": 2, "format": "a", "version": 1, ',
        b'{"format": "a", "version": 10, ',
    ):
        put(path, [(HEADER, other + b" " * LONGEST_HEADER)])
        refused(path, "its header has .* bytes, expected at most 1,048,576")


@pytest.mark.parametrize("piece", [b"[],", b'{"":{}},', b'{"a":1},', b'"a","b",'])
def test_a_header_of_version_1_that_is_no_history_is_refused_unparsed(
    path: Path, piece: bytes
) -> None:
    start = b'{"format": "fnnet checkpoint", "version": 1, "history": ['
    put(path, [(HEADER, start + piece * 100_000 + b"0]}")])
    refused(path, "its header holds more than numbers of a history")
    names = "epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "seconds"
    rows = [dict.fromkeys(names, 0)] * 10_000
    text = start[:-1] + json.dumps(rows).encode() + b"}"
    put(path, [(HEADER, text)])
    assert members_of(path, LIMIT, HEADER)[HEADER] == text


def test_an_archive_without_a_header_is_refused(path: Path) -> None:
    put(path, [("other.json", b"{}")])
    refused(path, r"expected a member header\.json, got \['other\.json'\]")


# Claims


def test_a_file_above_the_limit_is_refused_unread(path: Path) -> None:
    write_archive(path, HEADER, "{}", {"a.npy": np.zeros(1000)})
    size = path.stat().st_size
    assert len(members_of(path, size, HEADER)) == 2
    refused(path, f"has {size} bytes, more than the limit of {size - 1}", limit=size - 1)


def test_compressed_members_are_refused_unread(path: Path) -> None:
    put(path, [(HEADER, b"{}"), ("a.npy", bytes(50_000_000))], zipfile.ZIP_DEFLATED)
    refused(path, "members must be stored without compression")


def test_names_that_come_twice_are_refused(path: Path) -> None:
    put(path, [(HEADER, b"{}"), ("a.npy", npy(np.ones(9))), ("a.npy", npy(np.zeros(9)))])
    refused(path, "expected members of different names")


def test_more_entries_than_members_fit_are_refused_unread(path: Path) -> None:
    put(path, [(HEADER, b"{}"), ("a", b"PK\1\2" * 10_000)])
    refused(path, "more members than fit into")


def test_a_member_whose_bytes_are_damaged_is_refused(path: Path) -> None:
    write_archive(path, HEADER, "{}", {"a.npy": np.full(100, 7.25)})
    content = bytearray(path.read_bytes())
    content[content.index(np.full(2, 7.25).tobytes())] ^= 1
    path.write_bytes(content)
    refused(path, "Bad CRC-32 for file 'a.npy'")


# Arrays


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (npy(np.zeros((3, 2))), r"a: expected float64 \(2, 3\), got float64 \(3, 2\)"),
        (npy(np.zeros((2, 3), "f4")), r"a: expected float64 \(2, 3\), got float32 \(2, 3\)"),
        (npy(np.zeros((2, 3), ">f8")), r"a: expected float64 \(2, 3\), got >f8 \(2, 3\)"),
        (npy(np.zeros((2, 3)), (2, 0)), "a: .* in version 1.0 of the npy format"),
        (npy(np.zeros((2, 3))).replace(b"NUMPY", b"NUMPX"), "a: .* in version 1.0 of the npy"),
        (npy(np.zeros((2, 3))).replace(b"\x93", b"\x92"), "a: .* in version 1.0 of the npy"),
        (npy(np.zeros((2, 3)))[:-1], "buffer size must be a multiple|cannot reshape"),
        (npy(np.zeros((2, 3)))[:-8], "cannot reshape array of size 5"),
        (npy(np.zeros((2, 3))) + bytes(8), "cannot reshape array of size 7"),
        (npy(np.zeros((2, 3)))[:30], "a: expected float64"),
        (npy(np.zeros((2, 3))).replace(b"(2, 3)", b"(-2,3)"), "a: expected float64"),
        (npy(np.zeros((2, 3))).replace(b"(2, 3)", b"(2 -3)"), "invalid literal|a: expected"),
        (npy(np.zeros((2, 3))).replace(b"(2, 3)", b"exit()"), "a: expected float64"),
        (npy(np.zeros((2, 3))).replace(b"'<f8'", b"'|O8'"), "a: expected float64|not understood"),
        (npy(np.zeros((2, 3), [("a", "f8")])), "a: expected float64"),
        (b"", "a: expected float64"),
        (b"\x80\4N.", "a: expected float64"),
    ],
)
def test_another_array_than_the_one_expected_is_refused(content: bytes, cause: str) -> None:
    with pytest.raises((ValueError, TypeError), match=cause):
        array_of("a", (2, 3), np.dtype(np.float64), {"a": content})


@pytest.mark.parametrize("shape", [b"(-1,)", b"(-6,)", b"(-2, -3)"])
def test_negative_sizes_are_refused_where_any_shape_is_welcome(shape: bytes) -> None:
    content = npy(np.zeros(6)).replace(b"(6,), }", shape + b", }", 1)
    start = 10 + int.from_bytes(content[8:10], "little")
    excess = len(content) - len(npy(np.zeros(6)))
    content = content[: start - 1] + content[start - 1 + excess :]
    with pytest.raises(ValueError, match="a: expected float64 None, got"):
        array_of("a", None, np.dtype(np.float64), {"a": content})


def test_a_missing_member_is_named() -> None:
    with pytest.raises(CheckpointError, match=r"expected a member w\.npy, which is missing"):
        array_of("w.npy", (1,), np.dtype(np.float64), {})
