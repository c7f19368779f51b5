"""The review."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _make_tables()
    _widen_tables()
    _fill_queues()


def _make_tables() -> None:
    op.create_table(
        "annotator_event",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("annotator_id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=True),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("at", sa.String(length=32), nullable=False),
        sa.CheckConstraint(
            "kind IN ('joined', 'role', 'warned', 'paused', 'resumed', 'reopened')",
            name=op.f("ck_annotator_event_kind"),
        ),
        sa.ForeignKeyConstraint(
            ["annotator_id"], ["annotator.id"], name=op.f("fk_annotator_event_annotator_id")
        ),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_annotator_event_task_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_annotator_event")),
    )
    with op.batch_alter_table("annotator_event", schema=None) as batch_op:
        batch_op.create_index("ix_annotator_event_annotator_id", ["annotator_id"], unique=False)

    op.create_table(
        "flag",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("uuid", sa.LargeBinary(length=16), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("mask_id", sa.Integer(), nullable=False),
        sa.Column("annotator_id", sa.Integer(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.Column("closed_at", sa.String(length=32), nullable=True),
        sa.Column("closed_by", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["annotator_id"], ["annotator.id"], name=op.f("fk_flag_annotator_id")
        ),
        sa.ForeignKeyConstraint(["mask_id"], ["mask.id"], name=op.f("fk_flag_mask_id")),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_flag_task_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_flag")),
        sa.UniqueConstraint("uuid", name=op.f("uq_flag_uuid")),
    )
    op.create_table(
        "suggestion",
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("mask_id", sa.Integer(), nullable=False),
        sa.Column("label_class_id", sa.Integer(), nullable=False),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["label_class_id"], ["label_class.id"], name=op.f("fk_suggestion_label_class_id")
        ),
        sa.ForeignKeyConstraint(["mask_id"], ["mask.id"], name=op.f("fk_suggestion_mask_id")),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_suggestion_task_id")),
        sa.PrimaryKeyConstraint("task_id", "mask_id", name=op.f("pk_suggestion")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("suggestion", schema=None) as batch_op:
        batch_op.create_index(
            "ix_suggestion_label_class_id", ["task_id", "label_class_id"], unique=False
        )

    op.create_table(
        "grid_exception",
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("mask_id", sa.Integer(), nullable=False),
        sa.Column("annotator_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["annotator_id"], ["annotator.id"], name=op.f("fk_grid_exception_annotator_id")
        ),
        sa.ForeignKeyConstraint(["mask_id"], ["mask.id"], name=op.f("fk_grid_exception_mask_id")),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_grid_exception_task_id")),
        sa.PrimaryKeyConstraint(
            "task_id", "mask_id", "annotator_id", name=op.f("pk_grid_exception")
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "task_cursor",
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("annotator_id", sa.Integer(), nullable=False),
        sa.Column("lane", sa.String(length=32), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("rest_until", sa.Float(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["annotator_id"], ["annotator.id"], name=op.f("fk_task_cursor_annotator_id")
        ),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_task_cursor_task_id")),
        sa.PrimaryKeyConstraint("task_id", "annotator_id", "lane", name=op.f("pk_task_cursor")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "task_example",
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("mask_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["mask_id"], ["mask.id"], name=op.f("fk_task_example_mask_id")),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_task_example_task_id")),
        sa.PrimaryKeyConstraint("task_id", "position", "number", name=op.f("pk_task_example")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "gold",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("mask_id", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(length=13), nullable=False),
        sa.Column("label_class_id", sa.Integer(), nullable=True),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("added_by", sa.Text(), nullable=False),
        sa.Column("added_at", sa.String(length=32), nullable=False),
        sa.Column("decision_id", sa.Integer(), nullable=False),
        sa.Column("retired_at", sa.String(length=32), nullable=True),
        sa.Column("retired_by", sa.Text(), nullable=True),
        sa.Column("retired_note", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(outcome = 'class') = (label_class_id IS NOT NULL)", name=op.f("ck_gold_class_named")
        ),
        sa.CheckConstraint("kind IN ('training', 'evaluation')", name=op.f("ck_gold_kind")),
        sa.CheckConstraint(
            "outcome IN ('class', 'none_of_these', 'bad_mask')", name=op.f("ck_gold_outcome")
        ),
        sa.ForeignKeyConstraint(["decision_id"], ["decision.id"], name=op.f("fk_gold_decision_id")),
        sa.ForeignKeyConstraint(
            ["label_class_id"], ["label_class.id"], name=op.f("fk_gold_label_class_id")
        ),
        sa.ForeignKeyConstraint(["mask_id"], ["mask.id"], name=op.f("fk_gold_mask_id")),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_gold_task_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gold")),
    )
    with op.batch_alter_table("gold", schema=None) as batch_op:
        batch_op.create_index("ix_gold_mask_id", ["mask_id"], unique=False)
        batch_op.create_index(
            "ix_gold_active",
            ["task_id", "mask_id"],
            unique=True,
            sqlite_where=sa.text("retired_at IS NULL"),
        )

    op.create_table(
        "task_slot",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("mask_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("annotator_id", sa.Integer(), nullable=True),
        sa.Column("decision_id", sa.Integer(), nullable=True),
        sa.CheckConstraint(
            "(annotator_id IS NULL) = (decision_id IS NULL)", name=op.f("ck_task_slot_filled")
        ),
        sa.ForeignKeyConstraint(
            ["annotator_id"], ["annotator.id"], name=op.f("fk_task_slot_annotator_id")
        ),
        sa.ForeignKeyConstraint(
            ["decision_id"], ["decision.id"], name=op.f("fk_task_slot_decision_id")
        ),
        sa.ForeignKeyConstraint(["mask_id"], ["mask.id"], name=op.f("fk_task_slot_mask_id")),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_task_slot_task_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task_slot")),
        sa.UniqueConstraint(
            "task_id", "mask_id", "number", name=op.f("uq_task_slot_task_id_mask_id_number")
        ),
    )
    with op.batch_alter_table("task_slot", schema=None) as batch_op:
        batch_op.create_index(
            "ix_task_slot_once",
            ["mask_id", "task_id", "annotator_id"],
            unique=True,
            sqlite_where=sa.text("annotator_id IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_task_slot_open",
            ["task_id", "rank", "position", "number"],
            unique=False,
            sqlite_where=sa.text("decision_id IS NULL"),
        )

    op.create_table(
        "gold_exposure",
        sa.Column("gold_id", sa.Integer(), nullable=False),
        sa.Column("annotator_id", sa.Integer(), nullable=False),
        sa.Column("mode", sa.String(length=6), nullable=False),
        sa.Column("shown_at", sa.String(length=32), nullable=False),
        sa.Column("decision_id", sa.Integer(), nullable=True),
        sa.Column("excepted", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint("mode IN ('single', 'grid')", name=op.f("ck_gold_exposure_mode")),
        sa.ForeignKeyConstraint(
            ["annotator_id"], ["annotator.id"], name=op.f("fk_gold_exposure_annotator_id")
        ),
        sa.ForeignKeyConstraint(
            ["decision_id"], ["decision.id"], name=op.f("fk_gold_exposure_decision_id")
        ),
        sa.ForeignKeyConstraint(["gold_id"], ["gold.id"], name=op.f("fk_gold_exposure_gold_id")),
        sa.PrimaryKeyConstraint("gold_id", "annotator_id", name=op.f("pk_gold_exposure")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "lease",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("token", sa.LargeBinary(length=16), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("mask_id", sa.Integer(), nullable=False),
        sa.Column("annotator_id", sa.Integer(), nullable=False),
        sa.Column("slot_id", sa.Integer(), nullable=True),
        sa.Column("gold_id", sa.Integer(), nullable=True),
        sa.Column("mode", sa.String(length=12), nullable=False),
        sa.Column("lane", sa.String(length=32), nullable=False),
        sa.Column("client", sa.String(length=64), nullable=False),
        sa.Column("leased_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.CheckConstraint(
            "mode IN ('single', 'grid', 'adjudication')", name=op.f("ck_lease_mode")
        ),
        sa.ForeignKeyConstraint(
            ["annotator_id"], ["annotator.id"], name=op.f("fk_lease_annotator_id")
        ),
        sa.ForeignKeyConstraint(["gold_id"], ["gold.id"], name=op.f("fk_lease_gold_id")),
        sa.ForeignKeyConstraint(["mask_id"], ["mask.id"], name=op.f("fk_lease_mask_id")),
        sa.ForeignKeyConstraint(["slot_id"], ["task_slot.id"], name=op.f("fk_lease_slot_id")),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_lease_task_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lease")),
        sa.UniqueConstraint("mask_id", "annotator_id", name=op.f("uq_lease_mask_id_annotator_id")),
        sa.UniqueConstraint("slot_id", name=op.f("uq_lease_slot_id")),
        sa.UniqueConstraint("token", name=op.f("uq_lease_token")),
    )
    with op.batch_alter_table("lease", schema=None) as batch_op:
        batch_op.create_index(
            "ix_lease_adjudication",
            ["task_id", "mask_id"],
            unique=True,
            sqlite_where=sa.text("mode = 'adjudication'"),
        )
        batch_op.create_index("ix_lease_annotator_id", ["annotator_id"], unique=False)
        batch_op.create_index("ix_lease_expires_at", ["expires_at"], unique=False)


def _widen_tables() -> None:
    with op.batch_alter_table("annotator", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("role", sa.String(length=9), server_default="annotator", nullable=False)
        )
        batch_op.add_column(
            sa.Column("status", sa.String(length=6), server_default="active", nullable=False)
        )
        batch_op.add_column(sa.Column("login", sa.Text(), nullable=True))
        batch_op.create_unique_constraint(batch_op.f("uq_annotator_login"), ["login"])
        batch_op.create_check_constraint(
            batch_op.f("ck_annotator_role"), "role IN ('annotator', 'curator', 'admin')"
        )
        batch_op.create_check_constraint(
            batch_op.f("ck_annotator_status"), "status IN ('active', 'paused')"
        )

    with op.batch_alter_table("decision", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("ck_decision_outcome"), type_="check")
        batch_op.create_check_constraint(
            batch_op.f("ck_decision_outcome"),
            "outcome IN ('class', 'none_of_these', 'unsure', 'bad_mask', 'withdrawn')",
        )
        batch_op.create_index("ix_decision_annotator_id", ["annotator_id", "task_id"], unique=False)

    with op.batch_alter_table("resolution", schema=None) as batch_op:
        batch_op.add_column(sa.Column("posterior", sa.Float(), nullable=True))

    with op.batch_alter_table("task", schema=None) as batch_op:
        batch_op.add_column(sa.Column("masks", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(
            sa.Column("max_redundancy", sa.Integer(), server_default="1", nullable=False)
        )
        batch_op.add_column(sa.Column("priority", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(
            sa.Column(
                "policy",
                sa.Text(),
                server_default="majority(min_agreement=0.5,quorum=1)",
                nullable=False,
            )
        )
        batch_op.add_column(sa.Column("instructions", sa.Text(), server_default="", nullable=False))
        batch_op.add_column(
            sa.Column("lease_s", sa.Integer(), server_default="300", nullable=False)
        )
        batch_op.add_column(
            sa.Column("gold_rate", sa.Float(), server_default="0.1", nullable=False)
        )
        batch_op.add_column(sa.Column("gold_bar", sa.Float(), nullable=True))
        batch_op.add_column(
            sa.Column("gold_min", sa.Integer(), server_default="10", nullable=False)
        )
        batch_op.add_column(
            sa.Column("gold_cap", sa.Integer(), server_default="20", nullable=False)
        )
        batch_op.add_column(
            sa.Column("under_bar", sa.String(length=6), server_default="warn", nullable=False)
        )
        batch_op.create_check_constraint(
            batch_op.f("ck_task_under_bar"), "under_bar IN ('warn', 'pause', 'reopen')"
        )
        batch_op.create_check_constraint(
            batch_op.f("ck_task_gold_rate"), "gold_rate >= 0 AND gold_rate <= 1"
        )

    with op.batch_alter_table("task_candidate", schema=None) as batch_op:
        batch_op.add_column(sa.Column("definition", sa.Text(), server_default="", nullable=False))

    with op.batch_alter_table(
        "task_mask", schema=None, table_kwargs={"sqlite_with_rowid": False}
    ) as batch_op:
        batch_op.add_column(sa.Column("rank", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("position", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(
            sa.Column("status", sa.String(length=11), server_default="open", nullable=False)
        )
        batch_op.create_check_constraint(
            batch_op.f("ck_task_mask_status"),
            "status IN ('open', 'settled', 'contested', 'adjudicated')",
        )
        batch_op.create_index(
            "ix_task_mask_status", ["task_id", "status", "position"], unique=False
        )
        batch_op.create_index("ix_task_mask_mask_id", ["mask_id"], unique=False)


def _fill_queues() -> None:
    """Give tasks of the first schema the queue they had no need of: an order, and a slot per decision wanted."""
    op.execute(
        "UPDATE task SET max_redundancy = redundancy, "
        "masks = (SELECT COUNT(*) FROM task_mask WHERE task_mask.task_id = task.id)"
    )
    op.execute(
        "UPDATE task_mask SET position = shuffled.place FROM ("
        "SELECT task_id, mask_id, ROW_NUMBER() OVER (PARTITION BY task_id ORDER BY random()) - 1 AS place "
        "FROM task_mask) AS shuffled "
        "WHERE shuffled.task_id = task_mask.task_id AND shuffled.mask_id = task_mask.mask_id"
    )
    op.execute(
        "WITH RECURSIVE counted(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM counted "
        "WHERE n + 1 < (SELECT MAX(redundancy) FROM task)) "
        "INSERT INTO task_slot (task_id, mask_id, number, rank, position) "
        "SELECT m.task_id, m.mask_id, n, m.rank, m.position FROM task_mask AS m "
        "JOIN task AS t ON t.id = m.task_id JOIN counted ON n < t.redundancy"
    )
