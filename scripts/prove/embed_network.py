"""Train the network that comes with the scripts and write it, or prove what the file says of it.

    python scripts/prove/embed_network.py --data-dir MNIST

Training takes a quarter of an hour on one core: 784-512-128-10 as `reproduce.py simard-distorted`,
for 60 epochs, seed 0. `--checkpoint` takes a network that is trained already; `--check` measures
the file that is there. `fnnet_scripts.embedded` describes the file.
"""

from __future__ import annotations

if __name__ == "__main__":
    import fnnet_scripts.quiet  # noqa: F401

import argparse
import io
import json
import sys
import zipfile
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fnnet_scripts.embedded import load_embedded
from fnnet_scripts.options import Parser, exit_code, folder

import fnnet
from fnnet.storage.files import atomic_write

OUT = Path(__file__).parents[1] / "network.npz"
HIDDEN, EPOCHS, SEED = (512, 128), 60, 0
EXAMPLES = 2  # of each class
STEPS = 127  # on either side of zero
DATE = (1980, 1, 1, 0, 0, 0)  # equal contents are equal bytes


def trained(train: fnnet.Split, classes: int) -> fnnet.Params:
    """The network as the recipe gives it."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import reproduce

    settings = reproduce.settings_of(reproduce.RECIPES["simard-distorted"], EPOCHS)
    settings.hidden, rng = list(HIDDEN), np.random.default_rng(SEED)
    epochs = reproduce.shown(reproduce.fit(settings, train, classes, rng), EPOCHS)
    params: fnnet.Params = deque(epochs, maxlen=1).pop()
    return params


def in_bytes(w: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Weights as whole numbers from -127 to 127, and the scale of each column."""
    step = np.abs(w).max(axis=0) / STEPS
    scale = np.where(step == 0, 1, step).astype(np.float32)
    return np.rint(w / scale).astype(np.int8), scale


def write(path: Path, params: fnnet.Params, data: fnnet.Dataset) -> None:
    """Write the file, with the accuracy of the weights as they are stored."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    layers = []
    for i, layer in enumerate(params.layers):
        w, scale = in_bytes(layer.w)
        arrays |= {f"w{i}": w, f"scale{i}": scale, f"b{i}": layer.b}
        layers.append(fnnet.Layer(w * scale, layer.b))
    stored = replace(params, layers=tuple(layers))
    classes = range(len(data.classes))
    firsts = [np.flatnonzero(data.test.y == k)[:EXAMPLES] for k in classes]
    chosen = np.stack(firsts).T.ravel()
    arrays |= {"examples": data.test.x[chosen], "labels": data.test.y[chosen]}
    about = {
        "dataset": data.name,
        "classes": data.classes,
        "activation": params.activation,
        "output": params.output,
        "accuracy": fnnet.evaluate(stored, data.test).accuracy,
        "images": len(data.test),
    }
    with atomic_write(path) as file, zipfile.ZipFile(file, "w") as archive:
        _put(archive, "about.json", json.dumps(about).encode())
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
            _put(archive, f"{name}.npy", buffer.getvalue())


def _put(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name, DATE)
    archive.writestr(info, content, zipfile.ZIP_DEFLATED, compresslevel=9)


def run(settings: argparse.Namespace) -> None:
    data = fnnet.load_mnist(settings.data_dir)
    if not settings.check:
        if settings.checkpoint:
            params = fnnet.load_checkpoint(settings.checkpoint).state.params
        else:
            params = trained(data.train, len(data.classes))
        write(settings.out, params, data)
    network = load_embedded(settings.out)
    accuracy = fnnet.evaluate(network.params, data.test).accuracy
    if abs(accuracy - network.accuracy) > 2 / len(data.test):  # sums may be rounded otherwise
        raise ValueError(f"{settings.out} says {network.accuracy:.2%}, measured {accuracy:.2%}")
    print(f"{settings.out}: {accuracy:.2%} on the test set, {settings.out.stat().st_size} bytes")


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("--data-dir", type=folder, metavar="DIR", help="folder of MNIST's four files")
    add("--out", type=folder, default=OUT, metavar="FILE", help="default: where scripts find it")
    add("--checkpoint", type=folder, metavar="FILE", help="a trained network, to be stored")
    add("--check", action="store_true", help="measure the file and write nothing")
    settings = parser.parse_args(argv)
    return exit_code("embed_network.py", lambda: run(settings))


if __name__ == "__main__":
    sys.exit(main())
