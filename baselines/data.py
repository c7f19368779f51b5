"""Which sample comes when, and decoded samples kept in memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.exports import Export, Sample
from mseg_curate.errors import ExportError
from mseg_curate.images import read_image, read_label

__all__ = ["CachedSample", "Draw", "SampleCache", "Sampler", "resize_image", "resize_nearest"]

# Separate streams of random numbers out of one seed.
ORDER_STREAM: Final = 1
AUGMENTATION_STREAM: Final = 2

MIB: Final = 1 << 20


@dataclass(frozen=True)
class Draw:
    """One slot of one batch: sample `index` of dataset `dataset`, augmented from a seed."""

    dataset: int
    index: int
    augmentation_seed: int


class Sampler:
    """A pure function from (seed, step, slot) to a draw.

    Datasets take turns, so that all weigh the same whatever their size (MSeg, section 5). Within a
    dataset every sample comes once per round, in an order of that round. Labels play no part:
    all arms of a seed see the same crops, and a resumed run goes on where it stopped.
    """

    def __init__(self, sizes: Sequence[int], *, seed: int, batch: int) -> None:
        """Draw from datasets of `sizes` samples, `batch` slots a step."""
        self.sizes = tuple(sizes)
        self.seed = seed
        self.batch = batch

    def draw(self, step: int, slot: int) -> Draw:
        """Say what slot `slot` of step `step` holds; both count from 0."""
        turn = step * self.batch + slot
        dataset = turn % len(self.sizes)
        count, place = divmod(turn // len(self.sizes), self.sizes[dataset])
        order = _shuffle(self.seed, dataset, count, self.sizes[dataset])
        return Draw(
            dataset=dataset,
            index=int(order[place]),
            augmentation_seed=_augmentation_seed(self.seed, step, slot),
        )

    def draw_batch(self, step: int) -> tuple[Draw, ...]:
        """Say what the slots of step `step` hold."""
        return tuple(self.draw(step, slot) for slot in range(self.batch))


@lru_cache(maxsize=64)
def _shuffle(seed: int, dataset: int, count: int, size: int) -> npt.NDArray[np.int64]:
    rng = np.random.default_rng([seed, ORDER_STREAM, dataset, count])
    return rng.permutation(size)


def _augmentation_seed(seed: int, step: int, slot: int) -> int:
    sequence = np.random.SeedSequence([seed, AUGMENTATION_STREAM, step, slot])
    return int(sequence.generate_state(1, np.uint64)[0])


@dataclass(frozen=True)
class CachedSample:
    """A decoded sample: `image` (3, H, W) uint8 RGB, `labels` (H, W) int16 outputs, sets, IGNORE."""

    image: Tensor
    labels: Tensor

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels, after resizing."""
        return int(self.labels.shape[0]), int(self.labels.shape[1])

    @property
    def size_bytes(self) -> int:
        """Count the bytes of both tensors."""
        return self.image.nbytes + self.labels.nbytes


class SampleCache:
    """Training samples, decoded and resized to a shorter side on first use.

    Samples stay in memory until `limit_mib` is reached; what comes later is decoded every time.
    Safe to use from several threads.
    """

    def __init__(self, export: Export, *, base_px: int, limit_mib: int) -> None:
        """Serve the training samples of `export` at a shorter side of `base_px` pixels."""
        self._export = export
        self._base_px = base_px
        self._left_bytes = limit_mib * MIB
        self._samples: dict[tuple[int, int], CachedSample] = {}
        self._lock = threading.Lock()

    def load(self, dataset: int, index: int) -> CachedSample:
        """Return sample `index` of dataset `dataset`; raises ImageError or ExportError."""
        key = (dataset, index)
        if key in self._samples:
            return self._samples[key]
        sample = self._decode(self._export.train[dataset].samples[index])
        with self._lock:
            if key not in self._samples and sample.size_bytes <= self._left_bytes:
                self._left_bytes -= sample.size_bytes
                self._samples[key] = sample
        return sample

    def _decode(self, sample: Sample) -> CachedSample:
        image = read_image(sample.image)
        label_map = read_label(sample.label)
        check_sizes(sample, image, label_map)
        labels = self._export.index.compact(label_map, path=sample.label)
        size_hw = shorter_side(sample.size_hw, self._base_px)
        return CachedSample(
            image=resize_image(image, size_hw),
            labels=torch.from_numpy(resize_nearest(labels, size_hw)),
        )


def check_sizes(
    sample: Sample, image: npt.NDArray[np.uint8], label_map: npt.NDArray[np.integer]
) -> None:
    """Raise ExportError unless image, label map and list agree on height and width."""
    sizes = {image.shape[:2], label_map.shape[:2], sample.size_hw}
    if len(sizes) != 1:
        raise ExportError(
            "image, label map and list differ in size",
            path=sample.label,
            expected=f"{sample.size_hw} (height, width)",
            found=f"image {image.shape[:2]}, label map {label_map.shape[:2]}",
            hint="the images changed after the export; export again",
        )


def shorter_side(size_hw: tuple[int, int], base_px: int) -> tuple[int, int]:
    """Scale height and width so that the smaller becomes `base_px`."""
    scale = base_px / min(size_hw)
    return max(1, round(size_hw[0] * scale)), max(1, round(size_hw[1] * scale))


def resize_image(image: npt.NDArray[np.uint8], size_hw: tuple[int, int]) -> Tensor:
    """Resize (H, W, 3) uint8 to (3, h, w) uint8: bilinear, averaging over areas when it shrinks."""
    tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    if tensor.shape[1:] == size_hw:
        return tensor
    resized = F.interpolate(
        tensor[None].float(), size_hw, mode="bilinear", align_corners=False, antialias=True
    )
    return resized[0].round_().clamp_(0, 255).to(torch.uint8)


def resize_nearest(
    labels: npt.NDArray[np.int16], size_hw: tuple[int, int]
) -> npt.NDArray[np.int16]:
    """Resize (H, W) labels to (h, w) by taking the nearest pixel: no new label can appear."""
    rows = _nearest(labels.shape[0], size_hw[0])
    columns = _nearest(labels.shape[1], size_hw[1])
    return np.ascontiguousarray(labels[rows[:, None], columns[None, :]])


def _nearest(size_in: int, size_out: int) -> npt.NDArray[np.int64]:
    return ((2 * np.arange(size_out) + 1) * size_in) // (2 * size_out)
