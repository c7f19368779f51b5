"""Flags: what annotators remark on masks, until a curator has seen to it."""

from __future__ import annotations

from uuid import uuid4

from mseg_curate.clock import iso_of
from mseg_curate.errors import InputError, StoreError
from mseg_curate.store import Store
from mseg_curate.store import flags as rows
from mseg_curate.store.annotators import find_annotator
from mseg_curate.store.flags import FlagRow
from mseg_curate.store.task_masks import find_task_masks
from mseg_curate.store.tasks import load_task

__all__ = ["FlagRow", "add_flag", "close_flag", "list_flags", "open_flag"]


def list_flags(store: Store, *, task: str | None = None, closed: bool = False) -> list[FlagRow]:
    """Return the open flags of a task or of all, the oldest first; the closed ones as well with `closed`."""
    with store.reading() as connection:
        task_id = None if task is None else load_task(connection, task).id
        return rows.list_flags(connection, task_id=task_id, closed=closed)


def add_flag(
    store: Store,
    task: str,
    mask: tuple[str, str, str, int],
    *,
    comment: str,
    by: str,
    now: float,
) -> None:
    """Remark on a mask of a task, given by split, sequence, image and segment, in the name of a person.

    Raises InputError for a mask outside the task and an empty comment, StoreError where `by` is nobody.
    """
    if not comment.strip():
        raise InputError("a comment is missing", expected="a few words that a curator will read")
    with store.writing() as connection:
        row = load_task(connection, task)
        person = find_annotator(connection, by)
        if person is None or person.kind != "person":
            raise StoreError(
                f"no annotator {by!r} in the store; name one with --author, or add one: "
                f"`mseg-curate annotator add {by!r}`"
            )
        mask_id = find_task_masks(connection, row.id, [mask]).get(mask)
        if mask_id is None:
            split, sequence, image, segment = mask
            name = f"{sequence}/{image}" if sequence else image
            raise InputError(
                f"the task {task} has no mask {segment} of image {name!r} of split {split!r}"
            )
        rows.add_flag(
            connection,
            uuid4().bytes,
            task_id=row.id,
            mask_id=mask_id,
            annotator_id=person.id,
            comment=comment.strip(),
            now=iso_of(now),
        )


def close_flag(store: Store, flag_id: int, *, by: str, now: float) -> None:
    """Close a flag; raises StoreError where no open flag has this number."""
    with store.writing() as connection:
        if not rows.close_flag(connection, flag_id, by=by, now=iso_of(now)):
            known = ", ".join(str(row.id) for row in rows.list_flags(connection)[:20]) or "none"
            raise StoreError(f"no open flag {flag_id}; open: {known}")


def open_flag(store: Store, flag_id: int) -> None:
    """Open a closed flag again; raises StoreError where no closed flag has this number."""
    with store.writing() as connection:
        if not rows.open_flag(connection, flag_id):
            raise StoreError(f"no closed flag {flag_id}; `mseg-curate flag list --all` lists them")
