"""The order of a task's queue, changed in steps so short that nobody waits for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from mseg_curate.store.engine import Store
from mseg_curate.store.leases import rewind_cursors
from mseg_curate.store.steps import write_in_steps

__all__ = ["rank_masks"]


def rank_masks(store: Store, task_id: int, *, ranks: Mapping[int, int]) -> None:
    """Give masks of a task these ranks, lower first, and all others 0; everybody begins at the queue's start again.

    Only ranks that change are written, the lowest first: stopped half-way, those masks are in place already, and the
    same call again does the rest.
    """
    with store.reading() as connection:
        rows = connection.exec_driver_sql(
            "SELECT mask_id, rank FROM task_mask WHERE task_id = ?", (task_id,)
        )
        new = [
            (ranks.get(mask_id, 0), task_id, mask_id)
            for mask_id, rank in rows
            if rank != ranks.get(mask_id, 0)
        ]
    new.sort()
    write_in_steps(store, new, write=_write)
    with store.writing() as connection:
        rewind_cursors(connection, task_id)


def _write(connection: Connection, ranks: Sequence[tuple[int, int, int]]) -> None:
    for table in ("task_mask", "task_slot"):
        connection.exec_driver_sql(
            f"UPDATE {table} SET rank = ? WHERE task_id = ? AND mask_id = ?", list(ranks)
        )
    # Stopped after this, those who have walked further would not see these masks.
    rewind_cursors(connection, ranks[0][1])
