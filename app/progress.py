"""How far a task and a person in it are, for the status line of a pane: counted now and then."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from app.remembered import Lately
from mseg_curate import review
from mseg_curate.store import Store

__all__ = ["COUNTS_S", "progress_lately"]

PROGRESS_S = 2.0
COUNTS_S = 60.0
"""How long annotators see the same counts: fresh ones would tell gold from other masks."""

_progresses: Lately[tuple[Path, int, str], dict[str, object]] = Lately(1000)
_counts: Lately[tuple[Path, str], review.TaskCounts] = Lately(1000)


def progress_lately(store: Store, person_id: int, *, task: str, now: float) -> dict[str, object]:
    """Return a person's progress on a task: their own share counted every PROGRESS_S seconds, the task's seldom."""
    return _progresses.find(
        (store.path, person_id, task),
        lambda: _count(store, person_id, task, now=now),
        good_for_s=PROGRESS_S,
    )


def _count(store: Store, person_id: int, task: str, *, now: float) -> dict[str, object]:
    # Fresher counts of the task would tell gold from other masks.
    counts = _counts.find(
        (store.path, task), lambda: review.count_task(store, task), good_for_s=COUNTS_S
    )
    fresh = asdict(review.progress_of(store, person_id, task=task, now=now, counts=counts))
    # Neither is an annotator's business, and fresh ones would tell gold from other masks.
    del fresh["contested"], fresh["slots_open"]
    return fresh
