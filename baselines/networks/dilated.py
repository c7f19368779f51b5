"""What PSPNet and its nearest relatives share: a dilated backbone with an auxiliary head."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from baselines.config import RESNETS, TrainConfig
from baselines.networks.backbone import Backbone
from baselines.networks.layers import build_head
from baselines.networks.mobilenet_v2 import build_mobilenet_v2
from baselines.networks.network import Network
from baselines.networks.resnet import build_resnet

__all__ = ["DilatedNetwork", "build_backbone"]


def build_backbone(config: TrainConfig) -> Backbone:
    """Build the dilated backbone of `config` with random weights."""
    width, output_stride = config.width, config.output_stride
    if config.backbone in RESNETS:
        return build_resnet(
            config.backbone, width=width, output_stride=output_stride, stem=config.stem
        )
    return build_mobilenet_v2(width=width, output_stride=output_stride)


class DilatedNetwork(Network):
    """A dilated backbone, something that classifies its features, and an auxiliary head.

    Logits are (N, classes, ceil(H / output stride), ceil(W / output stride)).
    """

    def __init__(self, config: TrainConfig, *, classes: int) -> None:
        """Make the backbone and, where its loss has a weight, the auxiliary head."""
        backbone = build_backbone(config)
        super().__init__(backbone, config)
        self.channels = backbone.channels[-1]
        self._aux_after = backbone.aux_after
        # A published file has the auxiliary head whether or not it is wanted here.
        self.ignored_names = (*self.ignored_names, "aux.")
        self.aux = None
        if config.aux_weight > 0:
            channels_in = backbone.channels[backbone.aux_after]
            self.aux = build_head(channels_in, config.head_channels // 2, classes, config.dropout)

    def score(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Compute the logits of both heads from normalised images (N, 3, H, W)."""
        tapped = x
        for number in range(len(self._blocks)):
            x = self.run_block(number, x)
            if number == self._aux_after:
                tapped = x
        logits = self.classify(x)
        if self.aux is None or not self.training:
            return logits, None
        return logits, self.aux(tapped)

    @abstractmethod
    def classify(self, features: Tensor) -> Tensor:
        """Map the backbone's last features (N, C, h, w) to logits (N, classes, h, w)."""
