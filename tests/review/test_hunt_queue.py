"""Decisions that come from elsewhere: another task, an import, a redundancy that changed, gold that came or went."""

from __future__ import annotations

from pathlib import Path

import pytest

from mseg_curate.annotators import reopen_decisions
from mseg_curate.clock import iso_of
from mseg_curate.decide import import_csv
from mseg_curate.errors import DecisionError
from mseg_curate.review import Operation, recent_decisions, release_leases, renew_leases
from mseg_curate.steer import set_options
from mseg_curate.store.tasks import TaskOptions, create_task
from tests.review.conftest import Desk, MakeDesk

_HEADER = "dataset,split,image,segment,source_class,outcome,annotator\n"


def second_task(desk: Desk, masks: int) -> None:
    """Make another task, `again`, on the same masks."""
    with desk.store.writing() as connection:
        create_task(
            connection,
            "again",
            dataset_class_id=1,
            mapping_revision=1,
            options=TaskOptions(gold_rate=0.0),
            candidates=[1, 2, 3],
            definitions={},
            mask_ids=list(range(1, masks + 1)),
            now=iso_of(desk.now),
        )


def test_a_decision_counts_in_every_task_that_asks_about_the_mask(make_desk: MakeDesk) -> None:
    """What was decided in one task is asked of nobody in another, and comes back to both with an undo."""
    desk = make_desk(masks=1)
    second_task(desk, 1)
    (item,) = desk.claim("ann")
    uuid = desk.uuid()
    assert desk.say("ann", item, "cat", uuid=uuid).status == "stored"
    assert desk.claim("bob", task="again") == []
    assert desk.ask("SELECT status FROM task_mask") == [("settled",), ("settled",)]
    desk.apply("ann", Operation("undo", desk.uuid(), desk.uuid(), of=uuid))
    assert desk.ask("SELECT status FROM task_mask") == [("open",), ("open",)]
    assert desk.ask("SELECT COUNT(*) FROM task_slot WHERE decision_id IS NOT NULL") == [(0,)]


@pytest.mark.parametrize("ending", ["expired", "released", "skipped"])
def test_a_slot_that_is_wanted_no_more_ends_with_its_lease(
    make_desk: MakeDesk, ending: str
) -> None:
    """With a smaller redundancy a slot that somebody held meanwhile is not handed out after they let it go."""
    desk = make_desk(masks=1, redundancy=2, max_redundancy=2)
    (first,) = desk.claim("ann")
    (second,) = desk.claim("bob")
    assert desk.say("ann", first, "cat").status == "stored"
    set_options(desk.store, "kinds", changes={"redundancy": 1, "max_redundancy": 1}, now=desk.now)
    if ending == "expired":
        desk.now += 1000
    elif ending == "released":
        release_leases(desk.store, desk.people["bob"], client="tab of bob", held=[second.lease])
    else:
        desk.apply("bob", Operation("skip", desk.uuid(), second.lease))
    assert desk.claim("cid") == []
    assert desk.status(1) == "settled"
    assert desk.ask("SELECT COUNT(*) FROM task_slot") == [(1,)]


def test_an_import_of_a_vote_whose_mask_is_held(make_desk: MakeDesk, tmp_path: Path) -> None:
    """A vote that was imported while its mask was leased to the same person fills the slot in the end."""
    desk = make_desk(masks=1)
    (item,) = desk.claim("ann")
    path = tmp_path / "votes.csv"
    path.write_text(_HEADER + "d,train,a,1,animal,cat,ann\n", encoding="utf-8")
    import_csv(desk.store, path, now=iso_of(desk.now))
    assert desk.say("ann", item, "dog").reason == "decided"
    desk.now += 1000
    assert desk.claim("bob") == []
    assert desk.status(1) == "settled"


def test_gold_is_not_undone_by_its_curator(make_desk: MakeDesk) -> None:
    """The decision behind active gold is no answer to take back on a page: gold is retired, with a reason."""
    desk = make_desk(masks=2)
    desk.add_gold(1, "cat")
    (uuid,) = desk.ask("SELECT lower(hex(uuid)) FROM decision")[0]
    result = desk.apply("curator", Operation("undo", desk.uuid(), desk.uuid(), of=uuid))
    assert (result.status, result.reason) == ("refused", "invalid")
    assert desk.status(1) == "adjudicated"
    assert recent_decisions(desk.store, desk.people["curator"], task="kinds") == []


def test_an_imported_vote_of_a_curator_leaves_gold_gold(
    make_desk: MakeDesk, tmp_path: Path
) -> None:
    """The decision behind active gold is superseded by no import: gold is retired, with a reason."""
    desk = make_desk(masks=1)
    desk.add_gold(1, "cat")
    path = tmp_path / "votes.csv"
    path.write_text(_HEADER + "d,train,a,1,animal,dog,curator\n", encoding="utf-8")
    with pytest.raises(DecisionError, match="line 2: 'curator' has made this mask gold"):
        import_csv(desk.store, path, now=iso_of(desk.now))
    assert desk.ask("SELECT COUNT(*) FROM decision") == [(1,)]


def test_reopened_decisions_come_back_in_every_task(make_desk: MakeDesk) -> None:
    """A withdrawal by the bar or by a curator opens the mask in all tasks that ask about it."""
    desk = make_desk(masks=1)
    second_task(desk, 1)
    (item,) = desk.claim("ann")
    desk.say("ann", item, "cat")
    assert reopen_decisions(desk.store, "ann", "kinds", by="curator", note="x", now=desk.now) == 1
    assert desk.ask("SELECT status FROM task_mask") == [("open",), ("open",)]
    assert len(desk.claim("bob", task="again")) == 1


def test_gold_is_shown_to_nobody_twice(make_desk: MakeDesk) -> None:
    """A gold mask that was edited (retired and added again) is not drawn for who has seen it."""
    desk = make_desk(masks=2, gold_rate=0.5)
    desk.add_gold(1, "cat", kind="training")
    (item,) = desk.claim("ann")
    assert desk.mask_of(item) == 1
    with desk.store.writing() as connection:
        connection.exec_driver_sql("UPDATE gold SET retired_at = '2026'")
        connection.exec_driver_sql(
            "INSERT INTO gold (task_id, mask_id, outcome, label_class_id, kind, note, added_by, added_at, decision_id) "
            "SELECT 1, 1, 'class', 3, 'training', '', 'curator', '2026', MAX(id) FROM decision"
        )
    desk.now += 1000
    assert [desk.mask_of(item) for item in desk.claim("ann", count=2)] == [2]


def test_leases_of_a_paused_person_end(make_desk: MakeDesk) -> None:
    """A page of somebody who was paused keeps no masks from others by renewing them."""
    desk = make_desk(masks=1)
    (item,) = desk.claim("ann")
    desk.pause("ann")
    assert (
        renew_leases(
            desk.store, desk.people["ann"], client="tab of ann", held=[item.lease], now=desk.now
        )
        == []
    )


def test_gold_of_one_claim(make_desk: MakeDesk) -> None:
    """Many masks claimed at once hold every gold mask once, and one over its cap not at all."""
    desk = make_desk(masks=8, gold_rate=0.5, gold_cap=1)
    for mask_id in (1, 2, 3):
        desk.add_gold(mask_id, "cat", kind="training")
    first = [desk.mask_of(item) for item in desk.claim("ann", count=8)]
    assert sorted(first) == list(range(1, 9))
    assert sorted(first[:3]) == [1, 2, 3]
    assert desk.claim("bob", count=8) == []
