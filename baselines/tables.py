"""Tables of a whole row of experiments: what each row trains, and which result it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Final

from baselines.config import (
    LADDER,
    NETWORKS,
    RESNETS,
    EvalConfig,
    TrainConfig,
)
from baselines.experiment import Entry
from baselines.exports import Export, ZeroShotSet, read_export
from baselines.predict import resolutions
from baselines.recipe import PLAIN, Recipe, Study
from baselines.results import RunResult
from mseg_curate.core.arms import ORACLE, folder_name
from mseg_curate.core.metrics import ImageCounts
from mseg_curate.errors import ExportError, TrainingError

__all__ = [
    "MIX",
    "PLAIN_MIX",
    "Row",
    "Table",
    "deepen",
    "ladder_table",
    "network_table",
    "rows_of",
    "validation_of",
    "zero_shot_table",
]

MIX: Final = "mix"
PLAIN_MIX: Final = "mix without relabeling"

# Zhao et al. go from 50 layers to 269; the others go to the next published depth.
DEEPER: Final[Mapping[str, str]] = {
    **dict(pairwise(RESNETS)),
    "resnet50": "resnet269",
}

UNCHANGED: Final[Mapping[str, object]] = MappingProxyType({})

Counts = Mapping[str, ImageCounts]


@dataclass(frozen=True)
class Row:
    """A row of a table: the entry whose results it shows, and at which resolution ('' is the declared one).

    `test` is the dataset that an oracle was trained for; other rows have all tests.
    """

    name: str
    entry: str
    resolution: str = ""
    test: str = ""


@dataclass(frozen=True)
class Table:
    """Entries to be run, the rows that show them, and what a reader must know about rows that are not there."""

    entries: tuple[Entry, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


def zero_shot_table(
    exports: Mapping[str, Path],
    *,
    recipe: Recipe,
    reference: str = "relabeled",
) -> Table:
    """Plan MSeg's zero-shot table: every training dataset alone, the mix, the mix without relabeling, the oracles.

    `exports` holds the arms `reference` and `unrelabeled`, and under `oracle-…` an export for every oracle. All is
    trained with one configuration. Raises InputError where an arm is missing, ExportError for an oracle that is none,
    or is tested on other images than the mix.
    """
    Study("zero-shot").check_arms(exports, reference=reference)
    mix = read_export(exports[reference])
    truth = exports[reference]
    entries, rows, notes = [], [], []
    # Weights by name speak of all datasets; a single one is alone anyway.
    single = {"dataset_weights": "equal"} if "=" in recipe.config.dataset_weights else UNCHANGED
    # Alone, a single training dataset is the mix.
    for dataset in mix.train if len(mix.train) > 1 else ():
        name = "only-" + folder_name(dataset.name)
        alone = _entry(name, truth, recipe, changes=single, truth_dir=truth)
        entries.append(replace(alone, datasets=(dataset.name,)))
        rows.append(Row(dataset.name, name))
    for title, arm in ((MIX, reference), (PLAIN_MIX, PLAIN)):
        entries.append(_entry(arm, exports[arm], recipe, truth_dir=truth))
        rows.append(Row(title, arm))
    for name, folder in exports.items():
        if name.startswith(ORACLE):
            test = _test_of_oracle(read_export(folder), mix, name=name)
            entries.append(_entry(name, folder, recipe, changes=single))
            rows.append(Row(f"oracle {test}", name, test=test))
    if not any(row.test for row in rows):
        # Where there are some, the report names the tests that have none.
        notes.append(
            "No oracle: no test dataset has a split of its own to train on, or none was exported."
        )
    return Table(tuple(entries), tuple(rows), tuple(notes))


def ladder_table(
    export_dir: Path,
    *,
    recipe: Recipe,
    deeper_weights: Path | None = None,
) -> Table:
    """Plan the ladder of PSPNet's paper (table 4 and section 5.2) on one export, whose full recipe is `recipe`.

    The last rung differs from the one before in its evaluation alone: both show one training. A rung whose backbone
    has no deeper one, or no weights to start from where the others have, is left out.
    """
    *rungs, deeper, many = LADDER
    config = recipe.config
    entries = [_entry(rung.name, export_dir, recipe, changes=rung.train) for rung in rungs]
    notes = []
    backbone = deepen(config.backbone)
    if backbone is None:
        notes.append(
            f"No rung {deeper.name}: no published backbone is deeper than {config.backbone}."
        )
    elif config.weights is not None and deeper_weights is None:
        notes.append(
            f"No rung {deeper.name}: the weights given are of {config.backbone}, not of {backbone}; "
            "give those with --deeper-weights."
        )
    else:
        changes = {**deeper.train, "backbone": backbone, "weights": deeper_weights}
        entries.append(_entry(deeper.name, export_dir, recipe, changes=changes))
    last = entries[-1]
    wide = replace(recipe.evaluation, also_scales=many.evaluation["scales"])  # type: ignore[arg-type]
    rows = [Row(entry.name, entry.name) for entry in entries]
    rows.append(Row(many.name, last.name, resolution=_label_of_scales(wide)))
    if backbone is None or last.name != deeper.name:
        notes.append(f"{many.name} is {last.name} at several scales.")
    return Table((*entries[:-1], replace(last, evaluation=wide)), tuple(rows), tuple(notes))


def network_table(export_dir: Path, networks: Sequence[str], *, recipe: Recipe) -> Table:
    """Plan a table of networks on one export, each on its own backbone where it cannot stand on the given one."""
    entries, notes = [], []
    for name in networks:
        entry = _entry(name, export_dir, recipe, changes=_stand_on(recipe.config, name))
        if entry.config.backbone != recipe.config.backbone:
            start = ", from random weights" if recipe.config.weights is not None else ""
            notes.append(f"{name} stands on {entry.config.backbone}{start}.")
        entries.append(entry)
    return Table(tuple(entries), tuple(Row(name, name) for name in networks), tuple(notes))


def _entry(
    name: str,
    export_dir: Path,
    recipe: Recipe,
    *,
    changes: Mapping[str, object] = UNCHANGED,
    truth_dir: Path | None = None,
) -> Entry:
    config = replace(recipe.config, **changes)  # type: ignore[arg-type]
    same_weights = config.weights is not None and config.weights == recipe.config.weights
    return Entry(
        name,
        export_dir,
        config,
        recipe.evaluation,
        truth_dir=truth_dir,
        weights_sha256=recipe.weights_sha256 if same_weights else None,
    )


def _stand_on(config: TrainConfig, network: str) -> dict[str, object]:
    """Return what changes for another network; on another backbone weights and frozen blocks do not fit."""
    if config.backbone in NETWORKS[network]:
        return {"network": network}
    return {
        "network": network,
        "backbone": NETWORKS[network][0],
        "weights": None,
        "frozen_blocks": 0,
    }


def deepen(backbone: str) -> str | None:
    """Return the next deeper published backbone, or None: resnet269 has none, nor have the other families."""
    return DEEPER.get(backbone)


def rows_of(
    table: Table, results: Sequence[RunResult], *, resolution: str = ""
) -> tuple[dict[str, list[Counts]], dict[str, list[Counts]]]:
    """Return the counts that each row shows, seeds ascending: rows by name, and oracles by their test dataset.

    At a further `resolution`, rows that show one of their own are left out. Raises TrainingError where a row has no
    results.
    """
    rows: dict[str, list[Counts]] = {}
    oracles: dict[str, list[Counts]] = {}
    for row in table.rows:
        if resolution and row.resolution:
            continue
        label = resolution or row.resolution
        found = _results_of(row, results)
        counts = [one.others[label] if label else one.tests for one in found]
        if row.test:
            oracles[row.test] = counts
        else:
            rows[row.name] = counts
    return rows, oracles


def validation_of(table: Table, results: Sequence[RunResult]) -> dict[str, list[Counts]]:
    """Return the counts of each row on the training datasets' other splits; empty where none was evaluated.

    Rows at a resolution of their own, and oracles, have none.
    """
    rows = [row for row in table.rows if not row.resolution and not row.test]
    found = {row.name: [one.validation for one in _results_of(row, results)] for row in rows}
    return {name: counts for name, counts in found.items() if all(counts)}


def _results_of(row: Row, results: Sequence[RunResult]) -> list[RunResult]:
    found = sorted((one for one in results if one.arm == row.entry), key=lambda one: one.seed)
    if not found:
        raise TrainingError(f"row {row.name}: no results of {row.entry}")
    return found


def _label_of_scales(evaluation: EvalConfig) -> str:
    """Return the label of the further average over scales; '' where the declared one is the same."""
    for resolution in resolutions(evaluation)[1:]:
        same = resolution.base_px == evaluation.base_px
        if same and resolution.scales == evaluation.also_scales:
            return resolution.label
    return ""


def _test_of_oracle(oracle: Export, mix: Export, *, name: str) -> str:
    """Return the test dataset of an oracle; raises ExportError unless the mix is tested on the very same."""
    if oracle.arm != name or len(oracle.tests) != 1:
        raise ExportError("not that oracle", path=oracle.folder, expected=name, found=oracle.arm)
    (test,) = oracle.tests
    same = [found for found in mix.tests if found.name == test.name]
    if not same or _fingerprint(test, oracle) != _fingerprint(same[0], mix):
        raise ExportError(
            f"the oracle {oracle.folder} is tested on other images, labels or classes than {mix.folder}",
            expected="exports of one store",
            hint="export both again",
        )
    return test.name


def _fingerprint(test: ZeroShotSet, export: Export) -> tuple[object, ...]:
    labels = [sample.label.relative_to(export.folder).as_posix() for sample in test.samples]
    return (
        test.classes,
        [(sample.image_id, sample.image.name, sample.size_hw) for sample in test.samples],
        [export.files.get(name) for name in labels],
    )
