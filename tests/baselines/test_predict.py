"""Zero-shot evaluation on a small export: counts, predictions, validation, several processes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from baselines import predict
from baselines.config import EvalConfig, TrainConfig
from baselines.distributed import World
from baselines.exports import Export, ZeroShotSet, read_export
from baselines.networks import Network, build_network
from baselines.predict import evaluate, sum_sources
from baselines.scoring import predict_label_map, resolutions
from mseg_curate.core.metrics import ImageCounts, confusion_matrix, mean_iou, pixel_accuracy
from mseg_curate.errors import ExportError, TrainingStoppedError
from mseg_curate.files import sha256_of

ARRAYS = ("predictable", "intersection", "truth", "prediction", "confusion")


class Oracle(nn.Module):
    """A network that reads the answer: a pixel's red value is ten times the output that is right."""

    def __init__(self, outputs: int) -> None:
        """Know `outputs` classes."""
        super().__init__()
        self.outputs = outputs
        self.register_buffer("mean", torch.zeros(1, 3, 1, 1))
        self.register_buffer("std", torch.ones(1, 3, 1, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        """Return logits that are 60 for the right output and 0 for the others."""
        right = (images[:, 0] / 10).round().long().clamp(0, self.outputs - 1)
        return 60.0 * nn.functional.one_hot(right, self.outputs).permute(0, 3, 1, 2).float(), None


def paint_answers(export: Export, truth_of: npt.NDArray[np.uint8]) -> Export:
    """Replace all photos by pictures of the right output; `truth_of` turns label ids into outputs."""
    for dataset in (*export.tests, *export.validation):
        for sample in dataset.samples:
            answers = truth_of[np.array(Image.open(sample.label))]
            Image.fromarray(np.repeat(answers[..., None] * 10, 3, axis=2)).save(sample.image)
    return replace(
        export,
        tests=tuple(map(take_as_exported, export.tests)),
        validation=tuple(map(take_as_exported, export.validation)),
    )


def take_as_exported(dataset: ZeroShotSet) -> ZeroShotSet:
    """Name the photos that are there now as those that were exported."""
    samples = (replace(s, image_sha256=sha256_of(s.image)) for s in dataset.samples)
    return replace(dataset, samples=tuple(samples))


@pytest.fixture
def model(quick_config: TrainConfig) -> Network:
    """A network of random weights in evaluation."""
    return build_network(quick_config, classes=4, seed=0).eval()


@pytest.fixture
def with_validation(export_dir: Path) -> Path:
    """An export whose first dataset has a split `val` and cannot have the class `cross`."""
    rows = (export_dir / "train/first/train.tsv").read_text().splitlines()
    (export_dir / "train/first/val.tsv").write_text("\n".join(rows[:4]) + "\n")
    path = export_dir / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["train"][0]["splits"]["val"] = {"list": "train/first/val.tsv", "images": 3}
    manifest["train"][0]["reachable"] = [0, 1, 2]
    path.write_text(json.dumps(manifest))
    for label in (export_dir / "train/first/labels").iterdir():
        label_map = np.array(Image.open(label))
        label_map[label_map == 4] = 255
        Image.fromarray(label_map).save(label)
    return export_dir


def assert_equal(one: ImageCounts, other: ImageCounts) -> None:
    """Compare all integers of two counts."""
    assert (one.image_ids, one.classes) == (other.image_ids, other.classes)
    for name in ARRAYS:
        assert np.array_equal(getattr(one, name), getattr(other, name)), name


def test_sources_skip_what_no_training_class_can_become(export_dir: Path) -> None:
    """The matrix sums reachable sources; a class of unreachable ones alone is a row of zeros."""
    export = read_export(export_dir)
    matrix = sum_sources(export.tests[0], export.index)
    assert matrix.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]]


def test_counts_are_those_of_the_predictions(
    export_dir: Path, model: Network, quick_evaluation: EvalConfig
) -> None:
    """Counts per image and the confusion matrix agree with maps predicted one by one."""
    export = read_export(export_dir)
    (test,) = export.tests
    seen: list[int] = []
    counts = evaluate(
        model,
        test,
        index=export.index,
        evaluation=quick_evaluation,
        on_image=lambda: seen.append(1),
    )
    assert len(seen) == 3
    assert counts.image_ids == ("scene000", "scene001", "scene002")
    assert counts.predictable.tolist() == [True, True, True, False]
    sources = sum_sources(test, export.index)
    total = np.zeros((4, 5), np.int64)
    for number, sample in enumerate(test.samples):
        image, truth = np.array(Image.open(sample.image)), np.array(Image.open(sample.label))
        prediction = predict_label_map(model, image, sources=sources, evaluation=quick_evaluation)
        total += confusion_matrix(truth, prediction, classes=4)
        for label in range(4):
            ours, theirs = truth == label, (prediction == label) & (truth != 255)
            assert counts.truth[number, label] == ours.sum()
            assert counts.prediction[number, label] == theirs.sum()
            assert counts.intersection[number, label] == (ours & theirs).sum()
    assert np.array_equal(counts.confusion, total)
    assert counts.prediction[:, 3].sum() == 0


def test_a_test_without_any_source_predicts_nothing_valid(
    export_dir: Path, model: Network, quick_evaluation: EvalConfig
) -> None:
    """Where no class can be predicted every valid pixel lands in the last column."""
    export = read_export(export_dir)
    test = replace(export.tests[0], sources=((3,), (), (), ()))
    counts = evaluate(model, test, index=export.index, evaluation=quick_evaluation)
    assert not counts.predictable.any()
    assert counts.confusion[:, -1].sum() == counts.truth.sum() > 0


def test_a_test_label_out_of_range_names_its_file(
    export_dir: Path, model: Network, quick_evaluation: EvalConfig
) -> None:
    """A test label map with an id of no class is an ExportError with the path."""
    export = read_export(export_dir)
    (test,) = export.tests
    label_map = np.full((40, 56), 4, np.uint8)
    Image.fromarray(label_map).save(test.samples[1].label)
    with pytest.raises(ExportError, match=r"scene001.png: test label map: class id not in range"):
        evaluate(model, test, index=export.index, evaluation=quick_evaluation)


def test_evaluation_can_be_stopped(
    export_dir: Path, model: Network, quick_evaluation: EvalConfig
) -> None:
    """Between two images a stop is answered with an error that says how to go on."""
    export = read_export(export_dir)
    with pytest.raises(TrainingStoppedError, match="while evaluating held_out"):
        evaluate(
            model,
            export.tests[0],
            index=export.index,
            evaluation=quick_evaluation,
            stop=lambda: True,
        )


@pytest.mark.parametrize("flip", [True, False])
def test_an_oracle_scores_one(export_dir: Path, flip: bool) -> None:
    """A network that returns the truth has mean IoU and accuracy 1 where every class has a source."""
    export = read_export(export_dir)
    (test,) = paint_answers(export, np.arange(256, dtype=np.uint8)).tests
    evaluation = EvalConfig(base_px=40, crop_px=33, flip=flip)
    counts = evaluate(Oracle(4), test, index=export.index, evaluation=evaluation)  # type: ignore[arg-type]
    assert mean_iou(counts.confusion, predictable=counts.predictable).value == 1.0
    assert pixel_accuracy(counts.confusion) == 1.0
    assert counts.confusion.sum() == counts.truth.sum() > 0


@pytest.mark.parametrize("size", [2, 3, 5])
def test_the_ranks_of_a_world_share_the_images(
    export_dir: Path,
    model: Network,
    quick_evaluation: EvalConfig,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
) -> None:
    """What the ranks count adds up, integer by integer, to what one process counts."""
    export = read_export(export_dir)
    (test,) = export.tests
    alone = evaluate(model, test, index=export.index, evaluation=quick_evaluation)
    asked: list[int] = []
    monkeypatch.setattr(predict, "agree", lambda flag, world: asked.append(world.rank) or flag)
    monkeypatch.setattr(predict, "sum_over_world", lambda counts, _: counts)
    parts = [
        evaluate(
            model,
            test,
            index=export.index,
            evaluation=quick_evaluation,
            world=World(rank=rank, size=size),
        )
        for rank in range(size)
    ]
    summed = {name: sum(getattr(part, name) for part in parts) for name in ARRAYS[1:]}
    assert_equal(alone, replace(alone, **summed))
    assert len({asked.count(rank) for rank in range(size)}) == 1


def test_predictions_are_what_was_counted(
    export_dir: Path, model: Network, quick_evaluation: EvalConfig, tmp_path: Path
) -> None:
    """Counting the written PNGs again gives the same matrix; 255 stands for no class."""
    export = read_export(export_dir)
    (test,) = export.tests
    for sources in (test.sources, ((3,), (), (), ())):
        changed = replace(test, sources=sources)
        counts = evaluate(
            model,
            changed,
            index=export.index,
            evaluation=quick_evaluation,
            predictions=tmp_path / "predictions",
        )
        total = np.zeros((4, 5), np.int64)
        for sample in test.samples:
            found = np.array(Image.open(tmp_path / f"predictions/{sample.image_id}.png"))
            assert found.dtype == np.uint8
            assert set(np.unique(found)) <= {0, 1, 2, 255}
            total += confusion_matrix(np.array(Image.open(sample.label)), found, classes=4)
        assert np.array_equal(total, counts.confusion)


def test_every_resolution_is_measured_alike(export_dir: Path, model: Network) -> None:
    """A resolution that is handed in is the one that is used; the first is used without."""
    export = read_export(export_dir)
    (test,) = export.tests
    evaluation = EvalConfig(base_px=40, also_px=(24,), crop_px=41, batch=4)
    found = [
        evaluate(model, test, index=export.index, evaluation=evaluation, resolution=resolution)
        for resolution in (None, *resolutions(evaluation))
    ]
    assert_equal(found[0], found[1])
    alone = EvalConfig(base_px=24, crop_px=41, batch=4)
    assert_equal(found[2], evaluate(model, test, index=export.index, evaluation=alone))


def test_validation_leaves_out_what_the_dataset_cannot_have(
    with_validation: Path, tmp_path: Path
) -> None:
    """Truth is universal, classes that the dataset lacks are never predicted, and all images count."""
    export = read_export(with_validation)
    (dataset,) = export.validation
    assert dataset.classes == ("ground", "disc", "square")
    assert dataset.sources == ((0,), (1,), (2,))
    assert [sample.image_id for sample in dataset.samples] == ["scene000", "scene001", "scene002"]
    # Crosses are said to be where ground is: without that output, ground is the next best.
    (dataset,) = paint_answers(export, np.arange(256, dtype=np.uint8)).validation
    evaluation = EvalConfig(base_px=40, crop_px=41)
    oracle = Oracle(4)
    counts = evaluate(
        oracle,  # type: ignore[arg-type]
        dataset,
        index=export.index,
        evaluation=evaluation,
        predictions=tmp_path,
    )
    assert mean_iou(counts.confusion).value == 1.0
    for sample in dataset.samples:
        answers = np.full((*sample.size_hw, 3), 30, np.uint8)
        Image.fromarray(answers).save(sample.image)
    counts = evaluate(
        oracle,  # type: ignore[arg-type]
        take_as_exported(dataset),
        index=export.index,
        evaluation=evaluation,
        predictions=tmp_path,
    )
    assert counts.prediction.sum() == counts.truth.sum() > 0
    assert set(np.unique(np.array(Image.open(tmp_path / "scene000.png")))) <= {0, 1, 2}


def test_an_id_that_the_dataset_cannot_have_is_refused_in_validation(
    with_validation: Path, model: Network, quick_evaluation: EvalConfig
) -> None:
    """A label map of the split with a class of another dataset is an ExportError with its path."""
    export = read_export(with_validation)
    (dataset,) = export.validation
    Image.fromarray(np.full((40, 56), 4, np.uint8)).save(dataset.samples[1].label)
    with pytest.raises(ExportError, match=r"scene001.png: test label map: ids of no class .*\[4\]"):
        evaluate(model, dataset, index=export.index, evaluation=quick_evaluation)


def test_ids_above_a_byte_are_counted_and_written(
    with_validation: Path, model: Network, quick_evaluation: EvalConfig, tmp_path: Path
) -> None:
    """In an export of 16 bits truth and predictions of validation are of 16 bits."""
    export = read_export(with_validation)
    dataset = replace(export.validation[0], label_ids=(7, 300, 301), ignored_ids=(65535, 302))
    table = np.full(256, 65535, np.uint16)
    table[:3] = 7, 300, 302
    for sample in dataset.samples:
        Image.fromarray(table[np.array(Image.open(sample.label))]).save(sample.label)
    counts = evaluate(
        model,
        dataset,
        index=export.index,
        evaluation=quick_evaluation,
        predictions=tmp_path,
    )
    assert counts.truth[:, :2].all()
    assert counts.truth[:, 2].sum() == 0
    written = np.array(Image.open(tmp_path / "scene000.png"))
    assert set(np.unique(written)) <= {7, 300, 301}
