"""DeepLab with atrous spatial pyramid pooling (Chen et al., TPAMI 2018: DeepLab v2, section 3.2)."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from baselines.config import TrainConfig
from baselines.networks.dilated import DilatedNetwork

__all__ = ["AtrousPyramid", "DeepLab"]

RATES: Final = (6, 12, 18, 24)  # at output stride 8: ASPP-L


class AtrousPyramid(nn.Module):
    """Classify with 3 × 3 convolutions of several dilations side by side, and sum their logits."""

    def __init__(self, channels: int, classes: int, *, rates: tuple[int, ...]) -> None:
        """Make one branch `c0`, `c1`, … per entry of `rates`."""
        super().__init__()
        for number, rate in enumerate(rates):
            branch = nn.Conv2d(channels, classes, 3, padding=rate, dilation=rate)
            self.add_module(f"c{number}", branch)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, h, w) to logits (N, classes, h, w)."""
        return torch.stack([branch(x) for branch in self.children()]).sum(dim=0)


class DeepLab(DilatedNetwork):
    """A dilated backbone classified by an atrous pyramid, without the conditional random field."""

    classifiers = (*(f"aspp.c{number}" for number in range(len(RATES))), "aux.4")

    def __init__(self, config: TrainConfig, *, classes: int) -> None:
        """Put the pyramid for `classes` outputs on the backbone of `config`."""
        super().__init__(config, classes=classes)
        # The paper's rates count features of stride 8; others cover the same part of the photo.
        rates = tuple(rate * 8 // config.output_stride for rate in RATES)
        self.dropout = nn.Dropout2d(config.dropout)
        self.aspp = AtrousPyramid(self.channels, classes, rates=rates)

    def classify(self, features: Tensor) -> Tensor:
        """Map (N, C, h, w) to logits (N, classes, h, w)."""
        logits: Tensor = self.aspp(self.dropout(features))
        return logits
