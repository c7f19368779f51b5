"""The paired bootstrap between arms."""

from __future__ import annotations

import time

import numpy as np
import pytest

from mseg_curate.core.compare import Runs, compare_arms
from mseg_curate.core.metrics import ImageCounts, harmonic_mean, mean_iou
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
    """The interval is that of a loop which draws images and seeds with the same numbers."""
    runs = make_runs({"relabeled": 0.8, "ignored": 0.75}, noise=0.1)
    resamples = 40
    found = compare_arms(runs, rng=np.random.default_rng(5), resamples=resamples, level=0.8)
    rng = np.random.default_rng(5)
    seeds = rng.multinomial(3, np.full(3, 1 / 3), size=resamples)
    images = {
        test: rng.multinomial(30, np.full(30, 1 / 30), size=resamples) for test in ("near", "far")
    }
    differences = []
    for row in range(resamples):
        values = dict.fromkeys(runs, 0.0)
        for arm, by_seed in runs.items():
            for seed, times in enumerate(seeds[row]):
                scores = []
                for test in ("near", "far"):
                    counts, drawn = by_seed[seed][test], images[test][row][:, None]
                    overlap = (drawn * counts.intersection).sum(axis=0)[:3]
                    union = (drawn * (counts.truth + counts.prediction)).sum(axis=0)[:3] - overlap
                    scores.append(float((overlap / union).mean()))
                values[arm] += times / 3 * harmonic_mean(scores)
        differences.append(values["relabeled"] - values["ignored"])
    low, high = np.quantile(differences, [0.1, 0.9])
    assert found.harmonic_differences["ignored"].low == pytest.approx(low)
    assert found.harmonic_differences["ignored"].high == pytest.approx(high)


def test_equal_arms_are_not_distinguishable_and_unequal_ones_are() -> None:
    """A clear difference is called so, and an arm held against its double is not."""
    runs = make_runs({"relabeled": 0.8, "double": 0.8, "worse": 0.6})
    found = compare_arms(runs, rng=np.random.default_rng(0), resamples=300)
    assert found.differences["double"]["near"].value == 0
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
