"""What is public: names in groups, signatures as they are written, and the types in them."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import fnnet

# Where a name goes, by the module that defines it; the first that fits.
PAGES = (
    ("networks", "Networks and gradients", ("params", "activations", "network")),
    ("optimizers", "Optimizers", ("optimizers",)),
    ("data", "Data", ("data",)),
    ("training", "Training", ("records", "evaluation", "training", "ragged", "randomness")),
    ("regularization", "Regularization", ("regularization",)),
    ("checkpoints", "Checkpoints", ("storage",)),
    ("trees", "Trees of arrays", ("trees", "interop")),
    ("more", "More", ("",)),
)
MODULES = ("schedules", "curvature", "plots", "pictures", "exports", "data.datasets")


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the reference.

    Attributes
    ----------
    name : of its file
    title : its heading
    module : whose names it has
    names : in the order of `__all__`
    """

    name: str
    title: str
    module: str
    names: tuple[str, ...]


def pages() -> list[Page]:
    """The pages of `fnnet.__all__`, then one for each public module."""
    found: dict[str, Page] = {}
    for name in fnnet.__all__:
        inside = getattr(fnnet, name).__module__.removeprefix("fnnet.")
        file, title, _ = next(page for page in PAGES if inside.startswith(page[2]))
        before = found.get(file, Page(file, title, "fnnet", ()))
        found[file] = replace(before, names=(*before.names, name))
    order = [file for file, _, _ in PAGES if file in found]
    return [*(found[file] for file in order), *map(_page_of, MODULES)]


def _page_of(name: str) -> Page:
    module = _module(f"fnnet.{name}")
    listed = getattr(module, "__all__", None) or _defined(module)
    names = tuple(each for each in listed if each not in fnnet.__all__)
    return Page(name, f"fnnet.{name}", f"fnnet.{name}", names)


def value_of(page: Page, name: str) -> Any:
    """What a name of a page stands for."""
    return getattr(_module(page.module), name)


def _module(name: str) -> ModuleType:
    """A module by the name that users write: `fnnet.schedules` lies elsewhere."""
    parent, _, last = name.rpartition(".")
    found = getattr(sys.modules.get(parent), last, None)
    return found if isinstance(found, ModuleType) else importlib.import_module(name)


def _defined(module: ModuleType) -> list[str]:
    """The functions of a module without `__all__`."""
    return [
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and name[0] != "_"
    ]


class _Written:
    """Something with the repr that stands in the source."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def signature_of(value: Any, bound: bool = False) -> tuple[str, str] | None:
    """The arguments and what comes back, with annotations as they are written.

    Parameters
    ----------
    value : a function or a class
    bound : whether the first argument, `self`, is left out
    """
    try:
        signature = inspect.signature(value)
    except ValueError:  # an exception without a constructor of its own
        return None
    shown = [
        each.replace(annotation=_annotation(each.annotation), default=_default(each.default))
        for each in [*signature.parameters.values()][bound:]
    ]
    back = signature.return_annotation
    text = "" if back in (inspect.Signature.empty, "None") or inspect.isclass(value) else str(back)
    return str(inspect.Signature(shown)), _plain(text)


def _annotation(annotation: Any) -> Any:
    if annotation is inspect.Parameter.empty:
        return annotation
    return _Written(_plain(str(annotation)))


def _default(default: Any) -> Any:
    if default is inspect.Parameter.empty:
        return default
    named = inspect.isclass(default) or inspect.isfunction(default)
    return _Written(default.__name__) if named else default


def _plain(annotation: str) -> str:
    """An annotation without the module in which NumPy keeps its types."""
    return re.sub(r"\bnpt\.", "", annotation)


def attributes_of(kind: type) -> dict[str, str]:
    """The annotations of a class's attributes, as they are written."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        found |= {name: _plain(str(text)) for name, text in _annotations(base).items()}
    return found


def _annotations(kind: type) -> dict[str, Any]:
    return dict(inspect.get_annotations(kind))


def aliases() -> dict[str, str]:
    """The names of types that public signatures use, each with what it stands for."""
    known, used, asked = _aliases(), dict[str, str](), _words_of_signatures()
    while asked:
        name = asked.pop()
        if name in known and name not in used:
            used[name] = known[name]
            asked |= set(re.findall(r"\w+", known[name]))
    return dict(sorted(used.items()))


def _words_of_signatures() -> set[str]:
    words = set[str]()
    for page in pages():
        for name in page.names:
            value = value_of(page, name)
            texts = list(signature_of(value) or ()) if callable(value) else []
            texts += attributes_of(value).values() if inspect.isclass(value) else []
            words |= set(re.findall(r"\w+", " ".join(texts)))
    return words


@cache
def _aliases() -> dict[str, str]:
    plain, annotated = dict[str, str](), dict[str, str]()
    for path in _modules():
        for name, value, is_annotated in _aliases_of(path):
            (annotated if is_annotated else plain)[name] = value
    return {**plain, **annotated}


def _modules() -> Iterator[Path]:
    root = Path(fnnet.__path__[0])
    for found in pkgutil.walk_packages(fnnet.__path__, "fnnet."):
        path = root.parent / found.name.replace(".", "/")
        yield path / "__init__.py" if found.ispkg else path.with_suffix(".py")


def _aliases_of(path: Path) -> Iterator[tuple[str, str, bool]]:
    """Each name like a type's to which a module gives a value, and whether as a `TypeAlias`."""
    for node in ast.parse(path.read_text("utf-8")).body:
        annotated = isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "TypeAlias"
        if not (annotated or isinstance(node, ast.Assign)):
            continue
        name, _, text = ast.unparse(node).partition(" = ")
        name = name.partition(":")[0]
        if re.fullmatch(r"[A-Z]+[a-z]\w*", name):
            yield name, _plain(text.strip("'")), annotated
