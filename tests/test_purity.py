"""Every public function: its arguments stay as they were, its results share nothing with them."""

from __future__ import annotations

import dataclasses
import inspect
import os
import pickle
import random
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

import fnnet
from fnnet.data import datasets
from fnnet.optimizers.states import OPTIMIZERS
from tests import oracles
from tests.data.mirror import tiny_source
from tests.optimizers.shared import every_option

Array: TypeAlias = npt.NDArray[Any]
Arguments: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]

# Meant to change something: another library (test_jax), or what is registered (test_your_own).
ELSEWHERE = {"register_jax", "register"}
# What these return is, or may be, their argument, as they say; it is read-only or was the caller's.
SHARES = {"tree_leaves", "tree_ravel", "first_state", "as_inputs", "clip_by_global_norm", "prepare"}
SHARES |= {"layer_inputs"}
SHARES |= {optimizer.init.__name__ for optimizer in OPTIMIZERS.values()}


def call(*args: Any, **kwargs: Any) -> Arguments:
    return args, kwargs


@pytest.fixture(autouse=True)
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny files in the place of those that others publish."""
    source = tiny_source(tmp_path / "published")
    for name in ("MNIST", "FASHION_MNIST", "KMNIST"):
        monkeypatch.setattr(datasets, name, source)


def arguments(folder: Path) -> dict[str, Arguments]:
    """One call of each public function, every array of it read-only."""
    params, x, y = oracles.problem()
    batch = params, locked(x), locked(y)
    logits = locked(fnnet.forward(params, x))
    split = fnnet.Split(batch[1], batch[2])
    gradient = fnnet.grads(*batch)  # a tree that nobody has looked at yet
    state = fnnet.rmsprop_init(params, 0.1)
    weights = locked(np.linspace(0, 2, len(x)))
    checkpoint = fnnet.Checkpoint(state, np.random.default_rng(0))
    saved, written = folder / "saved", folder / "written"
    fnnet.save_checkpoint(saved, checkpoint)
    fnnet.write_idx(written, np.arange(6, dtype=np.uint8))
    return {
        "init_params": call(0, (3, 2)),
        "forward": call(*batch[:2]),
        "softmax": call(logits),
        "log_softmax": call(logits),
        "cross_entropy": call(logits, batch[2]),
        "loss": call(*batch),
        "losses": call(*batch, weights=weights),
        "grads": call(*batch),
        "vjp": call(params, batch[1], locked(logits - 1)),
        "input_grads": call(*batch, weights=weights),
        "loss_and_grads": call(*batch),
        "predict": call(*batch[:2]),
        "predict_proba": call(*batch[:2]),
        **{each.init.__name__: call(params, 0.1) for each in OPTIMIZERS.values()},
        **{each.update.__name__: call(each.init(params), gradient) for each in OPTIMIZERS.values()},
        "first_state": call(state),
        "update": call(state, gradient),
        "within": call(0, 1),
        "step_by_blocks": call(descent, fnnet.sgd_init(params, 0.1), gradient),
        "dropout_masks": call(0, params, 3, (0.1, 0.5)),
        "smooth_labels": call(batch[2], 4, 0.1),
        "clip_by_global_norm": call(gradient, 1e-3),
        "decay_weights": call(params, 0.1),
        "l2_penalty": call(params, 0.1),
        "moving_average": call(params, gradient, 0.9),
        "stop_early": call([0.2, 0.1], 1),
        "layer_inputs": call(*batch[:2]),
        "hessian_vector": call(*batch, params),
        "gauss_newton_vector": call(*batch, params, weights=weights),
        "check_grads": call(lambda at: fnnet.loss_and_grads(at, *batch[1:]), params, tolerance=1.0),
        "batches": call(0, split, 3, np.float64),
        "weighted_batches": call(0, split, 3, np.float64),
        "class_weights": call(batch[2], 4),
        "as_inputs": call(split.x, np.float64),
        "hold_out": call(0, split, 3),
        "distort": call(0, locked(np.eye(16, dtype=np.uint8).reshape(4, 8, 8)), rotation=9.0),
        "train_step": call(state, *batch[1:]),
        "train": call(state, split, split, rng=0, epochs=2),
        "evaluate": call(params, split),
        "prepare": call(split),
        "train_epoch": call(state, split, 0, 3),
        "save_checkpoint": call(folder / "new", checkpoint),
        "load_checkpoint": call(saved),
        "load_digits": call(),
        "load_mnist": call(folder / "published"),
        "load_fashion_mnist": call(folder / "published"),
        "load_kmnist": call(folder / "published"),
        "load_dataset": call("digits"),
        "map_idx": call(written),
        "read_idx": call(written),
        "write_idx": call(folder / "new", batch[1]),
        "tree_map": call(lambda a, b: a + b, params, gradient),
        "tree_leaves": call(gradient),
        "tree_ravel": call(gradient),
        "tree_equal": call(params, gradient),
        "tree_allclose": call(params, gradient),
    }


def more_arguments(folder: Path) -> dict[str, list[Arguments]]:
    """Calls that take other ways through the code: ensembles, other labels, dtypes and layouts."""
    params, x, y = oracles.problem(soft=True)
    x, y = locked(x), locked(y)
    turned = locked(np.asfortranarray(x.astype(np.float32)))
    images = locked(np.random.default_rng(0).integers(0, 256, (7, 8, 8), np.uint8))
    gradient = fnnet.grads(params, x, y)
    many = fnnet.tree_map(lambda *leaves: np.stack(leaves), params, gradient)
    rates, both = locked(np.array([0.1, 0.2])), fnnet.grads(many, x, y)
    found, weights = OPTIMIZERS.values(), locked(np.linspace(0, 2, len(x)))
    options = {each: every_option(each) for each in found}
    weighted = fnnet.Split(x, y, weights=weights)
    seldom = fnnet.Split(locked(images * (images > 220)), locked(np.arange(7) % 4))
    wide = fnnet.init_params(0, (64, 5, 4))
    fast = fnnet.sgd_init(params, 0.1, 0.9, nesterov=True)
    adam = fnnet.adam_update(fnnet.adam_init(params), gradient)
    checkpoint = fnnet.Checkpoint(adam, np.random.Generator(np.random.MT19937(0)))
    packed, saved, pair = folder / "packed.gz", folder / "adam", (x, y)
    fnnet.write_idx(packed, images)
    fnnet.save_checkpoint(saved, checkpoint)
    masks = fnnet.dropout_masks(0, params, 7, (0.5, 0.5))
    inputs = [call(many, x), call(params, x[0]), call(params, turned)]
    labelled = [call(params, turned, y), call(many, x, y), call(params, x, y, weights=weights)]
    return {
        "init_params": [call(0, [3, 2], np.float64)],
        "forward": inputs,
        "softmax": [call(turned), call(x[0])],
        "log_softmax": [call(turned), call(x[0])],
        "cross_entropy": [call(locked(fnnet.forward(params, x)), y)],
        "loss": labelled,
        "losses": labelled,
        "grads": labelled,
        "vjp": [call(params, turned, y, masks), call(many, x, locked(np.ones((2, 7, 4))))],
        "input_grads": labelled,
        "loss_and_grads": [*labelled, call(params, x, y, masks)],
        "predict": inputs,
        "predict_proba": inputs,
        **{o.init.__name__: [call(many, rates, **options[o])] for o in found},
        **{
            o.update.__name__: [
                call(o.update(o.init(params, **options[o]), gradient), gradient),
                call(o.init(many, rates), both),
            ]
            for o in found
        },
        "first_state": [call(adam)],
        "update": [call(fast, gradient), call(adam, gradient)],
        "step_by_blocks": [call(descent, fnnet.sgd_init(many, rates), both)],
        "dropout_masks": [call(0, many, 3, [0.1, 0])],
        "smooth_labels": [call(y, 4, 0.1)],
        "clip_by_global_norm": [call(gradient, 1e9), call(both, 1e-3)],
        "decay_weights": [call(many, 0)],
        "l2_penalty": [call(many, 0)],
        "moving_average": [call(params, gradient, 0.9, 3)],
        "layer_inputs": inputs,
        "hessian_vector": [call(many, x, y, many), call(params, turned, y, gradient)],
        "gauss_newton_vector": [call(many, x, y, many)],
        "batches": [call(0, fnnet.Split(images, y), 3)],
        "weighted_batches": [call(0, weighted, 3)],
        "as_inputs": [call(images), call(turned, np.float64)],
        "hold_out": [call(0, fnnet.Split(images, y), 3)],
        "distort": [
            call(0, images, scale=0.1, shear=0.1, shift=1.0, elastic_alpha=9.0),
            call(0, locked(images / 255), elastic_alpha=9.0),
        ],
        "train_step": [call(adam, turned, y)],
        "train": [call(fast, fnnet.Split(turned, y), rng=0, epochs=1, check_finite=False)],
        "prepare": [call(seldom)],
        "train_epoch": [
            call(fnnet.rmsprop_init(wide, 0.1), fnnet.prepare(seldom), 0, 3),
            call(fnnet.adam_init(wide), seldom, 0, 3),
        ],
        "evaluate": [call(params, weighted), call(many, fnnet.Split(turned, y))],
        "save_checkpoint": [call(folder / "new", checkpoint)],
        "load_checkpoint": [call(saved, fnnet.AdamState)],
        "read_idx": [call(packed)],
        "write_idx": [call(folder / "new.gz", turned)],
        "tree_map": [call(lambda leaf: leaf, pair)],
        "tree_leaves": [call(pair)],
        "tree_ravel": [call(pair)],
        "tree_equal": [call(pair, pair)],
        "tree_allclose": [call(pair, pair)],
    }


def descent(g: Any, rate: Any, w: Any) -> list[Any]:
    return [w - rate * g]


def locked(array: Array) -> Array:
    array = array.copy("K")
    array.setflags(write=False)
    return array


def calls(name: str, folder: Path) -> list[Arguments]:
    """All calls of a public function."""
    return [arguments(folder)[name], *more_arguments(folder).get(name, [])]


FUNCTIONS = [
    name
    for name in fnnet.__all__
    if inspect.isroutine(getattr(fnnet, name)) and name not in ELSEWHERE
]
each = pytest.mark.parametrize("name", FUNCTIONS)


def results(value: Any) -> Any:
    """The value, with iterators run to their ends."""
    return list(value) if isinstance(value, Iterator) else value


def arrays(value: Any) -> list[Array]:
    """All arrays in a value but learning rates, which are read-only and passed on."""
    if isinstance(value, np.ndarray):
        return [value]
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        value = [getattr(value, name) for name in names if name != "learning_rate"]
    if isinstance(value, dict):
        value = list(value.values())
    return [a for part in value for a in arrays(part)] if isinstance(value, list | tuple) else []


def facts(value: Any) -> object:
    """The value such that equality is equality of bits, but for seconds, which nobody repeats."""
    if isinstance(value, fnnet.Metrics):
        value = dataclasses.replace(value, seconds=0.0)
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes()
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if dataclasses.is_dataclass(value):
        return [facts(getattr(value, field.name)) for field in dataclasses.fields(value)]
    if isinstance(value, list | tuple | dict):
        return [facts(part) for part in (value.values() if isinstance(value, dict) else value)]
    return repr(value) if isinstance(value, float) else None if callable(value) else value


def world() -> object:
    """What no function may touch."""
    return (
        pickle.dumps(np.random.get_state()),  # noqa: NPY002  # that is the test
        random.getstate(),
        os.getcwd(),
        dict(os.environ),
        np.geterr(),
        np.get_printoptions(),
        list(warnings.filters),
    )


def test_every_public_function_is_called_here(tmp_path: Path) -> None:
    assert set(FUNCTIONS) == set(arguments(tmp_path)) >= set(more_arguments(tmp_path))


@each
def test_a_call_changes_neither_its_arguments_nor_the_world(name: str, tmp_path: Path) -> None:
    for args, kwargs in calls(name, tmp_path):
        before, outside = facts((args, kwargs)), world()
        results(getattr(fnnet, name)(*args, **kwargs))
        assert facts((args, kwargs)) == before
        assert world() == outside


@each
def test_the_same_call_has_the_same_result(name: str, tmp_path: Path) -> None:
    for args, kwargs in calls(name, tmp_path):
        one, two = (facts(results(getattr(fnnet, name)(*args, **kwargs))) for _ in range(2))
        assert one == two


@each
def test_results_share_no_memory_with_arguments(name: str, tmp_path: Path) -> None:
    shared = False
    for args, kwargs in calls(name, tmp_path):
        given = arrays((args, kwargs))
        made = arrays(results(getattr(fnnet, name)(*args, **kwargs)))
        shared |= any(np.shares_memory(a, b) for a in given for b in made)
    assert shared == (name in SHARES)


@each
def test_results_share_no_memory_with_earlier_results(name: str, tmp_path: Path) -> None:
    for args, kwargs in calls(name, tmp_path):
        one, two = (arrays(results(getattr(fnnet, name)(*args, **kwargs))) for _ in range(2))
        shared = any(np.shares_memory(a, b) for a in one for b in two)
        # Digits are read once and are read-only.
        assert not shared or name in SHARES or all(not a.flags.writeable for a in [*one, *two])


def trees(value: Any) -> list[fnnet.Params]:
    if isinstance(value, fnnet.Params):
        return [value]
    if dataclasses.is_dataclass(value):
        value = [getattr(value, field.name) for field in dataclasses.fields(value)]
    return [t for part in value for t in trees(part)] if isinstance(value, list | tuple) else []


def test_trees_in_results_are_read_only(tmp_path: Path) -> None:
    found = 0
    for name in FUNCTIONS:
        for args, kwargs in calls(name, tmp_path):
            for tree in trees(results(getattr(fnnet, name)(*args, **kwargs))):
                found += 1
                for leaf in fnnet.tree_leaves(tree):
                    assert not leaf.flags.writeable, name
    assert found > 30


@each
def test_eight_threads_get_the_answer_of_one(name: str, tmp_path: Path) -> None:
    f: Callable[..., Any] = getattr(fnnet, name)
    expected = [facts(results(f(*args, **kwargs))) for args, kwargs in calls(name, tmp_path)]
    with ThreadPoolExecutor(8) as pool:
        # Made again, so that threads meet trees that nobody has looked at.
        for (args, kwargs), fact in zip(calls(name, tmp_path), expected, strict=True):
            run = partial(f, *args, **kwargs)
            futures = [pool.submit(lambda run: facts(results(run())), run) for _ in range(32)]
            assert all(future.result() == fact for future in futures)


def test_eight_threads_may_cut_the_leaves_of_one_tree(tmp_path: Path) -> None:
    params, x, y = oracles.problem((6, 5, 5, 5, 4))
    expected = facts(fnnet.grads(params, x, y))
    with ThreadPoolExecutor(8) as pool:
        for _ in range(50):
            tree = fnnet.grads(params, x, y)
            assert all(found == expected for found in pool.map(facts, [tree] * 8))
