"""RMSProp: an optimizer as a state and a pure update of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from fnnet.checks import is_number
from fnnet.network import Params, check_params
from fnnet.trees import (
    FloatArray,
    Layout,
    Tree,
    empty,
    flat,
    freeze,
    is_array,
    read_only,
    same_structure,
    tree_map,
)

BLOCK = 2**17  # parameters updated at once: what nine passes touch stays in the cache
FLUSH_EVERY = 16  # steps between two sweeps of vanishing mean squares


@dataclass(frozen=True, slots=True, eq=False)
class RMSPropState(Tree):
    """Parameters and what RMSProp knows of them.

    Attributes
    ----------
    params : the network's parameters
    mean_squares : running mean of squared gradients, a tree like `params`
    step : number of updates made
    learning_rate : step size, >= 0; a schedule is `dataclasses.replace(state, learning_rate=...)`.
        An ensemble may have one for each member, an (E,) array
    decay : weight of the old mean square, in [0, 1)
    eps : added to the root of the mean square, >= 0
    """

    params: Params
    mean_squares: Params
    step: int
    learning_rate: float | FloatArray
    decay: float
    eps: float

    def __post_init__(self) -> None:
        rate = self.learning_rate
        if type(rate) is np.ndarray and rate.flags.writeable:
            object.__setattr__(self, "learning_rate", read_only(rate.copy())[...])


def rmsprop_init(
    params: Params,
    learning_rate: float | FloatArray = 1e-3,
    decay: float = 0.9,
    eps: float = 1e-8,
) -> RMSPropState:
    """The state before the first step: mean squares zero.

    Because they start at zero, the first step of every parameter is learning_rate / sqrt(1 -
    decay): 3.2 times the learning rate for the default decay, 10 times for 0.99.

    Raises
    ------
    ValueError
        If a number is not finite or outside its range, or the parameters do not fit each other or
        are not finite.
    """
    check_params(params)
    zeros = tree_map(np.zeros_like, params)
    state = RMSPropState(params, zeros, 0, learning_rate, decay, eps)
    _check_numbers(state)
    return replace(state, decay=float(decay), eps=float(eps))


def rmsprop_update(state: RMSPropState, grads: Params) -> RMSPropState:
    """One step of RMSProp, equations (11) and (12).

    The rule of Hinton's lecture 6e (2012) and of `torch.optim.RMSprop`: the mean squares start at
    zero and eps stands outside the root. (optax and Keras put it inside by default; TensorFlow 1
    started the mean squares at one.)

    Parameters
    ----------
    state : the optimizer before the step
    grads : gradient of the loss at `state.params`

    Raises
    ------
    ValueError
        If the gradient's structure or shapes differ from the parameters', or a number of the state
        is out of range.
    """
    if not same_structure(state.params, grads):
        raise ValueError("grads must have the structure and shapes of state.params")
    _check_numbers(state)
    (w, layout), (v, _), (g, _) = flat(state.params), flat(state.mean_squares), flat(grads)
    g = g.astype(w.dtype, copy=False)
    w, v = update_vector(w, v, g, _rates(state, layout), state)
    return RMSPropState(
        freeze(w, layout),
        freeze(v, layout),
        state.step + 1,
        state.learning_rate,
        state.decay,
        state.eps,
    )


def equations(
    w: FloatArray, v: FloatArray, g: FloatArray, rate: float | FloatArray, state: RMSPropState
) -> tuple[FloatArray, FloatArray]:
    """Equations (11) and (12) as they are written."""
    v = state.decay * v + (1 - state.decay) * g**2  # (11)
    w = w - rate * g / (np.sqrt(v) + state.eps)  # (12)
    return w, v


def update_vector(
    w: FloatArray, v: FloatArray, g: FloatArray, rate: float | FloatArray, state: RMSPropState
) -> tuple[FloatArray, FloatArray]:
    """`equations` block by block, each result written into memory that is already there."""
    if type(w) is not np.ndarray:
        return equations(w, v, g, rate, state)
    new_w, new_v = empty(w.size, w), empty(w.size, w)
    for start in range(0, w.size, BLOCK):
        block = slice(start, start + BLOCK)
        rates = rate[block] if isinstance(rate, np.ndarray) else rate
        _update_block(w[block], v[block], g[block], new_w[block], new_v[block], rates, state)
    return new_w, new_v


def _update_block(
    w: FloatArray,
    v: FloatArray,
    g: FloatArray,
    new_w: FloatArray,
    new_v: FloatArray,
    rate: float | FloatArray,
    state: RMSPropState,
) -> None:
    t = new_w  # holds every intermediate result until the last subtraction
    np.multiply(g, g, t)
    np.multiply(t, 1 - state.decay, t)
    np.multiply(v, state.decay, new_v)
    np.add(new_v, t, new_v)
    if state.step % FLUSH_EVERY == 0:
        _flush(new_v, state)
    np.sqrt(new_v, t)
    np.add(t, state.eps, t)
    np.divide(g, t, t)
    np.multiply(t, rate, t)
    np.subtract(w, t, new_w)


def _rates(state: RMSPropState, layout: Layout[Params]) -> float | FloatArray:
    """The learning rate of every parameter: one for all, or its member's in an ensemble."""
    rate = state.learning_rate
    if not is_array(rate) or rate.ndim == 0:
        return float(rate)
    rates = empty(layout.size, state.params.layers[0].w)
    for leaf in layout.leaves(rates):
        leaf[...] = rate.reshape(rate.shape + (1,) * (leaf.ndim - rate.ndim))
    return rates


def _flush(v: FloatArray, state: RMSPropState) -> None:
    """Set mean squares to zero that would be subnormal before the next sweep.

    Arithmetic with subnormal numbers is some ten times slower, and the mean square of a pixel that
    is never lit again decays into them and stays. A root this small is lost when eps is added, so
    no parameter changes; where eps is too small to hide it, nothing is swept.
    """
    numbers = np.finfo(v.dtype)
    bound = float(numbers.tiny) / max(state.decay, 0.5) ** FLUSH_EVERY
    if math.sqrt(bound) < state.eps * float(numbers.eps) / 4:
        v[v < bound] = 0


def _check_numbers(state: RMSPropState) -> None:
    _check_rate(state.learning_rate, state.params)
    if not (is_number(state.decay) and 0 <= state.decay < 1):
        raise ValueError(f"decay must lie in [0, 1), got {state.decay}")
    if not (is_number(state.eps) and state.eps >= 0):
        raise ValueError(f"eps must be a finite number >= 0, got {state.eps}")


def _check_rate(rate: float | FloatArray, params: Params) -> None:
    members = params.layers[0].w.shape[:-2]
    if is_array(rate) and rate.ndim:
        fits = rate.shape == members and bool(np.all(np.isfinite(rate) & (rate >= 0)))
    else:
        fits = is_number(rate) and float(rate) >= 0
    if not fits:
        raise ValueError(
            f"learning_rate must be a finite number >= 0, or one for each member of an ensemble "
            f"(shape {members}), got {rate}"
        )
