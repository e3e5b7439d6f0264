"""scripts/measure/pool_scaling.py: what it measures, and what its model makes of it."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from tests.scripts.shared import load

scaling = load("pool_scaling")


def times(wall: float, hand: float = 0.0, spent: float = 0.0, start: float = 0.5) -> Any:
    return scaling.Times(start, wall, hand, spent)


def test_the_model_counts_what_is_handed_out_and_what_is_done_side_by_side() -> None:
    model = scaling.Model(start=2.0, hand=0.001, extra=0.01)
    assert model.wall(1, 10, 0.09) == pytest.approx(2 + 10 * 0.1)
    assert model.wall(4, 10, 0.09) == pytest.approx(2 + 3 * 0.1)  # the last two wait for nobody
    assert model.limit(0.09) == pytest.approx(100)
    jobs = 1000 * scaling.EACH
    assert model.wall(1000, jobs, 0.09) == pytest.approx(2 + jobs * 0.001)
    share = model.share(1000, 0.09)
    assert share == pytest.approx(scaling.EACH * 0.09 / (2 + jobs * 0.001))


def test_the_constants_are_found_in_the_times_that_were_made_of_them() -> None:
    # 500 jobs of 20 ms: 0.2 ms to hand out, 0.1 ms more in the worker
    found = scaling.fitted(times(5.2, 0.1, 10.15), times(10.0, 10.0, 10.0), 500)
    assert (found.start, found.hand) == pytest.approx((0.5, 0.0002))
    assert found.extra == pytest.approx(0.0001)


def test_the_table_says_what_is_lost_by_clock_and_by_processor() -> None:
    case = {("loop", 1): times(10.0, 10.0, 10.0), ("processes", 2): times(5.5, 0.1, 10.5)}
    text = scaling.costs(case, 500)
    row = [cell.strip() for cell in text.splitlines()[-1].strip("| ").split(" | ")]
    assert row == ["processes, 2", "0.50", "5.50", "1.82", "9.1%", "10.50", "4.8%", "200"]


def test_times_below_the_ticks_of_a_clock_are_said_to_be_unknown() -> None:
    case = {("loop", 1): times(0.1, 0.1, 0.04), ("processes", 2): times(0.1, 0.0, 0.0)}
    row = scaling.costs(case, 6).splitlines()[-1]
    assert [cell.strip() for cell in row.strip("| ").split(" | ")][-3:] == ["0.00", "–", "0.00"]
    model = scaling.fitted(case["processes", 2], case["loop", 1], 6)
    assert model.limit(1.0) == np.inf
    assert "inf workers" in scaling.modelled({"processes": model})


def test_processes_are_measured_and_modelled(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--workers", "2", "--jobs", "6", "--epochs", "1", "--rounds", "1", "--sleepers", "3"]
    assert scaling.main(options) == 0
    printed = capsys.readouterr().out
    rows = re.findall(
        r"^\| (a plain loop|processes, [\d.]+) +\| +[–\d.]+%? ", printed, re.MULTILINE
    )
    assert rows == [
        "a plain loop",
        "processes, 2",
        "processes, 3",
        *(f"processes, {seconds}" for seconds in ("0.0200", "1.00", "60.0")),
    ]


def test_a_case_that_fails_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scaling, "__file__", "/nowhere.py")
        assert scaling.main(["--jobs", "1", "--epochs", "1"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("pool_scaling.py: loop with 1: ")


def test_one_case_is_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert scaling.main(["--one", "loop", "1", "--jobs", "2", "--epochs", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert 0 < found["hand"] < 60
    assert 0 < found["wall"] < 60
