"""Dropout has its exact gradient; the rest is what the papers and PyTorch say."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

import fnnet
from fnnet import Params
from tests import oracles
from tests.optimizers.shared import like, stacked

Array: TypeAlias = npt.NDArray[Any]

PARAMS = fnnet.init_params(0, (6, 5, 4))


def vector(tree: Params) -> Array:
    return fnnet.tree_ravel(tree)[0]


# Dropout


@pytest.mark.parametrize("rates", [(0.3, 0, 0), (0, 0.5, 0), (0, 0, 0.5), (0.2, 0.3, 0.4)])
def test_the_gradient_under_masks_is_that_of_central_differences(rates: tuple[float, ...]) -> None:
    params, x, y = oracles.smooth_problem((6, 5, 5, 4))
    masks = fnnet.dropout_masks(1, params, len(x), rates)
    at, unravel = fnnet.tree_ravel(params)
    expected = oracles.central_differences(
        lambda w: fnnet.loss_and_grads(unravel(w), x, y, masks)[0], at.astype(np.float64)
    )
    loss, gradient = fnnet.loss_and_grads(params, x, y, masks)
    np.testing.assert_allclose(vector(gradient), expected, 1e-6, 1e-8)
    assert loss != fnnet.loss(params, x, y)


def test_masks_may_be_any_factors() -> None:
    params, x, y = oracles.smooth_problem((6, 5, 5, 4))
    rng = np.random.default_rng(1)  # Gaussian dropout: factors of about 1, some below 0
    masks = [rng.normal(1, 1, (len(x), layer.w.shape[0])) for layer in params.layers]
    at, unravel = fnnet.tree_ravel(params)
    expected = oracles.central_differences(
        lambda w: fnnet.loss_and_grads(unravel(w), x, y, masks)[0], at.astype(np.float64)
    )
    gradient = fnnet.loss_and_grads(params, x, y, masks)[1]
    np.testing.assert_allclose(vector(gradient), expected, 1e-6, 1e-8)


def test_masks_are_the_factors_of_each_layers_inputs() -> None:
    params, x, y = oracles.problem()
    masks = fnnet.dropout_masks(1, params, len(x), (0.3, 0.4))
    assert masks[0] is not None
    assert masks[1] is not None
    one, two = params.layers
    h = np.maximum((x * masks[0]) @ one.w + one.b, 0) * masks[1]
    expected = oracles.cross_entropy(h @ two.w + two.b, np.asarray(y))
    assert fnnet.loss_and_grads(params, x, y, masks)[0] == pytest.approx(expected, rel=1e-12)


def test_without_masks_nothing_changes() -> None:
    params, x, y = oracles.problem()
    assert fnnet.dropout_masks(0, params, 7, (0, 0)) == (None, None)
    masked, plain = (fnnet.loss_and_grads(params, x, y, masks) for masks in ((None, None), None))
    assert masked[0] == plain[0]
    assert fnnet.tree_equal(masked[1], plain[1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_masks_keep_the_mean_and_drop_the_share_they_should(rate: float, dtype: str) -> None:
    params = fnnet.init_params(0, (100, 80, 10), dtype)
    masks = fnnet.dropout_masks(0, params, 200, (rate, rate))
    for mask, width in zip(masks, (100, 80), strict=True):
        assert mask is not None
        assert mask.shape == (200, width)
        assert mask.dtype == dtype
        spread = np.sqrt(rate * (1 - rate) / mask.size)
        assert np.mean(mask == 0) == pytest.approx(rate, abs=5 * spread)
        np.testing.assert_allclose(mask[mask > 0], 1 / (1 - rate), 1e-6)


def test_masks_follow_from_the_seed() -> None:
    one, two, other = (fnnet.dropout_masks(s, PARAMS, 9, (0.5, 0.5)) for s in (0, 0, 1))
    for a, b, c in zip(one, two, other, strict=True):
        assert np.array_equal(np.asarray(a), np.asarray(b))
        assert not np.array_equal(np.asarray(a), np.asarray(c))


def test_members_of_an_ensemble_have_masks_of_their_own() -> None:
    members = [fnnet.init_params(seed, (6, 5, 4), np.float64) for seed in range(3)]
    _, x, y = oracles.problem()
    masks = fnnet.dropout_masks(0, stacked(*members), len(x), (0.2, 0.5))
    total, gradient = fnnet.loss_and_grads(stacked(*members), x, y, masks)
    losses = []
    for e, member in enumerate(members):
        own = [None if mask is None else mask[e] for mask in masks]
        expected, theirs = fnnet.loss_and_grads(member, x, y, own)
        losses.append(expected)
        ours = fnnet.tree_map(lambda leaf, e=e: leaf[e], gradient)
        assert fnnet.tree_allclose(ours, theirs, 1e-10)
    assert total == pytest.approx(sum(losses), rel=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, (0.5, 0.5)), "n must be a whole number >= 1, got 0"),
        ((5, (0.5,)), "rates must be one for each of 2 layers"),
        ((5, 0.5), "rates must be one for each of 2 layers, got 0.5"),
        ((5, (0.5, 1.0)), r"rates must lie in \[0, 1\), got 1.0"),
        ((5, (-0.1, 0)), r"rates must lie in \[0, 1\), got -0.1"),
    ],
)
def test_masks_that_cannot_be_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fnnet.dropout_masks(0, PARAMS, *arguments)


def test_masks_that_do_not_fit_are_refused() -> None:
    params, x, y = oracles.problem()
    with pytest.raises(ValueError, match="masks must be one for each of 2 layers, got 1"):
        fnnet.loss_and_grads(params, x, y, (None,))
    words: Any = [np.full(leaf.w.shape[0], "w") for leaf in params.layers]
    with pytest.raises(TypeError, match="masks must be arrays of numbers, got dtype <U1"):
        fnnet.loss_and_grads(params, x, y, words)
    with pytest.raises(ValueError, match="masks must have the shapes of the inputs"):
        fnnet.loss_and_grads(params, x, y, fnnet.dropout_masks(0, params, 3, (0.5, 0)))


# Labels


def test_smooth_labels_are_mixed_with_the_uniform_distribution() -> None:
    y = np.array([3, 0, 1])
    expected = 0.9 * np.eye(4)[y] + 0.1 * np.full((3, 4), 1 / 4)
    np.testing.assert_allclose(fnnet.smooth_labels(y, 4, 0.1), expected, 1e-15)
    np.testing.assert_allclose(fnnet.smooth_labels(np.eye(4)[y], 4, 0.1), expected, 1e-15)


def test_the_loss_with_smooth_labels_is_that_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    z, y = rng.standard_normal((9, 4)), rng.integers(0, 4, 9)
    theirs = torch.nn.functional.cross_entropy(
        torch.tensor(z), torch.tensor(y), label_smoothing=0.2
    )
    ours = fnnet.cross_entropy(z, fnnet.smooth_labels(y, 4, 0.2))
    assert ours == pytest.approx(float(theirs), rel=1e-12)


def test_labels_that_cannot_be_smoothed_are_refused() -> None:
    with pytest.raises(ValueError, match=r"y must hold classes in \[0, 3\)"):
        fnnet.smooth_labels(np.array([3]), 3, 0.1)
    with pytest.raises(ValueError, match=r"amount must lie in \[0, 1\], got 1.1"):
        fnnet.smooth_labels(np.array([2]), 3, 1.1)
    with pytest.raises(ValueError, match=r"y must be \(N,\) classes or"):
        fnnet.smooth_labels(np.array(2), 3, 0.1)


# Gradients and weights


@pytest.mark.parametrize("bound", [0.0, 0.5, 3.0, 1e6])
def test_gradients_are_clipped_as_in_pytorch(bound: float) -> None:
    torch = pytest.importorskip("torch")
    gradient = like(PARAMS, 0)
    theirs = [torch.zeros(leaf.shape) for leaf in fnnet.tree_leaves(gradient)]
    for parameter, leaf in zip(theirs, fnnet.tree_leaves(gradient), strict=True):
        parameter.grad = torch.tensor(leaf.copy())
    torch.nn.utils.clip_grad_norm_(theirs, bound)
    clipped = fnnet.clip_by_global_norm(gradient, bound)
    for ours, parameter in zip(fnnet.tree_leaves(clipped), theirs, strict=True):
        np.testing.assert_allclose(ours, parameter.grad.numpy(), 1e-5)
        assert ours.dtype == np.float32
    assert np.linalg.norm(vector(clipped)) <= bound * (1 + 1e-6)


def test_a_gradient_that_is_huge_is_clipped_all_the_same() -> None:
    clipped = fnnet.clip_by_global_norm(like(PARAMS, 0, 1e30), 1.0)
    assert np.linalg.norm(vector(clipped)) == pytest.approx(1, rel=1e-5)


def test_squares_that_overflow_do_not_spoil_the_norm() -> None:
    params = fnnet.init_params(0, (6, 5, 4), np.float64)
    huge, small = like(params, 0, 1e160), like(params, 1, 1e-3)
    clipped = fnnet.clip_by_global_norm(stacked(huge, small), 1.0)
    one, other = (fnnet.tree_map(lambda leaf, e=e: leaf[e], clipped) for e in (0, 1))
    assert np.linalg.norm(vector(one)) == pytest.approx(1, rel=1e-12)
    assert fnnet.tree_equal(other, small)


def test_members_of_an_ensemble_are_clipped_one_by_one() -> None:
    members = [like(PARAMS, seed, scale) for seed, scale in enumerate((0.01, 1.0, 100.0))]
    clipped = fnnet.clip_by_global_norm(stacked(*members), 0.5)
    expected = stacked(*(fnnet.clip_by_global_norm(member, 0.5) for member in members))
    assert fnnet.tree_allclose(clipped, expected, 1e-6)


def test_a_member_without_gradient_is_clipped_to_nothing_beside_others() -> None:
    members = stacked(like(PARAMS, 0), like(PARAMS, 0, 0.0))
    for leaf in fnnet.tree_leaves(fnnet.clip_by_global_norm(members, 0.0)):
        assert not leaf.any()


def test_members_of_an_ensemble_decay_by_their_own_amounts() -> None:
    members = [like(PARAMS, seed) for seed in range(2)]
    decayed = fnnet.decay_weights(stacked(*members), np.array([0.25, 0.5]))
    own = [fnnet.decay_weights(*pair) for pair in zip(members, (0.25, 0.5), strict=True)]
    assert fnnet.tree_allclose(decayed, stacked(*own), 1e-6)
    with pytest.raises(ValueError, match=r"amount must lie in \[0, 1\], or be .* \(2,\)\), got"):
        fnnet.decay_weights(stacked(*members), np.array([0.25, 1.5]))


def test_weights_decay_and_biases_stay() -> None:
    params = fnnet.tree_map(lambda leaf: leaf + np.float32(1), PARAMS)
    for old, new in zip(params.layers, fnnet.decay_weights(params, 0.25).layers, strict=True):
        np.testing.assert_allclose(new.w, 0.75 * old.w, 1e-6)
        assert np.array_equal(new.b, old.b)


def test_adam_with_decayed_weights_is_adamw_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    params = fnnet.init_params(0, (6, 5, 4), np.float64)
    theirs = [torch.tensor(leaf.copy()) for leaf in fnnet.tree_leaves(params)]
    groups = [{"params": theirs[::2]}, {"params": theirs[1::2], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.01, weight_decay=0.3)
    state = fnnet.adam_init(params, 0.01)
    for step in range(30):
        gradient = like(params, step)
        for parameter, leaf in zip(theirs, fnnet.tree_leaves(gradient), strict=True):
            parameter.grad = torch.tensor(leaf.copy())
        optimizer.step()
        decayed = fnnet.decay_weights(state.params, 0.01 * 0.3)
        state = fnnet.adam_update(dataclasses.replace(state, params=decayed), gradient)
    for ours, parameter in zip(fnnet.tree_leaves(state.params), theirs, strict=True):
        np.testing.assert_allclose(ours, parameter.numpy(), 1e-9, 1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_penalty_is_half_the_squares_of_weights_and_spares_biases(dtype: str) -> None:
    params = fnnet.tree_map(lambda leaf: leaf + 1, fnnet.init_params(0, (6, 5, 4), dtype))
    penalty, gradient = fnnet.l2_penalty(params, 0.3)
    expected = 0.3 / 2 * sum(np.square(layer.w, dtype=np.float64).sum() for layer in params.layers)
    assert type(penalty) is float
    assert penalty == pytest.approx(float(expected), rel=1e-6)
    for layer, slope in zip(params.layers, gradient.layers, strict=True):
        np.testing.assert_allclose(slope.w, 0.3 * layer.w, 1e-6)
        assert slope.w.dtype == slope.b.dtype == dtype
        assert not slope.b.any()


def test_the_gradient_of_a_penalty_is_its_slope() -> None:
    params, x, y = oracles.smooth_problem((6, 5, 4))

    def both(params: Params) -> tuple[float, Params]:
        (loss, slope), (penalty, pull) = (
            fnnet.loss_and_grads(params, x, y),
            fnnet.l2_penalty(params, 0.3),
        )
        return loss + penalty, fnnet.tree_map(np.add, slope, pull)

    at, unravel = fnnet.tree_ravel(params)
    expected = oracles.central_differences(lambda at: both(unravel(at))[0], np.asarray(at))
    np.testing.assert_allclose(vector(both(params)[1]), expected, 1e-6, 1e-8)


def test_the_penalties_of_members_add_up() -> None:
    members = [like(PARAMS, seed) for seed in range(3)]
    penalty, gradient = fnnet.l2_penalty(stacked(*members), 0.5)
    each = [fnnet.l2_penalty(member, 0.5) for member in members]
    assert penalty == pytest.approx(sum(value for value, _ in each), rel=1e-6)
    assert fnnet.tree_allclose(gradient, stacked(*(slope for _, slope in each)), 1e-6)


def test_a_penalty_and_a_loss_have_their_minimum_where_scikit_learn_has_it() -> None:
    linear, optimize = (
        pytest.importorskip(f"{name}") for name in ("sklearn.linear_model", "scipy.optimize")
    )
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 4)), rng.integers(0, 3, 50)
    theirs = linear.LogisticRegression(C=2.0, tol=1e-10, max_iter=10_000).fit(x, y)
    start, unravel = fnnet.tree_ravel(fnnet.init_params(0, (4, 3), np.float64))

    def both(at: Array) -> tuple[float, Array]:
        params = unravel(at)
        loss, slope = fnnet.loss_and_grads(params, x, y)
        penalty, pull = fnnet.l2_penalty(params, 1 / (2.0 * len(x)))
        return loss + penalty, vector(slope) + vector(pull)

    found = unravel(optimize.minimize(both, start, jac=True, tol=1e-12).x)
    np.testing.assert_allclose(found.layers[0].w, theirs.coef_.T, atol=1e-4)


@pytest.mark.parametrize("strength", [-1, np.nan, np.inf, "1", None, [1.0]])
def test_strengths_out_of_range_are_refused(strength: Any) -> None:
    with pytest.raises(ValueError, match="strength must be a finite number >= 0, got "):
        fnnet.l2_penalty(PARAMS, strength)


def test_amounts_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"amount must lie in \[0, 1\], got -1"):
        fnnet.decay_weights(PARAMS, -1)
    with pytest.raises(ValueError, match="bound must be a finite number >= 0, got nan"):
        fnnet.clip_by_global_norm(PARAMS, np.nan)


# Averages


def test_an_average_forgets_by_its_decay() -> None:
    seen = [like(PARAMS, seed) for seed in range(5)]
    average, expected = seen[0], vector(seen[0]).astype(np.float64)
    for params in seen[1:]:
        average = fnnet.moving_average(average, params, 0.8)
        expected = 0.8 * expected + 0.2 * vector(params)
    np.testing.assert_allclose(vector(average), expected, 1e-5, 1e-6)
    assert vector(average).dtype == np.float32


def test_a_corrected_average_is_that_from_zeros_on_without_its_bias() -> None:
    average, raw = PARAMS, np.zeros(vector(PARAMS).size)
    for step in range(1, 20):
        params = like(PARAMS, step)
        average = fnnet.moving_average(average, params, 0.9, step)
        raw = 0.9 * raw + 0.1 * vector(params)
        np.testing.assert_allclose(vector(average), raw / (1 - 0.9**step), 1e-4, 1e-5)


def test_a_long_average_is_not_drawn_off_by_rounding() -> None:
    rng = np.random.default_rng(0)
    params = like(PARAMS, 0)
    average = params
    for _ in range(5000):
        noise = np.float32(1 + 0.01 * rng.standard_normal())
        average = fnnet.moving_average(
            average, fnnet.tree_map(lambda leaf, f=noise: f * leaf, params), 0.9999
        )
    np.testing.assert_allclose(vector(average), vector(params), 1e-4)
    assert fnnet.tree_equal(fnnet.moving_average(params, params, 0.9999), params)


def test_averages_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match=r"decay must lie in \[0, 1\), got 1"):
        fnnet.moving_average(PARAMS, PARAMS, 1)
    with pytest.raises(ValueError, match="step must be a whole number >= 1, got 0"):
        fnnet.moving_average(PARAMS, PARAMS, 0.9, 0)
    with pytest.raises(ValueError, match="average must have the structure and shapes of params"):
        fnnet.moving_average(PARAMS, fnnet.init_params(0, (6, 4)), 0.9)


# Early stopping


@pytest.mark.parametrize(
    ("losses", "patience", "least", "expected"),
    [
        ([], 1, 0, False),
        ([1.0], 1, 0, False),
        ([1.0, 1.0], 1, 0, True),
        ([1.0, 0.9], 1, 0, False),
        ([1.0, 0.9], 1, 0.2, True),
        ([1.0, 0.95, 0.88, 0.86], 2, 0.1, False),
        ([1.0, 0.95, 0.92, 0.91], 3, 0.1, True),
        ([0.5, 0.9, 0.8], 2, 0, True),
        ([0.5, 0.9, 0.8], 3, 0, False),
        ([0.9, 0.5, 0.8, 0.6], 2, 0, True),
        ([0.5, float("nan")], 1, 0, True),
        ([float("nan"), 0.9, 0.5], 1, 0, False),
        ([0.9, float("nan"), 0.4], 2, 0, False),
        ([float("inf"), float("inf")], 1, 0, True),
    ],
)
def test_training_stops_where_nothing_has_got_better(
    losses: list[float], patience: int, least: float, expected: bool
) -> None:
    assert fnnet.stop_early(losses, patience, least) is expected


def test_losses_of_no_split_are_refused() -> None:
    with pytest.raises(ValueError, match=r"losses must be those of a split .*, got NaN alone"):
        fnnet.stop_early([float("nan")], 1)


@pytest.mark.parametrize("losses", [[None, 1.0], ["low"], 1.0])
def test_losses_that_are_no_numbers_are_refused(losses: Any) -> None:
    with pytest.raises(TypeError, match="losses must be a sequence of numbers, got "):
        fnnet.stop_early(losses, 1)


def test_patience_has_a_beginning() -> None:
    with pytest.raises(ValueError, match="patience must be a whole number >= 1, got 0"):
        fnnet.stop_early([1.0], 0)


# All of it in the loop


def test_a_run_that_draws_from_the_loops_generator_resumes_bit_for_bit(tmp_path: Path) -> None:
    digits = fnnet.load_digits()
    split = fnnet.Split(digits.train.x[:100], digits.train.y[:100])

    def run(checkpoint: fnnet.Checkpoint[fnnet.AdamState], epochs: int) -> Any:
        rng = checkpoint.rng.generator()

        def gradient(params: Params, x: Array, y: Any) -> tuple[float, Params]:
            masks = fnnet.dropout_masks(rng, params, len(x), (0.1, 0.5))
            return fnnet.loss_and_grads(params, x, fnnet.smooth_labels(y, 10, 0.1), masks)

        def update(state: fnnet.AdamState, grads: Params) -> fnnet.AdamState:
            decayed = fnnet.decay_weights(state.params, 1e-4)
            state = dataclasses.replace(state, params=decayed)
            return fnnet.adam_update(state, fnnet.clip_by_global_norm(grads, 0.5))

        records = fnnet.train(
            checkpoint.state,
            split,
            rng=rng,
            epochs=epochs,
            start=checkpoint.epoch,
            gradient=gradient,
            update=update,
        )
        *_, last = records
        return fnnet.Checkpoint(last.state, rng, epochs)

    def begin() -> fnnet.Checkpoint[fnnet.AdamState]:
        state = fnnet.adam_init(fnnet.init_params(0, (64, 16, 10)))
        return fnnet.Checkpoint(state, np.random.default_rng(3))

    whole = run(begin(), 4)
    fnnet.save_checkpoint(tmp_path / "run", run(begin(), 2))
    resumed = run(fnnet.load_checkpoint(tmp_path / "run", fnnet.AdamState), 4)
    for name in ("params", "means", "mean_squares"):
        assert fnnet.tree_equal(getattr(whole.state, name), getattr(resumed.state, name))
    assert whole.state.step == resumed.state.step


def test_a_checkpoint_of_another_optimizer_is_named(tmp_path: Path) -> None:
    state = fnnet.sgd_init(PARAMS, 0.1, 0.9)
    fnnet.save_checkpoint(tmp_path / "run", fnnet.Checkpoint(state, np.random.default_rng(0)))
    with pytest.raises(fnnet.CheckpointError, match="expected RMSPropState, got SGDState"):
        fnnet.load_checkpoint(tmp_path / "run", fnnet.RMSPropState)
    loaded = fnnet.load_checkpoint(tmp_path / "run", fnnet.SGDState)
    assert (loaded.state.momentum, loaded.state.velocity) == (0.9, None)


def test_a_state_without_an_update_of_its_own_needs_one() -> None:
    @dataclasses.dataclass(frozen=True)
    class Plain:
        params: Params

    split = fnnet.Split(np.eye(6), np.zeros(6, int))
    with pytest.raises(TypeError, match="got Plain: register its optimizer, or give an update"):
        fnnet.train(Plain(PARAMS), split, rng=0, epochs=1)

    def update(state: Plain, grads: Params) -> Plain:
        return Plain(fnnet.tree_map(lambda w, g: w - 0.1 * g, state.params, grads))

    records = fnnet.train(Plain(PARAMS), split, rng=0, epochs=9, update=update)
    losses = [record.metrics.train_loss for record in records]
    assert losses[-1] < losses[0]
