"""Enlarging as matrix products, against the library's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from baselines.networks import upsample_bilinear


@pytest.mark.parametrize(
    ("size", "target"), [((3, 5), (17, 33)), ((1, 1), (6, 5)), ((4, 4), (4, 4)), ((5, 3), (1, 2))]
)
def test_upsampling_equals_aligned_bilinear(size: tuple[int, int], target: tuple[int, int]) -> None:
    """Two matrix products enlarge as the library does."""
    x = torch.randn(2, 3, *size)
    full = F.interpolate(x, target, mode="bilinear", align_corners=True)
    torch.testing.assert_close(upsample_bilinear(x, target), full, atol=1e-5, rtol=1e-5)


def test_what_inference_made_can_be_trained_with() -> None:
    """Matrices that are first needed in inference mode serve training of the same size later."""
    x = torch.randn(1, 2, 11, 13, requires_grad=True)
    with torch.inference_mode():
        expected = upsample_bilinear(x, (19, 23))
    found = upsample_bilinear(x, (19, 23))
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert torch.equal(found, expected)
    assert x.grad is not None


def test_float64_stays_exact() -> None:
    """The matrices have the precision of what they are applied to."""
    x = torch.randn(1, 2, 7, 5, dtype=torch.float64)
    full = F.interpolate(x, (16, 12), mode="bilinear", align_corners=True)
    torch.testing.assert_close(upsample_bilinear(x, (16, 12)), full, atol=1e-14, rtol=1e-14)
