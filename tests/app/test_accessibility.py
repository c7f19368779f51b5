"""Every page for everybody: axe finds no serious fault, and the keyboard alone reaches and does everything."""

from __future__ import annotations

import csv
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("streamlit", reason="streamlit is not installed")
pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")

from axe_playwright_python.base import AXE_SCRIPT

from mseg_curate.annotators import sign_in_person
from mseg_curate.gold import add_gold
from mseg_curate.review import Operation, apply_operations, claim_masks
from mseg_curate.steer import add_examples
from mseg_curate.store import Store
from mseg_curate.tasks import TaskOptions
from tests.app.review_server import (
    BOSS,
    CLASSES,
    ReviewServer,
    add_question,
    admit,
    ask,
    await_whole,
    change,
    make_review_store,
    masks_decided,
    open_page,
    read,
    serving,
    wait,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

TASK = "animals"
PANES = ("", "grid", "adjudicate")
PAGES = (*PANES, "tasks", "annotators", "browse", "browse?image=1")
# Everything that a key could reach; what is -1 is reached by other means than Tab.
CONTROLS = """() => {
  const found = [];
  const walk = (root) => {
    for (const node of root.querySelectorAll('*')) {
      if (node.shadowRoot) walk(node.shadowRoot);
      const control = node.matches('a[href], button, input, select, textarea, summary, [tabindex]');
      const away = node.tabIndex < 0 || node.disabled || node.closest('[inert], [aria-hidden=true]');
      if (control && !away && node.checkVisibility({ visibilityProperty: true })) found.push(node);
    }
  };
  walk(document);
  window.unreached = new Set(found);
  return found.length;
}"""
NOTE_FOCUS = """() => {
  let node = document.activeElement;
  while (node?.shadowRoot?.activeElement) node = node.shadowRoot.activeElement;
  window.unreached.delete(node);
  return window.unreached.size;
}"""
UNREACHED = "() => [...window.unreached].map((node) => node.outerHTML.slice(0, 160))"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReviewServer]:
    """The real server on a task with definitions, examples, gold, votes and disputes."""
    store = make_review_store(tmp_path_factory.mktemp("access"))
    options = TaskOptions(
        redundancy=2,
        max_redundancy=2,
        policy="majority(min_agreement=0.9,quorum=2)",
        instructions="Name what the marked region shows.",
    )
    definitions = dict.fromkeys(CLASSES, "What a dictionary says of it, in a sentence.")
    add_question(store, TASK, photos=3, grid=(4, 5), options=options, definitions=definitions)
    _add_examples(store)
    gold = [("train", "", "p0", 3, "cat"), ("train", "", "p0", 4, "dog")]
    with Store.open(store) as opened:
        add_gold(opened, TASK, gold, kind="evaluation", note="plain", by=BOSS, now=time.time())
        for number, name in enumerate(("ada", "ben")):
            _decide_some(opened, name, number)
    with serving(store) as running:
        yield running


def _add_examples(store: Path) -> None:
    path = store.parent / "examples.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("split", "image", "segment", "class"))
        rows.writerows(("train", "p0", number, name) for number, name in enumerate(CLASSES))
    with Store.open(store) as opened:
        add_examples(opened, TASK, path)


def _decide_some(store: Store, name: str, number: int) -> None:
    person, rng = sign_in_person(store, name, now=time.time()), random.Random(number)
    items = claim_masks(
        store, person.id, task=TASK, count=14, client="x", held=[], now=time.time(), rng=rng
    )
    operations = [
        Operation(
            "decide",
            rng.randbytes(16).hex(),
            item.lease,
            outcome="class",
            class_name=rng.choice(CLASSES),
            milliseconds=900,
        )
        for item in items
    ]
    apply_operations(store, person.id, operations, client="x", now=time.time())


@pytest.fixture
def profile(chromium: Browser, server: ReviewServer) -> Iterator[BrowserContext]:
    """A browser profile of its own, and no masks that the pages of other tests still hold."""
    change(server.store, "DELETE FROM lease")
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(20_000)
    yield context
    context.close()


def open_whole(profile: BrowserContext, server: ReviewServer, place: str) -> Page:
    """Open a page as the admin, and return once all of it is there."""
    admit(profile, server, BOSS, role="admin")
    page = open_page(profile, server, place, task=TASK if place in PANES else "")
    page.get_by_role("button", name="Sign out").wait_for()
    if place in PANES:
        wait(page, "pane.state === 'ready'")
    else:
        page.get_by_role("heading", level=1).wait_for()
    await_whole(page)
    return page


def serious_faults(page: Page) -> list[str]:
    """Return what axe, which looks into open shadow roots, calls serious or critical."""
    # DevTools run the script outside of the page's security policy, so that nothing has to be loosened for it.
    page.evaluate(AXE_SCRIPT)
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{fault['id']} ({fault['impact']}): {node['target']} {node['html'][:200]} {node['failureSummary'][:200]}"
        for fault in found["violations"]
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]


def unreached_by_tab(page: Page) -> list[str]:
    """Press Tab until every control had the focus or none is new for long; returns those that never had it."""
    left = page.evaluate(CONTROLS)
    in_vain = 0
    while left and in_vain < 40:
        page.keyboard.press("Tab")
        now = page.evaluate(NOTE_FOCUS)
        in_vain = in_vain + 1 if now == left else 0
        left = now
    return list(page.evaluate(UNREACHED))


# --- axe ----------------------------------------------------------------------------------------------


def test_the_sign_in_has_no_serious_fault(server: ReviewServer, profile: BrowserContext) -> None:
    """The way in is for everybody."""
    page = open_page(profile, server)
    page.get_by_label("Your name").wait_for()
    assert serious_faults(page) == []


@pytest.mark.parametrize("place", PAGES)
def test_a_page_has_no_serious_fault(
    server: ReviewServer, profile: BrowserContext, place: str
) -> None:
    """Each page as it is first shown."""
    assert serious_faults(open_whole(profile, server, place)) == []


@pytest.mark.parametrize("section", ["Options", "Definitions", "Gold", "Agreement", "People"])
def test_a_section_of_a_task_has_no_serious_fault(
    server: ReviewServer, profile: BrowserContext, section: str
) -> None:
    """Each tab of the page Tasks."""
    page = open_whole(profile, server, "tasks")
    page.get_by_role("tab", name=section).click()
    page.get_by_role("tabpanel", name=section).wait_for()
    await_whole(page)
    assert serious_faults(page) == []


@pytest.mark.parametrize("key", ["?", "f", "v"])
def test_what_a_key_opens_has_no_serious_fault(
    server: ReviewServer, profile: BrowserContext, key: str
) -> None:
    """The sheet of keys, the field for a comment, and the whole image."""
    page = open_whole(profile, server, "")
    page.keyboard.press(key)
    assert serious_faults(page) == []


def test_the_votes_have_no_serious_fault(server: ReviewServer, profile: BrowserContext) -> None:
    """What an adjudicator is shown after the choice."""
    page = open_whole(profile, server, "adjudicate")
    page.keyboard.press("1")
    wait(page, "pane.state === 'verdict' && pane.pending === 0")
    page.get_by_role("region", name="Earlier votes").get_by_role("button").first.wait_for()
    assert serious_faults(page) == []
    page.keyboard.press("z")
    wait(page, "pane.state === 'ready' && pane.pending === 0")


# --- the keyboard alone -------------------------------------------------------------------------------


@pytest.mark.parametrize("place", PAGES)
def test_tab_reaches_every_control(
    server: ReviewServer, profile: BrowserContext, place: str
) -> None:
    """Nothing that can be clicked is out of the keyboard's reach, and nothing holds the focus for good."""
    page = open_whole(profile, server, place)
    assert unreached_by_tab(page) == []


def test_one_signs_in_and_reviews_without_a_mouse(
    server: ReviewServer, profile: BrowserContext
) -> None:
    """From the name to the stored decision, the flag, the sheet of keys and the undo, by keys alone."""
    page = open_page(profile, server)
    page.get_by_label("Your name").wait_for()
    while page.evaluate("document.activeElement.id") != "mc-name":
        page.keyboard.press("Tab")
    page.keyboard.type("kay")
    page.keyboard.press("Enter")
    wait(page, "pane.state === 'ready'")
    for key in ("1", "2", "0", "u", "b"):
        before = read(page, "painted.length")
        page.keyboard.press(key)
        wait(page, f"pane.painted.length > {before}")
    page.keyboard.press("z")
    wait(page, "pane.pending === 0 && pane.state === 'ready'")
    page.keyboard.press("?")
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="hidden")
    page.keyboard.press("f")
    page.keyboard.type("odd")
    page.keyboard.press("Enter")
    wait(page, "pane.acknowledged === 7")
    assert ask(server.store, "SELECT comment FROM flag") == [("odd",)]
    [(person,)] = ask(server.store, "SELECT id FROM annotator WHERE name = 'kay'")
    assert len(masks_decided(server.store, int(str(person)))) == 5


def test_the_grid_is_worked_without_a_mouse(server: ReviewServer, profile: BrowserContext) -> None:
    """Arrows move, Space marks, Enter confirms, Z takes the page back."""
    person = admit(profile, server, "gil")
    page = open_page(profile, server, "grid", task=TASK)
    wait(page, "pane.state === 'ready'")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("2")
    wait(page, "pane.marked === 2")
    page.keyboard.press("Enter")
    wait(page, "pane.pages === 1 && pane.pending === 0")
    grid = masks_decided(server.store, person, mode="grid")
    assert grid
    page.keyboard.press("z")
    wait(page, "pane.pages === 0 && pane.pending === 0")
    taken = "SELECT count(*) FROM decision WHERE annotator_id = ? AND outcome = 'withdrawn'"
    assert ask(server.store, taken, person) == [(len(grid),)]
