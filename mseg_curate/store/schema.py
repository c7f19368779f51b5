"""The tables. Analysts read the views of `views.py`; these may change between schema versions."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

__all__ = ["APPLICATION_ID", "SCHEMA_VERSION", "metadata"]

SCHEMA_VERSION = 1
APPLICATION_ID = 0x4D534743
"""`MSGC`: tells our SQLite files from others."""

# Alembic's batch mode drops constraints without a name.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> Column[int]:
    return Column("id", Integer, primary_key=True)


def _ref(name: str, target: str, *, nullable: bool = False, key: bool = False) -> Column[int]:
    return Column(name, ForeignKey(f"{target}.id"), nullable=nullable, primary_key=key)


def _one_of(column: str, *values: str) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


# --- taxonomy and mappings ------------------------------------------------------------------------

taxonomy = Table(
    "taxonomy",
    metadata,
    _id(),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("text", Text, nullable=False),
    Column("created_at", String(32), nullable=False),
)

# A universal class keeps its row through edits of the taxonomy: decisions point here.
label_class = Table(
    "label_class",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    Column("parent", Text, nullable=False),
    Column("synset", Text, nullable=False),
)

taxonomy_class = Table(
    "taxonomy_class",
    metadata,
    _ref("taxonomy_id", "taxonomy", key=True),
    Column("universal_id", Integer, primary_key=True),
    _ref("label_class_id", "label_class"),
    UniqueConstraint("taxonomy_id", "label_class_id"),
)

dataset = Table(
    "dataset",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    Column("role", String(8), nullable=False),
    # NULL until `dataset add` brings the pixels.
    Column("root", Text),
    Column("layout", Text),
    Column("fingerprint", String(64)),
    Column("added_at", String(32)),
    _one_of("role", "train", "test"),
)

dataset_class = Table(
    "dataset_class",
    metadata,
    _id(),
    _ref("dataset_id", "dataset"),
    Column("class_id", Integer, nullable=False),
    Column("name", Text, nullable=False),
    UniqueConstraint("dataset_id", "class_id"),
    UniqueConstraint("dataset_id", "name"),
)

mapping_revision = Table(
    "mapping_revision",
    metadata,
    _id(),
    _ref("dataset_id", "dataset"),
    _ref("taxonomy_id", "taxonomy"),
    Column("author", Text, nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("note", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
)

mapping = Table(
    "mapping",
    metadata,
    _id(),
    _ref("mapping_revision_id", "mapping_revision"),
    _ref("dataset_class_id", "dataset_class"),
    Column("relation", String(8), nullable=False),
    UniqueConstraint("mapping_revision_id", "dataset_class_id"),
    _one_of("relation", "keep", "merge", "split", "ignore", "test"),
)

# The universal classes of a mapping: the target, the default of a split, its candidates, the sources of a test class.
mapping_class = Table(
    "mapping_class",
    metadata,
    _ref("mapping_id", "mapping", key=True),
    Column("kind", String(9), primary_key=True),
    Column("position", Integer, primary_key=True),
    _ref("label_class_id", "label_class"),
    _one_of("kind", "target", "candidate"),
)

# --- images and masks -----------------------------------------------------------------------------

image = Table(
    "image",
    metadata,
    _id(),
    _ref("dataset_id", "dataset"),
    Column("split", Text, nullable=False),
    Column("sequence", Text, nullable=False),
    Column("name", Text, nullable=False),
    # NULL while only imported decisions know the image.
    Column("image_file", Text),
    Column("label_file", Text),
    Column("segment_file", Text),
    Column("height", Integer),
    Column("width", Integer),
    Column("image_sha256", String(64)),
    Column("label_sha256", String(64)),
    UniqueConstraint("dataset_id", "split", "sequence", "name"),
    Index("ix_image_image_sha256", "image_sha256"),
)

image_class_pixels = Table(
    "image_class_pixels",
    metadata,
    _ref("image_id", "image", key=True),
    _ref("dataset_class_id", "dataset_class", key=True),
    Column("pixels", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

mask = Table(
    "mask",
    metadata,
    _id(),
    _ref("image_id", "image"),
    # '' while it is not known which class of the dataset an imported decision was about.
    Column("source_class", Text, nullable=False),
    # The native segment id, or the component's number within its image and class.
    Column("segment", BigInteger, nullable=False),
    # Which of the two; `unknown` for a decision of a CSV file that came before its pixels.
    Column("numbering", String(9), nullable=False),
    # NULL until the pixels are known.
    Column("y0", Integer),
    Column("x0", Integer),
    Column("y1", Integer),
    Column("x1", Integer),
    Column("area_px", Integer),
    UniqueConstraint("image_id", "segment", "source_class", "numbering"),
    _one_of("numbering", "native", "component", "unknown"),
)

mask_geometry = Table(
    "mask_geometry",
    metadata,
    _ref("mask_id", "mask", key=True),
    Column("runs", LargeBinary, nullable=False),
)

# --- tasks and decisions --------------------------------------------------------------------------

annotator = Table(
    "annotator",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    Column("kind", String(9), nullable=False),
    Column("created_at", String(32), nullable=False),
    _one_of("kind", "person", "legacy", "simulated"),
)

task = Table(
    "task",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    _ref("dataset_class_id", "dataset_class"),
    _ref("mapping_revision_id", "mapping_revision"),
    Column("redundancy", Integer, nullable=False),
    Column("status", String(6), nullable=False),
    Column("created_at", String(32), nullable=False),
    _one_of("status", "open", "paused", "closed"),
    CheckConstraint("redundancy >= 1", name="redundancy"),
)

task_candidate = Table(
    "task_candidate",
    metadata,
    _ref("task_id", "task", key=True),
    Column("position", Integer, primary_key=True),
    _ref("label_class_id", "label_class"),
)

task_mask = Table(
    "task_mask",
    metadata,
    _ref("task_id", "task", key=True),
    _ref("mask_id", "mask", key=True),
    sqlite_with_rowid=False,
)

decision = Table(
    "decision",
    metadata,
    _id(),
    # Made by the client (or from an imported row): a retry inserts once.
    Column("uuid", LargeBinary(16), nullable=False, unique=True),
    _ref("mask_id", "mask"),
    _ref("task_id", "task", nullable=True),
    _ref("mapping_revision_id", "mapping_revision", nullable=True),
    # The universal class the mask carried when it was shown.
    _ref("shown_class_id", "label_class", nullable=True),
    Column("outcome", String(13), nullable=False),
    _ref("label_class_id", "label_class", nullable=True),
    _ref("annotator_id", "annotator"),
    Column("mode", String(12), nullable=False),
    Column("milliseconds", Integer),
    Column("decided_at", String(32)),
    _ref("supersedes_id", "decision", nullable=True),
    # SHA-256 over the previous row's hash and this row's content.
    Column("row_hash", LargeBinary(32), nullable=False),
    _one_of("outcome", "class", "none_of_these", "unsure", "bad_mask"),
    _one_of("mode", "single", "grid", "import", "adjudication"),
    CheckConstraint("(outcome = 'class') = (label_class_id IS NOT NULL)", name="class_named"),
    Index("ix_decision_mask_id", "mask_id"),
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
    _ref("mask_id", "mask", key=True),
    Column("policy", Text, nullable=False),
    Column("outcome", String(9), nullable=False),
    _ref("label_class_id", "label_class", nullable=True),
    Column("votes", Integer, nullable=False),
    Column("agreement", Float, nullable=False),
    Column("as_of_decision", Integer, nullable=False),
    _one_of("outcome", "resolved", "contested", "ignored"),
    CheckConstraint("(outcome = 'resolved') = (label_class_id IS NOT NULL)", name="class_named"),
)

# --- exports, runs and scores ---------------------------------------------------------------------

export = Table(
    "export",
    metadata,
    _id(),
    Column("path", Text, nullable=False),
    Column("arm", String(12), nullable=False),
    Column("as_of_decision", Integer, nullable=False),
    Column("mapping_revision", Integer, nullable=False),
    Column("policy", Text, nullable=False),
    Column("unresolved", String(8), nullable=False),
    Column("shared_sha256", String(64), nullable=False),
    Column("labels_sha256", String(64), nullable=False),
    Column("manifest_sha256", String(64), nullable=False, unique=True),
    Column("created_at", String(32), nullable=False),
)

run = Table(
    "run",
    metadata,
    _id(),
    Column("experiment", Text, nullable=False),
    Column("arm", Text, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("config_sha256", String(64), nullable=False),
    Column("shared_sha256", String(64), nullable=False),
    Column("labels_sha256", String(64), nullable=False),
    Column("weights_sha256", String(64)),
    Column("checkpoint", Text, nullable=False),
    Column("device", Text, nullable=False),
    Column("torch_version", Text, nullable=False),
    Column("steps", Integer, nullable=False),
    Column("train_s", Float, nullable=False),
    Column("eval_s", Float, nullable=False),
    Column("created_at", String(32), nullable=False),
    UniqueConstraint("experiment", "arm", "seed"),
)

metric = Table(
    "metric",
    metadata,
    _ref("run_id", "run", key=True),
    # '' for a metric over all test datasets, or over all classes.
    Column("dataset", Text, primary_key=True),
    Column("class_name", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    # NULL where the metric is not defined: a class that never occurs has no IoU.
    Column("value", Float),
    sqlite_with_rowid=False,
)

confusion = Table(
    "confusion",
    metadata,
    _ref("run_id", "run", key=True),
    Column("dataset", Text, primary_key=True),
    Column("truth", Text, primary_key=True),
    Column("predicted", Text, primary_key=True),
    Column("pixels", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
