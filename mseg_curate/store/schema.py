"""The tables. Analysts read the views of `views.py`; these may change between schema versions."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from mseg_curate.store.schema_base import (
    APPLICATION_ID,
    SCHEMA_VERSION,
    metadata,
    one_of,
    ref,
    row_id,
)
from mseg_curate.store.schema_review import (
    annotator,
    annotator_event,
    chore,
    decision,
    flag,
    gold,
    gold_exposure,
    grid_exception,
    lease,
    resolution,
    suggestion,
    task,
    task_candidate,
    task_cursor,
    task_example,
    task_mask,
    task_slot,
)

__all__ = [
    "APPLICATION_ID",
    "SCHEMA_VERSION",
    "annotator",
    "annotator_event",
    "chore",
    "confusion",
    "dataset",
    "dataset_class",
    "decision",
    "export",
    "flag",
    "gold",
    "gold_exposure",
    "grid_exception",
    "image",
    "image_class_pixels",
    "label_class",
    "lease",
    "mapping",
    "mapping_class",
    "mapping_revision",
    "mask",
    "mask_geometry",
    "metadata",
    "metric",
    "resolution",
    "run",
    "suggestion",
    "task",
    "task_candidate",
    "task_cursor",
    "task_example",
    "task_mask",
    "task_slot",
    "taxonomy",
    "taxonomy_class",
]

# --- taxonomy and mappings ------------------------------------------------------------------------

taxonomy = Table(
    "taxonomy",
    metadata,
    row_id(),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("text", Text, nullable=False),
    Column("created_at", String(32), nullable=False),
)

# A universal class keeps its row through edits of the taxonomy: decisions point here.
label_class = Table(
    "label_class",
    metadata,
    row_id(),
    Column("name", Text, nullable=False, unique=True),
    Column("parent", Text, nullable=False),
    Column("synset", Text, nullable=False),
)

taxonomy_class = Table(
    "taxonomy_class",
    metadata,
    ref("taxonomy_id", "taxonomy", key=True),
    Column("universal_id", Integer, primary_key=True),
    ref("label_class_id", "label_class"),
    UniqueConstraint("taxonomy_id", "label_class_id"),
)

dataset = Table(
    "dataset",
    metadata,
    row_id(),
    Column("name", Text, nullable=False, unique=True),
    Column("role", String(8), nullable=False),
    # NULL until `dataset add` brings the pixels.
    Column("root", Text),
    Column("layout", Text),
    Column("fingerprint", String(64)),
    Column("added_at", String(32)),
    one_of("role", "train", "test"),
)

dataset_class = Table(
    "dataset_class",
    metadata,
    row_id(),
    ref("dataset_id", "dataset"),
    Column("class_id", Integer, nullable=False),
    Column("name", Text, nullable=False),
    UniqueConstraint("dataset_id", "class_id"),
    UniqueConstraint("dataset_id", "name"),
)

mapping_revision = Table(
    "mapping_revision",
    metadata,
    row_id(),
    ref("dataset_id", "dataset"),
    ref("taxonomy_id", "taxonomy"),
    Column("author", Text, nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("note", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
)

mapping = Table(
    "mapping",
    metadata,
    row_id(),
    ref("mapping_revision_id", "mapping_revision"),
    ref("dataset_class_id", "dataset_class"),
    Column("relation", String(8), nullable=False),
    UniqueConstraint("mapping_revision_id", "dataset_class_id"),
    one_of("relation", "keep", "merge", "split", "ignore", "test"),
)

# The universal classes of a mapping: the target, the default of a split, its candidates, the sources of a test class.
mapping_class = Table(
    "mapping_class",
    metadata,
    ref("mapping_id", "mapping", key=True),
    Column("kind", String(9), primary_key=True),
    Column("position", Integer, primary_key=True),
    ref("label_class_id", "label_class"),
    one_of("kind", "target", "candidate"),
)

# --- images and masks -----------------------------------------------------------------------------

image = Table(
    "image",
    metadata,
    row_id(),
    ref("dataset_id", "dataset"),
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
    ref("image_id", "image", key=True),
    ref("dataset_class_id", "dataset_class", key=True),
    Column("pixels", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

mask = Table(
    "mask",
    metadata,
    row_id(),
    ref("image_id", "image"),
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
    one_of("numbering", "native", "component", "unknown"),
)

mask_geometry = Table(
    "mask_geometry",
    metadata,
    ref("mask_id", "mask", key=True),
    Column("runs", LargeBinary, nullable=False),
)

# --- exports, runs and scores ---------------------------------------------------------------------

export = Table(
    "export",
    metadata,
    row_id(),
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
    row_id(),
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
    ref("run_id", "run", key=True),
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
    ref("run_id", "run", key=True),
    Column("dataset", Text, primary_key=True),
    Column("truth", Text, primary_key=True),
    Column("predicted", Text, primary_key=True),
    Column("pixels", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
