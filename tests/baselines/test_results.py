"""Results of runs: written, read back, and grouped."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from baselines.results import (
    RESULT_NAME,
    RunResult,
    group_counts,
    load_results,
    read_result,
    write_result,
)
from mseg_curate.core.metrics import ImageCounts
from mseg_curate.errors import TrainingError

NEW_FIELDS = ("others", "validation", "network", "backbone", "datasets", "choices")


def count(seed: int) -> ImageCounts:
    """Counts of three images and two classes."""
    rng = np.random.default_rng(seed)
    return ImageCounts(
        image_ids=("a", "b/c", "d"),
        classes=("sky", "sea, calm"),
        predictable=np.array([True, False]),
        intersection=rng.integers(0, 9, (3, 2)),
        truth=rng.integers(0, 2**40, (3, 2)),
        prediction=rng.integers(0, 9, (3, 2)),
        confusion=rng.integers(0, 9, (2, 3)),
    )


def make_result(run_dir: Path, *, arm: str = "relabeled", seed: int = 0) -> RunResult:
    """A result with every field filled."""
    return RunResult(
        arm=arm,
        seed=seed,
        config_sha256="c",
        shared_sha256="s",
        labels_sha256="l",
        weights_sha256=None,
        device="cpu",
        torch_version="2",
        threads=1,
        steps=6,
        train_s=1.5,
        eval_s=0.5,
        final_loss=0.1,
        run_dir=run_dir,
        tests={"voc": count(1), "camvid": count(2)},
        others={"256 px": {"voc": count(3)}, "512 px, 6 scales": {"voc": count(4)}},
        validation={"coco": count(5)},
        network="pspnet",
        backbone="resnet50",
        datasets=("coco", "idd"),
        choices="layout channels_last",
    )


def assert_same_counts(one: ImageCounts, other: ImageCounts) -> None:
    """Compare names and arrays of two counts."""
    for field in fields(ImageCounts):
        assert np.array_equal(getattr(one, field.name), getattr(other, field.name)), field.name


def test_a_result_comes_back_as_it_was(tmp_path: Path) -> None:
    """Every field and every count survives; labels with spaces and commas need no file names."""
    result = make_result(tmp_path)
    write_result(result)
    found = read_result(tmp_path)
    nested = {"tests", "others", "validation"}
    for field in fields(RunResult):
        if field.name not in nested:
            assert getattr(found, field.name) == getattr(result, field.name), field.name
    assert list(found.tests) == ["voc", "camvid"]
    assert list(found.others) == ["256 px", "512 px, 6 scales"]
    for label, by_test in result.others.items():
        assert_same_counts(found.others[label]["voc"], by_test["voc"])
    for name in result.tests:
        assert_same_counts(found.tests[name], result.tests[name])
    assert_same_counts(found.validation["coco"], result.validation["coco"])


def test_an_older_result_is_read(tmp_path: Path) -> None:
    """A result.json without the newer fields stands for a run without further evaluations."""
    write_result(make_result(tmp_path))
    path = tmp_path / RESULT_NAME
    values = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in values.items() if k not in NEW_FIELDS}))
    found = read_result(tmp_path)
    assert (found.others, found.validation, found.datasets) == ({}, {}, ())
    assert (found.network, found.backbone, found.choices) == ("", "", "")
    assert set(found.tests) == {"voc", "camvid"}


@pytest.mark.parametrize(
    "name", [RESULT_NAME, "counts-voc.npz", "others-1-voc.npz", "validation-coco.npz"]
)
@pytest.mark.parametrize("damage", [None, b"", b"nonsense"])
def test_a_damaged_result_says_what_to_do(tmp_path: Path, name: str, damage: bytes | None) -> None:
    """A file that is missing, empty or of another kind is a TrainingError, whichever it is."""
    write_result(make_result(tmp_path))
    if damage is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(damage)
    with pytest.raises(TrainingError, match="delete the folder to run it again"):
        read_result(tmp_path)


def test_no_damage_gets_through(tmp_path: Path) -> None:
    """A bit that is turned anywhere in the counts leaves them as they were, or is a TrainingError."""
    written = make_result(tmp_path)
    write_result(written)
    path = tmp_path / "counts-voc.npz"
    whole = path.read_bytes()
    refused = 0
    for place in range(0, 8 * len(whole), 53):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            found = read_result(tmp_path)
        except TrainingError:
            refused += 1
        else:
            assert_same_counts(found.tests["voc"], written.tests["voc"])
    assert refused > 100


def test_results_are_found_and_grouped(tmp_path: Path) -> None:
    """Runs are ordered by arm and seed; the counts of an arm come seed by seed."""
    for arm in ("relabeled", "ignored"):
        for seed in (1, 0):
            write_result(make_result(tmp_path / arm / f"seed-{seed}", arm=arm, seed=seed))
    results = load_results(tmp_path)
    assert [(r.arm, r.seed) for r in results] == [
        ("ignored", 0),
        ("ignored", 1),
        ("relabeled", 0),
        ("relabeled", 1),
    ]
    grouped = group_counts(results)
    assert {arm: len(seeds) for arm, seeds in grouped.items()} == {"ignored": 2, "relabeled": 2}


@pytest.mark.parametrize("change", [{"seed": 2}, {"config_sha256": "x"}, {"shared_sha256": "x"}])
def test_runs_that_differ_are_not_grouped(tmp_path: Path, change: dict[str, object]) -> None:
    """Other seeds, another configuration or other data make no comparison."""
    one = make_result(tmp_path)
    other = replace(make_result(tmp_path, arm="ignored"), **change)  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="cannot be compared"):
        group_counts([one, other])
