"""Delimited text split into rows that know the line they begin on."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from mseg_curate.errors import DecisionError, InputError

__all__ = ["NumberedRow", "refuse_other_separators", "split_rows"]

NumberedRow = tuple[int, list[str]]
"""The number of a row's first line, from 1, and its cells."""


def split_rows(
    text: str, *, path: Path | str, error: type[InputError], delimiter: str = "\t"
) -> list[NumberedRow]:
    """Split tab- or comma-separated text into rows.

    A quote that is never closed would swallow the rest of the file: it raises `error` with file and line.
    """
    rows: list[NumberedRow] = []
    line = 1
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            rows.append((line, row))
            line = reader.line_num + 1
    except csv.Error as fault:
        raise error(
            "unreadable quoting",
            path=path,
            place=line,
            expected='a quoted cell that ends with " before the next one',
            found=str(fault),
            hint="close the quotes, or leave them out",
        ) from None
    return rows


def refuse_other_separators(header: Sequence[str], *, path: Path | str) -> None:
    """Raise DecisionError for the header of a comma-separated file whose columns something else separates."""
    signs = {";": "semicolons", "\t": "tabs", "|": "bars"}
    for sign, name in signs.items():
        if len(header) == 1 and header[0].count(sign) > 1:
            raise DecisionError(
                "separators",
                path=path,
                place=1,
                expected="commas between the columns",
                found=name,
                hint="save the file as CSV with commas",
            )
