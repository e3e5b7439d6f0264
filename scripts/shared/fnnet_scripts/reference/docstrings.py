"""Docstrings in the house's NumPy style as the reST that Sphinx reads.

In this style an entry is ``name : what it is``, in one sentence that may go on in the lines below.
Readers of NumPy's style take the first line for a type, and a sentence below the entries for an
entry: hence a reader of our own. An entry whose first line could have held more is one of NumPy's
own style, with a type in that line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

WIDTH = 92  # characters of a docstring's line, inside of a function of a module
FENCE = "```"
FIELDS = {  # and how a name in them looks
    "Parameters": "**{}**",
    "Returns": "**{}**",
    "Yields": "**{}**",
    "Raises": "`{}`",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a section.

    Attributes
    ----------
    names : before the colon
    kind : the type, where the first line has nothing else
    text : lines of what it is
    """

    names: str
    kind: str
    text: tuple[str, ...]


def rest_of(lines: Sequence[str], types: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """A docstring as reST, and what stands under "Attributes" and is none.

    Parameters
    ----------
    lines : of the docstring, without its indentation
    types : the annotations of a class's attributes; empty for a function
    """
    written: list[str] = []
    strangers: list[str] = []
    for title, body in sections(lines):
        if title == "Attributes":
            found = entries(body)
            strangers += [name for each in found for name in _split(each) if name not in types]
            for each in found:
                written += _attribute(each, types)
        elif title in FIELDS:
            written += _field(title, entries(body))
        else:
            written += [f".. rubric:: {title}", ""] if title else []
            written += prose(body)
    return written, strangers


def sections(lines: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each section with its title; what comes before the first has none."""
    title, body, i = "", list[str](), 0
    while i < len(lines):
        ruled = i + 1 < len(lines) and re.fullmatch(r"-{3,}", lines[i + 1])
        if ruled and re.fullmatch(r"[A-Z][A-Za-z ]+", lines[i]):
            yield title, body
            title, body, i = lines[i], [], i + 2
        else:
            body.append(lines[i])
            i += 1
    yield title, body


def entries(body: Sequence[str]) -> list[Entry]:
    """The entries of a section: lines without indentation, each with those below it."""
    blocks: list[list[str]] = []
    for line in body:
        if line and not line.startswith(" "):
            blocks.append([line])
        elif blocks:
            blocks[-1].append(line.removeprefix("    "))
    return [_entry(*block) for block in blocks]


def _entry(first: str, *rest: str) -> Entry:
    names, _, text = first.partition(" : ")
    more = [*rest]
    while more and not more[-1]:
        more.pop()
    fits = bool(more) and len(first) + 1 + len(more[0].partition(" ")[0]) <= WIDTH - 4
    if not text or fits:
        return Entry(names, text, tuple(more))
    return Entry(names, "", (text, *more))


def _split(entry: Entry) -> list[str]:
    return [name.strip() for name in entry.names.split(",")]


def _field(title: str, found: Sequence[Entry]) -> list[str]:
    """A section of entries as Sphinx shows its own: a name, a dash and what it is."""
    mark = "* " if len(found) > 1 else ""
    written = [f":{title}:"]
    for each in found:
        kind = f" (*{each.kind}*)" if each.kind else ""
        names = ", ".join(FIELDS[title].format(name.replace("*", r"\*")) for name in _split(each))
        dash = " –" if each.text else ""
        lines = [f"{mark}{names}{kind}{dash}", *each.text]
        written += [f"    {line}" for line in lines[:1]]
        written += [f"    {' ' * len(mark)}{line}".rstrip() for line in lines[1:]]
    return [*written, ""]


def _attribute(entry: Entry, types: Mapping[str, str]) -> list[str]:
    names = _split(entry)
    kinds = {types[name] for name in names if name in types}
    first, *others = names
    return [
        f".. py:attribute:: {first}",
        *(f"                  {name}" for name in others),
        *(f"   :type: {kind}" for kind in kinds if len(kinds) == 1),
        "   :no-contents-entry:",
        "",
        *(f"   {line}".rstrip() for line in (entry.kind, *entry.text) if line),
        "",
    ]


def prose(body: Sequence[str]) -> list[str]:
    """Text in which indented and fenced blocks below a colon are code, as the reader takes them."""
    written: list[str] = []
    fenced = False
    for i, line in enumerate(body):
        if line.startswith(FENCE):
            fenced = not fenced
            written += [f".. code-block:: {line.removeprefix(FENCE)}", ""] if fenced else [""]
        elif fenced:
            written.append(f"    {line}".rstrip())
        else:
            code = (
                line.endswith(":") and not line.startswith((" ", ".")) and _is_code(body[i + 1 :])
            )
            written.append(f"{line}:" if code and not line.endswith("::") else line)
    return written


def _is_code(after: Sequence[str]) -> bool:
    return len(after) > 1 and not after[0] and after[1].startswith("    ")
