"""Bridges to libraries that fnnet does not need."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import fields

from fnnet.optimizers.states import OPTIMIZERS, kinds
from fnnet.params import Layer, Params
from fnnet.trees import is_static


def register_jax() -> None:
    """Make `Params` and the states of all registered optimizers pytrees of JAX.

    A second call registers what has come since, and changes nothing else. Afterwards
    `jax.tree.map`, `jax.grad`, `jax.vmap`, `jax.jit` and optax take and return them. Their leaves
    are then whatever JAX puts there: arrays of its own, or tracers. The functions of fnnet take
    arrays of NumPy: ``jax.tree.map(np.asarray, params)`` is the way back.

    Raises
    ------
    ImportError
        If JAX is not installed.

    Examples
    --------
    >>> import jax  # doctest: +SKIP
    >>> from fnnet import init_params
    >>> register_jax()  # doctest: +SKIP
    >>> jax.tree.map(jax.numpy.shape, init_params(0, (3, 2)))  # doctest: +SKIP
    Params((Layer((3, 2), (2,)),))
    """
    try:
        from jax.tree_util import register_dataclass
    except ImportError as error:
        raise ImportError("register_jax needs JAX: pip install jax") from error
    meta = {
        kind: [each.name for each in fields(kind) if is_static(each)] for kind in (Layer, Params)
    }
    for state in OPTIMIZERS:
        meta[state] = [name for name, kind in kinds(state).items() if kind in ("bool", "str")]
    for kind, names in meta.items():
        data = [each.name for each in fields(kind) if each.name not in names]
        with suppress(ValueError):  # registered before
            register_dataclass(kind, data, names)
