"""Compare learning rates over several seeds: all networks of the sweep are trained at once.

    python scripts/loops/sweep.py --measure

A leading axis on every array of the parameters makes them an ensemble: one network for each pair of
learning rate and seed. All see the same batches, and each does what it would do alone.
"""

from __future__ import annotations

if __name__ == "__main__":
    import fnnet_scripts.quiet  # noqa: F401

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from fnnet_scripts.options import (
    COUNT,
    Parser,
    check_output,
    counted,
    exit_code,
    installing,
    not_negative,
    png,
    save_figure,
    uninterrupted,
)
from fnnet_scripts.search import stack

import fnnet

T = TypeVar("T")

RATES = [1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    add = parser.group("networks")
    add("--learning-rates", type=not_negative(), nargs="+", default=RATES, metavar="X")
    add("--seeds", **COUNT, default=3, help="networks for each rate; default: 3")
    add("--hidden", **COUNT, nargs="+", default=[32], help="widths; default: 32")
    add("--epochs", **COUNT, default=20, help="default: 20")
    add("--batch-size", **COUNT, default=32, help="default: 32")
    add = parser.group("results")
    add("--measure", action="store_true", help="also train one after another, and compare times")
    add("--figure", type=png, default="runs/sweep.png", metavar="FILE")
    return parser.parse_args(argv)


def take(ensemble: fnnet.Params, member: int) -> fnnet.Params:
    """One network of an ensemble."""
    return fnnet.tree_map(lambda leaf: leaf[member], ensemble)


def run(settings: argparse.Namespace) -> None:
    check_output(settings.figure)
    data = fnnet.load_digits()
    train, validation = fnnet.hold_out(0, data.train, 300)
    sizes = (data.train.x[0].size, *settings.hidden, len(data.classes))
    rates = np.repeat(settings.learning_rates, settings.seeds)
    members = [
        fnnet.init_params(seed, sizes)
        for _ in settings.learning_rates
        for seed in range(settings.seeds)
    ]

    def fit(
        params: fnnet.Params, rate: float | npt.NDArray[np.float64], epochs: Iterable[int]
    ) -> fnnet.Params:
        state, rng = fnnet.rmsprop_init(params, rate), np.random.default_rng(0)
        for _ in epochs:
            for x, y in fnnet.batches(rng, train, settings.batch_size):
                state = fnnet.rmsprop_update(state, fnnet.grads(state.params, x, y))
        return state.params

    epochs = range(settings.epochs)
    shown = counted(epochs, len(epochs), "epoch")
    together, seconds = timed(lambda: fit(stack(members), rates, shown))
    found = [fnnet.evaluate(take(together, e), validation) for e in range(len(members))]
    losses = np.array([result.loss for result in found]).reshape(-1, settings.seeds)
    accuracies = np.array([result.accuracy for result in found]).reshape(-1, settings.seeds)
    for rate, loss, accuracy in zip(settings.learning_rates, losses, accuracies, strict=True):
        print(f"{rate:8g}: validation loss {loss.mean():.4f}, accuracy {accuracy.mean():.2%}")
    print(f"{len(members)} networks at once: {seconds:.2f} s")
    if settings.measure:
        pairs = list(zip(members, rates, strict=True))
        one_by_one = counted(pairs, len(pairs), "network")
        apart, slow = timed(lambda: [fit(each, float(rate), epochs) for each, rate in one_by_one])
        print(f"one after another: {slow:.2f} s, {slow / seconds:.1f} times as long")
        print(f"largest difference of a parameter: {difference(together, apart):.1e}")
    draw(settings, losses)


def timed(work: Callable[[], T]) -> tuple[T, float]:
    began = time.perf_counter()
    result = work()
    return result, time.perf_counter() - began


def difference(ensemble: fnnet.Params, members: Sequence[fnnet.Params]) -> float:
    """The largest difference between a parameter in an ensemble and in the member alone."""
    pairs = zip(fnnet.tree_leaves(ensemble), fnnet.tree_leaves(stack(members)), strict=True)
    return max(float(np.abs(a - b).max()) for a, b in pairs)


def draw(settings: argparse.Namespace, losses: npt.NDArray[np.float64]) -> None:
    try:
        with uninterrupted():
            from matplotlib.figure import Figure
            from matplotlib.ticker import LogLocator, NullLocator
    except ImportError:
        print(f"the figure needs Matplotlib: {installing('matplotlib')}")
        return
    rates = np.asarray(settings.learning_rates)
    order = np.argsort(rates)
    figure = Figure(figsize=(5.4, 3.0), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.loglog(rates[order], losses.mean(axis=1)[order], color="#0072B2", lw=1.8)
    axes.plot(np.repeat(rates, losses.shape[1]), losses.ravel(), "o", color="#0072B2", ms=3.5)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("validation loss (nats)")
    axes.set_title(
        f"{losses.size} networks trained at once: a dot each, "
        f"the line the mean of {losses.shape[1]} seeds",
        fontsize=9,
        loc="left",
    )
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.tick_params(which="both", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E8E8E8", lw=0.6)
    save_figure(figure, settings.figure)
    print(f"drawn in {settings.figure}")


def main(argv: Sequence[str] | None = None) -> int:
    settings = parse(argv)
    with np.errstate(over="ignore", invalid="ignore"):  # a rate that is too large shows as nan
        return exit_code("sweep.py", lambda: run(settings))


if __name__ == "__main__":
    sys.exit(main())
