"""Train a digit classifier: a checkpoint, its history and its figures in one folder.

    python scripts/train.py --dataset mnist

Without options it trains on the 8x8 digits that come with fnnet. No run replaces another: each has
a folder of its own, runs/DATASET, runs/DATASET-2 and so on, or --out. After Ctrl-C, or to train on
to more epochs, --resume continues the run in --out, or the last one of the data set, bit for bit as
if it had never stopped. Exit codes: 0, 2 for bad usage, 1 for failures, 130 after Ctrl-C.
"""

from __future__ import annotations

if __name__ == "__main__":
    import fnnet_scripts.quiet  # noqa: F401

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
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from fnnet_scripts.options import (
    Parser,
    at_least,
    exit_code,
    explained,
    folder,
    make_folder,
    save_figure,
    terminal_bar,
    uninterrupted,
)
from fnnet_scripts.recipes import (
    AVERAGE,
    RECIPE,
    Averaged,
    add_recipe_options,
    check_recipe,
    composed,
    evaluated,
    fastest_loop,
    first_params,
    first_state,
    is_plain,
    labelled,
    remeasured,
    weighted,
    with_average,
    with_state,
)
from fnnet_scripts.runs import (
    AVERAGED,
    CHECKPOINT,
    RUN,
    SETTINGS,
    add_run_options,
    check_epochs,
    check_settings,
    check_validation,
    claim,
    complete,
    extra_of,
    keep_settings,
    say_unknown,
)

import fnnet
from fnnet.storage.files import atomic_write

Epoch: TypeAlias = fnnet.Epoch[Any]
Checkpoint: TypeAlias = fnnet.Checkpoint[Any]

DEFAULTS: dict[str, Any] = {
    **RUN,
    **RECIPE,
    "dtype": "float32",
    "validation": 0,
}
OTHERS: dict[str, Any] = {"resume": False, "out": None, "figures": None, "quiet": False}
# What every network for classes has; r2 is for numbers.
COLUMNS = [each.name for each in fields(fnnet.Metrics) if each.default is MISSING]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Options as given, completed by those of the run to resume, then by the defaults."""
    parser = Parser(description=__doc__, argument_default=argparse.SUPPRESS)
    add_run_options(parser)
    parser.group("run")("--dtype", choices=("float32", "float64"), help="default: float32")
    add = parser.group("data")
    add("--validation", type=at_least(0), metavar="N", help="samples held out from training")
    add = parser.group("folder")
    add("--figures", type=folder, metavar="DIR", help="folder of the figures; default: the run's")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    add_recipe_options(parser)
    given = vars(parser.parse_args(argv))
    if "resume" in given and "out" not in given:
        given["out"] = last_run(given.get("dataset", DEFAULTS["dataset"]))
    settings = complete(parser, given, DEFAULTS, OTHERS)
    if not (settings.resume or "loop" in given):
        settings.loop = fastest_loop(settings)
    check_recipe(parser, settings)
    return settings


def numbered(dataset: str) -> dict[int, Path]:
    """The default folders that there are, by number."""
    found = {}
    for path in Path("runs").glob(f"{dataset}*"):
        if match := re.fullmatch(rf"{dataset}(?:-(\d+))?", path.name):
            found[int(match[1] or 1)] = path
    return found


def new_folder(dataset: str) -> tuple[Path, list[Path]]:
    """Make the default folder after the last, which no two processes get; and what was made."""
    made = make_folder(Path("runs"))
    for n in itertools.count(1 + max(numbered(dataset), default=0)):
        path = Path("runs", dataset if n == 1 else f"{dataset}-{n}")
        try:
            path.mkdir()
            return path, [path, *made]
        except FileExistsError:
            pass
    raise AssertionError("unreachable")


def last_run(dataset: str) -> Path:
    """The last default folder that holds a run, or the first one if none does."""
    runs = {n: path for n, path in numbered(dataset).items() if (path / SETTINGS).exists()}
    return runs[max(runs)] if runs else Path("runs", dataset)


def run(settings: argparse.Namespace) -> None:
    """Train to the last epoch, saving after each; then measure on the test set and draw."""
    data = fnnet.load_dataset(settings.dataset, settings.data_dir)
    check_validation(settings.validation, len(data.train))
    made: list[Path] = []
    if settings.figures is not None:
        make_folder(settings.figures)
    if settings.out is None:
        settings.out, made = new_folder(settings.dataset)
    with claim(settings.out, settings.resume, made):
        fit(settings, data)


def fit(settings: argparse.Namespace, data: fnnet.Dataset) -> None:
    """The same, once the run's folder is this process's alone."""
    rng = np.random.default_rng(settings.seed)
    train, held_out, split = data.train, data.test, "test"
    if settings.validation:
        train, held_out = fnnet.hold_out(rng, data.train, settings.validation)
        split = "validation"
    if settings.resume and (settings.out / CHECKPOINT).exists():
        checkpoint = resumed(settings, data)
    else:
        checkpoint = started(settings, data, rng)
    write_text(settings.out / "history.csv", table(checkpoint.history, split))
    rng, classes = checkpoint.rng.generator(), len(data.classes)
    steps = {} if is_plain(settings) else composed(settings, rng, len(train), classes)
    train = weighted(settings, train, classes)
    records = fnnet.train(
        with_average(checkpoint) if settings.average else checkpoint.state,
        labelled(settings, train, classes),
        labelled(settings, held_out, classes),
        rng=rng,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        start=checkpoint.epoch,
        **steps,
    )
    if settings.average or settings.output != "softmax":
        records = (remeasured(settings, each, train, held_out, classes) for each in records)
    checkpoints = saved(records, checkpoint, settings, split)
    for last in progress(checkpoints, checkpoint.epoch, settings, split):
        checkpoint = last
    params, history = checkpoint.state.params, checkpoint.history
    if settings.average:
        params = with_average(checkpoint).average
        averaged = with_state(checkpoint, replace(checkpoint.state, params=params))
        fnnet.save_checkpoint(settings.out / AVERAGED, averaged)
    evaluation = evaluated(settings, params, data.test, classes)
    if not settings.quiet:
        print(summary(evaluation, history, len(train)), flush=True)
    drawn = draw(settings.figures or settings.out, data, params, evaluation, history, split)
    if not settings.quiet:
        files = [CHECKPOINT, *([AVERAGED] if settings.average else []), "history.csv", SETTINGS]
        print(f"{settings.out}: {', '.join(files)}; {drawn}")
        print(next_steps(settings))


def next_steps(settings: argparse.Namespace) -> str:
    """Two lines that say what to do with a run."""
    here, python = Path(sys.argv[0]).parent, Path(sys.orig_argv[0]).name
    network = str(settings.out / (AVERAGED if settings.average else CHECKPOINT))

    def command(script: str, *words: str) -> str:
        return shlex.join([python, str(here / script), *words])

    more = ("--resume", "--out", str(settings.out), "--epochs", str(2 * settings.epochs or 1))
    drawing = f"; draw for it: {command('draw.py', network)}"  # reads networks of one class alone
    mnist = f"; MNIST: {command('train.py', '--dataset', 'mnist')}"
    return (
        f"try it on a picture of yours: {command('predict.py', network)} PICTURE"
        f"{drawing if settings.output == 'softmax' else ''}\n"
        f"train on: {command('train.py', *more)}{'' if settings.dataset == 'mnist' else mnist}"
    )


def started(
    settings: argparse.Namespace, data: fnnet.Dataset, rng: np.random.Generator
) -> Checkpoint:
    """A new run, its epoch 0 on the disk, so that there is always one to go on from."""
    sizes = (data.train.x[0].size, *settings.hidden, len(data.classes))
    state = first_state(settings, first_params(settings, rng, sizes, settings.dtype))
    # Before the checkpoint: killed between, a run is resumed from these.
    keep_settings(settings.out, DEFAULTS, settings)
    checkpoint = fnnet.Checkpoint(state, rng, extra=extra_of(settings, data))
    fnnet.save_checkpoint(settings.out / CHECKPOINT, checkpoint)
    return checkpoint


def resumed(settings: argparse.Namespace, data: fnnet.Dataset) -> Checkpoint:
    """The run in --out where it stopped."""
    checkpoint: Checkpoint = fnnet.load_checkpoint(settings.out / CHECKPOINT)
    check_epochs(settings.epochs, checkpoint.epoch)
    say_unknown("train.py", check_settings(settings, checkpoint, DEFAULTS))
    keep_settings(settings.out, DEFAULTS, settings)
    state = replace(checkpoint.state, learning_rate=settings.learning_rate)
    extra = {**checkpoint.extra, **extra_of(settings, data)}
    return fnnet.Checkpoint(state, checkpoint.rng, checkpoint.epoch, checkpoint.history, extra)


def saved(
    records: Iterable[Epoch], checkpoint: Checkpoint, settings: argparse.Namespace, split: str
) -> Iterator[Checkpoint]:
    """Each record as the checkpoint that it became on the disk, until patience ends."""
    out = settings.out
    for record in records:
        history, state, extra = (*checkpoint.history, record.metrics), record.state, {}
        if isinstance(state, Averaged):
            state, extra = state.state, {AVERAGE: fnnet.tree_ravel(state.average)[0]}
        checkpoint = fnnet.Checkpoint(
            state, record.rng, record.metrics.epoch, history, {**checkpoint.extra, **extra}
        )
        fnnet.save_checkpoint(out / CHECKPOINT, checkpoint)
        write_text(out / "history.csv", table(history, split))
        yield checkpoint
        losses = [row.test_loss for row in history]
        if settings.patience and fnnet.stop_early(losses, settings.patience):
            return


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
    writer.writerow([name.replace("test", split) for name in COLUMNS])
    writer.writerows([getattr(row, name) for name in COLUMNS] for row in history)
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
    shape, sample = data.test.x.shape[1:], some_of_each(data.test, params)
    images, labels = data.test.x[sample], np.asarray(data.test.y[sample], np.intp)
    logits = fnnet.forward(params, fnnet.as_inputs(images))
    truth = np.eye(len(data.classes))[labels] if params.output == "sigmoid" else labels
    try:
        with uninterrupted():
            from fnnet import plots

            figures = {"weights": plots.plot_weights(params.layers[0].w, shape)}
            if params.output != "identity":  # its logits are no probabilities
                figures["predictions"] = plots.plot_predictions(
                    images, logits, truth, data.classes, output=params.output
                )
            if evaluation.confusion is not None:
                figures["confusion"] = plots.plot_confusion(evaluation.confusion, data.classes)
            if history:
                figures["curves"] = plots.plot_history(history, split)
    except ImportError as error:
        return explained(error)
    for name, figure in figures.items():
        save_figure(figure, folder / f"{name}.png")
    return f"figures in {folder}"


def some_of_each(test: fnnet.Split, params: fnnet.Params) -> list[int]:
    """Indices of twelve test images: the first ones, but the last four are mistakes if any are."""
    guesses = fnnet.forward(params, fnnet.as_inputs(test)).argmax(axis=1)
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


def how_to_go_on(settings: argparse.Namespace) -> str:
    """What to say after Ctrl-C."""
    resumable = settings.out is not None and (settings.out / SETTINGS).exists()
    advice = f"to go on: {resume_command(settings)}" if resumable else "nothing was begun"
    return f"interrupted; {advice}"


def main(argv: Sequence[str] | None = None) -> int:
    settings = parse(argv)

    def work() -> None:
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # train says where, and stops
                run(settings)
        except fnnet.DivergenceError as error:
            smaller = f"{resume_command(settings)} --learning-rate {settings.learning_rate / 10:g}"
            # An old run keeps its eps.
            advice = "start a new run" if "eps" in error.remedy else smaller
            raise ArithmeticError(f"{error}: {advice}") from error

    return exit_code("train.py", work, lambda: how_to_go_on(settings))


if __name__ == "__main__":
    sys.exit(main())
