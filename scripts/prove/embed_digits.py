"""Make the embedded digits from scikit-learn's copy, or prove that they are these.

    python scripts/prove/embed_digits.py --check

Digits that look alike stand side by side, and only what changes from one to the next is kept: a
third less than the images as they are.
"""

from __future__ import annotations

if __name__ == "__main__":
    import fnnet_scripts.quiet  # noqa: F401

import hashlib
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from fnnet_scripts.options import Parser, exit_code, folder

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


def packed() -> bytes:
    """The file's bytes."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x, y = digits.data.astype(np.uint8), digits.target.astype(np.uint8)
    classes = [np.flatnonzero(y == k) for k in range(10)]
    order = np.concatenate([which[path_of_neighbours(x[which])] for which in classes])
    changes = np.diff(x[order].astype(int).T, prepend=0) % 17
    content = np.vstack([changes, y[order], is_test(y)[order]]).astype(np.uint8)
    compressor = zlib.compressobj(9, strategy=zlib.Z_RLE)
    return compressor.compress(content.tobytes()) + compressor.flush()


def run(path: Path, check: bool) -> None:
    content = packed()
    if not check:
        with atomic_write(path) as file:
            file.write(content)
    # Unpacked, since another zlib may pack the same digits in other bytes.
    elif zlib.decompress(path.read_bytes()) != zlib.decompress(content):
        raise ValueError(f"{path} does not hold scikit-learn's digits")
    print(f"{path}: scikit-learn's digits, {path.stat().st_size} bytes")


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(description=__doc__)
    default = Path(__file__).parents[2] / "fnnet" / "data" / "digits.bin"
    parser.add_argument("path", nargs="?", type=folder, default=default, help="default: fnnet's")
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    settings = parser.parse_args(argv)
    return exit_code("embed_digits.py", lambda: run(settings.path, settings.check))


if __name__ == "__main__" and (code := main()):
    sys.exit(code)
