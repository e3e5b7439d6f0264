"""What the figures of `plots` share: checks of their arguments, names, colours, places in inches.

Matplotlib is imported where a figure is made, never with this module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from fnnet.checks import as_array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fnnet.plots._figure import Figure

Names: TypeAlias = Sequence[str | int] | npt.NDArray[np.str_] | npt.NDArray[np.integer[Any]]

# Blue and vermilion, which colour-blind readers tell apart (B. Wong, Nature Methods 8, 441 (2011));
# the vermilion is a little darker, so that text in it can be read on white (contrast 4.5).
BLUE, ORANGE, GREY, INK, PALE = "#0072B2", "#C25400", "#B4B4B4", "#333333", "#707070"
DPI = 150
WIDTH = 8.4  # inches of the widest figures
LARGEST = 1e100  # numbers whose squares and sums stay finite, whatever is drawn
LETTERS = 28  # of the longest name that is drawn whole

# What to write where the font lacks the letters.
ROMAJI = dict(
    zip("おきすつなはまやれを", "o ki su tsu na ha ma ya re wo".split(), strict=True)  # noqa: SIM905
)


def numbers(name: str, value: object, hint: str, *forms: str) -> npt.NDArray[np.float64]:
    """The value as an array of float64 of one of these forms, no axis empty, all numbers finite.

    Parameters
    ----------
    name : of the argument
    value : what came
    hint : what to write instead
    forms : such as "(N, K)"; they differ in the number of axes

    Raises
    ------
    TypeError, ValueError
        Naming the argument, what came and what was expected.
    """
    wanted = " or ".join(forms)
    try:
        array = np.asarray(as_array(name, value))
    except (TypeError, ValueError) as error:
        if isinstance(value, np.ma.MaskedArray):
            raise  # in words of its own
        got = "a ragged list" if isinstance(value, list | tuple) else type(value).__name__
        raise type(error)(f"{name} must be an array {wanted}, got {got}: {hint}") from None
    if array.dtype.kind not in "fiub":
        got = f"dtype {array.dtype}" if hasattr(value, "dtype") else type(value).__name__
        raise TypeError(f"{name} must be an array {wanted} of numbers, got {got}: {hint}")
    if array.ndim not in {len(form.replace(",)", ")").split(",")) for form in forms}:
        raise ValueError(f"{name} must have shape {wanted}, got {array.shape}: {hint}")
    if array.size == 0:
        raise ValueError(f"{name} must hold at least one number, got shape {array.shape}: {hint}")
    values = array.astype(np.float64)
    wrong = ~(np.abs(values) < LARGEST)  # NaN is not below either
    if wrong.any():
        place = tuple(map(int, np.argwhere(wrong)[0]))
        raise ValueError(
            f"{name} must hold finite numbers below {LARGEST:g}, got {values[place]} at {place}"
        )
    return values


def whole(name: str, values: npt.NDArray[np.float64], below: float = np.inf) -> None:
    """Raise where a number is not whole, negative, or not below a bound."""
    if not bool(np.all((values == np.floor(values)) & (values >= 0) & (values < below))):
        bound = "" if below == np.inf else f" and < {below:g}"
        got = f"values from {values.min():g} to {values.max():g}"
        raise ValueError(f"{name} must be whole numbers >= 0{bound}, got {got}")


def names_of(argument: str, names: object, k: int) -> list[str]:
    """What to write for each of K classes: its name, or its number where there are no names.

    A name that the font cannot write is written in Latin letters where we know them, else as "#3",
    which no reader takes for the name of another class; one that is very long is cut.

    Raises
    ------
    TypeError, ValueError
        If these are not K names: text or whole numbers.
    """
    if names is None:
        return [str(i) for i in range(k)]
    listed = _listed(argument, names, k)
    if len(listed) != k:
        raise ValueError(f"{argument} must name each of the {k} {argument}, got {len(listed)}")
    for name in listed:
        if not isinstance(name, str | int | np.integer | np.bool_):
            raise TypeError(f"{argument} must be text or whole numbers, got {name!r:.60}")
    return [written(_short_number(name), f"#{i}") for i, name in enumerate(listed)]


def _listed(argument: str, names: Any, k: int) -> list[Any]:
    if not isinstance(names, str | bytes | Mapping | Set):
        try:
            if len(names) >= 0:
                return list(names)
        except TypeError:
            pass
    raise TypeError(f"{argument} must be a sequence of {k} names, got {type(names).__name__}")


def _short_number(name: object) -> str:
    """A name as text; whole numbers of thousands of digits cannot be written, nor read."""
    if isinstance(name, int) and abs(name) >= 10**LETTERS:
        return ""
    return str(name)


def written(name: str, otherwise: str) -> str:
    """A name as the font can write it, on one line, cut to a length; else what stands for it."""
    from fnnet.plots._figure import can_write

    text = cut(" ".join(name.split()), LETTERS)
    return text if text and can_write(text) else ROMAJI.get(text, otherwise)


def cut(text: str, letters: int) -> str:
    """A text of so many letters at most."""
    return text if len(text) <= letters else text[: letters - 1].rstrip() + "…"


def need_matplotlib() -> None:
    """Raise where Matplotlib is missing, saying what to install."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise ImportError("figures need Matplotlib: pip install matplotlib") from error


@contextmanager
def sheet(
    width: float, height: float, layout: Literal["constrained"] | None = None
) -> Iterator[Figure]:
    """An empty figure of a size in inches, to be drawn on with Matplotlib's own settings."""
    from fnnet.plots._figure import Figure, default_settings

    with default_settings():
        yield Figure(figsize=(width, height), dpi=DPI, layout=layout)


def place(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place given in inches from the figure's upper left corner."""
    w, h = figure.get_size_inches()
    return figure.add_axes((left / w, 1 - (top + height) / h, width / w, height / h))


def tidy(axes: Axes) -> Axes:
    """Axes with two spines and small numbers."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.tick_params(colors=INK, labelsize=8)
    axes.grid(axis="y", color="#E8E8E8", lw=0.6)
    axes.set_axisbelow(True)
    return axes


def bare(axes: Axes) -> Axes:
    """Axes without spines and ticks."""
    axes.spines[:].set_visible(False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.tick_params(length=0, colors=INK, labelsize=8)
    return axes


def on_shade(colour: tuple[float, ...]) -> str:
    """White or black, whichever can be read on a colour: their contrast is 4.5 or more."""
    red, green, blue = (
        c / 12.92 if c <= 0.04 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]
    )
    return "white" if 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.18 else "black"
