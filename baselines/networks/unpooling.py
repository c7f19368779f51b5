"""Pooling that remembers where each largest value was, its inverse, and networks that decode with it.

Zeiler and Fergus, ECCV 2014. Built of comparisons and shuffles alone, so that it is deterministic
both ways on a GPU, where the library's unpooling is not.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.config import TrainConfig
from baselines.networks.backbone import Backbone
from baselines.networks.network import Network

__all__ = ["UnpoolingNetwork", "pool_keeping_places", "unpool"]


def pool_keeping_places(x: Tensor) -> tuple[Tensor, Tensor]:
    """Take the largest of each 2 × 2 of (N, C, H, W) and its place in the window: 0 … 3, uint8.

    An odd last row or column is kept: the results are (N, C, ceil(H / 2), ceil(W / 2)).
    """
    pooled, index = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
    row, column = index // x.shape[3], index % x.shape[3]
    return pooled, (row % 2 * 2 + column % 2).to(torch.uint8)


def unpool(x: Tensor, places: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Put the values of (N, C, h, w) at their `places` in 2 × 2 windows, zeros elsewhere.

    Returns (N, C, *size_hw), `size_hw` being the size before the pooling.
    """
    window = torch.arange(4, dtype=torch.uint8, device=x.device).view(4, 1, 1)
    spread = torch.where(places[:, :, None] == window, x[:, :, None], 0)
    return F.pixel_shuffle(spread.flatten(1, 2), 2)[:, :, : size_hw[0], : size_hw[1]]


class UnpoolingNetwork(Network):
    """VGG-16 as encoder, and five decoders that each begin by unpooling at the encoder's places."""

    def __init__(self, backbone: Backbone, config: TrainConfig) -> None:
        """Take the encoder; subclasses add the decoders."""
        super().__init__(backbone, config)
        self._decoders: tuple[tuple[str, ...], ...] = ()

    def add_decoder(self, layers: Mapping[str, nn.Module]) -> None:
        """Append a decoder of layers that run in turn."""
        for name, layer in layers.items():
            self.add_module(name, layer)
        self._decoders = (*self._decoders, tuple(layers))

    def score(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Compute logits (N, classes, H, W) from normalised images (N, 3, H, W)."""
        kept: list[tuple[Tensor, tuple[int, int]]] = []
        for number in range(len(self._blocks)):
            x = self.run_block(number, x)
            size_hw = (x.shape[2], x.shape[3])
            x, places = pool_keeping_places(x)
            kept.append((places, size_hw))
        x = self.bridge(x)
        for decoder, (places, size_hw) in zip(self._decoders, reversed(kept), strict=True):
            x = self.run(decoder, unpool(x, places, size_hw))
        return x, None

    def bridge(self, x: Tensor) -> Tensor:
        """Map the encoder's last features to the first decoder's input; here they are the same."""
        return x
