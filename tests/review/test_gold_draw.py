"""Gold in the queue: drawn at its rate, once per person, capped, and not to be told from other masks."""

from __future__ import annotations

from dataclasses import fields

from mseg_curate.review import Item, Operation, progress_of
from tests.review.conftest import Desk, MakeDesk


def work_through(desk: Desk, name: str) -> list[int]:
    """Decide everything that somebody is given; returns the masks."""
    seen = []
    while items := desk.claim(name, 4):
        for item in items:
            seen.append(desk.mask_of(item))
            assert desk.say(name, item, "cat").status == "stored"
    return seen


def test_gold_is_drawn_once_per_person(make_desk: MakeDesk) -> None:
    """Everybody sees a gold mask once at most, at about the rate of the task, and its votes fill no slot."""
    desk = make_desk(masks=300, redundancy=2, max_redundancy=2, gold_rate=0.1, gold_cap=99)
    gold = list(range(1, 41))
    for mask_id in gold:
        desk.add_gold(mask_id, "cat")
    for name in ("ann", "bob"):
        seen = work_through(desk, name)
        assert len(seen) == len(set(seen))
        drawn = sum(mask_id in gold for mask_id in seen)
        assert 15 <= drawn <= 40
    assert desk.ask("SELECT COUNT(*) FROM task_slot WHERE mask_id <= 40") == [(0,)]
    assert desk.ask("SELECT COUNT(*) FROM task_mask WHERE status = 'settled'") == [(260,)]


def test_exposure_is_capped(make_desk: MakeDesk) -> None:
    """A gold mask is shown to so many people in all and no more."""
    desk = make_desk(masks=40, redundancy=3, max_redundancy=3, gold_rate=0.5, gold_cap=2)
    desk.add_gold(1, "cat")
    seen = [work_through(desk, name) for name in ("ann", "bob", "cid")]
    assert sum(1 in masks for masks in seen) == 2


def test_an_item_does_not_say_that_it_is_gold(make_desk: MakeDesk) -> None:
    """Gold and other masks come as items of the same fields, with tokens of the same kind."""
    desk = make_desk(masks=30, gold_rate=0.5)
    desk.add_gold(7, "dog")
    items = {desk.mask_of(i): i for i in desk.claim("ann", 30)}
    assert {f.name for f in fields(Item)} == {"lease", "size_hw", "box", "area_px", "expires_in_s"}
    assert len({(len(i.lease), i.size_hw, i.area_px, i.expires_in_s) for i in items.values()}) == 1
    assert desk.say("ann", items[7], "cat").feedback is None


def test_a_late_answer_to_gold_looks_like_any_other(make_desk: MakeDesk) -> None:
    """The refusal of an answer that came after its lease says nothing of gold."""
    desk = make_desk(masks=30, gold_rate=0.5, lease_s=60)
    desk.add_gold(7, "dog")
    items = desk.claim("ann", 30)
    desk.now += 61
    said = {desk.say("ann", item, "cat").message for item in items}
    assert 7 in {desk.mask_of(item) for item in items}
    assert len(said) == 1


def test_practice_comes_first_and_teaches(make_desk: MakeDesk) -> None:
    """Training gold is shown before anything else, and its answer comes with the reason; a retry says the same."""
    desk = make_desk(masks=20, gold_rate=0.0)
    desk.add_gold(9, "dog", "training", "mind the ears")
    (item,) = desk.claim("ann")
    operation = desk.decision(item, "cat")
    wrong = desk.apply("ann", operation).feedback
    assert wrong is not None
    assert (desk.mask_of(item), wrong.right, wrong.answer, wrong.note) == (
        9,
        False,
        "dog",
        "mind the ears",
    )
    retry = desk.apply("ann", operation)
    assert (retry.status, retry.feedback) == ("known", wrong)


def test_an_undone_gold_answer_is_answered_anew(make_desk: MakeDesk) -> None:
    """The answer that stands is the one that is scored."""
    desk = make_desk(masks=1, gold_rate=0.5)
    desk.add_gold(1, "dog")
    while not (items := desk.claim("ann")):
        pass
    uuid = desk.uuid()
    desk.say("ann", items[0], "cat", uuid=uuid)
    undone = desk.apply("ann", Operation("undo", desk.uuid(), desk.uuid(), of=uuid))
    assert undone.item is not None
    desk.say("ann", undone.item, "dog")
    assert desk.ask(
        "SELECT d.label_class_id FROM gold_exposure AS e JOIN decision AS d ON d.id = e.decision_id"
    ) == [(3,)]


def answer_gold(desk: Desk, name: str, right: int, wrong: int) -> None:
    """Let somebody answer gold masks, some right and some wrong, and nothing else."""
    answers = ["cat"] * right + ["dog"] * wrong
    while answers:
        for item in desk.claim(name):
            if desk.ask("SELECT 1 FROM gold WHERE mask_id = ?", desk.mask_of(item)):
                desk.now += 2
                assert desk.say(name, item, answers.pop(0)).status == "stored"
            else:
                desk.apply(name, Operation("skip", desk.uuid(), item.lease))


def test_under_the_bar_one_is_warned_once(make_desk: MakeDesk) -> None:
    """The bar applies from so many answers on; the warning says how many were right, and is not repeated."""
    desk = make_desk(masks=30, gold_rate=0.5, gold_bar=0.8, gold_min=4)
    for mask_id in range(1, 21):
        desk.add_gold(mask_id, "cat")
    answer_gold(desk, "ann", 3, 0)
    assert desk.ask("SELECT COUNT(*) FROM annotator_event") == [(0,)]
    answer_gold(desk, "ann", 0, 3)
    assert desk.ask("SELECT kind, note FROM annotator_event") == [
        ("warned", "3 of 4 gold masks right, the bar is 80%")
    ]
    notice = progress_of(desk.store, desk.people["ann"], task="kinds", now=desk.now).notice
    assert "3 of 4 gold masks right" in notice


def test_under_the_bar_one_is_paused_and_reopened(make_desk: MakeDesk) -> None:
    """With the policy reopen, all votes of the annotator in the task are withdrawn and others get the masks."""
    desk = make_desk(masks=30, gold_rate=0.5, gold_bar=0.8, gold_min=3, under_bar="reopen")
    for item in desk.claim("ann", 5):
        desk.say("ann", item, "cow")
    for mask_id in range(11, 31):
        desk.add_gold(mask_id, "cat")
    answer_gold(desk, "ann", 2, 1)
    assert desk.ask("SELECT status FROM annotator WHERE name = 'ann'") == [("paused",)]
    kinds = [row[0] for row in desk.ask("SELECT kind FROM annotator_event ORDER BY id")]
    assert kinds == ["paused", "reopened"]
    assert desk.ask("SELECT COUNT(*) FROM task_slot WHERE decision_id IS NOT NULL") == [(0,)]
    assert {desk.status(i) for i in range(1, 6)} == {"open"}
    assert set(range(1, 6)) <= {desk.mask_of(i) for i in desk.claim("bob", 30)}
    with desk.store.writing() as connection:
        connection.exec_driver_sql("UPDATE annotator SET status = 'active'")
    desk.now += 1000
    assert not set(range(1, 6)) & {desk.mask_of(i) for i in desk.claim("ann", 30)}
