"""A write replaces a file whole or leaves it as it was."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO

import pytest

from fnnet.storage import files
from fnnet.storage.files import atomic_write, new_part, open_regular, part_name
from tests.storage.systems import take_away_posix


@pytest.fixture(autouse=True, params=["posix", "plain"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each test runs on this system and on one that lacks what is POSIX's, both in haste."""
    monkeypatch.setattr(files, "_PAUSE", 0.001)
    if request.param == "plain":
        take_away_posix(monkeypatch)
    return str(request.param)


posix = pytest.mark.skipif(os.name != "posix", reason="POSIX permissions, links and devices")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_write_replaces_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["a.bin"]


def test_a_write_takes_a_string_and_can_seek(tmp_path: Path) -> None:
    with atomic_write(str(tmp_path / "a.bin")) as file:
        file.write(b"xbc")
        file.seek(0)
        file.write(b"a")
    assert (tmp_path / "a.bin").read_bytes() == b"abc"


def write(path: Path, error: BaseException | type[BaseException] | None = None) -> None:
    with atomic_write(path) as file:
        file.write(b"new")
        if error is not None:
            raise error


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_named_with_the_file_and_what_to_do(tmp_path: Path, number: int) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match=r"cannot write .*a\.bin: oops; make room and") as caught:
        write(path, OSError(number, "oops"))
    assert caught.value.errno == number
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_an_exception_halfway_keeps_the_old_file_and_removes_the_temporary(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(error) as caught:
        write(path, error)
    assert str(caught.value) == ""
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_a_failed_rename_keeps_the_old_file_and_removes_the_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(13, "in use")

    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError, match="another program holds it, or its folder is closed"):
        write(path)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EBUSY])
def test_a_rename_that_is_refused_while_a_scanner_reads_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    replace = os.replace
    refused: list[Path] = []

    def twice(source: Path, target: Path) -> None:
        if len(refused) < 2:
            refused.append(source)
            raise OSError(number, "in use")
        replace(source, target)

    monkeypatch.setattr(os, "replace", twice)
    write(tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == b"new"
    assert len(refused) == 2


def test_a_rename_that_fails_for_another_reason_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Path] = []

    def broken(source: Path, target: Path) -> None:
        tried.append(source)
        raise OSError(errno.EIO, "disk on fire")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="disk on fire"):
        write(tmp_path / "a.bin")
    assert len(tried) == 1
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EPERM])
def test_a_disk_that_has_nothing_to_sync_gets_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def unsynced(descriptor: int) -> None:
        raise OSError(number, "cannot")

    monkeypatch.setattr(os, "fsync", unsynced)
    write(tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == b"new"


def test_a_disk_that_fails_to_sync_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, "disk on fire")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="disk on fire"):
        write(tmp_path / "a.bin")
    assert names(tmp_path) == []


def test_a_disk_without_permissions_gets_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chmod", refuse)
    for _ in range(2):
        write(tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == b"new"


def test_a_read_only_file_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    path.chmod(0o444)
    with pytest.raises(PermissionError, match="it is read-only; make it writable, or choose"):
        write(path)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    write(Path("~/a.bin"))
    assert (tmp_path / "a.bin").read_bytes() == b"new"
    with open_regular("~/a.bin") as file:
        assert file.read() == b"new"


def test_the_bytes_are_synced_before_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    calls = []
    fsync, replace = os.fsync, os.replace

    def sync(descriptor: int) -> None:
        calls.append("sync")
        fsync(descriptor)

    def rename(source: Path, target: Path) -> None:
        calls.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", rename)
    write(tmp_path / "a.bin")
    folder = ["sync"] * (system == "posix" and os.name == "posix")
    assert calls == ["sync", "rename", *folder]


@posix
def test_the_folder_that_was_synced_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    if system == "plain":
        pytest.skip("no folder is opened")
    opened = []
    open_ = os.open

    def record(path: Path, flags: int) -> int:
        opened.append(open_(path, flags))
        return opened[-1]

    monkeypatch.setattr(os, "open", record)
    write(tmp_path / "a.bin")
    (descriptor,) = opened
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_folder_that_cannot_be_synced_does_not_spoil_the_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, flags: int) -> int:
        raise PermissionError(13, "folders are not opened here")

    monkeypatch.setattr(os, "open", refuse)
    write(tmp_path / "a.bin")
    assert names(tmp_path) == ["a.bin"]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none" / "a.bin"
    with pytest.raises(FileNotFoundError, match=r"cannot write .*a\.bin: there is no folder"):
        write(path)


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot write .*a\.bin"):
        write(tmp_path / "file" / "a.bin")


def test_a_target_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="it is a folder"):
        write(tmp_path)
    assert names(tmp_path) == []


@posix
def test_a_device_is_refused_rather_than_replaced(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    if sys.platform != "win32":
        os.mkfifo(fifo)
    with pytest.raises(OSError, match="not a regular file"):
        write(fifo)
    assert names(tmp_path) == ["fifo"]


def test_what_killed_writers_left_is_removed_and_what_others_write_is_not(
    tmp_path: Path, system: str
) -> None:
    old, new = (tmp_path / f".a[1].bin.{'0123456789abcdef'[::i]}.part" for i in (1, -1))
    others = [".b.bin.0123456789abcdef.part", ".a[1].bin.part", "a[1].bin.0123456789abcdef.part"]
    others += [".a[1].bin.0123456789abcdef.part2", ".a1.bin.0123456789abcdef.part"]
    for part in (old, *(tmp_path / other for other in others)):
        part.touch()
        os.utime(part, (time.time() - 3700,) * 2)
    new.touch()
    os.utime(new, (time.time() - 3500,) * 2)
    write(tmp_path / "a[1].bin")
    young = [new.name] if system == "plain" else []  # without locks, only age tells
    assert names(tmp_path) == sorted(["a[1].bin", *young, *others])


def test_a_part_that_is_being_written_is_left_alone(tmp_path: Path, system: str) -> None:
    target = tmp_path / "a.bin"
    part = new_part(target)
    if system == "posix":  # locks tell, however long nothing is written
        os.utime(part.path, (time.time() - 9000,) * 2)
    write(target)
    assert names(tmp_path) == sorted([target.name, part.path.name])
    files.install(part, target)
    files.discard(part)
    assert names(tmp_path) == [target.name]
    assert target.read_bytes() == b""


@posix
def test_a_new_part_that_another_process_takes_for_abandoned_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    if system == "plain":
        pytest.skip("no locks")
    lock = files._lock
    taken: list[Path] = []

    def removed_first(file: BinaryIO) -> bool | None:
        if not taken:
            taken.extend(tmp_path.iterdir())
            taken[0].unlink()
        return lock(file)

    monkeypatch.setattr(files, "_lock", removed_first)
    write(tmp_path / "a.bin")
    assert len(taken) == 1
    assert (tmp_path / "a.bin").read_bytes() == b"new"
    assert names(tmp_path) == ["a.bin"]


KILLED = """
import os, sys
from fnnet.storage.files import atomic_write
with atomic_write("a.bin") as file:
    file.write(b"half")
    file.flush()
    os._exit(9)
"""


def test_what_a_killed_process_left_is_gone_after_the_next_write(
    tmp_path: Path, system: str
) -> None:
    subprocess.run([sys.executable, "-c", KILLED], cwd=tmp_path)
    (part,) = tmp_path.iterdir()
    if system == "plain":
        os.utime(part, (time.time() - 3700,) * 2)
    write(tmp_path / "a.bin")
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
def test_what_is_no_file_is_not_opened_in_the_place_of_one(
    tmp_path: Path, system: str, kind: str
) -> None:
    path = tmp_path / "odd"
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(tmp_path / "aim")
        (tmp_path / "aim").touch()
        open_regular(path).close()
    elif system == "plain" or not hasattr(os, "mkfifo"):
        pytest.skip("no pipes with names")
    else:
        os.mkfifo(path)
    with pytest.raises(OSError, match=r"odd"):
        open_regular(path, follow=False)


def test_parts_of_the_longest_names_are_removed_too(tmp_path: Path) -> None:
    target = tmp_path / ("n" * 255)
    part = part_name(target)
    part.touch()
    os.utime(part, (time.time() - 3700,) * 2)
    write(target)
    assert names(tmp_path) == [target.name]


@posix
def test_permissions_follow_the_umask_or_the_file_replaced(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write(tmp_path / "new")
        (tmp_path / "old").touch()
        (tmp_path / "old").chmod(0o600)
        write(tmp_path / "old")
    finally:
        os.umask(old)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "old").stat().st_mode & 0o777 == 0o600


@posix
def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "a.bin")
    write(tmp_path / "link")
    assert (tmp_path / "disk" / "a.bin").read_bytes() == b"new"
    assert (tmp_path / "link").is_symlink()


@posix
def test_the_longest_legal_name_can_be_written(tmp_path: Path) -> None:
    write(tmp_path / ("n" * 255))
    assert names(tmp_path) == ["n" * 255]
