"""Train one network on one arm of an export, for one seed.

    from baselines.train import train
    train(read_export(Path("exports/relabeled")), Path("runs/relabeled/seed-0"),
          config=PRESETS["small"], seed=0)

A run that was stopped goes on from its last checkpoint when it is called again; on a CPU with the same
number of threads the result is the same, bit for bit. The loop draws its random numbers anew in
every step from (seed, step), so that nothing but the step needs to be remembered. Several processes
(`torchrun`) divide each batch, and compute what one would, up to rounding.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from baselines.auto import choose_device, describe, settle, use_algorithms
from baselines.checkpoint import CHECKPOINT_NAME, TrainState, read_checkpoint, write_checkpoint
from baselines.config import TrainConfig
from baselines.data import prepare_ahead
from baselines.distributed import ALONE, World, agree, share_state, sum_tensor
from baselines.exports import Export
from baselines.journal import Journal
from baselines.learner import Learner, learning_rate
from baselines.networks import Network
from baselines.pictures import SAMPLES_NAME, choose_examples, draw_samples
from mseg_curate.errors import TrainingError, TrainingStoppedError

__all__ = ["Learner", "TrainOutcome", "choose_device", "learning_rate", "train"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainOutcome:
    """A trained network with the weights to evaluate; `final_loss` is the mean over the last logged window."""

    model: Network
    steps: int
    train_s: float
    final_loss: float


@dataclass
class _Progress:
    """What the loop carries from step to step besides model and optimiser."""

    step: int = 0
    earlier_s: float = 0.0
    window: list[Tensor] = field(default_factory=list)
    window_loss: float = float("nan")
    started: float = field(default_factory=time.perf_counter)
    logged: tuple[int, float] = (0, 0.0)

    def elapsed_s(self) -> float:
        return self.earlier_s + time.perf_counter() - self.started


def train(
    export: Export,
    run_dir: Path,
    *,
    config: TrainConfig,
    seed: int,
    identity: str,
    device: str = "auto",
    world: World = ALONE,
    stop: Callable[[], bool] = lambda: False,
    on_step: Callable[[int], None] = lambda _: None,
) -> TrainOutcome:
    """Train to `config.steps`, from the checkpoint in `run_dir` if there is one.

    `identity` names everything the run depends on; a checkpoint with another one is refused.
    `stop` is asked after every step, and where one process is told to stop, all do; `on_step` is told
    how many steps were done. The first process writes checkpoint.safetensors, log.jsonl and what else
    `config` asks for into `run_dir`. Raises TrainingError on a loss that is not finite,
    TrainingStoppedError when asked to stop, MissingExtraError for TensorBoard where it is missing.
    """
    place = choose_device(device)
    settled = settle(config, device=place)
    if world.is_first and settled != config:
        log.info("auto: %s", describe(config, settled))
    with use_algorithms(settled, device=place):
        learner = Learner(export, settled, seed=seed, device=place, world=world)
        progress = _resume(learner, run_dir, identity=identity)
        on_step(progress.step)
        if progress.step < settled.steps:
            with _open_journal(learner, run_dir, progress.step) as write:
                _take_steps(
                    learner,
                    progress,
                    _Desk(run_dir, identity=identity, write=write, stop=stop, on_step=on_step),
                )
    return TrainOutcome(learner.model, progress.step, progress.elapsed_s(), progress.window_loss)


@dataclass(frozen=True)
class _Desk:
    """Where a run is written, and who is asked and told."""

    run_dir: Path
    identity: str
    write: Callable[..., None]
    stop: Callable[[], bool]
    on_step: Callable[[int], None]


def _take_steps(learner: Learner, progress: _Progress, desk: _Desk) -> None:
    config, world = learner.config, learner.world
    examples = None
    if config.sample_every and world.is_first:
        examples = choose_examples(learner.export, learner.cache, crop_px=config.crop_px)
    steps = range(progress.step, config.steps)
    for step, batch in prepare_ahead(learner.prepare, steps=steps, threads=config.reader_threads):
        progress.window.append(learner.learn(step, batch))
        progress.step = step + 1
        desk.on_step(1)
        stopped, last = agree(desk.stop(), world), progress.step == config.steps
        if progress.step % config.log_every == 0 or last:
            _log_window(learner, progress, desk)
        if examples is not None and progress.step % config.sample_every == 0:
            path = desk.run_dir / SAMPLES_NAME / f"step-{progress.step:06}.png"
            draw_samples(
                path,
                learner.model,
                examples=examples,
                export=learner.export,
                crop_px=config.crop_px,
            )
        if stopped or last or progress.step % config.checkpoint_every == 0:
            _keep(learner, progress, desk, final=last)
        if stopped and not last:
            raise TrainingStoppedError(
                f"{desk.run_dir}: stopped at step {progress.step} of {config.steps}; "
                "run the same command again to go on"
            )


def _resume(learner: Learner, run_dir: Path, *, identity: str) -> _Progress:
    """Take up the checkpoint, where there is one; what a killed process left half written is cleared."""
    if learner.world.is_first:
        for part in run_dir.glob(".*.part"):
            part.unlink(missing_ok=True)
    state = read_checkpoint(
        run_dir / CHECKPOINT_NAME,
        learner.model,
        optimizer=learner.optimizer,
        identity=identity,
        average=learner.average,
        world=learner.world,
    )
    return _Progress(
        step=state.step,
        earlier_s=state.train_s,
        window=list(state.window),
        window_loss=state.window_loss,
        logged=(state.step, state.train_s),
    )


def _keep(learner: Learner, progress: _Progress, desk: _Desk, *, final: bool) -> None:
    """Write a checkpoint; the final one, and the network from then on, hold the weights to evaluate."""
    _read_window(learner, progress)
    _check_weights(learner.model, progress.step)
    if final and learner.average is not None:
        learner.average.apply()
    if final:
        # Batch statistics of their own are all that processes may differ in.
        share_state(learner.model, learner.world)
    if learner.world.is_first:
        write_checkpoint(
            desk.run_dir / CHECKPOINT_NAME,
            learner.model,
            optimizer=learner.optimizer,
            state=TrainState(
                progress.step, progress.elapsed_s(), progress.window, progress.window_loss
            ),
            identity=desk.identity,
            final=final,
            average=learner.average,
        )


def _check_weights(model: Network, step: int) -> None:
    """Refuse weights that a finite loss spoilt: a checkpoint of them could never be taken up."""
    if not all(bool(value.isfinite().all()) for value in model.state_dict().values()):
        raise TrainingError(
            f"the weights are not finite after step {step}; "
            "the last checkpoint is from before it: lower lr, or lengthen warmup"
        )


def _read_window(learner: Learner, progress: _Progress) -> list[float]:
    """Read the losses of the window back, of all processes together; refuse one that is not finite."""
    if not progress.window:
        return []
    shared = sum_tensor(torch.stack(progress.window), learner.world)
    # From now on the first process carries the sums.
    progress.window = list(shared if learner.world.is_first else torch.zeros_like(shared))
    losses: list[float] = shared.tolist()
    for number, loss in enumerate(losses):
        if not np.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} at step {progress.step - len(losses) + number + 1}; "
                "the last checkpoint is from before it: lower lr, or lengthen warmup"
            )
    return losses


def _log_window(learner: Learner, progress: _Progress, desk: _Desk) -> None:
    progress.window_loss = float(np.mean(_read_window(learner, progress)))
    progress.window.clear()
    elapsed_s = progress.elapsed_s()
    steps, seconds = progress.step - progress.logged[0], elapsed_s - progress.logged[1]
    progress.logged = (progress.step, elapsed_s)
    desk.write(
        progress.step,
        loss=progress.window_loss,
        lr=learning_rate(learner.config, progress.step - 1),
        images_per_s=round(steps * learner.config.batch / seconds, 3),
        elapsed_s=round(elapsed_s, 3),
    )


@contextmanager
def _open_journal(learner: Learner, run_dir: Path, step: int) -> Iterator[Callable[..., None]]:
    """Yield what writes a line of the log; only the first process has one."""
    if not learner.world.is_first:
        yield lambda *_, **__: None
        return
    with Journal(run_dir, step=step, tensorboard=learner.config.tensorboard) as journal:
        yield journal.write
