"""An epoch that knows what is zero: the steps of `train`, on ragged batches.

Images of digits are mostly paper: of MNIST's inputs 81 % are zero. This module multiplies what is
lit and leaves most of the rest alone. Its results are those of the plain loop up to the order of
sums.

*Ragged.* Inputs are sorted once, those that are seldom lit first. A sample is then zero up to its
first lit input (of MNIST's 784 inputs 411 come from there on, on average). The rows of a batch are
sorted by that place and cut into a few parts. Each part multiplies its columns from its own first
lit input on, in (1) and in (9). It is a sparse format like CSR, but with one index for a whole
part, so that dense products do the work. The bias of the first layer is one more row of W1, whose
input is always lit.

*A slice of the vector.* The first layer comes first in the vector of the parameters, so that what
a batch touches (rows of W1 from its first lit input on, b1 and all other layers) is one slice at
the end. RMSProp with u = v / ((1 - ρ) ρ^k) in the place of v, k the number of steps, needs no
decay: u ← u + (g ρ^(-k/2))² and w ← w - η' g ρ^(-k/2) / (√u + ε'), with η' = η / √(1 - ρ) and
ε' = ε ρ^(-k/2) / √(1 - ρ). Where g is zero nothing changes, so the slice is enough. ρ^(-k/2) is
multiplied into dL/dZ, which is small. Every so many steps u is scaled back. An epoch turns v into
u at its start and back at its end: no state ever holds u.

*Bytes stay bytes.* 1/255 is multiplied not into the inputs but into Z1, or, where f(az) = a f(z)
for a > 0, into the sums of the layer after that: with one hidden layer these are the logits.

*Small products.* With AVX-512, OpenBLAS does products of up to 10^6 multiplications without packing
them first. There small batches have more parts, and their products are cut so; elsewhere larger
products are faster.

*What a step costs*, for a batch of N, a share p of D inputs, hidden width H and n parts: 4 N p D H
operations in (1) and (9), seven passes over p D H and all further parameters, and some 60 + 4 n
calls. Twice the width doubles products and passes, a further layer costs what it costs in the
plain loop, and twice the batch halves passes and calls in an epoch.

Other optimizers than plain RMSProp take their own update on the gradient that is made so. Dense
data, memory-mapped data, ensembles, ε = 0 and ρ = 0 take the plain loop or the plain update.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from fnnet import arguments
from fnnet.activations import activation_of
from fnnet.checks import FloatArray, described, underflow_is_zero
from fnnet.data.splits import Split, check_batches, gather, scaled
from fnnet.labels import label_rows
from fnnet.network import loss_and_grads
from fnnet.optimizers.rmsprop import RMSPropState, is_plain
from fnnet.optimizers.states import State, changed, check_numbers, kinds, update_of
from fnnet.optimizers.steps import divisor_of, lost_beside, squared
from fnnet.outputs import output_of
from fnnet.params import Params
from fnnet.randomness import Seed, generator
from fnnet.trees import Layout, empty, flat, freeze

StateT = TypeVar("StateT", bound=State)

DENSE = 0.9  # share of the inputs behind the first lit one, from which on data count as dense
SMALL = 10**6  # multiplications of a product that OpenBLAS does without packing
GRAIN = 16  # places of first lit inputs are rounded down to these: fewer shapes
CHUNK = 1024  # samples gathered at once
HOMOGENEOUS = ("relu", "leaky_relu", "identity")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Prepared:
    """A split, sorted for `train_epoch`; later changes of its arrays are not seen.

    Attributes
    ----------
    split : as it was given
    order : (d,) the inputs, those that are seldom lit first; None for dense data
    x : (N, d) samples with their inputs in this order
    first : (N,) places of the first lit input of each sample
    """

    split: Split
    order: npt.NDArray[np.intp] | None
    x: npt.NDArray[Any]
    first: npt.NDArray[np.int64]

    def __repr__(self) -> str:
        kind = "dense" if self.order is None else "ragged"
        return f"Prepared({self.split!r}, {kind}, {described(self.x)})"


def prepare(split: Split) -> Prepared:
    """Sort a split for `train_epoch`, once for all epochs: 0.05 s and a copy of x for MNIST.

    Parameters
    ----------
    split : the training data

    Raises
    ------
    TypeError, ValueError
        If `split` is none, or empty.

    Examples
    --------
    >>> from fnnet import load_digits
    >>> prepare(load_digits().train)
    Prepared(Split(1,437 samples, u8[1437,8,8], labels u8[1437]), ragged, u8[1437,64])
    """
    check_batches(split, 1)
    dense = Prepared(split, None, np.empty((0, 0)), np.empty(0, np.int64))
    if isinstance(split.x, np.memmap):
        return dense
    x = split.x.reshape(len(split), -1)
    n, d = x.shape
    blocks = [slice(a, a + CHUNK) for a in range(0, n, CHUNK)]
    counts = np.sum([np.count_nonzero(x[block], axis=0) for block in blocks], axis=0)
    order = np.argsort(counts, kind="stable")
    sample = x[:: max(1, n // CHUNK)].take(order, axis=1)
    if np.mean(d - _first(sample)) > DENSE * d:
        return dense
    ordered, first = np.empty_like(x, order="C"), np.empty(n, np.int64)
    for block in blocks:
        ordered[block] = x[block].take(order, axis=1)
        first[block] = _first(ordered[block])
    return Prepared(split, order, ordered, first)


def _first(x: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    lit = x != 0
    first: npt.NDArray[np.int64] = np.where(lit.any(1), lit.argmax(1), x.shape[1])
    return first


@underflow_is_zero
def train_epoch(
    state: StateT, split: Split | Prepared, rng: Seed, batch_size: int = 32
) -> tuple[StateT, npt.NDArray[np.float64]]:
    """One epoch of training, fast where many inputs are zero.

    The batches are those of `batches` with the same generator, and the state is that of the plain
    loop up to rounding; the same seed gives the same bits. Give it to `train` as `epoch`.

    Parameters
    ----------
    state : the optimizer before the epoch
    split : the training data, or what `prepare` has made of them
    rng : generator, which advances by one permutation, or a seed
    batch_size : samples a step, >= 1

    Returns
    -------
    state : the optimizer after the epoch
    losses : (steps,) the loss of each batch before its step

    Raises
    ------
    TypeError, ValueError
        As `train`.

    Examples
    --------
    >>> from fnnet import init_params, load_digits, rmsprop_init
    >>> state = rmsprop_init(init_params(0, (64, 32, 10)))
    >>> state, losses = train_epoch(state, load_digits().train, 0, 32)
    >>> state.step, bool(losses[-1] < losses[0])
    (45, True)
    """
    update_of(state)  # raises where no optimizer has such states
    data = split if isinstance(split, Prepared) else prepare(split)
    check_batches(data.split, batch_size)
    x = data.split.x[:1]
    arguments.inputs(state.params, scaled(x, data.split.divisor, state.params.layers[0].w.dtype))
    samples = generator(rng).permutation(len(data.split))
    if data.order is None or len(state.params.layers[0].w.shape) > 2:
        return _plain_epoch(state, data.split, samples, batch_size)
    check_numbers(state)
    plain = isinstance(state, RMSPropState) and is_plain(state) and min(state.eps, state.decay) > 0
    run: type[_Run] = _InPlace if plain else _Run
    epoch = run(_ordered(state, data.order), data, batch_size)
    losses = [*epoch.losses(samples)]
    return _ordered(epoch.state(), np.argsort(data.order)), np.array(losses, np.float64)


def _plain_epoch(
    state: StateT, split: Split, samples: npt.NDArray[np.intp], batch_size: int
) -> tuple[StateT, npt.NDArray[np.float64]]:
    losses, update, dtype = [], update_of(state), state.params.layers[0].w.dtype
    for x, y, s in gather(split, samples, batch_size, dtype):
        loss, grads = loss_and_grads(state.params, x, y, weights=s)
        state = update(state, grads)
        losses.append(loss)
    return state, np.array(losses, np.float64)


def _ordered(state: StateT, order: npt.NDArray[np.intp]) -> StateT:
    """The state with the inputs of its first layer in another order."""
    trees = {}
    for name, kind in kinds(type(state)).items():
        tree = getattr(state, name)
        if "tree" in kind and tree is not None:
            vector, layout = flat(tree)
            copy = empty(vector.size, vector)
            copy[...] = vector
            first = layout.leaves(copy)[0]
            first[...] = tree.layers[0].w.take(order, axis=0)
            trees[name] = freeze(copy, layout)
    return changed(state, **trees)


class _Run:
    """Memory of one epoch, none of which is handed out; steps by the optimizer's own update."""

    def __init__(self, state: Any, data: Prepared, batch_size: int) -> None:
        params: Params = state.params
        self.now, self.data, self.size = state, data, batch_size
        self.activation, self.output = activation_of(params.activation), output_of(params.output)
        vector, self.layout = flat(params)
        self.d, self.width = params.layers[0].w.shape
        self.g, most = np.zeros_like(vector), min(batch_size, len(data.first))
        self.scale = vector.dtype.type(1 / data.split.divisor)
        later = len(params.layers) > 1 and self.activation.name in HOMOGENEOUS
        self.scaled = -1 if data.split.divisor == 1 else int(later)  # layer whose sums are scaled
        self.rows = np.empty((max(1, CHUNK // most) * most, self.d), data.x.dtype)
        aligned = math.ceil((self.d + 1) / 16) * 16  # rows that begin a vector register's worth
        self.inputs = np.zeros((most, aligned), vector.dtype)[:, : self.d + 1]
        self.inputs[:, -1] = data.split.divisor
        self.z, self.dz = (np.empty((most, self.width), vector.dtype) for _ in "zd")
        self.ones = np.ones(most, vector.dtype)
        self.slopes = _layers(self.g, self.layout)
        self.look_at(vector)

    def look_at(self, w: FloatArray) -> None:
        """Take a vector for the parameters."""
        self.w, self.layers = w, _layers(w, self.layout)
        self.known: dict[tuple[int, ...], Any] = {}

    def losses(self, samples: npt.NDArray[np.intp]) -> Iterator[float]:
        """Take the steps, some batches of one size at once, and yield the loss of each batch."""
        whole = len(samples) // self.size * self.size
        for a, b in pairwise(sorted({*range(0, whole, len(self.rows)), whole, len(samples)})):
            yield from self.steps(samples[a:b], min(self.size, b - a))

    def steps(self, samples: npt.NDArray[np.intp], n: int) -> list[float]:
        """The steps of some batches of n samples; returns their losses."""
        split, like, k = self.data.split, self.w, self.layout.parts[-1][2][0]
        keys = (self.data.first.take(samples) << 32 | samples).reshape(-1, n)
        keys.sort(axis=1)
        parts, rows = [*pairwise(_cuts(n))], (keys & 0xFFFFFFFF).reshape(-1)
        starts = (keys[:, [part[0] for part in parts]] >> 32) // GRAIN * GRAIN
        xs = self.data.x.take(rows, axis=0, out=self.rows[: len(rows)], mode="clip")
        ys = label_rows(self.output.name, split.y.take(rows, axis=0), (len(rows), k), like)
        zs = np.empty((len(rows), k), like.dtype)
        scales: list[Any] = [(1, n)] * len(keys)
        if split.weights is not None:
            weights = split.weights.take(rows).reshape(-1, n)
            scales = [arguments.sample_weights(each, n, like) for each in weights]
        batches = (array.reshape(-1, n, array.shape[1]) for array in (xs, ys, zs))
        for x, y, z, (s, total), places in zip(*batches, scales, starts.tolist(), strict=True):
            self.step(x, y, z, s / total, [*zip(parts, places, strict=True)])
        losses = self.output.with_losses(zs, ys)[1].reshape(-1, n)
        if split.weights is not None:
            losses = losses * weights
        return [
            loss / total
            for loss, (_, total) in zip(losses.sum(axis=1).tolist(), scales, strict=True)
        ]

    def step(self, x: Any, y: FloatArray, z: FloatArray, s: Any, parts: list[Any]) -> None:
        """One step, samples weighted by s; the logits before it are written into z."""
        self.gradient(x, y, z, s, parts)
        g = empty(self.g.size, self.g)
        g[...] = self.g
        self.now = update_of(self.now)(self.now, freeze(g, self.layout))
        self.look_at(flat(self.now.params)[0])
        self.g[: self.d * self.width] = 0

    def state(self) -> Any:
        """The state after the steps so far."""
        return self.now

    def gradient(self, x: Any, y: FloatArray, z: FloatArray, s: Any, parts: list[Any]) -> None:
        """Equations (1) to (10), samples weighted by s: Z goes into z, the gradient into g."""
        zs, hs = self.forward(x, z, parts)
        dz = self.output.predictions(z) - y
        dz *= s
        self.backward(zs, hs, dz, parts)

    def forward(self, x: Any, z: FloatArray, parts: list[Any]) -> tuple[list[Any], list[Any]]:
        """Equations (1) and (2): the sums of each layer, those of the last in z, and all H."""
        z1, rest = self.z[: len(x)], self.layers[1:]
        for (a, b), start in parts:
            lit, products = self.known.get((a, b, start)) or self.views_of_z(a, b, start)
            np.copyto(lit, x[a:b, start:])
            for inputs, w, out in products:
                np.matmul(inputs, w, out)
        if self.scaled == 0:
            z1 *= self.scale
        zs, hs = [z1], []
        for i, (w, b) in enumerate(rest, 1):
            hs.append(self.activated(zs[-1]))
            zs.append(np.matmul(hs[-1], w, z if i == len(rest) else None))
            if i == self.scaled:
                zs[-1] *= self.scale
            zs[-1] += b
        if not rest:
            z[...] = z1
        return zs, hs

    def activated(self, z: FloatArray) -> FloatArray:
        """f(z), in the memory of z where the derivative looks at f(z) alone."""
        return z.clip(0, np.inf, z) if self.activation.name == "relu" else self.activation.f(z)

    def backward(self, zs: list[Any], hs: list[Any], dz: FloatArray, parts: list[Any]) -> None:
        """Equations (6) to (10)."""
        n = len(dz)
        for i in reversed(range(1, len(zs))):
            (w, _), (dw, db) = self.layers[i], self.slopes[i]
            np.matmul(self.ones[:n], dz, db)
            if i == self.scaled:
                dz *= self.scale
            np.matmul(hs[i - 1].T, dz, dw)
            dz = np.matmul(dz, w.T, self.dz[:n] if i == 1 else None)
            dz *= self.activation.df(zs[i - 1], hs[i - 1])
        if self.scaled == 0:
            dz *= self.scale
        ends = [start for _, start in parts[1:]]
        for ((_, b), start), end in zip(parts, [*ends, self.d + 1], strict=True):
            if start < end:
                views = self.known.get((n, b, start, end)) or self.views_of_dw(n, b, start, end)
                for inputs, out in views:
                    np.matmul(inputs, dz[:b], out)

    def views_of_z(self, a: int, b: int, start: int) -> Any:
        """For Z1 of rows a to b, lit from `start` on: where the inputs go, and its products."""
        rows = _small(b - a, (self.d + 1 - start) * self.width, 4, b - a <= 32)
        products = [
            (self.inputs[c:to, start:], self.layers[0][start:], self.z[c:to])
            for c, to in pairwise([*range(a, b, rows), b])
        ]
        self.known[a, b, start] = self.inputs[a:b, start:-1], products
        return self.known[a, b, start]

    def views_of_dw(self, n: int, b: int, start: int, end: int) -> Any:
        """For rows `start` to `end` of dL/dW1, which the first b of n samples light."""
        columns = _small(end - start, b * self.width, 16, n <= 64)
        self.known[n, b, start, end] = [
            (self.inputs[:b, c:to].T, self.slopes[0][c:to])
            for c, to in pairwise([*range(start, end, columns), end])
        ]
        return self.known[n, b, start, end]


class _InPlace(_Run):
    """Plain RMSProp with u in the place of v, on the slice of the vector that a batch touches."""

    def __init__(self, state: Any, data: Prepared, batch_size: int) -> None:
        super().__init__(state, data, batch_size)
        self.look_at(self.w.copy())
        self.u, self.t = flat(state.mean_squares)[0] / (1 - state.decay), np.empty_like(self.w)
        self.k, self.most = 0, max(1, min(64, int(20 / math.log2(1 / state.decay))))
        self.count, self.rate = 0, state.learning_rate / math.sqrt(1 - state.decay)

    def step(self, x: Any, y: FloatArray, z: FloatArray, s: Any, parts: list[Any]) -> None:
        """One step, equations (1) to (12); the logits before it are written into z."""
        self.k += 1
        self.count += 1
        factor = self.now.decay ** (-self.k / 2)
        self.gradient(x, y, z, s * factor, parts)
        start = parts[0][1] * self.width
        g, u, t, w = (a[start:] for a in (self.g, self.u, self.t, self.w))
        np.multiply(g, g, t)
        np.add(u, t, u)
        np.sqrt(u, t)
        np.add(t, divisor_of(self.now.eps * factor / math.sqrt(1 - self.now.decay), t), t)
        np.divide(g, t, t)
        np.multiply(t, self.rate, t)
        np.subtract(w, t, w)
        if self.k == self.most:
            self.rescale()

    def rescale(self) -> None:
        """Count steps from zero again, and drop what eps hides and would become subnormal."""
        self.u *= self.now.decay**self.k
        self.k = 0
        bound = float(np.finfo(self.u.dtype).tiny) / self.now.decay**self.most
        if bound < squared(lost_beside(self.now.eps, self.u)):
            self.u[self.u < bound] = 0

    def state(self) -> Any:
        """The state after the steps so far, with v."""
        self.rescale()
        w, v = empty(self.w.size, self.w), empty(self.w.size, self.w)
        w[...] = self.w
        np.multiply(self.u, 1 - self.now.decay, v)
        trees = {"params": freeze(w, self.layout), "mean_squares": freeze(v, self.layout)}
        return changed(self.now, step=self.now.step + self.count, **trees)


def _layers(vector: FloatArray, layout: Layout[Params]) -> list[Any]:
    """Views: the first layer with its bias as its last row, then weights and bias of each other."""
    (w, b), *rest = zip(layout.parts[::2], layout.parts[1::2], strict=True)
    first = vector[: b[1]].reshape(-1, w[2][1])
    leaves = layout.leaves(vector)[2:]
    return [first, *zip(leaves[::2], leaves[1::2], strict=True)] if rest else [first]


def _cuts(n: int) -> list[int]:
    """Where the rows of a batch are cut into parts: a thread takes no part that is too small."""
    threads = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS")
    shared = n >= 128 and int(threads or os.cpu_count() or 1) > 1
    alone = n // 16 if _unpacked() else round(math.sqrt(n) / 4)
    parts = (2 if n < 512 else 4) if shared else min(8, max(1, alone))
    rows = 4 * math.ceil(n / parts / 4)
    return [*range(0, n, rows), n]


@cache
def _unpacked() -> bool:
    """Whether this processor has AVX-512, and with it OpenBLAS's products without packing."""
    extensions = (np.show_config(mode="dicts") or {}).get("SIMD Extensions", {})
    return any("AVX512" in name or name == "X86_V4" for name in extensions.get("found", ()))


def _small(count: int, each: int, grain: int, wanted: bool) -> int:
    """How many of so many rows make a small product; all where that is not wanted."""
    if not (wanted and _unpacked()) or count * each <= SMALL:
        return max(1, count)
    most = max(grain, SMALL // each // grain * grain)
    return grain * math.ceil(count / math.ceil(count / most) / grain)
