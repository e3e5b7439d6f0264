"""A training state to and from one `.npz` file, without pickle.

The archive holds a JSON header and one array for each leaf. Members are stored, not compressed, so
that a file never unpacks to more than its own size.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from io import BytesIO
from itertools import pairwise
from typing import Any, Generic, overload

import numpy as np

from fnnet.checks import float_dtype, instance_of, whole_number
from fnnet.network import Layer, Params, check_params
from fnnet.optimizers import adam, rmsprop, sgd
from fnnet.optimizers.adam import AdamState
from fnnet.optimizers.rmsprop import RMSPropState
from fnnet.optimizers.sgd import SGDState
from fnnet.optimizers.steps import StateT
from fnnet.storage.files import atomic_write
from fnnet.training import Metrics
from fnnet.trees import FloatArray, same_structure, tree_leaves, tree_map

FORMAT, VERSION = "fnnet checkpoint", 1
HEADER = "header.json"
LEAST_HEADER = 2**16  # bytes that it may have whatever the limit
LEAST_MEMBER = 100  # bytes that a member takes, its entry in the directory included
DIRECTORY_ENTRY = b"PK\1\2"
NPY_HEADER = re.compile(  # as NumPy writes it; nothing is evaluated
    rb"\{'descr': '([<>|][biufcmMOSUV]\d*)', 'fortran_order': (True|False), "
    rb"'shape': \(([-\d, ]*)\), \} *\n"
)
DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
BIT_GENERATORS = {
    kind.__name__: kind
    for kind in (
        np.random.PCG64,
        np.random.PCG64DXSM,
        np.random.MT19937,
        np.random.Philox,
        np.random.SFC64,
    )
}
NUMBERS = ("bool", "int", "float", "float | FloatArray")  # types of fields that the header holds
TREES = ("Params", "Params | None")  # types of fields that members hold
CHECKS: dict[type, Callable[[Any], None]] = {
    RMSPropState: rmsprop.check_numbers,
    SGDState: sgd.check_numbers,
    AdamState: adam.check_numbers,
}


class CheckpointError(ValueError):
    """The file is not a whole checkpoint of this version; the message says what is wrong."""


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint(Generic[StateT]):
    """All that a run needs to go on as if it had never stopped.

    Attributes
    ----------
    state : parameters and optimizer: an `RMSPropState`, an `SGDState` or an `AdamState`
    rng : generator of the batches, as it stands after the epoch: it is not copied, so save before
        the next one begins
    epoch : number of epochs done
    history : metrics of these epochs
    """

    state: StateT
    rng: np.random.Generator
    epoch: int = 0
    history: tuple[Metrics, ...] = ()


def save_checkpoint(path: str | os.PathLike[str], checkpoint: Checkpoint[StateT]) -> None:
    """Write a checkpoint; after a crash at any moment the file is the old one or the new one.

    Parameters
    ----------
    path : where to write; any suffix
    checkpoint : what to write; the generator's state is read, not advanced

    Raises
    ------
    TypeError, ValueError
        If the checkpoint is one that could not be loaded.
    OSError
        If the file cannot be written; what was there before is still there.
    """
    _check(checkpoint)
    header = {
        "format": FORMAT,
        "version": VERSION,
        "optimizer": type(checkpoint.state).__name__,
        "numbers": _numbers(checkpoint.state),
        "trees": [*_trees(checkpoint.state)],
        "ensemble": checkpoint.state.params.layers[0].w.shape[:-2],
        "sizes": _sizes(checkpoint.state.params),
        "dtype": str(checkpoint.state.params.layers[0].w.dtype),
        "rng": checkpoint.rng.bit_generator.state,
        "epoch": checkpoint.epoch,
        "history": [_row(metrics) for metrics in checkpoint.history],
    }
    with atomic_write(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(HEADER, json.dumps(header, default=_plain))
        for name, tree in _trees(checkpoint.state).items():
            for i, leaf in enumerate(tree_leaves(tree)):
                with archive.open(f"{name}.{i}.npy", "w") as member:
                    np.lib.format.write_array(member, leaf, allow_pickle=False)


@overload
def load_checkpoint(
    path: str | os.PathLike[str], *, limit: int = 2**31
) -> Checkpoint[RMSPropState]: ...
@overload
def load_checkpoint(
    path: str | os.PathLike[str], optimizer: type[StateT], *, limit: int = 2**31
) -> Checkpoint[StateT]: ...
@overload
def load_checkpoint(
    path: str | os.PathLike[str], optimizer: None, *, limit: int = 2**31
) -> Checkpoint[RMSPropState | SGDState | AdamState]: ...
def load_checkpoint(
    path: str | os.PathLike[str], optimizer: type[Any] | None = RMSPropState, *, limit: int = 2**31
) -> Checkpoint[Any]:
    """Read a checkpoint that `save_checkpoint` wrote.

    Nothing is unpickled or evaluated, no member's name is used as a path, and memory stays within
    ten times `limit`, whatever the file's headers claim.

    Parameters
    ----------
    path : the file
    optimizer : type of its state: `RMSPropState`, `SGDState` or `AdamState`; None takes any of them
    limit : the most bytes that the file may have; its JSON header may have an eighth of that

    Raises
    ------
    FileNotFoundError, OSError
        If the file cannot be read.
    MemoryError
        If this machine has not enough memory for a file within the limit.
    CheckpointError
        If it is not a whole checkpoint of this version.
    """
    if optimizer is not None and optimizer not in CHECKS:
        raise TypeError(f"optimizer must be one of {_known()} or None, got {optimizer!r:.99}")
    whole_number("limit", limit, 0)
    name = os.fspath(path)
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise CheckpointError(f"{name} has {size} bytes, more than the limit of {limit}")
        content = file.read(size)
    try:
        checkpoint: Checkpoint[Any] = _checkpoint(_members(content, limit), optimizer)
        _check(checkpoint)
        return checkpoint
    except CheckpointError as error:
        raise CheckpointError(f"{name}: {error}") from None
    except MemoryError:
        raise  # the file may well be good
    except Exception as error:
        # zipfile, json and the parsing of hostile headers fail in a dozen ways, all alike to a user
        raise CheckpointError(
            f"{name} is not a whole fnnet checkpoint (cut short, damaged or not one): {error}"
        ) from error


def _members(content: bytes, limit: int) -> dict[str, bytes]:
    """The members of an archive that claims no more than it has."""
    # An entry of the directory takes zipfile twenty times its own size of memory.
    if content.count(DIRECTORY_ENTRY) * LEAST_MEMBER > len(content):
        raise CheckpointError(f"more members than fit into {len(content)} bytes")
    with zipfile.ZipFile(BytesIO(content)) as archive:
        infos = archive.infolist()
        if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
            raise CheckpointError("members must be stored without compression, got compressed ones")
        if sum(info.file_size for info in infos) > len(content):
            raise CheckpointError("members claim more bytes than the file has")
        members = {info.filename: archive.read(info) for info in infos}
    if len(members) < len(infos):
        raise CheckpointError("expected members of different names")
    # A value in JSON takes up to forty times its own size.
    if len(members.get(HEADER, b"")) > max(LEAST_HEADER, limit // 8):
        raise CheckpointError(f"{HEADER} has more than an eighth of the limit of {limit} bytes")
    return members


def _checkpoint(members: dict[str, bytes], wanted: type[StateT] | None) -> Checkpoint[StateT]:
    if HEADER not in members:
        raise CheckpointError(f"expected a member {HEADER}, got {sorted(members)[:5]!s:.99}")
    header = json.loads(members[HEADER])
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise CheckpointError(f"expected the format {FORMAT!r} in its header")
    if header.get("version") != VERSION:
        raise CheckpointError(
            f"expected version {VERSION}, got {header.get('version')!s:.99}: "
            "read it with the fnnet that wrote it"
        )
    state = _state(header, members, wanted)
    history = tuple(Metrics(**_checked(Metrics, row)) for row in header["history"])
    return Checkpoint(state, _generator(header["rng"]), header["epoch"], history)


def _check(checkpoint: Checkpoint[StateT]) -> None:
    """Raise a TypeError or ValueError where no training makes such a checkpoint."""
    instance_of(Checkpoint, "checkpoint", checkpoint)
    state: Any = checkpoint.state
    if type(state) not in CHECKS:
        raise TypeError(f"state must be one of {_known()}, got {type(state).__name__}")
    whole_number("epoch", checkpoint.epoch, 0)
    for metrics in checkpoint.history:
        instance_of(Metrics, "history", metrics)
        _checked(Metrics, _row(metrics))
    if not isinstance(checkpoint.rng, np.random.Generator):
        raise TypeError(f"rng must be a numpy.random.Generator, got {checkpoint.rng!r}")
    if type(checkpoint.rng.bit_generator).__name__ not in BIT_GENERATORS:
        raise TypeError(f"rng must use one of {sorted(BIT_GENERATORS)}, got {checkpoint.rng}")
    for name, tree in _trees(state).items():
        for leaf in tree_leaves(tree):
            if leaf.dtype not in DTYPES or not leaf.dtype.isnative:
                raise TypeError(f"state: {name} must be float32 or float64, got {leaf.dtype}")
        if not same_structure(tree, state.params):
            raise ValueError(f"state: {name} must have the structure and shapes of params")
        least = 0 if name == "mean_squares" else -np.inf
        if not all(np.all(np.isfinite(leaf) & (leaf >= least)) for leaf in tree_leaves(tree)):
            bound = " and >= 0" if name == "mean_squares" else ""
            raise ValueError(f"state: {name} must be finite{bound}")
    whole_number("step", state.step, 0)
    CHECKS[type(state)](state)


def _known() -> str:
    return ", ".join(kind.__name__ for kind in CHECKS)


def _state(
    header: dict[str, Any], members: dict[str, bytes], wanted: type[StateT] | None
) -> StateT:
    name = header["optimizer"]
    kind: Any = {known.__name__: known for known in CHECKS}.get(name)
    if kind is None:
        raise CheckpointError(f"unknown optimizer {name!r:.99}")
    if wanted not in (kind, None):
        raise CheckpointError(f"expected {wanted.__name__}, got {name}: give it as the optimizer")
    dtype = float_dtype(header["dtype"])
    tree_names = [name for name, t in _types(kind).items() if t in TREES]
    trees: dict[str, Any] = {
        name: _tree(name, _shapes(header), dtype, members)
        for name in tree_names
        if name in header["trees"]
    }
    check_params(trees["params"])
    state: StateT = kind(**trees, **_checked(kind, header["numbers"]))
    return state


def _shapes(header: dict[str, Any]) -> Iterator[tuple[int, ...]]:
    # One by one: the first that no member has ends a header's claims.
    for inputs, outputs in pairwise(header["sizes"]):
        yield (*header["ensemble"], inputs, outputs)
        yield (*header["ensemble"], outputs)


def _tree(
    name: str, shapes: Iterator[tuple[int, ...]], dtype: np.dtype[Any], members: dict[str, bytes]
) -> Params:
    leaves = [_array(f"{name}.{i}.npy", shape, dtype, members) for i, shape in enumerate(shapes)]
    layers = tuple(Layer(w, b) for w, b in zip(leaves[::2], leaves[1::2], strict=True))
    return tree_map(lambda leaf: leaf, Params(layers))


def _array(
    name: str, shape: tuple[int, ...], dtype: np.dtype[Any], members: dict[str, bytes]
) -> FloatArray:
    if name not in members:
        raise CheckpointError(f"expected a member {name}, which is missing")
    content = members[name]
    if content.startswith(b"\x93NUMPY") and content[6:8] != b"\1\0":
        raise CheckpointError(f"{name}: expected version 1.0 of the npy format")
    start = 10 + int.from_bytes(content[8:10], "little")
    header = NPY_HEADER.fullmatch(content, 10, start)
    if header is None:
        raise ValueError(f"{name}: expected {dtype} {shape!s:.99}, got {content[10:99]!r}")
    got_dtype, fortran = np.dtype(header[1].decode()), header[2] == b"True"
    got_shape = tuple(int(size) for size in header[3].split(b",") if size)
    if (got_shape, got_dtype) != (shape, dtype):
        got = f"{got_dtype} {got_shape!s:.99}"
        raise CheckpointError(f"{name}: expected {dtype} {shape!s:.99}, got {got}")
    array = np.frombuffer(content, dtype, offset=start)
    return array.reshape(shape, order="F" if fortran else "C")


def _types(kind: type) -> dict[str, str]:
    """The types of a dataclass's fields, as they are written."""
    return {field.name: str(field.type) for field in fields(kind)}


def _checked(kind: type, row: dict[str, Any]) -> dict[str, Any]:
    """The numbers of a JSON object, once names and types are those of a dataclass's fields."""
    expected = {name: t for name, t in _types(kind).items() if t in NUMBERS}
    if set(row) != set(expected):
        raise CheckpointError(f"expected the numbers {sorted(expected)}, got {sorted(row)!s:.99}")
    return {name: _number(name, expected[name], row[name]) for name in expected}


def _number(name: str, annotation: str, value: Any) -> Any:
    if type(value) is {"int": int, "bool": bool}.get(annotation):
        return value
    if type(value) in (int, float) and annotation.startswith("float"):
        return float(value)
    if type(value) is list and annotation == "float | FloatArray":
        return np.array(value, np.float64)
    raise CheckpointError(f"{name} must be of type {annotation}, got {value!r:.99}")


def _generator(state: Any) -> np.random.Generator:
    kind = BIT_GENERATORS.get(state["bit_generator"])
    if kind is None:
        raise CheckpointError(f"unknown bit generator {state['bit_generator']!r:.99}")
    bit_generator = kind()
    bit_generator.state = state
    # NumPy takes any position, and reads whatever memory is there.
    taken: Any = bit_generator.state
    if not (0 <= taken["state"].get("pos", 0) <= 624 and 0 <= taken.get("buffer_pos", 0) <= 4):
        raise CheckpointError("rng: a position outside the generator's numbers")
    return np.random.Generator(bit_generator)


def _sizes(params: Params) -> list[int]:
    return [params.layers[0].w.shape[-2], *(layer.w.shape[-1] for layer in params.layers)]


def _numbers(state: object) -> dict[str, Any]:
    types = _types(type(state))
    return {name: getattr(state, name) for name, t in types.items() if t in NUMBERS}


def _trees(state: object) -> dict[str, Params]:
    trees = {name: getattr(state, name) for name, t in _types(type(state)).items() if t in TREES}
    return {name: tree for name, tree in trees.items() if tree is not None}


def _row(metrics: Metrics) -> dict[str, Any]:
    """Metrics as JSON gives them back."""
    row: dict[str, Any] = json.loads(json.dumps(asdict(metrics), default=_plain))
    return row


def _plain(value: object) -> object:
    """NumPy's numbers and arrays in a generator's state, as JSON."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"cannot write {type(value).__name__} into a checkpoint")
