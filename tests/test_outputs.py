"""Three outputs, one equation (5): predictions, losses and gradients of each."""

from __future__ import annotations

import warnings
from itertools import count
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

import fnnet
from fnnet import Layer, Params
from tests import oracles
from tests.oracles import Matrix

Array: TypeAlias = npt.NDArray[Any]

OUTPUTS = ("softmax", "sigmoid", "identity")
SIZES = (6, 5, 5, 4)


def labels(rng: np.random.Generator, output: str, n: int, k: int) -> Matrix:
    """Rows in the output's domain, none of them at its edges."""
    if output == "softmax":
        return oracles.soft_labels(rng, n, k)
    return rng.random((n, k)) if output == "sigmoid" else 3 * rng.standard_normal((n, k))


def problem(
    output: str, sizes: tuple[int, ...] = SIZES, n: int = 7, seed: int = 0
) -> tuple[Params, Matrix, Matrix]:
    rng = np.random.default_rng(seed)
    params = fnnet.init_params(rng, sizes, np.float64, output=output)
    params = fnnet.tree_map(lambda leaf: leaf + 0.1 * rng.standard_normal(leaf.shape), params)
    return params, rng.standard_normal((n, sizes[0])), labels(rng, output, n, sizes[-1])


def smooth(output: str, sizes: tuple[int, ...] = SIZES) -> tuple[Params, Matrix, Matrix]:
    """A `problem` none of whose hidden units is so near 0 that a small step switches it."""
    found = (problem(output, sizes, seed=seed) for seed in count())
    return next(p for p in found if oracles.distance_from_kinks(*p[:2]) > 1e-3)


def alone(output: str, k: int = 4) -> Params:
    """A network whose logits are its inputs."""
    return Params((Layer(np.eye(k), np.zeros(k)),), output=output)


def stacked(*members: Params) -> Params:
    return fnnet.tree_map(lambda *leaves: np.stack(leaves), *members)


def losses_of_pytorch(torch: Any, output: str, z: Any, y: Any) -> Any:
    """Of each sample; PyTorch's means over K are undone."""
    f = torch.nn.functional
    if output == "softmax":
        return f.cross_entropy(z, y, reduction="none")
    if output == "sigmoid":
        return f.binary_cross_entropy_with_logits(z, y, reduction="none").sum(-1)
    return f.mse_loss(z, y, reduction="none").sum(-1) / 2


# Losses and predictions


@pytest.mark.parametrize("output", OUTPUTS)
def test_losses_predictions_and_gradients_are_those_of_pytorch(output: str) -> None:
    torch = pytest.importorskip("torch")
    params, x, y = problem(output)
    theirs = [torch.tensor(leaf.copy(), requires_grad=True) for leaf in fnnet.tree_leaves(params)]
    inputs = torch.tensor(x, requires_grad=True)
    h = inputs
    for i in range(0, len(theirs), 2):
        z = h @ theirs[i] + theirs[i + 1]
        h = torch.relu(z)
    each = losses_of_pytorch(torch, output, z, torch.tensor(y))
    each.mean().backward()
    np.testing.assert_allclose(fnnet.losses(params, x, y), each.detach().numpy(), 1e-11)
    assert fnnet.loss(params, x, y) == pytest.approx(each.mean().item(), rel=1e-12)
    for ours, leaf in zip(fnnet.tree_leaves(fnnet.grads(params, x, y)), theirs, strict=True):
        np.testing.assert_allclose(ours, leaf.grad.numpy(), 1e-9, 1e-13)
    np.testing.assert_allclose(fnnet.input_grads(params, x, y), inputs.grad.numpy(), 1e-9, 1e-13)
    p: dict[str, Any] = {"softmax": lambda z: torch.softmax(z, -1), "sigmoid": torch.sigmoid}
    expected = p.get(output, lambda z: z)(z).detach().numpy()
    np.testing.assert_allclose(fnnet.predict_proba(params, x), expected, 1e-12)


def test_losses_are_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    params, x, _ = problem("sigmoid")
    y = rng.integers(0, 2, (7, 4))
    y[0], y[1] = 0, 1  # both classes of each label
    p = fnnet.predict_proba(params, x)
    expected = sum(metrics.log_loss(y[:, k], p[:, k]) for k in range(4))
    assert fnnet.loss(params, x, y) == pytest.approx(expected, rel=1e-12)
    params, x, numbers = problem("identity")
    expected = metrics.mean_squared_error(numbers, fnnet.predict(params, x)) * 4 / 2
    assert fnnet.loss(params, x, numbers) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("output", OUTPUTS)
def test_the_derivative_by_the_logits_is_p_minus_y_for_all(output: str) -> None:
    rng = np.random.default_rng(0)
    z, y = 3 * rng.standard_normal((5, 4)), labels(rng, output, 5, 4)
    params = alone(output)
    expected = (fnnet.predict_proba(params, z) - y) / 5
    np.testing.assert_allclose(fnnet.input_grads(params, z, y), expected, 1e-12, 1e-15)
    slopes = oracles.central_differences(
        lambda at: fnnet.loss(params, at.reshape(5, 4), y), z.ravel()
    )
    np.testing.assert_allclose(expected.ravel(), slopes, 1e-6, 1e-8)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sizes", [(6, 4), (6, 5, 4), (6, 5, 5, 1)])
def test_gradients_are_the_slopes_of_the_loss(
    output: str, masked: bool, sizes: tuple[int, ...]
) -> None:
    params, x, y = smooth(output, sizes)
    rates = (0.2, 0.5, 0.5)[: len(sizes) - 1]
    masks = fnnet.dropout_masks(0, params, len(x), rates) if masked else None
    vector, unravel = fnnet.tree_ravel(params)
    expected = oracles.central_differences(
        lambda at: fnnet.loss_and_grads(unravel(at), x, y, masks)[0], np.asarray(vector)
    )
    ours = fnnet.tree_ravel(fnnet.loss_and_grads(params, x, y, masks)[1])[0]
    np.testing.assert_allclose(ours, expected, 1e-5, 1e-7)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
def test_members_of_an_ensemble_are_what_they_are_alone(output: str, own: bool) -> None:
    problems = [problem(output, seed=seed) for seed in range(3)]
    together = stacked(*(params for params, _, _ in problems))
    batches = [(x, y) for _, x, y in problems]
    x, y = (np.stack([p[i] for p in batches]) if own else batches[0][i] for i in (0, 1))
    loss, gradient = fnnet.loss_and_grads(together, x, y)
    assert together.output == gradient.output == output
    expected = 0.0
    for e, (member, *_) in enumerate(problems):
        data = (x[e], y[e]) if own else (x, y)
        one, theirs = fnnet.loss_and_grads(member, *data)
        expected += one
        ours = fnnet.tree_map(lambda leaf, e=e: leaf[e], gradient)
        assert fnnet.tree_allclose(ours, theirs, rtol=1e-10, atol=1e-13)
        for f in (fnnet.predict, fnnet.predict_proba):
            np.testing.assert_allclose(f(together, x)[e], f(member, data[0]), 1e-11)
        np.testing.assert_allclose(fnnet.losses(together, x, y)[e], fnnet.losses(member, *data))
    assert loss == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_loss_is_the_mean_of_the_losses(output: str, dtype: str) -> None:
    params, x, y = problem(output)
    params = fnnet.tree_map(lambda leaf: leaf.astype(dtype), params)
    each = fnnet.losses(params, x, y)
    assert each.shape == (7,)
    assert each.dtype == dtype
    assert fnnet.loss(params, x, y) == pytest.approx(float(each.mean()), rel=1e-6)
    assert type(fnnet.loss(params, x, y)) is float


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_logits_have_finite_losses_and_gradients(output: str, dtype: str) -> None:
    z = np.array([[-1e4, 1e4], [1e4, -1e4], [0, 1e4], [-1e4, 0]], dtype)
    y = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])
    params = fnnet.tree_map(lambda leaf: leaf.astype(dtype), alone(output, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss, gradient = fnnet.loss_and_grads(params, z, y)
        each = fnnet.losses(params, z, y)
    assert np.isfinite(loss)
    assert np.isfinite(fnnet.tree_ravel(gradient)[0]).all()
    if output == "sigmoid":
        np.testing.assert_allclose(each, [2e4, 0, np.log(2), np.log(2)], 1e-6)


# Predictions


@pytest.mark.parametrize("k", [1, 3])
def test_predictions_have_their_shape_however_small_it_is(k: int) -> None:
    for n in (1, 2):
        x = np.ones((n, 6))
        for output, shape in (("softmax", ()), ("sigmoid", (k,)), ("identity", (k,))):
            params = fnnet.init_params(0, (6, 5, k), output=output)
            assert fnnet.predict(params, x).shape == (n, *shape)
            assert fnnet.predict(params, x[0]).shape == shape
            assert fnnet.predict(params, x[None]).shape == (1, n, *shape)
            assert fnnet.predict_proba(params, x).shape == (n, k)
            together = stacked(params, params)
            assert fnnet.predict(together, x).shape == (2, n, *shape)


def test_a_label_is_predicted_where_it_is_more_probable_than_not() -> None:
    params, z = alone("sigmoid", 3), np.array([[-1, 0, 2.0], [1e-9, -1e-9, 0]])
    assert fnnet.predict(params, z).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert fnnet.predict(params, z).dtype.kind == "i"
    p = fnnet.predict_proba(params, z)
    np.testing.assert_allclose(p, 1 / (1 + np.exp(-z)), 1e-15)


def test_numbers_are_predicted_as_they_are() -> None:
    params, x, _ = problem("identity")
    z = fnnet.forward(params, x)
    assert np.array_equal(fnnet.predict(params, x), z)
    assert np.array_equal(fnnet.predict_proba(params, x), z)


# Labels in many forms


@pytest.mark.parametrize("output", ["sigmoid", "identity"])
def test_labels_of_one_number_need_no_second_axis(output: str) -> None:
    params, x, _ = problem(output, (6, 5, 1))
    y = np.array([0, 1, 1, 0, 1, 0, 0])
    forms: list[Any] = [y, y[:, None], y.astype(float), y.astype(bool), y.tolist()]
    forms += [y.astype(np.uint8)[:, None], y[:, None].tolist(), y.astype(np.float16)]
    assert len({fnnet.loss(params, x, form) for form in forms}) == 1
    members = stacked(params, params)
    own = np.stack([y, 1 - y])
    expected = fnnet.loss(params, x, y) + fnnet.loss(params, x, 1 - y)
    assert fnnet.loss(members, x, own) == pytest.approx(expected, rel=1e-12)
    assert fnnet.loss(members, x, own[..., None]) == fnnet.loss(members, x, own)


def test_several_labels_may_be_probabilities() -> None:
    params, x, y = problem("sigmoid")
    zero, one = (fnnet.losses(params, x, np.full((7, 4), v)) for v in (0, 1))
    assert fnnet.losses(params, x, np.full((7, 4), 0.25)) == pytest.approx(0.75 * zero + one / 4)
    assert np.isfinite(fnnet.loss(params, x, y))


@pytest.mark.parametrize(
    ("output", "y", "message"),
    [
        ("sigmoid", [[0, 2]], "'sigmoid' must hold 0, 1 or probabilities .*, got values from 0 to"),
        ("sigmoid", [[-0.1, 1]], "'sigmoid' must hold 0, 1 or probabilities between them, got"),
        ("sigmoid", [0], r"y for the output 'sigmoid' must have shape \(1, 2\), got \(1,\)"),
        ("sigmoid", [[0.5, np.nan]], "y must hold numbers, got NaN in row 0, column 1"),
        ("identity", [[0, np.inf]], "y for the output 'identity' must be finite, got infinite"),
        ("identity", [[np.nan, 1]], "y must hold numbers, got NaN in row 0, column 0"),
        ("identity", [[1, 2, 3]], r"y for the output 'identity' must have shape \(1, 2\), got"),
        ("softmax", [2], r"y must hold classes in \[0, 2\), got values from 2 to 2"),
        ("softmax", [-1], r"y must hold classes in \[0, 2\), got values from -1 to -1"),
        ("softmax", [0.0], "classes are whole numbers, write"),
        ("softmax", [[0.5, 0.6]], "each row of y must be a distribution"),
        ("softmax", [[2, 0]], "each row of y must be a distribution"),
        ("softmax", [[np.nan, 1]], "y must hold numbers, got NaN in row 0, column 0"),
    ],
)
def test_labels_outside_of_an_outputs_domain_are_refused(output: str, y: Any, message: str) -> None:
    params, x = alone(output, 2), np.ones((1, 2))
    for f in (fnnet.loss, fnnet.losses, fnnet.grads, fnnet.loss_and_grads, fnnet.input_grads):
        with pytest.raises(ValueError, match=message):
            f(params, x, y)
    with pytest.raises(ValueError, match=message):
        fnnet.evaluate(params, fnnet.Split(x, y))


@pytest.mark.parametrize("output", ["linear", "Softmax", None, 1])
def test_an_unknown_output_is_answered_with_the_known_ones(output: Any) -> None:
    message = "^output must be one of 'softmax', 'sigmoid', 'identity', got "
    with pytest.raises(ValueError, match=message):
        fnnet.init_params(0, (3, 2), output=output)
    with pytest.raises(ValueError, match=message):
        fnnet.forward(Params(fnnet.init_params(0, (3, 2)).layers, output=output), np.ones((1, 3)))


# Classes that cannot be


@pytest.mark.parametrize(
    ("bias", "y", "expected"),
    [
        ((-np.inf, 0, -np.inf), [[0, 1, 0]], 0.0),
        ((-np.inf, 0, 0), [[0, 0.5, 0.5]], np.log(2)),
        ((1, -np.inf, 2), [2], np.log1p(np.exp(-1))),
    ],
)
def test_a_class_that_cannot_be_and_that_no_label_names_costs_nothing(
    bias: tuple[float, ...], y: Any, expected: float
) -> None:
    params = Params((Layer(np.zeros((2, 3)), np.array(bias)),))
    x = np.ones((1, 2))
    loss, gradient = fnnet.loss_and_grads(params, x, y)
    split = fnnet.Split(x, np.asarray(y))
    others = (fnnet.loss(params, x, y), fnnet.losses(params, x, y)[0])
    for value in (loss, *others, fnnet.evaluate(params, split).loss):
        assert value == pytest.approx(expected, abs=1e-15)
    assert fnnet.cross_entropy(fnnet.forward(params, x), y) == loss
    assert np.isfinite(fnnet.tree_ravel(gradient)[0]).all()
    assert gradient.layers[0].b[np.isneginf(bias)] == pytest.approx(0)
    assert fnnet.evaluate(params, split).accuracy == 1


def test_a_class_that_cannot_be_but_is_the_label_costs_infinity() -> None:
    params = Params((Layer(np.zeros((2, 2)), np.array([-np.inf, 0])),))
    assert fnnet.loss(params, np.ones((1, 2)), [0]) == np.inf


# Any loss


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("masked", [False, True])
def test_grads_are_vjp_of_the_losss_derivative_in_the_same_bits(output: str, masked: bool) -> None:
    params, x, y = problem(output)
    masks = fnnet.dropout_masks(0, params, 7, (0.2, 0.5, 0.5)) if masked else None
    z = fnnet.forward(params, x, masks)
    p: dict[str, Any] = {
        "softmax": fnnet.softmax,
        "sigmoid": lambda z: fnnet.predict_proba(alone(output), z),
    }
    rows = y / y.sum(-1, keepdims=True) if output == "softmax" else y
    dz = (p.get(output, lambda z: z)(z) - rows) / 7
    ours = fnnet.vjp(params, x, dz, masks)
    expected = fnnet.loss_and_grads(params, x, y, masks)[1]
    assert fnnet.tree_ravel(ours)[0].tobytes() == fnnet.tree_ravel(expected)[0].tobytes()


@pytest.mark.parametrize("masked", [False, True])
def test_vjp_is_the_slope_of_any_function_of_the_logits(masked: bool) -> None:
    params, x, _ = smooth("softmax")
    masks = fnnet.dropout_masks(0, params, 7, (0.2, 0.5, 0.5)) if masked else None
    vector, unravel = fnnet.tree_ravel(params)
    expected = oracles.central_differences(
        lambda at: float(np.sin(fnnet.forward(unravel(at), x, masks)).sum()), np.asarray(vector)
    )
    dz = np.cos(fnnet.forward(params, x, masks))
    ours = fnnet.tree_ravel(fnnet.vjp(params, x, dz, masks))[0]
    np.testing.assert_allclose(ours, expected, 1e-6, 1e-8)


def test_hubers_loss_in_three_lines_is_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    params, x, y = problem("identity", (6, 4, 2))
    w1, b1, w2, b2 = theirs = [
        torch.tensor(leaf.copy(), requires_grad=True) for leaf in fnnet.tree_leaves(params)
    ]
    z = torch.relu(torch.tensor(x) @ w1 + b1) @ w2 + b2
    torch.nn.functional.huber_loss(z, torch.tensor(y), reduction="sum", delta=1.0).backward()
    error = fnnet.forward(params, x) - y
    assert 0 < np.mean(np.abs(error) > 1) < 1
    ours = fnnet.vjp(params, x, error.clip(-1, 1))
    for leaf, their in zip(fnnet.tree_leaves(ours), theirs, strict=True):
        np.testing.assert_allclose(leaf, their.grad.numpy(), 1e-10, 1e-13)


def test_vjp_of_an_ensemble_is_that_of_its_members() -> None:
    members = [problem("softmax", seed=seed)[0] for seed in range(3)]
    x, dz = problem("softmax")[1], np.random.default_rng(0).standard_normal((3, 7, 4))
    ours = fnnet.vjp(stacked(*members), x, dz)
    theirs = stacked(*(fnnet.vjp(member, x, d) for member, d in zip(members, dz, strict=True)))
    assert fnnet.tree_allclose(ours, theirs, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("shape", [(7,), (7, 3), (6, 4), (1, 7, 4), (4, 7)])
def test_a_derivative_of_another_shape_than_the_logits_is_refused(shape: tuple[int, ...]) -> None:
    params, x, _ = problem("softmax")
    with pytest.raises(ValueError, match=r"dz must have the shape of the logits, \(7, 4\), got"):
        fnnet.vjp(params, x, np.zeros(shape))


def test_vjp_takes_batches_alone() -> None:
    params, x, _ = problem("softmax")
    with pytest.raises(ValueError, match=r"x must be a batch of shape \(N, d\)"):
        fnnet.vjp(params, x[0], np.zeros(4))


# Inputs


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_input_gradients_are_the_slopes_of_the_loss(output: str, activation: str) -> None:
    base, x, y = smooth(output)
    params = Params(base.layers, activation, output)
    expected = oracles.central_differences(
        lambda at: fnnet.loss(params, at.reshape(x.shape), y), x.ravel()
    )
    ours = fnnet.input_grads(params, x, y)
    assert ours.shape == x.shape
    np.testing.assert_allclose(ours.ravel(), expected, 1e-5, 1e-8)


def test_input_gradients_have_the_dtype_of_the_network() -> None:
    params, x, y = problem("softmax")
    single = fnnet.tree_map(lambda leaf: leaf.astype(np.float32), params)
    ours = fnnet.input_grads(single, x, y)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, fnnet.input_grads(params, x, y), 1e-4, 1e-6)


def test_input_gradients_of_members_add_up_where_they_share_the_inputs() -> None:
    members = [problem("softmax", seed=seed)[0] for seed in range(3)]
    _, x, y = problem("softmax")
    together = stacked(*members)
    each = np.stack([fnnet.input_grads(member, x, y) for member in members])
    np.testing.assert_allclose(fnnet.input_grads(together, x, y), each.sum(0), 1e-10, 1e-14)
    own = fnnet.input_grads(together, np.stack([x] * 3), y)
    np.testing.assert_allclose(own, each, 1e-10, 1e-14)


def test_a_step_along_the_input_gradient_raises_the_loss() -> None:
    digits = fnnet.load_digits().train[:100]
    state = fnnet.rmsprop_init(fnnet.init_params(0, (64, 16, 10)), 0.01)
    *_, last = fnnet.train(state, digits, rng=0, epochs=5)
    x, params = fnnet.as_inputs(digits), last.state.params
    rng, sign = np.random.default_rng(0), np.sign(fnnet.input_grads(params, x, digits.y))
    others = [rng.choice([-1, 1], x.shape) for _ in range(20)]
    losses = [fnnet.loss(params, x + 0.05 * step, digits.y) for step in (sign, *others)]
    assert losses[0] > 1.2 * max(losses[1:])
