"""The review pane in a real Chromium, against a small server in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.app.pane_steps import (
    Open,
    decide,
    masks_decided,
    masks_painted,
    pane,
    press_steadily,
    wait,
)

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Route

    from tests.app.fake_review import FakeServer


# --- deciding ---------------------------------------------------------------------------------------


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


# --- undo -------------------------------------------------------------------------------------------


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
        wait(page, "pane.pending === 0")
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


# --- practice and adjudication ----------------------------------------------------------------------


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
