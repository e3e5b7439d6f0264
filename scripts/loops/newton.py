"""Train on the embedded digits by Newton's method, with exact products of the Hessian, in SciPy.

    python scripts/loops/newton.py --penalty 1
    python scripts/loops/newton.py --spectrum

Without --spectrum it compares SciPy's L-BFGS, Newton-CG and trust-ncg, and RMSProp and Adam in
minibatches, by passes over the data: an evaluation with its gradient is one pass, and so is a
product with the Hessian, although the latter takes about twice the time. Start and objective are
those of lbfgs.py. "Whitened", a solver works in other variables, in which the inputs of each layer
are uncorrelated at the start, as K-FAC would have them; that costs one pass.

With --spectrum it trains a network by plain gradient descent and shows the largest
eigenvalues of the Hessian on the way: they rise until the largest is 2 / learning rate, where
gradient descent stops being stable, and stay there (Cohen, Kaur, Li, Kolter and Talwalkar 2021,
"the edge of stability"). Needs SciPy: pip install scipy.
"""

from __future__ import annotations

if __name__ == "__main__":
    import fnnet_scripts.quiet  # noqa: F401

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fnnet_scripts.options import (
    COUNT,
    Parser,
    check_figure,
    counted,
    exit_code,
    not_negative,
    png,
    save_figure,
    seed,
)
from fnnet_scripts.wording import table

import fnnet
from fnnet.activations import ACTIVATIONS
from fnnet.checks import FloatArray
from fnnet.curvature import gauss_newton_vector, hessian_vector, layer_inputs
from fnnet.labels import Labels

Vector = npt.NDArray[np.float64]
Curve = list[tuple[int, float]]  # passes made, and the least objective by then

CLOSE = 1e-6  # of the least objective: where an optimizer counts as arrived
SOLVERS: dict[str, dict[str, Any]] = {
    "L-BFGS-B": {"maxfun": 10**6, "gtol": 1e-8, "ftol": 1e-14, "maxcor": 10},
    "Newton-CG": {"xtol": 1e-9},
    "trust-ncg": {"gtol": 1e-9, "initial_trust_radius": 10.0, "max_trust_radius": 1e4},
}
STEPS: dict[str, Callable[..., Any]] = {"RMSProp": fnnet.rmsprop_init, "Adam": fnnet.adam_init}
SAMPLES = 500  # that gradient descent sees: its steps are many, and each takes all of them
LOWEST = 1e-11  # above the least objective, where the axis ends
DAMPING = 0.01  # of the second moments of inputs
MOST_EPOCHS = 300
EVERY = 25  # steps between two spectra


@dataclass(slots=True)
class Objective:
    """loss + penalty / 2N * (sum of squared weights), of a vector; it counts its passes.

    Attributes
    ----------
    unravel : from a vector of parameters to parameters
    is_weight : 1 where the vector holds a weight, 0 where it holds a bias
    x, y, penalty, product : data, and what multiplies with the Hessian
    factors : F of each layer, whose parameters (weights, biases below) are F u; none for u itself
    passes, curve : made so far
    """

    unravel: Callable[[Vector], fnnet.Params]
    is_weight: Vector
    x: FloatArray
    y: Labels
    penalty: float
    product: Callable[..., fnnet.Params] = hessian_vector
    factors: Sequence[Vector] = ()
    passes: int = 0
    curve: Curve = field(default_factory=list)

    def value_and_gradient(self, u: Vector) -> tuple[float, Vector]:
        w = self.parameters(u)
        loss, gradient = fnnet.loss_and_grads(self.unravel(w), self.x, self.y)
        pull = self.penalty / len(self.x) * self.is_weight * w
        value = loss + float(pull @ w) / 2
        self.passes += 1
        least = min(value, self.curve[-1][1]) if self.curve else value
        self.curve.append((self.passes, least))
        return value, self.parameters(flat(gradient) + pull, transposed=True)

    def hessian_product(self, u: Vector, direction: Vector) -> Vector:
        self.passes += 1
        w, v = self.parameters(u), self.parameters(direction)
        product = self.product(self.unravel(w), self.x, self.y, self.unravel(v))
        pull = self.penalty / len(self.x) * self.is_weight * v
        return self.parameters(flat(product) + pull, transposed=True)

    def parameters(self, u: Vector, transposed: bool = False) -> Vector:
        """F u, or Fᵀ u."""
        if not self.factors:
            return u
        parts, start = [], 0
        for layer, factor in zip(self.unravel(u).layers, self.factors, strict=True):
            stop = start + layer.w.size + layer.b.size
            part = u[start:stop].reshape(len(factor), -1)
            parts.append(((factor.T if transposed else factor) @ part).ravel())
            start = stop
        return np.concatenate(parts)


def flat(tree: fnnet.Params) -> Vector:
    return np.asarray(fnnet.tree_ravel(tree)[0], np.float64)


def objective_of(
    params: fnnet.Params, x: FloatArray, y: Labels, penalty: float, gauss_newton: bool = False
) -> Objective:
    marks = fnnet.tree_map(lambda leaf: np.full_like(leaf, leaf.ndim > 1), params)
    product = gauss_newton_vector if gauss_newton else hessian_vector
    return Objective(fnnet.tree_ravel(params)[1], flat(marks), x, y, penalty, product)


def whitened(objective: Objective, params: fnnet.Params) -> tuple[Objective, Vector]:
    """The objective in variables in which inputs are uncorrelated, and the start in them.

    With A = mean of h hᵀ over the samples, h the inputs of a layer and a one for its biases, and
    the Cholesky factor A + DAMPING = L Lᵀ, parameters are L⁻ᵀ u.
    """
    inputs, _ = layer_inputs(params, objective.x)
    factors, start = [], []
    for h, layer in zip(inputs, params.layers, strict=True):
        with_ones = np.hstack([h, np.ones((len(h), 1))])
        moment = with_ones.T @ with_ones / len(h)
        root = np.linalg.cholesky(moment + DAMPING * np.eye(len(moment)))
        factors.append(np.linalg.inv(root).T)
        start.append((root.T @ np.vstack([layer.w, layer.b])).ravel())
    return replace(objective, factors=factors, passes=1), np.concatenate(start)


def solve(solver: str, start: Vector, objective: Objective, iterations: int) -> tuple[Vector, Any]:
    """Parameters as a vector at the end of one of SciPy's solvers, and its report."""
    from scipy.optimize import minimize

    hessian: dict[str, Any] = {}
    if solver != "L-BFGS-B":
        hessian["hessp"] = objective.hessian_product
    options = {**SOLVERS[solver], "maxiter": iterations}
    f = objective.value_and_gradient
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of steps that the line search refuses
        report = minimize(f, start, jac=True, method=solver, options=options, **hessian)
    return objective.parameters(report.x), report


def descend(
    name: str, params: fnnet.Params, objective: Objective, rate: float, epochs: int
) -> Curve:
    """Minibatches of 32: an epoch is one pass; the evaluations after it do not count."""
    x, y, curve = objective.x, objective.y, [(0, objective.value_and_gradient(flat(params))[0])]
    split, rng = fnnet.Split(x, y), np.random.default_rng(0)
    strength = objective.penalty / len(x)

    def gradient(params: fnnet.Params, *batch: Any) -> tuple[float, fnnet.Params]:
        loss, grads = fnnet.loss_and_grads(params, *batch)
        penalty, pull = fnnet.l2_penalty(params, strength)
        return loss + penalty, fnnet.tree_map(np.add, grads, pull)

    state = STEPS[name](params, rate)
    for epoch in counted(range(1, epochs + 1), epochs, "epoch"):
        for batch in fnnet.batches(rng, split, 32, np.float64):
            state, _ = fnnet.train_step(state, *batch, gradient=gradient)
        curve.append((epoch, objective.value_and_gradient(flat(state.params))[0]))
    return curve


def arrival(curve: Curve, least: float) -> int | None:
    """Passes until the objective is close to the least one, None where it never is."""
    return next((passes for passes, value in curve if value <= least + CLOSE), None)


def compare(settings: argparse.Namespace) -> None:
    data = fnnet.load_digits()
    x, y = fnnet.as_inputs(data.train, np.float64), data.train.y
    start = fnnet.init_params(
        settings.seed, (64, *settings.hidden, 10), np.float64, activation=settings.activation
    )
    curves, accuracies = {}, {}
    ways = [(solver, white) for solver in SOLVERS for white in (False, True)]
    for solver, white in counted(ways, len(ways), "solver"):
        objective = objective_of(start, x, y, settings.penalty, settings.gauss_newton)
        u = flat(start)
        if white:
            objective, u = whitened(objective, start)
        w, _ = solve(solver, u, objective, settings.iterations)
        name = f"{solver}, whitened" if white else solver
        curves[name] = objective.curve
        accuracies[name] = fnnet.evaluate(objective.unravel(w), data.test).accuracy
    most = min(MOST_EPOCHS, max(curve[-1][0] for curve in curves.values()))
    for name in STEPS:
        objective = objective_of(start, x, y, settings.penalty)
        curves[name] = descend(name, start, objective, settings.learning_rate, most)
    least = min(value for curve in curves.values() for _, value in curve)
    if not np.isfinite(least):
        raise ArithmeticError(f"the objective was {least}, expected a smaller --penalty")
    rows = []
    for name, curve in curves.items():
        passes, lowest = arrival(curve, least), min(value for _, value in curve)
        accuracy = f"{accuracies[name]:.2%}" if name in accuracies else "–"
        arrived = "never" if passes is None else str(passes)
        rows.append([name, f"{lowest:.10f}", arrived, str(curve[-1][0]), accuracy])
    header = ["optimizer", "objective", f"passes to {CLOSE:g} above", "passes", "test accuracy"]
    print(table(header, rows))
    if settings.figure:
        draw_curves(settings.figure, curves, least)


def eigenvalues(
    params: fnnet.Params, x: FloatArray, y: Labels, count: int, start: Vector | None = None
) -> tuple[Vector, Vector]:
    """The largest eigenvalues of the Hessian of the loss, falling, and the largest one's vector."""
    from scipy.sparse.linalg import LinearOperator, eigsh

    vector, unravel = fnnet.tree_ravel(params)

    def product(v: Vector) -> Vector:
        return flat(hessian_vector(params, x, y, unravel(np.ravel(v))))

    hessian = LinearOperator((vector.size, vector.size), matvec=product, dtype=np.float64)
    first = np.random.default_rng(0).standard_normal(vector.size) if start is None else start
    values, vectors = eigsh(hessian, k=count, which="LA", v0=first, tol=1e-4)
    order = np.argsort(-values)
    return values[order], vectors[:, order[0]]


def spectra(rate: float, steps: int, hidden: Sequence[int], seed: int) -> Iterator[tuple[Any, ...]]:
    """Step, loss and the three largest eigenvalues along a run of gradient descent."""
    split = fnnet.load_digits().train[:SAMPLES]
    x, y = fnnet.as_inputs(split, np.float64), np.eye(10)[split.y]
    x -= x.mean(axis=0)
    params = fnnet.init_params(
        seed, (64, *hidden, 10), np.float64, activation="tanh", output="identity"
    )
    state, vector = fnnet.sgd_init(params, rate), None
    for step in range(steps + 1):
        loss, grads = fnnet.loss_and_grads(state.params, x, y)
        if not np.isfinite(loss):
            raise ArithmeticError(f"the loss was {loss} at step {step}: lower --learning-rate")
        if step % EVERY == 0:
            largest, vector = eigenvalues(state.params, x, y, 3, vector)
            yield (step, loss, *largest)
        state = fnnet.sgd_update(state, grads)


def spectrum(settings: argparse.Namespace) -> None:
    rate = settings.learning_rate
    hidden = settings.hidden or [32, 32]
    rows = []
    with np.errstate(over="ignore", invalid="ignore"):
        for row in spectra(rate, settings.iterations, hidden, settings.seed):
            rows.append(row)
            if row[0] % (8 * EVERY) == 0:
                values = ", ".join(f"{value:.3f}" for value in row[2:])
                print(f"step {row[0]}: loss {row[1]:.5f}, largest eigenvalues {values}", flush=True)
    print(f"2 / learning rate is {2 / rate:.3f}")
    if settings.figure:
        draw_spectra(settings.figure, np.array(rows), rate)


def draw_curves(path: Path, curves: dict[str, Curve], least: float) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.8, 3.6), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    colours = {"L-BFGS-B": "#0072B2", "Newton-CG": "#C25400", "trust-ncg": "#009E73"}
    colours |= {"RMSProp": "#999999", "Adam": "#333333"}
    for name, curve in curves.items():
        passes, values = np.array(curve).T
        solver, _, white = name.partition(", ")
        above = np.maximum(values - least, LOWEST)
        style = {"color": colours[solver], "ls": "--" if white else "-"}
        axes.loglog(np.maximum(passes, 1), above, label=name, lw=1.5, **style)
    axes.set(xlabel="passes over the data", ylabel="objective above the least", ylim=(LOWEST, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    save_figure(figure, path)


def draw_spectra(path: Path, rows: FloatArray, rate: float) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), dpi=150, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    steps, loss, *largest = rows.T
    for values, colour in zip(largest, ("#0072B2", "#6BAED6", "#BDD7EE"), strict=True):
        above.plot(steps, values, color=colour, lw=1.5)
    above.axhline(2 / rate, color="#C25400", lw=1, ls="--")
    above.set_title(
        "the three largest eigenvalues; dashed: 2 / learning rate", loc="left", fontsize=9
    )
    below.semilogy(steps, loss, color="#333333", lw=1.2)
    below.set(xlabel="steps of gradient descent", ylabel="loss")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)


def run(settings: argparse.Namespace) -> None:
    if settings.figure:
        check_figure(settings.figure)
    (spectrum if settings.spectrum else compare)(settings)


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("--spectrum", action="store_true", help="eigenvalues of the Hessian; see above")
    add = parser.group("network")
    add("--hidden", **COUNT, nargs="*", default=[], help="default: none; with --spectrum 32 32")
    names = "not with --spectrum; default: relu"
    add("--activation", choices=ACTIVATIONS, default="relu", metavar="NAME", help=names)
    add("--penalty", type=not_negative(), default=1e-4, metavar="X", help="default: 1e-4")
    add = parser.group("optimizer")
    add("--iterations", **COUNT, help="at most; default: 10000; with --spectrum 3000")
    rates = "default: 0.003; with --spectrum 0.24"
    add("--learning-rate", type=not_negative(), metavar="X", help=rates)
    add("--gauss-newton", action="store_true", help="that matrix instead of the Hessian")
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="default: 0")
    parser.add_argument("--figure", type=png, metavar="FILE.png", help="draw the result")
    settings = parser.parse_args(argv)
    if settings.learning_rate is None:
        settings.learning_rate = 0.24 if settings.spectrum else 0.003
    if settings.iterations is None:
        settings.iterations = 3000 if settings.spectrum else 10_000
    if settings.spectrum and settings.learning_rate == 0:
        parser.error("--learning-rate must be above 0")
    return exit_code("newton.py", lambda: run(settings))


if __name__ == "__main__":
    sys.exit(main())
