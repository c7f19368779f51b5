"""From a photo to the test class of each pixel: scales, sliding crops, mirroring, summed probabilities."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.config import EvalConfig
from baselines.data import resize_image, shorter_side
from baselines.networks import Network, upsample_bilinear

__all__ = [
    "LabelMap",
    "Resolution",
    "place_crops",
    "predict_label_map",
    "resolutions",
    "score_logits",
    "score_pixels",
]

LabelMap = npt.NDArray[np.uint8 | np.uint16]

# Values of enlarged logits that are worked on at a time: on a CPU they stay in a core's cache.
BLOCK_PER_CORE = 1 << 17
BLOCK_ON_GPU = 1 << 27


@dataclass(frozen=True)
class Resolution:
    """One declared way to look at the test images: a shorter side in pixels, and multiples of it that are averaged."""

    label: str
    base_px: int
    scales: tuple[float, ...]


def resolutions(evaluation: EvalConfig) -> tuple[Resolution, ...]:
    """Return all that `evaluation` declares, each with a label of its own; the first is what arms are compared by."""
    declared = [(evaluation.base_px, evaluation.scales)]
    declared += [(px, evaluation.scales) for px in evaluation.also_px]
    if evaluation.also_scales:
        declared.append((evaluation.base_px, evaluation.also_scales))
    declared = list(dict.fromkeys(declared))
    short = [_describe_scales(px, scales, spelled=False) for px, scales in declared]
    return tuple(
        Resolution(
            label=_describe_scales(px, scales, spelled=short.count(label) > 1),
            base_px=px,
            scales=scales,
        )
        for label, (px, scales) in zip(short, declared, strict=True)
    )


def _describe_scales(px: int, scales: Sequence[float], *, spelled: bool) -> str:
    if tuple(scales) == (1.0,):
        return f"{px} px"
    if spelled or len(scales) == 1:
        return f"{px} px, scales {' '.join(f'{scale:g}' for scale in scales)}"
    return f"{px} px, {len(scales)} scales"


def predict_label_map(
    network: Network,
    image: npt.NDArray[np.uint8],
    *,
    sources: Tensor,
    evaluation: EvalConfig,
    resolution: Resolution | None = None,
) -> LabelMap:
    """Predict the test class of every pixel: (H, W, 3) uint8 RGB to (H, W) uint8, or uint16 above 255 classes.

    `sources` is (K, outputs) on the network's device. Without a single predictable class the result
    is 255 everywhere (65535 above 255 classes).
    """
    usable = (sources.sum(dim=1) > 0).nonzero().flatten().tolist()
    height, width = image.shape[:2]
    dtype = np.uint8 if len(sources) <= 255 else np.uint16
    if not usable:
        return np.full((height, width), np.iinfo(dtype).max, dtype)
    chosen = resolution or resolutions(evaluation)[0]
    with torch.inference_mode():
        scores = _score_scales(network, image, sources[usable], evaluation, chosen)
        best = _argmax_resized(scores, (height, width))
    names = np.array(usable, dtype)
    label_map: LabelMap = names[best.cpu().numpy()]
    return label_map


def score_pixels(
    network: Network,
    image: npt.NDArray[np.uint8],
    *,
    sources: Tensor,
    evaluation: EvalConfig,
    resolution: Resolution | None = None,
) -> Iterator[Tensor]:
    """Yield the probability of each row of `sources` at every pixel of a (H, W, 3) uint8 RGB photo, as (H, W) float32.

    `sources` is (K, outputs) on the network's device, of 0 and 1: outputs whose probabilities are summed. One row at a
    time is enlarged to the photo's own size, so that a large photo with many classes fits into memory.
    """
    size_hw = (image.shape[0], image.shape[1])
    chosen = resolution or resolutions(evaluation)[0]
    with torch.inference_mode():
        scores = _score_scales(network, image, sources, evaluation, chosen)
    for score in scores:
        # Entered anew for each: a generator that waits must not change what torch does elsewhere.
        with torch.inference_mode():
            enlarged = _resize(score[None], size_hw)[0]
        yield enlarged


@dataclass(frozen=True, eq=False)
class _View:
    """An image at one scale, padded to at least a crop: where it lies, and what was scored of it."""

    padded: Tensor
    place: tuple[slice, slice]
    scores: Tensor
    seen: Tensor

    @property
    def result(self) -> Tensor:
        """The average over all crops, (k, h, w), without the padding."""
        return (self.scores / self.seen)[:, self.place[0], self.place[1]]


_Crop = tuple[_View, slice, slice]


def _score_scales(
    network: Network,
    image: npt.NDArray[np.uint8],
    sources: Tensor,
    evaluation: EvalConfig,
    resolution: Resolution,
) -> Tensor:
    """Average the summed probabilities over crops and scales: (H, W, 3) uint8 to (k, h, w) float32."""
    size_hw = (image.shape[0], image.shape[1])
    base_hw = shorter_side(size_hw, resolution.base_px)
    total = torch.zeros(len(sources), *base_hw, device=sources.device)
    crops = (
        (view, rows, columns)
        for scale in resolution.scales
        for view in [
            _prepare(network, image, round(resolution.base_px * scale), len(sources), evaluation)
        ]
        for rows, columns in _list_crops(view, evaluation)
    )
    size = max(1, evaluation.batch // (1 + evaluation.flip))
    begun: list[_View] = []
    while batch := list(islice(crops, size)):
        _score_crops(network, batch, sources, evaluation)
        begun = list(dict.fromkeys([*begun, *(view for view, _, _ in batch)]))
        # All but the last are complete: large scales need not be in memory together.
        while len(begun) > 1:
            total += _resize(begun.pop(0).result, base_hw)
    total += _resize(begun.pop().result, base_hw)
    return total / len(resolution.scales)


def _prepare(
    network: Network, image: npt.NDArray[np.uint8], px: int, classes: int, evaluation: EvalConfig
) -> _View:
    """Resize (H, W, 3) uint8 to a shorter side of `px`, pad it on both sides by the mean colour to a crop's size."""
    resized = resize_image(image, shorter_side((image.shape[0], image.shape[1]), max(1, px)))
    height, width = int(resized.shape[1]), int(resized.shape[2])
    below, right = max(0, evaluation.crop_px - height), max(0, evaluation.crop_px - width)
    top, left = below // 2, right // 2
    centred = resized[None].to(network.mean.device).float() - network.mean
    padded = F.pad(centred, (left, right - left, top, below - top)) + network.mean
    size_hw = (int(padded.shape[2]), int(padded.shape[3]))
    return _View(
        padded=padded,
        place=(slice(top, top + height), slice(left, left + width)),
        scores=torch.zeros(classes, *size_hw, device=padded.device),
        seen=torch.zeros(size_hw, device=padded.device),
    )


def _list_crops(view: _View, evaluation: EvalConfig) -> list[tuple[slice, slice]]:
    crop, stride = evaluation.crop_px, evaluation.stride
    return [
        (slice(y, y + crop), slice(x, x + crop))
        for y in place_crops(view.padded.shape[2], crop, stride=stride)
        for x in place_crops(view.padded.shape[3], crop, stride=stride)
    ]


def _score_crops(
    network: Network, batch: Sequence[_Crop], sources: Tensor, evaluation: EvalConfig
) -> None:
    """Score crops, of whatever scale, in one pass, and add what was found to their views."""
    crops = torch.cat([view.padded[:, :, rows, columns] for view, rows, columns in batch])
    scores = _score_batch(network, crops, sources, evaluation)
    for (view, rows, columns), score in zip(batch, scores, strict=True):
        view.scores[:, rows, columns] += score
        view.seen[rows, columns] += 1


def _score_batch(
    network: Network, crops: Tensor, sources: Tensor, evaluation: EvalConfig
) -> Tensor:
    """Sum probabilities per test class: (N, 3, crop, crop) to (N, k, crop, crop)."""
    count, size_hw = len(crops), (int(crops.shape[2]), int(crops.shape[3]))
    if evaluation.flip:
        crops = torch.cat([crops, crops.flip(3)])
    logits = network(crops.contiguous(memory_format=torch.channels_last))[0].float()
    if not evaluation.flip:
        return score_logits(logits, sources, size_hw=size_hw)
    # Enlarging is symmetric: it is cheaper to turn the small logits back than the large scores.
    turned = torch.cat([logits[:count], logits[count:].flip(3)])
    scores = score_logits(turned, sources, size_hw=size_hw)
    return (scores[:count] + scores[count:]) / 2


def score_logits(logits: Tensor, sources: Tensor, *, size_hw: tuple[int, int]) -> Tensor:
    """Enlarge, take the softmax, sum per test class: (N, C, h, w) to (N, k, H, W) probabilities.

    `sources` is (k, C). Works through some rows at a time: N × C × H × W probabilities, the largest array of
    an evaluation by far, are never in memory.
    """
    count, outputs, height, width = logits.shape
    # Enlarging is linear: what becomes of the unit matrix is the matrix that enlarges.
    rows = upsample_bilinear(
        torch.eye(height, device=logits.device)[None, None], (size_hw[0], height)
    )
    rows = rows[0, 0].to(logits)
    wide = logits if width == size_hw[1] else upsample_bilinear(logits, (height, size_hw[1]))
    scores = logits.new_empty(count, len(sources), *size_hw)
    step = max(1, _block_size(logits.device) // (outputs * size_hw[1]))
    for image, found in zip(wide, scores, strict=True):
        for y in range(0, size_hw[0], step):
            part = image[:, y : y + step]
            if height != size_hw[0]:
                part = rows[y : y + step] @ image
            summed = sources @ part.flatten(1).softmax(dim=0)
            found[:, y : y + step] = summed.view(len(sources), -1, size_hw[1])
    return scores


def _block_size(device: torch.device) -> int:
    return BLOCK_ON_GPU if device.type == "cuda" else BLOCK_PER_CORE * torch.get_num_threads()


def place_crops(extent: int, crop: int, *, stride: float) -> list[int]:
    """Return where crops begin along a side of `extent` pixels, at least `crop`, last one flush."""
    step = math.ceil(round(crop * stride, 6))  # two thirds of 177 are 118, not a hair more
    count = math.ceil((extent - crop) / step) + 1
    return [min(number * step, extent - crop) for number in range(count)]


def _resize(scores: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Resize (k, h, w) bilinearly; equal sizes are left alone."""
    if tuple(scores.shape[1:]) == size_hw:
        return scores
    return F.interpolate(scores[None], size_hw, mode="bilinear", align_corners=False)[0]


def _argmax_resized(scores: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Resize (k, h, w) scores to `size_hw`, one class at a time, and keep the running maximum."""
    dtype = torch.uint8 if len(scores) <= 256 else torch.int16
    best = torch.full(size_hw, -1.0, device=scores.device)
    chosen = torch.zeros(size_hw, dtype=dtype, device=scores.device)
    for number, score in enumerate(scores):
        resized = _resize(score[None], size_hw)[0]
        # Numbers grow, so the largest that was better is the last: twice as quick as writing through a mask.
        better = (resized > best).to(dtype).mul_(number)
        torch.maximum(chosen, better, out=chosen)
        torch.maximum(best, resized, out=best)
    return chosen
