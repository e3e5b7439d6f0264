"""The loop: a step, an epoch, an evaluation. Everything else lives outside it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Generic, TypeAlias

import numpy as np
import numpy.typing as npt

from fnnet.checks import Seed, generator, whole_number
from fnnet.data.splits import Split, as_inputs, batches, check_batches
from fnnet.network import (
    Labels,
    Params,
    check_labels,
    check_layers,
    check_params,
    forward,
    log_softmax,
    loss_and_grads,
    one_hot,
)
from fnnet.optimizers.adam import AdamState, adam_update
from fnnet.optimizers.rmsprop import RMSPropState, rmsprop_update
from fnnet.optimizers.sgd import SGDState, sgd_update
from fnnet.optimizers.steps import State, StateT
from fnnet.trees import FloatArray, tree_leaves

Gradient: TypeAlias = Callable[[Params, FloatArray, Labels], tuple[float, Params]]
Update: TypeAlias = Callable[[StateT, Params], StateT]

UPDATES: dict[type, Callable[[Any, Params], Any]] = {
    RMSPropState: rmsprop_update,
    SGDState: sgd_update,
    AdamState: adam_update,
}
EVALUATION_ROWS = 1024  # samples evaluated at once: bounds memory, keeps the products efficient


class DivergenceError(ArithmeticError):
    """A loss or an update is no longer finite.

    The message names the epoch, the batch, the epoch whose record is the last good one, and with
    what to go on from it; so do the attributes `epoch`, `batch`, `last_good` and `remedy`.
    """

    def __init__(
        self, what: str, epoch: int, batch: int, remedy: str = "a smaller learning rate"
    ) -> None:
        self.what, self.epoch, self.batch, self.last_good = what, epoch, batch, epoch - 1
        self.remedy = remedy
        super().__init__(
            f"{what} in epoch {epoch}, batch {batch}: the state after epoch {epoch - 1} is the "
            f"last good one; go on from there with {remedy}"
        )

    def __reduce__(self) -> tuple[type, tuple[str, int, int, str]]:
        return type(self), (self.what, self.epoch, self.batch, self.remedy)


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """How a network does on a split.

    Attributes
    ----------
    loss : mean cross-entropy, in nats
    accuracy : share of samples whose most probable class is theirs, in [0, 1]
    confusion : (K, K) counts, row = true class, column = predicted class
    """

    loss: float
    accuracy: float
    confusion: npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Metrics:
    """One row of a run's history.

    Attributes
    ----------
    epoch : number of the epoch, from 1
    train_loss, train_accuracy : on the training split, with the parameters after the epoch
    test_loss, test_accuracy : on the split given as test; NaN where none was given
    seconds : time spent training in this epoch, evaluation excluded
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Epoch(Generic[StateT]):
    """What `train` yields: the state after an epoch and its metrics (see `Metrics`)."""

    state: StateT
    metrics: Metrics


def train_step(
    state: StateT,
    x: FloatArray,
    y: Labels,
    *,
    gradient: Gradient = loss_and_grads,
    update: Update[StateT] | None = None,
) -> tuple[StateT, float]:
    """One step of training on a batch, equations (1) to (12).

    Parameters
    ----------
    state : the optimizer before the step
    x : (N, d) float array
    y : (N,) int classes, or (N, K) float distributions
    gradient, update : as `train`

    Returns
    -------
    state : the optimizer after the step
    loss : the batch's loss before it
    """
    update = update or _update_of(state)
    loss, grads = gradient(state.params, x, y)
    return update(state, grads), loss


def _update_of(state: StateT) -> Update[StateT]:
    """The update that belongs to a state."""
    if type(state) not in UPDATES:
        raise TypeError(f"update must be given for a state of type {type(state).__name__}")
    return UPDATES[type(state)]


def train(
    state: StateT,
    train: Split,
    test: Split | None = None,
    *,
    rng: Seed,
    epochs: int,
    batch_size: int = 32,
    start: int = 0,
    check_finite: bool = True,
    gradient: Gradient = loss_and_grads,
    update: Update[StateT] | None = None,
) -> Iterator[Epoch[StateT]]:
    """Train epoch by epoch, yielding an immutable record after each.

    Progress bars, early stopping and checkpoints live in the loop that consumes the records; what
    changes a step is composed into `gradient` and `update`. If these draw random numbers, let them
    draw from the generator that is given as `rng`: its state is then all that a checkpoint needs
    for a resumed run to end bit for bit where an unbroken one does.

    Parameters
    ----------
    state : where to start: parameters with what an optimizer knows of them
    train : what to train on
    test : what to report besides; never trained on
    rng : generator, which advances by one permutation an epoch, or a seed
    epochs : number of the last epoch; if `start` is not below it, nothing is trained
    batch_size : samples a step, >= 1
    start : number of epochs that `state` has already seen
    check_finite : whether to stop where a loss or an update is no longer finite
    gradient : called as gradient(params, x, y), returns (loss, grads): the place of dropout, label
        smoothing and distortions
    update : called as update(state, grads), returns the next state: the place of schedules,
        clipping and weight decay. Without one, it is the function that belongs to the state's type:
        `rmsprop_update`, `sgd_update` or `adam_update`

    Raises
    ------
    TypeError
        If no `update` is given for a type of state that has none of its own.
    ValueError
        If `batch_size` is below 1, `epochs` or `start` is negative, a split is empty or a parameter
        is not finite.
    DivergenceError
        If a loss, an update or what the optimizer remembers is not finite. The last record
        yielded holds the last good state.
    """
    update = update or _update_of(state)
    whole_number("epochs", epochs, 0)
    whole_number("start", start, 0)
    for split in (train, test):
        if split is not None:
            check_batches(split, batch_size)
            _check_split(state.params, split)
    if check_finite:
        check_params(state.params)
    rng = generator(rng)

    def step(state: StateT, x: FloatArray, y: Labels) -> tuple[StateT, float]:
        return train_step(state, x, y, gradient=gradient, update=update)

    numbers = range(start + 1, epochs + 1)
    return _epochs(step, state, train, test, rng, numbers, batch_size, check_finite)


def _epochs(
    step: Callable[[StateT, FloatArray, Labels], tuple[StateT, float]],
    state: StateT,
    train: Split,
    test: Split | None,
    rng: np.random.Generator,
    epochs: range,
    batch_size: int,
    check_finite: bool,
) -> Iterator[Epoch[StateT]]:
    dtype = state.params.layers[0].w.dtype
    for epoch in epochs:
        began = time.perf_counter()
        for batch, (x, y) in enumerate(batches(rng, train, batch_size, dtype), 1):
            before = state
            state, loss = step(before, x, y)
            if check_finite and not math.isfinite(loss):
                # An update that was not finite shows here one batch late, in the parameters.
                if not _is_finite(before.params):
                    raise _bad_update(before, epoch, batch - 1)
                raise DivergenceError(f"the loss was {loss}", epoch, batch)
        if check_finite and not _is_finite(state.params):
            raise _bad_update(state, epoch, batch)
        if check_finite and (names := _not_finite(state)):
            raise DivergenceError(f"{names[0]} of the optimizer were not finite", epoch, batch)
        seconds = time.perf_counter() - began
        metrics = _measure(state.params, train, test, epoch, seconds)
        if check_finite and not math.isfinite(metrics.train_loss):
            raise DivergenceError(f"the loss was {metrics.train_loss}", epoch, batch)
        yield Epoch(state, metrics)


def _check_split(params: Params, split: Split) -> None:
    """Raise where a network cannot be evaluated on a split."""
    check_layers(params)
    shape = params.layers[-1].w.shape
    if len(shape) != 2:
        raise ValueError(f"params must be one network, got an ensemble of shape {shape[:-2]}")
    forward(params, as_inputs(split.x[:1], params.layers[0].w.dtype))
    check_labels(split.y, (len(split), shape[-1]))


def _bad_update(state: State, epoch: int, batch: int) -> DivergenceError:
    if getattr(state, "eps", None) == 0:  # where a gradient was always 0 the step is 0 / 0
        return DivergenceError("an update without eps was not finite", epoch, batch, "eps above 0")
    return DivergenceError("an update was not finite", epoch, batch)


def _is_finite(tree: Params) -> bool:
    return all(bool(np.all(np.isfinite(leaf))) for leaf in tree_leaves(tree))


def _not_finite(state: Any) -> list[str]:
    """Names of the trees in a state that are not finite: squares overflow before gradients do."""
    names = [field.name for field in fields(state)] if is_dataclass(state) else []
    trees = {name: getattr(state, name) for name in names}
    return [n for n, tree in trees.items() if isinstance(tree, Params) and not _is_finite(tree)]


def _measure(
    params: Params, train: Split, test: Split | None, epoch: int, seconds: float
) -> Metrics:
    on_train = evaluate(params, train)
    if test is None:
        return Metrics(epoch, on_train.loss, on_train.accuracy, math.nan, math.nan, seconds)
    on_test = evaluate(params, test)
    return Metrics(epoch, on_train.loss, on_train.accuracy, on_test.loss, on_test.accuracy, seconds)


def evaluate(params: Params, split: Split) -> Evaluation:
    """Loss, accuracy and confusion matrix of a network on a split.

    Parameters
    ----------
    params : one network, not an ensemble
    split : the data; where labels are distributions, a sample's true class is the likeliest

    Raises
    ------
    TypeError, ValueError
        As `loss`, or if the split is empty or `params` an ensemble.
    """
    check_batches(split, EVALUATION_ROWS)
    _check_split(params, split)
    k = params.layers[-1].w.shape[-1]
    total, confusion = 0.0, np.zeros((k, k), np.intp)
    for start in range(0, len(split), EVALUATION_ROWS):
        rows = slice(start, start + EVALUATION_ROWS)
        z = forward(params, as_inputs(split.x[rows], params.layers[0].w.dtype))
        y = one_hot(split.y[rows], z)
        total -= float(np.sum(y * log_softmax(z), dtype=np.float64))
        np.add.at(confusion, (y.argmax(-1), z.argmax(-1)), 1)
    correct = int(np.trace(confusion))
    return Evaluation(total / len(split), correct / len(split), confusion)
