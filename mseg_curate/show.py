"""The pictures of a review: a photo as it is, a mask's pixels, and crops around a mask."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from mseg_curate.core.mask import Box, Mask
from mseg_curate.errors import ImageError, StoreError
from mseg_curate.files import safe_join
from mseg_curate.images import (
    encode_mask_png,
    encode_photo_jpeg,
    encode_rgb_png,
    photo_media_type,
    read_image,
    read_image_part,
)
from mseg_curate.store.datasets import DatasetRow, ImageRow

__all__ = ["Crop", "Photo", "box_around", "show_crop", "show_example", "show_mask", "show_photo"]

AROUND = 1.5
"""A crop shows this many times the box's height and width."""
LEAST_MARGIN_PX = 16
JPEG_QUALITY = 85
INK, HALO = (255, 255, 255), (0, 0, 0)


@dataclass(frozen=True)
class Photo:
    """The bytes of a photo file and their media type."""

    data: bytes
    media_type: str


@dataclass(frozen=True)
class Crop:
    """A JPEG of the part `box` of a photo, in pixels of the whole photo; it may be scaled down."""

    jpeg: bytes
    box: Box


def show_photo(dataset: DatasetRow, image: ImageRow) -> Photo:
    """Return a photo's file untouched where browsers show its kind (JPEG, PNG, WebP), else re-encoded as PNG.

    Raises ImageError for a file that is missing or damaged, StoreError where the dataset has no folder.
    """
    path = _photo_path(dataset, image)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(
            f"cannot be read ({error.strerror})",
            path=path,
            hint="put the file back, or add the dataset's folder again with `mseg-curate dataset add`",
        ) from error
    media_type = photo_media_type(data)
    if media_type is None:
        return Photo(encode_rgb_png(read_image(path)), "image/png")
    return Photo(data, media_type)


def show_mask(mask: Mask) -> bytes:
    """Return a 1-bit PNG of the mask's box, white in the mask."""
    return encode_mask_png(mask.crop())


def show_crop(dataset: DatasetRow, image: ImageRow, *, mask: Mask, longest_px: int) -> Crop:
    """Return a crop around a mask, at most `longest_px` on its longer side; never scaled up.

    Raises ImageError for a photo that is missing, damaged or smaller than when it was added.
    """
    box = box_around(mask.box, image.size_hw)
    return Crop(_encode(_read(dataset, image, box, longest_px)), box)


def show_example(dataset: DatasetRow, image: ImageRow, *, mask: Mask, longest_px: int) -> bytes:
    """Return a JPEG crop around a mask with its contour drawn in: white on black, 1 px on 3 px."""
    box = box_around(mask.box, image.size_hw)
    pixels = _read(dataset, image, box, longest_px).copy()
    _draw_contour(pixels, mask, box)
    return _encode(pixels)


def box_around(box: Box, size_hw: tuple[int, int]) -> Box:
    """Return 1.5 × a box about its centre, at least 16 px beyond each side, cut at the borders of the image."""
    (height, width), (rows, columns) = box.size_hw, size_hw
    down, across = _margin(height), _margin(width)
    return Box(
        max(0, box.top - down),
        max(0, box.left - across),
        min(rows, box.bottom + down),
        min(columns, box.right + across),
    )


def _margin(side_px: int) -> int:
    return max(LEAST_MARGIN_PX, math.ceil(side_px * (AROUND - 1) / 2))


def _photo_path(dataset: DatasetRow, image: ImageRow) -> Path:
    if dataset.root is None:
        raise StoreError(
            f"dataset {dataset.name} has no pixels yet; add its folder with `mseg-curate dataset add`"
        )
    return safe_join(dataset.root, image.image_file)


def _read(dataset: DatasetRow, image: ImageRow, box: Box, longest_px: int) -> npt.NDArray[np.uint8]:
    path = _photo_path(dataset, image)
    sides = (box.top, box.left, box.bottom, box.right)
    return read_image_part(path, sides, longest_px=longest_px)


def _encode(pixels: npt.NDArray[np.uint8]) -> bytes:
    return encode_photo_jpeg(pixels, quality=JPEG_QUALITY)


def _draw_contour(pixels: npt.NDArray[np.uint8], mask: Mask, box: Box) -> None:
    """Draw the contour of a mask into an (h, w, 3) picture of the part `box`."""
    rows, columns = box.size_hw
    part = np.zeros((rows, columns), np.uint8)
    top, left = mask.box.top - box.top, mask.box.left - box.left
    height, width = mask.box.size_hw
    part[top : top + height, left : left + width] = mask.crop()
    size = (pixels.shape[1], pixels.shape[0])
    scaled = cv2.resize(part, size, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(scaled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(pixels, contours, -1, HALO, 3)
    cv2.drawContours(pixels, contours, -1, INK, 1)
