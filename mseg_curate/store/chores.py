"""Chores: what a change has promised to do to many masks, done in steps so short that nobody waits for them.

A chore is stored in the transaction that asks for it, and each step notes in its own transaction how far it came: what
was promised is done in the end, whoever is killed. Who asked for it goes on with it; where they are gone, claims and
later commands take it up.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic, perf_counter, sleep

from sqlalchemy import Connection

from mseg_curate.clock import iso_of
from mseg_curate.store.annotators import note_event
from mseg_curate.store.decisions import latest_decision
from mseg_curate.store.engine import Store
from mseg_curate.store.settle import settle_everywhere, settle_masks
from mseg_curate.store.steps import PAUSE_S, STEP_S
from mseg_curate.store.withdrawals import reopen_votes

__all__ = [
    "count_reopened",
    "finish_chores",
    "help_with_chores",
    "promise_reopening",
    "promise_settling",
    "promise_settling_task",
    "work_on_chores",
]

# Nobody works on a chore that was not touched for so long: whoever did was killed, or left it to others.
_ABANDONED_S = 0.25
_CLOCK_S = 60
_AT_ONCE = 100


@dataclass(frozen=True)
class _Chore:
    """A chore: it has come to row `done_to` of those that end with `last_id`."""

    id: int
    kind: str
    task_id: int | None
    annotator_id: int | None
    done_to: int
    last_id: int
    withdrawn: int
    by: str
    note: str
    asked_at: str


_CHORE = "id, kind, task_id, annotator_id, done_to, last_id, withdrawn, by, note, asked_at"


def promise_settling_task(connection: Connection, task_id: int, *, now: str) -> None:
    """Promise to settle all masks of a task, whose options were changed."""
    last: int = connection.exec_driver_sql(
        "SELECT COALESCE(MAX(mask_id), 0) FROM task_mask WHERE task_id = ?", (task_id,)
    ).scalar_one()
    _promise(connection, "task", last, now=now, task_id=task_id)


def promise_settling(connection: Connection, *, after: int, now: str) -> None:
    """Promise to settle the masks of all decisions after one (0: of all), which were just appended."""
    last = latest_decision(connection)[0]
    if last > after:
        _promise(connection, "decisions", last, done_to=after, now=now)


def promise_reopening(
    connection: Connection, annotator_id: int, task_id: int, *, by: str, note: str, now: str
) -> int:
    """Promise to withdraw the votes of an annotator in a task that stand now; returns the chore.

    When the last is withdrawn, the event `reopened` says how many they were, and `note`.
    """
    last = latest_decision(connection)[0]
    return _promise(
        connection, "reopen", last, task_id=task_id, annotator_id=annotator_id, by=by, note=note,
        now=now,
    )  # fmt: skip


def _promise(
    connection: Connection,
    kind: str,
    last_id: int,
    *,
    now: str,
    done_to: int = 0,
    task_id: int | None = None,
    annotator_id: int | None = None,
    by: str = "",
    note: str = "",
) -> int:
    chore_id: int = connection.exec_driver_sql(
        "INSERT INTO chore (kind, task_id, annotator_id, done_to, last_id, by, note, asked_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
        (kind, task_id, annotator_id, done_to, last_id, by, note, now),
    ).scalar_one()
    return chore_id


def count_reopened(connection: Connection, chore_id: int) -> int:
    """Return how many votes a chore has withdrawn."""
    return int(
        connection.exec_driver_sql(
            "SELECT withdrawn FROM chore WHERE id = ?", (chore_id,)
        ).scalar_one()
    )


def finish_chores(store: Store, *, now: float) -> None:
    """Do all chores of a store, and give way to others between the steps."""
    began = monotonic()
    with store.reading() as connection:
        is_left = _next_chore(connection) is not None
    while is_left:
        with store.writing() as connection:
            is_left = work_on_chores(connection, now=now + monotonic() - began)
        if is_left:
            sleep(PAUSE_S)


def help_with_chores(connection: Connection, *, now: float) -> None:
    """Do one step of a chore that nobody works on; for those who have the store for themselves anyway."""
    row = connection.exec_driver_sql(
        "SELECT touched_at FROM chore WHERE finished_at IS NULL ORDER BY id LIMIT 1"
    ).first()
    # Whoever waited for the store may be older than the last step; a clock that was set back is older by far.
    if row is not None and not now - _ABANDONED_S < row[0] < now + _CLOCK_S:
        work_on_chores(connection, now=now)


def work_on_chores(connection: Connection, *, now: float) -> bool:
    """Do one step of the oldest chores, some hundredths of a second; says whether anything is left to do."""
    until = perf_counter() + STEP_S
    chore = _next_chore(connection)
    while chore is not None and perf_counter() < until:
        _do_part(connection, chore, now=now)
        chore = _next_chore(connection)
    return chore is not None


def _next_chore(connection: Connection) -> _Chore | None:
    row = connection.exec_driver_sql(
        f"SELECT {_CHORE} FROM chore WHERE finished_at IS NULL ORDER BY id LIMIT 1"
    ).first()
    return None if row is None else _Chore(*row)


def _do_part(connection: Connection, chore: _Chore, *, now: float) -> None:
    withdrawn = 0
    if chore.kind == "reopen":
        done_to, withdrawn = _reopen_some(connection, chore, now=now)
    elif chore.kind == "task":
        done_to = _settle_some_of_task(connection, chore, now=now)
    else:
        done_to = _settle_some_decisions(connection, chore, now=now)
    is_done = done_to >= chore.last_id
    connection.exec_driver_sql(
        "UPDATE chore SET done_to = ?, withdrawn = withdrawn + ?, touched_at = ?, "
        "finished_at = ? WHERE id = ?",
        (done_to, withdrawn, now, iso_of(now) if is_done else None, chore.id),
    )
    if is_done and chore.annotator_id is not None:
        count = f"{chore.withdrawn + withdrawn} decisions"
        note_event(
            connection, chore.annotator_id, kind="reopened", by=chore.by, note=count + chore.note,
            now=chore.asked_at, task_id=chore.task_id,
        )  # fmt: skip


def _settle_some_of_task(connection: Connection, chore: _Chore, *, now: float) -> int:
    rows = connection.exec_driver_sql(
        "SELECT mask_id FROM task_mask WHERE task_id = ? AND mask_id > ? AND mask_id <= ? "
        "ORDER BY mask_id LIMIT ?",
        (chore.task_id, chore.done_to, chore.last_id, _AT_ONCE),
    )
    masks = [int(row[0]) for row in rows]
    settle_masks(connection, chore.task_id or 0, mask_ids=masks, now=now)
    return masks[-1] if len(masks) == _AT_ONCE else chore.last_id


def _settle_some_decisions(connection: Connection, chore: _Chore, *, now: float) -> int:
    rows = connection.exec_driver_sql(
        "SELECT id, mask_id FROM decision WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",
        (chore.done_to, chore.last_id, _AT_ONCE),
    ).all()
    settle_everywhere(connection, [int(row[1]) for row in rows], now=now)
    return int(rows[-1][0]) if len(rows) == _AT_ONCE else chore.last_id


def _reopen_some(connection: Connection, chore: _Chore, *, now: float) -> tuple[int, int]:
    rows = connection.exec_driver_sql(
        "SELECT id FROM decision WHERE annotator_id = ? AND task_id = ? AND id > ? AND id <= ? "
        "ORDER BY id LIMIT ?",
        (chore.annotator_id, chore.task_id, chore.done_to, chore.last_id, _AT_ONCE),
    )
    decisions = [int(row[0]) for row in rows]
    masks = reopen_votes(connection, decisions, now=chore.asked_at)
    settle_everywhere(connection, masks, now=now)
    return (decisions[-1] if len(decisions) == _AT_ONCE else chore.last_id), len(masks)
