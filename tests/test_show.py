"""The pictures of a review, pixel by pixel."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mseg_curate.core.mask import Box, Mask, mask_of
from mseg_curate.errors import ImageError, InputError, StoreError
from mseg_curate.images import encode_mask_png, photo_media_type, read_image_part
from mseg_curate.show import box_around, show_crop, show_example, show_mask, show_photo
from mseg_curate.store.datasets import DatasetRow, ImageRow

Pixels = npt.NDArray[np.uint8]


@pytest.fixture
def dataset(tmp_path: Path) -> DatasetRow:
    """A dataset whose folder is empty as yet."""
    return DatasetRow(1, "farm", "train", tmp_path, {}, None, ())


def image_row(file: str, size_hw: tuple[int, int]) -> ImageRow:
    """Return the row of an image."""
    return ImageRow(1, "train", "", "a", file, "a.png", None, size_hw, "", "")


def draw(size_hw: tuple[int, int]) -> Pixels:
    """Return a picture in which every pixel differs from its neighbours."""
    rows, columns = np.indices(size_hw)
    return np.stack([rows % 251, columns % 241, (rows + columns) % 239], axis=-1).astype(np.uint8)


def save(path: Path, pixels: Pixels, **options: Any) -> bytes:
    """Write a picture and return its bytes."""
    Image.fromarray(pixels).save(path, **options)
    return path.read_bytes()


def decode(data: bytes) -> npt.NDArray[np.uint8]:
    """Return the pixels of a picture."""
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize(
    ("file", "media_type"),
    [("a.jpg", "image/jpeg"), ("a.png", "image/png"), ("a.webp", "image/webp")],
)
def test_a_photo_is_its_file(dataset: DatasetRow, file: str, media_type: str) -> None:
    """JPEG, PNG and WebP are handed out byte for byte with their own media type."""
    assert dataset.root is not None
    data = save(dataset.root / file, draw((12, 16)))
    photo = show_photo(dataset, image_row(file, (12, 16)))
    assert (photo.data, photo.media_type) == (data, media_type)


def test_the_media_type_is_told_by_the_bytes(dataset: DatasetRow) -> None:
    """A PNG that is named .jpg is announced as the PNG it is."""
    assert dataset.root is not None
    save(dataset.root / "a.jpg", draw((12, 16)), format="PNG")
    assert show_photo(dataset, image_row("a.jpg", (12, 16))).media_type == "image/png"
    assert photo_media_type(b"RIFF\0\0\0\0WAVE") is None
    assert photo_media_type(b"") is None


@pytest.mark.parametrize("file", ["a.tif", "a.bmp"])
def test_another_photo_becomes_png(dataset: DatasetRow, file: str) -> None:
    """A photo that browsers do not show becomes a PNG of the same pixels."""
    assert dataset.root is not None
    pixels = draw((12, 16))
    save(dataset.root / file, pixels)
    photo = show_photo(dataset, image_row(file, (12, 16)))
    assert photo.media_type == "image/png"
    assert np.array_equal(decode(photo.data), pixels)


def test_a_photo_that_is_not_there(dataset: DatasetRow) -> None:
    """A missing file, a dataset without a folder, and a path that leaves it are refused."""
    with pytest.raises(ImageError, match="put the file back"):
        show_photo(dataset, image_row("a.jpg", (2, 2)))
    with pytest.raises(StoreError, match="has no pixels yet"):
        show_photo(replace(dataset, root=None), image_row("a.jpg", (2, 2)))
    with pytest.raises(InputError, match="leaves its folder"):
        show_photo(dataset, image_row("../a.jpg", (2, 2)))


@given(
    data=st.data(),
    height=st.integers(1, 20),
    width=st.integers(1, 40),
)
def test_a_mask_is_exact(data: st.DataObject, height: int, width: int) -> None:
    """The PNG of a mask decodes to its very pixels, whatever its width."""
    bits = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    crop = np.array(bits).reshape(height, width)
    png = show_mask(mask_of(0, crop=crop, top_left=(3, 5)))
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.mode == "1"
        assert np.array_equal(np.asarray(picture), crop)
        assert set(np.unique(np.asarray(picture.convert("L")))) <= {0, 255}


def test_what_is_no_mask() -> None:
    """An empty or a numeric array is refused."""
    for wrong in (np.zeros((0, 3), np.bool_), np.zeros((2, 2), np.uint8)):
        with pytest.raises(ImageError, match="mask cannot be encoded"):
            encode_mask_png(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("box", "size_hw", "expected"),
    [
        (Box(100, 200, 200, 400), (1000, 1000), Box(75, 150, 225, 450)),
        (Box(101, 200, 200, 400), (1000, 1000), Box(76, 150, 225, 450)),
        (Box(50, 50, 51, 51), (1000, 1000), Box(34, 34, 67, 67)),
        (Box(0, 0, 100, 100), (1000, 1000), Box(0, 0, 125, 125)),
        (Box(900, 900, 1000, 1000), (1000, 1000), Box(875, 875, 1000, 1000)),
        (Box(0, 0, 12, 16), (12, 16), Box(0, 0, 12, 16)),
        (Box(5, 0, 6, 16), (12, 16), Box(0, 0, 12, 16)),
    ],
)
def test_the_box_around(box: Box, size_hw: tuple[int, int], expected: Box) -> None:
    """A crop is 1.5 × the box, at least 16 px beyond it, and ends at the borders of the image."""
    assert box_around(box, size_hw) == expected


def a_mask(box: Box) -> Mask:
    """Return a mask that fills its box."""
    return mask_of(0, crop=np.ones(box.size_hw, np.bool_), top_left=(box.top, box.left))


@pytest.mark.parametrize(
    "box",
    [Box(0, 0, 8, 8), Box(72, 92, 80, 100), Box(40, 50, 44, 56), Box(0, 0, 80, 100)],
)
def test_a_crop_shows_its_box(dataset: DatasetRow, box: Box) -> None:
    """A crop that fits is the very part of the photo that its box names, at the borders too."""
    assert dataset.root is not None
    pixels = np.zeros((80, 100, 3), np.uint8)
    pixels[box.top : box.bottom, box.left : box.right] = 255
    save(dataset.root / "a.png", pixels)
    crop = show_crop(dataset, image_row("a.png", (80, 100)), mask=a_mask(box), longest_px=192)
    assert crop.box == box_around(box, (80, 100))
    part = pixels[crop.box.top : crop.box.bottom, crop.box.left : crop.box.right]
    shown = decode(crop.jpeg)
    assert shown.shape == part.shape
    assert np.abs(shown.astype(int) - part).mean() < 8


@pytest.mark.parametrize("file", ["a.png", "a.jpg"])
@pytest.mark.parametrize("longest_px", [16, 50, 64, 100, 192])
def test_a_large_crop_is_scaled_down(dataset: DatasetRow, file: str, longest_px: int) -> None:
    """A crop larger than wanted is scaled to the wanted longer side; what was at a place stays there."""
    assert dataset.root is not None
    pixels = np.zeros((600, 800, 3), np.uint8)
    pixels[:300, 400:] = (255, 0, 0)
    pixels[300:, :400] = (0, 0, 255)
    save(dataset.root / file, pixels, quality=95)
    box = Box(200, 300, 400, 500)
    crop = show_crop(dataset, image_row(file, (600, 800)), mask=a_mask(box), longest_px=longest_px)
    assert crop.box == Box(150, 250, 450, 550)
    shown = decode(crop.jpeg)
    assert shown.shape[:2] == (min(300, longest_px), min(300, longest_px))
    quarter = max(1, longest_px // 4)
    assert np.allclose(shown[quarter, -quarter], (254, 0, 0), atol=40)
    assert np.allclose(shown[-quarter, quarter], (0, 0, 254), atol=40)
    assert np.allclose(shown[quarter, quarter], 0, atol=40)


def test_parts_of_a_photo(tmp_path: Path) -> None:
    """A part is exact where nothing is scaled, and one outside of the photo is refused."""
    pixels = draw((30, 40))
    save(tmp_path / "a.png", pixels)
    part = read_image_part(tmp_path / "a.png", (3, 5, 21, 40), longest_px=35)
    assert np.array_equal(part, pixels[3:21, 5:40])
    for box in ((0, 0, 31, 40), (0, 0, 30, 41), (-1, 0, 3, 3), (5, 5, 5, 9)):
        with pytest.raises(ImageError, match="part outside of the photo"):
            read_image_part(tmp_path / "a.png", box, longest_px=10)


def test_a_photo_that_became_smaller(dataset: DatasetRow) -> None:
    """A photo replaced by a smaller one is refused, not shown with the mask in the wrong place."""
    assert dataset.root is not None
    save(dataset.root / "a.png", draw((20, 20)))
    with pytest.raises(ImageError, match="may have been replaced"):
        show_crop(
            dataset,
            image_row("a.png", (80, 100)),
            mask=a_mask(Box(60, 60, 70, 70)),
            longest_px=64,
        )


def test_an_example_has_its_contour(dataset: DatasetRow) -> None:
    """The contour is drawn white on black around the mask; inside and far away the photo is as it is."""
    assert dataset.root is not None
    grey = np.full((100, 100, 3), 128, np.uint8)
    save(dataset.root / "a.png", grey)
    box = Box(30, 30, 70, 70)
    row = image_row("a.png", (100, 100))
    shown = decode(show_example(dataset, row, mask=a_mask(box), longest_px=100))
    around = box_around(box, (100, 100))
    top, left = box.top - around.top, box.left - around.left
    assert shown[top, left + 20].min() > 200
    assert shown[top - 1, left + 20].max() < 90
    assert np.allclose(shown[top + 20, left + 20], 128, atol=6)
    assert np.allclose(shown[2, 2], 128, atol=6)
