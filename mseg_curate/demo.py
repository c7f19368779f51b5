"""The embedded default: draw small datasets whose classes conflict, and run the whole loop on them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mseg_curate.baseline import Experiment, export_arms, run_baseline
from mseg_curate.check import check_store
from mseg_curate.decide import verify_decisions
from mseg_curate.errors import InputError, OutputError
from mseg_curate.ingest import add_dataset
from mseg_curate.initialise import create_store
from mseg_curate.manifest import verify_export
from mseg_curate.map_classes import import_mapping
from mseg_curate.preview import draw_preview
from mseg_curate.resolve import resolve_masks
from mseg_curate.scenes import DrawnDatasets, draw_datasets
from mseg_curate.simulate import simulate_annotators
from mseg_curate.store import Store
from mseg_curate.tasks import TaskOptions, make_task

__all__ = ["Demo", "run_demo"]

MARKER = ".mseg-curate-demo"
AUTHOR = "demo"
TASK = "vehicles"
ACCURACY = 0.9
ANNOTATORS = 3
SEEDS = (0, 1, 2, 3, 4)


@dataclass(frozen=True)
class Demo:
    """What the demo leaves behind."""

    store: Path
    experiment: Experiment
    seconds: float


def run_demo(
    out: Path, *, now: Callable[[], str], say: Callable[[str], None], jobs: int, seed: int = 0
) -> Demo:
    """Draw datasets, curate them with simulated annotators, train four arms, and compare them zero-shot.

    An earlier demo in `out` is replaced; any other folder that is not empty is refused with InputError.
    """
    began = time.monotonic()
    _clear(out)
    say(f"Drawing three datasets into {out}/datasets")
    drawn = draw_datasets(out / "datasets", seed=seed)
    store_path = out / "store.db"
    create_store(store_path, now=now())
    with Store.open(store_path) as store:
        _curate(store, drawn, now=now, say=say)
        say("Exporting four arms")
        exports = export_arms(store, out / "exports", now=now())
        for folder in exports.values():
            verify_export(folder)
        shown = draw_preview(exports, out / "preview.png", dataset=drawn.coarse.name)
        say(f"  {shown.path} shows what the arms make of the same images")
        say(f"Training {len(exports)} arms with {len(SEEDS)} seeds each; all else is shared")
        experiment = _measure(store, exports, out / "runs", jobs=jobs, now=now)
    return Demo(store_path, experiment, time.monotonic() - began)


def _clear(out: Path) -> None:
    """Empty the folder of an earlier demo; the marker stays, so that a stop half-way leaves a demo's folder."""
    marker = out / MARKER
    try:
        earlier = list(out.iterdir()) if out.exists() else []
        if earlier and not marker.exists():
            raise InputError(
                "the folder holds something else than an earlier demo",
                path=out,
                hint="choose a new folder with --out",
            )
        out.mkdir(parents=True, exist_ok=True)
        marker.touch()
        for path in earlier:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path != marker:
                path.unlink()
    except OSError as error:
        raise OutputError(f"{out}: cannot be cleared for a demo ({error.strerror})") from error


def _curate(
    store: Store, drawn: DrawnDatasets, *, now: Callable[[], str], say: Callable[[str], None]
) -> None:
    for dataset, role in ((drawn.finer, "train"), (drawn.coarse, "train"), (drawn.test, "test")):
        added = add_dataset(store, dataset.name, folder=dataset.folder, role=role, now=now())
        done = import_mapping(
            store, dataset.name, path=dataset.mapping, author=AUTHOR, note="drawn", now=now()
        )
        say(
            f"  {dataset.name}: {sum(added.images.values())} images, {added.classes} classes ({role})"
        )
        for note in done.default_notes:
            say(f"    {note}")
    made = make_task(
        store,
        TASK,
        dataset=drawn.coarse.name,
        source_class=drawn.split_class,
        options=TaskOptions(redundancy=ANNOTATORS, max_redundancy=ANNOTATORS),
        now=now(),
    )
    for note in check_store(store).notes:
        say(f"  note: {note}")
    say(f"Task {TASK}: {made.task.masks} masks; candidates {', '.join(made.task.candidates)}")
    votes = simulate_annotators(
        store, TASK, truth=drawn.truth, accuracy=ACCURACY, annotators=ANNOTATORS, now=now()
    )
    say(
        f"  {ANNOTATORS} simulated annotators, {ACCURACY:.0%} accurate: {votes.votes} decisions, "
        f"{votes.right / votes.votes:.1%} of them right"
    )
    resolved = resolve_masks(store)
    say(f"  {resolved.resolved} masks resolved, {resolved.contested} contested")
    verify_decisions(store)


def _measure(
    store: Store, exports: dict[str, Path], out: Path, *, jobs: int, now: Callable[[], str]
) -> Experiment:
    # Imported here: only training needs torch.
    from baselines.config import EVALUATIONS, PRESETS  # noqa: PLC0415
    from baselines.recipe import Recipe  # noqa: PLC0415

    recipe = Recipe(PRESETS["tiny"], EVALUATIONS["tiny"], SEEDS, jobs=jobs)
    return run_baseline(exports, out, recipe=recipe, store=store, now=now())
