"""The networks: shapes, names, dilations, weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from baselines.config import PRESETS, TrainConfig
from baselines.networks import (
    build_network,
    load_weights,
    pool_average,
    upsample_bilinear,
)
from baselines.networks.backbones import DepthwiseConv, convolve_in_batch
from mseg_curate.errors import TrainingError


def make_config(backbone: str, output_stride: int) -> TrainConfig:
    """A thin network of the given kind."""
    return replace(
        PRESETS["tiny"],
        backbone=backbone,
        width=0.125,
        head_channels=8,
        output_stride=output_stride,
        crop_px=33,
    )


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("backbone", ["resnet18", "resnet34", "resnet50", "mobilenet_v2"])
@pytest.mark.parametrize("size_hw", [(33, 49), (40, 64)])
def test_logits_have_the_size_of_the_output_stride(
    backbone: str, output_stride: int, size_hw: tuple[int, int]
) -> None:
    """Both heads give (N, classes, ceil(H / stride), ceil(W / stride))."""
    model = build_network(make_config(backbone, output_stride), classes=5, seed=0).train()
    logits, aux = model(torch.rand(2, 3, *size_hw) * 255)
    expected = (2, 5, *(-(-side // output_stride) for side in size_hw))
    assert logits.shape == expected
    assert aux is not None
    assert aux.shape == expected
    assert model.eval()(torch.rand(2, 3, *size_hw))[1] is None


def dilations(stage: nn.Module) -> set[tuple[int, int]]:
    """The (dilation, stride) pairs of all 3 × 3 convolutions below a module."""
    return {
        (conv.dilation[0], conv.stride[0])
        for conv in stage.modules()
        if isinstance(conv, nn.Conv2d) and conv.kernel_size == (3, 3)
    }


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_resnet_stages_are_dilated_from_their_first_block_on(backbone: str) -> None:
    """At stride 8 all 3 × 3 of layer3 are dilated by 2, of layer4 by 4, and none strides."""
    model = build_network(make_config(backbone, 8), classes=3, seed=0)
    assert dilations(model.get_submodule("layer3")) == {(2, 1)}
    assert dilations(model.get_submodule("layer4")) == {(4, 1)}
    assert dilations(model.get_submodule("layer2")) == {(1, 2), (1, 1)}


def test_published_pspnet50_has_its_names_and_shapes() -> None:
    """Names and shapes are those under which PSPNet weights travel."""
    config = PRESETS["paper"]
    with torch.device("meta"):
        model = build_network(config, classes=150, seed=0)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    expected = {
        "layer0.0.weight": (64, 3, 3, 3),
        "layer0.3.weight": (64, 64, 3, 3),
        "layer0.6.weight": (128, 64, 3, 3),
        "layer0.7.running_mean": (128,),
        "layer1.0.conv1.weight": (64, 128, 1, 1),
        "layer1.0.downsample.0.weight": (256, 128, 1, 1),
        "layer3.5.conv2.weight": (256, 256, 3, 3),
        "layer4.2.bn3.weight": (2048,),
        "ppm.features.0.1.weight": (512, 2048, 1, 1),
        "ppm.features.3.2.running_var": (512,),
        "cls.0.weight": (512, 4096, 3, 3),
        "cls.1.bias": (512,),
        "cls.4.weight": (150, 512, 1, 1),
        "aux.0.weight": (256, 1024, 3, 3),
        "aux.4.bias": (150,),
    }
    assert expected.items() <= shapes.items()
    # 46.7 million parameters in the published network with its deep stem, aux head apart.
    trainable = sum(p.numel() for name, p in model.named_parameters() if "aux." not in name)
    assert 46.0e6 < trainable < 47.5e6


def test_mobilenet_v2_strides_16_and_dilates_the_rest() -> None:
    """The published plan of strides becomes dilation past the output stride."""
    model = build_network(make_config("mobilenet_v2", 16), classes=3, seed=0)
    features = model.get_submodule("features")
    assert dilations(features[13]) == {(1, 1)}  # type: ignore[index]
    for number in (14, 15, 16, 17):
        assert dilations(features[number]) == {(2, 1)}  # type: ignore[index]
    deeper = build_network(make_config("mobilenet_v2", 8), classes=3, seed=0)
    assert dilations(deeper.get_submodule("features.10")) == {(2, 1)}
    assert dilations(deeper.get_submodule("features.17")) == {(4, 1)}


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


@pytest.mark.parametrize("bins", [1, 2, 3, 6])
@pytest.mark.parametrize("size", [(6, 6), (7, 12), (12, 5), (3, 3)])
def test_pooling_equals_adaptive_average_pooling(size: tuple[int, int], bins: int) -> None:
    """Two matrix products average over the same bins as the library's pooling."""
    x = torch.randn(2, 3, *size)
    torch.testing.assert_close(pool_average(x, bins), F.adaptive_avg_pool2d(x, bins))


@pytest.mark.parametrize("every", [1, 2, 4])
@pytest.mark.parametrize(
    ("size", "target"), [((3, 5), (17, 33)), ((1, 1), (6, 5)), ((4, 4), (4, 4))]
)
def test_upsampling_equals_aligned_bilinear(
    size: tuple[int, int], target: tuple[int, int], every: int
) -> None:
    """Every k-th row and column equals that of the library's full result."""
    x = torch.randn(2, 3, *size)
    full = F.interpolate(x, target, mode="bilinear", align_corners=True)
    torch.testing.assert_close(
        upsample_bilinear(x, target, every=every),
        full[:, :, ::every, ::every],
        atol=1e-5,
        rtol=1e-5,
    )


def test_equal_seeds_give_equal_networks_and_leave_the_random_state_alone() -> None:
    """The seed alone decides the start, and building consumes no random numbers."""
    config = make_config("resnet18", 8)
    before = torch.random.get_rng_state()
    first, again, other = (build_network(config, classes=3, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert not torch.equal(first.state_dict()["cls.0.weight"], other.state_dict()["cls.0.weight"])


def test_frozen_blocks_stay_as_they_are() -> None:
    """Frozen blocks get no gradient and keep their batch statistics in training."""
    config = replace(make_config("mobilenet_v2", 16), frozen_blocks=4)
    model = build_network(config, classes=3, seed=0).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    logits, _ = model(torch.rand(2, 3, 33, 33) * 255)
    logits.sum().backward()
    for name, value in model.state_dict().items():
        if name.startswith(("features.0.", "features.3.")):
            assert torch.equal(value, before[name]), name
    moved = "features.4.conv.0.1.running_mean"
    assert not torch.equal(model.state_dict()[moved], before[moved])
    backbone, _ = model.split_parameters()
    assert not any(name.startswith("features.3.") for name in backbone)
    assert any(name.startswith("features.4.") for name in backbone)


def save_backbone(path: Path, config: TrainConfig, **changes: Tensor) -> None:
    """Write the backbone of another seed as a weights file, with some entries changed."""
    source = build_network(config, classes=3, seed=9)
    table = {
        name: value
        for name, value in source.state_dict().items()
        if name.startswith(source.backbone_names)
    }
    save_file(table | changes, path)


def test_weights_reach_the_backbone_and_no_head(tmp_path: Path) -> None:
    """A weights file replaces the backbone; heads keep their random start."""
    config = make_config("resnet18", 8)
    path = tmp_path / "weights.safetensors"
    save_backbone(path, config, **{"fc.weight": torch.zeros(10, 4)})
    ours = build_network(replace(config, weights=path), classes=3, seed=0).state_dict()
    source = build_network(config, classes=3, seed=9).state_dict()
    random = build_network(config, classes=3, seed=0).state_dict()
    assert torch.equal(ours["layer4.1.conv2.weight"], source["layer4.1.conv2.weight"])
    assert torch.equal(ours["cls.0.weight"], random["cls.0.weight"])


def test_stem_names_of_a_plain_classifier_are_understood(tmp_path: Path) -> None:
    """conv1 … bn3 of a deep-stem classifier land in layer0."""
    config = make_config("resnet18", 8)
    source = build_network(config, classes=3, seed=9)
    places = {"0": "conv1", "1": "bn1", "3": "conv2", "4": "bn2", "6": "conv3", "7": "bn3"}
    table = {}
    for name, value in source.state_dict().items():
        head, _, rest = name.partition(".")
        if head == "layer0":
            number, _, leaf = rest.partition(".")
            table[f"{places[number]}.{leaf}"] = value
        elif name.startswith(source.backbone_names):
            table[name] = value
    torch.save({"state_dict": table}, tmp_path / "weights.pth")
    model = build_network(config, classes=3, seed=0)
    load_weights(model, tmp_path / "weights.pth")
    assert torch.equal(model.state_dict()["layer0.3.weight"], table["conv2.weight"])


def test_weights_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    """Missing, unknown and misshapen names are all in the one error."""
    config = make_config("resnet18", 8)
    path = tmp_path / "weights.safetensors"
    changes = {"layer1.0.conv1.weight": torch.zeros(2, 2), "layer9.weight": torch.zeros(1)}
    save_backbone(path, config, **changes)
    with pytest.raises(TrainingError) as caught:
        build_network(replace(config, weights=path), classes=3, seed=0)
    assert "layer1.0.conv1.weight: expected (8, 16, 3, 3), found (2, 2)" in str(caught.value)
    assert "layer9.weight: not part of this network" in str(caught.value)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_unreadable_weights_are_one_error(tmp_path: Path, suffix: str) -> None:
    """A damaged file and a missing one raise TrainingError with the path."""
    path = tmp_path / f"weights{suffix}"
    config = replace(make_config("resnet18", 8), weights=path)
    with pytest.raises(TrainingError, match="no such weights file"):
        build_network(config, classes=3, seed=0)
    path.write_bytes(b"not weights at all")
    with pytest.raises(TrainingError, match="cannot be read"):
        build_network(config, classes=3, seed=0)


@pytest.mark.real_data
def test_real_mobilenet_weights_fit(shared_data: Path) -> None:
    """ImageNet weights of MobileNetV2 load under their published names."""
    path = shared_data / "weights" / "mobilenet_v2_imagenet_from_int8_tflite.pth"
    model = build_network(replace(PRESETS["small"], weights=path), classes=4, seed=0)
    loaded = torch.load(path, weights_only=True)
    name = "features.17.conv.2.weight"
    assert torch.equal(model.state_dict()[name], loaded[name])
