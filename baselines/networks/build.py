"""From a configuration to a network: what `auto` stands for, the random start, the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final, Protocol

import torch
from torch import nn

from baselines.config import AUTO, TrainConfig
from baselines.networks.deconvnet import DeconvNet
from baselines.networks.deeplab import DeepLab
from baselines.networks.dilated_fcn import DilatedFCN
from baselines.networks.dilatednet import DilatedNet, IdentityConv
from baselines.networks.fcn import FCN
from baselines.networks.network import LoadedWeights, Network
from baselines.networks.pspnet import PSPNet
from baselines.networks.segnet import SegNet
from baselines.networks.weights import list_weights, load_weights, recognise_weights

__all__ = ["build_network", "settle_network"]


class _Family(Protocol):
    def __call__(self, config: TrainConfig, *, classes: int) -> Network: ...


FAMILIES: Final[Mapping[str, _Family]] = MappingProxyType(
    {
        "pspnet": PSPNet,
        "dilated_fcn": DilatedFCN,
        "deeplab": DeepLab,
        "fcn32s": FCN,
        "fcn16s": FCN,
        "fcn8s": FCN,
        "segnet": SegNet,
        "deconvnet": DeconvNet,
        "dilatednet": DilatedNet,
    }
)


def build_network(config: TrainConfig, *, classes: int, seed: int) -> Network:
    """Build the network of `config` with `classes` outputs; equal seeds give equal parameters.

    `start` of the network says what came from `config.weights`. Raises TrainingError where these
    do not fit.
    """
    settled = settle_network(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = FAMILIES[settled.network](settled, classes=classes)
        _initialise(network)
    network.start = LoadedWeights(random=list_weights(network))
    if settled.weights is not None:
        network.start = load_weights(network, settled.weights)
    return network


def settle_network(config: TrainConfig) -> TrainConfig:
    """Return `config` with stem and normalisation chosen where they are `auto`.

    The weights file decides where it can be told from it; else the stem is deep, and input is
    normalised as ImageNet's, for MobileNetV2 symmetrically. Raises TrainingError where the file
    cannot be read.
    """
    if AUTO not in (config.stem, config.normalisation):
        return config
    stem, normalisation = "deep", "imagenet"
    if config.backbone == "mobilenet_v2":
        normalisation = "symmetric"
    if config.weights is not None:
        found = recognise_weights(config.weights)
        stem, normalisation = found.stem or stem, found.normalisation or normalisation
    return replace(
        config,
        stem=stem if config.stem == AUTO else config.stem,
        normalisation=normalisation if config.normalisation == AUTO else config.normalisation,
    )


def _initialise(network: Network) -> None:
    for name, module in network.named_modules():
        if isinstance(module, IdentityConv) or not isinstance(
            module, nn.Conv2d | nn.ConvTranspose2d
        ):
            continue
        if name in network.classifiers:
            # They start undecided between the classes.
            nn.init.normal_(module.weight, std=0.01)
        else:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
