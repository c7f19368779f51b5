"""The votes on a mask, the policies that read them, and the resolution they come to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from mseg_curate.errors import InputError

__all__ = [
    "DAWID_SKENE_SMOOTHING",
    "DEFAULT_MIN_AGREEMENT",
    "DawidSkene",
    "Majority",
    "Outcome",
    "Policy",
    "Resolution",
    "ResolutionOutcome",
    "Vote",
    "Weighted",
    "majority",
    "name_answer",
    "parse_policy",
    "resolve_adjudicated",
]

DEFAULT_MIN_AGREEMENT = 0.5
DAWID_SKENE_SMOOTHING = 10.0
"""The smoothing of the policy `dawid_skene`, chosen by measurement: docs/agreement.md."""


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
    """Annotators' confusions and the masks' answers are estimated together (`dawid_skene.fit_dawid_skene`).

    With `gold`, what annotators answered on evaluation gold tells of their confusions with the truth known.
    """

    gold: bool = False
    name: ClassVar[str] = "dawid_skene"

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text[:-1]},gold=yes)" if self.gold else text


Policy = Majority | Weighted | DawidSkene

_POLICIES: Mapping[str, tuple[Callable[..., Policy], tuple[str, ...]]] = {
    "majority": (Majority, ("min_agreement", "quorum")),
    "weighted": (Weighted, ("min_posterior", "quorum")),
    "dawid_skene": (DawidSkene, ("min_posterior", "quorum", "gold")),
}
_YES_NO = {"yes": True, "no": False}


def parse_policy(text: str) -> Policy:
    """Read a policy as `str` writes it; what is left out has its default, and so has a bare name.

    Raises InputError for another name, an unknown or repeated parameter, or a value out of its range.
    """
    found = re.fullmatch(r"\s*(\w+)\s*(?:\((.*)\)\s*)?", text)
    if found is None or found[1] not in _POLICIES:
        raise InputError("policy", expected=", ".join(map(str, _defaults())), found=repr(text))
    make, parameters = _POLICIES[found[1]]
    values: dict[str, float | int | bool] = {}
    for part in (found[2] or "").split(",") if (found[2] or "").strip() else ():
        name, _, value = (piece.strip() for piece in part.partition("="))
        if name not in parameters or name in values:
            *others, last = (f"{parameter}=…" for parameter in parameters)
            raise InputError(
                f"policy {text!r}",
                expected=f"{', '.join(others)} and {last}, once each",
                found=repr(part),
            )
        try:
            values[name] = _read_value(name, value)
        except (ValueError, KeyError):
            kind = {"quorum": "a whole number", "gold": "yes or no"}.get(name, "a number")
            raise InputError(f"policy {text!r}: {name}", expected=kind, found=repr(value)) from None
    return make(**values)


def _read_value(name: str, value: str) -> float | int | bool:
    if name == "gold":
        return _YES_NO[value]
    return int(value) if name == "quorum" else float(value)


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
    return name_answer(winner, votes=len(votes), agreement=agreement)


def name_answer(
    answer: Vote, *, votes: int, agreement: float, posterior: float | None = None
) -> Resolution:
    """Return the resolution to an answer that won: ignored where it is no class, contested where it is unsure."""
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
    return name_answer(decided, votes=len(votes), agreement=agreement)
