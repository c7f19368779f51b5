"""PSPNet: a dilated backbone, pyramid pooling, a main and an auxiliary head (Zhao et al., 2017)."""

from __future__ import annotations

from itertools import islice

from torch import Tensor

from baselines.config import TrainConfig
from baselines.networks.dilated import DilatedNetwork
from baselines.networks.layers import build_head
from baselines.networks.pyramid import PyramidPooling, convolve_pyramid

__all__ = ["PSPNet"]


class PSPNet(DilatedNetwork):
    """The pyramid scene parsing network, under the names of its published weights."""

    classifiers = ("cls.4", "aux.4")

    def __init__(self, config: TrainConfig, *, classes: int) -> None:
        """Put pyramid and heads for `classes` outputs on the backbone of `config`."""
        super().__init__(config, classes=classes)
        self.ppm = PyramidPooling(self.channels)
        self.cls = build_head(self.ppm.channels_out, config.head_channels, classes, config.dropout)
        self.has_fast_pyramid = config.fast_pyramid

    def classify(self, features: Tensor) -> Tensor:
        """Map (N, C, h, w) to logits (N, classes, h, w)."""
        if not self.has_fast_pyramid:
            logits: Tensor = self.cls(self.ppm(features))
            return logits
        weight = self.get_parameter("cls.0.weight")
        x = convolve_pyramid(features, self.ppm.pool(features), weight)
        for layer in islice(self.cls, 1, None):
            x = layer(x)
        return x
