"""What tests of scripts share: where a script is, and how it becomes a module."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
NETWORK = SCRIPTS / "network.npz"


def path_of(name: str) -> Path:
    """The file of a script, in whichever folder it is."""
    (path,) = SCRIPTS.rglob(f"{name}.py")
    return path


WITHOUT_FIGURES = """
import os, runpy, sys
sys.modules["matplotlib.figure"] = None
del sys.argv[0]
sys.path[0] = os.path.dirname(sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def without_figures(name: str) -> list[str]:
    """What Python is to run: a script as if Matplotlib, which takes it seconds, were not there."""
    return ["-c", WITHOUT_FIGURES, str(path_of(name))]


def load(name: str) -> Any:
    """A script as a module, which is imported once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(path_of(name).parent))
        return importlib.import_module(name)


def environment(name: str) -> dict[str, str]:
    """Variables of a process that is to import a script, and what this one can import."""
    folders = [str(path_of(name).parent), *filter(None, sys.path)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
