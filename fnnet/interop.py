"""Bridges to libraries that fnnet does not need."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import fields

from fnnet.network import Layer, Params
from fnnet.optimizers.adam import AdamState
from fnnet.optimizers.rmsprop import RMSPropState
from fnnet.optimizers.sgd import SGDState

STATIC = ("bool",)  # types of fields that a compiled function is compiled for, not given


def register_jax() -> None:
    """Make `Params` and the optimizers' states pytrees of JAX; a second call changes nothing.

    Afterwards `jax.tree.map`, `jax.grad`, `jax.vmap`, `jax.jit` and optax take and return them.
    Their leaves are then whatever JAX puts there: arrays of its own, or tracers. The functions of
    fnnet take arrays of NumPy: ``jax.tree.map(np.asarray, params)`` is the way back.

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
    for kind in (Layer, Params, RMSPropState, SGDState, AdamState):
        data = [field.name for field in fields(kind) if field.type not in STATIC]
        meta = [field.name for field in fields(kind) if field.type in STATIC]
        with suppress(ValueError):  # registered before
            register_dataclass(kind, data, meta)
