"""Confusion matrices and the numbers read off them, each beside a naive loop."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mseg_curate.core.metrics import (
    ImageCounts,
    confusion_matrix,
    harmonic_mean,
    iou_per_class,
    mean_iou,
    pixel_accuracy,
)
from mseg_curate.errors import InputError

K = 4
IGNORE_LABEL = 255

LabelMap = npt.NDArray[np.uint8]
truths = arrays(np.uint8, (5, 6), elements=st.sampled_from([0, 1, 2, 3, IGNORE_LABEL]))
predictions = arrays(np.uint8, (5, 6), elements=st.sampled_from([0, 1, 2, 3, 4, 200, 255]))


def count_naively(truth: LabelMap, prediction: LabelMap) -> npt.NDArray[np.int64]:
    """Count pixel by pixel."""
    matrix = np.zeros((K, K + 1), np.int64)
    for t, p in zip(truth.ravel().tolist(), prediction.ravel().tolist(), strict=True):
        if t != IGNORE_LABEL:
            matrix[t, p if p < K else K] += 1
    return matrix


def score_naively(truth: LabelMap, prediction: LabelMap, label: int) -> float:
    """Intersect and unite the two sets of pixels of a class; NaN if it is not in the truth."""
    valid = truth != IGNORE_LABEL
    ours, theirs = (truth == label) & valid, (prediction == label) & valid
    return (ours & theirs).sum() / (ours | theirs).sum() if ours.any() else math.nan


@given(truths, predictions)
def test_confusion_and_iou_equal_naive_loops(truth: LabelMap, prediction: LabelMap) -> None:
    """The matrix, the IoU of each class and both means agree with loops over pixels."""
    matrix = confusion_matrix(truth, prediction, classes=K)
    assert np.array_equal(matrix, count_naively(truth, prediction))
    strict = [score_naively(truth, prediction, label) for label in range(K)]
    np.testing.assert_allclose(iou_per_class(matrix), strict)
    present = [value for value in strict if not math.isnan(value)]
    found = mean_iou(matrix).value
    assert math.isnan(found) if not present else found == pytest.approx(np.mean(present))
    compat = mean_iou(matrix, mode="compat").value
    assert compat == pytest.approx(sum(present) / K, abs=1e-9)


def test_a_prediction_outside_the_classes_is_a_miss() -> None:
    """255 predicted on valid truth lowers the IoU and lands in the last column."""
    truth = np.array([[0, 0, 1, IGNORE_LABEL]])
    prediction = np.array([[0, 255, -1, 0]])
    matrix = confusion_matrix(truth, prediction, classes=2)
    assert matrix.tolist() == [[1, 0, 1], [0, 0, 1]]
    assert iou_per_class(matrix).tolist() == [0.5, 0.0]
    assert pixel_accuracy(matrix) == pytest.approx(1 / 3)


@pytest.mark.parametrize("label", [4, 254, -1])
def test_a_truth_outside_the_classes_is_refused(label: int) -> None:
    """A label of K is not counted as K − 1, as the reference does, but named."""
    truth = np.array([[0, label]])
    with pytest.raises(InputError, match=f"class id not in range: .*found {label}"):
        confusion_matrix(truth, np.zeros_like(truth), classes=K)


def test_shapes_must_agree() -> None:
    """Maps of different shape and matrices that are not (K, K + 1) are refused."""
    with pytest.raises(InputError, match="differ in shape"):
        confusion_matrix(np.zeros((2, 2), int), np.zeros((2, 3), int), classes=K)
    with pytest.raises(InputError, match="another shape"):
        pixel_accuracy(np.zeros((3, 3), np.int64))


def test_strict_leaves_out_what_cannot_score_and_compat_counts_it() -> None:
    """A class without truth or without source costs the compat mean and not the strict one."""
    matrix = np.array(
        [[8, 2, 0, 0, 0], [0, 5, 0, 0, 0], [3, 0, 0, 0, 0], [0, 0, 0, 0, 0]], np.int64
    )
    predictable = np.array([True, True, False, True])
    strict = mean_iou(matrix, predictable=predictable)
    assert strict.left_out == (2, 3)
    assert strict.value == pytest.approx((8 / 13 + 5 / 7) / 2)
    compat = mean_iou(matrix, mode="compat", predictable=predictable)
    assert compat.left_out == ()
    assert compat.value == pytest.approx((8 / 13 + 5 / 7) / 4)


def test_accuracy_of_nothing_is_undefined() -> None:
    """Without a valid pixel accuracy and mean IoU are NaN."""
    empty = np.zeros((K, K + 1), np.int64)
    assert math.isnan(pixel_accuracy(empty))
    assert math.isnan(mean_iou(empty).value)


# Lambert et al., CVPR 2020 (MSeg), zero-shot mIoU on VOC, Pascal Context, CamVid, WildDash, KITTI
# and ScanNet of the model trained on 1 M crops, with and without relabeling.
@pytest.mark.parametrize(
    ("published", "harmonic"),
    [
        ((70.7, 42.7, 83.3, 62.0, 67.0, 48.2), 59.2),
        ((70.2, 42.7, 82.0, 62.7, 65.5, 43.2), 57.6),
    ],
)
def test_published_harmonic_means_are_reproduced(
    published: tuple[float, ...], harmonic: float
) -> None:
    """The harmonic mean of the published columns is the published one."""
    assert harmonic_mean(published) == pytest.approx(harmonic, abs=0.05)


def test_a_zero_makes_the_harmonic_mean_zero() -> None:
    """One test at 0 is 0 overall; no value and a negative one are refused."""
    assert harmonic_mean([0.5, 0.0]) == 0
    for values in ([], [0.5, -0.1]):
        with pytest.raises(InputError, match="harmonic mean"):
            harmonic_mean(values)


def test_counts_check_their_shapes() -> None:
    """Counts that do not belong together cannot be made."""
    square = np.zeros((2, 3), np.int64)
    with pytest.raises(InputError, match="truth has another shape"):
        ImageCounts(
            image_ids=("a", "b"),
            classes=("x", "y", "z"),
            predictable=np.ones(3, np.bool_),
            intersection=square,
            truth=square[:1],
            prediction=square,
            confusion=np.zeros((3, 4), np.int64),
        )
