"""Exports computed pixel by pixel from the documentation, and short ways to make and read real ones."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mseg_curate.core.mapping import Arm, Unresolved
from mseg_curate.decide import import_csv
from mseg_curate.export import Export, write_export
from mseg_curate.manifest import MANIFEST
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
