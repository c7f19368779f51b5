"""The votes that stand, question by question: a question is what the masks of one class of one dataset show."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from sqlalchemy import Connection

from mseg_curate.core.accuracy import GoldScore
from mseg_curate.core.consensus import CastVote, Outcome, Vote

__all__ = [
    "QuestionVotes",
    "StandingVote",
    "class_names",
    "load_answers",
    "load_gold_scores",
    "load_policies",
    "load_task_votes",
    "votes_by_question",
]

_STANDING = (
    "x.id <= :as_of AND x.outcome <> 'withdrawn' AND NOT EXISTS "
    "(SELECT 1 FROM decision AS later WHERE later.supersedes_id = x.id AND later.id <= :as_of)"
)


class StandingVote(NamedTuple):
    """A decision that stands, of the mode single, grid or import."""

    mask_id: int
    annotator_id: int
    annotator: str
    outcome: str
    label_class_id: int | None
    mode: str


@dataclass(frozen=True)
class QuestionVotes:
    """The votes on the masks of one class of one dataset, by mask id, and what adjudicators decided instead.

    `source_class` is '' for masks of which only imported decisions know, without the class.
    """

    dataset_id: int
    source_class: str
    votes: dict[int, list[CastVote]] = field(default_factory=dict)
    adjudicated: dict[int, Vote] = field(default_factory=dict)


def votes_by_question(connection: Connection, as_of: int) -> Iterator[QuestionVotes]:
    """Yield the votes and adjudications that stood after decision `as_of`, question by question, in their order.

    Of two adjudications of a mask the later one counts.
    """
    rows = connection.exec_driver_sql(
        "SELECT i.dataset_id, m.source_class, x.mask_id, x.annotator_id, x.outcome, x.label_class_id, x.mode "
        "FROM decision AS x JOIN mask AS m ON m.id = x.mask_id JOIN image AS i ON i.id = m.image_id "
        f"WHERE {_STANDING} ORDER BY i.dataset_id, m.source_class, x.mask_id, x.id",
        {"as_of": as_of},
    )
    for (dataset_id, source_class), decisions in groupby(rows, key=lambda row: (row[0], row[1])):
        question = QuestionVotes(dataset_id, source_class)
        for _, _, mask_id, annotator_id, outcome, label, mode in decisions:
            vote = Vote(Outcome(outcome), label)
            if mode == "adjudication":
                question.adjudicated[mask_id] = vote
            else:
                question.votes.setdefault(mask_id, []).append(CastVote(annotator_id, vote))
        yield question


def load_task_votes(connection: Connection, task_id: int, as_of: int) -> list[StandingVote]:
    """Return the votes on the masks of a task that stood after decision `as_of`, mask by mask."""
    rows = connection.exec_driver_sql(
        "SELECT x.mask_id, x.annotator_id, a.name, x.outcome, x.label_class_id, x.mode "
        "FROM task_mask AS t JOIN decision AS x ON x.mask_id = t.mask_id "
        "JOIN annotator AS a ON a.id = x.annotator_id "
        f"WHERE t.task_id = :task_id AND x.mode <> 'adjudication' AND {_STANDING} "
        "ORDER BY x.mask_id, x.id",
        {"task_id": task_id, "as_of": as_of},
    )
    return [StandingVote(*row) for row in rows]


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


def load_gold_scores(
    connection: Connection, question: QuestionVotes, as_of: int
) -> dict[int, GoldScore]:
    """Return what each annotator (by id) scored on the evaluation gold of a question.

    Standing decisions of the modes single and grid count, of those who were shown the mask as gold; right are those
    with the gold's outcome and class. `unsure` is no answer and left out, as it is where votes are weighed. Gold counts
    as it is now, whatever `as_of` says of the decisions; where two tasks have the same mask as gold, that of the newer
    task counts.
    """
    rows = connection.exec_driver_sql(
        "SELECT x.annotator_id, SUM(x.outcome = g.outcome AND x.label_class_id IS g.label_class_id), COUNT(*) "
        "FROM gold AS g JOIN decision AS x ON x.mask_id = g.mask_id "
        "JOIN mask AS m ON m.id = g.mask_id JOIN image AS i ON i.id = m.image_id "
        "WHERE g.kind = 'evaluation' AND g.retired_at IS NULL AND NOT EXISTS "
        "(SELECT 1 FROM gold AS n WHERE n.mask_id = g.mask_id AND n.task_id > g.task_id "
        "AND n.kind = 'evaluation' AND n.retired_at IS NULL) "
        "AND x.mode IN ('single', 'grid') AND x.outcome <> 'unsure' "
        "AND EXISTS (SELECT 1 FROM gold_exposure AS e JOIN gold AS shown ON shown.id = e.gold_id "
        "WHERE e.annotator_id = x.annotator_id AND shown.mask_id = g.mask_id AND shown.kind = g.kind) "
        "AND i.dataset_id = :dataset_id AND m.source_class = :source_class "
        f"AND {_STANDING} GROUP BY x.annotator_id ORDER BY x.annotator_id",
        {
            "dataset_id": question.dataset_id,
            "source_class": question.source_class,
            "as_of": as_of,
        },
    )
    return {annotator: GoldScore(int(right), int(total)) for annotator, right, total in rows}
