"""Train a digit classifier: a checkpoint, its history and its figures in one folder.

Without options it trains on the 8x8 digits that come with fnnet. No run replaces another: each has
a folder of its own, runs/DATASET, runs/DATASET-2 and so on, or --out. After Ctrl-C, or to train on
to more epochs, --resume continues the run in --out, or the last one of the data set, bit for bit as
if it had never stopped. Exit codes: 0, 2 for bad usage, 1 for failures, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import math
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import astuple, fields, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from fnnet_scripts.options import (
    RUN,
    Parser,
    UsageError,
    add_run_options,
    at_least,
    check_epochs,
    check_validation,
    complete,
    keep_settings,
    not_negative,
    terminal_bar,
)

import fnnet
from fnnet.storage.files import atomic_write

Epoch: TypeAlias = fnnet.Epoch[fnnet.RMSPropState]
Checkpoint: TypeAlias = fnnet.Checkpoint[fnnet.RMSPropState]

DEFAULTS: dict[str, Any] = {
    **RUN,
    "decay": 0.9,
    "eps": 1e-8,
    "dtype": "float32",
    "validation": 0,
}
OTHERS: dict[str, Any] = {"resume": False, "out": None, "figures": None, "quiet": False}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Options as given, completed by those of the run to resume, then by the defaults."""
    parser = Parser(description=__doc__, argument_default=argparse.SUPPRESS)
    add_run_options(parser)
    add = parser.add_argument
    add("--decay", type=not_negative(below=1), metavar="X", help="of RMSProp's mean squares; 0.9")
    add("--eps", type=not_negative(), metavar="X", help="beside RMSProp's root; default: 1e-8")
    add("--dtype", choices=("float32", "float64"), help="default: float32")
    add("--validation", type=at_least(0), metavar="N", help="samples held out from training")
    add("--out", type=Path, metavar="DIR", help="the run's folder; default: a new one, see above")
    add("--figures", type=Path, metavar="DIR", help="folder of the figures; default: the run's")
    add("--quiet", action="store_true", help="print nothing but errors")
    given = vars(parser.parse_args(argv))
    if "resume" in given and "out" not in given:
        given["out"] = last_run(given.get("dataset", DEFAULTS["dataset"]))
    return complete(parser, given, DEFAULTS, OTHERS)


def numbered(dataset: str) -> dict[int, Path]:
    """The default folders that there are, by number."""
    found = {}
    for folder in Path("runs").glob(f"{dataset}*"):
        if match := re.fullmatch(rf"{dataset}(?:-(\d+))?", folder.name):
            found[int(match[1] or 1)] = folder
    return found


def new_folder(dataset: str) -> Path:
    """Make the default folder after the last; no two processes get the same."""
    for n in itertools.count(1 + max(numbered(dataset), default=0)):
        folder = Path("runs", dataset if n == 1 else f"{dataset}-{n}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            pass
    raise AssertionError("unreachable")


def last_run(dataset: str) -> Path:
    """The last default folder that holds a run, or the first one if none does."""
    runs = {n: path for n, path in numbered(dataset).items() if (path / "run.json").exists()}
    return runs[max(runs)] if runs else Path("runs", dataset)


def run(settings: argparse.Namespace) -> None:
    """Train to the last epoch, saving after each; then measure on the test set and draw."""
    data = fnnet.load_dataset(settings.dataset, settings.data_dir)
    rng = np.random.default_rng(settings.seed)
    train, held_out, split = data.train, data.test, "test"
    check_validation(settings.validation, len(data.train))
    if settings.validation:
        train, held_out = fnnet.hold_out(rng, data.train, settings.validation)
        split = "validation"
    if settings.figures is not None:
        settings.figures.mkdir(parents=True, exist_ok=True)
    if settings.resume and (settings.out / "checkpoint.npz").exists():
        checkpoint = resumed(settings)
    else:
        sizes = (data.train.x[0].size, *settings.hidden, len(data.classes))
        checkpoint = started(settings, sizes, rng)
    write_text(settings.out / "history.csv", table(checkpoint.history, split))
    records = fnnet.train(
        checkpoint.state,
        train,
        held_out,
        rng=checkpoint.rng,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        start=checkpoint.epoch,
    )
    checkpoints = saved(records, checkpoint, settings.out, split)
    for last in progress(checkpoints, checkpoint.epoch, settings, split):
        checkpoint = last
    params, history = checkpoint.state.params, checkpoint.history
    evaluation = fnnet.evaluate(params, data.test)
    if not settings.quiet:
        print(summary(evaluation, history, len(train)), flush=True)
    drawn = draw(settings.figures or settings.out, data, params, evaluation, history, split)
    if not settings.quiet:
        print(f"{settings.out}: checkpoint.npz, history.csv, run.json; {drawn}")


def started(
    settings: argparse.Namespace, sizes: Sequence[int], rng: np.random.Generator
) -> Checkpoint:
    """A new run, its epoch 0 on the disk, so that there is always one to go on from."""
    state = fnnet.rmsprop_init(
        fnnet.init_params(rng, sizes, settings.dtype),
        settings.learning_rate,
        settings.decay,
        settings.eps,
    )
    settings.out = settings.out or new_folder(settings.dataset)
    if (settings.out / "checkpoint.npz").exists():
        raise FileExistsError(
            f"{settings.out} holds a run: continue it with --resume, or choose another --out"
        )
    settings.out.mkdir(parents=True, exist_ok=True)
    # Before the checkpoint: killed between, a run is resumed from these.
    keep_settings(settings.out / "run.json", DEFAULTS, settings)
    checkpoint = fnnet.Checkpoint(state, rng)
    fnnet.save_checkpoint(settings.out / "checkpoint.npz", checkpoint)
    return checkpoint


def resumed(settings: argparse.Namespace) -> Checkpoint:
    """The run in --out where it stopped."""
    checkpoint = fnnet.load_checkpoint(settings.out / "checkpoint.npz", fnnet.RMSPropState)
    check_epochs(settings.epochs, checkpoint.epoch)
    keep_settings(settings.out / "run.json", DEFAULTS, settings)
    state = replace(checkpoint.state, learning_rate=settings.learning_rate)
    return replace(checkpoint, state=state)


def saved(
    records: Iterable[Epoch], checkpoint: Checkpoint, out: Path, split: str
) -> Iterator[Checkpoint]:
    """Each record as the checkpoint that it became on the disk."""
    for record in records:
        history = (*checkpoint.history, record.metrics)
        checkpoint = fnnet.Checkpoint(record.state, checkpoint.rng, record.metrics.epoch, history)
        fnnet.save_checkpoint(out / "checkpoint.npz", checkpoint)
        write_text(out / "history.csv", table(history, split))
        yield checkpoint


def progress(
    checkpoints: Iterable[Checkpoint], done: int, settings: argparse.Namespace, split: str
) -> Iterator[Checkpoint]:
    """The checkpoints, shown as they come: a bar on a terminal, a line each elsewhere."""
    with nullcontext() if settings.quiet else terminal_bar(settings.epochs, done) as bar:
        for checkpoint in checkpoints:
            row = checkpoint.history[-1]
            text = (
                f"train loss {row.train_loss:.4f}, {split} loss {row.test_loss:.4f}, "
                f"{split} accuracy {row.test_accuracy:.2%}"
            )
            if bar is not None:
                bar.set_postfix_str(text, refresh=False)
                bar.update()
            elif not settings.quiet:
                print(f"epoch {row.epoch}/{settings.epochs}: {text}", flush=True)
            yield checkpoint


def table(history: Sequence[fnnet.Metrics], split: str) -> str:
    """The history as CSV, each column named after the split that it was measured on."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [field.name for field in fields(fnnet.Metrics)]
    writer.writerow([name.replace("test", split) for name in names])
    writer.writerows(astuple(row) for row in history)
    return text.getvalue()


def summary(evaluation: fnnet.Evaluation, history: Sequence[fnnet.Metrics], samples: int) -> str:
    seconds = math.fsum(row.seconds for row in history)
    rate = f", {samples * len(history) / seconds:,.0f} images/s" if seconds else ""
    return (
        f"test accuracy {evaluation.accuracy:.2%}, test loss {evaluation.loss:.4f}; "
        f"trained {len(history)} epochs in {seconds:.1f} s{rate}"
    )


def draw(
    folder: Path,
    data: fnnet.Dataset,
    params: fnnet.Params,
    evaluation: fnnet.Evaluation,
    history: Sequence[fnnet.Metrics],
    split: str,
) -> str:
    """Write the figures; say where they are, or what they need."""
    try:
        from fnnet import plots

        shape = data.test.x.shape[1:]
        sample = some_of_each(data.test, params)
        logits = fnnet.forward(params, fnnet.as_inputs(data.test.x[sample]))
        figures = {
            "predictions": plots.plot_predictions(
                data.test.x[sample], logits, np.asarray(data.test.y[sample], np.intp), data.classes
            ),
            "confusion": plots.plot_confusion(evaluation.confusion, data.classes),
            "weights": plots.plot_weights(params.layers[0].w, shape),
        }
        if history:
            figures["curves"] = plots.plot_history(history, split)
    except ImportError as error:
        return str(error)
    for name, figure in figures.items():
        with atomic_write(folder / f"{name}.png") as file:
            figure.savefig(file, format="png")
    return f"figures in {folder}"


def some_of_each(test: fnnet.Split, params: fnnet.Params) -> list[int]:
    """Indices of twelve test images: the first ones, but the last four are mistakes if any are."""
    guesses = fnnet.predict(params, fnnet.as_inputs(test.x))
    right, wrong = np.flatnonzero(guesses == test.y), np.flatnonzero(guesses != test.y)
    mistakes = wrong[:4].tolist()
    return [*right[: 12 - len(mistakes)].tolist(), *mistakes]


def write_text(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text.encode("utf-8"))


def resume_command(settings: argparse.Namespace) -> str:
    words = [sys.orig_argv[0], sys.argv[0], "--resume", "--out", str(settings.out)]
    if settings.figures is not None:
        words += ["--figures", str(settings.figures)]
    return shlex.join([*words, "--quiet"] if settings.quiet else words)


def main(argv: Sequence[str] | None = None) -> int:
    settings = parse(argv)
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # train says where, and stops
            run(settings)
    except KeyboardInterrupt:
        resumable = settings.out is not None and (settings.out / "run.json").exists()
        advice = f"to go on: {resume_command(settings)}" if resumable else "nothing was begun"
        print(f"interrupted; {advice}", file=sys.stderr)
        return 130
    except fnnet.DivergenceError as error:
        smaller = f"{resume_command(settings)} --learning-rate {settings.learning_rate / 10:g}"
        advice = "start a new run" if "eps" in error.remedy else smaller  # an old one keeps its eps
        print(f"train.py: {error}: {advice}", file=sys.stderr)
        return 1
    except UsageError as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2
    except (OSError, ValueError, MemoryError) as error:
        print(f"train.py: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
