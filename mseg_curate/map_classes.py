"""Mappings in and out: import a file, read one off the taxonomy, write one out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mseg_curate.core.mapping import (
    ClassMapping,
    DatasetMapping,
    Relation,
    format_mapping,
    mapping_of_column,
    parse_mapping,
)
from mseg_curate.core.taxonomy import parse_taxonomy
from mseg_curate.errors import StoreError
from mseg_curate.files import read_text
from mseg_curate.store import Store
from mseg_curate.store.datasets import (
    class_pixels,
    count_images,
    list_datasets,
    load_dataset,
)
from mseg_curate.store.taxonomies import (
    load_mapping,
    load_taxonomy_text,
    load_universal,
    save_mapping,
)

__all__ = [
    "DescribedDataset",
    "ImportedMapping",
    "describe_datasets",
    "export_mapping",
    "import_mapping",
    "map_by_column",
]


@dataclass(frozen=True)
class ImportedMapping:
    """A mapping revision; `default_notes` says where a split's default is not its most frequent candidate."""

    dataset: str
    revision: int
    is_new: bool
    splits: tuple[ClassMapping, ...]
    default_notes: tuple[str, ...]


def import_mapping(
    store: Store, dataset: str, *, path: Path, author: str, note: str, now: str
) -> ImportedMapping:
    """Read a mapping file and append it as a revision; an equal mapping is not stored twice.

    Raises MappingError with every fault of the file, StoreError for an unknown dataset.
    """
    text = read_text(path)
    with store.writing() as connection:
        row = load_dataset(connection, dataset)
        parsed = parse_mapping(
            text,
            path=str(path),
            dataset=dataset,
            role=row.role,
            class_names=row.class_names,
            universal_names=load_universal(connection).names,
        )
        revision, is_new = save_mapping(
            connection, row.id, new=parsed, author=author, note=note, now=now
        )
    return ImportedMapping(dataset, revision, is_new, parsed.splits, _check_defaults(store, parsed))


def map_by_column(store: Store, dataset: str, *, author: str, now: str) -> ImportedMapping | None:
    """Map a dataset by the taxonomy's column of its name; None where it has a mapping or no such column."""
    with store.writing() as connection:
        row = load_dataset(connection, dataset)
        taxonomy = parse_taxonomy(load_taxonomy_text(connection), path="taxonomy.tsv")
        columns = {column.name: column for column in taxonomy.columns}
        if dataset not in columns or load_mapping(connection, row.id, dataset=dataset) is not None:
            return None
        new = mapping_of_column(columns[dataset], row.class_names)
        revision, is_new = save_mapping(
            connection, row.id, new=new, author=author, note="column of the taxonomy", now=now
        )
    return ImportedMapping(dataset, revision, is_new, (), ())


def export_mapping(store: Store, dataset: str) -> str:
    """Return the text form of a dataset's current mapping; raises StoreError where it has none."""
    with store.reading() as connection:
        row = load_dataset(connection, dataset)
        found = load_mapping(connection, row.id, dataset=dataset)
    if found is None:
        raise StoreError(
            f"dataset {dataset} has no mapping yet; draft one with `mseg-curate mapping draft {dataset}`"
        )
    return format_mapping(found[1])


def _check_defaults(store: Store, mapping: DatasetMapping) -> tuple[str, ...]:
    """Say which candidate of each split has the most pixels in the training data that names it."""
    if not mapping.splits:
        return ()
    named = count_named_pixels(store)
    notes = []
    for entry in mapping.splits:
        counts = {name: named[name] for name in entry.candidates}
        listed = ", ".join(f"{n} {c:,}" for n, c in sorted(counts.items(), key=lambda x: -x[1]))
        note = f"split {entry.source}: default {entry.targets[0]}; named pixels: {listed}"
        if max(counts.values()) > counts[entry.targets[0]]:
            note += " (the default is not the most frequent)"
        notes.append(note)
    return tuple(notes)


def count_named_pixels(store: Store) -> Counter[str]:
    """Return how many training pixels keep and merge give to each universal class."""
    pixels: Counter[str] = Counter()
    with store.reading() as connection:
        for row in list_datasets(connection):
            found = load_mapping(connection, row.id, dataset=row.name)
            if row.role != "train" or row.root is None or found is None:
                continue
            counts = class_pixels(connection, row.id)
            for entry in found[1].entries:
                if entry.relation in (Relation.KEEP, Relation.MERGE):
                    pixels[entry.targets[0]] += counts[entry.source]
    return pixels


@dataclass(frozen=True)
class DescribedDataset:
    """A dataset in a list: `revision` is that of its mapping, None where it has none."""

    name: str
    role: str
    root: Path | None
    images: int
    revision: int | None


def describe_datasets(store: Store) -> list[DescribedDataset]:
    """Return all datasets with the number of their images and the revision of their mapping."""
    with store.reading() as connection:
        found = []
        for row in list_datasets(connection):
            mapping = load_mapping(connection, row.id, dataset=row.name)
            images = count_images(connection, row.id)
            revision = mapping[0] if mapping else None
            found.append(DescribedDataset(row.name, row.role, row.root, images, revision))
    return found
