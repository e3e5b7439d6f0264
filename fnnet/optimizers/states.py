"""What an optimizer is: a frozen state with the parameters, a function that makes the first one,
and a pure function that returns the next.

`register` tells fnnet of one. The training loop, checkpoints, JAX and the comparison of optimizers
find it from then on by the type of its state, wherever it is defined.
What a state holds is read from the types of its fields: trees (`Params`, or None), whole numbers,
numbers, flags, names, and numbers of which an ensemble may have one per member (`float |
FloatArray`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import (
    Any,
    Generic,
    Protocol,
    TypeAlias,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

import numpy as np

from fnnet import arguments
from fnnet.checks import (
    FloatArray,
    as_array,
    described,
    flag,
    instance_of,
    is_array,
    is_number,
    whole_number,
)
from fnnet.params import Params
from fnnet.trees import Tree, frozen, owned

Rate: TypeAlias = float | FloatArray


class State(Protocol):
    """Anything with parameters: what the training loop asks of an optimizer's state."""

    @property
    def params(self) -> Params: ...


StateT = TypeVar("StateT", bound=State)


@dataclass(frozen=True, slots=True)
class Optimizer(Generic[StateT]):
    """A registered optimizer."""

    state: type[StateT]
    init: Callable[..., StateT]
    update: Callable[[StateT, Params], StateT]


LEAST_LARGEST = float(np.finfo(np.float32).max)  # which float64 has, too

OPTIMIZERS: dict[type[Any], Optimizer[Any]] = {}


def register(
    state: type[StateT], init: Callable[..., StateT], update: Callable[[StateT, Params], StateT]
) -> None:
    """Tell fnnet of an optimizer: how its state is made, and how it is updated.

    Parameters
    ----------
    state : frozen dataclass with `params`, and with fields of the types that a checkpoint can hold:
        `Params`, `Params | None`, int, float, bool, str and `float | FloatArray`
    init : called as init(params, ...), returns the first state
    update : called as update(state, grads), returns the next state

    Raises
    ------
    TypeError
        If `state` is no such dataclass; the message names the field.
    ValueError
        If another state of this name is registered.

    Examples
    --------
    Steps that follow the sign of the gradient alone, whose losses fall:

    >>> from dataclasses import dataclass
    >>> from fnnet import init_params, step_by_blocks, train_step
    >>> @dataclass(frozen=True)
    ... class SignState:
    ...     params: Params
    ...     step: int
    ...     learning_rate: float
    >>> def sign_init(params, learning_rate=0.1):
    ...     return first_state(SignState(params, 0, learning_rate))
    >>> def sign_update(state, grads):
    ...     return step_by_blocks(lambda g, rate, w: [w - rate * np.sign(g)], state, grads)
    >>> register(SignState, sign_init, sign_update)
    >>> state = sign_init(init_params(0, (3, 2)))
    >>> for _ in range(5):
    ...     state, loss = train_step(state, np.eye(3), [0, 1, 1])
    ...     print(f"{loss:.3f}")
    0.640
    0.528
    0.439
    0.370
    0.317
    >>> _ = OPTIMIZERS.pop(SignState)  # so that this example leaves nothing behind
    """
    frozen_too = getattr(getattr(state, "__dataclass_params__", None), "frozen", False)
    if not (isinstance(state, type) and is_dataclass(state) and frozen_too):
        raise TypeError(f"state must be a frozen dataclass, got {state!r:.99}")
    if not (callable(init) and callable(update)):
        raise TypeError(f"init and update must be functions, got {init!r:.60} and {update!r:.60}")
    if kinds(state).get("params") != "tree":
        raise TypeError(f"state must have a field params: Params, {state.__name__} has none")
    known = {each.__name__: each for each in OPTIMIZERS}.get(state.__name__, state)
    if known is not state:
        raise ValueError(f"state: another {state.__name__} is registered already; rename this one")
    OPTIMIZERS[state] = Optimizer(state, init, update)


def update(state: StateT, grads: Params) -> StateT:
    """One step of the optimizer that a state belongs to.

    Parameters
    ----------
    state : the optimizer before the step: an `RMSPropState`, say, or one that you have registered
    grads : gradient of the loss at `state.params`

    Returns
    -------
    state : the optimizer after the step, of the same type

    Raises
    ------
    TypeError
        If no optimizer has a state of this type, or as the optimizer's own update.
    ValueError
        As the optimizer's own update.

    Examples
    --------
    >>> from fnnet import adam_init, grads, init_params
    >>> state = adam_init(init_params(0, (3, 2)))
    >>> update(state, grads(state.params, np.ones((4, 3)), [0, 1, 1, 1])).step
    1
    """
    return update_of(state)(state, grads)


def update_of(state: StateT) -> Callable[[StateT, Params], StateT]:
    """The update that belongs to a state."""
    optimizer = OPTIMIZERS.get(type(state))
    if optimizer is None:
        if isinstance(state, Params):
            raise TypeError("state must be an optimizer's, got Params: write rmsprop_init(params)")
        names = ", ".join(each.__name__ for each in OPTIMIZERS)
        raise TypeError(
            f"state must be one of {names}, got {type(state).__name__}: "
            "register its optimizer, or give an update"
        )
    return optimizer.update


def kinds(state: type[Any]) -> dict[str, str]:
    """Kinds of fields: "tree", "tree or None", "int", "bool", "str", "float" or "rate".

    Raises
    ------
    TypeError
        If a field has another type, or one whose name cannot be looked up.
    """
    key: Any = state  # types are hashable, which mypy doubts of dataclasses
    return _kinds(key)


@cache
def _kinds(state: Any) -> dict[str, str]:
    try:
        types = get_type_hints(state)
    except NameError as error:
        raise TypeError(
            f"{state.__name__}: {error}; define its types at the top of a module"
        ) from None
    return {each.name: _kind(state, each.name, types[each.name]) for each in fields(state)}


def _kind(state: type, name: str, hint: Any) -> str:
    plain = {Params: "tree", int: "int", bool: "bool", str: "str", float: "float"}
    if hint in plain:
        return plain[hint]
    parts = set(get_args(hint)) if get_origin(hint) in (Union, UnionType) else set()
    if parts == {Params, type(None)}:
        return "tree or None"
    if len(parts) == 2 and float in parts and any(map(_is_array_type, parts)):
        return "rate"
    raise TypeError(
        f"{state.__name__}.{name} has the type {hint}, which a checkpoint cannot hold: expected "
        "Params, Params | None, int, float, bool, str or float | FloatArray"
    )


def _is_array_type(hint: Any) -> bool:
    """Whether a type is one of arrays: NumPy 2.5's `NDArray[...]` is a name for one."""
    origin = get_origin(hint)
    return get_origin(getattr(origin, "__value__", None)) is np.ndarray or origin is np.ndarray


def within(least: float, below: float = math.inf) -> dict[str, tuple[float, float]]:
    """Metadata of a state's field whose numbers are finite, >= `least` and < `below`.

    Parameters
    ----------
    least : the least number of the range
    below : the number that the range ends before; without it the range has no end

    Returns
    -------
    metadata : what `dataclasses.field` takes as such

    Examples
    --------
    >>> from dataclasses import field
    >>> decay: float = field(metadata=within(0, 1))
    """
    return {"range": (least, below)}


class OptimizerState(Tree):
    """Base of optimizers' states: makes learning rates read-only copies, and gives a short repr."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for name, kind in kinds(type(self)).items():
            value = getattr(self, name)
            if kind == "rate" and isinstance(value, np.ndarray):
                object.__setattr__(self, name, owned(as_array(name, value)))

    def __repr__(self) -> str:
        parts = [repr(self.params)] if hasattr(self, "params") else []
        for name, kind in kinds(type(self)).items():
            value = getattr(self, name)
            if "tree" not in kind:
                shown = described(value) if is_array(value) and value.ndim else f"{value!r:.60}"
                parts.append(f"{name}={shown}")
        return f"{type(self).__name__}({', '.join(parts)})"


def first_state(state: StateT) -> StateT:
    """A checked state: its parameters in one vector, its numbers as Python's.

    Parameters
    ----------
    state : a dataclass instance with `params`, as `register` wants it

    Returns
    -------
    state : a new one of the same type, whose parameters are read-only; rates of an ensemble's
        members stay an (E,) array

    Raises
    ------
    TypeError
        If this is no optimizer's state, params are no `Params` of one float dtype, or a flag is
        neither True nor False.
    ValueError
        If parameters do not fit each other or are not finite, or a number is out of its range.

    Examples
    --------
    >>> from fnnet import SGDState, init_params
    >>> first_state(SGDState(init_params(0, (3, 2)), 0, np.float32(0.5))).learning_rate
    0.5
    """
    if not (is_dataclass(state) and hasattr(state, "params")):
        raise TypeError(f"state must be that of an optimizer, got {type(state).__name__}")
    arguments.finite_network(state.params)
    check_numbers(state)
    changes: dict[str, Any] = {"params": frozen(state.params)}
    for name, kind in kinds(type(state)).items():
        value = getattr(state, name)
        if kind == "rate":
            check_finite_in(name, value, state.params)
        if kind == "float" or (kind == "rate" and not (is_array(value) and value.ndim)):
            changes[name] = float(value)
        elif kind == "bool":
            changes[name] = flag(name, value)
    return changed(state, **changes)


def changed(state: StateT, **values: Any) -> StateT:
    """A state with other values, as `dataclasses.replace`, without checking them."""
    kind: Any = type(state)
    new, put = object.__new__(kind), object.__setattr__
    for name in _kinds(kind):
        put(new, name, values[name] if name in values else getattr(state, name))
    return cast(StateT, new)


def check_type(state: Any, kind: type) -> None:
    """Raise where a state is of another type."""
    if type(state) is not kind:
        remedy = f"{OPTIMIZERS[kind].init.__name__}(params)" if kind in OPTIMIZERS else ""
        instance_of(kind, "state", state, remedy)


def check_numbers(state: Any) -> None:
    """Raise where a number of a state is out of its range, steps and flags included."""
    kind: Any = type(state)
    for name, least, below in _ranges(kind):
        value = getattr(state, name)
        if not (type(value) is float and least <= value < below):
            check_setting(name, value, least, below, state.params)
    for name, whole in _steps_and_flags(kind):
        value = getattr(state, name)
        if whole and not (type(value) is int and value >= 0):
            whole_number(name, value, 0)
        elif not whole and not (value is True or value is False):
            flag(name, value)


@cache
def _ranges(kind: Any) -> tuple[tuple[str, float, float], ...]:
    held = kinds(kind)
    found = ((each.name, each.metadata.get("range")) for each in fields(kind))
    return tuple((name, *bounds) for name, bounds in found if bounds and "tree" not in held[name])


@cache
def _steps_and_flags(kind: Any) -> tuple[tuple[str, bool], ...]:
    held = kinds(kind).items()
    return tuple((name, what == "int") for name, what in held if what in ("int", "bool"))


def least_of(state: type, name: str) -> float:
    """The least number that a tree of the state may hold."""
    (bounds,) = (each.metadata.get("range") for each in fields(state) if each.name == name)
    return float(bounds[0]) if bounds else -math.inf


def check_setting(
    name: str,
    value: Rate,
    least: float,
    below: float,
    params: Params | None = None,
    interval: str | None = None,
) -> None:
    """Raise where a value is neither a number in its range nor one such number for each member."""
    members = params.layers[0].w.shape[:-2] if params else ()
    if is_array(value):
        as_array(name, value)  # raises where it is masked
    if is_array(value) and value.ndim:
        fits = value.shape == members and value.dtype.kind in "fiu"
        fits = fits and bool(np.all(np.isfinite(value) & (value >= least) & (value < below)))
    else:
        fits = is_number(value) and least <= float(value) < below
    if not fits:
        bounds = f"be a finite number >= {least:g}"
        bounds = bounds if math.isinf(below) else f"lie in {interval or f'[{least:g}, {below:g})'}"
        each = f", or be one such number for each member of an ensemble (shape {members})"
        hint = ""
        if callable(value):
            hint = (
                ": a schedule is a function of the step; write dataclasses.replace(state, "
                f"{name}=schedule(state.step)) before each update"
            )
        raise ValueError(f"{name} must {bounds}{each if members else ''}, got {value!r:.99}{hint}")


def check_finite_in(name: str, value: Rate, params: Params) -> None:
    """Raise where a number would be infinite in the parameters' dtype."""
    dtype = params.layers[0].w.dtype
    with np.errstate(over="ignore"):
        fits = bool(np.all(value <= float(np.finfo(dtype).max)))
    if not fits:
        raise ValueError(f"{name} must be finite in {dtype}, got {value!r:.99}")
