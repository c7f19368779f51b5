"""The universal taxonomy: its classes, and which class of which dataset is which of them.

The text form is a tab-separated table in the wide layout of MSeg's master table (Lambert et al.,
"MSeg", CVPR 2020, section 3): a row per universal class, a column per dataset taxonomy. Columns
left of `universal` belong to training datasets: a cell names the dataset class that becomes the
row's universal class, or several as `{a, b}`. Columns right of it belong to test datasets: a cell
names the one test class that the universal class feeds.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from mseg_curate.core.taxonomy_table import (
    Report,
    Row,
    Spot,
    check_blanks,
    read_table,
    split_cell,
    suggest,
)
from mseg_curate.errors import TaxonomyError

__all__ = [
    "MAX_CLASSES",
    "UNLABELED",
    "UNLABELED_ID",
    "Taxonomy",
    "TaxonomyColumn",
    "UniversalClass",
    "find_uncovered",
    "format_taxonomy",
    "parse_class_lists",
    "parse_taxonomy",
]

UNLABELED = "unlabeled"
UNLABELED_ID = 255
MAX_CLASSES = 255

UNIVERSAL_COLUMN = "universal"
PARENT_COLUMN = "Parent Category"
SYNSET_COLUMN = "WordNet 3.1 Synset"

Role = Literal["train", "test"]
ClassLists = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class UniversalClass:
    """A class of the universal taxonomy; `parent` and `synset` are '' where unknown."""

    id: int
    name: str
    parent: str = ""
    synset: str = ""


@dataclass(frozen=True, slots=True)
class TaxonomyColumn:
    """What one dataset taxonomy says: per universal class its dataset classes.

    `cells` holds the non-empty cells as (universal class, dataset classes), in the order of the
    universal classes with `unlabeled` last.
    """

    name: str
    role: Role
    cells: tuple[tuple[str, tuple[str, ...]], ...]

    def classes_of(self, universal: str) -> tuple[str, ...]:
        """Return the dataset classes in the row of a universal class, () where there are none."""
        return next((classes for row, classes in self.cells if row == universal), ())


@dataclass(frozen=True)
class Taxonomy:
    """The universal classes, ids 0 … n−1 in order, and the columns of the dataset taxonomies.

    `unlabeled` is no class: it stands for UNLABELED_ID, the ignore label.
    """

    classes: tuple[UniversalClass, ...]
    columns: tuple[TaxonomyColumn, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the universal classes; a name's index is its id."""
        return tuple(universal.name for universal in self.classes)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {universal.name: universal.id for universal in self.classes} | {
            UNLABELED: UNLABELED_ID
        }

    def id_of(self, name: str) -> int:
        """Return the id of a universal class, UNLABELED_ID for `unlabeled`.

        Raises TaxonomyError for a name that is not in the taxonomy, with the nearest ones.
        """
        if name not in self._ids:
            raise TaxonomyError(
                "unknown universal class",
                expected="a class of the taxonomy",
                found=repr(name),
                hint=suggest(name, self._ids),
            )
        return self._ids[name]

    def column(self, name: str) -> TaxonomyColumn:
        """Return the column of a dataset taxonomy; raises TaxonomyError where there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise TaxonomyError(
            "unknown dataset taxonomy",
            expected="a column of the taxonomy",
            found=repr(name),
            hint=suggest(name, [column.name for column in self.columns]),
        )

    def train_pairs(self, column: str, class_names: Sequence[str]) -> list[tuple[int, int]]:
        """Return (dataset class id, universal id) for every class of a training dataset.

        `class_names` is the dataset's ordered class list, a class's index being its id. Raises
        TaxonomyError for a class that lands nowhere: no id may fall through to a default.
        """
        cells = self._cells_of(column, class_names, role="train")
        universal_ids = {name: self.id_of(row) for row, classes in cells for name in classes}
        uncovered = [name for name in class_names if name not in universal_ids]
        if uncovered:
            raise TaxonomyError(
                f"classes of {column} land nowhere",
                expected="every class in a cell of its column",
                found=f"none for {', '.join(map(repr, uncovered))}",
                hint=f"name each in a row, or in the row {UNLABELED} to ignore it",
            )
        return [(index, universal_ids[name]) for index, name in enumerate(class_names)]

    def test_pairs(self, column: str, class_names: Sequence[str]) -> list[tuple[int, int]]:
        """Return (universal id, test class id) for every universal class that feeds a test class.

        `class_names` is the test dataset's ordered class list, a class's index being its id.
        """
        cells = self._cells_of(column, class_names, role="test")
        test_ids = {name: index for index, name in enumerate(class_names)}
        return sorted(
            (self.id_of(row), test_ids[name]) for row, classes in cells for name in classes
        )

    def _cells_of(
        self, column: str, class_names: Sequence[str], *, role: Role
    ) -> tuple[tuple[str, tuple[str, ...]], ...]:
        found = self.column(column)
        if found.role != role:
            raise TaxonomyError(
                f"{column} is of the other kind",
                expected=f"a {role} dataset",
                found=f"a {found.role} dataset",
                hint="training datasets stand left of `universal`, test datasets right of it",
            )
        known = set(class_names)
        for row, classes in found.cells:
            for name in classes:
                if name not in known:
                    raise TaxonomyError(
                        f"the row {row} names an unknown class of {column}",
                        expected=f"one of its {len(class_names)} classes",
                        found=repr(name),
                        hint=suggest(name, class_names),
                    )
        return found.cells


def find_uncovered(taxonomy: Taxonomy, class_lists: ClassLists) -> dict[str, tuple[str, ...]]:
    """Return per column the classes of its dataset that stand in no cell.

    A training class listed here lands nowhere, which no export may pass over. A test class listed
    here has no source and cannot be predicted. Columns with nothing to list, and those without a
    class list, are left out.
    """
    uncovered = {}
    for column in taxonomy.columns:
        placed = {name for _, classes in column.cells for name in classes}
        missing = tuple(name for name in class_lists.get(column.name, ()) if name not in placed)
        if missing:
            uncovered[column.name] = missing
    return uncovered


def format_taxonomy(taxonomy: Taxonomy) -> str:
    """Return the text form, which parses to an equal taxonomy.

    Raises TaxonomyError where that is impossible: a name with a tab, one with a comma that would
    have to stand in braces beside others, a test column before a training column.
    """
    cells = {column.name: dict(column.cells) for column in taxonomy.columns}
    left = [column.name for column in taxonomy.columns if column.role == "train"]
    right = [column.name for column in taxonomy.columns if column.role == "test"]
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
    writer.writerow([PARENT_COLUMN, *left, UNIVERSAL_COLUMN, SYNSET_COLUMN, *right])
    for row in (*taxonomy.classes, UniversalClass(UNLABELED_ID, UNLABELED, UNLABELED)):
        train = [_format_cell(cells[name].get(row.name, ())) for name in left]
        test = [_format_cell(cells[name].get(row.name, ())) for name in right]
        writer.writerow([row.parent, *train, row.name, row.synset, *test])
    text = stream.getvalue()
    if parse_taxonomy(text, path="the written taxonomy") != taxonomy:
        raise TaxonomyError(
            "the taxonomy has no text form",
            expected="ids in order, cells in row order, no comma in a merged class's name",
            found="a text that reads as another taxonomy",
            hint="rename the class, or put the cells and columns in order",
        )
    return text


def parse_taxonomy(
    text: str, *, path: Path | str, class_lists: ClassLists | None = None
) -> Taxonomy:
    """Read a taxonomy from its text form; MSeg's master table is accepted as published.

    `class_lists` (dataset taxonomy → class names) lets it report classes that a dataset does not
    have. Metadata columns (parent, synset, definitions) are told from datasets by their names.
    Raises TaxonomyError; with several mistakes, all of them are in its `problems`.
    """
    report = Report(path, "the taxonomy")
    header, rows = read_table(text, report)
    layout = _read_header(header, report)
    classes, named_rows = _read_classes(rows, layout, report)
    columns = tuple(
        _read_column(place, named_rows, report, (class_lists or {}).get(place.name))
        for place in layout.datasets
    )
    report.raise_mistakes()
    return Taxonomy(classes, columns)


def parse_class_lists(text: str, *, path: Path | str) -> dict[str, tuple[str, ...]]:
    """Read ordered class lists from a tab-separated table with the columns dataset, id, name.

    Raises TaxonomyError; with several mistakes, all of them are in its `problems`.
    """
    report = Report(path, "the class lists")
    header, rows = read_table(text, report)
    if header != ["dataset", "id", "name"]:
        report.at(1).add("wrong columns", expected="dataset, id, name", found=", ".join(header))
        report.raise_mistakes()
    lists: dict[str, list[str]] = {}
    for line, (dataset, class_id, name) in rows:
        for column, cell in (("dataset", dataset), ("name", name)):
            check_blanks(cell, report.at(line, column))
            if not cell:
                report.at(line, column).add("empty cell", expected="a name", found="nothing")
        names = lists.setdefault(dataset, [])
        if class_id != str(len(names)):
            report.at(line, "id").add(
                f"wrong id in the class list of {dataset}",
                expected=str(len(names)),
                found=repr(class_id),
                hint="ids start at 0 and follow the order of the rows",
            )
        if name in names:
            report.at(line, "name").add(
                f"duplicate class in the class list of {dataset}",
                expected="each name once",
                found=f"{name!r} as id {names.index(name)} too",
                hint="take one of them out",
            )
        names.append(name)
    report.raise_mistakes()
    return {dataset: tuple(names) for dataset, names in lists.items()}


@dataclass(frozen=True, slots=True)
class _Place:
    index: int
    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class _Layout:
    universal: int
    parent: int | None
    synset: int | None
    datasets: tuple[_Place, ...]


def _read_header(header: Sequence[str], report: Report) -> _Layout:
    first: dict[str, int] = {}
    for index, cell in enumerate(header):
        name = cell.strip()
        if not _is_metadata(name):
            check_blanks(cell, report.at(1, name or str(index + 1)))
        if not name:
            report.at(1, str(index + 1)).add(
                "column without a name",
                expected="a name in every column of the header",
                found="an empty cell",
                hint="name the column or take it out",
            )
        elif name in first:
            report.at(1, name).add(
                "duplicate column",
                expected="each column once",
                found=f"it as column {first[name] + 1} and column {index + 1}",
                hint="take one of them out",
            )
        else:
            first[name] = index
    if UNIVERSAL_COLUMN not in first:
        report.at(1).add(
            "missing column",
            expected=f"a column named {UNIVERSAL_COLUMN}",
            found=", ".join(first),
            hint="separate columns by tabs, training datasets left of it, test datasets right",
        )
        report.raise_mistakes()
    middle = first[UNIVERSAL_COLUMN]
    datasets = tuple(
        _Place(index, name, "train" if index < middle else "test")
        for name, index in first.items()
        if index != middle and not _is_metadata(name)
    )
    return _Layout(middle, first.get(PARENT_COLUMN), first.get(SYNSET_COLUMN), datasets)


def _is_metadata(name: str) -> bool:
    known = (PARENT_COLUMN, SYNSET_COLUMN, "Modification of WordNet Node")
    return name in known or name.startswith("Defn")


@dataclass(frozen=True, slots=True)
class _NamedRow:
    line: int
    universal: str
    cells: Sequence[str]


def _read_classes(
    rows: Sequence[Row], layout: _Layout, report: Report
) -> tuple[tuple[UniversalClass, ...], list[_NamedRow]]:
    classes: list[UniversalClass] = []
    named: dict[str, _NamedRow] = {}
    for line, cells in rows:
        spot = report.at(line, UNIVERSAL_COLUMN)
        name = cells[layout.universal].strip()
        check_blanks(cells[layout.universal], spot)
        if not name:
            spot.add("empty universal class", expected="a name", found="nothing")
            continue
        if name in named:
            spot.add(
                "duplicate universal class",
                expected="each name once",
                found=f"{name!r} in line {named[name].line} too",
                hint="merge the two rows",
            )
            continue
        named[name] = _NamedRow(line, name, cells)
        if name != UNLABELED:
            parent = "" if layout.parent is None else cells[layout.parent].strip()
            synset = "" if layout.synset is None else cells[layout.synset].strip()
            classes.append(UniversalClass(len(classes), name, parent, synset))
    if len(classes) > MAX_CLASSES:
        report.at(named[classes[MAX_CLASSES].name].line, UNIVERSAL_COLUMN).add(
            "too many universal classes",
            expected=f"at most {MAX_CLASSES} besides {UNLABELED}",
            found=str(len(classes)),
            hint="ids must fit one byte, and 255 is the ignore label: merge some",
        )
    if not rows and not report.mistakes:
        report.at(2).add("no universal class", expected="a row for each", found="the header alone")
    return tuple(classes), list(named.values())


def _read_column(
    place: _Place, rows: Sequence[_NamedRow], report: Report, known: Sequence[str] | None
) -> TaxonomyColumn:
    line_of: dict[str, int] = {}
    cells: list[tuple[str, tuple[str, ...]]] = []
    for row in rows:
        cell = row.cells[place.index]
        if not cell:
            continue
        spot = report.at(row.line, place.name)
        names = split_cell(cell, spot)
        if place.role == "test":
            _check_test_cell(row.universal, names, spot)
        for name in names:
            if known is not None and name not in known:
                spot.add(
                    "unknown class",
                    expected=f"one of the {len(known)} classes of {place.name}",
                    found=repr(name),
                    hint=suggest(name, known),
                )
            if line_of.get(name) == row.line:
                spot.add(
                    "duplicate in a cell",
                    expected="each class once",
                    found=f"{name!r} twice",
                    hint="take one of them out",
                )
            elif name in line_of and place.role == "train":
                spot.add(
                    "class in two rows",
                    expected="each class of a training dataset in one row",
                    found=f"{name!r} in line {line_of[name]} too",
                    hint="leave it in the row of the class that it becomes",
                )
            line_of.setdefault(name, row.line)
        if names:
            cells.append((row.universal, names))
    cells.sort(key=lambda cell: cell[0] == UNLABELED)
    return TaxonomyColumn(place.name, place.role, tuple(cells))


def _check_test_cell(universal: str, names: Sequence[str], spot: Spot) -> None:
    if universal == UNLABELED and names:
        spot.add(
            f"{UNLABELED} feeds a test class",
            expected="an empty cell",
            found=", ".join(map(repr, names)),
            hint="only universal classes feed test classes",
        )
    elif len(set(names)) > 1:
        spot.add(
            "universal class feeds several test classes",
            expected="at most one",
            found=", ".join(map(repr, names)),
            hint="leave the one that it means",
        )


def _format_cell(classes: Sequence[str]) -> str:
    return "{" + ", ".join(classes) + "}" if len(classes) > 1 else "".join(classes)
