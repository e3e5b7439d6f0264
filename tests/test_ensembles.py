"""A leading axis on every leaf: E networks trained at once, each as it would be alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fnnet

E, N, SIZES, STEPS = 3, 9, (6, 5, 5, 4), 30
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}


def stack(members: list[fnnet.Params]) -> fnnet.Params:
    return fnnet.tree_map(lambda *leaves: np.stack(leaves), *members)


def take(ensemble: fnnet.Params, e: int) -> fnnet.Params:
    return fnnet.tree_map(lambda leaf: leaf[e], ensemble)


def labels(rng: np.random.Generator, soft: bool, *shape: int) -> Any:
    return rng.dirichlet(np.ones(SIZES[-1]), shape) if soft else rng.integers(0, SIZES[-1], shape)


def problem(dtype: str, own: bool, soft: bool) -> tuple[list[fnnet.Params], Any, Any]:
    """Members, and inputs and labels with a leading axis where each has its own."""
    rng = np.random.default_rng(0)
    members = [fnnet.init_params(rng, SIZES, dtype) for _ in range(E)]
    shape = (E, N) if own else (N,)
    return members, rng.standard_normal((*shape, SIZES[0])), labels(rng, soft, *shape)


def of_member(data: Any, e: int, own: bool) -> Any:
    return data[e] if own else data


def losses_of_members(ensemble: fnnet.Params, x: Any, y: Any) -> Any:
    return fnnet.losses(ensemble, x, y).mean(-1)


def assert_close(a: fnnet.Params, b: fnnet.Params, tolerance: float) -> None:
    for ours, theirs in zip(fnnet.tree_leaves(a), fnnet.tree_leaves(b), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("soft", [False, True], ids=["classes", "distributions"])
@pytest.mark.parametrize("own", [False, True], ids=["shared data", "own data"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_members_are_what_they_are_alone(dtype: str, own: bool, soft: bool) -> None:
    members, x, y = problem(dtype, own, soft)
    together, tolerance = stack(members), TOLERANCE[dtype]
    logits, each = fnnet.forward(together, x), fnnet.losses(together, x, y)
    loss, gradient = fnnet.loss_and_grads(together, x, y)
    assert logits.shape == (E, N, SIZES[-1])
    assert each.shape == (E, N)
    assert each.dtype == dtype
    assert type(loss) is float
    assert loss == fnnet.loss(together, x, y) == pytest.approx(each.mean(-1).sum(), rel=tolerance)
    for e, member in enumerate(members):
        mine = of_member(x, e, own), of_member(y, e, own)
        np.testing.assert_allclose(
            logits[e], fnnet.forward(member, mine[0]), rtol=tolerance, atol=tolerance
        )
        assert each[e].mean() == pytest.approx(fnnet.loss(member, *mine), rel=tolerance)
        np.testing.assert_allclose(each[e], fnnet.losses(member, *mine), tolerance, tolerance)
        assert_close(take(gradient, e), fnnet.grads(member, *mine), tolerance)


@pytest.mark.parametrize("soft", [False, True], ids=["classes", "distributions"])
@pytest.mark.parametrize("own", [False, True], ids=["shared data", "own data"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_members_with_rates_of_their_own_train_as_alone(dtype: str, own: bool, soft: bool) -> None:
    members, x, y = problem(dtype, own, soft)
    rates = np.array([1e-3, 1e-2, 0.0])
    together = fnnet.rmsprop_init(stack(members), rates)
    for _ in range(STEPS):
        together = fnnet.rmsprop_update(together, fnnet.grads(together.params, x, y))
    for e, member in enumerate(members):
        mine = of_member(x, e, own), of_member(y, e, own)
        alone = fnnet.rmsprop_init(member, float(rates[e]))
        for _ in range(STEPS):
            alone = fnnet.rmsprop_update(alone, fnnet.grads(alone.params, *mine))
        assert_close(take(together.params, e), alone.params, 10 * TOLERANCE[dtype])
        assert fnnet.tree_equal(take(together.params, e), member) == (rates[e] == 0)


def test_labels_and_inputs_are_shared_independently_of_each_other() -> None:
    members, own_x, own_y = problem("float64", own=True, soft=False)
    together = stack(members)
    for x, y in ((own_x[0], own_y), (own_x, own_y[0])):
        losses = losses_of_members(together, x, y)
        for e, member in enumerate(members):
            alone = fnnet.loss(member, x if x.ndim == 2 else x[e], y if y.ndim == 1 else y[e])
            assert losses[e] == pytest.approx(alone, rel=1e-12)


def test_an_integer_matrix_holds_classes_not_distributions() -> None:
    # Four members, four samples, four classes: (4, 4) would fit distributions by its shape.
    rng = np.random.default_rng(0)
    members = [fnnet.init_params(rng, SIZES, "float64") for _ in range(4)]
    x, classes = rng.standard_normal((4, SIZES[0])), rng.integers(0, 4, (4, 4))
    losses = losses_of_members(stack(members), x, classes)
    for e, member in enumerate(members):
        assert losses[e] == pytest.approx(fnnet.loss(member, x, classes[e]), rel=1e-12)


def test_a_floating_matrix_holds_distributions_that_members_share_not_classes() -> None:
    # Four members, four samples, four classes: one-hot rows could be read as members' classes, too.
    rng = np.random.default_rng(0)
    members = [fnnet.init_params(rng, SIZES, "float64") for _ in range(4)]
    x, rows = rng.standard_normal((4, SIZES[0])), np.eye(4)[[2, 0, 3, 3]]
    together = stack(members)
    losses, gradient = losses_of_members(together, x, rows), fnnet.grads(together, x, rows)
    for e, member in enumerate(members):
        assert losses[e] == pytest.approx(fnnet.loss(member, x, np.array([2, 0, 3, 3])), rel=1e-12)
        assert_close(take(gradient, e), fnnet.grads(member, x, rows), 1e-12)


def test_an_ensemble_of_one_is_an_ensemble() -> None:
    members, x, y = problem("float64", own=False, soft=False)
    alone, one = members[0], stack(members[:1])
    assert fnnet.losses(one, x, y).shape == (1, N)
    assert fnnet.loss(one, x, y) == pytest.approx(fnnet.loss(alone, x, y), rel=1e-12)
    assert_close(take(fnnet.grads(one, x, y), 0), fnnet.grads(alone, x, y), 1e-12)


@pytest.mark.parametrize("rates", [np.ones(2), np.ones((3, 1)), np.array([1.0, np.nan, 1.0])])
def test_rates_that_do_not_fit_the_members_are_refused(rates: Any) -> None:
    members, _, _ = problem("float64", own=False, soft=False)
    with pytest.raises(ValueError, match="learning_rate must be"):
        fnnet.rmsprop_init(stack(members), rates)
