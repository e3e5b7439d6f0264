"""Time products with the Hessian and the Gauss-Newton matrix, as multiples of `grads`.

    OMP_NUM_THREADS=1 python scripts/measure/curvature.py

By matrix products alone the Hessian's would take 1.5 times as long for one hidden layer behind wide
inputs, and 2.7 times for many layers. The three are called in turn, and the table has the medians
of the ratios, so that a machine that is busy now and then spoils little. A last line has the
gradients of single samples: `grads` of an ensemble of equal members, beside a loop.
"""

from __future__ import annotations

if __name__ == "__main__":
    import fnnet_scripts.quiet  # noqa: F401

import argparse
import os
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from itertools import product
from statistics import median

import numpy as np
from fnnet_scripts.options import Parser, at_least, counted, exit_code
from fnnet_scripts.wording import dashed, processor, table

import fnnet
from fnnet.curvature import gauss_newton_vector, hessian_vector

NETWORKS = ((784, 128, 10), (784, 800, 10), (784, *(128,) * 6, 10), (256, *(256,) * 6, 10))


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def ratios(
    sizes: Sequence[int], activation: str, batch_size: int, rounds: int
) -> tuple[float, float, float]:
    """Seconds of `grads`, and how many times as long the two products take."""
    params, v = (fnnet.init_params(i, sizes, activation=activation) for i in range(2))
    rng = np.random.default_rng(0)
    x = rng.random((batch_size, sizes[0]), np.float32)
    y = rng.integers(0, sizes[-1], batch_size)
    works: tuple[Callable[[], object], ...] = (
        lambda: fnnet.grads(params, x, y),
        lambda: hessian_vector(params, x, y, v),
        lambda: gauss_newton_vector(params, x, y, v),
    )
    for work in works:
        work()
    times = np.array([[seconds(work) for work in works] for _ in range(rounds)])
    hessian, gauss_newton = np.median(times[:, 1:] / times[:, :1], axis=0)
    return median(times[:, 0].tolist()), float(hessian), float(gauss_newton)


def of_each_sample(n: int, rounds: int) -> str:
    """What the gradients of n samples cost, in one call and in a loop."""
    params, rng = fnnet.init_params(0, NETWORKS[0]), np.random.default_rng(0)
    x = rng.random((n, NETWORKS[0][0]), np.float32)
    y = rng.integers(0, NETWORKS[0][-1], n)
    members = fnnet.Params(
        tuple(
            fnnet.Layer(*(np.broadcast_to(leaf, (n, *leaf.shape)) for leaf in (layer.w, layer.b)))
            for layer in params.layers
        )
    )

    def at_once() -> fnnet.Params:
        return fnnet.grads(members, x[:, None], y[:, None])

    def loop() -> list[fnnet.Params]:
        return [fnnet.grads(params, x[i : i + 1], y[i : i + 1]) for i in range(n)]

    tracemalloc.start()
    size = sum(leaf.nbytes for leaf in fnnet.tree_leaves(at_once()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    times = np.array([[seconds(work) for work in (at_once, loop)] for _ in range(rounds)])
    return (
        f"Gradients of {n} samples, {dashed(NETWORKS[0])}: {np.median(times[:, 0]) * 1e3:.1f} ms, "
        f"{np.median(times[:, 0] / times[:, 1]):.2f} of a loop; at most {peak / 1e6:.1f} MB at "
        f"once, of which the result has {size / 1e6:.1f}"
    )


def run(settings: argparse.Namespace) -> None:
    rows, points = [], [*product(NETWORKS, ("relu", "tanh"), settings.batch_sizes)]
    for sizes, activation, n in counted(points, len(points), "point"):
        base, *times = ratios(sizes, activation, n, settings.rounds)
        name = dashed(sizes) if len(sizes) < 5 else f"{sizes[0]}-6×{sizes[1]}-{sizes[-1]}"
        shown = [f"{base * 1e3:.2f}", *(f"{each:.2f}" for each in times)]
        rows.append([name, activation, str(n), *shown])
    header = ["network", "activation", "batch", "grads, ms", "Hessian", "Gauss-Newton"]
    print(table(header, rows))
    print(of_each_sample(64, settings.rounds))
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    print(f"NumPy {np.__version__}, float32, {threads} threads, {processor()}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("--batch-sizes", type=at_least(1), nargs="+", default=[128, 1024], metavar="N")
    add("--rounds", type=at_least(1), default=30, metavar="N", help="default: 30")
    settings = parser.parse_args(argv)
    return exit_code("curvature.py", lambda: run(settings))


if __name__ == "__main__":
    sys.exit(main())
