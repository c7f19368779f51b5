"""The base of all networks: normalised input, a backbone that may be frozen, parameters in two groups."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from baselines.config import TrainConfig
from baselines.networks.backbone import NORMALISATIONS, Backbone

__all__ = ["LoadedWeights", "Network"]


@dataclass(frozen=True)
class LoadedWeights:
    """What became of the tensors of a weights file and of the network, by name.

    `loaded` came from the file, `random` kept their random start, `ignored` are in the file and
    have no use in the network.
    """

    loaded: tuple[str, ...] = ()
    random: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    def describe(self) -> str:
        """Say in a line where the weights come from, and loudly where from nowhere."""
        if not self.loaded:
            return (
                f"RANDOM WEIGHTS: no file was given, all {len(self.random)} tensors start at random"
            )
        line = f"{len(self.loaded)} tensors from the weights file"
        for names, what in ((self.random, "random"), (self.ignored, "in the file and not used")):
            if names:
                parts = dict.fromkeys(name.rpartition(".")[0] for name in names)
                line += f"; {len(names)} {what}: {', '.join(parts)}"
        return line


class Network(nn.Module):
    """A network from RGB images to class logits.

    `classifiers` names the modules whose output has a channel for each class. `backbone_names`,
    `optional_names` and `ignored_names` start the names of tensors (see `Backbone`). `start` says
    what the parameters were when the network was built.
    """

    classifiers: tuple[str, ...] = ()

    def __init__(self, backbone: Backbone, config: TrainConfig) -> None:
        """Register the modules of `backbone`, and freeze what `config` wants frozen."""
        super().__init__()
        for name, module in backbone.modules.items():
            self.add_module(name, module)
        self.backbone_names = tuple(f"{name}." for name in backbone.modules)
        self.optional_names = backbone.optional
        self.ignored_names = backbone.ignored
        self.start = LoadedWeights()
        self.backbone = config.backbone
        self.title = f"{config.network} with {config.backbone}"
        self._blocks = tuple(backbone.blocks)
        self.frozen_blocks = min(config.frozen_blocks, len(self._blocks))
        for module in self._frozen_modules():
            module.requires_grad_(False)
        self.has_frozen_norm = config.norm == "frozen"
        if self.has_frozen_norm:
            for norm in self._backbone_norms():
                norm.requires_grad_(False)
        self.mean: Tensor
        self.std: Tensor
        expected = NORMALISATIONS[config.normalisation]
        for name, values in (("mean", expected.mean), ("std", expected.std)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Compute the logits and, in training, those of the auxiliary head.

        `images` is (N, 3, H, W) float in 0 … 255, RGB; the logits are (N, classes, h, w) with h at
        most H and w at most W. The second entry is None in evaluation or without that head.
        """
        return self.score((images - self.mean) / self.std)

    @abstractmethod
    def score(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Compute what `forward` returns from normalised images (N, 3, H, W)."""

    def run_block(self, number: int, x: Tensor) -> Tensor:
        """Pass `x` through one block of the backbone; no gradient is kept for a frozen one."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and number >= self.frozen_blocks):
            return self.run(self._blocks[number], x)

    def run(self, names: Sequence[str], x: Tensor) -> Tensor:
        """Pass `x` through the modules of these names, looked up now: a trainer may have replaced some."""
        for name in names:
            x = self.get_submodule(name)(x)
        return x

    def train(self, mode: bool = True) -> Self:
        """Switch to training; frozen blocks and frozen batch norms keep their statistics."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        if self.has_frozen_norm:
            for norm in self._backbone_norms():
                norm.eval()
        return self

    def split_parameters(self) -> tuple[dict[str, nn.Parameter], dict[str, nn.Parameter]]:
        """Return the trainable parameters of the backbone and of the new layers, by name."""
        backbone: dict[str, nn.Parameter] = {}
        new: dict[str, nn.Parameter] = {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                group = backbone if name.startswith(self.backbone_names) else new
                group[name] = parameter
        return backbone, new

    def _frozen_modules(self) -> Iterator[nn.Module]:
        for block in self._blocks[: self.frozen_blocks]:
            yield from map(self.get_submodule, block)

    def _backbone_norms(self) -> Iterator[nn.Module]:
        for name, module in self.named_modules():
            if isinstance(module, _BatchNorm) and name.startswith(self.backbone_names):
                yield module
