"""What all networks are made of: convolution and batch norm, heads, pooling and enlarging."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn

__all__ = [
    "Rule",
    "averaging_matrix",
    "bilinear_matrix",
    "build_conv_bn",
    "build_head",
    "place_matrix",
    "upsample_bilinear",
]

Rule = Callable[[tuple[int, ...], torch.device], Tensor]


def build_conv_bn(
    channels_in: int, channels_out: int, size: int = 3, stride: int = 1, dilation: int = 1
) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """Make a convolution without bias that keeps the size where `stride` is 1, and its batch norm."""
    padding = dilation * (size // 2)
    conv = nn.Conv2d(
        channels_in, channels_out, size, stride, padding=padding, dilation=dilation, bias=False
    )
    return conv, nn.BatchNorm2d(channels_out)


def build_head(channels_in: int, channels: int, classes: int, dropout: float) -> nn.Sequential:
    """Make 3 × 3 convolution, batch norm, ReLU, dropout and the classifier, as Zhao et al. (2017) do."""
    return nn.Sequential(
        *build_conv_bn(channels_in, channels),
        nn.ReLU(inplace=True),
        nn.Dropout2d(dropout),
        nn.Conv2d(channels, classes, 1),
    )


def upsample_bilinear(x: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Enlarge (N, C, h, w) bilinearly to `size_hw` with aligned corners.

    Two small matrix products: quick on a CPU, and deterministic both ways on a GPU.
    """
    rows = place_matrix(bilinear_matrix, (x.shape[2], size_hw[0]), x)
    columns = place_matrix(bilinear_matrix, (x.shape[3], size_hw[1]), x)
    return rows @ x.contiguous() @ columns.T


def averaging_matrix(sizes: tuple[int, ...], device: torch.device) -> Tensor:
    """Compute the (bins, size) float64 matrix that averages over bins; `sizes` is (size, bins)."""
    size, bins = sizes
    row = torch.arange(bins, device=device)[:, None]
    place = torch.arange(size, device=device)
    start, stop = row * size // bins, ((row + 1) * size + bins - 1) // bins
    return ((place >= start) & (place < stop)) / (stop - start).double()


def bilinear_matrix(sizes: tuple[int, ...], device: torch.device) -> Tensor:
    """Compute the (out, in) float64 matrix of linear interpolation with aligned ends; `sizes` is (in, out)."""
    size_in, size_out = sizes
    row = torch.arange(size_out, dtype=torch.float64, device=device)[:, None]
    place = row * ((size_in - 1) / max(size_out - 1, 1))
    return (1 - (place - torch.arange(size_in, device=device)).abs()).clamp(min=0)


def place_matrix(compute: Rule, sizes: tuple[int, ...], like: Tensor) -> Tensor:
    """Return `compute(sizes, device)` with the type and device of `like`; eagerly, compute it once."""
    if torch.compiler.is_compiling():
        return compute(sizes, like.device).to(like.dtype)
    return _remember(compute, sizes, like.device, like.dtype)


@lru_cache(maxsize=256)
def _remember(
    compute: Rule, sizes: tuple[int, ...], device: torch.device, dtype: torch.dtype
) -> Tensor:
    # A tensor that is first made in inference mode could not take part in training later.
    with torch.inference_mode(False):
        return compute(sizes, device).to(dtype)
