"""Statements that run at every mask look up the mask, not all that its annotator ever decided."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from mseg_curate.gold import gold_scores
from mseg_curate.store.gold import exposure_of, gold_score
from tests.review.conftest import Desk, MakeDesk


@contextmanager
def plans_of(desk: Desk) -> Iterator[list[str]]:
    """Collect how SQLite runs each statement within: one line per step."""
    seen: list[str] = []

    def explain(_c: Any, cursor: Any, statement: str, values: Any, *_: Any) -> None:
        verb, _, _ = statement.strip().partition(" ")
        if verb.split("\n")[0] in ("SELECT", "INSERT", "UPDATE") and not isinstance(values, list):
            own = cursor.connection.cursor()
            own.execute(f"EXPLAIN QUERY PLAN {statement}", values)
            seen.extend(str(row[3]) for row in own)

    engines = (desk.store._writer, desk.store._reader)
    for engine in engines:
        event.listen(engine, "before_cursor_execute", explain)
    yield seen
    for engine in engines:
        event.remove(engine, "before_cursor_execute", explain)


@pytest.mark.parametrize("mode", ["single", "grid", "adjudication"])
def test_a_claim_does_not_walk_what_its_annotator_decided(make_desk: MakeDesk, mode: str) -> None:
    """Whoever has decided a hundred thousand masks gets the next as soon as a newcomer."""
    desk = make_desk(gold_rate=0.5)
    desk.add_gold(1, "cat")
    named = {"class_name": "cat"} if mode == "grid" else {}
    with plans_of(desk) as plans:
        desk.claim("curator", count=3, mode=mode, **named)
    assert not [p for p in plans if "ix_decision_annotator_id" in p]
    assert not [p for p in plans if p in ("SCAN e", "SCAN d", "SCAN s")]


@pytest.mark.parametrize(
    ("mode", "bounds"),
    [
        ("single", "ix_task_slot_open (task_id=? AND (rank,position)>(?,?) AND (rank,position)<"),
        ("grid", "(task_id=? AND expected_id=? AND (rank,position)>(?,?) AND (rank,position)<"),
        ("adjudication", "(task_id=? AND status=? AND position>? AND position<"),
    ],
)
def test_a_claim_walks_a_window_of_its_lane(make_desk: MakeDesk, mode: str, bounds: str) -> None:
    """The index is entered where the annotator stands and left where the window ends, for one class in a grid."""
    desk = make_desk()
    named = {"class_name": "cat"} if mode == "grid" else {}
    with plans_of(desk) as plans:
        desk.claim("curator", mode=mode, **named)
    assert [p for p in plans if p.startswith("SEARCH s ") and bounds in p]


def test_an_answer_to_gold_is_scored_from_the_gold(make_desk: MakeDesk) -> None:
    """The bar looks at the answers on gold, and walks neither all decisions of somebody nor all exposures."""
    desk = make_desk(gold_rate=0.5, gold_bar=0.5)
    desk.add_gold(1, "cat")
    with plans_of(desk) as plans, desk.store.reading() as connection:
        gold_score(connection, 1, desk.people["ann"])
        exposure_of(connection, 1, desk.people["ann"])
        gold_scores(desk.store, "kinds")
    assert not [p for p in plans if "ix_decision_annotator_id" in p]
    assert not [p for p in plans if p in ("SCAN e", "SCAN d", "SCAN g", "SCAN shown")]
