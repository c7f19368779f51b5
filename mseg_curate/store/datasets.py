"""Rows of datasets, their classes, images and pixel counts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Row, func, insert, select, update

from mseg_curate.errors import StoreError
from mseg_curate.store.bulk import bulk_insert
from mseg_curate.store.schema import dataset, dataset_class, image, image_class_pixels

__all__ = [
    "DatasetRow",
    "ImageRow",
    "Pixels",
    "class_pixels",
    "class_rows",
    "count_images",
    "declare_dataset",
    "list_datasets",
    "list_images",
    "load_dataset",
    "load_image",
    "move_dataset",
    "shared_images",
    "store_pixels",
]


@dataclass(frozen=True)
class DatasetRow:
    """A dataset as stored; `root` is None while its pixels were not added.

    `classes` is (class id, name) in the order of the ids; `layout` says how its folder is to be read.
    """

    id: int
    name: str
    role: str
    root: Path | None
    layout: Mapping[str, object]
    fingerprint: str | None
    classes: tuple[tuple[int, str], ...]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names in the order of the ids."""
        return tuple(name for _, name in self.classes)


@dataclass(frozen=True)
class ImageRow:
    """One image of a dataset whose pixels are known; paths are relative to the dataset's root."""

    id: int
    split: str
    sequence: str
    name: str
    image_file: str
    label_file: str
    segment_file: str | None
    size_hw: tuple[int, int]
    image_sha256: str
    label_sha256: str

    @property
    def key(self) -> str:
        """The image's name within its dataset, with the sequence where there is one."""
        return f"{self.sequence}/{self.name}" if self.sequence else self.name


@dataclass(frozen=True)
class Pixels:
    """What `dataset add` found of one image: its identity, files, hashes, and pixels per class id."""

    split: str
    sequence: str
    name: str
    image_file: str
    label_file: str
    segment_file: str | None
    size_hw: tuple[int, int]
    image_sha256: str
    label_sha256: str
    class_pixels: Mapping[int, int]
    segment_sha256: str | None = None


def declare_dataset(
    connection: Connection, name: str, *, role: str, classes: Sequence[tuple[int, str]]
) -> int:
    """Store a dataset's name, role and classes, without pixels; returns its id."""
    dataset_id: int = connection.execute(
        insert(dataset).values(name=name, role=role).returning(dataset.c.id)
    ).scalar_one()
    rows = [{"dataset_id": dataset_id, "class_id": i, "name": n} for i, n in classes]
    connection.execute(insert(dataset_class), rows)
    return dataset_id


def list_datasets(connection: Connection) -> list[DatasetRow]:
    """Return all datasets in the order of their names."""
    classes: dict[int, list[tuple[int, str]]] = {}
    for row in connection.execute(select(dataset_class).order_by(dataset_class.c.class_id)):
        classes.setdefault(row.dataset_id, []).append((row.class_id, row.name))
    return [
        DatasetRow(
            row.id,
            row.name,
            row.role,
            Path(row.root) if row.root else None,
            json.loads(row.layout) if row.layout else {},
            row.fingerprint,
            tuple(classes.get(row.id, ())),
        )
        for row in connection.execute(select(dataset).order_by(dataset.c.name))
    ]


def load_dataset(connection: Connection, name: str) -> DatasetRow:
    """Return one dataset; raises StoreError with the known names where there is none."""
    found = list_datasets(connection)
    for row in found:
        if row.name == name:
            return row
    added = [row.name for row in found if row.root] or [row.name for row in found]
    known = ", ".join(added[:12]) or "none"
    raise StoreError(
        f"no dataset {name!r} in the store; known: {known}; `mseg-curate dataset add` brings one in"
    )


def store_pixels(
    connection: Connection,
    dataset_id: int,
    *,
    root: Path,
    layout: Mapping[str, object],
    fingerprint: str,
    samples: Sequence[Pixels],
    now: str,
) -> int:
    """Store the images of a dataset; images that imported decisions know already are bound to their files.

    Returns how many were known already.
    """
    known = _image_ids(connection, dataset_id)
    columns = (
        "image_file, label_file, segment_file, height, width, image_sha256, label_sha256, "
        "dataset_id, split, sequence, name"
    )
    new: list[tuple[object, ...]] = []
    bound: list[tuple[object, ...]] = []
    for sample in samples:
        key = (sample.split, sample.sequence, sample.name)
        row = (
            sample.image_file,
            sample.label_file,
            sample.segment_file,
            *sample.size_hw,
            sample.image_sha256,
            sample.label_sha256,
            dataset_id,
            *key,
        )
        (bound if key in known else new).append(row)
    bulk_insert(connection, f"image ({columns})", new)
    if bound:
        connection.exec_driver_sql(
            "UPDATE image SET image_file = ?, label_file = ?, segment_file = ?, height = ?, width = ?, "
            "image_sha256 = ?, label_sha256 = ? "
            "WHERE dataset_id = ? AND split = ? AND sequence = ? AND name = ?",
            bound,
        )
    _store_class_pixels(connection, dataset_id, samples)
    connection.execute(
        update(dataset)
        .where(dataset.c.id == dataset_id)
        .values(
            root=str(root),
            layout=json.dumps(layout, sort_keys=True),
            fingerprint=fingerprint,
            added_at=now,
        )
    )
    return len(bound)


def _image_ids(connection: Connection, dataset_id: int) -> dict[tuple[str, str, str], int]:
    rows = connection.execute(
        select(image.c.split, image.c.sequence, image.c.name, image.c.id).where(
            image.c.dataset_id == dataset_id
        )
    )
    return {(row.split, row.sequence, row.name): row.id for row in rows}


def _store_class_pixels(connection: Connection, dataset_id: int, samples: Sequence[Pixels]) -> None:
    images = _image_ids(connection, dataset_id)
    classes = {
        row.class_id: row.id
        for row in connection.execute(
            select(dataset_class.c.class_id, dataset_class.c.id).where(
                dataset_class.c.dataset_id == dataset_id
            )
        )
    }
    rows = [
        (images[(s.split, s.sequence, s.name)], classes[class_id], pixels)
        for s in samples
        for class_id, pixels in s.class_pixels.items()
        if class_id in classes
    ]
    bulk_insert(connection, "image_class_pixels (image_id, dataset_class_id, pixels)", rows)


def list_images(
    connection: Connection, dataset_id: int, *, with_class: str | None = None
) -> list[ImageRow]:
    """Return the images of a dataset whose pixels are known, sorted by split, sequence and name.

    With `with_class` only those in which that class occurs.
    """
    query = (
        select(image)
        .where(image.c.dataset_id == dataset_id, image.c.label_file.is_not(None))
        .order_by(image.c.split, image.c.sequence, image.c.name)
    )
    if with_class is not None:
        query = (
            query.join(image_class_pixels, image_class_pixels.c.image_id == image.c.id)
            .join(dataset_class, dataset_class.c.id == image_class_pixels.c.dataset_class_id)
            .where(dataset_class.c.name == with_class)
        )
    return [_image_row(row) for row in connection.execute(query)]


def load_image(connection: Connection, image_id: int) -> tuple[ImageRow, str]:
    """Return an image whose pixels are known, and the name of its dataset."""
    row = connection.execute(
        select(image, dataset.c.name.label("dataset_name"))
        .join(dataset, dataset.c.id == image.c.dataset_id)
        .where(image.c.id == image_id)
    ).one()
    return _image_row(row), row.dataset_name


def _image_row(row: Row[tuple[object, ...]]) -> ImageRow:
    return ImageRow(
        row.id,
        row.split,
        row.sequence,
        row.name,
        row.image_file,
        row.label_file,
        row.segment_file,
        (row.height, row.width),
        row.image_sha256,
        row.label_sha256,
    )


def class_pixels(connection: Connection, dataset_id: int) -> dict[str, int]:
    """Return how many pixels of a dataset each of its classes has; 0 for those that never occur."""
    rows = connection.execute(
        select(dataset_class.c.name, func.coalesce(func.sum(image_class_pixels.c.pixels), 0))
        .outerjoin(image_class_pixels, image_class_pixels.c.dataset_class_id == dataset_class.c.id)
        .where(dataset_class.c.dataset_id == dataset_id)
        .group_by(dataset_class.c.id)
        .order_by(dataset_class.c.class_id)
    )
    return {name: int(pixels) for name, pixels in rows}


def class_rows(connection: Connection, dataset_id: int) -> dict[str, int]:
    """Return the row id of each class of a dataset by its name."""
    rows = connection.execute(
        select(dataset_class.c.name, dataset_class.c.id).where(
            dataset_class.c.dataset_id == dataset_id
        )
    )
    return {row.name: row.id for row in rows}


def count_images(connection: Connection, dataset_id: int) -> int:
    """Return how many images of a dataset have pixels."""
    return connection.execute(
        select(func.count()).where(
            image.c.dataset_id == dataset_id, image.c.label_file.is_not(None)
        )
    ).scalar_one()


def move_dataset(
    connection: Connection, dataset_id: int, *, root: Path, layout: Mapping[str, object]
) -> None:
    """Store where the unchanged files of a dataset lie now."""
    connection.execute(
        update(dataset)
        .where(dataset.c.id == dataset_id)
        .values(root=str(root), layout=json.dumps(layout, sort_keys=True))
    )


def shared_images(connection: Connection) -> list[tuple[str, str, str, str]]:
    """Return photos that a training and a test dataset share, byte for byte.

    As (training dataset, image, test dataset, image), at most one pair per training image.
    """
    rows = connection.exec_driver_sql(
        "SELECT a.name, i.name, b.name, MIN(j.name) FROM image AS i "
        "JOIN dataset AS a ON a.id = i.dataset_id AND a.role = 'train' "
        "JOIN image AS j ON j.image_sha256 = i.image_sha256 "
        "JOIN dataset AS b ON b.id = j.dataset_id AND b.role = 'test' "
        "WHERE i.image_sha256 IS NOT NULL GROUP BY i.id, b.id ORDER BY 1, 2"
    )
    return [(train, one, test, other) for train, one, test, other in rows]
