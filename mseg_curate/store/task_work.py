"""How long the decisions of a task took."""

from __future__ import annotations

from sqlalchemy import Connection

from mseg_curate.store.annotators import TIMED

__all__ = ["time_of_task"]


def time_of_task(connection: Connection, task_id: int) -> tuple[int, float, float | None]:
    """Return how many decisions of a task were timed, their seconds in all, and their median (None for no decision).

    A decision that took over a minute counts as one.
    """
    row = connection.exec_driver_sql(
        "SELECT COUNT(*), COALESCE(SUM(seconds), 0), "
        "AVG(CASE WHEN place IN ((n + 1) / 2, (n + 2) / 2) THEN seconds END) FROM ("
        "SELECT seconds, COUNT(*) OVER () AS n, ROW_NUMBER() OVER (ORDER BY seconds) AS place "
        f"FROM ({TIMED}) WHERE task_id = ?)",
        (task_id,),
    ).one()
    return int(row[0]), float(row[1]), None if row[2] is None else float(row[2])
