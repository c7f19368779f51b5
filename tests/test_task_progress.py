"""How far tasks are: all at once as one by one, and without a pass over the decisions for each task."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import event

from mseg_curate.decide import import_csv
from mseg_curate.store import Store
from mseg_curate.task_progress import all_progress, measure_progress
from mseg_curate.tasks import make_task

DAY = "2026-01-01T00:00:00+00:00"
VOTES = """dataset,split,image,segment,source_class,outcome,annotator,decided_at,milliseconds,mode
farm,train,a,0,animal,dog,anna,2026-01-01T10:00:00Z,2000,single
farm,train,a,0,animal,dog,ben,2026-01-01T10:00:00Z,4000,grid
farm,train,a,1,animal,cat,anna,2026-01-01T10:00:01Z,90000,single
farm,train,b,0,animal,cat,carl,,,single
"""


@pytest.fixture
def store(farm_store: Store, tmp_path: Path) -> Store:
    """The farm with timed and untimed decisions of three people in one of its three tasks, and a withdrawn one."""
    for name in ("second", "third"):
        make_task(farm_store, name, dataset="farm", source_class="animal", now=DAY)
    (tmp_path / "votes.csv").write_text(VOTES, encoding="utf-8")
    import_csv(farm_store, tmp_path / "votes.csv", now=DAY)
    with farm_store.writing() as connection:
        connection.exec_driver_sql("UPDATE decision SET task_id = 1 + (id = 4)")
    return farm_store


def test_all_at_once_is_one_by_one(store: Store) -> None:
    """Each task has the numbers that it has when it is asked for alone."""
    found = all_progress(store)
    assert len(found) == 3
    for progress in found:
        assert progress == measure_progress(store, progress.task.name)
    by_name = {progress.task.name: progress for progress in found}
    assert [p.annotator for p in by_name["kinds"].people] == ["anna", "ben"]
    assert (by_name["kinds"].timed, by_name["kinds"].median_s) == (3, 4.0)
    assert by_name["third"].people == ()


def test_decisions_are_not_passed_over_for_each_task(store: Store) -> None:
    """However many tasks there are, the statements that read decisions are as many."""
    said: list[str] = []

    def note(*words: object) -> None:
        said.append(str(words[2]))

    with store.reading() as connection:
        engine = connection.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        all_progress(store)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert 1 <= sum("FROM decision" in sql for sql in said) <= 4
