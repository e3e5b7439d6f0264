"""scripts/train.py as its user meets it."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fnnet

SCRIPT = Path(__file__).parents[1] / "scripts" / "train.py"
TINY = ("--hidden", "8", "--batch-size", "256")


def train(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def checkpoint(folder: Path) -> fnnet.Checkpoint[fnnet.RMSPropState]:
    return fnnet.load_checkpoint(folder / "checkpoint.npz")


def is_one_line(text: str) -> bool:
    return text.count("\n") == 1 and "Traceback" not in text


def test_a_run_leaves_a_checkpoint_a_history_and_figures(tmp_path: Path) -> None:
    matplotlib_image = pytest.importorskip("matplotlib.image")
    result = train(tmp_path, *TINY, "--epochs", "2")
    assert result.returncode == 0, result.stderr
    assert "\r" not in result.stdout + result.stderr
    assert re.search(r"test accuracy \d+\.\d+%.* 2 epochs in .* images/s", result.stdout)
    run = tmp_path / "runs" / "digits"
    assert checkpoint(run).epoch == 2
    rows = list(csv.DictReader((run / "history.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    evaluation = fnnet.evaluate(checkpoint(run).state.params, fnnet.load_digits().test)
    assert float(rows[-1]["test_accuracy"]) == evaluation.accuracy
    for name in ("curves", "predictions", "confusion", "weights"):
        image = matplotlib_image.imread(run / f"{name}.png")
        assert min(image.shape[:2]) > 50
        assert image[..., :3].std() > 0.01


def test_each_run_has_a_folder_of_its_own(tmp_path: Path) -> None:
    for _ in range(2):
        assert train(tmp_path, *TINY, "--epochs", "0", "--quiet").returncode == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["digits", "digits-2"]
    again = train(tmp_path, *TINY, "--epochs", "0", "--out", "runs/digits")
    assert again.returncode == 1
    assert "--resume" in again.stderr
    assert is_one_line(again.stderr)


def test_a_resumed_run_is_an_unbroken_one(tmp_path: Path) -> None:
    options = (*TINY, "--quiet", "--validation", "200", "--seed", "3")
    assert train(tmp_path, *options, "--epochs", "4", "--out", "whole").returncode == 0
    assert train(tmp_path, *options, "--epochs", "2", "--out", "parts").returncode == 0
    more = train(tmp_path, "--out", "parts", "--resume", "--epochs", "4", "--quiet")
    assert more.returncode == 0, more.stderr
    whole, parts = checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "parts")
    assert fnnet.tree_equal(whole.state.params, parts.state.params)
    assert fnnet.tree_equal(whole.state.mean_squares, parts.state.mean_squares)
    assert [row.train_loss for row in whole.history] == [row.train_loss for row in parts.history]
    header = (tmp_path / "parts" / "history.csv").read_text().splitlines()[0]
    assert "validation_accuracy" in header
    assert "test_accuracy" not in header


def test_resuming_refuses_other_settings_and_other_folders(tmp_path: Path) -> None:
    assert train(tmp_path, *TINY, "--epochs", "1", "--out", "run", "--quiet").returncode == 0
    other = train(tmp_path, "--out", "run", "--resume", "--batch-size", "64")
    assert other.returncode == 2
    assert "--batch-size is 256 in the run to resume, got 64" in other.stderr
    none = train(tmp_path, "--out", "empty", "--resume")
    assert none.returncode == 2
    assert "no run to resume in empty" in none.stderr
    (tmp_path / "run" / "run.json").write_text("[]")
    damaged = train(tmp_path, "--out", "run", "--resume")
    assert damaged.returncode == 2
    assert "does not have a run's settings" in damaged.stderr


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
def test_interrupting_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), *TINY, "--epochs", "100000", "--out", "run"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while "epoch 3/" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    saved = checkpoint(tmp_path / "run")
    assert saved.epoch >= 3
    advice = re.search(r"to go on: (python .*)", errors)
    assert advice is not None
    options = advice[1].split()[2:]
    more = train(tmp_path, *options, "--epochs", str(saved.epoch + 1), "--quiet")
    assert more.returncode == 0, more.stderr
    assert checkpoint(tmp_path / "run").epoch == saved.epoch + 1


@pytest.mark.parametrize(
    "options",
    [
        ("--epochs", "-1"),
        ("--batch-size", "0"),
        ("--learning-rate", "nan"),
        ("--decay", "1"),
        ("--hidden", "0"),
        ("--dataset", "cifar"),
        ("--nonsense",),
    ],
)
def test_bad_usage_exits_with_2(tmp_path: Path, options: tuple[str, ...]) -> None:
    result = train(tmp_path, *options)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_failures_exit_with_1_and_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cases = [
        (("--out", "file/run"), "file"),
        (("--validation", "1437"), "n must be below"),
        (("--learning-rate", "1e30", "--out", "diverged"), "batch 2: the state after epoch 0"),
    ]
    for options, message in cases:
        result = train(tmp_path, *TINY, "--epochs", "1", *options)
        assert result.returncode == 1, options
        assert message in result.stderr
        assert is_one_line(result.stderr), result.stderr


def test_it_trains_on_a_folder_of_idx_files(tmp_path: Path) -> None:
    folder = os.environ.get("FNNET_DATA")
    if not folder:
        pytest.skip("FNNET_DATA does not name the folder of MNIST's four files")
    options = ("--dataset", "mnist", "--data-dir", folder, "--epochs", "1", "--out", "run")
    result = train(tmp_path, "--hidden", "32", "--batch-size", "128", *options)
    assert result.returncode == 0, result.stderr
    assert checkpoint(tmp_path / "run").history[0].test_accuracy > 0.9


def test_without_matplotlib_it_trains_and_says_what_draws(tmp_path: Path) -> None:
    (tmp_path / "matplotlib").mkdir()
    (tmp_path / "matplotlib" / "__init__.py").write_text("raise ImportError('none here')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, str(SCRIPT), *TINY, "--epochs", "1", "--out", "run"]
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert "pip install 'fnnet[scripts]'" in result.stdout
    assert np.isfinite(checkpoint(tmp_path / "run").history[0].train_loss)
    shutil.rmtree(tmp_path / "run")
