"""What every registered optimizer keeps: nothing here names one, so a new one is tested, too."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import math
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fnnet
from fnnet import Params
from fnnet.optimizers.states import OPTIMIZERS, Optimizer, kinds
from tests import oracles
from tests.optimizers.shared import SIZES, every_option, like, one, stacked
from tests.protocol import CALLS, LEFT, DeviceArray

DTYPES = ["float32", "float64"]
FOUND = list(OPTIMIZERS.values())


class Case:
    """An optimizer with settings for its first state."""

    def __init__(self, optimizer: Optimizer[Any], options: dict[str, Any]) -> None:
        self.state, self.update, self.options = optimizer.state, optimizer.update, options
        self.first = optimizer.init

    def init(self, params: Params, **settings: Any) -> Any:
        return self.first(params, **{**self.options, **settings})

    def after(self, params: Params, steps: int) -> Any:
        """The state after steps along random gradients."""
        state = self.init(params)
        for step in range(steps):
            state = self.update(state, like(params, step))
        return state


CASES = [Case(each, options) for each in FOUND for options in ({}, every_option(each))]
each_optimizer = pytest.mark.parametrize("optimizer", FOUND, ids=lambda o: o.state.__name__)
each_case = pytest.mark.parametrize(
    "case", CASES, ids=lambda c: c.state.__name__ + (" with every option" if c.options else "")
)


def fields_of(state: Any, *wanted: str) -> list[str]:
    return [name for name, kind in kinds(state).items() if kind in wanted]


def trees_of(state: Any) -> dict[str, Params]:
    trees = {n: getattr(state, n) for n in fields_of(type(state), "tree", "tree or None")}
    return {name: tree for name, tree in trees.items() if tree is not None}


def assert_same(ours: Any, theirs: Any) -> None:
    """To the last bit, field by field."""
    assert type(ours) is type(theirs)
    for name, kind in kinds(type(ours)).items():
        a, b = getattr(ours, name), getattr(theirs, name)
        if "tree" in kind and a is not None:
            assert fnnet.tree_equal(a, b), name
        else:
            assert type(a) is type(b), name
            assert np.array_equal(a, b), name


def ensemble() -> Params:
    return stacked(*(fnnet.init_params(seed, SIZES) for seed in range(3)))


RATES = np.array([0.1, 0.01, 0.0])


# What it is


def test_every_optimizer_of_fnnet_is_registered_and_public() -> None:
    assert {"RMSPropState", "SGDState", "AdamState"} <= {each.state.__name__ for each in FOUND}
    for each in FOUND:
        for part in (each.state, each.init, each.update):
            assert getattr(fnnet, part.__name__) is part
            assert part.__name__ in fnnet.__all__


@each_case
def test_a_state_cannot_be_changed(case: Case) -> None:
    state = case.after(fnnet.init_params(0, SIZES), 2)
    for name in kinds(case.state):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(state, name, 0)
    assert not hasattr(state, "__dict__")
    assert state == state
    assert len({state, dataclasses.replace(state)}) == 2
    for tree in trees_of(state).values():
        for leaf in fnnet.tree_leaves(tree):
            with pytest.raises(ValueError, match="WRITEABLE"):
                leaf.setflags(write=True)


@each_case
def test_copies_made_by_python_are_states_as_good(case: Case) -> None:
    state = case.after(fnnet.init_params(0, SIZES), 2)
    for again in (copy.copy(state), copy.deepcopy(state), pickle.loads(pickle.dumps(state))):
        assert_same(again, state)
        gradient = like(state.params, 9)
        assert_same(case.update(again, gradient), case.update(state, gradient))


@each_optimizer
def test_every_setting_has_a_range_that_its_default_lies_in(optimizer: Optimizer[Any]) -> None:
    ranges = {each.name: each.metadata.get("range") for each in dataclasses.fields(optimizer.state)}
    state = optimizer.init(one(1))
    settings = fields_of(optimizer.state, "float", "rate")
    assert "learning_rate" in settings
    for name in settings:
        bounds = ranges[name]
        assert bounds is not None, name
        assert bounds[0] <= getattr(state, name) < bounds[1]


# What goes in


@each_case
def test_rates_given_as_an_array_may_be_used_on(case: Case) -> None:
    for name in fields_of(case.state, "rate"):
        rates = RATES.copy()
        view = rates[:]
        view.setflags(write=False)
        states = [case.init(ensemble(), **{name: given}) for given in (rates, view)]
        rates[:] = 7
        for state in states:
            assert getattr(state, name).tolist() == RATES.tolist()
            with pytest.raises(ValueError, match="WRITEABLE"):
                getattr(state, name).setflags(write=True)


@each_case
def test_settings_become_numbers_of_python(case: Case) -> None:
    taken = inspect.signature(case.first).parameters
    half = {n: np.float32(0.5) for n in fields_of(case.state, "float", "rate") if n in taken}
    flags = {name: np.True_ for name in fields_of(case.state, "bool") if name in taken}
    state = case.init(fnnet.init_params(0, SIZES), **{**half, **flags})
    assert [type(getattr(state, name)) for name in half] == [float] * len(half)
    assert [type(getattr(state, name)) for name in flags] == [bool] * len(flags)


@each_optimizer
def test_numbers_out_of_their_range_are_refused(optimizer: Optimizer[Any]) -> None:
    state = optimizer.init(fnnet.init_params(0, SIZES))
    gradient, refused = like(state.params, 0), 0
    for field in dataclasses.fields(optimizer.state):
        if kinds(optimizer.state)[field.name] not in ("float", "rate"):
            continue
        least, below = field.metadata["range"]
        outside: list[Any] = [math.nextafter(least, -math.inf), np.float32(least - 1), below]
        wrong = [np.nan, -np.inf, np.inf, None, "a", [0.1], 1j, np.array([0.1]), 10**400]
        words = f"be a finite number >= {least:g}"
        words = words if math.isinf(below) else rf"lie in \[{least:g}, {below:g}\)"
        for value in (*outside, *wrong):
            with pytest.raises(ValueError, match=f"^{field.name} must {words}.*, got "):
                optimizer.init(state.params, **{field.name: value})
            changed = dataclasses.replace(state, **{field.name: value})
            for update in (optimizer.update, fnnet.update):
                with pytest.raises(ValueError, match=f"^{field.name} must {words}.*, got "):
                    update(changed, gradient)
            refused += 1
    assert refused >= 11


@each_optimizer
def test_flags_are_true_or_false(optimizer: Optimizer[Any]) -> None:
    for name in fields_of(optimizer.state, "bool"):
        for value in (1, 0.0, None, "no"):
            with pytest.raises(TypeError, match=f"^{name} must be True or False, got "):
                optimizer.init(one(1), **{name: value})


@each_optimizer
def test_rates_that_do_not_fit_the_members_are_refused(optimizer: Optimizer[Any]) -> None:
    members, state = ensemble(), optimizer.init(ensemble())
    for name in fields_of(optimizer.state, "rate"):
        for rates in (RATES[:2], RATES[:, None], RATES * np.nan, RATES - 1, RATES.astype(complex)):
            message = rf"^{name} must .* for each member of an ensemble \(shape \(3,\)\), got array"
            with pytest.raises(ValueError, match=message):
                optimizer.init(members, **{name: rates})
            with pytest.raises(ValueError, match=message):
                optimizer.update(dataclasses.replace(state, **{name: rates}), members)


@each_optimizer
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_parameters_that_are_not_finite_are_refused(
    optimizer: Optimizer[Any], value: float
) -> None:
    params = fnnet.init_params(0, (3, 2))
    broken = fnnet.tree_map(lambda leaf: leaf + np.array([0, value]), params)
    with pytest.raises(ValueError, match=r"params must be finite, leaf 0 of shape \(3, 2\) is not"):
        optimizer.init(broken)


@each_optimizer
@pytest.mark.parametrize("dtype", ["float16", int, complex])
def test_parameters_that_are_no_floats_are_refused(optimizer: Optimizer[Any], dtype: Any) -> None:
    params = fnnet.tree_map(lambda leaf: leaf.astype(dtype), fnnet.init_params(0, SIZES))
    with pytest.raises(TypeError, match="params must be arrays of float32 or float64, got "):
        optimizer.init(params)
    state: Any = np.ones((3, 2))
    with pytest.raises(TypeError, match="params must be of type Params, got ndarray"):
        optimizer.init(state)


@each_optimizer
def test_a_state_of_another_type_is_refused(optimizer: Optimizer[Any]) -> None:
    others = [other.init(one(1)) for other in FOUND if other is not optimizer]
    assert others
    for state in (*others, one(1), None):
        name, got = optimizer.state.__name__, type(state).__name__
        with pytest.raises(TypeError, match=f"^state must be of type {name}, got {got}"):
            optimizer.update(state, one(1))


@each_case
@pytest.mark.parametrize("sizes", [(5, 4), (4, 5, 3), (5, 4, 3, 3), ()])
def test_a_gradient_of_another_structure_is_refused(case: Case, sizes: tuple[int, ...]) -> None:
    gradient = fnnet.init_params(0, sizes) if sizes else Params(())
    state = case.init(fnnet.init_params(0, SIZES))
    with pytest.raises(ValueError, match=r"^grads must have the structure and shapes of state\.pa"):
        case.update(state, gradient)
    array: Any = np.ones(3)
    with pytest.raises(TypeError, match=r"^grads must be of type Params, got ndarray"):
        case.update(state, array)


# What a step does


@each_case
def test_an_update_leaves_its_arguments_as_they_were(case: Case) -> None:
    before = case.after(fnnet.init_params(0, SIZES), 3)
    gradient = like(before.params, 3)
    trees = {**trees_of(before), "gradient": gradient}
    contents = {name: fnnet.tree_ravel(tree)[0].tobytes() for name, tree in trees.items()}
    numbers = {n: getattr(before, n) for n in kinds(case.state) if n not in trees}
    after = case.update(before, gradient)
    assert {n: fnnet.tree_ravel(tree)[0].tobytes() for n, tree in trees.items()} == contents
    assert {n: getattr(before, n) for n in numbers} == numbers
    assert (before.step, after.step) == (3, 4)
    for new in trees_of(after).values():
        for old in trees.values():
            assert not np.shares_memory(fnnet.tree_ravel(new)[0], fnnet.tree_ravel(old)[0])
    assert_same(case.update(before, gradient), after)


@each_case
def test_what_a_state_is_made_from_stays_as_it_was(case: Case) -> None:
    params = fnnet.init_params(0, SIZES)
    before = fnnet.tree_ravel(params)[0].tobytes()
    state = case.init(params)
    assert fnnet.tree_ravel(params)[0].tobytes() == before
    assert fnnet.tree_equal(state.params, params)
    assert state.step == 0
    by_hand = Params(tuple(fnnet.Layer(lay.w.copy(), lay.b.copy()) for lay in params.layers))
    assert_same(case.init(by_hand), state)


@each_case
def test_the_rule_is_found_by_the_type_of_the_state(case: Case) -> None:
    state = case.after(fnnet.init_params(0, SIZES), 1)
    gradient = like(state.params, 1)
    assert_same(fnnet.update(state, gradient), case.update(state, gradient))
    x, y = np.ones((4, 5)), [0, 1, 2, 0]
    after, _ = fnnet.train_step(state, x, y)
    assert_same(after, case.update(state, fnnet.grads(state.params, x, y)))


@each_case
def test_a_hundred_steps_go_down(case: Case) -> None:
    params, x, y = oracles.problem()
    state = case.init(params, learning_rate=0.01)
    for _ in range(100):
        state, _ = fnnet.train_step(state, x, y)
    assert fnnet.loss(state.params, x, y) < fnnet.loss(params, x, y) - 0.1


@each_case
@pytest.mark.parametrize("dtype", DTYPES)
def test_at_a_learning_rate_of_zero_nothing_is_learnt(case: Case, dtype: str) -> None:
    params, x, y = oracles.problem()
    params = fnnet.tree_map(lambda leaf: leaf.astype(dtype), params)
    state = case.init(params, learning_rate=0.0)
    *_, last = fnnet.train(state, fnnet.Split(x, y), rng=0, epochs=3, batch_size=2)
    assert last.state.step == 12
    assert fnnet.tree_equal(last.state.params, params)


@each_case
@pytest.mark.parametrize("other", ["float16", "float32", "float64", ">f8"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_dtype_of_the_gradient_changes_no_dtype(case: Case, dtype: str, other: str) -> None:
    params = fnnet.init_params(0, SIZES, dtype)
    gradient = fnnet.tree_map(lambda leaf: leaf.astype(other), like(params, 0))
    state = case.update(case.init(params), gradient)
    for tree in trees_of(state).values():
        assert {leaf.dtype for leaf in fnnet.tree_leaves(tree)} == {np.dtype(dtype)}
    expected = case.update(case.init(params), fnnet.tree_map(lambda g: g.astype(dtype), gradient))
    assert_same(state, expected)


@each_case
def test_members_of_an_ensemble_step_as_each_would_alone(case: Case) -> None:
    members = [fnnet.init_params(seed, SIZES) for seed in range(3)]
    for rates in (RATES, np.full(3, 0.05), 0.05):
        together = case.init(stacked(*members), learning_rate=rates)
        each = np.broadcast_to(rates, 3).tolist()
        alone = [case.init(m, learning_rate=r) for m, r in zip(members, each, strict=True)]
        for step in range(3):
            gradients = [like(member, 10 * step + i) for i, member in enumerate(members)]
            together = case.update(together, stacked(*gradients))
            alone = [case.update(s, g) for s, g in zip(alone, gradients, strict=True)]
        for name, tree in trees_of(together).items():
            expected = stacked(*(getattr(state, name) for state in alone))
            assert fnnet.tree_allclose(tree, expected, rtol=1e-6, atol=1e-7), name


@each_case
def test_parameters_are_updated_block_by_block_as_if_at_once(case: Case) -> None:
    """Several blocks, and the same numbers as leaves that fit into one."""
    whole = case.after(fnnet.init_params(0, (300, 500)), 3)
    first = whole.params.layers[0]
    assert first.w.size > 2**17
    state = case.init(fnnet.init_params(0, (300, 500)))
    rows = slice(290, 300)

    def part(tree: Params) -> Params:
        return Params((fnnet.Layer(tree.layers[0].w[rows], tree.layers[0].b),))

    small = case.init(part(state.params))
    for step in range(3):
        small = case.update(small, part(like(state.params, step)))
    for name, tree in trees_of(whole).items():
        assert fnnet.tree_allclose(part(tree), getattr(small, name), 1e-6, 1e-7), name


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", FOUND, ids=lambda o: o.state.__name__)
def test_nothing_that_is_remembered_sinks_into_subnormal_numbers(
    optimizer: Optimizer[Any], dtype: str
) -> None:
    """One gradient, then zeros: a pixel that is never lit again."""
    case, tiny = Case(optimizer, every_option(optimizer)), np.finfo(dtype).tiny
    params = fnnet.init_params(0, (40, 30), dtype)
    zeros = fnnet.tree_map(np.zeros_like, params)
    state = case.update(case.init(params), like(params, 0, 1e-10))
    remembered = [name for name in trees_of(state) if name != "params"]
    for name in remembered:
        assert fnnet.tree_ravel(getattr(state, name))[0].all()
    for step in range(1500):
        state = case.update(state, zeros)
        for name in remembered if step % 50 == 0 or step > 1490 else ():
            vector = np.abs(fnnet.tree_ravel(getattr(state, name))[0])
            assert not np.any((vector > 0) & (vector < tiny)), name
    for name in remembered:  # by now all have sunk
        assert not fnnet.tree_ravel(getattr(state, name))[0].any()
    assert np.isfinite(fnnet.tree_ravel(state.params)[0]).all()


# Where it goes


@pytest.fixture
def nothing_left_the_device() -> Iterator[None]:
    CALLS.clear()
    LEFT.clear()
    yield
    assert CALLS
    assert LEFT == []


@each_case
@pytest.mark.parametrize("own_rates", [False, True])
@pytest.mark.usefixtures("nothing_left_the_device")
def test_training_stays_on_the_device(case: Case, own_rates: bool) -> None:
    """On arrays that cannot become NumPy's, and the same with NumPy's."""
    device: Any = DeviceArray
    _, x, y = oracles.problem(SIZES)
    params: Params = ensemble() if own_rates else fnnet.init_params(0, SIZES)
    there = Params(tuple(fnnet.Layer(device(lay.w), device(lay.b)) for lay in params.layers))
    rates = ({"learning_rate": RATES}, {"learning_rate": device(RATES)}) if own_rates else ({}, {})
    ours, theirs = case.init(params, **rates[0]), case.init(there, **rates[1])
    for _ in range(20):  # so many that vanishing numbers are swept twice
        ours, loss = fnnet.train_step(ours, x, y)
        theirs, same = fnnet.train_step(theirs, device(x), device(y))
        assert same == pytest.approx(loss, rel=1e-5)
    for name, tree in trees_of(ours).items():
        pairs = zip(fnnet.tree_leaves(getattr(theirs, name)), fnnet.tree_leaves(tree), strict=True)
        for a, b in pairs:
            array: Any = a
            assert isinstance(array, DeviceArray)
            assert array.dtype == b.dtype
            # About its mean a square may be all but zero, which magnifies what was rounded.
            centered = getattr(ours, "centered", False)
            np.testing.assert_allclose(array.get(), b, 1e-2 if centered else 1e-5, 1e-6)


@each_case
@pytest.mark.parametrize("members", [False, True])
def test_a_checkpoint_gives_back_every_bit(case: Case, members: bool, tmp_path: Path) -> None:
    rates = {"learning_rate": RATES} if members else {}
    state = case.init(ensemble() if members else fnnet.init_params(0, SIZES), **rates)
    for step in range(3):
        state = case.update(state, like(state.params, step))
    fnnet.save_checkpoint(tmp_path / "run", fnnet.Checkpoint(state, np.random.default_rng(0), 1))
    for again in (
        fnnet.load_checkpoint(tmp_path / "run").state,
        fnnet.load_checkpoint(tmp_path / "run", case.state).state,
    ):
        assert_same(again, state)
        assert_same(case.update(again, state.params), case.update(state, state.params))


@each_case
def test_a_resumed_run_ends_bit_for_bit_where_an_unbroken_one_does(
    case: Case, tmp_path: Path
) -> None:
    params, x, y = oracles.problem(n=20)
    split = fnnet.Split(x, y)

    def run(state: Any, rng: Any, start: int, epochs: int) -> Any:
        *_, last = fnnet.train(state, split, rng=rng, start=start, epochs=epochs, batch_size=3)
        return last

    unbroken = run(case.init(params), 0, 0, 4)
    half = run(case.init(params), 0, 0, 2)
    fnnet.save_checkpoint(tmp_path / "run", fnnet.Checkpoint(half.state, half.rng, 2))
    saved = fnnet.load_checkpoint(tmp_path / "run")
    resumed = run(saved.state, saved.rng, saved.epoch, 4)
    assert_same(resumed.state, unbroken.state)
    assert resumed.rng == unbroken.rng


@each_optimizer
def test_a_number_out_of_range_is_not_saved(optimizer: Optimizer[Any], tmp_path: Path) -> None:
    state = optimizer.init(one(1))
    wrong: dict[str, Any] = dict.fromkeys(fields_of(optimizer.state, "float", "rate", "int"), -1)
    wrong.update(dict.fromkeys(fields_of(optimizer.state, "bool"), "no"))
    for name, value in wrong.items():
        broken = dataclasses.replace(state, **{name: value})
        checkpoint = fnnet.Checkpoint(broken, np.random.default_rng(0))
        with pytest.raises((TypeError, ValueError), match=f"^{name} must "):
            fnnet.save_checkpoint(tmp_path / "run", checkpoint)
        assert not list(tmp_path.iterdir())


@each_case
def test_a_state_is_a_tree_of_jax_and_trains_on(case: Case) -> None:
    jax = pytest.importorskip("jax")
    fnnet.register_jax()
    x, y = np.ones((4, 5), np.float32), np.arange(4) % 3
    here, _ = fnnet.train_step(case.init(fnnet.init_params(0, SIZES)), x, y)
    there = jax.jit(lambda tree: tree)(here)
    assert type(there) is case.state
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(there))
    for name in fields_of(case.state, "bool", "str"):
        assert getattr(there, name) is getattr(here, name)
    numbers = fields_of(case.state, "int", "float", "rate")
    leaves = sum(len(fnnet.tree_leaves(tree)) for tree in trees_of(here).values())
    assert len(jax.tree.leaves(there)) == leaves + len(numbers)
    back = jax.tree.map(np.asarray, there)
    after, expected = fnnet.train_step(back, x, y)[0], fnnet.train_step(here, x, y)[0]
    assert fnnet.tree_allclose(after.params, expected.params, rtol=1e-5, atol=1e-6)
