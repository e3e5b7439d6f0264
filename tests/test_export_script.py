"""scripts/export_onnx.py: the same numbers elsewhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fnnet

SCRIPT = Path(__file__).parents[1] / "scripts" / "export_onnx.py"
X = np.random.default_rng(0).random((7, 64), np.float32)

READER = """
import numpy as np
arrays, h = np.load("network.npz"), np.load("x.npy")
layers = len(arrays) // 2
for i in range(1, layers + 1):
    h = h @ arrays[f"w{i}"] + arrays[f"b{i}"]
    if i < layers:
        h = np.maximum(h, 0)
np.save("logits.npy", h)
"""


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


def test_ten_lines_of_numpy_read_the_npz(params: fnnet.Params, tmp_path: Path) -> None:
    result = run(tmp_path, "checkpoint.npz", "network.npz")
    assert result.returncode == 0, result.stderr
    np.save(tmp_path / "x.npy", X)
    assert len(READER.strip().splitlines()) <= 10
    subprocess.run([sys.executable, "-c", READER], cwd=tmp_path, check=True, timeout=60)
    np.testing.assert_allclose(
        np.load(tmp_path / "logits.npy"), fnnet.forward(params, X), rtol=1e-5, atol=1e-5
    )


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
