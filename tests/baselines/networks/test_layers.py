"""Pooling and enlarging as matrix products, against the library's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from baselines.networks import pool_average, upsample_bilinear


@pytest.mark.parametrize("bins", [1, 2, 3, 6])
@pytest.mark.parametrize("size", [(6, 6), (7, 12), (12, 5), (3, 3)])
def test_pooling_equals_adaptive_average_pooling(size: tuple[int, int], bins: int) -> None:
    """Two matrix products average over the same bins as the library's pooling."""
    x = torch.randn(2, 3, *size)
    torch.testing.assert_close(pool_average(x, bins), F.adaptive_avg_pool2d(x, bins))


@pytest.mark.parametrize("every", [1, 2, 4])
@pytest.mark.parametrize(
    ("size", "target"), [((3, 5), (17, 33)), ((1, 1), (6, 5)), ((4, 4), (4, 4)), ((5, 3), (1, 2))]
)
def test_upsampling_equals_aligned_bilinear(
    size: tuple[int, int], target: tuple[int, int], every: int
) -> None:
    """Every k-th row and column equals that of the library's full result."""
    x = torch.randn(2, 3, *size)
    full = F.interpolate(x, target, mode="bilinear", align_corners=True)
    torch.testing.assert_close(
        upsample_bilinear(x, target, every=every),
        full[:, :, ::every, ::every],
        atol=1e-5,
        rtol=1e-5,
    )


def test_what_inference_made_can_be_trained_with() -> None:
    """Matrices that are first needed in inference mode serve training of the same size later."""
    x = torch.randn(1, 2, 11, 13, requires_grad=True)
    with torch.inference_mode():
        expected = upsample_bilinear(pool_average(x, 5), (19, 23))
    found = upsample_bilinear(pool_average(x, 5), (19, 23))
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert torch.equal(found, expected)
    assert x.grad is not None


def test_float64_stays_exact() -> None:
    """The matrices have the precision of what they are applied to."""
    x = torch.randn(1, 2, 7, 5, dtype=torch.float64)
    full = F.interpolate(x, (16, 12), mode="bilinear", align_corners=True)
    torch.testing.assert_close(upsample_bilinear(x, (16, 12)), full, atol=1e-14, rtol=1e-14)
