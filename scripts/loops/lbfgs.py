"""Train on the embedded digits by full-batch L-BFGS: SciPy on the flat vector of `tree_ravel`.

    python scripts/loops/lbfgs.py --compare
    python scripts/loops/lbfgs.py --hidden 32 --penalty 200 --compare

The objective is that of scikit-learn's MLPClassifier, whose answers --compare shows beside ours:
from the same start, and from where ours ended. Without hidden layers, the default, the objective is
convex and both end in its only minimum. With them minima are many, and which one is reached is a
matter of rounding, unless a large penalty leaves but one.
"""

from __future__ import annotations

if __name__ == "__main__":
    import fnnet_scripts.quiet  # noqa: F401

import argparse
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from fnnet_scripts.options import Parser, at_least, exit_code, not_negative, seed, terminal_bar

import fnnet
from fnnet.checks import FloatArray
from fnnet.labels import Labels


def train(
    params: fnnet.Params, x: FloatArray, y: Labels, penalty: float, iterations: int
) -> tuple[fnnet.Params, Any]:
    """Parameters at the end of L-BFGS, and SciPy's report.

    Minimises loss + penalty / 2N * (sum of squared weights, biases left out) in float64.
    """
    from scipy.optimize import minimize

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

    # By SciPy's own rule, as scikit-learn's, it would stop up to 1e-6 above the minimum.
    options = {"maxiter": iterations, "maxfun": 10 * iterations, "gtol": 1e-8, "ftol": 1e-12}
    with terminal_bar(None, unit="iteration") as bar:

        def show(*point: FloatArray) -> None:
            if bar is not None:
                bar.update()

        how: dict[str, Any] = {"method": "L-BFGS-B", "options": options, "callback": show}
        report = minimize(objective, start, jac=True, **how)
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


def run(args: argparse.Namespace) -> None:
    data = fnnet.load_digits()
    x, y = fnnet.as_inputs(data.train.x, np.float64), data.train.y
    start = fnnet.init_params(args.seed, (64, *args.hidden, 10), np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        params, report = train(start, x, y, args.penalty, args.iterations)
    if not np.isfinite(report.fun):
        raise ArithmeticError(f"the objective was {report.fun}, expected a smaller --penalty")
    accuracy = fnnet.evaluate(params, data.test).accuracy
    print(
        f"fnnet: objective {report.fun:.9f}, {report.nit} iterations, test accuracy "
        f"{accuracy:.2%}, largest derivative {np.abs(report.jac).max():.0e}",
        flush=True,
    )
    for what, first in (("the same start", start), ("fnnet's end", params)) * args.compare:
        model = train_sklearn(first, x, y, args.penalty, args.iterations)
        accuracy = model.score(fnnet.as_inputs(data.test.x, np.float64), data.test.y)
        print(
            f"scikit-learn from {what}: objective {model.loss_:.9f}, {model.n_iter_} iterations, "
            f"test accuracy {accuracy:.2%}, differs by {abs(model.loss_ - report.fun):.0e}",
            flush=True,
        )


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(description=__doc__)
    add = parser.group("network")
    add("--hidden", type=at_least(1), nargs="*", default=[], metavar="N", help="default: none")
    add("--penalty", type=not_negative(), default=1e-4, metavar="X", help="default: 1e-4")
    add = parser.group("run")
    add("--iterations", type=at_least(1), default=10_000, metavar="N", help="at most; 10000")
    add("--seed", type=seed, default=0, metavar="N", help="default: 0")
    add("--compare", action="store_true", help="train scikit-learn's, too")
    args = parser.parse_args(argv)
    return exit_code("lbfgs.py", lambda: run(args))


if __name__ == "__main__":
    sys.exit(main())
