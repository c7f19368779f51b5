"""Checkpoints: what is in them, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from baselines.auto import settle
from baselines.averaging import WeightAverage
from baselines.checkpoint import (
    TrainState,
    _place_like,
    read_checkpoint,
    read_identity,
    read_weights,
    write_checkpoint,
)
from baselines.config import TrainConfig
from baselines.learner import build_optimizer
from baselines.networks import Network, build_network
from mseg_curate.errors import TrainingError

IDENTITY = json.dumps({"arm": "x", "seed": 1})


def build(config: TrainConfig) -> tuple[Network, torch.optim.Optimizer, WeightAverage]:
    """A network that has taken two steps, with its optimiser and average."""
    model = build_network(settle(config, device="cpu"), classes=4, seed=0)
    optimizer = build_optimizer(model, config)
    average = WeightAverage(model, 0.5)
    torch.manual_seed(0)
    for step in (1, 2):
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()
        average.update(step)
    return model, optimizer, average


@pytest.mark.parametrize("optimizer_name", ["sgd", "adamw"])
@pytest.mark.parametrize("fused", ["yes", "no"])
def test_everything_comes_back(
    tmp_path: Path, quick_config: TrainConfig, optimizer_name: str, fused: str
) -> None:
    """Network, optimiser, average and position are restored to the bit, in the layout they had."""
    config = replace(quick_config, optimizer=optimizer_name, fused=fused)
    model, optimizer, average = build(config)
    state = TrainState(7, 1.25, [torch.tensor(0.5), torch.tensor(0.25)], 0.125)
    path = tmp_path / "c.safetensors"
    options = {"optimizer": optimizer, "identity": IDENTITY, "average": average}
    write_checkpoint(path, model, state=state, final=False, **options)  # type: ignore[arg-type]
    other = build_network(settle(config, device="cpu"), classes=4, seed=5)
    other = other.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    second = build_optimizer(other, config)
    restored = WeightAverage(other, 0.5)
    found = read_checkpoint(path, other, optimizer=second, identity=IDENTITY, average=restored)
    assert (found.step, found.train_s, found.window_loss) == (7, 1.25, 0.125)
    assert [float(loss) for loss in found.window] == [0.5, 0.25]
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
    for name, value in average.state_dict().items():
        assert torch.equal(restored.state_dict()[name], value)
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert optimizer.state[mine].keys() == second.state[theirs].keys()
        for key, value in optimizer.state[mine].items():
            copied = second.state[theirs][key]
            assert torch.equal(copied, value)
            assert copied.shape != theirs.shape or copied.stride() == theirs.stride()


def test_the_average_is_read_for_evaluation(tmp_path: Path, quick_config: TrainConfig) -> None:
    """Where a checkpoint has an average, that is what `read_weights` returns."""
    model, optimizer, average = build(quick_config)
    path = tmp_path / "c.safetensors"
    write_checkpoint(
        path,
        model,
        optimizer=optimizer,
        state=TrainState(2),
        identity=IDENTITY,
        final=False,
        average=average,
    )
    weights = read_weights(path)
    assert weights.keys() == model.state_dict().keys()
    assert all(torch.equal(weights[name], v) for name, v in average.state_dict().items())
    write_checkpoint(
        path, model, optimizer=optimizer, state=TrainState(2), identity=IDENTITY, final=True
    )
    assert all(torch.equal(read_weights(path)[n], v) for n, v in model.state_dict().items())
    with safe_open(path, framework="pt") as file:
        assert all(name.startswith("model.") for name in file.keys())  # noqa: SIM118


def test_no_file_is_a_start(tmp_path: Path, quick_config: TrainConfig) -> None:
    """Training begins at 0 where nothing lies; evaluating is an error there."""
    model, optimizer, _ = build(quick_config)
    path = tmp_path / "none.safetensors"
    assert read_checkpoint(path, model, optimizer=optimizer, identity=IDENTITY).step == 0
    with pytest.raises(TrainingError, match="no such checkpoint"):
        read_weights(path)


@pytest.mark.parametrize("damage", [b"", b"\0" * 20, b"\xff" * 40, b"\x10\0\0\0\0\0\0\0{"])
def test_damaged_files_are_refused(
    tmp_path: Path, quick_config: TrainConfig, damage: bytes
) -> None:
    """A file that is no checkpoint is named, never half read."""
    model, optimizer, _ = build(quick_config)
    path = tmp_path / "c.safetensors"
    path.write_bytes(damage)
    for read in (
        lambda: read_checkpoint(path, model, optimizer=optimizer, identity=IDENTITY),
        lambda: read_weights(path),
        lambda: read_identity(path),
    ):
        with pytest.raises(TrainingError, match="checkpoint cannot be read"):
            read()


def test_weights_of_another_network_are_refused(tmp_path: Path, quick_config: TrainConfig) -> None:
    """Tensors that are not the network's are an error with the path, whatever identity they claim."""
    model, optimizer, _ = build(quick_config)
    path = tmp_path / "c.safetensors"
    save_file({"model.x": torch.zeros(1)}, path, metadata={"identity": IDENTITY})
    with pytest.raises(TrainingError, match=r"c\.safetensors: checkpoint cannot be read"):
        read_checkpoint(path, model, optimizer=optimizer, identity=IDENTITY)


@pytest.mark.parametrize(("fused", "device"), [(True, "meta"), (False, "cpu")])
def test_a_step_count_lies_where_its_optimiser_looks(fused: bool, device: str) -> None:
    """A fused optimiser counts beside its parameters, any other on the CPU."""
    parameter = torch.nn.Parameter(torch.zeros(2, device="meta"))
    assert _place_like(torch.tensor(3.0), parameter, fused=fused).device.type == device
    assert _place_like(torch.zeros(2), parameter, fused=fused).device.type == "meta"
