"""Exports against a naive reference, pixel by pixel, and as the same bytes every time."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mseg_curate.core.mapping import Arm, Unresolved
from mseg_curate.decide import import_csv
from mseg_curate.errors import (
    ExportError,
)
from mseg_curate.export import write_export
from mseg_curate.ingest import add_dataset
from mseg_curate.initialise import create_store
from mseg_curate.map_classes import import_mapping
from mseg_curate.resolve import resolve_masks
from mseg_curate.store import Store
from tests.naive_export import (
    ARMS,
    NOW,
    SPLITS,
    TEST_INDEX,
    BuildLoop,
    Loop,
    decide,
    draw_votes,
    export,
    manifest_of,
    naive_export,
    naive_segments,
    naive_verdict,
    read_ids,
    tree,
    write_votes,
)


@pytest.mark.parametrize("seed", range(3))
def test_label_maps_equal_a_naive_reference(
    build_loop: BuildLoop, tmp_path: Path, seed: int
) -> None:
    """In every arm and under every policy each pixel carries what the documentation says, and counts add up."""
    loop = build_loop(tmp_path, seed=seed, size_hw=(19 + seed, 24))
    votes = decide(loop, seed=seed)
    assert set(map(naive_verdict, votes.values())) == {None, "ignored", "cat", "dog", "bird"}
    for arm, unresolved in ARMS:
        done = export(loop, tmp_path / f"{arm}-{unresolved}", arm=arm, unresolved=unresolved)
        ignored = decided = pixels = 0
        for dataset in SPLITS:
            for key, source in loop.label_maps[dataset].items():
                split = loop.split_of(dataset, key)
                path = done.path / "train" / dataset / "labels" / split / f"{key}.png"
                found = read_ids(path)
                expected = naive_export(
                    loop, dataset, key, votes=votes, arm=arm, unresolved=unresolved
                )
                assert found.dtype == np.uint8
                np.testing.assert_array_equal(found, expected)
                ignored += int((expected == 255).sum())
                pixels += source.size
                segments = naive_segments(
                    source, SPLITS[dataset][1], loop.segments[dataset].get(key)
                )
                verdicts = [naive_verdict(votes[dataset, key, n]) for n in segments.values()]
                decided += sum(v not in (None, "ignored") for v in verdicts)
        assert done.counts["train_px"] == pixels
        assert done.counts["train_ignored_px"] == ignored
        assert done.counts.get("decided_px", 0) == (decided if arm is Arm.RELABELED else 0)


def test_test_label_maps_are_class_indices(loop: Loop, tmp_path: Path) -> None:
    """A test label map holds the indices of its own classes and 255, whatever the arm."""
    for arm in (Arm.RELABELED, Arm.PARTIAL):
        out = export(loop, tmp_path / arm, arm=arm).path
        for key, source in loop.label_maps["held_out"].items():
            found = read_ids(out / f"test/held_out/labels/test/{key}.png")
            expected = np.vectorize(TEST_INDEX.get)(source)
            np.testing.assert_array_equal(found, expected)
        assert (out / "test/held_out/classes.tsv").read_text(encoding="utf-8") == (
            "index\tid\tname\tuniversal\n0\t10\tfloor\t{ground}\n1\t20\tpet\t{cat, dog}\n"
            "2\t30\tbird\t{bird}\n3\t40\tnothing\t{}\n"
        )


def test_only_pixels_of_the_source_class_change(loop: Loop, tmp_path: Path) -> None:
    """A mask that covers other classes, too, paints the pixels of its source class alone."""
    votes = decide(loop)
    with closing(sqlite3.connect(loop.store)) as connection:
        mask_id, key = connection.execute(
            "SELECT m.id, i.name FROM mask m JOIN image i ON i.id = m.image_id "
            "JOIN resolution r ON r.mask_id = m.id JOIN label_class u ON u.id = r.label_class_id "
            "WHERE m.source_class = 'animal' AND u.name = 'bird' ORDER BY m.segment DESC"
        ).fetchone()
        label_map = loop.label_maps["coarse"][key]
        height, width = label_map.shape
        full = np.array([0, height * width], "<u4").tobytes()
        connection.execute(
            "UPDATE mask SET y0 = 0, x0 = 0, y1 = ?, x1 = ? WHERE id = ?", (height, width, mask_id)
        )
        connection.execute("UPDATE mask_geometry SET runs = ? WHERE mask_id = ?", (full, mask_id))
        connection.commit()
    out = export(loop, tmp_path / "out").path
    found = read_ids(out / f"train/coarse/labels/train/{key}.png")
    expected = naive_export(
        loop, "coarse", key, votes=votes, arm=Arm.RELABELED, unresolved=Unresolved.IGNORE
    )
    others = label_map != 2
    np.testing.assert_array_equal(found[others], expected[others])
    assert (found != expected).any(), "the grown mask reaches more animals"


def test_wide_label_maps(tmp_path: Path, write_folder: Callable[..., Path]) -> None:
    """255 classes and one set need 16 bits: label maps, ignore label and manifest say so in every arm."""
    names = [f"class{number}" for number in range(255)]
    (tmp_path / "taxonomy.tsv").write_text(
        "universal\n" + "\n".join(names) + "\n", encoding="utf-8"
    )
    label_map = np.array([[0, 1, 2, 3]], np.uint8)
    classes = {0: "ignore", 1: "low", 2: "high", 3: "mixed"}
    write_folder(tmp_path / "few", {"a": label_map}, classes=classes)
    (tmp_path / "few.tsv").write_text(
        "class\trelation\tuniversal\tcandidates\nlow\tkeep\tclass0\t\nhigh\tkeep\tclass254\t\n"
        "mixed\tsplit\tclass7\t{class7, class9}\n",
        encoding="utf-8",
    )
    expected = {"unrelabeled": 7, "ignored": 65535, "partial": 255, "relabeled": 65535}
    create_store(tmp_path / "s.db", taxonomy_path=tmp_path / "taxonomy.tsv", now=NOW)
    with Store.open(tmp_path / "s.db") as store:
        add_dataset(store, "few", folder=tmp_path / "few", role="train", now=NOW)
        import_mapping(store, "few", path=tmp_path / "few.tsv", author="t", note="", now=NOW)
        for arm, mixed in expected.items():
            out = tmp_path / arm
            write_export(store, out, arm=Arm(arm), now=NOW)
            found = read_ids(out / "train/few/labels/train/a.png")
            assert found.tolist() == [[65535, 0, 254, mixed]]
            assert manifest_of(out)["label_dtype"] == "uint16"
            assert manifest_of(out)["ignore_label"] == 65535
            assert manifest_of(out)["sets"] == (
                [{"id": 255, "classes": [7, 9]}] if arm == "partial" else []
            )


def test_rgb_coded_labels(tmp_path: Path, loop: Loop) -> None:
    """Labels that are colours become the same ids as labels that are numbers."""
    folder = tmp_path / "coloured"
    colours = {1: (9, 9, 9), 2: (200, 0, 7)}
    rgb = np.array([[colours[1], colours[2]], [colours[2], (0, 0, 0)]], np.uint8)
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
        Image.fromarray(rgb).save(folder / kind / "a.png")
    (folder / "classes.tsv").write_text(
        "id\tname\tcolour\n0\tignore\t#000000\n1\tfloor\t#090909\n2\tstone\t#c80007\n",
        encoding="utf-8",
    )
    mapping = tmp_path / "coloured.tsv"
    mapping.write_text(
        "class\trelation\tuniversal\tcandidates\nfloor\tkeep\tground\t\nstone\tkeep\trock\t\n",
        encoding="utf-8",
    )
    with Store.open(loop.store) as store:
        add_dataset(store, "coloured", folder=folder, role="train", now=NOW)
        import_mapping(store, "coloured", path=mapping, author="t", note="", now=NOW)
        out = tmp_path / "out"
        write_export(store, out, arm=Arm.IGNORED, now=NOW, datasets=["coloured"])
    found = read_ids(out / "train/coloured/labels/train/a.png")
    assert found.tolist() == [[0, 5], [5, 255]]
    assert [entry["name"] for entry in manifest_of(out)["train"]] == ["coloured"]


@pytest.mark.parametrize("copy_images", [False, True])
def test_two_exports_are_the_same_bytes(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copy_images: bool
) -> None:
    """Into another folder, at another time and with another number of threads: the same files, byte by byte."""
    decide(loop)
    first = export(loop, tmp_path / "one", copy_images=copy_images)
    monkeypatch.setattr("mseg_curate.progress.cpu_count", lambda: 1)
    with Store.open(loop.store) as store:
        second = write_export(
            store, tmp_path / "two", arm=Arm.RELABELED, now="2030-01-01", copy_images=copy_images
        )
    assert tree(first.path) == tree(second.path)
    assert first.manifest_sha256 == second.manifest_sha256


def test_lists_are_sorted_and_lead_to_the_files(loop: Loop, tmp_path: Path) -> None:
    """Every list is sorted by image id; its paths, sizes and the manifest's counts are those of the files."""
    for copy_images in (False, True):
        out = export(loop, tmp_path / f"{copy_images}", copy_images=copy_images).path
        manifest = manifest_of(out)
        for dataset in (*manifest["train"], *manifest["test"]):
            for listed in dataset["splits"].values():
                header, *lines = (out / listed["list"]).read_text(encoding="utf-8").splitlines()
                assert header == "image\tlabel\theight\twidth\timage_sha256"
                assert len(lines) == listed["images"]
                labels = [line.split("\t")[1] for line in lines]
                assert labels == sorted(labels)
                for image, label, height, width, digest in (line.split("\t") for line in lines):
                    root = Path(dataset["image_root"] or out)
                    assert hashlib.sha256((root / image).read_bytes()).hexdigest() == digest
                    assert (dataset["image_root"] is None) == copy_images
                    for path in (root / image, out / label):
                        with Image.open(path) as picture:
                            assert picture.size == (int(width), int(height))


def test_copied_photos_are_the_photos(loop: Loop, tmp_path: Path) -> None:
    """With `copy` the photos lie in the export, byte by byte, and the manifest hashes them."""
    out = export(loop, tmp_path / "out", copy_images=True).path
    copied = out / "train/zoo/images/train/pen/a.png"
    original = loop.root / "zoo/images/pen/a.png"
    assert copied.read_bytes() == original.read_bytes()
    digest = hashlib.sha256(original.read_bytes()).hexdigest()
    assert manifest_of(out)["files"]["train/zoo/images/train/pen/a.png"] == digest


def test_a_complete_export_is_left_alone(loop: Loop, tmp_path: Path) -> None:
    """A second call of the same export writes nothing and says what it kept."""
    out = tmp_path / "out"
    first = export(loop, out)
    before = {p: p.stat().st_mtime_ns for p in (out, *out.rglob("*"))}
    second = export(loop, out)
    assert {p: p.stat().st_mtime_ns for p in (out, *out.rglob("*"))} == before
    assert (first.written, first.kept, second.written, second.kept) == (8, 0, 0, 8)
    assert second.counts == first.counts


def test_new_decisions_need_a_new_folder(loop: Loop, tmp_path: Path) -> None:
    """After new decisions were resolved the old folder is refused in the arm that uses them, kept in the others."""
    for arm in Arm:
        export(loop, tmp_path / arm, arm=arm)
    decide(loop)
    with pytest.raises(ExportError, match="of other inputs or options"):
        export(loop, tmp_path / Arm.RELABELED)
    for arm in set(Arm) - {Arm.RELABELED}:
        assert export(loop, tmp_path / arm, arm=arm).written == 0


def test_newer_decisions_are_counted(loop: Loop, tmp_path: Path) -> None:
    """An export says as of which decision it is, and how many are newer."""
    votes = draw_votes(loop, seed=0)
    count = sum(map(len, votes.values()))
    with Store.open(loop.store) as store:
        import_csv(store, write_votes(tmp_path / "votes.csv", loop, votes), now=NOW)
        resolve_masks(store, as_of=10)
    done = export(loop, tmp_path / "out")
    assert (done.as_of_decision, done.newer_decisions) == (10, count - 10)
    assert manifest_of(done.path)["provenance"]["as_of_decision"] == 10


def test_a_folder_with_something_else_is_refused(loop: Loop, tmp_path: Path) -> None:
    """Nothing is written into a folder of somebody's files, nor over a file."""
    out = tmp_path / "photos"
    out.mkdir()
    (out / "holiday.txt").write_text("sun", encoding="utf-8")
    with pytest.raises(ExportError, match="the folder is not empty"):
        export(loop, out)
    assert tree(out) == {"holiday.txt": b"sun"}
    with pytest.raises(ExportError, match="is a file"):
        export(loop, out / "holiday.txt")
