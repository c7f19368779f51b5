"""Look at what was decided: find images, and see one with its label map before and after."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from mseg_curate.core.label_map import LabelMap
from mseg_curate.core.mapping import DatasetMapping, Relation
from mseg_curate.errors import InputError
from mseg_curate.files import safe_join
from mseg_curate.images import read_image
from mseg_curate.ingest import colour_table, label_map_of
from mseg_curate.preview import palette
from mseg_curate.show import show_example
from mseg_curate.store import Store
from mseg_curate.store.browse import (
    BrowsedMask,
    FoundImage,
    ImageFilter,
    MaskVote,
    browsed_masks,
    has_pixels,
)
from mseg_curate.store.browse import find_images as find
from mseg_curate.store.datasets import DatasetRow, ImageRow, list_datasets, load_dataset, load_image
from mseg_curate.store.masks import load_mask
from mseg_curate.store.taxonomies import load_mapping, load_universal

__all__ = [
    "Browsable",
    "BrowsedMask",
    "FoundImage",
    "ImageFilter",
    "ImageView",
    "LegendLine",
    "MaskVote",
    "browsable",
    "find_images",
    "look_at",
    "picture_of_mask",
]

Picture = npt.NDArray[np.uint8]
_Ids = npt.NDArray[np.int32]

MOST_A_PAGE = 200
_IGNORED = -1
_HATCH_PX = 4
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)


@dataclass(frozen=True)
class Browsable:
    """What images can be looked for by: datasets with pixels, each with its splits and classes; universal classes."""

    datasets: tuple[DatasetRow, ...]
    universal: tuple[str, ...]


@dataclass(frozen=True)
class LegendLine:
    """A class of a picture: its colour (red, green, blue; 0 … 255) and its pixels in the image, before and after."""

    name: str
    colour: tuple[int, int, int]
    before_px: int
    after_px: int


@dataclass(frozen=True)
class ImageView:
    """An image as it can be looked at; the pictures are (h, w, 3) uint8 RGB of one size.

    `before` has the classes that the mapping gives without decisions, `after` those with them: resolved masks are
    painted where their pixels still carry the source class, ignored pixels are black, and contested masks hatched.
    """

    dataset: str
    image: ImageRow
    photo: Picture
    before: Picture
    after: Picture
    legend: tuple[LegendLine, ...]
    masks: tuple[BrowsedMask, ...]


def browsable(store: Store) -> Browsable:
    """Return what images can be looked for by."""
    with store.reading() as connection:
        rows = [row for row in list_datasets(connection) if row.root is not None]
        return Browsable(tuple(rows), load_universal(connection).names)


def find_images(
    store: Store, wanted: ImageFilter, *, after: int | None = None, limit: int = 24
) -> tuple[list[FoundImage], bool]:
    """Return the images that a filter finds, `limit` at most behind image `after`, and whether there are more."""
    if not 1 <= limit <= MOST_A_PAGE:
        raise InputError("images of a page", expected=f"1 … {MOST_A_PAGE}", found=str(limit))
    with store.reading() as connection:
        found = find(connection, wanted, after=after, limit=limit + 1)
    return found[:limit], len(found) > limit


def look_at(store: Store, image_id: int, *, longest_px: int = 1024) -> ImageView:
    """Return an image with its label map before and after decisions, at most `longest_px` on its longer side.

    Raises InputError for an unknown image, DatasetError or ImageError for files that were changed or lost.
    """
    with store.reading() as connection:
        if not has_pixels(connection, image_id):
            raise InputError(f"no image {image_id} with pixels in the store")
        row, dataset_name = load_image(connection, image_id)
        dataset = load_dataset(connection, dataset_name)
        masks = browsed_masks(connection, image_id)
        found = load_mapping(connection, dataset.id, dataset=dataset_name)
        universal = load_universal(connection).names
    names, table = _class_table(dataset, None if found is None else found[1], universal)
    label_map = label_map_of(dataset, row, colour_table(dataset.layout))
    before = table[label_map]
    after, contested = _paint(before, label_map, masks, dataset=dataset, names=names)
    size_hw = _fitting(row.size_hw, longest_px)
    colours = np.vstack([palette(len(names)), [_BLACK]]).astype(np.uint8)
    # Index −1 is the last row: black.
    shown = colours[_resize(after, size_hw)]
    _hatch(shown, _resize(contested.astype(np.uint8), size_hw).astype(bool))
    return ImageView(
        dataset_name,
        row,
        _photo(dataset, row, size_hw),
        colours[_resize(before, size_hw)],
        shown,
        _legend(names, colours, before, after),
        tuple(masks),
    )


def picture_of_mask(store: Store, mask_id: int, *, longest_px: int = 192) -> bytes:
    """Return a JPEG crop around a mask with its contour, at most `longest_px` on its longer side.

    Raises StoreError for a mask without pixels, ImageError for a photo that is missing or damaged.
    """
    with store.reading() as connection:
        found = load_mask(connection, mask_id)
        dataset = load_dataset(connection, found.dataset)
    return show_example(dataset, found.image, mask=found.mask, longest_px=longest_px)


def _class_table(
    dataset: DatasetRow, mapping: DatasetMapping | None, universal: tuple[str, ...]
) -> tuple[tuple[str, ...], _Ids]:
    """Return class names and (65536,) indices into them by the dataset's class ids, −1 for ignored ones.

    Universal classes for a training dataset; a test dataset, and one without a mapping, shows its own.
    """
    table = np.full(65_536, _IGNORED, np.int32)
    if mapping is None or dataset.role == "test":
        for index, (class_id, _) in enumerate(dataset.classes):
            table[class_id] = index
        return dataset.class_names, table
    place = {name: index for index, name in enumerate(universal)}
    targets = {
        e.source: e.targets[0]
        for e in mapping.entries
        if e.relation is not Relation.IGNORE and e.targets
    }
    for class_id, name in dataset.classes:
        if name in targets:
            table[class_id] = place[targets[name]]
    return universal, table


def _paint(
    before: _Ids,
    label_map: LabelMap,
    masks: list[BrowsedMask],
    *,
    dataset: DatasetRow,
    names: tuple[str, ...],
) -> tuple[_Ids, npt.NDArray[np.bool_]]:
    """Return the (H, W) classes after decisions, and where masks are contested."""
    after = before.copy()
    contested = np.zeros(before.shape, bool)
    ids = {name: class_id for class_id, name in dataset.classes}
    place = {name: index for index, name in enumerate(names)}
    for stored in masks:
        box = stored.mask.box
        window = np.s_[box.top : box.bottom, box.left : box.right]
        inside = stored.mask.crop() & (label_map[window] == ids.get(stored.source_class, -1))
        if stored.outcome == "resolved" and stored.resolved_class in place:
            after[window][inside] = place[stored.resolved_class]
        elif stored.outcome == "ignored":
            after[window][inside] = _IGNORED
        if stored.is_contested:
            contested[window] |= inside
    return after, contested


def _fitting(size_hw: tuple[int, int], longest_px: int) -> tuple[int, int]:
    scale = min(1.0, longest_px / max(size_hw))
    height, width = (max(1, round(side * scale)) for side in size_hw)
    return height, width


def _resize(
    values: npt.NDArray[np.int32 | np.uint8], size_hw: tuple[int, int]
) -> npt.NDArray[np.int32 | np.uint8]:
    if values.shape == size_hw:
        return values
    # OpenCV scales no 32-bit integers; classes are fewer than a float holds exactly.
    scaled = cv2.resize(values.astype(np.float32), size_hw[::-1], interpolation=cv2.INTER_NEAREST)
    return scaled.astype(values.dtype)


def _photo(dataset: DatasetRow, row: ImageRow, size_hw: tuple[int, int]) -> Picture:
    if dataset.root is None:
        raise InputError(f"dataset {dataset.name} has no pixels")
    photo = read_image(safe_join(dataset.root, row.image_file))
    if photo.shape[:2] == size_hw:
        return photo
    return cv2.resize(photo, size_hw[::-1], interpolation=cv2.INTER_AREA).astype(np.uint8)


def _hatch(picture: Picture, where: npt.NDArray[np.bool_]) -> None:
    """Draw black and white diagonals into an (h, w, 3) picture, every other one leaving its colour."""
    rows, columns = np.nonzero(where)
    stripe = (rows + columns) // _HATCH_PX % 4
    picture[rows[stripe == 0], columns[stripe == 0]] = _BLACK
    picture[rows[stripe == 2], columns[stripe == 2]] = _WHITE


def _legend(
    names: tuple[str, ...], colours: Picture, before: _Ids, after: _Ids
) -> tuple[LegendLine, ...]:
    """Return the classes of either picture, the largest first; ignored pixels have a line of their own."""
    counts = [np.bincount((ids + 1).ravel(), minlength=len(names) + 1) for ids in (before, after)]
    lines = []
    for index, name in enumerate(("ignored", *names)):
        before_px, after_px = int(counts[0][index]), int(counts[1][index])
        if before_px or after_px:
            red, green, blue = colours[index - 1].tolist()
            lines.append(LegendLine(name, (red, green, blue), before_px, after_px))
    return tuple(sorted(lines, key=lambda line: -max(line.before_px, line.after_px)))
