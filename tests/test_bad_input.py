"""Whatever is given to a public function: a result, or a sentence of fnnet's own that says why not.

Each argument of each function is given everything that it must not be. An error must be raised by
fnnet itself, as the type that callers expect, and its sentence must name an argument.
"""

from __future__ import annotations

import inspect
import re
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from decimal import Decimal
from fractions import Fraction
from itertools import islice, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np
import pytest

import fnnet
from fnnet import exports, schedules
from fnnet.data import datasets, download, idx
from fnnet.storage import files
from tests import oracles
from tests.data.mirror import tiny_source
from tests.test_purity import FUNCTIONS, arguments

Call: TypeAlias = tuple[Callable[..., Any], dict[str, Any]]

PACKAGE = str(Path(fnnet.__file__).parent)
HUGE = 1e308


def matrix(values: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy advises against it, but users have some
        return np.matrix(values)


WRONG: dict[str, Any] = {
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
    "a truth": True,
    "NumPy's truth": np.True_,
    "a huge negative number": -(10**400),
    "a number near the largest": HUGE,
    "the least number": 5e-324,
    "a decimal number": Decimal("0.5"),
    "a fraction": Fraction(1, 3),
    "a wide number of NumPy's": np.uint64(2**64 - 1),
    "a narrow number of NumPy's": np.float16(0.5),
    "a long number of NumPy's": np.longdouble(1),
    "a set": {1, 2},
    "a path": Path("nowhere") / "file",
    "text that no file system has": "\ud800",
    "a null character": "a\0b",
    "no text": "",
    "an escape sequence": "\x1b[31m",
    "long text": "x" * 70_000,
    "a list with nothing in it": [None],
    "a number too large for an array": [10**400],
    "an ellipsis": ...,
    "a module": np,
    "an error": ValueError("an error"),
    "what returns nothing": lambda *args, **kwargs: None,
    "half precision": np.ones((7, 6), np.float16),
    "a generator of random numbers": np.random.default_rng(0),
    "an old generator": np.random.RandomState(0),
    "a data set": fnnet.load_digits(),
}
PARAMS, X, Y = oracles.problem()
SPLIT = fnnet.Split(X, Y)
GRADS = fnnet.grads(PARAMS, X, Y)
STATE = fnnet.rmsprop_init(PARAMS, 0.1)
OPTIMIZERS = ("sgd", "rmsprop", "adam")
# Nothing is asked of a server, but where the wrong value is what asks.
OFFLINE = {
    "download": False,
    "progress": False,
    "mirrors": ("http://127.0.0.1:9",),
    "timeout": 0.2,
}


def public(name: str, args: Any, kwargs: Any) -> Call:
    """A function of `fnnet.__all__`, its arguments, and its options as they are by default."""
    f = getattr(fnnet, name)
    bound = inspect.signature(f).bind(*args, **kwargs)
    bound.apply_defaults()

    def call(**values: Any) -> Any:
        bound.arguments.update(values)
        return f(*bound.args, **bound.kwargs)

    call.__signature__ = bound.signature  # type: ignore[attr-defined]  # it names arguments
    given = bound.arguments
    return call, {**given, **{option: OFFLINE[option] for option in given.keys() & OFFLINE.keys()}}


def built(kind: Any, example: Any, use: Callable[[Any], Any] = lambda made: made) -> Call:
    """A class, called with what an instance of it holds, and what is done with what it makes."""
    names = [each.name for each in fields(kind)]

    def make(**values: Any) -> Any:
        return use(kind(**values))

    make.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # it names arguments
        [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in names]
    )
    return make, {name: getattr(example, name) for name in names}


def opened(path: Any, mode: Any, follow: Any) -> bytes:
    with files.open_regular(path, mode, follow=follow) as file:
        return file.read(1)


def written(path: Any) -> None:
    with files.atomic_write(path) as file:
        file.write(b"x")


def state(optimizer: str) -> Call:
    made = fnnet.update(getattr(fnnet, f"{optimizer}_init")(PARAMS), GRADS)
    return built(type(made), made, lambda made: fnnet.update(made, GRADS))


def calls(folder: Path) -> dict[str, Call]:
    source = tiny_source(folder / "published")
    name, file = folder / "published" / source.files[0].name, source.files[0]
    places = {"directory": folder / "published", "cache": folder / "cache"}
    about, small = exports.About("set", ("a", "b"), 255), fnnet.init_params(0, (4, 3, 2))
    metrics = fnnet.Metrics(1, 0.5, 0.5, 0.5, 0.5, 1.0)
    checkpoint = fnnet.Checkpoint(STATE, np.random.default_rng(0), 1, (metrics,), {"a": 1})
    found = {"activation": "relu", "output": "softmax"}
    keras = [np.ones((4, 3)), np.ones(3), np.ones((3, 2))]
    torch = {"0.weight": np.ones((3, 4), np.float32), "0.bias": np.ones(3, np.float32)}
    own = fnnet.Activation("own", np.tanh, lambda z, h: 1 - h**2)
    steps = {"rule": lambda g, rate, w: [w], "state": fnnet.sgd_init(PARAMS), "grads": GRADS}
    written_to = {"path": folder / "n.npz", "params": small, "numbers": "int8", "about": about}
    return {
        **{name: public(name, *given) for name, given in arguments(folder).items()},
        "step_by_blocks": (fnnet.step_by_blocks, steps),
        "tree_map": (
            lambda f, tree, rest: fnnet.tree_map(f, tree, rest),
            {"f": np.add, "tree": PARAMS, "rest": GRADS},
        ),
        "Checkpoint": built(fnnet.Checkpoint, checkpoint),
        "GeneratorState": built(fnnet.GeneratorState, checkpoint.rng, lambda at: at.generator()),
        "Split": built(fnnet.Split, SPLIT),
        "Activation": built(fnnet.Activation, own),
        **{f"{each}'s state": state(each) for each in OPTIMIZERS},
        "as_c": (exports.as_c, {"params": small, "name": "n", "int8": False, "header": True}),
        "as_npz": (exports.as_npz, {"params": small, "numbers": "int8", "about": about}),
        "export": (exports.export, written_to),
        "About": built(exports.About, about),
        "from_keras": (exports.from_keras, {"weights": keras, **found}),
        "from_torch": (exports.from_torch, {"state_dict": torch, **found}),
        "from_sklearn": (exports.from_sklearn, {"model": None}),
        "constant": (schedules.constant, {"rate": 0.1}),
        "cosine": (schedules.cosine, {"rate": 0.1, "steps": 10, "end": 0.0}),
        "step_decay": (schedules.step_decay, {"rate": 0.1, "factor": 2.0, "every": 5}),
        "warm_up": (
            lambda steps, then: schedules.warm_up(steps, then)(3),
            {"steps": 5, "then": schedules.constant(0.1)},
        ),
        "a step of cosine": (schedules.cosine(0.1, 10), {"step": 3}),
        "a step of step_decay": (schedules.step_decay(0.1, 2.0, 5), {"step": 3}),
        "a step of warm_up": (schedules.warm_up(5, schedules.cosine(0.1, 10)), {"step": 3}),
        "load_source": (datasets.load_source, {"source": source, **places, **OFFLINE}),
        "title_of": (datasets.title_of, {"name": "mnist"}),
        "Source": built(datasets.Source, source),
        "RemoteFile": built(datasets.RemoteFile, file),
        "fetch": (
            download.fetch,
            {"file": file, "folder": folder / "f", "mirrors": OFFLINE["mirrors"], "timeout": 0.2},
        ),
        "describe_damage": (download.describe_damage, {"path": name, "file": file}),
        "check_timeout": (download.check_timeout, {"timeout": 1.0}),
        "is_packed": (idx.is_packed, {"path": name}),
        "contents_digest": (idx.contents_digest, {"array": np.arange(3, dtype=np.uint8)}),
        "atomic_write": (written, {"path": folder / "written"}),
        "open_regular": (opened, {"path": name, "mode": "rb", "follow": True}),
    }


with TemporaryDirectory() as once:  # tests have names before they have folders
    NAMES = [*calls(Path(once))]


def test_no_public_function_is_left_out() -> None:
    own = [
        name
        for name, f in vars(schedules).items()
        if inspect.isfunction(f) and f.__module__ == schedules.__name__ and name[0] != "_"
    ]
    loaders = [name for name in datasets.__all__ if name.startswith("load_")]
    assert {*FUNCTIONS, *exports.__all__, *own, *loaders} - {*NAMES} == {"as_onnx"}


# A function that is called is the user's: what it raises is, too.
CALLED = {"f", "rule", "gradient", "update", "epoch", "then"}
# A check in as many directions is what was asked for; it only has no end.
ENDLESS = {"a huge number", "a wide number of NumPy's"}


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_argument_is_a_result_or_a_sentence_that_names_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table = calls(tmp_path)
    for published in ("MNIST", "FASHION_MNIST", "KMNIST"):
        monkeypatch.setattr(datasets, published, table["load_source"][1]["source"])
    f, given = table[name]
    faults = []
    for argument, (what, wrong) in product(given, WRONG.items()):
        if argument == "learning_rate" and wrong is HUGE:
            continue  # it is a number: a step as long as this leads to infinity, and NumPy says so
        if argument == "directions" and what in ENDLESS:
            continue
        theirs = argument in CALLED and isinstance(wrong, type)
        fault = tried(f, {**given, argument: wrong}, theirs)
        faults += [f"{argument}, {what}: {fault}"] if fault else []
    assert "\n".join(faults) == ""


def tried(f: Callable[..., Any], given: dict[str, Any], theirs: bool) -> str | None:
    """What is wrong with how a function answers; None if nothing is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = f(**given)
            if isinstance(result, Iterator):
                list(islice(result, 2))
    except fnnet.DivergenceError:
        return None
    except OSError as error:
        return None if str(error) else repr(error)
    except (TypeError, ValueError) as error:
        if theirs:
            return None
        where = traceback.extract_tb(error.__traceback__)[-1].filename
        if not where.startswith(PACKAGE):
            return f"{where} says {error!r}"
        names = {*given, *inspect.signature(f).parameters}
        return None if re.search(rf"\b({'|'.join(names)})\b", str(error)) else f"unnamed: {error!r}"
    except Exception as error:
        return repr(error)
    return None


ENSEMBLE = fnnet.tree_map(lambda leaf: np.stack((leaf, leaf)), PARAMS)
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
    "map_idx": ((0,), "path must be a path, a str or path-like, got 0"),
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
