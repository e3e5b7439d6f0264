"""scripts/equations.ipynb runs from top to bottom, and is stored with what it showed."""

from __future__ import annotations

import queue
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import fnnet

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


# The bar of `train`, and what an interrupted cell leaves

UNBROKEN = """
rng = np.random.default_rng(0)
rest, validation = fnnet.hold_out(rng, data.train, 287)
state = fnnet.rmsprop_init(fnnet.init_params(rng, (64, 128, 10)))
*_, whole = fnnet.train(state, rest, validation, rng=rng, epochs=done + 2)
last = records[-1]
print(
    last.metrics.epoch - done,
    fnnet.tree_equal(whole.state.params, last.state.params),
    fnnet.tree_equal(whole.state.mean_squares, last.state.mean_squares),
    whole.rng == last.rng,
    [each.metrics.epoch for each in records] == [*range(1, done + 3)],
)
"""


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Any]:
    """A kernel as Jupyter starts it, and the client that speaks with it."""
    pytest.importorskip("ipykernel", reason="running notebooks needs ipykernel")
    pytest.importorskip("matplotlib", reason="the notebook draws with Matplotlib")
    manager = pytest.importorskip("jupyter_client.manager")
    running, client = manager.start_new_kernel(cwd=str(tmp_path))
    try:
        yield running, client
    finally:
        client.stop_channels()
        running.shutdown_kernel(now=True)


def run(client: Any, code: str) -> str:
    """What a cell prints."""
    printed: list[str] = []
    reply = client.execute_interactive(
        code, timeout=300, output_hook=lambda m: printed.append(m["content"].get("text", ""))
    )
    assert reply["content"]["status"] == "ok", reply["content"]
    return "".join(printed)


def interrupted_after(running: Any, client: Any, code: str, epochs: int) -> str:
    """What a cell has shown when it was interrupted after so many epochs."""
    # Else the kernel aborts what it is sent just after the interruption.
    request, shown = client.execute(code, stop_on_error=False), ""
    while max(map(int, re.findall(r"(\d+)/", shown)), default=0) < epochs:  # a bar leaves some out
        message = client.get_iopub_msg(timeout=300)["content"]
        assert "ename" not in message, message
        shown += message.get("text", "")
    for _ in range(9):  # Matplotlib, where it is interrupted in a callback, goes on
        running.interrupt_kernel()
        with suppress(queue.Empty):
            while (reply := client.get_shell_msg(timeout=20))["parent_header"]["msg_id"] != request:
                pass
            assert reply["content"]["ename"] == "KeyboardInterrupt"
            return shown
    pytest.fail("the cell does not end")


def test_an_interrupted_cell_leaves_a_record_to_go_on_from_bit_for_bit(
    stored: Any, kernel: Any
) -> None:
    running, client = kernel
    sources = [cell.source for cell in stored.cells if cell.cell_type == "code"]
    (loop,) = [source for source in sources if "progress=True" in source]
    go_on = sources[sources.index(loop) + 1]
    endless, two_more = loop.replace("=20,", "=10**6,"), go_on.replace("=25,", "=done + 2,")
    assert (endless, two_more) != (loop, go_on)
    run(client, sources[0])
    shown = interrupted_after(running, client, endless, 9)
    assert re.search(r"train loss \d.*test accuracy \d", shown)
    run(client, two_more)
    assert run(client, UNBROKEN).strip() == "2 True True True True"


def trained(**keywords: Any) -> list[Any]:
    data, state = fnnet.load_digits(), fnnet.rmsprop_init(fnnet.init_params(0, (64, 8, 10)))
    return [*fnnet.train(state, data.train, rng=0, batch_size=256, **keywords)]


def test_progress_is_a_bar_that_says_where_training_is(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")
    records = trained(epochs=5, start=2, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "2/5" in shown.err
    assert f"train loss {records[-1].metrics.train_loss:.4g}" in shown.err.splitlines()[-1]
    assert "5/5" in shown.err.splitlines()[-1]


def test_without_tqdm_progress_is_a_line_an_epoch(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    records = trained(epochs=4, start=2, progress=True)
    losses = [f"{record.metrics.train_loss:.4g}" for record in records]
    expected = [f"epoch {n}/4: train loss {loss}" for n, loss in zip((3, 4), losses, strict=True)]
    assert capsys.readouterr().err.splitlines() == expected


def test_progress_changes_no_bit_and_is_off_unless_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    quiet = trained(epochs=2)
    assert capsys.readouterr().err == ""
    shown = trained(epochs=2, progress=True)
    assert fnnet.tree_equal(quiet[-1].state.params, shown[-1].state.params)
    assert quiet[-1].rng == shown[-1].rng


def test_the_bar_is_imported_where_it_is_shown_alone() -> None:
    code = "import sys, fnnet.training; print('tqdm' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
