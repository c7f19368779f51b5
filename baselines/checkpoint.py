"""Checkpoints: model, optimiser and position in one safetensors file, written atomically."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor, nn

from baselines.averaging import WeightAverage
from baselines.distributed import ALONE, World, share_bytes
from baselines.networks import Network
from mseg_curate.errors import TrainingError
from mseg_curate.files import write_bytes_atomically

__all__ = [
    "CHECKPOINT_NAME",
    "TrainState",
    "describe_difference",
    "read_checkpoint",
    "read_identity",
    "read_weights",
    "write_checkpoint",
]

CHECKPOINT_NAME: Final = "checkpoint.safetensors"

MODEL: Final = "model."
OPTIMIZER: Final = "optimizer."
AVERAGE: Final = "average."
STATE_KEYS: Final = ("step", "exp_avg", "exp_avg_sq", "momentum_buffer")
WINDOW: Final = "window"


@dataclass(frozen=True)
class TrainState:
    """A position in a run: steps done, seconds spent, and losses (scalars) not yet logged."""

    step: int = 0
    train_s: float = 0.0
    window: list[Tensor] | tuple[Tensor, ...] = ()
    window_loss: float = float("nan")


def write_checkpoint(
    path: Path,
    model: Network,
    *,
    optimizer: torch.optim.Optimizer,
    state: TrainState,
    identity: str,
    final: bool,
    average: WeightAverage | None = None,
) -> None:
    """Write everything that going on needs; a `final` checkpoint holds the weights to evaluate alone."""
    tensors = {f"{MODEL}{name}": value for name, value in model.state_dict().items()}
    if not final:
        for name, parameter in _trainable(model):
            for key, value in optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    tensors[f"{OPTIMIZER}{key}.{name}"] = value
        if average is not None:
            tensors |= {f"{AVERAGE}{name}": value for name, value in average.state_dict().items()}
    if state.window:
        tensors[WINDOW] = torch.stack(list(state.window))
    place = {
        "identity": identity,
        "step": str(state.step),
        "train_s": repr(state.train_s),
        "window_loss": repr(state.window_loss),
    }
    contiguous = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    write_bytes_atomically(path, save(contiguous, metadata=place))


def read_checkpoint(
    path: Path,
    model: Network,
    *,
    optimizer: torch.optim.Optimizer,
    identity: str,
    average: WeightAverage | None = None,
    world: World = ALONE,
) -> TrainState:
    """Restore model, optimiser and average from `path`; a missing file is the start of a run.

    Only the first process of a world reads the file; the others get it from there. Raises
    TrainingError where the file is damaged or belongs to another run.
    """
    there = world.is_first and path.is_file()
    data = share_bytes(_read(path) if there else None, world)
    if data is None:
        return TrainState()
    place, tensors = _unpack(data, path)
    if place.get("identity") != identity:
        difference = describe_difference(place.get("identity"), identity)
        raise TrainingError(
            f"{path}: checkpoint of another run: {difference}; "
            "choose another output folder, or delete this one to start over"
        )
    try:
        model.load_state_dict(_below(tensors, MODEL))
    except RuntimeError as error:
        raise _damaged(path, error) from error
    saved, fused = _below(tensors, OPTIMIZER), bool(optimizer.defaults.get("fused"))
    for name, parameter in _trainable(model):
        state = {
            key: _place_like(saved[f"{key}.{name}"], parameter, fused=fused)
            for key in STATE_KEYS
            if f"{key}.{name}" in saved
        }
        if state:
            optimizer.state[parameter] = state
    averaged = _below(tensors, AVERAGE)
    if average is not None and averaged:
        average.load(averaged)
    window = tensors[WINDOW].to(model.mean.device) if WINDOW in tensors else torch.zeros(0)
    # Losses are added up over processes: what the first one knows, the others must not add again.
    return TrainState(
        step=int(place["step"]),
        train_s=float(place["train_s"]),
        window=tuple(window if world.is_first else torch.zeros_like(window)),
        window_loss=float(place["window_loss"]),
    )


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors to evaluate out of a checkpoint, by the network's names: the average where there is one.

    Raises TrainingError where the file is missing or damaged.
    """
    if not path.is_file():
        raise TrainingError(f"{path}: no such checkpoint; give the path of {CHECKPOINT_NAME}")
    _, tensors = _unpack(_read(path), path)
    return _below(tensors, MODEL) | _below(tensors, AVERAGE)


def read_identity(path: Path) -> str | None:
    """Return the identity a checkpoint was written under, None where it names none.

    Raises TrainingError where the file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] | None = file.metadata()
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error
    return (metadata or {}).get("identity")


def describe_difference(found: str | None, expected: str) -> str:
    """Say which parts of two identities (JSON tables) differ."""
    if found is None:
        return "it names none"
    ours, theirs = json.loads(expected), json.loads(found)
    names = [name for name in ours if ours[name] != theirs.get(name)]
    return "; ".join(f"{name} expected {ours[name]}, found {theirs.get(name)}" for name in names)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _damaged(path, error) from error


def _unpack(data: bytes, path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return a file's metadata and tensors; the format is 8 bytes of length, a JSON header, the data."""
    try:
        tensors: dict[str, Tensor] = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except (SafetensorError, ValueError) as error:
        raise _damaged(path, error) from error
    return header.get("__metadata__") or {}, tensors


def _damaged(path: Path, error: Exception) -> TrainingError:
    return TrainingError(f"{path}: checkpoint cannot be read ({error}); delete it to start over")


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _trainable(model: Network) -> list[tuple[str, nn.Parameter]]:
    return [(name, value) for name, value in model.named_parameters() if value.requires_grad]


def _place_like(saved: Tensor, parameter: nn.Parameter, *, fused: bool) -> Tensor:
    """Give what the optimiser keeps its parameter's device and memory layout.

    AdamW's count of steps lies on the CPU unless the optimiser is fused: read from a GPU it would cost a
    wait per parameter and step.
    """
    if saved.ndim == 0:
        return saved.to(parameter.device) if fused else saved
    return torch.empty_like(parameter).copy_(saved).detach()
