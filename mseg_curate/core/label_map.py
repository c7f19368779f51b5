"""Arithmetic on label maps: count ids, look up new ones, decode colours, paint decisions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "ColourTable",
    "LabelMap",
    "count_ids",
    "decode_colours",
    "lookup_table",
    "paint",
    "remap",
]

LabelMap = npt.NDArray[np.uint8 | np.uint16]
"""(H, W) class ids."""


def count_ids(label_map: LabelMap) -> dict[int, int]:
    """Return how many pixels carry each id that occurs in an (H, W) uint8 or uint16 label map."""
    counts = np.bincount(label_map.reshape(-1), minlength=256)
    return {int(i): int(counts[i]) for i in np.flatnonzero(counts)}


def lookup_table(
    pairs: Iterable[tuple[int, int]], *, dtype: np.dtype[np.uint8 | np.uint16], ignore_label: int
) -> LabelMap:
    """Return the array of 65,536 target ids that maps each source id to a target id.

    It has an entry for every 16-bit id, so that none can index past it. Ids that are not in `pairs` become
    `ignore_label`, never class 0; callers refuse them beforehand. Raises ValueError for a source id outside
    0 … 65,535.
    """
    table = np.full(65_536, ignore_label, dtype)
    for source_id, target_id in pairs:
        if not 0 <= source_id < len(table):
            raise ValueError(f"source id {source_id}: expected 0 … {len(table) - 1}")
        table[source_id] = target_id
    return table


def remap(label_map: LabelMap, table: LabelMap) -> LabelMap:
    """Return the (H, W) label map with every id looked up in a table of `lookup_table`."""
    return np.take(table, label_map)


@dataclass(frozen=True)
class ColourTable:
    """The colours of an RGB-coded dataset and the class ids they stand for.

    `packed` is sorted, each colour as R + 256·G + 65536·B; `ids` is parallel to it.
    """

    packed: npt.NDArray[np.uint32]
    ids: npt.NDArray[np.uint16]

    @classmethod
    def of(cls, colours: Mapping[tuple[int, int, int], int]) -> ColourTable:
        """Build the table from (R, G, B) → class id."""
        packed = sorted((r + 256 * g + 65536 * b, i) for (r, g, b), i in colours.items())
        return cls(
            np.array([colour for colour, _ in packed], np.uint32),
            np.array([i for _, i in packed], np.uint16),
        )


@dataclass(frozen=True)
class UnknownColour:
    """A colour outside the class table: (R, G, B), how many pixels carry it, and the first (row, column)."""

    colour: tuple[int, int, int]
    pixels: int
    first: tuple[int, int]


def decode_colours(
    colours: npt.NDArray[np.uint8], table: ColourTable
) -> tuple[LabelMap, list[UnknownColour]]:
    """Turn an (H, W, 3) uint8 RGB-coded label map into (H, W) ids, and list the colours that have none.

    Pixels of unknown colours carry the largest id of the dtype; a caller must not use the map then.
    """
    packed = pack_rgb(colours)
    if not len(table.packed):
        return np.full(packed.shape, 255, np.uint8), _unknown_colours(
            packed, np.zeros(packed.shape, np.bool_)
        )
    place = np.searchsorted(table.packed, packed)
    place[place == len(table.packed)] = 0
    known = table.packed[place] == packed
    ids = table.ids[place]
    label_map: LabelMap = ids.astype(np.uint8) if table.ids.max(initial=0) <= 255 else ids
    if known.all():
        return label_map, []
    label_map[~known] = np.iinfo(label_map.dtype).max
    return label_map, _unknown_colours(packed, known)


def pack_rgb(colours: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """Return R + 256·G + 65536·B per pixel of an (H, W, 3) uint8 picture: COCO's panoptic segment id."""
    wide = colours.astype(np.uint32)
    packed: npt.NDArray[np.uint32] = wide[..., 0] + (wide[..., 1] << 8) + (wide[..., 2] << 16)
    return packed


def _unknown_colours(
    packed: npt.NDArray[np.uint32], known: npt.NDArray[np.bool_]
) -> list[UnknownColour]:
    flat = np.flatnonzero(~known)
    values, firsts, counts = np.unique(
        packed.reshape(-1)[flat], return_index=True, return_counts=True
    )
    width = packed.shape[1]
    return [
        UnknownColour(
            (int(v) & 255, (int(v) >> 8) & 255, int(v) >> 16),
            int(n),
            (int(flat[first]) // width, int(flat[first]) % width),
        )
        for v, first, n in zip(values, firsts, counts, strict=True)
    ]


def paint(
    target: LabelMap,
    source: LabelMap,
    *,
    mask: npt.NDArray[np.bool_],
    top_left: tuple[int, int],
    source_id: int,
    value: int,
) -> int:
    """Write `value` into the pixels of a mask that still carry the source class; return how many.

    `target` and `source` are (H, W); `mask` is the (h, w) bool crop whose first pixel lies at `top_left`
    (row, column). Pixels of the mask that carry another class in `source` stay as they are: MSeg's own tool
    painted over them. Raises ValueError for a mask that is not inside the map.
    """
    row, column = top_left
    height, width = mask.shape
    if min(top_left) < 0 or row + height > source.shape[0] or column + width > source.shape[1]:
        raise ValueError(f"mask {mask.shape} at {top_left} is not inside the map {source.shape}")
    window = np.s_[row : row + height, column : column + width]
    chosen = mask & (source[window] == source_id)
    target[window][chosen] = value
    return int(np.count_nonzero(chosen))
