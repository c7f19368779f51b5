"""PSPNet against a second, plain writing of it, and its names, shapes and dilations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.config import PRESETS, TrainConfig
from baselines.networks import Network, build_network

# Blocks per stage, and whether a block is a bottleneck: He et al., table 1; Zhao et al., section 5.
PAPER = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
    "resnet152": ((3, 8, 36, 3), True),
    "resnet269": ((3, 30, 48, 8), True),
}
MEAN = torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1)
STD = torch.tensor([58.395, 57.12, 57.375]).view(1, 3, 1, 1)


@dataclass
class PlainPSPNet:
    """The paper's network as functions of a state dict, written without regard to speed."""

    state: Mapping[str, Tensor]
    backbone: str
    stem: str
    training: bool

    def conv(self, name: str, x: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
        weight = self.state[f"{name}.weight"]
        padding = dilation * (weight.shape[2] // 2)
        bias = self.state.get(f"{name}.bias")
        return F.conv2d(x, weight, bias, stride=stride, padding=padding, dilation=dilation)

    def norm(self, name: str, x: Tensor) -> Tensor:
        leaves = ("running_mean", "running_var", "weight", "bias")
        mean, var, gamma, beta = (self.state[f"{name}.{leaf}"] for leaf in leaves)
        return F.batch_norm(x, mean.clone(), var.clone(), gamma, beta, training=self.training)

    def stem_features(self, x: Tensor) -> Tensor:
        convolutions = [(0, 2)] if self.stem == "plain" else [(0, 2), (3, 1), (6, 1)]
        for number, stride in convolutions:
            x = self.conv(f"layer0.{number}", x, stride)
            x = F.relu(self.norm(f"layer0.{number + 1}", x))
        return F.max_pool2d(x, 3, 2, 1)

    def block(self, name: str, x: Tensor, stride: int, dilation: int) -> Tensor:
        if PAPER[self.backbone][1]:
            y = F.relu(self.norm(f"{name}.bn1", self.conv(f"{name}.conv1", x)))
            y = self.conv(f"{name}.conv2", y, stride, dilation)
            y = F.relu(self.norm(f"{name}.bn2", y))
            y = self.norm(f"{name}.bn3", self.conv(f"{name}.conv3", y))
        else:
            y = F.relu(self.norm(f"{name}.bn1", self.conv(f"{name}.conv1", x, stride, dilation)))
            y = self.norm(f"{name}.bn2", self.conv(f"{name}.conv2", y, 1, dilation))
        if f"{name}.downsample.0.weight" in self.state:
            x = self.conv(f"{name}.downsample.0", x, stride)
            x = self.norm(f"{name}.downsample.1", x)
        return F.relu(x + y)

    def head(self, name: str, x: Tensor) -> Tensor:
        x = F.relu(self.norm(f"{name}.1", self.conv(f"{name}.0", x)))
        return self.conv(f"{name}.4", x)

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem_features((images - MEAN) / STD)
        tapped = x
        for stage, (stride, dilation) in enumerate(((1, 1), (2, 1), (1, 2), (1, 4)), start=1):
            for number in range(PAPER[self.backbone][0][stage - 1]):
                name = f"layer{stage}.{number}"
                x = self.block(name, x, stride if number == 0 else 1, dilation)
            if stage == 3:
                tapped = x
        levels = [x]
        for number, bins in enumerate((1, 2, 3, 6)):
            y = F.adaptive_avg_pool2d(x, bins)
            y = self.norm(f"ppm.features.{number}.2", self.conv(f"ppm.features.{number}.1", y))
            size_hw = (x.shape[2], x.shape[3])
            levels.append(F.interpolate(F.relu(y), size_hw, mode="bilinear", align_corners=True))
        return self.head("cls", torch.cat(levels, dim=1)), self.head("aux", tapped)


def scatter_parameters(network: Network) -> None:
    """Give batch norms and classifiers values that a fault would show in, and no depth blows up."""
    torch.manual_seed(5)
    for name, value in network.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif name.endswith("running_mean"):
            value.uniform_(-0.2, 0.2)
        elif value.ndim == 1 and value.is_floating_point():
            value.uniform_(0.1, 0.3)
        elif name.endswith(".4.weight"):
            value.normal_(std=value.shape[1] ** -0.5)


def compare_with_the_paper(config: TrainConfig, *, training: bool) -> None:
    """Hold logits and auxiliary logits against the plain writing."""
    network = build_network(config, classes=7, seed=0)
    scatter_parameters(network)
    plain = PlainPSPNet(
        {name: value.clone() for name, value in network.state_dict().items()},
        backbone=config.backbone,
        stem="plain" if config.stem == "plain" else "deep",
        training=training,
    )
    images = torch.rand(2, 3, 49, 65) * 255
    with torch.no_grad():
        logits, aux = network.train(training)(images)
        expected, expected_aux = plain(images)
    assert expected.std() > 0.05
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
    if training:
        torch.testing.assert_close(aux, expected_aux, atol=1e-5, rtol=1e-5)
    else:
        assert aux is None


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("backbone", PAPER)
def test_every_depth_gives_the_logits_of_the_paper(
    backbone: str, training: bool, fast: bool
) -> None:
    """All blocks of each published depth, thin: both heads as in the plain writing, to 1e-5."""
    config = TrainConfig(
        backbone=backbone, width=0.125, head_channels=16, dropout=0.0, fast_pyramid=fast
    )
    compare_with_the_paper(config, training=training)


def test_the_published_width_gives_the_logits_of_the_paper() -> None:
    """ResNet-50 with all its channels, in training."""
    compare_with_the_paper(replace(PRESETS["paper"], dropout=0.0), training=True)


def test_the_plain_stem_gives_the_logits_of_the_paper() -> None:
    """One 7 × 7 convolution in place of three 3 × 3."""
    config = TrainConfig(
        backbone="resnet50", width=0.125, head_channels=16, dropout=0.0, stem="plain"
    )
    compare_with_the_paper(config, training=True)


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
    config = TrainConfig(backbone=backbone, width=0.125, head_channels=8)
    model = build_network(config, classes=3, seed=0)
    assert dilations(model.get_submodule("layer3")) == {(2, 1)}
    assert dilations(model.get_submodule("layer4")) == {(4, 1)}
    assert dilations(model.get_submodule("layer2")) == {(1, 2), (1, 1)}


@pytest.mark.parametrize("backbone", ["resnet50", "mobilenet_v2"])
def test_batch_norms_track_as_published(backbone: str) -> None:
    """All batch norms take a tenth of each batch, and 1e-5 keeps them from dividing by zero."""
    config = TrainConfig(backbone=backbone, width=0.125, head_channels=8)
    model = build_network(config, classes=3, seed=0)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert {(norm.momentum, norm.eps) for norm in norms} == {(0.1, 1e-5)}


def test_heads_drop_whole_channels() -> None:
    """Main and auxiliary head drop a tenth of their channels before they classify, in training alone."""
    model = build_network(TrainConfig(backbone="resnet10", width=0.125), classes=3, seed=0)
    dropouts = {
        name: module.p for name, module in model.named_modules() if isinstance(module, nn.Dropout2d)
    }
    assert dropouts == {"cls.3": 0.1, "aux.3": 0.1}


def test_published_pspnet50_has_its_names_and_shapes() -> None:
    """Names and shapes are those under which PSPNet weights travel."""
    with torch.device("meta"):
        model = build_network(PRESETS["paper"], classes=150, seed=0)
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


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("backbone", ["resnet18", "resnet34", "resnet50", "mobilenet_v2"])
@pytest.mark.parametrize("size_hw", [(33, 49), (40, 64)])
def test_logits_have_the_size_of_the_output_stride(
    backbone: str, output_stride: int, size_hw: tuple[int, int]
) -> None:
    """Both heads give (N, classes, ceil(H / stride), ceil(W / stride))."""
    config = TrainConfig(
        backbone=backbone, width=0.125, head_channels=8, output_stride=output_stride
    )
    model = build_network(config, classes=5, seed=0).train()
    logits, aux = model(torch.rand(2, 3, *size_hw) * 255)
    expected = (2, 5, *(-(-side // output_stride) for side in size_hw))
    assert logits.shape == expected
    assert aux is not None
    assert aux.shape == expected
    assert model.eval()(torch.rand(2, 3, *size_hw))[1] is None
