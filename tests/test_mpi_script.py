"""scripts/train_mpi.py: shards without MPI, and whole runs where mpiexec is installed."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fnnet
from fnnet.trees import FloatArray

SCRIPTS = Path(__file__).parents[1] / "scripts"
MPI = runpy.run_path(str(SCRIPTS / "train_mpi.py"))
SCALING = runpy.run_path(str(SCRIPTS / "mpi_scaling.py"))
TINY = ("--hidden", "16", "--batch-size", "100")


def split(n: int = 11) -> fnnet.Split:
    rng = np.random.default_rng(0)
    return fnnet.Split(rng.standard_normal((n, 6)), rng.integers(0, 4, n))


@pytest.mark.parametrize("ranks", [1, 2, 4, 7])
def test_shards_make_up_the_batches(ranks: int) -> None:
    data = split()
    each = [[*MPI["shards"](np.random.default_rng(5), data, 4, i, ranks)] for i in range(ranks)]
    whole = fnnet.batches(np.random.default_rng(5), data, 4, np.float64)
    for (x, y), *parts in zip(whole, *each, strict=True):
        rows = np.concatenate([rows for rows, _ in parts])
        np.testing.assert_array_equal(data.x[rows], x)
        np.testing.assert_array_equal(data.y[rows], y)
        assert sum(share for _, share in parts) == pytest.approx(1)
        sizes = [len(rows) for rows, _ in parts]
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("ranks", "batch_size"), [(4, 8), (4, 11), (4, 3), (3, 1)])
def test_weighted_gradients_of_shards_add_up_to_the_batch_s(ranks: int, batch_size: int) -> None:
    data, params = split(), fnnet.init_params(0, (6, 5, 4), np.float64)
    each = [
        [*MPI["shards"](np.random.default_rng(5), data, batch_size, i, ranks)] for i in range(ranks)
    ]
    whole = fnnet.batches(np.random.default_rng(5), data, batch_size, np.float64)
    for (x, y), *parts in zip(whole, *each, strict=True):
        expected, _ = fnnet.tree_ravel(fnnet.grads(params, x, y))
        vectors = np.full((ranks, expected.size), np.nan)
        for (rows, share), vector in zip(parts, vectors, strict=True):
            MPI["weigh_gradient"](params, data, rows, share, vector)
        np.testing.assert_allclose(vectors.sum(axis=0), expected, rtol=1e-12, atol=1e-15)


def test_ranks_that_differ_by_a_bit_are_told() -> None:
    class Comm:
        def __init__(self, *others: int) -> None:
            self.others = others

        def allgather(self, value: int) -> list[int]:
            return [value, *(value ^ other for other in self.others)]

    state = fnnet.rmsprop_init(fnnet.init_params(0, (3, 2)))
    MPI["check_agreement"](Comm(0, 0), state)
    with pytest.raises(RuntimeError, match="differ between ranks"):
        MPI["check_agreement"](Comm(0, 1), state)


def test_the_model_counts_rounds_and_bytes() -> None:
    network = SCALING["Network"]("", latency=1e-6, bandwidth=1e9)
    assert network.allreduce(1, 1e6) == 0
    assert network.allreduce(2, 1e6) == pytest.approx(2e-6 + 1e-3)
    assert network.allreduce(1024, 1e6) == pytest.approx(20e-6 + 2e-3 * 1023 / 1024)


def modelled(model: Any) -> dict[tuple[int, int, int], dict[str, float]]:
    """Times as they would be if the model were true."""
    return {
        (ranks, threads, batch): {
            "step": model.step(ranks, batch / ranks),
            "allreduce": model.network.allreduce(2, model.size),
            "latency": model.network.allreduce(2, 0),
            "bytes": model.size,
        }
        for ranks, threads, batch in SCALING["RUNS"]
    }


def test_the_model_finds_the_constants_that_times_were_made_of() -> None:
    network = SCALING["Network"]("", latency=2e-6, bandwidth=5e9)
    found = SCALING["fit"](modelled(SCALING["Model"](3e-4, 5e-6, 400_000, network)))
    assert (found.fixed, found.row) == pytest.approx((3e-4, 5e-6))
    assert (found.network.latency, found.network.bandwidth) == pytest.approx((2e-6, 5e9))
    assert found.speed_up(1) == found.efficiency(1) == 1


def test_the_figure_and_the_summary_show_the_model(tmp_path: Path) -> None:
    image = pytest.importorskip("matplotlib.image")
    here = SCALING["Model"](3e-4, 5e-6, 400_000, SCALING["Network"]("slow", 1e-6, 1e9))
    there = SCALING["Model"](3e-4, 5e-6, 400_000, SCALING["Network"]("fast", 0.0, 1e12))
    assert there.speed_up(1024) == pytest.approx(0.04126 / 0.00034, rel=1e-2)
    assert "121 times as fast" in SCALING["summary"](here, there)
    assert "100% of the ideal" in SCALING["summary"](here, there)
    # 0.3 ms fixed, 4,096 rows of 5 µs, 0.402 ms of Allreduce
    assert "| 8192 | 2 x 1 | 21.18 | 1.95 | 2% |" in SCALING["table"](modelled(here))
    SCALING["draw"](modelled(here), (here, there), tmp_path / "scaling.png")
    assert image.imread(tmp_path / "scaling.png")[..., :3].std() > 0.01


@pytest.fixture(scope="session")
def mpiexec() -> None:
    pytest.importorskip("mpi4py", reason="mpi4py is not installed")
    try:
        result = mpirun(2, "--help", folder=Path.cwd())
    except FileNotFoundError as error:
        pytest.skip(str(error))
    if result.returncode:
        pytest.skip(f"mpiexec does not run here: {result.stderr}")


def mpirun(ranks: int, *options: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        SCALING["command"](ranks, *options),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )


def environment() -> dict[str, str]:
    return {**os.environ, **SCALING["ANYWHERE"], "OMP_NUM_THREADS": "1"}


def saved(folder: Path) -> Any:
    return fnnet.load_checkpoint(folder / "runs" / "mpi" / "checkpoint.npz")


def one_process(epochs: int) -> fnnet.RMSPropState:
    data, rng = fnnet.load_digits(), np.random.default_rng(0)
    state = fnnet.rmsprop_init(fnnet.init_params(rng, (64, 16, 10)))
    for _ in range(epochs):
        for x, y in fnnet.batches(rng, data.train, 100):
            state = fnnet.rmsprop_update(state, fnnet.grads(state.params, x, y))
    return state


def gap(a: fnnet.Params, b: fnnet.Params) -> float:
    pairs: list[tuple[FloatArray, FloatArray]] = [
        *zip(fnnet.tree_leaves(a), fnnet.tree_leaves(b), strict=True)
    ]
    return max(float(np.abs(x - y).max()) for x, y in pairs)


@pytest.mark.usefixtures("mpiexec")
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_ranks_train_as_one_process_does(tmp_path: Path, ranks: int) -> None:
    result = mpirun(ranks, *TINY, "--epochs", "1", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("epoch 1/1: loss") == 1  # rank 0 alone prints
    assert gap(saved(tmp_path).state.params, one_process(1).params) < 2e-6
    assert {path.name for path in (tmp_path / "runs" / "mpi").iterdir()} <= {
        "checkpoint.npz",
        "curves.png",
    }


@pytest.mark.usefixtures("mpiexec")
def test_an_error_of_a_rank_ends_the_job_with_a_line(tmp_path: Path) -> None:
    assert mpirun(2, *TINY, "--epochs", "0", folder=tmp_path).returncode == 0
    result = mpirun(2, *TINY, "--epochs", "1", folder=tmp_path)
    assert result.returncode != 0
    assert "train_mpi.py: rank 0 of 2: runs/mpi holds a run" in result.stderr
    assert "--resume" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.usefixtures("mpiexec")
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals are POSIX's")
def test_a_killed_rank_ends_the_job_and_other_ranks_go_on(tmp_path: Path) -> None:
    process = subprocess.Popen(
        SCALING["command"](2, *TINY, "--epochs", "100000"),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    while "epoch 2/" not in process.stdout.readline():
        assert process.poll() is None
    os.kill(ranks_of(process.pid)[-1], signal.SIGKILL)
    said, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "signal 9" in said or "signal: 9" in said or "KILLED" in said
    done = saved(tmp_path).epoch
    more = mpirun(3, *TINY, "--resume", "--epochs", str(done + 1), folder=tmp_path)
    assert more.returncode == 0, more.stderr
    assert saved(tmp_path).epoch == done + 1
    assert [row.epoch for row in saved(tmp_path).history] == [*range(1, done + 2)]
    assert gap(saved(tmp_path).state.params, one_process(done + 1).params) < 1e-4 * (done + 1)


def ranks_of(launcher: int) -> list[int]:
    """Processes of Python that descend from a launcher."""
    table = subprocess.run(
        ["ps", "-e", "-o", "pid=,ppid=,comm="], capture_output=True, text=True, check=True
    )
    rows = [line.split(None, 2) for line in table.stdout.splitlines()]
    family = [launcher]
    for parent in family:
        family += [int(pid) for pid, above, _ in rows if int(above) == parent]
    found = [int(pid) for pid, _, name in rows if int(pid) in family and "python" in name]
    assert len(found) == 2
    return found


@pytest.mark.usefixtures("mpiexec")
def test_measuring_prints_seconds(tmp_path: Path) -> None:
    times = SCALING["time_run"](2, 1, 2000)
    assert times["ranks"] == 2
    assert 0 < times["latency"] < times["step"]
    assert 0 < times["allreduce"] < times["step"]
    assert times["bytes"] == 4 * (784 * 128 + 128 + 128 * 10 + 10)
