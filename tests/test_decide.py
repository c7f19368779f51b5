"""Decisions in: whole or not at all, once, keyed by mask, and chained."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest

from mseg_curate.decide import (
    ImportedDecisions,
    import_csv,
    import_published,
    verify_decisions,
)
from mseg_curate.errors import DecisionError, StoreError
from mseg_curate.ingest import add_dataset
from mseg_curate.map_classes import export_mapping, import_mapping
from mseg_curate.store import Store
from mseg_curate.store.datasets import load_dataset
from mseg_curate.store.decisions import mask_ids
from mseg_curate.store.engine import run_query
from mseg_curate.store.masks import masks_of_task
from mseg_curate.tasks import make_task

NOW = "2026-01-02T03:04:05+00:00"
HEADER = "dataset,split,image,segment,source_class,outcome,annotator"
WriteDataset = Callable[..., Path]

INDEX = """dataset\tupstream\tsplit\toriginal_universal_class\trelabeled_universal_class\tfile
sunrgbd-37\tsunrgbd\ttrain\tchair_other\tarmchair\tchair/armchair.txt
sunrgbd-37\tsunrgbd\ttrain\tchair_other\tchair_other\tchair/chair.txt
sunrgbd-37\tsunrgbd\tval\tchair_other\tunlabeled\tchair/none.txt
"""
LISTS = {
    "armchair.txt": "img-000001_4.png\nimg-000002_4.png\n",
    "chair.txt": "img-000003_4.png\n",
    "none.txt": "img-000001_4.png\n",
}


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A folder of four published decisions on chairs: two change the class, one ignores the mask."""
    folder = tmp_path / "published"
    (folder / "relabeled_data" / "chair").mkdir(parents=True)
    (folder / "relabeled_index.tsv").write_text(INDEX)
    for name, text in LISTS.items():
        (folder / "relabeled_data" / "chair" / name).write_text(text)
    return folder


def count(store: Store, what: str = "decision") -> object:
    """Return how many rows a table or view has."""
    return run_query(store, f"SELECT COUNT(*) FROM {what}")[1][0][0]


def test_published_decisions_are_imported_once(mseg_store: Store, published: Path) -> None:
    """Published decisions come in before any pixel; a second import adds no row of any kind."""
    images = count(mseg_store, "image")
    done = import_published(mseg_store, published, now=NOW)
    assert (done.read, done.new) == (4, 4)
    again = import_published(mseg_store, published, now="2030-01-01T00:00:00+00:00")
    assert (again.read, again.new) == (4, 0)
    assert [count(mseg_store, t) for t in ("decision", "mask", "annotator")] == [4, 4, 1]
    assert (images, count(mseg_store, "image")) == (0, 4)
    assert verify_decisions(mseg_store) == 4


def test_published_decisions_say_what_they_change(mseg_store: Store, published: Path) -> None:
    """Class, source class, annotator and whether the class changes are as published."""
    import_published(mseg_store, published, now=NOW)
    _, rows = run_query(
        mseg_store,
        "SELECT split, image, segment, source_class, shown_class, outcome, decided_class, changes_class "
        "FROM v_decision ORDER BY decision_id",
    )
    assert rows == [
        ("train", "img-000001", 4, "chair", "chair_other", "class", "armchair", 1),
        ("train", "img-000002", 4, "chair", "chair_other", "class", "armchair", 1),
        ("train", "img-000003", 4, "chair", "chair_other", "class", "chair_other", 0),
        ("val", "img-000001", 4, "chair", "chair_other", "none_of_these", None, 1),
    ]
    _, rows = run_query(
        mseg_store,
        "SELECT DISTINCT annotator, annotator_kind, mode, decided_at, milliseconds FROM v_decision",
    )
    assert rows == [("mseg-published", "legacy", "import", None, None)]


def test_more_published_decisions_add_the_new_ones(mseg_store: Store, published: Path) -> None:
    """A list that grew adds its new lines alone."""
    import_published(mseg_store, published, now=NOW)
    path = published / "relabeled_data" / "chair" / "chair.txt"
    path.write_text(path.read_text() + "img-000009_4.png\n")
    done = import_published(mseg_store, published, now=NOW)
    assert (done.read, done.new) == (5, 1)
    assert verify_decisions(mseg_store) == 5


@pytest.mark.parametrize("pixels_first", [False, True])
def test_published_decisions_bind_to_pixels(
    mseg_store: Store,
    published: Path,
    write_dataset: WriteDataset,
    tmp_path: Path,
    pixels_first: bool,
) -> None:
    """Decisions and pixels may come in either order: the task's masks carry the decisions."""
    chair = 4
    root = write_dataset(
        tmp_path / "sun",
        {f"img-00000{n}": np.array([[chair, chair, 0]]) for n in (1, 2)},
        segments={f"img-00000{n}": np.array([[4, 4, 0]]) for n in (1, 2)},
        classes=None,
        lists={"train": "img-000001\nimg-000002\n"},
    )
    if not pixels_first:
        import_published(mseg_store, published, now=NOW)
    add_dataset(mseg_store, "sunrgbd-37", folder=root, role="train", now=NOW)
    if pixels_first:
        import_published(mseg_store, published, now=NOW)
    text = ["class\trelation\tuniversal\tcandidates"]
    _, rows = run_query(
        mseg_store,
        "SELECT class_name, relation, COALESCE(universal_class, '') FROM v_class_mapping "
        "WHERE dataset = 'sunrgbd-37'",
    )
    for name, relation, universal in rows:
        if name == "chair":
            text.append("chair\tsplit\tchair_other\t{chair_other, armchair}")
        else:
            text.append(f"{name}\t{relation}\t{universal}\t")
    (tmp_path / "m.tsv").write_text("\n".join(text) + "\n")
    import_mapping(
        mseg_store, "sunrgbd-37", path=tmp_path / "m.tsv", author="one", note="", now=NOW
    )
    made = make_task(mseg_store, "chairs", dataset="sunrgbd-37", source_class="chair", now=NOW)
    assert made.task.masks == 2
    _, rows = run_query(
        mseg_store,
        "SELECT image, area_px, decided_class FROM v_decision ORDER BY decision_id",
    )
    assert rows == [
        ("img-000001", 2, "armchair"),
        ("img-000002", 2, "armchair"),
        ("img-000003", None, "chair_other"),
        ("img-000001", None, None),
    ]


def test_a_bad_published_line_stores_nothing(mseg_store: Store, published: Path) -> None:
    """One line that is no picture name is named, and no other line is stored."""
    path = published / "relabeled_data" / "chair" / "none.txt"
    path.write_text("img-000001_4.png\nimg-x.png\n")
    with pytest.raises(DecisionError, match=r"none\.txt:2: malformed line"):
        import_published(mseg_store, published, now=NOW)
    assert [count(mseg_store, t) for t in ("decision", "mask", "image", "annotator")] == [0] * 4


def test_published_decisions_need_their_taxonomy(small_store: Store, published: Path) -> None:
    """A store of another taxonomy refuses them with one line."""
    with pytest.raises(DecisionError, match="unknown dataset taxonomy"):
        import_published(small_store, published, now=NOW)
    assert count(small_store) == 0


def test_a_folder_without_decisions_is_refused(mseg_store: Store, tmp_path: Path) -> None:
    """A folder that holds neither form is an error that says what was looked for."""
    with pytest.raises(DecisionError, match=r"expected relabeled_index\.tsv"):
        import_published(mseg_store, tmp_path, now=NOW)


@pytest.fixture
def import_rows(farm_store: Store, tmp_path: Path) -> Callable[..., tuple[int, int]]:
    """Import CSV rows into the store of the farm; returns (read, new)."""

    def run(*rows: str, header: str = HEADER, kind: str = "person") -> tuple[int, int]:
        path = tmp_path / "votes.csv"
        path.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
        done = import_csv(farm_store, path, kind=kind, now=NOW)
        return done.read, done.new

    return run


ImportRows = Callable[..., tuple[int, int]]
A0, A1, B0 = (
    f"farm,train,{image},{number},animal" for image, number in (("a", 0), ("a", 1), ("b", 0))
)


def test_a_csv_is_imported_once(farm_store: Store, import_rows: ImportRows) -> None:
    """Rows are stored with task, revision, shown class and annotator; a second import adds nothing."""
    rows = (f"{A0},dog,first", f"{A1},cat,first", f"{B0},bad_mask,second")
    assert import_rows(*rows) == (3, 3)
    assert import_rows(*rows) == (3, 0)
    assert import_rows(*rows, f"{B0},cow,first") == (4, 1)
    _, stored = run_query(
        farm_store,
        "SELECT image, segment, annotator, outcome, decided_class, task, shown_class, mapping_revision "
        "FROM v_decision ORDER BY decision_id",
    )
    assert stored == [
        ("a", 0, "first", "class", "dog", "kinds", "cat", 1),
        ("a", 1, "first", "class", "cat", "kinds", "cat", 1),
        ("b", 0, "second", "bad_mask", None, "kinds", "cat", 1),
        ("b", 0, "first", "class", "cow", "kinds", "cat", 1),
    ]
    assert verify_decisions(farm_store) == 4


def test_a_later_vote_supersedes(farm_store: Store, import_rows: ImportRows) -> None:
    """An annotator's later word on a mask takes the place of the earlier one, within a file and after it."""
    import_rows(f"{A0},dog,first", f"{A0},cat,second", f"{A0},cow,first")
    import_rows(f"{A0},unsure,first")
    _, rows = run_query(
        farm_store, "SELECT id, annotator_id, outcome, supersedes_id FROM decision ORDER BY id"
    )
    assert rows == [
        (1, 1, "class", None),
        (2, 2, "class", None),
        (3, 1, "class", 1),
        (4, 1, "unsure", 3),
    ]
    _, rows = run_query(
        farm_store, "SELECT annotator, decided_class FROM v_decision WHERE NOT superseded"
    )
    assert sorted(rows, key=str) == [("first", None), ("second", "cat")]


def test_a_mind_changed_back_counts(farm_store: Store, import_rows: ImportRows) -> None:
    """Cat, then dog, then cat again of one annotator in one file stands as cat, and again imports as nothing."""
    rows = [f"{A0},{name},first" for name in ("cat", "dog", "cat")]
    assert import_rows(*rows) == (3, 3)
    assert import_rows(*rows) == (3, 0)
    _, stored = run_query(farm_store, "SELECT decided_class FROM v_decision WHERE NOT superseded")
    assert stored == [("cat",)]


def test_a_retry_with_the_same_uuid_inserts_once(
    farm_store: Store, import_rows: ImportRows
) -> None:
    """A UUID of the client's own is kept, and the same one again adds nothing."""
    uuid = "5f0c7a52-1d3e-4b7a-9c55-2f6f4b0e8a11"
    header = HEADER + ",uuid,mode,milliseconds,decided_at"
    row = f"{A0},dog,first,{uuid},single,1200,2026-01-01T10:00:00Z"
    assert import_rows(row, header=header) == (1, 1)
    assert import_rows(row, header=header) == (1, 0)
    _, rows = run_query(farm_store, "SELECT uuid, mode, milliseconds, decided_at FROM decision")
    assert rows == [(UUID(uuid).bytes, "single", 1200, "2026-01-01T10:00:00+00:00")]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("fram,train,a,0,animal,dog,x", "line 2: dataset: unknown 'fram', known: farm"),
        (f"{A0},doge,x", "line 2: outcome: expected a universal class or "
         "bad_mask, none_of_these, unsure, withdrawn, found 'doge'"),
        ("farm,train,a,0,animl,dog,x", "line 2: source_class: dataset farm has no class 'animl'"),
        ("farm,train,a,7,animal,dog,x", "line 2: no mask 7 of class 'animal' in image 'a' of split "
         "'train'; `mseg-curate task show` lists the masks of a task"),
        ("farm,val,a,0,animal,dog,x", "line 2: no mask 0 of class 'animal' in image 'a' of split 'val'"),
        ("farm,train,a,0,sky,dog,x", "line 2: no mask of class 'sky' of dataset farm is known; tasks find "
         "masks: `mseg-curate task make 'NAME' --dataset 'farm' --class 'sky'`"),
    ],
)  # fmt: skip
def test_each_bad_row_is_named(
    farm_store: Store, import_rows: ImportRows, row: str, message: str
) -> None:
    """A row that is about nothing known is named with its line; nothing is stored."""
    with pytest.raises(DecisionError) as caught:
        import_rows(row, f"{A1},dog,first")
    assert f"votes.csv: {message}" in str(caught.value)
    assert "nothing was stored" in str(caught.value)
    assert (count(farm_store), count(farm_store, "annotator")) == (0, 0)


def test_all_bad_rows_are_listed(farm_store: Store, import_rows: ImportRows) -> None:
    """Several bad rows come in one error, each with its line."""
    with pytest.raises(DecisionError, match="3 bad decisions") as caught:
        import_rows(
            f"{A0},doge,x", f"{A1},dog,x", "fram,train,a,0,animal,dog,x", "farm,train,a,0,cat,dog,x"
        )
    assert [problem[:6] for problem in caught.value.problems] == ["line 2", "line 4", "line 5"]
    assert count(farm_store) == 0


def test_a_problem_of_many_rows_is_named_once(farm_store: Store, import_rows: ImportRows) -> None:
    """What is wrong with many rows alike is named once, with the first row and how many more there are."""
    strangers = [f"fram,train,a,{n},animal,dog,x" for n in range(30)]
    skies = [f"farm,train,a,{n},sky,dog,x" for n in range(4)]
    with pytest.raises(DecisionError, match="36 bad decisions") as caught:
        import_rows(*strangers, f"{A0},doge,x", f"{A1},doge,x", *skies)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "line 2 and 29 more",
        "line 32 and 1 more",
        "line 34 and 3 more",
    ]
    assert "`mseg-curate dataset add 'fram' FOLDER --role train`" in caught.value.problems[0]
    assert count(farm_store) == 0


def test_rows_without_an_outcome_are_passed_over(
    farm_store: Store, import_rows: ImportRows, tmp_path: Path
) -> None:
    """A sheet that is filled in by and by is imported as far as it is; what lost its outcome alone is a mistake."""
    assert import_rows(f"{A0},dog,first", f"{A1},,", "farm,train,b,0,animal,,first") == (1, 1)
    done = import_csv(farm_store, tmp_path / "votes.csv", now=NOW)
    assert done == ImportedDecisions(read=1, new=0, unanswered=2)
    assert count(farm_store) == 1
    with pytest.raises(DecisionError, match=":2, column outcome: empty cell"):
        import_rows(f"{A1},,first,2026-01-01T10:00:00Z", header=f"{HEADER},decided_at")


def test_an_annotator_of_another_kind_is_refused(
    farm_store: Store, import_rows: ImportRows
) -> None:
    """Simulated votes never mix with those of a person of the same name."""
    import_rows(f"{A0},dog,first")
    with pytest.raises(StoreError, match="'first' is stored as person, not simulated"):
        import_rows(f"{A1},dog,first", kind="simulated")
    assert count(farm_store) == 1


def test_decisions_may_come_before_their_pixels(mseg_store: Store, tmp_path: Path) -> None:
    """Rows about a declared dataset without pixels make their masks; its classes are checked all the same."""
    path = tmp_path / "votes.csv"
    path.write_text(f"{HEADER}\nsunrgbd-37,train,x,3,chair,armchair,first\n")
    assert import_csv(mseg_store, path, now=NOW).new == 1
    path.write_text(f"{HEADER}\nsunrgbd-37,train,x,3,chiar,armchair,first\n")
    with pytest.raises(DecisionError, match="sunrgbd-37 has no class 'chiar'"):
        import_csv(mseg_store, path, now=NOW)


def test_tampering_is_found(farm_store: Store, import_rows: ImportRows) -> None:
    """A decision that was changed behind our back is found by `decisions verify`."""
    import_rows(f"{A0},dog,first", f"{A1},cat,first")
    assert verify_decisions(farm_store) == 2
    with closing(sqlite3.connect(farm_store.path)) as connection:
        connection.execute("UPDATE decision SET label_class_id = label_class_id + 1 WHERE id = 1")
        connection.commit()
    with pytest.raises(StoreError, match="decision 1 or one before it was changed"):
        verify_decisions(farm_store)


PUBLISHED = {
    "ade20k-150": 24_683,
    "bdd": 3_197,
    "cityscapes-19": 2_363,
    "coco-panoptic-133": 158_707,
    "idd-39": 32_080,
    "mapillary-public65": 911,
    "sunrgbd-37": 4_472,
}


@pytest.mark.real_data
@pytest.mark.slow
def test_all_published_decisions(mseg_store: Store, shared_data: Path) -> None:
    """The 226,413 published decisions: per dataset, 99,276 changing the class, and twice as once."""
    done = import_published(mseg_store, shared_data / "mseg", now=NOW)
    again = import_published(mseg_store, shared_data / "mseg", now=NOW)
    assert (done.read, done.new, again.read, again.new) == (226_413, 226_413, 226_413, 0)
    _, rows = run_query(
        mseg_store, "SELECT dataset, COUNT(*) FROM v_decision GROUP BY dataset ORDER BY dataset"
    )
    assert rows == list(PUBLISHED.items())
    assert run_query(mseg_store, "SELECT SUM(changes_class) FROM v_decision")[1] == [(99_276,)]
    assert verify_decisions(mseg_store) == 226_413
    with mseg_store.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []


def test_an_outcome_that_is_no_candidate_is_refused(farm_store: Store, tmp_path: Path) -> None:
    """A decision for a class that the split does not offer would block the export later; it is refused at once."""
    votes = tmp_path / "votes.csv"
    votes.write_text(
        "dataset,split,image,segment,source_class,outcome,annotator\n"
        "farm,train,a,0,animal,sky,ann\n",
        encoding="utf-8",
    )
    with pytest.raises(DecisionError, match=r"line 2: outcome: expected a candidate of 'animal'"):
        import_csv(farm_store, votes, now=NOW)


def test_decisions_about_native_segments_never_bind_to_components(
    mseg_store: Store, write_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    """Published decisions name native segments; components of the same number are other masks."""
    with mseg_store.writing() as connection:
        idd = load_dataset(connection, "idd-39")
        native = mask_ids(
            connection, idd.id, keys=[("train", "", "a", 0, "rider")], numbering="native"
        )
    rider = idd.class_names.index("rider")
    classes = "id\tname\n" + "".join(f"{i}\t{name}\n" for i, name in idd.classes)
    root = write_dataset(
        tmp_path / "idd", {"a": [[rider, rider, 0]]}, classes=classes, lists={"train": "a\n"}
    )
    add_dataset(mseg_store, "idd-39", folder=root, role="train", now=NOW)
    mapping = tmp_path / "idd.tsv"
    text = (
        export_mapping(mseg_store, "idd-39")
        .replace(
            "rider\tmerge\tmotorcyclist\t", "rider\tsplit\tmotorcyclist\t{bicyclist, motorcyclist}"
        )
        .replace(
            "rider\tkeep\tmotorcyclist\t", "rider\tsplit\tmotorcyclist\t{bicyclist, motorcyclist}"
        )
    )
    mapping.write_text(text, encoding="utf-8")
    import_mapping(mseg_store, "idd-39", path=mapping, author="a", note="", now=NOW)
    made = make_task(mseg_store, "riders", dataset="idd-39", source_class="rider", now=NOW)
    with mseg_store.reading() as connection:
        asked = [stored.id for stored in masks_of_task(connection, made.task.id)]
    assert len(asked) == 1
    assert asked != native
