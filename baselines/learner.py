"""A network that learns from batches: one step, alone or in one of several processes."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from baselines.augment import PackedBatch, choose_augmentation, cut_crops, pack_batch
from baselines.averaging import WeightAverage
from baselines.config import TrainConfig
from baselines.data import SampleCache, Sampler, weigh_datasets
from baselines.distributed import ALONE, World, share_batch, sum_tensor, synchronise_norms
from baselines.exports import IGNORE, Export
from baselines.losses import count_valid, enlarged_cross_entropy, weigh_samples
from baselines.networks import Network, build_network
from mseg_curate.errors import InputError

__all__ = ["Learner", "build_optimizer", "learning_rate"]

STEP_STREAM: Final = 3  # streams 1 and 2 are the sampler's


class Learner:
    """A network that learns from batches: everything of a run but its position, its clock and its files."""

    def __init__(
        self, export: Export, config: TrainConfig, *, seed: int, device: str, world: World = ALONE
    ) -> None:
        """Build the network and all around it for a settled `config`.

        Raises InputError for dataset weights that do not fit, or a batch too small to be divided.
        """
        self.export, self.config, self.seed, self.world = export, config, seed, world
        self.place = torch.device(device)
        self._slots = range(world.rank, config.batch, world.size)
        # On the device from the start: copying them there in every step would make the host wait for it.
        self._placed_slots = torch.tensor(self._slots, device=self.place)
        _check_batch(config, world)
        sizes = [len(dataset.samples) for dataset in export.train]
        names = [dataset.name for dataset in export.train]
        weights = weigh_datasets(config.dataset_weights, names, sizes)
        self._sampler = Sampler(sizes, seed=seed, batch=config.batch, weights=weights)
        self._dataset_weights = torch.tensor(
            [float(weight / max(weights)) for weight in weights], device=self.place
        )
        self.cache = SampleCache(export, base_px=config.base_px, limit_mib=config.cache_mib)
        self.layout = (
            torch.channels_last if config.layout == "channels_last" else torch.contiguous_format
        )
        model = build_network(config, classes=export.outputs, seed=seed)
        self.model = model.to(device=self.place, memory_format=self.layout)  # type: ignore[call-overload]
        self._dropouts = share_batch(self.model)
        if config.norm != "local":
            synchronise_norms(self.model, world)
        self.model.train()
        self.optimizer = build_optimizer(self.model, config)
        self.average = WeightAverage(self.model, config.ema) if config.ema else None
        self._together = _spread_over(self.model, config, world=world, place=self.place)
        together = self._together or self.model
        self._network = torch.compile(together) if config.compile == "yes" else together

    def prepare(self, step: int) -> PackedBatch:
        """Load and pack this process's share of the batch of `step`; any thread may."""
        drawn = self._sampler.draw_batch(step)
        draws = [drawn[slot] for slot in self._slots]
        samples = [self.cache.load(draw.dataset, draw.index) for draw in draws]
        choices = [
            choose_augmentation(self.config, draw.augmentation_seed, size_hw=sample.size_hw)
            for draw, sample in zip(draws, samples, strict=True)
        ]
        datasets = [draw.dataset for draw in draws]
        return pack_batch(samples, choices, datasets=datasets, pinned=self.place.type == "cuda")

    def learn(self, step: int, packed: PackedBatch) -> Tensor:
        """Take step `step` (from 0); returns this process's part of the loss, still on the device."""
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(config, step) * group["factor"]
        images, labels, weights = self._cut(packed)
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.place)
        parts = torch.arange(len(labels)).tensor_split(config.accumulate)
        for number, part in enumerate(parts):
            rows = slice(int(part[0]), int(part[-1]) + 1)
            # Dropout is the one consumer: in every part it must drop what it would in the whole.
            torch.manual_seed(_step_seed(self.seed, step))
            for dropout in self._dropouts:
                dropout.batch, dropout.slots = config.batch, self._placed_slots[rows]
            with self._hold_back(number + 1 < len(parts)):
                loss = self._compute_loss(images[rows], labels[rows], weights[rows])
                # Gradients are averaged over processes, and the loss is a sum over them.
                (loss * self.world.size).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        self.optimizer.step()
        if self.average is not None:
            self.average.update(step + 1)
        return total

    def _cut(self, packed: PackedBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Cut the crops; return images, labels and how much a pixel of each sample counts."""
        config = self.config
        batch = packed.move_to(self.place)
        images, labels = cut_crops(batch, crop_px=config.crop_px, mean=self.model.mean)
        labels = labels[:, :: config.loss_stride, :: config.loss_stride]
        # A mean over the whole batch: what it is divided by is known before the first part begins.
        counts = sum_tensor(
            count_valid(labels, batch.datasets, number=len(self.export.train), ignore_label=IGNORE),
            self.world,
        )
        return images, labels, weigh_samples(counts, batch.datasets, self._dataset_weights)

    def _compute_loss(self, images: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """Compute the main loss plus the weighted auxiliary one of a part of the batch."""
        config = self.config
        autocast = config.precision == "bfloat16"
        with torch.autocast(self.place.type, torch.bfloat16, enabled=autocast):
            heads = self._network(images.contiguous(memory_format=self.layout))
        total = torch.zeros((), device=self.place)
        for logits, share in zip(heads, (1.0, config.aux_weight), strict=True):
            if logits is not None:
                total = total + share * enlarged_cross_entropy(
                    logits,
                    labels,
                    sets=self.export.index.sets,
                    ignore_label=IGNORE,
                    sample_weights=weights,
                    size_hw=(config.crop_px, config.crop_px),
                    every=config.loss_stride,
                )
        return total

    def _hold_back(self, waiting: bool) -> AbstractContextManager[None]:
        """Keep gradients in this process while more parts of the batch are to come."""
        if self._together is None or not waiting:
            return nullcontext()
        held: AbstractContextManager[None] = self._together.no_sync()
        return held


def _check_batch(config: TrainConfig, world: World) -> None:
    """Raise InputError unless every part of every process gets as many crops as it needs."""
    shared = world.size > 1 and config.norm != "local"
    # Over a single crop, batch norm has no variance where features are 1 × 1: in the pyramid's first bin,
    # and between DeconvNet's five poolings and their inverses.
    is_point = config.network == "pspnet" or (
        config.network == "deconvnet" and config.crop_px <= 32
    )
    least = 2 if is_point and not shared else 1
    if config.batch < world.size * config.accumulate * least:
        raise InputError(
            "batch is too small to be divided",
            expected=f"at least {world.size} processes × {config.accumulate} parts × {least} crops",
            found=str(config.batch),
        )


def _spread_over(
    model: Network, config: TrainConfig, *, world: World, place: torch.device
) -> DistributedDataParallel | None:
    if world.size == 1:
        return None
    return DistributedDataParallel(
        model,
        device_ids=[torch.cuda.current_device()] if place.type == "cuda" else None,
        broadcast_buffers=False,
        gradient_as_bucket_view=True,
        # Without it gradients are grouped anew after the first step: a resumed run adds up in another order.
        find_unused_parameters=config.deterministic,
    )


def build_optimizer(model: Network, config: TrainConfig) -> torch.optim.Optimizer:
    """Make the optimiser; each group carries the `factor` by which its rate differs."""
    backbone, heads = model.split_parameters()
    groups = [
        {"params": list(parameters.values()), "factor": factor}
        for parameters, factor in ((backbone, 1.0), (heads, config.head_lr_factor))
        if parameters
    ]
    fused = config.fused == "yes" or None
    if config.optimizer == "adamw":
        return torch.optim.AdamW(
            groups, lr=config.lr, weight_decay=config.weight_decay, fused=fused
        )
    return torch.optim.SGD(
        groups,
        lr=config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        fused=fused,
    )


def learning_rate(config: TrainConfig, step: int) -> float:
    """Compute the backbone's rate in step `step` (from 0): poly, after a linear warm-up."""
    rise = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    return float(config.lr * rise * (1 - step / config.steps) ** config.power)


def _step_seed(seed: int, step: int) -> int:
    sequence = np.random.SeedSequence([seed, STEP_STREAM, step])
    return int(sequence.generate_state(1, np.uint32)[0])
