"""What goes wrong around the review: pauses, closed dialogs, odd pictures, late clocks; in a real Chromium."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("streamlit", reason="streamlit is not installed")
pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from mseg_curate.annotators import sign_in_person
from mseg_curate.review import Operation, apply_operations, claim_masks
from mseg_curate.steer import set_status
from mseg_curate.store import Store
from tests.app.review_server import (
    ReviewServer,
    add_drawn_folder,
    add_question,
    admit,
    ask,
    draw_photo,
    leases_painted,
    make_review_store,
    masks_decided,
    masks_of,
    open_page,
    open_review,
    read,
    save_picture,
    serving,
    sign_in,
    wait,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

LONGEST_S = 1.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReviewServer]:
    """The real server on a store that each test adds a task of its own to."""
    with serving(make_review_store(tmp_path_factory.mktemp("hostile"))) as running:
        yield running


@pytest.fixture
def profile(chromium: Browser) -> Iterator[BrowserContext]:
    """A browser profile of its own."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(15_000)
    yield context
    context.close()


def test_answers_survive_a_pause_of_their_task(
    server: ReviewServer, profile: BrowserContext
) -> None:
    """What was answered before a curator paused the task, and sent after, is stored once the task is open again."""
    add_question(server.store, "pause")
    person = admit(profile, server, "pia")
    page = open_review(profile, server, task="pause")
    wait(page, "pane.ahead >= 4")
    profile.set_offline(True)
    for key in "123":
        before = read(page, "painted.length")
        page.keyboard.press(key)
        wait(page, f"pane.painted.length > {before}")
    answered = masks_of(server.store, leases_painted(page)[:3])
    with Store.open(server.store) as store:
        set_status(store, "pause", status="paused")
    profile.set_offline(False)
    wait(page, "pane.state === 'blocked' || pane.pending === 0")
    with Store.open(server.store) as store:
        set_status(store, "pause", status="open")
    if page.evaluate("__msegPane.state === 'blocked'"):
        page.get_by_role("button", name="Look again").click()
    wait(page, "pane.pending === 0")
    assert masks_decided(server.store, person) == answered


def test_a_key_right_after_the_sheet_was_closed_counts(
    server: ReviewServer, profile: BrowserContext
) -> None:
    """Escape gives the keys back at once, not when the browser has moved the focus."""
    add_question(server.store, "sheet", photos=8)
    admit(profile, server, "sid")
    page = open_review(profile, server, task="sheet")
    for number in range(8):
        wait(page, "pane.state === 'ready'")
        page.keyboard.press("?")
        page.get_by_role("dialog").wait_for()
        # Both within one task of the page, as two quick keys are on a busy machine.
        page.evaluate(
            """() => {
              const find = (root) => root.querySelector('dialog[open]') ?? [...root.querySelectorAll('*')]
                .map((node) => node.shadowRoot && find(node.shadowRoot)).find(Boolean);
              const sheet = find(document);
              const focused = sheet.getRootNode().activeElement ?? sheet;
              sheet.close();
              focused.dispatchEvent(new KeyboardEvent('keydown', {
                code: 'Digit1', key: '1', bubbles: true, composed: true,
              }));
            }"""
        )
        wait(page, f"pane.decided === {number + 1}")


def test_keys_decide_after_another_task_was_chosen(
    server: ReviewServer, profile: BrowserContext
) -> None:
    """Who chooses a task from the list need not click elsewhere before the keys work."""
    add_question(server.store, "first", photos=1)
    add_question(server.store, "second", photos=1)
    admit(profile, server, "tab")
    page = open_review(profile, server, task="first")
    client = page.evaluate("__msegPane.client")
    page.get_by_role("combobox").click()
    page.get_by_role("option", name="second").click()
    wait(page, f"pane.client && pane.client !== '{client}' && pane.state === 'ready'")
    page.keyboard.press("1")
    wait(page, "pane.decided === 1")


def test_answers_survive_that_everybody_is_signed_out(
    server: ReviewServer, profile: BrowserContext
) -> None:
    """Deleting the secret ends sessions; what a browser has not sent yet is still that person's afterwards."""
    add_question(server.store, "secret")
    page = profile.new_page()
    sign_in(page, server, "sol")
    page.goto(f"{server.url}/?task=secret")
    wait(page, "pane.state === 'ready' && pane.ahead >= 4")
    profile.set_offline(True)
    page.keyboard.press("1")
    wait(page, "pane.pending === 1")
    answered = masks_of(server.store, leases_painted(page)[:1])
    page.close()
    server.store.with_name(f"{server.store.name}.secret").unlink()
    profile.set_offline(False)
    page = profile.new_page()
    sign_in(page, server, "sol")
    page.goto(f"{server.url}/?task=secret")
    wait(page, "pane.state === 'ready' && pane.pending === 0")
    [(person,)] = ask(server.store, "SELECT id FROM annotator WHERE name = 'sol'")
    assert masks_decided(server.store, int(str(person))) == answered


def test_the_inset_of_a_tall_photo_leaves_the_stage_free(
    server: ReviewServer, profile: BrowserContext
) -> None:
    """The small whole image covers less than half of the stage's height, however tall the photo is."""
    labels = np.zeros((600, 60), np.uint8)
    labels[100:130, 20:40] = 1
    folder = server.store.parent / "tall"
    save_picture(folder / "labels" / "p.png", labels)
    save_picture(folder / "images" / "p.jpg", draw_photo(labels, seed=0))
    add_drawn_folder(server.store, "tall")
    admit(profile, server, "ted")
    page = open_review(profile, server, task="tall")
    stage, *insets = [canvas.bounding_box() for canvas in page.locator(".pane canvas").all()]
    assert stage is not None
    assert insets
    assert all(inset is None or inset["height"] < stage["height"] / 2 for inset in insets)


def test_a_page_that_was_closed_keeps_no_masks_from_others(
    server: ReviewServer, profile: BrowserContext
) -> None:
    """The last masks of a task are not out of reach for minutes because somebody closed a tab."""
    add_question(server.store, "shut", photos=1, grid=(1, 3))
    admit(profile, server, "shu")
    page = open_review(profile, server, task="shut")
    wait(page, "pane.ahead === 3")
    page.close(run_before_unload=True)
    page = open_page(profile, server, task="shut")
    wait(page, "pane.state === 'ready'")


def test_no_decision_is_older_than_its_lease(server: ReviewServer) -> None:
    """A client that says it pressed the key weeks ago cannot date its decision before it saw the mask."""
    add_question(server.store, "old")
    with Store.open(server.store) as store:
        person = sign_in_person(store, "ola", now=time.time())
        now, rng = time.time(), random.Random(1)
        [item] = claim_masks(
            store, person.id, task="old", count=1, client="x", held=[], now=now, rng=rng
        )
        decided = Operation(
            "decide", "ab" * 16, item.lease, outcome="class", class_name="cat", age_s=20 * 86_400.0
        )
        apply_operations(store, person.id, [decided], client="x", now=now + 1)
    [(at,)] = ask(server.store, "SELECT decided_at FROM decision WHERE annotator_id = ?", person.id)
    assert str(at)[:10] >= time.strftime("%Y-%m-%d", time.gmtime(now))
