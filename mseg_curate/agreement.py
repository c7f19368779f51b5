"""Measure how far the annotators of a task agree, and how accurate their votes make each of them look."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from mseg_curate.core.accuracy import Share
from mseg_curate.core.accuracy_draws import estimate_accuracies
from mseg_curate.core.agreement import (
    Estimate,
    alpha_of_pair,
    cohen_kappa,
    count_vote_pairs,
    fleiss_kappa,
    krippendorff_alpha,
    tables_of_pairs,
)
from mseg_curate.core.consensus import DAWID_SKENE_SMOOTHING, Outcome, Vote
from mseg_curate.core.resolving import KnownTruth, answered_unawares
from mseg_curate.core.vote_table import Integers, VoteTable
from mseg_curate.store import Connection, Store
from mseg_curate.store.decisions import latest_decision
from mseg_curate.store.tasks import TaskRow, load_task
from mseg_curate.store.votes import TaskVotes, class_names, load_task_truths, load_task_votes

__all__ = [
    "ACCURACY_DRAWS",
    "MOST_PAIRS",
    "AgreementReport",
    "AnnotatorVotes",
    "PairAgreement",
    "measure_agreement",
]

ACCURACY_DRAWS = 1200
"""Draws behind the intervals of accuracies, which are not resamples of the masks."""

MOST_PAIRS = 300
"""So many pairs of annotators, and of answers, are compared: those with the most masks, and most often confused."""

_LEVEL = 0.95
# Two can agree by erring alike as well as by being right: only a third tells which, or gold.
_FEWEST_ANNOTATORS = 3


@dataclass(frozen=True)
class AnnotatorVotes:
    """One annotator's votes on a task, and their accuracy by Dawid and Skene.

    `unsure` of the `votes` name no answer. `accuracy` is NaN where the votes cannot tell: fewer than three annotators
    and no evaluation gold, or no mask that somebody else voted on too.
    """

    name: str
    votes: int
    unsure: int
    accuracy: Share


@dataclass(frozen=True)
class PairAgreement:
    """A coefficient of two annotators, or of two answers."""

    first: str
    second: str
    estimate: Estimate


@dataclass(frozen=True)
class AgreementReport:
    """How the votes on a task agree; `unsure` votes are counted and otherwise left out, as if not given.

    `masks` have a vote that is not unsure, `masks_with_two` at least two. `first_votes` is None where all votes count;
    else masks whose votes disagreed got more votes than others, and coefficients and `confusion` are of the first so
    many votes of each mask. `known` is how many masks of evaluation gold tell of accuracies. `answers` names the rows
    and columns of `confusion`: ordered pairs of votes of two annotators on one mask. `annotator_pairs` hold Cohen's
    kappa, `answer_pairs` Krippendorff's alpha of the two answers alone, MOST_PAIRS of each; `pairs_left_out` counts
    the others. `modes` counts the votes by mode.
    """

    task: str
    as_of_decision: int
    level: float
    resamples: int
    seed: int
    votes: int
    unsure: int
    modes: Mapping[str, int]
    masks: int
    masks_with_two: int
    first_votes: int | None
    known: int
    answers: tuple[str, ...]
    alpha: Estimate
    fleiss: Estimate
    annotators: tuple[AnnotatorVotes, ...]
    annotator_pairs: tuple[PairAgreement, ...]
    answer_pairs: tuple[PairAgreement, ...]
    pairs_left_out: int
    confusion: tuple[tuple[int, ...], ...]


def measure_agreement(
    store: Store, task: str, *, seed: int = 0, resamples: int = 1000
) -> AgreementReport:
    """Measure the agreement of the votes that stand on the masks of a task, gold among them.

    Adjudications are no votes. Intervals come of `resamples` draws of the masks, those of accuracies of
    ACCURACY_DRAWS from their posterior; 0 is no intervals. `seed` makes them repeatable. Raises StoreError where there
    is no such task, InputError for a negative number of resamples.
    """
    with store.reading() as connection:
        row = load_task(connection, task)
        until = latest_decision(connection)[0]
        votes = load_task_votes(connection, row.id, until)
        truths = load_task_truths(connection, row.id, until)
        answers = _name_answers(connection, row, votes, truths)
    rng = np.random.default_rng(seed)
    table, people = _tabulate(votes, answers)
    first_votes = _first_votes(votes, row)
    compared = table if first_votes is None else _tabulate(votes, answers, first=first_votes)[0]
    counts = compared.counts()
    paired = counts[counts.sum(axis=1) >= 2]
    pairs, left_out = tables_of_pairs(compared, most=MOST_PAIRS)
    names = [votes.names[who] for who in people]
    compared_answers, answers_left_out = _compare_answers(
        counts, list(answers.values()), rng, resamples
    )
    return AgreementReport(
        task=task,
        as_of_decision=until,
        level=_LEVEL,
        resamples=resamples,
        seed=seed,
        votes=len(votes.modes),
        unsure=len(votes.modes) - len(table.mask),
        modes=dict(sorted(Counter(votes.modes).items())),
        masks=table.masks,
        masks_with_two=int((np.bincount(table.mask, minlength=1) >= 2).sum()),
        first_votes=first_votes,
        known=len(truths),
        answers=tuple(answers.values()),
        alpha=krippendorff_alpha(counts, rng=rng, resamples=resamples),
        fleiss=_fleiss_where_defined(paired, rng, resamples),
        annotators=_describe_annotators(
            votes, people, _estimate_accuracies(votes, answers, truths, rng, resamples)
        ),
        annotator_pairs=tuple(
            PairAgreement(names[a], names[b], cohen_kappa(pair, rng=rng, resamples=resamples))
            for (a, b), pair in pairs.items()
        ),
        answer_pairs=compared_answers,
        pairs_left_out=left_out + answers_left_out,
        confusion=tuple(tuple(line) for line in count_vote_pairs(counts).tolist()),
    )


def _name_answers(
    connection: Connection, task: TaskRow, votes: TaskVotes, truths: Mapping[int, KnownTruth]
) -> dict[Vote, str]:
    """Return the answers: the task's candidates, other classes in votes and gold, none of these, and bad mask."""
    named = {
        Vote(Outcome.CLASS, label): name
        for label, name in zip(task.candidate_ids, task.candidates, strict=True)
    }
    said = {*votes.ballots.answers, *(truth.answer for truth in truths.values())}
    others = {vote.class_id for vote in said - named.keys() if vote.class_id is not None}
    names = class_names(connection, others)
    named |= {Vote(Outcome.CLASS, label): name for label, name in names.items()}
    return named | {Vote(o): o.value for o in (Outcome.NONE_OF_THESE, Outcome.BAD_MASK)}


def _first_votes(votes: TaskVotes, task: TaskRow) -> int | None:
    """Return how many votes of each mask were asked for whatever they said, None where that is all of them.

    A mask is asked about again where its votes disagree, and then counts more: docs/agreement.md measures the bias.
    """
    if not 2 <= task.redundancy < task.options.max_redundancy or not votes.modes:
        return None
    sizes = np.unique(votes.ballots.mask, return_counts=True)[1]
    enough = sizes[sizes >= task.redundancy]
    return task.redundancy if enough.size and enough.min() != enough.max() else None


def _tabulate(
    votes: TaskVotes, answers: Mapping[Vote, str], *, first: int | None = None
) -> tuple[VoteTable, list[int]]:
    """Return the votes that are not unsure, or those among the first of each mask, and the annotators by number."""
    ballots = votes.ballots
    people = sorted(votes.names, key=lambda who: votes.names[who])
    numbers = np.empty(1 + max(people, default=0), np.int64)
    numbers[people] = np.arange(len(people))
    answer = _places(votes, answers)
    kept = answer >= 0
    if first is not None:
        kept &= _turns(ballots.mask) < first
    masks, mask = np.unique(ballots.mask[kept], return_inverse=True)
    table = VoteTable(
        mask,
        numbers[ballots.annotator[kept]],
        answer[kept],
        masks=len(masks),
        annotators=len(people),
        answers=len(answers),
    )
    return table, people


def _places(votes: TaskVotes, answers: Mapping[Vote, str]) -> Integers:
    """Return of each vote the place of its answer, −1 where it names none."""
    place = {answer: number for number, answer in enumerate(answers)}
    of_each = np.array([place.get(answer, -1) for answer in votes.ballots.answers], np.int64)
    places: Integers = of_each[votes.ballots.answer]
    return places


def _turns(mask: Integers) -> Integers:
    """Return of each vote how many votes its mask had before."""
    order = np.argsort(mask, kind="stable")
    starts = np.nonzero(np.diff(mask[order], prepend=-1))[0]
    sizes = np.diff(starts, append=len(mask))
    turns = np.empty(len(mask), np.int64)
    turns[order] = np.arange(len(mask)) - np.repeat(starts, sizes)
    return turns


def _fleiss_where_defined(paired: Integers, rng: np.random.Generator, resamples: int) -> Estimate:
    sizes = paired.sum(axis=1)
    if len(paired) and sizes.min() != sizes.max():
        nan = math.nan
        why = f"masks have {sizes.min()} … {sizes.max()} votes; alpha takes unequal numbers"
        return Estimate(nan, nan, nan, len(paired), _LEVEL, resamples, undefined=why)
    return fleiss_kappa(paired, rng=rng, resamples=resamples)


def _describe_annotators(
    votes: TaskVotes, people: Sequence[int], accuracies: Mapping[int, Share]
) -> tuple[AnnotatorVotes, ...]:
    ballots = votes.ballots
    given = Counter(ballots.annotator.tolist())
    is_unsure = np.array([v.outcome is Outcome.UNSURE for v in ballots.answers], np.bool_)
    unsure = Counter(ballots.annotator[is_unsure[ballots.answer]].tolist())
    unknown = Share(math.nan, 0.0, 1.0, _LEVEL)
    return tuple(
        AnnotatorVotes(votes.names[who], given[who], unsure[who], accuracies.get(who, unknown))
        for who in people
    )


def _estimate_accuracies(
    votes: TaskVotes,
    answers: Mapping[Vote, str],
    truths: Mapping[int, KnownTruth],
    rng: np.random.Generator,
    resamples: int,
) -> dict[int, Share]:
    """Return the accuracies of those who share masks with others or answered gold, by annotator id."""
    ballots = votes.ballots
    places = _places(votes, answers)
    mask, annotator, said = (
        column[places >= 0] for column in (ballots.mask, ballots.annotator, places)
    )
    unaware = answered_unawares(mask, annotator, truths)
    rows, row = np.unique(2 * mask + unaware, return_inverse=True)
    shared = ((np.bincount(row, minlength=len(rows)) >= 2) | (rows & 1 > 0))[row]
    if not shared.any() or (
        len(np.unique(annotator[shared])) < _FEWEST_ANNOTATORS and not unaware.any()
    ):
        return {}
    who, annotator = np.unique(annotator[shared], return_inverse=True)
    rows, row = np.unique(rows[row][shared], return_inverse=True)
    said = said[shared]
    place = {answer: number for number, answer in enumerate(answers)}
    truth = np.full(len(rows), -1, np.int64)
    for number in np.nonzero(rows & 1)[0].tolist():
        truth[number] = place[truths[int(rows[number]) >> 1].answer]
    named = np.unique(np.concatenate([said, truth[truth >= 0]]))
    estimates = estimate_accuracies(
        VoteTable(
            row,
            annotator,
            np.searchsorted(named, said),
            masks=len(rows),
            annotators=len(who),
            # Where only one answer was given another is still possible.
            answers=max(len(named), 2),
        ),
        rng=rng,
        truth=np.where(truth < 0, -1, np.searchsorted(named, truth)),
        draws=ACCURACY_DRAWS if resamples else 0,
        level=_LEVEL,
        smoothing=DAWID_SKENE_SMOOTHING,
    )
    return {
        int(number): Share(value, low, high, _LEVEL)
        for number, (value, low, high) in zip(who, estimates.tolist(), strict=True)
    }


def _compare_answers(
    counts: Integers, answers: Sequence[str], rng: np.random.Generator, resamples: int
) -> tuple[tuple[PairAgreement, ...], int]:
    """Compare every two answers that were both given, the most often confused ones where there are many."""
    given = np.nonzero(counts.any(axis=0))[0].tolist()
    confused = count_vote_pairs(counts)
    pairs = sorted(combinations(given, 2), key=lambda pair: -int(confused[pair]))
    kept = sorted(pairs[:MOST_PAIRS])
    return tuple(
        PairAgreement(
            answers[a],
            answers[b],
            alpha_of_pair(counts, (a, b), rng=rng, resamples=resamples),
        )
        for a, b in kept
    ), len(pairs) - len(kept)
