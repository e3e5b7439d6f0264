"""What should the layer of the logits start with? Validation accuracy over five data sets.

Example: python scripts/measure/first_weights.py --mnist PATH/TO/MNIST

Hidden layers start with He's variance, 2 / inputs. The layer of the logits starts with that of each
scheme in turn, the same normal numbers scaled: everything else is equal. The small tables are split
into five folds, ten seeds each; MNIST has 10,000 training images held out and three seeds. No test
set is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from fnnet_scripts.options import Parser

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
    x: Split, held_out: Split, scheme: str, seeds: int, hidden: int, epochs: int
) -> list[float]:
    """Accuracy on what is held out, of so many seeds trained side by side."""
    classes = int(x.y.max()) + 1
    sizes = (int(np.prod(x.x.shape[1:])), hidden, classes)
    members = [start(seed, sizes, scheme) for seed in range(seeds)]
    together = fnnet.tree_map(lambda *leaves: np.stack(leaves), *members)
    *_, record = fnnet.train(fnnet.rmsprop_init(together), x, rng=0, epochs=epochs)
    return [one.accuracy for one in fnnet.evaluate(record.state.params, held_out).members]


def folds(name: str) -> Iterator[tuple[Split, Split]]:
    """Five stratified folds of a table of scikit-learn's, standardised on their training part."""
    from sklearn import datasets
    from sklearn.model_selection import StratifiedKFold

    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(x, y):
        mean, std = x[train].mean(0), x[train].std(0) + 1e-9
        scaled = ((x - mean) / std).astype(np.float32)
        yield Split(scaled[train], y[train]), Split(scaled[test], y[test])


def main() -> None:
    """Print a table: schemes down, data sets across, mean accuracy and its standard error in %."""
    parser = Parser(description=__doc__)
    parser.add_argument("--mnist", type=Path, help="folder of MNIST's files; without it, no MNIST")
    parser.add_argument("--epochs", type=int, default=60, help="of the tables (default 60)")
    options = parser.parse_args()
    print("scheme", *TABLES, *(["mnist"] if options.mnist else []), sep=" | ")
    if options.mnist:
        data = fnnet.load_mnist(options.mnist, download=False)
        mnist = fnnet.hold_out(0, data.train, 10_000)
    for scheme in SCALES:
        cells = []
        for name in TABLES:
            accuracies = [
                np.array(fits(train, test, scheme, 10, 32, options.epochs))
                for train, test in folds(name)
            ]
            cells.append(_cell(100 * np.concatenate(accuracies)))
        if options.mnist:
            cells.append(_cell(100 * np.array(fits(*mnist, scheme, 3, 128, 10))))
        print(scheme, *cells, sep=" | ", flush=True)


def _cell(accuracies: np.ndarray) -> str:
    error = accuracies.std(ddof=1) / np.sqrt(len(accuracies))
    return f"{accuracies.mean():.2f} ± {error:.2f}"


if __name__ == "__main__":
    main()
