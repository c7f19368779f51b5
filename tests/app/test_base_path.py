"""The review below a path of a server that has other things, too: the real server in a real Chromium."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("streamlit", reason="streamlit is not installed")
pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

import streamlit

from app.base_path import base_path
from app.serve import serve_review
from mseg_curate.errors import InputError
from mseg_curate.store import Store
from tests.app.review_server import (
    ReviewServer,
    add_question,
    ask,
    make_review_store,
    sign_in,
    wait,
)

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

BASE = "/team/masks"


class ServerBelow(ReviewServer):
    """The real server, which lives below BASE."""

    @property
    def url(self) -> str:
        """The address without a slash at its end."""
        return super().url + BASE


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReviewServer]:
    """The server on a store with one task."""
    store = make_review_store(tmp_path_factory.mktemp("below"))
    add_question(store, "animals", photos=1)
    running = ServerBelow(store)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("STREAMLIT_SERVER_BASE_URL_PATH", BASE)
        running.start()
    try:
        yield running
    finally:
        running.kill()


def test_one_reviews_below_a_path(server: ReviewServer, profile: BrowserContext) -> None:
    """Signing in, pictures, decisions and signing out all keep to the path, and so does the cookie."""
    page = profile.new_page()
    sign_in(page, server, "ada")
    assert page.url.startswith(f"{server.url}/")
    [cookie] = [c for c in profile.cookies() if c["name"].startswith("mseg_curate")]
    assert cookie["path"] == f"{BASE}/"
    wait(page, "pane.state === 'ready'")
    page.keyboard.press("1")
    wait(page, "pane.acknowledged === 1")
    # Other tests of this server may have come first, in the names of others.
    mine = "SELECT outcome FROM v_decision WHERE annotator = 'ada'"
    assert ask(server.store, mine) == [("class",)]
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("Your name").wait_for()
    assert page.url == f"{server.url}/"


@pytest.mark.parametrize("path", ["/review/task?task=animals", "/team/review/task?task=animals"])
def test_nothing_answers_beside_it(server: ReviewServer, path: str) -> None:
    """Our routes are below the path alone; what lies beside it is the proxy's."""
    root = server.url.removesuffix(BASE)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(root + path, timeout=10)
    with refused.value as answer:
        assert answer.code == 404


def test_two_tabs_sign_out_together(server: ReviewServer, profile: BrowserContext) -> None:
    """The pane of a tab that stands open is led to the sign-in by its next request, and keeps what it has."""
    first, second = profile.new_page(), profile.new_page()
    sign_in(first, server, "ben")
    wait(first, "pane.state === 'ready'")
    second.goto(f"{server.url}/tasks")
    second.get_by_role("button", name="Sign out").click()
    second.get_by_label("Your name").wait_for()
    first.keyboard.press("1")
    first.get_by_text("You signed out of this browser in another tab").wait_for()
    assert ask(
        server.store,
        "SELECT count(*) FROM decision AS d JOIN annotator AS a "
        "ON a.id = d.annotator_id WHERE a.name = 'ben'",
    ) == [(0,)]
    sign_in(first, server, "ben")
    wait(first, "pane.acknowledged === 1 && pane.pending === 0")


@pytest.mark.parametrize("path", ["a b", "../x", "x//y", "<b>", "x?y", "ä"])
def test_a_path_that_is_none(small_store: Store, path: str) -> None:
    """What cannot be a path of an address is refused before anything is served."""
    with pytest.raises(InputError, match="--base-path"):
        serve_review(
            small_store.path,
            address="127.0.0.1",
            port=None,
            host_names=(),
            base_path=path,
            open_browser=False,
            say=print,
        )


@pytest.mark.parametrize(
    ("option", "base"), [("", ""), (None, ""), ("masks", "/masks"), ("/team/masks/", "/team/masks")]
)
def test_the_path_as_configured(
    monkeypatch: pytest.MonkeyPatch, option: str | None, base: str
) -> None:
    """The configured path has a slash before it and none behind it, however it was written."""
    monkeypatch.setattr(streamlit, "get_option", {"server.baseUrlPath": option}.get)
    assert base_path() == base
