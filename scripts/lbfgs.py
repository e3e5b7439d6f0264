"""Train on the embedded digits by full-batch L-BFGS: SciPy on the flat vector of `tree_ravel`.

The objective is that of scikit-learn's MLPClassifier, whose answer --compare shows beside ours.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize

import fnnet
from fnnet.network import Labels
from fnnet.trees import FloatArray


def train(
    params: fnnet.Params, x: FloatArray, y: Labels, penalty: float, iterations: int
) -> tuple[fnnet.Params, Any]:
    """Parameters at the end of L-BFGS, and SciPy's report.

    Minimises loss + penalty / 2N * (sum of squared weights, biases left out) in float64.
    """
    start, unravel = fnnet.tree_ravel(params)
    is_weight, _ = fnnet.tree_ravel(
        fnnet.tree_map(lambda leaf: np.full_like(leaf, leaf.ndim > 1), params)
    )
    scale = penalty / len(x)

    def objective(vector: FloatArray) -> tuple[float, FloatArray]:
        loss, gradient = fnnet.loss_and_grads(unravel(vector), x, y)
        weights = is_weight * vector
        value = loss + float(scale / 2 * weights @ weights)
        return value, fnnet.tree_ravel(gradient)[0] + scale * weights

    options = {"maxiter": iterations, "maxfun": 10 * iterations, "gtol": 1e-8}
    report = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    return unravel(report.x), report


def train_sklearn(
    params: fnnet.Params, x: FloatArray, y: Labels, penalty: float, iterations: int
) -> Any:
    """scikit-learn's classifier, fitted from the same start under the same penalty."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    hidden = [layer.w.shape[1] for layer in params.layers[:-1]]
    model = MLPClassifier(
        hidden, solver="lbfgs", alpha=penalty, max_iter=1, tol=1e-8, warm_start=True
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x, y)  # makes the arrays that the warm start then replaces
        model.coefs_ = [layer.w.copy() for layer in params.layers]
        model.intercepts_ = [layer.b.copy() for layer in params.layers]
        model.set_params(max_iter=iterations, max_fun=10 * iterations).fit(x, y)
    return model


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", type=int, nargs="*", default=[32], metavar="N")
    parser.add_argument("--penalty", type=float, default=1e-4, metavar="X", help="default: 1e-4")
    parser.add_argument("--iterations", type=int, default=10_000, metavar="N", help="at most")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--compare", action="store_true", help="train scikit-learn's, too")
    args = parser.parse_args(argv)
    data = fnnet.load_digits()
    x, y = fnnet.as_inputs(data.train.x, np.float64), data.train.y
    start = fnnet.init_params(args.seed, (64, *args.hidden, 10), np.float64)
    params, report = train(start, x, y, args.penalty, args.iterations)
    accuracy = fnnet.evaluate(params, data.test).accuracy
    print(
        f"fnnet: objective {report.fun:.9f}, {report.nit} iterations, test accuracy {accuracy:.2%}"
    )
    if args.compare:
        model = train_sklearn(start, x, y, args.penalty, args.iterations)
        accuracy = model.score(fnnet.as_inputs(data.test.x, np.float64), data.test.y)
        print(
            f"scikit-learn: objective {model.loss_:.9f}, {model.n_iter_} iterations, "
            f"test accuracy {accuracy:.2%}"
        )


if __name__ == "__main__":
    main()
