"""Dawid and Skene's estimate of annotators' confusions and masks' answers from the votes alone.

Dawid and Skene (1979), Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm, Journal of the
Royal Statistical Society C 28(1), 20-28.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mseg_curate.core.accuracy import PRIOR_RIGHT, PRIOR_WRONG
from mseg_curate.core.vote_patterns import CodeSums, VotePatterns, find_patterns, log_joint
from mseg_curate.core.vote_table import Integers, VoteTable
from mseg_curate.errors import InputError

__all__ = ["DawidSkeneFit", "fit_dawid_skene", "fit_patterns"]

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


def fit_dawid_skene(
    votes: VoteTable,
    *,
    truth: Integers | None = None,
    smoothing: float = 0.0,
    max_iterations: int = 500,
    tolerance: float = 1e-5,
) -> DawidSkeneFit:
    """Estimate by expectation maximisation, from the shares of the votes on (eq. 3.1 of the paper).

    `truth` is (M,) int64: the answer of a mask where it is known, −1 where it is not; a known one is certain
    throughout (eqs. 2.3 and 2.4 with true responses), and does not count for how frequent the answers are, unless all
    are known.
    `smoothing` is how many votes are added to every row of a confusion matrix, shared out as those of an annotator who
    is as often right as this one, with the prior of `accuracy`, and errs in favour of all answers alike. It keeps
    annotators of few votes from being taken for infallible, or for hopeless where they saw little. 0 is the paper's
    maximum likelihood; an annotator who saw no mask of an answer then gives any answer alike there. Repeated votes of
    one annotator on a mask count each. The search ends when no confusion and no prior moves by more than `tolerance`.

    It finds a local maximum: where most annotators are wrong more often than right, the labels of the answers may
    come out exchanged. Raises InputError for a mask without votes, a truth that is no answer, or a negative smoothing.
    """
    return fit_patterns(
        find_patterns(votes, truth),
        smoothing=smoothing,
        max_iterations=max_iterations,
        tolerance=tolerance,
    )


def fit_patterns(
    patterns: VotePatterns,
    *,
    smoothing: float = 0.0,
    max_iterations: int = 500,
    tolerance: float = 1e-5,
) -> DawidSkeneFit:
    """Alternate the M step (eqs. 2.3 and 2.4) and the E step (eq. 2.5), as `fit_dawid_skene` says."""
    if smoothing < 0 or max_iterations < 1:
        raise InputError(
            "fit of Dawid and Skene", expected="smoothing of 0 or more, 1 iteration or more"
        )
    sums = CodeSums(patterns)
    confusion, prior = _estimate_parameters(patterns, patterns.vote_shares(), sums, smoothing)
    moved, iterations = np.inf, 0
    while moved > tolerance and iterations < max_iterations:
        posterior, log_likelihood = _estimate_posterior(patterns, confusion, prior)
        before = confusion, prior
        confusion, prior = _estimate_parameters(patterns, posterior, sums, smoothing)
        moved = max(np.abs(confusion - before[0]).max(), np.abs(prior - before[1]).max())
        iterations += 1
    return DawidSkeneFit(
        posterior=posterior[patterns.of_mask],
        confusion=confusion,
        prior=prior,
        log_likelihood=log_likelihood,
        iterations=iterations,
        converged=bool(moved <= tolerance),
    )


def _estimate_parameters(
    patterns: VotePatterns, posterior: Floats, sums: CodeSums, smoothing: float
) -> tuple[Floats, Floats]:
    counts = sums.confusions(posterior * patterns.weight[:, np.newaxis])
    if smoothing:
        counts = counts + smoothing * _one_coin(counts)
    totals = counts.sum(axis=2, keepdims=True)
    confusion = np.full(counts.shape, 1 / patterns.answers)
    np.divide(counts, totals, out=confusion, where=totals > 0)
    drawn = patterns.drawn_weight()
    prior: Floats = drawn @ posterior / drawn.sum()
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
    patterns: VotePatterns, confusion: Floats, prior: Floats
) -> tuple[Floats, float]:
    joint = log_joint(patterns, confusion, prior)
    top = joint.max(axis=1, keepdims=True)
    joint -= top
    np.exp(joint, out=joint)
    total = joint.sum(axis=1, keepdims=True)
    log_likelihood = float(patterns.weight @ (np.log(total) + top)[:, 0])
    joint /= total
    return joint, log_likelihood
