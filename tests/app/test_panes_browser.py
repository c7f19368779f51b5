"""The review pane and the grid in a real Chromium, against a small server in memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page, Route

    from tests.app.fake_review import FakeServer

Open = Callable[[str], "Page"]
BEAT_S = 0.06


def pane(page: Page, name: str) -> object:
    """Read one of the pane's counters."""
    return page.evaluate(f"window.__msegPane.{name}")


def wait(page: Page, condition: str) -> None:
    """Wait until a condition on the pane's counters (`pane`) holds."""
    page.wait_for_function(f"(() => {{ const pane = window.__msegPane; return {condition}; }})()")


def decide(page: Page, key: str = "1") -> None:
    """Press a key once the present mask is painted, and wait until the next one is."""
    wait(page, "pane.state === 'ready'")
    before = pane(page, "painted.length")
    page.keyboard.press(key)
    wait(page, f"pane.painted.length > {before}")


def masks_painted(fake: FakeServer, page: Page) -> list[int]:
    """Return the masks in the order in which they were painted."""
    leases = page.evaluate("window.__msegPane.painted.map((entry) => entry.lease)")
    return [fake.review.mask_of(lease) for lease in leases]


def masks_decided(fake: FakeServer) -> list[object]:
    """Return the masks in the order in which their decisions were stored."""
    return [entry["mask"] for entry in fake.review.decided]


def press_steadily(page: Page, keys: str) -> None:
    """Press keys in the beat of a fast annotator, whatever the page does; a late key is not made up for."""
    for key in keys:
        page.keyboard.press(key)
        time.sleep(BEAT_S)


# --- deciding -----------------------------------------------------------------------------------------


def test_a_burst_of_keys_decides_each_painted_mask_once(fake: FakeServer, open_pane: Open) -> None:
    """Thirty keys at 60 ms are thirty decisions on the thirty masks that were painted, in order."""
    page = open_pane(fake.page_url())
    wait(page, "pane.ahead >= 5")
    press_steadily(page, "123" * 10)
    wait(page, "pane.acknowledged === 30")
    wait(page, "pane.state === 'ready'")
    painted = masks_painted(fake, page)
    assert masks_decided(fake) == painted[:30]
    assert len(set(painted[:30])) == 30
    assert [entry["class_name"] for entry in fake.review.decided[:3]] == [
        candidate["name"]
        for candidate in fake.review.question["candidates"]  # type: ignore[attr-defined]
    ]
    assert all(int(str(entry["milliseconds"])) >= 0 for entry in fake.review.decided)


def test_a_key_before_the_mask_is_drawn_decides_nothing(
    fake: FakeServer, profile: BrowserContext
) -> None:
    """Nobody can answer a mask that they have not seen."""
    page = profile.new_page()
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/photo", hold)
    page.goto(fake.page_url())
    page.wait_for_function("window.__msegPane?.client")
    page.wait_for_selector(".candidate")
    page.keyboard.press("1")
    assert pane(page, "decided") == 0
    # Requests that are held go on.
    page.unroute("**/photo")
    wait(page, "pane.state === 'ready'")
    assert pane(page, "decided") == 0
    assert fake.review.decided == []


@pytest.mark.parametrize("key", ["Control+1", "Alt+1", "Meta+1", "Shift+1", "9", "r", "c"])
def test_keys_of_others_decide_nothing(fake: FakeServer, open_pane: Open, key: str) -> None:
    """Keys with Ctrl, Alt and Meta, keys without a candidate and Streamlit's own are left alone."""
    page = open_pane(fake.page_url())
    page.keyboard.press(key)
    decide(page, "2")
    assert pane(page, "decided") == 1


def test_a_held_key_decides_once(fake: FakeServer, open_pane: Open) -> None:
    """Auto-repeat of a key that is held down is no second answer."""
    page = open_pane(fake.page_url())
    wait(page, "pane.ahead >= 3")
    page.keyboard.down("1")
    wait(page, "pane.state === 'ready'")
    page.keyboard.down("1")
    page.keyboard.down("1")
    page.keyboard.up("1")
    decide(page, "2")
    assert pane(page, "decided") == 2


@pytest.mark.parametrize(
    ("key", "outcome"),
    [("0", "none_of_these"), ("u", "unsure"), ("b", "bad_mask"), ("Numpad2", "class")],
)
def test_each_answer_has_its_key(fake: FakeServer, open_pane: Open, key: str, outcome: str) -> None:
    """The abstentions and the number pad are stored as what they say."""
    page = open_pane(fake.page_url())
    decide(page, key)
    wait(page, "pane.acknowledged === 1")
    assert fake.review.decided[0]["outcome"] == outcome


def test_shift_reaches_the_second_nine(fake: FakeServer, open_pane: Open) -> None:
    """Shift and a digit name the candidates from the tenth on."""
    fake.review.question["candidates"] = [
        {"position": number, "name": f"kind {number + 1}", "definition": "", "examples": []}
        for number in range(12)
    ]
    page = open_pane(fake.page_url())
    page.wait_for_selector("[data-position='12']")
    decide(page, "Shift+Digit3")
    decide(page, "Digit9")
    wait(page, "pane.acknowledged === 2")
    assert [entry["class_name"] for entry in fake.review.decided] == ["kind 12", "kind 9"]


def test_the_mask_is_hidden_while_h_is_held(fake: FakeServer, open_pane: Open) -> None:
    """H hides for as long as it is held; X and V stay until they are pressed again."""
    page = open_pane(fake.page_url())
    page.keyboard.down("h")
    page.wait_for_selector(".hidetoggle[aria-pressed='true']")
    page.keyboard.up("h")
    page.wait_for_selector(".hidetoggle[aria-pressed='false']")
    page.keyboard.press("x")
    page.keyboard.press("v")
    page.wait_for_selector(".contour[aria-pressed='true']")
    page.wait_for_selector(".view[aria-pressed='true']")
    assert page.locator(".zoom").inner_text().startswith("whole image")


def test_g_asks_for_the_grid(fake: FakeServer, open_pane: Open) -> None:
    """Streamlit is told to change the page; the pane itself goes nowhere."""
    page = open_pane(fake.page_url())
    page.keyboard.press("g")
    assert page.evaluate("window.triggers") == [["page", "grid"]]


def test_skip_shows_the_next_mask_and_decides_nothing(fake: FakeServer, open_pane: Open) -> None:
    """Space leaves a mask to others."""
    page = open_pane(fake.page_url())
    decide(page, "Space")
    wait(page, "pane.acknowledged === 1")
    assert fake.review.decided == []
    assert fake.review.skipped == {masks_painted(fake, page)[0]}


def test_a_button_is_pressed_by_mouse_and_by_keyboard(fake: FakeServer, open_pane: Open) -> None:
    """After a click Space skips; on a button that was reached by Tab it presses the button."""
    page = open_pane(fake.page_url())
    page.click(".candidate[data-position='2']")
    wait(page, "pane.decided === 1 && pane.state === 'ready'")
    decide(page, "Space")
    assert pane(page, "decided") == 1
    page.evaluate(
        "document.querySelector('#place').shadowRoot.querySelector(\"[data-position='1']\").focus()"
    )
    decide(page, "Space")
    wait(page, "pane.acknowledged === 3")
    assert [entry["class_name"] for entry in fake.review.decided] == ["sheep", "cow"]


def test_digits_typed_in_a_field_decide_nothing(fake: FakeServer, open_pane: Open) -> None:
    """What is typed in a field of the page or of the pane is text."""
    page = open_pane(fake.page_url())
    page.click("#outside")
    page.keyboard.type("123 zu")
    assert page.input_value("#outside") == "123 zu"
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("f")
    page.keyboard.type("2 cows?")
    page.keyboard.press("Enter")
    wait(page, "pane.acknowledged === 1")
    assert pane(page, "decided") == 0
    assert [(entry["op"], entry["comment"]) for entry in fake.review.log] == [("flag", "2 cows?")]
    page.keyboard.press("f")
    page.keyboard.type("1")
    page.keyboard.press("Escape")
    decide(page, "1")
    wait(page, "pane.acknowledged === 2")
    assert pane(page, "decided") == 1


def test_class_names_are_shown_as_text(fake: FakeServer, open_pane: Open) -> None:
    """Markup in a class name reaches the page as characters."""
    page = open_pane(fake.page_url())
    page.wait_for_selector(".candidate")
    decide(page, "3")
    page.keyboard.press("?")
    assert page.locator(".candidate .name").nth(2).inner_text().startswith("<img src=x")
    assert page.evaluate("window.pwned") is None
    assert page.locator(".candidate b, .candidate img[onerror]").count() == 0


def test_bitmaps_stay_few(fake: FakeServer, open_pane: Open) -> None:
    """After sixty masks no more bitmaps are open than after ten."""
    page = open_pane(fake.page_url())
    seen = []
    for _ in range(60):
        decide(page, "1")
        seen.append(int(str(pane(page, "bitmaps"))))
    # Three for each of the mask on the stage, four ahead, two behind, and two that are loading.
    assert max(seen) <= 3 * (1 + 4 + 2 + 2)


# --- nothing lost, nothing doubled --------------------------------------------------------------------


def test_a_server_that_goes_away_loses_nothing(fake: FakeServer, open_pane: Open) -> None:
    """Decisions made while the server is gone arrive once, in order, when it is back."""
    page = open_pane(fake.page_url())
    wait(page, "pane.ahead >= 5")
    press_steadily(page, "12")
    fake.stop()
    press_steadily(page, "3121")
    wait(page, "pane.pending > 0 && pane.connection === 'bad'")
    fake.start()
    wait(page, "pane.pending === 0")
    while int(str(pane(page, "decided"))) < 30:
        decide(page, "2")
    wait(page, "pane.acknowledged === 30")
    assert masks_decided(fake) == masks_painted(fake, page)[:30]
    assert len(set(masks_decided(fake))) == 30


def test_a_lost_answer_is_asked_for_again(fake: FakeServer, open_pane: Open) -> None:
    """Operations that were stored without an answer are sent again and stored once."""
    page = open_pane(fake.page_url())
    fake.review.deaf_to = 2
    decide(page, "1")
    decide(page, "2")
    wait(page, "pane.acknowledged === 2")
    assert masks_decided(fake) == masks_painted(fake, page)[:2]


def test_unsent_decisions_survive_a_reload(fake: FakeServer, open_pane: Open) -> None:
    """What the server has not acknowledged is sent after a reload, and its masks do not come back."""
    page = open_pane(fake.page_url())
    wait(page, "pane.ahead >= 5")
    client = pane(page, "client")
    fake.review.away = True
    for key in "123":
        decide(page, key)
    first = masks_painted(fake, page)[:3]
    page.reload()
    page.wait_for_function("window.__msegPane?.pending === 3")
    assert pane(page, "client") == client
    fake.review.away = False
    wait(page, "pane.acknowledged === 3 && pane.state === 'ready'")
    assert masks_decided(fake) == first
    assert masks_painted(fake, page)[0] not in first
    assert float(str(fake.review.decided[0]["age_s"])) > 0


def test_a_closed_tab_leaves_its_decisions_to_the_next(
    fake: FakeServer, open_pane: Open, profile: BrowserContext
) -> None:
    """A new tab of the same person sends what a tab that is gone left behind; another person's does not."""
    page = open_pane(fake.page_url())
    wait(page, "pane.ahead >= 3")
    fake.review.away = True
    decide(page, "1")
    decide(page, "2")
    page.close()
    fake.review.away = False
    stranger = open_pane(fake.page_url(person="8"))
    assert pane(stranger, "pending") == 0
    heir = open_pane(fake.page_url())
    wait(heir, "pane.acknowledged === 2")
    assert [entry["class_name"] for entry in fake.review.decided] == ["cow", "sheep"]


def test_two_tabs_have_masks_of_their_own(
    fake: FakeServer, open_pane: Open, profile: BrowserContext
) -> None:
    """A duplicated tab copies its session and still becomes a client of its own."""
    first = open_pane(fake.page_url())
    with profile.expect_page() as opened:
        first.evaluate("void window.open(location.href)")
    second = opened.value
    second.wait_for_function("window.__msegPane?.state === 'ready'")
    assert pane(first, "client") != pane(second, "client")
    for _ in range(5):
        decide(first, "1")
        decide(second, "2")
    wait(first, "pane.acknowledged === 5")
    wait(second, "pane.acknowledged === 5")
    assert len(set(masks_decided(fake))) == 10


def test_a_refused_decision_is_named_and_the_next_mask_goes_on(
    fake: FakeServer, open_pane: Open
) -> None:
    """A lease that ran out: the sentence of the server stands in the pane, and nothing else is decided by it."""
    page = open_pane(fake.page_url())
    wait(page, "pane.ahead >= 3")
    lease = str(pane(page, "current"))
    fake.review.expired.add(lease)
    decide(page, "1")
    wait(page, "pane.refused === 1")
    notice = page.locator(".notice.bad")
    assert "Not stored (cow): The time for this mask ran out" in notice.inner_text()
    assert fake.review.decided == []
    decide(page, "2")
    wait(page, "pane.acknowledged === 2")
    assert len(fake.review.decided) == 1
    assert page.locator(".recent li").count() == 1


def test_a_new_token_is_asked_for_and_the_queue_stays(fake: FakeServer, open_pane: Open) -> None:
    """After a 401 the pane asks Streamlit once, waits, and goes on where it was."""
    page = open_pane(fake.page_url())
    wait(page, "pane.ahead >= 3")
    painted = pane(page, "painted.length")
    fake.review.token = "second"
    decide(page, "1")
    page.wait_for_function("window.triggers.some(([name]) => name === 'token')")
    assert fake.review.decided == []
    page.evaluate("window.mountPane({ token: 'second' })")
    wait(page, "pane.acknowledged === 1")
    assert int(str(pane(page, "painted.length"))) == int(str(painted)) + 1
    assert page.locator(".review").count() == 1


def test_a_paused_person_is_told_and_may_look_again(fake: FakeServer, open_pane: Open) -> None:
    """The pane says who is paused, keeps what is not stored, and goes on when that is over."""
    page = open_pane(fake.page_url())
    wait(page, "pane.ahead >= 3")
    fake.review.blocked = (403, "paused", "Ask a curator to resume your reviewing.")
    page.keyboard.press("1")
    wait(page, "pane.state === 'blocked'")
    page.keyboard.press("2")
    assert pane(page, "decided") == 1
    assert "Ask a curator" in page.locator(".veil").inner_text()
    fake.review.blocked = None
    page.click(".veil button")
    wait(page, "pane.acknowledged === 1 && pane.state === 'ready'")
    assert len(fake.review.decided) == 1


def test_a_finished_task_says_so(fake: FakeServer, open_pane: Open) -> None:
    """When nothing is left the pane says it and stays calm."""
    fake.review.masks = 2
    page = open_pane(fake.page_url())
    decide(page, "1")
    page.keyboard.press("2")
    wait(page, "pane.state === 'empty' && pane.acknowledged === 2")
    assert "Nothing left" in page.locator(".veil").inner_text()
    page.keyboard.press("1")
    assert pane(page, "decided") == 2


def test_leaving_the_page_gives_the_leases_back(fake: FakeServer, open_pane: Open) -> None:
    """The clean-up function stops the keys, sends what is left and releases what nobody decided."""
    page = open_pane(fake.page_url())
    decide(page, "1")
    page.evaluate("window.unmountPane()")
    page.wait_for_function("!document.querySelector('#place').shadowRoot.querySelector('.pane')")
    page.keyboard.press("2")
    page.evaluate("window.mountPane()")
    wait(page, "pane.state === 'ready'")
    assert masks_decided(fake) == [0]
    assert masks_painted(fake, page)[0] == 1


# --- undo ---------------------------------------------------------------------------------------------


def test_undo_shows_the_mask_again(fake: FakeServer, open_pane: Open) -> None:
    """Undo withdraws, shows the same mask at once, and goes further back when it is pressed again."""
    page = open_pane(fake.page_url())
    wait(page, "pane.ahead >= 5")
    for key in "122":
        decide(page, key)
    decide(page, "z")
    decide(page, "Backspace")
    decide(page, "1")
    decide(page, "3")
    wait(page, "pane.pending === 0")
    assert masks_painted(fake, page) == [0, 1, 2, 3, 2, 1, 2, 3]
    assert len(fake.review.standing) == 3
    answers = [entry["class_name"] for entry in fake.review.decided]
    assert answers[:4] == ["cow", "sheep", "sheep", "cow"]


def test_undo_reaches_past_a_reload(fake: FakeServer, open_pane: Open) -> None:
    """The last decisions are known to the server, so that they can be withdrawn after a reload."""
    page = open_pane(fake.page_url())
    for key in "12":
        decide(page, key)
    wait(page, "pane.pending === 0")
    page.reload()
    page.wait_for_function("window.__msegPane?.state === 'ready'")
    page.wait_for_selector(".chip")
    decide(page, "z")
    decide(page, "z")
    assert masks_painted(fake, page)[-2:] == [1, 0]
    assert fake.review.standing == {}


def test_undo_of_what_is_no_longer_held_loads_it_again(fake: FakeServer, open_pane: Open) -> None:
    """A mask whose bitmaps are closed is loaded under the lease that undo brings."""
    page = open_pane(fake.page_url())
    for _ in range(6):
        decide(page, "1")
    for expected in (5, 4, 3, 2, 1, 0):
        decide(page, "z")
        assert masks_painted(fake, page)[-1] == expected
    wait(page, "pane.pending === 0")
    assert fake.review.standing == {}


def test_undo_while_the_server_is_away(fake: FakeServer, open_pane: Open) -> None:
    """A decision, its undo and the new decision are sent in that order."""
    page = open_pane(fake.page_url())
    wait(page, "pane.ahead >= 3")
    fake.review.away = True
    decide(page, "1")
    decide(page, "z")
    decide(page, "2")
    fake.review.away = False
    wait(page, "pane.pending === 0")
    assert [entry["op"] for entry in fake.review.log] == ["decide", "undo", "decide"]
    assert fake.review.decided[-1]["class_name"] == "sheep"


# --- practice and adjudication ------------------------------------------------------------------------


def test_practice_is_answered_after_the_decision(fake: FakeServer, open_pane: Open) -> None:
    """Training gold says what it was in a strip; the next mask is there already."""
    fake.review.practice = {0: "sheep"}
    page = open_pane(fake.page_url())
    decide(page, "1")
    page.wait_for_selector(".notice")
    text = page.locator(".notice").inner_text()
    assert "for practice: it is sheep. Look at the legs." in text


def test_an_adjudicator_sees_the_votes_after_choosing(fake: FakeServer, open_pane: Open) -> None:
    """The earlier votes come with the answer; undo chooses again, Enter goes on."""
    page = open_pane(fake.page_url(mode="adjudication"))
    assert "Vote A" not in page.content()
    page.keyboard.press("1")
    wait(page, "pane.state === 'verdict'")
    page.wait_for_selector(".votes li")
    assert "sheep" in page.locator(".votes").inner_text()
    page.keyboard.press("2")
    assert pane(page, "decided") == 1
    page.keyboard.press("z")
    wait(page, "pane.state === 'ready'")
    page.keyboard.press("2")
    page.wait_for_selector(".votes li")
    page.keyboard.press("Enter")
    wait(page, "pane.state === 'ready'")
    assert masks_painted(fake, page) == [0, 0, 1]
    assert [entry["class_name"] for entry in fake.review.decided] == ["cow", "sheep"]


# --- the grid -----------------------------------------------------------------------------------------


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


# --- the scripts --------------------------------------------------------------------------------------


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
