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
    count nowhere. A prediction outside 0 … K−1 is a miss and lands in the last column. Raises
    InputError for a truth outside 0 … K−1 (the reference silently counts K as K−1), or for shapes
    that differ.
    """
    if truth.shape != prediction.shape:
        raise InputError(
            "truth and prediction differ in shape",
            expected=str(truth.shape),
            found=str(prediction.shape),
        )
    valid = truth != ignore_label
    rows = truth[valid].astype(np.int64)
    if rows.size and (rows.min() < 0 or rows.max() >= classes):
        ids = np.unique(rows[(rows < 0) | (rows >= classes)]).tolist()
        raise InputError(
            "class id not in range",
            expected=f"0 … {classes - 1}, or {ignore_label} to ignore",
            found=", ".join(map(str, ids)),
            hint="check the test dataset's class list and ignore label",
        )
    columns = prediction[valid].astype(np.int64)
    columns[(columns < 0) | (columns >= classes)] = classes
    flat = np.bincount(rows * (classes + 1) + columns, minlength=classes * (classes + 1))
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
