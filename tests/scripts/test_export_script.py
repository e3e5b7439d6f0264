"""scripts/export.py: a checkpoint in, another program's file out, and what that cost."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
import pytest

import fnnet
from tests.scripts.shared import load, path_of

script = load("export")
compiler = pytest.mark.skipif(
    not any(map(which, ("cc", "gcc", "clang"))), reason="there is no C compiler"
)


def run(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(path_of("export")), *arguments],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=300,
    )


def save(folder: Path, params: fnnet.Params, extra: Any = None) -> None:
    checkpoint = fnnet.Checkpoint(fnnet.rmsprop_init(params), np.random.default_rng(0), extra=extra)
    fnnet.save_checkpoint(folder / "checkpoint.npz", checkpoint)


@pytest.fixture(scope="module")
def digits() -> fnnet.Params:
    state, data = fnnet.rmsprop_init(fnnet.init_params(0, (64, 32, 10)), 3e-3), fnnet.load_digits()
    *_, last = fnnet.train(state, data.train, rng=0, epochs=4)
    return last.state.params


def rows(text: str) -> dict[str, list[str]]:
    """The table that it prints, by the names of the files."""
    cells = [[*map(str.strip, line.strip("| ").split(" | "))] for line in text.splitlines()]
    return {name: rest for name, *rest in cells if rest and rest[0][0].isdigit()}


@pytest.mark.parametrize(
    ("out", "options"),
    [
        ("net.npz", ()),
        ("net.npz", ("--float16",)),
        ("net.npz", ("--int8",)),
        pytest.param("net.h", (), marks=compiler),
        pytest.param("net.c", ("--int8",), marks=compiler),
        ("net.onnx", ()),
        ("net.onnx", ("--bytes",)),
    ],
)
def test_the_table_compares_the_file_with_the_checkpoint(
    digits: fnnet.Params, tmp_path: Path, out: str, options: tuple[str, ...]
) -> None:
    if out.endswith("onnx"):
        pytest.importorskip("onnxruntime")
    save(tmp_path, digits, {"dataset": "digits"})
    result = run(tmp_path, "checkpoint.npz", out, *options)
    assert (result.returncode, result.stderr) == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.npz", out]
    found = rows(result.stdout)
    size, accuracy, _ = found["checkpoint.npz"]
    assert int(size.replace(",", "")) == (tmp_path / "checkpoint.npz").stat().st_size
    data = fnnet.load_digits().test
    right = fnnet.evaluate(digits, data).accuracy
    assert accuracy == f"{right:.2%}"
    _, after, microseconds = found[out if out[-1] not in "hc" else f"{out}, compiled"]
    slack = 1e-4 if "--int8" not in options and "--float16" not in options else 0.01
    assert abs(float(after.rstrip("%")) / 100 - right) < slack
    assert float(microseconds) > 0


@compiler
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such folders, nor scripts of a shell")
def test_a_folder_of_any_name_and_a_compiler_that_fails_are_no_matter(
    digits: fnnet.Params, tmp_path: Path
) -> None:
    folder = tmp_path / 'a "b" \\c'
    folder.mkdir()
    save(folder, digits, {"dataset": "digits"})
    result = run(folder, "checkpoint.npz", "net.c")
    assert (result.returncode, result.stderr) == (0, "")
    assert "net.c, compiled" in rows(result.stdout)
    (tmp_path / "cc").write_text("#!/bin/sh\necho cc: no headers >&2\nexit 1\n")
    (tmp_path / "cc").chmod(0o755)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    failed = run(folder, "checkpoint.npz", "net.c", PATH=path)
    assert (failed.returncode, failed.stderr) == (0, "net.c was not measured: cc: no headers\n")
    assert rows(failed.stdout)["net.c"][1:] == ["–", "–"]


def test_what_the_run_knows_is_in_the_file(digits: fnnet.Params, tmp_path: Path) -> None:
    save(tmp_path, digits)
    (tmp_path / "run.json").write_text('{"dataset": "digits"}')
    assert run(tmp_path, "checkpoint.npz", "net.npz").returncode == 0
    with np.load(tmp_path / "net.npz") as arrays:
        about = json.loads(str(arrays["about"]))
    assert (about["dataset"], about["divisor"]) == ("digits", 255)
    assert about["classes"] == [*"0123456789"]


def test_without_its_data_a_network_is_exported_and_timed_all_the_same(tmp_path: Path) -> None:
    save(tmp_path, fnnet.init_params(0, (5, 4, 3), np.float64, activation="tanh"))
    result = run(tmp_path, "checkpoint.npz", "net.npz")
    assert (result.returncode, result.stderr) == (0, "")
    assert rows(result.stdout)["net.npz"][1] == "–"
    assert "--dataset does" in result.stdout


@pytest.mark.parametrize("output", ["sigmoid", "identity"])
def test_other_outputs_are_scored_by_the_largest_logit_where_each_class_has_one(
    tmp_path: Path, output: str
) -> None:
    for classes in (10, 1):
        params = fnnet.init_params(0, (64, 4, classes), output=output)
        save(tmp_path, params, {"dataset": "digits"})
        result = run(tmp_path, "checkpoint.npz", "net.npz")
        if classes == 1:
            assert (result.returncode, result.stderr.count("\n")) == (1, 1)
            assert "classes must be as many as the 1 logits, got 10" in result.stderr
            continue
        assert (result.returncode, result.stderr) == (0, "")
        test = fnnet.load_digits().test
        right = fnnet.forward(params, fnnet.as_inputs(test)).argmax(axis=1) == test.y
        assert rows(result.stdout)["net.npz"][1] == f"{right.mean():.2%}"


def test_data_that_do_not_fit_or_are_absent_are_told_in_one_line(tmp_path: Path) -> None:
    save(tmp_path, fnnet.init_params(0, (5, 3)))
    wrong = run(tmp_path, "checkpoint.npz", "net.npz", "--dataset", "digits")
    assert wrong.returncode == 1
    assert wrong.stderr == "export.py: digits has 64 inputs, the network 5\n"
    unknown = run(tmp_path, "checkpoint.npz", "net.onnx", "--bytes")
    assert unknown.returncode == 1
    assert unknown.stderr.startswith("export.py: --bytes needs the shape of the images")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.npz"]


def test_the_checkpoint_is_not_overwritten(digits: fnnet.Params, tmp_path: Path) -> None:
    save(tmp_path, digits)
    result = run(tmp_path, "checkpoint.npz", "./checkpoint.npz")
    assert result.returncode == 1
    assert result.stderr == "export.py: checkpoint.npz is the checkpoint, which would be lost\n"
    assert fnnet.tree_equal(fnnet.load_checkpoint(tmp_path / "checkpoint.npz").state.params, digits)


def test_without_onnx_the_package_is_named(digits: fnnet.Params, tmp_path: Path) -> None:
    save(tmp_path, digits)
    code = "import sys; sys.modules['onnx'] = None; sys.path[0] = sys.argv.pop(1)\n"
    code += "import export; sys.exit(export.main())"
    folder = str(path_of("export").parent)
    command = [sys.executable, "-c", code, folder, "checkpoint.npz", "network.onnx"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 1
    assert result.stderr.startswith("export.py: as_onnx needs onnx: pip install onnx")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("net.txt",), "out must end in one of .onnx, .npz, .h, .c, got net.txt"),
        (("net.onnx", "--int8"), "--int8 is for .npz, .h, .c, got net.onnx"),
        (("net.c", "--float16"), "--float16 is for .npz, got net.c"),
        (("net.c", "--bytes"), "--bytes is for .onnx, got net.c"),
        (("net.npz", "--int8", "--float16"), "--int8 and --float16 exclude each other"),
    ],
)
def test_bad_usage_is_one_line(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    result = run(tmp_path, "checkpoint.npz", *arguments)
    assert result.returncode == 2
    assert result.stderr == f"export.py: {message} (see --help)\n"


def test_what_cannot_be_exported_is_one_line_and_no_file(tmp_path: Path) -> None:
    absent = run(tmp_path, "checkpoint.npz", "net.npz")
    assert (absent.returncode, absent.stderr.count("\n")) == (1, 1)
    params = fnnet.init_params(0, (4, 3))
    save(tmp_path, params)
    name = run(tmp_path, "checkpoint.npz", "my-net.c")
    assert (name.returncode, name.stderr.count("\n")) == (1, 1)
    assert re.search("name must be a letter, then .*'my-net'", name.stderr)
    save(tmp_path, fnnet.tree_map(lambda *leaves: np.stack(leaves), params, params))
    ensemble = run(tmp_path, "checkpoint.npz", "net.npz")
    assert (ensemble.returncode, ensemble.stderr.count("\n")) == (1, 1)
    assert "params must be one network, got an ensemble" in ensemble.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.npz"]
