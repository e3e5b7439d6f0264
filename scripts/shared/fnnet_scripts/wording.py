"""How numbers are written in tables and figures, and the processor that they were measured on."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from pathlib import Path


def digits(value: float) -> str:
    """A number to three significant digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}".rstrip(".")


def percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def megabytes(count: int) -> str:
    return f"{count / 1e6:.1f}"


def dashed(sizes: Sequence[int]) -> str:
    return "-".join(map(str, sizes))


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def table(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns line up."""
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = []
    for first, *rest in (header, rule, *body):
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def processor() -> str:
    """The processor's name."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    match = re.search(r"model name\s*: (.*)", text)
    return match[1] if match else platform.machine()
