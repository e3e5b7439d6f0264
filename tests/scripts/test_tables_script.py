"""scripts/tables.py: scores beside scikit-learn's, what is saved, and a line for each mistake."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fnnet
from tests.scripts.shared import environment, load

pd = pytest.importorskip("pandas", reason="scripts/tables.py needs pandas")
pytest.importorskip("sklearn", reason="scripts/tables.py needs scikit-learn")
tables = load("tables")
FAST = ("--epochs", "3", "--folds", "2", "--hidden", "8")


def people(n: int = 60, seed: int = 0) -> Any:
    """Numbers with gaps, words with gaps, bools, a column of one value; classes and a number."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 90, n).astype(float),
            "height": rng.normal(170, 10, n),
            "town": rng.choice(["Rome, Italy", "Oslo", "Bonn"], n),
            "member": rng.random(n) < 0.5,
            "planet": ["Earth"] * n,
        }
    )
    frame["likes"] = np.where(frame["age"] > 50, "tea", 'a "cola"')
    frame["spends"] = 3 * frame["height"] + 50 * (frame["town"] == "Oslo")
    frame.loc[::7, "age"] = np.nan
    frame.loc[::5, "town"] = None
    return frame


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "people.csv"
    people().to_csv(path, index=False)
    return path


def scores(text: str) -> dict[str, tuple[float, float]]:
    rows = re.findall(r"(?m)^\| (\w+) +\| +(-?\d\S*) \| +(\d\S*) \|$", text)
    return {name: (float(score), float(error)) for name, score, error in rows}


def test_a_shipped_table_is_learned_as_well_as_by_scikit_learn(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert tables.main(["wine"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("178 rows, 13 columns, 5 folds\n")
    assert err == ""
    found = scores(out)
    ours, theirs = found["fnnet"], found["MLPClassifier"]
    assert ours[0] > theirs[0] - max(ours[1], theirs[1])
    assert found["DummyClassifier"][0] < 0.5 < 0.9 < found["LogisticRegression"][0]


def test_numbers_are_learned_as_well_as_by_scikit_learn(
    csv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tables.main([str(csv), "--target", "spends", "--regress", "--drop", "likes"]) == 0
    found = scores(capsys.readouterr().out)
    ours, theirs = found["fnnet"], found["MLPRegressor"]
    assert ours[0] > theirs[0] - max(ours[1], theirs[1])
    assert set(found) == {"fnnet", "MLPRegressor", "Ridge", "DummyRegressor"}


def test_columns_of_one_value_are_left_out_and_named(
    csv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tables.main([str(csv), "--target", "likes", *FAST]) == 0
    out, err = capsys.readouterr()
    assert err == "left out, since they hold one value: 'planet'\n"
    assert out.startswith("60 rows, 5 columns, 2 folds\n")


def test_rows_without_target_are_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = people().drop(columns="planet")
    frame["grade"] = np.where(frame["height"] > 170, 1, 2)  # ints, which NaN turns into floats
    frame.loc[:9, "grade"] = np.nan
    frame.to_csv(tmp_path / "a.csv", index=False)
    out = tmp_path / "a.npz"
    assert (
        tables.main([str(tmp_path / "a.csv"), "--target", "grade", *FAST, "--out", str(out)]) == 0
    )
    said = capsys.readouterr()
    assert said.err == "left out: 10 of 60 rows, whose 'grade' is missing\n"
    assert said.out.startswith("50 rows, ")
    assert fnnet.load_checkpoint(out).extra["classes"] == ["1", "2"]


@pytest.mark.parametrize("frame", [people(), people()[["age", "height"]], people()[["town"]]])
def test_what_a_checkpoint_knows_encodes_rows_as_scikit_learn_did(frame: Any) -> None:
    x = tables.usable(frame.drop(columns="planet", errors="ignore"))
    encoder = tables.encoder(x)
    expected = encoder.fit_transform(x)
    np.testing.assert_allclose(tables.encoded(frame, tables.learned(encoder)), expected, rtol=1e-13)


@pytest.mark.parametrize("target", ["likes", "spends"])
def test_a_saved_network_predicts_the_rows_of_another_file(
    target: str, csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    regress = ["--regress"] if target == "spends" else []
    saved, new = tmp_path / "people.npz", tmp_path / "new.csv"
    command = [str(csv), "--target", target, "--folds", "2", *regress, "--out", str(saved)]
    assert tables.main(command) == 0
    assert f"saved {saved}: python scripts/tables.py {saved} --predict" in capsys.readouterr().out
    rows = people(40, seed=1)
    rows.to_csv(new, index=False)
    assert tables.main([str(saved), "--predict", str(new)]) == 0
    out, err = capsys.readouterr()
    (tmp_path / "predicted.csv").write_text(out)
    predicted = pd.read_csv(tmp_path / "predicted.csv")
    assert len(predicted) == 40
    assert err == "left out, since the network does not use them: 'planet'\n"
    if target == "likes":
        assert np.mean(predicted["prediction"] == rows["likes"]) > 0.8
        assert predicted["probability"].between(0.5, 1).all()
    else:
        assert np.corrcoef(predicted["prediction"], rows["spends"])[0, 1] > 0.9


def test_columns_that_are_new_or_missing_are_named_at_prediction(
    csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved, new = tmp_path / "people.npz", tmp_path / "new.csv"
    assert tables.main([str(csv), "--target", "likes", *FAST, "--out", str(saved)]) == 0
    capsys.readouterr()

    def predict(frame: Any) -> tuple[int, str]:
        frame.to_csv(new, index=False)
        code = tables.main([str(saved), "--predict", str(new)])
        return code, capsys.readouterr().err

    code, said = predict(people().drop(columns=["age", "town"]))
    assert code == 2
    assert said == f"tables.py: {new} lacks columns that the network needs: 'age', 'town'\n"
    code, said = predict(people().drop(columns="planet").assign(shoes=1))
    assert (code, said) == (0, "left out, since the network does not use them: 'shoes'\n")
    code, said = predict(people().drop(columns="planet").replace({"Oslo": "Bergen"}))
    assert (code, said) == (0, "column 'town' holds what the network never saw: 'Bergen'\n")
    code, said = predict(people().drop(columns="planet").assign(age="old"))
    assert code == 2
    assert said.startswith("tables.py: column 'age' must hold numbers: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), "--target must name the column of people.csv to predict, one of 'age', 'height', "),
        (("--target", "wealth"), "people.csv has no column 'wealth': it has 'age', 'height', "),
        (("--target", "age", "--drop", "x"), "people.csv has no column 'x': it has 'age', "),
        (("--target", "planet"), "the target 'planet' must hold two values or more, got 1"),
        (
            ("--target", "town", "--regress"),
            "the target 'town' holds 'Rome, Italy', no number: omit",
        ),
        (("--target", "likes", "--folds", "50"), "each class needs --folds 50 rows or more, "),
        (("--target", "likes", "--predict", "x.csv"), "--predict needs DATA to be a checkpoint"),
    ],
)
def test_what_cannot_be_is_one_line(
    options: tuple[str, ...],
    expected: str,
    csv: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(csv.parent)
    assert tables.main([csv.name, *options]) == 2
    *notes, line = capsys.readouterr().err.splitlines()
    assert line.startswith(f"tables.py: {expected}"), line
    assert all(note.startswith("left out") for note in notes)


@pytest.mark.parametrize(
    ("columns", "options", "expected"),
    [
        ({"a": np.arange(200.0) / 7}, (), "holds 200 different values: write --regress"),
        ({"a": [0.0, np.inf] * 100}, ("--regress",), "the target 'a' holds infinite numbers"),
        (
            {"a": [0, 1] * 100, "b": [*map(str, range(199)), "x"]},
            (),
            "leave it out with --drop 'b'",
        ),
        ({"a": [0, 1] * 100, "b": [0.0, np.inf] * 100}, (), "column 'b' holds infinite numbers"),
        ({"a": [0, 1] * 100, "b": 5}, (), "no column is left to predict from"),
    ],
)
def test_tables_that_cannot_be_learned_are_one_line(
    columns: Any,
    options: tuple[str, ...],
    expected: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "t.csv"
    pd.DataFrame({**columns, "c": columns.get("b", range(200))}).to_csv(path, index=False)
    if "b" in columns:
        pd.DataFrame(columns).to_csv(path, index=False)
    assert tables.main([str(path), "--target", "a", *options]) == 2
    assert expected in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("text", ["", "\x00\x01", 'a,b\n1,2\n"3'])
def test_a_file_that_is_no_table_is_one_line(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    assert tables.main([str(path), "--target", "a"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_checkpoint_of_something_else_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, rows = tmp_path / "c.npz", tmp_path / "r.csv"
    state = fnnet.adam_init(fnnet.init_params(0, (3, 2)))
    fnnet.save_checkpoint(path, fnnet.Checkpoint(state, np.random.default_rng(0)))
    people().to_csv(rows, index=False)
    assert tables.main([str(path), "--predict", str(rows)]) == 2
    assert "is no checkpoint of a table: write one with --out" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["iris", "diabetes"])
def test_a_figure_is_drawn(name: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "figures" / "f.png"
    assert tables.main([name, *FAST, "--figure", str(path)]) == 0
    assert path.read_bytes().startswith(b"\x89PNG")


def test_one_seed_gives_one_output(capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for seed in (3, 3, 4):
        assert tables.main(["iris", *FAST, "--seed", str(seed)]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize("module", ["pandas", "sklearn"])
def test_a_missing_library_is_named(module: str, tmp_path: Path) -> None:
    code = f"import sys; sys.modules['{module}'] = None; import tables; sys.exit(tables.main())"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=environment("tables"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 1
    assert "pip install pandas scikit-learn" in result.stderr
    assert "Traceback" not in result.stderr
