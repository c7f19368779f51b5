"""Rows of exports, and of the runs and scores made from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from mseg_curate.store.bulk import bulk_insert
from mseg_curate.store.schema import confusion, export, metric, run

__all__ = ["RunRow", "save_export", "save_run"]


def save_export(
    connection: Connection,
    *,
    path: str,
    manifest: Mapping[str, object],
    sha256: str,
    now: str,
) -> None:
    """Store that an export was written; the same manifest is stored once."""
    known = connection.execute(
        select(export.c.id).where(export.c.manifest_sha256 == sha256)
    ).first()
    if known is not None:
        return
    provenance = manifest["provenance"]
    if not isinstance(provenance, Mapping):
        raise TypeError("provenance of a manifest is a mapping")
    connection.execute(
        insert(export).values(
            path=path,
            arm=manifest["arm"],
            as_of_decision=provenance["as_of_decision"] or 0,
            mapping_revision=provenance["mapping_revision"],
            policy=provenance["policy"] or "none",
            unresolved=provenance["unresolved"] or "none",
            shared_sha256=manifest["shared_sha256"],
            labels_sha256=manifest["labels_sha256"],
            manifest_sha256=sha256,
            created_at=now,
        )
    )


@dataclass(frozen=True)
class RunRow:
    """One trained and evaluated network, as the store keeps it.

    `metrics` is (dataset, class, metric, value); `confusions` is (dataset, truth, predicted, pixels).
    """

    experiment: str
    arm: str
    seed: int
    config_sha256: str
    shared_sha256: str
    labels_sha256: str
    weights_sha256: str | None
    checkpoint: str
    device: str
    torch_version: str
    steps: int
    train_s: float
    eval_s: float
    metrics: Sequence[tuple[str, str, str, float | None]]
    confusions: Iterable[tuple[str, str, str, int]]


def save_run(connection: Connection, row: RunRow, *, now: str) -> None:
    """Store a run with its scores, in the place of an earlier one of the same experiment, arm and seed."""
    earlier = connection.execute(
        select(run.c.id).where(
            run.c.experiment == row.experiment, run.c.arm == row.arm, run.c.seed == row.seed
        )
    ).scalar_one_or_none()
    if earlier is not None:
        connection.execute(delete(confusion).where(confusion.c.run_id == earlier))
        connection.execute(delete(metric).where(metric.c.run_id == earlier))
        connection.execute(delete(run).where(run.c.id == earlier))
    values = {k: v for k, v in vars(row).items() if k not in ("metrics", "confusions")}
    run_id = connection.execute(
        insert(run).values(**values, created_at=now).returning(run.c.id)
    ).scalar_one()
    bulk_insert(
        connection,
        "metric (run_id, dataset, class_name, name, value)",
        [(run_id, *values) for values in row.metrics],
    )
    bulk_insert(
        connection,
        "confusion (run_id, dataset, truth, predicted, pixels)",
        [(run_id, *values) for values in row.confusions],
    )
