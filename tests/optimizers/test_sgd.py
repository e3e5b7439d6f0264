"""Gradient descent is that of PyTorch, with momentum and without."""

from __future__ import annotations

import dataclasses
from typing import Any

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


def test_plain_descent_is_what_is_done_where_nothing_else_is_asked_for() -> None:
    state = fnnet.SGDState(one(10), 0, 0.1)
    assert (sgd_init(one(10)).learning_rate, sgd_init(one(10)).momentum) == (0.01, 0)
    assert number(sgd_update(state, one(20)).params) == pytest.approx(8)
    assert number(sgd_update(dataclasses.replace(state, momentum=0.5), one(20)).params) == 8


def test_nesterov_needs_momentum_and_a_flag_is_a_bool() -> None:
    with pytest.raises(ValueError, match=r"momentum must be above 0 for nesterov, got 0\.0"):
        sgd_init(one(0), nesterov=True)
    no: Any = "no"
    with pytest.raises(TypeError, match="nesterov must be True or False, got 'no'"):
        sgd_init(one(0), 0.1, 0.9, nesterov=no)
