"""Plain CSV files of decisions: what is read, what is refused, and the way back."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mseg_curate.errors import DecisionError
from mseg_curate.readers.decisions_csv import (
    CsvDecision,
    read_decisions_csv,
    write_decisions_csv,
)

HEADER = "dataset,split,image,segment,source_class,outcome,annotator"
FULL = HEADER + ",sequence,decided_at,milliseconds,uuid,mode"
UUID_TEXT = "5f0c7a52-1d3e-4b7a-9c55-2f6f4b0e8a11"
ROW = "street,train,im_1,7,animal,cow,first"


def write(folder: Path, text: str | bytes) -> Path:
    """Write a CSV file of decisions."""
    path = folder / "d.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_reads_required_columns(tmp_path: Path) -> None:
    """The seven required columns are enough, and every decision knows its line."""
    path = write(tmp_path, f'{HEADER}\n{ROW}\nstreet,val,"a,b",0,animal,none_of_these,second\n')
    first, second = read_decisions_csv(path)
    assert first == CsvDecision("street", "train", "im_1", 7, "animal", "cow", "first")
    assert (first.line, first.mode, first.decided_at, first.uuid) == (2, "import", None, None)
    assert (second.image, second.segment, second.outcome, second.line) == (
        "a,b",
        0,
        "none_of_these",
        3,
    )


def test_reads_all_columns_in_any_order(tmp_path: Path) -> None:
    """Optional columns are read where they are, whatever their order."""
    columns = FULL.split(",")[::-1]
    values = f"{ROW},seq1,2024-05-31T17:20:05Z,1200,{UUID_TEXT.upper()},grid".split(",")[::-1]
    path = write(tmp_path, ",".join(columns) + "\n" + ",".join(values) + "\n")
    assert read_decisions_csv(path) == [
        CsvDecision(
            "street",
            "train",
            "im_1",
            7,
            "animal",
            "cow",
            "first",
            sequence="seq1",
            decided_at=datetime(2024, 5, 31, 17, 20, 5, tzinfo=UTC),
            milliseconds=1200,
            uuid=UUID_TEXT,
            mode="grid",
        )
    ]


@pytest.mark.parametrize("optional", [",,,,,", ",,2024-05-31T17:20:05+00:00,,,import"])
def test_empty_optional_cells_are_unknown(optional: str, tmp_path: Path) -> None:
    """An empty optional cell is the same as a missing column."""
    (decision,) = read_decisions_csv(write(tmp_path, f"{FULL}\n{ROW}{optional}\n"))
    assert (decision.milliseconds, decision.uuid, decision.mode) == (None, None, "import")


@pytest.mark.parametrize(
    "text",
    [f"\ufeff{HEADER}\n{ROW}\n", f"{HEADER}\r\n{ROW}\r\n", f"{HEADER}\n{ROW}"],
    ids=["byte-order mark", "crlf", "no last line end"],
)
def test_reads_what_spreadsheets_write(text: str, tmp_path: Path) -> None:
    """A byte-order mark and other line ends change nothing."""
    assert len(read_decisions_csv(write(tmp_path, text))) == 1


def test_header_alone_is_no_decisions(tmp_path: Path) -> None:
    """A file with nothing below its header holds no decisions."""
    assert read_decisions_csv(write(tmp_path, HEADER + "\n")) == []


FAULTS = {
    "empty file": ("", ":1: empty file: expected a header with dataset, split,"),
    "missing columns": (
        "dataset,split,image,segment,source_class\n",
        ":1: missing columns: expected dataset, split, image, segment, source_class, outcome, "
        "annotator, found no outcome, annotator",
    ),
    "unknown column": (
        f"{HEADER},secuence\n{ROW},x\n",
        ":1: unknown column: expected some of dataset, split, sequence, image, ",
    ),
    "duplicate column": (
        f"{HEADER},image\n{ROW},x\n",
        ":1, column image: duplicate column: expected each column once, found it as column 3 and "
        "column 8",
    ),
    "too few cells": (
        f"{HEADER}\n{ROW}\nstreet,train\n",
        ":3: wrong number of cells: expected 7, found 2",
    ),
    "blank line": (f"{HEADER}\n\n{ROW}\n", ":2: wrong number of cells: expected 7, found a blank"),
    "open quote": (f'{HEADER}\n{ROW}\n"street\n', ":3: unreadable quoting: expected a quoted cell"),
    "empty outcome": (
        f"{HEADER}\nstreet,train,im,7,animal,,first\n",
        ":2, column outcome: empty cell: expected a value, found nothing",
    ),
    "stray blank": (
        f"{HEADER}\nstreet,train,im,7,animal,cow ,first\n",
        ":2, column outcome: stray blanks: expected no blanks at the ends and no control "
        "characters, found 'cow '",
    ),
    "name that hides": (
        f"{HEADER}\nstreet,train,im,7,animal,cow,anna\u202ebob\n",
        ":2, column annotator: not a name: expected at most 200 characters, none that turns text around, "
        "found 'anna\\u202ebob'",
    ),
    "long name": (
        f"{HEADER}\nstreet,train,im,7,animal,cow,{'x' * 201}\n",
        ":2, column annotator: not a name",
    ),
    "line end in a cell": (
        f'{HEADER}\nstreet,train,"i\nm",7,animal,cow,first\n',
        ":2, column image: stray blanks",
    ),
    "negative segment": (
        f"{HEADER}\nstreet,train,im,-7,animal,cow,first\n",
        ":2, column segment: not a whole number: expected digits alone, found '-7'",
    ),
    "foreign digits": (
        f"{HEADER}\nstreet,train,im,\u0663,animal,cow,first\n",
        ":2, column segment: not a whole number",
    ),
    "segment too large": (
        f"{HEADER}\nstreet,train,im,9223372036854775808,animal,cow,first\n",
        ":2, column segment: not a whole number",
    ),
    "local time": (
        f"{FULL}\n{ROW},,2024-05-31T17:20:05,,,\n",
        ":2, column decided_at: not a time in UTC: expected ISO 8601 with Z, as in "
        "2024-05-31T17:20:05Z, found '2024-05-31T17:20:05'",
    ),
    "other zone": (
        f"{FULL}\n{ROW},,2024-05-31T17:20:05+02:00,,,\n",
        ":2, column decided_at: not a time in UTC",
    ),
    "no time": (f"{FULL}\n{ROW},,yesterday,,,\n", ":2, column decided_at: not a time in UTC"),
    "milliseconds": (f"{FULL}\n{ROW},,,1.5,,\n", ":2, column milliseconds: not a whole number"),
    "uuid": (f"{FULL}\n{ROW},,,,5f0c,\n", ":2, column uuid: not a uuid: expected 36 characters"),
    "uuid without dashes": (
        f"{FULL}\n{ROW},,,,{UUID_TEXT.replace('-', '')},\n",
        ":2, column uuid: not a uuid",
    ),
    "repeated uuid": (
        f"{FULL}\n{ROW},,,,{UUID_TEXT},\n{ROW},,,,{UUID_TEXT.upper()},\n",
        f":3, column uuid: repeated uuid: expected one decision for each, found {UUID_TEXT} in "
        "line 2 too",
    ),
    "mode": (
        f"{FULL}\n{ROW},,,,,double\n",
        ":2, column mode: unknown mode: expected single, grid, import, adjudication, "
        "found 'double'",
    ),
}


@pytest.mark.parametrize(("text", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_bad_line_is_named(text: str, message: str, tmp_path: Path) -> None:
    """Each kind of fault alone is one line with file, line, column, expected, found and remedy."""
    path = write(tmp_path, text)
    with pytest.raises(DecisionError) as caught:
        read_decisions_csv(path)
    assert str(caught.value).startswith(f"{path}{message}")
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_undecodable_bytes_are_named(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 are an error with their line."""
    path = write(tmp_path, f"{HEADER}\n{ROW}\n".encode() + b"caf\xe9,")
    with pytest.raises(DecisionError, match=r"d\.csv:3: undecodable text: .* byte 0xe9"):
        read_decisions_csv(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    """A file that is not there is an error that names it."""
    with pytest.raises(DecisionError, match=r"none\.csv: unreadable file: .*No such file"):
        read_decisions_csv(tmp_path / "none.csv")


def test_all_bad_lines_are_collected(tmp_path: Path) -> None:
    """Several bad lines come in one error, in the order of the lines."""
    path = write(tmp_path, f"{HEADER}\n{ROW}\nstreet,,im,x,animal,cow,first\n{ROW},more\n{ROW}\n")
    with pytest.raises(DecisionError) as caught:
        read_decisions_csv(path)
    assert [problem.split(": ")[0] for problem in caught.value.problems] == [
        f"{path}:3, column split",
        f"{path}:3, column segment",
        f"{path}:4",
    ]
    assert str(caught.value).startswith(f"{path}: the decisions cannot be used: 3 mistakes\n")


WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=10
).filter(lambda word: word == word.strip())
TURNING = {*"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"}
NAMES = WORDS.filter(lambda word: not TURNING & {*word})
DECISIONS = st.builds(
    CsvDecision,
    WORDS,
    WORDS,
    WORDS,
    st.integers(0, 2**63 - 1),
    WORDS,
    WORDS,
    NAMES,
    sequence=WORDS | st.just(""),
    decided_at=st.datetimes(timezones=st.just(UTC)) | st.none(),
    milliseconds=st.integers(0, 2**40) | st.none(),
    uuid=st.uuids().map(str) | st.none(),
    mode=st.sampled_from(["single", "grid", "import", "adjudication"]),
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(DECISIONS, max_size=4, unique_by=lambda decision: decision.uuid or id(decision)))
def test_round_trip(tmp_path: Path, decisions: list[CsvDecision]) -> None:
    """What is written reads as what it was, and writes the same again."""
    stream = io.StringIO(newline="")
    write_decisions_csv(stream, decisions)
    found = read_decisions_csv(write(tmp_path, stream.getvalue()))
    assert found == decisions
    assert [decision.line for decision in found] == list(range(2, len(found) + 2))
    again = io.StringIO(newline="")
    write_decisions_csv(again, found)
    assert again.getvalue() == stream.getvalue()


GOOD = CsvDecision("street", "train", "im", 7, "animal", "cow", "first")


@pytest.mark.parametrize(
    "bad",
    [
        replace(GOOD, image="a\nb"),
        replace(GOOD, outcome=""),
        replace(GOOD, segment=-1),
        replace(GOOD, uuid=UUID_TEXT.upper()),
        replace(GOOD, decided_at=datetime(2024, 5, 31, tzinfo=timezone(timedelta(hours=2)))),
    ],
    ids=["line end", "empty", "negative", "upper-case uuid", "other zone"],
)
def test_write_refuses_what_could_not_be_read(bad: CsvDecision) -> None:
    """A decision that would not come back is an error, and nothing is written."""
    stream = io.StringIO(newline="")
    with pytest.raises(DecisionError, match="the written decisions"):
        write_decisions_csv(stream, [GOOD, bad])
    assert stream.getvalue() == ""
