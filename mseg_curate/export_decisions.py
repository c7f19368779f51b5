"""Decisions out: a CSV file with all that agreement and accuracy are reckoned from."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO, cast
from uuid import UUID

from mseg_curate.clock import epoch_of
from mseg_curate.files import write_text_atomically
from mseg_curate.readers.decisions_csv import (
    CsvDecision,
    DecisionMode,
    ExportedDecision,
    write_exported_csv,
)
from mseg_curate.store import Connection, Store
from mseg_curate.store.exchange import (
    OutgoingDecision,
    candidates_of_questions,
    outgoing_decisions,
)
from mseg_curate.store.tasks import load_task

__all__ = ["export_decisions", "write_decisions"]


def export_decisions(store: Store, path: Path, *, task: str | None = None) -> int:
    """Write every decision, or those on the masks of a task, to a CSV file; returns how many.

    The file is there whole or not at all. `decide.import_csv` reads it into another store. Raises StoreError for an
    unknown task, OutputError where the file cannot be written.
    """
    text = io.StringIO()
    count = write_decisions(store, task=task, out=text)
    write_text_atomically(path, text.getvalue())
    return count


def write_decisions(store: Store, *, task: str | None = None, out: TextIO) -> int:
    """Write decisions as `export_decisions` does to an open file."""
    with store.reading() as connection:
        task_id = None if task is None else load_task(connection, task).id
        return write_exported_csv(out, _decisions(connection, task_id))


def _decisions(connection: Connection, task_id: int | None) -> Iterator[ExportedDecision]:
    candidates = candidates_of_questions(connection)
    for row in outgoing_decisions(connection, task_id):
        yield ExportedDecision(
            _csv_row(row),
            bool(row.superseded),
            row.gold,
            row.gold_answer,
            row.id,
            candidates=candidates.get((row.dataset, row.source_class), ()),
            redundancy=row.redundancy,
            max_redundancy=row.max_redundancy,
            policy=row.policy or "",
        )


def _csv_row(row: OutgoingDecision) -> CsvDecision:
    return CsvDecision(
        dataset=row.dataset,
        split=row.split,
        image=row.image,
        segment=row.segment,
        source_class=row.source_class,
        outcome=row.outcome,
        annotator=row.annotator,
        sequence=row.sequence,
        decided_at=None if row.decided_at is None else _time(row.decided_at),
        milliseconds=row.milliseconds,
        uuid=str(UUID(bytes=row.uuid)),
        mode=cast(DecisionMode, row.mode),
        task=row.task,
        annotator_kind=row.annotator_kind,
        supersedes="" if row.supersedes is None else str(UUID(bytes=row.supersedes)),
    )


def _time(iso: str) -> datetime:
    return datetime.fromtimestamp(epoch_of(iso), UTC)
