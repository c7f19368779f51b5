"""The views of the analysts: rows worked out by hand on a small store."""

from __future__ import annotations

from pathlib import Path

import pytest

from mseg_curate.decide import import_csv
from mseg_curate.map_classes import import_mapping
from mseg_curate.resolve import resolve_masks
from mseg_curate.store import Store
from mseg_curate.store.engine import run_query
from mseg_curate.store.exports import RunRow, save_export, save_run

NOW = "2026-01-02T03:04:05+00:00"
HEADER = "dataset,split,image,segment,source_class,outcome,annotator,decided_at\n"
VOTES = """farm,train,a,0,animal,dog,first,2026-01-01T10:00:00Z
farm,train,a,0,animal,dog,second,
farm,train,a,1,animal,cat,first,
farm,train,a,1,animal,none_of_these,second,
farm,train,b,0,animal,unsure,first,
farm,train,b,0,animal,bad_mask,first,
"""


def rows(store: Store, sql: str) -> list[tuple[object, ...]]:
    """Return the rows of a query."""
    return run_query(store, sql)[1]


@pytest.fixture
def voted_store(farm_store: Store, tmp_path: Path) -> Store:
    """The farm with six decisions, one of which supersedes another."""
    (tmp_path / "votes.csv").write_text(HEADER + VOTES)
    import_csv(farm_store, tmp_path / "votes.csv", now=NOW)
    return farm_store


def test_class_frequency(farm_store: Store) -> None:
    """Images and pixels per split and class, without ignored ids and classes that do not occur."""
    assert rows(
        farm_store,
        "SELECT dataset, role, split, class_id, class_name, images, pixels FROM v_class_frequency "
        "ORDER BY split, class_id",
    ) == [
        ("farm", "train", "train", 0, "ground", 2, 20),
        ("farm", "train", "train", 1, "animal", 2, 9),
        ("farm", "train", "train", 2, "sky", 2, 6),
        ("farm", "train", "val", 0, "ground", 1, 3),
        ("farm", "train", "val", 2, "sky", 1, 1),
    ]


def test_class_mapping(farm_store: Store, tmp_path: Path) -> None:
    """One row per universal class of the newest revision; ignored classes have one without a class."""
    (tmp_path / "m.tsv").write_text(
        "class\trelation\tuniversal\tcandidates\n"
        "ground\tkeep\tground\t\nanimal\tsplit\tdog\t{cat, dog}\nsky\tignore\t\t\n"
    )
    query = (
        "SELECT class_name, relation, kind, position, universal_class, universal_id, mapping_revision, "
        "author FROM v_class_mapping ORDER BY class_id, kind DESC, position"
    )
    assert len(rows(farm_store, query)) == 6
    import_mapping(farm_store, "farm", path=tmp_path / "m.tsv", author="second", note="", now=NOW)
    assert rows(farm_store, query) == [
        ("ground", "keep", "target", 0, "ground", 0, 2, "second"),
        ("animal", "split", "target", 0, "dog", 2, 2, "second"),
        ("animal", "split", "candidate", 0, "cat", 1, 2, "second"),
        ("animal", "split", "candidate", 1, "dog", 2, 2, "second"),
        ("sky", "ignore", None, None, None, None, 2, "second"),
    ]


def test_decision(voted_store: Store) -> None:
    """Each decision with its mask, what was shown, whether it changes the class, and what came of it."""
    assert rows(
        voted_store,
        "SELECT decision_id, split, image, segment, source_class, area_px, task, shown_class, outcome, "
        "decided_class, changes_class, annotator, mode, superseded FROM v_decision ORDER BY 1",
    ) == [
        (1, "train", "a", 0, "animal", 4, "kinds", "cat", "class", "dog", 1, "first", "import", 0),
        (2, "train", "a", 0, "animal", 4, "kinds", "cat", "class", "dog", 1, "second", "import", 0),
        (3, "train", "a", 1, "animal", 2, "kinds", "cat", "class", "cat", 0, "first", "import", 0),
        (4, "train", "a", 1, "animal", 2, "kinds", "cat", "none_of_these", None, 1, "second", "import", 0),
        (5, "train", "b", 0, "animal", 3, "kinds", "cat", "unsure", None, None, "first", "import", 1),
        (6, "train", "b", 0, "animal", 3, "kinds", "cat", "bad_mask", None, 1, "first", "import", 0),
    ]  # fmt: skip
    assert rows(
        voted_store,
        "SELECT DISTINCT dataset, sequence, annotator_kind, milliseconds, mapping_revision FROM v_decision",
    ) == [("farm", "", "person", None, 1)]
    assert rows(voted_store, "SELECT decided_at FROM v_decision WHERE decision_id < 3") == [
        ("2026-01-01T10:00:00+00:00",),
        (None,),
    ]


def test_resolution(voted_store: Store) -> None:
    """Each mask with decisions, what they come to, and under which policy."""
    resolve_masks(voted_store)
    assert rows(
        voted_store,
        "SELECT image, segment, source_class, area_px, outcome, resolved_class, votes, agreement, "
        "as_of_decision FROM v_resolution ORDER BY image, segment",
    ) == [
        ("a", 0, "animal", 4, "resolved", "dog", 2, 1.0, 6),
        ("a", 1, "animal", 2, "contested", None, 2, 0.5, 6),
        ("b", 0, "animal", 3, "ignored", None, 1, 1.0, 6),
    ]
    assert rows(
        voted_store, "SELECT DISTINCT dataset, split, sequence, policy FROM v_resolution"
    ) == [("farm", "train", "", "majority(min_agreement=0.5,quorum=1)")]


def save_small_export(store: Store, number: int, *, labels: str, as_of: int) -> None:
    """Store an export of which only the hashes matter."""
    manifest = {
        "arm": "relabeled",
        "provenance": {
            "as_of_decision": as_of,
            "mapping_revision": 1,
            "policy": "majority",
            "unresolved": "ignore",
        },
        "shared_sha256": "s",
        "labels_sha256": labels,
    }
    with store.writing() as connection:
        save_export(connection, path="x", manifest=manifest, sha256=f"{number:064}", now=NOW)


def save_small_run(store: Store, seed: int, *, labels: str, value: float | None = 0.5) -> None:
    """Store a run with one score and one cell of its confusion matrix."""
    row = RunRow(
        experiment="e",
        arm="relabeled",
        seed=seed,
        config_sha256="c",
        shared_sha256="s",
        labels_sha256=labels,
        weights_sha256=None,
        checkpoint="x",
        device="cpu",
        torch_version="2",
        steps=1,
        train_s=1.0,
        eval_s=1.0,
        metrics=[("zoo", "", "miou", value), ("zoo", "cat", "iou", None)],
        confusions=[("zoo", "cat", "dog", 5)],
    )
    with store.writing() as connection:
        save_run(connection, row, now=NOW)


def test_run_is_one_row_each(farm_store: Store) -> None:
    """Two exports with equal labels do not double their runs: the newest one's provenance is shown."""
    for number, (labels, as_of) in enumerate([("l", 1), ("l", 2), ("other", 3)]):
        save_small_export(farm_store, number, labels=labels, as_of=as_of)
    save_small_export(farm_store, 0, labels="l", as_of=1)
    for seed, labels in enumerate(["l", "l", "other", "unknown"]):
        save_small_run(farm_store, seed, labels=labels)
    assert rows(farm_store, "SELECT COUNT(*) FROM export") == [(3,)]
    assert rows(farm_store, "SELECT seed, as_of_decision, policy FROM v_run ORDER BY run_id") == [
        (0, 2, "majority"),
        (1, 2, "majority"),
        (2, 3, "majority"),
        (3, None, None),
    ]


def test_zero_shot_keeps_the_last_run(farm_store: Store) -> None:
    """A run that is saved again takes the place of the earlier one, with its scores."""
    save_small_run(farm_store, 0, labels="l", value=0.25)
    save_small_run(farm_store, 0, labels="l", value=0.75)
    assert rows(
        farm_store,
        "SELECT experiment, arm, seed, test_dataset, class_name, metric, value FROM v_zero_shot "
        "ORDER BY class_name",
    ) == [
        ("e", "relabeled", 0, "zoo", "", "miou", 0.75),
        ("e", "relabeled", 0, "zoo", "cat", "iou", None),
    ]
    assert rows(farm_store, "SELECT COUNT(*) FROM confusion") == [(1,)]
