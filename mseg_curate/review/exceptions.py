"""Masks clicked out of a grid: noted when the page is confirmed, and brought back when it is taken back."""

from __future__ import annotations

from mseg_curate.errors import ReviewError
from mseg_curate.review.items import Item, Operation, item_of, require_person, require_task
from mseg_curate.store import Connection, leases, queue
from mseg_curate.store.activity import standing_decision
from mseg_curate.store.gold import note_excepted
from mseg_curate.store.grid_exceptions import (
    end_lease,
    except_from_grid,
    find_exception,
    forget_exception,
    renew_exception,
)

__all__ = ["note_exception", "take_exception_back"]


def note_exception(connection: Connection, lease: leases.Lease) -> None:
    """Leave a mask to the single queue: no grid shows it to this annotator again."""
    except_from_grid(connection, lease)
    if lease.gold_id is not None:
        note_excepted(connection, lease.gold_id, lease.annotator_id)
    end_lease(connection, lease)


def take_exception_back(
    connection: Connection, person_id: int, operation: Operation, *, client: str, now: float
) -> Item | None:
    """Bring a mask back into the grid out of which this annotator clicked it; `operation.of` is the lease it had.

    Returns it under the lease that the operation names, at a retry too; None where the operation is about something
    else. Raises ReviewError where the mask is decided by now, or with others.
    """
    token = bytes.fromhex(operation.lease)
    lease = find_exception(connection, bytes.fromhex(operation.of), annotator_id=person_id)
    if lease is None:
        return _known(connection, person_id, token, now=now)
    require_person(connection, person_id, mode="grid")
    task = require_task(connection, lease.task_id, answering=True)
    if leases.find_lease(connection, token) is not None:
        raise ReviewError("this lease exists already", reason="invalid")
    before = standing_decision(connection, lease.mask_id, annotator_id=person_id)
    if before is not None and before.outcome != "withdrawn":
        raise ReviewError("you have decided this mask since, one by one", reason="decided")
    slot_id = None
    if lease.gold_id is None:
        slot_id = leases.free_slot(connection, lease, now=now)
        status, _ = queue.mask_state(connection, task.id, lease.mask_id)
        if slot_id is None or status == "adjudicated":
            raise ReviewError("others have this mask by now", reason="taken")
    forget_exception(connection, lease)
    until = now + task.options.lease_s
    renew_exception(
        connection, lease, token=token, slot_id=slot_id, client=client, now=now, until=until
    )
    return item_of(connection, lease.mask_id, token=token, expires_at=until, now=now)


def _known(connection: Connection, person_id: int, token: bytes, *, now: float) -> Item | None:
    """Return what an earlier try of the same operation brought back."""
    lease = leases.find_lease(connection, token)
    if lease is None or lease.annotator_id != person_id or lease.mode != "grid":
        return None
    return item_of(connection, lease.mask_id, token=token, expires_at=lease.expires_at, now=now)
