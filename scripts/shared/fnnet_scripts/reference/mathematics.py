"""Formulas as SVG, drawn while the site is made: a page needs no script and no font for them."""

from __future__ import annotations

import html
import re
from typing import Any

SIZE, INLINE = 19.0, 17.0  # pixels of a letter
MARGIN = 1.0  # pixels around a formula

TAG = re.compile(r"\\tag\{(\w+)\}")


def drawn(latex: str, inline: bool) -> str:
    """A formula, or several with blank lines between, in the colour of the text around them."""
    return "".join(_drawn(each, inline) for each in re.split(r"\n\s*\n", latex.strip()))


def _drawn(latex: str, inline: bool) -> str:
    import ziamath

    ziamath.config.svg2 = False  # which would name the glyphs alike in all formulas of a page
    number = TAG.search(latex)
    source = " ".join(TAG.sub("", latex).split())
    formula = ziamath.Latex(
        source, size=INLINE if inline else SIZE, inline=inline, color="currentColor", margin=MARGIN
    )
    element = formula.svgxml()
    element.set("role", "img")
    element.set("aria-label", source)
    if not inline:
        label = f'<span class="eqno">({html.escape(number[1])})</span>' if number else ""
        return f'<div class="math">{label}{_text(element)}</div>\n'
    below = formula.getyofst() - MARGIN  # of the line of the text
    element.set("style", f"vertical-align:{below:.1f}px")
    return _text(element)


def _text(element: Any) -> str:
    from xml.etree.ElementTree import tostring

    return tostring(element, encoding="unicode")
