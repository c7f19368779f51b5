"""Rows of flags: what annotators remark on masks."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

__all__ = ["FlagRow", "add_flag", "close_flag", "list_flags", "open_flag"]


@dataclass(frozen=True)
class FlagRow:
    """A remark of an annotator on a mask; `closed_at` and `closed_by` are None while it is open."""

    id: int
    task: str
    dataset: str
    split: str
    sequence: str
    image: str
    image_id: int
    segment: int
    annotator: str
    comment: str
    created_at: str
    closed_at: str | None
    closed_by: str | None


def add_flag(
    connection: Connection,
    uuid: bytes,
    *,
    task_id: int,
    mask_id: int,
    annotator_id: int,
    comment: str,
    now: str,
) -> bool:
    """Store a remark once per UUID; returns whether it is new."""
    return (
        connection.exec_driver_sql(
            "INSERT OR IGNORE INTO flag (uuid, task_id, mask_id, annotator_id, comment, created_at) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (uuid, task_id, mask_id, annotator_id, comment, now),
        ).rowcount
        == 1
    )


def list_flags(
    connection: Connection, *, task_id: int | None = None, closed: bool = False
) -> list[FlagRow]:
    """Return the open flags, of one task or of all, the oldest first; the closed ones as well with `closed`."""
    rows = connection.exec_driver_sql(
        "SELECT f.id, t.name, d.name, i.split, i.sequence, i.name, i.id, m.segment, a.name, f.comment, "
        "f.created_at, f.closed_at, f.closed_by FROM flag AS f JOIN task AS t ON t.id = f.task_id "
        "JOIN mask AS m ON m.id = f.mask_id JOIN image AS i ON i.id = m.image_id "
        "JOIN dataset AS d ON d.id = i.dataset_id JOIN annotator AS a ON a.id = f.annotator_id "
        "WHERE (:task IS NULL OR f.task_id = :task) AND (:closed OR f.closed_at IS NULL) ORDER BY f.id",
        {"task": task_id, "closed": closed},
    )
    return [FlagRow(*row) for row in rows]


def close_flag(connection: Connection, flag_id: int, *, by: str, now: str) -> bool:
    """Close an open flag; returns False where there is none of this id."""
    return (
        connection.exec_driver_sql(
            "UPDATE flag SET closed_at = ?, closed_by = ? WHERE id = ? AND closed_at IS NULL",
            (now, by, flag_id),
        ).rowcount
        == 1
    )


def open_flag(connection: Connection, flag_id: int) -> bool:
    """Open a closed flag again; returns False where there is none of this id."""
    return (
        connection.exec_driver_sql(
            "UPDATE flag SET closed_at = NULL, closed_by = NULL WHERE id = ? AND closed_at IS NOT NULL",
            (flag_id,),
        ).rowcount
        == 1
    )
