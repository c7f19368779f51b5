"""The result of an experiment as tables and sentences. The only room that knows pandas."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from mseg_curate.core.compare import Comparison, Difference

__all__ = ["Provenance", "render_markdown", "render_text", "scores_frame"]

HARMONIC = "harmonic mean"


@dataclass(frozen=True)
class Provenance:
    """What proves that the arms differ in their labels alone, and what the experiment cost."""

    experiment: str
    config_sha256: str
    shared_sha256: str
    labels_sha256: Mapping[str, str]
    weights_sha256: str | None
    seeds: Sequence[int]
    device: str
    torch_version: str
    steps: int
    train_s: float
    eval_s: float


def scores_frame(comparison: Comparison) -> pd.DataFrame:
    """Return mean IoU in percent: a row per test dataset and the harmonic mean, a column per arm."""
    rows = {
        test: [100 * comparison.mean_iou[arm][test] for arm in comparison.arms]
        for test in comparison.tests
    }
    rows[HARMONIC] = [100 * comparison.harmonic[arm] for arm in comparison.arms]
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(comparison.arms))


def differences_frame(comparison: Comparison) -> pd.DataFrame:
    """Return reference minus each other arm in points, with intervals, as texts: rows as `scores_frame`."""
    columns = {}
    for arm, by_test in comparison.differences.items():
        cells = {test: format_difference(by_test[test]) for test in comparison.tests}
        cells[HARMONIC] = format_difference(comparison.harmonic_differences[arm])
        columns[f"− {arm}"] = pd.Series(cells)
    return pd.DataFrame(columns)


def format_difference(found: Difference) -> str:
    """Write a difference of IoU in points with its interval, and whether it can be told from 0."""
    if math.isnan(found.value):
        return "not defined"
    text = f"{100 * found.value:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
    return text if found.distinguishable else f"{text} not distinguishable"


def conclude(comparison: Comparison) -> list[str]:
    """Say in a sentence per alternative what the reference arm was worth."""
    sentences = []
    for arm, found in comparison.harmonic_differences.items():
        if math.isnan(found.value):
            sentences.append(
                f"{comparison.reference} cannot be compared with {arm} in the harmonic mean."
            )
            continue
        interval = (
            f"{comparison.level:.0%} interval {100 * found.low:+.1f} to {100 * found.high:+.1f}"
        )
        if not found.distinguishable:
            verdict = "is not distinguishable from"
        else:
            verdict = "is better than" if found.value > 0 else "is worse than"
        sentences.append(
            f"{comparison.reference} {verdict} {arm} in the harmonic mean: {100 * found.value:+.1f} points, {interval}."
        )
    return sentences


def _notes(comparisons: Sequence[Comparison], provenance: Provenance) -> list[str]:
    strict = comparisons[0]
    lines = [
        f"{test}: {strict.images[test]} images; left out of the strict mean, since they never occur or "
        f"nothing trained feeds them: {', '.join(names)}."
        for test, names in strict.left_out.items()
        if names
    ]
    same = _equal_labels(provenance.labels_sha256)
    lines += [f"The arms {' and '.join(arms)} have the same labels." for arms in same]
    lines.append(strict.note)
    lines.append(
        f"All arms share configuration {provenance.config_sha256[:12]} and data "
        f"{provenance.shared_sha256[:12]}; they differ in their labels alone: "
        + ", ".join(f"{arm} {digest[:8]}" for arm, digest in provenance.labels_sha256.items())
        + "."
    )
    start = (
        f"weights {provenance.weights_sha256[:12]}"
        if provenance.weights_sha256
        else "random weights"
    )
    plural = "seed" if len(provenance.seeds) == 1 else "seeds"
    lines.append(
        f"{len(provenance.seeds)} {plural} ({', '.join(map(str, provenance.seeds))}), {provenance.steps} steps, "
        f"from {start}, on {provenance.device} with torch {provenance.torch_version}; "
        f"{provenance.train_s / 60:.1f} min of training and {provenance.eval_s / 60:.1f} min of "
        "evaluation, all runs added up."
    )
    return lines


def _equal_labels(labels: Mapping[str, str]) -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for arm, digest in labels.items():
        groups.setdefault(digest, []).append(arm)
    return [arms for arms in groups.values() if len(arms) > 1]


def render_text(comparisons: Sequence[Comparison], provenance: Provenance) -> str:
    """Lay the experiment out for a terminal; `comparisons` are the strict and the compat one."""
    strict = comparisons[0]
    blocks = [_title(strict)]
    for comparison in comparisons:
        frame = scores_frame(comparison).map(lambda value: f"{value:.1f}")
        blocks.append(f"mIoU in percent, {comparison.mode}\n{frame.to_string()}")
    blocks.append(
        f"{strict.reference} minus each other arm, in points ({strict.mode}), with {strict.level:.0%} "
        f"intervals over images and seeds"
    )
    for arm, column in differences_frame(strict).items():
        lines = [f"  {test:<22} {cell}" for test, cell in column.items()]
        blocks[-1] += "\n" + "\n".join([f"{strict.reference} {arm}", *lines])
    blocks.append("\n".join(conclude(strict)))
    blocks.append("\n".join(_notes(comparisons, provenance)))
    return "\n\n".join(blocks) + "\n"


def render_markdown(comparisons: Sequence[Comparison], provenance: Provenance) -> str:
    """Lay the experiment out as Markdown, with the IoU of every class."""
    strict = comparisons[0]
    parts = [f"# {_title(strict)}", *conclude(strict)]
    for comparison in comparisons:
        frame = scores_frame(comparison).map(lambda value: f"{value:.1f}")
        parts.append(f"## mIoU in percent, {comparison.mode}\n\n{_markdown_table(frame)}")
    parts.append(
        f"## {strict.reference} minus each other arm, in points ({strict.mode})\n\n"
        f"With {strict.level:.0%} intervals over images and seeds.\n\n"
        + _markdown_table(differences_frame(strict))
    )
    for test in strict.tests:
        parts.append(
            f"## IoU per class on {test}, in percent\n\n{_markdown_table(_class_frame(strict, test))}"
        )
    parts.append(
        "## Notes\n\n" + "\n".join(f"- {line}" for line in _notes(comparisons, provenance))
    )
    return "\n\n".join(parts) + "\n"


def _title(comparison: Comparison) -> str:
    return f"Zero-shot comparison of {len(comparison.arms)} arms, {comparison.seeds} seeds each"


def _class_frame(comparison: Comparison, test: str) -> pd.DataFrame:
    by_arm = {
        arm: pd.Series(comparison.class_iou[arm][test]).map(
            lambda value: "–" if math.isnan(value) else f"{100 * value:.1f}"
        )
        for arm in comparison.arms
    }
    frame = pd.DataFrame(by_arm)
    for arm, by_test in comparison.class_differences.items():
        frame[f"− {arm}"] = pd.Series(
            {
                name: "–" if math.isnan(found.value) else format_difference(found)
                for name, found in by_test[test].items()
            }
        )
    return frame


def _markdown_table(frame: pd.DataFrame) -> str:
    head = "| | " + " | ".join(map(str, frame.columns)) + " |"
    rule = "| --- |" + " --- |" * len(frame.columns)
    rows = [
        f"| {name} | " + " | ".join(map(str, row)) + " |"
        for name, row in zip(frame.index, frame.itertuples(index=False), strict=True)
    ]
    return "\n".join([head, rule, *rows])
