"""Figures: what they show, that they touch nothing, and what they refuse."""

from __future__ import annotations

import io
import math
import pickle
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

import fnnet
from tests.test_bad_input import WRONG

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
    assert wrong.get_title("left") == "dog, not ž"
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


def test_probabilities_of_equal_logits_are_drawn_without_bars() -> None:
    figure = plots.plot_predictions(np.ones((1, 4, 4)), np.zeros((1, 4)), np.array([1]))
    assert {text.get_color() for text in figure.axes[1].texts} == {plots.INK}


def test_hiragana_are_written_in_letters_that_fonts_have() -> None:
    names = tuple("おきすつなはまやれを")
    figure = plots.plot_predictions(np.ones((1, 4, 4)), np.eye(10)[:1], classes=names)
    labels = [label.get_text() for label in figure.axes[1].get_yticklabels()]
    assert labels == ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]
    figure.draw_without_rendering()  # a missing glyph would warn, and warnings are errors


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


def several() -> list[Any]:
    """A history of three epochs of an ensemble of two, of which the second diverges."""
    nan = math.nan
    members = [(m, replace(m, train_loss=3 * m.train_loss)) for m in history()]
    members[-1] = (members[-1][0], replace(members[-1][1], train_loss=nan, test_loss=nan))
    return [replace(m, members=pair) for m, pair in zip(history(), members, strict=True)]


def test_curves_of_an_ensemble_have_a_band_from_the_least_to_the_greatest_member() -> None:
    rows = several()
    figure = plots.plot_history(rows)
    bands = figure.axes[0].collections
    assert len(bands) == 2  # training and test
    corners = np.asarray(bands[0].get_paths()[0].vertices, float)
    for row in rows:
        heights = corners[corners[:, 0] == row.epoch, 1]
        assert heights.min() == pytest.approx(row.members[0].train_loss)
        top = row.members[0 if row.epoch == 3 else 1].train_loss  # where the other diverged
        assert heights.max() == pytest.approx(top)
    note = figure.get_supxlabel()
    assert "mean of 2 members" in note
    assert "left out: 1 that diverged" in note
    figure.draw_without_rendering()


def numbers_history(*r2: float) -> list[Any]:
    nan = math.nan
    return [
        fnnet.Metrics(i, 1 / i, nan, 2 / i, nan, 0.1, train_r2=value, test_r2=value - 0.1)
        for i, value in enumerate(r2, 1)
    ]


def test_curves_of_numbers_show_r2_in_the_place_of_the_accuracy() -> None:
    loss, r2 = plots.plot_history(numbers_history(-2.0, 0.5, 0.75)).axes
    assert loss.get_title("left") == "loss (half the squared error)"
    assert r2.get_title("left") == "R²"
    np.testing.assert_allclose(np.asarray(r2.lines[0].get_ydata(), float), [-2, 0.5, 0.75])
    assert r2.get_ylim()[0] == 0  # no better than the mean
    _, worse = plots.plot_history(numbers_history(-2.0, -1.0)).axes
    assert worse.get_ylim()[0] < -2


def test_curves_show_the_loss_alone_where_nothing_else_has_a_meaning() -> None:
    nan = math.nan
    figure = plots.plot_history([fnnet.Metrics(1, 0.5, nan, nan, nan, 0.1)])
    assert [axes.get_title("left") for axes in figure.axes] == ["loss (nats)"]


def test_curves_take_the_records_that_train_yields() -> None:
    split = fnnet.Split(np.eye(4, 6), np.zeros(4, int))
    state = fnnet.rmsprop_init(fnnet.init_params(0, (6, 2), np.float64))
    records = list(fnnet.train(state, split, rng=0, epochs=2))
    loss = plots.plot_history(records).axes[0].lines[0].get_ydata()
    np.testing.assert_array_equal(np.asarray(loss), [r.metrics.train_loss for r in records])


def test_a_curve_that_ends_in_nan_or_infinity_says_that_it_diverged() -> None:
    for last in (math.nan, math.inf):
        rows = [*history(), replace(history()[-1], epoch=4, train_loss=last)]
        axes = plots.plot_history(rows).axes[0]
        assert axes.texts[0].get_text() == "training diverged"
        assert all(math.isfinite(text.xy[1]) for text in axes.texts)  # type: ignore[attr-defined]  # annotations
        plots.plot_history(rows).draw_without_rendering()


LABELS = np.array([[2.0, -3.0, 1.0], [2.0, -3.0, 1.0]])


def test_several_labels_are_predicted_each_for_itself_from_zero() -> None:
    y, names = np.array([[1, 0, 1], [0, 1, 1]]), ("cat", "dog", "sea")
    figure = plots.plot_predictions(np.ones((2, 4, 4)), LABELS, y, names, output="sigmoid")
    right, right_bars, wrong, wrong_bars = figure.axes
    assert right.get_title("left") == "cat, sea"
    assert wrong.get_title("left") == "1 of 3 right"
    for axes in (right_bars, wrong_bars):
        bars = [bar for bar in axes.patches if isinstance(bar, Rectangle)]
        np.testing.assert_allclose([bar.get_width() for bar in bars], LABELS[0])
        assert {bar.get_x() for bar in bars} == {0}
        assert [text.get_text() for text in axes.texts] == ["88 %", "5 %", "73 %"]
    colours = [[bar.get_facecolor() for bar in axes.patches] for axes in (right_bars, wrong_bars)]
    to = matplotlib.colors.to_rgba
    assert colours[0] == [to(plots.BLUE), to(plots.GREY), to(plots.BLUE)]
    assert colours[1] == [to(plots.ORANGE), to(plots.INK), to(plots.BLUE)]


def test_one_label_is_there_or_not() -> None:
    logits = np.array([[2.0], [-2.0], [-2.0]])
    for y in ([1, 0, 1], [[1], [0], [1]]):
        figure = plots.plot_predictions(np.ones((3, 4, 4)), logits, y, ["crack"], output="sigmoid")
        titles = [axes.get_title("left") for axes in figure.axes[::2]]
        assert titles == ["crack", "no crack", "wrong"]


def test_of_many_classes_the_likeliest_and_the_true_one_have_bars() -> None:
    z = np.arange(100.0)[None]
    figure = plots.plot_predictions(np.ones((1, 4, 4)), z, [3])
    names = [int(label.get_text()) for label in figure.axes[1].get_yticklabels()]
    assert names == [3, *range(89, 100)]
    assert figure.axes[0].get_title("left") == "99, not 3"


def test_labels_come_as_lists_columns_or_distributions() -> None:
    images, z = np.ones((2, 4, 4)), np.eye(2, 3)
    for y in ([0, 2], np.array([[0], [2]]), [[0.9, 0.1, 0], [0.2, 0.2, 0.6]]):
        titles = [a.get_title("left") for a in plots.plot_predictions(images, z, y).axes[::2]]
        assert titles == ["0", "1, not 2"]


def test_numbers_are_drawn_against_the_true_ones_with_their_r2() -> None:
    true = np.array([[1.0, 10], [2, 20], [3, 40]])
    predicted = true + np.array([[0.5, 0], [0, 0], [0, 0]])
    first, second = plots.plot_regression(predicted, true, ("дом", "$b$")).axes
    assert first.get_title("left") == "дом\nR² 0.875   RMSE 0.289"  # 1 - 0.25 / 2, √(0.25 / 3)
    assert second.get_title("left") == "$b$\nR² 1   RMSE 0"
    line, dots = first.lines
    np.testing.assert_array_equal(line.get_xdata(), line.get_ydata())
    np.testing.assert_array_equal(np.asarray(dots.get_xdata()), true[:, 0])
    np.testing.assert_array_equal(np.asarray(dots.get_ydata()), predicted[:, 0])
    assert first.get_xlim() == first.get_ylim()


def test_numbers_of_one_output_are_a_column_or_a_vector() -> None:
    true = np.array([1.0, 2, 4])
    for p, t in product((true, true[:, None], [1, 2, 4]), (true, true[:, None])):
        assert plots.plot_regression(p, t).axes[0].get_title("left") == "R² 1   RMSE 0"
    assert plots.plot_regression([1.0, 2], [3, 3]).axes[0].get_title("left") == "RMSE 1.58"


def test_of_many_samples_cells_hold_all() -> None:
    t = np.random.default_rng(0).standard_normal(5000)
    counts = plots.plot_regression(t + 0.1, t).axes[0].collections[0].get_array()
    assert counts is not None
    assert np.asarray(counts, float).sum() == 5000


def test_several_labels_have_a_row_of_four_counts_each() -> None:
    confusion = np.array([[[90, 10], [4, 36]], [[100, 0], [20, 20]]])  # ((tn, fp), (fn, tp))
    axes = plots.plot_confusion(confusion, ("cat", "dog")).axes[0]
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["36", "4", "10", "90", "20", "20", "·", "100"]
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        "true\npositives",
        "false\nnegatives",
        "false\npositives",
        "true\nnegatives",
    ]
    shares = np.asarray(axes.images[0].get_array(), float)
    np.testing.assert_allclose(shares, [[0, 10, 10, 0], [0, 50, 0, 0]])


def test_many_classes_have_shades_and_as_many_names_as_can_be_read() -> None:
    axes = plots.plot_confusion(np.eye(120, dtype=int)).axes[0]
    assert len(axes.texts) == 0
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        str(i) for i in range(0, 120, 3)
    ]


NAMES = ["Tür", "größer", "café", "дом", "αβγ", "$a_b$", "\\frac", "1"]


def test_a_name_that_cannot_be_written_is_no_other_class() -> None:
    names = ["2", "日本", "1", "a\nb", "", "x" * 100, 7]
    axes = plots.plot_confusion(np.eye(7, dtype=int), names).axes[0]  # type: ignore[arg-type]  # numbers as names
    drawn = [label.get_text() for label in axes.get_yticklabels()]
    assert drawn == ["2", "#1", "1", "a b", "#4", "x" * 27 + "…", "7"]


def test_names_may_be_arrays() -> None:
    names: Any = np.array(["setosa", "virginica"])
    axes = plots.plot_confusion(np.eye(2, dtype=int), names).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == list(names)


FIGURES: dict[str, Callable[[], Any]] = {
    "plot_history": lambda: plots.plot_history(several()),
    "plot_predictions": lambda: plots.plot_predictions(
        np.ones((2, 4, 4)), np.eye(2, 3), [0, 2], NAMES[:3]
    ),
    "plot_regression": lambda: plots.plot_regression([1.0, 2, 4], [1.0, 2, 3]),
    "plot_confusion": lambda: plots.plot_confusion(np.array([[50, 1], [9, 40]]), NAMES[:2]),
    "plot_weights": lambda: plots.plot_weights(np.eye(4), (2, 2)),
}


GOOD: dict[str, tuple[Any, ...]] = {
    "plot_history": (history(), "test"),
    "plot_predictions": (np.ones((2, 4, 4)), np.eye(2), np.array([0, 1]), ("a", "b")),
    "plot_regression": (np.eye(2), np.eye(2), ("a", "b")),
    "plot_confusion": (np.eye(2, dtype=int), ("a", "b")),
    "plot_weights": (np.eye(4), (2, 2), 3),
}
ARGUMENTS = {
    "plot_history": ("history", "held_out"),
    "plot_predictions": ("images", "logits", "y", "classes"),
    "plot_regression": ("predicted", "true", "names"),
    "plot_confusion": ("confusion", "classes"),
    "plot_weights": ("w", "shape", "limit"),
}


def test_every_function_is_tried() -> None:
    public = {name for name in vars(plots) if name.startswith("plot_")}
    assert public == set(GOOD) == set(ARGUMENTS) == set(FIGURES)


@pytest.mark.parametrize("name", GOOD)
def test_a_wrong_argument_is_a_figure_that_can_be_drawn_or_an_error_that_names_it(
    name: str,
) -> None:
    more = {
        "words as lists": [["a", "b"]],
        "numbers near the largest": np.full((2, 2), 1e308),
        "tiny numbers": np.full((2, 2), 5e-324),
        "wide integers": np.full((2, 2), 2**63, np.uint64),
        "truths": np.eye(2, dtype=bool),
        "a set": {"a", "b"},
        "a network": fnnet.init_params(0, (4, 3)),
        "metrics of text": [fnnet.Metrics("a", "b", "c", "d", "e", "f")],  # type: ignore[arg-type]  # no type checker
        "members of text": [replace(history()[0], members="ab")],  # type: ignore[arg-type]  # as above
        "names of escapes": ["\x1b[31m", "\ud800"],
        "huge names": [10**5000, "x" * 60_000],
    }
    faults = []
    for i, (what, wrong) in product(range(len(GOOD[name])), {**WRONG, **more}.items()):
        arguments = [wrong if j == i else value for j, value in enumerate(GOOD[name])]
        try:
            getattr(plots, name)(*arguments).savefig(io.BytesIO(), dpi=20)
        except (TypeError, ValueError) as error:
            if not re.search(rf"\b({'|'.join(ARGUMENTS[name])})\b", str(error)):
                faults.append(f"{ARGUMENTS[name][i]}, {what}: {error}")
        except Exception as error:
            faults.append(f"{ARGUMENTS[name][i]}, {what}: {error!r}")
    assert "\n".join(faults) == ""


IMAGE, LOGITS = np.ones((1, 4, 4)), np.ones((1, 3))
PARAMS = fnnet.init_params(0, (4, 3))
REFUSED: dict[str, tuple[type[Exception], str, Callable[[], Any]]] = {
    "no epochs": (ValueError, "history must hold at least one", lambda: plots.plot_history([])),
    "one record": (TypeError, "history", lambda: plots.plot_history(history()[0])),  # type: ignore[arg-type]
    "one image": (ValueError, "images", lambda: plots.plot_predictions(IMAGE[0], LOGITS)),
    "flat images": (
        ValueError,
        r"images.reshape\(-1, H, W\)",
        lambda: plots.plot_predictions(np.ones((1, 16)), LOGITS),
    ),
    "fewer images": (
        ValueError,
        "images must be as many as logits",
        lambda: plots.plot_predictions(IMAGE, np.ones((2, 3))),
    ),
    "no images": (ValueError, "images", lambda: plots.plot_predictions(IMAGE[:0], LOGITS[:0])),
    "too many images": (
        ValueError,
        "images must be .* at most 400",
        lambda: plots.plot_predictions(np.ones((401, 2, 2)), np.ones((401, 2))),
    ),
    "classes for logits": (
        ValueError,
        r"logits must have shape \(N, K\).*write forward\(params, x\)",
        lambda: plots.plot_predictions(IMAGE, np.array([1])),
    ),
    "a network for logits": (
        TypeError,
        r"logits .* got Params: write forward\(params, x\)",
        lambda: plots.plot_predictions(IMAGE, PARAMS),  # type: ignore[arg-type]
    ),
    "more labels": (ValueError, "^y ", lambda: plots.plot_predictions(IMAGE, LOGITS, [1, 2])),
    "a class that does not exist": (
        ValueError,
        "y must be whole numbers >= 0 and < 3",
        lambda: plots.plot_predictions(IMAGE, LOGITS, [3]),
    ),
    "numbers with images": (
        ValueError,
        r"plot_regression\(predicted, true\)",
        lambda: plots.plot_predictions(IMAGE, LOGITS, output="identity"),
    ),
    "an unknown output": (
        ValueError,
        "output must be one of 'softmax', 'sigmoid', 'identity'",
        lambda: plots.plot_predictions(IMAGE, LOGITS, output="tanh"),
    ),
    "too few names": (
        ValueError,
        "classes must name each of the 3",
        lambda: plots.plot_predictions(IMAGE, LOGITS, classes=("a", "b")),
    ),
    "one text as names": (
        TypeError,
        "classes must be a sequence of 3 names, got str",
        lambda: plots.plot_confusion(np.eye(3, dtype=int), "abc"),
    ),
    "an oblong matrix": (
        ValueError,
        "confusion",
        lambda: plots.plot_confusion(np.ones((2, 3), int)),
    ),
    "shares": (
        ValueError,
        "confusion must be whole",
        lambda: plots.plot_confusion(np.eye(2) / 2),
    ),
    "the confusion of numbers": (
        TypeError,
        r"plot_regression\(predicted, true\)",
        lambda: plots.plot_confusion(None),
    ),
    "an evaluation": (
        TypeError,
        r"got Evaluation: write evaluate\(params, split\).confusion",
        lambda: plots.plot_confusion(fnnet.Evaluation(0.1, 0.9, np.eye(2, dtype=int))),  # type: ignore[arg-type]
    ),
    "a network for weights": (
        TypeError,
        r"w must be .* got Params: write params.layers\[0\].w",
        lambda: plots.plot_weights(PARAMS),  # type: ignore[arg-type]
    ),
    "weights of an ensemble": (
        ValueError,
        r"layers\[0\].w\[0\]",
        lambda: plots.plot_weights(np.ones((5, 4, 2)), (2, 2)),
    ),
    "another shape": (ValueError, "shape", lambda: plots.plot_weights(np.ones((4, 2)), (2, 3))),
    "inputs that are no square": (
        ValueError,
        "shape must be given .* 6 inputs",
        lambda: plots.plot_weights(np.ones((6, 2))),
    ),
    "no units": (ValueError, "limit", lambda: plots.plot_weights(np.ones((4, 2)), (2, 2), 0)),
    "too many units": (
        ValueError,
        "limit must be at most 1200",
        lambda: plots.plot_weights(np.ones((4, 2)), (2, 2), 1201),
    ),
    "numbers of other shapes": (
        ValueError,
        "predicted and true must have one shape",
        lambda: plots.plot_regression(np.ones((3, 2)), np.ones(3)),
    ),
    "too many numbers": (
        ValueError,
        "at most 12 columns",
        lambda: plots.plot_regression(np.ones((3, 13)), np.ones((3, 13))),
    ),
    "a number that is missing": (
        ValueError,
        r"true must hold finite numbers .* got nan at \(1, 0\)",
        lambda: plots.plot_regression(np.ones((2, 1)), [[1.0], [math.nan]]),
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fit_is_refused_by_name(what: str) -> None:
    kind, message, call = REFUSED[what]
    with pytest.raises(kind, match=message):
        call()


def test_arguments_stay_as_they_were() -> None:
    for name, arguments in GOOD.items():
        before = pickle.dumps(arguments)
        getattr(plots, name)(*arguments)
        assert pickle.dumps(arguments) == before


def test_without_matplotlib_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install matplotlib$"):
        plots.plot_history(history())
