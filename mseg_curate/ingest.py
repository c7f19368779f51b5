"""Bring a dataset folder into the store: check every pair first, then store all of it or nothing."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from mseg_curate.core.label_map import ColourTable, LabelMap, count_ids
from mseg_curate.errors import DatasetError, ImageError, InputError, StoreError
from mseg_curate.files import safe_join, sha256_of
from mseg_curate.images import probe_image
from mseg_curate.progress import map_in_threads
from mseg_curate.readers.class_table import ClassTable, read_class_table
from mseg_curate.readers.folder import (
    FolderLayout,
    FoundSamples,
    Sample,
    find_samples,
    load_label_map,
    load_segment_map,
)
from mseg_curate.store import Store
from mseg_curate.store.datasets import (
    DatasetRow,
    ImageRow,
    Pixels,
    declare_dataset,
    list_datasets,
    list_images,
    move_dataset,
    store_pixels,
)

__all__ = ["AddedDataset", "add_dataset", "colour_table", "ignore_ids_of", "label_map_of"]


@dataclass(frozen=True)
class AddedDataset:
    """What `add_dataset` did: `is_new` is False where the same dataset was there already."""

    name: str
    role: str
    is_new: bool
    images: Mapping[str, int]
    unlisted: int
    bound: int
    classes: int
    ignored_ids: tuple[int, ...]


@dataclass(frozen=True)
class _Checked:
    """One pair after its check: the pixels to store, or what is wrong with it."""

    pixels: Pixels | None = None
    problem: str | None = None
    unknown: Mapping[int, int] = field(default_factory=dict)


def add_dataset(
    store: Store,
    name: str,
    *,
    folder: Path,
    role: str,
    now: str,
    layout: FolderLayout | None = None,
    splits: Sequence[str] = (),
    ignore_ids: Sequence[int] = (),
) -> AddedDataset:
    """Check every image and label pair of a folder, count its pixels, and store it.

    Source files are only read. Adding the same folder again changes nothing. Raises DatasetError that lists
    every fault (missing or damaged files, sizes that differ, ids and colours outside the class table), and
    stores nothing then.
    """
    layout = layout or FolderLayout()
    root = folder.resolve()
    if not root.is_dir():
        raise DatasetError("no such folder", path=folder, hint="name the dataset's folder")
    _check_name(name)
    with store.reading() as connection:
        known = {row.name: row for row in list_datasets(connection)}.get(name)
    table = _class_table(root, layout, known, ignore_ids)
    _check_declared(known, name, role, table)
    found = find_samples(root, layout, role=role, splits=splits)
    pixels = _check_all(root, found, table, layout)
    described = _describe(layout, table)
    fingerprint = _fingerprint(table, pixels)
    counts = Counter(sample.split for sample in found.samples)
    result = AddedDataset(
        name,
        role,
        True,
        counts,
        found.unlisted,
        0,
        len(table.classes),
        tuple(sorted(table.ignore_ids)),
    )
    if known is not None and known.fingerprint is not None:
        if known.fingerprint == fingerprint:
            if (known.root, known.layout) != (root, described):
                with store.writing() as connection:
                    move_dataset(connection, known.id, root=root, layout=described)
            return replace(result, is_new=False)
        raise DatasetError(
            f"dataset {name} was added before with other files",
            path=folder,
            found=_difference(store, known, pixels),
            hint="decisions are bound to those files; add the changed folder under another name",
        )
    with store.writing() as connection:
        dataset_id = (
            known.id
            if known is not None
            else declare_dataset(connection, name, role=role, classes=table.classes)
        )
        bound = store_pixels(
            connection,
            dataset_id,
            root=root,
            layout=described,
            fingerprint=fingerprint,
            samples=pixels,
            now=now,
        )
    return replace(result, bound=bound)


def _check_name(name: str) -> None:
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    if not name or not set(name) <= allowed or name.startswith("."):
        raise InputError(
            "not a dataset name",
            expected="letters, digits, dots, dashes and underscores, no leading dot",
            found=repr(name),
        )


def _class_table(
    root: Path, layout: FolderLayout, known: DatasetRow | None, ignore_ids: Sequence[int]
) -> ClassTable:
    path = safe_join(root, layout.classes)
    if known is not None and not path.exists():
        ids = frozenset(ignore_ids)
        return ClassTable(tuple(c for c in known.classes if c[0] not in ids), ids)
    return read_class_table(path, ignore_ids=ignore_ids)


def _check_declared(known: DatasetRow | None, name: str, role: str, table: ClassTable) -> None:
    if known is None:
        return
    if known.role != role:
        raise StoreError(f"dataset {name} is stored with the role {known.role}, not {role}")
    if known.classes != table.classes:
        here, there = dict(table.classes), dict(known.classes)
        differing = [
            f"id {i}: stored {there.get(i)!r}, here {here.get(i)!r}"
            for i in sorted(here.keys() | there.keys())
            if here.get(i) != there.get(i)
        ]
        raise DatasetError(
            f"the class table differs from that of the dataset {name} in the store",
            problems=differing,
            hint="add the folder under another name, or give it the stored classes",
        )


def _check_all(
    root: Path, found: FoundSamples, table: ClassTable, layout: FolderLayout
) -> list[Pixels]:
    colours = ColourTable.of(table.colours) if table.colours else None
    pixels: list[Pixels] = []
    problems = list(found.problems)
    unknown: dict[int, list[tuple[str, int]]] = {}
    checked = map_in_threads(
        lambda sample: _check_pair(root, sample, table, colours),
        found.samples,
        total=len(found.samples),
        what="checking pairs",
    )
    for sample, check in zip(found.samples, checked, strict=True):
        if check.problem:
            problems.append(check.problem)
        if check.pixels:
            pixels.append(check.pixels)
        for class_id, count in check.unknown.items():
            unknown.setdefault(class_id, []).append((sample.label_file, count))
    problems += [
        f"id {class_id} is not in {layout.classes}: {sum(n for _, n in places):,} px in "
        f"{len(places)} files, first {places[0][0]}; add it there, or ignore it with --ignore-id {class_id}"
        for class_id, places in sorted(unknown.items())
    ]
    if problems:
        several = f"{len(problems)} faults in the folder"
        raise DatasetError.of(problems, several=several, path=root, hint="nothing was stored")
    return pixels


def _check_pair(
    root: Path, sample: Sample, table: ClassTable, colours: ColourTable | None
) -> _Checked:
    image, label = safe_join(root, sample.image_file), safe_join(root, sample.label_file)
    segment_sha256 = None
    try:
        size_hw = probe_image(image)
        label_map = load_label_map(label, colours)
        sizes = {sample.image_file: size_hw, sample.label_file: label_map.shape}
        if sample.segment_file:
            segments = load_segment_map(safe_join(root, sample.segment_file))
            sizes[sample.segment_file] = segments.shape
            segment_sha256 = sha256_of(safe_join(root, sample.segment_file))
        image_sha256, label_sha256 = sha256_of(image), sha256_of(label)
    except (ImageError, DatasetError) as error:
        return _Checked(problem=str(error).removeprefix(f"{root}/"))
    except OSError as error:
        return _Checked(problem=f"{sample.image_file}: cannot be read ({error.strerror})")
    for file, size in sizes.items():
        if size != size_hw:
            return _Checked(
                problem=f"{file}: sizes differ: expected {size_hw[0]}×{size_hw[1]} (rows × columns) as "
                f"{sample.image_file}, found {size[0]}×{size[1]}"
            )
    counts = count_ids(label_map)
    unknown = {i: n for i, n in counts.items() if i not in table.known_ids}
    pixels = Pixels(
        sample.split,
        sample.sequence,
        sample.name,
        sample.image_file,
        sample.label_file,
        sample.segment_file,
        size_hw,
        image_sha256,
        label_sha256,
        {i: n for i, n in counts.items() if i not in table.ignore_ids},
        segment_sha256,
    )
    return _Checked(pixels=pixels, unknown=unknown)


def _describe(layout: FolderLayout, table: ClassTable) -> dict[str, object]:
    return {
        **asdict(layout),
        "ignore_ids": sorted(table.ignore_ids),
        "colours": [[*colour, class_id] for colour, class_id in sorted(table.colours.items())],
    }


def _fingerprint(table: ClassTable, pixels: Sequence[Pixels]) -> str:
    meaning = (table.classes, sorted(table.ignore_ids), sorted(table.colours.items()))
    digest = hashlib.sha256(repr(meaning).encode())
    for p in pixels:
        parts = (p.split, p.sequence, p.name, p.image_sha256, p.label_sha256, p.segment_file)
        digest.update(repr(parts).encode())
        if p.segment_sha256 is not None:
            digest.update(p.segment_sha256.encode())
    return digest.hexdigest()


def _difference(store: Store, known: DatasetRow, pixels: Sequence[Pixels]) -> str:
    with store.reading() as connection:
        stored = {
            (row.split, row.sequence, row.name): (row.image_sha256, row.label_sha256)
            for row in list_images(connection, known.id)
        }
    here = {(p.split, p.sequence, p.name): (p.image_sha256, p.label_sha256) for p in pixels}
    changed = sum(stored[key] != here[key] for key in stored.keys() & here.keys())
    new, gone = len(here.keys() - stored.keys()), len(stored.keys() - here.keys())
    if not new and not gone and not changed:
        return "the same images and labels, but other segments or ignore ids"
    return f"{new} new, {gone} gone and {changed} changed images"


def colour_table(layout: Mapping[str, object]) -> ColourTable | None:
    """Return the colours of a stored dataset, None where its labels are ids."""
    rows = layout.get("colours")
    if not isinstance(rows, list) or not rows:
        return None
    return ColourTable.of({(r, g, b): class_id for r, g, b, class_id in rows})


def ignore_ids_of(dataset: DatasetRow) -> tuple[int, ...]:
    """Return the ignore ids of a stored dataset."""
    ids = dataset.layout.get("ignore_ids", [])
    return tuple(ids) if isinstance(ids, list) else ()


def label_map_of(dataset: DatasetRow, image: ImageRow, colours: ColourTable | None) -> LabelMap:
    """Read the (H, W) label map of a stored image; raises DatasetError if its file changed since it was added."""
    if dataset.root is None:
        raise StoreError(f"dataset {dataset.name} has no pixels; add its folder first")
    path = safe_join(dataset.root, image.label_file)
    try:
        unchanged = sha256_of(path) == image.label_sha256
    except OSError as error:
        raise DatasetError(
            f"label map cannot be read ({error.strerror})",
            path=path,
            hint=f"bring back the folder of dataset {dataset.name}",
        ) from error
    if not unchanged:
        raise DatasetError(
            "label map was changed since its dataset was added",
            path=path,
            hint="restore it, or add the changed folder under another name",
        )
    return load_label_map(path, colours)
