"""Gradient descent is that of PyTorch, with momentum and without."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import fnnet
from fnnet import sgd_init, sgd_update
from tests.optimizers import shared as optimizers
from tests.optimizers.shared import SIZES, like, number, one

DTYPES = ["float32", "float64"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_a_hundred_steps_are_those_of_pytorch(dtype: str, momentum: float, nesterov: bool) -> None:
    state = sgd_init(fnnet.init_params(0, SIZES, dtype), 0.01, momentum, nesterov=nesterov)
    options = {"lr": 0.01, "momentum": momentum, "nesterov": nesterov}
    optimizers.assert_a_hundred_steps_are_those_of_pytorch("SGD", options, state, sgd_update)


def test_a_step_goes_down_the_gradient() -> None:
    assert number(sgd_update(sgd_init(one(10), 0.1), one(20)).params) == pytest.approx(8)


def test_velocity_gathers_gradients() -> None:
    state = sgd_init(one(0), 1.0, 0.5)
    for expected in (-1, -2.5, -4.25):
        state = sgd_update(state, one(1))
        assert number(state.params) == expected


def test_nesterov_follows_the_gradient_beyond_the_velocity() -> None:
    assert number(sgd_update(sgd_init(one(0), 1.0, 0.5, nesterov=True), one(1)).params) == -1.5


def test_there_is_a_velocity_only_with_momentum() -> None:
    params = fnnet.init_params(0, SIZES)
    assert sgd_update(sgd_init(params), like(params, 0)).velocity is None
    later = dataclasses.replace(sgd_init(params), momentum=0.9)
    assert fnnet.tree_equal(sgd_update(later, like(params, 0)).velocity, like(params, 0))


def test_members_of_an_ensemble_step_as_each_would_alone() -> None:
    optimizers.assert_members_step_as_each_would_alone(
        lambda params, rate: sgd_init(params, rate, 0.9), sgd_update
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_velocity_does_not_sink_into_subnormal_numbers(dtype: str) -> None:
    state = sgd_init(fnnet.init_params(0, (40, 30), dtype), momentum=0.5)
    optimizers.assert_nothing_sinks_into_subnormal_numbers(state, sgd_update)


def test_a_state_cannot_be_changed() -> None:
    optimizers.assert_a_state_cannot_be_changed(sgd_init(fnnet.init_params(0, SIZES)))


def test_rates_given_as_an_array_may_be_used_on() -> None:
    optimizers.assert_rates_given_as_an_array_may_be_used_on(sgd_init)


def test_settings_become_floats() -> None:
    optimizers.assert_settings_become_floats(sgd_init, "momentum")


def test_plain_descent_is_what_is_done_where_nothing_else_is_asked_for() -> None:
    state = fnnet.SGDState(one(10), 0, 0.1)
    assert (sgd_init(one(10)).learning_rate, sgd_init(one(10)).momentum) == (0.01, 0)
    assert number(sgd_update(state, one(20)).params) == pytest.approx(8)
    assert number(sgd_update(dataclasses.replace(state, momentum=0.5), one(20)).params) == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": -1}, "learning_rate must be a finite number >= 0.*, got -1"),
        ({"learning_rate": np.array([0.1])}, "learning_rate must be a finite number >= 0"),
        ({"momentum": 1.0}, r"momentum must lie in \[0, 1\), got 1.0"),
        ({"momentum": None}, r"momentum must lie in \[0, 1\), got None"),
    ],
)
def test_numbers_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    params = fnnet.init_params(0, SIZES)
    with pytest.raises(ValueError, match=message):
        sgd_init(params, **changes)
    with pytest.raises(ValueError, match=message):
        sgd_update(dataclasses.replace(sgd_init(params), **changes), params)


def test_nesterov_needs_momentum_and_a_flag_is_a_bool() -> None:
    with pytest.raises(ValueError, match=r"momentum must be above 0 for nesterov, got 0\.0"):
        sgd_init(one(0), nesterov=True)
    no: Any = "no"
    with pytest.raises(TypeError, match="nesterov must be True or False, got 'no'"):
        sgd_init(one(0), 0.1, 0.9, nesterov=no)


def test_parameters_that_are_not_finite_are_refused() -> None:
    optimizers.assert_parameters_that_are_not_finite_are_refused(sgd_init)


def test_a_state_of_another_optimizer_is_refused() -> None:
    state: Any = fnnet.adam_init(one(0))
    with pytest.raises(TypeError, match="state must be of type SGDState, got AdamState"):
        sgd_update(state, one(1))


def test_a_gradient_of_another_structure_is_refused() -> None:
    with pytest.raises(ValueError, match="grads must have the structure and shapes of state"):
        sgd_update(sgd_init(one(1)), fnnet.init_params(0, SIZES))


def test_updates_stay_on_the_device() -> None:
    optimizers.assert_updates_stay_on_the_device(
        lambda params: sgd_init(params, 0.1, 0.9, nesterov=True), sgd_update
    )
