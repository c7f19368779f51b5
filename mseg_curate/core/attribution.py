"""What a difference between two arms is made of: its test classes, and the classes that were split."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mseg_curate.core.arms import WITHOUT
from mseg_curate.core.compare import Comparison
from mseg_curate.core.paired import (
    Difference,
    Scores,
    add_seed_noise,
    combine_tests,
    estimate,
    score_tests,
)
from mseg_curate.errors import InputError

__all__ = [
    "OTHER_CLASSES",
    "Attribution",
    "SplitClass",
    "attribute_differences",
    "worth_of_tasks",
]

OTHER_CLASSES = "other classes"
"""Before the name of a task: the arm in which that task alone was not relabeled."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SplitClass:
    """A class of a training dataset that must be split, and the test classes it can move.

    `candidates` are universal names; `test_classes[test]` are the test classes that a candidate feeds.
    """

    name: str
    dataset: str
    source: str
    candidates: tuple[str, ...]
    test_classes: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Attribution:
    """Parts of differences, in IoU, keyed by the other arm; each table adds up to the difference.

    `classes[arm][test][class]` and `splits[arm][test][name]` add up to `differences[arm][test]` of the
    comparison; `tests[arm][test]` and `harmonic[arm][name]` to its `harmonic_differences[arm]`. Names
    are those of split classes; what no split class feeds is `other classes`. `shared[name]` are the split
    classes that feed some of the same test classes, whose part is divided equally among them; `idle`
    are those that feed no test class that counts.
    """

    classes: Mapping[str, Mapping[str, Mapping[str, Difference]]]
    splits: Mapping[str, Mapping[str, Mapping[str, Difference]]]
    tests: Mapping[str, Mapping[str, Difference]]
    harmonic: Mapping[str, Mapping[str, Difference]]
    shared: Mapping[str, tuple[str, ...]]
    idle: tuple[str, ...]


def attribute_differences(comparison: Comparison, splits: Sequence[SplitClass] = ()) -> Attribution:
    """Take every difference of a comparison apart, with intervals from the same resamples.

    The mean IoU over n classes is Σ IoU_c / n, so class c brings (IoU_c − IoU'_c) / n. The harmonic means
    H and H' of T tests with mean IoU m_t and m'_t differ by Σ_t (m_t − m'_t) · H H' / (T m_t m'_t), which
    is exact, so that test t, and every class in it, enters with that weight. A split class gets the
    parts of the test classes that its candidates feed, and an equal share of those that k split classes feed
    (which is their Shapley value). It is an account of where the difference appears, not of what caused it:
    that is what arms `without-TASK` measure.

    Raises InputError for split classes with one name, or test classes that are not there.
    """
    _check_splits(comparison, splits)
    source, reference = comparison.resampled, comparison.reference
    others = [arm for arm in comparison.arms if arm != reference]
    names = [split.name for split in splits]
    feeds = {test: _share_out(comparison, splits, test) for test in comparison.tests}
    weights = {arm: _weigh_tests(source.runs[reference], source.runs[arm]) for arm in others}
    rows = (comparison.seeds, comparison.resamples + 1, len(splits) + 1)
    combined = {arm: np.zeros(rows) for arm in others}
    classes: dict[str, dict[str, dict[str, Difference]]] = {arm: {} for arm in others}
    by_split: dict[str, dict[str, dict[str, Difference]]] = {arm: {} for arm in others}
    by_test: dict[str, dict[str, Difference]] = {arm: {} for arm in others}

    def name_parts(parts: Floats, labels: Sequence[str]) -> dict[str, Difference]:
        resampled = add_seed_noise(parts, source.seed_noise)
        columns = zip(labels, resampled.T, strict=True)
        return {label: estimate(column, comparison.level) for label, column in columns}

    drawn = score_tests(
        source.counts,
        source.counted,
        rng=copy.deepcopy(source.rng),
        resamples=comparison.resamples,
        mode=comparison.mode,
    )
    for test, scores in drawn:
        counted = np.flatnonzero(source.counted[test])
        labels = np.array(source.counts[reference][0][test].classes)[counted].tolist()
        for arm in others:
            parts = _divide(scores[reference], scores[arm])
            grouped = parts @ feeds[test]
            weight = weights[arm][test][..., None]
            combined[arm] += weight * grouped
            classes[arm][test] = name_parts(parts[..., counted], labels)
            by_split[arm][test] = name_parts(grouped, [*names, OTHER_CLASSES])
            whole = weight * parts.sum(axis=2, keepdims=True)
            by_test[arm].update(name_parts(whole, [test]))
    return Attribution(
        classes=classes,
        splits=by_split,
        tests=by_test,
        harmonic={arm: name_parts(combined[arm], [*names, OTHER_CLASSES]) for arm in others},
        shared=_find_shared(feeds, names),
        idle=tuple(
            name
            for number, name in enumerate(names)
            if not any(share[:, number].any() for share in feeds.values())
        ),
    )


def worth_of_tasks(comparison: Comparison) -> dict[str, Difference]:
    """Return what each left-out task was worth in the harmonic mean: reference minus `without-TASK`."""
    return {
        arm.removeprefix(WITHOUT): found
        for arm, found in comparison.harmonic_differences.items()
        if arm.startswith(WITHOUT)
    }


def _check_splits(comparison: Comparison, splits: Sequence[SplitClass]) -> None:
    """Raise InputError unless names are unique and every test class is one of its test."""
    names = [split.name for split in splits]
    twice = sorted({name for name in names if names.count(name) > 1} | ({OTHER_CLASSES} & {*names}))
    if twice:
        raise InputError("split classes need names of their own", found=", ".join(twice))
    first = comparison.resampled.counts[comparison.reference][0]
    problems = [
        f"{split.name}: {test} has no class {name!r}"
        for split in splits
        for test, fed in split.test_classes.items()
        if test in first
        for name in fed
        if name not in first[test].classes
    ]
    if problems:
        raise InputError("split classes feed classes that are not there", problems=problems)


def _share_out(comparison: Comparison, splits: Sequence[SplitClass], test: str) -> Floats:
    """Return (K, splits + 1) shares of each test class, rows of sum 1; the last column is nobody's."""
    classes = comparison.resampled.counts[comparison.reference][0][test].classes
    shares = np.zeros((len(classes), len(splits) + 1))
    for number, split in enumerate(splits):
        fed = set(split.test_classes.get(test, ()))
        shares[[row for row, name in enumerate(classes) if name in fed], number] = 1
    shares[~comparison.resampled.counted[test]] = 0
    times = shares.sum(axis=1)
    shares /= np.maximum(times, 1)[:, None]
    shares[times == 0, -1] = 1
    return shares


def _divide(ours: Scores, theirs: Scores) -> Floats:
    """Return (S, R + 1, K) parts of the difference of mean IoU; 0 where a class does not count, NaN where none does."""
    # The truth decides which classes count, so they are the same in both arms and all seeds.
    present = (~np.isnan(ours.classes)).sum(axis=2, keepdims=True)
    parts = np.nan_to_num(ours.classes - theirs.classes) / np.maximum(present, 1)
    return np.where(present > 0, parts, np.nan)


def _weigh_tests(ours: Mapping[str, Floats], theirs: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return per test the (S, R + 1) weight of a difference of mean IoU in that of the harmonic mean."""
    mine, other = _divide_harmonic(ours), _divide_harmonic(theirs)
    return {test: mine[test] * other[test] / len(ours) for test in ours}


def _divide_harmonic(by_test: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return H / m_t of each test; where m_t is 0 its limit, T over the number of tests that are 0."""
    harmonic = combine_tests(by_test)
    zeros = np.sum([rows == 0 for rows in by_test.values()], axis=0)
    limit = len(by_test) / np.maximum(zeros, 1)
    return {
        test: np.where(rows == 0, limit, harmonic / np.where(rows == 0, 1.0, rows))
        for test, rows in by_test.items()
    }


def _find_shared(feeds: Mapping[str, Floats], names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return for each split class the others that feed one of its test classes."""
    together = np.zeros((len(names), len(names)), np.bool_)
    for shares in feeds.values():
        fed = shares[:, :-1] > 0
        together |= fed.T @ fed
    np.fill_diagonal(together, False)
    return {
        name: tuple(names[other] for other in np.flatnonzero(row).tolist())
        for name, row in zip(names, together, strict=True)
        if row.any()
    }
