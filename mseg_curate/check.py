"""Prove that every class lands somewhere: in a taxonomy file, and in a store before an export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mseg_curate.core.mapping import DatasetMapping, Relation
from mseg_curate.core.taxonomy import find_uncovered
from mseg_curate.errors import MappingError, TaxonomyError
from mseg_curate.initialise import load_taxonomy, mseg_class_lists
from mseg_curate.store import Connection, Store
from mseg_curate.store.datasets import DatasetRow, class_pixels, list_datasets, shared_images
from mseg_curate.store.tasks import newest_tasks
from mseg_curate.store.taxonomies import load_mapping

__all__ = ["Checked", "check_store", "check_taxonomy"]


@dataclass(frozen=True)
class Checked:
    """A check that passed: one line on what was checked, and notes on what is right but worth knowing."""

    summary: str
    notes: tuple[str, ...]


def check_taxonomy(path: Path) -> Checked:
    """Check a taxonomy file: its form, and that every class of every known class list lands somewhere.

    Raises TaxonomyError that lists every fault.
    """
    taxonomy, _ = load_taxonomy(path)
    lists = mseg_class_lists()
    roles = {column.name: column.role for column in taxonomy.columns}
    uncovered = find_uncovered(taxonomy, lists)
    problems = [
        f"column {column}: class {name!r} lands nowhere"
        for column, names in uncovered.items()
        for name in names
        if roles[column] == "train"
    ]
    if problems:
        raise TaxonomyError(
            f"{len(problems)} classes land nowhere",
            path=path,
            problems=problems,
            hint="put each into a row, or into the row `unlabeled` to ignore it",
        )
    notes = [
        f"test column {column}: {', '.join(names)} have no source and cannot be predicted"
        for column, names in uncovered.items()
        if roles[column] == "test"
    ]
    known = [column for column in taxonomy.columns if column.name in lists]
    without = [column.name for column in taxonomy.columns if column.name not in lists]
    if without:
        notes.append(f"no class list, so not checked for coverage: {', '.join(without)}")
    classes = sum(len(lists[column.name]) for column in known)
    return Checked(
        f"{path}: {len(taxonomy.classes)} universal classes; all {classes:,} classes of "
        f"{len(known)} dataset taxonomies land somewhere",
        tuple(notes),
    )


def check_store(store: Store) -> Checked:
    """Check that every dataset with pixels can be exported: each of its classes is mapped.

    Raises MappingError that lists every class without a place. Notes name classes that must be split but have no task,
    and test classes that nothing feeds.
    """
    problems: list[str] = []
    notes: list[str] = []
    with store.reading() as connection:
        added = [row for row in list_datasets(connection) if row.root is not None]
        tasks = newest_tasks(connection)
        trained: set[str] = set()
        for row in added:
            found = load_mapping(connection, row.id, dataset=row.name)
            if found is None:
                problems.append(
                    f"dataset {row.name} has no mapping; `mseg-curate mapping draft {row.name}` writes a first one"
                )
                continue
            trained |= found[1].reachable() if row.role == "train" else set()
            problems += _unmapped(connection, row, found[1])
            notes += _without_task(row, found[1], tasks)
        notes += _never_predicted(connection, added, trained)
        leaks = shared_images(connection)
        if leaks:
            train, image, test, other = leaks[0]
            problems.append(
                f"{len(leaks)} photos are in a training and in a test dataset, first {train}/{image} and "
                f"{test}/{other}"
            )
    if problems:
        raise MappingError(
            f"{len(problems)} faults: nothing can be exported", path=store.path, problems=problems
        )
    return Checked(
        f"{store.path}: all classes of {len(added)} datasets with pixels land somewhere",
        tuple(notes),
    )


def _unmapped(connection: Connection, row: DatasetRow, mapping: DatasetMapping) -> list[str]:
    mapped = {entry.source for entry in mapping.entries}
    pixels = class_pixels(connection, row.id)
    return [
        f"dataset {row.name}: class {name!r} ({pixels[name]:,} px) has no mapping"
        for name in row.class_names
        if name not in mapped
    ]


def _without_task(
    row: DatasetRow, mapping: DatasetMapping, tasks: dict[tuple[str, str], int]
) -> list[str]:
    return [
        f"dataset {row.name}: class {entry.source!r} must be split and has no task; "
        f"`mseg-curate task make NAME --dataset {row.name} --class {entry.source!r}`"
        for entry in mapping.splits
        if (row.name, entry.source) not in tasks
    ]


def _never_predicted(
    connection: Connection, added: Sequence[DatasetRow], trained: set[str]
) -> list[str]:
    notes = []
    for row in added:
        found = load_mapping(connection, row.id, dataset=row.name)
        if row.role != "test" or found is None:
            continue
        names = [
            e.source
            for e in found[1].entries
            if e.relation is Relation.TEST and not trained & set(e.targets)
        ]
        if names:
            notes.append(
                f"test dataset {row.name}: no training class feeds {', '.join(names)}: "
                "they cannot be predicted"
            )
    return notes
