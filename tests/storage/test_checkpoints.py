"""A checkpoint comes back to the bit, or not at all: with a sentence that names the file."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

import fnnet
from fnnet import Checkpoint, CheckpointError, Layer, Metrics, Params, RMSPropState
from fnnet import load_checkpoint as load
from fnnet import save_checkpoint as save

Array: TypeAlias = npt.NDArray[Any]
Members: TypeAlias = dict[str, bytes]

BIT_GENERATORS = [
    np.random.PCG64,
    np.random.PCG64DXSM,
    np.random.MT19937,
    np.random.Philox,
    np.random.SFC64,
]
HISTORY = (
    Metrics(1, 2.25, 0.125, float("nan"), float("nan"), 0.5),
    Metrics(2, 1 / 3, 0.1 + 0.2, 1e-300, 1.0, 5e-324),
)


def trained(sizes: tuple[int, ...] = (3, 4, 2), dtype: str = "float32") -> RMSPropState:
    state = fnnet.rmsprop_init(fnnet.init_params(0, sizes, dtype), 1 / 3, 0.7, 1e-7)
    for seed in (1, 2):
        state = fnnet.rmsprop_update(state, fnnet.init_params(seed, sizes, dtype))
    return state


def checkpoint(**changes: Any) -> Checkpoint[RMSPropState]:
    return dataclasses.replace(
        Checkpoint(trained(), np.random.default_rng(5), 2, HISTORY), **changes
    )


def bits(tree: Params) -> bytes:
    return fnnet.tree_ravel(tree)[0].tobytes()


def facts(saved: Checkpoint[Any]) -> object:
    """All that a checkpoint holds, such that equality is equality of bits."""
    state = saved.state
    trees = [
        (leaf.dtype, leaf.shape, leaf.tobytes())
        for tree in (state.params, state.mean_squares)
        for leaf in fnnet.tree_leaves(tree)
    ]
    numbers = (state.step, np.asarray(state.learning_rate).tolist(), state.decay, state.eps)
    return trees, numbers, saved.rng, saved.epoch, repr(saved.history), repr(saved.extra)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.npz"


# What is saved comes back


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", [(1, 1), (3, 2), (4, 3, 3, 2), (2, 200, 1)])
def test_a_round_trip_is_exact(path: Path, sizes: tuple[int, ...], dtype: str) -> None:
    saved = checkpoint(state=trained(sizes, dtype))
    save(path, saved)
    assert facts(load(path)) == facts(saved)


@pytest.mark.parametrize("kind", BIT_GENERATORS)
def test_a_generator_goes_on_where_it_stood(path: Path, kind: Any) -> None:
    rng = np.random.Generator(kind(3))
    rng.permutation(7)
    rng.integers(0, 9, 3, dtype=np.uint32)  # leaves half a number behind
    before = repr(rng.bit_generator.state)
    save(path, checkpoint(rng=rng))
    assert repr(rng.bit_generator.state) == before
    again = load(path).rng.generator()
    assert type(again.bit_generator) is kind
    for draw in (rng, again):
        draw.integers(0, 9, dtype=np.uint32)
    assert again.permutation(1000).tolist() == rng.permutation(1000).tolist()


@pytest.mark.parametrize("name", ["run", "run.npz", "run.ckpt", "run.tar.gz", ".run", "a b ü 年"])
@pytest.mark.parametrize("kind", [str, Path])
def test_any_name_is_kept_as_it_is(tmp_path: Path, name: str, kind: Callable[[Path], Any]) -> None:
    save(kind(tmp_path / name), checkpoint())
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert facts(load(kind(tmp_path / name))) == facts(checkpoint())


@pytest.mark.parametrize("rate", [0.1, 1, np.float64(0.1), np.float32(0.1), np.array(0.1)])
def test_a_learning_rate_of_any_type_comes_back(path: Path, rate: Any) -> None:
    saved = checkpoint(state=dataclasses.replace(trained(), learning_rate=rate))
    save(path, saved)
    again = load(path, RMSPropState)
    assert again.state.learning_rate == rate
    gradient = trained().params
    one, two = (fnnet.rmsprop_update(c.state, gradient) for c in (saved, again))
    assert bits(one.params) == bits(two.params)


def test_an_epoch_may_be_a_numpy_integer(path: Path) -> None:
    save(path, checkpoint(epoch=np.int64(7)))
    assert load(path).epoch == 7


def test_an_ensemble_comes_back(path: Path) -> None:
    members = [fnnet.init_params(seed, (3, 4, 2)) for seed in range(3)]
    together = fnnet.tree_map(lambda *leaves: np.stack(leaves), *members)
    saved = checkpoint(state=fnnet.rmsprop_init(together, np.array([0.1, 0.2, 0.3])))
    save(path, saved)
    assert facts(load(path)) == facts(saved)


def test_parameters_of_any_layout_come_back(path: Path) -> None:
    w = np.asfortranarray(np.arange(6.0).reshape(3, 2))
    b = np.arange(4.0)[::2]
    for array in (w, b):
        array.setflags(write=False)  # else a layer would take a copy in C's order
    saved = checkpoint(state=fnnet.rmsprop_init(Params((Layer(w, b),))))
    save(path, saved)
    assert load(path).state.params.layers[0].w.tolist() == w.tolist()
    assert load(path).state.params.layers[0].b.tolist() == b.tolist()


def test_what_is_loaded_is_as_read_only_as_what_was_saved(path: Path) -> None:
    save(path, checkpoint())
    state = load(path, RMSPropState).state
    for tree in (state.params, state.mean_squares):
        for leaf in fnnet.tree_leaves(tree):
            with pytest.raises(ValueError, match="WRITEABLE"):
                leaf.setflags(write=True)


def test_numpy_alone_reads_the_arrays(path: Path) -> None:
    save(path, checkpoint())
    with np.load(path, allow_pickle=False) as arrays:
        leaves = fnnet.tree_leaves(trained().params)
        for i, leaf in enumerate(leaves):
            assert np.array_equal(arrays[f"params.{i}"], leaf)


def test_the_same_checkpoint_makes_the_same_members(tmp_path: Path) -> None:
    save(tmp_path / "a", checkpoint())
    save(tmp_path / "b", load(tmp_path / "a"))
    assert members(tmp_path / "a") == members(tmp_path / "b")


# A write is whole or it never happened


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.parametrize("after", [0, 1, 5, 7])
def test_a_failure_halfway_keeps_the_old_file_and_leaves_no_other(
    path: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(path, checkpoint(epoch=1))
    write: Callable[..., None] = np.lib.format.write_array
    calls = iter(range(100))

    def fail(*args: Any, **kwargs: Any) -> None:
        if next(calls) == after:
            raise OSError(28, "No space left on device")
        write(*args, **kwargs)

    monkeypatch.setattr(np.lib.format, "write_array", fail)
    with pytest.raises(OSError, match="No space left"):
        save(path, checkpoint(epoch=2))
    assert load(path).epoch == 1
    assert names(path.parent) == ["run.npz"]


def test_what_cannot_be_written_keeps_the_old_file(path: Path) -> None:
    save(path, checkpoint(epoch=1))
    broken: Any = checkpoint(history=(object(),))
    with pytest.raises(TypeError):
        save(path, broken)
    assert load(path).epoch == 1
    assert names(path.parent) == ["run.npz"]


CRASH = """
import os, sys, numpy as np, fnnet
state = fnnet.rmsprop_init(fnnet.init_params(0, (3, 4, 2)))
write, calls = np.lib.format.write_array, iter(range(100))
def crash(*args, **kwargs):
    if next(calls) == 5:
        os._exit(7)
    write(*args, **kwargs)
np.lib.format.write_array = crash
fnnet.save_checkpoint(sys.argv[1], fnnet.Checkpoint(state, np.random.default_rng(0), 2))
"""


def test_a_process_that_dies_halfway_leaves_the_old_file(path: Path) -> None:
    save(path, checkpoint(epoch=1))
    assert subprocess.run([sys.executable, "-c", CRASH, str(path)]).returncode == 7
    assert load(path).epoch == 1


def test_a_folder_that_is_missing_is_an_os_error(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"run\.npz"):
        save(path / "run.npz", checkpoint())
    with pytest.raises(FileNotFoundError, match=r"run\.npz"):
        load(path)


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() == 0, reason="folders of root are never closed to it"
)
def test_a_folder_that_takes_no_files_is_an_os_error(path: Path) -> None:
    save(path, checkpoint(epoch=1))
    path.parent.chmod(0o500)
    try:
        with pytest.raises(OSError, match=r"run\.npz"):
            save(path, checkpoint(epoch=2))
        assert load(path).epoch == 1
        assert names(path.parent) == ["run.npz"]
    finally:
        path.parent.chmod(0o700)


def test_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=tmp_path.name):
        load(tmp_path)
    with pytest.raises(OSError, match=tmp_path.name):
        save(tmp_path, checkpoint())


# What cannot be loaded is not saved


def converted(dtype: str) -> RMSPropState:
    state = trained()
    trees = [
        fnnet.tree_map(lambda leaf: leaf.astype(dtype), tree)
        for tree in (state.params, state.mean_squares)
    ]
    return dataclasses.replace(state, params=trees[0], mean_squares=trees[1])


@pytest.mark.parametrize(
    "changes",
    [
        {"state": converted(">f4")},
        {"epoch": -1},
        {"epoch": 1.5},
        {"rng": np.random.RandomState(0)},
        {"rng": 3},
    ],
    ids=["byte order", "negative", "fraction", "RandomState", "seed"],
)
def test_what_could_not_be_loaded_is_not_saved(path: Path, changes: dict[str, Any]) -> None:
    (name,) = changes
    with pytest.raises((TypeError, ValueError), match=name):
        save(path, checkpoint(**changes))
    assert names(path.parent) == []


BYTES: Any = b"1"


class Drawless(np.random.PCG64):
    """A bit generator that fnnet does not know."""


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"state": "trained"}, "state must be one of RMSPropState, SGDState, AdamState.* got str"),
        ({"state": converted("float16")}, "params must be arrays of float32 or float64"),
        ({"rng": np.random.Generator(Drawless(0))}, "unknown bit generator 'Drawless'"),
        ({"extra": {"f": print}}, "extra: f must be a JSON value or an array"),
        ({"extra": {"o": np.array([None])}}, "extra: o must be an array of numbers"),
        ({"extra": {1: 2}}, "extra: names must be str, got 1"),
        ({"extra": {"long": "x" * 2**20}}, "extra takes .* give long lists as arrays"),
        (
            {"state": dataclasses.replace(trained(), mean_squares=trained((3, 2)).params)},
            "mean_squares must have the structure and shapes of params",
        ),
        ({"history": (Metrics(1, 0, 0, 0, 0, BYTES),)}, "history must hold numbers"),
        ({"history": (Metrics(BYTES.decode(), 0, 0, 0, 0, 0),)}, "history: epoch must be a whole"),
        ({"history": ({"epoch": 1},)}, "history must be of type Metrics, got dict"),
    ],
    ids=[
        *("state", "float16", "bit generator", "function", "objects", "name", "long"),
        *("structure", "bytes", "text", "history"),
    ],
)
def test_what_is_no_checkpoint_is_not_saved(
    path: Path, changes: dict[str, Any], cause: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=cause):
        save(path, checkpoint(**changes))
    assert names(path.parent) == []


@pytest.mark.parametrize("shape", [(0, 2), (2, 0), (0, 3, 2), (3, 0, 2)])
def test_networks_without_inputs_outputs_or_members_are_not_saved(
    path: Path, shape: tuple[int, ...]
) -> None:
    params = Params((Layer(np.zeros(shape), np.zeros((*shape[:-2], shape[-1]))),))
    state = dataclasses.replace(trained(), params=params, mean_squares=params)
    with pytest.raises(ValueError, match="params must not be empty, leaf 0 has the shape"):
        save(path, checkpoint(state=state))
    assert names(path.parent) == []


def test_a_state_of_another_optimizer_than_the_one_asked_for_is_refused(path: Path) -> None:
    saved = Checkpoint(fnnet.sgd_init(trained().params), np.random.default_rng(0))
    save(path, saved)
    with pytest.raises(CheckpointError, match="expected RMSPropState, got SGDState: give it as"):
        load(path, RMSPropState)
    assert bits(load(path, fnnet.SGDState).state.params) == bits(saved.state.params)


@pytest.mark.parametrize("start", [fnnet.rmsprop_init, fnnet.sgd_init, fnnet.adam_init])
def test_a_state_of_any_optimizer_is_loaded_where_none_is_named(path: Path, start: Any) -> None:
    saved = Checkpoint(start(trained().params), np.random.default_rng(0))
    save(path, saved)
    loaded: Any = load(path)
    assert type(loaded.state) is type(saved.state)
    assert loaded.state.step == saved.state.step
    assert bits(loaded.state.params) == bits(trained().params)


# What version 2 adds


def test_the_generator_is_held_by_value(path: Path) -> None:
    rng = np.random.default_rng(5)
    saved = checkpoint(rng=rng)
    rng.random(3)
    assert saved.rng == checkpoint(rng=np.random.default_rng(5)).rng
    first, second = (saved.rng.generator().random(3).tolist() for _ in range(2))
    assert first == second


def test_activation_and_output_come_back(path: Path) -> None:
    for output in ("softmax", "sigmoid", "identity"):
        params = fnnet.init_params(0, (3, 4, 2), activation="tanh", output=output)
        save(path, checkpoint(state=fnnet.sgd_init(params)))
        assert fnnet.tree_equal(load(path).state.params, params)


def test_an_activation_of_ones_own_is_found_by_its_name(path: Path) -> None:
    cube = fnnet.Activation("cube", lambda z: z**3, lambda z, h: 3 * z**2)
    save(path, checkpoint(state=fnnet.sgd_init(fnnet.init_params(0, (3, 4, 2), activation=cube))))
    with pytest.raises(CheckpointError, match="unknown activation 'cube': give it as activations="):
        load(path)
    again = load(path, activations={"cube": cube, "other": cube}).state.params
    assert again.activation is cube
    x = np.ones((2, 3))
    expected = fnnet.forward(fnnet.init_params(0, (3, 4, 2), activation=cube), x)
    assert np.array_equal(fnnet.forward(again, x), expected)
    with pytest.raises(TypeError, match=r"activations\['cube'\] must be of type Activation"):
        load(path, activations={"cube": "cube"})  # type: ignore[dict-item]  # that is the test


def test_extra_values_and_arrays_come_back(path: Path) -> None:
    extra = {
        "seed": 3,
        "classes": ["a", "é"],
        "nested": {"x": [1, 2.5, None, True]},
        "mean": np.arange(3.0),
        "flags": np.array([True, False]),
        "table": np.ones((2, 0, 3), np.int8),
    }
    save(path, checkpoint(extra=extra))
    again = load(path).extra
    assert [*again] == [*extra]
    for name, value in extra.items():
        if isinstance(value, np.ndarray):
            assert again[name].dtype == value.dtype
            assert np.array_equal(again[name], value)
            assert again[name].shape == value.shape
        else:
            assert again[name] == value


def test_histories_of_members_come_back(path: Path) -> None:
    rows = tuple(dataclasses.replace(row, members=(row, HISTORY[0])) for row in HISTORY)
    save(path, checkpoint(history=rows))
    assert repr(load(path).history) == repr(rows)
    with pytest.raises(ValueError, match="as many members in each epoch"):
        save(path, checkpoint(history=(rows[0], HISTORY[1])))


def test_equal_checkpoints_are_equal_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "a", checkpoint())
    monkeypatch.setattr("time.time", lambda: 0.0)  # a clock before 1980, which zip does not know
    monkeypatch.setattr("time.localtime", lambda *_: (1970, 1, 1, 0, 0, 0, 0, 0, 0))
    save(tmp_path / "b", checkpoint())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_that_0_1_0_wrote_goes_on_where_it_stood() -> None:
    saved = load(Path(__file__).parent / "version1.npz", RMSPropState)
    assert (saved.epoch, saved.state.step, len(saved.history)) == (2, 90, 2)
    assert (saved.state.momentum, saved.state.centered) == (0.5, True)
    data, rng = fnnet.load_digits(), np.random.default_rng(0)
    start = fnnet.rmsprop_init(fnnet.init_params(rng, (64, 4, 10)), momentum=0.5, centered=True)
    *_, two, three = fnnet.train(start, data.train, data.test, rng=rng, epochs=3)
    assert saved.rng == two.rng
    assert fnnet.tree_allclose(saved.state.params, two.state.params, rtol=1e-3, atol=1e-4)
    (resumed,) = fnnet.train(saved.state, data.train, rng=saved.rng, epochs=3, start=2)
    assert fnnet.tree_allclose(resumed.state.params, three.state.params, rtol=1e-3, atol=1e-3)


# Damage


def members(path: Path) -> Members:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(path: Path, contents: Members, compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)


def npy(array: Array, **options: Any) -> bytes:
    file = BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


@pytest.fixture
def saved(path: Path) -> Members:
    save(path, checkpoint())
    return members(path)


@pytest.fixture
def refused(path: Path) -> Callable[[str], None]:
    """Loading is an error with this cause, the file is named, and memory stays small."""

    def check(cause: str) -> None:
        tracemalloc.start()
        try:
            with pytest.raises(CheckpointError, match=cause) as caught:
                load(path)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert str(path) in str(caught.value)
        assert peak < 2_000_000 + 4 * path.stat().st_size

    return check


@pytest.mark.usefixtures("saved")
def test_a_file_cut_short_anywhere_is_refused(path: Path) -> None:
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 23), *range(len(whole) - 40, len(whole))]:
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"run\.npz"):
            load(path)


def outcome(path: Path) -> object:
    try:
        return facts(load(path))
    except CheckpointError as error:
        return str(error)


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
@pytest.mark.usefixtures("saved")
def test_a_flipped_byte_is_refused_or_harmless(path: Path, flip: int) -> None:
    whole, expected = path.read_bytes(), facts(checkpoint())
    directory = whole.index(b"PK\x01\x02")
    refusals = 0
    for position in [*range(0, directory, 17), *range(directory, len(whole))]:
        damaged = bytearray(whole)
        damaged[position] ^= flip
        path.write_bytes(damaged)
        result = outcome(path)
        if result != expected:
            assert str(path) in str(result), position
            refusals += 1
    assert refusals > 300


@pytest.mark.parametrize(
    "content",
    [b"", b"PK", b"not a checkpoint", b"\x80\x04N.", bytes(1000), b"PK\5\6" + bytes(18)],
    ids=["nothing", "magic", "text", "pickle", "zeros", "empty archive"],
)
def test_other_files_are_refused(
    path: Path, content: bytes, refused: Callable[[str], None]
) -> None:
    path.write_bytes(content)
    refused("not a whole fnnet checkpoint|expected a member header")


def test_other_archives_are_refused(path: Path, refused: Callable[[str], None]) -> None:
    np.savez(path, w=np.ones(3))
    refused(r"expected a member header\.json, got \['w\.npy'\]")
    rewrite(path, {"header.json": b"{}"})
    refused("expected the format 'fnnet checkpoint'")
    rewrite(path, {"header.json": b"[1]"})
    refused("expected the format 'fnnet checkpoint'")
    rewrite(path, {"header.json": b"\xff{"})
    refused("not a whole fnnet checkpoint")
    rewrite(path, {"header.json": b"[" * 100_000})
    refused("its header has 100,000 bytes|not a whole fnnet checkpoint")


def test_a_header_above_one_mebibyte_is_refused_unread(
    path: Path, saved: Members, refused: Callable[[str], None]
) -> None:
    rewrite(path, {**saved, "header.json": saved["header.json"] + b" " * 2**20})
    refused("its header has .* bytes, expected at most 1,048,576")


def test_compressed_members_are_refused_unread(
    path: Path, saved: Members, refused: Callable[[str], None]
) -> None:
    rewrite(path, {**saved, "params.0.npy": bytes(50_000_000)}, zipfile.ZIP_DEFLATED)
    refused("stored without compression")


def test_members_that_share_their_bytes_are_refused(
    path: Path, saved: Members, refused: Callable[[str], None]
) -> None:
    """Many entries of the directory, one big member: the overlapping kind of bomb."""
    rewrite(path, {**saved, "bomb": bytes(1_000_000)})
    with zipfile.ZipFile(path, "a") as archive:
        for i in range(100):
            info = zipfile.ZipInfo(f"bomb{i}")
            source = archive.getinfo("bomb")
            info.header_offset = source.header_offset
            info.file_size, info.compress_size = source.file_size, source.compress_size
            info.CRC = source.CRC
            archive.filelist.append(info)
            archive.NameToInfo[info.filename] = info
        archive._didModify = True  # type: ignore[attr-defined]  # else it writes no directory
    refused("more bytes than the file has")


def header_with(saved: Members, **changes: Any) -> Members:
    header = json.loads(saved["header.json"])
    if "numbers" in changes:
        changes["numbers"] = {**header["numbers"], **changes["numbers"]}
    return {**saved, "header.json": json.dumps({**header, **changes}).encode()}


OBSCURE = "is not a whole fnnet checkpoint"
PCG64: dict[str, Any] = dict(np.random.PCG64(0).state)
MT: dict[str, Any] = json.loads(checkpoint(rng=np.random.Generator(np.random.MT19937(0))).rng.text)


def rng_of(state: Any) -> dict[str, Any]:
    return {"rng": {"name": "PCG64", "state": state}}


HEADERS: list[tuple[dict[str, Any], str]] = [
    ({"format": "other"}, "expected the format"),
    ({"version": 3}, "expected version 1 or 2, got 3"),
    ({"version": 2.0}, "expected version 1 or 2, got 2.0"),
    ({"version": None}, "expected version 1 or 2, got None"),
    ({"more": 1}, "its header has names that this version does not know: .'more'."),
    ({"activation": "mish"}, "unknown activation 'mish'"),
    ({"activation": ["relu"]}, OBSCURE),
    ({"output": "linear"}, "output must be one of 'softmax'"),
    ({"trees": ["params", "mean_squares", "momenta"]}, "trees has names"),
    ({"trees": ["params", "params", "mean_squares"]}, "trees has names"),
    ({"ensemble": [-1]}, "expected sizes >= 1"),
    ({"extra": 5}, "extra must be an object of names and values, got 5"),
    ({"extra": [["a", 1]]}, "extra must be an object of names and values"),
    ({"arrays": [["a", "<f8", [3]]]}, r"expected a member extra\.0\.npy"),
    ({"arrays": [["a", "O", [3]]]}, "extra: expected arrays of numbers"),
    ({"optimizer": "Adam"}, "unknown optimizer 'Adam'"),
    ({"dtype": "float16"}, "dtype must be float32 or float64, got float16"),
    ({"dtype": "object"}, "dtype must be float32 or float64, got object"),
    ({"dtype": "float64"}, r"params\.0\.npy: expected float64 \(3, 4\), got float32"),
    ({"dtype": 5}, OBSCURE),
    ({"sizes": []}, "expected two sizes or more"),
    ({"sizes": [3]}, "expected two sizes or more"),
    ({"sizes": [3, 2]}, r"params\.0\.npy: expected float32 \(3, 2\), got float32 \(3, 4\)"),
    ({"sizes": [3, 4, 2, 2]}, r"expected a member params\.4\.npy"),
    ({"sizes": [3.0, 4, 2]}, "expected sizes >= 1"),
    ({"sizes": [-3, -4, 2]}, "expected sizes >= 1"),
    ({"sizes": [-1, 2]}, "expected sizes >= 1"),
    ({"sizes": [0, 4, 2]}, "expected sizes >= 1"),
    ({"sizes": [True, 4, 2]}, "expected sizes >= 1"),
    ({"ensemble": [0]}, "expected sizes >= 1"),
    ({"ensemble": 3}, "expected sizes >= 1"),
    ({"output": None}, "output must be one of 'softmax'"),
    ({"activation": None}, "unknown activation None"),
    ({"extra": {"a": 1}, "arrays": [["a", "<f8", [3]]]}, "extra: expected arrays of numbers"),
    ({"arrays": [["a", "<f8", [-3]]]}, "expected sizes >= 0"),
    ({"arrays": [["a", "<f8"]]}, OBSCURE),
    ({"sizes": "342"}, "expected sizes >= 1"),
    ({"sizes": None}, "expected sizes >= 1"),
    ({"sizes": [10**12, 10**12]}, r"params\.0\.npy: expected"),
    ({"epoch": -1}, "epoch must be a whole number >= 0, got -1"),
    ({"epoch": 1.0}, "epoch must be a whole number >= 0, got 1.0"),
    ({"epoch": True}, "epoch must be a whole number >= 0, got True"),
    ({"epoch": "2"}, "epoch must be a whole number >= 0, got '2'"),
    ({"history": None}, OBSCURE),
    ({"history": ["epoch"]}, r"history\.npy: expected 1 columns, got"),
    ({"history": ["more"]}, "history has names"),
    ({"numbers": {"more": 1}}, "numbers has names that this version does not know: .'more'."),
    ({"numbers": {"step": 1.5}}, "step must be of type int, got 1.5"),
    ({"numbers": {"decay": "x"}}, "decay must be of type float, got 'x'"),
    ({"numbers": {"eps": None}}, "eps must be of type float, got None"),
    ({"rng": None}, OBSCURE),
    ({"rng": {}}, OBSCURE),
    ({"rng": {"name": "os.system", "state": {}}}, "unknown bit generator 'os.system'"),
    (rng_of({"bit_generator": "PCG64"}), "rng is not a state of PCG64"),
    (rng_of({**PCG64, "state": {"state": -1, "inc": 1}}), "rng is not a state"),
    (rng_of({**PCG64, "state": {"state": "a", "inc": 1}}), "rng is not a state"),
    (rng_of({**PCG64, "has_uint32": 5}), "rng is not a state"),
    (rng_of({**PCG64, "uinteger": 1.5}), "rng is not a state"),
    (rng_of({**PCG64, "state": {"state": "١", "inc": 1}}), "rng is not a state"),
    ({"rng": {"name": "MT19937", "state": {**MT, "state": {"key": 5, "pos": 3}}}}, "rng is not"),
    (
        {"rng": {"name": "MT19937", "state": {**MT, "state": {"key": [1] * 625, "pos": 3}}}},
        "rng is not",
    ),
    (
        {"rng": {"name": "MT19937", "state": {**MT, "state": {"key": [1] * 624, "pos": 999}}}},
        "rng is not",
    ),
]


@pytest.mark.parametrize(("changes", "cause"), HEADERS, ids=lambda value: next(iter(value)))
def test_a_header_that_lies_is_refused(
    path: Path,
    saved: Members,
    refused: Callable[[str], None],
    changes: dict[str, Any],
    cause: str,
) -> None:
    rewrite(path, header_with(saved, **changes))
    refused(cause)


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": -1},
        {"learning_rate": float("nan")},
        {"learning_rate": [0.1, 0.2]},
        {"decay": 2},
        {"eps": -1},
        {"step": -1},
    ],
    ids=repr,
)
def test_numbers_out_of_range_are_refused(
    path: Path, saved: Members, refused: Callable[[str], None], wrong: dict[str, Any]
) -> None:
    rewrite(path, header_with(saved, numbers={**wrong}))
    refused(next(iter(wrong)))


@pytest.mark.parametrize(
    "key",
    ["version", "optimizer", "numbers", "sizes", "dtype", "rng", "activation", "output"],
)
def test_a_header_that_lacks_something_is_refused(
    path: Path, saved: Members, refused: Callable[[str], None], key: str
) -> None:
    header = json.loads(saved["header.json"])
    del header[key]
    rewrite(path, {**saved, "header.json": json.dumps(header).encode()})
    refused(key)


@pytest.mark.parametrize("number", ["step", "learning_rate", "decay", "eps"])
def test_a_header_that_lacks_a_number_is_refused(
    path: Path, saved: Members, refused: Callable[[str], None], number: str
) -> None:
    header = json.loads(saved["header.json"])
    del header["numbers"][number]
    rewrite(path, {**saved, "header.json": json.dumps(header).encode()})
    refused(number)


@pytest.mark.parametrize(
    "name", ["header.json", "params.0.npy", "params.3.npy", "mean_squares.2.npy"]
)
def test_a_missing_member_is_named(
    path: Path, saved: Members, refused: Callable[[str], None], name: str
) -> None:
    rewrite(path, {key: value for key, value in saved.items() if key != name})
    refused(f"expected a member {name}")


def huge(shape: str) -> bytes:
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    return b"\x93NUMPY\1\0" + len(head).to_bytes(2, "little") + head + bytes(48)


NO_NPY = r"params\.0\.npy: expected float32 \(3, 4\) in version 1\.0 of the npy format, got b"
ARRAYS: list[tuple[bytes, str]] = [
    (npy(np.zeros((4, 3), "f4")), r"expected float32 \(3, 4\), got float32 \(4, 3\)"),
    (npy(np.zeros(12, "f4")), r"expected float32 \(3, 4\), got float32 \(12,\)"),
    (npy(np.zeros((3, 4), "f8")), r"expected float32 \(3, 4\), got float64 \(3, 4\)"),
    (npy(np.zeros((3, 4), ">f4")), r"expected float32 \(3, 4\), got >f4 \(3, 4\)"),
    (npy(np.zeros((3, 4), "i4")), r"expected float32 \(3, 4\), got int32 \(3, 4\)"),
    (npy(np.zeros((3, 4), [("a", "f4")])), NO_NPY),
    (npy(np.full((3, 4), np.nan, "f4")), "params must be finite, leaf 0"),
    (npy(np.zeros((3, 4), "f4"))[:-1], OBSCURE),
    (npy(np.zeros((3, 4), "f4")) + bytes(4), OBSCURE),
    (npy(np.zeros((3, 4), "f4"))[:20], NO_NPY),
    (b"", NO_NPY),
    (b"\x93NUMPY\2\0" + bytes(100), NO_NPY),
    (huge("(3, 400000000000)"), r"expected float32 \(3, 4\), got float32 \(3, 400000000000\)"),
    (huge("(3, -4)"), r"expected float32 \(3, 4\), got float32 \(3, -4\)"),
    (huge("__import__('os').abort()"), NO_NPY),
]


@pytest.mark.parametrize(("content", "cause"), ARRAYS, ids=range(len(ARRAYS)))
def test_a_member_that_is_not_the_array_expected_is_refused(
    path: Path, saved: Members, refused: Callable[[str], None], content: bytes, cause: str
) -> None:
    rewrite(path, {**saved, "params.0.npy": content})
    refused(cause)


def test_mean_squares_that_no_training_makes_are_refused(
    path: Path, saved: Members, refused: Callable[[str], None]
) -> None:
    for value in (-1, np.nan, np.inf):
        rewrite(path, {**saved, "mean_squares.0.npy": npy(np.full((3, 4), value, "f4"))})
        refused("mean_squares")


@pytest.mark.usefixtures("saved")
def test_a_file_above_the_limit_is_refused(path: Path) -> None:
    size = path.stat().st_size
    assert facts(load(path, limit=size)) == facts(checkpoint())
    with pytest.raises(CheckpointError, match=rf"run\.npz: has {size} bytes, more than the limit"):
        load(path, limit=size - 1)


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("something was unpickled",)


def test_nothing_is_unpickled(path: Path, saved: Members, refused: Callable[[str], None]) -> None:
    pickled = npy(np.array([[Trap()] * 4] * 3), allow_pickle=True)
    rewrite(path, {**saved, "params.0.npy": pickled})
    refused(r"expected float32 \(3, 4\), got object \(3, 4\)")


def test_names_of_members_are_not_used_as_paths(path: Path, saved: Members) -> None:
    before = names(path.parent)
    rewrite(path, {**saved, "../evil.npy": npy(np.ones(3)), "/evil": b"x"})
    with pytest.raises(CheckpointError, match="expected 10 members, got 12"):
        load(path)
    assert names(path.parent) == before
    assert not (path.parent.parent / "evil.npy").exists()


def test_the_file_is_closed_whether_loading_succeeds_or_not(path: Path, saved: Members) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        load(path)
        rewrite(path, header_with(saved, version=3))
        with pytest.raises(CheckpointError):
            load(path)
    os.replace(path, path.with_suffix(".moved"))


def test_a_checkpoint_error_is_a_value_error() -> None:
    assert issubclass(CheckpointError, ValueError)


def test_a_checkpoint_cannot_be_changed() -> None:
    saved = checkpoint()
    for field in dataclasses.fields(saved):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(saved, field.name, None)
    assert saved == saved
    assert len({saved, checkpoint()}) == 2
