"""Operations of an annotator's page: decide, undo, skip, except, flag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mseg_curate.clock import iso_of
from mseg_curate.core.consensus import Outcome
from mseg_curate.errors import ReviewError
from mseg_curate.review.bar import hold_to_bar
from mseg_curate.review.exceptions import note_exception, take_exception_back
from mseg_curate.review.items import (
    EarlierVote,
    Feedback,
    Operation,
    Result,
    item_of,
    require_person,
    require_task,
)
from mseg_curate.store import Connection, Store, leases, queue
from mseg_curate.store.activity import (
    DecisionRow,
    decision_of_uuid,
    standing_decision,
    votes_on_mask,
)
from mseg_curate.store.decisions import append_decisions, latest_decision
from mseg_curate.store.flags import add_flag
from mseg_curate.store.gold import (
    exposure_of,
    gold_answers,
    load_gold,
    note_answer,
)
from mseg_curate.store.leases import Claimant
from mseg_curate.store.settle import settle_everywhere
from mseg_curate.store.tasks import TaskRow, default_class
from mseg_curate.store.withdrawals import withdrawal_of

__all__ = ["apply_operations"]

_OUTCOMES = {o.value for o in Outcome} - {Outcome.WITHDRAWN.value}
_LATE = "The mask went back to the queue while this page slept"


class _RefusedError(Exception):
    """An operation that cannot be done, and why."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def apply_operations(
    store: Store, person_id: int, operations: Sequence[Operation], *, client: str, now: float
) -> list[Result]:
    """Apply what a page asks for, in order; an operation is done whole, refused, or known from an earlier try.

    All are one transaction, and results are returned after its commit. A refused operation changes nothing and does not
    stop those after it.
    """
    with store.writing() as connection:
        return [
            _apply(connection, person_id, operation, client=client, now=now)
            for operation in operations
        ]


def _apply(
    connection: Connection, person_id: int, operation: Operation, *, client: str, now: float
) -> Result:
    try:
        with connection.begin_nested():
            return _DOERS[operation.op](connection, person_id, operation, client, now)
    except _RefusedError as refusal:
        return Result(operation.uuid, "refused", refusal.reason, str(refusal))
    except ReviewError as error:
        return Result(operation.uuid, "refused", error.reason, str(error))


# --- decide ---------------------------------------------------------------------------------------


def _decide(
    connection: Connection, person_id: int, operation: Operation, _client: str, now: float
) -> Result:
    stored = decision_of_uuid(connection, bytes.fromhex(operation.uuid))
    if stored is not None:
        return _known(connection, person_id, stored, operation)
    lease = _own_lease(connection, person_id, operation)
    person = require_person(connection, person_id, mode=lease.mode)
    task = require_task(connection, lease.task_id, answering=True)
    _check_outcome(operation, task)
    # A page may say when a key was pressed, but not that it was before the mask was handed out.
    made_at = max(lease.leased_at, now - max(0.0, operation.age_s))
    before = standing_decision(connection, lease.mask_id, annotator_id=person.id)
    _check_lease(connection, lease, before, made_at=made_at, now=now)
    decision_id = _append(connection, operation, lease, task, before=before, made_at=made_at)
    leases.delete_lease(connection, lease.id)
    if lease.gold_id is not None:
        note_answer(connection, lease.gold_id, person.id, decision_id=decision_id)
    settle_everywhere(connection, [lease.mask_id], now=now)
    if lease.gold_id is not None:
        hold_to_bar(connection, person, task, now=now)
    return _stored(
        connection, operation, mask_id=lease.mask_id, mode=lease.mode, gold_id=lease.gold_id
    )


def _own_lease(connection: Connection, person_id: int, operation: Operation) -> leases.Lease:
    lease = leases.find_lease(connection, bytes.fromhex(operation.lease))
    if lease is None:
        raise _RefusedError(
            "unknown", "This mask is not yours any more; it was given back or is decided already"
        )
    if lease.annotator_id != person_id:
        raise _RefusedError("not_yours", "This mask was given to somebody else")
    return lease


def _check_outcome(operation: Operation, task: TaskRow) -> None:
    if operation.outcome not in _OUTCOMES:
        raise _RefusedError("invalid", f"{operation.outcome!r} is no outcome")
    if (operation.outcome == "class") != bool(operation.class_name):
        raise _RefusedError("invalid", "a class is named with the outcome class, and only then")
    if operation.class_name and operation.class_name not in task.candidates:
        raise _RefusedError(
            "invalid", f"{operation.class_name!r} is no candidate of the task {task.name}"
        )


def _check_lease(
    connection: Connection,
    lease: leases.Lease,
    before: DecisionRow | None,
    *,
    made_at: float,
    now: float,
) -> None:
    """Refuse a decision made after its lease ran out, or on a mask that others have decided since."""
    # Gold is adjudicated from the start: to its annotators it looks like any mask that waits.
    status, decided = ("open", 0)
    if lease.gold_id is None:
        status, decided = queue.mask_state(connection, lease.task_id, lease.mask_id)
    if before is not None and before.outcome != "withdrawn":
        raise _RefusedError("decided", "You have decided this mask already; that decision stands")
    if made_at > lease.expires_at:
        raise _RefusedError("expired", f"{_LATE} ({_say_state(status, decided)})")
    if lease.gold_id is not None:
        return
    if lease.mode == "adjudication":
        if status != "contested" and before is None:
            raise _RefusedError("adjudicated", f"{_LATE} ({_say_state(status, decided)})")
    elif leases.free_slot(connection, lease, now=now) is None:
        raise _RefusedError("taken", f"{_LATE} ({_say_state(status, decided)})")


def _say_state(status: str, decided: int) -> str:
    decisions = "1 decision" if decided == 1 else f"{decided} decisions"
    return f"it is {status} now, with {decisions}"


def _append(
    connection: Connection,
    operation: Operation,
    lease: leases.Lease,
    task: TaskRow,
    *,
    before: DecisionRow | None,
    made_at: float,
) -> int:
    labels = dict(zip(task.candidates, task.candidate_ids, strict=True))
    append_decisions(
        connection,
        [
            (
                bytes.fromhex(operation.uuid),
                lease.mask_id,
                task.id,
                task.mapping_revision,
                default_class(connection, task.id),
                operation.outcome,
                labels.get(operation.class_name),
                lease.annotator_id,
                lease.mode,
                operation.milliseconds,
                iso_of(made_at),
                None if before is None else before.id,
            )
        ],
    )
    return latest_decision(connection)[0]


def _known(
    connection: Connection, person_id: int, stored: DecisionRow, operation: Operation
) -> Result:
    """Answer a retry as the first try was answered."""
    if stored.annotator_id != person_id:
        raise _RefusedError("not_yours", "This UUID belongs to a decision of somebody else")
    if stored.outcome != operation.outcome or stored.class_name != operation.class_name:
        raise _RefusedError("invalid", "This UUID belongs to another decision of yours")
    gold_id = exposure_of(connection, stored.mask_id, person_id)
    result = _stored(
        connection, operation, mask_id=stored.mask_id, mode=stored.mode, gold_id=gold_id
    )
    return replace(result, status="known")


def _stored(
    connection: Connection, operation: Operation, *, mask_id: int, mode: str, gold_id: int | None
) -> Result:
    """The answer to a decision: what practice teaches, and what an adjudicator may see now."""
    feedback = None
    gold = load_gold(connection, gold_id) if gold_id is not None else None
    if gold is not None and gold.kind == "training":
        right = (gold.outcome, gold.class_name) == (operation.outcome, operation.class_name)
        answer = gold.class_name or gold.outcome.replace("_", " ")
        feedback = Feedback(right, answer, gold.note)
    votes: tuple[EarlierVote, ...] = ()
    if mode == "adjudication":
        votes = tuple(EarlierVote(*vote) for vote in votes_on_mask(connection, mask_id))
    return Result(operation.uuid, "stored", feedback=feedback, votes=votes)


# --- undo -----------------------------------------------------------------------------------------


def _undo(
    connection: Connection, person_id: int, operation: Operation, client: str, now: float
) -> Result:
    token = bytes.fromhex(operation.lease)
    done = decision_of_uuid(connection, bytes.fromhex(operation.uuid))
    if done is not None:
        return _known_undo(connection, person_id, operation, done, now=now)
    if decision_of_uuid(connection, bytes.fromhex(operation.of)) is None:
        back = take_exception_back(connection, person_id, operation, client=client, now=now)
        if back is not None:
            return Result(operation.uuid, "stored", item=back)
    target = _own_decision(connection, person_id, operation)
    person = require_person(connection, person_id, mode=_mode(target.mode))
    task = require_task(connection, target.task_id or 0, answering=True)
    gold_id = exposure_of(connection, target.mask_id, person.id)
    status, _ = queue.mask_state(connection, task.id, target.mask_id)
    if status == "adjudicated" and gold_id is None and target.mode != "adjudication":
        raise _RefusedError("adjudicated", "A curator has decided this mask since; ask them")
    if leases.find_lease(connection, token) is not None:
        raise _RefusedError("invalid", "This lease exists already")
    made_at = now - max(0.0, operation.age_s)
    row = withdrawal_of(
        target.id, uuid=bytes.fromhex(operation.uuid), mask_id=target.mask_id, task_id=task.id,
        revision=task.mapping_revision, annotator_id=person.id, mode=target.mode,
        milliseconds=operation.milliseconds, now=iso_of(made_at),
    )  # fmt: skip
    append_decisions(connection, [row])
    slot_id = queue.empty_slot(connection, task.id, target.mask_id, annotator_id=person.id)
    if gold_id is not None:
        note_answer(connection, gold_id, person.id, decision_id=None)
    needs_slot = gold_id is None and target.mode != "adjudication"
    item = None
    if slot_id is not None or not needs_slot:
        who = _again(target, task, client=client, now=now)
        leases.grant_lease(
            connection, who, token=token, mask_id=target.mask_id, slot_id=slot_id, gold_id=gold_id
        )
        item = item_of(connection, target.mask_id, token=token, expires_at=who.until, now=now)
    settle_everywhere(connection, [target.mask_id], now=now)
    message = "" if item else "Withdrawn; the mask has the decisions it needs without yours"
    return Result(operation.uuid, "stored", message=message, item=item)


def _own_decision(connection: Connection, person_id: int, operation: Operation) -> DecisionRow:
    target = decision_of_uuid(connection, bytes.fromhex(operation.of))
    if target is None or target.annotator_id != person_id:
        raise _RefusedError("not_yours", "There is no such decision of yours")
    if not target.stands or target.outcome == "withdrawn":
        raise _RefusedError("decided", "This decision was taken back or replaced already")
    if target.mode == "import":
        raise _RefusedError("invalid", "This decision was imported; import another instead")
    if target.id in gold_answers(connection):
        raise _RefusedError("invalid", "This is the answer of a gold mask; retire that instead")
    return target


def _known_undo(
    connection: Connection,
    person_id: int,
    operation: Operation,
    done: DecisionRow,
    *,
    now: float,
) -> Result:
    if done.annotator_id != person_id or done.outcome != "withdrawn":
        raise _RefusedError("not_yours", "This UUID belongs to another decision")
    lease = leases.find_lease(connection, bytes.fromhex(operation.lease))
    item = None
    if lease is not None and lease.annotator_id == person_id:
        item = item_of(
            connection, lease.mask_id, token=lease.token, expires_at=lease.expires_at, now=now
        )
    return Result(operation.uuid, "known", item=item)


def _again(target: DecisionRow, task: TaskRow, *, client: str, now: float) -> Claimant:
    """Who gets back the mask of a decision: in the lane of the page that made it, where a reload looks for it."""
    mode = _mode(target.mode)
    of_class = target.label_class_id if mode == "grid" else None
    return Claimant(task.id, target.annotator_id, mode, client, now, task.options.lease_s, of_class)


def _mode(mode: str) -> leases.ReviewMode:
    if mode == "grid":
        return "grid"
    return "adjudication" if mode == "adjudication" else "single"


# --- skip, except, flag ---------------------------------------------------------------------------


def _skip(
    connection: Connection, person_id: int, operation: Operation, _client: str, now: float
) -> Result:
    """Give a mask back; it comes again when the queue has been walked to its end."""
    lease = leases.find_lease(connection, bytes.fromhex(operation.lease))
    if lease is None or lease.annotator_id != person_id:
        return Result(operation.uuid, "known")
    if operation.op == "except":
        note_exception(connection, lease)
    else:
        leases.delete_lease(connection, lease.id)
    settle_everywhere(connection, [lease.mask_id], now=now)
    return Result(operation.uuid, "stored")


def _flag(
    connection: Connection, person_id: int, operation: Operation, _client: str, now: float
) -> Result:
    lease = _own_lease(connection, person_id, operation)
    comment = operation.comment.strip()
    if not comment:
        raise _RefusedError("invalid", "A flag says what is wrong: its comment is empty")
    is_new = add_flag(
        connection,
        bytes.fromhex(operation.uuid),
        task_id=lease.task_id,
        mask_id=lease.mask_id,
        annotator_id=person_id,
        comment=comment,
        now=iso_of(now),
    )
    return Result(operation.uuid, "stored" if is_new else "known")


_DOERS = {"decide": _decide, "undo": _undo, "skip": _skip, "except": _skip, "flag": _flag}
