"""From the votes on masks to their resolutions: the policies, and what each makes of a question's votes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from mseg_curate.core.accuracy import GoldScore, log_odds_weight
from mseg_curate.core.dawid_skene import fit_dawid_skene
from mseg_curate.core.vote_table import VoteTable
from mseg_curate.errors import InputError

__all__ = [
    "DAWID_SKENE_SMOOTHING",
    "DEFAULT_MIN_AGREEMENT",
    "CastVote",
    "DawidSkene",
    "Majority",
    "Outcome",
    "Policy",
    "Resolution",
    "ResolutionOutcome",
    "Vote",
    "Weighted",
    "majority",
    "parse_policy",
    "resolve_adjudicated",
    "resolve_question",
]

DEFAULT_MIN_AGREEMENT = 0.5
DAWID_SKENE_SMOOTHING = 10.0
"""The smoothing of the policy `dawid_skene`, chosen by measurement: docs/agreement.md."""

# What differs by less is alike: sums of logarithms in another order differ by some 1e-15.
_TIE = 1e-9


class Outcome(StrEnum):
    """What an annotator said of a mask; `withdrawn` takes a decision back and is no vote."""

    CLASS = "class"
    NONE_OF_THESE = "none_of_these"
    UNSURE = "unsure"
    BAD_MASK = "bad_mask"
    WITHDRAWN = "withdrawn"


class ResolutionOutcome(StrEnum):
    """What the votes on a mask come to."""

    RESOLVED = "resolved"
    CONTESTED = "contested"
    IGNORED = "ignored"


@dataclass(frozen=True)
class Vote:
    """One annotator's current decision: the outcome, and the class where the outcome names one."""

    outcome: Outcome
    class_id: int | None = None


class CastVote(NamedTuple):
    """A vote and the id of the annotator whose it is."""

    annotator: int
    vote: Vote


@dataclass(frozen=True)
class Resolution:
    """The outcome of all votes on a mask.

    `agreement` is the share, 0 … 1, of the votes that name the most frequent answer, whatever the policy;
    `posterior` is the probability, 0 … 1, that the policy gives to the most probable answer, None under a
    policy that reckons none.
    """

    outcome: ResolutionOutcome
    class_id: int | None
    votes: int
    agreement: float
    posterior: float | None = None


@dataclass(frozen=True)
class Majority:
    """The most frequent vote wins if it has `min_agreement` of all votes (`majority`)."""

    min_agreement: float = DEFAULT_MIN_AGREEMENT
    quorum: int = 1

    def __post_init__(self) -> None:
        _check_share("min_agreement", self.min_agreement)
        _check_quorum(self.quorum)

    def __str__(self) -> str:
        return f"majority(min_agreement={_number(self.min_agreement)},quorum={self.quorum})"


@dataclass(frozen=True)
class _ByPosterior:
    """A policy that believes the most probable answer if its posterior is `min_posterior` or more."""

    min_posterior: float = 0.5
    quorum: int = 1
    name: ClassVar[str]

    def __post_init__(self) -> None:
        _check_share("min_posterior", self.min_posterior)
        _check_quorum(self.quorum)

    def __str__(self) -> str:
        return f"{self.name}(min_posterior={_number(self.min_posterior)},quorum={self.quorum})"


@dataclass(frozen=True)
class Weighted(_ByPosterior):
    """Votes weigh as much as their annotator's accuracy on evaluation gold says (`accuracy.log_odds_weight`)."""

    name: ClassVar[str] = "weighted"


@dataclass(frozen=True)
class DawidSkene(_ByPosterior):
    """Annotators' confusions and the masks' answers are estimated together (`dawid_skene.fit_dawid_skene`)."""

    name: ClassVar[str] = "dawid_skene"


Policy = Majority | Weighted | DawidSkene

_POLICIES: Mapping[str, tuple[Callable[..., Policy], str]] = {
    "majority": (Majority, "min_agreement"),
    "weighted": (Weighted, "min_posterior"),
    "dawid_skene": (DawidSkene, "min_posterior"),
}


def parse_policy(text: str) -> Policy:
    """Read a policy as `str` writes it; what is left out has its default, and so has a bare name.

    Raises InputError for another name, an unknown or repeated parameter, or a value out of its range.
    """
    found = re.fullmatch(r"\s*(\w+)\s*(?:\((.*)\)\s*)?", text)
    if found is None or found[1] not in _POLICIES:
        raise InputError("policy", expected=", ".join(map(str, _defaults())), found=repr(text))
    make, share = _POLICIES[found[1]]
    values: dict[str, float | int] = {}
    for part in (found[2] or "").split(",") if (found[2] or "").strip() else ():
        name, _, value = (piece.strip() for piece in part.partition("="))
        if name not in (share, "quorum") or name in values:
            raise InputError(
                f"policy {text!r}", expected=f"{share}=… and quorum=…, once each", found=repr(part)
            )
        try:
            values[name] = int(value) if name == "quorum" else float(value)
        except ValueError:
            kind = "a whole number" if name == "quorum" else "a number"
            raise InputError(f"policy {text!r}: {name}", expected=kind, found=repr(value)) from None
    return make(**values)


def _defaults() -> list[Policy]:
    return [make() for make, _ in _POLICIES.values()]


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise InputError(f"{name} of a policy", expected="0 … 1", found=f"{value:g}")


def _check_quorum(quorum: int) -> None:
    if quorum < 1:
        raise InputError("quorum of a policy", expected="1 or more votes", found=str(quorum))


def _number(value: float) -> str:
    """Write a number as short as it can be read back."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def majority(votes: Sequence[Vote], *, min_agreement: float = DEFAULT_MIN_AGREEMENT) -> Resolution:
    """Resolve by the most frequent vote.

    A tie for the first place, a winner with less than `min_agreement` of the votes, and a majority of
    `unsure` are contested. `none_of_these` and `bad_mask` are votes like any other; where they win, the mask
    is ignored. Raises ValueError without votes.
    """
    if not votes:
        raise ValueError("a mask without votes has no resolution")
    ranked = Counter(votes).most_common(2)
    winner, count = ranked[0]
    agreement = count / len(votes)
    tied = len(ranked) == 2 and ranked[1][1] == count
    if tied or agreement < min_agreement or winner.outcome is Outcome.UNSURE:
        return Resolution(ResolutionOutcome.CONTESTED, None, len(votes), agreement)
    return _name_answer(winner, votes=len(votes), agreement=agreement)


def _name_answer(
    answer: Vote, *, votes: int, agreement: float, posterior: float | None = None
) -> Resolution:
    if answer.outcome is Outcome.UNSURE:
        outcome = ResolutionOutcome.CONTESTED
    elif answer.outcome is Outcome.CLASS:
        outcome = ResolutionOutcome.RESOLVED
    else:
        outcome = ResolutionOutcome.IGNORED
    return Resolution(outcome, answer.class_id, votes, agreement, posterior)


def resolve_adjudicated(decided: Vote, *, votes: Sequence[Vote]) -> Resolution:
    """Resolve a mask as its adjudicator decided, whatever the votes say; `unsure` leaves it contested.

    Votes and agreement are those of the others, both 0 where nobody else voted.
    """
    agreement = majority(votes).agreement if votes else 0.0
    return _name_answer(decided, votes=len(votes), agreement=agreement)


def resolve_question(
    policy: Policy,
    votes: Mapping[int, Sequence[CastVote]],
    *,
    answers: Sequence[Vote] = (),
    gold: Mapping[int, GoldScore] | None = None,
) -> dict[int, Resolution]:
    """Resolve the masks of one question, keyed by mask id; masks with fewer votes than the quorum are left out.

    `unsure` counts for the quorum. Under `Majority` it is a vote like any other; under `Weighted` and
    `DawidSkene` it is missing, and a mask of which everybody is unsure is contested. So is one whose most probable
    answer is tied, below `min_posterior`, or in none of its votes. `answers` are the
    possible ones, to which those in the votes are added: the more there are, the less likely do two err alike.
    `gold` is what annotators scored on evaluation gold, read by `Weighted` alone; who has none gets the
    prior. `DawidSkene` learns from the votes of all masks, those under the quorum too.
    """
    ready = {mask: cast for mask, cast in votes.items() if len(cast) >= max(policy.quorum, 1)}
    if isinstance(policy, Majority):
        return {
            mask: majority([vote for _, vote in cast], min_agreement=policy.min_agreement)
            for mask, cast in ready.items()
        }
    named = dict.fromkeys(v for cast in votes.values() for _, v in cast if not _is_unsure(v))
    if isinstance(policy, Weighted):
        listed = list(dict.fromkeys([*answers, *named]))
        posteriors = _weighted_posteriors(ready, listed, gold or {})
    else:
        listed = list(named)
        posteriors = _dawid_skene_posteriors(votes, listed)
    return {
        mask: _by_posterior(
            posteriors.get(mask), [v for _, v in cast], listed, policy.min_posterior
        )
        for mask, cast in ready.items()
    }


def _is_unsure(vote: Vote) -> bool:
    return vote.outcome is Outcome.UNSURE


Posteriors = dict[int, npt.NDArray[np.float64]]


def _tabulate(
    votes: Mapping[int, Sequence[CastVote]], answers: Sequence[Vote]
) -> tuple[VoteTable, list[int], list[int]]:
    """Return the votes that are not unsure as a table, with the masks and the annotators in its order."""
    place = {answer: number for number, answer in enumerate(answers)}
    masks: dict[int, int] = {}
    annotators: dict[int, int] = {}
    rows = [
        (
            masks.setdefault(mask, len(masks)),
            annotators.setdefault(annotator, len(annotators)),
            place[vote],
        )
        for mask, cast in votes.items()
        for annotator, vote in cast
        if not _is_unsure(vote)
    ]
    mask, annotator, answer = np.array(rows, np.int64).reshape(-1, 3).T
    table = VoteTable(
        mask,
        annotator,
        answer,
        masks=len(masks),
        annotators=len(annotators),
        answers=max(len(answers), 1),
    )
    return table, list(masks), list(annotators)


def _weighted_posteriors(
    votes: Mapping[int, Sequence[CastVote]],
    answers: Sequence[Vote],
    gold: Mapping[int, GoldScore],
) -> Posteriors:
    """Add up the log-odds weights of the votes for each answer, all answers being as likely beforehand."""
    table, masks, annotators = _tabulate(votes, answers)
    if not masks:
        return {}
    # With a single answer known there is still the possibility that it is another one.
    known = max(len(answers), 2)
    weights = np.array(
        [log_odds_weight(gold.get(who, GoldScore(0, 0)), answers=known) for who in annotators]
    )
    cells = table.mask * table.answers + table.answer
    size = table.masks * table.answers
    scores = np.bincount(cells, weights[table.annotator], minlength=size)
    scores = scores.reshape(table.masks, table.answers)
    top = np.maximum(scores.max(axis=1, keepdims=True), 0.0)
    unnamed = (known - len(answers)) * np.exp(-top)
    likely = np.exp(scores - top)
    return dict(zip(masks, likely / (likely.sum(axis=1, keepdims=True) + unnamed), strict=True))


def _dawid_skene_posteriors(
    votes: Mapping[int, Sequence[CastVote]], answers: Sequence[Vote]
) -> Posteriors:
    table, masks, _ = _tabulate(votes, answers)
    if not masks:
        return {}
    fit = fit_dawid_skene(table, smoothing=DAWID_SKENE_SMOOTHING)
    return dict(zip(masks, fit.posterior, strict=True))


def _by_posterior(
    posterior: npt.NDArray[np.float64] | None,
    votes: Sequence[Vote],
    answers: Sequence[Vote],
    min_posterior: float,
) -> Resolution:
    """Name the most probable answer, unless it is not probable enough, another is as probable, or nobody gave it."""
    agreement = Counter(votes).most_common(1)[0][1] / len(votes)
    if posterior is None:
        return Resolution(ResolutionOutcome.CONTESTED, None, len(votes), agreement)
    winner = int(posterior.argmax())
    best = float(posterior[winner])
    tied = int((posterior > best - _TIE).sum()) > 1
    if tied or best < min_posterior - _TIE or answers[winner] not in votes:
        return Resolution(ResolutionOutcome.CONTESTED, None, len(votes), agreement, best)
    return _name_answer(answers[winner], votes=len(votes), agreement=agreement, posterior=best)
