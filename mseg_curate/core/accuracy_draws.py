"""Annotators' accuracies with intervals, as the votes tell: draws from the posterior of Dawid and Skene's model.

Hierarchical as the models that Paun et al. (2018) compare (Comparing Bayesian Models of Annotation, Transactions of
the ACL 6), but within each annotator, whose rows of confusions share a level; drawn by Gibbs sampling, as Kim and
Ghahramani (2012) do for independent classifiers (Bayesian Classifier Combination, PMLR 22). How often the intervals
hold the truth: docs/agreement.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from mseg_curate.core.dawid_skene import DawidSkeneFit, fit_patterns
from mseg_curate.core.vote_patterns import CodeSums, VotePatterns, find_patterns, log_joint
from mseg_curate.core.vote_table import Integers, VoteTable
from mseg_curate.errors import InputError

__all__ = ["estimate_accuracies"]

Floats = npt.NDArray[np.float64]

# What is assumed of an annotator beforehand is less than where votes are weighed: 1 of 1 right beside an even chance.
# More would pull the intervals of one who is against the truth, or guesses, off it.
_PRIOR_RIGHT, _PRIOR_WRONG = 2.0, 1.0
_CHAINS = 4
_BURN_IN = 60
# So many cells (draw × vote of a pattern × answer) are visited at most, some 10 s, though 100 draws are made of
# anything.
_MOST_CELLS = 150_000_000
_FEWEST_DRAWS = 100
# Chains walk together, as one array, while it has no more than so many cells.
_CELLS_AT_ONCE = 8_000_000
# Gamma draws of tiny shapes underflow; the logarithm of what stands in their place is finite.
_TINY = 1e-300


def estimate_accuracies(
    votes: VoteTable,
    *,
    rng: np.random.Generator,
    truth: Integers | None = None,
    draws: int = 1200,
    level: float = 0.95,
    smoothing: float = 0.0,
) -> Floats:
    """Return (A, 3): each annotator's accuracy and the ends of its interval, as the votes tell.

    Accuracy is that of `DawidSkeneFit`: how often the annotator is right on the question's mix of answers. `truth` is
    as for `fit_dawid_skene`, and `smoothing` that of the fit from which the draws begin. Values are the medians of the
    draws, intervals their percentiles; large tables get fewer than `draws`. Without draws the value is that of the fit
    and the ends are NaN.

    An annotator's row of confusions is drawn from a Dirichlet distribution around the one-coin model: right with
    probability a, else wrong in favour of all alike, as if s votes had told so. a is Beta(2, 1) beforehand, s one of
    3, 10, 30 and 100, and both are learnt from the votes. Raises InputError as `fit_dawid_skene` does, for a
    negative number of draws, and for a level outside 0 … 1.
    """
    if draws < 0 or not 0 < level < 1:
        raise InputError("intervals", expected="0 draws or more and a level between 0 and 1")
    patterns = find_patterns(votes, truth)
    fit = fit_patterns(patterns, smoothing=smoothing)
    if not draws:
        nothing = np.full(votes.annotators, math.nan)
        return np.stack([fit.accuracy, nothing, nothing], axis=1)
    cells = int((patterns.codes >= 0).sum()) * votes.answers
    draws = min(draws, max(_MOST_CELLS // cells, _FEWEST_DRAWS))
    each = -(-draws // _CHAINS)
    together = max(1, min(_CHAINS, _CELLS_AT_ONCE // cells))
    drawn = np.concatenate(
        [
            accuracy
            for begun in range(0, _CHAINS, together)
            for accuracy in _walk(
                patterns, fit, rng, chains=min(together, _CHAINS - begun), draws=each
            )
        ]
    )
    tail = (1 - level) / 2
    low, value, high = np.quantile(drawn, [tail, 0.5, 1 - tail], axis=0)
    return np.stack([value, low, high], axis=1)


def _walk(
    patterns: VotePatterns,
    fit: DawidSkeneFit,
    rng: np.random.Generator,
    *,
    chains: int,
    draws: int,
) -> Iterator[Floats]:
    """Yield the accuracies (C, A) of each sweep after the first, which forget where the chains began."""
    sums = CodeSums(patterns)
    weight = patterns.weight.astype(np.int64)
    shares = patterns.drawn_weight()[:, np.newaxis] > 0
    rows = _RowPrior(patterns.answers)
    confusion = np.repeat(np.maximum(fit.confusion, _TINY)[np.newaxis], chains, axis=0)
    prior = np.repeat(np.maximum(fit.prior, _TINY)[np.newaxis], chains, axis=0)
    for sweep in range(min(_BURN_IN, draws) + draws):
        true = rng.multinomial(weight, _normalise(log_joint(patterns, confusion, prior)))
        counts = sums.confusions(true.astype(np.float64))
        confusion = _draw_dirichlet(counts + rows.draw(confusion, rng), rng)
        prior = _draw_dirichlet(1 + (true * shares).sum(axis=-2), rng)
        if sweep >= min(_BURN_IN, draws):
            yield np.einsum("cakk,ck->ca", confusion, prior)


def _normalise(joint: Floats) -> Floats:
    joint -= joint.max(axis=-1, keepdims=True)
    np.exp(joint, out=joint)
    joint /= joint.sum(axis=-1, keepdims=True)
    return joint


def _draw_dirichlet(shape: Floats, rng: np.random.Generator) -> Floats:
    gammas = rng.standard_gamma(shape) + _TINY
    shares: Floats = gammas / gammas.sum(axis=-1, keepdims=True)
    return np.maximum(shares, _TINY)


class _RowPrior:
    """What rows of confusions are drawn around: pairs (a, s) on a grid, weighed by how well they explain the rows."""

    def __init__(self, answers: int) -> None:
        steps = 40
        right, votes = np.meshgrid((np.arange(steps) + 0.5) / steps, (3.0, 10.0, 30.0, 100.0))
        self._answers = answers
        self._right = (right * votes).ravel()
        self._wrong = ((1 - right) * votes / max(answers - 1, 1)).ravel()
        norm = [
            math.lgamma(yes + (answers - 1) * no)
            - math.lgamma(yes)
            - (answers - 1) * math.lgamma(no)
            for yes, no in zip(self._right, self._wrong, strict=True)
        ]
        self._log_prior = (
            answers * np.array(norm)
            + ((_PRIOR_RIGHT - 1) * np.log(right) + (_PRIOR_WRONG - 1) * np.log(1 - right)).ravel()
        )

    def draw(self, confusion: Floats, rng: np.random.Generator) -> Floats:
        """Draw (C, A, K, K) votes to be added to the counts, given the confusions of the sweep before."""
        logs = np.log(confusion)
        right = np.einsum("cakk->ca", logs)[..., np.newaxis]
        wrong = logs.sum(axis=(-1, -2))[..., np.newaxis] - right
        score = self._log_prior + (self._right - 1) * right + (self._wrong - 1) * wrong
        # The largest of scores with Gumbel noise is a draw from their distribution.
        chosen = (score + rng.gumbel(size=score.shape)).argmax(axis=-1)
        votes = np.repeat(self._wrong[chosen][..., np.newaxis], self._answers, axis=-1)
        votes = np.repeat(votes[..., np.newaxis], self._answers, axis=-1)
        diagonal = np.arange(self._answers)
        votes[..., diagonal, diagonal] = self._right[chosen][..., np.newaxis]
        return votes
