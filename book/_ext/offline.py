"""Keep the site free of every other host, and readable from disk.

The book carries its own copy of MathJax. It lies in ``book/_vendor`` and is added
to the static files here, because Jupyter Book loads every script that it finds in a
configured static folder, and MathJax must load its own parts when it needs them.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util import logging

VENDOR = Path(__file__).resolve().parents[1] / "_vendor"
LAUNCHERS = {
    "binderhub_url": "https://mybinder.org",
    "colab_url": "https://colab.research.google.com",
}

# What makes a browser fetch something by itself (a plain link does not).
FETCH = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed)\b[^>]*?\ssrc="(?:https?:)?//"""
    r"""|<link\b(?=[^>]*\brel="(?:stylesheet|preload|icon|preconnect|manifest)")"""
    r"""[^>]*?\bhref="(?:https?:)?//""",
    re.IGNORECASE,
)

# The theme puts the whole search index on every page, for a search as you type that
# this book does not use: only the search page needs it.
SEARCH = re.compile(
    r"""[ \t]*<script src="[^"]*?(?:searchtools|language_data|searchindex)\.js[^"]*">"""
    r"""</script>\n?"""
)

logger = logging.getLogger(__name__)


def add_vendored_files(app: Sphinx, config: Config) -> None:
    """Serve ``book/_vendor`` under ``_static`` and set the launch buttons."""
    config.html_static_path.append(str(VENDOR))
    options = config.html_theme_options
    if options.get("repository_url"):
        options["launch_buttons"] = dict(LAUNCHERS)
        options["use_repository_button"] = True
        options["use_source_button"] = True
    else:
        options["launch_buttons"] = {}
        options.pop("repository_url", None)


def drop_thebe(
    app: Sphinx,
    pagename: str,
    templatename: str,
    context: dict[str, Any],
    doctree: object,
) -> None:
    """Remove the scripts and styles of Thebe, which would load from a CDN."""
    for key in ("script_files", "css_files"):
        context[key] = [item for item in context.get(key, []) if not _is_thebe(item)]


def _is_thebe(item: Any) -> bool:
    body = getattr(item, "attributes", {}).get("body") or ""
    name = str(getattr(item, "filename", item) or "")
    return "thebe" in name.lower() or "thebe" in body.lower()


def describe(
    app: Sphinx,
    pagename: str,
    templatename: str,
    context: dict[str, Any],
    doctree: nodes.document | None,
) -> None:
    """Give each page a description: its first plain paragraph, or the book's."""
    text = app.config.book_description
    for paragraph in doctree.findall(nodes.paragraph) if doctree else ():
        own = " ".join(paragraph.astext().split())
        plain = isinstance(paragraph.parent, nodes.section) and len(own) >= 60
        if plain and not any(paragraph.findall(nodes.math)):
            text = own if len(own) <= 200 else own[:199].rsplit(" ", 1)[0] + "…"
            break
    tag = f'<meta name="description" content="{escape(text)}" />'
    context["metatags"] = context.get("metatags", "") + tag


def drop_search_index(app: Sphinx, exception: Exception | None) -> None:
    """Take the search index, the heaviest file, off all pages but the search page."""
    if exception is not None or app.builder.format != "html":
        return
    for page in sorted(Path(app.outdir).rglob("*.html")):
        if "_static" in page.parts or page.name == "search.html":
            continue
        text = page.read_text(encoding="utf-8")
        lighter = SEARCH.sub("", text)
        if lighter != text:
            page.write_text(lighter, encoding="utf-8")


def report_foreign(app: Sphinx, exception: Exception | None) -> None:
    """Warn (an error under ``-W``) about a page that would contact another host."""
    if exception is not None or app.builder.format != "html":
        return
    for page in sorted(Path(app.outdir).rglob("*.html")):
        if "_static" in page.parts:
            continue
        found = FETCH.search(page.read_text(encoding="utf-8"))
        if found:
            logger.warning(
                "%s would contact another host: %s",
                page.relative_to(app.outdir),
                found.group(0)[:120],
                type="offline",
            )


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.add_config_value("book_description", "", "html", str)
    app.connect("html-page-context", describe)
    app.connect("config-inited", add_vendored_files)
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("build-finished", drop_search_index)
    app.connect("build-finished", report_foreign)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
