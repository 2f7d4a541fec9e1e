"""Every page of the built site, from a server and from disk, as a reader sees it."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(os.environ.get("SITE_DIR", ROOT / "_build" / "html"))
EVERY = sorted(
    path.relative_to(SITE).as_posix()
    for path in SITE.rglob("*.html")
    if "_static" not in path.parts and path.name != "index.html"
)
# The listings of source files are all made alike: one stands for them.
LISTINGS = [name for name in EVERY if name.startswith("_modules/")]
PAGES = [name for name in EVERY if name not in LISTINGS[1:]]
CHAPTERS = [
    name
    for name in PAGES
    if (SITE / "_sources" / Path(name).with_suffix(".ipynb")).exists()
]
AXE = (ROOT / "tests" / "vendor" / "axe-core" / "axe.min.js").read_text("utf-8")
LIMIT = 2_000_000  # bytes a page, without MathJax

READY = """() => Promise.all([
    document.fonts.ready,
    window.MathJax && MathJax.startup ? MathJax.startup.promise : null])"""
FORMULAS = """() => ({
    written: document.querySelectorAll('div.math, span.math').length,
    typeset: new Set([...document.querySelectorAll('mjx-container')].map(
        (m) => m.closest('div.math, span.math'))).size,
    // MathJax shows a command that it does not know in red.
    broken: [...document.querySelectorAll(
        'mjx-merror, mjx-mtext[style*="color: red"]')].map(
        (m) => m.closest('mjx-container').querySelector('mjx-assistive-mml')
            ?.textContent ?? m.textContent),
})"""
# Markdown or TeX that was not understood is shown as it was typed.
RAW = r"""() => {
    const found = [];
    const walk = document.createTreeWalker(
        document.querySelector('.bd-article') ?? document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        const node = walk.currentNode;
        const skipped = 'pre, code, script, style, noscript, mjx-container, .sig';
        if (node.parentElement.closest(skipped)) continue;
        if (/\$|\\[a-zA-Z]|\{(eq|ref|cite)|\*\*|:::|`/.test(node.textContent))
            found.push(node.textContent.trim().slice(0, 160));
    }
    return found;
}"""
TOO_WIDE = """() => {
    const limit = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= limit + 1) return [];
    return [...document.querySelectorAll('.bd-main *')]
        .filter((e) => e.getBoundingClientRect().right > limit + 1)
        .slice(0, 5).map((e) => e.outerHTML.slice(0, 160));
}"""
AUDIT = """async () => {
    const result = await axe.run(
        {exclude: [['mjx-container']]},
        {resultTypes: ['violations'], runOnly: ['wcag2a', 'wcag2aa', 'wcag21a',
         'wcag21aa', 'best-practice']});
    return result.violations
        .filter((v) => v.impact === 'serious' || v.impact === 'critical')
        .map((v) => `${v.impact} ${v.id}: ${v.nodes.length} × ` +
            v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160)).join(' | '));
}"""


def set_theme(page, wanted):
    """Click the theme button until the page is in the wanted theme."""
    for _ in range(4):
        if page.evaluate("document.documentElement.dataset.theme") == wanted:
            return
        page.locator(".theme-switch-button:visible").first.click()
    pytest.fail(f"the theme button never reached {wanted}")


def test_there_is_a_site(site_dir):
    assert PAGES, "the site has no pages"
    assert "book/intro.html" in PAGES


@pytest.mark.parametrize("name", PAGES)
def test_page(page, site_url, name):
    weights: dict[str, int] = defaultdict(int)

    def weigh(response):
        if "/mathjax/" not in response.url and response.ok:
            weights[response.url] = int(response.headers.get("content-length", 0))

    page.on("response", weigh)
    page.goto(f"{site_url}/{name}")
    page.evaluate(READY)

    formulas = page.evaluate(FORMULAS)
    assert formulas["typeset"] == formulas["written"]
    assert formulas["broken"] == []
    assert page.evaluate(RAW) == []
    assert 0 < sum(weights.values()) <= LIMIT, dict(weights)
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.title().strip()
    described = page.locator("meta[name=description]")
    assert described.count() == 1
    assert len(described.get_attribute("content")) > 30

    page.evaluate(AXE)
    for theme in ("light", "dark"):
        set_theme(page, theme)
        page.wait_for_timeout(250)  # colours fade
        assert page.evaluate(AUDIT) == [], theme

    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(100)
    assert page.evaluate(TOO_WIDE) == []


@pytest.mark.parametrize("name", PAGES)
def test_page_from_disk(page, site_dir, name):
    page.goto((site_dir / name).as_uri())
    page.evaluate(READY)
    formulas = page.evaluate(FORMULAS)
    assert formulas["typeset"] == formulas["written"]
    assert formulas["broken"] == []


@pytest.mark.parametrize("query", ["Itô", "ito", "Wiener"])
def test_search_finds_the_chapter(page, site_url, query):
    page.goto(f"{site_url}/book/intro.html")
    page.keyboard.press("Control+k")
    page.keyboard.type(query)
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html*")
    first = page.locator("#search-results a[href*='book/wiener.html']").first
    first.wait_for(timeout=10_000)


def test_search_works_from_disk(page, site_dir):
    page.goto((site_dir / "search.html").as_uri() + "?q=ito")
    page.locator("#search-results a[href*='wiener.html']").first.wait_for()


def test_the_dark_page_stays_dark(page, site_url):
    page.goto(f"{site_url}/book/intro.html")
    set_theme(page, "dark")
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(int(c) for c in colour[4:-1].split(",")) < 60


@pytest.mark.parametrize("name", CHAPTERS)
def test_notebook_download(page, site_url, name):
    page.goto(f"{site_url}/{name}")
    link = page.locator("a[download][href$='.ipynb'], a[href$='.ipynb'].dropdown-item")
    page.locator(".dropdown-download-buttons button").first.click()
    with page.expect_download() as download:
        link.first.click()
    notebook = json.loads(Path(download.value.path()).read_text("utf-8"))
    assert notebook["nbformat"] == 4
    assert any(cell["cell_type"] == "code" for cell in notebook["cells"])


def test_equation_number_has_its_own_line_on_a_phone(page, site_url):
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{site_url}/book/wiener.html")
    page.evaluate(READY)
    boxes = page.evaluate(
        """() => [...document.querySelectorAll('div.math:has(> span.eqno)')].map((d) =>
            [d.querySelector('mjx-container').getBoundingClientRect().bottom,
             d.querySelector('span.eqno').getBoundingClientRect().top])"""
    )
    assert boxes
    assert all(number >= formula - 2 for formula, number in boxes)


class _Links(HTMLParser):
    """The anchors that a page offers and the links that it makes."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag, attrs):
        for key, value in attrs:
            if key == "id" and value:
                self.ids.add(value)
            if key in ("href", "src") and value:
                self.links.append(value)


@cache
def links_of(path: Path) -> _Links:
    parser = _Links()
    parser.feed(path.read_text("utf-8"))
    return parser


@pytest.mark.parametrize("name", EVERY)
def test_links_lead_somewhere(site_dir, name):
    here = site_dir / name
    dead = []
    for link in links_of(here).links:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = (here.parent / unquote(parts.path)).resolve() if parts.path else here
        if not target.exists() or (
            parts.fragment
            and target.suffix == ".html"
            and unquote(parts.fragment) not in links_of(target).ids
        ):
            dead.append(link)
    assert not dead
