"""The zero-shot protocol beside a naive reference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from baselines.config import EvalConfig, TrainConfig
from baselines.data import resize_image, shorter_side
from baselines.exports import read_export
from baselines.networks import Network, build_network
from baselines.predict import evaluate, place_crops, predict_label_map, sum_sources
from mseg_curate.core.metrics import confusion_matrix
from mseg_curate.errors import ExportError, TrainingStoppedError


@pytest.fixture
def model(quick_config: TrainConfig) -> Network:
    """A network of random weights that is not undecided, in evaluation."""
    torch.manual_seed(0)
    network = build_network(quick_config, classes=4, seed=0)
    torch.nn.init.normal_(network.cls[4].weight, std=2.0)  # type: ignore[arg-type]
    patches = torch.stack([draw_patches(seed, (41, 41)) for seed in range(4)])
    for _ in range(8):  # batch statistics, so that the features differ from place to place
        network(patches.float())
    return network.eval()


def draw_patches(seed: int, size_hw: tuple[int, int]) -> torch.Tensor:
    """An image (3, H, W) uint8 of coloured squares of 12 pixels."""
    generator = torch.Generator().manual_seed(seed)
    cells = [side // 12 + 1 for side in size_hw]
    colours = torch.randint(0, 256, (3, *cells), generator=generator, dtype=torch.uint8)
    enlarged = colours.repeat_interleave(12, dim=1).repeat_interleave(12, dim=2)
    return enlarged[:, : size_hw[0], : size_hw[1]]


def predict_naively(
    model: Network,
    image: npt.NDArray[np.uint8],
    sources: npt.NDArray[np.float32],
    config: EvalConfig,
) -> npt.NDArray[np.int64]:
    """Follow the protocol one crop and one pixel-wise sum at a time, with library resizing."""
    height, width = image.shape[:2]
    resized = resize_image(image, shorter_side((height, width), config.base_px)).float()
    h, w = resized.shape[1:]
    tall, wide = max(h, config.crop_px), max(w, config.crop_px)
    top, left = (tall - h) // 2, (wide - w) // 2
    padded = model.mean[0].expand(3, tall, wide).clone()
    padded[:, top : top + h, left : left + w] = resized
    total = torch.zeros(len(sources), tall, wide)
    times = torch.zeros(tall, wide)
    step = int(np.ceil(config.crop_px * config.stride))
    ys = sorted({min(y, tall - config.crop_px) for y in range(0, tall, step)})
    xs = sorted({min(x, wide - config.crop_px) for x in range(0, wide, step)})
    for y in ys:
        for x in xs:
            place = (slice(y, y + config.crop_px), slice(x, x + config.crop_px))
            crop = padded[:, place[0], place[1]]
            views = [(crop, False), (crop.flip(2), True)] if config.flip else [(crop, False)]
            for view, flipped in views:
                with torch.no_grad():
                    logits, _ = model(view[None])
                full = F.interpolate(
                    logits, (config.crop_px,) * 2, mode="bilinear", align_corners=True
                )
                p = full.softmax(dim=1)[0]
                p = p.flip(2) if flipped else p
                for label, row in enumerate(sources):
                    for output in np.flatnonzero(row):
                        total[label, place[0], place[1]] += p[output] / len(views)
            times[place] += 1
    scores = (total / times)[:, top : top + h, left : left + w]
    scores = F.interpolate(scores[None], (height, width), mode="bilinear", align_corners=False)[0]
    scores[torch.from_numpy(sources.sum(axis=1) == 0)] = -1
    return scores.argmax(dim=0).numpy()


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("size_hw", [(40, 56), (30, 100), (70, 50)])
@pytest.mark.parametrize("base_px", [30, 60])
def test_prediction_equals_the_naive_protocol(
    model: Network, size_hw: tuple[int, int], base_px: int, flip: bool
) -> None:
    """Crops, mirroring, summing, resizing and argmax agree, up to ties of rounding."""
    image = draw_patches(99, size_hw).permute(1, 2, 0).numpy()
    sources = torch.tensor([[1, 0, 0, 1], [0, 0, 0, 0], [0, 1, 1, 0]], dtype=torch.float32)
    config = EvalConfig(base_px=base_px, crop_px=41, stride=2 / 3, flip=flip, batch=3)
    found = predict_label_map(model, image, sources=sources, evaluation=config)
    expected = predict_naively(model, image, sources.numpy(), config)
    assert found.shape == size_hw
    assert 0 < (found == 0).mean() < 1
    assert (found == expected).mean() > 0.999


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


@pytest.mark.parametrize(
    ("extent", "crop", "places"),
    [(177, 177, [0]), (178, 177, [0, 1]), (295, 177, [0, 118]), (296, 177, [0, 118, 119])],
)
def test_crops_cover_a_side_and_end_flush(extent: int, crop: int, places: list[int]) -> None:
    """Crops step by two thirds and the last one ends at the edge."""
    assert place_crops(extent, crop, stride=2 / 3) == places
