"""Crops: one affine map for scale, rotation, mirroring and place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.augment import Augmentation, choose_augmentation, cut_crops, pack_batch
from baselines.config import PRESETS, TrainConfig
from baselines.data import CachedSample
from baselines.exports import IGNORE

PLAIN = replace(
    PRESETS["tiny"],
    scale_min=1.0,
    scale_max=1.0,
    rotate_p=0.0,
    blur_p=0.0,
    flip_p=0.0,
    jitter=0.0,
    crop_px=17,
)
MEAN = torch.tensor([10.0, 20.0, 30.0]).view(1, 3, 1, 1)


def make_sample(height: int, width: int) -> CachedSample:
    """A sample whose labels and colours number its pixels."""
    numbers = torch.arange(height * width).view(height, width)
    image = torch.stack([numbers % 251, numbers // 7 % 251, numbers % 13]).to(torch.uint8)
    return CachedSample(image=image, labels=numbers.to(torch.int16))


def augment_batch(
    samples: Sequence[CachedSample],
    augmentations: Sequence[Augmentation],
    *,
    crop_px: int,
    mean: Tensor,
) -> tuple[Tensor, Tensor]:
    """Pack samples and cut their crops."""
    packed = pack_batch(samples, augmentations, datasets=[0] * len(samples))
    return cut_crops(packed.move_to(mean.device), crop_px=crop_px, mean=mean)


def cut_plainly(
    sample: CachedSample, augmentation: Augmentation, crop_px: int
) -> tuple[Tensor, Tensor]:
    """One crop by torch's own grid over the whole image: what the batched one must equal."""
    theta = torch.tensor([augmentation.theta])
    grid = F.affine_grid(theta, [1, 1, crop_px, crop_px], align_corners=False)
    shift = torch.tensor(augmentation.shift).view(1, 3, 1, 1)
    centred = (sample.image[None].float() - MEAN) * augmentation.contrast + shift
    image = F.grid_sample(centred, grid, "bilinear", "zeros", align_corners=False) + MEAN
    shifted = sample.labels[None, None].float() - IGNORE
    labels = F.grid_sample(shifted, grid, "nearest", "zeros", align_corners=False) + IGNORE
    return image[0], labels[0, 0].long()


@pytest.mark.parametrize("seed", range(4))
def test_a_batch_of_many_sizes_is_cut_as_one_by_one(seed: int) -> None:
    """Crops out of a padded batch equal those out of each image, up to rounding."""
    config = replace(
        PRESETS["paper"], crop_px=31, jitter=0.3, rotate_p=0.8, blur_p=0.0, rotate_deg=40.0
    )
    rng = np.random.default_rng(seed)
    sizes = [(20, 90), (64, 40), (31, 31), (7, 5), (80, 64)]
    samples = [make_sample(*size) for size in sizes]
    # Smooth colours: what is compared is places, not how steep the noise is.
    smooth = [
        replace(sample, image=F.avg_pool2d(sample.image.float(), 5, 1, 2).to(torch.uint8))
        for sample in samples
    ]
    chosen = [
        choose_augmentation(config, int(rng.integers(2**32)), size_hw=sample.size_hw)
        for sample in smooth
    ]
    images, labels = augment_batch(smooth, chosen, crop_px=31, mean=MEAN)
    assert labels.dtype == torch.int64
    for place, (sample, augmentation) in enumerate(zip(smooth, chosen, strict=True)):
        image, label_map = cut_plainly(sample, augmentation, 31)
        torch.testing.assert_close(images[place], image, atol=0.02, rtol=0)
        # A row that falls just between two labels may fall to either.
        assert (labels[place] == label_map).float().mean() > 0.96


def test_labels_of_any_number_survive() -> None:
    """Labels up to the largest that a compact map can hold come through as they are."""
    labels = torch.tensor([[IGNORE, 0], [255, 32766]], dtype=torch.int16)
    sample = CachedSample(image=torch.zeros(3, 2, 2, dtype=torch.uint8), labels=labels)
    whole = Augmentation(((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)), blur=False)
    _, found = augment_batch([sample], [whole], crop_px=2, mean=MEAN)
    assert torch.equal(found[0], labels.long())


def cut(config: TrainConfig, sample: CachedSample, seed: int) -> tuple[Tensor, Tensor]:
    """The image (3, crop, crop) and labels (crop, crop) of one augmented sample."""
    augmentation = choose_augmentation(config, seed, size_hw=sample.size_hw)
    images, labels = augment_batch([sample], [augmentation], crop_px=config.crop_px, mean=MEAN)
    return images[0], labels[0]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("flip_p", [0.0, 1.0])
def test_a_plain_crop_is_a_window(seed: int, flip_p: float) -> None:
    """Without scale and rotation a crop copies a window, mirrored or not, labels in step."""
    sample = make_sample(30, 41)
    image, labels = cut(replace(PLAIN, flip_p=flip_p), sample, seed)
    top, left = divmod(int(labels.min()), 41)
    window = sample.labels[top : top + 17, left : left + 17].long()
    pixels = sample.image[:, top : top + 17, left : left + 17].float()
    if flip_p:
        window, pixels = window.flip(1), pixels.flip(2)
    assert torch.equal(labels, window)
    torch.testing.assert_close(image, pixels, atol=0.05, rtol=0)


def test_windows_reach_every_edge() -> None:
    """Over many seeds crops begin at the first and at the last possible place."""
    sample = make_sample(20, 20)
    corners = {divmod(int(cut(PLAIN, sample, seed)[1].min()), 20) for seed in range(80)}
    assert {y for y, _ in corners} == {x for _, x in corners} == {0, 1, 2, 3}


def test_outside_lie_the_mean_colour_and_ignore() -> None:
    """An image smaller than the crop lies in its centre."""
    sample = make_sample(9, 9)
    image, labels = cut(PLAIN, sample, 0)
    assert torch.equal(labels[4:13, 4:13], sample.labels.long())
    assert (labels == IGNORE).sum() == 17 * 17 - 81
    outside = image[:, 0, 0]
    torch.testing.assert_close(outside, MEAN.flatten())


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_scale_enlarges(scale: float) -> None:
    """At scale s a square of the image covers s² times its pixels."""
    labels = torch.zeros(64, 64, dtype=torch.int16)
    labels[24:40, 24:40] = 1
    sample = CachedSample(image=torch.zeros(3, 64, 64, dtype=torch.uint8), labels=labels)
    config = replace(PLAIN, scale_min=scale, scale_max=scale, crop_px=max(33, int(64 * scale)))
    _, cropped = cut(config, sample, 0)
    assert int((cropped == 1).sum()) == pytest.approx(256 * scale**2, rel=0.1)


def test_rotation_turns_image_and_labels_together() -> None:
    """A rotated bright square stays where its label is, and is tilted."""
    labels = torch.zeros(65, 65, dtype=torch.int16)
    labels[28:37, 10:55] = 1
    image = (labels * 200).to(torch.uint8).expand(3, 65, 65)
    sample = CachedSample(image=image, labels=labels)
    config = replace(PLAIN, rotate_p=1.0, rotate_deg=10.0, crop_px=65)
    turned, cropped = cut(config, sample, 1)
    assert not torch.equal(cropped, labels.long())
    agree = ((turned[0] > 100) == (cropped == 1)).float().mean()
    assert agree > 0.98


def test_blur_keeps_the_mean_and_softens() -> None:
    """A blurred crop has the mean of the sharp one and less contrast; labels stay."""
    sample = CachedSample(
        image=torch.from_numpy(np.random.default_rng(0).integers(0, 255, (3, 17, 17), np.uint8)),
        labels=torch.zeros(17, 17, dtype=torch.int16),
    )
    theta = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    images, labels = augment_batch(
        [sample, sample],
        [Augmentation(theta, blur=False), Augmentation(theta, blur=True)],
        crop_px=17,
        mean=MEAN,
    )
    assert images[1].std() < 0.6 * images[0].std()
    assert images[1].mean() == pytest.approx(float(images[0].mean()), rel=0.05)
    assert torch.equal(labels[0], labels[1])


def test_equal_seeds_choose_equally() -> None:
    """Scale, rotation, mirroring, place and blur follow from the seed."""
    config = PRESETS["paper"]
    choices = [choose_augmentation(config, seed, size_hw=(300, 400)) for seed in (4, 4, 5)]
    assert choices[0] == choices[1] != choices[2]


def test_jitter_scales_about_the_mean_and_shifts_each_colour() -> None:
    """Jitter maps every colour by one line per channel, the same in the whole crop, and leaves labels alone."""
    sample = make_sample(30, 41)
    plain, labels = cut(PLAIN, sample, 3)
    jittered, same = cut(replace(PLAIN, jitter=0.2), sample, 3)
    assert torch.equal(labels, same)
    chosen = choose_augmentation(replace(PLAIN, jitter=0.2), 3, size_hw=(30, 41))
    shift = torch.tensor(chosen.shift).view(3, 1, 1)
    expected = (plain - MEAN[0]) * chosen.contrast + shift + MEAN[0]
    torch.testing.assert_close(jittered, expected, atol=0.05, rtol=0)
    assert chosen.contrast != 1.0


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("size_hw", [(90, 61), (40, 25), (12, 80)])
def test_the_map_is_the_recipe_step_by_step(size_hw: tuple[int, int], mirrored: bool) -> None:
    """Crop, mirroring, rotation about the middle and scale, undone one after another for every pixel."""
    height, width = size_hw
    crop, seed = 31, 11
    config = replace(
        PRESETS["paper"], crop_px=crop, rotate_p=1.0, rotate_deg=25.0, flip_p=float(mirrored)
    )
    chosen = choose_augmentation(config, seed, size_hw=size_hw)
    rng = np.random.default_rng(seed)
    scale, _, angle = rng.uniform(0.5, 2.0), rng.random(), rng.uniform(-25.0, 25.0)
    _, _, *chances = (rng.random() for _ in range(4))
    starts = []
    for chance, side in zip(chances, (scale * height, scale * width), strict=True):
        room = max(0, math.floor(side) - crop)
        starts.append(min(int(chance * (room + 1)), room) if room else (side - crop) / 2)
    y, x = np.meshgrid(*(start + np.arange(crop) + 0.5 for start in starts), indexing="ij")
    x = scale * width - x if mirrored else x
    turn = np.exp(-1j * math.radians(angle))
    middle = scale * (width + 1j * height) / 2
    place = ((x + 1j * y - middle) * turn + middle) / scale
    grid = F.affine_grid(torch.tensor([chosen.theta]), [1, 1, crop, crop], align_corners=False)[0]
    np.testing.assert_allclose((grid[..., 0] + 1) / 2 * width, place.real, atol=1e-4)
    np.testing.assert_allclose((grid[..., 1] + 1) / 2 * height, place.imag, atol=1e-4)


def test_choices_have_their_probabilities_and_ranges() -> None:
    """Blur, mirroring and rotation come as often as they are to, turns go both ways, scales reach both ends."""
    config = replace(PRESETS["paper"], blur_p=0.2, flip_p=0.7, rotate_p=0.5)
    chosen = [choose_augmentation(config, seed, size_hw=(600, 600)) for seed in range(600)]
    thetas = np.array([augmentation.theta for augmentation in chosen])
    determinants = thetas[:, 0, 0] * thetas[:, 1, 1] - thetas[:, 0, 1] * thetas[:, 1, 0]
    angles = np.degrees(np.arctan2(thetas[:, 0, 1], thetas[:, 1, 1]))
    scales = 473 / 600 / np.sqrt(np.abs(determinants))
    assert np.mean([augmentation.blur for augmentation in chosen]) == pytest.approx(0.2, abs=0.07)
    assert np.mean(determinants < 0) == pytest.approx(0.7, abs=0.07)
    assert np.mean(angles == 0) == pytest.approx(0.5, abs=0.07)
    assert (angles.min(), angles.max()) == pytest.approx((-10, 10), abs=0.5)
    assert (scales.min(), scales.max()) == pytest.approx((0.5, 2.0), abs=0.02)
    assert scales.mean() == pytest.approx(1.25, abs=0.06)


def test_blur_is_that_of_opencv() -> None:
    """A 5 × 5 Gaussian as OpenCV makes it when only the size is given, mirrored at the border."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (17, 17, 3), dtype=np.uint8)
    image = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
    sample = CachedSample(image=image, labels=torch.zeros(17, 17, dtype=torch.int16))
    whole = Augmentation(((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)), blur=True)
    images, _ = augment_batch([sample], [whole], crop_px=17, mean=MEAN)
    expected = cv2.GaussianBlur(pixels.astype(np.float32), (5, 5), 0)
    np.testing.assert_allclose(images[0].permute(1, 2, 0), expected, atol=0.02)
