"""Compare what the layer of the logits may start with: validation accuracy over five data sets.

    python scripts/measure/first_weights.py --mnist PATH/TO/MNIST

Hidden layers start with He's variance, 2 / inputs. The layer of the logits starts with that of each
scheme in turn, the same normal numbers scaled: everything else is equal. The small tables are split
into five folds, ten seeds each; MNIST has 10,000 training images held out and three seeds. No test
set is read. Needs scikit-learn.
"""

from __future__ import annotations

if __name__ == "__main__":
    import fnnet_scripts.quiet  # noqa: F401

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
from fnnet_scripts.options import Parser, at_least, counted, exit_code, folder

import fnnet
from fnnet import Params, Split

SCALES: dict[str, Callable[[int, int], float]] = {
    "he": lambda inputs, outputs: 2 / inputs,
    "glorot": lambda inputs, outputs: 2 / (inputs + outputs),
    "lecun": lambda inputs, outputs: 1 / inputs,
    "small (0.01 of He's)": lambda inputs, outputs: 0.02 / inputs,
    "zero": lambda inputs, outputs: 0.0,
}
TABLES = ("iris", "wine", "breast_cancer", "digits")


def start(seed: int, sizes: tuple[int, ...], scheme: str) -> Params:
    """A network whose last layer starts with the variance of a scheme."""
    params = fnnet.init_params(seed, sizes, scheme="he")
    *hidden, last = params.layers
    inputs, outputs = last.w.shape
    scale = np.float32(np.sqrt(SCALES[scheme](inputs, outputs) * inputs / 2))
    return Params((*hidden, fnnet.Layer(last.w * scale, last.b)))


def fits(
    train: Split, held_out: Split, scheme: str, seeds: int, hidden: int, epochs: int
) -> list[float]:
    """Accuracy on what is held out, of so many seeds trained side by side."""
    classes = int(train.y.max()) + 1
    sizes = (int(np.prod(train.x.shape[1:])), hidden, classes)
    members = [start(seed, sizes, scheme) for seed in range(seeds)]
    together = fnnet.tree_map(lambda *leaves: np.stack(leaves), *members)
    records = fnnet.train(fnnet.rmsprop_init(together), train, rng=0, epochs=epochs)
    *_, last = counted(records, epochs, "epoch")
    return [one.accuracy for one in fnnet.evaluate(last.state.params, held_out).members]


def folds(name: str) -> Iterator[tuple[Split, Split]]:
    """Five stratified folds of a table of scikit-learn's, standardised on their training part."""
    from sklearn import datasets
    from sklearn.model_selection import StratifiedKFold

    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(x, y):
        mean, std = x[train].mean(0), x[train].std(0) + 1e-9
        scaled = ((x - mean) / std).astype(np.float32)
        yield Split(scaled[train], y[train]), Split(scaled[test], y[test])


def run(settings: argparse.Namespace) -> None:
    """Print a table: schemes down, data sets across, mean accuracy and its standard error in %."""
    mnist = None
    if settings.mnist:
        data = fnnet.load_mnist(settings.mnist, download=False)
        mnist = fnnet.hold_out(0, data.train, 10_000)
    print("scheme", *TABLES, *(["mnist"] if mnist else []), sep=" | ")
    for scheme in SCALES:
        found = [
            [a for pair in folds(name) for a in fits(*pair, scheme, 10, 32, settings.epochs)]
            for name in TABLES
        ]
        if mnist:
            found.append(fits(*mnist, scheme, 3, 128, 10))
        print(scheme, *(cell(100 * np.array(accuracies)) for accuracies in found), sep=" | ")


def cell(accuracies: npt.NDArray[np.float64]) -> str:
    error = accuracies.std(ddof=1) / np.sqrt(len(accuracies))
    return f"{accuracies.mean():.2f} ± {error:.2f}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("--mnist", type=folder, metavar="DIR", help="MNIST's files; default: no MNIST")
    add("--epochs", type=at_least(1), default=60, metavar="N", help="of the tables; default: 60")
    return exit_code("first_weights.py", partial(run, parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
