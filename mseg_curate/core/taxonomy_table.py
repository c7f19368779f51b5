"""The tables that taxonomies and class lists are written in, and the collected report of mistakes."""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mseg_curate.errors import TaxonomyError

__all__ = ["Report", "Row", "Spot", "check_blanks", "read_table", "split_cell", "suggest"]

Row = tuple[int, list[str]]

# Zero-width marks are no blanks to `\s`, yet two names that differ in one look the same.
_STRAY_BLANK = re.compile(r"^ | $|  |[^\S ]|[\x00-\x1f\x7f\u200b-\u200d\u2060\ufeff]")


@dataclass(frozen=True, slots=True)
class Report:
    """The mistakes found in one text so far; `subject` says what the text is."""

    path: Path | str
    subject: str
    mistakes: list[TaxonomyError] = field(default_factory=list)

    def at(self, line: int, column: str | None = None) -> Spot:
        """Return the place that a mistake is to be reported at; lines count from 1."""
        return Spot(self, str(line) if column is None else f"{line}, column {column}")

    def raise_mistakes(self) -> None:
        """Raise what was found: one mistake as it is, several as one error that lists them."""
        if len(self.mistakes) == 1:
            raise self.mistakes[0]
        if self.mistakes:
            raise TaxonomyError(
                f"{self.subject} cannot be used: {len(self.mistakes)} mistakes",
                path=self.path,
                problems=[str(mistake) for mistake in self.mistakes],
            )


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in the text of a report."""

    report: Report
    place: str

    def add(
        self, what: str, *, expected: str, found: str, hint: str = "correct it and read it again"
    ) -> None:
        """Report a mistake at this place."""
        self.report.mistakes.append(
            TaxonomyError(
                what,
                path=self.report.path,
                place=self.place,
                expected=expected,
                found=found,
                hint=hint,
            )
        )


def read_table(text: str, report: Report) -> tuple[list[str], list[Row]]:
    """Split a tab-separated text into its header and its rows, each with its first line's number.

    Rows with a wrong number of cells are reported and left out. Raises TaxonomyError for a text
    that cannot be split at all.
    """
    if not text.strip("\ufeff \t\r\n"):
        report.at(1).add("empty file", expected="a header line and rows", found="nothing")
        report.raise_mistakes()
    stream = io.StringIO(text.removeprefix("\ufeff"), newline="")
    reader = csv.reader(stream, delimiter="\t", strict=True)
    table: list[Row] = []
    line = 1
    try:
        for row in reader:
            table.append((line, row))
            line = reader.line_num + 1
    except csv.Error as error:
        report.at(line).add(
            "unreadable quoting",
            expected='a quoted cell that ends with " before the next tab',
            found=str(error),
            hint="close the quotes, or leave them out",
        )
        report.raise_mistakes()
    (_, header), *rows = table
    return header, [row for row in rows if _has_all_cells(row, header, report)]


def _has_all_cells(row: Row, header: Sequence[str], report: Report) -> bool:
    line, cells = row
    if len(cells) == len(header):
        return True
    if cells:
        found, hint = str(len(cells)), "separate the cells by one tab each, empty ones too"
    else:
        found, hint = "a blank line", "take the line out"
    report.at(line).add("wrong number of cells", expected=str(len(header)), found=found, hint=hint)
    return False


def split_cell(cell: str, spot: Spot) -> tuple[str, ...]:
    """Return the names in a cell: none, one, or those of `{a, b}`.

    Blanks beside the commas in braces are allowed, as the published table has them; other
    mistakes are reported.
    """
    stripped = cell.strip()
    braced = stripped.startswith("{") and stripped.endswith("}") and len(stripped) > 1
    inner = stripped[1:-1] if braced else stripped
    if "{" in inner or "}" in inner:
        spot.add(
            "unbalanced braces",
            expected="a class name, or {a, b}",
            found=repr(cell),
            hint="close the braces, and put nothing outside them",
        )
        return ()
    names = tuple(name.strip(" ") for name in inner.split(",")) if braced else (inner,)
    if stripped != cell or any(_STRAY_BLANK.search(name) for name in names):
        _add_stray_blanks(cell, spot)
        # Read on as if they were not there, so that one slip is one mistake.
        names = tuple(" ".join(name.split()) for name in names)
    if braced and "" in names:
        spot.add(
            "empty name in braces",
            expected="a name before and after each comma",
            found=repr(cell),
            hint="take the comma out, or the braces",
        )
    return tuple(name for name in names if name)


def check_blanks(name: str, spot: Spot) -> None:
    """Report blanks that a reader does not see: at the ends, doubled, or of another kind."""
    if _STRAY_BLANK.search(name):
        _add_stray_blanks(name, spot)


def _add_stray_blanks(text: str, spot: Spot) -> None:
    spot.add(
        "stray blanks",
        expected="single plain blanks, inside names only",
        found=repr(text),
        hint="take them out",
    )


def suggest(name: str, known: Iterable[str]) -> str:
    """Return a hint that names the nearest of the known names."""
    close = difflib.get_close_matches(name, list(known), n=3)
    return f"did you mean {' or '.join(map(repr, close))}?" if close else "correct the name"
