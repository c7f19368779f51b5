"""Training: resuming, stopping, refusing."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from baselines.augment import PackedBatch
from baselines.checkpoint import read_weights
from baselines.config import TrainConfig
from baselines.data import CachedSample, SampleCache
from baselines.exports import Export, read_export
from baselines.learner import Learner
from baselines.networks import Network, build_network
from baselines.networks.backbone import Backbone
from baselines.train import TrainOutcome, choose_device, learning_rate, train
from mseg_curate.errors import InputError, TrainingError, TrainingStoppedError


def run(export: Export, run_dir: Path, config: TrainConfig, **options: object) -> TrainOutcome:
    """Train on one thread, seed 3."""
    options = {"identity": json.dumps({"arm": "x"}), "seed": 3} | options
    return train(export, run_dir, config=config, device="cpu", **options)  # type: ignore[arg-type]


def stop_after(steps: int) -> Callable[[], bool]:
    """A question that is answered with yes from its n-th time on."""
    asked = iter(range(1, 10**6))
    return lambda: next(asked) >= steps


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_stopped_run_ends_as_if_it_had_not_been_stopped(
    export_dir: Path, tmp_path: Path, quick_config: TrainConfig, optimizer: str
) -> None:
    """Stopped at any step and taken up again, weights and log are equal bit for bit."""
    export = read_export(export_dir)
    config = replace(quick_config, optimizer=optimizer, lr=0.01, aux_weight=0.4)
    whole = run(export, tmp_path / "whole", config)
    at = random.Random().randint(1, config.steps - 1)
    with pytest.raises(TrainingStoppedError, match=f"stopped at step {at} of 6"):
        run(export, tmp_path / "stopped", config, stop=stop_after(at))
    counted: list[int] = []
    resumed = run(export, tmp_path / "stopped", config, on_step=counted.append)
    assert counted[0] == at
    assert sum(counted) == config.steps
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), f"{name}, stopped at {at}"
    assert whole.final_loss == resumed.final_loss
    logs = []
    for name in ("whole", "stopped"):
        lines = (tmp_path / name / "log.jsonl").read_text().splitlines()
        logs.append(
            [{k: v for k, v in json.loads(line).items() if not k.endswith("_s")} for line in lines]
        )
    assert logs[0] == logs[1]
    assert [line["step"] for line in logs[0]] == [4, 6]


def test_a_crash_costs_the_steps_since_the_checkpoint(
    export_dir: Path, tmp_path: Path, quick_config: TrainConfig
) -> None:
    """A run that dies without a word goes on from its last regular checkpoint."""
    export = read_export(export_dir)

    def die(_: int, left: list[int] = [6]) -> None:  # noqa: B006
        left[0] -= 1
        if left[0] == 0:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        run(export, tmp_path / "cut", quick_config, on_step=die)
    with safe_open(tmp_path / "cut" / "checkpoint.safetensors", framework="pt") as file:
        before_s = float(file.metadata()["train_s"])
    counted: list[int] = []
    resumed = run(export, tmp_path / "cut", quick_config, on_step=counted.append)
    assert counted[0] == 4
    assert resumed.train_s > before_s > 0
    whole = run(export, tmp_path / "whole", quick_config)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name])


def test_a_finished_run_is_not_trained_again(
    export_dir: Path, tmp_path: Path, quick_config: TrainConfig
) -> None:
    """The last checkpoint holds the network alone, and is taken as the end."""
    export = read_export(export_dir)
    first = run(export, tmp_path, quick_config)
    names = load_file(tmp_path / "checkpoint.safetensors")
    assert all(name.startswith("model.") for name in names)
    again = run(export, tmp_path, quick_config, stop=lambda: pytest.fail("a step was taken"))
    assert again.final_loss == first.final_loss
    assert again.steps == 6


def test_a_checkpoint_of_another_run_is_refused(
    export_dir: Path, tmp_path: Path, quick_config: TrainConfig
) -> None:
    """A checkpoint under another identity is named with what differs."""
    export = read_export(export_dir)
    run(export, tmp_path, quick_config)
    with pytest.raises(TrainingError, match="arm expected y, found x"):
        run(export, tmp_path, quick_config, identity=json.dumps({"arm": "y"}))
    (tmp_path / "checkpoint.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(TrainingError, match="checkpoint cannot be read"):
        run(export, tmp_path, quick_config)


def test_threads_that_read_ahead_change_nothing(
    export_dir: Path, tmp_path: Path, quick_config: TrainConfig
) -> None:
    """With reader threads the weights are those without."""
    export = read_export(export_dir)
    plain = run(export, tmp_path / "plain", quick_config)
    ahead = run(export, tmp_path / "ahead", replace(quick_config, reader_threads=2, cache_mib=0))
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, ahead.model.state_dict()[name])


def test_a_loss_that_is_not_finite_names_its_step(
    export_dir: Path, tmp_path: Path, quick_config: TrainConfig
) -> None:
    """Training that blows up ends with the step, and leaves no broken checkpoint behind."""
    export = read_export(export_dir)
    config = replace(quick_config, optimizer="sgd", lr=1e18, warmup=0, log_every=6)
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) at step [2-6];"):
        run(export, tmp_path, config)
    for path in tmp_path.glob("checkpoint.safetensors"):
        assert all(torch.isfinite(value).all() for value in load_file(path).values())


def test_weights_that_are_not_finite_are_not_written(
    export_dir: Path, tmp_path: Path, quick_config: TrainConfig
) -> None:
    """A last step that spoils the weights after a finite loss leaves no checkpoint of them."""
    export = read_export(export_dir)
    config = replace(quick_config, optimizer="sgd", lr=1e300, warmup=0, steps=1)
    with pytest.raises(TrainingError, match="the weights are not finite after step 1; "):
        run(export, tmp_path, config)
    assert not (tmp_path / "checkpoint.safetensors").exists()


def test_bfloat16_trains(export_dir: Path, tmp_path: Path, quick_config: TrainConfig) -> None:
    """Autocast changes the numbers a little and the loss stays finite."""
    export = read_export(export_dir)
    exact = run(export, tmp_path / "exact", replace(quick_config, precision="float32"))
    config = replace(quick_config, precision="bfloat16")
    rounded = run(export, tmp_path / "rounded", config)
    assert rounded.final_loss != exact.final_loss
    assert rounded.final_loss == pytest.approx(exact.final_loss, rel=0.2)


class Unnormed(Network):
    """A network whose samples do not see each other: two convolutions and dropout between."""

    def __init__(self, config: TrainConfig, *, classes: int) -> None:
        """Build on an empty backbone."""
        first = nn.Conv2d(3, 8, 3, stride=8)
        backbone = Backbone(
            modules={"first": first}, blocks=[("first",)], channels=(8,), aux_after=0
        )
        super().__init__(backbone, config)
        self.drop = nn.Dropout2d(config.dropout)
        self.last = nn.Conv2d(8, classes, 1)

    def score(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Compute logits at an eighth of the size, the same twice."""
        logits = self.last(self.drop(F.relu(self.first(x))))
        return logits, logits * 0.5 if self.training else None


@pytest.mark.parametrize("parts", [2, 3, 5])
def test_a_batch_in_parts_is_the_batch(
    export_dir: Path,
    tmp_path: Path,
    quick_config: TrainConfig,
    monkeypatch: pytest.MonkeyPatch,
    parts: int,
) -> None:
    """Where no batch norm is trained, accumulated parts give the weights of the whole batch."""
    monkeypatch.setattr(
        "baselines.learner.build_network",
        lambda config, *, classes, seed: build_unnormed(config, classes, seed),
    )
    export = read_export(export_dir)
    config = replace(
        quick_config,
        network="dilated_fcn",
        precision="float32",
        batch=5,
        optimizer="sgd",
        lr=0.1,
        dropout=0.5,
    )
    whole = run(export, tmp_path / "whole", config)
    divided = run(export, tmp_path / "parts", replace(config, accumulate=parts))
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(divided.model.state_dict()[name], value)
    assert divided.final_loss == pytest.approx(whole.final_loss, rel=1e-5)


def build_unnormed(config: TrainConfig, classes: int, seed: int) -> Network:
    """The network of the test above, with the parameters of a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Unnormed(config, classes=classes)


def test_a_batch_that_cannot_be_divided_is_refused(
    export_dir: Path, tmp_path: Path, quick_config: TrainConfig
) -> None:
    """Each part of each process needs a crop, and for the pyramid's smallest bin two."""
    export = read_export(export_dir)
    with pytest.raises(InputError, match="1 processes × 2 parts × 2 crops, found 3"):
        run(export, tmp_path, replace(quick_config, batch=3, accumulate=2))
    plain = replace(quick_config, network="dilated_fcn")
    with pytest.raises(InputError, match="1 processes × 3 parts × 1 crops, found 2"):
        run(export, tmp_path, replace(plain, batch=2, accumulate=3))
    point = replace(
        quick_config, network="deconvnet", backbone="vgg16_bn", batch=1, crop_px=32, steps=1
    )
    with pytest.raises(InputError, match="1 processes × 1 parts × 2 crops, found 1"):
        run(export, tmp_path, point)
    assert run(export, tmp_path, replace(point, crop_px=33, width=0.0625)).steps == 1


def test_the_average_is_what_is_evaluated(
    export_dir: Path, tmp_path: Path, quick_config: TrainConfig
) -> None:
    """With an average the outcome and the final checkpoint hold it; training goes on without noticing it."""
    export = read_export(export_dir)
    config = replace(quick_config, precision="float32", log_every=1)
    seen: list[dict[str, Tensor]] = []
    original = Learner.learn

    def watch(self: Learner, step: int, packed: PackedBatch) -> Tensor:
        loss = original(self, step, packed)
        seen.append({name: value.clone() for name, value in self.model.state_dict().items()})
        return loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "learn", watch)
        plain = run(export, tmp_path / "plain", config)
    averaged = run(export, tmp_path / "averaged", replace(config, ema=0.5))
    shares = torch.tensor([0.5 ** (6 - step) for step in range(1, 7)])
    for name, value in averaged.model.named_parameters():
        steps = torch.stack([state[name] for state in seen])
        expected = (steps * shares.view(-1, *[1] * value.dim())).sum(0) / shares.sum()
        torch.testing.assert_close(value.detach(), expected, atol=1e-6, rtol=1e-5)
    assert averaged.final_loss == plain.final_loss
    weights = read_weights(tmp_path / "averaged" / "checkpoint.safetensors")
    assert weights.keys() == averaged.model.state_dict().keys()
    for name, value in averaged.model.state_dict().items():
        assert torch.equal(weights[name], value)


def test_frozen_blocks_and_norms_do_not_move(
    export_dir: Path, tmp_path: Path, quick_config: TrainConfig
) -> None:
    """The first blocks keep every value; with norm=frozen so do the backbone's batch norms."""
    config = replace(quick_config, frozen_blocks=2, norm="frozen")
    export = read_export(export_dir)
    start = build_network(config, classes=export.outputs, seed=3).state_dict()
    end = run(export, tmp_path, config).model.state_dict()
    moved = {name for name, value in end.items() if not torch.equal(value, start[name])}
    assert not any(name.startswith(("layer0", "layer1.")) for name in moved)
    norms = {name for name in end if ".bn" in name or "running" in name}
    backbone = {name for name in norms if name.startswith("layer")}
    assert backbone
    assert not moved & backbone
    assert {"layer3.0.conv1.weight", "cls.1.running_mean"} <= moved


@pytest.mark.parametrize(
    "changes",
    [
        {"layout": "contiguous"},
        {"fused": "no"},
        {"optimizer": "sgd", "fused": "yes"},
        {"cache_mib": 0},
    ],
)
def test_how_a_run_is_carried_out_changes_rounding_alone(
    export_dir: Path, tmp_path: Path, quick_config: TrainConfig, changes: dict[str, object]
) -> None:
    """Layout, fused optimisers and the cache leave the first losses as they are."""
    export = read_export(export_dir)
    config = replace(quick_config, precision="float32", fused="no", steps=3, log_every=1)
    config = replace(config, optimizer=changes.get("optimizer", "adamw"))  # type: ignore[arg-type]
    plain = run(export, tmp_path / "plain", config)
    other = run(export, tmp_path / "other", replace(config, **changes))  # type: ignore[arg-type]
    assert other.final_loss == pytest.approx(plain.final_loss, rel=1e-3)


def test_deterministic_runs_are_equal_and_leave_no_trace(
    export_dir: Path, tmp_path: Path, quick_config: TrainConfig
) -> None:
    """Two deterministic runs end with equal bits, and torch is left as it was."""
    export = read_export(export_dir)
    config = replace(quick_config, deterministic=True, blur_p=1.0, rotate_p=1.0)
    first, second = (run(export, tmp_path / name, config) for name in ("a", "b"))
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name])
    assert not torch.are_deterministic_algorithms_enabled()


def test_pictures_and_events_appear_while_it_trains(
    export_dir: Path, tmp_path: Path, quick_config: TrainConfig
) -> None:
    """Every so many steps comes a picture, TensorBoard's files lie beside the log, and weights do not change by it."""
    pytest.importorskip("tensorboard")
    export = read_export(export_dir)
    plain = run(export, tmp_path / "plain", quick_config)
    config = replace(quick_config, sample_every=3, tensorboard=True)
    watched = run(export, tmp_path / "watched", config)
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, watched.model.state_dict()[name])
    pictures = sorted((tmp_path / "watched" / "samples").iterdir())
    assert [path.name for path in pictures] == ["step-000003.png", "step-000006.png"]
    with Image.open(pictures[0]) as picture:
        assert picture.size == (3 * 33, 2 * 33)
    assert list((tmp_path / "watched" / "tensorboard").glob("events.*"))
    line = json.loads((tmp_path / "watched" / "log.jsonl").read_text().splitlines()[0])
    assert line.keys() == {"step", "loss", "lr", "images_per_s", "elapsed_s"}
    assert line["images_per_s"] > 0


def test_compiling_is_asked_for(
    export_dir: Path, tmp_path: Path, quick_config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With compile=yes the network runs through torch.compile, and its weights keep their names."""
    compiled: list[nn.Module] = []

    def note(module: nn.Module) -> nn.Module:
        compiled.append(module)
        return module

    monkeypatch.setattr(torch, "compile", note)
    outcome = run(read_export(export_dir), tmp_path, replace(quick_config, compile="yes"))
    assert compiled == [outcome.model]
    run(read_export(export_dir), tmp_path / "no", replace(quick_config, compile="no"))
    assert len(compiled) == 1


def test_dataset_weights_steer_what_is_seen(
    export_dir: Path, tmp_path: Path, quick_config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Samples come in the given shares."""
    seen: list[int] = []
    original = SampleCache.load

    def watch(self: SampleCache, dataset: int, index: int) -> CachedSample:
        seen.append(dataset)
        return original(self, dataset, index)

    monkeypatch.setattr(SampleCache, "load", watch)
    config = replace(quick_config, dataset_weights="first=5,second=1")
    run(read_export(export_dir), tmp_path, config)
    assert (seen.count(0), seen.count(1)) == (10, 2)
    with pytest.raises(InputError, match="dataset_weights leave datasets without a weight"):
        run(read_export(export_dir), tmp_path / "x", replace(config, dataset_weights="first=5"))


def test_training_learns(export_dir: Path, tmp_path: Path, quick_config: TrainConfig) -> None:
    """The loss falls well below that of guessing within a few seconds."""
    export = read_export(export_dir)
    config = replace(quick_config, steps=60, batch=4, width=0.25, log_every=10, checkpoint_every=99)
    outcome = run(export, tmp_path, config)
    # The log counts the auxiliary loss too, at 0.4.
    assert outcome.final_loss < 0.7 * 1.4 * math.log(4)


def test_the_rate_rises_then_falls_to_zero() -> None:
    """Linear warm-up, then poly."""
    config = TrainConfig(steps=100, warmup=10, lr=0.5, power=0.9)
    rates = [learning_rate(config, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.05)
    assert max(rates) == rates[9]
    assert rates[50] == pytest.approx(0.5 * 0.5**0.9)
    assert rates[99] < 0.01


def test_devices_are_named_or_refused() -> None:
    """`auto` finds one; an unknown one and a missing one are errors."""
    assert choose_device("auto") in ("cpu", "cuda")
    with pytest.raises(TrainingError, match="unknown device"):
        choose_device("abacus")
    if not torch.cuda.is_available():
        with pytest.raises(TrainingError, match="torch finds none here"):
            choose_device("cuda")
