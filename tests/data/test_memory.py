"""Data that outgrow memory: every row once, in a bound of memory, as on arrays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fnnet
from fnnet.data.idx import map_idx


def numbered(n: int, weighted: bool = False) -> fnnet.Split:
    """A split whose rows, labels and weights are their numbers."""
    rows = np.arange(n)
    return fnnet.Split(np.stack([rows, rows], 1).astype(float), rows, rows if weighted else None)


@given(st.integers(1, 300), st.integers(1, 40), st.integers(1, 5000), st.integers(0, 9))
def test_each_row_comes_once_and_only_the_last_batch_is_short(
    n: int, size: int, memory: int, seed: int
) -> None:
    found = [*fnnet.batches(seed, numbered(n), size, np.float64, memory=memory)]
    assert sorted(np.concatenate([y for _, y in found]).tolist()) == [*range(n)]
    assert all(np.array_equal(x[:, 0], y) for x, y in found)
    assert [len(y) for _, y in found] == [size] * (n // size) + [n % size] * (n % size > 0)


def test_weights_stay_with_their_rows_and_a_buffer_may_have_none_above_zero() -> None:
    split = fnnet.Split(np.arange(200.0)[:, None], np.arange(200), (np.arange(200) > 190) * 1.0)
    for x, y, s in fnnet.weighted_batches(0, split, 7, memory=300):
        assert np.array_equal(x[:, 0], y)
        assert np.array_equal(s, (y > 190) * 1.0)


def test_rows_that_fit_are_shuffled_exactly() -> None:
    counts = np.zeros((4, 4))
    rng = np.random.default_rng(0)
    for _ in range(4000):
        order = np.concatenate([y for _, y in fnnet.batches(rng, numbered(4), 3, memory=10**6)])
        counts[np.arange(4), order] += 1
    assert np.abs(counts / 4000 - 1 / 4).max() < 0.03


def test_rows_far_apart_are_mixed_where_they_do_not_fit() -> None:
    (x, y), *_ = fnnet.batches(0, numbered(64_000), 640, memory=64_00 * 24)
    assert len(np.unique(y // 100)) > 40  # of the 64 runs of 100 rows in the buffer
    assert np.ptp(y) > 32_000
    assert len(x) == 640


def test_the_order_is_the_generators() -> None:
    def order(seed: int) -> list[int]:
        pairs = fnnet.batches(seed, numbered(1000), 10, memory=2400)
        return np.concatenate([y for _, y in pairs]).tolist()  # type: ignore[no-any-return]  # ints

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_training_on_mapped_files_is_training_on_arrays(tmp_path: Path) -> None:
    data = fnnet.load_digits().train
    np.save(tmp_path / "x.npy", data.x)
    fnnet.write_idx(tmp_path / "y-idx1-ubyte", data.y)
    mapped = fnnet.Split(
        np.load(tmp_path / "x.npy", mmap_mode="r"),
        map_idx(tmp_path / "y-idx1-ubyte"),
    )
    state = fnnet.rmsprop_init(fnnet.init_params(0, (64, 16, 10)), 0.003)
    for memory in (None, 20_000):
        one, other = (
            [*fnnet.train(state, each, rng=0, epochs=2, memory=memory)][-1]
            for each in (data, mapped)
        )
        assert fnnet.tree_equal(one.state.params, other.state.params)
        assert one.rng == other.rng
        assert one.metrics.train_accuracy > 0.5  # a guess has 0.1


def test_a_run_that_goes_on_ends_where_an_unbroken_one_does() -> None:
    data = fnnet.load_digits().train
    state = fnnet.rmsprop_init(fnnet.init_params(0, (64, 8, 10)))
    first, second = fnnet.train(state, data, rng=3, epochs=2, memory=9000)
    (again,) = fnnet.train(first.state, data, rng=first.rng, start=1, epochs=2, memory=9000)
    assert fnnet.tree_equal(again.state.params, second.state.params)


@pytest.mark.parametrize("memory", [0, -1, 1.5, True])
def test_a_bound_that_is_none_is_refused(memory: int) -> None:
    with pytest.raises(ValueError, match="memory must be a whole number >= 1, got"):
        fnnet.batches(0, numbered(3), 1, memory=memory)
    state = fnnet.rmsprop_init(fnnet.init_params(0, (2, 3)))
    with pytest.raises(ValueError, match="memory must be a whole number >= 1, got"):
        fnnet.train(state, numbered(3), rng=0, epochs=1, memory=memory)


def test_an_epoch_of_your_own_makes_its_own_batches() -> None:
    state = fnnet.rmsprop_init(fnnet.init_params(0, (2, 3)))
    with pytest.raises(ValueError, match="memory must not be given beside epoch"):
        fnnet.train(state, numbered(3), rng=0, epochs=1, memory=9, epoch=fnnet.train_epoch)


RSS = """
import sys, numpy as np, fnnet
def own():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("RssAnon"))
x = np.load("x.npy", mmap_mode="r")
split = fnnet.Split(x, np.zeros(len(x), np.uint8))
state = fnnet.rmsprop_init(fnnet.init_params(0, (784, 4, 2)))
batches = fnnet.batches(0, split, 1000, memory=20_000_000)
state = fnnet.train_step(state, *next(batches))[0]
before, most = own(), 0
for x, y in batches:
    state = fnnet.train_step(state, x, y)[0]
    most = max(most, own())
print(most - before, own())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells RssAnon")
def test_memory_of_its_own_stays_below_the_bound(tmp_path: Path) -> None:
    mapped = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.uint8, (200_000, 28, 28))
    mapped[::1000] = 1
    mapped.flush()
    command = [sys.executable, "-c", RSS]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    grown, _ = map(int, result.stdout.split())
    # Of the 157 MB that the file has. The first buffer counts before; what was freed, the allocator
    # may still hold.
    assert grown < 40_000_000
