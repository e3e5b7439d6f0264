"""scripts/measure/benchmark.py and scaling.py, run as a user runs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fnnet_scripts.contestants import products, synthetic

import fnnet
from tests.scripts.shared import environment, load, path_of

PNG = b"\x89PNG\r\n\x1a\n"


def alone(folder: Path) -> dict[str, str]:
    """Variables of a machine on which no MNIST is to be found."""
    return {"FNNET_CACHE": str(folder / "cache"), "FNNET_DATA": ""}


def run(folder: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script in an empty folder, where no MNIST is to be found and one thread is enough."""
    return subprocess.run(
        [sys.executable, str(path_of(script)), *arguments],
        cwd=folder,
        env={**os.environ, **alone(folder), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Folder and output of a quick benchmark of what needs NumPy alone."""
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("benchmark")
    names = ("--contestants", "fnnet", "products", "--json", "raw.json")
    result = run(folder, "benchmark", "--quick", "--threads", "1", *names)
    assert (result.returncode, result.stderr) == (0, "")
    return folder, result.stdout


def tables(text: str) -> list[list[list[str]]]:
    """The cells of each Markdown table, header first, rules left out."""
    blocks = re.findall(r"(?:^\|.*\|$\n?)+", text, re.MULTILINE)
    return [
        [
            [cell.strip() for cell in line.strip("|").split("|")]
            for i, line in enumerate(block.splitlines())
            if i != 1
        ]
        for block in blocks
    ]


def test_output_names_processor_versions_and_data(quick: tuple[Path, str]) -> None:
    first = quick[1].splitlines()[0]
    assert f"numpy {np.__version__}" in first
    assert "Python 3." in first
    assert "synthetic images" in first


def test_output_names_the_kernels_that_the_environment_chooses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    benchmark = load("benchmark")
    plan = benchmark.Plan([], None, 1, [1], [32], 1)
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    assert "in NumPy, held to its kernels for Haswell)" in benchmark.machine(plan)
    monkeypatch.delenv("OPENBLAS_CORETYPE")
    assert "kernels" not in benchmark.machine(plan)


def test_every_table_has_rows_of_one_length(quick: tuple[Path, str]) -> None:
    found = tables(quick[1])
    assert len(found) == 9  # one a section, and two of other data
    for rows in found:
        assert len(rows) > 1
        assert len({len(row) for row in rows}) == 1


def test_ratios_are_those_of_the_medians_measured(quick: tuple[Path, str]) -> None:
    folder, text = quick
    raw = json.loads((folder / "raw.json").read_text())
    times = {
        row["contestant"]: float(np.median(row["seconds"]))
        for row in raw["epoch"]
        if row["batch_size"] == 32
    }
    _, own, bare = tables(text)[0]
    assert float(own[1]) == pytest.approx(times["fnnet"], rel=0.01)
    shown = re.fullmatch(r"([\d.]+) \(([\d.]+)\)", bare[1])
    assert shown is not None
    assert float(shown[2]) == pytest.approx(times["products"] / times["fnnet"], abs=0.006)


def test_training_learns_what_the_accuracy_column_says(quick: tuple[Path, str]) -> None:
    own, bare = (row[-1] for row in tables(quick[1])[0][1:])
    assert 20 < float(own.rstrip("%")) <= 100  # chance is 10 %
    assert bare == "–"


def test_parts_of_a_profile_add_up_to_the_step(quick: tuple[Path, str]) -> None:
    raw = json.loads((quick[0] / "raw.json").read_text())
    for row in raw["profile"]:
        parts = {k: v for k, v in row["parts"].items() if not k.startswith("floor")}
        assert sum(parts.values()) == pytest.approx(2 * parts["step"])


def test_plot_is_a_picture_and_can_be_drawn_again_from_the_numbers(quick: tuple[Path, str]) -> None:
    folder, text = quick
    assert (folder / "runs" / "benchmark.png").read_bytes().startswith(PNG)
    again = run(folder, "benchmark", "--from", "raw.json", "--plot", "again.png")
    assert again.stdout == text
    assert (folder / "again.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--contestants", "abacus"), 2, "'abacus'"),
        (("--sections", "weather"), 2, "'weather'"),
        (("--rounds", "0"), 2, "--rounds"),
        (("--batch-sizes", "-1"), 2, "--batch-sizes"),
        (("--data-dir", "absent"), 1, "absent"),
        (("--from", "absent.json"), 1, "absent.json"),
        (("--from", "list.json"), 1, "list.json does not hold what --json writes"),
        (("--from", "empty.json"), 1, "empty.json does not hold what --json writes"),
        (("--sections", "inference", "--contestants", "products"), 1, "measures none of products"),
        (("--sections", "profile", "--contestants", "products"), 1, "measures none of products"),
        (("--sections", "memory", "--contestants", "products"), 1, "measures none of products"),
        (("--json", "list.json/raw.json"), 1, "list.json"),
        (("--plot", "list.json/plot.png"), 1, "list.json"),
    ],
)
def test_bad_arguments_get_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    status: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in alone(tmp_path).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "empty.json").write_text("{}")
    try:
        code = load("benchmark").main(["--quick", *arguments])
    except SystemExit as stop:
        code = stop.code
    assert code == status
    output, errors = capsys.readouterr()
    notes = [line for line in errors.splitlines() if "not installed" not in line]
    assert len(notes) == 1
    assert said in notes[0]
    assert output == ""


def test_sections_that_have_nobody_to_measure_are_left_out_unless_named() -> None:
    benchmark = load("benchmark")
    plan = benchmark.Plan(["products"], None, 1, [1], [32], 1)
    assert benchmark.sections_of(benchmark.parse([]), plan) == [
        "epoch",
        "networks",
        "import",
        "size",
    ]


INTERRUPTED = """
import os, signal, sys, threading
import benchmark
from fnnet_scripts import desk
ask, workers, timers = desk.Worker.ask, [], []
def ask_and_interrupt(worker, question, **arguments):
    if question == "epoch" and len(set(workers)) == 2 and not timers:
        timers.append(threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)))
        timers[0].start()
    workers.append(worker)
    return ask(worker, question, **arguments)
desk.Worker.ask = ask_and_interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)
code = benchmark.main()
print(len(set(workers)), [worker.process.poll() is None for worker in set(workers)])
sys.exit(code)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
def test_an_interrupted_benchmark_ends_with_its_workers_without_a_word(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "interrupted.py").write_text(INTERRUPTED)
    names = ("--contestants", "fnnet", "products", "--rounds", "99")
    result = subprocess.run(
        [sys.executable, "interrupted.py", "--quick", "--threads", "1", *names],
        cwd=tmp_path,
        env=environment("benchmark"),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (130, "2 [False, False]\n", "")


def test_an_interrupted_measurement_of_growth_ends_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    scaling = load("scaling")

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fnnet, "train_step", interrupt)
    assert scaling.main(["--quick", "--plot", str(tmp_path / "scaling.png")]) == 130
    assert capsys.readouterr().err == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", ["benchmark", "scaling"])
def test_what_would_keep_the_plot_from_being_drawn_is_told_before_measuring(
    script: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    main = load(script).main
    cases = ("file/plot.png", "file"), ("plot.png", "pip install matplotlib")
    for plot, said in cases:
        assert main(["--quick", "--plot", plot]) == 1
        output, errors = capsys.readouterr()
        assert output == ""
        assert said in errors.splitlines()[-1]
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)


def test_contestant_that_is_not_installed_is_named(tmp_path: Path) -> None:
    code = "import sys; sys.modules['torch'] = None;import benchmark; sys.exit(benchmark.main())"
    result = subprocess.run(
        [sys.executable, "-c", code, "--quick", "--contestants", "torch"],
        env=environment("benchmark"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.startswith("benchmark.py: not installed: torch")


def test_scaling_says_a_line_a_curve_and_draws_them(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = run(tmp_path, "scaling", "--quick", "--plot", "scaling.png")
    assert (result.returncode, result.stderr) == (0, "")
    _, *lines = result.stdout.splitlines()
    assert [line.split(" ")[0] for line in lines] == [
        "hidden",
        "hidden",
        "batch",
        "training",
        "batch",
    ]
    assert (tmp_path / "scaling.png").read_bytes().startswith(PNG)


def test_synthetic_images_resemble_mnist() -> None:
    data = synthetic(2_000)
    assert data.train.x.shape == (2_000, 28, 28)
    assert data.train.x.dtype == np.uint8
    assert np.mean(data.train.x > 0) == pytest.approx(0.19, abs=0.01)
    assert not data.train.x[:, :4].any()  # the margin
    assert len(np.unique(data.train.y)) == 10
    assert fnnet.as_inputs(data.test.x).max() == 1


def test_products_are_those_of_the_network() -> None:
    sizes = (784, 20, 30, 10)
    shapes = [product().shape for product in products(synthetic(8).train, sizes, 8)]
    forward, of_weights = [(8, 20), (8, 30), (8, 10)], [(784, 20), (20, 30), (30, 10)]
    assert shapes == [*forward, *of_weights, (8, 20), (8, 30)]


def seconds_to(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(path_of("seconds_to")), "--threads", "1", "--rounds", "2"]
    return subprocess.run(
        [*command, "--contestants", "fnnet", "fnnet-ragged", *arguments],
        env=environment("seconds_to"),
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_seconds_to_a_target_count_all_from_the_start_of_a_process() -> None:
    began = time.perf_counter()
    done = seconds_to("--target", "0.5")
    whole = time.perf_counter() - began
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()]
    cells = {row[0]: row[1:] for row in rows if row}
    assert {"fnnet", "fnnet, train_epoch"} < set(cells)
    assert cells["fnnet"][1] == "1.00"
    assert cells["fnnet"][3] == "1"
    assert 0.1 < float(cells["fnnet"][0]) < whole
    assert "to 50.0%: medians of 2 rounds, 1 thread" in done.stdout


def test_a_target_that_is_out_of_reach_is_said() -> None:
    done = seconds_to("--target", "0.9999", "--epochs", "1", "--rounds", "1")
    assert done.returncode == 1
    assert "fnnet: not measured: " in done.stderr
    assert done.stderr.endswith(
        "no contestant got there: give more --epochs, or a lower --target\n"
    )


def test_the_step_by_hand_is_fnnets() -> None:
    tiny: Any = load("tiny")
    rng = np.random.default_rng(0)
    x, y = rng.random((5, 4), np.float32), rng.integers(0, 3, 5).astype(np.uint8)
    ours, by_hand = (tiny.STEPS[name][1]((4, 6, 6, 3), x, y) for name in ("fnnet", "by hand"))
    for _ in range(5):
        vector = fnnet.tree_ravel(ours().params)[0]
        np.testing.assert_allclose(by_hand(), vector, rtol=2e-4, atol=1e-6)


def test_tiny_networks_have_a_row_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert load("tiny").main(["--rounds", "1"]) == 0
    ((header, *rows),) = tables(capsys.readouterr().out)
    assert [row[0] for row in rows] == ["4-16-3", "64-128-10", "8-64-64-4"]
    for cells in (dict(zip(header, row, strict=True)) for row in rows):
        ours, by_hand = float(cells["fnnet"]), float(cells["by hand"])  # to the nearest µs
        ratio = float(cells["fnnet / by hand"])
        assert (ours - 0.5) / (by_hand + 0.5) - 0.005 <= ratio
        assert ratio <= (ours + 0.5) / (by_hand - 0.5) + 0.005
