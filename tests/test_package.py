"""The wheel and the sdist: pure Python, small, complete, and at work where there is but NumPy."""

from __future__ import annotations

import email
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="building needs hatchling")
pytest.importorskip("pip", reason="installing needs pip")

ROOT = Path(__file__).parents[1]
LARGEST = 350_000  # bytes of the wheel: scripts/README.md says so
BUILD = """
import sys
from hatchling import build
out = sys.argv[1]
build.build_wheel(out)
build.build_sdist(out)
"""


def build(tree: Path, out: Path) -> Path:
    """Build the wheel and the sdist of a tree; returns the folder that holds them."""
    out.mkdir()
    command = [sys.executable, "-c", BUILD, str(out)]
    built = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stderr
    return out


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    ignored = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "build", "dist", "runs")
    shutil.copytree(ROOT, folder / "tree", ignore=ignored)
    return build(folder / "tree", folder / "dist")


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (path,) = dist.glob("*.whl")
    return path


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def package_files(folder: Path) -> set[str]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return {path.relative_to(folder.parent).as_posix() for path in files}


def test_the_wheel_is_pure_and_small(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    assert wheel.stat().st_size < LARGEST


def test_the_wheel_holds_the_package_its_data_its_licence_and_nothing_else(wheel: Path) -> None:
    packaged = {name for name in names(wheel) if ".dist-info/" not in name}
    shared = ROOT / "scripts" / "shared" / "fnnet_scripts"  # what the scripts have in common
    assert packaged == package_files(ROOT / "fnnet") | package_files(shared)
    assert {"fnnet/py.typed", "fnnet/data/digits.bin"} <= packaged
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names(wheel))


def test_the_wheel_requires_numpy_alone(wheel: Path) -> None:
    (metadata,) = (name for name in names(wheel) if name.endswith(".dist-info/METADATA"))
    with zipfile.ZipFile(wheel) as archive:
        required = email.message_from_bytes(archive.read(metadata)).get_all("Requires-Dist", [])
    assert [line for line in required if "extra ==" not in line] == ["numpy>=2.0"]


def test_the_sdist_builds_the_same_wheel(dist: Path, wheel: Path, tmp_path: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        if sys.version_info >= (3, 12):
            archive.extractall(tmp_path, filter="data")
        else:
            archive.extractall(tmp_path)
    (tree,) = tmp_path.iterdir()
    assert {"README.md", "LICENSE", "pyproject.toml"} <= {path.name for path in tree.iterdir()}
    (again,) = build(tree, tmp_path / "again").glob("*.whl")
    assert again.name == wheel.name
    assert names(again) == names(wheel)


def test_both_pass_the_check_of_the_index_that_would_show_them(dist: Path) -> None:
    pytest.importorskip("twine", reason="the check needs twine: pip install -e '.[docs]'")
    files = sorted(str(path) for path in dist.iterdir())
    assert len(files) == 2
    command = [sys.executable, "-m", "twine", "check", "--strict", *files]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.count("PASSED") == 2


SMOKE = """
import sys
from importlib.metadata import distributions, version
import numpy as np
import fnnet

assert fnnet.__file__.startswith(sys.prefix), fnnet.__file__
assert {d.name for d in distributions()} == {"fnnet", "numpy"}
data = fnnet.load_digits()
state = fnnet.rmsprop_init(fnnet.init_params(0, (64, 32, 10)))
for epoch in fnnet.train(state, data.train, data.test, rng=0, epochs=20):
    checkpoint = fnnet.Checkpoint(epoch.state, np.random.default_rng(0), epoch.metrics.epoch)
fnnet.save_checkpoint("run.npz", checkpoint)
again = fnnet.load_checkpoint("run.npz").state.params
assert fnnet.tree_equal(again, epoch.state.params)
assert epoch.metrics.test_accuracy > 0.9
from fnnet_scripts.page import pages, server, thinking
network = thinking.from_run(again, data, epoch.metrics.test_accuracy, len(data.test))
with server.Server(pages.Pages(network), pages.Shelf()) as page:  # its own files are there
    assert b"<canvas" in page.files["index.html"]
assert version("fnnet") == fnnet.__version__
print(fnnet.__version__)
"""


@pytest.mark.skipif(os.name == "nt", reason="links to NumPy need rights that users seldom have")
def test_the_wheel_installs_and_works_in_an_environment_that_has_only_numpy(
    wheel: Path, tmp_path: Path
) -> None:
    venv.create(tmp_path / "empty", symlinks=True)
    python = tmp_path / "empty" / "bin" / "python"
    (packages,) = (tmp_path / "empty").glob("lib/python*/site-packages")
    numpy = distribution("numpy")
    for name in {file.parts[0] for file in numpy.files or ()} - {".."}:
        (packages / name).symlink_to(Path(str(numpy.locate_file(name))))
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    for command in ([*pip, "install", "-q", "--no-index", str(wheel)], [str(python), "-c", SMOKE]):
        result = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == wheel.name.split("-")[1]
