"""Decisions: stored once, under a lease, in their slots; taken back; refused with the newer state."""

from __future__ import annotations

from uuid import UUID

import pytest

from mseg_curate.review import Operation, progress_of, recent_decisions
from mseg_curate.store.decisions import verify_chain
from tests.review.conftest import START, Desk, MakeDesk


def test_a_decision_is_stored_with_all_that_was_so(make_desk: MakeDesk) -> None:
    """Task, revision, shown class, annotator, mode, milliseconds and the time of the key press are kept."""
    desk = make_desk()
    (item,) = desk.claim("ann")
    desk.now += 10
    uuid = desk.uuid()
    assert desk.say("ann", item, "dog", uuid=uuid, milliseconds=430, age_s=4).status == "stored"
    assert desk.ask(
        "SELECT hex(uuid), mask_id, task_id, mapping_revision_id, shown_class_id, outcome, label_class_id, "
        "annotator_id, mode, milliseconds, decided_at, supersedes_id FROM decision"
    ) == [(uuid.upper(), 1, 1, 1, 1, "class", 3, desk.people["ann"], "single", 430,
           "2026-01-01T00:00:06+00:00", None)]  # fmt: skip
    assert desk.ask("SELECT COUNT(*) FROM lease") == [(0,)]
    with desk.store.reading() as connection:
        assert verify_chain(connection) == 1


@pytest.mark.parametrize("answer", ["none_of_these", "unsure", "bad_mask"])
def test_abstentions_are_decisions(make_desk: MakeDesk, answer: str) -> None:
    """None of these, unsure and bad mask are stored without a class."""
    desk = make_desk()
    (item,) = desk.claim("ann")
    assert desk.say("ann", item, answer).status == "stored"
    assert desk.ask("SELECT outcome, label_class_id FROM decision") == [(answer, None)]


def test_a_retry_is_known(make_desk: MakeDesk) -> None:
    """The same UUID again, after an answer that was lost on its way, adds nothing; another answer is refused."""
    desk = make_desk()
    (item,) = desk.claim("ann")
    operation = desk.decision(item, "cat")
    assert [desk.apply("ann", operation).status for _ in range(3)] == ["stored", "known", "known"]
    other = desk.decision(item, "dog", uuid=operation.uuid)
    assert desk.apply("ann", other).reason == "invalid"
    assert desk.apply("bob", operation).reason == "not_yours"
    assert desk.ask("SELECT COUNT(*) FROM decision") == [(1,)]


def test_two_answers_to_one_lease(make_desk: MakeDesk) -> None:
    """A second decision under a lease that was used is refused: the first stands."""
    desk = make_desk()
    (item,) = desk.claim("ann")
    desk.say("ann", item, "cat")
    assert desk.say("ann", item, "dog").reason == "unknown"
    assert desk.ask("SELECT label_class_id FROM decision") == [(1,)]


def test_a_page_that_slept_is_refused(make_desk: MakeDesk) -> None:
    """A key pressed after the lease ran out decides nothing, and the answer says what the mask is now."""
    desk = make_desk(masks=1, lease_s=60)
    (slept,) = desk.claim("ann")
    desk.now += 61
    late = desk.say("ann", slept, "cat")
    assert (late.status, late.reason) == ("refused", "expired")
    assert "it is open now, with 0 decisions" in late.message
    (theirs,) = desk.claim("bob")
    desk.say("bob", theirs, "dog")
    later = desk.say("ann", slept, "cat")
    assert (later.reason, "it is settled now, with 1 decision)" in later.message) == (
        "expired",
        True,
    )


def test_a_decision_that_was_on_its_way_counts(make_desk: MakeDesk) -> None:
    """A key pressed in time, sent late since the server was away, is stored while the slot is free, else refused."""
    desk = make_desk(masks=2, lease_s=60)
    one, two = desk.claim("ann", 2)
    desk.now += 300
    assert desk.say("ann", one, "cat", age_s=290).status == "stored"
    assert [desk.mask_of(i) for i in desk.claim("bob", 5)] == [2]
    late = desk.say("ann", two, "cat", age_s=290)
    assert (late.status, late.reason) == ("refused", "taken")


def test_others_leases_are_not_ones_own(make_desk: MakeDesk) -> None:
    """A token that belongs to somebody else, or to nobody, decides nothing and tells nothing."""
    desk = make_desk()
    (item,) = desk.claim("ann")
    assert desk.say("bob", item, "cat").reason == "not_yours"
    ghost = Operation("decide", desk.uuid(), "ab" * 16, "class", "cat")
    assert desk.apply("bob", ghost).reason == "unknown"
    assert desk.ask("SELECT COUNT(*) FROM decision") == [(0,)]


@pytest.mark.parametrize(
    ("outcome", "name"),
    [("class", "horse"), ("class", ""), ("unsure", "cat"), ("withdrawn", ""), ("maybe", "")],
)
def test_answers_that_are_none(make_desk: MakeDesk, outcome: str, name: str) -> None:
    """A class that is no candidate, a class without its name, and outcomes that do not exist are refused."""
    desk = make_desk()
    (item,) = desk.claim("ann")
    result = desk.apply("ann", Operation("decide", desk.uuid(), item.lease, outcome, name))
    assert (result.status, result.reason) == ("refused", "invalid")
    assert desk.say("ann", item, "cat").status == "stored"


def test_paused_people_and_closed_tasks_decide_nothing(make_desk: MakeDesk) -> None:
    """A lease is of no use to who was paused since, nor in a task that was closed; a pause of the task leaves it."""
    desk = make_desk()
    (mine,) = desk.claim("ann")
    (theirs,) = desk.claim("bob")
    desk.pause("ann")
    assert desk.say("ann", mine, "cat").reason == "paused"
    with desk.store.writing() as connection:
        connection.exec_driver_sql("UPDATE task SET status = 'closed'")
    assert desk.say("bob", theirs, "cat").reason == "task_closed"
    with desk.store.writing() as connection:
        connection.exec_driver_sql("UPDATE task SET status = 'paused'")
    assert desk.say("bob", theirs, "cat").status == "stored"


def test_undo_withdraws_and_asks_again(make_desk: MakeDesk) -> None:
    """An undo is a row that supersedes; the mask is leased to the same person again, under the token they made."""
    desk = make_desk(masks=3)
    (item,) = desk.claim("ann")
    uuid, token = desk.uuid(), desk.uuid()
    desk.say("ann", item, "cat", uuid=uuid)
    undo = Operation("undo", desk.uuid(), token, of=uuid)
    undone = desk.apply("ann", undo)
    assert undone.item is not None
    assert (undone.status, undone.item.lease, desk.mask_of(undone.item)) == ("stored", token, 1)
    assert desk.status(1) == "open"
    assert [desk.mask_of(i) for i in desk.claim("bob", 9)] == [2, 3]
    retry = desk.apply("ann", undo)
    assert (retry.status, retry.item) == ("known", undone.item)
    assert desk.say("ann", undone.item, "dog").status == "stored"
    assert desk.ask("SELECT outcome, label_class_id, supersedes_id FROM decision ORDER BY id") == [
        ("class", 1, None), ("withdrawn", None, 1), ("class", 3, 2),
    ]  # fmt: skip
    with desk.store.reading() as connection:
        assert verify_chain(connection) == 3


def test_undo_goes_back_step_by_step(make_desk: MakeDesk) -> None:
    """The list of recent decisions, which survives a reload, is what undo walks; a withdrawn one has left it."""
    desk = make_desk(masks=8)
    for item, answer in zip(
        desk.claim("ann", 7), ["cat", "cow", "dog", "cat", "unsure", "cow", "dog"], strict=True
    ):
        desk.say("ann", item, answer)

    def recent() -> list[str]:
        found = recent_decisions(desk.store, desk.people["ann"], task="kinds")
        return [r.class_name or r.outcome for r in found]

    assert recent() == ["dog", "cow", "unsure", "cat", "dog"]
    for _ in range(2):
        last = recent_decisions(desk.store, desk.people["ann"], task="kinds")[0]
        assert desk.apply("ann", Operation("undo", desk.uuid(), desk.uuid(), of=last.uuid)).item
    assert recent() == ["unsure", "cat", "dog", "cow", "cat"]


def test_what_cannot_be_undone(make_desk: MakeDesk) -> None:
    """Another's decision, one that was undone already, and one that a curator has overruled are refused."""
    desk = make_desk(masks=2, redundancy=1)
    (item,) = desk.claim("ann")
    uuid = desk.uuid()
    desk.say("ann", item, "cat", uuid=uuid)

    def undo(name: str) -> str:
        return desk.apply(name, Operation("undo", desk.uuid(), desk.uuid(), of=uuid)).reason

    assert undo("bob") == "not_yours"
    desk.add_gold(1, "dog")
    assert undo("ann") == "adjudicated"
    with desk.store.writing() as connection:
        connection.exec_driver_sql("UPDATE task_mask SET status = 'settled'")
    assert (undo("ann"), undo("ann")) == ("", "decided")


def test_disagreement_asks_for_more(make_desk: MakeDesk) -> None:
    """Two votes that differ open a third slot, up to the most that the task allows; then the mask is contested."""
    desk = make_desk(masks=2, redundancy=2, max_redundancy=3)
    answers = {"ann": ("cat", "cat"), "bob": ("cat", "cow"), "cid": ("dog",)}
    for name in ("ann", "bob"):
        for item, answer in zip(desk.claim(name, 2), answers[name], strict=True):
            desk.say(name, item, answer)
    assert (desk.status(1), desk.status(2)) == ("settled", "open")
    (third,) = desk.claim("cid", 9)
    assert desk.mask_of(third) == 2
    desk.say("cid", third, "dog")
    assert desk.status(2) == "contested"
    assert desk.claim("curator", 9) == []


def test_an_extra_slot_closes_when_votes_agree(make_desk: MakeDesk) -> None:
    """Who changes their mind so that the votes agree spares a third person the work."""
    desk = make_desk(masks=1, redundancy=2, max_redundancy=3)
    desk.say("ann", desk.claim("ann")[0], "cat")
    uuid = desk.uuid()
    desk.say("bob", desk.claim("bob")[0], "dog", uuid=uuid)
    assert desk.ask("SELECT COUNT(*) FROM task_slot") == [(3,)]
    again = desk.apply("bob", Operation("undo", desk.uuid(), desk.uuid(), of=uuid)).item
    assert again is not None
    desk.say("bob", again, "cat")
    assert (desk.status(1), desk.ask("SELECT COUNT(*) FROM task_slot")) == ("settled", [(2,)])


def make_contested(make_desk: MakeDesk, masks: int = 1) -> Desk:
    """Return a desk whose masks are all contested between ann and bob."""
    desk = make_desk(masks=masks, redundancy=2, max_redundancy=2)
    for name, answer in (("ann", "cat"), ("bob", "dog")):
        for item in desk.claim(name, masks):
            desk.say(name, item, answer)
    return desk


def test_adjudication_shows_the_votes_after_the_choice(make_desk: MakeDesk) -> None:
    """A contested mask comes to a curator without the votes; they come with the answer to the choice."""
    desk = make_contested(make_desk)
    (item,) = desk.claim("curator", mode="adjudication")
    uuid = desk.uuid()
    chosen = desk.say("curator", item, "cow", uuid=uuid)
    assert [(v.annotator, v.class_name) for v in chosen.votes] == [("ann", "cat"), ("bob", "dog")]
    assert desk.status(1) == "adjudicated"
    assert desk.ask("SELECT mode FROM decision ORDER BY id DESC LIMIT 1") == [("adjudication",)]
    again = desk.apply("curator", Operation("undo", desk.uuid(), desk.uuid(), of=uuid)).item
    assert again is not None
    assert desk.status(1) == "contested"
    assert desk.say("curator", again, "cat").status == "stored"
    assert desk.status(1) == "adjudicated"


def test_nobody_adjudicates_their_own_vote(make_desk: MakeDesk) -> None:
    """A curator who voted on a contested mask is not its judge, and two curators never get the same one."""
    desk = make_contested(make_desk, masks=2)
    with desk.store.writing() as connection:
        connection.exec_driver_sql("UPDATE annotator SET role = 'curator'")
    assert desk.claim("ann", 5, mode="adjudication") == []
    first = desk.claim("curator", 1, mode="adjudication")
    second = desk.claim("cid", 5, mode="adjudication")
    assert [desk.mask_of(i) for i in (*first, *second)] == [1, 2]


def test_an_adjudicator_may_be_unsure(make_desk: MakeDesk) -> None:
    """Unsure leaves the mask contested, for another curator."""
    desk = make_contested(make_desk)
    desk.say("curator", desk.claim("curator", mode="adjudication")[0], "unsure")
    assert desk.status(1) == "contested"
    assert desk.claim("curator", mode="adjudication") == []


def test_an_adjudicated_mask_is_handed_out_no_more(make_desk: MakeDesk) -> None:
    """Once a curator has decided a mask its empty slots are gone, also one that somebody held and let run out."""
    desk = make_desk(masks=1, redundancy=3, max_redundancy=3, lease_s=60)
    uuid = desk.uuid()
    desk.say("ann", desk.claim("ann")[0], "cat", uuid=uuid)
    desk.say("bob", desk.claim("bob")[0], "cat")
    desk.apply("ann", Operation("undo", desk.uuid(), desk.uuid(), of=uuid))
    desk.add_gold(1, "dog")
    desk.now += 61
    assert [desk.claim(name) for name in ("ann", "cid")] == [[], []]
    assert desk.status(1) == "adjudicated"


def test_flags(make_desk: MakeDesk) -> None:
    """A remark is stored once, on the mask it was made on, and does not decide it; an empty one is refused."""
    desk = make_desk()
    (item,) = desk.claim("ann")
    flag = Operation("flag", desk.uuid(), item.lease, comment=" two animals ")
    assert [desk.apply("ann", flag).status for _ in range(2)] == ["stored", "known"]
    assert (
        desk.apply("ann", Operation("flag", desk.uuid(), item.lease, comment=" ")).reason
        == "invalid"
    )
    assert desk.ask("SELECT mask_id, comment FROM flag") == [(1, "two animals")]
    assert desk.say("ann", item, "cat").status == "stored"


def test_progress(make_desk: MakeDesk) -> None:
    """Progress counts what is settled, contested and still asked for, and one's own share and pace."""
    desk = make_desk(masks=4, redundancy=2, max_redundancy=2)
    for name, answers in (("ann", ("cat", "cat", "cat")), ("bob", ("cat", "dog"))):
        for item, answer in zip(desk.claim(name, len(answers)), answers, strict=True):
            desk.now += 2
            desk.say(name, item, answer)
    progress = progress_of(desk.store, desk.people["ann"], task="kinds", now=desk.now)
    assert (progress.masks, progress.done, progress.contested, progress.slots_open) == (4, 1, 1, 3)
    assert (progress.mine, progress.mine_today, round(progress.pace_per_hour or 0)) == (3, 3, 1800)
    tomorrow = progress_of(desk.store, desk.people["ann"], task="kinds", now=START + 86_400)
    assert (tomorrow.mine, tomorrow.mine_today) == (3, 0)


def test_uuids_are_bytes(make_desk: MakeDesk) -> None:
    """A UUID of the page is the row's UUID, bit for bit."""
    desk = make_desk()
    (item,) = desk.claim("ann")
    uuid = UUID("00112233445566778899aabbccddeeff")
    desk.say("ann", item, "cat", uuid=uuid.hex)
    assert desk.ask("SELECT hex(uuid) FROM decision") == [(uuid.hex.upper(),)]
