"""Train with fnnet's gradients in a loop of optax, and compare them with JAX's of the same loss.

    python scripts/loops/jax_optax.py

Needs JAX and optax: pip install jax optax.
"""

from __future__ import annotations

if __name__ == "__main__":
    import fnnet_scripts.quiet  # noqa: F401

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from fnnet_scripts.options import Parser, at_least, counted, exit_code

import fnnet

if TYPE_CHECKING:
    import jax


def loss(params: fnnet.Params, x: jax.Array, y: jax.Array) -> jax.Array:
    """`fnnet.loss` in JAX's NumPy."""
    import jax
    import optax

    h = x
    for layer in params.layers[:-1]:
        h = jax.nn.relu(h @ layer.w + layer.b)
    logits = h @ params.layers[-1].w + params.layers[-1].b
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def run(settings: argparse.Namespace) -> None:
    import jax
    import jax.numpy as jnp
    import optax

    fnnet.register_jax()
    data, rng = fnnet.load_digits(), np.random.default_rng(0)
    params = fnnet.init_params(rng, (64, 32, 10))
    optimizer = optax.adam(1e-2)
    state = optimizer.init(params)
    for _ in counted(range(settings.epochs), settings.epochs, "epoch"):
        for x, y in fnnet.batches(rng, data.train, 32):
            updates, state = optimizer.update(fnnet.grads(params, x, y), state, params)
            params = jax.tree.map(np.asarray, optax.apply_updates(params, updates))
    accuracy = fnnet.evaluate(params, data.test).accuracy
    print(f"fnnet.grads in optax.adam, {settings.epochs} epochs: test accuracy {accuracy:.2%}")
    ours = fnnet.grads(params, x, y)
    theirs = jax.grad(loss)(params, jnp.asarray(x), jnp.asarray(y, jnp.int32))
    gaps = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), ours, theirs)
    print(f"fnnet.grads and jax.grad differ by {max(jax.tree.leaves(gaps)):.1e} at most")


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(description=__doc__)
    parser.add_argument("--epochs", type=at_least(1), default=10, metavar="N", help="default: 10")
    return exit_code("jax_optax.py", partial(run, parser.parse_args(argv)), extra="jax optax")


if __name__ == "__main__":
    sys.exit(main())
