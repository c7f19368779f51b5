"""Browse as a curator uses it: the real server and pages in a real Chromium."""

from __future__ import annotations

import re
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
    await_whole,
    change,
    make_review_store,
    serving,
)

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

IMAGES = 30
# The addresses of a gallery's pictures that are painted.
PAINTED = """() => {
  const all = (root) => [...root.querySelectorAll('*')].flatMap((n) => [n, ...(n.shadowRoot ? all(n.shadowRoot) : [])]);
  return all(document).filter((n) => n.dataset?.path && n.naturalWidth > 0).map((n) => n.dataset.path);
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReviewServer]:
    """The real server on 30 images of one task, on one of which somebody has remarked."""
    store = make_review_store(tmp_path_factory.mktemp("browse"))
    add_question(store, "animals", photos=IMAGES, grid=(1, 2), size_hw=(90, 120))
    change(
        store,
        "INSERT INTO flag (uuid, task_id, mask_id, annotator_id, comment, created_at) VALUES "
        "(x'00', 1, (SELECT MAX(id) FROM mask), 1, 'odd', '2026-01-01T00:00:00+00:00')",
    )
    with serving(store) as running:
        yield running


@pytest.fixture
def page(server: ReviewServer, profile: BrowserContext) -> Page:
    """The page Browse as the admin sees it, its first pictures painted."""
    admit(profile, server, "boss", role="admin")
    page = profile.new_page()
    page.goto(f"{server.url}/browse")
    await_pictures(page, 6)
    return page


def await_pictures(page: Page, least: int) -> list[str]:
    """Wait until pictures are painted; returns their addresses."""
    await_whole(page)
    page.wait_for_function(f"({PAINTED})().length >= {least}")
    return list(page.evaluate(PAINTED))


def await_kinds(page: Page, *kinds: str) -> None:
    """Wait until pictures of these kinds are painted, in the order of their names, and no others are left."""
    found = f"[...new Set(({PAINTED})().map((path) => path.split('/')[4].split('?')[0]))]"
    page.wait_for_function(f"{found}.sort().join() === '{','.join(kinds)}'")


def test_pictures_come_when_they_are_in_sight(page: Page) -> None:
    """What is far below is not asked for until one scrolls there; nothing is asked for twice."""
    asked: list[str] = []
    page.on("request", lambda r: asked.append(r.url) if "/review/browse/" in r.url else None)
    first = await_pictures(page, 6)
    assert len(first) < 24
    page.get_by_role("list").get_by_role("button").last.scroll_into_view_if_needed()
    await_pictures(page, len(first) + 3)
    assert len(asked) == len(set(asked))
    assert not [url for url in asked if any(path and url.endswith(path) for path in first)]


def test_one_walks_by_keys(page: Page, server: ReviewServer) -> None:
    """Arrows choose an image, Enter opens it, N and P go to its neighbours, L back to a list that begins with it."""
    cards = page.get_by_role("list").get_by_role("button")
    cards.first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("image=2"))
    await_kinds(page, "after", "before", "overlay", "photo")
    for key, image in (("n", 3), ("n", 4), ("p", 3)):
        page.keyboard.press(key)
        page.wait_for_url(re.compile(f"image={image}$"))
        page.get_by_role("heading", level=2).first.wait_for()
        await_whole(page)
    page.keyboard.press("l")
    page.wait_for_url(re.compile("after=2$"))
    await_kinds(page, "pair")
    assert await_pictures(page, 4)[0].startswith("/review/browse/3/")


def test_letters_in_a_field_go_nowhere(page: Page) -> None:
    """Who types a name with n and p in it stays on the page."""
    field = page.get_by_label("Text in the image's name")
    field.press_sequentially("np")
    field.press("Enter")
    page.get_by_text("No image has what you ask for.").wait_for()
    assert page.url.endswith("name=np")


def test_a_link_can_be_shared(page: Page, server: ReviewServer) -> None:
    """The address alone brings another tab to the same image with the same filters."""
    page.goto(f"{server.url}/browse?flagged=true&class=thing")
    await_whole(page)
    page.get_by_text("1 image", exact=True).wait_for()
    page.get_by_role("list").get_by_role("button").first.click()
    page.wait_for_url(re.compile("image="))
    other = page.context.new_page()
    other.goto(page.url)
    other.get_by_role("heading", name="Masks").wait_for()
    assert other.get_by_label("With an open flag").is_checked()
    [(name,)] = ask(
        server.store,
        "SELECT i.name FROM image AS i JOIN mask AS m ON m.image_id = i.id ORDER BY m.id DESC LIMIT 1",
    )
    other.get_by_role("heading", name=str(name)).wait_for()


def test_a_photo_that_is_gone(page: Page, server: ReviewServer) -> None:
    """A card whose picture cannot be drawn says so, and the others are there."""
    (server.store.parent / "animals" / "images" / "p1.jpg").rename(server.store.parent / "away.jpg")
    try:
        page.goto(f"{server.url}/browse?name=p1")
        page.get_by_text("The picture cannot be shown; tell a curator.").wait_for()
        await_pictures(page, 5)
    finally:
        (server.store.parent / "away.jpg").rename(
            server.store.parent / "animals" / "images" / "p1.jpg"
        )
