"""What every network promises: odd sizes, gradients, seeds, frozen parts, precision and layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from baselines.config import NETWORKS, PRESETS, TrainConfig
from baselines.networks import Network, build_network, settle_network

PAIRS = [
    (network, backbone) for network in NETWORKS for backbone in dict.fromkeys(NETWORKS[network])
]


def make_config(network: str, backbone: str, **settings: object) -> TrainConfig:
    """A thin network of the given kind."""
    config = TrainConfig(network=network, backbone=backbone, width=0.0625, head_channels=8)
    return replace(config, **settings)  # type: ignore[arg-type]


def take_step(
    model: Callable[[Tensor], tuple[Tensor, Tensor | None]], *, size_hw: tuple[int, int] = (57, 73)
) -> Tensor:
    """Compute gradients of a loss on both outputs; returns the logits."""
    torch.manual_seed(0)
    logits, aux = model(torch.rand(2, 3, *size_hw) * 255)
    loss = logits.float().square().mean()
    if aux is not None:
        loss = loss + aux.float().square().mean()
    loss.backward()  # type: ignore[no-untyped-call]
    return logits


def check_gradients(model: Network) -> None:
    """Every parameter that trains has a finite gradient, and every other none."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
        else:
            assert parameter.grad is None, name


@pytest.mark.parametrize(("network", "backbone"), PAIRS)
def test_every_network_takes_a_step_on_an_odd_size(network: str, backbone: str) -> None:
    """57 × 73 pixels give finite logits, no larger, and finite gradients on all that trains."""
    model = build_network(make_config(network, backbone), classes=5, seed=0).train()
    logits = take_step(model)
    assert logits.shape[:2] == (2, 5)
    assert logits.shape[2] <= 57
    assert logits.shape[3] <= 73
    assert logits.isfinite().all()
    check_gradients(model)
    backbone_parameters, new = model.split_parameters()
    assert backbone_parameters.keys() | new.keys() == dict(model.named_parameters()).keys()
    assert not backbone_parameters.keys() & new.keys()
    assert backbone_parameters
    assert new


@pytest.mark.parametrize("network", [*NETWORKS, "fcn8s learned"])
def test_every_network_trains_in_bfloat16_and_channels_last(network: str) -> None:
    """Autocast with batch norm in training, in the other layout: near the float32 logits.

    Where values are unpooled at the places of the largest, rounding moves some to the next pixel.
    """
    name, _, learned = network.partition(" ")
    config = make_config(
        name, NETWORKS[name][0], dropout=0.0, upsampling="learned" if learned else "bilinear"
    )
    if name in ("pspnet", "dilated_fcn", "deeplab"):
        config = replace(config, backbone="mobilenet_v2")
    model = build_network(config, classes=5, seed=0).train()
    expected = take_step(model)
    model.zero_grad(set_to_none=True)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.autocast("cpu", torch.bfloat16):
        found = take_step(model)
    check_gradients(model)
    assert found.isfinite().all()
    if name not in ("segnet", "deconvnet"):
        both = torch.stack([found.float().flatten(), expected.flatten()]).detach()
        assert torch.corrcoef(both)[0, 1] > 0.9


def test_a_network_can_be_compiled_whole() -> None:
    """One graph without a break, and the logits of the network itself."""
    config = make_config("pspnet", "resnet10", dropout=0.0, frozen_blocks=1)
    model = build_network(config, classes=5, seed=0).train()
    expected = take_step(model)
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(take_step(compiled), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("network", NETWORKS)
def test_equal_seeds_give_equal_networks_and_leave_the_random_state_alone(network: str) -> None:
    """The seed alone decides the start, and building consumes no random numbers."""
    config = make_config(network, NETWORKS[network][0])
    before = torch.random.get_rng_state()
    first, again, other = (build_network(config, classes=3, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    name = f"{first.classifiers[0]}.weight"
    assert not torch.equal(first.state_dict()[name], other.state_dict()[name])


FROZEN = {
    "mobilenet_v2": (4, ("features.0.", "features.3."), "features.4.conv.0.1.running_mean"),
    "resnet18": (2, ("layer0.", "layer1."), "layer2.0.bn1.running_mean"),
    "vgg16_bn": (2, ("features.0.", "features.8."), "features.15.running_mean"),
}


@pytest.mark.parametrize(
    ("network", "backbone"),
    [("pspnet", "mobilenet_v2"), ("deeplab", "resnet18"), ("segnet", "vgg16_bn")],
)
def test_frozen_blocks_stay_as_they_are(network: str, backbone: str) -> None:
    """Frozen blocks get no gradient and keep their batch statistics in training."""
    blocks, kept, moved = FROZEN[backbone]
    config = make_config(network, backbone, frozen_blocks=blocks)
    model = build_network(config, classes=3, seed=0).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    take_step(model)
    for name, value in model.state_dict().items():
        if name.startswith(kept):
            assert torch.equal(value, before[name]), name
    assert not torch.equal(model.state_dict()[moved], before[moved])
    check_gradients(model)
    backbone_parameters, _ = model.split_parameters()
    assert not any(name.startswith(kept) for name in backbone_parameters)
    assert backbone_parameters


@pytest.mark.parametrize(
    ("network", "backbone"),
    [("pspnet", "resnet18"), ("fcn8s", "vgg16_bn"), ("pspnet", "mobilenet_v2")],
)
def test_frozen_norms_keep_statistics_and_scales(network: str, backbone: str) -> None:
    """With norm=frozen the backbone's convolutions train and its batch norms do not; heads' do."""
    model = build_network(make_config(network, backbone, norm="frozen"), classes=3, seed=0)
    model.eval().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    take_step(model)
    check_gradients(model)
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            ours = name.startswith(model.backbone_names)
            assert module.training is not ours, name
            assert module.weight.requires_grad is not ours, name
            unchanged = torch.equal(module.running_mean, before[f"{name}.running_mean"])  # type: ignore[arg-type]
            assert unchanged is ours, name
    backbone_parameters, _ = model.split_parameters()
    assert backbone_parameters


def test_modules_that_are_replaced_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trainer may exchange batch norms and dropouts: the exchanged ones run, in every network."""

    class Counted(nn.Identity):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            Counted.calls += 1
            return x

    for network in NETWORKS:
        model = build_network(make_config(network, NETWORKS[network][-1]), classes=3, seed=0)
        exchanged = 0
        for parent in list(model.modules()):
            for name, child in parent.named_children():
                if isinstance(child, nn.BatchNorm2d):
                    setattr(parent, name, Counted())
                    exchanged += 1
        Counted.calls = 0
        model.train()(torch.rand(2, 3, 57, 73))
        assert Counted.calls == exchanged > 0, network


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ("deep", "imagenet")),
        ({"backbone": "mobilenet_v2"}, ("deep", "symmetric")),
        ({"stem": "plain"}, ("plain", "imagenet")),
        ({"backbone": "mobilenet_v2", "normalisation": "imagenet"}, ("deep", "imagenet")),
    ],
)
def test_auto_is_settled_without_weights(
    settings: dict[str, object], expected: tuple[str, str]
) -> None:
    """Deep stems, ImageNet's normalisation, MobileNetV2's symmetric; what is said stays."""
    settled = settle_network(replace(PRESETS["paper"], **settings))  # type: ignore[arg-type]
    assert (settled.stem, settled.normalisation) == expected
    assert settle_network(settled) == settled


def test_input_is_normalised_as_settled() -> None:
    """Mean and deviation are those of the normalisation's name, in 0 … 255."""
    symmetric = build_network(make_config("pspnet", "mobilenet_v2"), classes=3, seed=0)
    assert symmetric.mean.flatten().tolist() == [127.5] * 3
    imagenet = build_network(make_config("pspnet", "resnet10"), classes=3, seed=0)
    assert imagenet.mean.shape == (1, 3, 1, 1)
    assert imagenet.mean.flatten()[0].item() == pytest.approx(255 * 0.485)
    assert imagenet.std.flatten()[0].item() == pytest.approx(255 * 0.229)
