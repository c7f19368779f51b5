"""What a network scored, as text: every resolution side by side, none chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mseg_curate.core.metrics import (
    ImageCounts,
    Mode,
    harmonic_mean,
    iou_per_class,
    mean_iou,
    pixel_accuracy,
)

__all__ = ["render_scores"]

Row = tuple[str, Sequence[float]]


def render_scores(
    counts: Mapping[str, Mapping[str, ImageCounts]], validation: Mapping[str, ImageCounts]
) -> str:
    """Lay out mean IoU strict and compat, pixel accuracy and the IoU of every class, in percent.

    `counts` is by resolution and test dataset: a column per resolution. `validation` is by training dataset.
    """
    labels = list(counts)
    blocks = []
    tests = list(counts[labels[0]]) if labels else []
    if tests:
        by_test = {test: [counts[label][test] for label in labels] for test in tests}
        blocks.append(_summarise("zero-shot", labels, by_test))
        if len(tests) > 1:
            rows = [
                (f"harmonic mean, {mode}", [_harmonic(counts[label], mode) for label in labels])
                for mode in ("strict", "compat")
            ]
            blocks[-1] += "\n" + _lay_out("", labels, rows).split("\n", 1)[1]
        blocks += [_list_classes(test, labels, found) for test, found in by_test.items()]
    if validation:
        first = labels[:1] or ["declared"]
        by_dataset = {name: [found] for name, found in validation.items()}
        title = "other splits of the training datasets, in the universal classes that each has"
        blocks.append(_summarise(title, first, by_dataset))
        blocks += [_list_classes(name, first, found) for name, found in by_dataset.items()]
    return "\n\n".join(blocks) + "\n"


def _summarise(
    title: str, labels: Sequence[str], found: Mapping[str, Sequence[ImageCounts]]
) -> str:
    measures: dict[str, Callable[[ImageCounts], float]] = {
        "mIoU strict": lambda one: one.mean_iou("strict"),
        "mIoU compat": lambda one: one.mean_iou("compat"),
        "pixel accuracy": lambda one: pixel_accuracy(one.confusion),
    }
    rows: list[Row] = [
        (f"{name}, {measure}", [compute(one) for one in columns])
        for name, columns in found.items()
        for measure, compute in measures.items()
    ]
    notes = [
        f"{name}: {len(columns[0].image_ids)} images; not in the strict mean: {', '.join(out) or 'none'}"
        for name, columns in found.items()
        for out in [_left_out(columns[0])]
    ]
    return "\n".join([*notes, _lay_out(f"{title}, in percent", labels, rows)])


def _list_classes(name: str, labels: Sequence[str], found: Sequence[ImageCounts]) -> str:
    ious = [iou_per_class(one.confusion) for one in found]
    rows = [
        (class_name, [float(iou[number]) for iou in ious])
        for number, class_name in enumerate(found[0].classes)
    ]
    return _lay_out(f"IoU per class on {name}, in percent", labels, rows)


def _harmonic(by_test: Mapping[str, ImageCounts], mode: Mode) -> float:
    means = [counts.mean_iou(mode) for counts in by_test.values()]
    return float("nan") if np.isnan(means).any() else harmonic_mean(means)


def _left_out(counts: ImageCounts) -> list[str]:
    found = mean_iou(counts.confusion, predictable=counts.predictable)
    return [counts.classes[number] for number in found.left_out]


def _lay_out(title: str, labels: Sequence[str], rows: Sequence[Row]) -> str:
    width = max([len(title), *(len(name) + 2 for name, _ in rows)])
    widths = [max(len(label), 5) for label in labels]
    lines = [
        title.ljust(width)
        + "".join(f"  {label:>{w}}" for label, w in zip(labels, widths, strict=True))
    ]
    for name, values in rows:
        cells = ["–" if np.isnan(value) else f"{100 * value:.1f}" for value in values]
        lines.append(
            f"  {name}".ljust(width)
            + "".join(f"  {cell:>{w}}" for cell, w in zip(cells, widths, strict=True))
        )
    return "\n".join(lines)
