"""The site: what Sphinx is told, and where it is corrected."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

import fnnet
from fnnet_scripts.reference.docstrings import rest_of
from fnnet_scripts.reference.mathematics import drawn
from fnnet_scripts.reference.names import attributes_of, signature_of
from fnnet_scripts.reference.sources import write_sources

NEEDS = ("sphinx", "furo", "myst_parser", "ziamath")  # which the extra "docs" brings

STYLE = """
.math { overflow-x: auto; overflow-y: hidden; }
div.math { position: relative; margin: 0.8em 0; text-align: center; }
div.math .eqno { position: absolute; right: 0; top: 50%; transform: translateY(-50%); }
article img { max-width: 100%; }
"""

SETTINGS: dict[str, Any] = {
    "project": "fnnet",
    "extensions": [
        "sphinx.ext.autodoc",
        "sphinx.ext.autosummary",
        "sphinx.ext.viewcode",
        "myst_parser",
        "fnnet_scripts.reference.site",
    ],
    "html_theme": "furo",
    "html_math_renderer": "fnnet",
    "html_copy_source": False,
    "html_show_sphinx": False,
    "html_show_copyright": False,
    "autodoc_typehints": "none",  # `signature_of` has them, and overloads would not be asked
    "default_role": "py:obj",
    "smartquotes": False,
    "toc_object_entries_show_parents": "hide",
    "python_maximum_signature_line_length": 80,
    "autosummary_generate": False,
    "add_module_names": False,
    "myst_enable_extensions": ["dollarmath"],
    "myst_heading_anchors": 3,
}


def make_site(root: Path, out: Path, status: TextIO | None, warning: TextIO) -> bool:
    """Make the site of a checkout; returns whether there was no warning.

    Parameters
    ----------
    root : the checkout
    out : the folder of the site, which is made
    status : where Sphinx says what it does
    warning : where it complains
    """
    for name in NEEDS:  # Sphinx itself would tell of a missing extension at length
        import_module(name)
    from sphinx.application import Sphinx
    from sphinx.util.console import nocolor

    if not warning.isatty():
        nocolor()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source")
        source.mkdir()
        write_sources(root, source)
        (source / "_static").mkdir()
        (source / "_static" / "fnnet.css").write_text(STYLE, "utf-8")
        settings = {
            **SETTINGS,
            "release": fnnet.__version__,
            "html_title": f"fnnet {fnnet.__version__}",
            "html_static_path": ["_static"],
            "html_css_files": ["fnnet.css"],
        }
        app = Sphinx(
            source,
            None,
            out,
            Path(folder, "doctrees"),
            "html",
            confoverrides=settings,
            status=status,
            warning=warning,
            warningiserror=True,
        )
        app.build()
        return not app.statuscode


def setup(app: Any) -> dict[str, bool]:
    """What Sphinx calls of an extension."""
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-process-docstring", _docstring)
    app.connect("missing-reference", _public)
    app.connect("doctree-read", _linked)
    app.add_html_math_renderer("fnnet", (_formula(True), None), (_formula(False), None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _signature(
    app: Any, what: str, name: str, value: Any, options: Any, arguments: Any, back: Any
) -> tuple[str, str] | None:
    return signature_of(value, what == "method") if callable(value) else None


def _docstring(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    from sphinx.util.logging import getLogger

    types = attributes_of(value) if isinstance(value, type) else {}
    lines[:], strangers = rest_of([*lines], types)
    for stranger in strangers:
        getLogger(__name__).warning("%s: %r stands under Attributes and is none", name, stranger)


def _public(app: Any, env: Any, node: Any, content: Any) -> Any:
    """A name of fnnet's that a page of another module mentions, or one of its types."""
    if node.get("refdomain") != "py":
        return None
    domain, target = env.get_domain("py"), node.get("reftarget", "")
    names = [f"fnnet.{target}", target] if "." not in target else []
    known = [name for name in names if name in domain.objects]
    where = (env, node["refdoc"], app.builder, "obj")
    return domain.resolve_xref(*where, known[0], node, content) if known else None


def _linked(app: Any, doctree: Any) -> None:
    """Public names in the guides lead to where they are explained."""
    from docutils.nodes import literal, reference
    from sphinx.addnodes import pending_xref

    if not str(doctree["source"]).endswith(".md"):
        return
    for node in [*doctree.findall(literal)]:
        name = node.astext().removeprefix("fnnet.").partition("(")[0]
        if name in fnnet.__all__ and not isinstance(node.parent, reference):
            settings = {"refdomain": "py", "reftype": "obj", "refexplicit": True}
            link = pending_xref("", reftarget=f"fnnet.{name}", **settings)
            link["refdoc"] = app.env.docname
            node.replace_self(link)
            link += node


def _formula(inline: bool) -> Callable[[Any, Any], None]:
    def visit(translator: Any, node: Any) -> None:
        from docutils.nodes import SkipNode

        translator.body.append(drawn(node.astext(), inline))
        raise SkipNode

    return visit
