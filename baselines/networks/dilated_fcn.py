"""The dilated fully convolutional network that Zhao et al. (CVPR 2017) call their baseline."""

from __future__ import annotations

from torch import Tensor

from baselines.config import TrainConfig
from baselines.networks.dilated import DilatedNetwork
from baselines.networks.layers import build_head

__all__ = ["DilatedFCN"]


class DilatedFCN(DilatedNetwork):
    """A dilated backbone and PSPNet's head without its pyramid: the first rung of the ladder."""

    classifiers = ("cls.4", "aux.4")

    def __init__(self, config: TrainConfig, *, classes: int) -> None:
        """Put a head for `classes` outputs on the backbone of `config`."""
        super().__init__(config, classes=classes)
        self.cls = build_head(self.channels, config.head_channels, classes, config.dropout)

    def classify(self, features: Tensor) -> Tensor:
        """Map (N, C, h, w) to logits (N, classes, h, w)."""
        logits: Tensor = self.cls(features)
        return logits
