"""Learning rates as functions of the step: pure, and composed by calling.

A schedule takes the number of steps done (a state's `step`) and returns a learning rate:

    schedule = warm_up(500, cosine(1e-3, 20_000))

    def update(state, grads):
        rate = schedule(state.step)
        return rmsprop_update(dataclasses.replace(state, learning_rate=rate), grads)

    train(state, data.train, rng=rng, epochs=40, update=update)
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

from fnnet.checks import check_not_negative, is_number, whole_number

Schedule: TypeAlias = Callable[[int], float]

LARGEST_EXPONENT = 2**62  # that is raised to: a power has long been 0, 1 or too large by then


def _step(step: Any) -> Any:
    """The number of a step as Python's, if it is one; a part of a step counts, too."""
    if type(step) is int and step >= 0:
        return step
    fraction = is_number(step) and step >= 0 and not hasattr(step, "__index__")
    return float(step) if fraction else whole_number("step", step, 0)


def constant(rate: float) -> Schedule:
    """The same rate at every step.

    Parameters
    ----------
    rate : >= 0

    Returns
    -------
    schedule : function of the step, a number >= 0, that returns the rate, a float

    Raises
    ------
    ValueError
        If the rate is not a finite number >= 0.

    Examples
    --------
    >>> constant(0.1)(1000)
    0.1
    """
    rate = check_not_negative("rate", rate)
    return lambda step: rate


def cosine(rate: float, steps: int, end: float = 0.0) -> Schedule:
    r"""Half a period of a cosine, from a rate down to another, which then stays.

    .. math::

        η_t = η_e + (η_0 - η_e) \frac{1 + \cos(π t / T)}{2}

    Loshchilov and Hutter (2017), without restarts.

    Parameters
    ----------
    rate : at step 0, >= 0
    steps : number of steps until the end, >= 1
    end : rate from there on, >= 0

    Returns
    -------
    schedule : function of the step, a number >= 0, that returns the rate, a float

    Raises
    ------
    ValueError
        If a rate is not a finite number >= 0, or `steps` no whole number >= 1; from the schedule,
        if the step is not a number >= 0.

    Examples
    --------
    >>> schedule = cosine(1.0, 100)
    >>> [round(schedule(step), 3) for step in (0, 25, 50, 100, 200)]
    [1.0, 0.854, 0.5, 0.0, 0.0]
    """
    rate, end = check_not_negative("rate", rate), check_not_negative("end", end)
    steps = whole_number("steps", steps, 1)
    return lambda step: (
        end + (rate - end) * (1 + math.cos(math.pi * (min(_step(step), steps) / steps))) / 2
    )


def step_decay(rate: float, factor: float, every: int) -> Schedule:
    """A rate that is multiplied by a factor again and again.

    Parameters
    ----------
    rate : at step 0, >= 0
    factor : >= 0; what grows stops at the largest float
    every : number of steps between two multiplications, >= 1; 1 is exponential decay

    Returns
    -------
    schedule : function of the step, a number >= 0, that returns the rate, a float

    Raises
    ------
    ValueError
        If the rate or the factor is not a finite number >= 0, or `every` no whole number >= 1; from
        the schedule, if the step is not a number >= 0.

    Examples
    --------
    >>> schedule = step_decay(1.0, 0.1, 50)
    >>> [schedule(step) for step in (0, 49, 50)]
    [1.0, 1.0, 0.1]
    """
    rate, factor = check_not_negative("rate", rate), check_not_negative("factor", factor)
    every = whole_number("every", every, 1)
    largest = sys.float_info.max
    return lambda step: rate and min(rate * _power(factor, int(_step(step) // every)), largest)


def _power(base: float, exponent: int) -> float:
    """The power, or infinity where Python would raise an error instead."""
    try:
        return base ** min(exponent, LARGEST_EXPONENT)
    except OverflowError:
        return math.inf


def warm_up(steps: int, then: Schedule) -> Schedule:
    """A linear rise to the first rate of another schedule, which then follows from its beginning.

    Step t of the first n has (t + 1) / n of the rate: none has 0, the last has all of it. PyTorch's
    ``LinearLR(start_factor=1 / n, total_iters=n - 1)`` does the same; with ``total_iters=n`` it is
    at the full rate a step later. optax's ``linear_schedule(0, rate, n)`` has t / n, so that its
    first step has a rate of 0; the same is ``linear_schedule(rate / n, rate, n - 1)``. The steps of
    the rise do not count in those of `then`, as in ``torch.optim.lr_scheduler.SequentialLR``; in
    optax's ``warmup_cosine_decay_schedule`` they do count in ``decay_steps``.

    Parameters
    ----------
    steps : number of steps of the rise, >= 0; the first has 1 / steps of the rate
    then : what follows

    Returns
    -------
    schedule : function of the step, a number >= 0, that returns the rate

    Raises
    ------
    TypeError
        If `then` is no function; from the schedule, if `then` returns no finite number.
    ValueError
        If `steps` is no whole number >= 0; from the schedule, if the step is not a number >= 0.

    Examples
    --------
    >>> schedule = warm_up(4, constant(1.0))
    >>> [schedule(step) for step in (0, 1, 2, 3, 4)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """
    steps = whole_number("steps", steps, 0)
    if not callable(then):
        raise TypeError(f"then must be a schedule, a function of the step, got {then!r:.99}")

    def schedule(step: int) -> float:
        step = _step(step)
        rate = then(0) if step < steps else then(step - steps)
        if not is_number(rate):
            raise TypeError(f"then must return a rate, a finite number, got {rate!r:.99}")
        return rate * ((step + 1) / steps) if step < steps else rate

    return schedule
