"""The views of the analysts: rows worked out by hand on a small store."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from mseg_curate.annotators import set_role, sign_in_person
from mseg_curate.clock import epoch_of
from mseg_curate.decide import import_csv
from mseg_curate.flags import close_flag
from mseg_curate.gold import add_gold, retire_gold
from mseg_curate.map_classes import import_mapping
from mseg_curate.resolve import resolve_masks
from mseg_curate.review import Operation, apply_operations, claim_masks
from mseg_curate.store import Store
from mseg_curate.store.engine import run_query
from mseg_curate.store.exports import RunRow, save_export, save_run

NOW = "2026-01-02T03:04:05+00:00"
EPOCH = epoch_of(NOW)
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


# --- the review's views ----------------------------------------------------------------------------


class Always(Random):
    """A source of randomness that draws gold wherever there is some."""

    def random(self) -> float:
        """Return what is below every rate."""
        return 0.0


@pytest.fixture
def reviewed_store(farm_store: Store) -> Store:
    """The farm with gold on a/0 (dog) and a/1 (retired), both and b/0 decided as dog by anna, who flagged one."""
    store = farm_store
    with store.writing() as connection:
        connection.exec_driver_sql("UPDATE task SET redundancy = 2, max_redundancy = 2")
    sign_in_person(store, "carla", now=EPOCH)
    set_role(store, "carla", role="curator", by="root", now=EPOCH)
    masks = [("train", "", "a", 0, "dog"), ("train", "", "a", 1, "cat")]
    add_gold(store, "kinds", masks, kind="evaluation", note="n", by="carla", now=EPOCH)
    person = sign_in_person(store, "anna", now=EPOCH)
    items = claim_masks(
        store, person.id, task="kinds", count=3, client="tab", held=[], now=EPOCH, rng=Always(1)
    )
    operations = [Operation("flag", "f" * 32, items[2].lease, comment="odd")]
    operations += [
        Operation(
            "decide", f"{n:032x}", item.lease, outcome="class", class_name="dog", milliseconds=ms
        )
        for n, (item, ms) in enumerate(zip(items, (1000, 2000, 90_000), strict=True))
    ]
    operations.append(Operation("undo", "e" * 32, "d" * 32, of=f"{2:032x}"))
    results = apply_operations(store, person.id, operations, client="tab", now=EPOCH)
    assert {result.status for result in results} == {"stored"}
    retire_gold(
        store, "kinds", masks[1][:4], note="wrong", by="carla", now=EPOCH, answer_stands=False
    )
    return store


def test_withdrawn_decisions(reviewed_store: Store) -> None:
    """A decision that was taken back is superseded by one that says neither a class nor a change."""
    assert rows(
        reviewed_store,
        "SELECT annotator, decided_class, changes_class, mode, superseded FROM v_decision "
        "WHERE outcome = 'withdrawn' ORDER BY decision_id",
    ) == [("anna", None, None, "single", 0), ("carla", None, None, "adjudication", 0)]


def test_masks(reviewed_store: Store) -> None:
    """Each mask with its state in its task, decisions wanted, votes, and what it is resolved to."""
    resolve_masks(reviewed_store)
    query = (
        "SELECT image, segment, task, state, wanted, votes, answers, outcome, resolved_class FROM v_mask "
        "ORDER BY image, segment"
    )
    assert rows(reviewed_store, query) == [
        ("a", 0, "kinds", "adjudicated", 0, 1, 1, "resolved", "dog"),
        ("a", 1, "kinds", "open", 1, 1, 1, "resolved", "dog"),
        ("b", 0, "kinds", "open", 2, 0, 0, None, None),
    ]
    with reviewed_store.writing() as connection:
        for table in ("lease", "task_slot", "task_cursor", "task_mask"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
    assert [row[2:5] for row in rows(reviewed_store, query)] == [(None, None, 0)] * 3


def test_tasks(reviewed_store: Store) -> None:
    """A task with its masks by state, decisions so far and to come, gold and hours."""
    (row,) = rows(
        reviewed_store,
        "SELECT task, dataset, source_class, status, masks, open, settled, contested, adjudicated, decisions, "
        "decisions_to_come, gold, hours, median_s FROM v_task",
    )
    # Anna's two decisions stand, and carla's on the gold that is left; 1 s, 2 s, and a minute for the third.
    assert row[:12] == ("kinds", "farm", "animal", "open", 3, 2, 0, 0, 1, 3, 3, 1)
    assert row[12:] == (pytest.approx(63 / 3600), 2.0)


def test_annotators(reviewed_store: Store) -> None:
    """Annotators with what they did, how they did on gold, and what befell them last."""
    assert rows(
        reviewed_store,
        "SELECT annotator, role, status, decisions, gold_right, gold_answered, gold_shown, median_s, last_event, "
        "last_event_note FROM v_annotator ORDER BY annotator",
    ) == [
        ("anna", "annotator", "active", 2, 1, 1, 2, 2.0, "joined", ""),
        ("carla", "curator", "active", 1, 0, 0, 0, None, "role", "annotator → curator"),
    ]


def test_gold(reviewed_store: Store) -> None:
    """Gold, active and retired, with how often it was shown and answered rightly; its answers one by one."""
    assert rows(
        reviewed_store,
        "SELECT image, segment, kind, right_class, added_by, active, retired_by, retired_note, shown, answers, "
        "right_answers FROM v_gold ORDER BY gold_id",
    ) == [
        ("a", 0, "evaluation", "dog", "carla", 1, None, None, 1, 1, 1),
        ("a", 1, "evaluation", "cat", "carla", 0, "carla", "wrong", 1, 0, 0),
    ]
    query = (
        "SELECT segment, annotator, mode, decided_class, right_class, is_right FROM v_gold_answer "
        "ORDER BY segment"
    )
    assert rows(reviewed_store, query) == [(0, "anna", "single", "dog", "dog", 1)]
    again = [("train", "", "a", 1, "cow")]
    add_gold(reviewed_store, "kinds", again, kind="evaluation", note="", by="carla", now=EPOCH)
    assert rows(reviewed_store, query)[1] == (1, "anna", "single", "dog", "cow", 0)


def test_flags(reviewed_store: Store) -> None:
    """A flag with its mask and who made it; closing it says who and when."""
    query = "SELECT task, image, annotator, comment, closed, closed_by FROM v_flag"
    assert rows(reviewed_store, query) == [("kinds", "b", "anna", "odd", 0, None)]
    close_flag(reviewed_store, 1, by="carla", now=EPOCH)
    assert rows(reviewed_store, query)[0][4:] == (1, "carla")
