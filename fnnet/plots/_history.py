"""Curves of a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fnnet.checks import instance_of, is_number
from fnnet.plots._drawing import (
    BLUE,
    INK,
    PALE,
    WIDTH,
    need_matplotlib,
    sheet,
    tidy,
    written,
)
from fnnet.records import Epoch, Metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fnnet.plots._figure import Figure


def plot_history(history: Iterable[Metrics | Epoch[Any]], held_out: str = "test") -> Figure:
    """Loss and accuracy after each epoch, on the training data and on the other split.

    For a network that predicts numbers the coefficient of determination R² stands in the place of
    the accuracy; where it ends above 0, its axis begins at 0, no better than the mean. Of an
    ensemble the lines are the means and the bands reach from the least to the greatest member, both
    of those that have not diverged.

    Parameters
    ----------
    history : records of a run, one an epoch: what `train` yields, or the metrics in it
    held_out : what the records call test: "test" or "validation"

    Returns
    -------
    figure : of Matplotlib; ``figure.savefig(path)`` writes it

    Raises
    ------
    TypeError
        If the history holds something other than records, or `held_out` is no text.
    ValueError
        If the history is empty.
    ImportError
        If Matplotlib is not installed.
    """
    need_matplotlib()
    rows = _records(history)
    instance_of(str, "held_out", held_out)
    panels = [("loss", _loss_title(rows), 1)]
    for name, title, scale in (("accuracy", "accuracy (%)", 100), ("r2", "R²", 1)):
        if np.isfinite([_values(rows, split, name) for split in ("train", "test")]).any():
            panels.append((name, title, scale))
    with sheet(WIDTH * (0.25 + 0.375 * len(panels)), 2.9, "constrained") as figure:
        for i, (name, title, scale) in enumerate(panels, 1):
            axes = tidy(figure.add_subplot(1, len(panels), i))
            axes.set_xlabel("epoch", color=INK)
            axes.set_title(title, fontsize=10, loc="left", color=INK)
            axes.locator_params(axis="x", integer=True, min_n_ticks=1)
            for split, label, colour in (("train", "training", PALE), ("test", held_out, BLUE)):
                _draw_curve(axes, rows, split, name, scale, written(label, "test"), colour)
            if name == "loss":
                _scale_by_factors(axes)
            elif name == "r2":
                _begin_at_zero(axes)
            _label_ends(axes)
        if rows[-1].members:
            figure.supxlabel(_members_note(rows[-1]), fontsize=8, color=INK)
    return figure


def _records(history: Iterable[Metrics | Epoch[Any]]) -> list[Metrics]:
    """The metrics of each epoch, checked."""
    wanted = "history must be a sequence of Metrics or of the records that train yields"
    try:
        records = list(history)
    except TypeError:
        raise TypeError(f"{wanted}, got {type(history).__name__}") from None
    rows = []
    for record in records:
        row = record.metrics if isinstance(record, Epoch) else record
        if not isinstance(row, Metrics):
            raise TypeError(f"{wanted}, got one that holds {type(row).__name__}")
        rows.append(row)
    if not rows:
        raise ValueError("history must hold at least one epoch, got none")
    for row in rows:
        if not is_number(row.epoch):
            raise ValueError(f"history must have numbers of epochs, got {row.epoch!r:.60}")
        if not isinstance(row.members, tuple | list):
            raise TypeError(f"history must have members as tuples, got {row.members!r:.60}")
        for member in row.members:
            instance_of(Metrics, "members in history", member)
    return rows


def _values(rows: Sequence[Metrics], split: str, name: str) -> npt.NDArray[np.float64]:
    """One field of all records; NaN where it is not finite or larger than any figure shows."""
    field = f"{split}_{name}"
    try:
        values = np.array([float(getattr(row, field)) for row in rows])
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"history must hold numbers, got a {field} that is none") from None
    return np.where(np.abs(values) < 1e100, values, np.nan)


def _loss_title(rows: Sequence[Metrics]) -> str:
    numbers = any(math.isfinite(row.train_r2) or math.isfinite(row.test_r2) for row in rows)
    return "loss (half the squared error)" if numbers else "loss (nats)"


def _members_note(row: Metrics) -> str:
    count = len(row.members)
    lost = count - len(_sound(row))
    diverged = f"; left out: {lost} that diverged" if lost else ""
    return f"lines: mean of {count} members; bands: from the least to the greatest{diverged}"


def _sound(row: Metrics) -> list[Metrics]:
    """The members that have not diverged."""
    losses = _values(row.members, "train", "loss")
    return [member for member, loss in zip(row.members, losses, strict=True) if np.isfinite(loss)]


def _draw_curve(
    axes: Axes,
    rows: Sequence[Metrics],
    split: str,
    name: str,
    scale: float,
    label: str,
    colour: str,
) -> None:
    """The line of one split, and the band of an ensemble's members about it."""
    values = scale * _values(rows, split, name)
    if np.isnan(values).all():
        return
    epochs = [row.epoch for row in rows]
    members = [scale * _values(_sound(row), split, name) for row in rows]
    bounds = [
        (np.nanmin(m), np.nanmax(m)) if np.isfinite(m).any() else (np.nan,) * 2 for m in members
    ]
    low, high = np.array(bounds).T
    if np.isfinite(low).any():
        axes.fill_between(epochs, low, high, color=colour, alpha=0.2, lw=0)
    mark = "o" if len(rows) <= 40 else ""
    axes.plot(epochs, values, color=colour, lw=1.8, marker=mark, ms=3.5, label=label)


def _scale_by_factors(axes: Axes) -> None:
    """A logarithmic axis with plain numbers, where all values are positive."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

    drawn = [np.asarray(line.get_ydata(), float) for line in axes.lines]
    for band in axes.collections:
        drawn += [np.asarray(path.vertices, float)[:, 1] for path in band.get_paths()]
    if drawn and np.nanmin(values := np.concatenate(drawn)) > 0:
        axes.set_yscale("log")
        decades = np.ptp(
            np.log10(values[np.isfinite(values)])
        )  # few enough labels that none touches the next
        subs = (1, 2, 3, 5) if decades < 2.5 else (1, 3) if decades < 5 else (1,)
        axes.yaxis.set_major_locator(LogLocator(subs=subs))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))


def _begin_at_zero(axes: Axes) -> None:
    """Leave out what a first epoch was below 0, where all lines end above it."""
    ends = [_end(line.get_ydata()) for line in axes.lines]
    if min(ends) > 0 and axes.get_ylim()[0] < 0:
        axes.set_ylim(bottom=0)


def _end(values: npt.ArrayLike) -> float:
    """The last value that is a number."""
    finite = np.asarray(values, float)
    return float(finite[np.isfinite(finite)][-1])


def _label_ends(axes: Axes, apart: float = 0.09) -> None:
    """Write each line's name and last value beside its end; labels at least `apart` in height."""
    if not axes.lines:
        return
    axes.autoscale_view()  # transLimits knows no limits that are still to be computed
    to_axes = axes.transScale + axes.transLimits
    ends = [_end(line.get_ydata()) for line in axes.lines]
    heights = [float(to_axes.transform((1, value))[1]) for value in ends]
    shift = max(0.0, apart - float(np.ptp(heights)))
    ranks = np.argsort(np.argsort(heights)) - (len(ends) - 1) / 2
    for line, height in zip(axes.lines, heights + shift * ranks, strict=True):
        last = float(np.asarray(line.get_ydata(), float)[-1])
        axes.annotate(
            f"{line.get_label()} {'diverged' if math.isnan(last) else f'{last:.3g}'}",
            (1, float(height)),
            xycoords="axes fraction",
            xytext=(3, 0),
            textcoords="offset points",
            color=line.get_color(),
            va="center",
            fontsize=9,
            parse_math=False,
        )
