"""The tables and sentences of a report, from comparisons made by hand."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace

import pytest

from mseg_curate.core.compare import Comparison, Difference
from mseg_curate.report import (
    Provenance,
    conclude,
    format_difference,
    render_markdown,
    render_text,
    scores_frame,
)

BETTER = Difference(0.05, 0.02, 0.08)
WORSE = Difference(-0.04, -0.07, -0.01)
UNCLEAR = Difference(0.01, -0.02, 0.04)
UNDEFINED = Difference(math.nan, math.nan, math.nan)
PROVENANCE = Provenance(
    experiment="runs",
    config_sha256="c" * 64,
    shared_sha256="d" * 64,
    labels_sha256={"relabeled": "1" * 64, "unrelabeled": "2" * 64, "ignored": "3" * 64},
    weights_sha256=None,
    seeds=[0, 1],
    device="cpu",
    torch_version="2.13.0",
    steps=300,
    train_s=90.0,
    eval_s=30.0,
)


def compare(*tests: str) -> Comparison:
    """Three arms on some tests, of classes `car` and `sky`, the second of which does not count."""
    arms = ("relabeled", "unrelabeled", "ignored")
    found = {"unrelabeled": BETTER, "ignored": UNCLEAR}
    scores = dict(zip(arms, (0.623, 0.573, 0.613), strict=True))
    return Comparison(
        reference="relabeled",
        arms=arms,
        tests=tests,
        mode="strict",
        level=0.95,
        resamples=2000,
        seeds=2,
        seeds_resampled=True,
        images=dict.fromkeys(tests, 60),
        left_out={test: ("sky",) if test == tests[0] else () for test in tests},
        mean_iou={arm: dict.fromkeys(tests, score) for arm, score in scores.items()},
        harmonic=scores,
        class_iou={
            arm: {test: {"car": score, "sky": math.nan} for test in tests}
            for arm, score in scores.items()
        },
        differences={arm: dict.fromkeys(tests, value) for arm, value in found.items()},
        harmonic_differences=found,
        class_differences={
            arm: {test: {"car": value, "sky": UNDEFINED} for test in tests}
            for arm, value in found.items()
        },
        note="95% percentile intervals of 2000 paired resamples",
    )


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (BETTER, "+5.0 [+2.0, +8.0]"),
        (WORSE, "-4.0 [-7.0, -1.0]"),
        (UNCLEAR, "+1.0 [-2.0, +4.0] not distinguishable"),
        (UNDEFINED, "not defined"),
    ],
)
def test_differences_are_written_in_points(found: Difference, text: str) -> None:
    """A difference is points with its interval, and says so where it cannot be told from 0."""
    assert format_difference(found) == text


def test_sentences_say_what_relabeling_was_worth() -> None:
    """There is a sentence per other arm, with the verdict that the interval allows, and no more than that."""
    better, unclear = conclude(compare("near", "far"))
    assert better == (
        "relabeled is better than unrelabeled in the harmonic mean: +5.0 points, "
        "95% interval +2.0 to +8.0."
    )
    assert unclear == (
        "relabeled is not distinguishable from ignored in the harmonic mean: +1.0 points, "
        "95% interval -2.0 to +4.0."
    )
    found = {"unrelabeled": WORSE, "ignored": UNDEFINED}
    worse, undefined = conclude(replace(compare("near", "far"), harmonic_differences=found))
    assert "is worse than unrelabeled" in worse
    assert undefined == "relabeled cannot be compared with ignored in the harmonic mean."


def test_scores_have_a_row_per_test_and_the_harmonic_mean() -> None:
    """Mean IoU is in percent, a row per test dataset, a column per arm, the harmonic mean last."""
    frame = scores_frame(compare("near", "far"))
    assert list(frame.index) == ["near", "far", "harmonic mean"]
    assert list(frame.columns) == ["relabeled", "unrelabeled", "ignored"]
    assert frame.loc["far"].tolist() == pytest.approx([62.3, 57.3, 61.3])


def test_text_for_the_terminal() -> None:
    """The terminal shows both means, every difference, the verdicts, and what proves that they may be compared."""
    strict = compare("near", "far")
    text = render_text([strict, replace(strict, mode="compat")], PROVENANCE)
    assert text.startswith("Zero-shot comparison of 3 arms, 2 seeds each\n")
    assert "mIoU in percent, strict" in text
    assert "mIoU in percent, compat" in text
    assert text.count("not distinguishable") == 4
    for line in (
        "  far                    +1.0 [-2.0, +4.0] not distinguishable",
        "near: 60 images; left out of the strict mean, since they never occur or nothing trained "
        "feeds them: sky.",
        "2 seeds (0, 1), 300 steps, from random weights, on cpu with torch 2.13.0; 1.5 min of "
        "training and 0.5 min of evaluation, all runs added up.",
    ):
        assert line in text.splitlines()
    assert "relabeled 11111111, unrelabeled 22222222, ignored 33333333" in text
    assert "far: 60 images" not in text
    assert "same labels" not in text


def test_equal_labels_are_noted() -> None:
    """Arms that have the same labels are named: their difference is noise."""
    labels = {"relabeled": "1" * 64, "unrelabeled": "2" * 64, "ignored": "1" * 64}
    provenance = replace(PROVENANCE, labels_sha256=labels, weights_sha256="e" * 64)
    text = render_text([compare("near")], provenance)
    assert "The arms relabeled and ignored have the same labels." in text
    assert "from weights eeeeeeeeeeee" in text


def test_one_test_dataset() -> None:
    """With one test dataset every table and sentence is whole, too."""
    strict = compare("near")
    text = render_text([strict, strict], PROVENANCE)
    assert "near" in text
    assert "nan" not in text
    assert len(conclude(strict)) == 2
    assert "## IoU per class on near" in render_markdown([strict, strict], PROVENANCE)


def test_markdown_tables_are_whole() -> None:
    """Every Markdown table has as many cells in each row as in its head; classes that do not count show a dash."""
    strict = compare("near", "far")
    text = render_markdown([strict, replace(strict, mode="compat")], PROVENANCE)
    assert text.startswith("# Zero-shot comparison of 3 arms, 2 seeds each\n")
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 5
    for table in tables:
        assert len({line.count("|") for line in table}) == 1
        assert set(table[1]) <= set("| -")
    assert "| sky | – | – | – | – | – |" in text
    assert "| car | 62.3 | 57.3 | 61.3 | +5.0 [+2.0, +8.0] |" in text
    assert "nan" not in text


def test_reporting_needs_no_torch() -> None:
    """The report is made of numbers; importing it loads no torch."""
    code = "import sys, mseg_curate.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
