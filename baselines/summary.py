"""What an experiment says: its results compared, and laid out as text and as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from baselines.config import LADDER
from baselines.exports import Export, read_export
from baselines.network_report import render_networks
from baselines.results import RunResult, group_counts
from baselines.tables import Table, rows_of, validation_of
from mseg_curate.core.attribution import OTHER_CLASSES, SplitClass
from mseg_curate.core.compare import Comparison, compare_arms
from mseg_curate.core.metrics import ImageCounts, Mode
from mseg_curate.published import match_test
from mseg_curate.report import (
    ArmsReport,
    Provenance,
    render_ladder,
    render_markdown,
    render_text,
    render_zero_shot_table,
)
from mseg_curate.report.provenance import describe_cost

__all__ = [
    "Summary",
    "compare_results",
    "summarise_arms",
    "summarise_ladder",
    "summarise_zero_shot",
]

BOOTSTRAP_SEED: Final = 0


@dataclass(frozen=True)
class Summary:
    """A table for the terminal and the same, in full, as Markdown; of arms also both comparisons."""

    text: str
    markdown: str
    strict: Comparison | None = None
    compat: Comparison | None = None


def summarise_arms(
    results: Sequence[RunResult], exports: Mapping[str, Path], *, reference: str, out: Path
) -> Summary:
    """Compare arms at every declared resolution, and attribute their differences to split classes.

    Raises TrainingError where the runs cannot be compared.
    """
    strict = compare_results(results, reference, "strict")
    compat = compare_results(results, reference, "compat")
    report = ArmsReport(
        strict=strict,
        compat=compat,
        provenance=describe_runs(results, out),
        others={
            label: compare_results(results, reference, "strict", resolution=label)
            for label in results[0].others
        },
        validation=_average_validation(results),
        splits=_list_splits(read_export(exports[reference])),
    )
    return Summary(render_text(report), render_markdown(report), strict, compat)


def summarise_zero_shot(table: Table, results: Sequence[RunResult], out: Path) -> Summary:
    """Lay out MSeg's zero-shot table, with the paper's beside it where a test dataset is one of its six."""
    rows, oracle = rows_of(table, results)
    text, markdown = render_zero_shot_table(
        rows,
        oracle={test: [run[test] for run in runs] for test, runs in oracle.items()},
        provenance=describe_runs(results, out),
        published=any(match_test(test) for test in results[0].tests),
        others=_rows_at_others(table, results),
        validation=validation_of(table, results),
    )
    return _add_notes(text, markdown, table.notes)


def summarise_ladder(table: Table, results: Sequence[RunResult], out: Path) -> Summary:
    """Lay out the ladder of PSPNet's paper with its published rows beside it."""
    rows, _ = rows_of(table, results)
    published = {rung.name: rung.published for rung in LADDER if rung.name in rows}
    text, markdown = render_ladder(
        rows,
        describe_runs(results, out),
        published=published,
        others=_rows_at_others(table, results),
        validation=validation_of(table, results),
    )
    return _add_notes(text, markdown, table.notes)


def summarise_networks(table: Table, results: Sequence[RunResult], out: Path) -> Summary:
    """Lay out networks side by side, with what was published of each beside it."""
    rows, _ = rows_of(table, results)
    text, markdown = render_networks(
        rows,
        describe_cost(describe_runs(results, out)),
        others=_rows_at_others(table, results),
        validation=validation_of(table, results),
    )
    return _add_notes(text, markdown, table.notes)


def _rows_at_others(
    table: Table, results: Sequence[RunResult]
) -> dict[str, dict[str, list[Mapping[str, ImageCounts]]]]:
    """Return the rows at each further resolution that was declared for all of them, by its label."""
    return {
        label: rows_of(table, results, resolution=label)[0]
        for label in results[0].others
        if all(label in result.others for result in results)
    }


def compare_results(
    results: Sequence[RunResult], reference: str, mode: Mode, *, resolution: str = ""
) -> Comparison:
    """Compare arms at the declared resolution, or at another one by its label."""
    counts = group_counts(results)
    if resolution:
        ordered = sorted(results, key=lambda result: result.seed)
        counts = {
            arm: [result.others[resolution] for result in ordered if result.arm == arm]
            for arm in counts
        }
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    return compare_arms(counts, reference=reference, rng=rng, mode=mode)


def describe_runs(results: Sequence[RunResult], out: Path) -> Provenance:
    """Collect what proves that runs belong together, and what they cost."""
    first = results[0]
    return Provenance(
        experiment=str(out),
        config_sha256=first.config_sha256,
        shared_sha256=first.shared_sha256,
        labels_sha256={result.arm: result.labels_sha256 for result in results},
        weights_sha256=first.weights_sha256,
        seeds=sorted({result.seed for result in results}),
        device=" and ".join(dict.fromkeys(result.device for result in results)),
        torch_version=" and ".join(dict.fromkeys(result.torch_version for result in results)),
        steps=first.steps,
        train_s=sum(result.train_s for result in results),
        eval_s=sum(result.eval_s for result in results),
        resolution=first.resolution,
    )


def _average_validation(results: Sequence[RunResult]) -> dict[str, dict[str, float]]:
    """Return mean IoU per arm and training dataset, averaged over seeds; empty where none was evaluated."""
    found: dict[str, dict[str, list[float]]] = {}
    for result in results:
        for dataset, counts in result.validation.items():
            score = counts.mean_iou()
            found.setdefault(result.arm, {}).setdefault(dataset, []).append(score)
    return {
        arm: {dataset: float(np.mean(scores)) for dataset, scores in by_dataset.items()}
        for arm, by_dataset in found.items()
    }


def _list_splits(export: Export) -> tuple[SplitClass, ...]:
    """Return the classes that must be split with the test classes that their candidates feed."""
    given = Counter([OTHER_CLASSES, *(task.name for task in export.tasks)])
    return tuple(
        SplitClass(
            # A task may be named as another dataset's class is; a report that fails after days helps nobody.
            name=task.name
            if given[task.name] == 1
            else f"{task.name} ({task.dataset}/{task.source})",
            dataset=task.dataset,
            source=task.source,
            candidates=tuple(export.universal_names[number] for number in task.candidates),
            test_classes={
                test.name: tuple(
                    name
                    for name, sources in zip(test.classes, test.sources, strict=True)
                    if set(sources) & set(task.candidates)
                )
                for test in export.tests
            },
        )
        for task in export.tasks
    )


def _add_notes(text: str, markdown: str, notes: Sequence[str]) -> Summary:
    if not notes:
        return Summary(text, markdown)
    lines = "\n".join(f"- {note}" for note in notes)
    return Summary(
        text.rstrip("\n") + "\n\n" + "\n".join(notes) + "\n", f"{markdown.rstrip()}\n\n{lines}\n"
    )
