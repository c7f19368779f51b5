"""The queue of a task: which masks still want decisions, how many, and when a mask has enough.

A mask has a slot per independent decision that is wanted; a decision fills one. `settle_masks` alone makes slots, fills
them, and says what state a mask is in. Who is given a slot is the business of `leases`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from sqlalchemy import Connection

from mseg_curate.core.consensus import (
    DEFAULT_MIN_AGREEMENT,
    Majority,
    Outcome,
    ResolutionOutcome,
    Vote,
    majority,
    parse_policy,
)
from mseg_curate.store.bulk import bulk_insert
from mseg_curate.store.standing import stands

__all__ = [
    "count_open_slots",
    "count_states",
    "empty_slot",
    "enqueue_masks",
    "mask_state",
    "masks_with_decisions",
    "masks_with_stale_slots",
    "settle_everywhere",
    "settle_in_parts",
    "settle_masks",
    "settle_tasks",
]

_AT_ONCE = 1000


def enqueue_masks(
    connection: Connection, task_id: int, *, mask_ids: Sequence[int], redundancy: int
) -> None:
    """Put masks into the queue of a new task in the order given, with a slot per decision wanted of each."""
    bulk_insert(
        connection,
        "task_mask (task_id, mask_id, position)",
        [(task_id, mask_id, position) for position, mask_id in enumerate(mask_ids)],
    )
    bulk_insert(
        connection,
        "task_slot (task_id, mask_id, number, rank, position)",
        [
            (task_id, mask_id, number, 0, position)
            for position, mask_id in enumerate(mask_ids)
            for number in range(redundancy)
        ],
    )


@dataclass(frozen=True)
class _Wanted:
    """What a task asks of each mask."""

    redundancy: int
    max_redundancy: int
    min_agreement: float


@dataclass
class _Slot:
    id: int
    number: int
    annotator_id: int | None
    decision_id: int | None
    is_leased: bool


def settle_tasks(connection: Connection, *, now: float) -> None:
    """Settle every mask of every task; for a store that was just upgraded."""
    for (task_id,) in connection.exec_driver_sql("SELECT id FROM task").all():
        decided = masks_with_decisions(connection, task_id)
        settle_masks(connection, task_id, mask_ids=decided, now=now)


def settle_everywhere(connection: Connection, mask_ids: Sequence[int], *, now: float) -> None:
    """Settle masks in every task that asks about them, as `settle_masks` does: a vote counts in all of them."""
    rows = connection.exec_driver_sql(
        "SELECT task_id, mask_id FROM task_mask WHERE mask_id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(mask_ids)),),
    )
    by_task: dict[int, list[int]] = {}
    for task_id, mask_id in rows:
        by_task.setdefault(int(task_id), []).append(int(mask_id))
    for task_id, in_task in by_task.items():
        settle_masks(connection, task_id, mask_ids=in_task, now=now)


def settle_in_parts(
    writing: Callable[[], AbstractContextManager[Connection]],
    mask_ids: Sequence[int],
    *,
    now: float,
) -> None:
    """Settle many masks as `settle_everywhere` does, in transactions so short that annotators can wait for them.

    Stopped half-way, the rest is settled when the same masks are settled again: it is derived from the decisions.
    """
    for start in range(0, len(mask_ids), _AT_ONCE):
        with writing() as connection:
            settle_everywhere(connection, mask_ids[start : start + _AT_ONCE], now=now)


def masks_with_decisions(connection: Connection, task_id: int) -> list[int]:
    """Return the masks of a task on which there are decisions, of whatever origin."""
    rows = connection.exec_driver_sql(
        "SELECT m.mask_id FROM task_mask AS m WHERE m.task_id = ? "
        "AND EXISTS (SELECT 1 FROM decision AS d WHERE d.mask_id = m.mask_id)",
        (task_id,),
    )
    return [int(row[0]) for row in rows]


def settle_masks(
    connection: Connection, task_id: int, *, mask_ids: Iterable[int], now: float
) -> None:
    """Bring slots and state of masks in line with the decisions that stand on them.

    Every annotator's vote fills a slot where there is one. While votes disagree, and there are fewer than the task
    allows, another slot is opened; once they agree, one that nobody holds is closed again. A mask that a curator has
    adjudicated, or that is gold, needs no slots.
    """
    row = connection.exec_driver_sql(
        "SELECT redundancy, max_redundancy, policy FROM task WHERE id = ?", (task_id,)
    ).one()
    policy = parse_policy(row[2])
    wanted = _Wanted(
        int(row[0]),
        int(row[1]),
        policy.min_agreement if isinstance(policy, Majority) else DEFAULT_MIN_AGREEMENT,
    )
    for mask_id in mask_ids:
        _settle_mask(connection, task_id, mask_id, wanted=wanted, now=now)


def _settle_mask(
    connection: Connection, task_id: int, mask_id: int, *, wanted: _Wanted, now: float
) -> None:
    votes, is_adjudicated = _standing_votes(connection, mask_id)
    slots = _slots_of(connection, task_id, mask_id, now=now)
    is_contested = False
    if votes:
        verdict = majority([v for _, v in votes.values()], min_agreement=wanted.min_agreement)
        is_contested = verdict.outcome is ResolutionOutcome.CONTESTED
    needed = wanted.redundancy
    if is_adjudicated:
        needed = 0
    elif is_contested and len(votes) >= wanted.redundancy:
        needed = min(len(votes) + 1, wanted.max_redundancy)
    _open_slots(connection, task_id, mask_id, slots=slots, needed=needed)
    _fill_slots(connection, slots, votes)
    _close_slots(connection, slots, needed=needed)
    if is_adjudicated:
        status = "adjudicated"
    elif any(slot.decision_id is None for slot in slots):
        status = "open"
    else:
        status = "contested" if is_contested else "settled"
    connection.exec_driver_sql(
        "UPDATE task_mask SET status = ? WHERE task_id = ? AND mask_id = ? AND status <> ?",
        (status, task_id, mask_id, status),
    )


def _standing_votes(
    connection: Connection, mask_id: int
) -> tuple[dict[int, tuple[int, Vote]], bool]:
    """Return (decision id, vote) by annotator, and whether a curator has adjudicated the mask."""
    votes: dict[int, tuple[int, Vote]] = {}
    is_adjudicated = False
    for decision_id, annotator_id, outcome, label, mode in connection.exec_driver_sql(
        "SELECT id, annotator_id, outcome, label_class_id, mode FROM decision AS d "
        "WHERE mask_id = ? AND outcome <> 'withdrawn' "
        f"AND {stands('d')} ORDER BY id",
        (mask_id,),
    ):
        if mode == "adjudication":
            is_adjudicated |= outcome != "unsure"
        else:
            votes[annotator_id] = (decision_id, Vote(Outcome(outcome), label))
    return votes, is_adjudicated


def _slots_of(connection: Connection, task_id: int, mask_id: int, *, now: float) -> list[_Slot]:
    rows = connection.exec_driver_sql(
        "SELECT s.id, s.number, s.annotator_id, s.decision_id, COALESCE(l.expires_at > ?, 0) "
        "FROM task_slot AS s LEFT JOIN lease AS l ON l.slot_id = s.id "
        "WHERE s.task_id = ? AND s.mask_id = ? ORDER BY s.number",
        (now, task_id, mask_id),
    )
    return [_Slot(*row) for row in rows]


def _fill_slots(
    connection: Connection, slots: Sequence[_Slot], votes: dict[int, tuple[int, Vote]]
) -> None:
    """Write every vote into its annotator's slot, or a free one; empty slots whose vote was withdrawn."""
    seated = set()
    for slot in slots:
        if slot.annotator_id is None:
            continue
        standing = votes.get(slot.annotator_id)
        if standing is None:
            _write_slot(connection, slot, None, None)
        else:
            seated.add(slot.annotator_id)
            if slot.decision_id != standing[0]:
                _write_slot(connection, slot, slot.annotator_id, standing[0])
    for annotator_id, (decision_id, _) in votes.items():
        if annotator_id not in seated:
            free = next((s for s in slots if s.decision_id is None and not s.is_leased), None)
            if free is None:
                return
            _write_slot(connection, free, annotator_id, decision_id)


def _write_slot(
    connection: Connection, slot: _Slot, annotator_id: int | None, decision_id: int | None
) -> None:
    connection.exec_driver_sql(
        "UPDATE task_slot SET annotator_id = ?, decision_id = ? WHERE id = ?",
        (annotator_id, decision_id, slot.id),
    )
    slot.annotator_id, slot.decision_id = annotator_id, decision_id


def _open_slots(
    connection: Connection, task_id: int, mask_id: int, *, slots: list[_Slot], needed: int
) -> None:
    first = 1 + max((slot.number for slot in slots), default=-1)
    for number in range(first, first + needed - len(slots)):
        slot_id = connection.exec_driver_sql(
            "INSERT INTO task_slot (task_id, mask_id, number, rank, position) "
            "SELECT task_id, mask_id, ?, rank, position FROM task_mask WHERE task_id = ? AND mask_id = ? "
            "RETURNING id",
            (number, task_id, mask_id),
        ).scalar_one()
        slots.append(_Slot(slot_id, number, None, None, is_leased=False))


def _close_slots(connection: Connection, slots: list[_Slot], *, needed: int) -> None:
    """Close empty slots beyond what is needed that nobody holds, the last first."""
    empty = [slot for slot in slots if slot.decision_id is None and not slot.is_leased]
    for slot in reversed(empty):
        if len(slots) <= needed:
            return
        # A lease that ran out may still point at it.
        connection.exec_driver_sql("DELETE FROM lease WHERE slot_id = ?", (slot.id,))
        connection.exec_driver_sql("DELETE FROM task_slot WHERE id = ?", (slot.id,))
        slots.remove(slot)


def masks_with_stale_slots(connection: Connection, task_id: int) -> list[int]:
    """Return masks of a task with a slot whose decision was superseded: they are still to be settled."""
    rows = connection.exec_driver_sql(
        "SELECT DISTINCT s.mask_id FROM task_slot AS s JOIN decision AS later ON later.supersedes_id = s.decision_id "
        "WHERE s.task_id = ?",
        (task_id,),
    )
    return [int(row[0]) for row in rows]


def empty_slot(
    connection: Connection, task_id: int, mask_id: int, *, annotator_id: int
) -> int | None:
    """Empty the slot that an annotator's decision fills, where there is one; returns it."""
    row = connection.exec_driver_sql(
        "UPDATE task_slot SET annotator_id = NULL, decision_id = NULL "
        "WHERE task_id = ? AND mask_id = ? AND annotator_id = ? RETURNING id",
        (task_id, mask_id, annotator_id),
    ).first()
    return None if row is None else int(row[0])


def mask_state(connection: Connection, task_id: int, mask_id: int) -> tuple[str, int]:
    """Return the state of a mask in a task, and how many decisions fill its slots."""
    row = connection.exec_driver_sql(
        "SELECT m.status, (SELECT COUNT(*) FROM task_slot AS s WHERE s.task_id = m.task_id "
        "AND s.mask_id = m.mask_id AND s.decision_id IS NOT NULL) FROM task_mask AS m "
        "WHERE m.task_id = ? AND m.mask_id = ?",
        (task_id, mask_id),
    ).first()
    return ("open", 0) if row is None else (str(row[0]), int(row[1]))


def count_open_slots(connection: Connection, task_id: int) -> int:
    """Return how many decisions a task still asks for."""
    return int(
        connection.exec_driver_sql(
            "SELECT COUNT(*) FROM task_slot WHERE task_id = ? AND decision_id IS NULL", (task_id,)
        ).scalar_one()
    )


def count_states(connection: Connection, task_id: int) -> dict[str, int]:
    """Return how many masks of a task are open, settled, contested and adjudicated."""
    rows = connection.exec_driver_sql(
        "SELECT status, COUNT(*) FROM task_mask WHERE task_id = ? GROUP BY status", (task_id,)
    )
    return {"open": 0, "settled": 0, "contested": 0, "adjudicated": 0} | {
        str(status): int(masks) for status, masks in rows
    }
