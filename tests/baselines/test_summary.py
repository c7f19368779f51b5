"""Summaries: names of any script, and all machines that took part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from baselines.config import EvalConfig, TrainConfig
from baselines.experiment import run_experiment
from baselines.exports import SplitClass, read_export
from baselines.results import RunResult
from baselines.summary import describe_runs, summarise_arms

WriteExport = Callable[..., Path]


@pytest.fixture
def exports(tmp_path: Path, write_export: WriteExport) -> dict[str, Path]:
    """Two arms that belong together."""
    return {arm: write_export(tmp_path / arm, arm=arm) for arm in ("relabeled", "unrelabeled")}


@pytest.fixture
def results(
    exports: dict[str, Path],
    tmp_path: Path,
    quick_config: TrainConfig,
    quick_evaluation: EvalConfig,
) -> list[RunResult]:
    """One short run of each arm."""
    config = replace(quick_config, steps=2, warmup=0)
    return run_experiment(
        exports,
        tmp_path / "runs",
        config=config,
        evaluation=quick_evaluation,
        seeds=[0],
        device="cpu",
        progress=False,
    )


def test_split_classes_keep_names_of_their_own(
    results: list[RunResult],
    exports: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Names that a folder cannot have, that two tasks share or that the report needs itself are told apart."""
    names = ("zoo/猫", "zoo/犬", "other classes", "a b", "a b")
    tasks = tuple(
        SplitClass(name, "first", f"class {number}", (1, 2)) for number, name in enumerate(names)
    )

    def read(folder: Path) -> object:
        return replace(read_export(folder), tasks=tasks)

    monkeypatch.setattr("baselines.summary.read_export", read)
    found = summarise_arms(results, exports, reference="relabeled", out=tmp_path)
    for name in (
        "zoo/猫", "zoo/犬", "other classes (first/class 2)", "a b (first/class 3)", "other classes",
    ):  # fmt: skip
        assert f"| {name} |" in found.markdown


def test_every_machine_is_named(results: list[RunResult], tmp_path: Path) -> None:
    """Runs that were carried out on different machines are not passed off as of one."""
    assert describe_runs(results, tmp_path).device == "cpu"
    moved = [results[0], replace(results[1], device="cuda (H100)", torch_version="9")]
    found = describe_runs(moved, tmp_path)
    assert found.device == "cpu and cuda (H100)"
    assert found.torch_version == f"{results[0].torch_version} and 9"
