"""CSV files with a row per mask of one task: gold answers, suggestions, an order to decide in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mseg_curate.core.tables import refuse_other_separators, split_rows
from mseg_curate.errors import DecisionError
from mseg_curate.files import read_text

__all__ = ["MaskKey", "MaskLine", "read_mask_csv"]

MaskKey = tuple[str, str, str, int]
"""Split, sequence ('' where a dataset has none), image and segment: which mask of a task is meant."""

_KEY = ("split", "image", "segment")
_LONGEST_SEGMENT = 19


@dataclass(frozen=True)
class MaskLine:
    """One row: the line it begins on, the mask it names, and its other cells by column."""

    line: int
    key: MaskKey
    cells: Mapping[str, str]


def read_mask_csv(
    path: Path, *, required: Sequence[str], optional: Sequence[str] = ()
) -> list[MaskLine]:
    """Read a CSV file in UTF-8 with the columns split, image, segment and those required; others are refused.

    `sequence`, `dataset` and `source_class` are optional always. Raises DecisionError that lists every bad line.
    """
    rows = split_rows(read_text(path), path=path, error=DecisionError, delimiter=",")
    header = rows[0][1] if rows else []
    refuse_other_separators(header, path=path)
    _check_header(
        header, (*_KEY, *required), ("sequence", "dataset", "source_class", *optional), path
    )
    problems: list[str] = []
    lines = []
    for line, cells in rows[1:]:
        if len(cells) != len(header):
            found = str(len(cells)) if cells else "a blank line"
            problems.append(f"line {line}: expected {len(header)} cells, found {found}")
            continue
        row = dict(zip(header, cells, strict=True))
        segment = row["segment"]
        # int() alone would accept signs, blanks, underscores and digits of other scripts.
        if not (segment.isascii() and segment.isdecimal() and len(segment) < _LONGEST_SEGMENT):
            problems.append(f"line {line}, column segment: expected digits, found {segment!r}")
            continue
        empty = [name for name in (*_KEY, *required) if not row[name]]
        if empty:
            problems.append(f"line {line}: nothing in {', '.join(empty)}")
            continue
        key = (row["split"], row.get("sequence", ""), row["image"], int(segment))
        lines.append(MaskLine(line, key, row))
    if not lines and not problems:
        problems.append("no rows below the header")
    if problems:
        raise DecisionError.of(
            problems, several=f"{len(problems)} bad lines", path=path, hint="nothing was stored"
        )
    return lines


def _check_header(
    header: Sequence[str], required: Sequence[str], optional: Sequence[str], path: Path
) -> None:
    missing = [name for name in required if name not in header]
    unknown = [name for name in header if name not in (*required, *optional)]
    repeated = sorted({name for name in header if header.count(name) > 1})
    for what, names in (("no", missing), ("unknown", unknown), ("twice", repeated)):
        if names:
            raise DecisionError(
                "columns",
                path=path,
                place=1,
                expected=f"{', '.join(required)} and perhaps {', '.join(optional)}",
                found=f"{what} {', '.join(names)}",
            )
