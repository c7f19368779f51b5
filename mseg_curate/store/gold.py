"""Rows of gold: masks whose answer is known, who was shown them, and how they answered."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from mseg_curate.core.accuracy import GoldScore
from mseg_curate.store.leases import DECIDED_BY, HELD_BY, ReviewMode
from mseg_curate.store.standing import stands

__all__ = [
    "ANSWERS",
    "GoldLine",
    "GoldRow",
    "ScoreRow",
    "active_gold",
    "drawable_gold",
    "exposure_of",
    "exposures_of_people",
    "gold_answers",
    "gold_lines",
    "gold_score",
    "insert_gold",
    "load_gold",
    "note_answer",
    "note_excepted",
    "note_exposure",
    "retire_gold",
    "scores_of_people",
    "scores_of_task",
]


@dataclass(frozen=True)
class GoldRow:
    """A mask whose answer is known: what it is (`label_class_id` where the outcome is a class), and what for."""

    id: int
    task_id: int
    mask_id: int
    outcome: str
    label_class_id: int | None
    class_name: str
    kind: str
    note: str
    retired_at: str | None


_GOLD = (
    "g.id, g.task_id, g.mask_id, g.outcome, g.label_class_id, "
    "COALESCE((SELECT u.name FROM label_class AS u WHERE u.id = g.label_class_id), ''), "
    "g.kind, g.note, g.retired_at"
)

_DRAWABLE = f"""
SELECT {_GOLD} FROM gold AS g
WHERE g.task_id = :task AND g.retired_at IS NULL {{condition}}
  AND g.mask_id NOT IN (SELECT shown.mask_id FROM gold AS shown CROSS JOIN gold_exposure AS e
                        WHERE shown.task_id = :task AND e.gold_id = shown.id AND e.annotator_id = :me)
  AND (SELECT COUNT(*) FROM gold_exposure AS e WHERE e.gold_id = g.id) < :cap
  AND NOT {HELD_BY.format(mask="g.mask_id")}
  AND NOT {DECIDED_BY.format(mask="g.mask_id")}
ORDER BY g.id
"""
_DRAWABLE_ANY = _DRAWABLE.format(condition="")
_DRAWABLE_OF_CLASS = _DRAWABLE.format(
    condition="AND g.kind = 'evaluation' AND (SELECT m.expected_id FROM task_mask AS m "
    "WHERE m.task_id = g.task_id AND m.mask_id = g.mask_id) = :of_class",
)


def load_gold(connection: Connection, gold_id: int) -> GoldRow:
    """Return one row of gold."""
    return GoldRow(
        *connection.exec_driver_sql(
            f"SELECT {_GOLD} FROM gold AS g WHERE g.id = ?", (gold_id,)
        ).one()
    )


def drawable_gold(
    connection: Connection,
    task_id: int,
    *,
    annotator_id: int,
    cap: int,
    now: float,
    of_class: int | None = None,
) -> list[GoldRow]:
    """Return the active gold of a task that this annotator has never seen and that was shown less than `cap` times.

    A mask seen as gold that was retired since counts as seen.

    With `of_class`, a label class, only evaluation gold that its grid would show.
    """
    values: dict[str, object] = {"task": task_id, "me": annotator_id, "cap": cap, "now": now}
    if of_class is None:
        rows = connection.exec_driver_sql(_DRAWABLE_ANY, values)
    else:
        values |= {"of_class": of_class}
        rows = connection.exec_driver_sql(_DRAWABLE_OF_CLASS, values)
    return [GoldRow(*row) for row in rows]


def exposure_of(connection: Connection, mask_id: int, annotator_id: int) -> int | None:
    """Return the gold that an annotator was shown of a mask, the newest; None where it was no gold to them."""
    row = connection.exec_driver_sql(
        "SELECT g.id FROM gold AS g JOIN gold_exposure AS e ON e.gold_id = g.id "
        "WHERE g.mask_id = ? AND e.annotator_id = ? ORDER BY g.id DESC LIMIT 1",
        (mask_id, annotator_id),
    ).first()
    return None if row is None else int(row[0])


def gold_answers(connection: Connection) -> set[int]:
    """Return the decisions that active gold rests on."""
    rows = connection.exec_driver_sql("SELECT decision_id FROM gold WHERE retired_at IS NULL")
    return {int(row[0]) for row in rows}


def note_exposure(
    connection: Connection, gold_id: int, annotator_id: int, *, mode: ReviewMode, now: str
) -> None:
    """Record that an annotator is shown a gold mask: they are never shown it again."""
    connection.exec_driver_sql(
        "INSERT INTO gold_exposure (gold_id, annotator_id, mode, shown_at) VALUES (?, ?, ?, ?)",
        (gold_id, annotator_id, mode, now),
    )


def note_answer(
    connection: Connection, gold_id: int, annotator_id: int, *, decision_id: int | None
) -> None:
    """Record the decision that an annotator made on a gold mask; None where it was undone."""
    connection.exec_driver_sql(
        "UPDATE gold_exposure SET decision_id = ?, excepted = 0 WHERE gold_id = ? AND annotator_id = ?",
        (decision_id, gold_id, annotator_id),
    )


def note_excepted(connection: Connection, gold_id: int, annotator_id: int) -> None:
    """Record that an annotator clicked a gold mask out of a grid."""
    connection.exec_driver_sql(
        "UPDATE gold_exposure SET excepted = 1 WHERE gold_id = ? AND annotator_id = ?",
        (gold_id, annotator_id),
    )


# Answers on active gold that stand; CROSS JOIN and the plus have SQLite begin with the gold, not with all decisions of
# an annotator. Only who was shown the mask as gold of this kind (by this row, or one it took the
# place of) answered unawares: votes that made a mask gold say nothing of those who cast them, and who was taught the
# answer proves nothing by knowing it. `unsure` is no answer.
ANSWERS = f"""
SELECT g.id AS gold_id, g.task_id AS task_id, g.mask_id AS mask_id, g.kind AS kind,
       d.id AS decision_id, +d.annotator_id AS annotator_id, d.mode AS mode, d.decided_at AS decided_at,
       (d.outcome = g.outcome AND d.label_class_id IS g.label_class_id) AS is_right
FROM gold AS g CROSS JOIN decision AS d
WHERE g.retired_at IS NULL
  AND d.mask_id = g.mask_id AND d.mode IN ('single', 'grid') AND d.outcome NOT IN ('withdrawn', 'unsure')
  AND {stands("d")}
  AND EXISTS (SELECT 1 FROM gold_exposure AS e JOIN gold AS shown ON shown.id = e.gold_id
              WHERE e.annotator_id = d.annotator_id AND shown.task_id = g.task_id
              AND shown.mask_id = g.mask_id AND shown.kind = g.kind)
"""


def gold_score(connection: Connection, task_id: int, annotator_id: int) -> tuple[int, int]:
    """Return how many of an annotator's standing answers on active evaluation gold are right, and how many there are.

    After a pause that a curator ended, only decisions since then count: who was let in again begins anew.
    """
    row = connection.exec_driver_sql(
        f"SELECT COALESCE(SUM(is_right), 0), COUNT(*) FROM ({ANSWERS}) AS a "
        "WHERE task_id = ? AND kind = 'evaluation' AND annotator_id = ? "
        "AND decided_at > COALESCE((SELECT MAX(at) FROM annotator_event "
        "WHERE annotator_id = a.annotator_id AND kind = 'resumed'), '')",
        (task_id, annotator_id),
    ).one()
    return int(row[0]), int(row[1])


@dataclass(frozen=True)
class ScoreRow:
    """How an annotator answered the gold of one kind in one mode."""

    annotator: str
    kind: str
    mode: str
    score: GoldScore


def scores_of_task(connection: Connection, task_id: int) -> list[ScoreRow]:
    """Return the scores of a task by annotator, kind of gold and mode."""
    rows = connection.exec_driver_sql(
        f"SELECT p.name, a.kind, a.mode, SUM(a.is_right), COUNT(*) FROM ({ANSWERS}) AS a "
        "JOIN annotator AS p ON p.id = a.annotator_id WHERE a.task_id = ? "
        "GROUP BY p.id, a.kind, a.mode ORDER BY p.name, a.kind, a.mode",
        (task_id,),
    )
    return [
        ScoreRow(name, kind, mode, GoldScore(int(right), int(total)))
        for name, kind, mode, right, total in rows
    ]


def scores_of_people(connection: Connection) -> dict[int, GoldScore]:
    """Return the score of each annotator on the evaluation gold of all tasks."""
    rows = connection.exec_driver_sql(
        f"SELECT annotator_id, SUM(is_right), COUNT(*) FROM ({ANSWERS}) "
        "WHERE kind = 'evaluation' GROUP BY annotator_id"
    )
    return {row[0]: GoldScore(int(row[1]), int(row[2])) for row in rows}


def exposures_of_people(connection: Connection) -> dict[int, int]:
    """Return how many gold masks each annotator was shown."""
    rows = connection.exec_driver_sql(
        "SELECT annotator_id, COUNT(*) FROM gold_exposure GROUP BY annotator_id"
    )
    return {row[0]: int(row[1]) for row in rows}


@dataclass(frozen=True)
class GoldLine:
    """A row of gold in a list, with its mask's place, what is right, and how it was answered.

    `shown` people were shown it, `excepted` of them clicked it out of a grid; `right` of the `answered` standing
    answers are right, both 0 once it is retired.
    """

    id: int
    mask_id: int
    split: str
    sequence: str
    image: str
    segment: int
    answer: str
    kind: str
    note: str
    added_by: str
    added_at: str
    retired_at: str | None
    retired_by: str | None
    retired_note: str | None
    shown: int
    excepted: int
    answered: int
    right: int

    @property
    def key(self) -> tuple[str, str, str, int]:
        """Which mask of the task it is: split, sequence, image and segment."""
        return self.split, self.sequence, self.image, self.segment


def gold_lines(connection: Connection, task_id: int) -> list[GoldLine]:
    """Return the gold of a task, active and retired, in the order of adding."""
    rows = connection.exec_driver_sql(
        "SELECT g.id, m.id, i.split, i.sequence, i.name, m.segment, COALESCE(u.name, g.outcome), g.kind, g.note, "
        "g.added_by, g.added_at, g.retired_at, g.retired_by, g.retired_note, "
        "(SELECT COUNT(*) FROM gold_exposure AS e WHERE e.gold_id = g.id), "
        "(SELECT COALESCE(SUM(e.excepted), 0) FROM gold_exposure AS e WHERE e.gold_id = g.id), "
        "COALESCE(a.answered, 0), COALESCE(a.is_right, 0) "
        "FROM gold AS g JOIN mask AS m ON m.id = g.mask_id JOIN image AS i ON i.id = m.image_id "
        "LEFT JOIN label_class AS u ON u.id = g.label_class_id "
        "LEFT JOIN (SELECT gold_id, COUNT(*) AS answered, SUM(is_right) AS is_right "
        f"FROM ({ANSWERS}) GROUP BY gold_id) AS a ON a.gold_id = g.id "
        "WHERE g.task_id = ? ORDER BY g.id",
        (task_id,),
    )
    return [GoldLine(*row) for row in rows]


def active_gold(connection: Connection, task_id: int) -> dict[int, GoldRow]:
    """Return the active gold of a task by mask."""
    rows = connection.exec_driver_sql(
        f"SELECT {_GOLD} FROM gold AS g WHERE g.task_id = ? AND g.retired_at IS NULL", (task_id,)
    )
    return {row[2]: GoldRow(*row) for row in rows}


def insert_gold(
    connection: Connection,
    task_id: int,
    mask_id: int,
    *,
    answer: tuple[str, int | None],
    kind: str,
    note: str,
    by: str,
    now: str,
    decision_id: int,
) -> int:
    """Store a gold mask with its answer (outcome, label class); returns its id."""
    gold_id: int = connection.exec_driver_sql(
        "INSERT INTO gold (task_id, mask_id, outcome, label_class_id, kind, note, added_by, added_at, decision_id) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
        (task_id, mask_id, *answer, kind, note, by, now, decision_id),
    ).scalar_one()
    return gold_id


def retire_gold(connection: Connection, gold_id: int, *, by: str, note: str, now: str) -> int:
    """Retire a gold mask; returns the decision that it rests on."""
    decision_id: int = connection.exec_driver_sql(
        "UPDATE gold SET retired_at = ?, retired_by = ?, retired_note = ? WHERE id = ? RETURNING decision_id",
        (now, by, note, gold_id),
    ).scalar_one()
    return decision_id
