"""Curvature: products against JAX and central differences; gradients checked; single samples."""

from __future__ import annotations

import re
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import fnnet
from fnnet import curvature
from fnnet.activations import ACTIVATIONS
from fnnet.checks import FloatArray
from fnnet.curvature import check_grads, gauss_newton_vector, hessian_vector, layer_inputs
from fnnet.outputs import OUTPUTS
from tests import oracles

SMOOTH = ["tanh", "sigmoid", "gelu", "silu", "identity"]
PRODUCTS = pytest.mark.parametrize("product", [hessian_vector, gauss_newton_vector])
each_output = pytest.mark.parametrize("output", list(OUTPUTS))
each_activation = pytest.mark.parametrize("activation", list(ACTIVATIONS))
each_depth = pytest.mark.parametrize("sizes", [(6, 4), (6, 5, 4), (6, 5, 7, 3, 4)], ids=len)


def problem(
    sizes: tuple[int, ...], activation: str, output: str, seed: int = 0
) -> tuple[fnnet.Params, Any, Any, FloatArray]:
    """A network, inputs, labels that fit its output, and weights of the samples."""
    found = oracles.smooth_problem(sizes, soft=output != "identity") if seed == 0 else None
    params, x, y = found or oracles.problem(sizes, soft=output != "identity", seed=seed)
    if output == "identity":
        y = np.random.default_rng(1).standard_normal((len(x), sizes[-1]))
    weights = np.array([0.0, 1.0, 2.0, 0.5, 1.0, 3.0, 0.1])
    return replace(params, activation=activation, output=output), x, y, weights


def direction(params: fnnet.Params, seed: int = 1) -> fnnet.Params:
    rng = np.random.default_rng(seed)
    return fnnet.tree_map(lambda leaf: rng.standard_normal(leaf.shape), params)


def vector(tree: fnnet.Params) -> npt.NDArray[np.float64]:
    return np.concatenate([np.ravel(np.asarray(leaf)) for leaf in fnnet.tree_leaves(tree)])


def off(a: fnnet.Params, b: fnnet.Params) -> float:
    """How far a is from b, relative to b's norm."""
    return float(np.linalg.norm(vector(a) - vector(b)) / np.linalg.norm(vector(b)))


def test_every_equation_of_the_page_is_one_marked_line() -> None:
    def numbers(pattern: str, text: str) -> list[int]:
        return [int(number) for number in re.findall(pattern, text)]

    page = str(curvature.__doc__)
    code = Path(str(curvature.__file__)).read_text("utf-8").partition('"""\n\n')[2]
    assert numbers(r"\\tag\{(\d+)\}", page) == [*range(13, 21)]
    assert sorted(numbers(r"(?m)  # \((\d+)\)$", code)) == [*range(13, 21)]


def test_every_output_has_its_equation() -> None:
    assert curvature.MOVED_PREDICTIONS.keys() == OUTPUTS.keys()


def of_jax(output: str, activation: str, x: Any, y: Any, s: Any) -> tuple[Any, Any]:
    """Logits as a function of parameters, and the loss as a function of logits, in JAX."""
    jax = pytest.importorskip("jax")
    others = {
        "identity": lambda z: z,
        "leaky_relu": lambda z: jax.nn.leaky_relu(z, 0.01),
        "gelu": lambda z: jax.nn.gelu(z, approximate=False),
    }
    f = others.get(activation) or getattr(jax.nn, activation)

    def logits(layers: Any) -> Any:
        h = x
        for w, b in layers[:-1]:
            h = f(h @ w + b)
        return h @ layers[-1][0] + layers[-1][1]

    def loss(z: Any) -> Any:
        if output == "softmax":
            each = -(y * jax.nn.log_softmax(z)).sum(-1)
        elif output == "sigmoid":
            each = -(y * jax.nn.log_sigmoid(z) + (1 - y) * jax.nn.log_sigmoid(-z)).sum(-1)
        else:
            each = ((z - y) ** 2).sum(-1) / 2
        return (s * each).sum() / s.sum()

    return logits, loss


def layers_of(tree: fnnet.Params) -> Any:
    return [(np.asarray(layer.w), np.asarray(layer.b)) for layer in tree.layers]


@each_depth
@each_activation
@each_output
@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
def test_both_products_are_those_of_jax(
    sizes: tuple[int, ...], activation: str, output: str, weighted: bool
) -> None:
    jax = pytest.importorskip("jax")
    params, x, y, s = problem(sizes, activation, output)
    v, weights = direction(params), s if weighted else None
    hessian = hessian_vector(params, x, y, v, weights=weights)
    gauss_newton = gauss_newton_vector(params, x, y, v, weights=weights)
    with jax.enable_x64(True):
        at, along = layers_of(params), layers_of(v)
        logits, loss = of_jax(output, activation, x, y, s if weighted else np.ones(len(x)))
        _, hv = jax.jvp(jax.grad(lambda layers: loss(logits(layers))), (at,), (along,))
        z, jv = jax.jvp(logits, (at,), (along,))
        _, mjv = jax.jvp(jax.grad(loss), (z,), (jv,))
        (gv,) = jax.vjp(logits, at)[1](mjv)
    assert fnnet.tree_leaves(hessian)[0].dtype == np.float64
    for ours, theirs in ((hessian, hv), (gauss_newton, gv)):
        layers = tuple(fnnet.Layer(np.asarray(w), np.asarray(b)) for w, b in theirs)
        assert off(ours, replace(params, layers=layers)) < 1e-10


@each_depth
@each_activation
@each_output
def test_the_hessian_s_is_the_difference_of_gradients(
    sizes: tuple[int, ...], activation: str, output: str
) -> None:
    params, x, y, weights = problem(sizes, activation, output)
    v, step = direction(params), 1e-5

    def grads(sign: int) -> fnnet.Params:
        at = fnnet.tree_map(lambda leaf, along: leaf + sign * step * along, params, v)
        return fnnet.grads(at, x, y, weights=weights)

    difference = fnnet.tree_map(lambda a, b: (a - b) / (2 * step), grads(1), grads(-1))
    assert off(hessian_vector(params, x, y, v, weights=weights), difference) < 1e-7


@PRODUCTS
@each_activation
@each_output
def test_they_are_symmetric_and_linear(product: Any, activation: str, output: str) -> None:
    params, x, y, weights = problem((6, 5, 5, 4), activation, output, seed=3)
    u, v = direction(params, 1), direction(params, 2)
    mu, mv = (product(params, x, y, tree, weights=weights) for tree in (u, v))
    assert vector(u) @ vector(mv) == pytest.approx(vector(v) @ vector(mu), rel=1e-11)
    both = fnnet.tree_map(lambda a, b: 3 * a - 0.5 * b, u, v)
    product_of_both = product(params, x, y, both, weights=weights)
    assert off(product_of_both, fnnet.tree_map(lambda a, b: 3 * a - 0.5 * b, mu, mv)) < 1e-12


@each_activation
@each_output
def test_gauss_newton_is_never_negative(activation: str, output: str) -> None:
    sizes = (3, 4, 2)
    params, x, y, weights = problem(sizes, activation, output, seed=5)
    start, unravel = fnnet.tree_ravel(params)
    rows = [
        vector(gauss_newton_vector(params, x, y, unravel(unit), weights=weights))
        for unit in np.eye(start.size)
    ]
    eigenvalues = np.linalg.eigvalsh(np.array(rows))
    assert eigenvalues[0] > -1e-14 * eigenvalues[-1]
    assert eigenvalues[-1] > 0


def test_a_hessian_may_be_negative_where_gauss_newton_is_not() -> None:
    params, x, y, _ = problem((6, 5, 4), "tanh", "softmax")
    start, unravel = fnnet.tree_ravel(params)
    rows = [vector(hessian_vector(params, x, y, unravel(unit))) for unit in np.eye(start.size)]
    assert np.linalg.eigvalsh(np.array(rows))[0] < -1e-3


@each_output
def test_without_hidden_layers_they_are_one(output: str) -> None:
    params, x, y, weights = problem((6, 4), "relu", output)
    v = direction(params)
    ours = hessian_vector(params, x, y, v, weights=weights)
    assert off(gauss_newton_vector(params, x, y, v, weights=weights), ours) < 1e-14


@pytest.mark.parametrize("activation", SMOOTH)
@each_output
def test_where_every_prediction_is_its_label_they_are_one(activation: str, output: str) -> None:
    params, x, _, _ = problem((6, 5, 4), activation, output)
    y, v = fnnet.predict_proba(params, x), direction(params)
    assert off(gauss_newton_vector(params, x, y, v), hessian_vector(params, x, y, v)) < 1e-12


@PRODUCTS
@pytest.mark.parametrize("own", [False, True], ids=["shared data", "own data"])
def test_members_of_an_ensemble_are_what_they_are_alone(product: Any, own: bool) -> None:
    problems = [problem((6, 5, 5, 4), "silu", "sigmoid", seed=seed) for seed in (1, 2, 3)]
    ensemble = fnnet.tree_map(lambda *leaves: np.stack(leaves), *(each[0] for each in problems))
    v = direction(ensemble)
    rows: list[Any] = [each[1:3] for each in problems]
    x, y = (np.stack([row[i] for row in rows]) for i in (0, 1)) if own else rows[0]
    weights = problems[0][3]
    together = product(ensemble, x, y, v, weights=weights)
    for e, (params, own_x, own_y, _) in enumerate(problems):
        data = (own_x, own_y) if own else problems[0][1:3]
        alone = product(
            params, *data, fnnet.tree_map(lambda leaf, e=e: leaf[e], v), weights=weights
        )
        assert off(fnnet.tree_map(lambda leaf, e=e: leaf[e], together), alone) < 1e-13


@PRODUCTS
def test_whole_weights_are_repeated_samples(product: Any) -> None:
    params, x, y, _ = problem((6, 5, 4), "tanh", "softmax")
    v, times = direction(params), np.array([0, 1, 2, 3, 1, 0, 2])
    repeated = product(params, x.repeat(times, 0), y.repeat(times, 0), v)
    assert off(product(params, x, y, v, weights=times), repeated) < 1e-13
    nothing = product(params, x, y, v, weights=np.zeros(7))
    assert not vector(nothing).any()


@PRODUCTS
def test_classes_are_rows_of_one(product: Any) -> None:
    params, x, y = oracles.problem()
    v = direction(params)
    assert fnnet.tree_equal(product(params, x, y, v), product(params, x, np.eye(4)[y], v))


@PRODUCTS
def test_in_float32_it_is_what_float64_gives_to_rounding(product: Any) -> None:
    params, x, y, _ = problem((6, 5, 4), "gelu", "softmax")
    small = fnnet.tree_map(lambda leaf: leaf.astype(np.float32), params)
    v = direction(params)
    result = product(small, x, y, v)  # of float64, and cast
    assert {leaf.dtype for leaf in fnnet.tree_leaves(result)} == {np.dtype(np.float32)}
    assert off(result, product(params, x, y, v)) < 1e-5


@PRODUCTS
def test_logits_far_away_give_finite_numbers(product: Any) -> None:
    params, x, y, _ = problem((6, 5, 4), "relu", "softmax")
    huge = fnnet.tree_map(lambda leaf: 1e3 * leaf, params)
    assert np.isfinite(vector(product(huge, x, y, direction(params)))).all()


@PRODUCTS
def test_a_vector_that_does_not_fit_is_named(product: Any) -> None:
    params, x, y = oracles.problem()
    with pytest.raises(TypeError, match="v must be of type Params, got ndarray"):
        product(params, x, y, fnnet.tree_ravel(params)[0])
    with pytest.raises(ValueError, match=r"v must have the structure and shapes of params, Params"):
        product(params, x, y, fnnet.init_params(0, (6, 4, 4)))
    with pytest.raises(TypeError, match="v must hold real numbers, got dtype complex128"):
        product(params, x, y, fnnet.tree_map(lambda leaf: leaf * 1j, params))


def test_an_activation_without_second_derivative_is_named_where_one_is_needed() -> None:
    own = fnnet.Activation("mine", lambda z: np.logaddexp(0, z), lambda z, h: -np.expm1(-h))
    params, x, y = oracles.problem()
    params, bare = replace(params, activation=own), replace(params, layers=params.layers[:1])
    with pytest.raises(ValueError, match="activation 'mine' must have a ddf, its second"):
        hessian_vector(params, x, y, params)
    gauss_newton_vector(params, x, y, params)
    hessian_vector(replace(bare, activation=own), x, y, replace(bare, activation=own))


def test_an_activation_of_your_own_has_its_curvature() -> None:
    own = fnnet.Activation(
        "twice", lambda z: np.tanh(z), lambda z, h: 1 - h**2, lambda z, h: -2 * h * (1 - h**2)
    )
    params, x, y, _ = problem((6, 5, 4), "tanh", "softmax")
    v, mine = direction(params), replace(params, activation=own)
    ours = hessian_vector(mine, x, y, replace(v, activation=own))
    assert off(ours, hessian_vector(params, x, y, v)) < 1e-14


def test_layer_inputs_are_what_each_layer_gets() -> None:
    params, x, _, _ = problem((6, 5, 7, 4), "tanh", "softmax")
    inputs, logits = layer_inputs(params, x)
    np.testing.assert_array_equal(inputs[0], x)
    for layer, h, after in zip(params.layers[:-1], inputs, inputs[1:], strict=False):
        np.testing.assert_allclose(np.tanh(h @ layer.w + layer.b), after, rtol=1e-14)
    last = params.layers[-1]
    np.testing.assert_allclose(inputs[-1] @ last.w + last.b, logits, rtol=1e-14)
    np.testing.assert_array_equal(logits, fnnet.forward(params, x))


def test_layer_inputs_of_one_sample_and_of_an_ensemble_have_the_shapes_of_forward() -> None:
    params, x, _, _ = problem((6, 5, 4), "relu", "softmax")
    inputs, logits = layer_inputs(params, x[0])
    assert [h.shape for h in (*inputs, logits)] == [(6,), (5,), (4,)]
    np.testing.assert_array_equal(logits, fnnet.forward(params, x[0]))
    ensemble = fnnet.tree_map(lambda leaf: np.stack([leaf, 2 * leaf]), params)
    inputs, logits = layer_inputs(ensemble, x)
    assert [h.shape for h in (*inputs, logits)] == [(7, 6), (2, 7, 5), (2, 7, 4)]


def of_each_sample(params: fnnet.Params, n: int) -> fnnet.Params:
    """Parameters broadcast to (N, ...): an ensemble of N networks that are one in memory."""

    def broadcast(leaf: FloatArray) -> FloatArray:
        return np.broadcast_to(leaf, (n, *leaf.shape))

    layers = tuple(fnnet.Layer(broadcast(lay.w), broadcast(lay.b)) for lay in params.layers)
    return replace(params, layers=layers)


@each_activation
@each_output
def test_gradients_of_single_samples_are_those_of_broadcast_parameters(
    activation: str, output: str
) -> None:
    params, x, y, _ = problem((6, 5, 4), activation, output)
    each = fnnet.grads(of_each_sample(params, len(x)), x[:, None], y[:, None])
    for i in range(len(x)):
        alone = fnnet.grads(params, x[i : i + 1], y[i : i + 1])
        assert off(fnnet.tree_map(lambda leaf, i=i: leaf[i], each), alone) < 1e-13


def test_gradients_of_single_samples_take_no_memory_but_their_own() -> None:
    params = fnnet.init_params(0, (784, 128, 10))
    x, y = np.random.default_rng(0).random((64, 784), np.float32), np.arange(64) % 10
    tracemalloc.start()
    try:
        each = fnnet.grads(of_each_sample(params, 64), x[:, None], y[:, None])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    result = sum(leaf.nbytes for leaf in fnnet.tree_leaves(each))
    assert result == 64 * 101_770 * 4
    assert peak < 1.05 * result


@each_output
@pytest.mark.parametrize("activation", SMOOTH)
def test_check_grads_finds_nothing_where_all_is_right(activation: str, output: str) -> None:
    params, x, y, weights = problem((6, 5, 4), activation, output)

    def f(params: fnnet.Params) -> tuple[float, fnnet.Params]:
        return fnnet.loss_and_grads(params, x, y, weights=weights)

    assert check_grads(f, params) < 1e-7
    small = fnnet.tree_map(lambda leaf: leaf.astype(np.float32), params)
    assert check_grads(f, small) < 1e-7  # it is cast


def test_check_grads_lets_kinks_pass_that_are_near() -> None:
    params, x, y = oracles.problem((30, 200, 4), n=200)
    assert oracles.distance_from_kinks(params, x) < 1e-4
    assert check_grads(lambda params: fnnet.loss_and_grads(params, x, y), params) < 1e-6


@pytest.mark.parametrize("leaf", range(4))
def test_check_grads_says_which_element_is_wrong_and_by_how_much(leaf: int) -> None:
    params, x, y, _ = problem((6, 5, 4), "tanh", "softmax")
    name = ("layers[0].w", "layers[0].b", "layers[1].w", "layers[1].b")[leaf]
    shape = fnnet.tree_leaves(params)[leaf].shape
    place = tuple(n // 2 for n in shape)

    def f(params: fnnet.Params) -> tuple[float, fnnet.Params]:
        loss, gradient = fnnet.loss_and_grads(params, x, y)
        leaves = [np.array(each) for each in fnnet.tree_leaves(gradient)]
        leaves[leaf][place] += 0.25
        layers = tuple(fnnet.Layer(*pair) for pair in zip(leaves[::2], leaves[1::2], strict=True))
        return loss, replace(params, layers=layers)

    true = fnnet.tree_leaves(fnnet.grads(params, x, y))[leaf][place]
    with pytest.raises(AssertionError) as caught:
        check_grads(f, params)
    found = re.fullmatch(
        r"the gradient is off: (\S+) by (\S+) \(relative; 1e-06 is allowed\)\. "
        r"At (\S+)\[([\d, ]+)\] it is (\S+), differences give (\S+)",
        str(caught.value),
    )
    assert found is not None, str(caught.value)
    assert found[1] == found[3] == name
    assert tuple(map(int, found[4].split(", "))) == place
    assert float(found[5]) == pytest.approx(true + 0.25, rel=1e-4)
    assert float(found[6]) == pytest.approx(true, rel=1e-4)


def test_check_grads_measures_the_error_of_a_forgotten_factor() -> None:
    params, x, y, _ = problem((6, 5, 4), "tanh", "softmax")

    def f(params: fnnet.Params) -> tuple[float, fnnet.Params]:  # the sum's gradient, not the mean's
        loss, gradient = fnnet.loss_and_grads(params, x, y)
        return loss, fnnet.tree_map(lambda leaf: len(x) * leaf, gradient)

    with pytest.raises(AssertionError, match=r"layers\[0\]\.w by 8\.6e-01, layers\[0\]\.b by 8\.6"):
        check_grads(f, params)  # 1 - 1 / 7
    assert check_grads(f, params, tolerance=1) == pytest.approx(6 / 7)


def test_check_grads_takes_any_tree_and_a_gradient_of_zeros() -> None:
    def f(tree: Any) -> tuple[float, Any]:
        a, b = tree
        return float(np.sin(a).sum()), (np.cos(a), np.zeros_like(b))

    assert check_grads(f, (np.arange(3.0), np.ones((2, 2)))) < 1e-7
    with pytest.raises(AssertionError, match=r"the gradient is off: \[1\] by"):
        check_grads(lambda tree: (f(tree)[0] + tree[1].sum(), f(tree)[1]), (np.ones(3), np.ones(2)))


def test_check_grads_says_what_f_should_return() -> None:
    w: Any = np.ones(3)
    with pytest.raises(TypeError, match="f must return a number and its gradient"):
        check_grads(lambda w: w @ w, w)
    with pytest.raises(TypeError, match="must compute in float64, got a gradient of float32"):
        check_grads(lambda w: (float(w @ w), 2 * w.astype(np.float32)), w)
    with pytest.raises(ValueError, match="must have the structure and shapes of params"):
        check_grads(lambda w: (float(w @ w), w[:2]), w)
    with pytest.raises(ValueError, match="f must be finite where gradients are compared, got nan"):
        check_grads(lambda w: (np.nan, w), w)
    with pytest.raises(AssertionError, match="params is not finite"):
        check_grads(lambda w: (float(w @ w), np.nan * w), w)
    with pytest.raises(ValueError, match="directions must be a whole number >= 1"):
        check_grads(lambda w: (float(w @ w), 2 * w), w, directions=0)
    with pytest.raises(ValueError, match="tolerance must be a finite number >= 0"):
        check_grads(lambda w: (float(w @ w), 2 * w), w, tolerance=-1)
