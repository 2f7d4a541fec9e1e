"""Figures with a kernel: a played one here, a real one in a running JupyterLab."""

from __future__ import annotations

import contextlib
import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest

pytest.importorskip("playwright")

from playwright.sync_api import Locator, Page, expect

from genflow_lite.explorer import Explorer, explore
from genflow_lite.explorer._widget import answer, source

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parents[2]
X = np.linspace(-3, 3, 121)
NEAREST = "(nearest computed state shown: centre = "


def bell(mu: float, shape: str = "bell") -> dict:
    if mu > 5:
        raise ValueError("mu must be at most 5")
    y = np.exp(-((X - mu) ** 2)) if shape == "bell" else 1.0 * (abs(X - mu) < 0.98)
    return {"p": (X, y)}


def figure_of(**more: Any) -> Explorer:
    return explore(
        bell,
        kind="lines",
        mu=[-2, -1, 0.0, 1, 2],
        names={"mu": "centre"},
        caption="A bell.",
        alt="A bell curve",
        summary=lambda frame: f"peak at {frame['p'][0][frame['p'][1].argmax()]:.2f}",
        **more,
    )


# ------------------------------------------------- a kernel played by the test

PLAYED = """([spec]) => {
  globalThis.asked = [];
  globalThis.hear = null;
  lx.mount(document.querySelector("figure.lx"), spec, {
    send: (message) => asked.push(message),
    listen: (callback) => { hear = callback; return () => { hear = null; }; },
  });
}"""


@pytest.fixture
def played(page: Page, tmp_path: Path) -> Iterator[tuple[Page, Explorer]]:
    """A figure whose questions wait in `asked` until the test answers them."""
    figure = figure_of()
    for name in ("explorer.js", "explorer.css"):
        (tmp_path / name).write_text(source(name), "utf-8")
    (tmp_path / "page.html").write_text(
        '<!doctype html><meta charset="utf-8"><link rel="stylesheet" '
        'href="explorer.css"><script src="explorer.js"></script><title>Live</title>'
        '<figure class="lx"><figcaption>A bell.</figcaption></figure>',
        "utf-8",
    )
    page.goto((tmp_path / "page.html").as_uri())
    page.evaluate(PLAYED, [figure.spec])
    yield page, figure
    page.evaluate("document.querySelector('figure.lx').lxStop()")
    assert page.evaluate("hear") is None


def said(page: Page) -> str:
    return page.locator("canvas").get_attribute("aria-label") or ""


def reply_to(page: Page, figure: Explorer, number: int) -> dict:
    request = page.evaluate(f"asked[{number}]")
    page.evaluate("(reply) => hear(reply)", answer(figure.panels, request))
    return request


def put(page: Page, value: float) -> None:
    box = page.get_by_role("textbox", name="centre, exact value")
    box.fill(str(value))
    box.press("Enter")


def test_grid_values_do_not_ask(played: tuple[Page, Explorer]) -> None:
    page, _ = played
    slider = page.get_by_role("slider", name="centre")
    for key in ("ArrowRight", "ArrowRight", "End", "ArrowLeft", "Home"):
        slider.press(key)
    put(page, 1)
    assert said(page) == "A bell curve. centre = 1. peak at 1.00"
    assert page.evaluate("asked.length") == 0


def test_a_value_between_is_computed_and_remembered(
    played: tuple[Page, Explorer],
) -> None:
    page, figure = played
    slider, canvas = page.get_by_role("slider", name="centre"), page.locator("canvas")
    slider.press("Shift+ArrowRight")  # a twentieth of the way from −2 to −1
    grid_state = canvas.evaluate("c => c.toDataURL()")
    request = reply_to(page, figure, 0)
    assert request["values"] == {"mu": -1.95}
    exact = canvas.evaluate("c => c.toDataURL()")
    assert exact != grid_state
    assert said(page) == "A bell curve. centre = \u22121.95. peak at -1.95"
    slider.press("Home")
    put(page, -1.95)
    assert canvas.evaluate("c => c.toDataURL()") == exact
    assert page.evaluate("asked.length") == 1


def test_a_value_beyond_the_ends_is_computed(played: tuple[Page, Explorer]) -> None:
    page, figure = played
    put(page, 2.8)
    assert reply_to(page, figure, 0)["values"] == {"mu": 2.8}
    assert said(page) == "A bell curve. centre = 2.8. peak at 2.80"
    assert page.get_by_role("slider", name="centre").input_value() == "4"


def test_only_the_newest_of_many_questions_is_asked(
    played: tuple[Page, Explorer],
) -> None:
    page, figure = played
    page.evaluate(
        """() => { const slider = document.querySelector("input[type=range]");
        for (let k = 1; k < 40; k++) {
          slider.value = 0.05 * k;
          slider.dispatchEvent(new Event("input"));
        } }"""
    )
    assert page.evaluate("asked.map((q) => q.values.mu)") == [-1.95]
    reply_to(page, figure, 0)
    assert page.evaluate("asked.map((q) => q.values.mu)") == [-1.95, -0.05]
    assert "-1.95" not in said(page)  # the old answer is not drawn any more
    reply_to(page, figure, 1)
    assert page.evaluate("asked.length") == 2
    assert said(page) == "A bell curve. centre = \u22120.05. peak at -0.05"


def test_a_slow_kernel_shows_the_nearest_state_and_says_so(
    played: tuple[Page, Explorer],
) -> None:
    page, figure = played
    put(page, 0.3)
    status = page.locator(".lx-status")
    expect(status).to_have_text(f"Computing {NEAREST}0)")
    assert said(page).endswith(f"peak at 0.00. Computing {NEAREST}0)")
    expect(page.locator("[aria-live]")).to_contain_text("Computing")
    reply_to(page, figure, 0)
    expect(status).to_have_text("")
    assert said(page) == "A bell curve. centre = 0.3. peak at 0.30"


def test_a_dead_kernel_shows_the_nearest_state_and_says_so(
    played: tuple[Page, Explorer],
) -> None:
    page, figure = played
    put(page, 0.7)
    status = page.locator(".lx-status")
    expect(status).to_have_text(f"No answer from the kernel {NEAREST}1)", timeout=8000)
    page.get_by_role("slider", name="centre").press("Home")
    expect(status).to_have_text("")
    # A kernel that comes back is asked again.
    put(page, 0.8)
    reply_to(page, figure, 1)
    assert said(page) == "A bell curve. centre = 0.8. peak at 0.80"


def test_an_error_of_the_function_is_shown(played: tuple[Page, Explorer]) -> None:
    page, figure = played
    put(page, 7)
    reply_to(page, figure, 0)
    expect(page.locator(".lx-status")).to_have_text(
        f"ValueError: mu must be at most 5 {NEAREST}2)"
    )


def test_nonsense_in_the_number_box_is_put_right(
    played: tuple[Page, Explorer],
) -> None:
    page, _ = played
    put(page, float("nan"))
    expect(page.get_by_role("textbox")).to_have_value("\u22122")
    assert page.evaluate("asked.length") == 0


# ------------------------------------------------------------ a real JupyterLab

CODE = """
import numpy as np
from genflow_lite.explorer import explore
x = np.linspace(-3, 3, 121)
def bell(mu, shape):
    y = np.exp(-(x - mu)**2) if shape == "bell" else 1.0 * (abs(x - mu) < 0.98)
    return {"p": (x, y)}
explore(bell, kind="lines", mu=[-2, -1, 0.0, 1, 2], shape=["bell", "box"],
        names={"mu": "centre"}, caption="A bell.", alt="A bell curve",
        summary=lambda f: f"peak at {f['p'][0][f['p'][1].argmax()]:.2f}")
"""


def open_notebook(page: Page, url: str) -> None:
    page.goto(f"{url}/lab/tree/bell.ipynb?reset")
    page.locator(".jp-Notebook .jp-CodeCell").wait_for(timeout=60_000)


def run_first_cell(page: Page) -> Locator:
    """Run it, as often as it takes until the kernel is there to hear it."""
    prompt = page.locator(".jp-CodeCell .jp-InputPrompt").first
    dialog = page.locator(".jp-Dialog")
    for _ in range(60):
        if dialog.count():  # a slow server makes JupyterLab ask for the kernel
            dialog.locator(".jp-mod-accept").first.click()
            continue
        page.locator(".jp-CodeCell .cm-content").first.click()
        page.keyboard.press("Control+Enter")
        page.wait_for_timeout(500)
        if prompt.inner_text().strip() != "[ ]:":
            break
    figure = page.locator("figure.lx.lx-live")
    figure.wait_for(timeout=40_000)
    return figure


def delete_kernels(url: str) -> None:
    with urllib.request.urlopen(f"{url}/api/kernels") as reply:
        running = json.load(reply)
    for kernel in running:
        urllib.request.urlopen(
            urllib.request.Request(f"{url}/api/kernels/{kernel['id']}", method="DELETE")
        ).close()


@pytest.mark.slow
def test_in_jupyterlab(browser: Any, lab: tuple[str, Path]) -> None:
    """Live by slider and keys, computed between, honest without kernel, reopened."""
    url, folder = lab
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(CODE)],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    nbformat.write(notebook, folder / "bell.ipynb")
    context = browser.new_context(viewport={"width": 1200, "height": 1000})
    page = context.new_page()
    foreign: list[str] = []
    context.on(
        "request",
        lambda r: (
            foreign.append(r.url)
            if r.url.startswith("http") and not r.url.startswith(url)
            else None
        ),
    )
    open_notebook(page, url)
    figure = run_first_cell(page)
    canvas, slider = figure.locator("canvas"), figure.locator("input[type=range]")
    assert said(page) == "A bell curve. centre = \u22122, shape = bell. peak at -2.00"
    first = canvas.evaluate("c => c.toDataURL()")

    # Keys reach the slider and not the notebook, which would select another cell.
    slider.press("ArrowRight")
    assert "centre = \u22121, " in said(page)
    assert canvas.evaluate("c => c.toDataURL()") != first

    # Between two grid values the kernel computes.
    slider.press("Shift+ArrowRight")
    expect(canvas).to_have_attribute(
        "aria-label",
        "A bell curve. centre = \u22120.95, shape = bell. peak at -0.95",
        timeout=10_000,
    )
    put(page, 2.6)
    expect(canvas).to_have_attribute(
        "aria-label",
        "A bell curve. centre = 2.6, shape = bell. peak at 2.60",
        timeout=10_000,
    )
    box = slider.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.up()
    figure.get_by_text("box", exact=True).click()
    expect(canvas).to_have_attribute(
        "aria-label",
        re.compile(r"shape = box\. peak at -[0-9.]+$"),
        timeout=10_000,
    )

    # Saved, there is no widget in the notebook: HTML, picture and text alone.
    page.locator(".jp-CodeCell .cm-content").first.click()
    page.keyboard.press("Control+s")
    stored: Any = None
    for _ in range(40):
        with contextlib.suppress(ValueError):  # the file is just being written
            stored = nbformat.read(folder / "bell.ipynb", as_version=4)
        if stored and stored.cells[0].outputs:
            break
        page.wait_for_timeout(250)
    (output,) = stored.cells[0].outputs
    assert set(output.data) == {"text/html", "image/png", "text/plain"}
    assert "widgets" not in stored.metadata

    # The kernel goes; the figure stays, shows the nearest state and says so.
    delete_kernels(url)
    slider.press("Home")
    slider.press("Shift+ArrowRight")
    expect(figure.locator(".lx-status")).to_contain_text(
        f"No answer from the kernel {NEAREST}\u22122)", timeout=15_000
    )
    slider.press("End")
    assert said(page) == "A bell curve. centre = 2, shape = box. peak at 1.05"
    context.close()

    # Reopened, another kernel knows nothing of it: the picture, and no complaint.
    context = browser.new_context(viewport={"width": 1200, "height": 1000})
    page = context.new_page()
    open_notebook(page, url)
    expect(page.locator("figure.lx > img")).to_be_visible(timeout=20_000)
    page.wait_for_timeout(2500)  # ipywidgets looks for a model for two seconds
    expect(page.locator("figure.lx > img")).to_be_visible()
    assert page.get_by_text("model not found").count() == 0
    context.close()
    assert foreign == []
