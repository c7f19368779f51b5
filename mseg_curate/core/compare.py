"""Is one arm better than another? Paired bootstrap of the test images with Student's t for the seeds."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mseg_curate.core.metrics import ImageCounts, Mode
from mseg_curate.core.paired import (
    Difference,
    Runs,
    add_seed_noise,
    check_runs,
    choose_classes,
    combine_tests,
    draw_seed_noise,
    estimate,
    score_tests,
)

__all__ = ["Comparison", "Difference", "Resampled", "Runs", "compare_arms"]

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Resampled:
    """What a comparison was computed from, so that it can be taken apart by the same draws.

    `counts` are the runs, `counted[test]` the (K,) classes that count, `rng` a generator that stands
    before the first draw of images, `seed_noise` (R + 1,), `runs[arm][test]` (S, R + 1) mean IoU, row 0 of
    which is measured.
    """

    counts: Runs
    counted: Mapping[str, Flags]
    rng: np.random.Generator
    seed_noise: Floats
    runs: Mapping[str, Mapping[str, Floats]]


@dataclass(frozen=True)
class Comparison:
    """Arms side by side; all values are IoU in 0 … 1 or differences of them.

    `mean_iou[arm][test]`, `pixel_accuracy[arm][test]` and `harmonic[arm]` are means over seeds;
    `class_iou[arm][test][class]` too, NaN for classes that do not count. `differences`,
    `harmonic_differences` and `class_differences` are keyed by the other arm: reference minus that arm.
    `leave_one_out[test][arm]` is the difference of the harmonic mean over the other tests; it is empty
    where there is one test. `left_out[test]` names the classes that do not count in the mean.
    `seeds_resampled` says whether the intervals hold the noise between seeds, which takes more than one.
    """

    reference: str
    arms: tuple[str, ...]
    tests: tuple[str, ...]
    mode: Mode
    level: float
    resamples: int
    seeds: int
    seeds_resampled: bool
    images: Mapping[str, int]
    left_out: Mapping[str, tuple[str, ...]]
    mean_iou: Mapping[str, Mapping[str, float]]
    pixel_accuracy: Mapping[str, Mapping[str, float]]
    harmonic: Mapping[str, float]
    class_iou: Mapping[str, Mapping[str, Mapping[str, float]]]
    differences: Mapping[str, Mapping[str, Difference]]
    harmonic_differences: Mapping[str, Difference]
    class_differences: Mapping[str, Mapping[str, Mapping[str, Difference]]]
    leave_one_out: Mapping[str, Mapping[str, Difference]]
    note: str
    resampled: Resampled = field(repr=False, compare=False)


def compare_arms(
    counts: Runs,
    *,
    reference: str = "relabeled",
    rng: np.random.Generator,
    resamples: int = 2000,
    level: float = 0.95,
    mode: Mode = "strict",
) -> Comparison:
    """Compare the reference arm with every other one, with intervals over images and seeds.

    `counts[arm]` holds, seed by seed in the same order for all arms, the counts per test dataset.
    In each resample the images of a test are drawn with replacement once for all arms and seeds, and
    differences d_s are taken seed by seed: all is paired both ways. A resample's difference is the
    mean of its d_s plus t · sd(d_s) / √S, with t drawn once per resample from Student's t of
    S − 1 degrees of freedom, the same for all arms, tests and classes. Intervals are percentiles of
    these (Efron and Tibshirani, 1993, ch. 13).

    Where the images add nothing this is Student's t interval of S paired differences; where the seeds
    agree it is the image bootstrap. It assumes that seeds are independent and their differences
    roughly normal. To draw the seeds themselves with replacement would be far too narrow at two or
    three. Of a single seed no noise can be told; the interval then speaks of images alone, and
    `note` says so. In `strict` mode a class that is absent from a resample's truth is left out of that
    resample.

    Raises InputError where arms, seeds, tests, images or classes do not match.
    """
    tests = check_runs(counts, reference, resamples=resamples, level=level)
    seeds = len(counts[reference])
    seed_noise = draw_seed_noise(rng, resamples, seeds=seeds)
    counted = choose_classes(tests, mode)
    before = copy.deepcopy(rng)
    runs: dict[str, dict[str, Floats]] = {arm: {} for arm in counts}
    class_iou: dict[str, dict[str, dict[str, float]]] = {arm: {} for arm in counts}
    others = [arm for arm in counts if arm != reference]
    by_class: dict[str, dict[str, dict[str, Difference]]] = {arm: {} for arm in others}
    drawn = score_tests(counts, counted, rng=rng, resamples=resamples, mode=mode)
    for test, scores in drawn:
        names = tests[test].classes
        for arm, score in scores.items():
            runs[arm][test] = score.runs
            measured = score.classes[:, 0].mean(axis=0).tolist()
            class_iou[arm][test] = dict(zip(names, measured, strict=True))
        for arm in others:
            rows = add_seed_noise(scores[reference].classes - scores[arm].classes, seed_noise)
            columns = zip(names, rows.T, strict=True)
            by_class[arm][test] = {name: estimate(column, level) for name, column in columns}
    harmonic = {arm: combine_tests(by_test) for arm, by_test in runs.items()}

    def differ(ours: Floats, theirs: Floats) -> Difference:
        return estimate(add_seed_noise(ours - theirs, seed_noise), level)

    return Comparison(
        reference=reference,
        arms=tuple(counts),
        tests=tuple(tests),
        mode=mode,
        level=level,
        resamples=resamples,
        seeds=seeds,
        seeds_resampled=seeds > 1,
        images={test: len(first.image_ids) for test, first in tests.items()},
        left_out={
            test: tuple(np.array(tests[test].classes)[~flags].tolist())
            for test, flags in counted.items()
        },
        mean_iou={arm: _measured(by_test) for arm, by_test in runs.items()},
        pixel_accuracy=_pixel_accuracy(counts),
        harmonic=_measured(harmonic),
        class_iou=class_iou,
        differences={
            arm: {test: differ(runs[reference][test], runs[arm][test]) for test in tests}
            for arm in others
        },
        harmonic_differences={arm: differ(harmonic[reference], harmonic[arm]) for arm in others},
        class_differences=by_class,
        leave_one_out={
            test: {
                arm: differ(_combine_without(runs[reference], test), _combine_without(rows, test))
                for arm, rows in runs.items()
                if arm != reference
            }
            for test in (tests if len(tests) > 1 else ())
        },
        note=_note(seeds, level, resamples),
        resampled=Resampled(counts, counted, before, seed_noise, runs),
    )


def _measured(runs: Mapping[str, Floats]) -> dict[str, float]:
    """Average what was measured, row 0, over the seeds of each key."""
    return {key: float(values[:, 0].mean()) for key, values in runs.items()}


def _combine_without(by_test: Mapping[str, Floats], test: str) -> Floats:
    return combine_tests({name: rows for name, rows in by_test.items() if name != test})


def _pixel_accuracy(counts: Runs) -> dict[str, dict[str, float]]:
    """Average over seeds the share of valid pixels that are predicted right, per arm and test."""

    def share(found: ImageCounts) -> float:
        valid = int(found.truth.sum())
        return int(found.intersection.sum()) / valid if valid else float("nan")

    return {
        arm: {test: float(np.mean([share(run[test]) for run in by_seed])) for test in by_seed[0]}
        for arm, by_seed in counts.items()
    }


def _note(seeds: int, level: float, resamples: int) -> str:
    how = f"{level:.0%} intervals of {resamples} resamples of the images"
    if seeds == 1:
        return f"{how} alone: one seed cannot be resampled, so training noise is not in them"
    return f"{how}, with Student's t for {seeds} seeds"
