"""What the policies make of the votes on a question: by hand, by plain formulas, and on simulated annotators."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mseg_curate.core.accuracy import GoldScore
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
)
from mseg_curate.core.resolving import Ballots, KnownTruth
from mseg_curate.core.resolving import resolve_question as resolve_ballots

quick = settings(deadline=None, max_examples=60)
CAT, DOG = Vote(Outcome.CLASS, 1), Vote(Outcome.CLASS, 2)
NONE, UNSURE, BAD = Vote(Outcome.NONE_OF_THESE), Vote(Outcome.UNSURE), Vote(Outcome.BAD_MASK)
RESOLVED, CONTESTED, IGNORED = (
    ResolutionOutcome.RESOLVED,
    ResolutionOutcome.CONTESTED,
    ResolutionOutcome.IGNORED,
)
votes_lists = st.lists(st.sampled_from([CAT, DOG, NONE, UNSURE, BAD]), min_size=1, max_size=9)


class CastVote(NamedTuple):
    """A vote, the id of the annotator whose it is, and whether it was given in a grid."""

    annotator: int
    vote: Vote
    in_grid: bool = False


def resolve_question(
    policy: Policy,
    votes: Mapping[int, Sequence[CastVote]],
    *,
    answers: Sequence[Vote] = (),
    gold: Mapping[int, GoldScore] | None = None,
    grid_gold: Mapping[int, GoldScore] | None = None,
    truths: Mapping[int, KnownTruth] | None = None,
) -> dict[int, Resolution]:
    """Resolve votes by mask id, with the gold scores of annotators by their ids."""
    cast_ = [(mask, *vote) for mask, of_mask in votes.items() for vote in of_mask]
    said = [*dict.fromkeys(vote for _, _, vote, _ in cast_)]
    ballots = Ballots(
        mask=np.array([row[0] for row in cast_], np.int64),
        annotator=np.array([row[1] for row in cast_], np.int64),
        answer=np.array([said.index(row[2]) for row in cast_], np.int64),
        is_grid=np.array([row[3] for row in cast_], np.bool_),
        answers=tuple(said),
    )
    scores = {(who, False): score for who, score in (gold or {}).items()}
    scores |= {(who, True): score for who, score in (grid_gold or {}).items()}
    return resolve_ballots(policy, ballots, answers=answers, gold=scores, truths=truths)


# --- what the policies make of votes ----------------------------------------------------------------


def cast(*votes: Vote, by: Sequence[int] | None = None) -> list[CastVote]:
    """Return votes of annotators 1, 2, …, or of those named."""
    return [CastVote(who, vote) for who, vote in zip(by or range(1, 99), votes, strict=False)]


@pytest.mark.parametrize("policy", [Majority(quorum=2), Weighted(quorum=2), DawidSkene(quorum=2)])
def test_under_the_quorum_a_mask_stays_open(policy: Policy) -> None:
    """A mask with too few votes has no resolution; an unsure vote counts for the quorum."""
    votes = {1: cast(CAT), 2: cast(CAT, CAT), 3: cast(CAT, UNSURE)}
    assert [*resolve_question(policy, votes)] == [2, 3]


@quick
@given(st.dictionaries(st.integers(1, 9), votes_lists, max_size=5))
def test_the_policy_majority_is_the_function(votes: dict[int, list[Vote]]) -> None:
    """Mask by mask the policy gives what `majority` gives, without a posterior."""
    found = resolve_question(Majority(), {mask: cast(*given_) for mask, given_ in votes.items()})
    assert found == {mask: majority(given_) for mask, given_ in votes.items()}


@pytest.mark.parametrize("policy", [Weighted(), DawidSkene()])
def test_unsure_is_no_answer_where_votes_are_weighed(policy: Policy) -> None:
    """One vote beside unsure ones decides; unsure alone is contested and has no posterior."""
    votes = {1: cast(CAT, UNSURE, UNSURE), 2: cast(UNSURE), 3: cast(DOG, by=[2])}
    found = resolve_question(policy, votes, answers=[CAT, DOG])
    assert (found[1].outcome, found[1].class_id, found[1].votes) == (RESOLVED, 1, 3)
    assert found[1].agreement == pytest.approx(2 / 3)
    assert found[2] == Resolution(CONTESTED, None, 1, 1.0, None)
    assert resolve_question(policy, {2: cast(UNSURE)})[2] == Resolution(CONTESTED, None, 1, 1.0)


@pytest.mark.parametrize("policy", [Weighted(), DawidSkene()])
def test_what_is_no_class_wins_as_a_class_does(policy: Policy) -> None:
    """A mask that is none of these, or no mask, is ignored; a tie is contested."""
    votes = {1: cast(NONE, NONE, CAT), 2: cast(BAD, BAD, BAD)}
    found = resolve_question(policy, votes, answers=[CAT, DOG, NONE, BAD])
    assert [r.outcome for r in found.values()] == [IGNORED, IGNORED]
    assert all(r.posterior is not None and 0 < r.posterior <= 1 for r in found.values())
    tied = resolve_question(policy, {1: cast(CAT, DOG), 2: cast(DOG, CAT)}, answers=[CAT, DOG])
    assert [r.outcome for r in tied.values()] == [CONTESTED, CONTESTED]


def weigh_plainly(
    votes: Sequence[CastVote], answers: Sequence[Vote], gold: dict[int, GoldScore]
) -> dict[Vote, float]:
    """Multiply the probabilities of all votes, answer by answer, under the one-coin model."""
    likely = {}
    for true in answers:
        product = 1.0
        for who, vote, _ in votes:
            score = gold.get(who, GoldScore(0, 0))
            p = (4 + score.right) / (5 + score.total)
            product *= p if vote == true else (1 - p) / (len(answers) - 1)
        likely[true] = product
    return {answer: product / sum(likely.values()) for answer, product in likely.items()}


@quick
@given(
    st.lists(st.sampled_from([CAT, DOG, NONE, BAD]), min_size=1, max_size=5),
    st.dictionaries(st.integers(1, 5), st.sampled_from([(0, 9), (3, 9), (9, 9), (40, 50)])),
)
def test_weights_are_the_products_of_probabilities(
    given_: list[Vote], gold: dict[int, tuple[int, int]]
) -> None:
    """The posterior is Bayes' rule on even odds with each annotator's accuracy; the most probable answer wins."""
    answers, scores = [CAT, DOG, NONE, BAD], {who: GoldScore(*s) for who, s in gold.items()}
    expected = weigh_plainly(cast(*given_), answers, scores)
    best = max(expected.values())
    winners = [answer for answer, p in expected.items() if p > best - 1e-9]
    found = resolve_question(Weighted(), {7: cast(*given_)}, answers=answers, gold=scores)[7]
    assert found.posterior == pytest.approx(best)
    if len(winners) > 1 or best < 0.5 - 1e-9 or winners[0] not in given_:
        assert found.outcome is CONTESTED
    else:
        assert found.class_id == winners[0].class_id
        assert found.outcome is (RESOLVED if winners[0].outcome is Outcome.CLASS else IGNORED)


def test_one_who_is_known_to_be_good_outvotes_two_who_are_not() -> None:
    """Weights turn the majority over where gold says so; without gold they are the majority."""
    gold = {1: GoldScore(50, 50), 2: GoldScore(12, 20), 3: GoldScore(12, 20)}
    votes = {1: cast(CAT, DOG, DOG)}
    answers = [CAT, DOG, NONE, BAD]
    found = resolve_question(Weighted(), votes, answers=answers, gold=gold)[1]
    assert (found.class_id, found.agreement) == (CAT.class_id, pytest.approx(2 / 3))
    assert resolve_question(Weighted(), votes, answers=answers)[1].class_id == DOG.class_id


def test_a_posterior_under_the_least_is_contested() -> None:
    """Two votes of three have 0.91 among four answers under the prior: enough for 0.9, not for 0.95."""
    votes = {1: cast(CAT, CAT, DOG)}
    for least, outcome in ((0.9, RESOLVED), (0.95, CONTESTED)):
        found = resolve_question(Weighted(least), votes, answers=[CAT, DOG, NONE, BAD])[1]
        assert found.outcome is outcome
        assert found.posterior == pytest.approx(144 / 158)


def test_a_vote_without_known_answers_leaves_room_for_another() -> None:
    """Where a single answer is known at all, the posterior of one vote is the prior accuracy."""
    assert resolve_question(Weighted(), {1: cast(CAT)})[1].posterior == pytest.approx(0.8)


def test_an_answer_that_nobody_gave_never_wins() -> None:
    """Where gold says that a vote is probably wrong, the mask is contested: what it is instead is for people to say."""
    gold = {1: GoldScore(0, 50)}
    votes = {1: cast(CAT), 2: cast(CAT, DOG)}
    found = resolve_question(Weighted(), votes, answers=[CAT, DOG], gold=gold)
    assert (found[1].outcome, found[2].class_id) == (CONTESTED, DOG.class_id)
    assert found[1].posterior == pytest.approx(51 / 55)


def test_dawid_skene_learns_who_errs() -> None:
    """Two who agree with each other on many masks outvote, on one, a third who agrees with nobody."""
    rng = random.Random(0)
    answers = [CAT, DOG, Vote(Outcome.CLASS, 3), Vote(Outcome.CLASS, 4)]
    votes = {}
    for mask in range(100):
        true = rng.choice(answers)
        votes[mask] = cast(true, true, rng.choice(answers), rng.choice(answers))
    votes[100] = cast(CAT, DOG, DOG, by=[1, 3, 4])
    found = resolve_question(DawidSkene(), votes)
    assert found[100].class_id == CAT.class_id
    assert all(found[mask].class_id == votes[mask][0].vote.class_id for mask in range(100))
    assert all(r.posterior is not None and 0.5 <= r.posterior <= 1 for r in found.values())


def test_dawid_skene_learns_from_masks_under_the_quorum() -> None:
    """All votes tell of their annotators, though masks with too few of them stay open."""
    votes = {mask: cast(CAT, DOG, DOG, by=[1, 3, 4]) for mask in (1,)}
    votes |= {10 + n: cast(CAT, CAT, by=[1, 2]) for n in range(40)}
    votes |= {100 + n: cast(DOG, DOG, by=[1, 2]) for n in range(40)}
    votes |= {200 + n: cast(CAT, DOG, by=[2, 3 + n % 2]) for n in range(40)}
    votes |= {300 + n: cast(DOG, CAT, by=[2, 3 + n % 2]) for n in range(40)}
    assert resolve_question(DawidSkene(quorum=3), votes).keys() == {1}
    assert resolve_question(DawidSkene(quorum=3), votes)[1].class_id == CAT.class_id


# --- simulated annotators ---------------------------------------------------------------------------


def draw_cast(
    accuracies: Sequence[float], *, masks: int, seed: int
) -> tuple[dict[int, int], dict[int, list[CastVote]], dict[int, GoldScore]]:
    """Draw the true class of each mask, a vote of everybody on it, and scores on 40 gold masks."""
    rng = random.Random(seed)
    truth = {mask: rng.randrange(4) for mask in range(masks)}
    votes = {
        mask: cast(
            *(
                Vote(Outcome.CLASS, true if rng.random() < p else (true + rng.randrange(1, 4)) % 4)
                for p in accuracies
            )
        )
        for mask, true in truth.items()
    }
    gold = {
        who: GoldScore(sum(rng.random() < p for _ in range(40)), 40)
        for who, p in enumerate(accuracies, start=1)
    }
    return truth, votes, gold


def test_weighing_votes_beats_counting_them() -> None:
    """With annotators of 95, 80 and 60 % more masks are resolved rightly than by majority, by gold and without."""
    truth, votes, gold = draw_cast([0.95, 0.8, 0.6], masks=600, seed=1)
    answers = [*(Vote(Outcome.CLASS, k) for k in range(4)), NONE, BAD]
    right = {}
    for policy in (Majority(), Weighted(), DawidSkene()):
        found = resolve_question(policy, votes, answers=answers, gold=gold)
        right[type(policy)] = sum(found[m].class_id == true for m, true in truth.items()) / 600
    assert right[Weighted] > right[Majority] + 0.02
    assert right[DawidSkene] > right[Majority] + 0.01


@pytest.mark.parametrize("policy", [Weighted(), DawidSkene()])
def test_posteriors_are_about_as_often_right_as_they_say(policy: Policy) -> None:
    """The mean posterior of resolved masks is the share of them that are right, within three points."""
    truth, votes, gold = draw_cast([0.9, 0.8, 0.8, 0.7], masks=600, seed=2)
    answers = [Vote(Outcome.CLASS, k) for k in range(4)]
    found = resolve_question(policy, votes, answers=answers, gold=gold)
    resolved = {mask: r for mask, r in found.items() if r.outcome is RESOLVED}
    right = sum(r.class_id == truth[mask] for mask, r in resolved.items()) / len(resolved)
    claimed = sum(r.posterior or 0 for r in resolved.values()) / len(resolved)
    assert claimed == pytest.approx(right, abs=0.03)


# --- the grid, and gold as known truths ---------------------------------------------------------------


def test_votes_of_the_grid_weigh_by_the_gold_of_the_grid() -> None:
    """Who is careful alone and careless in the grid outvotes another alone, and not in the grid."""
    answers = [CAT, DOG, NONE, BAD]
    gold = {1: GoldScore(60, 60), 2: GoldScore(35, 40)}
    for in_grid, winner in ((False, CAT), (True, DOG)):
        votes = {1: [CastVote(1, CAT, in_grid), CastVote(2, DOG)]}
        found = resolve_question(
            Weighted(), votes, answers=answers, gold=gold, grid_gold={1: GoldScore(20, 40)}
        )
        assert found[1].class_id == winner.class_id


def two_who_differ(masks: int) -> dict[int, list[CastVote]]:
    """Return the votes of two who differ on every third mask; nothing in them tells who is right."""
    kinds = [CAT, DOG]
    return {
        mask: cast(kinds[mask % 2], kinds[(mask + (mask % 3 == 0)) % 2]) for mask in range(masks)
    }


def test_known_truths_tell_who_errs() -> None:
    """With gold as known truths the one who was right on it is believed; without the option nothing changes."""
    votes = two_who_differ(120)
    unaware = frozenset({1, 2})
    truths = {mask: KnownTruth(votes[mask][0].vote, unaware) for mask in range(36)}
    without = resolve_question(DawidSkene(), votes, truths=truths)
    assert without == resolve_question(DawidSkene(), votes)
    assert without[60].outcome is CONTESTED
    found = resolve_question(DawidSkene(gold=True), votes, truths=truths)
    assert {found[mask].class_id for mask in range(36, 120, 6)} == {CAT.class_id}
    assert all(found[mask].class_id == votes[mask][0].vote.class_id for mask in range(120))
    assert found[0].posterior == 1


def test_votes_that_made_a_mask_gold_are_no_answers_to_it() -> None:
    """Who was never shown a mask as gold is not measured by it: truths without unaware annotators change nothing."""
    votes = two_who_differ(60)
    truths = {mask: KnownTruth(votes[mask][0].vote, frozenset()) for mask in range(30)}
    assert resolve_question(DawidSkene(gold=True), votes, truths=truths) == resolve_question(
        DawidSkene(), votes
    )


def test_a_known_answer_that_nobody_gave_is_contested() -> None:
    """Gold says what a mask is; where no vote says so the mask is left to an adjudicator."""
    votes = two_who_differ(30)
    truths = {0: KnownTruth(BAD, frozenset({1, 2})), 1: KnownTruth(DOG, frozenset({1}))}
    found = resolve_question(DawidSkene(gold=True), votes, truths=truths)
    assert found[0] == Resolution(CONTESTED, None, 2, 0.5, 1.0)
    assert found[1].class_id == DOG.class_id


def test_nothing_to_resolve() -> None:
    """A question without votes has no resolutions, under any policy."""
    for policy in (Majority(), Weighted(), DawidSkene(gold=True)):
        assert resolve_question(policy, {}) == {}
