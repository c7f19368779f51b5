"""Reading of an export folder: the manifest, the lists, and the classes that a network can learn."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from mseg_curate.errors import ExportError
from mseg_curate.files import find_changed, safe_join
from mseg_curate.images import read_label

__all__ = [
    "IGNORE",
    "ClassIndex",
    "Dataset",
    "Export",
    "Sample",
    "ZeroShotSet",
    "check_files",
    "check_tests",
    "read_export",
]

FORMAT: Final = "mseg-curate export"
VERSION: Final = 1
TRAIN_SPLIT: Final = "train"
LIST_HEADER: Final = ("image", "label", "height", "width")
LARGEST_ID: Final = {"uint8": 255, "uint16": 65535}
IGNORE: Final = -1  # in compact labels; the export's own ignore label may be 255 or 65535

T = TypeVar("T")


@dataclass(frozen=True)
class Sample:
    """One image and its label map; `size_hw` is height and width in pixels."""

    image_id: str
    image: Path
    label: Path
    size_hw: tuple[int, int]


@dataclass(frozen=True)
class Dataset:
    """One training dataset: the samples to train on, in the order of the lists."""

    name: str
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class ZeroShotSet:
    """One test dataset: `sources[k]` are the universal ids that feed test class k."""

    name: str
    samples: tuple[Sample, ...]
    classes: tuple[str, ...]
    sources: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class ClassIndex:
    """Which output of the network a universal id is.

    Outputs 0 … C−1 are the reachable ids in ascending order; C + j stands for the outputs
    `sets[j]`. `table` maps a label map's ids to these numbers, to IGNORE, and to `unknown` where
    the export has no such id.
    """

    reachable: tuple[int, ...]
    sets: tuple[tuple[int, ...], ...]
    table: npt.NDArray[np.int16]
    unknown: int

    def compact(self, label_map: npt.NDArray[np.integer], *, path: Path) -> npt.NDArray[np.int16]:
        """Turn (H, W) universal ids into (H, W) int16 outputs, sets and IGNORE.

        Raises ExportError that lists the ids of `path` which no class of the export can be.
        """
        if label_map.ndim != 2 or int(label_map.max(initial=0)) >= len(self.table):
            raise ExportError(
                "not a label map of this export",
                path=path,
                expected=f"one channel of ids below {len(self.table)}",
                found=f"shape {label_map.shape}, largest value {label_map.max(initial=0)}",
            )
        labels: npt.NDArray[np.int16] = self.table[label_map]
        if (labels == self.unknown).any():
            ids = np.unique(label_map[labels == self.unknown]).tolist()
            raise ExportError(
                "label map has ids that are neither reachable classes nor sets",
                path=path,
                found=", ".join(map(str, ids)),
                hint="export the arm again",
            )
        return labels


@dataclass(frozen=True)
class Export:
    """An export folder, checked; see docs/export-format.md.

    `files` is the SHA-256 that the manifest gives each file, by its path below `folder`.
    """

    folder: Path
    arm: str
    index: ClassIndex
    train: tuple[Dataset, ...]
    tests: tuple[ZeroShotSet, ...]
    shared_sha256: str
    labels_sha256: str
    files: Mapping[str, str]

    @property
    def outputs(self) -> int:
        """Count the classes that the network tells apart."""
        return len(self.index.reachable)


def read_export(folder: Path) -> Export:
    """Read and check an export folder: format, version, completeness, lists, classes.

    Raises ExportError where the folder is no export, is not complete, or contradicts itself.
    """
    path = folder / "manifest.json"
    manifest = _read_manifest(path)
    files = {
        str(name): str(digest) for name, digest in _field(manifest, "files", dict, path).items()
    }
    missing = [name for name in files if not safe_join(folder, name).is_file()]
    if missing:
        raise ExportError(
            f"{len(missing)} files of the export are missing",
            path=folder,
            hint="export again, or copy the folder again",
            problems=missing,
        )
    return Export(
        folder=folder,
        arm=_field(manifest, "arm", str, path),
        index=_build_index(manifest, path),
        train=_read_datasets(manifest, folder),
        tests=_read_tests(manifest, folder),
        shared_sha256=_field(manifest, "shared_sha256", str, path),
        labels_sha256=_field(manifest, "labels_sha256", str, path),
        files=files,
    )


def check_files(export: Export) -> None:
    """Compare the SHA-256 of every label map, list and class table with the manifest's.

    Copied images are left to `mseg-curate verify`. Raises ExportError that lists what is missing,
    changed, or in a list and not in the manifest.
    """
    sets: list[Dataset | ZeroShotSet] = [*export.train, *export.tests]
    listed = (sample.label for dataset in sets for sample in dataset.samples)
    names = [path.relative_to(export.folder).as_posix() for path in listed]
    problems = [f"{name}: not in the manifest" for name in names if name not in export.files]
    hashed = {
        name: digest
        for name, digest in export.files.items()
        if PurePosixPath(name).parts[2:3] != ("images",)
    }
    problems += find_changed(export.folder, hashed)
    if problems:
        raise ExportError(
            f"{len(problems)} files are not what the manifest says",
            path=export.folder,
            hint="run mseg-curate verify",
            problems=problems,
        )


def check_tests(export: Export) -> None:
    """Raise ExportError unless there are test datasets and in each of them some class can score.

    A class can if one of its sources is reachable and a pixel of the label maps is of it. Label
    maps are read only until the first such pixel.
    """
    if not export.tests:
        raise ExportError(
            "the export has no test dataset",
            path=export.folder,
            hint="export one with --role test",
        )
    reachable = set(export.index.reachable)
    for test in export.tests:
        usable = [number for number, ids in enumerate(test.sources) if reachable & set(ids)]
        if not usable:
            raise ExportError(
                f"test dataset {test.name}: no class has a source among the reachable classes",
                path=export.folder,
                hint="map its classes to classes of the training datasets, or export without it",
            )
        if not any(np.isin(read_label(sample.label), usable).any() for sample in test.samples):
            raise ExportError(
                f"test dataset {test.name}: no pixel is of a class that can be predicted",
                path=export.folder,
                expected=", ".join(test.classes[number] for number in usable),
                hint="export a split that shows one, or export without it",
            )


def _read_manifest(path: Path) -> Mapping[str, object]:
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
    return manifest


def _field(table: Mapping[str, object], name: str, kind: type[T], path: Path) -> T:
    value = table.get(name)
    if not isinstance(value, kind):
        found = "nothing" if value is None else type(value).__name__
        raise ExportError("manifest", path=path, place=name, expected=kind.__name__, found=found)
    return value


def _rows(table: Mapping[str, object], name: str, path: Path) -> list[Mapping[str, object]]:
    rows = _field(table, name, list, path)
    if not all(isinstance(row, dict) for row in rows):
        raise ExportError("manifest", path=path, place=name, expected="a list of tables")
    return rows


def _ids(values: object, path: Path, place: str) -> tuple[int, ...]:
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise ExportError("manifest", path=path, place=place, expected="a list of ids")
    return tuple(values)


def _build_index(manifest: Mapping[str, object], path: Path) -> ClassIndex:
    classes = len(_field(manifest, "universal_classes", list, path))
    reachable = tuple(sorted(_ids(manifest.get("reachable"), path, "reachable")))
    largest = LARGEST_ID.get(_field(manifest, "label_dtype", str, path))
    if largest is None or manifest.get("ignore_label") != largest:
        raise ExportError(
            "label_dtype and ignore_label do not match",
            path=path,
            expected="uint8 with 255 or uint16 with 65535",
            found=f"{manifest.get('label_dtype')} with {manifest.get('ignore_label')}",
        )
    if not reachable or reachable[0] < 0 or reachable[-1] >= classes:
        raise ExportError("reachable ids", path=path, expected=f"some of 0 … {classes - 1}")
    unknown = np.iinfo(np.int16).max
    table = np.full(largest + 1, unknown, np.int16)
    table[list(reachable)] = np.arange(len(reachable))
    table[largest] = IGNORE
    sets: list[tuple[int, ...]] = []
    for row in _rows(manifest, "sets", path) if "sets" in manifest else []:
        number, members = _field(row, "id", int, path), _ids(row.get("classes"), path, "sets")
        if not members or not set(members) <= set(reachable) or not classes <= number < largest:
            raise ExportError(
                f"set {number} holds classes that are not reachable, or has no id of its own",
                path=path,
                found=str(list(members)),
            )
        table[number] = len(reachable) + len(sets)
        sets.append(tuple(int(table[member]) for member in members))
    return ClassIndex(reachable=reachable, sets=tuple(sets), table=table, unknown=unknown)


def _read_datasets(manifest: Mapping[str, object], folder: Path) -> tuple[Dataset, ...]:
    path = folder / "manifest.json"
    datasets = tuple(
        Dataset(name=_read_name(row, path), samples=_read_splits(row, "train", folder))
        for row in _rows(manifest, "train", path)
    )
    if not datasets:
        raise ExportError("the export has no training dataset", path=path, place="train")
    empty = [dataset.name for dataset in datasets if not dataset.samples]
    if empty:
        raise ExportError("training datasets without a sample", path=path, problems=empty)
    return datasets


def _read_tests(manifest: Mapping[str, object], folder: Path) -> tuple[ZeroShotSet, ...]:
    path = folder / "manifest.json"
    tests = []
    for row in _rows(manifest, "test", path):
        name = _read_name(row, path)
        classes = tuple(map(str, _field(row, "classes", list, path)))
        sources = tuple(
            _ids(ids, path, f"sources of {name}") for ids in _field(row, "sources", list, path)
        )
        if len(sources) != len(classes):
            raise ExportError(
                f"test dataset {name}: one list of sources per class",
                path=path,
                expected=str(len(classes)),
                found=str(len(sources)),
            )
        samples = _read_splits(row, "test", folder)
        tests.append(ZeroShotSet(name=name, samples=samples, classes=classes, sources=sources))
    return tuple(tests)


def _read_name(row: Mapping[str, object], path: Path) -> str:
    name = _field(row, "name", str, path)
    if not name or name != PurePosixPath(name).name:
        raise ExportError("dataset name is no plain name", path=path, found=repr(name))
    return name


def _read_splits(row: Mapping[str, object], role: str, folder: Path) -> tuple[Sample, ...]:
    path = folder / "manifest.json"
    # Copied images lie in the export itself; there the dataset needs no root of its own.
    root = folder / str(row.get("image_root") or ".")
    name = _read_name(row, path)
    samples: list[Sample] = []
    splits = _field(row, "splits", dict, path)
    if role == "train" and TRAIN_SPLIT in splits:
        # The other splits are what the dataset's own makers validate and test on.
        splits = {TRAIN_SPLIT: splits[TRAIN_SPLIT]}
    for split, entry in splits.items():
        if not isinstance(entry, dict):
            raise ExportError("manifest", path=path, place=f"splits of {name}", expected="tables")
        listed = safe_join(folder, _field(entry, "list", str, path))
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
            expected="image, label, height, width",
            found="\t".join(cells),
        )
    image, label, height, width = cells
    return Sample(
        image_id=label.removeprefix(prefix).removesuffix(".png"),
        image=safe_join(root, image),
        label=safe_join(folder, label),
        size_hw=(int(height), int(width)),
    )
