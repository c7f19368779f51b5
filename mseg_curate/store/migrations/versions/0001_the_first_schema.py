"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "annotator",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=9), nullable=False),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.CheckConstraint(
            "kind IN ('person', 'legacy', 'simulated')", name=op.f("ck_annotator_kind")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_annotator")),
        sa.UniqueConstraint("name", name=op.f("uq_annotator_name")),
    )
    op.create_table(
        "dataset",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.String(length=8), nullable=False),
        sa.Column("root", sa.Text(), nullable=True),
        sa.Column("layout", sa.Text(), nullable=True),
        sa.Column("fingerprint", sa.String(length=64), nullable=True),
        sa.Column("added_at", sa.String(length=32), nullable=True),
        sa.CheckConstraint("role IN ('train', 'test')", name=op.f("ck_dataset_role")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dataset")),
        sa.UniqueConstraint("name", name=op.f("uq_dataset_name")),
    )
    op.create_table(
        "export",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("arm", sa.String(length=12), nullable=False),
        sa.Column("as_of_decision", sa.Integer(), nullable=False),
        sa.Column("mapping_revision", sa.Integer(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("unresolved", sa.String(length=8), nullable=False),
        sa.Column("shared_sha256", sa.String(length=64), nullable=False),
        sa.Column("labels_sha256", sa.String(length=64), nullable=False),
        sa.Column("manifest_sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_export")),
        sa.UniqueConstraint("manifest_sha256", name=op.f("uq_export_manifest_sha256")),
    )
    op.create_table(
        "label_class",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("parent", sa.Text(), nullable=False),
        sa.Column("synset", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label_class")),
        sa.UniqueConstraint("name", name=op.f("uq_label_class_name")),
    )
    op.create_table(
        "run",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("experiment", sa.Text(), nullable=False),
        sa.Column("arm", sa.Text(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("config_sha256", sa.String(length=64), nullable=False),
        sa.Column("shared_sha256", sa.String(length=64), nullable=False),
        sa.Column("labels_sha256", sa.String(length=64), nullable=False),
        sa.Column("weights_sha256", sa.String(length=64), nullable=True),
        sa.Column("checkpoint", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("torch_version", sa.Text(), nullable=False),
        sa.Column("steps", sa.Integer(), nullable=False),
        sa.Column("train_s", sa.Float(), nullable=False),
        sa.Column("eval_s", sa.Float(), nullable=False),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
        sa.UniqueConstraint("experiment", "arm", "seed", name=op.f("uq_run_experiment_arm_seed")),
    )
    op.create_table(
        "taxonomy",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_taxonomy")),
        sa.UniqueConstraint("sha256", name=op.f("uq_taxonomy_sha256")),
    )
    op.create_table(
        "confusion",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("truth", sa.Text(), nullable=False),
        sa.Column("predicted", sa.Text(), nullable=False),
        sa.Column("pixels", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_confusion_run_id")),
        sa.PrimaryKeyConstraint(
            "run_id", "dataset", "truth", "predicted", name=op.f("pk_confusion")
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "dataset_class",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("class_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["dataset.id"], name=op.f("fk_dataset_class_dataset_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dataset_class")),
        sa.UniqueConstraint(
            "dataset_id", "class_id", name=op.f("uq_dataset_class_dataset_id_class_id")
        ),
        sa.UniqueConstraint("dataset_id", "name", name=op.f("uq_dataset_class_dataset_id_name")),
    )
    op.create_table(
        "image",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("split", sa.Text(), nullable=False),
        sa.Column("sequence", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("image_file", sa.Text(), nullable=True),
        sa.Column("label_file", sa.Text(), nullable=True),
        sa.Column("segment_file", sa.Text(), nullable=True),
        sa.Column("height", sa.Integer(), nullable=True),
        sa.Column("width", sa.Integer(), nullable=True),
        sa.Column("image_sha256", sa.String(length=64), nullable=True),
        sa.Column("label_sha256", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=op.f("fk_image_dataset_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_image")),
        sa.UniqueConstraint(
            "dataset_id",
            "split",
            "sequence",
            "name",
            name=op.f("uq_image_dataset_id_split_sequence_name"),
        ),
    )
    with op.batch_alter_table("image", schema=None) as batch_op:
        batch_op.create_index("ix_image_image_sha256", ["image_sha256"], unique=False)

    op.create_table(
        "mapping_revision",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("taxonomy_id", sa.Integer(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["dataset.id"], name=op.f("fk_mapping_revision_dataset_id")
        ),
        sa.ForeignKeyConstraint(
            ["taxonomy_id"], ["taxonomy.id"], name=op.f("fk_mapping_revision_taxonomy_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mapping_revision")),
    )
    op.create_table(
        "metric",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("class_name", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_metric_run_id")),
        sa.PrimaryKeyConstraint("run_id", "dataset", "class_name", "name", name=op.f("pk_metric")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "taxonomy_class",
        sa.Column("taxonomy_id", sa.Integer(), nullable=False),
        sa.Column("universal_id", sa.Integer(), nullable=False),
        sa.Column("label_class_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["label_class_id"], ["label_class.id"], name=op.f("fk_taxonomy_class_label_class_id")
        ),
        sa.ForeignKeyConstraint(
            ["taxonomy_id"], ["taxonomy.id"], name=op.f("fk_taxonomy_class_taxonomy_id")
        ),
        sa.PrimaryKeyConstraint("taxonomy_id", "universal_id", name=op.f("pk_taxonomy_class")),
        sa.UniqueConstraint(
            "taxonomy_id",
            "label_class_id",
            name=op.f("uq_taxonomy_class_taxonomy_id_label_class_id"),
        ),
    )
    op.create_table(
        "image_class_pixels",
        sa.Column("image_id", sa.Integer(), nullable=False),
        sa.Column("dataset_class_id", sa.Integer(), nullable=False),
        sa.Column("pixels", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_class_id"],
            ["dataset_class.id"],
            name=op.f("fk_image_class_pixels_dataset_class_id"),
        ),
        sa.ForeignKeyConstraint(
            ["image_id"], ["image.id"], name=op.f("fk_image_class_pixels_image_id")
        ),
        sa.PrimaryKeyConstraint("image_id", "dataset_class_id", name=op.f("pk_image_class_pixels")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "mapping",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("mapping_revision_id", sa.Integer(), nullable=False),
        sa.Column("dataset_class_id", sa.Integer(), nullable=False),
        sa.Column("relation", sa.String(length=8), nullable=False),
        sa.CheckConstraint(
            "relation IN ('keep', 'merge', 'split', 'ignore', 'test')",
            name=op.f("ck_mapping_relation"),
        ),
        sa.ForeignKeyConstraint(
            ["dataset_class_id"], ["dataset_class.id"], name=op.f("fk_mapping_dataset_class_id")
        ),
        sa.ForeignKeyConstraint(
            ["mapping_revision_id"],
            ["mapping_revision.id"],
            name=op.f("fk_mapping_mapping_revision_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mapping")),
        sa.UniqueConstraint(
            "mapping_revision_id",
            "dataset_class_id",
            name=op.f("uq_mapping_mapping_revision_id_dataset_class_id"),
        ),
    )
    op.create_table(
        "mask",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("image_id", sa.Integer(), nullable=False),
        sa.Column("source_class", sa.Text(), nullable=False),
        sa.Column("segment", sa.BigInteger(), nullable=False),
        sa.Column("numbering", sa.String(length=9), nullable=False),
        sa.Column("y0", sa.Integer(), nullable=True),
        sa.Column("x0", sa.Integer(), nullable=True),
        sa.Column("y1", sa.Integer(), nullable=True),
        sa.Column("x1", sa.Integer(), nullable=True),
        sa.Column("area_px", sa.Integer(), nullable=True),
        sa.CheckConstraint(
            "numbering IN ('native', 'component', 'unknown')", name=op.f("ck_mask_numbering")
        ),
        sa.ForeignKeyConstraint(["image_id"], ["image.id"], name=op.f("fk_mask_image_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mask")),
        sa.UniqueConstraint(
            "image_id",
            "segment",
            "source_class",
            "numbering",
            name=op.f("uq_mask_image_id_segment_source_class_numbering"),
        ),
    )
    op.create_table(
        "task",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("dataset_class_id", sa.Integer(), nullable=False),
        sa.Column("mapping_revision_id", sa.Integer(), nullable=False),
        sa.Column("redundancy", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=6), nullable=False),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.CheckConstraint("status IN ('open', 'paused', 'closed')", name=op.f("ck_task_status")),
        sa.CheckConstraint("redundancy >= 1", name=op.f("ck_task_redundancy")),
        sa.ForeignKeyConstraint(
            ["dataset_class_id"], ["dataset_class.id"], name=op.f("fk_task_dataset_class_id")
        ),
        sa.ForeignKeyConstraint(
            ["mapping_revision_id"],
            ["mapping_revision.id"],
            name=op.f("fk_task_mapping_revision_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task")),
        sa.UniqueConstraint("name", name=op.f("uq_task_name")),
    )
    op.create_table(
        "decision",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("uuid", sa.LargeBinary(length=16), nullable=False),
        sa.Column("mask_id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=True),
        sa.Column("mapping_revision_id", sa.Integer(), nullable=True),
        sa.Column("shown_class_id", sa.Integer(), nullable=True),
        sa.Column("outcome", sa.String(length=13), nullable=False),
        sa.Column("label_class_id", sa.Integer(), nullable=True),
        sa.Column("annotator_id", sa.Integer(), nullable=False),
        sa.Column("mode", sa.String(length=12), nullable=False),
        sa.Column("milliseconds", sa.Integer(), nullable=True),
        sa.Column("decided_at", sa.String(length=32), nullable=True),
        sa.Column("supersedes_id", sa.Integer(), nullable=True),
        sa.Column("row_hash", sa.LargeBinary(length=32), nullable=False),
        sa.CheckConstraint(
            "(outcome = 'class') = (label_class_id IS NOT NULL)",
            name=op.f("ck_decision_class_named"),
        ),
        sa.CheckConstraint(
            "mode IN ('single', 'grid', 'import', 'adjudication')", name=op.f("ck_decision_mode")
        ),
        sa.CheckConstraint(
            "outcome IN ('class', 'none_of_these', 'unsure', 'bad_mask')",
            name=op.f("ck_decision_outcome"),
        ),
        sa.ForeignKeyConstraint(
            ["annotator_id"], ["annotator.id"], name=op.f("fk_decision_annotator_id")
        ),
        sa.ForeignKeyConstraint(
            ["label_class_id"], ["label_class.id"], name=op.f("fk_decision_label_class_id")
        ),
        sa.ForeignKeyConstraint(
            ["mapping_revision_id"],
            ["mapping_revision.id"],
            name=op.f("fk_decision_mapping_revision_id"),
        ),
        sa.ForeignKeyConstraint(["mask_id"], ["mask.id"], name=op.f("fk_decision_mask_id")),
        sa.ForeignKeyConstraint(
            ["shown_class_id"], ["label_class.id"], name=op.f("fk_decision_shown_class_id")
        ),
        sa.ForeignKeyConstraint(
            ["supersedes_id"], ["decision.id"], name=op.f("fk_decision_supersedes_id")
        ),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_decision_task_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decision")),
        sa.UniqueConstraint("uuid", name=op.f("uq_decision_uuid")),
    )
    with op.batch_alter_table("decision", schema=None) as batch_op:
        batch_op.create_index("ix_decision_mask_id", ["mask_id"], unique=False)
        batch_op.create_index(
            "ix_decision_supersedes_id",
            ["supersedes_id"],
            unique=True,
            sqlite_where=sa.text("supersedes_id IS NOT NULL"),
        )

    op.create_table(
        "mapping_class",
        sa.Column("mapping_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=9), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("label_class_id", sa.Integer(), nullable=False),
        sa.CheckConstraint("kind IN ('target', 'candidate')", name=op.f("ck_mapping_class_kind")),
        sa.ForeignKeyConstraint(
            ["label_class_id"], ["label_class.id"], name=op.f("fk_mapping_class_label_class_id")
        ),
        sa.ForeignKeyConstraint(
            ["mapping_id"], ["mapping.id"], name=op.f("fk_mapping_class_mapping_id")
        ),
        sa.PrimaryKeyConstraint("mapping_id", "kind", "position", name=op.f("pk_mapping_class")),
    )
    op.create_table(
        "mask_geometry",
        sa.Column("mask_id", sa.Integer(), nullable=False),
        sa.Column("runs", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["mask_id"], ["mask.id"], name=op.f("fk_mask_geometry_mask_id")),
        sa.PrimaryKeyConstraint("mask_id", name=op.f("pk_mask_geometry")),
    )
    op.create_table(
        "resolution",
        sa.Column("mask_id", sa.Integer(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("outcome", sa.String(length=9), nullable=False),
        sa.Column("label_class_id", sa.Integer(), nullable=True),
        sa.Column("votes", sa.Integer(), nullable=False),
        sa.Column("agreement", sa.Float(), nullable=False),
        sa.Column("as_of_decision", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "(outcome = 'resolved') = (label_class_id IS NOT NULL)",
            name=op.f("ck_resolution_class_named"),
        ),
        sa.CheckConstraint(
            "outcome IN ('resolved', 'contested', 'ignored')", name=op.f("ck_resolution_outcome")
        ),
        sa.ForeignKeyConstraint(
            ["label_class_id"], ["label_class.id"], name=op.f("fk_resolution_label_class_id")
        ),
        sa.ForeignKeyConstraint(["mask_id"], ["mask.id"], name=op.f("fk_resolution_mask_id")),
        sa.PrimaryKeyConstraint("mask_id", name=op.f("pk_resolution")),
    )
    op.create_table(
        "task_candidate",
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("label_class_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["label_class_id"], ["label_class.id"], name=op.f("fk_task_candidate_label_class_id")
        ),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_task_candidate_task_id")),
        sa.PrimaryKeyConstraint("task_id", "position", name=op.f("pk_task_candidate")),
    )
    op.create_table(
        "task_mask",
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("mask_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["mask_id"], ["mask.id"], name=op.f("fk_task_mask_mask_id")),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_task_mask_task_id")),
        sa.PrimaryKeyConstraint("task_id", "mask_id", name=op.f("pk_task_mask")),
        sqlite_with_rowid=False,
    )
