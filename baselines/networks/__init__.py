"""The networks: everything that turns a photo into logits per pixel."""

from baselines.networks.build import build_network, settle_network
from baselines.networks.layers import upsample_bilinear
from baselines.networks.network import LoadedWeights, Network
from baselines.networks.weights import check_weights, load_weights

__all__ = [
    "LoadedWeights",
    "Network",
    "build_network",
    "check_weights",
    "load_weights",
    "settle_network",
    "upsample_bilinear",
]
