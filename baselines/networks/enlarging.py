"""Enlarging by a whole factor where features lie in the middle of what they saw (Long et al., 2015).

Pooling 2 × 2 puts a feature between its pixels; so enlarging has to count from centres, not from
corners. The weights of such an interpolation are those with which FCN's deconvolutions start.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.networks.layers import place_matrix

__all__ = ["LearnedEnlarging", "build_enlarging", "enlarge_centred"]


def enlarge_centred(x: Tensor, factor: int) -> Tensor:
    """Enlarge (N, C, h, w) bilinearly by `factor`, counting from the centres of pixels."""
    rows = place_matrix(_centred_matrix, (x.shape[2], factor), x)
    columns = place_matrix(_centred_matrix, (x.shape[3], factor), x)
    return rows @ x.contiguous() @ columns.T


def build_enlarging(classes: int, factor: int, *, learned: bool) -> nn.Module:
    """Make a module that enlarges by `factor`: with weights to be learned, or with none."""
    return LearnedEnlarging(classes, factor) if learned else FixedEnlarging(factor)


class FixedEnlarging(nn.Module):
    """Bilinear interpolation by a whole factor; it has no parameters."""

    def __init__(self, factor: int) -> None:
        """Remember the factor."""
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, C, factor · h, factor · w)."""
        return enlarge_centred(x, self.factor)


class LearnedEnlarging(nn.Module):
    """A transposed convolution that starts as bilinear interpolation, one filter for each class.

    The published layers hold classes² filters, of which all but the diagonal start at zero; at 194
    classes and factor 32 those are 154 million weights.
    """

    def __init__(self, classes: int, factor: int) -> None:
        """Start as the interpolation by an even `factor`."""
        super().__init__()
        self.factor = factor
        place = torch.arange(2 * factor) - (factor - 0.5)
        line = 1 - place.abs() / factor
        self.weight = nn.Parameter((line[:, None] * line).repeat(classes, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, C, factor · h, factor · w)."""
        # The border is repeated, as interpolation does; the library's padding is not deterministic.
        x = torch.cat([x[:, :, :1], x, x[:, :, -1:]], dim=2)
        x = torch.cat([x[..., :1], x, x[..., -1:]], dim=3)
        padding = self.factor + self.factor // 2
        return F.conv_transpose2d(
            x, self.weight, stride=self.factor, padding=padding, groups=x.shape[1]
        )


def _centred_matrix(sizes: tuple[int, ...], device: torch.device) -> Tensor:
    """Compute the (factor · size, size) matrix of linear interpolation; `sizes` is (size, factor)."""
    size, factor = sizes
    row = torch.arange(size * factor, dtype=torch.float64, device=device)[:, None]
    place = ((row + 0.5) / factor - 0.5).clamp(0, size - 1)
    return (1 - (place - torch.arange(size, device=device)).abs()).clamp(min=0)
