"""The relabel decisions that MSeg published: one text list per question and answer.

A line of a list names a picture and, after its last underscore, a segment. Which dataset, split and
pair of universal classes a list belongs to stands in a table beside the lists: here an index file,
in a checkout of mseg-api Python source, which is read by its syntax tree and never executed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Literal

from mseg_curate.core.taxonomy import UNLABELED, Taxonomy
from mseg_curate.errors import DecisionError, TaxonomyError

__all__ = [
    "DecisionRow",
    "PublishedDecisions",
    "read_decisions_folder",
    "read_mseg_api_decisions",
    "read_published_decisions",
]

DecisionRow = tuple[str, str, str, str, int, str, str, str]
"""dataset, split, sequence, image, segment, source class, from and to universal class."""

INDEX_NAME = "relabeled_index.tsv"
LISTS_NAME = "relabeled_data"
API_RECORDS = Path("mseg/label_preparation/dataset_update_records.py")
API_LISTS = Path("mseg/relabeled_data")

MAX_SEGMENT = 2**63 - 1

_RECORD_CALL = "DatasetClassUpdateRecord"
_RECORD_FIELDS = ("dataset_name", "split", "orig_class", "relabeled_class", "txt_fpath")
_INDEX_FIELDS = (
    "dataset",
    "split",
    "original_universal_class",
    "relabeled_universal_class",
    "file",
)
_PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")

_NameStyle = Literal["plain", "sequence", "prefixed"]
_NAME_STYLES: dict[str, _NameStyle] = {
    "ade20k-150": "plain",
    "bdd": "plain",
    "cityscapes-19": "sequence",
    "coco-panoptic-133": "plain",
    "idd-39": "sequence",
    "mapillary-public65": "prefixed",
    "sunrgbd-37": "plain",
}
_NAME_PREFIX = "mapillary_"
_NAME_FORMS: dict[_NameStyle, str] = {
    "plain": "<image>_<segment>.<png or jpg>",
    "sequence": "seq<sequence>_<image>_<segment>.<png or jpg>",
    "prefixed": f"{_NAME_PREFIX}<image>_<segment>.<png or jpg>",
}

_DATASET_OF_UPSTREAM = {
    "ade20k": "ade20k-150",
    "ade20k-v1": "ade20k-150",
    "bdd": "bdd",
    "cityscapes": "cityscapes-19",
    "cocop": "coco-panoptic-133",
    "cocopanoptic": "coco-panoptic-133",
    "cocopanoptic-v1": "coco-panoptic-133",
    "idd": "idd-39",
    "mapillary-public65": "mapillary-public65",
    "sunrgbd": "sunrgbd-37",
}

# Where the dataset's column places several classes in the row, the folder of the list may tell.
_SOURCE_OF_FOLDER = {
    ("coco-panoptic-133", "cocop_diningtable"): "dining table",
    ("coco-panoptic-133", "cocop_table-merged"): "table-merged",
}
# These columns send their riders to the commonest kind at once; the question was asked of riders.
_SOURCE_OF_CLASS = {
    ("cityscapes-19", "rider_other"): "rider",
    ("idd-39", "rider_other"): "rider",
}


@dataclass(frozen=True, slots=True)
class PublishedDecisions:
    """Decisions in the order of their table and lists; `source` is the table, `lists` their number.

    A decision that is listed twice with the same outcome stands in `rows` once.
    """

    source: Path
    lists: int
    rows: list[DecisionRow]

    @property
    def changed(self) -> int:
        """How many decisions change the universal class."""
        return sum(row[6] != row[7] for row in self.rows)


@dataclass(frozen=True, slots=True)
class _Record:
    table: Path
    line: int
    dataset: str
    split: str
    from_universal: str
    to_universal: str
    file: str


@dataclass(frozen=True, slots=True)
class _List:
    path: Path
    record: _Record
    stems: Sequence[str]
    rows: list[DecisionRow]


def read_decisions_folder(folder: Path, taxonomy: Taxonomy) -> PublishedDecisions:
    """Read published decisions from either kind of folder, recognised by its table.

    Raises DecisionError where neither table is there, and as the two readers do.
    """
    if (folder / INDEX_NAME).is_file():
        return read_published_decisions(folder, taxonomy)
    if (folder / API_RECORDS).is_file():
        return read_mseg_api_decisions(folder, taxonomy)
    raise DecisionError(
        "not a folder of published decisions",
        path=folder,
        expected=f"{INDEX_NAME}, or {API_RECORDS} of a checkout of mseg-api",
        found="neither",
        hint="name the folder that holds one of them",
    )


def read_published_decisions(folder: Path, taxonomy: Taxonomy) -> PublishedDecisions:
    """Read decisions from a folder with relabeled_index.tsv and the lists in relabeled_data.

    Raises DecisionError for a row or a line that cannot be used, and for two decisions on the same
    segment that differ.
    """
    table = folder / INDEX_NAME
    return _read_lists(table, _read_index(table), folder / LISTS_NAME, taxonomy)


def read_mseg_api_decisions(checkout: Path, taxonomy: Taxonomy) -> PublishedDecisions:
    """Read decisions from a checkout of mseg-api; its Python source is parsed, never executed.

    Raises DecisionError as `read_published_decisions` does, and for source that is no Python or
    whose records are not plain strings.
    """
    table = checkout / API_RECORDS
    return _read_lists(table, _read_source(table), checkout / API_LISTS, taxonomy)


def _read_index(table: Path) -> Iterator[_Record]:
    header, *lines = _decode(table, _read_bytes(table))[:-1].split("\n")
    columns = header.split("\t")
    missing = [name for name in _INDEX_FIELDS if name not in columns]
    if missing:
        raise DecisionError(
            "wrong columns",
            path=table,
            place=1,
            expected=", ".join(_INDEX_FIELDS),
            found=f"no {', '.join(missing)}",
            hint="separate the columns by tabs",
        )
    places = [columns.index(name) for name in _INDEX_FIELDS]
    for number, line in enumerate(lines, start=2):
        cells = line.split("\t")
        if len(cells) != len(columns):
            raise DecisionError(
                "wrong number of cells",
                path=table,
                place=number,
                expected=str(len(columns)),
                found=str(len(cells)) if line else "a blank line",
                hint="separate the cells by one tab each",
            )
        yield _Record(table, number, *(cells[place] for place in places))


def _read_source(table: Path) -> Iterator[_Record]:
    try:
        tree = ast.parse(_read_bytes(table), filename=str(table))
    except (SyntaxError, ValueError, RecursionError) as error:
        place = error.lineno if isinstance(error, SyntaxError) else None
        raise DecisionError(
            "unreadable source",
            path=table,
            place=place,
            expected="Python 3",
            found=str(error),
            hint="check the file out again",
        ) from error
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and _RECORD_CALL in (getattr(node.func, "id", None), getattr(node.func, "attr", None))
    ]
    for call in sorted(calls, key=lambda call: (call.lineno, call.col_offset)):
        yield _read_call(table, call)


def _read_call(table: Path, call: ast.Call) -> _Record:
    given = dict(zip(_RECORD_FIELDS, call.args, strict=False))
    given |= {keyword.arg or "**": keyword.value for keyword in call.keywords}
    values = [
        node.value
        for node in map(given.get, _RECORD_FIELDS)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    if len(values) != len(_RECORD_FIELDS) or len(call.args) + len(call.keywords) != len(values):
        raise DecisionError(
            "unreadable record",
            path=table,
            place=call.lineno,
            expected=f"the strings {', '.join(_RECORD_FIELDS)}",
            found=ast.unparse(call),
            hint="write each of them out as a plain string",
        )
    upstream, split, from_universal, to_universal, file = values
    # An unknown upstream name is left as it is, for the check that all records go through.
    dataset = _DATASET_OF_UPSTREAM.get(upstream, upstream)
    return _Record(table, call.lineno, dataset, split, from_universal, to_universal, file)


def _read_lists(
    table: Path, records: Iterable[_Record], folder: Path, taxonomy: Taxonomy
) -> PublishedDecisions:
    lists = [_read_list(record, folder, taxonomy) for record in records]
    if not lists:
        raise DecisionError(
            "no lists",
            path=table,
            expected="at least one record that names a list",
            found="none",
            hint="fetch the file again",
        )
    unique: dict[tuple[str, str], set[str]] = {}
    for listed in lists:
        key = (listed.record.dataset, listed.record.split)
        unique.setdefault(key, set()).update(listed.stems)
    if sum(len(stems) for stems in unique.values()) == sum(len(listed.rows) for listed in lists):
        rows = list(chain.from_iterable(listed.rows for listed in lists))
    else:
        rows = list(_drop_repeats(lists))
    return PublishedDecisions(table, len(lists), rows)


def _drop_repeats(lists: Sequence[_List]) -> Iterator[DecisionRow]:
    first: dict[tuple[str, str, str, str, int], tuple[DecisionRow, str]] = {}
    for listed in lists:
        for number, row in enumerate(listed.rows, start=1):
            seen, place = first.setdefault(row[:5], (row, f"{listed.path}:{number}"))
            if seen is row:
                yield row
            elif seen != row:
                raise DecisionError(
                    "two decisions on one segment",
                    path=listed.path,
                    place=number,
                    expected=f"{seen[6]} → {seen[7]} as in {place}",
                    found=f"{row[6]} → {row[7]}",
                    hint="take one of the two lines out",
                )


def _read_list(record: _Record, folder: Path, taxonomy: Taxonomy) -> _List:
    source_class = _find_source_class(record, taxonomy)
    path = _find_list(record, folder)
    text = _decode(path, _read_bytes(path))
    style = _NAME_STYLES[record.dataset]
    stems, sequences, images, segments = _split_names(text, style) or zip(
        *(
            _split_name(line, style, path, number)
            for number, line in enumerate(text[:-1].split("\n"), start=1)
        ),
        strict=True,
    )
    dataset, split = record.dataset, record.split
    old, new = record.from_universal, record.to_universal
    rows = [
        (dataset, split, sequence, image, segment, source_class, old, new)
        for sequence, image, segment in zip(sequences, images, segments, strict=True)
    ]
    return _List(path, record, stems, rows)


_Name = tuple[str, str, str, int]
_Names = tuple[Sequence[str], Sequence[str], Sequence[str], Sequence[int]]


def _split_names(text: str, style: _NameStyle) -> _Names | None:
    """Split a whole list at once; None where a line is unlike the others, right or wrong."""
    first = text[: text.find("\n")]
    end = first[first.rfind(".") :] + "\n"
    # Every line end follows the same extension, so that splitting at both takes it off.
    if end[:-1] not in _PICTURE_SUFFIXES or text.count(end) != text.count("\n"):
        return None
    stems = text.split(end)
    stems.pop()
    parts = [stem.rpartition("_") for stem in stems]
    digits = [part[2] for part in parts]
    try:
        segments = list(map(int, digits))
    except ValueError:
        return None
    # Writing the numbers back refuses signs, blanks, leading zeros and foreign digits at once.
    if list(map(str, segments)) != digits or min(segments) < 0 or max(segments) > MAX_SEGMENT:
        return None
    sequences, images = _split_images([part[0] for part in parts], style)
    if "" in images or (style == "sequence" and "" in sequences) or "\n " in f"\n{text}":
        return None
    return stems, sequences, images, segments


def _split_images(names: list[str], style: _NameStyle) -> tuple[list[str], list[str]]:
    """Return sequences and images, with an empty string where a name has not the right form."""
    if style == "sequence":
        heads = [name.partition("_") for name in names]
        sequences = [head[3:] if head.startswith("seq") else "" for head, _, _ in heads]
        return sequences, [image for _, _, image in heads]
    if style == "prefixed":
        start = len(_NAME_PREFIX)
        names = [name[start:] if name.startswith(_NAME_PREFIX) else "" for name in names]
    return [""] * len(names), names


def _split_name(line: str, style: _NameStyle, path: Path, number: int) -> _Name:
    suffix = next((end for end in _PICTURE_SUFFIXES if line.endswith(end)), "")
    stem = line.removesuffix(suffix)
    name, _, digits = stem.rpartition("_")
    (sequence,), (image,) = _split_images([name], style)
    named = bool(image) and not line.startswith(" ") and (style != "sequence" or bool(sequence))
    numbered = digits.isascii() and digits.isdecimal() and len(digits) < 20
    segment = int(digits) if numbered else -1
    if not named or str(segment) != digits or segment > MAX_SEGMENT:
        raise DecisionError(
            "malformed line",
            path=path,
            place=number,
            expected=_NAME_FORMS[style],
            found=repr(line) if line else "a blank line",
            hint="the segment is a whole number from 0, the last thing before the extension",
        )
    return stem, sequence, image, segment


def _find_source_class(record: _Record, taxonomy: Taxonomy) -> str:
    """Return the class that the masks of a list had in their dataset, '' where it is not known."""
    if record.dataset not in _NAME_STYLES:
        known = "one of " + ", ".join(sorted(_NAME_STYLES))
        raise _refuse_record(record, "unknown dataset", known, repr(record.dataset))
    if not record.split:
        raise _refuse_record(record, "empty split", "the name of a split", "nothing")
    try:
        column = taxonomy.column(record.dataset)
        for name in (record.from_universal, record.to_universal):
            taxonomy.id_of(name)
    except TaxonomyError as error:
        raise _refuse_record(
            record, error.what, error.expected or "", f"{error.found}", error.hint
        ) from error
    if record.from_universal == UNLABELED:
        raise _refuse_record(record, "unlabeled cannot change", "a class that was split", UNLABELED)
    classes = column.classes_of(record.from_universal)
    if len(classes) == 1:
        return classes[0]
    folder = record.file.partition("/")[0]
    by_class = _SOURCE_OF_CLASS.get((record.dataset, record.from_universal), "")
    return _SOURCE_OF_FOLDER.get((record.dataset, folder), by_class)


def _find_list(record: _Record, folder: Path) -> Path:
    relative = PurePosixPath(record.file)
    if not record.file or relative.is_absolute() or ".." in relative.parts:
        raise _refuse_record(
            record, "list outside the folder", f"a path below {folder}", repr(record.file)
        )
    path = folder / relative
    if not path.is_file():
        raise _refuse_record(record, "missing list", f"the file {path}", "none")
    return path


def _refuse_record(
    record: _Record, what: str, expected: str, found: str, hint: str | None = None
) -> DecisionError:
    return DecisionError(
        what,
        path=record.table,
        place=record.line,
        expected=expected,
        found=found,
        hint=hint or "correct the row of the table",
    )


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DecisionError(
            "unreadable file",
            path=path,
            expected="a text file",
            found=error.strerror or str(error),
            hint="check the path and its permissions",
        ) from error


def _decode(path: Path, raw: bytes) -> str:
    """Return the text of a file with `\\n` at the end of every line, the last one too."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise DecisionError(
            "undecodable text",
            path=path,
            place=raw.count(b"\n", 0, error.start) + 1,
            expected="UTF-8",
            found=f"the byte 0x{raw[error.start]:02x}",
            hint="save the file as UTF-8",
        ) from error
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    if not text:
        raise DecisionError(
            "empty file",
            path=path,
            expected="at least one line",
            found="none",
            hint="fetch the file again",
        )
    return text if text.endswith("\n") else text + "\n"
