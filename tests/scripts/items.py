"""What pools work on in tests: a module without imports that take a worker time."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def double(item: int) -> int:
    return 2 * item


def die_at_seven(item: int) -> int:
    if item == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * item


def die_once(marker: Path, item: int) -> int:
    if item == 7 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * item


def fail_at_seven(item: int) -> int:
    if item == 7:
        raise ValueError("no seven")
    return 2 * item


def threads(item: int) -> str | None:
    return os.environ.get("OPENBLAS_NUM_THREADS")


class Awkward(Exception):
    """An error that cannot be made anew from what a pickle holds of it."""

    def __init__(self, number: int, why: str) -> None:
        super().__init__(f"{number}: {why}")


def fail_awkwardly_at_seven(item: int) -> int:
    if item == 7:
        raise Awkward(7, "no seven")
    return 2 * item
