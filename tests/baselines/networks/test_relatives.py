"""What is particular to each relative of PSPNet, against plain writings of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

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


class Plain:
    """Layers as functions of a network's state dict, for plain writings of whole networks."""

    def __init__(self, model: Network) -> None:
        torch.manual_seed(5)
        for name, value in model.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 1.5)
            elif name.endswith("running_mean"):
                value.uniform_(-0.2, 0.2)
            elif value.ndim == 1 and value.is_floating_point():
                value.uniform_(0.1, 0.3)
            elif name.startswith(("ct_", "final", "seg_score", "conv1_1_D")):
                value.normal_(std=0.1)
        self.state = model.state_dict()

    def conv(
        self, name: str, x: Tensor, stride: int = 1, dilation: int = 1, groups: int = 1
    ) -> Tensor:
        weight, bias = self.state[f"{name}.weight"], self.state.get(f"{name}.bias")
        padding = dilation * (weight.shape[2] // 2)
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)

    def deconv(self, name: str, x: Tensor) -> Tensor:
        weight = self.state[f"{name}.weight"]
        return F.conv_transpose2d(x, weight, padding=weight.shape[2] // 2)

    def norm(self, name: str, x: Tensor) -> Tensor:
        leaves = ("running_mean", "running_var", "weight", "bias")
        mean, var, gamma, beta = (self.state[f"{name}.{leaf}"] for leaf in leaves)
        return F.batch_norm(x, mean, var, gamma, beta)


def decode_plainly(plain: Plain, network: str, x: Tensor) -> Tensor:
    """SegNet or DeconvNet: pool with the library's indices, scatter the values back by them."""
    repeats, layer, kept = (2, 2, 3, 3, 3), 0, []
    for count in repeats:
        for _ in range(count):
            x = F.relu(plain.norm(f"features.{layer + 1}", plain.conv(f"features.{layer}", x)))
            layer += 3
        layer, shape = layer + 1, x.shape
        x, index = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
        kept.append((index, shape))
    if network == "deconvnet":
        for number in (6, 7):
            x = F.relu(plain.norm(f"bnfc{number}", plain.conv(f"fc{number}", x)))
        x = F.relu(plain.norm("fc6_deconv_bn", plain.deconv("fc6_deconv", x)))
    for block in (5, 4, 3, 2, 1):
        index, shape = kept[block - 1]
        flat = torch.zeros(*shape[:2], shape[2] * shape[3])
        x = flat.scatter_(2, index.flatten(2), x.flatten(2)).view(shape)
        for number in range(1, repeats[block - 1] + 1):
            if network == "deconvnet":
                place = f"{block}_{number}"
                x = F.relu(plain.norm(f"debn{place}", plain.deconv(f"deconv{place}", x)))
                continue
            place = f"conv{block}_{repeats[block - 1] + 1 - number}_D"
            x = plain.conv(place, x)
            if place != "conv1_1_D":
                x = F.relu(plain.norm(f"{place}_bn", x))
    return x if network == "segnet" else plain.conv("seg_score", x)


def see_context_plainly(plain: Plain, x: Tensor) -> Tensor:
    """DilatedNet: the front end without its last two poolings, the context module, enlarging by 8."""
    layer = 0
    for block, count in enumerate((2, 2, 3, 3, 3)):
        for _ in range(count):
            x = F.relu(plain.conv(f"features.{layer}", x, dilation=2 if block == 4 else 1))
            layer += 2
        layer += 1
        x = F.max_pool2d(x, 2, ceil_mode=True) if block < 3 else x
    x = F.relu(plain.conv("fc7", F.relu(plain.conv("fc6", x, dilation=4))))
    x = plain.conv("final", x)
    names = ("conv1_1", "conv1_2", "conv2_1", "conv3_1", "conv4_1", "conv5_1", "fc1")
    for name, dilation in zip(names, (1, 1, 2, 4, 8, 16, 1), strict=True):
        x = F.relu(plain.conv(f"ct_{name}", x, dilation=dilation))
    x = plain.conv("ct_final", x)
    return F.interpolate(x, scale_factor=8, mode="bilinear", align_corners=False)


def run_mobilenet_v2_plainly(plain: Plain, x: Tensor) -> Tensor:
    """MobileNetV2 at output stride 8, table 2 of Sandler et al. by hand, and the plain head."""

    def step(place: str, norm: str, x: Tensor, **options: int) -> Tensor:
        return plain.norm(norm, plain.conv(place, x, **options))

    x = F.relu6(step("features.0.0", "features.0.1", x, stride=2))
    number = 1
    for expand, stride, dilation, count in (
        *((1, 1, 1, 1), (6, 2, 1, 2), (6, 2, 1, 3), (6, 1, 2, 4)),
        *((6, 1, 2, 3), (6, 1, 4, 3), (6, 1, 4, 1)),
    ):
        for repeat in range(count):
            name, y, at = f"features.{number}.conv", x, 0
            if expand > 1:
                y, at = F.relu6(step(f"{name}.0.0", f"{name}.0.1", y)), 1
            options = {"dilation": dilation, "groups": y.shape[1]}
            y = step(
                f"{name}.{at}.0", f"{name}.{at}.1", y, stride=1 if repeat else stride, **options
            )
            y = step(f"{name}.{at + 1}", f"{name}.{at + 2}", F.relu6(y))
            x = x + y if repeat else y
            number += 1
    return plain.conv("cls.4", F.relu(step("cls.0", "cls.1", x)))


@pytest.mark.parametrize("size_hw", [(64, 96), (57, 73)])
@pytest.mark.parametrize(
    ("network", "backbone"),
    [
        ("segnet", "vgg16_bn"),
        ("deconvnet", "vgg16_bn"),
        ("dilatednet", "vgg16"),
        ("dilated_fcn", "mobilenet_v2"),
    ],
)
def test_logits_are_those_of_a_plain_writing(
    network: str, backbone: str, size_hw: tuple[int, int]
) -> None:
    """The whole of each network, layer by layer as published, to 1e-5."""
    model = build_thin(network, backbone)
    plain = Plain(model)
    images = torch.rand(2, 3, *size_hw) * 255
    x = (images - model.mean) / model.std
    if network == "dilatednet":
        expected = see_context_plainly(plain, x)[:, :, : size_hw[0], : size_hw[1]]
    elif network == "dilated_fcn":
        expected = run_mobilenet_v2_plainly(plain, x)
    else:
        expected = decode_plainly(plain, network, x)
    assert expected.std() > 1e-3
    torch.testing.assert_close(model(images)[0], expected, atol=1e-5, rtol=1e-5)


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
