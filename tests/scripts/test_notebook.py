"""scripts/equations.ipynb runs from top to bottom, and is stored with what it showed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "scripts" / "equations.ipynb"
LARGEST = 500_000  # bytes


@pytest.fixture(scope="module")
def stored() -> Any:
    nbformat = pytest.importorskip("nbformat", reason="reading notebooks needs nbformat")
    return nbformat.read(NOTEBOOK, as_version=4)


def text_of(cells: Any) -> str:
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    return "".join(output.get("text", "") for output in outputs)


def largest_differences(text: str) -> list[float]:
    lines = [line for line in text.splitlines() if "largest difference" in line]
    return [float(line.rpartition(" ")[2]) for line in lines if line.startswith("(")]


def test_it_is_small_and_stored_with_its_figures(stored: Any) -> None:
    assert NOTEBOOK.stat().st_size < LARGEST
    outputs = [output for cell in stored.cells for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 5
    assert not any(output.output_type == "error" for output in outputs)


def test_every_equation_is_computed_and_agrees(stored: Any) -> None:
    text = text_of(stored.cells)
    assert [n for n in range(1, 13) if f"({n}): largest difference" not in text] == []
    assert max(largest_differences(text)) < 1e-15


def test_it_runs_from_top_to_bottom(stored: Any, tmp_path: Path) -> None:
    nbclient = pytest.importorskip("nbclient", reason="running notebooks needs nbclient")
    pytest.importorskip("ipykernel", reason="running notebooks needs ipykernel")
    pytest.importorskip("matplotlib", reason="the notebook draws with Matplotlib")
    fresh = type(stored)(stored)
    nbclient.NotebookClient(
        fresh, timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    differences = largest_differences(text_of(fresh.cells))
    assert len(differences) == 12
    assert max(differences) < 1e-14
