"""An experiment: every arm with every seed, everything but the labels shared and proved equal."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from baselines.config import EvalConfig, TrainConfig
from baselines.exports import Export, check_files, check_tests, read_export
from baselines.results import RunResult, load_results, read_result
from baselines.runs import Run, carry_out, is_done
from baselines.stopping import stop_on_signals
from baselines.train import choose_device
from baselines.workers import show_progress, spread
from mseg_curate.errors import ExportError, InputError, TrainingError
from mseg_curate.files import sha256_of

__all__ = ["load_results", "run_experiment"]

log = logging.getLogger(__name__)

ARM_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def run_experiment(
    exports: Mapping[str, Path],
    out: Path,
    *,
    config: TrainConfig,
    evaluation: EvalConfig,
    seeds: Sequence[int],
    device: str = "auto",
    jobs: int = 1,
    progress: bool = True,
) -> list[RunResult]:
    """Train and evaluate every (seed, arm) into out/<arm>/seed-<n>; return results in that order.

    `exports` maps arms to export folders. Arms of a seed share initial weights, sampling order and
    augmentation. Finished runs are taken up, begun ones go on from their checkpoint. With
    `jobs` > 1 runs are spread over processes that share the cores.

    Raises ExportError, before anything is trained, where exports do not belong together, files are
    not what their manifest says or a test dataset cannot score; TrainingError where a run in `out` is of
    another configuration or a run fails, TrainingStoppedError after SIGINT or SIGTERM.
    """
    runs = _plan(exports, out, config=config, evaluation=evaluation, seeds=seeds, device=device)
    waiting = [run for run in runs if not is_done(run)]
    if waiting and config.weights is None:
        log.warning("%s starts from RANDOM weights: no weights were given", config.backbone)
    with stop_on_signals() as stop, show_progress(waiting, progress) as advance:
        if jobs > 1 and len(waiting) > 1:
            spread(waiting, jobs=jobs, stop=stop, advance=advance)
        else:
            for run in waiting:
                carry_out(run, stop=stop, advance=partial(advance, run))
    return [read_result(run.run_dir) for run in runs]


def _plan(
    exports: Mapping[str, Path],
    out: Path,
    *,
    config: TrainConfig,
    evaluation: EvalConfig,
    seeds: Sequence[int],
    device: str,
) -> list[Run]:
    """Check everything that can be checked before the first step, and list the runs."""
    if not exports or not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise InputError(
            "an experiment needs arms and seeds",
            expected="an export per arm and different seeds of at least 0",
            found=f"{len(exports)} arms, seeds {list(seeds)}",
        )
    for arm in exports:
        if not ARM_NAME.fullmatch(arm):
            raise InputError("arm names a folder", expected="letters, digits, . _ -", found=arm)
    opened = {arm: read_export(folder) for arm, folder in exports.items()}
    _check_shared(opened)
    for export in {export.folder: export for export in opened.values()}.values():
        check_files(export)
        check_tests(export)
    place = choose_device(device)
    weights_sha256 = _hash_weights(config.weights)
    return [
        Run(
            arm=arm,
            seed=seed,
            export_dir=export.folder,
            run_dir=out / arm / f"seed-{seed}",
            config=config,
            evaluation=evaluation,
            device=place,
            shared_sha256=export.shared_sha256,
            labels_sha256=export.labels_sha256,
            weights_sha256=weights_sha256,
        )
        for seed in seeds
        for arm, export in opened.items()
    ]


def _check_shared(exports: Mapping[str, Export]) -> None:
    """Raise ExportError unless all arms share everything but the training labels."""
    first, *others = exports.values()
    for other in others:
        if other.shared_sha256 != first.shared_sha256:
            raise ExportError(
                f"arms do not belong to one experiment: {first.folder} and {other.folder} differ "
                "in more than the training labels",
                expected=f"equal shared_sha256 ({first.shared_sha256})",
                found=other.shared_sha256,
                hint="export all arms from the same store with the same datasets",
            )


def _hash_weights(weights: Path | None) -> str | None:
    if weights is None:
        return None
    if not weights.is_file():
        raise TrainingError(f"{weights}: no such weights file")
    return sha256_of(weights)
