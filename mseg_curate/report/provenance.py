"""What proves that arms differ in their labels alone, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Provenance", "describe_cost", "describe_provenance"]


@dataclass(frozen=True)
class Provenance:
    """What proves that the arms differ in their labels alone, and what the experiment cost."""

    experiment: str
    config_sha256: str
    shared_sha256: str
    labels_sha256: Mapping[str, str]
    weights_sha256: str | None
    seeds: Sequence[int]
    device: str
    torch_version: str
    steps: int
    train_s: float
    eval_s: float
    resolution: str = ""


def describe_provenance(provenance: Provenance) -> list[str]:
    """Say what all arms share, in what they differ, and what the runs cost."""
    lines = [
        f"The arms {' and '.join(arms)} have the same labels."
        for arms in _equal_labels(provenance.labels_sha256)
    ]
    labels = (f"{arm} {digest[:8]}" for arm, digest in provenance.labels_sha256.items())
    lines.append(
        f"All arms share configuration {provenance.config_sha256[:12]} and data "
        f"{provenance.shared_sha256[:12]}; they differ in their labels alone: {', '.join(labels)}."
    )
    return [*lines, describe_cost(provenance)]


def describe_cost(provenance: Provenance) -> str:
    """Say in a sentence with how many seeds, on what and how long was trained."""
    digest = provenance.weights_sha256
    start = f"weights {digest[:12]}" if digest else "random weights"
    measured = f"measured at {provenance.resolution}, " if provenance.resolution else ""
    plural = "seed" if len(provenance.seeds) == 1 else "seeds"
    return (
        f"{len(provenance.seeds)} {plural} ({', '.join(map(str, provenance.seeds))}), {provenance.steps} steps, "
        f"from {start}, {measured}on {provenance.device} with torch {provenance.torch_version}; "
        f"{provenance.train_s / 60:.1f} min of training and {provenance.eval_s / 60:.1f} min of "
        "evaluation, all runs added up."
    )


def _equal_labels(labels: Mapping[str, str]) -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for arm, digest in labels.items():
        groups.setdefault(digest, []).append(arm)
    return [arms for arms in groups.values() if len(arms) > 1]
