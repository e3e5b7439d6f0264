"""Downloads from mirrors: sized, digested, resumed after a break, and whole before they count."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from fnnet.storage.files import (
    abandoned_parts,
    explain_full_disk,
    move_into_place,
    part_name,
    remove_abandoned_parts,
)

if TYPE_CHECKING:
    import http.client
    import urllib.request

# urllib and hashlib are imported where they are used: most programs find their files on the disk.

_CHUNK = 1 << 16
_ATTEMPTS = 3  # at each mirror
_PAUSE = 0.5  # seconds before the second attempt; doubles
_MIN_RATE = 1000  # bytes a second, below which a mirror counts as stuck
_ABANDONED = 60.0  # seconds, beside a few time-outs, after which the writer of a part must be dead


class DownloadError(OSError):
    """No mirror delivered a file; the message says what each answered and what to do next."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A published file: what it is called, how long it is, and what its digest must be."""

    name: str
    size: int
    algorithm: str
    digest: str


class _Refusal(Exception):
    """What a mirror answered instead of the file, and how to go on."""

    def __init__(self, answer: str, *, retry: bool = False, restart: bool = False) -> None:
        super().__init__(answer)
        self.retry = retry  # the same mirror may do better
        self.restart = restart  # the bytes so far are no good


def describe_damage(path: Path, file: RemoteFile) -> str | None:
    """Compare `path` with the size and digest of `file`; None if both agree."""
    size = path.stat().st_size
    if size != file.size:
        return f"{size} bytes, expected {file.size}"
    digest = _digest(path, file.algorithm)
    if digest != file.digest:
        return f"{file.algorithm} {digest}, expected {file.digest}"
    return None


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
    ends in ``.part``, and a later call goes on from there if the server allows it: at once after
    an error or Ctrl-C, some two minutes later after the process was killed. Any number of
    processes may do this at the same time: each writes to a name of its own, and only a verified
    file is moved to its place.

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
        Seconds to wait for a server to connect or to send something.

    Returns
    -------
    str
        The mirror that delivered.

    Raises
    ------
    DownloadError
        If no mirror delivers.
    OSError
        If the folder cannot be written or the disk is full.
    """
    _check_mirrors(mirrors)
    absent = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / file.name
    abandoned = _ABANDONED + 6 * timeout
    part = _claim_part(target, abandoned)
    answers = []
    try:
        with explain_full_disk(target), _bar(file, progress) as show:
            for mirror in mirrors:
                try:
                    _fetch_from(f"{mirror.rstrip('/')}/{file.name}", file, part, show, timeout)
                except _Refusal as refusal:
                    answers.append(f"\n  {mirror}: {refusal}")
                else:
                    _install(part, file, target)
                    remove_abandoned_parts(target, abandoned)
                    return mirror
    finally:
        _release_part(part, target)
        with suppress(OSError):  # not empty: something came
            for path in absent:
                path.rmdir()
    raise DownloadError(f"no mirror delivered {file.name}:{''.join(answers)}")


def _check_mirrors(mirrors: Sequence[str]) -> None:
    if isinstance(mirrors, str):
        raise TypeError(f"mirrors: the single string {mirrors!r}, expected a sequence of URLs")
    if not mirrors:
        raise ValueError("mirrors: none, expected at least one URL")
    for mirror in mirrors:
        if not mirror.startswith(("https://", "http://")):
            raise ValueError(f"mirrors: {mirror!r}, expected a URL with https:// or http://")


def _claim_part(target: Path, abandoned: float) -> Path:
    """Return a part of our own beside `target`, with what an interrupted download left, if any.

    Renaming is the claim: of several processes that want the same leftover, one succeeds.
    """
    part = part_name(target)
    # A process that was killed could not release its part; one that writes touches it often.
    for leftover in (_leftover_name(target), *abandoned_parts(target, abandoned)):
        with suppress(OSError):
            os.rename(leftover, part)
            return part
    part.touch(exist_ok=False)
    return part


def _leftover_name(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


def _install(part: Path, file: RemoteFile, target: Path) -> None:
    try:
        move_into_place(part, target)
    except PermissionError:
        # On Windows, a process that reads the file it has just installed keeps ours from its place.
        if not target.is_file() or describe_damage(target, file):
            raise
        part.unlink()


def _release_part(part: Path, target: Path) -> None:
    """Keep the bytes of an unfinished `part` for a later call; remove an empty one."""
    with suppress(OSError):  # gone, after a success
        if part.stat().st_size:
            os.replace(part, _leftover_name(target))
        else:
            part.unlink()


def _fetch_from(
    url: str, file: RemoteFile, part: Path, show: Callable[[int], None], timeout: float
) -> None:
    """Complete and verify `part` from one mirror, or raise the last `_Refusal`."""
    attempt = 1
    while True:
        try:
            inherited = _append(url, file, part, show, timeout)
            if damage := describe_damage(part, file):
                # The fault may lie in the bytes that were there before, not with this mirror.
                raise _Refusal(damage, retry=inherited, restart=True)
            return
        except _Refusal as refusal:
            if refusal.restart:
                os.truncate(part, 0)
            if not refusal.retry or attempt == _ATTEMPTS:
                raise
        time.sleep(_PAUSE * 2 ** (attempt - 1))
        attempt += 1


def _append(
    url: str, file: RemoteFile, part: Path, show: Callable[[int], None], timeout: float
) -> bool:
    """Download what `part` lacks; return whether any of it was there before."""
    with open(part, "r+b") as out:
        start = out.seek(0, os.SEEK_END)
        if start >= file.size:  # whole, if the digest agrees
            return True
        first = start
        for offset, chunk in _stream(url, file.size, start, timeout):
            if offset == 0:  # the server began anew, whatever we asked for
                first = out.truncate(0)
            out.seek(offset)
            out.write(chunk)
            show(offset + len(chunk))
        out.flush()
        os.fsync(out.fileno())
    return first > 0


def _stream(url: str, size: int, start: int, timeout: float) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, bytes) of the file at `url` from `start` on, or from 0 if it must be."""
    import http.client
    import urllib.error

    # The consumer's own exceptions, a full disk say, are not raised in here.
    first = offset = start
    try:
        with _open(url, start, timeout) as response:
            first = offset = _first_offset(response, start, size)
            began = time.monotonic()
            while chunk := response.read1(_CHUNK):
                if offset + len(chunk) > size:
                    raise _Refusal(f"more than the {size} bytes expected", restart=True)
                yield offset, chunk
                offset += len(chunk)
                seconds = time.monotonic() - began
                if seconds > timeout and offset - first < _MIN_RATE * seconds:
                    raise TimeoutError(f"fewer than {_MIN_RATE} bytes a second")
    except urllib.error.HTTPError as error:
        error.close()
        retry = error.code in (408, 416, 429) or error.code >= 500
        answer = f"HTTP {error.code} {_one_line(error.reason)}"
        raise _Refusal(answer, retry=retry, restart=error.code == 416) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = getattr(error, "reason", error)
        passing = isinstance(cause, (ConnectionResetError, http.client.HTTPException))
        answer = _one_line(str(cause)) or type(cause).__name__
        raise _Refusal(answer, retry=passing or offset > first) from error
    if offset < size:
        raise _Refusal(f"cut off after {offset} of {size} bytes", retry=True)


def _open(url: str, start: int, timeout: float) -> http.client.HTTPResponse:
    import urllib.request

    headers = {"User-Agent": "fnnet", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(url, headers=headers)
    response: http.client.HTTPResponse = _opener(2 * timeout).open(request, timeout=timeout)
    return response


def _opener(patience: float) -> urllib.request.OpenerDirector:
    """What opens URLs whose servers answer within so many seconds, redirecting to nothing less."""
    import http.client
    import socket
    import threading
    import urllib.error
    import urllib.request

    def patient(kind: type[http.client.HTTPConnection]) -> type[http.client.HTTPConnection]:
        class Connection(kind):  # type: ignore[valid-type,misc]  # mypy wants one kind
            def cut(self) -> None:
                with suppress(OSError):  # cut already
                    self.sock.shutdown(socket.SHUT_RDWR)

            def getresponse(self) -> http.client.HTTPResponse:
                # A time-out is for each read: headers that come byte by byte never reach it.
                began = time.monotonic()
                watch = threading.Timer(patience, self.cut)
                watch.start()
                try:
                    response: http.client.HTTPResponse = super().getresponse()
                finally:
                    watch.cancel()
                if time.monotonic() - began >= patience:
                    response.close()
                    raise TimeoutError(f"no answer in {patience:g} seconds")
                return response

        return Connection

    class Plain(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(patient(http.client.HTTPConnection), req)

    class Secure(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(patient(http.client.HTTPSConnection), req)

    class Redirects(urllib.request.HTTPRedirectHandler):
        def redirect_request(
            self,
            req: urllib.request.Request,
            fp: IO[bytes],
            code: int,
            msg: str,
            headers: http.client.HTTPMessage,
            newurl: str,
        ) -> urllib.request.Request | None:
            allowed = ("https:",) if req.type == "https" else ("https:", "http:")
            if not newurl.startswith(allowed):
                raise urllib.error.URLError(f"redirects to {newurl}, which is not followed")
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    return urllib.request.build_opener(Redirects, Plain, Secure)


def _first_offset(response: http.client.HTTPResponse, start: int, size: int) -> int:
    """Return where in the file the response begins, after a look at the length it declares."""
    if response.status == 206:
        answer = response.headers.get("Content-Range", "")
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer)
        if match is None or int(match[1]) != start or match[2] not in ("*", str(size)):
            raise _Refusal(f"answered with the range {answer!r}", retry=True, restart=True)
        return start
    length = response.headers.get("Content-Length")
    kind = response.headers.get_content_type()
    if length is None and kind == "text/html":
        raise _Refusal("an HTML page")
    if length is not None and length != str(size):
        raise _Refusal(f"{length} bytes of {kind}, expected {size}")
    return 0


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _digest(path: Path, algorithm: str) -> str:
    import hashlib

    # Not for security where MD5 is all that a source publishes; some systems forbid it otherwise.
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


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
