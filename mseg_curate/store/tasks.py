"""Rows of tasks: the question that is asked of every mask of a class that must be split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Literal

from sqlalchemy import Connection, insert, select

from mseg_curate.errors import StoreError
from mseg_curate.store.queue import enqueue_masks
from mseg_curate.store.schema import dataset, dataset_class, label_class, task, task_candidate

__all__ = [
    "TaskOptions",
    "TaskRow",
    "create_task",
    "default_class",
    "examples_of",
    "find_task",
    "list_tasks",
    "load_task",
    "newest_tasks",
    "set_task",
]


@dataclass(frozen=True)
class TaskOptions:
    """How a task is asked, apart from the question itself.

    Each mask is decided `redundancy` times independently, and where votes disagree up to `max_redundancy` times.
    Tasks of higher `priority` come first. `gold_rate` of the masks handed out are gold, each shown `gold_cap` times in
    all; whoever has less than `gold_bar` of at least `gold_min` right is warned, paused, or paused with all their
    decisions of the task re-opened (`under_bar`). `policy` is how `resolve` reads the votes.
    """

    redundancy: int = 1
    max_redundancy: int = 1
    priority: int = 0
    policy: str = "majority(min_agreement=0.5,quorum=1)"
    instructions: str = ""
    lease_s: int = 300
    gold_rate: float = 0.1
    gold_bar: float | None = None
    gold_min: int = 10
    gold_cap: int = 20
    under_bar: Literal["warn", "pause", "reopen"] = "warn"


_OPTIONS = tuple(option.name for option in fields(TaskOptions))


@dataclass(frozen=True)
class TaskRow:
    """A task: the question which of `candidates` each mask of one dataset class shows.

    `definitions` says of each candidate what it is; '' where nobody wrote it down.
    """

    id: int
    name: str
    dataset_id: int
    dataset: str
    source_class: str
    class_id: int
    mapping_revision: int
    status: str
    candidates: tuple[str, ...]
    candidate_ids: tuple[int, ...]
    definitions: tuple[str, ...]
    masks: int
    options: TaskOptions

    @property
    def redundancy(self) -> int:
        """How often each mask is decided independently."""
        return self.options.redundancy


def create_task(
    connection: Connection,
    name: str,
    *,
    dataset_class_id: int,
    mapping_revision: int,
    options: TaskOptions,
    candidates: Sequence[int],
    definitions: Mapping[int, str],
    mask_ids: Sequence[int],
    now: str,
) -> int:
    """Store an open task with its candidates (label class ids), its masks queued in this order; returns its id."""
    task_id: int = connection.execute(
        insert(task)
        .values(
            name=name,
            dataset_class_id=dataset_class_id,
            mapping_revision_id=mapping_revision,
            status="open",
            created_at=now,
            masks=len(mask_ids),
            **asdict(options),
        )
        .returning(task.c.id)
    ).scalar_one()
    connection.execute(
        insert(task_candidate),
        [
            {
                "task_id": task_id,
                "position": position,
                "label_class_id": label,
                "definition": definitions.get(label, ""),
            }
            for position, label in enumerate(candidates)
        ],
    )
    default = default_class(connection, task_id)
    enqueue_masks(
        connection,
        task_id,
        mask_ids=mask_ids,
        redundancy=options.redundancy,
        expected=candidates[0] if default is None else default,
    )
    return task_id


def list_tasks(connection: Connection) -> list[TaskRow]:
    """Return all tasks in the order of their making."""
    return _task_rows(connection, None)


def load_task(connection: Connection, name: str) -> TaskRow:
    """Return one task; raises StoreError with the known names where there is none."""
    found = _task_rows(connection, name)
    if found:
        return found[0]
    names = connection.execute(select(task.c.name).order_by(task.c.id)).scalars()
    known = ", ".join(names) or "none; make one with `mseg-curate task make`"
    raise StoreError(f"no task {name!r} in the store; known: {known}")


def find_task(connection: Connection, task_name: str | int) -> TaskRow | None:
    """Return one task by its name or row id, or None."""
    found = _task_rows(connection, task_name)
    return found[0] if found else None


def _task_rows(connection: Connection, wanted: str | int | None) -> list[TaskRow]:
    query = (
        select(task, dataset.c.id.label("dataset_id"), dataset.c.name.label("dataset"))
        .add_columns(dataset_class.c.name.label("source_class"), dataset_class.c.class_id)
        .join(dataset_class, dataset_class.c.id == task.c.dataset_class_id)
        .join(dataset, dataset.c.id == dataset_class.c.dataset_id)
        .order_by(task.c.id)
    )
    if wanted is not None:
        query = query.where((task.c.id if isinstance(wanted, int) else task.c.name) == wanted)
    found = []
    for row in connection.execute(query).all():
        candidates = connection.execute(
            select(label_class.c.name, label_class.c.id, task_candidate.c.definition)
            .join(label_class, label_class.c.id == task_candidate.c.label_class_id)
            .where(task_candidate.c.task_id == row.id)
            .order_by(task_candidate.c.position)
        ).all()
        found.append(
            TaskRow(
                row.id,
                row.name,
                row.dataset_id,
                row.dataset,
                row.source_class,
                row.class_id,
                row.mapping_revision_id,
                row.status,
                tuple(c.name for c in candidates),
                tuple(c.id for c in candidates),
                tuple(c.definition for c in candidates),
                row.masks,
                TaskOptions(**{option: row._mapping[option] for option in _OPTIONS}),
            )
        )
    return found


def newest_tasks(connection: Connection) -> dict[tuple[str, str], int]:
    """Return the newest task of each (dataset, source class)."""
    rows = connection.exec_driver_sql(
        "SELECT d.name, c.name, MAX(t.id) FROM task AS t JOIN dataset_class AS c ON c.id = t.dataset_class_id "
        "JOIN dataset AS d ON d.id = c.dataset_id GROUP BY c.id"
    )
    return {(row[0], row[1]): int(row[2]) for row in rows}


def default_class(connection: Connection, task_id: int) -> int | None:
    """Return the label class that masks of a task carry while nothing is decided: the default of the split."""
    row = connection.exec_driver_sql(
        "SELECT k.label_class_id FROM task AS t JOIN mapping AS m ON m.mapping_revision_id = t.mapping_revision_id "
        "AND m.dataset_class_id = t.dataset_class_id "
        "JOIN mapping_class AS k ON k.mapping_id = m.id AND k.kind = 'target' "
        "WHERE t.id = ? ORDER BY k.position LIMIT 1",
        (task_id,),
    ).first()
    return None if row is None else int(row[0])


def examples_of(connection: Connection, task_id: int) -> dict[int, list[int]]:
    """Return the example masks of a task by the position of their candidate."""
    rows = connection.exec_driver_sql(
        "SELECT position, mask_id FROM task_example WHERE task_id = ? ORDER BY position, number",
        (task_id,),
    )
    found: dict[int, list[int]] = {}
    for position, mask_id in rows:
        found.setdefault(int(position), []).append(int(mask_id))
    return found


def set_task(connection: Connection, task_id: int, *, values: Mapping[str, object]) -> None:
    """Change options or the status of a task by their column names."""
    unknown = values.keys() - {*_OPTIONS, "status"}
    if unknown:
        raise ValueError(f"no options of a task: {sorted(unknown)}")
    if values:
        connection.execute(task.update().where(task.c.id == task_id).values(**values))
