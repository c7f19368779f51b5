"""From the votes on one mask to its resolution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "DEFAULT_MIN_AGREEMENT",
    "Outcome",
    "Resolution",
    "ResolutionOutcome",
    "Vote",
    "majority",
]

DEFAULT_MIN_AGREEMENT = 0.5


class Outcome(StrEnum):
    """What an annotator said of a mask."""

    CLASS = "class"
    NONE_OF_THESE = "none_of_these"
    UNSURE = "unsure"
    BAD_MASK = "bad_mask"


class ResolutionOutcome(StrEnum):
    """What the votes on a mask come to."""

    RESOLVED = "resolved"
    CONTESTED = "contested"
    IGNORED = "ignored"


@dataclass(frozen=True)
class Vote:
    """One annotator's current decision: the outcome, and the class where the outcome names one."""

    outcome: Outcome
    class_id: int | None = None


@dataclass(frozen=True)
class Resolution:
    """The outcome of all votes on a mask; `agreement` is the winner's share of the votes, 0 … 1."""

    outcome: ResolutionOutcome
    class_id: int | None
    votes: int
    agreement: float


def majority(votes: Sequence[Vote], *, min_agreement: float = DEFAULT_MIN_AGREEMENT) -> Resolution:
    """Resolve by the most frequent vote.

    A tie for the first place, a winner with less than `min_agreement` of the votes, and a majority of
    `unsure` are contested. `none_of_these` and `bad_mask` are votes like any other; where they win, the mask
    is ignored. Raises ValueError without votes.
    """
    if not votes:
        raise ValueError("a mask without votes has no resolution")
    ranked = Counter(votes).most_common(2)
    winner, count = ranked[0]
    agreement = count / len(votes)
    tied = len(ranked) == 2 and ranked[1][1] == count
    if tied or agreement < min_agreement or winner.outcome is Outcome.UNSURE:
        return Resolution(ResolutionOutcome.CONTESTED, None, len(votes), agreement)
    if winner.outcome is Outcome.CLASS:
        return Resolution(ResolutionOutcome.RESOLVED, winner.class_id, len(votes), agreement)
    return Resolution(ResolutionOutcome.IGNORED, None, len(votes), agreement)
