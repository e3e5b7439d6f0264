"""Recipes as options: what the library has to compose into a step, by name, with its numbers."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import numpy as np

import fnnet
from fnnet.activations import ACTIVATIONS
from fnnet.arguments import Labels
from fnnet.checks import FloatArray
from fnnet.optimizers.states import OPTIMIZERS, kinds
from fnnet_scripts.options import Parser, UsageError, at_least, not_negative

DISTORTIONS: dict[str, float] = {
    "rotation": 12.0,
    "scale": 0.12,
    "shear": 0.12,
    "shift": 1.0,
    "elastic_alpha": 36.0,
    "elastic_sigma": 5.0,
}  # for digits of 28 x 28 pixels; chosen on held-out images
RECIPE: dict[str, Any] = {
    "optimizer": "rmsprop",
    "decay": 0.9,
    "eps": 1e-8,
    "momentum": 0.0,
    "beta1": 0.9,
    "beta2": 0.999,
    "schedule": "constant",
    "warm_up": 0,
    "activation": "relu",
    "dropout": 0.0,
    "label_smoothing": 0.0,
    "weight_decay": 0.0,
    "clip": 0.0,
    "distort": "off",
    "class_weights": "off",
    "patience": 0,
    "loop": "plain",
}  # options and their defaults
NUMBERS = ("decay", "eps", "momentum", "beta1", "beta2")
RAGGED_WITHOUT = ("schedule", "warm_up", "dropout", "label_smoothing", "weight_decay", "clip")


def optimizers() -> dict[str, type[Any]]:
    """States of the registered optimizers, by the names of the options."""
    return {kind.__name__.removesuffix("State").lower(): kind for kind in OPTIMIZERS}


def add_recipe_options(parser: Parser) -> None:
    """The options of `RECIPE`, in groups."""
    share, names = not_negative(below=1), ", ".join(optimizers())
    add = parser.add_argument_group("optimizer").add_argument
    add("--optimizer", choices=optimizers(), metavar="NAME", help=f"{names}; default: rmsprop")
    add("--decay", type=share, metavar="X", help="of RMSProp's mean squares; default: 0.9")
    add("--eps", type=not_negative(), metavar="X", help="beside the root; default: 1e-8")
    add("--momentum", type=share, metavar="X", help="of RMSProp or SGD; default: 0")
    add("--beta1", type=share, metavar="X", help="of Adam; default: 0.9")
    add("--beta2", type=share, metavar="X", help="of Adam; default: 0.999")
    add = parser.add_argument_group("learning rate").add_argument
    add("--schedule", choices=("constant", "cosine"), help="default: constant")
    add(
        *("--cosine",),
        dest="schedule",
        action="store_const",
        const="cosine",
        help="the same as --schedule cosine: the rate falls to zero along a cosine",
    )
    add("--warm-up", type=at_least(0), metavar="STEPS", help="rise to the full rate; default: 0")
    add = parser.add_argument_group("network and regularization").add_argument
    add("--activation", choices=ACTIVATIONS, help="of the hidden units; default: relu")
    add("--dropout", type=share, metavar="X", help="rate of the hidden units; default: 0")
    add("--label-smoothing", type=share, metavar="X", help="default: 0")
    add("--weight-decay", type=not_negative(), metavar="X", help="times the rate; default: 0")
    add("--clip", type=not_negative(), metavar="X", help="largest norm of a gradient; 0: any")
    switch: dict[str, Any] = {"nargs": "?", "const": "on", "choices": ("on", "off")}
    add("--distort", **switch, help="new distortions of the images for every batch")
    add("--class-weights", **switch, help="every class counts alike, however rare it is")
    add("--patience", type=at_least(0), metavar="N", help="stop after N epochs without progress")
    add("--loop", choices=("plain", "ragged"), help="ragged: faster where many inputs are zero")


def check_recipe(parser: Parser, settings: argparse.Namespace) -> None:
    """End the program where options of a recipe do not go together."""
    held = kinds(optimizers()[settings.optimizer])
    for name in NUMBERS:
        if getattr(settings, name) != RECIPE[name] and name not in held:
            parser.error(f"--{name} is no number of {settings.optimizer}")
    if settings.patience and not settings.validation:
        parser.error("--patience needs --validation: the test set is read once, at the end")
    changed = [name for name in RAGGED_WITHOUT if getattr(settings, name) != RECIPE[name]]
    if settings.loop == "ragged" and (changed or settings.distort == "on"):
        option = (changed or ["distort"])[0].replace("_", "-")
        parser.error(f"--loop ragged makes its own steps and takes no --{option}")


def first_state(settings: argparse.Namespace, params: fnnet.Params) -> Any:
    """The state of the optimizer asked for, with its numbers."""
    kind = optimizers()[settings.optimizer]
    numbers = {name: getattr(settings, name) for name in NUMBERS if name in kinds(kind)}
    return OPTIMIZERS[kind].init(params, settings.learning_rate, **numbers)


def weighted(settings: argparse.Namespace, split: fnnet.Split, classes: int) -> fnnet.Split:
    """The training split, with weights that balance its classes if these are asked for."""
    if settings.class_weights == "off":
        return split
    if split.y.ndim != 1:
        raise UsageError("--class-weights needs one class for each image")
    weights = fnnet.class_weights(split.y, classes)
    return fnnet.Split(split.x, split.y, weights, split.divisor)


def composed(
    settings: argparse.Namespace, rng: np.random.Generator, samples: int, classes: int
) -> dict[str, Any]:
    """Keywords of `fnnet.train` that make its steps those of the recipe."""
    if settings.loop == "ragged":
        return {"epoch": fnnet.train_epoch}
    steps = settings.epochs * -(-samples // settings.batch_size)
    schedule = fnnet.schedules.constant(settings.learning_rate)
    if settings.schedule == "cosine":
        after = max(1, steps - settings.warm_up)
        schedule = fnnet.schedules.cosine(settings.learning_rate, after)
    schedule = fnnet.schedules.warm_up(settings.warm_up, schedule)

    def gradient(
        params: fnnet.Params, x: FloatArray, y: Labels, **weights: Any
    ) -> tuple[float, fnnet.Params]:
        masks, labels = None, y
        if settings.distort == "on":
            x = fnnet.distort(rng, x, **DISTORTIONS)
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

    return {"gradient": gradient, "update": update}


def is_plain(settings: argparse.Namespace) -> bool:
    """Whether the steps are those of `fnnet.train` without further ado."""
    names = (*RAGGED_WITHOUT, "distort", "loop")
    return all(getattr(settings, name) == RECIPE[name] for name in names)
