"""Dawid and Skene's estimate of annotators' confusions and masks' answers from the votes alone.

Dawid and Skene (1979), Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm, Journal of the
Royal Statistical Society C 28(1), 20-28.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mseg_curate.core.accuracy import PRIOR_RIGHT, PRIOR_WRONG
from mseg_curate.core.vote_table import Integers, VoteTable
from mseg_curate.errors import InputError

__all__ = ["DawidSkeneFit", "estimate_accuracies", "fit_dawid_skene"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DawidSkeneFit:
    """What M masks, A annotators and K answers were estimated to be.

    `posterior` is (M, K): the probability that each answer is the true one of each mask. `confusion` is
    (A, K, K): how often an annotator says the last where the second is true; rows sum to 1. `prior` is (K,):
    how frequent the answers are. `log_likelihood` is that of the votes, in nats. `converged` is False where
    `max_iterations` ended the search.
    """

    posterior: Floats
    confusion: Floats
    prior: Floats
    log_likelihood: float
    iterations: int
    converged: bool

    @property
    def accuracy(self) -> Floats:
        """Return (A,): how often each annotator is right on the question's mix of answers, Σ_k prior_k confusion_kk."""
        diagonal: Floats = np.einsum("akk,k->a", self.confusion, self.prior)
        return diagonal


@dataclass(frozen=True, eq=False)
class _Patterns:
    """Masks with the same votes are one pattern, since they have the same posterior.

    `codes` is (P, longest): annotator × K + answer of each vote, −1 after the last. `weight` is (P,): how many
    masks; `of_mask` is (M,): the pattern of each.
    """

    codes: Integers
    weight: Floats
    of_mask: Integers
    annotators: int
    answers: int

    def pick(self, weight: Floats) -> _Patterns:
        """Return the patterns that have a weight; `of_mask` then speaks of the old ones."""
        kept = weight > 0
        return _Patterns(
            self.codes[kept], weight[kept], self.of_mask, self.annotators, self.answers
        )


@dataclass(frozen=True, eq=False)
class _Estimate:
    posterior: Floats
    confusion: Floats
    prior: Floats
    log_likelihood: float
    iterations: int
    converged: bool


def fit_dawid_skene(
    votes: VoteTable,
    *,
    smoothing: float = 0.0,
    max_iterations: int = 500,
    tolerance: float = 1e-5,
) -> DawidSkeneFit:
    """Estimate by expectation maximisation, from the shares of the votes on (eq. 3.1 of the paper).

    `smoothing` is how many votes are added to every row of a confusion matrix, shared out as those of an annotator who
    is as often right as this one, with the prior of `accuracy`, and errs in favour of all answers alike. It keeps
    annotators of few votes from being taken for infallible, or for hopeless where they saw little. 0 is the paper's
    maximum likelihood; an annotator who saw no mask of an answer then gives any answer alike there. Repeated votes of
    one annotator on a mask count each. The search ends when no confusion and no prior moves by more than `tolerance`.

    It finds a local maximum: where most annotators are wrong more often than right, the labels of the answers may
    come out exchanged. Raises InputError for a mask without votes or a negative smoothing.
    """
    _check_fit(votes, smoothing, max_iterations)
    patterns = _find_patterns(votes)
    found = _maximise(
        patterns,
        _vote_shares(patterns),
        smoothing=smoothing,
        max_iterations=max_iterations,
        tolerance=tolerance,
    )
    return DawidSkeneFit(
        posterior=found.posterior[patterns.of_mask],
        confusion=found.confusion,
        prior=found.prior,
        log_likelihood=found.log_likelihood,
        iterations=found.iterations,
        converged=found.converged,
    )


def estimate_accuracies(
    votes: VoteTable,
    *,
    rng: np.random.Generator,
    resamples: int = 200,
    level: float = 0.95,
    smoothing: float = 0.0,
    max_iterations: int = 300,
    tolerance: float = 1e-4,
) -> Floats:
    """Return (A, 3): each annotator's accuracy and the ends of its interval, as the votes alone tell.

    Accuracy is that of `DawidSkeneFit`. Intervals are percentiles over `resamples` draws of the masks with
    replacement, each fitted anew from the whole's posterior on, to the coarser `tolerance`; without resamples their
    ends are NaN. docs/agreement.md measures how often they hold the truth: less often than stated where three
    annotators are all there are. Raises InputError as `fit_dawid_skene` does, and for a level outside 0 … 1.
    """
    _check_fit(votes, smoothing, max_iterations)
    if resamples < 0 or not 0 < level < 1:
        raise InputError("bootstrap", expected="resamples of 0 or more and a level below 1")
    patterns = _find_patterns(votes)
    whole = _maximise(
        patterns, _vote_shares(patterns), smoothing=smoothing, max_iterations=500, tolerance=1e-5
    )
    drawn = np.empty((resamples, votes.annotators))
    chances = patterns.weight / patterns.weight.sum()
    for row in drawn:
        weight = rng.multinomial(votes.masks, chances).astype(np.float64)
        fit = _maximise(
            patterns.pick(weight),
            whole.posterior[weight > 0],
            smoothing=smoothing,
            max_iterations=max_iterations,
            tolerance=tolerance,
        )
        row[:] = _accuracy(fit)
    if not resamples:
        drawn = np.full((1, votes.annotators), np.nan)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return np.stack([_accuracy(whole), low, high], axis=1)


def _accuracy(fit: _Estimate) -> Floats:
    accuracy: Floats = np.einsum("akk,k->a", fit.confusion, fit.prior)
    return accuracy


def _check_fit(votes: VoteTable, smoothing: float, max_iterations: int) -> None:
    if smoothing < 0 or max_iterations < 1:
        raise InputError(
            "fit of Dawid and Skene", expected="smoothing of 0 or more, 1 iteration or more"
        )
    if not votes.masks or np.bincount(votes.mask, minlength=votes.masks).min() == 0:
        raise InputError("fit of Dawid and Skene", expected="a vote or more on every mask")


def _find_patterns(votes: VoteTable) -> _Patterns:
    code = votes.annotator * votes.answers + votes.answer
    order = np.lexsort((code, votes.mask))
    mask, code = votes.mask[order], code[order]
    sizes = np.bincount(mask, minlength=votes.masks)
    place = np.arange(len(mask)) - (np.cumsum(sizes) - sizes)[mask]
    codes = np.full((votes.masks, int(sizes.max())), -1, np.int64)
    codes[mask, place] = code
    # Rows are sorted column by column: several times faster than np.unique of whole rows.
    by_row = np.lexsort(codes.T[::-1])
    is_new = np.ones(votes.masks, np.bool_)
    is_new[1:] = (codes[by_row[1:]] != codes[by_row[:-1]]).any(axis=1)
    of_mask = np.empty(votes.masks, np.int64)
    of_mask[by_row] = np.cumsum(is_new) - 1
    return _Patterns(
        codes=codes[by_row[is_new]],
        weight=np.bincount(of_mask).astype(np.float64),
        of_mask=of_mask,
        annotators=votes.annotators,
        answers=votes.answers,
    )


def _vote_shares(patterns: _Patterns) -> Floats:
    """Return (P, K): the share of a pattern's votes that each answer has."""
    rows, columns = np.nonzero(patterns.codes >= 0)
    answers = patterns.codes[rows, columns] % patterns.answers
    shape = (len(patterns.codes), patterns.answers)
    counts = np.bincount(rows * shape[1] + answers, minlength=shape[0] * shape[1]).reshape(shape)
    shares: Floats = counts / counts.sum(axis=1, keepdims=True)
    return shares


def _maximise(
    patterns: _Patterns,
    posterior: Floats,
    *,
    smoothing: float,
    max_iterations: int,
    tolerance: float,
) -> _Estimate:
    """Alternate the M step (eqs. 2.3 and 2.4) and the E step (eq. 2.5) from a posterior (P, K) on."""
    sums = _CodeSums(patterns)
    confusion, prior = _estimate_parameters(patterns, posterior, sums, smoothing)
    moved, iterations = np.inf, 0
    while moved > tolerance and iterations < max_iterations:
        posterior, log_likelihood = _estimate_posterior(patterns, confusion, prior)
        before = confusion, prior
        confusion, prior = _estimate_parameters(patterns, posterior, sums, smoothing)
        moved = max(np.abs(confusion - before[0]).max(), np.abs(prior - before[1]).max())
        iterations += 1
    return _Estimate(
        posterior, confusion, prior, log_likelihood, iterations, bool(moved <= tolerance)
    )


class _CodeSums:
    """Sums over the votes of each code: all votes sorted by code once, then one pass an iteration."""

    def __init__(self, patterns: _Patterns) -> None:
        rows, columns = np.nonzero(patterns.codes >= 0)
        codes = patterns.codes[rows, columns]
        order = np.argsort(codes, kind="stable")
        self.rows = rows[order]
        self.present, self.starts = np.unique(codes[order], return_index=True)
        self.weight = patterns.weight[self.rows, np.newaxis]

    def add_up(self, posterior: Floats, size: int) -> Floats:
        """Return (size, K): the weighted posteriors of the votes of each code."""
        sums = np.zeros((size, posterior.shape[1]))
        sums[self.present] = np.add.reduceat(
            posterior[self.rows] * self.weight, self.starts, axis=0
        )
        return sums


def _estimate_parameters(
    patterns: _Patterns, posterior: Floats, sums: _CodeSums, smoothing: float
) -> tuple[Floats, Floats]:
    annotators, answers = patterns.annotators, patterns.answers
    said = sums.add_up(posterior, annotators * answers).reshape(annotators, answers, answers)
    counts = said.transpose(0, 2, 1)
    if smoothing:
        counts = counts + smoothing * _one_coin(counts)
    totals = counts.sum(axis=2, keepdims=True)
    confusion = np.full(counts.shape, 1 / answers)
    np.divide(counts, totals, out=confusion, where=totals > 0)
    prior: Floats = patterns.weight @ posterior / patterns.weight.sum()
    return confusion, prior


def _one_coin(counts: Floats) -> Floats:
    """Return (A, K, K) confusions of annotators who are as often right as in `counts`, whatever is true."""
    answers = counts.shape[1]
    right = np.einsum("akk->a", counts) + PRIOR_RIGHT
    accuracy = right / (counts.sum(axis=(1, 2)) + PRIOR_RIGHT + PRIOR_WRONG)
    wrong = (1 - accuracy) / max(answers - 1, 1)
    coins = np.broadcast_to(wrong[:, np.newaxis, np.newaxis], counts.shape).copy()
    coins[:, np.arange(answers), np.arange(answers)] = accuracy[:, np.newaxis]
    return coins


def _estimate_posterior(
    patterns: _Patterns, confusion: Floats, prior: Floats
) -> tuple[Floats, float]:
    answers = patterns.answers
    with np.errstate(divide="ignore"):
        by_code = np.log(confusion).transpose(0, 2, 1).reshape(-1, answers)
        joint = np.repeat(np.log(prior)[np.newaxis], len(patterns.codes), axis=0)
    # The code −1 of places without a vote finds this last row.
    by_code = np.vstack([by_code, np.zeros(answers)])
    for column in patterns.codes.T:
        joint += by_code[column]
    top = joint.max(axis=1, keepdims=True)
    joint -= top
    np.exp(joint, out=joint)
    total = joint.sum(axis=1, keepdims=True)
    log_likelihood = float(patterns.weight @ (np.log(total) + top)[:, 0])
    joint /= total
    return joint, log_likelihood
