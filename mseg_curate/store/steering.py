"""What a curator changes of a task while it runs: definitions, examples, suggestions, masks in dispute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from mseg_curate.store.bulk import bulk_insert
from mseg_curate.store.standing import stands

__all__ = [
    "add_examples",
    "clear_examples",
    "count_suggested",
    "disputed_masks",
    "example_masks",
    "list_examples",
    "set_definitions",
    "store_suggestions",
]


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


def list_examples(connection: Connection, task_id: int) -> list[tuple[str, str, str, int, str]]:
    """Return the examples of a task as (split, sequence, image, segment, candidate), candidate by candidate."""
    rows = connection.exec_driver_sql(
        "SELECT i.split, i.sequence, i.name, m.segment, u.name FROM task_example AS e "
        "JOIN task_candidate AS c ON c.task_id = e.task_id AND c.position = e.position "
        "JOIN label_class AS u ON u.id = c.label_class_id "
        "JOIN mask AS m ON m.id = e.mask_id JOIN image AS i ON i.id = m.image_id "
        "WHERE e.task_id = ? ORDER BY e.position, e.number",
        (task_id,),
    )
    return [(split, sequence, name, int(n), of) for split, sequence, name, n, of in rows]


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
    """Store what a model takes masks for, as (mask id, label class, score), in the place of what was suggested.

    Their grids are those of these classes from now on.
    """
    if not rows:
        return
    connection.exec_driver_sql(
        "INSERT OR REPLACE INTO suggestion (task_id, mask_id, label_class_id, score, source) VALUES (?, ?, ?, ?, ?)",
        [(task_id, *row, source) for row in rows],
    )
    expected = [(label, task_id, mask_id, label) for mask_id, label, _ in rows]
    for table in ("task_mask", "task_slot"):
        connection.exec_driver_sql(
            f"UPDATE {table} SET expected_id = ? WHERE task_id = ? AND mask_id = ? AND expected_id <> ?",
            expected,
        )


def count_suggested(connection: Connection, task_id: int) -> dict[int, int]:
    """Return how many masks of a task are suggested as each label class; classes without any are left out."""
    rows = connection.exec_driver_sql(
        "SELECT label_class_id, COUNT(*) FROM suggestion WHERE task_id = ? GROUP BY label_class_id",
        (task_id,),
    )
    return {int(label): int(number) for label, number in rows}


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
