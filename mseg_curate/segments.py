"""Find the masks of a class in a label map: native segments where a dataset has them, else components."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from mseg_curate.core.label_map import LabelMap
from mseg_curate.core.mask import Mask, mask_of

__all__ = ["find_components", "find_segments"]


def find_components(label_map: LabelMap, class_id: int) -> list[Mask]:
    """Return the 8-connected components of one class of an (H, W) label map.

    They are numbered from 0 by their first pixel in row-major order: the same map gives the same numbers.
    """
    of_class = label_map == class_id
    rows = np.flatnonzero(of_class.any(axis=1))
    if not rows.size:
        return []
    columns = np.flatnonzero(of_class.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    window = of_class[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        np.ascontiguousarray(window).view(np.uint8), connectivity=8
    )
    found = []
    for number in range(1, count):
        x, y, width, height = (int(v) for v in stats[number, :4])
        crop = labels[y : y + height, x : x + width] == number
        first = (y, x + int(np.argmax(crop[0])))
        found.append((first, crop, (top + y, left + x)))
    found.sort(key=lambda component: component[0])
    return [
        mask_of(number, crop=crop, top_left=top_left)
        for number, (_, crop, top_left) in enumerate(found)
    ]


def find_segments(
    label_map: LabelMap, class_id: int, segment_map: npt.NDArray[np.uint32]
) -> list[Mask]:
    """Return the native segments of one class: the pixels of that class, apart by their segment id.

    `label_map` and `segment_map` are (H, W). Masks carry the native ids and come in their order.
    """
    rows, columns = np.nonzero(label_map == class_id)
    if not rows.size:
        return []
    ids = segment_map[rows, columns]
    order = np.argsort(ids, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(ids[order]) != 0])
    masks = []
    for part in np.split(order, starts[1:]):
        y, x = rows[part], columns[part]
        top, left = int(y.min()), int(x.min())
        crop = np.zeros((int(y.max()) - top + 1, int(x.max()) - left + 1), np.bool_)
        crop[y - top, x - left] = True
        masks.append(mask_of(int(ids[part[0]]), crop=crop, top_left=(top, left)))
    return masks
