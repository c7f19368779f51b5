"""The grid in a real Chromium, and the scripts of both panes."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.app.pane_steps import (
    Open,
    pane,
    wait,
)

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Route

    from tests.app.fake_review import FakeServer


# --- the grid ---------------------------------------------------------------------------------------


def test_the_grid_confirms_all_but_the_exceptions(fake: FakeServer, open_pane: Open) -> None:
    """One key decides the page: marked crops as marked, exceptions not at all, the others as the class."""
    page = open_pane(fake.page_url("grid", mode="grid"))
    cells = [fake.review.mask_of(lease) for lease in page.evaluate("window.__msegPane.cells")]
    assert 24 <= len(cells) <= 48
    page.keyboard.press("Space")
    for key in ("ArrowRight", "2", "ArrowRight", "u"):
        page.keyboard.press(key)
    page.locator(".cell").nth(5).click()
    wait(page, "pane.marked === 4")
    page.keyboard.press("Enter")
    wait(page, "pane.pages === 1 && pane.pending === 0 && pane.state === 'ready'")
    stored = {entry["mask"]: entry for entry in fake.review.decided}
    assert set(cells) - set(stored) == {cells[0], cells[5]}
    assert stored[cells[1]]["class_name"] == "sheep"
    assert stored[cells[2]]["outcome"] == "unsure"
    assert {stored[mask]["class_name"] for mask in (*cells[3:5], *cells[6:])} == {"cow"}


def test_the_grid_takes_a_page_back(fake: FakeServer, open_pane: Open) -> None:
    """Undo withdraws every decision of the last page and shows its crops again."""
    page = open_pane(fake.page_url("grid", mode="grid"))
    cells = page.evaluate("window.__msegPane.cells.length")
    page.keyboard.press("Enter")
    wait(page, "pane.pages === 1 && pane.pending === 0")
    assert len(fake.review.standing) == cells
    page.keyboard.press("z")
    wait(page, "pane.pages === 0 && pane.pending === 0 && pane.state === 'ready'")
    assert fake.review.standing == {}
    page.keyboard.press("Enter")
    wait(page, "pane.pages === 1 && pane.pending === 0")
    assert len(fake.review.standing) == cells
    assert pane(page, "bitmaps") == 0


def test_the_grid_keeps_the_classes_apart(fake: FakeServer, open_pane: Open) -> None:
    """Another class is another client: leases of the first are given back."""
    page = open_pane(fake.page_url("grid", mode="grid"))
    client, first = pane(page, "client"), pane(page, "cells")
    page.click(".class-choice >> text=sheep")
    wait(page, f"pane.state === 'ready' && pane.client !== '{client}'")
    assert not set(page.evaluate("window.__msegPane.cells")) & set(first)  # type: ignore[call-overload]
    page.keyboard.press("Enter")
    wait(page, "pane.pages === 1 && pane.pending === 0")
    assert {entry["class_name"] for entry in fake.review.decided} == {"sheep"}
    assert not fake.review.leases.keys() & set(first)  # type: ignore[call-overload]


def test_the_grid_takes_every_page_back_with_its_exceptions(
    fake: FakeServer, open_pane: Open
) -> None:
    """Undo goes back page by page, past a reload, and shows each crop with what was said of it."""
    page = open_pane(fake.page_url("grid", mode="grid"))
    pages: list[set[int]] = []
    for number in range(4):
        wait(page, "pane.state === 'ready'")
        leases = page.evaluate("window.__msegPane.cells")
        pages.append({fake.review.mask_of(lease) for lease in leases})
        page.keyboard.press("Space")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("2")
        page.keyboard.press("Enter")
        wait(page, f"pane.pages === {number + 1} && pane.pending === 0")
    assert len(fake.review.excepted) == 4
    page.reload()
    wait(page, "pane.state === 'ready'")
    for seen in reversed(pages):
        page.keyboard.press("z")
        wait(page, "pane.pending === 0 && pane.state === 'ready'")
        leases = page.evaluate("window.__msegPane.cells")
        assert {fake.review.mask_of(lease) for lease in leases} == seen
        assert pane(page, "marked") == 2
        assert page.locator(".cell[data-answer='except']").count() == 1
        assert page.locator(".cell[data-answer='class'] .label").inner_text() == "sheep"
    assert fake.review.standing == {}
    assert fake.review.excepted == set()
    page.keyboard.press("z")
    page.wait_for_selector(".notice:has-text('no page of this class')")
    page.keyboard.press("Enter")
    wait(page, "pane.pending === 0 && pane.pages === 1")
    assert len(fake.review.standing) == len(pages[0]) - 1


def test_a_crop_that_others_have_decided_is_not_shown_again(
    fake: FakeServer, open_pane: Open
) -> None:
    """A withdrawn decision whose mask needs no other stays withdrawn; its crop cannot be decided."""
    page = open_pane(fake.page_url("grid", mode="grid"))
    cells = page.evaluate("window.__msegPane.cells")
    page.keyboard.press("Enter")
    wait(page, "pane.pages === 1 && pane.pending === 0")
    fake.review.settled = {fake.review.mask_of(cells[0])}
    page.keyboard.press("z")
    wait(page, "pane.pending === 0 && pane.state === 'ready'")
    page.keyboard.press("Enter")
    wait(page, "pane.pages === 1 && pane.pending === 0")
    assert len(fake.review.standing) == len(cells) - 1
    assert pane(page, "refused") == 0


def test_a_crop_at_which_the_server_fails_holds_up_no_page(
    fake: FakeServer, profile: BrowserContext
) -> None:
    """After some tries the crop says that it cannot be shown, and the page is decided without it."""
    page = profile.new_page()
    first: list[str] = []

    def answer(route: Route) -> None:
        first.append(route.request.url)
        if route.request.url == first[0]:
            route.fulfill(status=500, content_type="text/html", body="<h1>Internal error</h1>")
        else:
            route.fallback()

    page.route("**/crop?px=*", answer)
    page.goto(fake.page_url("grid", mode="grid"))
    page.wait_for_function("window.__msegPane?.state === 'ready'")
    assert page.locator(".cell[data-answer='failed']").count() == 1
    cells = int(str(pane(page, "cells.length")))
    page.keyboard.press("Enter")
    wait(page, "pane.pages === 1 && pane.pending === 0")
    assert len(fake.review.decided) == cells - 1


def test_the_classes_of_the_grid_say_how_many_masks_they_have(
    fake: FakeServer, open_pane: Open
) -> None:
    """The count that the server gives stands beside the class."""
    for number, candidate in enumerate(fake.review.question["candidates"]):  # type: ignore[arg-type, var-annotated]
        candidate["suggested"] = 1200 + number
    page = open_pane(fake.page_url("grid", mode="grid"))
    assert page.locator(".class-choice .many").all_inner_texts() == ["1,200", "1,201", "1,202"]


def test_the_grid_has_room_for_two_hundred_classes(fake: FakeServer, open_pane: Open) -> None:
    """Classes are chosen from a list, and so are those without a key for the crop in focus."""
    fake.review.question["candidates"] = [
        {"position": number, "name": f"kind {number + 1}", "definition": "", "examples": []}
        for number in range(194)
    ]
    page = open_pane(fake.page_url("grid", mode="grid"))
    board = page.locator(".board").bounding_box()
    assert board is not None
    assert board["height"] > 350
    page.keyboard.press("/")
    others = page.get_by_label("Another class for the crop in focus")
    assert others.evaluate("list => list.getRootNode().activeElement === list")
    others.select_option("kind 150")
    wait(page, "pane.marked === 1")
    page.locator("select").first.select_option("kind 7")
    wait(page, "pane.state === 'ready' && pane.marked === 0")
    page.keyboard.press("Enter")
    wait(page, "pane.pages === 1 && pane.pending === 0")
    assert {entry["class_name"] for entry in fake.review.decided} == {"kind 7"}


def test_a_page_of_which_nothing_was_stored_is_not_brought_back(
    fake: FakeServer, open_pane: Open
) -> None:
    """Decisions and exceptions that were refused leave nothing that undo could take back."""
    page = open_pane(fake.page_url("grid", mode="grid"))

    def refuse(route: Route) -> None:
        uuids = [one["uuid"] for one in route.request.post_data_json["operations"]]
        late = {"status": "refused", "reason": "expired", "message": "Too late."}
        route.fulfill(json={"results": [{"uuid": uuid, **late} for uuid in uuids]})

    page.route("**/review/decide", refuse)
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    wait(page, "pane.pages === 1 && pane.pending === 0 && pane.state === 'ready'")
    page.unroute("**/review/decide")
    page.keyboard.press("z")
    page.wait_for_selector(".notice:has-text('no page of this class')")
    assert pane(page, "state") == "ready"


def test_every_page_that_undo_reaches_fits_into_one_request() -> None:
    """The leases of all pages taken back, the present and the next one can be named at once, within a body's size."""
    bodies = pytest.importorskip("app.bodies", reason="the app's extra is not installed")
    security = pytest.importorskip("app.security", reason="the app's extra is not installed")
    script = pytest.importorskip("app.panes").pane_script("grid")
    pages, crops = (
        int(found[1])
        for name in ("PAGES_KEPT", "CELLS_MOST")
        if (found := re.search(rf"const {name} = (\d+);", script))
    )
    assert (pages + 2) * crops <= bodies.MOST_HELD
    lease = json.dumps("0" * 32) + ","
    assert bodies.MOST_HELD * len(lease) + 5_000 <= security.BODY_LIMIT_BYTES


# --- the scripts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["review", "grid"])
def test_a_script_is_one_module(name: str) -> None:
    """Streamlit takes one script with one default export, and tells text from a path by a newline."""
    panes = pytest.importorskip("app.panes", reason="the app's extra is not installed")
    script, style = panes.pane_script(name), panes.pane_style(name)
    assert script.count("export default function") == 1
    assert "\nimport " not in script
    assert "innerHTML" not in script
    assert "://" not in script
    assert "\n" in style
    assert "url(" not in style
