"""Confusion matrices and the numbers read off them, each beside a naive loop."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mseg_curate.core import metrics
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


def count_any(
    truth: npt.NDArray[np.integer], prediction: npt.NDArray[np.integer], k: int, ignore: int
) -> npt.NDArray[np.int64]:
    """Count pixel by pixel, for any type, class count and ignore label."""
    matrix = np.zeros((k, k + 1), np.int64)
    for t, p in zip(truth.ravel().tolist(), prediction.ravel().tolist(), strict=True):
        if t != ignore:
            matrix[t, p if 0 <= p < k else k] += 1
    return matrix


@st.composite
def maps(
    draw: st.DrawFn,
) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.integer], int, int]:
    """Two maps of any shape, type, memory order and smoothness, with a class count and an ignore label."""
    types = st.sampled_from([np.uint8, np.uint8, np.uint16, np.int16, np.int64, np.uint64])
    k = draw(st.sampled_from([1, 2, 19, 194, 254, 255, 256, 300]))
    ignore = draw(st.sampled_from([255, 0, 7, 65535, -1, 1000]))
    truth_type, prediction_type = np.dtype(draw(types)), np.dtype(draw(types))
    shape = draw(st.sampled_from([(0,), (0, 5), (1, 1), (3, 7), (16, 33), (5, 4, 3)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    largest = int(np.iinfo(truth_type).max)
    ids = [label for label in [*range(min(k, largest + 1)), ignore] if 0 <= label <= largest]
    truth = rng.choice(np.array(ids, truth_type), shape)
    top = min(int(np.iinfo(prediction_type).max), 400)
    prediction = rng.integers(0, top + 1, shape).astype(prediction_type)
    if draw(st.booleans()):
        prediction = np.where(rng.random(shape) < 0.5, truth, prediction).astype(prediction_type)
    if draw(st.booleans()):
        truth, prediction = np.sort(truth, axis=None).reshape(shape), np.sort(prediction, axis=0)
    if draw(st.booleans()):
        truth, prediction = truth[::-1], prediction[::-1]
    if draw(st.booleans()):
        truth, prediction = truth.T, prediction.T
    return truth, prediction, k, ignore


@pytest.mark.parametrize("block", [1, 5, 64, metrics.BLOCK_PX])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=maps())
def test_any_maps_are_counted_as_a_double_loop_does(
    case: tuple[npt.NDArray[np.integer], npt.NDArray[np.integer], int, int],
    block: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Types, shapes, strides, class counts, ignore labels and block borders change no integer."""
    truth, prediction, k, ignore = case
    monkeypatch.setattr(metrics, "BLOCK_PX", block)
    found = confusion_matrix(truth, prediction, classes=k, ignore_label=ignore)
    assert found.dtype == np.int64
    assert found.shape == (k, k + 1)
    assert np.array_equal(found, count_any(truth, prediction, k, ignore))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("smooth", [False, True])
def test_large_maps_are_counted_in_blocks(dtype: type[np.unsignedinteger], smooth: bool) -> None:
    """Several blocks, noise and runs add up to what numpy counts over joint codes."""
    rng = np.random.default_rng(0)
    side = 16 if smooth else 1
    truth, prediction = (
        rng.integers(0, 196, (1024 // side, 1024 // side)).astype(dtype).repeat(side, 0)
        for _ in range(2)
    )
    truth, prediction = truth.repeat(side, 1), prediction.repeat(side, 1)
    truth[truth >= 194] = 255
    valid = truth != 255
    codes = truth[valid].astype(int) * 195 + np.minimum(prediction[valid], 194)
    expected = np.bincount(codes, minlength=194 * 195).reshape(194, 195)
    assert np.array_equal(confusion_matrix(truth, prediction, classes=194), expected)


@given(
    st.sampled_from([np.uint8, np.uint16, np.int32]), st.integers(0, 4), st.sampled_from([255, 9])
)
def test_the_first_label_out_of_range_is_refused_anywhere(
    dtype: type[np.integer], place: int, ignore: int
) -> None:
    """K itself is refused wherever it stands, and named, whatever the ignore label."""
    truth = np.full(5, ignore, dtype)
    truth[place] = 5
    with pytest.raises(InputError, match=rf"expected 0 … 4, or {ignore} to ignore, found 5;"):
        confusion_matrix(truth, np.zeros(5, dtype), classes=5, ignore_label=ignore)


@pytest.mark.parametrize(
    ("truth", "prediction", "classes"),
    [
        (np.zeros(2), np.zeros(2, np.uint8), 3),
        (np.zeros(2, np.uint8), np.zeros(2, np.bool_), 3),
        (np.zeros(2, np.uint8), np.zeros(2, np.uint8), 0),
    ],
)
def test_only_integers_and_classes_are_counted(
    truth: LabelMap, prediction: LabelMap, classes: int
) -> None:
    """Probabilities, masks and an empty class list are refused instead of rounded."""
    with pytest.raises(InputError, match="cannot be counted"):
        confusion_matrix(truth, prediction, classes=classes)


@given(arrays(np.int64, (6, 7), elements=st.integers(0, 10**12) | st.just(0)))
def test_mean_iou_and_accuracy_equal_fractions(matrix: npt.NDArray[np.int64]) -> None:
    """Both means, every IoU and the accuracy agree with rational arithmetic to 1e-12."""
    cells = [[Fraction(value) for value in row] for row in matrix.tolist()]
    truths = [sum(row) for row in cells]
    unions = [
        truths[c] + sum(cells[r][c] for r in range(6)) - cells[c][c] for c in range(len(cells))
    ]
    ious = [cells[c][c] / unions[c] for c in range(6) if truths[c]]
    if ious:
        assert abs(mean_iou(matrix).value - float(sum(ious) / len(ious))) < 1e-12
    epsilon = Fraction(1, 10**10)
    compat = sum(cells[c][c] / (unions[c] + epsilon) for c in range(6)) / 6
    assert abs(mean_iou(matrix, mode="compat").value - float(compat)) < 1e-12
    if sum(truths):
        accuracy = sum(cells[c][c] for c in range(6)) / sum(truths)
        assert abs(pixel_accuracy(matrix) - float(accuracy)) < 1e-12


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=9))
def test_harmonic_mean_equals_fractions(values: list[float]) -> None:
    """n / Σ 1/v agrees with rational arithmetic to 1e-12."""
    expected = len(values) / sum(1 / Fraction(value) for value in values)
    assert abs(harmonic_mean(values) - float(expected)) < 1e-12


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
