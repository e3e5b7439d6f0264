"""Images beside what a network makes of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from fnnet.checks import FloatArray, one_of
from fnnet.outputs import OUTPUTS, output_of
from fnnet.plots._drawing import (
    BLUE,
    DPI,
    GREY,
    INK,
    ORANGE,
    WIDTH,
    Names,
    bare,
    cut,
    names_of,
    need_matplotlib,
    numbers,
    place,
    sheet,
    whole,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fnnet.plots._figure import Figure

Bools: TypeAlias = npt.NDArray[np.bool_]

NUMBER_WIDTH = 0.38  # inches of the widest probability beside its margins
MOST_IMAGES = 400  # more take minutes, and no one looks at them
MOST_BARS = 20  # classes that all have bars
MANY_BARS = 12  # drawn where there are more classes
LEAST_SLOTS = 5  # so that one or two bars are no thicker than others


def plot_predictions(
    images: npt.ArrayLike,
    logits: npt.ArrayLike,
    y: npt.ArrayLike | None = None,
    classes: Names | None = None,
    *,
    output: str = "softmax",
) -> Figure:
    """Images beside bars of their logits; the prediction is blue where right, orange where wrong.

    Bars begin a little below an image's least logit: only differences between logits mean anything.
    Of several labels (`output="sigmoid"`) they begin at 0, where a label is as likely as not; what
    lies to its right is predicted. Beside each name that the network finds at all likely stands its
    probability, beyond the end of a coloured bar that is too short for it. The bar of a class that
    is true and not predicted is dark, and where anything is wrong the image is framed. Of more than
    20 classes the true and the likeliest are drawn, 12 together.

    Parameters
    ----------
    images : (N, H, W) array; 0 is drawn as paper, the maximum as ink
    logits : (N, K) array, what `forward` returns
    y : true classes (N,), or (N, K) distributions or labels of 0 and 1, or (N, 1); without them the
        titles name the prediction alone
    classes : names of the K classes or labels; without them their numbers
    output : "softmax" for one class an image, "sigmoid" for labels of which several may hold

    Returns
    -------
    figure : of Matplotlib; ``figure.savefig(path)`` writes it

    Raises
    ------
    TypeError
        If an argument is not an array of numbers, or a name not text.
    ValueError
        If shapes disagree, there is no image or more than 400, a number is not finite, a class does
        not exist, or the output is another. Numbers (`"identity"`) are for `plot_regression`.
    ImportError
        If Matplotlib is not installed.
    """
    need_matplotlib()
    one_of("output", output, tuple(OUTPUTS))
    if output == "identity":
        raise ValueError(
            "output must be 'softmax' or 'sigmoid', got 'identity': write "
            "plot_regression(predicted, true) for numbers"
        )
    pictures = numbers("images", images, "write images.reshape(-1, H, W)", "(N, H, W)")
    z = numbers("logits", logits, "write forward(params, x), not predicted classes", "(N, K)")
    n, k = z.shape
    if len(pictures) != n or n > MOST_IMAGES:
        raise ValueError(
            f"images must be as many as logits, at most {MOST_IMAGES}, got {len(pictures)} for {n}"
        )
    names = names_of("classes", classes, k)
    guesses = z > 0 if output == "sigmoid" else z.argmax(axis=1)[:, None] == np.arange(k)
    truths = guesses if y is None else _truths(y, n, k, output)
    return _prediction_sheet(pictures, z, guesses, truths, names, output)


def _truths(y: npt.ArrayLike, n: int, k: int, output: str) -> Bools:
    """(N, K): which classes or labels are true."""
    values = numbers("y", y, "write the true class of each image", "(N,)", "(N, K)")
    if values.shape in ((n,), (n, 1)) and (output == "softmax" or k == 1):
        column = values.reshape(n, 1)
        whole("y", column, below=max(k, 2) if output == "sigmoid" else k)
        return column > 0 if output == "sigmoid" else column == np.arange(k)
    if values.shape != (n, k):
        alone = f" or ({n},)" if output == "softmax" or k == 1 else ""
        raise ValueError(f"y must have shape ({n}, {k}){alone}, got {values.shape}")
    if values.min() < 0 or values.max() > 1:
        raise ValueError(
            f"y as rows must lie in [0, 1], got values from {values.min():g} to {values.max():g}"
        )
    return values > 0.5 if output == "sigmoid" else values.argmax(1)[:, None] == np.arange(k)


def _prediction_sheet(
    pictures: FloatArray,
    z: FloatArray,
    guesses: Bools,
    truths: Bools,
    names: Sequence[str],
    output: str,
) -> Figure:
    """Columns as many as leave room for the bars; on each image's right its names and bars."""
    from fnnet.plots._figure import inches

    n = len(z)
    shown = [_shown(row, truth) for row, truth in zip(z, truths, strict=True)]
    side, title, gap = 1.1, 0.24, 0.16
    names_width = inches(names, 7) + 0.08
    least = side + 1.5 * gap + names_width + (1.0 if output == "sigmoid" else 0.5)
    columns = next(c for c in (4, 3, 2) if WIDTH / c >= least or c == 2)
    cell, height = WIDTH / columns, max(side, 0.12 * len(shown[0]))
    rows = math.ceil(n / columns)
    p = output_of(output).predictions(z)
    with sheet(cell * min(n, columns), (title + height + gap) * rows + gap) as figure:
        for i in range(n):
            row, column = divmod(i, columns)
            left, top = cell * column + gap / 2, (title + height + gap) * row + title + gap / 2
            picture = bare(place(figure, left, top, side, side))
            right = bool((guesses[i] == truths[i]).all())
            text = _verdict(guesses[i], truths[i], names, output)
            _draw_image(picture, pictures[i], text, right, cell - gap)
            start = left + side + gap / 2 + names_width
            bars = bare(place(figure, start, top, cell * (column + 1) - gap - start, height))
            some = shown[i]
            least, most = float(z[i, some].min()), float(z[i, some].max())
            low = 0.0 if output == "sigmoid" else 1.05 * least - 0.05 * most
            colours = _bar_colours(guesses[i, some], truths[i, some])
            _draw_bars(bars, z[i, some], p[i, some], low, colours, [names[j] for j in some])
            if i + columns >= n:
                bars.set_xlabel("logits", fontsize=7, color=INK)
    return figure


def _shown(z: FloatArray, truth: Bools) -> list[int]:
    """The classes to draw, in their order: of many the likeliest, of which the true ones first."""
    if len(z) <= MOST_BARS:
        return list(range(len(z)))
    true = np.flatnonzero(truth)
    true = true[np.argsort(-z[true], kind="stable")][: MANY_BARS // 2]
    likeliest = [i for i in np.argsort(-z, kind="stable") if i not in true]
    return sorted(map(int, [*true, *likeliest][:MANY_BARS]))


def _verdict(guess: Bools, truth: Bools, names: Sequence[str], output: str) -> str:
    """What stands above an image: the prediction, and where it is wrong, how."""
    predicted = ", ".join(names[int(i)] for i in np.flatnonzero(guess))
    wrong = guess != truth
    if output == "softmax":
        return f"{predicted}, not {names[int(truth.argmax())]}" if wrong.any() else predicted
    if wrong.any():
        return "wrong" if len(names) == 1 else f"{len(names) - wrong.sum()} of {len(names)} right"
    return cut(predicted, 60) or ("no " + names[0] if len(names) == 1 else "none")


def _draw_image(axes: Axes, image: FloatArray, title: str, right: bool, width: float) -> None:
    """An image under a title, whose letters are as large as the width allows."""
    from fnnet.plots._figure import inches

    weight = "normal" if right else "bold"
    axes.imshow(image, cmap="Greys", vmin=min(0.0, float(image.min())))
    axes.set_title(
        title,
        color=BLUE if right else ORANGE,
        fontsize=min(10, 10 * width / inches([title], 10, weight)),
        fontweight=weight,
        loc="left",
        pad=4,
        parse_math=False,
    )
    if not right:
        axes.spines[:].set(visible=True, color=ORANGE, linewidth=1.2)


def _bar_colours(guess: Bools, truth: Bools) -> list[str]:
    colours = np.where(guess, np.where(truth, BLUE, ORANGE), np.where(truth, INK, GREY))
    return [str(colour) for colour in colours]


def _draw_bars(
    axes: Axes,
    z: FloatArray,
    p: FloatArray,
    low: float,
    colours: Sequence[str],
    names: Sequence[str],
) -> None:
    inches = axes.bbox.width / DPI
    left, right = min(low, float(z.min())), max(low, float(z.max()))
    if left < low:  # room for a short bar and its number on the right of the zero
        axes.axvline(low, color=GREY, lw=0.8)
        right = max(right, low + (low - left) * 2 * NUMBER_WIDTH / (inches - 2 * NUMBER_WIDTH))
    axes.barh(np.arange(len(z)), z - low, left=low, color=colours, height=0.8)
    axes.set_yticks(np.arange(len(z)), names, fontsize=7, parse_math=False)
    middle, slots = (len(z) - 1) / 2, max(len(z), LEAST_SLOTS)
    axes.set_ylim(middle + slots / 2, middle - slots / 2)
    if right > left:
        axes.set_xlim(left, right)
    for i, share in enumerate(p):
        coloured = colours[i] != GREY
        if share >= 0.01 or coloured:
            short = (z[i] - low) * inches <= NUMBER_WIDTH * (right - left)
            axes.annotate(
                _percent(float(share)),
                (max(z[i], low) if coloured and short else low, i),
                xytext=(2, -0.5),
                textcoords="offset points",
                va="center",
                fontsize=6,
                color="white" if coloured and not short else INK,
            )


def _percent(p: float) -> str:
    """A probability that never claims to be 0 or 1."""
    return "> 99 %" if p > 0.99 else "< 1 %" if p < 0.01 else f"{100 * p:.0f} %"
