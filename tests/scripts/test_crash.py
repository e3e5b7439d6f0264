"""Killed processes and full disks: a short run of what scripts/prove/crash.py does at length."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import fnnet
from tests.scripts.shared import load, path_of, without_figures

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and limits are POSIX's")

SAVE = """
import os, signal, sys
import numpy as np
import fnnet
replace = os.replace
def killed(a, b):
    if sys.argv[2] == "after":
        replace(a, b)
    os.kill(os.getpid(), signal.SIGKILL)
os.replace = killed
state = fnnet.rmsprop_init(fnnet.init_params(1, (4, 3)))
fnnet.save_checkpoint(sys.argv[1], fnnet.Checkpoint(state, np.random.default_rng(1)))
"""

FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.modules["matplotlib.figure"] = None  # what draws comes after what is tried here
sys.argv[:] = sys.argv[2:]
import os, runpy
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def seed_of(path: Path) -> int:
    """Which of two networks a checkpoint holds."""
    params = fnnet.load_checkpoint(path).state.params
    return [fnnet.tree_equal(params, fnnet.init_params(s, (4, 3))) for s in (0, 1)].index(True)


def test_training_killed_at_random_moments_ends_as_if_it_had_not_been() -> None:
    said = load("crash").kills(2, seed=0, epochs=12)
    assert "each ended with the unbroken run's parameters, history and figures" in said


def test_a_stopped_run_holds_its_folder_and_ends_as_if_it_had_not_been_stopped() -> None:
    assert "each held its folder" in load("crash").stops(1, seed=0, epochs=20)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing disturbed."""
    pytest.importorskip("matplotlib")
    run: Path = tmp_path_factory.mktemp("whole") / "run"
    load("crash").unbroken(run, epochs=3)
    return run


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("history.csv", lambda content: content[:-40], "history.csv"),
        ("history.csv", lambda content: content + content[-60:], "history.csv"),
        ("curves.png", lambda content: content[:-1], "curves.png is not whole"),
        ("checkpoint.npz", lambda content: content[:-1], "not a whole"),
    ],
)
def test_files_that_are_not_whole_are_noticed(
    tmp_path: Path, whole: Path, name: str, damage: Callable[[bytes], bytes], message: str
) -> None:
    crash, run = load("crash"), Path(shutil.copytree(whole, tmp_path / "run"))
    crash.check_same(run, run)
    (run / name).write_bytes(damage((run / name).read_bytes()))
    with pytest.raises(ValueError, match=message):
        crash.check_whole(run)


def test_two_processes_may_download_into_one_folder_at_once() -> None:
    command = [sys.executable, str(path_of("crash")), "races", "--count", "2"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("2 races")


@pytest.mark.parametrize(("moment", "survivor"), [("before", 0), ("after", 1)])
def test_killed_around_the_move_into_place_the_file_is_the_old_or_the_new(
    tmp_path: Path, moment: str, survivor: int
) -> None:
    path = tmp_path / "run.npz"
    state = fnnet.rmsprop_init(fnnet.init_params(0, (4, 3)))
    fnnet.save_checkpoint(path, fnnet.Checkpoint(state, np.random.default_rng(0)))
    killed = subprocess.run([sys.executable, "-c", SAVE, str(path), moment], timeout=300)
    assert killed.returncode == -9
    assert seed_of(path) == survivor


def test_on_a_full_disk_training_stops_with_a_line_and_keeps_its_last_checkpoint(
    tmp_path: Path,
) -> None:
    train = str(path_of("train"))
    options = ["--hidden", "8", "--epochs", "1", "--quiet", "--out", "run"]
    first = [sys.executable, *without_figures("train"), *options]
    subprocess.run(first, cwd=tmp_path, check=True, timeout=300)
    limit = (tmp_path / "run" / "checkpoint.npz").stat().st_size + 500  # room for a few epochs
    more = [train, "--out", "run", "--resume", "--epochs", "500", "--quiet"]
    full = subprocess.run(
        [sys.executable, "-c", FULL, str(limit), *more],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert full.returncode == 1
    assert full.stderr.count("\n") == 1
    assert "File too large" in full.stderr
    checkpoint = fnnet.load_checkpoint(tmp_path / "run" / "checkpoint.npz")
    assert 1 < checkpoint.epoch < 500
    assert not list((tmp_path / "run").glob(".*"))
