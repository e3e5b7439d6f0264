"""An epoch on ragged batches: the plain loop's numbers, in another order of sums."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fnnet
from fnnet import Split, prepare, ragged, train_epoch


def ragged_split(n: int = 205, d: int = 60, dtype: str = "uint8", k: int = 4) -> Split:
    """Samples that are mostly zero, some of them wholly."""
    rng = np.random.default_rng(0)
    lit = rng.random((n, d)) < np.linspace(0.6, 0, d) ** 2
    lit[:3] = False
    values = rng.integers(1, 256, (n, d)) if dtype == "uint8" else rng.standard_normal((n, d))
    divisor = 255 if dtype == "uint8" else 1
    return Split(np.where(lit, values, 0).astype(dtype), rng.integers(0, k, n), divisor=divisor)


def plain(state: Any, split: Split, seed: int, size: int) -> tuple[Any, list[float]]:
    """The same batches by the plain step."""
    losses = []
    dtype = state.params.layers[0].w.dtype
    for x, y, s in fnnet.weighted_batches(seed, split, size, dtype):
        weights = None if split.weights is None else s
        state, loss = fnnet.train_step(state, x, y, weights=weights)
        losses.append(loss)
    return state, losses


def assert_close(ours: Any, theirs: Any, tolerance: float) -> None:
    for name in ours.__match_args__:
        a, b = getattr(ours, name), getattr(theirs, name)
        if isinstance(a, fnnet.Params):
            for x, y in zip(fnnet.tree_leaves(a), fnnet.tree_leaves(b), strict=True):
                np.testing.assert_allclose(x, y, tolerance, tolerance, err_msg=name)
        else:
            assert a == b, name


@pytest.mark.parametrize("size", [1, 7, 32, 64, 205, 500])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("unpacked", [True, False])
def test_an_epoch_in_float64_is_that_of_the_plain_loop(
    dtype: str, size: int, unpacked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ragged, "_unpacked", lambda: unpacked)
    monkeypatch.setattr(ragged, "SMALL", 2000)
    split = ragged_split(dtype=dtype)
    state = fnnet.rmsprop_init(fnnet.init_params(0, (60, 20, 4), np.float64), 0.01, eps=1e-4)
    ours, losses = train_epoch(state, split, 1, size)
    theirs, expected = plain(state, split, 1, size)
    assert_close(ours, theirs, 1e-9)
    np.testing.assert_allclose(losses, expected, 1e-9)


@pytest.mark.parametrize("activation", ["relu", "tanh", "leaky_relu", "gelu", "identity"])
@pytest.mark.parametrize("hidden", [(), (20,), (20, 10), (20, 10, 10)])
def test_any_depth_and_activation(hidden: tuple[int, ...], activation: str) -> None:
    split = ragged_split()
    params = fnnet.init_params(0, (60, *hidden, 4), np.float64, activation=activation)
    state = fnnet.rmsprop_init(params, 0.01, eps=1e-4)
    assert_close(train_epoch(state, split, 1, 32)[0], plain(state, split, 1, 32)[0], 1e-8)


@pytest.mark.parametrize("output", ["softmax", "sigmoid", "identity"])
@pytest.mark.parametrize("weighted", [False, True])
def test_any_output_and_weights(output: str, weighted: bool) -> None:
    split = ragged_split()
    rng = np.random.default_rng(3)
    y: Any = rng.dirichlet(np.ones(4), len(split)) if output != "sigmoid" else np.eye(4)[split.y]
    weights = rng.random(len(split)) if weighted else None
    split = Split(split.x, y, weights, divisor=255)
    params = fnnet.init_params(0, (60, 20, 4), np.float64, output=output)
    state = fnnet.rmsprop_init(params, 0.01, eps=1e-4)
    assert_close(train_epoch(state, split, 1, 32)[0], plain(state, split, 1, 32)[0], 1e-8)


@pytest.mark.parametrize(
    "init",
    [
        lambda p: fnnet.sgd_init(p, 0.1),
        lambda p: fnnet.sgd_init(p, 0.1, 0.9, nesterov=True),
        lambda p: fnnet.adam_init(p, 0.01, eps=1e-4),
        lambda p: fnnet.rmsprop_init(p, 0.01, momentum=0.9, centered=True, eps=1e-3),
        lambda p: dataclasses.replace(
            fnnet.rmsprop_init(p, 0.01, momentum=0.9, eps=1e-3), momentum=0.0, velocity=p
        ),
        lambda p: fnnet.rmsprop_init(p, 0.01, decay=0.0, eps=1e-3),
        lambda p: fnnet.rmsprop_init(p, 0.01, decay=0.3, eps=1e-4),
        lambda p: fnnet.rmsprop_init(p, 0.01, decay=0.999, eps=1e-4, initial_scale=1.0),
    ],
    ids=["sgd", "nesterov", "adam", "momentum", "no more", "decay 0", "decay 0.3", "decay 0.999"],
)
def test_any_optimizer(init: Any) -> None:
    split = ragged_split()
    state = init(fnnet.init_params(0, (60, 20, 4), np.float64))
    assert_close(train_epoch(state, split, 1, 32)[0], plain(state, split, 1, 32)[0], 1e-8)


def test_after_a_hundred_steps_it_is_as_near_to_float64_as_the_plain_loop() -> None:
    split = ragged_split(3205)
    start = fnnet.init_params(0, (60, 20, 4))
    exact = fnnet.tree_map(lambda leaf: leaf.astype(np.float64), start)
    state, wide = (fnnet.rmsprop_init(p, 1e-3, eps=1e-3) for p in (start, exact))
    ours, theirs = train_epoch(state, split, 1, 32)[0], plain(state, split, 1, 32)[0]
    expected = plain(wide, split, 1, 32)[0]
    assert ours.step == 101

    def distance(state: Any) -> float:
        pairs = zip(
            fnnet.tree_leaves(state.params), fnnet.tree_leaves(expected.params), strict=True
        )
        return max(float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in pairs)

    assert distance(ours) < 3 * distance(theirs) < 1e-5


def test_the_same_seed_gives_the_same_bits_and_nothing_given_is_changed() -> None:
    split, before = ragged_split(), ragged_split()
    state = fnnet.rmsprop_init(fnnet.init_params(0, (60, 20, 4)))
    data = prepare(split)
    a, _ = train_epoch(state, data, 1, 32)
    b, _ = train_epoch(state, split, np.random.default_rng(1), 32)
    assert fnnet.tree_equal(a.params, b.params)
    assert fnnet.tree_equal(state.params, fnnet.init_params(0, (60, 20, 4)))
    assert np.array_equal(split.x, before.x)
    assert not any(leaf.flags.writeable for leaf in fnnet.tree_leaves(a.params))


def test_dense_and_memory_mapped_data_take_the_plain_loop_bit_for_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    dense = Split(rng.standard_normal((100, 20)).astype(np.float32), rng.integers(0, 3, 100))
    mapped_x = np.memmap(tmp_path / "x", np.float32, "w+", shape=(100, 20))
    mapped = Split(mapped_x, dense.y)
    for split in (dense, mapped):
        assert prepare(split).order is None
        state = fnnet.rmsprop_init(fnnet.init_params(0, (20, 8, 3)))
        ours, theirs = train_epoch(state, split, 1, 32)[0], plain(state, split, 1, 32)[0]
        assert fnnet.tree_equal(ours.params, theirs.params)


def test_ensembles_take_the_plain_loop() -> None:
    split = ragged_split()
    members = [fnnet.init_params(seed, (60, 8, 4)) for seed in range(2)]
    together = fnnet.tree_map(lambda a, b: np.stack([a, b]), *members)
    state = fnnet.sgd_init(together)
    ours = train_epoch(state, split, 1, 32)[0]
    assert fnnet.tree_equal(ours.params, plain(state, split, 1, 32)[0].params)


def test_the_loop_takes_it_and_a_resumed_run_is_the_unbroken_one() -> None:
    split = ragged_split()
    state = fnnet.rmsprop_init(fnnet.init_params(0, (60, 20, 4)))
    unbroken = [*fnnet.train(state, split, rng=0, epochs=4, epoch=train_epoch)]
    second = unbroken[1]
    resumed = [
        *fnnet.train(second.state, split, rng=second.rng, epochs=4, start=2, epoch=train_epoch)
    ]
    assert fnnet.tree_equal(resumed[-1].state.params, unbroken[-1].state.params)
    assert [r.metrics.train_loss for r in resumed] == [r.metrics.train_loss for r in unbroken[2:]]


def test_the_loop_refuses_a_gradient_or_an_update_beside_it() -> None:
    split = ragged_split()
    state = fnnet.rmsprop_init(fnnet.init_params(0, (60, 20, 4)))
    others: dict[str, Any] = {"gradient": lambda p, x, y: fnnet.loss_and_grads(p, x, y)}
    others["update"] = fnnet.rmsprop_update
    for name, value in others.items():
        with pytest.raises(ValueError, match=f"{name} must not be given beside epoch"):
            fnnet.train(state, split, rng=0, epochs=1, epoch=train_epoch, **{name: value})


def test_a_loss_that_is_not_finite_names_its_batch() -> None:
    split = ragged_split()
    params = fnnet.init_params(0, (60, 20, 4))
    state = dataclasses.replace(fnnet.sgd_init(params), learning_rate=1e38)
    with pytest.raises(fnnet.DivergenceError, match="epoch 1, batch"), np.errstate(all="ignore"):
        list(fnnet.train(state, split, rng=0, epochs=1, epoch=train_epoch))


def test_data_of_another_width_are_refused() -> None:
    state = fnnet.rmsprop_init(fnnet.init_params(0, (61, 20, 4)))
    with pytest.raises(ValueError, match="x must have 61 features"):
        train_epoch(state, ragged_split(), 1, 32)
    with pytest.raises(ValueError, match="classes in"):
        train_epoch(fnnet.sgd_init(fnnet.init_params(0, (60, 3))), ragged_split(), 1, 32)


@pytest.mark.parametrize("eps", [1e200, 1e38, 1e-46, 5e-324])
def test_an_eps_without_a_number_in_the_dtype_warns_of_nothing(eps: float) -> None:
    data = fnnet.load_digits().train
    start = fnnet.rmsprop_init(fnnet.init_params(0, (64, 8, 10)), 1e-6, eps=eps)
    state, losses = fnnet.train_epoch(start, data, 0, 128)
    assert np.isfinite(losses).all()
    assert all(np.isfinite(leaf).all() for leaf in fnnet.tree_leaves(state.params))
