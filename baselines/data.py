"""Which sample comes when, decoded samples kept in memory, and batches made ahead of time."""

from __future__ import annotations

import heapq
import math
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import count as count_from
from itertools import islice
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.exports import Export, Sample
from mseg_curate.errors import ExportError, InputError
from mseg_curate.files import sha256_of
from mseg_curate.images import read_image, read_label

__all__ = [
    "CachedSample",
    "Draw",
    "SampleCache",
    "Sampler",
    "prepare_ahead",
    "read_photo",
    "resize_image",
    "resize_nearest",
    "weigh_datasets",
]

# Separate streams of random numbers out of one seed.
ORDER_STREAM: Final = 1
AUGMENTATION_STREAM: Final = 2

MIB: Final = 1 << 20
STEPS_AHEAD: Final = 4  # batches that reader threads prepare while the device works, at least

T = TypeVar("T")


@dataclass(frozen=True)
class Draw:
    """One slot of one batch: sample `index` of dataset `dataset`, augmented from a seed."""

    dataset: int
    index: int
    augmentation_seed: int


class Sampler:
    """A pure function from (seed, step, slot) to a draw.

    Each dataset has its share of the draws, spread evenly: the k-th draw of a dataset of weight w is due at
    (k + ½) / w, and draws come in the order of their dues. Equal weights, which are the default, let
    datasets take turns whatever their size (MSeg, section 5). Within a dataset every sample comes
    once per round, in an order of that round. Labels play no part: all arms of a seed see the same
    crops, and a resumed run, or one of more processes, goes on where it stopped.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        seed: int,
        batch: int,
        weights: Sequence[int | Fraction] | None = None,
    ) -> None:
        """Draw from datasets of `sizes` samples, `batch` slots a step, in shares of `weights` above 0."""
        self.sizes = tuple(sizes)
        self.seed = seed
        self.batch = batch
        given = [1] * len(self.sizes) if weights is None else weights
        self.weights = _as_integers([Fraction(weight) for weight in given])

    def draw(self, step: int, slot: int) -> Draw:
        """Say what slot `slot` of step `step` holds; both count from 0."""
        return next(self._draw_from(step, slot))

    def draw_batch(self, step: int) -> tuple[Draw, ...]:
        """Say what the slots of step `step` hold."""
        return tuple(islice(self._draw_from(step, 0), self.batch))

    def _draw_from(self, step: int, slot: int) -> Iterator[Draw]:
        for place, (dataset, turn) in enumerate(_turns(self.weights, step * self.batch + slot)):
            count, number = divmod(turn, self.sizes[dataset])
            order = _shuffle(self.seed, dataset, count, self.sizes[dataset])
            yield Draw(
                dataset=dataset,
                index=int(order[number]),
                augmentation_seed=_augmentation_seed(self.seed, step, slot + place),
            )


def weigh_datasets(
    setting: str, names: Sequence[str], sizes: Sequence[int]
) -> tuple[Fraction, ...]:
    """Read `equal`, `size` or `NAME=W,NAME=W` as one weight above 0 per dataset, exactly as written.

    Raises InputError for a dataset without a weight, an unknown one, one named twice, or a weight
    that is no number above 0.
    """
    if setting == "equal":
        return (Fraction(1),) * len(names)
    if setting == "size":
        return tuple(map(Fraction, sizes))
    weights: dict[str, Fraction] = {}
    for part in setting.split(","):
        name, _, text = part.rpartition("=")
        try:
            weight = Fraction(text.strip())
        except (ValueError, ZeroDivisionError):
            weight = Fraction(0)
        if name.strip() not in names or name.strip() in weights or weight <= 0:
            raise InputError(
                "dataset_weights",
                place=part.strip() or "(nothing)",
                expected=f"equal, size, or NAME=W with W above 0, once each, of {', '.join(names)}",
            )
        weights[name.strip()] = weight
    missing = [name for name in names if name not in weights]
    if missing:
        raise InputError(
            "dataset_weights leave datasets without a weight",
            found=", ".join(missing),
            hint="give each one, or train without those datasets",
        )
    return tuple(weights[name] for name in names)


def _as_integers(weights: Sequence[Fraction]) -> tuple[int, ...]:
    if not weights or min(weights) <= 0:
        raise InputError("a sampler needs datasets with weights above 0", found=str(weights))
    whole = math.lcm(*(weight.denominator for weight in weights))
    numbers = [int(weight * whole) for weight in weights]
    common = math.gcd(*numbers)
    return tuple(number // common for number in numbers)


def _turns(weights: Sequence[int], start: int) -> Iterator[tuple[int, int]]:
    """Yield (dataset, how many draws it had before) from draw number `start` on, in the order of dues.

    Dues are compared as integers: (2k + 1) · m / w with m a common multiple of the weights.
    """
    every = math.lcm(*weights)
    apart = [2 * every // weight for weight in weights]
    # Up to time T dataset d was drawn within ½ of w·T times: so this T is early enough.
    early = max(0, start - len(weights)) * 2 * every // sum(weights)
    done = [max(0, -((apart_d // 2 - early) // apart_d)) for apart_d in apart]
    dues = [
        ((2 * count + 1) * (apart_d // 2), dataset, count)
        for dataset, (count, apart_d) in enumerate(zip(done, apart, strict=True))
    ]
    heapq.heapify(dues)
    for number in count_from(sum(done)):
        due, dataset, drawn = dues[0]
        heapq.heapreplace(dues, (due + apart[dataset], dataset, drawn + 1))
        if number >= start:
            yield dataset, drawn


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
        image = read_photo(sample)
        label_map = read_label(sample.label)
        check_sizes(sample, image, label_map)
        labels = self._export.index.compact(label_map, path=sample.label)
        size_hw = shorter_side(sample.size_hw, self._base_px)
        return CachedSample(
            image=resize_image(image, size_hw),
            labels=torch.from_numpy(resize_nearest(labels, size_hw)),
        )


def prepare_ahead(
    prepare: Callable[[int], T], *, steps: range, threads: int
) -> Iterator[tuple[int, T]]:
    """Yield (step, prepare(step)) in order; threads, where there are any, work ahead of who asks."""
    if threads == 0:
        for step in steps:
            yield step, prepare(step)
        return
    waiting: deque[tuple[int, Future[T]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="reader")
    try:
        for step in steps:
            waiting.append((step, pool.submit(prepare, step)))
            if len(waiting) > max(STEPS_AHEAD, threads):
                due, made = waiting.popleft()
                yield due, made.result()
        for due, made in waiting:
            yield due, made.result()
    finally:
        pool.shutdown(cancel_futures=True)


def read_photo(sample: Sample) -> npt.NDArray[np.uint8]:
    """Read a sample's image, (H, W, 3) uint8 RGB; raises ExportError where it is not the one that was exported."""
    image = read_image(sample.image)
    found = sha256_of(sample.image)
    if found != sample.image_sha256:
        raise ExportError(
            "the image changed after the export",
            path=sample.image,
            expected=f"SHA-256 {sample.image_sha256}",
            found=found,
            hint="put the former file back, or add the dataset to a new store and export again",
        )
    return image


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
