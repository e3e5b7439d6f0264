"""Histories of runs as arrays, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fnnet.checks import FloatArray, instance_of, whole_number
from fnnet.records import Metrics
from fnnet.storage.archives import CheckpointError, only_known

COLUMNS = tuple(each.name for each in fields(Metrics) if each.name != "members")


def table_of(history: Sequence[Metrics]) -> FloatArray:
    """A history as an array: epochs, then the means and each member, then columns."""
    for metrics in history:
        instance_of(Metrics, "history", metrics)
    counts = {len(metrics.members) for metrics in history}
    if len(counts) > 1:
        raise ValueError("history must have as many members in each epoch")
    rows = [[_numbers(row) for row in (metrics, *metrics.members)] for metrics in history]
    return np.array(rows, np.float64).reshape(len(rows), 1 + max(counts, default=0), len(COLUMNS))


def _numbers(metrics: Metrics) -> list[float]:
    values = [getattr(metrics, name) for name in COLUMNS]
    whole_number("history: epoch", metrics.epoch, 0)
    if not all(isinstance(value, int | float) for value in values):
        raise TypeError(f"history must hold numbers, got {metrics!r:.99}")
    return values


def history_of(names: Sequence[str], table: npt.NDArray[np.float64]) -> tuple[Metrics, ...]:
    """The history in such an array.

    Raises
    ------
    CheckpointError
        If it is no history.
    """
    only_known("history", names, COLUMNS)
    if table.ndim != 3 or table.shape[2] != len(names) or (len(table) and not table.shape[1]):
        raise CheckpointError(f"history.npy: expected {len(names)} columns, got {table.shape}")
    if len(table) and not set(COLUMNS[:6]) <= set(names):
        raise CheckpointError(f"history: expected the columns {COLUMNS[:6]}, got {names!s:.99}")
    records = [[dict(zip(names, row, strict=True)) for row in epoch] for epoch in table.tolist()]
    return tuple(replace(row_of(first), members=tuple(map(row_of, r))) for first, *r in records)


def row_of(values: dict[str, Any]) -> Metrics:
    """A row of numbers as metrics; a column that is absent has its default."""
    only_known("history", values, COLUMNS)
    epoch = values["epoch"]
    if not (type(epoch) in (int, float) and epoch == int(epoch)):
        raise CheckpointError(f"history: expected whole numbers of epochs, got {epoch!r:.60}")
    if any(type(value) not in (int, float) for value in values.values()):
        raise CheckpointError("history: expected numbers alone")
    numbers: dict[str, Any] = {name: float(value) for name, value in values.items()}
    return Metrics(**{**numbers, "epoch": int(epoch)})
