"""One run: one arm with one seed, trained, evaluated and written; what is done is not done again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from baselines.checkpoint import CHECKPOINT_NAME, describe_difference, read_identity
from baselines.config import EvalConfig, TrainConfig, config_sha256
from baselines.exports import read_export
from baselines.predict import evaluate
from baselines.results import RESULT_NAME, RunResult, read_result, write_result
from baselines.train import train
from mseg_curate.core.metrics import ImageCounts
from mseg_curate.errors import ExportError, TrainingError
from mseg_curate.files import write_text_atomically

__all__ = ["Run", "carry_out", "is_done"]


@dataclass(frozen=True)
class Run:
    """All that one training and its evaluation depend on; small enough to hand to a process."""

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

    @property
    def config_sha256(self) -> str:
        """Hash what all runs of the experiment share."""
        return config_sha256(self.config, self.evaluation, weights_sha256=self.weights_sha256)

    @property
    def identity(self) -> str:
        """Name what the run's numbers depend on, as JSON with sorted keys."""
        return json.dumps(
            {
                "arm": self.arm,
                "config_sha256": self.config_sha256,
                "labels_sha256": self.labels_sha256,
                "seed": self.seed,
                "shared_sha256": self.shared_sha256,
            },
            sort_keys=True,
        )


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


def carry_out(run: Run, *, stop: Callable[[], bool], advance: Callable[[int], None]) -> RunResult:
    """Train, evaluate and write one run; `advance` is told how many steps and test images were done."""
    export = read_export(run.export_dir)
    if (export.shared_sha256, export.labels_sha256) != (run.shared_sha256, run.labels_sha256):
        raise ExportError("the export changed while the experiment ran", path=export.folder)
    _write_config(run)
    outcome = train(
        export,
        run.run_dir,
        config=run.config,
        seed=run.seed,
        identity=run.identity,
        device=run.device,
        stop=stop,
        on_step=advance,
    )
    began = time.perf_counter()
    tests: dict[str, ImageCounts] = {
        test.name: evaluate(
            outcome.model,
            test,
            index=export.index,
            evaluation=run.evaluation,
            stop=stop,
            on_image=lambda: advance(1),
        )
        for test in export.tests
    }
    result = RunResult(
        arm=run.arm,
        seed=run.seed,
        config_sha256=run.config_sha256,
        shared_sha256=run.shared_sha256,
        labels_sha256=run.labels_sha256,
        weights_sha256=run.weights_sha256,
        device=_describe_device(run.device),
        torch_version=torch.__version__,
        threads=torch.get_num_threads(),
        steps=outcome.steps,
        train_s=outcome.train_s,
        eval_s=time.perf_counter() - began,
        final_loss=outcome.final_loss,
        run_dir=run.run_dir,
        tests=tests,
    )
    write_result(result)
    return result


def _describe_device(device: str) -> str:
    return f"cuda ({torch.cuda.get_device_name()})" if device == "cuda" else device


def _write_config(run: Run) -> None:
    train_values = asdict(run.config) | {"weights": str(run.config.weights or "") or None}
    values = {
        **json.loads(run.identity),
        "weights_sha256": run.weights_sha256,
        "export": str(run.export_dir),
        "device": run.device,
        "torch_version": torch.__version__,
        "train": train_values,
        "evaluation": asdict(run.evaluation),
    }
    text = json.dumps(values, indent=2)
    write_text_atomically(run.run_dir / "config.json", text + "\n")
