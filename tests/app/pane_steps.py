"""What people and tests do at a pane: press, wait on its counters, compare with what the fake server stored."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

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
