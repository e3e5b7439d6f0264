"""Search over networks with scikit-learn's GridSearchCV, which takes fnnet's for its own.

    python scripts/loops/estimator.py

The estimators, in 200 lines, are `NetworkClassifier` and `NetworkRegressor` in
`fnnet_scripts.estimators`; scikit-learn's check_estimator passes for both. The search is over
widths and penalties on the embedded digits, two processes at a time. Needs scikit-learn:
pip install scikit-learn.
"""

from __future__ import annotations

if __name__ == "__main__":
    import fnnet_scripts.quiet  # noqa: F401

import argparse
import sys
from collections.abc import Sequence

from fnnet_scripts.options import Parser, at_least, exit_code, seed

import fnnet


def run(settings: argparse.Namespace) -> None:
    from fnnet_scripts.estimators import NetworkClassifier
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    data = fnnet.load_digits()
    x, test = fnnet.as_inputs(data.train), fnnet.as_inputs(data.test)
    network = NetworkClassifier(max_iter=settings.epochs, random_state=settings.seed)
    model = Pipeline([("scale", StandardScaler()), ("network", network)])
    grid = {"network__hidden_layer_sizes": [(16,), (64,)], "network__alpha": [1e-4, 1.0]}
    print("four networks on three folds each, then the best on all:", flush=True)
    search = GridSearchCV(model, grid, cv=3, n_jobs=settings.jobs).fit(x, data.train.y)
    found = search.cv_results_
    for point, score in zip(found["params"], found["mean_test_score"], strict=True):
        named = ", ".join(f"{name.partition('__')[2]} {value}" for name, value in point.items())
        print(f"{named}: accuracy {score:.2%} in cross-validation")
    print(f"the best of them on the test set: {search.score(test, data.test.y):.2%}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("--epochs", type=at_least(1), default=30, metavar="N", help="at most; default: 30")
    add("--jobs", type=at_least(1), default=2, metavar="N", help="processes at a time; default: 2")
    add("--seed", type=seed, default=0, metavar="N", help="default: 0")
    settings = parser.parse_args(argv)
    return exit_code("estimator.py", lambda: run(settings))


if __name__ == "__main__":
    sys.exit(main())
