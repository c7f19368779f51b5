"""The exports that a study compares."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mseg_curate.core.arms import Arm, ArmChoice, Unresolved
from mseg_curate.export import write_export
from mseg_curate.export_plan import can_have_oracle, check_choices
from mseg_curate.store import Store
from mseg_curate.store.datasets import list_datasets

if TYPE_CHECKING:
    from baselines.recipe import Study

__all__ = ["ALL_ARMS", "choose_arms", "export_arms"]

ALL_ARMS = (Arm.RELABELED, Arm.UNRELABELED, Arm.IGNORED, Arm.PARTIAL)


def export_arms(
    store: Store,
    out: Path,
    *,
    arms: Sequence[Arm | ArmChoice] = ALL_ARMS,
    unresolved: Unresolved = Unresolved.IGNORE,
    now: str,
) -> dict[str, Path]:
    """Export each arm into out/<arm>, images by reference; those that are there already are kept.

    All arms are checked before the first is written: see `plan_export`.
    """
    choices = [ArmChoice.of(arm) for arm in arms]
    with store.reading() as connection:
        check_choices(connection, choices)
    return {
        choice.name: write_export(
            store, out / choice.name, arm=choice, unresolved=unresolved, now=now
        ).path
        for choice in choices
    }


def choose_arms(store: Store, study: Study, *, reference: str) -> list[ArmChoice]:
    """Return the arms that a study is of, where none are named; the zero-shot table has every oracle that can be."""
    if study.kind == "arms":
        return [ArmChoice(arm) for arm in ALL_ARMS]
    if study.kind != "zero-shot":
        return [ArmChoice.parse(reference)]
    with store.reading() as connection:
        oracles = [
            ArmChoice(oracle=row.name)
            for row in list_datasets(connection)
            if can_have_oracle(connection, row)
        ]
    return list(dict.fromkeys([ArmChoice.parse(reference), ArmChoice(Arm.UNRELABELED), *oracles]))
