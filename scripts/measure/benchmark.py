"""Time fnnet beside PyTorch, scikit-learn, JAX and bare matrix products, on this machine.

    python scripts/measure/benchmark.py --data-dir FOLDER_OF_MNIST

Every contestant works in a process of its own with the same data, network and threads. They take
turns, an epoch each; tables and plot show medians over the rounds. Contestants that are not
installed are left out: pip install torch scikit-learn jax matplotlib brings all. Without a folder
of MNIST, synthetic images of its shape and sparsity serve.
"""

from __future__ import annotations

if __name__ == "__main__":
    import fnnet_scripts.quiet  # noqa: F401

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from fnnet_scripts.contestants import DISTRIBUTIONS, KINDS, load, version_of
from fnnet_scripts.desk import Worker, environment
from fnnet_scripts.installs import installed_size, requirements
from fnnet_scripts.options import (
    Parser,
    at_least,
    check_figure,
    check_output,
    exit_code,
    installing,
    png,
)
from fnnet_scripts.race_figure import Row, draw, unique
from fnnet_scripts.wording import dashed, digits, megabytes, percent, plural, processor, table

from fnnet.storage.files import atomic_write

SIZES = (784, 128, 10)
OTHER_SIZES = ((784, 800, 10), (784, 512, 512, 10))
OTHER_BATCH_SIZE = 128
OTHER_DATA = ("half-lit images", "all-lit images")
ROWS = (1, 1_000, 10_000)  # images classified at once
ABLE = {  # contestants that a section can measure, where not all
    "inference": ("fnnet", "torch", "sklearn", "jax"),  # one a library: it predicts in one way
    "memory": tuple(name for name in KINDS if name != "products"),
    "data": ("fnnet", "fnnet-ragged"),
    "profile": ("fnnet",),
}
MODULES = {
    "numpy": "numpy",
    "fnnet": "fnnet",
    "sklearn": "sklearn.neural_network",
    "torch": "torch",
    "jax": "jax",
}
SLOW = ("torch-compiled", "torch-flushed", "jax-sparse", "keras")  # not in --quick unless named
PAUSE = 0.1  # seconds in which the threads of the one before go to sleep


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, and how often."""

    names: Sequence[str]
    directory: str | None
    samples: int
    threads: Sequence[int]
    batch_sizes: Sequence[int]
    rounds: int
    data: str = "digits"


@contextmanager
def team(plan: Plan, threads: int, names: Sequence[str]) -> Iterator[dict[str, Worker]]:
    """A worker for each contestant, ended afterwards."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(
                closing(Worker(name, threads, plan.directory, plan.samples, plan.data))
            )
            for name in names
        }


def ask_all(
    workers: dict[str, Worker], question: str, pause: float = 0, **arguments: Any
) -> dict[str, Any]:
    """Everyone's answer, one after the other; who cannot answer leaves the team."""
    answers = {}
    for name, worker in list(workers.items()):
        time.sleep(pause)
        try:
            answers[name] = worker.ask(question, **arguments)
        except RuntimeError as error:
            print(f"{KINDS[name].title}: not available: {error}", file=sys.stderr)
            del workers[name]
    return answers


def race(
    workers: dict[str, Worker], rounds: int, question: str, **arguments: Any
) -> dict[str, list[float]]:
    """Answers of several rounds, in each of which everyone has a turn."""
    answers = [ask_all(workers, question, PAUSE, **arguments) for _ in range(rounds)]
    return {name: [answer[name] for answer in answers] for name in workers}


def measure_training(
    plan: Plan, threads: int, jobs: Sequence[tuple[Sequence[int], int]]
) -> list[Row]:
    """Seconds an epoch, for jobs of sizes and batch size; a first epoch compiles and warms up."""
    rows = []
    with team(plan, threads, plan.names) as workers:
        for sizes, batch_size in jobs:
            progress(f"training {dashed(sizes)}, batch {batch_size}, {plural(threads, 'thread')}")
            ask_all(workers, "start", sizes=sizes, batch_size=batch_size)
            ask_all(workers, "epoch")
            accuracies = ask_all(workers, "accuracy")
            rows += [
                {
                    "contestant": name,
                    "threads": threads,
                    "sizes": sizes,
                    "batch_size": batch_size,
                    "seconds": seconds,
                    "accuracy": accuracies[name],
                }
                for name, seconds in race(workers, plan.rounds, "epoch").items()
            ]
    return rows


def measure_epoch(plan: Plan) -> list[Row]:
    jobs = [(SIZES, batch_size) for batch_size in plan.batch_sizes]
    return [row for threads in plan.threads for row in measure_training(plan, threads, jobs)]


def measure_networks(plan: Plan) -> list[Row]:
    jobs = [(sizes, OTHER_BATCH_SIZE) for sizes in OTHER_SIZES]
    return measure_training(plan, max(plan.threads), jobs)


def measure_data(plan: Plan) -> list[Row]:
    """Seconds an epoch, where more of the images is lit than of digits."""
    rows = []
    for data in OTHER_DATA:
        other = replace(plan, names=able(plan, "data"), directory=None, data=data)
        jobs = [(SIZES, batch_size) for batch_size in plan.batch_sizes]
        found = measure_training(other, max(plan.threads), jobs)
        rows += [row | {"data": data} for row in found]
    return rows


def measure_inference(plan: Plan) -> list[Row]:
    """Seconds from images to classes."""
    rows, names = [], able(plan, "inference")
    for threads in plan.threads:
        progress(f"inference, {plural(threads, 'thread')}")
        with team(plan, threads, names) as workers:
            ask_all(workers, "start", sizes=SIZES, batch_size=1_000)
            ask_all(workers, "epoch")  # scikit-learn cannot predict before
            for count in ROWS:
                repeats = max(10, 1_000 // count)
                answers = race(workers, plan.rounds, "latency", rows=count, repeats=repeats)
                rows += [
                    {"contestant": name, "threads": threads, "rows": count, "seconds": seconds}
                    for name, seconds in answers.items()
                ]
    return rows


def measure_import(plan: Plan) -> list[Row]:
    """Seconds that a fresh interpreter takes to import a library, its own start subtracted."""
    modules = [MODULES[name] for name in installed(plan)]
    commands = {"nothing": "pass"} | {module: f"import {module}" for module in modules}
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    # What is installed has its bytecode beside it.
    setting = {k: v for k, v in environment(1).items() if k != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(3 * plan.rounds + 1):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run(
                [sys.executable, "-c", command],
                env=setting,
                stderr=subprocess.DEVNULL,  # where Ctrl-C would leave a traceback
                check=True,
            )
            seconds[name].append(time.perf_counter() - began)
    start = median(seconds.pop("nothing")[1:])
    return [
        {"module": module, "seconds": [second - start for second in times[1:]]}
        for module, times in seconds.items()
    ]


def measure_size(plan: Plan) -> list[Row]:
    """Bytes of a library's files, alone and with all that it requires."""
    rows = []
    for name in installed(plan):
        required = requirements(DISTRIBUTIONS.get(name, name))
        own, *others = map(installed_size, required)
        rows.append(
            {"module": name, "own": own, "all": own + sum(others), "distributions": len(required)}
        )
    return rows


def installed(plan: Plan) -> list[str]:
    """NumPy, fnnet, and the modules of contestants in this plan."""
    return list(dict.fromkeys(["numpy", "fnnet", *(KINDS[name].module for name in plan.names)]))


def measure_memory(plan: Plan) -> list[Row]:
    """Peak memory of a fresh process: library and data loaded, then one epoch trained."""
    progress("memory")
    with team(plan, max(plan.threads), able(plan, "memory")) as workers:
        ask_all(workers, "start", sizes=SIZES, batch_size=OTHER_BATCH_SIZE)
        loaded = ask_all(workers, "memory")
        ask_all(workers, "epoch")
        peaks = ask_all(workers, "memory")
    return [
        {"contestant": name, "loaded": loaded[name], "peak": peak} for name, peak in peaks.items()
    ]


def measure_profile(plan: Plan) -> list[Row]:
    """Microseconds of the parts of fnnet's step."""
    rows = []
    for threads in plan.threads:
        with team(plan, threads, able(plan, "profile")) as workers:
            for batch_size in plan.batch_sizes:
                progress(f"profile, batch {batch_size}, {plural(threads, 'thread')}")
                steps = max(10, min(1_000, plan.rounds * plan.samples // batch_size))
                parts = workers["fnnet"].ask(
                    "profile", sizes=SIZES, batch_size=batch_size, steps=steps
                )
                rows.append({"threads": threads, "batch_size": batch_size, "parts": parts})
    return rows


def training_tables(rows: Sequence[Row], samples: int) -> Iterator[str]:
    """One table a number of threads: contestants down, jobs across."""
    for threads in unique(row["threads"] for row in rows):
        mine = [row for row in rows if row["threads"] == threads]
        jobs = unique((tuple(row["sizes"]), row["batch_size"]) for row in mine)
        times = {job: {} for job in jobs}  # type: dict[Any, dict[str, float]]
        accuracies: dict[str, float | None] = {}
        for row in mine:
            job = tuple(row["sizes"]), row["batch_size"]
            times[job][row["contestant"]] = median(row["seconds"])
            accuracies.setdefault(row["contestant"], row["accuracy"])
        header = ["", *(f"{dashed(sizes)}, batch {batch}" for sizes, batch in jobs)]
        if len({sizes for sizes, _ in jobs}) == 1:
            header = ["batch size", *(str(batch) for _, batch in jobs)]
        body = [
            [KINDS[name].title, *(ratio(times[job], name) for job in jobs), percent(accuracy)]
            for name, accuracy in accuracies.items()
        ]
        title = (
            f"Seconds an epoch of {samples:,} images, {plural(threads, 'thread')} (times fnnet's)"
        )
        yield f"{title}\n\n{table([*header, 'test accuracy'], body)}"


def data_tables(rows: Sequence[Row], samples: int) -> Iterator[str]:
    """One table a kind of data."""
    for data in unique(row["data"] for row in rows):
        for text in training_tables([row for row in rows if row["data"] == data], samples):
            yield text.replace("images", f"synthetic {data}", 1)


def inference_tables(rows: Sequence[Row], samples: int) -> Iterator[str]:
    """One table a number of threads: contestants down, images at once across."""
    for threads in unique(row["threads"] for row in rows):
        mine = [row for row in rows if row["threads"] == threads]
        times: dict[int, dict[str, float]] = {count: {} for count in ROWS}
        for row in mine:
            times[row["rows"]][row["contestant"]] = 1e6 * median(row["seconds"])
        names = unique(row["contestant"] for row in mine)
        body = [
            [KINDS[name].title, *(ratio(times[count], name) for count in ROWS)] for name in names
        ]
        header = ["images at once", *(f"{count:,}" for count in ROWS)]
        yield (
            f"Microseconds from images to classes, {plural(threads, 'thread')} (times fnnet's)\n\n"
            f"{table(header, body)}"
        )


def import_tables(rows: Sequence[Row], samples: int) -> Iterator[str]:
    times = {row["module"]: 1e3 * median(row["seconds"]) for row in rows}
    body = [[f"import {name}", ratio(times, name, "numpy")] for name in times]
    yield "Milliseconds to import (times NumPy's)\n\n" + table(["", "ms"], body)


def size_tables(rows: Sequence[Row], samples: int) -> Iterator[str]:
    body = [
        [row["module"], megabytes(row["own"]), megabytes(row["all"]), str(row["distributions"])]
        for row in rows
    ]
    header = ["", "own files, MB", "with requirements, MB", "distributions"]
    yield "Installed size\n\n" + table(header, body)


def memory_tables(rows: Sequence[Row], samples: int) -> Iterator[str]:
    body = [
        [KINDS[row["contestant"]].title, megabytes(row["loaded"]), megabytes(row["peak"])]
        for row in rows
    ]
    header = ["", "library and data loaded, MB", "one epoch trained, MB"]
    yield "Peak memory of a process\n\n" + table(header, body)


def profile_tables(rows: Sequence[Row], samples: int) -> Iterator[str]:
    for threads in unique(row["threads"] for row in rows):
        mine = [row for row in rows if row["threads"] == threads]
        body = [[part, *(share(row["parts"], part) for row in mine)] for part in mine[0]["parts"]]
        header = ["batch size", *(str(row["batch_size"]) for row in mine)]
        yield (
            f"Microseconds of a step's parts, {plural(threads, 'thread')} (share of the step)\n\n"
            f"{table(header, body)}"
        )


SECTIONS = {
    "epoch": (measure_epoch, training_tables),
    "networks": (measure_networks, training_tables),
    "data": (measure_data, data_tables),
    "inference": (measure_inference, inference_tables),
    "import": (measure_import, import_tables),
    "size": (measure_size, size_tables),
    "memory": (measure_memory, memory_tables),
    "profile": (measure_profile, profile_tables),
}


def ratio(values: Mapping[str, float], name: str, reference: str = "fnnet") -> str:
    """A value and its ratio to the reference's."""
    if name not in values:
        return "–"
    if reference not in values or name == reference:
        return digits(values[name])
    return f"{digits(values[name])} ({values[name] / values[reference]:.2f})"


def share(parts: Mapping[str, float], part: str) -> str:
    return f"{parts[part]:.0f} ({parts[part] / parts['step']:.0%})"


def able(plan: Plan, section: str) -> list[str]:
    """Contestants of the plan that a section can measure."""
    return [name for name in plan.names if name in ABLE.get(section, KINDS)]


def progress(line: str) -> None:
    """Say what is being measured, where someone is watching."""
    if sys.stderr.isatty():
        print(line, file=sys.stderr)


def machine(plan: Plan) -> str:
    """The processor, the software and the data, in a line."""
    modules = {name: version_of(name) for name in installed(plan)}
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    kernels = os.environ.get("OPENBLAS_CORETYPE")
    versions = [f"{name} {version}" for name, version in modules.items()]
    data = "MNIST" if plan.directory else "synthetic images"
    return (
        f"{processor()}, {plural(os.cpu_count() or 1, 'core')}; "
        f"Python {platform.python_version()}, {', '.join(versions)} "
        f"({blas['name']} {blas['version']} in NumPy"
        f"{f', held to its kernels for {kernels}' if kernels else ''}); {data}; "
        f"medians of {plural(plan.rounds, 'round')}"
    )


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add(
        "--data-dir",
        default=os.environ.get("FNNET_DATA") or None,
        help="folder of MNIST; default: $FNNET_DATA, if set",
    )
    add = parser.group("what is measured")
    add("--contestants", nargs="+", choices=KINDS, metavar="NAME", help=", ".join(KINDS))
    add("--sections", nargs="+", choices=SECTIONS, metavar="NAME", help=", ".join(SECTIONS))
    add("--profile", action="store_const", const=["profile"], dest="sections", help="that alone")
    add = parser.group("how")
    add("--batch-sizes", nargs="+", type=at_least(1), metavar="N")
    add("--threads", nargs="+", type=at_least(1), metavar="N", help="default: all cores, then one")
    add("--rounds", type=at_least(1), metavar="N", help="default: 5")
    add("--quick", action="store_true", help="few images, rounds and batch sizes: a minute")
    add = parser.group("results")
    add("--plot", type=png, default=Path("runs/benchmark.png"), metavar="FILE")
    add("--json", type=Path, metavar="FILE", help="write every number measured")
    add("--from", type=Path, metavar="FILE", dest="source", help="print and draw those of --json")
    return parser.parse_args(argv)


def plan_of(options: argparse.Namespace) -> Plan:
    """What the options ask for, with defaults for what they leave open."""
    quick = options.quick
    available = [name for name, kind in KINDS.items() if version_of(kind.module)]
    missing = [name for name in options.contestants or KINDS if name not in available]
    if missing:
        note = f"not installed: {', '.join(missing)} ({installing('torch scikit-learn jax')})"
        if options.contestants:
            raise ValueError(note)
        print(note, file=sys.stderr)
    load(options.data_dir, 1)
    cores = os.cpu_count() or 1
    return Plan(
        options.contestants or [name for name in available if not (quick and name in SLOW)],
        options.data_dir,
        2_000 if quick else 60_000,
        options.threads or ([cores] if quick or cores == 1 else [cores, 1]),
        options.batch_sizes or ([32, 256] if quick else [32, 64, 128, 256, 512, 1024]),
        options.rounds or (1 if quick else 5),
    )


def sections_of(options: argparse.Namespace, plan: Plan) -> list[str]:
    """The sections asked for, else all that have whom to measure."""
    empty = [section for section in options.sections or SECTIONS if not able(plan, section)]
    if options.sections and empty:
        fit = ", ".join(ABLE[empty[0]])
        names = " ".join(plan.names)
        raise ValueError(f"--sections {empty[0]} measures none of {names}, expected one of {fit}")
    return [section for section in options.sections or SECTIONS if section not in empty]


def measure(plan: Plan, sections: Sequence[str]) -> dict[str, Any]:
    """Every number of these sections, as JSON has them."""
    results: dict[str, Any] = {"machine": machine(plan), "samples": plan.samples}
    for section in sections:
        results[section] = SECTIONS[section][0](plan)
    return results


def report(results: Mapping[str, Any]) -> Iterator[str]:
    """The line about the machine, then the tables."""
    yield results["machine"]
    for section, (_, tables) in SECTIONS.items():
        if section in results:
            yield from tables(results[section], results["samples"])


def read(path: Path) -> dict[str, Any]:
    """What --json wrote."""
    results: dict[str, Any] = json.loads(path.read_text("utf-8"))
    try:
        list(report(results))
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} does not hold what --json writes") from error
    return results


def check_outputs(options: argparse.Namespace, sections: Collection[str]) -> None:
    """Raise now what would keep the outputs of these sections from being written."""
    if "epoch" in sections:
        check_figure(options.plot)
    if options.json:
        check_output(options.json)


def run(options: argparse.Namespace) -> None:
    if options.source:
        results = read(options.source)
        check_outputs(options, results)
    else:
        plan = plan_of(options)
        sections = sections_of(options, plan)
        check_outputs(options, sections)
        results = measure(plan, sections)
    print(*report(results), sep="\n\n")
    if options.json:
        with atomic_write(options.json) as file:
            file.write((json.dumps(results) + "\n").encode())
    if "epoch" in results:
        draw(results["epoch"], options.plot)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    return exit_code("benchmark.py", lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
