"""The steps of a reading, drawn: picture, contrast, ink, and what the network is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fnnet.checks import instance_of, items_of
from fnnet.pictures.reading import Reading
from fnnet.plots._drawing import INK, ORANGE, WIDTH, need_matplotlib, sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fnnet.plots._figure import Figure

TITLES = ("picture", "contrast with the paper", "ink", "for the network")
MOST = 4  # objects of a picture that are drawn as the network is given them


def plot_readings(readings: Sequence[Reading], names: Sequence[str]) -> Figure:
    """A row of steps for each picture; refusals stand above their rows.

    Parameters
    ----------
    readings : of `fnnet.pictures.read_picture`, one or more
    names : of the pictures, as many

    Returns
    -------
    figure : as those of `fnnet.plots`

    Raises
    ------
    TypeError
        If one of the two is no sequence.
    ValueError
        If there is no reading or the numbers differ.
    ImportError
        If Matplotlib is not installed.
    """
    need_matplotlib()
    readings, names = items_of("readings", readings, "readings"), items_of("names", names, "names")
    for reading in readings:
        instance_of(Reading, "each of readings", reading)
    if not readings or len(readings) != len(names):
        raise ValueError(
            f"readings and names must be as many, and one at least, "
            f"got {len(readings)} and {len(names)}"
        )
    with sheet(WIDTH, 2.1 * len(readings) + 0.3, "constrained") as figure:
        _draw(figure, readings, names)
    return figure


def _draw(figure: Figure, readings: Sequence[Reading], names: Sequence[str]) -> None:
    """Draw the rows."""
    grid = figure.subplots(len(readings), len(TITLES), squeeze=False)
    for row, reading, name in zip(grid, readings, names, strict=True):
        steps = reading.steps
        row[0].imshow(steps.small.clip(0, 255) / 255, cmap="gray", vmin=0, vmax=1)
        row[1].imshow(steps.contrast, cmap="Greys")
        row[2].imshow(steps.ink, cmap="Greys", vmin=0, vmax=1)
        _outline(row[2], reading)
        images = [found.image for found in reading.found[:MOST]]
        if images:
            row[3].imshow(np.concatenate(images, axis=1), cmap="Greys", vmin=0, vmax=255)
        for axes, title in zip(row, TITLES, strict=True):
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_xlabel(title, fontsize=7, color=INK)
        told = f"{name[-60:]}: {reading.refusal}" if reading.refusal else name[-60:]
        row[0].set_title(told, fontsize=8, loc="left", color=INK, parse_math=False)


def _outline(axes: Axes, reading: Reading) -> None:
    """Draw the boxes of the objects."""
    from matplotlib.patches import Rectangle

    scale, (first, start) = reading.steps.scale, reading.steps.corner
    for found in reading.found:
        begin = (first, start, first, start)
        top, left, bottom, right = (
            (n - n0) / scale for n, n0 in zip(found.box, begin, strict=True)
        )
        corner = (left - 0.5, top - 0.5)
        axes.add_patch(Rectangle(corner, right - left, bottom - top, fill=False, ec=ORANGE, lw=0.8))
