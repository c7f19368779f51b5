"""Delimited text split into rows that know the line they begin on."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from mseg_curate.errors import InputError

__all__ = ["NumberedRow", "split_rows"]

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
