"""Masks with the same votes, taken together: what fits of many masks reckon with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mseg_curate.core.vote_table import Integers, VoteTable
from mseg_curate.errors import InputError

__all__ = ["CodeSums", "VotePatterns", "find_patterns", "log_joint"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class VotePatterns:
    """Masks with the same votes are one pattern, since they have the same posterior.

    `codes` is (P, longest): annotator × K + answer of each vote, −1 after the last. `weight` is (P,): how many
    masks; `of_mask` is (M,): the pattern of each. `truth` is (P,): the answer where it is known, else −1.
    """

    codes: Integers
    weight: Floats
    of_mask: Integers
    truth: Integers
    annotators: int
    answers: int

    def vote_shares(self) -> Floats:
        """Return (P, K): the share of a pattern's votes that each answer has, or the truth where it is known."""
        rows, columns = np.nonzero(self.codes >= 0)
        answers = self.codes[rows, columns] % self.answers
        shape = (len(self.codes), self.answers)
        counts = np.bincount(rows * shape[1] + answers, minlength=shape[0] * shape[1])
        counts = counts.reshape(shape)
        shares: Floats = counts / counts.sum(axis=1, keepdims=True)
        known = np.nonzero(self.truth >= 0)[0]
        shares[known] = 0
        shares[known, self.truth[known]] = 1
        return shares

    def drawn_weight(self) -> Floats:
        """Return (P,): the weights that tell how frequent the answers are, those of masks of unknown truth.

        Gold is chosen by hand, often as many masks of each answer. Where all truths are known all count.
        """
        unknown = np.where(self.truth < 0, self.weight, 0.0)
        return unknown if unknown.any() else self.weight


def find_patterns(votes: VoteTable, truth: Integers | None = None) -> VotePatterns:
    """Group masks by their votes, and by `truth` (M,), which is the known answer of a mask or −1.

    Raises InputError for a mask without votes and for a truth that is no answer.
    """
    if not votes.masks or np.bincount(votes.mask, minlength=votes.masks).min() == 0:
        raise InputError("fit of Dawid and Skene", expected="a vote or more on every mask")
    if truth is None:
        truth = np.full(votes.masks, -1, np.int64)
    if truth.shape != (votes.masks,) or not -1 <= truth.min() <= truth.max() < votes.answers:
        raise InputError(
            "known truths", expected=f"-1 … {votes.answers - 1} for each of {votes.masks} masks"
        )
    code = votes.annotator * votes.answers + votes.answer
    order = np.lexsort((code, votes.mask))
    mask, code = votes.mask[order], code[order]
    sizes = np.bincount(mask, minlength=votes.masks)
    place = np.arange(len(mask)) - (np.cumsum(sizes) - sizes)[mask]
    codes = np.full((votes.masks, 1 + int(sizes.max())), -1, np.int64)
    codes[:, 0] = truth
    codes[mask, 1 + place] = code
    # Rows are sorted column by column: several times faster than np.unique of whole rows.
    by_row = np.lexsort(codes.T[::-1])
    is_new = np.ones(votes.masks, np.bool_)
    is_new[1:] = (codes[by_row[1:]] != codes[by_row[:-1]]).any(axis=1)
    of_mask = np.empty(votes.masks, np.int64)
    of_mask[by_row] = np.cumsum(is_new) - 1
    different = codes[by_row[is_new]]
    return VotePatterns(
        codes=different[:, 1:],
        weight=np.bincount(of_mask).astype(np.float64),
        of_mask=of_mask,
        truth=different[:, 0],
        annotators=votes.annotators,
        answers=votes.answers,
    )


class CodeSums:
    """Sums over the votes of each code: all votes sorted by code once, then one pass an iteration."""

    def __init__(self, patterns: VotePatterns) -> None:
        rows, columns = np.nonzero(patterns.codes >= 0)
        codes = patterns.codes[rows, columns]
        order = np.argsort(codes, kind="stable")
        self._rows = rows[order]
        self._present, self._starts = np.unique(codes[order], return_index=True)
        self._shape = patterns.annotators, patterns.answers

    def confusions(self, of_pattern: Floats) -> Floats:
        """Add up (…, P, K) to (…, A, K, K): of masks where the second is true, how often each says the last."""
        annotators, answers = self._shape
        sums = np.zeros((*of_pattern.shape[:-2], annotators * answers, answers))
        sums[..., self._present, :] = np.add.reduceat(
            of_pattern[..., self._rows, :], self._starts, axis=-2
        )
        by_code = sums.reshape(*sums.shape[:-2], annotators, answers, answers)
        return by_code.swapaxes(-1, -2)


def log_joint(patterns: VotePatterns, confusion: Floats, prior: Floats) -> Floats:
    """Return (…, P, K): the log probability of each answer together with a pattern's votes (eq. 2.5, not normed).

    Where the truth is known it is that of the votes given the truth, and −inf for every other answer. `confusion` is
    (…, A, K, K), `prior` (…, K).
    """
    with np.errstate(divide="ignore"):
        by_code = np.log(confusion).swapaxes(-1, -2)
        by_answer = np.log(prior)[..., np.newaxis, :]
    by_code = by_code.reshape(*prior.shape[:-1], -1, patterns.answers)
    # The code −1 of places without a vote finds this last row.
    none = np.zeros((*prior.shape[:-1], 1, patterns.answers))
    by_code = np.concatenate([by_code, none], axis=-2)
    joint = np.repeat(by_answer, len(patterns.codes), axis=-2)
    known = np.nonzero(patterns.truth >= 0)[0]
    joint[..., known, :] = 0
    for column in patterns.codes.T:
        joint += by_code[..., column, :]
    if known.size:
        given = joint[..., known, patterns.truth[known]]
        joint[..., known, :] = -np.inf
        joint[..., known, patterns.truth[known]] = given
    return joint
