"""scripts/measure/outgrow.py: three ways through the same images."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.scripts.shared import load

outgrow = load("outgrow")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells RssAnon")
def test_it_measures_three_ways_on_the_file_that_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    images = np.random.default_rng(0).integers(0, 256, (3000, 28, 28), np.uint8)
    np.save(tmp_path / "outgrow-1.npy", images)
    options = ["--gigabytes", "1", "--rows", "1000", "--memory", "1", "--folder", str(tmp_path)]
    assert outgrow.main(options) == 0
    printed, shown = capsys.readouterr()
    assert re.search(r"\b3(/| of )3", shown)  # a terminal sees how far it is
    assert "3,000 images, 1,000 timed" in printed
    rows = re.findall(
        r"^\| (in memory, exact|mapped, exact|mapped, 1 MB) +\| +[\d,.]+ ", printed, 8
    )
    assert len(rows) == 3
