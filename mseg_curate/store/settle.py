"""Settling: slots and states of masks are brought in line with the decisions that stand on them.

`settle_masks` alone opens, fills and closes slots, and says what state a mask is in. It can be repeated at any time:
everything is derived from the decisions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

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
from mseg_curate.store.standing import stands

__all__ = ["masks_with_decisions", "settle_everywhere", "settle_masks", "settle_tasks"]

_AT_ONCE = 500


@dataclass(frozen=True)
class _Wanted:
    """What a task asks of each mask."""

    redundancy: int
    max_redundancy: int
    min_agreement: float


@dataclass
class _Slot:
    """A slot as it is to be; `id` is None for one that is still to be made."""

    id: int | None
    number: int
    annotator_id: int | None
    decision_id: int | None
    is_leased: bool


@dataclass
class _Votes:
    """What stands on a mask: (decision id, vote) by annotator, and whether a curator has adjudicated it."""

    by_annotator: dict[int, tuple[int, Vote]] = field(default_factory=dict)
    is_adjudicated: bool = False


@dataclass
class _Changes:
    """What is to be written of many masks, as the parameters of one statement each."""

    closed: list[int] = field(default_factory=list)
    seated: list[tuple[int | None, int | None, int]] = field(default_factory=list)
    opened: list[tuple[int, int | None, int | None, int, int]] = field(default_factory=list)
    states: list[tuple[str, int, int]] = field(default_factory=list)


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
    masks = list(dict.fromkeys(mask_ids))
    for start in range(0, len(masks), _AT_ONCE):
        _settle_part(connection, task_id, masks[start : start + _AT_ONCE], wanted=wanted, now=now)


def _settle_part(
    connection: Connection, task_id: int, masks: Sequence[int], *, wanted: _Wanted, now: float
) -> None:
    asked = json.dumps(masks)
    votes = _standing_votes(connection, asked)
    slots = _slots_of(connection, task_id, asked, now=now)
    changes = _Changes()
    for mask_id, status in _states_of(connection, task_id, asked):
        new = _settle_mask(
            task_id, mask_id, slots.get(mask_id, []), votes.get(mask_id, _NONE),
            wanted=wanted, changes=changes,
        )  # fmt: skip
        if new != status:
            changes.states.append((new, task_id, mask_id))
    _write(connection, changes)


_NONE = _Votes()


def _settle_mask(
    task_id: int,
    mask_id: int,
    slots: list[_Slot],
    votes: _Votes,
    *,
    wanted: _Wanted,
    changes: _Changes,
) -> str:
    """Note what is to change of one mask; returns its state."""
    is_contested = False
    if votes.by_annotator:
        cast = [vote for _, vote in votes.by_annotator.values()]
        verdict = majority(cast, min_agreement=wanted.min_agreement)
        is_contested = verdict.outcome is ResolutionOutcome.CONTESTED
    needed = wanted.redundancy
    if votes.is_adjudicated:
        needed = 0
    elif is_contested and len(votes.by_annotator) >= wanted.redundancy:
        needed = min(len(votes.by_annotator) + 1, wanted.max_redundancy)
    before = {slot.id: slot.decision_id for slot in slots}
    number = 1 + max((slot.number for slot in slots), default=-1)
    slots += [
        _Slot(None, number + i, None, None, is_leased=False) for i in range(needed - len(slots))
    ]
    _fill_slots(slots, votes.by_annotator)
    changes.closed += _close_slots(slots, needed=needed)
    for slot in slots:
        if slot.id is None:
            changes.opened.append(
                (slot.number, slot.annotator_id, slot.decision_id, task_id, mask_id)
            )
        elif slot.decision_id != before[slot.id]:
            changes.seated.append((slot.annotator_id, slot.decision_id, slot.id))
    if votes.is_adjudicated:
        return "adjudicated"
    if any(slot.decision_id is None for slot in slots):
        return "open"
    return "contested" if is_contested else "settled"


def _fill_slots(slots: Sequence[_Slot], votes: dict[int, tuple[int, Vote]]) -> None:
    """Seat every vote in its annotator's slot, or a free one; empty slots whose vote was withdrawn."""
    seated = set()
    for slot in slots:
        if slot.annotator_id is None:
            continue
        standing = votes.get(slot.annotator_id)
        if standing is None:
            slot.annotator_id = slot.decision_id = None
        else:
            seated.add(slot.annotator_id)
            slot.decision_id = standing[0]
    free = (slot for slot in slots if slot.decision_id is None and not slot.is_leased)
    waiting = ((by, d) for by, (d, _) in votes.items() if by not in seated)
    for slot, (annotator_id, decision_id) in zip(list(free), waiting, strict=False):
        slot.annotator_id, slot.decision_id = annotator_id, decision_id


def _close_slots(slots: list[_Slot], *, needed: int) -> list[int]:
    """Take away empty slots beyond what is needed that nobody holds, the last first; returns their rows."""
    closed = []
    for slot in reversed(slots.copy()):
        if len(slots) <= needed:
            break
        if slot.decision_id is None and not slot.is_leased and slot.id is not None:
            slots.remove(slot)
            closed.append(slot.id)
    return closed


def _write(connection: Connection, changes: _Changes) -> None:
    run = connection.exec_driver_sql
    if changes.closed:
        closed = json.dumps(changes.closed)
        # A lease that ran out may still point at it.
        run("DELETE FROM lease WHERE slot_id IN (SELECT value FROM json_each(?))", (closed,))
        run("DELETE FROM task_slot WHERE id IN (SELECT value FROM json_each(?))", (closed,))
    if changes.seated:
        run("UPDATE task_slot SET annotator_id = ?, decision_id = ? WHERE id = ?", changes.seated)
    if changes.opened:
        run(
            "INSERT INTO task_slot "
            "(task_id, mask_id, number, rank, position, expected_id, annotator_id, decision_id) "
            "SELECT task_id, mask_id, ?, rank, position, expected_id, ?, ? FROM task_mask "
            "WHERE task_id = ? AND mask_id = ?",
            changes.opened,
        )
    if changes.states:
        run(
            "UPDATE task_mask SET status = ? WHERE task_id = ? AND mask_id = ?",
            changes.states,
        )


def _standing_votes(connection: Connection, masks: str) -> dict[int, _Votes]:
    """Return what stands on masks (a JSON list), by mask; those on which nothing does are left out."""
    found: dict[int, _Votes] = {}
    for mask_id, decision_id, annotator_id, outcome, label, mode in connection.exec_driver_sql(
        "SELECT d.mask_id, d.id, d.annotator_id, d.outcome, d.label_class_id, d.mode "
        "FROM json_each(?) AS asked CROSS JOIN decision AS d "
        f"WHERE d.mask_id = asked.value AND d.outcome <> 'withdrawn' AND {stands('d')} ORDER BY d.id",
        (masks,),
    ):
        votes = found.setdefault(mask_id, _Votes())
        if mode == "adjudication":
            votes.is_adjudicated |= outcome != "unsure"
        else:
            votes.by_annotator[annotator_id] = (decision_id, Vote(Outcome(outcome), label))
    return found


def _slots_of(
    connection: Connection, task_id: int, masks: str, *, now: float
) -> dict[int, list[_Slot]]:
    found: dict[int, list[_Slot]] = {}
    for mask_id, *slot in connection.exec_driver_sql(
        "SELECT s.mask_id, s.id, s.number, s.annotator_id, s.decision_id, COALESCE(l.expires_at > ?, 0) "
        "FROM json_each(?) AS asked CROSS JOIN task_slot AS s LEFT JOIN lease AS l ON l.slot_id = s.id "
        "WHERE s.task_id = ? AND s.mask_id = asked.value ORDER BY s.mask_id, s.number",
        (now, masks, task_id),
    ):
        found.setdefault(mask_id, []).append(_Slot(*slot))
    return found


def _states_of(connection: Connection, task_id: int, masks: str) -> list[tuple[int, str]]:
    rows = connection.exec_driver_sql(
        "SELECT m.mask_id, m.status FROM json_each(?) AS asked CROSS JOIN task_mask AS m "
        "WHERE m.task_id = ? AND m.mask_id = asked.value",
        (masks, task_id),
    )
    return [(int(mask_id), str(status)) for mask_id, status in rows]
