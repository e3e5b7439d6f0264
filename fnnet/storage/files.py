"""Files that are either whole or absent: a new one replaces an old one in a single step."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

StrPath = str | os.PathLike[str]

_ABANDONED = 3600.0  # seconds without a change, after which the writer of a part must be dead


@contextmanager
def atomic_write(path: StrPath) -> Iterator[BinaryIO]:
    """Open a new binary file that takes the place of `path` only when all of it is on the disk.

    The bytes go to ``.{name}.{random}.part`` in the same folder. When the block ends, that file
    is flushed, synced and renamed over `path`. On any exception it is removed and the old file
    stays as it was, so a reader finds the old bytes or the new ones, never a mixture. What a
    killed process leaves is removed by a write to the same `path` an hour later. A symbolic link
    is followed, and the permissions of a file that is replaced are kept.

    Parameters
    ----------
    path : str or path-like
        The file to write. Its folder must exist.

    Yields
    ------
    binary file, open for writing, seekable

    Raises
    ------
    OSError
        If the folder is absent or cannot be written, if `path` is a folder or a device, or if the
        disk is full.
    """
    # Through a link: replacing the link itself would put the bytes on another disk than meant.
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise _refusal(errno.EISDIR, path, "it is a folder")
    if target.exists() and not target.is_file():
        raise _refusal(errno.EINVAL, path, "it is not a regular file")
    remove_abandoned_parts(target, _ABANDONED)
    temp = part_name(target)
    try:
        with explain_full_disk(path):
            with _create(temp, path) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileNotFoundError):
                os.chmod(temp, target.stat().st_mode & 0o777)
            move_into_place(temp, target)
    except BaseException:
        with suppress(OSError):
            temp.unlink()
        raise


@contextmanager
def explain_full_disk(path: StrPath) -> Iterator[None]:
    """Add to the error of a full disk, quota or size limit which file it was and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise _refusal(error.errno, path, f"{error.strerror}; make room and try again") from error


def part_name(target: Path) -> Path:
    """Return a new name ``.{name}.{random}.part`` beside `target`, used by nobody else."""
    # The name is cut because a long one that is legal for `target` may be too long with a suffix.
    return target.with_name(f".{target.name[:48]}.{os.urandom(8).hex()}.part")


def abandoned_parts(target: Path, seconds: float) -> Iterator[Path]:
    """Yield the parts of `target` that nobody has written to for so long."""
    pattern = re.compile(rf"\.{re.escape(target.name[:48])}\.[0-9a-f]{{16}}\.part")
    with suppress(OSError):  # no such folder, or none that may be read
        for part in target.parent.iterdir():
            if pattern.fullmatch(part.name) and time.time() - part.stat().st_mtime > seconds:
                yield part


def remove_abandoned_parts(target: Path, seconds: float) -> None:
    """Remove the parts of `target` that nobody has written to for so long."""
    for part in abandoned_parts(target, seconds):
        with suppress(OSError):
            part.unlink()


def move_into_place(temp: Path, target: Path) -> None:
    """Rename `temp`, already synced, over `target`, and sync their folder where systems can."""
    os.replace(temp, target)
    with suppress(OSError):  # Windows opens no folders, and some network disks sync none
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _create(temp: Path, path: StrPath) -> BinaryIO:
    try:
        return open(temp, "xb")
    except FileNotFoundError as error:
        raise _refusal(errno.ENOENT, path, f"there is no folder {temp.parent}") from error
    except OSError as error:
        reason = f"the folder {temp.parent} takes no new file ({error.strerror})"
        raise _refusal(error.errno, path, reason) from error


def _refusal(number: int | None, path: StrPath, reason: str) -> OSError:
    # OSError picks the subclass (FileNotFoundError, PermissionError, ...) by the number.
    return OSError(number or errno.EIO, f"cannot write {os.fspath(path)}: {reason}")
