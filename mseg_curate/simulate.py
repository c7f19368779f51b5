"""Simulated annotators: they know the truth and err at a stated rate.

For demonstrations and for measuring what errors cost; stored as annotators of the kind `simulated`, never mixed up
with people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mseg_curate.clock import epoch_of
from mseg_curate.core.consensus import Outcome
from mseg_curate.core.label_map import ColourTable, LabelMap
from mseg_curate.core.mapping import Relation
from mseg_curate.decide import append_votes
from mseg_curate.errors import DatasetError, InputError
from mseg_curate.files import safe_join
from mseg_curate.progress import track
from mseg_curate.readers.class_table import read_class_table
from mseg_curate.readers.decisions_csv import CsvDecision
from mseg_curate.readers.folder import load_label_map
from mseg_curate.store import Store
from mseg_curate.store.chores import finish_chores
from mseg_curate.store.datasets import ImageRow, list_images, load_dataset
from mseg_curate.store.masks import StoredMask, masks_of_task
from mseg_curate.store.tasks import TaskRow, load_task
from mseg_curate.store.taxonomies import load_mapping

__all__ = ["Simulated", "simulate_annotators"]


@dataclass(frozen=True)
class Simulated:
    """What simulated annotators did: `right` of `votes` decisions name the true class."""

    masks: int
    votes: int
    right: int
    new: int


def simulate_annotators(
    store: Store,
    task_name: str,
    *,
    truth: Path,
    accuracy: float,
    annotators: int = 3,
    seed: int = 0,
    now: str,
) -> Simulated:
    """Decide every mask of a task as `annotators` people of a stated accuracy would.

    The truth of a mask is the class that most of its pixels carry in the label maps of the folder `truth`: classes.tsv,
    in the classes of the dataset or named like the candidates, and `<id>.png` in its `labels` or beside it. An
    annotator names it with probability `accuracy`, else any other candidate, each equally likely. Raises ImageError
    where the truth misses an image, DatasetError where it has another size or an id outside its class table,
    InputError for an accuracy outside 0 … 1.
    """
    if not 0 <= accuracy <= 1:
        raise InputError("accuracy of an annotator", expected="0 … 1", found=f"{accuracy:g}")
    with store.reading() as connection:
        task = load_task(connection, task_name)
        dataset = load_dataset(connection, task.dataset)
        found = load_mapping(connection, dataset.id, dataset=dataset.name)
        images = {image.id: image for image in list_images(connection, dataset.id)}
        masks = list(masks_of_task(connection, task.id))
    universal = {
        e.source: e.targets[0]
        for e in (found[1].entries if found else ())
        if e.relation in (Relation.KEEP, Relation.MERGE)
    }
    truths = _true_classes(truth, task, masks, images, universal)
    rng = np.random.default_rng(seed)
    rows, right = _vote(
        task,
        masks,
        images=images,
        truths=truths,
        accuracy=accuracy,
        annotators=annotators,
        rng=rng,
    )
    with store.writing() as connection:
        new = append_votes(connection, rows, path=None, kind="simulated", now=now)
    finish_chores(store, now=epoch_of(now))
    return Simulated(len(masks), len(rows), right, new)


def _true_classes(
    truth: Path,
    task: TaskRow,
    masks: list[StoredMask],
    images: Mapping[int, ImageRow],
    universal: Mapping[str, str],
) -> list[str]:
    """Return the outcome that is right for each mask: a candidate, or none of these."""
    table = read_class_table(truth / "classes.tsv")
    names = {i: universal.get(name, name) for i, name in table.classes}
    colours = ColourTable.of(table.colours) if table.colours else None
    labels = truth / "labels" if (truth / "labels").is_dir() else truth
    outcomes = []
    shown: tuple[int, LabelMap] | None = None
    for stored in track(masks, total=len(masks), what="looking up the truth"):
        image = images[stored.image_id]
        path = safe_join(labels, image.key + ".png")
        if shown is None or shown[0] != image.id:
            shown = (image.id, load_label_map(path, colours))
        if shown[1].shape != image.size_hw:
            raise DatasetError(
                "truth has another size than its image",
                path=path,
                expected=str(image.size_hw),
                found=str(shown[1].shape),
            )
        box = stored.mask.box
        window = shown[1][box.top : box.bottom, box.left : box.right]
        majority = int(np.bincount(window[stored.mask.crop()]).argmax())
        if majority not in table.known_ids:
            raise DatasetError(
                "truth has an id outside its class table",
                path=path,
                expected="an id of classes.tsv",
                found=str(majority),
            )
        name = names.get(majority, "")
        outcomes.append(name if name in task.candidates else Outcome.NONE_OF_THESE.value)
    return outcomes


def _vote(
    task: TaskRow,
    masks: list[StoredMask],
    *,
    images: Mapping[int, ImageRow],
    truths: list[str],
    accuracy: float,
    annotators: int,
    rng: np.random.Generator,
) -> tuple[list[CsvDecision], int]:
    rows: list[CsvDecision] = []
    right = 0
    for person in range(1, annotators + 1):
        name = f"simulated-{accuracy * 100:g}%-{person}"
        for stored, true in zip(masks, truths, strict=True):
            image = images[stored.image_id]
            others = [c for c in task.candidates if c != true]
            is_right = bool(rng.random() < accuracy)
            choice = true if is_right else others[int(rng.integers(len(others)))]
            right += is_right
            rows.append(
                CsvDecision(
                    line=len(rows) + 1,
                    dataset=task.dataset,
                    split=image.split,
                    sequence=image.sequence,
                    image=image.name,
                    segment=stored.mask.segment,
                    source_class=task.source_class,
                    outcome=choice,
                    annotator=name,
                )
            )
    return rows, right
