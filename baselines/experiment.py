"""An experiment: every entry with every seed; of arms everything but the labels is shared and proved equal."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from baselines.auto import describe, settle
from baselines.config import EvalConfig, TrainConfig
from baselines.data import weigh_datasets
from baselines.distributed import World, agree, join_world
from baselines.exports import Export, check_files, check_tests, read_export, select_datasets
from baselines.networks import build_network, check_weights
from baselines.results import RunResult, load_results, read_result
from baselines.runs import PREDICTIONS, Run, carry_out, is_done
from baselines.stopping import stop_on_signals
from baselines.train import choose_device
from baselines.workers import show_progress, spread
from mseg_curate.core.arms import ORACLE, WITHOUT, Arm
from mseg_curate.errors import ExportError, InputError

__all__ = ["Entry", "load_results", "run_entries", "run_experiment"]

log = logging.getLogger(__name__)

ENTRY_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Entry:
    """What is trained with every seed and how it is measured; `name` is that of its folder and its results.

    Of the export only `datasets` are trained on, all of them where none is named. Where the training datasets'
    other splits are evaluated too, their true labels come from the export `truth_dir`, or from its own. The file of
    `config.weights` must have `weights_sha256`, where one is given.
    """

    name: str
    export_dir: Path
    config: TrainConfig
    evaluation: EvalConfig
    datasets: tuple[str, ...] = ()
    truth_dir: Path | None = None
    weights_sha256: str | None = None


def run_experiment(
    exports: Mapping[str, Path],
    out: Path,
    *,
    config: TrainConfig,
    evaluation: EvalConfig,
    seeds: Sequence[int],
    reference: str = "",
    device: str = "auto",
    jobs: int = 1,
    progress: bool = True,
    weights_sha256: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[RunResult]:
    """Train and evaluate every (seed, arm) into out/<arm>/seed-<n>; return results in that order.

    `exports` maps arms to export folders, which must share everything but their training labels. Arms of a seed
    share initial weights, sampling order and augmentation. The rest is as in `run_entries`; the true labels of the
    training datasets' other splits are those of the arm `reference`, else of the first one.
    """
    truth = exports.get(reference, next(iter(exports.values()), None))
    entries = [
        Entry(arm, folder, config, evaluation, truth_dir=truth, weights_sha256=weights_sha256)
        for arm, folder in exports.items()
    ]
    return run_entries(
        entries,
        out,
        seeds=seeds,
        device=device,
        jobs=jobs,
        progress=progress,
        arms=True,
        say=say,
    )


def run_entries(
    entries: Sequence[Entry],
    out: Path,
    *,
    seeds: Sequence[int],
    device: str = "auto",
    jobs: int = 1,
    progress: bool = True,
    arms: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> list[RunResult]:
    """Train and evaluate every (seed, entry) into out/<name>/seed-<n>; return results in that order.

    Finished runs are taken up, begun ones go on from their checkpoint. With `jobs` > 1 runs are spread over
    processes that share the cores. Under torchrun all processes carry out the same runs together, the first one
    writes, and the others return nothing. `arms` says that the entries' exports must share everything but their
    training labels. `say` is told what `auto` chose and where weights come from.

    Raises ExportError, before anything is trained, where exports do not belong together, files are
    not what their manifest says or a test dataset cannot score; TrainingError where a run in `out` is of
    another configuration or a run fails, TrainingStoppedError after SIGINT or SIGTERM.
    """
    place = choose_device(device)
    with join_world(place) as world:
        if world.size > 1 and jobs != 1:
            raise InputError("jobs of processes that train together", expected="1", found=str(jobs))
        runs = _plan(entries, out, seeds=seeds, device=place, arms=arms)
        waiting = _find_waiting(runs, world)
        if world.is_first:
            _announce(waiting, say)
            _miss_predictions([run for run in runs if run not in waiting], say)
        with (
            stop_on_signals() as stop,
            show_progress(waiting, progress and world.is_first) as advance,
        ):
            if jobs > 1 and len(waiting) > 1:
                spread(waiting, jobs=jobs, stop=stop, advance=advance)
            else:
                for run in waiting:
                    carry_out(run, world=world, stop=stop, advance=partial(advance, run))
        return [read_result(run.run_dir) for run in runs] if world.is_first else []


def _find_waiting(runs: Sequence[Run], world: World) -> list[Run]:
    """Return the runs that are not done; the first process looks for all, on its own disk."""
    return [run for run in runs if not agree(world.is_first and is_done(run), world)]


def _announce(waiting: Sequence[Run], say: Callable[[str], None]) -> None:
    """Tell once what each network starts from and what `auto` chose; weights that do not fit are refused here."""
    random = dict.fromkeys(run.config.backbone for run in waiting if run.config.weights is None)
    for backbone in random:
        log.warning("%s starts from RANDOM weights: no weights were given", backbone)
    given = [(run.config, run.export_dir) for run in waiting if run.config.weights is not None]
    for config, export_dir in dict(given).items():
        network = build_network(config, classes=read_export(export_dir).outputs, seed=0)
        say(f"{network.title}: {network.start.describe()}")
    for choices in dict.fromkeys(run.choices for run in waiting if run.choices):
        say(choices)


def _miss_predictions(finished: Sequence[Run], say: Callable[[str], None]) -> None:
    """Tell where predictions are asked for of runs that were finished without."""
    missing = [
        str(run.run_dir)
        for run in finished
        if run.evaluation.predictions and not (run.run_dir / PREDICTIONS).is_dir()
    ]
    if missing:
        say(
            f"finished without predicted label maps: {', '.join(missing)}; "
            "`mseg-curate evaluate --predictions` writes them"
        )


def _plan(
    entries: Sequence[Entry], out: Path, *, seeds: Sequence[int], device: str, arms: bool
) -> list[Run]:
    """Check everything that can be checked before the first step, and list the runs."""
    _check_names(entries, seeds)
    opened = {
        folder: read_export(folder)
        for folder in dict.fromkeys(
            folder
            for entry in entries
            for folder in (entry.export_dir, entry.truth_dir)
            if folder is not None
        )
    }
    if arms:
        _check_shared([opened[entry.export_dir] for entry in entries])
    _check_kinds(entries, opened)
    trained = {
        entry.name: _select(opened[entry.export_dir], entry.datasets).train for entry in entries
    }
    for entry in entries:
        names = [dataset.name for dataset in trained[entry.name]]
        weigh_datasets(entry.config.dataset_weights, names, [1] * len(names))
    for export in opened.values():
        check_files(export)
        check_tests(export)
    weights = {
        path: check_weights(path, sha256=sha256)
        for path, sha256 in dict.fromkeys((e.config.weights, e.weights_sha256) for e in entries)
        if path is not None
    }
    settled = {entry.config: settle(entry.config, device=device) for entry in entries}
    return [
        Run(
            arm=entry.name,
            seed=seed,
            export_dir=entry.export_dir,
            run_dir=out / entry.name / f"seed-{seed}",
            config=settled[entry.config],
            evaluation=entry.evaluation,
            device=device,
            datasets=tuple(dataset.name for dataset in trained[entry.name]),
            truth_dir=entry.truth_dir,
            shared_sha256=opened[entry.export_dir].shared_sha256,
            labels_sha256=opened[entry.export_dir].labels_sha256,
            truth_sha256=opened[entry.truth_dir or entry.export_dir].labels_sha256,
            weights_sha256=weights[entry.config.weights] if entry.config.weights else None,
            choices=describe(entry.config, settled[entry.config]),
        )
        for seed in seeds
        for entry in entries
    ]


def _select(export: Export, datasets: Sequence[str]) -> Export:
    return select_datasets(export, datasets) if datasets else export


def _check_names(entries: Sequence[Entry], seeds: Sequence[int]) -> None:
    if not entries or not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise InputError(
            "an experiment needs arms and seeds",
            expected="an export per arm and different seeds of at least 0",
            found=f"{len(entries)} arms, seeds {list(seeds)}",
        )
    names = [entry.name for entry in entries]
    for name in names:
        if not ENTRY_NAME.fullmatch(name):
            raise InputError("arm names a folder", expected="letters, digits, . _ -", found=name)
    if len(set(names)) < len(names):
        raise InputError("an experiment needs different names", found=", ".join(names))


def _check_shared(exports: Iterable[Export]) -> None:
    """Raise ExportError unless all arms share everything but the training labels."""
    first, *others = exports
    for other in others:
        if other.shared_sha256 != first.shared_sha256:
            raise ExportError(
                f"arms do not belong to one experiment: {first.folder} and {other.folder} differ "
                "in more than the training labels",
                expected=f"equal shared_sha256 ({first.shared_sha256})",
                found=other.shared_sha256,
                hint="export all arms from the same store with the same datasets",
            )
        ours, theirs = _list_tests(first), _list_tests(other)
        changed = sorted(name for name, _ in ours.items() ^ theirs.items())
        if changed:
            raise ExportError(
                f"arms are not tested alike: files of {first.folder} and {other.folder} differ",
                hint="export all arms from the same store with the same datasets",
                problems=list(dict.fromkeys(changed)),
            )


def _list_tests(export: Export) -> dict[str, str]:
    """Return the SHA-256 of the test datasets' label maps and tables."""
    return {name: digest for name, digest in export.files.items() if name.startswith("test/")}


def _check_kinds(entries: Iterable[Entry], opened: Mapping[Path, Export]) -> None:
    """Raise ExportError for an export under the name of another arm: verdicts go by the names of arms."""
    for entry in entries:
        arm = opened[entry.export_dir].arm
        speaks = entry.name in tuple(Arm) or entry.name.startswith((WITHOUT, ORACLE))
        if speaks and arm != entry.name:
            raise ExportError(
                "export of another arm than its name says",
                path=entry.export_dir,
                expected=entry.name,
                found=arm,
                hint=f"name it {arm}, or with a word of your own such as {entry.name}-2",
            )
