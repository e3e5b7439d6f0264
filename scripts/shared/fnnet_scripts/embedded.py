"""The network that comes with the scripts: it reads MNIST's digits, and needs no download.

It is `scripts/network.npz`, beside the scripts that use it and not in the wheel, which stays small
without it: a zip archive of 410 kB with these members:

- ``about.json``: ``dataset`` and ``classes`` (what the network knows), ``activation`` and
  ``output`` (as `fnnet.Params` has them), ``accuracy`` (the share of test images that it reads,
  measured with the weights as they are stored) and ``images`` (how many those are).
- ``w0.npy``, ``w1.npy``, ...: the weights of each layer, (inputs, outputs) int8 from -127 to 127.
- ``scale0.npy``, ...: (outputs,) float32, one for each output. The weights are ``w * scale``: each
  column is rounded to 127 steps on either side of zero, its largest weight the last of them.
- ``b0.npy``, ...: the biases, (outputs,) float32.
- ``examples.npy``, ``labels.npy``: (20, 28, 28) uint8 images from the test set and their classes,
  two of each. MNIST is by Y. LeCun, C. Cortes and C. Burges (CC BY-SA 3.0).

`scripts/prove/embed_network.py` trains the network and writes the file.
"""

from __future__ import annotations

import itertools
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import fnnet
from fnnet.data.datasets import title_of
from fnnet.params import widths
from fnnet_scripts.wording import dashed


@dataclass(frozen=True, slots=True)
class Embedded:
    """A network and what is known of it.

    Attributes
    ----------
    params : the network
    dataset, classes : what it was trained on
    accuracy, images : the share of test images that it reads, and how many there were
    examples : some of these images
    """

    params: fnnet.Params
    dataset: str
    classes: tuple[str, ...]
    accuracy: float
    images: int
    examples: fnnet.Split


def load_embedded(path: Path) -> Embedded:
    """The network of a file that has the form above.

    Parameters
    ----------
    path : the file

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return _read(archive)
    except (KeyError, TypeError, ValueError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is no network that embed_network.py wrote ({error})") from None


def _read(archive: Mapping[str, Any]) -> Embedded:
    about = json.loads(archive["about.json"])
    layers = []
    for i in itertools.count():
        if f"w{i}" not in archive:
            break
        weights = archive[f"w{i}"] * archive[f"scale{i}"]
        layers.append(fnnet.Layer(weights, archive[f"b{i}"]))
    return Embedded(
        fnnet.Params(tuple(layers), about["activation"], about["output"]),
        about["dataset"],
        tuple(about["classes"]),
        about["accuracy"],
        about["images"],
        fnnet.Split(archive["examples"], archive["labels"]),
    )


def described(known: Embedded) -> str:
    """What a network knows, and how well, without a full stop."""
    return (
        f"{dashed(widths(known.params))}, trained on {title_of(known.dataset)} with distortions: "
        f"it reads {100 * known.accuracy:.2f} % of {known.images:,} test images"
    )
