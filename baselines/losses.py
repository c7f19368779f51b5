"""Cross-entropy over labels that name one class or a set of classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["set_cross_entropy"]


def set_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    sets: Sequence[Sequence[int]],
    ignore_label: int,
    datasets: Tensor | None = None,
) -> Tensor:
    """Compute the mean over datasets of the mean over pixels of −log Σ_{u in label} p(u).

    `logits` is (N, C, H, W) float. `labels` is (N, H, W) int64: 0 … C−1 name one class, for which
    the term is plain cross-entropy; C + j stands for the classes `sets[j]`; `ignore_label` pixels
    count nowhere. `datasets` is (N,) integers that say which dataset a sample is of; without it
    the batch is one dataset. A dataset without a valid pixel is left out of the mean; a batch
    without any gives 0. Returns a scalar.

    Partial labels: Bevandić et al., WACV 2022, arXiv 2108.11224, section 3.
    """
    classes = logits.shape[1]
    valid = labels != ignore_label
    normaliser = torch.logsumexp(logits, dim=1)
    single = torch.where(valid & (labels < classes), labels, 0)
    chosen = logits.gather(1, single.unsqueeze(1)).squeeze(1)
    if sets:
        chosen = _add_sets(chosen, logits, torch.where(valid, labels, 0), sets)
    terms = torch.where(valid, normaliser - chosen, 0.0)
    return _average(terms.sum((1, 2)), valid.sum((1, 2)), datasets)


def _add_sets(
    chosen: Tensor, logits: Tensor, labels: Tensor, sets: Sequence[Sequence[int]]
) -> Tensor:
    """Replace `chosen` (N, H, W) at set pixels by the log of the summed exponentials."""
    classes = logits.shape[1]
    sample, row, column = (labels >= classes).nonzero(as_tuple=True)
    members, gaps = _table_sets(sets, logits.device)
    which = labels[sample, row, column] - classes
    picked = logits[sample[:, None], members[which], row[:, None], column[:, None]]
    summed = torch.logsumexp(picked.masked_fill(gaps[which], -torch.inf), dim=1)
    return chosen.index_put((sample, row, column), summed)


def _table_sets(sets: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the members (S, M) padded by each set's first one, and where the padding is."""
    longest = max(len(members) for members in sets)
    padded = [[*members, *[members[0]] * (longest - len(members))] for members in sets]
    gaps = [[place >= len(members) for place in range(longest)] for members in sets]
    return torch.tensor(padded, device=device), torch.tensor(gaps, device=device)


def _average(sums: Tensor, counts: Tensor, datasets: Tensor | None) -> Tensor:
    """Average per dataset, then over datasets; pairwise, so that no value leaves the device."""
    if datasets is None:
        return sums.sum() / counts.sum().clamp(min=1)
    same = (datasets[:, None] == datasets[None, :]).to(sums.dtype)
    total, count = same @ sums, same @ counts.to(sums.dtype)
    # Every sample of a dataset carries that dataset's mean, so each weighs one over their number.
    weight = (count > 0).to(sums.dtype) / same.sum(1)
    means = total / count.clamp(min=1)
    return (means * weight).sum() / weight.sum().clamp(min=1)
