"""Weights of samples: as good as repeated rows, in losses, gradients, evaluation and training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fnnet
from fnnet import Params, Split
from tests import oracles
from tests.test_outputs import OUTPUTS, problem, smooth, stacked

FUNCTIONS = (fnnet.loss, fnnet.losses, fnnet.grads, fnnet.loss_and_grads, fnnet.input_grads)


def vector(tree: Params) -> Any:
    return fnnet.tree_ravel(tree)[0]


# Losses and gradients


@pytest.mark.parametrize("output", OUTPUTS)
@given(weights=st.lists(st.integers(0, 4), min_size=7, max_size=7).filter(any))
@settings(max_examples=20)
def test_whole_weights_are_as_good_as_repeated_rows(output: str, weights: list[int]) -> None:
    params, x, y = problem(output)
    rows = np.repeat(np.arange(7), weights)
    loss, gradient = fnnet.loss_and_grads(params, x, y, weights=weights)
    expected, theirs = fnnet.loss_and_grads(params, x[rows], y[rows])
    assert loss == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(vector(gradient), vector(theirs), 1e-10, 1e-13)
    assert fnnet.loss(params, x, y, weights=weights) == loss
    assert fnnet.tree_equal(fnnet.grads(params, x, y, weights=weights), gradient)


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_weighted_loss_is_the_weighted_mean_of_the_losses(output: str) -> None:
    params, x, y = problem(output)
    s = np.random.default_rng(0).random(7)
    each = fnnet.losses(params, x, y)
    expected = float((s * each).sum() / s.sum())
    assert fnnet.loss(params, x, y, weights=s) == pytest.approx(expected, rel=1e-12)
    weighted = fnnet.losses(params, x, y, weights=s)
    np.testing.assert_allclose(weighted, s * each * 7 / s.sum(), 1e-12)
    assert weighted.mean() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("masked", [False, True])
def test_weighted_gradients_are_the_slopes_of_the_weighted_loss(output: str, masked: bool) -> None:
    params, x, y = smooth(output)
    s = np.random.default_rng(0).random(7)
    masks = fnnet.dropout_masks(0, params, 7, (0.2, 0.5, 0.5)) if masked else None
    at, unravel = fnnet.tree_ravel(params)
    expected = oracles.central_differences(
        lambda at: fnnet.loss_and_grads(unravel(at), x, y, masks, weights=s)[0], np.asarray(at)
    )
    ours = fnnet.loss_and_grads(params, x, y, masks, weights=s)[1]
    np.testing.assert_allclose(vector(ours), expected, 1e-5, 1e-7)


def test_weighted_input_gradients_are_the_slopes_of_the_weighted_loss() -> None:
    params, x, y = smooth("softmax")
    s = np.arange(7.0)
    expected = oracles.central_differences(
        lambda at: fnnet.loss(params, at.reshape(x.shape), y, weights=s), x.ravel()
    )
    ours = fnnet.input_grads(params, x, y, weights=s)
    np.testing.assert_allclose(ours.ravel(), expected, 1e-5, 1e-8)
    assert not ours[0].any()


def test_weighted_gradients_are_those_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    params, x, _ = problem("softmax", (6, 4))
    y, of_class = np.arange(7) % 4, np.array([1.0, 2.0, 0.5, 3.0])
    w, b = theirs = [
        torch.tensor(leaf.copy(), requires_grad=True) for leaf in fnnet.tree_leaves(params)
    ]
    z = torch.tensor(x) @ w + b
    loss = torch.nn.functional.cross_entropy(z, torch.tensor(y), torch.tensor(of_class))
    loss.backward()
    value, gradient = fnnet.loss_and_grads(params, x, y, weights=of_class[y])
    assert value == pytest.approx(loss.item(), rel=1e-12)
    for ours, leaf in zip(fnnet.tree_leaves(gradient), theirs, strict=True):
        np.testing.assert_allclose(ours, leaf.grad.numpy(), 1e-10, 1e-14)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ones_change_nothing_but_by_rounding_and_none_not_even_that(
    output: str, dtype: str
) -> None:
    params, x, y = problem(output)
    params = fnnet.tree_map(lambda leaf: leaf.astype(dtype), params)
    loss, gradient = fnnet.loss_and_grads(params, x, y)
    tolerance = 10 * float(np.finfo(dtype).eps)
    for weights in (np.ones(7), [1] * 7, np.full(7, 3.0), np.ones(7, bool)):
        value, same = fnnet.loss_and_grads(params, x, y, weights=weights)
        assert value == pytest.approx(loss, rel=tolerance)
        np.testing.assert_allclose(vector(same), vector(gradient), 100 * tolerance, tolerance)
        assert vector(same).dtype == dtype
    value, same = fnnet.loss_and_grads(params, x, y, weights=None)
    assert value == loss
    assert vector(same).tobytes() == vector(gradient).tobytes()


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_batch_without_any_weight_has_loss_and_gradient_zero(output: str) -> None:
    params, x, y = problem(output)
    for one in (params, stacked(params, params)):
        loss, gradient = fnnet.loss_and_grads(one, x, y, weights=np.zeros(7))
        assert loss == 0 == fnnet.loss(one, x, y, weights=np.zeros(7))
        assert not vector(gradient).any()
        assert not fnnet.losses(one, x, y, weights=np.zeros(7)).any()
        assert not fnnet.input_grads(one, x, y, weights=np.zeros(7)).any()


@pytest.mark.parametrize("output", OUTPUTS)
def test_the_scale_of_weights_does_not_matter(output: str) -> None:
    params, x, y = problem(output)
    s = np.random.default_rng(0).random(7)
    loss, gradient = fnnet.loss_and_grads(params, x, y, weights=s)
    for scale in (1e-30, 1e30):
        value, same = fnnet.loss_and_grads(params, x, y, weights=scale * s)
        assert value == pytest.approx(loss, rel=1e-12)
        np.testing.assert_allclose(vector(same), vector(gradient), 1e-9, 1e-13)


def test_members_of_an_ensemble_share_the_weights() -> None:
    members = [problem("softmax", seed=seed)[0] for seed in range(3)]
    _, x, y = problem("softmax")
    s = np.arange(7.0)
    loss, gradient = fnnet.loss_and_grads(stacked(*members), x, y, weights=s)
    each = [fnnet.loss_and_grads(member, x, y, weights=s) for member in members]
    assert loss == pytest.approx(sum(value for value, _ in each), rel=1e-12)
    assert fnnet.tree_allclose(gradient, stacked(*(g for _, g in each)), 1e-10, 1e-13)


# Evaluation and training


@pytest.mark.parametrize("output", OUTPUTS)
def test_an_evaluation_takes_weights_of_the_split_or_others(output: str) -> None:
    params, x, y = problem(output)
    s = np.array([0, 1, 2, 0, 3, 1, 1])
    rows = np.repeat(np.arange(7), s)
    expected = fnnet.evaluate(params, Split(x[rows], y[rows]))
    for ours in (
        fnnet.evaluate(params, Split(x, y, s)),
        fnnet.evaluate(params, Split(x, y), weights=s),
        fnnet.evaluate(params, Split(x, y, np.ones(7)), weights=s.tolist()),
    ):
        for name in ("loss", "accuracy", "r2"):
            assert getattr(ours, name) == pytest.approx(getattr(expected, name), nan_ok=True)
    plain = fnnet.evaluate(params, Split(x, y))
    assert plain.loss != pytest.approx(expected.loss)
    assert np.array_equal(
        np.asarray(ours.confusion), np.asarray(plain.confusion)
    )  # of samples, not of their weights


def test_training_with_whole_weights_is_training_on_repeated_rows() -> None:
    rng = np.random.default_rng(0)
    x, y, s = rng.standard_normal((20, 6)), rng.integers(0, 4, 20), rng.integers(0, 4, 20)
    start = fnnet.sgd_init(fnnet.init_params(0, (6, 5, 4), np.float64), 0.1)
    one = Split(x, y, s)
    other = Split(np.repeat(x, s, 0), np.repeat(y, s))
    a, b = (
        list(fnnet.train(start, split, one, rng=0, epochs=5, batch_size=100))[-1]
        for split in (one, other)
    )
    np.testing.assert_allclose(vector(a.state.params), vector(b.state.params), 1e-10, 1e-13)
    assert a.metrics.train_loss == pytest.approx(b.metrics.train_loss, rel=1e-10)
    assert a.metrics.test_loss == pytest.approx(a.metrics.train_loss, rel=1e-12)


def test_a_minibatch_that_happens_to_weigh_nothing_changes_no_parameter() -> None:
    rng = np.random.default_rng(0)
    s = np.zeros(20)
    s[3] = 1
    split = Split(rng.standard_normal((20, 6)), rng.integers(0, 4, 20), s)
    start = fnnet.sgd_init(fnnet.init_params(0, (6, 5, 4), np.float64), 0.1)
    (one,) = fnnet.train(start, split, rng=0, epochs=1, batch_size=1)
    expected = fnnet.sgd_update(
        start, fnnet.grads(start.params, split.x[3:4], np.asarray(split.y[3:4]))
    )
    np.testing.assert_allclose(vector(one.state.params), vector(expected.params), 1e-14)
    assert one.state.step == 20


def test_a_split_without_weights_calls_its_gradient_without_them() -> None:
    def gradient(params: Params, x: Any, y: Any) -> tuple[float, Params]:
        return fnnet.loss_and_grads(params, x, y)

    start = fnnet.sgd_init(fnnet.init_params(0, (6, 4)))
    split = Split(np.ones((5, 6)), np.arange(5) % 4)
    assert len([*fnnet.train(start, split, rng=0, epochs=1, gradient=gradient)]) == 1
    weighted = Split(split.x, split.y, np.ones(5))
    with pytest.raises(TypeError, match="weights"):
        next(fnnet.train(start, weighted, rng=0, epochs=1, gradient=gradient))


def test_balanced_weights_make_rare_classes_count() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(400) < 0.05).astype(int)
    x = rng.standard_normal((400, 2)) + 1.0 * y[:, None]
    recalls = []
    for weights in (None, fnnet.class_weights(y, 2)):
        start = fnnet.rmsprop_init(fnnet.init_params(0, (2, 2)), 0.01)
        *_, last = fnnet.train(start, Split(x, y, weights), rng=0, epochs=30)
        found = fnnet.evaluate(last.state.params, Split(x, y)).confusion
        assert found is not None
        recalls.append(found[1, 1] / found[1].sum())
    assert recalls[1] > recalls[0] + 0.3


def test_class_weights_are_those_of_scikit_learn() -> None:
    utils = pytest.importorskip("sklearn.utils.class_weight")
    y = np.array([0, 0, 2, 1, 2, 2, 2])
    expected = utils.compute_sample_weight("balanced", y)
    for labels in (y, y.tolist(), y[:, None], y.astype(np.uint8)):
        np.testing.assert_allclose(fnnet.class_weights(labels, 3), expected, 1e-15)
    two = fnnet.class_weights([True, False, False, False], 2)
    np.testing.assert_allclose(two, [2, 2 / 3, 2 / 3, 2 / 3])


def test_every_class_has_the_same_share_of_class_weights() -> None:
    y = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [50, 7, 3]))
    weights = fnnet.class_weights(y, 3)
    shares = [weights[y == k].sum() for k in range(3)]
    np.testing.assert_allclose(shares, [20, 20, 20])


# Bad input


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([-1, 1, 1, 1, 1, 1, 1], "weights must be finite and >= 0"),
        ([np.nan, 1, 1, 1, 1, 1, 1], "weights must be finite and >= 0"),
        ([np.inf, 1, 1, 1, 1, 1, 1], "weights must be finite and >= 0"),
        ([1, 2], r"weights must be \(7,\) numbers >= 0"),
        ([[1]] * 7, r"weights must be \(7,\) numbers >= 0"),
        (1.0, r"weights must be \(7,\) numbers >= 0"),
        (["a"] * 7, r"weights must be \(7,\) numbers >= 0"),
        ([1j] * 7, r"weights must be \(7,\) numbers >= 0"),
        ([1e308] * 7, "weights must have a finite sum in float64, got larger ones"),
    ],
)
def test_weights_that_cannot_be_are_refused(weights: Any, message: str) -> None:
    params, x, y = problem("softmax")
    for f in (*FUNCTIONS, lambda *a, weights: fnnet.evaluate(a[0], Split(*a[1:]), weights=weights)):
        with pytest.raises(ValueError, match=message):
            f(params, x, y, weights=weights)


def test_an_evaluation_without_any_weight_is_refused() -> None:
    params, x, y = problem("softmax")
    with pytest.raises(ValueError, match="weights must not all be zero"):
        fnnet.evaluate(params, Split(x, y), weights=np.zeros(7))
    s = np.arange(7) // 6
    for use in (
        fnnet.evaluate,
        lambda p, part: fnnet.train(fnnet.sgd_init(p), part, rng=0, epochs=1),
    ):
        with pytest.raises(ValueError, match="weights of a split must not all be zero"):
            use(params, Split(x, y, s)[:6])


def test_classes_that_cannot_be_have_no_weights() -> None:
    for y, message in (
        ([0, 3], r"y must hold classes in \[0, 3\), got 0 to 3"),
        ([-1, 0], r"y must hold classes in \[0, 3\), got -1 to 0"),
        ([0.0, 1.0], r"y must be \(N,\) int classes, got float64"),
        ([], r"y must be \(N,\) int classes, got"),
        (np.eye(3, dtype=int), r"y must be \(N,\) int classes, got"),
        (["a", "b"], r"write `classes, y = np\.unique\(y, return_inverse=True\)"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            fnnet.class_weights(y, 3)
    with pytest.raises(ValueError, match="classes must be a whole number >= 1, got 0"):
        fnnet.class_weights([0], 0)
