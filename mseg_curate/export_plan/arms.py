"""Plans of the arms: every dataset in the universal taxonomy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from mseg_curate.core.arms import Arm, ArmChoice, Unresolved
from mseg_curate.core.label_map import LabelMap, lookup_table
from mseg_curate.core.mapping import ClassMapping, DatasetMapping, LabelSpace
from mseg_curate.errors import DatasetError, InputError, MappingError, StoreError
from mseg_curate.export_plan.oracle import check_oracle, class_index_table, plan_oracle
from mseg_curate.export_plan.plan import ExportPlan, PlannedDataset, PlannedSplitClass
from mseg_curate.ingest import colour_table
from mseg_curate.store import Connection
from mseg_curate.store.datasets import (
    DatasetRow,
    list_datasets,
    list_images,
    load_dataset,
    shared_images,
)
from mseg_curate.store.decisions import count_unbound, latest_decision, resolution_state
from mseg_curate.store.tasks import TaskRow, list_tasks, load_task
from mseg_curate.store.taxonomies import load_mapping, load_universal

__all__ = ["check_choices", "plan_export"]


def plan_export(
    connection: Connection,
    *,
    choice: ArmChoice,
    unresolved: Unresolved,
    copy_images: bool,
    datasets: Sequence[str],
) -> ExportPlan:
    """Collect the plan of an export of all datasets that have pixels, or of those named.

    An oracle is of its own dataset alone. Raises MappingError where a dataset has no mapping, StoreError where there
    is nothing to train on, InputError for a task or an oracle that cannot be.
    """
    if choice.oracle:
        return plan_oracle(connection, choice=choice, copy_images=copy_images, datasets=datasets)
    universal = load_universal(connection)
    rows = _rows_of(connection, datasets)
    mappings = _load_mappings(connection, rows)
    train = [mappings[row.name][1] for row in rows if row.role == "train"]
    if not train:
        raise StoreError(
            "nothing to export: no training dataset has pixels; "
            "add one with `mseg-curate dataset add NAME FOLDER --role train`"
        )
    _refuse_leaks(connection, {row.name for row in rows})
    without = _task_left_out(connection, choice.without, train)
    space = LabelSpace.of(universal.names, train)
    planned = tuple(
        _plan_dataset(
            connection, row, mappings[row.name], space=space, arm=choice.arm, unresolved=unresolved
        )
        for row in sorted(rows, key=lambda row: (row.role != "train", row.name))
    )
    reachable = {space.id_of(name) for mapping in train for name in mapping.reachable()}
    state = resolution_state(connection)
    return ExportPlan(
        choice=choice,
        unresolved=unresolved,
        copy_images=copy_images,
        space=space,
        reachable=tuple(sorted(reachable)),
        taxonomy_sha256=universal.sha256,
        datasets=planned,
        split_classes=_list_split_classes(connection, planned),
        without_id=without.id if without else None,
        as_of_decision=state.as_of_decision,
        newer_decisions=latest_decision(connection)[0] - state.as_of_decision,
        unbound_masks=sum(count_unbound(connection, row.id) for row in rows),
        decision_hash=state.decision_hash,
        policy=state.policy,
        resolutions_sha256=state.sha256,
    )


def check_choices(connection: Connection, choices: Iterable[ArmChoice]) -> None:
    """Refuse arms that cannot be exported before the first of several is: see `plan_export`."""
    seen: dict[str, ArmChoice] = {}
    for choice in choices:
        if seen.setdefault(choice.name, choice) != choice:
            raise InputError("two arms would share a folder", found=choice.name)
        if choice.oracle:
            check_oracle(connection, choice.oracle)
        elif choice.without:
            rows = [row for row in _rows_of(connection, ()) if row.role == "train"]
            mappings = [mapping for _, mapping in _load_mappings(connection, rows).values()]
            _task_left_out(connection, choice.without, mappings)


def _rows_of(connection: Connection, datasets: Sequence[str]) -> list[DatasetRow]:
    named = [load_dataset(connection, name) for name in dict.fromkeys(datasets)]
    return named or [row for row in list_datasets(connection) if row.root is not None]


def _task_left_out(
    connection: Connection, name: str, train: Sequence[DatasetMapping]
) -> TaskRow | None:
    """Return the task that the arm goes without; raises InputError where that would change nothing."""
    if not name:
        return None
    task = load_task(connection, name)
    splits = {(m.dataset, entry.source) for m in train for entry in m.splits}
    if (task.dataset, task.source_class) not in splits:
        raise InputError(
            f"the export splits no class {task.source_class!r} of dataset {task.dataset}, which task {name} asks about",
            expected=", ".join(f"{dataset}/{source}" for dataset, source in sorted(splits))
            or "a class to split",
            hint="export its dataset too, or leave this arm out",
        )
    if not task.masks:
        raise InputError(f"task {name} has no masks: the arm without it is the arm relabeled")
    return task


def _list_split_classes(
    connection: Connection, planned: Iterable[PlannedDataset]
) -> tuple[PlannedSplitClass, ...]:
    # Tasks come in the order of their making: the newest of a class has the last word.
    names = {(task.dataset, task.source_class): task.name for task in list_tasks(connection)}
    return tuple(
        PlannedSplitClass(
            names.get((d.row.name, entry.source), f"{d.row.name}/{entry.source}"),
            d.row.name,
            entry,
        )
        for d in planned
        if d.role == "train"
        for entry in d.mapping.splits
    )


def _refuse_leaks(connection: Connection, names: set[str]) -> None:
    """A photo to train on that is also tested on would make the test no zero-shot test."""
    leaks = [
        f"{train}/{image} is {test}/{other}"
        for train, image, test, other in shared_images(connection)
        if {train, test} <= names
    ]
    if leaks:
        raise DatasetError(
            f"{len(leaks)} photos are in a training and in a test dataset",
            problems=leaks,
            hint="leave one of the datasets out with --dataset, or the photos out of a split list",
        )


def _load_mappings(
    connection: Connection, rows: Sequence[DatasetRow]
) -> dict[str, tuple[int, DatasetMapping]]:
    found: dict[str, tuple[int, DatasetMapping]] = {}
    problems = []
    for row in rows:
        if row.root is None:
            raise StoreError(
                f"dataset {row.name} has no pixels yet; add its folder with `mseg-curate dataset add`"
            )
        mapping = load_mapping(connection, row.id, dataset=row.name)
        if mapping is None:
            problems.append(
                f"{row.name}: `mseg-curate mapping draft {row.name}` writes a first one"
            )
        else:
            found[row.name] = mapping
    if problems:
        raise MappingError(
            f"{len(problems)} datasets have no mapping",
            problems=problems,
            hint="import one for each with `mseg-curate mapping import`",
        )
    return found


def _plan_dataset(
    connection: Connection,
    row: DatasetRow,
    mapping: tuple[int, DatasetMapping],
    *,
    space: LabelSpace,
    arm: Arm,
    unresolved: Unresolved,
) -> PlannedDataset:
    revision, entries = mapping
    by_source = {entry.source: entry for entry in entries.entries}
    unmapped = [name for name in row.class_names if name not in by_source]
    if unmapped:
        raise MappingError(f"classes of {row.name} have no mapping", problems=unmapped)
    table = (
        class_index_table(row)
        if row.role == "test"
        else _arm_table(row, by_source, space=space, arm=arm, unresolved=unresolved)
    )
    return PlannedDataset(
        row,
        row.role,
        entries,
        revision,
        tuple(list_images(connection, row.id)),
        table,
        colour_table(row.layout),
    )


def _arm_table(
    row: DatasetRow,
    by_source: Mapping[str, ClassMapping],
    *,
    space: LabelSpace,
    arm: Arm,
    unresolved: Unresolved,
) -> LabelMap:
    """Return the table from the class ids of a training dataset to the ids that they have in an arm."""
    dtype: np.dtype[np.uint8 | np.uint16] = (
        np.dtype(np.uint16) if space.is_wide else np.dtype(np.uint8)
    )
    pairs = [
        (class_id, space.id_in_arm(by_source[name], arm, unresolved))
        for class_id, name in row.classes
    ]
    return lookup_table(pairs, dtype=dtype, ignore_label=space.ignore_label)
