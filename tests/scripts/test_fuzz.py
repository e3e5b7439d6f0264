"""Damaged and forged files: a short run of what prove/fuzz.py does a million times, and bombs."""

from __future__ import annotations

import dataclasses
import gzip
import json
import re
import struct
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fnnet_scripts import damage

import fnnet
from fnnet.optimizers.states import OPTIMIZERS
from tests.scripts.shared import load

fuzz = load("fuzz")
LIMIT: int = fuzz.LIMIT
READ_IDX = fnnet.read_idx


@pytest.mark.parametrize(("reader", "count"), [("idx", 4000), ("checkpoint", 1000)])
def test_nothing_but_the_documented_error_comes_out(reader: str, count: int) -> None:
    outcomes, grown = fuzz.fuzz(reader, count, seed=1)
    assert outcomes["accepted"] > count // 50
    assert outcomes["refused"] > count // 2
    assert grown <= 10 * LIMIT


def test_a_checkpoint_of_every_optimizer_is_damaged(tmp_path: Path) -> None:
    files = fuzz.checkpoint_files(tmp_path)
    found = set()
    for content, _ in files:
        (tmp_path / "c").write_bytes(content)
        fuzz.use_checkpoint(tmp_path / "c")  # which are right as they are
        found.add(type(fnnet.load_checkpoint(tmp_path / "c").state))
    assert found == set(OPTIMIZERS)


def test_a_wrong_number_in_a_state_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = fnnet.load_checkpoint
    content, _ = fuzz.checkpoint_files(tmp_path)[1]
    (tmp_path / "c").write_bytes(content)

    def later(path: Path, limit: int) -> Any:
        return dataclasses.replace(load(path), epoch=2)

    def other(path: Path, limit: int) -> Any:
        right = load(path)
        params = fnnet.tree_map(lambda leaf: leaf + 1, right.state.params)
        state: Any = right.state
        return dataclasses.replace(right, state=dataclasses.replace(state, params=params))

    def better(path: Path, limit: int) -> Any:
        right = load(path)
        history = (dataclasses.replace(right.history[0], test_loss=0.25),)
        return dataclasses.replace(right, history=history)

    wrong = (later, "the epoch was 2"), (other, "params.0 was"), (better, "a row of the history")
    for reader, what in wrong:
        monkeypatch.setattr(fnnet, "load_checkpoint", reader)
        with pytest.raises(fuzz.WrongValueError, match=what):
            fuzz.use_checkpoint(tmp_path / "c")


def test_lies_agree_and_members_of_gzip_have_neighbours(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    content, _ = fuzz.checkpoint_files(tmp_path)[0]
    refused = 0
    for _ in range(60):
        (tmp_path / "c").write_bytes(damage.mutated_together(rng, content))
        with zipfile.ZipFile(tmp_path / "c") as archive:
            header = json.loads(archive.read("header.json"))
            first = archive.read("params.0.npy")
        claimed = str(tuple(damage.shapes_of(header)[0])).encode()
        assert b"'shape': " + claimed in first  # or the lie would not be one that agrees
        try:
            fuzz.use_checkpoint(tmp_path / "c")
        except fnnet.CheckpointError:
            refused += 1
    assert refused > 30
    plain = bytes([0, 0, 8, 1, 0, 0, 0, 5]) + b"12345"
    packed = {damage.mutated_members(rng, gzip.compress(plain, 1, mtime=0)) for _ in range(60)}
    assert len(packed) > 20


def broken(path: Path, limit: int) -> Any:
    raise KeyError("oops")


def talkative(path: Path, limit: int) -> Any:
    warnings.warn("overflow", RuntimeWarning, stacklevel=1)
    return READ_IDX(path, limit=limit)


def wrong(path: Path, limit: int) -> Any:
    array = READ_IDX(path, limit=limit)
    return array[..., ::-1]  # of the right shape and type


def transposed(path: Path, limit: int) -> Any:
    return READ_IDX(path, limit=limit).T


@pytest.mark.parametrize(
    ("reader", "problem"),
    [
        (broken, "KeyError('oops')"),
        (talkative, "RuntimeWarning('overflow"),
        (wrong, 'WrongValueError("the content was'),
        (transposed, 'WrongValueError("shape was'),
    ],
)
def test_another_error_a_warning_or_a_wrong_value_is_reported_with_the_file_that_caused_it(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    reader: Callable[..., Any],
    problem: str,
) -> None:
    monkeypatch.setattr(fnnet, "read_idx", reader)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert fuzz.main(["idx", "--count", "30"]) == 1
    message = capsys.readouterr().err
    assert re.search(rf"file \d+: {re.escape(problem)}", message)
    assert " came out; kept as " in message
    (kept,) = tmp_path.glob("fnnet-idx-0-*")
    assert kept.stat().st_size > 0


# Files made to exhaust memory


def checkpoint_members(path: Path, rng: np.random.Generator) -> dict[str, bytes]:
    state = fnnet.rmsprop_init(fnnet.init_params(0, (3, 2)))
    fnnet.save_checkpoint(path, fnnet.Checkpoint(state, rng))
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def deep(header: dict[str, Any]) -> bytes:
    return b"[" * 100_000 + b"]" * 100_000


def many_lists(header: dict[str, Any]) -> bytes:
    return b"[" + b"[]," * (LIMIT // 4) + b"[]]"


def nested_dicts(header: dict[str, Any]) -> bytes:
    """The costliest bytes of JSON: forty times their size."""
    return b"[" + b'{"":{"":{"":{}}}},' * (LIMIT // 8 // 18 - 1) + b"[]]"


def wide_and_long(header: dict[str, Any]) -> bytes:
    """20,000 layers whose arrays each have 20,000 axes: three gigabytes of shapes."""
    return json.dumps({**header, "ensemble": [1] * 20_000, "sizes": [1] * 20_000}).encode()


def long_number(header: dict[str, Any]) -> bytes:
    return json.dumps(header).replace('"epoch": 0', '"epoch": ' + "9" * 100_000).encode()


HEADER_BOMBS = [
    deep,
    many_lists,
    nested_dicts,
    wide_and_long,
    long_number,
]


@pytest.mark.parametrize("bomb", HEADER_BOMBS, ids=lambda bomb: bomb.__name__)
def test_no_header_makes_a_checkpoint_exhaust_memory(
    tmp_path: Path, bomb: Callable[[dict[str, Any]], bytes]
) -> None:
    members = checkpoint_members(tmp_path / "c", np.random.default_rng(0))
    header = bomb(json.loads(members["header.json"]))
    rest = bytes(max(0, LIMIT - len(header) - 2000))
    write(tmp_path / "c", {**members, "header.json": header, "rest": rest})
    assert_refused_within_memory(tmp_path / "c")


def assert_refused_within_memory(path: Path) -> str:
    assert path.stat().st_size <= LIMIT
    tracemalloc.start()
    try:
        with pytest.raises(fnnet.CheckpointError) as caught:
            fnnet.load_checkpoint(path, limit=LIMIT)
        assert tracemalloc.get_traced_memory()[1] < 10 * LIMIT
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith(str(path))
    assert len(str(caught.value)) < len(str(path)) + 500
    return str(caught.value)


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    members = checkpoint_members(tmp_path / "c", np.random.default_rng(0))
    write(tmp_path / "c", {**members, "params.0.npy": bytes(100 * LIMIT)}, zipfile.ZIP_DEFLATED)
    assert_refused_within_memory(tmp_path / "c")


def test_a_directory_of_entries_without_members_is_refused(tmp_path: Path) -> None:
    """An entry of 47 bytes would cost zipfile ten times as much."""
    count = LIMIT // 50
    entry = struct.pack("<4sHHHHHHLLLHHHHHLL", b"PK\1\2", *[20] * 2, *[0] * 7, 1, *[0] * 6) + b"a"
    end = struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, count, count, count * len(entry), 0, 0)
    (tmp_path / "c").write_bytes(entry * count + end)
    assert "more members than fit" in assert_refused_within_memory(tmp_path / "c")


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    members = checkpoint_members(tmp_path / "c", np.random.default_rng(0))
    archive = zipfile.ZipFile(tmp_path / "c", "a")
    with archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("header.json", members["header.json"])
    with pytest.raises(fnnet.CheckpointError, match="members of different names"):
        fnnet.load_checkpoint(tmp_path / "c")


def test_a_history_of_ten_thousand_epochs_is_within_the_limit(tmp_path: Path) -> None:
    row = fnnet.Metrics(10_000, 1 / 3, 1 / 3, 1 / 3, 1 / 3, 1 / 3)
    state = fnnet.rmsprop_init(fnnet.init_params(0, (3, 2)))
    saved = fnnet.Checkpoint(state, np.random.default_rng(0), 10_000, (row,) * 10_000)
    fnnet.save_checkpoint(tmp_path / "c", saved)
    # As text, in which NaN is NaN.
    assert repr(fnnet.load_checkpoint(tmp_path / "c").history) == repr(saved.history)


def test_a_machine_without_memory_is_not_blamed_on_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*args: object, **kwargs: object) -> None:
        raise MemoryError

    checkpoint_members(tmp_path / "c", np.random.default_rng(0))
    monkeypatch.setattr(np, "frombuffer", exhausted)
    with pytest.raises(MemoryError):
        fnnet.load_checkpoint(tmp_path / "c")


@pytest.mark.parametrize("position", [-1, 625, 10**6, 2**31 - 1, 2**70])
def test_a_position_outside_of_a_mersenne_twister_is_refused(tmp_path: Path, position: int) -> None:
    """NumPy takes it, and the next draw reads memory that is not the generator's."""
    rng = np.random.Generator(np.random.MT19937(0))
    for allowed in (0, 624):
        load_with(tmp_path / "c", rng, ("state", "pos"), allowed)
    with pytest.raises(fnnet.CheckpointError):
        load_with(tmp_path / "c", rng, ("state", "pos"), position)


@pytest.mark.parametrize("position", [-1, 5, 2**31 - 1])
def test_a_position_outside_of_philoxs_numbers_is_refused(tmp_path: Path, position: int) -> None:
    rng = np.random.Generator(np.random.Philox(0))
    for allowed in (1, 4):  # of which 0 was one before NumPy 2.5
        load_with(tmp_path / "c", rng, ("buffer_pos",), allowed)
    with pytest.raises(fnnet.CheckpointError):
        load_with(tmp_path / "c", rng, ("buffer_pos",), position)


def load_with(path: Path, rng: np.random.Generator, place: tuple[str, ...], value: int) -> None:
    """Load a checkpoint of a generator that has another value there."""
    members = checkpoint_members(path, rng)
    header = json.loads(members["header.json"])
    node = header["rng"]["state"]
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    write(path, {**members, "header.json": json.dumps(header).encode()})
    fnnet.load_checkpoint(path)


def test_a_gzip_bomb_is_refused_unless_the_limit_is_raised(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes([0, 0, 8, 1]) + (16 * LIMIT).to_bytes(4, "big") + bytes(16 * LIMIT))
    (tmp_path / "a").write_bytes(bomb)
    assert len(bomb) < LIMIT // 10
    tracemalloc.start()
    try:
        with pytest.raises(fnnet.IDXError, match=f"{16 * LIMIT} bytes, expected at most {LIMIT}"):
            fnnet.read_idx(tmp_path / "a", limit=LIMIT)
        assert tracemalloc.get_traced_memory()[1] < LIMIT
    finally:
        tracemalloc.stop()
    assert fnnet.read_idx(tmp_path / "a", limit=16 * LIMIT).shape == (16 * LIMIT,)
