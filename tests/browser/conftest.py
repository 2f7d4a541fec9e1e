"""A headless Chromium and the built site, shared by the tests in this folder.

Fixtures: `browser` (one for the session), `site_dir` (the built pages), `site_url`
(the same pages from a local server), `lab` (a running JupyterLab), `page` (a fresh
page that is watched) and `watch` (watches any other page or context). On a watched
page a request to another host, a failed request, a script error or a console error
fails the test.

Without a browser or a built site these tests are skipped, with a message; with
``BROWSER_REQUIRED=1`` they fail instead.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
OWN_HOSTS = {"127.0.0.1", "localhost", "::1"}
OWN_SCHEMES = {"file", "data", "blob", "about"}


def missing(what: str) -> NoReturn:
    """Skip, or fail where the browser tests are required."""
    if os.environ.get("BROWSER_REQUIRED", "0") not in ("", "0"):
        pytest.fail(f"{what} (BROWSER_REQUIRED is set)", pytrace=False)
    pytest.skip(what)


def chromium() -> str | None:
    """Where a Chromium lies, if there is one."""
    named = os.environ.get("CHROMIUM")
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    return named or found or (str(MAC) if MAC.exists() else None)


def is_foreign(url: str) -> bool:
    """Does this address lead to another host?"""
    parts = urlsplit(url)
    return parts.scheme not in OWN_SCHEMES and parts.hostname not in OWN_HOSTS


class Watch:
    """What went wrong on the pages of one context."""

    def __init__(self, context: BrowserContext) -> None:
        self.faults: list[str] = []
        context.route(is_foreign, self._refuse)
        context.on("console", self._console)
        context.on("weberror", lambda e: self.faults.append(f"script: {e.error}"))
        context.on("response", self._response)
        context.on("requestfailed", self._failed)

    def _refuse(self, route) -> None:
        self.faults.append(f"asked another host: {route.request.url}")
        route.abort()

    def _console(self, message) -> None:
        if message.type == "error":
            self.faults.append(f"console: {message.text}")

    def _response(self, response) -> None:
        if response.status >= 400:
            self.faults.append(f"{response.status}: {response.url}")

    def _failed(self, request) -> None:
        # A page that is left stops what it was loading: that is no fault.
        if not is_foreign(request.url) and "ERR_ABORTED" not in str(request.failure):
            self.faults.append(f"failed: {request.url} ({request.failure})")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    program = chromium()
    if program is None:
        missing("no Chromium was found: install it, or name it in CHROMIUM")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=program, args=list(ARGUMENTS)
        )
        yield started
        started.close()


@pytest.fixture(scope="session")
def site_dir() -> Path:
    folder = Path(os.environ.get("SITE_DIR", ROOT / "_build" / "html"))
    if not (folder / "index.html").exists():
        missing(f"the site is not built in {folder.name}: run `make book` first")
    return folder


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture(scope="session")
def site_url(site_dir: Path) -> Iterator[str]:
    handler = partial(_Quiet, directory=str(site_dir))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def watch() -> Iterator[Callable[[BrowserContext], Watch]]:
    """Watch a context that a test made itself; faults fail the test at its end."""
    watches: list[Watch] = []

    def start(context: BrowserContext) -> Watch:
        watches.append(Watch(context))
        return watches[-1]

    yield start
    faults = [fault for one in watches for fault in one.faults]
    assert not faults, "\n".join(faults)


@pytest.fixture
def page(browser: Browser, watch: Callable[[BrowserContext], Watch]) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    watch(context)
    yield context.new_page()
    context.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A JupyterLab of its own, with its own settings: its address and its folder."""
    if not find_spec("jupyterlab"):
        missing("JupyterLab is not installed")
    folder = tmp_path_factory.mktemp("lab")
    port = free_port()
    home = {
        name: str(folder / name.lower())
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR")
    }
    environment = {**os.environ, **home, "PYTHONPATH": str(ROOT)}
    environment.pop("GENFLOW_STATIC", None)
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
        "--LabApp.news_url=",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        "--ServerApp.disable_check_xsrf=True",
        "--IdentityProvider.token=",
        f"--ServerApp.root_dir={folder}",
    ]
    log = (folder / "lab.log").open("w")
    server = subprocess.Popen(
        command, env=environment, stdout=log, stderr=log, cwd=folder
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{url}/api", timeout=2).close()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > deadline:
                    pytest.fail((folder / "lab.log").read_text()[-2000:])
                time.sleep(0.2)
        yield url, folder
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            server.kill()
        log.close()
