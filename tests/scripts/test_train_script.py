"""scripts/train.py as its user meets it."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from fnnet_scripts import recipes

import fnnet
from tests.scripts.shared import load, path_of, without_figures

SCRIPT = path_of("train")
TINY = ("--hidden", "8", "--batch-size", "256")
FIGURES = ("curves", "predictions", "confusion", "weights")

# What runs in the background of a shell begins with interrupts ignored.
HEED_INTERRUPTS = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""

HOLD = """
import sys
from pathlib import Path
from fnnet_scripts.runs import claim
with claim(Path(sys.argv[1]), resume=True):
    print("held", flush=True)
    sys.stdin.readline()
"""

DIE_AFTER_FILES = """
import os, runpy, signal, sys
sys.argv.pop(0)
left, replace = int(sys.argv.pop(0)), os.replace
def replace_and_die(a, b):
    global left
    replace(a, b)
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = replace_and_die
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, to be run in an empty folder, where Matplotlib is not installed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    train: ModuleType = load("train")
    return train


def code(script: ModuleType, *options: str) -> int:
    """The exit code of a run in this process."""
    try:
        result: int = script.main([*TINY, *options])
    except SystemExit as exit_:
        return int(exit_.code or 0)
    return result


def checkpoint(folder: Path | str) -> fnnet.Checkpoint[fnnet.RMSPropState]:
    return fnnet.load_checkpoint(Path(folder) / "checkpoint.npz", fnnet.RMSPropState)


def is_one_line(text: str) -> bool:
    return text.count("\n") == 1 and "Traceback" not in text


def test_a_run_leaves_a_checkpoint_a_history_and_figures(tmp_path: Path) -> None:
    matplotlib_image = pytest.importorskip("matplotlib.image")
    command = [sys.executable, str(SCRIPT), *TINY, "--epochs", "2", "--figures", "pictures"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert "\r" not in result.stdout + result.stderr
    assert re.search(r"test accuracy \d+\.\d+%.* 2 epochs in .* images/s", result.stdout)
    run = tmp_path / "runs" / "digits"
    assert checkpoint(run).epoch == 2
    rows = list(csv.DictReader((run / "history.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    evaluation = fnnet.evaluate(checkpoint(run).state.params, fnnet.load_digits().test)
    assert float(rows[-1]["test_accuracy"]) == evaluation.accuracy
    assert f"test accuracy {evaluation.accuracy:.2%}" in result.stdout
    assert sorted(path.name for path in run.iterdir()) == [
        "checkpoint.npz",
        "history.csv",
        "run.json",
    ]
    for name in FIGURES:
        image = matplotlib_image.imread(tmp_path / "pictures" / f"{name}.png")
        assert min(image.shape[:2]) > 150
        assert image.shape[1] <= 1260
        assert image[..., :3].std() > 0.01


def test_each_run_has_a_folder_of_its_own(
    script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert code(script, "--epochs", "0", "--quiet") == 0
    assert sorted(path.name for path in Path("runs").iterdir()) == ["digits", "digits-2"]
    before = Path("runs/digits/checkpoint.npz").read_bytes()
    assert code(script, "--epochs", "1", "--out", "runs/digits") == 1
    assert Path("runs/digits/checkpoint.npz").read_bytes() == before
    errors = capsys.readouterr().err
    assert "--resume" in errors
    assert is_one_line(errors)


def test_without_a_folder_the_last_run_is_resumed(script: ModuleType) -> None:
    assert code(script, "--epochs", "0") == code(script, "--epochs", "0") == 0
    Path("runs/digits-3").mkdir()  # holds no run
    assert code(script, "--resume", "--epochs", "1") == 0
    assert [checkpoint(f"runs/{name}").epoch for name in ("digits", "digits-2")] == [0, 1]
    shutil.rmtree("runs/digits")  # neither what follows a gap nor a new run is forgotten
    assert code(script, "--resume", "--epochs", "2") == code(script, "--epochs", "0") == 0
    assert checkpoint("runs/digits-2").epoch == 2
    assert sorted(path.name for path in Path("runs").iterdir()) == [
        f"digits-{n}" for n in (2, 3, 4)
    ]


def test_a_resumed_run_is_an_unbroken_one(script: ModuleType) -> None:
    options = ("--quiet", "--validation", "200", "--seed", "3", "--learning-rate", "0.00123")
    assert code(script, *options, "--epochs", "4", "--out", "whole") == 0
    assert code(script, *options, "--epochs", "2", "--out", "parts") == 0
    assert code(script, "--out", "parts", "--resume", "--epochs", "4", "--quiet") == 0
    whole, parts = checkpoint("whole"), checkpoint("parts")
    assert fnnet.tree_equal(whole.state.params, parts.state.params)
    assert fnnet.tree_equal(whole.state.mean_squares, parts.state.mean_squares)
    assert whole.rng == parts.rng
    assert [row.test_loss for row in whole.history] == [row.test_loss for row in parts.history]


def test_held_out_samples_are_neither_trained_on_nor_called_test(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = []
    evaluate = fnnet.evaluate

    def record(params: fnnet.Params, split: fnnet.Split) -> fnnet.Evaluation:
        measured.append(len(split))
        return evaluate(params, split)

    monkeypatch.setattr("fnnet.training.evaluate", record)
    monkeypatch.setattr(fnnet, "evaluate", record)
    assert code(script, "--epochs", "2", "--validation", "200", "--out", "run") == 0
    assert measured == [1237, 200, 1237, 200, 360]  # the test set once, at the end
    header = Path("run/history.csv").read_text().splitlines()[0]
    assert header == "epoch,train_loss,train_accuracy,validation_loss,validation_accuracy,seconds"
    lines = capsys.readouterr().out.splitlines()
    assert all("validation accuracy" in line and "test" not in line for line in lines[:2])
    assert lines[2].startswith("test accuracy")


def test_resuming_refuses_other_settings_and_other_folders(
    script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code(script, "--epochs", "2", "--out", "run", "--quiet") == 0
    run_json = Path("run/run.json").read_text()
    refused = [
        (("--batch-size", "64"), "--batch-size is 256 in the run to resume, got 64"),
        (("--hidden", "8", "9"), "--hidden is 8 in the run to resume, got 8 9"),
        (("--dtype", "float64"), "--dtype is float32"),
        (("--dataset", "mnist"), "--dataset is digits"),
        (("--seed", "1"), "--seed is 0"),
        (("--validation", "5"), "--validation is 0"),
        (("--epochs", "1"), "--epochs must be >= 2"),
        (("--out", "empty"), "no run to resume in empty"),
    ]
    for options, message in refused:
        assert code(script, "--out", "run", "--resume", *options) == 2
        errors = capsys.readouterr().err
        assert message in errors
        assert is_one_line(errors)
        assert Path("run/run.json").read_text() == run_json
    for damaged in ("[]", "{", run_json.replace("256", '"many"')):
        Path("run/run.json").write_text(damaged)
        assert code(script, "--out", "run", "--resume") == 2
        assert is_one_line(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("optimizer", "sgd", "--optimizer is sgd in run/run.json but rmsprop in the checkpoint"),
        ("hidden", [9], "--hidden is 9 in run/run.json but 8 in the checkpoint"),
        ("decay", 0.5, "--decay is 0.5 in run/run.json but 0.9 in the checkpoint"),
        ("eps", 0.1, "--eps is 0.1 in run/run.json but 1e-08 in the checkpoint"),
        ("dtype", "float64", "--dtype is float64 in run/run.json but float32 in the checkpoint"),
        ("seed", 4, "--seed is 4 in run/run.json but 3 in the checkpoint"),
        ("validation", 9, "--validation is 9 in run/run.json but 200 in the checkpoint"),
        ("activation", "tanh", "--activation is tanh in run/run.json but relu in the checkpoint"),
        ("dropout", 0.5, "--dropout is 0.5 in run/run.json but 0.0 in the checkpoint"),
        ("batch_size", 9, "--batch-size is 9 in run/run.json but 256 in the checkpoint"),
    ],
)
def test_settings_that_were_edited_are_refused(
    script: ModuleType,
    option: str,
    value: object,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ("--epochs", "1", "--out", "run", "--seed", "3", "--validation", "200")
    assert code(script, *options, "--loop", "plain", "--quiet") == 0
    kept = {path.name: path.read_bytes() for path in Path("run").iterdir()}
    settings = json.loads(kept["run.json"])
    Path("run/run.json").write_text(json.dumps({**settings, option: value}))
    kept["run.json"] = Path("run/run.json").read_bytes()
    for more in ((), (f"--{option.replace('_', '-')}", str(value).strip("[]"))):
        assert script.main(["--out", "run", "--resume", *more]) == 2
        errors = capsys.readouterr().err
        assert said in errors
        assert is_one_line(errors)
        assert {path.name: path.read_bytes() for path in Path("run").iterdir()} == kept


def test_what_an_old_checkpoint_does_not_hold_is_said_to_be_taken_from_the_settings(
    script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--epochs", "1", "--out", "run", "--validation", "200", "--loop", "plain")
    assert code(script, *options) == 0
    assert checkpoint("run").extra["classes"] == [*"0123456789"]
    old = checkpoint("run")
    fnnet.save_checkpoint(
        "run/checkpoint.npz", fnnet.Checkpoint(old.state, old.rng, old.epoch, old.history)
    )
    capsys.readouterr()
    assert code(script, "--resume", "--out", "run", "--epochs", "2", "--quiet") == 0
    errors = capsys.readouterr().err
    assert "does not hold --dataset, --batch-size, --seed, --validation: taken from" in errors
    assert is_one_line(errors)
    assert code(script, "--resume", "--out", "run", "--epochs", "3", "--quiet") == 0
    assert capsys.readouterr().err == ""  # the checkpoint of this version holds them


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_in_which_another_process_trains_is_refused(
    script: ModuleType, resume: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--out", "run", "--quiet")
    assert not resume or code(script, *options, "--epochs", "0") == 0
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, "run"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    before = sorted(path.name for path in Path("run").iterdir())
    words = ("--resume",) if resume else TINY
    assert script.main([*words, *options]) == 1
    errors = capsys.readouterr().err
    assert "another process trains in run: wait for its end" in errors
    assert is_one_line(errors)
    assert sorted(path.name for path in Path("run").iterdir()) == before
    process.communicate(b"\n", timeout=300)
    assert process.returncode == 0
    assert script.main([*words, *options, "--epochs", "1"]) == 0
    assert ".lock" not in os.listdir("run")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "folder"])
def test_what_is_no_file_in_the_place_of_the_lock_is_neither_followed_nor_waited_for(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    lock, other = tmp_path / "run" / ".lock", tmp_path / "other"
    lock.parent.mkdir()
    if kind == "pipe":
        os.mkfifo(lock)
    elif kind == "folder":
        lock.mkdir()
    else:
        lock.symlink_to(other)
    if kind == "link":
        other.write_text("precious")
    assert script.main(["--out", str(lock.parent), "--quiet"]) == 1
    assert capsys.readouterr().err == f"train.py: {lock} is no file: remove it\n"
    assert [path.name for path in lock.parent.iterdir()] == [".lock"]
    assert not other.exists() or other.read_text() == "precious"


def test_what_a_killed_run_left_half_written_goes_with_the_next_claim(script: ModuleType) -> None:
    assert code(script, "--epochs", "1", "--out", "run", "--quiet") == 0
    for name in ("checkpoint.npz", "history.csv", "run.json"):
        Path(f"run/.{name}.0123456789abcdef.part").write_bytes(b"half")
    assert code(script, "--resume", "--out", "run", "--epochs", "1", "--quiet") == 0
    assert sorted(os.listdir("run")) == ["checkpoint.npz", "history.csv", "run.json"]


def test_interrupted_before_it_has_settings_a_run_leaves_no_folder(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fnnet, "init_params", interrupt)
    for options in ((), ("--out", "a/b/c")):
        assert code(script, *options) == 130
        assert "nothing was begun" in capsys.readouterr().err
        assert list(Path().iterdir()) == []


def test_a_resumed_run_finds_its_data_from_any_folder(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def load(name: str, directory: str | None) -> fnnet.Dataset:
        asked.append(directory)
        return fnnet.load_digits()

    monkeypatch.setattr(fnnet, "load_dataset", load)
    out = ("--out", str(tmp_path / "run"), "--epochs", "0", "--quiet")
    assert code(script, *out, "--data-dir", "my data") == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    for options in ((), ("--data-dir", "other"), ()):
        assert code(script, "--resume", *out, *options) == 0
    other = str(tmp_path / "elsewhere" / "other")
    assert asked == [str(tmp_path / "my data")] * 2 + [other] * 2


def test_a_run_that_was_given_no_folder_of_data_is_resumed_without_one(script: ModuleType) -> None:
    assert code(script, "--epochs", "0", "--out", "run", "--quiet") == 0
    assert "data_dir" not in Path("run/run.json").read_text()
    assert code(script, "--resume", "--out", "run", "--quiet") == 0


def test_a_diverged_run_goes_on_with_a_smaller_learning_rate(
    script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code(script, "--epochs", "1", "--out", "run", "--learning-rate", "1e30") == 1
    errors = capsys.readouterr().err
    assert "batch 2: the state that you started from" in errors
    assert is_one_line(errors)
    assert "--resume --out run --learning-rate 1e+29" in errors
    smaller = ("--learning-rate", "0.001")
    assert code(script, "--resume", "--out", "run", *smaller) == 0
    assert code(script, "--epochs", "1", "--out", "other", *smaller) == 0
    assert fnnet.tree_equal(checkpoint("run").state.params, checkpoint("other").state.params)


def test_a_division_by_nothing_is_not_answered_with_a_smaller_learning_rate(
    script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code(script, "--epochs", "1", "--out", "run", "--eps", "0") == 1
    assert capsys.readouterr().err.endswith("with eps above 0: start a new run\n")


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
def test_interrupting_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), *TINY, "--epochs", "100000", "--out", "a run"]
    process = subprocess.Popen(
        [sys.executable, "-c", HEED_INTERRUPTS, *command],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while "epoch 3/" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert is_one_line(errors)
    saved = checkpoint(tmp_path / "a run")
    assert saved.epoch >= 3
    advice = re.search(r"to go on: (.*)", errors)
    assert advice is not None
    more = subprocess.run(
        [*shlex.split(advice[1]), "--epochs", str(saved.epoch + 1), "--quiet"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert more.returncode == 0, more.stderr
    assert more.stdout == ""
    assert checkpoint(tmp_path / "a run").epoch == saved.epoch + 1


def test_interrupted_before_its_first_epoch_a_run_can_still_go_on(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fnnet, "train", interrupt)
        assert code(script, "--epochs", "1", "--out", "run", "--figures", "pictures") == 130
    assert "--resume --out run --figures pictures" in capsys.readouterr().err
    assert code(script, "--resume", "--out", "run", "--quiet") == 0
    assert code(script, "--epochs", "1", "--out", "other", "--quiet") == 0
    assert fnnet.tree_equal(checkpoint("run").state.params, checkpoint("other").state.params)
    monkeypatch.setattr(fnnet, "load_dataset", interrupt)
    assert code(script, "--out", "third") == 130
    assert "nothing was begun" in capsys.readouterr().err
    assert not Path("third").exists()


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
@pytest.mark.parametrize("files", [1, 2, 3, 4, 5])
def test_killed_after_any_of_its_first_files_a_run_can_go_on(
    script: ModuleType, files: int
) -> None:
    options = ("--seed", "3", "--validation", "9", "--epochs", "1", "--quiet")
    command = [sys.executable, "-c", DIE_AFTER_FILES, str(files), str(SCRIPT), *TINY, *options]
    assert subprocess.run([*command, "--out", "run"], timeout=300).returncode == -signal.SIGKILL
    assert code(script, "--resume", "--out", "run", "--quiet") == 0
    assert code(script, *options, "--out", "whole") == 0
    assert checkpoint("run").epoch == 1
    assert fnnet.tree_equal(checkpoint("run").state.params, checkpoint("whole").state.params)


@pytest.mark.parametrize(
    "options",
    [
        ("--epochs", "-1"),
        ("--batch-size", "0"),
        ("--learning-rate", "nan"),
        ("--learning-rate", "fast"),
        ("--decay", "1"),
        ("--eps", "inf"),
        ("--hidden", "0"),
        ("--hidden", "1.5"),
        ("--hidden",),
        ("--dataset", "cifar"),
        ("--validation", "1437"),
        ("--nonsense",),
    ],
)
def test_bad_usage_is_one_line_and_exits_with_2(
    script: ModuleType, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    assert code(script, *options) == 2
    errors = capsys.readouterr().err
    assert options[0] in errors
    assert is_one_line(errors)
    assert list(Path().iterdir()) == []


def test_failures_are_one_line_and_exit_with_1(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreachable(*arguments: object) -> None:
        raise fnnet.DownloadError("no mirror\n  answered")

    Path("file").write_text("")
    cases = [
        (("--out", "file/run"), "file"),
        (("--out", "run", "--figures", "file/figures"), "file"),
        (("--hidden", "1000000000000"), "allocate"),
    ]
    for options, message in cases:
        assert code(script, "--epochs", "1", *options) == 1, options
        errors = capsys.readouterr().err
        assert message in errors
        assert is_one_line(errors), errors
    assert [path.name for path in Path().iterdir()] == ["file"]  # nothing half begun
    monkeypatch.setattr(fnnet, "load_dataset", unreachable)
    assert code(script, "--dataset", "mnist") == 1
    assert capsys.readouterr().err == "train.py: no mirror answered\n"


def test_it_trains_on_a_folder_of_idx_files(script: ModuleType) -> None:
    folder = os.environ.get("FNNET_DATA")
    if not folder:
        pytest.skip("FNNET_DATA does not name the folder of MNIST's four files")
    options = ("--dataset", "mnist", "--data-dir", folder, "--epochs", "1", "--quiet")
    assert code(script, *options, "--hidden", "32", "--batch-size", "128", "--out", "run") == 0
    assert checkpoint("run").history[0].test_accuracy > 0.9


def test_without_matplotlib_it_trains_and_says_what_draws(
    script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code(script, "--epochs", "1", "--out", "run") == 0
    assert capsys.readouterr().out.count("pip install matplotlib") == 1
    assert sorted(path.name for path in Path("run").iterdir()) == [
        "checkpoint.npz",
        "history.csv",
        "run.json",
    ]


def test_a_terminal_gets_a_bar_with_loss_and_accuracy(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "160")
    assert code(script, "--epochs", "2", "--out", "run") == 0
    shown = capsys.readouterr()
    assert "2/2" in shown.err
    assert re.search(r"train loss \d.*test loss \d.*test accuracy \d", shown.err)
    assert "epoch 1/2" not in shown.out


# Recipes as options

RECIPE = (
    *("--optimizer", "adam", "--warm-up", "5", "--dropout", "0.2", "--label-smoothing", "0.1"),
    *("--weight-decay", "0.01", "--clip", "1", "--distort", "--activation", "tanh"),
    *("--class-weights", "--hidden", "8", "--batch-size", "200", "--quiet"),
    *("--schedule", "step", "--every", "7", "--factor", "0.5", "--average", "0.9"),
    *("--scheme", "lecun"),
)


def train(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *without_figures("train"), *words]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_recipe_of_options_is_resumed_bit_for_bit(tmp_path: Path) -> None:
    whole, parts = str(tmp_path / "whole"), str(tmp_path / "parts")
    for words in (
        (*RECIPE, "--epochs", "4", "--out", whole),
        (*RECIPE, "--epochs", "2", "--out", parts),
        ("--resume", "--epochs", "4", "--out", parts, "--quiet"),
    ):
        done = train(*words)
        assert done.returncode == 0, done.stderr
    unbroken, resumed = (
        fnnet.load_checkpoint(Path(out) / "checkpoint.npz") for out in (whole, parts)
    )
    assert type(unbroken.state) is fnnet.AdamState
    assert unbroken.state.params.activation == "tanh"
    assert unbroken.extra["dropout"] == 0.2
    assert fnnet.tree_equal(unbroken.state.params, resumed.state.params)
    averages = [fnnet.load_checkpoint(Path(out) / "averaged.npz") for out in (whole, parts)]
    assert fnnet.tree_equal(averages[0].state.params, averages[1].state.params)
    assert not fnnet.tree_equal(averages[0].state.params, unbroken.state.params)


def test_resuming_keeps_every_setting_of_a_recipe(tmp_path: Path) -> None:
    sgd = ("--optimizer", "sgd", "--momentum", "0.8", "--nesterov", "--scheme", "normal")
    others = ("--cosine", "--distort", "smoother", "--validation", "99", "--patience", "7")
    for i, words in enumerate((RECIPE, (*sgd, *others, "--quiet"))):
        out = tmp_path / str(i)
        assert train(*words, "--epochs", "1", "--out", str(out)).returncode == 0
        kept = json.loads((out / "run.json").read_text())
        assert set(recipes.RECIPE) <= set(kept)
        assert train("--resume", "--epochs", "2", "--out", str(out), "--quiet").returncode == 0
        assert json.loads((out / "run.json").read_text()) == {**kept, "epochs": 2}
        extra = fnnet.load_checkpoint(out / "checkpoint.npz").extra
        assert {name: extra[name] for name in recipes.RECIPE} == {
            name: kept[name] for name in recipes.RECIPE
        }


@pytest.mark.parametrize("output", ["sigmoid", "identity"])
def test_another_output_learns_zeros_and_ones_and_is_scored_by_its_largest_logit(
    output: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    words = ("--output", output, "--average", "0.9", "--class-weights", "--learning-rate", "0.01")
    command = [sys.executable, str(SCRIPT), *words, "--epochs", "3", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "draw.py" not in done.stdout
    assert (out / "confusion.png").exists()
    assert (out / "predictions.png").exists() == (output == "sigmoid")
    again = train("--resume", "--epochs", "4", "--out", str(out))
    assert json.loads((out / "run.json").read_text())["output"] == output
    params = fnnet.load_checkpoint(out / "averaged.npz").state.params
    assert params.output == output
    test = fnnet.load_digits().test
    logits = fnnet.forward(params, fnnet.as_inputs(test))
    right = (logits.argmax(axis=1) == test.y).mean()
    assert right > 0.7
    loss = fnnet.loss(params, fnnet.as_inputs(test), np.eye(10, dtype=np.float32)[test.y])
    assert f"test accuracy {right:.2%}, test loss {loss:.4f}; trained 4 epochs" in again.stdout
    assert f"test loss {loss:.4f}, test accuracy {right:.2%}" in again.stdout.splitlines()[0]
    other = train("--resume", "--output", "softmax", "--out", str(out))
    assert (other.returncode, other.stderr.count("\n")) == (2, 1)
    assert f"--output is {output} in the run to resume, got softmax" in other.stderr


def test_the_average_is_that_of_the_parameters_after_each_step(tmp_path: Path) -> None:
    words = ("--hidden", "8", "--batch-size", "256", "--epochs", "2", "--average", "0.8")
    out = tmp_path / "run"
    done = train(*words, "--out", str(out))
    assert done.returncode == 0, done.stderr
    rng, split = np.random.default_rng(0), fnnet.load_digits().train
    state = fnnet.rmsprop_init(fnnet.init_params(rng, (64, 8, 10)))
    steps = []
    for _ in range(2):
        for x, y in fnnet.batches(rng, split, 256):
            state, _ = fnnet.train_step(state, x, y)
            steps.append(fnnet.tree_ravel(state.params)[0].astype(float))
    weights = 0.8 ** np.arange(len(steps))[::-1]  # of an average from zeros, without its bias
    expected = weights @ np.array(steps) / weights.sum()
    averaged = fnnet.load_checkpoint(out / "averaged.npz")
    np.testing.assert_allclose(fnnet.tree_ravel(averaged.state.params)[0], expected, atol=1e-6)
    trained = fnnet.load_checkpoint(out / "checkpoint.npz").state.params
    assert fnnet.tree_equal(trained, state.params)
    evaluation = fnnet.evaluate(averaged.state.params, fnnet.load_digits().test)
    assert averaged.history[-1].test_accuracy == evaluation.accuracy
    assert f"test accuracy {evaluation.accuracy:.2%}, " in done.stdout
    assert f"{shlex.quote(str(out / 'averaged.npz'))} PICTURE" in done.stdout


def test_a_rate_that_falls_in_steps_is_multiplied_at_each(tmp_path: Path) -> None:
    words = ("--schedule", "step", "--every", "6", "--factor", "0", "--batch-size", "256")
    networks = []
    for epochs in ("1", "2"):  # of six steps: in the second epoch the rate is zero
        out = tmp_path / epochs
        done = train(*words, "--hidden", "8", "--epochs", epochs, "--out", str(out), "--quiet")
        assert done.returncode == 0, done.stderr
        networks.append(fnnet.load_checkpoint(out / "checkpoint.npz").state.params)
    assert fnnet.tree_equal(*networks)


def test_flags_of_optimizers_reach_their_states(tmp_path: Path) -> None:
    for words, name in (
        (("--optimizer", "sgd", "--momentum", "0.9", "--nesterov"), "nesterov"),
        (("--centered",), "centered"),
    ):
        out = tmp_path / name
        done = train(*words, "--hidden", "8", "--epochs", "1", "--out", str(out), "--quiet")
        assert done.returncode == 0, done.stderr
        assert getattr(fnnet.load_checkpoint(out / "checkpoint.npz").state, name) is True


def test_a_run_ends_with_two_lines_that_say_what_to_do_next(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *TINY, "--epochs", "1", "--out", "a run"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    use, more = done.stdout.splitlines()[-2:]
    network = "'a run/checkpoint.npz'"
    assert f"{SCRIPT.parent / 'predict.py'} {network} PICTURE" in use
    assert f"{SCRIPT.parent / 'draw.py'} {network}" in use
    on, mnist = more.split("; MNIST: ")
    assert mnist.split()[1:] == [str(SCRIPT), "--dataset", "mnist"]
    words = shlex.split(on.removeprefix("train on: "))[1:]
    again = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert checkpoint(tmp_path / "a run").epoch == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--optimizer", "adam", "--nesterov"), "--nesterov does not go with --optimizer adam"),
        (("--schedule", "step"), "--schedule step and --every STEPS go together"),
        (("--every", "9"), "--schedule step and --every STEPS go together"),
        (("--loop", "ragged", "--average", "0.9"), "takes no --average"),
        (("--optimizer", "sgd", "--beta1", "0.5"), "--beta1 does not go with --optimizer sgd"),
        (("--patience", "2"), "--patience needs --validation"),
        (
            ("--loop", "ragged", "--clip", "1"),
            "--loop ragged makes its own steps and takes no --clip",
        ),
        (("--loop", "ragged", "--distort"), "takes no --distort"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(words: tuple[str, ...], message: str) -> None:
    done = train(*words)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_patience_ends_a_run_that_makes_no_progress(tmp_path: Path) -> None:
    words = ("--learning-rate", "0", "--validation", "300", "--patience", "2", "--epochs", "9")
    out = str(tmp_path / "run")
    done = train(*words, "--out", out, "--quiet")
    assert done.returncode == 0, done.stderr
    assert fnnet.load_checkpoint(Path(out) / "checkpoint.npz").epoch == 3


@pytest.mark.parametrize(
    ("options", "loop"),
    [((), "ragged"), (("--optimizer", "adam"), "ragged"), (("--dropout", "0.1"), "plain")],
)
def test_a_run_takes_the_fastest_loop_that_can_make_its_steps(
    script: ModuleType, options: tuple[str, ...], loop: str
) -> None:
    assert code(script, "--epochs", "1", *options) == 0
    settings = Path("runs/digits/run.json")
    assert json.loads(settings.read_text())["loop"] == loop


def test_a_run_from_before_there_were_loops_goes_on_in_the_plain_one(script: ModuleType) -> None:
    assert code(script, "--epochs", "1", "--loop", "plain") == 0
    settings = Path("runs/digits/run.json")
    kept = json.loads(settings.read_text())
    settings.write_text(json.dumps({k: v for k, v in kept.items() if k != "loop"}))
    assert code(script, "--resume", "--epochs", "2") == 0


def test_the_ragged_loop_learns_as_the_plain_one(tmp_path: Path) -> None:
    losses = []
    for loop in ("plain", "ragged"):
        out = str(tmp_path / loop)
        train("--loop", loop, "--epochs", "5", "--out", out, "--quiet")
        losses.append(fnnet.load_checkpoint(Path(out) / "checkpoint.npz").history[-1].test_loss)
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
