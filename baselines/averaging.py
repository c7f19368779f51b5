"""An exponential moving average of a network's weights, which is evaluated in their place."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

__all__ = ["WeightAverage"]


class WeightAverage:
    """The average of a network's weights after steps 1 … t, step i weighing decay^(t − i).

    The weights are normalised: the start, mostly random, has no part in it, and after one step the
    average is that step. Batch statistics are averaged alike; counters stay the network's own.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Average what `model` trains and tracks, with `decay` in 0 … 1, 1 excluded."""
        self.decay = decay
        fixed = {name for name, value in model.named_parameters() if not value.requires_grad}
        self._live = {
            name: value
            for name, value in model.state_dict().items()
            if value.is_floating_point() and name not in fixed
        }
        self._average = {name: v.detach().clone() for name, v in self._live.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights as they are after `step` steps, counted from 1."""
        share = (1 - self.decay) / (1 - self.decay**step)
        torch._foreach_lerp_(list(self._average.values()), list(self._live.values()), share)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averaged tensors by the network's names."""
        return dict(self._average)

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take up tensors that `state_dict` returned."""
        for name, value in self._average.items():
            value.copy_(state[name])

    @torch.no_grad()
    def apply(self) -> None:
        """Put the average into the network."""
        for name, value in self._live.items():
            value.copy_(self._average[name])
