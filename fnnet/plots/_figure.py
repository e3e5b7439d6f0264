"""The figure that `plots` returns, and what its font can write. This module needs Matplotlib.

A figure is made, laid out and written with Matplotlib's own settings: a `matplotlibrc` or a style
made for something else (LaTeX that is not there, light text for a dark page) does not reach it.
Matplotlib keeps its settings in one place for the whole process, so they change while a figure is
drawn, under a lock, and are then what they were.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import matplotlib
import matplotlib.figure
import matplotlib.style
from matplotlib.backend_bases import RendererBase
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.textpath import text_to_path
from matplotlib.transforms import Bbox

FONT = "DejaVu Sans"  # comes with Matplotlib: a figure is the same on every machine
_LOCK = threading.RLock()  # else two threads could each put back what the other had set


@contextmanager
def default_settings() -> Iterator[None]:
    """Matplotlib's settings as they are without any user's; afterwards they are what they were."""
    with _LOCK, matplotlib.style.context("default"):
        matplotlib.rcParams["font.family"] = FONT
        yield


class Figure(matplotlib.figure.Figure):
    """A Matplotlib figure that shows itself where it is a notebook cell's value.

    No user's settings change how it is drawn. To change it, use what it holds, for example
    ``figure.axes[0].set_title("digits")``.
    """

    def _repr_png_(self) -> bytes:
        """The figure as a PNG file, which is what a notebook asks for."""
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()

    def savefig(self, fname: Any, **kwargs: Any) -> None:
        """Write the figure to a file, as Matplotlib's own figures do."""
        with default_settings():
            super().savefig(fname, **kwargs)

    def draw(self, renderer: RendererBase) -> None:
        """Draw the figure, as Matplotlib's own figures do."""
        with default_settings():
            super().draw(renderer)

    def get_tightbbox(self, *args: Any, **kwargs: Any) -> Bbox:
        """The box around all that is drawn, as Matplotlib's own figures give it."""
        with default_settings():
            return super().get_tightbbox(*args, **kwargs)


@cache
def _letters() -> frozenset[int]:
    """The code points that the font has, both regular and bold."""
    regular, bold = (
        frozenset(get_font(findfont(FontProperties(family=FONT, weight=weight))).get_charmap())
        for weight in ("normal", "bold")
    )
    return regular & bold


def can_write(text: str) -> bool:
    """Whether the font has every letter of a text."""
    return all(ord(letter) in _letters() for letter in text)


def inches(texts: Iterable[str], points: float, weight: str = "normal") -> float:
    """The width of the widest text in letters of a size."""
    font = FontProperties(family=FONT, size=points, weight=weight)
    widths = (text_to_path.get_text_width_height_descent(t, font, ismath=False)[0] for t in texts)
    return max(map(float, widths)) / 72
