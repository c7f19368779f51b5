"""Train the baseline on every arm, evaluate it zero-shot, and store and report what relabeling was worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mseg_curate.core.compare import Comparison, compare_arms
from mseg_curate.core.mapping import Arm, Unresolved
from mseg_curate.core.metrics import (
    ImageCounts,
    harmonic_mean,
    iou_per_class,
    mean_iou,
    pixel_accuracy,
)
from mseg_curate.errors import InputError, MissingExtraError
from mseg_curate.export import write_export
from mseg_curate.files import write_text_atomically
from mseg_curate.report import Provenance, render_markdown, render_text
from mseg_curate.store import Store
from mseg_curate.store.exports import RunRow, save_run

if TYPE_CHECKING:
    from baselines.config import EvalConfig, TrainConfig
    from baselines.results import RunResult

__all__ = ["ALL_ARMS", "Experiment", "export_arms", "run_baseline"]

ALL_ARMS = (Arm.RELABELED, Arm.UNRELABELED, Arm.IGNORED, Arm.PARTIAL)
BOOTSTRAP_SEED = 0
Metric = tuple[str, str, str, float | None]


@dataclass(frozen=True)
class Experiment:
    """A finished experiment: its table for the terminal, the report's file, and both comparisons."""

    text: str
    report: Path
    strict: Comparison
    compat: Comparison


def export_arms(
    store: Store,
    out: Path,
    *,
    arms: Sequence[Arm] = ALL_ARMS,
    unresolved: Unresolved = Unresolved.IGNORE,
    now: str,
) -> dict[str, Path]:
    """Export each arm into out/<arm>, images by reference; those that are there already are kept."""
    return {
        arm.value: write_export(
            store, out / arm.value, arm=arm, unresolved=unresolved, now=now
        ).path
        for arm in arms
    }


def run_baseline(
    exports: Mapping[str, Path],
    out: Path,
    *,
    config: TrainConfig,
    evaluation: EvalConfig,
    seeds: Sequence[int],
    reference: str = Arm.RELABELED.value,
    device: str = "auto",
    jobs: int = 1,
    store: Store | None = None,
    now: str,
) -> Experiment:
    """Train and evaluate every arm with every seed, then compare them.

    Runs and scores go into the store where one is given, the report into out/report.md. A stopped experiment goes on.
    Raises MissingExtraError without torch, ExportError where the arms differ in more than their labels.
    """
    if reference not in exports:
        raise InputError(
            "the reference is no arm of this experiment",
            expected=" or ".join(exports),
            found=reference,
            hint="name one with --reference",
        )
    results = _train(
        exports,
        out,
        config=config,
        evaluation=evaluation,
        seeds=seeds,
        device=device,
        jobs=jobs,
    )
    if store is not None:
        _save(store, results, experiment=str(out.resolve()), now=now)
    strict, compat = _compare(results, reference)
    provenance = _provenance(results, out)
    write_text_atomically(out / "report.md", render_markdown([strict, compat], provenance))
    text = render_text([strict, compat], provenance)
    return Experiment(text, out / "report.md", strict, compat)


def _train(
    exports: Mapping[str, Path],
    out: Path,
    *,
    config: TrainConfig,
    evaluation: EvalConfig,
    seeds: Sequence[int],
    device: str,
    jobs: int,
) -> list[RunResult]:
    try:
        from baselines.experiment import run_experiment  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError(
            f"training needs {error.name}, which is not installed; "
            "install it with `pip install 'mseg-curate[train]'`"
        ) from error
    return run_experiment(
        exports,
        out,
        config=config,
        evaluation=evaluation,
        seeds=seeds,
        device=device,
        jobs=jobs,
    )


def _compare(results: Sequence[RunResult], reference: str) -> tuple[Comparison, Comparison]:
    from baselines.results import group_counts  # noqa: PLC0415

    counts = group_counts(results)
    strict = compare_arms(
        counts, reference=reference, rng=np.random.default_rng(BOOTSTRAP_SEED), mode="strict"
    )
    compat = compare_arms(
        counts, reference=reference, rng=np.random.default_rng(BOOTSTRAP_SEED), mode="compat"
    )
    return strict, compat


def _provenance(results: Sequence[RunResult], out: Path) -> Provenance:
    first = results[0]
    return Provenance(
        experiment=str(out),
        config_sha256=first.config_sha256,
        shared_sha256=first.shared_sha256,
        labels_sha256={result.arm: result.labels_sha256 for result in results},
        weights_sha256=first.weights_sha256,
        seeds=sorted({result.seed for result in results}),
        device=first.device,
        torch_version=first.torch_version,
        steps=first.steps,
        train_s=sum(result.train_s for result in results),
        eval_s=sum(result.eval_s for result in results),
    )


def _save(store: Store, results: Sequence[RunResult], *, experiment: str, now: str) -> None:
    with store.writing() as connection:
        for result in results:
            row = RunRow(
                experiment=experiment,
                arm=result.arm,
                seed=result.seed,
                config_sha256=result.config_sha256,
                shared_sha256=result.shared_sha256,
                labels_sha256=result.labels_sha256,
                weights_sha256=result.weights_sha256,
                checkpoint=str((result.run_dir / "checkpoint.safetensors").resolve()),
                device=result.device,
                torch_version=result.torch_version,
                steps=result.steps,
                train_s=result.train_s,
                eval_s=result.eval_s,
                metrics=_metrics(result.tests),
                confusions=[
                    (test, *cell)
                    for test, counts in result.tests.items()
                    for cell in _cells(counts)
                ],
            )
            save_run(connection, row, now=now)


def _metrics(tests: Mapping[str, ImageCounts]) -> list[Metric]:
    """Return (dataset, class, metric, value in 0 … 1 or None) for one run."""
    rows: list[Metric] = []
    means: dict[str, list[float]] = {"strict": [], "compat": []}
    for test, counts in tests.items():
        strict = mean_iou(counts.confusion, mode="strict", predictable=counts.predictable)
        compat = mean_iou(counts.confusion, mode="compat")
        means["strict"].append(strict.value)
        means["compat"].append(compat.value)
        rows.append((test, "", "miou_strict", _number(strict.value)))
        rows.append((test, "", "miou_compat", _number(compat.value)))
        rows.append((test, "", "pixel_accuracy", _number(pixel_accuracy(counts.confusion))))
        per_class = iou_per_class(counts.confusion, mode="strict")
        rows += [
            (test, name, "iou", _number(float(value)))
            for name, value in zip(counts.classes, per_class, strict=True)
        ]
    for mode, values in means.items():
        defined = not any(np.isnan(values))
        rows.append(("", "", f"harmonic_{mode}", harmonic_mean(values) if defined else None))
    return rows


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value


def _cells(counts: ImageCounts) -> list[tuple[str, str, int]]:
    """Return the cells of a confusion matrix that are not 0; predicted is '' where no class was."""
    names = (*counts.classes, "")
    return [
        (counts.classes[row], names[column], int(counts.confusion[row, column]))
        for row, column in zip(*np.nonzero(counts.confusion), strict=True)
    ]
