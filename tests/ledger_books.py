"""Tiny books for the tests of the ledger: pages, stored cards, and a Sphinx build."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import v4
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

from genflow_lite.verify.card import Mistake, Result

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

CONF = """
extensions = ["myst_nb", "ledger"]
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
nb_execution_mode = "off"
numfig = math_numfig = True
numfig_secnum_depth = 1
html_theme = "basic"
"""


def result(label: str, *, passed: bool = True, mistakes: int = 2) -> Result:
    """What a stored check says."""
    return Result(
        label=label,
        kind="close",
        what="one side & the other",
        words="error",
        measured="1.2e-16",
        bound="≤ 1e-10",
        mistakes=tuple(
            Mistake(f"mistake <{i}>", True, "error", "0.5") for i in range(mistakes)
        ),
        runs="seeds 0 and 1",
        seeds=(0, 1),
        problems=() if passed else ("the claim disagrees with the truth",),
    )


def check(label: str, *, stored: bool = True, passed: bool = True, tags: tuple = ()):
    """A code cell with a check and its stored card."""
    shown = result(label, passed=passed)
    data = {"text/plain": shown.line(), "text/html": shown.html()}
    outputs = [v4.new_output("display_data", data)] if stored else []
    source = f'verify.close("{label}", claim, truth, rtol=1e-10, rejects=wrong)'
    cell = v4.new_code_cell(source, outputs=outputs, execution_count=1)
    cell.metadata["tags"] = list(tags)
    return cell


def text(source: str):
    """A Markdown cell."""
    return v4.new_markdown_cell(source)


def equation(label: str) -> str:
    """A labelled formula."""
    return f"$$\na = b\n$$ ({label})\n"


@dataclass
class Built:
    """A finished or failed build."""

    warnings: str
    error: str
    out: Path

    @property
    def faults(self) -> list[str]:
        """The ledger's warnings."""
        return [w for w in self.warnings.splitlines() if "WARNING" in w]

    def page(self, name: str) -> str:
        """A page's HTML."""
        return (self.out / f"{name}.html").read_text(encoding="utf-8")


class Book:
    """A folder that is a small book."""

    def __init__(self, folder: Path, order: tuple[str, ...]) -> None:
        self.source, self.work = folder / "src", folder / "work"
        self.source.mkdir()
        (self.source / "conf.py").write_text(CONF, encoding="utf-8")
        names = "\n".join((*order, "ledger"))
        self.write("index", f"# Book\n\n```{{toctree}}\n:numbered:\n{names}\n```\n")
        self.write("ledger", "# Ledger\n\n```{ledger}\n```\n")

    def write(self, name: str, source: str) -> None:
        """Write a Markdown page."""
        (self.source / f"{name}.md").write_text(source, encoding="utf-8")

    def notebook(self, name: str, *cells) -> None:
        """Write a notebook whose first cell is its title."""
        kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
        notebook = v4.new_notebook(
            cells=[text(f"# Chapter {name}"), *cells], metadata={"kernelspec": kernel}
        )
        nbformat.write(notebook, self.source / f"{name}.ipynb")

    def build(self, builder: str = "dummy", parallel: int = 0) -> Built:
        """Build in this process, as `sphinx-build` would."""
        warnings = io.StringIO()
        error = ""
        out = self.work / builder
        with patch_docutils(str(self.source)), docutils_namespace():
            app = Sphinx(
                str(self.source),
                str(self.source),
                str(out),
                str(self.work / "doctrees"),
                builder,
                status=None,
                warning=warnings,
                parallel=parallel,
            )
            try:
                app.build()
            except Exception as problem:
                error = str(problem)
        return Built(warnings.getvalue(), error, out)
