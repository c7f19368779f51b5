"""From the votes on the masks of a question to their resolutions, all masks at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mseg_curate.core.accuracy import GoldScore, log_odds_weight
from mseg_curate.core.consensus import (
    DAWID_SKENE_SMOOTHING,
    DawidSkene,
    Majority,
    Outcome,
    Policy,
    Resolution,
    ResolutionOutcome,
    Vote,
    Weighted,
    name_answer,
)
from mseg_curate.core.dawid_skene import fit_dawid_skene
from mseg_curate.core.vote_table import Integers, VoteTable

__all__ = ["Ballots", "GoldScores", "KnownTruth", "answered_unawares", "resolve_question"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
GoldScores = Mapping[tuple[int, bool], GoldScore]
"""Scores on evaluation gold by annotator and whether they answered in a grid."""

# What differs by less is alike: sums of logarithms in another order differ by some 1e-15.
_TIE = 1e-9


@dataclass(frozen=True, eq=False)
class Ballots:
    """N votes on the masks of one question: `annotator[i]` says of `mask[i]` that it is `answers[answer[i]]`.

    `mask` and `annotator` are (N,) int64 of any ids, `answer` (N,) int64 from 0 on. `is_grid` is (N,) bool: votes
    given to many masks at once. An annotator has one vote on a mask.
    """

    mask: Integers
    annotator: Integers
    answer: Integers
    is_grid: Bools
    answers: tuple[Vote, ...]


@dataclass(frozen=True)
class KnownTruth:
    """The answer of a mask of evaluation gold, and who answered it not knowing that it is gold."""

    answer: Vote
    annotators: frozenset[int]


@dataclass(frozen=True, eq=False)
class _Leaders:
    """Of each of M masks: its votes, the most frequent answer and its votes, and whether another has as many."""

    masks: Integers
    votes: Integers
    winner: Integers
    top: Integers
    tied: Bools
    # mask number × answers + answer of everything that was said.
    said: Integers


def resolve_question(
    policy: Policy,
    ballots: Ballots,
    *,
    answers: Sequence[Vote] = (),
    gold: GoldScores | None = None,
    truths: Mapping[int, KnownTruth] | None = None,
) -> dict[int, Resolution]:
    """Resolve the masks of one question, keyed by mask id; masks with fewer votes than the quorum are left out.

    `unsure` counts for the quorum. Under `Majority` it is a vote like any other; under `Weighted` and
    `DawidSkene` it is missing, and a mask of which everybody is unsure is contested. So is one whose most probable
    answer is tied, below `min_posterior`, or in none of its votes. `answers` are the
    possible ones, to which those in the votes are added: the more there are, the less likely do two err alike.

    A person is one annotator where they decide one mask at a time, and another in the grid. `gold` is what they scored
    on evaluation gold, read by `Weighted` alone; who has none gets the prior. `DawidSkene` learns from the votes of
    all masks, those under the quorum too, and with its option from `truths` by mask id.
    """
    if not len(ballots.mask):
        return {}
    known = truths or {} if isinstance(policy, DawidSkene) and policy.gold else {}
    named = (*ballots.answers, *answers, *(truth.answer for truth in known.values()))
    listed = tuple(dict.fromkeys(named))
    leaders = _find_leaders(ballots, len(listed))
    shares = leaders.top / leaders.votes
    if isinstance(policy, Majority):
        winner, posterior = leaders.winner, np.full(len(shares), np.nan)
        contested = leaders.tied | (shares < policy.min_agreement)
    else:
        if isinstance(policy, Weighted):
            likely = _weigh_votes(ballots, leaders.masks, listed, gold or {})
        else:
            likely = _learn_from_votes(ballots, leaders.masks, listed, known)
        winner = likely.argmax(axis=1)
        posterior = likely.max(axis=1)
        tied = (likely > posterior[:, np.newaxis] - _TIE).sum(axis=1) > 1
        unsaid = ~np.isin(np.arange(len(shares)) * len(listed) + winner, leaders.said)
        contested = tied | unsaid | ~(posterior >= policy.min_posterior - _TIE)
    columns = (leaders.masks, leaders.votes, shares, winner, contested, posterior)
    return {
        mask: _name_resolution(
            listed[first], votes, share, is_contested=is_contested, posterior=best
        )
        for mask, votes, share, first, is_contested, best in zip(
            *(column.tolist() for column in columns), strict=True
        )
        if votes >= policy.quorum
    }


def _name_resolution(
    answer: Vote, votes: int, share: float, *, is_contested: bool, posterior: float
) -> Resolution:
    best = None if math.isnan(posterior) else posterior
    if is_contested:
        return Resolution(ResolutionOutcome.CONTESTED, None, votes, share, best)
    return name_answer(answer, votes=votes, agreement=share, posterior=best)


def _find_leaders(ballots: Ballots, answers: int) -> _Leaders:
    masks, number = np.unique(ballots.mask, return_inverse=True)
    said, times = np.unique(number * answers + ballots.answer, return_counts=True)
    starts = np.nonzero(np.diff(said // answers, prepend=-1))[0]
    top = np.maximum.reduceat(times, starts)
    leads = (times == np.repeat(top, np.diff(starts, append=len(said)))).astype(np.int64)
    leading = np.add.reduceat(leads, starts)
    first = np.nonzero(leads)[0][np.cumsum(leading) - leading]
    return _Leaders(
        masks=masks,
        votes=np.add.reduceat(times, starts),
        winner=said[first] % answers,
        top=top,
        tied=leading > 1,
        said=said,
    )


def _find_certain(ballots: Ballots, listed: Sequence[Vote]) -> tuple[Bools, list[int]]:
    """Return which votes are not unsure, and the places of the answers that are not."""
    places = [place for place, vote in enumerate(listed) if vote.outcome is not Outcome.UNSURE]
    return np.isin(ballots.answer, places), places


def _weigh_votes(
    ballots: Ballots, masks: Integers, listed: Sequence[Vote], gold: GoldScores
) -> Floats:
    """Add up the log-odds weights of the votes for each answer, all answers being as likely beforehand.

    Returns (M, answers): the posterior, NaN where nobody gave an answer.
    """
    certain, places = _find_certain(ballots, listed)
    likely = np.full((len(masks), len(listed)), np.nan)
    if not certain.any():
        return likely
    # With a single answer known there is still the possibility that it is another one.
    known = max(len(places), 2)
    voters, voter = np.unique(2 * ballots.annotator + ballots.is_grid, return_inverse=True)
    nothing = GoldScore(0, 0)
    weights = np.array(
        [
            log_odds_weight(gold.get((who >> 1, bool(who & 1)), nothing), answers=known)
            for who in voters.tolist()
        ]
    )
    number = np.searchsorted(masks, ballots.mask)[certain]
    cells = number * len(listed) + ballots.answer[certain]
    scores = np.bincount(cells, weights[voter[certain]], minlength=likely.size)
    scores = scores.reshape(likely.shape)[:, places]
    top = np.maximum(scores.max(axis=1, keepdims=True), 0.0)
    odds = np.exp(scores - top)
    total = odds.sum(axis=1, keepdims=True) + (known - len(places)) * np.exp(-top)
    likely[:] = 0
    likely[:, places] = odds / total
    likely[np.bincount(number, minlength=len(masks)) == 0] = np.nan
    return likely


def _learn_from_votes(
    ballots: Ballots,
    masks: Integers,
    listed: Sequence[Vote],
    truths: Mapping[int, KnownTruth],
) -> Floats:
    """Fit Dawid and Skene's model; returns (M, answers) as `_weigh_votes` does.

    Of a mask of known truth, only votes of those who did not know count with it. The others' may be why it became
    gold: they count as on any other mask.
    """
    certain, _ = _find_certain(ballots, listed)
    likely = np.full((len(masks), len(listed)), np.nan)
    if not certain.any():
        return likely
    mask, annotator = ballots.mask[certain], ballots.annotator[certain]
    unaware = answered_unawares(mask, annotator, truths)
    voters, voter = np.unique(2 * annotator + ballots.is_grid[certain], return_inverse=True)
    rows, row = np.unique(2 * mask + unaware, return_inverse=True)
    place = {answer: number for number, answer in enumerate(listed)}
    truth = np.full(len(rows), -1, np.int64)
    for number in np.nonzero(rows & 1)[0].tolist():
        truth[number] = place[truths[int(rows[number]) >> 1].answer]
    named = np.unique(np.concatenate([ballots.answer[certain], truth[truth >= 0]]))
    table = VoteTable(
        row,
        voter,
        np.searchsorted(named, ballots.answer[certain]),
        masks=len(rows),
        annotators=len(voters),
        answers=len(named),
    )
    fit = fit_dawid_skene(
        table,
        truth=np.where(truth < 0, -1, np.searchsorted(named, truth)),
        smoothing=DAWID_SKENE_SMOOTHING,
    )
    found = np.searchsorted(masks, rows >> 1)
    likely[found] = 0
    # Where a mask has two rows, that of the known truth comes second.
    likely[np.ix_(found, named)] = fit.posterior
    return likely


def answered_unawares(
    mask: Integers, annotator: Integers, truths: Mapping[int, KnownTruth]
) -> Bools:
    """Return (N,) bool: which votes are answers to a mask of known truth by somebody who was shown it as gold."""
    unaware = np.zeros(len(mask), np.bool_)
    if truths:
        for number in np.nonzero(np.isin(mask, list(truths)))[0].tolist():
            unaware[number] = int(annotator[number]) in truths[int(mask[number])].annotators
    return unaware
