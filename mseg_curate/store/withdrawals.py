"""A curator's answer taken back: a row that supersedes it, and is no vote."""

from __future__ import annotations

from hashlib import blake2b

from sqlalchemy import Connection

from mseg_curate.store.decisions import append_decisions

__all__ = ["withdraw_decision"]


def withdraw_decision(connection: Connection, decision_id: int, *, now: str) -> None:
    """Withdraw a decision that stands, on behalf of its annotator; one that does not stand is left as it is."""
    row = connection.exec_driver_sql(
        "SELECT uuid, mask_id, task_id, mapping_revision_id, annotator_id, mode FROM decision AS d "
        "WHERE id = ? AND outcome <> 'withdrawn' "
        "AND NOT EXISTS (SELECT 1 FROM decision AS later WHERE later.supersedes_id = d.id)",
        (decision_id,),
    ).first()
    if row is None:
        return
    uuid, mask_id, task_id, revision, annotator_id, mode = row
    made = blake2b(b"withdrawn" + uuid, digest_size=16).digest()
    append_decisions(
        connection,
        [
            (
                made,
                mask_id,
                task_id,
                revision,
                None,
                "withdrawn",
                None,
                annotator_id,
                mode,
                None,
                now,
                decision_id,
            )
        ],
    )
