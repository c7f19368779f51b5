"""Dawid and Skene: the paper's own data, the formulas written out, another package's numbers, and simulations."""

from __future__ import annotations

import math
import time

import numpy as np
import numpy.typing as npt
import pytest

from mseg_curate.core.dawid_skene import fit_dawid_skene
from mseg_curate.core.vote_table import VoteTable
from mseg_curate.errors import InputError

Floats = npt.NDArray[np.float64]

# Dawid and Skene (1979), table 1: 45 patients; three answers of the first anaesthetist, one each of four others.
ANAESTHETISTS = """
1111111 3334334 1122122 2223121 2223222 2223322 1222111 3333433 2222223 2322223 4444444 2223343
1111111 2223212 1211111 1112111 1111111 1111111 2222221 2221322 2222222 2222221 2223222 2212222
1111111 1111111 2322222 1111111 1111111 1121121 1111111 3333233 1111111 2222222 2223232 4334343
2212232 2323233 3333432 1111111 1111111 1212111 2322222 1211111 2222222
"""


# Five annotators of accuracies from 0.6 to 0.9 on 120 masks with four answers; '.' is no vote.
RANDOM_VOTES = """
120.0 .00.0 22222 12... .0.01 11.11 1.111 1..00 22220 00.0. 00.0. 1.111 11.3. 3..11 2....
33333 .0.00 211.1 13331 ..000 300.. 323.3 .30.. 0.1.0 3.2.. 11111 .1111 22..2 .0000 2.202
.0.00 .0011 .111. 2.3.3 .0.00 ..21. 0002. 3..22 22.32 .0.00 2.22. 11..1 111.1 22222 3.11.
222.. .22.2 0..0. ....2 0002. 2121. 10000 1.311 01.00 .3222 01... 1.111 000.. 1.... 00000
.000. ..22. .223. ...11 33.33 .300. 20..2 0..0. 33333 111.1 111.2 .333. 22222 02.2. .0.00
.0000 ....0 10000 00000 32.22 .0000 .10.. 111.. 222.2 3.113 2222. 03.0. 01211 ...22 20.0.
.01.. ..0.0 11111 111.1 1.11. 21111 ...11 30000 .1.1. .0000 .11.1 31..1 .222. 00000 .000.
03.1. 03000 .323. 000.0 000.1 323.. 00.00 00.3. 22000 3.011 .03.0 ..111 .3333 1..11 22...
"""


def read_random_votes() -> VoteTable:
    """Return the random votes that another package was asked about."""
    words = RANDOM_VOTES.split()
    rows = [(m, a, int(k)) for m, word in enumerate(words) for a, k in enumerate(word) if k != "."]
    mask, annotator, answer = np.array(rows).T
    return VoteTable(mask, annotator, answer, masks=len(words), annotators=5, answers=4)


def read_anaesthetists() -> VoteTable:
    """Return the data of the paper: 315 votes of 5 observers."""
    rows = [
        (patient, max(0, place - 2), int(answer) - 1)
        for patient, answers in enumerate(ANAESTHETISTS.split())
        for place, answer in enumerate(answers)
    ]
    mask, annotator, answer = np.array(rows).T
    return VoteTable(mask, annotator, answer, masks=45, annotators=5, answers=4)


def draw_confusion(accuracies: list[float], answers: int) -> Floats:
    """Return (A, K, K) confusions of annotators who err in favour of the next answer."""
    confusion = np.zeros((len(accuracies), answers, answers))
    for number, accuracy in enumerate(accuracies):
        for k in range(answers):
            confusion[number, k] = 0.3 * (1 - accuracy) / answers
            confusion[number, k, (k + 1) % answers] += 0.7 * (1 - accuracy)
            confusion[number, k, k] += 1 - confusion[number, k].sum()
    return confusion


def draw_votes(
    seed: int, confusion: Floats, *, masks: int, each: int
) -> tuple[npt.NDArray[np.int64], VoteTable]:
    """Draw the truth of the masks and the votes of `each` random annotators on every one."""
    random = np.random.default_rng(seed)
    annotators, answers, _ = confusion.shape
    truth = random.integers(answers, size=masks)
    who = np.argsort(random.random((masks, annotators)), axis=1)[:, :each]
    steps = confusion[who, truth[:, np.newaxis]].cumsum(axis=2)
    answer = (random.random((masks, each, 1)) > steps).sum(axis=2).clip(max=answers - 1)
    mask = np.repeat(np.arange(masks), each)
    table = VoteTable(
        mask, who.ravel(), answer.ravel(), masks=masks, annotators=annotators, answers=answers
    )
    return truth, table


def fit_plainly(votes: VoteTable, iterations: int) -> tuple[Floats, Floats, Floats, float]:
    """Run EM as the paper writes it: products of error rates, mask by mask; likelihood before the last M step."""
    M, A, K = votes.masks, votes.annotators, votes.answers
    said = np.zeros((M, A, K))
    for m, a, k in zip(votes.mask, votes.annotator, votes.answer, strict=True):
        said[m, a, k] += 1
    posterior = said.sum(axis=1) / said.sum(axis=(1, 2))[:, np.newaxis]
    prior, confusion, likelihood = np.zeros(K), np.zeros((A, K, K)), 0.0
    for step in range(iterations + 1):
        if step:
            joint = np.ones((M, K)) * prior
            for m in range(M):
                for k in range(K):
                    joint[m, k] *= (confusion[:, k] ** said[m]).prod()
            likelihood = float(np.log(joint.sum(axis=1)).sum())
            posterior = joint / joint.sum(axis=1, keepdims=True)
        prior = posterior.mean(axis=0)
        confusion = np.full((A, K, K), 1 / K)
        for a in range(A):
            for k in range(K):
                row = posterior[:, k] @ said[:, a]
                if row.sum() > 0:
                    confusion[a, k] = row / row.sum()
    return posterior, confusion, prior, likelihood


def test_the_data_of_the_paper() -> None:
    """The anaesthetists come out as published: the prior of table 2, and the first observer's error rates."""
    fit = fit_dawid_skene(read_anaesthetists(), tolerance=1e-9)
    assert fit.converged
    assert fit.prior.round(2).tolist() == [0.40, 0.42, 0.11, 0.07]
    assert fit.confusion[0].round(2).tolist() == [
        [0.89, 0.11, 0.00, 0.00],
        [0.07, 0.88, 0.05, 0.00],
        [0.00, 0.34, 0.66, 0.00],
        [0.00, 0.00, 0.56, 0.44],
    ]
    assert fit.posterior.argmax(axis=1)[[0, 1, 10]].tolist() == [0, 3, 3]


def test_another_package_finds_the_same() -> None:
    """Crowd-Kit 1.4.2, run to a tolerance of 1e-12 on random votes, printed this prior and these diagonals."""
    fit = fit_dawid_skene(read_random_votes(), tolerance=1e-10, max_iterations=5000)
    assert fit.prior == pytest.approx([0.4139509374, 0.2932078235, 0.2041598752, 0.0886813639])
    printed = [
        [0.688848, 0.628908, 0.783601, 0.665909],
        [0.776242, 0.992521, 0.869155, 0.724979],
        [0.903299, 0.769780, 1.000000, 0.882208],
        [0.857965, 0.958735, 0.803960, 1.000000],
        [0.902932, 0.917460, 0.930699, 0.857074],
    ]
    assert np.einsum("akk->ak", fit.confusion) == pytest.approx(np.array(printed), abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_the_formulas_of_the_paper_agree(seed: int) -> None:
    """Random votes, some repeated and some annotators rare, come to the same after the same iterations."""
    _, votes = draw_votes(seed, draw_confusion([0.9, 0.8, 0.7, 0.6], 3), masks=30, each=3)
    kept = np.random.default_rng(seed).random(90) < 0.8
    kept[::3] = True
    table = VoteTable(
        *(np.append(c[kept], c[:2]) for c in (votes.mask, votes.annotator, votes.answer)),
        masks=30,
        annotators=5,
        answers=4,
    )
    for iterations in (1, 2, 30):
        fit = fit_dawid_skene(table, max_iterations=iterations, tolerance=0)
        posterior, confusion, prior, likelihood = fit_plainly(table, iterations)
        assert (fit.iterations, fit.converged) == (iterations, False)
        assert fit.posterior == pytest.approx(posterior, abs=1e-9)
        assert fit.confusion == pytest.approx(confusion, abs=1e-9)
        assert fit.prior == pytest.approx(prior, abs=1e-9)
        assert fit.log_likelihood == pytest.approx(likelihood)


def test_the_likelihood_rises() -> None:
    """No iteration makes the votes less likely (Dempster, Laird and Rubin, 1977, theorem 1)."""
    _, votes = draw_votes(0, draw_confusion([0.9, 0.7, 0.6], 4), masks=60, each=3)
    found = [
        fit_dawid_skene(votes, max_iterations=n, tolerance=0).log_likelihood for n in range(1, 40)
    ]
    assert (np.diff(found) > -1e-9).all()


def test_the_order_of_votes_and_masks_does_not_matter() -> None:
    """Shuffled votes come to the same, and masks with the same votes to the same posterior."""
    _, votes = draw_votes(1, draw_confusion([0.9, 0.8, 0.7], 3), masks=200, each=3)
    order = np.random.default_rng(0).permutation(len(votes.mask))
    shuffled = VoteTable(
        votes.mask[order],
        votes.annotator[order],
        votes.answer[order],
        masks=200,
        annotators=3,
        answers=3,
    )
    fit, other = fit_dawid_skene(votes), fit_dawid_skene(shuffled)
    assert fit.posterior == pytest.approx(other.posterior)
    assert len(np.unique(fit.posterior, axis=0)) <= 27


def test_known_confusions_are_recovered() -> None:
    """With many masks the confusions, the accuracies and the truth come out as they were put in."""
    confusion = draw_confusion([0.95, 0.9, 0.8, 0.7, 0.6], 4)
    truth, votes = draw_votes(2, confusion, masks=20_000, each=3)
    fit = fit_dawid_skene(votes, tolerance=1e-6)
    assert np.abs(fit.confusion - confusion).max() < 0.03
    expected = np.einsum("akk->a", confusion) / 4
    assert fit.accuracy == pytest.approx(expected, abs=0.02)
    sure = fit.posterior.max(axis=1)
    assert (fit.posterior.argmax(axis=1) == truth).mean() == pytest.approx(sure.mean(), abs=0.01)


def test_smoothing_keeps_rare_annotators_from_extremes() -> None:
    """An annotator of one vote is infallible without smoothing, and not with it."""
    _, votes = draw_votes(3, draw_confusion([0.8, 0.8, 0.8], 3), masks=50, each=3)
    table = VoteTable(
        np.append(votes.mask, 0),
        np.append(votes.annotator, 3),
        np.append(votes.answer, votes.answer[0]),
        masks=50,
        annotators=4,
        answers=3,
    )
    bare, smooth = fit_dawid_skene(table), fit_dawid_skene(table, smoothing=10.0)
    assert bare.confusion[3].max() == pytest.approx(1, abs=1e-3)
    assert smooth.confusion[3, 0, 0] == pytest.approx(5 / 6, abs=0.01)
    assert smooth.confusion.sum(axis=2) == pytest.approx(np.ones((4, 3)))
    assert smooth.confusion.min() > 0


def test_annotators_without_votes_know_nothing() -> None:
    """Who has not voted, and answers nobody gave, change nothing and have even rows."""
    _, votes = draw_votes(4, draw_confusion([0.9, 0.8, 0.7], 3), masks=40, each=3)
    wider = VoteTable(votes.mask, votes.annotator, votes.answer, masks=40, annotators=4, answers=5)
    fit, wide = fit_dawid_skene(votes), fit_dawid_skene(wider)
    assert wide.posterior[:, :3] == pytest.approx(fit.posterior)
    assert wide.prior[3:].tolist() == [0, 0]
    assert wide.confusion[3] == pytest.approx(np.full((5, 5), 0.2))


def test_hundreds_of_votes_on_a_mask_do_not_underflow() -> None:
    """Products of hundreds of probabilities stay finite, since logarithms are added."""
    random = np.random.default_rng(0)
    answer = (random.random(4000) < 0.45).astype(np.int64)
    votes = VoteTable(
        np.repeat([0, 1], 2000),
        np.tile(np.arange(40), 100),
        answer,
        masks=2,
        annotators=40,
        answers=2,
    )
    fit = fit_dawid_skene(votes)
    assert np.isfinite(fit.posterior).all()
    assert math.isfinite(fit.log_likelihood)
    assert fit.posterior.sum(axis=1) == pytest.approx([1, 1])


def test_two_hundred_thousand_masks_take_seconds() -> None:
    """600,000 votes of 20 annotators on 10 answers."""
    confusion = draw_confusion(np.linspace(0.6, 0.95, 20).tolist(), 10)
    _, votes = draw_votes(0, confusion, masks=200_000, each=3)
    began = time.perf_counter()
    fit = fit_dawid_skene(votes, smoothing=10.0)
    assert fit.converged
    assert time.perf_counter() - began < 20


def test_what_cannot_be_fitted_is_refused() -> None:
    """Masks without votes, negative smoothing and truths that are no answer are errors."""
    votes = read_anaesthetists()
    wider = VoteTable(votes.mask, votes.annotator, votes.answer, masks=46, annotators=5, answers=4)
    with pytest.raises(InputError, match="a vote or more on every mask"):
        fit_dawid_skene(wider)
    with pytest.raises(InputError, match="smoothing of 0 or more"):
        fit_dawid_skene(votes, smoothing=-1)
    with pytest.raises(InputError, match=r"known truths: expected -1 … 3 for each of 45 masks"):
        fit_dawid_skene(votes, truth=np.full(45, 4))


# --- known truths -----------------------------------------------------------------------------------


def test_known_truths_are_certain() -> None:
    """Masks of known truth have it for a posterior; with all known the confusions are plain shares."""
    confusion = draw_confusion([0.9, 0.7, 0.6], 3)
    truth, votes = draw_votes(5, confusion, masks=90, each=3)
    some = np.where(np.arange(90) < 30, truth, -1)
    fit = fit_dawid_skene(votes, truth=some)
    assert (fit.posterior[:30].argmax(axis=1) == truth[:30]).all()
    assert set(np.unique(fit.posterior[:30])) == {0.0, 1.0}
    assert fit.prior == pytest.approx(fit.posterior[30:].mean(axis=0), abs=1e-3)
    every = fit_dawid_skene(votes, truth=truth)
    counts = np.zeros((3, 3, 3))
    np.add.at(counts, (votes.annotator, truth[votes.mask], votes.answer), 1)
    assert every.confusion == pytest.approx(counts / counts.sum(axis=2, keepdims=True))
    assert every.prior == pytest.approx(np.bincount(truth) / 90)
    likelihood = np.log(every.confusion[votes.annotator, truth[votes.mask], votes.answer]).sum()
    assert every.log_likelihood == pytest.approx(likelihood)


def test_known_truths_untie_two_annotators() -> None:
    """Votes of two cannot tell who errs; 40 known truths can."""
    truth, votes = draw_votes(6, draw_confusion([0.95, 0.6], 3), masks=600, each=2)
    blind = fit_dawid_skene(votes, smoothing=10.0)
    told = fit_dawid_skene(votes, truth=np.where(np.arange(600) < 40, truth, -1), smoothing=10.0)
    assert blind.accuracy[0] - blind.accuracy[1] < 0.1
    assert told.accuracy == pytest.approx([0.95, 0.6], abs=0.08)


def test_a_truth_that_only_gold_has() -> None:
    """An answer that is the truth of gold and no vote has no share of the other masks."""
    _, votes = draw_votes(7, draw_confusion([0.9, 0.8, 0.7], 3), masks=40, each=3)
    wider = VoteTable(votes.mask, votes.annotator, votes.answer, masks=40, annotators=3, answers=4)
    truth = np.where(np.arange(40) < 5, 3, -1)
    fit = fit_dawid_skene(wider, truth=truth)
    assert fit.prior[3] == 0
    assert math.isfinite(fit.log_likelihood)
    assert fit.posterior[:5, 3].tolist() == [1] * 5
