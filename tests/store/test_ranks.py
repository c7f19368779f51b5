"""The order of a queue: written step by step, only where it changes, and the same however often it is stopped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from mseg_curate.store import Store, steps
from mseg_curate.store.engine import run_query
from mseg_curate.store.ranks import rank_masks

MASKS = 7


@pytest.fixture
def kinds(farm_store: Store) -> Store:
    """The farm's task `kinds` of three masks, with two slots each and somebody half-way through the queue."""
    with farm_store.writing() as connection:
        run = connection.exec_driver_sql
        run(
            "INSERT INTO task_slot (task_id, mask_id, number, rank, position) "
            "SELECT task_id, mask_id, 1, 0, position FROM task_mask"
        )
        run(
            "INSERT INTO annotator (id, name, kind, created_at) VALUES (1, 'ann', 'person', '2026')"
        )
        run("INSERT INTO task_cursor VALUES (1, 1, 'single', 0, 2, 0)")
    return farm_store


def ranks_of(store: Store, table: str) -> dict[int, int]:
    """Return the rank of each mask as a table has it; slots of a mask must agree."""
    rows = run_query(store, f"SELECT DISTINCT mask_id, rank FROM {table} ORDER BY mask_id")[1]
    assert len(rows) == 3
    return dict(rows)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {}),
        ({1: -1}, {2: 5}),
        ({1: 3, 2: 2, 3: 1}, {1: 3, 2: 9}),
        ({1: -3, 2: -2, 3: -1}, {}),
    ],
)
def test_what_is_not_named_has_rank_0(
    kinds: Store, first: Mapping[int, int], second: Mapping[int, int]
) -> None:
    """Each call replaces the order that was there, in masks and slots alike, and sends everybody to its start."""
    for wanted in (first, second):
        rank_masks(kinds, 1, ranks=wanted)
        expected = {mask: wanted.get(mask, 0) for mask in (1, 2, 3)}
        assert ranks_of(kinds, "task_mask") == expected
        assert ranks_of(kinds, "task_slot") == expected
    assert run_query(kinds, "SELECT COUNT(*) FROM task_cursor")[1] == [(0,)]


def test_a_stop_leaves_the_first_in_place(kinds: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is stopped has put the lowest ranks in place, and all before them; the same call again does the rest."""
    monkeypatch.setattr(steps, "STEP_S", 1.5)
    monkeypatch.setattr(steps, "_AT_ONCE", 1)
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(steps, "sleep", pause)
    # A clock that goes on by a second whenever it is looked at: each step does one part.
    monkeypatch.setattr(steps, "perf_counter", iter(range(100)).__next__)
    wanted = {1: -1, 2: -3, 3: -2}
    with pytest.raises(KeyboardInterrupt):
        rank_masks(kinds, 1, ranks=wanted)
    assert ranks_of(kinds, "task_mask") == {1: 0, 2: -3, 3: -2}
    assert run_query(kinds, "SELECT COUNT(*) FROM task_cursor")[1] == [(0,)]
    monkeypatch.undo()
    rank_masks(kinds, 1, ranks=wanted)
    assert ranks_of(kinds, "task_slot") == wanted


def test_others_have_their_turn(
    kinds: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Between two steps the store is free: somebody else writes in every pause."""
    monkeypatch.setattr(steps, "_AT_ONCE", 1)
    clock = iter(range(1000))
    monkeypatch.setattr(steps, "perf_counter", lambda: next(clock) * steps.STEP_S * 0.6)
    turns = []

    def write(_: float) -> None:
        with Store.open(kinds.path) as other, other.writing() as connection:
            connection.exec_driver_sql("UPDATE task SET priority = priority + 1")
        turns.append(1)

    monkeypatch.setattr(steps, "sleep", write)
    rank_masks(kinds, 1, ranks={1: 1, 2: 2, 3: 3})
    assert len(turns) == 2
    assert run_query(kinds, "SELECT priority FROM task")[1] == [(2,)]
