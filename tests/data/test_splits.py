"""An epoch shows every sample once, in an order of its own, and nothing else."""

from __future__ import annotations

import dataclasses
import pickle
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fnnet
from fnnet import Split, as_inputs, batches, hold_out

Array: TypeAlias = npt.NDArray[Any]


def numbered(n: int, **kind: Any) -> Split:
    """Sample i is i everywhere, and so is its label."""
    numbers = np.arange(n)
    return Split(np.repeat(numbers, 4).reshape(n, 2, 2).astype(kind.get("dtype", "f8")), numbers)


def images(n: int, seed: int = 0) -> Split:
    rng = np.random.default_rng(seed)
    return Split(rng.integers(0, 256, (n, 4, 3), np.uint8), rng.integers(0, 10, n, np.uint8))


@given(n=st.integers(1, 40), size=st.integers(1, 41), seed=st.integers(0, 2**32))
def test_every_sample_comes_exactly_once_with_its_label(n: int, size: int, seed: int) -> None:
    seen: Counter[int] = Counter()
    for x, y in batches(seed, numbered(n), size, np.float64):
        assert x.shape == (len(y), 4)
        assert (x == y[:, None]).all()
        seen.update(y.tolist())
    assert seen == Counter(range(n))


@pytest.mark.parametrize("size", range(1, 9))
def test_last_short_batch_is_kept(size: int) -> None:
    sizes = [len(x) for x, _ in batches(0, numbered(7), size)]
    full, rest = divmod(7, size)
    assert sizes == [size] * full + [rest] * (rest > 0)


def order(rng: np.random.Generator | int, n: int = 100, size: int = 7) -> list[int]:
    return [int(label) for _, y in batches(rng, numbered(n), size) for label in y]


def test_epochs_differ_in_order_and_repeat_by_seed() -> None:
    rng = np.random.default_rng(5)
    first, second = order(rng), order(rng)
    assert first != second != list(range(100)) != first
    rng = np.random.default_rng(5)
    assert [order(rng), order(rng)] == [first, second]
    assert order(5) == first
    assert order(6) != first


def test_the_order_does_not_depend_on_the_batch_size() -> None:
    assert order(0, size=1) == order(0, size=13) == order(0, size=1000)


def test_every_order_is_equally_likely() -> None:
    rng = np.random.default_rng(0)
    counts = Counter(tuple(order(rng, 3, 2)) for _ in range(1200))
    assert len(counts) == 6
    # Each is binomial with mean 200 and deviation 13.
    assert all(abs(count - 200) < 60 for count in counts.values())


def test_the_generator_advances_by_one_permutation_before_the_first_batch() -> None:
    used, other = np.random.default_rng(0), np.random.default_rng(0)
    epoch = batches(used, numbered(50), 8)
    other.permutation(50)
    assert used.bit_generator.state == other.bit_generator.state
    list(epoch)
    assert used.bit_generator.state == other.bit_generator.state


@pytest.mark.parametrize("dtype", [np.float32, np.float64, "f4"])
def test_images_become_rows_of_floats_between_0_and_1(dtype: Any) -> None:
    x = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    rows = as_inputs(x, dtype)
    assert rows.dtype == dtype
    assert rows.shape == (4, 64)
    expected = np.array([i / 255 for i in range(256)])
    np.testing.assert_allclose(rows.ravel(), expected, rtol=float(np.finfo(dtype).eps))
    assert (float(rows.min()), float(rows.max())) == (0, 1)
    for batch, labels in batches(0, Split(x, np.arange(4)), 3, dtype):
        assert batch.dtype == dtype
        assert np.array_equal(batch, rows[labels])


def test_float_features_are_flattened_but_not_scaled() -> None:
    x = 1000 * np.random.default_rng(0).standard_normal((5, 2, 3))
    assert np.array_equal(as_inputs(x, np.float64), x.reshape(5, 6))
    assert np.array_equal(as_inputs(x), x.reshape(5, 6).astype(np.float32))


def test_float_features_of_the_right_dtype_are_not_copied() -> None:
    x = np.zeros((5, 2, 3))
    assert np.shares_memory(as_inputs(x, np.float64), x)


def test_no_images_make_no_rows() -> None:
    assert as_inputs(np.zeros((0, 28, 28), np.uint8)).shape == (0, 784)


def test_images_stay_bytes_in_memory() -> None:
    split = images(20_000)
    tracemalloc.start()
    for _ in batches(0, split, 100):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The order takes 160 kB; all images as floats would take 960 kB.
    assert peak < 300_000


@pytest.mark.parametrize("labels", ["classes", "distributions"])
def test_labels_come_as_they_are(labels: str) -> None:
    y: Array = np.arange(6, dtype=np.uint8)
    if labels == "distributions":
        y = np.random.default_rng(0).dirichlet(np.ones(3), 6)
    (_, got), *_ = batches(0, Split(np.zeros((6, 2)), y), 6)
    assert got.dtype == y.dtype
    assert sorted(got.tolist()) == sorted(y.tolist())


@pytest.mark.parametrize(
    "layout",
    [np.asfortranarray, lambda x: np.repeat(x, 2, 0)[::2], lambda x: x[::-1][::-1]],
    ids=["fortran", "strided", "reversed"],
)
def test_the_layout_of_the_samples_does_not_matter(layout: Callable[[Array], Array]) -> None:
    split = images(9)
    x = layout(split.x)
    x.setflags(write=False)
    pairs = zip(batches(1, split, 4), batches(1, Split(x, split.y), 4), strict=True)
    for (a, b), (c, d) in pairs:
        assert np.array_equal(a, c)
        assert np.array_equal(b, d)


def test_changing_a_batch_does_not_change_the_data() -> None:
    split = numbered(5)
    before = split.x.copy()
    for x, y in batches(0, split, 5, np.float64):
        x[...] = -1
        y[...] = -1
    assert np.array_equal(split.x, before)
    assert split.y.tolist() == [0, 1, 2, 3, 4]


@given(n=st.integers(2, 30), seed=st.integers(0, 2**32), data=st.data())
@settings(max_examples=50)
def test_holding_out_divides_a_split_in_two(n: int, seed: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, n - 1))
    rest, held = hold_out(seed, numbered(n), count)
    assert len(held) == count
    assert sorted([*rest.y.tolist(), *held.y.tolist()]) == list(range(n))
    for part in (rest, held):
        assert (part.x == part.y[:, None, None]).all()


def test_what_is_held_out_is_random_and_repeats_by_seed() -> None:
    held = [hold_out(seed, numbered(100), 10)[1].y.tolist() for seed in (0, 0, 1)]
    assert held[0] == held[1] != held[2]
    assert sorted(held[0]) != list(range(10))


def test_holding_out_keeps_dtypes_and_copies() -> None:
    split = images(10)
    for part in hold_out(0, split, 3):
        assert part.x.dtype == part.y.dtype == np.uint8
        assert not np.shares_memory(part.x, split.x)


def test_a_split_counts_its_samples() -> None:
    assert len(numbered(5)) == 5


@pytest.mark.parametrize(
    "data", [numbered(5), fnnet.Dataset("five", numbered(4), numbered(1), ("a",))]
)
def test_data_cannot_be_changed_and_are_equal_to_themselves_alone(data: Any) -> None:
    for field in dataclasses.fields(data):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(data, field.name, None)
    assert not hasattr(data, "__dict__")
    assert data == data
    assert len({data, dataclasses.replace(data)}) == 2


# Bad input

X, Y = np.zeros((5, 2)), np.arange(5)


@pytest.mark.parametrize("x", [np.zeros(5), np.zeros(())], ids=["vector", "scalar"])
def test_a_split_refuses_samples_without_features(x: Any) -> None:
    with pytest.raises(
        ValueError, match=r"x must be \(N, \.\.\.\) images or \(N, d\) features, got "
    ):
        Split(x, Y)


@pytest.mark.parametrize("dtype", [complex, object, str, "M8[s]"])
def test_a_split_refuses_samples_that_are_no_numbers(dtype: Any) -> None:
    with pytest.raises(TypeError, match="x must hold numbers, got "):
        Split(X.astype(int).astype(dtype), Y)


@pytest.mark.parametrize("shape", [(4,), (6,), (0,), (4, 3)])
def test_a_split_refuses_labels_of_another_number_of_samples(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="y must label each of the 5 samples, got shape "):
        Split(X, np.zeros(shape, int))


@pytest.mark.parametrize(
    "y",
    [Y.astype(object), Y.astype(complex), np.zeros(()), np.zeros((5, 2, 2))],
    ids=["object", "complex", "scalar", "cube"],
)
def test_a_split_refuses_what_can_be_no_labels(y: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="y must"):
        Split(X, y)


def test_words_as_labels_name_the_way_to_classes() -> None:
    with pytest.raises(TypeError, match=r"np\.unique\(y, return_inverse=True\)"):
        Split(X, np.array(["a", "b", "a", "b", "c"]))


# Inputs as users have them


def test_lists_become_arrays() -> None:
    split = Split([[1.0, 2.0], [3.0, 4.0]], [0, 1], [1, 2])
    assert split.x.shape == (2, 2)
    assert split.y.tolist() == [0, 1]
    assert split.weights is not None
    assert split.weights.tolist() == [1, 2]


@pytest.mark.parametrize("dtype", [bool, int, np.int8, np.uint16, np.float16])
def test_features_of_any_numbers_are_as_good_as_floats(dtype: Any) -> None:
    values = np.arange(10).reshape(5, 2) % 2
    floats = as_inputs(Split(values.astype(dtype), Y))
    assert floats.dtype == np.float32
    assert np.array_equal(floats, values)


def test_data_frames_and_series_are_arrays() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    split = Split(frame, pandas.Series([0, 1]))
    assert np.array_equal(as_inputs(split), frame.to_numpy())
    params = fnnet.init_params(0, (2, 3))
    assert np.array_equal(fnnet.forward(params, frame), fnnet.forward(params, frame.to_numpy()))


def test_labels_in_a_column_are_labels() -> None:
    assert Split(X, Y[:, None]).y.shape == (5,)


def test_a_table_of_bytes_needs_a_divisor() -> None:
    table = np.full((5, 2), 51, np.uint8)
    with pytest.raises(ValueError, match=r"divisor=255\) for images, .*divisor=1\) for plain"):
        Split(table, Y)
    assert as_inputs(Split(table, Y, divisor=255)).max() == np.float32(0.2)
    assert as_inputs(Split(table, Y, divisor=1)).max() == 51


@pytest.mark.parametrize("divisor", [0, -1, np.nan, np.inf, "255", [255]])
def test_a_divisor_is_a_number_above_zero(divisor: Any) -> None:
    with pytest.raises(ValueError, match="divisor must be a finite number > 0"):
        Split(X, Y, divisor=divisor)


def test_a_division_is_one_and_no_product() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    expected = np.arange(256, dtype=np.float32) / np.float32(255)
    assert np.array_equal(as_inputs(Split(values, [0]))[0], expected)


def test_parts_of_a_split_keep_weights_and_divisor() -> None:
    split = Split(np.zeros((5, 2), np.uint8), Y, np.arange(5.0), divisor=16)
    for part in (
        split[1:3],
        split[np.array([1, 2])],
        split[[1, 2]],
        split[[]],
        hold_out(0, split, 2)[0],
    ):
        assert part.divisor == 16
        assert part.weights is not None
        assert np.array_equal(part.weights, part.y)
    with pytest.raises(TypeError, match="indexed by a slice, a list or an array"):
        split[3]  # type: ignore[index]  # that is the test


@pytest.mark.parametrize(
    "weights", [[1, 2], [-1, 1, 1, 1, 1], [np.nan, 1, 1, 1, 1], [np.inf] * 5, ["a"] * 5, 3]
)
def test_weights_are_one_number_from_zero_on_for_each_sample(weights: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="weights must"):
        Split(X, Y, weights)


def test_weighted_batches_are_the_batches_with_their_weights() -> None:
    split = Split(X, Y, np.arange(5.0))
    plain = [y.tolist() for _, y in batches(7, split, 2)]
    weighted = [(y.tolist(), s.tolist()) for _, y, s in fnnet.weighted_batches(7, split, 2)]
    assert [y for y, _ in weighted] == plain
    assert all(y == s for y, s in weighted)
    ones = [s.tolist() for _, _, s in fnnet.weighted_batches(7, Split(X, Y), 2)]
    assert ones == [[1, 1], [1, 1], [1]]


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.utils.class_weight")
    y = np.random.default_rng(0).integers(0, 4, 50) ** 2 % 4
    y[0], y[1:3] = 2, 3
    expected = sklearn.compute_sample_weight("balanced", y)
    present = len(np.unique(y))
    np.testing.assert_allclose(fnnet.class_weights(y, 4) * 4 / present, expected)


def test_stratified_classes_are_held_out_in_proportion() -> None:
    y = np.repeat([0, 1, 2], [60, 30, 10])
    rest, held = hold_out(0, Split(np.zeros((100, 1)), y), 20, stratify=True)
    assert np.bincount(held.y.astype(int)).tolist() == [12, 6, 2]
    assert np.bincount(rest.y.astype(int)).tolist() == [48, 24, 8]
    other = hold_out(1, Split(np.arange(100.0)[:, None], y), 20, stratify=True)[1]
    same = hold_out(0, Split(np.arange(100.0)[:, None], y), 20, stratify=True)[1]
    assert not np.array_equal(other.x, same.x)
    with pytest.raises(ValueError, match=r"stratify needs \(N,\) int classes"):
        hold_out(0, Split(X, np.eye(5)), 2, stratify=True)


@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 99),
)
@settings(max_examples=100)
def test_stratified_classes_are_in_proportion_to_within_one_sample(
    counts: list[int], share: float, seed: int
) -> None:
    y = np.repeat(np.arange(len(counts)), counts)
    n = min(max(1, round(share * len(y))), len(y) - 1)
    if n < 1:
        return
    rest, held = hold_out(seed, Split(np.arange(len(y))[:, None], y), n, stratify=True)
    assert sorted([*rest.x[:, 0].tolist(), *held.x[:, 0].tolist()]) == list(range(len(y)))
    assert np.array_equal(held.y, y[held.x[:, 0]])
    got = np.bincount(held.y.astype(int), minlength=len(counts))
    assert np.abs(got - np.array(counts) * n / len(y)).max() < 1


def test_which_of_equally_rare_classes_are_held_out_is_random() -> None:
    split = Split(np.zeros((10, 1)), np.arange(10))
    seen = Counter(
        int(c) for seed in range(300) for c in hold_out(seed, split, 3, stratify=True)[1].y
    )
    # Each is binomial with mean 90 and deviation 8.
    assert all(abs(seen[c] - 90) < 40 for c in range(10))


def test_stratified_samples_of_a_class_are_random() -> None:
    split = Split(np.arange(20)[:, None], np.arange(20) % 2)
    seen = Counter(
        int(i) for seed in range(300) for i in hold_out(seed, split, 4, stratify=True)[1].x[:, 0]
    )
    # Each is binomial with mean 60 and deviation 7.
    assert all(abs(seen[i] - 60) < 35 for i in range(20))


@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_mapped_data_are_gathered_by_rows(tmp_path: Path, order: Any) -> None:
    shape = (2000, 40, 50)
    mapped = np.lib.format.open_memmap(
        tmp_path / "x.npy", "w+", np.uint8, shape, fortran_order=order == "F"
    )
    mapped[:] = (np.arange(2000) % 251)[:, None, None]
    split = Split(mapped, np.arange(2000))
    tracemalloc.start()
    for x, y in batches(0, split, 10):
        assert np.array_equal(x[:, 0], (y % 251).astype(np.float32) / np.float32(255))
    as_inputs(split[:10])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_an_unpickled_split_is_as_read_only_as_it_was() -> None:
    x = X.copy()
    x.setflags(write=False)
    again = pickle.loads(pickle.dumps(Split(x, Y.copy())))
    assert not again.x.flags.writeable
    assert again.y.flags.writeable
    assert again.divisor == 1


def test_a_part_without_weight_travels_between_processes() -> None:
    part = Split(X, Y, [0, 0, 1, 1, 1], divisor=2)[:2]
    again = pickle.loads(pickle.dumps(part))
    assert np.asarray(again.weights).tolist() == [0, 0]
    assert again.divisor == 2


def test_bools_are_weights() -> None:
    split = Split(X, Y, Y > 2)
    params = fnnet.init_params(0, (2, 5))
    expected = fnnet.evaluate(params, Split(X[3:], Y[3:]))
    assert fnnet.evaluate(params, split).loss == pytest.approx(expected.loss)


def test_a_split_refuses_masked_arrays() -> None:
    masked = np.ma.masked_array(X, X > 0), np.ma.masked_array(Y, Y > 0)
    for name, x, y in (("x", masked[0], Y), ("y", X, masked[1])):
        with pytest.raises(TypeError, match=f"^{name} must not be a masked array"):
            Split(x, y)


@pytest.mark.parametrize("f", [fnnet.batches, fnnet.hold_out])
def test_what_is_no_split_is_refused(f: Any) -> None:
    with pytest.raises(TypeError, match="split must be of type Split, got tuple"):
        f(0, (X, Y), 2)


@pytest.mark.parametrize("size", [0, -1, 1.5, 0.5, np.int64(0), "2"], ids=repr)
def test_batches_refuse_other_sizes_at_once(size: Any) -> None:
    with pytest.raises(ValueError, match="batch_size must be a whole number >= 1, got "):
        batches(0, numbered(5), size)


@pytest.mark.parametrize("size", [2.0, None, np.nan, np.inf, [2]], ids=str)
def test_batches_refuse_what_is_no_size_at_once(size: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="batch_size must"):
        batches(0, numbered(5), size)


@pytest.mark.parametrize("dtype", [int, object, complex, "uint8"])
def test_inputs_refuse_other_dtypes(dtype: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="dtype must"):
        as_inputs(images(2).x, dtype)
    with pytest.raises((TypeError, ValueError), match="dtype must"):
        batches(0, images(2), 1, dtype)


@pytest.mark.parametrize(
    "x",
    [np.zeros((), np.uint8), np.zeros((3, 2), np.uint8), X.astype(object)],
    ids=["scalar", "table of bytes", "object"],
)
def test_inputs_refuse_what_are_no_samples(x: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="x must"):
        as_inputs(x)


def test_an_empty_split_has_no_batches() -> None:
    with pytest.raises(ValueError, match="the split has no samples"):
        batches(0, Split(X[:0], Y[:0]), 2)


@pytest.mark.parametrize("n", [0, -1, 5, 6])
def test_as_many_samples_as_there_are_cannot_be_held_out(n: int) -> None:
    with pytest.raises(ValueError, match=rf"n must be .*, got {n}"):
        hold_out(0, numbered(5), n)


@pytest.mark.parametrize("n", [1.5, 2.0, "2", None], ids=repr)
def test_only_a_whole_number_can_be_held_out(n: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="n must"):
        hold_out(0, numbered(5), n)


def test_a_share_to_hold_out_names_the_way_to_a_number() -> None:
    with pytest.raises(ValueError, match=r"^n must be .*, got 0\.2: write round\(0\.2 \* len\(sp"):
        hold_out(0, numbered(5), 0.2)  # type: ignore[arg-type]  # that is the test
    assert len(hold_out(0, numbered(5), round(0.2 * 5))[1]) == 1


@pytest.mark.parametrize("f", [fnnet.batches, fnnet.hold_out])
@pytest.mark.parametrize("rng", [None, -1, 1.5, "seed"])
def test_what_is_neither_generator_nor_seed_is_refused(f: Any, rng: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="rng must be"):
        f(rng, numbered(5), 2)
