"""Votes as three arrays, for the statistics that look at all masks at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mseg_curate.errors import InputError

__all__ = ["Integers", "VoteTable"]

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class VoteTable:
    """N votes: annotator `annotator[i]` gives mask `mask[i]` the answer `answer[i]`.

    The arrays are (N,) int64, numbered from 0 up to `masks`, `annotators` and `answers`. Raises InputError where
    lengths differ or a number is out of its range.
    """

    mask: Integers
    annotator: Integers
    answer: Integers
    masks: int
    annotators: int
    answers: int

    def __post_init__(self) -> None:
        for name, size in (
            ("mask", self.masks),
            ("annotator", self.annotators),
            ("answer", self.answers),
        ):
            column: Integers = getattr(self, name)
            if column.shape != self.mask.shape or column.ndim != 1:
                raise InputError(
                    f"votes: column {name}", expected=f"{self.mask.shape}", found=f"{column.shape}"
                )
            if column.size and not 0 <= int(column.min()) <= int(column.max()) < size:
                raise InputError(
                    f"votes: column {name}",
                    expected=f"0 … {size - 1}",
                    found=f"{int(column.min())} … {int(column.max())}",
                )

    def counts(self) -> Integers:
        """Return (masks, answers) int64: how many votes each mask has for each answer."""
        cells = np.bincount(
            self.mask * self.answers + self.answer, minlength=self.masks * self.answers
        )
        return cells.reshape(self.masks, self.answers)
