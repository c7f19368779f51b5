"""Answers that are on their way, in a real Chromium: none lost, none doubled, whatever the network does."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    from playwright.sync_api import BrowserContext

    from tests.app.fake_review import FakeServer


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
