"""The manifest of an export: built from its plan, and checked against the files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mseg_curate import __version__
from mseg_curate.core.mapping import format_mapping
from mseg_curate.errors import ExportError
from mseg_curate.export_plan import (
    FORMAT_VERSION,
    ExportPlan,
    PlannedDataset,
    sources_of_test_classes,
)
from mseg_curate.files import canonical_json, find_changed, hash_manifest, sha256_of_text

__all__ = [
    "MANIFEST",
    "VerifiedExport",
    "build_manifest",
    "list_files",
    "read_manifest",
    "verify_export",
]

MANIFEST = "manifest.json"
FORMAT = "mseg-curate export"
_READ_FIELDS = ("arm", "files", "shared_sha256", "labels_sha256")


@dataclass(frozen=True)
class VerifiedExport:
    """A complete export: every file is there with the bytes that the manifest states."""

    path: Path
    arm: str
    files: int
    shared_sha256: str
    labels_sha256: str


def list_files(plan: ExportPlan) -> dict[str, str]:
    """Return the text files of an export by their path: class tables, sets, and the list of each split."""
    names = plan.space.names
    texts = {"classes.tsv": _table(("id", "name"), list(enumerate(names)))}
    if plan.has_sets:
        rows = [
            (len(names) + i, "{" + ", ".join(names[u] for u in members) + "}")
            for i, members in enumerate(plan.space.sets)
        ]
        texts["sets.tsv"] = _table(("id", "classes"), rows)
    for dataset in plan.datasets:
        base = f"{dataset.role}/{dataset.row.name}"
        for split in dataset.splits:
            texts[f"{base}/{split}.tsv"] = _split_list(plan, dataset, split)
        if dataset.role == "test":
            texts[f"{base}/classes.tsv"] = _test_classes(plan, dataset)
    return texts


def _split_list(plan: ExportPlan, dataset: PlannedDataset, split: str) -> str:
    base = f"{dataset.role}/{dataset.row.name}"
    rows = []
    for image in dataset.splits[split]:
        key = f"{split}/{image.key}"
        copied = f"{base}/images/{key}{PurePosixPath(image.image_file).suffix}"
        file = copied if plan.copy_images else image.image_file
        label = f"{base}/labels/{key}.png"
        rows.append((file, label, *image.size_hw, image.image_sha256))
    return _table(("image", "label", "height", "width", "image_sha256"), rows)


def _test_classes(plan: ExportPlan, dataset: PlannedDataset) -> str:
    sources = sources_of_test_classes(plan, dataset)
    rows = [
        (index, class_id, name, "{" + ", ".join(plan.space.names[u] for u in sources[index]) + "}")
        for index, (class_id, name) in enumerate(dataset.row.classes)
    ]
    return _table(("index", "id", "name", "universal"), rows)


def _table(header: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> str:
    return "".join("\t".join(map(str, row)) + "\n" for row in (header, *rows))


def build_manifest(
    plan: ExportPlan, *, files: Mapping[str, str], counts: Mapping[str, int]
) -> dict[str, object]:
    """Return the manifest of a finished export; `files` maps each path to its SHA-256."""
    sets = [
        {"id": len(plan.space.names) + i, "classes": list(members)}
        for i, members in enumerate(plan.space.sets if plan.has_sets else ())
    ]
    train_labels = {
        path: digest
        for path, digest in files.items()
        if path.startswith("train/") and path.endswith(".png") and "/labels/" in path
    }
    manifest: dict[str, object] = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "tool_version": __version__,
        "arm": plan.choice.name,
        "label_dtype": "uint16" if plan.space.is_wide else "uint8",
        "ignore_label": plan.space.ignore_label,
        "universal_classes": list(plan.space.names),
        "reachable": list(plan.reachable),
        "sets": sets,
        "train": [_train_entry(plan, d) for d in plan.by_role["train"]],
        "test": [_test_entry(plan, d) for d in plan.by_role["test"]],
        "tasks": _task_entries(plan),
        "provenance": plan.provenance,
        "counts": dict(sorted(counts.items())),
        "plan_sha256": plan.sha256,
        "shared_sha256": _shared_sha256(plan),
        "labels_sha256": sha256_of_text(canonical_json({"labels": train_labels, "sets": sets})),
        "files": dict(sorted(files.items())),
    }
    return {**manifest, "manifest_sha256": hash_manifest(manifest)}


def _dataset_entry(plan: ExportPlan, dataset: PlannedDataset) -> dict[str, object]:
    base = f"{dataset.role}/{dataset.row.name}"
    return {
        "name": dataset.row.name,
        "image_root": None if plan.copy_images else str(dataset.row.root),
        "splits": {
            split: {"list": f"{base}/{split}.tsv", "images": len(images)}
            for split, images in dataset.splits.items()
        },
    }


def _train_entry(plan: ExportPlan, dataset: PlannedDataset) -> dict[str, object]:
    reachable = sorted(plan.space.id_of(name) for name in dataset.mapping.reachable())
    return {**_dataset_entry(plan, dataset), "reachable": reachable}


def _task_entries(plan: ExportPlan) -> list[dict[str, object]]:
    return [
        {
            "name": split.name,
            "dataset": split.dataset,
            "class": split.entry.source,
            "candidates": sorted(plan.space.id_of(name) for name in split.entry.candidates),
        }
        for split in plan.split_classes
    ]


def _test_entry(plan: ExportPlan, dataset: PlannedDataset) -> dict[str, object]:
    return {
        **_dataset_entry(plan, dataset),
        "classes": list(dataset.row.class_names),
        "sources": sources_of_test_classes(plan, dataset),
    }


def _shared_sha256(plan: ExportPlan) -> str:
    """Hash what the arms of one experiment have in common: all but the training labels and their sets."""
    return sha256_of_text(
        canonical_json(
            {
                "universal_classes": list(plan.space.names),
                "reachable": list(plan.reachable),
                "train": [
                    [
                        d.row.name,
                        format_mapping(d.mapping),
                        [[i.split, i.key, i.image_sha256] for i in d.images],
                    ]
                    for d in plan.by_role["train"]
                ],
                "test": [
                    [
                        d.row.name,
                        list(d.row.class_names),
                        sources_of_test_classes(plan, d),
                        [[i.split, i.key, i.image_sha256, i.label_sha256] for i in d.images],
                    ]
                    for d in plan.by_role["test"]
                ],
            }
        )
    )


def read_manifest(folder: Path) -> dict[str, object]:
    """Read the manifest of a complete export; raises ExportError where the folder is none."""
    path = folder / MANIFEST
    if not folder.is_dir():
        raise ExportError("no such folder", path=folder)
    if not path.exists():
        unfinished = (folder / ".journal.jsonl").exists()
        raise ExportError(
            "an export that was not finished" if unfinished else "not an export",
            path=folder,
            expected=MANIFEST,
            found="none",
            hint="run the same `mseg-curate export` again to finish it"
            if unfinished
            else "make one with `mseg-curate export`",
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"damaged manifest ({error})", path=path) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ExportError(
            "not a manifest of an export", path=path, expected=f'"format": "{FORMAT}"'
        )
    if manifest.get("version") != FORMAT_VERSION:
        raise ExportError(
            "export of another format version",
            path=path,
            expected=str(FORMAT_VERSION),
            found=str(manifest.get("version")),
        )
    missing = [name for name in _READ_FIELDS if name not in manifest]
    if missing:
        raise ExportError("damaged manifest", path=path, expected=", ".join(missing), found="none")
    return manifest


def verify_export(folder: Path) -> VerifiedExport:
    """Check that an export is complete and every file of it has the bytes that the manifest states.

    Raises ExportError that lists every file that is missing, changed or was added.
    """
    manifest = read_manifest(folder)
    files = manifest["files"]
    if not isinstance(files, dict):
        raise ExportError("damaged manifest: no list of files", path=folder / MANIFEST)
    if manifest.get("manifest_sha256") != hash_manifest(manifest):
        raise ExportError(
            "the manifest was changed",
            path=folder / MANIFEST,
            hint="export again into a new folder",
        )
    problems = find_changed(folder, files)
    present = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    problems += [
        f"{path}: not part of the export" for path in sorted(present - files.keys() - {MANIFEST})
    ]
    if problems:
        raise ExportError(
            f"{len(problems)} of {len(files)} files differ from the manifest",
            path=folder,
            problems=problems,
            hint="export again into a new folder",
        )
    return VerifiedExport(
        folder,
        str(manifest["arm"]),
        len(files),
        str(manifest["shared_sha256"]),
        str(manifest["labels_sha256"]),
    )
