"""A generator's state by value: it stays what it was, and stands for the generator everywhere."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fnnet
from fnnet import GeneratorState, Split
from fnnet.randomness import generator, generator_state

KINDS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")
PARAMS = fnnet.init_params(0, (6, 5, 4))
SPLIT = Split(np.ones((9, 6)), np.arange(9) % 4)
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 8, 8), np.uint8)

TAKERS: dict[str, Callable[[Any], Any]] = {
    "init_params": lambda rng: fnnet.tree_ravel(fnnet.init_params(rng, (6, 4)))[0],
    "batches": lambda rng: [y[0] for _, y in fnnet.batches(rng, SPLIT, 1)],
    "weighted_batches": lambda rng: [y[0] for _, y, _ in fnnet.weighted_batches(rng, SPLIT, 1)],
    "hold_out": lambda rng: fnnet.hold_out(rng, SPLIT, 4)[1].y,
    "stratified": lambda rng: fnnet.hold_out(rng, SPLIT, 4, stratify=True)[1].y,
    "dropout_masks": lambda rng: fnnet.dropout_masks(rng, PARAMS, 9, (0.5, 0))[0],
    "distort": lambda rng: fnnet.distort(rng, IMAGES),
    "train": lambda rng: [
        fnnet.tree_ravel(epoch.state.params)[0]
        for epoch in fnnet.train(fnnet.sgd_init(PARAMS), SPLIT, rng=rng, epochs=2, batch_size=2)
    ],
    "train_epoch": lambda rng: fnnet.train_epoch(fnnet.sgd_init(PARAMS), SPLIT, rng, 2)[1],
}


def advanced(kind: str, seed: int = 3) -> np.random.Generator:
    rng = np.random.Generator(getattr(np.random, kind)(seed))
    rng.permutation(7)
    rng.integers(0, 9, 3, dtype=np.uint32)  # leaves half a number behind
    return rng


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_goes_on_where_its_generator_stood(kind: str) -> None:
    rng = advanced(kind)
    state = generator_state(rng)
    expected = (rng.integers(0, 9, 5, dtype=np.uint32).tolist(), rng.standard_normal(700).tolist())
    for _ in range(2):
        again = state.generator()
        assert type(again.bit_generator).__name__ == kind == state.name
        got = (
            again.integers(0, 9, 5, dtype=np.uint32).tolist(),
            again.standard_normal(700).tolist(),
        )
        assert got == expected
    assert state != generator_state(rng)


@given(seed=st.integers(0, 2**64), draws=st.integers(0, 50), kind=st.sampled_from(KINDS))
@settings(max_examples=30)
def test_states_are_equal_where_generators_stand_alike(seed: int, draws: int, kind: str) -> None:
    one, two = (np.random.Generator(getattr(np.random, kind)(seed)) for _ in range(2))
    for rng in (one, two):
        rng.random(draws)
    a, b = generator_state(one), generator_state(two)
    assert a == b == generator_state(a.generator())
    assert hash(a) == hash(b)
    one.random()
    assert generator_state(one) != b


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("kind", KINDS)
def test_wherever_a_generator_goes_its_state_does_too(taker: str, kind: str) -> None:
    rng = advanced(kind)
    state = generator_state(rng)
    first, second = (np.asarray(TAKERS[taker](state)).tolist() for _ in range(2))
    assert first == second == np.asarray(TAKERS[taker](rng)).tolist()
    assert state == generator_state(advanced(kind))


@pytest.mark.parametrize("taker", TAKERS)
def test_seeds_of_any_kind_are_taken(taker: str) -> None:
    expected = np.asarray(TAKERS[taker](np.random.default_rng(5))).tolist()
    for seed in (5, np.int64(5), np.uint8(5), np.random.SeedSequence(5)):
        assert np.asarray(TAKERS[taker](seed)).tolist() == expected


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("seed", [None, -1, 1.5, "3", True, [1], np.random.RandomState(0)], ids=str)
def test_what_is_no_seed_is_refused(taker: str, seed: Any) -> None:
    message = "rng must be a numpy.random.Generator or a seed >= 0, got "
    with pytest.raises((TypeError, ValueError), match=message):
        TAKERS[taker](seed)


def test_a_generator_itself_advances() -> None:
    rng = np.random.default_rng(0)
    assert generator(rng) is rng
    before = generator_state(rng)
    fnnet.init_params(rng, (3, 2))
    assert generator_state(rng) != before


def test_a_state_is_a_value() -> None:
    state = generator_state(advanced("MT19937"))
    assert repr(state) == "GeneratorState(MT19937)"
    assert pickle.loads(pickle.dumps(state)) == state
    for name in ("name", "text"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(state, name, "")
    assert json.loads(state.text)["state"]["pos"] >= 0


PCG64: dict[str, Any] = {**np.random.PCG64(0).state}
MT: dict[str, Any] = json.loads(generator_state(advanced("MT19937")).text)
PHILOX: dict[str, Any] = json.loads(generator_state(advanced("Philox")).text)


def mt(**changes: Any) -> dict[str, Any]:
    return {**MT, "state": {**MT["state"], **changes}}


FORGED: list[tuple[str, Any]] = [
    ("PCG64", {**PCG64, "state": {"state": 1.5, "inc": 1}}),
    ("PCG64", {**PCG64, "state": {"state": "١٢", "inc": 1}}),
    ("PCG64", {**PCG64, "state": {"state": -1, "inc": 1}}),
    ("PCG64", {**PCG64, "state": {"state": 2**128, "inc": 1}}),
    ("PCG64", {**PCG64, "has_uint32": 1.5}),
    ("PCG64", {**PCG64, "has_uint32": 2}),
    ("PCG64", {**PCG64, "uinteger": -1}),
    ("PCG64", {**PCG64, "uinteger": 2**32}),
    ("PCG64", {**PCG64, "more": 1}),
    ("PCG64", {**PCG64, "bit_generator": "MT19937"}),
    ("PCG64", {}),
    ("PCG64", None),
    ("PCG64", 5),
    ("PCG64", [PCG64]),
    ("PCG64DXSM", PCG64),
    ("MT19937", mt(key=5)),
    ("MT19937", mt(key=[1] * 625)),
    ("MT19937", mt(key=[1] * 623)),
    ("MT19937", mt(key=[1.5] * 624)),
    ("MT19937", mt(key=[-1] * 624)),
    ("MT19937", mt(key=["1"] * 624)),
    ("MT19937", mt(key=[[1] * 624])),
    ("MT19937", mt(pos=625)),
    ("MT19937", mt(pos=-1)),
    ("MT19937", mt(pos=2**31)),
    ("MT19937", mt(pos=1.5)),
    ("Philox", {**PHILOX, "buffer_pos": 5}),
    ("Philox", {**PHILOX, "buffer_pos": -1}),
    ("Philox", {**PHILOX, "buffer": [1] * 5}),
    ("Philox", {**PHILOX, "state": {"counter": [1.5] * 4, "key": [1, 2]}}),
    ("Philox", {**PHILOX, "state": {"counter": 5, "key": [1, 2]}}),
    ("SFC64", {"bit_generator": "SFC64", "state": {"state": [1] * 5}, "has_uint32": 0}),
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize(("name", "state"), FORGED, ids=range(len(FORGED)))
def test_a_state_that_a_generator_cannot_be_in_is_refused(name: str, state: Any) -> None:
    with pytest.raises(
        ValueError, match=f"^rng is not a state (that {name} can be in|of {name}: )"
    ):
        GeneratorState(name, json.dumps(state)).generator()


@pytest.mark.parametrize("name", ["", "os.system", "RandomState", "BitGenerator", "pcg64"])
def test_an_unknown_bit_generator_is_answered_with_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match=f"unknown bit generator '{name}', expected .*'PCG64'"):
        GeneratorState(name, json.dumps(PCG64)).generator()


def test_text_that_is_no_state_is_refused() -> None:
    for text in ("", "{", "nan", "[1"):
        with pytest.raises(ValueError):  # noqa: PT011  # as json says it
            GeneratorState("PCG64", text).generator()
