"""Flags: what annotators remark on masks, until a curator has seen to it."""

from __future__ import annotations

from mseg_curate.clock import iso_of
from mseg_curate.errors import StoreError
from mseg_curate.store import Store
from mseg_curate.store import flags as rows
from mseg_curate.store.flags import FlagRow
from mseg_curate.store.tasks import load_task

__all__ = ["FlagRow", "close_flag", "list_flags"]


def list_flags(store: Store, *, task: str | None = None, closed: bool = False) -> list[FlagRow]:
    """Return the open flags of a task or of all, the oldest first; the closed ones as well with `closed`."""
    with store.reading() as connection:
        task_id = None if task is None else load_task(connection, task).id
        return rows.list_flags(connection, task_id=task_id, closed=closed)


def close_flag(store: Store, flag_id: int, *, by: str, now: float) -> None:
    """Close a flag; raises StoreError where no open flag has this number."""
    with store.writing() as connection:
        if not rows.close_flag(connection, flag_id, by=by, now=iso_of(now)):
            known = ", ".join(str(row.id) for row in rows.list_flags(connection)[:20]) or "none"
            raise StoreError(f"no open flag {flag_id}; open: {known}")
