"""Bring a store to the schema of this version, by Alembic's migrations."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine

from mseg_curate.errors import StoreError
from mseg_curate.store.schema import APPLICATION_ID, SCHEMA_VERSION
from mseg_curate.store.settle import settle_tasks
from mseg_curate.store.views import VIEWS

__all__ = ["upgrade"]


def upgrade(engine: Engine) -> None:
    """Run the migrations that are missing, make the views anew and stamp the version, in one transaction."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.connect() as connection, _without_foreign_keys(connection), connection.begin():
        for name in VIEWS:
            connection.exec_driver_sql(f"DROP VIEW IF EXISTS {name}")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
        if broken is not None:
            raise StoreError(
                f"a row of table {broken[0]} points at a row of {broken[2]} that is not there"
            )
        settle_tasks(connection, now=time.time())
        for name, select in VIEWS.items():
            connection.exec_driver_sql(f"CREATE VIEW {name} AS {select}")
        connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")


@contextmanager
def _without_foreign_keys(connection: Connection) -> Iterator[None]:
    """A migration makes a table anew and drops the old one; SQLite heeds this pragma outside transactions only."""
    driver = connection.connection.dbapi_connection
    if driver is None:
        raise StoreError("the store was closed while it was upgraded")
    driver.cursor().execute("PRAGMA foreign_keys = OFF")
    try:
        yield
    finally:
        driver.cursor().execute("PRAGMA foreign_keys = ON")
