"""Steer a task while it runs: open or not, its options, definitions, examples, suggestions and order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from mseg_curate.clock import iso_of
from mseg_curate.core.tables import split_rows
from mseg_curate.errors import DecisionError, InputError, StoreError
from mseg_curate.files import read_text
from mseg_curate.readers.mask_csv import MaskLine, read_mask_csv
from mseg_curate.store import Connection, Store
from mseg_curate.store import steering as rows
from mseg_curate.store.chores import finish_chores, promise_settling_task
from mseg_curate.store.datasets import list_datasets
from mseg_curate.store.gold import active_gold
from mseg_curate.store.ranks import rank_masks
from mseg_curate.store.steps import write_in_steps
from mseg_curate.store.task_masks import find_task_masks
from mseg_curate.store.tasks import TaskOptions, TaskRow, load_task, set_task
from mseg_curate.store.taxonomies import load_mapping
from mseg_curate.tasks import check_options

__all__ = [
    "SplitClass",
    "Status",
    "add_examples",
    "clear_examples",
    "definitions_of",
    "describe_candidates",
    "finish_changes",
    "list_examples",
    "prioritise_by_chance",
    "prioritise_disputed",
    "prioritise_masks",
    "read_definitions",
    "set_options",
    "set_status",
    "split_classes",
    "suggest_classes",
]

Status = Literal["open", "paused", "closed"]
_RANKS = 2**31


@dataclass(frozen=True)
class SplitClass:
    """A class that must be split: what a task asks about."""

    dataset: str
    source_class: str
    default: str
    candidates: tuple[str, ...]


def split_classes(store: Store) -> list[SplitClass]:
    """Return the classes that the mappings of datasets with pixels split."""
    with store.reading() as connection:
        found = []
        for row in list_datasets(connection):
            mapping = load_mapping(connection, row.id, dataset=row.name)
            if row.root is None or mapping is None:
                continue
            found += [
                SplitClass(row.name, entry.source, entry.targets[0], entry.candidates)
                for entry in mapping[1].splits
            ]
    return found


def set_status(store: Store, task: str, *, status: str) -> bool:
    """Open, pause or close a task; returns False where it was so already.

    Nothing is handed out of a task that is not open. What was handed out before a pause may still be answered; once
    it is closed no decisions are taken from the review.
    """
    if status not in get_args(Status):
        raise InputError("status of a task", expected=", ".join(get_args(Status)), found=status)
    with store.writing() as connection:
        row = load_task(connection, task)
        set_task(connection, row.id, values={"status": status})
    return row.status != status


def finish_changes(store: Store, *, now: float) -> None:
    """Finish what earlier changes have promised to do to many masks; most often there is nothing left of it."""
    finish_chores(store, now=now)


def set_options(
    store: Store,
    task: str,
    *,
    changes: Mapping[str, object],
    expected: TaskOptions | None = None,
    now: float,
) -> TaskOptions:
    """Change options of a task by their names in TaskOptions; returns all of them as they are then.

    With another redundancy or policy the queue is brought in line, some masks at a time; stopped half-way, those who
    claim masks go on with it, or the next command. `expected` are the options that whoever asks was shown: raises
    StoreError where somebody has changed them meanwhile. Raises InputError for an option that is not possible.
    """
    unknown = sorted(changes.keys() - asdict(TaskOptions()).keys())
    if unknown:
        raise InputError(
            "option of a task", expected=", ".join(asdict(TaskOptions())), found=", ".join(unknown)
        )
    with store.writing() as connection:
        row = load_task(connection, task)
        if expected is not None and row.options != expected:
            raise _changed_meanwhile(task)
        options = check_options(replace(row.options, **changes))  # type: ignore[arg-type]
        set_task(connection, row.id, values=asdict(options))
        if {"redundancy", "max_redundancy", "policy"} & changes.keys():
            promise_settling_task(connection, row.id, now=iso_of(now))
    finish_chores(store, now=now)
    return options


def _changed_meanwhile(task: str) -> StoreError:
    return StoreError(
        f"somebody else has changed the task {task} meanwhile; look again, then change it"
    )


def read_definitions(path: Path) -> dict[str, str]:
    """Read what candidates are from a tab-separated file with the columns class and definition.

    Raises DecisionError that lists every bad line.
    """
    found = split_rows(read_text(path), path=path, error=DecisionError)
    if not found or found[0][1] != ["class", "definition"]:
        raise DecisionError(
            "columns",
            path=path,
            place=1,
            expected="class and definition, separated by a tab",
            found=", ".join(found[0][1]) if found else "nothing",
        )
    problems: list[str] = []
    definitions: dict[str, str] = {}
    for line, cells in found[1:]:
        if len(cells) != 2 or not cells[0].strip():
            problems.append(f"line {line}: expected a class, a tab and its definition")
        elif cells[0].strip() in definitions:
            problems.append(f"line {line}: {cells[0].strip()!r} is defined above already")
        else:
            definitions[cells[0].strip()] = cells[1].strip()
    if problems or not definitions:
        problems = problems or ["no definitions below the header"]
        raise DecisionError.of(problems, several=f"{len(problems)} bad lines", path=path)
    return definitions


def definitions_of(store: Store, task: str) -> dict[str, str]:
    """Return what the candidates of a task are, '' where nobody has said so, in their order."""
    with store.reading() as connection:
        row = load_task(connection, task)
    return dict(zip(row.candidates, row.definitions, strict=True))


def describe_candidates(
    store: Store,
    task: str,
    definitions: Mapping[str, str],
    *,
    expected: Mapping[str, str] | None = None,
) -> int:
    """Set what candidates of a task are, by their names; returns how many.

    `expected` is what whoever asks was shown: raises StoreError where somebody has changed one of these meanwhile.
    Raises InputError that lists names of no candidate and texts with control characters; nothing is stored then.
    """
    with store.writing() as connection:
        row = load_task(connection, task)
        stored = dict(zip(row.candidates, row.definitions, strict=True))
        if expected is not None and any(stored.get(n) != expected.get(n) for n in definitions):
            raise _changed_meanwhile(task)
        problems = [
            f"definition of {name!r}: expected a candidate of {task} ({', '.join(row.candidates)})"
            for name in definitions
            if name not in row.candidates
        ]
        problems += [
            f"definition of {name!r}: expected one line of text"
            for name, text in definitions.items()
            if text and not text.isprintable()
        ]
        _refuse(problems, "definitions")
        places = {row.candidates.index(name): text for name, text in definitions.items()}
        rows.set_definitions(connection, row.id, by_position=places)
    return len(definitions)


def add_examples(store: Store, task: str, path: Path) -> int:
    """Show masks as examples of candidates, from a CSV file with split, image, segment and class; returns how many.

    Raises InputError that lists masks outside the task, classes that are no candidate, masks that are examples or
    evaluation gold already; nothing is stored then.
    """
    lines = read_mask_csv(path, required=("class",))
    with store.writing() as connection:
        row = load_task(connection, task)
        problems, masks = _bind(connection, row, lines)
        problems += _not_candidates(row, lines)
        shown = rows.example_masks(connection, row.id)
        gold = active_gold(connection, row.id)
        for line, mask_id in zip(lines, masks, strict=True):
            if not mask_id:
                continue
            if mask_id in shown:
                problems.append(f"line {line.line}: this mask is an example already")
            elif mask_id in gold and gold[mask_id].kind == "evaluation":
                problems.append(
                    f"line {line.line}: this mask is gold, an example would tell its answer"
                )
            shown.add(mask_id)
        _refuse(problems, "examples", path=path)
        places = [row.candidates.index(line.cells["class"]) for line in lines]
        rows.add_examples(connection, row.id, masks=list(zip(places, masks, strict=True)))
    return len(lines)


def list_examples(store: Store, task: str) -> list[tuple[str, str, str, int, str]]:
    """Return the examples of a task as (split, sequence, image, segment, candidate)."""
    with store.reading() as connection:
        return rows.list_examples(connection, load_task(connection, task).id)


def clear_examples(store: Store, task: str, *, candidate: str | None = None) -> int:
    """Remove the examples of one candidate of a task, or of all; returns how many there were."""
    with store.writing() as connection:
        row = load_task(connection, task)
        if candidate is not None and candidate not in row.candidates:
            raise InputError("candidate", expected=", ".join(row.candidates), found=repr(candidate))
        position = None if candidate is None else row.candidates.index(candidate)
        return rows.clear_examples(connection, row.id, position=position)


def suggest_classes(store: Store, task: str, path: Path, *, source: str) -> int:
    """Store what a model takes masks for, from a CSV file with split, image, segment, class and perhaps score.

    Suggestions group the grid, and are shown to nobody who decides one mask at a time. Later ones on a mask replace
    earlier ones. Raises InputError that lists every bad line; nothing is stored then. Stopped half-way, the first of
    the lines are stored, and the same call again stores all.
    """
    lines = read_mask_csv(path, required=("class",), optional=("score",))
    scores: list[float | None] = []
    problems = []
    for line in lines:
        score = _share(line.cells.get("score", ""))
        if score is not None and math.isnan(score):
            problems.append(
                f"line {line.line}, column score: expected 0 … 1, found {line.cells['score']!r}"
            )
        scores.append(score)
    with store.reading() as connection:
        row = load_task(connection, task)
        unplaced, masks = _bind(connection, row, lines)
    _refuse(problems + unplaced + _not_candidates(row, lines), "suggestions", path=path)
    labels = dict(zip(row.candidates, row.candidate_ids, strict=True))
    suggested = [
        (mask_id, labels[line.cells["class"]], score)
        for mask_id, line, score in zip(masks, lines, scores, strict=True)
    ]
    store_some = partial(rows.store_suggestions, task_id=row.id, source=source)
    write_in_steps(store, suggested, write=lambda c, some: store_some(c, rows=some))
    return len(lines)


def _share(text: str) -> float | None:
    """Return a share, None for an empty text, NaN for what is no share."""
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if 0 <= value <= 1 else math.nan


def prioritise_masks(store: Store, task: str, path: Path) -> int:
    """Hand out masks of a task in the order of a CSV file, before all others; returns how many it names.

    Columns are split, image, segment, and perhaps rank: whole numbers, lower first, where masks that the file does
    not name have 0. Without that column the file's first row comes first.
    """
    lines = read_mask_csv(path, required=(), optional=("rank",))
    ranked = ["rank" in line.cells for line in lines]
    problems = []
    ranks = []
    for place, line in enumerate(lines):
        rank = _whole(line.cells["rank"]) if ranked[place] else place - len(lines)
        if rank is None:
            problems.append(
                f"line {line.line}, column rank: expected a whole number, found {line.cells['rank']!r}"
            )
        ranks.append(rank or 0)
    with store.reading() as connection:
        row = load_task(connection, task)
        unplaced, masks = _bind(connection, row, lines)
    _refuse(problems + unplaced, "priorities", path=path)
    rank_masks(store, row.id, ranks=dict(zip(masks, ranks, strict=True)))
    return len(lines)


def _whole(text: str) -> int | None:
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdecimal() and len(digits) < 11 and int(digits) < _RANKS:
        return int(text)
    return None


def prioritise_disputed(store: Store, task: str) -> int:
    """Hand out the masks of a task on which votes disagree before all others; returns how many there are."""
    with store.reading() as connection:
        row = load_task(connection, task)
        masks = rows.disputed_masks(connection, row.id)
    rank_masks(store, row.id, ranks=dict.fromkeys(masks, -1))
    return len(masks)


def prioritise_by_chance(store: Store, task: str) -> None:
    """Hand out the masks of a task in the order that looks random again, as when it was made."""
    with store.reading() as connection:
        row = load_task(connection, task)
    rank_masks(store, row.id, ranks={})


def _bind(
    connection: Connection, task: TaskRow, lines: Sequence[MaskLine]
) -> tuple[list[str], list[int]]:
    """Return what is wrong with lines that name no mask of the task, or one twice, and the mask of each line."""
    placed = find_task_masks(connection, task.id, [line.key for line in lines])
    problems = []
    first: dict[tuple[str, str, str, int], int] = {}
    for line in lines:
        split, sequence, image, segment = line.key
        for column, expected in (("dataset", task.dataset), ("source_class", task.source_class)):
            if line.cells.get(column, expected) != expected:
                problems.append(
                    f"line {line.line}: expected {column} {expected!r}, found {line.cells[column]!r}"
                )
        if line.key not in placed:
            name = f"{sequence}/{image}" if sequence else image
            problems.append(
                f"line {line.line}: the task {task.name} has no mask {segment} of image {name!r} of split {split!r}"
            )
        if first.setdefault(line.key, line.line) != line.line:
            problems.append(f"line {line.line}: the mask of line {first[line.key]} again")
    return problems, [placed.get(line.key, 0) for line in lines]


def _not_candidates(task: TaskRow, lines: Sequence[MaskLine]) -> list[str]:
    return [
        f"line {line.line}, column class: expected {', '.join(task.candidates)}, found {line.cells['class']!r}"
        for line in lines
        if line.cells["class"] not in task.candidates
    ]


def _refuse(problems: Sequence[str], what: str, *, path: Path | None = None) -> None:
    if problems:
        raise InputError.of(
            problems, several=f"{len(problems)} bad {what}", path=path, hint="nothing was stored"
        )
