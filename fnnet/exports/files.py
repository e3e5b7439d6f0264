"""One function that writes any export: the suffix of the file says which."""

from __future__ import annotations

import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np

from fnnet.checks import one_of, path_text
from fnnet.exports.c99 import as_c
from fnnet.exports.npz import NUMBERS, as_npz
from fnnet.exports.onnx_graph import as_onnx
from fnnet.exports.subject import About
from fnnet.params import Params
from fnnet.storage.files import atomic_write

SUFFIXES = (".onnx", ".npz", ".h", ".c")


def export(
    path: str | os.PathLike[str],
    params: Params,
    *,
    numbers: str = "float32",
    images: Sequence[int] | None = None,
    about: About | None = None,
) -> None:
    """Write a network for other programs, in the format of the file's suffix.

    Parameters
    ----------
    path : ends in ``.onnx``, ``.npz``, ``.h`` or ``.c``; for the last two the name before the
        suffix is what the functions begin with
    params : one network, with an activation of fnnet's
    numbers : "float32", "int8" (not for ``.onnx``) or "float16" (for ``.npz`` alone). ONNX has the
        parameters' own dtype
    images : shape of an image, for ``.onnx`` alone: see `as_onnx`
    about : what it was trained on

    Raises
    ------
    ImportError
        If onnx is not installed and wanted.
    TypeError, ValueError
        As `as_onnx`, `as_npz` and `as_c`, or if the suffix is none of these, or the format has no
        such numbers. Nothing is written then.
    OSError
        If the file cannot be written; what was there before is still there.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from fnnet import init_params
    >>> with TemporaryDirectory() as folder:
    ...     export(f"{folder}/net.c", init_params(0, (3, 2)))
    ...     Path(f"{folder}/net.c").read_text().splitlines()[1].strip()
    'layers: 3-2, relu, softmax, float weights'
    """
    file = Path(path_text("path", path)).expanduser()
    suffix = file.suffix
    if suffix not in SUFFIXES:
        raise ValueError(f"path must end in one of {', '.join(SUFFIXES)}, got {str(file)!r:.99}")
    one_of("numbers", numbers, NUMBERS)
    if numbers not in {".onnx": ("float32",), ".npz": NUMBERS}.get(suffix, ("float32", "int8")):
        raise ValueError(f"numbers must not be {numbers!r} for {suffix}: write a .npz file")
    if images is not None and suffix != ".onnx":
        raise ValueError(f"images are for .onnx alone, got {str(file)!r:.99}")
    content = _content(file, params, numbers, images, about)
    with atomic_write(file) as out:
        out.write(content)


def _content(
    file: Path, params: Params, numbers: str, images: Sequence[int] | None, about: About | None
) -> bytes:
    if file.suffix == ".onnx":
        model: bytes = as_onnx(params, images=images, about=about).SerializeToString()
        return model
    if file.suffix == ".npz":
        buffer = BytesIO()
        np.savez(buffer, allow_pickle=False, **as_npz(params, numbers=numbers, about=about))
        return buffer.getvalue()
    int8, header = numbers == "int8", file.suffix == ".h"
    return as_c(params, file.stem, int8=int8, header=header, about=about).encode()
