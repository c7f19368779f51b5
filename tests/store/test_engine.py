"""The engine: pragmas, locks, refusals, and that a store is whole or not there."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import mseg_curate
from mseg_curate.errors import OutputError, StoreError, StoreVersionError, TaxonomyError
from mseg_curate.initialise import create_store
from mseg_curate.store import Connection, Store
from mseg_curate.store.decisions import verify_chain
from mseg_curate.store.engine import run_query
from mseg_curate.store.schema import APPLICATION_ID, SCHEMA_VERSION
from mseg_curate.store.taxonomies import save_taxonomy

NOW = "2026-01-02T03:04:05+00:00"
ROOT = Path(mseg_curate.__file__).parents[1]

# Eight processes append 200 decisions each on mask 1, a transaction each, as annotators of their own.
APPEND = """
import multiprocessing, sys, uuid
from pathlib import Path
from mseg_curate.store import Store
from mseg_curate.store.decisions import annotator_id, append_decisions

def append(name):
    with Store.open(Path(sys.argv[1])) as store:
        for _ in range(200):
            with store.writing() as connection:
                by = annotator_id(connection, name, kind="person", now="2026")
                uid = uuid.uuid4().bytes
                row = (uid, 1, None, None, None, "unsure", None, by, "single", 7, None, None)
                append_decisions(connection, [row])

fork = multiprocessing.get_context("fork")
writers = [fork.Process(target=append, args=(f"annotator {i}",)) for i in range(8)]
for writer in writers:
    writer.start()
for writer in writers:
    writer.join()
sys.exit(max(abs(writer.exitcode) for writer in writers))
"""
# Inserts within a transaction, says so, and waits to be killed.
HANG = """
import sys, time
from pathlib import Path
from mseg_curate.store import Store
with Store.open(Path(sys.argv[1])) as store, store.writing() as connection:
    rows = [(f"person {i}", "person", "2026") for i in range(20000)]
    connection.exec_driver_sql("PRAGMA cache_size = 10")
    connection.exec_driver_sql(
        "INSERT INTO annotator (name, kind, created_at) VALUES (?, ?, ?)", rows
    )
    print("begun", flush=True)
    time.sleep(60)
"""


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a Python process that can import this checkout."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ask(connection: Connection, sql: str) -> object:
    """Return the only value of a query."""
    return connection.exec_driver_sql(sql).scalar_one()


def test_pragmas_are_on(small_store: Store) -> None:
    """Both connections check foreign keys and wait 30 s; the writer logs ahead and syncs every commit."""
    for connected in (small_store.writing, small_store.reading):
        with connected() as connection:
            assert ask(connection, "PRAGMA foreign_keys") == 1
            assert ask(connection, "PRAGMA busy_timeout") == 30_000
            assert ask(connection, "PRAGMA journal_mode") == "wal"
    with small_store.writing() as connection:
        assert ask(connection, "PRAGMA synchronous") == 2


def test_the_version_is_stamped(small_store: Store) -> None:
    """The file carries our application id and schema version."""
    with closing(sqlite3.connect(small_store.path)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)


def test_a_writer_takes_the_lock_when_it_begins(small_store: Store) -> None:
    """BEGIN IMMEDIATE: another writer is locked out before the first write, a reader is not."""
    with small_store.writing(), closing(sqlite3.connect(small_store.path, timeout=0)) as other:
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        with small_store.reading() as connection:
            assert ask(connection, "SELECT COUNT(*) FROM taxonomy") == 1


def test_a_lock_that_is_never_freed_is_an_error(
    small_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the timeout the message says that another program writes."""
    monkeypatch.setattr("mseg_curate.store.engine._BUSY_TIMEOUT_MS", 1)
    with closing(sqlite3.connect(small_store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with (
            pytest.raises(StoreError, match="another program holds the write lock"),
            small_store.writing(),
        ):
            pass


def write(store: Store, *statements: str) -> None:
    """Run statements in one write transaction."""
    with store.writing() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


ANNOTATOR = "INSERT INTO annotator (id, name, kind, created_at) VALUES (1, 'one', 'person', '2026')"


def test_foreign_keys_are_enforced(small_store: Store) -> None:
    """A row that points nowhere is refused, and its transaction leaves nothing."""
    image = "INSERT INTO image (dataset_id, split, sequence, name) VALUES (99, '', '', 'x')"
    with pytest.raises(StoreError, match="FOREIGN KEY constraint failed"):
        write(small_store, ANNOTATOR, image)
    assert run_query(small_store, "SELECT COUNT(*) FROM annotator")[1] == [(0,)]


def test_a_reader_cannot_write(small_store: Store) -> None:
    """The reading connection is read-only."""
    with (
        pytest.raises(StoreError, match="readonly database"),
        small_store.reading() as connection,
    ):
        connection.exec_driver_sql("DELETE FROM taxonomy_class")


def test_a_reader_sees_one_state(small_store: Store) -> None:
    """What is committed meanwhile does not appear in the middle of a reading."""
    count = "SELECT COUNT(*) FROM annotator"
    with small_store.reading() as reader:
        assert ask(reader, count) == 0
        with small_store.writing() as writer:
            writer.exec_driver_sql(ANNOTATOR)
        assert ask(reader, count) == 0
    assert run_query(small_store, count)[1] == [(1,)]


def test_an_exception_rolls_back(small_store: Store) -> None:
    """Any exception in a write transaction undoes all of it, and passes through unchanged."""

    def stop() -> None:
        with small_store.writing() as connection:
            connection.exec_driver_sql(ANNOTATOR)
            raise KeyError("stop")

    with pytest.raises(KeyError):
        stop()
    assert run_query(small_store, "SELECT COUNT(*) FROM annotator")[1] == [(0,)]


@pytest.mark.slow
def test_eight_writers_lose_nothing(farm_store: Store) -> None:
    """Eight processes append 200 decisions each: no error, all there, and the hash chain holds."""
    writers = start(APPEND, farm_store.path)
    _, errors = writers.communicate(timeout=120)
    assert writers.returncode == 0, errors
    _, rows = run_query(
        farm_store,
        "SELECT annotator, COUNT(*), COUNT(DISTINCT decision_id) FROM v_decision GROUP BY 1 ORDER BY 1",
    )
    assert rows == [(f"annotator {i}", 200, 200) for i in range(8)]
    with farm_store.reading() as connection:
        assert verify_chain(connection) == 1600


def test_a_killed_writer_leaves_the_old_state(small_store: Store) -> None:
    """SIGKILL between begin and commit loses the transaction alone: no lock stays, nothing is damaged."""
    writer = start(HANG, small_store.path)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "begun\n"
    os.kill(writer.pid, signal.SIGKILL)
    writer.communicate(timeout=30)
    with small_store.writing() as connection:
        assert ask(connection, "SELECT COUNT(*) FROM annotator") == 0
        assert ask(connection, "PRAGMA integrity_check") == "ok"
        connection.exec_driver_sql(ANNOTATOR)
    assert run_query(small_store, "SELECT COUNT(*) FROM annotator")[1] == [(1,)]


def test_a_full_disk_is_one_line_and_stores_nothing(small_store: Store) -> None:
    """SQLITE_FULL becomes an OutputError that says what to do; the transaction is gone."""
    with small_store.reading() as connection:
        pages = ask(connection, "PRAGMA page_count")
    fill = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 999) INSERT INTO "
        "annotator (name, kind, created_at) SELECT printf('%0999d', i), 'person', '2026' FROM n"
    )
    with pytest.raises(OutputError) as caught:
        write(small_store, f"PRAGMA max_page_count = {pages}", fill)
    assert str(caught.value) == (
        f"{small_store.path}: no space left on the disk, or the disk fails (SQLITE_FULL); nothing of "
        "this command was stored; free some space, then run it again"
    )
    assert run_query(small_store, "SELECT COUNT(*) FROM annotator")[1] == [(0,)]


def test_a_read_only_store_is_an_error(small_store: Store) -> None:
    """Where SQLite may not write, the message names the file and its permissions."""
    with pytest.raises(StoreError, match=r"store\.db: cannot be written or opened .* permissions"):
        write(small_store, "PRAGMA query_only = ON", "DELETE FROM taxonomy_class")


def make_other_database(path: Path) -> None:
    """Write an SQLite file of some other program."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes (text)")
        connection.commit()


def stamp(version: int) -> Callable[[Path], None]:
    """Return what writes an SQLite file of ours with a schema version."""

    def write(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {version}")

    return write


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (
            stamp(SCHEMA_VERSION + 1),
            StoreVersionError,
            f"made by a newer version: expected schema {SCHEMA_VERSION}, found "
            f"{SCHEMA_VERSION + 1}; install a newer mseg-curate",
        ),
        (
            stamp(SCHEMA_VERSION - 1),
            StoreVersionError,
            f"made by an older version: expected schema {SCHEMA_VERSION}, found "
            f"{SCHEMA_VERSION - 1}; bring it up to date with `mseg-curate upgrade`",
        ),
        (
            make_other_database,
            StoreVersionError,
            f"not a store of mseg-curate: expected application id {APPLICATION_ID:#x}, found 0x0; "
            "make one with `mseg-curate init`",
        ),
        (
            lambda path: path.write_text("id\tname\n" * 200),
            StoreVersionError,
            "not a store (file is not a database); make one with `mseg-curate init`",
        ),
        (
            Path.touch,
            StoreVersionError,
            f"not a store of mseg-curate: expected application id {APPLICATION_ID:#x}, found 0x0; "
            "make one with `mseg-curate init`",
        ),
        (
            Path.mkdir,
            StoreVersionError,
            "not a store (a folder); make one with `mseg-curate init`",
        ),
        (
            lambda _: None,
            StoreError,
            "no store there; make one with `mseg-curate init`, or name another with --db",
        ),
    ],
    ids=["newer", "older", "other database", "text", "empty file", "folder", "missing"],
)
def test_what_is_no_store_is_refused(
    make: Callable[[Path], object], kind: type[StoreError], message: str, tmp_path: Path
) -> None:
    """A file that is no store of this version is refused with one line, and left as it is."""
    path = tmp_path / "x.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(kind) as caught:
        Store.open(path)
    assert str(caught.value) == f"{path}: {message}"
    assert (path.read_bytes() if path.is_file() else None) == before


def test_the_folder_one_stands_in_is_no_store() -> None:
    """`.` has no path parts and is refused like any folder."""
    with pytest.raises(StoreVersionError, match="not a store"):
        Store.open(Path())


@pytest.mark.parametrize("act", [Store.open, lambda path: create_store(path, now=NOW)])
def test_a_url_is_refused(act: Callable[[Path], object]) -> None:
    """A database URL is not mistaken for a file."""
    with pytest.raises(StoreError, match="keeps its store in an SQLite file"):
        act(Path("postgresql://host/name"))


def test_a_damaged_store_is_an_error(small_store: Store) -> None:
    """A file that is damaged behind its first page is reported as damaged, with the remedy."""
    with closing(sqlite3.connect(small_store.path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = small_store.path.stat().st_size
    with small_store.path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    with pytest.raises(StoreVersionError, match=r"damaged .*; restore a copy"):
        run_query(small_store, "SELECT * FROM v_class_mapping")


def test_init_fails_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When filling a new store fails half-way nothing is there, and the next try succeeds."""

    def fail(connection: Connection, *arguments: object, **options: object) -> int:
        save_taxonomy(connection, *arguments, **options)  # type: ignore[arg-type]
        raise OutputError("stop")

    with monkeypatch.context() as patch:
        patch.setattr("mseg_curate.initialise.save_taxonomy", fail)
        with pytest.raises(OutputError, match="stop"):
            create_store(tmp_path / "s.db", now=NOW)
    assert list(tmp_path.iterdir()) == []
    create_store(tmp_path / "s.db", now=NOW)
    assert [path.name for path in tmp_path.iterdir()] == ["s.db"]


def test_init_is_not_hindered_by_a_killed_one(tmp_path: Path) -> None:
    """Part files of an earlier, killed init do not stand in the way, and none are added."""
    (tmp_path / ".s.db.1.part").write_text("half")
    create_store(tmp_path / "s.db", now=NOW)
    Store.open(tmp_path / "s.db").close()
    assert sorted(path.name for path in tmp_path.glob("*.part")) == [".s.db.1.part"]


def test_of_two_inits_at_once_one_wins(tmp_path: Path) -> None:
    """Several programs that make one store at once leave one whole store, and one of them alone says it did."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom mseg_curate.initialise import create_store\n"
        f"create_store(Path(sys.argv[1]), now={NOW!r})"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "s.db")]
    racers = [subprocess.Popen(words, stderr=subprocess.DEVNULL) for _ in range(3)]
    assert sorted(racer.wait(60) for racer in racers) == [0, 1, 1]
    with Store.open(tmp_path / "s.db") as store, store.reading() as connection:
        count = connection.exec_driver_sql("SELECT COUNT(*) FROM taxonomy_class").scalar_one()
    assert count == 194
    assert not list(tmp_path.glob("*.part"))


def test_init_never_overwrites(tmp_path: Path) -> None:
    """A path that is taken is refused and stays as it is, whatever lies there."""
    (tmp_path / "s.db").write_text("mine")
    with pytest.raises(StoreError, match="already exists"):
        create_store(tmp_path / "s.db", now=NOW)
    assert (tmp_path / "s.db").read_text() == "mine"


def test_init_needs_its_folder(tmp_path: Path) -> None:
    """A folder that is missing is named, not made."""
    with pytest.raises(StoreError, match=r"the folder .*none does not exist; make it first"):
        create_store(tmp_path / "none" / "s.db", now=NOW)
    assert list(tmp_path.iterdir()) == []


def test_init_checks_its_taxonomy_first(tmp_path: Path) -> None:
    """A faulty taxonomy leaves no store."""
    (tmp_path / "t.tsv").write_text("universal\ncat\ncat\n")
    with pytest.raises(TaxonomyError, match="duplicate universal class"):
        create_store(tmp_path / "s.db", taxonomy_path=tmp_path / "t.tsv", now=NOW)
    assert [path.name for path in tmp_path.iterdir()] == ["t.tsv"]


def test_a_network_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store on a network file system, where the write-ahead log is not safe, is refused."""
    real = Path.read_text
    mounts = f"disk / ext4 rw 0 0\nserver:/home {tmp_path} nfs4 rw 0 0\n"

    def read_text(path: Path, *arguments: str, **options: str) -> str:
        if path == Path("/proc/mounts"):
            return mounts
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, "exists", lambda path: str(path) == "/proc/mounts")
    monkeypatch.setattr(Path, "read_text", read_text)
    with pytest.raises(StoreError, match=r"is on a network disk \(nfs4\)"):
        Store.create(tmp_path / "s.db", fill=lambda _: None)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT nobody FROM v_run", "no such column: nobody; v_run has run_id, "),
        ("SELECT 1 FROM runs", "no such table: runs; the views are v_annotator, "),
        ("DELETE FROM run", "readonly database"),
        ("PRAGMA foreign_keys = OFF", "the statement returns no rows; expected a SELECT"),
        ("SELECT 1; SELECT 2", "one statement at a time"),
        ("", "the statement returns no rows"),
    ],
)
def test_a_query_is_one_select(small_store: Store, sql: str, message: str) -> None:
    """Anything but one SELECT that the store understands is a StoreError."""
    with pytest.raises(StoreError, match=message):
        run_query(small_store, sql)


def test_a_query_gives_names_and_rows(small_store: Store) -> None:
    """The columns come with their names, percent signs and colons as they stand."""
    assert run_query(small_store, "SELECT '100 %' AS \"a:b\", ':c' AS d") == (
        ["a:b", "d"],
        [("100 %", ":c")],
    )
