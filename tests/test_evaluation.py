"""What an evaluation says of each output, of ensembles and of logits that are no numbers."""

from __future__ import annotations

import math
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fnnet
from fnnet import Layer, Params, Split, evaluate
from tests.test_outputs import OUTPUTS, alone, problem, stacked


def split_of(output: str, n: int = 60, k: int = 4, seed: int = 0) -> Split:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 6))
    if output == "softmax":
        return Split(x, rng.integers(0, k, n))
    if output == "sigmoid":
        return Split(x, rng.integers(0, 2, (n, k)))
    return Split(x, rng.standard_normal((n, k)) * np.arange(1, k + 1) + 100)


# Numbers


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("n", [2, 60, 2500])
@pytest.mark.parametrize("weighted", [False, True])
def test_r2_is_that_of_scikit_learn(k: int, n: int, weighted: bool) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    params, data = problem("identity", (6, 5, k))[0], split_of("identity", n, k)
    s = np.random.default_rng(1).random(n) if weighted else None
    result = evaluate(params, data, weights=s)
    expected = metrics.r2_score(data.y, fnnet.predict(params, data.x), sample_weight=s)
    assert result.r2 == pytest.approx(expected, rel=1e-9)
    assert math.isnan(result.accuracy)
    assert result.confusion is None


@pytest.mark.parametrize(
    ("z", "y"),
    [
        ([[1.0], [1], [1]], [[1.0], [1], [1]]),
        ([[1.0], [2], [1]], [[1.0], [1], [1]]),
        ([[1.0, 5], [2, 6], [3, 7]], [[1.0, 0], [2, 0], [3, 0]]),
        ([[1.0, 0], [2, 0], [3, 0]], [[1.0, 0], [2, 0], [3, 0]]),
        ([[3.0], [2], [1]], [[1.0], [2], [3]]),
        ([[1e8], [1e8 + 1]], [[1e8], [1e8 + 2]]),
        ([[0.1], [0.1]], [[0.1], [0.1]]),
    ],
)
def test_r2_of_what_does_not_vary_is_that_of_scikit_learn(z: Any, y: Any) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    result = evaluate(alone("identity", len(z[0])), Split(z, y))
    assert result.r2 == pytest.approx(metrics.r2_score(y, z), rel=1e-12)


@given(offset=st.sampled_from([0.0, 1e3, -1e6]), scale=st.sampled_from([1e-3, 1.0, 1e6]))
@settings(max_examples=9)
def test_r2_does_not_depend_on_where_zero_is(offset: float, scale: float) -> None:
    rng = np.random.default_rng(0)
    z, y = rng.standard_normal((2, 3000, 2)) * scale + offset
    residual, spread = ((y - z) ** 2).sum(0), ((y - y.mean(0)) ** 2).sum(0)
    result = evaluate(alone("identity", 2), Split(z, y))
    assert result.r2 == pytest.approx(float(np.mean(1 - residual / spread)), rel=1e-6)


def test_a_single_number_has_no_r2() -> None:
    assert math.isnan(evaluate(alone("identity", 2), Split([[1.0, 2.0]], [[1.0, 2.0]])).r2)


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_classes_and_labels_have_no_r2(output: str) -> None:
    assert math.isnan(evaluate(problem(output)[0], split_of(output)).r2)


def test_numbers_of_one_column_may_have_one_axis() -> None:
    params, data = problem("identity", (6, 5, 1))[0], split_of("identity", k=1)
    flat = Split(data.x, np.asarray(data.y).ravel())
    one, two = evaluate(params, data), evaluate(params, flat)
    assert (one.loss, one.r2) == (two.loss, two.r2)


# Labels


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("n", [1, 60, 2500])
@pytest.mark.parametrize("weighted", [False, True])
def test_labels_are_counted_as_by_scikit_learn(k: int, n: int, weighted: bool) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    params, data = problem("sigmoid", (6, 5, k))[0], split_of("sigmoid", n, k)
    s = np.random.default_rng(1).random(n) if weighted else None
    result = evaluate(params, data, weights=s)
    y, guess = np.asarray(data.y).reshape(n, k), fnnet.predict(params, data.x)
    hits = (y == guess).all(axis=1)
    assert result.accuracy == pytest.approx(np.average(hits, weights=s), rel=1e-12)
    if k > 1:
        expected = metrics.accuracy_score(y, guess, sample_weight=s)
        assert result.accuracy == pytest.approx(expected, rel=1e-12)
        confusion = metrics.multilabel_confusion_matrix(y, guess)
    else:
        confusion = metrics.confusion_matrix(y.ravel(), guess.ravel(), labels=[0, 1])[None]
    assert result.confusion is not None
    assert result.confusion.shape == (k, 2, 2)
    assert np.array_equal(result.confusion, confusion)


def test_probable_labels_count_as_true() -> None:
    labels = [[0.6, 0.4], [1.0, 0.0], [0.4, 0.0]]
    result = evaluate(alone("sigmoid", 2), Split([[1.0, -1.0]] * 3, labels))
    assert result.accuracy == pytest.approx(2 / 3)


# Classes


@pytest.mark.parametrize("weighted", [False, True])
def test_classes_are_counted_as_by_scikit_learn(weighted: bool) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    params, data = problem("softmax")[0], split_of("softmax", 500)
    s = np.random.default_rng(1).random(500) if weighted else None
    result, guess = evaluate(params, data, weights=s), fnnet.predict(params, data.x)
    expected = metrics.accuracy_score(data.y, guess, sample_weight=s)
    assert result.accuracy == pytest.approx(expected, rel=1e-12)
    loss = metrics.log_loss(
        data.y, fnnet.predict_proba(params, data.x), sample_weight=s, labels=range(4)
    )
    assert result.loss == pytest.approx(loss, rel=1e-12)
    assert result.confusion is not None
    assert np.array_equal(result.confusion, metrics.confusion_matrix(data.y, guess))


def test_labels_in_any_form_are_the_same_classes() -> None:
    params, data = problem("softmax")[0], split_of("softmax")
    y = np.asarray(data.y)
    expected = evaluate(params, data)
    forms: list[Any] = [np.eye(4)[y], np.eye(4, dtype=int)[y], y[:, None], y.tolist()]
    for form in (*forms, y.astype(np.uint8)):
        result = evaluate(params, Split(data.x, form))
        assert (result.loss, result.accuracy) == (expected.loss, expected.accuracy)
        assert np.array_equal(np.asarray(result.confusion), np.asarray(expected.confusion))


@pytest.mark.parametrize("k", [4096, 4097])
def test_a_confusion_of_more_than_4096_classes_is_not_made(k: int) -> None:
    params = fnnet.init_params(0, (2, k))
    data = Split(np.eye(2), [0, k - 1])
    result = evaluate(params, data)
    assert result.accuracy == float(np.mean(fnnet.predict(params, data.x) == data.y))
    assert (result.confusion is None) == (k > 4096)


# Logits that are no numbers


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_logits_that_are_no_numbers_are_wrong_and_no_class(output: str) -> None:
    x = np.array([[2.0, -2.0], [np.nan, -2.0], [-2.0, np.nan], [np.nan, np.nan]])
    y: Any = [0] * 4 if output == "softmax" else [[1, 0]] * 4
    result = evaluate(alone(output, 2), Split(x, y))
    assert result.accuracy == 0.25
    assert math.isnan(result.loss)
    assert result.confusion is not None
    expected: Any = (
        [[1, 0], [0, 0]] if output == "softmax" else [[[0, 0], [0, 1]], [[1, 0], [0, 0]]]
    )
    assert result.confusion.tolist() == expected


def test_numbers_that_are_none_have_no_r2() -> None:
    result = evaluate(alone("identity", 1), Split([[1.0], [np.nan], [2.0]], [1.0, 2.0, 3.0]))
    assert math.isnan(result.r2)
    assert math.isnan(result.loss)


@pytest.mark.parametrize("output", OUTPUTS)
def test_parameters_that_are_no_numbers_are_right_never(output: str) -> None:
    params = fnnet.tree_map(lambda leaf: leaf * np.nan, problem(output)[0])
    result = evaluate(params, split_of(output))
    assert not result.accuracy > 0
    assert math.isnan(result.loss)
    assert result.confusion is None or not result.confusion.any()


# Ensembles


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("weighted", [False, True])
def test_an_ensemble_has_the_figures_of_its_members_and_their_means(
    output: str, weighted: bool
) -> None:
    each = [problem(output, seed=seed)[0] for seed in range(3)]
    data = split_of(output)
    s = np.arange(60.0) if weighted else None
    result = evaluate(stacked(*each), data, weights=s)
    expected = [evaluate(member, data, weights=s) for member in each]
    assert len(result.members) == 3
    for ours, theirs in zip(result.members, expected, strict=True):
        for name in ("loss", "accuracy", "r2"):
            assert getattr(ours, name) == pytest.approx(getattr(theirs, name), nan_ok=True)
        assert np.array_equal(np.asarray(ours.confusion), np.asarray(theirs.confusion))
        assert ours.members == ()
    for name in ("loss", "accuracy", "r2"):
        mean = float(np.mean([getattr(one, name) for one in expected]))
        assert getattr(result, name) == pytest.approx(mean, nan_ok=True)
    if output == "identity":
        assert result.confusion is None
    else:
        total = sum(one.confusion for one in expected if one.confusion is not None)
        assert np.array_equal(np.asarray(result.confusion), total)


def test_an_ensemble_may_have_two_axes() -> None:
    members = [problem("softmax", seed=seed)[0] for seed in range(6)]
    grid = stacked(stacked(*members[:3]), stacked(*members[3:]))
    data = split_of("softmax")
    losses = [one.loss for one in evaluate(grid, data).members]
    np.testing.assert_allclose(losses, [evaluate(one, data).loss for one in members])


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_means_are_over_the_members_that_have_not_diverged(output: str, factor: float) -> None:
    good, bad = problem(output)[0], problem(output, seed=1)[0]
    data = split_of(output)
    with np.errstate(invalid="ignore", over="ignore"):
        bad = fnnet.tree_map(lambda leaf: leaf * factor, bad)
        result = evaluate(stacked(good, bad), data)
        lost = evaluate(stacked(bad, bad), data)
    expected = evaluate(good, data)
    for figures in (result, result.members[0]):
        for name in ("loss", "accuracy", "r2"):
            wanted = getattr(expected, name)
            assert getattr(figures, name) == pytest.approx(wanted, nan_ok=True)
        assert np.array_equal(np.asarray(figures.confusion), np.asarray(expected.confusion))
    assert not math.isfinite(result.members[1].loss)
    assert not math.isfinite(lost.loss)
    assert output == "identity" or result.members[1].accuracy == 0


# In the loop


def test_a_regression_reports_r2_and_learns() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 6))
    y = np.sin(x[:, :2]) + x[:, 2:4] * x[:, 4:]
    start = fnnet.adam_init(
        fnnet.init_params(0, (6, 32, 2), activation="tanh", output="identity"), 0.01
    )
    train, test = Split(x[:200], y[:200]), Split(x[200:], y[200:])
    records = list(fnnet.train(start, train, test, rng=0, epochs=40))
    last = records[-1]
    assert last.metrics.test_r2 > 0.5 > records[0].metrics.test_r2
    result = evaluate(last.state.params, test)
    assert (last.metrics.test_r2, last.metrics.test_loss) == (result.r2, result.loss)
    assert math.isnan(last.metrics.test_accuracy)
    assert "r2" in repr(last)
    assert "accuracy" not in repr(last)
    (alone,) = fnnet.train(start, train, rng=0, epochs=1)
    assert math.isnan(alone.metrics.test_r2)


def test_several_labels_are_learnt() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 6))
    data = Split(x, x[:, :3] > x[:, 3:])
    start = fnnet.adam_init(fnnet.init_params(0, (6, 16, 3), output="sigmoid"), 0.01)
    *_, last = fnnet.train(start, data, rng=0, epochs=30)
    assert last.metrics.train_accuracy > 0.9
    assert math.isnan(last.metrics.train_r2)


# Memory


@pytest.mark.parametrize("order", ["C", "F"])
def test_mapped_data_are_never_copied_whole(tmp_path: Path, order: Any) -> None:
    shape = (20_000, 40)
    x = np.lib.format.open_memmap(
        tmp_path / "x.npy", "w+", np.float32, shape, fortran_order=order == "F"
    )
    x[:] = np.random.default_rng(0).standard_normal(shape, np.float32)
    params, split = fnnet.init_params(0, (40, 3)), Split(x, np.zeros(20_000, np.uint8))
    tracemalloc.start()
    result = evaluate(params, split)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < x.nbytes / 4
    assert result.loss == pytest.approx(fnnet.loss(params, x, split.y), rel=1e-5)


# Bad input


def test_what_cannot_be_evaluated_is_refused() -> None:
    params, data = problem("softmax")[0], split_of("softmax")
    arguments: list[tuple[Any, Any, str]] = [
        (params, (data.x, data.y), "split must be of type Split, got tuple"),
        (
            fnnet.sgd_init(params),
            data,
            "params must be of type Params, got SGDState: write state.p",
        ),
        (params, Split(data.x[:, :5], data.y), "x must have 6 features"),
        (params, Split(data.x, np.full(60, 4)), r"y must hold classes in \[0, 4\)"),
        (params, data[:0], "the split has no samples"),
        (Params((Layer(np.ones((6, 3)), np.ones(4)),)), data, "layer 0: b must fit w"),
    ]
    for one, split, message in arguments:
        with pytest.raises((TypeError, ValueError), match=message):
            evaluate(one, split)


def test_a_bad_label_is_found_wherever_it_is() -> None:
    data = split_of("softmax", 5000)
    y = np.array(data.y)
    y[4321] = 9
    with pytest.raises(ValueError, match=r"y must hold classes in \[0, 4\)"):
        evaluate(problem("softmax")[0], Split(data.x, y))
    numbers = np.array(split_of("identity", 5000).y)
    numbers[4321, 2] = np.nan
    with pytest.raises(ValueError, match="y must hold numbers, got NaN in row 4321, column 2"):
        evaluate(problem("identity")[0], Split(data.x, numbers))
