"""Derive the resolutions of all masks from the decisions that stand."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from mseg_curate.core.consensus import DEFAULT_MIN_AGREEMENT, ResolutionOutcome, majority
from mseg_curate.errors import StoreError
from mseg_curate.store import Store
from mseg_curate.store.decisions import latest_decision, replace_resolutions, votes_by_mask

__all__ = ["Resolved", "resolve_masks"]


@dataclass(frozen=True)
class Resolved:
    """How many masks came to each outcome, after which decision, and under which policy."""

    policy: str
    as_of_decision: int
    resolved: int
    contested: int
    ignored: int


def resolve_masks(
    store: Store, *, min_agreement: float = DEFAULT_MIN_AGREEMENT, as_of: int | None = None
) -> Resolved:
    """Resolve every mask by majority (`core.consensus.majority`) and put the result in the old one's place.

    `as_of` looks at the decisions up to that id only. Raises StoreError if there is no such decision.
    """
    policy = f"majority(min_agreement={min_agreement:g})"
    with store.writing() as connection:
        latest = latest_decision(connection)[0]
        if as_of is not None and not 0 < as_of <= latest:
            raise StoreError(f"no decision {as_of}: expected 1 … {latest}")
        until = latest if as_of is None else as_of
        found = [
            (mask_id, majority(votes, min_agreement=min_agreement))
            for mask_id, votes in votes_by_mask(connection, until)
        ]
        replace_resolutions(connection, found, policy=policy, as_of_decision=until)
    outcomes = Counter(resolution.outcome for _, resolution in found)
    return Resolved(
        policy,
        until,
        outcomes[ResolutionOutcome.RESOLVED],
        outcomes[ResolutionOutcome.CONTESTED],
        outcomes[ResolutionOutcome.IGNORED],
    )
