"""One run: one arm with one seed, trained, evaluated and written; what is done is not done again."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import torch

from baselines.checkpoint import CHECKPOINT_NAME, describe_difference, read_identity
from baselines.config import EvalConfig, TrainConfig, config_sha256
from baselines.distributed import ALONE, World
from baselines.exports import Export, ZeroShotSet, check_files, read_export, select_datasets
from baselines.networks import Network
from baselines.predict import Resolution, evaluate, resolutions
from baselines.results import RESULT_NAME, RunResult, read_result, write_result
from baselines.train import train
from mseg_curate.core.metrics import ImageCounts
from mseg_curate.errors import ExportError, TrainingError
from mseg_curate.files import write_text_atomically

__all__ = ["PREDICTIONS", "Run", "carry_out", "count_work", "is_done"]

PREDICTIONS: Final = "predictions"


@dataclass(frozen=True)
class Run:
    """All that one training and its evaluation depend on; small enough to hand to a process.

    `datasets` are those that are trained on. `config` is settled, and `choices` says in words what `auto` chose.
    `truth_sha256` is the hash of the labels of the export that the training datasets' other splits are measured with.
    """

    arm: str
    seed: int
    export_dir: Path
    run_dir: Path
    config: TrainConfig
    evaluation: EvalConfig
    device: str
    shared_sha256: str
    labels_sha256: str
    weights_sha256: str | None
    datasets: tuple[str, ...]
    truth_dir: Path | None = None
    truth_sha256: str = ""
    choices: str = ""

    @property
    def config_sha256(self) -> str:
        """Hash what all runs of the experiment share."""
        digest = config_sha256(self.config, self.evaluation, weights_sha256=self.weights_sha256)
        if not self.evaluation.validate:
            return digest
        return hashlib.sha256(f"{digest} {self.truth_sha256}".encode()).hexdigest()

    @property
    def identity(self) -> str:
        """Name what the run's numbers depend on, as JSON with sorted keys."""
        return json.dumps(
            {
                "arm": self.arm,
                "config_sha256": self.config_sha256,
                "datasets": list(self.datasets),
                "labels_sha256": self.labels_sha256,
                "seed": self.seed,
                "shared_sha256": self.shared_sha256,
            },
            sort_keys=True,
        )

    def sets_to_measure(self, export: Export) -> Iterator[tuple[Resolution, str, ZeroShotSet]]:
        """Yield every evaluation: its resolution, whether it is of a test or for validation, and the dataset."""
        first, *others = resolutions(self.evaluation)
        for resolution in (first, *others):
            yield from ((resolution, "test", test) for test in export.tests)
        if self.evaluation.validate:
            truth = read_export(self.truth_dir) if self.truth_dir else export
            yield from ((first, "validation", dataset) for dataset in truth.validation)


def is_done(run: Run) -> bool:
    """Say whether the run is finished; raises TrainingError where another one lies there."""
    done = (run.run_dir / RESULT_NAME).is_file()
    if done:
        result = read_result(run.run_dir)
        found = {name: getattr(result, name) for name in json.loads(run.identity)}
        identity: str | None = json.dumps(found, sort_keys=True)
    else:
        checkpoint = run.run_dir / CHECKPOINT_NAME
        identity = read_identity(checkpoint) if checkpoint.is_file() else run.identity
    if identity != run.identity:
        difference = describe_difference(identity, run.identity)
        raise TrainingError(
            f"{run.run_dir}: holds another run: {difference}; "
            "choose another output folder, or delete this one to start over"
        )
    return done


def count_work(run: Run) -> int:
    """Count what `carry_out` tells its `advance`: steps, and images measured."""
    export = read_export(run.export_dir)
    measured = (len(dataset.samples) for _, _, dataset in run.sets_to_measure(export))
    return run.config.steps + sum(measured)


def carry_out(
    run: Run,
    *,
    world: World = ALONE,
    stop: Callable[[], bool],
    advance: Callable[[int], None],
) -> RunResult:
    """Train, evaluate and write one run; `advance` is told how many steps and test images were done.

    All processes of `world` do so together; the first one writes.
    """
    export = read_export(run.export_dir)
    if (export.shared_sha256, export.labels_sha256) != (run.shared_sha256, run.labels_sha256):
        raise ExportError("the export changed while the experiment ran", path=export.folder)
    if world.is_first:
        check_files(export)
    export = select_datasets(export, run.datasets)
    if world.is_first:
        _write_config(run)
    try:
        return _carry_out(run, export, world=world, stop=stop, advance=advance)
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"{run.run_dir}: the memory of the {run.device} is full ({error}); lower batch, raise accumulate, "
            "or lower the evaluation's batch"
        ) from error


def _carry_out(
    run: Run,
    export: Export,
    *,
    world: World,
    stop: Callable[[], bool],
    advance: Callable[[int], None],
) -> RunResult:
    outcome = train(
        export,
        run.run_dir,
        config=run.config,
        seed=run.seed,
        identity=run.identity,
        device=run.device,
        world=world,
        stop=stop,
        on_step=advance,
    )
    began = time.perf_counter()
    measured = _measure(run, export, outcome.model, world=world, stop=stop, advance=advance)
    declared, *others = (resolution.label for resolution in resolutions(run.evaluation))
    result = RunResult(
        arm=run.arm,
        seed=run.seed,
        config_sha256=run.config_sha256,
        shared_sha256=run.shared_sha256,
        labels_sha256=run.labels_sha256,
        weights_sha256=run.weights_sha256,
        device=_describe_device(run.device, world),
        torch_version=torch.__version__,
        threads=torch.get_num_threads(),
        steps=outcome.steps,
        train_s=outcome.train_s,
        eval_s=time.perf_counter() - began,
        final_loss=outcome.final_loss,
        run_dir=run.run_dir,
        tests=measured["test", declared],
        others={label: measured["test", label] for label in others},
        validation=measured.get(("validation", declared), {}),
        network=run.config.network,
        backbone=run.config.backbone,
        datasets=run.datasets,
        choices=run.choices,
        resolution=declared,
    )
    if world.is_first:
        write_result(result)
    return result


def _measure(
    run: Run,
    export: Export,
    network: Network,
    *,
    world: World,
    stop: Callable[[], bool],
    advance: Callable[[int], None],
) -> dict[tuple[str, str], dict[str, ImageCounts]]:
    """Evaluate what `sets_to_measure` names; return counts by (test or validation, resolution) and dataset.

    Predictions, where they are asked for, are those of the declared resolution.
    """
    declared = resolutions(run.evaluation)[0]
    measured: dict[tuple[str, str], dict[str, ImageCounts]] = {}
    for resolution, kind, dataset in run.sets_to_measure(export):
        wanted = run.evaluation.predictions and kind == "test" and resolution == declared
        measured.setdefault((kind, resolution.label), {})[dataset.name] = evaluate(
            network,
            dataset,
            index=export.index,
            evaluation=run.evaluation,
            resolution=resolution,
            world=world,
            predictions=run.run_dir / PREDICTIONS / dataset.name if wanted else None,
            stop=stop,
            on_image=lambda: advance(1),
        )
    return measured


def _describe_device(device: str, world: World) -> str:
    name = f"cuda ({torch.cuda.get_device_name()})" if device == "cuda" else device
    return name if world.size == 1 else f"{world.size} × {name}"


def _write_config(run: Run) -> None:
    train_values = asdict(run.config) | {"weights": str(run.config.weights or "") or None}
    values = {
        **json.loads(run.identity),
        "weights_sha256": run.weights_sha256,
        "export": str(run.export_dir),
        "device": run.device,
        "torch_version": torch.__version__,
        "choices": run.choices,
        "truth": str(run.truth_dir or run.export_dir) if run.evaluation.validate else None,
        "train": train_values,
        "evaluation": asdict(run.evaluation),
    }
    text = json.dumps(values, indent=2)
    write_text_atomically(run.run_dir / "config.json", text + "\n")
