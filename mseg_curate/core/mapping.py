"""What each class of a dataset means in the universal taxonomy, and what that makes of its ids in each arm."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum

from mseg_curate.core.arms import Arm, Unresolved
from mseg_curate.core.tables import split_rows
from mseg_curate.core.taxonomy import TaxonomyColumn
from mseg_curate.errors import MappingError

__all__ = [
    "HEADER",
    "Arm",
    "ClassMapping",
    "DatasetMapping",
    "LabelSpace",
    "Relation",
    "Unresolved",
    "format_mapping",
    "mapping_of_column",
    "parse_mapping",
]

HEADER = ("class", "relation", "universal", "candidates")


class Relation(StrEnum):
    """How a dataset class lands in the universal taxonomy."""

    KEEP = "keep"
    MERGE = "merge"
    SPLIT = "split"
    IGNORE = "ignore"
    TEST = "test"


@dataclass(frozen=True)
class ClassMapping:
    """One dataset class.

    `targets` are universal names: the one of keep and merge, the default of split, none for ignore, the
    sources of a test class. `candidates` are those of a split, the default among them.
    """

    source: str
    relation: Relation
    targets: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatasetMapping:
    """All classes of one dataset, in the order of its class list."""

    dataset: str
    entries: tuple[ClassMapping, ...]

    def entry(self, source: str) -> ClassMapping:
        """Return the entry of a dataset class; raises MappingError if there is none."""
        for entry in self.entries:
            if entry.source == source:
                return entry
        raise MappingError(
            f"dataset {self.dataset} has no class {source!r}",
            hint=_nearest(source, [entry.source for entry in self.entries]),
        )

    @property
    def splits(self) -> tuple[ClassMapping, ...]:
        """The classes that must be split."""
        return tuple(e for e in self.entries if e.relation is Relation.SPLIT)

    def reachable(self) -> set[str]:
        """Return the universal names that a class of this dataset can become in any arm."""
        return {name for e in self.entries for name in (*e.targets, *e.candidates)}


@dataclass(frozen=True)
class LabelSpace:
    """The ids of an export: universal classes 0 … n − 1, then sets of classes, then the ignore label."""

    names: tuple[str, ...]
    sets: tuple[tuple[int, ...], ...] = ()
    _ids: Mapping[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ids", {name: i for i, name in enumerate(self.names)})

    @classmethod
    def of(cls, names: Sequence[str], mappings: Iterable[DatasetMapping]) -> LabelSpace:
        """Build the space in which every split class of the mappings has a set id."""
        ids = {name: i for i, name in enumerate(names)}
        sets = {
            tuple(sorted(ids[name] for name in entry.candidates))
            for mapping in mappings
            for entry in mapping.splits
        }
        return cls(tuple(names), tuple(sorted(sets)))

    @property
    def is_wide(self) -> bool:
        """True where the ids need 16 bits: classes and sets are more than 255."""
        return len(self.names) + len(self.sets) > 255

    @property
    def ignore_label(self) -> int:
        """255, or 65535 where the ids need 16 bits."""
        return 65535 if self.is_wide else 255

    def id_of(self, name: str) -> int:
        """Return the id of a universal class that is known to be in the taxonomy."""
        return self._ids[name]

    def set_id_of(self, candidates: Sequence[str]) -> int:
        """Return the id that stands for a set of candidates."""
        return len(self.names) + self.sets.index(tuple(sorted(self._ids[n] for n in candidates)))

    def id_in_arm(self, entry: ClassMapping, arm: Arm, unresolved: Unresolved) -> int:
        """Return the id that all pixels of a training class carry in an arm, before decisions are painted.

        Raises MappingError for a test class: its pixels never become universal ids.
        """
        if entry.relation is Relation.TEST:
            raise MappingError(f"test class {entry.source!r} has no id in a training arm")
        if entry.relation is Relation.IGNORE:
            return self.ignore_label
        if entry.relation is not Relation.SPLIT:
            return self._ids[entry.targets[0]]
        default, ignored = self._ids[entry.targets[0]], self.ignore_label
        match arm, unresolved:
            case (Arm.UNRELABELED, _) | (Arm.RELABELED, Unresolved.DEFAULT):
                return default
            case (Arm.IGNORED, _) | (Arm.RELABELED, Unresolved.IGNORE):
                return ignored
            case _:
                return self.set_id_of(entry.candidates)


def mapping_of_column(column: TaxonomyColumn, class_names: Sequence[str]) -> DatasetMapping:
    """Read the mapping of a dataset off its column of the wide table.

    A column knows no splits: a class lands in one row. Classes that land nowhere, or in `unlabeled`, are
    ignored in a training column; those of a test column have no source. Raises MappingError for a class of a
    training column that lands nowhere, and for one that the dataset does not have.
    """
    rows: dict[str, list[str]] = {name: [] for name in class_names}
    unknown: dict[str, None] = {}
    for universal, classes in column.cells:
        for name in classes:
            rows.setdefault(name, []).append(universal)
            if name not in class_names:
                unknown[name] = None
    if unknown:
        raise MappingError(
            f"column {column.name} of the taxonomy names {len(unknown)} classes that its dataset "
            "does not have",
            problems=tuple(unknown),
            hint=f"import a mapping for it, begun with `mseg-curate mapping draft {column.name}`",
        )
    if column.role == "test":
        entries = [
            ClassMapping(name, Relation.TEST, tuple(u for u in rows[name] if u != "unlabeled"))
            for name in rows
        ]
        return DatasetMapping(column.name, tuple(entries))
    homeless = [name for name, found in rows.items() if not found]
    if homeless:
        raise MappingError(
            f"column {column.name} of the taxonomy gives no place to {len(homeless)} classes",
            problems=homeless,
            hint="put each into a row, or into the row `unlabeled` to ignore it",
        )
    shared = Counter(found[0] for found in rows.values())
    return DatasetMapping(
        column.name, tuple(_training_entry(name, found[0], shared) for name, found in rows.items())
    )


def _training_entry(name: str, universal: str, shared: Counter[str]) -> ClassMapping:
    if universal == "unlabeled":
        return ClassMapping(name, Relation.IGNORE)
    relation = Relation.MERGE if shared[universal] > 1 else Relation.KEEP
    return ClassMapping(name, relation, (universal,))


def parse_mapping(
    text: str,
    *,
    path: str,
    dataset: str,
    role: str,
    class_names: Sequence[str],
    universal_names: Sequence[str],
) -> DatasetMapping:
    """Parse a mapping file: TSV with the columns `class`, `relation`, `universal`, `candidates`.

    `role` is train or test. Raises MappingError with every fault: file, line, expected, found.
    """
    rows = split_rows(text, path=path, error=MappingError)
    if not rows or tuple(cell.strip() for cell in rows[0][1]) != HEADER:
        raise MappingError(
            "not a mapping file",
            path=path,
            place=1,
            expected="the columns " + ", ".join(HEADER) + ", tab-separated",
            found=", ".join(rows[0][1]) if rows else "an empty file",
            hint=f"write a draft with `mseg-curate mapping draft {dataset}`",
        )
    reader = _RowReader(dataset, role, class_names, universal_names)
    for number, row in rows[1:]:
        if any(cell.strip() for cell in row):
            reader.read(number, row)
    entries = reader.finish()
    if reader.problems:
        several = f"mapping of {dataset} has {len(reader.problems)} faults"
        raise MappingError.of(reader.problems, several=several, path=path)
    return DatasetMapping(dataset, entries)


class _RowReader:
    """Collects the entries of a mapping file and everything that is wrong with them."""

    def __init__(
        self, dataset: str, role: str, class_names: Sequence[str], universal_names: Sequence[str]
    ) -> None:
        self.dataset = dataset
        self.relations = {Relation.TEST} if role == "test" else set(Relation) - {Relation.TEST}
        self.class_names = class_names
        self.universal = set(universal_names)
        self.entries: dict[str, tuple[int, ClassMapping]] = {}
        self.seen: dict[str, int] = {}
        self.problems: list[str] = []

    def read(self, number: int, row: Sequence[str]) -> None:
        cells = [cell.strip() for cell in row] + [""] * (4 - len(row))
        source, word, universal, candidates = cells[:4]
        if len(row) > 4:
            self._note(number, f"expected 4 cells, found {len(row)}")
        if source not in self.class_names:
            near = _nearest(source, self.class_names)
            self._note(number, f"unknown class {source!r} of {self.dataset}; {near}")
        elif source in self.seen:
            self._note(number, f"class {source!r} stands on line {self.seen[source]} already")
        self.seen.setdefault(source, number)
        relations = ", ".join(sorted(self.relations))
        if word not in self.relations:
            self._note(number, f"relation of {source!r}: expected {relations}, found {word!r}")
            return
        entry = ClassMapping(source, Relation(word), _names(universal), _names(candidates))
        self._check_names(number, entry)
        self._check_shape(number, entry)
        self.entries.setdefault(source, (number, entry))

    def finish(self) -> tuple[ClassMapping, ...]:
        missing = [name for name in self.class_names if name not in self.seen]
        self.problems += [
            f"class {name!r} is missing: every class needs a line" for name in missing
        ]
        self._check_sharing()
        return tuple(self.entries[n][1] for n in self.class_names if n in self.entries)

    def _check_names(self, number: int, entry: ClassMapping) -> None:
        for name in dict.fromkeys((*entry.targets, *entry.candidates)):
            if name not in self.universal:
                near = _nearest(name, sorted(self.universal))
                self._note(number, f"unknown universal class {name!r}; {near}")

    def _check_shape(self, number: int, entry: ClassMapping) -> None:
        one = entry.relation in (Relation.KEEP, Relation.MERGE, Relation.SPLIT)
        if one and len(entry.targets) != 1:
            self._note(
                number,
                f"{entry.relation} of {entry.source!r}: expected one universal class, "
                f"found {len(entry.targets)}",
            )
        if entry.relation is Relation.IGNORE and entry.targets:
            self._note(number, f"ignore of {entry.source!r}: expected no universal class")
        if entry.relation is Relation.SPLIT:
            if len(set(entry.candidates)) < 2 or len(set(entry.candidates)) < len(entry.candidates):
                self._note(
                    number,
                    f"split of {entry.source!r}: expected two or more candidates, "
                    "each once, as {a, b}",
                )
            elif entry.targets and entry.targets[0] not in entry.candidates:
                self._note(
                    number,
                    f"split of {entry.source!r}: the default {entry.targets[0]!r} "
                    "is not among the candidates",
                )
        elif entry.candidates:
            self._note(number, f"{entry.relation} of {entry.source!r}: only split has candidates")

    def _check_sharing(self) -> None:
        """keep is for the only class of its universal class, merge for one of several; a source feeds once."""
        users: dict[str, list[tuple[int, ClassMapping]]] = {}
        for number, entry in self.entries.values():
            if entry.relation in (Relation.KEEP, Relation.MERGE, Relation.TEST):
                for name in entry.targets:
                    users.setdefault(name, []).append((number, entry))
        for name, found in users.items():
            number, entry = found[-1]
            others = ", ".join(repr(e.source) for _, e in found[:-1])
            if entry.relation is Relation.TEST:
                if len(found) > 1:
                    self._note(
                        number,
                        f"universal class {name!r} feeds {entry.source!r} and "
                        f"{others}: expected at most one test class",
                    )
            elif len(found) == 1 and entry.relation is Relation.MERGE:
                self._note(
                    number, f"merge of {entry.source!r}: no other class becomes {name!r}; use keep"
                )
            elif len(found) > 1 and any(e.relation is Relation.KEEP for _, e in found):
                self._note(
                    number,
                    f"{entry.source!r} and {others} become {name!r}: use merge for each of them",
                )

    def _note(self, number: int, problem: str) -> None:
        self.problems.append(f"line {number}: {problem}")


def format_mapping(mapping: DatasetMapping) -> str:
    """Write the text form that `parse_mapping` reads."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter="\t", lineterminator="\n")
    writer.writerow(HEADER)
    for entry in mapping.entries:
        targets = _cell(entry.targets, several=entry.relation is Relation.TEST)
        candidates = _cell(entry.candidates, several=True)
        writer.writerow((entry.source, entry.relation.value, targets, candidates))
    return out.getvalue()


def _names(cell: str) -> tuple[str, ...]:
    if cell.startswith("{") and cell.endswith("}"):
        return tuple(name.strip() for name in cell[1:-1].split(",") if name.strip())
    return (cell,) if cell else ()


def _cell(names: Sequence[str], *, several: bool) -> str:
    if not names:
        return ""
    return "{" + ", ".join(names) + "}" if several else names[0]


def _nearest(name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(c) for c in close) + "?"
    return f"known: {', '.join(known[:8])}{', …' if len(known) > 8 else ''}"
