"""Zero-shot evaluation: a network of the universal taxonomy on a test dataset's own classes.

The protocol is MSeg's (Lambert et al., CVPR 2020, section 6): images at a fixed shorter side, sliding
crops, mirrored too; softmax over the outputs, summed per test class, averaged, resized to the
image's own size, argmax.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.config import EvalConfig
from baselines.data import check_sizes, resize_image, shorter_side
from baselines.exports import ClassIndex, ZeroShotSet
from baselines.networks import Network, upsample_bilinear
from mseg_curate.core.metrics import ImageCounts, confusion_matrix
from mseg_curate.errors import ExportError, InputError, TrainingStoppedError
from mseg_curate.images import read_image, read_label

__all__ = ["evaluate", "place_crops", "predict_label_map", "sum_sources"]

TEST_IGNORE_LABEL = 255


def evaluate(
    model: Network,
    test: ZeroShotSet,
    *,
    index: ClassIndex,
    evaluation: EvalConfig,
    stop: Callable[[], bool] = lambda: False,
    on_image: Callable[[], None] = lambda: None,
) -> ImageCounts:
    """Predict every image of a test dataset and count pixels per image and class.

    Raises ImageError or ExportError for a sample that cannot be used, TrainingStoppedError when asked
    to stop; `on_image` is told of every image.
    """
    model.eval()
    sources = sum_sources(test, index).to(model.mean.device)
    classes = len(test.classes)
    rows = np.zeros((3, len(test.samples), classes), np.int64)
    total = np.zeros((classes, classes + 1), np.int64)
    for number, sample in enumerate(test.samples):
        if stop():
            raise TrainingStoppedError(
                f"stopped while evaluating {test.name}; run the same command again to go on"
            )
        image, truth = read_image(sample.image), read_label(sample.label)
        check_sizes(sample, image, truth)
        prediction = predict_label_map(model, image, sources=sources, evaluation=evaluation)
        try:
            confusion = confusion_matrix(
                truth, prediction, classes=classes, ignore_label=TEST_IGNORE_LABEL
            )
        except InputError as error:
            raise ExportError(f"test label map: {error}", path=sample.label) from error
        square = confusion[:, :-1]
        rows[:, number] = np.diagonal(square), confusion.sum(axis=1), square.sum(axis=0)
        total += confusion
        on_image()
    return ImageCounts(
        image_ids=tuple(sample.image_id for sample in test.samples),
        classes=test.classes,
        predictable=(sources.sum(dim=1) > 0).cpu().numpy(),
        intersection=rows[0],
        truth=rows[1],
        prediction=rows[2],
        confusion=total,
    )


def sum_sources(test: ZeroShotSet, index: ClassIndex) -> Tensor:
    """Return the (K, outputs) float32 matrix of 0 and 1 that sums outputs to test classes.

    Sources that no training class can become have no output; a class left without any is a row
    of zeros and is never predicted.
    """
    matrix = torch.zeros(len(test.classes), len(index.reachable))
    places = {universal: output for output, universal in enumerate(index.reachable)}
    for row, universals in enumerate(test.sources):
        for universal in universals:
            if universal in places:
                matrix[row, places[universal]] = 1
    return matrix


def predict_label_map(
    model: Network, image: npt.NDArray[np.uint8], *, sources: Tensor, evaluation: EvalConfig
) -> npt.NDArray[np.uint8]:
    """Predict the test class of every pixel: (H, W, 3) uint8 RGB to (H, W) uint8.

    `sources` is (K, outputs) on the model's device. Without a single predictable class the result
    is 255 everywhere.
    """
    usable = (sources.sum(dim=1) > 0).nonzero().flatten().tolist()
    height, width = image.shape[:2]
    if not usable:
        return np.full((height, width), TEST_IGNORE_LABEL, np.uint8)
    resized = resize_image(image, shorter_side((height, width), evaluation.base_px))
    with torch.no_grad():
        scores = _score_crops(model, resized, sources[usable], evaluation)
        chosen = _argmax_resized(scores, (height, width))
    names: npt.NDArray[np.uint8] = np.array(usable, np.uint8)
    label_map: npt.NDArray[np.uint8] = names[chosen.cpu().numpy()]
    return label_map


def _score_crops(model: Network, image: Tensor, sources: Tensor, evaluation: EvalConfig) -> Tensor:
    """Average the summed probabilities over crops: (3, H, W) uint8 to (k, H, W) float32."""
    crop = evaluation.crop_px
    height, width = int(image.shape[1]), int(image.shape[2])
    below, right = max(0, crop - height), max(0, crop - width)
    centred = image[None].to(model.mean.device).float() - model.mean
    # Padded on both sides by the mean colour, so that the image lies in the crop's centre.
    top, left = below // 2, right // 2
    padded = F.pad(centred, (left, right - left, top, below - top)) + model.mean
    tall, wide = int(padded.shape[2]), int(padded.shape[3])
    scores = torch.zeros(len(sources), tall, wide, device=padded.device)
    seen = torch.zeros(tall, wide, device=padded.device)
    places = [
        (y, x)
        for y in place_crops(tall, crop, stride=evaluation.stride)
        for x in place_crops(wide, crop, stride=evaluation.stride)
    ]
    for batch in _batched(places, max(1, evaluation.batch // (1 + evaluation.flip))):
        crops = torch.cat([padded[:, :, y : y + crop, x : x + crop] for y, x in batch])
        for (y, x), score in zip(
            batch, _score_batch(model, crops, sources, evaluation), strict=True
        ):
            scores[:, y : y + crop, x : x + crop] += score
            seen[y : y + crop, x : x + crop] += 1
    return (scores / seen)[:, top : top + height, left : left + width]


def _score_batch(model: Network, crops: Tensor, sources: Tensor, evaluation: EvalConfig) -> Tensor:
    """Sum probabilities per test class: (N, 3, crop, crop) to (N, k, crop, crop)."""
    count, size_hw = len(crops), (crops.shape[2], crops.shape[3])
    if evaluation.flip:
        crops = torch.cat([crops, crops.flip(3)])
    logits, _ = model(crops.contiguous(memory_format=torch.channels_last))
    probabilities = upsample_bilinear(logits.float(), size_hw).softmax(dim=1)
    scores: Tensor = (sources @ probabilities.flatten(2)).view(len(crops), -1, *size_hw)
    if evaluation.flip:
        scores = (scores[:count] + scores[count:].flip(3)) / 2
    return scores


def place_crops(extent: int, crop: int, *, stride: float) -> list[int]:
    """Return where crops begin along a side of `extent` pixels, at least `crop`, last one flush."""
    step = math.ceil(round(crop * stride, 6))  # two thirds of 177 are 118, not a hair more
    count = math.ceil((extent - crop) / step) + 1
    return [min(number * step, extent - crop) for number in range(count)]


def _batched(places: list[tuple[int, int]], size: int) -> Iterator[list[tuple[int, int]]]:
    for start in range(0, len(places), size):
        yield places[start : start + size]


def _argmax_resized(scores: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Resize (k, h, w) scores to `size_hw`, one class at a time, and keep the running maximum."""
    best = torch.full(size_hw, -1.0, device=scores.device)
    chosen = torch.zeros(size_hw, dtype=torch.uint8, device=scores.device)
    for number, score in enumerate(scores):
        resized = F.interpolate(score[None, None], size_hw, mode="bilinear", align_corners=False)[
            0, 0
        ]
        better = resized > best
        best = torch.where(better, resized, best)
        chosen.masked_fill_(better, number)
    return chosen
