"""Runs that are paired by seed and by image, resampled together: the ground that all intervals stand on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mseg_curate.core.metrics import ImageCounts, Mode, iou_from_counts, scored_classes
from mseg_curate.errors import InputError

__all__ = [
    "Difference",
    "Runs",
    "Scores",
    "add_seed_noise",
    "check_runs",
    "choose_classes",
    "combine_tests",
    "draw_seed_noise",
    "estimate",
    "score_tests",
]

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Runs = Mapping[str, Sequence[Mapping[str, ImageCounts]]]
"""Counts per test dataset, seed by seed in one order, for each arm."""


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
class Scores:
    """IoU of one arm on one test: row 0 as measured, rows 1 … R with resampled images.

    `classes` is (S, R + 1, K), NaN where a class does not count; `runs` is (S, R + 1), the mean
    over classes, NaN in a resample that shows none of them.
    """

    classes: Floats
    runs: Floats


def check_runs(
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


def choose_classes(tests: Mapping[str, ImageCounts], mode: Mode) -> dict[str, Flags]:
    """Say per test which classes count; raise InputError for a test in which none does."""
    counted = {
        test: scored_classes(first.truth.sum(axis=0), mode=mode, predictable=first.predictable)
        for test, first in tests.items()
    }
    empty = [test for test, flags in counted.items() if not flags.any()]
    if empty:
        raise InputError("tests in which no class can score", found=", ".join(empty))
    return counted


def draw_seed_noise(rng: np.random.Generator, resamples: int, *, seeds: int) -> Floats:
    """Return (R + 1,) draws of Student's t with S − 1 degrees of freedom; row 0, and a single seed, get 0."""
    if seeds == 1:
        return np.zeros(resamples + 1)
    return np.concatenate([[0.0], rng.standard_t(seeds - 1, size=resamples)])


def add_seed_noise(differences: Floats, seed_noise: Floats) -> Floats:
    """Average (S, R + 1, …) differences over seeds and add each row's t times their standard error."""
    seeds = len(differences)
    mean: Floats = differences.mean(axis=0)
    if seeds == 1:
        return mean
    error = differences.std(axis=0, ddof=1) / np.sqrt(seeds)
    return np.asarray(mean + (seed_noise * error.T).T, np.float64)


def score_tests(
    counts: Runs,
    counted: Mapping[str, Flags],
    *,
    rng: np.random.Generator,
    resamples: int,
    mode: Mode,
) -> Iterator[tuple[str, dict[str, Scores]]]:
    """Yield per test what every arm scores in every resample.

    The images of a test are drawn once for all arms and seeds, test by test in the order of
    `counted`: the same `rng` in the same state gives the same draws.
    """
    first = next(iter(counts.values()))[0]
    for test, flags in counted.items():
        images = _draw_images(rng, resamples, len(first[test].image_ids))
        yield (
            test,
            {
                arm: _score([run[test] for run in by_seed], images, counted=flags, mode=mode)
                for arm, by_seed in counts.items()
            },
        )


def _draw_images(rng: np.random.Generator, resamples: int, images: int) -> Floats:
    """Return (R + 1, images) times that each image is drawn; row 0 draws each once."""
    drawn = rng.multinomial(images, np.full(images, 1 / images), size=resamples)
    return np.vstack([np.ones(images), drawn])


def _score(runs: Sequence[ImageCounts], images: Floats, *, counted: Flags, mode: Mode) -> Scores:
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
    times = present.sum(axis=1)
    # A resample that shows no class at all says nothing, rather than that all arms score 0.
    means = np.where(times > 0, sums / np.maximum(times, 1), np.nan)
    return Scores(classes=np.where(present, classes, np.nan), runs=means)


def combine_tests(by_test: Mapping[str, Floats]) -> Floats:
    """Take the harmonic mean over tests of (S, R + 1) means within each seed and row."""
    stacked = np.stack(list(by_test.values()))
    with np.errstate(divide="ignore"):
        combined: Floats = len(stacked) / (1 / stacked).sum(axis=0)
    return combined


def estimate(rows: Floats, level: float) -> Difference:
    """Read value (row 0) and percentile interval off (R + 1,) resampled differences."""
    resampled = rows[1:][~np.isnan(rows[1:])]
    if np.isnan(rows[0]) or resampled.size == 0:
        return Difference(float("nan"), float("nan"), float("nan"))
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Difference(float(rows[0]), float(low), float(high))
