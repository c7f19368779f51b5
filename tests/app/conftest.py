"""A real Chromium and a page with a pane on it, for the tests of the panes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

    from mseg_curate.store import Store
    from tests.app.fake_review import FakeServer
    from tests.app.route_client import Server

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(autouse=True)
def _keep_main_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what AppTest leaves: it makes its script the main module, which a spawned process runs."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A running Chromium; skips where it or playwright is missing."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is missing")
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def profile(chromium: Browser) -> Iterator[BrowserContext]:
    """A fresh browser profile; a page error fails the test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 720})
    context.set_default_timeout(20_000)
    faults: list[str] = []
    context.on("weberror", lambda fault: faults.append(str(fault.error)))
    yield context
    context.close()
    assert faults == []


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    """The fake server with 200 masks on three large photos."""
    made = pytest.importorskip("tests.app.fake_review", reason="the app's extra is not installed")
    server: FakeServer = made.FakeServer(made.FakeReview())
    yield server
    server.stop()


@pytest.fixture
def server(farm_store: Store, farm: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The guarded routes over the store of the farm, with people of every role."""
    made = pytest.importorskip("tests.app.route_client", reason="the app's extra is not installed")
    monkeypatch.setenv("MSEG_CURATE_DB", str(farm_store.path))
    with made.serving_routes(farm_store, farm) as running:
        yield running


@pytest.fixture
def open_pane(profile: BrowserContext) -> Callable[[str], Page]:
    """Open a page with a pane and wait until its first mask is painted."""

    def opened(url: str) -> Page:
        page = profile.new_page()
        page.goto(url)
        page.wait_for_function("window.__msegPane?.state === 'ready'")
        return page

    return opened
