"""Random scale, rotation, mirroring and crop as one affine map per sample, then blur."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.config import TrainConfig
from baselines.data import CachedSample
from baselines.exports import IGNORE

__all__ = ["Augmentation", "augment_batch", "choose_augmentation"]

# Half of 0 … 255: the shifts of `jitter` are in units of it.
COLOUR_RANGE: Final = 127.5
# What a 5 × 5 Gaussian has as standard deviation when only its size is given.
BLUR_SIGMA: Final = 0.3 * ((5 - 1) * 0.5 - 1) + 0.8


@dataclass(frozen=True)
class Augmentation:
    """Where a crop comes from.

    `theta` maps the crop's coordinates to the image's, both in −1 … 1 from edge to edge. Colours, less
    the mean, are multiplied by `contrast` and moved by `shift` (in units of 0 … 255).
    """

    theta: tuple[tuple[float, float, float], tuple[float, float, float]]
    blur: bool
    contrast: float = 1.0
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)


def choose_augmentation(
    config: TrainConfig, seed: int, *, size_hw: tuple[int, int]
) -> Augmentation:
    """Choose scale, rotation, mirroring, crop and blur for an image of `size_hw` from a seed.

    The order is that of the published recipe: scale, rotate, (blur,) mirror, crop. An image that
    ends up smaller than the crop lies in its centre.
    """
    rng = np.random.default_rng(seed)
    scale = rng.uniform(config.scale_min, config.scale_max)
    rotated = rng.random() < config.rotate_p
    angle = math.radians(rng.uniform(-config.rotate_deg, config.rotate_deg)) if rotated else 0.0
    blur = bool(rng.random() < config.blur_p)
    mirror = -1.0 if rng.random() < config.flip_p else 1.0
    height, width = size_hw
    down = _choose_offset(rng.random(), scale * height, config.crop_px)
    right = _choose_offset(rng.random(), scale * width, config.crop_px)
    half, cos, sin = config.crop_px / 2, math.cos(angle), math.sin(angle)
    # Pixels from the crop's centre → the mirrored image → before the rotation → before the scale.
    x_of = (mirror * cos / scale, sin / scale)
    y_of = (-mirror * sin / scale, cos / scale)
    rows = []
    for (by_x, by_y), extent in ((x_of, width), (y_of, height)):
        shift = by_x * right + by_y * down
        rows.append((2 * by_x * half / extent, 2 * by_y * half / extent, 2 * shift / extent))
    contrast, red, green, blue = (config.jitter * rng.standard_normal(4)).tolist()
    return Augmentation(
        theta=(rows[0], rows[1]),
        blur=blur,
        contrast=max(0.2, 1.0 + contrast),
        shift=(COLOUR_RANGE * red, COLOUR_RANGE * green, COLOUR_RANGE * blue),
    )


def _choose_offset(chance: float, extent: float, crop_px: int) -> float:
    """Return how far the crop's centre lies from the image's, along one side, in pixels."""
    room = max(0, math.floor(extent) - crop_px)
    if room == 0:
        return 0.0
    # Whole pixels: an image that is neither scaled nor rotated is then copied, not interpolated.
    return min(int(chance * (room + 1)), room) + crop_px / 2 - extent / 2


def augment_batch(
    samples: Sequence[CachedSample],
    augmentations: Sequence[Augmentation],
    *,
    crop_px: int,
    mean: Tensor,
) -> tuple[Tensor, Tensor]:
    """Cut one crop out of each sample.

    Returns images (N, 3, crop, crop) float32 in 0 … 255 and labels (N, crop, crop) int64 on the
    device of `mean` (1, 3, 1, 1). Images are sampled bilinearly, labels by the nearest pixel;
    outside the image lie the mean colour and IGNORE.
    """
    images, labels = [], []
    for sample, augmentation in zip(samples, augmentations, strict=True):
        image, label_map = _cut(sample, augmentation, crop_px, mean)
        images.append(image)
        labels.append(label_map)
    batch = torch.cat(images)
    blurred = [number for number, chosen in enumerate(augmentations) if chosen.blur]
    if blurred:
        batch[blurred] = _blur(batch[blurred])
    return batch, torch.cat(labels)


def _cut(
    sample: CachedSample, augmentation: Augmentation, crop_px: int, mean: Tensor
) -> tuple[Tensor, Tensor]:
    theta = torch.tensor([augmentation.theta], dtype=torch.float32, device=mean.device)
    grid = F.affine_grid(theta, [1, 1, crop_px, crop_px], align_corners=False)
    # Outside the image grid_sample reads zeros, so zero must be what belongs there.
    centred = sample.image[None].to(mean.device).float() - mean
    if augmentation.contrast != 1.0 or any(augmentation.shift):
        shift = torch.tensor(augmentation.shift, dtype=torch.float32, device=mean.device)
        centred = centred * augmentation.contrast + shift.view(1, 3, 1, 1)
    image = F.grid_sample(centred, grid, "bilinear", "zeros", align_corners=False) + mean
    shifted = sample.labels[None, None].to(mean.device).float() - IGNORE
    label_map = F.grid_sample(shifted, grid, "nearest", "zeros", align_corners=False) + IGNORE
    return image, label_map[:, 0].round().long()


def _blur(images: Tensor) -> Tensor:
    places = torch.arange(-2, 3, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-(places**2) / (2 * BLUR_SIGMA**2))
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, 5)
    padded = F.pad(images, (2, 2, 2, 2), mode="reflect")
    return F.conv2d(F.conv2d(padded, kernel, groups=3), kernel.transpose(2, 3), groups=3)
