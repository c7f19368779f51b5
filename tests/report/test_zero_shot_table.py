"""The zero-shot table and the ladder from one's own runs."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from mseg_curate.core.compare import Runs
from mseg_curate.core.metrics import ImageCounts
from mseg_curate.errors import InputError
from mseg_curate.report import Provenance, render_ladder, render_zero_shot_table

MakeRuns = Callable[..., Runs]
Count = Callable[..., ImageCounts]
SHARES = {"coarse": (0.4, 0.5), "mix": (0.6, 0.62), "mix without relabeling": (0.5, 0.58)}


def row_of(markdown: str, table: str, name: str) -> list[str]:
    """The cells of a row of one Markdown table."""
    block = markdown.partition(f"## {table}")[2].partition("## ")[0]
    (line,) = [line for line in block.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_rows_are_means_over_seeds(make_runs: MakeRuns, provenance: Provenance) -> None:
    """A cell is the mean of the seeds ± their standard deviation; compat counts the class that never occurs."""
    text, markdown = render_zero_shot_table(make_runs(SHARES), provenance=provenance)
    sd = 100 * statistics.stdev((0.4, 0.5))
    strict = row_of(markdown, "Zero-shot mIoU in percent, strict", "coarse")
    assert strict == [f"45.0 ± {sd:.1f}"] * 3
    compat = row_of(markdown, "Zero-shot mIoU in percent, compat", "coarse")
    assert compat == [f"30.0 ± {2 * sd / 3:.1f}"] * 3
    assert "near: left out of the strict mean of every row" in text
    assert "Mean ± standard deviation over 2 seeds." in text
    assert ": ghost." in text
    names = [line.split("  ")[0] for line in text.splitlines()]
    assert names.index("coarse") < names.index("mix") < names.index("mix without relabeling")
    assert "nan" not in text


def test_the_oracle_is_the_last_row(
    make_runs: MakeRuns, count: Count, provenance: Provenance
) -> None:
    """The oracle has a cell where it was run, and a harmonic mean only where it was run on every test."""
    runs = make_runs(SHARES)
    partly = {"near": [count(0.8), count(0.9)]}
    text, markdown = render_zero_shot_table(runs, oracle=partly, provenance=provenance)
    table = "Zero-shot mIoU in percent, strict"
    assert row_of(markdown, table, "Oracle") == ["85.0 ± 7.1", "–", "–"]
    assert "No oracle for far: " in text
    wholly = {**partly, "far": [count(0.4), count(0.5)]}
    _, markdown = render_zero_shot_table(runs, oracle=wholly, provenance=provenance)
    means = [2 / (1 / 0.8 + 1 / 0.4), 2 / (1 / 0.9 + 1 / 0.5)]
    expected = f"{50 * sum(means):.1f} ± {100 * statistics.stdev(means):.1f}"
    assert row_of(markdown, table, "Oracle")[-1] == expected


def test_oracles_of_other_images_are_told(
    make_runs: MakeRuns, count: Count, provenance: Provenance
) -> None:
    """An oracle may be tested on fewer images, which is said; other classes or an unknown test are errors."""
    runs = make_runs(SHARES)
    text, _ = render_zero_shot_table(
        runs, oracle={"near": [count(0.8, images=4)]}, provenance=provenance
    )
    assert "Oracle, near: tested on 4 images, the others on 10." in text
    with pytest.raises(
        InputError, match="oracle of an unknown test: expected near, far, found odd"
    ):
        render_zero_shot_table(runs, oracle={"odd": [count(0.8)]}, provenance=provenance)
    other = {"near": [count(0.8, classes=("a", "b", "ghost"))]}
    with pytest.raises(InputError, match="the oracle of near has other classes"):
        render_zero_shot_table(runs, oracle=other, provenance=provenance)


def test_published_rows_can_stand_below(make_runs: MakeRuns, provenance: Provenance) -> None:
    """MSeg's own table is printed with its source, or left away."""
    _, markdown = render_zero_shot_table(make_runs(SHARES), provenance=provenance, published=True)
    table = "Published: Zero-shot mIoU on MSeg's six test datasets (HRNet-W48)"
    assert row_of(markdown, table, "MSeg-1m")[-1] == "59.2"
    assert row_of(markdown, table, "Oracle")[3] == "–"
    assert "Lambert, Liu, Sener" in markdown
    _, without = render_zero_shot_table(make_runs(SHARES), provenance=provenance, published=False)
    assert "Published" not in without


def test_the_same_classes_count_in_every_row(
    make_runs: MakeRuns, count: Count, provenance: Provenance
) -> None:
    """A dataset that lacks a class scores 0 in it, as long as another row can predict it."""
    blind = count(0.6)
    found = blind.intersection * np.array([1, 0, 1])
    blind = replace(
        blind, predictable=np.array([True, False, True]), intersection=found, prediction=found
    )
    rows = {"half": [{"near": blind}], "mix": [{"near": count(0.6)}]}
    text, markdown = render_zero_shot_table(rows, provenance=provenance, published=False)
    table = "Zero-shot mIoU in percent, strict"
    assert row_of(markdown, table, "half") == ["30.0"]
    assert row_of(markdown, table, "mix") == ["60.0"]
    assert "One seed each: how far chance alone moves a number is not known." in text


def test_rows_that_cannot_stand_together(
    make_runs: MakeRuns, count: Count, provenance: Provenance
) -> None:
    """No row, rows of other tests, and rows of other images are errors that name the row."""
    with pytest.raises(InputError, match="no run to lay out"):
        render_zero_shot_table({}, provenance=provenance)
    rows = {"coarse": [{"near": count(0.5)}], "mix": [{"far": count(0.5)}]}
    with pytest.raises(InputError, match="mix has other tests"):
        render_ladder(rows, provenance)
    rows = {"coarse": [{"near": count(0.5)}], "mix": [{"near": count(0.5, images=3)}]}
    with pytest.raises(
        InputError, match="mix, test near, was evaluated on other images or classes than"
    ):
        render_zero_shot_table(rows, provenance=provenance)
    with pytest.raises(InputError, match="no class can score: found near"):
        render_ladder({"coarse": [{"near": count(0.5, classes=("ghost",))}]}, provenance)


def test_the_ladder_has_both_measures_and_the_published_row(
    make_runs: MakeRuns, provenance: Provenance
) -> None:
    """A rung has mean IoU and pixel accuracy per test, and the published ADE20K row beside it where there is one."""
    runs = make_runs({"baseline": (0.4, 0.5), "pyramid": (0.6, 0.62), "own": (0.7, 0.7)})
    beside = {"baseline": "ResNet50-Baseline", "pyramid": "ResNet50+DA+AL+PSP"}
    text, markdown = render_ladder(runs, provenance, published=beside)
    table = "mIoU and pixel accuracy in percent, strict"
    cells = row_of(markdown, table, "pyramid")
    assert cells == [*["61.0 ± 1.4"] * 5, "ResNet50+DA+AL+PSP", "41.68", "80.04"]
    assert row_of(markdown, table, "own")[-3:] == ["–", "–", "–"]
    assert "Published: ADE20K, validation set" in text
    plain, _ = render_ladder(runs, provenance)
    assert "ADE20K" not in plain
    with pytest.raises(InputError, match="table ade20k has no such row"):
        render_ladder(runs, provenance, published={"baseline": "ResNet51"})
