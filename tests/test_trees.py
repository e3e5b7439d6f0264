"""Trees: what maps, ravels and compares, and in which order."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import fnnet
from fnnet import tree_allclose, tree_equal, tree_leaves, tree_map, tree_ravel
from fnnet.trees import flat, frozen, owned
from tests import oracles

Floats = npt.NDArray[np.floating[Any]]


@dataclasses.dataclass(frozen=True)
class Pair:
    """A tree that fnnet has never heard of."""

    second: object  # fields come in the order of their definition, not of their names
    first: object


def trees(dtype: str) -> st.SearchStrategy[object]:
    leaf = arrays(np.dtype(dtype), array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    return st.recursive(
        leaf,
        lambda child: (
            st.lists(child, min_size=1, max_size=3).map(tuple) | st.builds(Pair, child, child)
        ),
        max_leaves=6,
    )


any_tree = st.sampled_from(["float32", "float64", ">f4", "float16"]).flatmap(trees)


def flattened(tree: object) -> list[Floats]:
    """The leaves, by a walk of our own."""
    if isinstance(tree, Pair):
        return flattened(tree.second) + flattened(tree.first)
    if isinstance(tree, tuple):
        return [leaf for child in tree for leaf in flattened(child)]
    assert isinstance(tree, np.ndarray)
    return [tree]


def skeleton(tree: object) -> object:
    """Everything but the numbers."""
    if isinstance(tree, Pair):
        return Pair, skeleton(tree.second), skeleton(tree.first)
    if isinstance(tree, tuple):
        return tuple(map(skeleton, tree))
    assert isinstance(tree, np.ndarray)
    return tree.shape, tree.dtype


def same_bytes(a: list[Floats], b: list[Floats]) -> bool:
    return [x.tobytes() for x in a] == [x.tobytes() for x in b]


@given(tree=any_tree)
@settings(max_examples=60)
def test_leaves_come_in_the_order_of_fields_and_elements(tree: object) -> None:
    assert [*map(id, tree_leaves(tree))] == [*map(id, flattened(tree))]


@given(tree=any_tree)
@settings(max_examples=60)
def test_map_keeps_structure_shapes_and_bits(tree: object) -> None:
    mapped = tree_map(lambda leaf: leaf, tree)
    assert skeleton(mapped) == skeleton(tree)
    assert same_bytes(tree_leaves(mapped), flattened(tree))
    assert not any(leaf.flags.writeable for leaf in tree_leaves(mapped))


@given(tree=any_tree)
@settings(max_examples=60)
def test_ravel_concatenates_and_unravel_undoes_it_to_the_bit(tree: object) -> None:
    vector, unravel = tree_ravel(tree)
    leaves = flattened(tree)
    assert vector.dtype == leaves[0].dtype
    assert vector.tobytes() == b"".join(leaf.tobytes() for leaf in leaves)
    back = unravel(vector)
    assert skeleton(back) == skeleton(tree)
    assert same_bytes(flattened(back), leaves)


def test_map_takes_corresponding_leaves_of_several_trees() -> None:
    params = fnnet.init_params(0, (3, 2))
    double = tree_map(lambda a, b: a + b, params, params)
    result = tree_map(lambda a, b, c: a - b + c, params, double, params)
    assert tree_equal(result, tree_map(np.zeros_like, params))


def test_map_may_change_shapes_and_dtype() -> None:
    params = fnnet.init_params(0, (3, 2))
    stacked = tree_map(lambda *leaves: np.stack(leaves), params, params, params)
    assert [leaf.shape for leaf in tree_leaves(stacked)] == [(3, 3, 2), (3, 2)]
    assert stacked.layers[0].w.flags.c_contiguous
    wide = tree_map(lambda leaf: leaf.astype(np.float64), params)
    assert {leaf.dtype for leaf in tree_leaves(wide)} == {np.dtype(np.float64)}


def test_map_keeps_a_dtype_for_each_leaf() -> None:
    mixed = (np.ones(2), np.ones(3, np.float32))
    mapped = tree_map(lambda leaf: leaf * 2, mixed)
    assert [leaf.dtype for leaf in mapped] == [np.float64, np.float32]
    assert mapped[1].tolist() == [2, 2, 2]


def test_leaves_of_different_dtypes_stay_read_only_for_good() -> None:
    mapped = tree_map(lambda leaf: leaf, (np.ones(2), np.ones(3, np.float32)))
    for leaf in mapped:
        with pytest.raises(ValueError, match="WRITEABLE"):
            leaf.setflags(write=True)


def test_a_named_tuple_stays_one() -> None:
    class Point(NamedTuple):
        x: Floats
        y: Floats

    point = tree_map(lambda leaf: leaf + 1, Point(np.zeros(2), np.ones(3)))
    assert isinstance(point, Point)
    assert point.y.tolist() == [2, 2, 2]


def test_a_tree_without_leaves_maps_to_itself() -> None:
    assert tree_map(lambda leaf: leaf, fnnet.Params(())).layers == ()


def test_unravel_copies_its_vector() -> None:
    vector, unravel = tree_ravel(fnnet.init_params(0, (3, 2)))
    mine = vector.copy()
    tree = unravel(mine)
    mine[:] = 0
    assert tree_equal(tree, unravel(vector))


def test_unravel_casts_to_the_dtype_of_the_tree() -> None:
    """SciPy works in float64 whatever it is given."""
    params = fnnet.init_params(0, (3, 2))
    vector, unravel = tree_ravel(params)
    assert tree_equal(unravel(vector.astype(np.float64)), params)


def test_unravel_takes_a_list_of_numbers() -> None:
    vector, unravel = tree_ravel(fnnet.init_params(0, (3, 2)))
    assert tree_equal(unravel(vector.tolist()), unravel(vector))


def test_solvers_written_for_vectors_train_networks() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    params, x, y = oracles.problem(n=20)
    start, unravel = tree_ravel(params)

    def objective(vector: Floats) -> tuple[float, Floats]:
        loss, gradient = fnnet.loss_and_grads(unravel(vector), x, y)
        return loss, tree_ravel(gradient)[0]

    found = optimize.minimize(objective, start, jac=True, method="L-BFGS-B")
    assert found.fun == fnnet.loss(unravel(found.x), x, y)
    assert found.fun < fnnet.loss(params, x, y) / 10


def test_ravel_is_free_for_trees_of_ours_and_a_copy_of_others() -> None:
    ours = fnnet.init_params(0, (3, 2))
    assert np.shares_memory(tree_ravel(ours)[0], ours.layers[0].w)
    theirs = (np.ones(2), np.ones(3))
    assert not any(np.shares_memory(tree_ravel(theirs)[0], leaf) for leaf in theirs)


@pytest.mark.parametrize("made", ["init", "grads", "map", "unravel", "update"])
def test_vectors_are_read_only_for_good(made: str) -> None:
    params, x, y = oracles.problem((3, 5, 2))
    trees: dict[str, Callable[[], fnnet.Params]] = {
        "init": lambda: fnnet.init_params(0, (3, 5, 2)),
        "grads": lambda: fnnet.grads(params, x, y),
        "map": lambda: tree_map(lambda leaf: leaf + 1, params),
        "unravel": lambda: tree_ravel(params)[1](tree_ravel(params)[0]),
        "update": lambda: fnnet.rmsprop_update(fnnet.rmsprop_init(params), params).params,
    }
    vector, _ = tree_ravel(trees[made]())
    assert not vector.flags.writeable
    with pytest.raises(ValueError, match="WRITEABLE"):
        vector.setflags(write=True)


def test_what_others_could_write_to_is_told_from_what_nobody_can() -> None:
    theirs = np.zeros(3)
    switched_off, view = theirs.copy(), theirs[:2]
    for array in (switched_off, view):
        array.setflags(write=False)
    for array in (theirs, switched_off, view, np.frombuffer(bytearray(24))):
        kept = owned(array)
        assert not np.shares_memory(kept, array)
        with pytest.raises(ValueError, match="WRITEABLE"):
            kept.setflags(write=True)
        assert owned(kept) is kept
        assert owned(kept[:1]).base is not None
        assert np.shares_memory(owned(kept[:1]), kept)


def test_equal_trees_agree_in_structure_shape_dtype_and_every_element() -> None:
    a = (np.zeros((2, 3)), np.ones(3))
    assert tree_equal(a, (np.zeros((2, 3)), np.ones(3)))
    assert not tree_equal(a, (np.zeros((2, 3)), np.array([1, 1, 1 + 1e-15])))
    assert not tree_equal(a, (np.zeros((2, 3)), np.ones(3, np.float32)))
    assert not tree_equal(a, (np.zeros((3, 2)), np.ones(3)))
    assert not tree_equal(a, (np.zeros((2, 3)), (np.ones(3),)))
    assert not tree_equal(a, Pair(*a))
    assert not tree_equal(a, a[:1])
    assert not tree_equal(np.array([np.nan]), np.array([np.nan]))


def test_close_trees_agree_within_the_tolerances_of_numpy() -> None:
    a = (np.array([1.0, 100.0]), np.zeros(2))
    assert tree_allclose(a, (a[0] * (1 + 9e-6), np.full(2, 9e-9)))
    assert not tree_allclose(a, (a[0] * (1 + 2e-5), np.zeros(2)))
    assert not tree_allclose(a, (a[0], np.full(2, 2e-8)))
    assert tree_allclose(a, (a[0] + 0.5, a[1]), rtol=0, atol=0.5)
    assert tree_allclose(a, tree_map(lambda leaf: leaf.astype(np.float32), a))
    assert not tree_allclose(a, (a[0],))
    assert not tree_allclose(np.ones(1), np.ones((1, 1)))


Remake = Callable[[fnnet.Params], fnnet.Params]


@pytest.mark.parametrize(
    "remake",
    [
        copy.copy,
        copy.deepcopy,
        lambda tree: pickle.loads(pickle.dumps(tree)),
        dataclasses.replace,
        lambda tree: fnnet.Params(tuple(fnnet.Layer(lay.w, lay.b) for lay in tree.layers)),
    ],
    ids=["copy", "deepcopy", "pickle", "replace", "by hand"],
)
def test_copies_made_by_python_are_trees_as_good_as_ours(remake: Remake) -> None:
    params, x, y = oracles.problem()
    for tree in (fnnet.grads(params, x, y), params):  # one that nobody has looked at, one used
        again = remake(tree)
        assert tree_equal(again, tree)
        assert tree_equal(tree_ravel(again)[1](tree_ravel(again)[0]), tree)


def test_a_tree_that_nobody_has_looked_at_prints_like_any_other() -> None:
    params, x, y = oracles.problem()
    shown = repr(fnnet.grads(params, x, y))
    assert shown == "Params(6-5-4, float64, 59 parameters)"
    used = fnnet.grads(params, x, y)
    tree_leaves(used)
    assert shown == repr(used)


def test_a_layout_is_shared_by_trees_and_cannot_be_changed() -> None:
    layout: Any = flat(fnnet.init_params(0, (3, 2)))[1]
    with pytest.raises(dataclasses.FrozenInstanceError):
        layout.size = 3
    assert not hasattr(layout, "__dict__")


def test_trees_of_ours_are_told_from_others() -> None:
    ours = fnnet.init_params(0, (3, 2))
    assert frozen(ours) is ours
    by_hand = fnnet.Params(ours.layers)
    assert frozen(by_hand) is not by_hand
    assert tree_equal(frozen(by_hand), by_hand)
    assert frozen(frozen(by_hand)) is not by_hand


def test_leaves_are_cut_out_but_once() -> None:
    params, x, y = oracles.problem()
    gradient = fnnet.grads(params, x, y)
    assert gradient.layers is gradient.layers
    assert gradient.layers[0].w is gradient.layers[0].w


def test_what_a_tree_lacks_is_an_attribute_error() -> None:
    params, x, y = oracles.problem()
    gradient = fnnet.grads(params, x, y)
    assert not hasattr(gradient, "weights")
    with pytest.raises(AttributeError, match="'Params' object has no attribute 'weights'"):
        gradient.weights  # type: ignore[attr-defined]  # noqa: B018  # that is the test


@pytest.mark.parametrize("wrong", [None, 1.0, [np.ones(2)], {"w": np.ones(2)}, "w", np.float64(1)])
def test_what_is_no_tree_is_named(wrong: object) -> None:
    expected = f"a tree is made of dataclasses, tuples and arrays, got {type(wrong).__name__}"
    calls: list[Callable[[object], object]] = [
        tree_leaves,
        tree_ravel,
        lambda tree: tree_map(lambda leaf: leaf, tree),
        lambda tree: tree_equal(tree, np.ones(1)),
        lambda tree: tree_allclose(np.ones(1), tree),
    ]
    for call in calls:
        for tree in (wrong, (np.ones(1), wrong)):
            with pytest.raises(TypeError, match=expected):
                call(tree)


def test_map_refuses_trees_of_different_structure_and_says_how_they_differ() -> None:
    one, two = fnnet.init_params(0, (3, 2)), fnnet.init_params(0, (3, 3, 2))
    with pytest.raises(ValueError, match="one structure, got ") as caught:
        tree_map(lambda a, b: a, one, two)
    layers = "Layer(*, *)", "Layer(*, *), Layer(*, *)"
    statics = "activation='relu', output='softmax'"
    assert str(caught.value).endswith(
        " and ".join(f"Params(tuple({each}), {statics})" for each in layers)
    )


def test_what_is_static_is_part_of_the_structure() -> None:
    relu, tanh = (fnnet.init_params(0, (3, 2), activation=name) for name in ("relu", "tanh"))
    same = fnnet.Params(relu.layers, "tanh")
    assert not tree_equal(relu, same)
    assert not tree_allclose(relu, same)
    with pytest.raises(ValueError, match=r"activation='relu'.* and .*activation='tanh'"):
        tree_map(lambda a, b: a, relu, tanh)
    for tree in (tree_map(lambda leaf: leaf + 1, tanh), tree_ravel(tanh)[1](tree_ravel(tanh)[0])):
        assert tree.activation == "tanh"
    assert len(tree_leaves(same)) == 2


@pytest.mark.parametrize("wrong", [None, 1.0, np.float64(1), [1.0]])
def test_map_refuses_a_function_that_returns_no_array(wrong: Any) -> None:
    with pytest.raises(TypeError, match=f"f must return an array, got {type(wrong).__name__}"):
        tree_map(lambda leaf: wrong, (np.ones(2), np.ones(3)))


def test_ravel_refuses_leaves_of_different_dtypes() -> None:
    with pytest.raises(ValueError, match=r"one dtype, got \['float32', 'float64'\]"):
        tree_ravel((np.ones(2), np.ones(2, np.float32)))


@pytest.mark.parametrize("shape", [(7,), (9,), (1, 8), (8, 1), (2, 4), ()])
def test_unravel_refuses_a_vector_of_another_shape(shape: tuple[int, ...]) -> None:
    _, unravel = tree_ravel(fnnet.init_params(0, (3, 2)))
    with pytest.raises(ValueError, match=r"a vector of shape \(8,\), got shape"):
        unravel(np.zeros(shape))


def test_unravel_refuses_masked_arrays_but_takes_other_kinds_of_arrays() -> None:
    vector, unravel = tree_ravel(fnnet.init_params(0, (3, 2)))
    assert tree_equal(unravel(vector.view(np.recarray)), unravel(vector))
    with pytest.raises(TypeError, match=r"^values must not be a masked array"):
        unravel(np.ma.masked_array(vector, vector > 0))


@pytest.mark.parametrize("dtype", [complex, str, object])
def test_unravel_refuses_what_is_no_vector_of_real_numbers(dtype: Any) -> None:
    vector, unravel = tree_ravel(fnnet.init_params(0, (3, 2)))
    with pytest.raises(TypeError, match="vector of"):
        unravel(vector.astype(dtype))
