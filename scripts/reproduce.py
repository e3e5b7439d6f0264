"""Train a published recipe on MNIST and print its row of the table of results.

    python scripts/reproduce.py keras --seeds 0 1 2

One run for each seed. The test set is read once a run, at the end. The settings were chosen with
--validation, which holds samples of the training set out and shows their error instead. With
--jobs N seeds run side by side; the seconds are then those of a run on its share of the cores.
A recipe is a command line of train.py, which --command prints; with the same seed both train the
same network to the last bit.
"""

from __future__ import annotations

if __name__ == "__main__":
    import fnnet_scripts.quiet  # noqa: F401

import argparse
import os
import shlex
import signal
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import active_children, get_context
from typing import Any, TypeAlias

import numpy as np
from fnnet_scripts.options import (
    Parser,
    at_least,
    check_figure,
    counted,
    exit_code,
    png,
    save_figure,
    uninterrupted,
)
from fnnet_scripts.recipes import (
    DISTORTIONS,
    RECIPE,
    add_recipe_options,
    check_recipe,
    composed,
    first_params,
    first_state,
)
from fnnet_scripts.runs import DATASETS, RUN, add_run_options, check_validation, flag

import fnnet

Watch: TypeAlias = Callable[[Iterable[fnnet.Params], int], Iterator[fnnet.Params]]

PAUSE = 0.2  # seconds between two looks at runs side by side
DONE: list[Any] = []  # in their processes: the number of epochs that all of them have done


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes
    ----------
    published : the error that is to be reproduced, and whose it is
    options : of train.py, which makes the same run of them
    members : networks whose probabilities are averaged
    """

    published: str
    options: str
    members: int = 1


# The rate rises for 500 steps, then falls to zero along a cosine.
DISTORTED = (
    "--hidden 800 --epochs 150 --batch-size 128 --learning-rate 0.002 --decay 0.99 "
    "--cosine --warm-up 500 --weight-decay 0.05 --distort"
)
RECIPES = {
    "original": Recipe(
        "5.9 (olibridge01/NumPyNet, measured on the test set)",
        "--hidden 128 --epochs 10 --scheme normal",
    ),
    "keras": Recipe(
        "1.60 (keras, examples/mnist_mlp.py)",
        "--hidden 512 512 --epochs 20 --batch-size 128 --dropout 0.2",
    ),
    "simard": Recipe(
        "1.6 (Simard et al. 2003)",
        "--hidden 800 --epochs 20 --batch-size 128 --decay 0.99 --cosine --warm-up 500",
    ),
    "simard-distorted": Recipe("0.7 (Simard et al. 2003)", DISTORTED),
    "best": Recipe(
        "0.35 (Cireşan et al. 2010)",
        "--hidden 1500 1000 500 --epochs 180 --batch-size 256 --decay 0.99 --cosine "
        "--warm-up 500 --weight-decay 0.1 --distort smoother",
    ),
    "ensemble": Recipe("–", DISTORTED.replace("150", "30"), members=5),
}


def settings_of(recipe: Recipe, epochs: int | None = None) -> argparse.Namespace:
    """The options of a recipe as train.py reads them, for another number of epochs if wanted."""
    parser = Parser(argument_default=argparse.SUPPRESS)
    add_run_options(parser)
    add_recipe_options(parser)
    given = vars(parser.parse_args(shlex.split(recipe.options)))
    settings = argparse.Namespace(**{**RUN, **RECIPE, "validation": 0, **given})
    check_recipe(parser, settings)
    settings.epochs = epochs or settings.epochs
    return settings


def command(settings: argparse.Namespace, recipe: Recipe) -> str:
    """The command line of train.py that makes one run of a recipe, or one network of several."""
    words = ["--dataset", settings.dataset, *shlex.split(recipe.options)]
    for name in ("data_dir", "epochs", "validation"):  # the last of two options counts
        if value := getattr(settings, name):
            words += [flag(name), str(value)]
    words += ["--loop", "plain", "--seed", str(settings.seeds[0])]
    return shlex.join(["python", "scripts/train.py", *words])


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("name", choices=RECIPES, metavar="NAME", help=", ".join(RECIPES))
    add("--seeds", type=at_least(0), nargs="+", default=[0, 1, 2], metavar="SEED")
    add("--epochs", type=at_least(1), metavar="N", help="instead of the recipe's")
    add("--jobs", type=at_least(1), default=1, metavar="N", help="runs at a time; default: 1")
    add = parser.group("data")
    add("--validation", type=at_least(0), default=0, metavar="N", help="samples to hold out")
    add("--dataset", choices=DATASETS, default="mnist", help="default: mnist")
    add("--data-dir", metavar="DIR", help="folder of the data set's four files")
    add = parser.group("instead of training")
    add("--command", action="store_true", help="print the run as train.py's and train nothing")
    add("--figure", type=png, metavar="FILE", help="draw distorted images and train nothing")
    settings = parser.parse_args(argv)
    if settings.figure and not is_distorted(RECIPES[settings.name]):
        distorting = ", ".join(name for name, recipe in RECIPES.items() if is_distorted(recipe))
        parser.error(f"--figure: {settings.name} distorts no images, expected one of {distorting}")
    return settings


def is_distorted(recipe: Recipe) -> bool:
    return "--distort" in recipe.options


def fit(
    settings: argparse.Namespace,
    split: fnnet.Split,
    classes: int,
    rng: np.random.Generator,
) -> Iterator[fnnet.Params]:
    """The parameters after each epoch."""
    sizes = (split.x[0].size, *settings.hidden, classes)
    state = first_state(settings, first_params(settings, rng, sizes))
    steps = composed(settings, rng, len(split), classes)
    for _ in range(settings.epochs):
        for x, y in fnnet.batches(rng, split, settings.batch_size):
            state, _ = fnnet.train_step(state, x, y, **steps)
        yield state.params


def error(members: Sequence[fnnet.Params], split: fnnet.Split) -> float:
    """Share of samples, in percent, that the mean of the members' probabilities gets wrong."""
    wrong = 0
    for x, y in fnnet.batches(0, split, 1000):
        probabilities = sum(fnnet.predict_proba(params, x) for params in members)
        wrong += int(np.sum(np.argmax(probabilities, axis=-1) != y))
    return 100 * wrong / len(split)


def shown(epochs: Iterable[fnnet.Params], total: int) -> Iterator[fnnet.Params]:
    """The epochs; a terminal shows them as they pass."""
    yield from counted(epochs, total, "epoch")


def told(epochs: Iterable[fnnet.Params], total: int) -> Iterator[fnnet.Params]:
    """The epochs, counted for the process that started this one."""
    for params in epochs:
        with DONE[0].get_lock():
            DONE[0].value += 1
        yield params


@dataclass(frozen=True)
class Trial:
    """What one run came to: its error in percent, and how many images it trained in what time."""

    error: float
    seconds: float
    images: int


def trial(settings: argparse.Namespace, recipe: Recipe, seed: int, watch: Watch = shown) -> Trial:
    """One run of a recipe, whose epochs are watched."""
    data = fnnet.load_dataset(settings.dataset, settings.data_dir)
    rng = np.random.default_rng(seed)
    train, held_out = data.train, data.test
    if settings.validation:
        train, held_out = fnnet.hold_out(rng, data.train, settings.validation)
    began = time.perf_counter()
    one = settings_of(recipe, settings.epochs)
    runs = (fit(one, train, len(data.classes), rng) for _ in range(recipe.members))
    members = [deque(watch(run, one.epochs), maxlen=1)[0] for run in runs]
    seconds = time.perf_counter() - began
    images = len(train) * one.epochs * recipe.members
    done = Trial(error(members, held_out), seconds, images)
    # In one piece, else lines of runs side by side may mix; and below a bar, not into it.
    below = "\n" * (watch is not shown and sys.stderr.isatty())
    sys.stderr.write(f"{below}seed {seed}: {done.error:.2f} % after {seconds:.0f} s\n")
    return done


def begin(done: Any) -> None:
    """Have this process count its epochs there, and leave Ctrl-C to the one that started it."""
    DONE.append(done)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def passing(runs: Sequence[Future[Trial]], done: Any) -> Iterator[int]:
    """The numbers of epochs that all runs together have done, until they end or one fails."""
    seen, left = 0, True
    while left:
        ended, running = wait(runs, PAUSE, FIRST_EXCEPTION)
        left = bool(running) and not any(run.exception() for run in ended)
        now = done.value
        yield from range(seen + 1, now + 1)
        seen = now


def trials(settings: argparse.Namespace, recipe: Recipe) -> list[Trial]:
    """A run for each seed, in their order."""
    jobs = min(settings.jobs, len(settings.seeds))
    if jobs == 1:
        return [trial(settings, recipe, seed) for seed in settings.seeds]
    # Read when NumPy is imported, which spawned processes do anew.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
    spawn = get_context("spawn")
    done = spawn.Value("q")
    epochs = recipe.members * settings_of(recipe, settings.epochs).epochs * len(settings.seeds)
    with ProcessPoolExecutor(jobs, spawn, initializer=begin, initargs=(done,)) as pool:
        try:
            # Inherited where systems can, so that not even imports are interrupted.
            answer = signal.signal(signal.SIGINT, signal.SIG_IGN)
            try:
                runs = [pool.submit(trial, settings, recipe, seed, told) for seed in settings.seeds]
            finally:
                signal.signal(signal.SIGINT, answer)
            for _ in counted(passing(runs, done), epochs, "epoch"):
                pass
            return [run.result() for run in runs]
        except BrokenProcessPool as error:
            killed = "a run was killed, perhaps for want of memory: fewer --jobs take less"
            raise ChildProcessError(killed) from error
        except KeyboardInterrupt:
            for child in active_children():
                child.terminate()
            raise


def run(settings: argparse.Namespace) -> None:
    recipe = RECIPES[settings.name]
    if settings.command:
        print(command(settings, recipe))
        return
    one = settings_of(recipe, settings.epochs)
    data = fnnet.load_dataset(settings.dataset, settings.data_dir)
    check_validation(settings.validation, len(data.train))
    widths = (data.train.x[0].size, *one.hidden, len(data.classes))
    split = "validation" if settings.validation else "test"
    done = trials(settings, recipe)
    print(f"| recipe | network | epochs | {split} error, % | published, % | seconds | images/s |")
    print("|---|---|---|---|---|---|---|")
    print(row(settings.name, recipe, one.epochs, widths, done))


def row(
    name: str, recipe: Recipe, epochs: int, widths: Sequence[int], done: Sequence[Trial]
) -> str:
    network = "-".join(map(str, widths))
    if recipe.members > 1:
        network = f"{recipe.members} × {network}"
    errors = [trial.error for trial in done]
    spread = f" ± {statistics.stdev(errors):.2f}" if len(errors) > 1 else ""
    seconds = statistics.mean(trial.seconds for trial in done)
    cells = (
        name,
        network,
        str(epochs),
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
    copies = fnnet.distort(0, images, **DISTORTIONS[settings_of(RECIPES[settings.name]).distort])
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
