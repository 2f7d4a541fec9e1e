"""Repairs to generated HTML: what an eye or a screen reader stumbles over."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

# docutils calls the bibliography a list, but its entries are no list items.
# MyST-NB gives folded cells a label that hides the words that are seen.
REPAIRS = {
    '<div role="list" class="citation-list">': '<div class="citation-list">',
    '<summary aria-label="Toggle hidden content">': "<summary>",
}

# A long signature is set as a list of descriptions that describe nothing.
SIGNATURE = re.compile(r'<dl>\n((?:<dd><em class="sig-param">.*?</dd>\n)+)</dl>\n')

# From a listing of source back to the reference: viewcode guesses the anchor by the
# module and misses what is documented under the package's own name.
BACK = re.compile(r'<a class="viewcode-back"[^>]*>.*?</a>')

# A line may break between a formula and a mark that belongs to it: not here.
GLUED = re.compile(
    r"((?<!\w)[(\[“‘]*)(<span class=\"math notranslate nohighlight\">[^<]*</span>)"
    r"([.,;:!?)\]”’…]*)"
)

# The link of a solution begins with the space before it.
LINK_SPACE = re.compile(r"(Solution to)(<a [^>]*>) ")


def glue(match: re.Match[str]) -> str:
    """An inline formula with the marks beside it."""
    whole = match.group(0)
    marked = match.group(1) or match.group(3)
    return f'<span class="glued">{whole}</span>' if marked else whole


def unlist(match: re.Match[str]) -> str:
    """The parameters of a long signature, one on each line."""
    lines = match.group(1).replace("<dd>", '<span class="sig-line">')
    return lines.replace("</dd>", "</span>")


def repair(
    app: Sphinx,
    pagename: str,
    templatename: str,
    context: dict[str, Any],
    doctree: object,
) -> None:
    """Mend the body of a page."""
    body = context.get("body")
    if body:
        for wrong, right in REPAIRS.items():
            body = body.replace(wrong, right)
        body = LINK_SPACE.sub(r"\1 \2", GLUED.sub(glue, body))
        context["body"] = BACK.sub("", SIGNATURE.sub(unlist, body))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.connect("html-page-context", repair)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
