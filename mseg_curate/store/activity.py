"""What an annotator did: the last decisions, how many, and how fast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row

from mseg_curate.store.standing import stands

__all__ = [
    "DecisionRow",
    "count_decisions",
    "decision_of_uuid",
    "last_event",
    "pace_per_hour",
    "recent_of",
    "standing_decision",
    "votes_on_mask",
]

# Longer than this between two decisions is a break, not work.
BREAK_S = 60
_PACE_OVER = 100

_STANDS = stands("d")


@dataclass(frozen=True)
class DecisionRow:
    """One stored decision; `stands` says that no later one supersedes it."""

    id: int
    uuid: bytes
    mask_id: int
    task_id: int | None
    outcome: str
    label_class_id: int | None
    class_name: str
    annotator_id: int
    mode: str
    decided_at: str | None
    stands: bool


_DECISION = f"""
SELECT d.id, d.uuid, d.mask_id, d.task_id, d.outcome, d.label_class_id, COALESCE(u.name, ''), d.annotator_id, d.mode,
       d.decided_at, {_STANDS}
FROM decision AS d LEFT JOIN label_class AS u ON u.id = d.label_class_id
"""


def decision_of_uuid(connection: Connection, uuid: bytes) -> DecisionRow | None:
    """Return the decision of a UUID, or None."""
    row = connection.exec_driver_sql(f"{_DECISION} WHERE d.uuid = ?", (uuid,)).first()
    return None if row is None else _row(row)


def standing_decision(
    connection: Connection, mask_id: int, *, annotator_id: int
) -> DecisionRow | None:
    """Return the last word of an annotator on a mask, which may be a withdrawal."""
    row = connection.exec_driver_sql(
        f"{_DECISION} WHERE d.mask_id = ? AND d.annotator_id = ? AND {_STANDS} ORDER BY d.id DESC LIMIT 1",
        (mask_id, annotator_id),
    ).first()
    return None if row is None else _row(row)


def recent_of(
    connection: Connection, annotator_id: int, task_id: int, *, limit: int
) -> list[DecisionRow]:
    """Return the newest standing decisions of an annotator in a task, the newest first; no answers of gold."""
    rows = connection.exec_driver_sql(
        f"{_DECISION} WHERE d.annotator_id = ? AND d.task_id = ? AND d.outcome <> 'withdrawn' AND {_STANDS} "
        "AND d.id NOT IN (SELECT decision_id FROM gold) ORDER BY d.id DESC LIMIT ?",
        (annotator_id, task_id, limit),
    )
    return [_row(row) for row in rows]


def _row(row: Row[tuple[Any, ...]]) -> DecisionRow:
    values: Sequence[Any] = row
    return DecisionRow(*values)


def count_decisions(
    connection: Connection, annotator_id: int, task_id: int, *, since: str = ""
) -> int:
    """Return how many decisions of an annotator in a task stand, of those made at `since` (ISO time) or later."""
    return int(
        connection.exec_driver_sql(
            f"SELECT COUNT(*) FROM decision AS d WHERE d.annotator_id = ? AND d.task_id = ? "
            f"AND d.outcome <> 'withdrawn' AND COALESCE(d.decided_at, '') >= ? AND {_STANDS}",
            (annotator_id, task_id, since),
        ).scalar_one()
    )


def pace_per_hour(connection: Connection, annotator_id: int, task_id: int) -> float | None:
    """Return an annotator's decisions per hour of work over their last 100; None before there are two.

    Gaps of more than a minute are breaks and count for nothing.
    """
    row = connection.exec_driver_sql(
        "SELECT SUM(gap), COUNT(*) FROM (SELECT (julianday(at) - julianday(LAG(at) OVER (ORDER BY id))) * 86400 AS gap "
        "FROM (SELECT id, decided_at AS at FROM decision WHERE annotator_id = ? AND task_id = ? "
        "AND outcome <> 'withdrawn' AND decided_at IS NOT NULL ORDER BY id DESC LIMIT ?)) "
        "WHERE gap IS NOT NULL AND gap <= ?",
        (annotator_id, task_id, _PACE_OVER, BREAK_S),
    ).one()
    worked_s, decisions = row[0] or 0.0, int(row[1])
    return 3600 * decisions / worked_s if worked_s > 0 else None


def last_event(connection: Connection, annotator_id: int, task_id: int) -> tuple[str, str] | None:
    """Return (kind, note) of the last warning, pause or resumption of an annotator that concerns a task, or None."""
    row = connection.exec_driver_sql(
        "SELECT kind, note FROM annotator_event WHERE annotator_id = ? AND (task_id = ? OR task_id IS NULL) "
        "AND kind IN ('warned', 'paused', 'resumed') ORDER BY id DESC LIMIT 1",
        (annotator_id, task_id),
    ).first()
    return None if row is None else (str(row[0]), str(row[1]))


def votes_on_mask(connection: Connection, mask_id: int) -> list[tuple[str, str, str, str]]:
    """Return (annotator, outcome, class or '', mode) of the votes that stand on a mask, the oldest first."""
    rows = connection.exec_driver_sql(
        "SELECT a.name, d.outcome, COALESCE(u.name, ''), d.mode FROM decision AS d "
        "JOIN annotator AS a ON a.id = d.annotator_id LEFT JOIN label_class AS u ON u.id = d.label_class_id "
        f"WHERE d.mask_id = ? AND d.outcome <> 'withdrawn' AND d.mode <> 'adjudication' AND {_STANDS} ORDER BY d.id",
        (mask_id,),
    )
    return [(name, outcome, label, mode) for name, outcome, label, mode in rows]
