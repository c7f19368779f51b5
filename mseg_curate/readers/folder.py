"""Dataset folders: photos, label PNGs, a class table and split lists.

FOLDER/
  images/<id>.jpg           any depth of sub-folders; a sub-folder is the sequence
  labels/<id>.png           the same id: index, palette, 16-bit or RGB-coded PNG
  segments/<id>.png         optional, for all images or none: native segment ids, 16-bit, or R + 256·G + 65536·B
  classes.tsv               the class table, see `class_table.py`
  <split>.txt               one id per line
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mseg_curate.core.label_map import ColourTable, LabelMap, decode_colours, pack_rgb
from mseg_curate.errors import DatasetError
from mseg_curate.files import read_text, safe_join
from mseg_curate.images import read_label

__all__ = [
    "FolderLayout",
    "FoundSamples",
    "Sample",
    "find_samples",
    "load_label_map",
    "load_segment_map",
]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
# Text files that lie beside split lists.
_NO_SPLIT_LISTS = {
    "readme",
    "classes",
    "labels",
    "names",
    "license",
    "licence",
    "citation",
    "notes",
    "changelog",
    "copying",
}


@dataclass(frozen=True)
class FolderLayout:
    """Where the parts of a dataset lie below its root."""

    images: str = "images"
    labels: str = "labels"
    segments: str = "segments"
    classes: str = "classes.tsv"


@dataclass(frozen=True)
class Sample:
    """One image with its label map; paths are relative to the dataset's root, in POSIX form."""

    split: str
    sequence: str
    name: str
    image_file: str
    label_file: str
    segment_file: str | None


@dataclass(frozen=True)
class FoundSamples:
    """The pairs of a folder, how many images stand in no chosen split list, and what is wrong with the pairing."""

    samples: tuple[Sample, ...]
    unlisted: int
    problems: tuple[str, ...]


def find_samples(
    root: Path, layout: FolderLayout, *, role: str, splits: Sequence[str] = ()
) -> FoundSamples:
    """List the image and label pairs of a folder, and every fault in the pairing.

    `splits` chooses among the split lists; without any list all images form one split named after `role`.
    Faults are missing pairs, an image without segments where others have them, ids in no folder or in two lists, and
    names that collide on other file systems. Raises DatasetError where folders or lists are missing or unreadable.
    """
    problems: list[str] = []
    images = _files_by_id(
        root, layout.images, option="--images", suffixes=IMAGE_SUFFIXES, problems=problems
    )
    labels = _files_by_id(
        root, layout.labels, option="--labels", suffixes=(".png",), problems=problems
    )
    segments = None
    # Segments are optional, but not where a folder of them was named.
    if layout.segments != FolderLayout.segments or (root / layout.segments).is_dir():
        segments = _files_by_id(
            root, layout.segments, option="--segments", suffixes=(".png",), problems=problems
        )
    lists = _read_split_lists(root, layout, chosen=splits, images=images)
    members = lists if lists is not None else {role: sorted(images)}
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
    if not samples and not problems:
        raise DatasetError("no images found", path=root, expected=f"{layout.images}/ with photos")
    samples.sort(key=lambda s: (s.split, s.sequence, s.name))
    return FoundSamples(tuple(samples), len(images.keys() - split_of.keys()), tuple(problems))


def _files_by_id(
    root: Path, folder: str, *, option: str, suffixes: tuple[str, ...], problems: list[str]
) -> dict[str, str]:
    """Return the files of a folder by their image id; what is wrong with their names goes into `problems`."""
    base = safe_join(root, folder)
    if not base.is_dir():
        raise DatasetError(
            f"no folder {folder}/", path=root, hint=f"name another with {option}, if it differs"
        )
    found: dict[str, str] = {}
    for directory, _, names in os.walk(base, onerror=_raise_unreadable):
        for name in names:
            path = Path(directory, name)
            if path.suffix.lower() not in suffixes or name.startswith("."):
                continue
            if not _is_utf8(str(path)):
                problems.append(f"{str(path)!a}: the name is not UTF-8; rename it")
                continue
            if not path.relative_to(base).as_posix().isprintable():
                problems.append(f"{str(path)!a}: the name holds a control character; rename it")
                continue
            key = path.relative_to(base).with_suffix("").as_posix()
            relative = path.relative_to(root).as_posix()
            if key in found:
                problems.append(f"{relative}: {found[key]} has the same id; keep one")
            found[key] = relative
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
