"""Predicted numbers against true ones."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fnnet.checks import FloatArray
from fnnet.plots._drawing import (
    BLUE,
    GREY,
    INK,
    WIDTH,
    Names,
    names_of,
    need_matplotlib,
    numbers,
    place,
    sheet,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fnnet.plots._figure import Figure

MOST_PANELS = 12  # more no one looks at
MOST_DOTS = 3000  # samples drawn one by one


def plot_regression(
    predicted: npt.ArrayLike, true: npt.ArrayLike, names: Names | None = None
) -> Figure:
    """Predicted numbers against true ones, for the output "identity": on the line they agree.

    Above each panel stand its R², as scikit-learn's `r2_score` gives it, and the root of the mean
    squared error. Up to 3,000 samples are dots; of more, cells are the darker the more they hold.

    Parameters
    ----------
    predicted : (N, K) or (N,) array, what `predict` returns
    true : (N, K) or (N,) array, the labels
    names : names of the K numbers; without them their places

    Returns
    -------
    figure : of Matplotlib; ``figure.savefig(path)`` writes it

    Raises
    ------
    TypeError
        If an argument is not an array of numbers, or a name not text.
    ValueError
        If shapes disagree, there is no sample, a number is not finite or K is above 12.
    ImportError
        If Matplotlib is not installed.
    """
    need_matplotlib()
    p, t = _columns("predicted", predicted), _columns("true", true)
    if p.shape != t.shape:
        raise ValueError(f"predicted and true must have one shape, got {p.shape} and {t.shape}")
    k = p.shape[1]
    if k > MOST_PANELS:
        raise ValueError(f"predicted must have at most {MOST_PANELS} columns, got {k}: choose some")
    titles = [""] if names is None and k == 1 else names_of("names", names, k)
    columns = min(k, 3)
    rows, cell = math.ceil(k / columns), 3.6 if k == 1 else WIDTH / 3
    left, side, top = 0.8, cell - 0.95, 0.55 if any(titles) else 0.4
    high = top + side + 0.5
    with sheet(cell * columns, high * rows) as figure:
        for i in range(k):
            row, column = divmod(i, columns)
            axes = tidy(place(figure, cell * column + left, high * row + top, side, side))
            _draw_agreement(axes, p[:, i], t[:, i])
            axes.set_title(
                "\n".join(filter(None, [titles[i], _agreement(p[:, i], t[:, i])])),
                fontsize=9,
                loc="left",
                pad=14,  # room for the power of ten of the axis
                color=INK,
                parse_math=False,
            )
            if i + columns >= k:
                axes.set_xlabel("true", color=INK)
            if column == 0:
                axes.set_ylabel("predicted", color=INK)
    return figure


def _columns(name: str, values: npt.ArrayLike) -> FloatArray:
    """One column for each number that is predicted."""
    hint = "write predict(params, x)" if name == "predicted" else "write the labels"
    array = numbers(name, values, hint, "(N,)", "(N, K)")
    return array.reshape(len(array), -1)


def _agreement(p: FloatArray, t: FloatArray) -> str:
    """R², where the true numbers differ, and the root of the mean squared error."""
    squares, spread = float(np.sum((p - t) ** 2)), float(np.sum((t - t.mean()) ** 2))
    r2 = f"R² {1 - squares / spread:.3g}   " if spread > 0 else ""
    return f"{r2}RMSE {math.sqrt(squares / len(t)):.3g}"


def _draw_agreement(axes: Axes, p: FloatArray, t: FloatArray) -> None:
    low, high = float(min(p.min(), t.min())), float(max(p.max(), t.max()))
    pad = 0.04 * (high - low) or 0.04 * abs(high) or 1.0
    limits = low - pad, high + pad
    axes.plot(limits, limits, color=GREY, lw=1, zorder=1)
    if len(p) <= MOST_DOTS:
        alpha = max(0.2, min(0.8, 300 / len(p)))
        axes.plot(t, p, "o", color=BLUE, ms=4, mew=0, alpha=alpha, zorder=2)
    else:
        axes.hexbin(
            t,
            p,
            gridsize=50,
            extent=(*limits, *limits),
            bins="log",
            mincnt=1,
            cmap="Blues",
            vmin=0.3,
        )
    axes.set(xlim=limits, ylim=limits)
    axes.locator_params(nbins=4)
    axes.ticklabel_format(scilimits=(-2, 4))
    for axis in (axes.xaxis, axes.yaxis):
        axis.get_offset_text().set(fontsize=8, color=INK)
    axes.grid(axis="x", color="#E8E8E8", lw=0.6)
