"""The reference: every public name has its place and its example, and the site is made whole."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import inspect
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fnnet_scripts.reference.docstrings import rest_of
from fnnet_scripts.reference.names import attributes_of, pages, signature_of, value_of
from fnnet_scripts.reference.site import NEEDS

import fnnet
from fnnet import interop
from fnnet.optimizers.states import OPTIMIZERS
from tests.scripts.shared import load

ROOT = Path(__file__).parents[1]
FUNCTIONS = [name for name in fnnet.__all__ if inspect.isroutine(getattr(fnnet, name))]
PUBLIC = [(page, name) for page in pages() for name in page.names]
CLASSES = [each for each in (value_of(*names) for names in PUBLIC) if inspect.isclass(each)]


def examples_of(value: Any) -> list[doctest.Example]:
    """The examples that a doctest of a function's docstring runs."""
    found = doctest.DocTestParser().get_examples(value.__doc__ or "")
    return [each for each in found if not each.options.get(doctest.SKIP)]


@pytest.mark.parametrize("name", sorted({*FUNCTIONS} - {"register_jax"}))
def test_every_function_has_an_example_that_a_doctest_runs(name: str) -> None:
    value = getattr(fnnet, name)
    tested = doctest.DocTestFinder().find(value, name, module=sys.modules[value.__module__])
    assert any(each.examples for each in tested)
    examples = examples_of(value)
    assert any(re.search(rf"\b{name}\b", each.source) for each in examples)
    shown = any(each.want or each.exc_msg for each in examples)
    assert shown or name == "within"  # whose example is the line that one writes in a class


def test_the_example_that_needs_jax_runs_where_jax_is() -> None:
    pytest.importorskip("jax")
    lines = (fnnet.register_jax.__doc__ or "").replace("# doctest: +SKIP", "")
    test = doctest.DocTestParser().get_doctest(lines, vars(interop), "register_jax", None, None)
    assert doctest.DocTestRunner().run(test) == (0, 4)


@pytest.mark.parametrize("state", [each for each in OPTIMIZERS if hasattr(fnnet, each.__name__)])
def test_an_optimizers_example_is_five_steps_whose_losses_fall(state: type) -> None:
    update = OPTIMIZERS[state].update
    losses = [float(word) for each in examples_of(update) for word in each.want.split()]
    assert len(losses) == 5
    assert losses == sorted(set(losses), reverse=True)
    assert re.search(r"\b(19|20)\d\d\b", update.__doc__ or ""), "the rule's source, with its year"
    assert ".. math::" in (update.__doc__ or "")


@pytest.mark.parametrize("kind", CLASSES)
def test_what_stands_under_attributes_is_one(kind: type) -> None:
    lines = inspect.cleandoc(kind.__doc__ or "").splitlines()
    _, strangers = rest_of(lines, attributes_of(kind))
    assert strangers == []


def test_a_sentence_under_attributes_is_told_from_them() -> None:
    lines = ["One.", "", "Attributes", "----------", "w : weights,", "    as many", "", "Both: no."]
    text, strangers = rest_of(lines, {"w": "FloatArray"})
    assert strangers == ["Both: no."]
    assert text.count(".. py:attribute:: w") == 1
    assert {"   :type: FloatArray", "   weights,", "   as many"} <= set(text)


def test_entries_of_both_styles_keep_their_words() -> None:
    long = "x : numbers of which there are so many that this sentence does not end on its line, but"
    lines = ["Parameters", "----------", long, "    below it", "y : str", "    A name.", ""]
    text = "\n".join(rest_of([*lines, "Raises", "------", "ValueError", "    If so."], {})[0])
    words = " ".join(text.split())
    assert words == (
        f":Parameters: * **x** – {long[4:]} below it * **y** (*str*) – A name. "
        ":Raises: `ValueError` – If so."
    )


def test_signatures_have_the_names_of_types() -> None:
    assert signature_of(fnnet.softmax) == ("(logits: FloatArray)", "FloatArray")
    assert signature_of(fnnet.Layer) == ("(w: FloatArray, b: FloatArray)", "")
    arguments, back = signature_of(fnnet.init_params) or ("", "")
    assert arguments.startswith("(rng: Seed, sizes: Sequence[int], dtype: DTypeLike = float32, *, ")
    assert back == "Params"


@pytest.fixture(scope="module")
def sphinx() -> None:
    for module in NEEDS:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"the reference needs {module}: pip install -e '.[docs]'")


@pytest.fixture(scope="module")
def site(sphinx: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reference") / "site"
    command = [sys.executable, str(ROOT / "scripts" / "reference.py"), "--quiet", "--out", str(out)]
    made = subprocess.run(command, cwd=out.parent, capture_output=True, text=True, timeout=600)
    assert (made.returncode, made.stderr) == (0, "")
    return out


def inventory(site: Path) -> dict[str, str]:
    """The pages on which names are explained."""
    packed = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    lines = zlib.decompress(packed).decode().splitlines()
    found = {}
    for line in lines:
        name, kind, _, uri, _ = line.split(" ", 4)
        if kind.startswith("py:"):
            found[name] = uri.partition("#")[0]
    return found


def html_of(site: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(site.rglob("*.html")):
        yield path, path.read_text("utf-8")


def test_every_public_name_is_found_in_the_site(site: Path) -> None:
    found = inventory(site)
    missing = [
        f"{page.module}.{name}" for page, name in PUBLIC if f"{page.module}.{name}" not in found
    ]
    assert missing == []
    assert {f"fnnet.{name}" for name in fnnet.__all__} <= set(found)
    for name in fnnet.__all__:
        page = (site / found[f"fnnet.{name}"]).read_text("utf-8")
        assert f'id="fnnet.{name}"' in page


def test_the_pages_load_nothing_from_elsewhere(site: Path) -> None:
    for path, text in html_of(site):
        for tag in re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", text):
            assert not re.search(r"(src|href)=.?(https?:)?//", tag), (path, tag)
    for path in site.rglob("*.css"):
        assert not re.search(r"url\(.?https?:|@import", path.read_text("utf-8")), path


def test_types_have_names_and_formulas_are_drawn(site: Path) -> None:
    for path, text in html_of(site):
        shown = re.sub(r"<svg.*?</svg>|<[^>]*>", "", text, flags=re.DOTALL)
        if "_modules" not in path.parts:
            assert "ndarray[tuple" not in shown, path
            assert "\\frac" not in shown, path
            assert "$$" not in shown, path
    home = (site / "index.html").read_text("utf-8")
    numbers = re.findall(r'<div class="math"><span class="eqno">\((\d+)\)</span><svg', home)
    assert numbers == [str(number) for number in range(1, 13)]


def test_the_guides_lie_beside_the_names(site: Path) -> None:
    home = (site / "index.html").read_text("utf-8")
    for page in ("HOW_DO_I", "index", "loops/index", "measure/index"):
        assert (site / "scripts" / f"{page}.html").is_file()
        assert f'href="scripts/{page}.html"' in home


def test_a_missing_extra_is_named_with_what_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sphinx", None)
    assert load("reference").main(["--out", str(tmp_path / "site")]) == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert message.endswith(": pip install sphinx furo myst-parser ziamath\n")
    assert list(tmp_path.iterdir()) == []


BROKEN = """
import inspect
import sys
from pathlib import Path
from fnnet_scripts.reference import site
import fnnet

def write_sources(root, out):
    (out / "index.rst").write_text("fnnet\\n=====\\n\\n.. autoclass:: fnnet.Layer\\n")

site.write_sources = write_sources
fnnet.Layer.__doc__ = inspect.cleandoc(fnnet.Layer.__doc__) + "\\n\\nBoth are read-only.\\n"
sys.exit(not site.make_site(Path(), Path("site"), None, sys.stderr))
"""


def test_a_warning_is_an_error(sphinx: None, tmp_path: Path) -> None:
    command = [sys.executable, "-c", BROKEN]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert made.returncode == 1
    assert "'Both are read-only.' stands under Attributes and is none" in made.stderr


SECTIONS = {
    text.partition("\n")[0].strip(". ?"): text
    for text in (ROOT / "scripts" / "HOW_DO_I.md").read_text("utf-8").split("\n## ")[1:]
}
OPTIONAL = ("PIL", "tensorboardX")


def blocks(language: str, text: str) -> str:
    return "".join(re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL))


def pictures(folder: Path) -> None:
    """A folder of pictures for each digit."""
    from PIL import Image

    train = fnnet.load_digits().train
    for i in range(100):
        where = folder / "pictures" / str(train.y[i])
        where.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(train.x[i])).save(where / f"{i}.png")


@pytest.mark.parametrize("question", SECTIONS)
def test_every_answer_runs_and_prints_what_it_says(question: str, tmp_path: Path) -> None:
    text = SECTIONS[question]
    code = blocks("python", text)
    for module in OPTIONAL:
        if re.search(rf"(?m)^(from|import) {module}\b", code):
            pytest.importorskip(module, reason=f"this answer needs {module}")
    if 'Path("pictures")' in code:
        pictures(tmp_path)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    if expected := blocks("text", text):
        assert ran.stdout == expected


def test_the_answers_are_those_that_users_ask_for() -> None:
    wanted = (
        "add an optimizer",
        "add an activation",
        "use a data set of my own",
        "freeze a layer",
        "train on my images",
        "log to a file",
        "log to TensorBoard",
        "save the best",
        "get the gradient of each sample",
    )
    for question in wanted:
        assert any(title.startswith(question) for title in SECTIONS), question
