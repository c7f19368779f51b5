"""Rows of annotators: who they are, what they may do, what they did, and what befell them."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from mseg_curate.store.standing import stands

__all__ = [
    "EventRow",
    "PersonRow",
    "WorkRow",
    "add_person",
    "agreement_of_people",
    "find_annotator",
    "find_login",
    "has_role",
    "latest_events",
    "list_annotators",
    "load_person",
    "note_event",
    "set_login",
    "set_role",
    "set_status",
    "work_of_people",
]

_PERSON = "id, name, kind, role, status"

LONGEST_S = 60
"""A decision that took longer counts so many seconds: the annotator was away."""

# The seconds of each decision that was timed.
TIMED = f"""
SELECT d.task_id AS task_id, d.annotator_id AS annotator_id,
       MIN({LONGEST_S}.0, d.milliseconds / 1000.0) AS seconds
FROM decision AS d WHERE d.milliseconds IS NOT NULL AND d.outcome <> 'withdrawn'
"""


@dataclass(frozen=True)
class PersonRow:
    """An annotator; `role` is annotator, curator or admin, `status` active or paused."""

    id: int
    name: str
    kind: str
    role: str
    status: str


@dataclass(frozen=True)
class WorkRow:
    """What an annotator did: standing decisions, those of them made in a grid, and the time the timed ones took.

    `seconds` is the sum over the `timed` decisions, each counted as a minute at most; `median_s` is None where
    none was timed.
    """

    decisions: int = 0
    in_grid: int = 0
    last_at: str | None = None
    timed: int = 0
    seconds: float = 0.0
    median_s: float | None = None


@dataclass(frozen=True)
class EventRow:
    """Something that befell an annotator: joined, role, warned, paused, resumed or reopened."""

    kind: str
    by: str
    note: str
    at: str


def load_person(connection: Connection, annotator_id: int) -> PersonRow | None:
    """Return an annotator by the row id."""
    row = connection.exec_driver_sql(
        f"SELECT {_PERSON} FROM annotator WHERE id = ?", (annotator_id,)
    ).first()
    return None if row is None else PersonRow(*row)


def find_annotator(connection: Connection, name: str) -> PersonRow | None:
    """Return an annotator of any kind by the name."""
    row = connection.exec_driver_sql(
        f"SELECT {_PERSON} FROM annotator WHERE name = ?", (name,)
    ).first()
    return None if row is None else PersonRow(*row)


def find_login(connection: Connection, login: str) -> PersonRow | None:
    """Return an annotator by the identity that a sign-in service knows them by."""
    row = connection.exec_driver_sql(
        f"SELECT {_PERSON} FROM annotator WHERE login = ?", (login,)
    ).first()
    return None if row is None else PersonRow(*row)


def list_annotators(connection: Connection) -> list[PersonRow]:
    """Return all annotators in the order of their names."""
    rows = connection.exec_driver_sql(f"SELECT {_PERSON} FROM annotator ORDER BY name, id")
    return [PersonRow(*row) for row in rows]


def add_person(connection: Connection, name: str, *, login: str | None, now: str) -> PersonRow:
    """Store a person, an active annotator."""
    row = connection.exec_driver_sql(
        "INSERT INTO annotator (name, kind, created_at, login) VALUES (?, 'person', ?, ?) "
        f"RETURNING {_PERSON}",
        (name, now, login),
    ).one()
    return PersonRow(*row)


def has_role(connection: Connection, role: str) -> bool:
    """Say whether any person has a role."""
    row = connection.exec_driver_sql(
        "SELECT 1 FROM annotator WHERE role = ? AND kind = 'person' LIMIT 1", (role,)
    ).first()
    return row is not None


def set_role(connection: Connection, annotator_id: int, role: str) -> None:
    """Make an annotator an annotator, a curator or an admin."""
    connection.exec_driver_sql("UPDATE annotator SET role = ? WHERE id = ?", (role, annotator_id))


def set_login(connection: Connection, annotator_id: int, login: str) -> None:
    """Set the identity that a sign-in service knows an annotator by."""
    connection.exec_driver_sql("UPDATE annotator SET login = ? WHERE id = ?", (login, annotator_id))


def set_status(connection: Connection, annotator_id: int, status: str) -> None:
    """Set an annotator active or paused."""
    connection.exec_driver_sql(
        "UPDATE annotator SET status = ? WHERE id = ?", (status, annotator_id)
    )


def note_event(
    connection: Connection,
    annotator_id: int,
    *,
    kind: str,
    by: str,
    note: str,
    now: str,
    task_id: int | None = None,
) -> None:
    """Append what befell an annotator: joined, role, warned, paused, resumed or reopened."""
    connection.exec_driver_sql(
        "INSERT INTO annotator_event (annotator_id, task_id, kind, by, note, at) VALUES (?, ?, ?, ?, ?, ?)",
        (annotator_id, task_id, kind, by, note, now),
    )


def latest_events(connection: Connection) -> dict[int, EventRow]:
    """Return the newest event of each annotator who has one."""
    rows = connection.exec_driver_sql(
        "SELECT annotator_id, kind, by, note, at FROM annotator_event "
        "WHERE id IN (SELECT MAX(id) FROM annotator_event GROUP BY annotator_id)"
    )
    return {row[0]: EventRow(*row[1:]) for row in rows}


def work_of_people(connection: Connection, task_id: int | None = None) -> dict[int, WorkRow]:
    """Return what each annotator did, in one task or in all."""
    counted = connection.exec_driver_sql(
        "SELECT annotator_id, COUNT(*), SUM(mode = 'grid'), MAX(decided_at) FROM decision AS d "
        "WHERE outcome <> 'withdrawn' AND (:task IS NULL OR task_id = :task) "
        f"AND {stands('d')} "
        "GROUP BY annotator_id",
        {"task": task_id},
    ).all()
    timed = connection.exec_driver_sql(
        "SELECT annotator_id, MAX(n), SUM(seconds), "
        "AVG(CASE WHEN place IN ((n + 1) / 2, (n + 2) / 2) THEN seconds END) FROM ("
        "SELECT annotator_id, seconds, COUNT(*) OVER (PARTITION BY annotator_id) AS n, "
        "ROW_NUMBER() OVER (PARTITION BY annotator_id ORDER BY seconds) AS place "
        f"FROM ({TIMED}) WHERE :task IS NULL OR task_id = :task) GROUP BY annotator_id",
        {"task": task_id},
    )
    times = {row[0]: (int(row[1]), float(row[2]), float(row[3])) for row in timed}
    counts = {row[0]: (int(row[1]), int(row[2]), row[3]) for row in counted}
    return {
        by: WorkRow(*counts.get(by, (0, 0, None)), *times.get(by, (0, 0.0, None)))
        for by in counts.keys() | times.keys()
    }


def agreement_of_people(connection: Connection) -> dict[int, tuple[int, int]]:
    """Return, by annotator, on how many votes of others on the same masks they agree, and how many there are.

    Votes are standing decisions, but for adjudications.
    """
    rows = connection.exec_driver_sql(
        "SELECT annotator_id, SUM(same - 1), SUM(votes - 1) FROM ("
        "SELECT annotator_id, COUNT(*) OVER (PARTITION BY mask_id) AS votes, "
        "COUNT(*) OVER (PARTITION BY mask_id, outcome, label_class_id) AS same FROM decision AS d "
        "WHERE outcome <> 'withdrawn' AND mode <> 'adjudication' "
        f"AND {stands('d')}) "
        "GROUP BY annotator_id"
    )
    return {row[0]: (int(row[1]), int(row[2])) for row in rows}
