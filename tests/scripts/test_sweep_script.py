"""scripts/loops/sweep.py: many networks at once, each as it would be alone."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import fnnet
from tests.scripts.shared import load, path_of

sweep = load("sweep")
SMALL = ("--learning-rates", "0.0001", "0.003", "--seeds", "2", "--hidden", "8", "--epochs", "2")


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(path_of("sweep")), *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


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


def test_a_figure_that_cannot_be_written_is_told_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run(tmp_path, "--figure", "file/sweep.png")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("sweep.py: ")
    assert result.stderr.count("\n") == 1


def test_an_interrupted_sweep_ends_without_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fnnet, "grads", interrupt)
    assert sweep.main([*SMALL, "--figure", str(tmp_path / "sweep.png")]) == 130
    assert capsys.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_ticks_of_the_figure_do_not_overlap_and_the_title_says_what_the_line_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = pytest.importorskip("matplotlib.figure")
    drawn = []
    monkeypatch.setattr(figures.Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    losses = np.array([[0.15, 0.16], [0.2, 0.3], [1.0, 1.9]])
    settings = sweep.parse(["--figure", str(tmp_path / "f.png"), "--learning-rates", *"123"])
    sweep.draw(settings, losses)
    drawn[0].canvas.draw()
    (axes,) = drawn[0].axes
    title = "6 networks trained at once: a dot each, the line the mean of 2 seeds"
    assert axes.get_title(loc="left") == title
    labels = [label for label in axes.get_yticklabels(which="both") if label.get_text()]
    boxes = sorted((label.get_window_extent() for label in labels), key=lambda box: box.y0)
    visible = axes.get_window_extent()
    boxes = [box for box in boxes if visible.y0 <= (box.y0 + box.y1) / 2 <= visible.y1]
    assert len(boxes) >= 3
    assert all(below.y1 < above.y0 for below, above in pairwise(boxes))


def test_a_rate_that_is_too_large_shows_as_nan_and_spoils_no_other(tmp_path: Path) -> None:
    result = run(tmp_path, *SMALL, "--learning-rates", "0.003", "1e30")
    assert result.returncode == 0, result.stderr
    assert "1e+30: validation loss nan" in result.stdout
    assert re.search(r"0\.003: validation loss \d", result.stdout)
    assert result.stderr == ""
