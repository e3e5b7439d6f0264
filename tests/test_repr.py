"""What a user sees who types a name and presses return: one short line, to the letter."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import fnnet
from fnnet import Layer, Params
from fnnet.optimizers.states import OPTIMIZERS
from tests.protocol import DeviceArray

SMALL = fnnet.init_params(0, (3, 2))
STACKED = fnnet.tree_map(lambda leaf: np.stack([leaf, leaf]), SMALL)
MINE = fnnet.Activation("mine", lambda z: np.logaddexp(0, z), lambda z, h: -np.expm1(-h))
RNG = fnnet.GeneratorState("PCG64", "{}")
ROW = fnnet.Metrics(3, 0.123456, 0.98765, 0.25, 0.9, 1.5)
NUMBERS = fnnet.Metrics(3, 1234567.0, np.nan, 0.25, np.nan, 1.5, 0.5, 0.98765)
IMAGES = fnnet.Split(np.zeros((1200, 8, 8), np.uint8), np.zeros(1200, np.int64))
TABLE = fnnet.Split(np.zeros((5, 3)), np.zeros((5, 2), np.float32), weights=np.ones(5))
START = fnnet.Checkpoint(fnnet.sgd_init(SMALL), np.random.default_rng(0), 7, extra={"seed": 1})
DEVICE: Any = DeviceArray
NO_TREE: Any = None
TEXT: Any = "w"

REPRS: list[tuple[object, str]] = [
    (SMALL, "Params(3-2, float32, 8 parameters)"),
    (fnnet.init_params(0, (784, 128, 10)), "Params(784-128-10, float32, 101,770 parameters)"),
    (
        fnnet.init_params(0, (8, 16, 1), np.float64, activation="tanh", output="identity"),
        "Params(8-16-1, tanh, identity, float64, 161 parameters)",
    ),
    (
        fnnet.init_params(0, (3, 2), activation=MINE, output="sigmoid"),
        "Params(3-2, mine, sigmoid, float32, 8 parameters)",
    ),
    (STACKED, "Params(2 × 3-2, float32, 16 parameters)"),
    (
        fnnet.tree_map(lambda leaf: np.stack([leaf] * 3), STACKED),
        "Params(3 × 2 × 3-2, float32, 48 parameters)",
    ),
    (fnnet.tree_map(DEVICE, SMALL), "Params(3-2, float32, 8 parameters)"),
    (Params(()), "Params(())"),
    (Params((Layer(TEXT, NO_TREE),)), "Params((Layer('w', None),))"),
    (Params(NO_TREE), "Params(None)"),
    (SMALL.layers[0], "Layer(f32[3,2], f32[2])"),
    (STACKED.layers[0], "Layer(f32[2,3,2], f32[2,2])"),
    (Layer(np.ones((1, 1)), np.ones(1)), "Layer(f64[1,1], f64[1])"),
    (
        fnnet.rmsprop_init(SMALL, 0.01, momentum=0.9),
        "RMSPropState(Params(3-2, float32, 8 parameters), step=0, learning_rate=0.01, decay=0.9, "
        "eps=1e-08, momentum=0.9, centered=False, eps_in_sqrt=False)",
    ),
    (
        fnnet.sgd_init(STACKED, np.array([0.1, 0.2])),
        "SGDState(Params(2 × 3-2, float32, 16 parameters), step=0, learning_rate=f64[2], "
        "momentum=0.0, nesterov=False)",
    ),
    (
        fnnet.update(fnnet.adam_init(SMALL), SMALL),
        "AdamState(Params(3-2, float32, 8 parameters), step=1, learning_rate=0.001, beta1=0.9, "
        "beta2=0.999, eps=1e-08)",
    ),
    (IMAGES, "Split(1,200 samples, u8[1200,8,8], labels i64[1200])"),
    (IMAGES[:5], "Split(5 samples, u8[5,8,8], labels i64[5])"),
    (TABLE, "Split(5 samples, f64[5,3], labels f32[5,2], weighted)"),
    (
        fnnet.Dataset("mine", IMAGES, IMAGES[:100], ("a", "b")),
        "Dataset(mine, 1,200 to train, 100 to test, 2 classes)",
    ),
    (
        fnnet.load_digits(),
        "Dataset(digits, 1,437 to train, 360 to test, 10 classes)",
    ),
    (
        fnnet.Evaluation(0.123456, 0.98765, np.zeros((10, 10), np.int64)),
        "Evaluation(loss 0.1235, accuracy 0.9877, confusion i64[10,10])",
    ),
    (
        fnnet.prepare(fnnet.load_digits().train),
        "Prepared(Split(1,437 samples, u8[1437,8,8], labels u8[1437]), ragged, u8[1437,64])",
    ),
    (fnnet.Evaluation(12345.6, np.nan, None, 0.5), "Evaluation(loss 1.235e+04, r2 0.5000)"),
    (
        fnnet.Evaluation(0.5, 1.0, None, members=(fnnet.Evaluation(0.5, 1.0, None),) * 2),
        "Evaluation(loss 0.5, accuracy 1.0000, 2 members)",
    ),
    (
        fnnet.Epoch(fnnet.sgd_init(SMALL), ROW, RNG),
        "Epoch(epoch 3, train loss 0.1235, test loss 0.25, test accuracy 0.9000, "
        "SGDState(Params(3-2, float32, 8 parameters)))",
    ),
    (
        fnnet.Epoch(fnnet.adam_init(SMALL), NUMBERS, RNG),
        "Epoch(epoch 3, train loss 1.235e+06, test loss 0.25, test r2 0.9877, "
        "AdamState(Params(3-2, float32, 8 parameters)))",
    ),
    (
        fnnet.Epoch(fnnet.sgd_init(SMALL), fnnet.Metrics(1, 0.5, 0.5, np.nan, np.nan, 0), RNG),
        "Epoch(epoch 1, train loss 0.5, SGDState(Params(3-2, float32, 8 parameters)))",
    ),
    (
        START,
        "Checkpoint(epoch 7, SGDState(Params(3-2, float32, 8 parameters), step=0, "
        "learning_rate=0.01, momentum=0.0, nesterov=False), extra seed)",
    ),
    (RNG, "GeneratorState(PCG64)"),
    (
        fnnet.Checkpoint(fnnet.sgd_init(SMALL), np.random.Generator(np.random.MT19937(0))).rng,
        "GeneratorState(MT19937)",
    ),
    (MINE, "Activation(mine)"),
]


@pytest.mark.parametrize(("value", "text"), REPRS, ids=[text for _, text in REPRS])
def test_a_repr_is_one_short_line(value: object, text: str) -> None:
    assert repr(value) == str(value) == text


@pytest.mark.parametrize("value", [SMALL, SMALL.layers[0], START.rng, TABLE, fnnet.sgd_init(SMALL)])
def test_copies_have_the_same_repr(value: object) -> None:
    for again in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert repr(again) == repr(value)


def test_every_optimizers_state_shows_its_network_and_its_numbers() -> None:
    for optimizer in OPTIMIZERS.values():
        state = optimizer.init(SMALL)
        shown = repr(state)
        name = type(state).__name__
        assert shown.startswith(
            f"{name}(Params(3-2, float32, 8 parameters), step=0, learning_rate="
        )
        assert "\n" not in shown
        assert "array" not in shown


def test_a_repr_does_not_grow_with_what_it_shows() -> None:
    long: Any = "x" * 10_000
    for value in (
        Params((Layer(long, long),)),
        Layer(long, long),
        fnnet.init_params(0, (2,) * 20),
        Params(SMALL.layers * 50),
    ):
        assert len(repr(value)) < 1000
