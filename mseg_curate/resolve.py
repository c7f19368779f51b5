"""Derive the resolutions of all masks from the decisions that stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from mseg_curate.core.consensus import (
    DawidSkene,
    Majority,
    Policy,
    Resolution,
    ResolutionOutcome,
    Vote,
    Weighted,
    parse_policy,
    resolve_adjudicated,
)
from mseg_curate.core.resolving import resolve_question
from mseg_curate.errors import InputError, StoreError
from mseg_curate.store import Connection, Store
from mseg_curate.store.decisions import latest_decision, replace_resolutions
from mseg_curate.store.votes import (
    QuestionVotes,
    load_answers,
    load_gold_scores,
    load_gold_truths,
    load_policies,
    votes_by_question,
)

__all__ = ["ADJUDICATION", "Resolved", "resolve_masks"]

ADJUDICATION = "adjudication"
"""What stands in the place of a policy at masks that an adjudicator decided."""

_DEFAULT = Majority()

Row = tuple[int, str, Resolution]


@dataclass(frozen=True)
class Resolved:
    """How many masks came to each outcome, after which decision, and under which policies.

    `policy` names all that were used, joined by '; '. `open` masks have votes, but fewer than the quorum.
    """

    policy: str
    as_of_decision: int
    resolved: int
    contested: int
    ignored: int
    open: int


def resolve_masks(
    store: Store,
    *,
    policy: Policy | None = None,
    min_agreement: float | None = None,
    as_of: int | None = None,
) -> Resolved:
    """Resolve every mask and put the result in the place of what was there.

    `policy` is used for all masks; None is the policy of the newest task that asks about a mask, and the default
    majority for masks of no task. `min_agreement` is short for a majority of that. What an adjudicator decided goes
    before any policy. Votes are weighed, and annotators' confusions learnt, question by question: among the masks
    of one class of one dataset. `as_of` looks at the decisions up to that id only.

    Raises StoreError if there is no such decision, InputError where policy and min_agreement are both given.
    """
    if min_agreement is not None:
        if policy is not None:
            raise InputError("a policy and min_agreement", expected="one of them")
        policy = Majority(min_agreement=min_agreement)
    found: list[Row] = []
    voted = 0
    # Votes are read and reckoned with before the store is locked: annotators go on deciding meanwhile.
    with store.reading() as connection:
        latest = latest_decision(connection)[0]
        if as_of is not None and not 0 < as_of <= latest:
            raise StoreError(f"no decision {as_of}: expected 1 … {latest}")
        until = latest if as_of is None else as_of
        policies = {} if policy else _policies_of_tasks(connection)
        for question in votes_by_question(connection, until):
            masks = {*question.ballots.mask.tolist(), *question.adjudicated}
            found += _resolve(
                connection, question, masks, policy=policy, policies=policies, as_of=until
            )
            voted += len(masks)
    with store.writing() as connection:
        replace_resolutions(connection, found, as_of_decision=until)
    outcomes = Counter(resolution.outcome for _, _, resolution in found)
    used = "; ".join(sorted({text for _, text, _ in found}))
    return Resolved(
        used or (str(policy) if policy else "none"),
        until,
        outcomes[ResolutionOutcome.RESOLVED],
        outcomes[ResolutionOutcome.CONTESTED],
        outcomes[ResolutionOutcome.IGNORED],
        voted - len(found),
    )


def _policies_of_tasks(connection: Connection) -> dict[int, Policy]:
    texts = load_policies(connection)
    parsed = {text: parse_policy(text) for text in {*texts.values()}}
    return {mask_id: parsed[text] for mask_id, text in texts.items()}


def _resolve(
    connection: Connection,
    question: QuestionVotes,
    masks: Iterable[int],
    *,
    policy: Policy | None,
    policies: Mapping[int, Policy],
    as_of: int,
) -> list[Row]:
    """Resolve one question: the adjudicated masks, and the others policy by policy."""
    others = _votes_on(question, question.adjudicated)
    rows: list[Row] = [
        (mask_id, ADJUDICATION, resolve_adjudicated(decided, votes=others.get(mask_id, ())))
        for mask_id, decided in question.adjudicated.items()
    ]
    under: dict[Policy, set[int]] = {}
    for mask_id in masks:
        if mask_id not in question.adjudicated:
            own = policy or policies.get(mask_id, _DEFAULT)
            under.setdefault(own, set()).add(mask_id)
    for own, mask_ids in under.items():
        weighs = isinstance(own, Weighted)
        learns = isinstance(own, DawidSkene) and own.gold
        resolutions = resolve_question(
            own,
            question.ballots,
            answers=load_answers(connection, question) if weighs else (),
            gold=load_gold_scores(connection, question, as_of) if weighs else None,
            truths=load_gold_truths(connection, question, as_of) if learns else None,
        )
        text = str(own)
        rows += [(i, text, found) for i, found in resolutions.items() if i in mask_ids]
    return rows


def _votes_on(question: QuestionVotes, masks: Mapping[int, Vote]) -> dict[int, list[Vote]]:
    ballots = question.ballots
    votes: dict[int, list[Vote]] = {}
    for place in np.nonzero(np.isin(ballots.mask, list(masks)))[0].tolist():
        answer = ballots.answers[int(ballots.answer[place])]
        votes.setdefault(int(ballots.mask[place]), []).append(answer)
    return votes
