"""Measure how the cost of training grows with width, depth, batch size and samples; and memory.

    python scripts/measure/scaling.py --plot scaling.png

Times are medians over passes in which every point has a turn, with as many threads as NumPy takes
(set OMP_NUM_THREADS for another number). Memory is the peak of what one step allocates, as NumPy
reports it to tracemalloc.
"""

from __future__ import annotations

if __name__ == "__main__":
    import fnnet_scripts.quiet  # noqa: F401

import argparse
import os
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from fnnet_scripts.contestants import synthetic
from fnnet_scripts.options import Parser, check_figure, exit_code, png, save_figure, uninterrupted
from fnnet_scripts.wording import digits, processor

import fnnet
from fnnet.checks import FloatArray

BATCH_SIZE = 128
WIDTH = 128
COLOUR = "#0072B2"


@dataclass(frozen=True, slots=True)
class Curve:
    """A cost against a size.

    Attributes
    ----------
    size, cost : what the axes show; the cost with its unit
    grid : sizes measured
    measure : function from a size to its cost
    straight : how many of the largest sizes a straight line is fitted to
    linear : whether the axes are linear: a step a layer, rather than a factor a doubling
    """

    size: str
    cost: str
    grid: Sequence[int]
    measure: Callable[[int], float]
    straight: int
    linear: bool = False


def step_milliseconds(sizes: Sequence[int], batch_size: int, seconds: float) -> float:
    """Median milliseconds of a training step, within about this many seconds of steps."""
    state, x, y = _problem(sizes, batch_size)
    times: list[float] = []
    while sum(times) < seconds or len(times) < 4:
        began = time.perf_counter()
        state, _ = fnnet.train_step(state, x, y)
        times.append(time.perf_counter() - began)
    return 1e3 * median(times[1:])


def epoch_milliseconds(data: fnnet.Split, samples: int) -> float:
    """Milliseconds of one epoch over the first `samples` images."""
    split = fnnet.Split(data.x[:samples], data.y[:samples])
    state, _, _ = _problem((784, WIDTH, 10), 1)
    began = time.perf_counter()
    for x, y in fnnet.batches(0, split, BATCH_SIZE):
        state, _ = fnnet.train_step(state, x, y)
    return 1e3 * (time.perf_counter() - began)


def step_megabytes(batch_size: int) -> float:
    """Peak of the memory that a training step allocates, in MB."""
    state, x, y = _problem((784, WIDTH, 10), batch_size)
    tracemalloc.start()
    fnnet.train_step(state, x, y)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / 1e6


def _problem(sizes: Sequence[int], batch_size: int) -> tuple[fnnet.RMSPropState, FloatArray, Any]:
    rng = np.random.default_rng(0)
    state = fnnet.rmsprop_init(fnnet.init_params(rng, sizes))
    x = rng.random((batch_size, sizes[0]), np.float32)
    return state, x, rng.integers(0, sizes[-1], batch_size)


def curves(seconds: float, quick: bool) -> list[Curve]:
    """What is measured: a full grid, or every third size of it."""
    data = synthetic(2_000 if quick else 60_000).train
    every = 3 if quick else 1

    def width(n: int) -> float:
        return step_milliseconds((784, n, 10), BATCH_SIZE, seconds)

    def depth(n: int) -> float:
        return step_milliseconds((784, *[WIDTH] * n, 10), BATCH_SIZE, seconds)

    def batch(n: int) -> float:
        return step_milliseconds((784, WIDTH, 10), n, seconds)

    def samples(n: int) -> float:
        return epoch_milliseconds(data, n)

    step = "ms a step"
    counts = [1_000, 2_000] if quick else [1_000, 2_000, 4_000, 8_000, 15_000, 30_000, 60_000]
    rows = [*(2**k for k in range(5, 16)), 60_000][::every]
    return [
        Curve("hidden width", step, [2**k for k in range(5, 13)][::every], width, 3),
        Curve("hidden layers", step, [1, 2, 3, 4, 5, 6, 7, 8][::every], depth, 8, linear=True),
        Curve("batch size", step, [2**k for k in range(13)][::every], batch, 3),
        Curve("training samples", "ms an epoch", counts, samples, 4),
        Curve("batch size", "MB a step", rows, step_megabytes, 4),
    ]


def measure(curve: Curve, passes: int) -> list[float]:
    """Median cost of each size over several passes."""
    costs = [[curve.measure(size) for size in curve.grid] for _ in range(passes)]
    return [median(column) for column in zip(*costs, strict=True)]


def growth(curve: Curve, costs: Sequence[float]) -> tuple[float, float]:
    """Slope and offset of the straight part: of cost by size, or of their logarithms."""
    x, y = np.array(curve.grid[-curve.straight :]), np.array(costs[-curve.straight :])
    slope, offset = np.polyfit(x, y, 1) if curve.linear else np.polyfit(np.log(x), np.log(y), 1)
    return float(slope), float(offset)


def sentence(curve: Curve, costs: Sequence[float]) -> str:
    """The curve in a line of text."""
    slope, _ = growth(curve, costs)
    ends = (
        f"{curve.size} {curve.grid[0]:,} to {curve.grid[-1]:,}: "
        f"{digits(costs[0])} to {digits(costs[-1])} {curve.cost}"
    )
    if curve.linear:
        return f"{ends}; each further one adds {slope:.3g}"
    first, *_ = curve.grid[-curve.straight :]
    return f"{ends}; from {first:,} on, doubling it multiplies this by {2**slope:.2f}"


def draw(pairs: Sequence[tuple[Curve, Sequence[float]]], caption: str, path: Path) -> None:
    """A panel for each curve, with the straight line that its sentence speaks of."""
    with uninterrupted():
        from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.6), layout="constrained")
    *panels, last = figure.subplots(2, 3).flat
    for axes, (curve, costs) in zip(panels, pairs, strict=True):
        slope, offset = growth(curve, costs)
        x = np.array(curve.grid)
        line = slope * x + offset if curve.linear else np.exp(offset) * x**slope
        axes.plot(x, line, "--", lw=1, color="#999999")
        axes.plot(x, costs, "o-", ms=4, lw=1.6, color=COLOUR)
        axes.set(xlabel=curve.size, ylim=(0, None))
        axes.set_title(curve.cost, loc="left", fontsize=10)
        if not curve.linear:
            axes.set(xscale="log", yscale="log", ylim=(min(costs) / 2, max(costs) * 2))
            axes.xaxis.set_major_formatter("{x:,.0f}")
            axes.yaxis.set_major_formatter("{x:,g}")
            axes.minorticks_off()
        law = f"{slope:+.3g} each" if curve.linear else f"×{2**slope:.2f} a doubling"
        axes.text(0.05, 0.9, law, transform=axes.transAxes, fontsize=9, color="#666666")
        axes.spines[["top", "right"]].set_visible(False)
    last.set_axis_off()
    last.text(0, 0.5, caption, fontsize=9, color="#444444", va="center")
    save_figure(figure, path, dpi=160)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few sizes, once each: seconds")
    parser.add_argument("--plot", type=png, default=Path("runs/scaling.png"), metavar="FILE")
    return parser.parse_args(argv)


def run(options: argparse.Namespace) -> None:
    check_figure(options.plot)
    setting = (
        processor(),
        f"threads: {os.environ.get('OMP_NUM_THREADS', os.cpu_count())}",
        f"NumPy {np.__version__}",
        f"784-{WIDTH}-10 and batches of {BATCH_SIZE} where not varied",
    )
    print(*setting, sep=", ")
    pairs = []
    for curve in curves(0.05 if options.quick else 0.4, options.quick):
        costs = measure(curve, 1 if options.quick else 3)
        print(sentence(curve, costs), flush=True)
        pairs.append((curve, costs))
    draw(pairs, "\n".join((*setting, "dashed: the line fitted")), options.plot)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    return exit_code("scaling.py", lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
