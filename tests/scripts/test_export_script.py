"""scripts/export_onnx.py: the same numbers elsewhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fnnet

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "export_onnx.py"
X = np.random.default_rng(0).random((7, 64), np.float32)

READER = (ROOT / "README.md").read_text("utf-8").partition("read back:\n\n```python\n")[2]
READER = READER.partition("```")[0]  # with `x` to be given, and `logits` as the result


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


@pytest.fixture(params=[(64, 10), (64, 32, 16, 10)], ids=["one layer", "three layers"])
def params(request: pytest.FixtureRequest, tmp_path: Path) -> fnnet.Params:
    params = fnnet.tree_map(
        lambda leaf: leaf + np.float32(0.1), fnnet.init_params(0, request.param)
    )
    save(tmp_path, params)
    return params


def save(folder: Path, params: fnnet.Params) -> None:
    checkpoint = fnnet.Checkpoint(fnnet.rmsprop_init(params), np.random.default_rng(0))
    fnnet.save_checkpoint(folder / "checkpoint.npz", checkpoint)


def test_onnxruntime_gives_the_same_logits_and_probabilities(
    params: fnnet.Params, tmp_path: Path
) -> None:
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    result = run(tmp_path, "checkpoint.npz", "network.onnx")
    assert result.returncode == 0, result.stderr
    session = runtime.InferenceSession(tmp_path / "network.onnx")
    for x in (X, X[:1]):
        logits, probabilities = session.run(["logits", "probabilities"], {"x": x})
        np.testing.assert_allclose(logits, fnnet.forward(params, x), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(probabilities, fnnet.predict_proba(params, x), atol=1e-5)


def test_a_network_in_double_precision_stays_in_it(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    params = fnnet.init_params(0, (64, 32, 10), np.float64)
    save(tmp_path, fnnet.tree_map(lambda leaf: 10 * leaf, params))
    result = run(tmp_path, "checkpoint.npz", "network.onnx")
    assert result.returncode == 0, result.stderr
    session, x = runtime.InferenceSession(tmp_path / "network.onnx"), X.astype(np.float64)
    (logits,) = session.run(["logits"], {"x": x})
    assert logits.dtype == np.float64
    np.testing.assert_allclose(logits, 100 * fnnet.forward(params, x), rtol=1e-12, atol=1e-12)


def test_the_checkpoint_is_not_overwritten(params: fnnet.Params, tmp_path: Path) -> None:
    result = run(tmp_path, "checkpoint.npz", "./checkpoint.npz")
    assert result.returncode == 1
    assert (
        result.stderr == "export_onnx.py: checkpoint.npz is the checkpoint, which would be lost\n"
    )
    assert fnnet.tree_equal(fnnet.load_checkpoint(tmp_path / "checkpoint.npz").state.params, params)


def test_without_onnx_the_install_command_is_named(params: fnnet.Params, tmp_path: Path) -> None:
    code = "import sys; sys.modules['onnx'] = None; sys.path[0] = sys.argv.pop(1)\n"
    code += "import export_onnx; sys.exit(export_onnx.main())"
    command = [sys.executable, "-c", code, str(SCRIPT.parent), "checkpoint.npz", "network.onnx"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert "pip install 'fnnet[onnx]'" in result.stderr
    assert result.stderr.count("\n") == 1


def test_ten_lines_of_numpy_read_the_npz(params: fnnet.Params, tmp_path: Path) -> None:
    result = run(tmp_path, "checkpoint.npz", "network.npz")
    assert result.returncode == 0, result.stderr
    np.save(tmp_path / "x.npy", X)
    assert 0 < len(READER.splitlines()) <= 10
    code = f"import numpy as np\nx = np.load('x.npy')\n{READER}\nnp.save('logits.npy', logits)"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=60)
    np.testing.assert_allclose(
        np.load(tmp_path / "logits.npy"), fnnet.forward(params, X), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("start", [fnnet.sgd_init, fnnet.adam_init])
def test_a_network_of_any_optimizer_is_exported(tmp_path: Path, start: Any) -> None:
    params = fnnet.init_params(0, (64, 10))
    checkpoint = fnnet.Checkpoint(start(params), np.random.default_rng(0))
    fnnet.save_checkpoint(tmp_path / "checkpoint.npz", checkpoint)
    result = run(tmp_path, "checkpoint.npz", "network.npz")
    assert result.returncode == 0, result.stderr
    with np.load(tmp_path / "network.npz") as arrays:
        np.testing.assert_array_equal(arrays["w1"], params.layers[0].w)


def test_other_suffixes_absent_checkpoints_and_ensembles_are_refused(tmp_path: Path) -> None:
    assert run(tmp_path, "checkpoint.npz", "network.txt").returncode == 2
    absent = run(tmp_path, "checkpoint.npz", "network.npz")
    assert absent.returncode == 1
    assert absent.stderr.count("\n") == 1
    params = fnnet.init_params(0, (4, 3))
    save(tmp_path, fnnet.tree_map(lambda *leaves: np.stack(leaves), params, params))
    ensemble = run(tmp_path, "checkpoint.npz", "network.npz")
    assert ensemble.returncode == 1
    assert "an ensemble, expected one network" in ensemble.stderr
    assert not (tmp_path / "network.npz").exists()
