"""Random scale, rotation, mirroring and crop as one affine map per sample, for a whole batch at once, then blur."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.config import TrainConfig
from baselines.data import CachedSample
from baselines.exports import IGNORE

__all__ = [
    "Augmentation",
    "PackedBatch",
    "choose_augmentation",
    "cut_crops",
    "pack_batch",
]

Theta: TypeAlias = tuple[tuple[float, float, float], tuple[float, float, float]]

# Half of 0 … 255: the shifts of `jitter` are in units of it.
COLOUR_RANGE: Final = 127.5
# What OpenCV, and so the reference recipe, takes for a 5 × 5 Gaussian whose size alone is given.
BLUR: Final = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


@dataclass(frozen=True)
class Augmentation:
    """Where a crop comes from.

    `theta` maps the crop's coordinates to the image's, both in −1 … 1 from edge to edge. Colours, less
    the mean, are multiplied by `contrast` and moved by `shift` (in units of 0 … 255).
    """

    theta: Theta
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


@dataclass(frozen=True)
class PackedBatch:
    """What the crops of a batch are cut from, padded to one size.

    `pixels` is (N, 4, h, w) uint8: red, green, blue, and 1 inside the image, 0 outside. `labels` is
    (N, h, w) int16: label − IGNORE, 0 outside. `choices` is (N, 10) float32: theta in the padded extents,
    contrast, shift. `datasets` is (N,) int64. `blurred` are the numbers of the samples to blur.
    """

    pixels: Tensor
    labels: Tensor
    choices: Tensor
    datasets: Tensor
    blurred: Tensor

    def move_to(self, device: torch.device) -> PackedBatch:
        """Return the batch on `device`; copies from pinned memory are not waited for."""
        tensors = (self.pixels, self.labels, self.choices, self.datasets, self.blurred)
        return PackedBatch(*(tensor.to(device, non_blocking=True) for tensor in tensors))


def pack_batch(
    samples: Sequence[CachedSample],
    augmentations: Sequence[Augmentation],
    *,
    datasets: Sequence[int],
    pinned: bool = False,
) -> PackedBatch:
    """Copy the part of each sample that its crop can see into one tensor, in pinned memory where asked."""
    windows = [
        _see_window(augmentation.theta, sample.size_hw)
        for sample, augmentation in zip(samples, augmentations, strict=True)
    ]
    high, wide = (
        max(window[axis].stop - window[axis].start for window in windows) for axis in (0, 1)
    )
    number = len(samples)
    pixels = torch.zeros(number, 4, high, wide, dtype=torch.uint8, pin_memory=pinned)
    labels = torch.zeros(number, high, wide, dtype=torch.int16, pin_memory=pinned)
    choices = []
    for place, (sample, augmentation) in enumerate(zip(samples, augmentations, strict=True)):
        rows, columns = windows[place]
        height, width = rows.stop - rows.start, columns.stop - columns.start
        pixels[place, :3, :height, :width] = sample.image[:, rows, columns]
        pixels[place, 3, :height, :width] = 1
        torch.sub(sample.labels[rows, columns], IGNORE, out=labels[place, :height, :width])
        across = _move_axis(augmentation.theta[0], sample.size_hw[1], columns.start, wide)
        down = _move_axis(augmentation.theta[1], sample.size_hw[0], rows.start, high)
        choices.append((*across, *down, augmentation.contrast, *augmentation.shift))
    small = (
        torch.tensor(choices, dtype=torch.float32),
        torch.tensor(datasets, dtype=torch.int64),
        torch.tensor(
            [n for n, chosen in enumerate(augmentations) if chosen.blur], dtype=torch.int64
        ),
    )
    return PackedBatch(pixels, labels, *(each.pin_memory() if pinned else each for each in small))


def _see_window(theta: Theta, size_hw: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rows and columns of an image that a crop's pixels are interpolated from, or more."""
    slices = []
    for (by_x, by_y, shift), extent in ((theta[1], size_hw[0]), (theta[0], size_hw[1])):
        reach = abs(by_x) + abs(by_y)
        first, last = (((shift + side * reach + 1) * extent - 1) / 2 for side in (-1, 1))
        start = min(max(0, math.floor(first) - 1), extent - 1)
        slices.append(slice(start, max(start + 1, min(extent, math.ceil(last) + 2))))
    return slices[0], slices[1]


def _move_axis(
    row: tuple[float, float, float], extent: int, start: int, padded: int
) -> tuple[float, float, float]:
    """Express −1 … 1 of an axis of `extent` pixels in that of `padded` pixels which begins at `start`."""
    by_x, by_y, shift = row
    scale = extent / padded
    return by_x * scale, by_y * scale, shift * scale + (extent - 2 * start) / padded - 1


def cut_crops(batch: PackedBatch, *, crop_px: int, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Cut one crop out of each sample, all of them at once, on the batch's device.

    Returns images (N, 3, crop, crop) float32 in 0 … 255 and labels (N, crop, crop) int64. `mean` is
    (1, 3, 1, 1). Images are sampled bilinearly, labels by the nearest pixel; outside the image lie the
    mean colour and IGNORE.
    """
    grid = _spread_grid(batch.choices, crop_px)
    sampled = F.grid_sample(batch.pixels.float(), grid, "bilinear", "zeros", align_corners=False)
    # The fourth channel is how much of a pixel lies inside: the rest is of the mean colour.
    image, inside = sampled[:, :3], sampled[:, 3:]
    contrast, shift = batch.choices[:, 6:7, None, None], batch.choices[:, 7:, None, None]
    image.mul_(contrast).addcmul_(inside, shift - mean * contrast).add_(mean)
    if len(batch.blurred):
        image[batch.blurred] = _blur(image[batch.blurred])
    numbers = batch.labels[:, None].float()
    labels = F.grid_sample(numbers, grid, "nearest", "zeros", align_corners=False)
    return image, labels[:, 0].long().add_(IGNORE)


def _spread_grid(choices: Tensor, crop_px: int) -> Tensor:
    """Return the (N, crop, crop, 2) places of a crop's pixels; as affine_grid does, but not by a product."""
    middles = (2 * torch.arange(crop_px, device=choices.device) + 1) / crop_px - 1
    grid = choices.new_empty(len(choices), crop_px, crop_px, 2)
    for axis, first in ((0, 0), (1, 3)):
        by_x, by_y, shift = choices[:, first : first + 3, None].unbind(1)
        across, down = by_x * middles, by_y * middles + shift
        torch.add(across[:, None, :], down[:, :, None], out=grid[..., axis])
    return grid


def _blur(images: Tensor) -> Tensor:
    kernel = _place_kernel(images.device)
    padded = F.pad(images, (2, 2, 2, 2), mode="reflect")
    return F.conv2d(F.conv2d(padded, kernel, groups=3), kernel.transpose(2, 3), groups=3)


# It stays on the device: copying it there in every step would make the host wait.
@lru_cache(maxsize=4)
def _place_kernel(device: torch.device) -> Tensor:
    return torch.tensor(BLUR, device=device).expand(3, 1, 1, 5)
