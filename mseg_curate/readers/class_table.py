"""The class table of a dataset folder: ids, names, ignore ids, and colours where labels are RGB-coded.

A tab-separated file with the columns `id` and `name`, and perhaps a colour: `colour` as #rrggbb, or `r`, `g`, `b`.
A class whose name is `ignore` or ends with `(ignore)` is an ignore id.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mseg_curate.core.tables import split_rows
from mseg_curate.errors import DatasetError
from mseg_curate.files import read_text

__all__ = ["ClassTable", "parse_class_table", "read_class_table"]

MAX_CLASS_ID = 65_535


@dataclass(frozen=True)
class ClassTable:
    """The classes of a dataset in the order of their ids, its ignore ids, and colours where labels are RGB-coded."""

    classes: tuple[tuple[int, str], ...]
    ignore_ids: frozenset[int] = frozenset()
    colours: Mapping[tuple[int, int, int], int] = field(default_factory=dict)

    @property
    def known_ids(self) -> frozenset[int]:
        """All ids that a label map may carry."""
        return frozenset(i for i, _ in self.classes) | self.ignore_ids


def read_class_table(path: Path, *, ignore_ids: Iterable[int] = ()) -> ClassTable:
    """Read a class table; `ignore_ids` adds to those the table names. Raises DatasetError for every fault."""
    if not path.is_file():
        raise DatasetError(
            "no class table",
            path=path,
            expected="a tab-separated file with the columns id and name",
            hint="write one, or name another with --classes",
        )
    return parse_class_table(read_text(path), path=path, ignore_ids=ignore_ids)


def parse_class_table(text: str, *, path: Path, ignore_ids: Iterable[int] = ()) -> ClassTable:
    """Parse the text of a class table; raises DatasetError with file, line, expected and found."""
    rows = split_rows(text, path=path, error=DatasetError)
    names = rows[0][1] if rows else []
    header = [cell.strip().lower().replace("color", "colour") for cell in names]
    if "id" not in header or "name" not in header:
        raise DatasetError(
            "not a class table",
            path=path,
            place=1,
            expected="tab-separated columns id, name and perhaps colour",
            found=", ".join(header) or "an empty file",
        )
    if len(set(header)) < len(header):
        raise DatasetError(
            "class table has two columns of one name", path=path, place=1, found=", ".join(header)
        )
    reader = _ClassRows(header, set(ignore_ids))
    for number, row in rows[1:]:
        if any(cell.strip() for cell in row):
            reader.read(number, row)
    if reader.problems:
        raise DatasetError.of(reader.problems, several="class table has faults", path=path)
    if not reader.classes:
        raise DatasetError("class table names no class", path=path)
    classes = tuple(sorted(reader.classes.items()))
    return ClassTable(classes, frozenset(reader.ignore_ids), reader.colours)


class _ClassRows:
    """Collects the rows of a class table and what is wrong with them."""

    def __init__(self, header: list[str], ignore_ids: set[int]) -> None:
        self.header = header
        self.ignore_ids = ignore_ids
        self.classes: dict[int, str] = {}
        self.colours: dict[tuple[int, int, int], int] = {}
        self.problems: list[str] = []
        self._lines: dict[object, int] = {}

    def read(self, number: int, row: list[str]) -> None:
        cells = dict(zip(self.header, (cell.strip() for cell in row), strict=False))
        if any(cell.strip() for cell in row[len(self.header) :]):
            self._note(number, f"expected {len(self.header)} cells, found {len(row)}")
        word, name = cells.get("id", ""), cells.get("name", "")
        class_id = _number(word, largest=MAX_CLASS_ID)
        if class_id is None:
            self._note(number, f"id: expected 0 … {MAX_CLASS_ID}, found {word[:20]!r}")
            return
        self._note_repeated(number, "id", class_id)
        if not name:
            self._note(number, f"id {class_id}: expected a name, found none")
        elif not name.isprintable():
            self._note(number, f"id {class_id}: the name {name!a} holds a control character")
        elif not _is_ignore_name(name):
            self._note_repeated(number, "class", name)
        colour = self._colour(number, cells)
        if colour is not None:
            self._note_repeated(number, "colour", colour)
            self.colours[colour] = class_id
        if _is_ignore_name(name) or class_id in self.ignore_ids:
            self.ignore_ids.add(class_id)
        else:
            self.classes[class_id] = name

    def _colour(self, number: int, cells: Mapping[str, str]) -> tuple[int, int, int] | None:
        if {"r", "g", "b"} <= cells.keys():
            words = [cells[c] for c in "rgb"]
        else:
            word = cells.get("colour", "")
            if word.startswith("#"):
                if re.fullmatch("#[0-9a-fA-F]{6}", word):
                    return int(word[1:3], 16), int(word[3:5], 16), int(word[5:7], 16)
                self._note(number, f"colour: expected #rrggbb, found {word!r}")
                return None
            words = word.replace(",", " ").split()
        if not any(words):
            return None
        match [_number(w, largest=255) for w in words]:
            case [int(red), int(green), int(blue)]:
                return red, green, blue
        self._note(number, f"colour: expected three numbers 0 … 255, found {' '.join(words)!r}")
        return None

    def _note_repeated(self, number: int, what: str, value: object) -> None:
        line = self._lines.setdefault((what, value), number)
        if line != number:
            self._note(number, f"{what} {value!r} stands on line {line} already")

    def _note(self, number: int, problem: str) -> None:
        self.problems.append(f"line {number}: {problem}")


def _number(word: str, *, largest: int) -> int | None:
    if not re.fullmatch("[0-9]{1,9}", word) or int(word) > largest:
        return None
    return int(word)


def _is_ignore_name(name: str) -> bool:
    return name.lower() == "ignore" or name.lower().endswith("(ignore)")
