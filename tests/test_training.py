"""The loop: honest metrics, the same bits for the same seed, and a stop when it diverges."""

from __future__ import annotations

import dataclasses
import math
import os
import pickle
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

import fnnet
from fnnet import Checkpoint, DivergenceError, Epoch, Params, RMSPropState, Split
from tests import oracles

Array: TypeAlias = npt.NDArray[Any]

SIZES = (6, 5, 4)


def start(dtype: str = "float32", learning_rate: float = 1e-2) -> RMSPropState:
    return fnnet.rmsprop_init(fnnet.init_params(0, SIZES, dtype), learning_rate)


def split(n: int = 50, seed: int = 0, soft: bool = False) -> Split:
    """Classes that follow from the features, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 6))
    z = x @ np.random.default_rng(1).standard_normal((6, 4))
    return Split(x, fnnet.softmax(z) if soft else z.argmax(1))


def bits(params: Params) -> bytes:
    return fnnet.tree_ravel(params)[0].tobytes()


def without_seconds(records: list[Epoch[RMSPropState]]) -> list[str]:
    # As text, in which NaN is NaN.
    return [repr(dataclasses.replace(record.metrics, seconds=0.0)) for record in records]


def assert_same_runs(a: list[Epoch[RMSPropState]], b: list[Epoch[RMSPropState]]) -> None:
    assert without_seconds(a) == without_seconds(b)
    for one, two in zip(a, b, strict=True):
        assert bits(one.state.params) == bits(two.state.params)
        assert bits(one.state.mean_squares) == bits(two.state.mean_squares)
        assert one.state.step == two.state.step


# Steps


def test_a_step_follows_the_gradient_where_the_parameters_were() -> None:
    state, data = start("float64"), split()
    x, y = fnnet.as_inputs(data.x, np.float64), data.y
    after, loss = fnnet.train_step(state, x, y)
    trees = (state.params, fnnet.grads(state.params, x, y))
    w, g = (fnnet.tree_ravel(tree)[0].astype(np.float64) for tree in trees)
    expected, _ = oracles.rmsprop(w, np.zeros_like(w), g, 1e-2, 0.9, 1e-8)
    np.testing.assert_allclose(fnnet.tree_ravel(after.params)[0], expected, 1e-13)
    assert loss == pytest.approx(oracles.cross_entropy(oracles.logits(state.params, x), y))
    assert type(loss) is float
    assert (state.step, after.step) == (0, 1)


def test_a_step_of_an_ensemble_is_a_step_of_each_member() -> None:
    members = [fnnet.init_params(seed, SIZES, "float64") for seed in range(3)]
    together = fnnet.rmsprop_init(fnnet.tree_map(lambda *leaves: np.stack(leaves), *members))
    (x, y), *_ = fnnet.batches(0, split(), 20, np.float64)
    after, total = fnnet.train_step(together, x, y)
    losses = []
    for e, member in enumerate(members):
        expected, loss = fnnet.train_step(fnnet.rmsprop_init(member), x, y)
        one = fnnet.tree_map(lambda leaf, e=e: leaf[e], after.params)
        losses.append(loss)
        assert fnnet.tree_allclose(one, expected.params, rtol=1e-9, atol=1e-12)
    assert total == pytest.approx(sum(losses), rel=1e-12)


def test_training_is_the_loop_of_the_readme() -> None:
    data, rng, state = split(), np.random.default_rng(7), start()
    records = list(fnnet.train(state, data, rng=7, epochs=3, batch_size=8))
    for record in records:
        for x, y in fnnet.batches(rng, data, 8):
            state = fnnet.rmsprop_update(state, fnnet.grads(state.params, x, y))
        assert bits(record.state.params) == bits(state.params)
        assert record.state.step == state.step


def test_training_learns_the_digits() -> None:
    digits = fnnet.load_digits()
    state = fnnet.rmsprop_init(fnnet.init_params(0, (64, 32, 10)))
    records = list(fnnet.train(state, digits.train, digits.test, rng=0, epochs=8))
    assert records[-1].metrics.test_accuracy > 0.9
    assert records[-1].metrics.train_loss < records[0].metrics.train_loss / 2


# Records


@pytest.mark.parametrize("size", [1, 7, 25, 32, 50, 51])
def test_there_is_a_record_for_each_epoch_and_a_step_for_each_batch(size: int) -> None:
    records = list(fnnet.train(start(), split(), rng=0, epochs=3, batch_size=size))
    assert [record.metrics.epoch for record in records] == [1, 2, 3]
    steps = math.ceil(50 / size)
    assert [record.state.step for record in records] == [steps, 2 * steps, 3 * steps]
    assert all(record.metrics.seconds > 0 for record in records)


@pytest.mark.parametrize("soft", [False, True])
def test_metrics_are_those_of_the_split_they_name(soft: bool) -> None:
    data, test = split(soft=soft), split(30, seed=2, soft=soft)
    for record in fnnet.train(start("float64"), data, test, rng=0, epochs=2):
        m = record.metrics
        reported = ((data, m.train_loss, m.train_accuracy), (test, m.test_loss, m.test_accuracy))
        for part, loss, accuracy in reported:
            z = oracles.logits(record.state.params, np.asarray(part.x, np.float64))
            y = np.asarray(part.y)
            classes = (y.argmax(1) if soft else y).tolist()
            hits = sum(row.index(max(row)) == k for row, k in zip(z.tolist(), classes, strict=True))
            assert loss == pytest.approx(oracles.cross_entropy(z, y), rel=1e-12)
            assert accuracy == hits / len(classes)
        assert m.train_loss != m.test_loss


def test_without_a_test_split_its_metrics_are_nan() -> None:
    (record,) = fnnet.train(start(), split(), rng=0, epochs=1)
    assert math.isnan(record.metrics.test_loss)
    assert math.isnan(record.metrics.test_accuracy)


def test_a_test_split_changes_no_parameter() -> None:
    with_test = list(fnnet.train(start(), split(), split(30, seed=2), rng=0, epochs=3))
    without = list(fnnet.train(start(), split(), rng=0, epochs=3))
    assert [bits(r.state.params) for r in with_test] == [bits(r.state.params) for r in without]


def test_records_cannot_be_changed() -> None:
    (record,) = fnnet.train(start(), split(), rng=0, epochs=1)
    for node in (record, record.metrics, record.state):
        for field in dataclasses.fields(node):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(node, field.name, None)


def test_an_epoch_is_trained_only_when_it_is_asked_for() -> None:
    rng, other = np.random.default_rng(0), np.random.default_rng(0)
    run = fnnet.train(start(), split(), rng=rng, epochs=10**9)
    assert rng.bit_generator.state == other.bit_generator.state
    for epoch in range(1, 4):
        assert next(run).metrics.epoch == epoch
        other.permutation(50)
        assert rng.bit_generator.state == other.bit_generator.state


@pytest.mark.parametrize(("epochs", "begin"), [(0, 0), (3, 3), (2, 5)])
def test_epochs_that_are_done_are_not_done_again(epochs: int, begin: int) -> None:
    assert list(fnnet.train(start(), split(), rng=0, epochs=epochs, start=begin)) == []


# Reproducibility


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_seed_gives_the_same_bits(dtype: str) -> None:
    runs = [
        list(fnnet.train(start(dtype), split(), split(9, 2), rng=seed, epochs=3))
        for seed in (0, 0, 1)
    ]
    assert_same_runs(runs[0], runs[1])
    assert bits(runs[0][-1].state.params) != bits(runs[2][-1].state.params)


# Wide enough that BLAS shares the work among its threads.
SEEDED = """
import hashlib, numpy as np, fnnet
data = fnnet.load_digits()
state = fnnet.rmsprop_init(fnnet.init_params(3, (64, 256, 10)))
*_, last = fnnet.train(state, data.train, data.test, rng=4, epochs=2, batch_size=256)
print(hashlib.sha256(fnnet.tree_ravel(last.state.params)[0].tobytes()).hexdigest())
print(last.metrics.train_loss, last.metrics.test_loss)
"""


@pytest.mark.parametrize("threads", ["1", "2"])
def test_the_same_seed_and_threads_give_the_same_bits_in_another_process(threads: str) -> None:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, threads)}
    command = [sys.executable, "-c", SEEDED]
    outputs = {
        subprocess.run(command, env=environment, capture_output=True, check=True).stdout
        for _ in range(3)
    }
    assert len(outputs) == 1
    assert len(outputs.pop().splitlines()) == 2


def test_four_epochs_are_two_then_a_checkpoint_then_two(tmp_path: Path) -> None:
    data, test = split(), split(9, 2)
    whole = list(fnnet.train(start(), data, test, rng=5, epochs=4, batch_size=8))
    rng = np.random.default_rng(5)
    first = list(fnnet.train(start(), data, test, rng=rng, epochs=2, batch_size=8))
    fnnet.save_checkpoint(tmp_path / "run", Checkpoint(first[-1].state, rng, 2))
    rng.random(100)
    saved = fnnet.load_checkpoint(tmp_path / "run", RMSPropState)
    second = list(
        fnnet.train(
            saved.state, data, test, rng=saved.rng, epochs=4, batch_size=8, start=saved.epoch
        )
    )
    assert_same_runs([*first, *second], whole)


def test_numpys_global_generator_is_left_alone() -> None:
    before = pickle.dumps(np.random.get_state())  # noqa: NPY002  # that is the test
    list(fnnet.train(start(), split(), split(9), rng=0, epochs=2))
    assert pickle.dumps(np.random.get_state()) == before  # noqa: NPY002


# Divergence


def diverging(rate: float) -> tuple[RMSPropState, int, int]:
    """A run that goes wrong, and by its own steps: in which epoch and batch."""
    state, rng = start(learning_rate=rate), np.random.default_rng(0)
    current = state
    for epoch in range(1, 100):
        for batch, (x, y) in enumerate(fnnet.batches(rng, split(), 8), 1):
            current, loss = fnnet.train_step(current, x, y)
            if not math.isfinite(loss):
                return state, epoch, batch
    raise AssertionError("this learning rate is too small")  # pragma: no cover


@np.errstate(all="ignore")
@pytest.mark.parametrize("rate", [1e20, 1e37])
def test_divergence_is_an_error_that_names_the_epoch_and_the_batch(rate: float) -> None:
    state, epoch, batch = diverging(rate)
    run = fnnet.train(state, split(), rng=0, epochs=100, batch_size=8)
    with pytest.raises(DivergenceError, match=rf"in epoch {epoch}, batch {batch}: ") as caught:
        list(run)
    assert (caught.value.epoch, caught.value.batch) == (epoch, batch)
    assert caught.value.last_good == epoch - 1
    assert isinstance(caught.value, ArithmeticError)


@np.errstate(all="ignore")
def test_the_last_record_before_a_divergence_is_finite_and_goes_on() -> None:
    data = split()
    records: list[Epoch[RMSPropState]] = []

    def train_and_spoil() -> None:
        for record in fnnet.train(start(), data, rng=0, epochs=9, batch_size=50):
            records.append(record)
            np.asarray(data.x)[3] = np.nan

    with pytest.raises(
        DivergenceError,
        match="x of the data is NaN in row 3, column 0: the loss was nan in epoch 2, batch 1: the",
    ):
        train_and_spoil()
    last = records[-1].state
    assert last.step == 1
    assert np.isfinite(fnnet.tree_ravel(last.params)[0]).all()
    (again,) = fnnet.train(last, split(), rng=0, epochs=1)
    assert math.isfinite(again.metrics.train_loss)


@np.errstate(all="ignore")
@pytest.mark.parametrize("size", [10, 50])
def test_a_gradient_that_is_not_finite_is_a_divergence_of_its_own_batch(size: int) -> None:
    """The loss of one sample stays finite where a product of its gradient overflows."""
    data = split()
    x = np.array(data.x, np.float32)
    x[:, 0] = 3e38
    state = start()
    first = state.params.layers[0]
    w = np.array(first.w)
    w[0] = 0
    params = Params((fnnet.Layer(w, first.b), state.params.layers[1]))
    huge = fnnet.tree_map(lambda leaf: leaf * 10, params)
    run = fnnet.train(fnnet.rmsprop_init(huge), Split(x, data.y), rng=0, epochs=1, batch_size=size)
    with pytest.raises(DivergenceError, match="an update was not finite in epoch 1, batch 1:"):
        list(run)


@np.errstate(all="ignore")
@pytest.mark.parametrize("init", [fnnet.rmsprop_init, fnnet.adam_init])
def test_a_division_by_nothing_is_not_blamed_on_the_learning_rate(init: Any) -> None:
    data = split()
    x = np.array(data.x, np.float32)
    x[:, 0] = 0
    state = init(start().params, eps=0.0)
    with pytest.raises(DivergenceError, match=r"an update without eps .* there with eps above 0$"):
        list(fnnet.train(state, Split(x, data.y), rng=0, epochs=1))


@np.errstate(all="ignore")
@pytest.mark.parametrize("init", [fnnet.rmsprop_init, fnnet.adam_init])
def test_squares_of_gradients_that_overflow_are_a_divergence(init: Any) -> None:
    """Losses and parameters stay finite, but parameters with infinite squares never move again."""
    data = split()
    huge = Split(np.asarray(data.x * 1e30, np.float32), data.y)
    with pytest.raises(DivergenceError, match=r"mean_squares .* were not finite in epoch 1, batch"):
        list(fnnet.train(init(start().params), huge, rng=0, epochs=2))


@pytest.mark.parametrize(
    ("losses", "eps", "message"),
    [
        ([0.5, math.nan, math.nan], 1e-8, "the loss was nan in epoch 1, batch 2"),
        ([math.inf, 0.5], 1e-8, "the loss was inf in epoch 1, batch 1"),
        ([0.5, 0.5, math.nan], 0.0, "an update without eps was not finite in epoch 1, batch 2"),
        ([math.nan], 0.0, "the loss was nan in epoch 1, batch 1"),
    ],
)
def test_the_first_bad_loss_of_a_whole_epoch_is_named(
    losses: list[float], eps: float, message: str
) -> None:
    state = fnnet.rmsprop_init(start().params, eps=eps)
    run = fnnet.train(
        state, split(), rng=0, epochs=1, epoch=lambda state, *_: (state, np.array(losses))
    )
    with pytest.raises(DivergenceError, match=f"^{message}: "):
        list(run)


def test_an_infinite_loss_stops_training_where_the_update_is_finite_too() -> None:
    zeros = fnnet.tree_map(np.zeros_like, start().params)
    run = fnnet.train(start(), split(), rng=0, epochs=1, gradient=lambda *_: (math.inf, zeros))
    with pytest.raises(DivergenceError, match=r"the loss was inf in epoch 1, batch 1: .* a sm"):
        list(run)


class Descent(NamedTuple):
    params: Params


def test_a_state_may_be_anything_that_has_parameters() -> None:
    def update(state: Descent, grads: Params) -> Descent:
        return Descent(fnnet.tree_map(lambda w, g: w - 0.1 * g, state.params, grads))

    first, last = fnnet.train(Descent(start().params), split(), rng=0, epochs=2, update=update)
    expected = start().params
    rng = np.random.default_rng(0)
    for _ in range(2):
        for x, y in fnnet.batches(rng, split(), 32):
            expected = update(Descent(expected), fnnet.grads(expected, x, y)).params
    assert fnnet.tree_equal(last.state.params, expected)
    assert first.metrics.train_loss > last.metrics.train_loss


@np.errstate(all="ignore")
def test_a_state_whose_loss_is_not_finite_is_not_called_a_good_one() -> None:
    run = fnnet.train(start(learning_rate=1e20), split(), rng=0, epochs=3, batch_size=50)
    with pytest.raises(
        DivergenceError, match="the state that you started from is the last good one"
    ):
        list(run)


@np.errstate(all="ignore")
def test_training_goes_on_through_a_divergence_where_asked_to() -> None:
    state, _, _ = diverging(1e37)
    records = list(fnnet.train(state, split(), rng=0, epochs=9, batch_size=8, check_finite=False))
    assert len(records) == 9
    assert math.isnan(records[-1].metrics.train_loss)


def test_a_divergence_travels_between_processes() -> None:
    error = DivergenceError("the loss was nan", 3, 4, "eps above 0")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert (again.epoch, again.batch, again.last_good) == (3, 4, 2)


# Evaluation


@pytest.mark.parametrize("n", [1, 1023, 1024, 1025, 2500])
def test_an_evaluation_counts_every_sample_once(n: int) -> None:
    data, params = split(n), start("float64").params
    result = fnnet.evaluate(params, data)
    z = oracles.logits(params, np.asarray(data.x, np.float64))
    labels, guesses = np.asarray(data.y).tolist(), [row.index(max(row)) for row in z.tolist()]
    pairs = [*zip(labels, guesses, strict=True)]
    assert result.confusion is not None
    assert result.confusion.tolist() == [[pairs.count((i, j)) for j in range(4)] for i in range(4)]
    assert result.accuracy == sum(i == j for i, j in pairs) / n
    assert result.loss == pytest.approx(oracles.cross_entropy(z, np.asarray(data.y)), rel=1e-12)
    assert type(result.loss) is type(result.accuracy) is float


def test_an_evaluation_does_not_hold_all_images_as_floats() -> None:
    images = Split(np.zeros((10_000, 28, 28), np.uint8), np.zeros(10_000, np.uint8))
    params = fnnet.init_params(0, (784, 16, 10))
    tracemalloc.start()
    fnnet.evaluate(params, images)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000 * 784  # as floats they would take four times as much


def test_an_evaluation_agrees_with_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    data, params = split(500), start("float64").params
    result = fnnet.evaluate(params, data)
    p = fnnet.predict_proba(params, fnnet.as_inputs(data.x, np.float64))
    classes = fnnet.predict(params, fnnet.as_inputs(data.x, np.float64))
    assert result.loss == pytest.approx(metrics.log_loss(data.y, p), rel=1e-12)
    assert result.accuracy == metrics.accuracy_score(data.y, classes)
    assert result.confusion is not None
    assert np.array_equal(result.confusion, metrics.confusion_matrix(data.y, classes))


def test_images_are_evaluated_as_they_are_trained_on() -> None:
    rng = np.random.default_rng(0)
    images = Split(rng.integers(0, 256, (20, 2, 3), np.uint8), rng.integers(0, 4, 20))
    floats = Split(fnnet.as_inputs(images.x, np.float64), images.y)
    params = start("float64").params
    assert fnnet.evaluate(params, images).loss == fnnet.evaluate(params, floats).loss
    (one,) = fnnet.train(start("float64"), images, rng=0, epochs=1)
    (two,) = fnnet.train(start("float64"), floats, rng=0, epochs=1)
    assert bits(one.state.params) == bits(two.state.params)


def test_the_loss_of_many_samples_is_summed_in_double_precision() -> None:
    n = 60_000
    data = Split(np.repeat(np.asarray(split(1).x, np.float32), n, 0), np.zeros(n, np.uint8))
    params = start().params
    one = fnnet.evaluate(params, Split(data.x[:1], data.y[:1])).loss
    assert fnnet.evaluate(params, data).loss == pytest.approx(one, rel=1e-6)


# Memory

MEMORY = """
import numpy as np, fnnet
rng = np.random.default_rng(0)
train = fnnet.Split(
    rng.integers(0, 256, (60_000, 28, 28), np.uint8), rng.integers(0, 10, 60_000, np.uint8)
)
state = fnnet.rmsprop_init(fnnet.init_params(0, (784, 128, 10)))
(record,) = fnnet.train(state, train, rng=0, epochs=1, batch_size=512)
with open("/proc/self/status") as status:
    print(next(line for line in status if line.startswith("VmHWM")).split()[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc/self/status")
def test_training_on_data_of_mnists_size_stays_below_400_megabytes() -> None:
    # Not getrusage: a child's peak there includes the memory of the parent it was forked from.
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, check=True)
    assert int(done.stdout) * 1024 < 400e6


# Bad input


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": -1}, "epochs must be a whole number >= 0, got -1"),
        ({"start": -1}, "start must be a whole number >= 0, got -1"),
        ({"batch_size": 0}, "batch_size must be a whole number >= 1, got 0"),
        ({"batch_size": 1.5}, "batch_size must be a whole number >= 1, got 1.5"),
        ({"train": Split(np.zeros((0, 6)), np.zeros(0, int))}, "the split has no samples"),
        ({"test": Split(np.zeros((0, 6)), np.zeros(0, int))}, "the split has no samples"),
    ],
)
def test_training_refuses_other_values_before_it_starts(wrong: Any, message: str) -> None:
    arguments: Any = {"train": split(), "rng": 0, "epochs": 1}
    with pytest.raises(ValueError, match=message):
        fnnet.train(start(), **{**arguments, **wrong})


def test_training_refuses_parameters_that_are_not_finite_before_it_starts() -> None:
    state = start()
    nan = fnnet.tree_map(lambda leaf: leaf * np.float32(np.nan), state.params)
    with pytest.raises(ValueError, match="params must be finite"):
        fnnet.train(dataclasses.replace(state, params=nan), split(), rng=0, epochs=1)


@pytest.mark.parametrize("value", [1.5, 2.0, "2", None], ids=repr)
@pytest.mark.parametrize("name", ["epochs", "start"])
def test_only_whole_numbers_of_epochs_can_be_trained(name: str, value: Any) -> None:
    arguments: Any = {"rng": 0, "epochs": 1, name: value}
    with pytest.raises((TypeError, ValueError), match=f"{name} must be a whole number >= 0, got "):
        fnnet.train(start(), split(), **arguments)


@pytest.mark.parametrize("name", ["train", "test"])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (Split(np.zeros((5, 7)), np.zeros(5, int)), "x must have 6 features"),
        (Split(np.zeros((5, 6)), np.full(5, 4)), r"y must hold classes in \[0, 4\)"),
        (Split(np.zeros((5, 6)), np.full((5, 3), 1 / 3)), "y as distributions must have shape"),
    ],
    ids=["width", "class", "distributions"],
)
def test_training_refuses_data_that_do_not_fit_before_it_starts(
    bad: Split, message: str, name: str
) -> None:
    data = {"train": split(), "test": split(), name: bad}
    with pytest.raises(ValueError, match=message):
        fnnet.train(start(), data["train"], data["test"], rng=0, epochs=1)


def test_an_evaluation_refuses_an_empty_split() -> None:
    params = start().params
    with pytest.raises(ValueError, match="the split has no samples"):
        fnnet.evaluate(params, Split(np.zeros((0, 6)), np.zeros(0, int)))


def test_an_evaluation_refuses_data_that_do_not_fit() -> None:
    params = start().params
    with pytest.raises(ValueError, match="x must have 6 features"):
        fnnet.evaluate(params, Split(np.zeros((5, 7)), np.zeros(5, int)))
    with pytest.raises(ValueError, match=r"y must hold classes in \[0, 4\)"):
        fnnet.evaluate(params, Split(np.zeros((5, 6)), np.full(5, 4)))


def ensemble(*members: Params) -> Params:
    return fnnet.tree_map(lambda *leaves: np.stack(leaves), *members)


def test_members_of_an_ensemble_train_as_each_would_alone() -> None:
    members = [fnnet.init_params(seed, SIZES, "float64") for seed in range(3)]
    data = split()
    together = fnnet.train(fnnet.rmsprop_init(ensemble(*members)), data, data, rng=0, epochs=2)
    (_, last) = together
    assert len(last.metrics.members) == 3
    for e, member in enumerate(members):
        (_, alone) = fnnet.train(fnnet.rmsprop_init(member), data, data, rng=0, epochs=2)
        one = fnnet.tree_map(lambda leaf, e=e: leaf[e], last.state.params)
        assert fnnet.tree_allclose(one, alone.state.params, rtol=1e-9, atol=1e-12)
        assert last.metrics.members[e].test_loss == pytest.approx(alone.metrics.test_loss)
    losses = [row.train_loss for row in last.metrics.members]
    assert last.metrics.train_loss == pytest.approx(np.mean(losses))


@np.errstate(all="ignore")
def test_a_member_that_diverges_costs_the_others_nothing() -> None:
    members = [fnnet.init_params(seed, SIZES) for seed in range(3)]
    rates = np.array([0.1, 1e38, 0.01])
    state = fnnet.sgd_init(ensemble(*members), rates)
    (_, last) = fnnet.train(state, split(), rng=0, epochs=2)
    finite = [math.isfinite(row.train_loss) for row in last.metrics.members]
    assert finite == [True, False, True]
    pair = fnnet.sgd_init(ensemble(members[0], members[2]), rates[[0, 2]])
    (_, alone) = fnnet.train(pair, split(), rng=0, epochs=2)
    for ours, theirs in ((0, 0), (2, 1)):
        a, b = (
            fnnet.tree_map(lambda leaf, e=e: leaf[e], record.state.params)
            for record, e in ((last, ours), (alone, theirs))
        )
        assert fnnet.tree_equal(a, b)


@np.errstate(all="ignore")
def test_when_all_members_have_diverged_it_is_an_error() -> None:
    members = [fnnet.init_params(seed, SIZES) for seed in range(2)]
    state = fnnet.sgd_init(ensemble(*members), 1e38)
    with pytest.raises(DivergenceError, match="epoch 1"):
        list(fnnet.train(state, split(), rng=0, epochs=3))


@np.errstate(all="ignore")
@pytest.mark.parametrize("init", [fnnet.sgd_init, fnnet.rmsprop_init, fnnet.adam_init])
def test_a_diverged_member_is_recorded_epoch_after_epoch(init: Any) -> None:
    members = [fnnet.init_params(seed, SIZES) for seed in range(2)]
    state = init(ensemble(*members), np.array([1e-2, 1e38]))
    records = list(fnnet.train(state, split(), split(9, 2), rng=0, epochs=3, batch_size=8))
    assert len(records) == 3
    for record in records:
        good, bad = record.metrics.members
        assert math.isfinite(good.train_loss)
        assert math.isfinite(good.test_loss)
        assert not math.isfinite(bad.train_loss)
        means = dataclasses.replace(record.metrics, members=())
        expected = dataclasses.replace(good, seconds=means.seconds)
        assert repr(means) == repr(expected)  # in which NaN is NaN
    assert records[-1].metrics.members[0].train_loss < records[0].metrics.members[0].train_loss


@np.errstate(all="ignore")
def test_an_ensemble_that_starts_with_a_bad_member_is_refused() -> None:
    members = [fnnet.init_params(seed, SIZES) for seed in range(2)]
    bad = fnnet.tree_map(lambda leaf: leaf * np.float32(np.nan), members[1])
    state = dataclasses.replace(start(), params=ensemble(members[0], bad))
    with pytest.raises(ValueError, match="params must be finite"):
        fnnet.train(state, split(), rng=0, epochs=1)


def test_ensembles_resume_bit_for_bit(tmp_path: Path) -> None:
    members = [fnnet.init_params(seed, SIZES) for seed in range(3)]
    begin = fnnet.adam_init(ensemble(*members), 0.01)
    whole = list(fnnet.train(begin, split(), rng=3, epochs=4, batch_size=8))
    first, second = list(fnnet.train(begin, split(), rng=3, epochs=2, batch_size=8))
    history = (first.metrics, second.metrics)
    fnnet.save_checkpoint(tmp_path / "run", Checkpoint(second.state, second.rng, 2, history))
    saved = fnnet.load_checkpoint(tmp_path / "run", fnnet.AdamState)
    assert repr(saved.history) == repr(history)
    *_, last = fnnet.train(
        saved.state, split(), rng=saved.rng, epochs=4, batch_size=8, start=saved.epoch
    )
    assert bits(last.state.params) == bits(whole[-1].state.params)


@np.errstate(all="ignore")
@pytest.mark.parametrize("activation", ["tanh", "gelu", "silu", "leaky_relu"])
def test_a_divergence_is_one_with_any_activation(activation: str) -> None:
    params = fnnet.init_params(0, SIZES, activation=activation, output="identity")
    data = split()
    state = fnnet.sgd_init(params, 1e38)
    with pytest.raises(DivergenceError, match="in epoch 1, batch "):
        list(fnnet.train(state, Split(data.x, np.eye(4)[data.y]), rng=0, epochs=3))


def test_a_record_holds_the_generator_by_value() -> None:
    """Whoever holds the last record goes on bit for bit, after Ctrl-C in a notebook, say."""
    whole = list(fnnet.train(start(), split(), rng=3, epochs=3))
    records = fnnet.train(start(), split(), rng=3, epochs=3)
    first = next(records)
    next(records)  # the generator goes on; the record does not
    resumed = list(fnnet.train(first.state, split(), rng=first.rng, epochs=3, start=1))
    assert bits(resumed[-1].state.params) == bits(whole[-1].state.params)
    assert resumed[-1].rng == whole[-1].rng


def test_weights_of_a_split_reach_the_gradient() -> None:
    plain = split()
    weights = np.arange(len(plain)) % 3 + 1
    weighted = Split(plain.x, plain.y, weights)
    seen = []

    def gradient(params: Params, x: Any, y: Any, weights: Any) -> tuple[float, Params]:
        seen.extend(weights.tolist())
        return fnnet.loss_and_grads(params, x, y, weights=weights)

    list(fnnet.train(start(), weighted, rng=0, epochs=1, gradient=gradient))
    assert sorted(seen) == sorted(weights.tolist())


def test_a_split_whose_weights_are_all_zero_is_refused() -> None:
    def use() -> None:
        fnnet.train(start(), Split(split().x, split().y, np.zeros(len(split()))), rng=0, epochs=1)

    with pytest.raises(ValueError, match="weights must not all be zero"):
        use()
