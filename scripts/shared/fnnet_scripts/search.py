"""Jobs of a search: what is trained, how it did, and the small file that keeps it.

`fit` is a pure function of a job: it can be called anywhere, in any order, in any process, and
gives the same bits on the same kind of machine with the same number of threads.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from heapq import heappop, heappush
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

import fnnet
from fnnet.storage.files import part_name
from fnnet_scripts.pools import Pool, completed
from fnnet_scripts.wording import plural

OPTIMIZERS: dict[str, Callable[[fnnet.Params, npt.NDArray[np.float64]], Any]] = {
    "rmsprop": fnnet.rmsprop_init,
    "adam": fnnet.adam_init,
    "sgd": fnnet.sgd_init,
}
Point: TypeAlias = tuple[Any, ...]  # hidden, batch size, optimizer, learning rate
ORDER = 0  # seed of what is held out and of the order of the batches, the same in all jobs


@dataclass(frozen=True, slots=True)
class Job:
    """Networks of one shape that train side by side, on the same batches.

    Attributes
    ----------
    dataset, data_dir : as `fnnet.load_dataset` takes them
    hidden, batch_size, optimizer, epochs : what all of its networks have
    learning_rates, seeds : of each network; the seed is that of its first weights
    """

    dataset: str
    data_dir: str | None
    hidden: tuple[int, ...]
    batch_size: int
    optimizer: str
    epochs: int
    learning_rates: tuple[float, ...]
    seeds: tuple[int, ...]

    def __str__(self) -> str:
        return (
            f"{'-'.join(map(str, self.hidden))}, batches of {self.batch_size}, {self.optimizer}, "
            f"{len(self.seeds)} networks, learning rates {min(self.learning_rates):g} to "
            f"{max(self.learning_rates):g}"
        )


@dataclass(frozen=True, slots=True)
class Result:
    """How each network of a job did on what was held out; nan where it diverged."""

    job: Job
    losses: tuple[float, ...]
    accuracies: tuple[float, ...]


def stack(members: Sequence[fnnet.Params]) -> fnnet.Params:
    """Networks of one shape as an ensemble."""
    return fnnet.tree_map(lambda *leaves: np.stack(leaves), *members)


@lru_cache(maxsize=2)
def splits(dataset: str, data_dir: str | None) -> tuple[fnnet.Split, fnnet.Split, int]:
    """What is trained on, a fifth that is held out, and the number of classes: once a process."""
    data = fnnet.load_dataset(dataset, data_dir)
    train, held_out = fnnet.hold_out(ORDER, data.train, len(data.train) // 5)
    return train, held_out, len(data.classes)


def fit(job: Job) -> Result:
    """Train the networks of a job, and measure them on what was held out."""
    train, held_out, classes = splits(job.dataset, job.data_dir)
    sizes = (train.x[0].size, *job.hidden, classes)
    members = stack([fnnet.init_params(seed, sizes) for seed in job.seeds])
    state = OPTIMIZERS[job.optimizer](members, np.array(job.learning_rates))
    rng = np.random.default_rng(ORDER)
    with np.errstate(all="ignore"):  # a network that diverges goes on as nan, beside the others
        for _ in range(job.epochs):
            for x, y in fnnet.batches(rng, train, job.batch_size):
                state = fnnet.update(state, fnnet.grads(state.params, x, y))
        found = fnnet.evaluate(state.params, held_out).members
    losses = tuple(each.loss if math.isfinite(each.loss) else math.nan for each in found)
    scores = (each.accuracy for each in found)
    right = tuple(
        score if math.isfinite(loss) else math.nan
        for loss, score in zip(losses, scores, strict=True)
    )
    return Result(job, losses, right)


def jobs_of(points: Iterable[Mapping[str, Any]], seeds: int, most: int, **common: Any) -> list[Job]:
    """Jobs for points of a search: networks of one shape together, `most` at most.

    Parameters
    ----------
    points : each with ``hidden``, ``batch_size``, ``optimizer``, ``learning_rate``
    seeds : networks for each point
    most : networks in a job; more are cut into several
    common : what all jobs have: dataset, data_dir, epochs
    """
    groups: dict[tuple[Any, ...], list[tuple[float, int]]] = {}
    for point in points:
        key = (tuple(point["hidden"]), int(point["batch_size"]), str(point["optimizer"]))
        rate = float(point["learning_rate"])
        groups.setdefault(key, []).extend((rate, seed) for seed in range(seeds))
    return [
        Job(
            hidden=hidden,
            batch_size=size,
            optimizer=optimizer,
            learning_rates=tuple(rate for rate, _ in part),
            seeds=tuple(seed for _, seed in part),
            **common,
        )
        for (hidden, size, optimizer), members in groups.items()
        for part in (members[i : i + most] for i in range(0, len(members), most))
    ]


def key_of(hidden: Any, batch_size: int, optimizer: str, learning_rate: float) -> Point:
    """A point of a search as the rows of results name it."""
    return "-".join(map(str, hidden)), int(batch_size), str(optimizer), float(learning_rate)


def results_of(
    jobs: Sequence[Job],
    pool: Pool,
    train: Callable[[Job], Result],
    folder: Path,
    standing: Standing,
) -> tuple[list[Result], list[str]]:
    """Results of jobs, in their order, and a line for each that is left out.

    Those whose results are kept in the folder are not done again; the others go through the pool,
    and are kept as they come, with a line each.
    """
    found = {job: result for job in jobs if (result := kept(folder, job))}
    print(f"{plural(len(jobs), 'job')}, {len(found)} done before", flush=True)
    for result in found.values():
        enter(standing, result)
    lost = []
    for job, outcome in completed(pool, train, [job for job in jobs if job not in found]):
        if isinstance(outcome, Exception):
            lost.append(f"left out {job}: {' '.join(str(outcome).split())}")
            continue
        keep(folder, outcome)
        found[job] = outcome
        enter(standing, outcome)
        print(f"{len(found)}/{len(jobs)} {job}; {best(standing)}", flush=True)
    return [found[job] for job in jobs if job in found], lost


@dataclass(frozen=True, slots=True)
class Standing:
    """Points so far: the losses of each, and a heap of mean losses, some of which have changed."""

    losses: dict[Point, list[float]]
    heap: list[tuple[float, Point]]


def enter(standing: Standing, result: Result) -> None:
    for row in rows([result]):
        losses = standing.losses.setdefault(row[:4], [])
        losses.append(row[5])
        if not math.isnan(loss := mean(losses)):
            heappush(standing.heap, (loss, row[:4]))


def best(standing: Standing) -> str:
    """The best point so far."""
    heap = standing.heap
    while heap and mean(standing.losses[heap[0][1]]) != heap[0][0]:
        heappop(heap)  # a seed has come since
    return f"best so far {heap[0][0]:.4f}, {named(heap[0][1])}" if heap else "all diverged so far"


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def rows(results: Sequence[Result]) -> list[tuple[Any, ...]]:
    """Each network: its point, its seed, loss and accuracy on what was held out."""
    return [
        (*key_of(result.job.hidden, result.job.batch_size, result.job.optimizer, rate), *rest)
        for result in results
        for rate, *rest in zip(
            result.job.learning_rates,
            result.job.seeds,
            result.losses,
            result.accuracies,
            strict=True,
        )
    ]


def named(key: Point) -> str:
    hidden, batch_size, optimizer, rate = key
    return f"{hidden}, batches of {batch_size}, {optimizer}, learning rate {rate:.3g}"


def file_of(folder: Path, job: Job) -> Path:
    """Where the result of a job is kept: the name is a hash of all that the job says."""
    text = json.dumps(_plain_job(job) | {"data_dir": None}, sort_keys=True)
    return folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"


def keep(folder: Path, result: Result) -> None:
    """Write a result, whole or not at all.

    It is not synced to the disk, which can take longer than a job does. Where the machine itself
    goes down, a file may be cut short: `kept` finds no result in it, and its job is done again.
    """
    numbers = {"losses": _plain(result.losses), "accuracies": _plain(result.accuracies)}
    target = file_of(folder, result.job)
    part = part_name(target)
    try:
        part.write_bytes((json.dumps({"job": _plain_job(result.job), **numbers}) + "\n").encode())
        os.replace(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def remove_parts(folder: Path) -> None:
    """Remove what a search that was killed left half written, in a folder that is ours alone."""
    for part in folder.glob(".*.json.*.part"):
        part.unlink(missing_ok=True)


def kept(folder: Path, job: Job) -> Result | None:
    """The result of a job, if its file is there and whole."""
    try:
        found = json.loads(file_of(folder, job).read_text("utf-8"))
        losses, accuracies = (
            tuple(math.nan if value is None else float(value) for value in found[name])
            for name in ("losses", "accuracies")
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    whole = len(losses) == len(accuracies) == len(job.seeds)
    return Result(job, losses, accuracies) if whole else None


def _plain_job(job: Job) -> dict[str, Any]:
    return {each.name: getattr(job, each.name) for each in fields(job)}


def _plain(values: Sequence[float]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values]
