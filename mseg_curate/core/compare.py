"""Is one arm better than another? Paired bootstrap over test images and over seeds."""

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
    names the classes that do not count in the mean.
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
    """IoU of one arm on one test: row 0 as measured, rows 1 … R resampled.

    `classes` is (R + 1, K), averaged over the seeds that each row drew; `runs` is (S, R + 1), the
    mean over classes of every seed.
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
    """Compare the reference arm with every other one, with bootstrap intervals.

    `counts[arm]` holds, seed by seed in the same order for all arms, the counts per test dataset.
    In each resample the images of a test are drawn with replacement once for all arms and seeds,
    and seeds are drawn with replacement once for all arms and tests: differences are paired both
    ways. Intervals are percentiles of the resampled differences (Efron and Tibshirani, 1993, ch. 13).

    With few seeds the percentile interval is too narrow: n resampled seeds spread by a factor
    √((n−1)/n) less than n new ones would (18 % at three), and take few different values. A single
    seed cannot be resampled at all; the interval then speaks of images alone, and `note` says so.
    In `strict` mode a class that is absent from a resample's truth is left out of that resample.

    Raises InputError where arms, seeds, tests, images or classes do not match.
    """
    tests = _check_runs(counts, reference, resamples=resamples, level=level)
    seeds = len(counts[reference])
    draws = _draw_seeds(rng, resamples, seeds)
    counted = _choose_classes(tests, mode)
    scores: dict[str, dict[str, _Scores]] = {arm: {} for arm in counts}
    for test, first in tests.items():
        images = _draw_images(rng, resamples, len(first.image_ids))
        for arm, runs in counts.items():
            chosen = [run[test] for run in runs]
            scores[arm][test] = _score(
                chosen, images, draws=draws, counted=counted[test], mode=mode
            )
    means = {
        arm: {test: _average_seeds(score.runs, draws) for test, score in by_test.items()}
        for arm, by_test in scores.items()
    }
    harmonic = {arm: _combine_tests(by_test, draws) for arm, by_test in scores.items()}
    others = [arm for arm in counts if arm != reference]
    names = {test: first.classes for test, first in tests.items()}
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
            test: tuple(np.array(names[test])[~flags].tolist()) for test, flags in counted.items()
        },
        mean_iou={arm: _first_rows(by_test) for arm, by_test in means.items()},
        harmonic=_first_rows(harmonic),
        class_iou={arm: _name_classes(by_test, names) for arm, by_test in scores.items()},
        differences={arm: _differ(means[reference], means[arm], level) for arm in others},
        harmonic_differences={
            arm: _estimate(harmonic[reference] - harmonic[arm], level) for arm in others
        },
        class_differences={
            arm: _differ_by_class(scores[reference], scores[arm], names, level=level)
            for arm in others
        },
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


def _first_rows(rows: Mapping[str, Floats]) -> dict[str, float]:
    """Read what was measured off each key's rows."""
    return {key: float(values[0]) for key, values in rows.items()}


def _name_classes(
    by_test: Mapping[str, _Scores], names: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, float]]:
    return {
        test: dict(zip(names[test], score.classes[0].tolist(), strict=True))
        for test, score in by_test.items()
    }


def _differ(
    ours: Mapping[str, Floats], theirs: Mapping[str, Floats], level: float
) -> dict[str, Difference]:
    return {test: _estimate(rows - theirs[test], level) for test, rows in ours.items()}


def _differ_by_class(
    ours: Mapping[str, _Scores],
    theirs: Mapping[str, _Scores],
    names: Mapping[str, Sequence[str]],
    *,
    level: float,
) -> dict[str, dict[str, Difference]]:
    return {
        test: {
            name: _estimate(rows, level)
            for name, rows in zip(
                names[test], (score.classes - theirs[test].classes).T, strict=True
            )
        }
        for test, score in ours.items()
    }


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


def _draw_seeds(rng: np.random.Generator, resamples: int, seeds: int) -> Floats:
    """Return (R + 1, S) weights of seeds that sum to 1 per row; row 0 weighs all alike."""
    drawn = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds
    return np.vstack([np.full(seeds, 1 / seeds), drawn])


def _draw_images(rng: np.random.Generator, resamples: int, images: int) -> Floats:
    """Return (R + 1, images) times that each image is drawn; row 0 draws each once."""
    drawn = rng.multinomial(images, np.full(images, 1 / images), size=resamples)
    return np.vstack([np.ones(images), drawn])


def _score(
    runs: Sequence[ImageCounts],
    images: Floats,
    *,
    draws: Floats,
    counted: npt.NDArray[np.bool_],
    mode: Mode,
) -> _Scores:
    """Compute IoU in every resample: counts summed over drawn images are one matrix product."""
    # The truth is the same in all runs, so that is also where classes are absent.
    truth = images @ runs[0].truth
    present = counted & (truth > 0) if mode == "strict" else np.broadcast_to(counted, truth.shape)
    classes = np.zeros_like(truth)
    means = []
    for number, run in enumerate(runs):
        iou = iou_from_counts(images @ run.intersection, truth, images @ run.prediction, mode=mode)
        iou = np.where(present, iou, 0.0)
        classes += draws[:, number, None] * iou
        means.append(iou.sum(axis=1) / np.maximum(present.sum(axis=1), 1))
    return _Scores(classes=np.where(present, classes, np.nan), runs=np.stack(means))


def _average_seeds(runs: Floats, draws: Floats) -> Floats:
    """Average (S, R + 1) over the seeds that each row drew."""
    return np.asarray((runs.T * draws).sum(axis=1), np.float64)


def _combine_tests(by_test: Mapping[str, _Scores], draws: Floats) -> Floats:
    """Take the harmonic mean over tests within each run, then average over drawn seeds."""
    stacked = np.stack([score.runs for score in by_test.values()])
    with np.errstate(divide="ignore"):
        combined = len(stacked) / (1 / stacked).sum(axis=0)
    return _average_seeds(combined, draws)


def _estimate(rows: Floats, level: float) -> Difference:
    """Read value (row 0) and percentile interval off the resampled differences."""
    resampled = rows[1:][~np.isnan(rows[1:])]
    if np.isnan(rows[0]) or resampled.size == 0:
        return Difference(float("nan"), float("nan"), float("nan"))
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Difference(float(rows[0]), float(low), float(high))


def _note(seeds: int, level: float, resamples: int) -> str:
    how = f"{level:.0%} percentile intervals of {resamples} paired resamples"
    if seeds == 1:
        return f"{how} over images alone: one seed cannot be resampled, so training noise is not in them"
    return f"{how} over images and {seeds} seeds; with few seeds they are somewhat too narrow"
