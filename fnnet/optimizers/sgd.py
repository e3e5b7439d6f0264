"""Stochastic gradient descent, with momentum if wanted."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fnnet.checks import check_share, flag, instance_of
from fnnet.network import Params, check_params
from fnnet.optimizers.steps import (
    Rate,
    check_rate,
    own_rate,
    step_by_blocks,
    swept,
)
from fnnet.trees import FloatArray, Tree


@dataclass(frozen=True, slots=True, eq=False)
class SGDState(Tree):
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
    learning_rate: float | FloatArray
    momentum: float = 0.0
    nesterov: bool = False
    velocity: Params | None = None

    def __post_init__(self) -> None:
        own_rate(self)


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

    Raises
    ------
    TypeError
        If `nesterov` is neither True nor False.
    ValueError
        If a number is not finite or outside its range, `nesterov` has no momentum, or the
        parameters do not fit each other or are not finite.
    """
    check_params(params)
    state = SGDState(params, 0, learning_rate, momentum, flag("nesterov", nesterov))
    check_numbers(state)
    if nesterov and not momentum:
        raise ValueError(f"momentum must be above 0 for nesterov, got {momentum}")
    return replace(state, momentum=float(momentum))


def sgd_update(state: SGDState, grads: Params) -> SGDState:
    """One step of gradient descent along a velocity u, which gathers the gradients g.

    u ← μ u + g, then w ← w - η u; with Nesterov's momentum w ← w - η (g + μ u). This is the rule of
    `torch.optim.SGD` without dampening. Sutskever, Martens, Dahl and Hinton (2013) have η inside of
    u, u ← μ u - η g and w ← w + u, which is the same as long as η is constant.

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

    def rule(
        g: FloatArray, rate: Rate, w: FloatArray, u: FloatArray | None
    ) -> tuple[FloatArray | None, ...]:
        if not state.momentum:
            return w - rate * g, None
        u = swept(g if u is None else state.momentum * u + g, state.momentum, state.step)
        step = g + state.momentum * u if state.nesterov else u
        return w - rate * step, u

    w, u = step_by_blocks(rule, state.params, grads, state.learning_rate, state.velocity)
    return replace(state, params=w, velocity=u, step=state.step + 1)


def check_numbers(state: SGDState) -> None:
    """Raise where a state is of another type or a number of it is out of range."""
    instance_of(SGDState, "state", state)
    check_rate(state.learning_rate, state.params)
    check_share("momentum", state.momentum)
