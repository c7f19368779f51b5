"""Chores: what was promised to many masks is done in the end, whoever is killed, and nobody waits long for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mseg_curate.annotators import reopen_decisions
from mseg_curate.decide import import_csv
from mseg_curate.review import Operation
from mseg_curate.steer import set_options
from mseg_curate.store import chores
from mseg_curate.store.chores import finish_chores, work_on_chores
from tests.review.conftest import Desk, MakeDesk

WAIT_S = chores._ABANDONED_S + 1
STANDING = (
    "SELECT COUNT(*) FROM v_decision WHERE annotator = 'ann' AND outcome <> 'withdrawn' "
    "AND NOT superseded"
)


class KilledError(Exception):
    """What a test throws where a process would be killed."""


@pytest.fixture
def die_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A function that has steps do ten rows each, and all after so many never happen."""

    def arm(steps: int) -> None:
        left = [steps]

        def step(*args: object, **named: object) -> bool:
            if not left[0]:
                raise KilledError
            left[0] -= 1
            return work_on_chores(*args, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(chores, "_AT_ONCE", 10)
        # A clock that goes on by a second whenever it is looked at: each step does one part.
        monkeypatch.setattr(chores, "perf_counter", iter(range(10**9)).__next__)
        monkeypatch.setattr(chores, "STEP_S", 1.5)
        monkeypatch.setattr("mseg_curate.store.chores.work_on_chores", step)

    return arm


def decide_all(desk: Desk, name: str, count: int) -> None:
    """Have somebody decide so many masks."""
    for item in desk.claim(name, count):
        assert desk.say(name, item, "cat").status == "stored"


def claim_until_done(desk: Desk, name: str) -> int:
    """Claim nothing, again and again, until no chore is left; returns how often."""
    for times in range(1, 100):
        desk.now += WAIT_S
        desk.claim(name, 0)
        if not desk.ask("SELECT 1 FROM chore WHERE finished_at IS NULL"):
            return times
    raise AssertionError("chores are left")


def test_a_killed_reopening_is_finished_by_those_who_claim(
    make_desk: MakeDesk, die_after: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every vote that was to be re-opened is withdrawn in the end, once, and the log says how many they were."""
    desk = make_desk(masks=60)
    decide_all(desk, "ann", 60)
    die_after(2)
    with pytest.raises(KilledError):
        reopen_decisions(desk.store, "ann", "kinds", by="curator", note="x", now=desk.now)
    monkeypatch.setattr("mseg_curate.store.chores.work_on_chores", work_on_chores)
    assert desk.ask(STANDING) == [(40,)]
    assert desk.ask("SELECT COUNT(*) FROM annotator_event") == [(0,)]
    assert claim_until_done(desk, "bob") == 4
    assert desk.ask(STANDING) == [(0,)]
    assert desk.ask("SELECT DISTINCT status FROM task_mask") == [("open",)]
    assert desk.ask("SELECT kind, by, note FROM annotator_event") == [
        ("reopened", "curator", "60 decisions of kinds: x")
    ]
    assert len(desk.claim("bob", 60)) == 60
    assert desk.claim("ann") == []


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1)])
def test_killed_options_are_brought_in_line_by_the_next_command(
    make_desk: MakeDesk, die_after: Callable[[int], None], monkeypatch: pytest.MonkeyPatch,
    before: int, after: int,
) -> None:  # fmt: skip
    """A redundancy that was changed holds for every mask once any command that changes the queue has run."""
    desk = make_desk(masks=50, redundancy=before, max_redundancy=before)
    changes = {"redundancy": after, "max_redundancy": after}
    die_after(2)
    with pytest.raises(KilledError):
        set_options(desk.store, "kinds", changes=changes, now=desk.now)
    monkeypatch.setattr("mseg_curate.store.chores.work_on_chores", work_on_chores)
    counts = (
        "SELECT n, COUNT(*) FROM (SELECT COUNT(*) AS n FROM task_slot GROUP BY mask_id) GROUP BY n"
    )
    assert sorted(desk.ask(counts)) == sorted([(after, 20), (before, 30)])
    set_options(desk.store, "kinds", changes={"priority": 2}, now=desk.now)
    assert desk.ask(counts) == [(after, 50)]


def test_a_killed_import_fills_its_slots(
    make_desk: MakeDesk,
    tmp_path: Path,
    die_after: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Decisions that were stored count in the queue, also where their import did not live to see it."""
    desk = make_desk(masks=30)
    path = tmp_path / "votes.csv"
    lines = [f"d,train,a,{n},animal,cat,ann\n" for n in range(1, 31)]
    path.write_text(
        "dataset,split,image,segment,source_class,outcome,annotator\n" + "".join(lines),
        encoding="utf-8",
    )
    die_after(0)
    with pytest.raises(KilledError):
        import_csv(desk.store, path, now="2026-01-01T00:00:00+00:00")
    monkeypatch.setattr("mseg_curate.store.chores.work_on_chores", work_on_chores)
    assert desk.ask("SELECT DISTINCT status FROM task_mask") == [("open",)]
    finish_chores(desk.store, now=desk.now)
    assert desk.ask("SELECT DISTINCT status FROM task_mask") == [("settled",)]
    assert desk.ask("SELECT COUNT(*) FROM task_slot WHERE decision_id IS NULL") == [(0,)]


def test_the_bar_reopens_in_steps(make_desk: MakeDesk, die_after: Callable[[int], None]) -> None:
    """The answer that falls under the bar pauses at once and re-opens some votes; the others follow with claims."""
    desk = make_desk(masks=64, gold_rate=0.5, gold_bar=0.9, gold_min=1, under_bar="reopen")
    decide_all(desk, "ann", 60)
    desk.add_gold(61, "dog")
    die_after(10**6)
    (item,) = (i for i in desk.claim("ann", 4) if desk.mask_of(i) == 61)
    assert desk.say("ann", item, "cat").status == "stored"
    assert desk.ask("SELECT status FROM annotator WHERE name = 'ann'") == [("paused",)]
    # Ten of sixty and the gold itself.
    assert desk.ask(STANDING) == [(51,)]
    assert claim_until_done(desk, "bob") == 6
    assert desk.ask(STANDING) == [(0,)]
    assert [kind for (kind,) in desk.ask("SELECT kind FROM annotator_event ORDER BY id")] == [
        "paused",
        "reopened",
    ]


def test_a_vote_that_was_undone_meanwhile_is_withdrawn_once(
    make_desk: MakeDesk, die_after: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever takes a decision back before its turn comes has it counted by nobody twice."""
    desk = make_desk(masks=20)
    uuids = []
    for item in desk.claim("ann", 20):
        uuids.append(desk.uuid())
        desk.say("ann", item, "cat", uuid=uuids[-1])
    die_after(1)
    with pytest.raises(KilledError):
        reopen_decisions(desk.store, "ann", "kinds", by="curator", note="x", now=desk.now)
    monkeypatch.setattr("mseg_curate.store.chores.work_on_chores", work_on_chores)
    result = desk.apply("ann", Operation("undo", desk.uuid(), desk.uuid(), of=uuids[-1]))
    assert result.status == "stored"
    finish_chores(desk.store, now=desk.now)
    assert desk.ask(STANDING) == [(0,)]
    assert desk.ask("SELECT note FROM annotator_event") == [("19 decisions of kinds: x",)]


def test_claims_leave_a_chore_to_who_works_on_it(
    make_desk: MakeDesk, die_after: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Annotators do steps of a chore only where nobody has touched it for a while: their own time is short."""
    desk = make_desk(masks=60)
    decide_all(desk, "ann", 60)
    die_after(2)
    with pytest.raises(KilledError):
        reopen_decisions(desk.store, "ann", "kinds", by="curator", note="x", now=desk.now)
    monkeypatch.setattr("mseg_curate.store.chores.work_on_chores", work_on_chores)
    for _ in range(3):
        desk.claim("bob", 0)
    assert desk.ask(STANDING) == [(40,)]
    desk.now += WAIT_S
    desk.claim("bob", 0)
    assert desk.ask(STANDING) == [(30,)]
