"""Activations of hidden units: the functions, both derivatives, and what networks make of them."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

import fnnet
from fnnet import Activation, Params
from fnnet.activations import ACTIVATIONS, normal_cdf
from tests import oracles
from tests.oracles import Matrix

Array: TypeAlias = npt.NDArray[Any]

FORMULAS: dict[str, Callable[[float], float]] = {
    "relu": lambda z: max(z, 0),
    "tanh": math.tanh,
    "sigmoid": lambda z: 1 / (1 + math.exp(-z)),
    "leaky_relu": lambda z: z if z > 0 else 0.01 * z,
    "gelu": lambda z: z * math.erfc(-z / math.sqrt(2)) / 2,
    "silu": lambda z: z / (1 + math.exp(-z)),
    "identity": lambda z: z,
}
KINKED = ("relu", "leaky_relu")
Z = np.linspace(-8, 8, 400)  # none of them is 0
SIZES = (6, 5, 5, 4)
MINE = Activation("mine", lambda z: np.logaddexp(0, z), lambda z, h: -np.expm1(-h))


def of(name: str) -> tuple[Callable[[Array], Array], ...]:
    """f, df and ddf as functions of z alone."""
    one = ACTIVATIONS[name]
    assert one.ddf is not None
    second = one.ddf
    return one.f, lambda z: one.df(z, one.f(z)), lambda z: second(z, one.f(z))


def slopes(f: Callable[[Array], Array], at: Array, step: float = 1e-5) -> Array:
    return np.asarray((1.0 * f(at + step) - f(at - step)) / (2 * step))


# The functions


def test_these_and_no_others_are_known() -> None:
    assert set(ACTIVATIONS) == set(FORMULAS)
    assert all(name == one.name for name, one in ACTIVATIONS.items())


@pytest.mark.parametrize("name", FORMULAS)
def test_each_is_its_formula(name: str) -> None:
    expected = [FORMULAS[name](z) for z in Z.tolist()]
    np.testing.assert_allclose(of(name)[0](Z), expected, 1e-13, 1e-16)


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("order", [1, 2])
def test_each_derivative_is_the_slope_of_what_it_derives(name: str, order: int) -> None:
    functions = of(name)
    ours, expected = functions[order](Z), slopes(functions[order - 1], Z)
    np.testing.assert_allclose(ours, expected, 1e-8, 1e-9)


@pytest.mark.parametrize("name", FORMULAS)
def test_each_has_the_values_and_both_derivatives_of_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch")
    functions = {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "identity": lambda z: z * 1}
    f = functions[name] if name in functions else getattr(torch.nn.functional, name)
    z = torch.tensor(Z, requires_grad=True)
    h = f(z)
    (first,) = torch.autograd.grad(h.sum(), z, create_graph=True)
    second = torch.zeros_like(z)
    if first.requires_grad:
        found = torch.autograd.grad(first.sum(), z, allow_unused=True)[0]
        second = second if found is None else found
    for ours, theirs in zip(of(name), (h, first, second), strict=True):
        np.testing.assert_allclose(ours(Z), theirs.detach().numpy(), 1e-12, 1e-15)


@pytest.mark.parametrize("name", FORMULAS)
def test_float32_stays_float32_and_is_as_exact_as_it_can_be(name: str) -> None:
    for ours in of(name):
        single = ours(Z.astype(np.float32))
        # Bools are as good as zeros and ones: they are cheaper to multiply with.
        assert single.dtype in (np.float32, np.bool_)
        np.testing.assert_allclose(single, ours(Z.astype(np.float32).astype(float)), 1e-5, 2e-6)


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_however_large_are_no_trouble(name: str, dtype: str) -> None:
    z = np.array([-1e30, -1e4, -100, 100, 1e4, 1e30], dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        h, first, second = (ours(z) for ours in of(name))
    limits: dict[str, Any] = {
        "tanh": (-1, 1, 0, 0),
        "sigmoid": (0, 1, 0, 0),
        "identity": (None, None, 1, 1),
    }
    low, high, left, right = limits.get(name, (None, None, 0, 1))
    left = 0.01 if name == "leaky_relu" else left
    np.testing.assert_allclose(h[:3], z[:3] * left if low is None else low, 1e-6, 1e-30)
    np.testing.assert_allclose(h[3:], z[3:] if high is None else high, 1e-6)
    np.testing.assert_allclose(first, [left] * 3 + [right] * 3, 1e-6, 1e-30)
    np.testing.assert_allclose(second, 0, atol=1e-30)


@pytest.mark.parametrize("name", FORMULAS)
def test_what_is_not_a_number_stays_that(name: str) -> None:
    z = np.array([1.0, np.nan, -1.0])
    assert np.isnan(of(name)[0](z)).tolist() == [False, True, False]
    params = fnnet.init_params(0, (3, 4, 2), activation=name)
    assert np.isnan(fnnet.forward(params, z)).all()


@pytest.mark.parametrize("name", FORMULAS)
def test_the_sums_are_left_as_they_are(name: str) -> None:
    z = Z.copy()
    for ours in of(name):
        assert not np.shares_memory(ours(z), z)
    assert np.array_equal(z, Z)


def test_the_derivative_at_a_kink_is_that_from_the_left() -> None:
    zero = np.zeros(1)
    assert of("relu")[1](zero).tolist() == [0]
    assert of("leaky_relu")[1](zero).tolist() == [0.01]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 3e-16), ("float32", 2e-7)])
def test_the_normal_distribution_is_that_of_the_standard_library(
    dtype: str, tolerance: float
) -> None:
    z = np.linspace(-12, 12, 20_001).astype(dtype)
    expected = [math.erfc(-one / math.sqrt(2)) / 2 for one in z.tolist()]
    np.testing.assert_allclose(normal_cdf(z), expected, rtol=0, atol=tolerance)
    left = (z < 0) & (z > -8)  # where it is small, it is so to as many digits
    relative = normal_cdf(z)[left] / np.array(expected)[left]
    np.testing.assert_allclose(relative, 1, rtol=300 * tolerance)


# Networks


def problem(activation: str | Activation, seed: int = 0) -> tuple[Params, Matrix, Any]:
    rng = np.random.default_rng(seed)
    params = fnnet.init_params(rng, SIZES, np.float64, activation=activation)
    params = fnnet.tree_map(lambda leaf: leaf + 0.1 * rng.standard_normal(leaf.shape), params)
    return params, rng.standard_normal((7, SIZES[0])), rng.integers(0, SIZES[-1], 7)


def distance_from_kinks(params: Params, x: Matrix) -> float:
    z = x @ params.layers[0].w + params.layers[0].b
    inner = np.where(z > 0, z, (0.01 if params.activation == "leaky_relu" else 0) * z)
    return float(min(np.abs(z).min(), np.abs(inner @ params.layers[1].w).min()))


def smooth(activation: str | Activation) -> tuple[Params, Matrix, Any]:
    found = (problem(activation, seed) for seed in range(1000))
    return next(p for p in found if activation not in KINKED or distance_from_kinks(*p[:2]) > 1e-2)


@pytest.mark.parametrize("activation", [*FORMULAS, MINE], ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_are_the_slopes_of_the_loss(activation: str | Activation, masked: bool) -> None:
    params, x, y = smooth(activation)
    masks = fnnet.dropout_masks(0, params, len(x), (0.2, 0.5, 0.5)) if masked else None
    vector, unravel = fnnet.tree_ravel(params)
    expected = oracles.central_differences(
        lambda at: fnnet.loss_and_grads(unravel(at), x, y, masks)[0], np.asarray(vector)
    )
    ours = fnnet.loss_and_grads(params, x, y, masks)[1]
    np.testing.assert_allclose(fnnet.tree_ravel(ours)[0], expected, 1e-6, 1e-8)
    assert ours.activation == params.activation


@pytest.mark.parametrize("name", FORMULAS)
def test_networks_agree_with_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch")
    functions = {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "identity": lambda z: z}
    f = functions[name] if name in functions else getattr(torch.nn.functional, name)
    params, x, y = problem(name)
    theirs = [torch.tensor(leaf.copy(), requires_grad=True) for leaf in fnnet.tree_leaves(params)]
    h = torch.tensor(x)
    for i in range(0, len(theirs), 2):
        z = h @ theirs[i] + theirs[i + 1]
        h = f(z)
    loss = torch.nn.functional.cross_entropy(z, torch.tensor(y))
    loss.backward()
    value, gradient = fnnet.loss_and_grads(params, x, y)
    assert value == pytest.approx(loss.item(), rel=1e-12)
    for ours, leaf in zip(fnnet.tree_leaves(gradient), theirs, strict=True):
        np.testing.assert_allclose(ours, leaf.grad.numpy(), 1e-9, 1e-13)


@pytest.mark.parametrize("activation", [*FORMULAS, MINE], ids=str)
def test_members_of_an_ensemble_are_what_they_are_alone(activation: str | Activation) -> None:
    members = [problem(activation, seed)[0] for seed in range(3)]
    _, x, y = problem(activation)
    together = fnnet.tree_map(lambda *leaves: np.stack(leaves), *members)
    gradient = fnnet.grads(together, x, y)
    for e, member in enumerate(members):
        own = fnnet.tree_map(lambda leaf, e=e: leaf[e], gradient)
        assert fnnet.tree_allclose(own, fnnet.grads(member, x, y), rtol=1e-10, atol=1e-13)


def test_without_hidden_units_there_is_nothing_to_activate() -> None:
    x = np.ones((2, 3))
    params = [fnnet.init_params(0, (3, 2), activation=name, scheme="he") for name in FORMULAS]
    assert len({fnnet.forward(one, x).tobytes() for one in params}) == 1


def test_sums_are_kept_only_where_a_derivative_looks_at_them() -> None:
    seen = []

    def df(z: Array, h: Array) -> Array:
        seen.append(z is h)
        return np.asarray(1 - h**2)

    params, x, y = problem("tanh")
    expected = fnnet.tree_ravel(fnnet.grads(params, x, y))[0]
    for uses_z in (True, False):
        own = Activation("own", np.tanh, df, uses_z=uses_z)
        ours = fnnet.grads(dataclasses.replace(params, activation=own), x, y)
        assert np.array_equal(fnnet.tree_ravel(ours)[0], expected)
    assert seen == [False, False, True, True]


def test_an_activation_of_ones_own_trains_as_the_same_of_ours() -> None:
    own = Activation("my tanh", np.tanh, lambda z, h: 1 - h**2)
    x, y = np.random.default_rng(0).standard_normal((50, 6)), np.arange(50) % 4
    states = []
    for activation in ("tanh", own):
        params = fnnet.init_params(0, SIZES, activation=activation, scheme="glorot")
        *_, last = fnnet.train(fnnet.sgd_init(params), fnnet.Split(x, y), rng=0, epochs=2)
        states.append(last.state)
    first, second = (fnnet.tree_ravel(state.params)[0] for state in states)
    assert first.tobytes() == second.tobytes()
    assert states[1].params.activation is own


def test_reprs_name_what_is_not_the_default() -> None:
    assert repr(MINE) == "Activation(mine)"
    assert "mine" in repr(fnnet.init_params(0, (3, 4, 2), activation=MINE))
    assert "relu" not in repr(fnnet.init_params(0, (3, 4, 2)))


# First parameters


VARIANCES = {"he": 2 / 400, "glorot": 2 / 700, "lecun": 1 / 400}
OF = {"tanh": "glorot", "sigmoid": "glorot", "identity": "lecun"}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("scheme", [None, "he", "glorot", "lecun"])
def test_hidden_weights_have_the_variance_that_their_activation_wants(
    name: str, scheme: str | None
) -> None:
    params = fnnet.init_params(0, (400, 300, 2), activation=name, scheme=scheme)
    expected = VARIANCES[scheme or OF.get(name, "he")]
    assert float(np.var(params.layers[0].w)) == pytest.approx(expected, rel=0.02)
    assert not params.layers[0].b.any()


# Bad input


@pytest.mark.parametrize("name", ["mish", "ReLU", "", None, 3, ["relu"]])
def test_an_unknown_activation_is_answered_with_the_known_ones(name: Any) -> None:
    known = ", ".join(map(repr, FORMULAS))
    with pytest.raises(ValueError, match=f"^activation must be one of {known}, got "):
        fnnet.init_params(0, (3, 4, 2), activation=name)


def test_an_unknown_activation_of_parameters_is_named_when_they_are_used() -> None:
    params = Params(fnnet.init_params(0, (3, 4, 2)).layers, "mish")
    for use in (fnnet.forward, fnnet.predict, fnnet.predict_proba):
        with pytest.raises(ValueError, match=r"activation must be one of 'relu', .* got 'mish'"):
            use(params, np.ones((1, 3)))


def test_an_unknown_scheme_is_answered_with_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match=r"^scheme must be one of 'he', 'glorot', 'lecun', got 'x'"
    ):
        fnnet.init_params(0, (3, 4, 2), scheme="x")


def test_an_activation_cannot_be_called_what_another_is() -> None:
    """A checkpoint has the name alone, and would give the other one back."""
    sine = Activation("relu", np.sin, lambda z, h: np.cos(z))
    with pytest.raises(ValueError, match="activation must not be called 'relu', as one of fnnet's"):
        fnnet.init_params(0, (3, 4, 2), activation=sine)
    params = fnnet.init_params(0, (3, 4, 2), activation=ACTIVATIONS["relu"])
    assert np.isfinite(fnnet.forward(params, np.ones((1, 3)))).all()
