"""Decisions taken back on behalf of their annotators: rows that supersede them, and are no votes."""

from __future__ import annotations

from hashlib import blake2b

from sqlalchemy import Connection

from mseg_curate.store.decisions import NewDecision, append_decisions
from mseg_curate.store.standing import stands

__all__ = ["reopen_votes", "withdraw_decision"]


def withdraw_decision(connection: Connection, decision_id: int, *, now: str) -> None:
    """Withdraw a decision that stands, on behalf of its annotator; one that does not stand is left as it is."""
    row = connection.exec_driver_sql(
        "SELECT uuid, mask_id, task_id, mapping_revision_id, annotator_id, mode FROM decision AS d "
        f"WHERE id = ? AND outcome <> 'withdrawn' AND {stands('d')}",
        (decision_id,),
    ).first()
    if row is None:
        return
    uuid, mask_id, task_id, revision, annotator_id, mode = row
    made = blake2b(b"withdrawn" + uuid, digest_size=16).digest()
    withdrawal = _withdrawal(
        made,
        decision_id,
        mask_id,
        task_id,
        annotator_id=annotator_id,
        mode=mode,
        now=now,
        revision=revision,
    )
    append_decisions(connection, [withdrawal])


def reopen_votes(connection: Connection, annotator_id: int, task_id: int, *, now: str) -> list[int]:
    """Withdraw the standing votes of an annotator in a task, for others to decide; returns their masks.

    The withdrawals are of the mode adjudication: a curator, or the bar a curator set, made them.
    """
    votes = connection.exec_driver_sql(
        "SELECT id, uuid, mask_id FROM decision AS d WHERE annotator_id = ? AND task_id = ? "
        f"AND outcome <> 'withdrawn' AND mode <> 'adjudication' AND {stands('d')} ORDER BY id",
        (annotator_id, task_id),
    ).all()
    append_decisions(
        connection,
        [
            _withdrawal(
                blake2b(b"reopened" + uuid, digest_size=16).digest(), decision_id, mask_id, task_id,
                annotator_id=annotator_id, mode="adjudication", now=now,
            )
            for decision_id, uuid, mask_id in votes
        ],
    )  # fmt: skip
    return [int(mask_id) for _, _, mask_id in votes]


def _withdrawal(
    uuid: bytes,
    decision_id: int,
    mask_id: int,
    task_id: int | None,
    *,
    annotator_id: int,
    mode: str,
    now: str,
    revision: int | None = None,
) -> NewDecision:
    return (
        uuid, mask_id, task_id, revision, None, "withdrawn", None, annotator_id, mode, None, now, decision_id,
    )  # fmt: skip
