"""Chores, and the class whose grid shows a mask."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _make_chores()
    for table in ("task_mask", "task_slot"):
        op.add_column(
            table, sa.Column("expected_id", sa.Integer(), server_default="0", nullable=False)
        )
    _fill_expected()
    op.create_index(
        "ix_task_slot_expected",
        "task_slot",
        ["task_id", "expected_id", "rank", "position", "number"],
        unique=False,
        sqlite_where=sa.text("decision_id IS NULL"),
    )
    op.create_index(
        "ix_lease_seated",
        "lease",
        ["expires_at"],
        unique=False,
        sqlite_where=sa.text("slot_id IS NOT NULL"),
    )


def _make_chores() -> None:
    op.create_table(
        "chore",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=9), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=True),
        sa.Column("annotator_id", sa.Integer(), nullable=True),
        sa.Column("done_to", sa.Integer(), nullable=False),
        sa.Column("last_id", sa.Integer(), nullable=False),
        sa.Column("withdrawn", sa.Integer(), server_default="0", nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.String(length=32), nullable=False),
        sa.Column("touched_at", sa.Float(), server_default="0", nullable=False),
        sa.Column("finished_at", sa.String(length=32), nullable=True),
        sa.CheckConstraint("kind IN ('task', 'decisions', 'reopen')", name=op.f("ck_chore_kind")),
        sa.ForeignKeyConstraint(
            ["annotator_id"], ["annotator.id"], name=op.f("fk_chore_annotator_id")
        ),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_chore_task_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chore")),
    )
    op.create_index(
        "ix_chore_unfinished",
        "chore",
        ["id"],
        unique=False,
        sqlite_where=sa.text("finished_at IS NULL"),
    )


def _fill_expected() -> None:
    """A mask is in the grid of the class that is suggested for it, else of its task's default."""
    op.execute(
        "UPDATE task_mask SET expected_id = COALESCE("
        "(SELECT g.label_class_id FROM suggestion AS g WHERE g.task_id = task_mask.task_id "
        " AND g.mask_id = task_mask.mask_id), "
        "(SELECT k.label_class_id FROM task AS t JOIN mapping AS m "
        " ON m.mapping_revision_id = t.mapping_revision_id AND m.dataset_class_id = t.dataset_class_id "
        " JOIN mapping_class AS k ON k.mapping_id = m.id AND k.kind = 'target' "
        " WHERE t.id = task_mask.task_id ORDER BY k.position LIMIT 1), "
        "(SELECT c.label_class_id FROM task_candidate AS c WHERE c.task_id = task_mask.task_id "
        " ORDER BY c.position LIMIT 1), 0)"
    )
    op.execute(
        "UPDATE task_slot SET expected_id = (SELECT m.expected_id FROM task_mask AS m "
        "WHERE m.task_id = task_slot.task_id AND m.mask_id = task_slot.mask_id)"
    )
