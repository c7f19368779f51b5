"""Annotators: who they are, what they may do, how they work, and what a curator does about it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from mseg_curate.clock import iso_of
from mseg_curate.core.accuracy import GoldScore
from mseg_curate.errors import InputError, StoreError
from mseg_curate.review import Person
from mseg_curate.store import Connection, Store
from mseg_curate.store import annotators as rows
from mseg_curate.store.chores import count_reopened, finish_chores, promise_reopening
from mseg_curate.store.gold import exposures_of_people, scores_of_people
from mseg_curate.store.tasks import load_task

__all__ = [
    "ROLES",
    "PersonRecord",
    "Role",
    "add_annotator",
    "check_name",
    "describe_people",
    "find_named",
    "find_person",
    "list_people",
    "make_first_admin",
    "pause_person",
    "reopen_decisions",
    "resume_person",
    "set_login",
    "set_role",
    "sign_in_person",
]

Role = Literal["annotator", "curator", "admin"]
ROLES: tuple[Role, ...] = ("annotator", "curator", "admin")
LONGEST_NAME = 64
# Of less work than a minute a pace says nothing.
LEAST_TIMED_S = 60
_SIMULATED = "simulated-"
_PUBLISHED = "mseg-published"


@dataclass(frozen=True)
class PersonRecord:
    """An annotator and how they work, over all tasks.

    `gold` counts their answers on active evaluation gold, `agreed` on how many of the `compared` votes of others on
    the same masks they agree. Seconds are of single decisions, one that took over a minute counted as a minute; None
    where none was timed. `event` is the last thing that befell them, in words.
    """

    person: Person
    kind: str
    decisions: int
    grid_share: float
    gold: GoldScore
    gold_seen: int
    agreed: int
    compared: int
    median_s: float | None
    per_hour: float | None
    last_decision_at: str | None
    event: str


def sign_in_person(store: Store, name: str, *, login: str | None = None, now: float) -> Person:
    """Return the annotator of a name, or of a sign-in service's identity `login`; made where there is none.

    An identity never takes over a name that is there: a newcomer whose name is taken is told apart by a number.
    Raises InputError for what is no name, StoreError for one that stands for imported or simulated decisions.
    """
    name = check_name(name)
    with store.writing() as connection:
        if login is None:
            row = rows.find_annotator(connection, name)
            if row is not None and row.kind != "person":
                raise _not_a_person(name)
        else:
            row = rows.find_login(connection, login)
            if row is None:
                name = _free_name(connection, name)
        if row is None:
            row = _join(connection, name, login=login, now=now)
    return _person(row)


def _join(connection: Connection, name: str, *, login: str | None, now: float) -> rows.PersonRow:
    row = rows.add_person(connection, name, login=login, now=iso_of(now))
    rows.note_event(connection, row.id, kind="joined", by=name, note="", now=iso_of(now))
    return row


def add_annotator(
    store: Store, name: str, *, role: str, login: str | None = None, by: str, now: float
) -> Person:
    """Return the annotator of a name with a role and perhaps an identity, made where there is none.

    An `annotator` who is more keeps their role. All is stored or nothing: raises what `check_name`, `set_role` and
    `set_login` raise.
    """
    name = check_name(name)
    with store.writing() as connection:
        row = rows.find_annotator(connection, name) or _join(connection, name, login=None, now=now)
        row = _require_person(connection, row.name)
        if role != "annotator":
            row = _give_role(connection, row, role=role, by=by, note="", now=now)
        if login is not None:
            _give_login(connection, row, login=login, by=by, now=now)
    return _person(row)


def check_name(name: str) -> str:
    """Return the name of an annotator without blanks at its ends.

    Raises InputError unless it has 1 … 64 printable characters, StoreError where it is kept for simulated or
    published decisions.
    """
    trimmed = name.strip()
    if not 1 <= len(trimmed) <= LONGEST_NAME or not trimmed.isprintable():
        raise InputError(
            "name of an annotator",
            expected=f"1 to {LONGEST_NAME} printable characters",
            found=repr(name if len(name) <= LONGEST_NAME else name[:LONGEST_NAME] + "…"),
        )
    if trimmed == _PUBLISHED or trimmed.startswith(_SIMULATED):
        raise _not_a_person(trimmed)
    return trimmed


def _not_a_person(name: str) -> StoreError:
    return StoreError(
        f"the name {name!r} stands for imported or simulated decisions; choose another name"
    )


def _free_name(connection: Connection, name: str) -> str:
    free, number = name, 2
    while rows.find_annotator(connection, free) is not None:
        ending = f" ({number})"
        free, number = name[: LONGEST_NAME - len(ending)] + ending, number + 1
    return free


def find_person(store: Store, person_id: int) -> Person | None:
    """Return a person by the row id; None for a stranger and for annotators who are no people."""
    with store.reading() as connection:
        row = rows.load_person(connection, person_id)
    return None if row is None or row.kind != "person" else _person(row)


def find_named(store: Store, name: str) -> Person | None:
    """Return a person by name, as `find_person` does by row id."""
    with store.reading() as connection:
        row = rows.find_annotator(connection, name)
    return None if row is None or row.kind != "person" else _person(row)


def list_people(store: Store) -> list[Person]:
    """Return the people among the annotators, in the order of their names."""
    with store.reading() as connection:
        return [_person(r) for r in rows.list_annotators(connection) if r.kind == "person"]


def make_first_admin(store: Store, name: str, *, now: float) -> bool:
    """Make a person the admin of a store that has none; says whether they became it.

    Of people who sign in at the same instant, in however many processes, one does.
    """
    with store.writing() as connection:
        row = _require_person(connection, name)
        if rows.has_role(connection, "admin"):
            return False
        rows.set_role(connection, row.id, "admin")
        note = f"{row.role} → admin: first to sign in"
        _note(connection, row, kind="role", by=name, note=note, now=now)
    return True


def describe_people(store: Store) -> list[PersonRecord]:
    """Return all annotators, simulated and published ones too, with how they work."""
    with store.reading() as connection:
        people = rows.list_annotators(connection)
        work = rows.work_of_people(connection)
        agreement = rows.agreement_of_people(connection)
        events = rows.latest_events(connection)
        gold = scores_of_people(connection)
        seen = exposures_of_people(connection)
    records = []
    for row in people:
        done = work.get(row.id, rows.WorkRow())
        agreed, compared = agreement.get(row.id, (0, 0))
        event = events.get(row.id)
        records.append(
            PersonRecord(
                _person(row),
                row.kind,
                done.decisions,
                done.in_grid / done.decisions if done.decisions else 0.0,
                gold.get(row.id, GoldScore(0, 0)),
                seen.get(row.id, 0),
                agreed,
                compared,
                done.median_s,
                3600 * done.timed / done.seconds if done.seconds >= LEAST_TIMED_S else None,
                done.last_at,
                "" if event is None else _in_words(event),
            )
        )
    return records


def _in_words(event: rows.EventRow) -> str:
    said = f"{event.at[:10]} {event.kind} by {event.by}"
    return f"{said}: {event.note}" if event.note else said


def set_role(store: Store, name: str, *, role: str, by: str, note: str = "", now: float) -> Person:
    """Give a person a role; returns them as they are then.

    Raises InputError for another role, StoreError for an unknown name and for the last admin.
    """
    with store.writing() as connection:
        row = _require_person(connection, name)
        return _person(_give_role(connection, row, role=role, by=by, note=note, now=now))


def _give_role(
    connection: Connection, row: rows.PersonRow, *, role: str, by: str, note: str, now: float
) -> rows.PersonRow:
    if role not in ROLES:
        raise InputError("role of an annotator", expected=", ".join(ROLES), found=repr(role))
    if row.role == role:
        return row
    if row.role == "admin":
        _refuse_last_admin(connection, row)
    rows.set_role(connection, row.id, role)
    said = f"{row.role} → {role}"
    _note(connection, row, kind="role", by=by, note=f"{said}: {note}" if note else said, now=now)
    return replace(row, role=role)


def _refuse_last_admin(connection: Connection, row: rows.PersonRow) -> None:
    others = [r for r in rows.list_annotators(connection) if r.role == "admin" and r.id != row.id]
    if not others:
        raise StoreError(
            f"{row.name!r} is the last admin; make somebody else an admin first: "
            "`mseg-curate annotator role NAME admin`"
        )


def set_login(store: Store, name: str, *, login: str, by: str, now: float) -> Person:
    """Say which identity of the sign-in service a person has; raises StoreError where it is somebody else's."""
    with store.writing() as connection:
        row = _require_person(connection, name)
        _give_login(connection, row, login=login, by=by, now=now)
        return _person(row)


def _give_login(
    connection: Connection, row: rows.PersonRow, *, login: str, by: str, now: float
) -> None:
    if not login.strip() or not login.isprintable():
        raise InputError(
            "identity of an annotator", expected="issuer and subject", found=repr(login)
        )
    other = rows.find_login(connection, login.strip())
    if other is not None and other.id != row.id:
        raise StoreError(f"the identity {login!r} is {other.name!r} already")
    rows.set_login(connection, row.id, login.strip())
    _note(connection, row, kind="role", by=by, note=f"signs in as {login.strip()}", now=now)


def pause_person(store: Store, name: str, *, by: str, note: str, now: float) -> Person:
    """Let a person decide no more until they are resumed; raises InputError without a reason."""
    return _set_status(store, name, status="paused", kind="paused", by=by, note=note, now=now)


def resume_person(store: Store, name: str, *, by: str, note: str, now: float) -> Person:
    """Let a paused person decide again; for the bar of a task's gold they begin anew."""
    return _set_status(store, name, status="active", kind="resumed", by=by, note=note, now=now)


def _set_status(
    store: Store, name: str, *, status: str, kind: str, by: str, note: str, now: float
) -> Person:
    reason = _require_reason(note)
    with store.writing() as connection:
        row = _require_person(connection, name)
        if row.status == status:
            raise StoreError(f"{name!r} is {status} already")
        rows.set_status(connection, row.id, status)
        _note(connection, row, kind=kind, by=by, note=reason, now=now)
        return Person(row.id, row.name, row.role, status)


def reopen_decisions(store: Store, name: str, task: str, *, by: str, note: str, now: float) -> int:
    """Withdraw all votes of an annotator in a task, so that others decide its masks; returns how many votes.

    The votes are superseded, not erased, and the annotator is not given these masks again. Raises StoreError for an
    unknown name or task, InputError without a reason. It is done some votes at a time; stopped half-way, those who
    claim masks go on with it, or the next command.
    """
    reason = _require_reason(note)
    with store.writing() as connection:
        row = rows.find_annotator(connection, name)
        if row is None:
            raise _unknown(connection, name)
        chore = promise_reopening(
            connection, row.id, load_task(connection, task).id, by=by, note=f" of {task}: {reason}",
            now=iso_of(now),
        )  # fmt: skip
    finish_chores(store, now=now)
    with store.reading() as connection:
        return count_reopened(connection, chore)


def _require_reason(note: str) -> str:
    if not note.strip():
        raise InputError("a reason is missing", expected="a few words that others will read")
    return note.strip()


def _require_person(connection: Connection, name: str) -> rows.PersonRow:
    row = rows.find_annotator(connection, name)
    if row is None:
        raise _unknown(connection, name)
    if row.kind != "person":
        raise _not_a_person(name)
    return row


def _unknown(connection: Connection, name: str) -> StoreError:
    known = ", ".join(repr(r.name) for r in rows.list_annotators(connection)[:12]) or "none"
    return StoreError(f"no annotator {name!r} in the store; known: {known}")


def _note(
    connection: Connection,
    row: rows.PersonRow,
    *,
    kind: str,
    by: str,
    note: str,
    now: float,
    task_id: int | None = None,
) -> None:
    rows.note_event(
        connection, row.id, kind=kind, by=by, note=note, now=iso_of(now), task_id=task_id
    )


def _person(row: rows.PersonRow) -> Person:
    return Person(row.id, row.name, row.role, row.status)
