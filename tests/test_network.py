"""Parameters are data that nobody can change; forward, loss and gradient are the mathematics."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fnnet
from fnnet import Layer, Params
from tests import oracles

Array: TypeAlias = npt.NDArray[Any]
Make: TypeAlias = Callable[[Array], Array]

SIZES = [(6, 4), (6, 5, 4), (6, 5, 3, 4), (6, 5, 5, 3, 4), (6, 1, 4), (1, 3, 2)]
DTYPES = ["float32", "float64"]


def cast(params: Params, dtype: str) -> Params:
    return fnnet.tree_map(lambda leaf: leaf.astype(dtype), params)


def relative_error(actual: Params, expected: Array) -> float:
    vector, _ = fnnet.tree_ravel(actual)
    return float(np.linalg.norm(vector - expected) / np.linalg.norm(expected))


# Parameters


def test_no_field_can_be_assigned_deleted_or_added() -> None:
    params = fnnet.init_params(0, (3, 2))
    layer = params.layers[0]
    for node, name in ((params, "layers"), (layer, "w"), (layer, "b")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(node, name, None)
        with pytest.raises(dataclasses.FrozenInstanceError):
            delattr(node, name)
        with pytest.raises((AttributeError, TypeError)):
            node.other = 1  # type: ignore[union-attr]  # that is the test
        assert not hasattr(node, "__dict__")


def made_by_hand() -> Params:
    return Params((Layer(np.ones((3, 2)), np.zeros(2)),))


def gradient() -> Params:
    params, x, y = oracles.problem((3, 2))
    return fnnet.grads(params, x, y)


MADE = pytest.mark.parametrize(
    "params",
    [fnnet.init_params(0, (3, 2)), made_by_hand(), gradient()],
    ids=["init", "by hand", "grads"],
)


@MADE
def test_no_number_can_be_written(params: Params) -> None:
    for leaf in fnnet.tree_leaves(params):
        with pytest.raises(ValueError, match="read-only"):
            leaf[...] = 5
        with pytest.raises(ValueError, match="read-only"):
            leaf += 1
        with pytest.raises(ValueError, match="WRITEABLE"):
            leaf.setflags(write=True)


def test_an_array_given_to_a_layer_may_be_used_on() -> None:
    w, b = np.ones((3, 2)), np.zeros(2)
    layer = Layer(w, b)
    w[...] = b[...] = 7
    assert layer.w.tolist() == [[1, 1]] * 3
    assert layer.b.tolist() == [0, 0]


def test_an_array_given_as_a_read_only_view_may_be_used_on() -> None:
    w = np.ones((3, 2))
    view = w[...]
    view.setflags(write=False)
    layer = Layer(view, np.zeros(2))
    w[...] = 7
    assert layer.w.tolist() == [[1, 1]] * 3


def test_a_read_only_array_whose_owner_can_write_again_may_be_used_on() -> None:
    w = np.ones((3, 2))
    w.setflags(write=False)
    layer = Layer(w, np.zeros(2))
    w.setflags(write=True)
    w[...] = 7
    assert layer.w.tolist() == [[1, 1]] * 3


def test_memory_mapped_weights_may_be_used_on(tmp_path: Path) -> None:
    mapped = np.memmap(tmp_path / "w", np.float64, "w+", shape=(2, 2))
    layer = Layer(mapped, np.zeros(2))
    mapped[:] = 7
    assert not layer.w.any()
    assert type(layer.w) is np.ndarray


@MADE
def test_comparing_and_hashing_raise_nothing(params: Params) -> None:
    other = fnnet.init_params(0, (3, 2))
    assert params == params
    assert params not in (other, Params(params.layers))
    assert len({params, other, params.layers[0], params}) == 3


def test_weights_have_the_variance_of_he_and_biases_are_zero() -> None:
    params = fnnet.init_params(0, (1000, 400, 50), np.float64)
    for layer in params.layers:
        inputs = len(layer.w)
        n, variance = layer.w.size, 2 / inputs
        # Four standard errors of a mean and of a variance of n normal numbers.
        assert abs(np.mean(layer.w)) < 4 * np.sqrt(variance / n)
        assert abs(np.var(layer.w) / variance - 1) < 4 * np.sqrt(2 / n)
        assert not layer.b.any()


def test_activations_keep_their_scale_through_twenty_layers() -> None:
    rng = np.random.default_rng(0)
    params = fnnet.init_params(rng, (200,) * 21, np.float64)
    z = fnnet.forward(params, rng.standard_normal((50, 200)))
    assert 0.3 < np.sqrt(np.mean(z**2) / 2) < 3


@pytest.mark.parametrize("dtype", [*DTYPES, np.float32, np.dtype("f8")])
@pytest.mark.parametrize("sizes", [(3, 2), [5, 4, 3], (1, 1), (2, 3, 4, 5, 6, 7)])
def test_init_has_the_sizes_and_dtype_asked_for(sizes: tuple[int, ...], dtype: Any) -> None:
    params = fnnet.init_params(0, sizes, dtype)
    assert [layer.w.shape for layer in params.layers] == [*pairwise(sizes)]
    assert [layer.b.shape for layer in params.layers] == [(size,) for size in sizes[1:]]
    assert {leaf.dtype for leaf in fnnet.tree_leaves(params)} == {np.dtype(dtype)}


def test_a_seed_is_the_generator_it_seeds_and_a_generator_advances() -> None:
    rng = np.random.default_rng(3)
    first, second = fnnet.init_params(rng, (4, 3)), fnnet.init_params(rng, (4, 3))
    assert fnnet.tree_equal(first, fnnet.init_params(3, (4, 3)))
    assert not fnnet.tree_equal(first, second)
    assert not fnnet.tree_equal(first, fnnet.init_params(4, (4, 3)))


@pytest.mark.parametrize("sizes", [(), (3,), (3, 0), (-1, 2), (3, 2.5), (3, 0.5), (3, "2")])
def test_init_refuses_other_sizes(sizes: Any) -> None:
    with pytest.raises(ValueError, match=r"sizes must be two or more whole numbers >= 1, got \("):
        fnnet.init_params(0, sizes)


@pytest.mark.parametrize("sizes", [5, None, (3, np.nan), (3, np.inf), (3, None), "ab"])
def test_init_refuses_what_are_no_sizes(sizes: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="sizes must be"):
        fnnet.init_params(0, sizes)


@pytest.mark.parametrize(
    "dtype", ["float16", int, object, complex, ">f4", "longdouble", "none", None]
)
def test_init_refuses_other_dtypes(dtype: Any) -> None:
    with pytest.raises(ValueError, match="dtype must be float32 or float64, got "):
        fnnet.init_params(0, (3, 2), dtype)


@pytest.mark.parametrize("rng", [None, 1.5, "seed", [0, 1], np.arange(2)], ids=repr)
def test_init_refuses_what_is_neither_generator_nor_seed(rng: Any) -> None:
    with pytest.raises(TypeError, match=r"rng must be a numpy.random.Generator or a seed >= 0, go"):
        fnnet.init_params(rng, (3, 2))


@pytest.mark.parametrize("rng", [-1, True])
def test_init_refuses_seeds_that_are_none(rng: Any) -> None:
    with pytest.raises(ValueError, match=f"rng must be .* a seed >= 0, got {rng}"):
        fnnet.init_params(rng, (3, 2))


def test_seeds_may_be_of_numpys_types() -> None:
    params = fnnet.init_params(5, (3, 2))
    seeds: list[Any] = [np.int64(5), np.uint8(5), np.random.SeedSequence(5)]
    for seed in seeds:
        assert fnnet.tree_equal(fnnet.init_params(seed, (3, 2)), params)


# Forward


@pytest.mark.parametrize("sizes", SIZES)
def test_logits_are_those_of_a_network_computed_number_by_number(sizes: tuple[int, ...]) -> None:
    params, x, _ = oracles.problem(sizes)
    np.testing.assert_allclose(fnnet.forward(params, x), oracles.logits(params, x), 1e-12, 1e-13)
    single = fnnet.forward(cast(params, "float32"), x.astype(np.float32))
    np.testing.assert_allclose(single, oracles.logits(params, x), 1e-5, 1e-5)


@pytest.mark.parametrize("f", [fnnet.forward, fnnet.predict, fnnet.predict_proba])
def test_samples_batches_and_stacks_of_batches_agree(f: Callable[[Params, Array], Array]) -> None:
    params, x, _ = oracles.problem(n=12)
    rows = f(params, x)
    for i, row in enumerate(x):
        np.testing.assert_allclose(f(params, row), rows[i], 1e-13, 1e-14)
        assert f(params, row).shape == rows.shape[1:]
    for shape in ((3, 4), (2, 3, 2), (12, 1), (1, 12), (1, 1, 12)):
        stacked = f(params, x.reshape(*shape, 6))
        np.testing.assert_allclose(stacked, rows.reshape(*shape, *rows.shape[1:]), 1e-13, 1e-14)


def fortran(x: Array) -> Array:
    return np.asfortranarray(x)


def every_second(x: Array) -> Array:
    return np.repeat(np.repeat(x, 2, 0), 2, 1)[::2, ::2]


def reversed_twice(x: Array) -> Array:
    return x[::-1, ::-1].copy()[::-1, ::-1]


def read_only(x: Array) -> Array:
    x = x.copy()
    x.setflags(write=False)
    return x


def byte_swapped(x: Array) -> Array:
    return x.astype(x.dtype.newbyteorder())


def unaligned(x: Array) -> Array:
    return np.frombuffer(b"!" + x.tobytes(), x.dtype, offset=1).reshape(x.shape)


LAYOUTS = [fortran, every_second, reversed_twice, read_only, byte_swapped, unaligned]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_of_the_inputs_does_not_matter(layout: Make, dtype: str) -> None:
    params, x, y = oracles.problem((3, 5, 4), n=6)
    params, x = cast(params, dtype), x.astype(dtype)
    tolerance = 100 * float(np.finfo(dtype).eps)
    logits = fnnet.forward(params, layout(x))
    np.testing.assert_allclose(logits, fnnet.forward(params, x), tolerance, tolerance)
    assert logits.dtype == dtype
    gradient = fnnet.grads(params, layout(x), y)
    assert fnnet.tree_allclose(gradient, fnnet.grads(params, x, y), tolerance, tolerance)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_of_the_parameters_does_not_matter(layout: Make) -> None:
    params, x, y = oracles.problem((3, 5, 4), n=6)
    odd = Params(tuple(Layer(layout(lay.w), layout(lay.b[None])[0]) for lay in params.layers))
    np.testing.assert_allclose(fnnet.forward(odd, x), fnnet.forward(params, x), 1e-13, 1e-14)
    assert fnnet.tree_allclose(
        fnnet.grads(odd, x, y), fnnet.grads(params, x, y), rtol=1e-12, atol=1e-14
    )


def test_memory_mapped_inputs_give_ordinary_arrays(tmp_path: Path) -> None:
    params, x, y = oracles.problem()
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for f in (fnnet.forward, fnnet.predict, fnnet.predict_proba):
        assert type(f(params, mapped)) is np.ndarray
        assert np.array_equal(f(params, mapped), f(params, x))
    for g in (fnnet.softmax, fnnet.log_softmax):
        assert type(g(mapped)) is np.ndarray
        assert np.array_equal(g(mapped), g(x))
    assert fnnet.tree_equal(fnnet.grads(params, mapped, y), fnnet.grads(params, x, y))


@pytest.mark.parametrize("other", ["float16", "float32", "float64", "longdouble"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_results_have_the_dtype_of_the_parameters(dtype: str, other: str) -> None:
    params, x, y = oracles.problem()
    params, x, soft = cast(params, dtype), x.astype(other), np.eye(4)[y.astype(int)].astype(other)
    assert fnnet.forward(params, x).dtype == fnnet.predict_proba(params, x).dtype == dtype
    for labels in (y, y.astype(np.uint8), soft):
        loss, gradient = fnnet.loss_and_grads(params, x, labels)
        assert type(loss) is type(fnnet.loss(params, x, labels)) is float
        assert {leaf.dtype for leaf in fnnet.tree_leaves(gradient)} == {np.dtype(dtype)}


@pytest.mark.parametrize("shape", [(0, 6), (3, 0, 6), (0, 2, 6)])
def test_no_rows_give_no_results(shape: tuple[int, ...]) -> None:
    params, _, _ = oracles.problem()
    x = np.zeros(shape)
    assert fnnet.forward(params, x).shape == (*shape[:-1], 4)
    assert fnnet.predict_proba(params, x).shape == (*shape[:-1], 4)
    assert fnnet.predict(params, x).shape == shape[:-1]
    assert fnnet.softmax(x).shape == fnnet.log_softmax(x).shape == shape


# Softmax and cross-entropy


@given(st.integers(0, 2**32), st.sampled_from([(), (1,), (5,), (2, 3)]), st.integers(1, 12))
@settings(max_examples=50)
def test_softmax_is_a_distribution_that_a_shift_does_not_change(
    seed: int, shape: tuple[int, ...], k: int
) -> None:
    z = 10 * np.random.default_rng(seed).standard_normal((*shape, k))
    p = fnnet.softmax(z)
    assert np.all(p >= 0)
    np.testing.assert_allclose(p.sum(-1), 1, 1e-14)
    np.testing.assert_allclose(fnnet.softmax(z + 100), p, 1e-12, 1e-14)
    np.testing.assert_allclose(fnnet.log_softmax(z - 100), fnnet.log_softmax(z), 1e-12, 1e-12)
    np.testing.assert_allclose(np.exp(fnnet.log_softmax(z)), p, 1e-12, 1e-14)


def test_softmax_agrees_with_scipy() -> None:
    special = pytest.importorskip("scipy.special")
    z = 30 * np.random.default_rng(0).standard_normal((4, 9, 7))
    np.testing.assert_allclose(fnnet.softmax(z), special.softmax(z, -1), 1e-13, 1e-15)
    np.testing.assert_allclose(fnnet.log_softmax(z), special.log_softmax(z, -1), 1e-13, 1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [89, 1e4, 1e30])
def test_huge_logits_give_finite_losses_and_gradients_without_a_warning(
    scale: float, dtype: str
) -> None:
    z = np.array([[scale, -scale, 0], [-scale, -scale, scale]], dtype)
    np.testing.assert_allclose(fnnet.softmax(z), [[1, 0, 0], [0, 0, 1]], atol=1e-38)
    expected = [[0, -2 * scale, -scale], [-2 * scale, -2 * scale, 0]]
    np.testing.assert_allclose(fnnet.log_softmax(z), expected, 1e-6)
    assert fnnet.cross_entropy(z, np.array([1, 2])) == pytest.approx(scale)
    assert fnnet.cross_entropy(z, np.array([0, 2])) == 0
    params = cast(Params((Layer(z[:, :2] * 0 + scale / 2, np.zeros(2)),)), dtype)
    x = np.array([[1.0, -1.0], [1.0, 1.0]])
    loss, gradient = fnnet.loss_and_grads(params, x, np.array([0, 1]))
    assert np.isfinite(loss)
    assert all(np.isfinite(leaf).all() for leaf in fnnet.tree_leaves(gradient))


def test_a_logit_of_minus_infinity_is_a_class_of_probability_zero() -> None:
    z = np.array([-np.inf, 0.0, 0.0])
    assert fnnet.softmax(z).tolist() == [0, 0.5, 0.5]
    np.testing.assert_array_equal(fnnet.log_softmax(z), [-np.inf, -np.log(2), -np.log(2)])


def test_an_impossible_class_that_is_not_the_label_costs_nothing() -> None:
    z = np.array([[-np.inf, 0.0, 0.0]])
    assert fnnet.cross_entropy(z, np.array([1])) == pytest.approx(np.log(2))


@pytest.mark.parametrize("soft", [False, True])
def test_cross_entropy_is_the_mean_of_the_log_likelihoods(soft: bool) -> None:
    rng = np.random.default_rng(0)
    z = 20 * rng.standard_normal((50, 7))
    y = oracles.soft_labels(rng, 50, 7) if soft else rng.integers(0, 7, 50)
    loss = fnnet.cross_entropy(z, y)
    assert type(loss) is float
    assert loss == pytest.approx(oracles.cross_entropy(z, y), rel=1e-13)


def test_cross_entropy_agrees_with_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    params, x, y = oracles.problem(n=50)
    p = fnnet.predict_proba(params, x)
    expected = metrics.log_loss(y, p, labels=range(4))
    assert fnnet.loss(params, x, y) == pytest.approx(expected, rel=1e-12)


def test_one_hot_labels_are_classes() -> None:
    params, x, y = oracles.problem()
    rows = np.eye(4)[y.astype(int)]
    for same in (rows.astype(int), rows.astype(bool), rows.astype("u1"), y[:, None], y.tolist()):
        assert fnnet.loss(params, x, same) == fnnet.loss(params, x, rows)
        assert fnnet.tree_equal(fnnet.grads(params, x, same), fnnet.grads(params, x, rows))
    assert fnnet.loss(params, x, y > 1) == fnnet.loss(params, x, (y > 1).astype(int))
    for dtype in (np.uint8, np.int8, np.int32, np.uint64):
        labels: Array = y.astype(dtype)
        assert fnnet.loss(params, x, labels) == fnnet.loss(params, x, rows)
        assert fnnet.tree_equal(fnnet.grads(params, x, labels), fnnet.grads(params, x, rows))


@pytest.mark.parametrize("k", [2, 10, 1000])
def test_distributions_in_half_precision_are_labels(k: int) -> None:
    y = oracles.soft_labels(np.random.default_rng(0), 20, k)
    z = np.random.default_rng(1).standard_normal((20, k))
    loss = fnnet.cross_entropy(z, y.astype(np.float16))
    assert loss == pytest.approx(oracles.cross_entropy(z, y), rel=1e-3)


class Device(np.ndarray[Any, Any]):
    """An array of another library, as far as the protocols of NumPy show."""


def test_arrays_of_another_kind_give_arrays_of_that_kind() -> None:
    params, x, y = oracles.problem()
    theirs = fnnet.tree_map(lambda leaf: leaf.copy().view(Device), params)
    state = fnnet.rmsprop_update(fnnet.rmsprop_init(theirs), fnnet.grads(theirs, x, y))
    expected = fnnet.rmsprop_update(fnnet.rmsprop_init(params), fnnet.grads(params, x, y))
    assert {type(leaf) for leaf in fnnet.tree_leaves(state.params)} == {Device}
    assert type(fnnet.forward(theirs, x.view(Device))) is Device
    assert fnnet.tree_allclose(state.params, expected.params, rtol=1e-12, atol=1e-14)


def test_predictions_are_the_classes_of_the_largest_logits() -> None:
    params, x, _ = oracles.problem(n=40)
    classes = fnnet.predict(params, x)
    assert classes.dtype == np.intp
    z = oracles.logits(params, x)
    assert classes.tolist() == [row.index(max(row)) for row in z.tolist()]
    assert len(set(classes.tolist())) > 1


# Gradients


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
def test_gradients_are_the_slopes_of_the_loss(sizes: tuple[int, ...], soft: bool) -> None:
    params, x, y = oracles.smooth_problem(sizes, soft)
    vector, unravel = fnnet.tree_ravel(params)
    expected = oracles.central_differences(
        lambda at: oracles.cross_entropy(oracles.logits(unravel(at), x), y),
        vector.astype(np.float64),
    )
    assert relative_error(fnnet.grads(params, x, y), expected) < 1e-7


def test_labels_that_all_but_add_up_to_one_have_the_slopes_of_their_loss() -> None:
    params, x = fnnet.init_params(0, (3, 2), np.float64), np.ones((4, 3))
    y = np.full((4, 2), 0.5) * 1.0009
    vector, unravel = fnnet.tree_ravel(params)
    slopes = oracles.central_differences(
        lambda v: fnnet.loss(unravel(v), x, y), vector.astype(float)
    )
    np.testing.assert_allclose(fnnet.tree_ravel(fnnet.grads(params, x, y))[0], slopes, atol=1e-8)


def test_masks_are_one_for_each_layer() -> None:
    params, x, y = fnnet.init_params(0, (4, 3, 2)), np.ones((2, 4)), np.zeros(2, int)
    with pytest.raises(ValueError, match="masks must be one for each of 2 layers, got 0"):
        fnnet.loss_and_grads(params, x, y, ())


@pytest.mark.parametrize("n", [1, 2, 7])
@pytest.mark.parametrize("sizes", [(1, 2), (1, 1, 2), (3, 1, 1, 2), (2, 4, 1)])
def test_gradients_hold_for_the_smallest_networks_and_batches(
    sizes: tuple[int, ...], n: int
) -> None:
    params, x, y = oracles.smooth_problem(sizes)
    vector, unravel = fnnet.tree_ravel(params)
    expected = oracles.central_differences(
        lambda at: oracles.cross_entropy(oracles.logits(unravel(at), x[:n]), y[:n]),
        vector.astype(np.float64),
    )
    actual, _ = fnnet.tree_ravel(fnnet.grads(params, x[:n], y[:n]))
    assert np.linalg.norm(actual - expected) <= 1e-7 * max(1, float(np.linalg.norm(expected)))


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
def test_gradients_agree_with_pytorch(sizes: tuple[int, ...], soft: bool) -> None:
    torch = pytest.importorskip("torch")
    params, x, y = oracles.problem(sizes, n=33, soft=soft)
    leaves = [torch.tensor(np.array(leaf)).requires_grad_() for leaf in fnnet.tree_leaves(params)]
    h = torch.tensor(x)
    for i in range(0, len(leaves), 2):
        h = h @ leaves[i] + leaves[i + 1]
        h = torch.relu(h) if i < len(leaves) - 2 else h
    expected = torch.nn.functional.cross_entropy(h, torch.tensor(y))
    expected.backward()
    loss, gradient = fnnet.loss_and_grads(params, x, y)
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    flat = np.concatenate([leaf.grad.numpy().ravel() for leaf in leaves])
    assert relative_error(gradient, flat) < 1e-12
    single = fnnet.grads(cast(params, "float32"), x, y)
    assert relative_error(single, flat) < 1e-5


def test_the_derivative_of_a_unit_at_zero_is_zero() -> None:
    one = np.ones((1, 1))
    params = Params((Layer(one, np.zeros(1)), Layer(np.array([[1.0, -1.0]]), np.zeros(2))))
    gradient = fnnet.grads(params, np.zeros((1, 1)), np.array([0]))
    assert gradient.layers[0].b.tolist() == [0]
    assert gradient.layers[1].b.tolist() == [-0.5, 0.5]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", SIZES)
def test_loss_and_grads_is_both(sizes: tuple[int, ...], dtype: str) -> None:
    params, x, y = oracles.problem(sizes)
    params = cast(params, dtype)
    loss, gradient = fnnet.loss_and_grads(params, x, y)
    assert loss == fnnet.loss(params, x, y)
    assert fnnet.tree_equal(gradient, fnnet.grads(params, x, y))
    assert type(gradient) is Params
    assert fnnet.tree_equal(
        fnnet.tree_map(np.zeros_like, gradient), fnnet.tree_map(np.zeros_like, params)
    )


@pytest.mark.parametrize("size", [1, 4, 5, 6, 10, 11])
def test_batch_gradients_weighted_by_size_average_to_the_full_gradient(size: int) -> None:
    params, x, y = oracles.problem(n=11)
    parts = [slice(start, start + size) for start in range(0, 11, size)]
    weights = [len(x[rows]) / 11 for rows in parts]
    results = [fnnet.loss_and_grads(params, x[rows], y[rows]) for rows in parts]
    mean = fnnet.tree_map(
        lambda *leaves: sum(w * leaf for w, leaf in zip(weights, leaves, strict=True)),
        *[gradient for _, gradient in results],
    )
    loss, full = fnnet.loss_and_grads(params, x, y)
    assert fnnet.tree_allclose(mean, full, rtol=1e-12, atol=1e-14)
    assert sum(w * part for w, (part, _) in zip(weights, results, strict=True)) == pytest.approx(
        loss, rel=1e-13
    )


@given(st.permutations(range(7)), st.booleans())
@settings(max_examples=50)
def test_the_order_of_a_batch_does_not_matter(order: list[int], soft: bool) -> None:
    params, x, y = oracles.problem(soft=soft)
    loss, gradient = fnnet.loss_and_grads(params, x[order], y[order])
    assert loss == pytest.approx(fnnet.loss(params, x, y), rel=1e-13)
    assert fnnet.tree_allclose(gradient, fnnet.grads(params, x, y), rtol=1e-11, atol=1e-14)


def test_the_gradient_of_a_hidden_unit_that_is_off_is_zero() -> None:
    params, x, y = oracles.problem()
    first = params.layers[0]
    dead = Layer(first.w, np.array([-100.0, *first.b[1:]]))
    gradient = fnnet.grads(Params((dead, params.layers[1])), x, y)
    assert not gradient.layers[0].w[:, 0].any()
    assert gradient.layers[0].w[:, 1:].any()
    assert not gradient.layers[1].w[0].any()


# Ensembles


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
def test_an_ensemble_is_its_members_side_by_side(
    sizes: tuple[int, ...], own: bool, soft: bool
) -> None:
    problems = [oracles.problem(sizes, seed=seed, soft=soft) for seed in range(3)]
    members = [member for member, _, _ in problems]
    together = fnnet.tree_map(lambda *leaves: np.stack(leaves), *members)
    xs, ys = zip(*[(x, y) for _, x, y in (problems if own else problems[:1] * 3)], strict=True)
    x, y = (np.stack(xs), np.stack(ys)) if own else (xs[0], ys[0])
    logits, (loss, gradient) = (
        fnnet.forward(together, x),
        fnnet.loss_and_grads(together, x, y),
    )
    losses = fnnet.losses(together, x, y).mean(-1)
    assert losses.shape == (3,)
    assert type(loss) is float
    assert loss == fnnet.loss(together, x, y) == pytest.approx(losses.sum(), rel=1e-12)
    for e, member in enumerate(members):
        one = fnnet.tree_map(lambda leaf, e=e: leaf[e], gradient)
        expected_loss, expected = fnnet.loss_and_grads(member, xs[e], ys[e])
        np.testing.assert_allclose(logits[e], fnnet.forward(member, xs[e]), 1e-12, 1e-13)
        np.testing.assert_allclose(losses[e], expected_loss, 1e-12)
        assert fnnet.tree_allclose(one, expected, rtol=1e-11, atol=1e-14)


def test_an_ensemble_refuses_inputs_for_another_number_of_members() -> None:
    params, _, _ = oracles.problem()
    together = fnnet.tree_map(lambda *leaves: np.stack(leaves), params, params)
    with pytest.raises(ValueError, match="x must"):
        fnnet.forward(together, np.zeros((3, 5, 6)))


# Bad input

X, Y = np.zeros((5, 6)), np.arange(5) % 4
TAKES_X: list[Callable[[Params, Any], object]] = [fnnet.forward, fnnet.predict, fnnet.predict_proba]
TAKES_XY: list[Callable[[Params, Any, Any], object]] = [
    fnnet.loss,
    fnnet.grads,
    fnnet.loss_and_grads,
]


@pytest.mark.parametrize("dtype", [object, complex, str, "m8[s]", "M8[s]"])
def test_inputs_that_are_no_numbers_are_refused(dtype: Any) -> None:
    params, _, _ = oracles.problem()
    wrong = X.astype(int).astype(dtype)
    for f in TAKES_X:
        with pytest.raises(TypeError, match=r"^x must be an array of numbers, got dtype "):
            f(params, wrong)
    for g in TAKES_XY:
        with pytest.raises(TypeError, match=r"^x must be an array of numbers, got dtype "):
            g(params, wrong, Y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("make", [list, "i8", "i1", "u2", "b1", "f2", "f4", "f8"])
def test_numbers_of_any_kind_are_inputs(make: Any, dtype: str) -> None:
    params, _, y = oracles.problem()
    params = cast(params, dtype)
    ones = np.random.default_rng(0).integers(0, 2, (7, 6))
    given: Any = ones.tolist() if make is list else ones.astype(make)
    exact = ones.astype(dtype)
    assert np.array_equal(fnnet.forward(params, given), fnnet.forward(params, exact))
    assert fnnet.forward(params, given).dtype == dtype
    loss, gradient = fnnet.loss_and_grads(params, given, y.tolist())
    assert loss == fnnet.loss(params, exact, y)
    assert fnnet.tree_equal(gradient, fnnet.grads(params, exact, y))


def test_a_data_frame_is_an_array_of_numbers() -> None:
    pandas = pytest.importorskip("pandas")
    params, x, y = oracles.problem()
    frame, column = pandas.DataFrame(x), pandas.Series(y)
    assert np.array_equal(fnnet.forward(params, frame), fnnet.forward(params, x))
    assert fnnet.loss(params, frame, column) == fnnet.loss(params, x, y)


@pytest.mark.parametrize("dtype", [object, complex, bool, str, int, np.uint8, "m8[s]", "M8[s]"])
def test_logits_that_are_no_floats_are_refused(dtype: Any) -> None:
    wrong = X.astype(int).astype(dtype)
    for h in (fnnet.softmax, fnnet.log_softmax, lambda z: fnnet.cross_entropy(z, Y)):
        with pytest.raises(TypeError, match="logits must be an array of floats, got dtype "):
            h(wrong)


def test_bytes_are_told_what_makes_inputs_of_them_and_it_does() -> None:
    params, _, _ = oracles.problem()
    images = np.arange(42, dtype=np.uint8).reshape(7, 2, 3)
    x = images.reshape(7, 6)
    with pytest.raises(TypeError, match=r"^x must be floats, got uint8: write ") as caught:
        fnnet.forward(params, x)
    for advice in ("as_inputs(x) for images", "x / 255 for their rows", "x.astype('float64') for"):
        assert advice in str(caught.value)
    scaled = fnnet.forward(params, x / 255)
    assert np.array_equal(fnnet.forward(params, fnnet.as_inputs(images, np.float64)), scaled)
    assert np.array_equal(
        fnnet.forward(params, x.astype("float64")), fnnet.forward(params, 1.0 * x)
    )


@pytest.mark.parametrize("shape", [(5, 5), (5, 7), (5, 0), (), (5,), (6, 5), (5, 6, 1)])
def test_inputs_of_another_width_are_refused(shape: tuple[int, ...]) -> None:
    params, _, _ = oracles.problem()
    message = r"x must have 6 features on its last axis, as the first layer has, got shape \("
    for f in TAKES_X:
        with pytest.raises(ValueError, match=message):
            f(params, np.zeros(shape))
    batch = message if len(shape) > 1 else r"x must be a batch of shape \(N, d\) with N >= 1, got "
    for g in TAKES_XY:
        with pytest.raises(ValueError, match=batch):
            g(params, np.zeros(shape), Y)


@pytest.mark.parametrize("shape", [(6,), (0, 6), (1, 5, 6), (2, 5, 6)])
def test_what_is_no_batch_has_no_loss(shape: tuple[int, ...]) -> None:
    params, _, _ = oracles.problem()
    for g in TAKES_XY:
        with pytest.raises(
            ValueError, match=r"x must be a batch of shape \(N, d\) with N >= 1, got shape \("
        ):
            g(params, np.zeros(shape), Y)


LABEL_ERRORS: list[tuple[Any, type[Exception], str]] = [
    (Y - 1, ValueError, r"y must hold classes in \[0, 4\), got values from -1 to 2"),
    (Y + 1, ValueError, r"y must hold classes in \[0, 4\), got values from 1 to 4"),
    ((Y + 252).astype(np.uint8), ValueError, r"y must hold classes in \[0, 4\)"),
    (np.full(5, 2**63, np.uint64), ValueError, r"y must hold classes in \[0, 4\)"),
    (np.full(5, -(2**63)), ValueError, r"y must hold classes in \[0, 4\)"),
    (Y[:4], ValueError, r"y must hold 5 classes, shape \(5,\), got shape \(4,\)"),
    (Y[:0], ValueError, r"y must hold 5 classes, shape \(5,\), got shape \(0,\)"),
    (Y[0], ValueError, r"y must hold 5 classes, shape \(5,\), got shape \(\)"),
    (Y[:, None, None], ValueError, r"y must hold 5 classes, .* got shape \(5, 1, 1\)"),
    (Y[None], ValueError, r"y must hold 5 classes, shape \(5,\), got shape \(1, 5\)"),
    (np.eye(3, dtype=int)[Y % 3], ValueError, r"y must hold 5 classes, .* got shape \(5, 3\)"),
    (np.eye(4, dtype=int)[Y] * 2, ValueError, "each row of y must be a distribution"),
    (Y * 1.0, ValueError, r"shape \(5, 4\), got \(5,\): .* write y.astype\(int\)"),
    (np.full((5, 3), 1 / 3), ValueError, r"y as distributions must have shape \(5, 4\), got "),
    (np.full((4, 4), 0.25), ValueError, r"y as distributions must have shape \(5, 4\), got "),
    (np.full((5, 4), 0.26), ValueError, "each row of y must be a distribution"),
    (np.full((5, 4), np.nan), ValueError, "y must hold numbers, got NaN in row 0, column 0"),
    (np.full((5, 4), np.inf), ValueError, "each row of y must be a distribution"),
    (np.full((5, 4), [1.5, -0.5, 0, 0]), ValueError, "each row of y must be a distribution"),
    (np.zeros((5, 4)), ValueError, "each row of y must be a distribution"),
    (Y.astype(object), TypeError, "y must be an array of numbers, got object: write `classes, y ="),
    (
        Y.astype(str),
        TypeError,
        r"y must be an array of numbers, got <U.*: write `classes, y = np.un",
    ),
    (Y.astype(complex), TypeError, "y must be an array of ints or floats, got dtype complex"),
    (Y.astype("m8[s]"), TypeError, "y must be an array of ints or floats, got dtype timedelta"),
    (None, TypeError, "y must be an array of numbers, got object"),
]


@pytest.mark.parametrize(("y", "error", "message"), LABEL_ERRORS)
def test_labels_that_do_not_label_the_batch_are_refused(
    y: Any, error: type[Exception], message: str
) -> None:
    params, _, _ = oracles.problem()
    for g in TAKES_XY:
        with pytest.raises(error, match=message):
            g(params, X, y)
    with pytest.raises(error, match=message):
        fnnet.cross_entropy(np.zeros((5, 4)), y)


@pytest.mark.parametrize("shape", [(4,), (), (0, 4), (5, 0)])
def test_what_are_no_logits_of_a_batch_have_no_cross_entropy(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"logits must have shape \(N, K\) with N, K >= 1, got \("):
        fnnet.cross_entropy(np.zeros(shape), Y)


@pytest.mark.parametrize("f", [fnnet.softmax, fnnet.log_softmax])
def test_there_is_no_softmax_of_no_classes(f: Callable[[Array], Array]) -> None:
    with pytest.raises(ValueError, match="logits must"):
        f(np.zeros((2, 0)))


def layers(*shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> Params:
    return Params(tuple(Layer(np.ones(w), np.ones(b)) for w, b in shapes))


MISFITS = [
    (layers(((6, 3), (3,)), ((2, 4), (4,))), "layer 1: w must have 3 inputs"),
    (layers(((6, 3), (2,)), ((3, 4), (4,))), r"layer 0: b must fit w of shape \(6, 3\)"),
    (layers(((6, 3), (5, 3)), ((3, 4), (4,))), r"layer 0: b must fit w of shape \(6, 3\)"),
    (layers(((6, 4), (3,))), r"layer 0: b must fit w of shape \(6, 4\)"),
]


@pytest.mark.parametrize(("params", "message"), MISFITS)
def test_layers_that_do_not_fit_are_named(params: Params, message: str) -> None:
    for f in TAKES_X:
        with pytest.raises(ValueError, match=message):
            f(params, X)
    for g in TAKES_XY:
        with pytest.raises(ValueError, match=message):
            g(params, X, Y)


def test_layers_that_a_map_made_unfit_are_named() -> None:
    params = fnnet.tree_map(lambda leaf: leaf[:2], fnnet.init_params(0, (2, 3, 4)))
    for call in (lambda x: fnnet.forward(params, x), lambda x: fnnet.grads(params, x, Y[:2])):
        with pytest.raises(ValueError, match=r"layer 0: b must fit w of shape \(2, 3\)"):
            call(X[:2, :2])


def test_a_bias_that_a_map_made_short_is_not_stretched() -> None:
    params = fnnet.tree_map(
        lambda leaf: leaf if leaf.ndim == 2 else leaf[:1], fnnet.init_params(0, (6, 4))
    )
    with pytest.raises(ValueError, match=r"layer 0: b must fit w of shape \(6, 4\)"):
        fnnet.forward(params, X)


def test_parameters_that_a_map_made_integers_are_refused() -> None:
    params = fnnet.tree_map(lambda leaf: leaf.astype(int), fnnet.init_params(0, (6, 4)))
    with pytest.raises(TypeError, match="params must be arrays of float32 or float64, got int64"):
        fnnet.forward(params, X + 0.5)


def test_parameters_in_half_precision_are_refused_and_told_the_way_out() -> None:
    half = cast(fnnet.init_params(0, (6, 4)), "float16")
    message = r"^params must be arrays of float32 or float64, got float16: write tree_map\("
    for call in (lambda: fnnet.forward(half, X), lambda: fnnet.grads(half, X, Y)):
        with pytest.raises(TypeError, match=message):
            call()
    single = fnnet.tree_map(lambda leaf: leaf.astype(np.float32), half)
    assert fnnet.forward(single, X).dtype == np.float32


def test_parameters_of_two_dtypes_are_refused() -> None:
    params = Params((Layer(np.ones((6, 4)), np.ones(4, np.float32)),))
    with pytest.raises(TypeError, match="params must be arrays of one float dtype, got "):
        fnnet.forward(params, X)


def test_a_bias_is_not_stretched_to_the_width_of_its_layer() -> None:
    params = layers(((6, 4), (1,)))
    with pytest.raises(ValueError, match=r"layer 0: b must fit w of shape \(6, 4\)"):
        fnnet.forward(params, X)
    with pytest.raises(ValueError, match=r"layer 0: b must fit w of shape \(6, 4\)"):
        fnnet.grads(params, X, Y)


def test_a_network_without_layers_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"params must have a tuple of at least one layer, got \(\)"
    ):
        fnnet.forward(Params(()), X)


@pytest.mark.parametrize("dtype", [int, complex, object])
def test_parameters_that_are_no_floats_are_refused(dtype: Any) -> None:
    params = Params((Layer(np.ones((6, 4), dtype), np.ones(4, dtype)),))
    for call in (
        lambda: fnnet.forward(params, X),
        lambda: fnnet.grads(params, X, Y),
    ):
        with pytest.raises(TypeError, match="params must"):
            call()
