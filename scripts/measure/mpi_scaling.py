"""Time loops/train_mpi.py on this machine, and draw how a model of it scales to 1,024 ranks.

    python scripts/measure/mpi_scaling.py --out mpi-scaling.png

A step on p ranks with n rows each takes fixed + n * row + allreduce(p) seconds. Fixed, row, latency
and bandwidth are measured here (memory shared by two ranks); a cluster's network is assumed. The
model knows no ranks that lag, nor the permutation that every rank draws once an epoch.
"""

from __future__ import annotations

if __name__ == "__main__":
    import fnnet_scripts.quiet  # noqa: F401

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from fnnet_scripts.options import (
    Parser,
    at_least,
    check_figure,
    exit_code,
    png,
    save_figure,
    uninterrupted,
)
from fnnet_scripts.pools import ANYWHERE, launcher

TRAIN_MPI = Path(__file__).parents[1] / "loops" / "train_mpi.py"
RANKS = [2**i for i in range(11)]
STRONG_BATCH, WEAK_ROWS = 8192, 128
RUNS = (  # ranks, threads each, batch size
    *((1, threads, batch) for threads in (1, 2) for batch in (32, 128, 1024, STRONG_BATCH)),
    *((2, 1, batch) for batch in (32, 128, 2 * WEAK_ROWS, 1024, STRONG_BATCH)),
)
Times: TypeAlias = dict[tuple[int, int, int], dict[str, Any]]  # by ranks, threads, batch size


@dataclass(frozen=True, slots=True)
class Network:
    """What a message costs: seconds to arrive, bytes a second."""

    title: str
    latency: float
    bandwidth: float

    def allreduce(self, ranks: int, size: float) -> float:
        """Seconds of a reduce-scatter and an allgather (Thakur, Rabenseifner and Gropp, 2005)."""
        rounds = 2 * math.ceil(math.log2(ranks))
        return rounds * self.latency + 2 * (ranks - 1) / ranks * size / self.bandwidth


CLUSTER = Network("100 Gbit/s and 2 µs a message, assumed", 2e-6, 12.5e9)


def command(ranks: int, *options: str) -> list[str]:
    """The command line of scripts/loops/train_mpi.py on this many ranks."""
    return [launcher(), "-n", str(ranks), sys.executable, str(TRAIN_MPI), *options]


def time_run(ranks: int, threads: int, batch_size: int) -> dict[str, Any]:
    line = command(ranks, "--measure", "--batch-size", str(batch_size))
    if ranks == 1:
        line = line[3:]  # without mpiexec, which would bind the threads to one core
    environment = {**os.environ, **ANYWHERE, "OMP_NUM_THREADS": str(threads)}
    result = subprocess.run(line, env=environment, capture_output=True, text=True)
    if result.returncode:
        raise ChildProcessError(result.stderr)
    times: dict[str, Any] = json.loads(result.stdout)
    return times


def measure(rounds: int) -> Times:
    """Of each kind of run the fastest of several alternating ones."""
    found: Times = {}
    for _ in range(rounds):
        for run in RUNS:
            times = time_run(*run)
            if run not in found or times["step"] < found[run]["step"]:
                found[run] = times
    return found


@dataclass(frozen=True, slots=True)
class Model:
    """What a step costs: seconds of its fixed part and of a row, bytes of gradient to add up."""

    fixed: float
    row: float
    size: int
    network: Network

    def step(self, ranks: int, rows: float) -> float:
        """Seconds of a step on this many ranks with this many rows each."""
        return self.fixed + rows * self.row + self.network.allreduce(ranks, self.size)

    def speed_up(self, ranks: int) -> float:
        """How many times as fast the ranks share out one large batch."""
        return self.step(1, STRONG_BATCH) / self.step(ranks, STRONG_BATCH / ranks)

    def efficiency(self, ranks: int) -> float:
        """Seconds of one rank's step over those of many with as many rows each."""
        return self.step(1, WEAK_ROWS) / self.step(ranks, WEAK_ROWS)


def fit(times: Times) -> Model:
    """The model of this machine: a line through one rank's steps, two ranks' sums."""
    alone = {batch: time["step"] for (*run, batch), time in times.items() if run == [1, 1]}
    batches, steps = np.array([*alone]), np.array([*alone.values()])
    row, fixed = np.polyfit(batches, steps, 1, w=1 / steps)
    pairs = [time for (ranks, _, _), time in times.items() if ranks == 2]
    latency = min(time["latency"] for time in pairs)
    size = pairs[0]["bytes"]
    bandwidth = size / (min(time["allreduce"] for time in pairs) - latency)
    network = Network("a network like this memory, measured", latency / 2, bandwidth)
    return Model(float(fixed), float(row), size, network)


def table(times: Times) -> str:
    lines = [
        "| batch | ranks x threads | step, ms | speed-up | Allreduce's share |",
        "|--:|:-:|--:|--:|--:|",
    ]
    for (ranks, threads, batch), row in sorted(times.items(), key=lambda item: item[0][::-1]):
        base = times.get((1, 1, batch))
        speed_up = f"{base['step'] / row['step']:.2f}" if base else "–"
        share = f"{row['allreduce'] / row['step']:.0%}" if ranks > 1 else "–"
        lines.append(
            f"| {batch} | {ranks} x {threads} | {1e3 * row['step']:.2f} | {speed_up} | {share} |"
        )
    return "\n".join(lines)


def draw(times: Times, models: Sequence[Model], path: Path) -> None:
    """Write the figure: strong scaling beside weak scaling, lines modelled and dots measured."""
    with uninterrupted():
        from matplotlib.figure import Figure

        from fnnet import plots

    figure = Figure(figsize=(8, 3.4), dpi=plots.DPI, layout="constrained")
    strong, weak = figure.subplots(1, 2)
    for model, colour in zip(models, (plots.ORANGE, plots.BLUE), strict=True):
        title = model.network.title
        strong.plot(RANKS, [model.speed_up(p) for p in RANKS], color=colour, label=title)
        weak.plot(RANKS, [100 * model.efficiency(p) for p in RANKS], color=colour)
    strong.plot(RANKS, RANKS, color=plots.GREY, lw=1, ls=":", label="as many times as ranks")
    faster = times[1, 1, STRONG_BATCH]["step"] / times[2, 1, STRONG_BATCH]["step"]
    share = 100 * times[1, 1, WEAK_ROWS]["step"] / times[2, 1, 2 * WEAK_ROWS]["step"]
    strong.plot([1, 2], [1, faster], "o", color=plots.INK, label="measured on this machine")
    weak.plot([1, 2], [100, share], "o", color=plots.INK)
    strong.set_title(f"speed-up, {STRONG_BATCH:,} rows shared out", fontsize=10, loc="left")
    weak.set_title(f"efficiency (%), {WEAK_ROWS} rows each", fontsize=10, loc="left")
    strong.set_yscale("log", base=2)
    strong.set_yticks(RANKS[::2], map(str, RANKS[::2]))
    strong.legend(frameon=False, fontsize=8)
    weak.set_ylim(0, 105)
    for axes in (strong, weak):
        axes.set_xscale("log", base=2)
        axes.set_xticks(RANKS[::2], map(str, RANKS[::2]))
        axes.set_xlabel("ranks")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#E8E8E8", lw=0.6)
        axes.tick_params(labelsize=8)
    save_figure(figure, path)


def summary(here: Model, there: Model) -> str:
    """The constants and what they lead to, in a line each."""
    memory = here.network
    return (
        f"measured: {1e6 * here.fixed:.0f} µs a step and {1e6 * here.row:.2f} µs a row; "
        f"{1e6 * memory.latency:.1f} µs a message and {memory.bandwidth / 1e9:.1f} GB/s between "
        f"two ranks, for {here.size:,} bytes of gradient\n"
        f"modelled on 1,024 ranks, {there.network.title}: {there.speed_up(1024):.0f} times as fast "
        f"with {STRONG_BATCH:,} rows shared out, "
        f"{there.efficiency(1024):.0%} of the ideal with {WEAK_ROWS} rows each"
    )


def run(args: argparse.Namespace) -> None:
    check_figure(args.out)
    times = measure(args.rounds)
    print(table(times))
    here = fit(times)
    there = replace(here, network=CLUSTER)
    print(summary(here, there))
    draw(times, (here, there), args.out)


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(description=__doc__)
    parser.add_argument("--rounds", type=at_least(1), default=5, metavar="N", help="default: 5")
    parser.add_argument("--out", type=png, default=Path("runs/mpi-scaling.png"), metavar="PNG")
    args = parser.parse_args(argv)
    return exit_code("mpi_scaling.py", lambda: run(args))


if __name__ == "__main__":
    sys.exit(main())
