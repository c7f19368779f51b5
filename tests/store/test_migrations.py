"""The migrations: what they make is what the code describes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, inspect

from mseg_curate.store import Store
from mseg_curate.store.engine import run_query
from mseg_curate.store.migrate import upgrade
from mseg_curate.store.schema import metadata
from mseg_curate.store.views import VIEWS


@pytest.fixture
def empty_store(tmp_path: Path) -> Iterator[Store]:
    """A store without a row."""
    with Store.create(tmp_path / "empty.db", fill=lambda _: None) as store:
        yield store


def test_migrations_make_what_the_schema_says(empty_store: Store) -> None:
    """Alembic finds nothing to change in a migrated store: tables, columns, types, keys and indexes."""
    with empty_store.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_every_constraint_has_its_name(empty_store: Store) -> None:
    """Checks, unique and foreign keys are named in the file as in the code: batch mode drops unnamed ones."""
    with empty_store.reading() as connection:
        found = inspect(connection)
        for table in metadata.sorted_tables:
            checks = {check["name"] for check in found.get_check_constraints(table.name)}
            others = {
                constraint["name"]
                for constraint in (
                    *found.get_unique_constraints(table.name),
                    *found.get_foreign_keys(table.name),
                    found.get_pk_constraint(table.name),
                )
            }
            named = {constraint.name for constraint in table.constraints}
            described = {c.name for c in table.constraints if isinstance(c, CheckConstraint)}
            assert checks == described
            assert others == named - described
            assert all(named)


def test_checks_are_the_same_text(empty_store: Store) -> None:
    """Alembic does not compare checks, so this does."""
    with empty_store.reading() as connection:
        found = inspect(connection)
        for table in metadata.sorted_tables:
            stored = {c["name"]: c["sqltext"] for c in found.get_check_constraints(table.name)}
            described = {
                c.name: str(c.sqltext) for c in table.constraints if isinstance(c, CheckConstraint)
            }
            assert stored == described


def test_the_code_would_make_the_same_tables(empty_store: Store, tmp_path: Path) -> None:
    """Tables made from the schema directly have the columns, defaults and options of migrated ones."""
    with Store.create(tmp_path / "other.db", fill=lambda _: None) as other:
        with other.writing() as connection:
            for view in VIEWS:
                connection.exec_driver_sql(f"DROP VIEW {view}")
            metadata.drop_all(connection)
            metadata.create_all(connection)
        query = (
            'SELECT t.name, t.wr, c.name, c.type, c."notnull", c.dflt_value, c.pk FROM pragma_table_list AS t '
            "JOIN pragma_table_info(t.name) AS c WHERE t.type = 'table' AND t.schema = 'main' "
            "AND t.name NOT LIKE 'sqlite_%' AND t.name <> 'alembic_version' ORDER BY t.name, c.cid"
        )
        assert run_query(other, query) == run_query(empty_store, query)


def test_the_views_are_there_and_run(empty_store: Store) -> None:
    """Every view of the contract is in a new store, can be read, and there is no other."""
    _, rows = run_query(empty_store, "SELECT name FROM sqlite_master WHERE type = 'view'")
    assert {name for (name,) in rows} == set(VIEWS)
    for view in VIEWS:
        assert run_query(empty_store, f"SELECT * FROM {view}")[1] == []


def test_a_second_upgrade_changes_nothing(farm_store: Store) -> None:
    """Upgrading a store that is up to date keeps every row and object."""

    def dump() -> list[str]:
        with closing(sqlite3.connect(farm_store.path)) as connection:
            return list(connection.iterdump())

    before = dump()
    upgrade(farm_store._writer)
    assert dump() == before


def test_upgrade_renews_a_view(farm_store: Store) -> None:
    """A view of an earlier text gets that of the code."""
    with farm_store.writing() as connection:
        connection.exec_driver_sql("DROP VIEW v_run")
        connection.exec_driver_sql("CREATE VIEW v_run AS SELECT 1 AS old")
    upgrade(farm_store._writer)
    assert "old" not in run_query(farm_store, "SELECT * FROM v_run")[0]
