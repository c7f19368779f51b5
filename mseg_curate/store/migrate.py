"""Bring a store to the schema of this version, by Alembic's migrations."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine

from mseg_curate.store.schema import APPLICATION_ID, SCHEMA_VERSION
from mseg_curate.store.views import VIEWS

__all__ = ["upgrade"]


def upgrade(engine: Engine) -> None:
    """Run the migrations that are missing, make the views anew and stamp the version, in one transaction."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:
        for name in VIEWS:
            connection.exec_driver_sql(f"DROP VIEW IF EXISTS {name}")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        for name, select in VIEWS.items():
            connection.exec_driver_sql(f"CREATE VIEW {name} AS {select}")
        connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")
