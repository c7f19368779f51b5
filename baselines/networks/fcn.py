"""FCN-32s, FCN-16s and FCN-8s: VGG-16 made convolutional (Long et al., CVPR 2015).

The paper pads the photo by 100 pixels and crops the result; here `fc6` is padded to keep the size, so
that features stay where they belong without cropping, and little photos cost no more than they must.
"""

from __future__ import annotations

from typing import Final

import torch.nn.functional as F
from torch import Tensor, nn

from baselines.config import TrainConfig
from baselines.networks.enlarging import build_enlarging
from baselines.networks.network import Network
from baselines.networks.vgg import build_vgg16, pool

__all__ = ["FCN"]

# The last enlarging, by network: 8s adds two layers of skips, 16s one.
FACTORS: Final = {"fcn32s": 32, "fcn16s": 16, "fcn8s": 8}


class FCN(Network):
    """VGG-16's scores, enlarged; 16s and 8s add scores of its fourth and third block on the way.

    Logits are at the size of the photo.
    """

    classifiers = (
        *("score_fr", "score_pool4", "score_pool3"),
        *("upscore", "upscore2", "upscore_pool4", "upscore8", "upscore16"),
    )

    def __init__(self, config: TrainConfig, *, classes: int) -> None:
        """Put scores for `classes` outputs on the VGG-16 of `config`."""
        backbone = build_vgg16(config.backbone, width=config.width, fc_dilation=1)
        super().__init__(backbone, config)
        self.fc6: nn.Module
        self.fc7: nn.Module
        learned = config.upsampling == "learned"
        factor = FACTORS[config.network]
        self.dropout = nn.Dropout2d(config.dropout)
        self.score_fr = nn.Conv2d(backbone.channels[-1], classes, 1)
        # Each skip is a block of the backbone and what its scores are added to: enlarged ones.
        self._skips: dict[int, str] = {}
        for block, name in ((3, "upscore2"), (2, "upscore_pool4")):
            if factor < 2 ** (block + 2):
                self.add_module(name, build_enlarging(classes, 2, learned=learned))
                scores = nn.Conv2d(backbone.channels[block], classes, 1)
                self.add_module(f"score_pool{block + 1}", scores)
                self._skips[block] = name
        self._last = "upscore" if factor == 32 else f"upscore{factor}"
        self.add_module(self._last, build_enlarging(classes, factor, learned=learned))

    def score(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Compute logits (N, classes, H, W) from normalised images (N, 3, H, W)."""
        size_h, size_w = x.shape[2], x.shape[3]
        pooled: list[Tensor] = []
        for number in range(len(self._blocks)):
            x = pool(self.run_block(number, x))
            pooled.append(x)
        x = self.dropout(F.relu(self.fc6(x), inplace=True))
        x = self.dropout(F.relu(self.fc7(x), inplace=True))
        x = self.score_fr(x)
        for block, name in self._skips.items():
            skip = self.run([f"score_pool{block + 1}"], pooled[block])
            x = self.run([name], x)[:, :, : skip.shape[2], : skip.shape[3]] + skip
        return self.run([self._last], x)[:, :, :size_h, :size_w], None
