"""Which masks to look at first, from what a model takes them for and the votes that stand on them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["NOTHING", "JudgedMasks", "SuspicionOrder", "order_by_suspicion"]

NOTHING = -1
"""In the place of an answer: there is none."""

SCORE_BINS = 3
"""Thirds of the scores of a suggested class are believed apart; other numbers of bins find as much (decision 19)."""
PRIOR_MASKS = 5.0
"""The score of a suggestion counts as much as the answers on so many masks like it."""
VOTE_ACCURACY = 0.9
"""How often a vote is taken to be right; it moves the border of doubt, not the order of masks with a vote each."""

_BLOCK = 1 << 16

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class JudgedMasks:
    """The n masks of a task: what a model suggests for each, and which answers stand on it.

    Answers are numbered 0 … `answers` − 1, the candidates first. `suggested` (n,) is a candidate or NOTHING, `score`
    (n,) its probability among the candidates, 0 … 1, NaN where the model does not say. Vote v gives `vote_answer[v]` to
    mask `vote_mask[v]`; `adjudicated` (n,) is what a curator decided, or NOTHING.
    """

    suggested: Integers
    score: Floats
    vote_mask: Integers
    vote_answer: Integers
    adjudicated: Integers
    candidates: int
    answers: int

    def count_votes(self, start: int, stop: int) -> Floats:
        """Return how many votes each answer has on the masks `start` … `stop` − 1, (stop − start, answers)."""
        inside = (self.vote_mask >= start) & (self.vote_mask < stop)
        cells = (self.vote_mask[inside] - start) * self.answers + self.vote_answer[inside]
        counts = np.bincount(cells, minlength=(stop - start) * self.answers)
        return counts.reshape(stop - start, self.answers).astype(np.float64)


@dataclass(frozen=True, eq=False)
class SuspicionOrder:
    """The numbers of the masks that have a suggestion, the most suspicious first, in the three parts of their order.

    `standing` (n,) is the answer that stands on each mask, or NOTHING; `doubt` (n,) the probability that it is wrong,
    or, where none stands, the entropy in nats of what the mask may be.
    """

    doubted: Integers
    undecided: Integers
    believed: Integers
    standing: Integers
    doubt: Floats

    @property
    def masks(self) -> Integers:
        """All three parts, one after the other."""
        return np.concatenate([self.doubted, self.undecided, self.believed])


def order_by_suspicion(judged: JudgedMasks) -> SuspicionOrder:
    """Order masks by how much another look at them may change.

    First come masks whose standing answer is more probably wrong than right, then those without an answer, then the
    others with one: by the probability that the answer is wrong, or by entropy, the largest first; equals keep their
    order. Adjudicated masks, and those without a suggestion, are left out.

    The model is taken as one more annotator whose confusions are learnt from the answers that stand on the other masks
    (after Dawid and Skene, 1979): what it suggests with a score in the same third is what those masks mostly are, its
    own score counting like PRIOR_MASKS of them. So a model that always mistakes buses for cars makes no bus suspicious.
    """
    standing = _standing(judged)
    doubt = _doubt(judged, standing)
    known = judged.suggested != NOTHING
    asked = known & (judged.adjudicated == NOTHING)
    answered = standing != NOTHING
    wrong = doubt > 0.5
    return SuspicionOrder(
        _largest_first(doubt, asked & answered & wrong),
        _largest_first(doubt, asked & ~answered),
        _largest_first(doubt, asked & answered & ~wrong),
        standing,
        doubt,
    )


def _largest_first(values: Floats, which: npt.NDArray[np.bool_]) -> Integers:
    places = np.flatnonzero(which)
    return places[np.argsort(-values[places], kind="stable")]


def _standing(judged: JudgedMasks) -> Integers:
    """Return what most votes on each mask say, a curator's word before all; NOTHING without votes and in a tie."""
    standing = judged.adjudicated.copy()
    for start in range(0, len(standing), _BLOCK):
        counts = judged.count_votes(start, min(start + _BLOCK, len(standing)))
        most = counts.max(axis=1)
        is_clear = (most > 0) & ((counts == most[:, None]).sum(axis=1) == 1)
        part = standing[start : start + _BLOCK]
        found = is_clear & (part == NOTHING)
        part[found] = counts.argmax(axis=1)[found]
    return standing


def _doubt(judged: JudgedMasks, standing: Integers) -> Floats:
    """Return the probability that each standing answer is wrong, or the entropy where there is none."""
    score = np.where(np.isnan(judged.score), 0.5, judged.score)
    cells = _bin_suggestions(judged.suggested, score)
    alike = np.zeros((int(cells.max(initial=0)) + 1, judged.answers))
    told = standing != NOTHING
    np.add.at(alike, (cells[told], standing[told]), 1)
    weight = math.log(VOTE_ACCURACY * max(judged.answers - 1, 1) / (1 - VOTE_ACCURACY))
    doubt = np.zeros(len(standing))
    for start in range(0, len(standing), _BLOCK):
        block = slice(start, min(start + _BLOCK, len(standing)))
        answer = standing[block]
        likely = alike[cells[block]]
        rows = np.flatnonzero(answer != NOTHING)
        # A mask's own answer must not speak for itself.
        likely[rows, answer[rows]] -= 1
        likely += PRIOR_MASKS * _spread(judged, block, score)
        votes = judged.count_votes(block.start, block.stop)
        likely *= np.exp(weight * (votes - votes.max(axis=1, keepdims=True)))
        likely /= likely.sum(axis=1, keepdims=True)
        spread = -(likely * np.log(np.maximum(likely, 1e-300))).sum(axis=1)
        spread[rows] = 1 - likely[rows, answer[rows]]
        doubt[block] = spread
    return doubt


def _bin_suggestions(suggested: Integers, score: Floats) -> Integers:
    """Return the cell of each mask: its suggested class and the third that its score is in; 0 without a suggestion."""
    cells = np.zeros(len(suggested), np.int64)
    for label in np.unique(suggested[suggested != NOTHING]).tolist():
        places = np.flatnonzero(suggested == label)
        edges = np.quantile(score[places], np.arange(1, SCORE_BINS) / SCORE_BINS)
        cells[places] = 1 + label * SCORE_BINS + np.searchsorted(edges, score[places], side="right")
    return cells


def _spread(judged: JudgedMasks, block: slice, score: Floats) -> Floats:
    """Return what the scores alone say: the suggested candidate has its score, the others share the rest equally."""
    suggested, sure = judged.suggested[block], score[block]
    share = np.zeros((len(suggested), judged.answers))
    share[:, : judged.candidates] = ((1 - sure) / max(judged.candidates - 1, 1))[:, None]
    rows = np.flatnonzero(suggested != NOTHING)
    share[rows, suggested[rows]] = sure[rows]
    share[suggested == NOTHING] = 1 / judged.answers
    # No answer is impossible: a vote for one with a likelihood of 0 would have no probability at all.
    return share + 1e-3
