"""Leases: one annotator's right to decide one mask for some minutes, and the order in which masks are handed out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from time import perf_counter
from typing import Literal

from sqlalchemy import Connection

from mseg_curate.store.standing import stands

__all__ = [
    "DECIDED_BY",
    "HELD_BY",
    "Lease",
    "ReviewMode",
    "claim_contested",
    "claim_slot",
    "delete_lease",
    "except_from_grid",
    "find_lease",
    "forget_expired",
    "free_slot",
    "grant_lease",
    "own_leases",
    "release_leases",
    "renew_leases",
    "rewind_cursors",
]

ReviewMode = Literal["single", "grid", "adjudication"]

_KEEP_S = 86_400
_LONG_WALK_S = 0.02
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

# One statement finds the next slot and leases it. An expired lease is in nobody's way: the new one replaces it.
_CLAIM_SLOT = f"""
INSERT OR REPLACE INTO lease
  (token, task_id, mask_id, annotator_id, slot_id, gold_id, mode, lane, client, leased_at, expires_at)
SELECT :token, s.task_id, s.mask_id, :me, s.id, NULL, :mode, :lane, :client, :now, :until
FROM task_slot AS s
WHERE s.task_id = :task AND s.decision_id IS NULL AND (s.rank, s.position) > (:rank, :position)
  {{condition}}
  AND NOT EXISTS (SELECT 1 FROM task_mask AS m WHERE m.task_id = s.task_id AND m.mask_id = s.mask_id
                  AND m.status = 'adjudicated')
  AND NOT EXISTS (SELECT 1 FROM lease AS l WHERE l.slot_id = s.id AND l.expires_at > :now)
  AND NOT {HELD_BY.format(mask="s.mask_id")}
  AND NOT {DECIDED_BY.format(mask="s.mask_id")}
ORDER BY s.rank, s.position, s.number LIMIT 1
RETURNING mask_id
"""
_CLAIM_ANY = _CLAIM_SLOT.format(condition="")
# Asked first of each mask: of a rare class few pass.
_CLAIM_OF_CLASS = _CLAIM_SLOT.format(
    condition="AND COALESCE((SELECT g.label_class_id FROM suggestion AS g "
    "WHERE g.task_id = s.task_id AND g.mask_id = s.mask_id), :default) = :label "
    "AND NOT EXISTS (SELECT 1 FROM grid_exception AS x WHERE x.task_id = s.task_id AND x.mask_id = s.mask_id "
    "AND x.annotator_id = :me)",
)
_CLAIM_CONTESTED = f"""
INSERT OR REPLACE INTO lease
  (token, task_id, mask_id, annotator_id, slot_id, gold_id, mode, lane, client, leased_at, expires_at)
SELECT :token, m.task_id, m.mask_id, :me, NULL, NULL, 'adjudication', 'adjudication', :client, :now, :until
FROM task_mask AS m
WHERE m.task_id = :task AND m.status = 'contested' AND m.position > :position
  AND NOT EXISTS (SELECT 1 FROM lease AS l WHERE l.task_id = m.task_id AND l.mask_id = m.mask_id
                  AND l.mode = 'adjudication' AND l.expires_at > :now)
  AND NOT {HELD_BY.format(mask="m.mask_id")}
  AND NOT {DECIDED_BY.format(mask="m.mask_id")}
ORDER BY m.position LIMIT 1
RETURNING mask_id
"""


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


def claim_slot(
    connection: Connection,
    task_id: int,
    *,
    annotator_id: int,
    token: bytes,
    mode: ReviewMode,
    lane: str,
    client: str,
    now: float,
    lease_s: float,
    of_class: tuple[int, int] | None = None,
) -> int | None:
    """Lease the next open slot of a task that this annotator may fill; returns its mask, or None.

    `of_class` is (class, default), both label class ids, and takes only masks suggested as the class; a mask without
    a suggestion counts as the default, and one that this annotator clicked out of a grid is left for the single queue.
    The queue is walked from where the annotator stands; at its end those come again that were skipped or given back.
    """
    values: dict[str, object] = {
        "task": task_id, "me": annotator_id, "token": token, "mode": mode, "lane": lane, "client": client,
        "now": now, "until": now + lease_s,
    }  # fmt: skip
    if of_class is None:
        return _walk(connection, _CLAIM_ANY, values, lane=lane, now=now)
    label, default = of_class
    if label != default and not _is_suggested(connection, task_id, label):
        return None
    values |= {"label": label, "default": default}
    return _walk(connection, _CLAIM_OF_CLASS, values, lane=lane, now=now)


def _is_suggested(connection: Connection, task_id: int, label_class_id: int) -> bool:
    row = connection.exec_driver_sql(
        "SELECT 1 FROM suggestion WHERE task_id = ? AND label_class_id = ? LIMIT 1",
        (task_id, label_class_id),
    ).first()
    return row is not None


def claim_contested(
    connection: Connection,
    task_id: int,
    *,
    annotator_id: int,
    token: bytes,
    client: str,
    now: float,
    lease_s: float,
) -> int | None:
    """Lease the next contested mask of a task on which this annotator has no vote; returns it, or None."""
    values: dict[str, object] = {
        "task": task_id, "me": annotator_id, "token": token, "client": client,
        "now": now, "until": now + lease_s,
    }  # fmt: skip
    return _walk(connection, _CLAIM_CONTESTED, values, lane="adjudication", now=now)


def _walk(
    connection: Connection, statement: str, values: dict[str, object], *, lane: str, now: float
) -> int | None:
    """Claim from where the annotator stands in a lane, then from its start; returns the mask, or None.

    A walk from the start passes all that this annotator has decided. A long one that was in vain is followed by a rest
    of twenty times its length, so that people who wait for work do not keep others from theirs.
    """
    began = perf_counter()
    key = (values["task"], values["me"], lane)
    rank, position, rest_until = _cursor(connection, key)
    mask_id = _claim_from(connection, statement, values, (rank, position))
    if mask_id is None and now < rest_until:
        return None
    if mask_id is None and (rank, position) != _BEFORE_ALL:
        mask_id = _claim_from(connection, statement, values, _BEFORE_ALL)
    if mask_id is None:
        took_s = perf_counter() - began
        _rest(connection, key, until=now + (20 * took_s if took_s > _LONG_WALK_S else 0))
    else:
        _move_cursor(connection, key, mask_id)
    return mask_id


def _claim_from(
    connection: Connection, statement: str, values: dict[str, object], start: tuple[int, int]
) -> int | None:
    rank, position = start
    row = connection.exec_driver_sql(
        statement, values | {"rank": rank, "position": position}
    ).first()
    return None if row is None else int(row[0])


def _cursor(connection: Connection, key: tuple[object, ...]) -> tuple[int, int, float]:
    row = connection.exec_driver_sql(
        "SELECT rank, position, rest_until FROM task_cursor WHERE task_id = ? AND annotator_id = ? AND lane = ?",
        key,
    ).first()
    return (int(row[0]), int(row[1]), float(row[2])) if row else (*_BEFORE_ALL, 0.0)


def _move_cursor(connection: Connection, key: tuple[object, ...], mask_id: int) -> None:
    task_id, annotator_id, lane = key
    connection.exec_driver_sql(
        "INSERT OR REPLACE INTO task_cursor (task_id, annotator_id, lane, rank, position) "
        "SELECT task_id, ?, ?, rank, position FROM task_mask WHERE task_id = ? AND mask_id = ?",
        (annotator_id, lane, task_id, mask_id),
    )


def _rest(connection: Connection, key: tuple[object, ...], *, until: float) -> None:
    connection.exec_driver_sql(
        "INSERT OR REPLACE INTO task_cursor (task_id, annotator_id, lane, rank, position, rest_until) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (*key, *_AFTER_ALL, until),
    )


def rewind_cursors(connection: Connection, task_id: int) -> None:
    """Let everybody walk the queue of a task from its start again, where its order was changed."""
    connection.exec_driver_sql("DELETE FROM task_cursor WHERE task_id = ?", (task_id,))


def grant_lease(
    connection: Connection,
    *,
    token: bytes,
    task_id: int,
    mask_id: int,
    annotator_id: int,
    slot_id: int | None,
    gold_id: int | None,
    mode: ReviewMode,
    lane: str,
    client: str,
    now: float,
    lease_s: float,
) -> None:
    """Lease a named mask: one drawn as gold, or one whose decision was undone."""
    connection.exec_driver_sql(
        "INSERT OR REPLACE INTO lease (token, task_id, mask_id, annotator_id, slot_id, gold_id, mode, lane, "
        "client, leased_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            token,
            task_id,
            mask_id,
            annotator_id,
            slot_id,
            gold_id,
            mode,
            lane,
            client,
            now,
            now + lease_s,
        ),
    )


def find_lease(connection: Connection, token: bytes) -> Lease | None:
    """Return the lease of a token, expired or not."""
    row = connection.exec_driver_sql(
        f"SELECT {_LEASE} FROM lease WHERE token = ?", (token,)
    ).first()
    return None if row is None else Lease(*row)


def forget_expired(connection: Connection, *, now: float) -> list[int]:
    """Take expired leases off their slots; returns the masks, whose slots may be wanted no more.

    The rows stay for a day, to tell latecomers what happened.
    """
    rows = connection.exec_driver_sql(
        "UPDATE lease SET slot_id = NULL WHERE slot_id IS NOT NULL AND expires_at <= ? RETURNING mask_id",
        (now,),
    ).all()
    connection.exec_driver_sql("DELETE FROM lease WHERE expires_at <= ?", (now - _KEEP_S,))
    return [int(row[0]) for row in rows]


def own_leases(
    connection: Connection,
    task_id: int,
    *,
    annotator_id: int,
    lane: str,
    client: str,
    now: float,
) -> list[Lease]:
    """Return the live leases of one browser tab in a lane, in the order they were given."""
    rows = connection.exec_driver_sql(
        f"SELECT {_LEASE} FROM lease WHERE annotator_id = ? AND task_id = ? AND lane = ? AND client = ? "
        "AND expires_at > ? ORDER BY id",
        (annotator_id, task_id, lane, client, now),
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


def except_from_grid(connection: Connection, lease: Lease) -> None:
    """Note that an annotator clicked a mask out of a grid: no grid shows it to them again."""
    connection.exec_driver_sql(
        "INSERT OR IGNORE INTO grid_exception (task_id, mask_id, annotator_id) VALUES (?, ?, ?)",
        (lease.task_id, lease.mask_id, lease.annotator_id),
    )


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
