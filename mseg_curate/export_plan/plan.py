"""The plan of an export: all that determines its bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from mseg_curate import __version__
from mseg_curate.core.arms import Arm, ArmChoice, Unresolved
from mseg_curate.core.label_map import ColourTable, LabelMap
from mseg_curate.core.mapping import (
    ClassMapping,
    DatasetMapping,
    LabelSpace,
    Relation,
    format_mapping,
)
from mseg_curate.core.mask import Mask
from mseg_curate.errors import MappingError
from mseg_curate.files import canonical_json, sha256_of_text
from mseg_curate.store import Connection
from mseg_curate.store.datasets import DatasetRow, ImageRow
from mseg_curate.store.decisions import resolved_classes
from mseg_curate.store.masks import masks_of_image, task_masks_of_image

__all__ = [
    "FORMAT_VERSION",
    "ExportPlan",
    "PlannedDataset",
    "PlannedPaint",
    "PlannedSplitClass",
    "sources_of_test_classes",
]

FORMAT_VERSION = 2


@dataclass(frozen=True)
class PlannedPaint:
    """A mask that takes the id `value` where its pixels carry `source_id`.

    `kind` says why: `decided` and `decided_ignore` by a decision, `withheld` as a mask of the task that is left out.
    """

    mask: Mask
    source_id: int
    value: int
    kind: str


@dataclass(frozen=True)
class PlannedDataset:
    """One dataset of an export in the role that it has there: `table` maps its class ids to ids of the export."""

    row: DatasetRow
    role: str
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
class PlannedSplitClass:
    """A class that must be split: `name` is its newest task's, or dataset/class where there is none."""

    name: str
    dataset: str
    entry: ClassMapping


@dataclass(frozen=True)
class ExportPlan:
    """All that determines the bytes of an export; `sha256` is their hash.

    `as_of_decision` and the rest of the resolutions' state are those of the last `resolve`. `unbound_masks` are
    resolved but were found by no task, so that their resolutions cannot be painted. `without_id` is the row of the
    task whose masks are left as they came.
    """

    choice: ArmChoice
    unresolved: Unresolved
    copy_images: bool
    space: LabelSpace
    reachable: tuple[int, ...]
    taxonomy_sha256: str
    datasets: tuple[PlannedDataset, ...]
    split_classes: tuple[PlannedSplitClass, ...] = ()
    without_id: int | None = None
    as_of_decision: int = 0
    newer_decisions: int = 0
    unbound_masks: int = 0
    decision_hash: str = ""
    policy: str = "none"
    resolutions_sha256: str = ""
    by_role: Mapping[str, tuple[PlannedDataset, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        roles = {
            role: tuple(d for d in self.datasets if d.role == role) for role in ("train", "test")
        }
        object.__setattr__(self, "by_role", roles)

    @property
    def has_sets(self) -> bool:
        """True where label maps may carry set ids."""
        return self.choice.arm is Arm.PARTIAL or (
            self.choice.uses_decisions and self.unresolved is Unresolved.SET
        )

    @property
    def provenance(self) -> dict[str, object]:
        """Where the labels come from; decisions are named by the arms that use them only."""
        uses_decisions = self.choice.uses_decisions
        return {
            "taxonomy_sha256": self.taxonomy_sha256,
            "mapping_revision": max(d.revision for d in self.datasets),
            "as_of_decision": self.as_of_decision if uses_decisions else None,
            "decision_hash": self.decision_hash if uses_decisions else None,
            "policy": self.policy if uses_decisions else None,
            "unresolved": self.unresolved.value if uses_decisions else None,
            "resolutions_sha256": self.resolutions_sha256 if uses_decisions else None,
            "without_task": self.choice.without or None,
        }

    @cached_property
    def sha256(self) -> str:
        """Hash of everything that determines the export."""
        return sha256_of_text(
            canonical_json(
                {
                    "format": FORMAT_VERSION,
                    "tool": __version__,
                    "arm": self.choice.name,
                    "copy_images": self.copy_images,
                    "names": list(self.space.names),
                    "provenance": self.provenance,
                    "tasks": [split.name for split in self.split_classes],
                    "datasets": [
                        [d.row.name, d.role, d.row.fingerprint, format_mapping(d.mapping)]
                        for d in self.datasets
                    ],
                    "roots": [] if self.copy_images else [str(d.row.root) for d in self.datasets],
                }
            )
        )

    def check_resolutions(self, connection: Connection) -> None:
        """Refuse what `paints` refuses before the first file is written."""
        if not self.choice.uses_decisions:
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
        """Return the masks of one image that are painted; none in the arms that do without decisions.

        Raises MappingError for a mask resolved to a class that is no candidate of its source class.
        """
        if not self.choice.uses_decisions or not dataset.mapping.splits:
            return []
        splits = {entry.source: entry for entry in dataset.mapping.splits}
        ids = {name: class_id for class_id, name in dataset.row.classes}
        withheld: set[int] = set()
        if self.without_id is not None:
            withheld = task_masks_of_image(connection, image.id, task_id=self.without_id)
        paints = []
        for stored, source, outcome, resolved in masks_of_image(connection, image.id):
            if source not in splits:
                continue
            entry = splits[source]
            if stored.id in withheld:
                value, kind = self.space.id_of(entry.targets[0]), "withheld"
            elif outcome == "ignored" or (outcome == "resolved" and resolved is None):
                value, kind = self.space.ignore_label, "decided_ignore"
            elif outcome == "resolved" and resolved in entry.candidates:
                value, kind = self.space.id_of(resolved), "decided"
            elif outcome == "resolved":
                raise MappingError(
                    f"mask {stored.mask.segment} of {image.key} ({dataset.row.name}) is resolved to "
                    f"{resolved!r}, which is no candidate of {source!r}",
                    expected=", ".join(entry.candidates),
                    hint="add it to the candidates with `mseg-curate mapping import`",
                )
            else:
                continue
            paints.append(PlannedPaint(stored.mask, ids[source], value, kind))
        return paints


def sources_of_test_classes(plan: ExportPlan, dataset: PlannedDataset) -> list[list[int]]:
    """Return, for each class of a test dataset, the universal ids whose probabilities are summed for it."""
    return [
        sorted(plan.space.id_of(name) for name in entry.targets)
        for entry in dataset.mapping.entries
        if entry.relation is Relation.TEST
    ]
