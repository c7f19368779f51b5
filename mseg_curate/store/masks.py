"""Rows of tasks and of the masks they ask about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, func, insert, select

from mseg_curate.core.mask import Box, Mask
from mseg_curate.errors import StoreError
from mseg_curate.store.engine import bulk_insert
from mseg_curate.store.schema import (
    dataset,
    dataset_class,
    image,
    label_class,
    mask,
    mask_geometry,
    task,
    task_candidate,
    task_mask,
)

__all__ = [
    "Numbering",
    "StoredMask",
    "TaskRow",
    "bind_masks",
    "create_task",
    "list_tasks",
    "load_task",
    "masks_of_image",
    "masks_of_task",
    "newest_tasks",
]


Numbering = Literal["native", "component", "unknown"]
"""What a mask's segment number is: the dataset's own id, a component's number, or not known yet."""


@dataclass(frozen=True)
class TaskRow:
    """A task: the question which of `candidates` each mask of one dataset class shows."""

    id: int
    name: str
    dataset_id: int
    dataset: str
    source_class: str
    class_id: int
    mapping_revision: int
    redundancy: int
    status: str
    candidates: tuple[str, ...]
    masks: int


@dataclass(frozen=True)
class StoredMask:
    """A mask of the store; `mask.segment` numbers it within its image and class."""

    id: int
    image_id: int
    mask: Mask


def bind_masks(
    connection: Connection,
    source_class: str,
    *,
    found: Sequence[tuple[int, Mask]],
    numbering: Numbering,
) -> list[int]:
    """Store the masks of one class as (image id, Mask); returns their row ids in that order.

    A mask that imported decisions know already, by image and segment, gets its class, box and pixels: its
    decisions are bound. Decisions about native segments never bind to components, whose numbers mean something else.
    """
    known = _masks_by_key(connection, source_class, numbering)
    new = [(i, m) for i, m in found if (i, m.segment) not in known]
    bulk_insert(
        connection,
        "mask (image_id, source_class, numbering, segment, y0, x0, y1, x1, area_px)",
        [
            (
                i,
                source_class,
                numbering,
                m.segment,
                m.box.top,
                m.box.left,
                m.box.bottom,
                m.box.right,
                m.area_px,
            )
            for i, m in new
        ],
    )
    bound = [(known[i, m.segment], m) for i, m in found if (i, m.segment) in known]
    if bound:
        connection.exec_driver_sql(
            "UPDATE mask SET source_class = ?, numbering = ?, y0 = ?, x0 = ?, y1 = ?, x1 = ?, area_px = ? WHERE id = ?",
            [
                (
                    source_class,
                    numbering,
                    m.box.top,
                    m.box.left,
                    m.box.bottom,
                    m.box.right,
                    m.area_px,
                    row_id,
                )
                for row_id, m in bound
            ],
        )
    ids = _masks_by_key(connection, source_class, numbering)
    row_ids = [ids[i, m.segment] for i, m in found]
    with_pixels = set(connection.execute(select(mask_geometry.c.mask_id)).scalars())
    bulk_insert(
        connection,
        "mask_geometry (mask_id, runs)",
        [
            (row_id, m.runs)
            for row_id, (_, m) in zip(row_ids, found, strict=True)
            if row_id not in with_pixels
        ],
    )
    return row_ids


def _masks_by_key(
    connection: Connection, source_class: str, numbering: Numbering
) -> dict[tuple[int, int], int]:
    # The mask of the named class and numbering comes last and wins over one of which less is known.
    rows = connection.execute(
        select(mask.c.image_id, mask.c.segment, mask.c.id)
        .where(mask.c.source_class.in_((source_class, "")))
        .where(mask.c.numbering.in_((numbering, "unknown")))
        .order_by(mask.c.source_class, mask.c.numbering == numbering)
    )
    return {(row.image_id, row.segment): row.id for row in rows}


def create_task(
    connection: Connection,
    name: str,
    *,
    dataset_class_id: int,
    mapping_revision: int,
    redundancy: int,
    candidates: Sequence[int],
    mask_ids: Sequence[int],
    now: str,
) -> int:
    """Store an open task with its candidates (label class ids) and masks; returns its id."""
    task_id: int = connection.execute(
        insert(task)
        .values(
            name=name,
            dataset_class_id=dataset_class_id,
            mapping_revision_id=mapping_revision,
            redundancy=redundancy,
            status="open",
            created_at=now,
        )
        .returning(task.c.id)
    ).scalar_one()
    connection.execute(
        insert(task_candidate),
        [
            {"task_id": task_id, "position": position, "label_class_id": label}
            for position, label in enumerate(candidates)
        ],
    )
    bulk_insert(connection, "task_mask (task_id, mask_id)", [(task_id, i) for i in mask_ids])
    return task_id


def list_tasks(connection: Connection) -> list[TaskRow]:
    """Return all tasks in the order of their making."""
    candidates: dict[int, list[str]] = {}
    for row in connection.execute(
        select(task_candidate.c.task_id, label_class.c.name)
        .join(label_class, label_class.c.id == task_candidate.c.label_class_id)
        .order_by(task_candidate.c.task_id, task_candidate.c.position)
    ):
        candidates.setdefault(row.task_id, []).append(row.name)
    masks: dict[int, int] = {
        row.task_id: row.masks
        for row in connection.execute(
            select(task_mask.c.task_id, func.count().label("masks")).group_by(task_mask.c.task_id)
        )
    }
    rows = connection.execute(
        select(task, dataset.c.id.label("dataset_id"), dataset.c.name.label("dataset"))
        .add_columns(dataset_class.c.name.label("source_class"), dataset_class.c.class_id)
        .join(dataset_class, dataset_class.c.id == task.c.dataset_class_id)
        .join(dataset, dataset.c.id == dataset_class.c.dataset_id)
        .order_by(task.c.id)
    )
    return [
        TaskRow(
            row.id,
            row.name,
            row.dataset_id,
            row.dataset,
            row.source_class,
            row.class_id,
            row.mapping_revision_id,
            row.redundancy,
            row.status,
            tuple(candidates.get(row.id, ())),
            masks.get(row.id, 0),
        )
        for row in rows
    ]


def load_task(connection: Connection, name: str) -> TaskRow:
    """Return one task; raises StoreError with the known names where there is none."""
    tasks = list_tasks(connection)
    for row in tasks:
        if row.name == name:
            return row
    known = ", ".join(row.name for row in tasks) or "none; make one with `mseg-curate task make`"
    raise StoreError(f"no task {name!r} in the store; known: {known}")


def newest_tasks(connection: Connection) -> dict[tuple[str, str], int]:
    """Return the newest task of each (dataset, source class)."""
    return {(row.dataset, row.source_class): row.id for row in list_tasks(connection)}


def masks_of_task(connection: Connection, task_id: int) -> Iterator[StoredMask]:
    """Yield the masks of a task, with their pixels, image by image."""
    rows = connection.execute(
        select(mask, mask_geometry.c.runs)
        .join(task_mask, task_mask.c.mask_id == mask.c.id)
        .join(mask_geometry, mask_geometry.c.mask_id == mask.c.id)
        .join(image, image.c.id == mask.c.image_id)
        .where(task_mask.c.task_id == task_id)
        .order_by(image.c.split, image.c.sequence, image.c.name, mask.c.segment)
    )
    for row in rows:
        box = Box(row.y0, row.x0, row.y1, row.x1)
        yield StoredMask(row.id, row.image_id, Mask(row.segment, box, row.area_px, row.runs))


def masks_of_image(
    connection: Connection, image_id: int
) -> list[tuple[StoredMask, str, str | None, str | None]]:
    """Return the masks of an image whose pixels are known, each with its resolution.

    As (mask, source class, resolution outcome or None, resolved class or None).
    """
    rows = connection.exec_driver_sql(
        "SELECT m.id, m.segment, m.source_class, m.y0, m.x0, m.y1, m.x1, m.area_px, g.runs, "
        "r.outcome, u.name FROM mask AS m "
        "JOIN mask_geometry AS g ON g.mask_id = m.id "
        "LEFT JOIN resolution AS r ON r.mask_id = m.id "
        "LEFT JOIN label_class AS u ON u.id = r.label_class_id "
        "WHERE m.image_id = ? ORDER BY m.source_class, m.segment",
        (image_id,),
    )
    return [
        (
            StoredMask(row[0], image_id, Mask(row[1], Box(*row[3:7]), row[7], row[8])),
            row[2],
            row[9],
            row[10],
        )
        for row in rows
    ]
