"""What an experiment says in words: the uncertainty first, then the verdict that it allows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from mseg_curate.core.arms import WITHOUT
from mseg_curate.core.attribution import Attribution, worth_of_tasks
from mseg_curate.core.compare import Comparison, Difference

__all__ = [
    "FREE_ARMS",
    "choose_rival",
    "conclude",
    "describe_differences",
    "describe_leave_one_out",
    "describe_splits",
    "describe_worth",
    "warn_of_many",
]

FREE_ARMS = ("unrelabeled", "ignored", "partial")
"""What can be had without a decision; relabeling has to beat all of them."""


def conclude(comparison: Comparison) -> str:
    """Say in one sentence whether the hours paid against what is free, its uncertainty first.

    They paid where the reference is distinguishably better than every free alternative: a claim that
    all intervals must support needs no correction for their number. They did not where one free
    alternative is distinguishably better, which each of them has a chance of 2.5 % to seem at 95 %.
    """
    rival = choose_rival(comparison)
    if rival is None:
        return "No other arm was run, or none can be compared: whether the hours paid is not known."
    found, reference = comparison.harmonic_differences[rival], comparison.reference
    role, free = _role(comparison, rival), _is_free(comparison, rival)
    side = f"{abs(100 * found.value):.1f} points {'above' if found.value >= 0 else 'below'}"
    start = _interval(found, comparison)
    if found == Difference(0.0, 0.0, 0.0):
        return (
            f"{start}: {reference} scored exactly as {rival}, {role}: nothing was gained or lost."
        )
    if comparison.seeds == 1:
        return (
            f"{start}, in which training noise is missing because there is one seed: {reference} came out "
            f"{side} {rival}, {role}, and whether it would again cannot be told from one seed."
        )
    if found.high < 0:
        points = f"{abs(100 * found.value):.1f} points above {reference}"
        return f"{start}: {'the hours did not pay; ' if free else ''}{rival}, {role}, is {points}."
    if found.low > 0:
        verdict, others = ("the hours paid; ", _not_run(comparison)) if free else ("", "")
        return f"{start}: {verdict}{reference} is {side} {rival}, {role}{others}."
    beaten = [arm for arm, other in _rivals(comparison).items() if other.low > 0]
    though = f"; it does beat {_listed(beaten)}" if beaten else ""
    verdict = "that the hours paid is not proven" if free else "which is better is not known"
    return (
        f"{start}: {verdict}; {reference} came out {side} {rival}, {role}, and the two cannot be told apart; "
        f"differences of less than about {50 * (found.high - found.low):.1f} points are beyond this "
        f"experiment{though}."
    )


def choose_rival(comparison: Comparison) -> str | None:
    """Return the arm that the verdict hangs on, None where there is none.

    It is the one that is distinguishably better by most; else the best of those that cannot be told apart
    from the reference; else the best of all. Only the free alternatives are looked at where there are any.
    """
    rivals = _rivals(comparison)
    better = [arm for arm, found in rivals.items() if found.high < 0]
    if better:
        return min(better, key=lambda arm: rivals[arm].value)
    unclear = [arm for arm, found in rivals.items() if not found.distinguishable]
    return max(unclear or rivals, key=lambda arm: comparison.harmonic[arm], default=None)


def _rivals(comparison: Comparison) -> dict[str, Difference]:
    """Return the defined differences to the free alternatives, or else to all arms but `without-TASK`."""
    defined = {
        arm: found
        for arm, found in comparison.harmonic_differences.items()
        if not math.isnan(found.value) and not arm.startswith(WITHOUT)
    }
    free = {arm: found for arm, found in defined.items() if _is_free(comparison, arm)}
    return free or defined


def _is_free(comparison: Comparison, arm: str) -> bool:
    """Say whether the arm costs no decision and the reference does."""
    return arm in FREE_ARMS and comparison.reference not in FREE_ARMS


def _not_run(comparison: Comparison) -> str:
    """Name the free alternatives that nobody tried: the verdict does not speak of them."""
    missing = [arm for arm in FREE_ARMS if arm not in comparison.arms]
    if not missing:
        return ""
    was = "was" if len(missing) == 1 else "were"
    return f"; {_listed(missing)}, which would cost no decision either, {was} not run"


def _role(comparison: Comparison, rival: str) -> str:
    rivals = _rivals(comparison)
    best = comparison.harmonic[rival] >= max(comparison.harmonic[arm] for arm in rivals)
    if not _is_free(comparison, rival):
        return "the best of the other arms" if best else "another arm"
    if len(rivals) == 1 or not best:
        return "which costs no decision"
    return "the best alternative that costs no decision"


def _interval(found: Difference, comparison: Comparison) -> str:
    seeds = f"{comparison.seeds} seed{'s' if comparison.seeds > 1 else ''}"
    mean = "of mean IoU" if len(comparison.tests) == 1 else "of harmonic mean"
    return (
        f"{comparison.level:.0%} interval {100 * found.low:+.1f} to {100 * found.high:+.1f} points {mean} "
        f"({seeds}, {sum(comparison.images.values()):,} test images)"
    )


def describe_differences(comparison: Comparison) -> list[str]:
    """Say in a sentence per other arm, those without a task apart, how the reference compares with it."""
    sentences = []
    for arm, found in comparison.harmonic_differences.items():
        if arm.startswith(WITHOUT):
            continue
        if math.isnan(found.value):
            sentences.append(
                f"{comparison.reference} cannot be compared with {arm} in the harmonic mean."
            )
            continue
        verdict = ("is worse than", "is not distinguishable from", "is better than")[
            1 + _sign(found)
        ]
        sentences.append(
            f"{comparison.reference} {verdict} {arm} in the harmonic mean: {_points(found, comparison.level)}."
        )
    return sentences


def describe_leave_one_out(comparison: Comparison) -> str | None:
    """Say whether the verdict on the arm it hangs on survives any test dataset, None with one test."""
    rival = choose_rival(comparison)
    if rival is None or not comparison.leave_one_out:
        return None
    whole = comparison.harmonic_differences[rival]
    left = {test: by_arm[rival] for test, by_arm in comparison.leave_one_out.items()}
    low, high = min(left, key=lambda t: left[t].value), max(left, key=lambda t: left[t].value)
    changed = [test for test, found in left.items() if _sign(found) != _sign(whole)]
    end = f"the verdict hangs on {_listed(changed)}" if changed else "the verdict stays the same"
    return (
        f"With one test dataset left out at a time, the difference to {rival} goes from "
        f"{100 * left[low].value:+.1f} (without {low}) to {100 * left[high].value:+.1f} (without {high}): {end}."
    )


def describe_worth(comparison: Comparison) -> list[str]:
    """Say per left-out task what relabeling it was worth, all else relabeled."""
    verdicts = (
        "relabeling it did harm",
        "its worth cannot be told from 0",
        "relabeling it paid",
    )
    return [
        f"Task {task}: {verdicts[1 + _sign(found)]}: {_points(found, comparison.level)}, all else relabeled."
        for task, found in worth_of_tasks(comparison).items()
    ]


def describe_splits(attribution: Attribution) -> list[str]:
    """Say which split classes no test class can show, and which share theirs."""
    lines = []
    if attribution.idle:
        lines.append(
            f"No test class that counts is fed by {_listed(attribution.idle)}: these tests cannot show what "
            "relabeling them was worth."
        )
    lines += [
        f"{name} feeds test classes that {_listed(others)} feed{'s' if len(others) == 1 else ''} too; what these "
        "classes bring is divided equally."
        for name, others in attribution.shared.items()
    ]
    return lines


def warn_of_many(shown: Iterable[Difference], level: float) -> str | None:
    """Warn that among many intervals some leave 0 out by chance; None for fewer than two."""
    defined = [found for found in shown if not math.isnan(found.value)]
    if len(defined) < 2:
        return None
    found = sum(difference.distinguishable for difference in defined)
    expected = (1 - level) * len(defined)
    return (
        f"The tables hold {len(defined):,} intervals of {level:.0%}, {found:,} of which leave 0 out; if nothing "
        f"differed, about {expected:.{0 if expected >= 10 else 1}f} would by chance. The first sentence alone was "
        "asked beforehand: take the rest as hints where to look."
    )


def _sign(found: Difference) -> int:
    return int(found.low > 0) - int(found.high < 0)


def _points(found: Difference, level: float) -> str:
    return f"{100 * found.value:+.1f} points, {level:.0%} interval {100 * found.low:+.1f} to {100 * found.high:+.1f}"


def _listed(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
