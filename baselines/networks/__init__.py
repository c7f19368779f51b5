"""The networks: everything that turns a photo into logits per pixel."""

from baselines.networks.pspnet import (
    Network,
    build_network,
    load_weights,
    pool_average,
    upsample_bilinear,
)

__all__ = ["Network", "build_network", "load_weights", "pool_average", "upsample_bilinear"]
