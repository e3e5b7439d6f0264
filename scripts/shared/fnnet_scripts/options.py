"""What scripts share: command lines, types of options, kept settings, and one line a failure."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from fnnet.storage.files import atomic_write

if TYPE_CHECKING:
    from tqdm import tqdm

DATASETS = ("digits", "mnist", "fashion-mnist", "kmnist")
RUN: dict[str, Any] = {
    "dataset": "digits",
    "data_dir": None,
    "hidden": [128],
    "epochs": None,
    "batch_size": 32,
    "learning_rate": 1e-3,
    "seed": 0,
}  # options that a run keeps, and their defaults
EPOCHS = {"digits": 30}  # of a small data set; 10 of the others
MAY_CHANGE = ("data_dir", "epochs", "learning_rate")  # when a run is resumed


class Parser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` that names the mistake and leaves the usage to --help."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def at_least(bound: int) -> Callable[[str], int]:
    """A type of options: whole numbers from a bound on."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = bound - 1
        if value < bound:
            raise argparse.ArgumentTypeError(f"must be a whole number >= {bound}, got {text!r}")
        return value

    return convert


def not_negative(below: float = math.inf) -> Callable[[str], float]:
    """A type of options: numbers from 0 on, below a bound."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value < below:
            expected = "finite and >= 0" if math.isinf(below) else f">= 0 and < {below:g}"
            raise argparse.ArgumentTypeError(f"must be a number {expected}, got {text!r}")
        return value

    return convert


def png(text: str) -> Path:
    """A type of options: files of figures."""
    if not text.lower().endswith(".png"):
        raise argparse.ArgumentTypeError(f"must be the name of a .png file, got {text!r}")
    return Path(text)


def add_run_options(parser: Parser) -> None:
    """The options of `RUN`, and --resume."""
    add = parser.add_argument
    add("--dataset", choices=DATASETS, help="default: digits")
    add(
        "--data-dir",
        type=os.path.abspath,
        metavar="DIR",
        help="folder of the data set's four files",
    )
    add("--hidden", type=at_least(1), nargs="+", metavar="N", help="widths; default: 128")
    add("--epochs", type=at_least(0), metavar="N", help="default: 30 for digits, else 10")
    add("--batch-size", type=at_least(1), metavar="N", help="default: 32")
    add("--learning-rate", type=not_negative(), metavar="X", help="default: 0.001")
    add("--seed", type=at_least(0), metavar="N", help="default: 0")
    add(
        "--resume",
        action="store_true",
        help="go on; --data-dir, --epochs, --learning-rate may change",
    )


class UsageError(ValueError):
    """What was asked for cannot be done, as the data or the run to resume show."""


def exit_code(name: str, work: Callable[[], object], extra: str = "scripts") -> int:
    """Do a script's work: 0, or 1 after a failure and 2 after bad usage, said in one line, or 130
    after Ctrl-C.

    Parameters
    ----------
    name : the script's
    work : function without arguments
    extra : of fnnet's extras the one that has what the script may miss
    """
    try:
        work()
    except KeyboardInterrupt:
        return 130
    except (OSError, ValueError, ImportError, MemoryError, ArithmeticError) as error:
        advice = f": pip install 'fnnet[{extra}]'" * isinstance(error, ModuleNotFoundError)
        print(f"{name}: {' '.join(str(error).split())}{advice}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return 0


def check_figure(path: Path) -> None:
    """Raise now what would keep a figure from being drawn and written when all work is done."""
    import matplotlib.figure  # noqa: F401

    check_output(path)


def check_output(path: Path) -> None:
    """Make the folder of a file that is to be written, and raise what `atomic_write` would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(_Rehearsed), atomic_write(path):
        raise _Rehearsed


class _Rehearsed(Exception):
    """Ends a writing before anything is written."""


def flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def written(value: object) -> str:
    """A value as on a command line."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def check_epochs(epochs: int, done: int) -> None:
    """Raise where a run that is resumed has done more epochs than are wanted."""
    if epochs < done:
        raise UsageError(
            f"--epochs must be >= {done}, what the run to resume has done, got {epochs}"
        )


def check_validation(held_out: int, samples: int) -> None:
    """Raise where holding out samples would leave none to train on."""
    if held_out >= samples:
        raise UsageError(
            f"--validation must be below the {samples} training images, got {held_out}"
        )


@contextmanager
def terminal_bar(total: int, done: int = 0) -> Iterator[tqdm[Any] | None]:
    """A bar of epochs, on a terminal and where tqdm is installed; closed when the block ends."""
    bar = None
    if sys.stderr.isatty():
        with suppress(ImportError):
            from tqdm import tqdm

            bar = tqdm(total=total, initial=done, unit="epoch", dynamic_ncols=True)
    try:
        yield bar
    finally:  # an error is printed below the bar, not into it
        if bar is not None:
            bar.close()


def keep_settings(path: Path, names: Collection[str], settings: argparse.Namespace) -> None:
    """Write the settings of these names, those that are None left out, for `complete`."""
    chosen = {name: getattr(settings, name) for name in names}
    rest = {name: value for name, value in chosen.items() if value is not None}
    with atomic_write(path) as file:
        file.write((json.dumps(rest, indent=1) + "\n").encode())


def complete(
    parser: Parser, given: dict[str, Any], kept: Mapping[str, Any], others: Mapping[str, Any]
) -> argparse.Namespace:
    """What a command line says, completed by the run to resume, then by defaults.

    Parameters
    ----------
    parser : without defaults; ends the program where what it was given cannot be
    given : options by name; "out", the run's folder, must be one of them or of the others
    kept : names and defaults of the options that `keep_settings` keeps in the folder's run.json
    others : names and defaults of the rest
    """
    settings = {**others, **given}
    if settings["resume"]:
        settings = {**_kept_settings(parser, settings["out"] / "run.json", kept, given), **settings}
    settings = {**kept, **settings}
    if settings["epochs"] is None:
        settings["epochs"] = EPOCHS.get(settings["dataset"], 10)
    return argparse.Namespace(**settings)


def _kept_settings(
    parser: Parser, path: Path, names: Collection[str], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Settings of the run to resume, held to the same rules as those of a command line."""
    try:
        saved = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        parser.error(f"--resume: no run to resume in {path.parent} ({error})")
    if not isinstance(saved, dict) or not set(names) - set(MAY_CHANGE) <= set(saved) <= set(names):
        parser.error(f"--resume: {path} does not have a run's settings")
    words = []
    for option, value in saved.items():
        words += [flag(option), *map(str, value if isinstance(value, list) else [value])]
    kept = vars(parser.parse_args(words))
    for option, value in kept.items():
        if option not in MAY_CHANGE and given.get(option, value) != value:
            parser.error(
                f"{flag(option)} is {written(value)} in the run to resume, "
                f"got {written(given[option])}"
            )
    return kept
