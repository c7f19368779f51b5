"""The votes that stand, question by question: a question is what the masks of one class of one dataset show."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby

import numpy as np
from sqlalchemy import Connection

from mseg_curate.core.accuracy import GoldScore
from mseg_curate.core.consensus import Outcome, Vote
from mseg_curate.core.resolving import Ballots, KnownTruth

__all__ = [
    "QuestionVotes",
    "TaskVotes",
    "class_names",
    "load_answers",
    "load_gold_scores",
    "load_gold_truths",
    "load_policies",
    "load_task_truths",
    "load_task_votes",
    "votes_by_question",
]

_STANDING = (
    "x.id <= :as_of AND x.outcome <> 'withdrawn' AND NOT EXISTS "
    "(SELECT 1 FROM decision AS later WHERE later.supersedes_id = x.id AND later.id <= :as_of)"
)
# An answer as one number: the row id of its class, or one below 0.
_ANSWER = (
    "COALESCE({0}.label_class_id, CASE {0}.outcome WHEN 'none_of_these' THEN -1 "
    "WHEN 'bad_mask' THEN -2 ELSE -3 END)"
)
_NO_CLASS = {-1: Outcome.NONE_OF_THESE, -2: Outcome.BAD_MASK, -3: Outcome.UNSURE}
_MODES = ("single", "grid", "import", "adjudication")
_MODE = "CASE x.mode WHEN 'single' THEN 0 WHEN 'grid' THEN 1 WHEN 'import' THEN 2 ELSE 3 END"
_GRID, _ADJUDICATION = 1, 3


@dataclass(frozen=True, eq=False)
class TaskVotes:
    """The votes on the masks of a task, in the order of deciding; `modes` are single, grid or import."""

    ballots: Ballots
    modes: Sequence[str]
    names: dict[int, str]


@dataclass(frozen=True, eq=False)
class QuestionVotes:
    """The votes on the masks of one class of one dataset, and what adjudicators decided instead, by mask id.

    `source_class` is '' for masks of which only imported decisions know, without the class.
    """

    dataset_id: int
    source_class: str
    ballots: Ballots
    adjudicated: dict[int, Vote] = field(default_factory=dict)


def votes_by_question(connection: Connection, as_of: int) -> Iterator[QuestionVotes]:
    """Yield the votes and adjudications that stood after decision `as_of`, question by question.

    Of two adjudications of a mask the later one counts, and of two votes of one annotator on a mask.
    """
    rows = connection.exec_driver_sql(
        f"SELECT i.dataset_id, m.source_class, x.mask_id, x.annotator_id, {_ANSWER.format('x')}, {_MODE} "
        "FROM decision AS x JOIN mask AS m ON m.id = x.mask_id JOIN image AS i ON i.id = m.image_id "
        f"WHERE {_STANDING} ORDER BY i.dataset_id, m.source_class, x.id",
        {"as_of": as_of},
    )
    for (dataset_id, source_class), decisions in groupby(rows, key=lambda row: (row[0], row[1])):
        ballots, adjudicated, _ = _tell_apart(row[2:] for row in decisions)
        yield QuestionVotes(dataset_id, source_class, ballots, adjudicated)


def load_task_votes(connection: Connection, task_id: int, as_of: int) -> TaskVotes:
    """Return the votes on the masks of a task that stood after decision `as_of`, and the annotators' names."""
    rows = connection.exec_driver_sql(
        f"SELECT x.mask_id, x.annotator_id, {_ANSWER.format('x')}, {_MODE} "
        "FROM task_mask AS t JOIN decision AS x ON x.mask_id = t.mask_id "
        f"WHERE t.task_id = :task_id AND x.mode <> 'adjudication' AND {_STANDING} ORDER BY x.id",
        {"task_id": task_id, "as_of": as_of},
    )
    ballots, _, modes = _tell_apart(rows)
    names = {row[0]: row[1] for row in connection.exec_driver_sql("SELECT id, name FROM annotator")}
    voted = np.unique(ballots.annotator).tolist()
    return TaskVotes(ballots, modes, {who: names[who] for who in voted})


def _tell_apart(
    rows: Iterable[Sequence[int]],
) -> tuple[Ballots, dict[int, Vote], list[str]]:
    """Return votes, adjudications by mask, and the modes of the votes, of (mask, annotator, answer, mode) by id."""
    flat = np.fromiter(chain.from_iterable(rows), np.int64)
    mask, annotator, answer, mode = flat.reshape(-1, 4).T
    votes = mode != _ADJUDICATION
    adjudicated = {
        m: _vote(k) for m, k in zip(mask[~votes].tolist(), answer[~votes].tolist(), strict=True)
    }
    mask, annotator, answer, mode = (column[votes] for column in (mask, annotator, answer, mode))
    # The last of each annotator on a mask is the first from the end.
    pairs = np.stack([mask, annotator])[:, ::-1]
    order = np.lexsort(pairs)
    is_new = np.ones(len(order), np.bool_)
    is_new[1:] = (np.diff(pairs[:, order]) != 0).any(axis=0)
    last = np.sort(len(mask) - 1 - order[is_new])
    numbers, number = np.unique(answer[last], return_inverse=True)
    ballots = Ballots(
        mask=mask[last],
        annotator=annotator[last],
        answer=number,
        is_grid=mode[last] == _GRID,
        answers=tuple(_vote(k) for k in numbers.tolist()),
    )
    return ballots, adjudicated, [_MODES[number] for number in mode[last].tolist()]


def _vote(number: int) -> Vote:
    if number in _NO_CLASS:
        return Vote(_NO_CLASS[number])
    return Vote(Outcome.CLASS, number)


def class_names(connection: Connection, class_ids: Collection[int]) -> dict[int, str]:
    """Return the names of universal classes by their row ids, in the order of the names."""
    rows = connection.exec_driver_sql("SELECT id, name FROM label_class ORDER BY name")
    return {row[0]: row[1] for row in rows if row[0] in class_ids}


def load_policies(connection: Connection) -> dict[int, str]:
    """Return the policy of each mask that a task asks about; where several do, that of the newest."""
    tasks = connection.exec_driver_sql("SELECT id, policy FROM task").all()
    policies: dict[int, str] = {row[0]: row[1] for row in tasks}
    rows = connection.exec_driver_sql(
        "SELECT mask_id, MAX(task_id) FROM task_mask GROUP BY mask_id"
    )
    return {row[0]: policies[row[1]] for row in rows}


def load_answers(connection: Connection, question: QuestionVotes) -> list[Vote]:
    """Return what can be answered to a question: its tasks' candidates, none of these, and bad mask."""
    rows = connection.exec_driver_sql(
        "SELECT DISTINCT k.label_class_id FROM task AS t "
        "JOIN dataset_class AS c ON c.id = t.dataset_class_id "
        "JOIN task_candidate AS k ON k.task_id = t.id "
        "WHERE c.dataset_id = ? AND c.name = ? ORDER BY 1",
        (question.dataset_id, question.source_class),
    )
    candidates = [Vote(Outcome.CLASS, label) for (label,) in rows]
    return [*candidates, Vote(Outcome.NONE_OF_THESE), Vote(Outcome.BAD_MASK)]


# Answers on evaluation gold of those who were shown the mask as such, `unsure` left out; where two tasks have the same
# mask as gold, that of the newer task counts. Gold counts as it is now, whatever :as_of says of the decisions.
_GOLD_ANSWERS = f"""
FROM gold AS g JOIN decision AS x ON x.mask_id = g.mask_id
JOIN mask AS m ON m.id = g.mask_id JOIN image AS i ON i.id = m.image_id
WHERE g.kind = 'evaluation' AND g.retired_at IS NULL AND NOT EXISTS
  (SELECT 1 FROM gold AS n WHERE n.mask_id = g.mask_id AND n.task_id > g.task_id
   AND n.kind = 'evaluation' AND n.retired_at IS NULL)
AND x.mode IN ('single', 'grid') AND x.outcome <> 'unsure'
AND EXISTS (SELECT 1 FROM gold_exposure AS e JOIN gold AS shown ON shown.id = e.gold_id
  WHERE e.annotator_id = x.annotator_id AND shown.mask_id = g.mask_id AND shown.kind = g.kind)
AND {_STANDING}
"""
_OF_QUESTION = "AND i.dataset_id = :dataset_id AND m.source_class = :source_class"


def load_gold_scores(
    connection: Connection, question: QuestionVotes, as_of: int
) -> dict[tuple[int, bool], GoldScore]:
    """Return what each annotator (by id, and whether in the grid) scored on the evaluation gold of a question.

    Standing decisions of the modes single and grid count, of those who were shown the mask as gold; right are those
    with the gold's outcome and class. `unsure` is no answer and left out, as it is where votes are weighed. Gold counts
    as it is now, whatever `as_of` says of the decisions; where two tasks have the same mask as gold, that of the newer
    task counts.
    """
    rows = connection.exec_driver_sql(
        "SELECT x.annotator_id, x.mode = 'grid', "
        "SUM(x.outcome = g.outcome AND x.label_class_id IS g.label_class_id), COUNT(*) "
        f"{_GOLD_ANSWERS} {_OF_QUESTION} GROUP BY 1, 2 ORDER BY 1, 2",
        {
            "dataset_id": question.dataset_id,
            "source_class": question.source_class,
            "as_of": as_of,
        },
    )
    return {
        (annotator, bool(grid)): GoldScore(int(right), int(total))
        for annotator, grid, right, total in rows
    }


def load_gold_truths(
    connection: Connection, question: QuestionVotes, as_of: int
) -> dict[int, KnownTruth]:
    """Return the truth of the evaluation gold of a question by mask, as far as `load_gold_scores` counts it."""
    values: dict[str, object] = {
        "dataset_id": question.dataset_id,
        "source_class": question.source_class,
        "as_of": as_of,
    }
    return _load_truths(connection, _OF_QUESTION, values)


def load_task_truths(connection: Connection, task_id: int, as_of: int) -> dict[int, KnownTruth]:
    """Return the truth of the evaluation gold among the masks of a task, as `load_gold_truths` does."""
    of_task = (
        "AND EXISTS (SELECT 1 FROM task_mask AS t WHERE t.task_id = :task_id AND t.mask_id = m.id)"
    )
    return _load_truths(connection, of_task, {"task_id": task_id, "as_of": as_of})


def _load_truths(
    connection: Connection, which: str, values: dict[str, object]
) -> dict[int, KnownTruth]:
    rows = connection.exec_driver_sql(
        f"SELECT g.mask_id, {_ANSWER.format('g')}, x.annotator_id {_GOLD_ANSWERS} {which} ORDER BY 1, 2",
        values,
    )
    return {
        mask_id: KnownTruth(_vote(answer), frozenset(row[2] for row in answered))
        for (mask_id, answer), answered in groupby(rows, key=lambda row: (row[0], row[1]))
    }
