"""MobileNetV2: its dilation, and the quick way to it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from baselines.config import TrainConfig
from baselines.networks import Network, build_network
from baselines.networks.mobilenet_v2 import DepthwiseConv, convolve_in_batch


def build_thin(output_stride: int) -> Network:
    """A thin PSPNet on MobileNetV2."""
    config = TrainConfig(
        backbone="mobilenet_v2", width=0.125, head_channels=8, output_stride=output_stride
    )
    return build_network(config, classes=3, seed=0)


def depthwise(block: nn.Module) -> set[tuple[int, int]]:
    """The (dilation, stride) pairs of all depthwise convolutions below a module."""
    return {
        (conv.dilation[0], conv.stride[0])
        for conv in block.modules()
        if isinstance(conv, nn.Conv2d) and conv.groups > 1
    }


def test_strides_past_the_output_stride_become_dilation() -> None:
    """The published plan of strides goes on as dilation past stride 16, and past 8."""
    model = build_thin(16)
    assert depthwise(model.get_submodule("features.13")) == {(1, 1)}
    for number in (14, 15, 16, 17):
        assert depthwise(model.get_submodule(f"features.{number}")) == {(2, 1)}
    deeper = build_thin(8)
    assert depthwise(deeper.get_submodule("features.10")) == {(2, 1)}
    assert depthwise(deeper.get_submodule("features.17")) == {(4, 1)}


@pytest.mark.parametrize(("size", "dilation"), [((6, 8), 2), ((12, 4), 4), ((9, 6), 3)])
def test_convolution_in_the_batch_equals_dilation(size: tuple[int, int], dilation: int) -> None:
    """Output and both gradients equal those of the dilated depthwise convolution."""
    torch.manual_seed(0)
    x = torch.randn(2, 5, *size, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    ours = convolve_in_batch(x, weight, dilation=dilation)
    theirs = F.conv2d(x, weight, padding=dilation, dilation=dilation, groups=5)
    torch.testing.assert_close(ours, theirs)
    pull = torch.randn_like(ours)
    for found, expected in zip(
        torch.autograd.grad(ours, (x, weight), pull),
        torch.autograd.grad(theirs, (x, weight), pull),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("side", [8, 9])
def test_depthwise_is_the_same_with_and_without_a_gradient(side: int) -> None:
    """The quick way and the plain one, chosen by circumstance, agree."""
    torch.manual_seed(0)
    conv = DepthwiseConv(4, stride=1, dilation=2)
    x = torch.randn(2, 4, side, side)
    with torch.no_grad():
        plain = conv(x)
    torch.testing.assert_close(conv(x), plain)
