"""The report of an experiment with several arms, for the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd

from mseg_curate.core.arms import WITHOUT
from mseg_curate.core.attribution import (
    Attribution,
    SplitClass,
    attribute_differences,
    worth_of_tasks,
)
from mseg_curate.core.compare import Comparison, Difference
from mseg_curate.published import ZERO_SHOT, load_published
from mseg_curate.report.frames import (
    accuracy_frame,
    class_frame,
    differences_frame,
    escape_markup,
    harmonic_parts_frame,
    leave_one_out_frame,
    markdown_table,
    published_frame,
    resolutions_frame,
    scores_frame,
    split_parts_frame,
    validation_frame,
)
from mseg_curate.report.provenance import Provenance, describe_provenance
from mseg_curate.report.sentences import (
    choose_rival,
    conclude,
    describe_differences,
    describe_leave_one_out,
    describe_splits,
    describe_worth,
    warn_of_many,
)

__all__ = ["ArmsReport", "render_markdown", "render_text"]

WIDEST = 110
PARTS = (
    "By the test classes that its candidates feed; each column adds up to the difference; * leaves 0 out. It shows "
    "where the difference appears, not what caused it: that is what leaving a task out measures."
)


@dataclass(frozen=True)
class ArmsReport:
    """An experiment to be reported.

    `strict` and `compat` compare the arms at the declared resolution, `others` (strict) at each further
    one by its label. `validation[arm][dataset]` is mean IoU in 0 … 1 on the other splits of training
    datasets. `splits` are the classes that must be split, to which differences are attributed.
    """

    strict: Comparison
    compat: Comparison
    provenance: Provenance
    others: Mapping[str, Comparison] = field(default_factory=dict)
    validation: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    splits: Sequence[SplitClass] = ()

    @cached_property
    def attribution(self) -> Attribution:
        """What the differences of the strict comparison are made of; takes seconds where images are thousands."""
        return attribute_differences(self.strict, self.splits)


@dataclass(frozen=True)
class _Section:
    """A table with its title, the sentence below it, and the intervals that it shows."""

    title: str
    frame: pd.DataFrame
    intro: str = ""
    shown: Sequence[Difference] = ()
    detail: bool = False


def render_text(report: ArmsReport) -> str:
    """Lay the experiment out for a terminal; tables of details are left to the Markdown."""
    sections = [s for s in _sections(report) if not s.detail]
    blocks = [_title(report.strict), conclude(report.strict)]
    blocks.append("\n".join(_sentences(report, sections)))
    blocks += ["\n".join(filter(None, (s.title, s.intro, _text_table(s.frame)))) for s in sections]
    blocks.append("\n".join(_notes(report)))
    return "\n\n".join(blocks) + "\n"


def render_markdown(report: ArmsReport) -> str:
    """Lay the experiment out as Markdown, with every class and what the difference is made of."""
    sections = list(_sections(report))
    parts = [f"# {_title(report.strict)}", f"**{escape_markup(conclude(report.strict))}**"]
    parts.append("\n".join(f"- {escape_markup(line)}" for line in _sentences(report, sections)))
    for section in sections:
        parts += [f"## {section.title}", section.intro, markdown_table(section.frame)]
    parts.append("## Notes")
    parts.append("\n".join(f"- {escape_markup(line)}" for line in _notes(report)))
    return "\n\n".join(part for part in parts if part) + "\n"


def _title(comparison: Comparison) -> str:
    plural = "" if comparison.seeds == 1 else "s"
    return (
        f"Zero-shot comparison of {len(comparison.arms)} arms, {comparison.seeds} seed{plural} each"
    )


def _sentences(report: ArmsReport, sections: Sequence[_Section]) -> list[str]:
    strict = report.strict
    lines = [
        *describe_differences(strict),
        describe_leave_one_out(strict),
        *describe_worth(strict),
        warn_of_many((d for section in sections for d in section.shown), strict.level),
    ]
    return [line for line in lines if line]


def _sections(report: ArmsReport) -> Iterator[_Section]:
    strict = report.strict
    for comparison in (strict, report.compat):
        title = f"mIoU in percent, {comparison.mode}"
        yield _Section(title, scores_frame(comparison).map(lambda value: f"{value:.1f}"))
    yield _Section("Pixel accuracy in percent", accuracy_frame(strict))
    published = published_frame(strict.mean_iou[strict.reference])
    if not published.empty:
        table = load_published(ZERO_SHOT)
        yield _Section(
            "Published beside it: MSeg's mIoU in percent",
            published,
            f"{table.source}. Another network, other training and all 194 classes: {table.note}.",
        )
    if len(strict.arms) > 1:
        yield from _differences(report)
        yield from _parts(report)
    if report.validation:
        yield _Section(
            "mIoU in percent on the training datasets' other splits",
            validation_frame(report.validation),
            "In the universal classes, for all arms against the truth of the reference.",
        )
    for test in strict.tests:
        yield _Section(
            f"IoU per class on {test}, in percent",
            class_frame(strict, report.attribution, test),
            "part: what the class brings to the difference of mean IoU, in points.",
            shown=[
                d for by_test in strict.class_differences.values() for d in by_test[test].values()
            ],
            detail=True,
        )


def _differences(report: ArmsReport) -> Iterator[_Section]:
    strict = report.strict
    yield _Section(
        f"{strict.reference} minus each other arm, in points ({strict.mode})",
        differences_frame(strict),
        f"With {strict.level:.0%} intervals over images and seeds.",
        shown=[
            *(d for by_test in strict.differences.values() for d in by_test.values()),
            *strict.harmonic_differences.values(),
        ],
    )
    if strict.leave_one_out:
        yield _Section(
            "The difference of the harmonic mean with one test dataset left out, in points",
            leave_one_out_frame(strict),
            shown=[d for by_arm in strict.leave_one_out.values() for d in by_arm.values()],
            detail=len(strict.tests) == 2,  # then it repeats the single tests
        )
    if report.others:
        yield _Section(
            "Harmonic mean at every declared resolution, in percent, and its differences in points",
            resolutions_frame(strict, report.others, label="as above"),
            "The first was declared beforehand to compare by; none was chosen on the test data.",
            shown=[
                d for other in report.others.values() for d in other.harmonic_differences.values()
            ],
        )
    for label, comparison in report.others.items():
        yield _Section(
            f"mIoU in percent at {label}, {comparison.mode}",
            scores_frame(comparison).map(lambda value: f"{value:.1f}"),
            detail=True,
        )


def _parts(report: ArmsReport) -> Iterator[_Section]:
    strict, attribution = report.strict, report.attribution
    if len(strict.tests) > 1:
        yield _Section(
            "What each test dataset brings to the difference of the harmonic mean, in points",
            harmonic_parts_frame(attribution),
            "Each column adds up to the difference; * leaves 0 out.",
            shown=[d for parts in attribution.tests.values() for d in parts.values()],
            detail=True,
        )
    if not report.splits:
        return
    rival = choose_rival(strict)
    for arm in strict.arms:
        if arm == strict.reference or arm.startswith(WITHOUT):
            continue
        tables = (*attribution.splits[arm].values(), attribution.harmonic[arm])
        yield _Section(
            f"What each split class brings to {strict.reference} minus {arm}, in points",
            split_parts_frame(attribution, arm, worth=worth_of_tasks(strict)),
            PARTS,
            shown=[d for table in tables for n, d in table.items() if n not in attribution.idle],
            detail=arm != rival,
        )


def _notes(report: ArmsReport) -> list[str]:
    strict = report.strict
    lines = [
        f"{test}: {strict.images[test]} images; left out of the strict mean, since they never occur or "
        f"nothing trained feeds them: {', '.join(names)}."
        for test, names in strict.left_out.items()
        if names
    ]
    lines += describe_splits(report.attribution)
    lines.append(
        f"{strict.note}. Images are taken to be independent; where they are frames of one video, intervals are too "
        "narrow."
    )
    return [*lines, *describe_provenance(report.provenance)]


def _text_table(frame: pd.DataFrame) -> str:
    """Lay a frame out for a terminal: a block per column where it would be too wide."""
    text = frame.to_string()
    if max(map(len, text.splitlines())) <= WIDEST:
        return text
    width = max(len(str(name)) for name in frame.index)
    blocks = []
    for column in frame.columns:
        cells = zip(frame.index, frame[column], strict=True)
        lines = [f"  {name!s:<{width}}  {cell}" for name, cell in cells]
        blocks.append("\n".join([str(column), *lines]))
    return "\n".join(blocks)
