"""Bringing an older store up to date: nothing is lost, and what is new has its place."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from mseg_curate.errors import StoreError, StoreVersionError
from mseg_curate.store import Store
from mseg_curate.store.decisions import verify_chain
from mseg_curate.store.engine import run_query
from mseg_curate.store.schema import metadata
from mseg_curate.store.steering import store_suggestions
from mseg_curate.store.tasks import TaskOptions
from tests.review.conftest import make_store

DUMP = Path(__file__).with_name("store_of_schema_1.sql")
KEPT = (
    "decision",
    "resolution",
    "mask",
    "mask_geometry",
    "image",
    "task_candidate",
    "mapping_class",
)


@pytest.fixture
def old_store(tmp_path: Path) -> Path:
    """A store that schema 1 made."""
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(DUMP.read_text(encoding="utf-8"))
    return path


def dump(path: Path, tables: tuple[str, ...] = KEPT) -> dict[str, list[tuple[object, ...]]]:
    """Return the rows of some tables, of the columns that schema 1 has."""
    columns = {"resolution": "mask_id, policy, outcome, label_class_id, votes, agreement",
               "task_candidate": "task_id, position, label_class_id"}  # fmt: skip
    with closing(sqlite3.connect(path)) as connection:
        return {
            table: connection.execute(
                f"SELECT {columns.get(table, '*')} FROM {table} ORDER BY 1, 2"
            ).fetchall()
            for table in tables
        }


def test_nothing_is_lost(old_store: Path, tmp_path: Path) -> None:
    """Decisions with their hash chain, masks, resolutions and candidates are the same rows as before."""
    before = dump(old_store)
    assert Store.upgrade(old_store, copy=tmp_path / "kept.db")
    assert dump(old_store) == before
    with Store.open(old_store) as store, store.reading() as connection:
        assert verify_chain(connection) == 6


def test_the_schema_is_the_one_of_the_code(old_store: Path, tmp_path: Path) -> None:
    """An upgraded store has the tables, keys and indexes of a new one, foreign keys hold, and views run."""
    Store.upgrade(old_store, copy=tmp_path / "kept.db")
    with Store.create(tmp_path / "new.db", fill=lambda _: None):
        pass
    with Store.open(old_store) as store, store.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
        assert connection.exec_driver_sql("SELECT COUNT(*) FROM v_decision").scalar_one() == 6
    query = "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name"
    # Alembic writes the constraints of a table that it makes anew in any order.
    with Store.open(old_store) as old, Store.open(tmp_path / "new.db") as new:
        described = [
            [
                (kind, name, sorted(str(sql).replace(",", "").splitlines()))
                for kind, name, sql in rows
            ]
            for rows in (run_query(old, query)[1], run_query(new, query)[1])
        ]
    assert described[0] == described[1]


def test_old_tasks_get_a_queue(old_store: Path, tmp_path: Path) -> None:
    """A task of schema 1 can be reviewed: its masks are queued, and decisions that stand fill their slots."""
    Store.upgrade(old_store, copy=tmp_path / "kept.db")
    with Store.open(old_store) as store:
        _, slots = run_query(
            store,
            "SELECT m.segment, i.name, COUNT(*), SUM(s.decision_id IS NOT NULL), MAX(t.status) "
            "FROM task_slot AS s JOIN mask AS m ON m.id = s.mask_id JOIN image AS i ON i.id = m.image_id "
            "JOIN task_mask AS t ON t.mask_id = m.id GROUP BY m.id ORDER BY i.name, m.segment",
        )
        assert slots == [
            (0, "a", 2, 2, "settled"),
            (1, "a", 2, 2, "contested"),
            (0, "b", 2, 1, "open"),
        ]
        _, task = run_query(store, "SELECT masks, redundancy, max_redundancy FROM task")
        assert task == [(3, 2, 2)]


def test_the_old_store_is_kept(old_store: Path, tmp_path: Path) -> None:
    """The copy is the store as it was, whole; a copy that exists is never written over."""
    before = dump(old_store)
    Store.upgrade(old_store, copy=tmp_path / "kept.db")
    assert dump(tmp_path / "kept.db") == before
    with pytest.raises(StoreVersionError, match="made by an older version"):
        Store.open(tmp_path / "kept.db")
    with pytest.raises(StoreError, match="already exists"):
        Store.upgrade(tmp_path / "kept.db", copy=old_store)


def test_a_failed_upgrade_leaves_the_old_store(
    old_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upgrade that stops half-way changes nothing; run again it succeeds."""

    def stop(*_: object, **__: object) -> None:
        raise RuntimeError("stopped")

    before = dump(old_store)
    with monkeypatch.context() as patched:
        patched.setattr("mseg_curate.store.migrate.settle_tasks", stop)
        with pytest.raises(RuntimeError, match="stopped"):
            Store.upgrade(old_store, copy=tmp_path / "kept.db")
    assert dump(old_store) == before
    assert Store.upgrade(old_store, copy=tmp_path / "kept2.db")


def test_an_up_to_date_store_is_left_alone(old_store: Path, tmp_path: Path) -> None:
    """A second upgrade says that there is nothing to do and makes no copy."""
    Store.upgrade(old_store, copy=tmp_path / "kept.db")
    assert not Store.upgrade(old_store, copy=tmp_path / "again.db")
    assert not (tmp_path / "again.db").exists()


def test_upgrade_command(old_store: Path, call_cli: Callable[..., object], tmp_path: Path) -> None:
    """`upgrade` names the copy; other commands name `upgrade` before it was run."""
    refused = call_cli("task", "list", "--db", old_store)
    assert (refused.code, "mseg-curate upgrade" in refused.message) == (1, True)  # type: ignore[attr-defined]
    done = call_cli("upgrade", "--db", old_store)
    assert done.code == 0  # type: ignore[attr-defined]
    assert f"{old_store}.old" in done.out  # type: ignore[attr-defined]
    assert "up to date already" in call_cli("upgrade", "--db", old_store).out  # type: ignore[attr-defined]


def test_the_grids_of_schema_2_are_kept(tmp_path: Path) -> None:
    """A mask of a store without expected classes is in the grid of its suggestion, else in that of the default."""
    path = make_store(tmp_path, 4, TaskOptions(redundancy=2))
    with Store.open(path) as store, store.writing() as connection:
        store_suggestions(connection, 1, rows=[(2, 3, 0.5), (4, 1, None)], source="m")
        for statement in (
            "DROP TABLE chore",
            "DROP INDEX ix_task_slot_expected",
            "DROP INDEX ix_lease_seated",
            "ALTER TABLE task_mask DROP COLUMN expected_id",
            "ALTER TABLE task_slot DROP COLUMN expected_id",
            "UPDATE alembic_version SET version_num = '0002'",
            "PRAGMA user_version = 2",
        ):
            connection.exec_driver_sql(statement)
    assert Store.upgrade(path, copy=tmp_path / "kept.db")
    with Store.open(path) as store:
        for table, times in (("task_mask", 1), ("task_slot", 2)):
            _, rows = run_query(store, f"SELECT mask_id, expected_id FROM {table} ORDER BY mask_id")
            assert rows == [pair for pair in ((1, 1), (2, 3), (3, 1), (4, 1)) for _ in range(times)]
        with store.reading() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, metadata) == []
