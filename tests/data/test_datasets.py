"""Data sets are found, downloaded and verified, and whatever is wrong is said in a sentence."""

from __future__ import annotations

import gzip
import hashlib
import inspect
import os
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

from fnnet.data import datasets, download
from fnnet.data.datasets import (
    FASHION_MNIST,
    KMNIST,
    MNIST,
    DownloadError,
    Source,
    cache_folder,
    load_dataset,
    load_digits,
    load_fashion_mnist,
    load_kmnist,
    load_mnist,
    load_source,
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
    with pytest.raises(IDXError, match="Tiny: a label is 10, expected classes below 10"):
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


# SHA-256 of all that the code says of each: what others published years ago does not change.
DIGESTS = {
    MNIST: "ed66cf9cd083fad0be44b3c3981271ccc5deab8a7e8c92f55bf865ee026bb55b",
    FASHION_MNIST: "aa65c7ebf3bdd449c5f5efec06fbbd067af94fd65f3931450b5871695938c2ba",
    KMNIST: "c8ed5d6cb4bbd9b10c554f1badce71362a1f5d2edf5c0680560b39668185e58b",
}


@pytest.mark.parametrize("source", DIGESTS, ids=lambda source: source.name)
def test_what_is_known_of_published_files_stays_as_it_was_checked(source: Source) -> None:
    assert hashlib.sha256(repr(source).encode()).hexdigest() == DIGESTS[source]


def test_a_source_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        MNIST.name = "other"  # type: ignore[misc]  # that is the test
    assert not hasattr(MNIST, "__dict__")


def test_the_sources_are_distinct_and_mnist_is_never_fetched_over_plain_http() -> None:
    digests = [file.digest for source in (MNIST, FASHION_MNIST, KMNIST) for file in source.files]
    assert len(set(digests)) == 12
    assert all(mirror.startswith("https://") for mirror in MNIST.mirrors)
    assert len(MNIST.mirrors) == 2
    for source in (MNIST, FASHION_MNIST, KMNIST):
        assert [file.name for file in source.files] == [TRAIN_X, TRAIN_Y, TEST_X, TEST_Y]
        assert len(source.classes) == len(set(source.classes)) == 10


def test_a_data_set_loads_by_name(
    folder: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(datasets._SOURCES, "kmnist", source)
    assert_is_the_data_of(load_dataset("kmnist", folder, download=False), folder)
    assert load_dataset("digits").name == "digits"
    with pytest.raises(ValueError, match="'cifar', expected one of mnist, fashion-mnist, kmnist"):
        load_dataset("cifar")
    with pytest.raises(TypeError, match="name must be of type str, got int"):
        load_dataset(3)  # type: ignore[arg-type]  # that is the test


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
        together.wait(30)
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
        answers = {process.communicate(timeout=60)[0] for process in processes}
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
    counts = np.bincount(np.concatenate([digits.train.y, digits.test.y]))
    np.testing.assert_allclose(np.bincount(digits.test.y), counts / 5, atol=1)


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
    assert np.bincount(mnist.test.y).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009
    ]  # fmt: skip
    assert round(float(mnist.train.x.mean()) / 255, 4) == 0.1307


def test_the_digits_are_called_by_their_numbers() -> None:
    assert load_digits().classes == tuple("0123456789")
