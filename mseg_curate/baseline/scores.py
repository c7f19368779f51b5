"""The scores of finished runs as rows of the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mseg_curate.core.metrics import (
    ImageCounts,
    harmonic_mean,
    iou_per_class,
    mean_iou,
    pixel_accuracy,
)
from mseg_curate.store import Store
from mseg_curate.store.exports import RunRow, save_run

if TYPE_CHECKING:
    from baselines.results import RunResult

__all__ = ["save_results"]

Metric = tuple[str, str, str, float | None]


def save_results(store: Store, results: Sequence[RunResult], *, experiment: str, now: str) -> None:
    """Store runs, their metrics and the cells of their confusion matrices, at every declared resolution.

    Metrics of a further resolution carry its label, such as `miou_strict@256px`, and so does the dataset of its
    cells, such as `voc@256px`. The training datasets' other splits have metrics and cells under their own names.
    """
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
                metrics=[
                    metric
                    for label, tests in _evaluations(result)
                    for metric in _metrics(tests, label)
                ]
                + _scores(result.validation, ""),
                confusions=[
                    (test + label, *cell)
                    for label, tests in [*_evaluations(result), ("", result.validation)]
                    for test, counts in tests.items()
                    for cell in _cells(counts)
                ],
            )
            save_run(connection, row, now=now)


def _evaluations(result: RunResult) -> list[tuple[str, Mapping[str, ImageCounts]]]:
    """Return each resolution's suffix, '' for the declared one, with its counts."""
    others = [(f"@{label.replace(' ', '')}", tests) for label, tests in result.others.items()]
    return [("", result.tests), *others]


def _metrics(tests: Mapping[str, ImageCounts], suffix: str) -> list[Metric]:
    """Return (dataset, class, metric, value in 0 … 1 or None) for one resolution, harmonic means among them."""
    rows = _scores(tests, suffix)
    for mode in ("strict", "compat"):
        name = f"miou_{mode}{suffix}"
        values = [value for _, _, metric, value in rows if metric == name]
        defined = [value for value in values if value is not None]
        whole = len(defined) == len(values)
        rows.append(("", "", f"harmonic_{mode}{suffix}", harmonic_mean(defined) if whole else None))
    return rows


def _scores(tests: Mapping[str, ImageCounts], suffix: str) -> list[Metric]:
    rows: list[Metric] = []
    for test, counts in tests.items():
        strict = mean_iou(counts.confusion, mode="strict", predictable=counts.predictable)
        compat = mean_iou(counts.confusion, mode="compat")
        rows.append((test, "", f"miou_strict{suffix}", _number(strict.value)))
        rows.append((test, "", f"miou_compat{suffix}", _number(compat.value)))
        accuracy = pixel_accuracy(counts.confusion)
        rows.append((test, "", f"pixel_accuracy{suffix}", _number(accuracy)))
        per_class = iou_per_class(counts.confusion, mode="strict")
        rows += [
            (test, name, f"iou{suffix}", _number(float(value)))
            for name, value in zip(counts.classes, per_class, strict=True)
        ]
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
