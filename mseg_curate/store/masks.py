"""Rows of masks: where they lie, their pixels, and what is resolved of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, select

from mseg_curate.core.mask import Box, Mask
from mseg_curate.errors import StoreError
from mseg_curate.store.bulk import bulk_insert
from mseg_curate.store.datasets import ImageRow, load_image
from mseg_curate.store.schema import image, mask, mask_geometry, task_mask

__all__ = [
    "LocatedMask",
    "Numbering",
    "StoredMask",
    "bind_masks",
    "load_mask",
    "mask_frame",
    "masks_of_image",
    "masks_of_task",
    "task_masks_of_image",
]


Numbering = Literal["native", "component", "unknown"]
"""What a mask's segment number is: the dataset's own id, a component's number, or not known yet."""


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


@dataclass(frozen=True)
class LocatedMask:
    """A mask with its pixels, and the image and dataset it lies in."""

    id: int
    dataset: str
    source_class: str
    image: ImageRow
    mask: Mask


def load_mask(connection: Connection, mask_id: int) -> LocatedMask:
    """Return a mask whose pixels are known; raises StoreError where they are not."""
    row = connection.execute(
        select(mask, mask_geometry.c.runs)
        .join(mask_geometry, mask_geometry.c.mask_id == mask.c.id)
        .where(mask.c.id == mask_id)
    ).first()
    if row is None:
        raise _no_pixels(mask_id)
    image_row, dataset_name = load_image(connection, row.image_id)
    box = Box(row.y0, row.x0, row.y1, row.x1)
    pixels = Mask(row.segment, box, row.area_px, row.runs)
    return LocatedMask(row.id, dataset_name, row.source_class, image_row, pixels)


def mask_frame(connection: Connection, mask_id: int) -> tuple[tuple[int, int], Box, int]:
    """Return (size of the image, box, area in pixels) of a mask whose pixels are known; raises StoreError else."""
    row = connection.exec_driver_sql(
        "SELECT i.height, i.width, m.y0, m.x0, m.y1, m.x1, m.area_px FROM mask AS m "
        "JOIN image AS i ON i.id = m.image_id WHERE m.id = ? AND m.area_px IS NOT NULL",
        (mask_id,),
    ).first()
    if row is None:
        raise _no_pixels(mask_id)
    return (row[0], row[1]), Box(*row[2:6]), row[6]


def _no_pixels(mask_id: int) -> StoreError:
    return StoreError(f"mask {mask_id} has no pixels in this store")


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


def task_masks_of_image(connection: Connection, image_id: int, *, task_id: int) -> set[int]:
    """Return the row ids of the masks of an image that a task asks about."""
    rows = connection.exec_driver_sql(
        "SELECT m.id FROM mask AS m JOIN task_mask AS t ON t.mask_id = m.id "
        "WHERE m.image_id = ? AND t.task_id = ?",
        (image_id, task_id),
    )
    return {int(row_id) for (row_id,) in rows}
