"""The site: the script is there, hashed, and only where a figure is."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

from genflow_lite.explorer._widget import source

EXTENSIONS = Path(__file__).resolve().parents[1] / "book" / "_ext"

PAGES = {
    "index": "Title\n=====\n\nNo figure.\n\n.. toctree::\n\n   with\n   code\n",
    "with": (
        "Figure\n======\n\n.. raw:: html\n\n"
        '   <figure class="lx" data-lx="{}"><img alt="a"></figure>\n'
    ),
    "code": 'Code\n====\n\n::\n\n   <figure class="lx" data-lx="{}">\n',
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    for name, text in PAGES.items():
        (folder / f"{name}.rst").write_text(text, "utf-8")
    sys.path.insert(0, str(EXTENSIONS))
    try:
        # Leave no node classes behind for another test's Sphinx in this process.
        with docutils_namespace():
            app = Sphinx(
                srcdir=folder,
                confdir=None,
                outdir=folder / "html",
                doctreedir=folder / "trees",
                buildername="html",
                confoverrides={
                    "extensions": ["explorer_static"],
                    "html_theme": "basic",
                    "project": "p",
                },
                status=None,
                warningiserror=True,
            )
            app.build()
            assert app.statuscode == 0
    finally:
        sys.path.remove(str(EXTENSIONS))
    return folder / "html"


def test_the_files_are_those_of_the_package(site: Path) -> None:
    for name in ("explorer.js", "explorer.css"):
        assert (site / "_static" / name).read_text("utf-8") == source(name)


def test_a_page_with_a_figure_loads_a_plain_script_first(site: Path) -> None:
    page = (site / "with.html").read_text("utf-8")
    (tag,) = re.findall(r"<script[^>]*explorer\.js[^>]*>", page)
    assert not re.search(r"module|defer|async", tag)
    assert page.index(tag) < page.index("</head>")
    assert re.search(r"explorer\.js\?v=[0-9a-f]+", tag)  # a new version is fetched
    assert page.count("explorer.css") == 1


@pytest.mark.parametrize("name", ["index", "code", "genindex"])
def test_a_page_without_one_does_not(site: Path, name: str) -> None:
    """A figure quoted as code is no figure."""
    page = (site / f"{name}.html").read_text("utf-8")
    assert "explorer." not in page
