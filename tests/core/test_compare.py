"""The paired bootstrap between arms."""

from __future__ import annotations

import statistics
import time

import numpy as np
import numpy.typing as npt
import pytest

from mseg_curate.core.attribution import attribute_differences
from mseg_curate.core.compare import Difference, Runs, compare_arms
from mseg_curate.core.metrics import ImageCounts, harmonic_mean, mean_iou, pixel_accuracy
from mseg_curate.errors import InputError

CLASSES = ("a", "b", "c", "never")


def make_counts(
    accuracy: float, *, seed: int, images: int = 30, test: int = 0, noise: float = 0.02
) -> ImageCounts:
    """Counts of a network that is right with about the given probability."""
    truth = np.random.default_rng([9, test]).integers(50, 200, (images, 4))
    truth[:, 3] = 0
    rng = np.random.default_rng([seed, test, round(accuracy * 1000)])
    rates = np.clip(accuracy + rng.normal(0, noise, truth.shape), 0, 1)
    intersection = np.floor(truth * rates).astype(np.int64)
    missed = truth - intersection
    prediction = intersection + np.roll(missed, 1, axis=1) * np.array([1, 1, 1, 0])
    confusion = np.zeros((4, 5), np.int64)
    np.fill_diagonal(confusion, intersection.sum(axis=0))
    for label in range(3):
        other = (label + 1) % 4
        column = other if other != 3 else 4
        confusion[label, column] += missed[:, label].sum()
    return ImageCounts(
        image_ids=tuple(f"image{number}" for number in range(images)),
        classes=CLASSES,
        predictable=np.ones(4, np.bool_),
        intersection=intersection,
        truth=truth,
        prediction=prediction,
        confusion=confusion,
    )


def make_runs(accuracies: dict[str, float], *, seeds: int = 3, **options: float) -> Runs:
    """Runs of arms with given accuracies on two tests."""
    return {
        arm: [
            {
                "near": make_counts(accuracy, seed=seed, test=1, **options),  # type: ignore[arg-type]
                "far": make_counts(accuracy - 0.2, seed=seed, test=2, **options),  # type: ignore[arg-type]
            }
            for seed in range(seeds)
        ]
        for arm, accuracy in accuracies.items()
    }


def test_point_estimates_are_plain_means_over_seeds() -> None:
    """What is reported without resampling equals the metrics of each run, averaged."""
    runs = make_runs({"relabeled": 0.8, "ignored": 0.7})
    found = compare_arms(runs, rng=np.random.default_rng(0), resamples=10)
    for arm, by_seed in runs.items():
        scores = {
            test: [mean_iou(run[test].confusion, mode="strict").value for run in by_seed]
            for test in ("near", "far")
        }
        for test, values in scores.items():
            assert found.mean_iou[arm][test] == pytest.approx(np.mean(values))
        pairs = zip(scores["near"], scores["far"], strict=True)
        assert found.harmonic[arm] == pytest.approx(np.mean([harmonic_mean(p) for p in pairs]))
    difference = found.differences["ignored"]["near"].value
    expected = found.mean_iou["relabeled"]["near"] - found.mean_iou["ignored"]["near"]
    assert difference == pytest.approx(expected)
    assert found.left_out == {"near": ("never",), "far": ("never",)}
    assert np.isnan(found.class_iou["relabeled"]["near"]["never"])


def test_resampling_equals_a_naive_loop() -> None:
    """The interval is that of a loop which draws images and Student's t with the same numbers."""
    runs = make_runs({"relabeled": 0.8, "ignored": 0.75}, noise=0.1)
    resamples = 40
    found = compare_arms(runs, rng=np.random.default_rng(5), resamples=resamples, level=0.8)
    rng = np.random.default_rng(5)
    seed_noise = rng.standard_t(2, size=resamples)
    images = {
        test: rng.multinomial(30, np.full(30, 1 / 30), size=resamples) for test in ("near", "far")
    }
    differences = []
    for row in range(resamples):
        values: dict[str, list[float]] = {arm: [] for arm in runs}
        for arm, by_seed in runs.items():
            for run in by_seed:
                scores = []
                for test in ("near", "far"):
                    counts, drawn = run[test], images[test][row][:, None]
                    overlap = (drawn * counts.intersection).sum(axis=0)[:3]
                    union = (drawn * (counts.truth + counts.prediction)).sum(axis=0)[:3] - overlap
                    scores.append(float((overlap / union).mean()))
                values[arm].append(harmonic_mean(scores))
        pairs = zip(values["relabeled"], values["ignored"], strict=True)
        by_seed_difference = [ours - theirs for ours, theirs in pairs]
        error = statistics.stdev(by_seed_difference) / 3**0.5
        differences.append(statistics.mean(by_seed_difference) + seed_noise[row] * error)
    low, high = np.quantile(differences, [0.1, 0.9])
    assert found.harmonic_differences["ignored"].low == pytest.approx(low)
    assert found.harmonic_differences["ignored"].high == pytest.approx(high)


def test_equal_arms_are_not_distinguishable_and_unequal_ones_are() -> None:
    """A clear difference is called so, and an arm held against its double is not."""
    runs = make_runs({"relabeled": 0.8, "double": 0.8, "worse": 0.6})
    found = compare_arms(runs, rng=np.random.default_rng(0), resamples=300)
    zero = Difference(0.0, 0.0, 0.0)
    assert set(found.differences["double"].values()) == {zero}
    assert found.harmonic_differences["double"] == zero
    assert found.class_differences["double"]["far"]["b"] == zero
    assert not found.harmonic_differences["double"].distinguishable
    assert found.harmonic_differences["worse"].distinguishable
    assert found.differences["worse"]["far"].low > 0
    assert found.class_differences["worse"]["near"]["a"].distinguishable
    assert not found.class_differences["worse"]["near"]["never"].distinguishable


def test_seeds_that_disagree_widen_the_interval() -> None:
    """Noise between seeds, which images alone do not show, is in the interval."""
    steady = make_runs({"relabeled": 0.80, "ignored": 0.75})
    ups_and_downs = (0.95, 0.80, 0.65)
    noisy = {
        "relabeled": [
            {
                "near": make_counts(accuracy, seed=seed, test=1),
                "far": make_counts(accuracy - 0.2, seed=seed, test=2),
            }
            for seed, accuracy in enumerate(ups_and_downs)
        ],
        "ignored": steady["ignored"],
    }
    found = [
        compare_arms(runs, rng=np.random.default_rng(0), resamples=400) for runs in (steady, noisy)
    ]
    assert found[0].differences["ignored"]["near"].distinguishable
    assert not found[1].differences["ignored"]["near"].distinguishable


def test_a_single_seed_is_said_to_be_one() -> None:
    """With one seed only images are resampled, and the note says so."""
    runs = make_runs({"relabeled": 0.8, "ignored": 0.7}, seeds=1)
    found = compare_arms(runs, rng=np.random.default_rng(0), resamples=20)
    assert not found.seeds_resampled
    assert "one seed cannot be resampled" in found.note


def test_several_seeds_are_said_to_be_in_the_interval() -> None:
    """The note names the method and the number of seeds."""
    runs = make_runs({"relabeled": 0.8, "ignored": 0.7})
    found = compare_arms(runs, rng=np.random.default_rng(0), resamples=20)
    assert found.seeds_resampled
    assert found.note == "95% intervals of 20 resamples of the images, with Student's t for 3 seeds"


def make_plain(accuracies: npt.NDArray[np.float64]) -> ImageCounts:
    """Counts of a network that finds (images, K) given shares of two classes and errs nowhere else."""
    truth = np.full(accuracies.shape, 100_000)
    found = np.round(truth * accuracies).astype(np.int64)
    classes = accuracies.shape[1]
    return ImageCounts(
        image_ids=tuple(map(str, range(len(truth)))),
        classes=tuple("abcdefgh"[:classes]),
        predictable=np.ones(classes, np.bool_),
        intersection=found,
        truth=truth,
        prediction=found,
        confusion=np.zeros((classes, classes + 1), np.int64),
    )


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_noise_between_seeds_is_rarely_taken_for_a_difference(seeds: int) -> None:
    """Of arms that differ in nothing but the noise of their seeds, about 5 % seem to differ."""
    rng = np.random.default_rng(seeds)
    simulations = 400
    wrong = np.zeros(2)
    for _ in range(simulations):
        runs: Runs = {
            arm: [
                {
                    "test": make_plain(
                        np.clip(0.5 + rng.normal(0, 0.05) + rng.normal(0, 0.005, (6, 2)), 0, 1)
                    )
                }
                for _ in range(seeds)
            ]
            for arm in ("relabeled", "ignored")
        }
        found = compare_arms(runs, rng=rng, resamples=400)
        wrong += [
            found.differences["ignored"]["test"].distinguishable,
            found.class_differences["ignored"]["test"]["a"].distinguishable,
        ]
    assert (wrong / simulations >= 0.02).all()
    assert (wrong / simulations <= 0.09).all()


def test_without_noise_of_images_it_is_the_t_interval() -> None:
    """Where all images are alike, mean ± t · sd / √S is left, with 4.303 for three seeds."""
    ours, theirs = (0.80, 0.78, 0.85), (0.70, 0.74, 0.72)
    runs: Runs = {
        arm: [{"test": make_plain(np.full((4, 2), accuracy))} for accuracy in accuracies]
        for arm, accuracies in (("relabeled", ours), ("ignored", theirs))
    }
    found = compare_arms(runs, rng=np.random.default_rng(0), resamples=50_000)
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    half = 4.303 * statistics.stdev(differences) / 3**0.5
    interval = found.differences["ignored"]["test"]
    assert interval.value == pytest.approx(statistics.mean(differences))
    assert interval.high - interval.value == pytest.approx(half, rel=0.05)
    assert interval.value - interval.low == pytest.approx(half, rel=0.05)


def test_seeds_that_agree_leave_the_image_bootstrap() -> None:
    """With equal runs for all seeds the interval is the percentiles over drawn images."""
    rng = np.random.default_rng(3)
    shares = {arm: rng.uniform(0.4, 0.9, (9, 2)) for arm in ("relabeled", "ignored")}
    runs: Runs = {arm: [{"test": make_plain(share)}] * 3 for arm, share in shares.items()}
    found = compare_arms(runs, rng=np.random.default_rng(5), resamples=200)
    rng = np.random.default_rng(5)
    rng.standard_t(2, size=200)
    drawn = rng.multinomial(9, np.full(9, 1 / 9), size=200)
    difference = (shares["relabeled"] - shares["ignored"]).mean(axis=1)
    low, high = np.quantile(drawn @ difference / 9, [0.025, 0.975])
    assert found.differences["ignored"]["test"].low == pytest.approx(low, abs=2e-5)
    assert found.differences["ignored"]["test"].high == pytest.approx(high, abs=2e-5)


def test_compat_counts_every_class() -> None:
    """In compat mode a class that never occurs scores 0 and counts."""
    runs = make_runs({"relabeled": 0.8, "ignored": 0.7})
    strict = compare_arms(runs, rng=np.random.default_rng(0), resamples=5)
    compat = compare_arms(runs, rng=np.random.default_rng(0), resamples=5, mode="compat")
    assert compat.left_out == {"near": (), "far": ()}
    ratio = compat.mean_iou["relabeled"]["near"] / strict.mean_iou["relabeled"]["near"]
    assert ratio == pytest.approx(3 / 4)


def test_runs_that_cannot_be_paired_are_refused() -> None:
    """Other seeds, tests, images or an unknown reference are errors that say which."""
    runs = dict(make_runs({"relabeled": 0.8, "ignored": 0.7}))
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="no such arm"):
        compare_arms(runs, reference="partial", rng=rng)
    with pytest.raises(InputError, match="same seeds"):
        compare_arms(runs | {"ignored": runs["ignored"][:1]}, rng=rng)
    fewer = [{"near": run["near"]} for run in runs["ignored"]]
    with pytest.raises(InputError, match="arm ignored, seed number 1 has other tests"):
        compare_arms(runs | {"ignored": fewer}, rng=rng)
    others = [
        {"near": make_counts(0.7, seed=0, test=3), "far": run["far"]} for run in runs["ignored"]
    ]
    with pytest.raises(InputError, match="other images"):
        compare_arms(runs | {"ignored": others}, rng=rng)


def test_two_thousand_resamples_take_seconds() -> None:
    """450 images, 21 classes, four arms and three seeds are compared in a few seconds."""
    rng = np.random.default_rng(0)
    truth = rng.integers(1, 1000, (450, 21))

    def draw() -> ImageCounts:
        intersection = truth * 3 // 4 - rng.integers(0, 2, truth.shape)
        return ImageCounts(
            image_ids=tuple(map(str, range(450))),
            classes=tuple(map(str, range(21))),
            predictable=np.ones(21, np.bool_),
            intersection=np.maximum(intersection, 0),
            truth=truth,
            prediction=truth,
            confusion=np.zeros((21, 22), np.int64),
        )

    arms = ("relabeled", "unrelabeled", "ignored", "partial")
    runs = {arm: [{"test": draw()} for _ in range(3)] for arm in arms}
    began = time.perf_counter()
    compare_arms(runs, rng=rng)
    assert time.perf_counter() - began < 10


def make_three_tests(seeds: int = 3) -> Runs:
    """Runs of three arms on three tests of which the last is hard."""
    return {
        arm: [
            {
                test: make_counts(accuracy - hard, seed=seed, test=number, noise=0.1)
                for number, (test, hard) in enumerate((("near", 0.0), ("far", 0.1), ("odd", 0.3)))
            }
            for seed in range(seeds)
        ]
        for arm, accuracy in (("relabeled", 0.85), ("ignored", 0.8), ("partial", 0.82))
    }


def reorder(runs: Runs, tests: list[str]) -> dict[str, list[dict[str, ImageCounts]]]:
    """Keep the named tests alone, in that order."""
    return {
        arm: [{test: run[test] for test in tests} for run in rows] for arm, rows in runs.items()
    }


@pytest.mark.parametrize("left_out", ["near", "far", "odd"])
def test_leave_one_out_is_a_comparison_of_the_other_tests(left_out: str) -> None:
    """The test left out last, its difference is to the bit that of arms that were never tested on it."""
    runs = make_three_tests()
    kept = [test for test in ("near", "far", "odd") if test != left_out]
    whole, reduced = (
        compare_arms(reorder(runs, tests), rng=np.random.default_rng(4), resamples=60)
        for tests in ([*kept, left_out], kept)
    )
    assert whole.leave_one_out[left_out] == reduced.harmonic_differences
    # The order of the tests changes the draws, never what was measured.
    usual = compare_arms(runs, rng=np.random.default_rng(4), resamples=60).leave_one_out[left_out]
    for arm, found in usual.items():
        assert found.value == pytest.approx(reduced.harmonic_differences[arm].value, abs=1e-12)


def test_with_one_test_there_is_none_to_leave_out() -> None:
    """Of one test dataset nothing can be left out; of two, the other remains."""
    runs = make_three_tests()
    one = compare_arms(reorder(runs, ["near"]), rng=np.random.default_rng(0), resamples=5)
    assert one.leave_one_out == {}
    two = compare_arms(reorder(runs, ["near", "far"]), rng=np.random.default_rng(0), resamples=5)
    # n / (1 / m) rounds where m itself does not.
    for arm, found in two.leave_one_out["near"].items():
        assert vars(found) == pytest.approx(vars(two.differences[arm]["far"]), abs=1e-12)


def test_pixel_accuracy_is_that_of_the_confusion_matrices() -> None:
    """Pixel accuracy is the share of right pixels, averaged over seeds."""
    runs = make_three_tests()
    found = compare_arms(runs, rng=np.random.default_rng(0), resamples=5)
    for arm, rows in runs.items():
        for test in found.tests:
            expected = np.mean([pixel_accuracy(run[test].confusion) for run in rows])
            assert found.pixel_accuracy[arm][test] == pytest.approx(expected, abs=1e-12)


def test_a_resample_that_shows_nothing_says_nothing() -> None:
    """Where an image has no pixel of any class, resamples of it alone are left out and do not count as a draw."""

    def show(share: float) -> ImageCounts:
        truth = np.array([[1000], [0]])
        found = np.array([[round(1000 * share)], [0]])
        return ImageCounts(
            image_ids=("a", "b"),
            classes=("sky",),
            predictable=np.array([True]),
            intersection=found,
            truth=truth,
            prediction=found,
            confusion=np.array([[found.sum(), truth.sum() - found.sum()]]),
        )

    runs = {"relabeled": [{"near": show(0.6)}], "ignored": [{"near": show(0.5)}]}
    found = compare_arms(runs, rng=np.random.default_rng(0), resamples=200)
    only = found.harmonic_differences["ignored"]
    assert (only.value, only.low, only.high) == pytest.approx((0.1, 0.1, 0.1))
    parts = attribute_differences(found)
    assert parts.tests["ignored"]["near"].low == pytest.approx(0.1)
    assert parts.classes["ignored"]["near"]["sky"].low == pytest.approx(0.1)
