"""Compare optimizers on one network: each over a grid of learning rates, judged on validation.

    python scripts/measure/compare_optimizers.py --dataset mnist

Every optimizer that fnnet knows takes part, and once more with momentum where it can have some. All
learning rates and seeds of one are trained at once, as the members of an ensemble.
"""

from __future__ import annotations

if __name__ == "__main__":
    import fnnet_scripts.quiet  # noqa: F401

import argparse
import inspect
import itertools
import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
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
from fnnet_scripts.runs import DATASETS

import fnnet
from fnnet.optimizers.states import OPTIMIZERS

Array: TypeAlias = npt.NDArray[np.float64]
Start: TypeAlias = Callable[[fnnet.Params, Array], Any]

# Colours that colour-blind readers tell apart: B. Wong, Nature Methods 8, 441 (2011).
COLOURS = (
    *("#0072B2", "#56B4E9", "#B4B4B4", "#333333"),
    *("#D55E00", "#009E73", "#CC79A7", "#E69F00", "#F0E442"),
)
MOMENTUM = 0.9
RATES = np.logspace(-4, 1, 11)
HIGHEST = 3  # loss drawn, more than that of guessing: what is above would flatten the rest


def contestants() -> dict[str, Start]:
    """How each registered optimizer starts, by name, with momentum, too, where it can have some."""
    found: dict[str, Start] = {}
    for kind, optimizer in OPTIMIZERS.items():
        name, init = kind.__name__.removesuffix("State"), optimizer.init
        found[name] = init
        if "momentum" in inspect.signature(init).parameters:
            found[f"{name}, momentum {MOMENTUM}"] = partial(init, momentum=MOMENTUM)
    return found


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add = parser.group("data")
    add("--dataset", choices=DATASETS, default="digits", help="default: digits")
    add("--data-dir", metavar="DIR", help="folder of the data set's four files")
    add = parser.group("networks")
    add("--hidden", type=at_least(1), nargs="+", default=[64], metavar="N", help="default: 64")
    add("--epochs", type=at_least(1), default=20, metavar="N", help="default: 20")
    add("--batch-size", type=at_least(1), default=32, metavar="N", help="default: 32")
    add("--seeds", type=at_least(1), default=5, metavar="N", help="default: 5")
    parser.add_argument("--figure", type=png, default="runs/optimizers.png", metavar="FILE")
    return parser.parse_args(argv)


def losses(
    start: Start, settings: argparse.Namespace, train: fnnet.Split, validation: fnnet.Split, k: int
) -> Array:
    """Validation loss after each epoch, (epochs, rates, seeds); not finite where it diverged."""
    sizes = (train.x[0].size, *settings.hidden, k)
    networks = [fnnet.init_params(seed, sizes) for seed in range(settings.seeds)]
    members = fnnet.tree_map(lambda *leaves: np.stack(leaves * len(RATES)), *networks)
    state = start(members, np.repeat(RATES, settings.seeds))
    x, y = fnnet.as_inputs(validation.x), validation.y
    rng, found = np.random.default_rng(0), []
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for _ in counted(range(settings.epochs), settings.epochs, "epoch"):
            for batch in fnnet.batches(rng, train, settings.batch_size):
                state, _ = fnnet.train_step(state, *batch)
            found.append(fnnet.losses(state.params, x, y).mean(-1))
    return np.reshape(found, (settings.epochs, len(RATES), settings.seeds))


def draw(curves: dict[str, Array], epochs: int) -> Any:
    """Left: the loss against the learning rate. Right: epoch by epoch, each at its best rate."""
    with uninterrupted():
        from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 3.2), dpi=150, layout="constrained")
    grid, course = figure.subplots(1, 2)
    for (name, curve), colour in zip(curves.items(), itertools.cycle(COLOURS)):
        style = {"color": colour, "lw": 1.8, "marker": "o", "ms": 3.0}
        last = curve[-1].mean(-1)
        best = best_rate(curve)
        grid.plot(RATES, last, **style)
        grid.plot(RATES[best], last[best], "o", color=colour, ms=7)
        course.plot(
            range(1, epochs + 1),
            curve[:, best].mean(-1),
            label=f"{name}, rate {RATES[best]:.2g}",
            **style,
        )
    lowest = min(float(np.nanmin(curve[-1].mean(-1))) for curve in curves.values())
    for axes, title, label in (
        (grid, "validation loss at the end", "learning rate"),
        (course, "validation loss at the best rate", "epoch"),
    ):
        axes.set_title(f"{title} (nats, cut off at {HIGHEST})", fontsize=10, loc="left")
        axes.set_xlabel(label, fontsize=9)
        axes.set_yscale("log")
        axes.set_yticks([0.1, 0.2, 0.5, 1, 2], ["0.1", "0.2", "0.5", "1", "2"])
        axes.set_yticks([], minor=True)
        axes.set_ylim(0.85 * lowest, HIGHEST)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        axes.grid(axis="y", color="#E8E8E8", lw=0.6)
    grid.set_xscale("log")
    course.locator_params(axis="x", integer=True)
    course.legend(frameon=False, fontsize=8)
    return figure


def best_rate(curve: Array) -> int:
    """Index of the learning rate with the least loss at the end, on average over seeds."""
    last = curve[-1].mean(-1)
    return int(np.argmin(np.where(np.isfinite(last), last, math.inf)))


def run(settings: argparse.Namespace) -> None:
    check_figure(settings.figure)
    data = fnnet.load_dataset(settings.dataset, settings.data_dir)
    train, validation = fnnet.hold_out(0, data.train, len(data.train) // 5)
    curves = {}
    print(f"{'optimizer':22}  best rate  validation loss after {settings.epochs} epochs")
    for name, start in contestants().items():
        curve = losses(start, settings, train, validation, len(data.classes))
        best, curves[name] = best_rate(curve), curve
        last = curve[-1, best]
        spread = f" ± {last.std(ddof=1):.4f}" if len(last) > 1 else ""
        print(f"{name:22}  {RATES[best]:9.2g}  {last.mean():.4f}{spread}", flush=True)
    save_figure(draw(curves, settings.epochs), settings.figure)
    print(f"drawn in {settings.figure}")


def main(argv: Sequence[str] | None = None) -> int:
    settings = parse(argv)
    return exit_code("compare_optimizers.py", lambda: run(settings))


if __name__ == "__main__":
    sys.exit(main())
