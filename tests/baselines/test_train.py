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
from safetensors.torch import load_file

from baselines.config import TrainConfig
from baselines.exports import Export, read_export
from baselines.train import TrainOutcome, choose_device, learning_rate, train
from mseg_curate.errors import TrainingError, TrainingStoppedError


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
            [{k: v for k, v in json.loads(line).items() if k != "elapsed_s"} for line in lines]
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
    counted: list[int] = []
    resumed = run(export, tmp_path / "cut", quick_config, on_step=counted.append)
    assert counted[0] == 4
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


def test_bfloat16_trains(export_dir: Path, tmp_path: Path, quick_config: TrainConfig) -> None:
    """Autocast changes the numbers a little and the loss stays finite."""
    export = read_export(export_dir)
    exact = run(export, tmp_path / "exact", quick_config)
    config = replace(quick_config, precision="bfloat16")
    rounded = run(export, tmp_path / "rounded", config)
    assert rounded.final_loss != exact.final_loss
    assert rounded.final_loss == pytest.approx(exact.final_loss, rel=0.2)


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
