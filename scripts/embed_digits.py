"""Write the embedded digits anew from scikit-learn's copy: python scripts/embed_digits.py PATH."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits

from fnnet.files import atomic_write

Indices = npt.NDArray[np.intp]


def split(classes: npt.NDArray[np.uint8]) -> tuple[Indices, Indices]:
    """Return the indices of the training and the test part: a fifth of every class to test.

    The order is that of the indices' SHA-256 digests, which no version of a generator changes.
    """
    shuffled = np.array(sorted(range(len(classes)), key=_digest), np.intp)
    by_class = shuffled[np.argsort(classes[shuffled], kind="stable")]
    test = np.isin(shuffled, by_class[::5])
    return shuffled[~test], shuffled[test]


def _digest(index: int) -> bytes:
    return hashlib.sha256(str(index).encode()).digest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(__file__).parents[1] / "fnnet" / "digits.npz"
    parser.add_argument("path", nargs="?", type=Path, default=default)
    path = parser.parse_args().path
    digits = load_digits()
    x, y = digits.images.astype(np.uint8), digits.target.astype(np.uint8)
    train, test = split(y)
    with atomic_write(path) as file:
        np.savez_compressed(
            file, train_x=x[train], train_y=y[train], test_x=x[test], test_y=y[test]
        )
    print(f"{path}: {len(train)} to train, {len(test)} to test, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
