"""Look at what was decided: find images, and see one with its label map before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt

from mseg_curate.core.label_map import LabelMap
from mseg_curate.core.mapping import DatasetMapping, Relation
from mseg_curate.errors import InputError
from mseg_curate.files import safe_join
from mseg_curate.images import encode_photo_jpeg, encode_rgb_png, read_image_part
from mseg_curate.ingest import colour_table, label_map_of
from mseg_curate.preview import palette
from mseg_curate.show import show_example
from mseg_curate.store import Connection, Store
from mseg_curate.store.browse import (
    BrowsedMask,
    FoundImage,
    ImageFilter,
    MaskVote,
    browsed_masks,
    has_pixels,
)
from mseg_curate.store.browse import count_images as count
from mseg_curate.store.browse import find_images as find
from mseg_curate.store.datasets import DatasetRow, ImageRow, list_datasets, load_dataset, load_image
from mseg_curate.store.masks import load_mask
from mseg_curate.store.taxonomies import load_mapping, load_universal

__all__ = [
    "KINDS",
    "Browsable",
    "BrowsedMask",
    "FoundImage",
    "ImageFilter",
    "ImageView",
    "Kind",
    "LegendLine",
    "MaskVote",
    "browsable",
    "count_images",
    "draw_image",
    "encode_drawn",
    "find_images",
    "find_neighbours",
    "look_at",
    "picture_of_mask",
]

Picture = npt.NDArray[np.uint8]
_Ids = npt.NDArray[np.int32]

Kind = Literal["photo", "before", "after", "overlay", "pair"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""What can be drawn of an image: photo, label map before or after decisions, the latter over the photo or beside it."""

MOST_A_PAGE = 200
_IGNORED = -1
_HATCH_PX = 4
_OVERLAY = 0.55
_JPEG_QUALITY = 88
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
    """What is known of an image: the classes of its label map, and its masks."""

    dataset: str
    image: ImageRow
    legend: tuple[LegendLine, ...]
    masks: tuple[BrowsedMask, ...]


@dataclass(frozen=True)
class _Maps:
    """An image with its (H, W) classes before and after decisions, −1 where ignored, and where masks are contested."""

    dataset: DatasetRow
    row: ImageRow
    names: tuple[str, ...]
    before: _Ids
    after: _Ids
    contested: npt.NDArray[np.bool_]
    masks: tuple[BrowsedMask, ...]


def browsable(store: Store) -> Browsable:
    """Return what images can be looked for by."""
    with store.reading() as connection:
        rows = [row for row in list_datasets(connection) if row.root is not None]
        return Browsable(tuple(rows), load_universal(connection).names)


def find_images(
    store: Store,
    wanted: ImageFilter,
    *,
    after: int | None = None,
    before: int | None = None,
    limit: int = 24,
) -> tuple[list[FoundImage], bool]:
    """Return the images that a filter finds, `limit` at most, and whether there are more in that direction.

    The first of all, those next behind image `after`, or the last ones before image `before`.
    """
    if not 1 <= limit <= MOST_A_PAGE:
        raise InputError("images of a page", expected=f"1 … {MOST_A_PAGE}", found=str(limit))
    with store.reading() as connection:
        found = find(connection, wanted, after=after, before=before, limit=limit + 1)
    if len(found) <= limit:
        return found, False
    return (found[1:] if before is not None else found[:limit]), True


def find_neighbours(
    store: Store, wanted: ImageFilter, image_id: int
) -> tuple[FoundImage | None, FoundImage | None]:
    """Return the images that a filter finds right before and right behind an image, None where there is none."""
    previous, _ = find_images(store, wanted, before=image_id, limit=1)
    following, _ = find_images(store, wanted, after=image_id, limit=1)
    return (previous[0] if previous else None), (following[0] if following else None)


def count_images(store: Store, wanted: ImageFilter, *, limit: int = 1_000_000) -> int:
    """Return how many images a filter finds; `limit` where there are as many or more."""
    with store.reading() as connection:
        return count(connection, wanted, limit=limit)


def look_at(store: Store, image_id: int) -> ImageView:
    """Return what is known of an image.

    Raises InputError for an unknown image, DatasetError or ImageError for files that were changed or lost.
    """
    maps = _read_maps(store, image_id)
    colours = _colours(maps)
    legend = _legend(maps.names, colours, maps.before, maps.after)
    return ImageView(maps.dataset.name, maps.row, legend, maps.masks)


def draw_image(
    store: Store, image_id: int, *, kind: Kind, longest_px: int = 1024, marked: int | None = None
) -> Picture:
    """Return an (h, w, 3) uint8 RGB picture of an image, at most `longest_px` on its longer side, never scaled up.

    `before` has the classes that the mapping gives without decisions, `after` those with them: resolved masks are
    painted where their pixels still carry the source class, ignored pixels are black, and contested masks hatched.
    `overlay` lays `after` over the photo, `pair` sets it beside it. The mask of the row id `marked` is outlined.
    Raises as `look_at` does.
    """
    if kind == "photo" and marked is None:
        with store.reading() as connection:
            row, dataset_name = _require_image(connection, image_id)
            dataset = load_dataset(connection, dataset_name)
        return _photo(dataset, row, _fitting(row.size_hw, longest_px))
    maps = _read_maps(store, image_id)
    size_hw = _fitting(maps.row.size_hw, longest_px)
    if kind == "before":
        drawn = [_colours(maps)[_resize(maps.before, size_hw)]]
    elif kind == "after":
        drawn = [_draw_after(maps, size_hw)]
    else:
        drawn = [_photo(maps.dataset, maps.row, size_hw)]
    if kind == "overlay":
        after = _draw_after(maps, size_hw)
        mixed = cv2.addWeighted(after, _OVERLAY, drawn[0], 1 - _OVERLAY, 0)
        drawn = [mixed.astype(np.uint8)]
    elif kind == "pair":
        drawn.append(_draw_after(maps, size_hw))
    for picture in drawn:
        for stored in maps.masks:
            if stored.id == marked:
                _outline(picture, stored, maps.row.size_hw)
    return np.hstack(drawn).astype(np.uint8)


def encode_drawn(picture: Picture, kind: Kind) -> tuple[bytes, str]:
    """Return a drawn picture as a file and its media type: label maps without loss, what has a photo in it smaller."""
    if kind in ("before", "after"):
        return encode_rgb_png(picture), "image/png"
    return encode_photo_jpeg(picture, quality=_JPEG_QUALITY), "image/jpeg"


def picture_of_mask(store: Store, mask_id: int, *, longest_px: int = 192) -> bytes:
    """Return a JPEG crop around a mask with its contour, at most `longest_px` on its longer side.

    Raises StoreError for a mask without pixels, ImageError for a photo that is missing or damaged.
    """
    with store.reading() as connection:
        found = load_mask(connection, mask_id)
        dataset = load_dataset(connection, found.dataset)
    return show_example(dataset, found.image, mask=found.mask, longest_px=longest_px)


def _read_maps(store: Store, image_id: int) -> _Maps:
    with store.reading() as connection:
        row, dataset_name = _require_image(connection, image_id)
        dataset = load_dataset(connection, dataset_name)
        masks = browsed_masks(connection, image_id)
        found = load_mapping(connection, dataset.id, dataset=dataset_name)
        universal = load_universal(connection).names
    names, table = _class_table(dataset, None if found is None else found[1], universal)
    label_map = label_map_of(dataset, row, colour_table(dataset.layout))
    before = table[label_map]
    after, contested = _paint(before, label_map, masks, dataset=dataset, names=names)
    return _Maps(dataset, row, names, before, after, contested, tuple(masks))


def _require_image(connection: Connection, image_id: int) -> tuple[ImageRow, str]:
    if not has_pixels(connection, image_id):
        raise InputError(f"no image {image_id} with pixels in the store")
    return load_image(connection, image_id)


def _colours(maps: _Maps) -> Picture:
    """Return the (classes + 1, 3) colours of an image's classes; index −1 is the last row: black."""
    return np.vstack([palette(len(maps.names)), [_BLACK]]).astype(np.uint8)


def _draw_after(maps: _Maps, size_hw: tuple[int, int]) -> Picture:
    drawn = _colours(maps)[_resize(maps.after, size_hw)]
    _hatch(drawn, _resize(maps.contested.astype(np.uint8), size_hw).astype(bool))
    return drawn


def _outline(picture: Picture, stored: BrowsedMask, image_hw: tuple[int, int]) -> None:
    """Draw the contour of a mask into a picture of the whole image: white, 1 px, on black, 3 px."""
    box = stored.mask.box
    whole = np.zeros(image_hw, np.uint8)
    whole[box.top : box.bottom, box.left : box.right] = stored.mask.crop()
    scaled = _resize(whole, (picture.shape[0], picture.shape[1])).astype(np.uint8)
    contours, _ = cv2.findContours(scaled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, _BLACK, 3)
    cv2.drawContours(picture, contours, -1, _WHITE, 1)


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
    masks: Sequence[BrowsedMask],
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
    path = safe_join(dataset.root, row.image_file)
    part = read_image_part(path, (0, 0, *row.size_hw), longest_px=max(size_hw))
    # The two reckon the shorter side apart where it falls between two pixels.
    if part.shape[:2] != size_hw:
        return cv2.resize(part, size_hw[::-1], interpolation=cv2.INTER_AREA).astype(np.uint8)
    return part.copy()


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
