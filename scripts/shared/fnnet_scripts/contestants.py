"""Libraries that train one network, each as a user of it would write the training.

Every contestant starts from the same parameters, takes the samples in the same order and applies
RMSProp (scikit-learn, which has none, applies Adam), so that all end where they should: their
accuracies after an epoch are compared, too. `desk` runs each in a process of its own.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

import fnnet

RATE, DECAY, EPS = 1e-3, 0.9, 1e-8
INK = 0.191  # share of MNIST's pixels that are not 0

Sizes = Sequence[int]
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Contestant:
    """A library that has the network in `state` and can train it.

    Attributes
    ----------
    state : whatever the library keeps between steps
    epoch : function (state, rng) to the state after one epoch in the order rng.permutation(n)
    predict : function (state, x) to the classes of (N, d) or (d,) float32 inputs, as NumPy has them
    """

    state: Any
    epoch: Callable[[Any, np.random.Generator], Any]
    predict: Callable[[Any, Array], Array]


def fnnet_steps(split: fnnet.Split, sizes: Sizes, batch_size: int) -> Contestant:
    """fnnet, in the loop that its README shows."""

    def epoch(state: fnnet.RMSPropState, rng: np.random.Generator) -> fnnet.RMSPropState:
        for x, y in fnnet.batches(rng, split, batch_size):
            state, _ = fnnet.train_step(state, x, y)
        return state

    state = fnnet.rmsprop_init(fnnet.init_params(0, sizes), RATE, DECAY, EPS)
    return Contestant(state, epoch, lambda state, x: fnnet.predict(state.params, x))


def fnnet_ragged(split: fnnet.Split, sizes: Sizes, batch_size: int) -> Contestant:
    """fnnet's `train_epoch`; its first epoch prepares the split."""
    prepared: list[fnnet.Prepared] = []

    def epoch(state: fnnet.RMSPropState, rng: np.random.Generator) -> fnnet.RMSPropState:
        if not prepared:
            prepared.append(fnnet.prepare(split))
        return fnnet.train_epoch(state, prepared[0], rng, batch_size)[0]

    return replace(fnnet_steps(split, sizes, batch_size), epoch=epoch)


def torch_network(sizes: Sizes) -> tuple[Any, Callable[[Any, Any], None]]:
    """PyTorch's module, and a step of it on inputs and labels."""
    import torch

    model = torch.nn.Sequential()
    for layer in fnnet.init_params(0, sizes).layers:
        linear = torch.nn.Linear(*layer.w.shape)
        linear.weight.data.copy_(torch.from_numpy(layer.w.T.copy()))
        linear.bias.data.copy_(torch.from_numpy(layer.b.copy()))
        model.extend([linear, torch.nn.ReLU()])
    model.pop(-1)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=RATE, alpha=DECAY, eps=EPS)
    loss = torch.nn.CrossEntropyLoss()

    def step(x: Any, y: Any) -> None:
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()

    return model, step


def torch_steps(
    split: fnnet.Split,
    sizes: Sizes,
    batch_size: int,
    compiled: bool = False,
    flushed: bool = False,
) -> Contestant:
    """PyTorch: modules, autograd and `torch.optim.RMSprop`; compiled: the whole step as one.

    Flushed, subnormal numbers count as zero: not its default, but mean squares of pixels that are
    seldom lit decay into them.
    """
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.set_flush_denormal(flushed)
    model, step = torch_network(sizes)
    images = torch.from_numpy(split.x.reshape(len(split), -1).copy())
    labels = torch.from_numpy(split.y.astype(np.int64))

    if compiled:
        torch.compiler.reset()  # else it counts the jobs before as recompilations of this one
        step = torch.compile(step)

    def epoch(model: Any, rng: np.random.Generator) -> Any:
        for rows in torch.from_numpy(rng.permutation(len(split))).split(batch_size):
            step(images.index_select(0, rows).float().div_(255), labels.index_select(0, rows))
        return model

    def predict(model: Any, x: Array) -> Array:
        with torch.inference_mode():
            classes: Array = model(torch.from_numpy(x)).argmax(-1).numpy()
        return classes

    return Contestant(model, epoch, predict)


def sklearn_epochs(split: fnnet.Split, sizes: Sizes, batch_size: int) -> Contestant:
    """scikit-learn: `MLPClassifier.partial_fit`, which is one epoch of Adam from its own start.

    It takes floats only, so the images are scaled beforehand, outside the clock.
    """
    from sklearn.neural_network import MLPClassifier

    x, classes = fnnet.as_inputs(split.x), np.arange(sizes[-1])
    model = MLPClassifier(
        tuple(sizes[1:-1]), batch_size=min(batch_size, len(x)), alpha=0, random_state=0
    )

    def epoch(model: Any, rng: np.random.Generator) -> Any:
        return model.partial_fit(x, split.y, classes=classes)

    def predict(model: Any, x: Array) -> Array:
        classes: Array = model.predict(x if x.ndim == 2 else x[None])
        return classes

    return Contestant(model, epoch, predict)


def keras_epochs(split: fnnet.Split, sizes: Sizes, batch_size: int) -> Contestant:
    """Keras on its default backend: `Model.fit`, an epoch at a time, which shuffles by itself.

    It takes floats only, so the images are scaled beforehand, outside the clock.
    """
    import keras

    first = fnnet.init_params(0, sizes)
    hidden = [keras.layers.Dense(width, activation="relu") for width in sizes[1:-1]]
    model = keras.Sequential([keras.Input((sizes[0],)), *hidden, keras.layers.Dense(sizes[-1])])
    model.set_weights(fnnet.tree_leaves(first))
    optimizer = keras.optimizers.RMSprop(RATE, rho=DECAY, epsilon=EPS)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=optimizer, loss=loss)
    x = fnnet.as_inputs(split.x)

    def epoch(model: Any, rng: np.random.Generator) -> Any:
        model.fit(x, split.y, batch_size=batch_size, epochs=1, verbose=0)
        return model

    def predict(model: Any, x: Array) -> Array:
        rows = x if x.ndim == 2 else x[None]
        classes: Array = model.predict(rows, batch_size=1_000, verbose=0).argmax(-1)
        return classes

    return Contestant(model, epoch, predict)


def jax_network(sizes: Sizes) -> tuple[Any, Callable[[Any, Any], Any], Callable[..., Any]]:
    """JAX's first state, the logits of parameters and inputs, and the state after a step."""
    import jax
    import jax.numpy as jnp

    layers = fnnet.init_params(0, sizes).layers
    params = [(jnp.array(layer.w), jnp.array(layer.b)) for layer in layers]

    def forward(params: Any, x: Any) -> Any:
        *hidden, (w, b) = params
        for hidden_w, hidden_b in hidden:
            x = jax.nn.relu(x @ hidden_w + hidden_b)
        return x @ w + b

    def loss(params: Any, x: Any, y: Any) -> Any:
        log_p = jax.nn.log_softmax(forward(params, x))
        return -jnp.take_along_axis(log_p, y[:, None], axis=1).mean()

    def update(state: Any, x: Any, y: Any) -> Any:
        params, v = state
        g = jax.grad(loss)(params, x, y)
        v = jax.tree.map(lambda v, g: DECAY * v + (1 - DECAY) * g**2, v, g)
        params = jax.tree.map(lambda w, v, g: w - RATE * g / (jnp.sqrt(v) + EPS), params, v, g)
        return params, v

    return (params, jax.tree.map(jnp.zeros_like, params)), forward, update


def jax_steps(
    split: fnnet.Split, sizes: Sizes, batch_size: int, scanned: bool = False, sparse: bool = False
) -> Contestant:
    """JAX: one jitted step that reuses its state's memory; scanned: one jitted epoch.

    The steps take batches that NumPy gathers, which is faster than gathering under `jit`; the
    scanned epoch gathers from the images on the device. Sparse, the images are rows of a BCOO
    matrix, padded to the one with the most ink.
    """
    import jax
    import jax.numpy as jnp
    from jax.experimental.sparse import BCOO

    first, forward, update = jax_network(sizes)
    pixels, labels = split.x.reshape(len(split), -1), split.y.astype(np.int32)
    images = _lit(pixels) if sparse else (pixels,)
    count, whole = len(split), len(split) // batch_size * batch_size

    def inputs(rows: Any) -> Any:
        values = rows[0].astype(jnp.float32) / 255
        if not sparse:
            return values
        columns = rows[1].astype(jnp.int32)[..., None]
        return BCOO((values, columns), shape=(len(values), sizes[0]))

    def step(state: Any, rows: Any, y: Any) -> Any:
        return update(state, inputs(rows), y)

    def scan(state: Any, images: Any, labels: Any, order: Any) -> Any:
        def gathered(state: Any, rows: Any) -> tuple[Any, None]:
            return step(state, [part[rows] for part in images], labels[rows]), None

        state, _ = jax.lax.scan(gathered, state, order[:whole].reshape(-1, batch_size))
        return state if whole == count else gathered(state, order[whole:])[0]

    jitted_step, jitted_scan = (jax.jit(f, donate_argnums=0) for f in (step, scan))
    on_device = ([*map(jnp.asarray, images)], jnp.asarray(labels)) if scanned else ()

    def steps(state: Any, rng: np.random.Generator) -> Any:
        order = rng.permutation(count)
        for start in range(0, count, batch_size):
            rows = order[start : start + batch_size]
            state = jitted_step(state, [part.take(rows, axis=0) for part in images], labels[rows])
        return jax.block_until_ready(state)

    def epoch(state: Any, rng: np.random.Generator) -> Any:
        order = rng.permutation(count).astype(np.int32)
        return jax.block_until_ready(jitted_scan(state, *on_device, order))

    classes = jax.jit(lambda params, x: forward(params, x).argmax(-1))
    return Contestant(
        first, epoch if scanned else steps, lambda state, x: np.asarray(classes(state[0], x))
    )


def _lit(pixels: Array) -> tuple[Array, Array]:
    """Values and columns of each row's lit pixels; what fills a row up lies beyond the columns."""
    lit = pixels > 0
    most, wide = int(lit.sum(axis=1).max(initial=0)), pixels.shape[1]
    columns = np.argsort(~lit, axis=1, kind="stable")[:, :most]
    values = np.take_along_axis(pixels, columns, axis=1)
    return values, np.where(values > 0, columns, wide).astype(np.int16)


def bare_products(split: fnnet.Split, sizes: Sizes, batch_size: int) -> Contestant:
    """The matrix products of an epoch's steps and nothing else: what no library in NumPy can beat.

    Batches are neither gathered nor scaled: all steps take one batch, which stays in the cache as a
    freshly gathered one would be.
    """
    steps, rest = divmod(len(split), batch_size)
    full = products(split, sizes, batch_size)
    short = products(split, sizes, rest) if rest else ()

    def epoch(state: None, rng: np.random.Generator) -> None:
        for _ in range(steps):
            for product in full:
                product()
        for product in short:
            product()

    return Contestant(None, epoch, lambda state, x: np.empty(0))


def products(split: fnnet.Split, sizes: Sizes, batch_size: int) -> list[Callable[[], Array]]:
    """Each matrix product of a training step, forward and then backward, as a call."""
    w = [layer.w for layer in fnnet.init_params(0, sizes).layers]
    h = [fnnet.as_inputs(split.x[:batch_size])]
    for width in sizes[1:]:
        h.append(np.ones((batch_size, width), np.float32))

    def product(a: Array, b: Array) -> Callable[[], Array]:
        out = a @ b
        return lambda: np.matmul(a, b, out)

    forward = [product(x, weights) for x, weights in zip(h, w, strict=False)]
    of_weights = [product(x.T, dz) for x, dz in pairwise(h)]
    of_inputs = [product(dz, weights.T) for dz, weights in zip(h[2:], w[1:], strict=True)]
    return forward + of_weights + of_inputs


@dataclass(frozen=True, slots=True)
class Kind:
    """How a contestant is called, the module without which it cannot run, and how it is made."""

    title: str
    module: str
    make: Callable[[fnnet.Split, Sizes, int], Contestant]


KINDS = {
    "fnnet": Kind("fnnet", "numpy", fnnet_steps),
    "fnnet-ragged": Kind("fnnet, train_epoch", "numpy", fnnet_ragged),
    "torch": Kind("PyTorch, eager", "torch", torch_steps),
    "torch-flushed": Kind("PyTorch, flushed", "torch", partial(torch_steps, flushed=True)),
    "torch-compiled": Kind(
        "PyTorch, compiled, flushed", "torch", partial(torch_steps, compiled=True, flushed=True)
    ),
    "sklearn": Kind("scikit-learn (Adam)", "sklearn", sklearn_epochs),
    "jax": Kind("JAX, jitted step", "jax", jax_steps),
    "jax-scan": Kind("JAX, jitted epoch", "jax", partial(jax_steps, scanned=True)),
    "jax-sparse": Kind(
        "JAX, jitted epoch, BCOO", "jax", partial(jax_steps, scanned=True, sparse=True)
    ),
    "keras": Kind("Keras", "keras", keras_epochs),
    "products": Kind("bare products", "numpy", bare_products),
}
DISTRIBUTIONS = {"sklearn": "scikit-learn"}


def version_of(module: str) -> str | None:
    """Version of the distribution of a module, or None where it is not installed."""
    if find_spec(module) is None:
        return None
    with contextlib.suppress(PackageNotFoundError):
        return version(DISTRIBUTIONS.get(module, module))
    return "in this folder"


def load(directory: str | None, samples: int = 60_000, kind: str = "digits") -> fnnet.Dataset:
    """MNIST of a folder, or synthetic images of its shape; the first `samples` to train on."""
    if directory is None:
        return SYNTHETIC[kind](samples)
    data = fnnet.load_mnist(directory, download=False)
    return replace(data, train=fnnet.Split(data.train.x[:samples], data.train.y[:samples]))


def synthetic(samples: int) -> fnnet.Dataset:
    """Images of MNIST's shape, margins and share of ink, in ten classes much like each other."""
    rng = np.random.default_rng(0)
    patterns = np.zeros((10, 28, 28), np.float32)
    patterns[:, 4:24, 4:24] = 1 + 2 * rng.random((10, 20, 20))
    patterns *= INK / patterns.mean()
    train, test = (_drawn(rng, patterns, n) for n in (samples, 10_000))
    return fnnet.Dataset("synthetic", train, test, tuple("0123456789"))


def _drawn(rng: np.random.Generator, patterns: Array, n: int) -> fnnet.Split:
    """n images whose pixels have ink as likely as their class's pattern says."""
    y = rng.integers(0, len(patterns), n).astype(np.uint8)
    x = np.empty((n, *patterns.shape[1:]), np.uint8)
    for start in range(0, n, 1_000):
        block = patterns[y[start : start + 1_000]]
        lit = rng.random(block.shape, np.float32) < block
        x[start : start + 1_000] = lit * rng.integers(1, 256, block.shape, np.uint8)
    return fnnet.Split(x, y)


def half_lit(samples: int) -> fnnet.Dataset:
    """Shapes in the middle that fill about half of an image, as Fashion-MNIST's do."""
    rng = np.random.default_rng(0)
    train, test = (_shapes(rng, n) for n in (samples, 10_000))
    return fnnet.Dataset("half lit", train, test, tuple("01234"))


def _shapes(rng: np.random.Generator, n: int) -> fnnet.Split:
    """Rectangles of noise, of five classes of height."""
    tall, wide = 6 + 9 * rng.random((2, n), np.float32)
    away = np.abs(np.arange(28, dtype=np.float32) - 13.5)
    inside = (away[:, None] < tall[:, None, None]) & (away < wide[:, None, None])
    x = inside * rng.integers(1, 256, (n, 28, 28), np.uint8)
    return fnnet.Split(x, ((tall - 6) / 9 * 5).astype(np.uint8))


def all_lit(samples: int) -> fnnet.Dataset:
    """Images without a zero, in two classes of brightness."""
    rng = np.random.default_rng(0)
    train, test = (_noise(rng, n) for n in (samples, 10_000))
    return fnnet.Dataset("all lit", train, test, tuple("01"))


def _noise(rng: np.random.Generator, n: int) -> fnnet.Split:
    y = rng.integers(0, 2, n).astype(np.uint8)
    return fnnet.Split(rng.integers(1, 129, (n, 28, 28), np.uint8) + 127 * y[:, None, None], y)


SYNTHETIC = {"digits": synthetic, "half-lit images": half_lit, "all-lit images": all_lit}
