"""Hand out first what a model finds suspicious: masks that are probably decided wrongly, then those it is unsure of."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from shlex import quote
from typing import TextIO

from mseg_curate.core.suspicion import NOTHING, SuspicionOrder, order_by_suspicion
from mseg_curate.errors import StoreError
from mseg_curate.readers.mask_csv import MaskKey
from mseg_curate.store import Connection, Store
from mseg_curate.store.ranks import rank_masks
from mseg_curate.store.suggestions import TaskJudgement, load_judgement, name_masks
from mseg_curate.store.tasks import TaskRow, load_task

__all__ = ["Prioritised", "Suspect", "list_suspects", "prioritise_suspicious", "write_suspects"]

_KEY = ("split", "sequence", "image", "segment")


@dataclass(frozen=True)
class Prioritised:
    """How many masks have a place of their own in the queue, by the part of the order that they are in.

    `settled` of the doubted ones have all the votes that their task asks for: nothing hands them out.
    """

    doubted: int
    undecided: int
    believed: int
    settled: int

    @property
    def masks(self) -> int:
        """All of them."""
        return self.doubted + self.undecided + self.believed


@dataclass(frozen=True)
class Suspect:
    """A mask, the answer that stands on it ('' where none does), and the class that a model suggests.

    `score` is the model's, 0 … 1, None where it does not say. `doubt` is the probability that the answer is wrong, or,
    where none stands, the entropy in nats of what the mask may be.
    """

    key: MaskKey
    standing: str
    suggested: str
    score: float | None
    doubt: float


def list_suspects(store: Store, task: str, *, count: int | None = None) -> list[Suspect]:
    """Return the masks of a task that have a suggestion, the most suspicious first; see `order_by_suspicion`.

    Raises StoreError where no mask has a suggestion.
    """
    with store.reading() as connection:
        judgement, order = _judge(connection, load_task(connection, task))
        numbers = order.masks[:count].tolist()
        keys = name_masks(connection, judgement.mask_ids[numbers].tolist())
    judged, names = judgement.judged, judgement.answers
    return [
        Suspect(
            key,
            names[order.standing[number]] if order.standing[number] != NOTHING else "",
            names[judged.suggested[number]],
            None if math.isnan(judged.score[number]) else float(judged.score[number]),
            float(order.doubt[number]),
        )
        for key, number in zip(keys, numbers, strict=True)
    ]


def write_suspects(suspects: Sequence[Suspect], *, out: TextIO) -> None:
    """Write suspects as a CSV file."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow((*_KEY, "standing", "suggested", "score", "doubt"))
    for suspect in suspects:
        score = "" if suspect.score is None else f"{suspect.score:.4f}"
        answers = (suspect.standing, suspect.suggested)
        writer.writerow((*suspect.key, *answers, score, f"{suspect.doubt:.4f}"))


def _judge(connection: Connection, task: TaskRow) -> tuple[TaskJudgement, SuspicionOrder]:
    judgement = load_judgement(connection, task)
    if not (judgement.judged.suggested != NOTHING).any():
        raise StoreError(
            f"no mask of the task {task.name} has a suggestion; make some with "
            f"`mseg-curate task suggest {quote(task.name)} --run DIR`"
        )
    return judgement, order_by_suspicion(judgement.judged)


def prioritise_suspicious(store: Store, task: str) -> Prioritised:
    """Hand out the masks of a task in the order of `list_suspects`, before those without a suggestion.

    Only masks that want more votes are handed out; the others keep their place for when they do. Raises StoreError
    where no mask has a suggestion.
    """
    with store.reading() as connection:
        row = load_task(connection, task)
        judgement, order = _judge(connection, row)
    masks = judgement.mask_ids[order.masks].tolist()
    ranks = {mask_id: place - len(masks) for place, mask_id in enumerate(masks)}
    rank_masks(store, row.id, ranks=ranks)
    settled = int((~judgement.wants_votes[order.doubted]).sum())
    return Prioritised(len(order.doubted), len(order.undecided), len(order.believed), settled)
