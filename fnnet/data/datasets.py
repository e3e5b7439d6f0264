"""The data sets: MNIST and its two drop-in siblings, found or downloaded, and the embedded digits.

The cache folder of a user is ``$FNNET_CACHE``, else ``$XDG_CACHE_HOME/fnnet``, else the platform's
own (``~/.cache/fnnet``, ``~/Library/Caches/fnnet``, ``%LOCALAPPDATA%\\fnnet``). It holds one folder
for each data set, with the published files under their published names.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from fnnet.checks import instance_of
from fnnet.data.download import DownloadError, RemoteFile, describe_damage, fetch
from fnnet.data.idx import IDXError, read_idx
from fnnet.data.splits import Dataset, Split
from fnnet.storage.files import StrPath

__all__ = [
    "FASHION_MNIST",
    "KMNIST",
    "MNIST",
    "DownloadError",
    "RemoteFile",
    "Source",
    "cache_folder",
    "load_dataset",
    "load_digits",
    "load_fashion_mnist",
    "load_kmnist",
    "load_mnist",
    "load_source",
]

Images = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a data set of four IDX files is published, and what must come from there.

    `files` are the training images, the training labels, the test images and the test labels;
    `counts` says how many of each pair there are.
    """

    name: str
    title: str
    mirrors: tuple[str, ...]
    files: tuple[RemoteFile, RemoteFile, RemoteFile, RemoteFile]
    classes: tuple[str, ...]
    counts: tuple[int, int] = (60_000, 10_000)
    image_shape: tuple[int, ...] = (28, 28)


def _files(
    algorithm: str, sizes: tuple[int, int, int, int], digests: tuple[str, str, str, str]
) -> tuple[RemoteFile, RemoteFile, RemoteFile, RemoteFile]:
    def file(i: int, name: str) -> RemoteFile:
        return RemoteFile(f"{name}-ubyte.gz", sizes[i], algorithm, digests[i])

    return (
        file(0, "train-images-idx3"),
        file(1, "train-labels-idx1"),
        file(2, "t10k-images-idx3"),
        file(3, "t10k-labels-idx1"),
    )


MNIST = Source(
    name="mnist",
    title="MNIST",
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "https://storage.googleapis.com/cvdf-datasets/mnist",
    ),
    files=_files(
        "sha256",
        (9_912_422, 28_881, 1_648_877, 4_542),
        (
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ),
    classes=tuple("0123456789"),
)

FASHION_MNIST = Source(
    name="fashion-mnist",
    title="Fashion-MNIST",
    mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",),
    files=_files(
        "md5",
        (26_421_880, 29_515, 4_422_102, 5_148),
        (
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
    ),
    classes=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
)

KMNIST = Source(
    name="kmnist",
    title="KMNIST",
    mirrors=("http://codh.rois.ac.jp/kmnist/dataset/kmnist",),
    files=_files(
        "md5",
        (18_165_135, 29_497, 3_041_136, 5_120),
        (
            "bdb82020997e1d708af4cf47b453dcf7",
            "e144d726b3acfaa3e44228e80efcd344",
            "5c965bf0a639b31b8f53240b1b52f4d7",
            "7320c461ea6c1c855c0b718fb2a4b134",
        ),
    ),
    classes=tuple("おきすつなはまやれを"),
)

_SOURCES = {source.name: source for source in (MNIST, FASHION_MNIST, KMNIST)}


def load_mnist(
    directory: StrPath | None = None,
    *,
    download: bool = True,
    progress: bool = True,
    cache: StrPath | None = None,
    mirrors: Sequence[str] | None = None,
    timeout: float = 10.0,
) -> Dataset:
    """MNIST: 60,000 training and 10,000 test images of handwritten digits, LeCun et al. 1998.

    Each of its four files is looked for in `directory`, then in the cache, and downloaded if it
    is in neither. Every file is held to its published size and digest each time it is loaded.

    Parameters
    ----------
    directory : str or path-like, optional
        A folder that holds the files under their published names, gzipped or unpacked, or into
        which to download them (made if absent). Without it, the cache.
    download : bool
        Whether to download what is absent or damaged. Without it, nothing touches the network.
    progress : bool
        Whether to draw a bar while downloading; only ever on a terminal.
    cache : str or path-like, optional
        A folder to use instead of the user's cache folder.
    mirrors : sequence of str, optional
        URLs of folders to download from, instead of the public ones.
    timeout : float
        Seconds to wait for a mirror to answer.

    Returns
    -------
    Dataset
        `train.x` is (60000, 28, 28) uint8, 0 for paper and 255 for ink, and `train.y` (60000,)
        uint8 classes; `test` likewise with 10,000. All four are read-only.

    Raises
    ------
    DownloadError
        If no mirror delivers a file (an OSError).
    FileNotFoundError
        If a file is absent and `download` is False.
    IDXError
        If a file is damaged and `download` is False, or if `directory` holds an intact file of
        the right name that is another data set's (a ValueError).
    """
    return load_source(
        MNIST,
        directory,
        download=download,
        progress=progress,
        cache=cache,
        mirrors=mirrors,
        timeout=timeout,
    )


def load_fashion_mnist(
    directory: StrPath | None = None,
    *,
    download: bool = True,
    progress: bool = True,
    cache: StrPath | None = None,
    mirrors: Sequence[str] | None = None,
    timeout: float = 10.0,
) -> Dataset:
    """Fashion-MNIST: ten kinds of clothes in MNIST's format, Xiao et al. 2017 (MIT licence).

    Everything is as for `load_mnist`, file names included: give each its own `directory`.
    """
    return load_source(
        FASHION_MNIST,
        directory,
        download=download,
        progress=progress,
        cache=cache,
        mirrors=mirrors,
        timeout=timeout,
    )


def load_kmnist(
    directory: StrPath | None = None,
    *,
    download: bool = True,
    progress: bool = True,
    cache: StrPath | None = None,
    mirrors: Sequence[str] | None = None,
    timeout: float = 10.0,
) -> Dataset:
    """KMNIST: ten cursive hiragana in MNIST's format, Clanuwat et al. 2018 (CC BY-SA 4.0).

    Everything is as for `load_mnist`, file names included: give each its own `directory`.
    """
    return load_source(
        KMNIST,
        directory,
        download=download,
        progress=progress,
        cache=cache,
        mirrors=mirrors,
        timeout=timeout,
    )


def load_digits() -> Dataset:
    """Return the 1,797 embedded 8x8 handwritten digits: real data with no download at all.

    These are the test part of "Optical Recognition of Handwritten Digits" by E. Alpaydin and
    C. Kaynak, UCI Machine Learning Repository 1998, doi:10.24432/C50P49, CC BY 4.0: the images
    that scikit-learn's `load_digits` returns. A pixel counts the ink in a 4x4 block, v in 0..16;
    here it is round(255 v / 16).

    The split is fixed by the embedded file: 1,437 images to train and 360 to test, every class
    in proportion, in an arbitrary order. The same thirteen people wrote both parts, so accuracy
    on the test part says nothing about other people's writing.

    Returns
    -------
    Dataset
        `train.x` is (1437, 8, 8) uint8 and `train.y` (1437,) uint8 classes; `test` likewise
        with 360. All four are read-only.
    """
    import zlib
    from importlib import resources

    packed = zlib.decompress(resources.files("fnnet.data").joinpath("digits.bin").read_bytes())
    rows = np.frombuffer(packed, np.uint8).reshape(8 * 8 + 2, -1)
    # Neighbours look alike in the file: a stride of the golden section mixes the classes.
    order = np.arange(rows.shape[1]) * 1109 % rows.shape[1]
    ink = np.cumsum(rows[: 8 * 8], axis=1)[:, order].T % 17
    images = np.rint(ink * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)
    classes, is_test = rows[-2, order], rows[-1, order] == 1
    train, test = (_digits_split(images[part], classes[part]) for part in (~is_test, is_test))
    return Dataset("digits", train, test, tuple("0123456789"))


def load_dataset(name: str, directory: StrPath | None = None, download: bool = True) -> Dataset:
    """Load a data set by name: "mnist", "fashion-mnist", "kmnist" or "digits".

    `directory` and `download` are those of `load_mnist`; the digits need neither.

    Raises
    ------
    ValueError
        If there is no such name; otherwise as `load_mnist`.
    TypeError
        If `name` is not a str.
    """
    instance_of(str, "name", name)
    if name == "digits":
        return load_digits()
    if name not in _SOURCES:
        raise ValueError(f"name: {name!r}, expected one of {', '.join([*_SOURCES, 'digits'])}")
    return load_source(_SOURCES[name], directory, download=download)


def load_source(
    source: Source,
    directory: StrPath | None = None,
    *,
    download: bool = True,
    progress: bool = True,
    cache: StrPath | None = None,
    mirrors: Sequence[str] | None = None,
    timeout: float = 10.0,
) -> Dataset:
    """Load any data set that is published as four IDX files; see `load_mnist`."""
    given = None if directory is None else Path(directory)
    cached = (cache_folder() if cache is None else Path(cache)) / source.name
    order = list(source.mirrors if mirrors is None else mirrors)
    arrays = []
    for file, shape in zip(source.files, _shapes(source), strict=True):
        found = _find(file, shape, given, cached)
        if isinstance(found, IDXError | None) and not download:
            raise found or _absent(source, given, cached)
        if isinstance(found, IDXError | None):
            folder = given or cached
            served = _fetch(source, file, folder, order, progress, timeout)
            order.sort(key=lambda mirror: mirror != served)
            found = _read(folder / file.name, file, shape)
        arrays.append(found)
    train, test = Split(arrays[0], arrays[1]), Split(arrays[2], arrays[3])
    _check_labels(source, train, test)
    return Dataset(source.name, train, test, source.classes)


def cache_folder() -> Path:
    """Return the folder that holds downloads: ``$FNNET_CACHE``, or the platform's own."""
    if own := os.environ.get("FNNET_CACHE"):
        return Path(own).expanduser()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "fnnet"
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "fnnet"
    try:
        home = Path.home()
    except RuntimeError as error:
        reason = "no home folder to cache downloads in: set FNNET_CACHE, or name a directory"
        raise FileNotFoundError(reason) from error
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "fnnet"


def _shapes(source: Source) -> Iterator[tuple[int, ...]]:
    for count in source.counts:
        yield (count, *source.image_shape)
        yield (count,)


def _find(
    file: RemoteFile, shape: tuple[int, ...], given: Path | None, cached: Path
) -> Images | IDXError | None:
    """Return the first good copy of `file`; else what is wrong with a damaged one; else None."""
    damage = None
    for path in _candidates(file, given, cached):
        if path.is_file():
            try:
                return _read(path, file, shape)
            except IDXError as error:
                if path.parent == given and _is_idx(path):
                    # Several data sets share these names: a user's file is not ours to replace.
                    raise IDXError(f"{error}; intact, so perhaps of another data set") from error
                damage = IDXError(f"{error}; delete it, and load again with download=True")
    return damage


def _candidates(file: RemoteFile, given: Path | None, cached: Path) -> Iterator[Path]:
    if given is not None:
        yield given / file.name
        yield given / file.name.removesuffix(".gz")
    yield cached / file.name


def _is_idx(path: Path) -> bool:
    try:
        read_idx(path)
    except IDXError:
        return False
    return True


def _read(path: Path, file: RemoteFile, shape: tuple[int, ...]) -> Images:
    """Read `path`, which is `file` or its unpacked content, or raise an IDXError."""
    if path.name == file.name and (damage := describe_damage(path, file)):
        raise IDXError(f"{path}: {damage}")
    array = read_idx(path, limit=math.prod(shape))
    if array.dtype != np.uint8 or array.shape != shape:
        raise IDXError(f"{path}: {array.dtype} of shape {array.shape}, expected uint8 of {shape}")
    return cast(Images, array)


def _check_labels(source: Source, *splits: Split) -> None:
    for split in splits:
        top = split.y.max(initial=0)
        if top >= len(source.classes):
            expected = f"classes below {len(source.classes)}"
            raise IDXError(f"{source.title}: a label is {top}, expected {expected}")


def _fetch(
    source: Source,
    file: RemoteFile,
    folder: Path,
    mirrors: Sequence[str],
    progress: bool,
    timeout: float,
) -> str:
    try:
        return fetch(file, folder, mirrors, progress=progress, timeout=timeout)
    except DownloadError as error:
        advice = f"Put {_names(source)} into {folder} by other means, or name other mirrors"
        raise DownloadError(f"{source.title}: {error}\n{advice}") from error


def _absent(source: Source, given: Path | None, cached: Path) -> FileNotFoundError:
    folders = " or ".join(str(folder) for folder in (given, cached) if folder is not None)
    return FileNotFoundError(
        f"{source.title} is not all in {folders}: expected {_names(source)}; "
        "put them there, or pass download=True"
    )


def _names(source: Source) -> str:
    return ", ".join(file.name for file in source.files)


def _digits_split(x: Images, y: Images) -> Split:
    x.flags.writeable = False
    y.flags.writeable = False
    return Split(x, y)
