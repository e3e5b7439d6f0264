"""Kill training at random moments, and let two processes download into one folder at once.

    python scripts/prove/crash.py kills --count 200
    python scripts/prove/crash.py races --count 50

kills: training runs (scripts/train.py on the embedded digits) are killed with SIGKILL at random
moments and resumed, until they end; each must end with an unbroken run's parameters, bit for bit.
races: two processes load one small data set from a server on this machine into one empty folder;
both must succeed, and leave the published files alone.
"""

from __future__ import annotations

if __name__ == "__main__":
    import fnnet_scripts.quiet  # noqa: F401

import argparse
import hashlib
import multiprocessing
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

import fnnet
from fnnet.data.datasets import Source, load_source
from fnnet.data.download import RemoteFile

TRAIN = Path(__file__).parents[1] / "train.py"
NAMES = ("train-images.gz", "train-labels.gz", "test-images.gz", "test-labels.gz")


class Broken(Exception):
    """What must not happen did."""


def command(folder: Path, epochs: int, resume: bool) -> list[str]:
    options = ["--hidden", "16", "--epochs", str(epochs), "--batch-size", "256", "--quiet"]
    goes_on = ["--resume"] if resume else []
    return [sys.executable, str(TRAIN), *options, "--out", str(folder), *goes_on]


def kills(count: int, seed: int, epochs: int = 200) -> str:
    """Kill training `count` times; what happened, in a line."""
    rng, done, runs = np.random.default_rng(seed), 0, 0
    with tempfile.TemporaryDirectory() as name:
        whole = Path(name, "whole")
        began = time.perf_counter()
        subprocess.run(command(whole, epochs, resume=False), check=True)
        longest = 1.2 * (time.perf_counter() - began)  # that a process may live
        expected = fnnet.load_checkpoint(whole / "checkpoint.npz").state
        while done < count:
            folder = Path(name, str(runs))
            began = time.perf_counter()
            killed = survive(folder, epochs, longest, rng)
            if not killed:  # the machine may be less busy than it was
                longest = 1.2 * (time.perf_counter() - began)
            done += killed
            state = fnnet.load_checkpoint(folder / "checkpoint.npz").state
            for tree in ("params", "mean_squares"):
                if not fnnet.tree_equal(getattr(state, tree), getattr(expected, tree)):
                    raise Broken(f"run {runs} ended with other {tree} than the unbroken run")
            runs += 1
    return f"killed {done} times in {runs} runs; each ended with the unbroken run's parameters"


def survive(folder: Path, epochs: int, longest: float, rng: np.random.Generator) -> int:
    """Run training to its end, killing it on the way; how often it was killed."""
    killed = 0
    while True:
        resume = (folder / "run.json").exists()
        if (folder / "checkpoint.npz").exists():
            fnnet.load_checkpoint(folder / "checkpoint.npz")  # whole, whenever the kill came
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


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("kills", "races"))
    parser.add_argument("--count", type=int, default=10, metavar="N", help="default: 10")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    settings = parser.parse_args(argv)
    try:
        print({"kills": kills, "races": races}[settings.what](settings.count, settings.seed))
    except Broken as error:
        print(f"crash.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
