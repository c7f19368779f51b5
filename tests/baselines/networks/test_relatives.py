"""What is particular to each relative of PSPNet, against plain writings of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from baselines.config import TrainConfig
from baselines.networks import Network, build_network
from baselines.networks.deeplab import DeepLab
from baselines.networks.dilatednet import DilatedNet
from baselines.networks.enlarging import LearnedEnlarging, build_enlarging
from baselines.networks.unpooling import pool_keeping_places, unpool


def build_thin(network: str, backbone: str = "vgg16_bn", **settings: object) -> Network:
    """A thin network of five classes, to be evaluated."""
    config = TrainConfig(network=network, backbone=backbone, width=0.0625, head_channels=8)
    return build_network(replace(config, **settings), classes=5, seed=0).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("output_stride", [8, 16])
def test_deeplab_sums_its_branches(output_stride: int) -> None:
    """Logits are the sum of four dilated convolutions of the same features, and of their biases."""
    model = build_thin("deeplab", "resnet18", output_stride=output_stride)
    assert isinstance(model, DeepLab)
    torch.manual_seed(0)
    features = torch.randn(2, model.channels, 9, 11)
    state = model.state_dict()
    expected = torch.zeros(2, 5, 9, 11)
    for number, rate in enumerate((6, 12, 18, 24)):
        rate = rate * 8 // output_stride  # noqa: PLW2901
        weight, bias = (state[f"aspp.c{number}.{leaf}"] for leaf in ("weight", "bias"))
        expected += F.conv2d(features, weight, bias, padding=rate, dilation=rate)
    torch.testing.assert_close(model.classify(features), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("factor", [2, 8, 16, 32])
@pytest.mark.parametrize("size_hw", [(1, 1), (3, 4)])
def test_enlarging_starts_as_bilinear_interpolation(
    size_hw: tuple[int, int], factor: int, learned: bool
) -> None:
    """Learned or fixed, FCN's enlarging equals the library's interpolation, borders included."""
    x = torch.randn(2, 3, *size_hw)
    ours = build_enlarging(3, factor, learned=learned)(x)
    theirs = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_learned_enlarging_is_learned_class_by_class() -> None:
    """Each class has a filter of its own, and only a learned enlarging has any."""
    layer = LearnedEnlarging(3, 4)
    layer(torch.randn(1, 3, 2, 2)).sum().backward()
    assert layer.weight.shape == (3, 1, 8, 8)
    assert layer.weight.grad is not None
    fixed, learned = (
        build_thin("fcn8s", upsampling=upsampling) for upsampling in ("bilinear", "learned")
    )
    names = {"upscore2.weight", "upscore_pool4.weight", "upscore8.weight"}
    assert learned.state_dict().keys() - fixed.state_dict().keys() == names


@pytest.mark.parametrize("size_hw", [(64, 96), (57, 73)])
@pytest.mark.parametrize("network", ["fcn32s", "fcn16s", "fcn8s"])
def test_fcn_adds_the_scores_of_its_skips(network: str, size_hw: tuple[int, int]) -> None:
    """Scores of block five, doubled and added to those of four and three, as in the paper."""
    model = build_thin(network, "vgg16")
    state = model.state_dict()

    def convolve(name: str, x: torch.Tensor, padding: int = 0) -> torch.Tensor:
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=padding)

    def double(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        y = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return y[:, :, : like.shape[2], : like.shape[3]]

    images = torch.rand(2, 3, *size_hw) * 255
    x, layer, pooled = (images - model.mean) / model.std, 0, []
    for repeats in (2, 2, 3, 3, 3):
        for _ in range(repeats):
            x = F.relu(convolve(f"features.{layer}", x, padding=1))
            layer += 2
        x = F.max_pool2d(x, 2, ceil_mode=True)
        layer += 1
        pooled.append(x)
    x = convolve("score_fr", F.relu(convolve("fc7", F.relu(convolve("fc6", x, padding=3)))))
    factor = 32
    if network in ("fcn16s", "fcn8s"):
        skip = convolve("score_pool4", pooled[3])
        x, factor = double(x, skip) + skip, 16
    if network == "fcn8s":
        skip = convolve("score_pool3", pooled[2])
        x, factor = double(x, skip) + skip, 8
    x = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    expected = x[:, :, : size_hw[0], : size_hw[1]]
    torch.testing.assert_close(model(images)[0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size_hw", [(4, 6), (5, 7), (1, 3)])
def test_unpooling_puts_values_back_where_they_were(size_hw: tuple[int, int]) -> None:
    """Each value is at the index of the library's pooling, all else is zero; and so are gradients."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size_hw, requires_grad=True)
    pooled, places = pool_keeping_places(x)
    values, index = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
    assert torch.equal(pooled, values)
    expected = torch.zeros(2, 3, size_hw[0] * size_hw[1])
    expected.scatter_(2, index.flatten(2), values.flatten(2))
    found = unpool(pooled, places, size_hw)
    assert torch.equal(found, expected.view(2, 3, *size_hw))
    (gradient,) = torch.autograd.grad(found.sum(), x)
    assert torch.equal(gradient, (found != 0).float())


def test_unpooling_agrees_with_the_library() -> None:
    """Where the size is even, the result is that of the library's unpooling."""
    x = torch.randn(2, 3, 6, 8)
    values, index = F.max_pool2d(x, 2, return_indices=True)
    pooled, places = pool_keeping_places(x)
    assert torch.equal(unpool(pooled, places, (6, 8)), F.max_unpool2d(values, index, (2, 2)))


@pytest.mark.parametrize(
    ("network", "first", "last"),
    [("segnet", "conv5_3_D", "conv1_1_D"), ("deconvnet", "deconv5_1", "seg_score")],
)
def test_decoders_mirror_the_encoder(network: str, first: str, last: str) -> None:
    """Thirteen decoding convolutions with the channels of VGG-16 the other way round."""
    model = build_thin(network)
    names = [name for name, _ in model.named_children()]
    decoders = [
        name
        for name in names[names.index(first) :]
        if name.startswith(("conv", "deconv")) and not name.endswith("_bn")
    ]
    assert len(decoders) == 13
    assert names[-1] == last


def test_context_starts_as_the_identity() -> None:
    """A score map without negative values passes unchanged, bit for bit; others lose what is below zero."""
    model = build_thin("dilatednet")
    assert isinstance(model, DilatedNet)
    torch.manual_seed(0)
    scores = torch.randn(2, 5, 40, 30)
    assert torch.equal(model.see_context(scores.relu()), scores.relu())
    assert torch.equal(model.see_context(scores), scores.relu())


def test_context_sees_67_pixels() -> None:
    """The basic module's receptive field is 67 × 67: table 1 of Yu and Koltun."""
    model = build_thin("dilatednet")
    assert isinstance(model, DilatedNet)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("ct_"):
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
    scores = torch.zeros(1, 5, 81, 81)
    scores[0, 0, 40, 40] = 1.0
    touched = model.see_context(scores)[0, 0] > 0
    assert touched.any(0).sum() == 67
    assert touched.any(1).sum() == 67


def test_dilatednet_loses_two_poolings_and_dilates() -> None:
    """The fifth block is dilated by 2, fc6 by 4: section 4 of Yu and Koltun."""
    model = build_thin("dilatednet", "vgg16")
    assert model.get_submodule("features.28").dilation == (2, 2)
    assert model.get_submodule("features.21").dilation == (1, 1)
    assert model.get_submodule("fc6").dilation == (4, 4)
