"""Write the embedded digits anew from scikit-learn's copy.

    python scripts/prove/embed_digits.py

Digits that look alike stand side by side, and only what changes from one to the next is kept: a
third less than the images as they are.
"""

from __future__ import annotations

import argparse
import hashlib
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits

from fnnet.storage.files import atomic_write

Indices = npt.NDArray[np.intp]


def is_test(classes: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """A fifth of every class, in the order of the indices' SHA-256 digests."""
    shuffled = np.array(sorted(range(len(classes)), key=_digest), np.intp)
    by_class = shuffled[np.argsort(classes[shuffled], kind="stable")]
    return np.isin(np.arange(len(classes)), by_class[::5])


def _digest(index: int) -> bytes:
    # No version of a generator changes it.
    return hashlib.sha256(str(index).encode()).digest()


def path_of_neighbours(x: npt.NDArray[np.uint8]) -> Indices:
    """Indices of the rows of x, each followed by the nearest that is left."""
    distances = np.abs(x[:, None].astype(int) - x).sum(axis=2)
    path, left = [0], set(range(1, len(x)))
    while left:
        path.append(min(left, key=lambda i: (distances[path[-1], i], i)))
        left.remove(path[-1])
    return np.array(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(__file__).parents[2] / "fnnet" / "data" / "digits.bin"
    parser.add_argument("path", nargs="?", type=Path, default=default)
    path = parser.parse_args().path
    digits = load_digits()
    x, y = digits.data.astype(np.uint8), digits.target.astype(np.uint8)
    classes = [np.flatnonzero(y == k) for k in range(10)]
    order = np.concatenate([which[path_of_neighbours(x[which])] for which in classes])
    changes = np.diff(x[order].astype(int).T, prepend=0) % 17
    content = np.vstack([changes, y[order], is_test(y)[order]]).astype(np.uint8)
    compressor = zlib.compressobj(9, strategy=zlib.Z_RLE)
    with atomic_write(path) as file:
        file.write(compressor.compress(content.tobytes()) + compressor.flush())
    print(f"{path}: {len(y)} digits, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
