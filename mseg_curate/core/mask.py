"""Masks: a box, an area, and a run-length code of the pixels inside the box."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Box", "Mask", "decode_runs", "encode_runs", "mask_of"]


@dataclass(frozen=True)
class Box:
    """A half-open box in pixels: rows `top` … `bottom` − 1, columns `left` … `right` − 1."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.bottom - self.top, self.right - self.left


@dataclass(frozen=True)
class Mask:
    """One region of one class in one image: `segment` numbers it, `runs` is `encode_runs` of its crop."""

    segment: int
    box: Box
    area_px: int
    runs: bytes

    def crop(self) -> npt.NDArray[np.bool_]:
        """Return the (box height, box width) bool mask."""
        return decode_runs(self.runs, self.box.size_hw)


def mask_of(segment: int, *, crop: npt.NDArray[np.bool_], top_left: tuple[int, int]) -> Mask:
    """Build the Mask of an (h, w) bool crop whose first pixel lies at `top_left` (row, column)."""
    row, column = top_left
    box = Box(row, column, row + crop.shape[0], column + crop.shape[1])
    return Mask(segment, box, int(np.count_nonzero(crop)), encode_runs(crop))


def encode_runs(crop: npt.NDArray[np.bool_]) -> bytes:
    """Encode an (h, w) bool crop as run lengths in row-major order.

    Runs alternate between False and True and begin with False (perhaps of length 0); each is a little-endian
    unsigned 32-bit number.
    """
    flat = crop.reshape(-1)
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    bounds = np.concatenate(([0], edges, [flat.size]))
    runs = np.diff(bounds)
    if flat.size and flat[0]:
        runs = np.concatenate(([0], runs))
    return runs.astype("<u4").tobytes()


def decode_runs(code: bytes, size_hw: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Decode what `encode_runs` made into the (h, w) bool crop.

    Raises ValueError if the runs do not add up to h × w pixels.
    """
    runs = np.frombuffer(code, "<u4")
    height, width = size_hw
    if int(runs.sum()) != height * width:
        raise ValueError(
            f"run-length code covers {int(runs.sum())} pixels, its box has {height * width}"
        )
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(height, width)
