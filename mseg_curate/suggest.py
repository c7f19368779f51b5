"""Suggest classes for the masks of a task with a trained network: the loop's way back from training to review."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mseg_curate.core.arms import Arm, ArmChoice
from mseg_curate.errors import DatasetError, InputError, MissingExtraError, StoreError
from mseg_curate.files import safe_join, sha256_of
from mseg_curate.images import read_image
from mseg_curate.progress import track
from mseg_curate.store import Store
from mseg_curate.store.datasets import DatasetRow, ImageRow, list_images, load_dataset
from mseg_curate.store.steering import store_suggestions
from mseg_curate.store.suggestions import images_without, masks_in_image
from mseg_curate.store.tasks import TaskRow, load_task

if TYPE_CHECKING:
    from baselines.mask_shares import FinishedRun

__all__ = ["Suggested", "suggest_from_run"]

Photo = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Suggested:
    """What a run suggested: masks by class, those it had suggested before, and the name it is stored under.

    `rest` is the share, 0 … 1, of the probability that went to classes that are no candidates, the mean over the masks.
    """

    source: str
    by_class: Mapping[str, int]
    known: int
    rest: float


def suggest_from_run(
    store: Store,
    task: str,
    *,
    run_dir: Path,
    export_dir: Path | None = None,
    device: str = "auto",
    settings: Sequence[str] = (),
    say: Callable[[str], None] = lambda _: None,
) -> Suggested:
    """Store for each mask of a task the candidate that a finished run gives most probability, and how much.

    The probabilities of the network are averaged over the pixels of the mask; the score is the candidate's share of
    what all candidates have. Suggestions are stored image by image: whoever stops this and calls it again goes on. They
    replace earlier ones, of whatever source. `say` is told what limits their worth.

    Raises MissingExtraError without torch, InputError where the run cannot tell the candidates apart, DatasetError for
    a photo that changed, and what `baselines.mask_shares.open_run` raises.
    """
    try:
        from baselines.mask_shares import open_run  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError(
            f"suggesting from a run needs {error.name}, which is not installed; "
            "install it with `pip install 'mseg-curate[train]'`"
        ) from error
    with store.reading() as connection:
        row = load_task(connection, task)
        dataset = load_dataset(connection, row.dataset)
        images = {image.id: image for image in list_images(connection, dataset.id)}
    if dataset.root is None:
        raise StoreError(
            f"dataset {dataset.name} has no pixels yet; add its folder with `mseg-curate dataset add`"
        )
    run = open_run(run_dir, export_dir=export_dir, device=device, settings=settings)
    for note in _limits(run, row):
        say(note)
    with store.reading() as connection:
        waiting = images_without(connection, row.id, source=run.source)
    note = _learnt_by_heart(run, [images[image_id] for image_id, _ in waiting])
    if note:
        say(note)
    counts: Counter[str] = Counter()
    rest = 0.0
    ahead = _read_ahead(dataset, [images[image_id] for image_id, _ in waiting])
    for image, photo in track(ahead, total=len(waiting), what="suggesting"):
        names, elsewhere = _suggest_in_image(store, row, run, image=image, photo=photo)
        counts.update(names)
        rest += elsewhere
    by_class = {name: counts[name] for name in row.candidates if counts[name]}
    known = row.masks - sum(masks for _, masks in waiting)
    return Suggested(run.source, by_class, known, rest / max(counts.total(), 1))


def _limits(run: FinishedRun, task: TaskRow) -> list[str]:
    """Return what a curator should know of a run that may suggest; raises InputError for one that may not."""
    choice = f"{run.arm}, seed {run.seed}"
    hint = "use a run of the arm relabeled"
    if _was_taught_the_default(run, task):
        raise InputError(
            f"the run ({choice}) was taught that every {task.source_class} of {task.dataset} is the default: it cannot "
            "tell the candidates apart",
            expected="a run that was shown what the candidates are",
            found=f"the arm {run.export.arm}",
            hint=hint,
        )
    taught = run.taught_among(task.candidates)
    untaught = [name for name in task.candidates if name not in taught]
    if len(taught) < 2:
        raise InputError(
            f"the run ({choice}) cannot tell the candidates of {task.name} apart: its training labels have no pixel of "
            + ", ".join(untaught),
            hint=f"{hint}, or of datasets that name the candidates",
        )
    if untaught:
        return [
            f"the run was never shown {', '.join(untaught)}: it suggests something else for such masks"
        ]
    return []


def _was_taught_the_default(run: FinishedRun, task: TaskRow) -> bool:
    """True where all masks of the task's class were trained on as the default of the split."""
    if task.dataset not in {dataset.name for dataset in run.export.train}:
        return False
    return run.export.arm in {Arm.UNRELABELED.value, ArmChoice(without=task.name).name}


def _learnt_by_heart(run: FinishedRun, images: Sequence[ImageRow]) -> str:
    """Return a warning where the run was trained on these very masks as they are decided; '' else."""
    if run.export.arm in {Arm.IGNORED.value, Arm.PARTIAL.value}:
        return ""
    trained = run.trained_photos()
    seen = sum(image.image_sha256 in trained for image in images)
    if not seen:
        return ""
    return (
        f"the run was trained on {seen:,} of the {len(images):,} photos as they are decided: it has learnt wrong "
        "decisions too, and finds fewer of them than one that was trained on other photos"
    )


def _read_ahead(
    dataset: DatasetRow, images: Sequence[ImageRow]
) -> Iterator[tuple[ImageRow, Photo]]:
    """Yield each image with its photo, read while the one before it is worked on."""
    with ThreadPoolExecutor(1) as pool:
        coming = [pool.submit(_read_photo, dataset, image) for image in images[:1]]
        for place, image in enumerate(images):
            photo = coming.pop().result()
            coming = [pool.submit(_read_photo, dataset, one) for one in images[place + 1 :][:1]]
            yield image, photo


def _read_photo(dataset: DatasetRow, image: ImageRow) -> Photo:
    """Read a photo, (H, W, 3) uint8 RGB; raises DatasetError where it is not the one that was added."""
    path = safe_join(dataset.root or Path(), image.image_file)
    photo = read_image(path)
    found = sha256_of(path)
    if found != image.image_sha256:
        raise DatasetError(
            "the photo changed after its dataset was added",
            path=path,
            expected=f"SHA-256 {image.image_sha256}",
            found=found,
            hint="put the former file back; what was suggested so far is kept",
        )
    return photo


def _suggest_in_image(
    store: Store, task: TaskRow, run: FinishedRun, *, image: ImageRow, photo: Photo
) -> tuple[list[str], float]:
    """Suggest and store the classes of the masks in one image.

    Returns the class of each, and the sum of the probability that went elsewhere.
    """
    from baselines.mask_shares import average_over_masks  # noqa: PLC0415

    with store.reading() as connection:
        masks = masks_in_image(connection, task.id, image.id, source=run.source)
    if not masks:
        return [], 0.0  # another process has just suggested for them
    means = average_over_masks(
        run, photo, masks=[stored.mask for stored in masks], names=task.candidates
    )
    among = means.sum(axis=1)
    best = means.argmax(axis=1)
    scores = means.max(axis=1) / np.maximum(among, np.finfo(np.float64).tiny)
    rows = [
        (stored.id, task.candidate_ids[place], round(float(score), 6))
        for stored, place, score in zip(masks, best, scores, strict=True)
    ]
    with store.writing() as connection:
        store_suggestions(connection, task.id, rows=rows, source=run.source)
    return [task.candidates[place] for place in best], float((1 - among).sum())
