"""What all tables share: the metadata, the version, and how keys and checks are written."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, Integer, MetaData

__all__ = ["APPLICATION_ID", "SCHEMA_VERSION", "metadata", "one_of", "ref", "row_id"]

SCHEMA_VERSION = 3
APPLICATION_ID = 0x4D534743
"""`MSGC`: tells our SQLite files from others."""

# Alembic's batch mode drops constraints without a name.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def row_id() -> Column[int]:
    return Column("id", Integer, primary_key=True)


def ref(name: str, target: str, *, nullable: bool = False, key: bool = False) -> Column[int]:
    return Column(name, ForeignKey(f"{target}.id"), nullable=nullable, primary_key=key)


def one_of(column: str, *values: str) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)
