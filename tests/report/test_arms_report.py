"""The report of an experiment: its tables and its two renderings."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from mseg_curate.core.attribution import SplitClass
from mseg_curate.core.compare import Comparison, Difference
from mseg_curate.report import (
    ArmsReport,
    Provenance,
    conclude,
    format_difference,
    markdown_table,
    render_markdown,
    render_text,
    scores_frame,
)

Compare = Callable[..., Comparison]
SHARES = {
    "relabeled": (0.70, 0.715),
    "unrelabeled": (0.60, 0.62),
    "ignored": (0.70, 0.69),
    "without-animals": (0.65, 0.66),
}
SPLITS = (
    SplitClass("animals", "coarse", "animal", ("cat",), {"voc2012": ("car",)}),
    SplitClass("lamps", "zoo", "lamp", ("lamp",), {}),
)


@pytest.fixture
def report(compare: Compare, provenance: Provenance) -> ArmsReport:
    """All that a report can hold, on a test dataset that MSeg has and one that it has not."""
    strict, compat = (
        compare(SHARES, tests=("voc2012", "yard"), mode=m) for m in ("strict", "compat")
    )
    return ArmsReport(
        strict,
        compat,
        provenance,
        others={"512 px, 6 scales": strict},
        validation={"relabeled": {"coarse": 0.51}, "ignored": {"coarse": 0.42}},
        splits=SPLITS,
    )


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (Difference(0.05, 0.02, 0.08), "+5.0 [+2.0, +8.0]"),
        (Difference(-0.04, -0.07, -0.01), "-4.0 [-7.0, -1.0]"),
        (Difference(0.01, -0.02, 0.04), "+1.0 [-2.0, +4.0] not distinguishable"),
        (Difference(float("nan"), float("nan"), float("nan")), "not defined"),
    ],
)
def test_differences_are_written_in_points(found: Difference, text: str) -> None:
    """A difference is points with its interval, and says so where it cannot be told from 0."""
    assert format_difference(found) == text


def test_scores_have_a_row_per_test_and_the_harmonic_mean(compare: Compare) -> None:
    """Mean IoU is in percent, a row per test dataset, a column per arm, the harmonic mean last."""
    frame = scores_frame(compare(SHARES))
    assert list(frame.index) == ["near", "far", "harmonic mean"]
    assert list(frame.columns) == list(SHARES)
    assert frame.loc["far"].tolist() == pytest.approx([70.75, 61.0, 69.5, 65.5])


def test_the_verdict_comes_first(report: ArmsReport) -> None:
    """Both renderings begin with the title and the one sentence, and warn where many intervals follow."""
    text, markdown = render_text(report), render_markdown(report)
    title = "Zero-shot comparison of 4 arms, 2 seeds each"
    assert text.startswith(f"{title}\n\n{conclude(report.strict)}\n\n")
    assert markdown.startswith(f"# {title}\n\n**{conclude(report.strict)}**\n\n")
    assert "intervals of 95%" in text
    assert "intervals of 95%" in markdown
    assert "Task animals: " in text


def test_text_for_the_terminal(report: ArmsReport) -> None:
    """The terminal shows the means, the differences, their parts, and what proves that they may be compared."""
    text = render_text(report)
    for title in (
        "mIoU in percent, strict",
        "mIoU in percent, compat",
        "Pixel accuracy in percent",
        "Published beside it: MSeg's mIoU in percent",
        "relabeled minus each other arm, in points (strict)",
        "Harmonic mean at every declared resolution, in percent, and its differences in points",
        "What each split class brings to relabeled minus ignored, in points",
        "mIoU in percent on the training datasets' other splits",
    ):
        assert title in text.splitlines(), title
    # The other arms' parts, the classes, and what leaving one of two tests out repeats are for the Markdown.
    assert "relabeled minus unrelabeled, in points" not in text
    assert "IoU per class" not in text
    assert "left out, in points" not in text
    for line in (
        "voc2012: 10 images; left out of the strict mean, since they never occur or nothing trained feeds "
        "them: ghost.",
        "2 seeds (0, 1), 300 steps, from random weights, on cpu with torch 2.13.0; 1.5 min of "
        "training and 0.5 min of evaluation, all runs added up.",
    ):
        assert line in text.splitlines()
    assert "relabeled 11111111, unrelabeled 22222222, ignored 33333333" in text
    assert "nan" not in text


def test_a_wide_table_is_laid_out_by_column(compare: Compare, provenance: Provenance) -> None:
    """A table too wide for a terminal is a block per column, and none of its cells is lost."""
    many = {f"alternative-{n}": (0.5, 0.6 + n / 100) for n in range(8)}
    strict = compare({"relabeled": (0.7, 0.71), **many})
    text = render_text(ArmsReport(strict, strict, provenance))
    block = text.partition("minus each other arm")[2].partition("\n\n")[0]
    assert max(map(len, block.splitlines())) < 80
    for arm in many:
        assert f"− {arm}" in block.splitlines()
        assert f"  far            {format_difference(strict.differences[arm]['far'])}" in block


def test_markdown_has_every_table(report: ArmsReport) -> None:
    """Every table has as many cells in each row as in its head; classes that do not count show a dash."""
    text = render_markdown(report)
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    assert len(tables) == len(titles) - 1  # the notes are no table
    for table in tables:
        assert len({line.count("|") for line in table}) == 1
        assert set(table[1]) <= set("| -")
    ghost = next(line for line in text.splitlines() if line.startswith("| ghost |"))
    assert set(ghost.removeprefix("| ghost |")) <= set("| –")
    for test in ("voc2012", "yard"):
        assert f"## IoU per class on {test}, in percent" in titles
    for arm in ("unrelabeled", "ignored"):
        assert f"## What each split class brings to relabeled minus {arm}, in points" in titles
    assert "nan" not in text


def test_parts_are_shown_with_what_leaving_out_costs(report: ArmsReport) -> None:
    """A split class has its part per test, and beside it what the task was worth when left out; idle ones a note."""
    text = render_markdown(report)
    table = text.split("brings to relabeled minus unrelabeled, in points")[1].split("## ")[0]
    animals = next(line for line in table.splitlines() if line.startswith("| animals |"))
    worth = 100 * report.strict.harmonic_differences["without-animals"].value
    assert f"| {worth:+.2f} [" in animals
    # Half of the two classes that count on voc2012, none of those on yard.
    half = 50 * report.strict.differences["unrelabeled"]["voc2012"].value
    assert animals.startswith(f"| animals | {half:+.2f} [")
    assert "| +0.00 [+0.00, +0.00] |" in animals
    assert "| lamps |" not in table
    assert "No test class that counts is fed by lamps" in text


def test_published_rows_stand_beside(report: ArmsReport) -> None:
    """A test dataset that MSeg tested on has its published rows beside it; others do not."""
    text = render_markdown(report)
    block = text.split("## Published beside it")[1].split("## ")[0]
    assert "| voc2012 | 70.7 | 70.2 | 77.8 |" in block
    assert "| h. mean of all six | 59.2 | 57.6 | – |" in block
    assert "| yard |" not in block


def test_unknown_tests_have_no_published_rows(compare: Compare, provenance: Provenance) -> None:
    """Where MSeg tested on none of the datasets nothing published is shown."""
    strict = compare(SHARES)
    assert "Published" not in render_markdown(ArmsReport(strict, strict, provenance))


def test_three_tests_are_left_out_in_turn(compare: Compare, provenance: Provenance) -> None:
    """From three tests on, the terminal shows the differences with each left out."""
    strict = compare(SHARES, tests=("near", "far", "odd"))
    text = render_text(ArmsReport(strict, strict, provenance))
    assert "The difference of the harmonic mean with one test dataset left out, in points" in text
    assert "without odd" in text


def test_one_test_dataset_and_one_arm(compare: Compare, provenance: Provenance) -> None:
    """With one test dataset, or one arm, every table and sentence is whole, too."""
    single = compare(SHARES, tests=("near",))
    report = ArmsReport(single, single, provenance)
    assert "nan" not in render_text(report)
    assert "## IoU per class on near" in render_markdown(report)
    alone = compare({"relabeled": (0.5,)})
    report = ArmsReport(alone, alone, provenance)
    assert render_text(report).startswith(
        "Zero-shot comparison of 1 arms, 1 seed each\n\nNo other arm"
    )
    assert "minus" not in render_markdown(report)


def test_equal_labels_are_noted(report: ArmsReport, provenance: Provenance) -> None:
    """Arms that have the same labels are named: their difference is noise."""
    labels = {"relabeled": "1" * 64, "unrelabeled": "2" * 64, "ignored": "1" * 64}
    changed = replace(provenance, labels_sha256=labels, weights_sha256="e" * 64)
    text = render_text(replace(report, provenance=changed))
    assert "The arms relabeled and ignored have the same labels." in text
    assert "from weights eeeeeeeeeeee" in text
    assert "same labels" not in render_text(report)


def test_names_cannot_break_a_table(compare: Compare) -> None:
    """A bar or a line break in a name stays in its cell."""
    frame = scores_frame(compare({"relabeled": (0.5,), "a|b\nc": (0.5,)}))
    head, *rest = markdown_table(frame).splitlines()
    assert head == "| | relabeled | a\\|b c |"
    assert len(rest) == 4


def test_names_cannot_become_markup(compare: Compare, provenance: Provenance) -> None:
    """A name that looks like HTML is shown as it is, in cells as in sentences; the terminal has it unchanged."""
    single = compare({"relabeled": (0.5,), "<b>&": (0.5,)})
    report = ArmsReport(single, single, provenance)
    text = render_markdown(report)
    assert "| | relabeled | &lt;b>&amp; |" in text
    assert "<b>" not in text
    assert "scored exactly as <b>&" in render_text(report)


def test_reporting_needs_no_torch() -> None:
    """The report is made of numbers; importing it loads neither torch nor the store."""
    code = "import sys, mseg_curate.report; sys.exit(any(m in sys.modules for m in ('torch', 'sqlalchemy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
