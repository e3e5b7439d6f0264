"""Tables of what was taken for what."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from fnnet.checks import FloatArray
from fnnet.plots._drawing import (
    BLUE,
    GREY,
    INK,
    PALE,
    Names,
    bare,
    names_of,
    need_matplotlib,
    numbers,
    on_shade,
    place,
    sheet,
    whole,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fnnet.plots._figure import Figure

Bools: TypeAlias = npt.NDArray[np.bool_]

MOST_COUNTS, MOST_NAMES = 30, 50  # classes that have counts in their cells, and names of their own
MOST_LABELS = 100  # rows of a table


def plot_confusion(confusion: npt.ArrayLike | None, classes: Names | None = None) -> Figure:
    """Confusion matrix: counts in the cells, mistakes shaded by their share of the true class.

    Of several labels each has a row with its four counts; its mistakes are shaded by their share of
    the samples that have the label, or have it not. Above 30 classes there are shades alone.

    Parameters
    ----------
    confusion : (K, K) counts, row = true class, column = predicted class; of several labels
        (K, 2, 2), one such matrix for each, as `evaluate` returns it
    classes : names of the K classes or labels; without them their numbers

    Returns
    -------
    figure : of Matplotlib; ``figure.savefig(path)`` writes it

    Raises
    ------
    TypeError
        If this is not an array of counts, as for a network that predicts numbers (None).
    ValueError
        If the shape is another, or a count is negative or not whole.
    ImportError
        If Matplotlib is not installed.
    """
    need_matplotlib()
    if confusion is None:
        raise TypeError(
            "confusion must be counts, got None, as of a network that predicts numbers: write "
            "plot_regression(predicted, true)"
        )
    hint = "write evaluate(params, split).confusion"
    counts = numbers("confusion", confusion, hint, "(K, K)", "(K, 2, 2)")
    whole("confusion", counts)
    k, several = len(counts), counts.ndim == 3
    if counts.shape != ((k, 2, 2) if several else (k, k)):
        raise ValueError(f"confusion must have shape (K, K) or (K, 2, 2), got {counts.shape}")
    names = names_of("classes", classes, k)
    return _label_table(counts, names) if several else _confusion_table(counts, names)


def _confusion_table(counts: FloatArray, names: Sequence[str]) -> Figure:
    from fnnet.plots._figure import inches

    k = len(counts)
    right = np.eye(k, dtype=bool)
    share = 100 * np.where(right, 0, counts) / np.maximum(counts.sum(axis=1), 1)[:, None]
    few = k <= MOST_COUNTS
    side, size = (max(3.4, 0.44 * k), 8) if few else (6.5, 6)
    slant = 90 if not few else 45 if max(map(len, names)) > 3 else 0
    length = inches(names, size)
    below = 0.15 + length * math.sin(math.radians(slant))
    left = length + 0.42
    with sheet(left + side + 0.85, side + below + 0.35) as figure:
        axes = bare(place(figure, left, 0.06, side, side))
        if few:
            _draw_counts(axes, counts, share, right)
        else:
            axes.imshow(share, cmap="Oranges", vmin=0, vmax=max(1.0, float(share.max())))
            axes.spines[:].set(visible=True, color=GREY)
        some = range(0, k, math.ceil(k / MOST_NAMES))
        texts = [names[i] for i in some]
        ha = "right" if slant == 45 else "center"
        axes.set_xticks(some, texts, rotation=slant, ha=ha, fontsize=size, parse_math=False)
        axes.set_yticks(some, texts, fontsize=size, parse_math=False)
        axes.set_xlabel("predicted class", color=INK)
        axes.set_ylabel("true class", color=INK)
        scale = place(figure, left + side + 0.15, 0.06 + side * 0.1, 0.15, side * 0.8)
        _draw_scale(scale, axes, "mistakes (% of the true class)")
    return figure


def _label_table(confusion: FloatArray, names: Sequence[str]) -> Figure:
    from fnnet.plots._figure import inches

    k = len(names)
    if k > MOST_LABELS:
        raise ValueError(f"confusion must have at most {MOST_LABELS} labels, got {k}: choose some")
    (tn, fp), (fn, tp) = confusion.transpose(1, 2, 0)
    counts, zero = np.stack([tp, fn, fp, tn], axis=1), np.zeros(k)
    with_it, without = np.maximum(tp + fn, 1), np.maximum(fp + tn, 1)
    share = 100 * np.stack([zero, fn / with_it, fp / without, zero], axis=1)
    height = max(1.2, 0.36 * k)
    left, side, top = inches(names, 8) + 0.15, 3.6, 0.45
    with sheet(left + side + 0.85, top + height + 0.1) as figure:
        axes = bare(place(figure, left, top, side, height))
        _draw_counts(axes, counts, share, np.array([[True, False, False, True]] * k))
        heads = ("true\npositives", "false\nnegatives", "false\npositives", "true\nnegatives")
        axes.xaxis.tick_top()
        axes.set_xticks(np.arange(4), heads)
        axes.set_yticks(np.arange(k), names, parse_math=False)
        axes.tick_params(length=0)
        axes.set_aspect("auto")
        scale = place(figure, left + side + 0.15, top, 0.15, min(height, 3.6))
        _draw_scale(scale, axes, "mistakes (%)")
    return figure


def _draw_counts(axes: Axes, counts: FloatArray, share: FloatArray, right: Bools) -> None:
    """A table of counts on shades; what is right is bold and blue, no mistake a dot."""
    darkest = max(1.0, float(share.max()))
    shades = axes.imshow(share, cmap="Oranges", vmin=0, vmax=darkest)
    for (row, column), count in np.ndenumerate(counts):
        good = bool(right[row, column])
        dark = on_shade(shades.cmap(float(share[row, column]) / darkest))
        axes.text(
            column,
            row,
            f"{count:.0f}" if count < 1e6 and (good or count) else f"{count:.2g}" if count else "·",
            ha="center",
            va="center",
            fontsize=8 if count < 1e5 else 6,
            color=BLUE if good else dark if count else PALE,
            fontweight="bold" if good else "normal",
        )


def _draw_scale(scale: Axes, axes: Axes, label: str) -> None:
    """What the shades mean."""
    bar = scale.figure.colorbar(axes.images[0], cax=scale)
    bar.set_label(label, fontsize=9 if len(label) < 20 else 8, color=INK)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=8, colors=INK)
