"""DeconvNet: VGG-16 mirrored by transposed convolutions, its dense layers too (Noh et al., ICCV 2015).

The paper's 7 × 7 layers shrink 7 × 7 features to one and back; here they are padded to keep the size,
so that photos of any size go. On 224 × 224 pixels the middle one is the paper's.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from baselines.config import TrainConfig
from baselines.networks.unpooling import UnpoolingNetwork
from baselines.networks.vgg import STAGES, WINDOW, build_vgg16

__all__ = ["DeconvNet"]


class DeconvNet(UnpoolingNetwork):
    """An encoder down to two dense layers, and a decoder of transposed convolutions.

    Logits are at the size of the photo. Layers carry the published names, `_` for `-`.
    """

    classifiers = ("seg_score",)

    def __init__(self, config: TrainConfig, *, classes: int) -> None:
        """Mirror the VGG-16 of `config`, with `classes` outputs."""
        backbone = build_vgg16(config.backbone, width=config.width, fc_dilation=1)
        super().__init__(backbone, config)
        hidden = backbone.channels[-1]
        self.fc6: nn.Module
        self.fc7: nn.Module
        self.bnfc6 = nn.BatchNorm2d(hidden)
        self.bnfc7 = nn.BatchNorm2d(hidden)
        self.dropout = nn.Dropout2d(config.dropout)
        deepest = backbone.channels[len(STAGES) - 1]
        self.fc6_deconv, self.fc6_deconv_bn = _build_deconv_bn(hidden, deepest, WINDOW)
        for block in reversed(range(len(STAGES))):
            channels = backbone.channels[block]
            layers: dict[str, nn.Module] = {}
            repeats = STAGES[block][0]
            for number in range(1, repeats + 1):
                thinner = number == repeats and block > 0
                channels_out = backbone.channels[block - 1] if thinner else channels
                place = f"{block + 1}_{number}"
                conv, norm = _build_deconv_bn(channels, channels_out, 3)
                layers[f"deconv{place}"], layers[f"debn{place}"] = conv, norm
                layers[f"derelu{place}"] = nn.ReLU(inplace=True)
            if block == 0:
                layers["seg_score"] = nn.Conv2d(channels, classes, 1)
            self.add_decoder(layers)

    def bridge(self, x: Tensor) -> Tensor:
        """Map (N, C, h, w) through the dense layers and back to (N, C, h, w)."""
        x = self.dropout(F.relu(self.bnfc6(self.fc6(x)), inplace=True))
        x = self.dropout(F.relu(self.bnfc7(self.fc7(x)), inplace=True))
        return F.relu(self.fc6_deconv_bn(self.fc6_deconv(x)), inplace=True)


def _build_deconv_bn(
    channels_in: int, channels_out: int, size: int
) -> tuple[nn.ConvTranspose2d, nn.BatchNorm2d]:
    conv = nn.ConvTranspose2d(channels_in, channels_out, size, padding=size // 2, bias=False)
    return conv, nn.BatchNorm2d(channels_out)
