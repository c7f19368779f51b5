"""Rows of decisions, append-only and chained by hashes, and of the resolutions derived from them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select

from mseg_curate.core.consensus import Resolution
from mseg_curate.errors import StoreError
from mseg_curate.store.bulk import bulk_insert
from mseg_curate.store.masks import Numbering
from mseg_curate.store.schema import annotator, image, mask, resolution

__all__ = [
    "NewDecision",
    "annotator_id",
    "append_decisions",
    "count_unbound",
    "current_decisions",
    "decided_classes",
    "known_uuids",
    "latest_decision",
    "mask_ids",
    "replace_resolutions",
    "resolution_state",
    "resolved_classes",
    "stored_masks",
    "verify_chain",
]

_COLUMNS = (
    "uuid, mask_id, task_id, mapping_revision_id, shown_class_id, outcome, label_class_id, "
    "annotator_id, mode, milliseconds, decided_at, supersedes_id"
)

NewDecision = tuple[
    bytes, int, int | None, int | None, int | None, str, int | None, int, str, int | None, str | None,
    int | None,
]  # fmt: skip
"""The columns of `_COLUMNS`: UUID, mask, task, revision, shown class, outcome, class, annotator, mode, ms, time,
superseded decision. A tuple, since an import makes hundreds of thousands."""


@dataclass(frozen=True)
class CurrentDecision:
    """The last word of an annotator on a mask."""

    id: int
    outcome: str
    label_class_id: int | None


def annotator_id(connection: Connection, name: str, *, kind: str, now: str) -> int:
    """Return the row of an annotator, made where there is none; raises StoreError for another kind."""
    row = connection.execute(select(annotator).where(annotator.c.name == name)).first()
    if row is None:
        made: int = connection.execute(
            insert(annotator).values(name=name, kind=kind, created_at=now).returning(annotator.c.id)
        ).scalar_one()
        return made
    if row.kind != kind:
        raise StoreError(
            f"annotator {name!r} is stored as {row.kind}, not {kind}; choose another name"
        )
    return int(row.id)


def mask_ids(
    connection: Connection,
    dataset_id: int,
    *,
    keys: Sequence[tuple[str, str, str, int, str]],
    numbering: Numbering = "unknown",
) -> list[int]:
    """Return the row ids of masks named by (split, sequence, image, segment, source class).

    `numbering` says what the segments are: masks of another known numbering are other masks.

    Images and masks that no one knew are made without pixels; `dataset add` and `task make` bind them later. A key
    whose source class is '' (not known) means the one mask of that segment, if its class is known by now.
    """
    images = _image_ids(connection, dataset_id)
    missing = dict.fromkeys(key[:3] for key in keys if key[:3] not in images)
    bulk_insert(
        connection,
        "image (dataset_id, split, sequence, name)",
        [(dataset_id, *key) for key in missing],
    )
    if missing:
        images = _image_ids(connection, dataset_id)
    known = _mask_rows(connection, dataset_id, numbering)
    by_segment = _only_masks(known)
    row_ids: list[int] = []
    new: list[tuple[int, str, str, int, int]] = []
    next_id = 1 + (connection.execute(select(func.max(mask.c.id))).scalar_one() or 0)
    for split, sequence, name, segment, source_class in keys:
        key = (images[split, sequence, name], segment, source_class)
        row_id = known.get(key)
        if row_id is None and not source_class:
            row_id = by_segment.get(key[:2])
        if row_id is None:
            row_id = known[key] = next_id + len(new)
            new.append((row_id, source_class, numbering, key[0], segment))
        row_ids.append(row_id)
    bulk_insert(connection, "mask (id, source_class, numbering, image_id, segment)", new)
    return row_ids


def _image_ids(connection: Connection, dataset_id: int) -> dict[tuple[str, str, str], int]:
    rows = connection.exec_driver_sql(
        "SELECT split, sequence, name, id FROM image WHERE dataset_id = ?", (dataset_id,)
    )
    return {(split, sequence, name): row_id for split, sequence, name, row_id in rows}


def _mask_rows(
    connection: Connection, dataset_id: int, numbering: Numbering
) -> dict[tuple[int, int, str], int]:
    query = (
        select(mask.c.image_id, mask.c.segment, mask.c.source_class, mask.c.id)
        .join(image, image.c.id == mask.c.image_id)
        .where(image.c.dataset_id == dataset_id)
        # Of two masks of one key the last wins: the one that has pixels.
        .order_by(mask.c.area_px.is_not(None))
    )
    if numbering != "unknown":
        query = query.where(mask.c.numbering.in_((numbering, "unknown")))
    rows = connection.execute(query)
    return {(image_id, segment, name): row_id for image_id, segment, name, row_id in rows}


def _only_masks(known: Mapping[tuple[int, int, str], int]) -> dict[tuple[int, int], int]:
    """Return the masks whose segment carries one class alone in its image, by (image id, segment)."""
    times = Counter(key[:2] for key in known)
    return {key[:2]: row_id for key, row_id in known.items() if times[key[:2]] == 1}


def stored_masks(
    connection: Connection, dataset_id: int
) -> dict[tuple[str, str, str, int, str], int]:
    """Return the row id of every mask of a dataset by (split, sequence, image, segment, source class)."""
    rows = connection.exec_driver_sql(
        "SELECT i.split, i.sequence, i.name, m.segment, m.source_class, m.id FROM mask AS m "
        "JOIN image AS i ON i.id = m.image_id WHERE i.dataset_id = ? ORDER BY m.area_px IS NOT NULL",
        (dataset_id,),
    )
    return {(s, q, n, g, c): row_id for s, q, n, g, c, row_id in rows}


def known_uuids(connection: Connection) -> set[bytes]:
    """Return the UUIDs of all decisions, as 16 bytes each."""
    return {row[0] for row in connection.exec_driver_sql("SELECT uuid FROM decision")}


def latest_decision(connection: Connection) -> tuple[int, bytes]:
    """Return the id and the row hash of the newest decision; (0, 32 zero bytes) before the first."""
    row = connection.exec_driver_sql(
        "SELECT id, row_hash FROM decision ORDER BY id DESC LIMIT 1"
    ).first()
    return (int(row[0]), bytes(row[1])) if row else (0, bytes(32))


def append_decisions(connection: Connection, new: Iterable[NewDecision]) -> int:
    """Append decisions, each chained to the one before; returns how many.

    Callers leave out UUIDs that are stored already.
    """
    row_id, previous = latest_decision(connection)
    sha256 = hashlib.sha256
    rows = []
    for values in new:
        row_id += 1
        previous = sha256(previous + repr(values).encode()).digest()
        rows.append((row_id, *values, previous))
    bulk_insert(connection, f"decision (id, {_COLUMNS}, row_hash)", rows)
    return len(rows)


def verify_chain(connection: Connection) -> int:
    """Recompute the hash chain over all decisions and return how many there are.

    Raises StoreError at the first row that was changed, removed or put between others.
    """
    previous = bytes(32)
    count = 0
    for row in connection.exec_driver_sql(
        f"SELECT id, row_hash, {_COLUMNS} FROM decision ORDER BY id"
    ):
        row_id, row_hash, *values = row
        previous = hashlib.sha256(previous + repr(tuple(values)).encode()).digest()
        if previous != row_hash:
            raise StoreError(
                f"decision {row_id} or one before it was changed outside mseg-curate: its row hash does "
                "not follow from the rows before; restore a copy of the store"
            )
        count += 1
    return count


def current_decisions(connection: Connection) -> dict[tuple[int, int], CurrentDecision]:
    """Return the decision that stands per (mask, annotator)."""
    rows = connection.exec_driver_sql(
        "SELECT mask_id, annotator_id, id, outcome, label_class_id FROM decision AS d "
        "WHERE NOT EXISTS (SELECT 1 FROM decision AS l WHERE l.supersedes_id = d.id) ORDER BY id"
    )
    return {
        (mask_id, by): CurrentDecision(row_id, outcome, label)
        for mask_id, by, row_id, outcome, label in rows
    }


def replace_resolutions(
    connection: Connection, found: Sequence[tuple[int, str, Resolution]], *, as_of_decision: int
) -> None:
    """Put the resolutions (mask id, policy, Resolution) in the place of all that were there."""
    connection.execute(delete(resolution))
    bulk_insert(
        connection,
        "resolution (mask_id, policy, outcome, label_class_id, votes, agreement, posterior, as_of_decision)",
        [
            (
                mask_id,
                policy,
                r.outcome.value,
                r.class_id,
                r.votes,
                r.agreement,
                r.posterior,
                as_of_decision,
            )
            for mask_id, policy, r in found
        ],
    )


@dataclass(frozen=True)
class ResolutionState:
    """What the stored resolutions were derived from, and a hash over all of them.

    `policy` names every policy among them, joined by '; '.
    """

    policy: str
    as_of_decision: int
    decision_hash: str
    sha256: str


def resolution_state(connection: Connection) -> ResolutionState:
    """Return the state of the stored resolutions; policy `none` where nothing was resolved."""
    digest = hashlib.sha256()
    rows = connection.exec_driver_sql(
        "SELECT d.name, i.split, i.sequence, i.name, m.segment, m.source_class, r.outcome, u.name "
        "FROM resolution AS r JOIN mask AS m ON m.id = r.mask_id JOIN image AS i ON i.id = m.image_id "
        "JOIN dataset AS d ON d.id = i.dataset_id LEFT JOIN label_class AS u ON u.id = r.label_class_id "
        "ORDER BY 1, 2, 3, 4, 5, 6"
    )
    for row in rows:
        digest.update(repr(tuple(row)).encode())
    first = connection.exec_driver_sql(
        "SELECT r.as_of_decision, d.row_hash FROM resolution AS r "
        "JOIN decision AS d ON d.id = r.as_of_decision LIMIT 1"
    ).first()
    if first is None:
        return ResolutionState("none", 0, "", digest.hexdigest())
    policies = connection.exec_driver_sql("SELECT DISTINCT policy FROM resolution ORDER BY policy")
    return ResolutionState(
        "; ".join(policy for (policy,) in policies),
        int(first[0]),
        bytes(first[1]).hex(),
        digest.hexdigest(),
    )


def decided_classes(connection: Connection, dataset_id: int) -> dict[str, set[str]]:
    """Return, per class of a dataset, the universal classes that decisions gave to its masks."""
    return _classes_named_in(connection, "decision", dataset_id)


def resolved_classes(connection: Connection, dataset_id: int) -> dict[str, set[str]]:
    """Return, per class of a dataset, the universal classes that its masks are resolved to."""
    return _classes_named_in(connection, "resolution", dataset_id)


def _classes_named_in(connection: Connection, table: str, dataset_id: int) -> dict[str, set[str]]:
    rows = connection.exec_driver_sql(
        f"SELECT DISTINCT m.source_class, u.name FROM {table} AS x "
        "JOIN label_class AS u ON u.id = x.label_class_id "
        "JOIN mask AS m ON m.id = x.mask_id JOIN image AS i ON i.id = m.image_id "
        "WHERE i.dataset_id = ?",
        (dataset_id,),
    )
    named: dict[str, set[str]] = {}
    for source_class, name in rows:
        named.setdefault(source_class, set()).add(name)
    return named


def count_unbound(connection: Connection, dataset_id: int) -> int:
    """Return how many resolved masks of a dataset lie in images with pixels, yet no task has found them there."""
    return int(
        connection.exec_driver_sql(
            "SELECT COUNT(*) FROM resolution AS r JOIN mask AS m ON m.id = r.mask_id "
            "JOIN image AS i ON i.id = m.image_id "
            "WHERE i.dataset_id = ? AND i.label_file IS NOT NULL AND m.area_px IS NULL",
            (dataset_id,),
        ).scalar_one()
    )
