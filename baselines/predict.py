"""Zero-shot evaluation: a network of the universal taxonomy on a test dataset's own classes.

The protocol is MSeg's (Lambert et al., CVPR 2020, section 6): images at a fixed shorter side, sliding
crops, mirrored too; softmax over the outputs, summed per test class, averaged, resized to the
image's own size, argmax. Several scales are averaged at the size of the base.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from baselines.config import EvalConfig
from baselines.data import check_sizes, read_photo
from baselines.distributed import ALONE, World, agree, sum_over_world
from baselines.exports import ClassIndex, Sample, ZeroShotSet
from baselines.networks import Network
from baselines.scoring import LabelMap, Resolution, place_crops, predict_label_map, resolutions
from mseg_curate.core.metrics import ImageCounts, confusion_matrix
from mseg_curate.errors import ExportError, InputError, MissingExtraError, TrainingStoppedError
from mseg_curate.files import safe_join, write_bytes_atomically
from mseg_curate.images import encode_label_png, read_label

__all__ = [
    "Resolution",
    "evaluate",
    "place_crops",
    "predict_label_map",
    "resolutions",
    "sum_sources",
]

TEST_IGNORE_LABEL = 255
WIDE_IGNORE_LABEL = 65535

Photo = npt.NDArray[np.uint8]
Truth = npt.NDArray[np.uint8 | np.uint16]
LabelTable = npt.NDArray[np.uint8 | np.uint16]


def evaluate(
    network: Network,
    test: ZeroShotSet,
    *,
    index: ClassIndex,
    evaluation: EvalConfig,
    resolution: Resolution | None = None,
    world: World = ALONE,
    predictions: Path | None = None,
    stop: Callable[[], bool] = lambda: False,
    on_image: Callable[[], None] = lambda: None,
) -> ImageCounts:
    """Predict every image of a test dataset and count pixels per image and class.

    `resolution` is one of `resolutions(evaluation)`, the first where it is not given. Rank r of n takes the
    images r, r + n, …, and all ranks return the counts of all images. Predicted label maps are written
    below `predictions` as <image id>.png, in the ids of the test's label maps.

    Raises ImageError or ExportError for a sample that cannot be used, TrainingStoppedError when asked
    to stop, MissingExtraError where predictions cannot be written; `on_image` is told of every image of this rank.
    """
    if predictions is not None and find_spec("zlib_ng") is None:
        raise MissingExtraError("writing label maps needs zlib-ng: `pip install zlib-ng`")
    network.eval()
    chosen = resolution or resolutions(evaluation)[0]
    sources = sum_sources(test, index).to(network.mean.device)
    table = _tabulate_labels(test)
    rows = np.zeros((3, len(test.samples), len(test.classes)), np.int64)
    total = np.zeros((len(test.classes), len(test.classes) + 1), np.int64)

    def measure(number: int, photo: Photo, truth: Truth) -> None:
        sample = test.samples[number]
        prediction = predict_label_map(
            network, photo, sources=sources, evaluation=evaluation, resolution=chosen
        )
        if predictions is not None:
            _write_prediction(predictions, sample, prediction, test=test)
        confusion = _count(truth, prediction, table=table, sample=sample, test=test)
        square = confusion[:, :-1]
        rows[:, number] = np.diagonal(square), confusion.sum(axis=1), square.sum(axis=0)
        np.add(total, confusion, out=total)

    with closing(_read_ahead(test.samples, world)) as coming:
        # All ranks ask equally often whether to stop; the last turn may hold nothing for this one.
        for _ in range(0, len(test.samples), world.size):
            if agree(stop(), world):
                raise TrainingStoppedError(
                    f"stopped while evaluating {test.name}; run the same command again to go on"
                )
            for found in islice(coming, 1):
                measure(*found)
                on_image()
    rows = sum_over_world(rows, world)
    return ImageCounts(
        image_ids=tuple(sample.image_id for sample in test.samples),
        classes=test.classes,
        predictable=(sources.sum(dim=1) > 0).cpu().numpy(),
        intersection=rows[0],
        truth=rows[1],
        prediction=rows[2],
        confusion=sum_over_world(total, world),
    )


def _read_ahead(
    samples: Sequence[Sample], world: World
) -> Generator[tuple[int, Photo, Truth], None, None]:
    """Read this rank's samples, each while the one before it is worked on; raises what reading raises in its turn."""
    numbers = range(world.rank, len(samples), world.size)
    with ThreadPoolExecutor(1) as pool:
        coming = [pool.submit(_read, samples[number]) for number in numbers[:1]]
        for place, number in enumerate(numbers):
            found = coming.pop()
            coming = [pool.submit(_read, samples[after]) for after in numbers[place + 1 :][:1]]
            yield (number, *found.result())


def _read(sample: Sample) -> tuple[Photo, Truth]:
    image, truth = read_photo(sample), read_label(sample.label)
    check_sizes(sample, image, truth)
    return image, truth


def _tabulate_labels(test: ZeroShotSet) -> LabelTable | None:
    """Map the ids of the label maps to classes, None where they are the same: (ids,) uint8, or uint16 for many.

    Ids that count nowhere become the largest number of the type, all others K.
    """
    if not test.label_ids:
        return None
    size = 1 << (16 if max((*test.label_ids, *test.ignored_ids)) > 255 else 8)
    dtype = np.uint8 if len(test.classes) < TEST_IGNORE_LABEL else np.uint16
    table: LabelTable = np.full(size, len(test.classes), dtype)
    table[list(test.label_ids)] = np.arange(len(test.classes))
    table[list(test.ignored_ids)] = np.iinfo(dtype).max
    return table


def _count(
    truth: npt.NDArray[np.integer],
    prediction: LabelMap,
    *,
    table: LabelTable | None,
    sample: Sample,
    test: ZeroShotSet,
) -> npt.NDArray[np.int64]:
    """Count the pixels of one image; raises ExportError for an id that is of no class."""
    classes = len(test.classes)
    try:
        if table is None:
            return confusion_matrix(
                truth, prediction, classes=classes, ignore_label=TEST_IGNORE_LABEL
            )
        if int(truth.max(initial=0)) < len(table):
            found = table[truth]
            if (found != classes).all():
                ignored = int(np.iinfo(table.dtype).max)
                return confusion_matrix(found, prediction, classes=classes, ignore_label=ignored)
        ids = np.setdiff1d(truth, np.flatnonzero(table != classes)).tolist()
        raise InputError("ids of no class that the dataset can have", found=str(ids))
    except InputError as error:
        raise ExportError(f"test label map: {error}", path=sample.label) from error


def _write_prediction(
    folder: Path, sample: Sample, prediction: LabelMap, *, test: ZeroShotSet
) -> None:
    path = safe_join(folder, f"{sample.image_id}.png")
    if test.label_ids:
        wide = max((*test.label_ids, *test.ignored_ids)) > 255
        ids = np.full(
            np.iinfo(prediction.dtype).max + 1,
            WIDE_IGNORE_LABEL if wide else TEST_IGNORE_LABEL,
            np.uint16,
        )
        ids[: len(test.label_ids)] = test.label_ids
        prediction = ids[prediction].astype(np.uint16 if wide else np.uint8)
    write_bytes_atomically(path, encode_label_png(prediction))


def sum_sources(test: ZeroShotSet, index: ClassIndex) -> Tensor:
    """Return the (K, outputs) float32 matrix of 0 and 1 that sums outputs to test classes.

    Sources that no training class can become have no output; a class left without any is a row
    of zeros and is never predicted.
    """
    matrix = torch.zeros(len(test.classes), len(index.reachable))
    places = {universal: output for output, universal in enumerate(index.reachable)}
    for row, universals in enumerate(test.sources):
        for universal in universals:
            if universal in places:
                matrix[row, places[universal]] = 1
    return matrix
