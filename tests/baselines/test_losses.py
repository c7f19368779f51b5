"""The loss on sets of classes, block by block."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import baselines.losses
from baselines.losses import count_valid, enlarged_cross_entropy, weigh_samples
from baselines.networks import upsample_bilinear

IGNORE = -1
SETS = ((0, 2), (1, 2, 3), (4,))


def compute(
    logits: Tensor,
    labels: Tensor,
    *,
    sets: tuple[tuple[int, ...], ...] = SETS,
    datasets: list[int] | None = None,
    shares: list[float] | None = None,
    every: int = 1,
    size_hw: tuple[int, int] | None = None,
) -> Tensor:
    """The loss of a batch as training computes it; the logits are of full size unless `size_hw` is given."""
    which = torch.tensor(datasets if datasets is not None else [0] * len(labels))
    number = int(which.max()) + 1
    counts = count_valid(labels, which, number=number, ignore_label=IGNORE)
    weights = weigh_samples(counts, which, torch.tensor(shares or [1.0] * number))
    return enlarged_cross_entropy(
        logits,
        labels,
        sets=sets,
        ignore_label=IGNORE,
        sample_weights=weights,
        size_hw=size_hw or (logits.shape[2], logits.shape[3]),
        every=every,
    )


def naive_loss(
    logits: Tensor, labels: Tensor, datasets: list[int], shares: list[float] | None = None
) -> float:
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
    weighed = [
        (shares[number] if shares else 1.0, sum(values) / len(values))
        for number, values in terms.items()
    ]
    total = sum(weight for weight, _ in weighed)
    return sum(weight * mean for weight, mean in weighed) / total if weighed else 0.0


def plain_loss(
    logits: Tensor, labels: Tensor, size_hw: tuple[int, int], every: int, weights: Tensor
) -> Tensor:
    """The loss with everything enlarged first and left to autograd."""
    large = upsample_bilinear(logits, size_hw)[:, :, ::every, ::every]
    logs = large.log_softmax(1)
    valid = labels != IGNORE
    classes = logits.shape[1]
    terms = torch.zeros(labels.shape, dtype=logits.dtype)
    for label in range(classes + len(SETS)):
        members = (label,) if label < classes else SETS[label - classes]
        terms = torch.where(labels == label, -logs[:, list(members)].logsumexp(1), terms)
    return (torch.where(valid, terms, 0.0).sum((1, 2)) * weights).sum()


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
    ours = compute(logits, labels, sets=())
    theirs = F.cross_entropy(logits, labels, ignore_index=IGNORE)
    torch.testing.assert_close(ours, theirs)
    (gradient,) = torch.autograd.grad(ours, logits)
    (expected,) = torch.autograd.grad(theirs, logits)
    torch.testing.assert_close(gradient, expected)


def test_a_set_of_one_is_that_class(logits: Tensor) -> None:
    """Naming a class alone or as a set of one gives the same loss."""
    single = torch.full((4, 6, 7), 4)
    as_set = torch.full((4, 6, 7), 5 + 2)
    losses = [compute(logits, labels) for labels in (single, as_set)]
    torch.testing.assert_close(losses[0], losses[1])


@pytest.mark.parametrize("shares", [None, [1.0, 0.25, 3.0, 0.5]])
@pytest.mark.parametrize("datasets", [[0, 0, 0, 0], [0, 1, 0, 2], [3, 3, 1, 1]])
def test_the_loss_is_the_formula(
    logits: Tensor, datasets: list[int], shares: list[float] | None
) -> None:
    """Sets, single classes, ignored pixels, datasets and their weights agree with a naive loop."""
    labels = draw_labels(5 + len(SETS))
    number = max(datasets) + 1
    found = compute(logits, labels, datasets=datasets, shares=shares[:number] if shares else None)
    expected = naive_loss(logits.detach(), labels, datasets, shares)
    assert found.item() == pytest.approx(expected, rel=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_blocks_change_nothing(data: st.DataObject) -> None:
    """Loss and gradient are those of the whole enlarged tensor, however it is cut into blocks."""
    draw = data.draw
    n, h, w, every = (draw(st.integers(1, top)) for top in (3, 5, 5, 3))
    size_hw = (draw(st.integers(h, 19)), draw(st.integers(w, 19)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    logits = torch.randn(n, 5, h, w, generator=generator, dtype=torch.float64).requires_grad_()
    shape = (n, -(-size_hw[0] // every), -(-size_hw[1] // every))
    labels = torch.randint(IGNORE, 5 + len(SETS), shape, generator=generator)
    weights = torch.rand(n, generator=generator, dtype=torch.float64)
    expected = plain_loss(logits, labels, size_hw, every, weights)
    (slope,) = torch.autograd.grad(expected, logits)
    before = baselines.losses.BLOCK_CPU
    baselines.losses.BLOCK_CPU = draw(st.sampled_from([1, 60, 500, 1 << 20]))  # type: ignore[misc]
    try:
        found = enlarged_cross_entropy(
            logits,
            labels,
            sets=SETS,
            ignore_label=IGNORE,
            sample_weights=weights,
            size_hw=size_hw,
            every=every,
        )
    finally:
        baselines.losses.BLOCK_CPU = before  # type: ignore[misc]
    (gradient,) = torch.autograd.grad(3 * found, logits)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradient, 3 * slope, atol=1e-6, rtol=1e-6)


def test_a_dataset_without_valid_pixels_does_not_dilute_the_others(logits: Tensor) -> None:
    """A dataset that is all ignored in a batch is left out of the mean over datasets."""
    labels = draw_labels(5)
    labels[2:] = IGNORE
    both = compute(logits, labels, datasets=[0, 0, 1, 1])
    alone = compute(logits[:2], labels[:2])
    torch.testing.assert_close(both, alone)


def test_parts_of_a_batch_add_up(logits: Tensor) -> None:
    """Divided by the counts of the whole batch, the losses of its parts sum to its loss."""
    labels = draw_labels(5 + len(SETS))
    datasets = torch.tensor([0, 1, 1, 0])
    counts = count_valid(labels, datasets, number=2, ignore_label=IGNORE)
    weights = weigh_samples(counts, datasets, torch.tensor([1.0, 2.0]))
    parts = [
        enlarged_cross_entropy(
            logits[part],
            labels[part],
            sets=SETS,
            ignore_label=IGNORE,
            sample_weights=weights[part],
            size_hw=(6, 7),
        )
        for part in (slice(0, 1), slice(1, 4))
    ]
    whole = compute(logits, labels, datasets=datasets.tolist(), shares=[1.0, 2.0])
    torch.testing.assert_close(parts[0] + parts[1], whole)


@pytest.mark.parametrize("datasets", [None, [0, 1, 0, 1]])
def test_an_ignored_batch_costs_nothing(logits: Tensor, datasets: list[int] | None) -> None:
    """A batch that is all ignored has loss 0 and gradient 0, not NaN."""
    labels = torch.full((4, 6, 7), IGNORE)
    loss = compute(logits, labels, datasets=datasets)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == 0
    assert not gradient.any()


def test_bfloat16_logits_are_summed_in_float32(logits: Tensor) -> None:
    """Half-precision logits give a float32 loss and a gradient of their own kind."""
    half = logits.detach().bfloat16().requires_grad_()
    labels = draw_labels(5)
    loss = compute(half, labels)
    (gradient,) = torch.autograd.grad(loss, half)
    assert (loss.dtype, gradient.dtype) == (torch.float32, torch.bfloat16)
    torch.testing.assert_close(loss, compute(half.detach().float(), labels))


def test_a_set_teaches_its_members_in_proportion(logits: Tensor) -> None:
    """The gradient is p(u) − p(u) / p(set) inside a set and p(u) outside it."""
    labels = torch.full((4, 6, 7), 5)
    loss = compute(logits, labels)
    (gradient,) = torch.autograd.grad(loss, logits)
    p = logits.detach().softmax(dim=1)
    inside = p[:, [0, 2]].sum(dim=1, keepdim=True)
    expected = p.clone()
    expected[:, [0, 2]] -= p[:, [0, 2]] / inside
    torch.testing.assert_close(gradient * labels.numel(), expected, atol=1e-5, rtol=1e-4)


def test_extreme_logits_stay_finite() -> None:
    """A set whose members are hopeless costs much, and neither loss nor gradient is NaN."""
    logits = torch.tensor([300.0, -300.0, -300.0]).view(1, 3, 1, 1).requires_grad_()
    loss = compute(logits, torch.tensor([[[3]]]), sets=((1, 2),))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == pytest.approx(600 - math.log(2), rel=1e-5)
    assert torch.isfinite(gradient).all()
