"""Make a task: find every mask of a class that must be split, and store the question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import TextIO

from mseg_curate.clock import epoch_of
from mseg_curate.core.consensus import parse_policy
from mseg_curate.core.mapping import ClassMapping, Relation
from mseg_curate.core.mask import Mask
from mseg_curate.errors import InputError, MappingError, StoreError
from mseg_curate.files import safe_join
from mseg_curate.ingest import colour_table, label_map_of
from mseg_curate.progress import map_in_threads
from mseg_curate.readers.decisions_csv import CsvDecision, write_questions_csv
from mseg_curate.readers.folder import load_segment_map
from mseg_curate.segments import find_components, find_segments
from mseg_curate.store import Connection, Store
from mseg_curate.store.datasets import DatasetRow, ImageRow, class_rows, list_images, load_dataset
from mseg_curate.store.masks import Numbering, bind_masks, masks_of_task
from mseg_curate.store.settle import masks_with_decisions, settle_masks
from mseg_curate.store.task_masks import contested_masks
from mseg_curate.store.tasks import TaskOptions, TaskRow, create_task, list_tasks, load_task
from mseg_curate.store.taxonomies import label_class_ids, load_mapping

__all__ = [
    "MadeTask",
    "TaskOptions",
    "all_tasks",
    "check_options",
    "default_max_redundancy",
    "make_task",
    "write_questions",
]


LONGEST_NAME = 100
MIN_LEASE_S = 5
MAX_LEASE_S = 86_400
MAX_REDUNDANCY = 100
_LARGEST = 10**9


@dataclass(frozen=True)
class MadeTask:
    """A task that `make_task` stored, with the images its masks lie in."""

    task: TaskRow
    images: int
    area_px: int


def make_task(
    store: Store,
    name: str,
    *,
    dataset: str,
    source_class: str,
    options: TaskOptions | None = None,
    definitions: Mapping[str, str] | None = None,
    now: str,
) -> MadeTask:
    """Store a task that asks of every mask of a split class which candidate it shows.

    Masks are the native segments where the dataset has them, else the 8-connected components; decisions that stand on
    them already count. They are queued in an order that looks random and is the same for the same name, so that those
    decided at any time are a random sample of all. `definitions` says of candidates what they are.

    Raises StoreError where the task exists or the dataset has no pixels, MappingError where the class is not to be
    split, InputError for options out of range or a definition of no candidate.
    """
    options = check_options(options or TaskOptions())
    _check_name(name)
    with store.reading() as connection:
        if any(task.name == name for task in list_tasks(connection)):
            raise StoreError(f"task {name!r} exists already; choose another name")
        row = load_dataset(connection, dataset)
        revision, entry = _split_entry(connection, row, source_class)
        images = list_images(connection, row.id, with_class=source_class)
    strangers = sorted(set(definitions or {}) - set(entry.candidates))
    if strangers:
        raise InputError(
            "definition of what is no candidate",
            expected=", ".join(entry.candidates),
            found=", ".join(strangers),
        )
    class_id = {n: i for i, n in row.classes}[source_class]
    found = _find_masks(row, images, class_id)
    numbering: Numbering = "native" if _has_segments(images) else "component"
    if not found:
        raise MappingError(
            f"class {source_class!r} of dataset {dataset} has no pixels: no task needed"
        )
    with store.writing() as connection:
        labels = label_class_ids(connection)
        mask_ids = bind_masks(connection, source_class, found=found, numbering=numbering)
        Random(name).shuffle(mask_ids)
        task_id = create_task(
            connection,
            name,
            dataset_class_id=class_rows(connection, row.id)[source_class],
            mapping_revision=revision,
            options=options,
            candidates=[labels[c] for c in entry.candidates],
            definitions={labels[c]: text for c, text in (definitions or {}).items()},
            mask_ids=mask_ids,
            now=now,
        )
        decided = masks_with_decisions(connection, task_id)
        settle_masks(connection, task_id, mask_ids=decided, now=epoch_of(now))
        task = load_task(connection, name)
    return MadeTask(task, len(images), sum(mask.area_px for _, mask in found))


def _check_name(name: str) -> None:
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable() or name != name.strip():
        raise InputError(
            "name of a task",
            expected=f"1 to {LONGEST_NAME} printable characters, no blanks at the ends",
            found=repr(name if len(name) <= LONGEST_NAME else name[:LONGEST_NAME] + "…"),
        )


def default_max_redundancy(redundancy: int) -> int:
    """Return how many decisions a mask may get where they disagree: two more, where there is more than one.

    Of two votes that differ, a third settles most masks and a fourth some of the rest, before a curator is asked.
    """
    return redundancy if redundancy == 1 else redundancy + 2


def check_options(options: TaskOptions) -> TaskOptions:
    """Return the options of a task if they are possible; raises InputError that names the first that is not."""
    limits: list[tuple[str, bool, str]] = [
        ("redundancy", 1 <= options.redundancy <= MAX_REDUNDANCY, f"1 … {MAX_REDUNDANCY}"),
        (
            "max_redundancy",
            options.redundancy <= options.max_redundancy <= MAX_REDUNDANCY,
            f"the redundancy ({options.redundancy}) … {MAX_REDUNDANCY}",
        ),
        ("priority", abs(options.priority) <= _LARGEST, f"{-_LARGEST} … {_LARGEST}"),
        (
            "lease_s",
            MIN_LEASE_S <= options.lease_s <= MAX_LEASE_S,
            f"{MIN_LEASE_S} … {MAX_LEASE_S} seconds",
        ),
        ("gold_rate", 0 <= options.gold_rate <= 0.5, "0 … 0.5"),
        ("gold_bar", options.gold_bar is None or 0 <= options.gold_bar <= 1, "0 … 1"),
        ("gold_min", 1 <= options.gold_min <= _LARGEST, f"1 … {_LARGEST}"),
        ("gold_cap", 1 <= options.gold_cap <= _LARGEST, f"1 … {_LARGEST}"),
        ("under_bar", options.under_bar in ("warn", "pause", "reopen"), "warn, pause or reopen"),
    ]
    for option, is_possible, expected in limits:
        if not is_possible:
            found = str(getattr(options, option))
            # Who asks for more decisions of each mask has often not heard of the other number.
            hint = "change it too, with --max-redundancy" if option == "max_redundancy" else None
            raise InputError(f"{option} of a task", expected=expected, found=found, hint=hint)
    policy = parse_policy(options.policy)
    if policy.quorum > options.max_redundancy:
        raise InputError(
            "quorum of a task's policy",
            expected=f"at most its max_redundancy ({options.max_redundancy})",
            found=str(policy.quorum),
            hint="no mask would ever have votes enough",
        )
    return replace(options, policy=str(policy))


def _split_entry(
    connection: Connection, row: DatasetRow, source_class: str
) -> tuple[int, ClassMapping]:
    if row.root is None:
        raise StoreError(
            f"dataset {row.name} has no pixels yet; add its folder with `mseg-curate dataset add`"
        )
    found = load_mapping(connection, row.id, dataset=row.name)
    if found is None:
        raise StoreError(
            f"dataset {row.name} has no mapping yet; import one with `mseg-curate mapping import`"
        )
    revision, mapping = found
    entry = mapping.entry(source_class)
    if entry.relation is not Relation.SPLIT:
        splits = ", ".join(repr(e.source) for e in mapping.splits) or "none"
        raise MappingError(
            f"class {source_class!r} of dataset {row.name} needs no task",
            expected=f"a class that the mapping splits ({splits})",
            found=entry.relation.value,
        )
    return revision, entry


def _has_segments(images: list[ImageRow]) -> bool:
    """Say whether a dataset has native segments: for all of its images or for none, `ingest` saw to that."""
    return any(image.segment_file is not None for image in images)


def _find_masks(row: DatasetRow, images: list[ImageRow], class_id: int) -> list[tuple[int, Mask]]:
    colours = colour_table(row.layout)

    def find(image: ImageRow) -> list[Mask]:
        label_map = label_map_of(row, image, colours)
        if image.segment_file is None or row.root is None:
            return find_components(label_map, class_id)
        return find_segments(
            label_map, class_id, load_segment_map(safe_join(row.root, image.segment_file))
        )

    per_image = map_in_threads(find, images, total=len(images), what="finding masks")
    return [
        (image.id, mask) for image, masks in zip(images, per_image, strict=True) for mask in masks
    ]


def all_tasks(store: Store) -> list[TaskRow]:
    """Return all tasks of a store."""
    with store.reading() as connection:
        return list_tasks(connection)


def write_questions(store: Store, task_name: str, *, out: TextIO, contested: bool = False) -> int:
    """Write a CSV file of decisions with a row per mask of a task, or per contested one; returns how many.

    Outcome and annotator are left empty: filled in, the file is what `decide.import_csv` reads, and takes as
    adjudications where it asks about contested masks.
    """
    with store.reading() as connection:
        task = load_task(connection, task_name)
        images = {image.id: image for image in list_images(connection, task.dataset_id)}
        waiting = contested_masks(connection, task.id) if contested else None
        rows = [
            CsvDecision(
                dataset=task.dataset,
                split=images[stored.image_id].split,
                sequence=images[stored.image_id].sequence,
                image=images[stored.image_id].name,
                segment=stored.mask.segment,
                source_class=task.source_class,
                outcome="",
                annotator="",
            )
            for stored in masks_of_task(connection, task.id)
            if waiting is None or stored.id in waiting
        ]
    write_questions_csv(out, rows, mode="adjudication" if contested else "import")
    return len(rows)
