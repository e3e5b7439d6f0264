"""Kill and stop training at random moments, and let two processes download into one folder.

    python scripts/prove/crash.py kills --count 200
    python scripts/prove/crash.py stops --count 50
    python scripts/prove/crash.py races --count 50

kills: training runs (scripts/train.py on the embedded digits, with --validation and figures) are
killed with SIGKILL at random moments and resumed, until they end. After each kill the checkpoint,
the CSV and each figure that is there must be whole, and the CSV at most an epoch behind; at the end
parameters and CSV must be an unbroken run's, bit for bit.
stops: a run is stopped (SIGSTOP) at a random moment. A second one in its folder must be refused in
a line and change nothing; the first one, woken, must end as if it had not been stopped.
races: two processes load one small data set from a server on this machine into one empty folder;
both must succeed, and leave the published files alone.
"""

from __future__ import annotations

if __name__ == "__main__":
    import fnnet_scripts.quiet  # noqa: F401

import csv
import hashlib
import multiprocessing
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from fnnet_scripts.options import Parser, at_least, exit_code

import fnnet
from fnnet.data.datasets import Source, load_source
from fnnet.data.download import RemoteFile

TRAIN = Path(__file__).parents[1] / "train.py"
NAMES = ("train-images.gz", "train-labels.gz", "test-images.gz", "test-labels.gz")


FIGURES = ("curves", "predictions", "confusion", "weights")
PNG_ENDS = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"


class Broken(ValueError):
    """What must not happen did."""


def command(folder: Path, epochs: int, resume: bool) -> list[str]:
    options = ["--hidden", "16", "--epochs", str(epochs), "--batch-size", "256", "--quiet"]
    goes_on = ["--resume"] if resume else ["--validation", "100"]
    return [sys.executable, str(TRAIN), *options, "--out", str(folder), *goes_on]


def unbroken(folder: Path, epochs: int) -> float:
    """Run training to its end; seconds in which another run ends, too."""
    began = time.perf_counter()
    subprocess.run(command(folder, epochs, resume=False), check=True)
    return 1.2 * (time.perf_counter() - began)


def kills(count: int, seed: int, epochs: int = 200) -> str:
    """Kill training `count` times; what happened, in a line."""
    rng, done, runs = np.random.default_rng(seed), 0, 0
    with tempfile.TemporaryDirectory() as name:
        whole = Path(name, "whole")
        longest = unbroken(whole, epochs)
        while done < count:
            folder = Path(name, str(runs))
            began = time.perf_counter()
            killed = survive(folder, epochs, longest, rng)
            if not killed:  # the machine may be less busy than it was
                longest = 1.2 * (time.perf_counter() - began)
            done += killed
            check_same(folder, whole)
            runs += 1
    return (
        f"killed {done} times in {runs} runs; "
        "each ended with the unbroken run's parameters, history and figures"
    )


def survive(folder: Path, epochs: int, longest: float, rng: np.random.Generator) -> int:
    """Run training to its end, killing it on the way; how often it was killed."""
    killed = 0
    while True:
        check_whole(folder)
        resume = (folder / "run.json").exists()
        process = subprocess.Popen(
            command(folder, epochs, resume), stderr=subprocess.PIPE, text=True
        )
        try:
            _, errors = process.communicate(timeout=rng.uniform(0, longest))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            killed += 1
            continue
        if process.returncode:
            raise Broken(f"training failed after {killed} kills: {errors}")
        return killed


def check_whole(folder: Path) -> None:
    """Raise where a file of a run is not whole, or the CSV is more than an epoch behind."""
    epoch = 0
    if (folder / "checkpoint.npz").exists():
        epoch = fnnet.load_checkpoint(folder / "checkpoint.npz").epoch
    if (folder / "history.csv").exists():
        last = len(rows(folder))
        if last not in (epoch - 1, epoch):
            raise Broken(f"history.csv has {last} epochs beside a checkpoint of {epoch}")
    for path in folder.glob("*.png"):
        content, (start, end) = path.read_bytes(), PNG_ENDS
        if not (content.startswith(start) and content.endswith(end)):
            raise Broken(f"{path.name} is not whole")


def rows(folder: Path) -> list[dict[str, str]]:
    """A run's CSV without its seconds."""
    with open(folder / "history.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file, strict=True))
    for i, row in enumerate(table, 1):
        whole = None not in row and None not in row.values() and "validation_loss" in row
        if not (whole and row["epoch"] == str(i) and float(row.pop("seconds")) >= 0):
            raise Broken(f"history.csv: line {i + 1} is {row}")
    return table


def check_same(folder: Path, whole: Path) -> None:
    """Raise where a run that has ended is another than the unbroken one."""
    check_whole(folder)
    run, expected = (
        fnnet.load_checkpoint(each / "checkpoint.npz", fnnet.RMSPropState)
        for each in (folder, whole)
    )
    for tree in ("params", "mean_squares"):
        if not fnnet.tree_equal(getattr(run.state, tree), getattr(expected.state, tree)):
            raise Broken(f"run {folder.name} ended with other {tree} than the unbroken run")
    if (run.rng, run.extra) != (expected.rng, expected.extra) or rows(folder) != rows(whole):
        raise Broken(f"run {folder.name} ended with another history than the unbroken run")
    names = [{path.name for path in each.iterdir()} for each in (folder, whole)]
    if names[0] != names[1]:
        raise Broken(f"run {folder.name} left {sorted(names[0])}, expected {sorted(names[1])}")


def stops(count: int, seed: int, epochs: int = 200) -> str:
    """Stop training `count` times, try to resume it meanwhile; what happened, in a line."""
    rng, done = np.random.default_rng(seed), 0
    with tempfile.TemporaryDirectory() as name:
        whole = Path(name, "whole")
        longest = unbroken(whole, epochs)
        for i in range(10 * count):
            folder = Path(name, str(i))
            done += stopped(folder, epochs, rng.uniform(0, longest / 2))
            check_same(folder, whole)
            if done == count:
                return f"stopped {done} runs of {i + 1}; each held its folder and ended as unbroken"
    raise Broken(f"only {done} runs of {10 * count} could be stopped: they end too soon")


def stopped(folder: Path, epochs: int, seconds: float) -> bool:
    """Stop a run once it has begun and so many seconds have passed; whether it had not ended."""
    process = subprocess.Popen(command(folder, epochs, resume=False), stderr=subprocess.PIPE)
    while not (folder / "checkpoint.npz").exists() and process.poll() is None:
        time.sleep(0.001)
    time.sleep(seconds)
    process.send_signal(signal.SIGSTOP)
    alive = process.poll() is None
    if alive:
        before = contents(folder)
        second = subprocess.run(
            command(folder, epochs, resume=True), capture_output=True, text=True, timeout=300
        )
        # Stopped as it ends, it may have let its folder go.
        held = (folder / ".lock").exists()
        if held and (second.returncode != 1 or second.stderr.count("\n") != 1):
            raise Broken(f"a second run ended with {second.returncode}: {second.stderr}")
        if held and contents(folder) != before:
            raise Broken("a second run changed files of a run that is stopped")
    process.send_signal(signal.SIGCONT)
    _, errors = process.communicate()
    if process.returncode:
        raise Broken(f"a stopped run ended with {process.returncode}: {errors.decode()}")
    return alive


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def races(count: int, seed: int) -> str:
    """Let two processes download at once, `count` times; what happened, in a line."""
    with tempfile.TemporaryDirectory() as name:
        source = publish(Path(name, "public"), np.random.default_rng(seed))
        handler = partial(Quiet, directory=str(Path(name, "public")))
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        spawn = multiprocessing.get_context("spawn")
        for i in range(count):
            folder = Path(name, str(i))
            workers = [spawn.Process(target=download, args=(source, folder, url)) for _ in range(2)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            if any(worker.exitcode for worker in workers):
                raise Broken(f"race {i}: a process ended with an error")
            found = {path.name: path.read_bytes() for path in folder.iterdir()}
            if found != {path.name: path.read_bytes() for path in Path(name, "public").iterdir()}:
                raise Broken(f"race {i}: the folder holds {sorted(found)}, or other bytes")
        server.shutdown()
        server.server_close()
    return f"{count} races of two processes; each left the four files, whole, and nothing else"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def publish(folder: Path, rng: np.random.Generator) -> Source:
    """Write a small data set's four files, and say what they must be."""
    folder.mkdir()
    counts, shape, files = (400, 100), (28, 28), []
    for i, name in enumerate(NAMES):
        n = counts[i // 2]
        array = rng.integers(0, 10, n) if i % 2 else rng.integers(0, 256, (n, *shape))
        fnnet.write_idx(folder / name, array.astype(np.uint8))
        content = (folder / name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        files.append(RemoteFile(name, len(content), "sha256", digest))
    a, b, c, d = files
    return Source("race", "Race", (), (a, b, c, d), tuple("0123456789"), counts, shape)


def download(source: Source, folder: Path, url: str) -> None:
    load_source(source, folder, mirrors=[url], cache=folder, progress=False)


KINDS = {"kills": kills, "stops": stops, "races": races}


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("what", choices=KINDS)
    add("--count", type=at_least(1), default=10, metavar="N", help="default: 10")
    add("--seed", type=at_least(0), default=0, metavar="N", help="default: 0")
    settings = parser.parse_args(argv)
    work = KINDS[settings.what]
    return exit_code("crash.py", lambda: print(work(settings.count, settings.seed)))


if __name__ == "__main__":
    sys.exit(main())
