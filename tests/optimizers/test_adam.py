"""Adam is that of PyTorch; with decayed weights it is PyTorch's AdamW."""

from __future__ import annotations

import numpy as np
import pytest

import fnnet
from fnnet import adam_init, adam_update
from tests.optimizers import shared as optimizers
from tests.optimizers.shared import SIZES, like, number, one

DTYPES = ["float32", "float64"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("beta1", "beta2", "eps"), [(0.9, 0.999, 1e-8), (0.5, 0.9, 1e-3), (0.0, 0.0, 1.0)]
)
def test_a_hundred_steps_are_those_of_pytorch(
    dtype: str, beta1: float, beta2: float, eps: float
) -> None:
    state = adam_init(fnnet.init_params(0, SIZES, dtype), 0.01, beta1, beta2, eps)
    options = {"lr": 0.01, "betas": (beta1, beta2), "eps": eps}
    optimizers.assert_a_hundred_steps_are_those_of_pytorch("Adam", options, state, adam_update)


@pytest.mark.parametrize("g", [-1e-3, 1e3])
def test_the_first_step_is_the_learning_rate_whatever_the_gradient(g: float) -> None:
    state = adam_update(adam_init(one(0), 0.1, eps=1e-12), one(g))
    assert number(state.params) == pytest.approx(-np.copysign(0.1, g))


def test_means_are_those_of_the_gradients() -> None:
    state = adam_init(one(0), beta1=0.5, beta2=0.75)
    for g in (1.0, 3.0):
        state = adam_update(state, one(g))
    assert number(state.means) == 0.5 * 0.5 * 1 + 0.5 * 3
    assert number(state.mean_squares) == 0.75 * 0.25 * 1 + 0.25 * 9


def test_squares_are_swept_only_where_eps_hides_them() -> None:
    optimizers.assert_only_what_eps_hides_is_swept(
        lambda params, eps: adam_init(params, 0.1, 0.9, 0.9, eps), adam_update, 8.4e-12
    )


def test_settings_are_those_of_the_paper_where_none_are_given() -> None:
    state = adam_init(one(0))
    assert (state.learning_rate, state.beta1, state.beta2, state.eps) == (1e-3, 0.9, 0.999, 1e-8)


def test_blocks_are_updated_as_if_there_were_none() -> None:
    params = fnnet.init_params(0, (300, 250))  # several blocks
    state = adam_init(params, 0.1)
    w = fnnet.tree_ravel(params)[0].astype(np.float64)
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t in range(1, 4):
        gradient = like(params, t)
        g = fnnet.tree_ravel(gradient)[0].astype(np.float64)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w -= 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        state = adam_update(state, gradient)
    np.testing.assert_allclose(fnnet.tree_ravel(state.params)[0], w, 1e-4, 1e-5)
