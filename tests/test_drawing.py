"""How figures look: what is written stays in its place and can be read, whatever the settings."""

from __future__ import annotations

import importlib
import io
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import fnnet
from tests.test_plots import FIGURES, NAMES

matplotlib = pytest.importorskip("matplotlib")
from matplotlib.text import Text  # noqa: E402

from fnnet import plots  # noqa: E402


@pytest.mark.parametrize("decades", [0.1, 1, 1.7, 2.4, 2.6, 4.2, 4.9, 5.1, 7, 40])
def test_numbers_of_the_loss_s_axis_do_not_touch_however_far_it_reaches(decades: float) -> None:
    rows = [fnnet.Metrics(i, 3 * 10 ** (-decades * i / 9), 0.5, 3.0, 0.5, 0.1) for i in range(10)]
    figure = plots.plot_history(rows)
    figure.draw_without_rendering()
    axis = figure.axes[0].yaxis
    low, high = sorted(axis.get_view_interval())
    shown = [
        tick.label1.get_window_extent()
        for tick, place in zip(axis.get_major_ticks(), axis.get_majorticklocs(), strict=True)
        if low <= place <= high and tick.label1.get_text()
    ]
    assert len(shown) >= (2 if decades >= 1 else 0)
    edges = sorted((box.y0, box.y1) for box in shown)
    gaps = [lower - upper for (_, upper), (lower, _) in pairwise(edges)]
    assert min(gaps, default=1) > 1  # pixels


@pytest.mark.parametrize("logit", np.linspace(0, 12, 25))
def test_the_probability_of_a_confident_mistake_can_be_read_whatever_its_bar(logit: float) -> None:
    logits = np.array([[logit, 12.0, *np.linspace(0, 3, 8)]])
    figure = plots.plot_predictions(np.ones((1, 4, 4)), logits, np.array([0]))
    bars = figure.axes[1]
    figure.canvas.draw()
    text, bar = bars.texts[0], bars.patches[0].get_window_extent()
    where = text.get_window_extent()
    if text.get_color() == "white":
        assert bar.x0 < where.x0 < where.x1 < bar.x1
    else:
        assert bar.x1 < where.x0 < where.x1 < figure.bbox.x1


def test_long_names_stay_within_the_figure_and_off_the_pictures() -> None:
    names = ("Ankle boot", "T-shirt/top", "Trouser")
    figure = plots.plot_predictions(np.ones((4, 4, 4)), np.eye(4)[:, :3], np.zeros(4, int), names)
    figure.draw_without_rendering()
    for picture, bars in zip(figure.axes[::2], figure.axes[1::2], strict=True):
        names_and_bars = bars.get_tightbbox()
        assert names_and_bars is not None
        assert picture.get_window_extent().x1 < names_and_bars.x0
        assert names_and_bars.x1 <= figure.bbox.x1
    assert len({axes.get_window_extent().x0 for axes in figure.axes[::2]}) == 3  # columns


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize("k", [1, 3, 6])
def test_probabilities_of_labels_stay_within_their_place(k: int, scale: float) -> None:
    z = scale * np.random.default_rng(k).standard_normal((3, k))
    figure = plots.plot_predictions(np.ones((3, 4, 4)), z, z < 0, output="sigmoid")
    figure.draw_without_rendering()
    for bars in figure.axes[1::2]:
        for text in bars.texts:
            assert text.get_window_extent().x1 <= bars.get_window_extent().x1 + 20


def assert_within(figure: Any) -> None:
    """All that is drawn lies in the figure."""
    figure.draw_without_rendering()
    for axes in figure.axes:
        box = axes.get_tightbbox()
        assert box is not None
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1


@pytest.mark.parametrize("scale", [1e-90, 0.0125, 12345.6, 1e90])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_what_is_written_about_numbers_stays_within_the_figure(scale: float, offset: float) -> None:
    true = scale * (np.random.default_rng(0).standard_normal((30, 4)) + offset)
    for figure in (
        plots.plot_regression(true, true),
        plots.plot_regression(true[:, 0], true[:, 0]),
    ):
        assert_within(figure)


@pytest.mark.parametrize("k", [1, 2, 10, 40, 120])
@pytest.mark.parametrize("length", [1, 28])
def test_what_is_written_about_a_confusion_stays_within_the_figure(k: int, length: int) -> None:
    names = ["w" * length] * k
    figures = [plots.plot_confusion(np.eye(k, dtype=int) * 9999, names)]
    if k <= 40:
        figures.append(plots.plot_confusion(np.ones((k, 2, 2), int), names))
    for figure in figures:
        assert_within(figure)


def test_names_are_drawn_as_they_are_in_every_script_of_the_font() -> None:
    figure = plots.plot_confusion(np.eye(8, dtype=int), NAMES)
    axes = figure.axes[0]
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == NAMES
        assert not any(label.get_parse_math() for label in labels)
    pictures = plots.plot_predictions(np.ones((8, 4, 4)), np.eye(8), [1] * 8, NAMES)
    assert [a.get_title("left") for a in pictures.axes[:4:2]] == ["Tür, not größer", "größer"]
    for drawn in (figure, pictures):
        drawn.savefig(io.BytesIO())  # a missing glyph would warn, and warnings are errors


def png(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_shows_itself_as_the_png_file_that_it_would_save(name: str) -> None:
    figure = FIGURES[name]()
    assert isinstance(figure, matplotlib.figure.Figure)
    shown = figure._repr_png_()
    assert shown.startswith(b"\x89PNG\r\n")
    assert shown == png(figure)
    plain = pickle.loads(pickle.dumps(figure))
    assert type(plain) is type(figure)


def test_a_notebook_shows_a_figure_of_plots_without_pyplot() -> None:
    formatters = pytest.importorskip("IPython.core.formatters")
    data, _ = formatters.DisplayFormatter().format(FIGURES["plot_weights"]())
    assert data["image/png"].startswith(b"\x89PNG")


@pytest.fixture
def users_settings() -> Iterator[None]:
    """Settings of a user that would change every part of a figure."""
    with matplotlib.rc_context():
        importlib.import_module("matplotlib.style").use("dark_background")
        matplotlib.rcParams.update(
            {
                "text.usetex": True,  # and there may be no LaTeX
                "font.family": "serif",
                "font.size": 20,
                "axes.grid": True,
                "figure.autolayout": True,
                "image.origin": "lower",
                "savefig.dpi": 40,
                "savefig.bbox": "tight",
                "lines.linewidth": 9,
                "xtick.direction": "in",
                "axes.unicode_minus": False,
            }
        )
        yield


@pytest.mark.parametrize("name", FIGURES)
def test_no_settings_of_a_user_reach_a_figure(name: str, request: pytest.FixtureRequest) -> None:
    usual = FIGURES[name]()
    expected, tight = png(usual), io.BytesIO()
    usual.savefig(tight, bbox_inches="tight")
    request.getfixturevalue("users_settings")
    before = dict(matplotlib.rcParams)
    figure = FIGURES[name]()
    assert png(figure) == png(usual) == expected
    file = io.BytesIO()  # as notebooks do, whose settings write past `savefig`
    figure.canvas.print_figure(file, bbox_inches="tight", dpi=figure.dpi, facecolor="white")
    assert file.getvalue() == tight.getvalue()
    assert dict(matplotlib.rcParams) == before


def test_figures_of_many_threads_leave_the_settings_as_they_were() -> None:
    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"lines.linewidth": 7.0}), ThreadPoolExecutor(4) as pool:
        pictures = list(pool.map(lambda _: png(FIGURES["plot_confusion"]()), range(8)))
        assert len(set(pictures)) == 1
        assert matplotlib.rcParams["lines.linewidth"] == 7
    assert dict(matplotlib.rcParams) == before


def contrast(colour: Any) -> float:
    """Contrast of a colour on white, as WCAG 2 defines it."""
    rgb = np.array(matplotlib.colors.to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05))


@pytest.mark.parametrize("name", ["plot_history", "plot_predictions", "plot_regression"])
@pytest.mark.usefixtures("users_settings")
def test_text_can_be_read_on_white(name: str) -> None:
    figure = FIGURES[name]()
    assert matplotlib.colors.to_rgb(figure.get_facecolor()) == (1, 1, 1)
    figure.draw_without_rendering()
    for text in figure.findobj(Text):
        if text.get_text() and text.get_color() != "white":  # white stands on bars
            assert contrast(text.get_color()) >= 4.5, text


@pytest.mark.parametrize("share", np.linspace(0, 100, 21))
def test_counts_of_any_share_can_be_read(share: float) -> None:
    wrong = round(10 * share)
    axes = plots.plot_confusion(np.array([[1000 - wrong, wrong], [999, 1]])).axes[0]
    image, text = axes.images[0], axes.texts[1]
    behind = contrast(image.to_rgba(np.asarray(image.get_array())[0, 1:])[0])
    ratio = contrast(text.get_color()) / behind
    assert not wrong or max(ratio, 1 / ratio) >= 4.4


def test_drawing_again_changes_nothing() -> None:
    for draw in FIGURES.values():
        figure = draw()
        assert figure._repr_png_() == figure._repr_png_()
