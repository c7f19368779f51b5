"""The queue of a task: which masks still want decisions, and how many.

A mask has a slot per independent decision that is wanted; a decision fills one. Slots are opened, filled and closed by
`settle` alone; who is given a slot is the business of `leases`.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from mseg_curate.store.bulk import bulk_insert

__all__ = ["count_open_slots", "count_states", "empty_slot", "enqueue_masks", "mask_state"]


def enqueue_masks(
    connection: Connection, task_id: int, *, mask_ids: Sequence[int], redundancy: int, expected: int
) -> None:
    """Put masks into the queue of a new task in the order given, with a slot per decision wanted of each.

    `expected` is the label class whose grid shows them until something else is suggested.
    """
    bulk_insert(
        connection,
        "task_mask (task_id, mask_id, position, expected_id)",
        [(task_id, mask_id, position, expected) for position, mask_id in enumerate(mask_ids)],
    )
    bulk_insert(
        connection,
        "task_slot (task_id, mask_id, number, rank, position, expected_id)",
        [
            (task_id, mask_id, number, 0, position, expected)
            for position, mask_id in enumerate(mask_ids)
            for number in range(redundancy)
        ],
    )


def empty_slot(
    connection: Connection, task_id: int, mask_id: int, *, annotator_id: int
) -> int | None:
    """Empty the slot that an annotator's decision fills, where there is one; returns it."""
    row = connection.exec_driver_sql(
        "UPDATE task_slot SET annotator_id = NULL, decision_id = NULL "
        "WHERE task_id = ? AND mask_id = ? AND annotator_id = ? RETURNING id",
        (task_id, mask_id, annotator_id),
    ).first()
    return None if row is None else int(row[0])


def mask_state(connection: Connection, task_id: int, mask_id: int) -> tuple[str, int]:
    """Return the state of a mask in a task, and how many decisions fill its slots."""
    row = connection.exec_driver_sql(
        "SELECT m.status, (SELECT COUNT(*) FROM task_slot AS s WHERE s.task_id = m.task_id "
        "AND s.mask_id = m.mask_id AND s.decision_id IS NOT NULL) FROM task_mask AS m "
        "WHERE m.task_id = ? AND m.mask_id = ?",
        (task_id, mask_id),
    ).first()
    return ("open", 0) if row is None else (str(row[0]), int(row[1]))


def count_open_slots(connection: Connection, task_id: int) -> int:
    """Return how many decisions a task still asks for."""
    return int(
        connection.exec_driver_sql(
            "SELECT COUNT(*) FROM task_slot WHERE task_id = ? AND decision_id IS NULL", (task_id,)
        ).scalar_one()
    )


def count_states(connection: Connection, task_id: int) -> dict[str, int]:
    """Return how many masks of a task are open, settled, contested and adjudicated."""
    rows = connection.exec_driver_sql(
        "SELECT status, COUNT(*) FROM task_mask WHERE task_id = ? GROUP BY status", (task_id,)
    )
    return {"open": 0, "settled": 0, "contested": 0, "adjudicated": 0} | {
        str(status): int(masks) for status, masks in rows
    }
