"""scripts/measure/page.py: it prints what it measures, and refuses what it does not know."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest

from tests.scripts.shared import load

page = load("page")
FULL = os.environ.get("FNNET_DATA")
with_mnist = pytest.mark.skipif(FULL is None, reason="FNNET_DATA names no folder of MNIST's files")


@with_mnist
def test_pages_and_memory_are_measured_without_a_browser(
    capfd: pytest.CaptureFixture[str],
) -> None:
    few = ["--pages", "2", "--seconds", "1", "--requests", "20", "--digits", "2"]
    assert page.main(["pages", "memory", "--data-dir", str(FULL), *few]) == 0
    many, memory = capfd.readouterr().out.splitlines()
    assert re.match(r"2 pages at once, \d+ answers a second: median [\d.]+ ms, 95th", many)
    assert re.match(r"20 requests: [\d.]+ MB of memory before, [\d.]+ MB after$", memory)


@with_mnist
@pytest.mark.skipif(page.CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
def test_digits_are_replayed_in_a_browser_and_the_page_is_drawn(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("playwright", reason="needs Playwright: pip install -e '.[browser]'")
    image = pytest.importorskip("PIL.Image")
    out = tmp_path / "page.png"
    few = ["digits", "--digits", "2", "--figure", str(out)]
    assert page.main([*few, "--data-dir", str(FULL)]) == 0
    read, times, drawn = capfd.readouterr().out.splitlines()
    assert read == "2 digits replayed with a mouse: 2 read right"
    assert re.match(r"stroke to bars, one page: median [\d.]+ ms, 95th percentile [\d.]+ ms", times)
    assert drawn == f"drawn in {out}"
    with image.open(out) as picture:
        assert picture.size == (1280, 820)


def test_parts_that_there_are_not_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        page.main(["strokes"])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert "PART: must be one of digits, pages, memory, got 'strokes'" in error
    assert error.count("\n") == 1


def test_drawings_grow_point_by_point() -> None:
    two = [np.zeros((2, 2), np.float32), np.ones((3, 2), np.float32)]
    steps = page.growing([two])
    sizes = [[len(stroke) for stroke in next(steps)] for _ in range(6)]
    assert sizes == [[1], [2], [2, 1], [2, 2], [2, 3], [1]]
