"""Whatever is given to a function of any public module: a result, or a sentence of fnnet's own.

Each argument is given what it must not be. An error must be raised by fnnet itself, as the type
that callers expect, and its sentence must name an argument. What `fnnet.__all__` has is called with
its options here; `test_bad_input.py` has its other arguments.
"""

from __future__ import annotations

import inspect
import re
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import fields
from decimal import Decimal
from fractions import Fraction
from itertools import islice, product
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

import fnnet
from fnnet import exports, schedules
from fnnet.data import datasets, download, idx
from fnnet.storage import files
from tests import oracles
from tests.data.mirror import tiny_source
from tests.test_bad_input import WRONG

Call: TypeAlias = tuple[Callable[..., Any], dict[str, Any]]

HUGE = 1e308
PACKAGE = str(Path(fnnet.__file__).parent)
MORE: dict[str, Any] = {
    **{name: value for name, value in WRONG.items() if name != "a generator"},
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


def built(kind: Any, example: Any, use: Callable[[Any], Any] = lambda made: made) -> Call:
    """A class, called with what an instance of it holds, and what is done with what it makes."""
    names = [each.name for each in fields(kind)]

    def make(**values: Any) -> Any:
        return use(kind(**values))

    make.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # it names arguments
        [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in names]
    )
    return make, {name: getattr(example, name) for name in names}


def with_options(name: str, **values: Any) -> Call:
    """A public function with its options as they are by default, and arguments."""
    f = getattr(fnnet, name)
    options = inspect.signature(f).parameters.values()
    default = {each.name: each.default for each in options if each.default is not each.empty}
    return f, {**default, **values}


def opened(path: Any, mode: Any, follow: Any) -> bytes:
    with files.open_regular(path, mode, follow=follow) as file:
        return file.read(1)


def written(path: Any) -> None:
    with files.atomic_write(path) as file:
        file.write(b"x")


def states(optimizer: str) -> Call:
    state = fnnet.update(getattr(fnnet, f"{optimizer}_init")(PARAMS), GRADS)
    return built(type(state), state, lambda made: fnnet.update(made, GRADS))


def calls(folder: Path) -> dict[str, Call]:
    source = tiny_source(folder / "published")
    name, file = folder / "published" / source.files[0].name, source.files[0]
    places = {"directory": folder / "published", "cache": folder / "cache"}
    loading = {"download": False, "progress": False, "mirrors": ("http://127.0.0.1:9",)}
    state, about = fnnet.rmsprop_init(PARAMS, 0.1), exports.About("set", ("a", "b"), 255)
    small = fnnet.init_params(0, (4, 3, 2))
    metrics = fnnet.Metrics(1, 0.5, 0.5, 0.5, 0.5, 1.0)
    checkpoint = fnnet.Checkpoint(state, np.random.default_rng(0), 1, (metrics,), {"a": 1})
    fnnet.save_checkpoint(folder / "saved", checkpoint)
    keras = [np.ones((4, 3)), np.ones(3), np.ones((3, 2))]
    torch = {"0.weight": np.ones((3, 4), np.float32), "0.bias": np.ones(3, np.float32)}
    own = fnnet.Activation("own", np.tanh, lambda z, h: 1 - h**2)
    train = {"epochs": 1, "rng": 0, "test": None}
    return {
        "as_c": (exports.as_c, {"params": small, "name": "n", "int8": False, "header": True}),
        "as_npz": (exports.as_npz, {"params": small, "numbers": "int8", "about": about}),
        "export": (
            exports.export,
            {"path": folder / "n.npz", "params": small, "numbers": "int8", "about": about},
        ),
        "About": built(exports.About, about),
        "from_keras": (
            exports.from_keras,
            {"weights": keras, "activation": "relu", "output": "softmax"},
        ),
        "from_torch": (
            exports.from_torch,
            {"state_dict": torch, "activation": "relu", "output": "softmax"},
        ),
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
        "load_source": (
            datasets.load_source,
            {"source": source, **places, **loading, "timeout": 0.2},
        ),
        "load_dataset": (datasets.load_dataset, {"name": "digits", "download": False}),
        "title_of": (datasets.title_of, {"name": "mnist"}),
        "Source": built(datasets.Source, source),
        "RemoteFile": built(datasets.RemoteFile, file),
        "fetch": (
            download.fetch,
            {"file": file, "folder": folder / "f", "mirrors": loading["mirrors"], "timeout": 0.2},
        ),
        "describe_damage": (download.describe_damage, {"path": name, "file": file}),
        "check_timeout": (download.check_timeout, {"timeout": 1.0}),
        "read_idx": (idx.read_idx, {"path": name, "limit": 10**6}),
        "write_idx": (idx.write_idx, {"path": folder / "w.gz", "array": Y}),
        "is_packed": (idx.is_packed, {"path": name}),
        "contents_digest": (idx.contents_digest, {"array": np.arange(3, dtype=np.uint8)}),
        "atomic_write": (written, {"path": folder / "written"}),
        "open_regular": (opened, {"path": name, "mode": "rb", "follow": True}),
        "load_checkpoint": with_options("load_checkpoint", path=folder / "saved"),
        "save_checkpoint": (
            fnnet.save_checkpoint,
            {"path": folder / "again", "checkpoint": checkpoint},
        ),
        "Checkpoint": built(fnnet.Checkpoint, checkpoint),
        "GeneratorState": built(fnnet.GeneratorState, checkpoint.rng, lambda at: at.generator()),
        "Split": built(fnnet.Split, SPLIT),
        "Activation": built(fnnet.Activation, own),
        "train": with_options("train", state=state, train=SPLIT, **train),
        "train_step": with_options("train_step", state=state, x=X, y=Y),
        "step_by_blocks": (
            fnnet.step_by_blocks,
            {"rule": lambda g, rate, w: [w], "state": fnnet.sgd_init(PARAMS), "grads": GRADS},
        ),
        "init_params": with_options("init_params", rng=0, sizes=(3, 2)),
        "dropout_masks": (
            fnnet.dropout_masks,
            {"rng": 0, "params": PARAMS, "n": 3, "rates": (0.1, 0.5)},
        ),
        "hold_out": with_options("hold_out", rng=0, split=SPLIT, n=3),
        "batches": with_options("batches", rng=0, split=SPLIT, batch_size=3),
        "distort": with_options("distort", rng=0, images=np.ones((2, 8, 8), np.uint8)),
        "moving_average": with_options("moving_average", average=PARAMS, params=PARAMS, decay=0.9),
        "tree_allclose": with_options("tree_allclose", a=PARAMS, b=PARAMS),
        "tree_map": (lambda f, tree: fnnet.tree_map(f, tree), {"f": np.copy, "tree": PARAMS}),
        **{f"{each}_init": with_options(f"{each}_init", params=PARAMS) for each in OPTIMIZERS},
        **{f"{each}'s state": states(each) for each in OPTIMIZERS},
    }


OPTIMIZERS = ("sgd", "rmsprop", "adam")
NAMES = (
    *("as_c", "as_npz", "export", "About", "from_keras", "from_torch", "from_sklearn"),
    *("constant", "cosine", "step_decay", "warm_up"),
    *("a step of cosine", "a step of step_decay", "a step of warm_up"),
    *("load_source", "load_dataset", "title_of", "Source", "RemoteFile"),
    *("fetch", "describe_damage", "check_timeout"),
    *("read_idx", "write_idx", "is_packed", "contents_digest", "atomic_write", "open_regular"),
    *("load_checkpoint", "save_checkpoint", "Checkpoint", "GeneratorState"),
    *("Split", "Activation", "train", "train_step", "step_by_blocks", "init_params"),
    *("dropout_masks", "hold_out", "batches", "distort", "moving_average", "tree_allclose"),
    "tree_map",
    *(f"{each}_init" for each in OPTIMIZERS),
    *(f"{each}'s state" for each in OPTIMIZERS),
)
# A function that is called is the user's: what it raises is, too.
CALLED = {"f", "rule", "gradient", "update", "epoch", "then"}


def test_what_is_tried_is_what_is_listed(tmp_path: Path) -> None:
    assert set(calls(tmp_path)) == set(NAMES)
    public = {name for name in exports.__all__ if name != "as_onnx"}
    assert public <= set(NAMES)
    own = vars(schedules).items()
    made = {name for name, f in own if inspect.isfunction(f) and f.__module__ == schedules.__name__}
    assert {name for name in made if not name.startswith("_")} <= set(NAMES)
    assert {name for name in datasets.__all__ if name.startswith("load_")} <= {
        *NAMES,
        *("load_mnist", "load_fashion_mnist", "load_kmnist", "load_digits"),
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_argument_is_a_result_or_a_sentence_that_names_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    f, given = calls(tmp_path)[name]
    faults = []
    for argument, (what, wrong) in product(given, MORE.items()):
        if argument in CALLED and isinstance(wrong, type):
            continue
        if argument == "learning_rate" and wrong is HUGE:
            continue  # it is a number: a step as long as this leads to infinity, and NumPy says so
        fault = tried(f, {**given, argument: wrong})
        faults += [f"{argument}, {what}: {fault}"] if fault else []
    assert "\n".join(faults) == ""


def tried(f: Callable[..., Any], given: dict[str, Any]) -> str | None:
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
        where = traceback.extract_tb(error.__traceback__)[-1].filename
        if not where.startswith(PACKAGE):
            return f"{where} says {error!r}"
        names = {*given, *inspect.signature(f).parameters}
        return None if re.search(rf"\b({'|'.join(names)})\b", str(error)) else f"unnamed: {error!r}"
    except Exception as error:
        return repr(error)
    return None
