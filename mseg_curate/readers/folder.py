"""Dataset folders: photos, label PNGs, a class table and split lists.

    FOLDER/
      images/<id>.jpg           any depth of sub-folders; a sub-folder is the sequence
      labels/<id>.png           the same id: index, palette, 16-bit or RGB-coded PNG
      segments/<id>.png         optional, for all images or none: native segment ids, 16-bit, or R + 256·G + 65536·B
      classes.tsv               id, name, and a colour (#rrggbb, or the columns r, g, b) for RGB-coded labels
      <split>.txt               one id per line

A class whose name is `ignore` or ends with `(ignore)` is an ignore id.
"""

from __future__ import annotations

import csv
import io
import os
import re
import unicodedata
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mseg_curate.core.label_map import ColourTable, LabelMap, decode_colours, pack_rgb
from mseg_curate.errors import DatasetError
from mseg_curate.files import read_text, safe_join
from mseg_curate.images import read_label

__all__ = [
    "ClassTable",
    "FolderLayout",
    "Sample",
    "load_label_map",
    "load_segment_map",
    "parse_class_table",
    "read_class_table",
    "read_samples",
]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
MAX_CLASS_ID = 65_535
# Text files that lie beside split lists.
_NO_SPLIT_LISTS = {"readme", "license", "licence", "citation", "notes", "changelog", "copying"}


@dataclass(frozen=True)
class FolderLayout:
    """Where the parts of a dataset lie below its root."""

    images: str = "images"
    labels: str = "labels"
    segments: str = "segments"
    classes: str = "classes.tsv"


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


@dataclass(frozen=True)
class Sample:
    """One image with its label map; paths are relative to the dataset's root, in POSIX form."""

    split: str
    sequence: str
    name: str
    image_file: str
    label_file: str
    segment_file: str | None


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
    rows = _split_rows(text, path=path)
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
        first = reader.problems[0] if len(reader.problems) == 1 else "class table has faults"
        rest = reader.problems if len(reader.problems) > 1 else ()
        raise DatasetError(first, path=path, problems=rest)
    if not reader.classes:
        raise DatasetError("class table names no class", path=path)
    classes = tuple(sorted(reader.classes.items()))
    return ClassTable(classes, frozenset(reader.ignore_ids), reader.colours)


def _split_rows(text: str, *, path: Path) -> list[tuple[int, list[str]]]:
    rows = []
    line = 1
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t", strict=True)
    try:
        for row in reader:
            rows.append((line, row))
            line = reader.line_num + 1
    except csv.Error as error:
        raise DatasetError(
            "unreadable quoting",
            path=path,
            place=line,
            found=str(error),
            hint="close the quotes, or leave them out",
        ) from None
    return rows


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


def read_samples(
    root: Path, layout: FolderLayout, *, role: str, splits: Sequence[str] = ()
) -> tuple[list[Sample], int]:
    """List the image and label pairs of a folder, and how many images stand in no split list.

    `splits` chooses among the split lists; without any list all images form one split named after `role`.
    Raises DatasetError that lists every fault: missing pairs, an image without segments where others have them,
    ids in no folder or in two lists, names that collide on other file systems.
    """
    images = _files_by_id(root, layout.images, option="--images", suffixes=IMAGE_SUFFIXES)
    labels = _files_by_id(root, layout.labels, option="--labels", suffixes=(".png",))
    segments = None
    # Segments are optional, but not where a folder of them was named.
    if layout.segments != FolderLayout.segments or (root / layout.segments).is_dir():
        segments = _files_by_id(root, layout.segments, option="--segments", suffixes=(".png",))
    lists = _read_split_lists(root, layout, chosen=splits, images=images)
    members = lists if lists is not None else {role: sorted(images)}
    problems: list[str] = []
    samples: list[Sample] = []
    split_of: dict[str, str] = {}
    for split, ids in members.items():
        for key in ids:
            if split_of.get(key) == split:
                problems.append(f"{key}: listed twice in {split}.txt; take one of them out")
                continue
            if key in split_of:
                problems.append(
                    f"{key}: listed in {split_of[key]}.txt and in {split}.txt; choose with --split"
                )
                continue
            split_of[key] = split
            if key not in images:
                problems.append(f"{layout.images}/{key}: no photo, listed in {split}.txt")
            elif key not in labels:
                problems.append(f"{layout.labels}/{key}.png: no label map for {images[key]}")
            elif segments is not None and key not in segments:
                problems.append(f"{layout.segments}/{key}.png: no segments for {images[key]}")
            else:
                sequence, _, name = key.rpartition("/")
                segment = segments[key] if segments is not None else None
                samples.append(Sample(split, sequence, name, images[key], labels[key], segment))
    problems += _colliding_names(split_of)
    if lists is None:
        problems += [f"{labels[key]}: no photo for it" for key in labels if key not in images]
    if problems:
        raise DatasetError(
            f"{len(problems)} faults in the folder",
            path=root,
            problems=problems,
            hint=_NOTHING_STORED,
        )
    if not samples:
        raise DatasetError("no images found", path=root, expected=f"{layout.images}/ with photos")
    samples.sort(key=lambda s: (s.split, s.sequence, s.name))
    return samples, len(images.keys() - split_of.keys())


_NOTHING_STORED = "nothing was stored; mend them and run the command again"


def _files_by_id(
    root: Path, folder: str, *, option: str, suffixes: tuple[str, ...]
) -> dict[str, str]:
    base = safe_join(root, folder)
    if not base.is_dir():
        raise DatasetError(
            f"no folder {folder}/", path=root, hint=f"name another with {option}, if it differs"
        )
    found: dict[str, str] = {}
    problems = []
    for directory, _, names in os.walk(base, onerror=_raise_unreadable):
        for name in names:
            path = Path(directory, name)
            if path.suffix.lower() not in suffixes or name.startswith("."):
                continue
            if not _is_utf8(str(path)):
                problems.append(f"{str(path)!a}: the name is not UTF-8; rename it")
                continue
            key = path.relative_to(base).with_suffix("").as_posix()
            relative = path.relative_to(root).as_posix()
            if key in found:
                problems.append(f"{relative}: {found[key]} has the same id; keep one")
            found[key] = relative
    if problems:
        raise DatasetError(
            f"faults in {folder}/", path=root, problems=problems, hint=_NOTHING_STORED
        )
    return found


def _raise_unreadable(error: OSError) -> None:
    raise DatasetError(f"folder cannot be read ({error.strerror})", path=error.filename) from error


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_split_lists(
    root: Path, layout: FolderLayout, *, chosen: Sequence[str], images: Container[str]
) -> dict[str, list[str]] | None:
    lists = {
        path.stem: path
        for path in sorted(root.glob("*.txt"))
        if path.stem.lower() not in _NO_SPLIT_LISTS and path.name != layout.classes
    }
    missing = [name for name in chosen if name not in lists]
    if missing:
        raise DatasetError(
            f"no split list {missing[0]}.txt",
            path=root,
            expected="one of " + (", ".join(f"{name}.txt" for name in lists) or "none there"),
        )
    if not lists:
        return None
    return {name: _read_split_list(lists[name], images) for name in (chosen or lists)}


def _read_split_list(path: Path, images: Container[str]) -> list[str]:
    ids = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        key = line.strip()
        if not key:
            continue
        if Path(key).suffix.lower() in IMAGE_SUFFIXES:
            key = key[: -len(Path(key).suffix)]
        if len(key.split()) > 1 and key not in images:
            raise DatasetError(
                "not a split list",
                path=path,
                place=number,
                expected="one image id per line",
                found=repr(line[:60]),
                hint="choose the lists with --split",
            )
        ids.append(key)
    return ids


def _colliding_names(keys: Iterable[str]) -> list[str]:
    seen: dict[str, str] = {}
    problems = []
    for key in keys:
        folded = unicodedata.normalize("NFC", key).casefold()
        other = seen.setdefault(folded, key)
        if other != key:
            problems.append(
                f"{key} and {other} differ only by case or Unicode form and collide on other file systems"
            )
    return problems


def load_label_map(path: Path, colours: ColourTable | None = None) -> LabelMap:
    """Read a label map as (H, W) class ids, decoding colours where it is RGB-coded.

    Raises DatasetError for a colour outside the table (each with its count and first position) and for an
    RGB-coded map of a dataset without colours; ImageError for a damaged file.
    """
    pixels = read_label(path)
    if pixels.ndim == 2:
        return pixels
    if colours is None:
        raise DatasetError(
            "RGB-coded label map, but the class table has no colours",
            path=path,
            hint="add a colour column (#rrggbb) to the class table",
        )
    label_map, unknown = decode_colours(pixels.astype(np.uint8, copy=False), colours)
    if unknown:
        listed = "; ".join(
            f"#{u.colour[0]:02x}{u.colour[1]:02x}{u.colour[2]:02x} in {u.pixels:,} px, first at row "
            f"{u.first[0]}, column {u.first[1]}"
            for u in unknown[:5]
        )
        more = f"; and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise DatasetError(
            "unknown colours", path=path, expected="colours of the class table", found=listed + more
        )
    return label_map


def load_segment_map(path: Path) -> npt.NDArray[np.uint32]:
    """Read native segment ids as (H, W) uint32; an RGB PNG means R + 256·G + 65536·B, as COCO's panoptic maps."""
    pixels = read_label(path)
    if pixels.ndim == 3:
        return pack_rgb(pixels.astype(np.uint8, copy=False))
    return pixels.astype(np.uint32)
