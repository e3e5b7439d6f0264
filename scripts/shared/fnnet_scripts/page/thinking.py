"""What the page shows of a network: its answer to an image, its hidden units, a lesson."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import fnnet
from fnnet.activations import activation_of
from fnnet.checks import FloatArray
from fnnet.curvature import layer_inputs
from fnnet.params import widths
from fnnet.pictures.forms import Form, form_of
from fnnet_scripts.embedded import described as what_it_knows
from fnnet_scripts.embedded import load_embedded
from fnnet_scripts.page.folders import OWN
from fnnet_scripts.page.strokes import Image
from fnnet_scripts.wording import dashed

EXAMPLES = 20
LARGEST = 2000  # hidden units of a layer that can be looked at


@dataclass(frozen=True, slots=True)
class Network:
    """A network to draw for.

    Attributes
    ----------
    params : the network
    form : where the ink lies in its training images
    classes : their names
    about : what it knows and how well, in one sentence
    examples : images from the test set with their classes; perhaps none
    """

    params: fnnet.Params
    form: Form
    classes: tuple[str, ...]
    about: str
    examples: fnnet.Split | None


def embedded(path: Path) -> Network:
    """The network that comes with the scripts."""
    known = load_embedded(path)
    form = form_of(known.dataset, known.examples.x.shape[-1])
    about = what_it_knows(known)
    return Network(known.params, form, known.classes, about, known.examples)


def from_checkpoint(path: Path, data: Mapping[str, fnnet.Dataset]) -> Network:
    """The network of a checkpoint.

    Parameters
    ----------
    path : the checkpoint
    data : data sets at hand, by name

    Raises
    ------
    ValueError
        If it is no network that tells classes of square images apart.
    """
    checkpoint = fnnet.load_checkpoint(path)
    params, extra = checkpoint.state.params, checkpoint.extra
    _check(params, path)
    name = extra.get("dataset")
    known = data.get(name) if isinstance(name, str) else None
    if known is not None and known.train.x[0].size != params.layers[0].w.shape[0]:
        known = None
    k = params.layers[-1].b.size
    names = extra.get("classes") or (known.classes if known else ())
    classes = tuple(map(str, names)) if len(names) == k else tuple(map(str, range(k)))
    side = math.isqrt(params.layers[0].w.shape[0])
    about = f"{dashed(widths(params))} from {path.name}, " + _quality(checkpoint, known)
    form = form_of(name if isinstance(name, str) else None, side)
    return Network(params, form, classes, about, _examples(known))


def from_run(params: fnnet.Params, data: fnnet.Dataset, accuracy: float, read: int) -> Network:
    """The network of a run on this page, and the accuracy on the first test images that it read."""
    _check(params, "this run")
    name = "your own pictures" if data.name == OWN else data.name
    first = f"the first {read:,} of " if read < len(data.test) else ""
    about = (
        f"{dashed(widths(params))}, trained on this page ({name}): "
        f"it reads {share(accuracy)} of {first}{len(data.test):,} test images"
    )
    form = form_of(data.name, data.train.x.shape[-1])
    return Network(params, form, data.classes, about, _examples(data))


def _check(params: fnnet.Params, what: object) -> None:
    w = params.layers[0].w
    if w.ndim != 2 or math.isqrt(w.shape[0]) ** 2 != w.shape[0]:
        raise ValueError(f"{what}: first weights are {w.shape}, not those of square images")
    if params.output != "softmax":
        raise ValueError(f"{what}: the output is {params.output!r}, expected one class (softmax)")
    if max(widths(params)[1:]) > LARGEST:
        raise ValueError(f"{what}: a layer has more than {LARGEST:,} units to be looked at")


def _quality(checkpoint: fnnet.Checkpoint[Any], known: fnnet.Dataset | None) -> str:
    """What a checkpoint's network knows, and how well, as far as that can be told."""
    name = checkpoint.extra.get("dataset")
    if known is not None:
        accuracy = fnnet.evaluate(checkpoint.state.params, known.test).accuracy
        read = f"it reads {share(accuracy)} of {len(known.test):,} test images"
        return f"trained on {known.name}: {read}"
    trained = f"trained on {name!s:.40}" if name else "trained on data that it does not name"
    if checkpoint.history and not math.isnan(checkpoint.history[-1].test_accuracy):
        return f"{trained}: {share(checkpoint.history[-1].test_accuracy)} on its test set"
    return f"{trained}; its accuracy is not known"


def share(accuracy: float) -> str:
    return f"{100 * accuracy:.2f} %"


def _examples(data: fnnet.Dataset | None) -> fnnet.Split | None:
    """Test images, the classes in turn."""
    if data is None:
        return None
    y = np.asarray(data.test.y)
    k = len(data.classes)
    firsts = [np.flatnonzero(y == i)[: max(1, EXAMPLES // k)] for i in range(min(k, EXAMPLES))]
    most = max(map(len, firsts))
    return data.test[np.array([f[j] for j in range(most) for f in firsts if j < len(f)])]


def pixels(image: npt.NDArray[np.uint8]) -> str:
    """Bytes as the page takes them."""
    return base64.b64encode(np.ascontiguousarray(image).tobytes()).decode()


def pictures(columns: FloatArray) -> str:
    """Weights of units, one a column, as signed bytes; each column has its own scale."""
    size = np.maximum(np.abs(columns).max(axis=0), np.float32(1e-30))
    return pixels(np.rint(columns / size * 127).astype(np.int8).T.view(np.uint8))


def numbers(values: npt.ArrayLike) -> list[float]:
    """Numbers with as many digits as are looked at."""
    rounded: list[float] = np.asarray(values, np.float64).round(4).ravel().tolist()
    return rounded


def floats(values: FloatArray) -> str:
    """Many numbers as the bytes of float32, which costs less than their digits."""
    return base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode()


def inputs(image: Image) -> FloatArray:
    """(1, d): an image as the network takes it."""
    return fnnet.as_inputs(image[None])


def hidden(params: fnnet.Params, x: FloatArray) -> list[FloatArray]:
    """What each hidden layer makes of x, equation (1)."""
    return list(layer_inputs(params, x)[0][1:])


def answer(params: fnnet.Params, image: Image) -> dict[str, Any]:
    """What the network makes of an image: hidden units, logits and probabilities."""
    (_, *layers), logits = layer_inputs(params, inputs(image))
    return {
        "image": pixels(image),
        "blank": not image.any(),
        "hidden": [floats(h) for h in layers],
        "logits": numbers(logits),
        "probabilities": [round(float(p), 6) for p in fnnet.softmax(logits)[0]],
    }


def unit_weights(params: fnnet.Params, layer: int, unit: int) -> dict[str, Any]:
    """The weights that lead to a hidden unit: an image of pixels, or numbers of the layer below."""
    if not 0 <= layer < len(params.layers) or not 0 <= unit < params.layers[layer].b.size:
        raise ValueError(f"there is no unit {unit} in layer {layer}")
    column = params.layers[layer].w[:, unit : unit + 1]
    return {
        "weights": pictures(column),
        "columns": columns_of(column.size) if layer else math.isqrt(column.size),
        "largest": round(float(np.abs(column).max()), 4),
        "bias": round(float(params.layers[layer].b[unit]), 4),
    }


def columns_of(units: int) -> int:
    """Columns of a grid of units, about twice as many as rows; without gaps where that can be."""
    wished = math.sqrt(2 * units)
    exact = [c for c in range(1, units + 1) if units % c == 0 and wished / 1.6 < c < wished * 1.6]
    return min(exact, key=lambda c: abs(math.log(c / wished)), default=math.ceil(wished))


@dataclass(frozen=True, slots=True)
class Lesson:
    """One step of training on one image: the optimizer before and after, the gradient between."""

    image: Image
    label: int
    before: fnnet.RMSPropState
    after: fnnet.RMSPropState
    gradient: fnnet.Params


def teach(state: fnnet.RMSPropState, image: Image, label: int) -> Lesson:
    """One gradient and one step of RMSProp, equations (5) to (12)."""
    gradient = fnnet.grads(state.params, inputs(image), [label])
    return Lesson(image, label, state, fnnet.rmsprop_update(state, gradient), gradient)


def report(lesson: Lesson, network: Network) -> dict[str, Any]:
    """Before and after a lesson: the class taught, the loss, and what is still known."""
    x, y = inputs(lesson.image), [lesson.label]
    old, new = lesson.before.params, lesson.after.params
    done: dict[str, Any] = {
        "label": lesson.label,
        "steps": lesson.after.step,
        "before": round(float(fnnet.predict_proba(old, x)[0, lesson.label]), 6),
        "after": round(float(fnnet.predict_proba(new, x)[0, lesson.label]), 6),
        "loss_before": round(fnnet.loss(old, x, y), 4),
        "loss_after": round(fnnet.loss(new, x, y), 4),
    }
    if network.examples is not None:
        read = fnnet.predict(new, fnnet.as_inputs(network.examples)) == network.examples.y
        done |= {"kept": int(np.sum(read)), "examples": len(read)}
    return done


def described(network: Network) -> dict[str, Any]:
    """What the page must know of a network before anything is drawn."""
    sizes = widths(network.params)
    examples = network.examples
    return {
        "about": network.about,
        "classes": list(network.classes),
        "side": network.form.side,
        "sizes": sizes,
        "columns": [columns_of(n) for n in sizes[1:-1]],
        "activation": activation_of(network.params.activation).name,
        "examples": [] if examples is None else [pixels(np.asarray(i)) for i in examples.x],
        "labels": [] if examples is None else [int(k) for k in examples.y],
    }
