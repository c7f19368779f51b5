"""People at the real server in a real Chromium: what they saw is what is stored, whatever happens in between."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("streamlit", reason="streamlit is not installed")
pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from mseg_curate.annotators import sign_in_person
from mseg_curate.review import Operation, apply_operations, claim_masks
from mseg_curate.store import Store
from mseg_curate.tasks import TaskOptions
from tests.app.review_server import (
    BOSS,
    ReviewServer,
    add_question,
    admit,
    ask,
    await_whole,
    change,
    faults,
    leases_painted,
    make_review_store,
    masks_decided,
    masks_of,
    open_page,
    open_review,
    read,
    serving,
    sign_in,
    wait,
)

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, BrowserContext, Page, Response

NewProfile = Callable[[], "BrowserContext"]
BEAT_S = 0.06
EVIL = (
    "<img src=x onerror='window.pwned=1'>",
    "<b>dog</b> & **cow** :red[x]",
    "[a](javascript:window.pwned=1) $x^2$ `y`",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReviewServer]:
    """The real server on a store that each test adds a task of its own to."""
    store = make_review_store(
        tmp_path_factory.mktemp("review"), classes=("cat", "dog", "cow", *EVIL)
    )
    with serving(store) as running:
        yield running


@pytest.fixture
def new_profile(chromium: Browser) -> Iterator[NewProfile]:
    """A function that makes a browser profile of its own for each person; a page error fails the test."""
    made: list[BrowserContext] = []
    problems: list[str] = []

    def new() -> BrowserContext:
        context = chromium.new_context(viewport={"width": 1280, "height": 800})
        context.set_default_timeout(20_000)
        context.on("weberror", lambda problem: problems.append(str(problem.error)))
        made.append(context)
        return context

    yield new
    for context in made:
        context.close()
    assert problems == []


def press_steadily(page: Page, keys: str) -> None:
    """Press keys in the beat of a fast annotator, whatever the page does."""
    for key in keys:
        page.keyboard.press(key)
        time.sleep(BEAT_S)


def decide(page: Page, key: str) -> None:
    """Press a key once a mask is painted, and wait until another is, or none is left."""
    wait(page, "pane.state === 'ready'")
    before = read(page, "painted.length")
    page.keyboard.press(key)
    wait(page, f"pane.painted.length > {before} || pane.state === 'empty'")


def await_saved(page: Page) -> None:
    """Wait until the server has acknowledged everything."""
    wait(page, "pane.pending === 0")


def is_json(answer: Response) -> bool:
    """Say whether an answer of one of our routes is one in words."""
    kind = answer.headers.get("content-type", "")
    return "/review/" in answer.url and kind.startswith("application/json")


def vote(server: ReviewServer, name: str, task: str, *, class_name: str, count: int) -> None:
    """Let somebody decide masks of a task elsewhere, without a browser."""
    with Store.open(server.store) as store:
        person = sign_in_person(store, name, now=time.time())
        rng, now = random.Random(name), time.time()
        items = claim_masks(
            store, person.id, task=task, count=count, client="x", held=[], now=now, rng=rng
        )
        operations = [
            Operation(
                "decide",
                rng.randbytes(16).hex(),
                item.lease,
                outcome="class",
                class_name=class_name,
            )
            for item in items
        ]
        results = apply_operations(store, person.id, operations, client="x", now=time.time())
        assert [result.status for result in results] == ["stored"] * count


# --- one person ---------------------------------------------------------------------------------------


def test_a_burst_of_keys_is_stored_as_it_was_seen(
    server: ReviewServer, new_profile: NewProfile
) -> None:
    """Thirty keys in 1.8 seconds are thirty rows on the thirty masks that were painted, in their order."""
    add_question(server.store, "burst")
    profile = new_profile()
    page = profile.new_page()
    sign_in(page, server, "bea")
    page.goto(f"{server.url}/?task=burst")
    wait(page, "pane.state === 'ready' && pane.ahead >= 4")
    press_steadily(page, "123" * 10)
    await_saved(page)
    [(person,)] = ask(server.store, "SELECT id FROM annotator WHERE name = 'bea'")
    painted = masks_of(server.store, leases_painted(page))
    assert read(page, "decided") == read(page, "acknowledged") == 30
    assert masks_decided(server.store, int(str(person))) == painted[:30]
    assert len(set(painted[:30])) == 30
    assert len(painted) == 31
    assert faults(server.store) == []


def test_a_server_that_is_killed_in_a_burst_loses_and_doubles_nothing(
    server: ReviewServer, new_profile: NewProfile
) -> None:
    """Keys pressed before, while and after the server is away are stored once each, in the order of the masks."""
    add_question(server.store, "killed")
    profile = new_profile()
    person = admit(profile, server, "kim")
    page = open_review(profile, server, task="killed")
    wait(page, "pane.ahead >= 4")
    press_steadily(page, "12" * 6)
    server.kill()
    press_steadily(page, "31" * 6)
    assert read(page, "pending") > 0
    server.start()
    await_saved(page)
    wait(page, "pane.state === 'ready'")
    press_steadily(page, "2" * 6)
    await_saved(page)
    decided = read(page, "decided")
    assert decided == read(page, "acknowledged")
    assert decided >= 18
    assert read(page, "refused") == 0
    painted = masks_of(server.store, leases_painted(page))
    assert masks_decided(server.store, person) == painted[:decided]
    assert len(set(painted[:decided])) == decided
    assert faults(server.store) == []


def test_the_next_tab_sends_what_a_closed_one_could_not(
    server: ReviewServer, new_profile: NewProfile
) -> None:
    """Answers given while the server was away survive the end of the tab."""
    add_question(server.store, "closed")
    profile = new_profile()
    person = admit(profile, server, "tia")
    page = open_review(profile, server, task="closed")
    wait(page, "pane.ahead >= 4")
    server.kill()
    press_steadily(page, "1231")
    wait(page, "pane.pending === 4")
    painted = leases_painted(page)[:4]
    page.close()
    server.start()
    page = open_review(profile, server, task="closed")
    await_saved(page)
    assert read(page, "refused") == 0
    assert masks_decided(server.store, person) == masks_of(server.store, painted)
    assert not set(masks_of(server.store, painted)) & set(
        masks_of(server.store, leases_painted(page))
    )


def test_an_answer_in_flight_survives_a_reload(
    server: ReviewServer, new_profile: NewProfile
) -> None:
    """A page that is reloaded with its last keys unanswered stores each of them once."""
    add_question(server.store, "reloaded")
    profile = new_profile()
    person = admit(profile, server, "rea")
    page = open_review(profile, server, task="reloaded")
    wait(page, "pane.ahead >= 4")
    for key in "12312":
        decide(page, key)
    painted = leases_painted(page)[:5]
    page.reload()
    wait(page, "pane.state === 'ready'")
    await_saved(page)
    assert read(page, "refused") == 0
    assert masks_decided(server.store, person) == masks_of(server.store, painted)


def test_two_tabs_of_one_person_never_show_one_mask_twice(
    server: ReviewServer, new_profile: NewProfile
) -> None:
    """Two tabs that are worked in turn share the masks out."""
    masks = add_question(server.store, "tabs", photos=2, grid=(2, 5))
    profile = new_profile()
    person = admit(profile, server, "tom")
    tabs = [open_page(profile, server, task="tabs") for _ in range(2)]
    for tab in tabs:
        wait(tab, "pane.state === 'ready'")
    assert tabs[0].evaluate("__msegPane.client") != tabs[1].evaluate("__msegPane.client")
    while any(tab.evaluate("__msegPane.state") == "ready" for tab in tabs):
        for tab in tabs:
            if tab.evaluate("__msegPane.state") == "ready":
                # A browser draws tabs in the background twice a second only.
                tab.bring_to_front()
                decide(tab, "1")
    for tab in tabs:
        await_saved(tab)
        assert read(tab, "refused") == 0
    painted = [mask for tab in tabs for mask in masks_of(server.store, leases_painted(tab))]
    assert len(painted) == len(set(painted)) == masks
    assert sorted(masks_decided(server.store, person)) == sorted(painted)


def test_a_lease_that_ran_out_while_the_page_slept_is_refused(
    server: ReviewServer, new_profile: NewProfile
) -> None:
    """A frozen page's mask goes to somebody else; the late answer is not stored, and a sentence says so."""
    add_question(server.store, "slept", photos=1, grid=(1, 3))
    profile = new_profile()
    person = admit(profile, server, "sue")
    page = open_review(profile, server, task="slept")
    devtools = profile.new_cdp_session(page)
    devtools.send("Page.setWebLifecycleState", {"state": "frozen"})
    change(
        server.store,
        "UPDATE lease SET expires_at = ? WHERE annotator_id = ?",
        time.time() - 1,
        person,
    )
    vote(server, "sal", "slept", class_name="dog", count=3)
    devtools.send("Page.setWebLifecycleState", {"state": "active"})
    page.keyboard.press("1")
    wait(page, "pane.refused === 1 && pane.pending === 0")
    said = page.get_by_role("log", name="Messages")
    said.get_by_text("went back to the queue while this page slept").first.wait_for()
    assert "it is settled now, with 1 decision" in said.inner_text()
    assert masks_decided(server.store, person) == []
    assert faults(server.store) == []


def test_digits_typed_into_a_text_field_decide_nothing(
    server: ReviewServer, new_profile: NewProfile
) -> None:
    """A comment full of digits is a comment, and so is what is typed into the list of tasks."""
    add_question(server.store, "typed")
    profile = new_profile()
    person = admit(profile, server, "tess")
    page = open_review(profile, server, task="typed")
    page.keyboard.press("f")
    page.keyboard.type("1 2 3 0 u b z")
    page.keyboard.press("Enter")
    wait(page, "pane.acknowledged === 1")
    page.get_by_role("combobox").click()
    page.keyboard.type("123")
    page.keyboard.press("Escape")
    assert read(page, "decided") == 0
    assert masks_decided(server.store, person) == []
    assert ask(server.store, "SELECT comment FROM flag WHERE annotator_id = ?", person) == [
        ("1 2 3 0 u b z",)
    ]


def test_undo_reaches_across_a_reload(server: ReviewServer, new_profile: NewProfile) -> None:
    """After a reload Z brings the last mask back; the new answer stands and the old one is kept as history."""
    add_question(server.store, "undone")
    profile = new_profile()
    person = admit(profile, server, "una")
    page = open_review(profile, server, task="undone")
    for key in "111":
        decide(page, key)
    last = leases_painted(page)[2]
    await_saved(page)
    page.reload()
    wait(page, "pane.state === 'ready'")
    on_stage = page.evaluate("__msegPane.current")
    page.keyboard.press("z")
    wait(page, f"pane.state === 'ready' && pane.current !== '{on_stage}' && pane.pending === 0")
    assert masks_of(server.store, [page.evaluate("__msegPane.current")]) == masks_of(
        server.store, [last]
    )
    decide(page, "2")
    await_saved(page)
    history = ask(
        server.store,
        "SELECT d.outcome, l.name FROM decision AS d LEFT JOIN label_class AS l ON l.id = d.label_class_id "
        "WHERE d.annotator_id = ? AND d.mask_id = ? ORDER BY d.id",
        person,
        masks_of(server.store, [last])[0],
    )
    assert history == [("class", "cat"), ("withdrawn", None), ("class", "dog")]
    assert faults(server.store) == []


# --- many people --------------------------------------------------------------------------------------


def test_five_people_at_once(server: ReviewServer, new_profile: NewProfile) -> None:
    """Nobody decides a mask twice, no mask is decided too often, and all that was acknowledged is there."""
    options = TaskOptions(
        redundancy=2, max_redundancy=3, policy="majority(min_agreement=0.6,quorum=2)"
    )
    masks = add_question(server.store, "crowd", photos=2, options=options)
    people: dict[int, Page] = {}
    for number in range(5):
        profile = new_profile()
        person = admit(profile, server, f"crowd-{number}")
        people[person] = open_page(profile, server, task="crowd")
    for page in people.values():
        wait(page, "pane.state === 'ready'")
    rng = random.Random(7)
    for _ in range(masks):
        for page in people.values():
            page.keyboard.press(rng.choice("123"))
        if all(page.evaluate("__msegPane.state === 'empty'") for page in people.values()):
            break
    for page in people.values():
        await_saved(page)
    stored = {person: masks_decided(server.store, person) for person in people}
    for person, page in people.items():
        assert read(page, "acknowledged") == read(page, "decided") == len(stored[person])
        assert read(page, "refused") == 0
        assert stored[person] == masks_of(server.store, leases_painted(page))[: len(stored[person])]
    assert all(len(set(decided)) == len(decided) for decided in stored.values())
    assert sum(map(len, stored.values())) >= 2 * masks
    assert faults(server.store) == []


def test_earlier_votes_are_shown_after_the_choice_is_stored(
    server: ReviewServer, new_profile: NewProfile
) -> None:
    """No answer that an adjudicator gets names a voter or a vote before the choice is in the store."""
    options = TaskOptions(
        redundancy=2, max_redundancy=2, policy="majority(min_agreement=0.9,quorum=2)"
    )
    add_question(server.store, "disputed", photos=1, grid=(1, 2), options=options)
    vote(server, "voter-one", "disputed", class_name="dog", count=2)
    vote(server, "voter-two", "disputed", class_name="cow", count=2)
    profile = new_profile()
    boss = admit(profile, server, BOSS, role="admin")
    answers: list[Response] = []
    # Playwright hangs a mark on what it is given, which a built-in method does not bear.
    profile.on("response", lambda answer: answers.append(answer))  # noqa: PLW0108
    page = open_review(profile, server, task="disputed", place="adjudicate")
    wait(page, "pane.ahead === 2")
    assert not [answer.url for answer in answers if is_json(answer) and "voter-" in answer.text()]
    assert "voter-" not in page.content()
    page.keyboard.press("2")
    wait(page, "pane.state === 'verdict' && pane.pending === 0")
    assert len(masks_decided(server.store, boss, mode="adjudication")) == 1
    votes = page.get_by_role("region", name="Earlier votes")
    votes.get_by_role("listitem").first.wait_for()
    assert sorted(item.inner_text().split()[0] for item in votes.get_by_role("listitem").all()) == [
        "cow",
        "dog",
    ]
    page.keyboard.press("Enter")
    wait(page, "pane.state === 'ready'")
    assert faults(server.store) == []


def test_a_page_of_the_grid_is_recorded_as_such(
    server: ReviewServer, new_profile: NewProfile
) -> None:
    """All crops but the two exceptions are decided in mode grid; the exceptions are left for one by one."""
    masks = add_question(server.store, "crops", photos=2, grid=(3, 5))
    profile = new_profile()
    person = admit(profile, server, "gus")
    page = open_review(profile, server, task="crops", place="grid")
    cells = int(page.evaluate("__msegPane.cells.length"))
    shown = page.evaluate("__msegPane.cells")
    crops = page.get_by_role("group", name="Crops").get_by_role("button")
    crops.nth(1).click()
    crops.nth(3).click()
    wait(page, "pane.marked === 2")
    page.keyboard.press("Enter")
    wait(page, "pane.pages === 1 && pane.pending === 0")
    decided = masks_decided(server.store, person, mode="grid")
    kept = [lease for place, lease in enumerate(shown) if place not in (1, 3)]
    assert decided == masks_of(server.store, kept)
    assert len(decided) == cells - 2
    assert ask(
        server.store,
        "SELECT DISTINCT l.name FROM decision AS d JOIN label_class AS l ON l.id = d.label_class_id "
        "WHERE d.annotator_id = ?",
        person,
    ) == [("cat",)]
    left = masks_of(server.store, [shown[1], shown[3]])
    page = open_review(profile, server, task="crops")
    seen = set(masks_of(server.store, leases_painted(page)))
    while page.evaluate("__msegPane.state === 'ready'") and masks > len(seen):
        decide(page, "2")
        seen = set(masks_of(server.store, leases_painted(page)))
    assert set(left) <= seen
    assert not seen & set(decided)


@pytest.mark.parametrize("place", ["", "grid", "adjudicate", "tasks", "annotators", "browse"])
def test_names_with_html_in_them_are_text(
    server: ReviewServer, new_profile: NewProfile, place: str
) -> None:
    """Neither class names nor definitions, instructions, tasks or people become elements or run."""
    if not ask(server.store, "SELECT 1 FROM task WHERE name = 'evil'"):
        options = TaskOptions(
            redundancy=2, max_redundancy=2, policy="majority(min_agreement=0.9,quorum=2)",
            instructions=f"Look. {EVIL[0]} {EVIL[1]}",
        )  # fmt: skip
        definitions = {EVIL[0]: f"It is {EVIL[0]} {EVIL[1]}."}
        add_question(server.store, "evil", classes=EVIL, definitions=definitions, options=options)
        vote(server, EVIL[0], "evil", class_name=EVIL[0], count=2)
        vote(server, "<u>eve</u>", "evil", class_name=EVIL[1], count=2)
    profile = new_profile()
    admit(profile, server, BOSS, role="admin")
    page = open_page(profile, server, place, task="evil")
    page.get_by_role("button", name="Sign out").wait_for()
    if place in ("", "grid", "adjudicate"):
        wait(page, "pane.state === 'ready'")
        page.locator(".pane").get_by_text(EVIL[0]).filter(visible=True).first.wait_for()
    else:
        page.get_by_role("heading", level=1).wait_for()
        await_whole(page)
    made = page.locator("img[src='x'], .stMain u, a[href^='javascript'], .katex")
    assert made.count() == 0
    assert page.evaluate("window.pwned") is None


# --- the way in ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["tasks", "browse"])
def test_the_first_request_of_a_server_gets_no_page_without_a_name(
    tmp_path: Path, new_profile: NewProfile, place: str
) -> None:
    """Whoever opens a page's own address before anybody else did is asked for a name, and sees nothing before."""
    store = make_review_store(tmp_path)
    add_question(store, "private", photos=1, grid=(1, 2))
    with serving(store) as fresh:
        page = new_profile().new_page()
        frames: list[bytes | str] = []
        page.on(
            "websocket",
            lambda socket: socket.on("framereceived", lambda frame: frames.append(frame)),  # noqa: PLW0108
        )
        page.goto(f"{fresh.url}/{place}")
        page.get_by_label("Your name").wait_for()
        assert not [frame for frame in frames if "private" in str(frame)]
