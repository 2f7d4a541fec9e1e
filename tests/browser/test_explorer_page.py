"""Figures on a page opened from disk: drawn, moved, played, themed, spoken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("playwright")

from playwright.sync_api import Locator, Page, expect

from genflow_lite.explorer import Explorer, explore, panel
from genflow_lite.explorer._codec import decode
from genflow_lite.explorer._widget import source

pytestmark = pytest.mark.browser

BLUE = [51, 142, 193]  # the palette's blue at four fifths over white
BOX: dict[str, Any] = {"xlim": (-1, 1), "ylim": (-1, 1), "equal": True}
A: dict[str, Any] = {"a": [-0.5, 0.0, 0.5]}


def made(fn: Any, kind: Any, **more: Any) -> Explorer:
    words = {"caption": "A caption.", "alt": "Something moves."}
    return explore(fn, kind=kind, **{**words, **A, **more})


def grid_field(a: float) -> tuple:
    points = np.stack(np.meshgrid(*2 * [np.linspace(-0.8, 0.8, 5)]), -1).reshape(-1, 2)
    return points, np.full_like(points, 1 + a)


def corner(a: float) -> tuple:
    """A density in one corner: bottom left, then bottom right, then top left."""
    z = np.zeros((9, 9))
    z[{-0.5: (0, 0), 0.0: (0, 8), 0.5: (8, 0)}[a]] = 1 + a
    return z, (-1, 1, -1, 1)


FIGURES: dict[str, Explorer] = {
    "scatter": made(lambda a: {"dot": [[a, -a]]}, "scatter", **BOX, play="a"),
    "lines": made(lambda a: {"line": ([-1, 0, 0.5, 1], [a, a, np.nan, a])}, "lines"),
    "trajectories": made(lambda a: np.array([[[0, 0], [a, 1]]]), "trajectories"),
    "field": made(grid_field, "field", **BOX),
    "heat": made(corner, "heat", **BOX),
    "cells": made(corner, "heat", **BOX, cells=True),
    "images": made(lambda a: np.full((2, 4, 4), 0.5 + a), "images", columns=2),
    "bars": made(lambda a: {"up": a, "down": -a}, "bars"),
    "layers": made(
        lambda a: (corner(a), grid_field(a), [[a, a]]),
        ("heat", "field", "scatter"),
        **BOX,
        shade="root of the density",
        summary=lambda frame: f"peak {frame[0][0].max():.1f}",
    ),
    "log": made(
        lambda a: ([1, 10, 100], [10**a, 1, 1e-3]), "lines", logx=True, logy=True
    ),
    "choice": explore(
        lambda a, how: {"dot": [[a, {"low": -0.5, "high": 0.5}[how]]]},
        kind="scatter",
        how=["low", "high"],
        names={"a": "position a", "how": "height"},
        title="Two controls",
        caption="A caption.",
        alt="A dot.",
        **BOX,
        **A,
    ),
    "panels": explore(
        panel(lambda t: {"p": ([0, 1], [t, 1])}, kind="lines", t=[0, 1], title="One"),
        panel(
            lambda t, k: {"v": t + k}, kind="bars", t=[0, 1], k=[1, 2, 3], title="Two"
        ),
        panel(lambda t: [[t, t]], kind="scatter", t=[0, 1], title="Three"),
        caption="A caption.",
        alt="Three panels.",
    ),
}

# Centre of the pixels close to a colour, as shares of the canvas, and their number.
CENTRE = """(canvas, [r, g, b]) => {
  const { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  let n = 0, x = 0, y = 0;
  for (let i = 0; i < data.length; i += 4) {
    const far = [r, g, b].reduce((sum, v, k) => sum + Math.abs(data[i + k] - v), 0);
    if (far < 12) { n++; x += (i / 4) % width; y += Math.floor(i / 4 / width); }
  }
  return [x / n / width, y / n / height, n];
}"""
PIXELS = "(canvas) => canvas.toDataURL()"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("figures")
    for name in ("explorer.js", "explorer.css"):
        (path / name).write_text(source(name), "utf-8")
    for name, figure in {**FIGURES, "all": None}.items():
        figures = [figure] if figure else FIGURES.values()
        (path / f"{name}.html").write_text(
            '<!doctype html><html lang="en"><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width">'
            '<link rel="stylesheet" href="explorer.css">'
            '<script src="explorer.js"></script><title>Figures</title>'
            '<body style="margin:0 12px;font:16px sans-serif">'
            + "".join(one.html() for one in figures)
            + "<p id='after'>Text after the figure.</p>",
            "utf-8",
        )
    return path


def show(page: Page, folder: Path, name: str) -> Locator:
    page.goto((folder / f"{name}.html").as_uri())
    figure = page.locator("figure.lx.lx-live").first
    expect(figure).to_be_visible()
    return figure


def label(figure: Locator) -> str:
    return figure.locator("canvas").first.get_attribute("aria-label") or ""


@pytest.mark.parametrize("name", list(FIGURES))
def test_every_kind_replaces_its_picture_and_moves(
    page: Page, folder: Path, name: str
) -> None:
    figure = show(page, folder, name)
    expect(figure.locator("img")).to_have_count(0)
    expect(figure.locator("figcaption")).to_have_text("A caption.")
    canvas = figure.locator("canvas").first
    before, said = canvas.evaluate(PIXELS), label(figure)
    figure.locator("input[type=range]").last.press("End")
    assert canvas.evaluate(PIXELS) != before
    assert label(figure) != said
    assert canvas.get_attribute("role") == "img"


def test_the_dot_is_where_the_numbers_say(page: Page, folder: Path) -> None:
    """a ↦ (a, −a) in [−1, 1]²: half a box to the right and half a box down."""
    figure = show(page, folder, "scatter")
    canvas, slider = figure.locator("canvas"), figure.locator("input[type=range]")
    first = canvas.evaluate(CENTRE, BLUE)
    slider.press("End")
    last = canvas.evaluate(CENTRE, BLUE)
    size = canvas.evaluate("c => [c.clientWidth, c.clientHeight]")
    moved = [(last[k] - first[k]) * size[k] for k in (0, 1)]
    assert moved[0] == pytest.approx(moved[1], abs=1.0)  # equal aspect
    side = 2 * moved[0]
    assert 0.75 * size[0] < side < size[0]
    slider.press("ArrowLeft")
    middle = canvas.evaluate(CENTRE, BLUE)
    for k in (0, 1):
        half = (first[k] + last[k]) / 2 * size[k]
        assert middle[k] * size[k] == pytest.approx(half, abs=1.0)


def test_row_zero_of_a_density_is_at_the_bottom(page: Page, folder: Path) -> None:
    figure = show(page, folder, "heat")
    canvas, slider = figure.locator("canvas"), figure.locator("input[type=range]")
    darkest = [0x81, 0x8C, 0x9B]
    seen = []
    for key in ("Home", "ArrowRight", "End"):
        slider.press(key)
        x, y, n = canvas.evaluate(CENTRE, darkest)
        assert n > 0
        seen.append((x > 0.5, y > 0.5))
    assert seen == [(False, True), (True, True), (False, False)]
    # The bar's upper end is the state's own maximum.
    expect(figure.locator(".lx-peak")).to_have_text("1.50")
    expect(figure.locator(".lx-legend")).to_contain_text("density 0")
    other = show(page, folder, "layers").locator(".lx-legend")
    expect(other).to_contain_text("root of the density 0")


def test_cells_have_edges(page: Page, folder: Path) -> None:
    """One of 9 × 9 cells is dark as a whole, and nothing is half as dark."""
    dark, light = [0x81, 0x8C, 0x9B], [255, 255, 255]
    shares = {}
    for name in ("heat", "cells"):
        canvas = show(page, folder, name).locator("canvas")
        n, blank = (canvas.evaluate(CENTRE, c)[2] for c in (dark, light))
        shares[name] = n / blank
    assert shares["cells"] > 4 * shares["heat"]
    assert 0.7 / 80 < shares["cells"] < 1 / 80 * 1.1


def test_images_are_as_bright_as_their_numbers(page: Page, folder: Path) -> None:
    figure = show(page, folder, "images")
    canvas, slider = figure.locator("canvas"), figure.locator("input[type=range]")
    for key, value in (("Home", 0), ("ArrowRight", 128), ("End", 255)):
        slider.press(key)
        *_, n = canvas.evaluate(CENTRE, [value] * 3)
        width, height = canvas.evaluate("c => [c.width, c.height]")
        assert n >= 2 * 130 * 130, (width, height)  # two images of at most 140 pixels


def test_mouse_moves_the_slider(page: Page, folder: Path) -> None:
    figure = show(page, folder, "scatter")
    slider = figure.locator("input[type=range]")
    box = slider.bounding_box()
    assert box is not None
    assert label(figure) == "Something moves. a = \u22120.5"
    page.mouse.move(box["x"] + 11, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 11, box["y"] + 20, steps=8)
    page.mouse.up()
    assert label(figure) == "Something moves. a = 0.5"
    expect(figure.locator("output")).to_have_text("0.5")
    assert slider.get_attribute("aria-valuetext") == "0.5"
    figure.get_by_role("button", name="Reset").click()
    assert label(figure) == "Something moves. a = \u22120.5"


def test_keyboard_moves_slider_and_choice(page: Page, folder: Path) -> None:
    figure = show(page, folder, "choice")
    slider = figure.get_by_role("slider", name="position a")
    slider.focus()
    for key, value in (
        ("ArrowRight", "0.0"),
        ("End", "0.5"),
        ("ArrowLeft", "0.0"),
        ("Home", "\u22120.5"),
    ):
        page.keyboard.press(key)
        assert label(figure) == f"A dot. height = low, position a = {value}"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("ArrowRight")
    expect(figure.get_by_role("radio", name="high")).to_be_checked()
    assert label(figure) == "A dot. height = high, position a = \u22120.5"
    assert figure.get_by_role("group", name="height").count() == 1


def test_touch_moves_the_slider(browser: Any, folder: Path, watch: Any) -> None:
    context = browser.new_context(
        viewport={"width": 390, "height": 844},
        has_touch=True,
        is_mobile=True,
        device_scale_factor=3,
    )
    watch(context)
    figure = show(context.new_page(), folder, "scatter")
    slider = figure.locator("input[type=range]")
    before = figure.locator("canvas").evaluate(PIXELS)
    box = slider.bounding_box()
    assert box is not None
    slider.tap(position={"x": box["width"] - 5, "y": box["height"] / 2})
    assert label(figure) == "Something moves. a = 0.5"
    assert figure.locator("canvas").evaluate(PIXELS) != before
    wide = figure.locator("canvas").evaluate("c => c.width / c.clientWidth")
    assert wide == pytest.approx(3, abs=0.02)  # drawn at the screen's own resolution
    context.close()


def test_play_runs_to_the_end_and_can_be_stopped(page: Page, folder: Path) -> None:
    figure = show(page, folder, "scatter")
    button = figure.get_by_role("button", name="Play through a")
    expect(button).to_have_attribute("aria-pressed", "false")
    button.focus()
    page.keyboard.press("Space")
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(button).to_have_attribute("aria-pressed", "false", timeout=4000)
    assert label(figure).endswith("a = 0.5")
    canvas = figure.locator("canvas")
    page.wait_for_timeout(250)
    played = canvas.evaluate(PIXELS)
    figure.locator("input[type=range]").press("Home")
    figure.locator("input[type=range]").press("End")
    assert canvas.evaluate(PIXELS) == played  # the fade leaves nothing behind
    button.click()  # at the end it starts again from the beginning
    assert label(figure).endswith("a = \u22120.5")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "false")
    page.wait_for_timeout(700)
    assert label(figure).endswith("a = \u22120.5")


def test_reduced_motion_steps_slowly_and_without_fading(
    browser: Any, folder: Path, watch: Any
) -> None:
    context = browser.new_context(reduced_motion="reduce")
    watch(context)
    page = context.new_page()
    figure = show(page, folder, "scatter")
    canvas, slider = figure.locator("canvas"), figure.locator("input[type=range]")
    states = set()
    for key in ("Home", "ArrowRight", "End"):
        slider.press(key)
        states.add(canvas.evaluate(PIXELS))
    slider.press("Home")
    seen = page.evaluate(
        """() => new Promise((done) => {
          const canvas = document.querySelector("canvas"), seen = [];
          document.querySelector(".lx-play").click();
          const begin = performance.now();
          const look = (now) => {
            seen.push([now - begin, canvas.toDataURL()]);
            if (now - begin < 2300) requestAnimationFrame(look);
            else done(seen);
          };
          look(begin);
        })"""
    )
    assert {pixels for _, pixels in seen} == states  # whole states, nothing between
    first_change = next(at for at, pixels in seen if pixels != seen[0][1])
    assert first_change > 800
    context.close()


def test_it_follows_the_theme_at_once(page: Page, folder: Path) -> None:
    figure = show(page, folder, "scatter")
    canvas = figure.locator("canvas")
    corner = "c => [...c.getContext('2d').getImageData(1, 1, 1, 1).data].slice(0, 3)"

    def is_dark() -> bool:
        page.wait_for_timeout(60)
        drawn = canvas.evaluate(corner)
        behind = figure.locator(".lx-root").evaluate(
            "e => getComputedStyle(e).backgroundColor.match(/\\d+/g).map(Number)"
        )
        assert drawn == behind
        return sum(drawn) < 200

    assert not is_dark()
    page.emulate_media(color_scheme="dark")
    assert is_dark()
    page.evaluate("document.documentElement.dataset.theme = 'light'")  # the site's
    assert not is_dark()
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    assert is_dark()
    page.emulate_media(color_scheme="light")
    assert is_dark()
    page.evaluate("delete document.documentElement.dataset.theme")
    assert not is_dark()
    page.evaluate("document.body.dataset.jpThemeLight = 'false'")  # JupyterLab's
    assert is_dark()


def test_a_screen_reader_hears_the_state_once_it_rests(
    page: Page, folder: Path
) -> None:
    figure = show(page, folder, "layers")
    spoken = figure.locator("[aria-live=polite]")
    page.evaluate(
        """() => { globalThis.heard = [];
        new MutationObserver(() => heard.push(
          document.querySelector("[aria-live]").textContent
        )).observe(document.querySelector("[aria-live]"), {childList: true}); }"""
    )
    slider = figure.locator("input[type=range]")
    slider.evaluate(  # five moves at once, however slow the machine
        """(e) => { for (const v of [e.max, e.min, e.max, e.min, e.max]) {
          e.value = v; e.dispatchEvent(new Event("input", { bubbles: true })); } }"""
    )
    expect(spoken).to_have_text("a = 0.5. peak 1.5")
    assert page.evaluate("heard") == ["a = 0.5. peak 1.5"]
    assert label(figure) == "Something moves. a = 0.5. peak 1.5"


def test_panels_share_a_control_and_keep_their_own(page: Page, folder: Path) -> None:
    figure = show(page, folder, "panels")
    canvases = figure.locator("canvas")
    tops = [box["y"] for box in (c.bounding_box() for c in canvases.all()) if box]
    assert len(tops) == 3
    assert max(tops) - min(tops) < 1  # the plots line up, whatever stands above them
    before = [c.evaluate(PIXELS) for c in canvases.all()]
    figure.get_by_role("slider", name="k").press("End")
    after = [c.evaluate(PIXELS) for c in canvases.all()]
    assert [a != b for a, b in zip(after, before, strict=True)] == [False, True, False]
    figure.get_by_role("slider", name="t").press("End")
    final = [c.evaluate(PIXELS) for c in canvases.all()]
    assert all(a != b for a, b in zip(final, after, strict=True))
    names = [c.get_attribute("aria-label") for c in canvases.all()]
    assert names == ["One. t = 1", "Two. t = 1, k = 3", "Three. t = 1"]


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_it_fits_and_is_large_enough_to_touch(
    page: Page, folder: Path, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    show(page, folder, "all")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    small = page.evaluate(
        """() => [...document.querySelectorAll(
          ".lx-root input[type=range], .lx-root button, .lx-segments label"
        )].map((e) => [e.className, e.offsetWidth, e.offsetHeight])
          .filter(([, w, h]) => w < 44 || h < 44)"""
    )
    assert small == []


def test_it_redraws_when_its_width_changes(page: Page, folder: Path) -> None:
    figure = show(page, folder, "lines")
    for width in (1000, 400, 700):
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_timeout(80)
        drawn, shown = figure.locator("canvas").evaluate(
            "c => [c.width, c.clientWidth]"
        )
        assert drawn == pytest.approx(shown, abs=1)


def test_nothing_jumps_while_the_page_loads(page: Page, folder: Path) -> None:
    show(page, folder, "all")
    page.wait_for_timeout(300)
    shift = page.evaluate(
        """() => new Promise((done) => {
          let sum = 0;
          new PerformanceObserver((list) => {
            for (const entry of list.getEntries()) sum += entry.value;
          }).observe({ type: "layout-shift", buffered: true });
          setTimeout(() => done(sum), 100);
        })"""
    )
    assert shift < 0.02


def test_the_browser_decodes_what_python_decodes(page: Page, folder: Path) -> None:
    show(page, folder, "all")
    read = page.evaluate(
        """() => [...document.querySelectorAll("figure.lx")].map((figure) =>
          JSON.parse(figure.dataset.lx).panels.map((panel) =>
            panel.layers.map((layer) =>
              Object.fromEntries(Object.entries(layer.ch).map(([key, c]) =>
                [key, lx.decode(c).map((a) => Array.from(a, (v) =>
                  Number.isNaN(v) ? "nan" : v))])))))"""
    )
    ours = [
        [
            [
                {
                    key: [["nan" if np.isnan(v) else v for v in a] for a in decode(c)]
                    for key, c in layer["ch"].items()
                }
                for layer in one["layers"]
            ]
            for one in figure.spec["panels"]
        ]
        for figure in FIGURES.values()
    ]
    assert json.loads(json.dumps(ours)) == read


def test_a_damaged_figure_stays_a_picture(
    browser: Any, folder: Path, tmp_path: Path
) -> None:
    text = (folder / "scatter.html").read_text("utf-8")
    (tmp_path / "explorer.js").write_text(source("explorer.js"), "utf-8")
    (tmp_path / "explorer.css").write_text(source("explorer.css"), "utf-8")
    (tmp_path / "bad.html").write_text(text.replace("&quot;panels", "&quot;p"), "utf-8")
    page = browser.new_page()  # it reports on the console, so it is not watched
    reports: list[str] = []
    page.on("console", lambda message: reports.append(message.text))
    page.goto((tmp_path / "bad.html").as_uri())
    expect(page.locator("figure.lx > img")).to_be_visible()
    assert any("stays a picture" in text for text in reports)
    page.close()


@pytest.mark.parametrize(("width", "stays"), [(390, True), (1280, False)])
def test_on_a_phone_the_sliders_stay_in_sight_of_stacked_panels(
    page: Page, folder: Path, width: int, stays: bool
) -> None:
    page.set_viewport_size({"width": width, "height": 700})
    figure = show(page, folder, "panels")
    page.evaluate("document.body.style.padding = '900px 0'")
    figure.evaluate("e => window.scrollTo(0, e.offsetTop)")
    box = figure.locator(".lx-bar").bounding_box()
    assert box is not None
    position = figure.locator(".lx-bar").evaluate("e => getComputedStyle(e).position")
    assert (position == "sticky") == stays
    assert not stays or box["y"] + box["height"] <= 700
