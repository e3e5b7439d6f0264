"""Inputs and labels as users have them: alike everywhere, or a sentence that says what to write."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fnnet
from fnnet import Split, as_inputs

RNG = np.random.default_rng(0)
WHOLE = RNG.integers(0, 2, (12, 6))  # numbers that every dtype can hold
CLASSES = np.arange(12) % 4
PARAMS = fnnet.init_params(0, (6, 5, 4), np.float64)
STATE = fnnet.sgd_init(PARAMS, 0.1)

CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "forward": lambda x, y: fnnet.forward(PARAMS, x),
    "predict": lambda x, y: fnnet.predict(PARAMS, x),
    "predict_proba": lambda x, y: fnnet.predict_proba(PARAMS, x),
    "loss": lambda x, y: fnnet.loss(PARAMS, x, y),
    "losses": lambda x, y: fnnet.losses(PARAMS, x, y),
    "grads": lambda x, y: fnnet.grads(PARAMS, x, y),
    "input_grads": lambda x, y: fnnet.input_grads(PARAMS, x, y),
    "vjp": lambda x, y: fnnet.vjp(PARAMS, x, np.ones((12, 4))),
    "cross_entropy": lambda x, y: fnnet.cross_entropy(fnnet.forward(PARAMS, WHOLE), y),
    "as_inputs": lambda x, y: as_inputs(x, np.float64),
    "split": lambda x, y: as_inputs(Split(x, y), np.float64),
    "batches": lambda x, y: next(fnnet.batches(0, Split(x, y), 5, np.float64))[0],
    "hold_out": lambda x, y: as_inputs(fnnet.hold_out(0, Split(x, y), 5)[1], np.float64),
    "evaluate": lambda x, y: fnnet.evaluate(PARAMS, Split(x, y)).loss,
    "train_step": lambda x, y: fnnet.train_step(STATE, x, y)[0].params,
    "train": lambda x, y: next(fnnet.train(STATE, Split(x, y), rng=0, epochs=1)).state.params,
}


def vector(result: Any) -> Any:
    tree = isinstance(result, fnnet.Params)
    return np.ascontiguousarray(fnnet.tree_ravel(result)[0] if tree else result)


def table(frame: Any) -> Any:
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(frame, index=np.arange(len(frame))[::-1], columns=list("abcdef"))


def series(values: Any) -> Any:
    return pytest.importorskip("pandas").Series(values, index=np.arange(len(values))[::-1])


def read_only(x: Any) -> Any:
    x = np.array(x)
    x.setflags(write=False)
    return x


class Foreign:
    """Something that NumPy makes an array of, as tables of other libraries."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.asarray(self.values, dtype)


FEATURES: dict[str, Callable[[Any], Any]] = {
    "list": lambda x: x.tolist(),
    "tuple": lambda x: tuple(map(tuple, x.tolist())),
    "list of rows": lambda x: list(x.astype(float)),
    "frame": table,
    "mixed frame": lambda x: table(x).astype({"a": "int8", "b": "float32", "c": "bool"}),
    "foreign": Foreign,
    "bool": lambda x: x.astype(bool),
    "int8": lambda x: x.astype(np.int8),
    "uint16": lambda x: x.astype(np.uint16),
    "int64": lambda x: x.astype(np.int64),
    "float16": lambda x: x.astype(np.float16),
    "float32": lambda x: x.astype(np.float32),
    "big-endian": lambda x: x.astype(">f8"),
    "fortran": lambda x: np.asfortranarray(x, float),
    "strided": lambda x: np.repeat(x, 2, 0)[::2].astype(float),
    "read-only": read_only,
}
LABELS: dict[str, Callable[[Any], Any]] = {
    "list": lambda y: y.tolist(),
    "tuple": lambda y: tuple(y.tolist()),
    "series": series,
    "foreign": Foreign,
    "uint8": lambda y: y.astype(np.uint8),
    "int8": lambda y: y.astype(np.int8),
    "column": lambda y: y[:, None],
    "list of columns": lambda y: y[:, None].tolist(),
    "frame of a column": lambda y: series(y).to_frame(),
    "one-hot": lambda y: np.eye(4)[y],
    "integer one-hot": lambda y: np.eye(4, dtype=np.int64)[y],
    "bytes one-hot": lambda y: np.eye(4, dtype=np.uint8)[y],
    "bool one-hot": lambda y: np.eye(4, dtype=bool)[y],
    "list one-hot": lambda y: np.eye(4, dtype=int)[y].tolist(),
    "read-only": read_only,
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("form", FEATURES)
def test_features_in_any_form_are_the_same_features(form: str, call: str) -> None:
    expected = CALLS[call](WHOLE.astype(float), CLASSES)
    got = CALLS[call](FEATURES[form](WHOLE), CLASSES)
    assert vector(got).tobytes() == vector(expected).tobytes()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("form", LABELS)
def test_labels_in_any_form_are_the_same_labels(form: str, call: str) -> None:
    expected = CALLS[call](WHOLE.astype(float), CLASSES)
    got = CALLS[call](WHOLE.astype(float), LABELS[form](CLASSES))
    if "one-hot" in form:  # the same numbers, added up in another order
        np.testing.assert_allclose(vector(got), vector(expected), 1e-12, 1e-15)
    else:
        assert vector(got).tobytes() == vector(expected).tobytes()


def test_bools_are_two_classes() -> None:
    params, x, y = fnnet.init_params(0, (6, 2)), WHOLE, CLASSES % 2
    assert fnnet.loss(params, x, y.astype(bool)) == fnnet.loss(params, x, y)
    result = fnnet.evaluate(params, Split(x, y.astype(bool)))
    assert result.loss == fnnet.evaluate(params, Split(x, y)).loss


# What is not plain


WORDS: list[Any] = [
    np.array(["cat", "dog"] * 6),
    ["cat", "dog"] * 6,
    np.array(["cat", "dog"] * 6, object),
    np.array([b"cat", b"dog"] * 6),
]


@pytest.mark.parametrize(
    "call", ["loss", "losses", "grads", "cross_entropy", "split", "train_step"]
)
@pytest.mark.parametrize("y", WORDS, ids=["array", "list", "objects", "bytes"])
def test_words_as_labels_name_the_way_to_classes(call: str, y: Any) -> None:
    message = r"^y must .*: write `classes, y = np\.unique\(y, return_inverse=True\)"
    with pytest.raises(TypeError, match=message):
        CALLS[call](WHOLE, y)


def test_the_way_to_classes_is_one() -> None:
    classes, y = np.unique(WORDS[0], return_inverse=True)
    params = fnnet.init_params(0, (6, 2))
    found = fnnet.predict(params, WHOLE)
    assert np.isfinite(fnnet.loss(params, WHOLE, y))
    assert set(classes[found]) <= {"cat", "dog"}


def test_words_in_a_series_name_the_way_to_classes() -> None:
    with pytest.raises(TypeError, match=r"np\.unique\(y, return_inverse=True\)"):
        Split(WHOLE, series(WORDS[1]))


@pytest.mark.parametrize("call", ["forward", "loss", "predict", "as_inputs", "split", "train_step"])
def test_features_that_are_no_numbers_are_refused(call: str) -> None:
    for x in (
        WHOLE.astype(str),
        WHOLE.astype(object),
        WHOLE.astype("M8[s]"),
        WHOLE.astype(complex),
    ):
        with pytest.raises(TypeError, match=r"^x must (hold|be an array of) numbers, got "):
            CALLS[call](x, CLASSES)


def test_ragged_lists_are_refused() -> None:
    for call in ("forward", "loss", "split"):
        with pytest.raises(ValueError, match=r"^x must be an array: "):
            CALLS[call]([[1.0] * 6] * 11 + [[1.0] * 5], CLASSES)


# Bytes


def test_a_table_of_bytes_is_refused_with_both_remedies_and_they_work() -> None:
    x = RNG.integers(0, 256, (12, 6), np.uint8)
    with pytest.raises(
        ValueError, match=r"Split\(x, y, divisor=255\) for images, .*divisor=1\) for"
    ):
        Split(x, CLASSES)
    for name in ("forward", "predict", "loss", "train_step"):
        with pytest.raises(TypeError, match=r"x must be floats, got uint8: write .* x / 255 for"):
            CALLS[name](x, CLASSES)
    images, numbers = (Split(x, CLASSES, divisor=d) for d in (255, 1))
    np.testing.assert_allclose(as_inputs(images, np.float64), x / 255, 1e-15)
    assert np.array_equal(as_inputs(numbers, np.float64), x)
    expected = fnnet.loss(PARAMS, x / 255, CLASSES)
    assert fnnet.evaluate(PARAMS, images).loss == pytest.approx(expected, rel=1e-12)
    expected = fnnet.loss(PARAMS, x.astype(float), CLASSES)
    assert fnnet.evaluate(PARAMS, numbers).loss == pytest.approx(expected, rel=1e-12)


def test_one_image_of_bytes_names_the_way_to_inputs_and_it_works() -> None:
    image = RNG.integers(0, 256, (2, 3), np.uint8)
    with pytest.raises(ValueError, match=r"write x\[None\] for one image, x / 255 for rows of"):
        as_inputs(image)
    assert np.array_equal(as_inputs(image[None], np.float64)[0], image.reshape(6) / 255)
    assert np.array_equal(as_inputs(image / 255, np.float64), image / 255)


def test_bytes_are_a_derivative_as_good_as_any() -> None:
    dz = RNG.integers(0, 9, (12, 4), np.uint8)
    expected = fnnet.vjp(PARAMS, WHOLE, dz.astype(float))
    assert fnnet.tree_equal(fnnet.vjp(PARAMS, WHOLE, dz), expected)


@pytest.mark.parametrize("call", ["forward", "predict", "loss", "grads", "train_step"])
def test_a_split_as_an_array_names_the_way_to_its_arrays(call: str) -> None:
    split = Split(WHOLE, CLASSES)
    with pytest.raises(TypeError, match=r"^x must be an array: .* write as_inputs\(split\)"):
        CALLS[call](split, CLASSES)
    with pytest.raises(TypeError, match=r"^y must be an array: .* split\.y for labels$"):
        CALLS["loss"](as_inputs(split, np.float64), split)
    with pytest.raises(TypeError, match="a Split holds two"):
        np.asarray(split)


@pytest.mark.parametrize("shape", [(12, 2, 3), (12, 1, 2, 3)])
def test_bytes_of_three_or_four_axes_are_images(shape: tuple[int, ...]) -> None:
    x = RNG.integers(0, 256, shape, np.uint8)
    split = Split(x, CLASSES)
    assert split.divisor == 255
    assert as_inputs(x).shape == (12, 6)
    assert np.array_equal(as_inputs(split), as_inputs(x))
    assert np.array_equal(as_inputs(x, np.float64), x.reshape(12, 6) / 255)
    assert np.array_equal(as_inputs(Split(x, CLASSES, divisor=1)), x.reshape(12, 6))


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.float32, np.float64, bool])
def test_nothing_but_bytes_is_divided_unasked(dtype: Any) -> None:
    x = RNG.integers(0, 2, (12, 2, 3)).astype(dtype)
    assert Split(x, CLASSES).divisor == 1
    assert np.array_equal(as_inputs(x), x.reshape(12, 6))
    halved = as_inputs(Split(x, CLASSES, divisor=2), np.float64)
    assert np.array_equal(halved, x.reshape(12, 6) / 2)


def test_predicting_on_a_data_set_is_one_line() -> None:
    data = fnnet.load_digits()
    params = fnnet.init_params(0, (64, 16, 10))
    classes = fnnet.predict(params, as_inputs(data.test))
    assert np.mean(classes == data.test.y) == fnnet.evaluate(params, data.test).accuracy
    few = data.test[:10]
    assert (type(few), len(few), few.divisor) == (Split, 10, data.test.divisor)
    assert np.array_equal(as_inputs(few), as_inputs(data.test)[:10])
    assert np.array_equal(fnnet.predict(params, as_inputs(few)), classes[:10])


def test_what_a_split_is_trained_on_are_its_inputs() -> None:
    x = RNG.integers(0, 256, (12, 6), np.uint8)
    for divisor in (1, 16, 255):
        split = Split(x, CLASSES, divisor=divisor)
        (record,) = fnnet.train(STATE, split, rng=0, epochs=1)
        floats = Split(as_inputs(split, np.float64), CLASSES)
        (same,) = fnnet.train(STATE, floats, rng=0, epochs=1)
        assert fnnet.tree_equal(record.state.params, same.state.params)


@pytest.mark.parametrize(
    "rows",
    [slice(None), slice(3, 9, 2), slice(None, None, -1), np.array([5, 1, 1]), CLASSES == 2],
    ids=["all", "some", "reversed", "rows", "mask"],
)
def test_a_part_of_a_split_is_its_rows(rows: Any) -> None:
    split = Split(WHOLE, CLASSES, np.arange(12) + 1, divisor=2)
    part = split[rows]
    assert np.array_equal(part.x, WHOLE[rows])
    assert np.array_equal(part.y, CLASSES[rows])
    assert np.array_equal(np.asarray(part.weights), (np.arange(12) + 1)[rows])
    assert part.divisor == 2


def test_a_slice_of_a_split_is_a_view() -> None:
    split = Split(WHOLE.copy(), CLASSES.copy())
    assert np.shares_memory(split[2:5].x, split.x)
    assert np.shares_memory(split[2:5].y, split.y)


# Memory


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("mapped", [True, False])
def test_big_data_are_taken_by_the_row_in_every_function(
    tmp_path: Path, order: Any, mapped: bool
) -> None:
    shape = (20_000, 50)
    if mapped:
        x: Any = np.lib.format.open_memmap(
            tmp_path / "x.npy", "w+", np.int16, shape, fortran_order=order == "F"
        )
    else:
        x = np.zeros(shape, np.int16, order)
    y, params = np.zeros(20_000, np.uint8), fnnet.init_params(0, (50, 3))
    split = Split(x, y)
    assert np.shares_memory(split.x, x)
    tracemalloc.start()
    for batch in fnnet.batches(0, split, 100):
        del batch
    fnnet.evaluate(params, split)
    as_inputs(split[:10])
    list(fnnet.train(fnnet.sgd_init(params), split, rng=0, epochs=1, batch_size=100))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < x.nbytes / 2


# Names that say what to write


def test_parameters_in_the_place_of_a_state_name_the_way_to_one() -> None:
    split: Any = Split(WHOLE, CLASSES)
    wrong: Any = PARAMS
    for use in (
        lambda: fnnet.train(wrong, split, rng=0, epochs=1),
        lambda: fnnet.train(wrong, split, rng=0, epochs=1, update=fnnet.sgd_update),
        lambda: fnnet.train_step(wrong, WHOLE, CLASSES),
        lambda: fnnet.train_step(wrong, WHOLE, CLASSES, update=fnnet.sgd_update),
        lambda: fnnet.update(wrong, PARAMS),
    ):
        with pytest.raises(TypeError, match=r"got Params: write rmsprop_init\(params\)"):
            use()


def test_a_state_in_the_place_of_parameters_names_them() -> None:
    wrong: Any = STATE
    for f in (fnnet.forward, fnnet.predict, fnnet.predict_proba):
        with pytest.raises(TypeError, match=r"got SGDState: write state\.params"):
            f(wrong, WHOLE)


def test_classes_in_the_place_of_logits_are_refused() -> None:
    wrong: Any = CLASSES
    for f in (fnnet.softmax, fnnet.log_softmax, lambda z: fnnet.cross_entropy(z, CLASSES)):
        with pytest.raises(TypeError, match=r"got dtype int64: write logits.astype\(float\) if"):
            f(wrong)


def test_a_nan_in_the_data_is_named_with_its_row_and_column() -> None:
    x = WHOLE.astype(float)
    x[7, 2] = x[9, 0] = np.nan
    state = fnnet.rmsprop_init(PARAMS)
    message = r"^x of the data is NaN in row 7, column 2: .* go on from there with data without it$"
    for size in (1, 5, 12):
        with pytest.raises(fnnet.DivergenceError, match=message) as caught:
            list(fnnet.train(state, Split(x, CLASSES), rng=0, epochs=1, batch_size=size))
        assert "learning rate" not in str(caught.value)
    with pytest.raises(fnnet.DivergenceError, match=message):
        list(fnnet.train(state, Split(x, CLASSES), rng=0, epochs=1, epoch=fnnet.train_epoch))


@pytest.mark.parametrize("output", ["softmax", "sigmoid", "identity"])
def test_a_nan_in_the_labels_is_named_with_its_row_and_column(output: str) -> None:
    y = np.eye(4)[CLASSES]
    y[7, 2] = np.nan
    params = fnnet.init_params(0, (6, 4), output=output)
    message = "^y must hold numbers, got NaN in row 7, column 2$"
    for use in (
        lambda: fnnet.loss(params, WHOLE, y),
        lambda: fnnet.evaluate(params, Split(WHOLE, y)),
        lambda: fnnet.train(fnnet.sgd_init(params), Split(WHOLE, y), rng=0, epochs=1),
    ):
        with pytest.raises(ValueError, match=message):
            use()


# JAX


def test_jax_is_told_the_way_to_gradients() -> None:
    jax = pytest.importorskip("jax")
    fnnet.register_jax()
    message = r"tracer of JAX.*fnnet\.grads\(params, x, y\).*fnnet\.vjp.*register_jax\(\)"
    x, y = WHOLE.astype(np.float32), CLASSES
    uses: list[Callable[[], Any]] = [
        lambda: jax.grad(fnnet.loss)(PARAMS, x, y),
        lambda: jax.value_and_grad(fnnet.loss)(PARAMS, x, y),
        lambda: jax.jit(fnnet.forward)(PARAMS, x),
        lambda: jax.jit(fnnet.loss_and_grads)(PARAMS, x, y),
        lambda: jax.grad(lambda x: fnnet.loss(PARAMS, x, y))(x),
        lambda: jax.vmap(lambda x: fnnet.forward(PARAMS, x))(x),
        lambda: jax.jit(lambda y: fnnet.loss(PARAMS, x, y))(y),
        lambda: jax.jit(lambda w: fnnet.loss(PARAMS, x, y, weights=w))(np.ones(12)),
        lambda: jax.jit(lambda dz: fnnet.vjp(PARAMS, x, dz))(np.ones((12, 4))),
    ]
    for use in uses:
        with pytest.raises(TypeError, match=f"^(params|x|y|weights|dz) must not be a {message}"):
            use()


def test_arrays_of_jax_are_inputs_but_no_parameters() -> None:
    jax = pytest.importorskip("jax")
    fnnet.register_jax()
    x, y = jax.numpy.asarray(WHOLE, "float32"), jax.numpy.asarray(CLASSES)
    assert fnnet.loss(PARAMS, x, y) == fnnet.loss(PARAMS, WHOLE, CLASSES)
    theirs = jax.tree.map(jax.numpy.asarray, PARAMS)
    with pytest.raises(
        TypeError, match=r"NumPy's arrays, got .*jax\.tree\.map\(np\.asarray, params"
    ):
        fnnet.forward(theirs, WHOLE)
    ours = fnnet.forward(jax.tree.map(np.asarray, theirs), WHOLE)
    np.testing.assert_allclose(ours, fnnet.forward(PARAMS, WHOLE), 1e-5)
