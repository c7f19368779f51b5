"""Differences taken apart into test classes, test datasets and split classes."""

from __future__ import annotations

import statistics

import numpy as np
import numpy.typing as npt
import pytest

from mseg_curate.core.attribution import (
    OTHER_CLASSES,
    Attribution,
    SplitClass,
    attribute_differences,
    worth_of_tasks,
)
from mseg_curate.core.compare import Comparison, Runs, compare_arms
from mseg_curate.core.metrics import ImageCounts, Mode, harmonic_mean, iou_from_counts
from mseg_curate.errors import InputError

CLASSES = {"near": ("cat", "dog", "sky", "never"), "far": ("animal", "tree", "sky")}
SPLITS = (
    SplitClass(
        "animals", "coarse", "animal", ("cat", "dog"), {"near": ("cat", "dog"), "far": ("animal",)}
    ),
    SplitClass("beasts", "zoo", "beast", ("dog", "bird"), {"near": ("dog",), "far": ("animal",)}),
    SplitClass("plants", "coarse", "plant", ("tree",), {"far": ("tree",)}),
    SplitClass("lamps", "zoo", "lamp", ("lamp",), {"near": ("never",)}),
)


def draw_counts(rng: np.random.Generator, test: str, *, images: int = 7) -> ImageCounts:
    """Counts of a network that errs at random; some images lack some classes, none shows `never`."""
    classes = CLASSES[test]
    # The truth is the same in all runs: that is what the arms are compared on.
    shown = np.random.default_rng(len(test)).integers(0, 90, (images, len(classes)))
    shown[shown < 30] = 0
    shown[:, [name == "never" for name in classes]] = 0
    found = rng.integers(0, shown + 1)
    confusion = np.zeros((len(classes), len(classes) + 1), np.int64)
    return ImageCounts(
        image_ids=tuple(map(str, range(images))),
        classes=classes,
        predictable=np.ones(len(classes), np.bool_),
        intersection=found,
        truth=shown,
        prediction=found + rng.integers(0, 40, shown.shape),
        confusion=confusion,
    )


def draw_runs(*arms: str, seeds: int = 3, seed: int = 0) -> Runs:
    """Runs on both tests that have nothing to do with each other."""
    rng = np.random.default_rng(seed)
    return {
        arm: [{test: draw_counts(rng, test) for test in CLASSES} for _ in range(seeds)]
        for arm in arms
    }


def take_apart(
    runs: Runs, *, resamples: int = 50, mode: Mode = "strict"
) -> tuple[Comparison, Attribution]:
    """Compare and attribute with the splits of this file."""
    found = compare_arms(runs, rng=np.random.default_rng(1), resamples=resamples, mode=mode)
    return found, attribute_differences(found, SPLITS)


def naive_iou(counts: ImageCounts, drawn: npt.NDArray[np.int64]) -> dict[str, float]:
    """IoU of every class that occurs in the drawn images."""
    ious = {}
    for column, name in enumerate(counts.classes):
        overlap, truth, predicted = (
            sum(int(times) * int(row[column]) for times, row in zip(drawn, table, strict=True))
            for table in (counts.intersection, counts.truth, counts.prediction)
        )
        if truth:
            ious[name] = overlap / (truth + predicted - overlap)
    return ious


@pytest.mark.parametrize("mode", ["strict", "compat"])
def test_parts_add_up(mode: Mode) -> None:
    """Classes and split classes add up to the difference of mean IoU, and to that of the harmonic mean."""
    found, parts = take_apart(draw_runs("relabeled", "ignored", "partial"), mode=mode)
    for arm in ("ignored", "partial"):
        for test in CLASSES:
            whole = found.differences[arm][test].value
            for table in (parts.classes[arm][test], parts.splits[arm][test]):
                assert sum(part.value for part in table.values()) == pytest.approx(whole, abs=1e-12)
        whole = found.harmonic_differences[arm].value
        for table in (parts.tests[arm], parts.harmonic[arm]):
            assert sum(part.value for part in table.values()) == pytest.approx(whole, abs=1e-12)
    counted = {"strict": {"cat", "dog", "sky"}, "compat": {"cat", "dog", "sky", "never"}}[mode]
    assert set(parts.classes["ignored"]["near"]) == counted
    assert list(parts.splits["ignored"]["near"]) == [s.name for s in SPLITS] + [OTHER_CLASSES]


def test_a_class_brings_what_swapping_it_alone_changes() -> None:
    """Mean IoU recomputed with one class from the reference differs by that class's part, class by class."""
    runs = draw_runs("relabeled", "ignored", seeds=2)
    _, parts = take_apart(runs)
    for test in CLASSES:
        everything = np.ones(7, np.int64)
        changes: dict[str, list[float]] = {}
        for ours, theirs in zip(runs["relabeled"], runs["ignored"], strict=True):
            mine, other = naive_iou(ours[test], everything), naive_iou(theirs[test], everything)
            for name in mine:
                swapped = {**other, name: mine[name]}
                change = statistics.mean(swapped.values()) - statistics.mean(other.values())
                changes.setdefault(name, []).append(change)
        for name, values in changes.items():
            found = parts.classes["ignored"][test][name].value
            assert found == pytest.approx(statistics.mean(values), abs=1e-12)


def test_shared_classes_are_divided_equally() -> None:
    """A test class that two split classes feed counts half for each; what nobody feeds is other classes."""
    _, parts = take_apart(draw_runs("relabeled", "ignored"))
    classes, splits = parts.classes["ignored"], parts.splits["ignored"]
    near = {name: part.value for name, part in classes["near"].items()}
    expected = {
        "animals": near["cat"] + near["dog"] / 2,
        "beasts": near["dog"] / 2,
        "plants": 0.0,
        "lamps": 0.0,
        OTHER_CLASSES: near["sky"],
    }
    assert {n: p.value for n, p in splits["near"].items()} == pytest.approx(expected, abs=1e-12)
    animal = classes["far"]["animal"].value
    assert splits["far"]["animals"].value == pytest.approx(animal / 2, abs=1e-12)
    # A part of one class alone has the interval of that class.
    assert splits["far"]["plants"] == classes["far"]["tree"]
    assert parts.shared == {"animals": ("beasts",), "beasts": ("animals",)}
    assert parts.idle == ("lamps",)


def test_intervals_equal_a_naive_loop() -> None:
    """Every interval is that of a loop over the resamples, which recomputes all from the drawn images."""
    runs = draw_runs("relabeled", "ignored", seeds=3)
    resamples = 25
    found = compare_arms(runs, rng=np.random.default_rng(5), resamples=resamples, level=0.8)
    parts = attribute_differences(found, SPLITS)
    rng = np.random.default_rng(5)
    noise = rng.standard_t(2, size=resamples)
    drawn = {t: rng.multinomial(7, np.full(7, 1 / 7), size=resamples) for t in CLASSES}
    rows: dict[str, list[float]] = {"sky": [], "animals": [], "near": [], "harmonic": []}
    for row in range(resamples):
        values: dict[str, list[float]] = {name: [] for name in rows}
        for ours, theirs in zip(runs["relabeled"], runs["ignored"], strict=True):
            mine = {t: naive_iou(ours[t], drawn[t][row]) for t in CLASSES}
            other = {t: naive_iou(theirs[t], drawn[t][row]) for t in CLASSES}
            means = [[statistics.mean(x[t].values()) for t in CLASSES] for x in (mine, other)]
            both = harmonic_mean(means[0]) * harmonic_mean(means[1])
            near, far = (both / (2 * a * b) for a, b in zip(*means, strict=True))
            change = {
                t: {n: (mine[t][n] - other[t][n]) / len(mine[t]) for n in mine[t]} for t in CLASSES
            }
            animals = change["near"].get("cat", 0.0) + change["near"].get("dog", 0.0) / 2
            values["sky"].append(change["far"].get("sky", 0.0))
            values["animals"].append(animals)
            values["near"].append(near * sum(change["near"].values()))
            rest = change["far"].get("animal", 0.0) / 2
            values["harmonic"].append(near * animals + far * rest)
        for name, by_seed in values.items():
            error = statistics.stdev(by_seed) / 3**0.5
            rows[name].append(statistics.mean(by_seed) + noise[row] * error)
    pairs = {
        "sky": parts.classes["ignored"]["far"]["sky"],
        "animals": parts.splits["ignored"]["near"]["animals"],
        "near": parts.tests["ignored"]["near"],
        "harmonic": parts.harmonic["ignored"]["animals"],
    }
    for name, part in pairs.items():
        low, high = np.quantile(rows[name], [0.1, 0.9])
        assert (part.low, part.high) == pytest.approx((low, high), abs=1e-12)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ((0.0, 0.5), (0.4, 0.6)),
        ((0.3, 0.5), (0.0, 0.0)),
        ((0.0, 0.5), (0.4, 0.0)),
        ((0.0, 0.5), (0.0, 0.7)),
        ((0.2, 0.5), (0.0, 0.9)),
    ],
)
def test_parts_add_up_where_a_test_scores_nothing(
    ours: tuple[float, float], theirs: tuple[float, float]
) -> None:
    """With a mean IoU of 0 the harmonic mean is 0, and its difference is still divided without a rest."""

    def count(share: float) -> ImageCounts:
        truth = np.full((4, 2), 1000)
        found = np.round(truth * share).astype(np.int64)
        confusion = np.zeros((2, 3), np.int64)
        flags = np.ones(2, np.bool_)
        return ImageCounts(tuple("1234"), ("a", "b"), flags, found, truth, found, confusion)

    runs = {
        arm: [dict(zip(("x", "y"), map(count, shares), strict=True))] * 2
        for arm, shares in (("relabeled", ours), ("ignored", theirs))
    }
    found = compare_arms(runs, rng=np.random.default_rng(0), resamples=10)
    parts = attribute_differences(found)
    whole = harmonic_mean(ours) - harmonic_mean(theirs)
    assert found.harmonic_differences["ignored"].value == pytest.approx(whole, abs=1e-12)
    values = [part.value for part in parts.tests["ignored"].values()]
    assert sum(values) == pytest.approx(whole, abs=1e-12)
    assert parts.harmonic["ignored"][OTHER_CLASSES].value == pytest.approx(whole, abs=1e-12)


def test_attribution_is_of_the_comparison_itself() -> None:
    """It draws what the comparison drew, however often it is asked, and whatever the generator did since."""
    runs = draw_runs("relabeled", "ignored")
    rng = np.random.default_rng(1)
    found = compare_arms(runs, rng=rng, resamples=30)
    rng.random(100)
    first, second = (attribute_differences(found, SPLITS) for _ in range(2))
    assert first == second
    one = SplitClass("all", "coarse", "all", (), dict(CLASSES))
    whole = attribute_differences(found, [one]).splits["ignored"]["near"]["all"]
    expected = found.differences["ignored"]["near"]
    assert vars(whole) == pytest.approx(vars(expected), abs=1e-12)


def test_a_task_is_worth_what_leaving_it_out_costs() -> None:
    """The arm `without-TASK` gives the worth of a task: reference minus that arm, in the harmonic mean."""
    runs = draw_runs("relabeled", "ignored", "without-animals")
    found = compare_arms(runs, rng=np.random.default_rng(0), resamples=10)
    assert worth_of_tasks(found) == {"animals": found.harmonic_differences["without-animals"]}


def test_splits_that_cannot_be_are_refused() -> None:
    """Two split classes of one name, the name of the rest, and unknown test classes are errors."""
    found = compare_arms(
        draw_runs("relabeled", "ignored"), rng=np.random.default_rng(0), resamples=5
    )
    with pytest.raises(InputError, match="names of their own: found animals"):
        attribute_differences(found, [SPLITS[0], SPLITS[0]])
    rest = SplitClass(OTHER_CLASSES, "coarse", "animal", (), {})
    with pytest.raises(InputError, match="names of their own: found other classes"):
        attribute_differences(found, [rest])
    wrong = SplitClass("cows", "coarse", "animal", ("cow",), {"near": ("cow",), "unknown": ("x",)})
    with pytest.raises(InputError, match="cows: near has no class 'cow'"):
        attribute_differences(found, [wrong])


def test_noise_is_rarely_taken_for_a_part() -> None:
    """Where arms differ in nothing but noise, about 5 % of the parts and of leave-one-out seem to differ."""
    rng = np.random.default_rng(3)
    simulations, images = 300, 6
    splits = [
        SplitClass("one", "d", "a", (), {"x": ("a",), "y": ("a", "b")}),
        SplitClass("two", "d", "b", (), {"x": ("b",), "y": ("b",)}),
    ]
    wrong = np.zeros(5)
    truth = np.full((images, 2), 100_000)

    def count(shares: npt.NDArray[np.float64]) -> ImageCounts:
        found = np.round(truth * np.clip(shares, 0.01, 1)).astype(np.int64)
        confusion = np.zeros((2, 3), np.int64)
        names = tuple(map(str, range(images)))
        return ImageCounts(names, ("a", "b"), np.ones(2, np.bool_), found, truth, found, confusion)

    for _ in range(simulations):
        runs: Runs = {
            arm: [
                {
                    test: count(
                        0.5 + rng.normal(0, 0.04) + rng.normal(0, (0.03, 0.01), (images, 2))
                    )
                    for test in "xyz"
                }
                for _ in range(3)
            ]
            for arm in ("relabeled", "ignored")
        }
        found = compare_arms(runs, rng=rng, resamples=300)
        parts = attribute_differences(found, splits)
        wrong += [
            found.leave_one_out["x"]["ignored"].distinguishable,
            parts.classes["ignored"]["y"]["a"].distinguishable,
            parts.splits["ignored"]["y"]["one"].distinguishable,
            parts.harmonic["ignored"]["one"].distinguishable,
            parts.tests["ignored"]["x"].distinguishable,
        ]
    assert (wrong / simulations >= 0.015).all()
    assert (wrong / simulations <= 0.09).all()


def test_iou_of_the_naive_count() -> None:
    """The naive count of this file is the package's, on one drawn set of images."""
    counts = draw_counts(np.random.default_rng(0), "far")
    drawn = np.array([2, 0, 1, 1, 0, 3, 0])
    tables = (counts.intersection, counts.truth, counts.prediction)
    expected = iou_from_counts(*((drawn[:, None] * table).sum(axis=0) for table in tables))
    found = naive_iou(counts, drawn)
    assert found == pytest.approx(
        {n: v for n, v in zip(counts.classes, expected, strict=True) if not np.isnan(v)}
    )
