"""The tables of an export folder: fields of its manifest, and lists of samples."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar

from mseg_curate.errors import ExportError
from mseg_curate.files import hash_manifest, safe_join

__all__ = [
    "Sample",
    "read_field",
    "read_ids",
    "read_manifest",
    "read_name",
    "read_rows",
    "read_splits",
    "split_names",
]

FORMAT: Final = "mseg-curate export"
VERSION: Final = 2
LIST_HEADER: Final = ("image", "label", "height", "width", "image_sha256")

T = TypeVar("T")


@dataclass(frozen=True)
class Sample:
    """One image and its label map; `size_hw` is height and width in pixels.

    `image_sha256` is the SHA-256 that the image's file had when it was exported.
    """

    image_id: str
    image: Path
    label: Path
    size_hw: tuple[int, int]
    image_sha256: str


def read_manifest(path: Path) -> Mapping[str, object]:
    """Read manifest.json; raises ExportError where it is missing, none, changed, or of another version."""
    if not path.is_file():
        raise ExportError(
            "no complete export: manifest.json, which is written last, is missing",
            path=path.parent,
            hint="run `mseg-curate export` to the end",
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"cannot be read: {error}", path=path) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ExportError("not the manifest of an export", path=path, expected=f"format {FORMAT!r}")
    if manifest.get("version") != VERSION:
        raise ExportError(
            "export of another version",
            path=path,
            expected=str(VERSION),
            found=str(manifest.get("version")),
            hint="export again with this version",
        )
    _check_unchanged(manifest, path)
    return manifest


def _check_unchanged(manifest: Mapping[str, object], path: Path) -> None:
    """Raise ExportError where the manifest is not what its own hash was taken of; without one it passes."""
    stated = manifest.get("manifest_sha256")
    if stated is not None and stated != hash_manifest(manifest):
        raise ExportError(
            "the manifest was changed", path=path, hint="export again into a new folder"
        )


def read_field(table: Mapping[str, object], name: str, kind: type[T], path: Path) -> T:
    """Return a field of the manifest; raises ExportError where it is of another type."""
    value = table.get(name)
    if not isinstance(value, kind):
        found = "nothing" if value is None else type(value).__name__
        raise ExportError("manifest", path=path, place=name, expected=kind.__name__, found=found)
    return value


def read_rows(table: Mapping[str, object], name: str, path: Path) -> list[Mapping[str, object]]:
    """Return a field that is a list of tables."""
    rows = read_field(table, name, list, path)
    if not all(isinstance(row, dict) for row in rows):
        raise ExportError("manifest", path=path, place=name, expected="a list of tables")
    return rows


def read_ids(values: object, path: Path, place: str) -> tuple[int, ...]:
    """Return a list of ids; raises ExportError that names `place` for anything else."""
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise ExportError("manifest", path=path, place=place, expected="a list of ids")
    return tuple(values)


def read_name(row: Mapping[str, object], path: Path) -> str:
    """Return the name of a dataset, which is a plain file name."""
    name = read_field(row, "name", str, path)
    if not name or name != PurePosixPath(name).name:
        raise ExportError("dataset name is no plain name", path=path, found=repr(name))
    return name


def split_names(row: Mapping[str, object], path: Path) -> tuple[str, ...]:
    """Return the names of a dataset's splits, in the manifest's order."""
    return tuple(map(str, read_field(row, "splits", dict, path)))


def read_splits(
    row: Mapping[str, object], role: str, folder: Path, *, names: Iterable[str]
) -> tuple[Sample, ...]:
    """Return the samples of the named splits of a dataset; `role` is train or test."""
    path = folder / "manifest.json"
    # Copied images lie in the export itself; there the dataset needs no root of its own.
    root = folder / str(row.get("image_root") or ".")
    name = read_name(row, path)
    samples: list[Sample] = []
    splits = read_field(row, "splits", dict, path)
    for split in names:
        entry = splits[split]
        if not isinstance(entry, dict):
            raise ExportError("manifest", path=path, place=f"splits of {name}", expected="tables")
        listed = safe_join(folder, read_field(entry, "list", str, path))
        found = _read_list(listed, root, folder, prefix=f"{role}/{name}/labels/")
        if len(found) != entry.get("images"):
            raise ExportError(
                f"split {split} of {name} has another number of samples than the manifest says",
                path=listed,
                expected=str(entry.get("images")),
                found=str(len(found)),
            )
        samples.extend(found)
    return tuple(samples)


def _read_list(path: Path, root: Path, folder: Path, *, prefix: str) -> list[Sample]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ExportError(f"list cannot be read: {error}", path=path) from error
    if not lines or tuple(lines[0].split("\t")) != LIST_HEADER:
        raise ExportError("list has another header", path=path, place=1, expected=str(LIST_HEADER))
    return [
        _parse_row(line.split("\t"), path, number, (root, folder, prefix))
        for number, line in enumerate(lines[1:], start=2)
    ]


def _parse_row(
    cells: Sequence[str], path: Path, number: int, places: tuple[Path, Path, str]
) -> Sample:
    root, folder, prefix = places
    if len(cells) != len(LIST_HEADER) or not (cells[2].isdecimal() and cells[3].isdecimal()):
        raise ExportError(
            "list row cannot be used",
            path=path,
            place=number,
            expected=", ".join(LIST_HEADER),
            found="\t".join(cells),
        )
    image, label, height, width, image_sha256 = cells
    return Sample(
        image_id=label.removeprefix(prefix).removesuffix(".png"),
        image=safe_join(root, image),
        label=safe_join(folder, label),
        size_hw=(int(height), int(width)),
        image_sha256=image_sha256,
    )
