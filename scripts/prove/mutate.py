"""Change fnnet a little at a time, and list the changes that no test notices.

    python scripts/prove/mutate.py network optimizers rmsprop adam sgd trees batches datasets

Each mutant differs in one place: an operator, a comparison, a condition, a number, a keyword, a
slice, a statement left out. It lives in a copy of the tree, where the tests of its module run until
one fails or takes far too long. What survives is either a hole in the tests or no change at all.
"""

from __future__ import annotations

import argparse
import ast
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TypeAlias

ROOT = Path(__file__).parents[2]
CALLERS = ("test_equations", "test_regularization", "test_rmsprop", "test_extremes")
TESTS: dict[str, tuple[str, ...]] = {  # of modules that tests/test_{module}.py alone does not hold
    "network": ("test_network", "test_ensembles", "test_protocols", *CALLERS, "test_bad_input"),
    "optimizers": ("test_optimizers", "test_sgd", "test_adam", "test_rmsprop"),
    "rmsprop": ("test_rmsprop", "test_equations"),
    "trees": ("test_trees", "test_protocols", "test_purity"),
    "checkpoints": ("test_checkpoints", "test_fuzz"),
    "files": ("test_files", "test_download"),
    "download": ("test_download", "test_datasets"),
}
OPERATORS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.Mult,),
    ast.Pow: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
MEMORY, SECONDS = 2**33, 20  # bytes and processor time: some mutants would take all there is
PATIENCE = 600  # seconds, after which a mutant must be waiting for something that never comes
PRELOADED = ["pytest", "torch", "sklearn.metrics", "optax"]  # before forking: it takes longest
FORKS = multiprocessing.get_context("forkserver")
STATEMENTS_LEFT_OUT = (ast.Expr, ast.AugAssign, ast.Raise, ast.Continue, ast.Break)

Place: TypeAlias = ast.expr | ast.stmt


@dataclass(frozen=True)
class Mutant:
    """A place in a source and what stands there instead."""

    place: Place
    text: str


def mutants(source: str) -> list[Mutant]:
    """All that this script does to a source, in the order of its lines."""
    found = []
    for node in _places(ast.parse(source)):
        found += [Mutant(node, text) for text in _changes(node)]
        if isinstance(node, ast.If | ast.While):
            found.append(Mutant(node.test, f"(not ({ast.unparse(node.test)}))"))
    return found


def apply(mutant: Mutant, source: str) -> str:
    """The source with one place changed; all other bytes stay, comments included."""
    lines = source.encode().splitlines(keepends=True)
    place = mutant.place
    start = sum(map(len, lines[: place.lineno - 1])) + place.col_offset
    stop = sum(map(len, lines[: (place.end_lineno or 0) - 1])) + (place.end_col_offset or 0)
    content = source.encode()
    return (content[:start] + mutant.text.encode() + content[stop:]).decode()


def _places(node: ast.AST) -> Iterator[Place]:
    """All statements and expressions that do something when the program runs."""
    if isinstance(node, ast.JoinedStr) or _is_text(node) or _is_for_types(node):
        return
    if isinstance(node, ast.expr | ast.stmt):
        yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_switch(node, child):
                yield from _places(child)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_switch(node: ast.AST, child: ast.AST) -> bool:
    """Whether a keyword's value is True or False: left out, the keyword has the other value."""
    return (
        isinstance(node, ast.keyword)
        and isinstance(child, ast.Constant)
        and isinstance(child.value, bool)
    )


def _is_for_types(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        return ast.unparse(node.test) == "TYPE_CHECKING"
    if isinstance(node, ast.FunctionDef):
        return any("overload" in ast.unparse(decorator) for decorator in node.decorator_list)
    if isinstance(node, ast.Assign):
        return ast.unparse(node.targets[0]) == "__all__" or "TypeVar(" in ast.unparse(node.value)
    return isinstance(node, ast.AnnAssign) and "TypeAlias" in ast.unparse(node.annotation)


def _changes(node: Place) -> Iterator[str]:
    if isinstance(node, STATEMENTS_LEFT_OUT):
        yield "pass"
    elif isinstance(node, ast.Return):
        if node.value is not None and ast.unparse(node.value) != "None":
            yield "return None"
    elif isinstance(node, ast.expr):
        for changed in _expressions(node):
            yield f"({ast.unparse(changed)})"


def _expressions(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.Constant):
        yield from _constants(node.value)
    elif isinstance(node, ast.BinOp | ast.BoolOp):
        for operator in OPERATORS.get(type(node.op), ()):
            yield _with(node, op=operator())
    elif isinstance(node, ast.Compare):
        for i, old in enumerate(node.ops):
            for operator in OPERATORS[type(old)]:
                yield _with(node, ops=[*node.ops[:i], operator(), *node.ops[i + 1 :]])
    elif isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, ast.IfExp):
        yield _with(node, test=ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, ast.Call):
        for i in range(len(node.keywords)):
            yield _with(node, keywords=node.keywords[:i] + node.keywords[i + 1 :])
    elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
        for end in ("lower", "upper", "step"):
            if getattr(node.slice, end) is not None:
                yield _with(node, slice=_with(node.slice, **{end: None}))


def _constants(value: object) -> Iterator[ast.expr]:
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int | float):
        yield ast.Constant(value + 1)
        yield ast.Constant(value - 1)
    elif isinstance(value, str | bytes) and value:
        yield ast.Constant(value[:0])


def _with(node: ast.expr, **changes: object) -> ast.expr:
    changed = copy(node)
    for name, value in changes.items():
        setattr(changed, name, value)
    return changed


def copy_tree(target: Path) -> None:
    ignored = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "build", "dist", "runs")
    shutil.copytree(ROOT, target, ignore=ignored, dirs_exist_ok=True)


def passes(tree: Path, module: str) -> bool:
    """Whether the module's tests pass in a tree."""
    process = FORKS.Process(target=run_tests, args=(tree, module))
    process.start()
    process.join(PATIENCE)
    if process.is_alive() and process.pid:
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
    return process.exitcode == 0


def run_tests(tree: Path, module: str) -> None:
    """The tests of a module, in a process that is forked for them, and ends with their status."""
    os.setsid()
    os.chdir(tree)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    os.environ["PYTHONPATH"] = str(tree)  # of the processes that tests start
    import pytest

    names = TESTS.get(module, (f"test_{module}",))
    tests = [f"fnnet/{module}.py", *(f"tests/{name}.py" for name in names)]
    options = ["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
    sys.exit(pytest.main([*options, *tests]))


def trials(module: str, trees: Sequence[Path], every: int) -> Iterator[str | None]:
    """For each mutant None, or, where no test noticed, file:line: before -> after."""
    path = Path("fnnet", f"{module}.py")
    source = (ROOT / path).read_text("utf-8")
    if not passes(trees[0], module):
        raise SystemExit(f"mutate.py: the tests of {module} fail as they are")
    free: SimpleQueue[Path] = SimpleQueue()
    for tree in trees:
        free.put(tree)

    def survives(mutant: Mutant) -> str | None:
        tree = free.get()
        (tree / path).write_text(apply(mutant, source), "utf-8")
        lives = passes(tree, module)
        (tree / path).write_text(source, "utf-8")
        free.put(tree)
        before = " ".join((ast.get_source_segment(source, mutant.place) or "").split())
        return f"{path}:{mutant.place.lineno}: {before} -> {mutant.text}" if lives else None

    with ThreadPoolExecutor(len(trees)) as pool:
        yield from pool.map(survives, mutants(source)[::every])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("modules", nargs="+", help="of fnnet, by name: network, rmsprop, ...")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="default: 2")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="try each Nth mutant")
    settings = parser.parse_args(argv)
    os.environ.update(OMP_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1")
    FORKS.set_forkserver_preload(PRELOADED)
    with tempfile.TemporaryDirectory() as folder:
        trees = [Path(folder, str(i)) for i in range(settings.workers)]
        for tree in trees:
            copy_tree(tree)
        for module in settings.modules:
            killed = count = 0
            for survivor in trials(module, trees, settings.every):
                count, killed = count + 1, killed + (survivor is None)
                if survivor:
                    print(survivor, flush=True)
            print(f"{module}: {killed} of {count} mutants killed, {killed / count:.1%}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
