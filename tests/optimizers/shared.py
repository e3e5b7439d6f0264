"""What the tests of the optimizers share: gradients of every size, and PyTorch's answer to them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fnnet
from fnnet import Params
from fnnet.optimizers.steps import FLUSH_EVERY
from fnnet.trees import owned
from tests.protocol import DeviceArray

SIZES = (5, 4, 3)


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


def assert_members_step_as_each_would_alone(
    init: Callable[[Params, Any], Any], update: Callable[[Any, Params], Any]
) -> None:
    """An ensemble with a learning rate for each member, and its members one by one."""
    rates = np.array([0.1, 0.01, 0.0])
    members = [fnnet.init_params(seed, SIZES) for seed in range(3)]
    together = init(stacked(*members), rates)
    alone = [init(member, float(rate)) for member, rate in zip(members, rates, strict=True)]
    for step in range(3):
        gradients = [like(member, 10 * step + i) for i, member in enumerate(members)]
        together = update(together, stacked(*gradients))
        alone = [update(s, g) for s, g in zip(alone, gradients, strict=True)]
    expected = stacked(*(state.params for state in alone))
    assert fnnet.tree_allclose(together.params, expected, rtol=1e-6, atol=1e-7)


def assert_nothing_sinks_into_subnormal_numbers(
    state: Any, update: Callable[[Any, Params], Any], steps: int = 1500
) -> None:
    """One gradient, then zeros: a pixel that is never lit again."""
    zeros = fnnet.tree_map(np.zeros_like, state.params)
    state = update(state, like(state.params, 0, 1e-10))
    for step in range(steps):
        state = update(state, zeros)
        for name in state.__match_args__:
            tree = getattr(state, name)
            if isinstance(tree, Params) and name != "params" and step % 50 == 0:
                vector = np.abs(fnnet.tree_ravel(tree)[0])
                assert not np.any((vector > 0) & (vector < np.finfo(vector.dtype).tiny)), name


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


def assert_a_state_cannot_be_changed(state: Any) -> None:
    for field in dataclasses.fields(state):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(state, field.name, 0)
    assert not hasattr(state, "__dict__")
    assert state == state
    assert len({state, dataclasses.replace(state)}) == 2


def assert_rates_given_as_an_array_may_be_used_on(init: Callable[[Params, Any], Any]) -> None:
    rates = np.array([0.1, 0.2])
    members = stacked(fnnet.init_params(0, SIZES), fnnet.init_params(1, SIZES))
    states = [init(members, rates), init(members, owned(rates[:]))]
    rates[:] = 7
    assert [state.learning_rate.tolist() for state in states] == [[0.1, 0.2]] * 2


def assert_settings_become_floats(init: Callable[..., Any], *names: str) -> None:
    """Whatever numbers they were: a checkpoint holds Python's."""
    state = init(fnnet.init_params(0, SIZES), **dict.fromkeys(names, np.float32(0.5)))
    assert [type(getattr(state, name)) for name in names] == [float] * len(names)


def assert_parameters_that_are_not_finite_are_refused(init: Callable[[Params], Any]) -> None:
    with pytest.raises(ValueError, match="params must be finite"):
        init(one(np.nan))


def assert_updates_stay_on_the_device(
    init: Callable[[Params], Any], update: Callable[[Any, Params], Any]
) -> None:
    """Three steps on arrays that cannot become NumPy's, and the same with NumPy's."""
    device: Any = DeviceArray
    params = fnnet.init_params(0, SIZES)
    ours, theirs = init(fnnet.tree_map(device, params)), init(params)
    for step in range(3):
        gradient = like(params, step)
        ours = update(ours, fnnet.tree_map(device, gradient))
        theirs = update(theirs, gradient)
    for a, b in zip(fnnet.tree_leaves(ours.params), fnnet.tree_leaves(theirs.params), strict=True):
        assert isinstance(a, DeviceArray)
        np.testing.assert_allclose(a.get(), b, 1e-6)
