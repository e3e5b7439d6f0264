"""What `import fnnet` brings along, and what it leaves alone."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

import fnnet

ROOT = Path(__file__).parents[1]

# Slow to import, and needed by few: whoever needs one imports it when it is needed.
HEAVY = {
    "argparse",
    "asyncio",
    "concurrent.futures",
    "ctypes.util",
    "email",
    "gzip",
    "hashlib",
    "html",
    "http.client",
    "json",
    "logging",
    "multiprocessing",
    "platform",
    "shutil",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "tarfile",
    "tempfile",
    "unittest",
    "urllib.request",
    "zipfile",
}


def loaded(before: str, statement: str) -> set[str]:
    """The modules that a statement loads in a fresh interpreter that has done what comes before."""
    program = (
        f"import sys, json\n{before}\nold = set(sys.modules)\n{statement}\n"
        "print(json.dumps(sorted(set(sys.modules) - old)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    modules: list[str] = json.loads(done.stdout)
    return set(modules)


def outside(modules: set[str]) -> set[str]:
    """Those that are neither ours, nor NumPy's, nor Python's."""
    return {
        name
        for name in modules
        if name.partition(".")[0] not in {"fnnet", "numpy", *sys.stdlib_module_names}
    }


def test_nothing_but_numpy_is_imported() -> None:
    assert outside(loaded("import numpy.random", "import fnnet")) == set()


def test_no_heavy_module_is_imported_that_numpy_does_not_need() -> None:
    # The program that looks has json itself.
    assert loaded("import numpy", "import fnnet") & HEAVY == set()


def test_files_are_imported_when_they_are_asked_for() -> None:
    late = {
        "fnnet.storage.checkpoints",
        "fnnet.data.datasets",
        "fnnet.data.download",
        "fnnet.data.idx",
        "fnnet.storage.files",
    }
    assert loaded("", "import fnnet") & late == set()
    assert "fnnet.data.idx" in loaded("import fnnet", "fnnet.read_idx")
    assert "fnnet.storage.checkpoints" in loaded(
        "import fnnet", "from fnnet import save_checkpoint"
    )
    assert late <= loaded("", "from fnnet import *")


MODULES = sorted(
    ".".join(path.relative_to(ROOT / "fnnet").with_suffix("").parts)
    for path in (ROOT / "fnnet").rglob("[!_]*.py")
)


EACH_FIRST = """
import importlib, json, sys, traceback
import numpy.random
old, found = set(sys.modules), {}
for name in json.loads(sys.argv[1]):
    try:
        importlib.import_module(name)
        found[name] = sorted(set(sys.modules) - old)
    except Exception:
        found[name] = traceback.format_exc()
    for module in set(sys.modules) - old:
        if module.partition(".")[0] not in {"numpy", *sys.stdlib_module_names}:
            del sys.modules[module]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def imported_first() -> dict[str, Any]:
    """What each of our modules loads where none of the others is there, or what went wrong."""
    names = json.dumps([f"fnnet.{module}" for module in MODULES])
    program = [sys.executable, "-c", EACH_FIRST, names]
    found: dict[str, Any] = json.loads(
        subprocess.run(program, capture_output=True, check=True).stdout
    )
    return found


@pytest.mark.parametrize("module", MODULES)
def test_every_module_can_be_imported_first_and_with_numpy_alone(
    module: str, imported_first: dict[str, Any]
) -> None:
    modules = imported_first[f"fnnet.{module}"]
    assert isinstance(modules, list), modules
    assert f"fnnet.{module}" in modules
    assert outside(set(modules)) == set()


QUIET = """
import os, sys, threading, warnings
warnings.simplefilter("error")
import numpy as np
before = dict(os.environ), np.geterr(), np.get_printoptions(), os.getcwd(), list(sys.path)
state, threads = repr(np.random.get_state()), threading.active_count()
import fnnet
from fnnet import *
assert before == (dict(os.environ), np.geterr(), np.get_printoptions(), os.getcwd(), list(sys.path))
assert (state, threads) == (repr(np.random.get_state()), threading.active_count())
"""


def test_importing_changes_nothing_and_says_nothing(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", QUIET], capture_output=True, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert not list(tmp_path.iterdir())


def test_without_jax_registering_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jax.tree_util", None)
    with pytest.raises(ImportError, match="register_jax needs JAX: pip install jax"):
        fnnet.register_jax()


def test_public_names_stand_in_the_order_of_the_readmes_table() -> None:
    readme = Path(__file__).parents[1].joinpath("README.md").read_text("utf-8")
    table = readme[readme.index("## The functions") :]
    found = [re.search(rf"\b{name}\b", table[table.index("| | |") :]) for name in fnnet.__all__]
    starts = [match.start() if match else -1 for match in found]
    assert starts == sorted(starts)
    assert min(starts) > 0


def test_schedules_are_there_without_an_import_of_their_own() -> None:
    assert fnnet.schedules.constant(0.1)(5) == 0.1
    assert "schedules" in dir(fnnet)


def test_public_names_exist_once_and_are_all_listed() -> None:
    assert len(set(fnnet.__all__)) == len(fnnet.__all__)
    for name in fnnet.__all__:
        assert getattr(fnnet, name).__name__ == name
    assert set(fnnet.__all__) <= set(dir(fnnet))
    public = {
        name
        for name, value in vars(fnnet).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("fnnet.")
    }
    assert public <= set(fnnet.__all__)


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'fnnet' has no attribute 'gradients'"):
        fnnet.gradients  # type: ignore[attr-defined]  # noqa: B018  # that is the test


@pytest.mark.parametrize("name", fnnet.__all__)
def test_public_names_say_what_they_are(name: str) -> None:
    value: Any = getattr(fnnet, name)
    doc = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
    assert doc
    assert not doc.startswith(f"{name}(")  # what a dataclass says of itself when nobody else does
    first, _, rest = inspect.cleandoc(doc).partition("\n")
    assert first.endswith((".", ";", ":")) or rest.strip()


# Their parameters are those of the function that their documentation names.
AS_ANOTHER = {
    "grads": "loss",
    "load_fashion_mnist": "load_mnist",
    "load_kmnist": "load_mnist",
}
FUNCTIONS = [name for name in fnnet.__all__ if inspect.isroutine(getattr(fnnet, name))]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_public_functions_explain_their_parameters(name: str) -> None:
    value: Any = getattr(fnnet, name)
    other = AS_ANOTHER.get(name, name)
    doc = getattr(fnnet, other).__doc__
    missing = [
        parameter for parameter in inspect.signature(value).parameters if parameter not in doc
    ]
    if len(doc.splitlines()) > 1:  # one sentence is enough where it says all
        assert missing == []
    if other != name:
        assert f"as `{other}`" in value.__doc__ or f"as for `{other}`" in value.__doc__


DATA = [name for name in fnnet.__all__ if is_dataclass(getattr(fnnet, name))]


@pytest.mark.parametrize("name", DATA)
def test_dataclasses_explain_their_fields(name: str) -> None:
    value: Any = getattr(fnnet, name)
    for field in fields(value):
        assert field.name in value.__doc__
