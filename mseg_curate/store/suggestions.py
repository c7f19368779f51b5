"""What models take the masks of a task for: what is still to be suggested, and what is suggested."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection

from mseg_curate.core.consensus import Outcome
from mseg_curate.core.mask import Box, Mask
from mseg_curate.core.suspicion import NOTHING, JudgedMasks
from mseg_curate.readers.mask_csv import MaskKey
from mseg_curate.store.masks import StoredMask
from mseg_curate.store.standing import stands
from mseg_curate.store.tasks import TaskRow

__all__ = ["TaskJudgement", "images_without", "load_judgement", "masks_in_image", "name_masks"]

# Rows that are turned into numbers at a time.
_PART = 1 << 16
_OPEN = (
    "NOT EXISTS (SELECT 1 FROM suggestion AS g WHERE g.task_id = x.task_id AND g.mask_id = x.mask_id "
    "AND g.source = :source)"
)


def images_without(connection: Connection, task_id: int, *, source: str) -> list[tuple[int, int]]:
    """Return (image, masks of the task in it) of the images with a mask that `source` has not suggested a class for.

    Sorted by split, sequence and name; masks whose pixels are not known do not count.
    """
    rows = connection.exec_driver_sql(
        "SELECT m.image_id, COUNT(*) FROM task_mask AS x JOIN mask AS m ON m.id = x.mask_id "
        "JOIN image AS i ON i.id = m.image_id "
        f"WHERE x.task_id = :task AND m.area_px IS NOT NULL AND {_OPEN} "
        "GROUP BY m.image_id ORDER BY i.split, i.sequence, i.name",
        {"task": task_id, "source": source},
    )
    return [(int(image_id), int(masks)) for image_id, masks in rows]


def masks_in_image(
    connection: Connection, task_id: int, image_id: int, *, source: str
) -> list[StoredMask]:
    """Return the masks of a task in an image, with their pixels, that `source` has not suggested a class for."""
    rows = connection.exec_driver_sql(
        "SELECT m.id, m.segment, m.y0, m.x0, m.y1, m.x1, m.area_px, g.runs FROM mask AS m "
        "JOIN task_mask AS x ON x.mask_id = m.id AND x.task_id = :task "
        "JOIN mask_geometry AS g ON g.mask_id = m.id "
        f"WHERE m.image_id = :image AND {_OPEN} ORDER BY m.segment",
        {"task": task_id, "image": image_id, "source": source},
    )
    return [
        StoredMask(row[0], image_id, Mask(row[1], Box(*row[2:6]), row[6], row[7])) for row in rows
    ]


@dataclass(frozen=True, eq=False)
class TaskJudgement:
    """The masks of a task in the order of its queue, as `order_by_suspicion` takes them.

    Mask i has the row id `mask_ids[i]`, (n,) int64; `wants_votes[i]` says whether the task still asks for votes on it.
    `answers` are the names of the answers by their numbers: classes, and outcomes that are no class.
    """

    judged: JudgedMasks
    mask_ids: npt.NDArray[np.int64]
    wants_votes: npt.NDArray[np.bool_]
    answers: Sequence[str]


def load_judgement(connection: Connection, task: TaskRow) -> TaskJudgement:
    """Return what is suggested for each mask of a task, and the votes that stand on it; `unsure` is no answer."""
    mask_ids, is_open, suggested, score = _read_table(
        connection,
        "SELECT x.mask_id, x.status = 'open', COALESCE(g.label_class_id, -1), COALESCE(g.score, 'nan') "
        "FROM task_mask AS x LEFT JOIN suggestion AS g ON g.task_id = x.task_id AND g.mask_id = x.mask_id "
        "WHERE x.task_id = ? ORDER BY x.position",
        (task.id,),
    )
    voted, answer, is_final, _ = _read_table(
        connection,
        "SELECT d.mask_id, COALESCE(d.label_class_id, CASE d.outcome WHEN 'none_of_these' THEN -1 ELSE -2 END), "
        "d.mode = 'adjudication', 0 FROM task_mask AS x JOIN decision AS d ON d.mask_id = x.mask_id "
        "WHERE x.task_id = ? AND d.outcome NOT IN ('withdrawn', 'unsure') "
        f"AND {stands('d')} ORDER BY d.id",
        (task.id,),
    )
    # Answers are numbered: candidates, then what else was voted; classes by their row ids, the others below 0.
    named = np.concatenate([answer, suggested[suggested > 0]])
    others = np.setdiff1d(named, task.candidate_ids)
    codes = np.concatenate([np.array(task.candidate_ids, np.float64), others])
    order = np.argsort(mask_ids)
    place = order[np.searchsorted(mask_ids, voted, sorter=order)]
    number, final = _number(answer, codes), is_final.astype(np.bool_)
    adjudicated = np.full(len(mask_ids), NOTHING, np.int64)
    adjudicated[place[final]] = number[final]
    judged = JudgedMasks(
        suggested=np.where(suggested < 0, NOTHING, _number(suggested, codes)),
        score=score,
        vote_mask=place[~final],
        vote_answer=number[~final],
        adjudicated=adjudicated,
        candidates=len(task.candidate_ids),
        answers=len(codes),
    )
    names = {-1: Outcome.NONE_OF_THESE.value, -2: Outcome.BAD_MASK.value}
    for label, name in connection.exec_driver_sql("SELECT id, name FROM label_class"):
        names[label] = name
    answers = tuple(names[int(code)] for code in codes)
    return TaskJudgement(judged, mask_ids.astype(np.int64), is_open.astype(np.bool_), answers)


def _read_table(
    connection: Connection, query: str, values: tuple[int, ...]
) -> npt.NDArray[np.float64]:
    """Return the (4, rows) numbers of a query, which are exact below 2⁵³."""
    found = connection.exec_driver_sql(query, values)
    parts = [np.array([tuple(row) for row in part], np.float64) for part in found.partitions(_PART)]
    return np.concatenate([np.zeros((0, 4)), *parts]).T


def _number(
    answers: npt.NDArray[np.float64], codes: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """Return the place of each answer among `codes`; what is not among them gets any."""
    order = np.argsort(codes)
    places = np.searchsorted(codes, answers, sorter=order).clip(max=len(codes) - 1)
    numbers: npt.NDArray[np.int64] = order[places]
    return numbers


def name_masks(connection: Connection, mask_ids: Sequence[int]) -> list[MaskKey]:
    """Return split, sequence, image and segment of masks, in their order."""
    rows = connection.exec_driver_sql(
        "SELECT m.id, i.split, i.sequence, i.name, m.segment FROM json_each(?) AS j "
        "JOIN mask AS m ON m.id = j.value JOIN image AS i ON i.id = m.image_id",
        (json.dumps(list(mask_ids)),),
    )
    keys = {row[0]: (row[1], row[2], row[3], row[4]) for row in rows}
    return [keys[mask_id] for mask_id in mask_ids]
