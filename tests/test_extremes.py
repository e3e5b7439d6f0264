"""The smallest, largest and emptiest of everything, each with the result that it must have."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

import fnnet
from tests import oracles

Array: TypeAlias = npt.NDArray[Any]
DTYPES = ["float32", "float64"]


def network(dtype: str) -> fnnet.Params:
    params, _, _ = oracles.problem()
    return fnnet.tree_map(lambda leaf: leaf.astype(dtype), params)


def without_biases(params: fnnet.Params) -> fnnet.Params:
    return fnnet.tree_map(lambda leaf: leaf if leaf.ndim > 1 else 0 * leaf, params)


def numbers(params: fnnet.Params) -> Array:
    return np.concatenate([leaf.ravel() for leaf in fnnet.tree_leaves(params)]).astype(np.float64)


def expected(params: fnnet.Params, x: Array, y: Array) -> tuple[float, Array]:
    """Loss and gradient by the equations as written, of a network with one hidden layer."""
    leaves = [np.asarray(leaf, np.float64) for leaf in fnnet.tree_leaves(params)]
    one_hot = np.eye(leaves[-1].size)[y]
    found = oracles.equations(np.asarray(x, np.float64), one_hot, *leaves)
    return float(found[4]), np.concatenate([found[i].ravel() for i in (9, 10, 6, 7)])


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_sample_of_two_classes_through_one_unit(dtype: str) -> None:
    w1, w2 = np.array([[2.0]], dtype), np.array([[1.0, -1.0]], dtype)
    hidden = fnnet.Layer(w1, np.array([0.5], dtype))
    params = fnnet.Params((hidden, fnnet.Layer(w2, np.zeros(2, dtype))))
    x, y = np.array([[0.25]]), np.array([1])
    (loss, gradient) = expected(params, x, y)
    (record,) = fnnet.train(
        fnnet.rmsprop_init(params, 0.1), fnnet.Split(x, y), rng=0, epochs=1, batch_size=10**12
    )
    w, _ = oracles.rmsprop(numbers(params), np.zeros(6), gradient, 0.1, 0.9, 1e-8)
    assert fnnet.loss(params, x, y) == pytest.approx(loss, rel=1e-6)
    np.testing.assert_allclose(numbers(fnnet.grads(params, x, y)), gradient, 1e-6)
    np.testing.assert_allclose(numbers(record.state.params), w, 1e-6)
    assert record.metrics.train_accuracy == 0
    assert fnnet.predict(params, x) == [0]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
def test_sixty_thousand_samples_in_one_batch(dtype: str, tolerance: float) -> None:
    params = network(dtype)
    _, x, y = oracles.problem(n=6)
    loss, gradient = expected(params, x, y)  # a sample counts as often as the others
    labels: Array = np.tile(y, 10_000)
    found, actual = fnnet.loss_and_grads(params, np.tile(x, (10_000, 1)), labels)
    assert found == pytest.approx(loss, rel=tolerance)
    np.testing.assert_allclose(numbers(actual), gradient, tolerance, tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
def test_inputs_of_zero_teach_nothing_but_how_frequent_the_classes_are(dtype: str) -> None:
    params, y = without_biases(network(dtype)), np.array([0, 0, 1, 3, 0])
    loss, gradient = fnnet.loss_and_grads(params, np.zeros((5, 6)), y)
    assert loss == pytest.approx(np.log(4), rel=1e-6)
    *others, last = fnnet.tree_leaves(gradient)
    assert not any(leaf.any() for leaf in others)
    np.testing.assert_allclose(last, [0.25 - 0.6, 0.25 - 0.2, 0.25, 0.25 - 0.2], 1e-6)
    np.testing.assert_allclose(fnnet.predict_proba(params, np.zeros(6)), 0.25)


@pytest.mark.parametrize("dtype", DTYPES)
def test_inputs_of_1e30_make_certain_and_finite_predictions(dtype: str) -> None:
    params = network(dtype)
    _, x, y = oracles.problem()
    leaves = [np.asarray(leaf, np.float64) for leaf in fnnet.tree_leaves(params)]
    h = np.maximum(1e30 * x @ leaves[0] + leaves[1], 0)
    z = h @ leaves[2] + leaves[3]
    dz = (np.eye(4)[z.argmax(1)] - np.eye(4)[y]) / len(x)  # no class but the likeliest has a share
    dz1 = (dz @ leaves[2].T) * (h > 0)
    gradient = (1e30 * x.T @ dz1, dz1.sum(0), h.T @ dz, dz.sum(0))
    loss, actual = fnnet.loss_and_grads(params, 1e30 * x, y)
    assert loss == pytest.approx(oracles.cross_entropy(z, y), rel=1e-5)
    for leaf, right in zip(fnnet.tree_leaves(actual), gradient, strict=True):
        np.testing.assert_allclose(leaf, right, 1e-5, 1e-5 * np.abs(right).max())
    np.testing.assert_array_equal(fnnet.predict_proba(params, 1e30 * x), np.eye(4)[z.argmax(1)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("output", ["softmax", "sigmoid", "identity"])
@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "leaky_relu", "gelu", "silu"])
def test_what_is_too_small_for_a_float_is_zero_whatever_the_caller_asks_of_numpy(
    dtype: Any, output: str, activation: str
) -> None:
    params = fnnet.init_params(0, (3, 4, 2), dtype, activation=activation, output=output)
    tiny = fnnet.tree_map(lambda leaf: np.full_like(leaf, np.finfo(dtype).tiny), params)
    x: Any = np.array([[900.0, -900.0, 0.5], [1e-30, 1e-300, 0.0]])
    y: Any = [0, 1] if output == "softmax" else np.zeros((2, 2))
    logits = np.array([[0, -800], [9000, -9000]], dtype)

    def answers() -> list[Any]:
        states = [init(params) for init in (fnnet.sgd_init, fnnet.rmsprop_init, fnnet.adam_init)]
        updates: list[Any] = [fnnet.sgd_update, fnnet.rmsprop_update, fnnet.adam_update]
        pairs = zip(states, updates, strict=True)
        return [
            fnnet.loss_and_grads(params, x, y)[1],
            fnnet.forward(tiny, x),
            fnnet.grads(tiny, x, y),
            fnnet.predict_proba(params, x),
            fnnet.losses(params, x, y),
            fnnet.softmax(logits),
            np.asarray(fnnet.cross_entropy(logits, [0, 0])),
            *(update(state, tiny).params for state, update in pairs),
            fnnet.clip_by_global_norm(tiny, 1e-30),
            fnnet.decay_weights(tiny, 0.5),
            fnnet.moving_average(tiny, params, 0.5),
            np.asarray(fnnet.evaluate(params, fnnet.Split(x, np.asarray(y))).loss),
        ]

    expected = answers()
    with np.errstate(all="raise"):
        found = answers()
    for ours, theirs in zip(found, expected, strict=True):
        assert fnnet.tree_equal(ours, theirs)
