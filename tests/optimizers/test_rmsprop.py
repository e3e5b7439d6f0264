"""RMSProp is that of PyTorch and of the equations, whatever the learning rate is made of."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

import fnnet
from fnnet import Layer, Params, RMSPropState, rmsprop_init, rmsprop_update
from tests import oracles
from tests.optimizers import shared as optimizers
from tests.optimizers.shared import like, number, one

Array: TypeAlias = npt.NDArray[Any]

DTYPES = ["float32", "float64"]
RATES: list[Any] = [
    0.1,
    1,
    np.float64(0.1),
    np.float32(0.1),
    np.array(0.1),
    np.array(0.1, np.float32),
    np.longdouble(0.1),
]
PARAMS = fnnet.init_params(0, (3, 2))


def vector(params: Params) -> Array:
    return fnnet.tree_ravel(params)[0]


def test_the_first_state_has_seen_nothing() -> None:
    params = fnnet.init_params(0, (3, 2))
    state = rmsprop_init(params, 0.1, 0.8, 1e-6)
    assert state.step == 0
    assert (state.learning_rate, state.decay, state.eps) == (0.1, 0.8, 1e-6)
    assert fnnet.tree_equal(state.params, params)
    assert fnnet.tree_equal(state.mean_squares, fnnet.tree_map(np.zeros_like, params))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-5), ("float64", 1e-12)])
@pytest.mark.parametrize(("decay", "eps"), [(0.9, 1e-8), (0.99, 1e-3), (0.0, 1.0)])
def test_a_hundred_steps_are_those_of_pytorch(
    dtype: str, tolerance: float, decay: float, eps: float
) -> None:
    torch = pytest.importorskip("torch")
    params = fnnet.init_params(0, (5, 4, 3), dtype)
    theirs = [torch.tensor(leaf.copy()) for leaf in fnnet.tree_leaves(params)]
    optimizer = torch.optim.RMSprop(theirs, lr=0.01, alpha=decay, eps=eps)
    state = rmsprop_init(params, 0.01, decay, eps)
    for step in range(100):
        gradient = like(params, step, scale=10.0 ** (step % 7 - 5))
        for parameter, leaf in zip(theirs, fnnet.tree_leaves(gradient), strict=True):
            parameter.grad = torch.tensor(leaf.copy())
        optimizer.step()
        state = rmsprop_update(state, gradient)
    assert state.step == 100
    for ours, parameter in zip(fnnet.tree_leaves(state.params), theirs, strict=True):
        np.testing.assert_allclose(ours, parameter.numpy(), tolerance, tolerance)
        assert ours.dtype == dtype


def test_a_step_is_that_of_the_keras_documentation() -> None:
    state = rmsprop_init(one(10), learning_rate=0.1, eps=1e-7)
    assert number(rmsprop_update(state, one(10)).params) == pytest.approx(9.683772, abs=5e-7)


def test_eps_stands_outside_the_root() -> None:
    state = rmsprop_init(one(0), learning_rate=1, decay=0.9, eps=1)
    assert number(rmsprop_update(state, one(1)).params) == pytest.approx(-0.759747, abs=5e-7)


@pytest.mark.parametrize("decay", [0.0, 0.9, 0.99])
@pytest.mark.parametrize("g", [-1e-3, 1e3])
def test_the_first_step_depends_on_the_decay_and_not_on_the_gradient(
    g: float, decay: float
) -> None:
    state = rmsprop_init(one(0), learning_rate=0.1, decay=decay, eps=1e-12)
    expected = -math.copysign(0.1 / math.sqrt(1 - decay), g)
    assert number(rmsprop_update(state, one(g)).params) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("rate", RATES, ids=lambda rate: f"{type(rate).__name__} {rate!s}")
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_type_of_the_learning_rate_changes_no_dtype(dtype: str, rate: Any) -> None:
    params = fnnet.init_params(0, (3, 2), dtype)
    state = rmsprop_init(params, rate)
    for seed in range(3):
        state = rmsprop_update(state, like(params, seed))
    expected = rmsprop_init(params, float(rate))
    for seed in range(3):
        expected = rmsprop_update(expected, like(params, seed))
    for ours, theirs in zip(
        (state.params, state.mean_squares), (expected.params, expected.mean_squares), strict=True
    ):
        assert {leaf.dtype for leaf in fnnet.tree_leaves(ours)} == {np.dtype(dtype)}
        assert fnnet.tree_equal(ours, theirs)


@pytest.mark.parametrize("other", ["float16", "float32", "float64", ">f8"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_dtype_of_the_gradient_changes_no_dtype(dtype: str, other: str) -> None:
    params = fnnet.init_params(0, (3, 2), dtype)
    gradient = fnnet.tree_map(lambda leaf: leaf.astype(other), like(params, 0))
    state = rmsprop_update(rmsprop_init(params), gradient)
    for tree in (state.params, state.mean_squares):
        assert {leaf.dtype for leaf in fnnet.tree_leaves(tree)} == {np.dtype(dtype)}


@pytest.mark.parametrize(
    ("dtype", "other", "g"), [("float32", "float16", 1e-4), ("float64", "float32", 1e-25)]
)
def test_a_gradient_of_lower_precision_is_squared_in_that_of_the_parameters(
    dtype: str, other: str, g: float
) -> None:
    state = rmsprop_update(rmsprop_init(one(1, dtype)), one(g, other))
    assert number(state.mean_squares) == pytest.approx(0.1 * g**2, rel=1e-3, abs=0)


def test_a_schedule_is_a_replaced_field() -> None:
    params = fnnet.init_params(0, (3, 2), np.float64)
    w, v = vector(params).copy(), np.zeros(8)
    state = rmsprop_init(params)
    for step in range(10):
        rate = 0.1 * 0.5**step
        state = dataclasses.replace(state, learning_rate=rate)
        gradient = like(params, step)
        state = rmsprop_update(state, gradient)
        w, v = oracles.rmsprop(w, v, vector(gradient), rate, 0.9, 1e-8)
    np.testing.assert_allclose(vector(state.params), w, 1e-12)
    assert state.step == 10


def test_a_gradient_of_zero_changes_no_parameter() -> None:
    params = fnnet.init_params(0, (3, 2))
    zeros = fnnet.tree_map(np.zeros_like, params)
    state = rmsprop_update(rmsprop_init(params), zeros)
    assert fnnet.tree_equal(state.params, params)
    assert fnnet.tree_equal(state.mean_squares, zeros)


@pytest.mark.parametrize("dtype", DTYPES)
def test_mean_squares_do_not_sink_into_subnormal_numbers(dtype: str) -> None:
    """A pixel that is never lit again: its mean square would stay subnormal for ever."""
    params = fnnet.init_params(0, (40, 30), dtype)
    zeros = fnnet.tree_map(np.zeros_like, params)
    # In float64 it takes longer to sink, so it starts lower down.
    scale = 1.0 if dtype == "float32" else 1e-70
    first = rmsprop_update(rmsprop_init(params), like(params, 0, scale))
    state = first
    for step in range(5000):
        state = rmsprop_update(state, zeros)
        if step % 16 == 0 or step > 4980:
            v = vector(state.mean_squares)
            assert not np.any((v > 0) & (v < np.finfo(dtype).tiny))
    assert not v.any()
    assert fnnet.tree_equal(state.params, first.params)


@pytest.mark.parametrize("eps", [1e-8, 1e-3, 1e-18])
@pytest.mark.parametrize("silent", [200, 900, 2000])
def test_a_gradient_that_comes_back_moves_parameters_as_if_nothing_had_been_swept(
    silent: int, eps: float
) -> None:
    params = fnnet.init_params(0, (4, 3))
    state = rmsprop_init(params, 0.1, eps=eps)
    w, v = vector(params).astype(np.float64), np.zeros(15)
    tiny = 1e-12
    for step in range(silent + 3):
        gradient = like(params, step, 1.0 if step == 0 else tiny if step > silent else 1e-30)
        state = rmsprop_update(state, gradient)
        w, v = oracles.rmsprop(w, v, vector(gradient).astype(np.float64), 0.1, 0.9, eps)
    np.testing.assert_allclose(vector(state.params), w, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "eps"),
    [
        ({}, 8.4e-12),
        ({"momentum": 0.5}, 8.4e-12),
        ({"eps_in_sqrt": True}, 2.1e-30),
    ],
)
def test_squares_are_swept_only_where_eps_hides_them(options: dict[str, Any], eps: float) -> None:
    optimizers.assert_only_what_eps_hides_is_swept(
        lambda params, eps: rmsprop_init(params, 0.1, 0.9, eps, **options), rmsprop_update, eps
    )


def test_settings_are_those_that_are_documented_where_none_are_given() -> None:
    state = rmsprop_init(PARAMS)
    assert (state.learning_rate, state.decay, state.eps) == (1e-3, 0.9, 1e-8)
    assert (state.momentum, state.centered, state.eps_in_sqrt) == (0, False, False)


def test_members_keep_their_learning_rates_however_large_they_are() -> None:
    members = [fnnet.init_params(seed, (300, 300)) for seed in range(3)]
    rates = np.array([0.1, 0.0, 0.3])
    together = rmsprop_init(optimizers.stacked(*members), rates)
    after = rmsprop_update(together, optimizers.stacked(*members))
    for e, (member, rate) in enumerate(zip(members, rates, strict=True)):
        alone = rmsprop_update(rmsprop_init(member, rate), member)
        one = fnnet.tree_map(lambda leaf, e=e: leaf[e], after.params)
        assert fnnet.tree_allclose(one, alone.params, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([], "params must have a tuple of at least one layer"),
        ([((3, 2), (3,))], r"layer 0: b must fit w of shape \(3, 2\), got b of \(3,\)"),
        ([((3, 2), (1,))], r"layer 0: b must fit w of shape \(3, 2\), got b of \(1,\)"),
        ([((3,), (3,))], r"layer 0: b must fit w of shape \(3,\)"),
        ([((3, 2), (2,)), ((3, 2), (2,))], r"layer 1: w must have 2 inputs.* got shape \(3, 2\)"),
        ([((2, 3, 2), (2, 2)), ((2, 2), (2,))], r"layer 1: w must have the leading axes \(2,\)"),
    ],
)
def test_layers_that_do_not_fit_are_named(shapes: list[Any], message: str) -> None:
    params = Params(tuple(Layer(np.ones(w), np.ones(b)) for w, b in shapes))
    with pytest.raises(ValueError, match=message):
        rmsprop_init(params)


@pytest.mark.parametrize("dtype", [int, complex, object, bool, "U3"])
def test_parameters_that_are_no_floats_are_refused(dtype: Any) -> None:
    params = Params((Layer(np.ones((3, 2)).astype(dtype), np.ones(2).astype(dtype)),))
    with pytest.raises(TypeError, match="params must"):
        rmsprop_init(params)


def test_parameters_of_two_dtypes_are_refused() -> None:
    params = Params((Layer(np.ones((3, 2)), np.ones(2, np.float32)),))
    with pytest.raises((TypeError, ValueError), match="params must"):
        rmsprop_init(params)


def test_a_state_is_no_tree_of_arrays() -> None:
    state: Any = rmsprop_init(PARAMS)
    assert isinstance(state, RMSPropState)
    with pytest.raises(TypeError, match="a tree is made of"):
        fnnet.tree_leaves(state)


# Momentum, centring and the place of eps


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("momentum", "centered"), [(0.9, False), (0.0, True), (0.9, True)])
def test_momentum_and_centring_are_those_of_pytorch(
    dtype: str, momentum: float, centered: bool
) -> None:
    state = rmsprop_init(
        fnnet.init_params(0, optimizers.SIZES, dtype),
        *(0.01, 0.99, 1e-3),
        momentum=momentum,
        centered=centered,
    )
    options = {"lr": 0.01, "alpha": 0.99, "eps": 1e-3, "momentum": momentum, "centered": centered}
    optimizers.assert_a_hundred_steps_are_those_of_pytorch(
        "RMSprop", options, state, rmsprop_update
    )


@pytest.mark.parametrize(
    ("eps_in_sqrt", "initial_scale", "expected"),
    [(True, 0, 0.953463), (False, 0, 0.759747), (True, 1, 0.707107), (False, 1, 0.5)],
)
def test_the_first_step_is_that_of_each_convention(
    eps_in_sqrt: bool, initial_scale: float, expected: float
) -> None:
    state = rmsprop_init(one(0), 1, 0.9, 1, eps_in_sqrt=eps_in_sqrt, initial_scale=initial_scale)
    assert number(rmsprop_update(state, one(1)).params) == pytest.approx(-expected, abs=5e-7)


def test_a_hundred_steps_with_eps_in_the_root_are_those_of_optax() -> None:
    optax = pytest.importorskip("optax")
    params = fnnet.init_params(0, optimizers.SIZES)
    state = rmsprop_init(params, 0.01, eps=1e-3, momentum=0.5, eps_in_sqrt=True, initial_scale=0.5)
    transform = optax.rmsprop(0.01, eps=1e-3, momentum=0.5, initial_scale=0.5)
    w = list(fnnet.tree_leaves(params))
    theirs = transform.init(w)
    for step in range(100):
        gradient = like(params, step, scale=10.0 ** (step % 5 - 3))
        state = rmsprop_update(state, gradient)
        changes, theirs = transform.update(fnnet.tree_leaves(gradient), theirs)
        w = optax.apply_updates(w, changes)
    for ours, leaf in zip(fnnet.tree_leaves(state.params), w, strict=True):
        np.testing.assert_allclose(ours, leaf, 5e-5, 5e-5)


def test_a_constant_gradient_stays_finite_where_centring_cancels() -> None:
    state = rmsprop_init(one(0, "float32"), 1e-3, centered=True)
    for _ in range(500):
        state = rmsprop_update(state, one(0.1, "float32"))
        assert math.isfinite(number(state.params))


def test_a_variance_that_rounding_makes_negative_counts_as_zero() -> None:
    params = fnnet.init_params(0, (4, 3))
    gradient = fnnet.tree_map(lambda leaf: np.full_like(leaf, 0.3), params)
    state, below = rmsprop_init(params, decay=0.5, centered=True), False
    for _ in range(50):
        state = rmsprop_update(state, gradient)
        assert state.means is not None
        v, m = (fnnet.tree_ravel(tree)[0] for tree in (state.mean_squares, state.means))
        below |= bool(np.any(v < m**2))
    assert below
    assert np.isfinite(fnnet.tree_ravel(state.params)[0]).all()


def test_trees_that_are_not_used_are_not_there() -> None:
    gradient = like(PARAMS, 0)
    plain = rmsprop_update(rmsprop_init(PARAMS), gradient)
    assert (plain.velocity, plain.means) == (None, None)
    moving = rmsprop_update(rmsprop_init(PARAMS, momentum=0.9), gradient)
    assert moving.velocity is not None
    assert moving.means is None
    every = rmsprop_update(rmsprop_init(PARAMS, momentum=0.9, centered=True), gradient)
    assert every.means is not None
    for state in (moving, every):
        for momentum, centered in ((0.0, False), (0.0, True), (0.9, False)):
            still = dataclasses.replace(state, momentum=momentum, centered=centered)
            after = rmsprop_update(still, gradient)
            assert (after.velocity is None) == (momentum == 0)
            assert (after.means is None) == (not centered)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"initial_scale": -1}, "initial_scale must be a finite number >= 0, got -1"),
    ],
)
def test_other_numbers_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rmsprop_init(PARAMS, **changes)
