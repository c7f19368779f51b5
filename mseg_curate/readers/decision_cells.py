"""The cells of a row of decisions, each read as what its column holds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, cast, get_args
from uuid import UUID

from mseg_curate.errors import DecisionError

__all__ = ["LONGEST_NAME", "MAX_INTEGER", "DecisionCells", "DecisionMode"]

DecisionMode = Literal["single", "grid", "import", "adjudication"]

MAX_INTEGER = 2**63 - 1
LONGEST_NAME = 200

_MODES: tuple[DecisionMode, ...] = get_args(DecisionMode)
_KINDS = ("person", "legacy", "simulated")
# With them a name on a page reads as another.
_TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class DecisionCells:
    """The cells of one row by their column; what is wrong with them is added to `mistakes`, with file and line."""

    path: Path | str
    line: int
    cells: Mapping[str, str]
    mistakes: list[DecisionError]

    def add(
        self, what: str, column: str | None = None, *, expected: str, found: str, hint: str
    ) -> None:
        """Add a mistake: in the whole row, or in one column."""
        place = str(self.line) if column is None else f"{self.line}, column {column}"
        self.mistakes.append(
            DecisionError(
                what, path=self.path, place=place, expected=expected, found=found, hint=hint
            )
        )

    def read_text(self, column: str, *, empty: bool = False) -> str:
        """Return a text without blanks at its ends; one that is missing is a mistake unless it may be `empty`."""
        cell = self.cells.get(column, "")
        if not cell and not empty:
            self.add("empty cell", column, expected="a value", found="nothing", hint="fill it in")
        elif cell != cell.strip() or (not cell.isprintable() and _CONTROL.search(cell)):
            self.add(
                "stray blanks",
                column,
                expected="no blanks at the ends and no control characters",
                found=repr(cell),
                hint="take them out",
            )
        return cell

    def read_name(self, column: str) -> str:
        """Return the name of an annotator."""
        cell = self.read_text(column)
        if len(cell) > LONGEST_NAME or _TURNING.search(cell):
            self.add(
                "not a name",
                column,
                expected=f"at most {LONGEST_NAME} characters, none that turns text around",
                found=ascii(cell[:LONGEST_NAME]),
                hint="others read it on the pages",
            )
        return cell

    def read_whole_number(self, column: str) -> int:
        """Return a number from 0 to MAX_INTEGER."""
        cell = self.cells[column]
        # int() alone would accept signs, blanks, underscores and digits of other scripts.
        if cell.isascii() and cell.isdecimal() and len(cell) < 20 and int(cell) <= MAX_INTEGER:
            return int(cell)
        self.add(
            "not a whole number",
            column,
            expected="digits alone",
            found=repr(cell),
            hint=f"it counts from 0 to {MAX_INTEGER}",
        )
        return 0

    def read_time(self, column: str) -> datetime | None:
        """Return a time in UTC; None for a mistake."""
        try:
            time = datetime.fromisoformat(self.cells[column])
        except ValueError:
            time = None
        if time is not None and time.utcoffset() == timedelta(0):
            return time.astimezone(UTC)
        self.add(
            "not a time in UTC",
            column,
            expected="ISO 8601 with Z, as in 2024-05-31T17:20:05Z",
            found=repr(self.cells[column]),
            hint="convert local times to UTC",
        )
        return None

    def read_uuid(self, column: str) -> str | None:
        """Return a uuid in lower case; None for a mistake."""
        cell = self.cells[column]
        try:
            text = str(UUID(cell))
        except ValueError:
            text = ""
        if text == cell.lower():
            return text
        self.add(
            "not a uuid",
            column,
            expected="36 characters, as in 5f0c7a52-1d3e-4b7a-9c55-2f6f4b0e8a11",
            found=repr(cell),
            hint="leave it empty where there is none",
        )
        return None

    def read_mode(self, column: str) -> DecisionMode:
        """Return how it was decided."""
        return cast(DecisionMode, self._read_one_of(column, _MODES, what="mode", empty="import"))

    def read_kind(self, column: str) -> str:
        """Return the kind of an annotator."""
        return self._read_one_of(column, _KINDS, what="kind", empty="that of the command")

    def _read_one_of(self, column: str, words: Sequence[str], *, what: str, empty: str) -> str:
        cell = self.cells[column]
        if cell not in words:
            self.add(
                f"unknown {what}",
                column,
                expected=", ".join(words),
                found=repr(cell),
                hint=f"leave it empty for {empty}",
            )
        return cell
