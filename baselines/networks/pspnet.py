"""PSPNet: a dilated backbone, pyramid pooling, a main and an auxiliary head (Zhao et al., 2017)."""

from __future__ import annotations

import pickle
from functools import lru_cache
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from baselines.config import TrainConfig
from baselines.networks.backbones import Backbone, build_backbone
from mseg_curate.errors import SHOWN_PROBLEMS, TrainingError

__all__ = ["Network", "build_network", "load_weights", "pool_average", "upsample_bilinear"]

PYRAMID_BINS: Final = (1, 2, 3, 6)
AUX_BLOCK_NAMES: Final = ("ppm.", "cls.", "aux.")


class PyramidPooling(nn.Module):
    """Average over b × b bins, project to a quarter of the channels, upsample, concatenate."""

    def __init__(self, channels: int, *, bins: tuple[int, ...] = PYRAMID_BINS) -> None:
        """Make one branch per entry of `bins`."""
        super().__init__()
        self.bins = bins
        quarter = channels // len(bins)
        self.channels_out = channels + quarter * len(bins)
        # Index 0 of each branch is kept free for the pooling, as in the published weights.
        self.features = nn.ModuleList(
            nn.Sequential(
                nn.Identity(),
                nn.Conv2d(channels, quarter, 1, bias=False),
                nn.BatchNorm2d(quarter),
                nn.ReLU(inplace=True),
            )
            for _ in bins
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, about 2C, H, W)."""
        size_hw = (x.shape[2], x.shape[3])
        branches = [x]
        for bins, branch in zip(self.bins, self.features, strict=True):
            branches.append(upsample_bilinear(branch(pool_average(x, bins)), size_hw))
        return torch.cat(branches, dim=1)


class Network(nn.Module):
    """A network from RGB images to class logits at the backbone's resolution."""

    def __init__(
        self,
        backbone: Backbone,
        *,
        classes: int,
        head_channels: int = 512,
        dropout: float = 0.1,
        aux: bool = True,
        frozen_blocks: int = 0,
    ) -> None:
        """Put heads for `classes` outputs on `backbone`; the first `frozen_blocks` never train."""
        super().__init__()
        for name, module in backbone.modules.items():
            self.add_module(name, module)
        self._blocks = tuple(backbone.blocks)
        self._aux_after = backbone.aux_after
        self.backbone_names = tuple(f"{name}." for name in backbone.modules)
        self.ignored_names = backbone.ignored
        self.ppm = PyramidPooling(backbone.channels)
        self.cls = _build_head(self.ppm.channels_out, head_channels, classes, dropout)
        self.aux = (
            _build_head(backbone.aux_channels, head_channels // 2, classes, dropout)
            if aux
            else None
        )
        self.mean: Tensor
        self.std: Tensor
        normalisation = backbone.normalisation
        for name, values in (("mean", normalisation.mean), ("std", normalisation.std)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)
        _initialise(self)
        self.frozen_blocks = min(frozen_blocks, len(self._blocks))
        for block in self._blocks[: self.frozen_blocks]:
            block.requires_grad_(False)

    def train(self, mode: bool = True) -> Network:
        """Switch to training; frozen blocks keep their batch statistics."""
        super().train(mode)
        for block in self._blocks[: self.frozen_blocks]:
            block.eval()
        return self

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Compute the logits of the main head and, in training, those of the auxiliary head.

        `images` is (N, 3, H, W) float in 0 … 255, RGB; the logits are (N, classes, h, w) with
        h = ceil(H / output stride). The second entry is None in evaluation or without that head.
        """
        x = (images - self.mean) / self.std
        tapped = x
        for number, block in enumerate(self._blocks):
            with torch.set_grad_enabled(torch.is_grad_enabled() and number >= self.frozen_blocks):
                x = block(x)
            if number == self._aux_after:
                tapped = x
        logits: Tensor = self.cls(self.ppm(x))
        if self.aux is None or not self.training:
            return logits, None
        return logits, self.aux(tapped)

    def split_parameters(self) -> tuple[dict[str, nn.Parameter], dict[str, nn.Parameter]]:
        """Return the trainable parameters of the backbone and of the new layers, by name."""
        backbone: dict[str, nn.Parameter] = {}
        heads: dict[str, nn.Parameter] = {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                group = backbone if name.startswith(self.backbone_names) else heads
                group[name] = parameter
        return backbone, heads


def _build_head(channels_in: int, channels: int, classes: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.Dropout2d(dropout),
        nn.Conv2d(channels, classes, 1),
    )


def _initialise(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            if module.bias is None:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            else:
                # Only classifiers have a bias; they start undecided between the classes.
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)


def build_network(config: TrainConfig, *, classes: int, seed: int) -> Network:
    """Build the network of `config` with `classes` outputs; equal seeds give equal parameters.

    Raises TrainingError where `config.weights` do not fit the backbone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Network(
            build_backbone(config.backbone, width=config.width, output_stride=config.output_stride),
            classes=classes,
            head_channels=config.head_channels,
            dropout=config.dropout,
            aux=config.aux_weight > 0,
            frozen_blocks=config.frozen_blocks,
        )
    if config.weights is not None:
        load_weights(model, config.weights)
    return model


def load_weights(model: Network, path: Path) -> None:
    """Load published backbone weights (.pth or .safetensors); heads keep their random start.

    Raises TrainingError that lists the names that are missing, unknown or of another shape.
    """
    given = {_rename_stem(name): value for name, value in _read_weights(path).items()}
    given = {
        name: value
        for name, value in given.items()
        if not name.startswith(model.ignored_names + AUX_BLOCK_NAMES)
    }
    wanted = {
        name: value
        for name, value in model.state_dict().items()
        if name.startswith(model.backbone_names)
    }
    problems = [f"{name}: missing" for name in sorted(wanted.keys() - given.keys())]
    problems += [
        f"{name}: not part of this network" for name in sorted(given.keys() - wanted.keys())
    ]
    problems += [
        f"{name}: expected {tuple(wanted[name].shape)}, found {tuple(given[name].shape)}"
        for name in sorted(wanted.keys() & given.keys())
        if wanted[name].shape != given[name].shape
    ]
    if problems:
        shown = "".join(f"\n  {problem}" for problem in problems[:SHOWN_PROBLEMS])
        more = len(problems) - SHOWN_PROBLEMS
        tail = f"\n  … and {more} more" if more > 0 else ""
        raise TrainingError(f"{path}: weights do not fit the backbone:{shown}{tail}")
    model.load_state_dict(given, strict=False)


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise TrainingError(
            f"{path}: no such weights file; give the path of a .pth or .safetensors"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # The library's own words advise to load anything; a file that is not just tensors stays out.
        raise TrainingError(
            f"{path}: weights cannot be read: not a file of tensors alone"
        ) from error
    except (OSError, RuntimeError, SafetensorError, ValueError, EOFError) as error:
        raise TrainingError(f"{path}: weights cannot be read: {error}") from error
    if not isinstance(loaded, dict):
        raise TrainingError(f"{path}: expected a table of tensors, found {type(loaded).__name__}")
    table = loaded.get("state_dict", loaded)
    return {name.removeprefix("module."): value for name, value in table.items()}


def _rename_stem(name: str) -> str:
    """Give the three stem convolutions of a plain classifier their names inside `layer0`."""
    head, dot, rest = name.partition(".")
    places = {"conv1": 0, "bn1": 1, "conv2": 3, "bn2": 4, "conv3": 6, "bn3": 7}
    return f"layer0.{places[head]}{dot}{rest}" if head in places else name


def pool_average(x: Tensor, bins: int) -> Tensor:
    """Average (N, C, H, W) over bins × bins areas, as adaptive average pooling does.

    Two small matrix products: quick on a CPU, and deterministic both ways on a GPU.
    """
    rows = _pooling_matrix(x.shape[2], bins).to(x)
    columns = _pooling_matrix(x.shape[3], bins).to(x)
    return rows @ x.contiguous() @ columns.T


def upsample_bilinear(x: Tensor, size_hw: tuple[int, int], *, every: int = 1) -> Tensor:
    """Enlarge (N, C, h, w) bilinearly to `size_hw` with aligned corners, each `every`-th row only.

    With `every` = k the result is exactly [:, :, ::k, ::k] of the full result, never computed.
    """
    rows = _bilinear_matrix(x.shape[2], size_hw[0])[::every].to(x)
    columns = _bilinear_matrix(x.shape[3], size_hw[1])[::every].to(x)
    return rows @ x.contiguous() @ columns.T


@lru_cache(maxsize=256)
def _pooling_matrix(size: int, bins: int) -> Tensor:
    matrix = torch.zeros(bins, size)
    for row in range(bins):
        start, stop = row * size // bins, -(-(row + 1) * size // bins)
        matrix[row, start:stop] = 1 / (stop - start)
    return matrix


@lru_cache(maxsize=256)
def _bilinear_matrix(size_in: int, size_out: int) -> Tensor:
    if size_in == 1:
        return torch.ones(size_out, 1)
    place = torch.arange(size_out, dtype=torch.float64) * ((size_in - 1) / max(size_out - 1, 1))
    low = place.floor().clamp(max=size_in - 2).long()
    share = (place - low).float()
    matrix = torch.zeros(size_out, size_in)
    matrix[torch.arange(size_out), low] = 1 - share
    matrix[torch.arange(size_out), low + 1] += share
    return matrix
