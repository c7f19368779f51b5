"""Write an export: unified label maps, images by reference or copy, lists, and the manifest last.

The same inputs give the same bytes. A journal lets a stopped export go on; the manifest, written last, says that
it is complete. The folder is described in docs/export-format.md.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from mseg_curate.core.arms import Arm, ArmChoice, Unresolved
from mseg_curate.core.label_map import paint, remap
from mseg_curate.errors import ExportError, OutputError
from mseg_curate.export_plan import ExportPlan, PlannedDataset, PlannedPaint, plan_export
from mseg_curate.files import (
    canonical_json,
    copy_file_atomically,
    hold_folder,
    safe_join,
    sha256_of,
    write_bytes_atomically,
    write_text_atomically,
)
from mseg_curate.images import encode_label_png
from mseg_curate.ingest import label_map_of
from mseg_curate.manifest import MANIFEST, build_manifest, list_files, verify_export
from mseg_curate.progress import map_in_threads
from mseg_curate.store import Store
from mseg_curate.store.datasets import ImageRow
from mseg_curate.store.exports import save_export

__all__ = ["Export", "write_export"]

JOURNAL = ".journal.jsonl"
LOCK = ".lock"


@dataclass(frozen=True)
class Export:
    """What an export came to: label maps `written` now and `kept` from an earlier try, and pixels by their fate."""

    path: Path
    arm: str
    written: int
    kept: int
    counts: Mapping[str, int]
    manifest_sha256: str
    shared_sha256: str
    labels_sha256: str
    as_of_decision: int
    newer_decisions: int
    unbound_masks: int


@dataclass(frozen=True)
class _Job:
    """One label map to write: where it comes from, where it goes, and the masks to paint on it."""

    dataset: PlannedDataset
    image: ImageRow
    label_path: str
    image_path: str | None
    paints: tuple[PlannedPaint, ...] = ()


@dataclass(frozen=True)
class _Done:
    """One job after it: the files with their hashes, and pixel counts."""

    key: str
    files: Mapping[str, str]
    counts: Mapping[str, int] = field(default_factory=dict)


def write_export(
    store: Store,
    out: Path,
    *,
    arm: Arm | ArmChoice,
    now: str,
    unresolved: Unresolved = Unresolved.IGNORE,
    copy_images: bool = False,
    datasets: Sequence[str] = (),
) -> Export:
    """Write all datasets that have pixels (or those named) as one export in the universal taxonomy.

    An oracle, see `ArmChoice`, is of one test dataset in its own classes, in the same format.

    Only pixels that still carry the source class of a mask take its resolution. Run again after a stop, it goes on;
    run again after the end, it changes nothing. Raises MappingError for a class without a place, ExportError where
    `out` holds something else, OutputError on a full disk and while another process writes into `out`.
    """
    with store.reading() as connection:
        plan = plan_export(
            connection,
            choice=ArmChoice.of(arm),
            unresolved=unresolved,
            copy_images=copy_images,
            datasets=datasets,
        )
        manifest = _complete_manifest(out, plan)
        if manifest is None:
            plan.check_resolutions(connection)
    jobs = [job for dataset in plan.datasets for job in _jobs(dataset, copy_images=copy_images)]
    written = 0
    if manifest is None:
        with hold_folder(out, LOCK, since=now):
            manifest, written = _write_rest(store, out, plan, jobs)
    sha256 = sha256_of(out / MANIFEST)
    with store.writing() as connection:
        save_export(connection, path=str(out.resolve()), manifest=manifest, sha256=sha256, now=now)
    counts = manifest["counts"]
    return Export(
        out,
        plan.choice.name,
        written,
        len(jobs) - written,
        counts if isinstance(counts, dict) else {},
        sha256,
        str(manifest["shared_sha256"]),
        str(manifest["labels_sha256"]),
        plan.as_of_decision,
        plan.newer_decisions,
        plan.unbound_masks,
    )


def _write_rest(
    store: Store, out: Path, plan: ExportPlan, jobs: Sequence[_Job]
) -> tuple[dict[str, object], int]:
    """Write what is not there yet; returns the manifest, and how many label maps were written now."""
    # Another process may have written all of it until it let go of the folder.
    complete = _complete_manifest(out, plan)
    if complete is not None:
        return complete, 0
    done = _start(out, plan)
    missing = [job for job in jobs if job.label_path not in done]
    done |= _write_all(store, out, plan, missing)
    return _finish(out, plan, [done[job.label_path] for job in jobs]), len(missing)


def _complete_manifest(out: Path, plan: ExportPlan) -> dict[str, object] | None:
    """Return the manifest where `out` holds this very export, complete; None where it is to be written."""
    if out.exists() and not out.is_dir():
        raise ExportError("is a file", path=out, expected="a new or empty folder")
    if not (out / MANIFEST).exists():
        return None
    try:
        manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        manifest = None
    if isinstance(manifest, dict) and manifest.get("plan_sha256") == plan.sha256:
        # A kill after the manifest was written leaves these.
        for left in (out / JOURNAL, out / LOCK):
            left.unlink(missing_ok=True)
        verify_export(out)
        return manifest
    raise ExportError(
        "holds an export of other inputs or options",
        path=out,
        hint="choose a new folder with --out, or remove this one",
    )


def _start(out: Path, plan: ExportPlan) -> dict[str, _Done]:
    """Begin the journal, or read what an earlier try of the same export has done."""
    journal = out / JOURNAL
    begun = canonical_json({"plan_sha256": plan.sha256})
    head, *lines = _whole_lines(journal) or [""]
    if not head:
        if out.exists() and any(path.name not in (JOURNAL, LOCK) for path in out.iterdir()):
            raise ExportError(
                "the folder is not empty and holds no unfinished export",
                path=out,
                hint="choose a new folder with --out",
            )
        journal.unlink(missing_ok=True)
        _append_line(journal, begun)
        return {}
    if head != begun:
        raise ExportError(
            "holds an unfinished export of other inputs or options",
            path=out,
            hint="choose a new folder with --out, or remove this one",
        )
    for part in out.rglob(".*.part"):
        part.unlink()
    entries = [_journal_entry(line) for line in lines]
    done = {
        entry.key: entry
        for entry in entries
        if entry is not None
        and all((out / f).is_file() and sha256_of(out / f) == h for f, h in entry.files.items())
    }
    # Written anew, since a stop can leave a last line without its end, which would swallow the next.
    kept = "".join(canonical_json(asdict(entry)) + "\n" for entry in done.values())
    write_text_atomically(journal, f"{head}\n{kept}")
    return done


def _whole_lines(journal: Path) -> list[str]:
    """Read the lines of the journal that have their end; none where there is no journal."""
    if not journal.exists():
        return []
    return journal.read_bytes().decode("utf-8", errors="replace").split("\n")[:-1]


def _journal_entry(line: str) -> _Done | None:
    """Read a line of the journal; None for one that was cut off when the earlier try was killed."""
    try:
        return _Done(**json.loads(line))
    except (ValueError, TypeError):
        return None


def _jobs(dataset: PlannedDataset, *, copy_images: bool) -> Iterator[_Job]:
    base = f"{dataset.role}/{dataset.row.name}"
    for image in dataset.images:
        key = f"{image.split}/{image.key}"
        suffix = Path(image.image_file).suffix
        copied = f"{base}/images/{key}{suffix}" if copy_images else None
        yield _Job(dataset, image, f"{base}/labels/{key}.png", copied)


def _write_all(store: Store, out: Path, plan: ExportPlan, jobs: Sequence[_Job]) -> dict[str, _Done]:
    done = {}
    with store.reading() as connection:

        def with_paints() -> Iterator[_Job]:
            for job in jobs:
                paints = tuple(plan.paints(connection, job.dataset, job.image))
                yield _Job(job.dataset, job.image, job.label_path, job.image_path, paints)

        results = map_in_threads(
            lambda job: _write(job, out, plan),
            with_paints(),
            total=len(jobs),
            what=f"exporting {plan.choice.name}",
        )
        for result in results:
            _append_line(out / JOURNAL, canonical_json(asdict(result)))
            done[result.key] = result
    return done


def _append_line(path: Path, line: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error


def _write(job: _Job, out: Path, plan: ExportPlan) -> _Done:
    dataset = job.dataset
    source = label_map_of(dataset.row, job.image, dataset.colours)
    label_map = remap(source, dataset.table)
    counts: Counter[str] = Counter()
    for planned in job.paints:
        box = planned.mask.box
        painted = paint(
            label_map,
            source,
            mask=planned.mask.crop(),
            top_left=(box.top, box.left),
            source_id=planned.source_id,
            value=planned.value,
        )
        counts[f"{planned.kind}_px"] += painted
    if dataset.role == "train":
        counts["train_px"] = label_map.size
        counts["train_ignored_px"] = int(np.count_nonzero(label_map == plan.space.ignore_label))
    target = safe_join(out, job.label_path)
    files = {job.label_path: write_bytes_atomically(target, encode_label_png(label_map))}
    if job.image_path is not None:
        files[job.image_path] = _copy_image(job, out, job.image_path)
    return _Done(job.label_path, files, dict(counts))


def _copy_image(job: _Job, out: Path, path: str) -> str:
    if job.dataset.row.root is None:
        raise ExportError(f"dataset {job.dataset.row.name} has no folder", path=out)
    source, target = safe_join(job.dataset.row.root, job.image.image_file), safe_join(out, path)
    digest = copy_file_atomically(source, target)
    if digest != job.image.image_sha256:
        target.unlink()
        raise ExportError(
            "photo was changed since its dataset was added",
            path=source,
            hint="restore it, or add the changed folder under another name",
        )
    return digest


def _finish(out: Path, plan: ExportPlan, done: Sequence[_Done]) -> dict[str, object]:
    """Write lists and class tables, then the manifest; only then is the export complete."""
    files: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for result in done:
        files |= result.files
        counts.update(result.counts)
    for path, text in list_files(plan).items():
        files[path] = write_text_atomically(safe_join(out, path), text)
    manifest = build_manifest(plan, files=files, counts=counts)
    write_text_atomically(out / MANIFEST, canonical_json(manifest, indent=1) + "\n")
    # Who asks for the same export at this moment finds it complete, and removes the journal too.
    (out / JOURNAL).unlink(missing_ok=True)
    return manifest
