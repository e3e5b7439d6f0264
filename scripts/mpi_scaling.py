"""Time scripts/train_mpi.py on this machine, and draw how a model of it scales to 1,024 ranks.

A step on p ranks with n rows each takes fixed + n * row + allreduce(p) seconds. Fixed, row, latency
and bandwidth are measured here (memory shared by two ranks); a cluster's network is assumed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
RANKS = [2**i for i in range(11)]
STRONG_BATCH, WEAK_ROWS = 8192, 128
RUNS = (  # ranks, threads each, batch size
    *((1, threads, batch) for threads in (1, 2) for batch in (32, 128, 1024, STRONG_BATCH)),
    *((2, 1, batch) for batch in (32, 128, 2 * WEAK_ROWS, 1024, STRONG_BATCH)),
)
ANYWHERE = {  # Open MPI refuses root, as which containers run, and more ranks than cores
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}


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


def command(ranks: int, *options: str) -> list[str]:
    """The command line of scripts/train_mpi.py on this many ranks."""
    launcher = shutil.which(
        "mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}"
    )
    launcher = launcher or shutil.which("mpiexec")
    if launcher is None:
        raise FileNotFoundError("no mpiexec: pip install 'fnnet[mpi]'")
    return [launcher, "-n", str(ranks), sys.executable, str(HERE / "train_mpi.py"), *options]


def time_run(ranks: int, threads: int, batch_size: int) -> dict[str, Any]:
    line = command(ranks, "--measure", "--batch-size", str(batch_size))
    if ranks == 1:
        line = line[3:]  # without mpiexec, which would bind the threads to one core
    environment = {**os.environ, **ANYWHERE, "OMP_NUM_THREADS": str(threads)}
    result = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)
    times: dict[str, Any] = json.loads(result.stdout)
    return times


def measure(rounds: int) -> dict[tuple[int, int, int], dict[str, Any]]:
    """Of each kind of run the fastest of several alternating ones."""
    found: dict[tuple[int, int, int], dict[str, Any]] = {}
    for _ in range(rounds):
        for run in RUNS:
            times = time_run(*run)
            if run not in found or times["step"] < found[run]["step"]:
                found[run] = times
    return found


def fit(times: dict[tuple[int, int, int], dict[str, Any]]) -> tuple[float, float, Network]:
    """Seconds of a step's fixed part and of a row, and this machine's memory as a network."""
    alone = {
        batch: row["step"]
        for (ranks, threads, batch), row in times.items()
        if ranks == threads == 1
    }
    batches, steps = np.array([*alone]), np.array([*alone.values()])
    row, fixed = np.polyfit(batches, steps, 1, w=1 / steps)
    latency = min(run["latency"] for (ranks, _, _), run in times.items() if ranks == 2)
    allreduce = min(run["allreduce"] for (ranks, _, _), run in times.items() if ranks == 2)
    bandwidth = times[2, 1, STRONG_BATCH]["bytes"] / (allreduce - latency)
    return float(fixed), float(row), Network("shared memory, measured", latency / 2, bandwidth)


def table(times: dict[tuple[int, int, int], dict[str, Any]]) -> str:
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


def draw(times: dict[tuple[int, int, int], dict[str, Any]], path: Path) -> str:
    """Write the figure; return what it says in a line."""
    from matplotlib.figure import Figure

    from fnnet import plots

    fixed, row, memory = fit(times)
    size = times[2, 1, STRONG_BATCH]["bytes"]
    cluster = Network("100 Gbit/s and 2 µs a message, assumed", 2e-6, 12.5e9)

    def step(ranks: int, rows: float, network: Network) -> float:
        return fixed + rows * row + network.allreduce(ranks, size)

    figure = Figure(figsize=(8, 3.4), dpi=plots.DPI, layout="constrained")
    strong, weak = figure.subplots(1, 2)
    alone = fixed + STRONG_BATCH * row, fixed + WEAK_ROWS * row
    for network, colour in ((cluster, plots.BLUE), (memory, plots.ORANGE)):
        speed_ups = [alone[0] / step(p, STRONG_BATCH / p, network) for p in RANKS]
        shares = [100 * alone[1] / step(p, WEAK_ROWS, network) for p in RANKS]
        strong.plot(RANKS, speed_ups, color=colour, label=network.title)
        weak.plot(RANKS, shares, color=colour, label=network.title)
    strong.plot(RANKS, RANKS, color=plots.GREY, lw=1, ls=":", label="as many times as ranks")
    base, two = times[1, 1, STRONG_BATCH]["step"], times[2, 1, STRONG_BATCH]["step"]
    strong.plot([1, 2], [1, base / two], "o", color=plots.INK, label="measured on two cores")
    base, two = times[1, 1, WEAK_ROWS]["step"], times[2, 1, 2 * WEAK_ROWS]["step"]
    weak.plot([1, 2], [100, 100 * base / two], "o", color=plots.INK, label="measured on two cores")
    strong.set_title(f"speed-up, {STRONG_BATCH:,} rows shared out", fontsize=10, loc="left")
    weak.set_title(f"efficiency (%), {WEAK_ROWS} rows each", fontsize=10, loc="left")
    strong.set_yscale("log", base=2)
    strong.set_yticks(RANKS[::2], map(str, RANKS[::2]))
    weak.set_ylim(0, 105)
    for axes in (strong, weak):
        axes.set_xscale("log", base=2)
        axes.set_xticks(RANKS[::2], map(str, RANKS[::2]))
        axes.set_xlabel("ranks")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#E8E8E8", lw=0.6)
        axes.tick_params(labelsize=8)
    strong.legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    most = alone[0] / step(1024, STRONG_BATCH / 1024, cluster)
    share = alone[1] / step(1024, WEAK_ROWS, cluster)
    return (
        f"measured: {1e6 * fixed:.0f} µs a step and {1e6 * row:.2f} µs a row, {size:,} bytes of "
        f"gradient, {1e6 * memory.latency:.1f} µs and {memory.bandwidth / 1e9:.2f} GB/s between "
        f"ranks; modelled, 1,024 ranks on {cluster.title}: {most:.0f} times as fast with "
        f"{STRONG_BATCH:,} rows shared out, {share:.0%} of the ideal with {WEAK_ROWS} rows each"
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="default: 5")
    parser.add_argument("--out", type=Path, default=Path("mpi-scaling.png"), metavar="PNG")
    args = parser.parse_args(argv)
    times = measure(args.rounds)
    print(table(times))
    print(draw(times, args.out))


if __name__ == "__main__":
    main()
