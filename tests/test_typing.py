"""What `mypy --strict` and pyright's strict mode say of right programs and of wrong ones."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

import fnnet
from fnnet.optimizers.states import OPTIMIZERS

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
split = fnnet.Split(np.zeros((5, 2, 2), np.uint8), y)
data = fnnet.load_digits()
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
batch: Iterator[tuple[Floats, Any]] = fnnet.batches(0, split, 2)
listed: float = fnnet.loss(params, [[1.0, 2.0, 3.0]], [1], weights=[0.5])
whole = fnnet.Split(np.zeros((5, 3), np.int64), [0, 1, 0, 1, 0], weights=np.ones(5))
first: fnnet.Split = whole[:2]
softplus = fnnet.Activation("softplus", lambda z: np.logaddexp(0, z), lambda z, h: -np.expm1(-h))
own = fnnet.init_params(np.random.default_rng(0), [3, 2], activation=softplus, output="identity")
rate: float = fnnet.schedules.warm_up(5, fnnet.schedules.cosine(0.1, 20))(3)
step: Callable[[fnnet.RMSPropState, fnnet.Params], fnnet.RMSPropState] = fnnet.rmsprop_update
classes: npt.NDArray[np.intp] = fnnet.predict(params, x)
accuracies: list[float] = [
    record.metrics.test_accuracy for record in fnnet.train(state, split, split, rng=0, epochs=2)
]
saved = fnnet.Checkpoint(state, np.random.default_rng(0), 1, extra={"seed": 0, "mean": x})
fnnet.save_checkpoint("run", saved)
names: tuple[str, ...] = fnnet.load_digits().classes
for inputs, labels in fnnet.batches(np.random.default_rng(0), split, 2, np.float64):
    state = fnnet.rmsprop_update(state, fnnet.grads(state.params, inputs, labels))
try:
    saved = fnnet.load_checkpoint("run", fnnet.RMSPropState)
    generator: np.random.Generator = saved.rng.generator()
    for epoch in fnnet.train(saved.state, split, rng=saved.rng, start=saved.epoch, epochs=9):
        saved = fnnet.Checkpoint(epoch.state, epoch.rng, epoch.metrics.epoch)
except fnnet.CheckpointError as error:
    print(error)


@dataclasses.dataclass(frozen=True, slots=True, eq=False, repr=False)
class MineState(fnnet.OptimizerState):
    params: fnnet.Params
    step: int
    learning_rate: float | Floats = dataclasses.field(metadata=fnnet.within(0))


def mine_init(params: fnnet.Params, learning_rate: float | Floats = 0.1) -> MineState:
    return fnnet.first_state(MineState(params, 0, learning_rate))


def rule(g: Floats, rate: float | Floats, w: Floats) -> list[Floats]:
    return [w - rate * g]


def mine_update(state: MineState, grads: fnnet.Params) -> MineState:
    return fnnet.step_by_blocks(rule, state, grads)


fnnet.register(MineState, mine_init, mine_update)
mine: MineState = fnnet.update(mine_init(params), fnnet.grads(params, x, y))
for mine_epoch in fnnet.train(mine, split, rng=0, epochs=1):
    mine = mine_epoch.state
"""

Floats = "ndarray[tuple[Any, ...], dtype[floating[Any]]]"
Params, Layer, Split = "fnnet.params.Params", "fnnet.params.Layer", "fnnet.data.splits.Split"
State = "fnnet.optimizers.rmsprop.RMSPropState"
Checkpoint = "fnnet.storage.checkpoints.Checkpoint"

# Expressions and the types they must have.
TYPES = {
    "params.layers": f"tuple[{Layer}, ...]",
    "params.layers[0].w": Floats,
    "params.output": "str",
    "fnnet.init_params(0, (3, 2))": Params,
    "fnnet.forward(params, x)": Floats,
    "fnnet.softmax(x)": Floats,
    "fnnet.log_softmax(x)": Floats,
    "fnnet.cross_entropy(x, y)": "float",
    "fnnet.loss(params, x, y)": "float",
    "fnnet.losses(params, x, y)": Floats,
    "fnnet.grads(params, x, y)": Params,
    "fnnet.loss_and_grads(params, x, y)": f"tuple[float, {Params}]",
    "fnnet.vjp(params, x, x)": Params,
    "fnnet.input_grads(params, x, y)": Floats,
    "fnnet.predict(params, x)": "ndarray[tuple[Any, ...], dtype[Any]]",
    "fnnet.predict_proba(params, x)": Floats,
    **{
        f"fnnet.{each.init.__name__}(params)": f"{each.state.__module__}.{each.state.__name__}"
        for each in OPTIMIZERS.values()
    },
    **{
        f"fnnet.{each.update.__name__}(fnnet.{each.init.__name__}(params), params)": (
            f"{each.state.__module__}.{each.state.__name__}"
        )
        for each in OPTIMIZERS.values()
    },
    "state.mean_squares": Params,
    "fnnet.first_state(state)": State,
    "fnnet.register(fnnet.SGDState, fnnet.sgd_init, fnnet.sgd_update)": "None",
    "fnnet.update(state, params)": State,
    "fnnet.within(0, 1)": "dict[str, tuple[float, float]]",
    "fnnet.step_by_blocks(rule, state, params)": State,
    "fnnet.as_inputs(split)": Floats,
    "next(fnnet.batches(0, split, 2))[0]": Floats,
    "next(fnnet.weighted_batches(0, split, 2))[0]": Floats,
    "fnnet.class_weights(y, 2)": Floats,
    "fnnet.hold_out(0, split, 2)": f"tuple[{Split}, {Split}]",
    "fnnet.evaluate(params, split)": "fnnet.records.Evaluation",
    "fnnet.evaluate(params, split).confusion": "dtype[signedinteger[",
    "fnnet.train_step(state, x, y)": f"tuple[{State}, float]",
    "fnnet.train(state, split, rng=0, epochs=1)": f"Iterator[fnnet.records.Epoch[{State}]]",
    "next(fnnet.train(state, split, rng=0, epochs=1)).rng": "fnnet.randomness.GeneratorState",
    "fnnet.prepare(split)": "fnnet.ragged.Prepared",
    "fnnet.train_epoch(state, split, 0)": f"tuple[{State}, ndarray[",
    "fnnet.clip_by_global_norm(params, 1.0)": Params,
    "fnnet.decay_weights(params, 0.1)": Params,
    "fnnet.dropout_masks(0, params, 5, (0, 0.5))": f"tuple[{Floats} | None, ...]",
    "fnnet.l2_penalty(params, 0.1)": f"tuple[float, {Params}]",
    "fnnet.moving_average(params, params, 0.9)": Params,
    "fnnet.smooth_labels(y, 2, 0.1)": Floats,
    "fnnet.stop_early([0.1], 3)": "bool",
    "fnnet.layer_inputs(params, x)": f"tuple[tuple[{Floats}, ...], {Floats}]",
    "fnnet.hessian_vector(params, x, y, params)": Params,
    "fnnet.gauss_newton_vector(params, x, y, params, weights=[1.0] * 5)": Params,
    "fnnet.check_grads(lambda at: fnnet.loss_and_grads(at, x, y), params)": "float",
    "fnnet.distort(0, np.zeros((5, 2, 2), np.uint8))": "dtype[unsignedinteger[",
    "fnnet.distort(0, np.zeros((5, 2, 2)))": "dtype[float",
    "fnnet.load_checkpoint('run')": f"{Checkpoint}[fnnet.optimizers.states.State]",
    "fnnet.load_checkpoint('run').state.params": Params,
    "fnnet.load_checkpoint('run', fnnet.AdamState).state": "fnnet.optimizers.adam.AdamState",
    "fnnet.load_checkpoint('run').rng.generator()": "random._generator.Generator",
    "fnnet.save_checkpoint('run', fnnet.load_checkpoint('run'))": "None",
    "fnnet.load_dataset('digits')": "fnnet.data.splits.Dataset",
    "fnnet.load_digits()": "fnnet.data.splits.Dataset",
    "fnnet.load_mnist('folder').train": Split,
    "fnnet.load_fashion_mnist('folder')": "fnnet.data.splits.Dataset",
    "fnnet.load_kmnist('folder')": "fnnet.data.splits.Dataset",
    "fnnet.map_idx('file')": "ndarray[tuple[Any, ...], dtype[",
    "fnnet.read_idx('file')": "ndarray[tuple[Any, ...], dtype[",
    "fnnet.write_idx('file', y)": "None",
    "fnnet.tree_equal(params, params)": "bool",
    "fnnet.tree_allclose(params, params)": "bool",
    "fnnet.tree_leaves(params)": f"list[{Floats}]",
    "fnnet.tree_map(lambda leaf: leaf, params)": Params,
    "fnnet.tree_map(lambda leaf: leaf, params.layers[0])": Layer,
    "fnnet.tree_ravel(params)[1](fnnet.tree_ravel(params)[0])": Params,
    "fnnet.register_jax()": "None",
}

# Mistakes, and the code of the error that must be found.
WRONG = {
    "fnnet.forward(x, params)": "arg-type",
    "fnnet.grads(params, y, x, x)": "call-arg",
    "fnnet.loss(x, params, y)": "arg-type",
    "fnnet.forward([1.0, 2.0], x)": "arg-type",
    "fnnet.forward(params, None)": "arg-type",
    "fnnet.forward(params, {'a': 1})": "arg-type",
    "fnnet.loss(params, x, y, y)": "call-arg|misc",
    "fnnet.loss(params, x, None)": "arg-type",
    "fnnet.init_params(0, (3, 2), activation=3)": "arg-type",
    "fnnet.update(params, params)": "type-var",
    "fnnet.update(state, state)": "arg-type",
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
    "fnnet.Split(None, y)": "arg-type",
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


def of_any_shape(said: str) -> str:
    """With shapes as NumPy writes them from 2.3 on; before, they were Any, then tuple[int, ...]."""
    return re.sub(r"ndarray\[(Any|tuple\[int, \.\.\.\]),", "ndarray[tuple[Any, ...],", said)


@pytest.mark.parametrize("expression", TYPES)
def test_results_have_concrete_types(report: dict[int, str], expression: str) -> None:
    said = report[line_of(f"reveal_type({expression})")]
    plain = of_any_shape(re.sub(r"builtins\.|numpy\.(_typing\.(\w+\.)*)?", "", said))
    assert "note: Revealed type is" in said
    assert TYPES[expression] in plain


@pytest.mark.parametrize("mistake", WRONG)
def test_mistakes_are_found(report: dict[int, str], mistake: str) -> None:
    said = report.get(line_of(mistake), "nothing was said")
    assert re.search(rf"error: .*\[{WRONG[mistake]}\]", said), said


FUNCTIONS = [name for name in fnnet.__all__ if inspect.isroutine(getattr(fnnet, name))]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_public_function_has_an_expression_here(name: str) -> None:
    calls = [
        ast.unparse(node.func)
        for expression in TYPES
        for node in ast.walk(ast.parse(expression, mode="eval"))
        if isinstance(node, ast.Call)
    ]
    assert f"fnnet.{name}" in calls


def test_the_package_says_that_it_is_typed() -> None:
    assert (files("fnnet") / "py.typed").is_file()


# Pyright


def pyright(*arguments: str, folder: Path) -> dict[str, Any]:
    """What pyright reports as JSON."""
    pytest.importorskip("pyright", reason="pyright is not installed")
    search_path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pyright",
            "--outputjson",
            "--pythonpath",
            sys.executable,
            *arguments,
        ],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=300,
        # With --verifytypes, pyright asks the first Python of PATH, whatever --pythonpath says.
        env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": search_path},
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    return report


@pytest.fixture(scope="module")
def said_by_pyright(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[tuple[str, str]]]:
    """Severity and message of all that pyright's strict mode says of each line."""
    folder = tmp_path_factory.mktemp("pyright")
    folder.joinpath("program.py").write_text(text(), "utf-8")
    settings = {
        "include": ["program.py"],
        "extraPaths": [str(ROOT)],
        "typeCheckingMode": "strict",
        "reportUnusedExpression": "none",  # or else each mistake would be one without being wrong
    }
    folder.joinpath("pyrightconfig.json").write_text(json.dumps(settings), "utf-8")
    said: dict[int, list[tuple[str, str]]] = {}
    for each in pyright("--project", str(folder), folder=folder)["generalDiagnostics"]:
        line = each["range"]["start"]["line"] + 1
        said.setdefault(line, []).append((each["severity"], each["message"]))
    return said


Said = dict[int, list[tuple[str, str]]]


def test_right_programs_pass_pyright_without_a_word(said_by_pyright: Said) -> None:
    end = line_of(revealed()[0])
    assert {line: said for line, said in said_by_pyright.items() if line < end} == {}


@pytest.mark.parametrize("expression", TYPES)
def test_pyright_knows_the_same_types(said_by_pyright: Said, expression: str) -> None:
    ((severity, said),) = said_by_pyright[line_of(f"reveal_type({expression})")]
    assert severity == "information", said
    assert said.startswith("Type of ")
    found = said.rpartition(' is "')[2]
    assert "Unknown" not in found
    # Pyright leaves modules out, and before NumPy 2.2 an array's shape is another Any.
    found = of_any_shape(found)
    assert re.sub(r"\b(\w+\.)+(?=\w)", "", TYPES[expression]) in found


@pytest.mark.parametrize("mistake", WRONG)
def test_pyright_finds_the_mistakes(said_by_pyright: Said, mistake: str) -> None:
    assert "error" in [severity for severity, _ in said_by_pyright.get(line_of(mistake), [])]


def test_pyright_knows_the_type_of_all_that_is_public() -> None:
    report = pyright("--ignoreexternal", "--verifytypes", "fnnet", folder=ROOT)["typeCompleteness"]
    assert Path(report["packageRootDirectory"]) == ROOT / "fnnet"
    assert report["exportedSymbolCounts"]["withKnownType"] > 300
    unknown = [each["name"] for each in report["symbols"] if not each["isTypeKnown"]]
    assert (unknown, report["completenessScore"]) == ([], 1)
