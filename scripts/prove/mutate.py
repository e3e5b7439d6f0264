"""Change fnnet a little at a time, and list the changes that no test notices.

    python scripts/prove/mutate.py network optimizers/sgd storage

A module is named by its path in fnnet/, a folder for all of its modules; without names all have
their turn. The tests of fnnet/optimizers/sgd.py are those of tests/optimizers/test_sgd.py and those
that the table `TESTS` names besides.

Each mutant differs in one place: an operator, a comparison, a condition, a number, a keyword, a
slice, a statement left out. It lives in a copy of the tree, where the tests of its module run until
one fails or takes far too long. What survives is either a hole in the tests or no change at all.
"""

from __future__ import annotations

if __name__ == "__main__":
    import fnnet_scripts.quiet  # noqa: F401

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

from fnnet_scripts.options import Parser, at_least, exit_code

ROOT = Path(__file__).parents[2]
CALLERS = (
    *("test_network", "test_equations", "test_ensembles", "test_protocols"),
    *("test_regularization", "test_extremes", "test_bad_input", "optimizers/test_rmsprop"),
)
EVERY_OPTIMIZER = ("optimizers/test_every_optimizer",)
SAVED = ("storage/test_checkpoints", "scripts/test_fuzz")
TESTS: dict[str, tuple[str, ...]] = {  # besides the mirrored one: of modules, or of whole folders
    "network": CALLERS,
    "activations": ("test_network", "test_equations", "test_ragged"),
    "outputs": ("test_network", "test_equations", "test_ragged"),
    "params": CALLERS,
    "labels": (*CALLERS, "test_outputs", "test_training"),
    "arguments": CALLERS,
    "checks": ("test_bad_input", "test_network", "test_training", "data/test_splits"),
    "trees": ("test_protocols", "test_purity"),
    "evaluation": ("test_training", "test_ensembles"),
    "divergence": ("test_training", "test_ensembles", "test_inputs"),
    "records": ("test_training", *SAVED),
    "randomness": ("data/test_splits", "test_training", *SAVED),
    "interop": ("test_jax",),
    "optimizers": EVERY_OPTIMIZER,
    "optimizers/states": ("optimizers/test_your_own", *SAVED),
    "optimizers/steps": ("optimizers/test_your_own", "optimizers/test_rmsprop"),
    "optimizers/rmsprop": ("test_equations",),
    "storage/checkpoints": ("scripts/test_fuzz",),
    "storage/archives": SAVED,
    "storage/histories": SAVED,
    "storage/files": ("data/test_download",),
    "data/download": ("data/test_datasets",),
    "data/exchange": ("data/test_download",),
    "data/sources": ("data/test_datasets",),
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
MEMORY, SECONDS = 2**34, 120  # bytes and processor time: some mutants would take all there is
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
    folders = (tree, tree / "scripts" / "shared")
    os.environ["PYTHONPATH"] = os.pathsep.join(map(str, folders))  # of processes that tests start
    sys.path[:0] = map(str, folders)
    for name in [*sys.modules]:  # this script's own, of the tree that nobody changes
        if name.partition(".")[0] in ("fnnet", "fnnet_scripts"):
            del sys.modules[name]
    import pytest

    tests = [f"fnnet/{module}.py", *tests_of(module)]
    options = ["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
    sys.exit(pytest.main([*options, *tests]))


def modules(names: Sequence[str]) -> list[str]:
    """The modules of these names, or all: "network", "optimizers/sgd", "storage" for a folder.

    Raises
    ------
    ValueError
        If there is no such module, or no test of one.
    """
    inside = ROOT / "fnnet"
    paths = sorted(path for path in inside.rglob("*.py") if path.name != "__init__.py")
    every = [path.relative_to(inside).with_suffix("").as_posix() for path in paths]
    found: list[str] = []
    for name in names or every:
        wanted = name.removeprefix("fnnet/").removesuffix(".py").rstrip("/")
        fitting = [each for each in every if each == wanted or each.startswith(f"{wanted}/")]
        if not fitting:
            raise ValueError(f"no module {name}, expected some of {', '.join(every)}")
        found += [each for each in fitting if each not in found]
    for module in found:
        if not tests_of(module):
            raise ValueError(f"{module} has no tests of its own: name some in TESTS")
    return found


def tests_of(module: str) -> list[str]:
    """Files with tests of a module: the mirrored one, that of its folder, those of `TESTS`."""
    *folder, stem = module.split("/")
    mirrors = [f"{'/'.join([*folder, ''])}test_{stem}"]
    mirrors += [f"test_{folder[-1]}"] if folder else []  # fnnet/plots/ has tests/test_plots.py
    names = [name for name in mirrors if (ROOT / "tests" / f"{name}.py").exists()]
    for part in ("/".join(folder), module):
        names += TESTS.get(part, ())
    return [f"tests/{name}.py" for name in dict.fromkeys(names)]


def trials(module: str, trees: Sequence[Path], every: int) -> Iterator[str | None]:
    """For each mutant None, or, where no test noticed, file:line: before -> after."""
    path = Path("fnnet", f"{module}.py")
    source = (ROOT / path).read_text("utf-8")
    if not passes(trees[0], module):
        raise ValueError(f"the tests of {module} fail as they are")
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


def run(settings: argparse.Namespace) -> None:
    os.environ.update(OMP_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1")
    FORKS.set_forkserver_preload(PRELOADED)
    chosen = modules(settings.modules)
    with tempfile.TemporaryDirectory() as folder:
        trees = [Path(folder, str(i)) for i in range(settings.workers)]
        for tree in trees:
            copy_tree(tree)
        for module in chosen:
            killed = count = 0
            for survivor in trials(module, trees, settings.every):
                count, killed = count + 1, killed + (survivor is None)
                if survivor:
                    print(survivor, flush=True)
            share = f", {killed / count:.1%}" if count else ""
            print(f"{module}: {killed} of {count} mutants killed{share}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(description=__doc__)
    add = parser.add_argument
    some = "network, optimizers/sgd, storage; default: all"
    add("modules", nargs="*", metavar="MODULE", help=some)
    add("--workers", type=at_least(1), default=2, metavar="N", help="default: 2")
    add("--every", type=at_least(1), default=1, metavar="N", help="try each Nth mutant")
    settings = parser.parse_args(argv)
    return exit_code("mutate.py", lambda: run(settings))


if __name__ == "__main__":
    sys.exit(main())
