"""Stochastic gradient descent, with momentum if wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fnnet.checks import FloatArray, flag
from fnnet.optimizers.states import (
    OptimizerState,
    Rate,
    check_type,
    first_state,
    register,
    within,
)
from fnnet.optimizers.steps import step_by_blocks, swept
from fnnet.params import Params


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SGDState(OptimizerState):
    """Parameters and what gradient descent knows of them.

    Attributes
    ----------
    params : the network's parameters
    step : number of updates made
    learning_rate : step size, >= 0, or one for each member of an ensemble, an (E,) array
    momentum : weight of the old velocity, in [0, 1)
    nesterov : whether the gradient is followed beyond the velocity
    velocity : running sum of gradients, a tree like `params`; None (as zeros) without momentum
    """

    params: Params
    step: int
    learning_rate: float | FloatArray = field(metadata=within(0))
    momentum: float = field(default=0.0, metadata=within(0, 1))
    nesterov: bool = False
    velocity: Params | None = None


def sgd_init(
    params: Params,
    learning_rate: float | FloatArray = 1e-2,
    momentum: float = 0.0,
    *,
    nesterov: bool = False,
) -> SGDState:
    """The state before the first step.

    Parameters
    ----------
    params, learning_rate, momentum, nesterov : see `SGDState`

    Returns
    -------
    state : `SGDState` whose parameters are read-only, with no velocity yet

    Raises
    ------
    TypeError
        If params are no `Params` of one float dtype, or `nesterov` is neither True nor False.
    ValueError
        If a number is not finite or outside its range, `nesterov` has no momentum, or the
        parameters do not fit each other or are not finite.

    Examples
    --------
    >>> from fnnet import init_params
    >>> sgd_init(init_params(0, (3, 2)), 0.1, momentum=0.9).momentum
    0.9
    """
    state = SGDState(params, 0, learning_rate, momentum, flag("nesterov", nesterov))
    state = first_state(state)
    if nesterov and not momentum:
        raise ValueError(f"momentum must be above 0 for nesterov, got {momentum}")
    return state


def sgd_update(state: SGDState, grads: Params) -> SGDState:
    r"""One step of gradient descent along a velocity u, which accumulates the gradients g.

    .. math::

        u ← μ u + g, \quad w ← w - η u

    With Nesterov's momentum :math:`w ← w - η (g + μ u)`. This is the rule of `torch.optim.SGD`
    without dampening. Sutskever, Martens, Dahl and Hinton (2013) have η inside of u,
    :math:`u ← μ u - η g` and :math:`w ← w + u`, which is the same as long as η is constant.

    Parameters
    ----------
    state : the optimizer before the step
    grads : gradient of the loss at `state.params`

    Returns
    -------
    state : the optimizer after the step, a new `SGDState`

    Raises
    ------
    TypeError
        If the state is no `SGDState`, the gradient no `Params`, or `nesterov` is neither True nor
        False.
    ValueError
        If the gradient's structure or shapes differ from the parameters', or a number of the state
        is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from fnnet import init_params, loss_and_grads
    >>> state, x, y = sgd_init(init_params(0, (3, 2)), 1.0), np.eye(3), [0, 1, 1]
    >>> for _ in range(5):
    ...     loss, grads = loss_and_grads(state.params, x, y)
    ...     state = sgd_update(state, grads)
    ...     print(f"{loss:.3f}")
    0.640
    0.470
    0.375
    0.309
    0.262
    """
    check_type(state, SGDState)

    def rule(
        g: FloatArray, rate: Rate, w: FloatArray, u: FloatArray | None
    ) -> Sequence[FloatArray | None]:
        if not state.momentum:
            return w - rate * g, None
        u = swept(g if u is None else state.momentum * u + g, state.momentum, state.step)
        step = g + state.momentum * u if state.nesterov else u
        return w - rate * step, u

    return step_by_blocks(rule, state, grads, "velocity")


register(SGDState, sgd_init, sgd_update)
