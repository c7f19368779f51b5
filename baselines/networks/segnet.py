"""SegNet: VGG-16 mirrored, unpooling by kept indices (Badrinarayanan et al., TPAMI 2017)."""

from __future__ import annotations

from torch import nn

from baselines.config import TrainConfig
from baselines.networks.layers import build_conv_bn
from baselines.networks.unpooling import UnpoolingNetwork
from baselines.networks.vgg import STAGES, build_vgg16

__all__ = ["SegNet"]


class SegNet(UnpoolingNetwork):
    """An encoder of 13 convolutions and a decoder of as many, the last of which classifies.

    Logits are at the size of the photo. Decoders carry the published names, `conv5_3_D` first.
    """

    classifiers = ("conv1_1_D",)

    def __init__(self, config: TrainConfig, *, classes: int) -> None:
        """Mirror the VGG-16 of `config`, with `classes` outputs."""
        backbone = build_vgg16(config.backbone, width=config.width)
        super().__init__(backbone, config)
        for block in reversed(range(len(STAGES))):
            channels_in = backbone.channels[block]
            layers: dict[str, nn.Module] = {}
            for number in range(STAGES[block][0], 0, -1):
                place = f"{block + 1}_{number}_D"
                if f"conv{place}" in self.classifiers:
                    layers[f"conv{place}"] = nn.Conv2d(channels_in, classes, 3, padding=1)
                    continue
                channels = backbone.channels[block if number > 1 else block - 1]
                conv, norm = build_conv_bn(channels_in, channels)
                layers[f"conv{place}"], layers[f"conv{place}_bn"] = conv, norm
                layers[f"relu{place}"] = nn.ReLU(inplace=True)
            self.add_decoder(layers)
