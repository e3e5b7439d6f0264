"""An optimizer in a file of a user's: thirty lines, and all of fnnet takes it as its own."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import json
import pickle
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import GenericAlias, ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import fnnet
from fnnet import Params
from fnnet.optimizers.states import OPTIMIZERS, kinds
from tests import oracles
from tests.optimizers.shared import SIZES, like, one, stacked
from tests.optimizers.test_every_optimizer import assert_same

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class MyLionState(fnnet.OptimizerState):
    """Chen and others (2023): the sign of a mean of gradients, and decoupled weight decay."""

    params: Params
    means: Params
    step: int
    learning_rate: float | Floats = field(metadata=fnnet.within(0))
    beta1: float = field(default=0.9, metadata=fnnet.within(0, 1))
    beta2: float = field(default=0.99, metadata=fnnet.within(0, 1))
    decay: float = field(default=0.0, metadata=fnnet.within(0))


def lion_init(params: Params, learning_rate: float | Floats = 1e-4, **settings: Any) -> MyLionState:
    state = fnnet.first_state(MyLionState(params, params, 0, learning_rate, **settings))
    return dataclasses.replace(state, means=fnnet.tree_map(np.zeros_like, state.params))


def lion_update(state: MyLionState, grads: Params) -> MyLionState:
    def rule(g: Floats, rate: float | Floats, w: Floats, m: Floats) -> tuple[Floats, Floats]:
        sign = np.sign(state.beta1 * m + (1 - state.beta1) * g)
        return w - rate * (sign + state.decay * w), state.beta2 * m + (1 - state.beta2) * g

    return fnnet.step_by_blocks(rule, state, grads, "means")


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    """Lion, for this file's tests alone."""
    before = dict(OPTIMIZERS)
    fnnet.register(MyLionState, lion_init, lion_update)
    yield
    OPTIMIZERS.clear()
    OPTIMIZERS.update(before)


def test_steps_are_those_of_the_paper_parameter_by_parameter() -> None:
    params = fnnet.init_params(0, SIZES, np.float64)
    state = lion_init(params, 0.01, beta1=0.8, beta2=0.6, decay=0.1)
    w = fnnet.tree_ravel(params)[0].tolist()
    m = [0.0] * len(w)
    for step in range(5):
        gradient = like(params, step)
        for i, g in enumerate(fnnet.tree_ravel(gradient)[0].tolist()):
            mixed = 0.8 * m[i] + (1 - 0.8) * g
            w[i] -= 0.01 * ((mixed > 0) - (mixed < 0) + 0.1 * w[i])
            m[i] = 0.6 * m[i] + (1 - 0.6) * g
        state = fnnet.update(state, gradient)
    assert state.step == 5
    np.testing.assert_allclose(fnnet.tree_ravel(state.params)[0], w, 1e-12)
    np.testing.assert_allclose(fnnet.tree_ravel(state.means)[0], m, 1e-12)


def test_the_loop_trains_it_without_being_given_an_update() -> None:
    params, x, y = oracles.problem(n=20)
    first = lion_init(params, 0.01)
    *_, last = fnnet.train(first, fnnet.Split(x, y), rng=0, epochs=20, batch_size=5)
    assert type(last.state) is MyLionState
    assert last.state.step == 80
    assert last.metrics.train_loss < fnnet.loss(params, x, y) - 0.1
    after, _ = fnnet.train_step(first, x, y)
    assert_same(after, lion_update(first, fnnet.grads(params, x, y)))


def test_members_have_rates_of_their_own() -> None:
    members = [fnnet.init_params(seed, SIZES) for seed in range(2)]
    together = lion_init(stacked(*members), np.array([0.1, 0.0]))
    after = fnnet.update(together, stacked(*members))
    alone = fnnet.update(lion_init(members[0], 0.1), members[0])
    assert fnnet.tree_equal(fnnet.tree_map(lambda leaf: leaf[0], after.params), alone.params)
    assert fnnet.tree_equal(fnnet.tree_map(lambda leaf: leaf[1], after.params), members[1])


def test_numbers_out_of_its_ranges_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^beta1 must lie in \[0, 1\), got 1"):
        lion_init(one(1), beta1=1)
    state = dataclasses.replace(lion_init(one(1)), decay=-0.1)
    with pytest.raises(ValueError, match=r"^decay must be a finite number >= 0.*, got -0\.1"):
        fnnet.update(state, one(1))
    assert type(lion_init(one(1), beta1=np.float32(0.5)).beta1) is float


def test_it_is_saved_and_loaded_without_pickle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("pickled")

    for name in ("dump", "dumps", "load", "loads", "Pickler", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    for members, rate in ((1, 0.25), (2, np.array([0.5, 0.25]))):
        params = stacked(*(fnnet.init_params(seed, SIZES) for seed in range(members)))
        params = params if members > 1 else fnnet.tree_map(lambda leaf: leaf[0], params)
        state = fnnet.update(lion_init(params, rate, decay=0.1), like(params, 0))
        path = tmp_path / f"run {members}"
        fnnet.save_checkpoint(path, fnnet.Checkpoint(state, np.random.default_rng(0), 3))
        with zipfile.ZipFile(path) as archive:
            header = json.loads(archive.read("header.json"))
            for name in set(archive.namelist()) - {"header.json"}:
                np.lib.format.read_array(io.BytesIO(archive.read(name)), allow_pickle=False)
        assert header["optimizer"] == "MyLionState"
        assert_same(fnnet.load_checkpoint(path).state, state)
        assert_same(fnnet.load_checkpoint(path, MyLionState).state, state)


def test_a_resumed_run_ends_bit_for_bit_where_an_unbroken_one_does(tmp_path: Path) -> None:
    params, x, y = oracles.problem(n=20)
    split, path = fnnet.Split(x, y), tmp_path / "run"
    *_, unbroken = fnnet.train(lion_init(params, 0.01), split, rng=0, epochs=4, batch_size=3)
    *_, half = fnnet.train(lion_init(params, 0.01), split, rng=0, epochs=2, batch_size=3)
    fnnet.save_checkpoint(path, fnnet.Checkpoint(half.state, half.rng, 2))
    saved = fnnet.load_checkpoint(path)
    *_, resumed = fnnet.train(
        saved.state, split, rng=saved.rng, start=saved.epoch, epochs=4, batch_size=3
    )
    assert isinstance(resumed.state, MyLionState)
    assert_same(resumed.state, unbroken.state)


def test_it_becomes_a_tree_of_jax() -> None:
    jax = pytest.importorskip("jax")
    fnnet.register_jax()
    state = lion_init(fnnet.init_params(0, SIZES), 0.5)
    there = jax.jit(lambda tree: tree)(state)
    assert type(there) is MyLionState
    assert len(jax.tree.leaves(there)) == 4 + 4 + 5
    assert float(there.learning_rate) == 0.5


def test_its_repr_is_as_short_as_those_of_fnnet() -> None:
    assert repr(lion_init(fnnet.init_params(0, (3, 2)))) == (
        "MyLionState(Params(3-2, float32, 8 parameters), step=0, learning_rate=0.0001, beta1=0.9, "
        "beta2=0.99, decay=0.0)"
    )


def test_without_registration_it_is_told_what_to_do(tmp_path: Path) -> None:
    state = lion_init(one(1))
    fnnet.save_checkpoint(tmp_path / "run", fnnet.Checkpoint(state, np.random.default_rng(0)))
    del OPTIMIZERS[MyLionState]
    with pytest.raises(
        TypeError, match="got MyLionState: register its optimizer, or give an update"
    ):
        fnnet.update(state, one(1))
    with pytest.raises(TypeError, match=r"^state must be one of RMSPropState, .*, got MyLionState"):
        fnnet.save_checkpoint(tmp_path / "new", fnnet.Checkpoint(state, np.random.default_rng(0)))
    with pytest.raises(fnnet.CheckpointError, match="unknown optimizer 'MyLionState': register it"):
        fnnet.load_checkpoint(tmp_path / "run")
    assert not (tmp_path / "new").exists()


# Registration


def test_a_second_registration_of_one_state_changes_nothing() -> None:
    before = dict(OPTIMIZERS)
    fnnet.register(MyLionState, lion_init, lion_update)
    assert before == OPTIMIZERS


def test_a_second_state_of_one_name_is_refused() -> None:
    for name in ("MyLionState", "AdamState"):
        other = dataclasses.make_dataclass(name, [("params", Params), ("step", int)], frozen=True)
        before = dict(OPTIMIZERS)
        with pytest.raises(ValueError, match=f"^state: another {name} is registered already"):
            fnnet.register(other, lion_init, lion_update)
        assert before == OPTIMIZERS


SOURCE = """
from dataclasses import dataclass, field
from typing import Any, Optional, Union

import numpy as np
import numpy.typing as npt

import fnnet
from fnnet import Params


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class FullState(fnnet.OptimizerState):
    params: Params
    first: "Params"
    second: Params | None
    third: Optional[Params]
    step: int
    learning_rate: float | npt.NDArray[np.floating[Any]] = field(metadata=fnnet.within(0))
    other_rate: Union[npt.NDArray[np.float64], float] = 0.5
    share: float = field(default=0.5, metadata=fnnet.within(0, 1))
    switch: bool = True
    name: str = "one"


def init(params, **settings):
    numbers = {"step": 0, "learning_rate": 0.1, **settings}
    return fnnet.first_state(FullState(params, params, params, None, **numbers))


def update(state, grads):
    return fnnet.step_by_blocks(lambda g, rate, w: [w - rate * g], state, grads)


fnnet.register(FullState, init, update)
"""


def module(folder: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path = folder / "mine.py"
    path.write_text(source, "utf-8")
    spec = importlib.util.spec_from_file_location("mine", path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "mine", made)
    spec.loader.exec_module(made)
    return made


@pytest.mark.parametrize("first", ["", "from __future__ import annotations\n"])
def test_every_field_is_saved_whether_annotations_are_types_or_text(
    first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = module(tmp_path, first + SOURCE, monkeypatch)
    members = stacked(*(fnnet.init_params(seed, SIZES) for seed in range(2)))
    rates = {"learning_rate": np.array([0.5, 0.25]), "other_rate": np.array([1.0, 2.0])}
    for params, settings in ((fnnet.init_params(0, SIZES), {}), (members, rates)):
        numbers = {"share": 0.25, "switch": False, "name": "zwei ∂", **settings}
        state = fnnet.update(mine.init(params, **numbers), like(params, 0))
        checkpoint = fnnet.Checkpoint(state, np.random.default_rng(0))
        fnnet.save_checkpoint(tmp_path / "run", checkpoint)
        again: Any = fnnet.load_checkpoint(tmp_path / "run").state
        assert_same(again, state)
        assert (again.switch, again.name, again.third) == (False, "zwei ∂", None)
        assert not fnnet.tree_equal(again.params, again.first)
        assert fnnet.tree_equal(again.second, again.first)


@pytest.mark.parametrize(
    ("hint", "shown"),
    [
        (list, "list"),
        (dict[str, float], r"dict\[str, float\]"),
        (complex, "complex"),
        (int | None, r"int \| None"),
        (npt.NDArray[np.float64], "numpy"),
        (Params | int, "Params"),
        (tuple[Params, ...], "tuple"),
        (Any, "Any"),
        ("Unknown", "Unknown"),
    ],
)
def test_a_field_that_a_checkpoint_cannot_hold_is_refused(hint: Any, shown: str) -> None:
    kind = dataclasses.make_dataclass("OddState", [("params", Params), ("odd", hint)], frozen=True)
    before = dict(OPTIMIZERS)
    with pytest.raises(TypeError, match=rf"^OddState.*{shown}"):
        fnnet.register(kind, lion_init, lion_update)
    assert before == OPTIMIZERS


def test_what_is_no_optimizer_is_refused() -> None:
    register: Any = fnnet.register
    without = dataclasses.make_dataclass("WithoutState", [("step", int)], frozen=True)
    for state, init, update, message in (
        (dict, lion_init, lion_update, "^state must be a frozen dataclass, got "),
        (
            lion_init(one(1)),
            lion_init,
            lion_update,
            "^state must be a frozen dataclass, got MyLion",
        ),
        (without, lion_init, lion_update, "^state must have a field params: Params, WithoutState"),
        (MyLionState, None, lion_update, "^init and update must be functions, got None and "),
        (MyLionState, lion_init, 3, "^init and update must be functions, got .* and 3"),
    ):
        with pytest.raises(TypeError, match=message):
            register(state, init, update)


@pytest.mark.parametrize("made", [[], [None] * 3], ids=["none", "three"])
def test_a_rule_that_returns_another_number_of_vectors_is_refused(made: Any) -> None:
    state = fnnet.sgd_init(fnnet.init_params(0, (3, 2)))
    with pytest.raises(ValueError, match=f"rule must return 1 vectors, got {len(made)}"):
        fnnet.step_by_blocks(lambda g, rate, w: made, state, state.params)


@pytest.mark.parametrize("name", ["momenta", 3])
def test_a_memory_that_the_state_does_not_have_is_named(name: Any) -> None:
    state = fnnet.sgd_init(fnnet.init_params(0, (3, 2)))
    with pytest.raises(ValueError, match=f"memory must name trees of the state, got {name!r}"):
        fnnet.step_by_blocks(lambda g, rate, w, v: [w, v], state, state.params, name)


def test_a_dataclass_that_can_be_changed_is_refused() -> None:
    kind = dataclasses.make_dataclass("LooseState", [("params", Params), ("step", int)])
    with pytest.raises(TypeError, match=r"^state must be a frozen dataclass"):
        fnnet.register(kind, lion_init, lion_update)


def test_a_rate_may_be_typed_by_a_name_for_arrays_as_numpys_own_is_from_2_5_on() -> None:
    class NDArray:  # as `typing.TypeAliasType`, which Python has from 3.12 on
        __value__ = np.ndarray[tuple[Any, ...], np.dtype[np.floating[Any]]]
        __class_getitem__: Any = classmethod(GenericAlias)

    named: Any = GenericAlias(NDArray, (np.floating,))
    fields: list[Any] = [("params", Params), ("step", int), ("learning_rate", float | named)]
    state = dataclasses.make_dataclass("Named", fields, frozen=True)
    assert kinds(state) == {"params": "tree", "step": "int", "learning_rate": "rate"}
