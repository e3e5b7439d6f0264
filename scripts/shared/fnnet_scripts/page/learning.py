"""Training as the page drives it: step after step, paused between any two, bit for bit as `train`.

A run is a generator of its steps: a request draws as many as fit into its time, and what is drawn
no further costs nothing. `as_python` writes the lines that make the same run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

import fnnet
from fnnet.activations import ACTIVATIONS
from fnnet.checks import FloatArray
from fnnet.labels import Labels
from fnnet.optimizers.states import OPTIMIZERS as REGISTERED
from fnnet.optimizers.states import State
from fnnet_scripts.recipes import optimizers

Part: TypeAlias = tuple[fnnet.Evaluation, int]  # of so many images

OPTIMIZERS = {name: REGISTERED[kind].init for name, kind in optimizers().items()}
WIDEST, DEEPEST = 512, 4
LARGEST_BATCH, LARGEST_SEED = 1024, 2**32 - 1  # a larger batch's step would take too long
PIECE = 2048  # images that are evaluated at once, so that no question waits for all of them


@dataclass(frozen=True, slots=True)
class Settings:
    """What makes a run: two runs of equal settings are the same run."""

    data: str = "digits"
    width: int = 64
    depth: int = 1
    activation: str = "relu"
    optimizer: str = "rmsprop"
    rate: float = 0.001
    batch: int = 32
    dropout: float = 0.0
    seed: int = 0


def settings_of(values: Mapping[str, Any], data: Mapping[str, Any]) -> Settings:
    """Settings from what a page sent.

    Raises
    ------
    ValueError
        If one is missing or out of its range; the message names it.
    """

    def choice(name: str, known: Mapping[str, Any]) -> str:
        value = values.get(name)
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r:.60}")
        return value

    def whole(name: str, least: int, most: int) -> int:
        value = values.get(name)
        if type(value) is not int or not least <= value <= most:
            raise ValueError(
                f"{name} must be a whole number from {least} to {most}, got {value!r:.60}"
            )
        return value

    def number(name: str, most: float) -> float:
        value = values.get(name)
        if type(value) not in (int, float) or not 0 <= value <= most:  # type: ignore[operator]  # it is a number by then
            raise ValueError(f"{name} must be a number from 0 to {most:g}, got {value!r:.60}")
        return float(value)  # type: ignore[arg-type]  # as above

    return Settings(
        choice("data", data),
        whole("width", 1, WIDEST),
        whole("depth", 0, DEEPEST),
        choice("activation", ACTIVATIONS),
        choice("optimizer", OPTIMIZERS),
        number("rate", 10.0),
        whole("batch", 1, LARGEST_BATCH),
        number("dropout", 0.9),
        whole("seed", 0, LARGEST_SEED),
    )


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands after a step.

    Attributes
    ----------
    state : the optimizer
    epoch : number of whole epochs done
    share : of the epoch that is being trained, in [0, 1)
    metrics : after a whole epoch and before the first one, when all images are evaluated; else None
    measured : share of the images that are evaluated by now, in [0, 1); 0 where none are to be
    """

    state: State
    epoch: int
    share: float = 0.0
    metrics: fnnet.Metrics | None = None
    measured: float = 0.0


def run(settings: Settings, data: fnnet.Dataset) -> Iterator[Progress]:
    """A run without end, from its first weights on; before any step they are evaluated.

    Raises
    ------
    fnnet.DivergenceError
        Where a loss is no longer finite.
    """
    rng = np.random.default_rng(settings.seed)
    sizes = (data.train.x[0].size, *[settings.width] * settings.depth, len(data.classes))
    params = fnnet.init_params(rng, sizes, activation=settings.activation)
    state = OPTIMIZERS[settings.optimizer](params, settings.rate)
    gradient = _gradient(settings, rng)
    steps = math.ceil(len(data.train) / settings.batch)
    epoch = 0
    yield from _evaluated(state, data, 0)
    while True:
        for i, (x, y) in enumerate(fnnet.batches(rng, data.train, settings.batch), 1):
            state, loss = fnnet.train_step(state, x, y, gradient=gradient)
            if not math.isfinite(loss):
                raise fnnet.DivergenceError(f"the loss was {loss}", epoch + 1, i)
            if i < steps:
                yield Progress(state, epoch, i / steps)
        epoch += 1
        for progress in _evaluated(state, data, epoch):
            row = progress.metrics
            if row is not None and not math.isfinite(row.train_loss):
                raise fnnet.DivergenceError(f"the loss was {row.train_loss}", epoch, steps)
            yield progress


def _gradient(
    settings: Settings, rng: np.random.Generator
) -> Callable[..., tuple[float, fnnet.Params]]:
    if not settings.dropout:
        return fnnet.loss_and_grads
    drops = (0.0, *[settings.dropout] * settings.depth)

    def gradient(params: fnnet.Params, x: FloatArray, y: Labels) -> tuple[float, fnnet.Params]:
        return fnnet.loss_and_grads(params, x, y, fnnet.dropout_masks(rng, params, len(x), drops))

    return gradient


def _evaluated(state: State, data: fnnet.Dataset, epoch: int) -> Iterator[Progress]:
    """An evaluation piece by piece; the last progress has its row of the run's history."""
    total, done = len(data.train) + len(data.test), 0
    parts: tuple[list[Part], list[Part]] = ([], [])
    for split, found in zip((data.train, data.test), parts, strict=True):
        for start in range(0, len(split), PIECE):
            yield Progress(state, epoch, measured=done / total)
            piece = split[start : start + PIECE]
            found.append((fnnet.evaluate(state.params, piece), len(piece)))
            done += len(piece)
    (train_loss, train_accuracy), (test_loss, test_accuracy) = map(_means, parts)
    row = fnnet.Metrics(epoch, train_loss, train_accuracy, test_loss, test_accuracy, 0.0)
    yield Progress(state, epoch, metrics=row)


def _means(parts: Sequence[Part]) -> tuple[float, float]:
    """Loss and accuracy on all images, from those on pieces of them."""
    if len(parts) == 1:  # to the last bit
        return parts[0][0].loss, parts[0][0].accuracy
    count = sum(n for _, n in parts)
    return sum(e.loss * n for e, n in parts) / count, sum(e.accuracy * n for e, n in parts) / count


def as_python(settings: Settings, epochs: int, load: str) -> str:
    """The lines that make a run, bit for bit.

    Parameters
    ----------
    settings : the run's
    epochs : how many
    load : an expression that loads the data
    """
    s = settings
    sizes = ", ".join(["data.train.x[0].size", *[str(s.width)] * s.depth, "len(data.classes)"])
    own = ["from fnnet_scripts.page.folders import read_folder"] if "read_folder" in load else []
    lines = [
        "import numpy as np",
        "import fnnet",
        *own,
        "",
        f"data = {load}",
        f"rng = np.random.default_rng({s.seed})",
        f"sizes = ({sizes})",
        f"params = fnnet.init_params(rng, sizes, activation={s.activation!r})",
        f"state = fnnet.{s.optimizer}_init(params, {s.rate!r})",
    ]
    if s.dropout:
        drops = ", ".join(["0.0", *[str(s.dropout)] * s.depth])
        lines += [
            "",
            "def gradient(params, x, y):",
            f"    rates = [{drops}]",
            "    masks = fnnet.dropout_masks(rng, params, len(x), rates)",
            "    return fnnet.loss_and_grads(params, x, y, masks)",
            "",
        ]
    return "\n".join(
        [
            *lines,
            "records = fnnet.train(",
            "    state, data.train, data.test, rng=rng,",
            f"    epochs={epochs}, batch_size={s.batch}{', gradient=gradient' * bool(s.dropout)})",
            "for record in records:",
            "    m = record.metrics",
            "    print(m.epoch, m.test_loss, m.test_accuracy)",
            "",
        ]
    )
