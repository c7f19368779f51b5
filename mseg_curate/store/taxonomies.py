"""Rows of the universal taxonomy and of the mappings into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select

from mseg_curate.core.mapping import ClassMapping, DatasetMapping, Relation, format_mapping
from mseg_curate.core.taxonomy import Taxonomy
from mseg_curate.errors import StoreError
from mseg_curate.files import sha256_of_text
from mseg_curate.store.schema import (
    dataset_class,
    label_class,
    mapping,
    mapping_class,
    mapping_revision,
    taxonomy,
    taxonomy_class,
)

__all__ = [
    "UniversalNames",
    "label_class_ids",
    "load_mapping",
    "load_taxonomy_text",
    "load_universal",
    "save_mapping",
    "save_taxonomy",
]


@dataclass(frozen=True)
class UniversalNames:
    """The current universal classes: `names[i]` is the class of universal id i."""

    taxonomy_id: int
    sha256: str
    names: tuple[str, ...]


def save_taxonomy(connection: Connection, parsed: Taxonomy, *, text: str, now: str) -> int:
    """Store a taxonomy and its classes; a class of a known name keeps its row. Returns the id."""
    sha256 = sha256_of_text(text)
    taxonomy_id: int = connection.execute(
        insert(taxonomy).values(sha256=sha256, text=text, created_at=now).returning(taxonomy.c.id)
    ).scalar_one()
    known = label_class_ids(connection)
    new = [c for c in parsed.classes if c.name not in known]
    if new:
        rows = [{"name": c.name, "parent": c.parent, "synset": c.synset} for c in new]
        connection.execute(insert(label_class), rows)
    ids = label_class_ids(connection)
    connection.execute(
        insert(taxonomy_class),
        [
            {"taxonomy_id": taxonomy_id, "universal_id": c.id, "label_class_id": ids[c.name]}
            for c in parsed.classes
        ],
    )
    return taxonomy_id


def load_universal(connection: Connection) -> UniversalNames:
    """Return the classes of the newest taxonomy; raises StoreError where none was stored."""
    latest = connection.execute(
        select(taxonomy.c.id, taxonomy.c.sha256).order_by(taxonomy.c.id.desc()).limit(1)
    ).first()
    if latest is None:
        raise StoreError("the store has no taxonomy; make it anew with `mseg-curate init`")
    rows = connection.execute(
        select(label_class.c.name)
        .join(taxonomy_class, taxonomy_class.c.label_class_id == label_class.c.id)
        .where(taxonomy_class.c.taxonomy_id == latest.id)
        .order_by(taxonomy_class.c.universal_id)
    )
    return UniversalNames(latest.id, latest.sha256, tuple(row.name for row in rows))


def label_class_ids(connection: Connection) -> dict[str, int]:
    """Return the row id of every universal class that any taxonomy ever had."""
    return {
        row.name: row.id for row in connection.execute(select(label_class.c.name, label_class.c.id))
    }


def save_mapping(
    connection: Connection,
    dataset_id: int,
    *,
    new: DatasetMapping,
    author: str,
    note: str,
    now: str,
) -> tuple[int, bool]:
    """Append a mapping revision; returns its id, and False where it equals the current one."""
    universal = load_universal(connection)
    sha256 = sha256_of_text(format_mapping(new))
    latest = connection.execute(
        select(mapping_revision.c.id, mapping_revision.c.sha256, mapping_revision.c.taxonomy_id)
        .where(mapping_revision.c.dataset_id == dataset_id)
        .order_by(mapping_revision.c.id.desc())
        .limit(1)
    ).first()
    if latest is not None and (latest.sha256, latest.taxonomy_id) == (
        sha256,
        universal.taxonomy_id,
    ):
        return latest.id, False
    revision_id: int = connection.execute(
        insert(mapping_revision)
        .values(
            dataset_id=dataset_id,
            taxonomy_id=universal.taxonomy_id,
            author=author,
            created_at=now,
            note=note,
            sha256=sha256,
        )
        .returning(mapping_revision.c.id)
    ).scalar_one()
    _insert_entries(connection, dataset_id, revision_id=revision_id, entries=new.entries)
    return revision_id, True


def _insert_entries(
    connection: Connection, dataset_id: int, *, revision_id: int, entries: Sequence[ClassMapping]
) -> None:
    classes = {
        row.name: row.id
        for row in connection.execute(
            select(dataset_class.c.name, dataset_class.c.id).where(
                dataset_class.c.dataset_id == dataset_id
            )
        )
    }
    connection.execute(
        insert(mapping),
        [
            {
                "mapping_revision_id": revision_id,
                "dataset_class_id": classes[entry.source],
                "relation": entry.relation.value,
            }
            for entry in entries
        ],
    )
    ids = {
        row.dataset_class_id: row.id
        for row in connection.execute(
            select(mapping.c.dataset_class_id, mapping.c.id).where(
                mapping.c.mapping_revision_id == revision_id
            )
        )
    }
    labels = label_class_ids(connection)
    rows = [
        {
            "mapping_id": ids[classes[entry.source]],
            "kind": kind,
            "position": position,
            "label_class_id": labels[name],
        }
        for entry in entries
        for kind, names in (("target", entry.targets), ("candidate", entry.candidates))
        for position, name in enumerate(names)
    ]
    if rows:
        connection.execute(insert(mapping_class), rows)


def load_mapping(
    connection: Connection, dataset_id: int, *, dataset: str
) -> tuple[int, DatasetMapping] | None:
    """Return the newest mapping revision of a dataset and its mapping, None where there is none."""
    revision_id = connection.execute(
        select(func.max(mapping_revision.c.id)).where(mapping_revision.c.dataset_id == dataset_id)
    ).scalar_one()
    if revision_id is None:
        return None
    names: dict[tuple[int, str], list[str]] = {}
    for row in connection.execute(
        select(mapping_class.c.mapping_id, mapping_class.c.kind, label_class.c.name)
        .join(mapping, mapping.c.id == mapping_class.c.mapping_id)
        .join(label_class, label_class.c.id == mapping_class.c.label_class_id)
        .where(mapping.c.mapping_revision_id == revision_id)
        .order_by(mapping_class.c.mapping_id, mapping_class.c.kind, mapping_class.c.position)
    ):
        names.setdefault((row.mapping_id, row.kind), []).append(row.name)
    rows = connection.execute(
        select(mapping.c.id, mapping.c.relation, dataset_class.c.name)
        .join(dataset_class, dataset_class.c.id == mapping.c.dataset_class_id)
        .where(mapping.c.mapping_revision_id == revision_id)
        .order_by(dataset_class.c.class_id)
    )
    entries = tuple(
        ClassMapping(
            row.name,
            Relation(row.relation),
            tuple(names.get((row.id, "target"), ())),
            tuple(names.get((row.id, "candidate"), ())),
        )
        for row in rows
    )
    return revision_id, DatasetMapping(dataset, entries)


def load_taxonomy_text(connection: Connection) -> str:
    """Return the text form of the newest taxonomy; raises StoreError where none was stored."""
    text = connection.execute(
        select(taxonomy.c.text).order_by(taxonomy.c.id.desc()).limit(1)
    ).scalar_one_or_none()
    if text is None:
        raise StoreError("the store has no taxonomy; make it anew with `mseg-curate init`")
    return str(text)
