"""Several processes that train one network together, as `torchrun` starts them.

    torchrun --nproc-per-node 4 -m baselines …

Every process holds the whole network and takes its share of each batch. What a batch has in common
(batch statistics, dropout, the pixels that its loss is divided by) is shared, so that any number of
processes computes what one would, up to rounding.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.auto import choose_device
from mseg_curate.errors import TrainingError

__all__ = [
    "ALONE",
    "BatchDropout",
    "World",
    "agree",
    "join_world",
    "share_batch",
    "share_bytes",
    "share_state",
    "sum_over_world",
    "sum_tensor",
    "synchronise_norms",
]

ENVIRONMENT: Final = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class World:
    """This process's number among all that train together; alone it is 0 of 1."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """True in the one process that writes files and talks."""
        return self.rank == 0


ALONE: Final = World()


@contextmanager
def join_world(device: str = "auto") -> Iterator[World]:
    """Meet the other processes that `torchrun` started, until the block ends; alone where it started none.

    Messages go through gloo on a CPU; gradients on GPUs through NCCL, one GPU a process. Raises
    TrainingError where the environment is not torchrun's, the others do not come, or a GPU is missing.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield World()
        return
    missing = [name for name in ENVIRONMENT if name not in os.environ]
    if missing:
        raise TrainingError(
            f"WORLD_SIZE is set but {', '.join(missing)} is not: start the processes with torchrun"
        )
    on_cuda = choose_device(device) == "cuda"
    if on_cuda:
        _choose_gpu(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_cuda else "gloo")
    except (RuntimeError, ValueError) as error:
        raise TrainingError(f"the processes of this training did not meet: {error}") from error
    try:
        yield World(rank=dist.get_rank(), size=dist.get_world_size())
    finally:
        dist.destroy_process_group()


def _choose_gpu(number: int) -> None:
    there = torch.cuda.device_count()
    if number >= there:
        raise TrainingError(
            f"process {number} of this host finds {there} GPUs; start at most one process per GPU"
        )
    torch.cuda.set_device(number)


def sum_over_world(counts: npt.NDArray[np.int64], world: World) -> npt.NDArray[np.int64]:
    """Add up int64 arrays of one shape over all processes; every process gets the sum."""
    if world.size == 1:
        return counts
    total = torch.from_numpy(np.array(counts, np.int64))
    dist.all_reduce(total)
    return total.numpy()


def sum_tensor(values: Tensor, world: World) -> Tensor:
    """Add up tensors of one shape over all processes, in place, without waiting for a GPU."""
    if world.size > 1:
        dist.all_reduce(values)
    return values


def agree(flag: bool, world: World) -> bool:
    """Say whether any process says yes: the answer is the same in all."""
    if world.size == 1:
        return flag
    asked = torch.tensor(int(flag))
    dist.all_reduce(asked, op=dist.ReduceOp.MAX)
    return bool(asked.item())


def share_bytes(data: bytes | None, world: World) -> bytes | None:
    """Return what the first process hands in, in every process; None stays None."""
    if world.size == 1:
        return data
    size = torch.tensor(-1 if data is None else len(data))
    dist.broadcast(size, src=0)
    if size.item() < 0:
        return None
    if world.is_first and data is not None:
        content = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    else:
        content = torch.empty(int(size.item()), dtype=torch.uint8)
    dist.broadcast(content, src=0)
    return content.numpy().tobytes()


def share_state(model: nn.Module, world: World) -> None:
    """Give every process the first one's parameters and buffers."""
    if world.size > 1:
        for value in model.state_dict().values():
            dist.broadcast(value, src=0)


# --- what the samples of a batch have in common --------------------------------------------------------


def share_batch(model: nn.Module) -> list[BatchDropout]:
    """Replace the dropout of whole channels by one that does not depend on how a batch is divided.

    Returns the new modules; `slots` of each must say before a forward pass which samples come.
    """
    found: list[BatchDropout] = []

    def swap(module: nn.Module) -> nn.Module:
        if not isinstance(module, nn.Dropout2d):
            return module
        found.append(BatchDropout(module.p))
        return found[-1]

    _replace(model, swap)
    return found


class BatchDropout(nn.Module):
    """Dropout of whole channels; the mask is drawn for all samples of a batch, and each takes its row.

    With equal random states before each, all parts of a batch, in whatever process, drop what they
    would have dropped together.
    """

    def __init__(self, p: float) -> None:
        """Drop a channel with probability `p`."""
        super().__init__()
        self.p = p
        self.batch = 0
        self.slots: Tensor = torch.zeros(0, dtype=torch.int64)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape; sample n is number `slots[n]` of `batch`."""
        if not self.training or self.p == 0:
            return x
        kept = torch.empty(self.batch, x.shape[1], device=x.device).bernoulli_(1 - self.p)
        factor = (kept / max(1 - self.p, torch.finfo(kept.dtype).tiny))[self.slots]
        return x * factor[:, :, None, None].to(x.dtype)


def synchronise_norms(model: nn.Module, world: World) -> None:
    """Make batch norms take their statistics over all processes.

    On GPUs these are torch's own; torch refuses them on a CPU, where a small one takes their place.
    """
    if world.size == 1:
        return

    def swap(module: nn.Module) -> nn.Module:
        if not isinstance(module, nn.BatchNorm2d):
            return module
        on_cuda = next(module.parameters()).is_cuda
        new: nn.Module = (nn.SyncBatchNorm if on_cuda else WorldBatchNorm)(
            module.num_features, module.eps, module.momentum
        )
        new._parameters.update(module._parameters)
        new._buffers.update(module._buffers)
        return new.train(module.training)

    _replace(model, swap)


def _replace(model: nn.Module, swap: Any) -> None:
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            new = swap(child)
            if new is not child:
                setattr(parent, name, new)


class WorldBatchNorm(nn.BatchNorm2d):
    """Batch norm over the samples of all processes, for CPUs (Ioffe & Szegedy, ICML 2015)."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape; in evaluation nothing is shared."""
        if not self.training:
            return super().forward(x)
        out, mean, variance, number = _WorldNormalise.apply(x, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        if self.running_mean is not None and self.running_var is not None:
            share = 0.1 if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean.to(self.running_mean), share)
            unbiased = variance * number / (number - 1).clamp(min=1)
            self.running_var.lerp_(unbiased.to(self.running_var), share)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        normalised: Tensor = out
        return normalised


class _WorldNormalise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        wide = x if x.dtype == torch.float64 else x.float()
        variances, means = torch.var_mean(wide, (0, 2, 3), correction=0)
        here = torch.tensor([x.numel() // x.shape[1]], dtype=torch.float64)
        mine = torch.cat([here, means.double(), variances.double()])
        table = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
        dist.all_gather(table, mine)
        counts, means, variances = torch.split(
            torch.stack(table), [1, x.shape[1], x.shape[1]], dim=1
        )
        number = counts.sum()
        mean = (counts * means).sum(0) / number
        variance = (counts * (variances + (means - mean) ** 2)).sum(0) / number
        scale = (variance + eps).rsqrt().to(wide.dtype)
        centre = mean.to(wide.dtype)
        ctx.save_for_backward(x, weight, centre, scale, number)
        out = F.batch_norm(wide, centre, variance.to(wide.dtype), weight, bias, eps=eps)
        ctx.mark_non_differentiable(mean, variance, number)
        return out.to(x.dtype), mean, variance, number

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, outer: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, centre, scale, number = ctx.saved_tensors
        outer = outer.to(centre.dtype)
        line = (1, -1, 1, 1)
        even = (x.to(centre.dtype) - centre.view(line)) * scale.view(line)
        by_bias, by_weight = outer.sum((0, 2, 3)), (outer * even).sum((0, 2, 3))
        sums = torch.stack([by_bias, by_weight])
        dist.all_reduce(sums)
        sums = (sums / number).to(centre.dtype)
        common = sums[0].view(line) + even * sums[1].view(line)
        gradient = (outer - common) * (scale * weight).view(line)
        return gradient.to(x.dtype), by_weight, by_bias, None
