"""The outcome of the real experiment as Markdown: the questions' own classes, the report, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from real_data import QUESTIONS

from baselines.results import RunResult, group_counts, load_results
from mseg_curate.core.compare import Comparison, Difference, compare_arms
from mseg_curate.core.metrics import ImageCounts
from mseg_curate.store import Store
from mseg_curate.store.engine import run_query

__all__ = ["render_condition", "render_costs"]

BOOTSTRAP_SEED: Final = 0
# 226,413 published decisions took 1.34 years of uninterrupted work (Lambert et al., CVPR 2020).
MSEG_PACE_S: Final = 1.34 * 365.25 * 86_400 / 226_413
ASKED: Final = (
    "SELECT task, COUNT(*), SUM(votes), SUM(outcome = 'resolved'), SUM(outcome = 'contested') "
    "FROM v_mask WHERE task IS NOT NULL GROUP BY task ORDER BY task"
)


@dataclass(frozen=True)
class Asked:
    """What was asked in one task of one store, and what came of it."""

    task: str
    masks: int
    decisions: int
    resolved: int
    contested: int


def render_condition(folder: Path, *, arms: Sequence[str], reference: str = "relabeled") -> str:
    """Return the tables of one condition: the classes in question first, then the report, two headings lower."""
    results = sorted(load_results(folder / "runs"), key=lambda result: arms.index(result.arm))
    comparison = _compare_questions(group_counts(results), reference)
    parts = [
        "### The classes in question: mean IoU in percent (strict)",
        _scores(comparison),
        f"#### {reference} minus each other arm, in points, with 95 % intervals over images and seeds",
        _differences(comparison),
        "#### Their classes, in percent",
        _classes(comparison),
    ]
    report = (folder / "runs" / "report.md").read_text(encoding="utf-8")
    parts.append(_lower_headings(report))
    return "\n\n".join(parts) + "\n"


def _compare_questions(
    counts: Mapping[str, Sequence[Mapping[str, ImageCounts]]], reference: str
) -> Comparison:
    """Compare the arms on each question's classes alone: a test of its own for each question and test dataset."""
    narrowed = {
        arm: [
            {
                f"{question.task}, {test}": _narrow(by_test[test], names)
                for question in QUESTIONS
                for test, names in question.tests.items()
            }
            for by_test in by_seed
        ]
        for arm, by_seed in counts.items()
    }
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    return compare_arms(narrowed, reference=reference, rng=rng, mode="strict")


def _narrow(counts: ImageCounts, names: Sequence[str]) -> ImageCounts:
    """Let only these classes count; what was predicted of the others still costs them."""
    wanted = np.isin(np.array(counts.classes), list(names))
    return replace(counts, predictable=counts.predictable & wanted)


def _scores(comparison: Comparison) -> str:
    rows = [
        [test, *(f"{100 * comparison.mean_iou[arm][test]:.1f}" for arm in comparison.arms)]
        for test in comparison.tests
    ]
    return _table(["", *comparison.arms], rows)


def _differences(comparison: Comparison) -> str:
    arms = list(comparison.differences)
    rows = [
        [test, *(_word(comparison.differences[arm][test]) for arm in arms)]
        for test in comparison.tests
    ]
    return _table(["", *(f"− {arm}" for arm in arms)], rows)


def _classes(comparison: Comparison) -> str:
    rows = []
    for test in comparison.tests:
        by_arm = [comparison.class_iou[arm][test] for arm in comparison.arms]
        counted = [name for name, value in by_arm[0].items() if not np.isnan(value)]
        rows += [
            [f"{name} ({test.split(', ')[1]})", *(f"{100 * found[name]:.1f}" for found in by_arm)]
            for name in counted
        ]
    return _table(["", *comparison.arms], rows)


def _word(found: Difference) -> str:
    text = f"{100 * found.value:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
    return f"**{text}**" if found.distinguishable else text


def _lower_headings(report: str) -> str:
    return "\n".join(f"##{line}" if line.startswith("#") else line for line in report.splitlines())


def render_costs(out: Path, *, conditions: Sequence[str], pace_s: float) -> str:
    """Return what it cost: masks and decisions asked, the time people would take, and the machine's time."""
    asked_rows, machine_rows = [], []
    for condition in conditions:
        for done in sorted((out / condition).glob("*.done"), key=_accuracy, reverse=True):
            if done.stem == "base":
                continue
            for asked in _read_asked(done.with_suffix(".db")):
                asked_rows.append([condition, f"{done.stem} %", *_describe(asked, pace_s)])
        machine_rows.append([condition, *_machine(load_results(out / condition / "runs"))])
    heads = ["condition", "accuracy", "task", "masks", "decisions", "resolved", "contested"]
    heads += [f"hours at {pace_s:g} s", f"hours at MSeg's {MSEG_PACE_S:.0f} s"]
    machine = [
        "condition",
        "runs",
        "training, s a run",
        "evaluation, s a run",
        "hours in all",
        "on",
    ]
    return _table(heads, asked_rows) + "\n\n" + _table(machine, machine_rows) + "\n"


def _accuracy(done: Path) -> int:
    return int(done.stem) if done.stem.isdecimal() else 0


def _read_asked(db: Path) -> list[Asked]:
    with Store.open(db) as store:
        _, rows = run_query(store, ASKED)
    return [
        Asked(str(task), int(masks), int(votes), int(resolved), int(contested))
        for task, masks, votes, resolved, contested in rows
    ]


def _describe(asked: Asked, pace_s: float) -> list[str]:
    numbers = (asked.masks, asked.decisions, asked.resolved, asked.contested)
    hours = (asked.decisions * pace / 3600 for pace in (pace_s, MSEG_PACE_S))
    return [asked.task, *map(str, numbers), *(f"{value:.2f}" for value in hours)]


def _machine(results: Sequence[RunResult]) -> list[str]:
    train = [result.train_s for result in results]
    measured = [result.eval_s for result in results]
    first = results[0]
    return [
        str(len(results)),
        f"{np.median(train):.0f}",
        f"{np.median(measured):.0f}",
        f"{(sum(train) + sum(measured)) / 3600:.2f}",
        f"{first.device}, {first.threads} thread{'s' if first.threads > 1 else ''} a run, torch {first.torch_version}",
    ]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
