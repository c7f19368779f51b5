"""The pyramid contracted before it is enlarged: equal values, equal gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.networks.layers import upsample_bilinear
from baselines.networks.pyramid import BINS, PyramidPooling, convolve_pyramid, pool_bins


def convolve_plainly(x: Tensor, levels: list[Tensor], weight: Tensor) -> Tensor:
    """Enlarge by the library, concatenate, convolve."""
    size_hw = (x.shape[2], x.shape[3])
    enlarged = [F.interpolate(y, size_hw, mode="bilinear", align_corners=True) for y in levels]
    return F.conv2d(torch.cat([x, *enlarged], dim=1), weight, padding=1)


def make_case(size_hw: tuple[int, int], dtype: torch.dtype) -> tuple[Tensor, list[Tensor], Tensor]:
    """Features, one level per bin and a kernel, all with gradients."""
    torch.manual_seed(0)
    x = torch.randn(2, 12, *size_hw, dtype=dtype, requires_grad=True)
    levels = [torch.randn(2, 3, b, b, dtype=dtype, requires_grad=True) for b in BINS]
    weight = torch.randn(5, 24, 3, 3, dtype=dtype, requires_grad=True)
    return x, levels, weight


@pytest.mark.parametrize("size_hw", [(1, 1), (2, 5), (6, 6), (12, 7), (23, 30)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_shortcut_is_exact(size_hw: tuple[int, int], layout: torch.memory_format) -> None:
    """In float64, values and all gradients are those of the plain way to 1e-12."""
    x, levels, weight = make_case(size_hw, torch.float64)
    inputs = (x, *levels, weight)
    ours = convolve_pyramid(
        x.contiguous(memory_format=layout), levels, weight.contiguous(memory_format=layout)
    )
    theirs = convolve_plainly(x, levels, weight)
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)
    pull = torch.randn_like(theirs)
    for found, expected in zip(
        torch.autograd.grad(ours, inputs, pull),
        torch.autograd.grad(theirs, inputs, pull),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, atol=1e-11, rtol=1e-11)


def test_the_shortcut_errs_no_more_than_the_plain_way() -> None:
    """In float32 it is as near to the float64 result as the plain way is, about 1e-6."""
    x, levels, weight = make_case((30, 30), torch.float64)
    single = (x.float(), [y.float() for y in levels], weight.float())
    with torch.no_grad():
        exact = convolve_plainly(x, levels, weight)
        errors = [
            float((way(*single) - exact).abs().max() / exact.abs().max())
            for way in (convolve_plainly, convolve_pyramid)
        ]
    assert errors[1] < 2e-6
    assert errors[1] < 4 * errors[0]


def test_the_shortcut_repeats_its_bits() -> None:
    """Twice the same input gives twice the same values and gradients."""
    results = []
    for _ in range(2):
        x, levels, weight = make_case((12, 12), torch.float32)
        y = convolve_pyramid(x, levels, weight)
        results.append((y, *torch.autograd.grad(y.square().sum(), (x, *levels, weight))))
    for first, second in zip(*results, strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("size_hw", [(6, 6), (7, 12), (12, 5), (3, 3), (60, 60)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_all_bins_at_once_are_adaptive_average_pooling(
    size_hw: tuple[int, int], layout: torch.memory_format
) -> None:
    """One product averages over the same bins as the library, bin count by bin count."""
    x = torch.randn(2, 3, *size_hw).contiguous(memory_format=layout)
    for bins, pooled in zip(BINS, pool_bins(x, BINS), strict=True):
        torch.testing.assert_close(pooled, F.adaptive_avg_pool2d(x, bins))


def test_pooling_concatenates_features_and_enlarged_levels() -> None:
    """The plain way's map is the features, then the four levels, each enlarged."""
    torch.manual_seed(0)
    pyramid = PyramidPooling(8).eval()
    x = torch.randn(2, 8, 9, 7)
    y = pyramid(x)
    assert y.shape == (2, 16, 9, 7)
    assert torch.equal(y[:, :8], x)
    last = upsample_bilinear(pyramid.pool(x)[3], (9, 7))
    assert torch.equal(y[:, 14:], last)
