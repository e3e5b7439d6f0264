"""The house stands as it was drawn: imports run downward only, modules stay small."""

from __future__ import annotations

import ast
import io
import tokenize
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "fnnet"
LONGEST = 300  # lines of code of one module

# From the ground up. A module imports from lower floors, or from its own wing.
FLOORS = (
    "checks",
    "storage.files",  # whole files or none: the data sets write theirs with it, too
    "randomness",
    "trees",
    "activations",
    "outputs",
    "labels",
    "params",
    "arguments",
    "network",
    "optimizers",
    "regularization",
    "data",
    "records",
    "evaluation",
    "storage",
    "divergence",
    "ragged",
    "training",
    "plots",
    "curvature",
    "pictures",  # pixels to what was found: it needs no network
    "exports",
    "interop",
)

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
INSIDE = [name for name in MODULES if name != "__init__"]
each = pytest.mark.parametrize("name", INSIDE)


@cache
def parsed(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text("utf-8"))


def floor(name: str) -> int:
    return FLOORS.index(name if name in FLOORS else name.partition(".")[0])


@cache
def imported(name: str, later: bool = False) -> frozenset[str]:
    """Modules of fnnet that a module imports: at once, or also inside of functions."""
    tree, found = parsed(name), set[str]()
    inside = {
        below
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for below in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in inside and not later:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports of fnnet have the whole name"
            base = node.module or ""
            parts = {f"{base}.{alias.name}" for alias in node.names}
            modules = {part for part in parts if part.removeprefix("fnnet.") in MODULES}
            found |= modules or {base}
    ours = {each.removeprefix("fnnet.") for each in found if each.startswith("fnnet.")}
    return frozenset(ours | ({"__init__"} if "fnnet" in found else set()))


@cache
def reached(name: str) -> frozenset[str]:
    """All that a module needs, directly or not: a circle never gets this far."""
    below = imported(name)
    return below.union(*(reached(each) for each in below))


def test_every_module_has_a_floor_and_every_floor_a_module() -> None:
    assert {FLOORS[floor(name)] for name in INSIDE} == set(FLOORS)


@each
def test_imports_run_downward(name: str) -> None:
    wing = name.partition(".")[0]
    for other in imported(name, later=True):
        assert other in MODULES, f"{name} imports {other}, which is no module"
        assert other != "__init__", f"{name} imports the names that stand above it"
        same_wing = other.partition(".")[0] == wing
        assert same_wing or floor(other) < floor(name), f"{name} reaches up to {other}"


@each
def test_no_module_needs_itself(name: str) -> None:
    try:
        assert name not in reached(name)
    except RecursionError:
        pytest.fail(f"{name} stands on a circle of imports")


def test_the_ground_floors_know_nothing_of_networks() -> None:
    for name in ("checks", "randomness", "trees", "activations", "outputs"):
        assert reached(name) <= {"checks", "trees", "activations"}, name


def lines_of_code(name: str) -> int:
    """Lines that hold more than a comment or a docstring."""
    text = MODULES[name].read_text("utf-8")
    skipped = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in skipped:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(parsed(name)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):  # docstrings
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


@each
def test_no_module_is_longer_than_a_reader_has_patience(name: str) -> None:
    assert lines_of_code(name) <= LONGEST


def test_lines_of_code_are_counted_as_they_should_be(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ('"""Two', 'lines."""', "# one", "x = (", "    1,  # a", ")", "", "def f():")
    source = "\n".join([*lines, '    """No."""', "    return x", ""])
    path = PACKAGE.parent / "tests" / "test_house.py"
    monkeypatch.setitem(MODULES, "sample", path)
    monkeypatch.setattr(Path, "read_text", lambda self, encoding: source)
    assert lines_of_code("sample") == 5


@each
def test_every_module_says_what_it_is(name: str) -> None:
    assert ast.get_docstring(parsed(name))


@each
def test_no_function_is_called_like_a_module(name: str) -> None:
    """Or else what `from fnnet import name` gives would hang on who imported what before."""
    parts = {part for module in INSIDE for part in module.split(".") if part[0] != "_"}
    defined = {
        node.name
        for node in parsed(name).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    assert defined & parts == set()


@each
def test_nothing_private_of_a_module_is_used_by_another(name: str) -> None:
    for node in ast.walk(parsed(name)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fnnet"):
            assert not [alias.name for alias in node.names if alias.name.startswith("_")]
