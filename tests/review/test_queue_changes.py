"""Laws of the queue while curators change what it asks: redundancy, gold, status, people, votes from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mseg_curate.annotators import pause_person, reopen_decisions, resume_person
from mseg_curate.clock import iso_of
from mseg_curate.decide import import_csv
from mseg_curate.errors import DecisionError, InputError, ReviewError, StoreError
from mseg_curate.gold import add_gold, retire_gold
from mseg_curate.review import Item, Operation, Result
from mseg_curate.steer import set_options, set_status
from mseg_curate.store import Store, leases
from mseg_curate.store.decisions import annotator_id, verify_chain
from mseg_curate.store.settle import settle_everywhere
from mseg_curate.store.tasks import TaskOptions, create_task
from tests.review.conftest import START, Desk, make_store

MASKS = 3
PEOPLE = ("ann", "bob", "cid")
ALL = (*PEOPLE, "curator")
WHO = st.sampled_from(PEOPLE)
ANYBODY = st.sampled_from(ALL)
MASK = st.integers(1, MASKS)
ANSWER = st.sampled_from(("cat", "cow", "unsure", "bad_mask"))
HEADER = "dataset,split,image,segment,source_class,outcome,annotator\n"
STATES = "SELECT task_id, mask_id, status FROM task_mask ORDER BY 1, 2"
SLOTS = (
    "SELECT task_id, mask_id, number, annotator_id, decision_id, rank, position, expected_id "
    "FROM task_slot ORDER BY 1, 2, 3"
)
STANDS = "NOT EXISTS (SELECT 1 FROM decision AS later WHERE later.supersedes_id = d.id)"


@contextmanager
def two_tasks() -> Iterator[Desk]:
    """A desk with the task `kinds`, and `again` about the same masks."""
    options = TaskOptions(redundancy=2, max_redundancy=3, gold_rate=0.0, lease_s=60)
    with TemporaryDirectory() as folder:
        path = make_store(Path(folder), MASKS, options)
        with Store.open(path) as store:
            with store.writing() as connection:
                ids = {
                    n: annotator_id(connection, n, kind="person", now=iso_of(START)) for n in ALL
                }
                connection.exec_driver_sql(
                    "UPDATE annotator SET role = 'curator' WHERE name = 'curator'"
                )
                create_task(
                    connection, "again", dataset_class_id=1, mapping_revision=1,
                    options=TaskOptions(gold_rate=0.0, lease_s=60), candidates=[1, 2, 3],
                    definitions={}, mask_ids=[3, 1, 2], now=iso_of(START),
                )  # fmt: skip
            yield Desk(store, ids)


@contextmanager
def may_refuse(kind: type[Exception], *words: str) -> Iterator[None]:
    """Let an error pass that says one of these words."""
    try:
        yield
    except kind as error:
        if not any(word in str(error) for word in words):
            raise


class Changes(RuleBasedStateMachine):
    """People decide and take back while curators change everything around them."""

    def __init__(self) -> None:
        super().__init__()
        self.context = two_tasks()
        self.desk = self.context.__enter__()
        self.folder = self.desk.store.path.parent
        self.held: dict[str, list[Item]] = {name: [] for name in ALL}
        self.made: dict[str, list[str]] = {name: [] for name in ALL}
        self.files = 0

    def teardown(self) -> None:
        self.context.__exit__(None, None, None)

    # --- at the desk

    @rule(
        name=ANYBODY,
        task=st.sampled_from(("kinds", "again")),
        mode=st.sampled_from(("single", "grid")),
    )
    def claim(self, name: str, task: str, mode: str) -> None:
        self._claim(name, task, mode, 1)

    @rule()
    def adjudicate(self) -> None:
        self._claim("curator", "kinds", "adjudication", 1)

    def _claim(self, name: str, task: str, mode: str, count: int) -> None:
        held = [item.lease for item in self.held[name]]
        named = {"class_name": "cat"} if mode == "grid" else {}
        with may_refuse(ReviewError, "paused", "closed"):
            items = self.desk.claim(name, count, task=task, mode=mode, held=held, **named)
            self.held[name] += items
            if not items and mode == "single":
                assert self._claimable(name, task) == []

    def _claimable(self, name: str, task: str) -> list[int]:
        """Return the masks that somebody could be given, by plain loops over everything."""
        me, now = self.desk.people[name], self.desk.now
        (task_id,) = self.desk.ask("SELECT id FROM task WHERE name = ?", task)[0]
        leased = {s for s, e in self.desk.ask("SELECT slot_id, expires_at FROM lease") if e > now}
        mine = {
            m
            for m, by, e in self.desk.ask("SELECT mask_id, annotator_id, expires_at FROM lease")
            if by == me and e > now
        }
        mine |= {
            mask
            for mask, by, outcome, mode in self.desk.ask(
                f"SELECT mask_id, annotator_id, outcome, mode FROM decision AS d WHERE {STANDS}"
            )
            if by == me and (outcome != "withdrawn" or mode == "adjudication")
        }
        open_slots = self.desk.ask(
            "SELECT s.id, s.mask_id FROM task_slot AS s JOIN task_mask AS m USING (task_id, mask_id) "
            "WHERE m.status <> 'adjudicated' AND s.decision_id IS NULL AND s.task_id = ?", task_id
        )  # fmt: skip
        return [mask for slot, mask in open_slots if slot not in leased and mask not in mine]

    @rule(name=ANYBODY, answer=ANSWER)
    def decide(self, name: str, answer: str) -> None:
        if self.held[name]:
            uuid = self.desk.uuid()
            self._did(name, self.desk.say(name, self.held[name].pop(0), answer, uuid=uuid), uuid)

    def _did(self, name: str, result: Result, uuid: str) -> None:
        if result.status == "stored":
            self.made[name].append(uuid)

    @rule(name=ANYBODY)
    def undo(self, name: str) -> None:
        if self.made[name]:
            of, token = self.made[name].pop(), self.desk.uuid()
            result = self.desk.apply(name, Operation("undo", self.desk.uuid(), token, of=of))
            if result.item:
                self.held[name].insert(0, result.item)

    @rule(name=ANYBODY, op=st.sampled_from(("skip", "except")))
    def give_back(self, name: str, op: str) -> None:
        if self.held[name]:
            lease = self.held[name].pop(0).lease
            self.desk.apply(name, Operation(op, self.desk.uuid(), lease))

    @rule(answers=st.lists(st.tuples(WHO, ANSWER), min_size=2, max_size=6))
    def work(self, answers: list[tuple[str, str]]) -> None:
        for name, answer in answers:
            self._claim(name, "kinds", "single", 1)
            self.decide(name, answer)

    @rule(seconds=st.sampled_from((1, 61)))
    def sleep(self, seconds: int) -> None:
        self.desk.now += seconds

    # --- what curators do

    @rule(redundancy=st.integers(1, 3), more=st.integers(0, 2))
    def ask_more_or_less(self, redundancy: int, more: int) -> None:
        changes = {"redundancy": redundancy, "max_redundancy": redundancy + more}
        set_options(self.desk.store, "kinds", changes=changes, now=self.desk.now)

    @rule(name=WHO)
    def reopen(self, name: str) -> None:
        reopen_decisions(self.desk.store, name, "kinds", by="curator", note="x", now=self.desk.now)

    @rule(name=WHO, change=st.sampled_from((pause_person, resume_person)))
    def pause_or_resume(self, name: str, change: object) -> None:
        with may_refuse(StoreError, "already"):
            change(self.desk.store, name, by="curator", note="x", now=self.desk.now)  # type: ignore[operator]

    @rule(status=st.sampled_from(("open", "paused", "closed")))
    def open_or_close(self, status: str) -> None:
        set_status(self.desk.store, "kinds", status=status)

    @rule(mask=MASK, answer=st.sampled_from(("cat", "cow", "bad_mask")))
    def make_gold(self, mask: int, answer: str) -> None:
        gold = [("train", "", "a", mask, answer)]
        how = {"kind": "evaluation", "note": "x", "by": "curator"}
        with may_refuse(InputError, "gold already"):
            add_gold(self.desk.store, "kinds", gold, **how, now=self.desk.now)

    @rule(mask=MASK, stands=st.booleans())
    def unmake_gold(self, mask: int, stands: bool) -> None:
        place, now = ("train", "", "a", mask), self.desk.now
        with may_refuse(InputError, "no gold"):
            retire_gold(
                self.desk.store,
                "kinds",
                place,
                note="x",
                by="curator",
                now=now,
                answer_stands=stands,
            )

    @rule(mask=MASK, name=ANYBODY, answer=st.sampled_from(("cat", "cow", "unsure")))
    def import_vote(self, mask: int, name: str, answer: str) -> None:
        self.files += 1
        path = self.folder / f"{self.files}.csv"
        path.write_text(f"{HEADER}d,train,a,{mask},animal,{answer},{name}\n", encoding="utf-8")
        with may_refuse(DecisionError, "gold"):
            import_csv(self.desk.store, path, now=iso_of(self.desk.now))

    # --- what holds

    @invariant()
    def nobody_says_two_things(self) -> None:
        """One decision of an annotator stands on a mask, and fills one slot of a task at most."""
        twice = "GROUP BY mask_id, annotator_id HAVING COUNT(*) > 1"
        assert self.desk.ask(f"SELECT 1 FROM decision AS d WHERE {STANDS} {twice}") == []

    @invariant()
    def filled_slots_hold_votes_that_stand(self) -> None:
        """What fills a slot is the standing vote of its annotator on its mask."""
        assert self.desk.ask(
            "SELECT * FROM task_slot AS s JOIN decision AS d ON d.id = s.decision_id WHERE "
            "d.outcome = 'withdrawn' OR d.mode = 'adjudication' OR d.annotator_id <> s.annotator_id "
            f"OR d.mask_id <> s.mask_id OR NOT {STANDS}"
        ) == []  # fmt: skip

    @invariant()
    def settling_again_changes_nothing(self) -> None:
        """Slots and states are what follows from the decisions, whichever way they came about."""
        with self.desk.store.writing() as connection:
            now = self.desk.now
            settle_everywhere(connection, leases.forget_expired(connection, now=now), now=now)
        before = self.desk.ask(STATES), self.desk.ask(SLOTS)
        with self.desk.store.writing() as connection:
            settle_everywhere(connection, range(1, MASKS + 1), now=self.desk.now)
        assert (self.desk.ask(STATES), self.desk.ask(SLOTS)) == before

    @invariant()
    def active_gold_is_what_its_curator_says(self) -> None:
        """The decision behind active gold stands, and says the same."""
        assert self.desk.ask(
            "SELECT * FROM gold AS g JOIN decision AS d ON d.id = g.decision_id WHERE g.retired_at IS NULL "
            f"AND (NOT {STANDS} OR d.outcome <> g.outcome OR d.label_class_id IS NOT g.label_class_id)"
        ) == []  # fmt: skip

    @invariant()
    def every_promise_is_kept(self) -> None:
        """A command that returned has left nothing to do, and the chain of decisions is whole."""
        assert self.desk.ask("SELECT * FROM chore WHERE finished_at IS NULL") == []
        with self.desk.store.reading() as connection:
            verify_chain(connection)


Changes.TestCase.settings = settings(
    max_examples=8,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


class TestChanges(Changes.TestCase):  # type: ignore[misc]
    """The invariants of `Changes` hold after every step of any sequence."""


class TestChangesFarAhead(Changes.TestCase):  # type: ignore[misc]
    """They hold where the queue is longer than a claim looks at, and the way is found by reading."""

    @pytest.fixture(autouse=True)
    def _short_sight(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(leases, "_WINDOWS", (0,))
