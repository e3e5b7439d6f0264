"""Search over widths, batch sizes, optimizers, learning rates and seeds, on a pool of workers.

    python scripts/loops/pool.py --hidden 32 64 64-32 --optimizers rmsprop adam
    python scripts/loops/pool.py --pool dask tcp://scheduler:8786 --search random --trials 200
    mpiexec -n 3 python scripts/loops/pool.py --pool mpi

Networks of one shape are one job, and train side by side as an ensemble; jobs go to the processes
of this machine, to the workers of a Dask cluster, or to the ranks of MPI. Each result is kept in a
small file of its own as soon as it is there: after Ctrl-C or a crash, the same command does what is
missing alone. The results are the same to the last bit, whatever the pool and whoever is faster. A
fifth of the training set is held out, and the score is the loss on it; the test set is never read.
"""

from __future__ import annotations

if __name__ == "__main__":
    import fnnet_scripts.quiet  # noqa: F401

import argparse
import csv
import io
import math
import os
import sys
from collections.abc import Callable, Generator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from fnnet_scripts.options import COUNT, Parser, at_least, exit_code, installing, not_negative
from fnnet_scripts.pools import Pool, limited, opened
from fnnet_scripts.runs import DATASETS, EPOCHS, claim
from fnnet_scripts.search import (
    OPTIMIZERS,
    Point,
    Result,
    Standing,
    fit,
    jobs_of,
    key_of,
    mean,
    remove_parts,
    results_of,
    rows,
    splits,
)
from fnnet_scripts.wording import table

from fnnet.storage.files import atomic_write

# Points of a round; it is sent the scores of all points so far.
Rounds: TypeAlias = Generator[list[dict[str, Any]], dict[Point, float], None]

RATES = [5e-4, 1e-3, 2e-3, 5e-3]
DIMENSIONS = ("hidden", "batch_size", "optimizer", "learning_rate")
BEST = 10  # points in the table
NAMED = 3  # jobs that are left out, in the error


def widths(text: str) -> tuple[int, ...]:
    """A type of options: the widths of the hidden layers, 64-32."""
    return tuple(map(at_least(1), text.split("-")))


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("--dataset", choices=DATASETS, default="digits", help="default: digits")
    add("--data-dir", type=os.path.abspath, metavar="DIR", help="the folder of its four files")
    add = parser.group("networks")
    hidden = [(32,), (64,)]
    add("--hidden", type=widths, nargs="+", default=hidden, metavar="N-N", help="default: 32 64")
    add("--batch-sizes", **COUNT, nargs="+", default=[32], help="default: 32")
    add("--optimizers", choices=OPTIMIZERS, nargs="+", default=["rmsprop"], help="default: rmsprop")
    rates = f"random and optuna draw between the ends; default: {' '.join(map(str, RATES))}"
    add("--learning-rates", type=not_negative(), nargs="+", default=RATES, metavar="X", help=rates)
    add("--seeds", **COUNT, default=3, help="networks for each point; default: 3")
    add("--epochs", **COUNT, help="default: 30 for digits, else 10")
    add = parser.group("search")
    add("--search", choices=("grid", "random", "optuna"), default="grid", help="default: grid")
    add("--trials", **COUNT, default=20, help="points of a random search; default: 20")
    add("--round", **COUNT, default=8, help="points that Optuna asks at once; default: 8")
    add = parser.group("workers")
    pools = "processes, dask [ADDRESS] or mpi; default: processes"
    add("--pool", nargs="+", default=["processes"], metavar="POOL", help=pools)
    add("--workers", **COUNT, help="default: one for each processor")
    add("--threads", **COUNT, default=1, help="of BLAS, for each worker; default: 1")
    add("--members", **COUNT, default=12, help="networks in a job, at most; default: 12")
    parser.add_argument(
        "--out", type=Path, default="runs/pool", metavar="DIR", help="default: runs/pool"
    )
    settings = parser.parse_args(argv)
    kind, *rest = settings.pool
    if kind not in ("processes", "dask", "mpi") or len(rest) > (kind == "dask"):
        got = " ".join(settings.pool)
        parser.error(f"--pool must be processes, dask, dask ADDRESS or mpi, got {got}")
    settings.epochs = settings.epochs or EPOCHS.get(settings.dataset, 10)
    return settings


def rounds(settings: argparse.Namespace) -> Rounds:
    """Points to try, round after round; Optuna is sent the scores of each."""
    space: dict[str, Any] = {
        "hidden": list(dict.fromkeys(settings.hidden)),
        "batch_size": settings.batch_sizes,
        "optimizer": settings.optimizers,
        "learning_rate": settings.learning_rates,
    }
    if settings.search == "optuna":
        yield from asked(settings, space)
    elif settings.search == "grid":
        from sklearn.model_selection import ParameterGrid

        yield list(ParameterGrid(space))
    else:
        from scipy.stats import loguniform
        from sklearn.model_selection import ParameterSampler

        low, high = min(settings.learning_rates), max(settings.learning_rates)
        rates = loguniform(low, high) if 0 < low < high else [low]
        points = ParameterSampler(
            {**space, "learning_rate": rates}, settings.trials, random_state=0
        )
        yield list(points)


def asked(settings: argparse.Namespace, space: dict[str, Any]) -> Rounds:
    """Points that Optuna asks for: told in the order asked, so that no worker's speed matters."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    low, high = min(settings.learning_rates), max(settings.learning_rates)
    names = {"-".join(map(str, hidden)): hidden for hidden in space["hidden"]}
    for start in range(0, settings.trials, settings.round):
        trials = [study.ask() for _ in range(min(settings.round, settings.trials - start))]
        points = [
            {
                "hidden": names[trial.suggest_categorical("hidden", list(names))],
                "batch_size": trial.suggest_categorical("batch_size", space["batch_size"]),
                "optimizer": trial.suggest_categorical("optimizer", space["optimizer"]),
                "learning_rate": trial.suggest_float("learning_rate", low, high, log=low > 0),
            }
            for trial in trials
        ]
        scores = yield points
        for trial, point in zip(trials, points, strict=True):
            score = scores.get(key_of(**point), math.nan)
            failed = optuna.trial.TrialState.FAIL
            study.tell(trial, *([score] if math.isfinite(score) else [None, failed]))


def search(pool: Pool, settings: argparse.Namespace) -> tuple[list[Result], list[str]]:
    """Results in the order of their jobs, and a line for each job that is left out."""
    results: list[Result] = []
    lost: list[str] = []
    standing = Standing({}, [])
    common = {name: getattr(settings, name) for name in ("dataset", "data_dir", "epochs")}
    own = settings.pool[0] == "processes"
    train = fit if own else partial(limited, fit, settings.threads)
    points = rounds(settings)
    wanted = next(points)
    while True:
        jobs = [*dict.fromkeys(jobs_of(wanted, settings.seeds, settings.members, **common))]
        found, why = results_of(jobs, pool, train, settings.out / "jobs", standing)
        results += found
        lost += why
        try:
            wanted = points.send(dict(ranked(results)))
        except StopIteration:
            return results, lost


def ranked(results: Sequence[Result], column: int = 5) -> list[tuple[Point, float]]:
    """Points with their mean loss over the seeds, best first; nan, where a seed diverged, last."""
    groups: dict[Point, list[float]] = {}
    for row in rows(results):
        groups.setdefault(row[:4], []).append(row[column])
    means = [(key, mean(values)) for key, values in groups.items()]
    return sorted(means, key=lambda pair: (math.isnan(pair[1]), pair[1]))


def summary(results: Sequence[Result]) -> str:
    """The best points in a table."""
    accuracies = dict(ranked(results, 6))
    header = ["hidden", "batch size", "optimizer", "learning rate", "loss", "accuracy"]
    return table(
        header,
        [
            [*map(str, key[:3]), f"{key[3]:.3g}", *shown(loss, accuracies[key])]
            for key, loss in ranked(results)[:BEST]
        ],
    )


def shown(loss: float, accuracy: float) -> tuple[str, str]:
    """Both as the table has them."""
    return ("diverged", "–") if math.isnan(loss) else (f"{loss:.4f}", f"{accuracy:.2%}")


def write_csv(path: Path, results: Sequence[Result]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*DIMENSIONS, "seed", "loss", "accuracy"])
    writer.writerows(rows(results))
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())


def draw(path: Path, results: Sequence[Result]) -> str:
    """Loss against each dimension: the mean of each point's seeds, and their least and most."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return f"the figure needs Matplotlib: {installing('matplotlib')}"
    groups: dict[Point, list[float]] = {}
    for row in rows(results):
        groups.setdefault(row[:4], []).append(row[5])
    groups = {key: losses for key, losses in groups.items() if np.all(np.isfinite(losses))}
    figure = Figure(figsize=(9, 2.6), dpi=150, layout="constrained")
    for i, axes in enumerate(figure.subplots(1, len(DIMENSIONS), sharey=True)):
        values = [key[i] for key in groups]
        places: list[Any] = values
        if DIMENSIONS[i] == "learning_rate":
            scale_by_factors(axes.set_xscale, axes.xaxis, values)
        else:
            ticks = sorted(set(values), key=sorting_key)
            places = [ticks.index(value) for value in values]
            axes.set_xticks(range(len(ticks)), [str(tick) for tick in ticks])
        means = np.array([np.mean(losses) for losses in groups.values()])
        spread = [
            means - [min(losses) for losses in groups.values()],
            [max(losses) for losses in groups.values()] - means,
        ]
        axes.errorbar(places, means, spread, fmt="o", color="#0072B2", ms=3, lw=0.8)
        axes.set_xlabel(DIMENSIONS[i].replace("_", " "), fontsize=8)
        scale_by_factors(axes.set_yscale, axes.yaxis, [*chain(*groups.values())])
        axes.tick_params(which="both", labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("loss on what was held out (nats)", fontsize=8)
    with atomic_write(path) as file:
        figure.savefig(file, format="png")
    return f"drawn in {path}"


def sorting_key(value: Any) -> Any:
    """Widths by their numbers, and all else by itself."""
    return [int(n) for n in str(value).split("-")] if str(value)[0].isdigit() else value


def scale_by_factors(set_scale: Callable[[str], None], axis: Any, values: Sequence[float]) -> None:
    """A logarithmic axis, where values differ by more than twice, of numbers that do not touch."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullLocator

    axis.set_major_locator(MaxNLocator(2))
    if 0 < 2 * min(values, default=0) < max(values, default=0):
        set_scale("log")
        factor = max(values) / min(values)
        subs = (1, 2, 5) if factor < 10 else (1, 3) if factor < 30 else (1,)
        axis.set_major_locator(LogLocator(subs=subs))
        axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FormatStrFormatter("%g"))


def run(settings: argparse.Namespace) -> None:
    kind, address = [*settings.pool, None][:2]
    with opened(kind, address, settings.workers, settings.threads) as pool:
        if pool is not None:
            with claim(settings.out, resume=True):
                run_here(pool, settings)


def run_here(pool: Pool, settings: argparse.Namespace) -> None:
    """The search, in the process that hands out the jobs, in a folder that is its alone."""
    splits(settings.dataset, settings.data_dir)  # downloads and verifies before workers do
    (settings.out / "jobs").mkdir(exist_ok=True)
    remove_parts(settings.out / "jobs")
    results, lost = search(pool, settings)
    if results:
        write_csv(settings.out / "results.csv", results)
        print(summary(results))
        print(draw(settings.out / "search.png", results))
    if lost:
        more = f"; and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
        raise ArithmeticError("; ".join(lost[:NAMED]) + more)


def main(argv: Sequence[str] | None = None) -> int:
    settings = parse(argv)
    return exit_code("pool.py", lambda: run(settings))


if __name__ == "__main__":
    sys.exit(main())
