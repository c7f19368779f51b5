"""Kappa and alpha: published examples, plain formulas, another implementation, intervals, and what has no value."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from mseg_curate.core.agreement import (
    Estimate,
    alpha_of_pair,
    cohen_kappa,
    count_vote_pairs,
    fleiss_kappa,
    krippendorff_alpha,
    tables_of_pairs,
)
from mseg_curate.core.vote_table import VoteTable
from mseg_curate.errors import InputError

Integers = npt.NDArray[np.int64]
MISSING = -1

# Cohen (1968), Weighted kappa, table 1: shares of 200 judgements of two clinicians; kappa without weights 0.492.
COHEN = np.array([[88, 14, 18], [10, 40, 10], [2, 6, 12]])

# Fleiss (1971), table 1: 30 patients, 6 psychiatrists each, 5 diagnoses; kappa 0.430.
FLEISS = """
00060 03003 01401 00006 03030 20400 00402 20310 20040 00006 10050 11040 03300 10050 02031 00501 30012
51000 02040 10203 00006 01050 02013 20040 10041 05010 40002 02040 10500 00006
"""

# Krippendorff (2011), Computing Krippendorff's alpha-reliability, section C: 4 observers, 12 units; alpha 0.743.
KRIPPENDORFF = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")


def rng(seed: int = 0) -> np.random.Generator:
    """Return random numbers of a seed."""
    return np.random.default_rng(seed)


def count(votes: Integers, answers: int) -> Integers:
    """Return (M, K) counts of (M, A) votes, MISSING being none."""
    return np.stack([(votes == k).sum(axis=1) for k in range(answers)], axis=1)


def draw_votes(seed: int, *, masks: int, annotators: int, answers: int, missing: float) -> Integers:
    """Draw votes of annotators who are right seven times of ten."""
    random = rng(seed)
    truth = random.integers(answers, size=(masks, 1))
    noise = random.integers(answers, size=(masks, annotators))
    votes = np.where(random.random((masks, annotators)) < 0.7, truth, noise)
    votes[random.random(votes.shape) < missing] = MISSING
    return votes


def plain_cohen(table: Integers) -> float:
    """Return (p_o − p_e) / (1 − p_e) of a table."""
    shares = table / table.sum()
    expected = sum(shares[k].sum() * shares[:, k].sum() for k in range(len(table)))
    return float((np.trace(shares) - expected) / (1 - expected))


def plain_fleiss(counts: Integers) -> float:
    """Return Fleiss' kappa from the mean agreement of all pairs and the shares of the answers."""
    votes = [[k for k, n in enumerate(row) for _ in range(n)] for row in counts]
    pairs = [list(permutations(row, 2)) for row in votes]
    observed = np.mean([np.mean([a == b for a, b in row]) for row in pairs])
    shares = counts.sum(axis=0) / counts.sum()
    return float((observed - (shares**2).sum()) / (1 - (shares**2).sum()))


def plain_alpha(counts: Integers) -> float:
    """Return 1 − D_o / D_e over the coincidences of all ordered pairs of votes on one mask."""
    coincidences = np.zeros((counts.shape[1],) * 2)
    for row in counts:
        votes = [k for k, n in enumerate(row) for _ in range(n)]
        for a, b in permutations(votes, 2):
            coincidences[a, b] += 1 / (len(votes) - 1)
    marginal = coincidences.sum(axis=0)
    n = marginal.sum()
    observed = (n - np.trace(coincidences)) / n
    expected = (n**2 - (marginal**2).sum()) / (n * (n - 1))
    return float(1 - observed / expected)


# --- published examples -----------------------------------------------------------------------------


def test_the_example_of_cohen() -> None:
    """Cohen's table of two clinicians has kappa 0.492."""
    assert cohen_kappa(COHEN, rng=rng()).value == pytest.approx(0.492, abs=5e-4)


def test_the_example_of_fleiss() -> None:
    """The diagnoses of psychiatric patients have kappa 0.430."""
    counts = np.array([[int(n) for n in row] for row in FLEISS.split()])
    assert counts.sum(axis=0).tolist() == [26, 26, 30, 55, 43]
    assert fleiss_kappa(counts, rng=rng()).value == pytest.approx(0.430, abs=5e-4)


def test_the_example_of_krippendorff() -> None:
    """Four observers with values missing have alpha 0.743; the unit with one value does not count."""
    votes = np.array([[MISSING if c == "." else int(c) for c in row] for row in KRIPPENDORFF]).T
    estimate = krippendorff_alpha(count(votes, 6), rng=rng())
    assert estimate.value == pytest.approx(0.743, abs=5e-4)
    assert estimate.masks == 11


# --- other implementations --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_the_plain_formulas_agree(seed: int) -> None:
    """Random votes have the kappas and the alpha that the formulas of the papers give, pair by pair."""
    full = draw_votes(seed, masks=40, annotators=4, answers=3 + seed % 3, missing=0)
    gaps = draw_votes(seed, masks=40, annotators=4, answers=5, missing=0.4)
    table = np.zeros((5, 5), np.int64)
    np.add.at(table, (full[:, 0], full[:, 1]), 1)
    counts = count(full, 5)
    assert cohen_kappa(table, rng=rng()).value == pytest.approx(plain_cohen(table))
    assert fleiss_kappa(counts, rng=rng()).value == pytest.approx(plain_fleiss(counts))
    for each in (counts, count(gaps, 5)):
        assert krippendorff_alpha(each, rng=rng()).value == pytest.approx(plain_alpha(each))


def ask_nltk(votes: Integers) -> Any:
    """Return the agreement task of NLTK on (M, A) votes."""
    agreement = pytest.importorskip("nltk.metrics.agreement")
    rows = [(f"a{a}", f"m{m}", int(k)) for (m, a), k in np.ndenumerate(votes) if k != MISSING]
    return agreement.AnnotationTask(data=rows)


@pytest.mark.parametrize("seed", range(4))
def test_nltk_agrees(seed: int) -> None:
    """NLTK finds the same kappas, and the same alpha where votes are missing."""
    full = draw_votes(seed, masks=50, annotators=4, answers=4, missing=0)
    gaps = draw_votes(seed, masks=50, annotators=4, answers=4, missing=0.3)
    table = np.zeros((4, 4), np.int64)
    np.add.at(table, (full[:, 0], full[:, 1]), 1)
    counts = count(full, 4)
    task = ask_nltk(full)
    assert cohen_kappa(table, rng=rng()).value == pytest.approx(task.kappa_pairwise("a0", "a1"))
    assert fleiss_kappa(counts, rng=rng()).value == pytest.approx(task.pi())
    assert krippendorff_alpha(counts, rng=rng()).value == pytest.approx(task.alpha())
    alpha = krippendorff_alpha(count(gaps, 4), rng=rng()).value
    assert alpha == pytest.approx(ask_nltk(gaps).alpha())


# --- intervals --------------------------------------------------------------------------------------


def plain_interval(
    masks: Integers, coefficient: Callable[[Integers], float]
) -> tuple[float, float]:
    """Draw masks one by one with replacement, and compute the coefficient anew each time."""
    random = rng(9)
    drawn = [coefficient(masks[random.integers(len(masks), size=len(masks))]) for _ in range(2000)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def test_intervals_are_those_of_masks_drawn_one_by_one() -> None:
    """Drawing counts of equal rows gives the percentiles that drawing the masks themselves gives."""
    counts = count(draw_votes(1, masks=60, annotators=3, answers=3, missing=0.2), 3)
    counts = counts[counts.sum(axis=1) >= 2]
    estimate = krippendorff_alpha(counts, rng=rng(), resamples=4000)

    def alpha(drawn: Integers) -> float:
        return krippendorff_alpha(drawn, rng=rng(), resamples=0).value

    low, high = plain_interval(counts, alpha)
    assert estimate.low == pytest.approx(low, abs=0.02)
    assert estimate.high == pytest.approx(high, abs=0.02)
    assert estimate.low < estimate.value < estimate.high


def test_a_seed_repeats_an_interval_and_a_level_widens_it() -> None:
    """The same random numbers give the same interval; a higher level a wider one; no resamples give none."""
    narrow = cohen_kappa(COHEN, rng=rng(), level=0.5)
    wide = cohen_kappa(COHEN, rng=rng(), level=0.99)
    assert narrow == cohen_kappa(COHEN, rng=rng(), level=0.5)
    assert wide.low < narrow.low < narrow.high < wide.high
    assert math.isnan(cohen_kappa(COHEN, rng=rng(), resamples=0).low)


def test_intervals_hold_the_truth_about_as_often_as_stated() -> None:
    """Of 200 samples of masks from a known population some 95 % of intervals hold its kappa."""
    population = draw_votes(0, masks=200_000, annotators=2, answers=3, missing=0)
    table = np.zeros((3, 3), np.int64)
    np.add.at(table, (population[:, 0], population[:, 1]), 1)
    truth = plain_cohen(table)
    random = rng(4)
    held = 0
    for _ in range(200):
        sample = random.multinomial(150, (table / table.sum()).ravel()).reshape(3, 3)
        estimate = cohen_kappa(sample, rng=random, resamples=300)
        held += estimate.low <= truth <= estimate.high
    assert 0.90 <= held / 200 <= 0.99


def test_a_hundred_thousand_masks_take_seconds() -> None:
    """Five votes on each of 100,000 masks, with 1,000 resamples, every statistic."""
    votes = draw_votes(0, masks=100_000, annotators=5, answers=10, missing=0)
    table = VoteTable(
        np.repeat(np.arange(len(votes)), 5),
        np.tile(np.arange(5), len(votes)),
        votes.ravel(),
        masks=len(votes),
        annotators=5,
        answers=10,
    )
    began = time.perf_counter()
    counts = table.counts()
    fleiss_kappa(counts, rng=rng())
    krippendorff_alpha(counts, rng=rng())
    alpha_of_pair(counts, (0, 1), rng=rng())
    for pair in tables_of_pairs(table)[0].values():
        cohen_kappa(pair, rng=rng())
    assert time.perf_counter() - began < 15


# --- what has no value ------------------------------------------------------------------------------


def assert_undefined(estimate: Estimate, why: str) -> None:
    """Check that all numbers are NaN, and the reason."""
    assert all(map(math.isnan, (estimate.value, estimate.low, estimate.high)))
    assert why in estimate.undefined


def test_one_answer_alone_has_no_coefficient() -> None:
    """Where everybody says the same of everything, chance agreement is 1 and nothing is left to measure."""
    counts = np.array([[3, 0], [3, 0]])
    assert_undefined(cohen_kappa(np.array([[5, 0], [0, 0]]), rng=rng()), "same answer")
    assert_undefined(fleiss_kappa(counts, rng=rng()), "same answer")
    assert_undefined(krippendorff_alpha(counts, rng=rng()), "same answer")


def test_masks_without_two_votes_have_no_coefficient() -> None:
    """Without a mask that two people saw there is no agreement, and it is said so."""
    assert_undefined(
        cohen_kappa(np.zeros((3, 3), np.int64), rng=rng()), "no mask has votes of both"
    )
    assert_undefined(fleiss_kappa(np.zeros((0, 2), np.int64), rng=rng()), "no mask has two votes")
    single = krippendorff_alpha(np.eye(4, dtype=np.int64), rng=rng())
    assert_undefined(single, "no mask has two votes")
    assert single.masks == 0


def test_two_who_never_vary_agree_no_more_than_chance() -> None:
    """Two who each give one answer to all, but not the same, have kappa 0."""
    assert cohen_kappa(np.array([[0, 7], [0, 0]]), rng=rng()).value == 0


def test_resamples_without_a_value_are_counted() -> None:
    """A rare answer is missing from some resamples; they are left out and their number told."""
    estimate = krippendorff_alpha(np.array([[2, 0]] * 5 + [[1, 1]]), rng=rng(), resamples=500)
    assert 100 < estimate.left_out < 250
    assert not math.isnan(estimate.low)


def test_votes_that_do_not_fit_are_refused() -> None:
    """Unequal numbers of votes for Fleiss, tables that are no counts, and repeated votes are errors."""
    with pytest.raises(InputError, match="found 2 … 3; Krippendorff's alpha takes unequal"):
        fleiss_kappa(np.array([[2, 0], [1, 2]]), rng=rng())
    with pytest.raises(InputError, match="expected square"):
        cohen_kappa(np.array([[2, 0, 1], [1, 2, 1]]), rng=rng())
    with pytest.raises(InputError, match="integers of 0 or more"):
        krippendorff_alpha(np.array([[2, -1]]), rng=rng())
    with pytest.raises(InputError, match="level below 1"):
        cohen_kappa(COHEN, rng=rng(), level=1)
    zeros = np.zeros(2, np.int64)
    with pytest.raises(InputError, match="one vote a mask and annotator"):
        tables_of_pairs(VoteTable(zeros, zeros, zeros, masks=1, annotators=1, answers=1))
    with pytest.raises(InputError, match=r"column answer: expected 0 … 1, found 0 … 2"):
        VoteTable(zeros, zeros, np.array([0, 2]), masks=1, annotators=1, answers=2)
    with pytest.raises(InputError, match="column annotator"):
        VoteTable(zeros, zeros[:1], zeros, masks=1, annotators=1, answers=1)


# --- pairs of answers, of annotators, and of votes ---------------------------------------------------


def test_the_alpha_of_two_answers_takes_all_others_as_missing() -> None:
    """Masks of which two votes name one of the pair count, and nothing else does."""
    votes = draw_votes(2, masks=80, annotators=4, answers=4, missing=0.2)
    kept = np.where(np.isin(votes, (1, 3)), votes, MISSING)
    estimate = alpha_of_pair(count(votes, 4), (1, 3), rng=rng())
    assert estimate.value == pytest.approx(plain_alpha(count(kept, 4)))
    assert estimate.masks == ((kept != MISSING).sum(axis=1) >= 2).sum()
    swapped = alpha_of_pair(count(votes, 4), (3, 1), rng=rng())
    assert swapped.value == pytest.approx(estimate.value)


def test_pairs_of_votes_are_counted_both_ways() -> None:
    """The confusion among annotators holds every ordered pair of votes on a mask once."""
    votes = draw_votes(3, masks=30, annotators=4, answers=3, missing=0.3)
    expected = np.zeros((3, 3), np.int64)
    for row in votes:
        for a, b in permutations(row[row != MISSING], 2):
            expected[a, b] += 1
    assert count_vote_pairs(count(votes, 3)).tolist() == expected.tolist()


def test_every_two_annotators_have_a_table() -> None:
    """The tables hold the votes of two annotators on the masks both voted on, and only pairs that met."""
    votes = draw_votes(5, masks=40, annotators=5, answers=3, missing=0.5)
    votes[:, 4] = np.where((votes[:, :4] == MISSING).all(axis=1), 0, MISSING)
    mask, annotator = np.nonzero(votes != MISSING)
    order = rng().permutation(len(mask))
    table = VoteTable(
        mask[order],
        annotator[order],
        votes[mask, annotator][order],
        masks=40,
        annotators=5,
        answers=3,
    )
    tables, left_out = tables_of_pairs(table)
    assert left_out == 0
    assert list(tables) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    for (a, b), found in tables.items():
        both = (votes[:, a] != MISSING) & (votes[:, b] != MISSING)
        expected = np.zeros((3, 3), np.int64)
        np.add.at(expected, (votes[both, a], votes[both, b]), 1)
        assert found.tolist() == expected.tolist()
    assert table.counts().tolist() == count(votes, 3).tolist()


def test_only_the_pairs_who_share_the_most_masks_are_compared() -> None:
    """Of many pairs as many as asked for are returned, with how many are left out."""
    mask = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    annotator = np.array([0, 1, 2, 1, 2, 1, 2, 3])
    table = VoteTable(mask, annotator, np.zeros(8, np.int64), masks=3, annotators=4, answers=1)
    tables, left_out = tables_of_pairs(table, most=1)
    assert ({pair: int(t.sum()) for pair, t in tables.items()}, left_out) == ({(1, 2): 3}, 4)
    empty = VoteTable(mask[:0], mask[:0], mask[:0], masks=0, annotators=0, answers=1)
    assert tables_of_pairs(empty) == ({}, 0)


def test_a_thousand_annotators_take_seconds() -> None:
    """Half a million pairs of annotators are counted at once, and the most kept."""
    random = np.random.default_rng(0)
    who = np.argsort(random.random((500, 1000)), axis=1)[:, :50]
    table = VoteTable(
        np.repeat(np.arange(500), 50),
        who.ravel(),
        random.integers(5, size=who.size),
        masks=500,
        annotators=1000,
        answers=5,
    )
    began = time.perf_counter()
    tables, left_out = tables_of_pairs(table, most=300)
    assert (len(tables), left_out > 300_000) == (300, True)
    assert time.perf_counter() - began < 10
