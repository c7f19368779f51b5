"""A mix of drawn datasets goes through every arm: curated, exported, trained, measured and reported."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mseg_curate.baseline import export_arms, run_baseline
from mseg_curate.core.arms import Arm, ArmChoice
from mseg_curate.ingest import add_dataset
from mseg_curate.initialise import create_store
from mseg_curate.manifest import read_manifest, verify_export
from mseg_curate.map_classes import import_mapping
from mseg_curate.resolve import resolve_masks
from mseg_curate.scenes import draw_datasets
from mseg_curate.simulate import simulate_annotators
from mseg_curate.store import Store
from mseg_curate.tasks import make_task

NOW = "2026-01-02T00:00:00+00:00"
ARMS = (*map(ArmChoice, Arm), ArmChoice(without="vehicles"))
SETTINGS = (
    "steps=40", "batch=8", "base_px=48", "crop_px=41", "width=0.125", "head_channels=32",
    "loss_stride=4", "precision=float32",
)  # fmt: skip


def curate(root: Path) -> Path:
    """Draw three datasets, let exact annotators split the coarse one's vehicles, and return the store."""
    drawn = draw_datasets(root / "datasets", images=16, test_images=6, size_hw=(48, 64))
    create_store(root / "store.db", now=NOW)
    with Store.open(root / "store.db") as store:
        for dataset, role in (
            (drawn.finer, "train"),
            (drawn.coarse, "train"),
            (drawn.test, "test"),
        ):
            add_dataset(store, dataset.name, folder=dataset.folder, role=role, now=NOW)
            path = dataset.mapping
            import_mapping(store, dataset.name, path=path, author="t", note="", now=NOW)
        coarse, split = drawn.coarse.name, drawn.split_class
        make_task(store, "vehicles", dataset=coarse, source_class=split, now=NOW)
        simulate_annotators(
            store, "vehicles", truth=drawn.truth, accuracy=1.0, annotators=1, now=NOW
        )
        resolve_masks(store)
    return root / "store.db"


@pytest.mark.slow
def test_a_mix_of_drawn_datasets_in_every_arm(tmp_path: Path) -> None:
    """Five arms share all but their labels, each learns, and without its one task `relabeled` is `unrelabeled`."""
    pytest.importorskip("torch")
    from baselines.recipe import make_recipe  # noqa: PLC0415

    with Store.open(curate(tmp_path)) as store:
        exports = export_arms(store, tmp_path / "exports", arms=ARMS, now=NOW)
        for folder in exports.values():
            verify_export(folder)
        recipe = make_recipe(
            "tiny",
            settings=SETTINGS,
            eval_settings=("base_px=48", "crop_px=49", "flip=false"),
            seeds="0",
            device="cpu",
            progress=False,
        )
        done = run_baseline(exports, tmp_path / "runs", recipe=recipe, store=store, now=NOW)
    strict = done.strict
    assert strict is not None
    assert strict.arms == ("relabeled", "unrelabeled", "ignored", "partial", "without-vehicles")
    manifests = {arm: read_manifest(folder) for arm, folder in exports.items()}
    assert len({manifest["shared_sha256"] for manifest in manifests.values()}) == 1
    # Two networks that saw the same labels are the same network.
    labels = {arm: manifest["labels_sha256"] for arm, manifest in manifests.items()}
    assert labels["without-vehicles"] == labels["unrelabeled"]
    assert len(set(labels.values())) == 4
    assert strict.mean_iou["without-vehicles"] == strict.mean_iou["unrelabeled"]
    with closing(sqlite3.connect(tmp_path / "store.db")) as connection:
        accuracy = connection.execute(
            "SELECT arm, value FROM v_zero_shot WHERE metric = 'pixel_accuracy' AND class_name = ''"
        ).fetchall()
    assert len(accuracy) == len(ARMS)
    assert all(value > 0.3 for _, value in accuracy)
    assert "vehicles" in done.report.read_text(encoding="utf-8")
