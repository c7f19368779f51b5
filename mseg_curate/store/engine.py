"""Make, open and check a store: the SQLite recipe, the schema version, and the write transaction."""

from __future__ import annotations

import os
import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import uniform
from time import monotonic, sleep
from typing import Self

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from mseg_curate.errors import OutputError, StoreError, StoreVersionError
from mseg_curate.store.schema import APPLICATION_ID, SCHEMA_VERSION

__all__ = ["Store", "run_query"]

_BUSY_TIMEOUT_MS = 30_000
_NETWORK_FILE_SYSTEMS = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "fuse.sshfs"}
_INIT_HINT = "make one with `mseg-curate init`"
_DISK_FAILS = ("SQLITE_FULL", "SQLITE_IOERR")


class Store:
    """One SQLite file: `reading()` and `writing()` give connections.

    Writers take the lock when they begin, so that two of them wait instead of failing half-way; readers open
    the file read-only.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer = _sqlite_engine(path, read_only=False)
        self._reader = _sqlite_engine(path, read_only=True)

    @classmethod
    def create(cls, path: Path, *, fill: Callable[[Connection], None]) -> Self:
        """Make a new store; `fill` writes its first rows. There is a whole store in the end, or none.

        Raises StoreError if the path is taken, not a file path, or on a network disk.
        """
        _refuse_url(path)
        if path.exists():
            raise StoreError(f"{path}: already exists; use it as it is, or choose another --db")
        if not path.parent.is_dir():
            raise StoreError(f"{path}: the folder {path.parent} does not exist; make it first")
        _refuse_network_disk(path.parent)
        # Alembic is slow to import and needed for making and upgrading only.
        from mseg_curate.store.migrate import upgrade  # noqa: PLC0415

        try:
            # A name of its own: two that make the same store at once must not share a half-made file.
            handle, name = tempfile.mkstemp(
                dir=path.parent, prefix=f".{path.name}.", suffix=".part"
            )
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror})") from error
        os.close(handle)
        part = Path(name)
        try:
            store = cls(part)
            try:
                with store._errors():
                    upgrade(store._writer)
                with store.writing() as connection:
                    fill(connection)
                with closing(sqlite3.connect(part)) as connection:
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                store.close()
            part.chmod(0o644)
            _put_new(part, path)
        except sqlite3.Error as error:
            raise _store_error(path, error) from error
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror})") from error
        finally:
            _unlink_database(part)
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a store that exists.

        Raises StoreError if there is none, StoreVersionError if the file is no store of ours or of another
        schema version.
        """
        _refuse_url(path)
        if not path.exists():
            raise StoreError(f"{path}: no store there; {_INIT_HINT}, or name another with --db")
        _check_version(path)
        return cls(path)

    @classmethod
    def upgrade(cls, path: Path, *, copy: Path) -> bool:
        """Bring a store of an older version to this one; returns False where nothing had to be done.

        A copy of what was there is written to `copy` first. The upgrade is one transaction: whoever stops it finds the
        old store. Raises StoreError if the copy exists, StoreVersionError for what is no store of ours, or of a newer
        version.
        """
        _refuse_url(path)
        if not path.exists():
            raise StoreError(f"{path}: no store there; {_INIT_HINT}, or name another with --db")
        if _read_version(path) == SCHEMA_VERSION:
            return False
        if copy.exists():
            raise StoreError(f"{copy}: already exists; move it, or name another copy with --copy")
        from mseg_curate.store.migrate import upgrade  # noqa: PLC0415

        store = cls(path)
        is_done = False
        try:
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("VACUUM INTO ?", (str(copy),))
            with store._errors():
                upgrade(store._writer)
            is_done = True
        except sqlite3.Error as error:
            raise _store_error(path, error) from error
        finally:
            store.close()
            if not is_done:
                # The store is what it was; a copy, perhaps half of one, would only be in the way of another try.
                copy.unlink(missing_ok=True)
        return True

    def close(self) -> None:
        """Close all connections."""
        # The writer last: SQLite tidies the write-ahead log away when a connection that may write is the last.
        self._reader.dispose()
        self._writer.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One write transaction: all of it is committed at the end, or none on an error."""
        with self._errors(), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A read-only connection that sees one state of the store."""
        with self._errors(), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise _store_error(self.path, error.orig or error) from error
        except sqlite3.OperationalError as error:
            # From taking the write lock, which goes past SQLAlchemy.
            raise _store_error(self.path, error) from error
        except sqlite3.Warning as error:
            # Python 3.11 raises it, past SQLAlchemy, where one statement is expected and several come.
            raise StoreError(f"{self.path}: {error}") from error


def _sqlite_engine(path: Path, *, read_only: bool) -> Engine:
    def connect() -> sqlite3.Connection:
        mode = "?mode=ro" if read_only else "?mode=rwc"
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}{mode}",
            uri=True,
            timeout=_BUSY_TIMEOUT_MS / 1000,
            isolation_level=None,
            check_same_thread=False,  # the pool lends a connection to one thread at a time
        )
        for pragma in (
            "foreign_keys = ON",
            f"busy_timeout = {_BUSY_TIMEOUT_MS}",
            # A server holds many readers, each with a cache of its own.
            f"cache_size = {-16_384 if read_only else -65_536}",
        ):
            connection.execute(f"PRAGMA {pragma}")
        if read_only:
            # ATTACH would make a file that does not exist.
            connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        else:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
        return connection

    # As many as a server has threads: one that waits for a connection would be an annotator who waits.
    engine = create_engine(
        "sqlite://", creator=connect, poolclass=QueuePool, pool_size=8, max_overflow=40
    )

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if read_only:
            connection.exec_driver_sql("BEGIN")
        else:
            _begin_writing(connection)

    return engine


def _begin_writing(connection: Connection) -> None:
    """Take the write lock, asking anew every few milliseconds.

    SQLite itself asks at growing distances, up to a tenth of a second: who waits longest asks least often. With sixteen
    writers one of them waited for more than thirty seconds.
    """
    until = monotonic() + _BUSY_TIMEOUT_MS / 1000
    cursor = connection.connection.cursor()
    cursor.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                cursor.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                is_busy = getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY")
                if not is_busy or monotonic() > until:
                    raise
            sleep(uniform(0.001, 0.005))
    finally:
        cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
        cursor.close()


def _check_version(path: Path) -> None:
    version = _read_version(path)
    if version < SCHEMA_VERSION:
        raise StoreVersionError(
            f"{path}: made by an older version: expected schema {SCHEMA_VERSION}, found {version}; "
            "bring it up to date with `mseg-curate upgrade`"
        )


def _read_version(path: Path) -> int:
    """Return the schema version of a store; raises StoreVersionError for what is none of ours, or newer."""
    if path.is_dir():
        raise StoreVersionError(f"{path}: not a store (a folder); {_INIT_HINT}")
    try:
        with closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        ) as connection:
            application = connection.execute("PRAGMA application_id").fetchone()[0]
            version = connection.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorname", "").startswith(
            ("SQLITE_CANTOPEN", "SQLITE_READONLY")
        ):
            raise StoreError(
                f"{path}: cannot be opened ({error}); SQLite needs to write into the folder of a store, "
                "even to read it"
            ) from error
        if getattr(error, "sqlite_errorname", "").startswith(_DISK_FAILS):
            raise _store_error(path, error) from error
        raise StoreVersionError(f"{path}: not a store ({error}); {_INIT_HINT}") from error
    if application != APPLICATION_ID:
        raise StoreVersionError(
            f"{path}: not a store of mseg-curate: expected application id {APPLICATION_ID:#x}, "
            f"found {application:#x}; {_INIT_HINT}"
        )
    if version > SCHEMA_VERSION:
        raise StoreVersionError(
            f"{path}: made by a newer version: expected schema {SCHEMA_VERSION}, found {version}; "
            "install a newer mseg-curate"
        )
    return int(version)


def _store_error(path: Path, error: BaseException) -> StoreError | OutputError:
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(_DISK_FAILS):
        return OutputError(
            f"{path}: no space left on the disk, or the disk fails ({name}); nothing of this command was "
            "stored; free some space, then run it again"
        )
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return StoreError(f"{path}: cannot be written or opened ({error}); check its permissions")
    if name.startswith("SQLITE_BUSY"):
        return StoreError(
            f"{path}: another program holds the write lock; run the command again later"
        )
    if name in ("SQLITE_CORRUPT", "SQLITE_NOTADB"):
        return StoreVersionError(f"{path}: damaged ({error}); restore a copy")
    return StoreError(f"{path}: {error}")


def _put_new(part: Path, path: Path) -> None:
    """Give a finished store its name, never over another one that was made meanwhile."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise StoreError(f"{path}: another program made it meanwhile; use it as it is") from None
    except OSError:
        # A file system without hard links.
        if path.exists():
            raise StoreError(f"{path}: already exists; use it as it is") from None
        part.replace(path)


def _refuse_url(path: Path) -> None:
    if path.parts and path.parts[0].endswith(":"):
        raise StoreError(
            f"{path}: this version keeps its store in an SQLite file; expected a file path"
        )


def _refuse_network_disk(folder: Path) -> None:
    """SQLite's write-ahead log does not work on a network file system."""
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return
    best, kind = "", ""
    target = str(folder.resolve())
    for line in mounts.read_text(errors="replace").splitlines():
        fields = line.split()
        point = fields[1].rstrip("/")
        if (target + "/").startswith(point + "/") and len(point) >= len(best):
            best, kind = point, fields[2]
    if kind in _NETWORK_FILE_SYSTEMS:
        raise StoreError(
            f"{folder} is on a network disk ({kind}), where SQLite is not safe; choose a local one"
        )


def _unlink_database(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def run_query(store: Store, sql: str) -> tuple[list[str], list[tuple[object, ...]]]:
    """Run one SQL statement on a read-only connection; returns the column names and the rows.

    Raises StoreError for a statement that cannot be run; of an unknown view or column it says which ones there are.
    """
    try:
        with store.reading() as connection:
            result = connection.exec_driver_sql(sql)
            if not result.returns_rows:
                raise StoreError("the statement returns no rows; expected a SELECT")
            return list(result.keys()), [tuple(row) for row in result]
    except StoreError as error:
        if "no such table" in str(error) or "no such column" in str(error):
            raise StoreError(f"{error}; {_name_what_there_is(store, sql)}") from error
        raise


def _name_what_there_is(store: Store, sql: str) -> str:
    """Return the columns of the views that a statement names, or all views where it names none."""
    with store.reading() as connection:
        names = connection.exec_driver_sql(
            "SELECT name FROM sqlite_master WHERE type = 'view' ORDER BY name"
        )
        views = [str(name) for (name,) in names]
        named = [view for view in views if re.search(rf"\b{view}\b", sql)]
        columns = {
            view: connection.exec_driver_sql("SELECT name FROM pragma_table_info(?)", (view,))
            for view in named
        }
        said = [
            f"{view} has {', '.join(str(n) for (n,) in rows)}" for view, rows in columns.items()
        ]
    return "; ".join(said) or f"the views are {', '.join(views)}"
