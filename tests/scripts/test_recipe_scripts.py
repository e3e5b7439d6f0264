"""The scripts of recipes and optimizers, as their users meet them, on the digits."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fnnet_scripts.options import installing
from fnnet_scripts.recipes import schedule_of

import fnnet
from tests.scripts.shared import environment, load, path_of

QUICK = ("--dataset", "digits", "--epochs", "1", "--seeds", "0")


reproduce, compare = load("reproduce"), load("compare_optimizers")


def cells(table: str) -> dict[str, str]:
    header, _, row = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()
    )
    return dict(zip(header, row, strict=True))


@pytest.mark.parametrize("name", ["original", "keras", "simard", "simard-distorted"])
def test_every_recipe_prints_its_row(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce.main([name, *QUICK]) == 0
    row = cells(capsys.readouterr().out)
    assert row["recipe"] == name
    widths = "-".join(map(str, reproduce.settings_of(reproduce.RECIPES[name]).hidden))
    assert row["network"] == f"64-{widths}-10"
    assert row["published, %"] == reproduce.RECIPES[name].published
    assert 0 < float(row["test error, %"]) < 100
    assert float(row["images/s"].replace(",", "")) > 0


def test_runs_differ_by_seed_and_repeat(capsys: pytest.CaptureFixture[str]) -> None:
    tables = []
    for _ in range(2):
        assert reproduce.main(["keras", *QUICK, "--seeds", "0", "1"]) == 0
        tables.append(cells(capsys.readouterr().out)["test error, %"])
    assert tables[0] == tables[1]
    assert float(tables[0].split("±")[1]) > 0


def test_runs_side_by_side_are_those_one_after_another() -> None:
    command = [
        sys.executable,
        str(path_of("reproduce")),
        "keras",
        *QUICK,
        "--seeds",
        "0",
        "1",
        "2",
    ]
    errors = []
    for jobs in ("1", "2"):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*command, "--jobs", jobs], capture_output=True, text=True, env=environment, check=True
        )
        assert sorted(line[:7] for line in done.stderr.splitlines()) == [
            "seed 0:",
            "seed 1:",
            "seed 2:",
        ]
        errors.append(cells(done.stdout)["test error, %"])
    assert errors[0] == errors[1]


def test_epochs_of_runs_side_by_side_are_counted_until_they_end_or_one_fails() -> None:
    class Counter:
        value = 0

    def run(fails: bool) -> None:
        for _ in range(20):
            time.sleep(0.03)
            Counter.value += 1
        if fails:
            raise MemoryError

    with ThreadPoolExecutor(1) as threads:
        runs = [threads.submit(run, False), threads.submit(run, False)]
        moments = [time.monotonic() for _ in reproduce.passing(runs, Counter)]
        assert len(moments) == 40
        assert moments[-1] - moments[0] > 0.5  # as they pass, not at the end
        for last in reproduce.passing([threads.submit(run, True), Future()], Counter):
            assert last <= 60


def test_validation_shows_another_split_and_leaves_the_test_set_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = fnnet.load_digits()
    broken = replace(digits, test=fnnet.Split(np.zeros((1, 3)), np.zeros(1, int)))
    monkeypatch.setattr(fnnet, "load_dataset", lambda *_: broken)
    assert reproduce.main(["keras", *QUICK, "--validation", "300"]) == 0
    assert "validation error, %" in cells(capsys.readouterr().out)


def test_an_ensemble_averages_probabilities() -> None:
    digits = fnnet.load_digits()
    members = [fnnet.init_params(seed, (64, 10)) for seed in range(3)]
    x = fnnet.as_inputs(digits.test.x)
    mean = np.mean([fnnet.softmax(fnnet.forward(params, x)) for params in members], axis=0)
    expected = 100 * np.mean(mean.argmax(1) != digits.test.y)
    assert reproduce.error(members, digits.test) == pytest.approx(expected)


def test_members_of_an_ensemble_are_all_trained(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(reproduce.RECIPES["ensemble"], options="--hidden 9", members=3)
    monkeypatch.setitem(reproduce.RECIPES, "ensemble", small)
    assert reproduce.main(["ensemble", *QUICK]) == 0
    assert cells(capsys.readouterr().out)["network"] == "3 × 64-9-10"


@pytest.mark.parametrize("name", reproduce.RECIPES)
def test_a_recipe_is_a_command_line_that_trains_the_same_network(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = reproduce.RECIPES[name]
    options = recipe.options.replace("1500 1000 500", "30 20 10").replace("-up 500", "-up 9")
    small = replace(recipe, options=options)
    monkeypatch.setitem(reproduce.RECIPES, name, small)
    words = (name, "--dataset", "digits", "--epochs", "2", "--seeds", "3", "--command")
    assert reproduce.main(words) == 0
    python, script, *words_of_train = shlex.split(capsys.readouterr().out)
    assert (python, script) == ("python", "scripts/train.py")
    without_matplotlib(monkeypatch)  # whose figures take longer than the training here
    assert load("train").main([*words_of_train, "--out", str(tmp_path / "run"), "--quiet"]) == 0
    checkpoint = fnnet.load_checkpoint(tmp_path / "run" / "checkpoint.npz")
    settings, split = reproduce.settings_of(small, 2), fnnet.load_digits().train
    *_, params = reproduce.fit(settings, split, 10, np.random.default_rng(3))
    assert fnnet.tree_equal(params, checkpoint.state.params)


def test_recipes_have_the_settings_of_their_published_results() -> None:
    told: dict[str, dict[str, object]] = {
        "original": {"hidden": [128], "epochs": 10, "batch_size": 32, "scheme": "normal"},
        "keras": {"hidden": [512, 512], "epochs": 20, "batch_size": 128, "dropout": 0.2},
        "simard": {"hidden": [800], "epochs": 20, "decay": 0.99, "warm_up": 500},
        "simard-distorted": {"epochs": 150, "learning_rate": 0.002, "weight_decay": 0.05},
        "best": {"hidden": [1500, 1000, 500], "epochs": 180, "distort": "smoother"},
        "ensemble": {"hidden": [800], "epochs": 30, "distort": "on"},
    }
    assert set(told) == set(reproduce.RECIPES)
    for name, expected in told.items():
        settings = vars(reproduce.settings_of(reproduce.RECIPES[name]))
        assert {key: settings[key] for key in expected} == expected


def test_a_falling_rate_ends_at_zero_and_others_stay() -> None:
    falling = schedule_of(reproduce.settings_of(reproduce.RECIPES["simard-distorted"]), 10_000)
    rates = [falling(step) for step in range(10_001)]
    assert rates[0] < rates[499] == max(rates)
    assert rates[-1] == pytest.approx(0, abs=1e-12)
    still = schedule_of(reproduce.settings_of(reproduce.RECIPES["keras"]), 10_000)
    assert {still(step) for step in range(0, 10_000, 100)} == {1e-3}


def test_distortions_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    figure = tmp_path / "new" / "figure.png"
    assert reproduce.main(["simard-distorted", "--dataset", "digits", "--figure", str(figure)]) == 0
    assert figure.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cireşan"], "invalid choice: 'cireşan'"),
        (["keras", "--seeds", "-1"], "--seeds: must be a whole number >= 0, got '-1'"),
        (["keras", "--epochs", "0"], "--epochs: must be a whole number >= 1, got '0'"),
        (["best", "--figure", "f.svg"], "--figure: must be the name of a .png file, got 'f.svg'"),
        (["keras", "--figure", "f.png"], "--figure: keras distorts no images, expected one of "),
    ],
)
def test_options_that_cannot_be_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        reproduce.main(arguments)
    assert message in capsys.readouterr().err


def test_errors_are_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, path_of("reproduce"), "keras", *QUICK, "--validation", "9999"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("reproduce.py: --validation must be below the 1437 training ")
    assert len(done.stderr.splitlines()) == 1


INTERRUPTED = """
import multiprocessing, os, signal, sys, threading, time
import reproduce
def press():
    while not multiprocessing.active_children():
        time.sleep(0.01)
    time.sleep(float(sys.argv[1]))
    os.killpg(0, signal.SIGINT)
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=press, daemon=True).start()
    sys.exit(reproduce.main(sys.argv[2:]))
"""
SIDE_BY_SIDE = ("keras", "--dataset", "digits", "--epochs", "9999", "--seeds", "0", "1", "--jobs")


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
@pytest.mark.parametrize("seconds", ["0.3", "3"])  # while the runs import, and while they train
def test_interrupted_runs_side_by_side_end_without_a_word(tmp_path: Path, seconds: str) -> None:
    program = tmp_path / "interrupted.py"
    program.write_text(INTERRUPTED)
    done = subprocess.run(  # ends when all of its processes have closed their output
        [sys.executable, str(program), seconds, *SIDE_BY_SIDE, "2"],
        env=environment("reproduce"),
        capture_output=True,
        text=True,
        timeout=300,
        start_new_session=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def killed(*arguments: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
def test_a_run_that_is_killed_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reproduce, "trial", killed)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert reproduce.main([*SIDE_BY_SIDE, "2"]) == 1
    expected = "a run was killed, perhaps for want of memory: fewer --jobs take less"
    assert capsys.readouterr().err == f"reproduce.py: {expected}\n"


def without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)


def test_without_matplotlib_a_figure_of_distortions_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_matplotlib(monkeypatch)
    figure = str(tmp_path / "figure.png")
    assert reproduce.main(["best", "--dataset", "digits", "--figure", figure]) == 1
    assert is_one_line_with(capsys.readouterr().err, installing("matplotlib"))


def is_one_line_with(text: str, part: str) -> bool:
    return text.count("\n") == 1 and part in text and "Traceback" not in text


def test_what_would_keep_the_comparison_from_being_drawn_is_told_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    assert compare.main(["--figure", str(tmp_path / "file" / "figure.png")]) == 1
    output, errors = capsys.readouterr()
    assert output == ""
    assert is_one_line_with(errors, str(tmp_path / "file"))
    without_matplotlib(monkeypatch)
    assert compare.main(["--figure", str(tmp_path / "figure.png")]) == 1
    output, errors = capsys.readouterr()
    assert output == ""
    assert is_one_line_with(errors, installing("matplotlib"))


@pytest.mark.parametrize(
    "option",
    [
        ("--epochs", "0"),
        ("--seeds", "0"),
        ("--seeds", "-1"),
        ("--hidden", "0"),
        ("--batch-size", "0"),
    ],
)
def test_comparisons_that_cannot_be_are_refused_in_one_line(
    option: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        compare.main(option)
    assert stop.value.code == 2
    assert is_one_line_with(capsys.readouterr().err, f"{option[0]}: must be a whole number >= 1")


def test_an_interrupted_comparison_ends_without_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fnnet, "train_step", interrupt)
    assert compare.main(["--figure", str(tmp_path / "figure.png")]) == 130
    assert capsys.readouterr().err == ""
    assert list(tmp_path.iterdir()) == []


def test_a_comparison_is_drawn_among_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    assert compare.main(["--hidden", "2", "--epochs", "1", "--seeds", "1"]) == 0
    assert [str(path) for path in Path().rglob("*.png")] == [str(Path("runs", "optimizers.png"))]


def test_curves_of_optimizers_are_named_with_their_rates_and_said_to_be_cut() -> None:
    pytest.importorskip("matplotlib")
    curve = np.full((2, len(compare.RATES), 1), 0.5)
    curve[:, -1] = 9.0
    figure = compare.draw(dict.fromkeys(compare.contestants(), curve), 2)
    grid, course = figure.axes
    names = [text.get_text() for text in course.get_legend().get_texts()]
    assert names == [f"{name}, rate 0.0001" for name in compare.contestants()]
    for axes in (grid, course):
        assert "cut off at 3" in axes.get_title(loc="left")
        assert axes.get_ylim()[1] == 3


def test_optimizers_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    figure = tmp_path / "figure.png"
    arguments = ["--hidden", "5", "--epochs", "2", "--seeds", "2", "--batch-size", "256"]
    assert compare.main([*arguments, "--figure", str(figure)]) == 0
    assert figure.read_bytes().startswith(b"\x89PNG")
    _, *rows, last = capsys.readouterr().out.splitlines()
    assert last == f"drawn in {figure}"
    assert [row.split("  ")[0] for row in rows] == list(compare.contestants())


def test_the_best_rate_has_the_least_loss_that_is_finite() -> None:
    curve = np.array(
        [[[9.0, 9.0], [9.0, 9.0], [9.0, 9.0]], [[np.nan, 0.1], [2.0, 1.0], [3.0, 3.0]]]
    )
    assert compare.best_rate(curve) == 1
