"""Checkpoints evaluated: of a run, and published ones whose outputs are all universal classes."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from baselines.config import EvalConfig, TrainConfig
from baselines.evaluation import evaluate_checkpoint, open_network
from baselines.exports import index_all, read_export
from baselines.networks import Network, build_network, settle_network
from baselines.predict import evaluate
from baselines.results import read_counts
from baselines.score_table import render_scores
from baselines.scoring import resolutions
from mseg_curate.core.metrics import ImageCounts, confusion_matrix, mean_iou
from mseg_curate.errors import ExportError, InputError, OutputError, TrainingError

CallCli = Callable[..., Any]
EVALUATION = EvalConfig(base_px=40, crop_px=41, batch=4, also_px=(24,))


def make_network(config: TrainConfig, outputs: int) -> Network:
    """A network that is not undecided, in evaluation."""
    network = build_network(config, classes=outputs, seed=3)
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.startswith("cls.4"):
                value.normal_(std=2.0, generator=torch.Generator().manual_seed(1))
    return network.eval()


def leave_run(run_dir: Path, network: Network, config: TrainConfig, export_dir: Path) -> Path:
    """Write the checkpoint and the config.json that a finished run leaves; return the checkpoint."""
    run_dir.mkdir(parents=True)
    tensors = {f"model.{name}": value for name, value in network.state_dict().items()}
    save_file(
        {name: value.contiguous() for name, value in tensors.items()}, run_dir / "c.safetensors"
    )
    values = {
        "shared_sha256": read_export(export_dir).shared_sha256,
        "export": str(export_dir),
        "train": asdict(settle_network(config)) | {"weights": None},
        "evaluation": asdict(EVALUATION),
    }
    (run_dir / "config.json").write_text(json.dumps(values))
    return run_dir / "c.safetensors"


@pytest.fixture
def checkpoint(tmp_path: Path, export_dir: Path, quick_config: TrainConfig) -> Path:
    """The checkpoint of a finished run on `export_dir`."""
    network = make_network(quick_config, 4)
    return leave_run(tmp_path / "run", network, quick_config, export_dir)


def assert_equal(one: ImageCounts, other: ImageCounts) -> None:
    """Compare all integers of two counts."""
    assert one.image_ids == other.image_ids
    for name in ("predictable", "intersection", "truth", "prediction", "confusion"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name


def test_a_runs_checkpoint_is_evaluated_as_the_run_was(
    checkpoint: Path, export_dir: Path, quick_config: TrainConfig, tmp_path: Path
) -> None:
    """Network and evaluation come from config.json; every resolution is measured, written and read back."""
    found = evaluate_checkpoint(
        checkpoint, export_dir, tmp_path / "out", device="cpu", progress=False
    )
    assert found is not None
    export = read_export(export_dir)
    network = make_network(quick_config, 4)
    values = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert list(found.counts) == ["40 px", "24 px"]
    for resolution in resolutions(EVALUATION):
        expected = evaluate(
            network,
            export.tests[0],
            index=export.index,
            evaluation=EVALUATION,
            resolution=resolution,
        )
        assert_equal(found.counts[resolution.label]["held_out"], expected)
        name = values["counts"][resolution.label]["held_out"]
        assert_equal(read_counts(tmp_path / "out" / name), expected)
    assert values["evaluation"]["also_px"] == [24]
    assert len(values["checkpoint_sha256"]) == 64


def test_a_published_network_of_all_universal_classes_is_evaluated(
    export_dir: Path, quick_config: TrainConfig, tmp_path: Path
) -> None:
    """A file as semseg and MSeg leave it is loaded by name; its outputs are the universal classes."""
    network = make_network(quick_config, 5)
    path = tmp_path / "train_epoch_100.pth"
    state = {f"module.{name}": value for name, value in network.state_dict().items()}
    torch.save({"epoch": 100, "state_dict": state}, path)
    settings = [
        f"{name}={getattr(quick_config, name)}"
        for name in ("backbone", "width", "head_channels", "output_stride")
    ]
    found = evaluate_checkpoint(
        path,
        export_dir,
        tmp_path / "out",
        preset="tiny",
        settings=settings,
        eval_settings=["base_px=40", "crop_px=41"],
        device="cpu",
        progress=False,
    )
    assert found is not None
    export = read_export(export_dir)
    counts = found.counts["40 px"]["held_out"]
    assert counts.predictable.all()
    config = EvalConfig(base_px=40, crop_px=41)
    index = index_all(export)
    assert_equal(counts, evaluate(network, export.tests[0], index=index, evaluation=config))


def test_a_network_of_other_outputs_is_refused(
    export_dir: Path, quick_config: TrainConfig, tmp_path: Path
) -> None:
    """A classifier of another class count would be random: it is named instead."""
    path = tmp_path / "seven.pth"
    torch.save(make_network(quick_config, 7).state_dict(), path)
    settings = [f"{name}={getattr(quick_config, name)}" for name in ("backbone", "width")]
    settings += ["head_channels=16", "output_stride=16"]
    with pytest.raises(
        TrainingError, match="outputs are not in the file or have another shape: cls"
    ):
        open_network(path, read_export(export_dir), preset="tiny", settings=settings)


def test_another_export_with_the_same_outputs_will_do(
    checkpoint: Path, export_dir: Path, tmp_path: Path
) -> None:
    """A run may be measured on new test datasets while its own export is there to compare classes with."""
    other = tmp_path / "other"
    shutil.copytree(export_dir, other)
    change_manifest(other, shared_sha256="another")
    export = read_export(other)
    assert open_network(checkpoint, export).index.reachable == (0, 1, 2, 4)
    renamed = ["ground", "disc", "square", "nothing", "star"]
    change_manifest(other, universal_classes=renamed)
    with pytest.raises(ExportError, match=r"outputs of the run are other classes.*cross, star"):
        open_network(checkpoint, read_export(other))
    shutil.rmtree(export_dir)
    with pytest.raises(ExportError, match="not there to compare the classes with"):
        open_network(checkpoint, export)


def change_manifest(folder: Path, **changes: object) -> None:
    """Set fields of manifest.json."""
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_network_of_a_run_is_not_for_setting(checkpoint: Path, export_dir: Path) -> None:
    """Settings that a run's config.json answers are refused."""
    with pytest.raises(InputError, match=r"what its config\.json says"):
        open_network(checkpoint, read_export(export_dir), settings=["backbone=resnet18"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"train": {"colour": 1}, "evaluation": {}}',
        '{"train": {}, "evaluation": []}',
    ],
)
def test_a_damaged_config_is_said_to_be(checkpoint: Path, export_dir: Path, text: str) -> None:
    """A config.json that cannot be used is named with the reason."""
    (checkpoint.parent / "config.json").write_text(text)
    with pytest.raises(TrainingError, match=r"config.json: cannot be read"):
        open_network(checkpoint, read_export(export_dir))


def test_a_place_that_cannot_be_written_to_shows_at_once(
    checkpoint: Path, export_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is evaluated for a folder that cannot be made."""
    (tmp_path / "file").write_text("")
    monkeypatch.delattr("baselines.evaluation.evaluate")
    with pytest.raises(OutputError, match=r"file/out: cannot be made \(Not a directory\)"):
        evaluate_checkpoint(checkpoint, export_dir, tmp_path / "file/out", device="cpu")


def test_weights_that_do_not_fit_the_run_are_refused(
    checkpoint: Path, export_dir: Path, quick_config: TrainConfig
) -> None:
    """A checkpoint that belongs to another configuration is named."""
    other = make_network(replace(quick_config, head_channels=24), 4)
    tensors = {f"model.{n}": v.contiguous() for n, v in other.state_dict().items()}
    save_file(tensors, checkpoint)
    with pytest.raises(TrainingError, match="weights do not fit pspnet with resnet18"):
        open_network(checkpoint, read_export(export_dir))


def test_the_command_prints_and_writes(
    checkpoint: Path, export_dir: Path, tmp_path: Path, call_cli: CallCli
) -> None:
    """`evaluate` prints every resolution and class, and its PNGs count to the same matrix."""
    out = tmp_path / "out"
    words = ["evaluate", "--export", export_dir, "--checkpoint", checkpoint, "--out", out]
    called = call_cli(*words, "--predictions", "--device", "cpu")
    assert called.code == 0, called.err
    assert called.err == ""
    for word in ("40 px", "24 px", "held_out, mIoU strict", "held_out, mIoU compat", "floor"):
        assert word in called.out
    assert "not in the strict mean: unseen" in called.out
    export = read_export(export_dir)
    total = np.zeros((4, 5), np.int64)
    for sample in export.tests[0].samples:
        found = np.array(Image.open(out / f"predictions/held_out/{sample.image_id}.png"))
        total += confusion_matrix(np.array(Image.open(sample.label)), found, classes=4)
    assert np.array_equal(total, read_counts(out / "counts-0-held_out.npz").confusion)


def test_the_other_splits_are_evaluated_where_asked_for(
    checkpoint: Path, export_dir: Path, tmp_path: Path, call_cli: CallCli
) -> None:
    """`--validate` measures the training datasets' other splits and prints them below the tests."""
    shutil.copy(export_dir / "train/first/train.tsv", export_dir / "train/first/val.tsv")
    train = json.loads((export_dir / "manifest.json").read_text())["train"]
    train[0]["splits"]["val"] = {"list": "train/first/val.tsv", "images": 6}
    change_manifest(export_dir, train=train)
    out = tmp_path / "out"
    words = ["evaluate", "--export", export_dir, "--checkpoint", checkpoint, "--out", out]
    called = call_cli(*words, "--validate", "--predictions", "--device", "cpu")
    assert called.code == 0, called.err
    assert "IoU per class on first, in percent" in called.out
    found = read_counts(out / "validation-first.npz")
    assert found.classes == ("ground", "disc", "square", "cross")
    assert len(list((out / "validation/first").rglob("*.png"))) == len(found.image_ids) == 6


def test_a_missing_checkpoint_is_one_line(
    export_dir: Path, tmp_path: Path, call_cli: CallCli
) -> None:
    """A path that is none ends the command with a line that names it."""
    words = ["evaluate", "--export", export_dir, "--checkpoint", tmp_path / "no.pth"]
    called = call_cli(*words, "--out", tmp_path / "out")
    assert called.code == 1
    assert called.err.count("\n") == 1
    assert "no.pth" in called.err


def test_two_processes_count_what_one_counts(
    checkpoint: Path, export_dir: Path, tmp_path: Path
) -> None:
    """Started as torchrun starts them, two processes share the images and write the counts of all."""
    alone = evaluate_checkpoint(
        checkpoint, export_dir, tmp_path / "one", device="cpu", progress=False
    )
    assert alone is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    words = ["evaluate", "--export", export_dir, "--checkpoint", checkpoint, "--device", "cpu"]
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "mseg_curate.cli", *words, "--out", tmp_path / "two"],
            env=os.environ
            | {
                "RANK": str(rank),
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
            }
            | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    spoken = [rank.communicate(timeout=120)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0]
    assert "mIoU strict" in spoken[0]
    assert spoken[1] == ""
    for number, by_test in enumerate(alone.counts.values()):
        path = tmp_path / f"two/counts-{number}-held_out.npz"
        assert_equal(read_counts(path), by_test["held_out"])


def test_scores_are_laid_out_with_nothing_chosen() -> None:
    """Both means, accuracy, harmonic mean and every class stand in a column per resolution."""
    confusion = np.array([[8, 2, 0], [0, 5, 0]])
    counts = ImageCounts(
        image_ids=("a",),
        classes=("sky", "sea"),
        predictable=np.array([True, True]),
        intersection=np.array([[8, 5]]),
        truth=np.array([[10, 5]]),
        prediction=np.array([[8, 7]]),
        confusion=confusion,
    )
    nothing = replace(counts, confusion=np.zeros((2, 3), np.int64))
    by_label = {
        "512 px": {"voc": counts, "kitti": counts},
        "256 px": {"voc": counts, "kitti": nothing},
    }
    text = render_scores(by_label, {"coco": counts})
    mean = 100 * mean_iou(confusion).value
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert f"voc, mIoU strict {mean:.1f} {mean:.1f}" in lines
    assert f"kitti, mIoU strict {mean:.1f} –" in lines
    assert f"harmonic mean, strict {mean:.1f} –" in lines
    assert "voc, pixel accuracy 86.7 86.7" in lines
    assert "sky 80.0 80.0" in lines
    assert f"coco, mIoU strict {mean:.1f}" in lines
