"""Command lines that answer bad usage with one line, and types of their options."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` that names the mistake and leaves the usage to --help."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def at_least(bound: int) -> Callable[[str], int]:
    """A type of options: whole numbers from a bound on."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = bound - 1
        if value < bound:
            raise argparse.ArgumentTypeError(f"must be a whole number >= {bound}, got {text!r}")
        return value

    return convert


def not_negative(below: float = math.inf) -> Callable[[str], float]:
    """A type of options: numbers from 0 on, below a bound."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value < below:
            expected = "finite and >= 0" if math.isinf(below) else f">= 0 and < {below:g}"
            raise argparse.ArgumentTypeError(f"must be a number {expected}, got {text!r}")
        return value

    return convert
