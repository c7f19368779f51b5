"""Pictures of what a network predicts while it trains: photo, truth and prediction side by side."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from baselines.augment import Augmentation, PackedBatch, cut_crops, pack_batch
from baselines.data import SampleCache
from baselines.exports import IGNORE, Export
from baselines.networks import Network, upsample_bilinear
from mseg_curate.files import write_bytes_atomically
from mseg_curate.images import encode_rgb_png

__all__ = ["SAMPLES_NAME", "choose_examples", "colour_classes", "draw_samples", "paint_labels"]

SAMPLES_NAME: Final = "samples"
GOLDEN_ANGLE: Final = 0.618034  # of a full turn: neighbours lie far apart in hue


def choose_examples(export: Export, cache: SampleCache, *, crop_px: int) -> PackedBatch:
    """Choose one crop per training dataset: the middle of its first image, as it is."""
    samples = [cache.load(number, 0) for number in range(len(export.train))]
    middles = []
    for sample in samples:
        height, width = sample.size_hw
        rows = ((crop_px / width, 0.0, 0.0), (0.0, crop_px / height, 0.0))
        middles.append(Augmentation(theta=rows, blur=False))
    return pack_batch(samples, middles, datasets=range(len(samples)))


def draw_samples(
    path: Path, model: Network, *, examples: PackedBatch, export: Export, crop_px: int
) -> None:
    """Write a PNG with a row photo, truth, prediction per example; the network's mode and weights stay.

    The picture is (examples · crop) × (3 · crop). Classes have the colours of `colour_classes`, sets the mean
    of their members', ignored pixels are black.
    """
    training = model.training
    model.eval()
    with torch.no_grad():
        images, labels = cut_crops(
            examples.move_to(model.mean.device), crop_px=crop_px, mean=model.mean
        )
        found = []
        for image in images:
            logits, _ = model(image[None])
            found.append(upsample_bilinear(logits.float(), (crop_px, crop_px)).argmax(1))
    model.train(training)
    photos = images.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    colours = colour_classes(export.outputs, export.index.sets)
    parts = [photos, paint_labels(labels, colours), paint_labels(torch.cat(found), colours)]
    columns = [part.reshape(-1, crop_px, 3) for part in parts]
    write_bytes_atomically(path, encode_rgb_png(np.concatenate(columns, axis=1)))


def colour_classes(classes: int, sets: Sequence[Sequence[int]] = ()) -> npt.NDArray[np.uint8]:
    """Return (classes + sets, 3) uint8 RGB colours, none of them black; a set has its members' mean."""
    colours = [
        colorsys.hsv_to_rgb(
            number * GOLDEN_ANGLE % 1,
            (0.9, 0.6, 0.75)[number % 3],
            (1.0, 0.85, 0.65)[number % 5 % 3],
        )
        for number in range(classes)
    ]
    table = np.array(colours).reshape(classes, 3)
    means = [table[list(members)].mean(axis=0) for members in sets]
    return np.round(255 * np.array([*table, *means])).astype(np.uint8)


def paint_labels(labels: Tensor, colours: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Turn labels (…, H, W) into (…, H, W, 3) uint8 RGB; ignored pixels are black."""
    numbers = labels.cpu().numpy()
    painted = colours[np.where(numbers == IGNORE, 0, numbers)]
    painted[numbers == IGNORE] = 0
    return painted
