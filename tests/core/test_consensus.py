"""From votes to a resolution, case by case and against a plain count."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mseg_curate.core.consensus import Outcome, Resolution, ResolutionOutcome, Vote, majority

quick = settings(deadline=None, max_examples=60)
CAT, DOG = Vote(Outcome.CLASS, 1), Vote(Outcome.CLASS, 2)
NONE, UNSURE, BAD = Vote(Outcome.NONE_OF_THESE), Vote(Outcome.UNSURE), Vote(Outcome.BAD_MASK)
RESOLVED, CONTESTED, IGNORED = (
    ResolutionOutcome.RESOLVED,
    ResolutionOutcome.CONTESTED,
    ResolutionOutcome.IGNORED,
)
votes_lists = st.lists(st.sampled_from([CAT, DOG, NONE, UNSURE, BAD]), min_size=1, max_size=9)


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ([CAT], Resolution(RESOLVED, 1, 1, 1.0)),
        ([CAT, CAT, DOG, BAD], Resolution(RESOLVED, 1, 4, 0.5)),
        ([CAT, CAT, DOG, NONE, BAD], Resolution(CONTESTED, None, 5, 0.4)),
        ([CAT, DOG], Resolution(CONTESTED, None, 2, 0.5)),
        ([CAT, NONE], Resolution(CONTESTED, None, 2, 0.5)),
        ([CAT, CAT, DOG, DOG, BAD], Resolution(CONTESTED, None, 5, 0.4)),
        ([UNSURE], Resolution(CONTESTED, None, 1, 1.0)),
        ([UNSURE, UNSURE, CAT, DOG], Resolution(CONTESTED, None, 4, 0.5)),
        ([NONE], Resolution(IGNORED, None, 1, 1.0)),
        ([BAD, BAD, CAT, DOG], Resolution(IGNORED, None, 4, 0.5)),
    ],
)
def test_known_votes(votes: list[Vote], expected: Resolution) -> None:
    """Each kind of majority, tie and weak majority comes to what the policy says."""
    assert majority(votes) == expected


@quick
@given(votes_lists, st.randoms(use_true_random=False))
def test_the_order_of_votes_does_not_matter(votes: list[Vote], rng: random.Random) -> None:
    """Shuffled votes come to the same resolution."""
    shuffled = list(votes)
    rng.shuffle(shuffled)
    assert majority(shuffled) == majority(votes)


@quick
@given(votes_lists, st.sampled_from([0.0, 0.5, 2 / 3, 0.75, 1.0]))
def test_a_plain_count_agrees(votes: list[Vote], min_agreement: float) -> None:
    """A winner is the one vote that alone has the most, with enough of a share, and not unsure."""
    most = max(votes.count(v) for v in votes)
    winners = {v for v in votes if votes.count(v) == most}
    outcome, class_id = CONTESTED, None
    if len(winners) == 1 and most >= min_agreement * len(votes) and winners != {UNSURE}:
        (winner,) = winners
        class_id = winner.class_id
        outcome = RESOLVED if winner.outcome is Outcome.CLASS else IGNORED
    expected = Resolution(outcome, class_id, len(votes), most / len(votes))
    assert majority(votes, min_agreement=min_agreement) == expected


@quick
@given(votes_lists)
def test_only_a_resolved_mask_has_a_class(votes: list[Vote]) -> None:
    """Contested and ignored masks name no class, resolved ones do; the agreement is a share."""
    resolution = majority(votes)
    assert (resolution.class_id is not None) == (resolution.outcome is RESOLVED)
    assert 0 < resolution.agreement <= 1


def test_no_votes_are_refused() -> None:
    """A mask without votes has no resolution, and no default either."""
    with pytest.raises(ValueError, match="without votes"):
        majority([])
