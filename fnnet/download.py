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
from typing import TYPE_CHECKING, BinaryIO

from fnnet.files import move_into_place, part_name

if TYPE_CHECKING:
    import http.client
    import urllib.request

# urllib and hashlib are imported where they are used: most programs find their files on the disk.

_CHUNK = 1 << 16
_ATTEMPTS = 3  # at each mirror
_PAUSE = 0.5  # seconds before the second attempt; doubles
_MIN_RATE = 1000  # bytes a second, below which a mirror counts as stuck
_ABANDONED = 3600.0  # seconds without a write, after which nobody is writing to a part any more


class DownloadError(OSError):
    """No mirror delivered a file; the message says what each answered and what to do next."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A published file: what it is called, how long it is, and what its digest must be."""

    name: str
    size: int
    algorithm: str
    digest: str


@dataclass(frozen=True, slots=True)
class _Refusal(Exception):
    """What a mirror answered instead of the file, and how to go on."""

    answer: str
    retry: bool = False  # the same mirror may do better
    restart: bool = False  # the bytes so far are no good


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
    ends in ``.part``, and a later call goes on from there if the server allows it. Any number of
    processes may do this at the same time: each writes to a name of its own, and only a verified
    file is moved to its place.

    Parameters
    ----------
    file : RemoteFile
    folder : Path
        Made if absent.
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
        If the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / file.name
    part = _claim_part(target)
    answers: list[str] = []
    try:
        with open(part, "ab"), _bar(file, progress) as show:
            pass
        for mirror in mirrors:
            try:
                _fetch_from(mirror, file, part, show, timeout)
            except _Refusal as refusal:
                answers.append(f"  {mirror}: {refusal.answer}")
            else:
                move_into_place(part, target)
                return mirror
    finally:
        _release_part(part, target)
    raise DownloadError("\n".join(answers))
