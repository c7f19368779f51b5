"""MobileNetV2, dilated to keep resolution (Sandler et al., CVPR 2018)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.networks.backbone import Backbone
from baselines.networks.layers import build_conv_bn

__all__ = ["DepthwiseConv", "InvertedResidual", "build_mobilenet_v2", "convolve_in_batch"]

# expansion, channels, repeats, stride: table 2 of Sandler et al.
STAGES: Final = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
AUX_AFTER: Final = 13  # the last block of 96 channels


def build_mobilenet_v2(*, width: float, output_stride: int) -> Backbone:
    """Build MobileNetV2 up to its last block of 320 channels: the stem and 17 blocks."""
    round_channels = _rounder(width)
    channels = [round_channels(32)]
    blocks: list[nn.Module] = [_build_conv_bn_relu6(*build_conv_bn(3, channels[0], 3, 2))]
    for size, expand, stride, dilation in _plan(output_stride):
        channels.append(round_channels(size))
        blocks.append(
            InvertedResidual(
                channels[-2], channels[-1], stride=stride, dilation=dilation, expand=expand
            )
        )
    return Backbone(
        modules={"features": nn.Sequential(*blocks)},
        blocks=tuple((f"features.{number}",) for number in range(len(blocks))),
        channels=channels,
        aux_after=AUX_AFTER,
        ignored=("features.18.", "classifier."),
    )


class DepthwiseConv(nn.Conv2d):
    """A 3 × 3 depthwise convolution that takes the quick way to dilation where there is one."""

    def __init__(self, channels: int, *, stride: int, dilation: int) -> None:
        """Make a convolution without bias that keeps the size where `stride` is 1."""
        super().__init__(
            channels,
            channels,
            3,
            stride,
            padding=dilation,
            dilation=dilation,
            groups=channels,
            bias=False,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, H / stride, W / stride)."""
        step = self.dilation[0]
        fits = x.shape[2] % step == 0 and x.shape[3] % step == 0
        # Measured: on a CPU the backward pass of the dilated kernel is the slow one; the forward
        # pass alone, or a size that would need padding, is quicker as it is.
        if step > 1 and fits and x.device.type == "cpu" and torch.is_grad_enabled():
            return convolve_in_batch(x, self.weight, dilation=step)
        return super().forward(x)


def convolve_in_batch(x: Tensor, weight: Tensor, *, dilation: int) -> Tensor:
    """Convolve depthwise with dilation d as d² interleaved images without dilation.

    `x` is (N, C, H, W) with H and W divisible by d, `weight` (C, 1, 3, 3). The result equals a
    convolution with padding d and dilation d: each of the d² lattices sees only itself.
    """
    n, c, h, w = x.shape
    rows, columns, d = h // dilation, w // dilation, dilation
    lattices = x.permute(0, 2, 3, 1).reshape(n, rows, d, columns, d, c)
    lattices = lattices.permute(0, 2, 4, 1, 3, 5).reshape(n * d * d, rows, columns, c)
    out = F.conv2d(lattices.permute(0, 3, 1, 2), weight, padding=1, groups=c)
    out = out.permute(0, 2, 3, 1).reshape(n, d, d, rows, columns, c)
    return out.permute(0, 3, 1, 4, 2, 5).reshape(n, h, w, c).permute(0, 3, 1, 2)


class InvertedResidual(nn.Module):
    """Expand, convolve depthwise, project; a shortcut where shapes allow (Sandler et al., 2018)."""

    def __init__(
        self, channels_in: int, channels: int, *, stride: int, dilation: int, expand: int
    ) -> None:
        """Make a block whose depthwise convolution strides and is dilated."""
        super().__init__()
        hidden = channels_in * expand
        layers: list[nn.Module] = []
        if expand != 1:
            layers.append(_build_conv_bn_relu6(*build_conv_bn(channels_in, hidden, 1)))
        depthwise = DepthwiseConv(hidden, stride=stride, dilation=dilation)
        layers.append(_build_conv_bn_relu6(depthwise, nn.BatchNorm2d(hidden)))
        layers.extend(build_conv_bn(hidden, channels, 1))
        self.conv = nn.Sequential(*layers)
        self.has_shortcut = stride == 1 and channels_in == channels

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels_in, H, W) to (N, channels, H / stride, W / stride)."""
        out: Tensor = self.conv(x)
        return x + out if self.has_shortcut else out


def _build_conv_bn_relu6(conv: nn.Module, bn: nn.Module) -> nn.Sequential:
    return nn.Sequential(conv, bn, nn.ReLU6(inplace=True))


def _plan(output_stride: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield channels, expansion, stride and dilation per block: strides past the limit dilate."""
    reached, dilation = 2, 1
    for expand, size, repeats, published_stride in STAGES:
        stride = published_stride
        if reached * stride > output_stride:
            stride, dilation = 1, dilation * published_stride
        reached *= stride
        for number in range(repeats):
            yield size, expand, stride if number == 0 else 1, dilation


def _rounder(width: float) -> Callable[[int], int]:
    """Return the rule that scales channels to a multiple of 8, never down by over a tenth."""

    def round_channels(channels: int) -> int:
        scaled = channels * width
        rounded = max(8, int(scaled + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * scaled else rounded

    return round_channels
