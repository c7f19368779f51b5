"""What a finished run takes masks for: probabilities of classes, averaged over the pixels of each mask."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from baselines.auto import choose_device
from baselines.checkpoint import CHECKPOINT_NAME
from baselines.config import EvalConfig
from baselines.evaluation import open_network
from baselines.exports import ClassIndex, Export, read_export, select_datasets
from baselines.networks import Network
from baselines.results import RESULT_NAME, read_result
from baselines.scoring import resolutions, score_pixels
from mseg_curate.core.mask import Mask
from mseg_curate.errors import ExportError, TrainingError
from mseg_curate.files import sha256_of
from mseg_curate.images import read_label

__all__ = ["FinishedRun", "average_over_masks", "open_run"]

RUN_CONFIG: Final = "config.json"
MANIFEST: Final = "manifest.json"
SHORT_HASH: Final = 12


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A trained network on its device, ready to look at photos, and where it came from.

    `export` has the training datasets that the run was trained on and no others; `sha256` is that of its checkpoint.
    """

    network: Network
    index: ClassIndex
    evaluation: EvalConfig
    export: Export
    arm: str
    seed: int
    sha256: str
    settings: tuple[str, ...]

    @property
    def source(self) -> str:
        """What suggestions of this run are known by: its checkpoint's hash, arm, seed, network, and how it looks."""
        how = [resolutions(self.evaluation)[0].label, *self.settings]
        parts = [f"run {self.sha256[:SHORT_HASH]}", self.arm, f"seed {self.seed}"]
        return ", ".join([*parts, self.network.title, *how])

    @property
    def classes(self) -> tuple[str, ...]:
        """The universal classes that its outputs are, in their order."""
        return tuple(self.export.universal_names[number] for number in self.index.reachable)

    def trained_photos(self) -> frozenset[str]:
        """Return the SHA-256 of every photo that it was trained on."""
        return frozenset(
            sample.image_sha256 for dataset in self.export.train for sample in dataset.samples
        )

    def taught_among(self, names: Iterable[str]) -> set[str]:
        """Return those of the named universal classes that some pixel of its training labels has.

        A pixel of a set of classes teaches none of them. Label maps are read until all names were seen, the datasets
        in turns.
        """
        outputs = {name: output for output, name in enumerate(self.classes)}
        missing = {outputs[name]: name for name in names if name in outputs}
        wanted = set(missing.values())
        turns = zip_longest(*(dataset.samples for dataset in self.export.train))
        for sample in (sample for turn in turns for sample in turn if sample is not None):
            if not missing:
                break
            labels = self.index.compact(read_label(sample.label), path=sample.label)
            for output in np.unique(labels).tolist():
                missing.pop(output, None)
        return wanted - set(missing.values())


def open_run(
    run_dir: Path,
    *,
    export_dir: Path | None = None,
    device: str = "auto",
    settings: Sequence[str] = (),
) -> FinishedRun:
    """Open the network of a finished run on a device (auto, cpu or cuda) to look at photos as it was evaluated.

    `settings` such as `batch=1` change how it looks. `export_dir` is where the export that it was trained on lies now,
    where that is not the folder of its config.json. Raises TrainingError where the run is not finished or damaged,
    ExportError where the export is not there, or not the one of the run.
    """
    place = choose_device(device)
    if not (run_dir / RESULT_NAME).is_file():
        raise TrainingError(
            f"{run_dir}: no finished run: {RESULT_NAME} is missing; name a folder such as RUNS/ARM/seed-0, and "
            "let `mseg-curate train-baseline` end"
        )
    result = read_result(run_dir)
    folder = export_dir or _find_export(run_dir)
    if not (folder / MANIFEST).is_file():
        raise ExportError(
            "the export that the run was trained on is not there",
            path=folder,
            hint="put it back, or say with --export where it lies",
        )
    export = read_export(folder)
    theirs = (result.shared_sha256, result.labels_sha256)
    if (export.shared_sha256, export.labels_sha256) != theirs:
        raise ExportError(
            "not the export that the run was trained on",
            path=folder,
            expected=f"labels_sha256 {result.labels_sha256}",
            found=export.labels_sha256,
            hint="say with --export where that one lies",
        )
    checkpoint = run_dir / CHECKPOINT_NAME
    opened = open_network(checkpoint, export, eval_settings=settings)
    network = opened.network.to(place)
    network.eval()
    return FinishedRun(
        network,
        opened.index,
        opened.evaluation,
        export=select_datasets(export, result.datasets) if result.datasets else export,
        arm=result.arm,
        seed=result.seed,
        sha256=sha256_of(checkpoint),
        settings=tuple(setting for setting in settings if not setting.startswith("batch=")),
    )


def _find_export(run_dir: Path) -> Path:
    """Return the export that config.json names; a relative path may begin in any folder that the run lies in."""
    path = run_dir / RUN_CONFIG
    try:
        named = Path(str(json.loads(path.read_text(encoding="utf-8"))["export"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path}: cannot be read ({error}); it is damaged") from error
    places = [named, *(parent / named for parent in run_dir.resolve().parents)]
    return next((place for place in places if (place / MANIFEST).is_file()), named)


def average_over_masks(
    run: FinishedRun,
    photo: npt.NDArray[np.uint8],
    *,
    masks: Sequence[Mask],
    names: Sequence[str],
) -> npt.NDArray[np.float64]:
    """Return the mean probability of each named class in each mask of a (H, W, 3) uint8 RGB photo: (masks, names).

    The rest of the probability, 1 minus a row's sum, went to all other classes. A name that is no output of the network
    has 0. Raises TrainingError where the device's memory is full.
    """
    outputs = {name: output for output, name in enumerate(run.classes)}
    sources = torch.zeros(len(names), len(outputs), device=run.network.mean.device)
    for row, name in enumerate(names):
        if name in outputs:
            sources[row, outputs[name]] = 1
    means = np.zeros((len(masks), len(names)))
    scored = score_pixels(run.network, photo, sources=sources, evaluation=run.evaluation)
    try:
        for column, probabilities in enumerate(scored):
            found = probabilities.cpu().numpy()
            for row, mask in enumerate(masks):
                box = mask.box
                window = found[box.top : box.bottom, box.left : box.right]
                # Decoded for each class anew: all masks of a large photo may not fit into memory.
                means[row, column] = window[mask.crop()].mean(dtype=np.float64)
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"the device's memory is full ({error}); look at fewer crops at a time with --set-eval batch=1, "
            "or on the CPU with --device cpu"
        ) from error
    return means
