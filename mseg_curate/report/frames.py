"""Tables of a comparison: numbers in percent, differences in points."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from mseg_curate.core.arms import WITHOUT, folder_name
from mseg_curate.core.attribution import OTHER_CLASSES, Attribution
from mseg_curate.core.compare import Comparison, Difference
from mseg_curate.published import (
    MSEG_RELABELED,
    MSEG_UNRELABELED,
    ZERO_SHOT,
    load_published,
    match_test,
    recompute_harmonic,
)

__all__ = [
    "HARMONIC",
    "accuracy_frame",
    "class_frame",
    "differences_frame",
    "escape_markup",
    "format_difference",
    "format_score",
    "harmonic_parts_frame",
    "leave_one_out_frame",
    "markdown_table",
    "published_frame",
    "resolutions_frame",
    "scores_frame",
    "split_parts_frame",
    "validation_frame",
]

HARMONIC = "harmonic mean"
MISSING = "–"


def format_score(value: float) -> str:
    """Write a share of 1 in percent with one decimal, or a dash where it is not defined."""
    return MISSING if math.isnan(value) else f"{100 * value:.1f}"


def format_difference(found: Difference) -> str:
    """Write a difference of IoU in points with its interval, and whether it can be told from 0."""
    if math.isnan(found.value):
        return "not defined"
    text = f"{100 * found.value:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
    return text if found.distinguishable else f"{text} not distinguishable"


def scores_frame(comparison: Comparison) -> pd.DataFrame:
    """Return mean IoU in percent: a row per test dataset and the harmonic mean, a column per arm."""
    rows = {
        test: [100 * comparison.mean_iou[arm][test] for arm in comparison.arms]
        for test in comparison.tests
    }
    rows[HARMONIC] = [100 * comparison.harmonic[arm] for arm in comparison.arms]
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(comparison.arms))


def accuracy_frame(comparison: Comparison) -> pd.DataFrame:
    """Return pixel accuracy in percent, as texts: a row per test dataset, a column per arm."""
    frame = pd.DataFrame(comparison.pixel_accuracy).loc[list(comparison.tests)]
    return frame.map(format_score)


def differences_frame(comparison: Comparison) -> pd.DataFrame:
    """Return reference minus each other arm in points, with intervals, as texts: rows as `scores_frame`."""
    columns = {}
    for arm, by_test in comparison.differences.items():
        cells = {test: format_difference(by_test[test]) for test in comparison.tests}
        cells[HARMONIC] = format_difference(comparison.harmonic_differences[arm])
        columns[f"− {arm}"] = pd.Series(cells)
    return pd.DataFrame(columns)


def leave_one_out_frame(comparison: Comparison) -> pd.DataFrame:
    """Return the differences of the harmonic mean with each test dataset left out, as texts."""
    rows = {
        f"without {test}": {f"− {arm}": format_difference(found) for arm, found in by_arm.items()}
        for test, by_arm in comparison.leave_one_out.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def resolutions_frame(
    declared: Comparison, others: Mapping[str, Comparison], *, label: str
) -> pd.DataFrame:
    """Return the harmonic mean per arm and its differences, as texts: a row per declared resolution."""
    rows = {}
    for name, comparison in {label: declared, **others}.items():
        cells = {arm: format_score(comparison.harmonic[arm]) for arm in comparison.arms}
        cells |= {
            f"− {arm}": format_difference(found)
            for arm, found in comparison.harmonic_differences.items()
        }
        rows[name] = cells
    return pd.DataFrame.from_dict(rows, orient="index")


def split_parts_frame(
    attribution: Attribution, arm: str, *, worth: Mapping[str, Difference]
) -> pd.DataFrame:
    """Return what each split class and the other classes bring per test, in points: the rows add up.

    `worth` is what those were worth that were left out in an arm of their own: a last column.
    """
    columns = {
        test: {name: _in_points(found) for name, found in parts.items()}
        for test, parts in attribution.splits[arm].items()
    }
    columns[HARMONIC] = {name: _in_points(p) for name, p in attribution.harmonic[arm].items()}
    if worth:
        # Left-out tasks go by the names of their folders.
        folders = {name: folder_name(name) for name in columns[HARMONIC] if name != OTHER_CLASSES}
        found = {n: _in_points(worth[folder]) for n, folder in folders.items() if folder in worth}
        columns["worth, left out alone"] = dict.fromkeys(columns[HARMONIC], MISSING) | found
    # Those that feed nothing bring exactly 0; a note names them.
    return pd.DataFrame(columns).drop(index=list(attribution.idle))


def harmonic_parts_frame(attribution: Attribution) -> pd.DataFrame:
    """Return what each test dataset brings to the differences of the harmonic mean, in points."""
    return pd.DataFrame(
        {
            f"− {arm}": {test: _in_points(found) for test, found in parts.items()}
            for arm, parts in attribution.tests.items()
        }
    )


def class_frame(comparison: Comparison, attribution: Attribution, test: str) -> pd.DataFrame:
    """Return IoU per class and arm, the differences, and what each brings to that of the mean, as texts."""
    frame = pd.DataFrame(
        {
            arm: pd.Series(comparison.class_iou[arm][test]).map(format_score)
            for arm in comparison.arms
        }
    )
    for arm, by_test in comparison.class_differences.items():
        frame[f"− {arm}"] = pd.Series(
            {
                name: MISSING if math.isnan(found.value) else format_difference(found)
                for name, found in by_test[test].items()
            }
        )
        if arm.startswith(WITHOUT):
            continue
        parts = attribution.classes[arm][test]
        frame[f"part, − {arm}"] = pd.Series(
            {n: f"{100 * parts[n].value:+.2f}" if n in parts else MISSING for n in frame.index}
        )
    return frame


def validation_frame(validation: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """Return mean IoU on the training datasets' other splits, as texts: a row per dataset, a column per arm."""
    frame = pd.DataFrame(validation)
    return frame.map(format_score)


def published_frame(tests: Mapping[str, float]) -> pd.DataFrame:
    """Return MSeg's published rows for test datasets of the same name, in percent, as texts.

    The harmonic means are those of all six published tests, recomputed. Empty where no name is known.
    """
    table = load_published(ZERO_SHOT)
    checks = {check.row: check for check in recompute_harmonic(table)}
    known = {test: column for test in tests if (column := match_test(test))}
    if not known:
        return pd.DataFrame()
    columns = {}
    for row in (MSEG_RELABELED, MSEG_UNRELABELED, "Oracle"):
        cells = table.row(row)
        columns[row] = {test: cells[column] or MISSING for test, column in known.items()}
        columns[row]["h. mean of all six"] = (
            f"{checks[row].recomputed:.1f}" if row in checks else MISSING
        )
    return pd.DataFrame(columns)


def _in_points(found: Difference) -> str:
    if math.isnan(found.value):
        return MISSING
    text = f"{100 * found.value:+.2f} [{100 * found.low:+.2f}, {100 * found.high:+.2f}]"
    return f"{text} *" if found.distinguishable else text


def markdown_table(frame: pd.DataFrame) -> str:
    """Write a frame as a Markdown table with its index as first column."""
    head = "| | " + " | ".join(map(_escape, frame.columns)) + " |"
    rule = "| --- |" + " --- |" * len(frame.columns)
    rows = [
        f"| {_escape(name)} | " + " | ".join(map(_escape, row)) + " |"
        for name, row in zip(frame.index, frame.itertuples(index=False), strict=True)
    ]
    return "\n".join([head, rule, *rows])


def _escape(cell: object) -> str:
    """Keep a bar in a name from ending its cell."""
    return escape_markup(" ".join(str(cell).split())).replace("|", "\\|")


def escape_markup(text: str) -> str:
    """Keep what looks like HTML in a name from being taken for HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;")
