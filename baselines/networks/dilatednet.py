"""DilatedNet: VGG-16 dilated, and a context module that starts as the identity (Yu and Koltun, ICLR 2016).

The paper mirrors the photo at its borders and lets every layer shrink it; here zeros keep the size.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import torch.nn.functional as F
from torch import Tensor, nn

from baselines.config import TrainConfig
from baselines.networks.enlarging import enlarge_centred
from baselines.networks.network import Network
from baselines.networks.vgg import build_vgg16, pool

__all__ = ["CONTEXT", "DilatedNet", "IdentityConv"]

# Names and dilations of the 3 × 3 layers: table 1, "basic"; a 1 × 1 layer follows them.
CONTEXT: Final[Mapping[str, int]] = MappingProxyType(
    {
        "ct_conv1_1": 1,
        "ct_conv1_2": 1,
        "ct_conv2_1": 2,
        "ct_conv3_1": 4,
        "ct_conv4_1": 8,
        "ct_conv5_1": 16,
        "ct_fc1": 1,
    }
)


class IdentityConv(nn.Conv2d):
    """A convolution from as many channels to as many that at first changes nothing: section 3."""

    def __init__(self, channels: int, size: int, *, dilation: int) -> None:
        """Start as the identity."""
        padding = dilation * (size // 2)
        super().__init__(channels, channels, size, padding=padding, dilation=dilation)

    def reset_parameters(self) -> None:
        """Give each channel itself, with no bias."""
        nn.init.dirac_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class DilatedNet(Network):
    """The front end's scores at stride 8 (or 16), seen in context, at the size of the photo.

    The context's layers cut off what is below zero, so that at first it passes on the scores
    above zero and nothing else.
    """

    classifiers = ("final", *CONTEXT, "ct_final")

    def __init__(self, config: TrainConfig, *, classes: int) -> None:
        """Put front end and context for `classes` outputs on the VGG-16 of `config`."""
        dilation = 16 // config.output_stride
        backbone = build_vgg16(
            config.backbone, width=config.width, dilation=dilation, fc_dilation=2 * dilation
        )
        super().__init__(backbone, config)
        self.fc6: nn.Module
        self.fc7: nn.Module
        self._pools = 3 if config.output_stride == 8 else 4
        self.dropout = nn.Dropout2d(config.dropout)
        self.final = nn.Conv2d(backbone.channels[-1], classes, 1)
        for name, spread in CONTEXT.items():
            self.add_module(name, IdentityConv(classes, 3, dilation=spread))
        self.ct_final = IdentityConv(classes, 1, dilation=1)

    def score(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Compute logits (N, classes, H, W) from normalised images (N, 3, H, W)."""
        size_h, size_w = x.shape[2], x.shape[3]
        for number in range(len(self._blocks)):
            x = self.run_block(number, x)
            if number < self._pools:
                x = pool(x)
        x = self.dropout(F.relu(self.fc6(x), inplace=True))
        x = self.dropout(F.relu(self.fc7(x), inplace=True))
        x = enlarge_centred(self.see_context(self.final(x)), 2**self._pools)
        return x[:, :, :size_h, :size_w], None

    def see_context(self, scores: Tensor) -> Tensor:
        """Aggregate the score maps (N, classes, h, w) over ever larger surroundings."""
        for name in CONTEXT:
            scores = F.relu(self.run([name], scores))
        aggregated: Tensor = self.ct_final(scores)
        return aggregated
