"""The data sets: those of the table, found or downloaded, and the embedded digits.

A data set that is published as four IDX files is one value in the table of `fnnet.data.sources`;
`load_dataset` and all that takes a name find it there. Any other `Source` loads with `load_source`.

The cache folder of a user is ``$FNNET_CACHE``, else ``$XDG_CACHE_HOME/fnnet``, else the platform's
own (``~/.cache/fnnet``, ``~/Library/Caches/fnnet``, ``%LOCALAPPDATA%\\fnnet``). It holds one folder
for each data set, with the published files under their published names.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from fnnet.checks import flag, instance_of, path_text
from fnnet.data.download import (
    DownloadError,
    RemoteFile,
    check_timeout,
    checked_mirrors,
    describe_damage,
    fetch,
    remove_leftovers,
)
from fnnet.data.idx import IDXError, contents_digest, is_packed, read_idx
from fnnet.data.sources import (
    FASHION_MNIST,
    KMNIST,
    MNIST,
    NAMES,
    SOURCES,
    Source,
    title_of,
)
from fnnet.data.splits import Dataset, Split
from fnnet.storage.files import StrPath

__all__ = [
    "FASHION_MNIST",
    "KMNIST",
    "MNIST",
    "NAMES",
    "SOURCES",
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
    "title_of",
]

Images = NDArray[np.uint8]


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
    is in neither. Each time a file is loaded it is held to its published digest, or, if others
    unpacked it or packed it anew, to the digest of its contents.

    Parameters
    ----------
    directory : str or path-like, optional
        A folder that holds the files, gzipped or unpacked, under their published names or others
        that are common (``train-images.idx3-ubyte``, say), or that torchvision downloads to, or
        into which to download them (made if absent). ``~`` is the home folder. Without a
        directory, the cache.
    download : bool
        Whether to download what is absent or damaged. Without it, nothing touches the network.
    progress : bool
        Whether to draw a bar while downloading; only ever on a terminal.
    cache : str or path-like, optional
        A folder to use instead of the user's cache folder.
    mirrors : sequence of str, optional
        URLs of folders to download from, instead of the public ones.
    timeout : float
        Seconds, at most a day. A mirror must begin to answer within so many, and is left when it
        has sent fewer than 1000 bytes for each of the last so many.

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
    ValueError
        If the time-out is out of range, or a mirror is no URL.

    Examples
    --------
    The second call looks into a folder that is empty and asks no server:

    >>> data = load_mnist()  # doctest: +SKIP
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     data = load_mnist(folder, download=False, cache=folder)
    Traceback (most recent call last):
    FileNotFoundError: ...
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
    But the digests of the unpacked files are not known. So of these only size, shape and range of
    labels are checked, and a file that others packed is refused.

    Examples
    --------
    The second call looks into a folder that is empty and asks no server:

    >>> data = load_fashion_mnist()  # doctest: +SKIP
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     data = load_fashion_mnist(folder, download=False, cache=folder)
    Traceback (most recent call last):
    FileNotFoundError: ...
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
    But the digests of the unpacked files are not known. So of these only size, shape and range of
    labels are checked, and a file that others packed is refused.

    Examples
    --------
    The second call looks into a folder that is empty and asks no server:

    >>> data = load_kmnist()  # doctest: +SKIP
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     data = load_kmnist(folder, download=False, cache=folder)
    Traceback (most recent call last):
    FileNotFoundError: ...
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

    Examples
    --------
    >>> load_digits().test.x.shape
    (360, 8, 8)
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
    train, test = (_read_only(images[part], classes[part]) for part in (~is_test, is_test))
    return Dataset("digits", train, test, tuple("0123456789"))


def load_dataset(name: str, directory: StrPath | None = None, download: bool = True) -> Dataset:
    """Load a data set by its name.

    Parameters
    ----------
    name : "mnist", "fashion-mnist", "kmnist" or "digits" (`fnnet.data.datasets.NAMES`)
    directory, download : as for `load_mnist`; the digits need neither

    Returns
    -------
    Dataset
        As `load_mnist` or `load_digits` returns it.

    Raises
    ------
    TypeError
        If `name` is not a str.
    ValueError
        If there is no such name.
    DownloadError, FileNotFoundError, IDXError
        As `load_mnist`.

    Examples
    --------
    >>> load_dataset("digits").train.y[:5]
    array([6, 8, 4, 0, 6], dtype=uint8)
    """
    instance_of(str, "name", name)
    if name == "digits":
        return load_digits()
    if name not in SOURCES:
        raise ValueError(f"name: {name!r:.99}, expected one of {', '.join(NAMES)}")
    return load_source(SOURCES[name], directory, download=download)


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
    """Load any data set that is published as four IDX files; see `load_mnist`.

    Examples
    --------
    The letters of EMNIST, which begin with the label 1 and are stored column by column. Its files
    come in an archive: unpack it, and name the folder.

    >>> from fnnet.data.datasets import RemoteFile, Source
    >>> names = [f"emnist-letters-{part}-{kind}-ubyte.gz" for part in ("train", "test")
    ...          for kind in ("images-idx3", "labels-idx1")]
    >>> a, b, c, d = (RemoteFile(name, 0, "sha256", "unknown") for name in names)
    >>> Source("emnist-letters", "EMNIST letters", (), (a, b, c, d),
    ...        tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), counts=(124_800, 20_800),
    ...        first_label=1, transposed=True)
    Source(emnist-letters, 124,800 + 20,800 images 28x28, 26 classes)

    It loads from unpacked files, since none of its digests is known here.
    """
    instance_of(Source, "source", source)
    timeout, progress = check_timeout(timeout), flag("progress", progress)
    given = None if directory is None else _expanded("directory", directory)
    cached = (cache_folder() if cache is None else _expanded("cache", cache)) / source.name
    order = list(source.mirrors if mirrors is None else checked_mirrors(mirrors))
    download = flag("download", download) and bool(order)
    arrays = []
    for file, shape in zip(source.files, _shapes(source), strict=True):
        found = _find(source, file, shape, given, cached)
        if isinstance(found, IDXError | None) and not download:
            raise found or _absent(source, given, cached)
        if isinstance(found, IDXError | None):
            folder = given or cached
            served = _fetch(source, file, folder, order, progress, timeout)
            order.sort(key=lambda mirror: mirror != served)
            found = _read(folder / file.name, file, shape)
        arrays.append(found)
    train, test = (_split(source, *arrays[i : i + 2]) for i in (0, 2))
    return Dataset(source.name, train, test, source.classes)


def cache_folder() -> Path:
    """Return the folder that holds downloads: ``$FNNET_CACHE``, or the platform's own."""
    if own := os.environ.get("FNNET_CACHE"):
        return _expanded("FNNET_CACHE", own)
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return _expanded("XDG_CACHE_HOME", xdg) / "fnnet"
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "fnnet"
    try:
        home = Path.home()
    except RuntimeError as error:
        reason = "no home folder to cache downloads in: set FNNET_CACHE, or name a directory"
        raise FileNotFoundError(reason) from error
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "fnnet"


def _expanded(name: str, path: StrPath) -> Path:
    """The path, with ``~`` as the home folder."""
    expanded = Path(os.path.expanduser(path_text(name, path)))
    first = expanded.parts[0] if expanded.parts else ""
    if first.startswith("~") and not Path(first).exists():
        raise FileNotFoundError(
            f"{name}: {os.fsdecode(path)!r:.99} names the home folder of a user who has none; "
            "write the whole path"
        )
    return expanded


def _shapes(source: Source) -> Iterator[tuple[int, ...]]:
    """Return the shapes of the arrays in the files."""
    height_width, rest = source.image_shape[:2], source.image_shape[2:]
    stored = (*height_width[:: -1 if source.transposed else 1], *rest)
    for count in source.counts:
        yield (count, *stored)
        yield (count,)


def _find(
    source: Source, file: RemoteFile, shape: tuple[int, ...], given: Path | None, cached: Path
) -> Images | IDXError | None:
    """Return the first good copy of `file`; else what is wrong with a damaged one; else None."""
    damage = None
    # torchvision has a folder raw in a folder of the data set's name.
    theirs = given / source.title.replace("-", "") / "raw" if given else cached
    for folder in (given, theirs, cached) if given else (cached,):
        for path in _candidates(folder, file):
            if path.is_file():
                try:
                    array = _read(path, file, shape)
                except IDXError as error:
                    if given and folder in (given, theirs) and _is_idx(path):
                        # Several sets share these names: a user's file is not ours to replace.
                        reason = f"{error}; intact, so perhaps of another data set"
                        raise IDXError(reason) from error
                    damage = IDXError(f"{error}; delete it, and load again with download=True")
                else:
                    remove_leftovers(folder / file.name)
                    return array
    return damage


def _candidates(folder: Path, file: RemoteFile) -> list[Path]:
    """Where a folder may hold the file: under a name of `_names_of`, or under one as a browser or
    an old disk makes it from that: in capitals, or with a number, ``name (1).gz``.
    """
    names = _names_of(file)
    ends = "|".join(re.escape(name.removesuffix(".gz")) for name in names)
    pattern = re.compile(rf"(?:{ends})(?: ?\(\d+\)|-\d+)?(?:\.gz)?", re.IGNORECASE)
    found: list[str] = []
    with suppress(OSError):  # no such folder, or none that may be read
        found = sorted(name for name in os.listdir(folder) if pattern.fullmatch(name))
    return [folder / name for name in dict.fromkeys((*names, *found))]


def _names_of(file: RemoteFile) -> tuple[str, ...]:
    """The published name, and what others call the same file, packed or not, in a folder or not."""
    stem = file.name.removesuffix(".gz")
    dotted = re.sub(r"-(idx\d)", r".\1", stem)
    names = (file.name, stem, f"{stem}.gz", dotted, f"{dotted}.gz")
    return (*dict.fromkeys(names), f"{stem}/{stem}", f"{dotted}/{dotted}")


def _is_idx(path: Path) -> bool:
    try:
        read_idx(path)
    except IDXError:
        return False
    return True


def _read(path: Path, file: RemoteFile, shape: tuple[int, ...]) -> Images:
    """Read `path`, which is `file`, or its contents packed by others or not at all."""
    damage = describe_damage(path, file)
    if damage and file.contents is None and is_packed(path):
        raise IDXError(f"{path}: {damage}; if others packed it, unpack it")
    array = read_idx(path, limit=math.prod(shape))
    if array.dtype != np.uint8 or array.shape != shape:
        raise IDXError(f"{path}: {array.dtype} of shape {array.shape}, expected uint8 of {shape}")
    if damage and file.contents and (digest := contents_digest(array)) != file.contents:
        raise IDXError(f"{path}: sha256 {digest} of the contents, expected {file.contents}")
    return cast(Images, array)


def _split(source: Source, x: Images, y: Images) -> Split:
    first, last = source.first_label, source.first_label + len(source.classes) - 1
    for label in (y.min(initial=first), y.max(initial=first)):
        if not first <= label <= last:
            raise IDXError(f"{source.title}: a label is {label}, expected {first} to {last}")
    if source.transposed:
        x = np.ascontiguousarray(x.swapaxes(1, 2))
    return _read_only(x, (y - first).astype(np.uint8) if first else y)


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
    advice = "put them there"
    if source.mirrors:
        advice += ", or pass download=True"
    return FileNotFoundError(
        f"{source.title} is not all in {folders}: expected {_names(source)}; {advice}"
    )


def _names(source: Source) -> str:
    return ", ".join(file.name for file in source.files)


def _read_only(x: Images, y: Images) -> Split:
    x.flags.writeable = False
    y.flags.writeable = False
    return Split(x, y)
