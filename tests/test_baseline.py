"""From exports to runs, metrics and a report, with a network that trains for two steps."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mseg_curate.baseline import Experiment, export_arms, run_baseline
from mseg_curate.core.mapping import Arm
from mseg_curate.core.metrics import harmonic_mean
from mseg_curate.errors import ExportError, InputError, MissingExtraError
from mseg_curate.export import write_export
from mseg_curate.manifest import read_manifest
from mseg_curate.store import Store

Loop = Any  # the fixture of conftest.py

NOW = "2026-01-02T00:00:00+00:00"
ARMS = (Arm.RELABELED, Arm.PARTIAL)


@pytest.fixture
def exports(build_loop: Callable[..., Loop], tmp_path: Path) -> tuple[Loop, dict[str, Path]]:
    """Two arms of the small loop."""
    loop = build_loop(tmp_path, size_hw=(32, 40))
    with Store.open(loop.store) as store:
        return loop, export_arms(store, tmp_path / "exports", arms=ARMS, now=NOW)


def run(loop: Loop, exports: dict[str, Path], *, store: bool = True, **options: Any) -> Experiment:
    """Train two steps per run and compare."""
    from baselines.config import EVALUATIONS, PRESETS, override  # noqa: PLC0415

    settings = ("steps=2", "batch=2", "base_px=32", "crop_px=25", "head_channels=16", "width=0.125")
    config = override(PRESETS["tiny"], (*settings, "warmup=0", "log_every=1"))
    evaluation = replace(EVALUATIONS["tiny"], base_px=32, crop_px=33, flip=False)
    with Store.open(loop.store) as opened:
        return run_baseline(
            exports,
            loop.root / "runs",
            config=config,
            evaluation=evaluation,
            seeds=options.pop("seeds", (0, 1)),
            device="cpu",
            store=opened if store else None,
            now=NOW,
            **options,
        )


def ask(loop: Loop, sql: str) -> list[tuple[Any, ...]]:
    """Run one query on the store."""
    with closing(sqlite3.connect(loop.store)) as connection:
        return connection.execute(sql).fetchall()


def test_an_experiment_is_stored_and_reported(
    exports: tuple[Loop, dict[str, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs, metrics and confusions are stored once; they add up to the pixels, and a second call trains nothing."""
    pytest.importorskip("torch")
    loop, folders = exports
    done = run(loop, folders)
    assert done.report.read_text(encoding="utf-8").startswith("# Zero-shot comparison of 2 arms")
    rows = ask(
        loop, "SELECT arm, seed, shared_sha256, labels_sha256, device FROM run ORDER BY arm, seed"
    )
    assert [row[:2] for row in rows] == [
        ("partial", 0), ("partial", 1), ("relabeled", 0), ("relabeled", 1),
    ]  # fmt: skip
    for arm, _, shared, labels, device in rows:
        manifest = read_manifest(folders[arm])
        assert (shared, labels) == (manifest["shared_sha256"], manifest["labels_sha256"])
        assert device == "cpu"
    valid = [m[m != 0] for m in loop.label_maps["held_out"].values()]
    pixels = {name: sum(int((v == i).sum()) for v in valid) for name, i in CLASSES.items()}
    sums = ask(loop, "SELECT run_id, truth, SUM(pixels) FROM confusion GROUP BY 1, 2")
    assert len(sums) == 4 * 4
    assert all(count == pixels[truth] for _, truth, count in sums)
    check_metrics(loop, done)
    before = ask(loop, "SELECT arm, seed, train_s FROM run ORDER BY 1, 2")
    monkeypatch.setattr("baselines.experiment.carry_out", _train_again)
    again = run(loop, folders)
    assert again.text == done.text
    assert ask(loop, "SELECT arm, seed, train_s FROM run ORDER BY 1, 2") == before
    assert ask(loop, "SELECT COUNT(DISTINCT run_id), COUNT(*) FROM metric") == [(4, 4 * 9)]


CLASSES = {"floor": 10, "pet": 20, "bird": 30, "nothing": 40}


def _train_again(*_: object, **__: object) -> None:
    raise AssertionError("trained again")


def check_metrics(loop: Loop, done: Experiment) -> None:
    """Recompute the stored metrics from the stored confusions, and the comparison from the metrics."""
    means = {}
    for run_id, arm, seed in ask(loop, "SELECT id, arm, seed FROM run"):
        cells = {
            (truth, predicted): pixels
            for truth, predicted, pixels in ask(
                loop, f"SELECT truth, predicted, pixels FROM confusion WHERE run_id = {run_id}"
            )
        }
        found = {
            (name, class_name): value
            for name, class_name, value in ask(
                loop, f"SELECT name, class_name, value FROM metric WHERE run_id = {run_id}"
            )
        }
        ious = {}
        for name in CLASSES:
            both = cells.get((name, name), 0)
            union = sum(n for (t, p), n in cells.items() if name in (t, p))
            ious[name] = both / union
            assert found["iou", name] == pytest.approx(ious[name])
        # Nothing feeds the class `nothing`: it cannot score, and the strict mean leaves it out.
        strict = float(np.mean([ious[name] for name in CLASSES if name != "nothing"]))
        assert found["miou_strict", ""] == pytest.approx(strict)
        assert found["miou_compat", ""] == pytest.approx(np.mean(list(ious.values())))
        assert found["harmonic_strict", ""] == pytest.approx(harmonic_mean([strict]))
        right = sum(n for (t, p), n in cells.items() if t == p)
        assert found["pixel_accuracy", ""] == pytest.approx(right / sum(cells.values()))
        means[arm, seed] = strict
    for arm in done.strict.arms:
        mean = (means[arm, 0] + means[arm, 1]) / 2
        assert done.strict.mean_iou[arm]["held_out"] == pytest.approx(mean)


def test_without_torch_it_says_what_to_install(
    exports: tuple[Loop, dict[str, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without torch training is refused with the command that installs it; nothing is stored."""
    loop, folders = exports
    for name in [m for m in sys.modules if m.split(".")[0] in ("torch", "baselines")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"needs torch.*pip install 'mseg-curate\[train\]'"):
        run(loop, folders)
    assert ask(loop, "SELECT COUNT(*) FROM run") == [(0,)]
    assert not (loop.root / "runs").exists()


def test_the_reference_must_be_an_arm(exports: tuple[Loop, dict[str, Path]]) -> None:
    """A reference that is no arm of the experiment is refused before anything is trained."""
    loop, folders = exports
    with pytest.raises(InputError, match="expected relabeled or partial, found ignored"):
        run(loop, folders, reference="ignored")
    assert not (loop.root / "runs").exists()


def test_arms_of_other_data_are_refused(exports: tuple[Loop, dict[str, Path]]) -> None:
    """Exports that differ in more than their labels are no arms of one experiment."""
    pytest.importorskip("torch")
    loop, folders = exports
    with Store.open(loop.store) as store:
        other = loop.root / "other"
        write_export(store, other, arm=Arm.PARTIAL, now=NOW, datasets=["zoo", "held_out"])
    with pytest.raises(ExportError, match="differ in more than the training labels"):
        run(loop, {**folders, "partial": other})


def test_without_a_store_the_report_is_the_same(exports: tuple[Loop, dict[str, Path]]) -> None:
    """Exports that came from elsewhere are trained and reported without any store."""
    pytest.importorskip("torch")
    loop, folders = exports
    done = run(loop, folders, store=False, seeds=(0,))
    assert "one seed cannot be resampled" in done.text
    assert ask(loop, "SELECT COUNT(*) FROM run") == [(0,)]
