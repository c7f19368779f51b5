"""From exports to runs, metrics and a report, with a network that trains for two steps."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mseg_curate.baseline import Experiment, export_arms, run_baseline
from mseg_curate.core.mapping import Arm
from mseg_curate.core.metrics import harmonic_mean
from mseg_curate.errors import ExportError, InputError, MissingExtraError, TrainingError
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


def make_recipe(*settings: str, **options: Any) -> Any:
    """Return a recipe of two steps per run."""
    from baselines import recipe  # noqa: PLC0415

    settings += ("steps=2", "batch=2", "base_px=32", "crop_px=25", "head_channels=16", "warmup=0")
    return recipe.make_recipe(
        "tiny",
        settings=(*settings, "width=0.125", "log_every=1", "precision=float32"),
        eval_settings=("base_px=32", "crop_px=33", "flip=false", *options.pop("eval_settings", ())),
        device="cpu",
        progress=False,
        **{"seeds": "0,1", **options},
    )


def run(loop: Loop, exports: dict[str, Path], *, store: bool = True, **options: Any) -> Experiment:
    """Train two steps per run and compare."""
    recipe = options.pop("recipe", None) or make_recipe(seeds=options.pop("seeds", "0,1"))
    with Store.open(loop.store) as opened:
        return run_baseline(
            exports,
            loop.root / "runs",
            recipe=recipe,
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
    assert done.strict is not None
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
    done = run(loop, folders, store=False, seeds="0")
    assert "one seed cannot be resampled" in done.text
    assert ask(loop, "SELECT COUNT(*) FROM run") == [(0,)]


def test_every_resolution_and_validation_are_stored(exports: tuple[Loop, dict[str, Path]]) -> None:
    """Metrics and cells of each declared resolution and of the other training splits are in the store."""
    pytest.importorskip("torch")
    loop, folders = exports
    recipe = make_recipe(
        seeds="0", eval_settings=("also_px=24", "also_scales=0.5,1"), validate=True
    )
    done = run(loop, folders, recipe=recipe)
    assert "24 px" in done.text
    names = {name for (name,) in ask(loop, "SELECT DISTINCT name FROM metric")}
    for suffix in ("", "@24px", "@32px,2scales"):
        for name in ("miou_strict", "miou_compat", "pixel_accuracy", "iou", "harmonic_strict"):
            assert name + suffix in names
    datasets = {name for (name,) in ask(loop, "SELECT DISTINCT dataset FROM confusion")}
    assert datasets == {"held_out", "held_out@24px", "held_out@32px,2scales", "zoo"}
    sums = ask(
        loop,
        "SELECT run_id, dataset, SUM(pixels) FROM confusion WHERE dataset != 'zoo' GROUP BY 1, 2",
    )
    assert len(sums) == 6
    assert len({pixels for _, _, pixels in sums}) == 1
    harmonic = ask(
        loop,
        "SELECT h.value, m.value FROM metric AS h JOIN metric AS m ON m.run_id = h.run_id "
        "WHERE h.name = 'harmonic_strict@24px' AND m.name = 'miou_strict@24px' AND m.dataset = 'held_out'",
    )
    assert all(one == pytest.approx(other) for one, other in harmonic)
    zoo = ask(loop, "SELECT name FROM metric WHERE dataset = 'zoo' AND class_name = '' ORDER BY 1")
    assert {name for (name,) in zoo} == {"miou_compat", "miou_strict", "pixel_accuracy"}


def test_validation_has_one_truth_for_all_arms(exports: tuple[Loop, dict[str, Path]]) -> None:
    """The other splits of training datasets have the reference arm's labels as truth, whatever the arm."""
    pytest.importorskip("torch")
    loop, folders = exports
    for reference in ("relabeled", "partial"):
        out = loop.root / reference
        found = conduct_quickly(folders, out, reference=reference, validate=True)
        sums = {
            (result.arm, name): counts.truth.sum()
            for result in found
            for name, counts in result.validation.items()
        }
        assert set(sums) == {("relabeled", "zoo"), ("partial", "zoo")}
        assert len(set(sums.values())) == 1
        configs = {result.config_sha256 for result in found}
        assert len(configs) == 1


def conduct_quickly(folders: dict[str, Path], out: Path, *, reference: str, **options: Any) -> Any:
    """Run one seed of every arm without a store and return the results."""
    from baselines.recipe import Study  # noqa: PLC0415
    from baselines.study import conduct  # noqa: PLC0415

    found = conduct(
        Study(), folders, out, recipe=make_recipe(seeds="0", **options), reference=reference
    )
    assert found is not None
    return found.results


def test_several_processes_are_refused(
    exports: tuple[Loop, dict[str, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where another process of torchrun speaks, nothing is stored and the way is said."""
    pytest.importorskip("torch")
    loop, folders = exports
    monkeypatch.setattr("baselines.study.conduct", lambda *_, **__: None)
    with pytest.raises(TrainingError, match="several processes cannot share a store"):
        run(loop, folders)
    assert ask(loop, "SELECT COUNT(*) FROM run") == [(0,)]
