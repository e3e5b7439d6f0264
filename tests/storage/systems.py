"""Systems that are not POSIX, as far as files go."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

# What Windows lacks. (Its errors for what it refuses are PermissionErrors.)
ABSENT = ("O_NOFOLLOW", "O_NONBLOCK", "O_DIRECTORY", "fchmod", "fchown")


def take_away_posix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files be as on Windows: no locks of POSIX, and no open file is renamed or removed."""
    for name in ABSENT:
        monkeypatch.delattr(os, name, raising=False)
    monkeypatch.setitem(sys.modules, "fcntl", None)
    for name in ("replace", "rename", "unlink", "remove"):
        monkeypatch.setattr(os, name, unless_open(getattr(os, name)))
    open_ = os.open

    def open_no_folder(path: Any, flags: int, *rest: Any) -> int:
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied", str(path))
        return open_(path, flags, *rest)

    monkeypatch.setattr(os, "open", open_no_folder)


def unless_open(act: Any) -> Any:
    def guarded(*paths: Any, **options: Any) -> Any:
        for path in paths:
            if is_open(path):
                raise PermissionError(13, "The process cannot access the file")
        return act(*paths, **options)

    return guarded


def is_open(path: Any) -> bool:
    """Whether this process has the file open, where that can be found out."""
    folder = Path("/proc/self/fd")
    for name in os.listdir(folder) if folder.is_dir() else ():
        try:
            if os.path.samestat(os.stat(folder / name), os.lstat(path)):
                return True
        except OSError:
            pass
    return False
