"""Measure how far the annotators of a task agree, and how accurate their votes make each of them look."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from mseg_curate.core.accuracy import Share
from mseg_curate.core.agreement import (
    Estimate,
    alpha_of_pair,
    cohen_kappa,
    count_vote_pairs,
    fleiss_kappa,
    krippendorff_alpha,
    tables_of_pairs,
)
from mseg_curate.core.consensus import DAWID_SKENE_SMOOTHING, Outcome
from mseg_curate.core.dawid_skene import estimate_accuracies
from mseg_curate.core.vote_table import Integers, VoteTable
from mseg_curate.store import Connection, Store
from mseg_curate.store.decisions import latest_decision
from mseg_curate.store.tasks import TaskRow, load_task
from mseg_curate.store.votes import StandingVote, class_names, load_task_votes

__all__ = [
    "ACCURACY_RESAMPLES",
    "AgreementReport",
    "AnnotatorVotes",
    "PairAgreement",
    "measure_agreement",
]

ACCURACY_RESAMPLES = 200
"""Each of them is a fit of its own, so that accuracies get no more resamples than this."""

_LEVEL = 0.95
# Two can agree by erring alike as well as by being right: only a third tells which.
_FEWEST_ANNOTATORS = 3


@dataclass(frozen=True)
class AnnotatorVotes:
    """One annotator's votes on a task, and their accuracy by Dawid and Skene.

    `unsure` of the `votes` name no answer. `accuracy` is NaN where the votes cannot tell: fewer than three annotators,
    or no mask that somebody else voted on too.
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

    `masks` have a vote that is not unsure, `masks_with_two` at least two. `answers` names the rows and columns of
    `confusion`: ordered pairs of votes of two annotators on one mask. `annotator_pairs` hold Cohen's kappa,
    `answer_pairs` Krippendorff's alpha of the two answers alone. `modes` counts the votes by mode.
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
    answers: tuple[str, ...]
    alpha: Estimate
    fleiss: Estimate
    annotators: tuple[AnnotatorVotes, ...]
    annotator_pairs: tuple[PairAgreement, ...]
    answer_pairs: tuple[PairAgreement, ...]
    confusion: tuple[tuple[int, ...], ...]


def measure_agreement(
    store: Store, task: str, *, seed: int = 0, resamples: int = 1000
) -> AgreementReport:
    """Measure the agreement of the votes that stand on the masks of a task, gold among them.

    Adjudications are no votes. Intervals come of `resamples` draws of the masks, those of accuracies of
    ACCURACY_RESAMPLES at most; `seed` makes them repeatable. Raises StoreError where there is no such task, InputError
    for a negative number of resamples.
    """
    with store.reading() as connection:
        row = load_task(connection, task)
        until = latest_decision(connection)[0]
        votes = load_task_votes(connection, row.id, until)
        answers = _name_answers(connection, row, votes)
    rng = np.random.default_rng(seed)
    # Of two decisions of one annotator that both stand, the later one is their vote.
    by_voter = {(v.mask_id, v.annotator): v for v in votes}
    names = sorted({v.annotator for v in votes})
    table = _tabulate(list(by_voter.values()), names, answers)
    counts = table.counts()
    paired = counts[counts.sum(axis=1) >= 2]
    return AgreementReport(
        task=task,
        as_of_decision=until,
        level=_LEVEL,
        resamples=resamples,
        seed=seed,
        votes=len(by_voter),
        unsure=len(by_voter) - len(table.mask),
        modes=dict(sorted(Counter(v.mode for v in by_voter.values()).items())),
        masks=table.masks,
        masks_with_two=len(paired),
        answers=tuple(answers.values()),
        alpha=krippendorff_alpha(counts, rng=rng, resamples=resamples),
        fleiss=_fleiss_where_defined(paired, rng, resamples),
        annotators=_describe_annotators(list(by_voter.values()), table, names, rng, resamples),
        annotator_pairs=tuple(
            PairAgreement(names[a], names[b], cohen_kappa(pair, rng=rng, resamples=resamples))
            for (a, b), pair in tables_of_pairs(table).items()
        ),
        answer_pairs=_compare_answers(counts, list(answers.values()), rng, resamples),
        confusion=tuple(tuple(line) for line in count_vote_pairs(counts).tolist()),
    )


Answer = tuple[str, int | None]


def _name_answers(
    connection: Connection, task: TaskRow, votes: Sequence[StandingVote]
) -> dict[Answer, str]:
    """Return the answers: the task's candidates, other classes in the votes, none of these, and bad mask."""
    named: dict[Answer, str] = {
        (Outcome.CLASS.value, label): name
        for label, name in zip(task.candidate_ids, task.candidates, strict=True)
    }
    others = {v.label_class_id for v in votes if v.label_class_id is not None}
    names = class_names(connection, others - {*task.candidate_ids})
    named |= {(Outcome.CLASS.value, label): name for label, name in names.items()}
    return named | {(o.value, None): o.value for o in (Outcome.NONE_OF_THESE, Outcome.BAD_MASK)}


def _tabulate(
    votes: Sequence[StandingVote], names: Sequence[str], answers: Mapping[Answer, str]
) -> VoteTable:
    certain = [v for v in votes if v.outcome != Outcome.UNSURE]
    who = {name: number for number, name in enumerate(names)}
    what = {answer: number for number, answer in enumerate(answers)}
    masks, mask = np.unique([v.mask_id for v in certain], return_inverse=True)
    return VoteTable(
        mask.astype(np.int64),
        np.array([who[v.annotator] for v in certain], np.int64),
        np.array([what[v.outcome, v.label_class_id] for v in certain], np.int64),
        masks=len(masks),
        annotators=len(names),
        answers=len(answers),
    )


def _fleiss_where_defined(paired: Integers, rng: np.random.Generator, resamples: int) -> Estimate:
    sizes = paired.sum(axis=1)
    if len(paired) and sizes.min() != sizes.max():
        nan = math.nan
        why = f"masks have {sizes.min()} … {sizes.max()} votes; alpha takes unequal numbers"
        return Estimate(nan, nan, nan, len(paired), _LEVEL, resamples, undefined=why)
    return fleiss_kappa(paired, rng=rng, resamples=resamples)


def _describe_annotators(
    votes: Sequence[StandingVote],
    table: VoteTable,
    names: Sequence[str],
    rng: np.random.Generator,
    resamples: int,
) -> tuple[AnnotatorVotes, ...]:
    given = Counter(v.annotator for v in votes)
    unsure = Counter(v.annotator for v in votes if v.outcome == Outcome.UNSURE)
    accuracies = _estimate_accuracies(table, rng, resamples)
    unknown = Share(math.nan, 0.0, 1.0, _LEVEL)
    return tuple(
        AnnotatorVotes(name, given[name], unsure[name], accuracies.get(number, unknown))
        for number, name in enumerate(names)
    )


def _estimate_accuracies(
    table: VoteTable, rng: np.random.Generator, resamples: int
) -> dict[int, Share]:
    """Return the accuracies of those who share masks with others, by annotator number."""
    shared = (np.bincount(table.mask, minlength=table.masks) >= 2)[table.mask]
    who, annotator = np.unique(table.annotator[shared], return_inverse=True)
    masks, mask = np.unique(table.mask[shared], return_inverse=True)
    given, answer = np.unique(table.answer[shared], return_inverse=True)
    if len(who) < _FEWEST_ANNOTATORS:
        return {}
    estimates = estimate_accuracies(
        VoteTable(
            mask,
            annotator,
            answer,
            masks=len(masks),
            annotators=len(who),
            answers=len(given),
        ),
        rng=rng,
        resamples=min(resamples, ACCURACY_RESAMPLES),
        level=_LEVEL,
        smoothing=DAWID_SKENE_SMOOTHING,
    )
    return {
        int(number): Share(value, low, high, _LEVEL)
        for number, (value, low, high) in zip(who, estimates.tolist(), strict=True)
    }


def _compare_answers(
    counts: Integers, answers: Sequence[str], rng: np.random.Generator, resamples: int
) -> tuple[PairAgreement, ...]:
    """Compare every two answers that were both given."""
    given = np.nonzero(counts.any(axis=0))[0].tolist()
    return tuple(
        PairAgreement(
            answers[a],
            answers[b],
            alpha_of_pair(counts, (a, b), rng=rng, resamples=resamples),
        )
        for a, b in combinations(given, 2)
    )
