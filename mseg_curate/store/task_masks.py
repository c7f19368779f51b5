"""Which masks of a task are meant by split, sequence, image and segment, and what stands on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from mseg_curate.readers.mask_csv import MaskKey
from mseg_curate.store.standing import stands

__all__ = ["SureMask", "contested_masks", "find_task_masks", "sure_masks"]

# Below it, one look-up each is quicker than reading all masks of a task.
_FEW = 2000

_PLACED = """
SELECT i.split, i.sequence, i.name, m.segment, m.id FROM task AS t
JOIN dataset_class AS c ON c.id = t.dataset_class_id
JOIN image AS i ON i.dataset_id = c.dataset_id
JOIN mask AS m ON m.image_id = i.id
JOIN task_mask AS x ON x.mask_id = m.id AND x.task_id = t.id
WHERE t.id = :task
"""


def find_task_masks(
    connection: Connection, task_id: int, keys: Sequence[MaskKey]
) -> dict[MaskKey, int]:
    """Return the row ids of those of the named masks that a task asks about."""
    if len(keys) > _FEW:
        rows = connection.exec_driver_sql(_PLACED, {"task": task_id})
        return {(split, sequence, name, n): row_id for split, sequence, name, n, row_id in rows}
    query = f"{_PLACED} AND i.split = :split AND i.sequence = :sequence AND i.name = :name AND m.segment = :segment"
    found: dict[MaskKey, int] = {}
    for key in keys:
        split, sequence, name, segment = key
        row = connection.exec_driver_sql(
            query,
            {
                "task": task_id,
                "split": split,
                "sequence": sequence,
                "name": name,
                "segment": segment,
            },
        ).first()
        if row is not None:
            found[key] = int(row[4])
    return found


def contested_masks(connection: Connection, task_id: int) -> set[int]:
    """Return the row ids of the masks of a task that wait for an adjudicator."""
    rows = connection.exec_driver_sql(
        "SELECT mask_id FROM task_mask WHERE task_id = ? AND status = 'contested'", (task_id,)
    )
    return {int(row[0]) for row in rows}


@dataclass(frozen=True)
class SureMask:
    """A mask of a task on which all votes agree, or that a curator has adjudicated; `answer` is a class or outcome."""

    mask_id: int
    key: MaskKey
    answer: str
    votes: int
    is_adjudicated: bool


def sure_masks(connection: Connection, task_id: int) -> list[SureMask]:
    """Return the masks with two or more votes that all agree, and the adjudicated ones; none that ever was gold.

    Adjudicated ones come first, then those with the most votes.
    """
    rows = connection.exec_driver_sql(
        "WITH standing AS ("
        "  SELECT d.id, d.mask_id, d.outcome, d.label_class_id, d.mode = 'adjudication' AS is_final "
        "  FROM task_mask AS x JOIN decision AS d ON d.mask_id = x.mask_id "
        "  WHERE x.task_id = :task AND d.outcome <> 'withdrawn' "
        f"  AND {stands('d')}), "
        "counted AS ("
        "  SELECT mask_id, SUM(NOT is_final) AS votes, MAX(CASE WHEN is_final THEN id END) AS final, "
        "  MIN(CASE WHEN NOT is_final THEN id END) AS first, "
        "  COUNT(DISTINCT CASE WHEN NOT is_final THEN outcome || COALESCE(label_class_id, '') END) AS answers "
        "  FROM standing GROUP BY mask_id) "
        "SELECT m.id, i.split, i.sequence, i.name, m.segment, COALESCE(u.name, d.outcome), c.votes, "
        "c.final IS NOT NULL "
        "FROM counted AS c "
        "JOIN decision AS d ON d.id = COALESCE(c.final, CASE WHEN c.votes > 1 AND c.answers = 1 THEN c.first END) "
        "JOIN task_mask AS x ON x.task_id = :task AND x.mask_id = c.mask_id "
        "JOIN mask AS m ON m.id = c.mask_id JOIN image AS i ON i.id = m.image_id "
        "LEFT JOIN label_class AS u ON u.id = d.label_class_id "
        "WHERE d.outcome <> 'unsure' "
        "AND (d.label_class_id IS NULL OR d.label_class_id IN "
        "  (SELECT label_class_id FROM task_candidate WHERE task_id = :task)) "
        "AND NOT EXISTS (SELECT 1 FROM gold AS g WHERE g.task_id = :task AND g.mask_id = c.mask_id) "
        "ORDER BY c.final IS NULL, c.votes DESC, x.position",
        {"task": task_id},
    )
    return [
        SureMask(mask_id, (split, sequence, name, segment), answer, int(votes), bool(final))
        for mask_id, split, sequence, name, segment, answer, votes, final in rows
    ]
