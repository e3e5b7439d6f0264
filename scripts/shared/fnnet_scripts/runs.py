"""The folder of a run: claimed by one process, its settings kept and held to the checkpoint's."""

from __future__ import annotations

import argparse
import json
import os
import stat
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import fnnet
from fnnet.data import datasets
from fnnet.storage.files import atomic_write, open_regular, remove_abandoned_parts
from fnnet_scripts.options import (
    Parser,
    UsageError,
    at_least,
    folder,
    make_folder,
    not_negative,
    one_line,
    seed,
)
from fnnet_scripts.recipes import NUMBERS, RECIPE, optimizers

DATASETS = datasets.NAMES
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
SETTINGS, CHECKPOINT, LOCK = "run.json", "checkpoint.npz", ".lock"
AVERAGED = "averaged.npz"  # a network of averaged parameters, beside the checkpoint to go on from
LONGEST = 2**16  # bytes of a run.json: nested deeper than this, or longer, it is none
IN_EXTRA = ("dataset", "seed", "batch_size", "validation", *RECIPE)  # kept beside a state


def add_run_options(parser: Parser) -> None:
    """The options of `RUN`, --out and --resume."""
    add = parser.group("data")
    names = f"{', '.join(DATASETS)}; default: digits"
    add("--dataset", choices=DATASETS, metavar="NAME", help=names)
    add("--data-dir", type=_absolute, metavar="DIR", help="folder of the data set's four files")
    add = parser.group("run")
    add("--hidden", type=at_least(1), nargs="+", metavar="N", help="widths; default: 128")
    add("--epochs", type=at_least(0), metavar="N", help="default: 30 for digits, else 10")
    add("--batch-size", type=at_least(1), metavar="N", help="default: 32")
    add("--learning-rate", type=not_negative(), metavar="X", help="default: 0.001")
    add("--seed", type=seed, metavar="N", help="default: 0")
    add = parser.group("folder")
    add("--out", type=folder, metavar="DIR", help="the run's folder; see above")
    words = ", ".join(map(flag, MAY_CHANGE))
    add("--resume", action="store_true", help=f"go on; {words} may change")


def _absolute(text: str) -> str:
    return os.path.abspath(os.path.expanduser(text))


def flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def written(value: object) -> str:
    """A value as on a command line."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


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
        settings = {**_kept_settings(parser, settings["out"] / SETTINGS, kept, given), **settings}
    settings = {**kept, **settings}
    if settings["epochs"] is None:
        settings["epochs"] = EPOCHS.get(settings["dataset"], 10)
    return argparse.Namespace(**settings)


def _kept_settings(
    parser: Parser, path: Path, names: Collection[str], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Settings of the run to resume, held to the same rules as those of a command line."""
    saved = _read_settings(parser, path)
    needed = set(names) - set(MAY_CHANGE) - set(RECIPE)  # which runs of 0.1.0 do not have
    if not isinstance(saved, dict) or not needed <= set(saved) <= set(names):
        parser.error(f"--resume: {path} does not have a run's settings")
    words = []
    for option, value in saved.items():
        values = value if isinstance(value, list) else [value]
        if not all(type(each) in (str, int, float) for each in values):
            parser.error(f"--resume: {path}: {option} cannot be {json.dumps(value)[:60]}")
        words += [flag(option), *map(str, values)]
    kept = vars(parser.parse_args(words))
    for option, value in kept.items():
        if option not in MAY_CHANGE and given.get(option, value) != value:
            parser.error(
                f"{flag(option)} is {written(value)} in the run to resume, "
                f"got {written(given[option])}"
            )
    return kept


def _read_settings(parser: Parser, path: Path) -> Any:
    try:
        with open_regular(path) as file:
            text = file.read(LONGEST + 1)
        if len(text) > LONGEST:
            parser.error(f"--resume: {path} is longer than a run's settings are")
        return json.loads(text)
    except OSError as error:
        parser.error(f"--resume: no run to resume in {path.parent} ({error})")
    except ValueError as error:
        parser.error(f"--resume: {path} must be JSON, as train.py wrote it ({error})")
    except RecursionError:
        parser.error(f"--resume: {path} is nested too deep to be a run's settings")


def keep_settings(folder: Path, names: Collection[str], settings: argparse.Namespace) -> None:
    """Write the settings of these names, those that are None left out, for `complete`."""
    chosen = {name: getattr(settings, name) for name in names}
    rest = {name: value for name, value in chosen.items() if value is not None}
    with atomic_write(folder / SETTINGS) as file:
        file.write((json.dumps(rest, indent=1) + "\n").encode())


def extra_of(settings: argparse.Namespace, data: fnnet.Dataset) -> dict[str, Any]:
    """What a checkpoint keeps of a run beside its state: settings, and the names of the classes."""
    kept = {name: getattr(settings, name) for name in IN_EXTRA if hasattr(settings, name)}
    kept["seed"] = str(kept["seed"])  # which may have more digits than other readers of JSON keep
    return {**kept, "classes": list(data.classes)}


def check_settings(
    settings: argparse.Namespace, checkpoint: fnnet.Checkpoint[Any], names: Collection[str]
) -> list[str]:
    """Hold a run's settings to the checkpoint that it goes on from.

    Returns
    -------
    unknown : those that the checkpoint does not hold, since fnnet 0.1.0 wrote it

    Raises
    ------
    UsageError
        If one is another than the checkpoint's: run.json was edited, or is another run's.
    """
    state = checkpoint.state
    found: dict[str, Any] = {**RECIPE, **checkpoint.extra}  # 0.1.0 had no other recipe
    found["hidden"] = [layer.w.shape[-1] for layer in state.params.layers[:-1]]
    found["dtype"] = str(state.params.layers[0].w.dtype)
    found["optimizer"] = {kind: name for name, kind in optimizers().items()}[type(state)]
    found["activation"] = getattr(state.params.activation, "name", state.params.activation)
    found["output"] = state.params.output
    found |= {name: getattr(state, name) for name in NUMBERS if hasattr(state, name)}
    held = [name for name in names if name not in MAY_CHANGE]
    for name in held:
        wanted = getattr(settings, name)
        if name in found and str(found[name]) != str(wanted):
            raise UsageError(
                f"{flag(name)} is {written(wanted)} in {settings.out / SETTINGS} but "
                f"{written(found[name])} in the checkpoint beside it: write "
                f"{written(found[name])} there, or start a new run"
            )
    return [name for name in held if name not in found]


def say_unknown(program: str, names: Collection[str]) -> None:
    """Say which settings could not be compared."""
    if names:
        flags = ", ".join(map(flag, names))
        print(
            f"{program}: the checkpoint is fnnet 0.1.0's and does not hold {flags}: "
            "taken from run.json as they stand",
            file=sys.stderr,
        )


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
def claim(out: Path, resume: bool, made: Collection[Path] = ()) -> Iterator[None]:
    """Hold a run's folder alone while the block runs; it is made if it is not there.

    What killed runs left half written is removed. If the block fails before it has written
    settings, no folder is left that was not there before.

    Parameters
    ----------
    out : the folder
    resume : whether it may hold a run
    made : folders that were made for this run already, the innermost first

    Raises
    ------
    FileExistsError
        If another process trains in the folder, or it holds a run and is not to resume it.
    """
    made = [*make_folder(out), *made]
    try:
        with _locked(out):
            if not resume and ((out / CHECKPOINT).exists() or (out / SETTINGS).exists()):
                raise FileExistsError(
                    f"{out} holds a run: continue it with --resume, or choose another --out"
                )
            for part in (CHECKPOINT, AVERAGED, SETTINGS, "history.csv"):
                remove_abandoned_parts(out / part, -1)
            yield
    finally:
        for each in made:
            with suppress(OSError):  # it is not empty: something was begun
                each.rmdir()


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    path = out / LOCK
    while True:
        file = _lock_file(path)
        try:
            if not _lock(file):
                reason = f"another process trains in {out}: wait for its end, or choose another"
                raise FileExistsError(f"{reason} --out")
            if _is_at(file, path):  # else the one that held it has removed it
                break
        except BaseException:
            file.close()
            raise
        file.close()
    try:
        yield
    finally:
        if os.name == "nt":  # pragma: no cover  # where what is open cannot be removed
            file.close()
        with suppress(OSError):
            path.unlink()
        file.close()


def _lock_file(path: Path) -> IO[bytes]:
    """Open the file that is locked, made if it is absent; links and pipes are not what we made."""
    extra = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        file: IO[bytes] = open(  # noqa: SIM115  # whoever locks it closes it
            path, "a+b", 0, opener=lambda name, flags: os.open(name, flags | extra, 0o666)
        )
    except OSError:
        if path.is_symlink() or path.is_dir():
            raise FileExistsError(f"{path} is no file: remove it") from None
        raise
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise FileExistsError(f"{path} is no file: remove it")
    return file


def _lock(file: IO[bytes]) -> bool:
    """Lock a file that is open, for this process alone, until it is closed; whether that could be.

    A disk that knows no locks gives none, and two runs on it could still meet.
    """
    try:
        import fcntl
    except ImportError:
        return _lock_region(file)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        print(f"{one_line(error)}: a second run here would not be noticed", file=sys.stderr)
    return True


def _lock_region(file: IO[bytes]) -> bool:
    """The same on Windows."""
    try:
        import msvcrt
    except ImportError:
        return True
    try:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    except OSError:
        return False
    return True


def _is_at(file: IO[bytes], path: Path) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    return False
