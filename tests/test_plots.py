"""Figures: what they show, that they touch nothing, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fnnet

matplotlib = pytest.importorskip("matplotlib")
from matplotlib.patches import Rectangle  # noqa: E402
from matplotlib.text import Text  # noqa: E402

from fnnet import plots  # noqa: E402


def history(n: int = 3, test: bool = True) -> list[fnnet.Metrics]:
    nan = math.nan
    return [
        fnnet.Metrics(i, 1 / i, 1 - 1 / i, 2 / i if test else nan, 0.5 if test else nan, 0.1)
        for i in range(1, n + 1)
    ]


def test_curves_show_both_splits_in_nats_and_percent() -> None:
    loss, accuracy = plots.plot_history(history(), "validation").axes
    assert loss.get_title("left") == "loss (nats)"
    assert accuracy.get_title("left") == "accuracy (%)"
    lines = {line.get_label(): np.asarray(line.get_ydata(), float) for line in accuracy.lines}
    np.testing.assert_allclose(lines["training"], np.array([0, 50, 200 / 3]))
    np.testing.assert_allclose(lines["validation"], np.full(3, 50.0))


def test_curves_leave_out_a_split_that_was_not_measured() -> None:
    loss, _ = plots.plot_history(history(test=False)).axes
    assert [line.get_label() for line in loss.lines] == ["training"]


def test_each_line_is_named_beside_its_end_and_names_do_not_overlap() -> None:
    close = [
        fnnet.Metrics(1, 0.5, 0.9, 0.5, 0.9, 0.1),
        fnnet.Metrics(2, 0.4, 0.9, 0.4, 0.9001, 0.1),
    ]
    figure = plots.plot_history(close, "validation")
    figure.draw_without_rendering()
    for axes in figure.axes:
        first, second = axes.texts
        assert first.get_text().startswith("training ")
        assert second.get_text().startswith("validation ")
        assert not first.get_window_extent().overlaps(second.get_window_extent())
        for text in (first, second):
            assert text.get_window_extent().x1 <= figure.bbox.x1


def test_a_loss_of_zero_is_still_drawn() -> None:
    loss, _ = plots.plot_history([fnnet.Metrics(1, 0.0, 1.0, 0.5, 0.9, 0.1)]).axes
    assert loss.get_yscale() == "linear"
    assert plots.plot_history(history()).axes[0].get_yscale() == "log"


def test_a_wrong_prediction_is_named_coloured_and_framed() -> None:
    logits = np.array([[1.0, 3.0, -2.0], [1.0, 3.0, 0.0]])
    y, names = np.array([1, 2]), ("cat", "dog", "ž")
    figure = plots.plot_predictions(np.ones((2, 4, 4)), logits, y, names)
    right, right_bars, wrong, wrong_bars = figure.axes
    assert right.get_title("left") == "dog"
    assert (
        wrong.get_title("left") == "dog, not 2"
    )  # letters that fonts may lack give way to numbers
    assert not right.spines["top"].get_visible()
    assert wrong.spines["top"].get_visible()
    title_colours = [
        next(t.get_color() for t in axes.findobj(Text) if t.get_text() == axes.get_title("left"))
        for axes in (right, wrong)
    ]
    assert title_colours[0] != title_colours[1]
    for axes, z, title in zip((right_bars, wrong_bars), logits, title_colours, strict=True):
        bars = [bar for bar in axes.patches if isinstance(bar, Rectangle)]
        widths = [bar.get_width() for bar in bars]
        assert bars[1].get_facecolor() == matplotlib.colors.to_rgba(title)
        np.testing.assert_allclose(np.diff(widths), np.diff(z))
    assert len({bar.get_facecolor() for bar in right_bars.patches}) == 2
    assert len({bar.get_facecolor() for bar in wrong_bars.patches}) == 3  # the true class's own


def test_probabilities_are_written_and_never_claim_certainty() -> None:
    logits = np.log(np.array([[0.75, 0.244, 0.006], [1e-6, 1 - 2e-6, 1e-6]]))
    figure = plots.plot_predictions(np.ones((2, 4, 4)), logits, np.array([0, 2]))
    first, second = ([text.get_text() for text in axes.texts] for axes in figure.axes[1::2])
    assert first == ["75 %", "24 %"]
    assert second == ["> 99 %", "< 1 %"]


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


def test_probabilities_of_equal_logits_are_drawn_without_bars() -> None:
    figure = plots.plot_predictions(np.ones((1, 4, 4)), np.zeros((1, 4)), np.array([1]))
    assert {text.get_color() for text in figure.axes[1].texts} == {plots.INK}


def test_hiragana_are_written_in_letters_that_fonts_have() -> None:
    names = tuple("おきすつなはまやれを")
    figure = plots.plot_predictions(np.ones((1, 4, 4)), np.eye(10)[:1], classes=names)
    labels = [label.get_text() for label in figure.axes[1].get_yticklabels()]
    assert labels == ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]
    figure.draw_without_rendering()  # a missing glyph would warn, and warnings are errors


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


def test_predictions_without_labels_are_titled_by_the_prediction() -> None:
    figure = plots.plot_predictions(np.ones((5, 4, 4)), np.eye(5))
    assert [axes.get_title("left") for axes in figure.axes[::2]] == ["0", "1", "2", "3", "4"]


def test_confusion_writes_each_count_and_shades_mistakes_alone() -> None:
    confusion = np.array([[50, 0], [10, 30]])
    figure = plots.plot_confusion(confusion, ("even number", "odd"))
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["50", "·", "10", "30"]
    np.testing.assert_allclose(np.asarray(axes.images[0].get_array(), float), [[0, 0], [25, 0]])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["even number", "odd"]


def test_a_class_without_samples_is_no_division_by_zero() -> None:
    shares = plots.plot_confusion(np.array([[0, 0], [0, 3]])).axes[0].images[0].get_array()
    np.testing.assert_allclose(np.asarray(shares, float), 0)


def test_counts_can_be_read_on_any_shade() -> None:
    confusion = np.array([[50, 50, 1], [0, 100, 0], [0, 0, 9]])
    texts = plots.plot_confusion(confusion).axes[0].texts
    assert texts[1].get_color() == "white"
    assert texts[2].get_color() != "white"


def test_weights_are_drawn_strongest_first_each_on_its_own_scale() -> None:
    w = np.array([[1.0, -3.0, 0.0], [1.0, 1.5, 0.0], [0.5, 0.0, 0.0], [0.0, 0.0, 0.0]])
    sheet = np.asarray(plots.plot_weights(w, (2, 2)).axes[0].images[0].get_array(), float)
    nan = math.nan
    expected = [[-1, 0.5, nan, 1, 1, nan, 0, 0], [0, 0, nan, 0.5, 0, nan, 0, 0]]
    np.testing.assert_allclose(sheet, expected)
    fewer = plots.plot_weights(w, (2, 2), limit=2).axes[0].images[0].get_array()
    assert np.asarray(fewer).shape == (2, 5)


@pytest.mark.parametrize("shape", [(28, 28), (8, 8), (3, 5)])
def test_every_weight_is_a_whole_number_of_pixels(shape: tuple[int, int]) -> None:
    w = np.random.default_rng(0).standard_normal((math.prod(shape), 30))
    figure = plots.plot_weights(w, shape)
    axes = figure.axes[0]
    height, width = np.asarray(axes.images[0].get_array()).shape
    box = axes.get_window_extent()
    assert box.width / width == pytest.approx(round(box.width / width), rel=1e-6)
    assert box.height / height == pytest.approx(box.width / width, rel=1e-6)
    assert box.x0 == pytest.approx(round(box.x0), abs=1e-3)


def test_figures_change_no_settings_and_open_no_windows() -> None:
    import matplotlib.pyplot as plt

    before = dict(matplotlib.rcParams)
    plots.plot_history(history())
    plots.plot_confusion(np.eye(3, dtype=int))
    assert dict(matplotlib.rcParams) == before
    assert plt.get_fignums() == []


def test_what_does_not_fit_is_refused_by_name() -> None:
    image, logits = np.ones((1, 4, 4)), np.ones((1, 3))
    with pytest.raises(ValueError, match="history"):
        plots.plot_history([])
    for images, z, y in (
        (image[0], logits, None),
        (image, np.ones((2, 3)), None),
        (image[:0], logits[:0], None),
        (image, logits, np.array([1, 2])),
    ):
        with pytest.raises(ValueError, match="images"):
            plots.plot_predictions(images, z, y)
    with pytest.raises(ValueError, match="classes must name each of the 3"):
        plots.plot_predictions(image, logits, classes=("a", "b"))
    with pytest.raises(ValueError, match="confusion"):
        plots.plot_confusion(np.ones((2, 3), int))
    for w, shape in ((np.ones((4, 2)), (2, 3)), (np.ones(4), (2, 2)), (np.ones((4, 2)), (4,))):
        with pytest.raises(ValueError, match="shape"):
            plots.plot_weights(w, shape)
    with pytest.raises(ValueError, match="limit"):
        plots.plot_weights(np.ones((4, 2)), (2, 2), limit=0)


def test_without_matplotlib_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'fnnet\[scripts\]'"):
        plots.plot_history(history())
