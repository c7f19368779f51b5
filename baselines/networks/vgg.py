"""VGG-16 with its classifier turned into convolutions (Simonyan and Zisserman, ICLR 2015).

The pooling between the blocks is left to the networks: some keep its indices, some leave it out.
"""

from __future__ import annotations

from typing import Final

import torch.nn.functional as F
from torch import Tensor, nn

from baselines.networks.backbone import Backbone

__all__ = ["STAGES", "build_vgg16", "pool"]

# Convolutions and channels of each block: column D of table 1.
STAGES: Final = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
HIDDEN: Final = 4096  # channels of the two layers that were fully connected
WINDOW: Final = 7  # the first of them saw 7 × 7 features of a photo of 224 × 224


def build_vgg16(
    name: str, *, width: float, dilation: int = 1, fc_dilation: int | None = None
) -> Backbone:
    """Build VGG-16 (`vgg16`, or `vgg16_bn` with batch norm): blocks are its five chains of 3 × 3.

    `dilation` is that of the fifth block. With `fc_dilation` the two fully connected layers are
    there as convolutions `fc6` (7 × 7, dilated so) and `fc7` (1 × 1), padded to keep the size:
    where `fc6` sees no padding its scores are those of the classifier.
    """
    sizes = [max(8, round(channels * width)) for _, channels in STAGES]
    layers: list[nn.Module] = []
    blocks: list[tuple[str, ...]] = []
    channels_in = 3
    for (repeats, _), channels in zip(STAGES, sizes, strict=True):
        step = dilation if len(blocks) == len(STAGES) - 1 else 1
        first = len(layers)
        for _ in range(repeats):
            layers.append(nn.Conv2d(channels_in, channels, 3, padding=step, dilation=step))
            layers += [nn.BatchNorm2d(channels)] if name == "vgg16_bn" else []
            layers.append(nn.ReLU(inplace=True))
            channels_in = channels
        blocks.append(tuple(f"features.{number}" for number in range(first, len(layers))))
        # Published names count the pooling layers; it has no parameters.
        layers.append(nn.Identity())
    modules: dict[str, nn.Module] = {"features": nn.Sequential(*layers)}
    if fc_dilation is not None:
        hidden = max(8, round(HIDDEN * width))
        padding = fc_dilation * (WINDOW // 2)
        modules["fc6"] = nn.Conv2d(
            channels_in, hidden, WINDOW, padding=padding, dilation=fc_dilation
        )
        modules["fc7"] = nn.Conv2d(hidden, hidden, 1)
        sizes.append(hidden)
    return Backbone(
        modules=modules,
        blocks=blocks,
        channels=sizes,
        aux_after=len(STAGES) - 1,
        optional=("fc6.", "fc7."),
        ignored=("fc6.", "fc7.", "fc8."),
    )


def pool(x: Tensor) -> Tensor:
    """Take the largest of each 2 × 2; an odd last row or column is kept, as Caffe does."""
    return F.max_pool2d(x, 2, ceil_mode=True)
