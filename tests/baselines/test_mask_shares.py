"""What a finished run takes masks for: the mean of its probabilities, and runs that cannot say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from baselines.config import EvalConfig, TrainConfig
from baselines.exports import read_export
from baselines.mask_shares import average_over_masks, open_run
from baselines.networks import Network, build_network, settle_network, upsample_bilinear
from baselines.results import RunResult, write_result
from mseg_curate.core.mask import Mask, mask_of
from mseg_curate.errors import ExportError, TrainingError
from mseg_curate.files import sha256_of

WriteExport = Callable[..., Path]
# As large as the photo: one crop, which is neither resized nor padded.
WHOLE = EvalConfig(base_px=41, crop_px=41, flip=False)
OUTPUTS = ("ground", "disc", "square", "cross")


def leave_run(
    run_dir: Path,
    config: TrainConfig,
    export_dir: Path,
    *,
    evaluation: EvalConfig = WHOLE,
    datasets: tuple[str, ...] = ("first", "second"),
) -> Network:
    """Write what a finished run leaves, and return its network."""
    network = build_network(config, classes=len(OUTPUTS), seed=3)
    run_dir.mkdir(parents=True)
    tensors = {f"model.{k}": v.contiguous() for k, v in network.state_dict().items()}
    save_file(tensors, run_dir / "checkpoint.safetensors")
    export = read_export(export_dir)
    values = {
        "shared_sha256": export.shared_sha256,
        "export": str(export_dir),
        "train": asdict(settle_network(config)) | {"weights": None},
        "evaluation": asdict(evaluation),
    }
    (run_dir / "config.json").write_text(json.dumps(values))
    result = RunResult(
        arm=f"{export.arm}-80", seed=4, config_sha256="c", shared_sha256=export.shared_sha256,
        labels_sha256=export.labels_sha256, weights_sha256=None, device="cpu", torch_version="2", threads=1,
        steps=6, train_s=1.0, eval_s=1.0, final_loss=0.1, run_dir=run_dir, tests={}, datasets=datasets,
    )  # fmt: skip
    write_result(result)
    return network.eval()


@pytest.fixture
def run_dir(tmp_path: Path, export_dir: Path, quick_config: TrainConfig) -> Path:
    """The folder of a finished run on `export_dir`."""
    leave_run(tmp_path / "run", quick_config, export_dir)
    return tmp_path / "run"


def draw_masks(rng: np.random.Generator, size_hw: tuple[int, int]) -> list[Mask]:
    """A speck, a ragged blob, and the whole photo."""
    ragged = rng.random((9, 13)) < 0.6
    ragged[0], ragged[:, 0] = True, True
    return [
        mask_of(0, crop=np.ones((1, 1), np.bool_), top_left=(size_hw[0] - 1, 3)),
        mask_of(1, crop=ragged, top_left=(20, 21)),
        mask_of(2, crop=np.ones(size_hw, np.bool_), top_left=(0, 0)),
    ]


def test_shares_are_means_of_the_networks_probabilities(
    tmp_path: Path, export_dir: Path, quick_config: TrainConfig
) -> None:
    """The share of a class in a mask is the mean of the softmax over its pixels; no output has none."""
    network = leave_run(tmp_path / "run", quick_config, export_dir)
    rng = np.random.default_rng(5)
    photo = rng.integers(0, 256, (41, 41, 3), np.uint8)
    masks = draw_masks(rng, (41, 41))
    names = ("square", "nothing", "ground")
    found = average_over_masks(
        open_run(tmp_path / "run", device="cpu"), photo, masks=masks, names=names
    )
    with torch.inference_mode():
        batch = torch.from_numpy(photo).permute(2, 0, 1)[None].float()
        logits = upsample_bilinear(network(batch)[0].float(), (41, 41))
        probabilities = logits.softmax(dim=1)[0].numpy()
    for row, mask in enumerate(masks):
        box = mask.box
        window = probabilities[:, box.top : box.bottom, box.left : box.right]
        expected = [window[2][mask.crop()].mean(), 0.0, window[0][mask.crop()].mean()]
        assert found[row] == pytest.approx(expected, abs=1e-5)


def test_all_outputs_share_the_whole_probability(
    tmp_path: Path, export_dir: Path, quick_config: TrainConfig, quick_evaluation: EvalConfig
) -> None:
    """Crops, mirroring and resizing keep each mask's probabilities at a sum of 1, whatever the photo's size."""
    evaluation = replace(quick_evaluation, scales=(0.75, 1.0))
    leave_run(tmp_path / "run", quick_config, export_dir, evaluation=evaluation)
    run = open_run(tmp_path / "run", device="cpu")
    rng = np.random.default_rng(6)
    for size_hw in ((33, 90), (70, 35)):
        photo = rng.integers(0, 256, (*size_hw, 3), np.uint8)
        found = average_over_masks(run, photo, masks=draw_masks(rng, size_hw), names=OUTPUTS)
        assert found.sum(axis=1) == pytest.approx([1.0] * 3, abs=1e-5)
        assert found.min() >= 0


def test_a_run_says_where_it_comes_from(run_dir: Path, export_dir: Path) -> None:
    """Its name holds hash, arm, seed, network and look; settings that change the numbers are named, others not."""
    run = open_run(run_dir, device="cpu", settings=("flip=true", "batch=1"))
    digest = sha256_of(run_dir / "checkpoint.safetensors")
    assert run.sha256 == digest
    expected = f"run {digest[:12]}, relabeled-80, seed 4, pspnet with resnet18, 41 px, flip=true"
    assert run.source == expected
    assert run.classes == OUTPUTS
    assert run.export.arm == "relabeled"
    assert (run.evaluation.flip, run.evaluation.batch) == (True, 1)


def test_a_run_knows_its_photos(
    tmp_path: Path, export_dir: Path, quick_config: TrainConfig
) -> None:
    """Photos are those of the datasets that it was trained on, and no others."""
    both = {s.image_sha256 for d in read_export(export_dir).train for s in d.samples}
    second = {s.image_sha256 for s in read_export(export_dir).train[1].samples}
    leave_run(tmp_path / "run", quick_config, export_dir)
    leave_run(tmp_path / "half", quick_config, export_dir, datasets=("second",))
    assert open_run(tmp_path / "run", device="cpu").trained_photos() == both
    assert open_run(tmp_path / "half", device="cpu").trained_photos() == second


@pytest.mark.parametrize(
    ("arm", "trained_on", "taught"),
    [
        ("relabeled", "first", {"disc", "square"}),
        ("unrelabeled", "first", {"disc"}),
        ("ignored", "first", {"disc"}),
        ("partial", "first", set()),
        ("unrelabeled", "first second", {"disc", "square"}),
    ],
)
def test_taught_is_what_the_training_labels_show(
    tmp_path: Path,
    write_export: WriteExport,
    quick_config: TrainConfig,
    *,
    arm: str,
    trained_on: str,
    taught: set[str],
) -> None:
    """A class is taught by a pixel of it in the run's own datasets; sets teach none, nor does what has no output."""
    export_dir = write_export(tmp_path / "export", arm=arm)
    leave_run(tmp_path / "run", quick_config, export_dir, datasets=tuple(trained_on.split()))
    run = open_run(tmp_path / "run", device="cpu")
    assert run.taught_among(("disc", "square", "nothing", "unheard of")) == taught


def test_a_run_that_is_not_finished_is_refused(run_dir: Path) -> None:
    """Without result.json there is no finished run, and the message says which folder is meant."""
    (run_dir / "result.json").unlink()
    with pytest.raises(TrainingError, match=r"no finished run: result.json is missing"):
        open_run(run_dir, device="cpu")


def test_a_damaged_config_is_refused(run_dir: Path) -> None:
    """A config.json that names no export is an error of its own."""
    (run_dir / "config.json").write_text("[]")
    with pytest.raises(TrainingError, match=r"config.json: cannot be read"):
        open_run(run_dir, device="cpu")


def test_an_export_that_moved_is_named(run_dir: Path, export_dir: Path, tmp_path: Path) -> None:
    """A missing export is an error with its path; it may be named anew, and must be the same."""
    moved = tmp_path / "moved"
    shutil.move(export_dir, moved)
    with pytest.raises(ExportError, match=r"is not there.*--export"):
        open_run(run_dir, device="cpu")
    assert open_run(run_dir, export_dir=moved, device="cpu").classes == OUTPUTS
    manifest = json.loads((moved / "manifest.json").read_text())
    (moved / "manifest.json").write_text(json.dumps(manifest | {"labels_sha256": "other"}))
    with pytest.raises(ExportError, match=r"not the export that the run was trained on.*other"):
        open_run(run_dir, export_dir=moved, device="cpu")


def test_a_relative_export_is_found_from_anywhere(
    run_dir: Path, export_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was started beside its export finds it when it is opened from another folder."""
    config = json.loads((run_dir / "config.json").read_text())
    (run_dir / "config.json").write_text(json.dumps(config | {"export": export_dir.name}))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert open_run(run_dir, device="cpu").export.folder == tmp_path / "export"
