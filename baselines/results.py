"""What a finished run leaves behind, and reading it back."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from mseg_curate.core.metrics import ImageCounts
from mseg_curate.errors import InputError, TrainingError
from mseg_curate.files import write_bytes_atomically, write_text_atomically

__all__ = [
    "RESULT_NAME",
    "RunResult",
    "group_counts",
    "load_results",
    "read_counts",
    "read_result",
    "write_counts",
    "write_result",
]

RESULT_NAME: Final = "result.json"
ARRAYS: Final = ("predictable", "intersection", "truth", "prediction", "confusion")
# What JSON, zip and numpy raise on files that are damaged or of another kind.
READ_ERRORS: Final = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    InputError,
)


@dataclass(frozen=True, eq=False)
class RunResult:
    """One arm, one seed: where it came from, what it cost, what it scored per test dataset.

    `tests` is the evaluation that arms are compared by, `others` holds the further ones that were
    declared, by their label, and `validation` the training datasets' other splits. `datasets` were
    trained on; `choices` is what `auto` chose, `resolution` the label of the declared one. Results of older
    versions have none of these.
    """

    arm: str
    seed: int
    config_sha256: str
    shared_sha256: str
    labels_sha256: str
    weights_sha256: str | None
    device: str
    torch_version: str
    threads: int
    steps: int
    train_s: float
    eval_s: float
    final_loss: float
    run_dir: Path
    tests: Mapping[str, ImageCounts]
    others: Mapping[str, Mapping[str, ImageCounts]] = field(default_factory=dict)
    validation: Mapping[str, ImageCounts] = field(default_factory=dict)
    network: str = ""
    backbone: str = ""
    datasets: tuple[str, ...] = ()
    choices: str = ""
    resolution: str = ""


def write_result(result: RunResult) -> None:
    """Write the counts of every evaluation as .npz, then result.json, into the run's folder."""
    for name, counts in result.tests.items():
        write_counts(_tests_path(result.run_dir, name), counts)
    for number, by_test in enumerate(result.others.values()):
        for name, counts in by_test.items():
            write_counts(_others_path(result.run_dir, number, name), counts)
    for name, counts in result.validation.items():
        write_counts(_validation_path(result.run_dir, name), counts)
    values = {name: value for name, value in vars(result).items() if name != "run_dir"}
    values |= {
        "tests": list(result.tests),
        "others": {label: list(by_test) for label, by_test in result.others.items()},
        "validation": list(result.validation),
    }
    write_text_atomically(result.run_dir / RESULT_NAME, json.dumps(values, indent=2) + "\n")


def read_result(run_dir: Path) -> RunResult:
    """Read a finished run; raises TrainingError where a file is missing or damaged."""
    path = run_dir / RESULT_NAME
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        tests = {name: read_counts(_tests_path(run_dir, name)) for name in values.pop("tests")}
        others = {
            label: {name: read_counts(_others_path(run_dir, number, name)) for name in names}
            for number, (label, names) in enumerate(values.pop("others", {}).items())
        }
        validation = {
            name: read_counts(_validation_path(run_dir, name))
            for name in values.pop("validation", ())
        }
        values["datasets"] = tuple(values.get("datasets", ()))
        return RunResult(
            **values, run_dir=run_dir, tests=tests, others=others, validation=validation
        )
    except READ_ERRORS as error:
        raise TrainingError(
            f"{path}: result cannot be read ({error}); delete the folder to run it again"
        ) from error


def load_results(out: Path) -> list[RunResult]:
    """Read all finished runs of an experiment, ordered by arm and seed; may be none."""
    found = [read_result(path.parent) for path in out.glob(f"*/seed-*/{RESULT_NAME}")]
    return sorted(found, key=lambda result: (result.arm, result.seed))


def group_counts(results: Iterable[RunResult]) -> dict[str, list[Mapping[str, ImageCounts]]]:
    """Return the counts per arm, seeds ascending, as `compare_arms` takes them.

    Raises TrainingError where arms were run with different seeds or configurations.
    """
    ordered = sorted(results, key=lambda result: result.seed)
    seeds: dict[str, list[int]] = {}
    for result in ordered:
        seeds.setdefault(result.arm, []).append(result.seed)
    shared = {(result.config_sha256, result.shared_sha256) for result in ordered}
    if len({tuple(numbers) for numbers in seeds.values()}) > 1 or len(shared) > 1:
        raise TrainingError(
            f"runs cannot be compared: expected equal seeds and one configuration, found {seeds} "
            f"in {len(shared)} configurations; run the missing ones, or choose another folder"
        )
    arms = dict.fromkeys(result.arm for result in ordered)
    return {arm: [result.tests for result in ordered if result.arm == arm] for arm in arms}


def write_counts(path: Path, counts: ImageCounts) -> None:
    """Write counts as .npz, atomically."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        image_ids=np.array(counts.image_ids, np.str_),
        classes=np.array(counts.classes, np.str_),
        **{array: getattr(counts, array) for array in ARRAYS},
    )
    write_bytes_atomically(path, buffer.getvalue())


def read_counts(path: Path) -> ImageCounts:
    """Read what `write_counts` wrote; raises as numpy does where the file is missing or damaged."""
    # From memory, since numpy leaves a damaged file open.
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
        return ImageCounts(
            image_ids=tuple(file["image_ids"].tolist()),
            classes=tuple(file["classes"].tolist()),
            **{array: file[array] for array in ARRAYS},
        )


def _tests_path(run_dir: Path, test: str) -> Path:
    return run_dir / f"counts-{test}.npz"


def _others_path(run_dir: Path, number: int, test: str) -> Path:
    # Labels such as "512 px, 6 scales" are no file names; their order is that of result.json.
    return run_dir / f"others-{number}-{test}.npz"


def _validation_path(run_dir: Path, dataset: str) -> Path:
    return run_dir / f"validation-{dataset}.npz"
