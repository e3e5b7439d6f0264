"""What installed distributions require, and how large they are."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import fnnet


def requirements(name: str) -> list[str]:
    """A distribution and all installed ones that it requires, extras aside."""
    found, waiting = [], [name]
    while waiting:
        found.append(waiting.pop())
        for requirement in _requires(found[-1]):
            match = re.match(r"[\w.-]+", requirement)
            if match and "extra ==" not in requirement and _is_installed(match[0]):
                waiting += {match[0]} - {*found, *waiting}
    return found


def _requires(name: str) -> list[str]:
    return ["numpy"] if name == "fnnet" else distribution(name).requires or []


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def installed_size(name: str) -> int:
    """Bytes of a distribution's files, compiled Python aside."""
    if name == "fnnet":  # which may run from a checkout
        paths = [*Path(fnnet.__file__).parent.rglob("*")]
    else:
        paths = [Path(str(file.locate())) for file in distribution(name).files or []]
    return sum(path.stat().st_size for path in paths if path.is_file() and path.suffix != ".pyc")
