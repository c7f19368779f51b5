"""What is left to the machine."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
import torch

from baselines import auto
from baselines.auto import describe, settle, use_algorithms
from baselines.config import AUTO, PRESETS, TrainConfig


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_nothing_is_left_open(monkeypatch: pytest.MonkeyPatch, preset: str, device: str) -> None:
    """A settled configuration has no `auto`, and stays as it is when it is settled again."""
    monkeypatch.setattr(auto, "has_bfloat16", lambda _: True)
    settled = settle(PRESETS[preset], device=device)
    assert AUTO not in vars(settled).values()
    assert settle(settled, device="cpu") == settled
    assert settled.precision == "bfloat16"


def test_choices_follow_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16 needs the arithmetic; compiling needs a GPU, a compiler and many steps."""
    monkeypatch.setattr(auto.importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(auto.shutil, "which", lambda _: "/bin/cc")
    for has in (True, False):
        monkeypatch.setattr(auto, "has_bfloat16", lambda _, has=has: has)
        assert settle(TrainConfig(), device="cpu").precision == ("bfloat16" if has else "float32")
    assert settle(TrainConfig(), device="cpu").compile == "no"
    assert settle(TrainConfig(), device="cuda").compile == "yes"
    assert settle(TrainConfig(steps=100), device="cuda").compile == "no"
    monkeypatch.setattr(auto.shutil, "which", lambda _: None)
    assert settle(TrainConfig(), device="cuda").compile == "no"


def test_what_is_given_is_kept() -> None:
    """A field that is not `auto` is not touched."""
    given = TrainConfig(
        precision="float32",
        layout="contiguous",
        compile="no",
        fused="no",
        stem="plain",
        normalisation="symmetric",
    )
    assert settle(given, device="cpu") == given
    assert describe(given, given) == ""


def test_the_choice_is_told_with_its_reason() -> None:
    """One line names every field that was left open, what became of it and why."""
    config = replace(TrainConfig(), precision="float32")
    line = describe(config, settle(config, device="cpu"))
    assert "compile no (no GPU" in line
    assert "fused yes (" in line
    assert "stem deep (" in line
    assert "precision" not in line
    assert "\n" not in line


def test_this_machine_is_asked() -> None:
    """The CPU's own answer is a plain yes or no, and no means float32."""
    has = auto.has_bfloat16("cpu")
    assert settle(TrainConfig(), device="cpu").precision == ("bfloat16" if has else "float32")


def test_algorithms_are_chosen_inside_the_block_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deterministic algorithms are asked for, with cuBLAS's variable, and given up afterwards."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    with use_algorithms(TrainConfig(deterministic=True), device="cuda"):
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        assert not torch.backends.cudnn.benchmark
    assert not torch.are_deterministic_algorithms_enabled()
    with use_algorithms(TrainConfig(), device="cuda"):
        assert not torch.are_deterministic_algorithms_enabled()
        assert torch.backends.cudnn.benchmark
    assert not torch.backends.cudnn.benchmark


def test_a_choice_that_a_backbone_does_not_have_is_not_spoken_of() -> None:
    """MobileNetV2 has no stem to choose, and without a file nothing is said to be as its weights."""
    line = describe(PRESETS["small"], settle(PRESETS["small"], device="cpu"))
    assert "stem" not in line
    assert "normalisation symmetric (as published)" in line
