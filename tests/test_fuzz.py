"""Damaged and forged files: a short run of what scripts/fuzz.py does a million times."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

import fnnet

FUZZ = runpy.run_path(str(Path(__file__).parents[1] / "scripts" / "fuzz.py"))


@pytest.mark.parametrize(("reader", "count"), [("idx", 8000), ("checkpoint", 2000)])
def test_nothing_but_the_documented_error_comes_out(reader: str, count: int) -> None:
    outcomes, grown = FUZZ["fuzz"](reader, count, seed=1)
    assert outcomes["accepted"] > count // 50
    assert outcomes["refused"] > count // 2
    assert grown <= 10 * FUZZ["LIMIT"]


def test_another_error_is_reported_with_the_file_that_raised_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken(path: Path, limit: int) -> Any:
        raise KeyError("oops")

    monkeypatch.setattr(fnnet, "read_idx", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert FUZZ["main"](["idx", "--count", "3"]) == 1
    assert "KeyError('oops') came out; kept as " in capsys.readouterr().err
    (kept,) = tmp_path.glob("fnnet-idx-0-0")
    assert kept.stat().st_size > 0
