"""Figures of a run: curves, predictions, numbers against numbers, confusion, weights.

Each function returns a Matplotlib figure, which shows itself where it is a notebook cell's value;
write it to a file with ``figure.savefig(path)``. No pyplot is used, no window opens, and no
`matplotlibrc` or style changes how a figure is drawn. Figures need Matplotlib: ``pip install
matplotlib``.

Names are written as they are, in any letters that Matplotlib's own font has (Latin, Greek,
Cyrillic and more); a name in others is drawn as the number of its class, "#3".
"""

from fnnet.plots._confusion import plot_confusion
from fnnet.plots._drawing import BLUE, DPI, GREY, INK, ORANGE
from fnnet.plots._history import plot_history
from fnnet.plots._predictions import plot_predictions
from fnnet.plots._regression import plot_regression
from fnnet.plots._weights import plot_weights

__all__ = [
    "BLUE",
    "DPI",
    "GREY",
    "INK",
    "ORANGE",
    "plot_confusion",
    "plot_history",
    "plot_predictions",
    "plot_regression",
    "plot_weights",
]
