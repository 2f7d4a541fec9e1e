"""What the book promises about its own speed and weight, measured.

    python benchmarks/book.py               everything
    python benchmarks/book.py import pages  some of it

Measures: seconds that ``import genflow_lite`` adds to ``import torch``; run time of
each chapter; time to build the site; time of the notebook test; bytes of each page
without MathJax; time to the first readable paint from a local server. The result is
printed and written to ``benchmarks/results/book.json``. Close other programs first.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import record

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "_build" / "html"
RESULTS = record.RESULTS / "book.json"
PACKAGES = ("torch", "numpy", "matplotlib", "jupyter-book", "nbval", "playwright")
GOALS = {
    "import": "0.3 s beyond torch",
    "chapters": "60 s each, 35 s on average",
    "build": "60 s",
    "nbval": "360 s, two workers",
    "pages": "2,000,000 bytes each",
    "paint": "1 s each",
}


def timed(command: list[str], **more: Any) -> float:
    """Wall seconds of a command that must succeed."""
    start = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, **more)
    return round(time.perf_counter() - start, 2)


def measure_import() -> dict[str, float]:
    """Seconds of the two imports, medians of seven processes each."""
    code = "import time; a = time.perf_counter(); import {}; b = time.perf_counter()"
    first = code.format("torch")
    second = "import torch; " + code.format("genflow_lite")

    def median(program: str) -> float:
        command = [sys.executable, "-c", program + "; print(b - a)"]
        runs = [subprocess.check_output(command, cwd=ROOT) for _ in range(7)]
        return round(statistics.median(map(float, runs)), 3)

    return {"torch": median(first), "genflow_lite beyond torch": median(second)}


def measure_chapters() -> dict[str, float]:
    """Seconds to run each notebook, kernel start included, in a copy of the book."""
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "book"
        ignore = shutil.ignore_patterns("_vendor", ".ipynb_checkpoints")
        shutil.copytree(ROOT / "book", copy, ignore=ignore)
        for path in sorted(copy.glob("*.ipynb")):
            run = [sys.executable, str(ROOT / "tools" / "execute.py"), str(path)]
            seconds[path.stem] = timed(run)
    return seconds


def measure_build() -> dict[str, float]:
    """Seconds to build the whole site, and again when nothing has changed."""
    build = [sys.executable, "tools/build_site.py"]
    return {"all": timed([*build, "--all"]), "again": timed(build)}


def measure_nbval() -> dict[str, float]:
    """Seconds of the notebook test with two workers."""
    pytest = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadscope"]
    return {"two workers": timed([*pytest, "--nbval", "book/"])}


@contextmanager
def server() -> Iterator[str]:
    """The built site on a local port."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    handler = functools.partial(Quiet, directory=str(SITE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def measure_pages() -> dict[str, dict[str, float]]:
    """Of each page: bytes without MathJax, and seconds to its first readable paint.

    Every page is opened in a context of its own, so that nothing is cached.
    """
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    program = os.environ.get("CHROMIUM") or found
    if program is None or not (SITE / "index.html").exists():
        raise SystemExit("pages: needs Chromium and a built site (make book)")
    paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
    rows: dict[str, dict[str, float]] = {}
    with server() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu"]
        )
        for path in sorted((SITE / "book").glob("*.html")):
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            page = context.new_page()
            sizes: dict[str, int] = {}

            def weigh(response: Any, sizes: dict[str, int] = sizes) -> None:
                if "/mathjax/" not in response.url:
                    length = response.headers.get("content-length", "0")
                    sizes[response.url] = int(length)

            page.on("response", weigh)
            page.goto(f"{url}/book/{path.name}", wait_until="load")
            page.wait_for_function(f"() => {paint} > 0")
            rows[path.stem] = {
                "bytes": sum(sizes.values()),
                "paint": round(float(page.evaluate(paint)) / 1000, 3),
            }
            context.close()
        browser.close()
    return rows


PARTS: dict[str, Callable[[], Any]] = {
    "import": measure_import,
    "chapters": measure_chapters,
    "build": measure_build,
    "nbval": measure_nbval,
    "pages": measure_pages,
}


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}")
    chosen = parser.parse_args().parts or list(PARTS)
    for part in chosen:
        if part not in PARTS:
            parser.error(f"there is no part {part!r}; there are {', '.join(PARTS)}")
    measured = record.load(RESULTS).get("measured", {})
    about = record.about(PACKAGES)
    for part in chosen:
        print(f"{part} ...", flush=True)
        measured[part] = {"machine": about, "values": PARTS[part]()}
        print(json.dumps(measured[part]["values"], indent=2), flush=True)
    record.save(RESULTS, {"goals": GOALS, "measured": measured})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
