"""What the manifest says, which hashes it shares over arms, and what `verify` finds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mseg_curate import __version__
from mseg_curate.core.mapping import Arm
from mseg_curate.decide import import_csv
from mseg_curate.errors import ExportError, InputError
from mseg_curate.export import write_export
from mseg_curate.files import hash_manifest
from mseg_curate.ingest import add_dataset
from mseg_curate.initialise import create_store
from mseg_curate.manifest import MANIFEST, read_manifest, verify_export
from mseg_curate.map_classes import import_mapping
from mseg_curate.resolve import resolve_masks
from mseg_curate.store import Store

Loop = Any  # the fixture of conftest.py

NOW = "2026-01-02T00:00:00+00:00"


def export(loop: Loop, out: Path, *, arm: Arm = Arm.RELABELED) -> dict[str, Any]:
    """Export one arm and return its manifest."""
    with Store.open(loop.store) as store:
        write_export(store, out, arm=arm, now=NOW)
    return read_manifest(out)


def decide_first(loop: Loop, word: str) -> None:
    """Let one annotator name the first animal of image `a`, and resolve."""
    path = loop.root / f"{word}.csv"
    path.write_text(
        "dataset,split,image,segment,source_class,outcome,annotator\n"
        f"coarse,train,a,0,animal,{word},anna\n",
        encoding="utf-8",
    )
    with Store.open(loop.store) as store:
        import_csv(store, path, now=NOW)
        resolve_masks(store)


@pytest.fixture
def folder(loop: Loop, tmp_path: Path) -> Path:
    """A complete export."""
    export(loop, tmp_path / "out")
    return tmp_path / "out"


def test_the_manifest_is_as_documented(loop: Loop, tmp_path: Path) -> None:
    """Every field of docs/export-format.md is there with the value that the loop implies."""
    found = export(loop, tmp_path / "out", arm=Arm.PARTIAL)
    documented = (Path(__file__).parents[1] / "docs/export-format.md").read_text(encoding="utf-8")
    example = json.loads(documented.split("```json")[1].split("```")[0])
    assert example.keys() <= found.keys()
    assert example["provenance"].keys() <= found["provenance"].keys()
    assert found["tool_version"] == __version__
    assert (found["arm"], found["label_dtype"], found["ignore_label"]) == ("partial", "uint8", 255)
    assert found["reachable"] == [0, 1, 2, 3, 4, 5]
    assert found["sets"] == [{"id": 7, "classes": [1, 2, 3]}, {"id": 8, "classes": [2, 3]}]
    assert [entry["name"] for entry in found["train"]] == ["coarse", "zoo"]
    assert found["train"][1]["splits"] == {
        "train": {"list": "train/zoo/train.tsv", "images": 2},
        "val": {"list": "train/zoo/val.tsv", "images": 1},
    }
    (test,) = found["test"]
    assert test["classes"] == ["floor", "pet", "bird", "nothing"]
    assert test["sources"] == [[0], [1, 2], [3], []]
    files = {
        path.relative_to(tmp_path / "out").as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file() and path.name != MANIFEST
    }
    assert found["files"] == files
    assert (tmp_path / "out/sets.tsv").read_text(encoding="utf-8") == (
        "id\tclasses\n7\t{cat, dog, bird}\n8\t{dog, bird}\n"
    )


def test_decisions_are_named_by_the_arm_that_uses_them(loop: Loop, tmp_path: Path) -> None:
    """`relabeled` names decision, hash and policy; the other arms name none, and have no sets unless partial."""
    decide_first(loop, "dog")
    for arm in Arm:
        found = export(loop, tmp_path / arm, arm=arm)
        provenance = found["provenance"]
        named = arm is Arm.RELABELED
        assert provenance["as_of_decision"] == (1 if named else None)
        assert (provenance["decision_hash"] is not None) == named
        assert provenance["policy"] == ("majority(min_agreement=0.5,quorum=1)" if named else None)
        assert bool(found["sets"]) == (arm is Arm.PARTIAL)


def test_arms_share_all_but_their_labels(loop: Loop, tmp_path: Path) -> None:
    """The arms of one store have one `shared_sha256` and four different `labels_sha256`."""
    decide_first(loop, "dog")
    found = [export(loop, tmp_path / arm, arm=arm) for arm in Arm]
    assert len({manifest["shared_sha256"] for manifest in found}) == 1
    assert len({manifest["labels_sha256"] for manifest in found}) == len(Arm)


def test_a_decision_changes_the_labels_alone(loop: Loop, tmp_path: Path) -> None:
    """Another decision gives other labels and the same shared hash."""
    before = export(loop, tmp_path / "before")
    decide_first(loop, "bird")
    after = export(loop, tmp_path / "after")
    assert before["shared_sha256"] == after["shared_sha256"]
    assert before["labels_sha256"] != after["labels_sha256"]


def change_photo(loop: Loop) -> None:
    """Paint a training photo."""
    path = loop.root / "coarse/images/a.png"
    with Image.open(path) as picture:
        pixels = np.asarray(picture) // 2
    Image.fromarray(pixels).save(path)


def change_test_label(loop: Loop) -> None:
    """Give one pixel of a test label map another class."""
    path = loop.root / "held_out/labels/b.png"
    with Image.open(path) as picture:
        pixels = np.array(picture)
    pixels[0, 0] = 10 if pixels[0, 0] != 10 else 20
    Image.fromarray(pixels).save(path)


def change_test_list(loop: Loop) -> None:
    """Leave an image out of the test split."""
    (loop.root / "held_out/test.txt").write_text("a\n", encoding="utf-8")


@pytest.mark.parametrize("change", [change_photo, change_test_label, change_test_list])
def test_other_data_is_not_comparable(
    build_loop: Callable[..., Loop], tmp_path: Path, change: Callable[[Loop], None]
) -> None:
    """A store of the same folders with another photo, test label map or test list has another shared hash."""
    loop = build_loop(tmp_path)
    before = export(loop, tmp_path / "before", arm=Arm.IGNORED)
    change(loop)
    path = tmp_path / "other.db"
    create_store(path, taxonomy_path=tmp_path / "taxonomy.tsv", now=NOW)
    with Store.open(path) as store:
        for name, role in (("coarse", "train"), ("zoo", "train"), ("held_out", "test")):
            add_dataset(store, name, folder=tmp_path / name, role=role, now=NOW)
            mapping = tmp_path / f"{name}.mapping.tsv"
            import_mapping(store, name, path=mapping, author="t", note="", now=NOW)
        write_export(store, tmp_path / "after", arm=Arm.IGNORED, now=NOW)
    after = read_manifest(tmp_path / "after")
    assert before["shared_sha256"] != after["shared_sha256"]
    assert before["labels_sha256"] == after["labels_sha256"]


@pytest.mark.parametrize(
    ("dataset", "old", "new"),
    [
        ("coarse", "blob\tignore\t\t", "blob\tkeep\trock\t"),
        ("zoo", "keep\tground\t\ncat\tkeep\tcat", "keep\tcat\t\ncat\tkeep\tground"),
        ("held_out", "{cat, dog}", "{cat}"),
    ],
    ids=["another class", "two classes exchanged", "test sources"],
)
def test_other_mappings_are_not_comparable(
    loop: Loop, tmp_path: Path, dataset: str, old: str, new: str
) -> None:
    """Arms of different mappings do not share a hash, even where the reachable classes are the same."""
    before = export(loop, tmp_path / "before", arm=Arm.PARTIAL)
    mapping = loop.root / f"{dataset}.mapping.tsv"
    text = mapping.read_text(encoding="utf-8")
    assert old in text
    mapping.write_text(text.replace(old, new), encoding="utf-8")
    with Store.open(loop.store) as store:
        import_mapping(store, dataset, path=mapping, author="t", note="", now=NOW)
    after = export(loop, tmp_path / "after", arm=Arm.PARTIAL)
    assert before["shared_sha256"] != after["shared_sha256"]


def test_verify_proves_a_complete_export(folder: Path) -> None:
    """A complete export passes, and says how many files it has."""
    found = verify_export(folder)
    assert found.arm == "relabeled"
    assert found.files == sum(p.is_file() for p in folder.rglob("*")) - 1


def test_verify_finds_every_difference(folder: Path) -> None:
    """A missing, a changed and an added file are all listed by their paths."""
    (folder / "train/coarse/labels/train/a.png").unlink()
    with (folder / "train/zoo/labels/val/c.png").open("ab") as file:
        file.write(b"x")
    (folder / "train/zoo/notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ExportError, match="3 of 14 files differ") as caught:
        verify_export(folder)
    assert caught.value.problems == (
        "train/coarse/labels/train/a.png: missing",
        "train/zoo/labels/val/c.png: changed",
        "train/zoo/notes.txt: not part of the export",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "not an export"),
        ("", "damaged manifest"),
        ("[]", "not a manifest of an export"),
        ('{"format": "another tool"}', "not a manifest of an export"),
        ('{"format": "mseg-curate export", "version": 99}', "another format version"),
        ('{"format": "mseg-curate export", "version": 2}', "damaged manifest: expected arm, files"),
    ],
)
def test_a_folder_that_is_no_export(tmp_path: Path, text: str | None, message: str) -> None:
    """A folder without a manifest of ours is refused with what is wrong with it."""
    if text is not None:
        (tmp_path / MANIFEST).write_text(text, encoding="utf-8")
    with pytest.raises(ExportError, match=message):
        verify_export(tmp_path)


def test_a_missing_and_an_unfinished_folder(tmp_path: Path) -> None:
    """A missing folder is named; an unfinished export asks for the same command again."""
    with pytest.raises(ExportError, match="no such folder"):
        verify_export(tmp_path / "nowhere")
    (tmp_path / ".journal.jsonl").write_text("{}\n", encoding="utf-8")
    with pytest.raises(ExportError, match=r"not finished.*run the same `mseg-curate export` again"):
        verify_export(tmp_path)


def test_a_manifest_cannot_point_outside(folder: Path) -> None:
    """A path that leaves the folder is refused instead of read."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    manifest["files"]["../secret"] = "0" * 64
    manifest["manifest_sha256"] = hash_manifest(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(InputError, match="path leaves its folder"):
        verify_export(folder)


@pytest.mark.parametrize("change", [{"reachable": [0]}, {"arm": "partial"}, {"files": {}}])
def test_a_changed_manifest_is_found(folder: Path, change: dict[str, object]) -> None:
    """A manifest that was edited does not verify, whatever its files are."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    (folder / MANIFEST).write_text(json.dumps(manifest | change), encoding="utf-8")
    with pytest.raises(ExportError, match="manifest was changed"):
        verify_export(folder)
