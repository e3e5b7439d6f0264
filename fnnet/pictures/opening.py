"""Picture files as arrays: decoded with Pillow, turned as meant, laid on paper, 8 bits deep."""

from __future__ import annotations

import os
import stat
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fnnet.checks import path_text
from fnnet.storage.files import StrPath

if TYPE_CHECKING:
    from PIL import Image

Array8 = npt.NDArray[np.uint8]

LARGEST = 50_000_000  # pixels: what a picture of this size takes is ten times its file and more
FAINTEST = 12  # of 255: a picture with less contrast than this shows nothing

# How files begin that show pictures to a person and none to Pillow.
_OTHERS = (
    (4, (b"ftypheic", b"ftypheix", b"ftyphevc", b"ftypmif1", b"ftypmsf1"), "HEIC picture"),
    (0, (b"%PDF",), "PDF document"),
)


def open_picture(path: StrPath) -> Array8:
    """Pixels of a picture file: (H, W) where it is grey, else (H, W, 3), from 0 to 255.

    Pictures with transparency are laid on white paper, or on black where nothing would show.

    Parameters
    ----------
    path : str or path-like
        ``~`` is the home folder.

    Returns
    -------
    pixels : uint8 array, 0 for black and 255 for white

    Raises
    ------
    TypeError
        If `path` is no path.
    ValueError
        If the file is no picture that Pillow reads, is damaged, or has over 50 megapixels.
    OSError
        If the file is absent or cannot be read.
    ImportError
        If Pillow is not installed.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ImportError("pictures need Pillow: pip install pillow") from error
    path = os.path.expanduser(path_text("path", path))
    name = _other_kind(path)
    if name:
        raise ValueError(f"a {name} is not read; save it as PNG or JPEG")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as picture:
                _check_size(picture)
                return _pixels(ImageOps.exif_transpose(picture))
    except Image.DecompressionBombError as error:
        raise ValueError(f"too large: {_TOO_LARGE}") from error
    except _TooLarge as error:
        raise ValueError(str(error)) from error
    except (MemoryError, OSError) as error:
        if isinstance(error, OSError) and error.errno is None:
            raise _damaged(error) from error
        raise
    except Exception as error:
        # The decoders of damaged pictures fail in a dozen ways, all alike to a user.
        raise _damaged(error) from error


_TOO_LARGE = f"pictures of at most {LARGEST // 1_000_000} megapixels are read; make it smaller"


class _TooLarge(Exception):
    """A picture has more pixels than are read."""


def _damaged(error: Exception) -> ValueError:
    return ValueError(f"neither a whole picture nor an IDX file ({error})")


def _check_size(picture: Image.Image) -> None:
    if picture.width * picture.height > LARGEST:
        raise _TooLarge(f"{picture.width} x {picture.height} pixels: {_TOO_LARGE}")


def _other_kind(path: StrPath) -> str | None:
    """What kind of file this is, of those that Pillow does not read; a pipe is never waited for."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError("not a file that can be read as a picture")
    with open(Path(path), "rb") as file:
        start = file.read(1024)
    for offset, marks, name in _OTHERS:
        if start[offset:].startswith(marks):
            return name
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return "SVG drawing" if text.startswith((b"<svg", b"<?xml")) and b"<svg" in text else None


def _pixels(picture: Image.Image) -> Array8:
    if picture.mode.startswith("I") or picture.mode == "F":
        return _eight_bits(np.asarray(picture, np.float64))
    if picture.has_transparency_data:
        return _on_paper(picture.convert("RGBA"))
    if picture.mode in ("1", "L"):
        return np.asarray(picture.convert("L"))
    return np.asarray(picture.convert("RGB"))


def _eight_bits(values: npt.NDArray[np.float64]) -> Array8:
    """Values of more than 8 bits, as 0 to 255, whatever single pixels are."""
    values = np.nan_to_num(values, posinf=0.0, neginf=0.0).clip(0)
    some = values[values > 0]
    # Few pictures use all 16 bits: what nearly all pixels reach is white.
    white = float(np.quantile(some, 0.995)) if some.size else 1.0
    return (255 * (values / white).clip(0, 1)).round().astype(np.uint8)


def _on_paper(colours: Image.Image) -> Array8:
    from PIL import Image

    pixels = np.zeros((0, 0, 3), np.uint8)
    for paper in ("white", "black"):  # black where white ink on nothing would not show
        sheet = Image.alpha_composite(Image.new("RGBA", colours.size, paper), colours)
        pixels = np.asarray(sheet.convert("RGB"))
        if np.ptp(pixels) >= FAINTEST:
            break
    return pixels
