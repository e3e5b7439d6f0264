"""What tests of the optimizers share: every option, gradients of all sizes, PyTorch's answer."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fnnet
from fnnet import Params
from fnnet.optimizers.states import Optimizer, kinds
from fnnet.optimizers.steps import FLUSH_EVERY

SIZES = (5, 4, 3)


def every_option(optimizer: Optimizer[Any]) -> dict[str, Any]:
    """All that an optimizer's first state can be told, switched on: flags, and shares of a half."""
    taken = inspect.signature(optimizer.init).parameters
    on: dict[str, Any] = {}
    for field in dataclasses.fields(optimizer.state):
        kind, bounds = kinds(optimizer.state)[field.name], field.metadata.get("range")
        if field.name in taken and kind == "bool":
            on[field.name] = True
        elif field.name in taken and kind == "float" and bounds == (0, 1):
            on[field.name] = 0.5
    return on


def like(params: Params, seed: int, scale: float = 1.0) -> Params:
    """A random gradient."""
    rng = np.random.default_rng(seed)
    return fnnet.tree_map(
        lambda leaf: (scale * rng.standard_normal(leaf.shape)).astype(leaf.dtype), params
    )


def stacked(*members: Params) -> Params:
    return fnnet.tree_map(lambda *leaves: np.stack(leaves), *members)


def one(value: float, dtype: str = "float64") -> Params:
    """A tree in which one number matters."""
    return Params((fnnet.Layer(np.full((1, 1), value, dtype), np.zeros(1, dtype)),))


def number(params: Params) -> float:
    return float(params.layers[0].w[0, 0])


def assert_a_hundred_steps_are_those_of_pytorch(
    name: str, options: dict[str, Any], state: Any, update: Callable[[Any, Params], Any]
) -> None:
    """Our optimizer from `state` on, and that of `torch.optim` from the same parameters on."""
    torch = pytest.importorskip("torch")
    leaves = fnnet.tree_leaves(state.params)
    theirs = [torch.tensor(leaf.copy()) for leaf in leaves]
    optimizer = getattr(torch.optim, name)(theirs, **options)
    for step in range(100):
        gradient = like(state.params, step, scale=10.0 ** (step % 7 - 5))
        for parameter, leaf in zip(theirs, fnnet.tree_leaves(gradient), strict=True):
            parameter.grad = torch.tensor(leaf.copy())
        optimizer.step()
        state = update(state, gradient)
    assert state.step == 100
    tolerance = 5e-5 if leaves[0].dtype == np.float32 else 1e-10
    for ours, parameter in zip(fnnet.tree_leaves(state.params), theirs, strict=True):
        np.testing.assert_allclose(ours, parameter.numpy(), tolerance, tolerance)
        assert ours.dtype == leaves[0].dtype


def assert_only_what_eps_hides_is_swept(
    init: Callable[[Params, float], Any], update: Callable[[Any, Params], Any], eps: float
) -> None:
    """A mean square just above the subnormal numbers, and twice and half the eps that hides it."""
    for factor, swept in ((2, True), (0.5, False)):
        state = init(one(0, "float32"), factor * eps)
        small = one(2 * float(np.finfo("float32").tiny), "float32")
        state = dataclasses.replace(state, mean_squares=small, step=FLUSH_EVERY)
        after = update(state, one(0, "float32"))
        assert (number(after.mean_squares) == 0) == swept
