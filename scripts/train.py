"""Train a digit classifier: a checkpoint, its history and its figures in one folder.

Without options it trains on the 8x8 digits that come with fnnet. Each run has a folder of its own;
a run that was interrupted goes on with --resume, bit for bit as if it had never stopped.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

import fnnet
from fnnet.files import atomic_write

if TYPE_CHECKING:
    from tqdm import tqdm

Epoch: TypeAlias = fnnet.Epoch[fnnet.RMSPropState]
Checkpoint: TypeAlias = fnnet.Checkpoint[fnnet.RMSPropState]

DATASETS = ("digits", "mnist", "fashion-mnist", "kmnist")
DEFAULTS: dict[str, Any] = {
    "dataset": "digits",
    "hidden": [128],
    "epochs": None,
    "batch_size": 32,
    "learning_rate": 1e-3,
    "decay": 0.9,
    "eps": 1e-8,
    "seed": 0,
    "dtype": "float32",
    "validation": 0,
}
EPOCHS = {"digits": 30}  # of a small data set; 10 of the others


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Options as given, completed by those of the run to resume, then by the defaults."""
    parser = argparse.ArgumentParser(description=__doc__, argument_default=argparse.SUPPRESS)
    add = parser.add_argument
    add("--dataset", choices=DATASETS, help="default: digits")
    add("--data-dir", metavar="DIR", help="folder of the data set's four files")
    add("--hidden", type=at_least(1), nargs="+", metavar="N", help="widths; default: 128")
    add("--epochs", type=at_least(0), metavar="N", help="default: 30 for digits, else 10")
    add("--batch-size", type=at_least(1), metavar="N", help="default: 32")
    add("--learning-rate", type=number(), metavar="X", help="default: 0.001")
    add("--decay", type=number(below=1), metavar="X", help="of RMSProp's mean squares; 0.9")
    add("--eps", type=number(), metavar="X", help="beside RMSProp's root; default: 1e-8")
    add("--seed", type=at_least(0), metavar="N", help="default: 0")
    add("--dtype", choices=("float32", "float64"), help="default: float32")
    add("--validation", type=at_least(0), metavar="N", help="samples held out from training")
    add("--resume", action="store_true", help="go on with the run in --out")
    add("--out", metavar="DIR", help="the run's folder; default: a new one, runs/DATASET[-N]")
    add("--figures", metavar="DIR", help="folder of the figures; default: the run's")
    add("--quiet", action="store_true", help="print nothing but errors")
    given = vars(parser.parse_args(argv))
    resume = given.pop("resume", False)
    name = given.get("dataset", DEFAULTS["dataset"])
    out = Path(given.pop("out", None) or default_folder(name, resume))
    saved = saved_settings(parser, out) if resume else {}
    for option, value in saved.items():
        if option != "epochs" and given.get(option, value) != value:
            parser.error(
                f"--{option.replace('_', '-')} is {value} in the run to resume, got {given[option]}"
            )
    settings = argparse.Namespace(**{**DEFAULTS, **saved, **given})
    if settings.epochs is None:
        settings.epochs = EPOCHS.get(settings.dataset, 10)
    settings.resume, settings.out = resume, out
    settings.data_dir = getattr(settings, "data_dir", None)
    settings.figures = Path(getattr(settings, "figures", out))
    settings.quiet = getattr(settings, "quiet", False)
    return settings


def at_least(bound: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if int(text) < bound:
            raise argparse.ArgumentTypeError(f"must be >= {bound}, got {text}")
        return int(text)

    return convert


def number(below: float = math.inf) -> Callable[[str], float]:
    def convert(text: str) -> float:
        if not 0 <= float(text) < below:
            raise argparse.ArgumentTypeError(f"must lie in [0, {below}), got {text}")
        return float(text)

    return convert


def default_folder(name: str, resume: bool) -> Path:
    """runs/NAME, runs/NAME-2, ...: the first that is free, or the last that is not."""
    last = None
    for i in range(1, sys.maxsize):
        folder = Path("runs", name if i == 1 else f"{name}-{i}")
        if not (folder / "checkpoint.npz").exists():
            return last or folder if resume else folder
        last = folder
    raise AssertionError("unreachable")


def saved_settings(parser: argparse.ArgumentParser, out: Path) -> dict[str, Any]:
    try:
        saved = json.loads((out / "run.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        parser.error(f"--resume: no run to resume in {out} ({error})")
    if not isinstance(saved, dict) or set(saved) != set(DEFAULTS):
        parser.error(f"--resume: {out / 'run.json'} does not have a run's settings")
    return saved


def start(settings: argparse.Namespace, sizes: Sequence[int], rng: np.random.Generator) -> None:
    """Write a checkpoint of epoch 0, so that there is always one to go on from."""
    if (settings.out / "checkpoint.npz").exists():
        raise FileExistsError(
            f"{settings.out} holds a run: continue it with --resume, or choose another --out"
        )
    state = fnnet.rmsprop_init(
        fnnet.init_params(rng, sizes, settings.dtype),
        settings.learning_rate,
        settings.decay,
        settings.eps,
    )
    settings.out.mkdir(parents=True, exist_ok=True)
    fnnet.save_checkpoint(settings.out / "checkpoint.npz", fnnet.Checkpoint(state, rng))


def run(settings: argparse.Namespace) -> None:
    """Train to the last epoch, saving after each; then measure on the test set and draw."""
    path = settings.out / "checkpoint.npz"
    data = fnnet.load_dataset(settings.dataset, settings.data_dir)
    rng = np.random.default_rng(settings.seed)
    train, held_out = data.train, data.test
    if settings.validation:
        train, held_out = fnnet.hold_out(rng, data.train, settings.validation)
    if not settings.resume:
        start(settings, (data.train.x[0].size, *settings.hidden, len(data.classes)), rng)
    checkpoint = fnnet.load_checkpoint(path)
    chosen = json.dumps({name: getattr(settings, name) for name in DEFAULTS}, indent=1)
    write_text(settings.out / "run.json", chosen + "\n")
    records = fnnet.train(
        checkpoint.state,
        train,
        held_out,
        rng=checkpoint.rng,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        start=checkpoint.epoch,
    )
    split = "validation" if settings.validation else "test"
    checkpoints = saved(records, checkpoint, settings.out, split)
    for last in progress(checkpoints, checkpoint.epoch, settings, split):
        checkpoint = last
    history = checkpoint.history
    params = checkpoint.state.params
    evaluation = fnnet.evaluate(params, data.test)
    drawn = draw(settings, data, params, evaluation, history, split)
    if not settings.quiet:
        print(summary(evaluation, history, len(train)))
        print(f"{path}, history.csv and run.json; {drawn}")


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
    bar = None if settings.quiet else terminal_bar(settings.epochs, done)
    for checkpoint in checkpoints:
        row = checkpoint.history[-1]
        text = (
            f"loss {row.train_loss:.4f}, {split} loss {row.test_loss:.4f}, "
            f"{split} accuracy {row.test_accuracy:.2%}"
        )
        if bar is not None:
            bar.set_postfix_str(text, refresh=False)
            bar.update()
        elif not settings.quiet:
            print(f"epoch {row.epoch}/{settings.epochs}: {text}", flush=True)
        yield checkpoint
    if bar is not None:
        bar.close()


def terminal_bar(total: int, done: int) -> tqdm[Any] | None:
    if not sys.stderr.isatty():
        return None
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm(total=total, initial=done, unit="epoch")


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
        f"{len(history)} epochs in {seconds:.1f} s{rate}"
    )


def draw(
    settings: argparse.Namespace,
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
    settings.figures.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        with atomic_write(settings.figures / f"{name}.png") as file:
            figure.savefig(file, format="png")
    return f"figures in {settings.figures}"


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
    data = [] if settings.data_dir is None else ["--data-dir", settings.data_dir]
    return shlex.join(["python", sys.argv[0], *data, "--out", str(settings.out), "--resume"])


def main(argv: Sequence[str] | None = None) -> int:
    settings = parse(argv)
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # train says where, and stops
            run(settings)
    except KeyboardInterrupt:
        if (settings.out / "run.json").exists():
            print(f"\ninterrupted; to go on: {resume_command(settings)}", file=sys.stderr)
        return 130
    except fnnet.DivergenceError as error:
        print(f"train.py: {error}; it is in {settings.out}/checkpoint.npz", file=sys.stderr)
        return 1
    except (OSError, ValueError, MemoryError) as error:
        print(f"train.py: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
