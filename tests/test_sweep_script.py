"""scripts/sweep.py: many networks at once, each as it would be alone."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "sweep.py"
SMALL = ("--learning-rates", "0.0001", "0.003", "--seeds", "2", "--hidden", "8", "--epochs", "2")


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def test_networks_trained_at_once_are_those_trained_one_after_another(tmp_path: Path) -> None:
    result = run(tmp_path, *SMALL, "--measure", "--figure", "sweep.png")
    assert result.returncode == 0, result.stderr
    losses = [float(loss) for loss in re.findall(r"validation loss (\S+),", result.stdout)]
    assert len(losses) == 2
    assert losses[1] < losses[0]
    assert "4 networks at once" in result.stdout
    gap = re.search(r"largest difference of a parameter: (\S+)", result.stdout)
    assert gap is not None
    assert float(gap[1]) < 1e-5


@pytest.mark.parametrize(
    "option",
    [
        ("--seeds", "0"),
        ("--epochs", "0"),
        ("--hidden", "0"),
        ("--batch-size", "0"),
        ("--learning-rates", "-1"),
        ("--learning-rates", "nan"),
    ],
)
def test_bad_usage_is_one_line(tmp_path: Path, option: tuple[str, str]) -> None:
    result = run(tmp_path, *option)
    assert result.returncode == 2
    assert result.stderr.startswith(f"sweep.py: argument {option[0]}: must be")
    assert result.stderr.count("\n") == 1


def test_a_rate_that_is_too_large_shows_as_nan_and_spoils_no_other(tmp_path: Path) -> None:
    result = run(tmp_path, *SMALL, "--learning-rates", "0.003", "1e30")
    assert result.returncode == 0, result.stderr
    assert "1e+30: validation loss nan" in result.stdout
    assert re.search(r"0\.003: validation loss \d", result.stdout)
    assert result.stderr == ""
