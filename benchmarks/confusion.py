"""How fast confusion matrices are counted, beside the ways that others count them.

    python benchmarks/confusion.py

One thread. Maps are 1024 × 2048; truth and prediction agree in about 80 % of the pixels. Smooth ones are of patches,
as label maps are, noise is of single pixels, and in between an eighth of the pixels is noise. Printed are medians over
calls in million pixels per second of the thread's own time, and how many times as fast ours is. All ways are compared,
integer by integer, before anything is timed.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable

import click
import numpy as np
import numpy.typing as npt

from mseg_curate.core.metrics import confusion_matrix

SIZE_HW = (1024, 2048)
PATCH_PX = 32
AGREEMENT = 0.8
IGNORED = 0.03
IGNORE_LABEL = 255

LabelMap = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int64]
Counter = Callable[[LabelMap, LabelMap, int], Counts]


def draw_maps(kind: str, classes: int, rng: np.random.Generator) -> tuple[LabelMap, LabelMap]:
    """Draw truth, a little of it ignored, and a prediction."""
    patch = 1 if kind == "noise" else PATCH_PX
    height, width = (side // patch for side in SIZE_HW)
    truth = rng.integers(0, classes, (height, width))
    other = rng.integers(0, classes, (height, width))
    prediction = np.where(rng.random((height, width)) < AGREEMENT, truth, other)
    truth[rng.random((height, width)) < IGNORED] = IGNORE_LABEL
    large = (
        part.astype(np.uint8).repeat(patch, 0).repeat(patch, 1) for part in (truth, prediction)
    )
    truth_map, prediction_map = large
    if kind == "smooth with noise":
        stray = rng.random(SIZE_HW) < 1 / 8
        prediction_map[stray] = rng.integers(0, classes, int(stray.sum()))
    return truth_map, prediction_map


def count_ours(truth: LabelMap, prediction: LabelMap, classes: int) -> Counts:
    """Count as the evaluation does."""
    return confusion_matrix(truth, prediction, classes=classes, ignore_label=IGNORE_LABEL)


def count_histogram(truth: LabelMap, prediction: LabelMap, classes: int) -> Counts:
    """Count with np.histogram over joint codes, the function that the reference code of MSeg rests on."""
    valid = truth != IGNORE_LABEL
    codes = truth[valid].astype(np.int64) * classes + prediction[valid]
    found, _ = np.histogram(codes, bins=np.arange(classes * classes + 1))
    return found.reshape(classes, classes).astype(np.int64)


def count_masked_bincount(truth: LabelMap, prediction: LabelMap, classes: int) -> Counts:
    """Count with np.bincount over the int64 codes of the pixels that are not ignored."""
    valid = truth != IGNORE_LABEL
    codes = truth[valid].astype(np.int64) * classes + prediction[valid]
    return np.bincount(codes, minlength=classes * classes).reshape(classes, classes)


def make_opencv_counter() -> Counter | None:
    """Count with cv2.calcHist over pairs, exact below 2 ** 24 pixels a bin; None where OpenCV is not installed."""
    try:
        import cv2  # noqa: PLC0415
    except ImportError:
        return None
    cv2.setNumThreads(1)

    def count_opencv(truth: LabelMap, prediction: LabelMap, classes: int) -> Counts:
        found = cv2.calcHist([truth, prediction], [0, 1], None, [256, 256], [0, 256, 0, 256])
        return found.astype(np.int64)[:classes, :classes]

    return count_opencv


def time_calls(
    counter: Counter, maps: tuple[LabelMap, LabelMap], classes: int, repeats: int
) -> float:
    """Return the median over calls of million pixels per second."""
    speeds = []
    for _ in range(repeats):
        began = time.thread_time()
        counter(*maps, classes)
        speeds.append(maps[0].size / 1e6 / (time.thread_time() - began))
    return statistics.median(speeds)


@click.command(help=__doc__)
@click.option("--repeats", default=15, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=0, show_default=True)
def main(repeats: int, seed: int) -> None:
    """Compare all matrices, time all ways, print the table."""
    rng = np.random.default_rng(seed)
    counters: dict[str, Counter] = {
        "ours": count_ours,
        "np.histogram": count_histogram,
        "masked np.bincount": count_masked_bincount,
    }
    opencv = make_opencv_counter()
    if opencv is not None:
        counters["cv2.calcHist"] = opencv
    click.echo(f"{platform.processor() or platform.machine()}, numpy {np.__version__}, one thread")
    click.echo("| maps | classes | " + " | ".join(counters) + " |")
    click.echo("| --- | --- |" + " --- |" * len(counters))
    for classes in (19, 194):
        for kind in ("smooth", "smooth with noise", "noise"):
            maps = draw_maps(kind, classes, rng)
            expected = count_ours(*maps, classes)[:, :classes]
            for name, counter in counters.items():
                if not np.array_equal(counter(*maps, classes)[:, :classes], expected):
                    raise click.ClickException(f"{name} counts something else on {kind}")
            speeds = {
                name: time_calls(one, maps, classes, repeats) for name, one in counters.items()
            }
            cells = [
                f"{speed:.0f}" if name == "ours" else f"{speed:.0f} (×{speeds['ours'] / speed:.1f})"
                for name, speed in speeds.items()
            ]
            click.echo(f"| {kind} | {classes} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
