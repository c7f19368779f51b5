"""From votes to resolutions: case by case, against a plain count, and under every policy."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mseg_curate.core.accuracy import GoldScore
from mseg_curate.core.consensus import (
    CastVote,
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
    resolve_question,
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
        ("dawid_skene(quorum=0)", "quorum of a policy: expected 1 or more votes, found 0"),
    ],
)
def test_texts_that_are_no_policy_are_refused(text: str, message: str) -> None:
    """The error says what was expected and what was found."""
    with pytest.raises(InputError, match=re.escape(message)):
        parse_policy(text)


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
        for who, vote in votes:
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


@pytest.mark.parametrize(
    ("decided", "outcome"),
    [(CAT, RESOLVED), (NONE, IGNORED), (BAD, IGNORED), (UNSURE, CONTESTED)],
)
def test_an_adjudicator_has_the_last_word(decided: Vote, outcome: ResolutionOutcome) -> None:
    """The adjudicator's answer stands whatever the votes say; unsure leaves the mask contested."""
    found = resolve_adjudicated(decided, votes=[DOG, DOG, CAT])
    assert found == Resolution(outcome, decided.class_id, 3, 2 / 3)
    assert resolve_adjudicated(decided, votes=[]) == Resolution(outcome, decided.class_id, 0, 0.0)


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
