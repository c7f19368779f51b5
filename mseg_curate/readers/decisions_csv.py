"""Decisions as a plain CSV file: a header, then a row per decision."""

from __future__ import annotations

import csv
import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TextIO

from mseg_curate.core.tables import refuse_other_separators, split_rows
from mseg_curate.errors import DecisionError
from mseg_curate.readers.decision_cells import DecisionCells, DecisionMode

__all__ = [
    "EXPORTED",
    "OUTCOMES",
    "CsvDecision",
    "DecisionMode",
    "ExportedDecision",
    "read_answered_csv",
    "read_decisions_csv",
    "write_decisions_csv",
    "write_exported_csv",
    "write_questions_csv",
]

OUTCOMES = ("none_of_these", "unsure", "bad_mask", "withdrawn")
"""The outcomes that are no universal class; `withdrawn` takes an earlier decision back."""

EXPORTED = (
    "task", "annotator_kind", "supersedes", "superseded", "gold", "gold_answer", "order",
    "candidates", "redundancy", "max_redundancy", "policy",
)  # fmt: skip
"""The columns that an export of decisions has beyond those of a file made by hand."""

_REQUIRED = ("dataset", "split", "image", "segment", "source_class", "outcome", "annotator")
_OPTIONAL = ("sequence", "decided_at", "milliseconds", "uuid", "mode")
_COLUMNS = ("dataset", "split", "sequence", *_REQUIRED[2:], *_OPTIONAL[1:])
_WITH_OUTCOME = ("outcome", "decided_at", "milliseconds", "uuid")


@dataclass(frozen=True, slots=True)
class CsvDecision:
    """One decision; `outcome` is a universal class or one of OUTCOMES, `line` where it was read.

    `segment` and `milliseconds` are whole numbers from 0, `decided_at` is in UTC, `uuid` in its
    usual form of 36 characters. `sequence` is '' where a dataset has none. Of the columns of an export three are
    read: the task, the annotator's kind, and the uuid of the decision that this one supersedes ('' where it
    supersedes none, None where the file does not say).
    """

    dataset: str
    split: str
    image: str
    segment: int
    source_class: str
    outcome: str
    annotator: str
    sequence: str = ""
    decided_at: datetime | None = None
    milliseconds: int | None = None
    uuid: str | None = None
    mode: DecisionMode = "import"
    task: str = ""
    annotator_kind: str = ""
    supersedes: str | None = None
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class ExportedDecision:
    """A decision with what an export adds: `order` of storing, whether it stands, and what was right where it is gold.

    `gold` is the kind of gold, '' for a decision that is no answer to gold. `candidates` are the classes that any task
    offers for the mask's class; redundancies and policy are those of the task that asks about the mask (of several
    the newest), None and '' where none does.
    """

    decision: CsvDecision
    superseded: bool
    gold: str
    gold_answer: str
    order: int
    candidates: tuple[str, ...] = ()
    redundancy: int | None = None
    max_redundancy: int | None = None
    policy: str = ""


def read_decisions_csv(path: Path) -> list[CsvDecision]:
    """Read the decisions of a CSV file in UTF-8, with or without a byte-order mark.

    Raises DecisionError; with several bad lines, all of them are in its `problems`.
    """
    return _read_file(path, may_be_open=False)[0]


def read_answered_csv(path: Path) -> tuple[list[CsvDecision], int]:
    """Read the decisions of a sheet as `read_decisions_csv` does; returns them and how many rows are still open.

    A row is open that has no outcome, and nothing that comes with one: neither a time nor a uuid.
    """
    return _read_file(path, may_be_open=True)


def _read_file(path: Path, *, may_be_open: bool) -> tuple[list[CsvDecision], int]:
    rows = _read_rows(path)
    still_open = 0
    mistakes: list[DecisionError] = []
    header = rows[0][1]
    _check_header(header, path)
    decisions: list[CsvDecision] = []
    line_of_uuid: dict[str, int] = {}
    for line, cells in rows[1:]:
        row = DecisionCells(path, line, dict(zip(header, cells, strict=False)), mistakes)
        if len(cells) != len(header):
            row.add(
                "wrong number of cells",
                expected=str(len(header)),
                found=str(len(cells)) if cells else "a blank line",
                hint="quote a cell that holds a comma, and take blank lines out",
            )
            continue
        if may_be_open and not any(row.cells.get(name) for name in _WITH_OUTCOME):
            still_open += 1
            continue
        decision = _read_decision(row)
        if decision.uuid is not None:
            first = line_of_uuid.setdefault(decision.uuid, line)
            if first != line:
                row.add(
                    "repeated uuid",
                    "uuid",
                    expected="one decision for each",
                    found=f"{decision.uuid} in line {first} too",
                    hint="take one of the lines out, or leave the uuid empty",
                )
        decisions.append(decision)
    _raise_mistakes(mistakes, path)
    return decisions, still_open


def write_decisions_csv(stream: TextIO, rows: Iterable[CsvDecision]) -> None:
    """Write decisions with all columns; read again they are equal.

    Open files for it with `newline=""`. Raises DecisionError, before anything is written, for a
    decision whose values could not be read again.
    """
    mistakes: list[DecisionError] = []
    lines = []
    for line, decision in enumerate(rows, start=2):
        cells = _format_decision(decision)
        if (
            _read_decision(DecisionCells("the written decisions", line, cells, mistakes))
            != decision
        ):
            DecisionCells("the written decisions", line, cells, mistakes).add(
                "decision without a text form",
                expected="a time in UTC and a uuid in lower case",
                found=f"{cells['decided_at']!r} and {cells['uuid']!r}",
                hint="convert them",
            )
        lines.append([cells[column] for column in _COLUMNS])
    _raise_mistakes(mistakes, "the written decisions")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(lines)


def write_exported_csv(stream: TextIO, rows: Iterable[ExportedDecision]) -> int:
    """Write decisions with the columns of an export; returns how many. Open files for it with `newline=""`."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow((*_COLUMNS, *EXPORTED))
    count = 0
    for row in rows:
        decision = row.decision
        cells = _format_decision(decision)
        writer.writerow(
            (
                *(cells[column] for column in _COLUMNS),
                decision.task,
                decision.annotator_kind,
                decision.supersedes or "",
                int(row.superseded),
                row.gold,
                row.gold_answer,
                row.order,
                json.dumps(row.candidates, ensure_ascii=False) if row.candidates else "",
                "" if row.redundancy is None else row.redundancy,
                "" if row.max_redundancy is None else row.max_redundancy,
                row.policy,
            )
        )
        count += 1
    return count


def write_questions_csv(
    stream: TextIO, rows: Iterable[CsvDecision], *, mode: DecisionMode = "import"
) -> None:
    """Write decisions that are still to be made: the required columns and sequence, outcome and annotator empty.

    A mode other than import stands in a column of its own.
    """
    columns = (
        "dataset",
        "split",
        "sequence",
        *_REQUIRED[2:],
        *(() if mode == "import" else ("mode",)),
    )
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        cells = _format_decision(row) | {"outcome": "", "annotator": "", "mode": mode}
        writer.writerow([cells[column] for column in columns])


def _read_decision(row: DecisionCells) -> CsvDecision:
    given = {column for column in (*_OPTIONAL, *EXPORTED) if row.cells.get(column)}
    kind = row.read_kind("annotator_kind") if "annotator_kind" in given else ""
    supersedes = None
    if "supersedes" in row.cells:
        supersedes = row.read_uuid("supersedes") if "supersedes" in given else ""
    return CsvDecision(
        dataset=row.read_text("dataset"),
        split=row.read_text("split"),
        image=row.read_text("image"),
        segment=row.read_whole_number("segment"),
        # Of some published decisions it is not known.
        source_class=row.read_text("source_class", empty=kind == "legacy"),
        outcome=row.read_text("outcome"),
        annotator=row.read_name("annotator"),
        sequence=row.read_text("sequence", empty=True),
        decided_at=row.read_time("decided_at") if "decided_at" in given else None,
        milliseconds=row.read_whole_number("milliseconds") if "milliseconds" in given else None,
        uuid=row.read_uuid("uuid") if "uuid" in given else None,
        mode=row.read_mode("mode") if "mode" in given else "import",
        task=row.cells.get("task", ""),
        annotator_kind=kind,
        supersedes=supersedes,
        line=row.line,
    )


def _format_decision(decision: CsvDecision) -> dict[str, str]:
    time, milliseconds = decision.decided_at, decision.milliseconds
    return {
        "dataset": decision.dataset,
        "split": decision.split,
        "sequence": decision.sequence,
        "image": decision.image,
        "segment": str(decision.segment),
        "source_class": decision.source_class,
        "outcome": decision.outcome,
        "annotator": decision.annotator,
        "decided_at": "" if time is None else time.isoformat().replace("+00:00", "Z"),
        "milliseconds": "" if milliseconds is None else str(milliseconds),
        "uuid": decision.uuid or "",
        "mode": decision.mode,
    }


def _read_rows(path: Path) -> list[tuple[int, list[str]]]:
    """Return the rows, the header first, each with the number of its first line."""
    rows = split_rows(_read_text(path), path=path, error=DecisionError, delimiter=",")
    if not rows:
        raise DecisionError(
            "empty file",
            path=path,
            place=1,
            expected=f"a header with {', '.join(_REQUIRED)}",
            found="nothing",
            hint="begin with the header",
        )
    return rows


def _read_text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DecisionError(
            "unreadable file",
            path=path,
            expected="a CSV file",
            found=error.strerror or str(error),
            hint="check the path and its permissions",
        ) from error
    try:
        return raw.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise DecisionError(
            "undecodable text",
            path=path,
            place=raw.count(b"\n", 0, error.start) + 1,
            expected="UTF-8",
            found=f"the byte 0x{raw[error.start]:02x}",
            hint="save the file as UTF-8",
        ) from error


def _check_header(header: Sequence[str], path: Path) -> None:
    row = DecisionCells(path, 1, {}, [])
    refuse_other_separators(header, path=path)
    for index, name in enumerate(header):
        if name in header[:index]:
            row.add(
                "duplicate column",
                name,
                expected="each column once",
                found=f"it as column {header.index(name) + 1} and column {index + 1}",
                hint="take one of them out",
            )
        elif name not in (*_COLUMNS, *EXPORTED):
            close = difflib.get_close_matches(name, (*_COLUMNS, *EXPORTED), n=1)
            row.add(
                "unknown column",
                expected=f"some of {', '.join(_COLUMNS)}",
                found=repr(name),
                hint=f"did you mean {close[0]}?" if close else "take the column out",
            )
    missing = [name for name in _REQUIRED if name not in header]
    if missing:
        row.add(
            "missing columns",
            expected=", ".join(_REQUIRED),
            found=f"no {', '.join(missing)}",
            hint="the first line must name the columns, separated by commas",
        )
    _raise_mistakes(row.mistakes, path)


def _raise_mistakes(mistakes: Sequence[DecisionError], path: Path | str) -> None:
    if len(mistakes) == 1:
        raise mistakes[0]
    if mistakes:
        raise DecisionError(
            f"the decisions cannot be used: {len(mistakes)} mistakes",
            path=path,
            problems=[str(mistake) for mistake in mistakes],
        )
