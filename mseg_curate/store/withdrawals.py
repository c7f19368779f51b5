"""Decisions taken back: rows that supersede them, and are no votes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import blake2b

from sqlalchemy import Connection

from mseg_curate.store.decisions import NewDecision, append_decisions
from mseg_curate.store.standing import stands

__all__ = ["reopen_votes", "withdraw_decision", "withdrawal_of"]

# Taken back on behalf of their annotators, they are withdrawn once, and the UUID says so.
_STANDING = (
    "SELECT d.id, d.uuid, d.mask_id, d.task_id, d.mapping_revision_id, d.annotator_id, d.mode "
    f"FROM decision AS d WHERE d.outcome <> 'withdrawn' AND {stands('d')}"
)


def withdrawal_of(
    decision_id: int,
    *,
    uuid: bytes,
    mask_id: int,
    task_id: int | None,
    revision: int | None,
    annotator_id: int,
    mode: str,
    milliseconds: int | None = None,
    now: str,
) -> NewDecision:
    """Return the row that takes back a decision: one of the same annotator on the same mask, which names no class."""
    return (
        uuid, mask_id, task_id, revision, None, "withdrawn", None, annotator_id, mode, milliseconds, now,
        decision_id,
    )  # fmt: skip


def withdraw_decision(connection: Connection, decision_id: int, *, now: str) -> None:
    """Withdraw a decision that stands, on behalf of its annotator; one that does not stand is left as it is."""
    rows = connection.exec_driver_sql(f"{_STANDING} AND d.id = ?", (decision_id,)).all()
    append_decisions(
        connection,
        [
            withdrawal_of(
                row_id, uuid=_derived(b"withdrawn", uuid), mask_id=mask_id, task_id=task_id,
                revision=revision, annotator_id=by, mode=mode, now=now,
            )
            for row_id, uuid, mask_id, task_id, revision, by, mode in rows
        ],
    )  # fmt: skip


def reopen_votes(connection: Connection, decisions: Sequence[int], *, now: str) -> list[int]:
    """Withdraw those of some decisions that are votes and stand, for others to decide; returns their masks.

    The withdrawals are of the mode adjudication: a curator, or the bar a curator set, made them.
    """
    rows = connection.exec_driver_sql(
        f"{_STANDING} AND d.mode <> 'adjudication' AND d.id IN (SELECT value FROM json_each(?)) ORDER BY d.id",
        (json.dumps(list(decisions)),),
    ).all()
    append_decisions(
        connection,
        [
            withdrawal_of(
                row_id, uuid=_derived(b"reopened", uuid), mask_id=mask_id, task_id=task_id,
                revision=None, annotator_id=by, mode="adjudication", now=now,
            )
            for row_id, uuid, mask_id, task_id, _, by, _ in rows
        ],
    )  # fmt: skip
    return [int(row[2]) for row in rows]


def _derived(what: bytes, uuid: bytes) -> bytes:
    return blake2b(what + uuid, digest_size=16).digest()
