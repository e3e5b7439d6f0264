"""Time what a person waits for: from starting Python to a network with 97.5 % on MNIST's test set.

    python scripts/measure/seconds_to.py --data-dir FOLDER_OF_MNIST

Each library starts a process of its own, imports what it needs, reads the data, prepares or
compiles, and trains 784-128-10 with batches of 128 from the same parameters, until an epoch ends
above the target; all of that counts. The optimizer is RMSProp with learning rate 0.001
(scikit-learn has Adam alone, from a start of its own). The libraries take turns, and the table has
medians. What is not installed is left out.
"""

from __future__ import annotations

if __name__ == "__main__":
    import fnnet_scripts.quiet  # noqa: F401

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from statistics import median

from fnnet_scripts.contestants import KINDS, version_of
from fnnet_scripts.desk import Worker
from fnnet_scripts.options import Parser, at_least, exit_code, not_negative
from fnnet_scripts.wording import dashed, plural, processor, table

SIZES, BATCH_SIZE = (784, 128, 10), 128
NAMES = tuple(name for name in KINDS if name not in ("products", "torch-flushed", "torch-compiled"))


def reached(name: str, settings: argparse.Namespace) -> tuple[float, int]:
    """Seconds from the start of a process to the target, and the epochs that it took.

    Raises
    ------
    RuntimeError
        If the contestant cannot run, or does not get there in the epochs allowed.
    """
    began = time.perf_counter()
    with closing(Worker(name, settings.threads, settings.data_dir)) as worker:
        worker.ask("start", sizes=SIZES, batch_size=BATCH_SIZE)
        best = 0.0
        for epoch in range(1, settings.epochs + 1):
            worker.ask("epoch")
            best = max(best, worker.ask("accuracy"))
            if best >= settings.target:
                return time.perf_counter() - began, epoch
    raise RuntimeError(f"{best:.2%} is the best of {plural(settings.epochs, 'epoch')}")


def run(settings: argparse.Namespace) -> None:
    found: dict[str, list[tuple[float, int]]] = {name: [] for name in settings.contestants}
    for number in range(1, settings.rounds + 1):
        for name in [*found]:
            print(f"round {number}: {KINDS[name].title}", file=sys.stderr)
            try:
                found[name].append(reached(name, settings))
            except RuntimeError as error:
                print(f"{KINDS[name].title}: not measured: {error}", file=sys.stderr)
                del found[name]
    if not found:
        raise ValueError("no contestant got there: give more --epochs, or a lower --target")
    times = {name: median(seconds for seconds, _ in runs) for name, runs in found.items()}
    first = next(iter(times.values()))
    rows = [
        [
            KINDS[name].title,
            f"{times[name]:.2f}",
            f"{times[name] / first:.2f}",
            f"{min(runs)[0]:.2f} to {max(runs)[0]:.2f}",
            "/".join(sorted({str(epochs) for _, epochs in runs})),
        ]
        for name, runs in sorted(found.items(), key=lambda pair: times[pair[0]])
    ]
    print(
        table(["", "seconds", f"times {KINDS[next(iter(times))].title}", "range", "epochs"], rows)
    )
    data = "MNIST" if settings.data_dir else "synthetic images"
    print(
        f"{data}, {dashed(SIZES)}, batches of {BATCH_SIZE}, to {settings.target:.1%}: medians of "
        f"{plural(settings.rounds, 'round')}, {plural(settings.threads, 'thread')}, {processor()}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(description=__doc__)
    add = parser.group("task")
    add("--data-dir", metavar="FOLDER", help="the four files of MNIST; default: synthetic images")
    add("--target", type=not_negative(below=1), default=0.975, metavar="X", help="default: 0.975")
    add = parser.group("measurement")
    add("--threads", type=at_least(1), default=2, metavar="N", help="of each library; default: 2")
    add("--rounds", type=at_least(1), default=5, metavar="N", help="default: 5")
    add("--epochs", type=at_least(1), default=20, metavar="N", help="at most; default: 20")
    there = [name for name in NAMES if version_of(KINDS[name].module)]
    add("--contestants", nargs="+", choices=NAMES, default=there, help=", ".join(NAMES))
    settings = parser.parse_args(argv)
    return exit_code("seconds_to.py", lambda: run(settings))


if __name__ == "__main__":
    sys.exit(main())
