"""An upgrade that fails can be run again as it was."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mseg_curate.errors import OutputError
from mseg_curate.store import Store

DUMP = Path(__file__).parents[1] / "store" / "store_of_schema_1.sql"


@pytest.fixture
def old_store(tmp_path: Path) -> Path:
    """A store that schema 1 made."""
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(DUMP.read_text(encoding="utf-8"))
    return path


def test_a_failed_upgrade_leaves_no_copy_in_its_way(
    old_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says `run it again`, so the same command succeeds once the disk has room."""

    def fill_disk(*_: object, **__: object) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorname = "SQLITE_FULL"
        raise error

    copy = tmp_path / "kept.db"
    with monkeypatch.context() as patched:
        patched.setattr("mseg_curate.store.migrate.settle_tasks", fill_disk)
        with pytest.raises(OutputError, match="free some space, then run it again"):
            Store.upgrade(old_store, copy=copy)
    assert not copy.exists()
    assert Store.upgrade(old_store, copy=copy)
    assert copy.exists()


def test_a_failing_disk_is_no_foreign_file(
    old_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who cannot read a store for want of space is not advised to make another in its place."""

    def fail(*_: object, **__: object) -> sqlite3.Connection:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorname = "SQLITE_IOERR_SHMSIZE"
        raise error

    with monkeypatch.context() as patched:
        patched.setattr("mseg_curate.store.engine.sqlite3.connect", fail)
        with pytest.raises(OutputError, match="no space left on the disk, or the disk fails"):
            Store.open(old_store)
