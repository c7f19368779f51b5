"""Pyramid pooling, and the convolution that follows it without its enlarged maps (Zhao et al., 2017).

Half of what PSPNet's main head convolves are b × b maps enlarged bilinearly. Enlarging is linear and
acts on places alone, a convolution's taps are linear and act on channels alone: so the channels can
be contracted first, at b × b, and only the sums be enlarged. The result is the same but for rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.networks.layers import (
    averaging_matrix,
    bilinear_matrix,
    build_conv_bn,
    place_matrix,
    upsample_bilinear,
)

__all__ = ["BINS", "PyramidPooling", "convolve_pyramid", "pool_bins"]

BINS: Final = (1, 2, 3, 6)


class PyramidPooling(nn.Module):
    """Average over b × b bins, project to a quarter of the channels, upsample, concatenate."""

    def __init__(self, channels: int, *, bins: tuple[int, ...] = BINS) -> None:
        """Make one branch per entry of `bins`."""
        super().__init__()
        self.bins = bins
        quarter = channels // len(bins)
        self.channels_out = channels + quarter * len(bins)
        # Index 0 of each branch is kept free for the pooling, as in the published weights.
        self.features = nn.ModuleList(
            nn.Sequential(
                nn.Identity(), *build_conv_bn(channels, quarter, 1), nn.ReLU(inplace=True)
            )
            for _ in bins
        )

    def pool(self, x: Tensor) -> list[Tensor]:
        """Map (N, C, H, W) to one (N, C / number of bins, b, b) per entry b of `bins`."""
        pooled = pool_bins(x, self.bins)
        return [branch(y) for branch, y in zip(self.features, pooled, strict=True)]

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, about 2C, H, W)."""
        size_hw = (x.shape[2], x.shape[3])
        return torch.cat([x, *(upsample_bilinear(y, size_hw) for y in self.pool(x))], dim=1)


def pool_bins(x: Tensor, bins: Sequence[int]) -> list[Tensor]:
    """Average (N, C, H, W) over b × b areas for each b of `bins`: one (N, C, b, b) each.

    One product with the averages of all bins reads `x` once, in the layout that it has.
    """
    matrix = place_matrix(_all_bins_matrix, (x.shape[2], x.shape[3], *bins), x)
    if x.is_contiguous(memory_format=torch.channels_last):
        pooled = (matrix @ x.permute(0, 2, 3, 1).flatten(1, 2)).transpose(1, 2)
    else:
        pooled = x.flatten(2) @ matrix.T
    parts = torch.split(pooled, [b * b for b in bins], dim=2)
    return [part.reshape(*x.shape[:2], b, b) for b, part in zip(bins, parts, strict=True)]


def convolve_pyramid(x: Tensor, levels: Sequence[Tensor], weight: Tensor) -> Tensor:
    """Convolve `x` and the enlarged `levels`, concatenated, with a 3 × 3 kernel and padding 1.

    `x` is (N, C, H, W), each level (N, c, b, b), `weight` (O, C + all c, 3, 3); returns (N, O, H, W).
    """
    size_h, size_w = x.shape[2], x.shape[3]
    channels = [x.shape[1], *(level.shape[1] for level in levels)]
    kernel, *kernels = torch.split(weight, channels, dim=1)
    sums = F.conv2d(x, kernel, padding=1)
    rows = [place_matrix(_shifted_matrix, (y.shape[2], size_h), y) for y in levels]
    parts = [_contract(y, k, size_w) for y, k in zip(levels, kernels, strict=True)]
    enlarged = torch.cat(rows, dim=1) @ torch.cat(parts, dim=1).flatten(2)
    return sums + enlarged.view(-1, size_h, size_w, weight.shape[0]).permute(0, 3, 1, 2)


def _contract(level: Tensor, kernel: Tensor, size_w: int) -> Tensor:
    """Sum over the channels for each tap, and enlarge along the columns: (N, 3 b, size_w, O).

    Row (i, r) holds what the taps of the kernel's row i make of row r of the level.
    """
    n, channels, b, _ = level.shape
    taps = kernel.permute(0, 2, 3, 1).reshape(-1, channels)
    summed = F.linear(level.permute(0, 2, 3, 1).reshape(n * b * b, channels), taps)
    summed = summed.view(n, b, b, -1, 3, 3).permute(0, 4, 1, 5, 2, 3)
    columns = place_matrix(_shifted_matrix, (b, size_w), level)
    return (columns @ summed.reshape(n * 3 * b, 3 * b, -1)).view(n, 3 * b, size_w, -1)


def _shifted_matrix(sizes: tuple[int, ...], device: torch.device) -> Tensor:
    """Compute the (out, 3 · in) matrix that enlarges what three taps see, and adds it up.

    `sizes` is (in, out). Block i belongs to the tap i − 1 places ahead; past the ends a tap sees the
    zeros of the padding.
    """
    size_out = sizes[1]
    matrix = F.pad(bilinear_matrix(sizes, device), (0, 0, 1, 1))
    return torch.cat([matrix[tap : tap + size_out] for tap in range(3)], dim=1)


def _all_bins_matrix(sizes: tuple[int, ...], device: torch.device) -> Tensor:
    """Compute the (sum of b², H · W) matrix of the averages of all bins; `sizes` is (H, W, *bins)."""
    size_h, size_w, *bins = sizes
    areas = [
        torch.kron(averaging_matrix((size_h, b), device), averaging_matrix((size_w, b), device))
        for b in bins
    ]
    return torch.cat(areas)
