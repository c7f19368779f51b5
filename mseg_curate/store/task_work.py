"""How long the decisions of tasks took, and who made them."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection

from mseg_curate.store.annotators import TIMED, WorkRow
from mseg_curate.store.standing import stands

__all__ = ["TaskTime", "time_of_task", "times_of_tasks", "work_in_tasks"]

TaskTime = tuple[int, float, float | None]
"""How many decisions were timed, their seconds in all, and their median (None for no decision)."""


def time_of_task(connection: Connection, task_id: int) -> TaskTime:
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


def times_of_tasks(connection: Connection) -> dict[int, TaskTime]:
    """Return what `time_of_task` says of each task with a timed decision, in one pass over the decisions."""
    return {task: times for (task,), times in _times(connection, "task_id").items()}


def work_in_tasks(connection: Connection) -> Mapping[int, Mapping[int, WorkRow]]:
    """Return what each annotator did in each task, in two passes over the decisions: of tasks somebody worked on."""
    counted = connection.exec_driver_sql(
        "SELECT task_id, annotator_id, COUNT(*), SUM(mode = 'grid'), MAX(decided_at) FROM decision AS d "
        f"WHERE outcome <> 'withdrawn' AND task_id IS NOT NULL AND {stands('d')} "
        "GROUP BY task_id, annotator_id"
    )
    counts = {(row[0], row[1]): (int(row[2]), int(row[3]), row[4]) for row in counted}
    times = {
        (key[0], key[1]): row for key, row in _times(connection, "task_id, annotator_id").items()
    }
    found: dict[int, dict[int, WorkRow]] = {}
    for task, by in counts.keys() | times.keys():
        work = WorkRow(
            *counts.get((task, by), (0, 0, None)), *times.get((task, by), (0, 0.0, None))
        )
        found.setdefault(task, {})[by] = work
    return found


def _times(connection: Connection, of: str) -> dict[tuple[int, ...], TaskTime]:
    """Return number, sum and median of the seconds of timed decisions, by the columns `of`."""
    rows = connection.exec_driver_sql(
        f"SELECT {of}, MAX(n), SUM(seconds), "
        "AVG(CASE WHEN place IN ((n + 1) / 2, (n + 2) / 2) THEN seconds END) FROM ("
        f"SELECT {of}, seconds, COUNT(*) OVER (PARTITION BY {of}) AS n, "
        f"ROW_NUMBER() OVER (PARTITION BY {of} ORDER BY seconds) AS place "
        f"FROM ({TIMED} AND d.task_id IS NOT NULL)) GROUP BY {of}"
    )
    return {tuple(row[:-3]): (int(row[-3]), float(row[-2]), float(row[-1])) for row in rows}
