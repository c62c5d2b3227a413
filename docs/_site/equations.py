"""Equations of a page as MathML: nothing is fetched, and they are read aloud as mathematics."""

from __future__ import annotations

import html
import re

from latex2mathml.converter import convert

MARKED = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', flags=re.S)
NAME = re.compile(r"<mi>((?:log|exp|max|min|det|tr|diag|arg|Pr)\b)</mi>")  # of a function, which stands apart
PRIME = re.compile(r"<msup>(<mi>[^<]*</mi>)<mi>&#x02032;</mi></msup>")  # raised twice where its own glyph is raised
THIN = '<mspace width="0.167em"></mspace>'
APART = rf"{THIN}<mi>\1</mi>{THIN}"


def with_equations(page: str) -> str:
    """The HTML of a page with what arithmatex marked as MathML.

    Raises
    ------
    ValueError
        If an equation holds a command that is not known, which would stand there as it is.
    """

    def drawn(match: re.Match[str]) -> str:
        display = "block" if match[2] == "[" else "inline"
        equation = convert(html.unescape(match[3]).strip(), display=display)
        shown = PRIME.sub(r'<mrow>\1<mo lspace="0" rspace="0">&#x02032;</mo></mrow>', equation)
        shown = NAME.sub(APART, shown).replace(r"\_", "_")
        if "\\" in shown:
            raise ValueError(f"not understood in an equation: {match[3].strip()}")
        return f'<span class="eq">{shown}</span>'

    return MARKED.sub(drawn, page)
