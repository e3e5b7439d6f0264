"""Recipes as options: what the library has to compose into a step, by name, with its numbers."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import fnnet
from fnnet.activations import ACTIVATIONS
from fnnet.checks import FloatArray
from fnnet.labels import Labels
from fnnet.optimizers.schedules import Schedule
from fnnet.optimizers.states import OPTIMIZERS, kinds
from fnnet.outputs import OUTPUTS
from fnnet.params import VARIANCES
from fnnet_scripts.options import Parser, UsageError, at_least, not_negative

DISTORTIONS: dict[str, dict[str, float]] = {  # for digits of 28 x 28 pixels
    "on": {  # chosen on held-out images
        "rotation": 12.0,
        "scale": 0.12,
        "shear": 0.12,
        "shift": 1.0,
        "elastic_alpha": 36.0,
        "elastic_sigma": 5.0,
    },
    "smoother": {  # and more affine, about as Cireşan et al. (2010) have them
        "rotation": 15.0,
        "scale": 0.15,
        "shear": 0.12,
        "shift": 1.0,
        "elastic_alpha": 38.0,
        "elastic_sigma": 6.0,
    },
}
RECIPE: dict[str, Any] = {
    "optimizer": "rmsprop",
    "decay": 0.9,
    "eps": 1e-8,
    "momentum": 0.0,
    "beta1": 0.9,
    "beta2": 0.999,
    "nesterov": "off",
    "centered": "off",
    "schedule": "constant",
    "warm_up": 0,
    "factor": 0.1,
    "every": 0,
    "activation": "relu",
    "output": "softmax",
    "scheme": "auto",
    "dropout": 0.0,
    "label_smoothing": 0.0,
    "weight_decay": 0.0,
    "clip": 0.0,
    "average": 0.0,
    "distort": "off",
    "class_weights": "off",
    "patience": 0,
    "loop": "plain",
}  # options and their defaults
NUMBERS = ("decay", "eps", "momentum", "beta1", "beta2")
FLAGS = ("nesterov", "centered")
STEPS = ("schedule", "warm_up", "dropout", "label_smoothing", "weight_decay", "clip", "average")
AVERAGE = "average of parameters"  # where a checkpoint keeps it
UNIT_NORMAL = "normal"  # weights and biases from N(0, 1), as the published recipe `original` has


@dataclass(frozen=True, slots=True)
class Averaged:
    """An optimizer's state, and the moving average of the parameters that it has had."""

    state: Any
    average: fnnet.Params

    @property
    def params(self) -> fnnet.Params:
        return self.state.params  # type: ignore[no-any-return]  # a state's, whichever it is


def optimizers() -> dict[str, type[Any]]:
    """States of the registered optimizers, by the names of the options."""
    return {kind.__name__.removesuffix("State").lower(): kind for kind in OPTIMIZERS}


def add_recipe_options(parser: Parser) -> None:
    """The options of `RECIPE`, in groups."""
    share, names = not_negative(below=1), ", ".join(optimizers())
    switch: dict[str, Any] = {"nargs": "?", "const": "on", "choices": ("on", "off")}
    add = parser.group("optimizer")
    add("--optimizer", choices=optimizers(), metavar="NAME", help=f"{names}; default: rmsprop")
    add("--decay", type=share, metavar="X", help="of RMSProp's mean squares; default: 0.9")
    add("--eps", type=not_negative(), metavar="X", help="beside the root; default: 1e-8")
    add("--momentum", type=share, metavar="X", help="of RMSProp or SGD; default: 0")
    add("--beta1", type=share, metavar="X", help="of Adam; default: 0.9")
    add("--beta2", type=share, metavar="X", help="of Adam; default: 0.999")
    add("--nesterov", **switch, help="of SGD with momentum")
    add("--centered", **switch, help="of RMSProp: mean squares about the mean gradient")
    add("--clip", type=not_negative(), metavar="X", help="largest norm of a gradient; 0: any")
    add("--average", type=share, metavar="X", help="keep a moving average with this decay, use it")
    add = parser.group("learning rate")
    add("--schedule", choices=("constant", "cosine", "step"), help="default: constant")
    add(
        *("--cosine",),
        dest="schedule",
        action="store_const",
        const="cosine",
        help="the same as --schedule cosine: the rate falls to zero along a cosine",
    )
    add("--warm-up", type=at_least(0), metavar="STEPS", help="rise to the full rate; default: 0")
    add(
        "--every", type=at_least(0), metavar="STEPS", help="of --schedule step: steps between falls"
    )
    add("--factor", type=share, metavar="X", help="of --schedule step: what is left; default: 0.1")
    add = parser.group("network and regularization")
    add("--activation", choices=ACTIVATIONS, help="of the hidden units; default: relu")
    about = "sigmoid: each class against the rest; identity: least squares; default: softmax"
    add("--output", choices=OUTPUTS, help=about)
    schemes = ("auto", *VARIANCES, UNIT_NORMAL)
    add("--scheme", choices=schemes, help="of the first weights; default: what suits --activation")
    add("--dropout", type=share, metavar="X", help="rate of the hidden units; default: 0")
    add("--label-smoothing", type=share, metavar="X", help="default: 0")
    add("--weight-decay", type=not_negative(), metavar="X", help="times the rate; default: 0")
    add(
        *("--distort",),
        nargs="?",
        const="on",
        choices=("off", *DISTORTIONS),
        help="new distortions of the images for every batch",
    )
    add("--class-weights", **switch, help="every class counts alike, however rare it is")
    add("--patience", type=at_least(0), metavar="N", help="stop after N epochs without progress")
    loop = "ragged: faster where many inputs are zero, the default where nothing else is asked for"
    add("--loop", choices=("plain", "ragged"), help=loop)


def check_recipe(parser: Parser, settings: argparse.Namespace) -> None:
    """End the program where options of a recipe do not go together."""
    held = kinds(optimizers()[settings.optimizer])
    for name in (*NUMBERS, *FLAGS):
        if getattr(settings, name) != RECIPE[name] and name not in held:
            parser.error(f"--{name} does not go with --optimizer {settings.optimizer}")
    if settings.patience and not settings.validation:
        parser.error("--patience needs --validation: the test set is read once, at the end")
    if (settings.schedule == "step") != bool(settings.every):
        parser.error("--schedule step and --every STEPS go together")
    if settings.loop == "ragged" and (changed := _own_steps(settings)):
        option = changed[0].replace("_", "-")
        parser.error(f"--loop ragged makes its own steps and takes no --{option}")


def _own_steps(settings: argparse.Namespace) -> list[str]:
    """The options that ask for steps which are not those of `fnnet.train`."""
    return [name for name in (*STEPS, "distort") if getattr(settings, name) != RECIPE[name]]


def fastest_loop(settings: argparse.Namespace) -> str:
    """The loop of a new run that asks for none."""
    return "plain" if _own_steps(settings) else "ragged"


def first_params(
    settings: argparse.Namespace,
    rng: np.random.Generator,
    sizes: Sequence[int],
    dtype: str = "float32",
) -> fnnet.Params:
    """A network to begin with."""
    scheme = settings.scheme if settings.scheme in VARIANCES else None
    kinds = {"activation": settings.activation, "output": settings.output}
    params = fnnet.init_params(rng, sizes, dtype, scheme=scheme, **kinds)
    if settings.scheme != UNIT_NORMAL:
        return params
    return fnnet.tree_map(lambda leaf: rng.standard_normal(leaf.shape).astype(leaf.dtype), params)


def first_state(settings: argparse.Namespace, params: fnnet.Params) -> Any:
    """The state of the optimizer asked for, with its numbers."""
    kind = optimizers()[settings.optimizer]
    numbers = {name: getattr(settings, name) for name in NUMBERS if name in kinds(kind)}
    flags = {name: getattr(settings, name) == "on" for name in FLAGS if name in kinds(kind)}
    return OPTIMIZERS[kind].init(params, settings.learning_rate, **numbers, **flags)


def weighted(settings: argparse.Namespace, split: fnnet.Split, classes: int) -> fnnet.Split:
    """The training split, with weights that balance its classes if these are asked for."""
    if settings.class_weights == "off":
        return split
    if split.y.ndim != 1:
        raise UsageError("--class-weights needs one class for each image")
    weights = fnnet.class_weights(split.y, classes)
    return fnnet.Split(split.x, split.y, weights, split.divisor)


def labelled(settings: argparse.Namespace, split: fnnet.Split, classes: int) -> fnnet.Split:
    """The split with its labels as the output takes them: of all but softmax zeros and ones."""
    if settings.output == "softmax":
        return split
    y = fnnet.smooth_labels(split.y, classes, 0)
    return fnnet.Split(split.x, y, split.weights, split.divisor)


def evaluated(
    settings: argparse.Namespace, params: fnnet.Params, split: fnnet.Split, classes: int
) -> fnnet.Evaluation:
    """The loss of the network's own output; accuracy and confusion of the largest logit's class."""
    own = fnnet.evaluate(params, labelled(settings, split, classes))
    if settings.output == "softmax":
        return own
    return replace(fnnet.evaluate(replace(params, output="softmax"), split), loss=own.loss)


def schedule_of(settings: argparse.Namespace, steps: int) -> Schedule:
    """The learning rate of a run of so many steps."""
    rate = settings.learning_rate
    schedule = fnnet.schedules.constant(rate)
    if settings.schedule == "cosine":
        schedule = fnnet.schedules.cosine(rate, max(1, steps - settings.warm_up))
    elif settings.schedule == "step":
        schedule = fnnet.schedules.step_decay(rate, settings.factor, settings.every)
    return fnnet.schedules.warm_up(settings.warm_up, schedule)


def composed(
    settings: argparse.Namespace, rng: np.random.Generator, samples: int, classes: int
) -> dict[str, Any]:
    """Keywords of `fnnet.train` that make its steps those of the recipe."""
    if settings.loop == "ragged":
        return {"epoch": fnnet.train_epoch}
    schedule = schedule_of(settings, settings.epochs * -(-samples // settings.batch_size))

    def gradient(
        params: fnnet.Params, x: FloatArray, y: Labels, **weights: Any
    ) -> tuple[float, fnnet.Params]:
        masks, labels = None, y
        if settings.distort != "off":
            x = fnnet.distort(rng, x, **DISTORTIONS[settings.distort])
        if settings.dropout:
            rates = (0.0, *(settings.dropout for _ in params.layers[1:]))
            masks = fnnet.dropout_masks(rng, params, len(x), rates)
        if settings.label_smoothing:
            labels = fnnet.smooth_labels(y, classes, settings.label_smoothing)
        return fnnet.loss_and_grads(params, x, labels, masks, **weights)

    def update(state: Any, grads: fnnet.Params) -> Any:
        rate, params = schedule(state.step), state.params
        if settings.weight_decay:
            params = fnnet.decay_weights(params, min(1.0, rate * settings.weight_decay))
        if settings.clip:
            grads = fnnet.clip_by_global_norm(grads, settings.clip)
        return fnnet.update(replace(state, params=params, learning_rate=rate), grads)

    def update_both(both: Averaged, grads: fnnet.Params) -> Averaged:
        state, decay = update(both.state, grads), settings.average
        return Averaged(state, fnnet.moving_average(both.average, state.params, decay, state.step))

    return {"gradient": gradient, "update": update_both if settings.average else update}


def with_average(checkpoint: fnnet.Checkpoint[Any]) -> Averaged:
    """The state to go on from, with the average that the checkpoint keeps beside it."""
    params = checkpoint.state.params
    if AVERAGE not in checkpoint.extra:
        return Averaged(checkpoint.state, params)
    _, unravel = fnnet.tree_ravel(params)
    return Averaged(checkpoint.state, unravel(checkpoint.extra[AVERAGE]))


def remeasured(
    settings: argparse.Namespace,
    record: fnnet.Epoch[Any],
    train: fnnet.Split,
    held_out: fnnet.Split,
    classes: int,
) -> fnnet.Epoch[Any]:
    """The record with the figures of `evaluated`, of the average where there is one."""
    params = record.state.average if settings.average else record.state.params
    on_train, on_held_out = (
        evaluated(settings, params, split, classes) for split in (train, held_out)
    )
    metrics = replace(
        record.metrics,
        train_loss=on_train.loss,
        train_accuracy=on_train.accuracy,
        test_loss=on_held_out.loss,
        test_accuracy=on_held_out.accuracy,
    )
    return replace(record, metrics=metrics)


def with_state(checkpoint: fnnet.Checkpoint[Any], state: Any) -> fnnet.Checkpoint[Any]:
    """The same run with another state, without an average beside it."""
    extra = {name: value for name, value in checkpoint.extra.items() if name != AVERAGE}
    return fnnet.Checkpoint(state, checkpoint.rng, checkpoint.epoch, checkpoint.history, extra)


def is_plain(settings: argparse.Namespace) -> bool:
    """Whether the steps are those of `fnnet.train` without further ado."""
    return settings.loop == "plain" and not _own_steps(settings)
