"""Pages that are taken back and tabs that are left, at the real server in a real Chromium."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("streamlit", reason="streamlit is not installed")
pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from tests.app.review_server import (
    ReviewServer,
    add_question,
    admit,
    ask,
    faults,
    make_review_store,
    masks_of,
    open_review,
    read,
    serving,
    wait,
)

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReviewServer]:
    """The real server on a store that each test adds a task of its own to."""
    with serving(make_review_store(tmp_path_factory.mktemp("leaving"))) as running:
        yield running


def test_a_page_of_the_grid_comes_back_with_its_exceptions(
    server: ReviewServer, profile: BrowserContext
) -> None:
    """Undo brings all crops of a page back, after a reload too, and the page can be decided anew."""
    add_question(server.store, "pages", photos=2, grid=(3, 5))
    person = admit(profile, server, "pia")
    page = open_review(profile, server, task="pages", place="grid")
    shown = masks_of(server.store, page.evaluate("__msegPane.cells"))
    page.get_by_role("group", name="Crops").get_by_role("button").nth(2).click()
    wait(page, "pane.marked === 1")
    page.keyboard.press("Enter")
    wait(page, "pane.pages === 1 && pane.pending === 0")
    assert ask(server.store, "SELECT mask_id FROM grid_exception") == [(shown[2],)]
    page.reload()
    wait(page, "['ready', 'empty'].includes(pane.state)")
    page.keyboard.press("z")
    wait(page, "pane.state === 'ready' && pane.pending === 0 && pane.marked === 1")
    assert masks_of_leases(server, page.evaluate("__msegPane.cells")) == shown
    assert ask(server.store, "SELECT count(*) FROM grid_exception") == [(0,)]
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    wait(page, "pane.pages === 1 && pane.pending === 0")
    assert read(page, "refused") == 0
    standing = ask(
        server.store,
        "SELECT mask_id FROM decision AS d WHERE annotator_id = ? AND outcome = 'class' AND NOT EXISTS "
        "(SELECT 1 FROM decision AS later WHERE later.supersedes_id = d.id)",
        person,
    )
    assert sorted(mask for (mask,) in standing) == sorted(shown)
    assert faults(server.store) == []


def masks_of_leases(server: ReviewServer, leases: list[str]) -> list[int]:
    """Return the masks of leases that stand in the store, those that an undo brought too."""
    held = dict(ask(server.store, "SELECT lower(hex(token)), mask_id FROM lease"))
    return [int(str(held[lease])) for lease in leases]


def test_a_tab_that_is_left_frees_its_masks_for_others(
    server: ReviewServer, profile: BrowserContext
) -> None:
    """Nobody waits for the leases of a page that is gone."""
    add_question(server.store, "left", photos=1, grid=(2, 5))
    admit(profile, server, "lea")
    page = open_review(profile, server, task="left")
    wait(page, "pane.ahead >= 4")
    page.keyboard.press("1")
    page.goto("about:blank")
    until = time.monotonic() + 10
    held = "SELECT count(*) FROM lease WHERE expires_at > ?"
    while ask(server.store, held, time.time()) != [(0,)] and time.monotonic() < until:
        time.sleep(0.05)
    assert ask(server.store, held, time.time()) == [(0,)]
    assert ask(
        server.store,
        "SELECT count(*) FROM decision WHERE task_id = (SELECT id FROM task WHERE name = 'left')",
    ) == [(1,)]
