"""Adam: momentum and RMSProp with the bias of their zero starts taken out."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from fnnet.checks import check_not_negative, check_share, instance_of
from fnnet.network import Params, check_params
from fnnet.optimizers.steps import (
    Rate,
    check_rate,
    lost_beside,
    own_rate,
    step_by_blocks,
    swept,
)
from fnnet.trees import FloatArray, Tree, tree_map


@dataclass(frozen=True, slots=True, eq=False)
class AdamState(Tree):
    """Parameters and what Adam knows of them.

    Attributes
    ----------
    params : the network's parameters
    means : running mean of gradients, a tree like `params`
    mean_squares : running mean of squared gradients, a tree like `params`
    step : number of updates made
    learning_rate : step size, >= 0, or one for each member of an ensemble, an (E,) array
    beta1 : weight of the old mean, in [0, 1)
    beta2 : weight of the old mean square, in [0, 1)
    eps : added to the root of the mean square, >= 0; without it a gradient that was always 0 is
        divided by 0
    """

    params: Params
    means: Params
    mean_squares: Params
    step: int
    learning_rate: float | FloatArray
    beta1: float
    beta2: float
    eps: float

    def __post_init__(self) -> None:
        own_rate(self)


def adam_init(
    params: Params,
    learning_rate: float | FloatArray = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> AdamState:
    """The state before the first step: means and mean squares zero.

    Parameters
    ----------
    params, learning_rate, beta1, beta2, eps : see `AdamState`

    Raises
    ------
    ValueError
        If a number is not finite or outside its range, or the parameters do not fit each other or
        are not finite.
    """
    check_params(params)
    zeros = tree_map(np.zeros_like, params)
    state = AdamState(params, zeros, zeros, 0, learning_rate, beta1, beta2, eps)
    check_numbers(state)
    return replace(state, beta1=float(beta1), beta2=float(beta2), eps=float(eps))


def adam_update(state: AdamState, grads: Params) -> AdamState:
    """One step of Adam (Kingma and Ba 2015, algorithm 1), the t-th.

    m ← β₁ m + (1 - β₁) g and v ← β₂ v + (1 - β₂) g², then
    w ← w - η (m / (1 - β₁ᵗ)) / (√(v / (1 - β₂ᵗ)) + ε).

    This is `torch.optim.Adam`, and optax's `adam`. Keras and the paper's faster variant add ε to
    √v before the bias is taken out, which makes it larger in the first steps.

    Decoupled weight decay (AdamW; Loshchilov and Hutter 2019) is `decay_weights` before the step.

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
    t = state.step + 1
    unbias_m, unbias_v = 1 / (1 - state.beta1**t), 1 / math.sqrt(1 - state.beta2**t)

    def rule(
        g: FloatArray, rate: Rate, w: FloatArray, m: FloatArray, v: FloatArray
    ) -> tuple[FloatArray, ...]:
        felt = lost_beside(state.eps, w) ** 2
        m = swept(state.beta1 * m + (1 - state.beta1) * g, state.beta1, state.step)
        v = swept(state.beta2 * v + (1 - state.beta2) * g**2, state.beta2, state.step, felt)
        return w - rate * unbias_m * m / (unbias_v * np.sqrt(v) + state.eps), m, v

    w, m, v = step_by_blocks(
        rule, state.params, grads, state.learning_rate, state.means, state.mean_squares
    )
    return replace(state, params=w, means=m, mean_squares=v, step=t)


def check_numbers(state: AdamState) -> None:
    """Raise where a state is of another type or a number of it is out of range."""
    instance_of(AdamState, "state", state)
    check_rate(state.learning_rate, state.params)
    check_share("beta1", state.beta1)
    check_share("beta2", state.beta2)
    check_not_negative("eps", state.eps)
