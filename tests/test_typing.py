"""What a type checker says of right programs and of wrong ones, under `mypy --strict`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).parents[1]
PRELUDE = """
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any
import numpy as np
import numpy.typing as npt
import fnnet

x = np.zeros((5, 3), np.float32)
y = np.zeros(5, np.uint8)
params = fnnet.init_params(0, (3, 4, 2))
state = fnnet.rmsprop_init(params)
split = fnnet.Split(np.zeros((5, 3), np.uint8), y)
"""

# Programs that must pass, line by line.
RIGHT = """
by_hand = fnnet.Params((fnnet.Layer(np.ones((3, 2)), np.zeros(2)),))
soft: float = fnnet.loss(params, x, np.full((5, 2), 0.5))
number: float = fnnet.cross_entropy(fnnet.forward(params, x), y)
vector, unravel = fnnet.tree_ravel(params)
again: fnnet.Params = unravel(2 * vector)
halves: fnnet.Params = fnnet.tree_map(lambda a, b: (a + b) / 2, params, again)
scheduled = dataclasses.replace(state, learning_rate=1e-3 * 0.9**3)
Floats = npt.NDArray[np.floating[Any]]
batch: Iterator[tuple[Floats, fnnet.network.Labels]] = fnnet.batches(0, split, 2)
step: Callable[[fnnet.RMSPropState, fnnet.Params], fnnet.RMSPropState] = fnnet.rmsprop_update
classes: npt.NDArray[np.intp] = fnnet.predict(params, x)
accuracies: list[float] = [
    record.metrics.test_accuracy for record in fnnet.train(state, split, split, rng=0, epochs=2)
]
saved = fnnet.Checkpoint(state, np.random.default_rng(0), 1)
fnnet.save_checkpoint("run", saved)
names: tuple[str, ...] = fnnet.load_digits().classes
for inputs, labels in fnnet.batches(np.random.default_rng(0), split, 2, np.float64):
    state = fnnet.rmsprop_update(state, fnnet.grads(state.params, inputs, labels))
try:
    saved = fnnet.load_checkpoint("run")
except fnnet.CheckpointError as error:
    print(error)
"""

# Expressions and the types they must have.
TYPES = {
    "fnnet.grads(params, x, y)": "fnnet.network.Params",
    "fnnet.loss_and_grads(params, x, y)": "tuple[float, fnnet.network.Params]",
    "fnnet.init_params(0, (3, 2))": "fnnet.network.Params",
    "fnnet.tree_map(lambda leaf: leaf, params)": "fnnet.network.Params",
    "fnnet.tree_map(lambda leaf: leaf, params.layers[0])": "fnnet.network.Layer",
    "fnnet.tree_ravel(params)[1](fnnet.tree_ravel(params)[0])": "fnnet.network.Params",
    "fnnet.loss(params, x, y)": "float",
    "params.layers": "tuple[fnnet.network.Layer, ...]",
    "params.layers[0].w": "ndarray[tuple[Any, ...], dtype[floating[Any]]]",
    "fnnet.forward(params, x)": "ndarray[tuple[Any, ...], dtype[floating[Any]]]",
    "fnnet.rmsprop_update(state, params)": "fnnet.optimizers.rmsprop.RMSPropState",
    "state.mean_squares": "fnnet.network.Params",
    "fnnet.train_step(state, x, y)": "tuple[fnnet.optimizers.rmsprop.RMSPropState, float]",
    "next(fnnet.train(state, split, rng=0, epochs=1))": "fnnet.training.Epoch",
    "fnnet.evaluate(params, split).confusion": "dtype[signedinteger[",
    "fnnet.load_checkpoint('run').state": "fnnet.optimizers.rmsprop.RMSPropState",
    "fnnet.load_checkpoint('run', None).state": "fnnet.optimizers.sgd.SGDState",  # one of a union
    "fnnet.hold_out(0, split, 2)": "tuple[fnnet.data.splits.Split, fnnet.data.splits.Split]",
    "fnnet.tree_equal(params, params)": "bool",
}

# Mistakes, and the code of the error that must be found.
WRONG = {
    "fnnet.forward(x, params)": "arg-type",
    "fnnet.grads(params, y, x, x)": "call-arg",
    "fnnet.loss(x, params, y)": "arg-type",
    "fnnet.forward([1.0, 2.0], x)": "arg-type",
    "fnnet.forward(params, [[1.0, 2.0, 3.0]])": "arg-type",
    "fnnet.forward(params, y)": "arg-type",
    "fnnet.loss(params, x, [0, 1])": "arg-type",
    "fnnet.Params([fnnet.Layer(np.ones((3, 2)), np.zeros(2))])": "arg-type",
    "fnnet.Params(params.layers[0])": "arg-type",
    "fnnet.Layer(np.ones((3, 2)))": "call-arg",
    "fnnet.Layer([[1.0]], [0.0])": "arg-type",
    "params.layers = ()": "misc",
    "params.layers[0].w = params.layers[0].w": "misc",
    "params.layers[0] = params.layers[0]": "index",
    "params.weights": "attr-defined",
    "state.params = params": "misc",
    "state.rate": "attr-defined",
    "fnnet.rmsprop_update(params, params)": "arg-type",
    "fnnet.rmsprop_update(state, state)": "arg-type",
    "fnnet.rmsprop_update(state, params, 0.1)": "call-arg",
    "fnnet.rmsprop_init(params, learning_rate='0.1')": "arg-type",
    "fnnet.init_params(0.5, (3, 2))": "arg-type",
    "fnnet.init_params(0, 3)": "arg-type",
    "fnnet.init_params(0, (3, 2.5))": "arg-type",
    "fnnet.batches(0, x, 2)": "arg-type",
    "fnnet.batches(0, split, 2.0)": "arg-type",
    "fnnet.batches(None, split, 2)": "arg-type",
    "fnnet.Split(np.zeros((5, 3), np.int64), y)": "arg-type",
    "fnnet.train(state, split, split, 0, 2)": "call-arg|misc",
    "fnnet.train(params, split, rng=0, epochs=2)": "type-var",
    "fnnet.train(state, split, rng=0)": "call-arg",
    "fnnet.train_step(params, x, y)": "type-var",
    "fnnet.evaluate(split, params)": "arg-type",
    "fnnet.save_checkpoint(fnnet.load_checkpoint('a'), 'a')": "arg-type",
    "fnnet.Checkpoint(state, 0)": "arg-type",
    "text: str = fnnet.loss(params, x, y)": "assignment",
    "layer: fnnet.Layer = fnnet.grads(params, x, y)": "assignment",
    "fnnet.tree_map(lambda a, b: a, params, params.layers[0])": "misc",
    "fnnet.tree_map(lambda leaf: 'w', params)": "return-value",
    "fnnet.tree_ravel(params)[1]('w')": "arg-type",
    "fnnet.gradients(params, x, y)": "attr-defined",
}


@pytest.fixture(scope="module")
def report(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """What mypy says of each line of one program that holds all of the above."""
    pytest.importorskip("mypy")
    program = tmp_path_factory.mktemp("typing") / "program.py"
    program.write_text(text(), "utf-8")
    kept = getattr(pytestconfig, "cache", None)  # from one run of the tests to the next
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-pretty"),
            *("--hide-error-context", "--show-error-codes", "--no-error-summary"),
            *("--cache-dir", str(kept.mkdir("mypy") if kept else program.parent / "cache")),
            str(program),
        ],
        capture_output=True,
        text=True,
        cwd=program.parent,
        env={**os.environ, "MYPYPATH": str(ROOT)},
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    said: dict[int, str] = {}
    for line, message in re.findall(r"(?m)^.*program\.py:(\d+): (.*)$", done.stdout):
        said[int(line)] = said.get(int(line), "") + message + "\n"
    return said


def text() -> str:
    return "\n".join([PRELUDE, dedent(RIGHT), *revealed(), *WRONG, ""])


def revealed() -> list[str]:
    return [f"reveal_type({expression})" for expression in TYPES]


def line_of(statement: str) -> int:
    return text().splitlines().index(statement) + 1


def test_right_programs_pass_without_a_word(report: dict[int, str]) -> None:
    end = line_of(revealed()[0])
    assert {line: said for line, said in report.items() if line < end} == {}


@pytest.mark.parametrize("expression", TYPES)
def test_results_have_concrete_types(report: dict[int, str], expression: str) -> None:
    said = report[line_of(f"reveal_type({expression})")]
    # NumPy before 2.2 says ndarray[Any, ...] where later ones say ndarray[tuple[Any, ...], ...].
    plain = re.sub(r"builtins\.|numpy\.(_typing\.(\w+\.)*)?", "", said)
    plain = plain.replace("ndarray[Any,", "ndarray[tuple[Any, ...],")
    assert "note: Revealed type is" in said
    assert TYPES[expression] in plain


@pytest.mark.parametrize("mistake", WRONG)
def test_mistakes_are_found(report: dict[int, str], mistake: str) -> None:
    said = report.get(line_of(mistake), "nothing was said")
    assert re.search(rf"error: .*\[{WRONG[mistake]}\]", said), said


def test_the_package_says_that_it_is_typed() -> None:
    assert (files("fnnet") / "py.typed").is_file()
