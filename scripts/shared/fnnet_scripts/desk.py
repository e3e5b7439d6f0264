"""A contestant of the benchmarks in a process of its own, and the questions that it answers.

`measure/benchmark.py` starts ``python desk.py NAME JSON`` and asks for epochs, latencies and
memory, one line of JSON a question.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import fnnet
from fnnet_scripts.contestants import DECAY, EPS, KINDS, RATE, Array, Sizes, load, products


def environment(threads: int) -> dict[str, str]:
    """Environment of a process whose libraries are to use this many threads."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    one = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    return {
        **os.environ,
        **dict.fromkeys(names, str(threads)),
        "XLA_FLAGS": one if threads == 1 else "",
        "JAX_PLATFORMS": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
    }


def pin(threads: int) -> None:
    """Keep this process on as many cores as it may have threads, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def peak_memory() -> int:
    """Largest resident size of this process so far, in bytes."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Desk:
    """A contestant's side of the conversation: each method answers one question."""

    def __init__(self, name: str, directory: str | None, samples: int, data: str) -> None:
        self.make = KINDS[name].make
        self.data = load(directory, samples, data)

    def start(self, sizes: Sizes, batch_size: int) -> None:
        """Take up a new network."""
        self.rng = np.random.default_rng(1)
        self.contestant = self.make(self.data.train, sizes, batch_size)

    def epoch(self) -> float:
        """Seconds that one epoch of training took."""
        began = time.perf_counter()
        state = self.contestant.epoch(self.contestant.state, self.rng)
        seconds = time.perf_counter() - began
        self.contestant = replace(self.contestant, state=state)
        return seconds

    def accuracy(self) -> float | None:
        """Accuracy on the test split, where there are predictions."""
        x = fnnet.as_inputs(self.data.test.x)
        classes = self.contestant.predict(self.contestant.state, x)
        return float(np.mean(classes == self.data.test.y)) if len(classes) else None

    def latency(self, rows: int, repeats: int) -> float:
        """Median seconds from inputs to classes, both NumPy's; of one row as a vector."""
        x = fnnet.as_inputs(self.data.test.x[:rows])
        x = x[0] if rows == 1 else x
        predict, state, seconds = self.contestant.predict, self.contestant.state, []
        for _ in range(repeats + 1):
            began = time.perf_counter()
            predict(state, x)
            seconds.append(time.perf_counter() - began)
        return median(seconds[1:])

    def memory(self) -> int:
        """Largest resident size so far, in bytes."""
        return peak_memory()

    def profile(self, sizes: Sizes, batch_size: int, steps: int) -> dict[str, float]:
        """Where a step's time goes."""
        return profile(self.data.train, sizes, batch_size, steps)


def profile(split: fnnet.Split, sizes: Sizes, batch_size: int, steps: int) -> dict[str, float]:
    """Microseconds of the parts of a training step of fnnet, and of the floors beneath them.

    The calls are timed on a network and a batch of single numbers, where nothing else takes time;
    what the network's functions take beyond products and calls is element-wise arithmetic.
    """
    gather, network, optimizer = _parts(split, sizes, batch_size, steps)
    pixels, labels = np.zeros((len(split), 1), np.uint8), np.zeros(len(split), np.uint8)
    dots = fnnet.Split(pixels, labels, divisor=255)
    calls = _parts(dots, [1] * len(sizes), 1, steps)
    layers, multiply = len(sizes) - 1, products(split, sizes, batch_size)
    forward, backward = (_time(part, steps) for part in (multiply[:layers], multiply[layers:]))
    vector, _ = fnnet.tree_ravel(fnnet.init_params(0, sizes))
    target = np.empty_like(vector)
    return {
        "gather and scale": gather - calls[0],
        "forward products": forward,
        "backward products": backward,
        "element-wise, network": network - forward - backward - calls[1],
        "element-wise, optimizer": optimizer - calls[2],
        "calls": sum(calls),
        "step": gather + network + optimizer,
        "floor: products": forward + backward,
        "floor: one pass over parameters": _time([lambda: np.copyto(target, vector)], steps),
    }


def _parts(split: fnnet.Split, sizes: Sizes, batch_size: int, steps: int) -> list[float]:
    """Median microseconds of a step's three calls: next batch, loss and gradient, update."""
    clock, times = time.perf_counter, []
    state = fnnet.rmsprop_init(fnnet.init_params(0, sizes), RATE, DECAY, EPS)
    stream = _full_batches(split, batch_size)
    for _ in range(steps):
        began = clock()
        x, y = next(stream)
        gathered = clock()
        _, gradient = fnnet.loss_and_grads(state.params, x, y)
        differentiated = clock()
        state = fnnet.rmsprop_update(state, gradient)
        times.append((gathered - began, differentiated - gathered, clock() - differentiated))
    return [1e6 * median(column) for column in zip(*times, strict=True)]


def _full_batches(split: fnnet.Split, batch_size: int) -> Iterator[tuple[Array, Array]]:
    while True:
        for x, y in fnnet.batches(0, split, batch_size):
            if len(x) == batch_size:
                yield x, y


def _time(calls: Sequence[Callable[[], Any]], steps: int) -> float:
    """Median microseconds of making all calls once."""
    times = []
    for _ in range(steps):
        began = time.perf_counter()
        for call in calls:
            call()
        times.append(time.perf_counter() - began)
    return 1e6 * median(times)


class Worker:
    """A contestant's process, as its parent sees it."""

    def __init__(
        self,
        name: str,
        threads: int,
        directory: str | None,
        samples: int = 60_000,
        data: str = "digits",
    ) -> None:
        job = {"threads": threads, "directory": directory, "samples": samples, "data": data}
        self.process = subprocess.Popen(
            [sys.executable, __file__, name, json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(threads),
            text=True,
        )

    def ask(self, question: str, **arguments: Any) -> Any:
        """The answer of a method of `Desk`.

        Raises
        ------
        RuntimeError
            If the contestant cannot answer, with its reason in one line.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps([question, arguments]) + "\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"its process ended with status {self.process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["result"]

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self.process.terminate()
        self.process.communicate()


def main() -> None:
    name, job = sys.argv[1], json.loads(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not be taken for an answer
    pin(job["threads"])
    desk = Desk(name, job["directory"], job["samples"], job["data"])
    for line in sys.stdin:
        question, arguments = json.loads(line)
        try:
            answer = {"result": getattr(desk, question)(**arguments)}
        except Exception as error:  # whatever a library raises is its answer
            answer = {"error": (str(error) or type(error).__name__).splitlines()[0]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
