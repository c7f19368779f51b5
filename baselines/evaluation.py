"""Evaluating a checkpoint: one of a finished run, or a published PSPNet of the universal taxonomy."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from tqdm import tqdm

from baselines.auto import choose_device
from baselines.checkpoint import read_weights
from baselines.config import EVALUATIONS, PRESETS, EvalConfig, TrainConfig, override
from baselines.distributed import World, join_world
from baselines.exports import ClassIndex, Export, ZeroShotSet, check_files, index_all, read_export
from baselines.networks import Network, build_network, load_weights
from baselines.predict import evaluate
from baselines.results import write_counts
from baselines.scoring import resolutions
from baselines.stopping import stop_on_signals
from mseg_curate.core.metrics import ImageCounts
from mseg_curate.errors import ExportError, InputError, OutputError, TrainingError
from mseg_curate.files import sha256_of, write_text_atomically

__all__ = ["Evaluated", "OpenNetwork", "evaluate_checkpoint", "open_network"]

RUN_CONFIG: Final = "config.json"
EVALUATION_NAME: Final = "evaluation.json"
AUXILIARY: Final = "aux."


@dataclass(frozen=True)
class OpenNetwork:
    """A network with its weights, which universal class each output is, and how it was evaluated, if it was."""

    network: Network
    index: ClassIndex
    evaluation: EvalConfig


@dataclass(frozen=True)
class Evaluated:
    """What a checkpoint scored: `counts` by resolution and test dataset, `validation` by training dataset."""

    checkpoint: Path
    sha256: str
    title: str
    device: str
    evaluation: EvalConfig
    counts: Mapping[str, Mapping[str, ImageCounts]]
    validation: Mapping[str, ImageCounts]
    eval_s: float


def evaluate_checkpoint(
    checkpoint: Path,
    export_dir: Path,
    out: Path,
    *,
    preset: str = "paper",
    settings: Sequence[str] = (),
    eval_settings: Sequence[str] = (),
    device: str = "auto",
    progress: bool = True,
) -> Evaluated | None:
    """Evaluate a checkpoint on the test datasets of an export, at every declared resolution.

    Counts go to `out` as .npz with `evaluation.json` beside them; predicted label maps, where they are asked
    for, below out/predictions and out/validation, those of the declared resolution. Started by torchrun,
    all processes share the images; all but the first return None. See `open_network` for what it takes
    and raises.
    """
    place = choose_device(device)
    export = read_export(export_dir)
    if not export.tests and not export.validation:
        raise ExportError("the export has nothing to evaluate on", path=export_dir)
    check_files(export)
    _make_folder(out)
    with join_world(place) as world:
        opened = open_network(
            checkpoint,
            export,
            preset=preset,
            settings=settings,
            eval_settings=eval_settings,
        )
        opened.network.to(place)
        began = time.perf_counter()
        counts, validation = _measure(opened, export, out, world=world, progress=progress)
        if not world.is_first:
            return None
        found = Evaluated(
            checkpoint=checkpoint,
            sha256=sha256_of(checkpoint),
            title=opened.network.title,
            device=torch.cuda.get_device_name() if place == "cuda" else place,
            evaluation=opened.evaluation,
            counts=counts,
            validation=validation,
            eval_s=time.perf_counter() - began,
        )
        _write(found, export, out)
        return found


def open_network(
    checkpoint: Path,
    export: Export,
    *,
    preset: str = "paper",
    settings: Sequence[str] = (),
    eval_settings: Sequence[str] = (),
) -> OpenNetwork:
    """Build the network of a checkpoint and load its weights.

    Beside the checkpoint of a run lies config.json, which says what to build and how it was evaluated. Any other file
    holds a whole network, by default PSPNet with ResNet-50, whose outputs are all universal classes of
    `export` in their order; `settings` such as `backbone=resnet101` say what else it is.

    Raises TrainingError where weights are missing, do not fit or cannot be read, InputError for settings that
    do not apply, ExportError where a run's outputs are other classes than those of `export`.
    """
    config_path = checkpoint.parent / RUN_CONFIG
    if config_path.is_file():
        if settings:
            raise InputError(
                "the network of a run is what its config.json says",
                path=config_path,
                found=", ".join(settings),
                hint="leave the settings out",
            )
        return _open_run(checkpoint, config_path, export, eval_settings)
    config = override(replace(PRESETS[preset], weights=None), settings)
    index = index_all(export)
    network = build_network(config, classes=len(index.reachable), seed=0)
    random = [
        name for name in load_weights(network, checkpoint).random if not name.startswith(AUXILIARY)
    ]
    if random:
        raise TrainingError(
            f"{checkpoint}: {len(random)} tensors of {network.title} with {len(index.reachable)} outputs "
            f"are not in the file or have another shape: {', '.join(random[:6])}; its outputs must be all "
            "universal classes of the export, and its network the one that the settings name"
        )
    return OpenNetwork(network, index, override(EVALUATIONS[preset], eval_settings))


def _open_run(
    checkpoint: Path, config_path: Path, export: Export, eval_settings: Sequence[str]
) -> OpenNetwork:
    try:
        values: dict[str, Any] = json.loads(config_path.read_text(encoding="utf-8"))
        config = TrainConfig(**values["train"] | {"weights": None})
        listed: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values["evaluation"].items()
        }
        evaluation = EvalConfig(**listed)
        shared, source = str(values["shared_sha256"]), Path(str(values["export"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainingError(
            f"{config_path}: cannot be read ({error}); it was written by another version, or damaged"
        ) from error
    if shared != export.shared_sha256:
        _compare_outputs(export, source, config_path)
    network = build_network(config, classes=export.outputs, seed=0)
    try:
        network.load_state_dict(read_weights(checkpoint))
    except RuntimeError as error:
        raise TrainingError(f"{checkpoint}: weights do not fit {network.title}: {error}") from error
    return OpenNetwork(network, export.index, override(evaluation, eval_settings))


def _compare_outputs(export: Export, source: Path, config_path: Path) -> None:
    """Raise ExportError unless a run's own export and this one have the same outputs, by name."""
    if not (source / "manifest.json").is_file():
        raise ExportError(
            "the run was trained on another export, which is not there to compare the classes with",
            path=config_path,
            expected=str(source),
            hint="evaluate on that export, or put it back",
        )
    trained = read_export(source)
    ours, theirs = (
        [one.universal_names[number] for number in one.index.reachable] for one in (export, trained)
    )
    if ours != theirs:
        different = sorted(set(ours) ^ set(theirs)) or ["their order"]
        raise ExportError(
            "the outputs of the run are other classes than those of this export",
            path=export.folder,
            found=", ".join(different),
            hint="export with the same training datasets and mappings",
        )


def _measure(
    opened: OpenNetwork, export: Export, out: Path, *, world: World, progress: bool
) -> tuple[dict[str, dict[str, ImageCounts]], dict[str, ImageCounts]]:
    evaluation = opened.evaluation
    declared = resolutions(evaluation)
    counts: dict[str, dict[str, ImageCounts]] = {one.label: {} for one in declared}
    validation: dict[str, ImageCounts] = {}
    todo: list[tuple[str, ZeroShotSet, int]] = [
        ("test", test, number) for number in range(len(declared)) for test in export.tests
    ]
    if evaluation.validate:
        todo += [("validation", dataset, 0) for dataset in export.validation]
    images = sum(len(dataset.samples[world.rank :: world.size]) for _, dataset, _ in todo)
    shown = progress and world.is_first
    with (
        stop_on_signals() as stop,
        tqdm(total=images, unit="image", disable=None if shown else True) as bar,
    ):

        def advance() -> None:
            bar.update()

        for kind, dataset, number in todo:
            wanted = evaluation.predictions and number == 0
            folder = out / ("predictions" if kind == "test" else "validation") / dataset.name
            found = evaluate(
                opened.network,
                dataset,
                index=opened.index,
                evaluation=evaluation,
                resolution=declared[number],
                world=world,
                predictions=folder if wanted else None,
                stop=stop,
                on_image=advance,
            )
            (counts[declared[number].label] if kind == "test" else validation)[dataset.name] = found
    return counts, validation


def _make_folder(out: Path) -> None:
    """Make the folder now: a place that cannot be written to should not show after hours of evaluating."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot be made ({error.strerror})") from error


def _write(found: Evaluated, export: Export, out: Path) -> None:
    """Write all counts, then evaluation.json, which says which file is what."""
    files: dict[str, dict[str, str]] = {}
    for number, (label, by_test) in enumerate(found.counts.items()):
        files[label] = {test: f"counts-{number}-{test}.npz" for test in by_test}
        for test, counts in by_test.items():
            write_counts(out / files[label][test], counts)
    validation = {name: f"validation-{name}.npz" for name in found.validation}
    for name, counts in found.validation.items():
        write_counts(out / validation[name], counts)
    values = {
        "checkpoint": str(found.checkpoint.resolve()),
        "checkpoint_sha256": found.sha256,
        "network": found.title,
        "export": str(export.folder.resolve()),
        "shared_sha256": export.shared_sha256,
        "device": found.device,
        "torch_version": torch.__version__,
        "eval_s": found.eval_s,
        "evaluation": asdict(found.evaluation),
        "counts": files,
        "validation": validation,
    }
    write_text_atomically(out / EVALUATION_NAME, json.dumps(values, indent=2) + "\n")
