"""Label-map arithmetic against references that go pixel by pixel."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mseg_curate.core.label_map import (
    ColourTable,
    LabelMap,
    UnknownColour,
    count_ids,
    decode_colours,
    lookup_table,
    pack_rgb,
    paint,
    remap,
)

quick = settings(deadline=None, max_examples=60)
sizes = st.tuples(st.integers(1, 8), st.integers(1, 8))
narrow = hnp.arrays(np.uint8, sizes)
wide = hnp.arrays(np.uint16, sizes)
label_maps = narrow | wide
colour = st.tuples(*[st.integers(0, 255)] * 3)


@quick
@given(label_maps)
def test_counts_are_those_of_single_pixels(label_map: LabelMap) -> None:
    """Every id that occurs is counted, none that does not."""
    assert count_ids(label_map) == Counter(int(i) for i in label_map.reshape(-1))


@quick
@given(label_maps, st.dictionaries(st.integers(0, 65_535), st.integers(0, 254)))
def test_remap_looks_up_every_pixel(label_map: LabelMap, targets: dict[int, int]) -> None:
    """Each pixel becomes the target of its id, and the ignore label where it has none."""
    table = lookup_table(targets.items(), dtype=np.dtype(np.uint8), ignore_label=255)
    expected = [[targets.get(int(i), 255) for i in row] for row in label_map]
    result = remap(label_map, table)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, np.array(expected))


def test_id_300_stays_apart_from_id_44() -> None:
    """A 16-bit id is looked up as it is, never modulo 256."""
    table = lookup_table([(300, 7), (44, 1)], dtype=np.dtype(np.uint8), ignore_label=255)
    assert remap(np.array([[300, 44, 301]], np.uint16), table).tolist() == [[7, 1, 255]]


def test_a_wide_table_keeps_wide_targets() -> None:
    """With 16 bits, targets above 255 and the ignore label 65535 come through."""
    table = lookup_table([(1, 300)], dtype=np.dtype(np.uint16), ignore_label=65_535)
    assert remap(np.array([[1, 2]], np.uint8), table).tolist() == [[300, 65_535]]


def test_unmapped_ids_never_become_class_0() -> None:
    """A table without pairs sends all 65,536 ids to the ignore label."""
    table = lookup_table([], dtype=np.dtype(np.uint8), ignore_label=255)
    assert table.shape == (65_536,)
    assert set(table.tolist()) == {255}


@pytest.mark.parametrize("source", [-1, -300, 65_536])
def test_a_source_id_outside_16_bits_is_refused(source: int) -> None:
    """A negative id must not silently name an entry from the end of the table."""
    with pytest.raises(ValueError, match=str(source)):
        lookup_table([(source, 1)], dtype=np.dtype(np.uint8), ignore_label=255)


@pytest.mark.parametrize("target", [-1, 256])
def test_a_target_id_outside_the_dtype_is_refused(target: int) -> None:
    """A target never wraps around."""
    with pytest.raises(OverflowError):
        lookup_table([(1, target)], dtype=np.dtype(np.uint8), ignore_label=255)


@quick
@given(
    st.dictionaries(colour, st.integers(0, 65_535), min_size=1, max_size=20),
    sizes,
)
def test_colours_give_back_their_ids(
    table: dict[tuple[int, int, int], int], size_hw: tuple[int, int]
) -> None:
    """A picture painted in the table's colours decodes to the ids it was painted from."""
    height, width = size_hw
    rows = list(table)
    chosen = np.arange(height * width).reshape(height, width) * 7 % len(rows)
    colours = np.array(rows, np.uint8)[chosen]
    label_map, unknown = decode_colours(colours, ColourTable.of(table))
    assert unknown == []
    expected = [[table[rows[k]] for k in line] for line in chosen]
    np.testing.assert_array_equal(label_map, np.array(expected))
    assert label_map.dtype == (np.uint8 if max(table.values()) <= 255 else np.uint16)


@quick
@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3))),
    st.dictionaries(colour, st.integers(0, 300), max_size=5),
)
def test_unknown_colours_are_counted_with_their_first_place(
    colours: npt.NDArray[np.uint8], table: dict[tuple[int, int, int], int]
) -> None:
    """Each colour outside the table comes with its pixels and its first place in row-major order."""
    height, width = colours.shape[:2]
    counts: Counter[tuple[int, ...]] = Counter()
    firsts: dict[tuple[int, ...], tuple[int, int]] = {}
    for row in range(height):
        for column in range(width):
            key = tuple(int(v) for v in colours[row, column])
            if key not in table:
                counts[key] += 1
                firsts.setdefault(key, (row, column))
    _, unknown = decode_colours(colours, ColourTable.of(table))
    assert {u.colour: (u.pixels, u.first) for u in unknown} == {
        key: (n, firsts[key]) for key, n in counts.items()
    }


def test_known_pixels_decode_beside_unknown_ones() -> None:
    """An unknown colour carries the largest id of the map, its neighbours keep theirs."""
    colours = np.array([[[1, 2, 3], [9, 9, 9], [9, 9, 9]]], np.uint8)
    label_map, unknown = decode_colours(colours, ColourTable.of({(1, 2, 3): 4}))
    assert label_map.tolist() == [[4, 255, 255]]
    assert unknown == [UnknownColour((9, 9, 9), 2, (0, 1))]


def test_a_table_without_colours_knows_none() -> None:
    """With an empty table every colour is unknown."""
    _, unknown = decode_colours(np.zeros((2, 3, 3), np.uint8), ColourTable.of({}))
    assert unknown == [UnknownColour((0, 0, 0), 6, (0, 0))]


@quick
@given(colour)
def test_packed_colours_are_cocos_segment_ids(rgb: tuple[int, int, int]) -> None:
    """A colour packs to R + 256·G + 65536·B without overflow."""
    red, green, blue = rgb
    packed = pack_rgb(np.array([[rgb]], np.uint8))
    assert packed.tolist() == [[red + 256 * green + 65_536 * blue]]


@st.composite
def painted(
    draw: st.DrawFn,
) -> tuple[LabelMap, LabelMap, npt.NDArray[np.bool_], tuple[int, int]]:
    """Draw a source, a target of the same size, and a mask inside them."""
    height, width = draw(sizes)
    source = draw(hnp.arrays(np.uint8, (height, width), elements=st.integers(0, 2)))
    target = draw(hnp.arrays(np.uint8, (height, width), elements=st.integers(10, 12)))
    row, column = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    shape = (draw(st.integers(1, height - row)), draw(st.integers(1, width - column)))
    return source, target, draw(hnp.arrays(np.bool_, shape)), (row, column)


@quick
@given(painted())
def test_painting_touches_only_pixels_of_the_source_class(
    drawn: tuple[LabelMap, LabelMap, npt.NDArray[np.bool_], tuple[int, int]],
) -> None:
    """A decision changes the mask's pixels that still carry the source class, and no other."""
    source, target, mask, (top, left) = drawn
    before, expected, painted_px = source.copy(), target.copy(), 0
    for row in range(mask.shape[0]):
        for column in range(mask.shape[1]):
            if mask[row, column] and source[top + row, left + column] == 1:
                expected[top + row, left + column] = 99
                painted_px += 1
    count = paint(target, source, mask=mask, top_left=(top, left), source_id=1, value=99)
    assert count == painted_px
    np.testing.assert_array_equal(target, expected)
    np.testing.assert_array_equal(source, before)


@pytest.mark.parametrize("top_left", [(-1, 0), (0, -1), (3, 0), (0, 3), (9, 0), (0, 9)])
def test_a_mask_outside_the_map_is_refused(top_left: tuple[int, int]) -> None:
    """A mask that leaves the map is an error, not a wrapped or a missing stroke."""
    label_map = np.zeros((4, 4), np.uint8)
    with pytest.raises(ValueError, match="not inside the map"):
        paint(
            label_map,
            label_map,
            mask=np.ones((2, 2), np.bool_),
            top_left=top_left,
            source_id=0,
            value=1,
        )
    assert not label_map.any()
