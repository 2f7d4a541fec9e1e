"""Every figure of the built book is alive, from disk and from a server."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("playwright")

from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser


def pages_with_figures(site_dir: Path) -> list[Path]:
    """The pages of the site that hold a stored figure, by their path."""
    return [
        path
        for path in sorted(site_dir.rglob("*.html"))
        if "_static" not in path.parts
        and '<figure class="lx"' in path.read_text("utf-8")
    ]


def test_every_figure_of_the_book_moves_from_disk(page: Page, site_dir: Path) -> None:
    paths = pages_with_figures(site_dir)
    assert paths, "the book has at least one figure"
    for path in paths:
        page.goto(path.as_uri())
        stored = page.locator("figure.lx")
        assert page.locator("figure.lx.lx-live").count() == stored.count() > 0
        for figure in stored.all():
            canvas = figure.locator("canvas").first
            labels = {canvas.get_attribute("aria-label")}
            states = set()
            for slider in figure.locator("input[type=range]").all():
                slider.press("End")
                states |= {c.evaluate("c => c.toDataURL()") for c in canvases(figure)}
                labels |= {c.get_attribute("aria-label") for c in canvases(figure)}
                slider.press("Home")
                states |= {c.evaluate("c => c.toDataURL()") for c in canvases(figure)}
                labels |= {c.get_attribute("aria-label") for c in canvases(figure)}
            for choice in figure.locator("input[type=radio] + label").all():
                choice.click()
                states |= {c.evaluate("c => c.toDataURL()") for c in canvases(figure)}
                labels |= {c.get_attribute("aria-label") for c in canvases(figure)}
            assert len(states) > 1, f"{path.name}: a figure does not move"
            assert len(labels) > 1, f"{path.name}: a figure does not say its state"


def canvases(figure) -> list:
    return figure.locator("canvas").all()


def test_a_figure_of_the_book_moves_from_a_server_in_the_dark(
    page: Page, site_dir: Path, site_url: str
) -> None:
    path = pages_with_figures(site_dir)[0]
    page.emulate_media(color_scheme="dark")
    page.goto(f"{site_url}/{path.relative_to(site_dir).as_posix()}")
    figure = page.locator("figure.lx.lx-live:has(input[type=range])").first
    canvas = figure.locator("canvas").first
    before = canvas.get_attribute("aria-label")
    slider = figure.locator("input[type=range]").last
    box = slider.bounding_box()
    assert box is not None
    slider.click(position={"x": box["width"] - 4, "y": box["height"] / 2})
    expect(canvas).not_to_have_attribute("aria-label", before or "")
    colour = "e => getComputedStyle(e).backgroundColor.match(/\\d+/g).map(Number)"
    assert sum(figure.locator(".lx-root").evaluate(colour)) < 200


def test_pages_without_a_figure_load_no_script(site_dir: Path) -> None:
    with_figures = set(pages_with_figures(site_dir))
    others = [
        path
        for path in sorted(site_dir.rglob("*.html"))
        if "_static" not in path.parts and path not in with_figures
    ]
    assert others
    for path in others:
        assert "explorer.js" not in path.read_text("utf-8"), path.name


def test_on_a_phone_the_sliders_of_a_tall_figure_are_in_sight(
    page: Page, site_dir: Path
) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto((site_dir / "book" / "reverse_time.html").as_uri())
    figure = page.locator("figure.lx.lx-live").first
    figure.evaluate("e => scrollTo(0, e.getBoundingClientRect().top + scrollY - 60)")
    figure_box, bar = figure.bounding_box(), figure.locator(".lx-bar").bounding_box()
    assert figure_box is not None
    assert bar is not None
    assert figure_box["y"] + figure_box["height"] > 844  # it is taller than the screen
    assert bar["y"] + bar["height"] <= 845
