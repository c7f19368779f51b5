"""The names under which backbones travel, turned into ours: torchvision's, timm's and semseg's.

Ours are those of semseg for ResNet (`layer0` is the stem) and those of torchvision for MobileNetV2 and
VGG-16, whose dense layers are called `fc6` and `fc7` as in the paper of FCN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from torch import Tensor

from baselines.config import RESNETS
from baselines.networks.vgg import WINDOW

__all__ = ["find_stem", "has_timm_names", "rename", "shape_dense_layer"]

_Rule = Callable[[str], str]


def rename(table: Mapping[str, Tensor], backbone: str) -> dict[str, str]:
    """Return our name for every name of `table`, the tensors of a file for `backbone`.

    A name that no rule knows stays as it is.
    """
    rule: _Rule = _rename_vgg
    if backbone in RESNETS:
        rule = _rename_timm_stem if _has_timm_stem(table) else _rename_stem
    elif backbone == "mobilenet_v2":
        rule = _rename_mobilenet_v2
    return {name: rule(name) for name in table}


def find_stem(table: Mapping[str, Tensor]) -> str | None:
    """Tell a ResNet's deep stem from its plain one; None where the tensors hold neither."""
    if _has_timm_stem(table):
        return "deep"
    for name in ("layer0.0.weight", "conv1.weight"):
        if name in table:
            return "plain" if table[name].shape[-1:] == (7,) else "deep"
    return None


def has_timm_names(table: Mapping[str, Tensor]) -> bool:
    """True for a MobileNetV2 of timm."""
    return "conv_stem.weight" in table


def shape_dense_layer(name: str, value: Tensor) -> Tensor:
    """Give the matrix of a dense layer the shape of the convolution that it is: `fc6`, `fc7`.

    Features are flattened channel by channel, so (out, C · 7 · 7) is (out, C, 7, 7).
    """
    if value.ndim != 2 or name not in ("fc6.weight", "fc7.weight"):
        return value
    window = WINDOW if name == "fc6.weight" else 1
    if value.shape[1] % window**2:
        return value
    return value.reshape(value.shape[0], -1, window, window)


def _has_timm_stem(table: Mapping[str, Tensor]) -> bool:
    return "conv1.0.weight" in table


STEM: Final = MappingProxyType({"conv1": 0, "bn1": 1, "conv2": 3, "bn2": 4, "conv3": 6, "bn3": 7})


def _rename_stem(name: str) -> str:
    head, _, rest = name.partition(".")
    return f"layer0.{STEM[head]}.{rest}" if head in STEM else name


def _rename_timm_stem(name: str) -> str:
    head, _, rest = name.partition(".")
    if head == "bn1":
        return f"layer0.7.{rest}"
    return f"layer0.{rest}" if head == "conv1" else name


# torchvision's, then timm's; fc8 is the classifier of ImageNet.
DENSE: Final = MappingProxyType(
    {
        "classifier.0.": "fc6.",
        "classifier.3.": "fc7.",
        "classifier.6.": "fc8.",
        "pre_logits.fc1.": "fc6.",
        "pre_logits.fc2.": "fc7.",
        "head.fc.": "fc8.",
    }
)


def _rename_vgg(name: str) -> str:
    for theirs, ours in DENSE.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


# timm counts blocks within stages; these are the numbers of the first of each.
FIRST_BLOCKS: Final = (1, 2, 4, 7, 11, 14, 17)
ENDS: Final = MappingProxyType(
    {
        "conv_stem": "features.0.0",
        "bn1": "features.0.1",
        "conv_head": "features.18.0",
        "bn2": "features.18.1",
    }
)
NARROW: Final = MappingProxyType(
    {"conv_dw": "conv.0.0", "bn1": "conv.0.1", "conv_pw": "conv.1", "bn2": "conv.2"}
)
WIDE: Final = MappingProxyType(
    {
        "conv_pw": "conv.0.0",
        "bn1": "conv.0.1",
        "conv_dw": "conv.1.0",
        "bn2": "conv.1.1",
        "conv_pwl": "conv.2",
        "bn3": "conv.3",
    }
)


def _rename_mobilenet_v2(name: str) -> str:
    head, _, rest = name.partition(".")
    if head in ENDS:
        return f"{ENDS[head]}.{rest}"
    parts = name.split(".")
    if head != "blocks" or len(parts) != 5 or not (parts[1] + parts[2]).isdecimal():
        return name
    stage, number, layer, leaf = int(parts[1]), int(parts[2]), parts[3], parts[4]
    layers = NARROW if stage == 0 else WIDE
    if stage >= len(FIRST_BLOCKS) or layer not in layers:
        return name
    return f"features.{FIRST_BLOCKS[stage] + number}.{layers[layer]}.{leaf}"
