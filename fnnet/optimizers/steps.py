"""What the optimizers have in common: a state with parameters, its checks, one step block by block.

An optimizer is a frozen state, a function that makes the first one, and a pure update of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np

from fnnet.checks import is_number
from fnnet.network import Params
from fnnet.trees import (
    FloatArray,
    Layout,
    empty,
    flat,
    freeze,
    is_array,
    may_change,
    read_only,
    same_structure,
)

Rate: TypeAlias = float | FloatArray
Rule: TypeAlias = Callable[..., Sequence[FloatArray | None]]

BLOCK = 2**15  # parameters that a rule sees at once: its intermediate results stay in the cache
FLUSH_EVERY = 16  # steps between two sweeps of vanishing numbers


class State(Protocol):
    """Anything with parameters: what the training loop asks of an optimizer's state."""

    @property
    def params(self) -> Params: ...


StateT = TypeVar("StateT", bound=State)


def step_by_blocks(
    rule: Rule, params: Params, grads: Params, rate: Rate, *memory: Params | None
) -> list[Any]:
    """Parameters and memory after a step of a rule written for vectors.

    Parameters
    ----------
    rule : called as rule(gradient, rate, parameters, *memory) with vectors of one length (the rate
        may be a float); returns the new parameters and the new memory
    params, grads : the parameters and the gradient
    rate : learning rate
    memory : the optimizer's other trees, None where it has none; the rule gets and returns None too

    Raises
    ------
    ValueError
        If the gradient's structure or shapes differ from the parameters'.
    """
    g, w, layout = gradient_vector(params, grads)
    rates = each_rate(rate, params, layout)
    old = [w, *(None if tree is None else flat(tree)[0] for tree in memory)]
    new: list[Any] = [None for _ in old]
    for start in range(0, w.size, BLOCK):
        block = slice(start, start + BLOCK)
        blocks = [None if vector is None else vector[block] for vector in old]
        results = rule(g[block], rates if isinstance(rates, float) else rates[block], *blocks)
        for i, result in enumerate(results):
            if result is not None:
                if start == 0:
                    new[i] = empty(w.size, w)
                new[i][block] = result
    return [None if vector is None else freeze(vector, layout) for vector in new]


def gradient_vector(params: Params, grads: Params) -> tuple[FloatArray, FloatArray, Layout[Params]]:
    """Gradient, parameters (both as vectors of the parameters' dtype) and their layout.

    Raises
    ------
    ValueError
        If the gradient's structure or shapes differ from the parameters'.
    """
    if not same_structure(params, grads):
        raise ValueError("grads must have the structure and shapes of state.params")
    w, layout = flat(params)
    return flat(grads)[0].astype(w.dtype, copy=False), w, layout


def each_rate(rate: Rate, params: Params, layout: Layout[Params]) -> Rate:
    """The learning rate of every parameter: one for all, or its member's in an ensemble."""
    if not is_array(rate) or rate.ndim == 0:
        return float(rate)
    rates = empty(layout.size, params.layers[0].w)
    for leaf in layout.leaves(rates):
        leaf[...] = rate.reshape(rate.shape + (1,) * (leaf.ndim - rate.ndim))
    return rates


def own_rate(state: Any) -> None:
    """Copy a learning rate into a new state where the caller could still write to it."""
    rate = state.learning_rate
    if isinstance(rate, np.ndarray) and may_change(rate):
        object.__setattr__(state, "learning_rate", read_only(np.array(rate))[...])


def vanishing(decay: float, like: FloatArray) -> float:
    """Numbers below this, if they decay so, are subnormal before the next sweep.

    Arithmetic with subnormal numbers is some ten times slower, and what an optimizer remembers of
    a pixel that is never lit again decays into them and stays.
    """
    return float(np.finfo(like.dtype).tiny) / max(decay, 0.5) ** FLUSH_EVERY


def lost_beside(eps: float, like: FloatArray) -> float:
    """Numbers below this are lost when eps is added to them."""
    return eps * float(np.finfo(like.dtype).eps) / 4


def swept(x: FloatArray, decay: float, step: int, felt: float = math.inf) -> FloatArray:
    """x with zeros in the place of `vanishing` numbers, every so many steps.

    Parameters
    ----------
    x : what an optimizer remembers
    decay : the factor by which it shrinks where gradients are zero
    step : number of the step
    felt : numbers from here on up change a result; nothing is swept that would be felt
    """
    bound = vanishing(decay, x)
    if step % FLUSH_EVERY or bound >= felt:
        return x
    return np.where(np.abs(x) < bound, 0, x)


def check_rate(
    rate: Rate, params: Params, name: str = "learning_rate", most: float = math.inf
) -> None:
    """Raise where a rate is neither a number in its range nor one for each member."""
    members = params.layers[0].w.shape[:-2]
    if is_array(rate) and rate.ndim:
        inside = np.isfinite(rate) & (rate >= 0) & (rate <= most)
        fits = rate.shape == members and bool(np.all(inside))
    else:
        fits = is_number(rate) and 0 <= float(rate) <= most
    if not fits:
        bounds = "be a finite number >= 0" if math.isinf(most) else f"lie in [0, {most:g}]"
        raise ValueError(
            f"{name} must {bounds}, or be one such number for each member of an ensemble "
            f"(shape {members}), got {rate!r:.99}"
        )
