"""Figures of a run: curves, predictions, confusion, weights.

Each function returns a `matplotlib.figure.Figure` and touches no global state (no pyplot); write it
to a file with ``figure.savefig(path)``. Matplotlib comes with the extra ``fnnet[scripts]``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fnnet.training import Metrics
from fnnet.trees import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

IntArray: TypeAlias = npt.NDArray[np.integer[Any]]
Images: TypeAlias = npt.NDArray[np.uint8] | FloatArray

# Colours that colour-blind readers tell apart: B. Wong, Nature Methods 8, 441 (2011).
BLUE, ORANGE, GREY, INK = "#0072B2", "#D55E00", "#B4B4B4", "#333333"
DPI = 150


def plot_history(history: Sequence[Metrics], held_out: str = "test") -> Figure:
    """Loss and accuracy after each epoch, on the training data and on the other split.

    Parameters
    ----------
    history : records of a run, one an epoch
    held_out : what the records call test: "test" or "validation"

    Raises
    ------
    ValueError
        If the history is empty.
    """
    if not history:
        raise ValueError("history must hold at least one epoch, got none")
    figure = _figure(7.2, 2.8)
    epochs = [row.epoch for row in history]
    for i, (name, unit, scale) in enumerate((("loss", "nats", 1), ("accuracy", "%", 100)), 1):
        axes = _tidy(figure.add_subplot(1, 2, i))
        for split, label, colour in (("train", "training", GREY), ("test", held_out, BLUE)):
            values = [scale * float(getattr(row, f"{split}_{name}")) for row in history]
            if not math.isnan(values[-1]):
                axes.plot(epochs, values, color=colour, lw=1.8, marker="o", ms=3.5, label=label)
        axes.set_xlabel("epoch")
        axes.set_title(f"{name} ({unit})", fontsize=10, loc="left")
        axes.locator_params(axis="x", integer=True)
        axes.grid(axis="y", color="#E8E8E8", lw=0.6)
        axes.legend(frameon=False, fontsize=9)
    return figure


def plot_predictions(
    images: Images,
    logits: FloatArray,
    y: IntArray | None = None,
    classes: Sequence[str] | None = None,
) -> Figure:
    """Images beside bars of their logits; the prediction is blue where right, orange where wrong.

    Bars begin a little below an image's least logit: only differences between logits mean anything.

    Parameters
    ----------
    images : (N, H, W) array; 0 is drawn as paper, the maximum as ink
    logits : (N, K) float array
    y : (N,) true classes; without them the titles name the prediction alone
    classes : names of the K classes; without them their numbers

    Raises
    ------
    ValueError
        If shapes disagree or there is no image.
    """
    n, k = logits.shape
    if n == 0 or images.ndim != 3 or len(images) != n or (y is not None and y.shape != (n,)):
        got = (images.shape, logits.shape, None if y is None else y.shape)
        raise ValueError(f"images, logits, y must be (N, H, W), (N, K), (N,), N >= 1, got {got}")
    names = _names(classes, k)
    columns = min(n, 4)
    rows = math.ceil(n / columns)
    figure = _figure(2.1 * columns, (0.35 + 0.11 * k) * rows)
    grid = figure.add_gridspec(rows, 2 * columns)
    for i in range(n):
        row, column = divmod(i, columns)
        guess = int(logits[i].argmax())
        truth = guess if y is None else int(y[i])
        colour = BLUE if guess == truth else ORANGE
        picture = _bare(figure.add_subplot(grid[row, 2 * column]))
        picture.imshow(images[i], cmap="Greys", vmin=0)
        title = names[guess] if guess == truth else f"{names[guess]}, not {names[truth]}"
        picture.set_title(title, color=colour, fontsize=9, pad=3)
        bars = _bare(figure.add_subplot(grid[row, 2 * column + 1]))
        colours = [GREY] * k
        colours[guess] = colour
        low = 1.05 * logits[i].min() - 0.05 * logits[i].max()
        bars.barh(np.arange(k), logits[i] - low, left=low, color=colours, height=0.8)
        bars.set_yticks(np.arange(k), names, fontsize=6)
        bars.invert_yaxis()
    return figure


def plot_confusion(confusion: IntArray, classes: Sequence[str] | None = None) -> Figure:
    """Confusion matrix: counts in the cells, mistakes shaded by their share of the true class.

    Parameters
    ----------
    confusion : (K, K) counts, row = true class, column = predicted class
    classes : names of the K classes; without them their numbers

    Raises
    ------
    ValueError
        If the matrix is not square.
    """
    k = len(confusion)
    if confusion.shape != (k, k):
        raise ValueError(f"confusion must have shape (K, K), got {confusion.shape}")
    names = _names(classes, k)
    mistakes = np.where(np.eye(k, dtype=bool), 0, confusion)
    share = 100 * mistakes / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    side = max(3.6, 0.42 * k)
    figure = _figure(side + 1.2, side)
    axes = _bare(figure.add_subplot())
    shades = axes.imshow(share, cmap="Oranges", vmin=0, vmax=max(1.0, 1.5 * float(share.max())))
    for row, column in np.ndindex(k, k):
        right = row == column
        axes.text(
            column,
            row,
            f"{confusion[row, column]}" if right or confusion[row, column] else "·",
            ha="center",
            va="center",
            fontsize=8,
            color=BLUE if right else INK,
            fontweight="bold" if right else "normal",
        )
    slant = 45 if max(map(len, names)) > 3 else 0
    axes.set_xticks(np.arange(k), names, rotation=slant, ha="right" if slant else "center")
    axes.set_yticks(np.arange(k), names)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    bar = figure.colorbar(shades, ax=axes, fraction=0.045, pad=0.03)
    bar.set_label("mistakes (% of the true class)", fontsize=9)
    bar.ax.tick_params(length=0, labelsize=8)
    bar.ax.spines[:].set_visible(False)
    return figure


def plot_weights(w: FloatArray, shape: tuple[int, ...], limit: int = 32) -> Figure:
    """Weights of the first layer as images, one for each hidden unit, the largest norms first.

    Blue is positive, red negative, white zero; every image has its own scale.

    Parameters
    ----------
    w : (inputs, outputs) weights
    shape : (H, W) of the images that the network sees, H * W = inputs
    limit : the most units to draw, >= 1

    Raises
    ------
    ValueError
        If the shape does not fit the weights, or the limit is below 1.
    """
    if len(shape) != 2 or w.ndim != 2 or len(w) != math.prod(shape):
        raise ValueError(f"shape must be (H, W) with H * W = len(w), got {shape} for w {w.shape}")
    if limit < 1:
        raise ValueError(f"limit must be >= 1, got {limit}")
    order = np.argsort(-np.linalg.norm(w, axis=0), kind="stable")[:limit]
    columns = min(len(order), 16)
    rows = math.ceil(len(order) / columns)
    figure = _figure(0.48 * columns, 0.48 * rows)
    for i, unit in enumerate(order, 1):
        axes = _bare(figure.add_subplot(rows, columns, i))
        bound = float(np.abs(w[:, unit]).max()) or 1.0
        axes.imshow(w[:, unit].reshape(shape), cmap="RdBu", vmin=-bound, vmax=bound)
    return figure


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("figures need matplotlib: pip install 'fnnet[scripts]'") from error
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def _tidy(axes: Axes) -> Axes:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.tick_params(colors=INK, labelsize=8)
    return axes


def _bare(axes: Axes) -> Axes:
    axes.spines[:].set_visible(False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.tick_params(length=0, colors=INK, labelsize=8)
    return axes


def _names(classes: Sequence[str] | None, k: int) -> list[str]:
    """What to write for each class: its name where the fonts that ship have its letters."""
    if classes is None:
        return [str(i) for i in range(k)]
    if len(classes) != k:
        raise ValueError(f"classes must name each of the {k} classes, got {len(classes)} names")
    return [name if name.isascii() else str(i) for i, name in enumerate(classes)]
