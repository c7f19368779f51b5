"""A study from beginning to end: what is compared is run, summarised and written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from baselines.experiment import run_entries, run_experiment
from baselines.recipe import Recipe, Study
from baselines.results import RunResult
from baselines.summary import (
    Summary,
    summarise_arms,
    summarise_ladder,
    summarise_networks,
    summarise_zero_shot,
)
from baselines.tables import Table, ladder_table, network_table, zero_shot_table
from mseg_curate.files import write_text_atomically

__all__ = ["Findings", "conduct"]


@dataclass(frozen=True)
class Findings:
    """The results of all runs, what they say, and the file that says it in full."""

    results: Sequence[RunResult]
    summary: Summary
    report: Path


def conduct(
    study: Study,
    exports: Mapping[str, Path],
    out: Path,
    *,
    recipe: Recipe,
    reference: str = "relabeled",
    say: Callable[[str], None] = lambda _: None,
) -> Findings | None:
    """Run everything that the study compares, and write its report into `out`.

    `exports` maps arms to folders; the ladder and the table of networks use `reference` alone. A stopped study goes
    on, and what another study in `out` has trained alike is taken up. Returns None in all but the first process of
    torchrun. Raises InputError where `Study.check_arms` does, else as `run_entries`.
    """
    study.check_arms(exports, reference=reference)
    if study.kind == "arms":
        results = run_experiment(
            exports,
            out,
            config=recipe.config,
            evaluation=recipe.evaluation,
            seeds=recipe.seeds,
            reference=reference,
            device=recipe.device,
            jobs=recipe.jobs,
            progress=recipe.progress,
            weights_sha256=recipe.weights_sha256,
            say=say,
        )
        if not results:
            return None
        summary = summarise_arms(results, exports, reference=reference, out=out)
    else:
        table = _plan(study, exports, recipe, reference)
        results = run_entries(
            table.entries,
            out,
            seeds=recipe.seeds,
            device=recipe.device,
            jobs=recipe.jobs,
            progress=recipe.progress,
            say=say,
        )
        if not results:
            return None
        summary = _summarise(study, table, results, out)
    report = out / study.report_name
    write_text_atomically(report, summary.markdown)
    return Findings(results, summary, report)


def _plan(study: Study, exports: Mapping[str, Path], recipe: Recipe, reference: str) -> Table:
    if study.kind == "zero-shot":
        return zero_shot_table(exports, recipe=recipe, reference=reference)
    if study.kind == "ladder":
        return ladder_table(exports[reference], recipe=recipe, deeper_weights=study.deeper_weights)
    return network_table(exports[reference], study.networks, recipe=recipe)


def _summarise(study: Study, table: Table, results: Sequence[RunResult], out: Path) -> Summary:
    summarise = {
        "zero-shot": summarise_zero_shot,
        "ladder": summarise_ladder,
        "networks": summarise_networks,
    }
    return summarise[study.kind](table, results, out)
