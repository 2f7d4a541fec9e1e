"""Repairs to generated HTML that a screen reader would stumble over."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

# docutils calls the bibliography a list, but its entries are no list items.
REPAIRS = {'<div role="list" class="citation-list">': '<div class="citation-list">'}


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
        context["body"] = body


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.connect("html-page-context", repair)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
