"""Bridges to libraries that fnnet does not need."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import fields

from fnnet.network import Layer, Params
from fnnet.rmsprop import RMSPropState

STATIC = ("bool",)  # types of fields that a compiled function is compiled for, not given


def register_jax() -> None:
    """Make `Layer`, `Params` and `RMSPropState` pytrees of JAX; a second call changes nothing.

    Afterwards `jax.tree.map`, `jax.grad`, `jax.vmap`, `jax.jit` and optax take and return them.
    Their leaves are then whatever JAX puts there: arrays of its own, or tracers.

    Raises
    ------
    ImportError
        If JAX is not installed.

    Examples
    --------
    >>> register_jax()  # doctest: +SKIP
    >>> jax.tree.map(jnp.shape, init_params(0, (3, 2)))  # doctest: +SKIP
    Params(layers=(Layer(w=(3, 2), b=(2,)),))
    """
    try:
        from jax.tree_util import register_dataclass
    except ImportError as error:
        raise ImportError("register_jax needs JAX: pip install jax") from error
    for kind in (Layer, Params, RMSPropState):
        data = [field.name for field in fields(kind) if field.type not in STATIC]
        meta = [field.name for field in fields(kind) if field.type in STATIC]
        with suppress(ValueError):  # registered before
            register_dataclass(kind, data, meta)
