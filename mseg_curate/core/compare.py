"""Is one arm better than another? Paired bootstrap of the test images with Student's t for the seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mseg_curate.core.metrics import (
    ImageCounts,
    Mode,
    iou_from_counts,
    scored_classes,
)
from mseg_curate.errors import InputError

__all__ = ["Comparison", "Difference", "compare_arms"]

Floats = npt.NDArray[np.float64]
Runs = Mapping[str, Sequence[Mapping[str, ImageCounts]]]


@dataclass(frozen=True)
class Difference:
    """Reference minus other arm, in IoU (−1 … 1), with the ends of its interval."""

    value: float
    low: float
    high: float

    @property
    def distinguishable(self) -> bool:
        """Say whether the interval leaves 0 out; an undefined one never does."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Comparison:
    """Arms side by side; all values are IoU in 0 … 1 or differences of them.

    `mean_iou[arm][test]` and `harmonic[arm]` are means over seeds; `class_iou[arm][test][class]` too,
    NaN for classes that do not count. `differences`, `harmonic_differences` and
    `class_differences` are keyed by the other arm: reference minus that arm. `left_out[test]`
    names the classes that do not count in the mean. `seeds_resampled` says whether the intervals hold
    the noise between seeds, which takes more than one.
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
    harmonic: Mapping[str, float]
    class_iou: Mapping[str, Mapping[str, Mapping[str, float]]]
    differences: Mapping[str, Mapping[str, Difference]]
    harmonic_differences: Mapping[str, Difference]
    class_differences: Mapping[str, Mapping[str, Mapping[str, Difference]]]
    note: str


@dataclass(frozen=True)
class _Scores:
    """IoU of one arm on one test: row 0 as measured, rows 1 … R with resampled images.

    `classes` is (S, R + 1, K), NaN where a class does not count; `runs` is (S, R + 1), the mean
    over classes.
    """

    classes: Floats
    runs: Floats


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
    tests = _check_runs(counts, reference, resamples=resamples, level=level)
    seeds = len(counts[reference])
    seed_noise = _draw_seed_noise(rng, resamples, seeds)
    counted = _choose_classes(tests, mode)
    runs: dict[str, dict[str, Floats]] = {arm: {} for arm in counts}
    class_iou: dict[str, dict[str, dict[str, float]]] = {arm: {} for arm in counts}
    others = [arm for arm in counts if arm != reference]
    by_class: dict[str, dict[str, dict[str, Difference]]] = {arm: {} for arm in others}
    for test, first in tests.items():
        images = _draw_images(rng, resamples, len(first.image_ids))
        scores = {
            arm: _score([run[test] for run in by_seed], images, counted=counted[test], mode=mode)
            for arm, by_seed in counts.items()
        }
        for arm, score in scores.items():
            runs[arm][test] = score.runs
            measured = score.classes[:, 0].mean(axis=0).tolist()
            class_iou[arm][test] = dict(zip(first.classes, measured, strict=True))
        for arm in others:
            rows = _add_seed_noise(scores[reference].classes - scores[arm].classes, seed_noise)
            columns = zip(first.classes, rows.T, strict=True)
            by_class[arm][test] = {name: _estimate(column, level) for name, column in columns}
    harmonic = {arm: _combine_tests(by_test) for arm, by_test in runs.items()}

    def differ(ours: Floats, theirs: Floats) -> Difference:
        return _estimate(_add_seed_noise(ours - theirs, seed_noise), level)

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
        harmonic=_measured(harmonic),
        class_iou=class_iou,
        differences={
            arm: {test: differ(runs[reference][test], runs[arm][test]) for test in tests}
            for arm in others
        },
        harmonic_differences={arm: differ(harmonic[reference], harmonic[arm]) for arm in others},
        class_differences=by_class,
        note=_note(seeds, level, resamples),
    )


def _choose_classes(
    tests: Mapping[str, ImageCounts], mode: Mode
) -> dict[str, npt.NDArray[np.bool_]]:
    """Say per test which classes count; raise InputError for a test in which none does."""
    counted = {
        test: scored_classes(first.truth.sum(axis=0), mode=mode, predictable=first.predictable)
        for test, first in tests.items()
    }
    empty = [test for test, flags in counted.items() if not flags.any()]
    if empty:
        raise InputError("tests in which no class can score", found=", ".join(empty))
    return counted


def _measured(runs: Mapping[str, Floats]) -> dict[str, float]:
    """Average what was measured, row 0, over the seeds of each key."""
    return {key: float(values[:, 0].mean()) for key, values in runs.items()}


def _check_runs(
    counts: Runs, reference: str, *, resamples: int, level: float
) -> Mapping[str, ImageCounts]:
    """Return the first run's counts per test; raise InputError where runs cannot be paired."""
    if reference not in counts:
        raise InputError("no such arm", expected=", ".join(counts), found=reference)
    if resamples < 1 or not 0 < level < 1:
        raise InputError("bootstrap", expected="resamples of at least 1 and a level below 1")
    seeds = {arm: len(runs) for arm, runs in counts.items()}
    if len(set(seeds.values())) != 1 or 0 in seeds.values():
        raise InputError("arms need the same seeds, at least one", found=str(seeds))
    first = counts[reference][0]
    if not first:
        raise InputError("no test dataset was evaluated", hint="export one with --role test")
    for arm, runs in counts.items():
        for number, run in enumerate(runs):
            where = f"arm {arm}, seed number {number + 1}"
            if set(run) != set(first):
                raise InputError(
                    f"{where} has other tests", expected=str(sorted(first)), found=str(sorted(run))
                )
            for test, wanted in first.items():
                _check_pair(run[test], wanted, f"{where}, test {test}")
    return first


def _check_pair(found: ImageCounts, wanted: ImageCounts, where: str) -> None:
    same = (
        found.image_ids == wanted.image_ids
        and found.classes == wanted.classes
        and np.array_equal(found.predictable, wanted.predictable)
        and np.array_equal(found.truth, wanted.truth)
    )
    if not same:
        raise InputError(
            f"{where} was evaluated on other images or classes than the reference",
            hint="evaluate all arms on the same export",
        )


def _draw_seed_noise(rng: np.random.Generator, resamples: int, seeds: int) -> Floats:
    """Return (R + 1,) draws of Student's t with S − 1 degrees of freedom; row 0, and a single seed, get 0."""
    if seeds == 1:
        return np.zeros(resamples + 1)
    return np.concatenate([[0.0], rng.standard_t(seeds - 1, size=resamples)])


def _add_seed_noise(differences: Floats, seed_noise: Floats) -> Floats:
    """Average (S, R + 1, …) differences over seeds and add each row's t times their standard error."""
    seeds = len(differences)
    mean: Floats = differences.mean(axis=0)
    if seeds == 1:
        return mean
    error = differences.std(axis=0, ddof=1) / np.sqrt(seeds)
    return np.asarray(mean + (seed_noise * error.T).T, np.float64)


def _draw_images(rng: np.random.Generator, resamples: int, images: int) -> Floats:
    """Return (R + 1, images) times that each image is drawn; row 0 draws each once."""
    drawn = rng.multinomial(images, np.full(images, 1 / images), size=resamples)
    return np.vstack([np.ones(images), drawn])


def _score(
    runs: Sequence[ImageCounts],
    images: Floats,
    *,
    counted: npt.NDArray[np.bool_],
    mode: Mode,
) -> _Scores:
    """Compute IoU in every resample: counts summed over drawn images are one matrix product."""
    # The truth is the same in all runs, so that is also where classes are absent.
    truth = images @ runs[0].truth
    present = counted & (truth > 0) if mode == "strict" else np.broadcast_to(counted, truth.shape)
    classes = np.stack(
        [
            iou_from_counts(images @ run.intersection, truth, images @ run.prediction, mode=mode)
            for run in runs
        ]
    )
    sums = np.where(present, classes, 0.0).sum(axis=2)
    means = sums / np.maximum(present.sum(axis=1), 1)
    return _Scores(classes=np.where(present, classes, np.nan), runs=means)


def _combine_tests(by_test: Mapping[str, Floats]) -> Floats:
    """Take the harmonic mean over tests of (S, R + 1) means within each seed and row."""
    stacked = np.stack(list(by_test.values()))
    with np.errstate(divide="ignore"):
        combined: Floats = len(stacked) / (1 / stacked).sum(axis=0)
    return combined


def _estimate(rows: Floats, level: float) -> Difference:
    """Read value (row 0) and percentile interval off the resampled differences."""
    resampled = rows[1:][~np.isnan(rows[1:])]
    if np.isnan(rows[0]) or resampled.size == 0:
        return Difference(float("nan"), float("nan"), float("nan"))
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Difference(float(rows[0]), float(low), float(high))


def _note(seeds: int, level: float, resamples: int) -> str:
    how = f"{level:.0%} intervals of {resamples} resamples of the images"
    if seeds == 1:
        return f"{how} alone: one seed cannot be resampled, so training noise is not in them"
    return f"{how}, with Student's t for {seeds} seeds"
