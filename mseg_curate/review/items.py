"""What the review hands out and takes in, and who may ask for it."""

from __future__ import annotations

from dataclasses import dataclass

from mseg_curate.core.mask import Mask
from mseg_curate.errors import ReviewError
from mseg_curate.store import Connection
from mseg_curate.store.annotators import load_person
from mseg_curate.store.datasets import DatasetRow, ImageRow
from mseg_curate.store.leases import ReviewMode
from mseg_curate.store.masks import mask_frame
from mseg_curate.store.tasks import TaskRow, find_task

__all__ = [
    "CURATORS",
    "Candidate",
    "EarlierVote",
    "Feedback",
    "Item",
    "LeasedMask",
    "Operation",
    "Person",
    "Progress",
    "Recent",
    "Result",
    "TaskCounts",
    "TaskQuestion",
    "item_of",
    "require_person",
    "require_task",
]

CURATORS = ("curator", "admin")


@dataclass(frozen=True)
class Person:
    """An annotator as the store has them now; `role` is annotator, curator or admin, `status` active or paused."""

    id: int
    name: str
    role: str
    status: str


@dataclass(frozen=True)
class Item:
    """One leased mask as its annotator may see it; `lease` is 32 hex digits, `box` half-open in pixels."""

    lease: str
    size_hw: tuple[int, int]
    box: tuple[int, int, int, int]
    area_px: int
    expires_in_s: float


@dataclass(frozen=True)
class Operation:
    """One thing that an annotator's page asks for; `uuid` (32 hex digits, made by the page) is done once.

    `op` is decide, undo, skip, except or flag. `lease` names the mask; in an undo it is a token made by the page, for
    the lease it gets back. A decision has an `outcome`, and a `class_name` where that is a class. `of` is the UUID of
    the decision that an undo withdraws, or the lease under which a mask was clicked out of a grid. `age_s` is how long
    ago the key was pressed.
    """

    op: str
    uuid: str
    lease: str
    outcome: str = ""
    class_name: str = ""
    of: str = ""
    comment: str = ""
    milliseconds: int | None = None
    age_s: float = 0.0


@dataclass(frozen=True)
class Feedback:
    """What is right for a mask of training gold, and why; told after the answer."""

    right: bool
    answer: str
    note: str


@dataclass(frozen=True)
class EarlierVote:
    """A vote on a mask, as an adjudicator sees it after choosing."""

    annotator: str
    outcome: str
    class_name: str
    mode: str


@dataclass(frozen=True)
class Result:
    """What became of an operation: stored, known (a retry of what was stored) or refused with a reason.

    `reason` is one of expired, taken, decided, not_yours, task_closed, paused, unknown, adjudicated or invalid;
    `message` says it in a sentence, with the state that is newer than the annotator's page.
    """

    uuid: str
    status: str
    reason: str = ""
    message: str = ""
    item: Item | None = None
    feedback: Feedback | None = None
    votes: tuple[EarlierVote, ...] = ()


@dataclass(frozen=True)
class LeasedMask:
    """The pixels behind an item: for the pictures alone, never sent as they are."""

    mask_id: int
    dataset: DatasetRow
    image: ImageRow
    mask: Mask
    source_class: str


@dataclass(frozen=True)
class Recent:
    """A decision that stands, for the list of the last few."""

    uuid: str
    outcome: str
    class_name: str
    decided_at: str
    mode: str


@dataclass(frozen=True)
class Candidate:
    """One answer of a task: name, definition, and the row ids of example masks."""

    position: int
    name: str
    definition: str
    examples: tuple[int, ...]


@dataclass(frozen=True)
class TaskQuestion:
    """A task as its annotators see it."""

    name: str
    dataset: str
    source_class: str
    default: str
    instructions: str
    status: str
    lease_s: int
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class TaskCounts:
    """How far a task is: masks in all, those that need nothing more, contested ones, and decisions still wanted."""

    masks: int
    done: int
    contested: int
    slots_open: int


@dataclass(frozen=True)
class Progress:
    """How far a task is, and one annotator in it; `notice` is something they should know, or ''."""

    masks: int
    done: int
    contested: int
    slots_open: int
    mine: int
    mine_today: int
    pace_per_hour: float | None
    notice: str


def require_person(connection: Connection, person_id: int, *, mode: ReviewMode) -> Person:
    """Return an annotator who may review in a mode now.

    Raises ReviewError: forbidden for a stranger or a role that may not, paused for one who is paused.
    """
    row = load_person(connection, person_id)
    if row is None or row.kind != "person":
        raise ReviewError("you are not known to this store; sign in again", reason="forbidden")
    if row.status != "active":
        raise ReviewError(
            "you are paused; a curator can let you go on (see your line under Annotators)",
            reason="paused",
        )
    if mode == "adjudication" and row.role not in CURATORS:
        raise ReviewError("only curators adjudicate", reason="forbidden")
    return Person(row.id, row.name, row.role, row.status)


def require_task(connection: Connection, task: str | int, *, answering: bool = False) -> TaskRow:
    """Return an open task by name or row id; raises ReviewError (unknown_task, task_closed).

    `answering` takes a paused one too: what was handed out before the pause may still be answered.
    """
    row = find_task(connection, task)
    if row is None:
        raise ReviewError(f"there is no task {task!r}", reason="unknown_task")
    if row.status != "open" and not (answering and row.status == "paused"):
        raise ReviewError(f"the task {row.name} is {row.status}", reason="task_closed")
    return row


def item_of(
    connection: Connection, mask_id: int, *, token: bytes, expires_at: float, now: float
) -> Item:
    """Return a leased mask as its annotator may see it."""
    size_hw, box, area_px = mask_frame(connection, mask_id)
    return Item(
        token.hex(),
        size_hw,
        (box.top, box.left, box.bottom, box.right),
        area_px,
        round(expires_at - now, 1),
    )
