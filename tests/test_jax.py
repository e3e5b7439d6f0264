"""fnnet's trees in JAX and optax."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import fnnet
from tests import oracles
from tests.scripts.shared import load, path_of

jax = pytest.importorskip("jax")
SCRIPT = path_of("jax_optax")


@pytest.fixture(autouse=True)
def registered() -> None:
    fnnet.register_jax()
    fnnet.register_jax()  # a second call changes nothing


def loss(params: fnnet.Params, x: Any, y: Any) -> Any:
    h = x
    for layer in params.layers[:-1]:
        h = jax.nn.relu(h @ layer.w + layer.b)
    log_p = jax.nn.log_softmax(h @ params.layers[-1].w + params.layers[-1].b)
    return -(log_p * y).sum(axis=-1).mean()


def test_a_map_of_jax_is_one_of_ours() -> None:
    params = fnnet.init_params(0, (4, 3, 2))
    mapped = jax.tree.map(lambda leaf: 2 * leaf, params)
    assert fnnet.tree_equal(mapped, fnnet.tree_map(lambda leaf: 2 * leaf, params))
    assert [leaf.shape for leaf in jax.tree.leaves(params)] == [(4, 3), (3,), (3, 2), (2,)]


def test_trees_hold_whatever_jax_puts_there() -> None:
    params = fnnet.init_params(0, (4, 3))
    holes = jax.tree.map(lambda leaf: None, params)
    assert holes.layers[0].w is None
    shapes = jax.eval_shape(lambda tree: tree, params)
    assert shapes.layers[0].w.shape == (4, 3)


def test_the_gradient_of_jax_is_ours() -> None:
    with jax.enable_x64(True):
        params, x, y = oracles.problem((6, 5, 5, 4), soft=True)
        theirs = jax.grad(loss)(jax.tree.map(jax.numpy.asarray, params), x, y)
        assert isinstance(theirs, fnnet.Params)
        ours = fnnet.grads(params, x, y)
        for a, b in zip(jax.tree.leaves(theirs), fnnet.tree_leaves(ours), strict=True):
            np.testing.assert_allclose(np.asarray(a), b, rtol=1e-12, atol=1e-15)


def test_vmap_and_jit_take_an_ensemble_and_a_state() -> None:
    params, x, y = oracles.problem(soft=True)
    together = fnnet.tree_map(lambda a, b: np.stack([a, b]), params, params)
    losses = jax.vmap(loss, (0, None, None))(together, x, y)
    np.testing.assert_allclose(losses, fnnet.losses(together, x, y).mean(-1), rtol=1e-5)
    state = fnnet.rmsprop_init(params, learning_rate=0.5)
    again = jax.jit(lambda state: state)(state)
    assert isinstance(again, fnnet.RMSPropState)
    assert float(again.learning_rate) == 0.5
    assert again.centered is False


def test_optax_steps_along_our_gradients() -> None:
    optax = pytest.importorskip("optax")
    params, x, y = oracles.problem()
    params = fnnet.tree_map(lambda leaf: leaf.astype(np.float32), params)
    optimizer = optax.rmsprop(1e-2, decay=0.9, eps=1e-8, eps_in_sqrt=False)
    theirs, memory = params, optimizer.init(params)
    ours = fnnet.rmsprop_init(params, 1e-2)
    for _ in range(20):
        updates, memory = optimizer.update(fnnet.grads(theirs, x, y), memory, theirs)
        theirs = jax.tree.map(np.asarray, optax.apply_updates(theirs, updates))
        ours = fnnet.rmsprop_update(ours, fnnet.grads(ours.params, x, y))
    assert fnnet.tree_allclose(theirs, ours.params, rtol=1e-4, atol=1e-5)


def test_the_script_trains_with_optax_and_agrees_with_jax() -> None:
    pytest.importorskip("optax")
    result = subprocess.run(
        [sys.executable, str(SCRIPT), "--epochs", "3"], capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    accuracy = re.search(r"test accuracy (\d+\.\d+)%", result.stdout)
    gap = re.search(r"differ by (\S+)", result.stdout)
    assert accuracy is not None
    assert gap is not None
    assert float(accuracy[1]) > 90
    assert float(gap[1]) < 1e-5


def test_the_script_has_help_and_one_line_for_bad_usage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for words, code in ((["--help"], 0), (["--epochs", "0"], 2)):
        with pytest.raises(SystemExit) as stop:
            load(SCRIPT.stem).main(words)
        assert stop.value.code == code
        said = capsys.readouterr()
        assert ("--epochs" in said.out) == (code == 0)
        assert said.err.count("\n") == code // 2
