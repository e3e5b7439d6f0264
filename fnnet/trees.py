"""Trees: frozen dataclasses and tuples whose leaves are arrays.

Everything that learns is such a tree: parameters, gradients, mean squares. The functions here know
nothing of networks. A tree that fnnet makes keeps all its leaves in one flat, 64-byte-aligned,
read-only vector, so that `tree_ravel` is free and an optimizer is a handful of calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeGuard, TypeVar

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.floating[Any]]
T = TypeVar("T")

ALIGNMENT = 64  # bytes: one cache line, one AVX-512 register


class Tree:
    """Base of dataclasses that remember the vector behind their leaves; see `freeze`.

    Their leaves are cut out of the vector when first looked at, so that gradients and mean squares
    that only pass through an optimizer cost nothing but their numbers.
    """

    __slots__ = ("_flat",)

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), _children(self)  # copies and pickles are as read-only as what they copy

    if not TYPE_CHECKING:  # else a type checker would believe in any attribute at all

        def __getattr__(self, name):
            # Python asks here for slots that are still empty, and for what does not exist.
            if name not in type(self).__match_args__:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            vector, layout = self._flat
            built = layout.build(iter(layout.leaves(vector)))
            for field in built.__match_args__:
                object.__setattr__(self, field, getattr(built, field))
            return getattr(built, name)


@dataclass(frozen=True, slots=True)
class Layout(Generic[T]):
    """Where each leaf of a tree lies in its vector, and how to build the tree from leaves.

    Attributes
    ----------
    structure : nodes and leaf shapes as nested tuples; equal for trees of one structure
    parts : start, stop and shape of each leaf
    size : length of the vector
    kind : type of the tree
    build : function from leaves, in order, to a tree
    passed : checks that trees of this layout have passed, to be made but once
    """

    structure: object
    parts: tuple[tuple[int, int, tuple[int, ...]], ...]
    size: int
    kind: type[T]
    build: Callable[[Iterator[FloatArray]], T]
    passed: set[object] = field(default_factory=set)

    def leaves(self, vector: FloatArray) -> list[FloatArray]:
        """The leaves as views of a vector."""
        return [vector[start:stop].reshape(shape) for start, stop, shape in self.parts]


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
    if is_array(tree):
        return [tree]
    return [leaf for child in _children(tree) for leaf in tree_leaves(child)]


def tree_map(f: Callable[..., FloatArray], tree: T, *rest: T) -> T:
    """Apply `f` to corresponding leaves and return a tree of the same structure.

    Parameters
    ----------
    f : called as f(leaf, *leaves of rest); returns an array
    tree, rest : trees of one structure; the shapes of their leaves may differ

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
    for other in rest:
        if _nodes(tree) != _nodes(other):
            raise ValueError(
                f"trees must share one structure, got {_nodes(tree)} and {_nodes(other)}"
            )
    results = [f(*row) for row in zip(*map(tree_leaves, (tree, *rest)), strict=True)]
    for result in results:
        if not is_array(result):
            raise TypeError(f"f must return an array, got {type(result).__name__}")
    build: Callable[[Iterator[FloatArray]], T] = _builder(tree)
    if not results:
        return tree
    shaped = build(read_only(leaf[...]) for leaf in results)
    if len({(type(leaf), leaf.dtype) for leaf in results}) > 1:
        return build(read_only(leaf.copy())[...] for leaf in results)
    return freeze(*_filled(shaped, results))


def tree_ravel(tree: T) -> tuple[FloatArray, Callable[[FloatArray], T]]:
    """All leaves as one vector, and the way back.

    The bridge to optimizers written for vectors (SciPy, MPI), as `jax.flatten_util.ravel_pytree`.

    Parameters
    ----------
    tree : a tree with leaves of one dtype

    Returns
    -------
    vector : (n,) read-only array; shared with the tree where fnnet made the tree, else a copy
    unravel : function from an (n,) array to a tree of this structure and dtype (it copies, so the
        vector may be reused afterwards)

    Raises
    ------
    ValueError
        If the leaves have different dtypes, or `unravel` gets an array of another shape.
    TypeError
        If `unravel` gets something other than real numbers.

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
    vector, layout = flat(tree)

    def unravel(values: FloatArray) -> T:
        if np.shape(values) != vector.shape:
            raise ValueError(
                f"unravel takes a vector of shape {vector.shape}, got shape {np.shape(values)}"
            )
        values = as_array("values", values)
        if values.dtype.kind not in "fiu":
            raise TypeError(f"unravel takes a vector of real numbers, got dtype {values.dtype}")
        copy = empty(layout.size, vector)
        copy[...] = values
        return freeze(copy, layout)

    return vector, unravel


def tree_equal(a: object, b: object) -> bool:
    """Whether two trees have one structure and equal leaves (dtype, shape, every element)."""
    return same_structure(a, b) and all(
        x.dtype == y.dtype and bool(np.array_equal(x, y))
        for x, y in zip(tree_leaves(a), tree_leaves(b), strict=True)
    )


def tree_allclose(a: object, b: object, rtol: float = 1e-5, atol: float = 1e-8) -> bool:
    """Whether two trees have one structure and leaves that agree as in `numpy.allclose`."""
    return same_structure(a, b) and all(
        bool(np.allclose(x, y, rtol, atol))
        for x, y in zip(tree_leaves(a), tree_leaves(b), strict=True)
    )


def is_array(value: object) -> TypeGuard[FloatArray]:
    """Whether a value is a NumPy array or speaks NumPy's protocols (CuPy's arrays, for one)."""
    return type(value) is np.ndarray or (
        hasattr(value, "__array_function__") and hasattr(value, "shape")
    )


def as_array(name: str, value: Any) -> npt.NDArray[Any]:
    """A value as an array: itself where it is one, but for matrices, whose products are others.

    Raises
    ------
    TypeError
        If it is masked: the numbers behind the mask would count.
    """
    if type(value) is np.ndarray:
        return value
    if isinstance(value, np.ndarray) and isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must not be a masked array: fill it, or leave masked rows out")
    return value if is_array(value) and not isinstance(value, np.matrix) else np.asarray(value)


def same_structure(a: object, b: object) -> bool:
    """Whether two trees have the same nodes and the same leaf shapes."""
    ours, theirs = _layout(a), _layout(b)
    return ours is theirs or ours.structure == theirs.structure


def is_frozen(tree: object) -> bool:
    """Whether `freeze` made a tree: from a structure that someone has looked at before."""
    return getattr(tree, "_flat", None) is not None


def flat(tree: T) -> tuple[FloatArray, Layout[T]]:
    """All leaves as one read-only vector (free where `freeze` made the tree) and its layout."""
    known: tuple[FloatArray, Layout[T]] | None = getattr(tree, "_flat", None)
    if known is not None:
        return known
    leaves = tree_leaves(tree)
    dtypes = {leaf.dtype for leaf in leaves}
    if len(dtypes) != 1:
        raise ValueError(f"leaves must share one dtype, got {sorted(map(str, dtypes))}")
    vector, layout = _filled(tree, leaves)
    return read_only(vector), layout


def freeze(vector: FloatArray, layout: Layout[T]) -> T:
    """A tree of read-only views of a vector, which the caller gives up; the tree remembers it."""
    read_only(vector)
    if issubclass(layout.kind, Tree):
        tree = object.__new__(layout.kind)
        object.__setattr__(tree, "_flat", (vector, layout))
        return tree
    return layout.build(iter(layout.leaves(vector)))


def empty(size: int, like: FloatArray) -> FloatArray:
    """An uninitialised vector of `like`'s kind and dtype; NumPy's on a cache-line boundary."""
    if type(like) is not np.ndarray:
        return np.empty_like(like, shape=(size,))
    nbytes = size * like.itemsize
    block = np.empty(nbytes + ALIGNMENT, np.uint8)
    start = -block.ctypes.data % ALIGNMENT
    vector = block[start : start + nbytes].view(like.dtype)
    block.setflags(write=False)  # else anyone could switch writing on again for a view of it
    return vector


def may_change(array: FloatArray) -> bool:
    """Whether someone could still write to an array, or to the one that it is a view of."""
    base = array.base
    return array.flags.writeable or (isinstance(base, np.ndarray) and base.flags.writeable)


def read_only(array: FloatArray) -> FloatArray:
    """The same array with writing switched off, where its kind has that switch."""
    if isinstance(array, np.ndarray):
        array.setflags(write=False)
    return array


def _children(node: object) -> tuple[object, ...]:
    if isinstance(node, tuple):
        return node
    if not is_dataclass(node):
        raise TypeError(
            f"a tree is made of dataclasses, tuples and arrays, got {type(node).__name__}"
        )
    return tuple(getattr(node, field.name) for field in fields(node))


def _nodes(node: object) -> str:
    if is_array(node):
        return "*"
    return f"{type(node).__name__}({', '.join(map(_nodes, _children(node)))})"


def _layout(tree: T) -> Layout[T]:
    known: tuple[FloatArray, Layout[T]] | None = getattr(tree, "_flat", None)
    if known is not None:
        return known[1]
    parts, start = [], 0
    for leaf in tree_leaves(tree):
        parts.append((start, start + leaf.size, leaf.shape))
        start += leaf.size
    return Layout((_nodes(tree), *parts), tuple(parts), start, type(tree), _builder(tree))


def _builder(node: Any) -> Callable[[Iterator[FloatArray]], Any]:
    if is_array(node):
        return next
    kind, parts = type(node), [_builder(child) for child in _children(node)]
    if isinstance(node, tuple):
        make = getattr(kind, "_make", kind)  # of a named tuple
        return lambda leaves: make([part(leaves) for part in parts])
    return lambda leaves: kind(*[part(leaves) for part in parts])


def _filled(tree: T, leaves: Sequence[FloatArray]) -> tuple[FloatArray, Layout[T]]:
    """A new vector that holds these leaves."""
    layout = _layout(tree)
    vector = empty(layout.size, leaves[0])
    for target, leaf in zip(layout.leaves(vector), leaves, strict=True):
        target[...] = leaf
    return vector, layout
