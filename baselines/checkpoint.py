"""Checkpoints: model, optimiser and position in one safetensors file, written atomically."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from baselines.networks import Network
from mseg_curate.errors import TrainingError
from mseg_curate.files import write_bytes_atomically

__all__ = [
    "CHECKPOINT_NAME",
    "TrainState",
    "describe_difference",
    "read_checkpoint",
    "read_identity",
    "write_checkpoint",
]

CHECKPOINT_NAME: Final = "checkpoint.safetensors"

MODEL: Final = "model."
OPTIMIZER: Final = "optimizer."
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
) -> None:
    """Write everything that going on needs; a `final` checkpoint leaves the optimiser out."""
    tensors = {f"{MODEL}{name}": value for name, value in model.state_dict().items()}
    if not final:
        for name, parameter in _trainable(model):
            for key, value in optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    tensors[f"{OPTIMIZER}{key}.{name}"] = value
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
    path: Path, model: Network, *, optimizer: torch.optim.Optimizer, identity: str
) -> TrainState:
    """Restore model and optimiser from `path`; a missing file is the start of a run.

    Raises TrainingError where the file is damaged or belongs to another run.
    """
    if not path.is_file():
        return TrainState()
    found = read_identity(path)
    if found != identity:
        raise TrainingError(
            f"{path}: checkpoint of another run: {describe_difference(found, identity)}; "
            "choose another output folder, or delete this one to start over"
        )
    with safe_open(path, framework="pt") as file:
        place = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    model.load_state_dict(
        {
            name.removeprefix(MODEL): value
            for name, value in tensors.items()
            if name.startswith(MODEL)
        }
    )
    for name, parameter in _trainable(model):
        state = {
            key: _shape_like(tensors[f"{OPTIMIZER}{key}.{name}"], parameter)
            for key in ("step", "exp_avg", "exp_avg_sq", "momentum_buffer")
            if f"{OPTIMIZER}{key}.{name}" in tensors
        }
        if state:
            optimizer.state[parameter] = state
    return TrainState(
        step=int(place["step"]),
        train_s=float(place["train_s"]),
        window=tuple(tensors[WINDOW].to(model.mean.device)) if WINDOW in tensors else (),
        window_loss=float(place["window_loss"]),
    )


def read_identity(path: Path) -> str | None:
    """Return the identity a checkpoint was written under, None where it names none.

    Raises TrainingError where the file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] | None = file.metadata()
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"{path}: checkpoint cannot be read ({error}); delete it to start over"
        ) from error
    return (metadata or {}).get("identity")


def describe_difference(found: str | None, expected: str) -> str:
    """Say which parts of two identities (JSON tables) differ."""
    if found is None:
        return "it names none"
    ours, theirs = json.loads(expected), json.loads(found)
    names = [name for name in ours if ours[name] != theirs.get(name)]
    return "; ".join(f"{name} expected {ours[name]}, found {theirs.get(name)}" for name in names)


def _trainable(model: Network) -> list[tuple[str, nn.Parameter]]:
    return [(name, value) for name, value in model.named_parameters() if value.requires_grad]


def _shape_like(saved: Tensor, parameter: nn.Parameter) -> Tensor:
    """Give a buffer its parameter's memory layout and device; step counts stay on the CPU."""
    if saved.shape != parameter.shape:
        return saved
    return torch.empty_like(parameter).copy_(saved).detach()
