"""Decisions on their way between stores: all of them with what an analyst needs, and how they hang together."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

from sqlalchemy import Connection

__all__ = [
    "OutgoingDecision",
    "candidates_of_questions",
    "decisions_by_uuid",
    "outgoing_decisions",
    "superseded_decisions",
]


class OutgoingDecision(NamedTuple):
    """A stored decision by names; `supersedes` is the other's UUID, `gold` the kind where it answers active gold.

    Redundancies and policy are those of the task that asks about the mask, of several the newest.
    """

    id: int
    uuid: bytes
    dataset: str
    split: str
    sequence: str
    image: str
    segment: int
    source_class: str
    outcome: str
    annotator: str
    annotator_kind: str
    decided_at: str | None
    milliseconds: int | None
    mode: str
    task: str
    supersedes: bytes | None
    superseded: int
    gold: str
    gold_answer: str
    redundancy: int | None
    max_redundancy: int | None
    policy: str | None


# An answer to gold is one of somebody who was shown the mask as gold of this kind, whether it stands or not.
_OUTGOING = """
SELECT x.id, x.uuid, d.name, i.split, i.sequence, i.name, m.segment, m.source_class,
       COALESCE(u.name, x.outcome), a.name, a.kind, x.decided_at, x.milliseconds, x.mode, COALESCE(t.name, ''),
       s.uuid, EXISTS (SELECT 1 FROM decision AS later WHERE later.supersedes_id = x.id),
       COALESCE(g.kind, ''), COALESCE(v.name, g.outcome, ''), w.redundancy, w.max_redundancy, w.policy
FROM decision AS x
JOIN mask AS m ON m.id = x.mask_id
JOIN image AS i ON i.id = m.image_id
JOIN dataset AS d ON d.id = i.dataset_id
JOIN annotator AS a ON a.id = x.annotator_id
LEFT JOIN label_class AS u ON u.id = x.label_class_id
LEFT JOIN task AS t ON t.id = x.task_id
LEFT JOIN decision AS s ON s.id = x.supersedes_id
LEFT JOIN gold AS g ON g.task_id = x.task_id AND g.mask_id = x.mask_id AND g.retired_at IS NULL
     AND x.mode IN ('single', 'grid') AND x.outcome <> 'withdrawn'
     AND EXISTS (SELECT 1 FROM gold_exposure AS e JOIN gold AS shown ON shown.id = e.gold_id
                 WHERE e.annotator_id = x.annotator_id AND shown.task_id = g.task_id
                 AND shown.mask_id = g.mask_id AND shown.kind = g.kind)
LEFT JOIN label_class AS v ON v.id = g.label_class_id
LEFT JOIN task AS w ON w.id = {task}
"""


def outgoing_decisions(
    connection: Connection, task_id: int | None = None
) -> Iterator[OutgoingDecision]:
    """Yield all decisions, or those on the masks of a task, in the order of storing."""
    if task_id is None:
        newest = "(SELECT MAX(q.task_id) FROM task_mask AS q WHERE q.mask_id = x.mask_id)"
        rows = connection.exec_driver_sql(f"{_OUTGOING.format(task=newest)} ORDER BY x.id")
    else:
        rows = connection.exec_driver_sql(
            f"{_OUTGOING.format(task=':task')} WHERE EXISTS (SELECT 1 FROM task_mask AS q "
            "WHERE q.task_id = :task AND q.mask_id = x.mask_id) ORDER BY x.id",
            {"task": task_id},
        )
    for row in rows:
        yield OutgoingDecision(*row)


def candidates_of_questions(connection: Connection) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the classes that tasks offer for a class of a dataset, by (dataset, class), in the order of names."""
    rows = connection.exec_driver_sql(
        "SELECT DISTINCT d.name, c.name, u.name FROM task AS t "
        "JOIN dataset_class AS c ON c.id = t.dataset_class_id JOIN dataset AS d ON d.id = c.dataset_id "
        "JOIN task_candidate AS k ON k.task_id = t.id JOIN label_class AS u ON u.id = k.label_class_id "
        "ORDER BY 1, 2, 3"
    )
    return {
        question: tuple(row[2] for row in of_question)
        for question, of_question in groupby(rows, key=lambda row: (row[0], row[1]))
    }


def decisions_by_uuid(connection: Connection) -> dict[bytes, tuple[int, int, int]]:
    """Return (decision id, mask, annotator) of every decision by its UUID."""
    rows = connection.exec_driver_sql("SELECT uuid, id, mask_id, annotator_id FROM decision")
    return {row[0]: (row[1], row[2], row[3]) for row in rows}


def superseded_decisions(connection: Connection) -> set[int]:
    """Return the decisions that do not stand any more."""
    rows = connection.exec_driver_sql(
        "SELECT supersedes_id FROM decision WHERE supersedes_id IS NOT NULL"
    )
    return {row[0] for row in rows}
