"""Files that are either whole or absent: a new one replaces an old one in a single step.

A new file grows under a hidden name beside its target: its part. The writer locks the part, so that
others can tell a part whose writer was killed from one that still grows. Where a system or a disk
has no locks (Windows has none of this kind), the age of a part must do.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from fnnet.checks import flag, one_of, path_text

StrPath = str | os.PathLike[str]

_ABANDONED = 3600.0  # seconds without a change, after which the writer of a part must be dead
_RETRIES = 6  # of a rename that is refused, while a virus scanner reads the new file, say
_PAUSE = 0.01  # seconds before the first of them; doubles
_HELD = (errno.EACCES, errno.EPERM, errno.EBUSY, errno.ETXTBSY)
# What disks answer that have nothing to sync; a fault of the disk (EIO, ENOSPC) is another answer.
_UNSYNCED = (
    *(errno.EINVAL, errno.ENOSYS, errno.ENOTTY, errno.ENOTSUP, errno.EOPNOTSUPP),
    *(errno.EPERM, errno.EACCES, errno.EROFS),
)


@dataclass(frozen=True, slots=True)
class Part:
    """A file that grows under a hidden name until it is whole."""

    path: Path
    file: BinaryIO
    locked: bool


@contextmanager
def atomic_write(path: StrPath) -> Iterator[BinaryIO]:
    """Open a new binary file that takes the place of `path` only when all of it is on the disk.

    The bytes go to ``.{name}.{random}.part`` in the same folder. When the block ends, that file
    is flushed, synced and renamed over `path`. On any exception it is removed and the old file
    stays as it was, so a reader finds the old bytes or the new ones, never a mixture. What a
    killed process leaves is removed by the next write to the same `path` (an hour later, where
    the disk has no locks). A symbolic link is followed, ``~`` is the home folder, and the
    permissions of a file that is replaced are kept where the disk knows permissions.

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
        If the folder is absent or cannot be written, if `path` is a folder, a device or a
        read-only file, or if the disk is full.
    """
    # Through a link: replacing the link itself would put the bytes on another disk than meant.
    target = Path(os.path.realpath(os.path.expanduser(path_text("path", path))))
    check_replaceable(target)
    remove_abandoned_parts(target, _ABANDONED)
    part = new_part(target)
    try:
        with explain_full_disk(path):
            yield part.file
            part.file.flush()
            sync(part.file)
            with suppress(OSError):  # nothing to replace, or a disk without permissions
                os.chmod(part.path, target.stat().st_mode & 0o777)
            install(part, target)
    finally:
        discard(part)


@contextmanager
def explain_full_disk(path: StrPath) -> Iterator[None]:
    """Add to the error of a full disk, quota or size limit which file it was and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise _refusal(error.errno, path, f"{error.strerror}; make room and try again") from error


def check_replaceable(target: Path) -> None:
    """Raise where `target` exists and must not be replaced."""
    try:
        mode = target.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if stat.S_ISDIR(mode):
        raise _refusal(errno.EISDIR, target, "it is a folder")
    if not stat.S_ISREG(mode):
        raise _refusal(errno.EINVAL, target, "it is not a regular file")
    # Whoever may write everything (root) is told by the mode alone.
    if not mode & stat.S_IWUSR or not os.access(target, os.W_OK):
        reason = "it is read-only; make it writable, or choose another name"
        raise _refusal(errno.EACCES, target, reason)


def open_regular(
    path: StrPath, mode: Literal["rb", "r+b"] = "rb", *, follow: bool = True
) -> BinaryIO:
    """Open a regular file; ``~`` is the home folder.

    A pipe without a writer would block, and a device may have no end: both are refused. With
    `follow=False` a symbolic link is refused, too.
    """
    name = os.path.expanduser(path_text("path", path))
    one_of("mode", mode, ("rb", "r+b"))
    follow = flag("follow", follow)
    extra = getattr(os, "O_NONBLOCK", 0) | (0 if follow else getattr(os, "O_NOFOLLOW", 0))
    file = open(name, mode, opener=lambda n, flags: os.open(n, flags | extra))  # noqa: SIM115
    try:
        opened = os.fstat(file.fileno())
        if not stat.S_ISREG(opened.st_mode):
            reason = "it is a pipe or a device, expected a regular file"
            raise OSError(errno.EINVAL, f"cannot read {name}: {reason}")
        if not follow and not os.path.samestat(opened, os.lstat(name)):
            raise OSError(errno.ELOOP, f"cannot read {name}: it is a symbolic link")
    except BaseException:
        file.close()
        raise
    return file


def new_part(target: Path) -> Part:
    """Create a part of `target` that is nobody else's, locked where that is possible."""
    while True:
        path = part_name(target)
        file = _create(path, target)
        locked = _lock(file)
        # Another process may have taken it for abandoned before the lock.
        if locked is None or (locked and _is_at(file, path)):
            return Part(path, file, bool(locked))
        discard(Part(path, file, False))


def install(part: Part, target: Path) -> None:
    """Rename a part that is whole and synced over `target`, and sync the folder if possible."""
    if not part.locked:
        part.file.close()  # Windows renames no open file
    for i in range(_RETRIES + 1):
        try:
            os.replace(part.path, target)
            break
        except OSError as error:
            if error.errno not in _HELD:
                raise
            if i == _RETRIES:
                reason = f"another program holds it, or its folder is closed ({error.strerror})"
                raise _refusal(error.errno, target, reason) from error
        time.sleep(_PAUSE * 2**i)
    with suppress(OSError):  # Windows opens no folders, and some network disks sync none
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def discard(part: Part) -> None:
    """Close a part, and remove it if it has not been installed."""
    with suppress(OSError):
        part.path.unlink()  # before its lock goes
    with suppress(OSError):  # a full disk takes no more of what is buffered
        part.file.close()
    with suppress(OSError):
        part.path.unlink()  # Windows removes no open file


def sync(file: BinaryIO) -> None:
    """Have the disk keep what was written, if it is a disk that can be asked to."""
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in _UNSYNCED:
            raise


def part_name(target: Path) -> Path:
    """Return a new name ``.{name}.{random}.part`` beside `target`, used by nobody else."""
    # The name is cut because a long one that is legal for `target` may be too long with a suffix.
    return target.with_name(f".{target.name[:48]}.{os.urandom(8).hex()}.part")


def parts_of(target: Path) -> list[Path]:
    """Return the parts of `target`, those that grow and those that nobody will finish."""
    pattern = re.compile(rf"\.{re.escape(target.name[:48])}\.[0-9a-f]{{16}}\.part")
    with suppress(OSError):  # no such folder, or none that may be read
        return [path for path in target.parent.iterdir() if pattern.fullmatch(path.name)]
    return []


def open_abandoned(path: Path, seconds: float) -> BinaryIO | None:
    """Open a part whose writer is dead; None if it lives, or if this is no part.

    The writer is dead if nobody holds the lock, or, where there are no locks, if nobody has
    written for so many seconds.
    """
    try:
        file = open_regular(path, "r+b", follow=False)
    except OSError:
        return None
    locked = _lock(file)
    age = time.time() - os.fstat(file.fileno()).st_mtime
    if locked or (locked is None and age > seconds):
        return file
    file.close()
    return None


def remove_abandoned_parts(target: Path, seconds: float) -> None:
    """Remove the parts of `target` whose writers are dead (see `open_abandoned`)."""
    for path in parts_of(target):
        if file := open_abandoned(path, seconds):
            discard(Part(path, file, False))


def _create(path: Path, target: Path) -> BinaryIO:
    try:
        return open(path, "x+b")
    except FileNotFoundError as error:
        raise _refusal(errno.ENOENT, target, f"there is no folder {path.parent}") from error
    except OSError as error:
        reason = f"the folder {path.parent} takes no new file ({error.strerror})"
        raise _refusal(error.errno, target, reason) from error


def _lock(file: BinaryIO) -> bool | None:
    """Lock a file for as long as it is open: whether that succeeds, None if locks do not exist."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return None
    return True


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.lstat(path))
    except FileNotFoundError:
        return False


def _refusal(number: int | None, path: StrPath, reason: str) -> OSError:
    # OSError picks the subclass (FileNotFoundError, PermissionError, ...) by the number.
    return OSError(number or errno.EIO, f"cannot write {os.fsdecode(path)}: {reason}")
