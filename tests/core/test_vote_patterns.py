"""Masks with the same votes taken together come to what they come to one by one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from mseg_curate.core.vote_patterns import CodeSums, find_patterns, log_joint
from mseg_curate.core.vote_table import VoteTable
from mseg_curate.errors import InputError

MASKS, PEOPLE, ANSWERS = 40, 3, 4


@pytest.fixture
def votes() -> VoteTable:
    """Random votes, one to three on each mask."""
    random = np.random.default_rng(3)
    said = random.random((MASKS, PEOPLE)) < 0.6
    said[:, 0] |= ~said.any(axis=1)
    mask, annotator = np.nonzero(said)
    answer = random.integers(ANSWERS, size=len(mask))
    return VoteTable(mask, annotator, answer, masks=MASKS, annotators=PEOPLE, answers=ANSWERS)


@pytest.fixture
def truth() -> npt.NDArray[np.int64]:
    """The truth of every fourth mask."""
    masks = np.arange(MASKS)
    return np.where(masks % 4 == 0, masks % ANSWERS, -1)


def test_masks_share_a_pattern_if_votes_and_truth_are_the_same(
    votes: VoteTable, truth: npt.NDArray[np.int64]
) -> None:
    """Two masks have one pattern exactly where everybody said the same of them and as much is known."""
    patterns = find_patterns(votes, truth)
    said = [
        (truth[m], {*zip(votes.annotator[votes.mask == m], votes.answer[votes.mask == m], strict=True)})
        for m in range(MASKS)
    ]  # fmt: skip
    for one in range(MASKS):
        for other in range(one):
            same = patterns.of_mask[one] == patterns.of_mask[other]
            assert same == (said[one] == said[other])
    assert patterns.weight.sum() == MASKS
    assert patterns.drawn_weight().sum() == MASKS * 3 / 4


def test_sums_and_probabilities_are_those_of_plain_loops(
    votes: VoteTable, truth: npt.NDArray[np.int64]
) -> None:
    """Counts by code and log probabilities equal those added up vote by vote, chains side by side too."""
    random = np.random.default_rng(0)
    patterns = find_patterns(votes, truth)
    confusion = random.dirichlet(np.ones(ANSWERS), size=(2, PEOPLE, ANSWERS))
    prior = random.dirichlet(np.ones(ANSWERS), size=2)
    of_pattern = random.random((2, len(patterns.weight), ANSWERS))
    counts = np.zeros((2, PEOPLE, ANSWERS, ANSWERS))
    joint = np.repeat(np.log(prior)[:, np.newaxis], MASKS, axis=1)
    joint[:, truth >= 0] = 0
    seen = [int(np.nonzero(patterns.of_mask == p)[0][0]) for p in range(len(patterns.weight))]
    for m, a, k in zip(votes.mask, votes.annotator, votes.answer, strict=True):
        joint[:, m] += np.log(confusion[:, a, :, k])
        if m in seen:
            counts[:, a, :, k] += of_pattern[:, seen.index(m)]
    for m in np.nonzero(truth >= 0)[0]:
        joint[:, m, np.arange(ANSWERS) != truth[m]] = -np.inf
    assert log_joint(patterns, confusion, prior)[:, patterns.of_mask] == pytest.approx(joint)
    assert CodeSums(patterns).confusions(of_pattern) == pytest.approx(counts)


def test_shares_of_votes(votes: VoteTable, truth: npt.NDArray[np.int64]) -> None:
    """The shares of a mask's votes add up to 1; a known truth has all."""
    patterns = find_patterns(votes, truth)
    shares = patterns.vote_shares()[patterns.of_mask]
    counts = votes.counts()
    expected = counts / counts.sum(axis=1, keepdims=True)
    expected[truth >= 0] = np.eye(ANSWERS)[truth[truth >= 0]]
    assert shares == pytest.approx(expected)


def test_where_all_truths_are_known_all_masks_tell_how_frequent_answers_are(
    votes: VoteTable,
) -> None:
    """Without a mask of unknown truth the weights of all count."""
    patterns = find_patterns(votes, np.zeros(MASKS, np.int64))
    assert patterns.drawn_weight().tolist() == patterns.weight.tolist()


@pytest.mark.parametrize("wrong", [np.zeros(3, np.int64), np.full(MASKS, 4), np.full(MASKS, -2)])
def test_truths_that_are_none_are_refused(votes: VoteTable, wrong: npt.NDArray[np.int64]) -> None:
    """There is one truth a mask, an answer or −1."""
    with pytest.raises(InputError, match="known truths: expected -1 … 3 for each of 40 masks"):
        find_patterns(votes, wrong)
