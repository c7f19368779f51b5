"""Masks clicked out of a grid, and taken back."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from mseg_curate.review import Item, Operation, Result, renew_leases
from tests.review.conftest import Desk

MakeDesk = Callable[..., Desk]


def except_one(desk: Desk) -> Item:
    """Click the first mask of ann's grid out of it."""
    item = desk.claim("ann", 1, mode="grid", class_name="cat")[0]
    assert desk.apply("ann", Operation("except", desk.uuid(), item.lease)).status == "stored"
    return item


def back(desk: Desk, item: Item, name: str = "ann") -> tuple[Operation, Result]:
    """Take an exception back, by the lease that it had."""
    operation = Operation("undo", desk.uuid(), secrets.token_hex(16), of=item.lease)
    return operation, desk.apply(name, operation)


def test_an_exception_comes_back_into_its_grid(make_desk: MakeDesk) -> None:
    """The same mask is leased again and can be decided in the grid; nothing of the exception is left."""
    desk = make_desk(masks=2)
    item = except_one(desk)
    operation, result = back(desk, item)
    assert (result.status, result.item is not None) == ("stored", True)
    assert result.item is not None
    assert (result.item.lease, result.item.box) == (operation.lease, item.box)
    assert desk.say("ann", result.item, "cat").status == "stored"
    assert desk.ask("SELECT mode FROM decision") == [("grid",)]
    assert desk.ask("SELECT COUNT(*) FROM grid_exception") == [(0,)]


def test_a_retry_brings_the_same_lease(make_desk: MakeDesk) -> None:
    """The answer to an operation that was done already is the same again."""
    desk = make_desk(masks=2)
    operation, first = back(desk, except_one(desk))
    again = desk.apply("ann", operation)
    assert first.item == again.item
    assert desk.ask("SELECT COUNT(*) FROM lease") == [(1,)]


def test_nobody_takes_back_what_others_excepted(make_desk: MakeDesk) -> None:
    """A lease of somebody else names nothing."""
    desk = make_desk(masks=2)
    _, result = back(desk, except_one(desk), "bob")
    assert (result.status, result.reason) == ("refused", "not_yours")


def test_an_exception_decided_since_stays_decided(make_desk: MakeDesk) -> None:
    """Who has decided the mask one by one undoes that instead."""
    desk = make_desk(masks=1)
    item = except_one(desk)
    assert desk.say("ann", desk.claim("ann")[0], "dog").status == "stored"
    _, result = back(desk, item)
    assert result.status == "refused"
    assert desk.ask("SELECT COUNT(*) FROM lease") == [(0,)]


def test_an_exception_that_others_hold_stays_with_them(make_desk: MakeDesk) -> None:
    """The only slot of the mask is another's now."""
    desk = make_desk(masks=1)
    item = except_one(desk)
    assert len(desk.claim("bob")) == 1
    _, result = back(desk, item)
    assert (result.status, result.reason) == ("refused", "taken")
    assert desk.ask("SELECT COUNT(*) FROM grid_exception") == [(1,)]


def test_an_exception_of_gold_counts_no_more(make_desk: MakeDesk) -> None:
    """Gold that was clicked out and brought back is shown once, and clicked out never."""
    desk = make_desk(masks=3, gold_rate=1.0)
    desk.add_gold(1, "cat")
    item = except_one(desk)
    assert desk.ask("SELECT excepted FROM gold_exposure") == [(1,)]
    _, result = back(desk, item)
    assert result.item is not None
    assert desk.mask_of(result.item) == 1
    assert desk.ask("SELECT excepted FROM gold_exposure") == [(0,)]
    assert desk.say("ann", result.item, "cat").status == "stored"
    assert desk.ask("SELECT is_right FROM v_gold_answer") == [(1,)]


def test_an_ended_lease_decides_nothing_and_is_not_renewed(make_desk: MakeDesk) -> None:
    """What was sent under it before the exception, and comes after it, is refused: it would bring the mask back."""
    desk = make_desk(masks=2)
    item = except_one(desk)
    desk.now += 1
    ann, sent_at = desk.people["ann"], desk.now - 2
    held = [item.lease]
    assert renew_leases(desk.store, ann, client="tab of ann", held=held, now=sent_at) == []
    for age_s in (0.0, 2.0):
        result = desk.say("ann", item, "cat", age_s=age_s)
        assert (result.status, result.reason) == ("refused", "expired")
    assert desk.ask("SELECT COUNT(*) FROM decision") == [(0,)]
    assert [desk.mask_of(i) for i in desk.claim("ann", 9)] == [desk.mask_of(item), 2]
