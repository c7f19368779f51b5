"""PSPNet as the paper describes it, written plainly: what our trainer is held against.

Zhao et al., CVPR 2017, with a dilated ResNet of bottlenecks and a deep stem. Only what torch.nn offers, in the order of
the paper, so that it can be read beside it; parameter names are those of our network, so that weights can be shared.
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["PlainPspnet", "plain_step"]

DEPTHS: Final = {
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
}
MEAN: Final = (123.675, 116.28, 103.53)
STD: Final = (58.395, 57.12, 57.375)
IGNORE: Final = -1
AUX_WEIGHT: Final = 0.4


class Bottleneck(nn.Module):
    """1 × 1, 3 × 3 and 1 × 1 convolutions, and a shortcut."""

    def __init__(self, channels_in: int, channels: int, *, stride: int, dilation: int) -> None:
        """Make a block of 4 · channels outputs."""
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(
            channels, channels, 3, stride, padding=dilation, dilation=dilation, bias=False
        )
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, 4 * channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride > 1 or channels_in != 4 * channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, 4 * channels, 1, stride, bias=False),
                nn.BatchNorm2d(4 * channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels_in, H, W) to (N, 4 · channels, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        out: Tensor = self.relu(x + shortcut)
        return out


class PyramidPooling(nn.Module):
    """Four poolings of the features, enlarged and set beside them."""

    def __init__(self, channels: int) -> None:
        """Make branches of 1, 2, 3 and 6 bins a side."""
        super().__init__()
        self.features = nn.ModuleList(
            nn.Sequential(
                nn.AdaptiveAvgPool2d(bins),
                nn.Conv2d(channels, channels // 4, 1, bias=False),
                nn.BatchNorm2d(channels // 4),
                nn.ReLU(inplace=True),
            )
            for bins in (1, 2, 3, 6)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, 2C, H, W)."""
        size = x.shape[2:]
        branches = (
            F.interpolate(branch(x), size, mode="bilinear", align_corners=True)
            for branch in self.features
        )
        return torch.cat([x, *branches], dim=1)


class PlainPspnet(nn.Module):
    """The network of 329 GFLOP at 480² with ResNet-50 and 150 classes, forward alone."""

    def __init__(self, backbone: str, *, classes: int, dropout: float = 0.1) -> None:
        """Make it with random weights."""
        super().__init__()
        self.layer0 = nn.Sequential(
            nn.Conv2d(3, 64, 3, 2, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 64, 3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 128, 3, padding=1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, padding=1),
        )
        one, two, three, four = DEPTHS[backbone]
        self.layer1 = _build_stage(128, 64, one, stride=1, dilation=1)
        self.layer2 = _build_stage(256, 128, two, stride=2, dilation=1)
        self.layer3 = _build_stage(512, 256, three, stride=1, dilation=2)
        self.layer4 = _build_stage(1024, 512, four, stride=1, dilation=4)
        self.ppm = PyramidPooling(2048)
        self.cls = _build_head(4096, 512, classes, dropout)
        self.aux = _build_head(1024, 256, classes, dropout)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Map (N, 3, H, W) RGB in 0 … 255 to logits (N, classes, H / 8, W / 8), and in training the auxiliary ones."""
        x = self.layer2(self.layer1(self.layer0((images - self.mean) / self.std)))
        tapped = self.layer3(x)
        logits: Tensor = self.cls(self.ppm(self.layer4(tapped)))
        return logits, self.aux(tapped) if self.training else None


def plain_step(
    network: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor
) -> Tensor:
    """Take one step of the published recipe: both heads enlarged to the labels' size, cross-entropy, SGD."""
    optimizer.zero_grad()
    loss = torch.zeros((), device=images.device)
    for logits, weight in zip(network(images), (1.0, AUX_WEIGHT), strict=True):
        full = F.interpolate(logits, labels.shape[1:], mode="bilinear", align_corners=True)
        loss = loss + weight * F.cross_entropy(full, labels, ignore_index=IGNORE)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach()


def _build_stage(
    channels_in: int, channels: int, depth: int, *, stride: int, dilation: int
) -> nn.Sequential:
    blocks = [Bottleneck(channels_in, channels, stride=stride, dilation=dilation)]
    blocks += [
        Bottleneck(4 * channels, channels, stride=1, dilation=dilation) for _ in range(depth - 1)
    ]
    return nn.Sequential(*blocks)


def _build_head(channels_in: int, channels: int, classes: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.Dropout2d(dropout),
        nn.Conv2d(channels, classes, 1),
    )
