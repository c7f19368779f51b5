"""Run a study, put its scores into the store, and return its report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mseg_curate.baseline.scores import save_results
from mseg_curate.core.arms import Arm
from mseg_curate.core.compare import Comparison
from mseg_curate.errors import MissingExtraError, TrainingError
from mseg_curate.store import Store

if TYPE_CHECKING:
    from baselines.recipe import Recipe, Study

__all__ = ["Experiment", "run_baseline"]


@dataclass(frozen=True)
class Experiment:
    """A finished study: its table for the terminal and the report's file; of arms both comparisons, too."""

    text: str
    report: Path
    strict: Comparison | None = None
    compat: Comparison | None = None


def run_baseline(
    exports: Mapping[str, Path],
    out: Path,
    *,
    recipe: Recipe,
    study: Study | None = None,
    reference: str = Arm.RELABELED.value,
    store: Store | None = None,
    now: str,
    say: Callable[[str], None] = lambda _: None,
) -> Experiment:
    """Train and evaluate everything that `study` compares, the arms where none is given.

    Runs and scores go into the store where one is given, the report into `out`. A stopped experiment goes on.
    Raises MissingExtraError without torch, ExportError where the arms differ in more than their labels.
    """
    try:
        from baselines.recipe import Study  # noqa: PLC0415
        from baselines.study import conduct  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError(
            f"training needs {error.name}, which is not installed; "
            "install it with `pip install 'mseg-curate[train]'`"
        ) from error
    found = conduct(study or Study(), exports, out, recipe=recipe, reference=reference, say=say)
    if found is None:
        raise TrainingError(
            "several processes cannot share a store: start them with `torchrun … -m baselines`, and then run "
            "this with the same --out, which takes up what they finished"
        )
    if store is not None:
        save_results(store, found.results, experiment=str(out.resolve()), now=now)
    summary = found.summary
    return Experiment(summary.text, found.report, summary.strict, summary.compat)
