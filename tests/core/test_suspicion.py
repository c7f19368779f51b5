"""The order of suspicion: what is found early, what is left out, and a slow twin that does the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import quantiles

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mseg_curate.core.suspicion import (
    NOTHING,
    PRIOR_MASKS,
    VOTE_ACCURACY,
    JudgedMasks,
    order_by_suspicion,
)

Mask = tuple[int, float, tuple[int, ...], int]
"""Suggested class, score, votes, and what a curator decided."""


def judge(masks: Sequence[Mask], *, candidates: int = 3, answers: int = 4) -> JudgedMasks:
    """Put masks into arrays."""
    votes = [(n, vote) for n, (_, _, cast, _) in enumerate(masks) for vote in cast]
    vote_mask, vote_answer = np.array(votes, np.int64).reshape(-1, 2).T
    return JudgedMasks(
        suggested=np.array([mask[0] for mask in masks], np.int64),
        score=np.array([mask[1] for mask in masks], np.float64),
        vote_mask=vote_mask,
        vote_answer=vote_answer,
        adjudicated=np.array([mask[3] for mask in masks], np.int64),
        candidates=candidates,
        answers=answers,
    )


def naive_standing(mask: Mask) -> int:
    """A curator's word, else the answer with more votes than any other."""
    if mask[3] != NOTHING or not mask[2]:
        return mask[3]
    counts = {vote: mask[2].count(vote) for vote in mask[2]}
    most = [vote for vote, count in counts.items() if count == max(counts.values())]
    return most[0] if len(most) == 1 else NOTHING


def naive_cell(masks: Sequence[Mask], number: int) -> tuple[int, int]:
    """The suggested class, and how many of its thirds' edges the score reaches."""
    label = masks[number][0]
    if label == NOTHING:
        return NOTHING, 0
    scores = [filled(mask[1]) for mask in masks if mask[0] == label]
    edges = quantiles(scores, n=3, method="inclusive") if len(scores) > 1 else scores * 2
    return label, sum(filled(masks[number][1]) >= edge - 1e-12 for edge in edges)


def filled(score: float) -> float:
    """A score, one half where the model does not say."""
    return 0.5 if math.isnan(score) else score


def naive_doubt(masks: Sequence[Mask], number: int, *, candidates: int, answers: int) -> float:
    """Count the other masks of the same cell, add the model's own score, multiply by the votes."""
    label, score, votes, _ = masks[number]
    own = naive_standing(masks[number])
    likely = []
    for answer in range(answers):
        alike = sum(
            naive_standing(masks[other]) == answer
            for other in range(len(masks))
            if other != number and naive_cell(masks, other) == naive_cell(masks, number)
        )
        if label == NOTHING:
            share = 1 / answers
        elif answer == label:
            share = filled(score)
        else:
            share = (1 - filled(score)) / (candidates - 1) if answer < candidates else 0.0
        right = VOTE_ACCURACY
        wrong = (1 - VOTE_ACCURACY) / (answers - 1)
        cast = math.prod(right if vote == answer else wrong for vote in votes)
        likely.append((alike + PRIOR_MASKS * (share + 1e-3)) * cast)
    total = sum(likely)
    if own != NOTHING:
        return 1 - likely[own] / total
    return -sum(p / total * math.log(p / total) for p in likely)


@st.composite
def drawn_masks(draw: st.DrawFn) -> list[Mask]:
    """Up to a dozen masks of three candidates and a fourth answer."""
    scores = st.sampled_from([0.2, 0.4, 0.5, 0.75, 0.9, 1.0, math.nan])
    one = st.tuples(
        st.sampled_from([NOTHING, 0, 1, 2]),
        scores,
        st.lists(st.integers(0, 3), max_size=4).map(tuple),
        st.sampled_from([NOTHING, NOTHING, NOTHING, 0, 3]),
    )
    return draw(st.lists(one, min_size=1, max_size=12))


@given(drawn_masks())
def test_it_does_what_the_slow_twin_does(masks: list[Mask]) -> None:
    """Standing answers and doubts equal those that are reckoned mask by mask, without arrays."""
    order = order_by_suspicion(judge(masks))
    assert order.standing.tolist() == [naive_standing(mask) for mask in masks]
    expected = [naive_doubt(masks, n, candidates=3, answers=4) for n in range(len(masks))]
    assert order.doubt == pytest.approx(expected, abs=1e-9)


@given(drawn_masks())
def test_every_mask_that_may_be_asked_about_comes_once(masks: list[Mask]) -> None:
    """Masks with a suggestion come once, in the part that their answer puts them in; adjudicated ones do not."""
    order = order_by_suspicion(judge(masks))
    wanted = {n for n, mask in enumerate(masks) if mask[0] != NOTHING and mask[3] == NOTHING}
    assert sorted(order.masks.tolist()) == sorted(wanted)
    assert all(order.standing[order.undecided] == NOTHING)
    assert all(order.doubt[order.doubted] > 0.5)
    assert all(order.doubt[order.believed] <= 0.5)
    for part in (order.doubted, order.undecided, order.believed):
        assert all(np.diff(order.doubt[part]) <= 0)


def test_a_decision_against_a_sure_model_comes_first() -> None:
    """Among many that agree the one that does not is doubted, the surer suggestion more."""
    masks = [(0, 0.9, (0,), NOTHING), (1, 0.9, (1,), NOTHING)] * 20
    masks += [(0, 0.95, (1,), NOTHING), (0, 0.4, (1,), NOTHING)]
    order = order_by_suspicion(judge(masks))
    assert order.masks[:2].tolist() == [40, 41]
    assert order.doubt[40] > 0.5


def test_what_the_model_always_mistakes_is_not_suspicious() -> None:
    """Where all masks of one class are suggested as another, they are believed more than a lone error."""
    masks = [(0, 0.8, (0,), NOTHING)] * 30 + [(0, 0.8, (1,), NOTHING)] * 30
    masks += [(2, 0.8, (2,), NOTHING)] * 30 + [(2, 0.8, (1,), NOTHING)]
    order = order_by_suspicion(judge(masks))
    assert order.masks[0] == 90
    assert order.doubt[30:60].max() < 0.1 < order.doubt[90]


def test_a_mask_does_not_vouch_for_itself() -> None:
    """The only mask of its kind is judged by the model's score alone."""
    order = order_by_suspicion(judge([(0, 0.99, (1,), NOTHING)]))
    assert order.doubted.tolist() == [0]


def test_more_votes_are_more_certain() -> None:
    """Of two masks decided against their suggestion the one with more votes is doubted less."""
    masks = [(0, 0.9, (0,), NOTHING)] * 9 + [(0, 0.9, (1,), NOTHING), (0, 0.9, (1, 1, 1), NOTHING)]
    order = order_by_suspicion(judge(masks))
    assert order.doubt[10] < order.doubt[9]


def test_without_any_decision_the_least_sure_come_first() -> None:
    """A task that nobody has begun is ordered by the entropy of the suggestions; equals keep their order."""
    scores = (0.9, 0.4, 0.6, 0.4)
    order = order_by_suspicion(judge([(0, score, (), NOTHING) for score in scores]))
    assert order.undecided.tolist() == [1, 3, 2, 0]
    assert order.doubt.max() < math.log(4)


def test_a_tie_is_no_answer() -> None:
    """A mask on which votes are tied is among the undecided, as one without votes is; one more vote decides it."""
    masks = [(0, 0.8, (0, 1), NOTHING), (0, 0.8, (), NOTHING), (0, 0.8, (0, 1, 1), NOTHING)]
    order = order_by_suspicion(judge(masks))
    assert sorted(order.undecided.tolist()) == [0, 1]
    assert order.standing.tolist() == [NOTHING, NOTHING, 1]


def test_a_task_without_masks() -> None:
    """Nothing is in order."""
    assert order_by_suspicion(judge([])).masks.tolist() == []


def test_many_masks_take_blocks() -> None:
    """More masks than a block holds are judged alike in each."""
    count = (1 << 16) + 3
    suggested = np.arange(count) % 2
    votes = suggested.copy()
    votes[[5, count - 1]] = 1 - votes[[5, count - 1]]
    judged = JudgedMasks(
        suggested, np.full(count, 0.9), np.arange(count), votes, np.full(count, NOTHING), 2, 2
    )
    assert sorted(order_by_suspicion(judged).masks[:2].tolist()) == [5, count - 1]
