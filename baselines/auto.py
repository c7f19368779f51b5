"""What a run leaves to the machine: precision, memory layout, compiling and the optimiser's fused form."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Final

import torch

from baselines import networks
from baselines.config import AUTO, RESNETS, TrainConfig
from mseg_curate.errors import TrainingError

__all__ = ["choose_device", "describe", "settle", "use_algorithms"]

# Compiling takes minutes; a run of fewer steps does not win them back.
COMPILE_STEPS: Final = 2000

REASONS: Final = {
    ("precision", "bfloat16"): "the device multiplies it natively",
    ("precision", "float32"): "the device has no bfloat16 arithmetic",
    ("layout", "channels_last"): "convolutions are quickest in it",
    ("compile", "yes"): f"a GPU, a compiler and at least {COMPILE_STEPS:,} steps",
    ("compile", "no"): f"no GPU, no compiler or fewer than {COMPILE_STEPS:,} steps",
    ("fused", "yes"): "one pass over the weights",
}


def settle(config: TrainConfig, *, device: str) -> TrainConfig:
    """Replace every `auto` by what is best for `device` (cpu or cuda) and for the start weights.

    Nothing random or measured enters: equal machines settle equally, and a settled configuration stays as it is.
    """
    chosen = {
        "precision": "bfloat16" if has_bfloat16(device) else "float32",
        "layout": "channels_last",
        "compile": "yes" if _pays_to_compile(config, device) else "no",
        "fused": "yes",
    }
    open_fields = {name: value for name, value in chosen.items() if getattr(config, name) == AUTO}
    return networks.settle_network(replace(config, **open_fields))  # type: ignore[arg-type]


def describe(config: TrainConfig, settled: TrainConfig) -> str:
    """Say in one line what `auto` chose and why; empty where nothing was left to it."""
    parts = []
    origin = f"as {settled.backbone}'s weights" if settled.weights else "as published"
    # Only a ResNet has a choice of stems.
    idle = set() if settled.backbone in RESNETS else {"stem"}
    for field in fields(config):
        if getattr(config, field.name) == AUTO and field.name not in idle:
            value = str(getattr(settled, field.name))
            reason = REASONS.get((field.name, value), origin)
            parts.append(f"{field.name} {value} ({reason})")
    return "; ".join(parts)


def has_bfloat16(device: str) -> bool:
    """Say whether `device` multiplies bfloat16 in hardware; without that, it is slower than float32."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # torch knows, and says it under names of its own that not every version has.
    asked: list[Callable[[], bool] | None] = [
        getattr(torch.cpu, name, None)
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    ]
    return any(ask() for ask in asked if ask is not None)


def _pays_to_compile(config: TrainConfig, device: str) -> bool:
    tools = importlib.util.find_spec("triton") is not None and any(map(shutil.which, ("cc", "gcc")))
    return device == "cuda" and config.steps >= COMPILE_STEPS and tools


@contextmanager
def use_algorithms(config: TrainConfig, *, device: str) -> Iterator[None]:
    """Let torch choose its algorithms as `config` wants, until the block ends.

    With `deterministic`, only such as give the same bits every time; else on a GPU those that are
    measured to be quickest for the one crop size.
    """
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    if config.deterministic:
        # cuBLAS reads this when it is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = device == "cuda" and not config.deterministic
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]


def choose_device(device: str) -> str:
    """Turn `auto` into cuda where there is one, else cpu; raises TrainingError for a missing one."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise TrainingError(f"unknown device: expected auto, cpu or cuda, found {device}")
    if device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("device cuda: torch finds none here; use --device cpu or auto")
    return device
