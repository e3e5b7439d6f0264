"""The functions run on any arrays that speak NumPy's protocols, and never leave them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import fnnet
from fnnet.activations import ACTIVATIONS
from fnnet.outputs import OUTPUTS
from tests import oracles
from tests.optimizers.shared import stacked
from tests.protocol import CALLS, LEFT, DeviceArray


@pytest.fixture(autouse=True)
def nothing_left_the_protocols() -> Iterator[None]:
    CALLS.clear()
    LEFT.clear()
    yield
    assert CALLS
    assert LEFT == []


def to_device(params: fnnet.Params) -> fnnet.Params:
    return fnnet.Params(
        tuple(fnnet.Layer(device(layer.w), device(layer.b)) for layer in params.layers)
    )


def device(array: Any) -> Any:
    return DeviceArray(array)


def assert_same(there: Any, here: Any) -> None:
    for theirs, ours in zip(fnnet.tree_leaves(there), fnnet.tree_leaves(here), strict=True):
        array: Any = theirs
        assert type(array) is DeviceArray
        assert array.dtype == ours.dtype
        np.testing.assert_allclose(array.get(), ours, rtol=1e-12, atol=1e-15)


@pytest.fixture(params=["hard", "soft"])
def example(request: pytest.FixtureRequest) -> tuple[fnnet.Params, Any, Any]:
    return oracles.problem((6, 5, 5, 4), soft=request.param == "soft")


def test_the_array_tells_when_it_is_converted_or_mixed() -> None:
    with pytest.raises(TypeError, match="behind its back"):
        np.asarray(device([1.0]))
    with pytest.raises(TypeError, match="mixed"):
        device([1.0]) + np.ones(1)
    with pytest.raises(TypeError):
        np.concatenate([device([1.0]), np.ones(1)])
    assert LEFT == ["__array__", "mixed", "concatenate"]
    LEFT.clear()


def test_forward_and_predictions_stay_on_the_device(
    example: tuple[fnnet.Params, Any, Any],
) -> None:
    params, x, _ = example
    there = to_device(params)
    for f in (fnnet.forward, fnnet.predict_proba, fnnet.predict):
        for inputs in (x, x[0], x[None]):
            result: Any = f(there, device(inputs))
            assert type(result) is DeviceArray, f
            np.testing.assert_allclose(result.get(), f(params, inputs), rtol=1e-12)
    assert {"matmul", "exp"} <= set(CALLS)


def test_loss_and_gradient_stay_on_the_device(example: tuple[fnnet.Params, Any, Any]) -> None:
    params, x, y = example
    there = to_device(params)
    assert fnnet.loss(there, device(x), device(y)) == pytest.approx(fnnet.loss(params, x, y))
    assert_same(fnnet.losses(there, device(x), device(y)), fnnet.losses(params, x, y))
    assert_same(fnnet.input_grads(there, device(x), device(y)), fnnet.input_grads(params, x, y))
    dz = np.ones((len(x), 4))
    assert_same(fnnet.vjp(there, device(x), device(dz)), fnnet.vjp(params, x, dz))
    s = np.arange(len(x)) / 2
    weighted = fnnet.loss_and_grads(there, device(x), device(y), weights=device(s))
    expected = fnnet.loss_and_grads(params, x, y, weights=s)
    assert weighted[0] == pytest.approx(expected[0])
    assert_same(weighted[1], expected[1])


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("output", OUTPUTS)
def test_every_activation_and_output_stays_on_the_device(activation: str, output: str) -> None:
    params, x, _ = oracles.problem((6, 5, 5, 4))
    params = fnnet.Params(params.layers, activation, output)
    there = fnnet.Params(to_device(params).layers, activation, output)
    y = np.eye(4)[[0, 1, 2, 3, 0, 1, 2]]
    loss, gradient = fnnet.loss_and_grads(there, device(x), device(y))
    expected, right = fnnet.loss_and_grads(params, x, y)
    assert loss == pytest.approx(expected)
    assert_same(gradient, right)
    for f in (fnnet.predict, fnnet.predict_proba):
        result: Any = f(there, device(x))
        assert type(result) is DeviceArray
        np.testing.assert_allclose(result.get(), f(params, x), rtol=1e-12)
    assert_same(fnnet.grads(there, device(x), device(y)), fnnet.grads(params, x, y))


def test_softmax_and_its_logarithm_stay_on_the_device(
    example: tuple[fnnet.Params, Any, Any],
) -> None:
    params, x, y = example
    logits = fnnet.forward(params, x)
    for f in (fnnet.softmax, fnnet.log_softmax):
        result: Any = f(device(logits))
        assert type(result) is DeviceArray
        np.testing.assert_allclose(result.get(), f(logits), rtol=1e-12)
    there = fnnet.cross_entropy(device(logits), device(y))
    assert there == pytest.approx(fnnet.cross_entropy(logits, y))


def test_what_recipes_add_stays_on_the_device(example: tuple[fnnet.Params, Any, Any]) -> None:
    params, x, y = example
    there = to_device(params)
    masks = [fnnet.dropout_masks(0, tree, len(x), (0.5, 0.5, 0)) for tree in (there, params)]
    _, dropped = fnnet.loss_and_grads(there, device(x), device(y), masks[0])
    assert_same(dropped, fnnet.loss_and_grads(params, x, y, masks[1])[1])
    smooth: Any = fnnet.smooth_labels(device(y), 4, 0.1)
    np.testing.assert_allclose(smooth.get(), fnnet.smooth_labels(y, 4, 0.1))
    compositions: tuple[Callable[[fnnet.Params], fnnet.Params], ...] = (
        lambda tree: fnnet.clip_by_global_norm(tree, 0.1),
        lambda tree: fnnet.decay_weights(tree, 0.1),
        lambda tree: fnnet.moving_average(tree, tree, 0.9, 3),
    )
    for f in compositions:
        assert_same(f(there), f(params))


def test_trees_stay_on_the_device(example: tuple[fnnet.Params, Any, Any]) -> None:
    params, _, _ = example
    there = to_device(params)
    vector: Any
    unravel: Any
    vector, unravel = fnnet.tree_ravel(there)
    assert type(vector) is DeviceArray
    np.testing.assert_array_equal(vector.get(), fnnet.tree_ravel(params)[0])
    assert fnnet.tree_equal(unravel(vector), there)
    assert fnnet.tree_allclose(unravel(vector), there)
    assert_same(
        fnnet.tree_map(lambda a, b: a + 2 * b, there, there),
        fnnet.tree_map(lambda a, b: a + 2 * b, params, params),
    )
    assert_same(stacked(there, there), stacked(params, params))


def test_bad_input_is_refused_on_the_device_as_elsewhere(
    example: tuple[fnnet.Params, Any, Any],
) -> None:
    params, x, _ = example
    there = to_device(params)
    with pytest.raises(ValueError, match="classes in"):
        fnnet.loss(there, device(x), device(np.full(len(x), 9)))
    with pytest.raises(ValueError, match="features"):
        fnnet.forward(there, device(x[:, :2]))
