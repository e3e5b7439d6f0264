"""RMSProp: its state, its first state and its equations, (11) and (12)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from fnnet.checks import FloatArray, check_not_negative, flag
from fnnet.optimizers.states import (
    OptimizerState,
    Rate,
    changed,
    check_type,
    first_state,
    register,
    within,
)
from fnnet.optimizers.steps import (
    FLUSH_EVERY,
    divisor_of,
    lost_beside,
    squared,
    step_by_blocks,
    swept,
    vanishing,
)
from fnnet.params import Params
from fnnet.trees import tree_map


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RMSPropState(OptimizerState):
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
    velocity : running sum of steps, a tree like `params`; None without momentum
    means : running mean of gradients, a tree like `params`; None where not centered
    """

    params: Params
    mean_squares: Params = field(metadata=within(0))
    step: int
    learning_rate: float | FloatArray = field(metadata=within(0))
    decay: float = field(metadata=within(0, 1))
    eps: float = field(metadata=within(0))
    momentum: float = field(default=0.0, metadata=within(0, 1))
    centered: bool = False
    eps_in_sqrt: bool = False
    velocity: Params | None = None
    means: Params | None = None


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

    Examples
    --------
    >>> from fnnet import init_params
    >>> rmsprop_init(init_params(0, (3, 2)), 0.01).learning_rate
    0.01
    """
    scale = check_not_negative("initial_scale", initial_scale)
    centered, eps_in_sqrt = flag("centered", centered), flag("eps_in_sqrt", eps_in_sqrt)
    numbers = (0, learning_rate, decay, eps, momentum, centered, eps_in_sqrt)
    state = first_state(RMSPropState(params, params, *numbers))
    start = tree_map(lambda leaf: np.full_like(leaf, scale), state.params)
    return changed(state, mean_squares=start)


def rmsprop_update(state: RMSPropState, grads: Params) -> RMSPropState:
    r"""One step of RMSProp, equations (11) and (12).

    .. math::

        v ← ρ v + (1 - ρ) g^2 \tag{11}

        w ← w - η \frac{g}{\sqrt{v} + ε} \tag{12}

    The rule of Hinton's lecture 6e (2012) and of `torch.optim.RMSprop`: the mean squares start at
    zero and eps stands outside the root. optax and Keras put it inside by default
    (``eps_in_sqrt=True``); TensorFlow 1 did, too, and started the mean squares at one
    (``initial_scale=1``).

    With momentum μ the step is taken along a velocity:

    .. math::

        u ← μ u + \frac{g}{\sqrt{v} + ε}, \quad w ← w - η u

    Keras and optax have η inside of u, which is the same as long as η is constant. Centered (Graves
    2013), v is replaced in (12) by :math:`v - m^2` with :math:`m ← ρ m + (1 - ρ) g`; where rounding
    makes that negative it counts as zero (PyTorch then has NaN).

    Parameters
    ----------
    state : the optimizer before the step
    grads : gradient of the loss at `state.params`

    Raises
    ------
    ValueError
        If the gradient's structure or shapes differ from the parameters', or a number of the state
        is out of range.

    Examples
    --------
    >>> from fnnet import init_params, loss_and_grads
    >>> state, x, y = rmsprop_init(init_params(0, (3, 2)), 0.1), np.eye(3), [0, 1, 1]
    >>> for _ in range(5):
    ...     loss, grads = loss_and_grads(state.params, x, y)
    ...     state = rmsprop_update(state, grads)
    ...     print(f"{loss:.3f}")
    0.640
    0.361
    0.266
    0.211
    0.174
    """
    check_type(state, RMSPropState)
    if not is_plain(state):
        general = partial(_general_rule, state)
        return step_by_blocks(general, state, grads, "mean_squares", "velocity", "means")
    rule, in_place = partial(equations, state), partial(_in_place, state)
    return step_by_blocks(rule, state, grads, "mean_squares", in_place=in_place)


def is_plain(state: RMSPropState) -> bool:
    """Whether (11) and (12) are all that there is to do."""
    plain = type(state.momentum) is float and state.momentum == 0
    plain = plain and state.centered is False and state.eps_in_sqrt is False
    # What velocity and means hold ends with the options they belong to.
    return plain and state.velocity is None and state.means is None


def equations(
    state: RMSPropState, g: FloatArray, rate: Rate, w: FloatArray, v: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Equations (11) and (12) as they are written. NumPy's arrays take `_in_place` instead.

    `tests/test_equations.py` holds the two forms to each other.
    """
    eps = divisor_of(state.eps, v)
    v = state.decay * v + (1 - state.decay) * g**2  # (11)
    w = w - rate * g / (np.sqrt(v) + eps)  # (12)
    return w, v


def _in_place(
    state: RMSPropState,
    g: FloatArray,
    rate: Rate,
    w: FloatArray,
    v: FloatArray,
    new_w: FloatArray,
    new_v: FloatArray,
) -> None:
    """Equations (11) and (12) in fewer passes over memory: each result is written into `t` or v."""
    t = new_w  # holds every intermediate result until the last subtraction
    np.multiply(g, g, t)
    np.multiply(t, 1 - state.decay, t)
    np.multiply(v, state.decay, new_v)
    np.add(new_v, t, new_v)  # (11), in place
    if state.step % FLUSH_EVERY == 0:
        bound = vanishing(state.decay, new_v)
        if bound < squared(lost_beside(state.eps, new_v)):  # else zeros would be felt
            new_v[new_v < bound] = 0
    np.sqrt(new_v, t)
    np.add(t, divisor_of(state.eps, t), t)
    np.divide(g, t, t)
    np.multiply(t, rate, t)
    np.subtract(w, t, new_w)  # (12), in place


def _general_rule(
    state: RMSPropState,
    g: FloatArray,
    rate: Rate,
    w: FloatArray,
    v: FloatArray,
    u: FloatArray | None,
    m: FloatArray | None,
) -> Sequence[FloatArray | None]:
    """The step with momentum, centered or with eps inside the root."""
    felt = lost_beside(state.eps, w)
    felt = felt if state.eps_in_sqrt else squared(felt)
    v = swept(state.decay * v + (1 - state.decay) * g**2, state.decay, state.step, felt)
    square = v
    if state.centered:
        m = (1 - state.decay) * g + (0 if m is None else state.decay * m)
        m = swept(m, state.decay, state.step)
        square = np.maximum(v - m**2, 0)
    else:
        m = None
    eps = divisor_of(state.eps, w)
    inside, outside = (eps, 0) if state.eps_in_sqrt else (0, eps)
    step = g / (np.sqrt(square + inside) + outside)
    if not state.momentum:
        return w - rate * step, v, None, m
    u = step if u is None else state.momentum * u + step
    u = swept(u, state.momentum, state.step)
    return w - rate * u, v, u, m


register(RMSPropState, rmsprop_init, rmsprop_update)
