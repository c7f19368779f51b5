"""Masks that annotators clicked out of a grid: who did, and how it is taken back."""

from __future__ import annotations

from sqlalchemy import Connection

from mseg_curate.store.leases import Lease, find_lease

__all__ = [
    "end_lease",
    "except_from_grid",
    "find_exception",
    "forget_exception",
    "renew_exception",
]


def except_from_grid(connection: Connection, lease: Lease) -> None:
    """Note that an annotator clicked a mask out of a grid: no grid shows it to them again."""
    connection.exec_driver_sql(
        "INSERT OR IGNORE INTO grid_exception (task_id, mask_id, annotator_id) VALUES (?, ?, ?)",
        (lease.task_id, lease.mask_id, lease.annotator_id),
    )


def end_lease(connection: Connection, lease: Lease) -> None:
    """End a lease and leave its row for a day: by its token an annotator can take an exception back.

    It ends before it began, so that it never held: a renewal, or a decision, that was sent before comes too late.
    """
    connection.exec_driver_sql(
        "UPDATE lease SET slot_id = NULL, expires_at = leased_at - 1 WHERE id = ?", (lease.id,)
    )


def find_exception(connection: Connection, token: bytes, *, annotator_id: int) -> Lease | None:
    """Return the ended lease under which this annotator clicked a mask out of a grid; None where there is none."""
    lease = find_lease(connection, token)
    if lease is None or lease.annotator_id != annotator_id or lease.mode != "grid":
        return None
    noted = connection.exec_driver_sql(
        "SELECT 1 FROM grid_exception WHERE task_id = ? AND mask_id = ? AND annotator_id = ?",
        (lease.task_id, lease.mask_id, annotator_id),
    ).first()
    return None if noted is None else lease


def forget_exception(connection: Connection, lease: Lease) -> None:
    """Let a mask come in grids again for the annotator who had clicked it out, and count gold as not clicked out."""
    connection.exec_driver_sql(
        "DELETE FROM grid_exception WHERE task_id = ? AND mask_id = ? AND annotator_id = ?",
        (lease.task_id, lease.mask_id, lease.annotator_id),
    )
    if lease.gold_id is not None:
        connection.exec_driver_sql(
            "UPDATE gold_exposure SET excepted = 0 WHERE gold_id = ? AND annotator_id = ?",
            (lease.gold_id, lease.annotator_id),
        )


def renew_exception(
    connection: Connection,
    lease: Lease,
    *,
    token: bytes,
    slot_id: int | None,
    client: str,
    now: float,
    until: float,
) -> None:
    """Give an ended lease back to its annotator, in the same grid, under a new token.

    A lease of somebody else that ran out may still point at the slot: it is replaced.
    """
    connection.exec_driver_sql(
        "UPDATE OR REPLACE lease SET token = ?, slot_id = ?, client = ?, leased_at = ?, expires_at = ? WHERE id = ?",
        (token, slot_id, client, now, until, lease.id),
    )
