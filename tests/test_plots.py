"""Figures: what they show, that they touch nothing, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fnnet

matplotlib = pytest.importorskip("matplotlib")
from matplotlib.patches import Rectangle  # noqa: E402

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


def test_a_wrong_prediction_is_named_and_coloured() -> None:
    logits = np.array([[1.0, 3.0, -2.0], [1.0, 3.0, 0.0]])
    y, names = np.array([1, 2]), ("cat", "dog", "かな")
    figure = plots.plot_predictions(np.ones((2, 4, 4)), logits, y, names)
    right, right_bars, wrong, wrong_bars = figure.axes
    assert right.get_title() == "dog"
    assert wrong.get_title() == "dog, not 2"  # letters that the fonts lack give way to numbers
    for axes, picture in ((right_bars, right), (wrong_bars, wrong)):
        colour = matplotlib.colors.to_rgba(picture.title.get_color())
        widths = [bar.get_width() for bar in axes.patches if isinstance(bar, Rectangle)]
        assert [bar.get_facecolor() == colour for bar in axes.patches] == [False, True, False]
        assert int(np.argmax(widths)) == 1
        np.testing.assert_allclose(np.diff(widths), np.diff(logits[0 if axes is right_bars else 1]))
    assert right.title.get_color() != wrong.title.get_color()


def test_predictions_without_labels_are_titled_by_the_prediction() -> None:
    figure = plots.plot_predictions(np.ones((5, 4, 4)), np.eye(5))
    assert [axes.get_title() for axes in figure.axes[::2]] == ["0", "1", "2", "3", "4"]


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


def test_weights_are_drawn_strongest_first_each_on_its_own_scale() -> None:
    w = np.array([[1.0, -3.0, 0.0], [1.0, 2.0, 0.0], [0.5, 0.0, 0.0], [0.0, 0.0, 0.0]])
    axes = plots.plot_weights(w, (2, 2)).axes
    np.testing.assert_array_equal(axes[0].images[0].get_array(), [[-3, 2], [0, 0]])
    assert [a.images[0].get_clim() for a in axes] == [(-3, 3), (-1, 1), (-1, 1)]
    assert len(plots.plot_weights(w, (2, 2), limit=2).axes) == 2


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
