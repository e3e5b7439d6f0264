"""The benchmark's figure: seconds of an epoch against batch size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import Any

from fnnet_scripts.contestants import KINDS
from fnnet_scripts.options import save_figure, uninterrupted
from fnnet_scripts.wording import plural

COLOURS = {  # Okabe and Ito's, which colour-blind people can tell apart
    "fnnet": "#000000",
    "fnnet-ragged": "#882255",
    "torch": "#D55E00",
    "torch-flushed": "#CC79A7",
    "torch-compiled": "#E69F00",
    "sklearn": "#009E73",
    "jax": "#0072B2",
    "jax-scan": "#56B4E9",
    "jax-sparse": "#44AA99",
    "keras": "#AA4499",
    "products": "#999999",
}
Row = dict[str, Any]


def draw(rows: Sequence[Row], path: Path) -> None:
    """Time an epoch against batch size, one panel for each number of threads."""
    with uninterrupted():
        from matplotlib.figure import Figure
        from matplotlib.ticker import LogLocator

    threads = unique(row["threads"] for row in rows)
    figure = Figure(figsize=(4.6 * len(threads) + 0.8, 4.2), layout="constrained")
    panels = figure.subplots(1, len(threads), sharey=True, squeeze=False)[0]
    for axes, count in zip(panels, threads, strict=True):
        mine = [row for row in rows if row["threads"] == count]
        ends = {}
        for name in unique(row["contestant"] for row in mine):
            points = [
                (row["batch_size"], median(row["seconds"]))
                for row in mine
                if row["contestant"] == name
            ]
            style = {"lw": 2.4 if name == "fnnet" else 1.4, "color": COLOURS[name]}
            axes.plot(*zip(*points, strict=True), marker="o", ms=3.5, **style)
            ends[name] = points[-1]
        axes.set_title(plural(count, "thread"), loc="left", fontsize=10)
        axes.set(xscale="log", yscale="log", xlabel="batch size")
        batch_sizes = unique(row["batch_size"] for row in mine)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_xticks(batch_sizes, [str(size) for size in batch_sizes], minor=False)
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
        _label_ends(axes, ends)
    panels[0].set_ylabel("seconds an epoch")
    save_figure(figure, path, dpi=160)


def _label_ends(axes: Any, ends: Mapping[str, tuple[float, float]]) -> None:
    """Names at the lines' right ends, moved apart where they would overlap."""
    to_panel = axes.transData + axes.transAxes.inverted()
    names = sorted(ends, key=lambda name: ends[name][1])
    x, y = zip(*(to_panel.transform(ends[name]) for name in names), strict=True)
    heights = spread(y, gap=0.055)
    lift = max(0, 0.03 - heights[0])  # clear of the numbers under the axis
    for name, height in zip(names, heights, strict=True):
        axes.text(
            max(x) + 0.03,
            height + lift,
            KINDS[name].title,
            transform=axes.transAxes,
            color=COLOURS[name],
            fontsize=8,
            va="center",
            weight="bold" if name == "fnnet" else "normal",
        )


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Ascending heights at least a gap apart: the mean of pushing all up and pushing all down."""
    up = list(accumulate(heights, lambda below, height: max(height, below + gap)))
    down = list(accumulate(reversed(heights), lambda above, height: min(height, above - gap)))
    return [(a + b) / 2 for a, b in zip(up, reversed(down), strict=True)]


def unique(values: Iterator[Any]) -> list[Any]:
    """Each value once, in the order of the first ones."""
    return list(dict.fromkeys(values))
