"""Microseconds of one training step of tiny networks, where calls cost more than arithmetic.

    OMP_NUM_THREADS=1 python scripts/measure/tiny.py

Each contestant takes steps of RMSProp on one ready batch, in turns: fnnet's `grads` and
`rmsprop_update`; the same arithmetic in NumPy, written by hand for this very network, in place and
without a check; one jitted step of JAX; PyTorch's modules, autograd and optimizer. The table has
medians over the rounds. What is not installed is left out.
"""

from __future__ import annotations

if __name__ == "__main__":
    import fnnet_scripts.quiet  # noqa: F401

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from statistics import median

import numpy as np
from fnnet_scripts.contestants import (
    DECAY,
    EPS,
    RATE,
    Array,
    jax_network,
    torch_network,
    version_of,
)
from fnnet_scripts.options import Parser, at_least, exit_code
from fnnet_scripts.wording import dashed, processor, table

import fnnet

JOBS = (((4, 16, 3), 16), ((64, 128, 10), 32), ((8, 64, 64, 4), 1))
Step = Callable[[], object]


def fnnet_step(sizes: Sequence[int], x: Array, y: Array) -> Step:
    """`grads` and `rmsprop_update`, with all their checks."""
    state = fnnet.rmsprop_init(fnnet.init_params(0, sizes), RATE, DECAY, EPS)

    def step() -> fnnet.RMSPropState:
        nonlocal state
        state = fnnet.rmsprop_update(state, fnnet.grads(state.params, x, y))
        return state

    return step


def step_by_hand(sizes: Sequence[int], x: Array, y: Array) -> Step:
    """The equations in NumPy alone: all parameters in one vector, every result in place."""
    parts = [size for i, o in pairwise(sizes) for size in (i * o, o)]
    ends = np.cumsum(parts)
    w, g, v, t = (np.zeros(ends[-1], np.float32) for _ in range(4))
    w[:] = fnnet.tree_ravel(fnnet.init_params(0, sizes))[0]

    def leaves(vector: Array) -> list[tuple[Array, Array]]:
        cut = np.split(vector, ends[:-1])
        shaped = zip(cut[::2], pairwise(sizes), strict=True)
        return [*zip((leaf.reshape(shape) for leaf, shape in shaped), cut[1::2], strict=True)]

    layers, slopes, rows = leaves(w), leaves(g), np.arange(len(x))

    def step() -> Array:
        h = [x]
        for weights, bias in layers[:-1]:
            z = h[-1] @ weights
            z += bias
            h.append(np.maximum(z, 0, out=z))
        z = h[-1] @ layers[-1][0]
        z += layers[-1][1]
        z -= z.max(axis=1, keepdims=True)
        np.exp(z, out=z)
        z /= z.sum(axis=1, keepdims=True)
        z[rows, y] -= 1
        z /= len(x)
        for i in reversed(range(len(layers))):
            np.matmul(h[i].T, z, out=slopes[i][0])
            np.sum(z, axis=0, out=slopes[i][1])
            if i:
                z = z @ layers[i][0].T
                z *= h[i] > 0
        np.multiply(g, g, out=t)
        np.multiply(t, 1 - DECAY, out=t)
        np.multiply(v, DECAY, out=v)
        np.add(v, t, out=v)
        np.sqrt(v, out=t)
        np.add(t, EPS, out=t)
        np.divide(g, t, out=t)
        np.multiply(t, RATE, out=t)
        np.subtract(w, t, out=w)
        return w

    return step


def jax_step(sizes: Sequence[int], x: Array, y: Array) -> Step:
    """One jitted step on a batch that lies on the device."""
    import jax
    import jax.numpy as jnp

    state, _, update = jax_network(sizes)
    batch = jnp.asarray(x), jnp.asarray(y.astype(np.int32))
    jitted = jax.jit(update, donate_argnums=0)

    def step() -> None:
        nonlocal state
        state = jax.block_until_ready(jitted(state, *batch))

    return step


def torch_step(sizes: Sequence[int], x: Array, y: Array) -> Step:
    """Modules, autograd and `torch.optim.RMSprop`."""
    import torch

    torch.set_num_threads(1)
    _, step = torch_network(sizes)
    return partial(step, torch.from_numpy(x), torch.from_numpy(y.astype(np.int64)))


STEPS: dict[str, tuple[str, Callable[[Sequence[int], Array, Array], Step]]] = {
    "fnnet": ("numpy", fnnet_step),
    "by hand": ("numpy", step_by_hand),
    "JAX": ("jax", jax_step),
    "PyTorch": ("torch", torch_step),
}


def microseconds(steps: dict[str, Step], rounds: int, count: int = 50) -> dict[str, float]:
    """Medians of rounds in which each contestant has a turn of so many steps."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name, step in steps.items():
            began = time.perf_counter()
            for _ in range(count):
                step()
            if number:  # the first round compiles
                times[name].append(1e6 * (time.perf_counter() - began) / count)
    return {name: median(each) for name, each in times.items()}


def run(settings: argparse.Namespace) -> None:
    there = {name: make for name, (module, make) in STEPS.items() if version_of(module)}
    rows = []
    for sizes, n in JOBS:
        rng = np.random.default_rng(0)
        x = rng.random((n, sizes[0]), np.float32)
        y = rng.integers(0, sizes[-1], n).astype(np.uint8)
        steps = {name: make(sizes, x, y) for name, make in there.items()}
        times = microseconds(steps, settings.rounds)
        ratio = times["fnnet"] / times["by hand"]
        shown = [f"{each:.0f}" for each in times.values()]
        rows.append([dashed(sizes), str(n), *shown, f"{ratio:.2f}"])
    print(table(["network", "batch", *there, "fnnet / by hand"], rows))
    print(f"µs a step, float32, NumPy {np.__version__}, {processor()}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--rounds", type=at_least(1), default=60, metavar="N", help="default: 60, of 50 steps each"
    )
    settings = parser.parse_args(argv)
    return exit_code("tiny.py", lambda: run(settings))


if __name__ == "__main__":
    sys.exit(main())
