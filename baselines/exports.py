"""Reading of an export folder: the manifest, the lists, and the classes that a network can learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
import numpy.typing as npt

from baselines.lists import (
    Sample,
    read_field,
    read_ids,
    read_manifest,
    read_name,
    read_rows,
    read_splits,
    split_names,
)
from mseg_curate.errors import ExportError, InputError
from mseg_curate.files import find_changed, safe_join
from mseg_curate.images import read_label

__all__ = [
    "IGNORE",
    "ClassIndex",
    "Dataset",
    "Export",
    "Sample",
    "SplitClass",
    "ZeroShotSet",
    "check_files",
    "check_tests",
    "index_all",
    "read_export",
    "select_datasets",
]

TRAIN_SPLIT: Final = "train"
LARGEST_ID: Final = {"uint8": 255, "uint16": 65535}
IGNORE: Final = -1  # in compact labels; the export's own ignore label may be 255 or 65535


@dataclass(frozen=True)
class Dataset:
    """One training dataset: the samples to train on, in the order of the lists."""

    name: str
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class ZeroShotSet:
    """One test dataset: `sources[k]` are the universal ids that feed test class k.

    Its label maps hold k for class k and 255 where nothing counts, unless `label_ids` gives the id of
    each class; `ignored_ids` are then the ids that count nowhere.
    """

    name: str
    samples: tuple[Sample, ...]
    classes: tuple[str, ...]
    sources: tuple[tuple[int, ...], ...]
    label_ids: tuple[int, ...] = ()
    ignored_ids: tuple[int, ...] = (255,)


@dataclass(frozen=True)
class SplitClass:
    """A class with the relation split: `source` of `dataset` becomes one of the universal `candidates`.

    `name` is that of its task, else DATASET/CLASS.
    """

    name: str
    dataset: str
    source: str
    candidates: tuple[int, ...]


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

    `files` is the SHA-256 that the manifest gives each file, by its path below `folder`. `validation`
    are the training datasets that have other splits than `train`: those splits, in the universal classes
    that the dataset can have. `tasks` are the classes that must be split.
    """

    folder: Path
    arm: str
    index: ClassIndex
    train: tuple[Dataset, ...]
    tests: tuple[ZeroShotSet, ...]
    shared_sha256: str
    labels_sha256: str
    files: Mapping[str, str]
    universal_names: tuple[str, ...] = ()
    tasks: tuple[SplitClass, ...] = ()
    validation: tuple[ZeroShotSet, ...] = ()

    @property
    def outputs(self) -> int:
        """Count the classes that the network tells apart."""
        return len(self.index.reachable)


def read_export(folder: Path) -> Export:
    """Read and check an export folder: format, version, completeness, lists, classes.

    Raises ExportError where the folder is no export, is not complete, or contradicts itself.
    """
    path = folder / "manifest.json"
    manifest = read_manifest(path)
    files = {
        str(name): str(digest) for name, digest in read_field(manifest, "files", dict, path).items()
    }
    missing = [name for name in files if not safe_join(folder, name).is_file()]
    if missing:
        raise ExportError(
            f"{len(missing)} files of the export are missing",
            path=folder,
            hint="export again, or copy the folder again",
            problems=missing,
        )
    index = _build_index(manifest, path)
    return Export(
        folder=folder,
        arm=read_field(manifest, "arm", str, path),
        index=index,
        train=_read_datasets(manifest, folder),
        tests=_read_tests(manifest, folder),
        shared_sha256=read_field(manifest, "shared_sha256", str, path),
        labels_sha256=read_field(manifest, "labels_sha256", str, path),
        files=files,
        universal_names=tuple(map(str, read_field(manifest, "universal_classes", list, path))),
        tasks=_read_tasks(manifest, path),
        validation=_read_validation(manifest, folder, index),
    )


def select_datasets(export: Export, names: Sequence[str]) -> Export:
    """Train on the named datasets alone; outputs, tests and validation stay those of the whole export.

    Raises InputError for no name, a name twice, or one that is no training dataset.
    """
    known = {dataset.name: dataset for dataset in export.train}
    if not names or len(set(names)) < len(names) or not set(names) <= known.keys():
        raise InputError(
            "datasets to train on",
            path=export.folder,
            expected=f"different ones of {', '.join(known)}",
            found=", ".join(names) or "none",
        )
    chosen = tuple(dataset for name, dataset in known.items() if name in names)
    return replace(export, train=chosen)


def index_all(export: Export) -> ClassIndex:
    """Return the index of a network whose outputs are all universal classes, in the taxonomy's order."""
    outputs = len(export.universal_names)
    table = np.full(len(export.index.table), export.index.unknown, np.int16)
    table[:outputs] = np.arange(outputs)
    table[-1] = IGNORE
    return ClassIndex(tuple(range(outputs)), sets=(), table=table, unknown=export.index.unknown)


def check_files(export: Export) -> None:
    """Compare the SHA-256 of every label map, list and class table with the manifest's.

    Copied images are left to `mseg-curate verify`. Raises ExportError that lists what is missing,
    changed, or in a list and not in the manifest.
    """
    sets: list[Dataset | ZeroShotSet] = [*export.train, *export.tests, *export.validation]
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


def _build_index(manifest: Mapping[str, object], path: Path) -> ClassIndex:
    classes = len(read_field(manifest, "universal_classes", list, path))
    reachable = tuple(sorted(read_ids(manifest.get("reachable"), path, "reachable")))
    largest = LARGEST_ID.get(read_field(manifest, "label_dtype", str, path))
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
    for row in read_rows(manifest, "sets", path) if "sets" in manifest else []:
        number, members = (
            read_field(row, "id", int, path),
            read_ids(row.get("classes"), path, "sets"),
        )
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
    datasets = []
    for row in read_rows(manifest, "train", path):
        names = split_names(row, path)
        # The other splits are what the dataset's own makers validate and test on.
        trained = (TRAIN_SPLIT,) if TRAIN_SPLIT in names else names
        samples = read_splits(row, "train", folder, names=trained)
        datasets.append(Dataset(name=read_name(row, path), samples=samples))
    if not datasets:
        raise ExportError("the export has no training dataset", path=path, place="train")
    empty = [dataset.name for dataset in datasets if not dataset.samples]
    if empty:
        raise ExportError("training datasets without a sample", path=path, problems=empty)
    return tuple(datasets)


def _read_tests(manifest: Mapping[str, object], folder: Path) -> tuple[ZeroShotSet, ...]:
    path = folder / "manifest.json"
    tests = []
    for row in read_rows(manifest, "test", path):
        name = read_name(row, path)
        classes = tuple(map(str, read_field(row, "classes", list, path)))
        sources = tuple(
            read_ids(ids, path, f"sources of {name}")
            for ids in read_field(row, "sources", list, path)
        )
        if len(sources) != len(classes):
            raise ExportError(
                f"test dataset {name}: one list of sources per class",
                path=path,
                expected=str(len(classes)),
                found=str(len(sources)),
            )
        names = split_names(row, path)
        # An oracle trains on the split `train`; nothing is measured where something is trained on.
        tested = [split for split in names if split != TRAIN_SPLIT] or names
        samples = read_splits(row, "test", folder, names=tested)
        tests.append(ZeroShotSet(name=name, samples=samples, classes=classes, sources=sources))
    return tuple(tests)


def _read_tasks(manifest: Mapping[str, object], path: Path) -> tuple[SplitClass, ...]:
    rows = read_rows(manifest, "tasks", path) if "tasks" in manifest else []
    return tuple(
        SplitClass(
            name=read_field(row, "name", str, path),
            dataset=read_field(row, "dataset", str, path),
            source=read_field(row, "class", str, path),
            candidates=read_ids(row.get("candidates"), path, "candidates of tasks"),
        )
        for row in rows
    )


def _read_validation(
    manifest: Mapping[str, object], folder: Path, index: ClassIndex
) -> tuple[ZeroShotSet, ...]:
    """Return the training datasets' other splits in the universal classes that each can have.

    MSeg evaluates so on its training datasets: truth in the universal taxonomy, classes that the dataset
    does not have are not predicted. A pixel of a set is of no one class and counts nowhere.
    """
    path = folder / "manifest.json"
    universal = tuple(map(str, read_field(manifest, "universal_classes", list, path)))
    sets = tuple(int(number) for number in np.flatnonzero(index.table >= len(index.reachable)))
    unknown = {int(number) for number in np.flatnonzero(index.table == index.unknown)}
    ignored = (len(index.table) - 1, *(number for number in sets if number not in unknown))
    found = []
    for row in read_rows(manifest, "train", path):
        names = split_names(row, path)
        others = [split for split in names if split != TRAIN_SPLIT]
        if TRAIN_SPLIT not in names or not others:
            continue
        name = read_name(row, path)
        place = f"reachable of {name}"
        ids = read_ids(row["reachable"], path, place) if "reachable" in row else index.reachable
        if not set(ids) <= set(index.reachable):
            raise ExportError("manifest", path=path, place=place, expected="reachable ids")
        samples = read_splits(row, "train", folder, names=others)
        found.append(
            ZeroShotSet(
                name=name,
                samples=samples,
                classes=tuple(universal[number] for number in sorted(ids)),
                sources=tuple((number,) for number in sorted(ids)),
                label_ids=tuple(sorted(ids)),
                ignored_ids=ignored,
            )
        )
    return tuple(found)
