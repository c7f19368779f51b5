"""From votes to resolutions: case by case, against a plain count, and under every policy."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mseg_curate.core.consensus import (
    DawidSkene,
    Majority,
    Outcome,
    Policy,
    Resolution,
    ResolutionOutcome,
    Vote,
    Weighted,
    majority,
    parse_policy,
    resolve_adjudicated,
)
from mseg_curate.errors import InputError

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


# --- policies ---------------------------------------------------------------------------------------

MANY: list[Policy] = [
    Majority(),
    Majority(min_agreement=2 / 3, quorum=3),
    Weighted(min_posterior=0.9, quorum=2),
    DawidSkene(min_posterior=0.123456789012345),
    DawidSkene(gold=True),
]


@pytest.mark.parametrize("policy", MANY, ids=str)
def test_a_policy_reads_back_what_it_writes(policy: Policy) -> None:
    """The text of a policy is the policy, to the last digit."""
    assert parse_policy(str(policy)) == policy


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("majority", Majority()),
        ("majority()", Majority()),
        ("majority(min_agreement=0.5)", Majority()),
        (" weighted( quorum = 3 , min_posterior=0.8 ) ", Weighted(0.8, 3)),
        ("dawid_skene(quorum=2)", DawidSkene(quorum=2)),
        ("dawid_skene(gold = yes, quorum=2)", DawidSkene(quorum=2, gold=True)),
        ("dawid_skene(gold=no)", DawidSkene()),
    ],
)
def test_short_texts_of_policies(text: str, policy: Policy) -> None:
    """What is left out has its default, and so older texts are read."""
    assert parse_policy(text) == policy


def test_a_policy_writes_its_parameters() -> None:
    """The text names every parameter."""
    assert str(Majority()) == "majority(min_agreement=0.5,quorum=1)"
    assert str(Weighted(1, 2)) == "weighted(min_posterior=1,quorum=2)"
    assert str(DawidSkene()) == "dawid_skene(min_posterior=0.5,quorum=1)"
    assert str(DawidSkene(gold=True)) == "dawid_skene(min_posterior=0.5,quorum=1,gold=yes)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected majority(min_agreement=0.5,quorum=1), weighted("),
        ("plurality", "found 'plurality'"),
        ("majority(", "found 'majority('"),
        ("majority(0.5)", "expected min_agreement=… and quorum=…"),
        ("majority(min_posterior=0.5)", "found 'min_posterior=0.5'"),
        ("majority(quorum=1,quorum=2)", "once each, found 'quorum=2'"),
        ("weighted(quorum=1.5)", "quorum: expected a whole number, found '1.5'"),
        ("weighted(min_posterior=high)", "min_posterior: expected a number, found 'high'"),
        ("weighted(min_posterior=nan)", "min_posterior of a policy: expected 0 … 1, found nan"),
        ("majority(min_agreement=1.1)", "min_agreement of a policy: expected 0 … 1, found 1.1"),
        ("dawid_skene(gold=1)", "gold: expected yes or no, found '1'"),
        ("dawid_skene(gold=yes,gold=yes)", "min_posterior=…, quorum=… and gold=…, once each"),
        ("weighted(gold=yes)", "expected min_posterior=… and quorum=…, once each"),
        ("dawid_skene(quorum=0)", "quorum of a policy: expected 1 or more votes, found 0"),
    ],
)
def test_texts_that_are_no_policy_are_refused(text: str, message: str) -> None:
    """The error says what was expected and what was found."""
    with pytest.raises(InputError, match=re.escape(message)):
        parse_policy(text)


@pytest.mark.parametrize(
    ("decided", "outcome"),
    [(CAT, RESOLVED), (NONE, IGNORED), (BAD, IGNORED), (UNSURE, CONTESTED)],
)
def test_an_adjudicator_has_the_last_word(decided: Vote, outcome: ResolutionOutcome) -> None:
    """The adjudicator's answer stands whatever the votes say; unsure leaves the mask contested."""
    found = resolve_adjudicated(decided, votes=[DOG, DOG, CAT])
    assert found == Resolution(outcome, decided.class_id, 3, 2 / 3)
    assert resolve_adjudicated(decided, votes=[]) == Resolution(outcome, decided.class_id, 0, 0.0)
