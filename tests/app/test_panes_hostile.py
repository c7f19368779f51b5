"""The panes under what browsers, networks, keyboards and data do to them; a real Chromium, a server in memory."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="the app's extra is not installed")

from tests.app.fake_review import Bits, FakeReview, FakeServer
from tests.app.pane_steps import Open, decide, masks_decided, masks_painted, pane, wait

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page, Route

SETTLED_S = 1.5


def wordy_candidates(number: int) -> list[dict[str, object]]:
    """Return candidates with long definitions and three examples each."""
    return [
        {
            "position": position,
            "name": f"kind {position + 1}",
            "definition": "Something with legs that stands on the ground, or lies there. " * 4,
            "examples": [f"/review/example/animals/{position}/{n}" for n in range(3)],
        }
        for position in range(number)
    ]


# --- data ---------------------------------------------------------------------------------------------


@dataclass
class NoisyReview(FakeReview):
    """Masks as large as the photo, whose border has a step at every other pixel."""

    def box(self, _mask: int) -> tuple[int, int, int, int]:
        """Return all of the photo."""
        return 0, 0, self.photo_size[1], self.photo_size[0]

    def shape(self, mask: int) -> Bits:
        """Return noise."""
        top, left, bottom, right = self.box(mask)
        return np.random.default_rng(mask).random((bottom - top, right - left)) < 0.5


def test_a_border_of_a_million_steps_freezes_nothing(open_pane: Open) -> None:
    """The key after a mask of noise is answered as fast as any other."""
    server = FakeServer(NoisyReview(masks=6, photo_size=(1600, 1000)))
    try:
        page = open_pane(server.page_url())
        for _ in range(4):
            wait(page, "pane.ahead >= 2 || pane.painted.length > 3")
            decide(page, "1")
        times = cast("list[float]", pane(page, "keyToPaint"))
    finally:
        server.stop()
    # A path of these edges takes seconds; the bar leaves room for a machine that is busy.
    assert sorted(times)[len(times) // 2] < 500


@pytest.mark.parametrize("size", [(1, 1), (40, 900), (6000, 3000)])
def test_a_photo_of_any_size_is_shown(open_pane: Open, size: tuple[int, int]) -> None:
    """A photo of one pixel, a narrow one, and one that is kept reduced: the mask lies on its left half alone."""
    server = FakeServer(HalfReview(masks=3, photo_size=size))
    try:
        page = open_pane(server.page_url())
        for key, view in (("v", "whole image"), ("v", "crop")):
            page.keyboard.press(key)
            page.wait_for_selector(f".zoom:has-text('{view}')")
            shown = page.evaluate(SAMPLE, [0.25, 0.75] if size[0] > 1 else [0.25])
            page.keyboard.down("h")
            page.wait_for_selector(".hidetoggle[aria-pressed='true']")
            bare = page.evaluate(SAMPLE, [0.25, 0.75] if size[0] > 1 else [0.25])
            page.keyboard.up("h")
            page.wait_for_selector(".hidetoggle[aria-pressed='false']")
            assert shown[0] != bare[0]
            assert shown[1:] == bare[1:]
        decide(page, "1")
    finally:
        server.stop()


# Pixels of the stage at shares of what is seen of the photo, half way down.
SAMPLE = """async (shares) => {
  await new Promise(requestAnimationFrame);
  const canvas = document.querySelector('#place').shadowRoot.querySelector('canvas.photo');
  const row = canvas.getContext('2d').getImageData(0, Math.floor(canvas.height / 2), canvas.width, 1).data;
  const ground = (x) => row[4 * x] === 22 && row[4 * x + 1] === 24 && row[4 * x + 2] === 29;
  const seen = [...Array(canvas.width).keys()].filter((x) => !ground(x));
  const [first, last] = [seen[0], seen.at(-1)];
  return shares.map((share) => {
    const x = Math.round(first + share * (last - first));
    return row.slice(4 * x, 4 * x + 3).join();
  });
}"""


@dataclass
class HalfReview(FakeReview):
    """Masks that are the left half of the photo."""

    def box(self, _mask: int) -> tuple[int, int, int, int]:
        """Return the left half."""
        return 0, 0, self.photo_size[1], max(1, self.photo_size[0] // 2)

    def shape(self, mask: int) -> Bits:
        """Return all of the box."""
        top, left, bottom, right = self.box(mask)
        return np.ones((bottom - top, right - left), dtype=np.bool_)


def test_two_hundred_candidates_are_within_reach(fake: FakeServer, open_pane: Open) -> None:
    """A candidate without a key is found by its name; only the examples that are seen are loaded."""
    fake.review.question["candidates"] = wordy_candidates(194)
    asked: list[str] = []
    page = open_pane(fake.page_url())
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    wait(page, "pane.state === 'ready'")
    page.wait_for_selector("[data-position='194']", state="attached")
    page.keyboard.press("/")
    page.keyboard.type("KIND 1")
    page.keyboard.type("57")
    assert pane(page, "decided") == 0
    assert page.locator(".candidate:visible .name").all_inner_texts() == ["kind 157"]
    page.keyboard.press("Enter")
    wait(page, "pane.acknowledged === 1 && pane.state === 'ready'")
    assert [entry["class_name"] for entry in fake.review.decided] == ["kind 157"]
    decide(page, "3")
    wait(page, "pane.acknowledged === 2")
    assert fake.review.decided[-1]["class_name"] == "kind 3"
    page.keyboard.press("/")
    page.keyboard.type("nothing")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    assert pane(page, "decided") == 2
    assert page.locator(".candidate").count() == 194
    assert sum("/review/example/" in url for url in asked) < 100


def test_definitions_have_the_lines_that_there_is_room_for(
    fake: FakeServer, open_pane: Open
) -> None:
    """Few candidates show two lines or more of their definitions; pointing at one shows all of it."""
    fake.review.question["candidates"] = wordy_candidates(4)
    page = open_pane(fake.page_url())
    page.wait_for_selector(".candidate img[src]")
    heights = page.locator(".definition").evaluate_all("all => all.map((one) => one.clientHeight)")
    assert min(heights) >= 30
    page.locator(".candidate").nth(1).focus()
    card = page.locator(".card")
    card.wait_for()
    assert "or lies there. " * 1 in card.inner_text()
    assert card.evaluate("card => card.scrollHeight <= card.clientHeight + 1")


def test_messages_hide_nothing(fake: FakeServer, open_pane: Open) -> None:
    """What practice teaches stands beside the photo, not on it, and moves nothing."""
    fake.review.practice = {0: "sheep", 1: "sheep"}
    page = open_pane(fake.page_url())
    before = page.locator("canvas.photo").bounding_box()
    decide(page, "1")
    decide(page, "1")
    page.wait_for_selector(".notice")
    stage, notice = page.locator(".stage").bounding_box(), page.locator(".messages").bounding_box()
    assert stage is not None
    assert notice is not None
    assert notice["y"] >= stage["y"] + stage["height"]
    assert page.locator("canvas.photo").bounding_box() == before


# --- keyboards ----------------------------------------------------------------------------------------


def press_raw(page: Page, **event: object) -> None:
    """Press a key as a keyboard with another layout would."""
    page.evaluate(
        "event => document.body.dispatchEvent(new KeyboardEvent('keydown', "
        "{ bubbles: true, composed: true, cancelable: true, ...event }))",
        event,
    )


def test_altgr_writes_signs_and_decides_nothing(fake: FakeServer, open_pane: Open) -> None:
    """On a German keyboard [ is AltGr and 8: it makes the mask fainter and is no answer."""
    fake.review.question["candidates"] = wordy_candidates(9)
    page = open_pane(fake.page_url())
    page.wait_for_selector("[data-position='9']")
    press_raw(page, code="Digit8", key="[", modifierAltGraph=True)
    press_raw(page, code="Digit9", key="]", modifierAltGraph=True, ctrlKey=True, altKey=True)
    press_raw(page, code="Digit2", key="²", modifierAltGraph=True)
    decide(page, "1")
    assert pane(page, "decided") == 1


def test_shift_counts_on_the_number_pad_too(fake: FakeServer, open_pane: Open) -> None:
    """Windows says End without Shift for Shift and 1 on the pad: that is the tenth candidate, not the first."""
    fake.review.question["candidates"] = wordy_candidates(12)
    page = open_pane(fake.page_url())
    page.wait_for_selector("[data-position='12']")
    press_raw(page, code="Numpad1", key="End", modifierNumLock=True)
    wait(page, "pane.acknowledged === 1 && pane.state === 'ready'")
    press_raw(page, code="Numpad1", key="1", modifierNumLock=True)
    wait(page, "pane.acknowledged === 2")
    assert [entry["class_name"] for entry in fake.review.decided] == ["kind 10", "kind 1"]


def test_two_fingers_zoom(fake: FakeServer, open_pane: Open, profile: BrowserContext) -> None:
    """A pinch makes the photo larger by as much as the fingers move apart; nothing is decided by it."""
    page = open_pane(fake.page_url())
    box = page.locator("canvas.photo").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    devtools = profile.new_cdp_session(page)

    def touch(kind: str, *apart: int) -> None:
        points = [{"x": x + side * apart[0], "y": y, "id": side + 1} for side in (-1, 1) if apart]
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    before = magnification(page)
    touch("touchStart", 50)
    touch("touchMove", 75)
    touch("touchMove", 100)
    touch("touchEnd")
    page.evaluate("() => new Promise(requestAnimationFrame)")
    assert magnification(page) == pytest.approx(2 * before, rel=0.15)
    assert pane(page, "decided") == 0


def magnification(page: Page) -> float:
    """Return how many pixels of the screen a pixel of the photo has."""
    return float(page.locator(".zoom").inner_text().split("·")[1].strip().rstrip("×"))


# --- networks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"), [(200, "text/html"), (502, "text/html"), (200, "application/json")]
)
def test_a_photo_that_comes_wrong_is_asked_for_again(
    fake: FakeServer, profile: BrowserContext, status: int, kind: str
) -> None:
    """The page of a proxy in the place of a photo is no damaged photo."""
    page = profile.new_page()
    wrong: list[str] = []

    def answer(route: Route) -> None:
        if len(wrong) < 4:
            wrong.append(route.request.url)
            route.fulfill(status=status, content_type=kind, body="<h1>Sign in to the hotel</h1>")
        else:
            route.fallback()

    page.route("**/photo", answer)
    page.goto(fake.page_url())
    page.wait_for_function("window.__msegPane?.state === 'ready'")
    assert masks_painted(fake, page) == [0]
    assert page.locator(".veil:visible").count() == 0


def test_a_photo_at_which_the_server_fails_is_passed_by(
    fake: FakeServer, profile: BrowserContext
) -> None:
    """After some tries the pane says so, Space skips the mask, and the others can be decided."""
    page = profile.new_page()
    first: list[str] = []

    def answer(route: Route) -> None:
        first.append(route.request.url)
        if route.request.url == first[0]:
            route.fulfill(status=500, content_type="text/html", body="<h1>Internal error</h1>")
        else:
            route.fallback()

    page.route("**/photo", answer)
    page.goto(fake.page_url())
    page.wait_for_selector(".veil:has-text('cannot be shown')")
    page.keyboard.press("Space")
    wait(page, "pane.state === 'ready' && pane.pending === 0")
    assert len(fake.review.skipped) == 1


def test_pictures_that_are_not_there_are_not_claimed_in_a_circle(
    fake: FakeServer, profile: BrowserContext
) -> None:
    """A server that leases masks and does not know them is left alone after some."""
    page = profile.new_page()
    claims: list[str] = []
    page.on(
        "request",
        lambda request: claims.append(request.url) if "/claim" in request.url else None,
    )
    page.route("**/photo", lambda route: route.fulfill(status=404, json={"error": "unknown"}))
    fake.review.masks = 10
    page.goto(fake.page_url())
    page.wait_for_function("window.__msegPane?.state === 'empty'")
    time.sleep(SETTLED_S)
    assert len(claims) < 10


def test_answers_with_no_sense_in_them_change_nothing(fake: FakeServer, open_pane: Open) -> None:
    """`null`, a list or a page with status 200 is an answer that did not come."""
    page = open_pane(fake.page_url())
    wait(page, "pane.ahead >= 3")
    left = ["null", "[]", "<html>", '{"results": null}']

    def answer(route: Route) -> None:
        if left:
            route.fulfill(status=200, content_type="application/json", body=left.pop())
        else:
            route.fallback()

    page.route("**/review/decide", answer)
    decide(page, "1")
    decide(page, "2")
    wait(page, "pane.acknowledged === 2")
    assert masks_decided(fake) == masks_painted(fake, page)[:2]


def test_a_slow_and_faulty_network_loses_and_reorders_nothing(
    fake: FakeServer, open_pane: Open
) -> None:
    """With 300 ms to the server and every tenth request lost, each answer is stored once, and undo undoes."""
    fake.review.lag_s, fake.review.failing = 0.3, 0.1
    page = open_pane(fake.page_url())
    for number in range(24):
        wait(page, "pane.state === 'ready'")
        decide(page, "z" if number in (11, 12, 17) else "123"[number % 3])
    wait(page, "pane.pending === 0")
    decided = int(str(pane(page, "decided")))
    assert decided == 21
    assert len(fake.review.standing) == decided - 3
    assert len(masks_decided(fake)) == decided
    assert pane(page, "refused") == 0
    assert page.locator(".notice.bad").count() == 0


# --- tabs and their stores ----------------------------------------------------------------------------


def test_a_tab_that_is_left_gives_back_what_nobody_decides(
    fake: FakeServer, open_pane: Open
) -> None:
    """With answers on their way only their masks are kept; the others are free at once."""
    page = open_pane(fake.page_url())
    wait(page, "pane.ahead >= 5")
    # Decisions are not taken; everything else is answered.
    fake.review.stuck = True
    decide(page, "1")
    decide(page, "2")
    kept = {fake.review.mask_of(lease) for lease in page.evaluate(LEASES_PAINTED)[:2]}
    page.goto("about:blank")
    until = time.monotonic() + 10
    while len(fake.review.leases) > 2 and time.monotonic() < until:
        time.sleep(0.05)
    assert {lease.mask for lease in fake.review.leases.values()} == kept
    fake.review.stuck = False
    page.go_back()
    page.wait_for_function("window.__msegPane?.state === 'ready'")
    wait(page, "pane.acknowledged === 2")
    assert set(masks_decided(fake)) == kept
    assert masks_painted(fake, page)[0] not in kept
    decide(page, "1")
    wait(page, "pane.pending === 0")
    assert pane(page, "refused") == 0


LEASES_PAINTED = "window.__msegPane.painted.map((entry) => entry.lease)"


def test_a_browser_that_clears_its_storage_loses_nothing(
    fake: FakeServer, open_pane: Open, profile: BrowserContext
) -> None:
    """When the site's data are deleted under the page, its answers go on, and it says what it can no longer do."""
    page = open_pane(fake.page_url())
    decide(page, "1")
    wait(page, "pane.pending === 0")
    devtools = profile.new_cdp_session(page)
    devtools.send("Storage.clearDataForOrigin", {"origin": fake.url, "storageTypes": "all"})
    fake.review.away = True
    for key in "231":
        decide(page, key)
    page.wait_for_selector(".connection-text:has-text('keeps nothing')")
    fake.review.away = False
    wait(page, "pane.acknowledged === 4")
    assert masks_decided(fake) == masks_painted(fake, page)[:4]


@pytest.mark.parametrize(
    "broken",
    [
        "IDBFactory.prototype.open = () => { throw new DOMException('no', 'SecurityError'); };",
        "IDBFactory.prototype.open = () => new EventTarget();",
        "IDBObjectStore.prototype.getAll = () => { throw new DOMException('no', 'UnknownError'); };",
        "IDBObjectStore.prototype.put = () => { throw new DOMException('full', 'QuotaExceededError'); };",
        "Object.defineProperty(window, 'sessionStorage', { get() { throw new Error('no'); } });"
        "IDBFactory.prototype.open = () => { throw new Error('no'); };",
    ],
    ids=["refused", "silent", "damaged", "full", "private"],
)
def test_a_browser_that_keeps_nothing_still_decides(
    fake: FakeServer, profile: BrowserContext, broken: str
) -> None:
    """Without IndexedDB the pane works and says that the tab must stay open."""
    page = profile.new_page()
    page.add_init_script(broken)
    page.goto(fake.page_url())
    page.wait_for_function("window.__msegPane?.state === 'ready'")
    for key in "12":
        decide(page, key)
    wait(page, "pane.acknowledged === 2")
    page.wait_for_selector(".connection-text:has-text('keeps nothing')")
    assert masks_decided(fake) == masks_painted(fake, page)[:2]


def test_a_clock_that_was_set_loses_and_reorders_nothing(
    fake: FakeServer, open_pane: Open, profile: BrowserContext
) -> None:
    """Answers of a page whose clock was a day ahead or months behind are taken, before those that came after."""
    page = profile.new_page()
    page.add_init_script(SET_CLOCK)
    page.goto(f"{fake.page_url()}#{24 * 3600 * 1000}")
    page.wait_for_function("window.__msegPane?.state === 'ready'")
    fake.review.away = True
    decide(page, "1")
    wait(page, "pane.connection === 'bad'")
    page.evaluate("location.hash = '#0'")
    page.reload()
    page.wait_for_function("window.__msegPane?.pending === 1")
    page.wait_for_selector(".chip")
    page.keyboard.press("z")
    wait(page, "pane.pending === 2")
    fake.review.away = False
    wait(page, "pane.pending === 0 && pane.state === 'ready'")
    assert [entry["op"] for entry in fake.review.log] == ["decide", "undo"]
    assert pane(page, "refused") == 0

    fake.review.away = True
    page.evaluate(f"location.hash = '#{-60 * 24 * 3600 * 1000}'")
    page.reload()
    page.close()
    page = profile.new_page()
    page.add_init_script(SET_CLOCK)
    fake.review.away = False
    page.goto(f"{fake.page_url()}#{-60 * 24 * 3600 * 1000}")
    page.wait_for_function("window.__msegPane?.state === 'ready'")
    fake.review.away = True
    decide(page, "2")
    page.evaluate("location.hash = '#0'")
    page.reload()
    page.wait_for_function("window.__msegPane?.pending === 1")
    fake.review.away = False
    wait(page, "pane.pending === 0")
    assert 0 < float(str(fake.review.decided[-1]["age_s"])) <= 30 * 24 * 3600


SET_CLOCK = """
const origin = performance.timeOrigin + Number(location.hash.slice(1) || 0);
Object.defineProperty(performance, 'timeOrigin', { get: () => origin });
"""


def test_undo_of_a_mask_that_needs_no_more_decisions(fake: FakeServer, open_pane: Open) -> None:
    """The decision is withdrawn; the mask does not stay on the stage, where an answer would be refused."""
    page = open_pane(fake.page_url())
    decide(page, "1")
    wait(page, "pane.pending === 0")
    fake.review.settled = {0}
    page.keyboard.press("z")
    page.wait_for_selector(".notice:has-text('Taken back')")
    wait(page, "pane.state === 'ready'")
    decide(page, "2")
    wait(page, "pane.pending === 0")
    assert pane(page, "refused") == 0
    assert list(fake.review.standing) == [1]
