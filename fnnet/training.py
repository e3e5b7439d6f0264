"""The training loop: one step, one epoch, one run."""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fnnet.arguments import finite_network
from fnnet.checks import flag, function, whole_number
from fnnet.data.splits import Split, check_batches, shuffled
from fnnet.divergence import DivergenceError, check_loss, check_losses, check_state
from fnnet.evaluation import check_split, evaluate
from fnnet.network import loss_and_grads
from fnnet.optimizers.states import StateT, update_of
from fnnet.params import Params
from fnnet.ragged import Prepared, prepare, train_epoch
from fnnet.randomness import Seed, generator, generator_state
from fnnet.records import Epoch, Evaluation, Metrics

Gradient: TypeAlias = Callable[..., tuple[float, Params]]
Update: TypeAlias = Callable[[StateT, Params], StateT]
EpochOf: TypeAlias = Callable[..., tuple[StateT, npt.NDArray[np.float64]]]


def train_step(
    state: StateT,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
    gradient: Gradient = loss_and_grads,
    update: Update[StateT] | None = None,
) -> tuple[StateT, float]:
    """One step of training on a batch, equations (1) to (12).

    Parameters
    ----------
    state : the optimizer before the step
    x : (N, d) float array
    y : labels of the batch, as `loss` takes them
    weights : (N,) weights of the samples, given to `gradient` as a keyword; None where all count
        alike
    gradient, update : as `train`

    Returns
    -------
    state : the optimizer after the step
    loss : the batch's loss before it

    Raises
    ------
    TypeError
        If `state` is no optimizer's, no `update` is given for a type of state that has none
        registered, or `gradient` or `update` returns something else.
    ValueError
        As `loss` and the optimizer's update.

    Examples
    --------
    >>> from fnnet import init_params, rmsprop_init
    >>> state, loss = train_step(rmsprop_init(init_params(0, (3, 2))), np.zeros((2, 3)), [0, 1])
    >>> state.step, round(loss, 4)
    (1, 0.6931)
    """
    update = _update(state, update)
    function("gradient", gradient)
    weighted = {} if weights is None else {"weights": weights}
    loss, grads = _pair("gradient", "(loss, grads)", gradient(state.params, x, y, **weighted))
    after = update(state, grads)
    if not hasattr(after, "params"):
        raise TypeError(f"update must return the next state, got {after!r:.99}")
    return after, loss


def _pair(name: str, what: str, result: Any) -> tuple[Any, Any]:
    """What a function of the user's returns, if it is two values."""
    if not (isinstance(result, tuple) and len(result) == 2):
        raise TypeError(f"{name} must return {what}, got {result!r:.99}")
    return result


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
    epoch: EpochOf[StateT] | None = None,
    memory: int | None = None,
    progress: bool = False,
) -> Iterator[Epoch[StateT]]:
    """Train epoch by epoch, yielding an immutable record after each.

    The arguments are checked at once; each epoch is trained when its record is asked for.

    Early stopping and checkpoints live in the loop that consumes the records; to change a step,
    pass a `gradient` or an `update` of your own, which mostly calls fnnet's. If these draw random
    numbers, let them draw from the generator that is given as `rng`: its state is then all that a
    checkpoint needs for a resumed run to end bit for bit where an unbroken one does.

    Parameters
    ----------
    state : an optimizer's state, from `rmsprop_init(params)` for example. Parameters of an ensemble
        train side by side: each record has the means over the members, and each member's own
        figures. A member that diverges goes on as NaN, the others go on as they are, and the means
        are theirs
    train : what to train on
    test : a second split to evaluate after each epoch; never trained on
    rng : generator, which advances by one permutation an epoch, the state of one, or a seed
    epochs : number of the last epoch, counted from 1: with start=5 and epochs=8 it trains epochs 6,
        7 and 8; if `start` is not below it, nothing is trained
    batch_size : samples a step, >= 1
    start : number of epochs that `state` has already seen
    check_finite : whether to stop where a loss or an update is no longer finite
    gradient : called as gradient(params, x, y), or gradient(params, x, y, weights=s) where the
        split has weights; returns (loss, grads): put dropout, label smoothing and
        distortions here
    update : called as update(state, grads), returns the next state: put schedules,
        clipping and weight decay here. None takes the update registered for the state's type
    epoch : called as epoch(state, data, rng, batch_size), returns the next state and the losses of
        the batches, in the place of the plain loop: `train_epoch`, say. It cannot be
        combined with `gradient` or `update`
    memory : bytes of samples to hold at once, for memory-mapped data: see `batches`. The generator
        then advances as `batches` describes. For the plain loop, without `epoch`
    progress : whether to show on stderr how far training is: a bar of epochs where tqdm is
        installed (in a notebook its widget, if there are widgets), else a line for each epoch

    Yields
    ------
    record : an `Epoch`: the optimizer's state, the metrics and the generator's state after it

    Raises
    ------
    TypeError
        If no `update` is given for a type of state that has none registered, or an argument has
        another type than it should.
    ValueError
        If `epoch` is given beside `gradient` or `update`, `batch_size` is below 1, `epochs` or
        `start` is negative, a split is empty, a label does not fit the network's
        output, or a parameter is not finite.
    DivergenceError
        If a loss, an update or what the optimizer remembers is not finite; of an ensemble, if that
        is so for all members. The last record yielded holds the last good state.

    Examples
    --------
    >>> from fnnet import init_params, load_digits, rmsprop_init
    >>> data, state = load_digits(), rmsprop_init(init_params(0, (64, 64, 10)), 0.01)
    >>> for record in train(state, data.train, data.test, rng=0, epochs=2):
    ...     print(record.metrics.epoch, record.metrics.test_accuracy > 0.85)
    1 True
    2 True
    """
    _check_combination(gradient, update, epoch, memory)
    update = _update(state, update)
    epochs, start = whole_number("epochs", epochs, 0), whole_number("start", start, 0)
    splits = [("train", train), *([] if test is None else [("test", test)])]
    for name, split in splits:
        check_batches(split, batch_size, name)
        check_split(state.params, split)
    if flag("check_finite", check_finite):
        finite_network(state.params)
    rng = generator(rng)
    data: Split | Prepared = prepare(train) if epoch is train_epoch else train

    def plain(state: StateT, number: int) -> StateT:
        dtype = state.params.layers[0].w.dtype
        for batch, (x, y, s) in enumerate(shuffled(rng, train, batch_size, dtype, memory), 1):
            before = state
            state, loss = train_step(before, x, y, weights=s, gradient=gradient, update=update)
            if check_finite:
                check_loss(loss, before, state, train, number, batch)
        return state

    def whole(state: StateT, number: int) -> StateT:
        result = epoch(state, data, rng, batch_size)  # type: ignore[misc]  # not None here
        after, losses = _pair("epoch", "(state, losses)", result)
        if check_finite:
            check_losses(losses, state, after, train, number)
        return after  # type: ignore[no-any-return]  # whatever a user's function returns

    numbers = range(start + 1, epochs + 1)
    batches = math.ceil(len(train) / batch_size)
    one = plain if epoch is None else whole
    records = _epochs(one, state, train, test, rng, numbers, batches, check_finite)
    return _shown(records, numbers) if flag("progress", progress) else records


def _check_combination(
    gradient: Gradient,
    update: Update[StateT] | None,
    epoch: EpochOf[StateT] | None,
    memory: int | None,
) -> None:
    """Raise where `epoch` stands beside what it does by itself, or one is not what it should be."""
    function("gradient", gradient)
    if memory is not None:
        whole_number("memory", memory, 1)
    if epoch is None:
        return
    function("epoch", epoch)
    if gradient is not loss_and_grads or update is not None:
        other = "gradient" if gradient is not loss_and_grads else "update"
        raise ValueError(f"{other} must not be given beside epoch, which makes its own steps")
    if memory is not None:
        raise ValueError("memory must not be given beside epoch, which makes its own batches")


def _update(state: StateT, update: Update[StateT] | None) -> Update[StateT]:
    if update is None or not hasattr(state, "params"):
        return update_of(state)
    function("update", update)
    return update


def _epochs(
    one: Callable[[StateT, int], StateT],
    state: StateT,
    train: Split,
    test: Split | None,
    rng: np.random.Generator,
    numbers: range,
    batches: int,
    check_finite: bool,
) -> Iterator[Epoch[StateT]]:
    for number in numbers:
        began = time.perf_counter()
        state = one(state, number)
        if check_finite:
            check_state(state, train, number, batches)
        seconds = time.perf_counter() - began
        metrics = _measure(state.params, train, test, number, seconds)
        rows = metrics.members or [metrics]
        if check_finite and not any(math.isfinite(row.train_loss) for row in rows):
            raise DivergenceError(f"the loss was {metrics.train_loss}", number, batches)
        yield Epoch(state, metrics, generator_state(rng))


def _shown(records: Iterator[Epoch[StateT]], numbers: range) -> Iterator[Epoch[StateT]]:
    """The records, each shown as it comes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a notebook without widgets gets a bar of text
            from tqdm.auto import tqdm
    except ImportError:
        for record in records:
            m = record.metrics
            print(f"epoch {m.epoch}/{numbers.stop - 1}: {_in_words(m)}", file=sys.stderr)
            yield record
        return
    done, last = numbers.start - 1, numbers.stop - 1
    with tqdm(total=last, initial=done, unit="epoch", dynamic_ncols=True) as bar:
        for record in records:
            bar.set_postfix_str(_in_words(record.metrics), refresh=False)
            bar.update()
            yield record


def _in_words(m: Metrics) -> str:
    shown = {
        "train loss": f"{m.train_loss:.4g}",
        "test loss": f"{m.test_loss:.4g}",
        "test accuracy": f"{m.test_accuracy:.2%}",
        "test r2": f"{m.test_r2:.4f}",
    }
    return ", ".join(f"{name} {text}" for name, text in shown.items() if "nan" not in text)


def _measure(
    params: Params, train: Split, test: Split | None, epoch: int, seconds: float
) -> Metrics:
    on_train = evaluate(params, train)
    on_test = Evaluation(math.nan, math.nan, None) if test is None else evaluate(params, test)
    of_members = on_test.members or (on_test,) * len(on_train.members)
    members = tuple(
        _row(epoch, seconds, *pair) for pair in zip(on_train.members, of_members, strict=True)
    )
    return replace(_row(epoch, seconds, on_train, on_test), members=members)


def _row(epoch: int, seconds: float, train: Evaluation, test: Evaluation) -> Metrics:
    numbers = (train.loss, train.accuracy, test.loss, test.accuracy, seconds, train.r2, test.r2)
    return Metrics(epoch, *numbers)
