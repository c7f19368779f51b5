"""Images by what is in them and what was decided on them, a page at a time; and the masks of one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection

from mseg_curate.core.mask import Box, Mask
from mseg_curate.store.standing import stands

__all__ = [
    "BrowsedMask",
    "FoundImage",
    "ImageFilter",
    "MaskVote",
    "browsed_masks",
    "count_images",
    "find_images",
    "has_pixels",
]


@dataclass(frozen=True)
class ImageFilter:
    """Which images are looked for; what is '' or False does not matter.

    `text` stands in the image's name or sequence, `shown_class` is a class of the dataset with pixels in the image. The
    rest is of one and the same mask in the image: its source class, its resolution's outcome (resolved, contested or
    ignored; `undecided` for none) and class, its state in a task (open, settled, contested or adjudicated), and whether
    it has an open flag.
    """

    dataset: str = ""
    split: str = ""
    text: str = ""
    source_class: str = ""
    outcome: str = ""
    resolved_class: str = ""
    state: str = ""
    flagged: bool = False
    shown_class: str = ""

    @property
    def asks_of_masks(self) -> bool:
        """Whether an image needs a mask to be found."""
        return self != ImageFilter(
            self.dataset, self.split, self.text, shown_class=self.shown_class
        )


@dataclass(frozen=True)
class FoundImage:
    """An image in a list, with how many of its masks are known, resolved and contested, and its open flags.

    Contested are those whose votes name no class clearly, at the last `resolve` or now.
    """

    id: int
    dataset: str
    split: str
    sequence: str
    name: str
    masks: int
    resolved: int
    contested: int
    flags: int


_FOUND = """
SELECT i.id, d.name, i.split, i.sequence, i.name,
  (SELECT COUNT(*) FROM mask AS m WHERE m.image_id = i.id AND m.area_px IS NOT NULL),
  (SELECT COUNT(*) FROM mask AS m JOIN resolution AS r ON r.mask_id = m.id
   WHERE m.image_id = i.id AND r.outcome = 'resolved'),
  (SELECT COUNT(*) FROM mask AS m LEFT JOIN resolution AS r ON r.mask_id = m.id
   WHERE m.image_id = i.id AND (r.outcome = 'contested'
   OR EXISTS (SELECT 1 FROM task_mask AS x WHERE x.mask_id = m.id AND x.status = 'contested'))),
  (SELECT COUNT(*) FROM mask AS m JOIN flag AS f ON f.mask_id = m.id
   WHERE m.image_id = i.id AND f.closed_at IS NULL)
FROM image AS i JOIN dataset AS d ON d.id = i.dataset_id
WHERE i.label_file IS NOT NULL
"""
_COUNTED = "SELECT COUNT(*) FROM (SELECT 1 FROM image AS i WHERE i.label_file IS NOT NULL"
# The order is that of an index; a page begins behind the last image of the one before, or ends before another's first.
_FORWARDS = "ORDER BY i.dataset_id, i.split, i.sequence, i.name LIMIT :limit"
_BACKWARDS = "ORDER BY i.dataset_id DESC, i.split DESC, i.sequence DESC, i.name DESC LIMIT :limit"
# Few masks are in these states: they are looked up once, by an index, instead of in every image.
_RARE_STATES = ("contested", "adjudicated")


def find_images(
    connection: Connection,
    wanted: ImageFilter,
    *,
    after: int | None = None,
    before: int | None = None,
    limit: int,
) -> list[FoundImage]:
    """Return up to `limit` images with pixels by dataset, split, sequence and name.

    The first of all, those next behind image `after`, or the last ones before image `before`.
    """
    values: dict[str, object] = {"limit": limit}
    conditions = _conditions(wanted, values)
    if before is not None:
        conditions.append(_beside(connection, wanted, before, "<", values))
        rows = connection.exec_driver_sql(" ".join((_FOUND, *conditions, _BACKWARDS)), values)
        return [FoundImage(*row) for row in rows][::-1]
    if after is not None:
        conditions.append(_beside(connection, wanted, after, ">", values))
    rows = connection.exec_driver_sql(" ".join((_FOUND, *conditions, _FORWARDS)), values)
    return [FoundImage(*row) for row in rows]


def count_images(connection: Connection, wanted: ImageFilter, *, limit: int) -> int:
    """Return how many images a filter finds; `limit` where there are as many or more."""
    values: dict[str, object] = {"limit": limit}
    conditions = _conditions(wanted, values)
    counted = connection.exec_driver_sql(" ".join((_COUNTED, *conditions, "LIMIT :limit)")), values)
    return int(counted.scalar_one())


def _conditions(wanted: ImageFilter, values: dict[str, object]) -> list[str]:
    conditions = []
    if wanted.dataset:
        conditions.append("AND i.dataset_id = (SELECT id FROM dataset WHERE name = :dataset)")
        values["dataset"] = wanted.dataset
    if wanted.split:
        conditions.append("AND i.split = :split")
        values["split"] = wanted.split
    if wanted.text:
        conditions.append("AND instr(lower(i.sequence || '/' || i.name), lower(:text))")
        values["text"] = wanted.text
    if wanted.shown_class:
        conditions.append(
            "AND EXISTS (SELECT 1 FROM dataset_class AS k JOIN image_class_pixels AS p "
            "ON p.dataset_class_id = k.id WHERE k.dataset_id = i.dataset_id AND k.name = :shown_class "
            "AND p.image_id = i.id AND p.pixels > 0)"
        )
        values["shown_class"] = wanted.shown_class
    if wanted.asks_of_masks:
        conditions.append(_mask_condition(wanted, values))
    return conditions


def _beside(
    connection: Connection,
    wanted: ImageFilter,
    image_id: int,
    side: Literal["<", ">"],
    values: dict[str, object],
) -> str:
    """Return the condition that an image lies on a side of another; what the filter fixes is not compared again."""
    row = connection.exec_driver_sql(
        "SELECT dataset_id, split, sequence, name FROM image WHERE id = ?", (image_id,)
    ).first()
    if row is None:
        return ""
    first = (2 if wanted.split else 1) if wanted.dataset else 0
    columns = ("dataset_id", "split", "sequence", "name")[first:]
    values |= {f"beside_{name}": value for name, value in zip(columns, row[first:], strict=True)}
    left = ", ".join(f"i.{column}" for column in columns)
    return f"AND ({left}) {side} ({', '.join(f':beside_{column}' for column in columns)})"


def has_pixels(connection: Connection, image_id: int) -> bool:
    """Say whether an image is there, with its files."""
    row = connection.exec_driver_sql(
        "SELECT 1 FROM image WHERE id = ? AND label_file IS NOT NULL", (image_id,)
    ).first()
    return row is not None


def _mask_condition(wanted: ImageFilter, values: dict[str, object]) -> str:
    joins, conditions = [], []
    if wanted.source_class:
        conditions.append("m.source_class = :source_class")
        values["source_class"] = wanted.source_class
    if wanted.outcome == "undecided":
        conditions.append("NOT EXISTS (SELECT 1 FROM resolution AS n WHERE n.mask_id = m.id)")
    if wanted.outcome not in ("", "undecided") or wanted.resolved_class:
        joins.append("JOIN resolution AS r ON r.mask_id = m.id")
    if wanted.outcome not in ("", "undecided"):
        conditions.append("r.outcome = :outcome")
        values["outcome"] = wanted.outcome
    if wanted.resolved_class:
        conditions.append("r.label_class_id = (SELECT id FROM label_class WHERE name = :resolved)")
        values["resolved"] = wanted.resolved_class
    if wanted.state:
        by_state = wanted.state in _RARE_STATES
        tasks = "x.task_id IN (SELECT id FROM task) AND" if by_state else ""
        joins.append(f"JOIN task_mask AS x ON {tasks} x.mask_id = m.id")
        conditions.append("x.status = :state")
        values["state"] = wanted.state
    if wanted.flagged:
        conditions.append("m.id IN (SELECT mask_id FROM flag WHERE closed_at IS NULL)")
    asked = f"SELECT {{}} FROM mask AS m {' '.join(joins)} WHERE {' AND '.join(conditions)}"
    if wanted.flagged or wanted.state in _RARE_STATES:
        return f"AND i.id IN ({asked.format('m.image_id')})"
    return f"AND EXISTS ({asked.format('1')} AND m.image_id = i.id)"


@dataclass(frozen=True)
class MaskVote:
    """A decision that stands on a mask; `class_name` is '' unless the outcome is class."""

    annotator: str
    outcome: str
    class_name: str
    mode: str


@dataclass(frozen=True)
class BrowsedMask:
    """A mask with all that is known of it; its state is '' where no task asks about it, the resolution None where none.

    Where several tasks ask about it, the state is that of the newest.
    """

    id: int
    source_class: str
    mask: Mask
    outcome: str | None
    resolved_class: str | None
    agreement: float | None
    state: str
    flags: tuple[str, ...]
    votes: tuple[MaskVote, ...]

    @property
    def is_contested(self) -> bool:
        """Whether its votes name no class clearly, at the last `resolve` or now."""
        return "contested" in (self.outcome, self.state)


def browsed_masks(connection: Connection, image_id: int) -> list[BrowsedMask]:
    """Return the masks of an image whose pixels are known, with their resolutions, votes and open flags."""
    votes: dict[int, list[MaskVote]] = {}
    for mask_id, *vote in connection.exec_driver_sql(
        "SELECT m.id, a.name, x.outcome, COALESCE(u.name, ''), x.mode FROM mask AS m "
        "JOIN decision AS x ON x.mask_id = m.id JOIN annotator AS a ON a.id = x.annotator_id "
        "LEFT JOIN label_class AS u ON u.id = x.label_class_id "
        "WHERE m.image_id = ? AND x.outcome <> 'withdrawn' "
        f"AND {stands('x')} ORDER BY x.id",
        (image_id,),
    ):
        votes.setdefault(mask_id, []).append(MaskVote(*vote))
    flags: dict[int, list[str]] = {}
    for mask_id, comment in connection.exec_driver_sql(
        "SELECT m.id, a.name || ': ' || f.comment FROM mask AS m JOIN flag AS f ON f.mask_id = m.id "
        "JOIN annotator AS a ON a.id = f.annotator_id "
        "WHERE m.image_id = ? AND f.closed_at IS NULL ORDER BY f.id",
        (image_id,),
    ):
        flags.setdefault(mask_id, []).append(comment)
    rows = connection.exec_driver_sql(
        "SELECT m.id, m.source_class, m.segment, m.y0, m.x0, m.y1, m.x1, m.area_px, g.runs, r.outcome, u.name, "
        "r.agreement, COALESCE((SELECT x.status FROM task_mask AS x WHERE x.mask_id = m.id "
        "ORDER BY x.task_id DESC LIMIT 1), '') FROM mask AS m "
        "JOIN mask_geometry AS g ON g.mask_id = m.id "
        "LEFT JOIN resolution AS r ON r.mask_id = m.id "
        "LEFT JOIN label_class AS u ON u.id = r.label_class_id "
        "WHERE m.image_id = ? ORDER BY m.source_class, m.segment",
        (image_id,),
    )
    return [
        BrowsedMask(
            mask_id,
            source_class,
            Mask(segment, Box(top, left, bottom, right), area_px, runs),
            outcome,
            resolved_class,
            agreement,
            state,
            tuple(flags.get(mask_id, ())),
            tuple(votes.get(mask_id, ())),
        )
        for (
            mask_id, source_class, segment, top, left, bottom, right, area_px, runs, outcome,
            resolved_class, agreement, state,
        ) in rows
    ]  # fmt: skip
