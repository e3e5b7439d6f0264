"""An eps or a rate that the parameters' dtype has no number for: the right step, or a refusal."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import fnnet

PARAMS = fnnet.init_params(0, (3, 4, 2))
GRADS = fnnet.tree_map(lambda leaf: np.where(leaf > 0, leaf, 0), PARAMS)  # with zeros
NEXT: dict[str, Any] = {"rmsprop": fnnet.rmsprop_init, "adam": fnnet.adam_init}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NEXT)
@pytest.mark.parametrize("eps", [1e39, 1e200, 1e308])
def test_a_huge_eps_leaves_parameters_where_they_are_without_a_warning(
    name: str, eps: float, dtype: Any
) -> None:
    params = fnnet.tree_map(lambda leaf: leaf.astype(dtype), PARAMS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        state = fnnet.update(NEXT[name](params, 1e-3, eps=eps), GRADS)
    assert fnnet.tree_allclose(state.params, params, rtol=1e-15)


@pytest.mark.parametrize("name", NEXT)
@pytest.mark.parametrize("eps", [5e-324, 1e-60])
def test_an_eps_below_all_floats_of_the_dtype_still_keeps_zero_from_dividing_zero(
    name: str, eps: float
) -> None:
    state = fnnet.update(NEXT[name](PARAMS, 1e-3, eps=eps), GRADS)
    for old, new, g in zip(*map(fnnet.tree_leaves, (PARAMS, state.params, GRADS)), strict=True):
        assert np.isfinite(new).all()
        np.testing.assert_array_equal(new[g == 0], old[g == 0])


@pytest.mark.parametrize("init", [fnnet.sgd_init, fnnet.rmsprop_init, fnnet.adam_init])
def test_a_rate_that_float32_does_not_have_is_refused(init: Any) -> None:
    with pytest.raises(ValueError, match=r"learning_rate must be finite in float32, got 1e\+39"):
        init(PARAMS, 1e39)
    wide = fnnet.tree_map(lambda leaf: leaf.astype(np.float64), PARAMS)
    assert init(wide, 1e39).learning_rate == 1e39
