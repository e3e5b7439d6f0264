"""Data of one's own: a folder that has a folder of pictures for each class."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import fnnet
from fnnet.pictures import FORMS, open_picture, read_picture
from fnnet_scripts.options import counted, one_line

EVERY = 5  # of a class, one picture of so many is for the test set
MOST = 20_000  # pictures
OWN = "own"


def read_folder(path: str | Path) -> fnnet.Dataset:
    """Pictures by class, read as `fnnet.pictures` reads them, in MNIST's form.

    Each subfolder is a class, in the order of their names. Of the pictures of a class, in the order
    of theirs, the third and every fifth after it are for the test set. Pictures that show nothing,
    or several things, are left out.

    Parameters
    ----------
    path : the folder

    Raises
    ------
    OSError
        If there is no such folder.
    ValueError
        If there are fewer than two classes, or a class has fewer than three pictures to be read.
    """
    root = Path(path)
    names = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if len(names) < 2:
        raise ValueError(f"{root} must have a folder of pictures for each of two or more classes")
    images, labels, test = [], [], []
    for k, name in enumerate(names):
        seen = _images(root / name)
        if len(seen) < 3:
            raise ValueError(f"{root / name} must have three or more pictures, {len(seen)} read")
        images += seen
        labels += [k] * len(seen)
        test += [i % EVERY == 2 for i in range(len(seen))]
    x, y, held = np.stack(images), np.array(labels), np.array(test)
    train, rest = fnnet.Split(x[~held], y[~held]), fnnet.Split(x[held], y[held])
    return fnnet.Dataset(OWN, train, rest, tuple(one_line(name)[:40] for name in names))


def _images(folder: Path) -> list[np.ndarray[tuple[int, int], np.dtype[np.uint8]]]:
    images, paths = [], sorted(folder.iterdir())[:MOST]
    for path in counted(paths, len(paths), f"picture of {one_line(folder.name)[:40]}"):
        try:
            reading = read_picture(open_picture(path), FORMS["mnist"])
        except (OSError, ValueError):
            continue  # no picture
        if len(reading.found) == 1:
            images.append(reading.found[0].image)
    return images
