"""What an annotator may look at: the question, their own last decisions, how far they are, and the masks they hold."""

from __future__ import annotations

from mseg_curate.clock import iso_of
from mseg_curate.errors import ReviewError
from mseg_curate.review.items import (
    Candidate,
    LeasedMask,
    Progress,
    Recent,
    TaskCounts,
    TaskQuestion,
)
from mseg_curate.store import Connection, Store, leases, queue, steering
from mseg_curate.store.activity import count_decisions, last_event, pace_per_hour, recent_of
from mseg_curate.store.datasets import load_dataset
from mseg_curate.store.masks import load_mask
from mseg_curate.store.tasks import TaskRow, default_class, examples_of, find_task, list_tasks
from mseg_curate.store.taxonomies import label_class_ids

__all__ = [
    "count_suggested",
    "count_task",
    "example_mask",
    "leased_mask",
    "open_tasks",
    "progress_of",
    "recent_decisions",
    "task_question",
]


def open_tasks(store: Store) -> list[str]:
    """Return the names of the tasks that can be worked on, those of the highest priority first."""
    with store.reading() as connection:
        rows = [task for task in list_tasks(connection) if task.status == "open"]
    return [task.name for task in sorted(rows, key=lambda task: -task.options.priority)]


def task_question(store: Store, task: str) -> TaskQuestion:
    """Return a task as its annotators see it; raises ReviewError (unknown_task)."""
    with store.reading() as connection:
        row = _known_task(connection, task)
        examples = examples_of(connection, row.id)
        default = default_class(connection, row.id)
        names = {label: name for name, label in label_class_ids(connection).items()}
    candidates = tuple(
        Candidate(position, name, row.definitions[position], tuple(examples.get(position, ())))
        for position, name in enumerate(row.candidates)
    )
    return TaskQuestion(
        row.name,
        row.dataset,
        row.source_class,
        names[default] if default is not None else row.candidates[0],
        row.options.instructions,
        row.status,
        row.options.lease_s,
        candidates,
    )


def _known_task(connection: Connection, task: str) -> TaskRow:
    row = find_task(connection, task)
    if row is None:
        raise ReviewError(f"there is no task {task!r}", reason="unknown_task")
    return row


def recent_decisions(store: Store, person_id: int, *, task: str, limit: int = 5) -> list[Recent]:
    """Return an annotator's newest standing decisions in a task, the newest first."""
    with store.reading() as connection:
        rows = recent_of(connection, person_id, _known_task(connection, task).id, limit=limit)
    return [
        Recent(row.uuid.hex(), row.outcome, row.class_name, row.decided_at or "", row.mode)
        for row in rows
    ]


def count_task(store: Store, task: str) -> TaskCounts:
    """Return how far a task is; raises ReviewError (unknown_task)."""
    with store.reading() as connection:
        row = _known_task(connection, task)
        states = queue.count_states(connection, row.id)
        return TaskCounts(
            masks=row.masks,
            done=states["settled"] + states["adjudicated"],
            contested=states["contested"],
            slots_open=queue.count_open_slots(connection, row.id),
        )


def count_suggested(store: Store, task: str) -> dict[str, int]:
    """Return how many masks of a task its grids hold in all, by candidate; raises ReviewError (unknown_task).

    Masks without a suggestion are expected to be of the default class.
    """
    with store.reading() as connection:
        row = _known_task(connection, task)
        counts = steering.count_suggested(connection, row.id)
        default = default_class(connection, row.id)
    first = default if default is not None else row.candidate_ids[0]
    counts[first] = counts.get(first, 0) + row.masks - sum(counts.values())
    pairs = zip(row.candidates, row.candidate_ids, strict=True)
    return {name: counts.get(label, 0) for name, label in pairs}


def progress_of(
    store: Store, person_id: int, *, task: str, now: float, counts: TaskCounts | None = None
) -> Progress:
    """Return how far a task is, and one annotator in it; `counts` where they were counted a moment ago.

    Counts that are fresh after every decision would tell gold apart: its decisions fill no slot. Whoever shows them to
    annotators should count once in a while.
    """
    counts = counts or count_task(store, task)
    with store.reading() as connection:
        row = _known_task(connection, task)
        event = last_event(connection, person_id, row.id)
        return Progress(
            masks=counts.masks,
            done=counts.done,
            contested=counts.contested,
            slots_open=counts.slots_open,
            mine=count_decisions(connection, person_id, row.id),
            mine_today=count_decisions(connection, person_id, row.id, since=iso_of(now)[:10]),
            pace_per_hour=pace_per_hour(connection, person_id, row.id),
            notice=f"Take more care: {event[1]}" if event and event[0] == "warned" else "",
        )


def leased_mask(store: Store, person_id: int, lease: str, *, now: float) -> LeasedMask:
    """Return the pixels of a mask that an annotator holds; raises ReviewError (not_yours) for any other."""
    with store.reading() as connection:
        row = leases.find_lease(connection, bytes.fromhex(lease))
        if row is None or row.annotator_id != person_id or row.expires_at <= now:
            raise ReviewError("this mask is not yours, or not any more", reason="not_yours")
        return _located(connection, row.mask_id)


def example_mask(store: Store, task: str, *, position: int, number: int) -> LeasedMask:
    """Return the pixels of an example mask of a candidate; raises ReviewError (unknown_task, unknown)."""
    with store.reading() as connection:
        examples = examples_of(connection, _known_task(connection, task).id).get(position, [])
        if not 0 <= number < len(examples):
            raise ReviewError("there is no such example", reason="unknown")
        return _located(connection, examples[number])


def _located(connection: Connection, mask_id: int) -> LeasedMask:
    found = load_mask(connection, mask_id)
    dataset = load_dataset(connection, found.dataset)
    return LeasedMask(found.id, dataset, found.image, found.mask, found.source_class)
