"""Train a network on a table, and compare it with scikit-learn's models in cross-validation.

    python scripts/tables.py
    python scripts/tables.py houses.csv --target price --regress --out houses.npz
    python scripts/tables.py houses.npz --predict new.csv > predicted.csv

DATA is a CSV file with names in its first line, or a table that scikit-learn ships (breast-cancer,
the default, wine, iris, digits, diabetes). Words become a column for each word, a missing word
being one, too; missing numbers become the median; columns are standardised. --out saves a network
trained on all rows, with all that this takes, in one checkpoint; given as DATA, it predicts the
rows of another table. Needs pandas and scikit-learn: pip install pandas scikit-learn.
"""

from __future__ import annotations

if __name__ == "__main__":
    import fnnet_scripts.quiet  # noqa: F401

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from fnnet_scripts.options import (
    COUNT,
    Parser,
    UsageError,
    at_least,
    check_figure,
    check_output,
    counted,
    exit_code,
    not_negative,
    png,
    save_figure,
    seed,
)
from fnnet_scripts.wording import table

import fnnet
from fnnet.storage.files import open_regular

if TYPE_CHECKING:
    from pandas import DataFrame, Series

Array = npt.NDArray[Any]

SHIPPED = ("breast-cancer", "wine", "iris", "digits", "diabetes")
MOST_WORDS = 100  # of a column, each of which becomes a column
MOST_CLASSES = 100


@dataclass(frozen=True, slots=True)
class Table:
    """Columns to predict from, and the column to predict: text for classes, floats for numbers."""

    x: DataFrame
    y: Series
    regress: bool


def shipped(name: str) -> Table:
    """A table that comes with scikit-learn."""
    import pandas  # noqa: F401  # that it is missing scikit-learn would say without a remedy
    from sklearn import datasets

    data = getattr(datasets, f"load_{name.replace('-', '_')}")(as_frame=True)
    if name == "diabetes":
        return Table(data.data, data.target.astype(float), True)
    names = np.array(data.target_names).astype(str)
    return Table(data.data, data.target.map(lambda code: names[code]), False)


def read(path: Path) -> DataFrame:
    import pandas as pd

    try:
        with open_regular(path):  # a pipe would never end
            return pd.read_csv(path)
    except ValueError as error:  # so are pandas's own
        raise UsageError(f"{path} is no CSV file with names in its first line: {error}") from error


def table_of(path: Path, target: str | None, drop: Sequence[str], regress: bool) -> Table:
    """The table in a file; rows without target are left out."""
    frame = read(path)
    for name in ([target] if target else []) + list(drop):
        if name not in frame:
            have = ", ".join(map(repr, frame.columns))
            raise UsageError(f"{path} has no column {name!r}: it has {have}")
    if target is None:
        have = ", ".join(map(repr, frame.columns))
        raise UsageError(f"--target must name the column of {path} to predict, one of {have}")
    y = frame[target]
    if missing := int(y.isna().sum()):
        print(f"left out: {missing} of {len(y)} rows, whose {target!r} is missing", file=sys.stderr)
    frame, y = frame[y.notna()], y[y.notna()]
    is_number = y.dtype.kind in "fi"
    if y.nunique() < 2:
        raise UsageError(f"the target {target!r} must hold two values or more, got {y.nunique()}")
    if regress and not is_number:
        raise UsageError(f"the target {target!r} holds {y.iloc[0]!r}, no number: omit --regress")
    if regress and not np.isfinite(y).all():
        raise UsageError(f"the target {target!r} holds infinite numbers")
    if not regress and y.nunique() > MOST_CLASSES:
        advice = "write --regress" if is_number else "there are at most 100 classes"
        raise UsageError(f"the target {target!r} holds {y.nunique()} different values: {advice}")
    labels = y.astype(float) if regress else y.convert_dtypes().astype(str)
    return Table(frame.drop(columns=[target, *drop]), labels, regress)


def usable(x: DataFrame) -> DataFrame:
    """The columns that can be learned from: floats, and text where a missing one is ""."""
    columns, left_out = {}, []
    for name in x:
        column = x[name]
        if column.nunique(dropna=False) < 2:
            left_out.append(repr(name))
        elif column.dtype.kind in "fiub":
            columns[str(name)] = column.astype(float)
            if np.isinf(columns[str(name)]).any():
                raise UsageError(f"column {name!r} holds infinite numbers")
        else:
            if column.nunique() > MOST_WORDS:
                raise UsageError(
                    f"column {name!r} holds {column.nunique()} different words, of which "
                    f"{MOST_WORDS} are the most: leave it out with --drop {name!r}"
                )
            columns[str(name)] = words(column)
    if left_out:
        print(f"left out, since they hold one value: {', '.join(left_out)}", file=sys.stderr)
    if not columns:
        raise UsageError("no column is left to predict from")
    return type(x)(columns)


def words(column: Series) -> Series:
    return column.astype(object).where(column.notna(), "").astype(str)


def encoder(x: DataFrame) -> Any:
    """What makes numbers of the columns, unfitted."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = [name for name in x if x[name].dtype.kind == "f"]
    number = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler()
    )
    word = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    others = [name for name in x if name not in numbers]
    return ColumnTransformer([("numbers", number, numbers), ("words", word, others)])


def learned(encoder: Any) -> dict[str, Any]:
    """What a fitted encoder knows, as a checkpoint holds it."""
    (_, number, numbers), (_, word, others) = encoder.transformers_[:2]
    known: dict[str, Any] = {"numbers": list(numbers), "words": {}}
    if numbers:
        imputer, scaler = (step for _, step in number.steps)
        known |= {"median": imputer.statistics_, "mean": scaler.mean_, "scale": scaler.scale_}
    if others:
        categories = [each.tolist() for each in word.categories_]
        known["words"] = dict(zip(others, categories, strict=True))
    return known


def encoded(x: DataFrame, known: dict[str, Any]) -> Array:
    """What the encoder made of its columns, made of other rows."""
    import pandas as pd

    columns: list[Array] = []
    for i, name in enumerate(known["numbers"]):
        try:
            column = pd.to_numeric(x[name]).to_numpy(float)
        except (TypeError, ValueError) as error:
            raise UsageError(f"column {name!r} must hold numbers: {error}") from error
        filled = np.where(np.isnan(column), known["median"][i], column)
        columns.append((filled - known["mean"][i]) / known["scale"][i])
    for name, categories in known["words"].items():
        values = words(x[name]).to_numpy(object)
        if new := sorted(set(values) - set(categories)):
            some = ", ".join(map(repr, new[:5]))
            print(f"column {name!r} holds what the network never saw: {some}", file=sys.stderr)
        columns += [(values == category).astype(float) for category in categories]
    return np.stack(columns, axis=1)


def models(settings: argparse.Namespace, rows: int, regress: bool) -> dict[str, Any]:
    """The network, and what it is compared with; the networks make as many steps of one size."""
    from fnnet_scripts.estimators import NetworkClassifier, NetworkRegressor
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.dummy import DummyClassifier, DummyRegressor
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.preprocessing import StandardScaler

    network = {
        "hidden_layer_sizes": tuple(settings.hidden),
        "batch_size": min(settings.batch_size, rows - -(-rows // settings.folds)),
        "learning_rate_init": settings.learning_rate,
        "alpha": settings.alpha,
        "max_iter": settings.epochs,
        "n_iter_no_change": settings.epochs,
        "tol": 0,
        "random_state": settings.seed,
    }
    if not regress:
        return {
            "fnnet": NetworkClassifier(**network),
            "MLPClassifier": MLPClassifier(**network),
            "LogisticRegression": LogisticRegression(max_iter=1000),
            "DummyClassifier": DummyClassifier(),
        }
    found = {
        "fnnet": NetworkRegressor(**network),
        "MLPRegressor": MLPRegressor(**network),
        "Ridge": Ridge(),
        "DummyRegressor": DummyRegressor(),
    }
    return {
        name: TransformedTargetRegressor(model, transformer=StandardScaler())
        for name, model in found.items()
    }


def folds_of(data: Table, folds: int, seed: int) -> list[tuple[Array, Array]]:
    from sklearn.model_selection import KFold, StratifiedKFold

    rare = data.y.value_counts()
    if len(data.y) < folds or (not data.regress and rare.iloc[-1] < folds):
        least = f"{rare.index[-1]!r} has {rare.iloc[-1]}" if not data.regress else "there are fewer"
        raise UsageError(f"each class needs --folds {folds} rows or more, {least}: choose less")
    kind = KFold if data.regress else StratifiedKFold
    return list(kind(folds, shuffle=True, random_state=seed % 2**32).split(data.x, data.y))


def cross_validated(
    model: Any, data: Table, folds: Sequence[tuple[Array, Array]]
) -> tuple[Array, Array]:
    """The score on each fold, and for each row the prediction of the model that never saw it."""
    import warnings

    from sklearn.base import clone
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import accuracy_score, r2_score
    from sklearn.pipeline import make_pipeline

    score, predicted, scores = r2_score if data.regress else accuracy_score, data.y.to_numpy(), []
    predicted = predicted.copy()
    for train, test in counted(folds, len(folds), "fold"):
        whole = make_pipeline(encoder(data.x), clone(model))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # epochs are as many as we wanted
            whole.fit(data.x.iloc[train], data.y.iloc[train])
        predicted[test] = whole.predict(data.x.iloc[test])
        scores.append(score(data.y.iloc[test], predicted[test]))
    return np.array(scores), predicted


def draw(path: Path, data: Table, predicted: Array) -> None:
    """The confusion, or predicted against true numbers, of rows that were held out."""
    from fnnet.plots import plot_confusion, plot_regression

    if data.regress:
        save_figure(plot_regression(predicted, data.y.to_numpy()), path)
        return
    classes, codes = np.unique(data.y.to_numpy(str), return_inverse=True)
    counts = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts, (codes, np.searchsorted(classes, predicted.astype(str))), 1)
    save_figure(plot_confusion(counts, classes.tolist()), path)


def save(path: Path, data: Table, model: Any, target: str | None) -> None:
    """Train on all rows, and keep what predicts other ones."""
    encoding = encoder(data.x)
    model.fit(encoding.fit_transform(data.x), data.y)
    network, known = getattr(model, "regressor_", model), learned(encoding)
    if data.regress:
        known |= {"y_mean": model.transformer_.mean_, "y_scale": model.transformer_.scale_}
    else:
        known["classes"] = network.classes_.tolist()
    extra = {**known, "table": target or ""}
    checkpoint = fnnet.Checkpoint(network.state_, network.rng_, network.n_iter_, extra=extra)
    fnnet.save_checkpoint(path, checkpoint)


def predictions(path: Path, rows: Path) -> Iterator[str]:
    """Lines of a CSV file: what the network of a checkpoint predicts for the rows of another."""
    checkpoint, frame = fnnet.load_checkpoint(path), read(rows)
    known = dict(checkpoint.extra)
    if "table" not in known:
        raise UsageError(f"{path} is no checkpoint of a table: write one with --out")
    wanted = [*known["numbers"], *known["words"]]
    if missing := [repr(name) for name in wanted if name not in frame]:
        raise UsageError(f"{rows} lacks columns that the network needs: {', '.join(missing)}")
    if new := [repr(n) for n in frame if n not in wanted and n != known["table"]]:
        print(f"left out, since the network does not use them: {', '.join(new)}", file=sys.stderr)
    params, x = checkpoint.state.params, encoded(frame, known)
    if "classes" not in known:
        yield "prediction"
        yield from map(
            repr, (fnnet.predict(params, x)[:, 0] * known["y_scale"] + known["y_mean"]).tolist()
        )
        return
    yield "prediction,probability"
    p = fnnet.predict_proba(params, x)
    for row, code in zip(p, p.argmax(axis=1), strict=True):
        yield f"{quoted(known['classes'][code])},{row[code]:.4f}"


def quoted(text: str) -> str:
    """A field of a CSV file."""
    plain = not set(text) & {",", '"', "\n", "\r"}
    return text if plain else '"' + text.replace('"', '""') + '"'


def run(settings: argparse.Namespace) -> None:
    if settings.predict:
        if settings.data.suffix != ".npz":
            raise UsageError("--predict needs DATA to be a checkpoint that --out saved, NAME.npz")
        for line in predictions(settings.data, settings.predict):
            print(line)
        return
    for path in (settings.out, settings.figure):
        if path:
            (check_figure if path == settings.figure else check_output)(path)
    if str(settings.data) in SHIPPED:
        if settings.target or settings.regress or settings.drop:
            raise UsageError("--target, --drop and --regress belong to a CSV file")
        data = shipped(str(settings.data))
    else:
        data = table_of(settings.data, settings.target, settings.drop, settings.regress)
    data = Table(usable(data.x), data.y, data.regress)
    folds, rows = folds_of(data, settings.folds, settings.seed), []
    compared = models(settings, len(data.y), data.regress)
    print(f"{len(data.y)} rows, {data.x.shape[1]} columns, {settings.folds} folds")
    for name, model in compared.items():
        scores, predicted = cross_validated(model, data, folds)
        error = scores.std(ddof=1) / math.sqrt(len(scores))
        rows.append([name, f"{scores.mean():.4f}", f"{error:.4f}"])
        if name == "fnnet" and settings.figure:
            draw(settings.figure, data, predicted)
    print(table(["model", "R²" if data.regress else "accuracy", "standard error"], rows))
    if settings.out:
        save(settings.out, data, compared["fnnet"], settings.target)
        print(f"saved {settings.out}: python scripts/tables.py {settings.out} --predict FILE.csv")


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("data", type=Path, nargs="?", default=Path("breast-cancer"), metavar="DATA")
    add = parser.group("table")
    add("--target", metavar="COLUMN", help="what to predict")
    add("--regress", action="store_true", help="the target is a number, not a class")
    add("--drop", nargs="+", default=[], metavar="COLUMN", help="columns to leave out")
    add = parser.group("network")
    add("--hidden", **COUNT, nargs="+", default=[64], help="widths; default: 64")
    add("--epochs", **COUNT, default=50, help="default: 50")
    add("--batch-size", **COUNT, default=32, help="default: 32")
    rate = "of Adam; default: 0.003"
    add("--learning-rate", type=not_negative(), default=3e-3, metavar="X", help=rate)
    add("--alpha", type=not_negative(), default=1e-2, metavar="X", help="L2 penalty; default: 0.01")
    add = parser.group("cross-validation")
    add("--folds", type=at_least(2), default=5, metavar="N", help="default: 5")
    add("--seed", type=seed, default=0, metavar="N", help="default: 0")
    add = parser.group("files")
    add("--out", type=Path, metavar="FILE.npz", help="save the network, trained on all rows")
    add("--predict", type=Path, metavar="FILE.csv", help="rows to predict with a saved network")
    add("--figure", type=png, metavar="FILE.png", help="confusion, or predicted against true")
    settings = parser.parse_args(argv)
    return exit_code("tables.py", lambda: run(settings), extra="pandas scikit-learn")


if __name__ == "__main__":
    sys.exit(main())
