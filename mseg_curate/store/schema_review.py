"""The tables of tasks, annotators, decisions and gold."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from mseg_curate.store.schema_base import metadata, one_of, ref, row_id

__all__ = [
    "annotator",
    "annotator_event",
    "chore",
    "decision",
    "flag",
    "gold",
    "gold_exposure",
    "grid_exception",
    "lease",
    "resolution",
    "suggestion",
    "task",
    "task_candidate",
    "task_cursor",
    "task_example",
    "task_mask",
    "task_slot",
]

annotator = Table(
    "annotator",
    metadata,
    row_id(),
    Column("name", Text, nullable=False, unique=True),
    Column("kind", String(9), nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("role", String(9), nullable=False, server_default="annotator"),
    Column("status", String(6), nullable=False, server_default="active"),
    # Who this is to the sign-in service; NULL for a name that was typed in or imported.
    Column("login", Text, unique=True),
    one_of("kind", "person", "legacy", "simulated"),
    one_of("role", "annotator", "curator", "admin"),
    one_of("status", "active", "paused"),
)

# What befell an annotator, and who did it; append-only. The task where it came from the gold of one.
annotator_event = Table(
    "annotator_event",
    metadata,
    row_id(),
    ref("annotator_id", "annotator"),
    ref("task_id", "task", nullable=True),
    Column("kind", String(8), nullable=False),
    Column("by", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("at", String(32), nullable=False),
    one_of("kind", "joined", "role", "warned", "paused", "resumed", "reopened"),
    Index("ix_annotator_event_annotator_id", "annotator_id"),
)

task = Table(
    "task",
    metadata,
    row_id(),
    Column("name", Text, nullable=False, unique=True),
    ref("dataset_class_id", "dataset_class"),
    ref("mapping_revision_id", "mapping_revision"),
    Column("redundancy", Integer, nullable=False),
    Column("status", String(6), nullable=False),
    Column("created_at", String(32), nullable=False),
    # How many masks it asks about; they never change.
    Column("masks", Integer, nullable=False, server_default="0"),
    # Where votes disagree a mask is asked for again, until it has so many.
    Column("max_redundancy", Integer, nullable=False, server_default="1"),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("policy", Text, nullable=False, server_default="majority(min_agreement=0.5,quorum=1)"),
    Column("instructions", Text, nullable=False, server_default=""),
    Column("lease_s", Integer, nullable=False, server_default="300"),
    # Share of the masks handed out that are gold.
    Column("gold_rate", Float, nullable=False, server_default="0.1"),
    # What befalls an annotator (`under_bar`) whose accuracy on at least `gold_min` gold masks is below the bar.
    Column("gold_bar", Float),
    Column("gold_min", Integer, nullable=False, server_default="10"),
    # How often one gold mask is shown in all: one that everybody has seen is a secret no more.
    Column("gold_cap", Integer, nullable=False, server_default="20"),
    Column("under_bar", String(6), nullable=False, server_default="warn"),
    one_of("status", "open", "paused", "closed"),
    one_of("under_bar", "warn", "pause", "reopen"),
    CheckConstraint("redundancy >= 1", name="redundancy"),
    CheckConstraint("gold_rate >= 0 AND gold_rate <= 1", name="gold_rate"),
)

task_candidate = Table(
    "task_candidate",
    metadata,
    ref("task_id", "task", key=True),
    Column("position", Integer, primary_key=True),
    ref("label_class_id", "label_class"),
    Column("definition", Text, nullable=False, server_default=""),
)

task_example = Table(
    "task_example",
    metadata,
    ref("task_id", "task", key=True),
    Column("position", Integer, primary_key=True),
    Column("number", Integer, primary_key=True),
    ref("mask_id", "mask"),
    sqlite_with_rowid=False,
)

# `rank` is the priority within the task, lower first; `position` a random order, so that the masks decided so far
# are a random sample of all.
task_mask = Table(
    "task_mask",
    metadata,
    ref("task_id", "task", key=True),
    ref("mask_id", "mask", key=True),
    Column("rank", Integer, nullable=False, server_default="0"),
    Column("position", Integer, nullable=False, server_default="0"),
    Column("status", String(11), nullable=False, server_default="open"),
    # The label class whose grid shows the mask: the one suggested, else the task's default.
    Column("expected_id", Integer, nullable=False, server_default="0"),
    one_of("status", "open", "settled", "contested", "adjudicated"),
    Index("ix_task_mask_mask_id", "mask_id"),
    Index("ix_task_mask_status", "task_id", "status", "position"),
    sqlite_with_rowid=False,
)

# One row per independent decision that is wanted: a mask has as many as its redundancy asks for. The copies of rank,
# position and expected class let one partial index find the next mask, of all or of a class.
task_slot = Table(
    "task_slot",
    metadata,
    row_id(),
    ref("task_id", "task"),
    ref("mask_id", "mask"),
    Column("number", Integer, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("position", Integer, nullable=False),
    ref("annotator_id", "annotator", nullable=True),
    ref("decision_id", "decision", nullable=True),
    Column("expected_id", Integer, nullable=False, server_default="0"),
    UniqueConstraint("task_id", "mask_id", "number"),
    CheckConstraint("(annotator_id IS NULL) = (decision_id IS NULL)", name="filled"),
    Index(
        "ix_task_slot_open",
        "task_id",
        "rank",
        "position",
        "number",
        sqlite_where=text("decision_id IS NULL"),
    ),
    Index(
        "ix_task_slot_expected",
        "task_id",
        "expected_id",
        "rank",
        "position",
        "number",
        sqlite_where=text("decision_id IS NULL"),
    ),
    # Nobody fills two slots of a mask.
    Index(
        "ix_task_slot_once",
        "mask_id",
        "task_id",
        "annotator_id",
        unique=True,
        sqlite_where=text("annotator_id IS NOT NULL"),
    ),
)

# What a change has promised to do to many masks, done in steps: it has come to the row `done_to` of those up to
# `last_id` (masks of a task, or decisions).
chore = Table(
    "chore",
    metadata,
    row_id(),
    Column("kind", String(9), nullable=False),
    ref("task_id", "task", nullable=True),
    ref("annotator_id", "annotator", nullable=True),
    Column("done_to", Integer, nullable=False),
    Column("last_id", Integer, nullable=False),
    Column("withdrawn", Integer, nullable=False, server_default="0"),
    Column("by", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("asked_at", String(32), nullable=False),
    # Of the last step, in epoch seconds.
    Column("touched_at", Float, nullable=False, server_default="0"),
    Column("finished_at", String(32)),
    one_of("kind", "task", "decisions", "reopen"),
    Index("ix_chore_unfinished", "id", sqlite_where=text("finished_at IS NULL")),
)

# How far an annotator has walked a lane of a task's queue (single, adjudication, or the grid of one class): what lies
# before was decided, skipped or taken.
task_cursor = Table(
    "task_cursor",
    metadata,
    ref("task_id", "task", key=True),
    ref("annotator_id", "annotator", key=True),
    Column("lane", String(32), primary_key=True),
    Column("rank", Integer, nullable=False),
    Column("position", Integer, nullable=False),
    # After a walk from the start found nothing: not again before this time, in epoch seconds.
    Column("rest_until", Float, nullable=False, server_default="0"),
    sqlite_with_rowid=False,
)

# The right of one annotator (in one browser tab, `client`) to decide one mask until `expires_at`, in epoch seconds.
lease = Table(
    "lease",
    metadata,
    row_id(),
    Column("token", LargeBinary(16), nullable=False, unique=True),
    ref("task_id", "task"),
    ref("mask_id", "mask"),
    ref("annotator_id", "annotator"),
    # A slot has one lease at most: two people are never on one slot. NULL for gold and for adjudication.
    Column("slot_id", ForeignKey("task_slot.id"), unique=True),
    ref("gold_id", "gold", nullable=True),
    Column("mode", String(12), nullable=False),
    # single, adjudication, or the grid of one class.
    Column("lane", String(32), nullable=False),
    Column("client", String(64), nullable=False),
    Column("leased_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    UniqueConstraint("mask_id", "annotator_id"),
    one_of("mode", "single", "grid", "adjudication"),
    Index("ix_lease_annotator_id", "annotator_id"),
    Index("ix_lease_expires_at", "expires_at"),
    # Those that are still to be taken off their slots: the others stay for a day.
    Index("ix_lease_seated", "expires_at", sqlite_where=text("slot_id IS NOT NULL")),
    Index(
        "ix_lease_adjudication",
        "task_id",
        "mask_id",
        unique=True,
        sqlite_where=text("mode = 'adjudication'"),
    ),
)

# A mask whose answer is known. Retired, never changed: an edit retires one row and adds another.
gold = Table(
    "gold",
    metadata,
    row_id(),
    ref("task_id", "task"),
    ref("mask_id", "mask"),
    Column("outcome", String(13), nullable=False),
    ref("label_class_id", "label_class", nullable=True),
    Column("kind", String(10), nullable=False),
    Column("note", Text, nullable=False),
    Column("added_by", Text, nullable=False),
    Column("added_at", String(32), nullable=False),
    # The curator's adjudication that says the same of the mask.
    ref("decision_id", "decision"),
    Column("retired_at", String(32)),
    Column("retired_by", Text),
    Column("retired_note", Text),
    one_of("outcome", "class", "none_of_these", "bad_mask"),
    one_of("kind", "training", "evaluation"),
    CheckConstraint("(outcome = 'class') = (label_class_id IS NOT NULL)", name="class_named"),
    Index("ix_gold_mask_id", "mask_id"),
    Index(
        "ix_gold_active",
        "task_id",
        "mask_id",
        unique=True,
        sqlite_where=text("retired_at IS NULL"),
    ),
)

# Who was shown which gold mask. `excepted`: clicked out of a grid instead of decided.
gold_exposure = Table(
    "gold_exposure",
    metadata,
    ref("gold_id", "gold", key=True),
    ref("annotator_id", "annotator", key=True),
    Column("mode", String(6), nullable=False),
    Column("shown_at", String(32), nullable=False),
    ref("decision_id", "decision", nullable=True),
    Column("excepted", Integer, nullable=False, server_default="0"),
    one_of("mode", "single", "grid"),
    sqlite_with_rowid=False,
)

# A mask that an annotator clicked out of a grid, to be decided alone.
grid_exception = Table(
    "grid_exception",
    metadata,
    ref("task_id", "task", key=True),
    ref("mask_id", "mask", key=True),
    ref("annotator_id", "annotator", key=True),
    sqlite_with_rowid=False,
)

# What a model takes a mask for: groups the grid, and is never shown while a mask is decided alone.
suggestion = Table(
    "suggestion",
    metadata,
    ref("task_id", "task", key=True),
    ref("mask_id", "mask", key=True),
    ref("label_class_id", "label_class"),
    Column("score", Float),
    Column("source", Text, nullable=False),
    Index("ix_suggestion_label_class_id", "task_id", "label_class_id"),
    sqlite_with_rowid=False,
)

# A question or a remark of an annotator on a mask.
flag = Table(
    "flag",
    metadata,
    row_id(),
    Column("uuid", LargeBinary(16), nullable=False, unique=True),
    ref("task_id", "task"),
    ref("mask_id", "mask"),
    ref("annotator_id", "annotator"),
    Column("comment", Text, nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("closed_at", String(32)),
    Column("closed_by", Text),
)

decision = Table(
    "decision",
    metadata,
    row_id(),
    # Made by the client (or from an imported row): a retry inserts once.
    Column("uuid", LargeBinary(16), nullable=False, unique=True),
    ref("mask_id", "mask"),
    ref("task_id", "task", nullable=True),
    ref("mapping_revision_id", "mapping_revision", nullable=True),
    # The universal class the mask carried when it was shown.
    ref("shown_class_id", "label_class", nullable=True),
    Column("outcome", String(13), nullable=False),
    ref("label_class_id", "label_class", nullable=True),
    ref("annotator_id", "annotator"),
    Column("mode", String(12), nullable=False),
    Column("milliseconds", Integer),
    Column("decided_at", String(32)),
    ref("supersedes_id", "decision", nullable=True),
    # SHA-256 over the previous row's hash and this row's content.
    Column("row_hash", LargeBinary(32), nullable=False),
    one_of("outcome", "class", "none_of_these", "unsure", "bad_mask", "withdrawn"),
    one_of("mode", "single", "grid", "import", "adjudication"),
    CheckConstraint("(outcome = 'class') = (label_class_id IS NOT NULL)", name="class_named"),
    Index("ix_decision_mask_id", "mask_id"),
    Index("ix_decision_annotator_id", "annotator_id", "task_id"),
    Index(
        "ix_decision_supersedes_id",
        "supersedes_id",
        unique=True,
        sqlite_where=text("supersedes_id IS NOT NULL"),
    ),
)

resolution = Table(
    "resolution",
    metadata,
    ref("mask_id", "mask", key=True),
    Column("policy", Text, nullable=False),
    Column("outcome", String(9), nullable=False),
    ref("label_class_id", "label_class", nullable=True),
    Column("votes", Integer, nullable=False),
    Column("agreement", Float, nullable=False),
    Column("as_of_decision", Integer, nullable=False),
    # Of the outcome, under a policy that reckons one.
    Column("posterior", Float),
    one_of("outcome", "resolved", "contested", "ignored"),
    CheckConstraint("(outcome = 'resolved') = (label_class_id IS NOT NULL)", name="class_named"),
)
