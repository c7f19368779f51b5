"""Leases: one annotator's right to decide one mask for some minutes, and the order in which masks are handed out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Literal, NamedTuple

from sqlalchemy import Connection

from mseg_curate.store.standing import stands

__all__ = [
    "DECIDED_BY",
    "HELD_BY",
    "Claim",
    "Claimant",
    "Lease",
    "ReviewMode",
    "Scouted",
    "claim_next",
    "delete_lease",
    "find_lease",
    "forget_expired",
    "free_slot",
    "grant_lease",
    "own_leases",
    "release_leases",
    "renew_leases",
    "rest_lane",
    "rewind_cursors",
    "scout_lane",
    "stand_before",
]

ReviewMode = Literal["single", "grid", "adjudication"]

_KEEP_S = 86_400
# So many slots, or contested masks, are looked at while the store is kept from others: some milliseconds. Most often
# the next is among the first few.
_WINDOWS = (50, 2000)
_SCOUTED_AT_ONCE = 20_000
_FORGOTTEN_AT_ONCE = 2000
_BEFORE_ALL = (-(2**62), -1)
_AFTER_ALL = (2**62, 2**62)

# Decided by this annotator, and the decision stands; or taken from them by a curator, who wants another's. The plus
# keeps SQLite from walking all decisions of the annotator, of whom there may be a hundred thousand, at every mask.
DECIDED_BY = f"""EXISTS (
  SELECT 1 FROM decision AS d WHERE d.mask_id = {{mask}} AND +d.annotator_id = :me
  AND (d.outcome <> 'withdrawn' OR d.mode = 'adjudication')
  AND {stands("d")})"""

HELD_BY = """EXISTS (
  SELECT 1 FROM lease AS own WHERE own.mask_id = {mask} AND own.annotator_id = :me AND own.expires_at > :now)"""

# The first condition says of most masks that this annotator has decided that they did, from an index alone.
_OPEN_SLOTS = f"""
FROM task_slot AS s INDEXED BY {{index}}
WHERE s.task_id = :task_id AND {{in_lane}} AND s.decision_id IS NULL
  AND (s.rank, s.position) > (:rank, :position) {{until}}
  AND NOT EXISTS (SELECT 1 FROM task_slot AS mine WHERE mine.mask_id = s.mask_id AND mine.task_id = s.task_id
                  AND mine.annotator_id = :me)
  AND NOT EXISTS (SELECT 1 FROM task_mask AS m WHERE m.task_id = s.task_id AND m.mask_id = s.mask_id
                  AND m.status = 'adjudicated')
  AND NOT EXISTS (SELECT 1 FROM lease AS l WHERE l.slot_id = s.id AND l.expires_at > :now)
  AND NOT EXISTS (SELECT 1 FROM grid_exception AS x WHERE :mode = 'grid' AND x.task_id = s.task_id
                  AND x.mask_id = s.mask_id AND x.annotator_id = :me)
  AND NOT {HELD_BY.format(mask="s.mask_id")}
  AND NOT {DECIDED_BY.format(mask="s.mask_id")}
ORDER BY s.rank, s.position, s.number LIMIT 1
"""
_CONTESTED = f"""
FROM task_mask AS s
WHERE s.task_id = :task_id AND s.status = 'contested' AND s.position > :position AND s.position <= :end_position
  AND NOT EXISTS (SELECT 1 FROM lease AS l WHERE l.task_id = s.task_id AND l.mask_id = s.mask_id
                  AND l.mode = 'adjudication' AND l.expires_at > :now)
  AND NOT {HELD_BY.format(mask="s.mask_id")}
  AND NOT {DECIDED_BY.format(mask="s.mask_id")}
ORDER BY s.position LIMIT 1
"""
# One statement finds the next mask and leases it. An expired lease is in nobody's way: the new one replaces it.
_LEASE_IT = """
INSERT OR REPLACE INTO lease
  (token, task_id, mask_id, annotator_id, slot_id, gold_id, mode, lane, client, leased_at, expires_at)
SELECT :token, s.task_id, s.mask_id, :me, {slot}, NULL, :mode, :lane, :client, :now, :until
"""


class _Lane(NamedTuple):
    """How a lane of a queue is walked: the next mask leased, or only found, and where a window of it ends."""

    claim: str
    scout: str
    window_end: str


def _lane_of_slots(index: str, in_lane: str) -> _Lane:
    until = "AND (s.rank, s.position) <= (:end_rank, :end_position)"
    where = _OPEN_SLOTS.format(index=index, in_lane=in_lane, until="{until}")
    return _Lane(
        f"{_LEASE_IT.format(slot='s.id')} {where.format(until=until)} RETURNING mask_id",
        f"SELECT s.rank, s.position {where.format(until=until)}",
        f"SELECT s.rank, s.position FROM task_slot AS s INDEXED BY {index} WHERE s.task_id = :task_id AND {in_lane} "
        "AND s.decision_id IS NULL AND (s.rank, s.position) > (:rank, :position) "
        "ORDER BY s.rank, s.position LIMIT 1 OFFSET :window",
    )


_SINGLE = _lane_of_slots("ix_task_slot_open", "TRUE")
_GRID = _lane_of_slots("ix_task_slot_expected", "s.expected_id = :of_class")
_ADJUDICATION = _Lane(
    f"{_LEASE_IT.format(slot='NULL')} {_CONTESTED} RETURNING mask_id",
    f"SELECT 0, s.position {_CONTESTED}",
    "SELECT 0, s.position FROM task_mask AS s WHERE s.task_id = :task_id AND s.status = 'contested' "
    "AND s.position > :position ORDER BY s.position LIMIT 1 OFFSET :window",
)
_LANES = {"single": _SINGLE, "grid": _GRID, "adjudication": _ADJUDICATION}


@dataclass(frozen=True)
class Claimant:
    """Who asks for masks: an annotator in one browser tab (`client`), of a task, in a mode, at a time.

    `now` is in epoch seconds, `lease_s` how long they may keep a mask. A grid has a class, `of_class` by its row: the
    masks come that are suggested as it, or that nothing is suggested for where it is the default.
    """

    task_id: int
    annotator_id: int
    mode: ReviewMode
    client: str
    now: float
    lease_s: int
    of_class: int | None = None

    @property
    def lane(self) -> str:
        """The part of the queue that they walk on their own: single, adjudication, or the grid of a class."""
        return self.mode if self.of_class is None else f"grid:{self.of_class}"

    @property
    def until(self) -> float:
        """When a lease ends that they get now, in epoch seconds."""
        return self.now + self.lease_s


@dataclass(frozen=True)
class Lease:
    """One annotator's right to decide one mask until `expires_at` (epoch seconds)."""

    id: int
    token: bytes
    task_id: int
    mask_id: int
    annotator_id: int
    slot_id: int | None
    gold_id: int | None
    mode: ReviewMode
    client: str
    leased_at: float
    expires_at: float


_LEASE = "id, token, task_id, mask_id, annotator_id, slot_id, gold_id, mode, client, leased_at, expires_at"


class Claim(NamedTuple):
    """The mask that was leased, or None; `is_cut` says that the queue is longer than what was looked at."""

    mask_id: int | None
    is_cut: bool = False


def claim_next(connection: Connection, who: Claimant, *, token: bytes) -> Claim:
    """Lease the next open slot that an annotator may fill, or the next contested mask to an adjudicator.

    The queue is walked from where the annotator stands; at its end those come again that were skipped or given back.
    Who has decided most of a large task has far to go: the walk ends after some thousand slots, and `scout_lane` finds
    the way while others work.
    """
    rank, position, rest_until = _cursor(connection, who)
    claim = _claim_within(connection, who, (rank, position), token=token)
    if claim == Claim(None) and (rank, position) != _BEFORE_ALL and who.now >= rest_until:
        claim = _claim_within(connection, who, _BEFORE_ALL, token=token)
    if claim.mask_id is not None:
        _move_cursor(connection, who, claim.mask_id)
    return Claim(claim.mask_id, claim.is_cut and who.now >= rest_until)


def _claim_within(
    connection: Connection, who: Claimant, start: tuple[int, int], *, token: bytes
) -> Claim:
    lane = _LANES[who.mode]
    values = _values(who, start) | {"token": token}
    for window in _WINDOWS:
        end = connection.exec_driver_sql(lane.window_end, values | {"window": window}).first()
        end_rank, end_position = _AFTER_ALL if end is None else end
        until = values | {"end_rank": end_rank, "end_position": end_position}
        row = connection.exec_driver_sql(lane.claim, until).first()
        if row is not None or end is None:
            return Claim(None if row is None else int(row[0]))
        values |= {"rank": end_rank, "position": end_position}
    return Claim(None, is_cut=True)


def _values(who: Claimant, start: tuple[int, int]) -> dict[str, object]:
    rank, position = start
    return asdict(who) | {
        "me": who.annotator_id, "lane": who.lane, "until": who.until, "rank": rank, "position": position,
    }  # fmt: skip


class Scouted(NamedTuple):
    """The rank and position of the next mask, or None; `reached` is where the search stopped short of the end."""

    place: tuple[int, int] | None
    reached: tuple[int, int] | None = None


def scout_lane(connection: Connection, who: Claimant, *, for_s: float) -> Scouted:
    """Look for the next mask that an annotator could be given, for about so many seconds.

    All of the queue is read if need be: this is made for a reading connection, which keeps nobody from writing.
    """
    lane = _LANES[who.mode]
    rank, position, _ = _cursor(connection, who)
    until = perf_counter() + for_s
    for start in dict.fromkeys(((rank, position), _BEFORE_ALL)):
        here: tuple[int, int] | None = start
        while here is not None:
            values = _values(who, here) | {"window": _SCOUTED_AT_ONCE}
            end = connection.exec_driver_sql(lane.window_end, values).first()
            values["end_rank"], values["end_position"] = _AFTER_ALL if end is None else end
            found = connection.exec_driver_sql(lane.scout, values).first()
            if found is not None:
                return Scouted((int(found[0]), int(found[1])))
            here = None if end is None else (int(end[0]), int(end[1]))
            if here is not None and perf_counter() > until:
                return Scouted(None, here)
    return Scouted(None)


def stand_before(connection: Connection, who: Claimant, place: tuple[int, int]) -> None:
    """Have an annotator stand right before a place in their lane."""
    rank, position = place
    _set_cursor(connection, who, (rank, position - 1))


def rest_lane(
    connection: Connection, who: Claimant, *, at: tuple[int, int] | None, until: float
) -> None:
    """Let the queue not be searched for an annotator before a time; then from a place on, or from its start.

    So people who wait for work do not keep the machine busy.
    """
    _set_cursor(connection, who, _AFTER_ALL if at is None else at, rest_until=until)


def _cursor(connection: Connection, who: Claimant) -> tuple[int, int, float]:
    row = connection.exec_driver_sql(
        "SELECT rank, position, rest_until FROM task_cursor WHERE task_id = ? AND annotator_id = ? AND lane = ?",
        (who.task_id, who.annotator_id, who.lane),
    ).first()
    return (int(row[0]), int(row[1]), float(row[2])) if row else (*_BEFORE_ALL, 0.0)


def _set_cursor(
    connection: Connection, who: Claimant, place: tuple[int, int], *, rest_until: float = 0.0
) -> None:
    connection.exec_driver_sql(
        "INSERT OR REPLACE INTO task_cursor (task_id, annotator_id, lane, rank, position, rest_until) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (who.task_id, who.annotator_id, who.lane, *place, rest_until),
    )


def _move_cursor(connection: Connection, who: Claimant, mask_id: int) -> None:
    rank, position = connection.exec_driver_sql(
        "SELECT rank, position FROM task_mask WHERE task_id = ? AND mask_id = ?",
        (who.task_id, mask_id),
    ).one()
    _set_cursor(connection, who, (rank, position))


def rewind_cursors(connection: Connection, task_id: int) -> None:
    """Let everybody walk the queue of a task from its start again, where its order was changed."""
    connection.exec_driver_sql("DELETE FROM task_cursor WHERE task_id = ?", (task_id,))


def grant_lease(
    connection: Connection,
    who: Claimant,
    *,
    token: bytes,
    mask_id: int,
    slot_id: int | None = None,
    gold_id: int | None = None,
) -> None:
    """Lease a named mask: one drawn as gold, or one whose decision was undone."""
    values = (
        token,
        who.task_id,
        mask_id,
        who.annotator_id,
        slot_id,
        gold_id,
        who.mode,
        who.lane,
        who.client,
    )
    connection.exec_driver_sql(
        "INSERT OR REPLACE INTO lease (token, task_id, mask_id, annotator_id, slot_id, gold_id, mode, lane, "
        "client, leased_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*values, who.now, who.until),
    )


def find_lease(connection: Connection, token: bytes) -> Lease | None:
    """Return the lease of a token, expired or not."""
    row = connection.exec_driver_sql(
        f"SELECT {_LEASE} FROM lease WHERE token = ?", (token,)
    ).first()
    return None if row is None else Lease(*row)


def forget_expired(connection: Connection, *, now: float) -> list[int]:
    """Take expired leases off their slots, some at once; returns the masks, whose slots may be wanted no more.

    The rows stay for a day, to tell latecomers what happened.
    """
    rows = connection.exec_driver_sql(
        "UPDATE lease SET slot_id = NULL WHERE id IN (SELECT id FROM lease INDEXED BY ix_lease_seated "
        "WHERE slot_id IS NOT NULL AND expires_at <= ? LIMIT ?) RETURNING mask_id",
        (now, _FORGOTTEN_AT_ONCE),
    ).all()
    connection.exec_driver_sql("DELETE FROM lease WHERE expires_at <= ?", (now - _KEEP_S,))
    return [int(row[0]) for row in rows]


def own_leases(connection: Connection, who: Claimant) -> list[Lease]:
    """Return the live leases of one browser tab in a lane, in the order they were given."""
    rows = connection.exec_driver_sql(
        f"SELECT {_LEASE} FROM lease WHERE annotator_id = ? AND task_id = ? AND lane = ? AND client = ? "
        "AND expires_at > ? ORDER BY id",
        (who.annotator_id, who.task_id, who.lane, who.client, who.now),
    )
    return [Lease(*row) for row in rows]


def renew_leases(
    connection: Connection, annotator_id: int, *, client: str, tokens: Iterable[bytes], now: float
) -> list[bytes]:
    """Extend live leases of a browser tab by the time their task grants; returns those that were.

    Those of somebody who is paused end when they end.
    """
    renewed = []
    for token in tokens:
        row = connection.exec_driver_sql(
            "UPDATE lease SET expires_at = ? + (SELECT lease_s FROM task WHERE task.id = lease.task_id) "
            "WHERE token = ? AND annotator_id = ? AND client = ? AND expires_at > ? "
            "AND EXISTS (SELECT 1 FROM annotator AS a WHERE a.id = annotator_id AND a.status = 'active') "
            "RETURNING token",
            (now, token, annotator_id, client, now),
        ).first()
        if row is not None:
            renewed.append(bytes(row[0]))
    return renewed


def release_leases(
    connection: Connection, annotator_id: int, *, client: str, tokens: Iterable[bytes]
) -> list[int]:
    """Give leases of a browser tab back to the queue; returns the masks, whose slots may be wanted no more."""
    released: list[int] = []
    for token in tokens:
        rows = connection.exec_driver_sql(
            "DELETE FROM lease WHERE token = ? AND annotator_id = ? AND client = ? RETURNING mask_id",
            (token, annotator_id, client),
        )
        released += [int(row[0]) for row in rows]
    return released


def delete_lease(connection: Connection, lease_id: int) -> None:
    """Delete a lease whose mask was decided or given back."""
    connection.exec_driver_sql("DELETE FROM lease WHERE id = ?", (lease_id,))


def free_slot(connection: Connection, lease: Lease, *, now: float) -> int | None:
    """Return a slot that the decision under a lease may fill: its own, else one of the mask that nobody holds."""
    row = connection.exec_driver_sql(
        "SELECT s.id FROM task_slot AS s WHERE s.task_id = ? AND s.mask_id = ? AND s.decision_id IS NULL "
        "AND NOT EXISTS (SELECT 1 FROM lease AS l WHERE l.slot_id = s.id AND l.id <> ? AND l.expires_at > ?) "
        "ORDER BY s.id IS NOT ?, s.number LIMIT 1",
        (lease.task_id, lease.mask_id, lease.id, now, lease.slot_id),
    ).first()
    return None if row is None else int(row[0])
