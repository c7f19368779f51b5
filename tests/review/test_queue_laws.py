"""Laws of the queue, whatever people do, in whatever order, however many at once, and whenever they are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mseg_curate.clock import iso_of
from mseg_curate.core.consensus import Outcome, Vote, majority
from mseg_curate.review import Item, Operation, apply_operations, claim_masks
from mseg_curate.store import Store
from mseg_curate.store.decisions import annotator_id, verify_chain
from mseg_curate.store.engine import run_query
from mseg_curate.store.tasks import TaskOptions
from tests.review.conftest import START, Desk, MakeDesk, make_store

PEOPLE = ("ann", "bob", "cid", "dan")
ANSWERS = st.sampled_from(("cat", "cow", "dog", "unsure", "bad_mask"))
WHO = st.sampled_from(PEOPLE)


@contextmanager
def desk_of(options: TaskOptions) -> Iterator[Desk]:
    """A desk in a folder of its own."""
    with TemporaryDirectory() as folder, Store.open(make_store(Path(folder), 3, options)) as store:
        with store.writing() as connection:
            ids = {
                name: annotator_id(connection, name, kind="person", now=iso_of(START))
                for name in (*PEOPLE, "curator")
            }
        yield Desk(store, ids)


class Review(RuleBasedStateMachine):
    """People claim, decide, take back, skip and fall asleep in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.context = desk_of(
            TaskOptions(redundancy=2, max_redundancy=3, gold_rate=0.3, lease_s=60)
        )
        self.desk = self.context.__enter__()
        self.held: dict[str, list[Item]] = {name: [] for name in PEOPLE}
        self.made: dict[str, list[str]] = {name: [] for name in PEOPLE}
        self.acknowledged = 0
        self.has_gold = False

    def teardown(self) -> None:
        self.context.__exit__(None, None, None)

    @rule(name=WHO, count=st.integers(1, 3))
    def claim(self, name: str, count: int) -> None:
        held = [item.lease for item in self.held[name]]
        self.held[name] += self.desk.claim(name, count, held=held)

    @precondition(lambda self: any(self.held.values()))
    @rule(name=WHO, answer=ANSWERS)
    def decide(self, name: str, answer: str) -> None:
        if self.held[name]:
            uuid = self.desk.uuid()
            if self.desk.say(name, self.held[name].pop(0), answer, uuid=uuid).status == "stored":
                self.acknowledged += 1
                self.made[name].append(uuid)

    @rule(answers=st.lists(st.tuples(WHO, ANSWERS), min_size=1, max_size=6))
    def work(self, answers: list[tuple[str, str]]) -> None:
        for name, answer in answers:
            self.claim(name, 1)
            self.decide(name, answer)

    @precondition(lambda self: any(self.made.values()))
    @rule(name=WHO)
    def undo(self, name: str) -> None:
        if self.made[name]:
            of, token = self.made[name].pop(), self.desk.uuid()
            result = self.desk.apply(name, Operation("undo", self.desk.uuid(), token, of=of))
            self.acknowledged += result.status == "stored"
            if result.item:
                self.held[name].insert(0, result.item)

    @rule(name=WHO)
    def skip(self, name: str) -> None:
        if self.held[name]:
            lease = self.held[name].pop(0).lease
            self.desk.apply(name, Operation("skip", self.desk.uuid(), lease))

    @rule(seconds=st.sampled_from((1, 61)))
    def sleep(self, seconds: int) -> None:
        self.desk.now += seconds

    @precondition(lambda self: not self.has_gold)
    @rule(mask_id=st.integers(1, 3))
    def make_gold(self, mask_id: int) -> None:
        self.desk.add_gold(mask_id, "cat")
        self.acknowledged += 1
        self.has_gold = True

    @invariant()
    def slots_and_decisions_agree(self) -> None:
        """A filled slot holds the standing vote of its annotator, and no annotator fills two of a mask."""
        ask = self.desk.ask
        assert ask(
            "SELECT COUNT(*) FROM task_slot AS s JOIN decision AS d ON d.id = s.decision_id WHERE "
            "d.outcome = 'withdrawn' OR d.annotator_id <> s.annotator_id OR d.mask_id <> s.mask_id OR EXISTS "
            "(SELECT 1 FROM decision AS l WHERE l.supersedes_id = d.id)"
        ) == [(0,)]

    @invariant()
    def nobody_decides_twice(self) -> None:
        """One standing decision per annotator and mask, and no mask has more votes than the task allows."""
        stands = "NOT EXISTS (SELECT 1 FROM decision AS l WHERE l.supersedes_id = d.id)"
        assert (
            self.desk.ask(
                f"SELECT 1 FROM decision AS d WHERE {stands} GROUP BY mask_id, annotator_id HAVING COUNT(*) > 1"
            )
            == []
        )
        assert (
            self.desk.ask(
                f"SELECT 1 FROM decision AS d WHERE {stands} AND outcome <> 'withdrawn' AND mode = 'single' "
                "AND mask_id NOT IN (SELECT mask_id FROM gold) GROUP BY mask_id HAVING COUNT(*) > 3"
            )
            == []
        )

    @invariant()
    def live_leases_do_not_collide(self) -> None:
        """Live leases and filled slots never exceed the slots of a mask."""
        assert self.desk.ask(
            "SELECT 1 FROM lease AS l JOIN task_slot AS s ON s.id = l.slot_id "
            "WHERE l.expires_at > ? AND s.decision_id IS NOT NULL", self.desk.now
        ) == []  # fmt: skip

    @invariant()
    def the_state_says_what_the_votes_say(self) -> None:
        """A settled mask has the votes it needs and they agree; a contested one has the most and they do not."""
        votes: dict[int, list[Vote]] = {}
        for mask_id, outcome, label in self.desk.ask(
            "SELECT mask_id, outcome, label_class_id FROM decision AS d WHERE outcome <> 'withdrawn' "
            "AND mode = 'single' AND NOT EXISTS (SELECT 1 FROM decision AS l WHERE l.supersedes_id = d.id)"
        ):
            votes.setdefault(mask_id, []).append(Vote(Outcome(outcome), label))
        for mask_id, status in self.desk.ask("SELECT mask_id, status FROM task_mask"):
            if status in ("settled", "contested"):
                found = votes[mask_id]
                assert len(found) >= (2 if status == "settled" else 3)
                assert (majority(found).outcome.value == "contested") == (status == "contested")

    @invariant()
    def nothing_acknowledged_is_lost(self) -> None:
        """Every acknowledged decision and undo is a row of the chain, and there is no other row."""
        with self.desk.store.reading() as connection:
            assert verify_chain(connection) == self.acknowledged


Review.TestCase.settings = settings(
    max_examples=20,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestReview = Review.TestCase
TestReview.__doc__ = "The invariants of `Review` hold after every step of any sequence."


def test_many_processes_at_once() -> None:
    """Processes that claim and decide one task together lose, double and overfill nothing; the campaign is larger."""
    command = Path(__file__).parents[2] / "benchmarks" / "review_queue.py"
    done = subprocess.run(
        [sys.executable, command, "crowd", "--processes", "6", "--decisions", "40"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "nothing lost, doubled or over its redundancy" in done.stdout


def _decide_until_killed(path: Path, person: int, pipe: int) -> None:
    rng = Random(person)
    with Store.open(path) as store:
        while True:
            items = claim_masks(
                store, person, task="kinds", count=2, client="x", held=[], now=START, rng=rng
            )
            if not items:
                os._exit(0)
            for item in items:
                uuid = UUID(int=rng.getrandbits(128))
                operation = Operation("decide", uuid.hex, item.lease, "class", "cat")
                (result,) = apply_operations(store, person, [operation], client="x", now=START)
                if result.status == "stored":
                    os.write(pipe, uuid.bytes)


@pytest.mark.parametrize("kill", range(12))
def test_a_killed_server_loses_nothing_it_acknowledged(make_desk: MakeDesk, kill: int) -> None:
    """A process killed at any moment has stored all that it acknowledged, once, and at most one decision more."""
    desk = make_desk(masks=2000)
    path, person = desk.store.path, desk.people["ann"]
    desk.store.close()
    read, write = os.pipe()
    process = get_context("fork").Process(target=_decide_until_killed, args=(path, person, write))
    process.start()
    os.close(write)
    acknowledged = bytearray()
    while len(acknowledged) < 16 * (1 + 3 * kill) and (block := os.read(read, 16)):
        acknowledged += block
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    while block := os.read(read, 4096):
        acknowledged += block
    os.close(read)
    told = {bytes(acknowledged[i : i + 16]) for i in range(0, len(acknowledged), 16)}
    with Store.open(path) as store:
        stored = [bytes(row[0]) for row in run_query(store, "SELECT uuid FROM decision")[1]]  # type: ignore[arg-type]
        with store.reading() as connection:
            assert verify_chain(connection) == len(stored)
    assert told <= set(stored)
    assert len(stored) - len(told) in (0, 1)
