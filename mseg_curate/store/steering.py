"""What a curator changes of a task while it runs: definitions, examples, suggestions, the order of its masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from mseg_curate.store.bulk import bulk_insert
from mseg_curate.store.leases import rewind_cursors
from mseg_curate.store.standing import stands

__all__ = [
    "add_examples",
    "all_masks",
    "clear_examples",
    "disputed_masks",
    "example_masks",
    "rank_masks",
    "set_definitions",
    "store_suggestions",
]


def all_masks(connection: Connection, task_id: int) -> list[int]:
    """Return all masks of a task."""
    rows = connection.exec_driver_sql(
        "SELECT mask_id FROM task_mask WHERE task_id = ? ORDER BY mask_id", (task_id,)
    )
    return [int(row[0]) for row in rows]


def set_definitions(
    connection: Connection, task_id: int, *, by_position: Mapping[int, str]
) -> None:
    """Set what candidates of a task are, by their position."""
    for position, text in by_position.items():
        connection.exec_driver_sql(
            "UPDATE task_candidate SET definition = ? WHERE task_id = ? AND position = ?",
            (text, task_id, position),
        )


def example_masks(connection: Connection, task_id: int) -> set[int]:
    """Return the masks that a task shows as examples."""
    rows = connection.exec_driver_sql(
        "SELECT mask_id FROM task_example WHERE task_id = ?", (task_id,)
    )
    return {int(row[0]) for row in rows}


def add_examples(connection: Connection, task_id: int, *, masks: Sequence[tuple[int, int]]) -> None:
    """Append example masks to candidates, as (position of the candidate, mask id)."""
    rows = connection.exec_driver_sql(
        "SELECT position, MAX(number) FROM task_example WHERE task_id = ? GROUP BY position",
        (task_id,),
    )
    last = {int(position): int(number) for position, number in rows}
    new = []
    for position, mask_id in masks:
        last[position] = last.get(position, -1) + 1
        new.append((task_id, position, last[position], mask_id))
    bulk_insert(connection, "task_example (task_id, position, number, mask_id)", new)


def clear_examples(connection: Connection, task_id: int, *, position: int | None = None) -> int:
    """Remove the example masks of one candidate, or of all; returns how many there were."""
    return connection.exec_driver_sql(
        "DELETE FROM task_example WHERE task_id = :task AND (:position IS NULL OR position = :position)",
        {"task": task_id, "position": position},
    ).rowcount


def store_suggestions(
    connection: Connection,
    task_id: int,
    *,
    rows: Sequence[tuple[int, int, float | None]],
    source: str,
) -> None:
    """Store what a model takes masks for, as (mask id, label class, score), in the place of what was suggested."""
    connection.exec_driver_sql(
        "INSERT OR REPLACE INTO suggestion (task_id, mask_id, label_class_id, score, source) VALUES (?, ?, ?, ?, ?)",
        [(task_id, *row, source) for row in rows],
    )


def disputed_masks(connection: Connection, task_id: int) -> list[int]:
    """Return the masks of a task on which votes disagree, and that no curator has adjudicated."""
    rows = connection.exec_driver_sql(
        "SELECT x.mask_id FROM task_mask AS x JOIN decision AS d ON d.mask_id = x.mask_id "
        "WHERE x.task_id = ? AND x.status <> 'adjudicated' AND d.mode <> 'adjudication' "
        "AND d.outcome <> 'withdrawn' "
        f"AND {stands('d')} "
        "GROUP BY x.mask_id HAVING COUNT(DISTINCT d.outcome || COALESCE(d.label_class_id, '')) > 1",
        (task_id,),
    )
    return [int(row[0]) for row in rows]


def rank_masks(connection: Connection, task_id: int, *, ranks: Mapping[int, int]) -> None:
    """Give masks of a task these ranks, lower first, and all others 0; everybody begins at the queue's start again."""
    new = [(rank, task_id, mask_id) for mask_id, rank in ranks.items()]
    for table in ("task_mask", "task_slot"):
        connection.exec_driver_sql(
            f"UPDATE {table} SET rank = 0 WHERE task_id = ? AND rank <> 0", (task_id,)
        )
        if new:
            connection.exec_driver_sql(
                f"UPDATE {table} SET rank = ? WHERE task_id = ? AND mask_id = ?", new
            )
    rewind_cursors(connection, task_id)
