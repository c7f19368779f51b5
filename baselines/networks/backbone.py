"""What a network stands on: a chain of blocks that a classifier was once trained with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from torch import nn

__all__ = ["NORMALISATIONS", "Backbone", "Normalisation"]


@dataclass(frozen=True)
class Normalisation:
    """What weights expect of their input: (x − mean) / std, x in 0 … 255, in RGB order."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


# By the names of the setting `normalisation`; TensorFlow's networks are trained with the second.
NORMALISATIONS: Final[Mapping[str, Normalisation]] = MappingProxyType(
    {
        "imagenet": Normalisation((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
        "symmetric": Normalisation((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    }
)


@dataclass(frozen=True)
class Backbone:
    """A chain of blocks, the channels after each, and where an auxiliary head taps it.

    `modules` are registered in the network under their names, so that weights keep the names
    under which they are published. A block is the names of the modules that it runs in turn.
    `optional` starts the names of tensors that a file may lack altogether, `ignored` those of
    published tensors that have no use here.
    """

    modules: Mapping[str, nn.Module]
    blocks: Sequence[Sequence[str]]
    channels: Sequence[int]
    aux_after: int
    optional: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
