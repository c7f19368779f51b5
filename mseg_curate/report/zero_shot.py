"""The zero-shot table of MSeg and the ladder of PSPNet, from one's own runs, the published rows beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, Never

import numpy as np
import numpy.typing as npt
import pandas as pd

from mseg_curate.core.metrics import (
    ImageCounts,
    Mode,
    harmonic_mean,
    iou_from_counts,
    pixel_accuracy,
    scored_classes,
)
from mseg_curate.errors import InputError
from mseg_curate.published import ZERO_SHOT, Published, load_published
from mseg_curate.report.frames import HARMONIC, MISSING, escape_markup, markdown_table
from mseg_curate.report.provenance import Provenance, describe_cost

__all__ = [
    "NOTHING",
    "describe_spread",
    "format_spread",
    "frame_rows",
    "lay_out",
    "render_ladder",
    "render_zero_shot_table",
    "tables_beside",
]

Row = Sequence[Mapping[str, ImageCounts]]
MODES: Final[tuple[Mode, ...]] = ("strict", "compat")
ORACLE: Final = "Oracle"
NOTHING: Final[Mapping[str, Never]] = MappingProxyType({})


def render_zero_shot_table(
    rows: Mapping[str, Row],
    *,
    oracle: Mapping[str, Sequence[ImageCounts]] | None = None,
    provenance: Provenance,
    published: bool = True,
    others: Mapping[str, Mapping[str, Row]] = NOTHING,
    validation: Mapping[str, Row] = NOTHING,
) -> tuple[str, str]:
    """Lay out mean IoU per row and test, mean ± standard deviation over seeds, for a terminal and as Markdown.

    `rows` are what was trained on, in order, seed by seed; `oracle[test]` are the runs on that test dataset's
    own training split. `others` are the rows at each further declared resolution by its label, `validation` the rows
    on the training datasets' other splits. In `strict` the same classes count in every row: those that occur and that
    some row can predict. Raises InputError where rows have other tests or classes.
    """
    tests = _check_rows(rows)
    shown = dict(oracle or {})
    first = next(iter(rows.values()))[0]
    for test, runs in shown.items():
        _check_oracle(test, runs, first)
    counted = {mode: _choose(rows, tests, mode) for mode in MODES}
    tables = {}
    for mode in MODES:
        found = {
            name: _summarise(_means(row, counted[mode], mode), tests) for name, row in rows.items()
        }
        if shown:
            found[ORACLE] = _oracle_row(shown, tests, counted[mode], mode)
        tables[f"Zero-shot mIoU in percent, {mode}"] = frame_rows(found)
    tables |= tables_beside(others, validation)
    if published:
        table = load_published(ZERO_SHOT)
        tables[f"Published: {table.title}"] = _published_frame(table)
    return lay_out(
        "Zero-shot table: trained on each dataset alone, on their mix, and tested on datasets never seen",
        tables,
        _notes(rows, shown, tests, counted["strict"], provenance, published=published),
    )


def render_ladder(
    rows: Mapping[str, Row],
    provenance: Provenance,
    *,
    published: Mapping[str, str] | None = None,
    others: Mapping[str, Mapping[str, Row]] = NOTHING,
    validation: Mapping[str, Row] = NOTHING,
) -> tuple[str, str]:
    """Lay out mean IoU and pixel accuracy per rung, for a terminal and as Markdown.

    `published` names the row of the published ADE20K table that belongs to a rung, where there is one;
    `others` and `validation` are as in `render_zero_shot_table`. Raises InputError where rungs have other tests or
    classes, or for a published row that is not there.
    """
    tests = _check_rows(rows)
    ade20k = load_published("ade20k")
    tables = {}
    for mode in MODES:
        counted = _choose(rows, tests, mode)
        found = {}
        for rung, row in rows.items():
            cells = _summarise(_means(row, counted, mode), tests)
            cells |= {
                f"{test}, pixel accuracy": format_spread(
                    [pixel_accuracy(run[test].confusion) for run in row]
                )
                for test in tests
            }
            if published:
                beside = ade20k.row(published[rung]) if rung in published else {}
                cells["ADE20K, published as"] = beside.get("method", MISSING)
                cells["mIoU"] = beside.get("mean IoU", MISSING)
                cells["pixel accuracy"] = beside.get("pixel accuracy", MISSING)
            found[rung] = cells
        tables[f"mIoU and pixel accuracy in percent, {mode}"] = frame_rows(found)
    tables |= tables_beside(others, validation)
    notes = [describe_spread(rows), describe_cost(provenance)]
    if published:
        notes.insert(0, f"Published: {ade20k.title}; {ade20k.source}.")
    return lay_out("The ladder of PSPNet: what each of its parts adds", tables, notes)


def tables_beside(
    others: Mapping[str, Mapping[str, Row]], validation: Mapping[str, Row]
) -> dict[str, pd.DataFrame]:
    """Return mean IoU (strict) at each further declared resolution, and on the training datasets' other splits."""
    titles = {f"mIoU in percent at {label}, strict": rows for label, rows in others.items()}
    if validation:
        title = "mIoU in percent on the training datasets' other splits, strict, in the universal classes of each"
        titles[title] = validation
    tables = {}
    for title, rows in titles.items():
        tests = _check_rows(rows)
        counted = _choose(rows, tests, "strict")
        tables[title] = frame_rows(
            {name: _summarise(_means(row, counted, "strict"), tests) for name, row in rows.items()}
        )
    return tables


def _check_rows(rows: Mapping[str, Row]) -> tuple[str, ...]:
    """Return the tests; raise InputError unless all runs have the same tests, images and truth."""
    runs = [(name, run) for name, row in rows.items() for run in row]
    if not runs or not runs[0][1]:
        raise InputError("no run to lay out", expected="at least one with a test dataset")
    first = runs[0][1]
    for name, run in runs:
        if set(run) != set(first):
            raise InputError(
                f"{name} has other tests", expected=str(sorted(first)), found=str(sorted(run))
            )
        for test, counts in run.items():
            same = counts.classes == first[test].classes
            if not same or not np.array_equal(counts.truth, first[test].truth):
                raise InputError(
                    f"{name}, test {test}, was evaluated on other images or classes than {runs[0][0]}",
                    hint="evaluate all on the same export",
                )
    return tuple(first)


def _choose(
    rows: Mapping[str, Row], tests: Sequence[str], mode: Mode
) -> dict[str, npt.NDArray[np.bool_]]:
    """Say per test which classes count in all rows: those that occur and that some row can predict."""
    chosen = {}
    for test in tests:
        runs = [run[test] for row in rows.values() for run in row]
        predictable = np.any([run.predictable for run in runs], axis=0)
        chosen[test] = scored_classes(runs[0].truth.sum(axis=0), mode=mode, predictable=predictable)
        if not chosen[test].any():
            raise InputError("test in which no class can score", found=test)
    return chosen


def _mean_iou(counts: ImageCounts, counted: npt.NDArray[np.bool_], mode: Mode) -> float:
    totals = (c.sum(axis=0) for c in (counts.intersection, counts.truth, counts.prediction))
    iou = iou_from_counts(*totals, mode=mode)[counted]
    # The oracle may be tested on fewer images: a class that these do not show cannot count.
    return float(np.nanmean(iou))


def _means(
    row: Row, counted: Mapping[str, npt.NDArray[np.bool_]], mode: Mode
) -> list[dict[str, float]]:
    return [{test: _mean_iou(run[test], counted[test], mode) for test in counted} for run in row]


def _summarise(means: Sequence[Mapping[str, float]], tests: Sequence[str]) -> dict[str, str]:
    """Return mean ± sd per test and of the harmonic mean, in percent; empty row, empty cells."""
    cells = {test: format_spread([mean[test] for mean in means]) for test in tests}
    if len(tests) > 1:
        cells[HARMONIC] = format_spread(
            [harmonic_mean(mean[test] for test in tests) for mean in means]
        )
    return cells


def _oracle_row(
    oracle: Mapping[str, Sequence[ImageCounts]],
    tests: Sequence[str],
    counted: Mapping[str, npt.NDArray[np.bool_]],
    mode: Mode,
) -> dict[str, str]:
    """Return the oracles' cells; a harmonic mean only where every test has one of as many seeds."""
    means = {
        test: [_mean_iou(counts, counted[test], mode) for counts in runs]
        for test, runs in oracle.items()
    }
    cells = {test: format_spread(means.get(test, [])) for test in tests}
    lengths = {len(means.get(test, [])) for test in tests}
    if len(tests) > 1:
        seeds = zip(*(means.get(test, []) for test in tests), strict=False)
        whole = [harmonic_mean(values) for values in seeds] if len(lengths) == 1 else []
        cells[HARMONIC] = format_spread(whole)
    return cells


def format_spread(values: Sequence[float]) -> str:
    """Write shares of 1 in percent: their mean, with ± standard deviation where there are several."""
    if not values or np.isnan(values).any():
        return MISSING
    mean = f"{100 * float(np.mean(values)):.1f}"
    return f"{mean} ± {100 * float(np.std(values, ddof=1)):.1f}" if len(values) > 1 else mean


def frame_rows(rows: Mapping[str, Mapping[str, str]]) -> pd.DataFrame:
    """Return cells by row and column as a frame."""
    return pd.DataFrame.from_dict(
        {name: dict(cells) for name, cells in rows.items()}, orient="index"
    )


def _published_frame(table: Published) -> pd.DataFrame:
    body = [[cell or MISSING for cell in row[1:]] for row in table.rows]
    return pd.DataFrame(body, index=[row[0] for row in table.rows], columns=list(table.columns[1:]))


def _notes(
    rows: Mapping[str, Row],
    oracle: Mapping[str, Sequence[ImageCounts]],
    tests: Sequence[str],
    counted: Mapping[str, npt.NDArray[np.bool_]],
    provenance: Provenance,
    *,
    published: bool,
) -> list[str]:
    first = next(iter(rows.values()))[0]
    lines = []
    for test in tests:
        names = np.array(first[test].classes)[~counted[test]].tolist()
        if names:
            lines.append(
                f"{test}: left out of the strict mean of every row, since they never occur or no row can "
                f"predict them: {', '.join(names)}."
            )
    missing = [test for test in tests if test not in oracle]
    if oracle and missing:
        lines.append(f"No oracle for {', '.join(missing)}: no split of its own to train on.")
    for test, runs in oracle.items():
        if any(len(run.image_ids) != len(first[test].image_ids) for run in runs):
            lines.append(
                f"{ORACLE}, {test}: tested on {len(runs[0].image_ids)} images, the others on "
                f"{len(first[test].image_ids)}."
            )
    if published:
        table = load_published(ZERO_SHOT)
        lines.append(f"Published: {table.source}; {table.note}.")
    return [*lines, describe_spread(rows), describe_cost(provenance)]


def _check_oracle(test: str, runs: Sequence[ImageCounts], first: Mapping[str, ImageCounts]) -> None:
    if test not in first:
        raise InputError("oracle of an unknown test", expected=", ".join(first), found=test)
    for run in runs:
        if run.classes != first[test].classes:
            raise InputError(
                f"the oracle of {test} has other classes",
                expected=", ".join(first[test].classes),
                found=", ".join(run.classes),
            )


def describe_spread(rows: Mapping[str, Row]) -> str:
    """Say over how many seeds cells are, or that of one seed chance is not known."""
    seeds = sorted({len(row) for row in rows.values()})
    if seeds == [1]:
        return "One seed each: how far chance alone moves a number is not known."
    return f"Mean ± standard deviation over {' or '.join(map(str, seeds))} seeds."


def lay_out(
    title: str, tables: Mapping[str, pd.DataFrame], notes: Sequence[str]
) -> tuple[str, str]:
    """Lay tables and notes out below a title, for a terminal and as Markdown."""
    text = [title, *(f"{name}\n{frame.to_string()}" for name, frame in tables.items())]
    parts = [f"# {title}"]
    for name, frame in tables.items():
        parts += [f"## {name}", markdown_table(frame)]
    parts += ["## Notes", "\n".join(f"- {escape_markup(line)}" for line in notes)]
    return "\n\n".join([*text, "\n".join(notes)]) + "\n", "\n\n".join(parts) + "\n"
