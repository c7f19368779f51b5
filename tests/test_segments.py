"""Masks of a label map against scikit-image and against a scan pixel by pixel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.measure import label as label_components

from mseg_curate.core.mask import Mask
from mseg_curate.segments import find_components, find_segments

quick = settings(deadline=None, max_examples=60)
sizes = st.tuples(st.integers(1, 14), st.integers(1, 14))
label_maps = hnp.arrays(np.uint8, sizes, elements=st.integers(0, 2))


def full_frame(mask: Mask, size_hw: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Put a mask back into a frame of the map's size."""
    frame = np.zeros(size_hw, np.bool_)
    frame[mask.box.top : mask.box.bottom, mask.box.left : mask.box.right] = mask.crop()
    return frame


def assert_tight(mask: Mask) -> None:
    """Check that the box touches the mask on all four sides and the area is its pixels."""
    crop = mask.crop()
    assert crop[0].any()
    assert crop[-1].any()
    assert crop[:, 0].any()
    assert crop[:, -1].any()
    assert mask.area_px == int(crop.sum())


@quick
@given(label_maps)
def test_components_are_those_of_scikit_image(label_map: npt.NDArray[np.uint8]) -> None:
    """Components are 8-connected, and numbered by their first pixel in row-major order."""
    labels = label_components(label_map == 1, connectivity=2)  # type: ignore[no-untyped-call]
    flat = labels.reshape(-1)
    numbers = [int(n) for n in dict.fromkeys(flat.tolist()) if n]
    masks = find_components(label_map, 1)
    assert [mask.segment for mask in masks] == list(range(len(numbers)))
    for mask, number in zip(masks, numbers, strict=True):
        assert_tight(mask)
        np.testing.assert_array_equal(full_frame(mask, label_map.shape), labels == number)


def test_a_larger_map_agrees_too() -> None:
    """On a map of many components the numbering follows the first pixels, seed by seed."""
    for seed in range(5):
        label_map = (np.random.default_rng(seed).random((97, 131)) < 0.35).astype(np.uint16) * 300
        labels = label_components(label_map == 300, connectivity=2)  # type: ignore[no-untyped-call]
        firsts = dict.fromkeys(labels.reshape(-1).tolist())
        expected = [int((labels == n).sum()) for n in firsts if n]
        assert [mask.area_px for mask in find_components(label_map, 300)] == expected


def test_a_later_left_pixel_does_not_come_first() -> None:
    """The first pixel counts, not the corner of the box."""
    label_map = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 0, 0]], np.uint8)
    label_map = np.hstack([label_map, np.array([[0], [0], [0], [1]], np.uint8)])
    first, second = find_components(label_map, 1)
    assert (first.area_px, second.area_px) == (3, 1)
    assert (first.box.left, second.box.left) == (0, 3)


@pytest.mark.parametrize("class_id", [7, 300])
def test_an_absent_class_has_no_masks(class_id: int) -> None:
    """A class that does not occur gives an empty list, for both ways of finding masks."""
    label_map = np.zeros((3, 4), np.uint8)
    assert find_components(label_map, class_id) == []
    assert find_segments(label_map, class_id, np.zeros((3, 4), np.uint32)) == []


@quick
@given(
    sizes.flatmap(
        lambda s: st.tuples(
            hnp.arrays(np.uint8, s, elements=st.integers(0, 2)),
            hnp.arrays(np.uint32, s, elements=st.sampled_from([0, 1, 300, 70_000, 16_777_215])),
        )
    )
)
def test_segments_are_the_class_apart_by_native_id(
    drawn: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint32]],
) -> None:
    """There is one mask per native id that the class touches, in the order of the ids, without foreign pixels."""
    label_map, segment_map = drawn
    pairs = zip(label_map.reshape(-1).tolist(), segment_map.reshape(-1).tolist(), strict=True)
    masks = find_segments(label_map, 1, segment_map)
    assert [mask.segment for mask in masks] == sorted({s for c, s in pairs if c == 1})
    for mask in masks:
        assert_tight(mask)
        expected = (label_map == 1) & (segment_map == mask.segment)
        np.testing.assert_array_equal(full_frame(mask, label_map.shape), expected)
