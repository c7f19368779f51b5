"""How accurate an annotator is on gold: the share with its interval, and what a vote of theirs weighs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from mseg_curate.errors import InputError

__all__ = ["PRIOR_RIGHT", "PRIOR_WRONG", "GoldScore", "Share", "estimate_share", "log_odds_weight"]

PRIOR_RIGHT = 4.0
PRIOR_WRONG = 1.0
"""What is assumed of an annotator beforehand: as if 4 of 5 gold masks had been answered rightly already."""


@dataclass(frozen=True)
class GoldScore:
    """How many of `total` answers on gold were right."""

    right: int
    total: int

    def __post_init__(self) -> None:
        if not 0 <= self.right <= self.total:
            raise InputError(
                "score on gold",
                expected="0 <= right <= total",
                found=f"{self.right} of {self.total}",
            )


@dataclass(frozen=True)
class Share:
    """A share, 0 … 1, with the ends of its interval; NaN and 0 … 1 where nothing was counted."""

    value: float
    low: float
    high: float
    level: float


def estimate_share(score: GoldScore, *, level: float = 0.95) -> Share:
    """Return the share of right answers with Wilson's interval (Wilson, 1927).

    Of Wilson's and Jeffreys' it keeps closer to the stated level where annotators work, which is n = 10 … 200
    answers and p = 0.6 … 0.99: docs/agreement.md has the coverage of both. Raises InputError for a level
    outside 0 … 1.
    """
    if not 0 < level < 1:
        raise InputError("level of an interval", expected="between 0 and 1", found=f"{level:g}")
    n = score.total
    if n == 0:
        return Share(math.nan, 0.0, 1.0, level)
    share = score.right / n
    z2 = NormalDist().inv_cdf((1 + level) / 2) ** 2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 / n * (share * (1 - share) + z2 / (4 * n))) / (1 + z2 / n)
    # At 0 and n the formula gives 0 and 1, but for the last bit.
    low = 0.0 if score.right == 0 else centre - half
    high = 1.0 if score.right == n else centre + half
    return Share(share, low, high, level)


def log_odds_weight(score: GoldScore, *, answers: int) -> float:
    """Return what a vote adds to the log posterior of the answer that it names, in nats.

    Under the one-coin model an annotator is right with probability p and else gives any of the other K − 1
    answers alike (Dawid and Skene, 1979, with one parameter an annotator; the weights of Nitzan and Paroush,
    1982, for K = 2): the weight is log(p (K − 1) / (1 − p)). p is the mean of Beta(4 + right, 1 + wrong), so that
    who has no gold counts as 0.8, and ten gold masks outweigh that. It is 0 at chance, p = 1 / K, and negative
    below. Raises InputError for fewer than two answers.
    """
    if answers < 2:
        raise InputError("answers to choose from", expected="2 or more", found=str(answers))
    right = PRIOR_RIGHT + score.right
    wrong = PRIOR_WRONG + score.total - score.right
    return math.log(right * (answers - 1) / wrong)
