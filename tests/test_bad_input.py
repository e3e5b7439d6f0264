"""Whatever is given to a public function: a result, or one error that a caller expects."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fnnet
from tests import oracles
from tests.test_purity import FUNCTIONS, arguments


def matrix(values: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy advises against it, but users have some
        return np.matrix(values)


WRONG = {
    "None": None,
    "text": "abc",
    "bytes": b"abc",
    "a generator": (i for i in range(3)),
    "a function": print,
    "a type": int,
    "an object": object(),
    "a list": [[1.0, 2.0], [3.0, 4.0]],
    "a ragged list": [[1.0], [2.0, 3.0]],
    "nothing": (),
    "a dictionary": {},
    "a huge number": 10**400,
    "a negative number": -1,
    "NaN": float("nan"),
    "infinity": float("inf"),
    "a complex number": 1j,
    "no axes": np.array(1.0),
    "no elements": np.zeros((0, 6)),
    "objects": np.array([None, "a"]),
    "words": np.array(["a", "b"]),
    "dates": np.zeros(7, "M8[s]"),
    "records": np.zeros(7, [("a", "f4")]),
    "unsigned numbers": np.full(7, 2**63, np.uint64),
    "a masked array": np.ma.masked_array([[1.0, 2.0]], [[True, False]]),
    "a matrix": matrix([[0.5, -1.0]]),
    "no layers": fnnet.Params(()),
    "a list of layers": fnnet.Params([fnnet.Layer(np.ones((6, 4)), np.ones(4))]),  # type: ignore[arg-type]  # users without a type checker
    "layers of text": fnnet.Params((fnnet.Layer("w", "b"),)),  # type: ignore[arg-type]  # as above
    "a split": fnnet.Split(np.ones((7, 6)), np.zeros(7, int)),
    "a state": fnnet.sgd_init(fnnet.init_params(0, (6, 5, 4))),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_wrong_argument_gives_a_result_or_an_error_that_callers_expect(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    args, kwargs = arguments(tmp_path)[name]
    given: dict[Any, Any] = {**dict(enumerate(args)), **kwargs}
    unexpected = []
    for argument, (what, wrong) in product(given, WRONG.items()):
        changed = {**given, argument: wrong}
        try:
            result = getattr(fnnet, name)(
                *(changed[i] for i in range(len(args))), **{key: changed[key] for key in kwargs}
            )
            if isinstance(result, Iterator):
                list(islice(result, 3))
        except (TypeError, ValueError, OSError, fnnet.DivergenceError):
            pass
        except Exception as error:
            unexpected.append(f"{argument}, {what}: {error!r}")
    assert unexpected == []


PARAMS, X, Y = oracles.problem()
ENSEMBLE = fnnet.tree_map(lambda leaf: np.stack((leaf, leaf)), PARAMS)
STATE = fnnet.rmsprop_init(PARAMS)
GIVEN: dict[str, tuple[tuple[Any, ...], str]] = {
    "forward": ((X, PARAMS), "params must be of type Params, got ndarray"),
    "loss_and_grads": ((STATE, X, Y), "params must be of type Params, got RMSPropState"),
    "evaluate": ((STATE, fnnet.Split(X, Y)), "params must be of type Params, got RMSPropState"),
    "update": ((PARAMS, PARAMS), "state must be an optimizer's, got Params: write rmsprop_init"),
    "vjp": ((STATE, X, Y), "params must be of type Params, got RMSPropState: write state.params"),
    "predict": ((STATE, X), "params must be of type Params, got RMSPropState: write state.params"),
    "predict_proba": ((None, X), "params must be of type Params, got NoneType"),
    "batches": ((0, (X, Y), 3), "split must be of type Split, got tuple"),
    "hold_out": ((0, X, 3), "split must be of type Split, got ndarray"),
    "train_step": ((PARAMS, X, Y), "state must be an optimizer's, got Params: write rmsprop_init"),
    "dropout_masks": ((0, None, 1, (0.1,)), "params must be of type Params, got NoneType"),
    "decay_weights": ((X, 0.1), "params must be of type Params, got ndarray"),
    "clip_by_global_norm": ((X, 0.1), "grads must be of type Params, got ndarray"),
    "save_checkpoint": (("run", STATE), "checkpoint must be of type Checkpoint, got RMSProp"),
    "load_checkpoint": (("run", fnnet.Params), "optimizer must be one of .*, got <class 'fnnet"),
    "distort": ((0, [[[1, 2], [3, 4]]]), "images must be uint8, float32 or float64, got int64"),
    "read_idx": ((0,), "path must be a path, a str or path-like, got 0"),
}


@pytest.mark.parametrize("name", GIVEN)
def test_an_argument_of_another_type_is_named(name: str) -> None:
    args, message = GIVEN[name]
    with pytest.raises(TypeError, match=message):
        getattr(fnnet, name)(*args)


def test_a_likely_mistake_is_answered_with_what_to_write() -> None:
    data, split = fnnet.load_digits(), fnnet.Split(X, Y)
    any_: Any = PARAMS
    run: Any = fnnet.train
    record = next(fnnet.train(STATE, split, rng=0, epochs=1))
    checkpoint = fnnet.Checkpoint(record.state, record.rng)
    save: Any = fnnet.save_checkpoint
    stop: Any = fnnet.stop_early
    for mistake, message in (
        (lambda: run(STATE, data, rng=0, epochs=1), "train .*, got Dataset: write data.train$"),
        (lambda: run(STATE, (X, Y), rng=0, epochs=1), "train .*, got tuple: write Split.x, y.$"),
        (lambda: run(STATE, X, Y, rng=0, epochs=1), "train .*, got ndarray: write Split.x, y.$"),
        (lambda: run(STATE, split, data, rng=0, epochs=1), "test .*, got Dataset: write data.test"),
        (lambda: fnnet.rmsprop_update(any_, PARAMS), "state .*: write rmsprop_init.params.$"),
        (lambda: fnnet.sgd_update(any_, PARAMS), "state .*: write sgd_init.params.$"),
        (lambda: fnnet.adam_update(any_, PARAMS), "state .*: write adam_init.params.$"),
        (
            lambda: save("run", record),
            r"Epoch: write Checkpoint\(record.state, record.rng, record.m",
        ),
        (lambda: save(checkpoint, "run"), r"str: write save_checkpoint\(path, checkpoint\)$"),
        (lambda: save("run", STATE), r"RMSPropState: write Checkpoint\(state, rng\)$"),
        (lambda: stop([record], 3), r"write stop_early\(\[record.metrics.test_loss for record in"),
    ):
        with pytest.raises(TypeError, match=message):
            mistake()
    with pytest.raises(ValueError, match="x must be an array: its rows differ in length"):
        fnnet.forward(PARAMS, [[1.0], [2.0, 3.0]])
    with pytest.raises(AttributeError, match=r"attribute .plots.: write import fnnet"):
        fnnet.__getattr__("plots")


@pytest.mark.parametrize("read", [fnnet.read_idx, fnnet.load_checkpoint])
@pytest.mark.parametrize("limit", [-1, None, float("nan"), "1"])
def test_a_limit_is_a_number_of_bytes(read: Any, limit: Any) -> None:
    with pytest.raises(ValueError, match="limit must be a whole number >= 0, got "):
        read("file", limit=limit)


def test_masked_arrays_are_refused_since_what_is_masked_would_count(tmp_path: Path) -> None:
    masked = np.ma.masked_array(X, X > 0)
    labels: Any = np.ma.masked_array(Y, Y > 0)
    one: Any = np.ma.masked
    rates: Any = np.ma.masked_array([0.1, 0.2], [False, True])
    for name, call in (
        ("x", lambda: fnnet.forward(PARAMS, masked)),
        ("logits", lambda: fnnet.softmax(masked)),
        ("logits", lambda: fnnet.cross_entropy(masked, Y)),
        ("y", lambda: fnnet.cross_entropy(X, labels)),
        ("y", lambda: fnnet.loss(PARAMS, X, labels)),
        ("y", lambda: fnnet.smooth_labels(labels, 4, 0.1)),
        ("x", lambda: fnnet.as_inputs(masked)),
        ("x", lambda: fnnet.Split(masked, Y)),
        ("y", lambda: fnnet.Split(X, labels)),
        ("w", lambda: fnnet.Layer(masked, X[0])),
        ("b", lambda: fnnet.Layer(X, masked[0])),
        ("images", lambda: fnnet.distort(0, np.ma.masked_array(np.zeros((1, 2, 2)), True))),
        ("masks", lambda: fnnet.loss_and_grads(PARAMS, X, Y, [masked, None])),
        ("array", lambda: fnnet.write_idx(tmp_path / "file", labels)),
        ("values", lambda: fnnet.tree_ravel(PARAMS)[1](np.ma.masked_array(np.zeros(59), True))),
        ("learning_rate", lambda: fnnet.rmsprop_init(ENSEMBLE, rates)),
        ("learning_rate", lambda: fnnet.adam_init(PARAMS, one)),
        ("learning_rate", lambda: replace(fnnet.sgd_init(ENSEMBLE), learning_rate=rates)),
        ("what f returns", lambda: fnnet.tree_map(np.ma.asarray, PARAMS)),
        ("decay", lambda: fnnet.rmsprop_init(PARAMS, decay=one)),
    ):
        with pytest.raises(TypeError, match=f"^{name} must not be a masked array"):
            call()
    with pytest.raises(ValueError, match="rate must"):
        fnnet.schedules.constant(one)


def test_a_matrix_is_an_array_like_any_other() -> None:
    x = np.array([[0.5, -1.0]])
    layer = fnnet.Layer(np.ones((2, 3)), np.zeros(3))
    same = fnnet.Layer(matrix(layer.w), layer.b)
    assert type(same.w) is np.ndarray
    assert not same.w.flags.writeable
    loss, gradient = fnnet.loss_and_grads(fnnet.Params((same,)), matrix(x), np.array([1]))
    expected, right = fnnet.loss_and_grads(fnnet.Params((layer,)), x, np.array([1]))
    assert loss == expected
    assert fnnet.tree_equal(gradient, right)


@pytest.mark.parametrize(
    "use",
    [
        lambda params: fnnet.forward(params, np.ones((1, 3))),
        lambda params: fnnet.grads(params, np.ones((1, 3)), [0]),
        lambda params: fnnet.rmsprop_init(params),
    ],
)
@pytest.mark.parametrize("field", ["activation", "output"])
@pytest.mark.parametrize("name", [["relu"], {"softmax": 1}, np.array(["relu"]), bytearray(b"relu")])
def test_a_name_that_is_no_text_is_told_by_its_argument(use: Any, field: str, name: Any) -> None:
    params = replace(fnnet.init_params(0, (3, 2), np.float64), **{field: name})
    with pytest.raises(ValueError, match=rf"{field} must be one of '\w+', .*, got "):
        use(params)


def test_functions_that_cannot_be_hashed_make_an_activation() -> None:
    class Identity:
        def __eq__(self, other: object) -> bool:
            return isinstance(other, Identity)

        def __call__(self, z: Any, h: Any = None) -> Any:
            return np.array(z) if h is None else np.ones_like(z)

    own = fnnet.Activation("own", Identity(), Identity())
    params = fnnet.init_params(0, (3, 4, 2), activation=own)
    x = np.ones((1, 3), np.float32)
    expected = fnnet.forward(replace(params, activation="identity"), x)
    np.testing.assert_array_equal(fnnet.forward(params, x), expected)
