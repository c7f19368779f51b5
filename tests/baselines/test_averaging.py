"""The moving average of weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from baselines.averaging import WeightAverage


def build_model() -> nn.Sequential:
    """A convolution that trains, one that does not, and batch statistics."""
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    model[1].requires_grad_(False)
    return model


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.9999])
def test_the_average_is_the_formula(decay: float) -> None:
    """After t steps it is Σ decay^(t − i) w_i / Σ decay^(t − i); the start has no part in it."""
    torch.manual_seed(0)
    model = build_model().double()
    average = WeightAverage(model, decay)
    seen: list[torch.Tensor] = []
    for step in range(1, 9):
        with torch.no_grad():
            for value in model.state_dict().values():
                if value.is_floating_point():
                    value.normal_()
        average.update(step)
        seen.append(model[0].weight.detach().clone())
        shares = torch.tensor([decay ** (step - i) for i in range(1, step + 1)]).double()
        expected = (torch.stack(seen) * shares.view(-1, 1, 1, 1, 1)).sum(0) / shares.sum()
        torch.testing.assert_close(average.state_dict()["0.weight"], expected)
    assert "2.running_mean" in average.state_dict()
    assert not any(name.startswith("1.") for name in average.state_dict())
    average.apply()
    torch.testing.assert_close(model[0].weight.detach(), expected)


def test_a_saved_average_goes_on() -> None:
    """What `state_dict` gives can be taken up by another average."""
    torch.manual_seed(0)
    model = build_model()
    first, second = WeightAverage(model, 0.9), WeightAverage(model, 0.9)
    with torch.no_grad():
        model[0].weight.add_(1)
    first.update(3)
    second.load({name: value.clone() for name, value in first.state_dict().items()})
    with torch.no_grad():
        model[0].weight.mul_(2)
    for average in (first, second):
        average.update(4)
    assert torch.equal(first.state_dict()["0.weight"], second.state_dict()["0.weight"])
