"""The functions run on any arrays that speak NumPy's protocols, and never leave them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fnnet
from tests import oracles
from tests.protocol import CALLS, DeviceArray


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
    assert_same(fnnet.grads(there, device(x), device(y)), fnnet.grads(params, x, y))


def test_training_stays_on_the_device(example: tuple[fnnet.Params, Any, Any]) -> None:
    params, x, y = example
    here, there = fnnet.rmsprop_init(params), fnnet.rmsprop_init(to_device(params))
    for _ in range(20):
        here, loss = fnnet.train_step(here, x, y)
        there, same = fnnet.train_step(there, device(x), device(y))
        assert same == pytest.approx(loss)
    assert_same(there.params, here.params)
    assert_same(there.mean_squares, here.mean_squares)


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


def test_bad_input_is_refused_on_the_device_as_elsewhere(
    example: tuple[fnnet.Params, Any, Any],
) -> None:
    params, x, _ = example
    there = to_device(params)
    with pytest.raises(ValueError, match="classes in"):
        fnnet.loss(there, device(x), device(np.full(len(x), 9)))
    with pytest.raises(ValueError, match="features"):
        fnnet.forward(there, device(x[:, :2]))
