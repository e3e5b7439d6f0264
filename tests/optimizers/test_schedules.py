"""Schedules are functions of the step, those of PyTorch where it has them."""

from __future__ import annotations

import dataclasses
import math
import sys
from typing import Any

import numpy as np
import pytest

import fnnet
from fnnet import schedules
from fnnet.optimizers.schedules import Schedule, constant, cosine, step_decay, warm_up


def of_pytorch(name: str, steps: int, **options: Any) -> list[float]:
    """Learning rates of a `torch.optim.lr_scheduler`, from 0.5 on."""
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    scheduler = getattr(torch.optim.lr_scheduler, name)(optimizer, **options)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("schedule", "name", "options"),
    [
        (cosine(0.5, 50), "CosineAnnealingLR", {"T_max": 50}),
        (cosine(0.5, 50, 0.1), "CosineAnnealingLR", {"T_max": 50, "eta_min": 0.1}),
        (step_decay(0.5, 0.3, 7), "StepLR", {"step_size": 7, "gamma": 0.3}),
        (step_decay(0.5, 0.9, 1), "ExponentialLR", {"gamma": 0.9}),
        (
            warm_up(9, constant(0.5)),
            "LinearLR",
            {"start_factor": 1 / 9, "end_factor": 1, "total_iters": 8},
        ),
    ],
)
def test_rates_are_those_of_pytorch(schedule: Schedule, name: str, options: dict[str, Any]) -> None:
    ours = [schedule(step) for step in range(50)]
    np.testing.assert_allclose(ours, of_pytorch(name, 50, **options), 1e-9, 1e-12)


def test_a_rate_stays_at_the_end() -> None:
    assert cosine(0.5, 50, 0.1)(50) == pytest.approx(0.1)
    assert cosine(0.5, 50, 0.1)(10**9) == pytest.approx(0.1)


def test_what_follows_a_warm_up_starts_at_its_beginning() -> None:
    schedule = warm_up(10, cosine(0.5, 20))
    assert [schedule(10 + step) for step in range(30)] == [cosine(0.5, 20)(s) for s in range(30)]
    assert warm_up(0, constant(0.5))(0) == 0.5


def test_a_schedule_sets_the_rate_of_every_step() -> None:
    rates = []

    def update(state: fnnet.SGDState, grads: fnnet.Params) -> fnnet.SGDState:
        rate = schedules.cosine(0.5, 6)(state.step)
        state = fnnet.sgd_update(dataclasses.replace(state, learning_rate=rate), grads)
        rates.append(state.learning_rate)
        return state

    split = fnnet.Split(np.eye(4), np.arange(4))
    state = fnnet.sgd_init(fnnet.init_params(0, (4, 4)))
    list(fnnet.train(state, split, rng=0, epochs=3, batch_size=2, update=update))
    assert rates == [(1 + math.cos(math.pi * step / 6)) / 4 for step in range(6)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: constant(-1), "rate must be a finite number >= 0, got -1"),
        (lambda: cosine(math.nan, 3), "rate must be a finite number >= 0, got nan"),
        (lambda: cosine(1, 0), "steps must be a whole number >= 1, got 0"),
        (lambda: cosine(1, 3, -1), "end must be a finite number >= 0, got -1"),
        (lambda: step_decay(1, -1, 3), "factor must be a finite number >= 0, got -1"),
        (lambda: step_decay(1, 1, 0), "every must be a whole number >= 1, got 0"),
        (lambda: warm_up(-1, constant(1)), "steps must be a whole number >= 0, got -1"),
    ],
)
def test_numbers_out_of_range_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("step", [8000, 10**7, 2**63, 10**400])
def test_rates_are_numbers_however_many_steps_there_are(step: int) -> None:
    largest = sys.float_info.max
    for factor, expected in ((2.0, largest), (1e300, largest), (1.0, 0.1), (0.5, 0.0), (0.0, 0.0)):
        assert step_decay(0.1, factor, 1)(step) == expected
    assert step_decay(0, 2.0, 1)(step) == 0
    assert cosine(1.0, 10, 0.25)(step) == 0.25
    assert cosine(1.0, step)(step) == 0
    assert warm_up(step, constant(1.0))(step) == 1
    assert warm_up(4 * step, constant(1.0))(step - 1) == 0.25


def test_a_step_of_adam_may_have_any_number() -> None:
    params = fnnet.init_params(0, (3, 2), np.float64)
    gradient = fnnet.tree_map(np.ones_like, params)
    late = dataclasses.replace(fnnet.adam_init(params, beta1=0.5, beta2=0.5), step=10**400)
    after = fnnet.adam_update(late, gradient)
    # Without a correction, 0.5 / sqrt(0.5) of the rate.
    moved = params.layers[0].w - after.params.layers[0].w
    np.testing.assert_allclose(moved, 1e-3 * 0.5 / np.sqrt(0.5), 1e-6)
    assert after.step == 10**400 + 1


@pytest.mark.parametrize("n", [1, 2, 5, 10])
def test_a_warm_up_counts_against_others_as_it_says(n: int) -> None:
    ours = [warm_up(n, constant(0.5))(step) for step in range(20)]
    if n > 1:
        same = of_pytorch("LinearLR", 20, start_factor=1 / n, total_iters=n - 1)
        np.testing.assert_allclose(ours, same, 1e-9)
        later = of_pytorch("LinearLR", 20, start_factor=1 / n, total_iters=n)
        assert ours.index(0.5) == n - 1
        assert np.argmax(np.isclose(later, 0.5)) == n
    optax = pytest.importorskip("optax")
    from_zero = [float(optax.linear_schedule(0.0, 0.5, n)(step)) for step in range(20)]
    np.testing.assert_allclose(from_zero, [0.5 * min(step / n, 1) for step in range(20)], 1e-6)
    if n > 1:
        same = [float(optax.linear_schedule(0.5 / n, 0.5, n - 1)(step)) for step in range(20)]
        np.testing.assert_allclose(ours, same, 1e-6)


def test_a_schedule_keeps_its_numbers() -> None:
    rate = np.array(0.1)
    schedule = constant(rate)  # type: ignore[arg-type]  # as a caller without types may
    rate[...] = 9
    assert schedule(0) == 0.1
    assert cosine(np.uint8(1), 10, np.uint8(2))(0) == 1  # type: ignore[arg-type]
    assert warm_up(np.uint8(4), constant(1.0))(300) == 1  # type: ignore[arg-type]


def test_what_follows_a_warm_up_is_a_schedule() -> None:
    with pytest.raises(TypeError, match=r"then must be a schedule, .* got 0\.1"):
        warm_up(5, 0.1)  # type: ignore[arg-type]  # as a caller without types may
