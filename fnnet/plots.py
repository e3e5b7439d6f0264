"""Figures of a run: curves, predictions, confusion, weights.

Each function returns a `matplotlib.figure.Figure` and touches no global state (no pyplot); write it
to a file with ``figure.savefig(path)``. Matplotlib comes with the extra ``fnnet[scripts]``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from fnnet.checks import FloatArray
from fnnet.network import softmax
from fnnet.records import Metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

IntArray: TypeAlias = npt.NDArray[np.integer[Any]]
Images: TypeAlias = npt.NDArray[np.uint8] | FloatArray

# Colours that colour-blind readers tell apart: B. Wong, Nature Methods 8, 441 (2011).
BLUE, ORANGE, GREY, INK = "#0072B2", "#D55E00", "#B4B4B4", "#333333"
DPI = 150
WIDTH = 8.4  # inches of the widest figures
NUMBER_WIDTH = 0.38  # inches of the widest probability beside its margins

# What to write where the fonts that ship lack the letters.
ROMAJI = dict(
    zip("おきすつなはまやれを", "o ki su tsu na ha ma ya re wo".split(), strict=True)  # noqa: SIM905
)


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
    figure = _figure(WIDTH, 2.9, layout="constrained")
    epochs = [row.epoch for row in history]
    for i, (name, unit, scale) in enumerate((("loss", "nats", 1), ("accuracy", "%", 100)), 1):
        axes = _tidy(figure.add_subplot(1, 2, i))
        for split, label, colour in (("train", "training", "#8A8A8A"), ("test", held_out, BLUE)):
            values = [scale * float(getattr(row, f"{split}_{name}")) for row in history]
            if not math.isnan(values[-1]):
                mark = "o" if len(history) <= 40 else ""
                axes.plot(epochs, values, color=colour, lw=1.8, marker=mark, ms=3.5, label=label)
        axes.set_xlabel("epoch", color=INK)
        axes.set_title(f"{name} ({unit})", fontsize=10, loc="left", color=INK)
        axes.locator_params(axis="x", integer=True)
        axes.grid(axis="y", color="#E8E8E8", lw=0.6)
        if name == "loss":
            _scale_by_factors(axes)
        _label_ends(axes)
    return figure


def _scale_by_factors(axes: Axes) -> None:
    """A logarithmic axis with plain numbers, where all values are positive."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

    if min(np.min(line.get_ydata()) for line in axes.lines) > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))


def _label_ends(axes: Axes, apart: float = 0.09) -> None:
    """Write each line's name and last value beside its end; labels at least `apart` in height."""
    axes.autoscale_view()  # transLimits knows no limits that are still to be computed
    last = [float(np.asarray(line.get_ydata())[-1]) for line in axes.lines]
    to_axes = axes.transScale + axes.transLimits
    heights = [float(to_axes.transform((1, value))[1]) for value in last]
    shift = max(0.0, apart - float(np.ptp(heights)))
    ranks = np.argsort(np.argsort(heights)) - (len(last) - 1) / 2
    for line, value, height in zip(axes.lines, last, heights + shift * ranks, strict=True):
        axes.annotate(
            f"{line.get_label()} {value:.3g}",
            (1, float(height)),
            xycoords="axes fraction",
            xytext=(3, 0),
            textcoords="offset points",
            color=line.get_color(),
            va="center",
            fontsize=9,
        )


def plot_predictions(
    images: Images,
    logits: FloatArray,
    y: IntArray | None = None,
    classes: Sequence[str] | None = None,
) -> Figure:
    """Images beside bars of their logits; the prediction is blue where right, orange where wrong.

    Bars begin a little below an image's least logit: only differences between logits mean anything.
    Beside each name that the network finds at all likely stands its probability, beyond the end of
    a coloured bar that is too short for it; where the prediction is wrong, the bar of the true
    class is dark and the image framed.

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
    truths = logits.argmax(axis=1) if y is None else y
    longest = max(map(len, names))
    columns = 4 if longest <= 3 else 3
    cell, title, gap = WIDTH / columns, 0.24, 0.16
    side, height = 1.1, max(1.1, 0.12 * k)
    names_width = 0.06 * (longest + 1)
    rows = math.ceil(n / columns)
    figure = _figure(cell * min(n, columns), (title + height + gap) * rows + gap)
    for i in range(n):
        row, column = divmod(i, columns)
        left, top = cell * column + gap / 2, (title + height + gap) * row + title + gap / 2
        picture = _bare(_place(figure, left, top, side, side))
        _draw_image(picture, images[i], int(logits[i].argmax()), int(truths[i]), names)
        start = left + side + gap / 2 + names_width
        bars = _bare(_place(figure, start, top, cell * (column + 1) - gap - start, height))
        _draw_bars(bars, logits[i], int(truths[i]), names)
        if i + columns >= n:
            bars.set_xlabel("logits", fontsize=7, color=INK)
    return figure


def _draw_image(axes: Axes, image: Images, guess: int, truth: int, names: Sequence[str]) -> None:
    axes.imshow(image, cmap="Greys", vmin=0)
    right = guess == truth
    axes.set_title(
        names[guess] if right else f"{names[guess]}, not {names[truth]}",
        color=BLUE if right else ORANGE,
        fontsize=10,
        fontweight="normal" if right else "bold",
        loc="left",
        pad=4,
    )
    if not right:
        axes.spines[:].set(visible=True, color=ORANGE, linewidth=1.2)


def _draw_bars(axes: Axes, logits: FloatArray, truth: int, names: Sequence[str]) -> None:
    guess, k = int(logits.argmax()), len(names)
    colours = [GREY] * k
    colours[truth] = INK
    colours[guess] = BLUE if guess == truth else ORANGE
    low = 1.05 * logits.min() - 0.05 * logits.max()
    inches = axes.bbox.width / DPI  # of the longest bar
    axes.barh(np.arange(k), logits - low, left=low, color=colours, height=0.8)
    axes.set_yticks(np.arange(k), names, fontsize=7)
    axes.set_ylim(k - 0.5, -0.5)
    axes.margins(x=0)
    for i, p in enumerate(softmax(logits)):
        if p >= 0.01 or i in (guess, truth):
            coloured = colours[i] != GREY
            short = (logits[i] - low) * inches <= NUMBER_WIDTH * (logits.max() - low)
            axes.annotate(
                _percent(float(p)),
                (logits[i] if coloured and short else low, i),
                xytext=(2, -0.5),
                textcoords="offset points",
                va="center",
                fontsize=6,
                color="white" if coloured and not short else INK,
            )


def _percent(p: float) -> str:
    """A probability that never claims to be 0 or 1."""
    return "> 99 %" if p > 0.99 else "< 1 %" if p < 0.01 else f"{100 * p:.0f} %"


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
    right = np.eye(k, dtype=bool)
    share = 100 * np.where(right, 0, confusion) / np.maximum(confusion.sum(axis=1), 1)[:, None]
    darkest = max(1.0, float(share.max()))
    side = max(3.4, 0.44 * k)
    longest = max(map(len, names))
    slant = 45 if longest > 3 else 0
    names_height = 0.07 * longest if slant else 0.1
    figure = _figure(side + 1.2 + 0.09 * longest, side + 0.4 + names_height, layout="constrained")
    axes = _bare(figure.add_subplot())
    shades = axes.imshow(share, cmap="Oranges", vmin=0, vmax=darkest)
    for row, column in np.ndindex(k, k):
        dark = share[row, column] > 0.6 * darkest
        axes.text(
            column,
            row,
            f"{confusion[row, column]}" if right[row, column] or confusion[row, column] else "·",
            ha="center",
            va="center",
            fontsize=8,
            color=BLUE if right[row, column] else "white" if dark else INK,
            fontweight="bold" if right[row, column] else "normal",
        )
    axes.set_xticks(np.arange(k), names, rotation=slant, ha="right" if slant else "center")
    axes.set_yticks(np.arange(k), names)
    axes.set_xlabel("predicted class", color=INK)
    axes.set_ylabel("true class", color=INK)
    bar = figure.colorbar(shades, ax=axes, fraction=0.04, pad=0.03)
    bar.set_label("mistakes (% of the true class)", fontsize=9, color=INK)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=8, colors=INK)
    return figure


def plot_weights(w: FloatArray, shape: tuple[int, ...], limit: int = 36) -> Figure:
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
    units = w[:, order] / (np.abs(w[:, order]).max(axis=0) + np.finfo(w.dtype).tiny)
    sheet = _contact_sheet(units.T.reshape(-1, *shape), columns=12)
    # A whole number of pixels for each weight: sharp edges, and a small file.
    zoom = max(1, int(WIDTH * DPI) // max(sheet.shape[1], 12 * shape[1]))
    height, width = (zoom * n / DPI for n in sheet.shape)
    margin, key = 4 / DPI, 0.3
    figure = _figure(max(width + 2 * margin, 3.4), height + margin + key)
    axes = _bare(_place(figure, margin, margin, width, height))
    axes.imshow(sheet, cmap="RdBu", vmin=-1, vmax=1, interpolation="nearest", aspect="auto")
    scale = _bare(_place(figure, 0.6, height + margin + 0.12, 1.2, 0.1))
    scale.imshow(np.linspace(-1, 1, 101)[None], cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
    for x, text, side in (
        (0, "inhibits", "right"),
        (1, "excites; each unit on its own scale", "left"),
    ):
        offset = 4 if side == "left" else -4
        scale.annotate(
            text,
            (x, 0.5),
            xycoords="axes fraction",
            xytext=(offset, -0.5),
            textcoords="offset points",
            ha=side,
            va="center",
            fontsize=8,
            color=INK,
        )
    return figure


def _contact_sheet(images: FloatArray, columns: int) -> FloatArray:
    """Images of one shape in rows, NaN between them."""
    n, height, width = images.shape
    columns = min(n, columns)
    rows, gap = math.ceil(n / columns), 1 + width // 14
    sheet = np.full((rows, height + gap, columns, width + gap), np.nan)
    for i, image in enumerate(images):
        row, column = divmod(i, columns)
        sheet[row, :height, column, :width] = image
    return sheet.reshape(rows * (height + gap), columns * (width + gap))[:-gap, :-gap]


def _figure(width: float, height: float, layout: Literal["constrained"] | None = None) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("figures need matplotlib: pip install 'fnnet[scripts]'") from error
    return Figure(figsize=(width, height), dpi=DPI, layout=layout)


def _place(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place given in inches from the figure's upper left corner."""
    w, h = figure.get_size_inches()
    return figure.add_axes((left / w, 1 - (top + height) / h, width / w, height / h))


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
    """What to write for each class: its name in letters that the fonts have, else its number."""
    if classes is None:
        return [str(i) for i in range(k)]
    if len(classes) != k:
        raise ValueError(f"classes must name each of the {k} classes, got {len(classes)} names")
    return [name if name.isascii() else ROMAJI.get(name, str(i)) for i, name in enumerate(classes)]
