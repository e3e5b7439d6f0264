"""Time what a pool of workers adds to the jobs of loops/pool.py, and model 1,000 workers.

    python scripts/measure/pool_scaling.py --pools processes dask mpi

Each row of the first table is a search of 500 jobs of some 20 ms: networks that are trained on the
embedded digits, whose results are kept in files. It is compared with a plain loop over the same
jobs in one process. The clock needs a quiet machine; processor time, that of all processes
together, hardly minds a busy one. What it takes to start the workers is told apart.

In the second table there are more workers than processors: their jobs sleep for 20 ms.

The model: n jobs of t seconds on p workers take start + max(n hand, ceil(n / p) (t + extra)). The
one process that hands out jobs and keeps results needs `hand` seconds for each, a worker `extra`.
"""

from __future__ import annotations

if __name__ == "__main__":
    import fnnet_scripts.quiet  # noqa: F401

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
from fnnet_scripts.options import Parser, at_least, exit_code, one_line
from fnnet_scripts.pools import ANYWHERE, THREADS, launcher, opened
from fnnet_scripts.search import Job, Result, Standing, fit, results_of
from fnnet_scripts.wording import digits, percent, plural, processor, table

LOOP, KINDS = "loop", ("processes", "dask", "mpi")
WANTED = 0.02  # seconds of a job
LENGTHS = (0.02, 1.0, 60.0)  # seconds of a job, in the model
MODELLED = (1, 10, 100, 1000)  # workers
PATIENCE = 60.0  # seconds for all workers to start
EACH = 100  # jobs for each worker, in the model
Case: TypeAlias = tuple[str, int]  # a kind of pool, or the loop; workers


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of a search.

    Attributes
    ----------
    start : until each worker has started and loaded the data
    wall : of the jobs after that
    hand : processor time of the process that hands them out, in that time
    spent : processor time of all processes, from start to end, but for what the start took
    """

    start: float
    wall: float
    hand: float
    spent: float = math.nan


# --- in a process of its own: one search


def networks(count: int, epochs: int, first: int = 0) -> list[Job]:
    """Jobs of one network each."""
    kinds = ("digits", None, (8,), 128, "rmsprop", epochs, (1e-3,))
    return [Job(*kinds, seeds=(seed,)) for seed in range(first, first + count)]


def asleep(seconds: float, job: Job) -> Result:
    """A job that takes time but no processor."""
    time.sleep(seconds)
    return Result(job, (1.0,), (0.0,))


def met(folder: Path, workers: int, job: Job) -> Result:
    """A job that ends once so many workers have begun one, each its own: all have started."""
    result = fit(job)
    (folder / f"{os.getpid()}.met").touch()
    patience = time.monotonic() + PATIENCE
    while len([*folder.glob("*.met")]) < workers and time.monotonic() < patience:
        time.sleep(0.002)
    return result


def searched(case: Case, jobs: Sequence[Job], sleep: float) -> Times | None:
    """Times of a search; None in the ranks of MPI that only work."""
    kind, workers = case
    first = networks(workers, 1, first=10**6)
    train = partial(asleep, sleep) if sleep else fit
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as name, opened(kind, None, workers, 1) as pool:
        if pool is None:
            return None
        folder = Path(name)
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
            results_of(first, pool, partial(met, folder, workers), folder, Standing({}, []))
            ready, before = time.perf_counter(), time.process_time()
            found, failed = results_of(jobs, pool, train, folder, Standing({}, []))
        wall, hand = time.perf_counter() - ready, time.process_time() - before
    if failed or len(found) < len(jobs):
        raise ChildProcessError("; ".join(failed[:1]))
    return Times(ready - began, wall, hand)


def looped(jobs: Sequence[Job]) -> Times:
    """Times of the same jobs in a plain loop."""
    began = time.perf_counter()
    fit(networks(1, 1)[0])  # loads the data
    ready, before = time.perf_counter(), time.process_time()
    for job in jobs:
        fit(job)
    return Times(ready - began, time.perf_counter() - ready, time.process_time() - before)


def run_one(settings: argparse.Namespace) -> None:
    """Print the times of one case as JSON."""
    kind, workers = settings.one[0], int(settings.one[1])
    jobs = networks(settings.jobs, settings.epochs or 4)
    times = looped(jobs) if kind == LOOP else searched((kind, workers), jobs, settings.sleep)
    if times is not None:
        print(json.dumps(asdict(times)))


# --- here: cases in turn


def time_case(case: Case, jobs: int, epochs: int) -> Times:
    """Times of a search in new processes, with the processor time of all of them."""
    began = _spent()
    times = started(case, jobs, epochs)
    whole = _spent() - began
    began = _spent()
    started(case, 0, epochs)
    return replace(times, spent=whole - (_spent() - began))


def _spent() -> float:
    """Processor time of all processes that were started here and have ended."""
    times = os.times()
    return times.children_user + times.children_system


def started(case: Case, jobs: int, epochs: int, sleep: float = 0.0) -> Times:
    """Times of a search in new processes."""
    print(f"{case[0]}, {case[1]}: {jobs} jobs", file=sys.stderr, flush=True)
    kind, workers = case
    line = [sys.executable, __file__, "--one", kind, str(workers), "--jobs", str(jobs)]
    line += ["--epochs", str(epochs), "--sleep", str(sleep)]
    if kind == "mpi":
        line = [launcher(), "-n", str(workers + 1), *line]
    environment = {**os.environ, **ANYWHERE, **dict.fromkeys(THREADS, "1")}
    result = subprocess.run(line, env=environment, capture_output=True, text=True)
    if result.returncode:
        raise ChildProcessError(f"{kind} with {workers}: {one_line(result.stderr[-600:])}")
    return Times(**json.loads(result.stdout.splitlines()[-1]))


def epochs_for(seconds: float) -> int:
    """So many epochs as make a job of about so many seconds of processor time."""
    few, many = (time_case((LOOP, 1), 20, epochs).hand / 20 for epochs in (1, 9))
    return max(1, round(1 + (seconds - few) / ((many - few) / 8)))


def measured(cases: Sequence[Case], rounds: int, jobs: int, epochs: int) -> dict[Case, Times]:
    """Medians of alternating rounds."""
    found: dict[Case, list[Times]] = {case: [] for case in cases}
    for _ in range(rounds):
        for case in cases:
            found[case].append(time_case(case, jobs, epochs))
    names = Times.__slots__
    return {
        case: Times(*(statistics.median(getattr(each, name) for each in times) for name in names))
        for case, times in found.items()
    }


@dataclass(frozen=True, slots=True)
class Model:
    """What a pool costs, in seconds: once, and for each job where it is handed out and done."""

    start: float
    hand: float
    extra: float

    def wall(self, workers: int, jobs: int, seconds: float) -> float:
        """Seconds of so many jobs of so many seconds."""
        own = math.ceil(jobs / workers) * (seconds + self.extra)
        return self.start + max(jobs * self.hand, own)

    def share(self, workers: int, seconds: float) -> float:
        """The part of the workers' time that is spent in jobs, of EACH jobs a worker."""
        return EACH * seconds / self.wall(workers, EACH * workers, seconds)

    def limit(self, seconds: float) -> float:
        """Workers beyond which they wait for the process that hands out."""
        return (seconds + self.extra) / self.hand if self.hand else math.inf


def fitted(times: Times, loop: Times, jobs: int) -> Model:
    """The model of a pool from a search, beside the loop over its jobs."""
    extra = (times.spent - times.hand - loop.spent) / jobs
    return Model(times.start, times.hand / jobs, max(0.0, extra))


def lost(loop: float, pool: float) -> float | None:
    """The part of a pool's processor time that is not the jobs' own.

    None where it is no more than the system's clock can tell from a pool without jobs.
    """
    return 1 - loop / pool if pool > 0 else None


def costs(times: dict[Case, Times], jobs: int) -> str:
    """The first table."""
    loop = times[LOOP, 1]
    body = []
    for (kind, workers), row in times.items():
        speed_up = loop.wall / row.wall
        alone = kind == LOOP
        body.append(
            [
                "a plain loop" if alone else f"{kind}, {workers}",
                f"{row.start:.2f}",
                f"{row.wall:.2f}",
                "–" if alone else f"{speed_up:.2f}",
                "–" if alone else percent(1 - speed_up / workers),
                f"{row.spent:.2f}",
                "–" if alone else percent(lost(loop.spent, row.spent)),
                "–" if alone else digits(1e6 * row.hand / jobs),
            ]
        )
    header = ["pool, workers", "start, s", "clock, s", "speed-up", "lost, clock"]
    header += ["processor, s", "lost, processor", "µs to hand out"]
    return table(header, body)


def waits(times: dict[Case, Times], models: dict[str, Model], jobs: int, sleep: float) -> str:
    """The second table."""
    body = [
        [
            f"{kind}, {workers}",
            f"{row.wall:.2f}",
            f"{models[kind].wall(workers, jobs, sleep) - models[kind].start:.2f}",
            percent(jobs * sleep / workers / row.wall),
        ]
        for (kind, workers), row in times.items()
    ]
    header = ["pool, workers", "clock, s", "by the model, s", "of the workers' time in jobs"]
    return table(header, body)


def modelled(models: dict[str, Model]) -> str:
    """The third table."""
    header = ["pool, seconds of a job", *(f"{p:,} workers" for p in MODELLED), "full up to"]
    body = [
        [
            f"{kind}, {digits(seconds)}",
            *(percent(model.share(workers, seconds)) for workers in MODELLED),
            f"{digits(model.limit(seconds))} workers",
        ]
        for kind, model in models.items()
        for seconds in LENGTHS
    ]
    return table(header, body)


def run(settings: argparse.Namespace) -> None:
    if settings.one:
        run_one(settings)
        return
    jobs, kinds = settings.jobs, dict.fromkeys(settings.pools)
    epochs = settings.epochs or epochs_for(WANTED)
    cases = [(LOOP, 1), *((kind, workers) for kind in kinds for workers in settings.workers)]
    times = measured(cases, settings.rounds, jobs, epochs)
    loop, most = times[LOOP, 1], max(settings.workers)
    models = {kind: fitted(times[kind, most], loop, jobs) for kind in kinds}
    print(f"{processor()}, {os.cpu_count()} processors, Python {sys.version.split()[0]}, ", end="")
    print(f"NumPy {np.__version__}, medians of {settings.rounds} rounds")
    print(f"{jobs} jobs of {1e3 * loop.spent / jobs:.1f} ms, {plural(epochs, 'epoch')} each\n")
    print(costs(times, jobs), flush=True)
    sleepers = [(kind, workers) for kind in kinds for workers in settings.sleepers]
    if sleepers:
        asleep = {case: started(case, jobs, epochs, WANTED) for case in sleepers}
        print(f"\n{jobs} jobs that sleep for {1e3 * WANTED:.0f} ms\n")
        print(waits(asleep, models, jobs, WANTED))
    print(f"\nmodelled, {EACH} jobs a worker: the part of the workers' time that is in jobs\n")
    print(modelled(models))


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    count = at_least(1)
    add = parser.group("pools")
    add("--pools", choices=KINDS, nargs="+", default=["processes"], help="default: processes")
    add("--workers", type=count, nargs="+", default=[1, 2], metavar="N", help="default: 1 2")
    add(
        "--sleepers",
        type=count,
        nargs="*",
        default=[8, 32],
        metavar="N",
        help="workers whose jobs sleep; 8 32",
    )
    add = parser.group("jobs")
    add("--jobs", type=at_least(0), default=500, metavar="N", help="default: 500")
    add("--rounds", type=count, default=3, metavar="N", help="default: 3")
    add("--epochs", type=count, metavar="N", help="of a job; default: so many as take 20 ms")
    add = parser.group("one pool, in this process")
    one = "time this pool of so many workers, and print its times as JSON"
    add("--one", nargs=2, metavar=("POOL", "N"), help=one)
    add("--sleep", type=float, default=0.0, metavar="X", help="with --one: jobs sleep for X s")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    settings = parse(argv)
    return exit_code("pool_scaling.py", lambda: run(settings))


if __name__ == "__main__":
    sys.exit(main())
