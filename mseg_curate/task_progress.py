"""How far a task is, what it has cost, and what it will."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mseg_curate.store import Connection, Store
from mseg_curate.store.annotators import WorkRow, list_annotators, work_of_people
from mseg_curate.store.queue import count_open_slots, count_states
from mseg_curate.store.task_work import (
    TaskTime,
    time_of_task,
    times_of_tasks,
    work_in_tasks,
)
from mseg_curate.store.tasks import TaskRow, list_tasks, load_task

__all__ = ["AnnotatorWork", "TaskProgress", "all_progress", "measure_progress"]


@dataclass(frozen=True)
class AnnotatorWork:
    """What one annotator did in a task; `median_s` is None where no decision of theirs was timed."""

    annotator: str
    decisions: int
    hours: float
    median_s: float | None


@dataclass(frozen=True)
class TaskProgress:
    """A task with its masks by state, decisions and hours of work so far, and those still to come.

    `to_come` are the decisions that the queue wants now, and one for each contested mask; disagreement makes more.
    `hours` are those of the `timed` decisions, one that took over a minute counted as a minute; `hours_to_come`
    reckons with their median, and is None where none was timed.
    """

    task: TaskRow
    states: dict[str, int]
    decisions: int
    timed: int
    hours: float
    median_s: float | None
    to_come: int
    people: tuple[AnnotatorWork, ...]

    @property
    def done(self) -> int:
        """Masks that need no decision any more."""
        return self.states["settled"] + self.states["adjudicated"]

    @property
    def hours_to_come(self) -> float | None:
        """Hours that the decisions to come will take."""
        return None if self.median_s is None else self.to_come * self.median_s / 3600


def measure_progress(store: Store, task: str) -> TaskProgress:
    """Return how far a task is; raises StoreError where there is none of this name."""
    with store.reading() as connection:
        row = load_task(connection, task)
        work = work_of_people(connection, row.id)
        names = _names(connection)
        return _measure(
            connection, row, work=work, time=time_of_task(connection, row.id), names=names
        )


def all_progress(store: Store) -> list[TaskProgress]:
    """Return how far each task is, those of the highest priority first."""
    with store.reading() as connection:
        # Decisions are not in order by task: they are looked through for all tasks at once.
        work, times = work_in_tasks(connection), times_of_tasks(connection)
        names = _names(connection)
        found = [
            _measure(
                connection,
                row,
                work=work.get(row.id, {}),
                time=times.get(row.id, (0, 0.0, None)),
                names=names,
            )
            for row in list_tasks(connection)
        ]
    return sorted(found, key=lambda progress: -progress.task.options.priority)


def _names(connection: Connection) -> dict[int, str]:
    return {person.id: person.name for person in list_annotators(connection)}


def _measure(
    connection: Connection,
    row: TaskRow,
    *,
    work: Mapping[int, WorkRow],
    time: TaskTime,
    names: Mapping[int, str],
) -> TaskProgress:
    states = count_states(connection, row.id)
    timed, seconds, median_s = time
    people = [
        AnnotatorWork(names[by], done.decisions, done.seconds / 3600, done.median_s)
        for by, done in work.items()
    ]
    return TaskProgress(
        row,
        states,
        sum(done.decisions for done in work.values()),
        timed,
        seconds / 3600,
        median_s,
        count_open_slots(connection, row.id) + states["contested"],
        tuple(sorted(people, key=lambda person: (-person.decisions, person.annotator))),
    )
