"""RMSProp: an optimizer as a state and a pure update of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fnnet.checks import check_not_negative, check_share, flag, instance_of
from fnnet.network import Params, check_params
from fnnet.optimizers.steps import (
    FLUSH_EVERY,
    Rate,
    check_rate,
    each_rate,
    gradient_vector,
    lost_beside,
    own_rate,
    step_by_blocks,
    swept,
    vanishing,
)
from fnnet.trees import FloatArray, Tree, empty, flat, freeze, tree_map

BLOCK = 2**17  # parameters updated at once: what nine passes touch stays in the cache


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
    eps : added to the root of the mean square, >= 0; without it a gradient that was always 0 is
        divided by 0
    momentum : weight of the old velocity, in [0, 1)
    centered : whether the mean square is taken about the running mean of the gradient
    eps_in_sqrt : whether eps is added before the root is taken
    velocity : running sum of steps, a tree like `params`; None (as zeros) without momentum
    means : running mean of gradients, a tree like `params`; None (as zeros) where not centered
    """

    params: Params
    mean_squares: Params
    step: int
    learning_rate: float | FloatArray
    decay: float
    eps: float
    momentum: float = 0.0
    centered: bool = False
    eps_in_sqrt: bool = False
    velocity: Params | None = None
    means: Params | None = None

    def __post_init__(self) -> None:
        own_rate(self)


def rmsprop_init(
    params: Params,
    learning_rate: float | FloatArray = 1e-3,
    decay: float = 0.9,
    eps: float = 1e-8,
    *,
    momentum: float = 0.0,
    centered: bool = False,
    eps_in_sqrt: bool = False,
    initial_scale: float = 0.0,
) -> RMSPropState:
    """The state before the first step.

    Where mean squares start at zero, the first step of every parameter is learning_rate / sqrt(1 -
    decay): 3.2 times the learning rate for the default decay, 10 times for 0.99.

    Parameters
    ----------
    params, learning_rate, decay, eps, momentum, centered, eps_in_sqrt : see `RMSPropState`
    initial_scale : what the mean squares start at, >= 0

    Raises
    ------
    TypeError
        If `centered` or `eps_in_sqrt` is neither True nor False.
    ValueError
        If a number is not finite or outside its range, or the parameters do not fit each other or
        are not finite.
    """
    check_params(params)
    check_not_negative("initial_scale", initial_scale)
    mean_squares = tree_map(lambda leaf: np.full_like(leaf, initial_scale), params)
    state = RMSPropState(
        params,
        mean_squares,
        0,
        learning_rate,
        decay,
        eps,
        momentum,
        flag("centered", centered),
        flag("eps_in_sqrt", eps_in_sqrt),
    )
    check_numbers(state)
    return replace(state, decay=float(decay), eps=float(eps), momentum=float(momentum))


def rmsprop_update(state: RMSPropState, grads: Params) -> RMSPropState:
    """One step of RMSProp, equations (11) and (12).

    The rule of Hinton's lecture 6e (2012) and of `torch.optim.RMSprop`: the mean squares start at
    zero and eps stands outside the root. optax and Keras put it inside by default
    (``eps_in_sqrt=True``); TensorFlow 1 did, too, and started the mean squares at one
    (``initial_scale=1``).

    With momentum μ the step is taken along a velocity, u ← μ u + g / (√v + ε), w ← w - η u. Keras
    and optax have η inside of u, which is the same as long as η is constant. Centered (Graves
    2013), v is replaced in (12) by v - m² with m ← ρ m + (1 - ρ) g; where rounding makes that
    negative it counts as zero (PyTorch then has NaN).

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
    check_numbers(state)
    if state.momentum or state.centered or state.eps_in_sqrt:
        return _general_update(state, grads)
    g, w, layout = gradient_vector(state.params, grads)
    v, _ = flat(state.mean_squares)
    w, v = update_vector(w, v, g, each_rate(state.learning_rate, state.params, layout), state)
    return RMSPropState(
        freeze(w, layout),
        freeze(v, layout),
        state.step + 1,
        state.learning_rate,
        state.decay,
        state.eps,
    )


def _general_update(state: RMSPropState, grads: Params) -> RMSPropState:
    """The step with momentum, centered or with eps inside the root."""

    def rule(
        g: FloatArray,
        rate: Rate,
        w: FloatArray,
        v: FloatArray,
        u: FloatArray | None,
        m: FloatArray | None,
    ) -> tuple[FloatArray | None, ...]:
        felt = lost_beside(state.eps, w) ** (1 if state.eps_in_sqrt else 2)
        v = swept(state.decay * v + (1 - state.decay) * g**2, state.decay, state.step, felt)
        square = v
        if state.centered:
            m = (1 - state.decay) * g + (0 if m is None else state.decay * m)
            m = swept(m, state.decay, state.step)
            square = np.maximum(v - m**2, 0)
        inside, outside = (state.eps, 0) if state.eps_in_sqrt else (0, state.eps)
        step = g / (np.sqrt(square + inside) + outside)
        if not state.momentum:
            return w - rate * step, v, None, m
        u = step if u is None else state.momentum * u + step
        u = swept(u, state.momentum, state.step)
        return w - rate * u, v, u, m

    w, v, u, m = step_by_blocks(
        rule,
        state.params,
        grads,
        state.learning_rate,
        state.mean_squares,
        state.velocity,
        state.means,
    )
    return replace(state, params=w, mean_squares=v, velocity=u, means=m, step=state.step + 1)


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


def _flush(v: FloatArray, state: RMSPropState) -> None:
    """Set mean squares to zero that would be subnormal before the next sweep.

    Their roots are lost when eps is added, so no parameter changes; where eps is too small to hide
    them, nothing is swept.
    """
    bound = vanishing(state.decay, v)
    if bound < lost_beside(state.eps, v) ** 2:
        v[v < bound] = 0


def check_numbers(state: RMSPropState) -> None:
    """Raise where a state is of another type or a number of it is out of range."""
    instance_of(RMSPropState, "state", state)
    check_rate(state.learning_rate, state.params)
    check_share("decay", state.decay)
    check_not_negative("eps", state.eps)
    check_share("momentum", state.momentum)
