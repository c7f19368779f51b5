"""One step: what it draws, what it weighs, and what it does to the weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from baselines.auto import settle
from baselines.config import TrainConfig
from baselines.data import Draw, Sampler
from baselines.exports import IGNORE, read_export
from baselines.learner import Learner, learning_rate


def build(export_dir: Path, config: TrainConfig) -> Learner:
    """A learner of the small export, in float32."""
    settled = settle(replace(config, precision="float32"), device="cpu")
    return Learner(read_export(export_dir), settled, seed=3, device="cpu")


@pytest.mark.parametrize("fused", ["yes", "no"])
def test_sgd_takes_the_published_steps(
    export_dir: Path, quick_config: TrainConfig, fused: str
) -> None:
    """v ← 0.9 v + g + decay · w and w ← w − rate · v, at ten times the rate for new layers, decay on all."""
    config = replace(
        quick_config,
        optimizer="sgd",
        lr=0.01,
        momentum=0.9,
        weight_decay=0.05,
        head_lr_factor=10.0,
        warmup=0,
        fused=fused,
    )
    learner = build(export_dir, config)
    backbone, new = learner.model.split_parameters()
    assert backbone.keys() | new.keys() == dict(learner.model.named_parameters()).keys()
    expected = {name: value.detach().clone() for name, value in (backbone | new).items()}
    velocity = {name: torch.zeros_like(value) for name, value in expected.items()}
    for step in range(3):
        learner.learn(step, learner.prepare(step))
        for name, parameter in (backbone | new).items():
            assert parameter.grad is not None
            rate = learning_rate(config, step) * (10.0 if name in new else 1.0)
            velocity[name] = 0.9 * velocity[name] + parameter.grad + 0.05 * expected[name]
            expected[name] -= rate * velocity[name]
            torch.testing.assert_close(parameter.detach(), expected[name], atol=1e-6, rtol=1e-5)


def test_adamw_takes_its_settings(export_dir: Path, quick_config: TrainConfig) -> None:
    """Both groups decay as set, and each has its rate in every step."""
    config = replace(quick_config, optimizer="adamw", weight_decay=0.03, head_lr_factor=4.0)
    learner = build(export_dir, config)
    learner.learn(4, learner.prepare(4))
    groups = learner.optimizer.param_groups
    assert [group["weight_decay"] for group in groups] == [0.03, 0.03]
    rate = learning_rate(config, 4)
    assert [group["lr"] for group in groups] == [rate, 4.0 * rate]


def test_datasets_weigh_in_the_loss_as_given(export_dir: Path, quick_config: TrainConfig) -> None:
    """The pixels of a dataset weigh its share together, however many of them there are."""
    config = replace(quick_config, dataset_weights="first=5,second=1", batch=6)
    learner = build(export_dir, config)
    packed = learner.prepare(0)
    _, labels, weights = learner._cut(packed)
    pixels = (labels != IGNORE).sum((1, 2))
    shares = [float((weights * pixels)[packed.datasets == number].sum()) for number in (0, 1)]
    assert shares == pytest.approx([5 / 6, 1 / 6], rel=1e-5)


def test_a_step_draws_its_batch_once(
    export_dir: Path, quick_config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Preparing a batch asks the sampler once, not once per slot."""
    learner = build(export_dir, quick_config)
    asked: list[int] = []
    original = Sampler.draw_batch

    def watch(self: Sampler, step: int) -> tuple[Draw, ...]:
        asked.append(step)
        return original(self, step)

    monkeypatch.setattr(Sampler, "draw_batch", watch)
    learner.prepare(4)
    assert asked == [4]
