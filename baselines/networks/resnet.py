"""ResNet with a deep or a plain stem, dilated to keep resolution (He et al., CVPR 2016).

Deep stem and dilation as Zhao et al., CVPR 2017: stages 3 and 4 are dilated from their first block on.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import torch.nn.functional as F
from torch import Tensor, nn

from baselines.networks.backbone import Backbone
from baselines.networks.layers import build_conv_bn

__all__ = ["DEPTHS", "BasicBlock", "Bottleneck", "build_resnet"]


class BasicBlock(nn.Module):
    """Two 3 × 3 convolutions and a shortcut (He et al., CVPR 2016)."""

    expansion = 1

    def __init__(self, channels_in: int, channels: int, *, stride: int, dilation: int) -> None:
        """Make a block whose 3 × 3 convolutions are dilated and whose first one strides."""
        super().__init__()
        self.conv1, self.bn1 = build_conv_bn(channels_in, channels, 3, stride, dilation)
        self.conv2, self.bn2 = build_conv_bn(channels, channels, 3, 1, dilation)
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
        self.conv1, self.bn1 = build_conv_bn(channels_in, channels, 1)
        self.conv2, self.bn2 = build_conv_bn(channels, channels, 3, stride, dilation)
        self.conv3, self.bn3 = build_conv_bn(channels, channels_out, 1)
        self.downsample = _build_shortcut(channels_in, channels_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels_in, H, W) to (N, 4 · channels, H / stride, W / stride)."""
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.bn3(self.conv3(out))
        return F.relu(out + self.downsample(x), inplace=True)


Block = type[BasicBlock] | type[Bottleneck]

# Blocks per stage. 10 is no published depth; 269 is the deepest of Zhao et al., table 1.
DEPTHS: Final[Mapping[str, tuple[Block, tuple[int, int, int, int]]]] = MappingProxyType(
    {
        "resnet10": (BasicBlock, (1, 1, 1, 1)),
        "resnet18": (BasicBlock, (2, 2, 2, 2)),
        "resnet34": (BasicBlock, (3, 4, 6, 3)),
        "resnet50": (Bottleneck, (3, 4, 6, 3)),
        "resnet101": (Bottleneck, (3, 4, 23, 3)),
        "resnet152": (Bottleneck, (3, 8, 36, 3)),
        "resnet269": (Bottleneck, (3, 30, 48, 8)),
    }
)
# Stride and dilation of stages 1 … 4, by output stride.
STAGES: Final[Mapping[int, tuple[tuple[int, int], ...]]] = MappingProxyType(
    {
        8: ((1, 1), (2, 1), (1, 2), (1, 4)),
        16: ((1, 1), (2, 1), (2, 1), (1, 2)),
    }
)


def build_resnet(name: str, *, width: float, output_stride: int, stem: str) -> Backbone:
    """Build a ResNet of `DEPTHS`: blocks are the stem and the four stages."""
    block, depths = DEPTHS[name]
    base = max(8, round(64 * width))
    deep = stem == "deep"
    modules: dict[str, nn.Module] = {
        "layer0": _build_deep_stem(base) if deep else _build_plain_stem(base)
    }
    channels = [2 * base if deep else base]
    for stage, (depth, (stride, dilation)) in enumerate(
        zip(depths, STAGES[output_stride], strict=True)
    ):
        inner, channels_in = base * 2**stage, channels[-1]
        blocks: list[nn.Module] = []
        for number in range(depth):
            step = stride if number == 0 else 1
            blocks.append(block(channels_in, inner, stride=step, dilation=dilation))
            channels_in = inner * block.expansion
        modules[f"layer{stage + 1}"] = nn.Sequential(*blocks)
        channels.append(channels_in)
    return Backbone(
        modules=modules,
        blocks=tuple((name,) for name in modules),
        channels=channels,
        aux_after=3,
        ignored=("fc.",),
    )


def _build_shortcut(channels_in: int, channels_out: int, stride: int) -> nn.Module:
    if stride == 1 and channels_in == channels_out:
        return nn.Identity()
    return nn.Sequential(*build_conv_bn(channels_in, channels_out, 1, stride))


def _build_deep_stem(base: int) -> nn.Sequential:
    return nn.Sequential(
        *build_conv_bn(3, base, 3, 2),
        nn.ReLU(inplace=True),
        *build_conv_bn(base, base),
        nn.ReLU(inplace=True),
        *build_conv_bn(base, 2 * base),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2, padding=1),
    )


def _build_plain_stem(base: int) -> nn.Sequential:
    return nn.Sequential(
        *build_conv_bn(3, base, 7, 2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2, padding=1),
    )
