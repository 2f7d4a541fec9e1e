"""A chapter in JupyterLab: the directives of the book's Markdown, and its formulas."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

pytest.importorskip("playwright")

from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]

BOOK = Path(__file__).resolve().parents[2] / "book"
TEXT = r"""# A page

$$
a^2 + b^2 = c^2
$$ (eq-sides)

:::{exercise} Three sides
:label: ex-sides

Is there another than {eq}`eq-sides`?
:::

:::{solution} ex-sides
:class: dropdown

The cosine rule.
:::

:::{admonition} Predict
:class: tip

More or less?
:::

:::{prf:theorem} Pythagoras
:label: thm-sides

See {prf:ref}`thm-sides` and {cite:p}`euclid`.
:::
"""


def shown(page: Page, lab: tuple[str, Path], name: str, *cells: str) -> Locator:
    """The notebook of these Markdown cells, as JupyterLab shows it."""
    url, folder = lab
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell(text) for text in cells],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    nbformat.write(notebook, folder / f"{name}.ipynb")
    page.goto(f"{url}/lab/tree/{name}.ipynb?reset")
    cell = page.locator(".jp-MarkdownCell .myst")
    cell.first.wait_for(timeout=60_000)
    return cell.first


def test_the_books_directives_are_shown_as_on_the_site(
    browser: Browser,
    lab: tuple[str, Path],
    watch: Callable[[BrowserContext], object],
) -> None:
    context = browser.new_context(viewport={"width": 1200, "height": 1400})
    watch(context)
    page = context.new_page()
    cell = shown(page, lab, "directives", TEXT)
    expect(cell).to_contain_text("Exercise 1")
    expect(cell).to_contain_text("Theorem 1")
    text = cell.inner_text()
    assert ":::" not in text
    assert "{eq}" not in text
    assert "{cite" not in text
    # The equation's number leads to it; the solution waits for a click.
    expect(cell.get_by_role("link", name="(1)").first).to_be_visible()
    solution = cell.get_by_text("The cosine rule.")
    expect(solution).to_be_hidden()
    cell.locator("summary").first.click()
    expect(solution).to_be_visible()
    context.close()


def formulas() -> list[str]:
    """Every formula of the book's notebooks, each once."""
    found: dict[str, None] = {}
    for path in sorted(BOOK.glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type != "markdown":
                continue
            code = r"(`+)[^`](?:.|\n)*?\1"
            text = re.sub(code, "", re.sub(r"(?s)^```.*?^```", "", cell.source))
            for whole, part in re.findall(
                r"(?s)\$\$(.+?)\$\$|(?<![\\$])\$([^$]+?)(?<!\\)\$", text
            ):
                found[whole.strip() or part.strip()] = None
    return list(found)


def test_every_formula_is_one_for_jupyterlab_too(
    browser: Browser, lab: tuple[str, Path]
) -> None:
    """The site's MathJax and JupyterLab's KaTeX know different commands."""
    every = formulas()
    assert len(every) > 2000
    context = browser.new_context(viewport={"width": 1200, "height": 1000})
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    # The last is wrong, and shows that a wrong one is found.
    text = "\n\n".join(f"$$\n{formula}\n$$" for formula in [*every, r"\wrong{x}"])
    cell = shown(page, lab, "formulas", text)
    expect(cell.locator(".katex-display").first).to_be_visible(timeout=60_000)
    page.wait_for_timeout(1000)
    told = "\n".join(complaints)
    assert re.findall(r"Undefined control sequence: (\S+)", told) == [r"\wrong"]
    assert cell.locator(".katex-display").count() >= len(every)
    context.close()
