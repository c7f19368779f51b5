"""What a finished run leaves behind, and reading it back."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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
    "read_result",
    "write_result",
]

RESULT_NAME: Final = "result.json"
ARRAYS: Final = ("predictable", "intersection", "truth", "prediction", "confusion")


@dataclass(frozen=True, eq=False)
class RunResult:
    """One arm, one seed: where it came from, what it cost, what it scored per test dataset."""

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


def write_result(result: RunResult) -> None:
    """Write counts-<test>.npz for every test dataset, then result.json, into the run's folder."""
    for name, counts in result.tests.items():
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            image_ids=np.array(counts.image_ids, np.str_),
            classes=np.array(counts.classes, np.str_),
            **{array: getattr(counts, array) for array in ARRAYS},
        )
        write_bytes_atomically(_counts_path(result.run_dir, name), buffer.getvalue())
    values = {name: value for name, value in vars(result).items() if name != "run_dir"}
    text = json.dumps(values | {"tests": list(result.tests)}, indent=2)
    write_text_atomically(result.run_dir / RESULT_NAME, text + "\n")


def read_result(run_dir: Path) -> RunResult:
    """Read a finished run; raises TrainingError where a file is missing or damaged."""
    path = run_dir / RESULT_NAME
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        tests = {name: _read_counts(_counts_path(run_dir, name)) for name in values.pop("tests")}
        return RunResult(**values, run_dir=run_dir, tests=tests)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, InputError) as error:
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


def _counts_path(run_dir: Path, test: str) -> Path:
    return run_dir / f"counts-{test}.npz"


def _read_counts(path: Path) -> ImageCounts:
    with np.load(path, allow_pickle=False) as file:
        return ImageCounts(
            image_ids=tuple(file["image_ids"].tolist()),
            classes=tuple(file["classes"].tolist()),
            **{array: file[array] for array in ARRAYS},
        )
