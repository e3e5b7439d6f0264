"""Trees: frozen dataclasses and tuples whose leaves are arrays.

Everything that learns is such a tree: parameters, gradients, mean squares. The functions here know
nothing of networks. A tree that fnnet makes keeps all its leaves in one flat, 64-byte-aligned,
read-only vector, so that `tree_ravel` is free and an optimizer is a handful of calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.floating[Any]]
T = TypeVar("T")

ALIGNMENT = 64  # bytes: one cache line, one AVX-512 register


class Tree:
    """Base of dataclasses that may keep their leaves in one vector; see `vector_of`."""

    __slots__ = ("_vector",)


def tree_leaves(tree: object) -> list[FloatArray]:
    """Leaves of a tree, in the order of fields and elements.

    Parameters
    ----------
    tree : an array, a tuple of trees, or a dataclass instance whose fields are trees

    Raises
    ------
    TypeError
        If a leaf is not an array.

    Examples
    --------
    >>> from fnnet import Layer, Params
    >>> tree = Params((Layer(np.ones((2, 3)), np.zeros(3)),))
    >>> [leaf.shape for leaf in tree_leaves(tree)]
    [(2, 3), (3,)]
    """
    leaves: list[FloatArray] = []
    _collect(tree, leaves)
    return leaves


def tree_map(f: Callable[..., FloatArray], tree: T, *rest: T) -> T:
    """Apply `f` to corresponding leaves and return a tree of the same structure.

    Parameters
    ----------
    f : called as f(leaf, *leaves of rest); returns an array
    tree, rest : trees of one structure

    Raises
    ------
    ValueError
        If the trees differ in structure.
    TypeError
        If `f` returns something other than an array.

    Examples
    --------
    >>> from fnnet import Layer, Params
    >>> tree = Params((Layer(np.ones((2, 3)), np.zeros(3)),))
    >>> tree_map(lambda a, b: a + 2 * b, tree, tree).layers[0].w[0]
    array([3., 3., 3.])
    """
    columns = [tree_leaves(tree), *(_leaves_like(tree, other) for other in rest)]
    results = [f(*row) for row in zip(*columns, strict=True)]
    for result in results:
        if not is_array(result):
            raise TypeError(f"f must return an array, got {type(result).__name__}")
    return _read_only_tree(tree, results)


def tree_ravel(tree: T) -> tuple[FloatArray, Callable[[FloatArray], T]]:
    """All leaves as one vector, and the way back.

    The bridge to optimizers written for vectors (SciPy, MPI), as `jax.flatten_util.ravel_pytree`.

    Parameters
    ----------
    tree : a tree with leaves of one dtype

    Returns
    -------
    vector : (n,) read-only array; shared with the tree where the tree already is one vector
    unravel : function from an (n,) array to a tree of this structure and dtype (it copies, so the
        vector may be reused afterwards)

    Raises
    ------
    ValueError
        If the leaves have different dtypes, or `unravel` gets an array of another shape.

    Examples
    --------
    >>> from fnnet import Layer, Params
    >>> vector, unravel = tree_ravel(Params((Layer(np.ones((2, 2)), np.zeros(2)),)))
    >>> vector
    array([1., 1., 1., 1., 0., 0.])
    >>> unravel(2 * vector).layers[0].w
    array([[2., 2.],
           [2., 2.]])
    """
    vector = vector_of(tree)

    def unravel(values: FloatArray) -> T:
        if np.shape(values) != vector.shape:
            raise ValueError(
                f"unravel takes a vector of shape {vector.shape}, got shape {np.shape(values)}"
            )
        flat, result = empty_like(tree)
        flat[...] = values
        return freeze(result, flat)

    return vector, unravel


def tree_equal(a: object, b: object) -> bool:
    """Whether two trees have one structure and equal leaves (dtype, shape, every element)."""
    return same_structure(a, b) and all(
        x.dtype == y.dtype and np.array_equal(x, y)
        for x, y in zip(tree_leaves(a), tree_leaves(b), strict=True)
    )


def tree_allclose(a: object, b: object, rtol: float = 1e-5, atol: float = 1e-8) -> bool:
    """Whether two trees have one structure and leaves that agree as in `numpy.allclose`."""
    return same_structure(a, b) and all(
        bool(np.allclose(x, y, rtol, atol))
        for x, y in zip(tree_leaves(a), tree_leaves(b), strict=True)
    )


def is_array(value: object) -> bool:
    """Whether a value is a NumPy array or speaks NumPy's protocols (CuPy's arrays, for one)."""
    return hasattr(value, "__array_function__") and hasattr(value, "shape")


def same_structure(a: object, b: object) -> bool:
    """Whether two trees have the same nodes and the same leaf shapes."""
    if is_array(a) and is_array(b):
        return np.shape(a) == np.shape(b)  # type: ignore[arg-type]  # both are arrays
    if type(a) is not type(b):
        return False
    ours, theirs = _children(a), _children(b)
    return len(ours) == len(theirs) and all(map(same_structure, ours, theirs))


def vector_of(tree: object) -> FloatArray:
    """All leaves as one read-only vector: free where `freeze` made the tree, else a copy."""
    vector: FloatArray | None = getattr(tree, "_vector", None)
    if vector is not None:
        return vector
    leaves = tree_leaves(tree)
    if not leaves:
        raise ValueError("the tree has no leaves")
    dtypes = {leaf.dtype for leaf in leaves}
    if len(dtypes) > 1:
        raise ValueError(f"leaves must share one dtype, got {sorted(map(str, dtypes))}")
    vector = empty(sum(leaf.size for leaf in leaves), leaves[0])
    for part, leaf in zip(_parts(vector, leaves), leaves, strict=True):
        part[...] = leaf
    return read_only(vector)


def empty_like(tree: T) -> tuple[FloatArray, T]:
    """An uninitialised vector and a tree of writable views of it; `freeze` finishes the pair."""
    leaves = tree_leaves(tree)
    vector = empty(sum(leaf.size for leaf in leaves), leaves[0])
    return vector, _build(tree, iter(_parts(vector, leaves)))


def view_as(tree: T, vector: FloatArray) -> T:
    """A tree like `tree` whose leaves are views of a vector that the caller gives up."""
    return freeze(_build(tree, iter(_parts(vector, tree_leaves(tree)))), vector)


def freeze(tree: T, vector: FloatArray) -> T:
    """Make a tree of views read-only and let it remember its vector."""
    for leaf in tree_leaves(tree):
        read_only(leaf)
    read_only(vector)
    if isinstance(tree, Tree):
        object.__setattr__(tree, "_vector", vector)
    return tree


def empty(size: int, like: FloatArray) -> FloatArray:
    """An uninitialised vector of `like`'s kind and dtype; NumPy's on a cache-line boundary."""
    if type(like) is not np.ndarray:
        return np.empty_like(like, shape=(size,))
    nbytes = size * like.itemsize
    block = np.empty(nbytes + ALIGNMENT, np.uint8)
    start = -block.ctypes.data % ALIGNMENT
    return block[start : start + nbytes].view(like.dtype)


def read_only(array: FloatArray) -> FloatArray:
    """The same array with writing switched off, where its kind has that switch."""
    if isinstance(array, np.ndarray):
        array.setflags(write=False)
    return array


@lru_cache
def _field_names(node: type) -> tuple[str, ...]:
    return tuple(getattr(node, "__dataclass_fields__", ()))


def _children(node: object) -> tuple[object, ...]:
    if isinstance(node, tuple):
        return node
    names = _field_names(type(node))
    if not names:
        raise TypeError(
            f"a tree is made of dataclasses, tuples and arrays, got {type(node).__name__}"
        )
    return tuple(getattr(node, name) for name in names)


def _collect(node: Any, leaves: list[FloatArray]) -> None:
    if is_array(node):
        leaves.append(node)
    else:
        for child in _children(node):
            _collect(child, leaves)


def _build(node: Any, leaves: Iterator[FloatArray]) -> Any:
    if is_array(node):
        return next(leaves)
    children = [_build(child, leaves) for child in _children(node)]
    return tuple(children) if isinstance(node, tuple) else type(node)(*children)


def _parts(vector: FloatArray, leaves: list[FloatArray]) -> list[FloatArray]:
    parts, start = [], 0
    for leaf in leaves:
        stop = start + math.prod(leaf.shape)
        parts.append(vector[start:stop].reshape(leaf.shape))
        start = stop
    return parts


def _leaves_like(tree: object, other: object) -> list[FloatArray]:
    ours, theirs = _skeleton(tree), _skeleton(other)
    if ours != theirs:
        raise ValueError(f"trees must share one structure, got {ours} and {theirs}")
    return tree_leaves(other)


def _skeleton(node: object) -> str:
    if is_array(node):
        return "*"
    return f"{type(node).__name__}({', '.join(map(_skeleton, _children(node)))})"


def _read_only_tree(tree: T, leaves: list[FloatArray]) -> T:
    """A tree of these leaves; in one vector where their dtype and kind allow it."""
    shaped: T = _build(tree, iter(leaves))
    if len({(type(leaf), leaf.dtype) for leaf in leaves}) != 1:
        copies = (read_only(np.copy(leaf)) for leaf in leaves)
        return _build(tree, copies)  # type: ignore[no-any-return]  # same structure as `tree`
    vector, result = empty_like(shaped)
    for target, leaf in zip(tree_leaves(result), leaves, strict=True):
        target[...] = leaf
    return freeze(result, vector)
