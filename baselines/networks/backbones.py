"""Backbones that keep resolution: ResNet with a deep stem, and MobileNetV2, dilated to a stride.

ResNet: Zhao et al., CVPR 2017 (deep stem; stages 3 and 4 dilated from their first block on).
MobileNetV2: Sandler et al., CVPR 2018. Parameter names follow the layouts in which weights travel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mseg_curate.errors import InputError

__all__ = ["Backbone", "Normalisation", "build_backbone", "convolve_in_batch"]


@dataclass(frozen=True)
class Normalisation:
    """What a backbone expects of its input: (x − mean) / std, x in 0 … 255, in RGB order."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET: Final = Normalisation((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
SYMMETRIC: Final = Normalisation((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))


@dataclass(frozen=True)
class Backbone:
    """A chain of blocks and where to tap it.

    `modules` are registered in the network under their names, so that weights keep the names
    under which they are published. `ignored` starts the names of published weights without a use here.
    """

    modules: dict[str, nn.Module]
    blocks: list[nn.Module]
    aux_after: int
    aux_channels: int
    channels: int
    normalisation: Normalisation
    ignored: tuple[str, ...]


def build_backbone(name: str, *, width: float, output_stride: int) -> Backbone:
    """Build a backbone with random weights; `output_stride` is 8 or 16 input pixels per feature."""
    if name == "mobilenet_v2":
        return _build_mobilenet_v2(width, output_stride)
    if name not in RESNETS:
        raise InputError("unknown backbone", expected=f"one of {sorted(RESNETS)}", found=name)
    return _build_resnet(*RESNETS[name], width=width, output_stride=output_stride)


def _build_conv_bn(
    channels_in: int, channels_out: int, size: int = 3, stride: int = 1, dilation: int = 1
) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    padding = dilation * (size // 2)
    conv = nn.Conv2d(
        channels_in, channels_out, size, stride, padding=padding, dilation=dilation, bias=False
    )
    return conv, nn.BatchNorm2d(channels_out)


class BasicBlock(nn.Module):
    """Two 3 × 3 convolutions and a shortcut (He et al., CVPR 2016)."""

    expansion = 1

    def __init__(self, channels_in: int, channels: int, *, stride: int, dilation: int) -> None:
        """Make a block whose 3 × 3 convolutions are dilated and whose first one strides."""
        super().__init__()
        self.conv1, self.bn1 = _build_conv_bn(channels_in, channels, 3, stride, dilation)
        self.conv2, self.bn2 = _build_conv_bn(channels, channels, 3, 1, dilation)
        self.downsample = _build_shortcut(channels_in, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels_in, H, W) to (N, channels, H / stride, W / stride)."""
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.downsample(x), inplace=True)


class Bottleneck(nn.Module):
    """1 × 1, 3 × 3, 1 × 1 and a shortcut (He et al., CVPR 2016); the 3 × 3 strides."""

    expansion = 4

    def __init__(self, channels_in: int, channels: int, *, stride: int, dilation: int) -> None:
        """Make a block whose 3 × 3 convolution is dilated and strides."""
        super().__init__()
        channels_out = channels * self.expansion
        self.conv1, self.bn1 = _build_conv_bn(channels_in, channels, 1)
        self.conv2, self.bn2 = _build_conv_bn(channels, channels, 3, stride, dilation)
        self.conv3, self.bn3 = _build_conv_bn(channels, channels_out, 1)
        self.downsample = _build_shortcut(channels_in, channels_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels_in, H, W) to (N, 4 · channels, H / stride, W / stride)."""
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.bn3(self.conv3(out))
        return F.relu(out + self.downsample(x), inplace=True)


def _build_shortcut(channels_in: int, channels_out: int, stride: int) -> nn.Module:
    if stride == 1 and channels_in == channels_out:
        return nn.Identity()
    return nn.Sequential(*_build_conv_bn(channels_in, channels_out, 1, stride))


RESNETS: Final[dict[str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]]] = {
    "resnet10": (BasicBlock, (1, 1, 1, 1)),
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
}


def _build_resnet(
    block: type[BasicBlock] | type[Bottleneck],
    depths: tuple[int, int, int, int],
    *,
    width: float,
    output_stride: int,
) -> Backbone:
    base = max(8, round(64 * width))
    modules: dict[str, nn.Module] = {"layer0": _build_deep_stem(base)}
    strides, dilations = ((1, 2, 1, 1), (1, 1, 2, 4))
    if output_stride == 16:
        strides, dilations = ((1, 2, 2, 1), (1, 1, 1, 2))
    channels = 2 * base
    aux_channels = channels
    for stage, depth in enumerate(depths):
        stride, dilation = strides[stage], dilations[stage]
        blocks: list[nn.Module] = []
        for number in range(depth):
            step = stride if number == 0 else 1
            blocks.append(block(channels, base * 2**stage, stride=step, dilation=dilation))
            channels = base * 2**stage * block.expansion
        modules[f"layer{stage + 1}"] = nn.Sequential(*blocks)
        if stage == 2:
            aux_channels = channels
    return Backbone(
        modules=modules,
        blocks=list(modules.values()),
        aux_after=3,
        aux_channels=aux_channels,
        channels=channels,
        normalisation=IMAGENET,
        ignored=("fc.",),
    )


def _build_deep_stem(base: int) -> nn.Sequential:
    return nn.Sequential(
        *_build_conv_bn(3, base, 3, 2),
        nn.ReLU(inplace=True),
        *_build_conv_bn(base, base),
        nn.ReLU(inplace=True),
        *_build_conv_bn(base, 2 * base),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2, padding=1),
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
            layers.append(_build_conv_bn_relu6(*_build_conv_bn(channels_in, hidden, 1)))
        depthwise = DepthwiseConv(hidden, stride=stride, dilation=dilation)
        layers.append(_build_conv_bn_relu6(depthwise, nn.BatchNorm2d(hidden)))
        layers.extend(_build_conv_bn(hidden, channels, 1))
        self.conv = nn.Sequential(*layers)
        self.has_shortcut = stride == 1 and channels_in == channels

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels_in, H, W) to (N, channels, H / stride, W / stride)."""
        out: Tensor = self.conv(x)
        return x + out if self.has_shortcut else out


def _build_conv_bn_relu6(conv: nn.Module, bn: nn.Module) -> nn.Sequential:
    return nn.Sequential(conv, bn, nn.ReLU6(inplace=True))


# expansion, channels, repeats, stride: table 2 of Sandler et al., CVPR 2018
MOBILENET_V2: Final = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
MOBILENET_V2_AUX_AFTER: Final = 13  # the last block of 96 channels


def _build_mobilenet_v2(width: float, output_stride: int) -> Backbone:
    round_channels = _rounder(width)
    channels = round_channels(32)
    blocks: list[nn.Module] = [_build_conv_bn_relu6(*_build_conv_bn(3, channels, 3, 2))]
    aux_channels = channels
    for size, expand, stride, dilation in _plan_mobilenet_v2(output_stride):
        block = InvertedResidual(
            channels, round_channels(size), stride=stride, dilation=dilation, expand=expand
        )
        channels = round_channels(size)
        if len(blocks) == MOBILENET_V2_AUX_AFTER:
            aux_channels = channels
        blocks.append(block)
    return Backbone(
        modules={"features": nn.Sequential(*blocks)},
        blocks=blocks,
        aux_after=MOBILENET_V2_AUX_AFTER,
        aux_channels=aux_channels,
        channels=channels,
        normalisation=SYMMETRIC,
        ignored=("features.18.", "classifier."),
    )


def _plan_mobilenet_v2(output_stride: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield channels, expansion, stride and dilation per block: strides past the limit dilate."""
    reached, dilation = 2, 1
    for expand, size, repeats, published_stride in MOBILENET_V2:
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
