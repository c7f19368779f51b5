"""The loss on sets of classes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.losses import set_cross_entropy

IGNORE = -1
SETS = ((0, 2), (1, 2, 3), (4,))


def naive_loss(logits: Tensor, labels: Tensor, datasets: list[int]) -> float:
    """Compute the loss pixel by pixel, as the formula reads."""
    probabilities = logits.double().softmax(dim=1).numpy()
    terms: dict[int, list[float]] = {}
    for n, y, x in np.ndindex(*labels.shape):
        label = int(labels[n, y, x])
        if label == IGNORE:
            continue
        members = (label,) if label < logits.shape[1] else SETS[label - logits.shape[1]]
        p = sum(float(probabilities[n, u, y, x]) for u in members)
        terms.setdefault(datasets[n], []).append(-math.log(p))
    means = [sum(values) / len(values) for values in terms.values()]
    return sum(means) / len(means) if means else 0.0


@pytest.fixture
def logits() -> Tensor:
    """Logits (4, 5, 6, 7) with a gradient."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, 5, 6, 7, generator=generator).mul(3).requires_grad_()


def draw_labels(largest: int) -> Tensor:
    """Labels (4, 6, 7) from IGNORE to below `largest`."""
    generator = torch.Generator().manual_seed(2)
    return torch.randint(IGNORE, largest, (4, 6, 7), generator=generator)


def test_single_classes_are_cross_entropy_with_equal_gradients(logits: Tensor) -> None:
    """Without sets the loss and its gradient are those of plain cross-entropy."""
    labels = draw_labels(5)
    ours = set_cross_entropy(logits, labels, sets=(), ignore_label=IGNORE)
    theirs = F.cross_entropy(logits, labels, ignore_index=IGNORE)
    torch.testing.assert_close(ours, theirs)
    (gradient,) = torch.autograd.grad(ours, logits)
    (expected,) = torch.autograd.grad(theirs, logits)
    torch.testing.assert_close(gradient, expected)


def test_a_set_of_one_is_that_class(logits: Tensor) -> None:
    """Naming a class alone or as a set of one gives the same loss."""
    single = torch.full((4, 6, 7), 4)
    as_set = torch.full((4, 6, 7), 5 + 2)
    losses = [
        set_cross_entropy(logits, labels, sets=SETS, ignore_label=IGNORE)
        for labels in (single, as_set)
    ]
    torch.testing.assert_close(losses[0], losses[1])


@pytest.mark.parametrize("datasets", [[0, 0, 0, 0], [0, 1, 0, 2], [3, 3, 1, 1]])
def test_the_loss_is_the_formula(logits: Tensor, datasets: list[int]) -> None:
    """Sets, single classes, ignored pixels and datasets agree with a naive loop."""
    labels = draw_labels(5 + len(SETS))
    found = set_cross_entropy(
        logits, labels, sets=SETS, ignore_label=IGNORE, datasets=torch.tensor(datasets)
    )
    assert found.item() == pytest.approx(naive_loss(logits.detach(), labels, datasets), rel=1e-5)


def test_one_dataset_is_the_same_as_none_named(logits: Tensor) -> None:
    """Naming one dataset for all samples changes nothing."""
    labels = draw_labels(5 + len(SETS))
    named = set_cross_entropy(
        logits, labels, sets=SETS, ignore_label=IGNORE, datasets=torch.zeros(4)
    )
    unnamed = set_cross_entropy(logits, labels, sets=SETS, ignore_label=IGNORE)
    torch.testing.assert_close(named, unnamed)


def test_a_dataset_without_valid_pixels_does_not_dilute_the_others(logits: Tensor) -> None:
    """A dataset that is all ignored in a batch is left out of the mean over datasets."""
    labels = draw_labels(5)
    labels[2:] = IGNORE
    both = set_cross_entropy(
        logits, labels, sets=(), ignore_label=IGNORE, datasets=torch.tensor([0, 0, 1, 1])
    )
    alone = set_cross_entropy(logits[:2], labels[:2], sets=(), ignore_label=IGNORE)
    torch.testing.assert_close(both, alone)


@pytest.mark.parametrize("datasets", [None, torch.tensor([0, 1, 0, 1])])
def test_an_ignored_batch_costs_nothing(logits: Tensor, datasets: Tensor | None) -> None:
    """A batch that is all ignored has loss 0 and gradient 0, not NaN."""
    labels = torch.full((4, 6, 7), IGNORE)
    loss = set_cross_entropy(logits, labels, sets=SETS, ignore_label=IGNORE, datasets=datasets)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == 0
    assert not gradient.any()


def test_a_set_teaches_its_members_in_proportion(logits: Tensor) -> None:
    """The gradient is p(u) − p(u) / p(set) inside a set and p(u) outside it."""
    labels = torch.full((4, 6, 7), 5)
    loss = set_cross_entropy(logits, labels, sets=SETS, ignore_label=IGNORE)
    (gradient,) = torch.autograd.grad(loss, logits)
    p = logits.detach().softmax(dim=1)
    inside = p[:, [0, 2]].sum(dim=1, keepdim=True)
    expected = p.clone()
    expected[:, [0, 2]] -= p[:, [0, 2]] / inside
    torch.testing.assert_close(gradient * labels.numel(), expected, atol=1e-5, rtol=1e-4)


def test_extreme_logits_stay_finite() -> None:
    """A set whose members are hopeless costs much, and neither loss nor gradient is NaN."""
    logits = torch.tensor([300.0, -300.0, -300.0]).view(1, 3, 1, 1).requires_grad_()
    loss = set_cross_entropy(logits, torch.tensor([[[3]]]), sets=((1, 2),), ignore_label=IGNORE)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == pytest.approx(600 - math.log(2), rel=1e-5)
    assert torch.isfinite(gradient).all()
