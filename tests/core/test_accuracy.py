"""Shares with intervals, and the weights of votes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mseg_curate.core.accuracy import GoldScore, estimate_share, log_odds_weight
from mseg_curate.errors import InputError

quick = settings(deadline=None, max_examples=60)
scores = st.integers(0, 60).flatmap(
    lambda total: st.integers(0, total).map(lambda right: GoldScore(right, total))
)


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (15, 20, 0.5313, 0.8881),
        (81, 263, 0.2553, 0.3662),
    ],
)
def test_known_intervals(right: int, total: int, low: float, high: float) -> None:
    """Intervals are those of Wilson's formula; 81 of 263 is the example of Newcombe (1998, method 3)."""
    share = estimate_share(GoldScore(right, total))
    assert (share.low, share.high) == pytest.approx((low, high), abs=5e-5)
    assert share.value == right / total


@quick
@given(scores, st.floats(0.5, 0.99))
def test_the_ends_solve_the_score_equation(score: GoldScore, level: float) -> None:
    """An end lies just as many standard errors, of its own, from the share as the level says."""
    share = estimate_share(score, level=level)
    if score.total == 0:
        assert math.isnan(share.value)
        assert (share.low, share.high) == (0, 1)
        return
    # Φ(z) = (1 + level) / 2, looked up by the error function.
    for end in (share.low, share.high):
        if 0 < end < 1:
            error = math.sqrt(end * (1 - end) / score.total)
            assert math.erf(abs(share.value - end) / error / math.sqrt(2)) == pytest.approx(level)
    assert 0 <= share.low <= share.value <= share.high <= 1


def test_intervals_hold_the_truth_as_often_as_stated() -> None:
    """Over n = 10 … 200 and p = 0.6 … 0.99 the coverage is 95 % in the mean, reckoned from the binomial exactly."""
    coverage = []
    for total, p in itertools.product((10, 20, 35, 50, 100, 200), np.linspace(0.6, 0.99, 40)):
        held = 0.0
        for right in range(total + 1):
            share = estimate_share(GoldScore(right, total))
            if share.low <= p <= share.high:
                held += math.comb(total, right) * p**right * (1 - p) ** (total - right)
        coverage.append(held)
    assert np.mean(coverage) == pytest.approx(0.95, abs=0.005)
    assert np.quantile(coverage, 0.05) > 0.92


def test_weights_are_log_odds() -> None:
    """Without gold the prior of 4 right in 5 stands; gold moves it; chance weighs nothing, worse is against."""
    assert log_odds_weight(GoldScore(0, 0), answers=2) == pytest.approx(math.log(4))
    assert log_odds_weight(GoldScore(0, 0), answers=5) == pytest.approx(math.log(16))
    assert log_odds_weight(GoldScore(95, 100), answers=2) == pytest.approx(math.log(99 / 6))
    assert log_odds_weight(GoldScore(0, 3), answers=2) == pytest.approx(0)
    assert log_odds_weight(GoldScore(0, 11), answers=4) == pytest.approx(0)
    assert log_odds_weight(GoldScore(0, 20), answers=4) < 0


@quick
@given(scores, st.integers(2, 20))
def test_a_right_answer_raises_the_weight(score: GoldScore, answers: int) -> None:
    """One more right answer on gold makes a vote heavier, one more wrong answer lighter."""
    weight = log_odds_weight(score, answers=answers)
    better, worse = (
        GoldScore(score.right + 1, score.total + 1),
        GoldScore(score.right, score.total + 1),
    )
    assert (
        log_odds_weight(better, answers=answers) > weight > log_odds_weight(worse, answers=answers)
    )


def test_what_is_no_score_is_refused() -> None:
    """More right than asked, a level of 1, and a single possible answer are errors."""
    with pytest.raises(InputError, match="found 3 of 2"):
        GoldScore(3, 2)
    with pytest.raises(InputError, match="level of an interval"):
        estimate_share(GoldScore(1, 2), level=1.0)
    with pytest.raises(InputError, match="answers to choose from: expected 2 or more, found 1"):
        log_odds_weight(GoldScore(1, 2), answers=1)
