"""Confusion matrices and what is read off them: IoU, mean IoU, pixel accuracy, harmonic mean."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from mseg_curate.errors import InputError

__all__ = [
    "ImageCounts",
    "MeanIou",
    "Mode",
    "confusion_matrix",
    "harmonic_mean",
    "iou_from_counts",
    "iou_per_class",
    "mean_iou",
    "pixel_accuracy",
    "scored_classes",
]

Mode = Literal["strict", "compat"]
"""`compat`: every class counts, as in the MSeg reference. `strict`: only classes that can score."""

COMPAT_EPSILON = 1e-10

BYTE = 256
# Measured: smaller blocks pay more for each, larger ones leave the cache.
BLOCK_PX = 1 << 18
# With fewer than one change in so many pixels, counting runs is quicker than counting pixels.
PX_PER_RUN = 8

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class ImageCounts:
    """What one network scored on one test dataset, image by image.

    `intersection`, `truth` and `prediction` are (images, K) int64 pixels per class, counted where
    the truth is not ignored; `confusion` is their (K, K + 1) matrix summed over the images, rows
    truth, last column pixels predicted as no class; `predictable` is (K,) bool: the class has a
    source among the network's outputs.
    """

    image_ids: tuple[str, ...]
    classes: tuple[str, ...]
    predictable: Flags
    intersection: Counts
    truth: Counts
    prediction: Counts
    confusion: Counts

    def __post_init__(self) -> None:
        """Raise InputError unless all shapes agree."""
        images, classes = len(self.image_ids), len(self.classes)
        wanted = {
            "predictable": (classes,),
            "intersection": (images, classes),
            "truth": (images, classes),
            "prediction": (images, classes),
            "confusion": (classes, classes + 1),
        }
        for name, shape in wanted.items():
            found = getattr(self, name).shape
            if found != shape:
                raise InputError(f"{name} has another shape", expected=str(shape), found=str(found))

    def mean_iou(self, mode: Mode = "strict") -> float:
        """Return the mean IoU over the images, 0 … 1; NaN where no class counts."""
        return mean_iou(self.confusion, mode=mode, predictable=self.predictable).value


@dataclass(frozen=True)
class MeanIou:
    """A mean IoU in 0 … 1 (NaN where no class counts) and the indices of classes left out of it."""

    value: float
    left_out: tuple[int, ...]


def confusion_matrix(
    truth: npt.NDArray[np.integer],
    prediction: npt.NDArray[np.integer],
    *,
    classes: int,
    ignore_label: int = 255,
) -> Counts:
    """Count pixels by true and predicted class: (K, K + 1) int64, rows truth.

    `truth` and `prediction` are integer arrays of one shape. Pixels whose truth is `ignore_label`
    count nowhere. A prediction outside 0 … K−1 is a miss and lands in the last column. Counts are exact for
    any number of pixels; uint8 maps are the quick case. Raises InputError for a truth outside 0 … K−1
    (the reference silently counts K as K−1), for shapes that differ, or for arrays that are not of integers.
    """
    _check_maps(truth, prediction, classes)
    if truth.dtype == prediction.dtype == np.uint8:
        bytes_of = truth.ravel().view(np.uint8), prediction.ravel().view(np.uint8)
        return _count_bytes(*bytes_of, classes, ignore_label)
    return _count_integers(truth.ravel(), prediction.ravel(), classes, ignore_label)


def _check_maps(
    truth: npt.NDArray[np.integer], prediction: npt.NDArray[np.integer], classes: int
) -> None:
    if truth.shape != prediction.shape:
        raise InputError(
            "truth and prediction differ in shape",
            expected=str(truth.shape),
            found=str(prediction.shape),
        )
    if truth.dtype.kind not in "iu" or prediction.dtype.kind not in "iu" or classes < 1:
        raise InputError(
            "truth and prediction cannot be counted",
            expected="integer arrays and at least one class",
            found=f"{truth.dtype} and {prediction.dtype}, {classes} classes",
        )


def _refuse_labels(ids: Iterable[int], classes: int, ignore_label: int) -> InputError:
    return InputError(
        "class id not in range",
        expected=f"0 … {classes - 1}, or {ignore_label} to ignore",
        found=", ".join(map(str, ids)),
        hint="check the test dataset's class list and ignore label",
    )


def _count_bytes(
    truth: npt.NDArray[np.uint8],
    prediction: npt.NDArray[np.uint8],
    classes: int,
    ignore_label: int,
) -> Counts:
    """Count uint8 maps: every pair is counted, and truths out of range are looked for among the pairs.

    Works block by block, so that the codes stay in the cache. Where neighbours are mostly equal, runs are counted.
    """
    # Rows begin at the ignore label, so that with 255 the ids that occur are the first rows and bincount is short.
    shift = ignore_label if 0 <= ignore_label < BYTE else 0
    width = min(classes, BYTE - 1) + 1
    pairs = np.zeros(BYTE * width, np.int64)
    longest = min(BLOCK_PX, truth.size)
    rows, columns = np.empty((2, longest), np.uint8)
    codes, wide = np.empty(longest, np.uint16), np.empty(longest, np.int64)
    # An array, since numpy compares bytes with one number ten times slower.
    last = np.full(longest, width - 1, np.uint8)
    for start in range(0, truth.size, BLOCK_PX):
        block = slice(start, min(start + BLOCK_PX, truth.size))
        size = block.stop - start
        np.subtract(truth[block], np.uint8(shift), out=rows[:size])
        np.minimum(prediction[block], last[:size], out=columns[:size])
        code = np.multiply(rows[:size], width, out=codes[:size], dtype=np.uint16)
        code += columns[:size]
        found = _count_runs(code)
        if found is None:
            wide[:size] = code
            found = np.bincount(wide[:size])
        pairs[: found.size] += found
    square = np.roll(pairs.reshape(BYTE, width), shift, axis=0)
    if 0 <= ignore_label < BYTE:
        square[ignore_label] = 0
    stray = np.flatnonzero(square[classes:].any(axis=1))
    if stray.size:
        raise _refuse_labels((classes + stray).tolist(), classes, ignore_label)
    counts = np.zeros((classes, classes + 1), np.int64)
    counts[:BYTE, :width] = square[:classes]
    return counts


def _count_runs(code: npt.NDArray[np.uint16]) -> Counts | None:
    """Count codes by their runs; None where runs are short, so that counting pixels is quicker."""
    start = code[: code.size // 16]
    if np.count_nonzero(start[1:] != start[:-1]) > start.size // PX_PER_RUN:
        return None
    change = code[1:] != code[:-1]
    if np.count_nonzero(change) > code.size // PX_PER_RUN:
        return None
    ends = np.append(np.flatnonzero(change), code.size - 1)
    # Lengths are whole numbers below 2 ** 53: float64 adds them exactly.
    return np.bincount(code[ends], np.diff(ends, prepend=-1)).astype(np.int64)


def _count_integers(
    truth: npt.NDArray[np.integer],
    prediction: npt.NDArray[np.integer],
    classes: int,
    ignore_label: int,
) -> Counts:
    """Count maps of any integer type, block by block."""
    flat = np.zeros(classes * (classes + 1), np.int64)
    for start in range(0, truth.size, BLOCK_PX):
        valid = truth[start : start + BLOCK_PX] != ignore_label
        rows = truth[start : start + BLOCK_PX][valid]
        columns = prediction[start : start + BLOCK_PX][valid]
        stray = (rows < 0) | (rows >= classes)
        if stray.any():
            stray = (truth != ignore_label) & ((truth < 0) | (truth >= classes))
            raise _refuse_labels(np.unique(truth[stray]).tolist(), classes, ignore_label)
        missed = (columns < 0) | (columns >= classes)
        codes = rows.astype(np.int64) * (classes + 1)
        codes += np.where(missed, classes, columns).astype(np.int64)
        found = np.bincount(codes)
        flat[: found.size] += found
    return flat.reshape(classes, classes + 1)


def iou_from_counts(
    intersection: npt.NDArray[np.number],
    truth: npt.NDArray[np.number],
    prediction: npt.NDArray[np.number],
    *,
    mode: Mode = "strict",
) -> Floats:
    """Compute intersection over union, elementwise over pixel counts of any common shape.

    `strict` gives NaN where the class is not in the truth; `compat` adds 1e-10 to the union, so
    that a class which neither occurs nor is predicted scores 0.
    """
    overlap = np.asarray(intersection, np.float64)
    occurring = np.asarray(truth, np.float64)
    union = occurring + np.asarray(prediction, np.float64) - overlap
    if mode == "compat":
        return overlap / (union + COMPAT_EPSILON)
    return np.where(occurring > 0, overlap / np.maximum(union, 1), np.nan)


def iou_per_class(confusion: Counts, *, mode: Mode = "strict") -> Floats:
    """Compute the IoU of every class from a (K, K + 1) confusion matrix: (K,) in 0 … 1 or NaN."""
    square = _check_confusion(confusion)
    return iou_from_counts(
        np.diagonal(square), confusion.sum(axis=1), square.sum(axis=0), mode=mode
    )


def scored_classes(
    truth_px: npt.NDArray[np.number], *, mode: Mode, predictable: Flags | None = None
) -> Flags:
    """Say which classes count in the mean: (K,) bool from the pixels of truth per class.

    All of them in `compat`; in `strict` those that occur in the truth and can be predicted.
    """
    if mode == "compat":
        return np.ones(len(truth_px), np.bool_)
    occurs = np.asarray(truth_px) > 0
    return occurs if predictable is None else occurs & predictable


def mean_iou(
    confusion: Counts, *, mode: Mode = "strict", predictable: Flags | None = None
) -> MeanIou:
    """Average the IoU over classes of a (K, K + 1) confusion matrix.

    `compat` averages over all K as the MSeg reference does; `strict` leaves out classes that never
    occur in the truth or, by `predictable` (K,) bool, have no source.
    """
    counted = scored_classes(confusion.sum(axis=1), mode=mode, predictable=predictable)
    left_out = tuple(np.flatnonzero(~counted).tolist())
    if not counted.any():
        return MeanIou(float("nan"), left_out)
    return MeanIou(float(iou_per_class(confusion, mode=mode)[counted].mean()), left_out)


def pixel_accuracy(confusion: Counts) -> float:
    """Compute the share of valid pixels that are predicted right, 0 … 1; NaN without any."""
    square = _check_confusion(confusion)
    total = int(confusion.sum())
    return float(np.trace(square) / total) if total else float("nan")


def harmonic_mean(values: Iterable[float]) -> float:
    """Compute n / Σ 1/v of values of at least 0; 0 if one of them is 0 (MSeg, section 6).

    Raises InputError for no value or a negative one.
    """
    array = np.array(list(values), np.float64)
    if array.size == 0 or (array < 0).any():
        raise InputError(
            "harmonic mean", expected="values of at least 0", found=str(array.tolist())
        )
    if (array == 0).any():
        return 0.0
    return float(array.size / (1 / array).sum())


def _check_confusion(confusion: Counts) -> Counts:
    if confusion.ndim != 2 or confusion.shape[1] != confusion.shape[0] + 1:
        raise InputError(
            "confusion matrix has another shape",
            expected="(K, K + 1): rows truth, last column predicted as no class",
            found=str(confusion.shape),
        )
    return confusion[:, :-1]
