"""Adam: momentum and RMSProp corrected for starting at zero."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fnnet.checks import FloatArray
from fnnet.optimizers.schedules import LARGEST_EXPONENT
from fnnet.optimizers.states import (
    OptimizerState,
    Rate,
    changed,
    check_type,
    first_state,
    register,
    within,
)
from fnnet.optimizers.steps import divisor_of, lost_beside, squared, step_by_blocks, swept
from fnnet.params import Params
from fnnet.trees import tree_map


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class AdamState(OptimizerState):
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
    mean_squares: Params = field(metadata=within(0))
    step: int
    learning_rate: float | FloatArray = field(metadata=within(0))
    beta1: float = field(metadata=within(0, 1))
    beta2: float = field(metadata=within(0, 1))
    eps: float = field(metadata=within(0))


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

    Examples
    --------
    >>> from fnnet import init_params
    >>> adam_init(init_params(0, (3, 2))).beta2
    0.999
    """
    state = first_state(AdamState(params, params, params, 0, learning_rate, beta1, beta2, eps))
    zeros = tree_map(np.zeros_like, state.params)
    return changed(state, means=zeros, mean_squares=zeros)


def adam_update(state: AdamState, grads: Params) -> AdamState:
    r"""One step of Adam (Kingma and Ba 2015, algorithm 1), the t-th.

    .. math::

        m ← β_1 m + (1 - β_1) g, \quad v ← β_2 v + (1 - β_2) g^2

        w ← w - η \frac{m / (1 - β_1^t)}{\sqrt{v / (1 - β_2^t)} + ε}

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

    Examples
    --------
    >>> from fnnet import init_params, loss_and_grads
    >>> state, x, y = adam_init(init_params(0, (3, 2)), 0.1), np.eye(3), [0, 1, 1]
    >>> for _ in range(5):
    ...     loss, grads = loss_and_grads(state.params, x, y)
    ...     state = adam_update(state, grads)
    ...     print(f"{loss:.3f}")
    0.640
    0.528
    0.440
    0.372
    0.319
    """
    check_type(state, AdamState)

    def rule(
        g: FloatArray, rate: Rate, w: FloatArray, m: FloatArray, v: FloatArray
    ) -> Sequence[FloatArray]:
        t = min(int(state.step) + 1, LARGEST_EXPONENT)
        unbias_m, unbias_v = 1 / (1 - state.beta1**t), 1 / math.sqrt(1 - state.beta2**t)
        eps = divisor_of(state.eps, w)
        felt = squared(lost_beside(state.eps, w))
        m = swept(state.beta1 * m + (1 - state.beta1) * g, state.beta1, state.step)
        v = swept(state.beta2 * v + (1 - state.beta2) * g**2, state.beta2, state.step, felt)
        return w - rate * unbias_m * m / (unbias_v * np.sqrt(v) + eps), m, v

    return step_by_blocks(rule, state, grads, "means", "mean_squares")


register(AdamState, adam_init, adam_update)
