"""Comparisons made by hand of runs that score exactly what a test asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from mseg_curate.core.compare import Comparison, Runs, compare_arms
from mseg_curate.core.metrics import ImageCounts, Mode
from mseg_curate.report import Provenance

CLASSES = ("car", "sky", "ghost")
Shares = Mapping[str, Sequence[float]]
CountShare = Callable[..., ImageCounts]
CompareShares = Callable[..., Comparison]


def count_share(share: float, *, images: int = 10, classes: Sequence[str] = CLASSES) -> ImageCounts:
    """Counts of a network that finds a share of every class and takes nothing for another; no `ghost` is shown."""
    truth = np.full((images, len(classes)), 1000)
    truth[:, [name == "ghost" for name in classes]] = 0
    found = np.round(truth * share).astype(np.int64)
    confusion = np.zeros((len(classes), len(classes) + 1), np.int64)
    np.fill_diagonal(confusion, found.sum(axis=0))
    confusion[:, -1] = (truth - found).sum(axis=0)
    return ImageCounts(
        image_ids=tuple(map(str, range(images))),
        classes=tuple(classes),
        predictable=np.ones(len(classes), np.bool_),
        intersection=found,
        truth=truth,
        prediction=found,
        confusion=confusion,
    )


def make_shares(shares: Shares, *, tests: Sequence[str] = ("near", "far")) -> Runs:
    """Runs per arm, a seed per share; all tests of a run score the same."""
    return {
        arm: [{test: count_share(share) for test in tests} for share in by_seed]
        for arm, by_seed in shares.items()
    }


@pytest.fixture(scope="session")
def count() -> CountShare:
    """The function that makes the counts of one run on one test."""
    return count_share


@pytest.fixture(scope="session")
def make_runs() -> Callable[..., Runs]:
    """The function that makes runs from shares per arm and seed."""
    return make_shares


@pytest.fixture(scope="session")
def compare() -> CompareShares:
    """The function that compares runs made from shares per arm and seed."""

    def compare_shares(
        shares: Shares,
        *,
        tests: Sequence[str] = ("near", "far"),
        mode: Mode = "strict",
        reference: str = "relabeled",
    ) -> Comparison:
        return compare_arms(
            make_shares(shares, tests=tests),
            reference=reference,
            rng=np.random.default_rng(0),
            resamples=300,
            mode=mode,
        )

    return compare_shares


@pytest.fixture(scope="session")
def provenance() -> Provenance:
    """Three arms with labels of their own, from random weights."""
    return Provenance(
        experiment="runs",
        config_sha256="c" * 64,
        shared_sha256="d" * 64,
        labels_sha256={"relabeled": "1" * 64, "unrelabeled": "2" * 64, "ignored": "3" * 64},
        weights_sha256=None,
        seeds=[0, 1],
        device="cpu",
        torch_version="2.13.0",
        steps=300,
        train_s=90.0,
        eval_s=30.0,
    )
