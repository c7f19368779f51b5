"""Accuracies drawn from the posterior: do they hold the truth as often as stated, and what of odd tables?"""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
import pytest

from mseg_curate.core import accuracy_draws
from mseg_curate.core.accuracy_draws import estimate_accuracies
from mseg_curate.core.dawid_skene import fit_dawid_skene
from mseg_curate.core.vote_table import VoteTable
from mseg_curate.errors import InputError

Integers = npt.NDArray[np.int64]


def draw_votes(
    accuracies: list[float], *, answers: int, masks: int, seed: int, each: int = 0
) -> tuple[Integers, VoteTable]:
    """Draw the truth of the masks, and votes of all or of `each` annotators who err in favour of all answers alike."""
    random = np.random.default_rng(seed)
    people = len(accuracies)
    who = np.argsort(random.random((masks, people)), axis=1)[:, : each or people]
    truth = random.integers(answers, size=masks)
    wrong = (truth[:, np.newaxis] + random.integers(1, answers, size=who.shape)) % answers
    right = random.random(who.shape) < np.array(accuracies)[who]
    said = np.where(right, truth[:, np.newaxis], wrong)
    table = VoteTable(
        np.repeat(np.arange(masks), who.shape[1]),
        who.ravel(),
        said.ravel(),
        masks=masks,
        annotators=people,
        answers=answers,
    )
    return truth, table


def estimate(votes: VoteTable, seed: int = 0, draws: int = 400) -> npt.NDArray[np.float64]:
    """Estimate the accuracies as `task agreement` does, with fewer draws."""
    rng = np.random.default_rng(seed)
    return estimate_accuracies(votes, rng=rng, draws=draws, smoothing=10.0)


@pytest.mark.parametrize(
    ("accuracies", "answers", "masks", "each"),
    [
        ([0.95, 0.8, 0.6], 4, 500, 3),
        ([0.95, 0.9, 0.8, 0.7, 0.6], 4, 300, 3),
        ([0.9, 0.85, 0.8], 2, 300, 3),
        ([0.9, 0.9, 0.8, 0.05], 4, 300, 3),
    ],
)
def test_intervals_hold_known_accuracies_about_as_often_as_stated(
    accuracies: list[float], answers: int, masks: int, each: int
) -> None:
    """Of 24 draws of annotators nine of ten intervals or more hold the accuracy that was put in."""
    held = []
    for seed in range(24):
        _, votes = draw_votes(accuracies, answers=answers, masks=masks, seed=seed, each=each)
        _, low, high = estimate(votes, seed).T
        held.append((low <= accuracies) & (accuracies <= high))
    assert np.mean(held) >= 0.9
    assert np.mean(held, axis=0).min() >= 0.75


def test_values_lie_in_their_intervals() -> None:
    """0 <= low <= value <= high <= 1, and more masks give narrower intervals."""
    widths = []
    for masks in (30, 1000):
        _, votes = draw_votes([0.99, 0.8, 0.55], answers=3, masks=masks, seed=1)
        value, low, high = estimate(votes).T
        assert (low >= 0).all()
        assert (low <= value).all()
        assert (value <= high).all()
        assert (high <= 1).all()
        widths.append((high - low).mean())
    assert widths[1] < widths[0] / 3


def test_a_seed_repeats_the_draws() -> None:
    """The same generator gives the same numbers."""
    _, votes = draw_votes([0.9, 0.8, 0.6], answers=3, masks=60, seed=2)
    assert estimate(votes, 5).tolist() == estimate(votes, 5).tolist()
    assert estimate(votes, 5).tolist() != estimate(votes, 6).tolist()


def test_without_draws_there_is_no_interval() -> None:
    """Accuracies alone are those of the fit; the ends are NaN."""
    _, votes = draw_votes([0.9, 0.8, 0.6], answers=3, masks=60, seed=3)
    found = estimate(votes, draws=0)
    assert found[:, 0] == pytest.approx(fit_dawid_skene(votes, smoothing=10.0).accuracy)
    assert np.isnan(found[:, 1:]).all()


def test_known_truths_measure_two_annotators() -> None:
    """Two annotators alone leave wide intervals; with 60 known truths they hold the accuracies and are narrow."""
    accuracies = [0.95, 0.6]
    truth, votes = draw_votes(accuracies, answers=3, masks=600, seed=4)
    alone = estimate(votes)
    known = np.where(np.arange(600) < 60, truth, -1)
    told = estimate_accuracies(
        votes, rng=np.random.default_rng(0), truth=known, draws=400, smoothing=10.0
    )
    assert (alone[:, 2] - alone[:, 1]).min() > 2 * (told[:, 2] - told[:, 1]).max()
    assert (told[:, 1] <= accuracies).all()
    assert (accuracies <= told[:, 2]).all()


@pytest.mark.parametrize(
    ("masks", "people", "answers"),
    [(1, 3, 2), (1, 1, 2), (5, 1, 3), (40, 3, 1), (3, 300, 2), (200, 2, 6)],
)
def test_odd_tables_give_numbers(masks: int, people: int, answers: int) -> None:
    """One mask, one annotator, one answer, hundreds of people: always shares from 0 to 1."""
    random = np.random.default_rng(0)
    votes = VoteTable(
        np.repeat(np.arange(masks), people),
        np.tile(np.arange(people), masks),
        random.integers(answers, size=masks * people),
        masks=masks,
        annotators=people,
        answers=answers,
    )
    found = estimate(votes, draws=100)
    assert found.shape == (people, 3)
    assert ((found >= 0) & (found <= 1)).all()


def test_all_alike_is_not_known_for_certain() -> None:
    """Where everybody gave one answer to everything, the interval tells how few masks there were."""
    zeros = np.zeros(60, np.int64)
    votes = VoteTable(
        np.repeat(np.arange(20), 3), np.tile(np.arange(3), 20), zeros, masks=20, annotators=3, answers=2
    )  # fmt: skip
    value, low, high = estimate(votes).T
    assert (value > 0.85).all()
    assert (low < 0.97).all()
    assert (high > 0.97).all()


def test_many_masks_get_fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large tables are given as many draws as there is time for, and 100 at least."""
    monkeypatch.setattr(accuracy_draws, "_MOST_CELLS", 1000)
    accuracies = np.linspace(0.6, 0.95, 10)
    _, votes = draw_votes(accuracies.tolist(), answers=8, masks=20_000, seed=0, each=3)
    began = time.perf_counter()
    value, low, high = estimate(votes, draws=100_000).T
    assert time.perf_counter() - began < 30
    assert value == pytest.approx(accuracies, abs=0.03)
    assert ((low <= accuracies) & (accuracies <= high)).mean() >= 0.7


def test_what_cannot_be_drawn_is_refused() -> None:
    """A negative number of draws and an impossible level are errors."""
    _, votes = draw_votes([0.9, 0.8], answers=2, masks=5, seed=0)
    for draws, level in ((-1, 0.95), (10, 0.0), (10, 1.5)):
        with pytest.raises(InputError, match="0 draws or more and a level between 0 and 1"):
            estimate_accuracies(votes, rng=np.random.default_rng(0), draws=draws, level=level)


def test_a_thousand_annotators_have_intervals() -> None:
    """A thousand people of a few votes each have intervals about as wide as what is assumed of anybody."""
    random = np.random.default_rng(0)
    masks, people = 600, 1000
    truth = random.integers(4, size=masks)
    who = np.argsort(random.random((masks, people)), axis=1)[:, :3]
    said = np.where(random.random((masks, 3)) < 0.85, truth[:, np.newaxis], 0)
    voters, voter = np.unique(who, return_inverse=True)
    votes = VoteTable(
        np.repeat(np.arange(masks), 3),
        voter.ravel(),
        said.ravel(),
        masks=masks,
        annotators=len(voters),
        answers=4,
    )
    began = time.perf_counter()
    value, low, high = estimate(votes, draws=100).T
    assert time.perf_counter() - began < 60
    assert np.median(value) == pytest.approx(0.88, abs=0.1)
    assert np.median(high - low) > 0.3
