"""Cross-entropy over labels that name one class or a set of classes, without full-size logits.

A network's logits are an eighth of the image's size in each direction. Enlarged, 194 classes at 473²
for 16 crops are 2.8 GB in float32, and their softmax and gradient as much again. Here a few rows are enlarged
at a time, their loss and gradient are taken, and the gradient is brought back to the small
size at once: the same numbers to rounding, and no second pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import torch
from torch import Tensor

from baselines.networks import upsample_bilinear

__all__ = ["count_valid", "enlarged_cross_entropy", "weigh_samples"]

# Values of enlarged logits that are worked on at once. Measured on a CPU with 194 classes at 473²: 4 MiB
# are four times as quick as the whole; on a GPU, where launches cost, it is 256 MiB.
BLOCK_CPU: Final = 1 << 20
BLOCK_CUDA: Final = 1 << 26


def enlarged_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    sets: Sequence[Sequence[int]],
    ignore_label: int,
    sample_weights: Tensor,
    size_hw: tuple[int, int],
    every: int = 1,
) -> Tensor:
    """Compute Σ_n weight_n Σ_pixels −log Σ_{u in label} p(u), the logits enlarged bilinearly to `size_hw`.

    `logits` is (N, C, h, w) float. `labels` is (N, ceil(H / every), ceil(W / every)) int64, every
    k-th pixel of every k-th row: 0 … C−1 name one class, for which the term is plain cross-entropy; C + j
    stands for the classes `sets[j]`; `ignore_label` pixels count nowhere. `sample_weights` is (N,)
    float. Returns a scalar; it can be differentiated once, by `logits` alone.

    Partial labels: Bevandić et al., WACV 2022, arXiv 2108.11224, section 3.
    """
    if logits.dtype in (torch.bfloat16, torch.float16):
        logits = logits.float()
    place = (logits.dtype, logits.device)
    task = _Task(
        rows=_plan_enlarging(logits.shape[2], size_hw[0], every, place),
        columns=_plan_enlarging(logits.shape[3], size_hw[1], every, place).matrix,
        labels=_table_members(tuple(map(tuple, sets)), logits.shape[1], logits.device),
        ignore_label=ignore_label,
    )
    total: Tensor = _EnlargedCrossEntropy.apply(logits, labels, sample_weights, task)  # type: ignore[no-untyped-call]
    return total


def count_valid(labels: Tensor, datasets: Tensor, *, number: int, ignore_label: int) -> Tensor:
    """Count the pixels that are not ignored per dataset: (number,) int64 from labels (N, H, W), datasets (N,)."""
    counts = (labels != ignore_label).sum((1, 2))
    belongs = datasets[None, :] == torch.arange(number, device=labels.device)[:, None]
    return (belongs * counts).sum(1)


def weigh_samples(counts: Tensor, datasets: Tensor, dataset_weights: Tensor) -> Tensor:
    """Return the (N,) float weights of samples' pixels that make the loss a mean over datasets of means over pixels.

    `counts` (D,) int64 are the valid pixels of each dataset in the whole batch, over all processes
    and parts; `dataset_weights` (D,) float say how much each dataset's mean counts. A dataset without a valid
    pixel is left out of the mean; without any, all weights are 0.
    """
    present = dataset_weights * (counts > 0)
    share = present / present.sum().clamp(min=torch.finfo(present.dtype).tiny)
    return (share / counts.clamp(min=1))[datasets]


@dataclass(frozen=True)
class _Enlarging:
    """A side's (size_out, size_in) matrix; row r of it is 0 outside of first[r] … last[r]."""

    matrix: Tensor
    first: tuple[int, ...]
    last: tuple[int, ...]

    def touched(self, rows: slice) -> slice:
        """Say which places before enlarging the enlarged `rows` draw upon."""
        return slice(self.first[rows.start], self.last[rows.stop - 1] + 1)


@dataclass(frozen=True)
class _Members:
    """The classes (C + S, M) of each label, and where that is padding; `gaps` is None without sets."""

    table: Tensor
    gaps: Tensor | None


@dataclass(frozen=True)
class _Task:
    """What does not depend on the batch's values."""

    rows: _Enlarging
    columns: Tensor
    labels: _Members
    ignore_label: int


class _EnlargedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, weights: Tensor, task: _Task) -> Tensor:
        wants = bool(ctx.needs_input_grad[0])
        gradient = torch.zeros_like(logits, memory_format=torch.contiguous_format)
        total = torch.zeros((), dtype=logits.dtype, device=logits.device)
        small = logits.contiguous()
        for samples, rows in _plan_blocks(logits, labels):
            low = task.rows.touched(rows)
            down = task.rows.matrix[rows, low]
            wide = small[samples, :, low] @ task.columns.T
            block = torch.log_softmax(down @ wide, dim=1)
            total += _take_block(
                block, labels[samples, rows], weights=weights[samples], task=task, wants=wants
            )
            if wants:
                gradient[samples, :, low] += (down.T @ block) @ task.columns
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * outer, None, None, None


def _take_block(
    block: Tensor, labels: Tensor, *, weights: Tensor, task: _Task, wants: bool
) -> Tensor:
    """Return a block's weighted loss; turn `block` (n, C, r, W) from log p into the loss's gradient by the logits."""
    valid = labels != task.ignore_label
    known = torch.where(valid, labels, 0)
    if task.labels.gaps is None:
        members = known.unsqueeze(1)
        chosen, share = block.gather(1, members).squeeze(1), None
    else:
        # A class alone is a set of one.
        members = task.labels.table[known].permute(0, 3, 1, 2)
        missing = task.labels.gaps[known].permute(0, 3, 1, 2)
        picked = block.gather(1, members).masked_fill_(missing, -torch.inf)
        chosen = picked.logsumexp(1)
        share = (picked - chosen.unsqueeze(1)).exp_()
    loss = -(torch.where(valid, chosen, 0.0).sum((1, 2)) * weights).sum()
    if wants:
        pixel_weights = (valid * weights[:, None, None]).unsqueeze(1)
        block.exp_().mul_(pixel_weights)
        block.scatter_add_(1, members, -pixel_weights if share is None else share * -pixel_weights)
    return loss


def _plan_blocks(logits: Tensor, labels: Tensor) -> list[tuple[slice, slice]]:
    """Cut samples and enlarged rows into blocks: whole samples where they fit, else rows of one sample."""
    limit = BLOCK_CUDA if logits.is_cuda else BLOCK_CPU
    number, height, width = labels.shape
    row_values = logits.shape[1] * width
    rows = max(1, min(height, limit // row_values))
    samples = max(1, limit // (row_values * rows)) if rows == height else 1
    return [
        (slice(first, min(first + samples, number)), slice(top, min(top + rows, height)))
        for first in range(0, number, samples)
        for top in range(0, height, rows)
    ]


# The tables stay on the device: copying them anew in every step would make the host wait for it.
@lru_cache(maxsize=64)
def _plan_enlarging(
    size_in: int, size_out: int, every: int, place: tuple[torch.dtype, torch.device]
) -> _Enlarging:
    identity = torch.eye(size_in)[None, None]
    matrix = upsample_bilinear(identity, (size_out, size_in))[0, 0, ::every]
    used = matrix != 0
    return _Enlarging(
        matrix=matrix.to(place[1], place[0]),
        first=tuple(used.int().argmax(1).tolist()),
        last=tuple((size_in - 1 - used.flip(1).int().argmax(1)).tolist()),
    )


@lru_cache(maxsize=16)
def _table_members(
    sets: tuple[tuple[int, ...], ...], classes: int, device: torch.device
) -> _Members:
    each = [(number,) for number in range(classes)] + list(sets)
    longest = max(map(len, each))
    padded = [[*members, *[members[0]] * (longest - len(members))] for members in each]
    gaps = [[place >= len(members) for place in range(longest)] for members in each]
    return _Members(
        table=torch.tensor(padded, device=device),
        gaps=torch.tensor(gaps, device=device) if sets else None,
    )
