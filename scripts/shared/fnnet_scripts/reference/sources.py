"""What Sphinx reads: the project's own pages as they are, and a page for each group of names."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import fnnet
from fnnet_scripts.reference.names import Page, aliases, pages, value_of

GUIDES = {  # page: how the menu calls it
    "scripts/HOW_DO_I.md": "How do I ...",
    "scripts/README.md": "Training and recipes",
    "scripts/loops/README.md": "Other loops",
    "scripts/measure/README.md": "Speed and scaling",
    "CHANGELOG.md": "Changes",
}
HOME = "README.md"
LONGEST = 120  # characters of a value that is shown
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")


def write_sources(root: Path, out: Path) -> None:
    """Write all that the site is made of.

    Parameters
    ----------
    root : the checkout
    out : an empty folder
    """
    others = [*_others(root)]
    known = {HOME, *GUIDES, *others}
    for page in known:
        text = _page(root, page, known, out)
        if page == HOME:
            text += _menu("Guides", {_as_index(name): title for name, title in GUIDES.items()})
            names = [*(each.name for each in pages()), "types"]
            text += _menu("Reference", {f"reference/{name}": "" for name in names})
            text += _menu("For maintainers", {_as_index(name): "" for name in others})
        target = out / _as_index(page)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")
    (out / "reference").mkdir()
    for each in pages():
        (out / "reference" / f"{each.name}.rst").write_text(_names(each), "utf-8")
    (out / "reference" / "types.rst").write_text(_types(aliases()), "utf-8")


def _others(root: Path) -> Iterator[str]:
    """The pages beside the guides."""
    for folder in ("scripts", "tests"):
        for path in sorted(root.joinpath(folder).rglob("README.md")):
            if (name := path.relative_to(root).as_posix()) not in GUIDES:
                yield name


def _as_index(page: str) -> str:
    """README.md is what GitHub shows of a folder, index.html what a browser does."""
    return page.replace("README.md", "index.md")


def _page(root: Path, page: str, known: Collection[str], out: Path) -> str:
    """The text of a page; what it shows or links to is copied beside it."""

    def link(found: re.Match[str]) -> str:
        before, target, anchor, after = found.groups()
        path = (root / page).parent / target
        name = path.resolve().relative_to(root.resolve()).as_posix() if path.exists() else ""
        if path.is_file() and name not in known:
            copy = out / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        return f"{before}{_as_index(target)}{anchor or ''}{after}"

    return LINK.sub(link, (root / page).read_text("utf-8"))


def _menu(caption: str, targets: Mapping[str, str]) -> str:
    lines = [f"{title} </{name}>" if title else f"/{name}" for name, title in targets.items()]
    return "\n".join(
        ["", "```{toctree}", f":caption: {caption}", ":hidden:", "", *lines, "```", ""]
    )


def _names(page: Page) -> str:
    """A page of names: the module's own words, a table, then each name."""
    inside = page.module != "fnnet"
    lines = [page.title, "=" * len(page.title), ""]
    lines += [f".. automodule:: {page.module}", "   :no-members:", ""] if inside else []
    documented = [name for name in page.names if callable(value_of(page, name))]
    lines += [f".. currentmodule:: {page.module}", "", ".. autosummary::", "   :nosignatures:", ""]
    lines += [*(f"   {name}" for name in documented), ""]
    for name in page.names:
        lines += _directive(page, name)
    return "\n".join(lines)


def _directive(page: Page, name: str) -> list[str]:
    value = value_of(page, name)
    if not callable(value):
        shown = repr(value)
        held = [f"   :value: {shown}"] if len(shown) <= LONGEST else []
        return [f".. py:data:: {name}", *held, ""]
    if isinstance(value, type):
        kind = "autoexception" if issubclass(value, Exception) else "autoclass"
        base = ["   :show-inheritance:"] if kind == "autoexception" else []
        return [f".. {kind}:: {name}", "   :members:", *base, ""]
    return [f".. autofunction:: {name}", ""]


def _types(known: Mapping[str, str]) -> str:
    title = "Types in signatures"
    lines = [title, "=" * len(title), "", ".. highlight:: none", ""]
    for name, text in known.items():
        shown = re.sub(r"\w+", lambda word: _linked(word[0], known), text)
        lines += [f".. py:type:: {name}", "", "   .. parsed-literal::", "", f"      {shown}", ""]
    return "\n".join(lines)


def _linked(word: str, known: Mapping[str, str]) -> str:
    """A word of a type, which leads to where it is explained."""
    if word in known:
        return f"`{word}`"
    return f"`~fnnet.{word}`" if word in fnnet.__all__ else word.replace("_", r"\_")
