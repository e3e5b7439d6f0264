"""Train a published recipe on MNIST and print its row of the table of results.

    python scripts/reproduce.py keras --seeds 0 1 2

One run for each seed. The test set is read once a run, at the end. The settings were chosen with
--validation, which holds samples of the training set out and shows their error instead. With
--jobs N seeds run side by side; the seconds are then those of a run on its share of the cores.
"""

from __future__ import annotations

if __name__ == "__main__":
    import fnnet_scripts.quiet  # noqa: F401

import argparse
import os
import signal
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import active_children, get_context

import numpy as np
from fnnet_scripts.options import (
    Parser,
    at_least,
    check_figure,
    exit_code,
    png,
    save_figure,
    terminal_bar,
    uninterrupted,
)
from fnnet_scripts.runs import DATASETS, check_validation

import fnnet
from fnnet.arguments import Labels
from fnnet.checks import FloatArray
from fnnet.optimizers.schedules import Schedule, constant, cosine, warm_up

DISTORTIONS = {
    "rotation": 12.0,
    "scale": 0.12,
    "shear": 0.12,
    "shift": 1.0,
    "elastic_alpha": 36.0,
    "elastic_sigma": 5.0,
}
SMOOTHER = DISTORTIONS | {  # and more affine, about as Cireşan et al. (2010) have them
    "rotation": 15.0,
    "scale": 0.15,
    "elastic_alpha": 38.0,
    "elastic_sigma": 6.0,
}
WARM_UP = 500  # steps to the full learning rate where it falls afterwards


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes
    ----------
    published : the error that is to be reproduced, and whose it is
    hidden : widths of the hidden layers
    epochs, batch_size, rate, decay : of RMSProp's run
    falling : whether the learning rate rises shortly, then falls to zero along a cosine
    dropout : rate of the hidden units
    weight_decay : decoupled; the learning rate times this is the share that weights lose a step
    distortions : settings of `fnnet.distort`, fresh for every batch
    members : networks whose probabilities are averaged
    unit_normal : whether weights and biases start from N(0, 1)
    """

    published: str
    hidden: tuple[int, ...]
    epochs: int
    batch_size: int = 128
    rate: float = 1e-3
    decay: float = 0.9
    falling: bool = False
    dropout: float = 0.0
    weight_decay: float = 0.0
    distortions: dict[str, float] = field(default_factory=dict)
    members: int = 1
    unit_normal: bool = False


DISTORTED = Recipe(
    published="0.7 (Simard et al. 2003)",
    hidden=(800,),
    epochs=150,
    rate=2e-3,
    decay=0.99,
    falling=True,
    weight_decay=0.05,
    distortions=DISTORTIONS,
)
RECIPES = {
    "original": Recipe(
        published="5.9 (olibridge01/NumPyNet, measured on the test set)",
        hidden=(128,),
        epochs=10,
        batch_size=32,
        unit_normal=True,
    ),
    "keras": Recipe(
        published="1.60 (keras, examples/mnist_mlp.py)",
        hidden=(512, 512),
        epochs=20,
        dropout=0.2,
    ),
    "simard": Recipe(
        published="1.6 (Simard et al. 2003)",
        hidden=(800,),
        epochs=20,
        decay=0.99,
        falling=True,
    ),
    "simard-distorted": DISTORTED,
    "best": replace(
        DISTORTED,
        published="0.35 (Cireşan et al. 2010)",
        hidden=(1500, 1000, 500),
        epochs=180,
        batch_size=256,
        rate=1e-3,
        weight_decay=0.1,
        distortions=SMOOTHER,
    ),
    "ensemble": replace(DISTORTED, published="–", epochs=30, members=5),
}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("name", choices=RECIPES, metavar="NAME", help=", ".join(RECIPES))
    add("--seeds", type=at_least(0), nargs="+", default=[0, 1, 2], metavar="SEED")
    add("--epochs", type=at_least(1), metavar="N", help="instead of the recipe's")
    add("--jobs", type=at_least(1), default=1, metavar="N", help="runs at a time; default: 1")
    add("--validation", type=at_least(0), default=0, metavar="N", help="samples to hold out")
    add("--dataset", choices=DATASETS, default="mnist", help="default: mnist")
    add("--data-dir", metavar="DIR", help="folder of the data set's four files")
    add("--figure", type=png, metavar="FILE", help="draw distorted images and train nothing")
    settings = parser.parse_args(argv)
    if settings.figure and not RECIPES[settings.name].distortions:
        distorting = ", ".join(name for name, recipe in RECIPES.items() if recipe.distortions)
        parser.error(f"--figure: {settings.name} distorts no images, expected one of {distorting}")
    return settings


def start(rng: np.random.Generator, sizes: Sequence[int], recipe: Recipe) -> fnnet.Params:
    params = fnnet.init_params(rng, sizes)
    if not recipe.unit_normal:
        return params
    return fnnet.tree_map(lambda leaf: rng.standard_normal(leaf.shape).astype(leaf.dtype), params)


def learning_rates(recipe: Recipe, steps: int) -> Schedule:
    if not recipe.falling:
        return constant(recipe.rate)
    rise = min(WARM_UP, steps // 10)
    return warm_up(rise, cosine(recipe.rate, steps - rise))


def fit(
    recipe: Recipe, split: fnnet.Split, classes: int, rng: np.random.Generator, bar: bool
) -> fnnet.Params:
    """The parameters after the last epoch; a terminal may show a bar meanwhile."""
    sizes = (split.x[0].size, *recipe.hidden, classes)
    steps = recipe.epochs * -(-len(split) // recipe.batch_size)
    schedule = learning_rates(recipe, steps)
    drops = (0.0, *(recipe.dropout for _ in recipe.hidden))

    def gradient(params: fnnet.Params, x: FloatArray, y: Labels) -> tuple[float, fnnet.Params]:
        if recipe.distortions:
            x = fnnet.distort(rng, x, **recipe.distortions)
        return fnnet.loss_and_grads(params, x, y, fnnet.dropout_masks(rng, params, len(x), drops))

    def update(state: fnnet.RMSPropState, grads: fnnet.Params) -> fnnet.RMSPropState:
        rate = schedule(state.step)
        if recipe.weight_decay:
            params = fnnet.decay_weights(state.params, rate * recipe.weight_decay)
            state = replace(state, params=params)
        return fnnet.rmsprop_update(replace(state, learning_rate=rate), grads)

    state = fnnet.rmsprop_init(start(rng, sizes, recipe), recipe.rate, recipe.decay)
    with terminal_bar(recipe.epochs) if bar else nullcontext() as shown:
        for _ in range(recipe.epochs):
            for x, y in fnnet.batches(rng, split, recipe.batch_size):
                state, _ = fnnet.train_step(state, x, y, gradient=gradient, update=update)
            if shown is not None:
                shown.update()
    return state.params


def error(members: Sequence[fnnet.Params], split: fnnet.Split) -> float:
    """Share of samples, in percent, that the mean of the members' probabilities gets wrong."""
    wrong = 0
    for x, y in fnnet.batches(0, split, 1000):
        probabilities = sum(fnnet.predict_proba(params, x) for params in members)
        wrong += int(np.sum(np.argmax(probabilities, axis=-1) != y))
    return 100 * wrong / len(split)


@dataclass(frozen=True)
class Trial:
    """What one run came to: its error in percent, and how many images it trained in what time."""

    error: float
    seconds: float
    images: int


def trial(settings: argparse.Namespace, recipe: Recipe, seed: int) -> Trial:
    """One run of a recipe."""
    data = fnnet.load_dataset(settings.dataset, settings.data_dir)
    rng = np.random.default_rng(seed)
    train, held_out = data.train, data.test
    if settings.validation:
        train, held_out = fnnet.hold_out(rng, data.train, settings.validation)
    began = time.perf_counter()
    classes, bar = len(data.classes), settings.jobs == 1  # side by side bars would overlap
    members = [fit(recipe, train, classes, rng, bar) for _ in range(recipe.members)]
    seconds = time.perf_counter() - began
    images = len(train) * recipe.epochs * recipe.members
    done = Trial(error(members, held_out), seconds, images)
    # In one piece, else lines of runs side by side may mix.
    sys.stderr.write(f"seed {seed}: {done.error:.2f} % after {seconds:.0f} s\n")
    return done


def trials(settings: argparse.Namespace, recipe: Recipe) -> list[Trial]:
    """A run for each seed, in their order."""
    one = partial(trial, settings, recipe)
    jobs = min(settings.jobs, len(settings.seeds))
    if jobs == 1:
        return [one(seed) for seed in settings.seeds]
    # Read when NumPy is imported, which spawned processes do anew.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
    with ProcessPoolExecutor(
        jobs,
        get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),  # Ctrl-C is answered here
    ) as pool:
        try:
            # Inherited where systems can, so that not even imports are interrupted.
            answer = signal.signal(signal.SIGINT, signal.SIG_IGN)
            try:
                results = pool.map(one, settings.seeds)
            finally:
                signal.signal(signal.SIGINT, answer)
            return list(results)
        except BrokenProcessPool as error:
            killed = "a run was killed, perhaps for want of memory: fewer --jobs take less"
            raise ChildProcessError(killed) from error
        except KeyboardInterrupt:
            for child in active_children():
                child.terminate()
            raise


def run(settings: argparse.Namespace) -> None:
    recipe = RECIPES[settings.name]
    recipe = replace(recipe, epochs=settings.epochs or recipe.epochs)
    data = fnnet.load_dataset(settings.dataset, settings.data_dir)
    check_validation(settings.validation, len(data.train))
    widths = (data.train.x[0].size, *recipe.hidden, len(data.classes))
    split = "validation" if settings.validation else "test"
    done = trials(settings, recipe)
    print(f"| recipe | network | epochs | {split} error, % | published, % | seconds | images/s |")
    print("|---|---|---|---|---|---|---|")
    print(row(settings.name, recipe, widths, done))


def row(name: str, recipe: Recipe, widths: Sequence[int], done: Sequence[Trial]) -> str:
    network = "-".join(map(str, widths))
    if recipe.members > 1:
        network = f"{recipe.members} × {network}"
    errors = [trial.error for trial in done]
    spread = f" ± {statistics.stdev(errors):.2f}" if len(errors) > 1 else ""
    seconds = statistics.mean(trial.seconds for trial in done)
    cells = (
        name,
        network,
        str(recipe.epochs),
        f"{statistics.mean(errors):.2f}{spread}",
        recipe.published,
        f"{seconds:.0f}",
        f"{done[0].images / seconds:,.0f}",
    )
    return f"| {' | '.join(cells)} |"


def draw(settings: argparse.Namespace) -> None:
    """An image of each class in the first column, distorted copies beside it."""
    check_figure(settings.figure)
    with uninterrupted():
        from matplotlib.figure import Figure

    columns = 14
    data = fnnet.load_dataset(settings.dataset, settings.data_dir)
    firsts = [int(np.flatnonzero(data.train.y == k)[0]) for k in range(len(data.classes))]
    images = data.train.x[np.repeat(firsts, columns)]
    copies = fnnet.distort(0, images, **RECIPES[settings.name].distortions)
    copies[::columns] = images[::columns]
    _, height, width = copies.shape
    table = copies.reshape(len(firsts), columns, height, width).swapaxes(1, 2)
    figure = Figure(figsize=(0.5 * columns, 0.5 * len(firsts) * height / width), dpi=150)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(table.reshape(len(firsts) * height, columns * width), cmap="Greys", vmin=0)
    axes.axvline(width - 0.5, color="#0072B2", lw=1.5)
    axes.set_axis_off()
    save_figure(figure, settings.figure)


def main(argv: Sequence[str] | None = None) -> int:
    settings = parse(argv)
    work = draw if settings.figure else run
    return exit_code("reproduce.py", lambda: work(settings))


if __name__ == "__main__":
    sys.exit(main())
