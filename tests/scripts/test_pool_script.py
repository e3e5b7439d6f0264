"""scripts/loops/pool.py: the same results from any pool, and nothing lost with a worker."""

from __future__ import annotations

import csv
import json
import math
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import fnnet
from fnnet.storage.files import part_name
from tests.scripts import items
from tests.scripts.shared import load, path_of

pytest.importorskip("sklearn", reason="scikit-learn, which makes the grid, is not installed")
pool, mpi_scaling = load("pool"), load("mpi_scaling")
from fnnet_scripts import pools, search  # noqa: E402  # after the search for scikit-learn

SMALL = ("--hidden", "8", "6-5", "--epochs", "1", "--seeds", "2", "--members", "2")
RATES = ("--learning-rates", "0.001", "0.01", "1e30")


def environment() -> dict[str, str]:
    folders = os.pathsep.join(filter(None, sys.path))
    return {**os.environ, **mpi_scaling.ANYWHERE, "OMP_NUM_THREADS": "1", "PYTHONPATH": folders}


def command(folder: Path, *options: str) -> list[str]:
    return [sys.executable, str(path_of("pool")), "--out", str(folder), *options]


def run(folder: Path, *options: str, before: tuple[str, ...] = ()) -> str:
    words = [*before, *command(folder, *options)]
    result = subprocess.run(
        words, capture_output=True, text=True, timeout=300, env=environment(), cwd=folder.parent
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def job(**changes: Any) -> Any:
    values: dict[str, Any] = {
        "dataset": "digits",
        "data_dir": None,
        "hidden": (8,),
        "batch_size": 100,
        "optimizer": "rmsprop",
        "epochs": 2,
        "learning_rates": (0.003, 0.01),
        "seeds": (0, 1),
    }
    return search.Job(**{**values, **changes})


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search by one process."""
    folder = tmp_path_factory.mktemp("serial") / "out"
    run(folder, *SMALL, *RATES, "--workers", "1")
    return folder


# --- fit


@pytest.mark.parametrize("optimizer", search.OPTIMIZERS)
def test_fit_gives_each_network_of_a_job_what_it_would_have_alone(optimizer: str) -> None:
    together = search.fit(job(optimizer=optimizer))
    for i in range(2):
        alone = search.fit(
            job(
                optimizer=optimizer,
                learning_rates=(job().learning_rates[i],),
                seeds=(job().seeds[i],),
            )
        )
        assert together.losses[i] == pytest.approx(alone.losses[0], rel=1e-4)
    assert together.losses[0] != together.losses[1]


def test_fit_is_pure_and_can_be_pickled() -> None:
    state: Any = np.random.get_state()  # noqa: NPY002
    before = state[1].copy()
    work = pickle.loads(pickle.dumps(search.fit))
    first, second = work(job()), work(pickle.loads(pickle.dumps(job())))
    assert first == second
    assert first == pickle.loads(pickle.dumps(first))
    state = np.random.get_state()  # noqa: NPY002
    np.testing.assert_array_equal(before, state[1])


def test_a_network_that_diverges_is_a_result_and_costs_the_others_nothing() -> None:
    found = search.fit(job(learning_rates=(0.003, 1e30), optimizer="sgd"))
    alone = search.fit(job(learning_rates=(0.003, 0.003), optimizer="sgd"))
    assert math.isnan(found.losses[1])
    assert math.isnan(found.accuracies[1])
    assert found.losses[0] == alone.losses[0]
    both = search.fit(job(learning_rates=(1e30, 1e30), optimizer="sgd"))
    assert all(map(math.isnan, both.losses))


def test_the_score_is_that_of_the_fifth_that_is_held_out() -> None:
    found = search.fit(job(learning_rates=(0.003,), seeds=(5,)))
    data, rng = fnnet.load_digits(), np.random.default_rng(0)
    train, held_out = fnnet.hold_out(0, data.train, 287)
    state = fnnet.rmsprop_init(fnnet.init_params(5, (64, 8, 10)), 0.003)
    for _ in range(2):
        for x, y in fnnet.batches(rng, train, 100):
            state = fnnet.update(state, fnnet.grads(state.params, x, y))
    expected = fnnet.evaluate(state.params, held_out)
    assert found.losses[0] == pytest.approx(expected.loss, rel=1e-4)
    assert found.accuracies[0] == pytest.approx(expected.accuracy, abs=0.01)


# --- jobs and files


def test_networks_of_one_shape_are_one_job_up_to_a_number() -> None:
    points = [
        {"hidden": h, "batch_size": 32, "optimizer": "sgd", "learning_rate": r}
        for h in ((8,), (9, 9))
        for r in (0.1, 0.2)
    ]
    common = {"dataset": "digits", "data_dir": None, "epochs": 1}
    jobs = search.jobs_of(points, 3, 4, **common)
    assert [(each.hidden, len(each.seeds)) for each in jobs] == [
        ((8,), 4),
        ((8,), 2),
        ((9, 9), 4),
        ((9, 9), 2),
    ]
    assert jobs[0].learning_rates == (0.1, 0.1, 0.1, 0.2)
    assert jobs[0].seeds == (0, 1, 2, 0)
    assert len(search.jobs_of(points, 3, 100, **common)) == 2


def test_a_result_is_read_as_it_was_kept_and_no_other_is_taken_for_it(tmp_path: Path) -> None:
    result = search.Result(job(), (0.1 + 0.2, math.nan), (0.9, math.nan))
    search.keep(tmp_path, result)
    found: Any = search.kept(tmp_path, job(data_dir="elsewhere"))
    assert found.losses[0] == 0.1 + 0.2
    assert math.isnan(found.losses[1])
    json.loads(search.file_of(tmp_path, job()).read_text(), parse_constant=pytest.fail)
    for other in (job(epochs=3), job(hidden=(9,)), job(seeds=(0, 2)), job(batch_size=99)):
        assert search.kept(tmp_path, other) is None
    file = search.file_of(tmp_path, job())
    for text in ("", "{", '{"losses": [1], "accuracies": [1]}', '{"losses": 3, "accuracies": 3}'):
        file.write_text(text)
        assert search.kept(tmp_path, job()) is None


def test_the_best_so_far_is_that_of_all_seeds_which_may_come_later() -> None:
    standing = search.Standing({}, [])
    assert search.best(standing) == "all diverged so far"
    losses = {(8,): (0.1, 0.9), (9,): (0.3, 0.3), (7,): (0.01, math.nan)}
    expected = iter(["0.1000, 8", "0.1000, 8", *3 * ["0.0100, 7"], "0.3000, 9"])
    for seed in (0, 1):
        for hidden, values in losses.items():
            one = job(hidden=hidden, learning_rates=(0.01,), seeds=(seed,))
            search.enter(standing, search.Result(one, (values[seed],), (0.5,)))
            assert search.best(standing).startswith(f"best so far {next(expected)}, batches")


def test_what_a_killed_search_left_half_written_is_removed(tmp_path: Path) -> None:
    search.keep(tmp_path, search.Result(job(), (1.0, 2.0), (0.5, 0.5)))
    (file,) = tmp_path.iterdir()
    part = part_name(file)
    part.write_text("{")
    assert search.kept(tmp_path, job()) is not None
    search.remove_parts(tmp_path)
    assert [*tmp_path.iterdir()] == [file]


# --- pools


def test_every_item_comes_back_once() -> None:
    with pools.processes(2, 1) as workers:
        found = sorted(pools.completed(workers, items.double, range(50)))
        again = sorted(pools.completed(workers, items.double, range(3)))
    assert found == [(i, 2 * i) for i in range(50)]
    assert again == [(i, 2 * i) for i in range(3)]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_worker_that_dies_costs_no_item(tmp_path: Path) -> None:
    with pools.processes(2, 1) as workers:
        work = partial(items.die_once, tmp_path / "marker")
        found = sorted(pools.completed(workers, work, range(30)))
    assert found == [(i, 2 * i) for i in range(30)]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_the_item_that_kills_its_worker_twice_is_left_out_and_no_other() -> None:
    with pools.processes(2, 1) as workers:
        found = dict(pools.completed(workers, items.die_at_seven, range(30)))
    error = found.pop(7)
    assert str(error) == "it killed its worker twice"
    assert found == {i: 2 * i for i in range(30) if i != 7}


def test_an_item_that_fails_is_left_out_and_says_why() -> None:
    with pools.processes(2, 1) as workers:
        found = dict(pools.completed(workers, items.fail_at_seven, range(30)))
    assert isinstance(found[7], ValueError)
    assert str(found.pop(7)) == "no seven"
    assert len(found) == 29


def test_an_error_that_cannot_be_sent_costs_its_item_alone() -> None:
    with pools.processes(2, 1) as workers:
        found = dict(pools.completed(workers, items.fail_awkwardly_at_seven, range(30)))
    assert str(found.pop(7)) == "Awkward: 7: no seven"
    assert found == {i: 2 * i for i in range(30) if i != 7}


class Counting:
    """A pool of one worker, this process, that counts what it is given."""

    def __init__(self) -> None:
        self.chunks: list[int] = []

    @contextmanager
    def __call__(self, alone: bool) -> Iterator[tuple[Any, int]]:
        yield self, 1

    def submit(self, work: Any, *rest: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(work(*rest))
        self.chunks.append(len(rest[-1]))
        return future


def test_short_items_go_several_at_once_and_the_last_ones_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    still = SimpleNamespace(perf_counter=lambda: 0.0, process_time=lambda: 0.0)
    monkeypatch.setattr(pools, "time", still)
    counting = Counting()
    found = list(pools.completed(counting, items.double, range(1000)))
    assert sorted(found) == [(i, 2 * i) for i in range(1000)]
    assert max(counting.chunks) > 50
    assert counting.chunks[0] == counting.chunks[-1] == 1
    assert sum(counting.chunks) == 1000


def test_long_items_that_follow_short_ones_are_not_held_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0

    def slow_from_ten(item: int) -> int:
        nonlocal now
        now += 1.1 if item >= 10 else 0.001
        return item

    # Clocks of our own: what an item takes is what is said here, however busy the machine is.
    clocks = SimpleNamespace(perf_counter=lambda: now, process_time=lambda: 0.0)
    monkeypatch.setattr(pools, "time", clocks)
    counting = Counting()
    found = [item for item, _ in pools.completed(counting, slow_from_ten, range(26))]
    assert sorted(found) == [*range(26)]
    assert max(counting.chunks) > 1
    assert sum(counting.chunks) > 26  # what a worker had no time for came back and was sent again


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_many_items_that_kill_their_workers_are_each_left_out() -> None:
    with pools.processes(2, 1) as workers:
        found = dict(pools.completed(workers, items.die_at_seven, [1, 7, 2, 7, 3]))
        again = dict(pools.completed(workers, items.double, range(3)))
    assert {item for item, result in found.items() if isinstance(result, Exception)} == {7}
    assert {item: result for item, result in found.items() if item != 7} == {1: 2, 2: 4, 3: 6}
    assert again == {0: 0, 1: 2, 2: 4}


def test_workers_have_their_number_of_threads_and_this_process_keeps_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with pools.processes(1, 3) as workers:
        assert dict(pools.completed(workers, items.threads, [0])) == {0: "3"}
    assert "OPENBLAS_NUM_THREADS" not in os.environ
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_in_the_processes_of_others_threadpoolctl_sets_the_threads() -> None:
    pytest.importorskip("threadpoolctl")
    code = (
        "from fnnet_scripts import pools; import numpy, threadpoolctl\n"
        "print(pools.limited(len, 1, 'abc'))\n"
        "print({each['num_threads'] for each in threadpoolctl.threadpool_info()})"
    )
    env = {key: value for key, value in environment().items() if key not in pools.THREADS}
    words = [sys.executable, "-c", code]
    result = subprocess.run(words, env=env, capture_output=True, text=True, timeout=300)
    assert result.stdout.split() == ["3", "{1}"], result.stderr


# --- the script


def test_a_search_ends_with_a_table_a_csv_and_a_figure(serial: Path) -> None:
    with open(serial / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 3 * 2
    assert {row["hidden"] for row in rows} == {"8", "6-5"}
    assert all((row["loss"] == "nan") <= (row["learning_rate"] == "1e+30") for row in rows)
    assert (serial / "search.png").read_bytes().startswith(b"\x89PNG")
    assert len(list((serial / "jobs").iterdir())) == 6


@pytest.mark.parametrize("factor", [1, 1.5, 3, 9, 11, 40, 60, 200, 1e4])
def test_numbers_on_the_axes_of_the_figure_do_not_touch(factor: float) -> None:
    Figure = pytest.importorskip("matplotlib.figure").Figure
    figure = Figure(figsize=(9, 2.6), dpi=150, layout="constrained")
    axes = figure.subplots(1, 4)[3]
    places = [1e-4, 1e-4 * factor]
    axes.plot(places, places)
    pool.scale_by_factors(axes.set_xscale, axes.xaxis, places)
    axes.tick_params(which="both", labelsize=7)
    figure.draw_without_rendering()
    low, high = axes.get_xlim()
    shown = [tick for tick in axes.xaxis.get_major_ticks() if low <= tick.get_loc() <= high]
    boxes = [tick.label1.get_window_extent() for tick in shown]
    assert all(a.x1 < b.x0 for a, b in pairwise(sorted(boxes, key=lambda box: box.x0)))
    assert sorted(["64-32", "8", "128", "64"], key=pool.sorting_key)[0] == "8"


def test_two_processes_give_the_bits_of_one(serial: Path, tmp_path: Path) -> None:
    text = run(tmp_path / "out", *SMALL, *RATES, "--workers", "2")
    assert text.startswith("6 jobs, 0 done before\n1/6 ")
    assert "best so far" in text
    assert same(tmp_path / "out", serial)


def same(one: Path, other: Path) -> bool:
    """Whether two searches have the same results, and the same files of jobs."""
    names = sorted(path.name for path in (one / "jobs").iterdir())
    assert names == sorted(path.name for path in (other / "jobs").iterdir())
    return all(
        (one / name).read_bytes() == (other / name).read_bytes()
        for name in ("results.csv", *(f"jobs/{name}" for name in names))
    )


def test_a_search_that_was_killed_does_what_is_missing_alone(serial: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with started(command(folder, *SMALL, *RATES, "--workers", "1")) as process:
        assert process.stdout is not None
        while not (line := process.stdout.readline()).startswith("2/6"):
            assert line, "it ended before its second result"
        process.kill()
    done = len(list(folder.glob("jobs/*.json")))
    assert done >= 1
    marks = {path: path.stat().st_mtime_ns for path in folder.glob("jobs/*.json")}
    assert run(folder, *SMALL, *RATES, "--workers", "1").startswith(f"6 jobs, {done} done before\n")
    assert all(path.stat().st_mtime_ns == mark for path, mark in marks.items())
    assert same(folder, serial)


@contextmanager
def started(words: list[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment())
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def dask_cluster(folder: Path) -> Iterator[tuple[str, list[subprocess.Popen[str]]]]:
    """A scheduler and two workers, processes on the loopback: its address, and the workers."""
    file = str(folder / "scheduler.json")
    cli = [sys.executable, "-m", "distributed.cli.dask_"]
    scheduler = [*cli[:2], f"{cli[2]}scheduler", "--host", "127.0.0.1", "--port", "0"]
    scheduler += ["--no-dashboard", "--scheduler-file", file]
    worker = [*cli[:2], f"{cli[2]}worker", "--scheduler-file", file, "--nthreads", "1"]
    worker += ["--no-nanny", "--no-dashboard", "--local-directory", str(folder)]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = [subprocess.Popen(scheduler, env=environment(), text=True, **quiet)]
    try:
        for _ in range(600):
            if Path(file).exists():
                break
            time.sleep(0.1)
        address = json.loads(Path(file).read_text())["address"]
        processes += [
            subprocess.Popen(worker, env=environment(), text=True, **quiet) for _ in range(2)
        ]
        yield address, processes[1:]
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()


def test_dask_gives_the_same_bits_with_a_worker_killed_in_the_middle(
    serial: Path, tmp_path: Path
) -> None:
    pytest.importorskip("distributed")
    folder = tmp_path / "out"
    with dask_cluster(tmp_path) as (address, workers):
        words = command(folder, *SMALL, *RATES, "--pool", "dask", address)
        with started(words) as process:
            assert process.stdout is not None
            while not (line := process.stdout.readline()).startswith("1/6"):
                assert line, "it ended before its first result"
            workers[0].kill()
            rest = process.stdout.read()
            assert process.wait(120) == 0, rest
    assert "6/6" in rest
    assert same(folder, serial)


def test_a_dask_cluster_is_started_where_no_address_is_given(serial: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    run(tmp_path / "out", *SMALL, *RATES, "--pool", "dask", "--workers", "2")
    assert same(tmp_path / "out", serial)


def test_mpi_gives_the_same_bits(serial: Path, tmp_path: Path) -> None:
    pytest.importorskip("mpi4py", reason="mpi4py is not installed")
    try:
        launcher = mpi_scaling.command(3)[0]
    except FileNotFoundError as error:
        pytest.skip(str(error))
    before = (launcher, "-n", "3")
    run(tmp_path / "out", *SMALL, *RATES, "--pool", "mpi", before=before)
    assert same(tmp_path / "out", serial)


def test_a_second_search_in_a_folder_is_refused_while_the_first_one_runs(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    words = [*SMALL, *RATES, "--epochs", "1000000", "--workers", "1"]  # until it is killed
    with started(command(folder, *words)) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "6 jobs, 0 done before\n"
        second = subprocess.run(
            command(folder, *words), capture_output=True, text=True, timeout=300, env=environment()
        )
        assert first.poll() is None
    assert second.returncode == 1
    assert second.stderr.startswith(f"pool.py: another process trains in {folder}: wait for its")
    assert second.stderr.count("\n") == 1


def test_optuna_gives_the_same_whoever_is_faster(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    rates = ("--learning-rates", "1e-4", "1e-1")
    options = (*SMALL, *rates, "--search", "optuna", "--trials", "5", "--round", "2")
    for name, workers in (("one", "1"), ("two", "2")):
        run(tmp_path / name, *options, "--workers", workers)
    assert same(tmp_path / "one", tmp_path / "two")


def test_a_random_search_draws_rates_from_the_whole_range(tmp_path: Path) -> None:
    options = ("--search", "random", "--trials", "4", "--learning-rates", "1e-4", "1e-2")
    run(tmp_path / "out", *SMALL, *options, "--workers", "1")
    with open(tmp_path / "out" / "results.csv", newline="") as file:
        rates = {float(row["learning_rate"]) for row in csv.DictReader(file)}
    assert len(rates) == 4
    assert all(1e-4 < rate < 1e-2 for rate in rates)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--pool", "threads"), "--pool must be processes, dask, dask ADDRESS or mpi, got threads"),
        (("--pool", "mpi", "x"), "--pool must be processes, dask, dask ADDRESS or mpi, got mpi x"),
        (("--hidden", "3-0"), "argument --hidden: must be a whole number >= 1, got '0'"),
        (("--learning-rates", "-1"), "argument --learning-rates: must be a number finite and"),
    ],
)
def test_bad_usage_is_one_line(
    options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        pool.parse(options)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_jobs_that_are_left_out_are_named_and_the_rest_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def most(workers: Any, work: Any, jobs: list[Any]) -> Iterator[tuple[Any, Any]]:
        for each in jobs:
            bad = each.hidden == (6, 5)
            yield each, RuntimeError("it killed its worker twice") if bad else search.fit(each)

    monkeypatch.setattr(search, "completed", most)
    options = ["--out", str(tmp_path), *SMALL, "--learning-rates", "0.01", "--workers", "1"]
    assert pool.main(options) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("pool.py: left out 6-5, batches of 32, rmsprop, 2 networks")
    assert printed.err.endswith("it killed its worker twice\n")
    assert len(list(tmp_path.glob("jobs/*.json"))) == 1
    assert (tmp_path / "results.csv").read_text().count("\n") == 3
