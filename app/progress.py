"""How far a task and a person in it are, for the status line of a pane: counted now and then."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

from app.remembered import Remembered
from mseg_curate import review
from mseg_curate.store import Store

__all__ = ["COUNTS_S", "progress_lately"]

PROGRESS_S = 2.0
COUNTS_S = 60.0
"""How long annotators see the same counts: fresh ones would tell gold from other masks."""

_progresses: Remembered[tuple[Path, int, str], tuple[float, dict[str, object]]] = Remembered(1000)
_counts: Remembered[tuple[Path, str], tuple[float, review.TaskCounts]] = Remembered(1000)


def progress_lately(store: Store, person_id: int, *, task: str, now: float) -> dict[str, object]:
    """Return a person's progress on a task: their own share counted every PROGRESS_S seconds, the task's seldom."""
    key = (store.path, person_id, task)
    kept = _progresses.find(key)
    if kept is not None and 0 <= time.monotonic() - kept[0] < PROGRESS_S:
        return kept[1]
    counts = _task_counts(store, task)
    fresh = asdict(review.progress_of(store, person_id, task=task, now=now, counts=counts))
    # Neither is an annotator's business, and fresh ones would tell gold from other masks.
    del fresh["contested"], fresh["slots_open"]
    _progresses.keep(key, (time.monotonic(), fresh))
    return fresh


def _task_counts(store: Store, task: str) -> review.TaskCounts:
    """Return how far a task is, as counted within COUNTS_S seconds; fresher counts would tell gold from other masks."""
    key = (store.path, task)
    kept = _counts.find(key)
    if kept is None or not 0 <= time.monotonic() - kept[0] < COUNTS_S:
        kept = (time.monotonic(), review.count_task(store, task))
        _counts.keep(key, kept)
    return kept[1]
