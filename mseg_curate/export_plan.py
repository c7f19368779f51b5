"""Decide everything about an export before the first file is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from mseg_curate import __version__
from mseg_curate.core.label_map import ColourTable, LabelMap, lookup_table
from mseg_curate.core.mapping import (
    Arm,
    DatasetMapping,
    LabelSpace,
    Relation,
    Unresolved,
    format_mapping,
)
from mseg_curate.core.mask import Mask
from mseg_curate.errors import DatasetError, MappingError, StoreError
from mseg_curate.files import canonical_json, sha256_of_text
from mseg_curate.ingest import colour_table
from mseg_curate.store import Connection
from mseg_curate.store.datasets import (
    DatasetRow,
    ImageRow,
    list_datasets,
    list_images,
    load_dataset,
    shared_images,
)
from mseg_curate.store.decisions import (
    count_unbound,
    latest_decision,
    resolution_state,
    resolved_classes,
)
from mseg_curate.store.masks import masks_of_image
from mseg_curate.store.taxonomies import load_mapping, load_universal

__all__ = ["ExportPlan", "PlannedDataset", "PlannedPaint", "plan_export", "sources_of_test_classes"]

FORMAT_VERSION = 1
TEST_IGNORE = 255


@dataclass(frozen=True)
class PlannedPaint:
    """A mask that takes the id `value` where its pixels carry `source_id`."""

    mask: Mask
    source_id: int
    value: int


@dataclass(frozen=True)
class PlannedDataset:
    """One dataset of an export: `table` maps its class ids to the ids of the export."""

    row: DatasetRow
    mapping: DatasetMapping
    revision: int
    images: tuple[ImageRow, ...]
    table: LabelMap
    colours: ColourTable | None

    @property
    def splits(self) -> dict[str, list[ImageRow]]:
        """The images by split."""
        found: dict[str, list[ImageRow]] = {}
        for image in self.images:
            found.setdefault(image.split, []).append(image)
        return found


@dataclass(frozen=True)
class ExportPlan:
    """All that determines the bytes of an export; `sha256` is their hash.

    `as_of_decision` and the rest of the resolutions' state are those of the last `resolve`. `unbound_masks` are
    resolved but were found by no task, so that their resolutions cannot be painted.
    """

    arm: Arm
    unresolved: Unresolved
    copy_images: bool
    space: LabelSpace
    reachable: tuple[int, ...]
    taxonomy_sha256: str
    datasets: tuple[PlannedDataset, ...]
    as_of_decision: int
    newer_decisions: int
    unbound_masks: int
    decision_hash: str
    policy: str
    resolutions_sha256: str
    by_role: Mapping[str, tuple[PlannedDataset, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        roles = {
            role: tuple(d for d in self.datasets if d.row.role == role)
            for role in ("train", "test")
        }
        object.__setattr__(self, "by_role", roles)

    @property
    def has_sets(self) -> bool:
        """True where label maps may carry set ids."""
        return self.arm is Arm.PARTIAL or (
            self.arm is Arm.RELABELED and self.unresolved is Unresolved.SET
        )

    @property
    def provenance(self) -> dict[str, object]:
        """Where the labels come from; decisions are named by the arm that uses them only."""
        uses_decisions = self.arm is Arm.RELABELED
        return {
            "taxonomy_sha256": self.taxonomy_sha256,
            "mapping_revision": max(d.revision for d in self.datasets),
            "as_of_decision": self.as_of_decision if uses_decisions else None,
            "decision_hash": self.decision_hash if uses_decisions else None,
            "policy": self.policy if uses_decisions else None,
            "unresolved": self.unresolved.value if uses_decisions else None,
            "resolutions_sha256": self.resolutions_sha256 if uses_decisions else None,
        }

    @cached_property
    def sha256(self) -> str:
        """Hash of everything that determines the export."""
        return sha256_of_text(
            canonical_json(
                {
                    "format": FORMAT_VERSION,
                    "tool": __version__,
                    "arm": self.arm.value,
                    "copy_images": self.copy_images,
                    "names": list(self.space.names),
                    "provenance": self.provenance,
                    "datasets": [
                        [d.row.name, d.row.role, d.row.fingerprint, format_mapping(d.mapping)]
                        for d in self.datasets
                    ],
                    "roots": [] if self.copy_images else [str(d.row.root) for d in self.datasets],
                }
            )
        )

    def check_resolutions(self, connection: Connection) -> None:
        """Refuse what `paints` refuses before the first file is written."""
        if self.arm is not Arm.RELABELED:
            return
        for dataset in self.by_role["train"]:
            resolved = resolved_classes(connection, dataset.row.id)
            if any(resolved.get(e.source, set()) - {*e.candidates} for e in dataset.mapping.splits):
                # Rare, and worth a look at every image: `paints` names the mask.
                for image in dataset.images:
                    self.paints(connection, dataset, image)

    def paints(
        self, connection: Connection, dataset: PlannedDataset, image: ImageRow
    ) -> list[PlannedPaint]:
        """Return the resolved masks of one image; none in the arms that do without decisions.

        Raises MappingError for a mask resolved to a class that is no candidate of its source class.
        """
        if self.arm is not Arm.RELABELED or not dataset.mapping.splits:
            return []
        candidates = {e.source: e.candidates for e in dataset.mapping.splits}
        ids = {name: class_id for class_id, name in dataset.row.classes}
        paints = []
        for stored, source, outcome, resolved in masks_of_image(connection, image.id):
            if source not in candidates or outcome not in ("resolved", "ignored"):
                continue
            if resolved is not None and resolved not in candidates[source]:
                raise MappingError(
                    f"mask {stored.mask.segment} of {image.key} ({dataset.row.name}) is resolved to "
                    f"{resolved!r}, which is no candidate of {source!r}",
                    expected=", ".join(candidates[source]),
                    hint="add it to the candidates with `mseg-curate mapping import`",
                )
            value = self.space.ignore_label if resolved is None else self.space.id_of(resolved)
            paints.append(PlannedPaint(stored.mask, ids[source], value))
        return paints


def plan_export(
    connection: Connection,
    *,
    arm: Arm,
    unresolved: Unresolved,
    copy_images: bool,
    datasets: Sequence[str],
) -> ExportPlan:
    """Collect the plan of an export of all datasets that have pixels, or of those named.

    Raises MappingError where a dataset has no mapping, StoreError where there is nothing to train on.
    """
    universal = load_universal(connection)
    rows = [load_dataset(connection, name) for name in dict.fromkeys(datasets)] or [
        row for row in list_datasets(connection) if row.root is not None
    ]
    mappings = _load_mappings(connection, rows)
    train = [mappings[row.name][1] for row in rows if row.role == "train"]
    if not train:
        raise StoreError(
            "nothing to export: no training dataset has pixels; "
            "add one with `mseg-curate dataset add NAME FOLDER --role train`"
        )
    _refuse_leaks(connection, {row.name for row in rows})
    space = LabelSpace.of(universal.names, train)
    planned = tuple(
        _plan_dataset(
            connection, row, mappings[row.name], space=space, arm=arm, unresolved=unresolved
        )
        for row in sorted(rows, key=lambda row: (row.role != "train", row.name))
    )
    reachable = {space.id_of(name) for mapping in train for name in mapping.reachable()}
    state = resolution_state(connection)
    return ExportPlan(
        arm=arm,
        unresolved=unresolved,
        copy_images=copy_images,
        space=space,
        reachable=tuple(sorted(reachable)),
        taxonomy_sha256=universal.sha256,
        datasets=planned,
        as_of_decision=state.as_of_decision,
        newer_decisions=latest_decision(connection)[0] - state.as_of_decision,
        unbound_masks=sum(count_unbound(connection, row.id) for row in rows),
        decision_hash=state.decision_hash,
        policy=state.policy,
        resolutions_sha256=state.sha256,
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
    if row.role == "test":
        if len(row.classes) > TEST_IGNORE:
            raise MappingError(
                f"test dataset {row.name} has {len(row.classes)} classes", expected="at most 255"
            )
        pairs = [(class_id, index) for index, (class_id, _) in enumerate(row.classes)]
        table = lookup_table(pairs, dtype=np.dtype(np.uint8), ignore_label=TEST_IGNORE)
    else:
        dtype: np.dtype[np.uint8 | np.uint16] = (
            np.dtype(np.uint16) if space.is_wide else np.dtype(np.uint8)
        )
        pairs = [
            (class_id, space.id_in_arm(by_source[name], arm, unresolved))
            for class_id, name in row.classes
        ]
        table = lookup_table(pairs, dtype=dtype, ignore_label=space.ignore_label)
    return PlannedDataset(
        row,
        entries,
        revision,
        tuple(list_images(connection, row.id)),
        table,
        colour_table(row.layout),
    )


def sources_of_test_classes(plan: ExportPlan, dataset: PlannedDataset) -> list[list[int]]:
    """Return, for each class of a test dataset, the universal ids whose probabilities are summed for it."""
    return [
        sorted(plan.space.id_of(name) for name in entry.targets)
        for entry in dataset.mapping.entries
        if entry.relation is Relation.TEST
    ]
