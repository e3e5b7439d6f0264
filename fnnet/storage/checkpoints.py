"""A training state to and from one `.npz` file, without pickle.

The archive holds a JSON header, one array for each leaf, and one for the history. Members are
stored, not compressed, so that a file never unpacks to more than its own size. What a state holds
is read from the types of its fields: see `fnnet.optimizers.states.kinds`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Generic, TypeAlias, overload

import numpy as np

from fnnet import arguments
from fnnet.activations import ACTIVATIONS, Activation
from fnnet.checks import float_dtype, instance_of, is_array, items_of, path_text, whole_number
from fnnet.optimizers.states import (
    OPTIMIZERS,
    State,
    StateT,
    check_numbers,
    kinds,
    least_of,
)
from fnnet.params import Layer, Params, widths
from fnnet.randomness import GeneratorState, generator_state
from fnnet.records import Epoch, Metrics
from fnnet.storage.archives import CheckpointError, array_of, members_of, only_known, write_archive
from fnnet.storage.histories import COLUMNS, history_of, row_of, table_of
from fnnet.trees import frozen, same_structure, tree_leaves

FORMAT, VERSION = "fnnet checkpoint", 2
HEADER, HISTORY = "header.json", "history.npy"
KEYS = (
    *("format", "version", "optimizer", "numbers", "trees", "ensemble", "sizes", "dtype"),
    *("activation", "output", "rng", "epoch", "history", "extra", "arrays"),
)
Extra: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False, repr=False, init=False)
class Checkpoint(Generic[StateT]):
    """All that a run needs to go on as if it had never stopped.

    Attributes
    ----------
    state : parameters and optimizer: a state that is registered
    rng : the state of the batches' generator after the epoch, by value. A generator may be given in
        its place; its state is copied
    epoch : number of epochs done
    history : metrics of these epochs
    extra : what a run must know again: names with JSON values (seed, data set, classes) or arrays
        (what standardised the inputs)
    """

    state: StateT
    rng: GeneratorState
    epoch: int
    history: tuple[Metrics, ...]
    extra: Extra

    def __init__(
        self,
        state: StateT,
        rng: GeneratorState | np.random.Generator,
        epoch: int = 0,
        history: Sequence[Metrics] = (),
        extra: Extra | None = None,
    ) -> None:
        by_value = generator_state(rng) if isinstance(rng, np.random.Generator) else rng
        if not isinstance(extra, Mapping | None):
            raise TypeError(f"extra must be a dictionary by names, got {extra!r:.99}")
        metrics = items_of("history", history, "metrics")
        values = (state, by_value, epoch, metrics, dict(extra or {}))
        for name, value in zip(self.__slots__, values, strict=True):
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        extra = f", extra {', '.join(self.extra)}" if self.extra else ""
        return f"Checkpoint(epoch {self.epoch}, {self.state!r}{extra})"


def save_checkpoint(path: str | os.PathLike[str], checkpoint: Checkpoint[StateT]) -> None:
    """Write a checkpoint; after a crash at any moment the file is the old one or the new one.

    Equal checkpoints are equal bytes.

    Parameters
    ----------
    path : where to write; any suffix
    checkpoint : what to write

    Raises
    ------
    TypeError, ValueError
        If the checkpoint is one that could not be loaded.
    OSError
        If the file cannot be written; what was there before is still there.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from fnnet import init_params, rmsprop_init
    >>> start = Checkpoint(rmsprop_init(init_params(0, (3, 2))), np.random.default_rng(0))
    >>> with TemporaryDirectory() as folder:
    ...     save_checkpoint(f"{folder}/start.npz", start)
    ...     load_checkpoint(f"{folder}/start.npz").state.params
    Params(3-2, float32, 8 parameters)
    """
    _check(checkpoint)
    state, params = checkpoint.state, checkpoint.state.params
    arrays = {name: np.asarray(a) for name, a in checkpoint.extra.items() if is_array(a)}
    header = {
        "format": FORMAT,
        "version": VERSION,
        "optimizer": type(state).__name__,
        "numbers": {n: getattr(state, n) for n, k in kinds(type(state)).items() if "tree" not in k},
        "trees": [*_trees(state)],
        "ensemble": params.layers[0].w.shape[:-2],
        "sizes": widths(params),
        "dtype": str(params.layers[0].w.dtype),
        "activation": getattr(params.activation, "name", params.activation),
        "output": params.output,
        "rng": {"name": checkpoint.rng.name, "state": json.loads(checkpoint.rng.text)},
        "epoch": checkpoint.epoch,
        "history": COLUMNS,
        "extra": {name: v for name, v in checkpoint.extra.items() if name not in arrays},
        "arrays": [[name, a.dtype.str, a.shape] for name, a in arrays.items()],
    }
    leaves = {
        f"{name}.{i}.npy": leaf
        for name, tree in _trees(state).items()
        for i, leaf in enumerate(tree_leaves(tree))
    }
    leaves[HISTORY] = table_of(checkpoint.history)
    leaves.update({f"extra.{i}.npy": array for i, array in enumerate(arrays.values())})
    write_archive(path, HEADER, json.dumps(header, default=_plain), leaves)


@overload
def load_checkpoint(
    path: str | os.PathLike[str],
    optimizer: None = None,
    *,
    limit: int = 2**31,
    activations: Mapping[str, Activation] | None = None,
) -> Checkpoint[State]: ...
@overload
def load_checkpoint(
    path: str | os.PathLike[str],
    optimizer: type[StateT],
    *,
    limit: int = 2**31,
    activations: Mapping[str, Activation] | None = None,
) -> Checkpoint[StateT]: ...
def load_checkpoint(
    path: str | os.PathLike[str],
    optimizer: type[Any] | None = None,
    *,
    limit: int = 2**31,
    activations: Mapping[str, Activation] | None = None,
) -> Checkpoint[Any]:
    """Read a checkpoint that `save_checkpoint` wrote, of this version or of 0.1.0.

    Nothing is unpickled or evaluated, no member's name is used as a path, and memory stays within
    ten times `limit`, whatever the file's headers claim.

    Parameters
    ----------
    path : the file
    optimizer : type that its state must have, `AdamState`, say; without one, any registered state
    limit : the most bytes that the file may have
    activations : activations of your own, by their names

    Returns
    -------
    checkpoint : equal to the one that was saved, to the last bit

    Raises
    ------
    FileNotFoundError, OSError
        If the file cannot be read.
    MemoryError
        If this machine has not enough memory for a file within the limit.
    TypeError
        If an argument has another type than it should.
    CheckpointError
        If it is not a whole checkpoint, or holds a key, an optimizer or an activation that this
        version does not know.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from fnnet import init_params, sgd_init
    >>> run = Checkpoint(sgd_init(init_params(0, (3, 2))), np.random.default_rng(0), epoch=7)
    >>> with TemporaryDirectory() as folder:
    ...     save_checkpoint(f"{folder}/run.npz", run)
    ...     load_checkpoint(f"{folder}/run.npz").epoch
    7
    """
    if not (optimizer is None or (isinstance(optimizer, type) and optimizer in OPTIMIZERS)):
        raise TypeError(f"optimizer must be one of {_known()} or None, got {optimizer!r:.99}")
    whole_number("limit", limit, 0)
    name = path_text("path", path)
    own = _own_activations(activations)
    try:
        members = members_of(path, limit, HEADER)
        checkpoint: Checkpoint[Any] = _checkpoint(members, optimizer, own)
        _check(checkpoint)
        return checkpoint
    except CheckpointError as error:
        raise CheckpointError(f"{name}: {error}") from None
    except (MemoryError, OSError):
        raise  # the file may well be good
    except Exception as error:
        # zipfile, json and the parsing of hostile headers fail in a dozen ways, all alike to a user
        what = "is not a whole fnnet checkpoint (cut short, damaged or not one)"
        raise CheckpointError(f"{name} {what}: {error!s:.300}") from error


def _check(checkpoint: Checkpoint[StateT]) -> None:
    """Raise a TypeError or ValueError where no training makes such a checkpoint."""
    remedy = "Checkpoint(state, rng)"
    if isinstance(checkpoint, Epoch):
        remedy = "Checkpoint(record.state, record.rng, record.metrics.epoch)"
    elif isinstance(checkpoint, str | os.PathLike):
        remedy = "save_checkpoint(path, checkpoint)"
    instance_of(Checkpoint, "checkpoint", checkpoint, remedy)
    state: Any = checkpoint.state
    if type(state) not in OPTIMIZERS:
        raise TypeError(f"state must be one of {_known()}, got {type(state).__name__}")
    whole_number("epoch", checkpoint.epoch, 0)
    table_of(checkpoint.history)
    instance_of(GeneratorState, "rng", checkpoint.rng)
    checkpoint.rng.generator()
    arguments.finite_network(state.params)
    for name, tree in _trees(state).items():
        if not same_structure(tree, state.params):
            raise ValueError(f"state: {name} must have the structure and shapes of params")
        least = least_of(type(state), name)
        for leaf in tree_leaves(tree):
            if leaf.dtype != state.params.layers[0].w.dtype or not leaf.dtype.isnative:
                raise TypeError(f"state: {name} must have the dtype of params, got {leaf.dtype}")
            if not np.all(np.isfinite(leaf) & (leaf >= least)):
                bound = "" if least == -np.inf else f" and >= {least:g}"
                raise ValueError(f"state: {name} must be finite{bound}")
    check_numbers(state)
    _check_extra(checkpoint.extra)


def _check_extra(extra: Extra) -> None:
    for name, value in extra.items():
        if not isinstance(name, str):
            raise TypeError(f"extra: names must be str, got {name!r:.99}")
        if is_array(value):
            if np.asarray(value).dtype.kind not in "biuf":
                raise TypeError(f"extra: {name} must be an array of numbers, got {value.dtype}")
        elif not _is_json(value):
            raise TypeError(f"extra: {name} must be a JSON value or an array, got {value!r:.99}")


def _is_json(value: Any) -> bool:
    """Whether JSON gives a value back (tuples as lists)."""
    if isinstance(value, list | tuple):
        return all(map(_is_json, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and all(map(_is_json, value.values()))
    return value is None or isinstance(value, bool | int | float | str)


def _checkpoint(
    members: dict[str, bytes], wanted: type[Any] | None, own: Mapping[str, Activation]
) -> Checkpoint[Any]:
    header = json.loads(members[HEADER])
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise CheckpointError(f"expected the format {FORMAT!r} in its header")
    version = header.get("version")
    if type(version) is not int or version not in (1, VERSION):
        raise CheckpointError(
            f"expected version 1 or {VERSION}, got {version!s:.99}: "
            "read it with the fnnet that wrote it"
        )
    only_known("its header", header, KEYS)
    state = _state(header, members, wanted, own)
    rng = header["rng"]
    if version == 1:
        history = tuple(row_of(row) for row in header["history"])
        rng = {"name": rng["bit_generator"], "state": rng}
    else:
        table = array_of(HISTORY, None, np.dtype(np.float64), members)
        history = history_of(header["history"], table)
    extra = _extra(header, members)
    leaves = len(header["trees"]) * 2 * len(state.params.layers)
    leaves += version + len(header.get("arrays", []))  # the header, the table of version 2
    if len(members) != leaves:
        raise CheckpointError(f"expected {leaves} members, got {len(members)}")
    text = json.dumps(rng["state"], sort_keys=True)
    return Checkpoint(state, GeneratorState(rng["name"], text), header["epoch"], history, extra)


def _extra(header: dict[str, Any], members: dict[str, bytes]) -> dict[str, Any]:
    found = header.get("extra", {})
    if not isinstance(found, dict):
        raise CheckpointError(f"extra must be an object of names and values, got {found!r:.60}")
    extra = dict(found)
    for i, (name, dtype, shape) in enumerate(header.get("arrays", [])):
        if not isinstance(name, str) or name in extra or np.dtype(dtype).kind not in "biuf":
            raise CheckpointError(f"extra: expected arrays of numbers, got {name!r:.60}")
        extra[name] = array_of(f"extra.{i}.npy", _sizes(shape, 0), np.dtype(dtype), members)
    return extra


def _state(
    header: dict[str, Any],
    members: dict[str, bytes],
    wanted: type[Any] | None,
    own: Mapping[str, Activation],
) -> Any:
    name = header["optimizer"]
    kind: Any = {known.__name__: known for known in OPTIMIZERS}.get(name)
    if kind is None:
        raise CheckpointError(f"unknown optimizer {name!r:.99}: register it first")
    if wanted not in (kind, None):
        raise CheckpointError(f"expected {wanted.__name__}, got {name}: give it as the optimizer")
    held = kinds(kind)
    only_known("trees", header["trees"], [n for n, k in held.items() if "tree" in k])
    only_known("numbers", header["numbers"], [n for n, k in held.items() if "tree" not in k])
    old = {"activation": "relu", "output": "softmax"} if header["version"] == 1 else {}
    activation, output = ({**old, **header}[name] for name in ("activation", "output"))
    if activation not in ACTIVATIONS and activation not in own:
        raise CheckpointError(
            f"unknown activation {activation!r:.99}: give it as activations={{name: Activation}}"
        )
    dtype = float_dtype(header["dtype"])

    def tree(name: str) -> Params:
        layers = _layers(name, _shapes(header), dtype, members)
        return frozen(Params(layers, own.get(activation, activation), output))

    trees = {name: tree(name) for name in header["trees"]}
    numbers = {n: _number(n, held[n], value) for n, value in header["numbers"].items()}
    absent = {n: None for n, k in held.items() if k == "tree or None" and n not in trees}
    return kind(**trees, **numbers, **absent)


def _layers(
    name: str, shapes: Iterator[tuple[int, ...]], dtype: np.dtype[Any], members: dict[str, bytes]
) -> tuple[Layer, ...]:
    leaves = [array_of(f"{name}.{i}.npy", shape, dtype, members) for i, shape in enumerate(shapes)]
    return tuple(Layer(w, b) for w, b in zip(leaves[::2], leaves[1::2], strict=True))


def _shapes(header: dict[str, Any]) -> Iterator[tuple[int, ...]]:
    ensemble = _sizes(header["ensemble"], 1)
    sizes = _sizes(header["sizes"], 1)
    if len(sizes) < 2:
        raise CheckpointError(f"expected two sizes or more, got {sizes}")
    # One by one: the first that no member has ends a header's claims.
    for inputs, outputs in pairwise(sizes):
        yield (*ensemble, inputs, outputs)
        yield (*ensemble, outputs)


def _sizes(sizes: Any, least: int) -> tuple[int, ...]:
    if not isinstance(sizes, list) or any(type(n) is not int or n < least for n in sizes):
        raise CheckpointError(f"expected sizes >= {least}, got {sizes!s:.99}")
    return tuple(sizes)


def _number(name: str, kind: str, value: Any) -> Any:
    if type(value) is {"int": int, "bool": bool, "str": str}.get(kind):
        return value
    if type(value) in (int, float) and kind in ("float", "rate"):
        return float(value)
    if type(value) is list and kind == "rate":
        return np.array(value, np.float64)
    raise CheckpointError(f"{name} must be of type {kind}, got {value!r:.99}")


def _trees(state: Any) -> dict[str, Params]:
    trees = {n: getattr(state, n) for n, kind in kinds(type(state)).items() if "tree" in kind}
    return {name: tree for name, tree in trees.items() if tree is not None}


def _own_activations(activations: Mapping[str, Activation] | None) -> dict[str, Activation]:
    if not isinstance(activations, Mapping | None):
        raise TypeError(f"activations must be a dictionary by names, got {activations!r:.99}")
    own = dict(activations or {})
    for name, activation in own.items():
        instance_of(Activation, f"activations[{name!r}]", activation)
    return own


def _known() -> str:
    return ", ".join(kind.__name__ for kind in OPTIMIZERS)


def _plain(value: Any) -> Any:
    """NumPy's numbers and small arrays as JSON has them."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"a header holds JSON alone, got {type(value).__name__}")
