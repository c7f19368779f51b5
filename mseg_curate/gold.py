"""Gold: masks whose answer a curator knows, to teach annotators and to measure them."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, TextIO
from uuid import uuid4

from mseg_curate.clock import iso_of
from mseg_curate.core.accuracy import GoldScore, Share, estimate_share
from mseg_curate.errors import DecisionError, InputError, StoreError
from mseg_curate.readers.mask_csv import MaskKey, read_mask_csv
from mseg_curate.store import Connection, Store
from mseg_curate.store import gold as rows
from mseg_curate.store.activity import standing_decision
from mseg_curate.store.annotators import PersonRow, find_annotator, list_annotators
from mseg_curate.store.chores import finish_chores, promise_settling, work_on_chores
from mseg_curate.store.decisions import append_decisions, latest_decision
from mseg_curate.store.gold import GoldLine
from mseg_curate.store.settle import settle_everywhere
from mseg_curate.store.steering import example_masks
from mseg_curate.store.task_masks import SureMask, find_task_masks, sure_masks
from mseg_curate.store.tasks import TaskRow, default_class, load_task
from mseg_curate.store.withdrawals import withdraw_decision

__all__ = [
    "KINDS",
    "AnnotatorScore",
    "GoldAnswer",
    "GoldLine",
    "Kind",
    "SureMask",
    "add_gold",
    "add_gold_csv",
    "gold_scores",
    "list_gold",
    "propose_gold",
    "read_gold_csv",
    "retire_gold",
    "write_gold",
    "write_proposals",
]

Kind = Literal["training", "evaluation"]
KINDS: tuple[Kind, ...] = ("evaluation", "training")
_NO_CLASS = ("none_of_these", "bad_mask")


class GoldAnswer(NamedTuple):
    """A mask of a task and what is right for it: a candidate, none_of_these or bad_mask."""

    split: str
    sequence: str
    image: str
    segment: int
    answer: str

    @property
    def key(self) -> MaskKey:
        """Which mask of the task is meant."""
        return self[:4]


def read_gold_csv(path: Path, *, dataset: str = "", source_class: str = "") -> list[GoldAnswer]:
    """Read gold from a CSV file with the columns split, image, segment, outcome and perhaps sequence.

    A file that `task show` wrote will do, filled in, and so will one of proposals; where the file names a dataset or
    source class, it must be the one given. Raises DecisionError that lists every bad line.
    """
    lines = read_mask_csv(
        path, required=("outcome",), optional=("annotator", "votes", "adjudicated")
    )
    problems = [
        f"line {line.line}: expected {column} {expected!r}, found {line.cells[column]!r}"
        for line in lines
        for column, expected in (("dataset", dataset), ("source_class", source_class))
        if expected and line.cells.get(column, expected) != expected
    ]
    if problems:
        raise DecisionError.of(problems, several=f"{len(problems)} bad lines", path=path)
    return [GoldAnswer(*line.key, line.cells["outcome"]) for line in lines]


def add_gold_csv(
    store: Store, task: str, path: Path, *, kind: str, note: str, by: str, now: float
) -> int:
    """Make the masks of a CSV file gold, as `read_gold_csv` reads it and `add_gold` adds it; returns how many."""
    with store.reading() as connection:
        row = load_task(connection, task)
    answers = read_gold_csv(path, dataset=row.dataset, source_class=row.source_class)
    return add_gold(store, task, answers, kind=kind, note=note, by=by, now=now)


def add_gold(
    store: Store,
    task: str,
    masks: Iterable[tuple[str, str, str, int, str]],
    *,
    kind: str,
    note: str,
    by: str,
    now: float,
) -> int:
    """Make masks of a task gold: (split, sequence, image, segment, answer) each; returns how many.

    The curator `by` decides each of them so by adjudication, which is its resolution while it is gold, and it needs
    no other decisions. All are added or none: raises InputError that lists masks outside the task, answers that are
    no candidate, none_of_these or bad_mask, and masks that are gold already; StoreError where `by` is no curator.
    """
    if kind not in KINDS:
        raise InputError("kind of gold", expected=" or ".join(KINDS), found=repr(kind))
    answers = [GoldAnswer(*mask) for mask in masks]
    if not answers:
        raise InputError("no gold to add", expected="one mask or more")
    with store.writing() as connection:
        row = load_task(connection, task)
        curator = require_curator(connection, by)
        placed = find_task_masks(connection, row.id, [answer.key for answer in answers])
        _refuse_bad(connection, row, answers, placed)
        before = latest_decision(connection)[0]
        _insert(connection, row, answers, placed, kind=kind, note=note, curator=curator, now=now)
        promise_settling(connection, after=before, now=iso_of(now))
        work_on_chores(connection, now=now)
    finish_chores(store, now=now)
    return len(answers)


def require_curator(connection: Connection, name: str) -> PersonRow:
    """Return a curator or an admin by name; raises StoreError for anybody else."""
    row = find_annotator(connection, name)
    if row is None or row.kind != "person" or row.role == "annotator":
        found = "unknown" if row is None else f"{row.kind} with the role {row.role}"
        known = [repr(r.name) for r in list_annotators(connection) if r.role != "annotator"]
        raise StoreError(
            f"{name!r} is no curator ({found}); name one with --author (known: {', '.join(known[:12]) or 'none'}), or "
            f"make one: `mseg-curate annotator add {name!r} --role curator`"
        )
    return row


def _refuse_bad(
    connection: Connection,
    task: TaskRow,
    answers: Sequence[GoldAnswer],
    placed: dict[MaskKey, int],
) -> None:
    active = rows.active_gold(connection, task.id)
    examples = example_masks(connection, task.id)
    times = Counter(answer.key for answer in answers)
    problems = []
    for answer in answers:
        if answer.key not in placed:
            problems.append(f"{_place(answer.key)}: the task {task.name} has no such mask")
        elif placed[answer.key] in active:
            problems.append(f"{_place(answer.key)}: is gold already; retire that first")
        elif placed[answer.key] in examples:
            problems.append(f"{_place(answer.key)}: is shown as an example, everybody knows it")
        elif times[answer.key] > 1:
            problems.append(f"{_place(answer.key)}: named {times[answer.key]} times")
        if answer.answer not in (*task.candidates, *_NO_CLASS):
            expected = ", ".join((*task.candidates, *_NO_CLASS))
            problems.append(
                f"{_place(answer.key)}: expected one of {expected}, found {answer.answer!r}"
            )
    if problems:
        raise InputError.of(
            list(dict.fromkeys(problems)),
            several=f"{len(problems)} faults in the gold for {task.name}",
            hint="nothing was stored",
        )


def _place(key: MaskKey) -> str:
    split, sequence, image, segment = key
    return f"mask {segment} of image {f'{sequence}/{image}' if sequence else image!r} of split {split!r}"


def _insert(
    connection: Connection,
    task: TaskRow,
    answers: Sequence[GoldAnswer],
    placed: dict[MaskKey, int],
    *,
    kind: str,
    note: str,
    curator: PersonRow,
    now: float,
) -> None:
    labels = dict(zip(task.candidates, task.candidate_ids, strict=True))
    shown = default_class(connection, task.id)
    at = iso_of(now)
    decisions = []
    for answer in answers:
        mask_id = placed[answer.key]
        before = standing_decision(connection, mask_id, annotator_id=curator.id)
        outcome = answer.answer if answer.answer in _NO_CLASS else "class"
        decisions.append(
            (
                uuid4().bytes, mask_id, task.id, task.mapping_revision, shown, outcome, labels.get(answer.answer),
                curator.id, "adjudication", None, at, None if before is None else before.id,
            )
        )  # fmt: skip
    first = latest_decision(connection)[0] + 1
    append_decisions(connection, decisions)
    for decision_id, decision in enumerate(decisions, start=first):
        rows.insert_gold(
            connection,
            task.id,
            decision[1],
            answer=(decision[5], decision[6]),
            kind=kind,
            note=note,
            by=curator.name,
            now=at,
            decision_id=decision_id,
        )


def retire_gold(
    store: Store,
    task: str,
    mask: tuple[str, str, str, int],
    *,
    note: str,
    by: str,
    now: float,
    answer_stands: bool,
) -> None:
    """Retire a gold mask of a task, with a reason: it is drawn no more, and counts in no accuracy.

    Where the answer does not stand, the curator's decision behind it is withdrawn, and the mask goes back to its
    votes. Raises InputError where the mask is no gold or the reason is missing, StoreError where `by` is no curator.
    """
    if not note.strip():
        raise InputError("a reason is missing", expected="a few words that others will read")
    with store.writing() as connection:
        row = load_task(connection, task)
        curator = require_curator(connection, by)
        placed = find_task_masks(connection, row.id, [mask])
        active = rows.active_gold(connection, row.id)
        mask_id = placed.get(mask)
        if mask_id is None or mask_id not in active:
            raise InputError(f"{_place(mask)} is no gold of the task {task}")
        at = iso_of(now)
        decision_id = rows.retire_gold(
            connection, active[mask_id].id, by=curator.name, note=note.strip(), now=at
        )
        if not answer_stands:
            withdraw_decision(connection, decision_id, now=at)
        settle_everywhere(connection, [mask_id], now=now)


def propose_gold(store: Store, task: str, n: int) -> list[SureMask]:
    """Return up to `n` masks that could be gold, for a curator to look at: adjudicated, or of one mind.

    The answers take turns, so that each is among them as often as there are masks for it. Masks that ever were gold
    are left out.
    """
    if n < 1:
        raise InputError("proposals of gold", expected="1 or more", found=str(n))
    with store.reading() as connection:
        found = sure_masks(connection, load_task(connection, task).id)
    by_answer: dict[str, list[SureMask]] = {}
    for mask in found:
        by_answer.setdefault(mask.answer, []).append(mask)
    turns = sorted(
        (turn, place, mask)
        for place, masks in enumerate(by_answer.values())
        for turn, mask in enumerate(masks)
    )
    return [mask for _, _, mask in turns[:n]]


def write_proposals(proposals: Sequence[SureMask], *, out: TextIO) -> None:
    """Write proposals as a CSV file that `read_gold_csv` reads."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("split", "sequence", "image", "segment", "outcome", "votes", "adjudicated"))
    for mask in proposals:
        writer.writerow((*mask.key, mask.answer, mask.votes, int(mask.is_adjudicated)))


def write_gold(store: Store, task: str, *, kind: str, out: TextIO) -> int:
    """Write the active gold of one kind as a CSV file that `read_gold_csv` reads; returns how many masks."""
    found = [line for line in list_gold(store, task) if line.kind == kind and not line.retired_at]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("split", "sequence", "image", "segment", "outcome"))
    writer.writerows((*line.key, line.answer) for line in found)
    return len(found)


def list_gold(store: Store, task: str) -> list[GoldLine]:
    """Return the gold of a task, active and retired, with how often it was shown and answered rightly."""
    with store.reading() as connection:
        return rows.gold_lines(connection, load_task(connection, task).id)


@dataclass(frozen=True)
class AnnotatorScore:
    """An annotator's answers on the active gold of a task: single and grid apart, and training apart."""

    annotator: str
    single: GoldScore = field(default_factory=lambda: GoldScore(0, 0))
    grid: GoldScore = field(default_factory=lambda: GoldScore(0, 0))
    training: GoldScore = field(default_factory=lambda: GoldScore(0, 0))

    @property
    def evaluation(self) -> GoldScore:
        """Single and grid together."""
        return GoldScore(self.single.right + self.grid.right, self.single.total + self.grid.total)

    @property
    def accuracy(self) -> Share:
        """The share of right answers on evaluation gold with its 95 % interval."""
        return estimate_share(self.evaluation)


def gold_scores(store: Store, task: str) -> list[AnnotatorScore]:
    """Return how each annotator answered the active gold of a task, those who saw any; derived at every call."""
    with store.reading() as connection:
        found = rows.scores_of_task(connection, load_task(connection, task).id)
    scores: dict[str, dict[str, GoldScore]] = {}
    for row in found:
        slot = "training" if row.kind == "training" else row.mode
        mine = scores.setdefault(row.annotator, {})
        before = mine.get(slot, GoldScore(0, 0))
        mine[slot] = GoldScore(before.right + row.score.right, before.total + row.score.total)
    return [AnnotatorScore(name, **parts) for name, parts in scores.items()]
