"""What an experiment says in words."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from mseg_curate.core.attribution import Attribution
from mseg_curate.core.compare import Comparison, Difference, Runs, compare_arms
from mseg_curate.report import conclude, describe_differences, warn_of_many
from mseg_curate.report.sentences import (
    choose_rival,
    describe_leave_one_out,
    describe_splits,
    describe_worth,
)

Compare = Callable[..., Comparison]

# Shares per seed: `up` is far above `base`, `near` cannot be told from it.
BASE = (0.60, 0.62, 0.61)
UP = (0.70, 0.715, 0.71)
DOWN = (0.50, 0.525, 0.51)
NEAR = (0.64, 0.58, 0.62)
BETTER = Difference(0.05, 0.02, 0.08)
UNCLEAR = Difference(0.01, -0.02, 0.04)
UNDEFINED = Difference(math.nan, math.nan, math.nan)


def test_the_hours_paid(compare: Compare) -> None:
    """Where every free alternative is beaten the hours paid, against the best of them, the interval first."""
    found = compare({"relabeled": UP, "unrelabeled": DOWN, "partial": BASE})
    interval = found.harmonic_differences["partial"]
    assert conclude(found) == (
        f"95% interval {100 * interval.low:+.1f} to {100 * interval.high:+.1f} points of harmonic mean "
        "(3 seeds, 20 test images): the hours paid; relabeled is 9.8 points above partial, the best "
        "alternative that costs no decision; ignored, which would cost no decision either, was not run."
    )
    assert interval.low > 0
    whole = compare({"relabeled": UP, "unrelabeled": DOWN, "partial": BASE, "ignored": BASE})
    assert conclude(whole).endswith("costs no decision.")


def test_the_hours_did_not_pay(compare: Compare) -> None:
    """One free alternative that is distinguishably better is enough, whatever else was beaten."""
    found = compare({"relabeled": BASE, "unrelabeled": DOWN, "ignored": UP})
    assert choose_rival(found) == "ignored"
    assert conclude(found).endswith(
        ": the hours did not pay; ignored, the best alternative that costs no decision, is 9.8 points above "
        "relabeled."
    )


def test_not_proven(compare: Compare) -> None:
    """Where one free alternative cannot be told apart nothing is proven, and what could have been is said."""
    found = compare({"relabeled": BASE, "unrelabeled": DOWN, "partial": NEAR})
    interval = found.harmonic_differences["partial"]
    sentence = conclude(found)
    assert sentence.startswith(f"95% interval {100 * interval.low:+.1f} to ")
    assert (
        "that the hours paid is not proven; relabeled came out 0.3 points below partial" in sentence
    )
    least = 50 * (interval.high - interval.low)
    assert f"less than about {least:.1f} points are beyond this experiment" in sentence
    assert sentence.endswith("; it does beat unrelabeled.")


def test_the_verdict_hangs_on_what_is_not_beaten(compare: Compare) -> None:
    """A free alternative of lower mean that cannot be told apart keeps the hours from being proven."""
    wide = (0.35, 0.70, 0.50)
    found = compare({"relabeled": UP, "partial": BASE, "ignored": wide})
    assert found.harmonic["ignored"] < found.harmonic["partial"]
    assert choose_rival(found) == "ignored"
    assert "not proven; relabeled came out 19.2 points above ignored, which costs no" in conclude(
        found
    )


def test_one_seed_proves_nothing(compare: Compare) -> None:
    """However clear the images are, of one seed no verdict is given."""
    sentence = conclude(compare({"relabeled": (0.9,), "ignored": (0.5,)}))
    assert "training noise is missing because there is one seed" in sentence
    assert "the hours" not in sentence
    assert "(1 seed, 20 test images)" in sentence


def test_equal_scores(compare: Compare) -> None:
    """An arm with the same labels scores the same, and that is said."""
    sentence = conclude(compare({"relabeled": BASE, "unrelabeled": BASE}))
    assert sentence.endswith(
        "relabeled scored exactly as unrelabeled, which costs no decision: nothing was gained or lost."
    )


@pytest.mark.parametrize(
    ("arms", "reference", "part"),
    [
        (
            ("relabeled", "relabeled-95"),
            "relabeled",
            "relabeled is 9.8 points above relabeled-95, the",
        ),
        (("unrelabeled", "ignored"), "unrelabeled", "unrelabeled is 9.8 points above ignored, the"),
        (("relabeled",), "relabeled", "whether the hours paid is not known"),
        (("relabeled", "without-animals"), "relabeled", "whether the hours paid is not known"),
    ],
)
def test_without_a_free_alternative(
    compare: Compare, arms: tuple[str, ...], reference: str, part: str
) -> None:
    """Where nothing free was run beside paid labels there is no verdict on hours."""
    sentence = conclude(compare(dict(zip(arms, (UP, BASE), strict=False)), reference=reference))
    assert part in sentence
    assert "the hours paid;" not in sentence


def test_one_test_is_no_harmonic_mean(compare: Compare) -> None:
    """With one test dataset the points are of its mean IoU."""
    assert "points of mean IoU" in conclude(
        compare({"relabeled": UP, "partial": BASE}, tests=("near",))
    )


def test_a_sentence_per_arm(compare: Compare) -> None:
    """There is a sentence per other arm, with the verdict that its interval allows; tasks have their own."""
    found = compare({"relabeled": UP, "unrelabeled": BASE, "ignored": UP, "without-animals": DOWN})
    better, same = describe_differences(found)
    assert better.startswith(
        "relabeled is better than unrelabeled in the harmonic mean: +9.8 points, 95% "
    )
    assert same.startswith("relabeled is not distinguishable from ignored")
    (worth,) = describe_worth(found)
    assert worth.startswith("Task animals: relabeling it paid: +19.7 points, 95% interval ")
    undefined = replace(found, harmonic_differences={"partial": UNDEFINED})
    assert describe_differences(undefined) == [
        "relabeled cannot be compared with partial in the harmonic mean."
    ]
    assert conclude(undefined).startswith("No other arm was run, or none can be compared")


def test_leave_one_out_in_words(compare: Compare) -> None:
    """It is said between what the difference moves, and which test dataset the verdict hangs on."""
    found = compare({"relabeled": UP, "partial": BASE})
    sentence = describe_leave_one_out(found)
    assert sentence is not None
    assert sentence.endswith("the verdict stays the same.")
    changed = replace(
        found, leave_one_out={"near": {"partial": UNCLEAR}, "far": {"partial": BETTER}}
    )
    assert describe_leave_one_out(changed) == (
        "With one test dataset left out at a time, the difference to partial goes from +1.0 (without near) "
        "to +5.0 (without far): the verdict hangs on near."
    )
    assert (
        describe_leave_one_out(compare({"relabeled": UP, "partial": BASE}, tests=("near",))) is None
    )


def test_a_verdict_is_rarely_given_where_nothing_differs(make_runs: Callable[..., Runs]) -> None:
    """Arms that differ in nothing but the noise of their seeds are left undecided nine times of ten."""
    rng = np.random.default_rng(11)
    arms, simulations = ("relabeled", "unrelabeled", "ignored", "partial"), 200
    sentences = [
        conclude(
            compare_arms(
                make_runs({arm: rng.normal(0.5, 0.03, 3).tolist() for arm in arms}),
                rng=rng,
                resamples=200,
            )
        )
        for _ in range(simulations)
    ]
    paid = sum("the hours paid;" in sentence for sentence in sentences)
    lost = sum("the hours did not pay;" in sentence for sentence in sentences)
    assert paid <= 0.02 * simulations
    assert lost <= 0.1 * simulations


def test_many_intervals_are_warned_of() -> None:
    """Of n intervals a share seems to differ by chance; undefined ones are not counted, one alone needs no warning."""
    shown = [BETTER, *[UNCLEAR] * 39, UNDEFINED]
    assert warn_of_many(shown, 0.95) == (
        "The tables hold 40 intervals of 95%, 1 of which leave 0 out; if nothing differed, about 2.0 would by "
        "chance. The first sentence alone was asked beforehand: take the rest as hints where to look."
    )
    assert warn_of_many([BETTER, UNDEFINED], 0.95) is None


def test_split_classes_in_words() -> None:
    """Those that no test can show are named, and those that share test classes."""
    shared = {"animals": ("beasts", "cows"), "beasts": ("animals",)}
    attribution = Attribution({}, {}, {}, {}, shared=shared, idle=("lamps",))
    idle, first, second = describe_splits(attribution)
    assert idle.startswith("No test class that counts is fed by lamps: ")
    assert first.startswith("animals feeds test classes that beasts and cows feed too;")
    assert second.startswith("beasts feeds test classes that animals feeds too;")
