"""Leases: no mask twice to one person, no slot to two, and nothing that runs out is lost."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from mseg_curate.errors import ReviewError
from mseg_curate.review import Operation, release_leases, renew_leases
from mseg_curate.store import leases
from mseg_curate.store.leases import rewind_cursors
from mseg_curate.store.steering import store_suggestions
from tests.review.conftest import MakeDesk


def test_everybody_gets_every_mask_once(make_desk: MakeDesk) -> None:
    """With redundancy 3, three people are each given all masks, in the order of the queue, and then nothing."""
    desk = make_desk(masks=5, redundancy=3, max_redundancy=3)
    for name in ("ann", "bob", "cid"):
        given = [desk.mask_of(item) for item in desk.claim(name, 9)]
        assert given == [1, 2, 3, 4, 5]
        assert desk.claim(name, 9, held=[]) != []  # the same tab, reloaded: its own leases again
    assert desk.ask("SELECT COUNT(*), COUNT(DISTINCT slot_id) FROM lease") == [(15, 15)]


def test_a_grid_has_its_next_page_while_the_last_is_stored(make_desk: MakeDesk) -> None:
    """A tab may hold three pages of 48 crops: one shown, one coming, one on its way."""
    desk = make_desk(masks=200)
    held: list[str] = []
    for wanted in (48, 48, 48):
        page = desk.claim("ann", wanted, mode="grid", class_name="cat", held=held)
        assert len(page) == wanted
        held += [item.lease for item in page]


def test_a_slot_is_leased_once(make_desk: MakeDesk) -> None:
    """With redundancy 1 two people never hold the same mask, however they take turns."""
    desk = make_desk(masks=7)
    given = [desk.mask_of(i) for name in ("ann", "bob", "ann", "cid") for i in desk.claim(
        name, 2, client=f"{name}{desk.uuid()}")]  # fmt: skip
    assert sorted(given) == [1, 2, 3, 4, 5, 6, 7]


def test_a_reloaded_tab_gets_its_own_leases_back(make_desk: MakeDesk) -> None:
    """A tab that names what it holds gets others; one that lost its queue gets the same masks, before new ones."""
    desk = make_desk(masks=6)
    first = desk.claim("ann", 2)
    more = desk.claim("ann", 2, held=[item.lease for item in first])
    assert [desk.mask_of(i) for i in (*first, *more)] == [1, 2, 3, 4]
    again = desk.claim("ann", 5)
    assert [i.lease for i in again[:4]] == [i.lease for i in (*first, *more)]
    assert desk.mask_of(again[4]) == 5


def test_two_tabs_of_one_person_share_nothing(make_desk: MakeDesk) -> None:
    """Each tab has masks of its own, so that one person is never asked twice."""
    desk = make_desk(masks=4, redundancy=2, max_redundancy=2)
    one = desk.claim("ann", 2, client="one")
    two = desk.claim("ann", 4, client="two")
    assert [desk.mask_of(i) for i in (*one, *two)] == [1, 2, 3, 4]


def test_an_expired_lease_goes_to_the_next(make_desk: MakeDesk) -> None:
    """A lease holds to its last moment; then the mask is for others, and for its first holder too."""
    desk = make_desk(masks=1, lease_s=60)
    (mine,) = desk.claim("ann")
    desk.now += 59
    assert desk.claim("bob") == []
    desk.now += 1
    (theirs,) = desk.claim("bob")
    assert (desk.mask_of(theirs), theirs.expires_in_s) == (1, 60)
    assert desk.claim("ann", client="other") == []
    assert mine.lease != theirs.lease


def test_leases_are_renewed_and_given_back(make_desk: MakeDesk) -> None:
    """Renewing extends only what still lives and is one's own; giving back lets the next person in at once."""
    desk = make_desk(masks=2, lease_s=60)
    mine, other = desk.claim("ann", 2)
    desk.now += 50
    ann = desk.people["ann"]
    held = [mine.lease, "00" * 16]
    assert renew_leases(desk.store, ann, client="tab of ann", held=held, now=desk.now) == [
        mine.lease
    ]
    desk.now += 20
    assert [desk.mask_of(i) for i in desk.claim("bob", 2)] == [2]
    assert (
        renew_leases(desk.store, ann, client="tab of ann", held=[other.lease], now=desk.now) == []
    )
    bob = desk.people["bob"]
    release_leases(desk.store, bob, client="tab of bob", held=[mine.lease])
    assert desk.claim("cid") == []
    release_leases(desk.store, ann, client="tab of ann", held=[mine.lease])
    assert [desk.mask_of(i) for i in desk.claim("cid")] == [1]


def test_skipped_masks_come_again_at_the_end(make_desk: MakeDesk) -> None:
    """A skipped mask is not shown again before the queue was walked; others may take it meanwhile."""
    desk = make_desk(masks=3)
    (first,) = desk.claim("ann")
    assert desk.apply("ann", Operation("skip", desk.uuid(), first.lease)).status == "stored"
    assert [desk.mask_of(i) for i in desk.claim("ann", 5)] == [2, 3, 1]


def test_priority_goes_first(make_desk: MakeDesk) -> None:
    """Masks of a lower rank come before the others, also to one who has walked past them."""
    desk = make_desk(masks=4)
    (first,) = desk.claim("ann")
    desk.say("ann", first, "cat")
    with desk.store.writing() as connection:
        for table in ("task_mask", "task_slot"):
            connection.exec_driver_sql(f"UPDATE {table} SET rank = -1 WHERE mask_id = 4")
        rewind_cursors(connection, 1)
    assert [desk.mask_of(i) for i in desk.claim("ann", 9)] == [4, 2, 3]


def test_who_may_not_claim(make_desk: MakeDesk) -> None:
    """Strangers, paused people, closed and unknown tasks, and adjudication by annotators are refused with a word."""
    desk = make_desk()
    desk.pause("bob")
    desk.people["stranger"] = 99
    with desk.store.writing() as connection:
        connection.exec_driver_sql("INSERT INTO annotator (id, name, kind, created_at) "
                                   "VALUES (50, 'robot', 'simulated', '')")  # fmt: skip
    desk.people["robot"] = 50
    for name, asked, reason in (
        ("stranger", {}, "forbidden"),
        ("robot", {}, "forbidden"),
        ("bob", {}, "paused"),
        ("ann", {"task": "other"}, "unknown_task"),
        ("ann", {"mode": "adjudication"}, "forbidden"),
        ("ann", {"mode": "grid", "class_name": "horse"}, "invalid"),
    ):
        with pytest.raises(ReviewError) as caught:
            desk.claim(name, **asked)
        assert caught.value.reason == reason
    with desk.store.writing() as connection:
        connection.exec_driver_sql("UPDATE task SET status = 'closed'")
    with pytest.raises(ReviewError) as caught:
        desk.claim("ann")
    assert caught.value.reason == "task_closed"


def test_a_page_cannot_hoard(make_desk: MakeDesk) -> None:
    """A tab holds 160 masks at most."""
    desk = make_desk(masks=200)
    held = [item.lease for item in desk.claim("ann", 1000)]
    assert len(held) == 160
    assert desk.claim("ann", 10, held=held) == []


def test_the_grid_shows_one_class(make_desk: MakeDesk) -> None:
    """A grid holds masks suggested as its class, and those without a suggestion count as the default."""
    desk = make_desk(masks=6)
    with desk.store.writing() as connection:
        suggested = [(1, 2, None), (2, 2, None), (3, 3, None), (4, 3, None)]
        store_suggestions(connection, 1, rows=suggested, source="m")
    given = {
        label: [desk.mask_of(i) for i in desk.claim("ann", 9, mode="grid", class_name=label)]
        for label in ("cat", "cow", "dog")
    }
    assert given == {"cat": [5, 6], "cow": [1, 2], "dog": [3, 4]}


def test_exceptions_leave_the_grid_for_good(make_desk: MakeDesk) -> None:
    """A mask clicked out of a grid is not shown there again to the same person, and comes in the single queue."""
    desk = make_desk(masks=2)
    one, two = desk.claim("ann", 2, mode="grid", class_name="cat")
    desk.apply("ann", Operation("except", desk.uuid(), one.lease))
    desk.apply("ann", Operation("skip", desk.uuid(), two.lease))
    assert [desk.mask_of(i) for i in desk.claim("ann", 9, mode="grid", class_name="cat")] == [2]
    assert [desk.mask_of(i) for i in desk.claim("ann", 9)] == [1]


@pytest.mark.parametrize("mode", ["single", "grid"])
def test_the_way_in_a_long_queue_is_found_while_others_write(
    make_desk: MakeDesk, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """Whoever has decided nearly all gets the mask that is left, and no claim walks far under the write lock."""
    desk = make_desk(masks=40, redundancy=2, max_redundancy=2)
    (skipped,) = desk.claim("ann")
    desk.apply("ann", Operation("skip", desk.uuid(), skipped.lease))
    for item in desk.claim("ann", 39):
        desk.say("ann", item, "cat")
    monkeypatch.setattr(leases, "_WINDOWS", (2, 5))
    scouted = []

    def scout(*args: Any, **named: Any) -> leases.Scouted:
        with desk.store.writing() as other:
            other.exec_driver_sql("UPDATE task SET priority = priority")
        scouted.append(scout_lane(*args, **named))
        return scouted[-1]

    scout_lane = leases.scout_lane
    monkeypatch.setattr(leases, "scout_lane", scout)
    named = {"class_name": "cat"} if mode == "grid" else {}
    (item,) = desk.claim("ann", 3, mode=mode, **named)
    assert desk.mask_of(item) == desk.mask_of(skipped)
    assert scouted


def test_who_searched_long_in_vain_rests(
    make_desk: MakeDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a long search that found nothing the queue is not searched again at once, and is later."""
    desk = make_desk(masks=10, redundancy=2, max_redundancy=2)
    for item in desk.claim("ann", 10):
        desk.say("ann", item, "cat")
    monkeypatch.setattr(leases, "_WINDOWS", (2,))
    monkeypatch.setattr("mseg_curate.review.claim.perf_counter", iter(range(1000)).__next__)
    assert desk.claim("ann") == []
    desk.now += 19
    monkeypatch.setattr(leases, "scout_lane", None)
    assert desk.claim("ann") == []
    desk.now += 2
    with pytest.raises(TypeError):
        desk.claim("ann")


def test_a_search_too_long_goes_on_where_it_stopped(
    make_desk: MakeDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits long for the mask at the other end of a long queue; asking again brings it in the end."""
    desk = make_desk(masks=30, redundancy=2, max_redundancy=2)
    items = desk.claim("ann", 30)
    for item in items[:-1]:
        desk.say("ann", item, "cat")
    desk.apply("ann", Operation("skip", desk.uuid(), items[-1].lease))
    monkeypatch.setattr(leases, "_WINDOWS", (1,))
    monkeypatch.setattr(leases, "_SCOUTED_AT_ONCE", 4)
    monkeypatch.setattr("mseg_curate.review.claim._SCOUT_S", -1.0)
    given: list[list[int]] = []
    while not any(given) and len(given) < 20:
        desk.now += 1
        given.append([desk.mask_of(item) for item in desk.claim("ann")])
    assert given[-1] == [desk.mask_of(items[-1])]
    assert len(given) > 3


def test_one_request_searches_for_two_seconds_in_all(
    make_desk: MakeDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where masks are few and far between, a page that asks for many of them does not search anew for each."""
    desk = make_desk(masks=40, redundancy=2, max_redundancy=2)
    for number, item in enumerate(desk.claim("ann", 40)):
        operation = Operation("skip", desk.uuid(), item.lease)
        desk.apply("ann", desk.decision(item, "cat") if number % 8 else operation)
    monkeypatch.setattr(leases, "_WINDOWS", (2,))
    # Every look at the clock is half a second after the one before.
    monkeypatch.setattr("mseg_curate.review.claim.perf_counter", (n / 2 for n in count()).__next__)
    allowed = []

    def scout(*args: Any, for_s: float) -> leases.Scouted:
        allowed.append(for_s)
        return scout_lane(*args, for_s=for_s)

    scout_lane = leases.scout_lane
    monkeypatch.setattr(leases, "scout_lane", scout)
    desk.claim("ann", 9)
    assert len(allowed) > 1
    assert allowed == sorted(allowed, reverse=True)
    assert allowed[-1] < allowed[0] < 2
