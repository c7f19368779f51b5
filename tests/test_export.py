"""Exports against a naive reference, pixel by pixel, and what stops, resumes and refuses them."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mseg_curate.core.mapping import Arm, Unresolved
from mseg_curate.decide import import_csv
from mseg_curate.errors import (
    DatasetError,
    ExportError,
    InputError,
    MappingError,
    OutputError,
    StoreError,
)
from mseg_curate.export import JOURNAL, Export, write_export
from mseg_curate.files import write_bytes_atomically
from mseg_curate.ingest import add_dataset
from mseg_curate.initialise import create_store
from mseg_curate.manifest import MANIFEST, verify_export
from mseg_curate.map_classes import import_mapping
from mseg_curate.resolve import resolve_masks
from mseg_curate.store import Store

Ids = npt.NDArray[np.uint16]
Loop = Any  # the fixture of conftest.py
BuildLoop = Callable[..., Loop]

NOW = "2026-01-02T00:00:00+00:00"
UNIVERSAL = ("ground", "cat", "dog", "bird", "tree", "rock", "unseen")
# What each training class becomes; a split is (default, candidates), ignore is None.
NAIVE: Mapping[str, Mapping[int, str | tuple[str, set[str]] | None]] = {
    "coarse": {
        0: None, 1: "ground", 2: ("cat", {"cat", "dog", "bird"}), 3: "tree", 4: "tree", 5: None,
    },
    "zoo": {3: "ground", 7: "cat", 9: "rock", 255: None, 300: ("dog", {"dog", "bird"})},
}  # fmt: skip
SETS = {frozenset({"cat", "dog", "bird"}): 7, frozenset({"dog", "bird"}): 8}
TEST_INDEX = {0: 255, 10: 0, 20: 1, 30: 2, 40: 3}
SPLITS = {"coarse": ("animal", 2), "zoo": ("beast", 300)}
ARMS = [
    *((Arm.RELABELED, unresolved) for unresolved in Unresolved),
    *((arm, Unresolved.IGNORE) for arm in (Arm.UNRELABELED, Arm.IGNORED, Arm.PARTIAL)),
]


def naive_segments(
    label_map: Ids, class_id: int, segments: Ids | None
) -> dict[tuple[int, int], int]:
    """Give every pixel of a class its segment: the native id, or a flood fill counted in row-major order."""
    found: dict[tuple[int, int], int] = {}
    count = 0
    height, width = label_map.shape
    for pixel in np.ndindex(height, width):
        if label_map[pixel] != class_id or pixel in found:
            continue
        if segments is not None:
            found[pixel] = int(segments[pixel])
            continue
        heap = [pixel]
        found[pixel] = count
        while heap:
            row, column = heap.pop()
            for y in range(max(0, row - 1), min(height, row + 2)):
                for x in range(max(0, column - 1), min(width, column + 2)):
                    if label_map[y, x] == class_id and (y, x) not in found:
                        found[y, x] = count
                        heap.append((y, x))
        count += 1
    return found


Votes = dict[tuple[str, str, int], list[str]]


def draw_votes(loop: Loop, *, seed: int) -> Votes:
    """Let none to four annotators, who err, name a random truth of every mask."""
    rng = np.random.default_rng(seed)
    votes: Votes = {}
    for dataset, (_, class_id) in SPLITS.items():
        words = ["cat", "dog", "bird"] if dataset == "coarse" else ["dog", "bird"]
        words += ["none_of_these", "unsure", "bad_mask"]
        for key, label_map in loop.label_maps[dataset].items():
            segments = loop.segments[dataset].get(key)
            for number in sorted(set(naive_segments(label_map, class_id, segments).values())):
                # Most annotators agree, so that every outcome comes up, ties and silence among them.
                true = rng.choice(words)
                said = np.where(rng.random(4) < 0.6, true, rng.choice(words, 4))
                votes[dataset, key, number] = said[: rng.integers(0, 5)].tolist()
    return votes


def write_votes(path: Path, loop: Loop, votes: Votes) -> Path:
    """Write votes as a decisions file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            [
                "dataset",
                "split",
                "sequence",
                "image",
                "segment",
                "source_class",
                "outcome",
                "annotator",
            ]
        )
        for (dataset, key, number), words in votes.items():
            sequence, _, image = key.rpartition("/")
            split = loop.split_of(dataset, key)
            for person, word in enumerate(words):
                row = (
                    dataset,
                    split,
                    sequence,
                    image,
                    number,
                    SPLITS[dataset][0],
                    word,
                    f"p{person}",
                )
                writer.writerow(row)
    return path


def decide(loop: Loop, *, seed: int = 0) -> Votes:
    """Draw votes, import them, and resolve."""
    votes = draw_votes(loop, seed=seed)
    with Store.open(loop.store) as store:
        import_csv(store, write_votes(loop.root / "votes.csv", loop, votes), now=NOW)
        resolve_masks(store)
    return votes


def naive_verdict(words: list[str]) -> str | None:
    """Return the class that most annotators named, `ignored`, or None where nothing is resolved."""
    counts = Counter(words)
    if not counts:
        return None
    word, best = counts.most_common(1)[0]
    if list(counts.values()).count(best) > 1 or best < len(words) / 2 or word == "unsure":
        return None
    return "ignored" if word in ("none_of_these", "bad_mask") else word


def naive_export(
    loop: Loop, dataset: str, key: str, *, votes: Votes, arm: Arm, unresolved: Unresolved
) -> Ids:
    """Compute an exported training label map pixel by pixel, from the sentences of the documentation."""
    label_map: Ids = loop.label_maps[dataset][key]
    segment_of = naive_segments(label_map, SPLITS[dataset][1], loop.segments[dataset].get(key))
    out = np.empty_like(label_map)
    for pixel, class_id in np.ndenumerate(label_map):
        meaning = NAIVE[dataset][int(class_id)]
        if meaning is None:
            out[pixel] = 255
        elif isinstance(meaning, str):
            out[pixel] = UNIVERSAL.index(meaning)
        else:
            default, candidates = meaning
            fates = {
                Arm.UNRELABELED: UNIVERSAL.index(default),
                Arm.IGNORED: 255,
                Arm.PARTIAL: SETS[frozenset(candidates)],
            }
            policies = {
                Unresolved.DEFAULT: UNIVERSAL.index(default),
                Unresolved.IGNORE: 255,
                Unresolved.SET: SETS[frozenset(candidates)],
            }
            verdict = naive_verdict(votes[dataset, key, segment_of[pixel]])
            if arm is not Arm.RELABELED:
                out[pixel] = fates[arm]
            elif verdict is None:
                out[pixel] = policies[unresolved]
            else:
                out[pixel] = 255 if verdict == "ignored" else UNIVERSAL.index(verdict)
    return out


def export(loop: Loop, out: Path, *, arm: Arm = Arm.RELABELED, **options: Any) -> Export:
    """Export from the store of a loop."""
    with Store.open(loop.store) as store:
        return write_export(store, out, arm=arm, now=NOW, **options)


def tree(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder with their bytes."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def read_ids(path: Path) -> npt.NDArray[np.generic]:
    """Decode a label map as stored."""
    with Image.open(path) as picture:
        return np.asarray(picture)


def manifest_of(folder: Path) -> dict[str, Any]:
    """Read the manifest of an export."""
    read: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return read


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


@pytest.mark.parametrize(
    "options",
    [
        {"arm": Arm.PARTIAL},
        {"copy_images": True},
        {"unresolved": Unresolved.SET},
        {"datasets": ["zoo"]},
    ],
    ids=lambda options: next(iter(options)),
)
@pytest.mark.parametrize("complete", [True, False])
def test_other_options_are_refused(
    loop: Loop, tmp_path: Path, options: dict[str, Any], complete: bool
) -> None:
    """A folder that holds an export of other options, whole or stopped half-way, is refused and left as it is."""
    out = tmp_path / "out"
    if complete:
        export(loop, out)
    else:
        stop_after(loop, out, labels=3)
    before = tree(out)
    with pytest.raises(ExportError, match="of other inputs or options"):
        export(loop, out, **options)
    assert tree(out) == before


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


# --- stopping and going on ------------------------------------------------------------------------


def stop_after(loop: Loop, out: Path, *, labels: int) -> None:
    """Stop an export after some label maps, as a full disk would."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mseg_curate.export.write_bytes_atomically", _full_after(labels))
        patch.setattr("mseg_curate.progress.cpu_count", lambda: 1)
        with pytest.raises(OutputError):
            export(loop, out)


def _full_after(count: int) -> Callable[[Path, bytes], str]:
    left = iter(range(count))

    def write(path: Path, data: bytes) -> str:
        if next(left, None) is None:
            raise OutputError(f"{path}: no space left on the disk")
        return write_bytes_atomically(path, data)

    return write


def test_a_stopped_export_goes_on(loop: Loop, tmp_path: Path) -> None:
    """What was done before a stop is kept; the rest follows, and the bytes are those of an undisturbed export."""
    decide(loop)
    stop_after(loop, tmp_path / "out", labels=3)
    assert not (tmp_path / "out" / MANIFEST).exists()
    done = export(loop, tmp_path / "out")
    assert (done.written, done.kept) == (5, 3)
    assert tree(done.path) == tree(export(loop, tmp_path / "undisturbed").path)


def test_a_file_that_changed_since_the_stop_is_written_again(loop: Loop, tmp_path: Path) -> None:
    """A label map that was damaged between the stop and the second call is not trusted."""
    stop_after(loop, tmp_path / "out", labels=3)
    damaged = next((tmp_path / "out").rglob("*.png"))
    damaged.write_bytes(b"")
    done = export(loop, tmp_path / "out")
    assert (done.written, done.kept) == (6, 2)
    assert tree(done.path) == tree(export(loop, tmp_path / "undisturbed").path)


@pytest.mark.parametrize("tail", [b'{"key": "train/coarse/labels/tr', b'{"key": "\xc3', b"\n\n"])
def test_a_journal_that_was_cut_off_is_no_hindrance(
    loop: Loop, tmp_path: Path, tail: bytes
) -> None:
    """A last line of the journal that a full disk cut off, within a character even, is passed over."""
    stop_after(loop, tmp_path / "out", labels=3)
    journal = tmp_path / "out" / JOURNAL
    journal.write_bytes(journal.read_bytes() + tail)
    done = export(loop, tmp_path / "out")
    assert done.kept == 3
    assert tree(done.path) == tree(export(loop, tmp_path / "undisturbed").path)


KILLED = """
import os, signal, sys
from pathlib import Path
from mseg_curate.core.mapping import Arm
from mseg_curate.export import write_export
from mseg_curate.store import Store

store, out, wanted, needle = sys.argv[1:5]
left = int(sys.argv[5])

def kill(event, arguments):
    global left
    if event in wanted.split() and needle in str(arguments[0]).removeprefix(out) != str(arguments[0]):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill)
with Store.open(Path(store)) as opened:
    write_export(opened, Path(out), arm=Arm.RELABELED, now="later", copy_images=True)
"""


def kill_export(loop: Loop, out: Path, *, events: str, needle: str, at: int) -> None:
    """Export in a process that kills itself before its n-th such operation on a file of `out`."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(loop.store), str(out), events, needle, str(at)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_a_killed_export_is_finished_by_a_second_call(loop: Loop, tmp_path: Path) -> None:
    """Killed at any file operation it has no manifest, or is whole; going on gives an undisturbed export's bytes."""
    decide(loop)
    undisturbed = tree(export(loop, tmp_path / "undisturbed", copy_images=True).path)
    out = tmp_path / "out"
    anything = "open os.mkdir os.rename os.remove"
    rng = np.random.default_rng(int.from_bytes(os.urandom(4)))
    moments = [
        (anything, "", 1),
        (anything, "", 2),
        ("os.rename", "labels", 1),
        (anything, "", int(rng.integers(3, 50))),
        ("os.rename", "images", 1),
        ("os.rename", ".part", 2),
        ("os.remove", JOURNAL, 1),
    ]
    for events, needle, at in moments:
        kill_export(loop, out, events=events, needle=needle, at=at)
        assert (out / MANIFEST).exists() == (needle == JOURNAL), moments
    assert (out / JOURNAL).exists()
    export(loop, out, copy_images=True)
    assert tree(out) == undisturbed, moments
    verify_export(out)


def test_killed_while_the_manifest_is_written(loop: Loop, tmp_path: Path) -> None:
    """Killed before the manifest has its name there is none; the second call writes no label map again."""
    out = tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mseg_curate.export.build_manifest", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            export(loop, out)
    assert not (out / MANIFEST).exists()
    assert export(loop, out).written == 0
    assert tree(out) == tree(export(loop, tmp_path / "undisturbed").path)


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB; skips where this user may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_stops_and_goes_on(
    loop: Loop, small_disk: Path, tmp_path: Path, call_cli: Callable[..., Any]
) -> None:
    """On a full disk there is one clear line, exit code 1 and no manifest; with room it goes on."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(48 << 10))
    words = ("export", "--db", loop.store, "--arm", "ignored", "--out", small_disk / "out")
    called = call_cli(*words)
    assert called.code == 1
    assert "no space left on the disk" in called.message.lower()
    assert len(called.err.splitlines()) == 1
    assert not (small_disk / "out" / MANIFEST).exists()
    ballast.unlink()
    assert call_cli(*words).code == 0
    undisturbed = export(loop, tmp_path / "undisturbed", arm=Arm.IGNORED).path
    assert tree(small_disk / "out") == tree(undisturbed)


# --- inputs that changed or are missing -----------------------------------------------------------


def test_a_changed_label_map_is_refused(loop: Loop, tmp_path: Path) -> None:
    """A source label map that is not the one that was added stops the export, by its name."""
    path = loop.root / "coarse/labels/b.png"
    Image.fromarray(read_ids(path)[::-1].copy()).save(path)
    with pytest.raises(DatasetError, match=r"labels/b\.png: label map was changed"):
        export(loop, tmp_path / "out")
    assert not (tmp_path / "out" / MANIFEST).exists()
    path.unlink()
    with pytest.raises(DatasetError, match=r"labels/b\.png: label map cannot be read"):
        export(loop, tmp_path / "out")


def test_a_changed_photo_is_refused(loop: Loop, tmp_path: Path) -> None:
    """A photo that is not the one that was added is not copied; restored, the export goes on."""
    path = loop.root / "zoo/images/pen/b.png"
    before = path.read_bytes()
    path.write_bytes(before + b"more")
    with pytest.raises(ExportError, match=r"pen/b\.png: photo was changed"):
        export(loop, tmp_path / "out", copy_images=True)
    path.unlink()
    with pytest.raises(InputError, match=r"pen/b\.png: cannot be read"):
        export(loop, tmp_path / "out", copy_images=True)
    assert not (tmp_path / "out" / MANIFEST).exists()
    path.write_bytes(before)
    out = export(loop, tmp_path / "out", copy_images=True).path
    assert tree(out) == tree(export(loop, tmp_path / "undisturbed", copy_images=True).path)


def test_a_resolution_outside_the_candidates_is_refused(loop: Loop, tmp_path: Path) -> None:
    """A mask resolved to a class that is no candidate any more is an error, before any file is written."""
    decide(loop)
    mapping = loop.root / "coarse.mapping.tsv"
    mapping.write_text(
        mapping.read_text(encoding="utf-8").replace("cat\t{cat, dog, bird}", "dog\t{dog, bird}"),
        encoding="utf-8",
    )
    with Store.open(loop.store) as store:
        import_mapping(store, "coarse", path=mapping, author="t", note="", now=NOW)
    with pytest.raises(MappingError, match="'cat', which is no candidate of 'animal'") as caught:
        export(loop, tmp_path / "out")
    assert caught.value.expected == "dog, bird"
    assert not (tmp_path / "out").exists()
    assert export(loop, tmp_path / "partial", arm=Arm.PARTIAL).written == 8


def test_datasets_without_a_mapping_are_listed(
    loop: Loop, tmp_path: Path, write_folder: Callable[..., Path]
) -> None:
    """All datasets that lack a mapping are named at once, with the command that drafts one."""
    pixels = {"a": np.ones((4, 4), np.uint8)}
    with Store.open(loop.store) as store:
        for name in ("new1", "new2"):
            folder = write_folder(tmp_path / name, pixels, classes={1: "thing"})
            add_dataset(store, name, folder=folder, role="train", now=NOW)
    with pytest.raises(MappingError, match="2 datasets have no mapping") as caught:
        export(loop, tmp_path / "out")
    assert [p.partition(":")[0] for p in caught.value.problems] == ["new1", "new2"]
    assert "mseg-curate mapping draft new1" in caught.value.problems[0]
    assert export(loop, tmp_path / "out", datasets=["coarse", "zoo", "held_out"]).written == 8


def test_nothing_to_train_on_is_refused(loop: Loop, tmp_path: Path) -> None:
    """An export of test datasets alone, or of an unknown one, is refused."""
    with pytest.raises(StoreError, match="no training dataset has pixels"):
        export(loop, tmp_path / "out", datasets=["held_out"])
    with pytest.raises(StoreError, match="no dataset 'nobody'"):
        export(loop, tmp_path / "out", datasets=["nobody"])
    assert not (tmp_path / "out").exists()


def test_the_store_remembers_each_export_once(loop: Loop, tmp_path: Path) -> None:
    """Exports are rows of the store with their hashes; doing one again adds none."""
    done = [export(loop, tmp_path / arm, arm=arm) for arm in Arm]
    export(loop, tmp_path / Arm.PARTIAL, arm=Arm.PARTIAL)
    with closing(sqlite3.connect(loop.store)) as connection:
        rows = connection.execute(
            "SELECT arm, manifest_sha256, labels_sha256 FROM export"
        ).fetchall()
    assert rows == [(d.arm, d.manifest_sha256, d.labels_sha256) for d in done]


def test_resolved_masks_without_pixels_are_counted(loop: Loop, tmp_path: Path) -> None:
    """A mask that is resolved but was found by no task is not painted, and the export says how many there are."""
    decide(loop)
    assert export(loop, tmp_path / "all").unbound_masks == 0
    with closing(sqlite3.connect(loop.store)) as connection:
        (resolved,) = connection.execute("SELECT COUNT(*) FROM resolution").fetchone()
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("DELETE FROM mask_geometry")
        connection.execute("UPDATE mask SET area_px = NULL")
        connection.commit()
    done = export(loop, tmp_path / "none")
    assert done.unbound_masks == resolved > 0
    assert "decided_px" not in done.counts
