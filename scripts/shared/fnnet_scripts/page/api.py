"""What the page asks for: one function for each kind of request, from JSON to JSON."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, TypeAlias

import numpy as np

import fnnet
from fnnet.activations import ACTIVATIONS
from fnnet_scripts.page import learning, thinking
from fnnet_scripts.page.equations import equation, place_of
from fnnet_scripts.page.pages import Page, Pages, Run, Shelf
from fnnet_scripts.page.strokes import Image, Points, image_of

Body: TypeAlias = Mapping[str, Any]
Answer: TypeAlias = dict[str, Any]

MOST_STROKES, MOST_POINTS = 500, 10_000
MOMENT = 0.12  # seconds that a request trains or evaluates, unless an epoch ends before
SHOWN_UNITS = 24  # hidden units whose weights change before your eyes
SHOWN_IMAGES = 10


def opened(pages: Pages) -> Answer:
    """A new page: its name and its network."""
    return {"page": pages.open(), "network": thinking.described(pages.network)}


def choices(page: Page, body: Body, shelf: Shelf) -> Answer:
    """What there is to choose from for a run, and the settings to begin with.

    Nothing, as long as data sets are being loaded: the page asks again.
    """
    if not shelf.ready(MOMENT):
        return {}
    return {
        "settings": asdict(learning.Settings()),
        "choices": {
            "data": list(shelf),
            "activation": list(ACTIVATIONS),
            "optimizer": list(learning.OPTIMIZERS),
        },
        "limits": {
            "width": learning.WIDEST,
            "depth": learning.DEEPEST,
            "batch": learning.LARGEST_BATCH,
            "seed": learning.LARGEST_SEED,
        },
    }


def see(page: Page, body: Body, shelf: Shelf) -> Answer:
    """The network's answer to what is drawn."""
    form, examples = page.network.form, page.network.examples
    base: Image | None = None
    if body.get("base") is not None:
        i = whole(body, "base", 0 if examples is None else len(examples))
        base = np.asarray(examples.x[i], np.uint8)  # type: ignore[union-attr]  # it has some
    width = body.get("width")
    if type(width) not in (int, float) or not 0.005 <= width <= 0.3:  # type: ignore[operator]  # a number by then
        raise ValueError(f"width must be a number from 0.005 to 0.3, got {width!r:.60}")
    page.image = image_of(strokes_of(body), float(width), form, base)  # type: ignore[arg-type]  # as above
    return thinking.answer(page.state.params, page.image)


def strokes_of(body: Body) -> list[Points]:
    """Strokes as arrays of points.

    Raises
    ------
    ValueError
        If they are none, or too many.
    """
    given = body.get("strokes")
    if not isinstance(given, list) or len(given) > MOST_STROKES:
        raise ValueError(f"strokes must be a list of {MOST_STROKES} or fewer lists of points")
    strokes = []
    for stroke in given:
        try:
            points = np.array(stroke)
        except (TypeError, ValueError, OverflowError):
            points = np.empty(0)
        numbers = points.ndim == 2 and points.shape[1] == 2 and points.dtype.kind in "if"
        if not numbers or not np.all(np.abs(points) <= 3):
            raise ValueError("strokes must be lists of points [x, y], numbers from -3 to 3")
        strokes.append(points.astype(np.float32))
    if sum(map(len, strokes)) > MOST_POINTS:
        raise ValueError(f"strokes must have {MOST_POINTS} or fewer points together")
    return strokes


def whole(body: Body, name: str, below: int) -> int:
    """A whole number from 0 on, below a bound."""
    value = body.get(name)
    if type(value) is not int or not 0 <= value < below:
        raise ValueError(f"{name} must be a whole number >= 0 and < {below}, got {value!r:.60}")
    return value


def unit(page: Page, body: Body, shelf: Shelf) -> Answer:
    """The weights of a unit."""
    layer = whole(body, "layer", len(page.state.params.layers))
    return thinking.unit_weights(page.state.params, layer, whole(body, "unit", thinking.LARGEST))


def formula(page: Page, body: Body, shelf: Shelf) -> Answer:
    """An equation with the values of the picture that was seen last."""
    number, label = whole(body, "number", 13), None
    if body.get("label") is not None:
        label = whole(body, "label", len(page.network.classes))
    image = np.zeros([page.network.form.side] * 2, np.uint8) if page.image is None else page.image
    place = place_of(page.state.params, page.network.classes, image, label)
    return dict(equation(number, place, page.lesson))


def taught(page: Page, body: Body, shelf: Shelf) -> Answer:
    """A lesson on the picture that was seen last."""
    label = whole(body, "label", len(page.network.classes))
    if page.image is None or not page.image.any():
        raise ValueError("there is nothing to learn from: draw something first")
    lesson = thinking.teach(page.state, page.image, label)
    page.state, page.lesson = lesson.after, lesson
    return {
        "lesson": thinking.report(lesson, page.network),
        "answer": thinking.answer(page.state.params, page.image),
    }


def reset(page: Page, body: Body, shelf: Shelf) -> Answer:
    """The network as it was before any lesson."""
    page.use(page.network)
    return {} if page.image is None else {"answer": thinking.answer(page.state.params, page.image)}


def begin(page: Page, body: Body, shelf: Shelf) -> Answer:
    """A run before its first step: where it is rewound to, too."""
    if not shelf.ready(MOMENT):
        raise ValueError("data sets are being loaded: ask for the choices first")
    settings = learning.settings_of(object_of(body, "settings"), shelf)
    data = shelf[settings.data]
    steps = learning.run(settings, data)
    page.run = Run(settings, data, steps, next(steps), [])
    _train(page.run, time.monotonic() + MOMENT)
    images = _shown(data)
    shape = images.x.shape[1:]
    known = {"shape": list(shape), "images": [thinking.pixels(np.asarray(i)) for i in images.x]}
    sizes = {"train": len(data.train), "test": len(data.test)}
    labels = {"labels": [int(k) for k in images.y], "classes": list(data.classes)}
    return {**standing(page.run, 0), **known, **labels, **sizes}


def object_of(body: Body, name: str) -> Mapping[str, Any]:
    value = body.get(name)
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be an object, got {type(value).__name__}")
    return value


def _shown(data: fnnet.Dataset) -> fnnet.Split:
    """Test images whose answers change before your eyes: the first ones of each class in turn."""
    y = np.asarray(data.test.y)
    firsts = np.array([int(np.argmax(y == k)) for k in range(min(len(data.classes), SHOWN_IMAGES))])
    return data.test[firsts]


def advance(page: Page, body: Body, shelf: Shelf) -> Answer:
    """A moment of training or evaluation: it ends with a row of the history, if not before."""
    if page.run is None:
        raise ValueError("there is no run: begin one")
    known = whole(body, "known", 10**9)
    try:
        _train(page.run, time.monotonic() + MOMENT)
    except fnnet.DivergenceError as error:
        return {**standing(page.run, known), "ended": str(error)}
    return standing(page.run, known)


def _train(run: Run, until: float) -> None:
    """Steps of a run, up to a time or the next row of its history."""
    with np.errstate(all="ignore"):  # a run that diverges says so itself
        for progress in run.steps:
            run.last = progress
            if progress.metrics is not None:
                run.history.append(progress.metrics)
            if progress.metrics is not None or time.monotonic() > until:
                break


def standing(run: Run, known: int) -> Answer:
    """Where a run stands: rows of its history from `known` on, weights, answers to test images."""
    params, images = run.last.state.params, _shown(run.data)
    logits = fnnet.forward(params, fnnet.as_inputs(images))
    rows = [
        [m.epoch, *(finite(v) for v in (m.train_loss, m.test_loss))]
        + [finite(v) for v in (m.train_accuracy, m.test_accuracy)]
        for m in run.history[known:]
    ]
    good = bool(np.isfinite(logits).all())
    return {
        "epoch": run.last.epoch,
        "share": round(run.last.share, 3),
        "measured": round(run.last.measured, 3),
        "history": rows,
        "weights": thinking.pictures(np.nan_to_num(params.layers[0].w[:, :SHOWN_UNITS])),
        "logits": [thinking.numbers(z) for z in logits] if good else None,
        "probabilities": [thinking.numbers(p) for p in fnnet.softmax(logits)] if good else None,
    }


def finite(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def code(page: Page, body: Body, shelf: Shelf) -> Answer:
    """The lines of Python that make a run."""
    settings = learning.settings_of(object_of(body, "settings"), shelf)
    epochs = max(1, whole(body, "epochs", 10**6))
    return {"code": learning.as_python(settings, epochs, shelf.expression(settings.data))}


def use(page: Page, body: Body, shelf: Shelf) -> Answer:
    """Draw for the network of the run, or for the one that the page began with."""
    source = body.get("source")
    if source == "run" and page.run is not None:
        page.use(_network_of(page.run))
    elif source == "first":
        page.use(page.first)
    else:
        raise ValueError(f"source must be 'first', or 'run' where there is one, got {source!r:.60}")
    page.image = None
    return {"network": thinking.described(page.network)}


def _network_of(run: Run) -> thinking.Network:
    """The network of a run: within an epoch, too few test images are read to make anyone wait."""
    params, test, row = run.last.state.params, run.data.test, run.last.metrics
    some = test[: learning.PIECE]
    if row is not None:
        return thinking.from_run(params, run.data, row.test_accuracy, len(test))
    return thinking.from_run(params, run.data, fnnet.evaluate(params, some).accuracy, len(some))


ROUTES: dict[str, Callable[[Page, Body, Shelf], Answer]] = {
    "choices": choices,
    "see": see,
    "unit": unit,
    "equation": formula,
    "teach": taught,
    "reset": reset,
    "begin": begin,
    "advance": advance,
    "code": code,
    "use": use,
}
