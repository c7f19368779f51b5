"""Exports that leave a task out, and those of oracles."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mseg_curate.core.arms import Arm, ArmChoice, Unresolved
from mseg_curate.decide import import_csv
from mseg_curate.errors import DatasetError, InputError, StoreError
from mseg_curate.export import Export, write_export
from mseg_curate.export_plan import check_choices
from mseg_curate.ingest import add_dataset
from mseg_curate.manifest import read_manifest, verify_export
from mseg_curate.map_classes import import_mapping
from mseg_curate.resolve import resolve_masks
from mseg_curate.store import Store

Loop = Any  # the fixture of conftest.py

NOW = "2026-01-02T00:00:00+00:00"
BEASTS = ArmChoice(without="beasts")


def export(loop: Loop, out: Path, arm: Arm | ArmChoice, **options: Any) -> Export:
    """Export one arm."""
    with Store.open(loop.store) as store:
        return write_export(store, out, arm=arm, now=NOW, **options)


def read_ids(path: Path) -> npt.NDArray[np.generic]:
    """Decode a label map as stored."""
    with Image.open(path) as picture:
        return np.asarray(picture)


@pytest.fixture
def decided(loop: Loop) -> Loop:
    """The small loop in which most masks of both tasks are resolved: animals to dog, beasts to bird."""
    with closing(sqlite3.connect(loop.store)) as connection:
        masks = connection.execute(
            "SELECT d.name, i.split, i.sequence, i.name, m.segment, m.source_class FROM mask AS m "
            "JOIN image AS i ON i.id = m.image_id JOIN dataset AS d ON d.id = i.dataset_id ORDER BY m.id"
        ).fetchall()
    lines = ["dataset,split,sequence,image,segment,source_class,outcome,annotator"]
    for number, mask in enumerate(masks):
        word = {"animal": "dog", "beast": "bird"}[mask[-1]]
        if number % 4:
            lines.append(",".join(map(str, (*mask, word, "anna"))))
    path = loop.root / "votes.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with Store.open(loop.store) as store:
        import_csv(store, path, now=NOW)
        resolve_masks(store)
    return loop


@pytest.mark.parametrize("unresolved", list(Unresolved))
def test_without_a_task_its_masks_alone_differ(
    decided: Loop, tmp_path: Path, unresolved: Unresolved
) -> None:
    """All pixels of the task's class carry its default, all others what they carry in `relabeled`."""
    whole = export(decided, tmp_path / "whole", Arm.RELABELED, unresolved=unresolved)
    less = export(decided, tmp_path / "less", BEASTS, unresolved=unresolved)
    plain = export(decided, tmp_path / "plain", Arm.UNRELABELED)
    changed = 0
    for dataset in ("coarse", "zoo"):
        for key, source in decided.label_maps[dataset].items():
            name = f"train/{dataset}/labels/{decided.split_of(dataset, key)}/{key}.png"
            with_task, without, default = (
                read_ids(done.path / name) for done in (whole, less, plain)
            )
            beasts = (source == 300) if dataset == "zoo" else np.zeros(source.shape, np.bool_)
            np.testing.assert_array_equal(without[~beasts], with_task[~beasts])
            np.testing.assert_array_equal(without[beasts], default[beasts])
            changed += int((without != with_task).sum())
    assert changed > 0
    assert less.arm == "without-beasts"
    assert less.counts["withheld_px"] == sum(
        int((source == 300).sum()) for source in decided.label_maps["zoo"].values()
    )
    assert less.counts["decided_px"] < whole.counts["decided_px"]


def test_the_arms_without_a_task_share_all_else(decided: Loop, tmp_path: Path) -> None:
    """Hashes, provenance and tasks in the manifest are those of `relabeled`, apart from labels and name."""
    verify_export(export(decided, tmp_path / "whole", Arm.RELABELED).path)
    verify_export(export(decided, tmp_path / "less", BEASTS).path)
    whole, less = read_manifest(tmp_path / "whole"), read_manifest(tmp_path / "less")
    for key in ("shared_sha256", "tasks", "reachable", "train", "test", "sets"):
        assert whole[key] == less[key]
    assert whole["labels_sha256"] != less["labels_sha256"]
    assert whole["plan_sha256"] != less["plan_sha256"]
    assert less["arm"] == "without-beasts"
    for manifest, name in ((whole, None), (less, "beasts")):
        provenance = manifest["provenance"]
        assert isinstance(provenance, dict)
        assert provenance["as_of_decision"] > 0
        assert provenance["without_task"] == name


def test_without_its_only_task_nothing_is_relabeled(farm_store: Store, tmp_path: Path) -> None:
    """With one task for the one class to split, the arm without it has the labels of `unrelabeled`."""
    votes = tmp_path / "votes.csv"
    votes.write_text(
        "dataset,split,image,segment,source_class,outcome,annotator\n"
        "farm,train,a,0,animal,dog,anna\nfarm,train,b,0,animal,none_of_these,anna\n",
        encoding="utf-8",
    )
    import_csv(farm_store, votes, now=NOW)
    resolve_masks(farm_store)
    found = {
        choice.name: write_export(farm_store, tmp_path / choice.name, arm=choice, now=NOW)
        for choice in (ArmChoice(), ArmChoice(Arm.UNRELABELED), ArmChoice(without="kinds"))
    }
    assert found["without-kinds"].labels_sha256 == found["unrelabeled"].labels_sha256
    assert found["without-kinds"].labels_sha256 != found["relabeled"].labels_sha256


def test_the_manifest_names_tasks_and_reachable_classes(decided: Loop, tmp_path: Path) -> None:
    """Each split class comes with its task and candidates, each training dataset with what it can have."""
    found = read_manifest(export(decided, tmp_path / "out", Arm.IGNORED).path)
    assert found["tasks"] == [
        {"name": "animals", "dataset": "coarse", "class": "animal", "candidates": [1, 2, 3]},
        {"name": "beasts", "dataset": "zoo", "class": "beast", "candidates": [2, 3]},
    ]
    train = found["train"]
    assert isinstance(train, list)
    assert [row["reachable"] for row in train] == [[0, 1, 2, 3, 4], [0, 1, 2, 3, 5]]


def test_a_class_without_a_task_is_named_after_itself(
    farm: Path, small_store: Store, tmp_path: Path
) -> None:
    """A class to split that nobody made a task for is DATASET/CLASS in the manifest."""
    add_dataset(small_store, "farm", folder=farm, role="train", now=NOW)
    mapping = tmp_path / "farm.tsv"
    mapping.write_text(
        "class\trelation\tuniversal\tcandidates\nground\tkeep\tground\t\n"
        "animal\tsplit\tcat\t{cat, dog}\nsky\tkeep\tsky\t\n",
        encoding="utf-8",
    )
    import_mapping(small_store, "farm", path=mapping, author="t", note="", now=NOW)
    out = write_export(small_store, tmp_path / "out", arm=Arm.RELABELED, now=NOW).path
    (task,) = read_manifest(out)["tasks"]  # type: ignore[misc]
    assert task["name"] == "farm/animal"


# --- oracles ---------------------------------------------------------------------------------------


@pytest.fixture
def with_oracle(loop: Loop, write_folder: Callable[..., Path]) -> Loop:
    """The small loop with a second test dataset, which has a training split of its own."""
    label_maps = {
        key: np.roll(np.array([[9, 4, 4, 0], [9, 9, 4, 7]], np.uint8), number)
        for number, key in enumerate(("one", "two", "three"))
    }
    write_folder(
        loop.root / "exam",
        label_maps,
        classes={0: "void (ignore)", 4: "cat", 7: "dog", 9: "floor"},
        splits={"train": ("one", "two"), "test": ("three",)},
        seed=77,
    )
    mapping = loop.root / "exam.mapping.tsv"
    mapping.write_text(
        "class\trelation\tuniversal\tcandidates\ncat\ttest\tcat\t\ndog\ttest\tdog\t\n"
        "floor\ttest\tground\t\n",
        encoding="utf-8",
    )
    with Store.open(loop.store) as store:
        add_dataset(store, "exam", folder=loop.root / "exam", role="test", now=NOW)
        import_mapping(store, "exam", path=mapping, author="t", note="", now=NOW)
    loop.label_maps["exam"] = label_maps
    return loop


def test_an_oracle_goes_round(with_oracle: Loop, tmp_path: Path) -> None:
    """It trains on the split `train` in the test dataset's classes, is tested on the others, and verifies."""
    done = export(with_oracle, tmp_path / "oracle", ArmChoice(oracle="exam"))
    assert verify_export(done.path).arm == "oracle-exam"
    found: dict[str, Any] = read_manifest(done.path)
    assert found["universal_classes"] == ["cat", "dog", "floor"]
    assert found["reachable"] == [0, 1, 2]
    assert (found["sets"], found["tasks"], found["label_dtype"]) == ([], [], "uint8")
    (train,), (test,) = found["train"], found["test"]
    assert train["name"] == test["name"] == "exam"
    assert train["splits"] == {"train": {"list": "train/exam/train.tsv", "images": 2}}
    assert test["splits"] == {"test": {"list": "test/exam/test.tsv", "images": 1}}
    assert train["reachable"] == [0, 1, 2]
    assert (test["classes"], test["sources"]) == (["cat", "dog", "floor"], [[0], [1], [2]])
    index = {0: 255, 4: 0, 7: 1, 9: 2}
    for role, split, key in (
        ("train", "train", "one"), ("train", "train", "two"), ("test", "test", "three"),
    ):  # fmt: skip
        expected = np.vectorize(index.get)(with_oracle.label_maps["exam"][key])
        np.testing.assert_array_equal(
            read_ids(done.path / f"{role}/exam/labels/{split}/{key}.png"), expected
        )


def test_an_oracle_is_tested_as_the_arms_are(with_oracle: Loop, tmp_path: Path) -> None:
    """The test label maps, lists and classes of the oracle have the bytes of those of the arms."""
    arm = export(with_oracle, tmp_path / "arm", Arm.UNRELABELED).path
    oracle = export(with_oracle, tmp_path / "oracle", ArmChoice(oracle="exam")).path
    for name in ("labels/test/three.png", "test.tsv"):
        path = f"test/exam/{name}"
        assert (arm / path).read_bytes() == (oracle / path).read_bytes()


def test_an_oracle_can_hold_its_images(with_oracle: Loop, tmp_path: Path) -> None:
    """Copied images lie in both roles, and the copy verifies."""
    done = export(with_oracle, tmp_path / "oracle", ArmChoice(oracle="exam"), copy_images=True)
    assert verify_export(done.path).files > 0
    assert (done.path / "train/exam/images/train/one.png").is_file()
    assert (done.path / "test/exam/images/test/three.png").is_file()


def test_an_oracle_is_written_once(with_oracle: Loop, tmp_path: Path) -> None:
    """A second call writes nothing and stores the export once."""
    choice = ArmChoice(oracle="exam")
    assert export(with_oracle, tmp_path / "oracle", choice).written == 3
    assert export(with_oracle, tmp_path / "oracle", choice).written == 0
    with closing(sqlite3.connect(with_oracle.store)) as connection:
        rows = connection.execute("SELECT arm, mapping_revision, policy FROM export").fetchall()
    assert rows == [("oracle-exam", 0, "none")]


def test_an_oracle_that_saw_its_test_is_refused(
    with_oracle: Loop, tmp_path: Path, write_folder: Callable[..., Path]
) -> None:
    """A photo that is in the training split and in a tested one is named."""
    label_map = np.array([[9, 4], [4, 9]], np.uint8)
    folder = write_folder(
        with_oracle.root / "leaky",
        {"a": label_map, "b": label_map},
        classes={4: "cat", 9: "floor"},
        splits={"train": ("a",), "test": ("b",)},
    )
    (folder / "images/b.png").write_bytes((folder / "images/a.png").read_bytes())
    with Store.open(with_oracle.store) as store:
        add_dataset(store, "leaky", folder=folder, role="test", now=NOW)
    with pytest.raises(DatasetError, match="1 photos of leaky") as caught:
        export(with_oracle, tmp_path / "oracle", ArmChoice(oracle="leaky"))
    assert caught.value.problems == ("train/a is test/b",)
    assert not (tmp_path / "oracle").exists()


# --- what cannot be -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("without:cats", StoreError, "no task 'cats' in the store; known: animals, beasts"),
        ("oracle:cats", StoreError, "no dataset 'cats' in the store"),
        ("oracle:zoo", InputError, "oracle of dataset zoo: expected a test dataset, found train"),
        ("oracle:held_out", InputError, "expected train and others, found test"),
    ],
)
def test_arms_that_cannot_be(
    loop: Loop, tmp_path: Path, text: str, error: type[Exception], words: str
) -> None:
    """An unknown task, an unknown dataset, a training dataset and one without a training split are refused."""
    choice = ArmChoice.parse(text)
    with pytest.raises(error, match=words):
        export(loop, tmp_path / "out", choice)
    assert not (tmp_path / "out").exists()
    with (
        Store.open(loop.store) as store,
        store.reading() as connection,
        pytest.raises(error, match=words),
    ):
        check_choices(connection, [ArmChoice(), choice])


def test_a_task_of_a_dataset_that_is_not_exported(loop: Loop, tmp_path: Path) -> None:
    """Without its dataset, an arm without the task would be `relabeled` under another name."""
    with pytest.raises(InputError, match="splits no class 'beast' of dataset zoo"):
        export(loop, tmp_path / "out", BEASTS, datasets=["coarse", "held_out"])


def test_a_task_without_masks(loop: Loop, tmp_path: Path) -> None:
    """A task that lost its masks is refused."""
    with closing(sqlite3.connect(loop.store)) as connection:
        connection.execute("UPDATE task SET masks = 0 WHERE name = 'beasts'")
        connection.commit()
    with pytest.raises(InputError, match="task beasts has no masks"):
        export(loop, tmp_path / "out", BEASTS)


def test_an_oracle_of_several_datasets(with_oracle: Loop, tmp_path: Path) -> None:
    """An oracle takes no other dataset."""
    choice = ArmChoice(oracle="exam")
    assert export(with_oracle, tmp_path / "one", choice, datasets=["exam"]).written == 3
    with pytest.raises(InputError, match="an oracle is of one dataset: expected exam"):
        export(with_oracle, tmp_path / "two", choice, datasets=["exam", "zoo"])


def test_two_arms_of_one_name(loop: Loop) -> None:
    """Tasks whose names differ in a blank only would share a folder: both cannot be left out at once."""
    with closing(sqlite3.connect(loop.store)) as connection:
        connection.execute("UPDATE task SET name = 'a b' WHERE name = 'beasts'")
        connection.execute("UPDATE task SET name = 'a_b' WHERE name = 'animals'")
        connection.commit()
    both = [ArmChoice(without="a b"), ArmChoice(without="a_b")]
    with (
        Store.open(loop.store) as store,
        store.reading() as connection,
        pytest.raises(InputError, match="share a folder: found without-a_b"),
    ):
        check_choices(connection, both)
