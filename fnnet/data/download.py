"""Downloads from mirrors: resumed after a break, and used only once size and digest are right."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fnnet.checks import flag, instance_of, is_number, items_of, one_of, path_text, whole_number
from fnnet.data.exchange import CHUNK, MIN_RATE, Refusal, stream_from
from fnnet.storage.files import (
    Part,
    check_replaceable,
    discard,
    explain_full_disk,
    install,
    new_part,
    open_abandoned,
    open_regular,
    parts_of,
    remove_abandoned_parts,
    sync,
)

_ALGORITHMS = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")
_ATTEMPTS = 3  # at each mirror
_PAUSE = 0.5  # seconds before the second attempt; doubles
_LONGEST = 86_400.0  # seconds: a day
_ABANDONED = 60.0  # seconds, beside a few time-outs, after which the writer of a part must be dead


class DownloadError(OSError):
    """No mirror delivered a file; the message says what each answered and what to do next."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A published file: what it is called, how long it is, and what its digest must be.

    `contents` is the SHA-256 of what is inside, unpacked, where that is known: by it the same file
    is told when others have unpacked it or packed it anew.
    """

    name: str
    size: int
    algorithm: str
    digest: str
    contents: str | None = None

    def __post_init__(self) -> None:
        instance_of(str, "name", self.name)
        if os.path.basename(self.name) != self.name or self.name in ("", ".", ".."):
            raise ValueError(f"name must be that of a file, without folders, got {self.name!r:.99}")
        path_text("name", self.name)
        whole_number("size", self.size, 0)
        one_of("algorithm", self.algorithm, _ALGORITHMS)
        instance_of(str, "digest", self.digest)
        if self.contents is not None:
            instance_of(str, "contents", self.contents)


def describe_damage(path: Path, file: RemoteFile) -> str | None:
    """Compare `path` with the size and digest of `file`; None if both agree."""
    instance_of(RemoteFile, "file", file)
    with open_regular(path) as stream:
        return _damage(stream, file)


def check_timeout(timeout: float) -> float:
    """The time-out as a float, if it is a number of seconds that a system could wait."""
    if not (is_number(timeout) and 0 < float(timeout) <= _LONGEST):
        raise ValueError(
            f"timeout must be a number of seconds in (0, {_LONGEST:g}], got {timeout!r:.99}"
        )
    return float(timeout)


def fetch(
    file: RemoteFile,
    folder: Path,
    mirrors: Sequence[str],
    *,
    progress: bool = True,
    timeout: float = 10.0,
) -> str:
    """Download `file` into `folder` from the first mirror that delivers it whole.

    An error, a time-out, a cut connection, a wrong length, another page and a wrong digest all
    lead to the next mirror. What arrived before an interruption is kept under a hidden name that
    ends in ``.part``, and a later call goes on from a copy of it if the server allows that. (Where
    the disk has no locks, what a killed process left is taken for abandoned some two minutes
    later.) When the file is whole, all that was left is removed. Any number of processes may do
    this at the same time: each writes to a file of its own, and only a verified file is moved to
    its place.

    Parameters
    ----------
    file : RemoteFile
    folder : Path
        Made if absent, and left only if something came.
    mirrors : sequence of str
        URLs of folders, http or https. An https one is not followed to plain http.
    progress : bool
        Draw a bar on stderr, if that is a terminal.
    timeout : float
        Seconds, above 0. A mirror must begin to send within so many, redirects and proxies
        included, and then send 1000 bytes for each second, counted over as many; half of them
        are for a connection to one address. So no mirror holds a call up for longer than twice
        this time without delivering.

    Returns
    -------
    str
        The mirror that delivered.

    Raises
    ------
    DownloadError
        If no mirror delivers.
    ValueError
        If a mirror is no URL, or the time-out is out of range.
    OSError
        If the folder cannot be written, the disk is full, or a file of that name is read-only.
    """
    instance_of(RemoteFile, "file", file)
    folder = Path(path_text("folder", folder))
    mirrors, progress = checked_mirrors(mirrors), flag("progress", progress)
    timeout = check_timeout(timeout)
    target = folder / file.name
    check_replaceable(target)
    absent = [path for path in (folder, *folder.parents) if not path.exists()]
    _make_folder(folder)
    abandoned = _ABANDONED + 6 * timeout
    answers = []
    try:
        with _part(target) as part, explain_full_disk(target), _bar(file, progress) as show:
            _inherit(part, target, file.size, abandoned)
            for mirror in mirrors:
                url = f"{mirror.rstrip('/')}/{file.name}"
                try:
                    _fetch_from(url, file, part.file, show, timeout)
                except Refusal as refusal:
                    answers.append(f"\n  {mirror}: {refusal}")
                else:
                    _install(part, file, target)
                    remove_leftovers(target, abandoned)
                    return mirror
    finally:
        with suppress(OSError):  # not empty: something came
            for path in absent:
                path.rmdir()
    raise DownloadError(f"no mirror delivered {file.name}:{';'.join(answers)}")


def remove_leftovers(target: Path, seconds: float = _ABANDONED) -> None:
    """Remove what downloads that did not end left beside a file that is whole."""
    with suppress(OSError):
        _leftover_name(target).unlink()
    remove_abandoned_parts(target, seconds)


def checked_mirrors(mirrors: Sequence[str]) -> tuple[str, ...]:
    """The mirrors, if each is a URL that could be asked."""
    if isinstance(mirrors, str):
        raise TypeError(f"mirrors: the single string {mirrors!r:.99}, expected a sequence of URLs")
    urls = items_of("mirrors", mirrors, "URLs")
    if not urls:
        raise ValueError("mirrors: none, expected at least one URL")
    for mirror in urls:
        if not (isinstance(mirror, str) and mirror.startswith(("https://", "http://"))):
            raise ValueError(f"mirrors: {mirror!r:.99}, expected a URL with https:// or http://")
    return urls


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise NotADirectoryError(
            errno.ENOTDIR, f"cannot write to {folder}: it is no folder"
        ) from None


@contextmanager
def _part(target: Path) -> Iterator[Part]:
    """Yield a part of our own, and keep its bytes for a later call if it is not installed."""
    part = new_part(target)
    try:
        yield part
    finally:
        _release(part, target)


def _leftover_name(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


def _release(part: Part, target: Path) -> None:
    """Keep the bytes of an unfinished part for a later call; remove an empty one."""
    with suppress(OSError, ValueError):  # a full disk; closed, since it is installed
        part.file.flush()
    if not part.locked:
        with suppress(OSError):
            part.file.close()  # Windows renames no open file
    with suppress(OSError):  # gone, after a success; or a folder is in the way, and it stays
        if part.path.stat().st_size:
            os.replace(part.path, _leftover_name(target))
        else:
            discard(part)
    with suppress(OSError):
        part.file.close()


def _inherit(part: Part, target: Path, size: int, seconds: float) -> None:
    """Copy into a new part the most that an interrupted download left.

    A copy, since a process that was stopped, and not killed, may still write to what it left.
    """
    out = part.file
    for path in (_leftover_name(target), *parts_of(target)):
        with suppress(FileNotFoundError), _left(path, target, seconds) as left:
            if left and out.seek(0, os.SEEK_END) < os.fstat(left.fileno()).st_size <= size:
                out.seek(0)
                shutil.copyfileobj(left, out, CHUNK)


@contextmanager
def _left(path: Path, target: Path, seconds: float) -> Iterator[BinaryIO | None]:
    """Open what a download left, if nobody writes to it."""
    left = None
    if path != _leftover_name(target):
        left = open_abandoned(path, seconds)
    else:
        with suppress(OSError):  # absent, or a link, a folder or a pipe
            left = open_regular(path, follow=False)  # released under this name
    try:
        yield left
    finally:
        if left:
            left.close()


def _install(part: Part, file: RemoteFile, target: Path) -> None:
    try:
        install(part, target)
    except (PermissionError, FileNotFoundError):
        # On Windows, a process that reads the file it has just installed keeps ours from its place;
        # without locks, one that was first may have removed our part as abandoned.
        if not target.is_file() or describe_damage(target, file):
            raise
        discard(part)


def _fetch_from(
    url: str, file: RemoteFile, out: BinaryIO, show: Callable[[int], None], timeout: float
) -> None:
    """Complete and verify the part `out` from one mirror, or raise the last `Refusal`.

    All attempts that bring nothing share twice the time-out, pauses included.
    """
    began, attempt, patience = time.monotonic(), 1, timeout
    while True:
        before, tried = out.seek(0, os.SEEK_END), time.monotonic()
        try:
            inherited = _append(url, file, out, show, patience)
            if damage := _damage(out, file):
                # The fault may lie in the bytes that were there before, not with this mirror.
                raise Refusal(damage, retry=inherited, restart=True)
            return
        except Refusal as refusal:
            now, gained = time.monotonic(), out.seek(0, os.SEEK_END) - before
            if refusal.restart:
                out.truncate(0)
            if gained >= MIN_RATE * (now - tried) > 0:
                began = now  # it was slow to fail, but not to deliver
            pause = _PAUSE * 2 ** (attempt - 1)
            left = began + 2 * timeout - now - pause
            if not refusal.retry or attempt == _ATTEMPTS or left <= 0:
                raise
        time.sleep(pause)
        patience = min(timeout, left / 2)  # an answer may take as long as what comes after it
        attempt += 1


def _append(
    url: str, file: RemoteFile, out: BinaryIO, show: Callable[[int], None], timeout: float
) -> bool:
    """Download what `out` lacks; return whether any of it was there before."""
    start = out.seek(0, os.SEEK_END)
    if start >= file.size:  # whole, if the digest agrees
        return True
    first = start
    with closing(stream_from(url, file.size, start, timeout)) as stream:
        for offset, chunk in stream:
            if offset == 0:  # the server began anew, whatever we asked for
                first = out.truncate(0)
            out.seek(offset)
            out.write(chunk)
            show(offset + len(chunk))
    out.flush()
    sync(out)
    return first > 0


def _damage(stream: BinaryIO, file: RemoteFile) -> str | None:
    """Compare an open file with the size and digest of `file`; None if both agree."""
    import hashlib

    size = stream.seek(0, os.SEEK_END)
    if size != file.size:
        return f"{size} bytes, expected {file.size}"
    # Not for security where MD5 is all that a source publishes; some systems forbid it otherwise.
    digest = hashlib.new(file.algorithm, usedforsecurity=False)
    stream.seek(0)
    while chunk := stream.read(1 << 20):
        digest.update(chunk)
    if digest.hexdigest() != file.digest:
        return f"{file.algorithm} {digest.hexdigest()}, expected {file.digest}"
    return None


@contextmanager
def _bar(file: RemoteFile, wanted: bool) -> Iterator[Callable[[int], None]]:
    """Yield a function that draws how many bytes are there, on a terminal, ten times a second."""
    stream = sys.stderr
    if not wanted or stream is None or not stream.isatty():
        yield lambda done: None
        return
    drawn = 0.0

    def show(done: int) -> None:
        nonlocal drawn
        if done < file.size and time.monotonic() - drawn < 0.1:
            return
        drawn = time.monotonic()
        stream.write("\r" + _bar_line(file, done, shutil.get_terminal_size().columns))
        stream.flush()

    try:
        yield show
    finally:
        if drawn:
            stream.write("\n")


def _bar_line(file: RemoteFile, done: int, columns: int) -> str:
    filled = "#" * (20 * done // file.size)
    numbers = f"{done / 1e6:.1f} of {file.size / 1e6:.1f} MB"
    return f"{file.name} [{filled:<20}] {numbers}"[: columns - 1]
