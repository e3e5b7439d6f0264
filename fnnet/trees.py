"""Trees of arrays: tuples and frozen dataclasses whose leaves are arrays.

This module knows nothing about networks.

A tree made by fnnet keeps its leaves in one read-only vector, so that a step of an optimizer is a
few operations on vectors, however many leaves there are, and `tree_ravel` costs nothing. The leaves
are views of the vector, made when somebody first looks at them: a training loop never does at most
of its gradients and averages. What turns one into the other:

=============== ========================= ==========================================
`flat`          tree -> vector, layout    copies if fnnet did not make the tree
`freeze`        vector, layout -> tree    no copy: the vector becomes read-only
`frozen`        tree -> tree in a vector  copies if fnnet did not make the tree
`blank`         tree -> vector, layout    uninitialised, to be written and then frozen
`owned`         array -> read-only array  copies if fnnet did not make the array
=============== ========================= ==========================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import numpy as np

from fnnet.checks import FloatArray, as_array, check_not_negative, function, is_array

T = TypeVar("T")


class Tree:
    """Base of dataclasses that remember the vector behind their leaves; see `freeze`."""

    __slots__ = ("_flat",)

    if not TYPE_CHECKING:  # a type checker would take any name for a field

        def __getattr__(self, name: str) -> Any:
            # Python asks here for what is not set: `freeze` leaves all fields to be made.
            if name not in type(self).__dataclass_fields__:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            vector, layout = self._flat
            layout.build(iter(layout.leaves(vector)), self)
            return getattr(self, name)

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        # Copies and pickles go through the constructor, so that they are read-only, too.
        return type(self), tuple(getattr(self, each.name) for each in fields(self))  # type: ignore[arg-type]  # subclasses are dataclasses


STATIC = {"static": True}  # metadata of such a field


class Memory(np.ndarray[Any, Any]):
    """Memory that fnnet made: only read-only views of it leave fnnet, so nobody writes to it."""


def is_static(each: Any) -> bool:
    """Whether a dataclass field is part of a tree's structure and holds no array."""
    return bool(each.metadata.get("static", False))


@dataclass(frozen=True, slots=True, eq=False)
class Layout(Generic[T]):
    """Where each leaf of a tree lies in its vector, and how to build the tree from leaves.

    Attributes
    ----------
    structure : nodes, static fields and leaf shapes; equal for trees of one structure
    parts : start, stop and shape of each leaf
    size : length of the vector
    build : function from leaves, in order, to a tree, or to the fields of a `Tree` that has none
    kind : type of the tree
    """

    structure: tuple[object, ...]
    parts: tuple[tuple[int, int, tuple[int, ...]], ...]
    size: int
    build: Callable[..., T]
    kind: type[T]

    def leaves(self, vector: FloatArray) -> list[FloatArray]:
        """The leaves as views of a vector."""
        return [
            vector[start:stop] if len(shape) == 1 else vector[start:stop].reshape(shape)
            for start, stop, shape in self.parts
        ]


def tree_leaves(tree: object) -> list[FloatArray]:
    """Leaves of a tree, in the order of fields and elements.

    Parameters
    ----------
    tree : an array, a tuple of trees, or a dataclass instance whose fields are trees

    Returns
    -------
    leaves : list of the tree's own arrays, not copies

    Raises
    ------
    TypeError
        If a node is neither a tuple nor a dataclass, and no array.

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


@overload
def tree_map(f: Callable[[FloatArray], FloatArray], tree: T, /) -> T: ...
@overload
def tree_map(f: Callable[[FloatArray, FloatArray], FloatArray], tree: T, other: T, /) -> T: ...
@overload
def tree_map(
    f: Callable[[FloatArray, FloatArray, FloatArray], FloatArray], tree: T, other: T, third: T, /
) -> T: ...
@overload
def tree_map(f: Callable[..., FloatArray], tree: T, /, *rest: T) -> T: ...
def tree_map(f: Callable[..., FloatArray], tree: T, /, *rest: T) -> T:
    """Apply `f` to corresponding leaves and return a tree of the same structure.

    Parameters
    ----------
    f : called as ``f(leaf, *leaves_of_rest)``; returns an array
    tree, rest : trees of one structure; the shapes of their leaves may differ

    Returns
    -------
    tree : a new tree of read-only arrays, what `f` returned; of no leaves, the tree itself

    Raises
    ------
    ValueError
        If the trees differ in structure.
    TypeError
        If `f` is no function or returns something other than an array, or a tree is none.

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
                f"tree and rest must share one structure, got {_nodes(tree)} and {_nodes(other)}"
            )
    function("f", f)
    results = [f(*row) for row in zip(*map(tree_leaves, (tree, *rest)), strict=True)]
    for result in results:
        if not is_array(result):
            raise TypeError(f"f must return an array, got {type(result).__name__}")
        as_array("what f returns", result)  # raises where it is masked
    if not results:
        return tree
    if len({(type(leaf), leaf.dtype) for leaf in results}) > 1:
        rebuilt: T = _builder(tree)(iter([owned(leaf) for leaf in results]))
        return rebuilt
    return freeze(*_filled(tree, results))


def tree_ravel(tree: T) -> tuple[FloatArray, Callable[[FloatArray], T]]:
    """All leaves as one vector, and the way back.

    The bridge to optimizers written for vectors (SciPy, MPI), as `jax.flatten_util.ravel_pytree`.

    Parameters
    ----------
    tree : a tree with leaves of one dtype; a tree without leaves is a vector of length 0

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
        If this is no tree of arrays, or `unravel` gets something other than real numbers.

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
    """Whether two trees have one structure and equal leaves (dtype, shape, every element).

    Parameters
    ----------
    a, b : trees, such as `tree_map` takes

    Returns
    -------
    equal : bool; NaN equals nothing, as in `numpy.array_equal`

    Raises
    ------
    TypeError
        If a or b is no tree of arrays.

    Examples
    --------
    >>> tree_equal((np.ones(2),), (np.ones(2),))
    True
    >>> tree_equal((np.ones(2),), (np.ones(2, np.float32),))
    False
    """
    return same_structure(a, b) and all(
        x.dtype == y.dtype and bool(np.array_equal(x, y))
        for x, y in zip(tree_leaves(a), tree_leaves(b), strict=True)
    )


def tree_allclose(a: object, b: object, rtol: float = 1e-5, atol: float = 1e-8) -> bool:
    """Whether two trees have one structure and leaves that agree as in `numpy.allclose`.

    Parameters
    ----------
    a, b : trees, such as `tree_map` takes
    rtol, atol : tolerances >= 0, relative to the numbers of b and absolute

    Returns
    -------
    close : bool; dtypes may differ, shapes may not

    Raises
    ------
    TypeError
        If a or b is no tree of arrays.
    ValueError
        If a tolerance is not a finite number >= 0.

    Examples
    --------
    >>> tree_allclose((np.ones(2),), (np.full(2, 1 + 1e-9),))
    True
    """
    rtol, atol = check_not_negative("rtol", rtol), check_not_negative("atol", atol)
    return same_structure(a, b) and all(
        bool(np.allclose(x, y, rtol, atol))
        for x, y in zip(tree_leaves(a), tree_leaves(b), strict=True)
    )


def same_structure(a: object, b: object) -> bool:
    """Whether two trees have the same nodes, static fields and leaf shapes."""
    ours, theirs = layout_of(a), layout_of(b)
    return ours is theirs or ours.structure == theirs.structure


def layout_of(tree: T) -> Layout[T]:
    """The layout of a tree (no work if fnnet made the tree)."""
    known: tuple[FloatArray, Layout[T]] | None = getattr(tree, "_flat", None)
    return _layout(tree, tree_leaves(tree)) if known is None else known[1]


def flat(tree: T) -> tuple[FloatArray, Layout[T]]:
    """All leaves as one read-only vector (no work if fnnet made the tree) and its layout."""
    known: tuple[FloatArray, Layout[T]] | None = getattr(tree, "_flat", None)
    if known is not None:
        return known
    leaves = tree_leaves(tree)
    dtypes = {leaf.dtype for leaf in leaves}
    if len(dtypes) > 1:
        raise ValueError(f"leaves must share one dtype, got {sorted(map(str, dtypes))}")
    vector, layout = _filled(tree, leaves)
    return _read_only(vector), layout


def frozen(tree: T) -> T:
    """The same tree if it lies in one vector already, else a copy that does."""
    return tree if getattr(tree, "_flat", None) is not None else freeze(*flat(tree))


def freeze(vector: FloatArray, layout: Layout[T]) -> T:
    """A tree of read-only views of a vector, which the caller must not use afterwards."""
    vector = _read_only(vector)
    if not issubclass(layout.kind, Tree):
        return layout.build(iter(layout.leaves(vector)))
    tree = object.__new__(layout.kind)
    object.__setattr__(tree, "_flat", (vector, layout))
    return tree


def blank(tree: T) -> tuple[FloatArray, Layout[T]]:
    """An uninitialised vector for a tree of this structure, to be written and then frozen."""
    known: tuple[FloatArray, Layout[T]] | None = getattr(tree, "_flat", None)
    layout = layout_of(tree)
    return empty(layout.size, known[0] if known else tree_leaves(tree)[0]), layout


def empty(size: int, like: FloatArray) -> FloatArray:
    """An uninitialised vector of `like`'s kind and dtype."""
    if type(like) is not np.ndarray:
        return np.empty_like(like, shape=(size,))
    return Memory(size, like.dtype).view(np.ndarray)


def owned(array: FloatArray) -> FloatArray:
    """The array itself where nobody else can write to it, else a read-only copy."""
    if not isinstance(array, np.ndarray) or _is_ours(array):
        return array
    copy = Memory(array.shape, array.dtype).view(np.ndarray)
    copy[...] = array
    return _read_only(copy)


def _is_ours(array: FloatArray) -> bool:
    """Whether an array is a read-only view of `Memory`.

    The flag alone says little: whoever owns an array can switch writing on again, and a read-only
    view of memory that others hold changes with it.
    """
    base: object = array
    while type(base) is np.ndarray and base.base is not None:
        base = base.base
    return isinstance(base, Memory) and not (array.flags.writeable or base.flags.writeable)


def _read_only(array: FloatArray) -> FloatArray:
    """The same array with writing switched off, also in the array that owns the memory."""
    if isinstance(array, np.ndarray):
        if array.base is not None:
            array.base.setflags(write=False)
        array.setflags(write=False)
    return array


def _children(node: object) -> tuple[object, ...]:
    if isinstance(node, tuple):
        return node
    if not is_dataclass(node):
        raise TypeError(
            f"a tree is made of dataclasses, tuples and arrays, got {type(node).__name__}"
        )
    return tuple(getattr(node, each.name) for each in fields(node) if not is_static(each))


def _statics(node: object) -> dict[str, object]:
    if isinstance(node, tuple) or not is_dataclass(node):
        return {}
    return {each.name: getattr(node, each.name) for each in fields(node) if is_static(each)}


def _all_statics(node: object) -> list[object]:
    if is_array(node):
        return []
    below = [value for child in _children(node) for value in _all_statics(child)]
    return [*_statics(node).values(), *below]


def _nodes(node: object) -> str:
    """The structure in one line: ``Params(tuple(Layer(*, *)), activation='relu')``."""
    if is_array(node):
        return "*"
    parts = [*map(_nodes, _children(node))]
    parts += [f"{name}={value!r:.60}" for name, value in _statics(node).items()]
    return f"{type(node).__name__}({', '.join(parts)})"


def _layout(tree: T, leaves: Sequence[FloatArray]) -> Layout[T]:
    parts, start = [], 0
    for leaf in leaves:
        parts.append((start, start + leaf.size, leaf.shape))
        start += leaf.size
    structure = (_nodes(tree), *_all_statics(tree), *parts)
    return Layout(structure, tuple(parts), start, _builder(tree), type(tree))


def _builder(node: Any) -> Callable[[Iterator[FloatArray]], Any]:
    """How to build a node from an iterator of leaves.

    A `Tree` is made without its constructor: its leaves are fnnet's own already.
    """
    if is_array(node):
        return next
    kind, parts, kept = type(node), [_builder(child) for child in _children(node)], _statics(node)
    if isinstance(node, tuple):
        make = getattr(kind, "_make", kind)  # of a named tuple
        return lambda leaves: make([part(leaves) for part in parts])
    names = [each.name for each in fields(node) if not is_static(each)]
    if not isinstance(node, Tree):
        return lambda leaves: kind(
            **{name: part(leaves) for name, part in zip(names, parts, strict=True)}, **kept
        )
    steps, constants = [*zip(names, parts, strict=True)], [*kept.items()]
    new, put = object.__new__, object.__setattr__

    def build(leaves: Iterator[FloatArray], tree: Any = None) -> Any:
        tree = new(kind) if tree is None else tree
        for name, part in steps:
            put(tree, name, part(leaves))
        for name, value in constants:
            put(tree, name, value)
        return tree

    return build


def _filled(tree: T, leaves: Sequence[FloatArray]) -> tuple[FloatArray, Layout[T]]:
    """A new vector that holds these leaves in the places of the tree's."""
    layout = _layout(tree, leaves)
    vector = empty(layout.size, leaves[0] if leaves else np.empty(0))
    for target, leaf in zip(layout.leaves(vector), leaves, strict=True):
        target[...] = leaf
    return vector, layout
