"""Data sets are found, downloaded and verified, and whatever is wrong is said in a sentence."""

from __future__ import annotations

import gzip
import hashlib
import inspect
import os
import re
import runpy
import socket
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fnnet.data import datasets, download
from fnnet.data.datasets import (
    FASHION_MNIST,
    KMNIST,
    MNIST,
    NAMES,
    SOURCES,
    DownloadError,
    Source,
    cache_folder,
    load_dataset,
    load_digits,
    load_fashion_mnist,
    load_kmnist,
    load_mnist,
    load_source,
    title_of,
)
from fnnet.data.idx import IDXError, read_idx, write_idx
from fnnet.data.splits import Dataset
from tests.data import mirror as m

TRAIN_X, TRAIN_Y, TEST_X, TEST_Y = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
EMBEDDED = Path(datasets.__file__).parent / "digits.bin"
FULL = os.environ.get("FNNET_DATA")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, quick retries and no proxy between the tests and their mirrors."""
    monkeypatch.setattr(download, "_PAUSE", 0.001)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("FNNET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "folder"


@pytest.fixture
def source(folder: Path) -> Source:
    """A published data set whose files lie in `folder`."""
    return m.tiny_source(folder)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        pytest.fail("the network was touched")  # pragma: no cover

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def assert_is_the_data_of(dataset: Dataset, folder: Path) -> None:
    for split, x, y in ((dataset.train, TRAIN_X, TRAIN_Y), (dataset.test, TEST_X, TEST_Y)):
        np.testing.assert_array_equal(split.x, read_idx(folder / x))
        np.testing.assert_array_equal(split.y, read_idx(folder / y))
        assert split.x.dtype == split.y.dtype == np.uint8
        assert not split.x.flags.writeable
        assert not split.y.flags.writeable


def unpack(path: Path) -> None:
    path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    path.unlink()


@pytest.mark.usefixtures("offline")
def test_files_in_the_given_directory_load_without_the_network(
    folder: Path, source: Source
) -> None:
    dataset = load_source(source, str(folder))
    assert_is_the_data_of(dataset, folder)
    assert dataset.name == "tiny"
    assert dataset.classes == tuple("0123456789")


@pytest.mark.usefixtures("offline")
def test_files_in_the_cache_load_without_the_network(
    folder: Path, source: Source, cache: Path
) -> None:
    cache.mkdir()
    folder.rename(cache / "tiny")
    assert_is_the_data_of(load_source(source), cache / "tiny")
    assert_is_the_data_of(load_source(source, folder, download=False), cache / "tiny")


@pytest.mark.usefixtures("offline")
def test_unpacked_files_in_the_given_directory_load(folder: Path, source: Source) -> None:
    expected = load_source(source, folder)
    for name in (TRAIN_X, TEST_Y):
        unpack(folder / name)
    dataset = load_source(source, folder)
    np.testing.assert_array_equal(dataset.train.x, expected.train.x)
    np.testing.assert_array_equal(dataset.test.y, expected.test.y)
    assert not dataset.train.x.flags.writeable


@pytest.mark.parametrize("where", ["directory", "cache"])
def test_what_is_absent_is_downloaded_to_the_directory_or_else_the_cache(
    tmp_path: Path, folder: Path, source: Source, cache: Path, where: str
) -> None:
    directory = tmp_path / "new" if where == "directory" else None
    with m.mirror(m.contents(folder)) as server:
        dataset = load_source(source, directory, mirrors=[server.url])
        again = load_source(source, directory, mirrors=[server.url])
    assert_is_the_data_of(dataset, folder)
    assert_is_the_data_of(again, folder)
    assert m.contents(directory or cache / "tiny") == m.contents(folder)
    assert len(server.requests) == 4


def test_a_cache_can_be_named(tmp_path: Path, folder: Path, source: Source, cache: Path) -> None:
    with m.mirror(m.contents(folder)) as server:
        load_source(source, cache=tmp_path / "own", mirrors=[server.url])
    assert m.contents(tmp_path / "own" / "tiny") == m.contents(folder)
    assert not cache.exists()


def test_a_mirror_that_delivered_is_asked_first_for_the_rest(folder: Path, source: Source) -> None:
    files = m.contents(folder)
    with m.mirror(files, m.status(403)) as bad, m.mirror(files) as fine:
        later = fine.url.replace("127.0.0.1", "localhost")  # in the order of letters, too
        load_source(source, mirrors=[bad.url, later])
    assert len(bad.requests) == 1
    assert len(fine.requests) == 4


def test_when_all_mirrors_fail_the_error_says_what_to_do(
    tmp_path: Path, folder: Path, source: Source
) -> None:
    with (
        m.mirror(m.contents(folder), m.wrong_bytes) as server,
        pytest.raises(DownloadError) as caught,
    ):
        load_source(source, tmp_path / "new", mirrors=[server.url])
    message = str(caught.value)
    assert message.startswith(f"Tiny: no mirror delivered {TRAIN_X}:\n  {server.url}: sha256 ")
    assert f"Put {TRAIN_X}, {TRAIN_Y}, {TEST_X}, {TEST_Y} into {tmp_path / 'new'}" in message


def test_without_download_what_is_absent_is_named(tmp_path: Path, source: Source) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        load_source(source, tmp_path / "none", download=False)
    message = str(caught.value)
    folders = f"{tmp_path / 'none'} or {tmp_path / 'cache' / 'tiny'}"
    names = f"{TRAIN_X}, {TRAIN_Y}, {TEST_X}, {TEST_Y}"
    assert f"Tiny is not all in {folders}: expected {names}; put them there" in message
    assert not (tmp_path / "none").exists()


DAMAGES: list[Callable[[bytes], bytes]] = [
    lambda content: content[:40],
    lambda content: b"",
    lambda content: b"<html>" + bytes(len(content) - 6),
    lambda content: content[:60] + bytes([content[60] ^ 1]) + content[61:],
]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("where", ["directory", "cache"])
def test_a_damaged_file_is_fetched_again_or_named(
    tmp_path: Path,
    folder: Path,
    source: Source,
    cache: Path,
    where: str,
    damage: Callable[[bytes], bytes],
) -> None:
    published = m.contents(folder)
    directory = tmp_path / "given" if where == "directory" else None
    place = directory or cache / "tiny"
    cache.mkdir()
    folder.rename(place)
    (place / TEST_X).write_bytes(damage(published[TEST_X]))
    with pytest.raises(IDXError) as caught:
        load_source(source, directory, download=False)
    assert str(caught.value).startswith(f"{place / TEST_X}: ")
    assert "delete it, and load again with download=True" in str(caught.value)
    with m.mirror(published) as server:
        load_source(source, directory, mirrors=[server.url])
    assert m.contents(place) == published
    assert server.requests == [f"/{TEST_X}"]


def test_a_damaged_file_is_passed_over_where_another_copy_is_good(
    folder: Path, source: Source, cache: Path
) -> None:
    place = m.tiny_source(cache.parent / "copy")
    assert place == source
    cache.mkdir()
    (cache.parent / "copy").rename(cache / "tiny")
    (folder / TRAIN_X).write_bytes(b"cut")
    assert_is_the_data_of(load_source(source, folder, download=False), cache / "tiny")


@pytest.mark.parametrize("packed", [True, False])
def test_an_intact_file_of_another_data_set_is_neither_used_nor_replaced(
    folder: Path, source: Source, packed: bool
) -> None:
    write_idx(folder / TRAIN_X, np.zeros((5, 28, 28), np.uint8))
    if not packed:
        unpack(folder / TRAIN_X)
    before = m.contents(folder)
    with pytest.raises(IDXError, match="intact, so perhaps of another data set"):
        load_source(source, folder)
    assert m.contents(folder) == before


@pytest.mark.parametrize(("height", "dtype"), [(28, np.int8), (14, np.uint8)])
def test_published_files_of_the_wrong_type_or_shape_are_refused(
    tmp_path: Path, folder: Path, source: Source, height: int, dtype: type[np.generic]
) -> None:
    write_idx(folder / TRAIN_X, np.zeros((6, height, 28), dtype))
    odd = replace(source, files=(m.remote_file(folder / TRAIN_X), *source.files[1:]))
    with (
        m.mirror(m.contents(folder)) as server,
        pytest.raises(IDXError, match=r"expected uint8 of \(6, 28, 28\)"),
    ):
        load_source(odd, tmp_path / "new", mirrors=[server.url])


@pytest.mark.parametrize(
    ("images", "labels", "expected"),
    [
        (5, 6, r"uint8 of \(6, 28, 28\)"),
        (6, 5, r"uint8 of \(6,\)"),
        (7, 6, "at most 4704"),
        (6, 7, "at most 6"),
    ],
)
def test_counts_that_disagree_are_refused(
    folder: Path, images: int, labels: int, expected: str
) -> None:
    source = m.tiny_source(folder, images=images, labels=labels)
    with pytest.raises(IDXError, match=f"expected {expected}"):
        load_source(source, folder, download=False)


def test_a_label_without_a_class_is_refused(folder: Path) -> None:
    source = m.tiny_source(folder, top=10)
    with pytest.raises(IDXError, match="Tiny: a label is 10, expected 0 to 9"):
        load_source(source, folder)


LOADERS = [(load_mnist, MNIST), (load_fashion_mnist, FASHION_MNIST), (load_kmnist, KMNIST)]


@pytest.mark.parametrize(("load", "published"), LOADERS)
def test_each_loader_loads_its_own_source(
    folder: Path,
    source: Source,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    load: Callable[..., Dataset],
    published: Source,
) -> None:
    constant = published.name.upper().replace("-", "_")
    monkeypatch.setattr(datasets, constant, replace(source, name=published.name))
    with m.mirror(m.contents(folder)) as server:
        dataset = load(mirrors=[server.url], progress=False, timeout=5)
    assert dataset.name == published.name
    assert m.contents(cache / published.name) == m.contents(folder)


def recorded(*args: object, **kwargs: object) -> object:
    return args, kwargs


@pytest.mark.parametrize(("load", "published"), LOADERS)
def test_loaders_hand_on_what_they_are_given(
    monkeypatch: pytest.MonkeyPatch, load: Callable[..., object], published: Source
) -> None:
    monkeypatch.setattr(datasets, "load_source", recorded)
    options = {"download": False, "progress": False, "cache": "c", "mirrors": ["m"], "timeout": 3.0}
    assert load("d", **options) == ((published, "d"), options)


@pytest.mark.parametrize(("load", "published"), LOADERS)
def test_loaders_take_the_same_for_granted(
    monkeypatch: pytest.MonkeyPatch, load: Callable[..., object], published: Source
) -> None:
    shared = inspect.signature(load_source).parameters
    assert inspect.signature(load).parameters == {n: p for n, p in shared.items() if n != "source"}
    monkeypatch.setattr(datasets, "load_source", recorded)
    by_name: object = load_dataset(published.name)
    assert by_name == ((published, None), {"download": True})
    assert shared["download"].default is shared["progress"].default is True


def test_a_download_is_told_whether_to_draw_and_how_long_to_wait(
    folder: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> str:
        raise DownloadError(f"{kwargs}")

    monkeypatch.setattr(datasets, "fetch", refuse)
    with pytest.raises(DownloadError, match=r"{'progress': False, 'timeout': 3.0}"):
        load_source(source, progress=False, timeout=3.0)


TABLE = list(SOURCES.values())


def source_id(source: Source) -> str:
    return source.name


@pytest.mark.parametrize("source", TABLE, ids=source_id)
def test_a_source_of_the_table_says_all_that_it_must(source: Source) -> None:
    assert SOURCES[source.name] is source
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", source.name)  # a folder of the cache, too
    assert title_of(source.name) == source.title != ""
    assert source.citation
    assert len(source.classes) == len(set(source.classes)) >= 2
    assert all(count > 0 for count in source.counts)
    assert len({file.name for file in source.files}) == 4
    lengths = {"md5": 32, "sha1": 40, "sha256": 64}
    for file in source.files:
        assert file.size > 0
        assert re.fullmatch(rf"[0-9a-f]{{{lengths[file.algorithm]}}}", file.digest)
        assert file.contents is None or re.fullmatch(r"[0-9a-f]{64}", file.contents)
    assert all(mirror.startswith(("https://", "http://")) for mirror in source.mirrors)


def test_no_two_sources_share_a_name_or_a_file() -> None:
    assert len({source.name for source in TABLE}) == len(TABLE)
    digests = [file.digest for source in TABLE for file in source.files]
    assert len(set(digests)) == len(digests)
    assert (*SOURCES, "digits") == NAMES
    assert title_of("digits") == "Digits"


# MD5 of MNIST's files, as torchvision and others list them.
MNIST_MD5 = {
    TRAIN_X: "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    TRAIN_Y: "d53e105ee54ea40749a09fcbcd1e9432",
    TEST_X: "9fb629c4189551a2d022fa330f9573f3",
    TEST_Y: "ec29112dd5afa0611ce80d1b7f02629c",
}


@pytest.mark.skipif(FULL is None, reason="FNNET_DATA names no folder with MNIST's four files")
def test_the_digests_of_mnist_are_those_of_the_files_that_others_know() -> None:
    for file in MNIST.files:
        content = Path(str(FULL), file.name).read_bytes()
        assert hashlib.md5(content).hexdigest() == MNIST_MD5[file.name]
        assert hashlib.sha256(content).hexdigest() == file.digest
        assert hashlib.sha256(gzip.decompress(content)).hexdigest() == file.contents


def test_a_source_shows_in_one_line_what_it_is() -> None:
    assert repr(MNIST) == "Source(mnist, 60,000 + 10,000 images 28x28, 10 classes)"


def test_a_source_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        MNIST.name = "other"  # type: ignore[misc]  # that is the test
    assert not hasattr(MNIST, "__dict__")


def test_mnist_is_never_fetched_over_plain_http() -> None:
    assert all(mirror.startswith("https://") for mirror in MNIST.mirrors)
    assert len(MNIST.mirrors) == 2


def test_a_data_set_loads_by_name(
    folder: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "SOURCES", {**SOURCES, "kmnist": source})
    assert_is_the_data_of(load_dataset("kmnist", folder, download=False), folder)
    assert load_dataset("digits").name == "digits"
    with pytest.raises(ValueError, match=f"'cifar', expected one of {', '.join(NAMES)}"):
        load_dataset("cifar")
    with pytest.raises(ValueError, match="expected one of") as caught:
        load_dataset("A" * 60_000)
    assert len(str(caught.value)) < 300
    with pytest.raises(TypeError, match="name must be of type str, got int"):
        load_dataset(3)  # type: ignore[arg-type]  # that is the test


# A data set as EMNIST's letters are published: labels from 1, images column by column, file names
# of its own, in an archive that no mirror has unpacked.
LETTERS = "xyz"


def letters(folder: Path) -> tuple[Source, NDArray[np.uint8], NDArray[np.uint8]]:
    """Write the files; return their source, the training images upright and the classes."""
    folder.mkdir()
    upright = np.random.default_rng(0).integers(0, 256, (7, 5, 4), np.uint8)
    classes = np.array([0, 2, 1, 1, 2, 0, 0], np.uint8)
    published = []
    for part, rows in (("train", slice(7)), ("test", slice(3))):
        for kind, array in (
            ("images-idx3", upright[rows].swapaxes(1, 2)),
            ("labels-idx1", classes[rows] + np.uint8(1)),
        ):
            path = folder / f"letters-{part}-{kind}-ubyte.gz"
            write_idx(path, array)
            published.append(m.remote_file(path))
    a, b, c, d = published
    source = Source(
        "letters",
        "Letters",
        (),
        (a, b, c, d),
        tuple(LETTERS),
        counts=(7, 3),
        image_shape=(5, 4),
        first_label=1,
        transposed=True,
    )
    return source, upright, classes


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("packed", [True, False])
def test_a_set_of_other_names_labels_and_orientation_is_one_value(
    folder: Path, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    source, upright, classes = letters(folder)
    if not packed:
        for path in list(folder.iterdir()):
            unpack(path)
    monkeypatch.setattr(datasets, "SOURCES", {**SOURCES, source.name: source})
    dataset = load_dataset("letters", folder)
    np.testing.assert_array_equal(dataset.train.x, upright)
    np.testing.assert_array_equal(dataset.train.y, classes)
    np.testing.assert_array_equal(dataset.test.x, upright[:3])
    np.testing.assert_array_equal(dataset.test.y, classes[:3])
    assert dataset.classes == ("x", "y", "z")
    for split in (dataset.train, dataset.test):
        assert split.x.dtype == split.y.dtype == np.uint8
        assert split.x.flags.c_contiguous
        assert not split.x.flags.writeable
        assert not split.y.flags.writeable


def test_a_label_below_the_first_is_refused(folder: Path) -> None:
    source, _, _ = letters(folder)
    with pytest.raises(IDXError, match="Letters: a label is 1, expected 2 to 4"):
        load_source(replace(source, first_label=2), folder)
    with pytest.raises(IDXError, match="Letters: a label is 3, expected 1 to 2"):
        load_source(replace(source, classes=("x", "y")), folder)


@pytest.mark.usefixtures("offline")
def test_a_set_without_mirrors_is_put_into_a_folder_by_its_user(tmp_path: Path) -> None:
    source, _, _ = letters(tmp_path / "letters")
    with pytest.raises(FileNotFoundError, match=r"expected letters-train.*; put them there$"):
        load_source(source, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_an_image_without_two_sides_is_not_transposed(source: Source) -> None:
    with pytest.raises(ValueError, match=r"two sides to be transposed: \(784,\)"):
        replace(source, image_shape=(784,), transposed=True)


OTHER_NAMES = {
    "Kaggle's": ("train-images.idx3-ubyte", False),
    "Kaggle's, packed": ("train-images.idx3-ubyte.gz", True),
    "torchvision's": ("Tiny/raw/train-images-idx3-ubyte", False),
    "torchvision's, packed": ("Tiny/raw/train-images-idx3-ubyte.gz", True),
    "in a folder": ("train-images-idx3-ubyte/train-images-idx3-ubyte", False),
    "in a folder, Kaggle's": ("train-images.idx3-ubyte/train-images.idx3-ubyte", False),
    "unpacked": ("train-images-idx3-ubyte", False),
    "unpacked by the browser": (TRAIN_X, False),
    "packed again": (TRAIN_X, True),
    "a second download": ("train-images-idx3-ubyte (1).gz", True),
    "a second download of Firefox": ("train-images-idx3-ubyte(2).gz", True),
    "a second download of Safari": ("train-images-idx3-ubyte-3.gz", True),
    "a second download, unpacked": ("train-images.idx3-ubyte (1)", False),
    "from an old disk": ("TRAIN-IMAGES-IDX3-UBYTE.GZ", True),
    "from an old disk, unpacked": ("Train-Images.IDX3-UBYTE", False),
}


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("how", OTHER_NAMES)
@pytest.mark.parametrize("right", [True, False])
def test_a_file_that_others_packed_or_named_is_told_by_its_contents(
    folder: Path, source: Source, how: str, right: bool
) -> None:
    expected = load_source(source, folder)
    plain = bytearray(gzip.decompress((folder / TRAIN_X).read_bytes()))
    if not right:
        plain[100] ^= 1
    (folder / TRAIN_X).unlink()
    name, packed = OTHER_NAMES[how]
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(plain, 1) if packed else plain)
    if right:
        dataset = load_source(source, folder)
        np.testing.assert_array_equal(dataset.train.x, expected.train.x)
    else:
        before = m.contents(path.parent)
        with pytest.raises(IDXError, match=r"of the contents, expected .*perhaps of another"):
            load_source(source, folder)
        assert m.contents(path.parent) == before


@pytest.mark.usefixtures("offline")
def test_where_the_contents_are_not_known_only_unpacked_files_are_taken_on_trust(
    folder: Path, source: Source
) -> None:
    unknown = replace(source.files[0], contents=None)
    source = replace(source, files=(unknown, *source.files[1:]))
    expected = load_source(source, folder)
    plain = gzip.decompress((folder / TRAIN_X).read_bytes())
    (folder / TRAIN_X).write_bytes(gzip.compress(plain, 1))
    with pytest.raises(IDXError, match="if others packed it, unpack it"):
        load_source(source, folder)
    (folder / TRAIN_X).write_bytes(plain)
    np.testing.assert_array_equal(load_source(source, folder).train.x, expected.train.x)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX's")
@pytest.mark.usefixtures("offline")
def test_a_pipe_in_the_place_of_a_file_is_passed_over(folder: Path, source: Source) -> None:
    (folder / TRAIN_X).unlink()
    if sys.platform != "win32":
        os.mkfifo(folder / TRAIN_X)
    with pytest.raises(FileNotFoundError, match="Tiny is not all in"):
        load_source(source, folder, download=False)


@pytest.mark.usefixtures("offline")
def test_a_tilde_is_the_home_folder(
    folder: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(folder.parent))
    assert_is_the_data_of(load_source(source, "~/folder"), folder)
    folder.rename(folder.parent / "tiny")
    assert_is_the_data_of(load_source(source, cache="~"), folder.parent / "tiny")


def test_a_home_that_nobody_has_is_named(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    reason = "'~nobody-at-all/x' names the home folder of a user who has none; write the whole"
    with pytest.raises(FileNotFoundError, match=f"directory: {reason}"):
        load_source(source, "~nobody-at-all/x")
    with pytest.raises(FileNotFoundError, match=f"cache: {reason}"):
        load_source(source, cache="~nobody-at-all/x")
    monkeypatch.setenv("FNNET_CACHE", "~nobody-at-all/x")
    with pytest.raises(FileNotFoundError, match=f"FNNET_CACHE: {reason}"):
        load_source(source, download=False)
    assert not (tmp_path / "~nobody-at-all").exists()
    (tmp_path / "~nobody-at-all").mkdir()  # a folder of that name, then
    assert cache_folder() == Path("~nobody-at-all/x")


@pytest.mark.usefixtures("offline")
def test_what_killed_downloads_left_beside_a_whole_file_is_removed(
    folder: Path, source: Source
) -> None:
    before = m.contents(folder)
    for name in (f".{TRAIN_X}.part", f".{TRAIN_X}.{'a' * 16}.part", f".{TEST_Y}.{'b' * 16}.part"):
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (0, 0))
    load_source(source, folder)
    assert m.contents(folder) == before


@pytest.mark.parametrize("timeout", [None, float("inf")])
def test_a_time_out_without_end_is_refused_though_nothing_is_fetched(
    folder: Path, source: Source, timeout: float
) -> None:
    with pytest.raises(ValueError, match="timeout must be a number of seconds"):
        load_source(source, folder, timeout=timeout)


EIGHTH = """
import sys
from pathlib import Path
from fnnet.data.datasets import load_source
from tests.data.mirror import tiny_source
source = tiny_source(Path(sys.argv[1]))
dataset = load_source(source, sys.argv[2], mirrors=[sys.argv[3]])
print(dataset.train.x.sum(), dataset.test.y.tolist())
"""


def test_eight_simultaneous_processes_on_one_empty_folder_all_succeed(
    tmp_path: Path, folder: Path, source: Source
) -> None:
    together = threading.Barrier(8)

    def all_at_once(handler: BaseHTTPRequestHandler, content: bytes) -> None:
        together.wait(200)
        m.cut_after(50)(handler, content)

    with m.mirror(m.contents(folder), *[all_at_once] * 8, m.ranged) as server:
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", EIGHTH, tmp_path / f"{i}", tmp_path / "new", server.url],
                stdout=subprocess.PIPE,
                cwd=Path(__file__).parents[2],
            )
            for i in range(8)
        ]
        answers = {process.communicate(timeout=300)[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 8
    assert len(answers) == 1
    assert m.contents(tmp_path / "new") == m.contents(folder)


@pytest.mark.usefixtures("offline")
def test_the_digits_are_scikit_learns() -> None:
    sklearn = pytest.importorskip("sklearn.datasets")
    theirs = sklearn.load_digits()
    digits = load_digits()
    x = np.concatenate([digits.train.x, digits.test.x]).reshape(-1, 64)
    y = np.concatenate([digits.train.y, digits.test.y])
    ours = sorted(zip(np.rint(x / 255 * 16).astype(int).tolist(), y.tolist(), strict=True))
    assert ours == sorted(
        zip(theirs.data.astype(int).tolist(), theirs.target.tolist(), strict=True)
    )


def test_the_script_writes_the_digits_that_are_embedded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearn.datasets")
    script = Path(__file__).parents[2] / "scripts" / "prove" / "embed_digits.py"
    monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path / "digits.bin")])
    runpy.run_path(str(script), run_name="__main__")
    written = (tmp_path / "digits.bin").read_bytes()
    assert zlib.decompress(written) == zlib.decompress(EMBEDDED.read_bytes())


@pytest.mark.usefixtures("offline")
def test_the_digits_are_split_in_proportion_and_read_only() -> None:
    digits = load_digits()
    assert digits.train.x.shape == (1437, 8, 8)
    assert digits.test.x.shape == (360, 8, 8)
    for split in (digits.train, digits.test):
        assert split.x.dtype == split.y.dtype == np.uint8
        assert set(np.unique(split.x)) == {round(v * 255 / 16) for v in range(17)}
        assert not split.x.flags.writeable
        assert not split.y.flags.writeable
    assert digits.train.y[:10].tolist() == [
        6,
        8,
        4,
        0,
        6,
        3,
        9,
        1,
        7,
        0,
    ]  # an order that results depend on
    counts = np.bincount(np.concatenate([digits.train.y, digits.test.y]).astype(int))
    np.testing.assert_allclose(np.bincount(digits.test.y.astype(int)), counts / 5, atol=1)


def test_the_embedded_digits_are_small() -> None:
    assert EMBEDDED.stat().st_size < 33_000


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {}, "home/.cache/fnnet"),
        ("linux", {"XDG_CACHE_HOME": "{}/xdg"}, "xdg/fnnet"),
        ("linux", {"LOCALAPPDATA": "{}/local"}, "home/.cache/fnnet"),
        ("darwin", {}, "home/Library/Caches/fnnet"),
        ("win32", {"LOCALAPPDATA": "{}/local"}, "local/fnnet"),
        ("win32", {}, "home/.cache/fnnet"),
        ("linux", {"FNNET_CACHE": "{}/own", "XDG_CACHE_HOME": "{}/xdg"}, "own"),
        ("linux", {"FNNET_CACHE": "~/own"}, "home/own"),
        ("linux", {"XDG_CACHE_HOME": "~/xdg"}, "home/xdg/fnnet"),
    ],
)
def test_the_cache_lies_where_the_platform_keeps_caches(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    platform: str,
    environment: dict[str, str],
    expected: str,
) -> None:
    for name in ("FNNET_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value.format(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "platform", platform)
    assert cache_folder() == tmp_path / expected


def test_without_a_home_the_error_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("FNNET_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(FileNotFoundError, match="set FNNET_CACHE, or name a directory"):
        load_mnist(download=False)


def test_importing_the_loaders_imports_no_network_code() -> None:
    check = "import sys, fnnet.data.datasets; print({'urllib.request', 'ssl'} & set(sys.modules))"
    command = [sys.executable, "-c", check]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert answer.stdout == "set()\n"


@pytest.mark.skipif(FULL is None, reason="FNNET_DATA names no folder with MNIST's four files")
@pytest.mark.usefixtures("offline")
def test_the_whole_of_mnist_is_what_was_published() -> None:
    mnist = load_mnist(FULL, download=False)
    assert mnist.train.x.shape == (60_000, 28, 28)
    assert mnist.test.x.shape == (10_000, 28, 28)
    assert mnist.train.y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert mnist.test.y[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert np.bincount(mnist.test.y.astype(int)).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009
    ]  # fmt: skip
    assert round(float(mnist.train.x.mean()) / 255, 4) == 0.1307


def test_the_digits_are_called_by_their_numbers() -> None:
    assert load_digits().classes == tuple("0123456789")
