"""Put the script of the interactive figures on the pages that have one.

The stored output of a figure is HTML with its data and a picture. On the site the
same `explorer.js` that JupyterLab uses draws it. It is loaded as a plain script (a
module would not load from ``file://``) in the page's head (so that it replaces each
picture before it is painted), and only where it has work to do.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

FILES = ("explorer.js", "explorer.css")
MARK = 'class="lx"'


def copy_files(app: Sphinx) -> None:
    """Copy the script and its style sheet; before the pages, which hash them."""
    if app.builder.format != "html":
        return
    static = Path(app.outdir) / "_static"
    static.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        text = files("genflow_lite.explorer").joinpath(name).read_text("utf-8")
        target = static / name
        if not target.exists() or target.read_text("utf-8") != text:
            target.write_text(text, "utf-8")


def has_figure(doctree: nodes.document | None) -> bool:
    """Whether a page holds the HTML of an interactive figure."""
    if doctree is None:
        return False
    return any(
        "html" in node.get("format", "").split() and MARK in node.astext()
        for node in doctree.findall(nodes.raw)
    )


def add_files(
    app: Sphinx,
    pagename: str,
    templatename: str,
    context: dict[str, Any],
    doctree: nodes.document | None,
) -> None:
    """Ask for the script on this page if it has a figure."""
    if has_figure(doctree):
        app.add_js_file("explorer.js")
        app.add_css_file("explorer.css")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.connect("builder-inited", copy_files)
    app.connect("html-page-context", add_files)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
