"""What happens to an annotator whose accuracy on gold falls under the bar of a task."""

from __future__ import annotations

from mseg_curate.clock import iso_of
from mseg_curate.review.items import Person
from mseg_curate.store import Connection
from mseg_curate.store.activity import last_event
from mseg_curate.store.annotators import note_event, set_status
from mseg_curate.store.chores import promise_reopening, work_on_chores
from mseg_curate.store.gold import gold_score
from mseg_curate.store.tasks import TaskRow

__all__ = ["hold_to_bar"]


def hold_to_bar(connection: Connection, person: Person, task: TaskRow, *, now: float) -> None:
    """Warn or pause an annotator, or re-open their decisions, as the task's policy has it.

    The bar applies from `gold_min` answers on evaluation gold. A warning is given once until a curator lets them
    begin anew; a pause ends when a curator resumes them, and only answers after that count. Of many decisions the first
    are re-opened at once, and the others are promised.
    """
    options = task.options
    if options.gold_bar is None:
        return
    right, total = gold_score(connection, task.id, person.id)
    if total < options.gold_min or right >= options.gold_bar * total:
        return
    at = iso_of(now)
    note = f"{right} of {total} gold masks right, the bar is {options.gold_bar:.0%}"
    by = f"task {task.name}"
    if options.under_bar == "warn":
        event = last_event(connection, person.id, task.id)
        if event is None or event[0] == "resumed":
            note_event(
                connection, person.id, kind="warned", by=by, note=note, now=at, task_id=task.id
            )
        return
    set_status(connection, person.id, "paused")
    note_event(connection, person.id, kind="paused", by=by, note=note, now=at, task_id=task.id)
    if options.under_bar == "reopen":
        promise_reopening(connection, person.id, task.id, by=by, note="", now=at)
        work_on_chores(connection, now=now)
