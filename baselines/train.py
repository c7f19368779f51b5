"""Train one network on one arm of an export, for one seed.

    from baselines.train import train
    train(read_export(Path("exports/relabeled")), Path("runs/relabeled/seed-0"),
          config=PRESETS["small"], seed=0)

A run that was stopped goes on from its last checkpoint when it is called again; on a CPU with the same
number of threads the result is the same, bit for bit. The loop draws its random numbers anew in
every step from (seed, step), so that nothing but the step needs to be remembered.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from baselines.augment import augment_batch, choose_augmentation
from baselines.checkpoint import CHECKPOINT_NAME, TrainState, read_checkpoint, write_checkpoint
from baselines.config import TrainConfig
from baselines.data import CachedSample, Draw, SampleCache, Sampler
from baselines.exports import IGNORE, Export
from baselines.losses import set_cross_entropy
from baselines.networks import Network, build_network, upsample_bilinear
from mseg_curate.errors import TrainingError, TrainingStoppedError
from mseg_curate.files import write_text_atomically

__all__ = ["TrainOutcome", "choose_device", "learning_rate", "train"]

STEP_STREAM: Final = 3  # streams 1 and 2 are the sampler's
STEPS_AHEAD: Final = 4  # batches that reader threads prepare while the device works


@dataclass(frozen=True)
class TrainOutcome:
    """A trained network; `final_loss` is the mean over the last logged window of steps."""

    model: Network
    steps: int
    train_s: float
    final_loss: float


@dataclass
class _Progress:
    """What the loop carries from step to step besides model and optimiser."""

    step: int = 0
    earlier_s: float = 0.0
    started: float = field(default_factory=time.perf_counter)
    window: list[Tensor] = field(default_factory=list)
    window_loss: float = float("nan")
    log_lines: list[str] = field(default_factory=list)

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
    stop: Callable[[], bool] = lambda: False,
    on_step: Callable[[int], None] = lambda _: None,
) -> TrainOutcome:
    """Train to `config.steps`, from the checkpoint in `run_dir` if there is one.

    `identity` names everything the run depends on; a checkpoint with another one is refused.
    `stop` is asked after every step; `on_step` is told how many steps were done.
    Writes checkpoint.safetensors and log.jsonl into `run_dir`. Raises TrainingError on a loss that is
    not finite, TrainingStoppedError when asked to stop.
    """
    place = torch.device(choose_device(device))
    model = build_network(config, classes=export.outputs, seed=seed)
    model = model.to(device=place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = build_optimizer(model, config)
    checkpoint, log = run_dir / CHECKPOINT_NAME, run_dir / "log.jsonl"
    progress = _resume(checkpoint, log, model=model, optimizer=optimizer, identity=identity)
    on_step(progress.step)

    sizes = [len(dataset.samples) for dataset in export.train]
    sampler = Sampler(sizes, seed=seed, batch=config.batch)
    cache = SampleCache(export, base_px=config.base_px, limit_mib=config.cache_mib)
    steps = range(progress.step, config.steps)
    model.train()
    for step, draws, samples in read_batches(
        cache, sampler, steps=steps, threads=config.reader_threads
    ):
        # Dropout is the one consumer; the order of earlier steps must not matter to it.
        torch.manual_seed(_step_seed(seed, step))
        rate = learning_rate(config, step)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["factor"]

        images, labels = _augment(config, draws, samples, model.mean)
        datasets = torch.tensor([draw.dataset for draw in draws], device=place)
        loss = compute_loss(model, images, labels, config=config, export=export, datasets=datasets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        progress.window.append(loss.detach())
        progress.step = step + 1
        on_step(1)

        stopped, last = stop(), progress.step == config.steps
        if progress.step % config.log_every == 0 or last:
            _log_window(log, progress, rate)
        if stopped or last or progress.step % config.checkpoint_every == 0:
            _check_finite(progress)
            state = TrainState(
                progress.step, progress.elapsed_s(), progress.window, progress.window_loss
            )
            write_checkpoint(
                checkpoint, model, optimizer=optimizer, state=state, identity=identity, final=last
            )
        if stopped and not last:
            raise TrainingStoppedError(
                f"{run_dir}: stopped at step {progress.step} of {config.steps}; "
                "run the same command again to go on"
            )
    return TrainOutcome(model, progress.step, progress.elapsed_s(), progress.window_loss)


def compute_loss(
    model: Network,
    images: Tensor,
    labels: Tensor,
    *,
    config: TrainConfig,
    export: Export,
    datasets: Tensor,
) -> Tensor:
    """Compute the main loss plus the weighted auxiliary one, for a batch on the model's device."""
    size_hw = (labels.shape[1], labels.shape[2])
    every = config.loss_stride
    labels = labels[:, ::every, ::every]
    autocast = config.precision == "bfloat16"
    with torch.autocast(images.device.type, torch.bfloat16, enabled=autocast):
        heads = model(images.contiguous(memory_format=torch.channels_last))
    total = torch.zeros((), device=images.device)
    for logits, weight in zip(heads, (1.0, config.aux_weight), strict=True):
        if logits is not None:
            total = total + weight * set_cross_entropy(
                upsample_bilinear(logits.float(), size_hw, every=every),
                labels,
                sets=export.index.sets,
                ignore_label=IGNORE,
                datasets=datasets,
            )
    return total


def read_batches(
    cache: SampleCache, sampler: Sampler, *, steps: range, threads: int
) -> Iterator[tuple[int, tuple[Draw, ...], list[CachedSample]]]:
    """Yield step, draws and samples in order; threads, where there are any, read ahead."""
    if threads == 0:
        for step in steps:
            draws = sampler.draw_batch(step)
            yield step, draws, [cache.load(draw.dataset, draw.index) for draw in draws]
        return
    waiting: deque[tuple[int, tuple[Draw, ...], list[Future[CachedSample]]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="reader")
    try:
        for step in range(steps.start, steps.stop + STEPS_AHEAD):
            if step < steps.stop:
                draws = sampler.draw_batch(step)
                futures = [pool.submit(cache.load, draw.dataset, draw.index) for draw in draws]
                waiting.append((step, draws, futures))
            if step >= steps.start + STEPS_AHEAD and waiting:
                due, due_draws, loading = waiting.popleft()
                yield due, due_draws, [future.result() for future in loading]
    finally:
        pool.shutdown(cancel_futures=True)


def build_optimizer(model: Network, config: TrainConfig) -> torch.optim.Optimizer:
    """Make the optimiser; each group carries the `factor` by which its rate differs."""
    backbone, heads = model.split_parameters()
    groups = [
        {"params": list(parameters.values()), "factor": factor}
        for parameters, factor in ((backbone, 1.0), (heads, config.head_lr_factor))
        if parameters
    ]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay)
    return torch.optim.SGD(
        groups, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
    )


def learning_rate(config: TrainConfig, step: int) -> float:
    """Compute the backbone's rate in step `step` (from 0): poly, after a linear warm-up."""
    rise = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    return float(config.lr * rise * (1 - step / config.steps) ** config.power)


def choose_device(device: str) -> str:
    """Turn `auto` into cuda where there is one, else cpu; raises TrainingError for a missing one."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise TrainingError(f"unknown device: expected auto, cpu or cuda, found {device}")
    if device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("device cuda: torch finds none here; use --device cpu or auto")
    return device


def _augment(
    config: TrainConfig, draws: Sequence[Draw], samples: Sequence[CachedSample], mean: Tensor
) -> tuple[Tensor, Tensor]:
    choices = [
        choose_augmentation(config, draw.augmentation_seed, size_hw=sample.size_hw)
        for draw, sample in zip(draws, samples, strict=True)
    ]
    return augment_batch(samples, choices, crop_px=config.crop_px, mean=mean)


def _step_seed(seed: int, step: int) -> int:
    sequence = np.random.SeedSequence([seed, STEP_STREAM, step])
    return int(sequence.generate_state(1, np.uint32)[0])


def _resume(
    checkpoint: Path,
    log: Path,
    *,
    model: Network,
    optimizer: torch.optim.Optimizer,
    identity: str,
) -> _Progress:
    """Take up the checkpoint, and those lines of the log that it knows of."""
    state = read_checkpoint(checkpoint, model, optimizer=optimizer, identity=identity)
    lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
    kept = [line for line in lines if line and json.loads(line)["step"] <= state.step]
    return _Progress(
        log_lines=kept,
        step=state.step,
        earlier_s=state.train_s,
        window=list(state.window),
        window_loss=state.window_loss,
    )


def _check_finite(progress: _Progress) -> None:
    """Read the losses of the window back and refuse one that is not finite, by its step."""
    if not progress.window:
        return
    bad = (~torch.isfinite(torch.stack(progress.window))).nonzero().flatten().tolist()
    if bad:
        step = progress.step - len(progress.window) + bad[0] + 1
        loss = float(progress.window[bad[0]])
        raise TrainingError(
            f"the loss is {loss} at step {step}; the last checkpoint is from before it: "
            "lower lr, or lengthen warmup"
        )


def _log_window(log: Path, progress: _Progress, rate: float) -> None:
    _check_finite(progress)
    progress.window_loss = float(torch.stack(progress.window).double().mean())
    progress.window.clear()
    line = {
        "step": progress.step,
        "loss": progress.window_loss,
        "lr": rate,
        "elapsed_s": round(progress.elapsed_s(), 3),
    }
    progress.log_lines.append(json.dumps(line))
    write_text_atomically(log, "".join(f"{text}\n" for text in progress.log_lines))
