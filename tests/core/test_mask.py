"""The run-length code of masks: it gives back every crop, and refuses what it did not make."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mseg_curate.core.mask import Box, Mask, decode_runs, encode_runs, mask_of

quick = settings(deadline=None, max_examples=60)
crops = hnp.arrays(
    np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.booleans()
)


def runs_of_pixels(crop: npt.NDArray[np.bool_]) -> list[int]:
    """Count runs pixel by pixel, beginning with False."""
    runs, current = [0], False
    for pixel in crop.reshape(-1).tolist():
        if pixel != current:
            runs.append(0)
            current = pixel
        runs[-1] += 1
    return runs


@quick
@given(crops)
def test_runs_give_back_the_crop(crop: npt.NDArray[np.bool_]) -> None:
    """Decoding what was encoded gives the same pixels, of any shape."""
    back = decode_runs(encode_runs(crop), crop.shape)
    assert back.dtype == np.bool_
    np.testing.assert_array_equal(back, crop)


@quick
@given(crops)
def test_runs_are_those_counted_pixel_by_pixel(crop: npt.NDArray[np.bool_]) -> None:
    """The code holds the alternating run lengths as little-endian 32-bit numbers, False first."""
    assert np.frombuffer(encode_runs(crop), "<u4").tolist() == runs_of_pixels(crop)


@quick
@given(crops)
def test_a_view_encodes_as_its_copy(crop: npt.NDArray[np.bool_]) -> None:
    """The order of the bytes in memory does not show in the code."""
    assert encode_runs(crop.T) == encode_runs(crop.T.copy())


@pytest.mark.parametrize(
    ("crop", "runs"),
    [
        ([[True]], [0, 1]),
        ([[False]], [1]),
        ([[False, True], [True, False]], [1, 2, 1]),
        (np.zeros((0, 3), np.bool_), [0]),
    ],
)
def test_known_codes(crop: object, runs: list[int]) -> None:
    """Small crops have the codes that the documentation describes."""
    assert encode_runs(np.asarray(crop)) == np.array(runs, "<u4").tobytes()


def test_an_empty_crop_comes_back() -> None:
    """A crop without pixels has a code too."""
    crop = np.zeros((0, 4), np.bool_)
    assert decode_runs(encode_runs(crop), (0, 4)).shape == (0, 4)


@pytest.mark.parametrize("runs", [[], [5], [3, 3, 1], [2**32 - 1, 7]])
def test_a_code_of_another_size_is_refused(runs: list[int]) -> None:
    """Runs that do not add up to the box are an error, even where 32 bits overflow."""
    with pytest.raises(ValueError, match="6"):
        decode_runs(np.array(runs, "<u4").tobytes(), (2, 3))


def test_a_cut_code_is_refused() -> None:
    """A code whose last number is cut short is an error."""
    with pytest.raises(ValueError, match="multiple"):
        decode_runs(encode_runs(np.ones((2, 3), np.bool_))[:-1], (2, 3))


@quick
@given(crops, st.integers(0, 100), st.integers(0, 100))
def test_a_mask_knows_its_box_and_area(crop: npt.NDArray[np.bool_], row: int, column: int) -> None:
    """A Mask built from a crop carries its place, its area in pixels and its pixels."""
    mask = mask_of(7, crop=crop, top_left=(row, column))
    height, width = crop.shape
    assert mask == Mask(
        7, Box(row, column, row + height, column + width), int(crop.sum()), encode_runs(crop)
    )
    assert mask.box.size_hw == crop.shape
    np.testing.assert_array_equal(mask.crop(), crop)
