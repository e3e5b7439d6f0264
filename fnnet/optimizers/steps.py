"""What makes a step fast: rules for vectors, taken block by block, and no subnormal numbers.

An optimizer's rule is written for vectors. All leaves of a tree lie in one vector, so that a step
is a few operations however many layers there are; these are cut into blocks that stay in the
processor's cache between one operation and the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np

from fnnet.checks import (
    FloatArray,
    function,
    instance_of,
    is_array,
    items_of,
    underflow_is_zero,
)
from fnnet.optimizers.states import (
    LEAST_LARGEST,
    Rate,
    changed,
    check_finite_in,
    check_numbers,
    kinds,
)
from fnnet.params import Params
from fnnet.trees import Layout, empty, flat, freeze, layout_of

Rule: TypeAlias = Callable[..., Sequence[FloatArray | None]]
StateT = TypeVar("StateT", bound=Any)

BLOCK = 2**15  # parameters that a rule sees at once: its intermediate results stay in the cache
LARGER_BLOCK = 2**17  # the same for a rule that makes no intermediate results
LARGEST_LEAST = float(np.finfo(np.float32).tiny)  # both dtypes have it, as `LEAST_LARGEST`
FLUSH_EVERY = 16  # steps between two sweeps of vanishing numbers


@underflow_is_zero
def step_by_blocks(
    rule: Rule,
    state: StateT,
    grads: Params,
    *memory: str,
    in_place: Callable[..., None] | None = None,
) -> StateT:
    """The next state, by a rule that works on vectors.

    Parameters
    ----------
    rule : called as ``rule(g, rate, w, *memory)`` with vectors of one length: the gradient, the
        learning rate (or a float), the parameters, and the optimizer's other trees, None where it
        has none; returns the new parameters and memory, None where there is none
    state : the optimizer before the step, with `params`, `step` and `learning_rate`
    grads : the gradient
    memory : names of the state's other trees
    in_place : the same rule in a faster form, called as
        ``in_place(g, rate, w, *memory, new_w, *new_memory)``, which writes into the last ones.
        Where there is one, NumPy's arrays take it, and all others take `rule`

    Returns
    -------
    state : a new one of the same type, a step later, with the new parameters and memory

    Raises
    ------
    TypeError
        If this is no optimizer's state, `rule` is no function or returns no sequence, or the
        gradient is no `Params`.
    ValueError
        If a number of the state is out of its range, the gradient's structure or shapes differ from
        the parameters', the state has no field of a name in `memory`, or `rule` returns too many
        vectors or too few.

    Examples
    --------
    Gradient descent, without its state's class:

    >>> from fnnet import grads, init_params, sgd_init
    >>> state = sgd_init(init_params(0, (3, 2)))
    >>> g = grads(state.params, np.ones((4, 3)), [0, 1, 1, 1])
    >>> step_by_blocks(lambda g, rate, w: [w - rate * g], state, g).step
    1
    """
    if not hasattr(state, "params"):
        raise TypeError(f"state must be an optimizer's, got {type(state).__name__}")
    check_numbers(state)
    function("rule", rule)
    g, w, layout = gradient_vector(state.params, grads)
    rate = each_rate(state.learning_rate, state.params, layout)
    old = [w, *(_remembered(state, name, w.size) for name in memory)]
    if in_place is None or type(w) is not np.ndarray:
        new = _made(rule, g, rate, old)
    else:
        new = _written(in_place, g, rate, old)
    made = {
        name: None if vector is None else freeze(vector, layout)
        for name, vector in zip(("params", *memory), new, strict=True)
    }
    return changed(state, step=int(state.step) + 1, **made)


def _remembered(state: Any, name: str, size: int) -> FloatArray | None:
    """A tree of the state as a vector, None where it has none."""
    try:
        tree = getattr(state, name)
    except (AttributeError, TypeError):
        raise ValueError(f"memory must name trees of the state, got {name!r:.99}") from None
    if tree is None and kinds(type(state)).get(name) == "tree or None":
        return None
    instance_of(Params, name, tree)
    try:
        vector, _ = flat(tree)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be a tree of arrays like params: {error}") from None
    if vector.size != size:
        raise ValueError(f"{name} must have the {size} numbers of params, got {vector.size}")
    return vector


def _made(
    rule: Rule, g: FloatArray, rate: Rate, old: Sequence[FloatArray | None]
) -> list[FloatArray | None]:
    """New vectors, gathered from what the rule returns for each block."""
    new: list[Any] = [None for _ in old]
    for start in range(0, g.size, BLOCK):
        block = slice(start, start + BLOCK)
        blocks = [None if vector is None else vector[block] for vector in old]
        given = rate if isinstance(rate, float) else rate[block]
        results = items_of("what rule returns", rule(g[block], given, *blocks), "vectors")
        if len(results) != len(old):
            raise ValueError(f"rule must return {len(old)} vectors, got {len(results)}")
        for i, result in enumerate(results):
            if result is not None:
                if start == 0:
                    new[i] = empty(g.size, g)
                new[i][block] = result
    return new


def _written(
    rule: Callable[..., None], g: FloatArray, rate: Rate, old: Sequence[FloatArray | None]
) -> list[FloatArray | None]:
    """New vectors, which the rule writes block by block."""
    new = [empty(g.size, g) for _ in old]
    if g.size <= LARGER_BLOCK:
        rule(g, rate, *old, *new)
        return [*new]
    for start in range(0, g.size, LARGER_BLOCK):
        block = slice(start, start + LARGER_BLOCK)
        blocks = [None if vector is None else vector[block] for vector in (*old, *new)]
        rule(g[block], rate if isinstance(rate, float) else rate[block], *blocks)
    return [*new]


def gradient_vector(params: Params, grads: Params) -> tuple[FloatArray, FloatArray, Layout[Params]]:
    """Gradient, parameters (both as vectors of the parameters' dtype) and their layout.

    Raises
    ------
    TypeError
        If the gradient is of another type.
    ValueError
        If the gradient's structure or shapes differ from the parameters'.
    """
    instance_of(Params, "grads", grads)
    try:
        layout = layout_of(params)
        alike = layout_of(grads).structure == layout.structure
    except TypeError as error:
        raise TypeError(f"grads must be a tree of arrays like state.params: {error}") from None
    if not alike:
        raise ValueError(
            f"grads must have the structure and shapes of state.params, {params}, got {grads}"
        )
    w, _ = flat(params)
    return flat(grads)[0].astype(w.dtype, copy=False), w, layout


def each_rate(rate: Rate, params: Params, layout: Layout[Params]) -> Rate:
    """The learning rate of every parameter: one for all, or its member's in an ensemble."""
    if type(rate) is float and rate <= LEAST_LARGEST:
        return rate
    check_finite_in("learning_rate", rate, params)
    if not is_array(rate) or rate.ndim == 0:
        return float(rate)
    rates = empty(layout.size, params.layers[0].w)
    for leaf in layout.leaves(rates):
        leaf[...] = rate.reshape(rate.shape + (1,) * (leaf.ndim - rate.ndim))
    return rates


def divisor_of(eps: float, like: FloatArray) -> float:
    """What stands for eps beside such an array: infinity where it is too large for its dtype, and
    the least number above 0 where it is too small, since 0 would divide 0.
    """
    eps = float(eps)
    if LARGEST_LEAST <= eps <= LEAST_LARGEST or not eps:
        return eps
    kind = np.finfo(like.dtype)
    return math.inf if eps > float(kind.max) else max(eps, float(kind.smallest_subnormal))


def vanishing(decay: float, like: FloatArray) -> float:
    """Numbers below this become subnormal before the next sweep if each step multiplies by `decay`.

    Arithmetic with subnormal numbers is some ten times slower, and what an optimizer remembers of
    a pixel that is never lit again decays into them and stays.
    """
    return float(np.finfo(like.dtype).tiny) / max(decay, 0.5) ** FLUSH_EVERY


def lost_beside(eps: float, like: FloatArray) -> float:
    """Numbers below this change nothing when they are added to eps."""
    return eps * float(np.finfo(like.dtype).eps) / 4


def squared(value: float) -> float:
    """The square; infinite where it overflows (`**` would raise an error)."""
    return value * value


def swept(x: FloatArray, decay: float, step: int, felt: float = math.inf) -> FloatArray:
    """x with zeros in the place of `vanishing` numbers, every so many steps.

    Parameters
    ----------
    x : what an optimizer remembers
    decay : the factor by which it shrinks where gradients are zero
    step : number of the step
    felt : the least number that changes a result; nothing is swept where the bound reaches it
    """
    if step % FLUSH_EVERY:
        return x
    bound = vanishing(decay, x)
    return x if bound >= felt else np.where(np.abs(x) < bound, 0, x)
