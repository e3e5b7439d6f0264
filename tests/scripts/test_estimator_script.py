"""The estimators of scripts/loops/estimator.py: what scikit-learn asks of its own."""

from __future__ import annotations

import pickle
import re
import warnings
from typing import Any

import numpy as np
import pytest

from tests.scripts.shared import load

pytest.importorskip("sklearn", reason="the estimators need scikit-learn")

from fnnet_scripts.estimators import NetworkClassifier, NetworkRegressor
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale
from sklearn.utils.estimator_checks import check_estimator

BOTH = pytest.mark.parametrize("kind", [NetworkClassifier, NetworkRegressor])
# As scikit-learn expects of its SGDClassifier, and for the same reason.
EXPECTED = {
    "check_sample_weight_equivalence_on_dense_data": "a sample that is repeated falls into several "
    "batches, one that is weighted into one"
}


@BOTH
def test_check_estimator_passes(kind: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the checks that are skipped
        results = check_estimator(kind(), expected_failed_checks=EXPECTED, on_fail="raise")
    statuses = [result["status"] for result in results]
    assert statuses.count("passed") > 50
    assert statuses.count("xfail") == len(EXPECTED)


@BOTH
def test_in_one_batch_a_weight_is_as_good_as_repeated_rows(kind: Any) -> None:
    rng = np.random.default_rng(0)
    x, y, times = rng.standard_normal((30, 4)), rng.integers(0, 3, 30), rng.integers(0, 4, 30)
    settings = {"batch_size": 10_000, "alpha": 0, "max_iter": 50, "random_state": 0}
    weighted = kind(**settings).fit(x, y, sample_weight=times)
    repeated = kind(**settings).fit(x.repeat(times, 0), y.repeat(times))
    for a, b in zip(weighted.state_.params.layers, repeated.state_.params.layers, strict=True):
        np.testing.assert_allclose(a.w, b.w, rtol=1e-7, atol=1e-9)


def test_it_learns_what_is_called_by_words() -> None:
    data = load_iris()
    names = data.target_names[data.target]
    model = make_pipeline(StandardScaler(), NetworkClassifier(batch_size=16, random_state=0))
    assert set(model.fit(data.data, names).predict(data.data)) == {*data.target_names}
    assert model.score(data.data, names) > 0.96
    p = model.predict_proba(data.data)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    np.testing.assert_array_equal(model.classes_[p.argmax(1)], model.predict(data.data))


def test_of_two_classes_the_decision_is_one_number_and_the_logit_of_the_second() -> None:
    x, y = load_breast_cancer(return_X_y=True)
    model = NetworkClassifier(max_iter=20, random_state=0).fit(scale(x), y)
    z, p = model.decision_function(scale(x)), model.predict_proba(scale(x))
    assert z.shape == (len(x),)
    np.testing.assert_allclose(1 / (1 + np.exp(-z)), p[:, 1], atol=1e-12)
    np.testing.assert_array_equal(z > 0, model.predict(scale(x)) == 1)


def test_numbers_of_one_column_and_of_several_are_predicted_in_their_shape() -> None:
    x, y = load_diabetes(return_X_y=True)
    both = np.stack([y, -y], axis=1)
    settings: dict[str, Any] = {"max_iter": 30, "random_state": 0}
    assert NetworkRegressor(**settings).fit(x, y).predict(x).shape == y.shape
    assert NetworkRegressor(**settings).fit(x, both).predict(x).shape == both.shape


def test_the_penalty_is_scikit_learn_s() -> None:
    x, y = load_diabetes(return_X_y=True)
    x, y = scale(x), scale(y)
    settings: dict[str, Any] = {"hidden_layer_sizes": (), "alpha": 200.0, "batch_size": len(x)}
    settings |= {"learning_rate_init": 0.01, "max_iter": 1000, "tol": 0, "n_iter_no_change": 1000}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = MLPRegressor(**settings).fit(x, y)
    ours = NetworkRegressor(**settings).fit(x, y)
    assert ours.loss_curve_[-1] == pytest.approx(theirs.loss_, rel=1e-6)  # the only minimum
    np.testing.assert_allclose(ours.state_.params.layers[0].w, theirs.coefs_[0], atol=1e-3)


@BOTH
def test_a_seed_gives_one_result_and_leaves_numpy_s_own_state_alone(kind: Any) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 3)), rng.integers(0, 2, 50)
    before: Any = np.random.get_state()  # noqa: NPY002  # that it stays is the point
    a, b = (kind(max_iter=5, random_state=7).fit(x, y) for _ in range(2))
    after: Any = np.random.get_state()  # noqa: NPY002
    np.testing.assert_array_equal(after[1], before[1])
    np.testing.assert_array_equal(a.predict(x), b.predict(x))
    c = pickle.loads(pickle.dumps(a))
    np.testing.assert_array_equal(a.predict(x), c.predict(x))
    assert clone(a).get_params() == a.get_params()
    with pytest.raises(NotFittedError):
        clone(a).predict(x)


@BOTH
def test_partial_fit_goes_on_where_it_was(kind: Any) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((90, 3)), rng.integers(0, 3, 90)
    first = {"classes": [0, 1, 2]} if kind is NetworkClassifier else {}
    model = kind(random_state=0).partial_fit(x[:50], y[:50], **first)
    for _ in range(3):
        model.partial_fit(x, y, sample_weight=np.ones(90))
    assert model.state_.step == 4
    whole = kind(random_state=0, max_iter=4).fit(x, y)
    assert whole.state_.step == 4


def test_a_class_that_the_first_call_did_not_have_is_named() -> None:
    model = NetworkClassifier().partial_fit(np.eye(2), [0, 1], classes=[0, 1])
    with pytest.raises(ValueError, match="y must hold classes of the first call, got 2"):
        model.partial_fit(np.eye(2), [0, 2])


def test_float32_stays_float32() -> None:
    x = np.eye(4, dtype=np.float32)
    assert NetworkClassifier(max_iter=2).fit(x, [0, 1, 0, 1]).predict_proba(x).dtype == np.float32


@BOTH
def test_early_stopping_keeps_the_best_state(kind: Any) -> None:
    rng = np.random.default_rng(0)
    x, y = (
        rng.standard_normal((120, 20)),
        rng.integers(0, 2, 120),
    )  # noise: there is nothing to learn
    settings = {"early_stopping": True, "learning_rate_init": 0.01, "random_state": 0}
    model = kind(max_iter=300, **settings).fit(x, y)
    assert model.n_iter_ < 300
    best = int(np.argmin(model.loss_curve_)) + 1
    again = kind(max_iter=best, **settings).fit(x, y)
    np.testing.assert_array_equal(model.predict(x), again.predict(x))


def test_numbers_without_bound_are_told_with_the_remedy() -> None:
    x, y = 1e200 * np.ones((5, 2)), np.arange(5)
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="standardise X, or lower"):
        NetworkRegressor(max_iter=5).fit(x, y)


def test_cross_validation_and_a_search_on_two_processes_take_it() -> None:
    x, y = load_iris(return_X_y=True)
    model = make_pipeline(StandardScaler(), NetworkClassifier(batch_size=16, random_state=0))
    assert cross_val_score(model, x, y, cv=3).mean() > 0.9
    grid = {"networkclassifier__hidden_layer_sizes": [(4,), (32,)]}
    search = GridSearchCV(model, grid, cv=3, n_jobs=2).fit(x, y)
    assert search.best_score_ > 0.9


def test_the_script_prints_its_search(capsys: pytest.CaptureFixture[str]) -> None:
    assert load("estimator").main(["--epochs", "3", "--jobs", "1"]) == 0
    out = capsys.readouterr().out
    assert len(re.findall(r"(?m)^hidden_layer_sizes .*: accuracy \S+%", out)) == 0
    assert len(re.findall(r"(?m)^alpha \S+, hidden_layer_sizes \S+: accuracy \S+%", out)) == 4
