"""What steps share: rates of members, the sweep of vanishing numbers, ranges of settings."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

import fnnet
from fnnet.checks import check_not_negative, check_share
from fnnet.optimizers.states import check_setting
from fnnet.optimizers.steps import (
    FLUSH_EVERY,
    each_rate,
    gradient_vector,
    lost_beside,
    swept,
    vanishing,
)
from fnnet.trees import flat
from tests.optimizers.shared import like, stacked

Array: TypeAlias = npt.NDArray[Any]

DTYPES = [np.float32, np.float64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("eps", [1.0, 1e-8, 0.3, 1 - 2**-20, 2**-30])
def test_what_is_lost_beside_eps_changes_no_sum(eps: float, dtype: type[Any]) -> None:
    lost = lost_beside(eps, np.zeros(1, dtype))
    assert dtype(eps) + dtype(0.999 * lost) == dtype(eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_more_than_lost_changes_a_sum_somewhere(dtype: type[Any]) -> None:
    eps = np.nextafter(dtype(1), dtype(0))  # where numbers lie closest, relative to their size
    assert eps + dtype(1.001 * lost_beside(float(eps), np.zeros(1, dtype))) > eps


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("decay", [0.5, 0.9, 0.999])
def test_what_does_not_vanish_is_not_subnormal_before_the_next_sweep(
    decay: float, dtype: type[Any]
) -> None:
    left: Array = np.array([vanishing(decay, np.zeros(1, dtype))], dtype)
    for _ in range(FLUSH_EVERY - 1):
        left = left * dtype(decay)
    assert left >= np.finfo(dtype).tiny
    assert left * dtype(decay) <= np.finfo(dtype).tiny * dtype(1.001)


@pytest.mark.parametrize("decay", [0.0, 0.1, 0.5])
def test_where_all_is_forgotten_at_once_only_the_smallest_numbers_vanish(decay: float) -> None:
    assert 0 < vanishing(decay, np.zeros(1, np.float32)) == vanishing(0.5, np.zeros(1, np.float32))


def test_a_sweep_sets_to_zero_what_vanishes_and_nothing_else() -> None:
    bound = np.float32(vanishing(0.5, np.zeros(1, np.float32)))
    below = np.nextafter(bound, np.float32(0))
    x = np.array([bound, below, -below, -bound, 0, 1], np.float32)
    assert swept(x, 0.5, FLUSH_EVERY).tolist() == [bound, 0, 0, -bound, 0, 1]
    for step in range(1, FLUSH_EVERY):
        assert np.array_equal(swept(x, 0.5, step), x)
    assert np.array_equal(swept(x, 0.5, 0, felt=float(bound) / 2), x)
    assert not np.array_equal(swept(x, 0.5, 0, felt=float(bound) * 2), x)


def test_a_gradient_of_the_parameters_dtype_is_not_copied() -> None:
    params = fnnet.init_params(0, (3, 2))
    gradient = like(params, 0)
    assert np.shares_memory(gradient_vector(params, gradient)[0], fnnet.tree_ravel(gradient)[0])


def test_each_parameter_has_the_rate_of_its_member() -> None:
    members = stacked(*[fnnet.init_params(seed, (2, 3, 2)) for seed in range(2)])
    _, layout = flat(members)
    rates: Any = each_rate(np.array([0.5, 2.0]), members, layout)
    for leaf in layout.leaves(rates):
        assert np.all(leaf[0] == 0.5)
        assert np.all(leaf[1] == 2)
    given: list[Any] = [0.5, np.float32(0.5), np.array(0.5)]
    for rate in given:
        shared = each_rate(rate, members, layout)
        assert type(shared) is float
        assert shared == 0.5


@pytest.mark.parametrize("rates", [[0.1, -0.1], [0.1, np.inf], [np.nan, 0.1], [0.1], [[0.1, 0.1]]])
def test_rates_of_members_are_as_many_finite_numbers_from_zero_on(rates: Any) -> None:
    members = stacked(*[fnnet.init_params(seed, (3, 2)) for seed in range(2)])
    check_setting("rate", np.array([0.0, 0.1]), 0, math.inf, members)
    with pytest.raises(ValueError, match=r"^rate must be .* \(shape \(2,\)\), got array"):
        check_setting("rate", np.array(rates), 0, math.inf, members)


def test_memory_mapped_rates_may_be_used_on(tmp_path: Path) -> None:
    members = stacked(*[fnnet.init_params(seed, (3, 2)) for seed in range(2)])
    mapped = np.memmap(tmp_path / "rates", np.float64, "w+", shape=(2,))
    state = fnnet.rmsprop_init(members, mapped)
    mapped[:] = 7
    assert not np.any(state.learning_rate)


def test_a_range_holds_its_lower_bound_and_not_its_upper_one() -> None:
    members = stacked(*[fnnet.init_params(seed, (3, 2)) for seed in range(2)])
    for inside in (-1.0, 0.999, np.array([-1.0, 0.5]), np.array([-1, 0])):
        check_setting("share", inside, -1, 1, members)
    for outside in (1.0, -1.001, np.array([0.0, 1.0]), np.array([-1.001, 0.0]), [0.1, 0.1]):
        with pytest.raises(
            ValueError, match=r"^share must lie in \[-1, 1\), or be one such number"
        ):
            check_setting("share", outside, -1, 1, members)  # type: ignore[arg-type]  # the list


def test_a_schedule_in_the_place_of_a_rate_is_told_where_it_belongs() -> None:
    schedule: Any = fnnet.schedules.cosine(0.1, 10)
    with pytest.raises(ValueError, match=r"learning_rate=schedule\(state\.step\)\) before each "):
        fnnet.rmsprop_init(fnnet.init_params(0, (3, 2)), schedule)


@pytest.mark.parametrize("wrong", [-1e-9, np.nan, np.inf, None, "a", np.array([0.1])])
def test_numbers_outside_their_ranges_are_named(wrong: Any) -> None:
    check_not_negative("eps", 0)
    check_share("decay", 0)
    with pytest.raises(ValueError, match=r"^eps must be a finite number >= 0, got "):
        check_not_negative("eps", wrong)
    for value in (wrong, 1):
        with pytest.raises(ValueError, match=r"^decay must lie in \[0, 1\), got "):
            check_share("decay", value)
